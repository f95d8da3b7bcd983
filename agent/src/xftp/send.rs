//! Sending: one pass over the file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use simplex_sans_io::crypto::hash::{Sha512, sha256};
use simplex_sans_io::crypto::{AuthPrivateKey, Nonce, Secret, ed25519};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::wire::{EntityId, NonEmpty, Short};
use simplex_sans_io::xftp::client::RequestError;
use simplex_sans_io::xftp::description::{
    ChunkDigest, FileChunk, FileDescription, Parts, Party, Replica,
};
use simplex_sans_io::xftp::file::{FileEncryptor, FileHeader, Layout};
use simplex_sans_io::xftp::{ErrorType, NewFile};
use std::sync::{Mutex, PoisonError};

use super::journal::{Journal, Stage, Stored, Upload};
use super::sessions::{Key, PATIENCE};
use super::source::Source;
use super::{AT_ONCE, Runtime, Server, Sessions, TransferError};

/// How a file is to be sent.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The routers that may be used.
    pub servers: &'a [Server],
    /// How many recipients there are; no more than 255.
    pub recipients: u8,
    /// On how many routers each chunk is; no more than there are routers.
    pub replicas: u8,
    /// Where it is written down how far it is. An upload whose journal is there goes on.
    pub journal: &'a Path,
}

/// A file that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    /// One description for each recipient.
    pub recipients: Vec<FileDescription>,
    /// What its sender needs to delete it.
    pub sender: FileDescription,
}

/// A chunk that is on its routers.
struct Put {
    index: usize,
    size: u32,
    digest: ChunkDigest,
    stored: Vec<Stored>,
}

/// Sends a file. `progress` is told how many of how many bytes are uploaded.
///
/// Cancel safety: what was uploaded is in the journal, and is not uploaded again when the same file is sent with it. The journal is
/// removed when the file is sent.
pub async fn send<N: Runtime>(
    sessions: &Sessions<N>,
    path: &Path,
    plan: &Plan<'_>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Sent, TransferError> {
    let failed = |error| TransferError::file(path, "read")(error);
    let mut rng = sessions.rng();
    let mut file = File::open(path).map_err(failed)?;
    let upload = upload_of(&file, path, plan).map_err(failed)?;
    let header = FileHeader::new(&upload.name);
    let layout = Layout::of(&header, upload.size)?;
    let fresh = (Secret::generate(&mut rng), Nonce::generate(&mut rng));
    let journal = Journal::open(plan.journal, &upload, fresh)?;
    let (key, nonce) = (journal.key.clone(), journal.nonce);
    let (encryptor, front) = FileEncryptor::begin(&key, &nonce, &header, &layout);
    let mut source = Source::new(encryptor, front, upload.size);
    let work = Work {
        sessions,
        plan,
        journal: Mutex::new(journal),
    };

    let mut digest = Sha512::new();
    let mut uploads = FuturesUnordered::new();
    let mut put = Vec::new();
    let mut uploaded = 0;
    let mut done = |done: Put, put: &mut Vec<Put>| {
        uploaded += u64::from(done.size);
        progress(uploaded, layout.encrypted_size());
        put.push(done);
    };
    for (index, size) in layout.chunks().iter().enumerate() {
        if uploads.len() >= AT_ONCE
            && let Some(chunk) = uploads.next().await
        {
            done(chunk?, &mut put);
        }
        let chunk = source.chunk(*size, |buffer| file.read_exact(buffer).map_err(failed))?;
        digest.update(&chunk);
        uploads.push(work.store(index, chunk, rng.fork()));
    }
    while let Some(chunk) = uploads.next().await {
        done(chunk?, &mut put);
    }
    drop(uploads);
    let same = upload_of(&file, path, plan).map_err(failed)? == upload;
    if !same || file.read(&mut [0]).map_err(failed)? > 0 {
        return Err(TransferError::Changed);
    }
    put.sort_by_key(|put| put.index);
    let parts = Parts {
        party: Party::Sender,
        size: layout.encrypted_size(),
        digest: digest.finish(),
        key,
        nonce,
        chunk_size: layout.chunks().first().map_or(0, |size| size.bytes()),
        chunks: Vec::new(),
        redirect: None,
    };
    let recipients = (0..usize::from(plan.recipients.max(1)))
        .map(|recipient| {
            describe(&parts, Party::Recipient, &put, |stored| {
                let (id, key) = stored.recipients.get(recipient)?;
                Some(Replica {
                    server: stored.sender.server.clone(),
                    id: id.clone(),
                    key: (**key).clone(),
                })
            })
        })
        .collect::<Result<_, _>>()?;
    let sender = describe(&parts, Party::Sender, &put, |stored| {
        Some(stored.sender.clone())
    })?;
    let journal = work.journal.into_inner();
    journal.unwrap_or_else(PoisonError::into_inner).remove()?;
    Ok(Sent { recipients, sender })
}

fn upload_of(file: &File, path: &Path, plan: &Plan<'_>) -> io::Result<Upload> {
    let metadata = file.metadata()?;
    let modified = metadata.modified()?.duration_since(SystemTime::UNIX_EPOCH);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Upload {
        size: metadata.len(),
        modified: modified.map_or(0, |since| since.as_nanos()),
        name: name.into_owned(),
        recipients: plan.recipients.max(1),
        replicas: plan.replicas.max(1),
    })
}

