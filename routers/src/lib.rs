//! SimpleX routers.

pub mod bench;
pub mod identity;
pub mod ini;
mod limits;
pub mod smp;
mod systemd;
pub mod web;
pub mod xftp;
