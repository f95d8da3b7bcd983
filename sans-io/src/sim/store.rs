//! A store that exists in simulations only: simple, slow to sync if wanted, and able to lose what was not synced.

use std::collections::BTreeMap;

use crate::smp::handshake::ServiceRole;
use crate::smp::router::OpId;
use crate::smp::router::store::{
    Change, Load, Loaded, LoadedQueue, MessageRecord, NotificationRecord, Position, QueueRecord,
    ServiceRecord, ServiceTotals, Totals,
};
use crate::smp::server::Party;
use crate::wire::EntityId;

/// Everything that a router keeps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// Queues by the ids of their recipients.
    pub queues: BTreeMap<EntityId, QueueRecord>,
    /// Which messages wait.
    pub positions: BTreeMap<EntityId, Position>,
    /// Messages by queue and place.
    pub messages: BTreeMap<(EntityId, u64), MessageRecord>,
    /// Notifications by notifier and place.
    pub notifications: BTreeMap<(EntityId, u64), NotificationRecord>,
    /// Services by their ids.
    pub services: BTreeMap<EntityId, (ServiceRecord, ServiceTotals)>,
    ids: BTreeMap<(Party, EntityId), EntityId>,
    statistics: Option<bytes::Bytes>,
}

impl Contents {
    fn change(&mut self, change: Change) {
        match change {
            Change::PutQueue { queue, removed } => {
                for id in removed {
                    self.ids.remove(&id);
                }
                for (party, id) in queue.ids() {
                    self.ids
                        .insert((party, id.clone()), queue.recipient_id.clone());
                }
                self.queues.insert(queue.recipient_id.clone(), *queue);
            }
            Change::DeleteQueue { queue, .. } => {
                for (party, id) in queue.ids() {
                    self.ids.remove(&(party, id.clone()));
                }
                self.queues.remove(&queue.recipient_id);
                self.positions.remove(&queue.recipient_id);
                self.messages.retain(|(id, _), _| *id != queue.recipient_id);
            }
            Change::PutMessage {
                queue,
                sequence,
                message,
                position,
            } => {
                self.positions.insert(queue.clone(), position);
                self.messages.insert((queue, sequence), message);
            }
            Change::DeleteMessages {
                queue,
                from,
                position,
            } => {
                for sequence in from..position.head {
                    self.messages.remove(&(queue.clone(), sequence));
                }
                self.positions.insert(queue, position);
            }
            Change::PutNotification {
                notifier,
                sequence,
                notification,
            } => {
                self.notifications
                    .insert((notifier, sequence), notification);
            }
            Change::DeleteNotifications { notifier, before } => {
                self.notifications
                    .retain(|(id, sequence), _| *id != notifier || *sequence >= before);
            }
            Change::PutService(service) => {
                self.services
                    .insert(service.id.clone(), (*service, ServiceTotals::default()));
            }
            Change::AdjustServiceTotals {
                service,
                count,
                ids_hash,
            } => {
                if let Some((_, totals)) = self.services.get_mut(&service) {
                    totals.count = totals.count.saturating_add(count);
                    totals.ids_hash = totals.ids_hash.combine(ids_hash);
                }
            }
            Change::PutStatistics(statistics) => self.statistics = Some(statistics),
        }
    }

    fn load(&self, load: &Load) -> Loaded {
        match load {
            Load::Queue(party, id) => Loaded::Queue(self.queue(*party, id).map(Box::new)),
            Load::Messages {
                queue,
                from,
                before,
            } => Loaded::Messages(
                self.messages
                    .range((queue.clone(), *from)..(queue.clone(), *before))
                    .map(|((_, sequence), message)| (*sequence, message.clone()))
                    .collect(),
            ),
            Load::Notifications(notifier) => Loaded::Notifications(
                self.notifications
                    .range((notifier.clone(), 0)..=(notifier.clone(), u64::MAX))
                    .map(|((_, sequence), notification)| (*sequence, notification.clone()))
                    .collect(),
            ),
            Load::Service(fingerprint) => Loaded::Service(
                self.services
                    .values()
                    .find(|(service, _)| service.fingerprint.as_bytes() == fingerprint)
                    .cloned()
                    .map(Box::new),
            ),
            Load::ServiceQueues {
                service,
                role,
                after,
                limit,
            } => Loaded::Ids(
                self.queues
                    .range(after.clone()..)
                    .filter(|(id, queue)| *id != after && of_service(queue, service, *role))
                    .map(|(id, _)| id.clone())
                    .take(*limit)
                    .collect(),
            ),
            Load::Expired { before, limit } => Loaded::Ids(self.expired(*before, *limit)),
            Load::ExpiredNotifications { before, limit } => {
                let mut notifiers: Vec<_> = self
                    .notifications
                    .iter()
                    .filter(|(_, notification)| notification.time < *before)
                    .map(|((notifier, _), _)| notifier.clone())
                    .collect();
                notifiers.dedup();
                notifiers.truncate(*limit);
                Loaded::Ids(notifiers)
            }
            Load::Totals => Loaded::Totals(Box::new(self.totals())),
        }
    }

