//! Where the reference's documents mislead, and where the reference itself gets stuck.

use std::time::Duration;

use bytes::Bytes;

use super::forged::Intruder;
use super::peers::{ALICE, BOB, Peers, name};
use crate::agent::command::{Command, Force, Reply};
use crate::agent::config::{Config, NetworkConfig, ProxyFallback, ProxyMode, UserRouter};
use crate::agent::envelope::EnvelopeContent;
use crate::agent::error::AgentError;
use crate::agent::event::{EventContent, SyncState};
use crate::agent::link::ConnectionRequest;
use crate::agent::message::{AgentMessage, Integrity};
use crate::agent::queue::SmpQueueInfo;
use crate::agent::store::{Change, Key, Kind};
use crate::ratchet::{InitialKeys, Pq, Ratchet, SUPPORTED};
use crate::sim::agents::Reach;
use crate::smp::ErrorType;
use crate::smp::router::NewQueues;
use crate::wire::{self, BasicAuth, NonEmpty, Version, VersionRange};

fn versions(highest: u16) -> Config {
    Config {
        versions: VersionRange::new(2, highest).unwrap(),
        ..Config::default()
    }
}

fn agreed(peers: &mut Peers, who: usize) -> u16 {
    let connection = peers.names[who].clone();
    match peers.agents.ask(who, Command::Statistics { connection }) {
        Ok(Reply::Statistics(statistics)) => statistics.version.0,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_version_of_a_connection_rises_with_that_of_the_peer() {
    let mut peers = Peers::with(1, 2, &versions(4));
    peers.connect(InitialKeys::Later);
    assert_eq!((agreed(&mut peers, ALICE), agreed(&mut peers, BOB)), (4, 4));
    for who in [ALICE, BOB] {
        peers.agents.configure(who, Config::default());
        peers.agents.crash(who);
    }
    peers.send(ALICE, "news");
    assert_eq!(peers.read(BOB), ["news"]);
    assert_eq!((agreed(&mut peers, ALICE), agreed(&mut peers, BOB)), (4, 7));
    peers.send(BOB, "for me too");
    assert_eq!(peers.read(ALICE), ["for me too"]);
    assert_eq!(agreed(&mut peers, ALICE), 7);
}

#[test]
fn an_envelope_of_a_later_version_is_read() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Later);
    peers.agents.configure(BOB, versions(9));
    peers.agents.crash(BOB);
    peers.send(BOB, "from the future");
    assert_eq!(peers.read(ALICE), ["from the future"]);
    assert_eq!(agreed(&mut peers, ALICE), 7);
}

/// The version in what asks the owner of an address is the one that both support, and not the highest of whoever asks.
#[test]
fn an_address_of_an_older_agent_is_asked_in_its_version() {
    let mut peers = Peers::with(1, 2, &versions(5));
    let request = super::addresses::address(&mut peers);
    peers.agents.configure(BOB, Config::default());
    peers.agents.crash(BOB);
    let join = peers.join(request, Pq::On);
    peers.agents.ask(BOB, join).unwrap();
    assert_eq!(agreed(&mut peers, BOB), 5);
}

#[test]
fn a_receipt_of_a_message_that_is_forgotten_is_an_error_and_acknowledged() {
    let config = Config {
        memory: Duration::from_secs(3600),
        ..Config::default()
    };
    let mut peers = Peers::with(1, 1, &config);
    peers.connect(InitialKeys::Later);
    peers.send(ALICE, "read this soon");
    let heard = peers.told(BOB).into_iter().find_map(|event| match event {
        EventContent::Message { meta, .. } => Some(meta.message),
        _ => None,
    });
    peers.told(ALICE);
    peers.agents.wait(Duration::from_secs(2 * 3600));
    // What has expired is deleted when the agent is awake.
    let connection = peers.names[ALICE].clone();
    let awake = Command::Statistics { connection };
    peers.agents.ask(ALICE, awake).unwrap();
    peers.acknowledge(BOB, heard.unwrap(), Some("read"));
    let error = AgentError::MessageProhibited {
        context: "a receipt of a message that is not known".into(),
    };
    assert_eq!(peers.told(ALICE), [EventContent::Error { error }]);
    peers.send(BOB, "and this");
    assert_eq!(peers.read(ALICE), ["and this"]);
}

fn synchronize(peers: &Peers, who: usize) -> Command {
    Command::Synchronize {
        connection: peers.names[who].clone(),
        pq: Pq::On,
        force: Force::Yes,
    }
}

