//! A bounded queue between tasks: first in, first out, for values and for the senders that wait for room.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// A queue that holds `capacity` values, at least one.
#[must_use]
pub fn queue<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Mutex::new(State {
        values: VecDeque::new(),
        capacity: capacity.max(1),
        waiting: BTreeMap::new(),
        granted: 0,
        watching: BTreeMap::new(),
        receiver: None,
        closed: false,
        senders: 1,
        next_id: 1,
    }));
    let sender = Sender {
        shared: shared.clone(),
        id: 0,
    };
    (sender, Receiver { shared })
}

/// Puts values into a [`queue`]. Dropping the last one ends the queue, once it is empty.
pub struct Sender<T> {
    shared: Arc<Mutex<State<T>>>,
    id: u64,
}

/// Takes values out of a [`queue`]. Dropping it drops them, and refuses new ones.
pub struct Receiver<T> {
    shared: Arc<Mutex<State<T>>>,
}

/// The receiver has gone; here is the value back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nobody receives any more")]
pub struct Closed<T>(pub T);

/// Why a value was not sent at once; here it is back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError<T> {
    /// The queue is full.
    #[error("the queue is full")]
    Full(T),
    /// The receiver has gone.
    #[error("nobody receives any more")]
    Closed(T),
}

impl<T> Sender<T> {
    /// Sends a value when there is room, in the order in which senders came.
    ///
    /// Cancel safety: a future that is dropped before it is done has sent nothing, and leaves its place to the next sender. The value
    /// goes with it.
    #[must_use = "nothing is sent until this is awaited"]
    pub fn send(&self, value: T) -> Sending<'_, T> {
        Sending {
            sender: self,
            value: Some(value),
            ticket: None,
        }
    }

    /// Sends a value if there is room now and nobody waits for it.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        let mut state = lock(&self.shared);
        if state.closed {
            return Err(TrySendError::Closed(value));
        }
        if state.room() == 0 {
            return Err(TrySendError::Full(value));
        }
        let woken = state.put(value);
        drop(state);
        wake(woken);
        Ok(())
    }

    /// Sends a value also beyond the capacity: for a producer that cannot stop at once, and has asked [`poll_ready`](Self::poll_ready)
    /// before it started.
    pub fn push(&self, value: T) -> Result<(), Closed<T>> {
        let mut state = lock(&self.shared);
        if state.closed {
            return Err(Closed(value));
        }
        let woken = state.put(value);
        drop(state);
        wake(woken);
        Ok(())
    }

    /// Whether there is room, or nobody who would need it. The task is woken when that may have changed.
    pub fn poll_ready(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.shared);
        if state.closed || state.room() > 0 {
            state.watching.remove(&self.id);
            return Poll::Ready(());
        }
        state.watching.insert(self.id, cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        let mut state = lock(&self.shared);
        state.senders = state.senders.saturating_add(1);
        let id = state.new_id();
        drop(state);
        Self {
            shared: self.shared.clone(),
            id,
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.senders = state.senders.saturating_sub(1);
        state.watching.remove(&self.id);
        let woken = match state.senders {
            0 => state.receiver.take(),
            _ => None,
        };
        drop(state);
        wake(woken);
    }
}

/// A value on its way into a queue, see [`Sender::send`].
#[must_use = "nothing is sent until this is awaited"]
pub struct Sending<'a, T> {
    sender: &'a Sender<T>,
    value: Option<T>,
    ticket: Option<u64>,
}

impl<T> Unpin for Sending<'_, T> {}

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), Closed<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(value) = self.value.take() else {
            return Poll::Pending;
        };
        let mut state = lock(&self.sender.shared);
        if state.closed {
            return Poll::Ready(Err(Closed(value)));
        }
        let must_wait = match self.ticket {
            None => state.room() == 0,
            Some(ticket) => state.waiting.contains_key(&ticket),
        };
        if must_wait {
            let ticket = self.ticket.unwrap_or_else(|| state.new_id());
            state.waiting.insert(ticket, cx.waker().clone());
            drop(state);
            self.ticket = Some(ticket);
            self.value = Some(value);
            return Poll::Pending;
        }
        if self.ticket.is_some() {
            state.granted = state.granted.saturating_sub(1);
        }
        let woken = state.put(value);
        drop(state);
        wake(woken);
        Poll::Ready(Ok(()))
    }
}

