//! Sending: one pass over the file.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use simplex_sans_io::crypto::hash::{Sha512, sha256};
use simplex_sans_io::crypto::{AuthPrivateKey, Nonce, Secret, ed25519};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::wire::{EntityId, NonEmpty, ServerAddress, Short, XftpScheme};
use simplex_sans_io::xftp::NewFile;
use simplex_sans_io::xftp::chunk::ChunkSize;
use simplex_sans_io::xftp::description::{
    ChunkDigest, FileChunk, FileDescription, Parts, Party, Replica,
};
use simplex_sans_io::xftp::file::{FileEncryptor, FileHeader, Layout};
use tokio::task::JoinSet;

use super::{AT_ONCE, Server, Sessions, TransferError};

/// How a file is to be sent.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The routers that may be used.
    pub servers: &'a [Server],
    /// How many recipients there are; no more than 255.
    pub recipients: u8,
}

/// A file that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// One description for each recipient.
    pub recipients: Vec<FileDescription>,
    /// What its sender needs to delete it.
    pub sender: FileDescription,
}

/// A chunk that is on a router.
struct Put {
    index: usize,
    server: ServerAddress<XftpScheme>,
    size: u32,
    digest: ChunkDigest,
    sender: (EntityId, Arc<AuthPrivateKey>),
    recipients: Vec<(EntityId, Arc<AuthPrivateKey>)>,
}

/// Sends a file. `progress` is told how many of how many bytes are uploaded.
pub async fn send(
    sessions: &Sessions,
    path: &Path,
    plan: &Plan<'_>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Sent, TransferError> {
    let failed = |error| TransferError::File {
        path: path.to_owned(),
        done: "read",
        error,
    };
    let mut rng = sessions.rng().await;
    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let header = FileHeader::new(&name);
    let layout = Layout::of(&header, size)?;
    let (key, nonce) = (Secret::generate(&mut rng), Nonce::generate(&mut rng));
    let (encryptor, front) = FileEncryptor::begin(&key, &nonce, &header, &layout);
    let mut source = Source {
        encryptor,
        ready: front,
        left: size,
    };

    let mut digest = Sha512::new();
    let mut uploads = JoinSet::new();
    let mut put = Vec::new();
    let mut uploaded = 0;
    for (index, size) in layout.chunks().iter().enumerate() {
        if uploads.len() >= AT_ONCE {
            let done: Put = joined(uploads.join_next().await)?;
            uploaded += u64::from(done.size);
            progress(uploaded, layout.encrypted_size());
            put.push(done);
        }
        let chunk = source.chunk(*size, |buffer| file.read_exact(buffer).map_err(failed))?;
        digest.update(&chunk);
        let choice = rng.below(u32::try_from(plan.servers.len()).unwrap_or(u32::MAX));
        let server = plan
            .servers
            .get(usize::try_from(choice).unwrap_or_default());
        let server = server.ok_or(TransferError::NoServer)?.clone();
        let (sessions, rng) = (sessions.clone(), rng.fork());
        let recipients = plan.recipients.max(1);
        uploads.spawn(upload(sessions, server, index, chunk, recipients, rng));
    }
    while let Some(done) = uploads.join_next().await {
        let done: Put = joined(Some(done))?;
        uploaded += u64::from(done.size);
        progress(uploaded, layout.encrypted_size());
        put.push(done);
    }
    if file.read(&mut [0]).map_err(failed)? > 0 {
        return Err(TransferError::Changed);
    }
    put.sort_by_key(|put| put.index);
    let chunk_size = layout.chunks().first().map_or(0, |size| size.bytes());
    let parts = Parts {
        party: Party::Sender,
        size: layout.encrypted_size(),
        digest: digest.finish(),
        key,
        nonce,
        chunk_size,
        chunks: Vec::new(),
        redirect: None,
    };
    let recipients = (0..usize::from(plan.recipients.max(1)))
        .map(|recipient| {
            describe(&parts, Party::Recipient, &put, |put| {
                put.recipients.get(recipient).cloned()
            })
        })
        .collect::<Result<_, _>>()?;
    let sender = describe(&parts, Party::Sender, &put, |put| Some(put.sender.clone()))?;
    Ok(Sent { recipients, sender })
}

fn joined<T>(
    joined: Option<Result<Result<T, TransferError>, tokio::task::JoinError>>,
) -> Result<T, TransferError> {
    match joined {
        Some(Ok(done)) => done,
        Some(Err(_)) | None => Err(TransferError::Died),
    }
}

/// The encrypted file, chunk by chunk.
struct Source {
    encryptor: FileEncryptor,
    /// What is encrypted and not given out.
    ready: BytesMut,
    /// How much of the content has yet to be read.
    left: u64,
}

impl Source {
    fn chunk(
        &mut self,
        size: ChunkSize,
        mut read: impl FnMut(&mut [u8]) -> Result<(), TransferError>,
    ) -> Result<Bytes, TransferError> {
        let size = usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        self.ready.reserve(size.saturating_sub(self.ready.len()));
        while self.ready.len() < size && self.left > 0 {
            let missing = size - self.ready.len();
            let wanted = usize::try_from(self.left).map_or(missing, |left| left.min(missing));
            let start = self.ready.len();
            self.ready.resize(start + wanted, 0);
            read(&mut self.ready[start..])?;
            self.encryptor.content_in_place(&mut self.ready[start..])?;
            self.left -= u64::try_from(wanted).unwrap_or(u64::MAX);
        }
        while self.ready.len() < size {
            match self.encryptor.filler()? {
                Some(filler) => self.ready.extend_from_slice(&filler),
                None => return Err(TransferError::Died),
            }
        }
        Ok(self.ready.split_to(size).freeze())
    }
}

async fn upload(
    sessions: Sessions,
    server: Server,
    index: usize,
    chunk: Bytes,
    recipients: u8,
    mut rng: Rng,
) -> Result<Put, TransferError> {
    let mut key =
        || -> Arc<AuthPrivateKey> { Arc::new(ed25519::PrivateKey::generate(&mut rng).into()) };
    let sender = key();
    let keys: Vec<_> = (0..recipients).map(|_| key()).collect();
    let public = keys.iter().map(|key| key.public_key()).collect::<Vec<_>>();
    let digest = sha256(&chunk);
    let size = u32::try_from(chunk.len()).map_err(|_| TransferError::Died)?;
    let file = NewFile {
        sender_key: sender.public_key(),
        size,
        digest: Short::try_from(&digest).map_err(|_| TransferError::Died)?,
        recipients: NonEmpty::try_from(public).map_err(|_| TransferError::Died)?,
        password: server.password,
    };
    let (sender_id, ids) = sessions.put(&server.address, file, &sender, &chunk).await?;
    Ok(Put {
        index,
        server: server.address,
        size,
        digest,
        sender: (sender_id, sender),
        recipients: ids.into_vec().into_iter().zip(keys).collect(),
    })
}

fn describe(
    parts: &Parts,
    party: Party,
    put: &[Put],
    of: impl Fn(&Put) -> Option<(EntityId, Arc<AuthPrivateKey>)>,
) -> Result<FileDescription, TransferError> {
    let chunk = |put: &Put| {
        let replica = of(put).map(|(id, key)| Replica {
            server: put.server.clone(),
            id,
            key: (*key).clone(),
        });
        FileChunk {
            size: put.size,
            digest: put.digest,
            replicas: replica.into_iter().collect(),
        }
    };
    let parts = Parts {
        party,
        chunks: put.iter().map(chunk).collect(),
        ..parts.clone()
    };
    Ok(FileDescription::new(parts)?)
}
