#![doc = include_str!("../README.md")]

use std::io::{self, IoSlice};
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use async_std::io::{Read as AsyncRead, Write as AsyncWrite};
use async_std::net::{TcpListener, TcpStream, ToSocketAddrs};
use simplex_runtime_smol::keep_alive;
use simplex_sans_io::drive::{self, Io, Listen, Network};
use socket2::SockRef;

#[doc(no_inline)]
pub use simplex_sans_io::drive::{SmpClient, SmpOptions, SmpPool, SmpRelay, drive_pool};

/// async-std runs on the reactor of smol, whose time it shares.
pub use simplex_runtime_smol::{Clock, rng};

/// The network and the time of async-std.
#[derive(Debug, Clone, Default)]
pub struct AsyncStd {
    clock: Clock,
}

impl AsyncStd {
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

impl Network for AsyncStd {
    type Stream = Stream;
    type Clock = Clock;

    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok((name, port).to_socket_addrs().await?.collect())
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Stream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&keep_alive())?;
        Ok(Stream(stream))
    }
}

/// A TCP stream of async-std.
#[derive(Debug)]
pub struct Stream(pub TcpStream);

impl Io for Stream {
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

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The stream's own `poll_close` leaves the direction open.
        Poll::Ready(self.0.shutdown(Shutdown::Write))
    }
}

/// Accepts streams.
pub type Listener = drive::Listener<Socket, Clock>;

/// A listening socket of async-std.
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

#[cfg(test)]
mod tests {
    use super::*;
    use simplex_sans_io::drive::KeepAlive;

    #[test]
    fn streams_do_not_wait_and_are_kept_alive() -> io::Result<()> {
        async_std::task::block_on(async {
            let network = AsyncStd::new();
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
