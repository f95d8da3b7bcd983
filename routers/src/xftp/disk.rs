//! The chunks of a router: files in a directory, written under temporary names.
//!
//! ```text
//!   tmp/7                              an upload
//!   3f/Pz8_Pz8_Pz8_Pz8_Pz8_Pw==        a chunk, by the id of its sender
//!   QEBAQEBAQEBAQEBAQEBAQA==           a chunk of the reference's router
//! ```
//! A few threads do the work. What concerns one upload, one connection's downloads or one chunk is done by the same thread, in order.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use simplex_sans_io::drive::Sender;
use simplex_sans_io::http2::StreamId;
use simplex_sans_io::wire::text::{base64url, parse_base64url_field};
use simplex_sans_io::wire::{EntityId, Large};
use simplex_sans_io::xftp::ErrorType;
use simplex_sans_io::xftp::router::store::Chunk;
use simplex_sans_io::xftp::router::{ConnId, Input};
use simplex_sans_io::xftp::server::{Call, UploadId};

use crate::store::SyncPolicy;

/// How many threads there are: page cache and disk are shared by all.
const THREADS: u64 = 4;

/// A way to the disk. Clones lead to the same.
#[derive(Debug, Clone)]
pub struct Disk {
    directory: Arc<Path>,
    threads: Arc<[mpsc::Sender<Work>]>,
}

/// Who is to hear what became of something.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) connection: ConnId,
    pub(crate) stream: StreamId,
    pub(crate) calls: Sender<Call>,
}

enum Work {
    Write(UploadId, Bytes, Asker),
    Publish(UploadId, EntityId, Box<dyn FnOnce(Input) + Send>),
    Discard(UploadId),
    Remove(Chunk),
    Open(Chunk, Asker),
    Read(usize, Asker),
    Close(ConnId, StreamId),
    CloseAll(ConnId),
}

impl Disk {
    /// Uses a directory that exists, in which it must be possible to write: one that is missing may be a disk that is not mounted. What
    /// uploads of an earlier process have left is removed.
    pub fn open(directory: &Path, sync: SyncPolicy) -> io::Result<Self> {
        fs::read_dir(directory)?;
        let temporary = directory.join("tmp");
        match fs::remove_dir_all(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => fs::create_dir_all(&temporary)?,
        }
        let probe = temporary.join("probe");
        fs::write(&probe, b"x").and_then(|()| fs::remove_file(&probe))?;
        let directory: Arc<Path> = directory.into();
        let uploads = Uploads::default();
        let threads: io::Result<Vec<_>> = (0..THREADS)
            .map(|number| {
                let (sender, work) = mpsc::channel();
                let worker = Worker {
                    directory: Arc::clone(&directory),
                    sync,
                    uploads: uploads.clone(),
                    downloads: HashMap::new(),
                };
                let thread = std::thread::Builder::new().name(format!("xftp-disk-{number}"));
                thread.spawn(move || worker.run(&work))?;
                Ok(sender)
            })
            .collect();
        Ok(Self {
            directory,
            threads: threads?.into(),
        })
    }

    /// How many bytes are free.
    pub(crate) fn room(&self) -> io::Result<u64> {
        crate::doctor::room(&self.directory)
    }

    pub(crate) fn write(&self, upload: UploadId, bytes: Bytes, asker: Asker) {
        self.give(upload.0, Work::Write(upload, bytes, asker));
    }

    pub(crate) fn publish(
        &self,
        upload: UploadId,
        sender: EntityId,
        told: Box<dyn FnOnce(Input) + Send>,
    ) {
        self.give(of_id(&sender), Work::Publish(upload, sender, told));
    }

    pub(crate) fn discard(&self, upload: UploadId) {
        self.give(upload.0, Work::Discard(upload));
    }

    pub(crate) fn remove(&self, chunk: Chunk) {
        self.give(of_id(&chunk.sender_id), Work::Remove(chunk));
    }

    pub(crate) fn open_chunk(&self, chunk: Chunk, asker: Asker) {
        self.give(asker.connection.0, Work::Open(chunk, asker));
    }

    pub(crate) fn read(&self, bytes: usize, asker: Asker) {
        self.give(asker.connection.0, Work::Read(bytes, asker));
    }

    pub(crate) fn close(&self, connection: ConnId, stream: StreamId) {
        self.give(connection.0, Work::Close(connection, stream));
    }

    pub(crate) fn close_all(&self, connection: ConnId) {
        self.give(connection.0, Work::CloseAll(connection));
    }

    fn give(&self, number: u64, work: Work) {
        let thread = usize::try_from(number % THREADS).unwrap_or_default();
        if let Some(thread) = self.threads.get(thread) {
            // It ends with the last of those who could ask.
            thread.send(work).ok();
        }
    }
}

/// All chunks that are there, in groups; the names of other files are none of a chunk.
pub fn chunks(directory: &Path) -> impl Iterator<Item = io::Result<Vec<Chunk>>> {
    let shards = (0..=u8::MAX).map(|shard| directory.join(format!("{shard:02x}")));
    let own = shards.map(|shard| found(&shard, |_| None));
    let imported = |name: &std::ffi::OsStr| Large::try_from(name.as_bytes()).ok();
    own.chain(std::iter::once(found(directory, imported)))
}

fn found(
    folder: &Path,
    named: impl Fn(&std::ffi::OsStr) -> Option<Large>,
) -> io::Result<Vec<Chunk>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut chunks = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let id = name
            .to_str()
            .and_then(|name| parse_base64url_field(name).ok())
            .filter(|id| id.len() == ID);
        if let Some(Ok(sender_id)) = id.map(|id| EntityId::try_from(id.as_slice())) {
            let name = named(&name);
            chunks.push(Chunk { sender_id, name });
        }
    }
    Ok(chunks)
}

