//! SimpleX routers.

pub mod bench;
pub mod ini;
pub mod smp;
pub mod web;
