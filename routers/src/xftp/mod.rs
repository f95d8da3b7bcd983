//! The XFTP router.

pub mod cli;
mod control;
mod core;
pub mod disk;
pub mod import;
mod metrics;
mod page;
pub mod server;
mod session;
pub mod settings;
pub mod store;
