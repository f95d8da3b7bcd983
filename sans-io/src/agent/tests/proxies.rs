//! Which commands go through a proxy: §4.12. Never is a router reached directly that the user did not allow.

use std::time::Duration;

use bytes::Bytes;

use super::peers::{ALICE, BOB, Peers};
use crate::agent::command::{Command, NewConnection, Receiving, Reply, RequestMode};
use crate::agent::config::{
    Config, NetworkConfig, Protection, ProxyFallback, ProxyMode, Roles, Use, UserRouter,
};
use crate::agent::error::AgentError;
use crate::agent::link::ShortLink;
use crate::ratchet::InitialKeys;
use crate::sim::agents::{Commands, Reach, Router, USER};
use crate::wire::{NonEmpty, ServerAddress};

fn config(proxy: ProxyMode, fallback: ProxyFallback, protection: Protection) -> Config {
    Config {
        network: NetworkConfig {
            proxy,
            fallback,
            protection,
            ..NetworkConfig::default()
        },
        ..Config::default()
    }
}

/// Alice has her queues at the first router, Bob at the second; each uses the own one as a proxy.
fn peers(seed: u64, config: &Config) -> Peers {
    let mut peers = Peers::with(seed, 2, config);
    for who in [ALICE, BOB] {
        let own = peers.agents.routers[who].address.clone();
        peers.agents.use_routers(who, vec![UserRouter::new(own)]);
    }
    peers
}

fn commands(peers: &mut Peers) -> [Commands; 2] {
    let commands = [ALICE, BOB].map(|who| peers.agents.routers[who].commands);
    for router in &mut peers.agents.routers {
        router.commands = Commands::default();
    }
    commands
}

fn talk(peers: &mut Peers) {
    peers.send(ALICE, "to bob");
    assert_eq!(peers.read(BOB), ["to bob"]);
    peers.send(BOB, "to alice");
    assert_eq!(peers.read(ALICE), ["to alice"]);
}

#[test]
fn routers_of_others_are_reached_through_a_proxy() {
    for mode in [
        ProxyMode::Always,
        ProxyMode::Unknown,
        ProxyMode::Unprotected,
    ] {
        let config = config(mode, ProxyFallback::Prohibit, Protection::None);
        let mut peers = peers(1, &config);
        peers.connect(InitialKeys::Later);
        talk(&mut peers);
        for commands in commands(&mut peers) {
            assert_eq!(commands.direct, 0, "{mode:?}");
            assert!(commands.forwarded > 2, "{mode:?}");
        }
    }
}

#[test]
fn without_a_proxy_or_with_other_protection_they_are_reached_directly() {
    for (mode, protection) in [
        (ProxyMode::Never, Protection::None),
        (ProxyMode::Unprotected, Protection::Socks),
    ] {
        let config = config(mode, ProxyFallback::Prohibit, protection);
        let mut peers = peers(1, &config);
        peers.connect(InitialKeys::Later);
        talk(&mut peers);
        for commands in commands(&mut peers) {
            assert_eq!(commands.forwarded, 0);
            assert!(commands.direct > 2);
        }
    }
}

#[test]
fn the_own_routers_are_known() {
    let config = config(
        ProxyMode::Unknown,
        ProxyFallback::Prohibit,
        Protection::None,
    );
    let mut peers = Peers::with(1, 2, &config);
    peers.connect(InitialKeys::Never);
    talk(&mut peers);
    for commands in commands(&mut peers) {
        assert_eq!(commands.forwarded, 0);
    }
}

/// §10, 29: what the proxy cannot do is not done directly, unless that is allowed.
#[test]
fn a_relay_that_the_proxy_cannot_reach() {
    for (fallback, protection, direct) in [
        (ProxyFallback::Prohibit, Protection::None, false),
        (ProxyFallback::AllowProtected, Protection::None, false),
        (ProxyFallback::AllowProtected, Protection::Socks, true),
        (ProxyFallback::Allow, Protection::None, true),
    ] {
        let config = config(ProxyMode::Always, fallback, protection);
        let mut peers = peers(1, &config);
        peers.connect(InitialKeys::Never);
        talk(&mut peers);
        commands(&mut peers);
        // Nobody is a proxy for Alice any more.
        let own = UserRouter {
            roles: Roles {
                names: Use::No,
                storage: Use::Yes,
                proxy: Use::No,
            },
            ..UserRouter::new(peers.agents.routers[ALICE].address.clone())
        };
        peers.agents.use_routers(ALICE, vec![own]);
        peers.send(ALICE, "directly?");
        peers.agents.wait(Duration::from_secs(600));
        let read = peers.read(BOB);
        let [_, of_bob] = commands(&mut peers);
        assert_eq!(of_bob.direct > 0, direct, "{fallback:?} {protection:?}");
        assert_eq!(!read.is_empty(), direct, "{fallback:?} {protection:?}");
    }
}

#[test]
fn what_waits_for_a_proxy_is_sent_when_it_is_back() {
    let config = config(ProxyMode::Always, ProxyFallback::Prohibit, Protection::None);
    let mut peers = peers(1, &config);
    peers.connect(InitialKeys::Later);
    peers.agents.reach(ALICE, Reach::Down);
    peers.send(ALICE, "waits for the proxy");
    peers.agents.wait(Duration::from_secs(600));
    assert_eq!(peers.read(BOB), [""; 0]);
    peers.agents.reach(ALICE, Reach::Up);
    peers.agents.wait(Duration::from_secs(600));
    assert_eq!(peers.read(BOB), ["waits for the proxy"]);
    let [of_alice, of_bob] = commands(&mut peers);
    assert_eq!((of_alice.direct, of_bob.direct), (0, 0));
}

