//! A small machine to try drivers and networks on: frames of bytes, echoes and timers.
//!
//! ```text
//!   ┌──────┐ Eof, if it does not echo ┌────────────┐ Finish              ┌────────┐
//!   │ Open │─────────────────────────▶│ PeerClosed │────────────────────▶│ Closed │
//!   └──────┘                          └────────────┘                     └────────┘
//!      │     Finish, Eof inside a frame, Eof if it echoes                    ▲
//!      └─────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A frame is a 2-byte length and as many bytes, at most [`Frames::MAX`].
//!
//! ```
//! use simplex_sans_io::machine::{Action, Input, Machine};
//! use simplex_sans_io::sim::{Frames, FramesEvent};
//! use simplex_sans_io::time::Now;
//!
//! let mut echo = Frames::echo();
//! echo.handle(Now::START, Input::Bytes(b"\0\x02hi\0"))?;
//! assert_eq!(echo.poll(), Some(Action::Event(FramesEvent::Frame("hi".into()))));
//! assert_eq!(echo.poll(), Some(Action::Transmit("\0\x02hi".into())));
//! assert_eq!(echo.poll(), None);
//! # Ok::<(), simplex_sans_io::sim::FrameError>(())
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::machine::{CloseReason, Connection, Input, Machine, Outbox};
use crate::time::{Instant, Latest, Now};

type Action = crate::machine::Action<FramesEvent>;

/// Frames of bytes, echoes and timers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames {
    role: Role,
    state: State,
    received: BytesMut,
    timers: BTreeMap<(Instant, u64), u32>,
    timers_set: u64,
    reading: Reading,
    latest: Latest,
    outbox: Outbox<FramesEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    Welcome,
    Unwelcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Sends what its owner wants.
    Plain,
    /// Takes a command only while fewer frames than this are unanswered.
    Windowed { window: usize, unanswered: usize },
    /// Sends back every frame.
    Echo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    PeerClosed,
    Closed,
}

/// What [`Frames`] can be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FramesCommand {
    /// Send a frame.
    Send(Bytes),
    /// Tell this number after that time.
    Wake(Duration, u32),
    /// Want no bytes from now on.
    Pause,
    /// Want bytes again.
    Resume,
    /// Close the stream.
    Finish,
}

/// What [`Frames`] tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FramesEvent {
    /// A frame arrived.
    Frame(Bytes),
    /// The time of this number has come.
    Woke(u32),
    /// The peer will send nothing more.
    PeerClosed,
    /// A frame that is too long, or came while none was welcome, was not sent.
    Refused(Bytes),
}

/// Why [`Frames`] died.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The peer announces a frame that is too long.
    #[error("frame of {0} bytes, at most {max} are allowed", max = Frames::MAX)]
    Length(usize),
}

impl Frames {
    /// The most bytes of a frame.
    pub const MAX: usize = 16384;

