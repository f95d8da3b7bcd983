//! Agents that are services: bots with many connections, which are all subscribed to at once.

use std::collections::BTreeSet;

use super::peers::{ALICE, BOB, Peers, name};
use crate::agent::command::{Command, Reply};
use crate::agent::config::Config;
use crate::agent::event::EventContent;
use crate::ratchet::InitialKeys;
use crate::sim::agents::{Reach, USER};

const MANY: usize = 12;

/// Alice is a service.
fn peers() -> Peers {
    let mut peers = Peers::new(1, 2);
    let config = Config {
        services: BTreeSet::from([USER]),
        page: 5,
        ..Config::default()
    };
    peers.agents.configure(ALICE, config);
    peers.agents.crash(ALICE);
    peers.agents.run();
    peers.connect(InitialKeys::Never);
    for number in 1..MANY {
        peers.invite_as(ALICE, &name(&number.to_string()), InitialKeys::Never);
    }
    peers.told(ALICE);
    peers
}

/// How many queues were subscribed to one by one, and how many in the name of the service.
fn subscribed(peers: &mut Peers) -> (usize, usize) {
    let events = peers.agents.events(ALICE);
    let (mut each, mut together) = (0, 0);
    for event in events {
        match event.content {
            EventContent::Up { connections, .. } => each += connections.len(),
            EventContent::ServiceUp { count, .. } => together += count as usize,
            _ => {}
        }
    }
    (each, together)
}

#[test]
fn all_queues_of_a_service_are_subscribed_to_at_once() {
    let mut peers = peers();
    peers.agents.crash(ALICE);
    peers.agents.run();
    assert_eq!(subscribed(&mut peers), (0, MANY));
    peers.send(BOB, "to the service");
    assert_eq!(peers.read(ALICE), ["to the service"]);
    // One more, subscribed to by itself, and all of them when the session was lost.
    peers.invite_as(ALICE, &name("more"), InitialKeys::Never);
    assert_eq!(subscribed(&mut peers), (1, 0));
    peers.agents.crash(ALICE);
    peers.agents.run();
    assert_eq!(subscribed(&mut peers), (0, MANY + 1));
}

/// What an application is told about the service, at both routers.
fn told(peers: &mut Peers) -> Vec<String> {
    let events = peers.agents.events(ALICE);
    let words = events.into_iter().filter_map(|event| match event.content {
        EventContent::ServiceUp { count, .. } => Some(format!("up {count}")),
        EventContent::ServiceDown { count, .. } => Some(format!("down {count}")),
        EventContent::ServiceAll { .. } => Some("all".to_owned()),
        EventContent::ServiceEnd { count, .. } => Some(format!("end {count}")),
        _ => None,
    });
    let mut words: Vec<_> = words.collect();
    words.sort();
    words
}

#[test]
fn an_application_is_told_when_its_service_receives_and_when_not() {
    let mut peers = peers();
    peers.agents.crash(ALICE);
    peers.agents.run();
    assert_eq!(told(&mut peers), ["all", "all", "up 5", "up 7"]);
    for router in 0..2 {
        peers.agents.reach(router, Reach::Down);
    }
    assert_eq!(told(&mut peers), ["down 5", "down 7"]);
    for router in 0..2 {
        peers.agents.reach(router, Reach::Up);
    }
    peers.agents.wait(std::time::Duration::from_secs(60));
    assert_eq!(told(&mut peers), ["all", "all", "up 5", "up 7"]);
}

#[test]
fn where_the_router_does_not_know_the_service_each_queue_is_subscribed_to() {
    let mut peers = peers();
    peers.agents.renew_service(ALICE);
    peers.agents.crash(ALICE);
    peers.agents.run();
    assert_eq!(subscribed(&mut peers), (MANY, 0));
    peers.send(BOB, "to the new service");
    assert_eq!(peers.read(ALICE), ["to the new service"]);
    // Now it knows.
    peers.agents.crash(ALICE);
    peers.agents.run();
    assert_eq!(subscribed(&mut peers), (0, MANY));
}

#[test]
fn a_queue_that_the_service_has_deleted_is_no_longer_the_service_s() {
    let mut peers = peers();
    let delete = Command::Delete {
        connection: name("1"),
        waiting: crate::agent::command::Waiting::Drop,
    };
    assert_eq!(peers.agents.ask(ALICE, delete), Ok(Reply::Done));
    peers.agents.crash(ALICE);
    peers.agents.run();
    assert_eq!(subscribed(&mut peers), (0, MANY - 1));
}
