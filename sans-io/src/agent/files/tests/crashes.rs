//! A crash after every operation of the store, and everything else that can go wrong, at any moment: every file ends, and is told of once.

use super::script::is_received;
use crate::agent::file_event::FileEvent;
use crate::agent::files::command::Command;
use crate::sim::Trace;
use crate::sim::files::*;

/// Sends a file, receives it, and deletes it, through a crash after so many transactions; whether that many were stored.
fn with_a_crash_after(count: usize) -> bool {
    let mut world = World::new(2);
    let mut crashed = false;
    let file = world.send("photo", 1, 2);
    run_through(&mut world, count, &mut crashed);
    let (sender, recipients) = world.sent(&file);
    let received = world.receive(&recipients[0]);
    run_through(&mut world, count, &mut crashed);
    let [FileEvent::Received { .. }] = &world.kept(&received)[..] else {
        panic!("after {count}: {:?}", world.kept(&received))
    };
    assert!(is_received(&world, &received, &recipients[0]));
    world
        .ask(Command::DeleteRemotely {
            user: USER,
            file: file.clone(),
            sender: Some(Box::new(sender.description().unwrap())),
        })
        .unwrap();
    run_through(&mut world, count, &mut crashed);
    assert_eq!(world.uploaded(), 0, "after {count}");
    let told = world.kept(&file);
    let deleted = [FileEvent::Deleted { error: None }];
    assert!(matches!(told[0], FileEvent::Sent { .. }));
    assert_eq!(told[1..], deleted, "after {count}");
    assert!(world.keeps_events_only());
    crashed
}

fn run_through(world: &mut World, count: usize, crashed: &mut bool) {
    loop {
        if !*crashed && world.stored >= count {
            *crashed = true;
            world.crash();
        }
        if !world.store_next() && !world.job(0, Fate::Done) {
            if world.files.is_idle() {
                return;
            }
            assert!(world.wait());
        }
    }
}

#[test]
fn a_crash_after_any_transaction_changes_nothing() {
    let mut count = 0;
    while with_a_crash_after(count) {
        count += 1;
    }
    assert!(count > 20, "{count}");
}

#[test]
fn whatever_goes_wrong_every_file_ends_and_is_told_of_once() {
    let mut all = Seen::default();
    for seed in 0..40 {
        // And the same seed does the same.
        let (mut first, mut second) = (Trace::digest_only(), Trace::digest_only());
        let seen = run(seed, &mut first);
        assert_eq!(seen, run(seed, &mut second));
        assert_eq!(first.digest(), second.digest());
        all.add(&seen);
    }
    assert!(all.sent > 40 && all.received > 20, "{all:?}");
    assert!(all.failed > 20 && all.deleted > 5, "{all:?}");
}
