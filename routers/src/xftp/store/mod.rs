//! What an XFTP router keeps of its files.
//!
//! ```text
//!   core ──Commit, Load──▶ StoreHandle ──▶ the store's thread ──▶ Store ──▶ memory, or fjall
//!        ◀─Stored, Loaded──────────────────────┘
//! ```
//! Commits that wait at the same time are one write of the engine: all of them are stored or none, and they cost one `fsync`.

mod engine;
mod table;
#[cfg(test)]
mod tests;
mod thread;

pub use self::engine::{Embedded, Engine, Memory, StoreError};
pub use self::thread::{Answer, Command, StoreHandle, StoreThread};

use std::collections::BTreeMap;

use bytes::Bytes;
use simplex_sans_io::crypto::AuthPublicKey;
use simplex_sans_io::wire::{self, EntityId, Wire};
use simplex_sans_io::xftp::router::store::{
    Adjustment, Change, FORMAT, FileRecord, Load, Loaded, LoadedFile, Party, Recipient, Totals,
};

use self::table::{Table, age, owned, owner_prefix};

/// The files of a router, on an engine that keeps bytes.
#[derive(Debug)]
pub struct Store<E> {
    engine: E,
}

/// What was changed and is not written.
type Unwritten = BTreeMap<(Table, Bytes), Option<Bytes>>;

/// A file, with the number of its recipients.
type Counted = (FileRecord, u64);

const TOTALS: &[u8] = b"totals";
const STATISTICS: &[u8] = b"statistics";

impl<E: Engine> Store<E> {
    /// A store on this engine.
    pub const fn new(engine: E) -> Self {
        Self { engine }
    }

    /// Carries out commits in order, all of them or none, and makes them durable.
    pub fn commit(&mut self, commits: &[Vec<Change>]) -> Result<(), StoreError> {
        let mut unwritten = Unwritten::new();
        for change in commits.iter().flatten() {
            self.change(change, &mut unwritten)?;
        }
        self.engine.write(unwritten)
    }

    /// Answers a question.
    pub fn load(&self, load: &Load) -> Result<Loaded, StoreError> {
        let nothing = Unwritten::new();
        Ok(match load {
            Load::File(Party::Sender, id) => Loaded::File(self.file(id, None)?),
            Load::File(Party::Recipient, id) => {
                let found: Option<(EntityId, AuthPublicKey)> =
                    self.get(&nothing, Table::Recipients, id)?;
                match found {
                    None => Loaded::File(None),
                    Some((sender, key)) => Loaded::File(self.file(&sender, Some(key))?),
                }
            }
            Load::Expired { before, limit } => {
                let before = age(*before, &[]);
                let keys = self.engine.keys(Table::Ages, &[], &before, *limit)?;
                let id = |key: Bytes| EntityId::try_from(key.get(8..).unwrap_or_default());
                Loaded::Ids(keys.into_iter().filter_map(|key| id(key).ok()).collect())
            }
            Load::Totals => {
                let totals: Option<Totals> = self.get(&nothing, Table::State, TOTALS)?;
                let statistics = self.engine.get(Table::State, STATISTICS)?;
                Loaded::Totals(totals.unwrap_or_default(), statistics)
            }
        })
    }

    fn file(
        &self,
        id: &EntityId,
        recipient_key: Option<AuthPublicKey>,
    ) -> Result<Option<Box<LoadedFile>>, StoreError> {
        let found: Option<Counted> = self.get(&Unwritten::new(), Table::Files, id)?;
        Ok(found.map(|(record, recipients)| {
            Box::new(LoadedFile {
                record,
                recipients,
                recipient_key,
            })
        }))
    }

