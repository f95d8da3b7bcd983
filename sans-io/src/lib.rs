//! SimpleX protocols as pure state machines.
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

pub mod crypto;
pub mod machine;
pub mod rng;
pub mod time;
