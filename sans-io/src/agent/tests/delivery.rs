//! Messages that cannot be delivered at once; connections that end; no network.

use std::time::Duration;

use super::peers::{ALICE, BOB, Peers};
use crate::agent::command::{Command, NetworkState, Reply, Waiting};
use crate::agent::config::{Config, UserRouter};
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::id::MessageId;
use crate::agent::store::Kind;
use crate::ratchet::InitialKeys;
use crate::sim::agents::Reach;
use crate::smp::ErrorType;

const DAY: Duration = Duration::from_secs(86400);

fn delete(peers: &mut Peers, who: usize, waiting: Waiting) {
    let connection = peers.names[who].clone();
    let delete = Command::Delete {
        connection,
        waiting,
    };
    assert_eq!(peers.agents.ask(who, delete), Ok(Reply::Done));
}

fn is_forgotten(peers: &Peers, who: usize) -> bool {
    let store = peers.agents.store(who).unwrap();
    let kept = [Kind::OF_CONNECTION.as_slice(), &[Kind::Queue]].concat();
    !store.records().any(|(key, _)| kept.contains(&key.kind))
}

#[test]
fn a_message_waits_for_its_router() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    peers.agents.reach(0, Reach::Down);
    let message = peers.send(ALICE, "waits");
    peers.agents.wait(Duration::from_secs(3600));
    assert_eq!(peers.read(BOB), [""; 0]);
    peers.agents.reach(0, Reach::Up);
    peers.agents.wait(Duration::from_secs(300));
    assert_eq!(peers.read(BOB), ["waits"]);
    let sent = |event: &EventContent| matches!(event, EventContent::Sent { message: sent, .. } if *sent == message);
    assert!(peers.told(ALICE).iter().any(sent));
}

#[test]
fn a_message_that_waits_too_long_is_reported() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    peers.agents.reach(0, Reach::Down);
    let messages = [peers.send(ALICE, "one"), peers.send(ALICE, "two")];
    peers.told(ALICE);
    peers.agents.wait(3 * DAY);
    let failed = peers
        .told(ALICE)
        .into_iter()
        .filter_map(|event| match event {
            EventContent::SendFailed { messages, .. } => Some(messages.into_vec()),
            _ => None,
        });
    assert_eq!(failed.flatten().collect::<Vec<_>>(), messages);
    peers.agents.reach(0, Reach::Up);
    peers.agents.wait(Duration::from_secs(300));
    peers.send(ALICE, "three");
    assert_eq!(peers.read(BOB), ["three"]);
}

#[test]
fn a_full_queue_goes_on_as_soon_as_it_has_room() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Never);
    let count = 140;
    for number in 0..count {
        peers.send(ALICE, &number.to_string());
    }
    let warned = |event: &EventContent| {
        matches!(event, EventContent::SendWarning { error: AgentError::Smp { error, .. }, .. }
            if **error == ErrorType::Quota)
    };
    assert!(peers.told(ALICE).iter().any(warned));
    let expected: Vec<_> = (0..count).map(|number| number.to_string()).collect();
    assert_eq!(peers.read(BOB), expected, "without any time passing");
    let goes_on = |event: &EventContent| matches!(event, EventContent::QueueContinue);
    assert!(peers.told(ALICE).iter().any(goes_on));
}

/// So many commands of senders have reached the routers since the last call.
fn sent(peers: &mut Peers) -> u32 {
    let routers = peers.agents.routers.iter_mut();
    routers
        .map(|router| std::mem::take(&mut router.commands).direct)
        .sum()
}

#[test]
fn several_messages_are_under_way_at_once_and_stay_in_order() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    sent(&mut peers);
    for number in 0..20 {
        let send = peers.sending(ALICE, &number.to_string());
        peers.agents.command(ALICE, send);
    }
    // They are stored; nothing was heard of any router yet.
    assert!(peers.agents.step(ALICE));
    assert_eq!(sent(&mut peers), 16);
    peers.agents.run();
    let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(peers.read(BOB), expected);
}

