//! Agents: duplex, end-to-end encrypted connections over the queues of routers.

pub mod command;
mod commands;
pub mod config;
mod connection;
pub mod envelope;
pub mod error;
pub mod event;
pub mod id;
mod index;
pub mod link;
mod machine;
pub mod message;
mod network;
pub mod queue;
pub mod store;

pub use self::machine::{Action, Agent, Input};
