//! SimpleX protocols as pure state machines: bytes, time and commands go in, actions come out, and nothing else happens.
//!
//! A machine here owns no socket, no thread, no clock and no randomness of the operating system. Whoever drives it moves the bytes and
//! keeps the time; what that takes is in [`machine`], the contract of all of them. The same seed and the same inputs give the same
//! actions, so that whole networks are simulated, fuzzed and replayed.
//!
//! A client that connects to a router:
//!
#![cfg_attr(feature = "tls", doc = "```")]
#![cfg_attr(not(feature = "tls"), doc = "```ignore")]
//! use std::sync::Arc;
//!
//! use simplex_sans_io::crypto::certificate::Fingerprint;
//! use simplex_sans_io::machine::{Action, CloseReason, Input, Machine};
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::smp::client::{Client, Config};
//! use simplex_sans_io::time::Now;
//! use simplex_sans_io::tls::{ClientConfig, ClientOptions, Tls};
//! use simplex_sans_io::wire::{ServerAddress, SmpScheme};
//!
//! // The address says where the router is, and who.
//! let router: ServerAddress<SmpScheme> =
//!     "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im".parse()?;
//! let identity = Fingerprint::try_from(&**router.key_hash())?;
//! let tls = ClientOptions { protocols: vec!["smp/1"], ..ClientOptions::new(identity) };
//! let tls = Arc::new(ClientConfig::new(tls)?);
//!
//! // A session above TLS: it comes into being when TLS is secured.
//! let mut rng = Rng::from_seed([7; 32]);
//! let (config, session_rng) = (Config::new(router.key_hash().clone()), rng.fork());
//! let session = move |facts, now| Client::secured(config, facts, session_rng, now);
//! let mut client = Tls::client(&tls, Now::START, rng, session)?;
//!
//! // These bytes are for the router, and nothing else is to be done for now …
//! assert!(matches!(client.poll(), Some(Action::Transmit(_))));
//! assert_eq!(client.poll(), None);
//!
//! // … until it answers, or does not.
//! let Some(deadline) = client.deadline() else { panic!("a handshake takes its time, but not for ever") };
//! client.handle(Now { instant: deadline, ..Now::START }, Input::Timeout)?;
//! assert_eq!(client.poll(), Some(Action::Close(CloseReason::TimedOut)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layers
//!
//! Each uses only those above it in this list.
//!
//! | module | what is in it |
//! |---|---|
//! | [`machine`], [`time`], [`rng`] | the contract, time as an input, the only source of randomness |
//! | [`mod@wire`] | primitive encodings, texts, and [`wire!`], the one way to declare a format |
//! | [`crypto`] | keys and certificates, boxes, authenticators, chains, hashes, the KEM |
//! | [`session`], [`tls`] | what a secured session agreed on, and rustls around another machine |
//! | [`http2`] | HTTP/2 around another machine: requests and responses instead of bytes |
//! | [`socks`], [`websocket`] | SOCKS5 and WebSockets in front of another machine |
//! | [`smp`] | formats and handshake; [`client`](smp::client), [`server`](smp::server), a [`pool`](smp::pool) of sessions, the [`router`](smp::router)'s queues |
//! | [`mod@xftp`] | the protocol of files: formats, client, server, router |
//! | [`ratchet`] | what encrypts the messages of a connection end to end: key agreement, double ratchet, post-quantum keys |
//! | [`agent`] | links and messages of agents, and the machine over all their connections |
//! | [`drive`] | the one event loop, over two small traits that a runtime implements, and clients built on it |
//! | [`sim`] | an emulated network, virtual time, contract checks and fuzz targets |
//!
//! # Features
//!
//! * `tls` (default): [`tls`], which needs rustls and ring.
//! * `drive` (default): [`drive`]. Without both, the crate builds for `wasm32-unknown-unknown`; with `drive` alone, too.
//! * `xftp`: [`http2`], which needs the h2 crate, what is built on it, and the agent's files. Without it [`xftp`] has nothing but errors.
//! * `sim`: [`sim`].
//!
//! Sockets for [`drive`] are in the crates `simplex-runtime-tokio`, `simplex-runtime-smol` and `simplex-runtime-async-std`.
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]
// The library target is checked without this; tests are.
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::indexing_slicing,
        clippy::let_underscore_must_use,
        clippy::wildcard_enum_match_arm,
        reason = "a panic in a test is a failure, as it should be"
    )
)]

pub mod agent;
pub mod crypto;
#[cfg(feature = "drive")]
pub mod drive;
#[cfg(feature = "xftp")]
pub mod http2;
pub mod machine;
pub mod ratchet;
pub mod rng;
pub mod session;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
pub mod smp;
pub mod socks;
pub mod time;
#[cfg(feature = "tls")]
pub mod tls;
pub mod websocket;
pub mod wire;
pub mod xftp;
