//! Queues that are replaced.

use std::time::Duration;

use super::peers::{ALICE, BOB, Peers};
use crate::agent::command::{CanAbort, Command, ConnectionStatistics, Reply};
use crate::agent::error::AgentError;
use crate::agent::event::{Direction, EventContent, SwitchPhase};
use crate::agent::store::record::ReceivePhase;
use crate::ratchet::InitialKeys;
use crate::sim::agents::Reach;
use crate::wire::{ServerAddress, SmpScheme};

fn switch(peers: &mut Peers, who: usize) -> Result<Reply, AgentError> {
    let connection = peers.names[who].clone();
    peers.agents.ask(who, Command::Switch { connection })
}

fn abort(peers: &mut Peers, who: usize) -> Result<Reply, AgentError> {
    let connection = peers.names[who].clone();
    peers.agents.ask(who, Command::AbortSwitch { connection })
}

fn phases(peers: &mut Peers, who: usize) -> Vec<(Direction, SwitchPhase)> {
    let events = peers.told(who).into_iter().filter_map(|event| match event {
        EventContent::Switch { direction, phase } => Some((direction, phase)),
        EventContent::Error { error } => panic!("{error}"),
        _ => None,
    });
    events.collect()
}

const ALL: [SwitchPhase; 4] = [
    SwitchPhase::Started,
    SwitchPhase::Confirmed,
    SwitchPhase::Secured,
    SwitchPhase::Completed,
];

fn routers(peers: &mut Peers, who: usize) -> (usize, usize) {
    let statistics = statistics(peers, who);
    (statistics.receive.len(), statistics.send.len())
}

#[test]
fn a_queue_is_replaced() {
    let mut peers = Peers::connected(1, 3, InitialKeys::Later);
    assert_eq!(switch(&mut peers, ALICE), Ok(Reply::Done));
    assert_eq!(
        phases(&mut peers, ALICE),
        ALL.map(|phase| (Direction::Receive, phase))
    );
    assert_eq!(
        phases(&mut peers, BOB),
        ALL.map(|phase| (Direction::Send, phase))
    );
    peers.send(BOB, "through the new one");
    assert_eq!(peers.read(ALICE), ["through the new one"]);
    assert_eq!(routers(&mut peers, ALICE), (1, 1), "the old one is deleted");
    assert_eq!(routers(&mut peers, BOB), (1, 1));
    // And again.
    assert_eq!(switch(&mut peers, ALICE), Ok(Reply::Done));
    peers.send(BOB, "and again");
    assert_eq!(peers.read(ALICE), ["and again"]);
}

#[test]
fn both_sides_replace_their_queues_at_once() {
    let mut peers = Peers::connected(1, 3, InitialKeys::Later);
    let connection = peers.names[ALICE].clone();
    peers.agents.command(ALICE, Command::Switch { connection });
    assert_eq!(switch(&mut peers, BOB), Ok(Reply::Done));
    peers.agents.wait(Duration::from_secs(60));
    for who in [ALICE, BOB] {
        assert_eq!(phases(&mut peers, who).len(), 8);
        assert_eq!(routers(&mut peers, who), (1, 1));
    }
    peers.send(ALICE, "a");
    peers.send(BOB, "b");
    assert_eq!(
        (peers.read(ALICE), peers.read(BOB)),
        (vec!["b".into()], vec!["a".into()])
    );
}

/// §5.4 and §10: what waits for the old queue, or waits in it, is not lost.
#[test]
fn no_message_of_the_old_queue_is_lost() {
    let mut peers = Peers::connected(1, 3, InitialKeys::Later);
    // These wait in the old queue, as Alice does not acknowledge the first.
    for number in 0..5 {
        peers.send(BOB, &number.to_string());
    }
    assert_eq!(switch(&mut peers, ALICE), Ok(Reply::Done));
    peers.send(BOB, "5");
    assert_eq!(peers.read(ALICE), ["0", "1", "2", "3", "4", "5"]);
    peers.agents.wait(Duration::from_secs(600));
    assert_eq!(routers(&mut peers, ALICE), (1, 1), "then it is deleted");
}

#[test]
fn messages_that_wait_while_the_router_is_away_take_the_new_way() {
    let mut peers = Peers::connected(3, 4, InitialKeys::Never);
    let old = router_of(&mut peers, ALICE);
    peers.agents.reach(old, Reach::Down);
    peers.send(BOB, "waits");
    peers.agents.wait(Duration::from_secs(60));
    assert_eq!(peers.read(ALICE), [""; 0]);
    peers.agents.reach(old, Reach::Up);
    assert_eq!(switch(&mut peers, ALICE), Ok(Reply::Done));
    peers.agents.wait(Duration::from_secs(600));
    peers.send(BOB, "follows");
    assert_eq!(peers.read(ALICE), ["waits", "follows"]);
    assert_eq!(routers(&mut peers, ALICE), (1, 1));
}

