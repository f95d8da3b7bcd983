//! A group of commits that is being prepared: what it will write, and what will be counted then.
//!
//! It reads its own writes. What it writes and deletes again never reaches the engine, so that a message that is acknowledged before
//! its group is written costs nothing.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut as _, Bytes, BytesMut};
use simplex_sans_io::smp::handshake::ServiceRole;
use simplex_sans_io::smp::router::store::{
    Change, FORMAT, MessageContent, MessageRecord, NotificationRecord, Position, QueueRecord,
    ServiceRecord, ServiceTotals,
};
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::wire::{self, EntityId, Parsed, Source, Version, Wire};

use super::StoreError;
use super::table::{self, Table, Waiting};
use crate::store::Fault;
use crate::store::engine::{Effect, Engine, Write, is_range};

/// The key of the counts.
pub(super) const COUNTS: &[u8] = b"counts";
/// The key of the statistics.
pub(super) const STATISTICS: &[u8] = b"statistics";

/// How much there is, without looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Groups that were written.
    pub(super) groups: u64,
    pub(super) queues: u64,
    pub(super) messages: u64,
    pub(super) notifiers: u64,
    pub(super) notifications: u64,
    pub(super) messaging_services: u64,
    pub(super) notifier_services: u64,
}

impl Counts {
    fn fields(&mut self) -> [&mut u64; 7] {
        [
            &mut self.groups,
            &mut self.queues,
            &mut self.messages,
            &mut self.notifiers,
            &mut self.notifications,
            &mut self.messaging_services,
            &mut self.notifier_services,
        ]
    }

    fn services(&mut self, role: ServiceRole) -> Option<&mut u64> {
        match role {
            ServiceRole::Messaging => Some(&mut self.messaging_services),
            ServiceRole::Notifier => Some(&mut self.notifier_services),
            ServiceRole::Proxy => None,
        }
    }
}

impl Wire for Counts {
    fn parse<'a>(source: Source<'_>, mut input: &'a [u8]) -> Parsed<'a, Self> {
        let mut counts = Self::default();
        for field in counts.fields() {
            (input, *field) = Wire::parse(source, input)?;
        }
        Ok((input, counts))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        for field in { *self }.fields() {
            field.put(version, out);
        }
    }
}

/// Which messages or notifications wait, and since when: none of them is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PositionRecord {
    pub(super) position: Position,
    /// The time under which the index has it.
    pub(super) since: Option<i64>,
}

impl PositionRecord {
    /// How many messages wait.
    pub(super) const fn count(&self) -> u64 {
        self.position.tail.saturating_sub(self.position.head)
    }

    /// Whether nothing waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.count() == 0
    }
}

impl Wire for PositionRecord {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, (position, since)) = Wire::parse(source, input)?;
        Ok((input, Self { position, since }))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        (self.position, self.since).put(version, out);
    }
}

/// The stored form of a record: the version of its format, then its encoding.
pub(super) fn stored<T: Wire>(record: &T) -> Bytes {
    stored_in(record, 0)
}

/// The same, which is expected to have about so many bytes.
fn stored_in<T: Wire>(record: &T, capacity: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(capacity);
    out.put_u8(u8::try_from(FORMAT.0).unwrap_or(u8::MAX));
    record.put(FORMAT, &mut out);
    out.freeze()
}

/// The record of a stored form; long parts are shared.
pub(super) fn restored<T: Wire>(table: Table, key: &[u8], bytes: &Bytes) -> Result<T, StoreError> {
    let invalid = || StoreError::record(table.name(), key, Fault::Invalid);
    let version = bytes.first().copied().ok_or_else(invalid)?.into();
    if version > FORMAT.0 {
        return Err(StoreError::Newer {
            found: version,
            known: FORMAT.0,
        });
    }
    wire::decode(Version(version), &bytes.slice(1..)).map_err(|_| invalid())
}

