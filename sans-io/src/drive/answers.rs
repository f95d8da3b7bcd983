//! Answers that tasks wait for.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::{Mailbox, Owner};

/// Matches answers to the calls that wait for them, by numbers that it gives to the questions.
pub(super) struct Answers<T>(Arc<Mutex<Calls<T>>>);

struct Calls<T> {
    next: u64,
    /// By the number of their first question.
    waiting: BTreeMap<u64, Waiting<T>>,
    state: State,
}

struct Waiting<T> {
    answers: Vec<Option<T>>,
    missing: usize,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// No more answers will come.
    Ended,
}

impl<T> Answers<T> {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Calls {
            next: 0,
            waiting: BTreeMap::new(),
            state: State::Open,
        })))
    }

    /// A call with that many questions.
    pub(super) fn expect(&self, questions: usize) -> Awaited<T> {
        let mut calls = self.lock();
        let first = calls.next;
        calls.next = first.wrapping_add(u64::try_from(questions.max(1)).unwrap_or(u64::MAX));
        let numbers = first..calls.next;
        let answers = std::iter::repeat_with(|| None).take(questions).collect();
        let waiting = Waiting {
            answers,
            missing: questions,
            waker: None,
        };
        calls.waiting.insert(first, waiting);
        drop(calls);
        Awaited {
            answers: self.clone(),
            numbers,
        }
    }

    /// Answers a question; nobody may wait for it any more.
    pub(super) fn answer(&self, number: u64, answer: T) {
        let mut calls = self.lock();
        let call = calls.waiting.range_mut(..=number).next_back();
        let woken = call.and_then(|(first, call)| call.put(number.checked_sub(*first)?, answer));
        drop(calls);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Says that no more answers will come.
    pub(super) fn end(&self) {
        let mut calls = self.lock();
        calls.state = State::Ended;
        let wakers: Vec<_> = calls
            .waiting
            .values_mut()
            .filter_map(|call| call.waker.take())
            .collect();
        drop(calls);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Calls<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Waiting<T> {
    fn put(&mut self, index: u64, answer: T) -> Option<Waker> {
        let place = self.answers.get_mut(usize::try_from(index).ok()?)?;
        if place.replace(answer).is_none() {
            self.missing = self.missing.saturating_sub(1);
        }
        match self.missing {
            0 => self.waker.take(),
            _ => None,
        }
    }
}

impl<T> Clone for Answers<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Answers<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

/// The answers to a call, once all are there or no more will come. Dropping it forgets the call.
pub(super) struct Awaited<T> {
    answers: Answers<T>,
    numbers: Range<u64>,
}

impl<T> Awaited<T> {
    /// The numbers of its questions.
    pub(super) fn numbers(&self) -> Range<u64> {
        self.numbers.clone()
    }
}

impl<T> Future for Awaited<T> {
    type Output = Vec<Option<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut calls = self.answers.lock();
        let ended = calls.state == State::Ended;
        match calls.waiting.get_mut(&self.numbers.start) {
            Some(call) if call.missing > 0 && !ended => {
                call.waker = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(call) => Poll::Ready(std::mem::take(&mut call.answers)),
            None => Poll::Ready(Vec::new()),
        }
    }
}

impl<T> Drop for Awaited<T> {
    fn drop(&mut self) {
        let forgotten = self.answers.lock().waiting.remove(&self.numbers.start);
        drop(forgotten);
    }
}

/// Whom an event is for.
pub(super) enum Addressed<E, T> {
    /// The call with this question.
    Caller(u64, T),
    /// The owner.
    Owner(E),
}

/// The connection's end of a [`mailbox`](super::mailbox()) in which some events are answers to calls that wait for them.
pub struct AnsweringMailbox<C, E, T> {
    // Dropped in this order: what is sent afterwards is refused, so that everything that waits then is told.
    mailbox: Mailbox<C, E>,
    answers: EndsWith<T>,
    address: fn(E) -> Addressed<E, T>,
}

/// Tells those who wait when it is dropped.
struct EndsWith<T>(Answers<T>);

impl<C, E, T> AnsweringMailbox<C, E, T> {
    pub(super) const fn new(
        mailbox: Mailbox<C, E>,
        answers: Answers<T>,
        address: fn(E) -> Addressed<E, T>,
    ) -> Self {
        Self {
            mailbox,
            answers: EndsWith(answers),
            address,
        }
    }
}

impl<C, E, T> Owner for AnsweringMailbox<C, E, T> {
    type Command = C;
    type Event = E;

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Option<C>> {
        self.mailbox.poll_command(cx)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.mailbox.poll_gone(cx)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.mailbox.poll_ready(cx)
    }

    fn tell(&mut self, event: E) {
        match (self.address)(event) {
            Addressed::Caller(number, answer) => self.answers.0.answer(number, answer),
            Addressed::Owner(event) => self.mailbox.tell(event),
        }
    }
}

impl<C, E, T> fmt::Debug for AnsweringMailbox<C, E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnsweringMailbox").finish_non_exhaustive()
    }
}

impl<T> Drop for EndsWith<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}
