//! What an agent keeps, and how it asks for it: the only words between the machine and its store.
//!
//! Everything is a [record](mod@record): a value under a [`Key`], which the store does not need to understand. A store carries out
//! transactions and [`Load`]s in the order in which they are given, and reports in that order: a load sees all transactions before it,
//! and `Stored` names the last transaction that is durable, and with it all before. A transaction is stored as a whole or not at all.
//! Transactions that wait may be written together.
//!
//! A table with the columns kind, owner, id, expiry and value, whose primary key is the first three, is such a store; so is a
//! [`BTreeMap`].
//!
//! ```
//! use simplex_sans_io::agent::store::{Change, Key, Kind, Load, Memory};
//!
//! let mut store = Memory::default();
//! let key = |id: &'static [u8]| Key { kind: Kind::Outgoing, owner: b"bob".as_slice().into(), id: id.into() };
//! let put = |id| Change::Put { key: key(id), value: b"value".as_slice().into(), expires: None };
//! store.apply(vec![put(b"1"), put(b"2")]);
//!
//! let load = Load::Owned { owner: b"bob".as_slice().into() };
//! assert_eq!(store.load(&load).len(), 2);
//! store.apply(vec![Change::DeleteOwned { owner: b"bob".as_slice().into() }]);
//! assert_eq!(store.load(&load).len(), 0);
//! ```

pub(super) mod long;
pub mod record;
pub(super) mod secret;

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

#[cfg(feature = "xftp")]
use super::id::FileId;
use super::id::{ConnectionId, EventId, MessageId};
use crate::smp::pool::UserId;
use crate::time::UnixTime;
#[cfg(feature = "xftp")]
use crate::wire::XftpScheme;
use crate::wire::{self, EntityId, ServerAddress, SmpScheme, Version};

/// Under which name a record is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What it is.
    pub kind: Kind,
    /// Whose it is: a connection's, mostly.
    pub owner: Bytes,
    /// Which of them.
    pub id: Bytes,
}

/// What a record is. The numbers are for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A user.
    User = 1,
    /// The state of a connection, without its ratchet.
    Connection = 2,
    /// The ratchet of a connection.
    Ratchet = 3,
    /// The key of a message that was overtaken.
    Skipped = 4,
    /// A message that is to be sent.
    Outgoing = 5,
    /// A message that waits for the application's acknowledgement.
    Received = 6,
    /// A message that was sent, until its receipt comes.
    Sent = 7,
    /// That a message was received. Expires.
    Seen = 8,
    /// A request for a connection that the application has to answer.
    Request = 9,
    /// Which connection a queue belongs to, and how to subscribe to it. Its owner is the router.
    Queue = 10,
    /// That a connection has something to do, and is loaded at the start.
    Work = 11,
    /// An event that the application has not confirmed.
    ///
    /// The one without an id says from where on none was numbered.
    Event = 12,
    /// The key with which the reader of a link has secured its queue.
    Link = 13,
    /// A file that is being sent or received. Its owner is the file, as of all that follow.
    File = 14,
    /// How far a chunk of a file is.
    Chunk = 15,
    /// A chunk that is to be deleted at a router.
    Removal = 16,
    /// An event of a file that the application has not confirmed.
    ///
    /// The one without an id says from where on none was numbered.
    FileEvent = 17,
    /// What was done at a router for a user, who is the owner.
    Statistics = 18,
    /// Which requests of an address wait for the application.
    Waiting = 19,
    /// What was done at a router of files for a user, who is the owner.
    FileStatistics = 20,
}

impl Kind {
    /// The kinds whose owner is a connection: they are deleted with it.
    pub const OF_CONNECTION: [Self; 10] = [
        Self::Connection,
        Self::Ratchet,
        Self::Skipped,
        Self::Outgoing,
        Self::Received,
        Self::Sent,
        Self::Seen,
        Self::Request,
        Self::Work,
        Self::Waiting,
    ];
    /// The kinds that are loaded with a connection.
    pub const LOADED: [Self; 7] = [
        Self::Connection,
        Self::Ratchet,
        Self::Skipped,
        Self::Outgoing,
        Self::Received,
        Self::Work,
        Self::Waiting,
    ];
    /// All kinds.
    pub const ALL: [Self; 20] = [
        Self::User,
        Self::Connection,
        Self::Ratchet,
        Self::Skipped,
        Self::Outgoing,
        Self::Received,
        Self::Sent,
        Self::Seen,
        Self::Request,
        Self::Queue,
        Self::Work,
        Self::Event,
        Self::Link,
        Self::File,
        Self::Chunk,
        Self::Removal,
        Self::FileEvent,
        Self::Statistics,
        Self::Waiting,
        Self::FileStatistics,
    ];