#[test]
fn a_rotation_that_the_sender_does_not_know_of_is_aborted() {
    let mut peers = Peers::connected(1, 3, InitialKeys::Later);
    assert!(matches!(
        abort(&mut peers, ALICE),
        Err(AgentError::Prohibited { .. })
    ));
    // Bob's queue cannot be reached: QADD waits.
    let of_bob = router_of(&mut peers, BOB);
    peers.agents.reach(of_bob, Reach::Down);
    assert_eq!(switch(&mut peers, ALICE), Ok(Reply::Done));
    let again = switch(&mut peers, ALICE);
    assert!(matches!(again, Err(AgentError::Prohibited { .. })));
    let connection = peers.names[ALICE].clone();
    let statistics = peers.agents.ask(ALICE, Command::Statistics { connection });
    assert!(
        matches!(statistics, Ok(Reply::Statistics(s)) if s.receive[0].can_abort == CanAbort::Yes)
    );
    assert_eq!(abort(&mut peers, ALICE), Ok(Reply::Done));
    let aborted = (Direction::Receive, SwitchPhase::Aborted);
    assert_eq!(phases(&mut peers, ALICE).last(), Some(&aborted));
    peers.agents.reach(of_bob, Reach::Up);
    peers.agents.wait(Duration::from_secs(300));
    peers.send(BOB, "the old way");
    assert_eq!(peers.read(ALICE), ["the old way"]);
}

/// §12: a rotation does not stay where it is because a router is dead.
#[test]
fn a_dead_router_does_not_hold_a_rotation_for_ever() {
    let mut peers = Peers::connected(1, 4, InitialKeys::Later);
    let of_bob = router_of(&mut peers, BOB);
    peers.agents.reach(of_bob, Reach::Down);
    assert_eq!(switch(&mut peers, ALICE), Ok(Reply::Done));
    peers.agents.wait(Duration::from_secs(3 * 86400));
    let told = peers.told(ALICE);
    let aborted = |event: &EventContent| {
        matches!(
            event,
            EventContent::Switch {
                phase: SwitchPhase::Aborted,
                ..
            }
        )
    };
    assert!(told.iter().any(aborted), "{told:?}");
    assert_eq!(routers(&mut peers, ALICE), (1, 1));
}

/// §12: whichever router dies for good, and whenever: the rotation ends, and what was accepted is delivered or reported.
#[test]
fn a_router_that_dies_at_any_moment_of_a_rotation_does_not_hold_it() {
    for router in 0..4 {
        for steps in (0..48).step_by(12) {
            let mut peers = Peers::connected(1, 4, InitialKeys::Never);
            let connection = peers.names[ALICE].clone();
            peers.agents.command(ALICE, Command::Switch { connection });
            for step in 0..steps {
                peers.agents.step(step % 2);
            }
            peers.agents.reach(router, Reach::Down);
            peers.agents.wait(Duration::from_secs(5 * 86400));
            let connection = peers.names[ALICE].clone();
            let statistics = peers.agents.ask(ALICE, Command::Statistics { connection });
            let Ok(Reply::Statistics(statistics)) = statistics else {
                panic!("{statistics:?}")
            };
            let switching = statistics.receive.iter().any(|queue| {
                // Told again and again to use the new queue, the sender may still do so.
                let phase = queue.switch;
                phase.is_some_and(|phase| phase != ReceivePhase::Using)
            });
            assert!(!switching, "{router} {steps}: {statistics:?}");
            peers.agents.reach(router, Reach::Up);
            peers.agents.wait(Duration::from_secs(3 * 86400));
            assert_eq!(routers(&mut peers, ALICE).0, 1, "{router} {steps}");
            peers.send(BOB, "this way or that");
            peers.agents.wait(Duration::from_secs(600));
            assert_eq!(peers.read(ALICE), ["this way or that"]);
        }
    }
}

#[test]
fn a_connection_is_deleted_while_its_queue_is_replaced() {
    for steps in (0..40).step_by(5) {
        let mut peers = Peers::connected(1, 3, InitialKeys::Never);
        let connection = peers.names[ALICE].clone();
        peers.agents.command(ALICE, Command::Switch { connection });
        for step in 0..steps {
            peers.agents.step(step % 2);
        }
        let delete = Command::Delete {
            connection: peers.names[ALICE].clone(),
            waiting: crate::agent::command::Waiting::Drop,
        };
        assert_eq!(peers.agents.ask(ALICE, delete), Ok(Reply::Done));
        peers.agents.wait(Duration::from_secs(600));
        let told = peers.told(ALICE);
        assert!(told.contains(&EventContent::Deleted), "{steps}: {told:?}");
        let queues: usize = peers
            .agents
            .routers
            .iter()
            .map(|router| router.world.store.crash().queues.len())
            .sum();
        assert_eq!(queues, 1, "{steps}: Bob's only");
    }
}

