//! The thread that owns a store.

use std::thread::JoinHandle;

use simplex_sans_io::xftp::router::store::{Change, Load, Loaded};
use simplex_sans_io::xftp::router::{LoadId, OpId};
use tokio::sync::mpsc;

use super::{Engine, Store, StoreError};

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
    NotStored(OpId, OpId, StoreError),
    /// What a load has found.
    Loaded(LoadId, Loaded),
}

/// The most commands that are taken at once.
const DRAIN: usize = 1024;

/// The mailbox of a store.
#[derive(Debug, Clone)]
pub struct StoreHandle(mpsc::UnboundedSender<Command>);

impl StoreHandle {
    /// Gives a command to the store. What is asked of it is bounded by what its router has in flight.
    pub fn send(&self, command: Command) -> bool {
        self.0.send(command).is_ok()
    }
}

/// A store that works in a thread of its own.
#[derive(Debug)]
pub struct StoreThread(JoinHandle<()>);

impl StoreThread {
    /// Starts the thread. It ends, after all that was sent before, when the last handle is dropped.
    ///
    /// `answer` is called in the thread for every answer, in order, and must not block.
    pub fn start<E: Engine>(
        store: Store<E>,
        answer: impl FnMut(Answer) + Send + 'static,
    ) -> Result<(Self, StoreHandle), StoreError> {
        let (sender, received) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("xftp-store".to_owned())
            .spawn(move || run(store, received, answer))
            .map_err(|source| StoreError::Io {
                action: "started",
                path: "the store's thread".into(),
                source,
            })?;
        Ok((Self(thread), StoreHandle(sender)))
    }

    /// Waits until the store has done everything. All handles must have been dropped.
    pub fn join(self) -> Result<(), StoreError> {
        self.0.join().map_err(|_| StoreError::Died)
    }
}

fn run<E: Engine>(
    mut store: Store<E>,
    mut received: mpsc::UnboundedReceiver<Command>,
    mut answer: impl FnMut(Answer),
) {
    let mut drained = Vec::with_capacity(DRAIN);
    while received.blocking_recv_many(&mut drained, DRAIN) > 0 {
        let (mut ops, mut commits) = (Vec::new(), Vec::new());
        for command in drained.drain(..) {
            match command {
                Command::Commit(op, changes) => {
                    ops.push(op);
                    commits.push(changes);
                }
                Command::Load(id, load) => {
                    commit(&mut store, &mut ops, &mut commits, &mut answer);
                    let loaded = store.load(&load).unwrap_or_else(|error| {
                        tracing::error!(%error, "what is stored cannot be read");
                        Loaded::Failed
                    });
                    answer(Answer::Loaded(id, loaded));
                }
            }
        }
        commit(&mut store, &mut ops, &mut commits, &mut answer);
    }
}

fn commit<E: Engine>(
    store: &mut Store<E>,
    ops: &mut Vec<OpId>,
    commits: &mut Vec<Vec<Change>>,
    answer: &mut impl FnMut(Answer),
) {
    let (ops, commits) = (std::mem::take(ops), std::mem::take(commits));
    let (Some(first), Some(last)) = (ops.first(), ops.last()) else {
        return;
    };
    answer(match store.commit(&commits) {
        Ok(()) => Answer::Stored(*last),
        Err(error) => Answer::NotStored(*first, *last, error),
    });
}
