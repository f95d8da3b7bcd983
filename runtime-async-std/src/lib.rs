#![doc = include_str!("../README.md")]

use std::io;
use std::net::SocketAddr;

use async_std::net::{TcpListener, TcpStream, ToSocketAddrs};
use simplex_runtime_smol::keep_alive;
use simplex_sans_io::drive::{self, Listen, Network};
use socket2::SockRef;

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
        Ok(simplex_runtime_smol::Stream(stream))
    }
}

/// A stream of async-std, TCP or any other.
pub type Stream<S = TcpStream> = simplex_runtime_smol::Stream<S>;

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
        Ok((simplex_runtime_smol::Stream(stream), address))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
