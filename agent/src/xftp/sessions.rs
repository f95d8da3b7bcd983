//! Sessions with routers, one for each, made when they are needed and made again when they have ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use simplex_runtime_tokio::Tokio;
use simplex_sans_io::crypto::AuthPrivateKey;
use simplex_sans_io::drive::{XftpClient, XftpOptions};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::wire::{BasicAuth, EntityId, NonEmpty, ServerAddress, XftpScheme};
use simplex_sans_io::xftp::client::{Answer, Ask, Attempts, RequestError, Verdict};
use simplex_sans_io::xftp::description::ChunkDigest;
use simplex_sans_io::xftp::{ErrorType, NewFile};
use tokio::sync::Mutex;

use super::TransferError;

/// How long is waited before something is tried again, the first time; twice as long each time.
const PATIENCE: Duration = Duration::from_secs(1);

/// A router, with the password that it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address.
    pub address: ServerAddress<XftpScheme>,
    /// The password.
    pub password: Option<BasicAuth>,
}

type Key = Arc<AuthPrivateKey>;

/// The session with one router, if there is one.
type Place = Arc<Mutex<Option<XftpClient>>>;

/// Sessions with routers. Clones share them.
#[derive(Debug, Clone)]
pub struct Sessions(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    network: Tokio,
    attempts: u32,
    /// A session is made under the lock of its router only.
    open: Mutex<BTreeMap<ServerAddress<XftpScheme>, Place>>,
    rng: Mutex<Rng>,
}

impl Sessions {
    /// No session yet; everything is tried so often.
    #[must_use]
    pub fn new(attempts: u32, rng: Rng) -> Self {
        Self(Arc::new(Shared {
            network: Tokio::new(),
            attempts: attempts.max(1),
            open: Mutex::default(),
            rng: Mutex::new(rng),
        }))
    }

    /// Randomness of its own for something.
    pub async fn rng(&self) -> Rng {
        self.0.rng.lock().await.fork()
    }

    /// Creates a file and uploads its chunk. Returns the ids of the sender and of the recipients.
    pub(super) async fn put(
        &self,
        server: &ServerAddress<XftpScheme>,
        file: NewFile,
        key: &Key,
        chunk: &Bytes,
    ) -> Result<(EntityId, NonEmpty<EntityId>), TransferError> {
        let size = file.size;
        let ids = self
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
        let Answer::Created {
            sender_id,
            recipient_ids,
        } = ids
        else {
            return Err(TransferError::Died);
        };
        self.attempt(server, Ask::Upload { size }, |client| {
            let (id, key, chunk) = (sender_id.clone(), Arc::clone(key), chunk.clone());
            async move {
                let mut upload = client.upload(&id, &key, size).await?;
                upload.write(chunk).await?;
                upload.finish().await?;
                Ok(Answer::Done)
            }
        })
        .await?;
        Ok((sender_id, recipient_ids))
    }

    /// Downloads a chunk, which is the one with this digest.
    pub(super) async fn get(
        &self,
        server: &ServerAddress<XftpScheme>,
        recipient: &EntityId,
        key: &Key,
        size: u32,
        digest: ChunkDigest,
    ) -> Result<Vec<u8>, TransferError> {
        let chunk = Arc::new(Mutex::new(Vec::new()));
        self.attempt(server, Ask::Download { size, digest }, |client| {
            let (id, key, chunk) = (recipient.clone(), Arc::clone(key), Arc::clone(&chunk));
            async move {
                let mut download = client.download(&id, &key, size, digest).await?;
                let mut chunk = chunk.lock().await;
                chunk.clear();
                while let Some(bytes) = download.read().await? {
                    chunk.extend_from_slice(&bytes);
                }
                Ok(Answer::Downloaded)
            }
        })
        .await?;
        Ok(std::mem::take(&mut *chunk.lock().await))
    }

    /// Deletes a file, as its sender. One that is not there is deleted.
    pub(super) async fn delete(
        &self,
        server: &ServerAddress<XftpScheme>,
        sender: &EntityId,
        key: &Key,
    ) -> Result<(), TransferError> {
        let deleted = self.attempt(server, Ask::Delete, |client| {
            let (id, key) = (sender.clone(), Arc::clone(key));
            async move { client.delete(&id, &key).await.map(|()| Answer::Done) }
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
            async move { client.acknowledge(&id, &key).await.map(|()| Answer::Done) }
        });
        acknowledged.await.map(drop)
    }

    async fn attempt<F: Future<Output = Result<Answer, RequestError>>>(
        &self,
        server: &ServerAddress<XftpScheme>,
        ask: Ask,
        request: impl Fn(XftpClient) -> F,
    ) -> Result<Answer, TransferError> {
        let mut attempts = Attempts::of(&ask, self.0.attempts);
        let mut patience = PATIENCE;
        let mut connections = 0;
        loop {
            let client = match self.client(server).await {
                Ok(client) => client,
                Err(error) => {
                    connections += 1;
                    if connections >= self.0.attempts {
                        return Err(error);
                    }
                    tokio::time::sleep(patience).await;
                    patience *= 2;
                    continue;
                }
            };
            let outcome = request(client).await;
            let broken = matches!(
                outcome,
                Err(RequestError::Disconnected
                    | RequestError::TimedOut
                    | RequestError::NotAccepted
                    | RequestError::Protocol(ErrorType::Session))
            );
            if broken {
                self.forget(server).await;
            }
            match attempts.judge(outcome) {
                Verdict::Done(answer) => return Ok(answer),
                Verdict::Again => {
                    tokio::time::sleep(patience).await;
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
        let place = {
            let mut open = self.0.open.lock().await;
            Arc::clone(open.entry(server.clone()).or_default())
        };
        let mut place = place.lock().await;
        if let Some(client) = &*place {
            return Ok(client.clone());
        }
        let failed = |error| TransferError::Connect {
            server: server.to_string(),
            error,
        };
        let options = XftpOptions::to(server).map_err(failed)?;
        let rng = self.rng().await;
        let connected = XftpClient::connect(&self.0.network, options, rng).await;
        let (client, events, session) = connected.map_err(failed)?;
        drop(events);
        tokio::spawn(session);
        *place = Some(client.clone());
        Ok(client)
    }

    async fn forget(&self, server: &ServerAddress<XftpScheme>) {
        self.0.open.lock().await.remove(server);
    }
}
