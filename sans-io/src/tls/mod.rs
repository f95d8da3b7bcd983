//! TLS as a machine around another machine.
//!
//! [`Tls`] turns a stream of ciphertext into a stream of plaintext for the machine above it. That machine is made from the
//! [`SessionFacts`](crate::session::SessionFacts) when the session is secured, so that it cannot exist, let alone speak or be spoken
//! to, before.
//!
//! ```text
//!              Bytes                             Bytes, Eof, Timeout, Command
//!             ┌──────┐    Finished verified,            ┌───────┐
//!             ▼      │    session id certain:           ▼       │
//!           ┌───────────┐ makes the upper machine ┌────────────────┐ upper machine closes  ┌────────┐
//!  server ─▶│ Handshake │────────────────────────▶│ Secured(upper) │──────────────────────▶│ Closed │
//!  client ─▶└───────────┘                         └────────────────┘ close_notify, Close   └────────┘
//!  with hello  │    │                                   │                                    ▲   ▲
//!              │    │ bad message or certificate,       │ bad record, upper machine dies:    │   │
//!              │    │ handshake too long: alert, Err    │ alert or close_notify, Err         │   │
//!              │    └───────────────────────────────────┴────────────────────────────────────┘   │
//!              │ Eof: Close(Truncated), Timeout: Close(TimedOut)                                 │
//!              └─────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! * **Input**: ciphertext, from which the upper machine gets plaintext; `close_notify` is its [`Eof`](crate::machine::Input::Eof), and
//!   so is the end of the stream. If the stream ends without `close_notify`, an orderly close of the upper machine is reported as
//!   [`Truncated`](crate::machine::CloseReason::Truncated).
//! * **Output**: all that the upper machine sends in answer to one input leaves as one `Transmit`. Its events pass through.
//! * **Commands** are not [accepted](crate::machine::Connection::accepts_commands) before the session is secured; those that come
//!   nevertheless wait for the machine that can answer them.
//! * **Limits**: bytes and time of the handshake, and bytes to send at once ([`Limits`]). What was received is passed on at once, so that
//!   nothing else accumulates, and a session at rest owns no buffer for a record.
//!
//! # Session id
//!
//! Signatures in SMP, XFTP and NTF cover a session id, which is *tls-unique* of RFC 5929 in the sense of the reference: the `verify_data`
//! of the **client's** Finished message, in both versions of TLS. rustls does not show it, but computes it with functions that are
//! given to it: `Hkdf::hmac_sign` in TLS 1.3, the PRF with the label `client finished` in TLS 1.2. All cipher suites here are ring's
//! with a tap on these two functions.
//!
//! The tap has no label in TLS 1.3, so it must be certain by other means that the value is the right one. A handshake without resumption
//! calls `hmac_sign` exactly twice on either side, first for the server's Finished, then for the client's; resumption, which would call it
//! for other purposes, is off on both sides, and no tickets are sent. Any other number of calls, a value whose length is not that of the
//! suite's hash, a call of the other version's function, or a resumed session is an error ([`UnexpectedFinished`]), and no machine above TLS
//! comes into being. rustls is pinned to 0.23 because the count depends on it, and tests compare with OpenSSL in both roles.
//!
//! The recorder reaches the tap through a slot of the thread, which a session fills for the length of each call into rustls and empties
//! afterwards, also if the call panics; calls never nest. In the same way rustls gets its randomness from the session's own
//! [`Rng`](crate::rng::Rng) and its time from [`Now`](crate::time::Now), so that the same seed and the same inputs give the same bytes.
//! (The exceptions are for web browsers: ECDSA and RSA signatures and NIST's curves draw from ring.)
//!
//! # Example
//!
//! A client and a router in memory. Above TLS stands a machine that tells what it gets and sends what it is given.
//!
//! ```
//! use std::sync::Arc;
//!
//! use bytes::Bytes;
//! use simplex_sans_io::crypto::certificate::{Certificate, Chain, Issuer, Name, Validity};
//! use simplex_sans_io::crypto::{Algorithm, SigningKey};
//! use simplex_sans_io::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::session::{SessionFacts, SessionId};
//! use simplex_sans_io::time::{Instant, Now};
//! use simplex_sans_io::tls::{ClientConfig, ClientOptions, Credentials, ServerConfig, ServerOptions, Tls};
//!
//! struct Talk(Outbox<Heard>);
//!
//! #[derive(Debug, PartialEq)]
//! enum Heard {
//!     Secured(SessionId),
//!     Text(Bytes),
//! }
//!
//! impl Talk {
//!     fn new(facts: SessionFacts, _: Now) -> Self {
//!         let mut outbox = Outbox::default();
//!         outbox.event(Heard::Secured(facts.session_id));
//!         Self(outbox)
//!     }
//! }
//!
//! impl Machine for Talk {
//!     type Input<'a> = Input<'a, Bytes>;
//!     type Action = Action<Heard>;
//!     type Error = std::convert::Infallible;
//!
//!     fn handle(&mut self, _: Now, input: Input<'_, Bytes>) -> Result<(), Self::Error> {
//!         match input {
//!             Input::Bytes(text) => self.0.event(Heard::Text(text.to_vec().into())),
//!             Input::Command(text) => self.0.transmit(text),
//!             Input::Eof => self.0.close(CloseReason::PeerClosed),
//!             Input::Timeout => {}
//!         }
//!         Ok(())
//!     }
//!
//!     fn poll(&mut self) -> Option<Action<Heard>> {
//!         self.0.next()
//!     }
//!
//!     fn deadline(&self) -> Option<Instant> {
//!         None
//!     }
//! }
//!
//! impl Connection for Talk {
//!     type Command = Bytes;
//!     type Event = Heard;
//!
//!     fn accepts_commands(&self) -> bool {
//!         true
//!     }
//! }
//!
//! // An identity and what it issues.
//! let mut rng = Rng::from_seed([7; 32]);
//! let now = Now::START;
//! let validity = Validity::days(now.unix, 365);
//! let [identity_key, key] = [(); 2].map(|()| SigningKey::generate(Algorithm::Ed25519, &mut rng).unwrap());
//! let identity = Certificate::authority(&Name::new("SMP server CA"), &identity_key, validity, &mut rng);
//! let issuer = Issuer::new(&identity, &identity_key)?;
//! let leaf = Certificate::server(&Name::new("localhost"), &key.public_key(), &issuer, validity, &mut rng);
//! let credentials = Credentials::new(Chain::new([leaf, identity.clone()])?, key)?;
//!
//! // The two sides. The client knows the fingerprint of the identity.
//! let config = Arc::new(ServerConfig::new(ServerOptions::new(credentials))?);
//! let mut server = Tls::server(&config, now, rng.fork(), Talk::new);
//! let config = Arc::new(ClientConfig::new(ClientOptions::new(identity.fingerprint()))?);
//! let mut client = Tls::client(&config, now, rng.fork(), Talk::new)?;
//!
//! /// Carries what one side sends to the other, and collects what the first one hears.
//! fn carry(from: &mut Tls<Talk>, to: &mut Tls<Talk>, heard: &mut Vec<Heard>) {
//!     while let Some(action) = from.poll() {
//!         match action {
//!             Action::Transmit(bytes) => to.handle(Now::START, Input::Bytes(&bytes)).unwrap(),
//!             Action::Event(event) => heard.push(event),
//!             Action::Close(reason) => panic!("closed: {reason:?}"),
//!         }
//!     }
//! }
//!
//! let (mut client_heard, mut server_heard) = (Vec::new(), Vec::new());
//! assert!(!client.accepts_commands());
//! carry(&mut client, &mut server, &mut client_heard); // the client's hello
//! carry(&mut server, &mut client, &mut server_heard); // the router's hello, certificates and Finished
//! carry(&mut client, &mut server, &mut client_heard); // the client's Finished
//! carry(&mut server, &mut client, &mut server_heard);
//! assert!(matches!(client_heard[..], [Heard::Secured(SessionId::Sha256(_))]));
//! assert_eq!(client_heard, server_heard);
//!
//! assert!(client.accepts_commands());
//! client.handle(now, Input::Command(Bytes::from_static(b"hello")))?;
//! carry(&mut client, &mut server, &mut client_heard);
//! carry(&mut server, &mut client, &mut server_heard);
//! assert_eq!(server_heard.pop(), Some(Heard::Text(Bytes::from_static(b"hello"))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod ambient;
mod config;
mod connection;
mod credentials;
mod error;
mod exchange;
mod finished;
mod session;
mod signature;
mod suites;
mod verify;

pub use config::{
    ClientCertificates, ClientConfig, ClientOptions, Groups, Limits, ServerConfig, ServerOptions,
    Versions, Web,
};
pub use connection::Tls;
pub use credentials::{Credentials, CredentialsError, WebCredentials};
pub use error::{ConfigError, Error, TlsError};
pub use finished::UnexpectedFinished;
pub use verify::{CertificateRefused, verify_router};

#[cfg(test)]
mod tests;
