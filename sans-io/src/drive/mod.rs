//! Driving a machine over any runtime: [`drive`] moves bytes, sets timers, and nothing more.
//!
//! A runtime is two small traits, [`Io`] for a stream and [`Clock`] for the time; one that also dials and resolves names is a
//! [`Network`]. There is no `spawn`: [`drive`] returns a future, which is `Send` when machine and stream are, and lives where its owner
//! puts it. The owner talks to it through a [`mailbox()`], or through an [`Owner`] of its own.
//!
//! ```
//! use std::task::{Context, Poll, Waker};
//! use std::{io, pin::pin};
//!
//! use simplex_sans_io::drive::{Capacity, Clock, Io, Policy, drive, mailbox};
//! use simplex_sans_io::machine::CloseReason;
//! # use simplex_sans_io::machine::{Action, Connection, Input, Machine, Outbox};
//! use simplex_sans_io::time::{Instant, Now};
//!
//! /// A peer that says hello, and a record of what it hears.
//! struct Recorded<'a>(&'a [u8], &'a mut Vec<u8>);
//!
//! impl Io for Recorded<'_> {
//!     fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
//!         Poll::Ready(io::Read::read(&mut self.0, buffer))
//!     }
//!     fn poll_write(&mut self, _: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
//!         Poll::Ready(io::Write::write_vectored(self.1, slices))
//!     }
//!     fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
//!         Poll::Ready(Ok(()))
//!     }
//!     fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
//!         Poll::Ready(Ok(()))
//!     }
//! }
//!
//! struct Stopped;
//!
//! impl Clock for Stopped {
//!     fn now(&self) -> Now {
//!         Now::START
//!     }
//!     fn poll_sleep(&mut self, _: &mut Context<'_>, _: Instant) -> Poll<()> {
//!         Poll::Pending
//!     }
//! }
//! #
//! # #[derive(Default)]
//! # struct Echo(Outbox<()>);
//! # impl Machine for Echo {
//! #     type Input<'a> = Input<'a, ()>;
//! #     type Action = Action<()>;
//! #     type Error = std::convert::Infallible;
//! #     fn handle(&mut self, _: Now, input: Input<'_, ()>) -> Result<(), Self::Error> {
//! #         self.0.begin();
//! #         match input {
//! #             Input::Bytes(bytes) => self.0.transmit(bytes.to_vec().into()),
//! #             Input::Eof => self.0.close(CloseReason::PeerClosed),
//! #             Input::Timeout | Input::Command(()) => {}
//! #         }
//! #         Ok(())
//! #     }
//! #     fn poll(&mut self) -> Option<Action<()>> { self.0.next() }
//! #     fn deadline(&self) -> Option<Instant> { None }
//! # }
//! # impl Connection for Echo {
//! #     type Command = ();
//! #     type Event = ();
//! #     fn accepts_commands(&self) -> bool { true }
//! # }
//!
//! let mut heard = Vec::new();
//! let (_commands, _events, mailbox) = mailbox(Capacity::default());
//! {
//!     let connection = pin!(drive(Echo::default(), Recorded(b"hello", &mut heard), Stopped, mailbox, Policy::CLIENT));
//!     let ended = connection.poll(&mut Context::from_waker(Waker::noop()));
//!     assert!(matches!(ended, Poll::Ready(Ok(CloseReason::PeerClosed))));
//! }
//! assert_eq!(heard, b"hello");
//! ```

#[cfg(feature = "tls")]
mod answers;
mod event_loop;
mod listener;
mod mailbox;
mod network;
mod policy;
mod queue;
#[cfg(feature = "tls")]
mod smp;
#[cfg(feature = "tls")]
mod smp_commands;
#[cfg(feature = "tls")]
mod smp_pool;
#[cfg(test)]
mod tests;
#[cfg(all(feature = "tls", feature = "xftp"))]
mod transfers;
mod unsent;
#[cfg(feature = "tls")]
mod woken;
#[cfg(all(feature = "tls", feature = "xftp"))]
mod xftp;

use std::io::{self, IoSlice};
use std::task::{Context, Poll};

use crate::time::{Instant, Now};

#[cfg(feature = "tls")]
pub use self::answers::AnsweringMailbox;
pub use self::event_loop::{DriveError, drive};
pub use self::listener::{Listen, Listener};
pub use self::mailbox::{Capacity, Mailbox, Owner, mailbox};
pub use self::network::{ConnectError, KeepAlive, Network, Reach, connect, timeout};
pub use self::policy::{Policy, WhileBlocked};
pub use self::queue::{Closed, Receiver, Sender, Sending, TrySendError, queue};
#[cfg(feature = "tls")]
pub use self::smp::{SmpClient, SmpConnectError, SmpEnd, SmpMailbox, SmpOptions};
#[cfg(feature = "tls")]
pub use self::smp_commands::{RelayError, SmpRelay};
#[cfg(feature = "tls")]
pub use self::smp_pool::{PoolEnded, SmpPool, SmpPoolMailbox, drive_pool};
#[cfg(all(feature = "tls", feature = "xftp"))]
pub use self::transfers::XftpMailbox;
#[cfg(all(feature = "tls", feature = "xftp"))]
pub use self::xftp::{
    XftpClient, XftpConnectError, XftpDownload, XftpEnd, XftpOptions, XftpUpload,
};

/// A byte stream that a runtime polls. What is pending has done nothing, and wakes the task when it is worth another try.
pub trait Io {
    /// Reads into `buffer`, which is not empty; zero bytes are the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Writes from the front of `slices`, in one operation where the stream can. The next call may bring other slices.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;

    /// Lets everything leave that was written.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ends the direction that is written; the other one stays open until the stream is dropped.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// The time of a runtime, with one timer. Clones share the origin of the time, not the timer.
pub trait Clock {
    /// The time now.
    fn now(&self) -> Now;

    /// Ready once [`now`](Self::now) has reached `until`. Another `until` than the last one resets the timer.
    fn poll_sleep(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()>;
}
