//! What a store needs of an engine: ordered bytes in tables, written in groups.

use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::table::Table;

/// Why a store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refuses.
    #[error("{} cannot be {action}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The engine fails.
    #[error("the store in {} fails: {source}", path.display())]
    Engine {
        /// The directory.
        path: PathBuf,
        /// What it says.
        source: fjall::Error,
    },
    /// A record is not what it should be.
    #[error("a record of {0} is damaged")]
    Damaged(&'static str),
    /// The thread of the store has died.
    #[error("the store's thread has died")]
    Died,
}

/// Keeps entries in tables.
pub trait Engine: Send + 'static {
    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The keys from one up to, and without, another one, in order, no more than `limit`; an empty one is after all keys.
    fn keys(
        &self,
        table: Table,
        from: &[u8],
        before: &[u8],
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError>;

    /// Writes entries together, all or none, durably; without a value, the key is removed.
    fn write(&mut self, entries: BTreeMap<(Table, Bytes), Option<Bytes>>)
    -> Result<(), StoreError>;
}

/// Entries in memory: they end with the process.
#[derive(Debug, Default)]
pub struct Memory(BTreeMap<(Table, Bytes), Bytes>);

impl Engine for Memory {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.0.get(&(table, Bytes::copy_from_slice(key))).cloned())
    }

    fn keys(
        &self,
        table: Table,
        from: &[u8],
        before: &[u8],
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let first = (table, Bytes::copy_from_slice(from));
        let keys = self.0.range(first..).map(|(key, _)| key);
        let within = |(of, key): &&(Table, Bytes)| {
            *of == table && (before.is_empty() || key.as_ref() < before)
        };
        let found = keys.take_while(within).take(limit);
        Ok(found.map(|(_, key)| key.clone()).collect())
    }

    fn write(
        &mut self,
        entries: BTreeMap<(Table, Bytes), Option<Bytes>>,
    ) -> Result<(), StoreError> {
        for (key, value) in entries {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
        Ok(())
    }
}

/// Entries in a directory: an LSM tree with a journal.
pub struct Embedded {
    path: PathBuf,
    database: Database,
    tables: [Keyspace; Table::ALL.len()],
}

impl Embedded {
    /// Opens the store in a directory, or makes one. Only one process has it at a time.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        const MIB: u64 = 1 << 20;
        std::fs::create_dir_all(path).map_err(|source| StoreError::Io {
            action: "made",
            path: path.to_owned(),
            source,
        })?;
        let failed = |source| StoreError::Engine {
            path: path.to_owned(),
            source,
        };
        let database = Database::builder(path)
            .cache_size(32 * MIB)
            .max_journaling_size(64 * MIB)
            .worker_threads(1)
            .manual_journal_persist(true)
            .open()
            .map_err(failed)?;
        let open = |table: Table| {
            database
                .keyspace(table.name(), KeyspaceCreateOptions::default)
                .map_err(failed)
        };
        let [files, recipients, owned, ages, state] = Table::ALL;
        let tables = [
            open(files)?,
            open(recipients)?,
            open(owned)?,
            open(ages)?,
            open(state)?,
        ];
        Ok(Self {
            path: path.to_owned(),
            database,
            tables,
        })
    }

    fn table(&self, table: Table) -> &Keyspace {
        let [files, recipients, owned, ages, state] = &self.tables;
        match table {
            Table::Files => files,
            Table::Recipients => recipients,
            Table::Owned => owned,
            Table::Ages => ages,
            Table::State => state,
        }
    }

    fn failed(&self, source: fjall::Error) -> StoreError {
        StoreError::Engine {
            path: self.path.clone(),
            source,
        }
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Engine for Embedded {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.table(table).get(key);
        Ok(found.map_err(|error| self.failed(error))?.map(Bytes::from))
    }

    fn keys(
        &self,
        table: Table,
        from: &[u8],
        before: &[u8],
        limit: usize,
    ) -> Result<Vec<Bytes>, StoreError> {
        let before = match before {
            [] => Bound::Unbounded,
            before => Bound::Excluded(before),
        };
        let found = self
            .table(table)
            .range::<&[u8], _>((Bound::Included(from), before));
        let key = |entry: fjall::Guard| {
            let (key, _) = entry.into_inner().map_err(|error| self.failed(error))?;
            Ok(Bytes::from(key))
        };
        found.take(limit).map(key).collect()
    }

    fn write(
        &mut self,
        entries: BTreeMap<(Table, Bytes), Option<Bytes>>,
    ) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        for ((table, key), value) in entries {
            let table = self.table(table);
            match value {
                Some(value) => batch.insert(table, key, value),
                None => batch.remove(table, key),
            }
        }
        batch.commit().map_err(|error| self.failed(error))?;
        let synced = self.database.persist(PersistMode::SyncData);
        synced.map_err(|error| self.failed(error))
    }
}
