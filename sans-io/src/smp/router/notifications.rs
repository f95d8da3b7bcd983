//! Notifications: told at once to the subscriber of a notifier, or kept until there is one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::blocks::{Gone, Place};
use super::loads::For;
use super::store::{Change, Load, NotificationRecord};
use super::{ConnId, Router, totals};
use crate::crypto::Nonce;
use crate::crypto::secret_box::Key;
use crate::smp::body::NMsgMeta;
use crate::smp::handshake::ServiceRole;
use crate::smp::{BrokerMessage, ErrorType, MsgId};
use crate::wire::{EntityId, Short};

/// Who is subscribed to notifiers, and which notifications wait.
#[derive(Debug, Clone, Default)]
pub(super) struct Notifications {
    subscribers: BTreeMap<EntityId, ConnId>,
    /// The places of notifications that were stored since the start, for notifiers that nobody is subscribed to.
    waiting: BTreeMap<EntityId, VecDeque<u64>>,
    last_place: u64,
}

impl Notifications {
    pub(super) fn subscriptions(&self) -> usize {
        self.subscribers.len()
    }

    pub(super) fn closed(&mut self, connection: ConnId, notifiers: &BTreeSet<EntityId>) {
        for notifier in notifiers {
            if self.subscribers.get(notifier) == Some(&connection) {
                self.subscribers.remove(notifier);
            }
        }
    }

    /// Places grow with time, so that old ones are known by them.
    fn next_place(&mut self, micros: i64) -> u64 {
        let now = u64::try_from(micros).unwrap_or(0);
        self.last_place = now.max(self.last_place.saturating_add(1));
        self.last_place
    }
}

impl Router {
    pub(super) fn nsub(&mut self, place: Place, queue: &EntityId) {
        let Some(record) = self.cache.get(queue).map(|queue| &queue.record) else {
            return self.refuse(place, ErrorType::Auth);
        };
        let Some(notifier) = record.notifier.clone() else {
            return self.refuse(place, ErrorType::Auth);
        };
        let service_id = self.notifier_service_of(place.connection);
        let of_service = notifier.service_id.as_ref();
        let of_service = of_service.and_then(|service| self.services.notifier(service));
        let after = self.associate_notifier(queue, service_id.clone());
        let subscribers = &mut self.notifications.subscribers;
        let before = subscribers.insert(notifier.id.clone(), place.connection);
        let counter = match before {
            Some(before) if before == place.connection => {
                &mut self.counters.notifier_subscriptions_duplicate
            }
            Some(_) | None => &mut self.counters.notifier_subscriptions,
        };
        *counter = counter.saturating_add(1);
        let before = before.or(of_service);
        if let Some(before) = before.filter(|before| *before != place.connection) {
            if let Some(connection) = self.connections.get_mut(before) {
                connection.notifiers.remove(&notifier.id);
            }
            self.announce(before, notifier.id.clone(), BrokerMessage::End);
        }
        if let Some(connection) = self.connections.get_mut(place.connection) {
            connection.notifiers.insert(notifier.id.clone());
        }
        self.answer_after(place, BrokerMessage::Sok { service_id }, after);
        self.load_notifications(place.connection, notifier.id);
    }

    pub(super) fn load_notifications(&mut self, connection: ConnId, notifier: EntityId) {
        let what = For::Notifications(connection, notifier.clone());
        self.load(what, Load::Notifications(notifier));
    }

    pub(super) fn notifications_loaded(
        &mut self,
        connection: ConnId,
        notifier: &EntityId,
        notifications: Vec<(u64, NotificationRecord)>,
    ) {
        let Some((last, _)) = notifications.last() else {
            return;
        };
        if self.connections.get(connection).is_none() {
            return;
        }
        let before = last.saturating_add(1);
        let superfluous = notifications
            .len()
            .saturating_sub(self.config.max_notifications);
        self.forget_notifications(notifier, before, notifications.len());
        for (_, notification) in notifications.into_iter().skip(superfluous) {
            if let Some(message) = nmsg(&notification) {
                self.count_notification();
                self.announce(connection, notifier.clone(), message);
            }
        }
    }

    fn forget_notifications(&mut self, notifier: &EntityId, before: u64, count: usize) {
        totals::fewer(&mut self.totals.changed.notifications, count);
        if let Some(waiting) = self.notifications.waiting.get_mut(notifier) {
            waiting.retain(|place| *place >= before);
            if waiting.is_empty() {
                self.notifications.waiting.remove(notifier);
            }
        }
        self.commit(vec![Change::DeleteNotifications {
            notifier: notifier.clone(),
            before,
        }]);
    }

    /// Tells of a message that was sent.
    pub(super) fn notify(&mut self, queue: &EntityId, message_id: &MsgId, time: i64) {
        let counter = &mut self.counters.messages_sent_notification;
        *counter = counter.saturating_add(1);
        let record = self.cache.get(queue).map(|queue| &queue.record);
        let Some(notifier) = record.and_then(|record| record.notifier.clone()) else {
            return;
        };
        let nonce = Nonce::generate(&mut self.rng);
        let meta = NMsgMeta {
            id: message_id.clone(),
            time,
        };
        let Ok(meta) = meta.encrypt(&Key::from(&notifier.dh_secret), &nonce) else {
            return;
        };
        let notification = NotificationRecord {
            message_id: message_id.clone(),
            time,
            nonce,
            meta,
        };
        let service = notifier.service_id.as_ref();
        let subscriber = self
            .notifications
            .subscribers
            .get(&notifier.id)
            .copied()
            .or_else(|| service.and_then(|service| self.services.notifier(service)));
        match (subscriber, nmsg(&notification)) {
            (Some(connection), Some(message)) => {
                self.count_notification();
                self.announce(connection, notifier.id, message);
            }
            (Some(_), None) => {}
            (None, _) => self.keep_notification(notifier.id, notification),
        }
    }

