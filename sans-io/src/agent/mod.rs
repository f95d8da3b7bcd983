//! Agents: duplex, end-to-end encrypted connections over the queues of routers.
//!
//! An [`Agent`] is one machine over many connections. It stands above the [pool](crate::smp::pool) of sessions with routers, and beside a
//! [store]; it sees neither bytes of the network nor files.
//!
//! ```text
//!   application ── Command(id, …) ──▶ ┌───────┐ ── Reply(id, …), Event(…) ──▶ application
//!                                     │       │
//!          pool ── Network(Event) ──▶ │ Agent │ ── Network(Call) ──▶ pool ──▶ clients of routers
//!                                     │       │
//!         store ── Stored, Loaded ──▶ └───────┘ ── Store, Load ──▶ store
//!
//!   a step of a connection:
//!
//!      input ─▶ is it in memory? ── no ──▶ Load … Loaded
//!                      │ yes                   │
//!                      ▼◀──────────────────────┘
//!               change the connection, and see what routers still have to be asked
//!                      │
//!                      ▼
//!               Store(op, everything that has changed) … Stored(op)
//!                                                             │
//!                                                             ▼
//!                                         requests to routers, replies, events
//! ```
//! One step is one transaction, and whatever depends on it leaves only after it is stored: a ciphertext after the ratchet that made it,
//! an acknowledgement after the message that it is of, an event after what it tells. So a crash at any point loses nothing and repeats
//! nothing: what a connection still has to do follows from what is stored of it, and is asked for again when it is loaded. The barrier
//! is per connection; transactions of several connections may be stored together.
//!
//! How far a connection is says [`Stage`](store::record::Stage); the graphs of its parts:
//!
//! | what | where |
//! |---|---|
//! | handshake | `connection/handshake.rs`: who tells whom what, for both sides, standard and fast |
//! | receiving | `connection/receive.rs`: from the router's box to the message, and what becomes of what cannot be read |
//! | rotation of queues | `connection/rotation.rs` |
//! | new ratchets | `connection/sync.rs` |
//! | direct or through a proxy | `network.rs` |
//!
//! Files, with the feature `xftp`, are a machine of their own beside this one: `files`.
//!
//! # How it is driven
//!
//! A driver passes on what comes out, and brings back what comes of it, in order. Nothing is due at the start but the loads that
//! [`Agent::new`] asks for; commands that come before they are answered wait. Then [`SetUser`](command::Command::SetUser) names the
//! routers of each user, which are not stored; without them nothing is asked of any router.
//! [`SubscribeAll`](command::Command::SubscribeAll) begins to receive.
//!
//! Connections that are at rest are not in memory: a message, a command or unfinished work loads them, and a
//! [bounded](config::Config::cache) number stays.
//!
//! ```
//! use simplex_sans_io::agent::command::{Command, NewConnection, Receiving, RequestMode};
//! use simplex_sans_io::agent::config::{Config, UserRouter};
//! use simplex_sans_io::agent::id::CommandId;
//! use simplex_sans_io::agent::store::{Kind, Memory};
//! use simplex_sans_io::agent::{Action, Agent, Input};
//! use simplex_sans_io::machine::Machine;
//! use simplex_sans_io::ratchet::InitialKeys;
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::smp::pool::{Call, UserId};
//! use simplex_sans_io::time::Now;
//!
//! let mut store = Memory::default();
//! let mut agent = Agent::new(Config::default(), Rng::from_seed([7; 32]), Now::START);
//!
//! // It asks for what is stored, which is nothing yet.
//! while let Some(action) = agent.poll() {
//!     let Action::Load(id, load) = action else { panic!("{action:?}") };
//!     agent.handle(Now::START, Input::Loaded(id, store.load(&load)))?;
//! }
//!
//! // A user has routers.
//! let router = "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im".parse()?;
//! let user = UserId(1);
//! let routers = vec![UserRouter::new(router)];
//! agent.handle(Now::START, Input::Command(CommandId(1), Command::SetUser { user, routers }))?;
//! while let Some(action) = agent.poll() {
//!     if let Action::Store(op, changes) = action {
//!         store.apply(changes);
//!         agent.handle(Now::START, Input::Stored(op))?;
//!     }
//! }
//!
//! // An invitation needs a queue, whose keys are stored before the router is asked.
//! let kind = NewConnection::Invitation { pq: InitialKeys::Later };
//! let mode = RequestMode::Interactive;
//! let create = Command::Create { connection: None, user, kind, client_data: None, short: None, mode, receiving: Receiving::AtOnce };
//! agent.handle(Now::START, Input::Command(CommandId(2), create))?;
//! let Some(Action::Store(op, changes)) = agent.poll() else { panic!() };
//! assert_eq!(agent.poll(), None);
//!
//! store.apply(changes);
//! assert!(store.records().any(|(key, _)| key.kind == Kind::Connection));
//! agent.handle(Now::START, Input::Stored(op))?;
//! let Some(Action::Network(Call::Send { .. })) = agent.poll() else { panic!("NEW") };
//! assert_eq!(agent.poll(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod command;
mod commands;
pub mod config;
mod connection;
pub mod envelope;
pub mod error;
pub mod event;
mod event_numbers;
pub mod file_event;
#[cfg(feature = "xftp")]
pub mod files;
pub mod id;
mod index;
pub mod lines;
pub mod link;
mod machine;
pub mod message;
mod network;
pub mod queue;
pub mod store;
#[cfg(test)]
mod tests;
pub mod turn;

pub use self::machine::{Action, Agent, Input};
