//! What changes and loads mean, on any engine.

use bytes::Bytes;
use simplex_sans_io::smp::handshake::ServiceRole;
use simplex_sans_io::smp::router::store::{
    Change, Load, Loaded, LoadedQueue, MessageRecord, NotificationRecord, Position, QueueRecord,
    ServiceRecord, ServiceTotals, Totals,
};
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::wire::EntityId;

use super::Snapshot;
use super::table::{self, Table, Waiting};
use super::transaction::{COUNTS, Counts, PositionRecord, STATISTICS, Transaction, read, restored};
use super::{Note, Store, StoreError, SyncPolicy};
use crate::store::Fault;
use crate::store::engine::Engine;

/// No answer has more bytes of messages than this, unless it has only one.
const MAX_LOADED: usize = 1 << 20;

/// A store on an engine.
#[derive(Debug)]
pub struct Records<E> {
    pub(super) engine: E,
    pub(super) counts: Counts,
    /// Nothing that waits is older, of messages and of notifications: where a search of the index begins.
    pub(super) oldest: [i64; 2],
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// A write has failed: what is there is not known.
    Failed,
}

impl<E: Engine<Table>> Records<E> {
    /// A store on what an engine keeps.
    pub(super) fn new(engine: E) -> Result<Self, StoreError> {
        let mut records = Self {
            engine,
            counts: Counts::default(),
            oldest: [i64::MIN; 2],
            state: State::Open,
        };
        records.restore_counts()?;
        Ok(records)
    }

    fn restore_counts(&mut self) -> Result<(), StoreError> {
        self.counts = read(&self.engine, Table::State, COUNTS)?.unwrap_or_default();
        self.oldest = [i64::MIN; 2];
        let promised = self.engine.promised();
        if self.counts.groups < promised {
            return Err(self.engine.lost(promised, self.counts.groups));
        }
        Ok(())
    }

