#![doc = include_str!("../README.md")]

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use simplex_sans_io::drive::{self, Io, KeepAlive, Listen, Network};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::time::{self, Now, UnixTime};
use smol::Timer;
use smol::io::{AsyncRead, AsyncWrite};
use smol::net::{TcpListener, TcpStream, resolve};
use socket2::{SockRef, TcpKeepalive};

#[doc(no_inline)]
pub use simplex_sans_io::drive::{SmpClient, SmpOptions, SmpPool, SmpRelay, drive_pool};

/// The network and the time of smol.
#[derive(Debug, Clone, Default)]
pub struct Smol {
    clock: Clock,
}

impl Smol {
    /// A network whose time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens at an address.
    ///
    /// Cancel safety: a future that is dropped before it is done listens nowhere.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        let socket = Socket(TcpListener::bind(address).await?);
        Ok(Listener::new(socket, self.clock()))
    }
}

impl Network for Smol {
    type Stream = Stream;
    type Clock = Clock;

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        resolve((name, port)).await
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&keep_alive())?;
        Ok(Stream(stream))
    }
}

/// What [`KeepAlive::DIALLED`] means to a socket.
#[must_use]
pub const fn keep_alive() -> TcpKeepalive {
    let KeepAlive {
        idle,
        interval,
        retries,
    } = KeepAlive::DIALLED;
    TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(retries)
}

/// A stream of smol, TCP or any other.
#[derive(Debug)]
pub struct Stream<S = TcpStream>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin> Io for Stream<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

/// The time of the operating system.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    timer: Timer,
    until: Option<Instant>,
}

impl Clock {
    fn at(origin: Instant) -> Self {
        Self {
            origin,
            timer: Timer::never(),
            until: None,
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::at(Instant::now())
    }
}

impl Clone for Clock {
    fn clone(&self) -> Self {
        Self::at(self.origin)
    }
}

impl drive::Clock for Clock {
    fn now(&self) -> Now {
        let micros = self.origin.elapsed().as_micros();
        Now {
            instant: time::Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)),
            unix: UnixTime::from(SystemTime::now()),
        }
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>, until: time::Instant) -> Poll<()> {
        let until = self
            .origin
            .checked_add(Duration::from_micros(until.as_micros()));
        if self.until != until {
            match until {
                Some(until) => self.timer.set_at(until),
                None => self.timer.clear(),
            }
            self.until = until;
        }
        let slept = Pin::new(&mut self.timer).poll(cx).map(|_| ());
        if slept.is_ready() {
            self.until = None;
        }
        slept
    }
}

/// Accepts streams.
pub type Listener = drive::Listener<Socket, Clock>;

/// A listening socket of smol.
#[derive(Debug)]
pub struct Socket(pub TcpListener);

impl Listen for Socket {
    type Stream = Stream;

    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        let (stream, address) = self.0.accept().await?;
        // A peer that has gone already is noticed when it is read.
        stream.set_nodelay(true).ok();
        Ok((Stream(stream), address))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Randomness for a machine, seeded by the operating system: through getrandom, because runtimes have none fit for keys.
pub fn rng() -> io::Result<Rng> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(Rng::from_seed(seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_do_not_wait_and_are_kept_alive() -> io::Result<()> {
        smol::block_on(async {
            let network = Smol::new();
            let mut listener = network.listen(([127, 0, 0, 1], 0).into()).await?;
            let dialled = network.dial(listener.local_addr()?).await?.0;
            let (accepted, _) = listener.accept().await?;
            assert!(dialled.nodelay()? && accepted.0.nodelay()?);
            let socket = SockRef::from(&dialled);
            assert!(socket.keepalive()?);
            assert_eq!(socket.tcp_keepalive_time()?, KeepAlive::DIALLED.idle);
            assert_eq!(
                socket.tcp_keepalive_interval()?,
                KeepAlive::DIALLED.interval
            );
            assert_eq!(socket.tcp_keepalive_retries()?, KeepAlive::DIALLED.retries);
            assert!(!SockRef::from(&accepted.0).keepalive()?);
            Ok(())
        })
    }
}
