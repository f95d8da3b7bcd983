//! Disks that are full, or that fail: the commits of that time fail, and later ones are stored.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use proptest::prelude::*;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::router::store::{
    Change, FORMAT, Load, MessageRecord, Position, QueueRecord,
};
use simplex_sans_io::wire::Sample as _;

use super::scenario::Scenario;
use super::{EmbeddedStore, InDirectory, Options, Store, StoreError, Subject as _, check};
use crate::smp::store::{Memory, Snapshot};
use crate::smp::store::{Records, SyncPolicy, Table};
use crate::store::engine::{Engine, Entries, Write};

/// When an engine fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Never,
    /// Nothing is written.
    BeforeWrite,
    /// Everything is written, which is not known.
    AfterWrite,
    /// What was written is lost.
    Sync,
}

/// An engine that fails when it is told to, and forgets what was not made durable.
struct Faulty {
    entries: Memory,
    durable: Memory,
    fault: Fault,
}

impl Faulty {
    fn full() -> StoreError {
        StoreError::Full {
            path: "disk".into(),
        }
    }
}

impl Engine<Table> for Faulty {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.entries.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], before: &[u8]) -> Entries<'_> {
        self.entries.scan(table, from, before)
    }

    fn write(&mut self, writes: Vec<Write<Table>>) -> Result<(), StoreError> {
        match std::mem::replace(&mut self.fault, Fault::Never) {
            Fault::BeforeWrite => return Err(Self::full()),
            Fault::AfterWrite => {
                self.entries.write(writes)?;
                self.durable = self.entries.clone();
                return Err(Self::full());
            }
            fault @ (Fault::Never | Fault::Sync) => self.fault = fault,
        }
        self.entries.write(writes)
    }

    fn sync(&mut self, _: u64) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.fault, Fault::Never) == Fault::Sync {
            return Err(Self::full());
        }
        self.durable = self.entries.clone();
        Ok(())
    }

    fn policy(&self) -> SyncPolicy {
        SyncPolicy::Batch
    }

    fn promised(&self) -> u64 {
        0
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.entries = self.durable.clone();
        Ok(())
    }

    fn lost(&self, _: u64, _: u64) -> StoreError {
        Self::full()
    }

    fn snapshot(&self) -> Result<Box<Snapshot>, StoreError> {
        self.entries.snapshot()
    }

    fn close(self) -> Result<(), StoreError> {
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_group_that_fails_is_stored_or_not_and_later_ones_are(
        seed: [u8; 32],
        faults in prop::collection::vec(prop::sample::select(vec![
            Fault::Never, Fault::BeforeWrite, Fault::AfterWrite, Fault::Sync,
        ]), 1..12),
    ) {
        let engine = Faulty { entries: Memory::default(), durable: Memory::default(), fault: Fault::Never };
        let mut store = Records::new(engine).unwrap();
        let mut scenario = Scenario::new(seed);
        for fault in faults {
            let before = scenario.clone();
            let group: Vec<Vec<Change>> = (0..5).map(|_| scenario.commit()).collect();
            store.engine.fault = fault;
            let committed = store.commit(&group);
            prop_assert_eq!(committed.is_err(), fault != Fault::Never);
            if matches!(fault, Fault::BeforeWrite | Fault::Sync) {
                scenario = before.clone();
            }
            for question in scenario.questions(before.known()) {
                check(&mut store, &scenario.model, &question);
            }
        }
    }
}

#[test]
fn a_message_after_a_queue_or_message_that_was_not_stored_is_refused() {
    let mut subject = InDirectory::new();
    let rng = &mut Rng::from_seed([1; 32]);
    let queue = QueueRecord::sample(FORMAT, rng);
    let message = MessageRecord::sample(FORMAT, rng);
    let put = |sequence| Change::PutMessage {
        queue: queue.recipient_id.clone(),
        sequence,
        message: message.clone(),
        position: Position {
            tail: sequence + 1,
            ..Position::default()
        },
    };
    let put_queue = Change::PutQueue {
        queue: Box::new(queue.clone()),
        removed: Vec::new(),
    };
    let mut commit = |changes| subject.with(|store| store.commit(&[changes]));
    let error = commit(vec![put(0)]).unwrap_err();
    assert!(matches!(error, StoreError::NoQueue));
    commit(vec![put_queue, put(0)]).unwrap();
    let error = commit(vec![put(2)]).unwrap_err();
    let expected = "a message has place 2, but the next one is 1: one before it was not stored";
    assert_eq!(error.to_string(), expected);
    commit(vec![put(1)]).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_that_says_so() {
    let error = EmbeddedStore::open(Path::new("/proc/store"), Options::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/proc/store cannot be made: "),
        "{error}"
    );
}

/// A file system of a few megabytes.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn new(options: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["-t", "tmpfs", "-o", options, "tmpfs"];
        let mounted = Command::new("mount")
            .args(arguments)
            .arg(directory.path())
            .status();
        assert!(mounted.unwrap().success());
        Self(directory)
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(self.0.path())
            .status()
            .unwrap();
    }
}

