//! Where clients come in.
//!
//! ```text
//!   accepted ──▶ stranger ──AUTH, or nothing if who may connect is known──▶ client
//!                   │ 16 at a time, ten seconds each                         │ 16 at a time
//!                   └── any other word: closed                               └── one too many: ERR, closed
//! ```
//! Strangers take no places of clients.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;

use super::session::serve;
use super::{Shared, private};

/// How many strangers there are at a time; further ones wait.
const STRANGERS: usize = 16;

/// How many clients there are at a time.
pub(super) const CLIENTS: usize = 16;

/// Accepts clients until it is dropped.
pub(super) struct Listening {
    /// The port, if it is one.
    pub(super) port: Option<u16>,
    listening: JoinSet<()>,
}

impl Listening {
    /// At a socket.
    pub(super) fn at_socket(path: &Path, shared: Shared) -> io::Result<Self> {
        let listener = private::socket(path)?;
        let mut listening = JoinSet::new();
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        listening.spawn(accept_local(listener, shared, strangers));
        let port = None;
        Ok(Self { port, listening })
    }

    /// At a port of the loopback addresses of this machine, or of another address.
    pub(super) fn at_port(port: u16, address: Option<IpAddr>, shared: Shared) -> io::Result<Self> {
        let strangers = Arc::new(Semaphore::new(STRANGERS));
        let mut listening = JoinSet::new();
        let first = address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let listener = bind((first, port).into())?;
        let port = listener.local_addr()?.port();
        listening.spawn(accept(listener, shared.clone(), Arc::clone(&strangers)));
        // A machine may have no IPv6.
        if address.is_none()
            && let Ok(listener) = bind((Ipv6Addr::LOCALHOST, port).into())
        {
            listening.spawn(accept(listener, shared, strangers));
        }
        let port = Some(port);
        Ok(Self { port, listening })
    }

    /// Lets all clients go.
    pub(super) async fn end(mut self) {
        self.listening.shutdown().await;
    }
}

/// A socket of its own for each of both protocols.
fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if address.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(128)
}

async fn place(strangers: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(strangers).acquire_owned().await.ok()
}

async fn accept(listener: TcpListener, shared: Shared, strangers: Arc<Semaphore>) {
    let mut clients = JoinSet::new();
    while let Some(place) = place(&strangers).await {
        match listener.accept().await {
            Ok((stream, _)) => {
                stream.set_nodelay(true).ok();
                rustix::net::sockopt::set_socket_keepalive(&stream, true).ok();
                let shared = shared.clone();
                clients.spawn(async move { ended(serve(stream, shared, place).await) });
            }
            Err(error) => wait(&error).await,
        }
        while clients.try_join_next().is_some() {}
    }
}

async fn accept_local(listener: UnixListener, shared: Shared, strangers: Arc<Semaphore>) {
    let mut clients = JoinSet::new();
    while let Some(place) = place(&strangers).await {
        match listener.accept().await {
            Ok((stream, _)) => {
                let peer = stream.peer_cred();
                if !peer.is_ok_and(|peer| private::is_owner(peer.uid())) {
                    tracing::warn!("another user of this machine was turned away");
                    continue;
                }
                let shared = shared.clone();
                clients.spawn(async move { ended(serve(stream, shared, place).await) });
            }
            Err(error) => wait(&error).await,
        }
        while clients.try_join_next().is_some() {}
    }
}

fn ended(served: io::Result<()>) {
    if let Err(error) = served {
        tracing::debug!(%error, "a client is gone");
    }
}

async fn wait(error: &io::Error) {
    tracing::warn!(%error, "no clients can be accepted now");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
