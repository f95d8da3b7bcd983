//! The SMP router.

pub mod cli;
pub(crate) mod control;
mod core;
mod daily;
pub mod doctor;
mod forget;
mod metrics;
pub mod names;
mod page;
mod relays;
pub mod server;
mod session;
pub mod settings;
pub mod store;
mod upper;