impl<T> Drop for Sending<'_, T> {
    fn drop(&mut self) {
        let (Some(ticket), Some(_)) = (self.ticket, &self.value) else {
            return;
        };
        let mut state = lock(&self.sender.shared);
        if state.waiting.remove(&ticket).is_some() || state.closed {
            return;
        }
        state.granted = state.granted.saturating_sub(1);
        let woken = state.offer();
        drop(state);
        wake(woken);
    }
}

impl<T> Receiver<T> {
    /// The next value; `None` when all senders have gone and the queue is empty.
    ///
    /// Cancel safety: a future that is dropped before it is done has taken nothing.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// As [`next`](Self::next), for those who poll.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.shared);
        let Some(value) = state.values.pop_front() else {
            return match state.senders {
                0 => Poll::Ready(None),
                _ => {
                    state.receiver = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        };
        state.release_idle_memory();
        let woken = state.offer();
        drop(state);
        wake(woken);
        Poll::Ready(Some(value))
    }

    /// Ready when all senders have gone, also while values wait.
    pub fn poll_closed(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.shared);
        if state.senders == 0 {
            return Poll::Ready(());
        }
        state.receiver = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared);
        state.closed = true;
        let values = std::mem::take(&mut state.values);
        let waiting = std::mem::take(&mut state.waiting);
        let watching = std::mem::take(&mut state.watching);
        drop(state);
        drop(values);
        wake(waiting.into_values().chain(watching.into_values()));
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

/// Senders wait only while there is no room, as every place that falls free is granted to the first of them at once.
struct State<T> {
    values: VecDeque<T>,
    capacity: usize,
    /// Senders that wait, by ticket. One whose ticket has left was granted a place.
    waiting: BTreeMap<u64, Waker>,
    /// Places kept for senders that were woken and have not come yet.
    granted: usize,
    /// Producers that asked whether there is room, by sender.
    watching: BTreeMap<u64, Waker>,
    receiver: Option<Waker>,
    /// Whether the receiver has gone.
    closed: bool,
    senders: usize,
    next_id: u64,
}

/// What an empty queue may keep for the next values.
const IDLE: usize = 16;

impl<T> State<T> {
    fn room(&self) -> usize {
        self.capacity
            .saturating_sub(self.values.len())
            .saturating_sub(self.granted)
    }

    const fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }

    fn put(&mut self, value: T) -> Option<Waker> {
        self.values.push_back(value);
        self.receiver.take()
    }

    /// Says who is to be woken for a place that may have fallen free: a sender gets it, or else every producer hears of it.
    fn offer(&mut self) -> impl Iterator<Item = Waker> + use<T> {
        let (mut granted, mut told) = (None, BTreeMap::new());
        if self.room() > 0 {
            match self.waiting.pop_first() {
                Some((_, waker)) => {
                    self.granted = self.granted.saturating_add(1);
                    granted = Some(waker);
                }
                None => told = std::mem::take(&mut self.watching),
            }
        }
        granted.into_iter().chain(told.into_values())
    }

    fn release_idle_memory(&mut self) {
        if self.values.is_empty() && self.values.capacity() > IDLE {
            self.values = VecDeque::new();
        }
    }
}

