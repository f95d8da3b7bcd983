//! A store in a directory: an LSM tree with a journal (fjall).
//!
//! ```text
//!   lock      the process that has the directory
//!   promise   the last group that was reported as stored
//!   data/     the engine's files
//! ```
//! The engine ends its journal at the first record that it cannot read, and takes what follows for a write that was interrupted.
//! A damaged bit would then silently undo commits that were reported as stored. So their number is written next to the data after
//! each `fsync`, without one of its own: a store that has fewer groups than that has lost some, and is refused.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use fjall::{
    Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode, Readable as _,
};

use super::engine::{
    Effect, Engine, Entries, Snapshot, Tables, Usage, Write, is_range, upper_bound,
};
use super::recent::Recent;
use super::{StoreError, SyncPolicy};

const MIB: u64 = 1 << 20;

/// After this much was written, what is in memory goes to tables: so much, at most, is read again after a crash.
const ROTATE_AFTER: u64 = 32 * MIB;

/// How an embedded store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How durable commits are.
    pub policy: SyncPolicy,
    /// How much memory keeps what was read.
    pub cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            policy: SyncPolicy::default(),
            cache_bytes: 16 * MIB,
        }
    }
}

/// The engine of a store in a directory.
pub struct Embedded<T: Tables> {
    path: PathBuf,
    options: Options,
    promise: Promise,
    /// None while it could not be opened again.
    open: Option<Open<T>>,
    sync_failed: bool,
    // Last, so that the directory is ours until the engine is closed.
    _lock: File,
}

struct Open<T> {
    database: Database,
    tables: Keyspaces<T>,
    recent: Recent<T>,
    written: u64,
}

impl<T: Tables> Embedded<T> {
    /// Opens the store in a directory, or makes one.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        make_private(path).map_err(StoreError::io("made", path))?;
        let lock = lock(path)?;
        let promise = Promise::open(&path.join("promise"))?;
        let open = Open::guarded(path, options)?;
        Ok(Self {
            path: path.to_owned(),
            options,
            promise,
            open: Some(open),
            sync_failed: false,
            _lock: lock,
        })
    }

    /// Accepts that commits which were reported as stored are missing, after [`StoreError::Lost`].
    pub fn accept_loss(path: &Path) -> Result<(), StoreError> {
        let _lock = lock(path)?;
        let promise = path.join("promise");
        match fs::remove_file(&promise) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.map_err(StoreError::io("removed", &promise)),
        }
    }

    /// The directory of the store.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes its files have.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        let space = self.opened()?.database.disk_space();
        space.map_err(|error| self.error(error))
    }

    fn opened(&self) -> Result<&Open<T>, StoreError> {
        let closed = || StoreError::Broken("it is closed".into());
        self.open.as_ref().ok_or_else(closed)
    }

    fn error(&self, error: fjall::Error) -> StoreError {
        engine_error(&self.path, error)
    }
}

#[cfg(test)]
impl<T: Tables> Embedded<T> {
    /// Has the journal written, but not synchronised.
    pub(crate) fn flush_journal(&self) {
        let open = self.opened().unwrap();
        open.database.persist(PersistMode::Buffer).unwrap();
    }
}

impl<T: Tables> Open<T> {
    /// Makes a database, if there is none. The engine does not open one that it has not finished making, so that a new one gets its name
    /// when it is whole.
    fn make(path: &Path) -> Result<(), StoreError> {
        let (data, unfinished) = (path.join("data"), path.join("data.new"));
        let io = |action| StoreError::io(action, &unfinished);
        if data
            .try_exists()
            .map_err(StoreError::io("looked for", &data))?
        {
            return Ok(());
        }
        if unfinished.try_exists().map_err(io("looked for"))? {
            fs::remove_dir_all(&unfinished).map_err(io("removed"))?;
        }
        let made = Database::builder(&unfinished).worker_threads(1).open();
        drop(made.map_err(|error| engine_error(path, error))?);
        fs::rename(&unfinished, &data).map_err(io("renamed"))?;
        let folder = File::open(path).and_then(|folder| folder.sync_all());
        folder.map_err(StoreError::io("synchronised", path))
    }

