//! Two agents on every runtime, through two routers: with and without post-quantum keys, directly and through proxies, by every kind of
//! link.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod router;

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use router::Router;
use simplex_agent::store::Memory;
use simplex_agent::{
    Agent, Builder, ConnectionId, EventContent, Events, InitialKeys, Joining, MsgFlags,
    NetworkConfig, NewConnection, NewLink, Pq, ProxyFallback, ProxyMode, UserId, UserRouter,
};
use simplex_sans_io::drive::Network;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::wire::{ServerAddress, SmpScheme};

const USER: UserId = UserId(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Long,
    Short,
    Address,
}

#[derive(Debug, Clone, Copy)]
struct Case {
    pq: Pq,
    proxy: ProxyMode,
    link: Link,
}

fn cases() -> impl Iterator<Item = Case> {
    let all = [Pq::On, Pq::Off].into_iter().flat_map(|pq| {
        let proxies = [ProxyMode::Never, ProxyMode::Always];
        proxies.into_iter().map(move |proxy| (pq, proxy))
    });
    all.flat_map(|(pq, proxy)| {
        let links = [Link::Long, Link::Short, Link::Address];
        links.into_iter().map(move |link| Case { pq, proxy, link })
    })
}

struct Peer {
    agent: Agent,
    events: Events,
}

impl Peer {
    async fn next(&mut self) -> (ConnectionId, EventContent) {
        loop {
            let event = self.events.next().await.expect("the agent runs");
            if let Some(id) = event.id {
                self.agent.confirm(id).await.unwrap();
            }
            match event.content {
                EventContent::RouterConnected { .. }
                | EventContent::RouterDisconnected { .. }
                | EventContent::Up { .. }
                | EventContent::Sent { .. } => {}
                content => return (event.connection.unwrap(), content),
            }
        }
    }