    /// The number of the kind, as stores keep it.
    #[must_use]
    #[expect(clippy::as_conversions, reason = "the representation of the enum")]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The kind with that number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

impl Key {
    /// A record of a connection of which there is one.
    pub(super) fn of(kind: Kind, connection: &ConnectionId) -> Self {
        Self {
            kind,
            owner: connection.to_bytes(),
            id: Bytes::new(),
        }
    }

    /// A record of a connection.
    pub(super) fn with(kind: Kind, connection: &ConnectionId, id: impl AsRef<[u8]>) -> Self {
        Self {
            kind,
            owner: connection.to_bytes(),
            id: Bytes::copy_from_slice(id.as_ref()),
        }
    }

    /// A message of a connection, in the order of the numbers.
    pub(super) fn message(kind: Kind, connection: &ConnectionId, message: MessageId) -> Self {
        Self::with(kind, connection, message.0.to_be_bytes())
    }

    /// A queue on a router.
    pub(super) fn queue(router: &ServerAddress<SmpScheme>, recipient_id: &EntityId) -> Self {
        Self {
            kind: Kind::Queue,
            owner: wire::encode(router, Version::default()),
            id: Bytes::copy_from_slice(recipient_id),
        }
    }

    /// The key of a link, by the id of its data or of its queue.
    pub(super) fn link(router: &ServerAddress<SmpScheme>, id: &EntityId) -> Self {
        Self {
            kind: Kind::Link,
            owner: wire::encode(router, Version::default()),
            id: Bytes::copy_from_slice(id),
        }
    }

    /// A user.
    pub(super) fn user(user: UserId) -> Self {
        Self {
            kind: Kind::User,
            owner: wire::encode(&user, Version::default()),
            id: Bytes::new(),
        }
    }

    /// What was done at a router for a user.
    pub(super) fn statistics(user: UserId, router: &ServerAddress<SmpScheme>) -> Self {
        Self {
            kind: Kind::Statistics,
            owner: wire::encode(&user, Version::default()),
            id: wire::encode(router, Version::default()),
        }
    }

    /// What was done at a router of files for a user.
    #[cfg(feature = "xftp")]
    pub(super) fn file_statistics(user: UserId, router: &ServerAddress<XftpScheme>) -> Self {
        Self {
            kind: Kind::FileStatistics,
            owner: wire::encode(&user, Version::default()),
            id: wire::encode(router, Version::default()),
        }
    }

    /// A record of a file.
    #[cfg(feature = "xftp")]
    pub(super) fn of_file(kind: Kind, file: &FileId, number: u32) -> Self {
        Self {
            kind,
            owner: file.to_bytes(),
            id: Bytes::copy_from_slice(&number.to_be_bytes()),
        }
    }

    /// From where on no event of a file was numbered.
    #[cfg(feature = "xftp")]
    pub(super) fn file_event_numbers() -> Self {
        Self {
            kind: Kind::FileEvent,
            ..Self::event_numbers()
        }
    }

    /// An event of a file.
    #[cfg(feature = "xftp")]
    pub(super) fn file_event(number: u64) -> Self {
        Self {
            kind: Kind::FileEvent,
            owner: Bytes::new(),
            id: Bytes::copy_from_slice(&number.to_be_bytes()),
        }
    }

    /// From where on no event was numbered. It stands before all events.
    pub(super) fn event_numbers() -> Self {
        Self {
            kind: Kind::Event,
            owner: Bytes::new(),
            id: Bytes::new(),
        }
    }

    pub(super) fn event(event: EventId) -> Self {
        Self {
            kind: Kind::Event,
            owner: Bytes::new(),
            id: Bytes::copy_from_slice(&event.0.to_be_bytes()),
        }
    }
}

/// A change to what is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Keep a record, instead of another one under the same key.
    Put {
        /// Its key.
        key: Key,
        /// Its value.
        value: Bytes,
        /// From when on it may be deleted.
        expires: Option<UnixTime>,
    },
    /// Delete a record, if there is one.
    Delete(Key),
    /// Delete all records of a connection: those of [`Kind::OF_CONNECTION`].
    DeleteOwned {
        /// The connection.
        owner: Bytes,
    },
    /// Delete all records that have expired.
    Expire(UnixTime),
}

/// What the machine wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    /// Those of these records that there are.
    Get(Vec<Key>),
    /// What is loaded with a connection, in the order of keys: the kinds in [`Kind::LOADED`].
    Owned {
        /// The connection.
        owner: Bytes,
    },
    /// Records of one kind, in the order of keys.
    Page {
        /// The kind.
        kind: Kind,
        /// The last key of the page before.
        after: Option<Key>,
        /// At most so many.
        limit: usize,
    },
}

/// A record that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its key.
    pub key: Key,
    /// Its value.
    pub value: Bytes,
}

