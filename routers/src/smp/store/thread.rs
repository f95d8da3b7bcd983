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

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, oneshot};

use super::worker::{Answer, Command, Metrics, MetricsSnapshot, Worker};
use super::{Snapshot, Store, StoreError};

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
        let worker = Worker::new(store);
        let metrics = worker.metrics();
        let thread = std::thread::Builder::new()
            .name("smp-store".to_owned())
            .spawn(move || run(worker, received, answer))
            .map_err(StoreError::io("started", "the store's thread".as_ref()))?;
        Ok((Self { thread }, StoreHandle { mailbox, metrics }))
    }

    /// Waits until the store has done everything and is closed. All handles must have been dropped.
    pub fn join(self) -> Result<(), StoreError> {
        let died = |_| StoreError::Broken("its thread has died".to_owned());
        self.thread.join().map_err(died)?
    }
}

fn run(
    mut worker: Worker,
    mut received: mpsc::Receiver<Message>,
    mut answer: impl FnMut(Answer),
) -> Result<(), StoreError> {
    let mut drained = Vec::with_capacity(DRAIN);
    while received.blocking_recv_many(&mut drained, DRAIN) > 0 {
        let mut messages = drained.drain(..).peekable();
        while messages.peek().is_some() {
            let mut snapshot = None;
            let commands = std::iter::from_fn(|| match messages.next()? {
                Message::Command(command) => Some(command),
                Message::Snapshot(sender) => {
                    snapshot = Some(sender);
                    None
                }
            });
            worker.work(commands, &mut answer);
            if let Some(sender) = snapshot {
                // Whoever has asked may not want it any more.
                sender.send(worker.snapshot(&mut answer)).ok();
            }
        }
    }
    worker.close()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use bytes::Bytes;
    use simplex_sans_io::smp::router::store::{Change, Load};
    use simplex_sans_io::smp::router::{LoadId, OpId};

    use super::*;
    use crate::smp::store::MemoryStore;

    #[test]
    fn the_thread_does_everything_and_ends_with_its_last_handle() {
        let (answers, received) = channel();
        let store = Box::new(MemoryStore::in_memory());
        let answer = move |answer| answers.send(answer).unwrap();
        let (thread, handle) = StoreThread::start(store, 4, answer).unwrap();
        for op in 1..=20 {
            let statistics = Change::PutStatistics(Bytes::from_static(b"a"));
            let commit = Command::Commit(OpId(op), vec![statistics]);
            handle.blocking_send(commit).unwrap();
        }
        let totals = Command::Load(LoadId(0), Load::Totals);
        handle.blocking_send(totals).unwrap();
        assert!(handle.metrics().failures == 0);
        drop(handle);
        thread.join().unwrap();
        let told: Vec<_> = received.try_iter().collect();
        let [.., Answer::Stored(OpId(20)), Answer::Loaded(..)] = &told[..] else {
            panic!("{told:?}")
        };
    }
}
