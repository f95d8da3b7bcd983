//! Routers with clients and faults, in virtual time: what was promised is kept, whatever the seed.
//!
//! `WORLD_SEEDS` says how many runs there are, `WORLD_FIRST` which seed is the first: a run that fails says its seed, and
//! `WORLD_FIRST=SEED WORLD_SEEDS=1 WORLD_TRACE=1` shows it step by step.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says how much it has seen"
)]

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use simplex_sans_io::sim::{Trace, files, routers, xftp};

#[test]
fn several_routers_keep_their_promises_whatever_happens() {
    let (all, count) = runs(200, routers::run, routers::Seen::add);
    assert!(all.delivered >= count && all.acknowledged >= count);
}

#[test]
fn files_come_whole_or_fail_by_rule_wherever_a_connection_breaks() {
    let (all, count) = runs(200, xftp::run, xftp::Seen::add);
    assert!(all.downloaded >= count && all.asked_again >= count);
    assert!(all.broken_requests > 0 && all.broken_uploads > 0);
    assert!(all.broken_responses > 0 && all.broken_downloads > 0);
    assert!(all.broken_handshakes > 0);
}

#[test]
fn every_file_of_an_agent_ends_and_is_told_of_once() {
    let (all, count) = runs(200, files::run, files::Seen::add);
    assert!(all.sent >= count && all.received > 0 && all.failed > 0 && all.deleted > 0);
}

/// What was seen in so many runs, unless more or fewer are wanted; and how many they were.
fn runs<S: Default + Debug + Send>(
    usual: u64,
    run: impl Fn(u64, &mut Trace) -> S + Sync,
    add: impl Fn(&mut S, &S) + Sync,
) -> (S, u64) {
    let (first, count) = (number("WORLD_FIRST", 0), number("WORLD_SEEDS", usual));
    let next = AtomicU64::new(first);
    let some = || {
        let mut all = S::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return all;
            }
            add(&mut all, &run_of(seed, &run));
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = S::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(some)).collect();
        for thread in threads {
            add(&mut all, &thread.join().expect("no run fails"));
        }
    });
    println!("{count} seeds from {first}: {all:?}");
    (all, count)
}

fn number(name: &str, usual: u64) -> u64 {
    let wanted = std::env::var(name).ok();
    wanted.map_or(usual, |wanted| wanted.parse().expect("a number"))
}

fn run_of<S>(seed: u64, run: impl Fn(u64, &mut Trace) -> S) -> S {
    let mut trace = match std::env::var_os("WORLD_TRACE") {
        Some(_) => Trace::text(),
        None => Trace::nothing(),
    };
    let ran = catch_unwind(AssertUnwindSafe(|| run(seed, &mut trace)));
    trace.lines().iter().for_each(|line| println!("{line}"));
    ran.unwrap_or_else(|panic| {
        println!("seed {seed}");
        resume_unwind(panic)
    })
}
