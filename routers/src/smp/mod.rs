//! The SMP router.

pub mod store;
