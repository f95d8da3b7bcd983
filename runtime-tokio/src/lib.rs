#![doc = include_str!("../README.md")]

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use simplex_sans_io::drive::{self, Io, KeepAlive, Listen, Network};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::time::{self, Now, UnixTime};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::time::{Instant, Sleep, sleep_until};

#[doc(no_inline)]
pub use simplex_sans_io::drive::{SmpClient, SmpOptions, SmpPool, SmpRelay, drive_pool};

/// The network and the time of tokio.
#[derive(Debug, Clone, Copy)]
pub struct Tokio {
    origin: Instant,
}

impl Tokio {
    /// A network whose time starts now.
    #[must_use]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Listens at an address.
    ///
    /// Cancel safety: a future that is dropped before it is done listens nowhere.
    pub async fn listen(&self, address: SocketAddr) -> io::Result<Listener> {
        let socket = Socket(TcpListener::bind(address).await?);
        Ok(Listener::new(socket, self.clock()))
    }
}

impl Default for Tokio {
    fn default() -> Self {
        Self::new()
    }
}

impl Network for Tokio {
    type Stream = Stream;
    type Clock = Clock;

    fn clock(&self) -> Clock {
        Clock {
            origin: self.origin,
            timer: None,
        }
    }

    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host((name, port)).await?.collect())
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let KeepAlive {
            idle,
            interval,
            retries,
        } = KeepAlive::DIALLED;
        let keep_alive = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(interval)
            .with_retries(retries);
        SockRef::from(&stream).set_tcp_keepalive(&keep_alive)?;
        Ok(Stream(stream))
    }
}

/// A stream of tokio, TCP or any other.
#[derive(Debug)]
pub struct Stream<S = TcpStream>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin> Io for Stream<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
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
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// The time of tokio, also when it is paused.
#[derive(Debug)]
pub struct Clock {
    origin: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clone for Clock {
    fn clone(&self) -> Self {
        Self {
            origin: self.origin,
            timer: None,
        }
    }
}

impl drive::Clock for Clock {
    fn now(&self) -> Now {
        let now = Instant::now();
        let micros = (now - self.origin).as_micros();
        Now {
            instant: time::Instant::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)),
            unix: UnixTime::from(calendar(now)),
        }
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>, until: time::Instant) -> Poll<()> {
        let since = Duration::from_micros(until.as_micros());
        let Some(until) = self.origin.checked_add(since) else {
            return Poll::Pending;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() != until {
            timer.as_mut().reset(until);
        }
        timer.as_mut().poll(cx)
    }
}

/// What the calendar says at an instant of tokio: where its clock is paused or has jumped, the calendar has, too.
fn calendar(instant: Instant) -> SystemTime {
    let (instant, real) = (instant.into_std(), std::time::Instant::now());
    let now = SystemTime::now();
    let then = match instant.checked_duration_since(real) {
        Some(ahead) => now.checked_add(ahead),
        None => now.checked_sub(real.saturating_duration_since(instant)),
    };
    then.unwrap_or(now)
}

/// Accepts streams.
pub type Listener = drive::Listener<Socket, Clock>;

/// A listening socket of tokio.
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
    use simplex_sans_io::drive::Clock as _;

    #[tokio::test]
    async fn streams_do_not_wait_and_are_kept_alive() -> io::Result<()> {
        let network = Tokio::new();
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
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_paused_clock_jumps_over_passes_in_the_calendar() {
        let clock = Tokio::new().clock();
        let hour = Duration::from_secs(3600);
        let before = clock.now();
        tokio::time::advance(hour).await;
        let after = clock.now();
        assert_eq!(after.instant, before.instant + hour);
        let passed = after.unix.as_micros() - before.unix.as_micros();
        // Three clocks are read one after the other.
        assert!(passed.abs_diff(3_600_000_000) < 1_800_000_000);
    }
}
