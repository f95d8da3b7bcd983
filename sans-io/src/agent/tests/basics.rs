//! Connecting, sending, receiving.

use std::time::Duration;

use super::peers::{ALICE, BOB, Peers, name};
use crate::agent::command::{Command, NewConnection, Receiving, Reply, RequestMode, Sending};
use crate::agent::config::Config;
use crate::agent::error::AgentError;
use crate::agent::event::{EventContent, ReceiptStatus};
use crate::agent::message::Integrity;
use crate::agent::store::Kind;
use crate::ratchet::{InitialKeys, Pq};
use crate::sim::agents::USER;
use crate::wire::VersionRange;

const ALL_KEYS: [InitialKeys; 3] = [
    InitialKeys::Never,
    InitialKeys::Later,
    InitialKeys::Invitation,
];

fn talk(peers: &mut Peers) {
    for round in 0..4 {
        let text = format!("to bob {round}");
        peers.send(ALICE, &text);
        assert_eq!(peers.read(BOB), [text]);
        let text = format!("to alice {round}");
        peers.send(BOB, &text);
        assert_eq!(peers.read(ALICE), [text]);
    }
}

#[test]
fn two_agents_connect_and_talk() {
    for pq in ALL_KEYS {
        talk(&mut Peers::connected(1, 1, pq));
        talk(&mut Peers::connected(2, 3, pq));
    }
}

/// Routers before version 9 know no queues that senders secure: the agents say HELLO.
#[test]
fn two_agents_connect_over_routers_that_senders_cannot_secure_queues_at() {
    for versions in [(6, 6), (8, 8)] {
        let mut peers = Peers::new(1, 2);
        for router in &mut peers.agents.routers {
            router.versions = VersionRange::new(versions.0, versions.1).unwrap();
        }
        peers.connect(InitialKeys::Later);
        talk(&mut peers);
    }
}

#[test]
fn agents_of_all_versions_connect() {
    for highest in 2..=7 {
        let config = Config {
            versions: VersionRange::new(2, highest).unwrap(),
            ..Config::default()
        };
        let mut peers = Peers::with(1, 2, &config);
        peers.connect(InitialKeys::Later);
        talk(&mut peers);
    }
}

#[test]
fn an_agent_below_the_floor_is_refused() {
    let mut peers = Peers::new(1, 1);
    let request = peers.invite(InitialKeys::Never);
    let old = Config {
        versions: VersionRange::new(2, 3).unwrap(),
        ..Config::default()
    };
    let mut others = Peers::with(2, 1, &old);
    let mut request = request.to_string();
    request = request.replace("v=2-7&", "v=6-7&");
    let join = others.join(request.parse().unwrap(), Pq::Off);
    assert_eq!(others.agents.ask(BOB, join), Err(AgentError::Version));
}

#[test]
fn the_joiner_of_a_queue_that_it_secures_sends_at_once() {
    let mut peers = Peers::new(1, 1);
    let request = peers.invite(InitialKeys::Later);
    let join = peers.join(request, Pq::On);
    let joined = peers.agents.ask(BOB, join);
    let Ok(Reply::Joined { sending, .. }) = joined else {
        panic!("{joined:?}")
    };
    assert_eq!(sending, Sending::Now);
    peers.send(BOB, "before you have agreed");
    // Alice is asked, and is told of the message before she has answered.
    let events = peers.told(ALICE);
    assert!(matches!(
        events[..],
        [
            EventContent::Up { .. } | EventContent::RouterConnected { .. },
            ..
        ]
    ));
    let message = events.iter().find_map(|event| match event {
        EventContent::Message { meta, .. } => Some(meta.message),
        _ => None,
    });
    peers.acknowledge(ALICE, message.expect("the message"), None);
}

/// Before version 7 the initiator has no ratchet until it has answered: what came before would be lost.
#[test]
fn the_joiner_of_an_earlier_agent_waits_for_the_answer() {
    let early = Config {
        versions: VersionRange::new(2, 6).unwrap(),
        ..Config::default()
    };
    let mut peers = Peers::with(1, 1, &early);
    let request = peers.invite(InitialKeys::Later);
    let join = peers.join(request, Pq::On);
    let joined = peers.agents.ask(BOB, join);
    assert!(matches!(
        joined,
        Ok(Reply::Joined {
            sending: Sending::WhenConnected,
            ..
        })
    ));
    let send = peers.sending(BOB, "too early");
    let refused = peers.agents.ask(BOB, send);
    assert!(matches!(refused, Err(AgentError::NotAccepted { .. })));
    peers.allow();
    peers.send(BOB, "now");
    assert_eq!(peers.read(ALICE), ["now"]);
}

#[test]
fn messages_arrive_in_order_and_unbroken() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Later);
    for number in 0..20 {
        let command = peers.sending(ALICE, &number.to_string());
        peers.agents.command(ALICE, command);
    }
    peers.agents.run();
    let mut read = Vec::new();
    loop {
        let messages: Vec<_> = peers
            .told(BOB)
            .into_iter()
            .filter_map(|event| match event {
                EventContent::Message { meta, body, .. } => Some((meta, body)),
                _ => None,
            })
            .collect();
        if messages.is_empty() {
            break;
        }
        for (meta, body) in messages {
            assert_eq!(meta.integrity, Integrity::Ok);
            read.push(String::from_utf8(body.to_vec()).unwrap());
            peers.acknowledge(BOB, meta.message, None);
        }
    }
    let expected: Vec<_> = (0..20).map(|number: i32| number.to_string()).collect();
    assert_eq!(read, expected);
    let sent = |event: &EventContent| matches!(event, EventContent::Sent { .. });
    assert_eq!(
        peers.told(ALICE).iter().filter(|event| sent(event)).count(),
        20
    );
}

