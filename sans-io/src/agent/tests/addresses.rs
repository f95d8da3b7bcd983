//! Addresses, and requests to their owners.

use bytes::Bytes;

use super::peers::{ALICE, BOB, Peers, name};
use crate::agent::command::{Command, NewConnection, Receiving, Reply, RequestMode, Waiting};
use crate::agent::config::Config;
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::id::{ConnectionId, RequestName};
use crate::agent::link::ConnectionRequest;
use crate::agent::store::Kind;
use crate::ratchet::{InitialKeys, Pq};
use crate::sim::agents::USER;

pub(super) fn invitation(connection: &ConnectionId) -> Command {
    Command::Create {
        connection: Some(connection.clone()),
        user: USER,
        kind: NewConnection::Invitation {
            pq: InitialKeys::Never,
        },
        client_data: None,
        short: None,
        mode: RequestMode::Interactive,
        receiving: Receiving::AtOnce,
    }
}

pub(super) fn address(peers: &mut Peers) -> ConnectionRequest {
    address_named(peers, "address")
}

fn address_named(peers: &mut Peers, text: &str) -> ConnectionRequest {
    let create = Command::Create {
        connection: Some(name(text)),
        user: USER,
        kind: NewConnection::Address,
        client_data: None,
        short: None,
        mode: RequestMode::Interactive,
        receiving: Receiving::AtOnce,
    };
    match peers.agents.ask(ALICE, create) {
        Ok(Reply::Created { link, .. }) => link.to_string().parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

fn request(peers: &mut Peers, pq: Pq) -> (RequestName, Pq) {
    let link = address(peers);
    let join = peers.join(link, pq);
    let joined = peers.agents.ask(BOB, join);
    assert!(matches!(joined, Ok(Reply::Joined { .. })), "{joined:?}");
    let asked = peers.told(ALICE).into_iter().find_map(|event| match event {
        EventContent::Request { name, pq, info, .. } => {
            assert_eq!(**info, b"bob's info"[..]);
            Some((name, pq))
        }
        _ => None,
    });
    asked.expect("a request")
}

fn accept(name: RequestName, pq: Pq) -> Command {
    Command::Accept {
        address: super::peers::name("address"),
        name,
        connection: Some(super::peers::name("bob")),
        info: Bytes::from_static(b"alice's info"),
        pq,
        mode: RequestMode::Background,
        receiving: Receiving::AtOnce,
    }
}

#[test]
fn the_owner_of_an_address_accepts_a_request() {
    for pq in [Pq::Off, Pq::On] {
        let mut peers = Peers::new(1, 2);
        let (name, offered) = request(&mut peers, pq);
        assert_eq!(offered, Pq::On, "Bob's agent is able to");
        let accepted = peers.agents.ask(ALICE, accept(name, pq));
        assert!(matches!(accepted, Ok(Reply::Joined { .. })), "{accepted:?}");
        // Now Bob is asked, as whoever has made an invitation is.
        let confirmation = peers.told(BOB).into_iter().find_map(|event| match event {
            EventContent::Confirmation { name, pq, .. } => Some((name, pq)),
            _ => None,
        });
        let (name, agreed) = confirmation.expect("a confirmation");
        assert_eq!(agreed, pq);
        let allow = Command::Allow {
            connection: peers.names[BOB].clone(),
            name,
            info: Bytes::from_static(b"bob again"),
        };
        assert_eq!(peers.agents.ask(BOB, allow), Ok(Reply::Done));
        for who in [ALICE, BOB] {
            let connected = |event: &EventContent| matches!(event, EventContent::Connected { .. });
            assert!(peers.told(who).iter().any(connected));
        }
        peers.send(ALICE, "welcome");
        assert_eq!(peers.read(BOB), ["welcome"]);
        peers.send(BOB, "thank you");
        assert_eq!(peers.read(ALICE), ["thank you"]);
    }
}

#[test]
fn a_rejected_request_is_forgotten() {
    let mut peers = Peers::new(1, 1);
    let (name, _) = request(&mut peers, Pq::Off);
    let reject = Command::Reject {
        address: super::peers::name("address"),
        name: name.clone(),
    };
    assert_eq!(peers.agents.ask(ALICE, reject.clone()), Ok(Reply::Done));
    let not_found = AgentError::NotFound {
        context: "request".into(),
    };
    assert_eq!(peers.agents.ask(ALICE, reject), Err(not_found.clone()));
    assert_eq!(
        peers.agents.ask(ALICE, accept(name, Pq::Off)),
        Err(not_found)
    );
}

/// A request belongs to its address: another connection's name does not lead to it.
#[test]
fn a_request_is_found_at_its_address_only() {
    let mut peers = Peers::new(1, 1);
    let (name, _) = request(&mut peers, Pq::Off);
    let reject = Command::Reject {
        address: super::peers::name("another"),
        name,
    };
    assert!(matches!(
        peers.agents.ask(ALICE, reject),
        Err(AgentError::NotFound { .. })
    ));
}

/// Bob asks at an address, under a name of his own.
fn ask_at(peers: &mut Peers, link: &ConnectionRequest, connection: &str) {
    let join = Command::Join {
        connection: Some(name(connection)),
        user: USER,
        request: Box::new(link.clone()),
        info: Bytes::copy_from_slice(connection.as_bytes()),
        pq: Pq::Off,
        mode: RequestMode::Background,
        receiving: Receiving::AtOnce,
    };
    let joined = peers.agents.ask(BOB, join);
    assert!(matches!(joined, Ok(Reply::Joined { .. })), "{joined:?}");
}

fn requests(events: &[EventContent]) -> Vec<(RequestName, String)> {
    let asked = events.iter().filter_map(|event| match event {
        EventContent::Request { name, info, .. } => {
            let info = String::from_utf8(info.to_vec()).unwrap();
            Some((name.clone(), info))
        }
        _ => None,
    });
    asked.collect()
}

fn is_told_of_too_many(events: &[EventContent]) -> bool {
    events.iter().any(|event| {
        matches!(event, EventContent::Error { error: AgentError::Prohibited { context } }
            if context.as_str() == "too many requests wait to be answered")
    })
}

fn limited(max_requests: usize, max_requests_total: usize) -> Peers {
    let config = Config {
        max_requests,
        max_requests_total,
        ..Config::default()
    };
    Peers::with(1, 1, &config)
}

#[test]
fn a_request_that_is_one_too_many_waits_until_another_is_answered() {
    let mut peers = limited(2, 10);
    let link = address(&mut peers);
    for connection in ["first", "second", "third", "fourth"] {
        ask_at(&mut peers, &link, connection);
    }
    let told = peers.told(ALICE);
    assert!(is_told_of_too_many(&told));
    let asked = requests(&told);
    assert_eq!(asked.len(), 2);
    assert_eq!(
        (&*asked[0].1, &*asked[1].1),
        ("first", "second"),
        "the others are at the router"
    );

    // It is known after a restart that there are two.
    peers.agents.crash(ALICE);
    let command = Command::SubscribeAll { user: None };
    assert_eq!(peers.agents.ask(ALICE, command), Ok(Reply::Done));
    let told = peers.told(ALICE);
    assert!(requests(&told).is_empty() && is_told_of_too_many(&told));

    let accepted = peers.agents.ask(ALICE, accept(asked[0].0.clone(), Pq::Off));
    assert!(matches!(accepted, Ok(Reply::Joined { .. })), "{accepted:?}");
    let third = requests(&peers.told(ALICE));
    assert_eq!(third.len(), 1);
    assert_eq!(third[0].1, "third");
    let reject = Command::Reject {
        address: name("address"),
        name: asked[1].0.clone(),
    };
    assert_eq!(peers.agents.ask(ALICE, reject), Ok(Reply::Done));
    let fourth = requests(&peers.told(ALICE));
    assert_eq!(fourth.len(), 1);
    assert_eq!(fourth[0].1, "fourth");
}

#[test]
fn requests_of_all_addresses_are_bounded_together() {
    let mut peers = limited(10, 1);
    let link = address(&mut peers);
    let other = address_named(&mut peers, "other");
    ask_at(&mut peers, &link, "first");
    ask_at(&mut peers, &other, "second");
    let told = peers.told(ALICE);
    let asked = requests(&told);
    assert_eq!(asked.len(), 1);
    assert!(is_told_of_too_many(&told));
    let reject = |address: &str, (request, _): &(RequestName, String)| Command::Reject {
        address: name(address),
        name: request.clone(),
    };
    assert_eq!(
        peers.agents.ask(ALICE, reject("address", &asked[0])),
        Ok(Reply::Done)
    );
    let second = requests(&peers.told(ALICE));
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].1, "second");
    // An address that is deleted makes room, too.
    ask_at(&mut peers, &link, "third");
    assert!(requests(&peers.told(ALICE)).is_empty());
    let delete = Command::Delete {
        connection: name("other"),
        waiting: Waiting::Drop,
    };
    peers.agents.ask(ALICE, delete).unwrap();
    assert_eq!(requests(&peers.told(ALICE)).len(), 1);
}