fn lock<T>(shared: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakers run foreign code: only without the lock.
fn wake(wakers: impl IntoIterator<Item = Waker>) {
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drive::Clock;
    use crate::sim::{Settled, Tasks, abandon};
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn a_full_queue_refuses_or_lets_wait_in_order() {
        let (sender, mut receiver) = queue(2);
        let mut cx = Context::from_waker(Waker::noop());
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.try_send(2), Ok(()));
        assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
        let (mut third, mut fourth) = (sender.send(3), sender.send(4));
        assert!(Pin::new(&mut third).poll(&mut cx).is_pending());
        assert!(Pin::new(&mut fourth).poll(&mut cx).is_pending());
        assert_eq!(receiver.poll_next(&cx), Poll::Ready(Some(1)));
        assert_eq!(sender.try_send(9), Err(TrySendError::Full(9)));
        assert!(Pin::new(&mut fourth).poll(&mut cx).is_pending());
        assert_eq!(Pin::new(&mut third).poll(&mut cx), Poll::Ready(Ok(())));
        assert_eq!(receiver.poll_next(&cx), Poll::Ready(Some(2)));
        assert_eq!(Pin::new(&mut fourth).poll(&mut cx), Poll::Ready(Ok(())));
        drop((third, fourth));
        drop(sender);
        assert_eq!(receiver.poll_next(&cx), Poll::Ready(Some(3)));
        assert_eq!(receiver.poll_next(&cx), Poll::Ready(Some(4)));
        assert_eq!(receiver.poll_next(&cx), Poll::Ready(None));
    }

    #[test]
    fn a_receiver_that_goes_gives_values_back() {
        let (sender, receiver) = queue(1);
        let mut cx = Context::from_waker(Waker::noop());
        sender.try_send(1).unwrap();
        let mut second = sender.send(2);
        assert!(Pin::new(&mut second).poll(&mut cx).is_pending());
        drop(receiver);
        assert_eq!(
            Pin::new(&mut second).poll(&mut cx),
            Poll::Ready(Err(Closed(2)))
        );
        assert_eq!(sender.try_send(3), Err(TrySendError::Closed(3)));
        assert_eq!(sender.push(4), Err(Closed(4)));
        assert!(sender.clone().poll_ready(&cx).is_ready());
    }

    #[test]
    fn a_producer_goes_beyond_the_capacity_but_asks_before() {
        let (mut sender, mut receiver) = queue(1);
        let cx = Context::from_waker(Waker::noop());
        sender.push(1).unwrap();
        sender.push(2).unwrap();
        assert!(sender.poll_ready(&cx).is_pending());
        assert_eq!(receiver.poll_next(&cx), Poll::Ready(Some(1)));
        assert!(sender.poll_ready(&cx).is_pending());
        assert_eq!(receiver.poll_next(&cx), Poll::Ready(Some(2)));
        assert!(sender.poll_ready(&cx).is_ready());
    }

    #[test]
    fn a_producer_hears_of_a_place_that_a_sender_gives_up() {
        let mut tasks = Tasks::new(1);
        let (mut sender, mut receiver) = queue(1);
        sender.try_send(1).unwrap();
        let waiting = sender.clone();
        let mut sending = waiting.send(2);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut sending).poll(&mut cx).is_pending());
        let ready = tasks.spawn(async move { poll_fn(|cx| sender.poll_ready(cx)).await });
        assert_eq!(tasks.run(10), Settled::Idle);
        assert_eq!(receiver.poll_next(&cx), Poll::Ready(Some(1)));
        assert_eq!(tasks.run(10), Settled::Idle);
        assert_eq!(ready.take(), None);
        drop(sending);
        assert_eq!(tasks.run(10), Settled::Idle);
        assert_eq!(ready.take(), Some(()));
    }

    #[test]
    fn an_empty_queue_owns_little_memory() {
        let (sender, mut receiver) = queue(1000);
        let cx = Context::from_waker(Waker::noop());
        for value in 0..1000 {
            sender.try_send(value).unwrap();
        }
        while receiver.poll_next(&cx).is_ready() {}
        assert_eq!(lock(&sender.shared).values.capacity(), 0);
    }

    proptest! {
        /// Senders and the receiver give up after any number of polls, in any order: what was sent arrives once, nothing else does, and
        /// nobody is left asleep.
        #[test]
        fn giving_up_loses_and_doubles_nothing(
            seed: u64,
            capacity in 1..4usize,
            patience in prop::collection::vec(1..4usize, 1..20),
            reads in 1..4usize,
        ) {
            let mut tasks = Tasks::new(seed);
            let (sender, mut receiver) = queue(capacity);
            let sent: Vec<_> = (0..)
                .zip(patience)
                .map(|(value, polls)| {
                    let sender = sender.clone();
                    tasks.spawn(async move { abandon(polls, sender.send(value)).await.map(|_| value) })
                })
                .collect();
            drop(sender);
            let mut clock = tasks.clock();
            let received = tasks.spawn(async move {
                let mut values = Vec::new();
                loop {
                    match abandon(reads, receiver.next()).await {
                        Some(None) => return values,
                        Some(Some(value)) => values.push(value),
                        None => {
                            let later = clock.now().instant + Duration::from_millis(1);
                            poll_fn(|cx| clock.poll_sleep(cx, later)).await;
                        }
                    }
                }
            });
            prop_assert_eq!(tasks.run(100_000), Settled::Idle);
            prop_assert_eq!(tasks.unfinished(), 0);
            let mut received = received.take().unwrap();
            received.sort_unstable();
            let sent: Vec<i32> = sent.iter().filter_map(|task| task.take().flatten()).collect();
            prop_assert_eq!(received, sent);
        }
    }
}
