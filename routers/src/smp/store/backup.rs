//! Copies of a store in one file, made while it is in use.
//!
//! ```text
//!   header │ chunk │ chunk │ … │ end
//!   chunk:   length, 4 bytes │ entries │ checksum, 32 bytes
//!   entry:   table, 1 byte │ lengths of key and value, 2 and 4 bytes │ key │ value
//! ```
//! A checksum covers its chunk and the checksum before it, so that no chunk can be altered, removed, doubled or moved unnoticed. The end
//! is a chunk without entries: a file without it was not finished. A backup holds keys and messages, and only its owner may read it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::{BufMut as _, Bytes, BytesMut};
use simplex_sans_io::crypto::hash::sha256;

use super::engine::{self, Effect, Engine as _, Snapshot};
use super::{Embedded, EmbeddedStore, Options, Store as _, StoreError, Table};

const HEADER: &[u8; 24] = b"simplex smp-server store";
const VERSION: u8 = 1;
const CHUNK: usize = if cfg!(test) { 1 << 16 } else { 1 << 20 };
const MAX_CHUNK: usize = CHUNK + (1 << 24);

/// What is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// Queues.
    pub queues: u64,
    /// Messages.
    pub messages: u64,
    /// Entries of all tables.
    pub entries: u64,
    /// The size of the file.
    pub bytes: u64,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            queues, messages, ..
        } = self;
        write!(
            f,
            "{queues} queues and {messages} messages in {} bytes",
            self.bytes
        )
    }
}

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is no backup.
    #[error("{} is no backup of a store, or of a newer version", path.display())]
    NoBackup {
        /// The file.
        path: PathBuf,
    },
    /// The file ends too early.
    #[error("{} was not finished, or has been cut off: use another backup", path.display())]
    Unfinished {
        /// The file.
        path: PathBuf,
    },
    /// A part of the file is not as it was written.
    #[error("{} is damaged after {offset} bytes: use another backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the damaged chunk begins.
        offset: u64,
    },
    /// There is a store where one was to be restored.
    #[error("{} exists already: move it out of the way first", path.display())]
    Exists {
        /// The directory.
        path: PathBuf,
    },
}

impl BackupError {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }
}

/// Writes what a snapshot holds into a new file, which exists once it is complete.
pub fn backup(snapshot: &dyn Snapshot, path: &Path) -> Result<Contents, BackupError> {
    if path.exists() {
        let path = path.to_owned();
        return Err(BackupError::Exists { path });
    }
    let part = beside(path, ".part");
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&part);
    let file = file.map_err(BackupError::io(&part))?;
    let mut writer = Writer::new(&part, file)?;
    for table in Table::ALL {
        for entry in snapshot.entries(table) {
            let (key, value) = entry?;
            writer.entry(table, &key, &value)?;
        }
    }
    let contents = writer.finish()?;
    fs::rename(&part, path).map_err(BackupError::io(path))?;
    Ok(contents)
}

/// Reads a backup from its beginning to its end.
pub fn verify(path: &Path) -> Result<Contents, BackupError> {
    let mut reader = Reader::open(path)?;
    while reader.chunk()?.is_some() {}
    Ok(reader.contents)
}

