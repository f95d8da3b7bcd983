//! SOCKS5 in front of another machine: once the proxy has connected, the stream is the inner machine's.
//!
//! ```text
//!   ┌────────┐ method 2  ┌────────────────┐ status 0  ┌───────┐ reply 0  ┌───────┐        ┌────────┐
//!   │ Method │──────────▶│ Authentication │──────────▶│ Reply │─────────▶│ Inner │───────▶│ Closed │
//!   └────────┘           └────────────────┘           └───────┘          └───────┘        └────────┘
//!     │    │ method 0           │                       ▲ │                inner machine closes ▲
//!     │    └────────────────────┼───────────────────────┘ │                                     │
//!     └─────────────────────────┴─────────────────────────┴─────────────────────────────────────┘
//!                     Eof, deadline, inner machine closes; a refusal of the proxy is an error
//! ```
//!
//! What the inner machine says before that, such as the first message of its own handshake, waits; bytes that follow the reply are its
//! own. Its deadlines count from the beginning, so that one limit of time covers both handshakes. Names are resolved by the proxy.
//!
//! ```
//! use std::time::Duration;
//!
//! use simplex_sans_io::machine::{Action, Input, Machine};
//! use simplex_sans_io::socks::{Authentication, Credentials, Socks};
//! use simplex_sans_io::time::Now;
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
//! #         if let Input::Bytes(bytes) = input { self.0.event(bytes.to_vec()); }
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
//! let target = "abc.onion:80".parse()?;
//! let session = Authentication::Isolated(Credentials::isolating("session 1"));
//! // A machine that says hello, and tells what it hears.
//! let mut socks = Socks::new(Hello::new(), target, session, Now::START, Duration::from_secs(30));
//! let say = |bytes: &[u8]| Some(Action::Transmit(bytes.to_vec().into()));
//!
//! assert_eq!(socks.poll(), say(b"\x05\x01\x02"));
//! assert_eq!(socks.poll(), None);
//!
//! socks.handle(Now::START, Input::Bytes(b"\x05\x02"))?;
//! let Some(Action::Transmit(name)) = socks.poll() else { panic!("the session has a name of its own") };
//! assert!(name.starts_with(b"\x01\x2c"));
//! assert_eq!(socks.poll(), None);
//!
//! socks.handle(Now::START, Input::Bytes(b"\x01\x00"))?;
//! assert_eq!(socks.poll(), say(b"\x05\x01\x00\x03\x09abc.onion\x00\x50"));
//! assert_eq!(socks.poll(), None);
//!
//! socks.handle(Now::START, Input::Bytes(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00welcome"))?;
//! assert_eq!(socks.poll(), say(b"hello"));
//! assert_eq!(socks.poll(), Some(Action::Event(b"welcome".to_vec())));
//! assert_eq!(socks.poll(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod negotiation;
mod proxy;
mod target;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;

use self::negotiation::{Negotiation, Step};
use crate::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
use crate::time::{Instant, Latest, Now};

pub use self::error::{Refusal, SocksError};
pub use self::proxy::{Access, Authentication, Credentials, Proxy, ProxyParseError};
pub use self::target::{Route, Target};

/// A machine behind a proxy, or behind none. See the [module](self) for its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socks<M: Connection> {
    state: State,
    inner: M,
    latest: Latest,
    outbox: Outbox<M::Event>,
}

/// Why a [`Socks`] machine died.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error<E> {
    /// The proxy did not connect.
    #[error("proxy: {0}")]
    Proxy(SocksError),
    /// The machine behind it died.
    #[error(transparent)]
    Inner(E),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Negotiating {
        negotiation: Negotiation,
        until: Instant,
        /// What the inner machine has said already.
        held: Vec<Bytes>,
    },
    Inner,
    /// The proxy did not connect, which the inner machine may tell its owner in its own words.
    Ending(CloseReason),
    Closed,
}

impl<M: Connection> Socks<M> {
    /// A machine whose stream leads to a proxy, which is to connect to `target` within that time.
    #[must_use]
    pub fn new(
        inner: M,
        target: Target,
        authentication: Authentication,
        now: Now,
        within: Duration,
    ) -> Self {
        let (negotiation, greeting) = Negotiation::new(target, authentication);
        let mut outbox = Outbox::default();
        outbox.transmit(greeting);
        Self {
            state: State::Negotiating {
                negotiation,
                until: now.instant + within,
                held: Vec::new(),
            },
            inner,
            latest: Latest::new(now),
            outbox,
        }
    }

