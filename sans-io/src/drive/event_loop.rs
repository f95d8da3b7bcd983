//! The event loop of one connection.
//!
//! ```text
//!              machine closes or fails, owner has gone
//!   ┌──────┐──────────────────────────────────────────▶┌─────────┐ all sent and closed   ┌───────┐
//!   │ Open │                                           │ Closing │──────────────────────▶│ Ended │
//!   └──────┘───────────▶┌────────┐──machine closes────▶└─────────┘ or linger has passed  └───────┘
//!       │  cannot write │ Broken │                                                           ▲
//!       │               └────────┘───────── all that had arrived is read ────────────────────┤
//!       └───────────────────────────────── cannot read, peer stalled ────────────────────────┘
//! ```

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use super::unsent::Unsent;
use super::{Clock, Io, Owner, Policy, WhileBlocked};
use crate::machine::{Action, CloseReason, Connection, Input};
use crate::time::{Instant, Now};

/// How often the loop turns before it lets other tasks run.
const TURNS: usize = 16;
/// How many commands are taken before the stream has its turn again: what they bring leaves in one write.
const COMMANDS: usize = 32;
/// How much is read at once.
const READ: usize = 64 * 1024;

/// Why a connection ended otherwise than by its machine's wish.
#[derive(Debug, thiserror::Error)]
pub enum DriveError<E> {
    /// The machine died.
    #[error(transparent)]
    Machine(E),
    /// The stream failed. The machine was told that it has ended.
    #[error("stream: {0}")]
    Io(#[source] io::Error),
    /// The peer did not take what was sent in time.
    #[error("the peer does not read")]
    Stalled,
    /// The peer asked for more and more, and took nothing.
    #[error("the peer does not read, and {0} bytes wait for it")]
    Flooded(usize),
}

/// Runs a connection until it ends, and says why it did.
///
/// In each turn the loop writes, then reads, then takes commands, then looks at the time; it sleeps only when none of them can go on, so
/// no order of events leaves it asleep with work to do. Commands wait while the machine does not want them or too much is unsent; reading
/// waits while the machine does not want bytes, the owner reads no events or, if the [`Policy`] says so, while too much is unsent. All that commands and input bring
/// in one turn leaves in one write.
///
/// A closed connection flushes what is unsent and ends its direction, then discards input until the peer has ended the other one,
/// because a socket that is dropped with unread input takes back what the peer has not read yet. [`Policy::linger`] bounds all of this.
///
/// Cancel safety: the future can be dropped at any point, which drops the stream at once and without a farewell. Commands that were
/// taken may have been sent or not; commands still in the [mailbox](super::mailbox()) are dropped, and their senders are told.
#[must_use = "a connection runs only while this is polled"]
pub fn drive<M, I, C, O>(
    machine: M,
    io: I,
    clock: C,
    owner: O,
    policy: Policy,
) -> impl Future<Output = Result<CloseReason, DriveError<M::Error>>>
where
    M: Connection,
    I: Io,
    C: Clock,
    O: Owner<Command = M::Command, Event = M::Event>,
{
    let mut driver = Some(Driver {
        machine,
        io,
        clock,
        owner,
        policy,
        phase: Phase::Starting,
        input: Incoming::Open,
        unsent: Unsent::default(),
        flush: Flush::Done,
        reading: Reading::Allowed,
        blocked: None,
        leaving: None,
    });
    poll_fn(move |cx| {
        let Some(running) = &mut driver else {
            return Poll::Pending;
        };
        let outcome = ready!(running.poll(cx));
        driver = None;
        Poll::Ready(outcome)
    })
}

type Outcome<E> = Result<CloseReason, DriveError<E>>;

struct Driver<M: Connection, I, C, O> {
    machine: M,
    io: I,
    clock: C,
    owner: O,
    policy: Policy,
    phase: Phase<M::Error>,
    input: Incoming,
    unsent: Unsent,
    flush: Flush,
    reading: Reading,
    /// Since when the peer has taken nothing.
    blocked: Option<Instant>,
    /// Until when the commands of an owner that has gone are carried out.
    leaving: Option<Instant>,
}

enum Phase<E> {
    /// What the machine says first was not asked for.
    Starting,
    Open,
    /// Nothing can be written any more, but the last words of the peer may have arrived.
    Broken {
        error: io::Error,
        until: Instant,
    },
    Closing {
        outcome: Outcome<E>,
        until: Instant,
        output: Outgoing,
    },
    Ended(Outcome<E>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Incoming {
    Open,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outgoing {
    Open,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flush {
    Wanted,
    Done,
}

/// Whether what is unsent lets the peer say more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    Allowed,
    Paused,
}

/// What a turn has achieved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Something, so that more may be possible.
    Progress,
    /// Nothing: whoever can change that wakes the task.
    Idle,
}

impl<M, I, C, O> Driver<M, I, C, O>
where
    M: Connection,
    I: Io,
    C: Clock,
    O: Owner<Command = M::Command, Event = M::Event>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<M::Error>> {
        with_read_buffer(|buffer| {
            for _ in 0..TURNS {
                let turn = self.turn(cx, buffer);
                if let Some(outcome) = self.ended() {
                    return Poll::Ready(outcome);
                }
                if turn == Turn::Idle {
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    fn ended(&mut self) -> Option<Outcome<M::Error>> {
        let phase = std::mem::replace(&mut self.phase, Phase::Starting);
        if let Phase::Ended(outcome) = phase {
            return Some(outcome);
        }
        self.phase = phase;
        None
    }

    fn turn(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Turn {
        let now = self.clock.now();
        match self.phase {
            Phase::Starting => self.start(now),
            Phase::Open => self.turn_open(cx, now, buffer),
            Phase::Broken { until, .. } => self.turn_broken(cx, now, until, buffer),
            Phase::Closing { until, .. } => self.turn_closing(cx, now, until, buffer),
            Phase::Ended(_) => Turn::Idle,
        }
    }

    fn start(&mut self, now: Now) -> Turn {
        self.phase = Phase::Open;
        self.drain(now);
        Turn::Progress
    }

    fn turn_open(&mut self, cx: &mut Context<'_>, now: Now, buffer: &mut [u8]) -> Turn {
        if let Err(error) = self.write(cx, now) {
            self.unsent.clear();
            self.flush = Flush::Done;
            let until = now.instant + self.policy.linger;
            self.phase = Phase::Broken { error, until };
            return Turn::Progress;
        }
        let moved = [
            self.read(cx, now, buffer),
            self.take_commands(cx, now),
            self.expire(now),
        ];
        match moved.contains(&Turn::Progress) {
            true => Turn::Progress,
            false => self.sleep(cx, self.deadline()),
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, now: Now) -> io::Result<()> {
        while !self.unsent.is_empty() {
            let (io, unsent) = (&mut self.io, &self.unsent);
            match unsent.slices(|slices| io.poll_write(cx, slices))? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(written) => {
                    self.unsent.advance(written);
                    self.blocked = None;
                    self.flush = Flush::Wanted;
                }
                Poll::Pending => {
                    self.blocked.get_or_insert(now.instant);
                    return Ok(());
                }
            }
        }
        if self.flush == Flush::Wanted {
            match self.io.poll_flush(cx)? {
                Poll::Ready(()) => {
                    self.blocked = None;
                    self.flush = Flush::Done;
                }
                Poll::Pending => {
                    self.blocked.get_or_insert(now.instant);
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, cx: &mut Context<'_>, now: Now, buffer: &mut [u8]) -> Turn {
        let welcome = self.input == Incoming::Open
            && self.allowed() == Reading::Allowed
            && self.machine.accepts_bytes()
            && self.owner.poll_ready(cx).is_ready();
        if !welcome {
            return Turn::Idle;
        }
        match self.io.poll_read(cx, buffer) {
            Poll::Ready(Ok(0)) => {
                self.input = Incoming::Ended;
                self.handle(now, Input::Eof);
            }
            Poll::Ready(Ok(count)) => {
                self.handle(now, Input::Bytes(buffer.get(..count).unwrap_or_default()));
                self.limit_unsent(now);
            }
            Poll::Ready(Err(error)) => self.fail(now, DriveError::Io(error)),
            Poll::Pending => return Turn::Idle,
        }
        Turn::Progress
    }

    fn allowed(&mut self) -> Reading {
        let reading = match self.policy.while_blocked {
            WhileBlocked::Pause { above, .. } if self.unsent.len() >= above => Reading::Paused,
            WhileBlocked::Pause { .. } | WhileBlocked::Read { .. } => Reading::Allowed,
        };
        if reading == Reading::Paused && self.reading == Reading::Allowed {
            self.owner.paused();
        }
        self.reading = reading;
        reading
    }

    fn limit_unsent(&mut self, now: Now) {
        match self.policy.while_blocked {
            WhileBlocked::Read { at_most } if self.unsent.len() > at_most => {
                self.fail(now, DriveError::Flooded(self.unsent.len()));
            }
            WhileBlocked::Read { .. } | WhileBlocked::Pause { .. } => {}
        }
    }

    fn take_commands(&mut self, cx: &mut Context<'_>, now: Now) -> Turn {
        let mut turn = Turn::Idle;
        if self.leaving.is_none() && self.owner.poll_gone(cx).is_ready() {
            self.leaving = Some(now.instant + self.policy.linger);
            turn = Turn::Progress;
        }
        for _ in 0..COMMANDS {
            let welcome = matches!(self.phase, Phase::Open)
                && self.machine.accepts_commands()
                && self.unsent.len() < self.policy.unsent
                && self.owner.poll_ready(cx).is_ready();
            if !welcome {
                break;
            }
            match self.owner.poll_command(cx) {
                Poll::Ready(Some(command)) => self.handle(now, Input::Command(command)),
                Poll::Ready(None) => self.close(now, Ok(CloseReason::Finished)),
                Poll::Pending => break,
            }
            turn = Turn::Progress;
        }
        turn
    }

    fn expire(&mut self, now: Now) -> Turn {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        if !matches!(self.phase, Phase::Open) {
            return Turn::Progress;
        }
        if due(self.stalled()) {
            self.fail(now, DriveError::Stalled);
        } else if due(self.leaving) {
            self.close(now, Ok(CloseReason::Finished));
        } else if due(self.machine.deadline()) {
            self.handle(now, Input::Timeout);
            debug_assert!(
                !matches!(self.phase, Phase::Open) || !due(self.machine.deadline()),
                "a deadline is later than its timeout"
            );
        } else {
            return Turn::Idle;
        }
        Turn::Progress
    }

    fn deadline(&self) -> Option<Instant> {
        [self.machine.deadline(), self.stalled(), self.leaving]
            .into_iter()
            .flatten()
            .min()
    }

    fn stalled(&self) -> Option<Instant> {
        match self.policy.while_blocked {
            WhileBlocked::Read { .. } => None,
            WhileBlocked::Pause { stall, .. } => self.blocked.map(|since| since + stall),
        }
    }

    fn sleep(&mut self, cx: &mut Context<'_>, until: Option<Instant>) -> Turn {
        match until.map(|until| self.clock.poll_sleep(cx, until)) {
            Some(Poll::Ready(())) => Turn::Progress,
            Some(Poll::Pending) | None => Turn::Idle,
        }
    }

    fn turn_broken(
        &mut self,
        cx: &mut Context<'_>,
        now: Now,
        until: Instant,
        buffer: &mut [u8],
    ) -> Turn {
        let turn = self.read(cx, now, buffer);
        self.unsent.clear();
        let Phase::Broken { error, .. } = &mut self.phase else {
            return Turn::Progress;
        };
        if self.input == Incoming::Ended || now.instant >= until {
            let error = std::mem::replace(error, io::ErrorKind::BrokenPipe.into());
            self.fail(now, DriveError::Io(error));
            return Turn::Progress;
        }
        match turn {
            Turn::Progress => Turn::Progress,
            Turn::Idle => self.sleep(cx, Some(until)),
        }
    }

    fn turn_closing(
        &mut self,
        cx: &mut Context<'_>,
        now: Now,
        until: Instant,
        buffer: &mut [u8],
    ) -> Turn {
        let written = self.write(cx, now);
        let sent = self.unsent.is_empty() && self.flush == Flush::Done;
        let Phase::Closing {
            outcome, output, ..
        } = &mut self.phase
        else {
            return Turn::Progress;
        };
        if sent && *output == Outgoing::Open && self.io.poll_close(cx).is_ready() {
            *output = Outgoing::Ended;
        }
        let discarded = self.input == Incoming::Open
            && match self.io.poll_read(cx, buffer) {
                Poll::Ready(Ok(0) | Err(_)) => {
                    self.input = Incoming::Ended;
                    true
                }
                Poll::Ready(Ok(_)) => true,
                Poll::Pending => false,
            };
        let closed = *output == Outgoing::Ended
            && (self.input == Incoming::Ended || !waits_for_peer(outcome));
        if closed || written.is_err() || now.instant >= until {
            let outcome = std::mem::replace(outcome, Ok(CloseReason::Finished));
            self.phase = Phase::Ended(match (outcome, written) {
                // Only an end that promises delivery is wrong without it.
                (Ok(CloseReason::Finished), Err(error)) => Err(DriveError::Io(error)),
                (Ok(CloseReason::Finished), Ok(())) if !sent => Err(DriveError::Stalled),
                (outcome, _) => outcome,
            });
            return Turn::Progress;
        }
        match discarded {
            true => Turn::Progress,
            false => self.sleep(cx, Some(until)),
        }
    }

    fn handle(&mut self, now: Now, input: Input<'_, M::Command>) {
        let handled = self.machine.handle(now, input);
        self.drain(now);
        if let Err(error) = handled {
            self.close(now, Err(DriveError::Machine(error)));
        }
    }

    fn drain(&mut self, now: Now) {
        while let Some(action) = self.machine.poll() {
            match action {
                Action::Transmit(bytes) => self.unsent.push(bytes),
                Action::Event(event) => self.owner.tell(event),
                Action::Close(reason) => self.close(now, Ok(reason)),
            }
        }
    }

    /// Ends with an error of the stream. What the machine has to tell its owner about that is told.
    fn fail(&mut self, now: Now, error: DriveError<M::Error>) {
        if self.input == Incoming::Open {
            self.input = Incoming::Ended;
            self.handle(now, Input::Eof);
        }
        self.phase = Phase::Ended(Err(error));
    }

    fn close(&mut self, now: Now, outcome: Outcome<M::Error>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Starting);
        self.phase = Phase::Closing {
            outcome: match (phase, outcome) {
                (Phase::Broken { error, .. }, Ok(CloseReason::Finished)) => {
                    Err(DriveError::Io(error))
                }
                (_, outcome) => outcome,
            },
            until: now.instant + self.policy.linger,
            output: Outgoing::Open,
        };
    }
}

/// Whether the peer may still have to read what was sent last.
const fn waits_for_peer<E>(outcome: &Outcome<E>) -> bool {
    match outcome {
        Ok(CloseReason::Finished) | Err(_) => true,
        Ok(CloseReason::PeerClosed | CloseReason::Truncated | CloseReason::TimedOut) => false,
    }
}

/// Lends the buffer of this thread: a quiet connection owns none.
fn with_read_buffer<R>(read: impl FnOnce(&mut [u8]) -> R) -> R {
    thread_local! {
        static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    }
    let mut buffer = BUFFER.try_with(Cell::take).unwrap_or_default();
    buffer.resize(READ, 0);
    let result = read(&mut buffer);
    // A thread that is ending keeps none.
    BUFFER.try_with(|lent| lent.set(buffer)).ok();
    result
}
