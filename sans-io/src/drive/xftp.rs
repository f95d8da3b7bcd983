//! A client's session with an XFTP router, on any runtime.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::transfers::{Transfer, Transfers, XftpMailbox};
use super::{
    Capacity, Clock as _, ConnectError, DriveError, Network, Policy, Reach, Receiver, Sender,
    drive, mailbox,
};
use crate::crypto::certificate::Fingerprint;
use crate::crypto::{AuthPrivateKey, AuthPublicKey};
use crate::http2::{self, Http2};
use crate::machine::CloseReason;
use crate::rng::Rng;
use crate::socks::{self, Route, Socks, Target};
use crate::tls::{self, ClientConfig, ClientOptions, ConfigError, Tls, TlsError};
use crate::wire::{EntityId, NonEmpty, Scheme as _, ServerAddress, XftpScheme};
use crate::xftp::NewFile;
use crate::xftp::client::{
    Answer, Ask, Call, Client, ClientError, Config, Event, Request, RequestError, RequestId,
};
use crate::xftp::description::ChunkDigest;

/// The protocol of TLS's application layer.
const PROTOCOL: &str = "xftp/1";

/// How much of an upload is passed on at once.
const PIECE: usize = 64 * 1024;

/// The key that authorises a request.
type Key = Arc<AuthPrivateKey>;

/// A session with a router: asks it, uploads to it, downloads from it, all at the same time.
///
/// Clones share the session. Dropping the last one ends it in an orderly way, after what was asked before is sent.
///
/// The owner of the session is told when it is [established](Event::Established), and nothing else.
#[derive(Debug, Clone)]
pub struct XftpClient {
    calls: Sender<Call>,
    transfers: Transfers,
}

impl XftpClient {
    /// A session that [`drive`] is to run, with the events of its owner, and with what ties it to them.
    #[must_use]
    pub fn new(capacity: Capacity) -> (Self, Receiver<Event>, XftpMailbox) {
        let (calls, events, mailbox) = mailbox(capacity);
        let transfers = Transfers::new();
        let client = Self {
            calls,
            transfers: transfers.clone(),
        };
        let mailbox = XftpMailbox::new(mailbox.farewell(Call::Close), transfers);
        (client, events, mailbox)
    }

    /// Asks for something, with no more than a block in either direction.
    ///
    /// Requests wait until the session is established, and get [`RequestError::Disconnected`] when it ends. The client names them
    /// itself: the id that they come with does not matter.
    ///
    /// Cancel safety: a future that is dropped early has sent nothing; later, the command may be executed, and its response is discarded.
    /// Both leave the session as it is.
    pub async fn request(&self, request: Request) -> Result<Answer, RequestError> {
        self.begin(request).await?.outcome().await
    }

    /// Creates a file, whose sender has this key. The ids are those of the sender, and of the recipients in the order of their keys.
    ///
    /// Cancel safety: as for [`request`](Self::request).
    pub async fn create(
        &self,
        file: NewFile,
        key: &Key,
    ) -> Result<(EntityId, NonEmpty<EntityId>), RequestError> {
        let ask = Ask::Create(Box::new(file));
        let request = Request::new(RequestId(0), ask).authorized_by(Arc::clone(key));
        match self.request(request).await? {
            Answer::Created {
                sender_id,
                recipient_ids,
            } => Ok((sender_id, recipient_ids)),
            Answer::Added(_) | Answer::Done | Answer::Downloaded | Answer::Pong => Err(OTHER),
        }
    }

    /// Adds recipients to a file, and returns their ids in the order of their keys.
    ///
    /// Cancel safety: as for [`request`](Self::request).
    pub async fn add_recipients(
        &self,
        sender: &EntityId,
        key: &Key,
        recipients: NonEmpty<AuthPublicKey>,
    ) -> Result<NonEmpty<EntityId>, RequestError> {
        let ask = Ask::AddRecipients(recipients);
        match self.request(about(sender, key, ask)).await? {
            Answer::Added(ids) => Ok(ids),
            Answer::Created { .. } | Answer::Done | Answer::Downloaded | Answer::Pong => Err(OTHER),
        }
    }