fn router_of(peers: &mut Peers, who: usize) -> usize {
    let connection = peers.names[who].clone();
    let Ok(Reply::Statistics(statistics)) =
        peers.agents.ask(who, Command::Statistics { connection })
    else {
        panic!()
    };
    let address = &statistics.receive[0].router;
    let mut routers = peers.agents.routers.iter();
    routers
        .position(|router| router.address == *address)
        .unwrap()
}

#[test]
fn nothing_is_sent_while_a_new_ratchet_is_agreed_on() {
    let mut peers = Peers::connected(3, 3, InitialKeys::Later);
    let router = router_of(&mut peers, BOB);
    peers.send(BOB, "read meanwhile");
    let read = peers.told(ALICE).into_iter().find_map(|event| match event {
        EventContent::Message { meta, .. } => Some(meta.message),
        _ => None,
    });
    peers.agents.reach(router, Reach::Down);
    let command = synchronize(&peers, ALICE);
    assert_eq!(peers.agents.ask(ALICE, command), Ok(Reply::Done));
    let send = peers.sending(ALICE, "too early");
    let refused = peers.agents.ask(ALICE, send);
    assert!(
        matches!(refused, Err(AgentError::Prohibited { .. })),
        "{refused:?}"
    );
    let connection = peers.names[ALICE].clone();
    let refused = peers.agents.ask(ALICE, Command::Switch { connection });
    assert!(
        matches!(refused, Err(AgentError::Prohibited { .. })),
        "{refused:?}"
    );
    // Neither is a receipt. What it is of is acknowledged: the keys of the peer come after it.
    let acknowledge = Command::Acknowledge {
        connection: peers.names[ALICE].clone(),
        message: read.unwrap(),
        receipt: Some(Bytes::from_static(b"seen")),
    };
    let refused = peers.agents.ask(ALICE, acknowledge);
    assert!(
        matches!(refused, Err(AgentError::Prohibited { .. })),
        "{refused:?}"
    );
    peers.agents.reach(router, Reach::Up);
    peers.agents.wait(Duration::from_secs(300));
    peers.send(ALICE, "now");
    assert_eq!(peers.read(BOB), ["now"]);
}

fn sync_states(peers: &mut Peers, who: usize) -> Vec<SyncState> {
    let events = peers.told(who).into_iter();
    events
        .filter_map(|event| match event {
            EventContent::RatchetSync { state, .. } => Some(state),
            _ => None,
        })
        .collect()
}

#[test]
fn while_a_new_ratchet_is_only_advised_the_old_one_is_used() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Later);
    peers.send(ALICE, "one");
    peers.read(BOB);
    let backup = peers.agents.store(ALICE).unwrap().clone();
    for text in ["two", "three", "four"] {
        peers.send(ALICE, text);
        peers.read(BOB);
    }
    peers.agents.restore(ALICE, backup);
    peers.agents.run();
    peers.told(ALICE);
    peers.send(ALICE, "two again, and not the same");
    assert_eq!(peers.read(BOB), [""; 0]);
    assert_eq!(sync_states(&mut peers, BOB), []);
    peers.send(ALICE, "three again");
    let connection = peers.names[BOB].clone();
    let statistics = peers.agents.ask(BOB, Command::Statistics { connection });
    assert!(
        matches!(&statistics, Ok(Reply::Statistics(s)) if s.sync == SyncState::Allowed),
        "{statistics:?}"
    );
    peers.send(BOB, "I do not understand");
    assert_eq!(peers.read(ALICE), ["I do not understand"]);
}

/// The keys of a new ratchet have a number of their own: what is said of it is absorbed before the next message of the application.
#[test]
fn messages_after_a_new_ratchet_follow_each_other() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Later);
    let command = synchronize(&peers, ALICE);
    assert_eq!(peers.agents.ask(ALICE, command), Ok(Reply::Done));
    for (who, other) in [(ALICE, BOB), (BOB, ALICE)] {
        peers.told(other);
        peers.send(who, "hello");
        let integrity = peers.told(other).into_iter().find_map(|event| match event {
            EventContent::Message { meta, .. } => Some(meta.integrity),
            _ => None,
        });
        assert_eq!(integrity, Some(Integrity::Ok));
    }
}

