//! SimpleX protocols as pure state machines.
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]
// The library target is checked without this; tests are.
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::let_underscore_must_use,
        clippy::wildcard_enum_match_arm,
        reason = "a panic in a test is a failure, as it should be"
    )
)]

pub mod crypto;
#[cfg(feature = "drive")]
pub mod drive;
pub mod machine;
pub mod rng;
pub mod session;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod smp;
pub mod socks;
pub mod time;
#[cfg(feature = "tls")]
pub mod tls;
pub mod wire;
