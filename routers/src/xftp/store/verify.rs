//! Whether everything that a store holds fits together.

use simplex_sans_io::crypto::AuthPublicKey;
use simplex_sans_io::wire::EntityId;
use simplex_sans_io::xftp::router::store::{Content, Totals};

use super::table::{age, owned};
use super::{Counted, Store, StoreError, TOTALS, Table, Unwritten, decoded};
use crate::store::Fault;
use crate::store::engine::Engine;

impl<E: Engine<Table>> Store<E> {
    /// Looks at every record, and tells of each one that is damaged, missing or superfluous. Returns how many there are of these.
    pub fn verify(&self, tell: &mut dyn FnMut(&StoreError)) -> Result<u64, StoreError> {
        let mut faults = 0_u64;
        let mut fault = |error: &StoreError| {
            faults = faults.saturating_add(1);
            tell(error);
        };
        let record = |table: Table, key: &[u8], fault| StoreError::record(table.name(), key, fault);
        let mut counted = Totals::default();
        for entry in self.engine.scan(Table::Files, &[], &[]) {
            let (key, value) = entry?;
            let (file, recipients): Counted = match decoded(Table::Files, &key, &value) {
                Ok(file) => file,
                Err(error) => {
                    fault(&error);
                    continue;
                }
            };
            if *file.sender_id != *key {
                fault(&record(Table::Files, &key, Fault::Invalid));
            }
            let age = age(file.created_at, &key);
            if self.engine.get(Table::Ages, &age)?.is_none() {
                fault(&record(Table::Ages, &age, Fault::Missing));
            }
            counted.files = counted.files.saturating_add(1);
            counted.recipients = counted.recipients.saturating_add(recipients);
            if file.content != Content::Absent {
                counted.chunks = counted.chunks.saturating_add(1);
                counted.used = counted.used.saturating_add(file.size.into());
            }
        }
        let mut recipients = 0_u64;
        for entry in self.engine.scan(Table::Recipients, &[], &[]) {
            let (key, value) = entry?;
            recipients = recipients.saturating_add(1);
            let (sender, _): (EntityId, AuthPublicKey) =
                match decoded(Table::Recipients, &key, &value) {
                    Ok(recipient) => recipient,
                    Err(error) => {
                        fault(&error);
                        continue;
                    }
                };
            if self.engine.get(Table::Files, &sender)?.is_none() {
                fault(&record(Table::Recipients, &key, Fault::Superfluous));
            }
            let owned = owned(&sender, &key);
            if self.engine.get(Table::Owned, &owned)?.is_none() {
                fault(&record(Table::Owned, &owned, Fault::Missing));
            }
        }
        let totals: Option<Totals> = self.get(&Unwritten::new(), Table::State, TOTALS)?;
        if totals.unwrap_or_default() != counted || recipients != counted.recipients {
            fault(&record(Table::State, TOTALS, Fault::Invalid));
        }
        for (table, expected) in [(Table::Ages, counted.files), (Table::Owned, recipients)] {
            let found = self.engine.scan(table, &[], &[]).count();
            if u64::try_from(found).unwrap_or(u64::MAX) != expected {
                fault(&record(table, &[], Fault::Superfluous));
            }
        }
        Ok(faults)
    }
}
