//! Agents: duplex, end-to-end encrypted connections over the queues of routers.

pub mod envelope;
pub mod link;
pub mod message;
pub mod queue;
