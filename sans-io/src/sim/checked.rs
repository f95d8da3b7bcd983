//! Wrappers that hold a machine to its contract.

use std::fmt;

use crate::machine::{Action, Connection, Input, Machine};
use crate::time::{Instant, Now};

/// A machine that panics when it, or its driver, breaks the [contract](crate::machine).
///
/// * It is drained before the next input, and gets none after an error.
/// * After a timeout its deadline is later than the timeout.
/// * A timeout that it did not want, or that comes too early, makes it say nothing: nothing has waited for one.
/// * After it has closed it transmits nothing and wants no timeout; all that it may still do is tell that it refuses a command.
/// * It transmits no empty buffers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked<M> {
    machine: M,
    drained: Drained,
    state: State,
    /// When it was last given a timeout, until the deadline that follows was looked at.
    timeout: Option<Instant>,
    words: Words,
    latest: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drained {
    Yes,
    No,
}

/// What it may say after this input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Words {
    Any,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    /// Closed, and given a command nevertheless.
    Refusing,
    Dead,
}

impl<M: Connection> Checked<M> {
    /// Holds a new machine to its contract.
    #[must_use]
    pub const fn new(machine: M) -> Self {
        Self {
            machine,
            drained: Drained::No,
            state: State::Open,
            timeout: None,
            words: Words::Any,
            latest: Instant::START,
        }
    }

    /// The machine.
    #[must_use]
    pub const fn inner(&self) -> &M {
        &self.machine
    }

    fn check_drained(&mut self) {
        let deadline = self.machine.deadline();
        match self.state {
            State::Open => {
                if let (Some(timeout), Some(deadline)) = (self.timeout.take(), deadline) {
                    assert!(
                        deadline > timeout,
                        "after a timeout at {timeout:?} the deadline is {deadline:?}"
                    );
                }
            }
            State::Closed | State::Refusing => {
                assert_eq!(deadline, None, "a closed machine wants no timeout");
            }
            State::Dead => {}
        }
        self.drained = Drained::Yes;
    }
}

impl<M: Connection> Machine for Checked<M> {
    type Input<'a> = Input<'a, M::Command>;
    type Action = Action<M::Event>;
    type Error = M::Error;

    fn handle(&mut self, now: Now, input: Input<'_, M::Command>) -> Result<(), M::Error> {
        assert_eq!(
            self.drained,
            Drained::Yes,
            "input before poll() was drained"
        );
        assert_ne!(self.state, State::Dead, "input after an error");
        self.latest = self.latest.max(now.instant);
        self.words = Words::Any;
        if matches!(input, Input::Timeout) {
            self.timeout = Some(self.latest);
            let wanted = self.machine.deadline();
            if wanted.is_none_or(|deadline| deadline > self.latest) {
                self.words = Words::None;
            }
        }
        self.drained = Drained::No;
        self.state = match (self.state, &input) {
            (State::Closed | State::Refusing, Input::Command(_)) => State::Refusing,
            (State::Closed | State::Refusing, _) => State::Closed,
            (state, _) => state,
        };
        let handled = self.machine.handle(now, input);
        if handled.is_err() {
            self.state = State::Dead;
        }
        handled
    }

    fn poll(&mut self) -> Option<Action<M::Event>> {
        let action = self.machine.poll();
        match &action {
            None => self.check_drained(),
            Some(_) if self.words == Words::None => {
                assert!(action.is_none(), "it has waited for a timeout");
            }
            Some(Action::Event(_)) if self.state == State::Refusing => {}
            Some(_) if matches!(self.state, State::Closed | State::Refusing) => {
                assert!(action.is_none(), "a closed machine says nothing");
            }
            Some(Action::Close(_)) if self.state == State::Open => self.state = State::Closed,
            Some(Action::Transmit(bytes)) => assert!(!bytes.is_empty(), "empty buffer"),
            Some(Action::Close(_) | Action::Event(_)) => {}
        }
        action
    }

    fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }
}

impl<M: Connection> Connection for Checked<M> {
    type Command = M::Command;
    type Event = M::Event;

    fn accepts_commands(&self) -> bool {
        self.machine.accepts_commands()
    }

    fn accepts_bytes(&self) -> bool {
        self.machine.accepts_bytes()
    }
}

/// Two machines made in the same way, which panic when the same inputs do not give the same actions and the same state.
///
/// They are made separately, not cloned, so that each has its own hash maps and whatever else could differ from run to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin<M>([M; 2]);

impl<M> Twin<M> {
    /// Calls `make` twice: it is to make equal machines.
    #[must_use]
    pub fn new(mut make: impl FnMut() -> M) -> Self {
        Self([make(), make()])
    }
}

impl<M> Machine for Twin<M>
where
    M: Connection<Command: Clone, Event: PartialEq + fmt::Debug> + PartialEq + fmt::Debug,
    M::Error: PartialEq,
{
    type Input<'a> = Input<'a, M::Command>;
    type Action = Action<M::Event>;
    type Error = M::Error;

    fn handle(&mut self, now: Now, input: Input<'_, M::Command>) -> Result<(), M::Error> {
        let Self([one, other]) = self;
        let handled = one.handle(now, input.clone());
        assert_eq!(handled, other.handle(now, input), "the same input");
        handled
    }

    fn poll(&mut self) -> Option<Action<M::Event>> {
        let Self([one, other]) = self;
        let action = one.poll();
        assert_eq!(action, other.poll(), "after the same inputs");
        if action.is_none() {
            assert_eq!(one, other, "after the same inputs");
        }
        action
    }

    fn deadline(&self) -> Option<Instant> {
        let Self([one, _]) = self;
        one.deadline()
    }
}