#[test]
fn requests_that_nobody_answers_are_forgotten_and_others_take_their_place() {
    let mut peers = limited(1, 10);
    let link = address(&mut peers);
    ask_at(&mut peers, &link, "first");
    ask_at(&mut peers, &link, "second");
    // The application has not confirmed it.
    assert_eq!(peers.kept_events(ALICE), 1);
    peers.agents.wait(Config::default().memory);
    peers.agents.wait(Config::default().cleanup * 2);
    let told: Vec<_> = peers
        .agents
        .events(ALICE)
        .into_iter()
        .map(|event| event.content)
        .collect();
    let asked = requests(&told);
    assert_eq!(asked.last().unwrap().1, "second");
    let store = peers.agents.store(ALICE).unwrap();
    let kinds = store.records().map(|(key, _)| key.kind);
    let requests = kinds.filter(|kind| *kind == Kind::Request).count();
    assert_eq!((peers.kept_events(ALICE), requests), (1, 1));
}

/// One address holds a request because of its own bound when all of them together are too many.
#[test]
fn an_address_that_is_not_full_any_more_waits_for_room_among_all() {
    let mut peers = limited(2, 10);
    let link = address(&mut peers);
    let other = address_named(&mut peers, "other");
    for connection in ["first", "second", "third"] {
        ask_at(&mut peers, &link, connection);
    }
    ask_at(&mut peers, &other, "fourth");
    let asked = requests(&peers.told(ALICE));
    assert_eq!(asked.len(), 3);
    // Fewer are wanted from now on.
    let config = Config {
        max_requests: 2,
        max_requests_total: 2,
        ..Config::default()
    };
    peers.agents.configure(ALICE, config);
    peers.agents.crash(ALICE);
    let subscribe = Command::SubscribeAll { user: None };
    assert_eq!(peers.agents.ask(ALICE, subscribe), Ok(Reply::Done));
    assert!(requests(&peers.told(ALICE)).is_empty());
    let reject = |address: &str, text: &str| Command::Reject {
        address: name(address),
        name: asked
            .iter()
            .find(|(_, info)| info == text)
            .unwrap()
            .0
            .clone(),
    };
    peers.agents.ask(ALICE, reject("address", "first")).unwrap();
    assert!(requests(&peers.told(ALICE)).is_empty(), "there are two");
    peers.agents.ask(ALICE, reject("other", "fourth")).unwrap();
    let third = requests(&peers.told(ALICE));
    assert_eq!(third.len(), 1);
    assert_eq!(third[0].1, "third");
}