/// Reads a record.
pub(super) fn read<T: Wire>(
    engine: &impl Engine<Table>,
    table: Table,
    key: &[u8],
) -> Result<Option<T>, StoreError> {
    let found = engine.get(table, key)?;
    found.map(|bytes| restored(table, key, &bytes)).transpose()
}

/// A group of commits. See the [module](self).
pub(super) struct Transaction<'a, E> {
    engine: &'a E,
    writes: BTreeMap<(Table, Bytes), Effect>,
    pub(super) counts: Counts,
    /// The oldest time that was added to the index.
    pub(super) oldest: [Option<i64>; 2],
}

impl<'a, E: Engine<Table>> Transaction<'a, E> {
    pub(super) const fn new(engine: &'a E, counts: Counts) -> Self {
        Self {
            engine,
            writes: BTreeMap::new(),
            counts,
            oldest: [None; 2],
        }
    }

    /// What is to be written.
    pub(super) fn into_writes(mut self) -> Vec<Write<Table>> {
        let counts = stored(&self.counts);
        self.put(Table::State, COUNTS.to_vec(), counts);
        let writes = self.writes.into_iter();
        writes
            .map(|((table, key), effect)| Write { table, key, effect })
            .collect()
    }

    pub(super) fn change(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::PutQueue { queue, removed } => self.put_queue(queue, removed),
            Change::DeleteQueue { queue, position } => self.delete_queue(queue, *position),
            Change::PutMessage {
                queue,
                sequence,
                message,
                position,
            } => self.put_message(queue, *sequence, message, *position),
            Change::DeleteMessages {
                queue,
                from,
                position,
            } => self.delete_messages(queue, *from, *position),
            Change::PutNotification {
                notifier,
                sequence,
                notification,
            } => self.put_notification(notifier, *sequence, notification),
            Change::DeleteNotifications { notifier, before } => {
                self.delete_notifications(notifier, *before)
            }
            Change::PutService(service) => self.put_service(service),
            Change::AdjustServiceTotals {
                service,
                count,
                ids_hash,
            } => {
                let key = table::service_totals(service);
                let totals: ServiceTotals = self.read(Table::Services, &key)?.unwrap_or_default();
                let adjusted = ServiceTotals {
                    count: totals.count.saturating_add(*count),
                    ids_hash: totals.ids_hash.combine(*ids_hash),
                };
                self.put(Table::Services, key, stored(&adjusted));
                Ok(())
            }
            Change::PutStatistics(statistics) => {
                self.put(Table::State, STATISTICS.to_vec(), statistics.clone());
                Ok(())
            }
        }
    }

    fn put_queue(
        &mut self,
        queue: &QueueRecord,
        removed: &[(Party, EntityId)],
    ) -> Result<(), StoreError> {
        let recipient_id = &queue.recipient_id;
        let before: Option<QueueRecord> = self.readable(Table::Queues, recipient_id)?;
        match &before {
            None => add(&mut self.counts.queues, 1),
            Some(before) => {
                let gone = before.ids().filter(|id| !queue.ids().any(|new| new == *id));
                for (party, id) in gone {
                    self.remove_id(party, id, recipient_id)?;
                }
                self.count_notifier(before, -1);
            }
        }
        for (party, id) in removed {
            self.remove_id(*party, id, recipient_id)?;
        }
        let before = before.as_ref();
        let new_ids = queue.ids().filter(|id| {
            let mut known = before.into_iter().flat_map(QueueRecord::ids);
            !known.any(|known| known == *id)
        });
        for (party, id) in new_ids {
            let recipient_id = Bytes::copy_from_slice(recipient_id);
            self.put(Table::Ids, table::id(party, id), recipient_id);
        }
        self.count_notifier(queue, 1);
        let before: Vec<_> = before.into_iter().flat_map(services).collect();
        let after: Vec<_> = services(queue).collect();
        for (role, service) in before.iter().filter(|service| !after.contains(service)) {
            let key = table::service_queue(*role, service, recipient_id);
            self.remove(Table::Index, key);
        }
        for (role, service) in after.iter().filter(|service| !before.contains(service)) {
            let key = table::service_queue(*role, service, recipient_id);
            self.put(Table::Index, key, Bytes::new());
        }
        self.put(Table::Queues, recipient_id.to_vec(), stored(queue));
        Ok(())
    }

    fn delete_queue(&mut self, queue: &QueueRecord, position: Position) -> Result<(), StoreError> {
        let recipient_id = &queue.recipient_id;
        let before: Option<QueueRecord> = self.readable(Table::Queues, recipient_id)?;
        if before.is_some() {
            add(&mut self.counts.queues, -1);
        }
        let before = before.as_ref().unwrap_or(queue);
        self.count_notifier(before, -1);
        for (party, id) in before.ids().chain(queue.ids()) {
            self.remove_id(party, id, recipient_id)?;
        }
        for (role, service) in services(before) {
            let key = table::service_queue(role, service, recipient_id);
            self.remove(Table::Index, key);
        }
        let stored = self.position(Waiting::Messages, recipient_id)?.position;
        let tail = position.tail.max(stored.tail);
        let emptied = Position {
            head: tail,
            tail,
            full: false,
        };
        let head = position.head.min(stored.head);
        self.delete_messages(recipient_id, head, emptied)?;
        self.forget_position(Waiting::Messages, recipient_id)?;
        self.remove(Table::Queues, recipient_id.to_vec());
        Ok(())
    }

    /// A message follows the one before it, and the first one its queue: what follows something that was not stored must not be stored
    /// either.
    fn put_message(
        &mut self,
        queue: &EntityId,
        sequence: u64,
        message: &MessageRecord,
        position: Position,
    ) -> Result<(), StoreError> {
        let before = self.position(Waiting::Messages, queue)?;
        if before == PositionRecord::default() {
            if self.get(Table::Queues, queue)?.is_none() {
                return Err(StoreError::NoQueue);
            }
        } else if sequence != before.position.tail {
            return Err(StoreError::OutOfOrder {
                sequence,
                expected: before.position.tail,
            });
        }
        let body = match &message.content {
            MessageContent::Sent { body, .. } => body.len().saturating_add(64),
            MessageContent::Quota => 0,
        };
        let key = table::place(queue, sequence);
        self.put(Table::Messages, key, stored_in(message, body));
        self.set_messages(queue, before, position, Some(message.time));
        Ok(())
    }

    fn delete_messages(
        &mut self,
        queue: &EntityId,
        from: u64,
        position: Position,
    ) -> Result<(), StoreError> {
        let before = self.position(Waiting::Messages, queue)?;
        for sequence in from..position.head {
            self.remove_once(Table::Messages, table::place(queue, sequence).into());
        }
        self.set_messages(queue, before, position, None);
        Ok(())
    }

    fn set_messages(
        &mut self,
        queue: &EntityId,
        before: PositionRecord,
        position: Position,
        added: Option<i64>,
    ) {
        let messages = &mut self.counts.messages;
        *messages = messages.saturating_sub(before.count()).saturating_add(
            PositionRecord {
                position,
                since: None,
            }
            .count(),
        );
        self.set_position(Waiting::Messages, queue, before, position, added);
    }

    /// The places of notifications grow, but do not follow each other.
    fn put_notification(
        &mut self,
        notifier: &EntityId,
        sequence: u64,
        notification: &NotificationRecord,
    ) -> Result<(), StoreError> {
        let key = table::place(notifier, sequence);
        if self.get(Table::Notifications, &key)?.is_none() {
            add(&mut self.counts.notifications, 1);
        }
        self.put(Table::Notifications, key, stored(notification));
        let before = self.position(Waiting::Notifications, notifier)?;
        let next = sequence.saturating_add(1);
        let position = if before.is_empty() {
            Position {
                head: sequence,
                tail: next,
                full: false,
            }
        } else {
            Position {
                head: before.position.head.min(sequence),
                tail: before.position.tail.max(next),
                full: false,
            }
        };
        let time = Some(notification.time);
        self.set_position(Waiting::Notifications, notifier, before, position, time);
        Ok(())
    }

    fn delete_notifications(&mut self, notifier: &EntityId, before: u64) -> Result<(), StoreError> {
        let waiting = self.position(Waiting::Notifications, notifier)?;
        let Position { head, tail, full } = waiting.position;
        let before = before.clamp(head, tail);
        let (from, end) = (table::place(notifier, head), table::place(notifier, before));
        for key in self.keys(Table::Notifications, &from, &end)? {
            self.remove_once(Table::Notifications, key);
            add(&mut self.counts.notifications, -1);
        }
        let position = Position {
            head: before,
            tail,
            full,
        };
        self.set_position(Waiting::Notifications, notifier, waiting, position, None);
        Ok(())
    }

    fn put_service(&mut self, service: &ServiceRecord) -> Result<(), StoreError> {
        let key = table::service(&service.id);
        let before: Option<ServiceRecord> = self.readable(Table::Services, &key)?;
        if let Some(count) = before.and_then(|before| self.counts.services(before.role)) {
            add(count, -1);
        }
        if let Some(count) = self.counts.services(service.role) {
            add(count, 1);
        }
        self.put(Table::Services, key, stored(service));
        let key = table::service_fingerprint(service.fingerprint.as_bytes());
        let id = Bytes::copy_from_slice(&service.id);
        self.put(Table::Services, key, id);
        Ok(())
    }

    fn count_notifier(&mut self, queue: &QueueRecord, difference: i64) {
        if queue.notifier.is_some() {
            add(&mut self.counts.notifiers, difference);
        }
    }

    /// An id leads to its queue no more, unless it leads to another one by now.
    fn remove_id(
        &mut self,
        party: Party,
        id: &EntityId,
        recipient_id: &EntityId,
    ) -> Result<(), StoreError> {
        let key = table::id(party, id);
        if self.get(Table::Ids, &key)?.as_deref() == Some(&**recipient_id) {
            self.remove(Table::Ids, key);
            if party == Party::Notifier {
                self.delete_notifications(id, u64::MAX)?;
                self.forget_position(Waiting::Notifications, id)?;
            }
        }
        Ok(())
    }

    /// A position that cannot be read is as good as none: what waits is found again when it is next written.
    fn position(&self, waiting: Waiting, id: &[u8]) -> Result<PositionRecord, StoreError> {
        let found = self.readable(Table::Positions, &waiting.position(id))?;
        Ok(found.unwrap_or_default())
    }

    fn set_position(
        &mut self,
        waiting: Waiting,
        id: &[u8],
        before: PositionRecord,
        position: Position,
        added: Option<i64>,
    ) {
        let since = match (before.since, added) {
            (Some(since), Some(added)) => Some(since.min(added)),
            (since, added) => since.or(added),
        };
        if before.since != since {
            if let Some(since) = before.since {
                self.remove(Table::Index, waiting.since(since, id));
            }
            if let Some(since) = since {
                self.add_to_index(waiting, since, id);
            }
        }
        let after = PositionRecord { position, since };
        self.put(Table::Positions, waiting.position(id), stored(&after));
    }

    /// Nothing waits, and nothing will.
    fn forget_position(&mut self, waiting: Waiting, id: &[u8]) -> Result<(), StoreError> {
        let before = self.position(waiting, id)?;
        if let Some(since) = before.since {
            self.remove(Table::Index, waiting.since(since, id));
        }
        self.remove(Table::Positions, waiting.position(id));
        Ok(())
    }

    /// Nothing waits now.
    pub(super) fn leave_index(&mut self, waiting: Waiting, id: &[u8]) -> Result<(), StoreError> {
        let before = self.position(waiting, id)?;
        if let Some(since) = before.since {
            self.remove(Table::Index, waiting.since(since, id));
        }
        let after = PositionRecord {
            since: None,
            ..before
        };
        self.put(Table::Positions, waiting.position(id), stored(&after));
        Ok(())
    }

    /// The first of what waits is newer than the index has it.
    pub(super) fn move_in_index(
        &mut self,
        waiting: Waiting,
        id: &[u8],
        record: PositionRecord,
        since: i64,
    ) {
        if let Some(since) = record.since {
            self.remove(Table::Index, waiting.since(since, id));
        }
        self.add_to_index(waiting, since, id);
        let moved = PositionRecord {
            since: Some(since),
            ..record
        };
        self.put(Table::Positions, waiting.position(id), stored(&moved));
    }

    fn add_to_index(&mut self, waiting: Waiting, since: i64, id: &[u8]) {
        self.put(Table::Index, waiting.since(since, id), Bytes::new());
        let [messages, notifications] = &mut self.oldest;
        let oldest = match waiting {
            Waiting::Messages => messages,
            Waiting::Notifications => notifications,
        };
        *oldest = Some(oldest.map_or(since, |oldest| oldest.min(since)));
    }

    pub(super) fn put(&mut self, table: Table, key: Vec<u8>, value: Bytes) {
        self.writes.insert((table, key.into()), Effect::Put(value));
    }

    pub(super) fn remove(&mut self, table: Table, key: Vec<u8>) {
        self.writes.insert((table, key.into()), Effect::Remove);
    }

    fn remove_once(&mut self, table: Table, key: Bytes) {
        match self.writes.entry((table, key)) {
            Entry::Occupied(entry) if matches!(entry.get(), Effect::Put(_)) => {
                entry.remove();
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => {
                entry.insert(Effect::RemoveOnce);
            }
        }
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.writes.get(&(table, Bytes::copy_from_slice(key))) {
            Some(Effect::Put(value)) => Ok(Some(value.clone())),
            Some(Effect::Remove | Effect::RemoveOnce) => Ok(None),
            None => self.engine.get(table, key),
        }
    }

    /// The keys from one up to, and without, another one.
    fn keys(&self, table: Table, from: &[u8], before: &[u8]) -> Result<Vec<Bytes>, StoreError> {
        let mut keys = BTreeSet::new();
        for entry in self.engine.scan(table, from, before) {
            keys.insert(entry?.0);
        }
        if is_range(from, before) {
            let key = |key: &[u8]| (table, Bytes::copy_from_slice(key));
            for ((_, key), effect) in self.writes.range(key(from)..key(before)) {
                match effect {
                    Effect::Put(_) => keys.insert(key.clone()),
                    Effect::Remove | Effect::RemoveOnce => keys.remove(key),
                };
            }
        }
        Ok(keys.into_iter().collect())
    }

    fn read<T: Wire>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        let found = self.get(table, key)?;
        found.map(|bytes| restored(table, key, &bytes)).transpose()
    }

    /// The record as it was, for what depends on it. One that is damaged is replaced, as the group must not fail for one queue.
    fn readable<T: Wire>(&self, table: Table, key: &[u8]) -> Result<Option<T>, StoreError> {
        match self.read(table, key) {
            Err(error @ StoreError::DamagedRecord { .. }) => {
                tracing::error!(%error, "a damaged record is replaced");
                Ok(None)
            }
            other => other,
        }
    }
}

/// The services that a queue is associated with.
fn services(queue: &QueueRecord) -> impl Iterator<Item = (ServiceRole, &EntityId)> {
    let notifier = queue.notifier.as_ref();
    let messaging = queue.service_id.as_ref();
    let messaging = messaging.map(|id| (ServiceRole::Messaging, id));
    let notifications = notifier.and_then(|notifier| notifier.service_id.as_ref());
    let notifications = notifications.map(|id| (ServiceRole::Notifier, id));
    messaging.into_iter().chain(notifications)
}

const fn add(count: &mut u64, difference: i64) {
    *count = count.saturating_add_signed(difference);
}