    async fn allow(&mut self) {
        match self.next().await {
            (connection, EventContent::Confirmation { name, .. }) => {
                let info = Bytes::from_static(b"welcome");
                self.agent.allow(&connection, &name, info).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }

    /// Whoever was allowed is told who has, then both are connected.
    async fn connected(&mut self, case: Case) -> ConnectionId {
        loop {
            match self.next().await {
                (_, EventContent::Info { info, .. }) => assert_eq!(&info[..], b"welcome"),
                (connection, EventContent::Connected { pq }) => {
                    assert_eq!(pq, case.pq);
                    return connection;
                }
                other => panic!("{other:?}"),
            }
        }
    }

    async fn hears(&mut self, expected: &str) {
        match self.next().await {
            (connection, EventContent::Message { meta, body, .. }) => {
                assert_eq!(&body[..], expected.as_bytes());
                let done = self.agent.acknowledge(&connection, meta.message, None);
                done.await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }

    async fn says(&self, connection: &ConnectionId, text: &str) {
        let flags = MsgFlags { notification: true };
        let body = Bytes::copy_from_slice(text.as_bytes());
        self.agent.send(connection, flags, body).await.unwrap();
    }
}

async fn connect(alice: &mut Peer, bob: &mut Peer, case: Case) -> (ConnectionId, ConnectionId) {
    let pq = match case.pq {
        Pq::On => InitialKeys::Later,
        Pq::Off => InitialKeys::Never,
    };
    let kind = match case.link {
        Link::Long | Link::Short => NewConnection::Invitation { pq },
        Link::Address => NewConnection::Address,
    };
    let short = match case.link {
        Link::Short => Some(Bytes::from_static(b"Alice's card")),
        Link::Long | Link::Address => None,
    };
    let new = NewLink {
        kind,
        short,
        ..NewLink::invitation(USER)
    };
    let created = alice.agent.create(new).await.unwrap();
    let request = match created.short {
        Some(short) => {
            let short = short.to_string().parse().unwrap();
            bob.agent.open_link(USER, short).await.unwrap().request
        }
        None => created.link.to_string().parse().unwrap(),
    };
    let joining = Joining {
        pq: case.pq,
        ..Joining::new(USER, request, Bytes::from_static(b"I am Bob"))
    };
    let (at_bob, _) = bob.agent.join(joining).await.unwrap();
    let at_alice = match case.link {
        Link::Long | Link::Short => {
            alice.allow().await;
            assert_eq!(bob.connected(case).await, at_bob);
            alice.connected(case).await
        }
        Link::Address => {
            let (address, name) = match alice.next().await {
                (address, EventContent::Request { name, .. }) => (address, name),
                other => panic!("{other:?}"),
            };
            let info = Bytes::from_static(b"come in");
            let accepted = alice.agent.accept(&address, &name, None, info, case.pq);
            accepted.await.unwrap();
            bob.allow().await;
            let at_alice = alice.connected(case).await;
            assert_eq!(bob.connected(case).await, at_bob);
            at_alice
        }
    };
    (at_alice, at_bob)
}

async fn scenario(mut alice: Peer, mut bob: Peer, case: Case) {
    let (at_alice, at_bob) = connect(&mut alice, &mut bob, case).await;
    for number in 0..4 {
        alice.says(&at_alice, &format!("from Alice {number}")).await;
        bob.hears(&format!("from Alice {number}")).await;
        bob.says(&at_bob, &format!("from Bob {number}")).await;
        alice.hears(&format!("from Bob {number}")).await;
    }
    let codes = (
        alice.agent.security_code(&at_alice).await.unwrap(),
        bob.agent.security_code(&at_bob).await.unwrap(),
    );
    assert_eq!(codes.0, codes.1);
}

/// Both agents and what happens to them, in one future, on whatever runs it.
async fn run<N: Network + Clone>(
    network: N,
    mut rng: Rng,
    routers: [ServerAddress<SmpScheme>; 2],
    case: Case,
) {
    let config = NetworkConfig {
        proxy: case.proxy,
        fallback: ProxyFallback::Prohibit,
        ..NetworkConfig::default()
    };
    let [of_alice, of_bob] = routers;
    let start = |rng: Rng| {
        let builder = Builder::new(Memory::default()).network(config.clone());
        builder.start(network.clone(), rng)
    };
    let (alice, alices, running_alice) = start(rng.fork());
    let (bob, bobs, running_bob) = start(rng.fork());
    let story = async {
        let routers = |router| vec![UserRouter::new(router)];
        alice.set_user(USER, routers(of_alice)).await.unwrap();
        bob.set_user(USER, routers(of_bob)).await.unwrap();
        let peer = |agent, events| Peer { agent, events };
        scenario(peer(alice, alices), peer(bob, bobs), case).await;
    };
    let (mut story, mut running_alice, mut running_bob) =
        (pin!(story), pin!(running_alice), pin!(running_bob));
    let mut told = false;
    let (mut alice_ended, mut bob_ended) = (false, false);
    poll_fn(|cx| {
        told = told || story.as_mut().poll(cx).is_ready();
        alice_ended = alice_ended || running_alice.as_mut().poll(cx).is_ready();
        bob_ended = bob_ended || running_bob.as_mut().poll(cx).is_ready();
        // Without handles they end by themselves.
        match told && alice_ended && bob_ended {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// Two routers, in a thread of their own.
fn routers() -> (tokio::runtime::Runtime, [Router; 2]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let routers = runtime.block_on(async { [Router::start().await, Router::start().await] });
    (runtime, routers)
}

fn addresses(routers: &[Router; 2]) -> [ServerAddress<SmpScheme>; 2] {
    routers.each_ref().map(|router| router.address.clone())
}

#[test]
fn on_tokio() {
    let (_runtime, routers) = routers();
    for case in cases() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let network = simplex_runtime_tokio::Tokio::new();
            let rng = simplex_runtime_tokio::rng().unwrap();
            run(network, rng, addresses(&routers), case).await;
        });
    }
}

#[test]
fn on_smol() {
    let (_runtime, routers) = routers();
    for case in cases() {
        let network = simplex_runtime_smol::Smol::new();
        let rng = simplex_runtime_smol::rng().unwrap();
        smol::block_on(run(network, rng, addresses(&routers), case));
    }
}

#[test]
fn on_async_std() {
    let (_runtime, routers) = routers();
    for case in cases() {
        let network = simplex_runtime_async_std::AsyncStd::new();
        let rng = simplex_runtime_async_std::rng().unwrap();
        async_std::task::block_on(run(network, rng, addresses(&routers), case));
    }
}

#[test]
fn on_none() {
    let (_runtime, routers) = routers();
    let case = cases().next().unwrap();
    let network = simplex_runtime_smol::Smol::new();
    let rng = simplex_runtime_smol::rng().unwrap();
    simplex_agent::block_on(run(network, rng, addresses(&routers), case));
}
