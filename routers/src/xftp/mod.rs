//! The XFTP router.

pub mod cli;
mod core;
pub mod disk;
pub mod import;
mod page;
pub mod server;
mod session;
pub mod settings;
pub mod store;
