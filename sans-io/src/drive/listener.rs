//! Accepting streams, whatever happens to some of them.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Clock, Io};
use crate::time::Instant;

/// How long a listener that could not accept rests.
const PAUSE: Duration = Duration::from_millis(100);

/// A runtime's listening socket.
pub trait Listen {
    /// A stream to a peer.
    type Stream: Io;

    /// Waits for the next peer. A future that is dropped before it is done has accepted nobody.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where it listens.
    fn local_addr(&self) -> io::Result<SocketAddr>;
}

/// Accepts streams for as long as its owner asks.
#[derive(Debug)]
pub struct Listener<L, C> {
    socket: L,
    clock: C,
    rests_until: Option<Instant>,
}

impl<L: Listen, C: Clock> Listener<L, C> {
    /// A listener on a socket.
    #[must_use]
    pub const fn new(socket: L, clock: C) -> Self {
        Self {
            socket,
            clock,
            rests_until: None,
        }
    }

    /// The next peer.
    ///
    /// An error is there to be reported, not to end the listener: the next call waits a moment, until there may be file descriptors or
    /// memory again, and goes on. Peers that have gone before they were accepted are passed over.
    ///
    /// Cancel safety: a future that is dropped before it is done has accepted nobody, and the peer stays in the queue of the operating
    /// system; what is left of a rest is kept.
    pub async fn accept(&mut self) -> io::Result<(L::Stream, SocketAddr)> {
        if let Some(until) = self.rests_until {
            poll_fn(|cx| self.clock.poll_sleep(cx, until)).await;
            self.rests_until = None;
        }
        loop {
            match self.socket.accept().await {
                Err(error) if concerns_one_peer(&error) => {}
                Err(error) => {
                    self.rests_until = Some(self.clock.now().instant + PAUSE);
                    return Err(error);
                }
                Ok(accepted) => return Ok(accepted),
            }
        }
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

fn concerns_one_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::sim::{Duplex, Link, Settled, SimClock, Tasks, abandon, duplex};
    use std::collections::VecDeque;
    use std::future::pending;
    use std::sync::Mutex;

    #[test]
    fn errors_are_reported_and_do_not_end_the_listener() {
        let mut tasks = Tasks::new(1);
        let socket = Socket::new(&tasks, [Some(io::ErrorKind::OutOfMemory), None]);
        let mut listener = Listener::new(socket, tasks.clock());
        let clock = tasks.clock();
        let accepted = tasks.spawn(async move {
            let failed = listener.accept().await.err().map(|error| error.kind());
            (failed, listener.accept().await.is_ok())
        });
        assert_eq!(tasks.run(100), Settled::Idle);
        assert_eq!(
            accepted.take(),
            Some((Some(io::ErrorKind::OutOfMemory), true))
        );
        assert_eq!(clock.now().instant, Instant::START + PAUSE);
    }

    #[test]
    fn peers_that_have_gone_are_passed_over() {
        let mut tasks = Tasks::new(1);
        let aborted = Some(io::ErrorKind::ConnectionAborted);
        let socket = Socket::new(&tasks, [aborted, aborted, None]);
        let mut listener = Listener::new(socket, tasks.clock());
        let accepted = tasks.spawn(async move { listener.accept().await.is_ok() });
        assert_eq!(tasks.run(100), Settled::Idle);
        assert_eq!(accepted.take(), Some(true));
    }

    #[test]
    fn an_accept_that_is_abandoned_keeps_the_rest_of_its_rest() {
        let mut tasks = Tasks::new(1);
        let socket = Socket::new(&tasks, [Some(io::ErrorKind::OutOfMemory), None]);
        let mut listener = Listener::new(socket, tasks.clock());
        let clock = tasks.clock();
        let accepted = tasks.spawn(async move {
            let failed = listener.accept().await.is_err();
            let abandoned = abandon(1, listener.accept()).await.is_none();
            (failed, abandoned, listener.accept().await.is_ok())
        });
        assert_eq!(tasks.run(100), Settled::Idle);
        assert_eq!(accepted.take(), Some((true, true, true)));
        assert_eq!(clock.now().instant, Instant::START + PAUSE);
    }

    /// A socket with that queue of errors and peers.
    struct Socket {
        clock: SimClock,
        queue: Mutex<VecDeque<Option<io::ErrorKind>>>,
    }

    impl Socket {
        fn new<const N: usize>(tasks: &Tasks, queue: [Option<io::ErrorKind>; N]) -> Self {
            Self {
                clock: tasks.clock(),
                queue: Mutex::new(queue.into()),
            }
        }
    }

    impl Listen for Socket {
        type Stream = Duplex;

        async fn accept(&self) -> io::Result<(Duplex, SocketAddr)> {
            let next = self.queue.lock().unwrap().pop_front();
            match next {
                None => pending().await,
                Some(Some(kind)) => Err(kind.into()),
                Some(None) => {
                    let rng = Rng::from_seed([1; 32]);
                    Ok((
                        duplex(&self.clock, rng, &Link::IDEAL, 1).0,
                        self.local_addr()?,
                    ))
                }
            }
        }

        fn local_addr(&self) -> io::Result<SocketAddr> {
            Ok(([127, 0, 0, 1], 1).into())
        }
    }
}
