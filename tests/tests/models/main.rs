//! Every order of events, as far as a depth: the machines themselves, checked by stateright.
//!
//! `MODEL_DEPTH` says how many events a run has; without it few enough for every run of the tests.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and says how much it has seen"
)]

mod agents;
mod barrier;
mod takeover;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker as _, Model};

/// Checks a model to the depth that is wanted.
fn check<M>(model: impl FnOnce(usize) -> M, depth: usize)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let wanted = std::env::var("MODEL_DEPTH").ok();
    let depth = wanted.map_or(depth, |depth| depth.parse().expect("a number"));
    let checker = model(depth).checker().threads(2).spawn_bfs().join();
    println!(
        "depth {depth}: {} states, {} of them different",
        checker.state_count(),
        checker.unique_state_count()
    );
    checker.assert_properties();
}