    /// Deletes a file, as its sender.
    ///
    /// Cancel safety: as for [`request`](Self::request).
    pub async fn delete(&self, sender: &EntityId, key: &Key) -> Result<(), RequestError> {
        self.request(about(sender, key, Ask::Delete))
            .await
            .map(drop)
    }

    /// Deletes a recipient, as that recipient.
    ///
    /// Cancel safety: as for [`request`](Self::request).
    pub async fn acknowledge(&self, recipient: &EntityId, key: &Key) -> Result<(), RequestError> {
        let request = about(recipient, key, Ask::Acknowledge);
        self.request(request).await.map(drop)
    }

    /// Sees whether the router is there.
    ///
    /// Cancel safety: as for [`request`](Self::request).
    pub async fn ping(&self) -> Result<(), RequestError> {
        let request = Request::new(RequestId(0), Ask::Ping);
        self.request(request).await.map(drop)
    }

    /// Begins to upload a chunk, as the sender of its file.
    ///
    /// Cancel safety: a future that is dropped has at most begun an upload of nothing, which the router refuses.
    pub async fn upload(
        &self,
        sender: &EntityId,
        key: &Key,
        size: u32,
    ) -> Result<XftpUpload, RequestError> {
        let request = about(sender, key, Ask::Upload { size });
        let transfer = self.begin(request).await?;
        Ok(XftpUpload {
            transfer,
            calls: self.calls.clone(),
        })
    }

    /// Begins to download a chunk, as a recipient of its file.
    ///
    /// Cancel safety: a future that is dropped leaves the session as it is.
    pub async fn download(
        &self,
        recipient: &EntityId,
        key: &Key,
        size: u32,
        digest: ChunkDigest,
    ) -> Result<XftpDownload, RequestError> {
        let request = about(recipient, key, Ask::Download { size, digest });
        let transfer = self.begin(request).await?;
        Ok(XftpDownload { transfer, last: 0 })
    }

    async fn begin(&self, mut request: Request) -> Result<Transfer, RequestError> {
        let transfer = self.transfers.begin(self.calls.clone());
        request.id = transfer.id;
        let sent = self.calls.send(Call::Send(request)).await;
        sent.map_err(|_| RequestError::Disconnected)?;
        Ok(transfer)
    }

    /// Connects to a router.
    ///
    /// Returns the client, the events of the session's owner, and the session itself, which runs while that future is polled and says why
    /// it has ended.
    ///
    /// Cancel safety: a future that is dropped before it is done leaves nothing open.
    pub async fn connect<N: Network>(
        network: &N,
        options: XftpOptions,
        mut rng: Rng,
    ) -> Result<
        (
            Self,
            Receiver<Event>,
            impl Future<Output = XftpEnd> + use<N>,
        ),
        XftpConnectError,
    > {
        let XftpOptions {
            route,
            reach,
            within,
            tls,
            mut session,
            http2,
            policy,
            capacity,
        } = options;
        session.max_downloads = session.max_downloads.min(http2.unread_bodies());
        let (client, events, mailbox) = Self::new(capacity);
        let clock = network.clock();
        let start = clock.now();
        let stream = reach.connect(network, route.first(), within).await?;
        let now = clock.now();
        let left = within.saturating_sub(now.instant - start.instant);
        let (of_tls, of_client) = (rng.fork(), rng.fork());
        let tls = Tls::client(&tls, now, of_tls, move |facts, now| {
            let client = Client::secured(session, facts, of_client, now);
            Http2::client(http2, client, now)
        })?;
        let machine = Socks::on(route, tls, now, left);
        let connection = drive(machine, stream, clock, mailbox, policy);
        Ok((client, events, connection))
    }
}

/// No session gives such an answer to such a request.
const OTHER: RequestError = RequestError::Unexpected("another answer");

fn about(party: &EntityId, key: &Key, ask: Ask) -> Request {
    Request::new(RequestId(0), ask)
        .about(party.clone())
        .authorized_by(Arc::clone(key))
}