    /// Each is told at once, and so in a block of its own.
    fn count_notification(&mut self) {
        let counters = &mut self.counters;
        counters.notifications = counters.notifications.saturating_add(1);
        counters.notification_blocks = counters.notification_blocks.saturating_add(1);
    }

    /// Only the newest are kept.
    fn keep_notification(&mut self, notifier: EntityId, notification: NotificationRecord) {
        let counter = &mut self.counters.notifications_no_subscriber;
        *counter = counter.saturating_add(1);
        let sequence = self.notifications.next_place(self.now.unix.as_micros());
        let waiting = self
            .notifications
            .waiting
            .entry(notifier.clone())
            .or_default();
        waiting.push_back(sequence);
        let mut changes = vec![Change::PutNotification {
            notifier: notifier.clone(),
            sequence,
            notification,
        }];
        totals::more(&mut self.totals.changed.notifications, 1_i64);
        if waiting.len() > self.config.max_notifications {
            waiting.pop_front();
            let before = waiting.front().copied().unwrap_or(sequence);
            totals::fewer(&mut self.totals.changed.notifications, 1_i64);
            let counter = &mut self.counters.notifications_lost;
            *counter = counter.saturating_add(1);
            changes.push(Change::DeleteNotifications { notifier, before });
        }
        self.commit(changes);
    }

    /// What is to be stored when the notifier of a queue, which is returned, is its notifier no more.
    pub(super) fn remove_notifier(
        &mut self,
        queue: &EntityId,
        by: Option<ConnId>,
    ) -> Option<(Gone, Vec<Change>)> {
        let record = &self.cache.get(queue)?.record;
        let notifier = record.notifier.clone()?;
        let waiting = self.notifications.waiting.get(&notifier.id);
        let waiting = waiting.map_or(0, VecDeque::len);
        let changed = &mut self.totals.changed;
        totals::fewer(&mut changed.notifiers, 1_i64);
        totals::fewer(&mut changed.notifications, waiting);
        let mut changes = vec![Change::DeleteNotifications {
            notifier: notifier.id.clone(),
            before: u64::MAX,
        }];
        if let Some(service) = &notifier.service_id {
            changes.push(self.adjust_service(ServiceRole::Notifier, service, &notifier.id, -1));
        }
        let gone = Gone {
            id: notifier.id,
            service: notifier.service_id,
            by,
        };
        Some((gone, changes))
    }

    /// Ends what a notifier had: its subscription, of which the subscriber is told unless it has removed the notifier itself, and the
    /// notifications that waited.
    pub(super) fn notifier_removed(&mut self, notifier: Gone) {
        let Gone { id, service, by } = notifier;
        self.notifications.waiting.remove(&id);
        let subscriber = self.notifications.subscribers.remove(&id);
        if let Some(connection) = subscriber.and_then(|of| self.connections.get_mut(of)) {
            connection.notifiers.remove(&id);
        }
        let subscriber = subscriber.or_else(|| self.services.notifier(&service?));
        if let Some(subscriber) = subscriber.filter(|subscriber| Some(*subscriber) != by) {
            self.announce(subscriber, id, BrokerMessage::Deld);
        }
    }

    pub(super) fn expire_notifications(&mut self) {
        if let Some(before) = self.notification_limit() {
            let limit = super::expiry::CHUNK;
            let before = before.div_euclid(1_000_000);
            let load = Load::ExpiredNotifications { before, limit };
            self.load(For::ExpiredNotifications, load);
        }
    }

    /// The time before which notifications are too old, in microseconds.
    fn notification_limit(&self) -> Option<i64> {
        let ttl = self.config.notification_expiration?.ttl;
        let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        Some(self.now.unix.as_micros().saturating_sub(ttl))
    }

    pub(super) fn notifications_expired(&mut self, notifiers: Vec<EntityId>) {
        let Some(limit) = self.notification_limit() else {
            return;
        };
        let before = u64::try_from(limit).unwrap_or(0);
        let more = notifiers.len() >= super::expiry::CHUNK;
        for notifier in notifiers {
            let waiting = self.notifications.waiting.get(&notifier);
            let old = waiting.map_or(0, |places| {
                places.iter().filter(|place| **place < before).count()
            });
            let counter = &mut self.counters.notifications_expired;
            *counter = counter.saturating_add(u64::try_from(old).unwrap_or(0));
            self.forget_notifications(&notifier, before, old);
        }
        if more {
            self.expire_notifications();
        }
    }

    /// The service in whose name a connection receives notifications.
    pub(super) fn notifier_service_of(&self, connection: ConnId) -> Option<EntityId> {
        let connection = self.connections.get(connection)?;
        match &connection.client.service {
            Some((id, ServiceRole::Notifier)) => Some(id.clone()),
            Some((_, ServiceRole::Messaging | ServiceRole::Proxy)) | None => None,
        }
    }

    /// Delivers the notifications of a queue to the service that receives them.
    pub(super) fn notify_service(&mut self, connection: ConnId, queue: &EntityId) {
        let record = self.cache.get(queue).map(|queue| &queue.record);
        if let Some(notifier) = record.and_then(|record| record.notifier.as_ref()) {
            let notifier = notifier.id.clone();
            self.load_notifications(connection, notifier);
        }
        self.served(connection, queue);
    }
}

fn nmsg(notification: &NotificationRecord) -> Option<BrokerMessage> {
    Some(BrokerMessage::NMsg {
        nonce: *notification.nonce.as_bytes(),
        meta: Short::try_from(notification.meta.clone()).ok()?,
    })
}
