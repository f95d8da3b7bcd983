//! What a store is told to do, and how it is done: in order, in groups, with one `fsync` for all that was told together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use simplex_sans_io::smp::router::store::{Change, Load, Loaded};
use simplex_sans_io::smp::router::{LoadId, OpId};

use super::{Snapshot, Store, StoreError, SyncPolicy};

/// What a store is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Store these changes, together or not at all.
    Commit(OpId, Vec<Change>),
    /// Answer this.
    Load(LoadId, Load),
}

/// What a store has done.
#[derive(Debug)]
pub enum Answer {
    /// Everything up to this commit is stored.
    Stored(OpId),
    /// Everything from the first to the second commit could not be stored.
    NotStored(OpId, OpId, Arc<StoreError>),
    /// What a load has found.
    Loaded(LoadId, Loaded),
}

/// Carries out commands on a store.
pub struct Worker {
    store: Box<dyn Store>,
    policy: SyncPolicy,
    metrics: Arc<Metrics>,
    /// What is told after the next `fsync`; a load is in it only after a commit.
    unsynced: Vec<Unsynced>,
}

enum Unsynced {
    /// Commits that are applied, the first and the last.
    Applied(OpId, OpId),
    /// What was found after they were applied.
    Loaded(LoadId, Loaded),
}

impl Worker {
    /// A worker on a store.
    #[must_use]
    pub fn new(store: Box<dyn Store>) -> Self {
        Self {
            policy: store.policy(),
            store,
            metrics: Arc::default(),
            unsynced: Vec::new(),
        }
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Makes everything durable and lets go of the store.
    pub fn close(self) -> Result<(), StoreError> {
        self.store.close()
    }

    /// What there is now.
    pub(super) fn snapshot(
        &mut self,
        answer: &mut dyn FnMut(Answer),
    ) -> Result<Box<Snapshot>, StoreError> {
        self.sync(answer);
        self.guarded(|store| store.snapshot())
    }

    /// Carries out commands. `answer` is called for every answer, in order.
    pub fn work(
        &mut self,
        commands: impl IntoIterator<Item = Command>,
        answer: &mut dyn FnMut(Answer),
    ) {
        let mut ops = Vec::new();
        let mut commits = Vec::new();
        for command in commands {
            match command {
                Command::Commit(op, changes) => {
                    ops.push(op);
                    commits.push(changes);
                    if self.policy == SyncPolicy::Always {
                        self.apply(&mut ops, &mut commits, answer);
                        self.sync(answer);
                    }
                }
                Command::Load(id, load) => {
                    self.apply(&mut ops, &mut commits, answer);
                    self.load(id, &load, answer);
                }
            }
        }
        self.apply(&mut ops, &mut commits, answer);
        self.sync(answer);
    }

    /// One group. What cannot be stored must not keep the others from being stored.
    fn apply(
        &mut self,
        ops: &mut Vec<OpId>,
        commits: &mut Vec<Vec<Change>>,
        answer: &mut dyn FnMut(Answer),
    ) {
        let (ops, commits) = (std::mem::take(ops), std::mem::take(commits));
        let (Some(first), Some(last)) = (ops.first(), ops.last()) else {
            return;
        };
        let started = Instant::now();
        match self.guarded(|store| store.apply(&commits)) {
            Ok(()) => {
                self.metrics.applied(commits.len(), started);
                self.applied(*first, *last);
            }
            Err(error) if error.concerns_one_commit() && commits.len() > 1 => {
                for (op, commit) in ops.iter().zip(&commits) {
                    match self.guarded(|store| store.apply(std::slice::from_ref(commit))) {
                        Ok(()) => self.applied(*op, *op),
                        Err(error) => self.not_stored(*op, *op, error, answer),
                    }
                }
            }
            Err(error) => self.not_stored(*first, *last, error, answer),
        }
    }

    fn applied(&mut self, first: OpId, last: OpId) {
        self.unsynced.push(Unsynced::Applied(first, last));
    }

    fn not_stored(
        &mut self,
        first: OpId,
        last: OpId,
        error: StoreError,
        answer: &mut dyn FnMut(Answer),
    ) {
        self.sync(answer);
        self.tell_not_stored(first, last, &Arc::new(error), answer);
    }

    fn tell_not_stored(
        &self,
        first: OpId,
        last: OpId,
        error: &Arc<StoreError>,
        answer: &mut dyn FnMut(Answer),
    ) {
        tracing::error!(%error, "commits {} to {} are not stored", first.0, last.0);
        self.metrics.failures.fetch_add(1, Ordering::Relaxed);
        answer(Answer::NotStored(first, last, Arc::clone(error)));
    }

    /// Makes durable what was applied, then tells what waited for it.
    fn sync(&mut self, answer: &mut dyn FnMut(Answer)) {
        if self.unsynced.is_empty() {
            return;
        }
        let started = Instant::now();
        let synced = self.guarded(|store| store.sync()).map_err(Arc::new);
        self.metrics.synced(started);
        for unsynced in std::mem::take(&mut self.unsynced) {
            match (unsynced, &synced) {
                (Unsynced::Applied(_, last), Ok(())) => answer(Answer::Stored(last)),
                (Unsynced::Loaded(id, loaded), Ok(())) => answer(Answer::Loaded(id, loaded)),
                (Unsynced::Applied(first, last), Err(error)) => {
                    self.tell_not_stored(first, last, error, answer);
                }
                // It may have found what is not stored.
                (Unsynced::Loaded(id, _), Err(_)) => {
                    answer(Answer::Loaded(id, Loaded::Failed));
                }
            }
        }
    }

    fn load(&mut self, id: LoadId, load: &Load, answer: &mut dyn FnMut(Answer)) {
        let started = Instant::now();
        let loaded = self.guarded(|store| store.load(load));
        self.metrics.loaded(started);
        let loaded = loaded.unwrap_or_else(|error| {
            tracing::error!(%error, "a load has failed");
            self.metrics.failures.fetch_add(1, Ordering::Relaxed);
            Loaded::Failed
        });
        if self.unsynced.is_empty() {
            answer(Answer::Loaded(id, loaded));
        } else {
            self.unsynced.push(Unsynced::Loaded(id, loaded));
        }
    }

    /// A panic of the engine is an error like any other.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(|| work(&mut *self.store)))
            .unwrap_or_else(|_| Err(StoreError::Broken("the engine has panicked".to_owned())))
    }
}

