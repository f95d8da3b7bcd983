//! The tables of a store, and the keys of their entries.
//!
//! Keys sort as they are read: messages by place, indexes by time. An id in front of something else has its length before it.

use std::fmt;

use simplex_sans_io::smp::handshake::ServiceRole;
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::wire::EntityId;

use crate::store::engine::{Tables, Usage};

/// A table of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Queues, by the id of their recipient.
    Queues,
    /// The ids of recipients, by the other ids of their queues.
    Ids,
    /// Which messages wait in a queue, and which notifications for a notifier.
    Positions,
    /// Messages, by recipient and place. Each is written once and deleted once.
    Messages,
    /// Notifications, by notifier and place. Each is written once and deleted once.
    Notifications,
    /// When something waits since, and which queues a service has.
    Index,
    /// Services, by their ids and by their fingerprints, and the totals of their queues.
    Services,
    /// Counts, statistics, what was imported.
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
            Self::Queues => 1,
            Self::Ids => 2,
            Self::Positions => 3,
            Self::Messages => 4,
            Self::Notifications => 5,
            Self::Index => 6,
            Self::Services => 7,
            Self::State => 8,
        }
    }

    fn usage(self) -> Usage {
        match self {
            Self::Messages => Usage::Passing,
            Self::Queues => Usage::Large,
            Self::Positions => Usage::Busy,
            Self::Ids | Self::Notifications | Self::Index | Self::Services | Self::State => {
                Usage::Small
            }
        }
    }
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 8] = [
        Self::Queues,
        Self::Ids,
        Self::Positions,
        Self::Messages,
        Self::Notifications,
        Self::Index,
        Self::Services,
        Self::State,
    ];

    /// The name of the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Ids => "ids",
            Self::Positions => "positions",
            Self::Messages => "messages",
            Self::Notifications => "notifications",
            Self::Index => "index",
            Self::Services => "services",
            Self::State => "state",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that can wait and grow old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// Messages, for a recipient.
    Messages,
    /// Notifications, for a notifier.
    Notifications,
}

impl Waiting {
    const fn tag(self) -> u8 {
        match self {
            Self::Messages => b'M',
            Self::Notifications => b'N',
        }
    }

    /// Where it is written which of them wait.
    pub(super) fn position(self, id: &[u8]) -> Vec<u8> {
        [&[self.tag()], id].concat()
    }

    /// Where it is found since when they wait.
    pub(super) fn since(self, time: i64, id: &[u8]) -> Vec<u8> {
        [&[self.tag()], ordered(time).as_slice(), id].concat()
    }

    /// What waits, and for whom, at such a key.
    pub(super) fn parse_position(key: &[u8]) -> Option<(Self, &[u8])> {
        Some((Self::of_index(key)?, key.get(1..)?))
    }

    /// What an entry of the index is about, if it is about something that waits.
    pub(super) fn of_index(key: &[u8]) -> Option<Self> {
        let tag = *key.first()?;
        let all = [Self::Messages, Self::Notifications];
        all.into_iter().find(|waiting| waiting.tag() == tag)
    }

    /// The time and the id of an entry that was found there.
    pub(super) fn parse_since(key: &[u8]) -> Option<(i64, &[u8])> {
        let (time, id) = key.get(1..)?.split_first_chunk()?;
        Some((from_ordered(*time), id))
    }
}

/// The place of a message or notification.
pub(super) fn place(id: &[u8], sequence: u64) -> Vec<u8> {
    [&counted(id), sequence.to_be_bytes().as_slice()].concat()
}

/// The id and sequence of a place.
pub(super) fn parse_place(key: &[u8]) -> Option<(&[u8], u64)> {
    let (length, rest) = key.split_first()?;
    let (id, sequence) = rest.split_at_checked(usize::from(*length))?;
    Some((id, u64::from_be_bytes(sequence.try_into().ok()?)))
}

