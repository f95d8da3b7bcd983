//! Whatever goes wrong on the way. `cargo run --release -p simplex-tests --example chaos` runs as many seeds as it is told.

use crate::sim::chaos::{Scenario, survive};

fn survives(scenario: Scenario, first: u64) {
    for seed in first..first + 5 {
        eprintln!("{scenario:?}, seed {seed}");
        survive(scenario, seed);
    }
}

#[test]
fn routers_that_come_and_go() {
    survives(Scenario::Routers, 0);
}

#[test]
fn responses_that_are_lost() {
    survives(Scenario::Responses, 1000);
}

#[test]
fn agents_that_crash_when_they_store() {
    survives(Scenario::Crashes, 2000);
}

#[test]
fn everything_at_once() {
    survives(Scenario::Everything, 3000);
}

#[test]
fn queues_that_are_replaced_while_everything_goes_wrong() {
    survives(Scenario::Queues, 4000);
}

#[test]
fn ratchets_that_are_replaced_while_everything_goes_wrong() {
    survives(Scenario::Ratchets, 5000);
}