/// A proxy is operated by somebody else than the router behind it.
#[test]
fn the_operator_of_a_router_is_no_proxy_for_it() {
    let config = config(ProxyMode::Always, ProxyFallback::Prohibit, Protection::None);
    let mut peers = Peers::with(1, 3, &config);
    let router = |peers: &Peers, index: usize, operator| UserRouter {
        operator: Some(operator),
        ..UserRouter::new(peers.agents.routers[index].address.clone())
    };
    for who in [ALICE, BOB] {
        let mut routers: Vec<_> = (0..2).map(|index| router(&peers, index, 1)).collect();
        routers.push(UserRouter {
            roles: Roles {
                names: Use::No,
                storage: Use::No,
                proxy: Use::Yes,
            },
            ..router(&peers, 2, 2)
        });
        peers.agents.use_routers(who, routers);
    }
    peers.connect(InitialKeys::Never);
    talk(&mut peers);
    let direct = peers
        .agents
        .routers
        .iter()
        .map(|router| router.commands.direct);
    assert_eq!(direct.sum::<u32>(), 0);
    let forwarded: Vec<_> = peers
        .agents
        .routers
        .iter()
        .map(|r| r.commands.forwarded)
        .collect();
    assert_eq!(forwarded[2], 0, "nobody has a queue there");
}

/// An address may name more hosts of a router than another one does.
#[test]
fn a_router_is_known_by_any_of_its_hosts() {
    let config = config(ProxyMode::Always, ProxyFallback::Prohibit, Protection::None);
    for seed in 0..8 {
        let mut peers = Peers::with(seed, 3, &config);
        let router = |peers: &Peers, index: usize, storage| UserRouter {
            roles: Roles {
                storage,
                ..Roles::default()
            },
            ..UserRouter::new(peers.agents.routers[index].address.clone())
        };
        // Alice receives there.
        let mut same = router(&peers, 0, Use::Yes);
        let alice = vec![same.clone(), router(&peers, 2, Use::No)];
        let mut hosts = same.address.hosts().to_vec();
        hosts.push("other.example".parse().unwrap());
        let (port, key_hash) = (same.address.port(), same.address.key_hash().clone());
        same.address = ServerAddress::new(NonEmpty::try_from(hosts).unwrap(), port, key_hash);
        let bob = vec![
            same,
            router(&peers, 1, Use::Yes),
            router(&peers, 2, Use::No),
        ];
        peers.agents.use_routers(ALICE, alice);
        peers.agents.use_routers(BOB, bob);
        // Nobody would answer under the other name of it.
        peers.connect(InitialKeys::Never);
        talk(&mut peers);
    }
}

/// A proxy that is too old to be one is like one that cannot reach anybody: what follows is the user's choice.
#[test]
fn a_proxy_that_is_too_old_is_none() {
    for fallback in [ProxyFallback::Allow, ProxyFallback::Prohibit] {
        let config = config(ProxyMode::Always, fallback, Protection::None);
        let mut peers = peers(1, &config);
        peers.connect(InitialKeys::Later);
        let proxy = &mut peers.agents.routers[ALICE];
        proxy.versions = crate::wire::VersionRange::new(6, 7).unwrap();
        peers.agents.reach(ALICE, Reach::Down);
        peers.agents.reach(ALICE, Reach::Up);
        peers.agents.wait(Duration::from_secs(60));
        commands(&mut peers);
        peers.send(ALICE, "hello");
        peers.agents.wait(Duration::from_secs(60));
        let [_, relay] = commands(&mut peers);
        match fallback {
            ProxyFallback::Prohibit => {
                assert_eq!(relay, Commands::default());
                assert_eq!(peers.read(BOB), [""; 0]);
            }
            ProxyFallback::Allow | ProxyFallback::AllowProtected => {
                assert_eq!(relay.direct, 1);
                assert_eq!(peers.read(BOB), ["hello"]);
            }
        }
        // The same goes for what belongs to no connection.
        let mut routers: Vec<_> = peers.agents.routers.iter().map(router).collect();
        routers[BOB].roles = Roles {
            storage: Use::No,
            proxy: Use::No,
            names: Use::Yes,
        };
        peers.agents.use_routers(ALICE, routers);
        let link = short_link(&mut peers);
        commands(&mut peers);
        let open = Command::OpenLink { user: USER, link };
        let opened = peers.agents.ask(ALICE, open);
        let name = Command::ResolveName {
            user: USER,
            name: "alice.simplex".parse().unwrap(),
        };
        let resolved = peers.agents.ask(ALICE, name);
        let [_, relay] = commands(&mut peers);
        let by_router = matches!(resolved, Err(AgentError::Smp { .. }));
        match fallback {
            ProxyFallback::Prohibit => {
                assert!(opened.is_err() && !by_router);
                assert_eq!(relay, Commands::default());
            }
            ProxyFallback::Allow | ProxyFallback::AllowProtected => {
                assert!(opened.is_ok() && by_router, "{opened:?} {resolved:?}");
                assert_eq!(relay.direct, 2);
            }
        }
    }
}

fn router(router: &Router) -> UserRouter {
    UserRouter::new(router.address.clone())
}

/// A short link to an address of Bob's.
fn short_link(peers: &mut Peers) -> ShortLink {
    let create = Command::Create {
        connection: None,
        user: USER,
        kind: NewConnection::Address,
        client_data: None,
        short: Some(Bytes::from_static(b"bob")),
        mode: RequestMode::Interactive,
        receiving: Receiving::AtOnce,
    };
    match peers.agents.ask(BOB, create) {
        Ok(Reply::Created { short, .. }) => short.unwrap(),
        other => panic!("{other:?}"),
    }
}
