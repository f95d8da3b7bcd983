//! HTTP/2 as a machine around another machine.
//!
//! [`Http2`] turns a stream of bytes into requests and responses for the machine above it, an [`Exchange`], which sees neither frames nor
//! windows. The frames are those of the `h2` crate, which reads and writes a pipe in memory and is polled here.
//!
//! ```text
//!   client: Request ──▶ head, body ──▶        ──▶ head, body ──▶ Incoming::Request :server
//!                                     Http2 ⇄ Http2
//!   Incoming::Response ◀── head, body ◀──     ◀── head, body ◀── Response
//!
//!   a stream, on either side:
//!              ┌────────────┐ last part in  ┌───────────┐ last part out, all credited
//!    head ────▶│ both open  │──────────────▶│ half open │──────────────────────────────▶ gone
//!              └────────────┘ or out        └───────────┘
//!                    └───────── peer resets it ──┴─────▶ Incoming::Failed ────────────▶ gone
//!
//!   the connection:
//!              Bytes, Command, Timeout     Eof, GOAWAY and no streams: Exchange is told Eof,
//!             ┌──────┐                     or it closes                       ┌────────┐
//!             ▼      │───────────────────────────────────────────────────────▶│ Closed │
//!            ┌────────┐ protocol error, too many resets: GOAWAY, Err          └────────┘
//!            │  Open  │───────────────────────────────────────────────────────────▲
//!            └────────┘
//! ```
//!
//! * **Back-pressure.** Bytes of a body are credited by the exchange ([`Outgoing::Credit`]) when it is done with them, not when they
//!   arrive. Windows are large, so that a long line is filled; but while more than [`Options::uncredited`] bytes wait for credit, no bytes are
//!   [accepted](crate::machine::Connection::accepts_bytes) at all. Whoever asks for bodies asks for no more at the same time
//!   than there is [room for](Options::unread_bodies): then one that is left unread is in the way of no other. What is sent waits here until the peer has room for it, and
//!   [`Incoming::Taken`] says when more is welcome: an exchange that keeps no more than 64 KB on the way of each stream owns no more memory.
//! * **Peace with the reference's peers.** They close the whole connection when a stream is reset, and when control frames
//!   come too often. So no stream is ever reset: a body that nobody wants is read and thrown away ([`Outgoing::Discard`]). No
//!   pings are sent, nor empty frames except a last one, and windows are not adapted.
//! * **Limits.** Streams at the same time, size of headers, resets by the peer, bytes that are thrown away.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Method, StatusCode};
//! use simplex_sans_io::http2::{
//!     Action, Exchange, Http2, Incoming, Input, Options, Outgoing, Part, Request, Response, StreamId,
//! };
//! use simplex_sans_io::machine::{self, Actions, CloseReason, Machine};
//! use simplex_sans_io::time::{Instant, Now};
//!
//! /// Answers each request with the bytes of its body. The client only tells what comes.
//! #[derive(Default)]
//! struct Echo(Actions<Action<Incoming>>);
//!
//! impl Machine for Echo {
//!     type Input<'a> = Input<(StreamId, Outgoing)>;
//!     type Action = Action<Incoming>;
//!     type Error = std::convert::Infallible;
//!
//!     fn handle(&mut self, _: Now, input: Self::Input<'_>) -> Result<(), Self::Error> {
//!         match input {
//!             Input::Stream(stream, Incoming::Request(_, Part::More)) => {
//!                 self.0.push(Action::Stream(stream, Outgoing::Response(Response::of(StatusCode::OK), Part::More)));
//!             }
//!             Input::Stream(stream, Incoming::Body(bytes, part)) if stream.is_of_peer() => {
//!                 self.0.push(Action::Stream(stream, Outgoing::Credit(bytes.len())));
//!                 self.0.push(Action::Stream(stream, Outgoing::Body(bytes, part)));
//!             }
//!             Input::Stream(_, incoming) => self.0.push(Action::Event(incoming)),
//!             Input::Command((stream, outgoing)) => self.0.push(Action::Stream(stream, outgoing)),
//!             Input::Eof => self.0.push(Action::Close(CloseReason::PeerClosed)),
//!             Input::Timeout => {}
//!         }
//!         Ok(())
//!     }
//!
//!     fn poll(&mut self) -> Option<Self::Action> {
//!         self.0.next()
//!     }
//!
//!     fn deadline(&self) -> Option<Instant> {
//!         None
//!     }
//! }
//!
//! impl Exchange for Echo {
//!     type Command = (StreamId, Outgoing);
//!     type Event = Incoming;
//!
//!     fn accepts_commands(&self) -> bool {
//!         true
//!     }
//! }
//!
//! let mut client = Http2::client(Options::default(), Echo::default(), Now::START);
//! let mut server = Http2::server(Options::default(), Echo::default(), Now::START);
//!
//! let stream = StreamId::ours(0);
//! let head = Request::new(Method::POST, "router.example", "/");
//! let mut heard = carry(&mut client, &mut server);
//! client.handle(Now::START, machine::Input::Command((stream, Outgoing::Request(head, Part::More))))?;
//! heard.extend(carry(&mut client, &mut server));
//! let hello = Outgoing::Body(Bytes::from_static(b"hello"), Part::Last);
//! client.handle(Now::START, machine::Input::Command((stream, hello)))?;
//! heard.extend(carry(&mut client, &mut server));
//!
//! assert!(matches!(heard[0], Incoming::Response(Response { status: StatusCode::OK, .. }, Part::More)));
//! assert_eq!(heard[1], Incoming::Taken(5));
//! assert_eq!(heard[2], Incoming::Body(Bytes::from_static(b"hello"), Part::Last));
//!
//! /// Carries bytes both ways until there are none; what the client hears.
//! fn carry(client: &mut Http2<Echo>, server: &mut Http2<Echo>) -> Vec<Incoming> {
//!     let mut heard = Vec::new();
//!     loop {
//!         let to_server: Vec<_> = std::iter::from_fn(|| client.poll()).collect();
//!         let to_client: Vec<_> = std::iter::from_fn(|| server.poll()).collect();
//!         if to_server.is_empty() && to_client.is_empty() {
//!             return heard;
//!         }
//!         for action in to_server {
//!             match action {
//!                 machine::Action::Transmit(bytes) => server.handle(Now::START, machine::Input::Bytes(&bytes)).unwrap(),
//!                 machine::Action::Event(incoming) => heard.push(incoming),
//!                 machine::Action::Close(reason) => panic!("{reason:?}"),
//!             }
//!         }
//!         for action in to_client {
//!             if let machine::Action::Transmit(bytes) = action {
//!                 client.handle(Now::START, machine::Input::Bytes(&bytes)).unwrap();
//!             }
//!         }
//!     }
//! }
//! # Ok::<(), simplex_sans_io::http2::Error<std::convert::Infallible>>(())
//! ```

mod connection;
mod message;
mod pipe;
mod ready;
mod stream;
#[cfg(test)]
mod tests;

pub use self::connection::{Error, Http2, Options};
pub use self::message::{
    Action, Exchange, Failure, Incoming, Input, Outgoing, Part, Request, Response, StreamId,
};
