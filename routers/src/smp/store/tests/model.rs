//! What a store should know, said in the simplest way.

use std::collections::BTreeMap;

use bytes::Bytes;
use simplex_sans_io::smp::handshake::ServiceRole;
use simplex_sans_io::smp::router::store::{
    Change, Load, Loaded, LoadedQueue, MessageRecord, NotificationRecord, Position, QueueRecord,
    ServiceRecord, ServiceTotals, Totals,
};
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::wire::EntityId;

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) queues: BTreeMap<EntityId, QueueRecord>,
    pub(crate) positions: BTreeMap<EntityId, Position>,
    pub(crate) messages: BTreeMap<EntityId, BTreeMap<u64, MessageRecord>>,
    pub(crate) notifications: BTreeMap<EntityId, BTreeMap<u64, NotificationRecord>>,
    pub(crate) services: BTreeMap<EntityId, ServiceRecord>,
    pub(crate) totals: BTreeMap<EntityId, ServiceTotals>,
    pub(crate) statistics: Option<Bytes>,
}

impl Model {
    pub(crate) fn change(&mut self, change: &Change) {
        match change.clone() {
            Change::PutQueue { queue, removed } => {
                for (party, id) in removed {
                    if party == Party::Notifier {
                        self.notifications.remove(&id);
                    }
                }
                self.queues.insert(queue.recipient_id.clone(), *queue);
            }
            Change::DeleteQueue { queue, .. } => {
                self.queues.remove(&queue.recipient_id);
                self.positions.remove(&queue.recipient_id);
                self.messages.remove(&queue.recipient_id);
                if let Some(notifier) = queue.notifier {
                    self.notifications.remove(&notifier.id);
                }
            }
            Change::PutMessage {
                queue,
                sequence,
                message,
                position,
            } => {
                self.positions.insert(queue.clone(), position);
                self.messages
                    .entry(queue)
                    .or_default()
                    .insert(sequence, message);
            }
            Change::DeleteMessages {
                queue, position, ..
            } => {
                self.positions.insert(queue.clone(), position);
                let messages = self.messages.entry(queue).or_default();
                messages.retain(|sequence, _| *sequence >= position.head);
            }
            Change::PutNotification {
                notifier,
                sequence,
                notification,
            } => {
                self.notifications
                    .entry(notifier)
                    .or_default()
                    .insert(sequence, notification);
            }
            Change::DeleteNotifications { notifier, before } => {
                let notifications = self.notifications.entry(notifier).or_default();
                notifications.retain(|sequence, _| *sequence >= before);
            }
            Change::PutService(service) => {
                self.services.insert(service.id.clone(), *service);
            }
            Change::AdjustServiceTotals {
                service,
                count,
                ids_hash,
            } => {
                let totals = self.totals.entry(service).or_default();
                totals.count += count;
                totals.ids_hash = totals.ids_hash.combine(ids_hash);
            }
            Change::PutStatistics(statistics) => self.statistics = Some(statistics),
        }
    }

    pub(crate) fn load(&self, load: &Load) -> Loaded {
        match load {
            Load::Queue(party, id) => Loaded::Queue(self.queue(*party, id).map(Box::new)),
            Load::Messages {
                queue,
                from,
                before,
            } => {
                let messages = self.messages.get(queue).into_iter().flatten();
                let wanted = messages.filter(|(sequence, _)| (from..before).contains(sequence));
                Loaded::Messages(
                    wanted
                        .map(|(place, message)| (*place, message.clone()))
                        .collect(),
                )
            }
            Load::Notifications(notifier) => {
                let found = self.notifications.get(notifier).into_iter().flatten();
                Loaded::Notifications(found.map(|(place, one)| (*place, one.clone())).collect())
            }
            Load::Service(fingerprint) => {
                let mut services = self.services.values();
                let found = services.find(|service| service.fingerprint.as_bytes() == fingerprint);
                let totals = |id| self.totals.get(id).copied().unwrap_or_default();
                Loaded::Service(found.map(|found| Box::new((found.clone(), totals(&found.id)))))
            }
            Load::ServiceQueues {
                service,
                role,
                after,
                limit,
            } => {
                let of_service = |queue: &&QueueRecord| {
                    let id = match role {
                        ServiceRole::Messaging => queue.service_id.as_ref(),
                        _ => queue.notifier.as_ref().and_then(|n| n.service_id.as_ref()),
                    };
                    id == Some(service) && queue.recipient_id > *after
                };
                let ids = self.queues.values().filter(of_service);
                Loaded::Ids(
                    ids.take(*limit)
                        .map(|queue| queue.recipient_id.clone())
                        .collect(),
                )
            }
            Load::Expired { before, .. } => {
                let first = |messages: &BTreeMap<u64, MessageRecord>| {
                    Some(messages.first_key_value()?.1.time)
                };
                Loaded::Ids(old(&self.messages, first, *before))
            }
            Load::ExpiredNotifications { before, .. } => {
                let first = |found: &BTreeMap<u64, NotificationRecord>| {
                    Some(found.first_key_value()?.1.time)
                };
                Loaded::Ids(old(&self.notifications, first, *before))
            }
            Load::Totals => {
                let count = |number: usize| number as u64;
                let services = |role| {
                    let services = self.services.values();
                    count(services.filter(|service| service.role == role).count())
                };
                let notifier = |queue: &&QueueRecord| queue.notifier.is_some();
                Loaded::Totals(Box::new(Totals {
                    queues: count(self.queues.len()),
                    messages: count(self.messages.values().map(BTreeMap::len).sum()),
                    notifiers: count(self.queues.values().filter(notifier).count()),
                    notifications: count(self.notifications.values().map(BTreeMap::len).sum()),
                    messaging_services: services(ServiceRole::Messaging),
                    notifier_services: services(ServiceRole::Notifier),
                    statistics: self.statistics.clone(),
                }))
            }
        }
    }

    fn queue(&self, party: Party, id: &EntityId) -> Option<LoadedQueue> {
        let record = match party {
            Party::Recipient => self.queues.get(id),
            _ => self
                .queues
                .values()
                .find(|queue| queue.ids().any(|known| known == (party, id))),
        }?;
        let messages = self.messages.get(&record.recipient_id);
        Some(LoadedQueue {
            record: record.clone(),
            position: self
                .positions
                .get(&record.recipient_id)
                .copied()
                .unwrap_or_default(),
            first: messages.and_then(|messages| Some(messages.first_key_value()?.1.clone())),
        })
    }
}

fn old<T>(
    all: &BTreeMap<EntityId, T>,
    first: impl Fn(&T) -> Option<i64>,
    before: i64,
) -> Vec<EntityId> {
    let old = all
        .iter()
        .filter(|(_, waiting)| first(waiting).is_some_and(|time| time < before));
    old.map(|(id, _)| id.clone()).collect()
}
