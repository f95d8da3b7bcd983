//! Ratchets that do not fit any more, and are replaced.

use std::time::Duration;

use super::peers::{ALICE, BOB, Peers};
use crate::agent::command::{Command, Force, Reply};
use crate::agent::config::{Config, UserRouter};
use crate::agent::error::AgentError;
use crate::agent::event::{EventContent, SyncState};
use crate::ratchet::{InitialKeys, Pq};
use crate::sim::agents::Reach;

fn synchronize(peers: &Peers, who: usize, force: Force) -> Command {
    Command::Synchronize {
        connection: peers.names[who].clone(),
        pq: Pq::On,
        force,
    }
}

fn states(peers: &mut Peers, who: usize) -> Vec<SyncState> {
    let events = peers.told(who).into_iter().filter_map(|event| match event {
        EventContent::RatchetSync { state, .. } => Some(state),
        EventContent::Error { error } => panic!("{error}"),
        _ => None,
    });
    events.collect()
}

fn talk(peers: &mut Peers) {
    for round in 0..3 {
        peers.send(ALICE, &format!("a{round}"));
        assert_eq!(peers.read(BOB), [format!("a{round}")]);
        peers.send(BOB, &format!("b{round}"));
        assert_eq!(peers.read(ALICE), [format!("b{round}")]);
    }
}

#[test]
fn one_side_makes_a_new_ratchet() {
    for who in [ALICE, BOB] {
        let mut peers = Peers::connected(1, 2, InitialKeys::Later);
        let command = synchronize(&peers, who, Force::Yes);
        assert_eq!(peers.agents.ask(who, command), Ok(Reply::Done));
        assert_eq!(
            states(&mut peers, who),
            [SyncState::Started, SyncState::Agreed, SyncState::Ok]
        );
        let other = 1 - who;
        assert_eq!(
            states(&mut peers, other),
            [SyncState::Agreed, SyncState::Ok]
        );
        talk(&mut peers);
    }
}

#[test]
fn both_sides_start_at_once_and_it_ends() {
    for seed in 0..4 {
        let mut peers = Peers::connected(seed, 2, InitialKeys::Later);
        let (alice, bob) = (
            synchronize(&peers, ALICE, Force::Yes),
            synchronize(&peers, BOB, Force::Yes),
        );
        peers.agents.command(ALICE, alice);
        peers.agents.command(BOB, bob);
        peers.agents.run();
        for who in [ALICE, BOB] {
            assert_eq!(states(&mut peers, who).last(), Some(&SyncState::Ok));
        }
        talk(&mut peers);
    }
}

/// What stands before our keys is received with the ratchet that it was accepted for, whichever side takes which role.
#[test]
fn what_waits_while_a_new_ratchet_is_agreed_on_is_received() {
    for seed in 0..8 {
        for pq in [InitialKeys::Later, InitialKeys::Never] {
            let mut peers = Peers::with(seed, 2, &Config::default());
            for who in [ALICE, BOB] {
                let router = UserRouter::new(peers.agents.routers[who].address.clone());
                peers.agents.use_routers(who, vec![router]);
            }
            peers.connect(pq);
            peers.agents.reach(BOB, Reach::Down);
            for text in ["0", "1", "2"] {
                peers.send(ALICE, text);
            }
            let command = synchronize(&peers, BOB, Force::Yes);
            assert_eq!(peers.agents.ask(BOB, command), Ok(Reply::Done));
            peers.agents.wait(Duration::from_secs(10));
            assert_eq!(peers.read(BOB), [""; 0], "its router is away");
            peers.agents.reach(BOB, Reach::Up);
            peers.agents.wait(Duration::from_secs(600));
            assert_eq!(peers.read(BOB), ["0", "1", "2"], "seed {seed} {pq:?}");
            talk(&mut peers);
        }
    }
}

#[test]
fn without_need_it_is_refused() {
    let mut peers = Peers::connected(1, 1, InitialKeys::Never);
    let command = synchronize(&peers, ALICE, Force::No);
    assert!(matches!(
        peers.agents.ask(ALICE, command),
        Err(AgentError::Prohibited { .. })
    ));
}

/// §12: a peer that is back from an old backup is reported, and one new ratchet ends it.
#[test]
fn an_old_backup_does_not_loop() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Later);
    talk(&mut peers);
    let backup = peers.agents.store(ALICE).unwrap().clone();
    talk(&mut peers);
    talk(&mut peers);
    peers.agents.restore(ALICE, backup);
    peers.agents.run();
    peers.told(ALICE);
    // Both find out: nobody starts anything by himself.
    peers.send(ALICE, "from the past");
    assert_eq!(peers.read(BOB), [""; 0]);
    let command = peers.sending(BOB, "to the past");
    peers.agents.ask(BOB, command).ok();
    peers.agents.wait(Duration::from_secs(3600));
    let last = |states: Vec<SyncState>| states.last().copied();
    let (alice, bob) = (states(&mut peers, ALICE), states(&mut peers, BOB));
    assert!(alice.len() <= 1 && bob.len() <= 1, "{alice:?} {bob:?}");
    let command = synchronize(&peers, BOB, Force::Yes);
    assert_eq!(peers.agents.ask(BOB, command), Ok(Reply::Done));
    assert_eq!(last(states(&mut peers, BOB)), Some(SyncState::Ok));
    assert_eq!(last(states(&mut peers, ALICE)), Some(SyncState::Ok));
    peers.read(ALICE);
    peers.read(BOB);
    talk(&mut peers);
}

/// §5.4: the private keys are stored in the transaction that gives the public ones to the queue.
#[test]
fn a_crash_after_the_keys_are_stored_ends_in_the_new_ratchet() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Later);
    let command = synchronize(&peers, ALICE, Force::Yes);
    peers.agents.command(ALICE, command);
    peers.agents.run();
    peers.agents.crash(ALICE);
    peers.agents.run();
    peers.agents.wait(Duration::from_secs(60));
    assert_eq!(states(&mut peers, ALICE).last(), Some(&SyncState::Ok));
    assert_eq!(states(&mut peers, BOB).last(), Some(&SyncState::Ok));
    talk(&mut peers);
}

/// Who has read something already may start again while the other has not: the other answers once more.
#[test]
fn keys_that_come_when_both_have_agreed_are_answered() {
    crate::sim::chaos::survive(crate::sim::chaos::Scenario::Ratchets, 21671);
}
