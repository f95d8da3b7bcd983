//! The contract of every machine: inputs with time go in, actions come out, nothing else happens.
//!
//! A machine owns no socket, no thread, no clock and no randomness of the operating system. Its driver obeys seven rules, and the
//! machine keeps seven promises in return:
//!
//! 1. After every [`handle`](Machine::handle) the driver drains [`poll`](Machine::poll) to `None` before the next input, also after an
//!    error (a TLS alert may wait there). Everything that can be said now is said now: nothing waits for a timer to surface.
//! 2. After a [`Input::Timeout`] at `t` the [`deadline`](Machine::deadline) is later than `t`: no busy loops.
//! 3. An error means that the machine is dead. What a peer or the owner did wrong within the protocol is a reply or an event.
//! 4. The only clock is [`Now`], the only randomness a seeded [`Rng`](crate::rng::Rng).
//! 5. No panic, no overflow and no unbounded growth is reachable from the network.
//! 6. No hash map order reaches an output. Secrets print as `[redacted]`, are zeroized, and are compared in constant time.
//! 7. Each machine's module opens with its state graph and a doc test that walks through it.
//!
//! Buffers: bytes go in borrowed and come out as [`Bytes`]. A machine gathers all that it has to say in one flush into one buffer,
//! freezes it, and forgets it, so that one flush is one write and a quiet connection owns no block; the allocator is the pool.
//!
//! ```
//! use simplex_sans_io::machine::{Action, CloseReason, Input, Machine, Outbox};
//! use simplex_sans_io::time::{Instant, Now};
//!
//! /// Returns what it gets.
//! #[derive(Default)]
//! struct Echo(Outbox<()>);
//!
//! impl Machine for Echo {
//!     type Input<'a> = Input<'a, ()>;
//!     type Action = Action<()>;
//!     type Error = std::convert::Infallible;
//!
//!     fn handle(&mut self, _: Now, input: Input<'_, ()>) -> Result<(), Self::Error> {
//!         self.0.begin();
//!         match input {
//!             Input::Bytes(bytes) => self.0.transmit(bytes.to_vec().into()),
//!             Input::Eof => self.0.close(CloseReason::Finished),
//!             Input::Timeout | Input::Command(()) => {}
//!         }
//!         Ok(())
//!     }
//!
//!     fn poll(&mut self) -> Option<Action<()>> {
//!         self.0.next()
//!     }
//!
//!     fn deadline(&self) -> Option<Instant> {
//!         None
//!     }
//! }
//!
//! let mut echo = Echo::default();
//! echo.handle(Now::START, Input::Bytes(b"hello"))?;
//! assert_eq!(echo.poll(), Some(Action::Transmit(b"hello".as_slice().into())));
//! assert_eq!(echo.poll(), None);
//! # Ok::<(), std::convert::Infallible>(())
//! ```

use std::collections::VecDeque;

use bytes::Bytes;

use crate::time::{Instant, Now};

/// A deterministic machine: the same seed and the same inputs give the same actions, byte for byte.
pub trait Machine {
    /// What the machine takes in.
    type Input<'a>;
    /// What the machine asks its driver to do.
    type Action;
    /// Why the machine can take nothing in any more.
    type Error: std::error::Error;

