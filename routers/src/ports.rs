//! Where routers listen.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use simplex_runtime_tokio::{Listener, Tokio};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where a router listens for a port: on all addresses, of both families where the machine has them.
pub(crate) fn addresses(port: u16) -> [SocketAddr; 2] {
    [
        SocketAddr::from(([0_u16; 8], port)),
        SocketAddr::from(([0_u8; 4], port)),
    ]
}

/// A port cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("port {port} cannot be used: {error}")]
pub struct PortError {
    /// The port.
    pub port: u16,
    /// Why not.
    pub error: io::Error,
}

/// Listens for clients.
pub(crate) async fn bind(network: Tokio, port: u16) -> Result<(Listener, SocketAddr), PortError> {
    let [all, v4] = addresses(port);
    let listener = match network.listen(all).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        // A machine without IPv6.
        Err(_) => network.listen(v4).await,
    };
    let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|error| PortError { port, error })?;
    Ok((listener, address))
}

/// Whom a port is for that is not one of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Those on this machine.
    Machine,
    /// Everybody.
    World,
}

/// Opens a port, if there is one, and serves it among the `tasks` of a router, as many at a time: where it is.
pub(crate) async fn open<F: Future<Output = ()> + Send + 'static>(
    tasks: &mut JoinSet<()>,
    port: Option<u16>,
    reach: Reach,
    at_a_time: usize,
    serve: impl FnMut(TcpStream) -> F + Send + 'static,
) -> Result<Option<SocketAddr>, PortError> {
    let Some(port) = port else {
        return Ok(None);
    };
    let listener = match reach {
        Reach::Machine => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await,
        Reach::World => TcpListener::bind(addresses(port).as_slice()).await,
    };
    let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = bound.map_err(|error| PortError { port, error })?;
    tasks.spawn(accept(listener, at_a_time, serve));
    Ok(Some(address))
}

async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    at_a_time: usize,
    mut serve: impl FnMut(TcpStream) -> F,
) {
    let mut served = JoinSet::new();
    loop {
        while served.len() >= at_a_time {
            served.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                served.spawn(serve(stream));
            }
            Err(error) => {
                let port = listener.local_addr().map_or(0, |address| address.port());
                tracing::warn!(%error, port, "cannot accept connections now");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        while served.try_join_next().is_some() {}
    }
}
