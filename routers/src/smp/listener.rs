//! Accepting connections, within limits that make others wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use simplex_runtime_tokio::Listener;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::router::ConnId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::session::{Accepted, Door, Terms, serve};

/// How many TLS handshakes are in progress; further ones wait.
const HANDSHAKES: usize = 256;

/// What all listeners of a router share.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    connections: Arc<Semaphore>,
    pub(crate) handshakes: Arc<Semaphore>,
    next: Arc<AtomicU64>,
    pub(crate) bites: Arc<Bites>,
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
            bites: Arc::default(),
            sessions: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }
}

/// How often a limit has had an effect.
#[derive(Debug, Default)]
pub(crate) struct Bites {
    /// As many connections as allowed: the next one waits.
    pub(crate) connections: AtomicU64,
    /// As many handshakes as allowed: one more waits.
    pub(crate) handshakes: AtomicU64,
    /// A client took nothing for too long.
    pub(crate) stalled: AtomicU64,
    /// A client said nothing at all.
    pub(crate) silent: AtomicU64,
}

/// A place among those that there are; who has to wait for one is counted.
pub(crate) async fn place(
    places: &Arc<Semaphore>,
    waited: &AtomicU64,
) -> Option<OwnedSemaphorePermit> {
    match Arc::clone(places).try_acquire_owned() {
        Ok(permit) => Some(permit),
        Err(_) => {
            waited.fetch_add(1, Ordering::Relaxed);
            Arc::clone(places).acquire_owned().await.ok()
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

/// The place of a connection among those that are allowed, until it ends.
pub(crate) struct Open {
    _connection: OwnedSemaphorePermit,
    closed: Arc<AtomicU64>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }
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
        let Some(connection) = place(&limits.connections, &limits.bites.connections).await else {
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
        let accepted = Box::new(Accepted {
            stream,
            door,
            id,
            terms: terms.borrow().clone(),
            rng: rng.fork(),
        });
        let open = Open {
            _connection: connection,
            closed: Arc::clone(&sockets.closed),
        };
        limits.sessions.spawn(serve(accepted, limits.clone(), open));
    }
}
