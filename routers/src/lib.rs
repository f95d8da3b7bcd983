//! SimpleX routers.
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::print_stdout,
        reason = "a panic in a test is a failure, as it should be"
    )
)]

pub mod smp;
