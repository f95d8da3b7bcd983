//! Several SMP routers with clients and faults, in virtual time: what was promised is kept, whatever the seed.
//!
//! `WORLD_SEEDS` says how many runs there are, `WORLD_FIRST` which seed is the first: a run that fails says its seed, and
//! `WORLD_FIRST=SEED WORLD_SEEDS=1 WORLD_TRACE=1` shows it step by step.
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says how much it has seen"
)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use simplex_sans_io::sim::Trace;
use simplex_sans_io::sim::routers::{Seen, run};

fn number(name: &str, usual: u64) -> u64 {
    let wanted = std::env::var(name).ok();
    wanted.map_or(usual, |wanted| wanted.parse().expect("a number"))
}

#[test]
fn several_routers_keep_their_promises_whatever_happens() {
    let (first, count) = (number("WORLD_FIRST", 0), number("WORLD_SEEDS", 200));
    let next = AtomicU64::new(first);
    let runs = || {
        let mut all = Seen::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return all;
            }
            all.add(&run_of(seed));
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = Seen::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..processors).map(|_| scope.spawn(runs)).collect();
        for thread in threads {
            all.add(&thread.join().expect("no run fails"));
        }
    });
    println!("{count} seeds from {first}: {all:?}");
    assert!(all.delivered >= count && all.acknowledged >= count);
}

fn run_of(seed: u64) -> Seen {
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