#[test]
fn a_queue_that_has_refused_is_tried_with_one_message() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Never);
    for number in 0..160 {
        peers.send(ALICE, &number.to_string());
    }
    sent(&mut peers);
    let full = Duration::from_secs(310);
    peers.agents.wait(full);
    assert_eq!(sent(&mut peers), 1);
    let expected: Vec<_> = (0..160).map(|number| number.to_string()).collect();
    assert_eq!(peers.read(BOB), expected);
}

/// A queue that is full may be emptied when its recipient is back from a journey: that takes longer than the repair of a router.
#[test]
fn what_waits_too_long_for_a_full_queue_is_reported() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Never);
    for number in 0..130 {
        peers.send(ALICE, &number.to_string());
    }
    let failed = |peers: &mut Peers| -> usize {
        let events = peers.told(ALICE).into_iter();
        let failed = events.filter_map(|event| match event {
            EventContent::SendFailed { messages, error } => {
                assert!(
                    matches!(error, AgentError::Smp { error, .. } if *error == ErrorType::Quota)
                );
                Some(messages.len())
            }
            _ => None,
        });
        failed.sum()
    };
    assert_eq!(failed(&mut peers), 0);
    peers.agents.wait(6 * DAY);
    assert_eq!(failed(&mut peers), 0);
    peers.agents.wait(2 * DAY);
    assert_eq!(failed(&mut peers), 2);
}

#[test]
fn a_deleted_connection_leaves_nothing_behind() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Later);
    delete(&mut peers, ALICE, Waiting::Drop);
    let deleted = |event: &EventContent| matches!(event, EventContent::Deleted);
    assert!(peers.told(ALICE).iter().any(deleted));
    assert!(is_forgotten(&peers, ALICE));
    let message = peers.send(BOB, "too late");
    let failed = |event: &EventContent| {
        matches!(event, EventContent::SendFailed { messages, error: AgentError::Smp { error, .. } }
            if messages.first() == &message && **error == ErrorType::Auth)
    };
    assert!(peers.told(BOB).iter().any(failed));
}

#[test]
fn a_connection_is_deleted_after_what_waits_was_delivered() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    peers.agents.reach(0, Reach::Down);
    peers.send(ALICE, "last words");
    delete(&mut peers, ALICE, Waiting::Deliver);
    let send = peers.sending(ALICE, "no more");
    assert!(matches!(
        peers.agents.ask(ALICE, send),
        Err(AgentError::NotFound { .. })
    ));
    peers.agents.reach(0, Reach::Up);
    peers.agents.wait(Duration::from_secs(600));
    assert_eq!(peers.read(BOB), ["last words"]);
    assert!(is_forgotten(&peers, ALICE));
}

#[test]
fn a_connection_whose_router_is_gone_is_deleted_nevertheless() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    peers.agents.reach(0, Reach::Down);
    peers.send(ALICE, "nobody hears");
    delete(&mut peers, ALICE, Waiting::Deliver);
    peers.agents.wait(3 * DAY);
    assert!(is_forgotten(&peers, ALICE));
    let given_up = |event: &EventContent| {
        matches!(
            event,
            EventContent::ReceiveQueueDeleted { error: Some(_), .. }
        )
    };
    assert!(peers.told(ALICE).iter().any(given_up));
}

#[test]
fn a_crash_while_a_connection_is_deleted_ends_in_its_deletion() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    peers.agents.reach(0, Reach::Down);
    delete(&mut peers, ALICE, Waiting::Drop);
    peers.agents.crash(ALICE);
    peers.agents.reach(0, Reach::Up);
    peers.agents.wait(Duration::from_secs(300));
    assert!(is_forgotten(&peers, ALICE));
}