    /// The engine asserts what it expects of its files.
    fn guarded(path: &Path, options: Options) -> Result<Self, StoreError> {
        catch_unwind(|| Self::new(path, options)).unwrap_or_else(|_| {
            Err(StoreError::DamagedFile {
                path: path.to_owned(),
                detail: "what it holds is not what the engine has written".into(),
            })
        })
    }

    fn new(path: &Path, options: Options) -> Result<Self, StoreError> {
        let error = |error| engine_error(path, error);
        Self::make(path)?;
        let database = Database::builder(path.join("data"))
            .cache_size(options.cache_bytes)
            .max_journaling_size(64 * MIB)
            // Of two, the first does nothing but pass compactions to the second while that is at one.
            .worker_threads(1)
            .manual_journal_persist(true)
            .open()
            .map_err(error)?;
        let open = |table: &T| {
            let options = || table_options(table.usage());
            let keyspace = database.keyspace(table.name(), options).map_err(error)?;
            Ok((*table, keyspace))
        };
        let tables: Result<_, StoreError> = T::ALL.iter().map(open).collect();
        let tables = Keyspaces(tables?);
        Ok(Self {
            database,
            tables,
            recent: Recent::default(),
            written: 0,
        })
    }

    fn table(&self, table: T) -> Result<&Keyspace, fjall::Error> {
        self.tables.of(table)
    }

    fn write(&mut self, writes: Vec<Write<T>>) -> Result<(), fjall::Error> {
        let busy = |write: &&Write<T>| write.table.usage() == Usage::Busy;
        let recent: Vec<_> = writes.iter().filter(busy).cloned().collect();
        let mut batch = self.database.batch();
        for Write { table, key, effect } in writes {
            self.written = self
                .written
                .saturating_add(u64::try_from(key.len()).unwrap_or(u64::MAX));
            let table = self.table(table)?;
            match effect {
                Effect::Put(value) => {
                    let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
                    batch.insert(table, key, value);
                    self.written = self.written.saturating_add(length);
                }
                Effect::Remove => batch.remove(table, key),
                Effect::RemoveOnce => batch.remove_weak(table, key),
            }
        }
        batch.commit()?;
        self.recent.keep(recent);
        if self.written >= ROTATE_AFTER {
            self.written = 0;
            self.rotate()?;
        }
        Ok(())
    }

    /// Has what is in memory written to tables, in the background.
    fn rotate(&self) -> Result<(), fjall::Error> {
        self.tables
            .0
            .values()
            .try_for_each(|table| table.rotate_memtable().map(|_| ()))
    }

