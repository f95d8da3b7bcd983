//! Two machines that talk to each other.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::{Delivery, Fault, Link, Middle, Netem, Trace};
use crate::machine::{Action, CloseReason, Connection, Input, Machine};
use crate::rng::Rng;
use crate::time::{Instant, Now};

/// Two machines, the two directions between them, and the time.
///
/// Time stands still while something can happen, then jumps to what happens next. What can happen at the same instant happens in an order
/// that the seed decides. A machine that closed, failed or was reset takes part no more.
pub struct Pair<A: Connection, B: Connection> {
    left: Peer<A>,
    right: Peer<B>,
    from_left: Netem,
    from_right: Netem,
    middle: Option<Middle>,
    rng: Rng,
    now: Now,
    trace: Trace,
}

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The first.
    Left,
    /// The second.
    Right,
}

/// A machine of a [`Pair`], and what it told.
pub struct Peer<M: Connection> {
    name: &'static str,
    machine: M,
    events: Vec<M::Event>,
    ended: Option<Ended<M::Error>>,
    arrived: VecDeque<Delivery>,
}

/// How a machine ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended<E> {
    /// It closed the stream.
    Closed(CloseReason),
    /// It died.
    Failed(E),
    /// The network broke the stream.
    Reset,
}

/// Where a run has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// Nothing will happen any more.
    Idle,
    /// What was waited for has happened.
    Reached,
    /// The steps are used up.
    Busy,
}

impl<A, B> Pair<A, B>
where
    A: Connection<Command: fmt::Debug, Event: fmt::Debug>,
    B: Connection<Command: fmt::Debug, Event: fmt::Debug>,
{
    /// Two machines at the start of a stream, over a link that is the same in both directions.
    pub fn new(seed: u64, link: &Link, left: A, right: B) -> Self {
        Self::over(seed, link.clone(), link.clone(), left, right)
    }

    /// Two machines at the start of a stream, over a link for what the left one sends, and one for what the right one sends.
    pub fn over(seed: u64, from_left: Link, from_right: Link, left: A, right: B) -> Self {
        let mut rng = super::rng(seed);
        let mut pair = Self {
            left: Peer::new("left", left),
            right: Peer::new("right", right),
            from_left: Netem::new(from_left, rng.fork()),
            from_right: Netem::new(from_right, rng.fork()),
            middle: None,
            rng,
            now: Now::START,
            trace: Trace::digest_only(),
        };
        let said = pair.left.drain(pair.now, &mut pair.trace);
        pair.send(Side::Left, said);
        let said = pair.right.drain(pair.now, &mut pair.trace);
        pair.send(Side::Right, said);
        pair
    }

    /// Keeps the lines of the trace from now on.
    #[must_use]
    pub fn traced(mut self) -> Self {
        self.trace = Trace::text();
        self
    }

    /// Lets somebody edit what passes from now on.
    #[must_use]
    pub fn through(mut self, middle: Middle) -> Self {
        self.middle = Some(middle);
        self
    }

    /// The time.
    pub const fn now(&self) -> Now {
        self.now
    }

    /// The first machine.
    pub const fn left(&self) -> &Peer<A> {
        &self.left
    }

    /// The second machine.
    pub const fn right(&self) -> &Peer<B> {
        &self.right
    }

    /// What has happened.
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Gives a command to the first machine.
    pub fn command_left(&mut self, command: A::Command) {
        let said = self
            .left
            .give(self.now, Input::Command(command), &mut self.trace);
        self.send(Side::Left, said);
    }

    /// Gives a command to the second machine.
    pub fn command_right(&mut self, command: B::Command) {
        let said = self
            .right
            .give(self.now, Input::Command(command), &mut self.trace);
        self.send(Side::Right, said);
    }

    /// Lets something happen to what this side sends.
    pub fn fault(&mut self, from: Side, fault: Fault) {
        let now = self.now;
        let Ok(()) = self.link(from).handle(now, Input::Command(fault));
    }

    /// Runs until nothing happens any more, for at most that many steps.
    pub fn run(&mut self, steps: usize) -> Settled {
        self.run_until(steps, |_| false)
    }

    /// Runs for that long, for at most that many steps.
    pub fn run_for(&mut self, duration: Duration, steps: usize) -> Settled {
        let until = self.now + duration;
        let settled = self.run_until(steps, |pair| {
            pair.next_event().is_none_or(|at| at > until.instant)
        });
        if settled != Settled::Busy {
            self.now = until;
        }
        settled
    }

    /// Runs until this is so, for at most that many steps.
    pub fn run_until(&mut self, steps: usize, mut reached: impl FnMut(&Self) -> bool) -> Settled {
        for _ in 0..steps {
            if reached(self) {
                return Settled::Reached;
            }
            if !self.step() {
                return Settled::Idle;
            }
        }
        Settled::Busy
    }

    /// Gives one input to one machine, at the time at which the next one is due; says whether there was one.
    pub fn step(&mut self) -> bool {
        let Some(at) = self.next_event() else {
            return false;
        };
        self.now = self.now + (at - self.now.instant);
        self.deliver();
        let due = [
            self.left.is_due(self.now.instant).then_some(Side::Left),
            self.right.is_due(self.now.instant).then_some(Side::Right),
        ];
        match due {
            [Some(_), Some(_)] if self.rng.below(2) == 0 => self.step_left(),
            [_, Some(_)] => self.step_right(),
            [Some(_), None] => self.step_left(),
            // What arrived was for a machine that has ended.
            [None, None] => {}
        }
        true
    }

    /// When something happens next.
    fn next_event(&self) -> Option<Instant> {
        if self.left.has_arrivals() || self.right.has_arrivals() {
            return Some(self.now.instant);
        }
        let links = [self.from_left.deadline(), self.from_right.deadline()];
        let machines = [self.left.deadline(), self.right.deadline()];
        let next = links.into_iter().chain(machines).flatten().min();
        next.map(|at| at.max(self.now.instant))
    }

    fn deliver(&mut self) {
        let Ok(()) = self.from_left.handle(self.now, Input::Timeout);
        let Ok(()) = self.from_right.handle(self.now, Input::Timeout);
        self.right.arrive(&mut self.from_left);
        self.left.arrive(&mut self.from_right);
    }

    fn step_left(&mut self) {
        let said = self.left.step(self.now, &mut self.rng, &mut self.trace);
        self.send(Side::Left, said);
    }

    fn step_right(&mut self) {
        let said = self.right.step(self.now, &mut self.rng, &mut self.trace);
        self.send(Side::Right, said);
    }

    fn send(&mut self, from: Side, said: Said) {
        for bytes in said.bytes {
            let passed = match &mut self.middle {
                None => vec![bytes],
                Some(middle) => middle.pass(from, &bytes),
            };
            for bytes in passed {
                self.input(from, Input::Bytes(&bytes));
            }
        }
        match said.end {
            None => {}
            Some(Delivery::Reset) => self.input(from, Input::Command(Fault::Reset)),
            Some(Delivery::Eof | Delivery::Bytes(_)) => {
                if let Some(middle) = &mut self.middle {
                    let rest = middle.end(from);
                    self.input(from, Input::Bytes(&rest));
                }
                self.input(from, Input::Eof);
            }
        }
    }

    fn input(&mut self, from: Side, input: Input<'_, Fault>) {
        let now = self.now;
        let Ok(()) = self.link(from).handle(now, input);
        self.deliver();
    }

    const fn link(&mut self, from: Side) -> &mut Netem {
        match from {
            Side::Left => &mut self.from_left,
            Side::Right => &mut self.from_right,
        }
    }
}

