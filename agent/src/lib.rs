#![doc = include_str!("../README.md")]

mod blocking;
mod builder;
#[cfg(feature = "xftp")]
mod files;
mod handle;
mod reach;
mod running;
#[cfg(feature = "programs")]
pub mod smp_agent;
pub mod store;
#[cfg(feature = "xftp")]
pub mod xftp;

pub use simplex_sans_io::agent::command::{
    ConnectionStatistics, Fetched, Force, LinkContent, NetworkState, NewConnection, Receiving,
    RequestMode, RouterCounts, RouterStatistics, Sending, TestFailure, TestStep, Waiting,
};
pub use simplex_sans_io::agent::config::{
    Config, NetworkConfig, Protection, ProxyFallback, ProxyMode, Roles, SessionMode, Strangers,
    Use, UserRouter, WebPort,
};
pub use simplex_sans_io::agent::error::AgentError;
pub use simplex_sans_io::agent::event::{Event, EventContent, MessageMeta};
pub use simplex_sans_io::agent::file_event::{DescriptionText, FileEvent};
#[cfg(feature = "xftp")]
pub use simplex_sans_io::agent::files::record::{LocalKey, Relays};
pub use simplex_sans_io::agent::files::statistics::{FileRouterCounts, FileRouterStatistics};
pub use simplex_sans_io::agent::id::{ConnectionId, EventId, FileId, MessageId, RequestName};
pub use simplex_sans_io::agent::link::{ConnectionRequest, ShortLink};
pub use simplex_sans_io::ratchet::{InitialKeys, Pq};
pub use simplex_sans_io::smp::pool::UserId;
pub use simplex_sans_io::smp::{MsgFlags, NameRecord, QueueInfo, SimplexDomain};

pub use self::blocking::block_on;
pub use self::builder::{Builder, ServiceIdentity};
#[cfg(feature = "xftp")]
pub use self::files::{ReceiveFile, SendFile};
pub use self::handle::{Agent, Created, Error, Events, Joining, NewLink};
pub use self::running::RunError;
