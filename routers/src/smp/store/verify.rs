//! Whether everything that a store holds fits together.

use bytes::Bytes;
use simplex_sans_io::smp::handshake::ServiceRole;
use simplex_sans_io::smp::router::store::{
    MessageRecord, NotificationRecord, Position, QueueRecord, ServiceRecord, ServiceTotals,
};
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::wire::Wire;

use super::table::{self, Table, Waiting};
use super::transaction::{COUNTS, Counts, PositionRecord, read, restored};
use super::{Records, StoreError};
use crate::store::Fault;
use crate::store::engine::Engine;

impl<E: Engine<Table>> Records<E> {
    /// Looks at every record, and tells of each one that is damaged, missing or superfluous. Returns how many there are of these.
    pub fn verify(&self, fault: &mut dyn FnMut(&StoreError)) -> Result<u64, StoreError> {
        let mut verification = Verification {
            engine: &self.engine,
            counts: Counts {
                groups: self.counts.groups,
                ..Counts::default()
            },
            faults: 0,
            tell: fault,
        };
        verification.queues()?;
        verification.ids()?;
        verification.positions()?;
        verification.messages()?;
        verification.notifications()?;
        verification.index()?;
        verification.services()?;
        if verification.counts != self.counts {
            verification.fault(Table::State, COUNTS, Fault::Invalid);
        }
        Ok(verification.faults)
    }
}

struct Verification<'a, E> {
    engine: &'a E,
    counts: Counts,
    faults: u64,
    tell: &'a mut dyn FnMut(&StoreError),
}

