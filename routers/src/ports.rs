//! Where routers listen.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use simplex_runtime_tokio::{Listener, Tokio};
use tokio::net::TcpListener;

/// Where a router listens for a port: on all addresses, of both families where the machine has them.
pub(crate) fn addresses(port: u16) -> [SocketAddr; 2] {
    [
        SocketAddr::from(([0_u16; 8], port)),
        SocketAddr::from(([0_u8; 4], port)),
    ]
}

/// Listens for clients.
pub(crate) async fn bind(network: Tokio, port: u16) -> io::Result<(Listener, SocketAddr)> {
    let [all, v4] = addresses(port);
    let listener = match network.listen(all).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        // A machine without IPv6.
        Err(_) => network.listen(v4).await,
    };
    let listener = listener?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Listens for those on this machine.
pub(crate) async fn bind_loopback(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}