impl<M: Connection> Peer<M> {
    const fn new(name: &'static str, machine: M) -> Self {
        Self {
            name,
            machine,
            events: Vec::new(),
            ended: None,
            arrived: VecDeque::new(),
        }
    }

    /// The machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// What it told so far.
    pub fn events(&self) -> &[M::Event] {
        &self.events
    }

    /// How it ended, if it has.
    pub const fn ended(&self) -> Option<&Ended<M::Error>> {
        self.ended.as_ref()
    }

    fn deadline(&self) -> Option<Instant> {
        match self.ended {
            None => self.machine.deadline(),
            Some(_) => None,
        }
    }

    fn has_arrivals(&self) -> bool {
        !self.arrived.is_empty() && self.machine.accepts_bytes()
    }

    fn is_due(&self, now: Instant) -> bool {
        self.has_arrivals() || self.deadline().is_some_and(|at| at <= now)
    }

    fn arrive(&mut self, link: &mut Netem) {
        while let Some(delivery) = link.poll() {
            if self.ended.is_none() {
                self.arrived.push_back(delivery);
            }
        }
    }
}

/// What a machine has sent, and how it ended its direction, if it did.
#[derive(Default)]
struct Said {
    bytes: Vec<Bytes>,
    end: Option<Delivery>,
}

impl<M: Connection<Command: fmt::Debug, Event: fmt::Debug>> Peer<M> {
    fn step(&mut self, now: Now, rng: &mut Rng, trace: &mut Trace) -> Said {
        let timer_first = rng.below(2) == 0 || !self.has_arrivals();
        if timer_first && self.deadline().is_some_and(|at| at <= now.instant) {
            return self.give(now, Input::Timeout, trace);
        }
        match self.arrived.pop_front_if(|_| self.machine.accepts_bytes()) {
            Some(Delivery::Bytes(bytes)) => self.give(now, Input::Bytes(&bytes), trace),
            Some(Delivery::Eof) => self.give(now, Input::Eof, trace),
            Some(Delivery::Reset) => self.end(Ended::Reset, Said::default()),
            None => Said::default(),
        }
    }

    fn give(&mut self, now: Now, input: Input<'_, M::Command>, trace: &mut Trace) -> Said {
        if self.ended.is_some() {
            return Said::default();
        }
        trace.input(now.instant, self.name, &input);
        let handled = self.machine.handle(now, input);
        let said = self.drain(now, trace);
        match handled {
            Ok(()) => said,
            Err(error) => self.end(Ended::Failed(error), said),
        }
    }

