//! What happened in a run, line by line, and a digest of it.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::machine::{Action, Input};
use crate::time::Instant;

/// A record of what happened. Two runs from the same seed give equal ones.
///
/// Bytes are recorded by length and digest, so that a line stays readable; what a machine redacts stays redacted.
///
/// ```
/// use simplex_sans_io::machine::{Action, CloseReason};
/// use simplex_sans_io::sim::Trace;
/// use simplex_sans_io::time::Instant;
///
/// let mut trace = Trace::text();
/// trace.action(Instant::from_micros(1_500_000), "left", &Action::<()>::Transmit("hello".into()));
/// trace.action(Instant::from_micros(1_500_000), "left", &Action::<()>::Close(CloseReason::Finished));
/// assert_eq!(trace.lines(), ["+1.5s left > Transmit 5 2cf24dba", "+1.5s left > Close Finished"]);
/// ```
#[derive(Debug, Clone)]
pub struct Trace {
    digest: Option<Sha256>,
    lines: Option<Vec<String>>,
}

/// Whether a node was given something or has said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// It was given.
    Input,
    /// It has said.
    Action,
}

impl Trace {
    /// A trace that keeps nothing: for runs that nobody looks at.
    #[must_use]
    pub const fn nothing() -> Self {
        Self {
            digest: None,
            lines: None,
        }
    }

    /// A trace that keeps no more than the digest: for long runs.
    #[must_use]
    pub fn digest_only() -> Self {
        Self {
            digest: Some(Sha256::new()),
            lines: None,
        }
    }

    /// A trace that keeps all lines.
    #[must_use]
    pub fn text() -> Self {
        Self {
            lines: Some(Vec::new()),
            ..Self::digest_only()
        }
    }

    /// Records what a machine on a byte stream is given.
    pub fn input<C: fmt::Debug>(&mut self, at: Instant, node: &str, input: &Input<'_, C>) {
        match input {
            Input::Bytes(bytes) => {
                self.record(at, node, Direction::Input, Measured("Bytes", bytes))
            }
            Input::Eof => self.record(at, node, Direction::Input, "Eof"),
            Input::Timeout => self.record(at, node, Direction::Input, "Timeout"),
            Input::Command(command) => {
                self.record(
                    at,
                    node,
                    Direction::Input,
                    format_args!("Command {command:?}"),
                );
            }
        }
    }

    /// Records what a machine on a byte stream asks for.
    pub fn action<E: fmt::Debug>(&mut self, at: Instant, node: &str, action: &Action<E>) {
        match action {
            Action::Transmit(bytes) => {
                self.record(at, node, Direction::Action, Measured("Transmit", bytes));
            }
            Action::Event(event) => {
                self.record(at, node, Direction::Action, format_args!("Event {event:?}"));
            }
            Action::Close(reason) => {
                self.record(
                    at,
                    node,
                    Direction::Action,
                    format_args!("Close {reason:?}"),
                );
            }
        }
    }

    /// Records anything else.
    pub fn record(
        &mut self,
        at: Instant,
        node: &str,
        direction: Direction,
        what: impl fmt::Display,
    ) {
        let Some(digest) = &mut self.digest else {
            return;
        };
        let arrow = match direction {
            Direction::Input => '<',
            Direction::Action => '>',
        };
        let line = format!("{at:?} {node} {arrow} {what}");
        digest.update(&line);
        digest.update(b"\n");
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
    }

    /// All lines, if they were kept.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// The SHA-256 of all lines so far; of none if nothing is kept.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let digest = self.digest.clone().unwrap_or_default();
        digest.finalize().into()
    }
}

impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        self.digest() == other.digest()
    }
}

impl Eq for Trace {}

struct Measured<'a>(&'static str, &'a [u8]);

impl fmt::Display for Measured<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(name, bytes) = self;
        write!(f, "{name} {} ", bytes.len())?;
        let digest = Sha256::digest(bytes);
        digest.iter().take(4).try_for_each(|b| write!(f, "{b:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_equal_when_all_lines_are() {
        let record = |node: &str| {
            let mut trace = Trace::digest_only();
            trace.input(Instant::START, node, &Input::Command(1));
            trace.input(Instant::START, node, &Input::<()>::Bytes(b"1"));
            trace
        };
        assert_eq!(record("left"), record("left"));
        assert_ne!(record("left"), record("right"));
        assert!(record("left").lines().is_empty());
    }
}