impl<E: Engine<Table>> Verification<'_, E> {
    fn fault(&mut self, table: Table, key: &[u8], fault: Fault) {
        self.faults = self.faults.saturating_add(1);
        (self.tell)(&StoreError::record(table.name(), key, fault));
    }

    /// A record of one table, or nothing and a fault.
    fn readable<T: Wire>(&mut self, table: Table, key: &[u8], value: &Bytes) -> Option<T> {
        let record = restored(table, key, value).ok();
        if record.is_none() {
            self.fault(table, key, Fault::Invalid);
        }
        record
    }

    /// A record that may be damaged, which is told where it is looked at for itself.
    fn known<T: Wire>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        match read(self.engine, table, key) {
            Err(StoreError::DamagedRecord { .. }) => Ok(None),
            other => other,
        }
    }

    /// Does something with each entry of a table.
    fn each(
        &mut self,
        table: Table,
        mut look: impl FnMut(&mut Self, &[u8], &Bytes) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let engine = self.engine;
        for entry in engine.scan(table, &[], &[]) {
            match entry {
                Ok((key, value)) => look(self, &key, &value)?,
                Err(error) => {
                    self.faults = self.faults.saturating_add(1);
                    (self.tell)(&error);
                    // The engine cannot go on behind a block that it cannot read.
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn expect(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        if self.engine.get(table, key)?.is_none() {
            self.fault(table, key, Fault::Missing);
        }
        Ok(())
    }

    fn queues(&mut self) -> Result<(), StoreError> {
        self.each(Table::Queues, |this, key, value| {
            let Some(queue) = this.readable::<QueueRecord>(Table::Queues, key, value) else {
                return Ok(());
            };
            if *queue.recipient_id != *key {
                this.fault(Table::Queues, key, Fault::Invalid);
            }
            add(&mut this.counts.queues);
            if queue.notifier.is_some() {
                add(&mut this.counts.notifiers);
            }
            for (party, id) in queue.ids() {
                let id = table::id(party, id);
                if this.engine.get(Table::Ids, &id)?.as_deref() != Some(key) {
                    this.fault(Table::Ids, &id, Fault::Missing);
                }
            }
            let notifier = queue.notifier.as_ref();
            let notifier = notifier.and_then(|notifier| notifier.service_id.as_ref());
            let services = [
                (ServiceRole::Messaging, queue.service_id.as_ref()),
                (ServiceRole::Notifier, notifier),
            ];
            for (role, service) in services {
                if let Some(service) = service {
                    this.expect(Table::Index, &table::service_queue(role, service, key))?;
                }
            }
            Ok(())
        })
    }

    fn ids(&mut self) -> Result<(), StoreError> {
        self.each(Table::Ids, |this, key, recipient_id| {
            let queue = this.known::<QueueRecord>(Table::Queues, recipient_id)?;
            let id = table::parse_id(key);
            let leads = |queue: &QueueRecord| {
                id.is_some_and(|(party, id)| {
                    let mut ids = queue.ids();
                    ids.any(|(own_party, own)| own_party == party && **own == *id)
                })
            };
            if !queue.as_ref().is_some_and(leads) {
                this.fault(Table::Ids, key, Fault::Superfluous);
            }
            Ok(())
        })
    }

    fn positions(&mut self) -> Result<(), StoreError> {
        self.each(Table::Positions, |this, key, value| {
            let Some(record) = this.readable::<PositionRecord>(Table::Positions, key, value) else {
                return Ok(());
            };
            let Some((waiting, id)) = Waiting::parse_position(key) else {
                this.fault(Table::Positions, key, Fault::Superfluous);
                return Ok(());
            };
            if let Some(since) = record.since {
                this.expect(Table::Index, &waiting.since(since, id))?;
            }
            if record.since.is_none() && !record.is_empty() {
                this.fault(Table::Positions, key, Fault::Invalid);
            }
            let Position { head, tail, .. } = record.position;
            if waiting == Waiting::Notifications {
                let queue = this
                    .engine
                    .get(Table::Ids, &table::id(Party::Notifier, id))?;
                if queue.is_none() {
                    this.fault(Table::Positions, key, Fault::Superfluous);
                }
                return Ok(());
            }
            if this.engine.get(Table::Queues, id)?.is_none() {
                this.fault(Table::Positions, key, Fault::Superfluous);
            }
            for sequence in head..tail {
                this.expect(Table::Messages, &table::place(id, sequence))?;
            }
            Ok(())
        })
    }

    fn messages(&mut self) -> Result<(), StoreError> {
        self.each(Table::Messages, |this, key, value| {
            this.readable::<MessageRecord>(Table::Messages, key, value);
            if this.waits(Waiting::Messages, key)? {
                add(&mut this.counts.messages);
            } else {
                this.fault(Table::Messages, key, Fault::Superfluous);
            }
            Ok(())
        })
    }

    fn notifications(&mut self) -> Result<(), StoreError> {
        self.each(Table::Notifications, |this, key, value| {
            this.readable::<NotificationRecord>(Table::Notifications, key, value);
            if this.waits(Waiting::Notifications, key)? {
                add(&mut this.counts.notifications);
            } else {
                this.fault(Table::Notifications, key, Fault::Superfluous);
            }
            Ok(())
        })
    }

    /// Whether the position of a queue or notifier covers a place.
    fn waits(&self, waiting: Waiting, key: &[u8]) -> Result<bool, StoreError> {
        let Some((id, sequence)) = table::parse_place(key) else {
            return Ok(false);
        };
        let record = self.known::<PositionRecord>(Table::Positions, &waiting.position(id))?;
        let position = record.unwrap_or_default().position;
        Ok((position.head..position.tail).contains(&sequence))
    }

    fn index(&mut self) -> Result<(), StoreError> {
        self.each(Table::Index, |this, key, _| {
            let belongs = match Waiting::of_index(key) {
                Some(waiting) => match Waiting::parse_since(key) {
                    Some((since, id)) => {
                        let position = waiting.position(id);
                        let record = this.known::<PositionRecord>(Table::Positions, &position)?;
                        record.is_some_and(|record| record.since == Some(since))
                    }
                    None => false,
                },
                None => match table::parse_service_queue(key) {
                    Some((role, service, recipient_id)) => {
                        let queue = this.known::<QueueRecord>(Table::Queues, recipient_id)?;
                        queue.is_some_and(|queue| is_of_service(&queue, role, service))
                    }
                    None => false,
                },
            };
            if !belongs {
                this.fault(Table::Index, key, Fault::Superfluous);
            }
            Ok(())
        })
    }

    fn services(&mut self) -> Result<(), StoreError> {
        self.each(Table::Services, |this, key, value| {
            match key.first() {
                Some(b'S') => {
                    let service = this.readable::<ServiceRecord>(Table::Services, key, value);
                    if let Some(service) = service {
                        let count = match service.role {
                            ServiceRole::Messaging => Some(&mut this.counts.messaging_services),
                            ServiceRole::Notifier => Some(&mut this.counts.notifier_services),
                            ServiceRole::Proxy => None,
                        };
                        count.map(add);
                        let key = table::service_fingerprint(service.fingerprint.as_bytes());
                        this.expect(Table::Services, &key)?;
                    }
                }
                Some(b'T') => {
                    this.readable::<ServiceTotals>(Table::Services, key, value);
                }
                Some(b'F') => {}
                Some(_) | None => this.fault(Table::Services, key, Fault::Superfluous),
            }
            Ok(())
        })
    }
}

fn is_of_service(queue: &QueueRecord, role: ServiceRole, service: &[u8]) -> bool {
    let notifier = queue.notifier.as_ref();
    let own = match role {
        ServiceRole::Messaging => queue.service_id.as_ref(),
        ServiceRole::Notifier => notifier.and_then(|notifier| notifier.service_id.as_ref()),
        ServiceRole::Proxy => None,
    };
    own.is_some_and(|own| **own == *service)
}

const fn add(count: &mut u64) {
    *count = count.saturating_add(1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::store::tests::Scenario;
    use crate::smp::store::{MemoryStore, Store as _};
    use crate::store::engine::{Effect, Write};
    use proptest::prelude::*;

    fn faults(store: &MemoryStore) -> Vec<String> {
        let mut faults = Vec::new();
        let mut note = |fault: &StoreError| faults.push(fault.to_string());
        store.verify(&mut note).unwrap();
        faults
    }

    proptest! {
        #[test]
        fn a_store_fits_together_after_any_commits(seed: [u8; 32], commits in 0..80_usize) {
            let mut scenario = Scenario::new(seed);
            let mut store = MemoryStore::in_memory();
            for number in 0..commits {
                store.commit(&[scenario.commit()]).unwrap();
                if number % 10 == 0 {
                    for question in scenario.questions(scenario.known()) {
                        store.load(&question).unwrap();
                    }
                }
            }
            prop_assert_eq!(faults(&store), Vec::<String>::new());
        }

        #[test]
        fn whatever_is_lost_is_missed(seed: [u8; 32], at: prop::sample::Index) {
            let mut scenario = Scenario::new(seed);
            let mut store = MemoryStore::in_memory();
            for _ in 0..40 {
                store.commit(&[scenario.commit()]).unwrap();
            }
            let tables = [
                Table::Queues, Table::Ids, Table::Positions, Table::Messages,
                Table::Notifications, Table::Index,
            ];
            let is_told = |table: Table, key: &[u8], value: &Bytes| {
                // Where nothing waits, nobody misses it.
                if table == Table::Positions {
                    let record: PositionRecord = restored(table, key, value).unwrap();
                    return record.since.is_some() || !record.is_empty();
                }
                true
            };
            let keys: Vec<_> = tables
                .into_iter()
                .flat_map(|table| store.engine.scan(table, &[], &[]).map(move |entry| (table, entry.unwrap())))
                .filter(|(table, (key, value))| is_told(*table, key, value))
                .map(|(table, (key, _))| (table, key))
                .collect();
            prop_assume!(!keys.is_empty());
            let (table, key) = keys[at.index(keys.len())].clone();
            let effect = Effect::Remove;
            store.engine.write(vec![Write { table, key: key.clone(), effect }]).unwrap();
            prop_assert_ne!(faults(&store), Vec::<String>::new(), "{} {:?}", table, key);
        }
    }
}
