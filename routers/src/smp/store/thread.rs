//! The thread that owns a store.
//!
//! ```text
//!   send(Commit) ─┐                  ┌ commits that wait ─▶ apply ─┐
//!   send(Load)  ──┴─▶ mailbox ─▶ drain                             ├─▶ sync ─▶ answers, in order
//!                                    └ loads ─────────────▶ load ──┘
//! ```
//! The thread takes what waits in its mailbox, at most so much that the first does not wait long for the last, and carries it out in
//! order. Commits that stand together are one group; one `fsync` covers all groups. Answers leave in the order of what was asked: what
//! a load has found is told when the commits before it are durable.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use simplex_sans_io::smp::router::store::{Change, Load, Loaded};
use simplex_sans_io::smp::router::{LoadId, OpId};
use tokio::sync::{mpsc, oneshot};

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

/// The most commands that are drained at once.
const DRAIN: usize = 1024;

/// The store is closed, or its thread has died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed")]
pub struct Closed;

/// The mailbox of a store.
#[derive(Debug, Clone)]
pub struct StoreHandle {
    mailbox: mpsc::Sender<Message>,
    metrics: Arc<Metrics>,
}

/// What reaches the thread.
enum Message {
    Command(Command),
    Snapshot(oneshot::Sender<Result<Box<Snapshot>, StoreError>>),
}

impl StoreHandle {
    /// Gives a command to the store; waits while the mailbox is full.
    pub async fn send(&self, command: Command) -> Result<(), Closed> {
        let message = Message::Command(command);
        self.mailbox.send(message).await.map_err(|_| Closed)
    }

    /// The same, for threads.
    pub fn blocking_send(&self, command: Command) -> Result<(), Closed> {
        let message = Message::Command(command);
        self.mailbox.blocking_send(message).map_err(|_| Closed)
    }

    /// Everything that was sent before, durable, as it is now: for a backup, which another thread can make while the store goes on.
    pub async fn snapshot(&self) -> Result<Box<Snapshot>, StoreError> {
        let closed = || StoreError::Broken(Closed.to_string());
        let (sender, snapshot) = oneshot::channel();
        let sent = self.mailbox.send(Message::Snapshot(sender)).await;
        sent.map_err(|_| closed())?;
        snapshot.await.map_err(|_| closed())?
    }

    /// What was measured so far.
    #[must_use]
    pub fn metrics(&self) -> MetricsSnapshot {
        self.metrics.snapshot()
    }
}

/// A store that works in a thread of its own.
#[derive(Debug)]
pub struct StoreThread {
    thread: JoinHandle<Result<(), StoreError>>,
}

impl StoreThread {
    /// Starts the thread. It ends, after all that was sent before, when the last handle is dropped.
    ///
    /// `answer` is called in the thread for every answer, in order, and must not block.
    pub fn start(
        store: Box<dyn Store>,
        mailbox: usize,
        answer: impl FnMut(Answer) + Send + 'static,
    ) -> Result<(Self, StoreHandle), StoreError> {
        let (mailbox, received) = mpsc::channel(mailbox.max(1));
        let metrics = Arc::<Metrics>::default();
        let worker = Worker {
            policy: store.policy(),
            store,
            answer: Box::new(answer),
            metrics: Arc::clone(&metrics),
            unsynced: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("smp-store".to_owned())
            .spawn(move || worker.run(received))
            .map_err(StoreError::io("started", "the store's thread".as_ref()))?;
        Ok((Self { thread }, StoreHandle { mailbox, metrics }))
    }

    /// Waits until the store has done everything and is closed. All handles must have been dropped.
    pub fn join(self) -> Result<(), StoreError> {
        let died = |_| StoreError::Broken("its thread has died".to_owned());
        self.thread.join().map_err(died)?
    }
}

struct Worker {
    store: Box<dyn Store>,
    policy: SyncPolicy,
    answer: Box<dyn FnMut(Answer) + Send>,
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
    fn run(mut self, mut received: mpsc::Receiver<Message>) -> Result<(), StoreError> {
        let mut drained = Vec::with_capacity(DRAIN);
        while received.blocking_recv_many(&mut drained, DRAIN) > 0 {
            self.work(&mut drained);
        }
        self.store.close()
    }

    fn work(&mut self, drained: &mut Vec<Message>) {
        let mut ops = Vec::new();
        let mut commits = Vec::new();
        for message in drained.drain(..) {
            match message {
                Message::Command(Command::Commit(op, changes)) => {
                    ops.push(op);
                    commits.push(changes);
                    if self.policy == SyncPolicy::Always {
                        self.apply(&mut ops, &mut commits);
                        self.sync();
                    }
                }
                Message::Command(Command::Load(id, load)) => {
                    self.apply(&mut ops, &mut commits);
                    self.load(id, &load);
                }
                Message::Snapshot(sender) => {
                    self.apply(&mut ops, &mut commits);
                    self.sync();
                    // Whoever has asked may not want it any more.
                    sender.send(self.guarded(|store| store.snapshot())).ok();
                }
            }
        }
        self.apply(&mut ops, &mut commits);
        self.sync();
    }