#[test]
fn a_suspended_connection_takes_nothing() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    let connection = peers.names[BOB].clone();
    assert_eq!(
        peers.agents.ask(BOB, Command::Suspend { connection }),
        Ok(Reply::Done)
    );
    peers.send(ALICE, "refused");
    let failed = |event: &EventContent| matches!(event, EventContent::SendFailed { .. });
    assert!(peers.told(ALICE).iter().any(failed));
}

#[test]
fn without_a_network_nothing_wakes_the_agent() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Later);
    peers
        .agents
        .command(ALICE, Command::Network(NetworkState::Offline));
    peers
        .agents
        .command(BOB, Command::Network(NetworkState::Offline));
    peers.agents.run();
    let message = peers.send(ALICE, "later");
    assert_eq!(peers.agents.deadline(), None);
    peers.agents.wait(DAY / 2);
    assert_eq!(peers.agents.deadline(), None);
    peers
        .agents
        .command(ALICE, Command::Network(NetworkState::Online));
    peers
        .agents
        .command(BOB, Command::Network(NetworkState::Online));
    peers.agents.run();
    assert_eq!(peers.read(BOB), ["later"]);
    let sent = |event: &EventContent| matches!(event, EventContent::Sent { message: sent, .. } if *sent == message);
    assert!(peers.told(ALICE).iter().any(sent));
}

/// §10, 22: what was received is known by itself, not by being the last.
#[test]
fn a_message_that_is_delivered_again_is_told_again_until_it_is_acknowledged() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Later);
    peers.send(ALICE, "one");
    let told = |peers: &mut Peers| {
        let messages = peers.told(BOB).into_iter().filter_map(|event| match event {
            EventContent::Message { meta, .. } => Some(meta.message),
            _ => None,
        });
        messages.collect::<Vec<_>>()
    };
    let first = told(&mut peers);
    assert_eq!(first.len(), 1);
    // Something else gets a number in between; then the session is lost.
    peers.send(BOB, "meanwhile");
    peers.agents.crash(BOB);
    peers.agents.run();
    assert_eq!(told(&mut peers), first);
    peers.acknowledge(BOB, first[0], None);
    peers.acknowledge(BOB, first[0], None);
    peers.agents.crash(BOB);
    peers.agents.run();
    assert_eq!(told(&mut peers), []);
}

/// Events stay until they are confirmed.
#[test]
fn what_the_application_has_not_confirmed_is_told_again() {
    let mut peers = Peers::new(1, 1);
    let request = peers.invite(InitialKeys::Never);
    let join = peers.join(request, crate::ratchet::Pq::Off);
    peers.agents.ask(BOB, join).unwrap();
    let confirmations = |peers: &mut Peers| {
        let events = peers.agents.events(ALICE);
        let confirmations = events.into_iter().filter_map(|event| match event.content {
            EventContent::Confirmation { .. } => event.id,
            _ => None,
        });
        confirmations.collect::<Vec<_>>()
    };
    let told = confirmations(&mut peers);
    assert_eq!(told.len(), 1);
    peers.agents.crash(ALICE);
    peers.agents.run();
    assert_eq!(confirmations(&mut peers), told);
    peers
        .agents
        .command(ALICE, Command::Confirm { event: told[0] });
    peers.agents.run();
    peers.agents.crash(ALICE);
    peers.agents.run();
    assert_eq!(confirmations(&mut peers), []);
}

#[test]
fn no_number_of_an_event_is_used_again() {
    let mut peers = Peers::new(1, 1);
    let mut last = None;
    for number in 0..3 {
        let name = super::peers::name(&format!("bob{number}"));
        let request = peers.invite_as(ALICE, &name, InitialKeys::Never);
        peers.names[BOB] = super::peers::name(&format!("alice{number}"));
        let join = peers.join(request, crate::ratchet::Pq::Off);
        peers.agents.ask(BOB, join).unwrap();
        let ids: Vec<_> = peers
            .agents
            .events(ALICE)
            .into_iter()
            .filter_map(|event| event.id)
            .collect();
        assert!(!ids.is_empty() && ids.iter().all(|id| Some(*id) > last));
        last = ids.iter().copied().max();
        for event in ids {
            peers.agents.command(ALICE, Command::Confirm { event });
        }
        peers.agents.run();
        peers.agents.crash(ALICE);
        peers.agents.run();
    }
}