    /// The same, and waits for it.
    fn flush(&self) -> Result<(), fjall::Error> {
        const PATIENCE: Duration = Duration::from_secs(60);
        let started = Instant::now();
        self.rotate()?;
        while self
            .tables
            .0
            .values()
            .any(|table| table.sealed_memtable_count() > 0)
        {
            if started.elapsed() > PATIENCE {
                return Err(fjall::Error::Unrecoverable);
            }
            // Fails if the flush has failed.
            self.table(T::STATE)?.insert("flushed", "")?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl<T: Tables> Engine<T> for Embedded<T> {
    fn get(&self, table: T, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let open = self.opened()?;
        if let Some(recent) = open.recent.get(table, key) {
            return Ok(recent.clone());
        }
        let found = open.table(table).and_then(|table| table.get(key));
        let found = found.map_err(|error| self.error(error))?;
        Ok(found.map(Bytes::from))
    }

    fn scan(&self, table: T, from: &[u8], before: &[u8]) -> Entries<'_> {
        if !is_range(from, before) {
            return Box::new(std::iter::empty());
        }
        let bounds = (std::ops::Bound::Included(from), upper_bound(before));
        let table = self
            .opened()
            .and_then(|open| open.table(table).map_err(|error| self.error(error)));
        match table {
            Err(error) => Box::new(std::iter::once(Err(error))),
            Ok(table) => Box::new(table.range::<&[u8], _>(bounds).map(|entry| {
                let (key, value) = entry.into_inner().map_err(|error| self.error(error))?;
                Ok((key.into(), value.into()))
            })),
        }
    }

    fn write(&mut self, writes: Vec<Write<T>>) -> Result<(), StoreError> {
        let closed = || StoreError::Broken("it is closed".into());
        let open = self.open.as_mut().ok_or_else(closed)?;
        let written = open.write(writes);
        written.map_err(|error| self.error(error))
    }

    fn sync(&mut self, group: u64) -> Result<(), StoreError> {
        let mode = match self.options.policy {
            SyncPolicy::Always | SyncPolicy::Batch => PersistMode::SyncData,
            SyncPolicy::Os => PersistMode::Buffer,
        };
        let synced = self.opened()?.database.persist(mode);
        if synced.is_err() {
            self.sync_failed = true;
        }
        synced.map_err(|error| self.error(error))?;
        match self.options.policy {
            SyncPolicy::Always | SyncPolicy::Batch => self.promise.give(group),
            SyncPolicy::Os => Ok(()),
        }
    }

    fn policy(&self) -> SyncPolicy {
        self.options.policy
    }

    fn promised(&self) -> u64 {
        self.promise.given
    }

    /// What a failed `fsync` has not written will not be written by a second one: it goes into files of its own.
    fn reopen(&mut self) -> Result<(), StoreError> {
        self.open = None;
        let open = Open::guarded(&self.path, self.options)?;
        if self.sync_failed {
            open.flush().map_err(|error| self.error(error))?;
            self.sync_failed = false;
        }
        self.open = Some(open);
        Ok(())
    }

    fn lost(&self, promised: u64, found: u64) -> StoreError {
        StoreError::Lost {
            path: self.path.clone(),
            promised,
            found,
        }
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot<T>>, StoreError> {
        let open = self.opened()?;
        Ok(Box::new(Moment {
            path: self.path.clone(),
            snapshot: open.database.snapshot(),
            tables: open.tables.clone(),
        }))
    }

    /// What is in tables is not read from the journal again, which would take most of the time of the next start.
    fn close(mut self) -> Result<(), StoreError> {
        let persisted = self.opened()?.database.persist(PersistMode::SyncAll);
        persisted.map_err(|error| self.error(error))?;
        let Some(open) = self.open.take() else {
            return Ok(());
        };
        let flushed = open.flush();
        drop(open);
        let emptied = flushed
            .map_err(io::Error::other)
            .and_then(|()| empty_journal(&self.path.join("data")));
        if let Err(error) = emptied {
            tracing::warn!(%error, "the next start will take longer, as the journal is not empty");
        }
        Ok(())
    }
}

/// Empties the journal that was written to last, in a closed database whose tables hold everything.
fn empty_journal(data: &Path) -> io::Result<()> {
    let mut last = None;
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let is_journal = path.extension().is_some_and(|extension| extension == "jnl");
        let number = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (true, Some(number)) = (is_journal, number) {
            last = last.max(Some((number, path)));
        }
    }
    match last {
        None => Ok(()),
        Some((_, path)) => {
            let journal = File::options().write(true).open(path)?;
            journal.set_len(0)?;
            journal.sync_all()
        }
    }
}

/// What an embedded store was at one moment.
struct Moment<T> {
    path: PathBuf,
    snapshot: fjall::Snapshot,
    tables: Keyspaces<T>,
}

impl<T: Tables> Snapshot<T> for Moment<T> {
    fn entries(&self, table: T) -> Entries<'_> {
        let table = match self.tables.of(table) {
            Ok(table) => table,
            Err(error) => {
                let error = engine_error(&self.path, error);
                return Box::new(std::iter::once(Err(error)));
            }
        };
        Box::new(self.snapshot.iter(table).map(|entry| {
            let entry = entry.into_inner();
            let (key, value) = entry.map_err(|error| engine_error(&self.path, error))?;
            Ok((key.into(), value.into()))
        }))
    }
}

impl<T: Tables> std::fmt::Debug for Embedded<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded")
            .field("path", &self.path)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The engine's tables.
#[derive(Clone)]
struct Keyspaces<T>(BTreeMap<T, Keyspace>);

impl<T: Tables> Keyspaces<T> {
    /// All of them are there since the store was opened.
    fn of(&self, table: T) -> Result<&Keyspace, fjall::Error> {
        self.0.get(&table).ok_or(fjall::Error::Unrecoverable)
    }
}

/// Everything is encrypted by its senders, so that nothing is worth compressing. Large values are kept apart from their keys.
fn table_options(usage: Usage) -> KeyspaceCreateOptions {
    let separated = KvSeparationOptions::default()
        .separation_threshold(1024)
        .staleness_threshold(0.25)
        .age_cutoff(1.0);
    let options = KeyspaceCreateOptions::default().manual_journal_persist(true);
    match usage {
        // Rotating these often makes every message dearer.
        Usage::Passing => options
            .max_memtable_size(ROTATE_AFTER)
            .with_kv_separation(Some(separated)),
        Usage::Large => options
            .max_memtable_size(MIB)
            .with_kv_separation(Some(separated)),
        Usage::Small | Usage::Busy => options.max_memtable_size(MIB),
    }
}

/// A directory that nobody else looks into: the secrets of queues are in it.
fn make_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Keeps everybody else from a store while the file is kept.
pub(crate) fn lock(path: &Path) -> Result<File, StoreError> {
    let lock_path = path.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&lock_path)
        .map_err(StoreError::io("opened", &lock_path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let read = file.read_to_string(&mut pid);
            let pid = read.ok().and_then(|_| pid.trim().parse().ok());
            let path = path.to_owned();
            return Err(StoreError::InUse { path, pid });
        }
        Err(TryLockError::Error(error)) => {
            return Err(StoreError::io("locked", &lock_path)(error));
        }
    }
    let pid = std::process::id();
    file.set_len(0)
        .and_then(|()| writeln!(file, "{pid}"))
        .map_err(StoreError::io("written", &lock_path))?;
    Ok(file)
}