/// §10, 20 of the traps: a receipt names the sender's number and the hash as it was received.
#[test]
fn a_receipt_tells_that_a_message_was_received_as_it_was_sent() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Never);
    let sent = peers.send(ALICE, "hello");
    peers.told(ALICE);
    let received = peers.told(BOB).into_iter().find_map(|event| match event {
        EventContent::Message { meta, .. } => Some(meta.message),
        _ => None,
    });
    peers.acknowledge(BOB, received.unwrap(), Some("seen"));
    let receipts = peers.told(ALICE).into_iter().find_map(|event| match event {
        EventContent::Receipts { meta, receipts } => Some((meta.message, receipts)),
        _ => None,
    });
    let (message, receipts) = receipts.expect("a receipt");
    assert_eq!(receipts.len(), 1);
    assert_eq!(receipts.first().message, sent);
    assert_eq!(receipts.first().status, ReceiptStatus::Ok);
    // Until it is acknowledged, it is told again; then what was sent is forgotten.
    let of_kind = |peers: &Peers, kind| {
        let store = peers.agents.store(ALICE).unwrap();
        store.records().filter(|(key, _)| key.kind == kind).count()
    };
    assert_eq!(of_kind(&peers, Kind::Sent), 1);
    peers.acknowledge(ALICE, message, None);
    assert_eq!(of_kind(&peers, Kind::Sent), 0);
    assert_eq!(of_kind(&peers, Kind::Received), 0);
    talk(&mut peers);
}

#[test]
fn what_is_too_large_is_refused_and_what_fits_is_sent() {
    for (pq, most) in [(InitialKeys::Never, 15795), (InitialKeys::Later, 13573)] {
        let mut peers = Peers::connected(1, 1, pq);
        let text = "x".repeat(most + 1);
        let send = peers.sending(ALICE, &text);
        assert!(matches!(
            peers.agents.ask(ALICE, send),
            Err(AgentError::Large { .. })
        ));
        peers.send(ALICE, &text[1..]);
        assert_eq!(peers.read(BOB), [&text[1..]]);
    }
}

#[test]
fn commands_on_what_is_not_there_are_refused() {
    let mut peers = Peers::new(1, 1);
    let send = peers.sending(ALICE, "nobody");
    assert!(matches!(
        peers.agents.ask(ALICE, send),
        Err(AgentError::NotFound { .. })
    ));
    peers.invite(InitialKeys::Never);
    let send = peers.sending(ALICE, "nobody yet");
    assert!(matches!(
        peers.agents.ask(ALICE, send),
        Err(AgentError::Simplex { .. })
    ));
    let again = Command::Create {
        connection: Some(name("bob")),
        user: USER,
        kind: NewConnection::Address,
        client_data: None,
        short: None,
        mode: RequestMode::Background,
        receiving: Receiving::AtOnce,
    };
    assert_eq!(
        peers.agents.ask(ALICE, again),
        Err(AgentError::DuplicateConnection)
    );
}

#[test]
fn a_connection_at_rest_keeps_no_event_and_no_message() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    talk(&mut peers);
    for who in [ALICE, BOB] {
        peers.told(who);
        let store = peers.agents.store(who).unwrap();
        let kept: Vec<_> = store.records().map(|(key, _)| key.kind).collect();
        let of = |kind| kept.iter().filter(|kept| **kept == kind).count();
        assert_eq!(
            [
                peers.kept_events(who),
                of(Kind::Outgoing),
                of(Kind::Received),
                of(Kind::Work)
            ],
            [0; 4]
        );
        assert_eq!(
            [of(Kind::Connection), of(Kind::Ratchet), of(Kind::Queue)],
            [1; 3]
        );
    }
    // When statistics are stored, nothing wakes it any more.
    peers.agents.wait(Duration::from_secs(60));
    assert_eq!(peers.agents.deadline(), None);
}

#[test]
fn both_sides_compare_the_same_code() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    let code = |peers: &mut Peers, who: usize| {
        let connection = peers.names[who].clone();
        peers.agents.ask(who, Command::SecurityCode { connection })
    };
    let alice = code(&mut peers, ALICE);
    assert!(matches!(alice, Ok(Reply::SecurityCode(_))));
    assert_eq!(alice, code(&mut peers, BOB));
}

/// Anybody may write to a queue that nobody has secured yet.
#[test]
fn an_invitation_has_one_confirmation_and_others_do_not_hold_it_up() {
    let mut peers = Peers::new(1, 2);
    for router in &mut peers.agents.routers {
        router.versions = VersionRange::new(6, 6).unwrap();
    }
    let link = peers.invite(InitialKeys::Never);
    for connection in ["alice", "alice again", "alice once more"] {
        peers.names[BOB] = name(connection);
        let join = peers.join(link.clone(), Pq::Off);
        let joined = peers.agents.ask(BOB, join);
        assert!(matches!(joined, Ok(Reply::Joined { .. })), "{joined:?}");
    }
    let told = peers.told(ALICE);
    let asked = told
        .iter()
        .filter(|event| matches!(event, EventContent::Confirmation { .. }));
    assert_eq!(asked.count(), 1, "{told:?}");
    let kept = peers.kept_events(ALICE);
    assert_eq!(kept, 0, "it is confirmed, and nothing else was kept");
}