/// Makes a store in a new directory from a backup that is whole.
pub fn restore(backup: &Path, directory: &Path) -> Result<Contents, BackupError> {
    if directory.exists() {
        let path = directory.to_owned();
        return Err(BackupError::Exists { path });
    }
    verify(backup)?;
    let part = beside(directory, ".restoring");
    if part.exists() {
        fs::remove_dir_all(&part).map_err(BackupError::io(&part))?;
    }
    let mut reader = Reader::open(backup)?;
    let mut store = Embedded::open(&part, Options::default())?;
    while let Some(entries) = reader.chunk()? {
        let put = |(table, key, value)| engine::Write {
            table,
            key,
            effect: Effect::Put(value),
        };
        store.write(entries.into_iter().map(put).collect())?;
    }
    store.sync(0)?;
    store.close()?;
    // It is opened as it will be used before it gets its name.
    Box::new(EmbeddedStore::open(&part, Options::default())?).close()?;
    fs::rename(&part, directory).map_err(BackupError::io(directory))?;
    Ok(reader.contents)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

fn count(contents: &mut Contents, table: Table) {
    contents.entries = contents.entries.saturating_add(1);
    let number = match table {
        Table::Queues => &mut contents.queues,
        Table::Messages => &mut contents.messages,
        Table::Ids
        | Table::Positions
        | Table::Notifications
        | Table::Index
        | Table::Services
        | Table::State => return,
    };
    *number = number.saturating_add(1);
}

struct Writer<'a> {
    path: &'a Path,
    file: BufWriter<File>,
    chunk: BytesMut,
    checksum: [u8; 32],
    contents: Contents,
}

impl<'a> Writer<'a> {
    fn new(path: &'a Path, file: File) -> Result<Self, BackupError> {
        let mut writer = Self {
            path,
            file: BufWriter::new(file),
            chunk: BytesMut::with_capacity(CHUNK),
            checksum: [0; 32],
            contents: Contents::default(),
        };
        writer.write(HEADER)?;
        writer.write(&[VERSION])?;
        Ok(writer)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.contents.bytes = self.contents.bytes.saturating_add(length);
        let written = self.file.write_all(bytes);
        written.map_err(BackupError::io(self.path))
    }

    fn entry(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), BackupError> {
        count(&mut self.contents, table);
        self.chunk.put_u8(table.tag());
        self.chunk
            .put_u16(u16::try_from(key.len()).unwrap_or(u16::MAX));
        self.chunk
            .put_u32(u32::try_from(value.len()).unwrap_or(u32::MAX));
        self.chunk.put_slice(key);
        self.chunk.put_slice(value);
        match self.chunk.len() >= CHUNK {
            true => self.end_chunk(),
            false => Ok(()),
        }
    }

    fn end_chunk(&mut self) -> Result<(), BackupError> {
        let entries = self.chunk.split().freeze();
        let length = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        self.checksum = checksum(&self.checksum, &entries);
        self.write(&length.to_be_bytes())?;
        self.write(&entries)?;
        let checksum = self.checksum;
        self.write(&checksum)
    }

    fn finish(mut self) -> Result<Contents, BackupError> {
        if !self.chunk.is_empty() {
            self.end_chunk()?;
        }
        self.end_chunk()?;
        let synced = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(BackupError::io(self.path))?;
        Ok(self.contents)
    }
}

fn checksum(before: &[u8; 32], entries: &[u8]) -> [u8; 32] {
    sha256(&[before, entries].concat())
}

/// A table, a key and a value.
type Entry = (Table, Bytes, Bytes);

struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    checksum: [u8; 32],
    contents: Contents,
}

impl Reader {
    fn open(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(BackupError::io(path))?;
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            checksum: [0; 32],
            contents: Contents::default(),
        };
        let mut header = [0; HEADER.len() + 1];
        reader.read(&mut header)?;
        match header.split_last() {
            Some((&VERSION, header)) if header == HEADER => Ok(reader),
            _ => Err(BackupError::NoBackup { path: reader.path }),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let read = self.file.read_exact(bytes);
        read.map_err(|error| match error.kind() == io::ErrorKind::UnexpectedEof {
            true => BackupError::Unfinished {
                path: self.path.clone(),
            },
            false => BackupError::io(&self.path)(error),
        })?;
        self.contents.bytes = self.contents.bytes.saturating_add(length);
        Ok(())
    }

