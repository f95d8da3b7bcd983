//! WebSockets in front of another machine: the router's side, for clients that have no plain TLS.
//!
//! ```text
//!   ┌───────────┐  a request to upgrade: 101   ┌──────┐  a close frame: its echo   ┌────────┐  drained  ┌────────┐
//!   │ Upgrading │─────────────────────────────▶│ Open │───────────────────────────▶│ Ending │──────────▶│ Closed │
//!   └───────────┘                              └──────┘                            └────────┘           └────────┘
//!        │  │ deadline, Eof, inner machine closes  │ inner machine closes: a close frame                     ▲
//!        │  └──────────────────────────────────────┴─────────────────────────────────────────────────────────┘
//!        └ another request: 400, Err               └ a frame that must not be: a close frame, Err
//! ```
//!
//! The stream of the inner machine is cut into binary messages of one length, and whatever else a client sends ends the session: text,
//! a message of another length, compression, frames without a mask. Nothing is collected but headers and control frames: what is in a
//! message is passed on as it comes.
//!
//! ```
//! use std::time::Duration;
//!
//! use simplex_sans_io::machine::{Action, Input, Machine};
//! use simplex_sans_io::time::Now;
//! use simplex_sans_io::websocket::WebSocket;
//! # use simplex_sans_io::machine::{CloseReason, Connection, Outbox};
//! # use simplex_sans_io::time::Instant;
//! # struct Hello(Outbox<Vec<u8>>);
//! # impl Hello {
//! #     fn new() -> Self { let mut outbox = Outbox::default(); outbox.transmit("hello".into()); Self(outbox) }
//! # }
//! # impl Machine for Hello {
//! #     type Input<'a> = Input<'a, ()>;
//! #     type Action = Action<Vec<u8>>;
//! #     type Error = std::convert::Infallible;
//! #     fn handle(&mut self, _: Now, input: Input<'_, ()>) -> Result<(), Self::Error> {
//! #         match input {
//! #             Input::Bytes(bytes) => self.0.event(bytes.to_vec()),
//! #             Input::Eof => self.0.close(CloseReason::PeerClosed),
//! #             Input::Timeout | Input::Command(()) => {}
//! #         }
//! #         Ok(())
//! #     }
//! #     fn poll(&mut self) -> Option<Action<Vec<u8>>> { self.0.next() }
//! #     fn deadline(&self) -> Option<Instant> { None }
//! # }
//! # impl Connection for Hello {
//! #     type Command = ();
//! #     type Event = Vec<u8>;
//! #     fn accepts_commands(&self) -> bool { true }
//! # }
//!
//! // A machine that says hello, and tells what it hears; its messages have five bytes.
//! let mut socket = WebSocket::new(Hello::new(), 5, Now::START, Duration::from_secs(60));
//! assert_eq!(socket.poll(), None);
//!
//! let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
//!     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
//! socket.handle(Now::START, Input::Bytes(request))?;
//! let Some(Action::Transmit(response)) = socket.poll() else { panic!() };
//! assert!(response.ends_with(b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"));
//! assert_eq!(socket.poll(), Some(Action::Transmit(b"\x82\x05hello".as_slice().into())));
//! assert_eq!(socket.poll(), None);
//!
//! // What clients send is masked.
//! socket.handle(Now::START, Input::Bytes(b"\x82\x85\x20\x20\x20\x20THERE"))?;
//! assert_eq!(socket.poll(), Some(Action::Event(b"there".to_vec())));
//! assert_eq!(socket.poll(), None);
//!
//! socket.handle(Now::START, Input::Bytes(b"\x88\x80\x00\x00\x00\x00"))?;
//! assert_eq!(socket.poll(), Some(Action::Transmit(b"\x88\x00".as_slice().into())));
//! assert_eq!(socket.poll(), Some(Action::Close(CloseReason::PeerClosed)));
//! assert_eq!(socket.poll(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod frame;
mod upgrade;

#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};

pub use self::frame::Violation;
use self::frame::{Heard, Reader};
pub use self::upgrade::{Refused, is_upgrade};
use crate::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
use crate::time::{Instant, Latest, Now};

/// A machine behind WebSockets. See the [module](self) for its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocket<M: Connection> {
    state: State,
    inner: M,
    /// The length of a message.
    message: usize,
    /// The beginning of a message that the inner machine has not finished.
    unsent: BytesMut,
    latest: Latest,
    outbox: Outbox<M::Event>,
}

/// Why a [`WebSocket`] died.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// The client has asked for something else.
    #[error("no request to upgrade: {0}")]
    Upgrade(Refused),
    /// The client has sent what it must not.
    #[error("frame: {0}")]
    Frame(Violation),
    /// The machine behind it died.
    #[error(transparent)]
    Inner(E),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Upgrading {
        until: Instant,
        head: BytesMut,
        /// What the inner machine has said already.
        held: Vec<Bytes>,
    },
    Open(Reader),
    Ending,
    Closed,
}

impl<M: Connection> WebSocket<M> {
    /// A machine whose messages have that length, and whose client is to ask for WebSockets within that time.
    #[must_use]
    pub fn new(inner: M, message: usize, now: Now, within: Duration) -> Self {
        Self {
            state: State::Upgrading {
                until: now.instant + within,
                head: BytesMut::new(),
                held: Vec::new(),
            },
            inner,
            message: message.max(1),
            unsent: BytesMut::new(),
            latest: Latest::new(now),
            outbox: Outbox::default(),
        }
    }

