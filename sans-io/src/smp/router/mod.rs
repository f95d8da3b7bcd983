//! The queues of an SMP router, as a machine.

pub mod store;
