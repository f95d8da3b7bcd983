//! What an XFTP router keeps of its files.
//!
//! ```text
//!   core ──Commit, Load──▶ StoreHandle ──▶ the store's thread ──▶ Store ──▶ memory, or a directory
//!        ◀─Stored, Loaded──────────────────────┘
//! ```
//! Commits that wait at the same time are one write of the [engine](crate::store::engine): all of them are stored or none, and they cost
//! one `fsync`.

pub mod backup;
mod table;
#[cfg(test)]
mod tests;
mod thread;
mod verify;

pub use self::table::Table;
pub use self::thread::{Answer, Command, StoreHandle, StoreThread};
pub use crate::store::StoreError;

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use simplex_sans_io::crypto::AuthPublicKey;
use simplex_sans_io::wire::{self, EntityId, Wire};
use simplex_sans_io::xftp::router::store::{
    Adjustment, Change, FORMAT, FileRecord, Load, Loaded, LoadedFile, Party, Recipient, Totals,
};
use simplex_sans_io::xftp::storelog::File;

use self::table::{age, owned, owner_prefix};
use crate::store::engine::{Effect, Engine, Write};
use crate::store::{Fault, Options, SyncPolicy};

/// Entries in memory.
pub type Memory = crate::store::engine::Memory<Table>;

/// Entries in a directory.
pub type Embedded = crate::store::Embedded<Table>;

/// What a store was at one moment.
pub type Snapshot = dyn crate::store::engine::Snapshot<Table>;

/// The files of a router, on an engine that keeps bytes.
#[derive(Debug)]
pub struct Store<E> {
    engine: E,
    /// How many groups were written.
    groups: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A write has failed: what is there is not known.
    Failed,
}

/// What was changed and is not written.
type Unwritten = BTreeMap<(Table, Bytes), Option<Bytes>>;

/// A file, with the number of its recipients.
type Counted = (FileRecord, u64);

const TOTALS: &[u8] = b"totals";
const STATISTICS: &[u8] = b"statistics";
const GROUPS: &[u8] = b"groups";
const FORMAT_OF_STORE: &[u8] = b"format";
const IMPORTED: &[u8] = b"imported";

/// A file that was imported, as it was then: its size, and when it was changed, in nanoseconds since the Unix epoch.
pub(super) type Source = (u64, i64);

impl Store<Memory> {
    /// An empty store in memory: what it keeps ends with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            engine: Memory::default(),
            groups: 0,
            state: State::Open,
        }
    }
}

impl Store<Embedded> {
    /// Opens the store in a directory, or makes one.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::open_with(path, SyncPolicy::default())
    }

    /// The same, with commits that are as durable as this says.
    pub fn open_with(path: &Path, policy: SyncPolicy) -> Result<Self, StoreError> {
        let options = Options {
            policy,
            cache_bytes: 32 << 20,
        };
        Self::new(Embedded::open(path, options)?)
    }
}

impl<E: Engine<Table>> Store<E> {
    fn new(engine: E) -> Result<Self, StoreError> {
        let mut store = Self {
            engine,
            groups: 0,
            state: State::Open,
        };
        store.restore_groups()?;
        Ok(store)
    }

    fn restore_groups(&mut self) -> Result<(), StoreError> {
        let nothing = Unwritten::new();
        let format: Option<u16> = self.get(&nothing, Table::State, FORMAT_OF_STORE)?;
        if let Some(found) = format.filter(|found| *found > FORMAT.0) {
            let known = FORMAT.0;
            return Err(StoreError::Newer { found, known });
        }
        let groups: Option<u64> = self.get(&nothing, Table::State, GROUPS)?;
        self.groups = groups.unwrap_or_default();
        let promised = self.engine.promised();
        match self.groups < promised {
            true => Err(self.engine.lost(promised, self.groups)),
            false => Ok(()),
        }
    }

    /// After a failure, what the engine has now is what there is.
    fn recover(&mut self) -> Result<(), StoreError> {
        if self.state == State::Failed {
            self.engine.reopen()?;
            self.restore_groups()?;
            self.state = State::Open;
            tracing::info!("the store works again");
        }
        Ok(())
    }