/// What a router answers to who may not create files.
const NOT_ALLOWED: RequestError = RequestError::Protocol(ErrorType::Auth);

/// What all uploads of a file share.
struct Work<'a, N> {
    sessions: &'a Sessions<N>,
    plan: &'a Plan<'a>,
    journal: Mutex<Journal>,
}

impl<N: Runtime> Work<'_, N> {
    /// Has a chunk on as many routers as are wanted: where it is already, and else on those that take it.
    async fn store(&self, index: usize, chunk: Bytes, mut rng: Rng) -> Result<Put, TransferError> {
        let wanted = usize::from(self.plan.replicas.max(1));
        let mut stored = Vec::new();
        let mut used = Vec::new();
        for known in self.journal(|journal| journal.stored.get(&index).cloned().unwrap_or_default())
        {
            used.push(known.sender.server.clone());
            // What cannot be used any more is somewhere else by now, or will be.
            if stored.len() < wanted && self.upload(index, &known, &chunk).await.is_ok() {
                stored.push(known);
            }
        }
        let mut last = TransferError::NoServer;
        let unused = |server: &&Server| !used.contains(&server.address);
        let mut servers: Vec<_> = self.plan.servers.iter().filter(unused).collect();
        while stored.len() < wanted && !servers.is_empty() {
            let choice = rng.below(u32::try_from(servers.len()).unwrap_or(u32::MAX));
            let server = servers.swap_remove(usize::try_from(choice).unwrap_or_default());
            match self.create(server, index, &chunk, &mut rng).await {
                Ok(new) => stored.push(new),
                Err(error) => last = error,
            }
        }
        if stored.len() < wanted {
            return Err(last);
        }
        Ok(Put {
            index,
            size: u32::try_from(chunk.len()).unwrap_or(u32::MAX),
            digest: sha256(&chunk),
            stored,
        })
    }

    async fn create(
        &self,
        server: &Server,
        index: usize,
        chunk: &Bytes,
        rng: &mut Rng,
    ) -> Result<Stored, TransferError> {
        let mut attempts = 1..self.sessions.attempts();
        let stored = loop {
            match self.ask_to_create(server, chunk, rng).await {
                Err(error) if is_lost(&error) && attempts.next().is_some() => {
                    self.sessions.pause(PATIENCE).await;
                }
                asked => break asked?,
            }
        };
        self.journal(|journal| journal.created(index, stored.clone()))?;
        self.upload(index, &stored, chunk).await?;
        Ok(stored)
    }

    async fn ask_to_create(
        &self,
        server: &Server,
        chunk: &Bytes,
        rng: &mut Rng,
    ) -> Result<Stored, TransferError> {
        let mut key = || -> AuthPrivateKey { ed25519::PrivateKey::generate(rng).into() };
        let sender = Arc::new(key());
        let recipients = 0..self.plan.recipients.max(1);
        let keys: Vec<Key> = recipients.map(|_| Arc::new(key())).collect();
        let public: Vec<_> = keys.iter().map(|key| key.public_key()).collect();
        let file = NewFile {
            sender_key: sender.public_key(),
            size: u32::try_from(chunk.len()).map_err(|_| TransferError::Died)?,
            digest: Short::try_from(&sha256(chunk)).map_err(|_| TransferError::Died)?,
            recipients: NonEmpty::try_from(public).map_err(|_| TransferError::Died)?,
            password: server.password.clone(),
        };
        let created = match self.sessions.create(&server.address, file, &sender).await {
            Err(TransferError::Request { server, error }) if error == NOT_ALLOWED => {
                return Err(TransferError::Refused { server });
            }
            created => created?,
        };
        let (id, ids): (EntityId, _) = created;
        Ok(Stored {
            sender: Replica {
                server: server.address.clone(),
                id,
                key: (*sender).clone(),
            },
            recipients: ids.into_vec().into_iter().zip(keys).collect(),
            stage: Stage::Created,
        })
    }

    async fn upload(
        &self,
        index: usize,
        stored: &Stored,
        chunk: &Bytes,
    ) -> Result<(), TransferError> {
        if stored.stage == Stage::Uploaded {
            return Ok(());
        }
        let Replica { server, id, key } = &stored.sender;
        let key = Arc::new(key.clone());
        let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let pieces = || {
            let mut whole = Some(chunk.clone());
            Ok(move || Ok(whole.take()))
        };
        self.sessions.upload(server, id, &key, size, pieces).await?;
        self.journal(|journal| journal.uploaded(index, id))
    }

    fn journal<T>(&self, write: impl FnOnce(&mut Journal) -> T) -> T {
        write(&mut self.journal.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether it is not known if something was created. Another one can be asked for: what nobody knows of has no chunk, and expires.
const fn is_lost(error: &TransferError) -> bool {
    matches!(
        error,
        TransferError::Request { error, .. } if error.is_transient() && !error.is_without_effect()
    )
}

fn describe(
    parts: &Parts,
    party: Party,
    put: &[Put],
    of: impl Fn(&Stored) -> Option<Replica>,
) -> Result<FileDescription, TransferError> {
    let chunk = |put: &Put| FileChunk {
        size: put.size,
        digest: put.digest,
        replicas: put.stored.iter().filter_map(&of).collect(),
    };
    let parts = Parts {
        party,
        chunks: put.iter().map(chunk).collect(),
        ..parts.clone()
    };
    Ok(FileDescription::new(parts)?)
}