    /// A machine that sends what its owner wants.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Role::Plain)
    }

    /// A machine that wants no command while `window` frames are unanswered.
    #[must_use]
    pub fn windowed(window: usize) -> Self {
        Self::with(Role::Windowed {
            window,
            unanswered: 0,
        })
    }

    /// A machine that sends back every frame.
    #[must_use]
    pub fn echo() -> Self {
        Self::with(Role::Echo)
    }

    fn with(role: Role) -> Self {
        Self {
            role,
            state: State::Open,
            received: BytesMut::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            reading: Reading::Welcome,
            latest: Latest::default(),
            outbox: Outbox::default(),
        }
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        self.received.extend_from_slice(bytes);
        let mut echoes = BytesMut::new();
        while let Some(frame) = self.frame()? {
            match &mut self.role {
                Role::Plain => {}
                Role::Windowed { unanswered, .. } => *unanswered = unanswered.saturating_sub(1),
                Role::Echo => put_frame(&mut echoes, &frame),
            }
            self.outbox.event(FramesEvent::Frame(frame));
        }
        self.outbox.transmit(echoes.freeze());
        Ok(())
    }

    fn frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.received.first_chunk() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > Self::MAX {
            return Err(FrameError::Length(length));
        }
        if self.received.len() < length.saturating_add(2) {
            return Ok(None);
        }
        self.received.advance(2);
        Ok(Some(self.received.split_to(length).freeze()))
    }

    fn end(&mut self) {
        match (self.role, self.received.is_empty()) {
            (_, false) => self.close(CloseReason::Truncated),
            (Role::Echo, true) => self.close(CloseReason::PeerClosed),
            (Role::Plain | Role::Windowed { .. }, true) => {
                self.state = State::PeerClosed;
                self.outbox.event(FramesEvent::PeerClosed);
            }
        }
    }

    fn command(&mut self, now: Now, command: FramesCommand) {
        match command {
            FramesCommand::Send(frame) if frame.len() > Self::MAX || !self.accepts_commands() => {
                self.outbox.event(FramesEvent::Refused(frame));
            }
            FramesCommand::Send(frame) => {
                if let Role::Windowed { unanswered, .. } = &mut self.role {
                    *unanswered = unanswered.saturating_add(1);
                }
                let mut bytes = BytesMut::new();
                put_frame(&mut bytes, &frame);
                self.outbox.transmit(bytes.freeze());
            }
            FramesCommand::Wake(after, number) => {
                self.timers_set = self.timers_set.saturating_add(1);
                let at = now.instant + after.max(Duration::from_micros(1));
                self.timers.insert((at, self.timers_set), number);
            }
            FramesCommand::Pause => self.reading = Reading::Unwelcome,
            FramesCommand::Resume => self.reading = Reading::Welcome,
            FramesCommand::Finish => self.close(CloseReason::Finished),
        }
    }

    fn expire(&mut self, now: Now) {
        while let Some(timer) = self.timers.first_entry() {
            if timer.key().0 > now.instant {
                return;
            }
            self.outbox.event(FramesEvent::Woke(timer.remove()));
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.timers.clear();
        self.outbox.close(reason);
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

fn put_frame(out: &mut BytesMut, frame: &[u8]) {
    out.put_u16(u16::try_from(frame.len()).unwrap_or(u16::MAX));
    out.put_slice(frame);
}

impl Machine for Frames {
    type Input<'a> = Input<'a, FramesCommand>;
    type Action = Action;
    type Error = FrameError;

    fn handle(&mut self, now: Now, input: Input<'_, FramesCommand>) -> Result<(), FrameError> {
        self.outbox.begin();
        let now = self.latest.at(now);
        match (self.state, input) {
            (State::Closed, Input::Command(FramesCommand::Send(frame))) => {
                self.outbox.event(FramesEvent::Refused(frame));
            }
            (State::Closed, _) => {}
            (_, Input::Command(command)) => self.command(now, command),
            (_, Input::Timeout) => self.expire(now),
            (State::Open, Input::Bytes(bytes)) => self.receive(bytes)?,
            (State::Open, Input::Eof) => self.end(),
            (State::PeerClosed, Input::Bytes(_) | Input::Eof) => {}
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action> {
        self.outbox.next()
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.keys().next().map(|(at, _)| *at)
    }
}

impl Connection for Frames {
    type Command = FramesCommand;
    type Event = FramesEvent;

    fn accepts_commands(&self) -> bool {
        match self.role {
            Role::Plain | Role::Echo => true,
            Role::Windowed { window, unanswered } => unanswered < window,
        }
    }

    fn accepts_bytes(&self) -> bool {
        self.reading == Reading::Welcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn give(frames: &mut Frames, now: Now, input: Input<'_, FramesCommand>) -> Vec<Action> {
        frames.handle(now, input).unwrap();
        std::iter::from_fn(|| frames.poll()).collect()
    }

    #[test]
    fn timers_of_one_instant_expire_in_the_order_in_which_they_were_set() {
        let mut frames = Frames::new();
        for number in [3, 1, 2] {
            let wake = FramesCommand::Wake(Duration::from_secs(1), number);
            assert_eq!(give(&mut frames, Now::START, Input::Command(wake)), []);
        }
        let now = Now::START + Duration::from_secs(1);
        assert_eq!(frames.deadline(), Some(now.instant));
        let woke = [3, 1, 2].map(|number| Action::Event(FramesEvent::Woke(number)));
        assert_eq!(give(&mut frames, now, Input::Timeout), woke);
        assert_eq!(frames.deadline(), None);
    }

    #[test]
    fn a_window_that_is_full_refuses() {
        let mut frames = Frames::windowed(1);
        let send = |bytes: &'static str| Input::Command(FramesCommand::Send(bytes.into()));
        assert!(matches!(
            give(&mut frames, Now::START, send("a"))[..],
            [Action::Transmit(_)]
        ));
        assert!(!frames.accepts_commands());
        let refused = Action::Event(FramesEvent::Refused("b".into()));
        assert_eq!(give(&mut frames, Now::START, send("b")), [refused]);
        give(&mut frames, Now::START, Input::Bytes(b"\0\x01a"));
        assert!(frames.accepts_commands());
    }

    #[test]
    fn a_frame_that_is_too_long_kills_the_machine() {
        let error = Frames::new().handle(Now::START, Input::Bytes(b"\x40\x01"));
        assert_eq!(error, Err(FrameError::Length(16385)));
    }
}