    fn noting_failure<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_err() {
            self.state = State::Failed;
        }
        result
    }

    /// Carries out commits in order, all of them or none, and makes them durable.
    pub fn commit(&mut self, commits: &[Vec<Change>]) -> Result<(), StoreError> {
        self.apply(commits)?;
        self.sync()
    }

    /// Carries out commits in order: all of them or none. Loads see them from now on.
    ///
    /// What the engine has failed to do in the background is found out here: nothing was written then, so that it can be tried again.
    pub fn apply(&mut self, commits: &[Vec<Change>]) -> Result<(), StoreError> {
        self.recover()?;
        match self.write(commits) {
            Err(StoreError::Broken(_)) => {
                self.recover()?;
                self.write(commits)
            }
            written => written,
        }
    }

    fn write(&mut self, commits: &[Vec<Change>]) -> Result<(), StoreError> {
        let mut unwritten = Unwritten::new();
        for change in commits.iter().flatten() {
            self.change(change, &mut unwritten)?;
        }
        self.write_group(unwritten)
    }

    fn write_group(&mut self, mut unwritten: Unwritten) -> Result<(), StoreError> {
        let groups = self.groups.saturating_add(1);
        put(&mut unwritten, Table::State, GROUPS, &groups);
        put(&mut unwritten, Table::State, FORMAT_OF_STORE, &FORMAT.0);
        let writes = unwritten.into_iter().map(|((table, key), value)| Write {
            table,
            key,
            effect: value.map_or(Effect::Remove, Effect::Put),
        });
        let written = self.engine.write(writes.collect());
        self.noting_failure(written)?;
        self.groups = groups;
        Ok(())
    }

    /// The log that was imported, if an import has come to its end.
    pub(super) fn imported(&mut self) -> Result<Option<Source>, StoreError> {
        self.recover()?;
        self.get(&Unwritten::new(), Table::State, IMPORTED)
    }

    /// Notes that a log is imported.
    pub(super) fn note_import(&mut self, source: Source) -> Result<(), StoreError> {
        self.recover()?;
        let mut unwritten = Unwritten::new();
        put(&mut unwritten, Table::State, IMPORTED, &source);
        self.write_group(unwritten)?;
        self.sync()
    }

    /// Makes durable what was carried out.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        if self.state == State::Failed {
            return Err(StoreError::Broken("a write has failed before".into()));
        }
        let synced = self.engine.sync(self.groups);
        self.noting_failure(synced)
    }

    /// Makes everything durable and lets go of it.
    pub fn close(mut self) -> Result<(), StoreError> {
        if self.state == State::Open {
            self.engine.sync(self.groups)?;
        }
        self.engine.close()
    }

    /// What there is now, for a backup.
    pub fn snapshot(&mut self) -> Result<Box<Snapshot>, StoreError> {
        self.recover()?;
        self.engine.snapshot()
    }

    /// Answers a question.
    pub fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        self.recover()?;
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
                let entries = self.engine.scan(Table::Ages, &[], &age(*before, &[]));
                let id = |(key, _): (Bytes, Bytes)| EntityId::try_from(key.get(8..)?).ok();
                let ids = entries.take(*limit).map(|entry| entry.map(id));
                let ids: Result<Vec<_>, _> = ids.collect();
                Loaded::Ids(ids?.into_iter().flatten().collect())
            }
            Load::Totals => {
                let totals: Option<Totals> = self.get(&nothing, Table::State, TOTALS)?;
                let statistics = self.engine.get(Table::State, STATISTICS)?;
                Loaded::Totals(totals.unwrap_or_default(), statistics)
            }
        })
    }

    /// All files with their recipients, oldest first.
    pub fn files(&self) -> impl Iterator<Item = Result<File, StoreError>> {
        let ages = self.engine.scan(Table::Ages, &[], &[]);
        ages.filter_map(|entry| match entry {
            Err(error) => Some(Err(error)),
            Ok((key, _)) => {
                let id = EntityId::try_from(key.get(8..)?).ok()?;
                self.file_with_recipients(&id).transpose()
            }
        })
    }

    fn file_with_recipients(&self, id: &EntityId) -> Result<Option<File>, StoreError> {
        let nothing = Unwritten::new();
        let found: Option<Counted> = self.get(&nothing, Table::Files, id)?;
        let Some((record, _)) = found else {
            return Ok(None);
        };
        let prefix = owner_prefix(id);
        let mut recipients = Vec::new();
        for entry in self.engine.scan(Table::Owned, &prefix, &end_of(&prefix)) {
            let (key, _) = entry?;
            let recipient = key.get(prefix.len()..).unwrap_or_default();
            let found: Option<(EntityId, AuthPublicKey)> =
                self.get(&nothing, Table::Recipients, recipient)?;
            if let (Some((_, key)), Ok(id)) = (found, EntityId::try_from(recipient)) {
                recipients.push(Recipient { id, key });
            }
        }
        Ok(Some(File { record, recipients }))
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
        let entries = self.engine.scan(Table::Owned, &prefix, &end_of(&prefix));
        let owned: Result<Vec<_>, _> = entries.map(|entry| entry.map(|(key, _)| key)).collect();
        let mut owned = owned?;
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
        value.map(|value| decoded(table, key, &value)).transpose()
    }
}

fn decoded<T: Wire>(table: Table, key: &[u8], value: &Bytes) -> Result<T, StoreError> {
    wire::decode(FORMAT, value).map_err(|_| StoreError::record(table.name(), key, Fault::Invalid))
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
