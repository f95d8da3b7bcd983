//! Backups: copies of a store, made while it is in use.
//!
//! What is in them is the routers' own; how they are written and asked for is the same for all.

mod file;
mod socket;

use std::fmt;
use std::path::Path;

#[cfg(test)]
pub(crate) use self::file::CHUNK;
pub use self::file::{BackupError, Header};
pub use self::socket::AskError;
pub(crate) use self::socket::{Copied, ask, serve};
use crate::store::engine::{Effect, Engine as _, Snapshot, Tables, Write};
use crate::store::{Embedded, Options, StoreError};

/// What is in the backups of a router.
pub trait Contents: Copy + Default + fmt::Display {
    /// The tables of its store.
    type Table: Tables;

    /// What its backups begin with.
    const HEADER: Header;

    /// There is one more entry of a table.
    fn count(&mut self, table: Self::Table);

    /// How large the backup is.
    fn with_size(self, bytes: u64) -> Self;

    /// Opens a store as it will be used, and closes it.
    fn try_store(directory: &Path) -> Result<(), StoreError>;
}

/// Writes what a snapshot holds into a new file, which exists once it is complete.
pub fn backup<C: Contents>(
    snapshot: &dyn Snapshot<C::Table>,
    path: &Path,
) -> Result<C, BackupError> {
    let mut contents = C::default();
    let entries = C::Table::ALL.iter().flat_map(|table| {
        let entries = snapshot.entries(*table);
        entries.map(move |entry| entry.map(|(key, value)| (*table, key, value)))
    });
    let entries = entries.map(|entry| {
        let (table, key, value) = entry.map_err(BackupError::store)?;
        contents.count(table);
        Ok((table.tag(), key, value))
    });
    let bytes = file::write(path, C::HEADER, entries)?;
    Ok(contents.with_size(bytes))
}

/// Writes what the store in a directory holds, which no router uses.
pub(crate) fn backup_at_rest<C: Contents>(directory: &Path, path: &Path) -> Result<C, BackupError> {
    C::try_store(directory).map_err(BackupError::store)?;
    let store = Embedded::open(directory, Options::default()).map_err(BackupError::store)?;
    let snapshot = store.snapshot().map_err(BackupError::store)?;
    let contents = backup(snapshot.as_ref(), path)?;
    drop(snapshot);
    store.close().map_err(BackupError::store)?;
    Ok(contents)
}

/// Reads a backup from its beginning to its end.
pub fn verify<C: Contents>(path: &Path) -> Result<C, BackupError> {
    read(path, |_| Ok(()))
}

/// Makes a store in a new directory from a backup that is whole.
pub fn restore<C: Contents>(from: &Path, directory: &Path) -> Result<C, BackupError> {
    let mut contents = C::default();
    file::restore(directory, |part| {
        verify::<C>(from)?;
        let mut store = Embedded::open(part, Options::default()).map_err(BackupError::store)?;
        contents = read(from, |writes| {
            store.write(writes).map_err(BackupError::store)
        })?;
        store.sync(0).map_err(BackupError::store)?;
        store.close().map_err(BackupError::store)?;
        // It is tried before it gets its name.
        C::try_store(part).map_err(BackupError::store)
    })?;
    Ok(contents)
}

/// Reads a backup, and passes it on in groups.
fn read<C: Contents>(
    path: &Path,
    mut take: impl FnMut(Vec<Write<C::Table>>) -> Result<(), BackupError>,
) -> Result<C, BackupError> {
    let mut contents = C::default();
    let bytes = file::read(path, C::HEADER, |entries| {
        let mut writes = Vec::with_capacity(entries.len());
        for (tag, key, value) in entries {
            let table = C::Table::ALL.iter().find(|table| table.tag() == tag);
            let path = path.to_owned();
            let table = *table.ok_or(BackupError::NoBackup { path })?;
            contents.count(table);
            let effect = Effect::Put(value);
            writes.push(Write { table, key, effect });
        }
        take(writes)
    })?;
    Ok(contents.with_size(bytes))
}