/// An upload that has begun. Dropping it gives it up.
#[derive(Debug)]
pub struct XftpUpload {
    transfer: Transfer,
    calls: Sender<Call>,
}

impl XftpUpload {
    /// Uploads the next bytes, and waits while there is no room for them.
    ///
    /// An answer that the router gives before the end is an error here, and no more is sent.
    ///
    /// Cancel safety: a part of the bytes may have been sent; the upload can only be given up.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), RequestError> {
        while !bytes.is_empty() {
            let room = self.transfer.room(bytes.len().min(PIECE)).await;
            let room = room.map_err(|outcome| outcome.err().unwrap_or(RequestError::Size))?;
            let call = Call::Upload {
                request: self.transfer.id,
                bytes: bytes.split_to(room),
            };
            let sent = self.calls.send(call).await;
            sent.map_err(|_| RequestError::Disconnected)?;
        }
        Ok(())
    }

    /// Waits until the router has stored the chunk.
    pub async fn finish(self) -> Result<(), RequestError> {
        self.transfer.outcome().await.map(drop)
    }
}

/// A download that has begun. Dropping it gives it up.
#[derive(Debug)]
pub struct XftpDownload {
    transfer: Transfer,
    /// How many bytes were taken last: asking for more says that they are done with.
    last: usize,
}

impl XftpDownload {
    /// The next bytes; `None` after the last ones, which says that all of them are what was asked for. They must not be believed before.
    ///
    /// Cancel safety: nothing is lost.
    pub async fn read(&mut self) -> Result<Option<BytesMut>, RequestError> {
        if self.last > 0 {
            self.transfer.credit(std::mem::take(&mut self.last));
        }
        match self.transfer.data().await {
            Ok(bytes) => {
                self.last = bytes.len();
                Ok(Some(bytes))
            }
            Err(outcome) => outcome.map(|_| None),
        }
    }
}

/// How to connect to a router.
#[derive(Debug, Clone)]
pub struct XftpOptions {
    /// The way to it.
    pub route: Route,
    /// Which addresses the first host of that way may have.
    pub reach: Reach,
    /// How long the way may take. The handshakes of TLS and of XFTP have their own limits.
    pub within: Duration,
    /// Whom TLS is to find there.
    pub tls: Arc<ClientConfig>,
    /// What the session is to be.
    pub session: Config,
    /// How much the connection may have on its way.
    pub http2: http2::Options,
    /// How much waits between the session and its owner.
    pub capacity: Capacity,
    /// How the session balances its two directions.
    pub policy: Policy,
}

impl XftpOptions {
    /// The usual session with a router, straight there: at the first of its hosts that needs no proxy.
    pub fn to(address: &ServerAddress<XftpScheme>) -> Result<Self, XftpConnectError> {
        let host = address.hosts().iter().find(|host| !host.is_onion());
        let target = Target {
            host: host.ok_or(XftpConnectError::NoHost)?.clone(),
            port: address.port().unwrap_or(XftpScheme::PORT),
        };
        Self::with(Route::Direct(target), address)
    }

    /// The usual session with a router, this way.
    pub fn with(
        route: Route,
        address: &ServerAddress<XftpScheme>,
    ) -> Result<Self, XftpConnectError> {
        let identity =
            Fingerprint::try_from(&**address.key_hash()).map_err(|_| XftpConnectError::Identity)?;
        let tls = ClientConfig::new(ClientOptions {
            protocols: vec![PROTOCOL],
            ..ClientOptions::new(identity)
        })?;
        let host = address.hosts().first().ok_or(XftpConnectError::NoHost)?;
        let session = Config::new(&host.to_string(), address.key_hash().clone());
        Ok(Self {
            route,
            reach: Reach::Anywhere,
            within: Duration::from_secs(45),
            tls: Arc::new(tls),
            session,
            http2: http2::Options::client(),
            capacity: Capacity::default(),
            policy: Policy::CLIENT,
        })
    }
}