    /// After a failure, what the engine has now is what there is.
    fn recover(&mut self) -> Result<(), StoreError> {
        if self.state == State::Failed {
            self.engine.reopen()?;
            self.restore_counts()?;
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

    /// Prepares a group and writes it.
    pub(super) fn write(
        &mut self,
        prepare: impl FnOnce(&mut Transaction<'_, E>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut transaction = Transaction::new(&self.engine, self.counts);
        prepare(&mut transaction)?;
        transaction.counts.groups = transaction.counts.groups.saturating_add(1);
        let (counts, added) = (transaction.counts, transaction.oldest);
        let writes = transaction.into_writes();
        let written = self.engine.write(writes);
        self.noting_failure(written)?;
        self.counts = counts;
        for (oldest, added) in self.oldest.iter_mut().zip(added) {
            *oldest = added.map_or(*oldest, |added| added.min(*oldest));
        }
        Ok(())
    }

    fn write_group(&mut self, commits: &[Vec<Change>], notes: &[Note]) -> Result<(), StoreError> {
        self.write(|transaction| {
            for Note { name, text } in notes {
                transaction.put(Table::State, table::note(name), text.clone());
            }
            let mut changes = commits.iter().flatten();
            changes.try_for_each(|change| transaction.change(change))
        })
    }

    fn load_queue(&self, party: Party, id: &EntityId) -> Result<Loaded, StoreError> {
        let recipient_id = match party {
            Party::Recipient => Some(Bytes::copy_from_slice(id)),
            Party::Sender | Party::Notifier | Party::Link => {
                self.engine.get(Table::Ids, &table::id(party, id))?
            }
        };
        let Some(recipient_id) = recipient_id else {
            return Ok(Loaded::Queue(None));
        };
        let Some(record) = read::<QueueRecord>(&self.engine, Table::Queues, &recipient_id)? else {
            return match party {
                Party::Recipient => Ok(Loaded::Queue(None)),
                Party::Sender | Party::Notifier | Party::Link => Err(StoreError::record(
                    Table::Queues.name(),
                    &recipient_id,
                    Fault::Missing,
                )),
            };
        };
        let waiting = self.position(Waiting::Messages, &recipient_id)?;
        let first = match waiting.is_empty() {
            true => None,
            false => Some(self.message(&recipient_id, waiting.position.head)?),
        };
        Ok(Loaded::Queue(Some(Box::new(LoadedQueue {
            record,
            position: waiting.position,
            first,
        }))))
    }

    pub(super) fn position(
        &self,
        waiting: Waiting,
        id: &[u8],
    ) -> Result<PositionRecord, StoreError> {
        let found = read(&self.engine, Table::Positions, &waiting.position(id))?;
        Ok(found.unwrap_or_default())
    }

    /// A message that waits must be there.
    pub(super) fn message(&self, queue: &[u8], sequence: u64) -> Result<MessageRecord, StoreError> {
        let key = table::place(queue, sequence);
        read(&self.engine, Table::Messages, &key)?
            .ok_or_else(|| StoreError::record(Table::Messages.name(), &key, Fault::Missing))
    }

    pub(super) fn notifications(
        &self,
        notifier: &[u8],
        position: Position,
    ) -> impl Iterator<Item = Result<(u64, NotificationRecord), StoreError>> {
        let from = table::place(notifier, position.head);
        let before = table::place(notifier, position.tail);
        let entries = self.engine.scan(Table::Notifications, &from, &before);
        entries.map(|entry| {
            let (key, value) = entry?;
            let invalid = || StoreError::record(Table::Notifications.name(), &key, Fault::Invalid);
            let (_, sequence) = table::parse_place(&key).ok_or_else(invalid)?;
            Ok((sequence, restored(Table::Notifications, &key, &value)?))
        })
    }

    fn load_messages(
        &self,
        queue: &EntityId,
        from: u64,
        before: u64,
    ) -> Result<Loaded, StoreError> {
        let position = self.position(Waiting::Messages, queue)?.position;
        let mut messages = Vec::new();
        let mut bytes = 0_usize;
        for sequence in from.max(position.head)..before.min(position.tail) {
            let key = table::place(queue, sequence);
            let found = self.engine.get(Table::Messages, &key)?;
            let stored = found
                .ok_or_else(|| StoreError::record(Table::Messages.name(), &key, Fault::Missing))?;
            bytes = bytes.saturating_add(stored.len());
            if bytes > MAX_LOADED && !messages.is_empty() {
                break;
            }
            messages.push((sequence, restored(Table::Messages, &key, &stored)?));
        }
        Ok(Loaded::Messages(messages))
    }

    fn load_notifications(&self, notifier: &EntityId) -> Result<Loaded, StoreError> {
        let position = self.position(Waiting::Notifications, notifier)?.position;
        self.notifications(notifier, position)
            .collect::<Result<_, _>>()
            .map(Loaded::Notifications)
    }

    fn load_service(&self, fingerprint: &[u8; 32]) -> Result<Loaded, StoreError> {
        let key = table::service_fingerprint(fingerprint);
        let Some(id) = self.engine.get(Table::Services, &key)? else {
            return Ok(Loaded::Service(None));
        };
        let invalid = |_| StoreError::record(Table::Services.name(), &key, Fault::Invalid);
        let id = EntityId::try_from(&*id).map_err(invalid)?;
        let key = table::service(&id);
        let record: ServiceRecord = read(&self.engine, Table::Services, &key)?
            .ok_or_else(|| StoreError::record(Table::Services.name(), &key, Fault::Missing))?;
        let totals = read(&self.engine, Table::Services, &table::service_totals(&id))?;
        let service = (record, totals.unwrap_or_default());
        Ok(Loaded::Service(Some(Box::new(service))))
    }

    fn load_service_queues(
        &self,
        service: &EntityId,
        role: ServiceRole,
        after: &EntityId,
        limit: usize,
    ) -> Result<Loaded, StoreError> {
        let prefix = table::service_queue(role, service, &[]);
        let mut from = table::service_queue(role, service, after);
        if !after.is_empty() {
            from.push(0);
        }
        self.engine
            .scan(Table::Index, &from, &table::after_prefix(&prefix))
            .take(limit)
            .map(|entry| {
                let (key, _) = entry?;
                let invalid = || StoreError::record(Table::Index.name(), &key, Fault::Invalid);
                let id = key.get(prefix.len()..).ok_or_else(invalid)?;
                EntityId::try_from(id).map_err(|_| invalid())
            })
            .collect::<Result<_, _>>()
            .map(Loaded::Ids)
    }

    /// How many queues services have: those that receive messages, and those that receive notifications.
    fn service_queues(&self) -> Result<(u64, u64), StoreError> {
        let (from, to) = table::all_services();
        let (mut messaging, mut notifier) = (0_i64, 0_i64);
        for entry in self.engine.scan(Table::Services, &from, &to) {
            let (key, value) = entry?;
            let record: ServiceRecord = restored(Table::Services, &key, &value)?;
            let key = table::service_totals(&record.id);
            let totals: ServiceTotals =
                read(&self.engine, Table::Services, &key)?.unwrap_or_default();
            let queues = match record.role {
                ServiceRole::Notifier => &mut notifier,
                ServiceRole::Messaging | ServiceRole::Proxy => &mut messaging,
            };
            *queues = queues.saturating_add(totals.count);
        }
        let number = |count| u64::try_from(count).unwrap_or(0);
        Ok((number(messaging), number(notifier)))
    }

    fn load_totals(&self) -> Result<Loaded, StoreError> {
        let queues = self.service_queues()?;
        Ok(Loaded::Totals(Box::new(Totals {
            queues: self.counts.queues,
            messages: self.counts.messages,
            notifiers: self.counts.notifiers,
            notifications: self.counts.notifications,
            messaging_services: self.counts.messaging_services,
            notifier_services: self.counts.notifier_services,
            messaging_service_queues: queues.0,
            notifier_service_queues: queues.1,
            statistics: self.engine.get(Table::State, STATISTICS)?,
        })))
    }
}

impl<E: Engine<Table>> Store for Records<E> {
    /// What the engine has failed to do in the background is found out here: nothing was written then, so that it can be tried again.
    fn apply_noting(&mut self, commits: &[Vec<Change>], notes: &[Note]) -> Result<(), StoreError> {
        self.recover()?;
        match self.write_group(commits, notes) {
            Err(StoreError::Broken(_)) => {
                self.recover()?;
                self.write_group(commits, notes)
            }
            written => written,
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if self.state == State::Failed {
            return Err(StoreError::Broken("a write has failed before".into()));
        }
        let synced = self.engine.sync(self.counts.groups);
        self.noting_failure(synced)
    }

    fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        self.recover()?;
        match load {
            Load::Queue(party, id) => self.load_queue(*party, id),
            Load::Messages {
                queue,
                from,
                before,
            } => self.load_messages(queue, *from, *before),
            Load::Notifications(notifier) => self.load_notifications(notifier),
            Load::Service(fingerprint) => self.load_service(fingerprint),
            Load::ServiceQueues {
                service,
                role,
                after,
                limit,
            } => self.load_service_queues(service, *role, after, *limit),
            Load::Expired { before, limit } => self
                .expired(Waiting::Messages, *before, *limit)
                .map(Loaded::Ids),
            Load::ExpiredNotifications { before, limit } => self
                .expired(Waiting::Notifications, *before, *limit)
                .map(Loaded::Ids),
            Load::Totals => self.load_totals(),
        }
    }

    fn note(&mut self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.recover()?;
        self.engine.get(Table::State, &table::note(name))
    }

    fn queues_after(
        &mut self,
        after: &EntityId,
        limit: usize,
    ) -> Result<Vec<QueueRecord>, StoreError> {
        self.recover()?;
        let mut from = after.to_vec();
        from.push(0);
        let entries = self.engine.scan(Table::Queues, &from, &[]);
        entries
            .take(limit)
            .map(|entry| {
                let (key, value) = entry?;
                restored(Table::Queues, &key, &value)
            })
            .collect()
    }

    fn services(&mut self) -> Result<Vec<ServiceRecord>, StoreError> {
        self.recover()?;
        let (from, before) = table::all_services();
        let entries = self.engine.scan(Table::Services, &from, &before);
        entries
            .map(|entry| {
                let (key, value) = entry?;
                restored(Table::Services, &key, &value)
            })
            .collect()
    }

    fn snapshot(&mut self) -> Result<Box<Snapshot>, StoreError> {
        self.recover()?;
        self.engine.snapshot()
    }

    fn policy(&self) -> SyncPolicy {
        self.engine.policy()
    }

    fn close(mut self: Box<Self>) -> Result<(), StoreError> {
        if self.state == State::Open {
            self.engine.sync(self.counts.groups)?;
        }
        self.engine.close()
    }
}

impl Records<super::Memory> {
    /// An empty store in memory.
    #[must_use]
    pub fn in_memory() -> Self {
        Self {
            engine: super::Memory::default(),
            counts: Counts::default(),
            oldest: [i64::MIN; 2],
            state: State::Open,
        }
    }
}