    fn queue(&self, party: Party, id: &EntityId) -> Option<LoadedQueue> {
        let recipient_id = match party {
            Party::Recipient => id,
            Party::Sender | Party::Notifier | Party::Link => self.ids.get(&(party, id.clone()))?,
        };
        let record = self.queues.get(recipient_id)?.clone();
        let position = self
            .positions
            .get(recipient_id)
            .copied()
            .unwrap_or_default();
        let first = (recipient_id.clone(), position.head);
        Some(LoadedQueue {
            record,
            position,
            first: self.messages.get(&first).cloned(),
        })
    }

    fn expired(&self, before: i64, limit: usize) -> Vec<EntityId> {
        let mut expired: Vec<_> = self
            .positions
            .iter()
            .filter_map(|(id, position)| {
                let first = self.messages.get(&(id.clone(), position.head))?;
                (first.time < before).then(|| (first.time, id.clone()))
            })
            .collect();
        expired.sort();
        let ids = expired.into_iter().map(|(_, id)| id);
        ids.take(limit).collect()
    }

    fn totals(&self) -> Totals {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let of_role = |notifier: bool| {
            let services = self.services.values();
            services.filter(move |(service, _)| (service.role == ServiceRole::Notifier) == notifier)
        };
        let services = |notifier| number(of_role(notifier).count());
        let queues = |notifier| {
            let counts = of_role(notifier).map(|(_, totals)| totals.count);
            u64::try_from(counts.sum::<i64>()).unwrap_or(0)
        };
        Totals {
            queues: number(self.queues.len()),
            messages: number(self.messages.len()),
            notifiers: number(
                self.queues
                    .values()
                    .filter(|queue| queue.notifier.is_some())
                    .count(),
            ),
            notifications: number(self.notifications.len()),
            messaging_services: services(false),
            notifier_services: services(true),
            messaging_service_queues: queues(false),
            notifier_service_queues: queues(true),
            statistics: self.statistics.clone(),
        }
    }
}

fn of_service(queue: &QueueRecord, service: &EntityId, role: ServiceRole) -> bool {
    let of = match role {
        ServiceRole::Notifier => queue
            .notifier
            .as_ref()
            .and_then(|notifier| notifier.service_id.as_ref()),
        ServiceRole::Messaging | ServiceRole::Proxy => queue.service_id.as_ref(),
    };
    of == Some(service)
}

/// A store whose commits are durable when it is told so.
#[derive(Debug, Clone, Default)]
pub struct FakeStore {
    contents: Contents,
    durable: Contents,
    unsynced: Vec<(OpId, Vec<Change>)>,
}

impl FakeStore {
    /// A store with these contents.
    #[must_use]
    pub fn new(contents: Contents) -> Self {
        Self {
            durable: contents.clone(),
            contents,
            unsynced: Vec::new(),
        }
    }

    /// Takes a commit.
    pub fn commit(&mut self, op: OpId, changes: Vec<Change>) {
        for change in changes.clone() {
            self.contents.change(change);
        }
        self.unsynced.push((op, changes));
    }

    /// Answers a load, with all commits before it.
    #[must_use]
    pub fn load(&self, load: &Load) -> Loaded {
        self.contents.load(load)
    }

    /// Makes the first so many commits durable: the last of them.
    pub fn sync(&mut self, count: usize) -> Option<OpId> {
        let synced: Vec<_> = self
            .unsynced
            .drain(..count.min(self.unsynced.len()))
            .collect();
        let last = synced.last().map(|(op, _)| *op);
        for change in synced.into_iter().flat_map(|(_, changes)| changes) {
            self.durable.change(change);
        }
        last
    }

    /// How many commits are not durable.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    /// Fails all commits that are not durable: the first and the last of them.
    pub fn fail(&mut self) -> Option<(OpId, OpId)> {
        let first = self.unsynced.first()?.0;
        let last = self.unsynced.last()?.0;
        self.unsynced.clear();
        self.contents = self.durable.clone();
        Some((first, last))
    }

    /// What is left after the power was cut.
    #[must_use]
    pub fn crash(&self) -> Contents {
        self.durable.clone()
    }

    /// What was committed, durable or not.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        &self.contents
    }
}