/// Why there is no connection to a router.
#[derive(Debug, thiserror::Error)]
pub enum XftpConnectError {
    /// There is no way to it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// TLS refuses to begin.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS cannot be configured.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The router can be reached through a proxy only.
    #[error("all hosts of the router are onion names")]
    NoHost,
    /// The user has not chosen the router, and may not be led to it.
    #[error("the user has not chosen the router, and it may not be reached")]
    Stranger,
    /// The identity in the address is none.
    #[error("the identity in the router's address is no fingerprint")]
    Identity,
}

/// Why a session has ended.
pub type XftpEnd =
    Result<CloseReason, DriveError<socks::Error<tls::Error<http2::Error<ClientError>>>>>;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::crypto::{Algorithm, ed25519, hash::sha256};
    use crate::sim::identity::Credentials;
    use crate::sim::xftp::transports;
    use crate::sim::{Link, Tasks, duplex};
    use crate::time::Now;
    use crate::wire::Short;
    use crate::xftp::router::store::Chunk;
    use crate::xftp::server::{self, Found, Server, UploadId};
    use crate::xftp::{ErrorType, Response};
    use std::future::poll_fn;

    fn key() -> Key {
        Arc::new(ed25519::PrivateKey::from_bytes([3; 32]).into())
    }

    /// A client, and a router that keeps one chunk.
    fn net(tasks: &mut Tasks, size: u32, digest: ChunkDigest) -> XftpClient {
        let mut rng = tasks.rng();
        let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
        let (of_client, of_router) = transports(&mut rng);
        let config = server::Config::new(credentials.xftp_router());
        let server = Server::new(config, of_router, rng.fork(), Now::START);
        let server = Http2::server(http2::Options::default(), server, Now::START);
        let config = Config::new("router.example", credentials.key_hash());
        let client = Client::new(config, of_client, rng.fork(), Now::START);
        let machine = Http2::client(http2::Options::client(), client, Now::START);
        let clock = tasks.clock();
        let (near, far) = duplex(&clock, rng, &Link::WAN, 100_000);
        let (calls, mut events, mailbox) = mailbox(Capacity::default());
        tasks.spawn(drive(server, far, clock.clone(), mailbox, Policy::ROUTER));
        tasks.spawn(async move {
            let mut kept = Vec::new();
            let mut reads = BTreeMap::new();
            while let Some(event) = events.next().await {
                let call = match event {
                    server::Event::Lookup { stream, .. } => {
                        let found = Found::Key(key().public_key());
                        server::Call::Key { stream, found }
                    }
                    server::Event::Execute { stream, request } => match request.command {
                        crate::xftp::Command::FPut => server::Call::Receive {
                            stream,
                            upload: UploadId(1),
                            size,
                            digest: Short::try_from(&digest).unwrap(),
                        },
                        crate::xftp::Command::FGet(_) => server::Call::Send {
                            stream,
                            chunk: Chunk {
                                sender_id: EntityId::EMPTY,
                                name: None,
                            },
                            size,
                        },
                        _ => server::Call::Answer {
                            stream,
                            response: Response::Err(ErrorType::Quota),
                        },
                    },
                    server::Event::Write { stream, bytes, .. } => {
                        kept.extend_from_slice(&bytes);
                        let bytes = bytes.len();
                        server::Call::Written { stream, bytes }
                    }
                    server::Event::Uploaded { stream, result, .. } => server::Call::Answer {
                        stream,
                        response: result.map_or_else(Response::Err, |()| Response::Ok),
                    },
                    server::Event::Open { stream, .. } => {
                        reads.insert(stream, 0);
                        let result = Ok(());
                        server::Call::Opened { stream, result }
                    }
                    server::Event::Read { stream, bytes } => {
                        let read = reads.get_mut(&stream).unwrap();
                        let piece = kept.get(*read..*read + bytes);
                        *read += bytes;
                        match piece.map(BytesMut::from) {
                            Some(bytes) => server::Call::Data { stream, bytes },
                            None => server::Call::NoData { stream },
                        }
                    }
                    _ => continue,
                };
                calls.send(call).await.unwrap();
            }
        });
        let (client, _, mailbox) = XftpClient::new(Capacity::default());
        tasks.spawn(drive(machine, near, clock, mailbox, Policy::CLIENT));
        client
    }

    #[test]
    fn a_chunk_goes_there_and_back() {
        let mut tasks = Tasks::new(1);
        let chunk: Vec<u8> = (0..1_u32 << 20).map(|i| (i % 251) as u8).collect();
        let (size, digest) = (1 << 20, sha256(&chunk));
        let client = net(&mut tasks, size, digest);
        let expected = chunk.clone();
        let done = tasks.spawn(async move {
            let id = EntityId::from([1; 24]);
            let mut upload = client.upload(&id, &key(), size).await?;
            for piece in chunk.chunks(100_000) {
                upload.write(Bytes::copy_from_slice(piece)).await?;
            }
            upload.finish().await?;
            let mut download = client.download(&id, &key(), size, digest).await?;
            let mut back = Vec::new();
            while let Some(bytes) = download.read().await? {
                back.extend_from_slice(&bytes);
            }
            let quota = client.delete(&id, &key()).await;
            assert_eq!(quota, Err(RequestError::Protocol(ErrorType::Quota)));
            Ok::<_, RequestError>(back)
        });
        tasks.run(10_000_000);
        assert_eq!(done.take(), Some(Ok(expected)));
    }

    #[test]
    fn downloads_that_nobody_reads_keep_no_other_request_from_its_response() {
        let mut tasks = Tasks::new(3);
        let chunk: Vec<u8> = (0..3_u32 << 20).map(|i| (i % 251) as u8).collect();
        let (size, digest) = (3 << 20, sha256(&chunk));
        let client = net(&mut tasks, size, digest);
        let clock = tasks.clock();
        let done = tasks.spawn(async move {
            let id = EntityId::from([1; 24]);
            let mut upload = client.upload(&id, &key(), size).await?;
            upload.write(Bytes::copy_from_slice(&chunk)).await?;
            upload.finish().await?;
            let mut downloads = Vec::new();
            for _ in 0..12 {
                downloads.push(client.download(&id, &key(), size, digest).await?);
            }
            // Until all that have begun have filled their windows.
            let mut clock = clock.clone();
            let full = clock.now().instant + Duration::from_secs(20);
            poll_fn(|cx| clock.poll_sleep(cx, full)).await;
            client.ping().await?;
            let mut all = Vec::new();
            for mut download in downloads {
                let mut back = Vec::new();
                while let Some(bytes) = download.read().await? {
                    back.extend_from_slice(&bytes);
                }
                all.push(back == chunk);
            }
            Ok::<_, RequestError>(all)
        });
        tasks.run(100_000_000);
        assert_eq!(done.take(), Some(Ok(vec![true; 12])));
    }

    #[test]
    fn transfers_that_are_given_up_leave_the_session_as_it_is() {
        let mut tasks = Tasks::new(2);
        let chunk = vec![7; 1 << 18];
        let (size, digest) = (1 << 18, sha256(&chunk));
        let client = net(&mut tasks, size, digest);
        let done = tasks.spawn(async move {
            let id = EntityId::from([1; 24]);
            let mut upload = client.upload(&id, &key(), size).await?;
            upload.write(vec![7; 1000].into()).await?;
            drop(upload);
            client.ping().await?;
            let download = client.download(&id, &key(), size, digest).await?;
            drop(download);
            // So do those that have their response, and are not read to the end.
            let mut upload = client.upload(&id, &key(), size).await?;
            upload.write(chunk.into()).await?;
            upload.finish().await?;
            for _ in 0..20 {
                let mut download = client.download(&id, &key(), size, digest).await?;
                download.read().await?;
                client.ping().await?;
                drop(download);
            }
            client.ping().await
        });
        tasks.run(10_000_000);
        assert_eq!(done.take(), Some(Ok(())));
    }
}