/// What is measured of a store.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    commits: AtomicU64,
    groups: AtomicU64,
    largest_group: AtomicU64,
    apply_micros: AtomicU64,
    syncs: AtomicU64,
    sync_micros: AtomicU64,
    slowest_sync_micros: AtomicU64,
    loads: AtomicU64,
    load_micros: AtomicU64,
    failures: AtomicU64,
}

/// What was measured of a store since it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MetricsSnapshot {
    /// Commits that were stored.
    pub commits: u64,
    /// Groups in which they were written.
    pub groups: u64,
    /// The most commits in one group.
    pub largest_group: u64,
    /// The time that writing took, in microseconds.
    pub apply_micros: u64,
    /// How often what was written was made durable.
    pub syncs: u64,
    /// The time that this took, in microseconds.
    pub sync_micros: u64,
    /// The longest time that it took once, in microseconds.
    pub slowest_sync_micros: u64,
    /// Loads that were answered.
    pub loads: u64,
    /// The time that they took, in microseconds.
    pub load_micros: u64,
    /// Commits and loads that have failed.
    pub failures: u64,
}

impl Metrics {
    fn applied(&self, commits: usize, started: Instant) {
        let commits = u64::try_from(commits).unwrap_or(u64::MAX);
        self.commits.fetch_add(commits, Ordering::Relaxed);
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.largest_group.fetch_max(commits, Ordering::Relaxed);
        self.apply_micros
            .fetch_add(micros(started), Ordering::Relaxed);
    }

    fn synced(&self, started: Instant) {
        let took = micros(started);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_micros.fetch_add(took, Ordering::Relaxed);
        self.slowest_sync_micros.fetch_max(took, Ordering::Relaxed);
    }