/// The response to QTEST is lost: the sender learns from the next rotation that it has arrived.
#[test]
fn a_queue_is_replaced_again_before_its_sender_knows_that_it_works() {
    crate::sim::chaos::survive(crate::sim::chaos::Scenario::Queues, 1672);
}

/// The router of the old queue is away for a while: what comes through the new one waits for what is left there.
#[test]
fn messages_of_a_new_queue_wait_until_the_router_of_the_old_one_is_back() {
    for seed in [1246, 2236, 3160, 3394, 4714, 4972] {
        crate::sim::chaos::survive(crate::sim::chaos::Scenario::Queues, seed);
    }
}

/// The old queue is looked into for the last time while a message is on its way there: its router takes it, and nobody will see it.
#[test]
fn what_a_deleted_queue_has_taken_comes_through_the_new_one() {
    crate::sim::chaos::survive(crate::sim::chaos::Scenario::Queues, 1828);
}

/// At whatever moment of a rotation the router of the new queue goes away, messages arrive through the old one until the new one works.
#[test]
fn messages_arrive_while_the_new_queue_cannot_be_tried() {
    let mut tried = 0;
    for steps in 0..80 {
        let mut peers = Peers::connected(1, 3, InitialKeys::Later);
        let old = router_of(&mut peers, ALICE);
        let connection = peers.names[ALICE].clone();
        peers.agents.command(ALICE, Command::Switch { connection });
        for step in 0..steps {
            peers.agents.step(step % 2);
        }
        for router in (0..3).filter(|router| *router != old) {
            peers.agents.reach(router, Reach::Down);
        }
        let completed = sends_to(&mut peers) != old;
        let sent: Vec<_> = (0..3).map(|number: u32| number.to_string()).collect();
        for text in &sent {
            peers.send(BOB, text);
            peers.agents.wait(Duration::from_secs(5));
        }
        if !completed {
            tried += 1;
            assert_eq!(peers.read(ALICE), sent, "{steps}");
        }
        for router in 0..3 {
            peers.agents.reach(router, Reach::Up);
        }
        peers.agents.wait(Duration::from_secs(10 * 86400));
        peers.send(BOB, "3");
        peers.agents.wait(Duration::from_secs(600));
        let last = peers.read(ALICE);
        assert!(last.ends_with(&["3".into()]), "{steps}: {last:?}");
        assert_eq!(
            last.len(),
            if completed { 4 } else { 1 },
            "{steps}: none twice"
        );
        assert_eq!(routers(&mut peers, ALICE).0, 1);
    }
    assert!(tried > 20);
}

/// It is told once, also while the application takes its time to acknowledge it.
#[test]
fn what_comes_through_both_queues_is_told_once() {
    for steps in 0..80 {
        let mut peers = Peers::connected(1, 3, InitialKeys::Later);
        let connection = peers.names[ALICE].clone();
        peers.agents.command(ALICE, Command::Switch { connection });
        for step in 0..steps {
            peers.agents.step(step % 2);
        }
        // It may be on its way to the old queue when the new one is to be used.
        let send = peers.sending(BOB, "once");
        peers.agents.command(BOB, send);
        peers.agents.wait(Duration::from_secs(600));
        let told = peers.told(ALICE).into_iter();
        let told = told.filter(|event| matches!(event, EventContent::Message { .. }));
        assert_eq!(told.count(), 1, "{steps}");
        // It is acknowledged where it has come from, so that what follows comes.
        let connection = peers.names[ALICE].clone();
        let subscribe = Command::Subscribe { connection };
        assert_eq!(peers.agents.ask(ALICE, subscribe), Ok(Reply::Done));
        assert_eq!(peers.read(ALICE), ["once"], "{steps}");
        peers.send(BOB, "next");
        peers.agents.wait(Duration::from_secs(600));
        assert_eq!(peers.read(ALICE), ["next"], "{steps}");
    }
}

/// The router that somebody receives from.
fn router_of(peers: &mut Peers, who: usize) -> usize {
    let statistics = statistics(peers, who);
    index_of(peers, &statistics.receive[0].router)
}

/// The router that Bob sends to.
fn sends_to(peers: &mut Peers) -> usize {
    let statistics = statistics(peers, BOB);
    index_of(peers, &statistics.send[0].router)
}

fn statistics(peers: &mut Peers, who: usize) -> ConnectionStatistics {
    let connection = peers.names[who].clone();
    match peers.agents.ask(who, Command::Statistics { connection }) {
        Ok(Reply::Statistics(statistics)) => *statistics,
        other => panic!("{other:?}"),
    }
}

fn index_of(peers: &Peers, address: &ServerAddress<SmpScheme>) -> usize {
    let mut routers = peers.agents.routers.iter();
    routers
        .position(|router| router.address == *address)
        .unwrap()
}
