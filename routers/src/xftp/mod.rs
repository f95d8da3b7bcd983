//! The XFTP router.

pub mod cli;
mod control;
mod core;
mod daily;
pub mod disk;
pub mod doctor;
pub mod export;
pub mod import;
mod metrics;
mod page;
pub mod server;
mod session;
pub mod settings;
pub mod store;
mod upper;
