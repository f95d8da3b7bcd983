//! Sessions with routers, one for each, made when they are needed and made again when they have ended.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use simplex_sans_io::crypto::{AuthPrivateKey, AuthPublicKey};
use simplex_sans_io::drive::{
    Clock, Network, Receiver, Sender, XftpClient, XftpConnectError, XftpOptions, queue,
};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::wire::{BasicAuth, EntityId, NonEmpty, ServerAddress, XftpScheme};
use simplex_sans_io::xftp::client::{Answer, Ask, Attempts, RequestError, Verdict};
use simplex_sans_io::xftp::description::ChunkDigest;
use simplex_sans_io::xftp::{ErrorType, NewFile};

use super::TransferError;

/// How long is waited before something is tried again, the first time; twice as long each time.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// A router, with the password that it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address.
    pub address: ServerAddress<XftpScheme>,
    /// The password.
    pub password: Option<BasicAuth>,
}

/// A runtime that files can travel over.
pub trait Runtime:
    Network<Stream: Send + 'static, Clock: Send + 'static> + Clone + Send + Sync + 'static
{
}

impl<N> Runtime for N where
    N: Network<Stream: Send + 'static, Clock: Send + 'static> + Clone + Send + Sync + 'static
{
}

pub(crate) type Key = Arc<AuthPrivateKey>;

/// How a router is reached.
type Ways =
    Box<dyn Fn(&ServerAddress<XftpScheme>) -> Result<XftpOptions, XftpConnectError> + Send + Sync>;

/// The session with one router, if there is one. It is made by one task while others wait.
type Place = Arc<futures_util::lock::Mutex<Option<XftpClient>>>;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Sessions with routers. Clones share them.
pub struct Sessions<N> {
    shared: Arc<Shared<N>>,
    begun: Sender<Running>,
}

struct Shared<N> {
    network: N,
    ways: Ways,
    attempts: u32,
    open: Mutex<BTreeMap<ServerAddress<XftpScheme>, Place>>,
    rng: Mutex<Rng>,
}

impl<N> Clone for Sessions<N> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            begun: self.begun.clone(),
        }
    }
}

impl<N> fmt::Debug for Sessions<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl<N: Runtime> Sessions<N> {
    /// No session yet; everything is tried so often. The future runs the sessions wherever it is put, and ends with the last of them
    /// once nobody can ask for another one.
    pub fn new(network: N, attempts: u32, rng: Rng) -> (Self, impl Future<Output = ()> + Send) {
        Self::by(Box::new(XftpOptions::to), network, attempts, rng)
    }

    /// The same, with other ways to routers.
    pub(crate) fn by(
        ways: Ways,
        network: N,
        attempts: u32,
        rng: Rng,
    ) -> (Self, impl Future<Output = ()> + Send + use<N>) {
        let (begun, sessions) = queue(1);
        let shared = Arc::new(Shared {
            network,
            ways,
            attempts: attempts.max(1),
            open: Mutex::default(),
            rng: Mutex::new(rng),
        });
        (Self { shared, begun }, run(sessions))
    }

    /// Randomness of its own for something.
    #[must_use]
    pub fn rng(&self) -> Rng {
        let mut rng = self.shared.rng.lock();
        rng.as_deref_mut()
            .map_or_else(|broken| broken.get_mut().fork(), Rng::fork)
    }

    /// How often everything is tried.
    pub(super) fn attempts(&self) -> u32 {
        self.shared.attempts
    }

    pub(super) async fn pause(&self, time: Duration) {
        let mut clock = self.shared.network.clock();
        let until = clock.now().instant + time;
        poll_fn(|cx| clock.poll_sleep(cx, until)).await;
    }

    /// Creates a file. Returns the ids of the sender and of the recipients.
    pub(crate) async fn create(
        &self,
        server: &ServerAddress<XftpScheme>,
        file: NewFile,
        key: &Key,
    ) -> Result<(EntityId, NonEmpty<EntityId>), TransferError> {
        let created = self
            .attempt(server, Ask::Create(Box::new(file.clone())), |client| {
                let (file, key) = (file.clone(), Arc::clone(key));
                async move {
                    let (sender_id, recipient_ids) = client.create(file, &key).await?;
                    Ok(Answer::Created {
                        sender_id,
                        recipient_ids,
                    })
                }
            })
            .await?;
        match created {
            Answer::Created {
                sender_id,
                recipient_ids,
            } => Ok((sender_id, recipient_ids)),
            Answer::Added(_) | Answer::Done | Answer::Downloaded | Answer::Pong => {
                Err(unexpected(server))
            }
        }
    }

