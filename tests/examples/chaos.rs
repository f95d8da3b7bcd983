//! Agents while everything goes wrong, from as many seeds as it is told: `cargo run --release -p simplex-tests --example chaos -- 10000`.
//!
//! A second number is the first seed, a third one how many threads there are.
#![expect(clippy::print_stdout, reason = "it is there to print")]

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use simplex_sans_io::sim::chaos::{Scenario, survive};

fn main() -> ExitCode {
    let mut numbers = std::env::args()
        .skip(1)
        .map(|number| number.parse::<u64>().ok());
    let mut number = |default| numbers.next().flatten().unwrap_or(default);
    let (count, first, threads) = (number(600), number(0), number(1));
    let begun = Instant::now();
    let (next, failed) = (AtomicU64::new(first), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| run(&next, first.saturating_add(count), &failed));
        }
    });
    let (seconds, failed) = (begun.elapsed().as_secs(), failed.into_inner());
    println!("{count} seeds from {first} in {seconds} s: {failed} failed");
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// Seeds go through the scenarios in turn.
fn run(next: &AtomicU64, end: u64, failed: &AtomicU64) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        let index = usize::try_from(seed).unwrap_or(0) % Scenario::ALL.len();
        let Some(scenario) = Scenario::ALL.get(index).copied() else {
            return;
        };
        if catch_unwind(|| survive(scenario, seed)).is_err() {
            failed.fetch_add(1, Ordering::Relaxed);
            println!("{scenario:?}, seed {seed}: failed");
        }
        if seed.is_multiple_of(500) {
            println!("{seed}");
        }
    }
}
