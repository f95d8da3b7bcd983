//! The state of a queue whose messages are in journals.

use std::fmt;

use crate::wire::text::parse_bool;

use super::LineError;
use super::fields::Words;

/// Where messages are written and read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalState {
    /// Where the next message is written.
    pub write: JournalPosition,
    /// Where the next message is read.
    pub read: JournalPosition,
    /// Whether the queue takes messages; not after it was full.
    pub can_write: bool,
    /// How many messages wait.
    pub size: u64,
}

/// A place in a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalPosition {
    /// The name of the journal.
    pub journal: String,
    /// How many messages are before the place.
    pub messages: u64,
    /// How many messages the journal has.
    pub message_count: u64,
    /// How many bytes are before the place.
    pub bytes: u64,
    /// How many bytes the journal has.
    pub byte_count: u64,
}

impl JournalState {
    /// Whether all numbers fit together. A line that was cut off may have others.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let fits = |position: &JournalPosition| {
            position.messages <= position.message_count && position.bytes <= position.byte_count
        };
        let unread = |position: &JournalPosition| {
            let count = position.message_count.checked_sub(position.messages);
            count.unwrap_or(u64::MAX)
        };
        let written = match self.read.journal == self.write.journal {
            true => 0,
            false => self.write.message_count,
        };
        let same_journal_same_size = self.read.journal != self.write.journal
            || (self.read.message_count, self.read.byte_count)
                == (self.write.message_count, self.write.byte_count);
        fits(&self.write)
            && fits(&self.read)
            && same_journal_same_size
            && unread(&self.read).checked_add(written) == Some(self.size)
    }
}

/// Reads a line of a state file, without its end.
pub fn parse_state(line: &str) -> Result<JournalState, LineError> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut words = Words::new(line);
    let mut named = |name: &'static str| {
        let word = words.any(name)?;
        let value = word
            .strip_prefix(name)
            .and_then(|word| word.strip_prefix('='));
        value.ok_or(LineError::Missing(name))
    };
    let state = JournalState {
        write: position("write", named("write")?)?,
        read: position("read", named("read")?)?,
        can_write: parse_bool(named("canWrite")?).map_err(|_| LineError::Invalid("canWrite"))?,
        size: number("size", named("size")?)?,
    };
    match words.next() {
        None => Ok(state),
        Some(_) => Err(LineError::Trailing),
    }
}

fn position(name: &'static str, text: &str) -> Result<JournalPosition, LineError> {
    let mut parts = text.split(',');
    let mut part = || parts.next().ok_or(LineError::Invalid(name));
    let position = JournalPosition {
        journal: part()?.to_owned(),
        messages: number(name, part()?)?,
        message_count: number(name, part()?)?,
        bytes: number(name, part()?)?,
        byte_count: number(name, part()?)?,
    };
    // It becomes a part of the name of a file.
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=".contains(&byte);
    let is_named = !position.journal.is_empty() && position.journal.bytes().all(is_name);
    match parts.next() {
        None if is_named => Ok(position),
        None | Some(_) => Err(LineError::Invalid(name)),
    }
}

fn number(name: &'static str, text: &str) -> Result<u64, LineError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_number);
    number.ok_or(LineError::Invalid(name))
}

impl fmt::Display for JournalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{},{},{},{},{}",
            self.journal, self.messages, self.message_count, self.bytes, self.byte_count
        )
    }
}

/// The line, without its end.
impl fmt::Display for JournalState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let can_write = if self.can_write { "T" } else { "F" };
        write!(
            f,
            "write={} read={} canWrite={can_write} size={}",
            self.write, self.read, self.size
        )
    }
}