    /// Adds recipients to a file. Returns their ids.
    pub(crate) async fn add_recipients(
        &self,
        server: &ServerAddress<XftpScheme>,
        sender: &EntityId,
        key: &Key,
        recipients: NonEmpty<AuthPublicKey>,
    ) -> Result<NonEmpty<EntityId>, TransferError> {
        let added = self.attempt(server, Ask::AddRecipients(recipients.clone()), |client| {
            let (id, key, keys) = (sender.clone(), Arc::clone(key), recipients.clone());
            async move { Ok(Answer::Added(client.add_recipients(&id, &key, keys).await?)) }
        });
        match added.await? {
            Answer::Added(ids) => Ok(ids),
            Answer::Created { .. } | Answer::Done | Answer::Downloaded | Answer::Pong => {
                Err(unexpected(server))
            }
        }
    }

    /// Uploads the chunk of a file, whose pieces are given from the beginning at each attempt. To do it twice is to do it once.
    pub(crate) async fn upload<P>(
        &self,
        server: &ServerAddress<XftpScheme>,
        sender: &EntityId,
        key: &Key,
        size: u32,
        open: impl Fn() -> Result<P, TransferError>,
    ) -> Result<(), TransferError>
    where
        P: FnMut() -> Result<Option<Bytes>, TransferError>,
    {
        let uploaded = self.attempt(server, Ask::Upload { size }, |client| {
            let (id, key, pieces) = (sender.clone(), Arc::clone(key), open());
            async move {
                let mut next = pieces?;
                let mut upload = client.upload(&id, &key, size).await?;
                while let Some(piece) = next()? {
                    upload.write(piece).await?;
                }
                upload.finish().await?;
                Ok(Answer::Done)
            }
        });
        uploaded.await.map(drop)
    }

    /// Downloads a chunk, which is the one with this digest. Its pieces are taken from the beginning at each attempt, and must not be
    /// believed before it is done.
    pub(crate) async fn download<T>(
        &self,
        server: &ServerAddress<XftpScheme>,
        recipient: &EntityId,
        key: &Key,
        (size, digest): (u32, ChunkDigest),
        open: impl Fn() -> Result<T, TransferError>,
    ) -> Result<(), TransferError>
    where
        T: FnMut(&[u8]) -> Result<(), TransferError>,
    {
        let downloaded = self.attempt(server, Ask::Download { size, digest }, |client| {
            let (id, key, taken) = (recipient.clone(), Arc::clone(key), open());
            async move {
                let mut take = taken?;
                let mut download = client.download(&id, &key, size, digest).await?;
                while let Some(bytes) = download.read().await? {
                    take(&bytes)?;
                }
                Ok(Answer::Downloaded)
            }
        });
        downloaded.await.map(drop)
    }

    /// Deletes a file, as its sender. One that is not there is deleted.
    pub(crate) async fn delete(
        &self,
        server: &ServerAddress<XftpScheme>,
        sender: &EntityId,
        key: &Key,
    ) -> Result<(), TransferError> {
        let deleted = self.attempt(server, Ask::Delete, |client| {
            let (id, key) = (sender.clone(), Arc::clone(key));
            async move { Ok(client.delete(&id, &key).await.map(|()| Answer::Done)?) }
        });
        deleted.await.map(drop)
    }

    /// Deletes a recipient, as that recipient.
    pub(super) async fn acknowledge(
        &self,
        server: &ServerAddress<XftpScheme>,
        recipient: &EntityId,
        key: &Key,
    ) -> Result<(), TransferError> {
        let acknowledged = self.attempt(server, Ask::Acknowledge, |client| {
            let (id, key) = (recipient.clone(), Arc::clone(key));
            async move { Ok(client.acknowledge(&id, &key).await.map(|()| Answer::Done)?) }
        });
        acknowledged.await.map(drop)
    }