fn waits(what: &str) -> AgentError {
    AgentError::Prohibited {
        context: what.into(),
    }
}

#[test]
fn messages_that_wait_are_bounded_in_each_connection_and_in_all() {
    let config = Config {
        max_outgoing: 2,
        max_outgoing_bytes: 40_000,
        ..Config::default()
    };
    let mut peers = Peers::with(1, 1, &config);
    peers.connect(InitialKeys::Never);
    peers.agents.reach(0, Reach::Down);
    peers.send(ALICE, "first");
    peers.send(ALICE, "second");
    let third = peers.sending(ALICE, "third");
    let full = Err(waits("too many messages wait"));
    assert_eq!(peers.agents.ask(ALICE, third.clone()), full);
    // It is known after a restart, when they are sent.
    peers.agents.crash(ALICE);
    assert_eq!(peers.agents.ask(ALICE, third), full);
    peers.agents.reach(0, Reach::Up);
    peers.agents.wait(Duration::from_secs(300));
    assert_eq!(peers.read(BOB), ["first", "second"]);

    let config = Config {
        max_outgoing_bytes: 20_000,
        ..Config::default()
    };
    let mut peers = Peers::with(1, 1, &config);
    peers.connect(InitialKeys::Never);
    peers.agents.reach(0, Reach::Down);
    let large = "x".repeat(15_000);
    peers.send(ALICE, &large);
    peers.send(ALICE, &large);
    let third = peers.sending(ALICE, "third");
    let full = Err(waits("too many messages of all connections wait"));
    assert_eq!(peers.agents.ask(ALICE, third.clone()), full);
    peers.agents.crash(ALICE);
    assert_eq!(peers.agents.ask(ALICE, third), full);
    peers.agents.reach(0, Reach::Up);
    peers.agents.wait(Duration::from_secs(300));
    assert_eq!(peers.read(BOB).len(), 2);
    peers.send(ALICE, "there is room");
    assert_eq!(peers.read(BOB), ["there is room"]);
}

/// A peer can make an agent say something as often as it likes.
#[test]
fn what_the_agent_itself_has_to_say_is_bounded_a_little_above_that() {
    let mut peers = Peers::with(1, 2, &Config::default());
    for who in [ALICE, BOB] {
        let own = peers.agents.routers[who].address.clone();
        peers.agents.use_routers(who, vec![UserRouter::new(own)]);
    }
    peers.connect(InitialKeys::Never);
    let config = Config {
        max_outgoing: 0,
        ..Config::default()
    };
    peers.agents.configure(ALICE, config);
    peers.agents.crash(ALICE);
    peers
        .agents
        .ask(ALICE, Command::SubscribeAll { user: None })
        .unwrap();
    peers.agents.reach(BOB, Reach::Down);
    for number in 0..100 {
        peers.send(BOB, &number.to_string());
        let message = message(&mut peers);
        peers.acknowledge(ALICE, message, Some(""));
    }
    peers.send(BOB, "one more");
    let message = message(&mut peers);
    let acknowledge = |receipt| Command::Acknowledge {
        connection: crate::agent::tests::peers::name("bob"),
        message,
        receipt,
    };
    let with_receipt = peers.agents.ask(ALICE, acknowledge(Some("".into())));
    assert_eq!(with_receipt, Err(waits("too many messages wait")));
    let without = peers.agents.ask(ALICE, acknowledge(None));
    assert_eq!(without, Ok(Reply::Done));
}

/// The message that Alice is told of.
fn message(peers: &mut Peers) -> MessageId {
    let told = peers.told(ALICE).into_iter();
    let mut messages = told.filter_map(|event| match event {
        EventContent::Message { meta, .. } => Some(meta.message),
        _ => None,
    });
    messages.next().expect("a message")
}
