//! Accepting connections, within limits that make others wait, and letting them go.
//!
//! A client that says nothing takes no place from others, and one that says little takes it for a moment only.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use simplex_runtime_tokio::Listener;
use simplex_sans_io::drive::DriveError;
use simplex_sans_io::machine::CloseReason;
use simplex_sans_io::tls;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::addresses::{AddressLimits, Addresses, Counted};
use crate::ini::Switch;

/// How many TLS handshakes are in progress; further ones wait.
const HANDSHAKES: usize = 256;

/// How long a handshake keeps its place from others: one that is slower goes on without.
const PLACE: Duration = Duration::from_secs(1);

/// How long a client may take for its last bytes when the router stops.
const FAREWELL: Duration = Duration::from_secs(5);

/// How long a client may be silent before its first byte.
const SILENCE: Duration = Duration::from_secs(60);

/// What all listeners of a router share.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
    next: Arc<AtomicU64>,
    addresses: Arc<Addresses>,
    pub(crate) bites: Arc<Bites>,
    pub(crate) sessions: TaskTracker,
    /// Cancelled when the router stops.
    pub(crate) stopping: CancellationToken,
    /// Whether it is logged that TLS has failed.
    log_tls_errors: Switch,
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
    /// So much waited for a client that nothing more was read of it.
    pub(crate) unread: AtomicU64,
    /// A client said nothing at all.
    pub(crate) silent: AtomicU64,
    /// An address had as many connections as it may: one more was closed.
    pub(crate) address: AtomicU64,
}

impl Bites {
    /// The limits by their names, with the numbers.
    pub(crate) fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("connections", &self.connections),
            ("handshakes", &self.handshakes),
            ("write_stall", &self.stalled),
            ("unsent_blocks", &self.unread),
            ("silence", &self.silent),
            ("address", &self.address),
        ]
        .map(|(name, number)| (name, number.load(Ordering::Relaxed)))
    }
}

/// What happened to a port.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    accepted: AtomicU64,
    closed: AtomicU64,
}

impl Sockets {
    /// How many connections were accepted.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// How many connections have ended.
    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }
}

/// Accepts until the future is dropped. `serve` is given each connection with a number of its own, and its place.
pub(crate) async fn listen<F: Future<Output = ()> + Send + 'static>(
    mut listener: Listener,
    limits: Limits,
    sockets: Arc<Sockets>,
    mut serve: impl FnMut(TcpStream, u64, Open) -> F,
) {
    loop {
        let Some(connection) = place(&limits.connections, &limits.bites.connections).await else {
            return;
        };
        let (stream, peer) = match listener.accept().await {
            Ok((stream, peer)) => (stream.0, peer),
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections now");
                continue;
            }
        };
        let Some(counted) = limits.addresses.admit(peer.ip(), Instant::now()) else {
            limits.bites.address.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let number = limits.next.fetch_add(1, Ordering::Relaxed);
        sockets.accepted.fetch_add(1, Ordering::Relaxed);
        let open = Open {
            _connection: connection,
            _of_address: counted,
            sockets: Arc::clone(&sockets),
        };
        limits.sessions.spawn(serve(stream, number, open));
    }
}

/// The place of a connection among those that are allowed, until it ends.
pub(crate) struct Open {
    _connection: OwnedSemaphorePermit,
    _of_address: Counted,
    sockets: Arc<Sockets>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.sockets.closed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Limits {
    pub(crate) fn new(
        connections: usize,
        addresses: AddressLimits,
        log_tls_errors: Switch,
    ) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
            next: Arc::default(),
            addresses: Addresses::new(addresses),
            bites: Arc::default(),
            sessions: TaskTracker::new(),
            stopping: CancellationToken::new(),
            log_tls_errors,
        }
    }

    /// Waits until a client says something, and then for a place among the handshakes; none if it says nothing, or the router stops.
    pub(crate) async fn admit(&self, stream: &TcpStream) -> Option<Place> {
        // To be readable is not enough: a socket may say that it is, and have nothing.
        let mut first = [0];
        tokio::select! {
            spoken = timeout(SILENCE, stream.peek(&mut first)) => match spoken {
                Ok(Ok(1..)) => {}
                Ok(Ok(0) | Err(_)) => return None,
                Err(_) => {
                    self.bites.silent.fetch_add(1, Ordering::Relaxed);
                    return None;
                }
            },
            () = self.stopping.cancelled() => return None,
        }
        let permit = place(&self.handshakes, &self.bites.handshakes).await?;
        Some(Place(Arc::new(Handshake {
            permit: Mutex::new(Some(permit)),
            is_over: AtomicBool::new(false),
            first: first[0],
        })))
    }

    /// Runs a session to its end, or until the router has waited long enough for it.
    pub(crate) async fn run<E: std::error::Error>(
        &self,
        place: Place,
        mut session: impl Future<Output = Result<CloseReason, DriveError<tls::Error<E>>>> + Unpin,
    ) {
        let ended = match timeout(PLACE, &mut session).await {
            Ok(ended) => ended,
            Err(_) => {
                place.give_back();
                tokio::select! {
                    ended = session => ended,
                    () = async {
                        self.stopping.cancelled().await;
                        // Nothing can be said to who is not secured.
                        if place.0.is_over.load(Ordering::Relaxed) {
                            sleep(FAREWELL).await;
                        }
                    } => return,
                }
            }
        };
        match ended {
            Ok(reason) => tracing::trace!(?reason, "session ended"),
            Err(error) => {
                if matches!(error, DriveError::Stalled) {
                    self.bites.stalled.fetch_add(1, Ordering::Relaxed);
                }
                let of_tls = matches!(error, DriveError::Machine(tls::Error::Tls(_)));
                match self.log_tls_errors {
                    Switch::On if of_tls => tracing::warn!(%error, "TLS failed"),
                    Switch::On | Switch::Off => tracing::debug!(%error, "session failed"),
                }
            }
        }
    }
}

/// A place among the handshakes that are in progress, given back by whoever comes first.
#[derive(Debug, Clone)]
pub(crate) struct Place(Arc<Handshake>);

#[derive(Debug)]
struct Handshake {
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    is_over: AtomicBool,
    first: u8,
}

impl Place {
    /// The first byte that the client says.
    pub(crate) fn first_byte(&self) -> u8 {
        self.0.first
    }

    /// The handshake is over.
    pub(crate) fn secured(&self) {
        self.0.is_over.store(true, Ordering::Relaxed);
        self.give_back();
    }

    /// Lets the next one begin.
    fn give_back(&self) {
        let permit = &self.0.permit;
        let mut permit = permit.lock().unwrap_or_else(PoisonError::into_inner);
        drop(permit.take());
    }
}

/// A place among those that there are; who has to wait for one is counted.
async fn place(places: &Arc<Semaphore>, waited: &AtomicU64) -> Option<OwnedSemaphorePermit> {
    match Arc::clone(places).try_acquire_owned() {
        Ok(permit) => Some(permit),
        Err(_) => {
            waited.fetch_add(1, Ordering::Relaxed);
            Arc::clone(places).acquire_owned().await.ok()
        }
    }
}