    /// One group. What cannot be stored must not keep the others from being stored.
    fn apply(&mut self, ops: &mut Vec<OpId>, commits: &mut Vec<Vec<Change>>) {
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
                        Err(error) => self.not_stored(*op, *op, error),
                    }
                }
            }
            Err(error) => self.not_stored(*first, *last, error),
        }
    }

    fn applied(&mut self, first: OpId, last: OpId) {
        self.unsynced.push(Unsynced::Applied(first, last));
    }

    fn not_stored(&mut self, first: OpId, last: OpId, error: StoreError) {
        self.sync();
        self.tell_not_stored(first, last, &Arc::new(error));
    }

    fn tell_not_stored(&mut self, first: OpId, last: OpId, error: &Arc<StoreError>) {
        tracing::error!(%error, "commits {} to {} are not stored", first.0, last.0);
        self.metrics.failures.fetch_add(1, Ordering::Relaxed);
        (self.answer)(Answer::NotStored(first, last, Arc::clone(error)));
    }

    /// Makes durable what was applied, then tells what waited for it.
    fn sync(&mut self) {
        if self.unsynced.is_empty() {
            return;
        }
        let started = Instant::now();
        let synced = self.guarded(|store| store.sync()).map_err(Arc::new);
        self.metrics.synced(started);
        for unsynced in std::mem::take(&mut self.unsynced) {
            match (unsynced, &synced) {
                (Unsynced::Applied(_, last), Ok(())) => (self.answer)(Answer::Stored(last)),
                (Unsynced::Loaded(id, loaded), Ok(())) => (self.answer)(Answer::Loaded(id, loaded)),
                (Unsynced::Applied(first, last), Err(error)) => {
                    self.tell_not_stored(first, last, error);
                }
                // It may have found what is not stored.
                (Unsynced::Loaded(id, _), Err(_)) => {
                    (self.answer)(Answer::Loaded(id, Loaded::Failed));
                }
            }
        }
    }

    fn load(&mut self, id: LoadId, load: &Load) {
        let started = Instant::now();
        let loaded = self.guarded(|store| store.load(load));
        self.metrics.loaded(started);
        let loaded = loaded.unwrap_or_else(|error| {
            tracing::error!(%error, "a load has failed");
            self.metrics.failures.fetch_add(1, Ordering::Relaxed);
            Loaded::Failed
        });
        if self.unsynced.is_empty() {
            (self.answer)(Answer::Loaded(id, loaded));
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
struct Metrics {
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

    fn snapshot(&self) -> MetricsSnapshot {
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
    use std::sync::mpsc::{Receiver, channel};

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

    fn worker(sync: Vec<bool>) -> (Worker, Receiver<Answer>) {
        let (answers, received) = channel();
        let worker = Worker {
            store: Box::new(Failing {
                store: MemoryStore::in_memory(),
                sync,
            }),
            policy: SyncPolicy::Batch,
            answer: Box::new(move |answer| answers.send(answer).unwrap()),
            metrics: Arc::default(),
            unsynced: Vec::new(),
        };
        (worker, received)
    }

    fn told(received: &Receiver<Answer>) -> Vec<String> {
        let text = |answer| match answer {
            Answer::Stored(op) => format!("stored {}", op.0),
            Answer::NotStored(first, last, _) => format!("not stored {}-{}", first.0, last.0),
            Answer::Loaded(_, Loaded::Failed) => "load failed".to_owned(),
            Answer::Loaded(_, Loaded::Totals(totals)) => {
                let statistics = totals.statistics.unwrap_or_default();
                format!("loaded {}", String::from_utf8_lossy(&statistics))
            }
            Answer::Loaded(..) => unreachable!("only totals are loaded"),
        };
        received.try_iter().map(text).collect()
    }

    fn put(op: u64, text: &'static str) -> Command {
        Command::Commit(OpId(op), statistics(text))
    }

    fn commit(op: u64, text: &'static str) -> Message {
        Message::Command(put(op, text))
    }

    const TOTALS: Message = Message::Command(Command::Load(LoadId(0), Load::Totals));

    #[test]
    fn a_load_sees_what_comes_before_it_and_is_told_between_the_commits_around_it() {
        let (mut worker, received) = worker(Vec::new());
        let commands = [
            TOTALS,
            commit(1, "a"),
            commit(2, "b"),
            TOTALS,
            commit(3, "c"),
        ];
        worker.work(&mut commands.into());
        let expected = ["loaded ", "stored 2", "loaded b", "stored 3"];
        assert_eq!(told(&received), expected);
        assert_eq!(worker.metrics.snapshot().syncs, 1);
        assert_eq!(worker.metrics.snapshot().largest_group, 2);
    }

    #[test]
    fn what_cannot_be_made_durable_is_not_stored_and_what_was_loaded_of_it_is_not_told() {
        let (mut worker, received) = worker(vec![true, false]);
        worker.work(&mut vec![commit(1, "a"), TOTALS, commit(2, "b")]);
        let expected = ["not stored 1-1", "load failed", "not stored 2-2"];
        assert_eq!(told(&received), expected);
        worker.work(&mut vec![commit(3, "c")]);
        assert_eq!(told(&received), ["stored 3"]);
    }

    #[test]
    fn one_commit_that_is_refused_does_not_take_its_group_with_it() {
        let (mut worker, received) = worker(Vec::new());
        let refused = Message::Command(Command::Commit(OpId(2), Vec::new()));
        worker.work(&mut vec![commit(1, "a"), refused, commit(3, "c"), TOTALS]);
        let expected = ["stored 1", "not stored 2-2", "stored 3", "loaded c"];
        assert_eq!(told(&received), expected);
    }

    #[test]
    fn the_thread_does_everything_and_ends_with_its_last_handle() {
        let (answers, received) = channel();
        let store = Box::new(MemoryStore::in_memory());
        let answer = move |answer| answers.send(answer).unwrap();
        let (thread, handle) = StoreThread::start(store, 4, answer).unwrap();
        for op in 1..=20 {
            handle.blocking_send(put(op, "a")).unwrap();
        }
        let totals = Command::Load(LoadId(0), Load::Totals);
        handle.blocking_send(totals).unwrap();
        assert!(handle.metrics().failures == 0);
        drop(handle);
        thread.join().unwrap();
        let told = told(&received);
        assert_eq!(told[told.len() - 2..], ["stored 20", "loaded a"]);
    }
}
