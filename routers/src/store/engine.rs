//! What a store needs of an engine: ordered bytes in tables, written in groups.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

use super::{StoreError, SyncPolicy};

/// Entries that were found, in the order of their keys.
pub type Entries<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>> + 'a>;

/// The tables of a store.
pub trait Tables:
    Copy + Ord + std::fmt::Debug + Send + Sync + std::panic::RefUnwindSafe + 'static
{
    /// All of them.
    const ALL: &'static [Self];
    /// One whose entries are single values, by their names.
    const STATE: Self;

    /// The name of the table.
    fn name(self) -> &'static str;

    /// Stands for the table in backups.
    fn tag(self) -> u8;

    /// How the table is used.
    fn usage(self) -> Usage;
}

/// How a table is used, and how it is kept therefore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Values of a few hundred bytes.
    Small,
    /// Values of a few bytes, which are read and written again soon after they were written.
    Busy,
    /// Some values are large.
    Large,
    /// Most values are large, and they do not stay long.
    Passing,
}

/// Keeps entries in tables.
pub trait Engine<T: Tables>: Send + Sized {
    /// The value of a key.
    fn get(&self, table: T, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The entries from one key up to, and without, another one; an empty one is after all keys.
    fn scan(&self, table: T, from: &[u8], before: &[u8]) -> Entries<'_>;

    /// Writes entries together: all or none. What is read afterwards has them.
    fn write(&mut self, writes: Vec<Write<T>>) -> Result<(), StoreError>;

    /// Makes durable what was written, and remembers that the group with this number was reported as stored.
    fn sync(&mut self, group: u64) -> Result<(), StoreError>;

    /// How durable [`sync`](Self::sync) makes it.
    fn policy(&self) -> SyncPolicy;

    /// The last group that was reported as stored, as far as the engine knows.
    fn promised(&self) -> u64;

    /// Reads again what is there, after an error.
    fn reopen(&mut self) -> Result<(), StoreError>;

    /// The error for groups that were reported as stored and are not there.
    fn lost(&self, promised: u64, found: u64) -> StoreError;

    /// What there is now, for as long as it is looked at.
    fn snapshot(&self) -> Result<Box<dyn Snapshot<T>>, StoreError>;

    /// Lets go of everything.
    fn close(self) -> Result<(), StoreError>;
}

/// What there was at one moment. Another thread may look at it while the store goes on.
pub trait Snapshot<T: Tables>: Send {
    /// The entries of a table, in the order of their keys.
    fn entries(&self, table: T) -> Entries<'_>;
}

/// A write to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write<T> {
    /// The table.
    pub table: T,
    /// The key.
    pub key: Bytes,
    /// What becomes of it.
    pub effect: Effect,
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The key has this value.
    Put(Bytes),
    /// The key has no value.
    Remove,
    /// The key, which was written at most once, has no value.
    RemoveOnce,
}

/// Entries in memory.
#[derive(Debug, Clone)]
pub struct Memory<T>(BTreeMap<T, BTreeMap<Bytes, Bytes>>);

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Tables> Engine<T> for Memory<T> {
    fn get(&self, table: T, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let entries = self.0.get(&table);
        Ok(entries.and_then(|entries| entries.get(key)).cloned())
    }

    fn scan(&self, table: T, from: &[u8], before: &[u8]) -> Entries<'_> {
        let bounds = (Bound::Included(from), upper_bound(before));
        let entries = self.0.get(&table).filter(|_| is_range(from, before));
        let range = entries.map(|entries| entries.range::<[u8], _>(bounds));
        let found = range.into_iter().flatten();
        Box::new(found.map(|(key, value)| Ok((key.clone(), value.clone()))))
    }

    fn write(&mut self, writes: Vec<Write<T>>) -> Result<(), StoreError> {
        for Write { table, key, effect } in writes {
            let entries = self.0.entry(table).or_default();
            match effect {
                Effect::Put(value) => {
                    entries.insert(key, value);
                }
                Effect::Remove | Effect::RemoveOnce => {
                    entries.remove(&key);
                }
            }
        }
        Ok(())
    }

    fn sync(&mut self, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    fn policy(&self) -> SyncPolicy {
        SyncPolicy::Os
    }

    fn promised(&self) -> u64 {
        0
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn lost(&self, promised: u64, found: u64) -> StoreError {
        StoreError::Lost {
            path: "memory".into(),
            promised,
            found,
        }
    }

    fn snapshot(&self) -> Result<Box<dyn Snapshot<T>>, StoreError> {
        Ok(Box::new(self.clone()))
    }

    fn close(self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<T: Tables> Snapshot<T> for Memory<T> {
    fn entries(&self, table: T) -> Entries<'_> {
        self.scan(table, &[], &[])
    }
}

/// Whether there can be a key from one up to, and without, another one.
pub(crate) fn is_range(from: &[u8], before: &[u8]) -> bool {
    before.is_empty() || from < before
}

pub(super) const fn upper_bound(before: &[u8]) -> Bound<&[u8]> {
    if before.is_empty() {
        Bound::Unbounded
    } else {
        Bound::Excluded(before)
    }
}