    async fn attempt<F: Future<Output = Result<Answer, Trouble>>>(
        &self,
        server: &ServerAddress<XftpScheme>,
        ask: Ask,
        request: impl Fn(XftpClient) -> F,
    ) -> Result<Answer, TransferError> {
        let command = command(&ask);
        let mut attempts = Attempts::of(&ask, self.shared.attempts);
        let mut patience = PATIENCE;
        let mut connections = 0;
        loop {
            let client = match self.client(server).await {
                Ok(client) => client,
                Err(error) => {
                    tracing::debug!(%error, "not connected");
                    connections += 1;
                    if connections >= self.shared.attempts {
                        return Err(error);
                    }
                    self.pause(patience).await;
                    patience *= 2;
                    continue;
                }
            };
            tracing::debug!(%server, "asked: {command}");
            let outcome = match request(client).await {
                Ok(answer) => Ok(answer),
                Err(Trouble::Request(error)) => Err(error),
                Err(Trouble::Here(error)) => return Err(error),
            };
            let broken = matches!(
                outcome,
                Err(RequestError::Disconnected
                    | RequestError::TimedOut
                    | RequestError::NotAccepted
                    | RequestError::Protocol(ErrorType::Session))
            );
            if broken {
                self.forget(server);
            }
            match &outcome {
                Ok(_) => tracing::debug!(%server, "done: {command}"),
                Err(error) => tracing::debug!(%server, "not done: {command}: {error}"),
            }
            match attempts.judge(outcome) {
                Verdict::Done(answer) => return Ok(answer),
                Verdict::Again => {
                    self.pause(patience).await;
                    patience *= 2;
                }
                Verdict::Failed(error) => {
                    let server = server.to_string();
                    return Err(TransferError::Request { server, error });
                }
            }
        }
    }

    async fn client(
        &self,
        server: &ServerAddress<XftpScheme>,
    ) -> Result<XftpClient, TransferError> {
        let place = self.place(server);
        let mut place = place.lock().await;
        if let Some(client) = &*place {
            return Ok(client.clone());
        }
        let failed = |error| TransferError::Connect {
            server: server.to_string(),
            error,
        };
        let options = (self.shared.ways)(server).map_err(failed)?;
        let connected = XftpClient::connect(&self.shared.network, options, self.rng()).await;
        let (client, events, session) = connected.map_err(failed)?;
        drop(events);
        tracing::debug!(%server, "connected");
        let session = Box::pin(async move {
            if let Err(error) = session.await {
                tracing::debug!(%error, "a session with a router has failed");
            }
        });
        self.begun.push(session).map_err(|_| TransferError::Died)?;
        *place = Some(client.clone());
        Ok(client)
    }

    fn place(&self, server: &ServerAddress<XftpScheme>) -> Place {
        let open = self.shared.open.lock();
        let mut open = open.unwrap_or_else(PoisonError::into_inner);
        Arc::clone(open.entry(server.clone()).or_default())
    }

    fn forget(&self, server: &ServerAddress<XftpScheme>) {
        let open = self.shared.open.lock();
        open.unwrap_or_else(PoisonError::into_inner).remove(server);
    }
}

/// Why an attempt has failed.
enum Trouble {
    /// The router has not done what it was asked for.
    Request(RequestError),
    /// A file of this machine cannot be read or written.
    Here(TransferError),
}

impl From<RequestError> for Trouble {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<TransferError> for Trouble {
    fn from(error: TransferError) -> Self {
        Self::Here(error)
    }
}

/// What a router is asked for, in its own word.
const fn command(ask: &Ask) -> &'static str {
    match ask {
        Ask::Create(_) => "FNEW",
        Ask::AddRecipients(_) => "FADD",
        Ask::Upload { .. } => "FPUT",
        Ask::Delete => "FDEL",
        Ask::Download { .. } => "FGET",
        Ask::Acknowledge => "FACK",
        Ask::Ping => "PING",
    }
}

fn unexpected(server: &ServerAddress<XftpScheme>) -> TransferError {
    TransferError::Request {
        server: server.to_string(),
        error: RequestError::Unexpected("another answer"),
    }
}

/// Runs sessions, and those that begin meanwhile.
async fn run(mut begun: Receiver<Running>) {
    let mut sessions = FuturesUnordered::new();
    poll_fn(|cx| {
        let more = loop {
            match begun.poll_next(cx) {
                Poll::Ready(Some(session)) => sessions.push(session),
                Poll::Ready(None) => break false,
                Poll::Pending => break true,
            }
        };
        while let Poll::Ready(Some(())) = sessions.poll_next_unpin(cx) {}
        match more || !sessions.is_empty() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    })
    .await;
}