    fn loaded(&self, started: Instant) {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.load_micros
            .fetch_add(micros(started), Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> MetricsSnapshot {
        let get = |value: &AtomicU64| value.load(Ordering::Relaxed);
        MetricsSnapshot {
            commits: get(&self.commits),
            groups: get(&self.groups),
            largest_group: get(&self.largest_group),
            apply_micros: get(&self.apply_micros),
            syncs: get(&self.syncs),
            sync_micros: get(&self.sync_micros),
            slowest_sync_micros: get(&self.slowest_sync_micros),
            loads: get(&self.loads),
            load_micros: get(&self.load_micros),
            failures: get(&self.failures),
        }
    }
}

fn micros(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::store::{MemoryStore, Note};
    use bytes::Bytes;
    use simplex_sans_io::smp::router::store::{QueueRecord, ServiceRecord};
    use simplex_sans_io::wire::EntityId;

    /// A store that fails when it is told to.
    struct Failing {
        store: MemoryStore,
        sync: Vec<bool>,
    }

    impl Store for Failing {
        fn apply_noting(
            &mut self,
            commits: &[Vec<Change>],
            notes: &[Note],
        ) -> Result<(), StoreError> {
            match commits.iter().any(Vec::is_empty) {
                true => Err(StoreError::OutOfOrder {
                    sequence: 1,
                    expected: 0,
                }),
                false => self.store.apply_noting(commits, notes),
            }
        }

        fn note(&mut self, name: &str) -> Result<Option<Bytes>, StoreError> {
            self.store.note(name)
        }

        fn queues_after(
            &mut self,
            after: &EntityId,
            limit: usize,
        ) -> Result<Vec<QueueRecord>, StoreError> {
            self.store.queues_after(after, limit)
        }

        fn services(&mut self) -> Result<Vec<ServiceRecord>, StoreError> {
            self.store.services()
        }

        fn sync(&mut self) -> Result<(), StoreError> {
            match self.sync.pop() {
                Some(false) => Err(StoreError::Full {
                    path: "disk".into(),
                }),
                _ => Ok(()),
            }
        }

        fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
            self.store.load(load)
        }

        fn snapshot(&mut self) -> Result<Box<Snapshot>, StoreError> {
            self.store.snapshot()
        }

        fn policy(&self) -> SyncPolicy {
            SyncPolicy::Batch
        }

        fn close(self: Box<Self>) -> Result<(), StoreError> {
            Ok(())
        }
    }

    fn statistics(text: &'static str) -> Vec<Change> {
        vec![Change::PutStatistics(Bytes::from_static(text.as_bytes()))]
    }

    fn worker(sync: Vec<bool>) -> Worker {
        Worker::new(Box::new(Failing {
            store: MemoryStore::in_memory(),
            sync,
        }))
    }

    fn told(worker: &mut Worker, commands: impl IntoIterator<Item = Command>) -> Vec<String> {
        let mut told = Vec::new();
        worker.work(commands, &mut |answer| {
            told.push(match answer {
                Answer::Stored(op) => format!("stored {}", op.0),
                Answer::NotStored(first, last, _) => format!("not stored {}-{}", first.0, last.0),
                Answer::Loaded(_, Loaded::Failed) => "load failed".to_owned(),
                Answer::Loaded(_, Loaded::Totals(totals)) => {
                    let statistics = totals.statistics.unwrap_or_default();
                    format!("loaded {}", String::from_utf8_lossy(&statistics))
                }
                Answer::Loaded(..) => unreachable!("only totals are loaded"),
            });
        });
        told
    }

    fn commit(op: u64, text: &'static str) -> Command {
        Command::Commit(OpId(op), statistics(text))
    }

    const TOTALS: Command = Command::Load(LoadId(0), Load::Totals);

    #[test]
    fn a_load_sees_what_comes_before_it_and_is_told_between_the_commits_around_it() {
        let mut worker = worker(Vec::new());
        let commands = [
            TOTALS,
            commit(1, "a"),
            commit(2, "b"),
            TOTALS,
            commit(3, "c"),
        ];
        let expected = ["loaded ", "stored 2", "loaded b", "stored 3"];
        assert_eq!(told(&mut worker, commands), expected);
        assert_eq!(worker.metrics.snapshot().syncs, 1);
        assert_eq!(worker.metrics.snapshot().largest_group, 2);
    }

    #[test]
    fn what_cannot_be_made_durable_is_not_stored_and_what_was_loaded_of_it_is_not_told() {
        let mut worker = worker(vec![true, false]);
        let commands = [commit(1, "a"), TOTALS, commit(2, "b")];
        let expected = ["not stored 1-1", "load failed", "not stored 2-2"];
        assert_eq!(told(&mut worker, commands), expected);
        assert_eq!(told(&mut worker, [commit(3, "c")]), ["stored 3"]);
    }

    #[test]
    fn one_commit_that_is_refused_does_not_take_its_group_with_it() {
        let mut worker = worker(Vec::new());
        let refused = Command::Commit(OpId(2), Vec::new());
        let commands = [commit(1, "a"), refused, commit(3, "c"), TOTALS];
        let expected = ["stored 1", "not stored 2-2", "stored 3", "loaded c"];
        assert_eq!(told(&mut worker, commands), expected);
    }
}
