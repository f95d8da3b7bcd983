//! What was last written to tables whose values are soon read again.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::engine::{Effect, Tables, Usage, Write};

/// How many entries a generation has.
const GENERATION: usize = 1024;

/// The entries that were written last, of tables that are [busy](Usage::Busy): two generations, of which the older one goes as a whole.
#[derive(Debug)]
pub(super) struct Recent<T> {
    young: Generation<T>,
    old: Generation<T>,
}

#[derive(Debug)]
struct Generation<T> {
    tables: BTreeMap<T, BTreeMap<Bytes, Option<Bytes>>>,
    count: usize,
}

impl<T> Default for Generation<T> {
    fn default() -> Self {
        Self {
            tables: BTreeMap::new(),
            count: 0,
        }
    }
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self {
            young: Generation::default(),
            old: Generation::default(),
        }
    }
}

impl<T: Tables> Recent<T> {
    /// The value of a key, or that there is none, if it was written lately.
    pub(super) fn get(&self, table: T, key: &[u8]) -> Option<&Option<Bytes>> {
        [&self.young, &self.old]
            .into_iter()
            .find_map(|generation| generation.tables.get(&table)?.get(key))
    }

    /// Keeps those of some writes that are worth it.
    pub(super) fn keep(&mut self, written: impl IntoIterator<Item = Write<T>>) {
        for Write { table, key, effect } in written {
            if table.usage() != Usage::Busy {
                continue;
            }
            if self.young.count >= GENERATION {
                self.old = std::mem::take(&mut self.young);
            }
            let value = match effect {
                Effect::Put(value) => Some(value),
                Effect::Remove | Effect::RemoveOnce => None,
            };
            let entries = self.young.tables.entry(table).or_default();
            if entries.insert(key, value).is_none() {
                self.young.count = self.young.count.saturating_add(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Table {
        Busy,
        Small,
    }

    impl Tables for Table {
        const ALL: &'static [Self] = &[Self::Busy, Self::Small];
        const STATE: Self = Self::Small;

        fn name(self) -> &'static str {
            "table"
        }

        fn tag(self) -> u8 {
            0
        }

        fn usage(self) -> Usage {
            match self {
                Self::Busy => Usage::Busy,
                Self::Small => Usage::Small,
            }
        }
    }

    fn put(table: Table, key: usize, value: &'static str) -> Write<Table> {
        Write {
            table,
            key: key.to_be_bytes().to_vec().into(),
            effect: Effect::Put(value.into()),
        }
    }

    #[test]
    fn what_was_written_last_is_known_and_what_is_older_is_forgotten() {
        let mut recent = Recent::default();
        let get = |recent: &Recent<Table>, table, key: usize| {
            recent.get(table, &key.to_be_bytes()).cloned()
        };
        recent.keep([put(Table::Busy, 0, "a"), put(Table::Small, 0, "b")]);
        assert_eq!(get(&recent, Table::Busy, 0), Some(Some("a".into())));
        assert_eq!(get(&recent, Table::Small, 0), None);
        let removed = Write {
            effect: Effect::Remove,
            ..put(Table::Busy, 0, "")
        };
        recent.keep([removed]);
        assert_eq!(get(&recent, Table::Busy, 0), Some(None));
        recent.keep((1..=GENERATION).map(|key| put(Table::Busy, key, "c")));
        assert_eq!(get(&recent, Table::Busy, 0), Some(None));
        recent.keep((1..=GENERATION).map(|key| put(Table::Busy, GENERATION + key, "d")));
        assert_eq!(get(&recent, Table::Busy, 0), None);
        assert_eq!(
            get(&recent, Table::Busy, GENERATION),
            Some(Some("c".into()))
        );
    }
}
