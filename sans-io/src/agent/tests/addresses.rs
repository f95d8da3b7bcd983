//! Addresses, and requests to their owners.

use bytes::Bytes;

use super::peers::{ALICE, BOB, Peers, name};
use crate::agent::command::{Command, NewConnection, Receiving, Reply, RequestMode};
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::id::{ConnectionId, RequestName};
use crate::agent::link::ConnectionRequest;
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
    let create = Command::Create {
        connection: Some(name("address")),
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