impl<M> Connection for Twin<M>
where
    M: Connection<Command: Clone, Event: PartialEq + fmt::Debug> + PartialEq + fmt::Debug,
    M::Error: PartialEq,
{
    type Command = M::Command;
    type Event = M::Event;

    fn accepts_commands(&self) -> bool {
        let Self([one, _]) = self;
        one.accepts_commands()
    }

    fn accepts_bytes(&self) -> bool {
        let Self([one, _]) = self;
        one.accepts_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{CloseReason, Outbox};
    use std::cell::Cell;
    use std::convert::Infallible;

    /// Does as a test wishes.
    #[derive(Debug, Clone, PartialEq)]
    struct Rogue {
        outbox: Outbox<u32>,
        later: Option<u32>,
        deadline: Option<Instant>,
    }

    #[derive(Debug, Clone)]
    enum Wish {
        Say(Action<u32>),
        SayLater(u32),
        Want(Option<Instant>),
    }

    impl Rogue {
        fn new() -> Checked<Self> {
            let mut rogue = Checked::new(Self {
                outbox: Outbox::default(),
                later: None,
                deadline: None,
            });
            assert_eq!(rogue.poll(), None);
            rogue
        }
    }

    impl Machine for Rogue {
        type Input<'a> = Input<'a, Vec<Wish>>;
        type Action = Action<u32>;
        type Error = Infallible;

        fn handle(&mut self, _: Now, input: Input<'_, Vec<Wish>>) -> Result<(), Infallible> {
            if let Some(event) = self.later.take() {
                self.outbox.event(event);
            }
            let Input::Command(wishes) = input else {
                return Ok(());
            };
            for wish in wishes {
                match wish {
                    Wish::Say(Action::Transmit(_)) => {}
                    Wish::Say(Action::Event(event)) => self.outbox.event(event),
                    Wish::Say(Action::Close(reason)) => self.outbox.close(reason),
                    Wish::SayLater(event) => self.later = Some(event),
                    Wish::Want(deadline) => self.deadline = deadline,
                }
            }
            Ok(())
        }

        fn poll(&mut self) -> Option<Action<u32>> {
            self.outbox.next()
        }

        fn deadline(&self) -> Option<Instant> {
            self.deadline
        }
    }

    impl Connection for Rogue {
        type Command = Vec<Wish>;
        type Event = u32;

        fn accepts_commands(&self) -> bool {
            true
        }
    }

    fn give<M: Connection<Command = Vec<Wish>, Error: fmt::Debug>>(rogue: &mut M, wishes: &[Wish]) {
        rogue
            .handle(Now::START, Input::Command(wishes.to_vec()))
            .unwrap();
        while rogue.poll().is_some() {}
    }

    #[test]
    #[should_panic(expected = "input before poll() was drained")]
    fn a_driver_that_does_not_drain_is_found() {
        let mut rogue = Rogue::new();
        rogue.handle(Now::START, Input::Eof).unwrap();
        rogue.handle(Now::START, Input::Eof).unwrap();
    }

    #[test]
    #[should_panic(expected = "after a timeout at +5µs the deadline is +5µs")]
    fn a_deadline_that_stays_is_found() {
        let mut rogue = Rogue::new();
        let at = Instant::from_micros(5);
        give(&mut rogue, &[Wish::Want(Some(at))]);
        let now = Now {
            instant: at,
            ..Now::START
        };
        rogue.handle(now, Input::Timeout).unwrap();
        assert_eq!(rogue.poll(), None);
    }

    #[test]
    #[should_panic(expected = "it has waited for a timeout")]
    fn words_that_have_waited_for_a_timeout_are_found() {
        let mut rogue = Rogue::new();
        give(&mut rogue, &[Wish::SayLater(7)]);
        rogue.handle(Now::START, Input::Timeout).unwrap();
        while rogue.poll().is_some() {}
    }

    #[test]
    #[should_panic(expected = "a closed machine says nothing")]
    fn words_after_the_end_are_found() {
        let close = Wish::Say(Action::Close(CloseReason::Finished));
        give(&mut Rogue::new(), &[close, Wish::Say(Action::Event(1))]);
    }

    #[test]
    fn a_closed_machine_may_refuse_commands() {
        let mut rogue = Rogue::new();
        give(
            &mut rogue,
            &[Wish::Say(Action::Close(CloseReason::Finished))],
        );
        give(&mut rogue, &[Wish::Say(Action::Event(1))]);
    }

    #[test]
    #[should_panic(expected = "a closed machine wants no timeout")]
    fn a_timer_after_the_end_is_found() {
        let close = Wish::Say(Action::Close(CloseReason::Finished));
        give(
            &mut Rogue::new(),
            &[close, Wish::Want(Some(Instant::START))],
        );
    }

    #[test]
    #[should_panic(expected = "after the same inputs")]
    fn machines_that_differ_from_run_to_run_are_found() {
        let made = Cell::new(0);
        let mut twin = Twin::new(|| {
            made.set(made.get() + 1);
            Rogue {
                outbox: Outbox::default(),
                later: None,
                deadline: Some(Instant::from_micros(made.get())),
            }
        });
        give(&mut twin, &[]);
    }
}