    /// The entries of the next chunk; none at the end.
    fn chunk(&mut self) -> Result<Option<Vec<Entry>>, BackupError> {
        let offset = self.contents.bytes;
        let path = self.path.clone();
        let damaged = || BackupError::Damaged { path, offset };
        let mut length = [0; 4];
        self.read(&mut length)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > MAX_CHUNK {
            return Err(damaged());
        }
        let mut chunk = vec![0; length];
        self.read(&mut chunk)?;
        let mut expected = [0; 32];
        self.read(&mut expected)?;
        self.checksum = checksum(&self.checksum, &chunk);
        if self.checksum != expected {
            return Err(damaged());
        }
        if chunk.is_empty() {
            return Ok(None);
        }
        let entries = entries(chunk.into()).ok_or_else(damaged)?;
        for (table, ..) in &entries {
            count(&mut self.contents, *table);
        }
        Ok(Some(entries))
    }
}

fn entries(mut chunk: Bytes) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while !chunk.is_empty() {
        let (tag, rest) = chunk.split_first_chunk::<1>()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (value, _) = rest.split_first_chunk()?;
        let table = Table::ALL.into_iter().find(|table| [table.tag()] == *tag)?;
        let key = usize::from(u16::from_be_bytes(*key));
        let value = usize::try_from(u32::from_be_bytes(*value)).ok()?;
        let mut rest = chunk.split_off(7);
        if key.checked_add(value)? > rest.len() {
            return None;
        }
        let key = rest.split_to(key);
        let value = rest.split_to(value);
        entries.push((table, key, value));
        chunk = rest;
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::store::tests::{Scenario, check};
    use crate::smp::store::{MemoryStore, Store};

    fn filled(store: &mut dyn Store) -> Scenario {
        let mut scenario = Scenario::new([5; 32]).with_bodies(20_000);
        for _ in 0..300 {
            store.apply(&[scenario.commit()]).unwrap();
        }
        scenario
    }

    #[test]
    fn a_store_is_restored_as_it_was_at_the_moment_of_the_backup() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("original");
        let embedded = EmbeddedStore::open(&path, Options::default()).unwrap();
        restored_as_it_was(Box::new(MemoryStore::in_memory()));
        restored_as_it_was(Box::new(embedded));
    }

    fn restored_as_it_was(mut store: Box<dyn Store>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backup");
        let mut scenario = filled(&mut *store);
        let moment = store.snapshot().unwrap();
        let then = scenario.clone();
        store.commit(&[scenario.commit()]).unwrap();
        let contents = backup(&*moment, &path).unwrap();
        assert_eq!(contents.bytes, fs::metadata(&path).unwrap().len());
        assert_eq!(contents.queues, then.known().queues.len() as u64);
        assert_eq!(contents.messages, then.known().messages.len() as u64);
        assert_eq!(verify(&path).unwrap(), contents);
        assert!(matches!(
            backup(&*moment, &path),
            Err(BackupError::Exists { .. })
        ));
        let restored = directory.path().join("store");
        assert_eq!(restore(&path, &restored).unwrap(), contents);
        assert!(matches!(
            restore(&path, &restored),
            Err(BackupError::Exists { .. })
        ));
        let mut store = EmbeddedStore::open(&restored, Options::default()).unwrap();
        // And a backup of the restored one is the same.
        let moment = store.snapshot().unwrap();
        let again = directory.path().join("again");
        assert_eq!(backup(&*moment, &again).unwrap().entries, contents.entries);
        for question in then.questions(then.known()) {
            check(&mut store, &then.model, &question);
        }
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("backup");
        let mut store = MemoryStore::in_memory();
        filled(&mut store);
        backup(&*store.snapshot().unwrap(), &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() > 2 * CHUNK, "more than one chunk");
        for at in (0..bytes.len()).step_by(bytes.len() / 20) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            fs::write(&path, damaged).unwrap();
            assert!(verify(&path).is_err(), "at {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(
                matches!(verify(&path), Err(BackupError::Unfinished { .. })),
                "at {at}"
            );
        }
        let target = directory.path().join("store");
        assert!(restore(&path, &target).is_err());
        assert!(!target.exists());
    }
}