    fn change(&self, change: &Change, unwritten: &mut Unwritten) -> Result<(), StoreError> {
        match change {
            Change::PutFile(record) => {
                let id = &record.sender_id;
                let before: Option<Counted> = self.get(unwritten, Table::Files, id)?;
                let recipients = before.map_or(0, |(_, recipients)| recipients);
                put(
                    unwritten,
                    Table::Files,
                    id,
                    &((**record).clone(), recipients),
                );
                let age = age(record.created_at, id);
                unwritten.insert((Table::Ages, age.into()), Some(Bytes::new()));
            }
            Change::PutRecipient {
                sender_id,
                recipient: Recipient { id, key },
            } => {
                put(unwritten, Table::Recipients, id, &(sender_id.clone(), *key));
                let owned = owned(sender_id, id);
                unwritten.insert((Table::Owned, owned.into()), Some(Bytes::new()));
                self.count(unwritten, sender_id, 1)?;
            }
            Change::DeleteRecipient {
                sender_id,
                recipient_id,
            } => {
                remove(unwritten, Table::Recipients, recipient_id);
                remove(unwritten, Table::Owned, &owned(sender_id, recipient_id));
                self.count(unwritten, sender_id, -1)?;
            }
            Change::DeleteFile(record) => self.delete(record, unwritten)?,
            Change::Adjust(by) => self.adjust(*by, unwritten)?,
            Change::PutStatistics(statistics) => {
                let key = Bytes::from_static(STATISTICS);
                unwritten.insert((Table::State, key), Some(statistics.clone()));
            }
        }
        Ok(())
    }

    fn count(
        &self,
        unwritten: &mut Unwritten,
        sender_id: &EntityId,
        by: i64,
    ) -> Result<(), StoreError> {
        let found: Option<Counted> = self.get(unwritten, Table::Files, sender_id)?;
        if let Some((record, recipients)) = found {
            let recipients = recipients.saturating_add_signed(by);
            put(unwritten, Table::Files, sender_id, &(record, recipients));
        }
        Ok(())
    }

    fn delete(&self, record: &FileRecord, unwritten: &mut Unwritten) -> Result<(), StoreError> {
        let id = &record.sender_id;
        remove(unwritten, Table::Files, id);
        remove(unwritten, Table::Ages, &age(record.created_at, id));
        let prefix = owner_prefix(id);
        let end = end_of(&prefix);
        let mut owned = self.engine.keys(Table::Owned, &prefix, &end, usize::MAX)?;
        // Those of the same group are not in the engine yet.
        owned.extend(
            unwritten
                .keys()
                .filter(|(table, key)| *table == Table::Owned && key.starts_with(&prefix))
                .map(|(_, key)| key.clone()),
        );
        for key in owned {
            let recipient = key.get(prefix.len()..).unwrap_or_default();
            remove(unwritten, Table::Recipients, recipient);
            remove(unwritten, Table::Owned, &key);
        }
        Ok(())
    }

    fn adjust(&self, by: Adjustment, unwritten: &mut Unwritten) -> Result<(), StoreError> {
        let totals: Option<Totals> = self.get(unwritten, Table::State, TOTALS)?;
        let totals = totals.unwrap_or_default().adjusted(by);
        put(unwritten, Table::State, TOTALS, &totals);
        Ok(())
    }

    fn get<T: Wire>(
        &self,
        unwritten: &Unwritten,
        table: Table,
        key: &[u8],
    ) -> Result<Option<T>, StoreError> {
        let value = match unwritten.get(&(table, Bytes::copy_from_slice(key))) {
            Some(value) => value.clone(),
            None => self.engine.get(table, key)?,
        };
        let decode = |value: Bytes| {
            wire::decode(FORMAT, &value).map_err(|_| StoreError::Damaged(table.name()))
        };
        value.map(decode).transpose()
    }
}

fn put<T: Wire>(unwritten: &mut Unwritten, table: Table, key: &[u8], value: &T) {
    let value = wire::encode(value, FORMAT);
    unwritten.insert((table, Bytes::copy_from_slice(key)), Some(value));
}

fn remove(unwritten: &mut Unwritten, table: Table, key: &[u8]) {
    unwritten.insert((table, Bytes::copy_from_slice(key)), None);
}

/// The first key that does not begin with a prefix: prefixes of this store do not end with the last byte there is.
fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            break;
        }
    }
    end
}
