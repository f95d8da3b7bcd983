//! The tables of a store, and the keys of their entries.

use crate::store::engine::{Tables, Usage};

/// A table of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Files with the number of their recipients, by the id of the sender.
    Files,
    /// The id of the sender and the key, by the id of the recipient.
    Recipients,
    /// Senders with their recipients.
    Owned,
    /// Senders, by the time of creation.
    Ages,
    /// Totals, statistics.
    State,
}

impl Tables for Table {
    const ALL: &'static [Self] = &Self::ALL;
    const STATE: Self = Self::State;

    fn name(self) -> &'static str {
        self.name()
    }

    fn tag(self) -> u8 {
        match self {
            Self::Files => 1,
            Self::Recipients => 2,
            Self::Owned => 3,
            Self::Ages => 4,
            Self::State => 5,
        }
    }

    fn usage(self) -> Usage {
        Usage::Small
    }
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 5] = [
        Self::Files,
        Self::Recipients,
        Self::Owned,
        Self::Ages,
        Self::State,
    ];

    /// The name of the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Recipients => "recipients",
            Self::Owned => "owned",
            Self::Ages => "ages",
            Self::State => "state",
        }
    }
}

/// Sorts by time, then by sender.
pub(super) fn age(time: i64, sender: &[u8]) -> Vec<u8> {
    let ordered = time.cast_unsigned() ^ (1 << 63);
    [&ordered.to_be_bytes(), sender].concat()
}

/// A sender with one recipient.
pub(super) fn owned(sender: &[u8], recipient: &[u8]) -> Vec<u8> {
    [owner_prefix(sender).as_slice(), recipient].concat()
}

/// What all recipients of a sender begin with.
pub(super) fn owner_prefix(sender: &[u8]) -> Vec<u8> {
    let length = u8::try_from(sender.len()).unwrap_or(u8::MAX);
    [&[length], sender].concat()
}
