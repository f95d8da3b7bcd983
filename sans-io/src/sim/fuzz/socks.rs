//! A machine behind a proxy that says anything.

use bytes::Bytes;

use super::choices::Choices;
use super::clockwork::Clockwork;
use crate::machine::{Action, Connection, Input, Machine};
use crate::sim::FrameError;
use crate::sim::{Checked, Frames, FramesCommand, FramesEvent, Trace};
use crate::socks::{Authentication, Credentials, Error, Socks, Target};
use crate::time::Now;

/// The machine behind the proxy gets and says the same however the stream is cut, and nothing of it before the proxy has connected.
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let manner = choices.byte();
    let Some(mut run) = Run::new(manner) else {
        return;
    };
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < MAX_STEPS
        && run.outcome == Outcome::Alive
    {
        steps = steps.saturating_add(1);
        run.step(kind, small, choices, trace);
    }
    if let (Some(mut at_once), true) = (Run::new(manner), run.time == Time::StandsStill) {
        at_once.replay(&run);
        assert_eq!(at_once.transmitted, run.transmitted);
        assert_eq!(at_once.events, run.events);
        assert_eq!(at_once.outcome, run.outcome);
    }
    run.finish();
}

const MAX_STEPS: u8 = 64;

struct Run {
    socks: Checked<Socks<Frames>>,
    clock: Clockwork,
    time: Time,
    outcome: Outcome,
    /// What the proxy has said, and what the owner has asked for.
    received: Vec<u8>,
    commands: Vec<Bytes>,
    transmitted: Vec<u8>,
    events: Vec<FramesEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    StandsStill,
    HasPassed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Alive,
    Closed,
    Dead(Error<FrameError>),
}

impl Run {
    fn new(manner: u8) -> Option<Self> {
        let target: Target = match manner >> 2 & 3 {
            0 => "router.example:5223",
            1 => "10.0.0.1:443",
            2 => "[::1]:443",
            _ => "abcdefgh.onion:80",
        }
        .parse()
        .ok()?;
        let authentication = match manner & 3 {
            0 => Authentication::None,
            1 => Authentication::Credentials(Credentials::new("user", "password")?),
            _ => Authentication::Isolated(Credentials::isolating("session")),
        };
        let within = std::time::Duration::from_secs(30);
        let socks = Socks::new(Frames::new(), target, authentication, Now::START, within);
        let mut run = Self {
            socks: Checked::new(socks),
            clock: Clockwork::default(),
            time: Time::StandsStill,
            outcome: Outcome::Alive,
            received: Vec::new(),
            commands: Vec::new(),
            transmitted: Vec::new(),
            events: Vec::new(),
        };
        run.drain(&mut Trace::nothing());
        Some(run)
    }

    fn step(&mut self, kind: u8, small: u8, choices: &mut Choices<'_>, trace: &mut Trace) {
        match kind {
            0 => self.receive(fitting(small), usize::MAX, trace),
            1 => self.receive(choices.some_bytes(), usize::from(small), trace),
            2 => {
                let frame = Bytes::from(vec![FRAME; usize::from(choices.word() >> 1)]);
                if frame.len() <= Frames::MAX {
                    self.commands.push(frame.clone());
                }
                let command = FramesCommand::Send(frame);
                self.give(Input::Command(command), trace);
            }
            3 => {
                self.time = Time::HasPassed;
                self.clock.advance(choices.duration());
                self.give(Input::Timeout, trace);
            }
            4 => {
                self.time = Time::HasPassed;
                self.clock.go_back(choices.duration());
                self.give(Input::Timeout, trace);
            }
            5 => {
                self.time = Time::HasPassed;
                let wake = FramesCommand::Wake(choices.duration(), small.into());
                self.give(Input::Command(wake), trace);
            }
            6 => {
                self.time = Time::HasPassed;
                self.give(Input::Eof, trace);
            }
            7 => {
                self.time = Time::HasPassed;
                self.give(Input::Command(FramesCommand::Finish), trace);
            }
            _ => {}
        }
    }

    /// Receives bytes in pieces of that size.
    fn receive(&mut self, bytes: &[u8], piece: usize, trace: &mut Trace) {
        for piece in bytes.chunks(piece.max(1)) {
            if self.outcome == Outcome::Alive {
                self.received.extend_from_slice(piece);
                self.give(Input::Bytes(piece), trace);
            }
        }
    }

    /// The same as another run, at once.
    fn replay(&mut self, other: &Self) {
        let trace = &mut Trace::nothing();
        for command in &other.commands {
            self.give(Input::Command(FramesCommand::Send(command.clone())), trace);
        }
        if !other.received.is_empty() {
            self.received.clone_from(&other.received);
            self.give(Input::Bytes(&other.received), trace);
        }
    }

    fn give(&mut self, input: Input<'_, FramesCommand>, trace: &mut Trace) {
        if !matches!(self.outcome, Outcome::Alive | Outcome::Closed) {
            return;
        }
        let now = self.clock.now();
        trace.input(now.instant, "socks", &input);
        let result = self.socks.handle(now, input);
        self.drain(trace);
        if let Err(error) = result {
            self.outcome = Outcome::Dead(error);
        }
    }

    fn drain(&mut self, trace: &mut Trace) {
        while let Some(action) = self.socks.poll() {
            trace.action(self.clock.now().instant, "socks", &action);
            match action {
                Action::Transmit(bytes) => self.transmitted.extend_from_slice(&bytes),
                Action::Event(FramesEvent::Refused(_)) => {}
                Action::Event(event) => self.events.push(event),
                Action::Close(_) => self.outcome = Outcome::Closed,
            }
        }
        let frames = self.transmitted.contains(&FRAME);
        let may = self.received.len() >= SHORTEST_NEGOTIATION;
        assert!(may || !frames, "said before the proxy has connected");
    }

    /// However far it came, it ends: by the proxy's silence, or by the end of the stream.
    fn finish(mut self) {
        let trace = &mut Trace::nothing();
        if let (Outcome::Alive, Some(deadline)) = (&self.outcome, self.socks.deadline()) {
            self.clock.reach(deadline);
            self.give(Input::Timeout, trace);
        }
        self.give(Input::Eof, trace);
        self.give(Input::Command(FramesCommand::Finish), trace);
        assert_ne!(self.outcome, Outcome::Alive);
        assert!(!self.socks.accepts_commands() || self.outcome != Outcome::Closed);
    }
}

/// What frames are made of: no message to a proxy contains it.
const FRAME: u8 = 0xf7;
/// A method without authentication, and a reply with an empty name.
const SHORTEST_NEGOTIATION: usize = 2 + 7;

/// What a proxy that works says, step by step.
const fn fitting(step: u8) -> &'static [u8] {
    match step {
        0 => b"\x05\x00",
        1 => b"\x05\x02",
        2 => b"\x01\x00",
        3 => b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50",
        4 => b"\x05\x00\x00\x03\x01x\x00\x50",
        5 => b"\x05\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x50",
        6 => b"\x00\x05hello",
        _ => b"\x05\x05\x00\x01\x7f\x00\x00\x01\x00\x50",
    }
}
