//! SimpleX routers.

mod addresses;
mod arguments;
pub mod backup;
pub mod bench;
mod cli;
mod control;
mod daily;
mod directories;
pub mod doctor;
#[cfg(any(test, feature = "sim"))]
pub mod fuzz;
pub mod identity;
pub mod ini;
mod limits;
mod listener;
mod metrics;
mod page;
mod plaintext;
mod ports;
mod process;
mod prompt;
mod running;
pub mod smp;
pub mod store;
mod systemd;
pub mod web;
pub mod xftp;
