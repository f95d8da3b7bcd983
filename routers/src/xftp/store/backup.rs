//! Copies of a store, without the chunks: the [format](crate::backup) is that of all routers.

use std::fmt;
use std::path::Path;

use super::{Snapshot, Store, Table};
use crate::backup::{self, Header};
use crate::store::engine::{Effect, Engine as _, Write};

pub use crate::backup::BackupError;

const HEADER: Header = b"simplex xftp-server file";

/// What is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// Files.
    pub files: u64,
    /// Recipients.
    pub recipients: u64,
    /// The size of the backup.
    pub bytes: u64,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            files, recipients, ..
        } = self;
        let bytes = self.bytes;
        write!(
            f,
            "records of {files} files and {recipients} recipients in {bytes} bytes"
        )
    }
}

/// Writes what a snapshot holds into a new file, which exists once it is complete.
pub fn backup(snapshot: &Snapshot, path: &Path) -> Result<Contents, BackupError> {
    let mut contents = Contents::default();
    let entries = Table::ALL.into_iter().flat_map(|table| {
        let entries = snapshot.entries(table);
        entries.map(move |entry| entry.map(|(key, value)| (table, key, value)))
    });
    let entries = entries.map(|entry| {
        let (table, key, value) = entry.map_err(BackupError::store)?;
        count(&mut contents, table);
        Ok((table.tag(), key, value))
    });
    let bytes = backup::write(path, HEADER, entries)?;
    Ok(Contents { bytes, ..contents })
}

/// Reads a backup from its beginning to its end.
pub fn verify(path: &Path) -> Result<Contents, BackupError> {
    read(path, |_| Ok(()))
}

/// Makes a store in a new directory from a backup that is whole.
pub fn restore(from: &Path, directory: &Path) -> Result<Contents, BackupError> {
    let mut contents = Contents::default();
    backup::restore(directory, |part| {
        verify(from)?;
        let mut store = Store::open(part).map_err(BackupError::store)?;
        contents = read(from, |writes| {
            store.engine.write(writes).map_err(BackupError::store)
        })?;
        store.engine.sync(0).map_err(BackupError::store)?;
        store.engine.close().map_err(BackupError::store)?;
        // It is opened as it will be used before it gets its name.
        Store::open(part)
            .and_then(Store::close)
            .map_err(BackupError::store)
    })?;
    Ok(contents)
}

/// Reads a backup, and passes it on in groups.
fn read(
    path: &Path,
    mut take: impl FnMut(Vec<Write<Table>>) -> Result<(), BackupError>,
) -> Result<Contents, BackupError> {
    let mut contents = Contents::default();
    let bytes = backup::read(path, HEADER, |entries| {
        let mut writes = Vec::with_capacity(entries.len());
        for (tag, key, value) in entries {
            let table = Table::ALL.into_iter().find(|table| table.tag() == tag);
            let path = path.to_owned();
            let table = table.ok_or(BackupError::NoBackup { path })?;
            count(&mut contents, table);
            let effect = Effect::Put(value);
            writes.push(Write { table, key, effect });
        }
        take(writes)
    })?;
    Ok(Contents { bytes, ..contents })
}

fn count(contents: &mut Contents, table: Table) {
    let number = match table {
        Table::Files => &mut contents.files,
        Table::Recipients => &mut contents.recipients,
        Table::Owned | Table::Ages | Table::State => return,
    };
    *number = number.saturating_add(1);
}
