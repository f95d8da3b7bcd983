//! SimpleX routers.

pub mod smp;