/// A transaction. They are numbered in the order in which they are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OpId(pub u64);

/// A load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LoadId(pub u64);

/// A store in memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    records: BTreeMap<Key, (Bytes, Option<UnixTime>)>,
}

impl Memory {
    /// Carries out a transaction.
    pub fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Put {
                    key,
                    value,
                    expires,
                } => {
                    self.records.insert(key, (value, expires));
                }
                Change::Delete(key) => {
                    self.records.remove(&key);
                }
                Change::DeleteOwned { owner } => self.records.retain(|key, _| {
                    key.owner != owner || !Kind::OF_CONNECTION.contains(&key.kind)
                }),
                Change::Expire(now) => self
                    .records
                    .retain(|_, (_, expires)| expires.is_none_or(|at| at > now)),
            }
        }
    }

    /// What was asked for.
    #[must_use]
    pub fn load(&self, load: &Load) -> Vec<Record> {
        match load {
            Load::Get(keys) => keys
                .iter()
                .filter_map(|key| self.records.get(key).map(|(value, _)| record(key, value)))
                .collect(),
            Load::Owned { owner } => Kind::LOADED
                .into_iter()
                .flat_map(|kind| self.of(kind, owner))
                .collect(),
            Load::Page { kind, after, limit } => {
                let first = Key {
                    kind: *kind,
                    owner: Bytes::new(),
                    id: Bytes::new(),
                };
                let from = match after {
                    Some(after) => Bound::Excluded(after.clone()),
                    None => Bound::Included(first),
                };
                self.records
                    .range((from, Bound::Unbounded))
                    .take_while(|(key, _)| key.kind == *kind)
                    .take(*limit)
                    .map(|(key, (value, _))| record(key, value))
                    .collect()
            }
        }
    }

    fn of(&self, kind: Kind, owner: &Bytes) -> impl Iterator<Item = Record> {
        let first = Key {
            kind,
            owner: owner.clone(),
            id: Bytes::new(),
        };
        self.records
            .range(first..)
            .take_while(move |(key, _)| key.kind == kind && key.owner == owner)
            .map(|(key, (value, _))| record(key, value))
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All records, in the order of keys.
    pub fn records(&self) -> impl Iterator<Item = (&Key, &Bytes)> {
        self.records.iter().map(|(key, (value, _))| (key, value))
    }
}

fn record(key: &Key, value: &Bytes) -> Record {
    Record {
        key: key.clone(),
        value: value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: Kind, owner: &'static str, id: &'static str) -> Key {
        Key {
            kind,
            owner: owner.as_bytes().into(),
            id: id.as_bytes().into(),
        }
    }

    fn put(key: Key, expires: Option<i64>) -> Change {
        Change::Put {
            key,
            value: Bytes::new(),
            expires: expires.map(UnixTime::from_seconds),
        }
    }

    #[test]
    fn pages_go_through_all_records_of_a_kind() {
        let mut store = Memory::default();
        let keys = ["a", "b", "c", "d", "e"].map(|id| key(Kind::Event, "", id));
        store.apply(keys.iter().map(|key| put(key.clone(), None)).collect());
        store.apply(vec![put(key(Kind::Link, "", "z"), None)]);
        let (mut after, mut seen) = (None, Vec::new());
        loop {
            let load = Load::Page {
                kind: Kind::Event,
                after: after.clone(),
                limit: 2,
            };
            let page = store.load(&load);
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            seen.extend(page.into_iter().map(|record| record.key));
        }
        assert_eq!(seen, keys);
    }

    #[test]
    fn what_a_connection_owns_is_deleted_with_it_and_nothing_else() {
        let mut store = Memory::default();
        let of_others = [
            key(Kind::Connection, "bobby", ""),
            key(Kind::Queue, "bob", "1"),
            key(Kind::Event, "", "1"),
        ];
        store.apply(of_others.iter().map(|key| put(key.clone(), None)).collect());
        let own = Kind::OF_CONNECTION.map(|kind| put(key(kind, "bob", "1"), None));
        store.apply(own.to_vec());
        store.apply(vec![Change::DeleteOwned {
            owner: b"bob".as_slice().into(),
        }]);
        assert_eq!(store.len(), of_others.len());
    }

    #[test]
    fn what_has_expired_is_deleted() {
        let mut store = Memory::default();
        store.apply(vec![
            put(key(Kind::Seen, "a", "1"), Some(1)),
            put(key(Kind::Seen, "a", "2"), Some(2)),
            put(key(Kind::Seen, "a", "3"), None),
        ]);
        store.apply(vec![Change::Expire(UnixTime::from_seconds(1))]);
        assert_eq!(store.len(), 2);
    }

    #[test]
    fn kinds_have_their_numbers() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(Kind::from_number(0), None);
    }
}