    fn drain(&mut self, now: Now, trace: &mut Trace) -> Said {
        let mut said = Said::default();
        while let Some(action) = self.machine.poll() {
            trace.action(now.instant, self.name, &action);
            match action {
                Action::Transmit(bytes) => said.bytes.push(bytes),
                Action::Event(event) => self.events.push(event),
                Action::Close(reason) => said = self.end(Ended::Closed(reason), said),
            }
        }
        said
    }

    fn end(&mut self, ended: Ended<M::Error>, said: Said) -> Said {
        let end = match ended {
            Ended::Closed(_) | Ended::Failed(_) => Delivery::Eof,
            Ended::Reset => Delivery::Reset,
        };
        self.ended = Some(ended);
        self.arrived.clear();
        Said {
            end: Some(end),
            ..said
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::sim::{Checked, Cut, FrameError, Frames, FramesCommand, FramesEvent, Twin};
    use proptest::prelude::*;

    fn send(bytes: &[u8]) -> FramesCommand {
        FramesCommand::Send(Bytes::copy_from_slice(bytes))
    }

    fn frame(bytes: &[u8]) -> FramesEvent {
        FramesEvent::Frame(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn time_jumps_to_what_happens_next() {
        let mut pair = Pair::new(1, &Link::IDEAL, Frames::new(), Frames::new());
        pair.command_left(FramesCommand::Wake(Duration::from_secs(1000), 1));
        assert_eq!(pair.run_for(Duration::from_secs(999), 10), Settled::Reached);
        assert_eq!(pair.left().events(), []);
        assert_eq!(pair.run(10), Settled::Idle);
        assert_eq!(pair.left().events(), [FramesEvent::Woke(1)]);
        assert_eq!(pair.now(), Now::START + Duration::from_secs(1000));
    }

    #[test]
    fn a_machine_that_finishes_ends_the_other_one() {
        let mut pair = Pair::new(1, &Link::WAN, Frames::new(), Frames::echo());
        pair.command_left(send(b"hello"));
        assert_eq!(
            pair.run_until(1000, |p| p.left().events() == [frame(b"hello")]),
            Settled::Reached
        );
        pair.command_left(FramesCommand::Finish);
        assert_eq!(pair.run(1000), Settled::Idle);
        assert_eq!(
            pair.left().ended(),
            Some(&Ended::Closed(CloseReason::Finished))
        );
        assert_eq!(
            pair.right().ended(),
            Some(&Ended::Closed(CloseReason::PeerClosed))
        );
    }

    #[test]
    fn a_cut_inside_a_frame_truncates_it() {
        let cut = |cut| Link {
            cut: Some(cut),
            ..Link::WAN
        };
        for (link, ended) in [
            (
                cut(Cut::HalfClose(4)),
                Ended::Closed(CloseReason::Truncated),
            ),
            (cut(Cut::Reset(4)), Ended::Reset),
        ] {
            let mut pair = Pair::over(1, link, Link::WAN, Frames::new(), Frames::echo());
            pair.command_left(send(b"hello"));
            assert_eq!(pair.run(1000), Settled::Idle);
            assert_eq!(pair.right().ended(), Some(&ended));
        }
    }

    #[test]
    fn somebody_in_the_middle_alters_what_passes() {
        let middle = Middle::new(
            |_, bytes| (bytes.len() >= 3).then_some(3),
            |side, unit| match side {
                Side::Left => vec![unit.clone(), unit],
                Side::Right => vec![Bytes::from_static(b"\xff\xff")],
            },
        );
        let mut pair = Pair::new(1, &Link::TRICKLE, Frames::new(), Frames::echo()).through(middle);
        pair.command_left(send(b"a"));
        assert_eq!(pair.run(1000), Settled::Idle);
        assert_eq!(pair.right().events(), [frame(b"a"), frame(b"a")]);
        let too_long = Ended::Failed(FrameError::Length(0xffff));
        assert_eq!(pair.left().ended(), Some(&too_long));
    }

    #[test]
    fn a_machine_that_never_rests_is_found() {
        let mut pair = Pair::new(1, &Link::IDEAL, Frames::echo(), Frames::echo());
        pair.command_left(send(b"ping"));
        assert_eq!(pair.run(1000), Settled::Busy);
    }

    proptest! {
        #[test]
        fn runs_repeat_and_frames_arrive(seed: u64, frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..500), 0..10)) {
            let link = Link { cut: None, ..Link::any(&mut Rng::from_seed([7; 32])) };
            let run = || {
                let mut pair = Pair::new(seed, &link, Twin::new(|| Checked::new(Frames::new())), Checked::new(Frames::echo()));
                for frame in &frames {
                    pair.command_left(send(frame));
                }
                assert_eq!(pair.run(100_000), Settled::Idle);
                pair
            };
            let (once, twice) = (run(), run());
            prop_assert_eq!(once.trace(), twice.trace());
            prop_assert_eq!(once.left().events(), frames.iter().map(|f| frame(f)).collect::<Vec<_>>());
        }
    }
}