#[test]
#[ignore = "mounts a file system, which needs root; files that cannot grow are tested without"]
fn when_the_disk_is_full_commits_fail_until_there_is_room() {
    let disk = Tiny::new("size=24m");
    let filler = disk.0.path().join("filler");
    let path = disk.0.path().join("store");
    let mut store = Box::new(EmbeddedStore::open(&path, Options::default()).unwrap());
    let mut scenario = Scenario::new([7; 32]).with_bodies(16_000);
    let commit = |store: &mut EmbeddedStore, scenario: &mut Scenario| {
        let before = scenario.clone();
        let group: Vec<_> = (0..20).map(|_| scenario.commit()).collect();
        let result = store.commit(&group);
        if result.is_err() {
            *scenario = before;
        }
        result
    };
    for round in 0..3 {
        commit(&mut store, &mut scenario).unwrap();
        // All that is left, but for a few pages.
        std::fs::write(&filler, vec![1; 64 << 20]).unwrap_err();
        let mut failures = 0;
        while failures < 4 {
            match commit(&mut store, &mut scenario) {
                Err(StoreError::Full { .. } | StoreError::Broken(_)) => failures += 1,
                Err(error) => panic!("{error}"),
                Ok(()) => {}
            }
        }
        std::fs::remove_file(&filler).unwrap();
        let before = scenario.known().clone();
        let result = commit(&mut store, &mut scenario);
        assert!(result.is_ok(), "round {round}: {result:?}");
        for question in scenario.questions(&before) {
            check(&mut *store, &scenario.model, &question);
        }
    }
    let before = scenario.known().clone();
    store.close().unwrap();
    let mut store = EmbeddedStore::open(&path, Options::default()).unwrap();
    for question in scenario.questions(&before) {
        check(&mut store, &scenario.model, &question);
    }
    assert!(store.load(&Load::Totals).is_ok());
}

#[test]
fn a_store_that_is_closed_starts_without_a_journal_and_has_everything() {
    let directory = tempfile::tempdir().unwrap();
    let mut scenario = Scenario::new([3; 32]).with_bodies(2000);
    for round in 0..4 {
        let mut store = EmbeddedStore::open(directory.path(), Options::default()).unwrap();
        assert_eq!(store.verify(&mut |fault| println!("{fault}")).unwrap(), 0);
        let before = scenario.known().clone();
        for question in scenario.questions(&before) {
            check(&mut store, &scenario.model, &question);
        }
        for _ in 0..50 {
            let commit = scenario.commit();
            store.commit(&[commit]).unwrap();
        }
        if round == 2 {
            // One that is not closed leaves its journal.
            store.sync().unwrap();
            drop(store);
            continue;
        }
        Box::new(store).close().unwrap();
        let data = std::fs::read_dir(directory.path().join("data")).unwrap();
        let journals = data.map(|entry| entry.unwrap()).filter(|entry| {
            let path = entry.path();
            path.extension().is_some_and(|extension| extension == "jnl")
        });
        let sizes: Vec<_> = journals
            .map(|entry| entry.metadata().unwrap().len())
            .collect();
        assert_eq!(sizes, [0]);
    }
}

#[test]
fn a_store_that_was_not_finished_when_it_was_made_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let unfinished = directory.path().join("data.new");
    std::fs::create_dir(&unfinished).unwrap();
    std::fs::write(unfinished.join("0.jnl"), b"half").unwrap();
    let options = Options::default();
    for _ in 0..2 {
        let store = EmbeddedStore::open(directory.path(), options).unwrap();
        Store::close(Box::new(store)).unwrap();
        assert!(!unfinished.exists());
    }
}
