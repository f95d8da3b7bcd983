//! What h2 has woken: a task for the connection and one for each stream, so that an input polls no stream that it does not concern.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use super::StreamId;

/// Something that is polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    /// The frames.
    Connection,
    /// The requests that wait for a stream.
    Opener,
    /// A stream.
    Stream(StreamId),
}

/// The tasks that want to be polled.
#[derive(Clone, Default)]
pub(super) struct Ready(Arc<Mutex<BTreeSet<Task>>>);

impl Ready {
    pub(super) fn add(&self, task: Task) {
        self.lock().insert(task);
    }

    pub(super) fn remove(&self, task: Task) {
        self.lock().remove(&task);
    }

    pub(super) fn next(&self) -> Option<Task> {
        self.lock().pop_first()
    }

    /// What a task is woken by.
    pub(super) fn waker(&self, task: Task) -> Waker {
        Waker::from(Arc::new(Woken {
            task,
            ready: self.clone(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Task>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Woken {
    task: Task,
    ready: Ready,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.ready.add(self.task);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.add(self.task);
    }
}
