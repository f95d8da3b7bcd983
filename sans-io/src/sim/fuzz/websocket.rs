//! A machine behind WebSockets, whose client says anything.

use super::choices::Choices;
use super::clockwork::Clockwork;
use crate::machine::{Action, Connection as _, Input, Machine as _};
use crate::sim::FrameError;
use crate::sim::{Checked, Frames, FramesCommand, FramesEvent, Trace};
use crate::time::Now;
use crate::websocket::{Error, WebSocket};

/// The machine gets and says the same however the stream is cut, nothing of it before the upgrade, and all of it in whole messages.
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let message = usize::from(choices.byte()).max(1);
    let mut run = Run::new(message);
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < MAX_STEPS
        && run.outcome == Outcome::Alive
    {
        steps = steps.saturating_add(1);
        run.step(kind, small, choices, trace);
    }
    if run.only_bytes {
        let mut at_once = Run::new(message);
        at_once.receive(&run.received.clone(), usize::MAX, &mut Trace::nothing());
        assert_eq!(at_once.transmitted, run.transmitted);
        assert_eq!(at_once.events, run.events);
        assert_eq!(at_once.outcome, run.outcome);
    }
    run.finish();
}

const MAX_STEPS: u8 = 64;

struct Run {
    socket: Checked<WebSocket<Frames>>,
    message: usize,
    clock: Clockwork,
    /// Whether nothing but bytes has come.
    only_bytes: bool,
    outcome: Outcome,
    received: Vec<u8>,
    transmitted: Vec<u8>,
    events: Vec<FramesEvent>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Alive,
    Closed,
    Dead(Error<FrameError>),
}

impl Run {
    fn new(message: usize) -> Self {
        let within = std::time::Duration::from_secs(30);
        let socket = WebSocket::new(Frames::new(), message, Now::START, within);
        let mut run = Self {
            socket: Checked::new(socket),
            message,
            clock: Clockwork::default(),
            only_bytes: true,
            outcome: Outcome::Alive,
            received: Vec::new(),
            transmitted: Vec::new(),
            events: Vec::new(),
        };
        run.drain(&mut Trace::nothing());
        run
    }

    fn step(&mut self, kind: u8, small: u8, choices: &mut Choices<'_>, trace: &mut Trace) {
        match kind {
            0 => self.receive(REQUEST, usize::MAX, trace),
            1 => self.receive(choices.some_bytes(), usize::from(small), trace),
            2 => {
                let frame = frame(choices.byte(), choices.some_bytes());
                self.receive(&frame, usize::from(small), trace);
            }
            3 => {
                // As long as it has to be, and what is in it is a frame of the machine behind.
                let payload = vec![small; self.message];
                self.receive(&frame(BINARY, &payload), usize::from(choices.byte()), trace);
            }
            4 => {
                let frame = choices.some_bytes().to_vec();
                self.give(Input::Command(FramesCommand::Send(frame.into())), trace);
            }
            5 => {
                self.clock.advance(choices.duration());
                self.give(Input::Timeout, trace);
            }
            6 => self.give(Input::Eof, trace),
            7 => self.give(Input::Command(FramesCommand::Finish), trace),
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

    fn give(&mut self, input: Input<'_, FramesCommand>, trace: &mut Trace) {
        if !matches!(self.outcome, Outcome::Alive | Outcome::Closed) {
            return;
        }
        self.only_bytes &= matches!(input, Input::Bytes(_));
        let now = self.clock.now();
        trace.input(now.instant, "socket", &input);
        let result = self.socket.handle(now, input);
        self.drain(trace);
        if let Err(error) = result {
            self.outcome = Outcome::Dead(error);
        }
    }

    fn drain(&mut self, trace: &mut Trace) {
        while let Some(action) = self.socket.poll() {
            trace.action(self.clock.now().instant, "socket", &action);
            match action {
                Action::Transmit(bytes) => self.transmitted.extend_from_slice(&bytes),
                Action::Event(FramesEvent::Refused(_)) => {}
                Action::Event(event) => self.events.push(event),
                Action::Close(_) => self.outcome = Outcome::Closed,
            }
        }
        let http = self.transmitted.is_empty() || self.transmitted.starts_with(b"HTTP/1.1 ");
        // A machine that ends before the upgrade has nobody to tell.
        assert!(http, "said before the upgrade");
    }

    /// However far it came, it ends.
    fn finish(mut self) {
        let trace = &mut Trace::nothing();
        if let (Outcome::Alive, Some(deadline)) = (&self.outcome, self.socket.deadline()) {
            self.clock.reach(deadline);
            self.give(Input::Timeout, trace);
        }
        self.give(Input::Eof, trace);
        self.give(Input::Command(FramesCommand::Finish), trace);
        assert_ne!(self.outcome, Outcome::Alive);
        assert!(!self.socket.accepts_commands() || self.outcome != Outcome::Closed);
    }
}

const BINARY: u8 = 0x82;

const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A frame as a client sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [3, 1, 4, 1];
    let mut frame = vec![first];
    match u8::try_from(payload.len()) {
        Ok(length @ ..=125) => frame.push(0x80 | length),
        Ok(_) | Err(_) => {
            frame.push(0x80 | 126);
            let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
            frame.extend(length.to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, mask)| byte ^ mask),
    );
    frame
}
