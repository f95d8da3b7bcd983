//! What carries out the jobs of an agent's files: it asks routers, and reads and writes files, within the future of the agent.
//!
//! Nothing is in memory of a file but pieces of 64 KB, a few for each chunk that travels. Whatever takes long gives way to others after each
//! piece.

mod ask;
mod decrypt;
mod encrypt;
mod handle;
mod local;
mod place;
mod side;
mod test;

pub use self::handle::{ReceiveFile, SendFile};
pub(crate) use self::side::Side;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::future::{AbortHandle, Abortable, Aborted};
use futures_util::stream::FuturesUnordered;
use simplex_sans_io::agent::files::job::{Failure, Job, JobId, Outcome};
use simplex_sans_io::drive::{XftpConnectError, XftpOptions};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::pool::UserId;
use simplex_sans_io::wire::{ServerAddress, XftpScheme};

pub(crate) use self::place::Places;
use crate::xftp::{Runtime, Sessions, TransferError};

/// How much of a file is in memory at a time.
const PIECE: usize = 64 * 1024;

/// How a job has ended.
pub(crate) type Ended = (JobId, Result<Outcome, Failure>);

/// Carries out jobs.
pub(crate) trait Worker: Send {
    /// Begins a job.
    fn begin(&mut self, id: JobId, job: Job);
    /// Ends one whose answer nobody wants.
    fn cancel(&mut self, id: JobId);
    /// Ends all sessions with routers.
    fn disconnect(&mut self);
    /// A job that has ended; others go on.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended>;
}

/// How the routers of a user are reached.
pub(crate) type Ways = Arc<
    dyn Fn(UserId, &ServerAddress<XftpScheme>) -> Result<XftpOptions, XftpConnectError>
        + Send
        + Sync,
>;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Carries out jobs over a network, in a directory.
pub(crate) struct Workshop<N> {
    network: N,
    ways: Ways,
    rng: Rng,
    places: Places,
    /// The sessions of each user.
    sessions: BTreeMap<UserId, Sessions<N>>,
    running: FuturesUnordered<Boxed<()>>,
    jobs: FuturesUnordered<Boxed<Result<Ended, Aborted>>>,
    handles: BTreeMap<JobId, AbortHandle>,
}

impl<N: Runtime> Workshop<N> {
    pub(crate) fn new(network: N, ways: Ways, directory: PathBuf, rng: Rng) -> Self {
        Self {
            network,
            ways,
            rng,
            places: Places::new(directory),
            sessions: BTreeMap::new(),
            running: FuturesUnordered::new(),
            jobs: FuturesUnordered::new(),
            handles: BTreeMap::new(),
        }
    }

    fn sessions(&mut self, user: UserId) -> Sessions<N> {
        if let Some(sessions) = self.sessions.get(&user) {
            return sessions.clone();
        }
        let sessions = self.new_sessions(user);
        self.sessions.insert(user, sessions.clone());
        sessions
    }

    fn new_sessions(&mut self, user: UserId) -> Sessions<N> {
        let ways = Arc::clone(&self.ways);
        let ways = Box::new(move |router: &ServerAddress<XftpScheme>| ways(user, router));
        // The machine knows when it is worth another attempt.
        let (sessions, running) = Sessions::by(ways, self.network.clone(), 1, self.rng.fork());
        self.running.push(Box::pin(running));
        sessions
    }
}

impl<N: Runtime> Worker for Workshop<N> {
    fn begin(&mut self, id: JobId, job: Job) {
        let places = self.places.clone();
        let work: Boxed<Result<Outcome, Failure>> = match job {
            Job::Encrypt {
                file,
                content,
                key,
                nonce,
                max_size,
            } => Box::pin(async move {
                let place = places.of(&file);
                encrypt::encrypt(&place, &content, (&key, &nonce), max_size).await
            }),
            Job::Decrypt {
                file,
                size,
                digest,
                key,
                nonce,
                target,
            } => Box::pin(async move {
                let place = places.of(&file);
                decrypt::decrypt(&place, (size, &digest), (&key, &nonce), &target).await
            }),
            Job::Ask {
                user,
                router,
                question,
            } => {
                let sessions = self.sessions(user);
                Box::pin(async move { ask::ask(&sessions, &places, &router, question).await })
            }
            Job::Test {
                user,
                router,
                password,
            } => {
                // In a session of its own, which ends with the test.
                let sessions = self.new_sessions(user);
                Box::pin(async move {
                    let tested = test::test(&sessions, &router, password).await;
                    Ok(Outcome::Tested(tested.err()))
                })
            }
            // At once: what is told next is that the file is done.
            Job::Discard { file, received } => {
                return discarded(places.of(&file).discard(received));
            }
            Job::Sweep { keep } => return discarded(places.sweep(&keep)),
        };
        let (handle, registration) = AbortHandle::new_pair();
        self.handles.insert(id, handle);
        let ended = async move { (id, work.await) };
        self.jobs
            .push(Box::pin(Abortable::new(ended, registration)));
    }

    fn cancel(&mut self, id: JobId) {
        if let Some(handle) = self.handles.remove(&id) {
            handle.abort();
        }
    }

    fn disconnect(&mut self) {
        self.sessions.clear();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
        while let Poll::Ready(Some(ended)) = self.jobs.poll_next_unpin(cx) {
            if let Ok((id, ended)) = ended {
                self.handles.remove(&id);
                return Poll::Ready((id, ended));
            }
        }
        Poll::Pending
    }
}

/// What cannot be removed now is removed at the next start.
fn discarded(removed: Result<(), TransferError>) {
    if let Err(error) = removed {
        tracing::debug!(%error, "something is left of a file");
    }
}

/// Lets others go on.
async fn give_way() {
    let mut given = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut given, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
