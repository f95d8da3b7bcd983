//! Files of an agent, with a store, a disk and routers in memory, and everything that can go wrong with them.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a run that does not go on is a finding"
)]

mod operation;
mod run;
mod world;

pub(crate) use self::operation::{Operation, behaviour, failure, strange};
pub(crate) use self::run::Run;
pub use self::run::{Seen, run};
pub(crate) use self::world::*;