/// An invitation, and somebody who answers it with these queues.
fn answered_with(peers: &mut Peers, queues: &[SmpQueueInfo]) {
    let request = peers.invite(InitialKeys::Never);
    let mut intruder = Intruder::new(&request);
    let ConnectionRequest::Invitation(_, keys) = &request else {
        panic!()
    };
    let params = keys.agreed(SUPPORTED).unwrap();
    let joiner = Ratchet::joiner(&mut intruder.rng, &params, Pq::Off, SUPPORTED);
    let (ratchet, params) = joiner.unwrap();
    let step = ratchet.encrypt(Some(Pq::Off), SUPPORTED.max()).unwrap();
    let message = AgentMessage::ConnInfoReply {
        queues: NonEmpty::try_from(queues.to_vec()).unwrap(),
        info: Bytes::from_static(b"bob's info"),
    };
    let message = wire::encode(&message, Version::default());
    let encrypted = step.key.encrypt(&message, 14832).unwrap();
    let confirmation = intruder.envelope(EnvelopeContent::Confirmation {
        params: Some(params),
        encrypted,
    });
    intruder.write(peers, confirmation);
}

#[test]
fn of_several_queues_in_an_answer_the_first_is_used() {
    let mut peers = Peers::new(1, 2);
    // Two queues that exist: Bob's.
    let mut queues = Vec::new();
    for text in ["one", "two"] {
        peers.names[BOB] = name(text);
        let create = super::addresses::invitation(&peers.names[BOB]);
        let Ok(Reply::Created { link, .. }) = peers.agents.ask(BOB, create) else {
            panic!()
        };
        let queue = link.data().queues.first();
        queues.push(queue.agreed(Config::default().client_versions).unwrap());
    }
    answered_with(&mut peers, &queues);
    let (asked, routers) = peers
        .told(ALICE)
        .into_iter()
        .find_map(|event| match event {
            EventContent::Confirmation { name, routers, .. } => Some((name, routers)),
            _ => None,
        })
        .unwrap();
    assert_eq!(routers.len(), 2);
    let allow = Command::Allow {
        connection: peers.names[ALICE].clone(),
        name: asked,
        info: Bytes::new(),
    };
    assert_eq!(peers.agents.ask(ALICE, allow), Ok(Reply::Done));
    let connection = peers.names[ALICE].clone();
    let statistics = peers.agents.ask(ALICE, Command::Statistics { connection });
    let Ok(Reply::Statistics(statistics)) = statistics else {
        panic!()
    };
    let send: Vec<_> = statistics.send.iter().map(|queue| &queue.router).collect();
    assert_eq!(send, [&queues[0].address.router]);
}

#[test]
fn a_confirmation_that_meets_a_full_queue_fails_the_connection() {
    let mut peers = Peers::new(1, 2);
    let request = peers.invite(InitialKeys::Never);
    let mut intruder = Intruder::new(&request);
    // Alice does not receive.
    let offline = crate::agent::command::NetworkState::Offline;
    peers.agents.command(ALICE, Command::Network(offline));
    peers.agents.run();
    for _ in 0..129 {
        intruder.write(&mut peers, Bytes::from_static(b"junk"));
    }
    let join = peers.join(request, Pq::Off);
    let joined = peers.agents.ask(BOB, join);
    assert!(
        matches!(joined, Err(AgentError::NotAvailable { .. })),
        "{joined:?}"
    );
    // Nobody has heard of it: its name is free again.
    let store = peers.agents.store(BOB).unwrap();
    let mut kinds = store.records().map(|(key, _)| key.kind);
    assert!(!kinds.any(|kind| kind == Kind::Connection));
}

/// The name of a connection that was refused for good is free again, and nothing of it is left.
#[test]
fn a_link_that_is_used_leaves_no_connection() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Never);
    let request = peers.invite_as(ALICE, &name("second"), InitialKeys::Never);
    peers.names[BOB] = name("somebody");
    let join = peers.join(request.clone(), Pq::Off);
    assert!(matches!(
        peers.agents.ask(BOB, join),
        Ok(Reply::Joined { .. })
    ));
    // Somebody else is late.
    peers.names[BOB] = name("late");
    let late = peers.join(request, Pq::Off);
    let refused = peers.agents.ask(BOB, late);
    assert!(
        matches!(refused, Err(AgentError::Smp { .. })),
        "{refused:?}"
    );
    let third = peers.invite_as(ALICE, &name("third"), InitialKeys::Never);
    let join = peers.join(third.clone(), Pq::Off);
    assert!(matches!(
        peers.agents.ask(BOB, join),
        Ok(Reply::Joined { .. })
    ));
    // The same again is no error; another link under this name is.
    let again = peers.join(third, Pq::Off);
    assert!(matches!(
        peers.agents.ask(BOB, again),
        Ok(Reply::Joined { .. })
    ));
    let fourth = peers.invite_as(ALICE, &name("fourth"), InitialKeys::Never);
    let join = peers.join(fourth, Pq::Off);
    assert_eq!(
        peers.agents.ask(BOB, join),
        Err(AgentError::DuplicateConnection)
    );
}

