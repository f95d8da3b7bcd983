//! SimpleX routers.

mod arguments;
pub mod bench;
mod control;
pub mod identity;
pub mod ini;
mod limits;
mod metrics;
mod ports;
pub mod smp;
mod systemd;
pub mod web;
pub mod xftp;
