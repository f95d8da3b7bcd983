//! The file of a backup.
//!
//! ```text
//!   header │ chunk │ chunk │ … │ end
//!   chunk:   length, 4 bytes │ entries │ checksum, 32 bytes
//!   entry:   table, 1 byte │ lengths of key and value, 2 and 4 bytes │ key │ value
//! ```
//! A checksum covers its chunk and the checksum before it, so that no chunk can be altered, removed, doubled or moved unnoticed. The end
//! is a chunk without entries: a file without it was not finished. A backup holds what its router keeps, and only its owner may read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use bytes::{BufMut as _, Bytes, BytesMut};
use simplex_sans_io::crypto::hash::sha256;

/// What a backup begins with: the router that it is of.
pub type Header = &'static [u8; 24];

const VERSION: u8 = 1;
/// How large a chunk is when it ends.
pub(crate) const CHUNK: usize = if cfg!(test) { 1 << 16 } else { 1 << 20 };
const MAX_CHUNK: usize = CHUNK + (1 << 24);

/// The byte of a table, a key and a value.
pub(super) type Entry = (u8, Bytes, Bytes);

/// Why there is no copy.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store has failed.
    #[error(transparent)]
    Store(Box<dyn std::error::Error + Send + Sync>),
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
    /// The store has failed.
    pub(crate) fn store(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Store(error.into())
    }

    fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }
}

/// Writes entries into a new file, which exists once it is complete. Returns its size.
pub(super) fn write(
    path: &Path,
    header: Header,
    entries: impl IntoIterator<Item = Result<Entry, BackupError>>,
) -> Result<u64, BackupError> {
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
    let mut writer = Writer::new(&part, file.map_err(BackupError::io(&part))?);
    writer.write(header)?;
    writer.write(&[VERSION])?;
    for entry in entries {
        writer.entry(&entry?)?;
    }
    let bytes = writer.finish()?;
    fs::rename(&part, path).map_err(BackupError::io(path))?;
    Ok(bytes)
}

/// Reads a backup from its beginning to its end, and passes on the entries of each chunk. Returns its size.
pub(super) fn read(
    path: &Path,
    header: Header,
    mut take: impl FnMut(Vec<Entry>) -> Result<(), BackupError>,
) -> Result<u64, BackupError> {
    let mut reader = Reader::open(path, header)?;
    while let Some(entries) = reader.chunk()? {
        take(entries)?;
    }
    Ok(reader.bytes)
}

/// Makes a directory, which exists once `fill` has filled it.
pub(super) fn restore(
    directory: &Path,
    fill: impl FnOnce(&Path) -> Result<(), BackupError>,
) -> Result<(), BackupError> {
    if directory.exists() {
        let path = directory.to_owned();
        return Err(BackupError::Exists { path });
    }
    let part = beside(directory, ".restoring");
    if part.exists() {
        fs::remove_dir_all(&part).map_err(BackupError::io(&part))?;
    }
    fill(&part)?;
    fs::rename(&part, directory).map_err(BackupError::io(directory))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

struct Writer<'a> {
    path: &'a Path,
    file: BufWriter<File>,
    chunk: BytesMut,
    checksum: [u8; 32],
    bytes: u64,
}

impl<'a> Writer<'a> {
    fn new(path: &'a Path, file: File) -> Self {
        Self {
            path,
            file: BufWriter::new(file),
            chunk: BytesMut::with_capacity(CHUNK),
            checksum: [0; 32],
            bytes: 0,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(length);
        let written = self.file.write_all(bytes);
        written.map_err(BackupError::io(self.path))
    }

    fn entry(&mut self, (table, key, value): &Entry) -> Result<(), BackupError> {
        self.chunk.put_u8(*table);
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

    fn finish(mut self) -> Result<u64, BackupError> {
        if !self.chunk.is_empty() {
            self.end_chunk()?;
        }
        self.end_chunk()?;
        let synced = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        synced.map_err(BackupError::io(self.path))?;
        Ok(self.bytes)
    }
}

fn checksum(before: &[u8; 32], entries: &[u8]) -> [u8; 32] {
    sha256(&[before, entries].concat())
}

struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    checksum: [u8; 32],
    bytes: u64,
}

impl Reader {
    fn open(path: &Path, header: Header) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(BackupError::io(path))?;
        let mut reader = Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            checksum: [0; 32],
            bytes: 0,
        };
        let mut found = [0; 25];
        reader.read(&mut found)?;
        match found.split_last() {
            Some((&VERSION, found)) if found == header => Ok(reader),
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
        self.bytes = self.bytes.saturating_add(length);
        Ok(())
    }

    /// The entries of the next chunk; none at the end.
    fn chunk(&mut self) -> Result<Option<Vec<Entry>>, BackupError> {
        let offset = self.bytes;
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
        match chunk.is_empty() {
            true => Ok(None),
            false => entries(chunk.into()).ok_or_else(damaged).map(Some),
        }
    }
}

fn entries(mut chunk: Bytes) -> Option<Vec<Entry>> {
    let mut entries = Vec::new();
    while !chunk.is_empty() {
        let ([table], rest) = chunk.split_first_chunk()?;
        let (key, rest) = rest.split_first_chunk()?;
        let (value, _) = rest.split_first_chunk()?;
        let table = *table;
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