    fn upgrade(&mut self, now: Now, bytes: &[u8]) -> Result<(), Error<M::Error>> {
        let State::Upgrading { head, held, .. } = &mut self.state else {
            return Ok(());
        };
        head.extend_from_slice(bytes);
        let accepted = upgrade::accept(head);
        let Some((response, length)) = accepted.map_err(|refused| {
            self.outbox.transmit(refused.response());
            Error::Upgrade(refused)
        })?
        else {
            return Ok(());
        };
        let frames = head.split_off(length);
        let held = std::mem::take(held);
        self.state = State::Open(Reader::new(self.message));
        self.outbox.transmit(response);
        for bytes in held {
            self.say(&bytes);
        }
        self.receive(now, &frames)
    }

    fn receive(&mut self, now: Now, mut bytes: &[u8]) -> Result<(), Error<M::Error>> {
        while let State::Open(reader) = &mut self.state {
            let heard = reader.next(&mut bytes).map_err(|violation| {
                self.outbox
                    .transmit(frame::close(&violation.status().to_be_bytes()));
                Error::Frame(violation)
            })?;
            match heard {
                None => return Ok(()),
                Some(Heard::Data(data)) => self.give(now, Input::Bytes(&data))?,
                Some(Heard::Ping(payload)) => self.outbox.transmit(frame::pong(&payload)),
                Some(Heard::Close(status)) => {
                    self.outbox.transmit(frame::close(&status));
                    self.state = State::Ending;
                    self.give(now, Input::Eof)?;
                }
            }
            // The order of what is said is that of what was heard.
            self.gather();
        }
        Ok(())
    }

    fn give(&mut self, now: Now, input: Input<'_, M::Command>) -> Result<(), Error<M::Error>> {
        let handled = self.inner.handle(now, input).map_err(Error::Inner);
        if handled.is_err() {
            self.gather();
        }
        handled
    }

    /// Takes over what the inner machine wants to be done.
    fn gather(&mut self) {
        while let Some(action) = self.inner.poll() {
            match (&mut self.state, action) {
                (_, Action::Event(event)) => self.outbox.event(event),
                (State::Upgrading { held, .. }, Action::Transmit(bytes)) => held.push(bytes),
                (State::Open(_), Action::Transmit(bytes)) => self.say(&bytes),
                (State::Open(_), Action::Close(reason)) => {
                    self.outbox
                        .transmit(frame::close(&frame::NORMAL.to_be_bytes()));
                    self.close(reason);
                }
                (State::Upgrading { .. } | State::Ending, Action::Close(reason)) => {
                    self.close(reason);
                }
                (State::Ending | State::Closed, Action::Transmit(_))
                | (State::Closed, Action::Close(_)) => {}
            }
        }
        if self.state == State::Ending {
            self.close(CloseReason::PeerClosed);
        }
    }

    /// Cuts bytes into messages, which leave together.
    fn say(&mut self, bytes: &[u8]) {
        self.unsent.extend_from_slice(bytes);
        let whole = self.unsent.len().checked_div(self.message).unwrap_or(0);
        let mut frames = BytesMut::with_capacity(
            whole.saturating_mul(self.message.saturating_add(frame::LONGEST_HEADER)),
        );
        for _ in 0..whole {
            let message = self.unsent.split_to(self.message);
            frame::binary_header(message.len(), &mut frames);
            frames.put_slice(&message);
        }
        if self.unsent.is_empty() {
            self.unsent = BytesMut::new();
        }
        self.outbox.transmit(frames.freeze());
    }

    fn close(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.outbox.close(reason);
    }
}

impl<M: Connection> Machine for WebSocket<M> {
    type Input<'a> = Input<'a, M::Command>;
    type Action = Action<M::Event>;
    type Error = Error<M::Error>;

    fn handle(&mut self, now: Now, input: Input<'_, M::Command>) -> Result<(), Self::Error> {
        self.outbox.begin();
        let now = self.latest.at(now);
        match (&self.state, input) {
            (State::Upgrading { .. }, Input::Bytes(bytes)) => self.upgrade(now, bytes)?,
            (State::Upgrading { until, .. }, Input::Timeout) if *until <= now.instant => {
                self.close(CloseReason::TimedOut);
            }
            (State::Open(_), Input::Bytes(bytes)) => self.receive(now, bytes)?,
            (State::Closed, Input::Bytes(_) | Input::Eof | Input::Timeout) => {}
            (_, input) => self.give(now, input)?,
        }
        self.gather();
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<M::Event>> {
        if self.outbox.is_empty() {
            // What the inner machine has said before its first input.
            self.gather();
        }
        self.outbox.next()
    }

    fn deadline(&self) -> Option<Instant> {
        let inner = self.inner.deadline();
        match self.state {
            State::Upgrading { until, .. } => Some(inner.map_or(until, |inner| inner.min(until))),
            State::Open(_) => inner,
            State::Ending | State::Closed => None,
        }
    }
}

impl<M: Connection> Connection for WebSocket<M> {
    type Command = M::Command;
    type Event = M::Event;

    fn accepts_commands(&self) -> bool {
        match self.state {
            State::Upgrading { .. } | State::Open(_) => self.inner.accepts_commands(),
            State::Ending | State::Closed => false,
        }
    }

    fn accepts_bytes(&self) -> bool {
        match self.state {
            State::Open(_) => self.inner.accepts_bytes(),
            State::Upgrading { .. } | State::Ending | State::Closed => true,
        }
    }
}
