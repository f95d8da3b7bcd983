//! SimpleX routers.

pub mod ini;
pub mod smp;
pub mod web;