/// How long the ids of senders are.
const ID: usize = 16;

/// The same number for the same id.
fn of_id(id: &EntityId) -> u64 {
    id.last().copied().unwrap_or_default().into()
}

/// The files of uploads. One that could not be written is remembered as such.
#[derive(Debug, Clone, Default)]
struct Uploads(Arc<Mutex<HashMap<UploadId, Upload>>>);

type Upload = Result<Arc<File>, ()>;

impl Uploads {
    fn lock(&self) -> MutexGuard<'_, HashMap<UploadId, Upload>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Worker {
    directory: Arc<Path>,
    sync: SyncPolicy,
    uploads: Uploads,
    downloads: HashMap<(ConnId, StreamId), File>,
}

impl Worker {
    fn run(mut self, received: &mpsc::Receiver<Work>) {
        while let Ok(work) = received.recv() {
            self.work(work);
        }
    }

    fn work(&mut self, work: Work) {
        match work {
            Work::Write(upload, bytes, asker) => {
                let stream = asker.stream;
                let call = match self.write(upload, &bytes) {
                    Ok(()) => {
                        let bytes = bytes.len();
                        Call::Written { stream, bytes }
                    }
                    Err(error) => {
                        tracing::error!(%error, "an upload cannot be written");
                        Call::NotWritten { stream }
                    }
                };
                asker.calls.push(call).ok();
            }
            Work::Publish(upload, sender, told) => {
                let result = self.publish(upload, &sender).map_err(|error| {
                    tracing::error!(%error, "an upload cannot be finished");
                    ErrorType::FileIo
                });
                told(Input::Published(upload, result));
            }
            Work::Discard(upload) => {
                self.uploads.lock().remove(&upload);
                log("an upload", fs::remove_file(self.temporary(upload)));
            }
            Work::Remove(chunk) => log("a chunk", fs::remove_file(self.chunk(&chunk))),
            Work::Open(chunk, asker) => {
                let stream = asker.stream;
                let result = match File::open(self.chunk(&chunk)) {
                    Ok(file) => {
                        self.downloads.insert((asker.connection, stream), file);
                        Ok(())
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Err(ErrorType::Auth),
                    Err(error) => {
                        tracing::error!(%error, "a chunk cannot be read");
                        Err(ErrorType::FileIo)
                    }
                };
                asker.calls.push(Call::Opened { stream, result }).ok();
            }
            Work::Read(bytes, asker) => {
                let stream = asker.stream;
                let call = match self.read(bytes, &asker) {
                    Some(bytes) => Call::Data { stream, bytes },
                    None => Call::NoData { stream },
                };
                asker.calls.push(call).ok();
            }
            Work::Close(connection, stream) => {
                self.downloads.remove(&(connection, stream));
            }
            Work::CloseAll(connection) => self.downloads.retain(|(of, _), _| *of != connection),
        }
    }

    fn write(&self, upload: UploadId, bytes: &[u8]) -> io::Result<()> {
        let known = self.uploads.lock().get(&upload).cloned();
        let file: Arc<File> = match known {
            Some(Ok(file)) => file,
            Some(Err(())) => return Err(io::Error::other("an earlier part is not written")),
            None => {
                let mut options = OpenOptions::new();
                let made = options.write(true).create_new(true);
                let file = made.open(self.temporary(upload)).map(Arc::new);
                let known = file.as_ref().map(Arc::clone).map_err(|_| ());
                self.uploads.lock().insert(upload, known);
                file?
            }
        };
        (&*file).write_all(bytes).inspect_err(|_| {
            self.uploads.lock().insert(upload, Err(()));
        })
    }

    /// What is told to be a chunk is one after a loss of power, too, unless the operator does not ask for it.
    fn publish(&self, upload: UploadId, sender: &EntityId) -> io::Result<()> {
        let file = self.uploads.lock().remove(&upload);
        let Some(Ok(file)) = file else {
            return Err(io::Error::other("the upload is not written"));
        };
        if self.sync != SyncPolicy::Os {
            file.sync_data()?;
        }
        let path = self.chunk(&Chunk {
            sender_id: sender.clone(),
            name: None,
        });
        let shard = path.parent().unwrap_or(&self.directory);
        if !shard.is_dir() {
            fs::create_dir_all(shard)?;
            File::open(&self.directory)?.sync_all()?;
        }
        fs::rename(self.temporary(upload), &path)?;
        match self.sync {
            SyncPolicy::Always | SyncPolicy::Batch => File::open(shard)?.sync_all(),
            SyncPolicy::Os => Ok(()),
        }
    }

    fn read(&mut self, bytes: usize, asker: &Asker) -> Option<BytesMut> {
        let file = self.downloads.get_mut(&(asker.connection, asker.stream))?;
        let mut piece = BytesMut::zeroed(bytes);
        file.read_exact(&mut piece).ok()?;
        Some(piece)
    }

    fn temporary(&self, upload: UploadId) -> PathBuf {
        self.directory.join("tmp").join(upload.0.to_string())
    }

    fn chunk(&self, chunk: &Chunk) -> PathBuf {
        path(&self.directory, chunk)
    }
}

/// Where a chunk is.
pub fn path(directory: &Path, chunk: &Chunk) -> PathBuf {
    if let Some(name) = &chunk.name {
        // What another router has written is where it said.
        return directory.join(std::ffi::OsStr::from_bytes(name));
    }
    let shard = chunk.sender_id.first().copied().unwrap_or_default();
    directory
        .join(format!("{shard:02x}"))
        .join(base64url(&chunk.sender_id))
}

fn log(what: &str, removed: io::Result<()>) {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::error!(%error, "{what} cannot be removed");
        }
        Ok(()) | Err(_) => {}
    }
}
