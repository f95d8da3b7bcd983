//! Copies of a store: the [format](crate::backup) is that of all routers.

use std::fmt;
use std::path::Path;

use super::{EmbeddedStore, Options, Snapshot, Store as _, StoreError, StoreHandle, Table};
use crate::backup::{self, Copied, Header};

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

impl backup::Contents for Contents {
    type Table = Table;
    const HEADER: Header = b"simplex smp-server store";

    fn count(&mut self, table: Table) {
        self.entries = self.entries.saturating_add(1);
        let number = match table {
            Table::Queues => &mut self.queues,
            Table::Messages => &mut self.messages,
            Table::Ids
            | Table::Positions
            | Table::Notifications
            | Table::Index
            | Table::Services
            | Table::State => return,
        };
        *number = number.saturating_add(1);
    }

    fn with_size(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    fn try_store(directory: &Path) -> Result<(), StoreError> {
        let store = EmbeddedStore::open(directory, Options::default())?;
        Box::new(store).close()
    }
}

impl Copied for StoreHandle {
    type Contents = Contents;

    async fn moment(&self) -> Result<Box<Snapshot>, StoreError> {
        self.snapshot().await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::backup::{BackupError, CHUNK, backup, restore, verify};
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
        let contents = backup::<Contents>(&*moment, &path).unwrap();
        assert_eq!(contents.bytes, fs::metadata(&path).unwrap().len());
        assert_eq!(contents.queues, then.known().queues.len() as u64);
        assert_eq!(contents.messages, then.known().messages.len() as u64);
        assert_eq!(verify::<Contents>(&path).unwrap(), contents);
        assert!(matches!(
            backup::<Contents>(&*moment, &path),
            Err(BackupError::Exists { .. })
        ));
        let restored = directory.path().join("store");
        assert_eq!(restore::<Contents>(&path, &restored).unwrap(), contents);
        assert!(matches!(
            restore::<Contents>(&path, &restored),
            Err(BackupError::Exists { .. })
        ));
        let mut store = EmbeddedStore::open(&restored, Options::default()).unwrap();
        // And a backup of the restored one is the same.
        let moment = store.snapshot().unwrap();
        let again = directory.path().join("again");
        assert_eq!(
            backup::<Contents>(&*moment, &again).unwrap().entries,
            contents.entries
        );
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
        backup::<Contents>(&*store.snapshot().unwrap(), &path).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() > 2 * CHUNK, "more than one chunk");
        for at in (0..bytes.len()).step_by(bytes.len() / 20) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            fs::write(&path, damaged).unwrap();
            assert!(verify::<Contents>(&path).is_err(), "at {at}");
            fs::write(&path, &bytes[..at]).unwrap();
            assert!(
                matches!(
                    verify::<Contents>(&path),
                    Err(BackupError::Unfinished { .. })
                ),
                "at {at}"
            );
        }
        let target = directory.path().join("store");
        assert!(restore::<Contents>(&path, &target).is_err());
        assert!(!target.exists());
    }
}
