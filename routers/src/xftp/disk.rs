//! The chunks of a router: files in a directory, written under temporary names.
//!
//! ```text
//!   tmp/7                              an upload
//!   3f/Pz8_Pz8_Pz8_Pz8_Pz8_Pw==        a chunk, by the id of its sender
//!   QEBAQEBAQEBAQEBAQEBAQA==           a chunk of the reference's router
//! ```
//! A few threads do the work. What concerns one upload, one connection's downloads or one chunk is done by the same thread, in order. What the
//! operating system has in memory is read at once, without them.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
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
    downloads: Downloads,
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
    Read(Piece, Asker),
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
        let (uploads, downloads) = (Uploads::default(), Downloads::default());
        let threads: io::Result<Vec<_>> = (0..THREADS)
            .map(|number| {
                let (sender, work) = mpsc::channel();
                let worker = Worker {
                    directory: Arc::clone(&directory),
                    sync,
                    uploads: uploads.clone(),
                    downloads: downloads.clone(),
                };
                let thread = std::thread::Builder::new().name(format!("xftp-disk-{number}"));
                thread.spawn(move || worker.run(&work))?;
                Ok(sender)
            })
            .collect();
        Ok(Self {
            directory,
            threads: threads?.into(),
            downloads,
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
        let (piece, order) = self.downloads.next(&asker, bytes);
        match order {
            Order::Complete => piece.tell(&asker),
            Order::Waits => self.give(asker.connection.0, Work::Read(piece, asker)),
        }
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

/// The chunks that are open.
#[derive(Debug, Clone, Default)]
struct Downloads(Arc<Mutex<HashMap<(ConnId, StreamId), Download>>>);

#[derive(Debug)]
struct Download {
    file: Arc<File>,
    /// Where the next piece begins.
    offset: u64,
    /// How many pieces wait for the thread that reads them.
    waiting: usize,
}

/// Whether a piece is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Complete,
    /// It is the turn of the thread.
    Waits,
}

/// A part of a chunk.
#[derive(Debug)]
struct Piece {
    /// Nothing if the chunk is not open any more.
    file: Option<Arc<File>>,
    offset: u64,
    bytes: BytesMut,
    /// How much of it is read.
    read: usize,
}

impl Downloads {
    fn lock(&self) -> MutexGuard<'_, HashMap<(ConnId, StreamId), Download>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece, with what is in memory of it, unless others are waited for before it.
    fn next(&self, asker: &Asker, bytes: usize) -> (Piece, Order) {
        let key = (asker.connection, asker.stream);
        let mut piece = Piece {
            file: None,
            offset: 0,
            bytes: BytesMut::zeroed(bytes),
            read: 0,
        };
        let mut is_next = false;
        if let Some(download) = self.lock().get_mut(&key) {
            piece.file = Some(Arc::clone(&download.file));
            piece.offset = download.offset;
            let length = u64::try_from(bytes).unwrap_or(u64::MAX);
            download.offset = download.offset.saturating_add(length);
            is_next = download.waiting == 0;
        }
        if is_next && piece.read_cached() {
            return (piece, Order::Complete);
        }
        if let Some(download) = self.lock().get_mut(&key) {
            download.waiting = download.waiting.saturating_add(1);
        }
        (piece, Order::Waits)
    }

    /// A piece that was waited for is told of.
    fn told(&self, asker: &Asker) {
        let key = (asker.connection, asker.stream);
        if let Some(download) = self.lock().get_mut(&key) {
            download.waiting = download.waiting.saturating_sub(1);
        }
    }
}

impl Piece {
    /// Reads what can be read without waiting for a disk. Whether that is all of it.
    #[cfg(target_os = "linux")]
    fn read_cached(&mut self) -> bool {
        use rustix::io::{ReadWriteFlags, preadv2};
        use std::io::IoSliceMut;
        let Some(file) = &self.file else {
            return false;
        };
        while let Some(rest) = self.bytes.get_mut(self.read..)
            && !rest.is_empty()
        {
            let offset = self
                .offset
                .saturating_add(u64::try_from(self.read).unwrap_or(u64::MAX));
            let mut slices = [IoSliceMut::new(rest)];
            match preadv2(file, &mut slices, offset, ReadWriteFlags::NOWAIT) {
                Ok(count) if count > 0 => self.read = self.read.saturating_add(count),
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    /// Nothing can be known to be in memory.
    #[cfg(not(target_os = "linux"))]
    fn read_cached(&mut self) -> bool {
        false
    }

    /// Reads the rest of it.
    fn complete(&mut self) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let offset = u64::try_from(self.read).unwrap_or(u64::MAX);
        let offset = self.offset.saturating_add(offset);
        let rest = self.bytes.get_mut(self.read..).unwrap_or_default();
        file.read_exact_at(rest, offset)?;
        self.read = self.bytes.len();
        Ok(())
    }

    /// Gives it to whoever has asked for it.
    fn tell(self, asker: &Asker) {
        let stream = asker.stream;
        let call = match self.read == self.bytes.len() {
            true => Call::Data {
                stream,
                bytes: self.bytes,
            },
            false => Call::NoData { stream },
        };
        asker.calls.push(call).ok();
    }
}

struct Worker {
    directory: Arc<Path>,
    sync: SyncPolicy,
    uploads: Uploads,
    downloads: Downloads,
}

impl Worker {
    fn run(self, received: &mpsc::Receiver<Work>) {
        while let Ok(work) = received.recv() {
            self.work(work);
        }
    }

    fn work(&self, work: Work) {
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
                        let download = Download {
                            file: Arc::new(file),
                            offset: 0,
                            waiting: 0,
                        };
                        let key = (asker.connection, stream);
                        self.downloads.lock().insert(key, download);
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
            Work::Read(mut piece, asker) => {
                if let Err(error) = piece.complete() {
                    tracing::debug!(%error, "a chunk cannot be read any further");
                }
                piece.tell(&asker);
                self.downloads.told(&asker);
            }
            Work::Close(connection, stream) => {
                self.downloads.lock().remove(&(connection, stream));
            }
            Work::CloseAll(connection) => {
                self.downloads.lock().retain(|(of, _), _| *of != connection);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use simplex_sans_io::drive::{Receiver, queue};
    use std::future::poll_fn;

    const CONTENT: usize = 200_000;

    async fn next(calls: &mut Receiver<Call>) -> Call {
        poll_fn(|cx| calls.poll_next(cx)).await.unwrap()
    }

    /// A chunk that is open, and whoever reads it.
    async fn opened(directory: &Path) -> (Disk, Asker, Receiver<Call>, Vec<u8>) {
        let disk = Disk::open(directory, SyncPolicy::Os).unwrap();
        let chunk = Chunk {
            sender_id: EntityId::try_from(&[7; ID][..]).unwrap(),
            name: None,
        };
        let mut content = vec![0; CONTENT];
        simplex_sans_io::rng::Rng::from_seed([1; 32]).fill(&mut content);
        let path = path(directory, &chunk);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, &content).unwrap();
        let (sender, mut calls) = queue(1);
        let asker = Asker {
            connection: ConnId(1),
            stream: StreamId::of_peer(0),
            calls: sender,
        };
        disk.open_chunk(chunk, asker.clone());
        let call = next(&mut calls).await;
        assert!(matches!(call, Call::Opened { result: Ok(()), .. }));
        (disk, asker, calls, content)
    }

    #[tokio::test]
    async fn pieces_come_in_order_whether_they_are_in_memory_or_wait_for_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let (disk, asker, mut calls, content) = opened(directory.path()).await;
        let key = (asker.connection, asker.stream);
        let mut read = Vec::new();
        for (number, bytes) in [1, 65_536, 30_000, 65_536, 38_927].into_iter().enumerate() {
            // Every other piece finds one before it that is not read yet.
            let waits = number % 2 == 1;
            if waits {
                disk.downloads.lock().get_mut(&key).unwrap().waiting += 1;
            }
            disk.read(bytes, asker.clone());
            let Call::Data { bytes, .. } = next(&mut calls).await else {
                panic!("a piece is missing")
            };
            read.extend_from_slice(&bytes);
            if waits {
                disk.downloads.told(&asker);
            }
        }
        assert!(read == content);
        // There is no more, and after its end nothing at all.
        disk.read(1, asker.clone());
        assert!(matches!(next(&mut calls).await, Call::NoData { .. }));
        disk.close(asker.connection, asker.stream);
        disk.read(1, asker.clone());
        assert!(matches!(next(&mut calls).await, Call::NoData { .. }));
    }

    #[tokio::test]
    async fn a_piece_waits_for_those_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let (disk, asker, _calls, _) = opened(directory.path()).await;
        let key = (asker.connection, asker.stream);
        disk.downloads.lock().get_mut(&key).unwrap().waiting = 1;
        let (first, order) = disk.downloads.next(&asker, 10);
        assert_eq!((first.offset, first.read, order), (0, 0, Order::Waits));
        disk.downloads.told(&asker);
        let (second, order) = disk.downloads.next(&asker, 10);
        assert_eq!((second.offset, second.read, order), (10, 0, Order::Waits));
        let waiting = disk.downloads.lock()[&key].waiting;
        assert_eq!(waiting, 2);
    }
}
