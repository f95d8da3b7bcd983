//! Copies of a store: the [format](crate::backup) is that of all routers.

use std::fmt;
use std::path::Path;

use super::{Embedded, EmbeddedStore, Options, Snapshot, Store as _, Table};
use crate::backup::{self, Header};
use crate::store::engine::{self, Effect, Engine as _};

pub use crate::backup::BackupError;

const HEADER: Header = b"simplex smp-server store";

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
        let mut store = Embedded::open(part, Options::default()).map_err(BackupError::store)?;
        contents = read(from, |writes| {
            store.write(writes).map_err(BackupError::store)
        })?;
        store.sync(0).map_err(BackupError::store)?;
        store.close().map_err(BackupError::store)?;
        // It is opened as it will be used before it gets its name.
        EmbeddedStore::open(part, Options::default())
            .and_then(|store| Box::new(store).close())
            .map_err(BackupError::store)
    })?;
    Ok(contents)
}

/// Reads a backup, and passes it on in groups.
fn read(
    path: &Path,
    mut take: impl FnMut(Vec<engine::Write<Table>>) -> Result<(), BackupError>,
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
            writes.push(engine::Write { table, key, effect });
        }
        take(writes)
    })?;
    Ok(Contents { bytes, ..contents })
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::backup::CHUNK;
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