/// The last group that was reported as stored: its number, and the same number inverted.
struct Promise {
    path: PathBuf,
    file: File,
    given: u64,
}

impl Promise {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StoreError::io("opened", path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(StoreError::io("read", path))?;
        let number = |at: usize| {
            let bytes = bytes.get(at..)?.first_chunk()?;
            Some(u64::from_be_bytes(*bytes))
        };
        let given = match (number(0), number(8)) {
            (Some(given), Some(inverted)) if given == !inverted => given,
            _ => 0,
        };
        Ok(Self {
            path: path.to_owned(),
            file,
            given,
        })
    }

    fn give(&mut self, group: u64) -> Result<(), StoreError> {
        let mut bytes = [0; 16];
        let (number, inverted) = bytes.split_at_mut(8);
        number.copy_from_slice(&group.to_be_bytes());
        inverted.copy_from_slice(&(!group).to_be_bytes());
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(&bytes))
            .map_err(StoreError::io("written", &self.path))?;
        self.given = group;
        Ok(())
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "both enums may grow; what is not known is shown as it is"
)]
fn engine_error(path: &Path, error: fjall::Error) -> StoreError {
    use fjall::{Error, LsmError};
    let damaged = |detail: String| StoreError::DamagedFile {
        path: path.to_owned(),
        detail,
    };
    match error {
        Error::Io(error) | Error::Storage(LsmError::Io(error)) => {
            StoreError::io("read or written", path)(error)
        }
        Error::Locked => StoreError::InUse {
            path: path.to_owned(),
            pid: None,
        },
        Error::Poisoned => StoreError::Broken("an earlier write has failed".into()),
        Error::InvalidVersion(_) => damaged("it is not a store of this version".into()),
        Error::JournalRecovery(error) => damaged(format!("journal: {error:?}")),
        error => damaged(format!("{error:?}")),
    }
}
