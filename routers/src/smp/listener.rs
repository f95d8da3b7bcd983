//! Accepting connections, within limits that make others wait.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use simplex_runtime_tokio::Listener;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::router::ConnId;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::session::{Door, Terms, serve};

/// How many TLS handshakes are in progress; further ones wait.
const HANDSHAKES: usize = 256;

/// What all listeners of a router share.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    next: Arc<AtomicU64>,
    pub(crate) sessions: TaskTracker,
    /// Cancelled when the router stops.
    pub(crate) stopping: CancellationToken,
}

impl Limits {
    pub(crate) fn new(connections: usize) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            next: Arc::default(),
            sessions: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }
}

/// What happened to a port.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Connections that were accepted.
    pub(crate) accepted: AtomicU64,
    /// Connections that have ended.
    pub(crate) closed: Arc<AtomicU64>,
}

/// Accepts until the future is dropped.
pub(crate) async fn listen(
    mut listener: Listener,
    door: Door,
    terms: watch::Receiver<Terms>,
    limits: Limits,
    sockets: Arc<Sockets>,
    mut rng: Rng,
) {
    loop {
        let Ok(connection) = Arc::clone(&limits.connections).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream.0,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections now");
                continue;
            }
        };
        let id = ConnId(limits.next.fetch_add(1, Ordering::Relaxed));
        sockets.accepted.fetch_add(1, Ordering::Relaxed);
        let now = terms.borrow().clone();
        let handshakes = Arc::clone(&limits.handshakes);
        let session = serve(
            stream,
            door,
            id,
            now,
            handshakes,
            limits.stopping.clone(),
            rng.fork(),
        );
        let closed = Arc::clone(&sockets.closed);
        limits.sessions.spawn(async move {
            session.await;
            drop(connection);
            closed.fetch_add(1, Ordering::Relaxed);
        });
    }
}

/// Where a router listens for a port: on all addresses, of both families where the machine has them.
pub(crate) fn addresses(port: u16) -> [SocketAddr; 2] {
    [
        SocketAddr::from(([0_u16; 8], port)),
        SocketAddr::from(([0_u8; 4], port)),
    ]
}