#[test]
fn one_record_that_cannot_be_read_stops_its_connection_only() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Never);
    let mut store = peers.agents.store(BOB).unwrap().clone();
    let broken = name("broken");
    let garbage = |kind| Change::Put {
        key: Key {
            kind,
            owner: broken.to_bytes(),
            id: Bytes::new(),
        },
        value: Bytes::from_static(b"garbage"),
        expires: None,
    };
    store.apply(
        [Kind::Connection, Kind::Work, Kind::Queue, Kind::Event]
            .map(garbage)
            .to_vec(),
    );
    peers.agents.restore(BOB, store);
    peers.agents.run();
    peers.send(ALICE, "still there?");
    let told: Vec<_> = peers.agents.events(BOB);
    let of_broken = told
        .iter()
        .filter(|event| event.connection.as_ref() == Some(&broken));
    assert_eq!(of_broken.count(), 1, "{told:?}");
    let statistics = peers
        .agents
        .ask(BOB, Command::Statistics { connection: broken });
    assert!(
        matches!(statistics, Err(AgentError::Internal { .. })),
        "{statistics:?}"
    );
    let heard = |event: &EventContent| matches!(event, EventContent::Message { .. });
    assert!(told.iter().any(|event| heard(&event.content)));
}

fn operated(peers: &Peers, operators: &[u32]) -> Vec<UserRouter> {
    let routers = peers.agents.routers.iter().zip(operators);
    let routers = routers.map(|(router, operator)| UserRouter {
        operator: Some(*operator),
        ..UserRouter::new(router.address.clone())
    });
    routers.collect()
}

#[test]
fn the_next_queue_is_at_a_router_of_another_operator() {
    for seed in 0..8 {
        let mut peers = Peers::new(seed, 4);
        const OPERATORS: [u32; 4] = [1, 1, 1, 2];
        let routers = operated(&peers, &OPERATORS);
        for who in [ALICE, BOB] {
            peers.agents.use_routers(who, routers.clone());
        }
        peers.connect(InitialKeys::Never);
        let of = |peers: &mut Peers, who| OPERATORS[router_of(peers, who)];
        assert_ne!(of(&mut peers, ALICE), of(&mut peers, BOB));
        let before = of(&mut peers, ALICE);
        let connection = peers.names[ALICE].clone();
        assert_eq!(
            peers.agents.ask(ALICE, Command::Switch { connection }),
            Ok(Reply::Done)
        );
        peers.agents.wait(Duration::from_secs(60));
        assert_ne!(of(&mut peers, ALICE), before);
    }
}

/// A router may ask for a password before queues are made, and before it forwards anything.
#[test]
fn the_password_of_a_router_is_told_to_it() {
    let password: BasicAuth = "letmein".parse().unwrap();
    let config = crate::smp::router::Config {
        new_queues: NewQueues::WithPassword(password.clone()),
        ..crate::smp::router::Config::default()
    };
    let mut peers = Peers::over(1, vec![config; 2]);
    let create = super::addresses::invitation(&name("refused"));
    let refused = peers.agents.ask(ALICE, create);
    assert!(
        matches!(&refused, Err(AgentError::Smp { error, .. }) if **error == ErrorType::Auth),
        "{refused:?}"
    );
    let proxied = Config {
        network: NetworkConfig {
            proxy: ProxyMode::Always,
            fallback: ProxyFallback::Prohibit,
            ..NetworkConfig::default()
        },
        ..Config::default()
    };
    let routers = peers.agents.routers.iter().map(|router| UserRouter {
        password: Some(password.clone()),
        ..UserRouter::new(router.address.clone())
    });
    let routers: Vec<_> = routers.collect();
    for who in [ALICE, BOB] {
        peers.agents.configure(who, proxied.clone());
        peers.agents.use_routers(who, routers.clone());
        peers.agents.crash(who);
    }
    peers.connect(InitialKeys::Never);
    peers.send(ALICE, "through a proxy that knows me");
    assert_eq!(peers.read(BOB), ["through a proxy that knows me"]);
    let direct: u32 = peers
        .agents
        .routers
        .iter()
        .map(|router| router.commands.direct)
        .sum();
    assert_eq!(direct, 0);
}