    /// Takes one input.
    ///
    /// The driver drains [`poll`](Self::poll) before the next input. After an error the machine is dead: what it still wanted to say
    /// is drained once, then the stream is closed. A `now` earlier than the last one counts as the last one, which
    /// [`Latest`](crate::time::Latest) sees to.
    fn handle(&mut self, now: Now, input: Self::Input<'_>) -> Result<(), Self::Error>;

    /// The next action, in order; `None` when all are drained.
    #[must_use]
    fn poll(&mut self) -> Option<Self::Action>;

    /// When a timeout input is wanted; meaningful once drained, and cheap.
    #[must_use]
    fn deadline(&self) -> Option<Instant>;
}

/// A machine on one byte stream, as [drivers](crate::machine) run it.
pub trait Connection:
    for<'a> Machine<
        Input<'a> = Input<'a, <Self as Connection>::Command>,
        Action = Action<<Self as Connection>::Event>,
    >
{
    /// What the owner can ask for.
    type Command;
    /// What the owner is told.
    type Event;

    /// Whether a command is welcome now.
    ///
    /// A driver holds commands back while this is false, so that what is not yet sent stays bounded. A command that is given
    /// nevertheless is refused with an event, never lost in silence.
    #[must_use]
    fn accepts_commands(&self) -> bool;

    /// Whether bytes are welcome now.
    ///
    /// A driver does not read while this is false, so that what is not yet worked on stays bounded. It turns true again after a command
    /// or a timeout, never by itself.
    #[must_use]
    fn accepts_bytes(&self) -> bool {
        true
    }
}

/// What a machine on one byte stream takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<'a, C> {
    /// Bytes arrived from the peer.
    Bytes(&'a [u8]),
    /// The peer will send nothing more.
    Eof,
    /// The deadline has passed.
    Timeout,
    /// The owner wants something done.
    Command(C),
}

/// What a machine on one byte stream asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<E> {
    /// Send these bytes to the peer.
    Transmit(Bytes),
    /// Tell the owner.
    Event(E),
    /// Flush what was transmitted, then close the stream.
    Close(CloseReason),
}

/// Why a stream is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The owner asked for it, or both sides have finished.
    Finished,
    /// The peer closed the stream in an orderly way.
    PeerClosed,
    /// The stream ended in the middle of something.
    Truncated,
    /// The peer did not answer or did not make progress in time.
    TimedOut,
}

/// The actions of a machine that wait to be drained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actions<A>(VecDeque<A>);

impl<A> Default for Actions<A> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<A> Actions<A> {
    /// Asserts, in debug builds, that the driver has drained what the last input brought.
    pub fn begin(&self) {
        debug_assert!(self.0.is_empty(), "drain poll() before the next input");
    }

    /// Adds an action after the others.
    pub fn push(&mut self, action: A) {
        self.0.push_back(action);
    }

    /// The last one that was added, unless it was drained.
    pub fn last_mut(&mut self) -> Option<&mut A> {
        self.0.back_mut()
    }

    /// The next action, in order. Without actions there is no memory.
    #[expect(
        clippy::should_implement_trait,
        reason = "actions are drained by a machine's poll, not iterated"
    )]
    pub fn next(&mut self) -> Option<A> {
        let action = self.0.pop_front();
        if self.0.is_empty() && self.0.capacity() > 0 {
            self.0 = VecDeque::new();
        }
        action
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The actions of a machine on one byte stream that wait to be drained.
pub type Outbox<E> = Actions<Action<E>>;

impl<E> Actions<Action<E>> {
    /// Sends bytes to the peer.
    pub fn transmit(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.push(Action::Transmit(bytes));
        }
    }

    /// Tells the owner.
    pub fn event(&mut self, event: E) {
        self.push(Action::Event(event));
    }

    /// Closes the stream.
    pub fn close(&mut self, reason: CloseReason) {
        self.push(Action::Close(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "drain poll()")]
    fn an_undrained_outbox_refuses_the_next_input() {
        let mut outbox = Outbox::default();
        outbox.event(());
        outbox.begin();
    }

    #[test]
    fn nothing_to_transmit_is_no_action() {
        let mut outbox = Outbox::<()>::default();
        outbox.transmit(Bytes::new());
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_drained_outbox_owns_no_memory() {
        let mut outbox = Outbox::default();
        outbox.event(1);
        outbox.close(CloseReason::Finished);
        assert_eq!(outbox.next(), Some(Action::Event(1)));
        assert_eq!(outbox.next(), Some(Action::Close(CloseReason::Finished)));
        assert_eq!(outbox.next(), None);
        assert_eq!(outbox.0.capacity(), 0);
    }
}