/// An id of a queue.
pub(super) fn id(party: Party, id: &[u8]) -> Vec<u8> {
    let party = match party {
        Party::Recipient => b'R',
        Party::Sender => b'S',
        Party::Notifier => b'N',
        Party::Link => b'L',
    };
    [&[party], id].concat()
}

/// A queue of a service.
pub(super) fn service_queue(role: ServiceRole, service: &[u8], recipient: &[u8]) -> Vec<u8> {
    [&[role_tag(role)], counted(service).as_slice(), recipient].concat()
}

/// The role, service and recipient of such a key.
pub(super) fn parse_service_queue(key: &[u8]) -> Option<(ServiceRole, &[u8], &[u8])> {
    let ([tag, length], rest) = key.split_first_chunk()?;
    let roles = [
        ServiceRole::Messaging,
        ServiceRole::Notifier,
        ServiceRole::Proxy,
    ];
    let role = roles.into_iter().find(|role| role_tag(*role) == *tag)?;
    let (service, recipient) = rest.split_at_checked(usize::from(*length))?;
    Some((role, service, recipient))
}

const fn role_tag(role: ServiceRole) -> u8 {
    match role {
        ServiceRole::Messaging => b'm',
        ServiceRole::Notifier => b'n',
        ServiceRole::Proxy => b'p',
    }
}

/// A service.
pub(super) fn service(id: &EntityId) -> Vec<u8> {
    [b"S", &**id].concat()
}

/// The first key of all services, and the first one after them.
pub(super) fn all_services() -> (Vec<u8>, Vec<u8>) {
    (b"S".to_vec(), after_prefix(b"S"))
}

/// A note.
pub(super) fn note(name: &str) -> Vec<u8> {
    [b"note ", name.as_bytes()].concat()
}

/// The totals of a service.
pub(super) fn service_totals(id: &EntityId) -> Vec<u8> {
    [b"T", &**id].concat()
}

/// The id of a service with a fingerprint.
pub(super) fn service_fingerprint(fingerprint: &[u8; 32]) -> Vec<u8> {
    [b"F", fingerprint.as_slice()].concat()
}

/// The party and id of an id's key.
pub(super) fn parse_id(key: &[u8]) -> Option<(Party, &[u8])> {
    let (tag, id) = key.split_first()?;
    let parties = [
        Party::Recipient,
        Party::Sender,
        Party::Notifier,
        Party::Link,
    ];
    let party = parties
        .into_iter()
        .find(|party| self::id(*party, &[]) == [*tag])?;
    Some((party, id))
}

/// The first key after all that begin with `prefix`, if there is any.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}

fn counted(id: &[u8]) -> Vec<u8> {
    let length = u8::try_from(id.len()).unwrap_or(u8::MAX);
    [&[length], id].concat()
}

/// Times before the epoch sort before those after it.
fn ordered(time: i64) -> [u8; 8] {
    (time ^ i64::MIN).to_be_bytes()
}

fn from_ordered(bytes: [u8; 8]) -> i64 {
    i64::from_be_bytes(bytes) ^ i64::MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn times_and_places_sort_and_come_back(a: i64, b: i64, p: u64, q: u64, id in prop::collection::vec(any::<u8>(), 0..40)) {
            let since = |time| Waiting::Messages.since(time, &id);
            prop_assert_eq!(since(a).cmp(&since(b)), a.cmp(&b));
            let (key, expected) = (since(a), Some((a, id.as_slice())));
            prop_assert_eq!(Waiting::parse_since(&key), expected);
            prop_assert_eq!(place(&id, p).cmp(&place(&id, q)), p.cmp(&q));
            let (key, expected) = (place(&id, p), Some((id.as_slice(), p)));
            prop_assert_eq!(parse_place(&key), expected);
        }

        #[test]
        fn a_prefix_ends_before_what_follows(prefix in prop::collection::vec(any::<u8>(), 1..4), rest: Vec<u8>) {
            prop_assume!(prefix.iter().any(|byte| *byte < 255));
            let end = after_prefix(&prefix);
            prop_assert!([prefix.as_slice(), &rest].concat() < end);
            prop_assert!(prefix < end);
        }
    }
}
