//! What every store must do. The same tests run on each.

mod crash;
mod faults;
mod scenario;

pub(crate) use self::scenario::Scenario;

use std::path::Path;

use proptest::prelude::*;
use simplex_sans_io::sim::store::{Contents, FakeStore};
use simplex_sans_io::smp::router::store::{Change, Load, Loaded};
use simplex_sans_io::wire::EntityId;

use super::{EmbeddedStore, MemoryStore, Options, Store, StoreError, SyncPolicy};

const QUICK: Options = Options {
    policy: SyncPolicy::Os,
    cache_bytes: 1 << 20,
};

/// A store that can be closed and opened again.
trait Subject {
    fn with<T>(&mut self, work: impl FnOnce(&mut dyn Store) -> T) -> T;
    fn reopen(&mut self);
}

struct InMemory(MemoryStore);

impl Subject for InMemory {
    fn with<T>(&mut self, work: impl FnOnce(&mut dyn Store) -> T) -> T {
        work(&mut self.0)
    }

    fn reopen(&mut self) {}
}

struct InDirectory {
    directory: tempfile::TempDir,
    store: Option<Box<EmbeddedStore>>,
}

impl InDirectory {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Some(open(directory.path()));
        Self { directory, store }
    }
}

fn open(path: &Path) -> Box<EmbeddedStore> {
    Box::new(EmbeddedStore::open(path, QUICK).unwrap())
}

impl Subject for InDirectory {
    fn with<T>(&mut self, work: impl FnOnce(&mut dyn Store) -> T) -> T {
        work(&mut **self.store.as_mut().unwrap())
    }

    fn reopen(&mut self) {
        self.store.take().unwrap().close().unwrap();
        self.store = Some(open(self.directory.path()));
    }
}

pub(crate) fn check(store: &mut dyn Store, model: &FakeStore, question: &Load) {
    let answer = store.load(question).unwrap();
    match question {
        Load::Expired { limit, .. } | Load::ExpiredNotifications { limit, .. } => {
            let (Loaded::Ids(found), Loaded::Ids(all)) =
                (&answer, model.load(&unlimited(question)))
            else {
                panic!("{answer:?}");
            };
            let known = |id: &EntityId| all.contains(id);
            assert!(
                found.iter().all(known),
                "{question:?}: {found:?} of {all:?}"
            );
            assert_eq!(
                found.len(),
                all.len().min(*limit),
                "{question:?}: {found:?} of {all:?}"
            );
        }
        Load::Queue(..)
        | Load::Messages { .. }
        | Load::Notifications(_)
        | Load::Service(_)
        | Load::ServiceQueues { .. }
        | Load::Totals => assert_eq!(answer, model.load(question), "{question:?}"),
    }
}

fn unlimited(question: &Load) -> Load {
    let mut question = question.clone();
    if let Load::Expired { limit, .. } | Load::ExpiredNotifications { limit, .. } = &mut question {
        *limit = usize::MAX;
    }
    question
}

/// Random commits, in groups; now and then everything is asked for, and the store is opened again.
fn follows_the_model(subject: &mut impl Subject, seed: [u8; 32], groups: &[u8]) {
    let mut scenario = Scenario::new(seed);
    let mut before = Contents::default();
    for size in groups {
        let group: Vec<Vec<Change>> = (0..*size).map(|_| scenario.commit()).collect();
        subject.with(|store| store.commit(&group)).unwrap();
        if size % 3 == 0 {
            subject.reopen();
        }
        for question in scenario.questions(&before) {
            subject.with(|store| check(store, &scenario.model, &question));
        }
        before = scenario.known().clone();
    }
}

proptest! {
    #[test]
    fn a_store_in_memory_follows_the_model(seed: [u8; 32], groups in prop::collection::vec(0..20_u8, 0..12)) {
        follows_the_model(&mut InMemory(MemoryStore::in_memory()), seed, &groups);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_store_in_a_directory_follows_the_model(seed: [u8; 32], groups in prop::collection::vec(0..20_u8, 0..12)) {
        follows_the_model(&mut InDirectory::new(), seed, &groups);
    }
}

#[test]
fn nobody_else_looks_into_a_store() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data/store");
    drop(open(&path));
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_second_store_in_the_same_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path());
    let second = EmbeddedStore::open(directory.path(), QUICK).unwrap_err();
    let own = std::process::id();
    assert!(matches!(second, StoreError::InUse { pid: Some(pid), .. } if pid == own));
    assert!(
        second.to_string().contains(&format!("by process {own}")),
        "{second}"
    );
    first.close().unwrap();
    open(directory.path());
}
