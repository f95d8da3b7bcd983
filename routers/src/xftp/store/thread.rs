//! The thread that owns a store.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use simplex_sans_io::xftp::router::store::{Change, Load, Loaded};
use simplex_sans_io::xftp::router::{LoadId, OpId};
use tokio::sync::{mpsc, oneshot};

use super::{Snapshot, Store, StoreError, Table};
use crate::store::engine::Engine;

/// What a store is told to do.
#[derive(Debug)]
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

enum Message {
    Command(Command),
    Snapshot(oneshot::Sender<Result<Box<Snapshot>, StoreError>>),
}

/// The most commands that are taken at once.
const DRAIN: usize = 1024;

/// The mailbox of a store.
#[derive(Debug, Clone)]
pub struct StoreHandle(mpsc::UnboundedSender<Message>);

impl StoreHandle {
    /// Gives a command to the store. What is asked of it is bounded by what its router has in flight.
    pub fn send(&self, command: Command) -> bool {
        self.0.send(Message::Command(command)).is_ok()
    }

    /// What there is now, for a backup.
    pub async fn snapshot(&self) -> Result<Box<Snapshot>, StoreError> {
        let closed = || StoreError::Broken("its thread has ended".to_owned());
        let (sender, snapshot) = oneshot::channel();
        let sent = self.0.send(Message::Snapshot(sender));
        sent.map_err(|_| closed())?;
        snapshot.await.map_err(|_| closed())?
    }
}

/// A store that works in a thread of its own.
#[derive(Debug)]
pub struct StoreThread(JoinHandle<Result<(), StoreError>>);

impl StoreThread {
    /// Starts the thread. It ends, after all that was sent before, when the last handle is dropped.
    ///
    /// `answer` is called in the thread for every answer, in order, and must not block.
    pub fn start<E: Engine<Table> + 'static>(
        store: Store<E>,
        answer: impl FnMut(Answer) + Send + 'static,
    ) -> Result<(Self, StoreHandle), StoreError> {
        let (sender, received) = mpsc::unbounded_channel();
        let worker = Worker {
            store,
            answer,
            unsynced: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("xftp-store".to_owned())
            .spawn(move || worker.run(received))
            .map_err(StoreError::io("started", "the store's thread".as_ref()))?;
        Ok((Self(thread), StoreHandle(sender)))
    }

    /// Waits until the store has done everything, and is closed. All handles must have been dropped.
    pub fn join(self) -> Result<(), StoreError> {
        let died = |_| StoreError::Broken("its thread has died".to_owned());
        self.0.join().map_err(died)?
    }
}

struct Worker<E, A> {
    store: Store<E>,
    answer: A,
    /// What was done and is not durable.
    unsynced: Vec<Unsynced>,
}

enum Unsynced {
    Applied(OpId, OpId),
    /// It may have found what is not durable.
    Loaded(LoadId, Loaded),
}

impl<E: Engine<Table>, A: FnMut(Answer)> Worker<E, A> {
    fn run(mut self, mut received: mpsc::UnboundedReceiver<Message>) -> Result<(), StoreError> {
        let mut drained = Vec::with_capacity(DRAIN);
        while received.blocking_recv_many(&mut drained, DRAIN) > 0 {
            let (mut ops, mut commits) = (Vec::new(), Vec::new());
            for message in drained.drain(..) {
                match message {
                    Message::Command(Command::Commit(op, changes)) => {
                        ops.push(op);
                        commits.push(changes);
                    }
                    Message::Command(Command::Load(id, load)) => {
                        self.apply(&mut ops, &mut commits);
                        self.load(id, &load);
                    }
                    Message::Snapshot(sender) => {
                        self.apply(&mut ops, &mut commits);
                        self.sync();
                        // Whoever has asked may not want it any more.
                        sender.send(self.guarded(Store::snapshot)).ok();
                    }
                }
            }
            self.apply(&mut ops, &mut commits);
            self.sync();
        }
        self.store.close()
    }

    fn apply(&mut self, ops: &mut Vec<OpId>, commits: &mut Vec<Vec<Change>>) {
        let (ops, commits) = (std::mem::take(ops), std::mem::take(commits));
        let (Some(first), Some(last)) = (ops.first(), ops.last()) else {
            return;
        };
        match self.guarded(|store| store.apply(&commits)) {
            Ok(()) => self.unsynced.push(Unsynced::Applied(*first, *last)),
            Err(error) => {
                self.sync();
                self.not_stored(*first, *last, &Arc::new(error));
            }
        }
    }

    fn load(&mut self, id: LoadId, load: &Load) {
        let loaded = self.guarded(|store| store.load(load));
        let loaded = loaded.unwrap_or_else(|error| {
            tracing::error!(%error, "what is stored cannot be read");
            Loaded::Failed
        });
        match self.unsynced.is_empty() {
            true => (self.answer)(Answer::Loaded(id, loaded)),
            false => self.unsynced.push(Unsynced::Loaded(id, loaded)),
        }
    }

    /// Makes durable what was carried out, then tells what waited for it.
    fn sync(&mut self) {
        if self.unsynced.is_empty() {
            return;
        }
        let synced = self.guarded(Store::sync).map_err(Arc::new);
        for unsynced in std::mem::take(&mut self.unsynced) {
            match (unsynced, &synced) {
                (Unsynced::Applied(_, last), Ok(())) => (self.answer)(Answer::Stored(last)),
                (Unsynced::Loaded(id, loaded), Ok(())) => (self.answer)(Answer::Loaded(id, loaded)),
                (Unsynced::Applied(first, last), Err(error)) => self.not_stored(first, last, error),
                (Unsynced::Loaded(id, _), Err(_)) => {
                    (self.answer)(Answer::Loaded(id, Loaded::Failed));
                }
            }
        }
    }

    fn not_stored(&mut self, first: OpId, last: OpId, error: &Arc<StoreError>) {
        tracing::error!(%error, "commits {} to {} are not stored", first.0, last.0);
        (self.answer)(Answer::NotStored(first, last, Arc::clone(error)));
    }

    /// A panic of the engine is an error like any other.
    fn guarded<T>(
        &mut self,
        work: impl FnOnce(&mut Store<E>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        catch_unwind(AssertUnwindSafe(|| work(&mut self.store)))
            .unwrap_or_else(|_| Err(StoreError::Broken("the engine has panicked".to_owned())))
    }
}