    /// A machine whose stream leads to its peer.
    #[must_use]
    pub fn direct(inner: M) -> Self {
        Self {
            state: State::Inner,
            inner,
            latest: Latest::default(),
            outbox: Outbox::default(),
        }
    }

    /// A machine whose stream leads where `route` does, within that time.
    #[must_use]
    pub fn on(route: Route, inner: M, now: Now, within: Duration) -> Self {
        match route {
            Route::Direct(_) => Self::direct(inner),
            Route::Through {
                target,
                authentication,
                ..
            } => Self::new(inner, target, authentication, now, within),
        }
    }

    /// The machine behind the proxy.
    #[must_use]
    pub const fn inner(&self) -> &M {
        &self.inner
    }

    fn negotiate(&mut self, now: Now, bytes: &[u8]) -> Result<(), Error<M::Error>> {
        let State::Negotiating {
            negotiation, held, ..
        } = &mut self.state
        else {
            return Ok(());
        };
        negotiation.receive(bytes);
        let rest = loop {
            match negotiation.step().map_err(Error::Proxy)? {
                Step::Wait => return Ok(()),
                Step::Say(bytes) => self.outbox.transmit(bytes),
                Step::Established(rest) => break rest,
            }
        };
        held.drain(..).for_each(|bytes| self.outbox.transmit(bytes));
        self.state = State::Inner;
        match rest.is_empty() {
            true => Ok(()),
            false => self.give(now, Input::Bytes(&rest)),
        }
    }

    fn give(&mut self, now: Now, input: Input<'_, M::Command>) -> Result<(), Error<M::Error>> {
        self.inner.handle(now, input).map_err(Error::Inner)
    }

    fn end(&mut self, now: Now, reason: CloseReason) -> Result<(), Error<M::Error>> {
        self.state = State::Ending(reason);
        self.give(now, Input::Eof)
    }
}

impl<M: Connection> Machine for Socks<M> {
    type Input<'a> = Input<'a, M::Command>;
    type Action = Action<M::Event>;
    type Error = Error<M::Error>;

    fn handle(&mut self, now: Now, input: Input<'_, M::Command>) -> Result<(), Self::Error> {
        self.outbox.begin();
        let now = self.latest.at(now);
        match (&self.state, input) {
            (State::Inner, input) => self.give(now, input),
            (State::Negotiating { .. }, Input::Bytes(bytes)) => self.negotiate(now, bytes),
            (State::Negotiating { .. }, Input::Eof) => self.end(now, CloseReason::Truncated),
            (State::Negotiating { until, .. }, Input::Timeout) if *until <= now.instant => {
                self.end(now, CloseReason::TimedOut)
            }
            (State::Negotiating { .. }, Input::Timeout) => self.give(now, Input::Timeout),
            // It refuses what it cannot do.
            (_, Input::Command(command)) => self.give(now, Input::Command(command)),
            (State::Ending(_) | State::Closed, Input::Bytes(_) | Input::Eof | Input::Timeout) => {
                Ok(())
            }
        }
    }

    fn poll(&mut self) -> Option<Action<M::Event>> {
        loop {
            if let Some(action) = self.outbox.next() {
                return Some(action);
            }
            match (&mut self.state, self.inner.poll()) {
                (State::Ending(reason), None) => {
                    let reason = *reason;
                    self.state = State::Closed;
                    return Some(Action::Close(reason));
                }
                (_, None) => return None,
                (State::Negotiating { held, .. }, Some(Action::Transmit(bytes))) => {
                    held.push(bytes);
                }
                (
                    State::Ending(_) | State::Closed,
                    Some(Action::Transmit(_) | Action::Close(_)),
                ) => {}
                (state, Some(Action::Close(reason))) => {
                    *state = State::Closed;
                    return Some(Action::Close(reason));
                }
                (_, action) => return action,
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Negotiating { until, .. } => Some(
                self.inner
                    .deadline()
                    .map_or(until, |inner| inner.min(until)),
            ),
            State::Inner => self.inner.deadline(),
            State::Ending(_) | State::Closed => None,
        }
    }
}

impl<M: Connection> Connection for Socks<M> {
    type Command = M::Command;
    type Event = M::Event;

    fn accepts_commands(&self) -> bool {
        match self.state {
            State::Negotiating { .. } | State::Inner => self.inner.accepts_commands(),
            State::Ending(_) | State::Closed => false,
        }
    }

    fn accepts_bytes(&self) -> bool {
        match self.state {
            State::Inner => self.inner.accepts_bytes(),
            State::Negotiating { .. } | State::Ending(_) | State::Closed => true,
        }
    }
}
