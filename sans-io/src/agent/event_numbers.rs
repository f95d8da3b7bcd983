//! The numbers of events, none of which is used again: also not after a restart, when those that were confirmed are forgotten.

use super::store::record::{from_bytes, to_bytes};
use super::store::{Change, Key};
use bytes::Bytes;

/// Which number the next event has. What is stored is ahead of it, so that it is not stored with every event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EventNumbers {
    next: u64,
    /// From here on none was used, whatever was confirmed meanwhile.
    stored: u64,
}

/// How many are used before the next one is stored.
const AHEAD: u64 = 256;

impl Default for EventNumbers {
    fn default() -> Self {
        Self { next: 1, stored: 1 }
    }
}

impl EventNumbers {
    /// A number that no event has had, and what is stored with the event, if anything has to be.
    pub(super) fn take(&mut self, key: impl FnOnce() -> Key) -> (u64, Option<Change>) {
        let number = self.next;
        self.next = number.saturating_add(1);
        if self.next <= self.stored {
            return (number, None);
        }
        self.stored = self.next.saturating_add(AHEAD);
        let put = Change::Put {
            key: key(),
            value: to_bytes(&self.stored),
            expires: None,
        };
        (number, Some(put))
    }

    /// What was stored.
    pub(super) fn load(&mut self, value: &Bytes) {
        if let Ok(stored) = from_bytes::<u64>(value) {
            self.stored = self.stored.max(stored);
            self.next = self.next.max(stored);
        }
    }

    /// An event that was stored has this number.
    pub(super) fn used(&mut self, number: u64) {
        self.next = self.next.max(number.saturating_add(1));
    }
}
