//! Many futures in one: only those that were woken are polled.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Futures by their keys. A thousand that sleep cost nothing when one is woken.
pub(super) struct Futures<K, F> {
    running: BTreeMap<K, Running<F>>,
    woken: Arc<Woken<K>>,
}

struct Running<F> {
    future: Pin<Box<F>>,
    waker: Waker,
}

/// Whose turn it is, and the task that all of them run in.
struct Woken<K>(Mutex<(BTreeSet<K>, Option<Waker>)>);

struct Alarm<K> {
    key: K,
    woken: Arc<Woken<K>>,
}

impl<K: Copy + Ord + Send + Sync + 'static, F: Future> Futures<K, F> {
    pub(super) fn new() -> Self {
        Self {
            running: BTreeMap::new(),
            woken: Arc::new(Woken(Mutex::default())),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Begins to run a future, which has its first turn at the next poll. The key is new.
    pub(super) fn insert(&mut self, key: K, future: F) {
        let waker = Waker::from(Arc::new(Alarm {
            key,
            woken: Arc::clone(&self.woken),
        }));
        waker.wake_by_ref();
        let future = Box::pin(future);
        self.running.insert(key, Running { future, waker });
    }

    /// Drops a future.
    pub(super) fn remove(&mut self, key: K) {
        self.running.remove(&key);
        self.woken.lock().0.remove(&key);
    }

    /// Gives each of those that were woken one turn; `None` if there are none. Returns those that are done.
    pub(super) fn poll(&mut self, cx: &Context<'_>) -> Option<Vec<(K, F::Output)>> {
        let woken = {
            let mut state = self.woken.lock();
            state.1 = Some(cx.waker().clone());
            std::mem::take(&mut state.0)
        };
        if woken.is_empty() {
            return None;
        }
        let mut done = Vec::new();
        for key in woken {
            let Some(Running { future, waker }) = self.running.get_mut(&key) else {
                continue;
            };
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(waker)) {
                self.running.remove(&key);
                done.push((key, output));
            }
        }
        Some(done)
    }
}

impl<K> Woken<K> {
    fn lock(&self) -> MutexGuard<'_, (BTreeSet<K>, Option<Waker>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Ord + Send + Sync + 'static> Wake for Alarm<K> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut state = self.woken.lock();
        state.0.insert(self.key);
        let task = state.1.take();
        drop(state);
        task.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::queue;
    use crate::sim::{Settled, Tasks};
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn only_those_that_are_woken_are_polled() {
        let polls = Arc::new(AtomicUsize::new(0));
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..1000).map(|_| queue::<u32>(1)).unzip();
        let mut futures = Futures::new();
        for (key, mut receiver) in receivers.into_iter().enumerate() {
            let polls = Arc::clone(&polls);
            let counted = async move {
                poll_fn(|cx| {
                    polls.fetch_add(1, Ordering::SeqCst);
                    receiver.poll_next(cx)
                })
                .await
            };
            futures.insert(key, counted);
        }
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(futures.poll(&cx), Some(vec![]));
        assert_eq!(polls.load(Ordering::SeqCst), 1000);
        assert_eq!(futures.poll(&cx), None);
        senders[7].try_send(7).unwrap();
        assert_eq!(futures.poll(&cx), Some(vec![(7, Some(7))]));
        assert_eq!(polls.load(Ordering::SeqCst), 1001);
        futures.remove(8);
        senders[8].try_send(8).unwrap_err();
        assert_eq!(futures.poll(&cx), None);
    }

    #[test]
    fn whoever_is_woken_wakes_the_task() {
        let mut tasks = Tasks::new(1);
        let (sender, mut receiver) = queue::<u32>(1);
        let done = tasks.spawn(async move {
            let mut futures = Futures::new();
            futures.insert(1, async move { receiver.next().await });
            poll_fn(|cx| match futures.poll(cx) {
                Some(done) if !done.is_empty() => Poll::Ready(done),
                Some(_) | None => Poll::Pending,
            })
            .await
        });
        assert_eq!(tasks.run(10), Settled::Idle);
        sender.try_send(7).unwrap();
        assert_eq!(tasks.run(10), Settled::Idle);
        assert_eq!(done.take(), Some(vec![(1, Some(7))]));
    }
}
