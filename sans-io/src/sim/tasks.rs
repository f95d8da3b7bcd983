//! Futures in virtual time.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use super::Settled;
use crate::drive::Clock;
use crate::rng::Rng;
use crate::time::{Instant, Now};

/// Runs futures in one thread and in virtual time.
///
/// Which of the woken ones runs next is decided by the seed. Time stands still while one of them can run, then jumps to the next timer;
/// so a wake-up that was lost shows as a task that never ends.
///
/// ```
/// use std::{future::poll_fn, time::Duration};
///
/// use simplex_sans_io::drive::Clock;
/// use simplex_sans_io::sim::{Settled, Tasks};
///
/// let mut tasks = Tasks::new(7);
/// let mut clock = tasks.clock();
/// let year = clock.now().instant + Duration::from_secs(365 * 24 * 3600);
/// let sleeper = tasks.spawn(async move {
///     poll_fn(|cx| clock.poll_sleep(cx, year)).await;
///     clock.now()
/// });
/// assert_eq!(tasks.run(10), Settled::Idle);
/// assert_eq!(sleeper.take().map(|now| now.instant), Some(year));
/// ```
pub struct Tasks {
    time: Arc<Mutex<Time>>,
    rng: Rng,
    running: Vec<Running>,
}

struct Running {
    future: Pin<Box<dyn Future<Output = ()>>>,
    woken: Arc<Woken>,
}

/// What a future in [`Tasks`] leaves.
#[derive(Debug)]
pub struct Task<T>(Arc<Mutex<Option<T>>>);

impl Tasks {
    /// No tasks yet.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            time: Arc::default(),
            rng: super::rng(seed),
            running: Vec::new(),
        }
    }

    /// A clock with a timer of its own.
    #[must_use]
    pub fn clock(&self) -> SimClock {
        SimClock {
            time: self.time.clone(),
            timer: None,
        }
    }

    /// Randomness that follows from the seed.
    pub fn rng(&mut self) -> Rng {
        self.rng.fork()
    }

    /// Adds a future.
    pub fn spawn<F: Future + 'static>(&mut self, future: F) -> Task<F::Output> {
        let output = Arc::new(Mutex::new(None));
        let task = Task(output.clone());
        self.running.push(Running {
            future: Box::pin(async move {
                let value = future.await;
                *lock(&output) = Some(value);
            }),
            woken: Arc::new(Woken(AtomicBool::new(true))),
        });
        task
    }

    /// How many have not ended.
    #[must_use]
    pub const fn unfinished(&self) -> usize {
        self.running.len()
    }

    /// Runs until nothing happens any more, for at most that many polls.
    pub fn run(&mut self, polls: usize) -> Settled {
        for _ in 0..polls {
            if !self.step() {
                return Settled::Idle;
            }
        }
        Settled::Busy
    }

    /// Polls one task, at the time at which the next one is woken; says whether there was one.
    pub fn step(&mut self) -> bool {
        let woken = |running: &[Running]| -> Vec<usize> {
            let all = running.iter().enumerate();
            all.filter(|(_, task)| task.woken.0.load(Ordering::SeqCst))
                .map(|(index, _)| index)
                .collect()
        };
        let mut ready = woken(&self.running);
        while ready.is_empty() {
            if !self.advance() {
                return false;
            }
            ready = woken(&self.running);
        }
        let choice = self
            .rng
            .below(u32::try_from(ready.len()).unwrap_or(u32::MAX));
        let choice = usize::try_from(choice).unwrap_or_default();
        if let Some(&index) = ready.get(choice) {
            self.poll(index);
        }
        true
    }

    fn poll(&mut self, index: usize) {
        let Some(task) = self.running.get_mut(index) else {
            return;
        };
        task.woken.0.store(false, Ordering::SeqCst);
        let waker = Waker::from(task.woken.clone());
        if task
            .future
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
        {
            self.running.swap_remove(index);
        }
    }

    /// Jumps to the next timer, and wakes all that wait for this instant; says whether there was one.
    fn advance(&mut self) -> bool {
        let mut time = lock(&self.time);
        let Some(((at, _), waker)) = time.timers.pop_first() else {
            return false;
        };
        let mut wakers = vec![waker];
        while let Some(entry) = time.timers.first_entry()
            && entry.key().0 <= at
        {
            wakers.push(entry.remove());
        }
        time.now = time.now + (at - time.now.instant);
        drop(time);
        wakers.into_iter().for_each(Waker::wake);
        true
    }
}

impl std::fmt::Debug for Tasks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tasks")
            .field("unfinished", &self.unfinished())
            .finish_non_exhaustive()
    }
}

impl<T> Task<T> {
    /// What the future left, once it has ended.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        lock(&self.0).take()
    }
}

/// The virtual time of [`Tasks`].
#[derive(Debug)]
pub struct SimClock {
    time: Arc<Mutex<Time>>,
    timer: Option<(Instant, u64)>,
}

#[derive(Debug, Default)]
struct Time {
    now: Now,
    timers: BTreeMap<(Instant, u64), Waker>,
    timers_set: u64,
}

impl SimClock {
    fn stop(&mut self) {
        if let Some(timer) = self.timer.take() {
            lock(&self.time).timers.remove(&timer);
        }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Now {
        lock(&self.time).now
    }

    fn poll_sleep(&mut self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        self.stop();
        let mut time = lock(&self.time);
        if time.now.instant >= until {
            return Poll::Ready(());
        }
        let timer = (until, time.timers_set);
        time.timers_set = time.timers_set.saturating_add(1);
        time.timers.insert(timer, cx.waker().clone());
        self.timer = Some(timer);
        Poll::Pending
    }
}

impl Clone for SimClock {
    fn clone(&self) -> Self {
        Self {
            time: self.time.clone(),
            timer: None,
        }
    }
}

impl Drop for SimClock {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a future that many polls, then drops it if it is not done: to test its cancel safety at each point where it waits.
///
/// ```
/// use std::task::{Context, Poll, Waker};
///
/// use simplex_sans_io::drive::queue;
/// use simplex_sans_io::sim::{Tasks, abandon};
///
/// let (sender, mut receiver) = queue(1);
/// let mut tasks = Tasks::new(1);
/// let sent = tasks.spawn(async move {
///     let first = abandon(1, sender.send(1)).await;
///     // There is no room for this one, and it must not arrive later.
///     let second = abandon(1, sender.send(2)).await;
///     (first.is_some(), second.is_some())
/// });
/// tasks.run(10);
/// assert_eq!(sent.take(), Some((true, false)));
/// let mut cx = Context::from_waker(Waker::noop());
/// assert_eq!(receiver.poll_next(&mut cx), Poll::Ready(Some(1)));
/// assert_eq!(receiver.poll_next(&mut cx), Poll::Ready(None));
/// ```
pub async fn abandon<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = Some(Box::pin(future));
    let mut left = polls;
    poll_fn(|cx| {
        let Some(running) = &mut future else {
            return Poll::Ready(None);
        };
        let polled = match left.checked_sub(1) {
            None => Poll::Ready(None),
            Some(fewer) => {
                left = fewer;
                running.as_mut().poll(cx).map(Some)
            }
        };
        if polled.is_ready() || left == 0 {
            future = None;
        }
        match (polled, left) {
            (Poll::Pending, 0) => Poll::Ready(None),
            (polled, _) => polled,
        }
    })
    .await
}
