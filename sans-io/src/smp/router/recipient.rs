//! The commands of recipients.

use std::collections::BTreeMap;

use super::blocks::{Gone, Place};
use super::loads::{Claim, Job};
use super::messages::First;
use super::store::{
    Change, LinkRecord, LoadedQueue, MessageContent, NotifierRecord, Position, QueueRecord,
    QueueStatus, Suspended,
};
use super::{ConnId, OpId, Router, totals};
use crate::crypto::{AuthPublicKey, derivation, x25519};
use crate::smp::handshake::ServiceRole;
use crate::smp::server::{Answer, Party, Request};
use crate::smp::{
    BrokerMessage, Command, CommandError, ErrorType, LinkData, MessageInfo, MessageType, MsgId,
    NewQueue, NotifierKeys, QueueIds, QueueInfo, QueueMode, QueueRequest, SubscriptionInfo,
    SubscriptionMode, SubscriptionThread,
};
use crate::wire::utc::UtcTime;
use crate::wire::{EntityId, NonEmpty};

const PROHIBITED: ErrorType = ErrorType::command(CommandError::Prohibited);

impl Router {
    // NEW

    pub(super) fn new_queue(&mut self, place: Place, request: Request) {
        let Command::New(new) = &request.command else {
            return;
        };
        if !self.config.new_queues.allows(new.password.as_ref()) {
            return self.refuse(place, ErrorType::Auth);
        }
        let in_service = self.service_of(place.connection).is_some();
        if in_service && new.subscription == SubscriptionMode::OnlyCreate {
            return self.refuse(place, PROHIBITED);
        }
        let Some((sender_id, _)) = claimed_ids(new) else {
            return self.create(place, &request);
        };
        let expected = EntityId::from(derivation::sender_id(&request.corr_id));
        if *sender_id != expected {
            return self.refuse(place, PROHIBITED);
        }
        let job = Job::Claim(place, Box::new(request), Claim::NewSender);
        self.with_queue(Party::Sender, &expected, job);
    }

    /// Whether an id that is to be used is taken was looked up.
    pub(super) fn claimed(&mut self, place: Place, request: Request, claim: Claim, taken: bool) {
        if taken {
            return self.refuse(place, ErrorType::Auth);
        }
        match claim {
            Claim::NewSender => {
                let Command::New(new) = &request.command else {
                    return self.refuse(place, ErrorType::Internal);
                };
                let link_id = claimed_ids(new).and_then(|(_, link_id)| link_id.cloned());
                match link_id {
                    None => self.create(place, &request),
                    Some(link_id) => {
                        let job = Job::Claim(place, Box::new(request), Claim::NewLink);
                        self.with_queue(Party::Link, &link_id, job);
                    }
                }
            }
            Claim::NewLink => self.create(place, &request),
            Claim::SetLink => {
                let id = request.entity_id.clone();
                match self.cache.find(Party::Recipient, &id) {
                    Some(queue) => self.set_link(place, &queue, request),
                    None => self.refuse(place, ErrorType::Auth),
                }
            }
        }
    }

    fn create(&mut self, place: Place, request: &Request) {
        let Command::New(new) = &request.command else {
            return self.refuse(place, ErrorType::Internal);
        };
        let server_key = x25519::PrivateKey::generate(&mut self.rng);
        let service_id = self.service_of(place.connection);
        let mode = new.request.as_ref().map(QueueRequest::mode);
        let (sender_id, link) = self.ids_of(new);
        let notifier = new.notifier.as_ref().map(|keys| self.notifier(keys));
        let (notifier, notifier_ids) = notifier.unzip();
        let record = QueueRecord {
            recipient_id: self.random_id(),
            recipient_keys: vec![new.auth_key],
            dh_secret: server_key.agree(&new.dh_key),
            sender_id,
            sender_key: None,
            mode,
            link: link.map(Box::new),
            notifier: notifier.map(Box::new),
            status: QueueStatus::Active,
            updated_at: Some(self.today()),
            service_id: service_id.clone(),
        };
        let ids = QueueIds {
            recipient_id: record.recipient_id.clone(),
            sender_id: record.sender_id.clone(),
            dh_key: server_key.public_key(),
            mode,
            link_id: record.link.as_ref().map(|link| link.id.clone()),
            service_id: service_id.clone(),
            notifier: notifier_ids,
        };
        totals::more(&mut self.totals.changed.queues, 1_i64);
        self.counters.queues_created = self.counters.queues_created.saturating_add(1);
        if record.notifier.is_some() {
            totals::more(&mut self.totals.changed.notifiers, 1_i64);
            let counter = &mut self.counters.notifiers_created_new;
            *counter = counter.saturating_add(1);
        }
        let queue = record.recipient_id.clone();
        let mut changes = vec![Change::PutQueue {
            queue: Box::new(record.clone()),
            removed: Vec::new(),
        }];
        if let Some(service) = service_id {
            changes.push(self.adjust_service(ServiceRole::Messaging, &service, &queue, 1));
        }
        self.cache.insert(LoadedQueue {
            record,
            position: Position::default(),
            first: None,
        });
        let op = self.commit(changes);
        self.pin(&queue, op, 0);
        if new.subscription == SubscriptionMode::Subscribe {
            self.connections.subscribe(&queue, place.connection);
        }
        self.answer_after(place, BrokerMessage::Ids(Box::new(ids)), op);
    }

    fn ids_of(&mut self, new: &NewQueue) -> (EntityId, Option<LinkRecord>) {
        match &new.request {
            Some(QueueRequest::Messaging(Some(link))) => {
                let record = LinkRecord {
                    id: self.random_id(),
                    data: link.data.clone(),
                };
                (link.sender_id.clone(), Some(record))
            }
            Some(QueueRequest::Contact(Some(link))) => {
                let record = LinkRecord {
                    id: link.link_id.clone(),
                    data: link.data.clone(),
                };
                (link.sender_id.clone(), Some(record))
            }
            Some(QueueRequest::Messaging(None) | QueueRequest::Contact(None)) | None => {
                (self.random_id(), None)
            }
        }
    }

    fn notifier(&mut self, keys: &NotifierKeys) -> (NotifierRecord, (EntityId, x25519::PublicKey)) {
        let server_key = x25519::PrivateKey::generate(&mut self.rng);
        let id = self.random_id();
        let record = NotifierRecord {
            id: id.clone(),
            key: keys.auth_key,
            dh_secret: server_key.agree(&keys.dh_key),
            service_id: None,
        };
        (record, (id, server_key.public_key()))
    }

    // Commands that nobody may execute on a blocked queue, and that mark its use.

    /// Whether a queue may be used; if so, its use is noted once a day.
    fn used(&mut self, place: Place, queue: &EntityId) -> bool {
        let today = self.today();
        let Some(cached) = self.cache.get(queue) else {
            self.refuse(place, ErrorType::Auth);
            return false;
        };
        if let QueueStatus::Blocked { info, .. } = cached.record.status {
            self.refuse(place, ErrorType::Blocked { info });
            return false;
        }
        if cached.record.updated_at != Some(today) {
            self.change(queue, |record| record.updated_at = Some(today));
        }
        true
    }

    /// Changes a queue and stores it.
    pub(super) fn change(
        &mut self,
        queue: &EntityId,
        change: impl FnOnce(&mut QueueRecord),
    ) -> OpId {
        self.change_with(queue, change, Vec::new())
    }

    pub(super) fn change_with(
        &mut self,
        queue: &EntityId,
        change: impl FnOnce(&mut QueueRecord),
        mut also: Vec<Change>,
    ) -> OpId {
        let removed = self.cache.change(queue, change);
        if let Some(cached) = self.cache.get(queue) {
            also.push(Change::PutQueue {
                queue: Box::new(cached.record.clone()),
                removed,
            });
        }
        let op = self.commit(also);
        self.pin(queue, op, 0);
        op
    }

    // SUB

    pub(super) fn sub(&mut self, place: Place, queue: &EntityId, request: Request) {
        if !self.used(place, queue) {
            return;
        }
        let Some(connection) = self.connections.get(place.connection) else {
            return;
        };
        if connection.gets.contains_key(queue) {
            let counter = &mut self.counters.subscriptions_prohibited;
            *counter = counter.saturating_add(1);
            return self.refuse(place, PROHIBITED);
        }
        if self.first_is_stored(queue) {
            return self.with_messages(queue, Job::Command(place, Box::new(request)));
        }
        let service_id = self.service_of(place.connection);
        let of_service = self.service_connection(queue);
        let after = self.associate(queue, service_id.clone());
        let duplicate = self
            .connections
            .subscription(queue)
            .is_some_and(|subscription| subscription.connection == place.connection);
        let counter = match duplicate {
            true => &mut self.counters.subscriptions_duplicate,
            false => &mut self.counters.subscriptions,
        };
        *counter = counter.saturating_add(1);
        let before = self.connections.subscribe(queue, place.connection);
        let before = match duplicate {
            true => None,
            false => before.or(of_service).filter(|of| *of != place.connection),
        };
        if let Some(before) = before {
            self.tell_ended(before, queue);
        }
        let first = self.deliver_first(queue);
        let answer = Answer {
            response: crate::smp::server::Say::Message(BrokerMessage::Sok { service_id }),
            then: first.map(|say| (queue.clone(), say)),
        };
        self.answer_after(place, answer, after);
    }

    /// The first message of a queue, marked as delivered to its subscriber.
    fn deliver_first(&mut self, queue: &EntityId) -> Option<crate::smp::server::Say> {
        let say = self.first(queue)?;
        if let crate::smp::server::Say::Deliver { id, .. } = &say {
            self.connections.deliver(queue, id.clone(), self.second());
        }
        Some(say)
    }

    // KEY, RKEY

    pub(super) fn key(&mut self, place: Place, queue: &EntityId, key: AuthPublicKey) {
        if !self.used(place, queue) {
            return;
        }
        match self.cache.get(queue).map(|queue| queue.record.sender_key) {
            Some(Some(known)) if known == key => self.answer(place, BrokerMessage::Ok),
            Some(None) => {
                let op = self.secure(queue, key);
                self.answer_after(place, BrokerMessage::Ok, op);
            }
            Some(Some(_)) | None => self.refuse(place, ErrorType::Auth),
        }
    }

    pub(super) fn secure(&mut self, queue: &EntityId, key: AuthPublicKey) -> OpId {
        self.counters.queues_secured = self.counters.queues_secured.saturating_add(1);
        self.change(queue, |record| record.sender_key = Some(key))
    }

    pub(super) fn rkey(&mut self, place: Place, queue: &EntityId, keys: &NonEmpty<AuthPublicKey>) {
        if !self.used(place, queue) {
            return;
        }
        let contact = |queue: &super::cache::Queue| queue.record.mode == Some(QueueMode::Contact);
        if !self.cache.get(queue).is_some_and(contact) {
            return self.refuse(place, ErrorType::Auth);
        }
        let op = self.change(queue, |record| record.recipient_keys = keys.to_vec());
        self.answer_after(place, BrokerMessage::Ok, op);
    }

    // LSET, LDEL

    pub(super) fn lset(&mut self, place: Place, queue: &EntityId, request: Request) {
        if !self.used(place, queue) {
            return;
        }
        let Command::LSet { link_id, data } = &request.command else {
            return;
        };
        match self.may_set_link(queue, link_id, data) {
            LinkRule::Refused => self.refuse(place, ErrorType::Auth),
            LinkRule::Replaces => self.set_link(place, queue, request),
            LinkRule::New => {
                let link_id = link_id.clone();
                let job = Job::Claim(place, Box::new(request), Claim::SetLink);
                self.with_queue(Party::Link, &link_id, job);
            }
        }
    }

    fn may_set_link(&self, queue: &EntityId, link_id: &EntityId, data: &LinkData) -> LinkRule {
        let Some(queue) = self.cache.get(queue) else {
            return LinkRule::Refused;
        };
        let record = &queue.record;
        if record.mode == Some(QueueMode::Messaging) && record.sender_key.is_some() {
            return LinkRule::Refused;
        }
        match &record.link {
            None => LinkRule::New,
            Some(link) if link.id == *link_id && link.data.fixed == data.fixed => {
                LinkRule::Replaces
            }
            Some(_) => LinkRule::Refused,
        }
    }

    /// The queue may have changed while the id of the link was looked up.
    fn set_link(&mut self, place: Place, queue: &EntityId, request: Request) {
        let Command::LSet { link_id, data } = request.command else {
            return self.refuse(place, ErrorType::Internal);
        };
        if self.may_set_link(queue, &link_id, &data) == LinkRule::Refused {
            return self.refuse(place, ErrorType::Auth);
        }
        let link = LinkRecord { id: link_id, data };
        let op = self.change(queue, |record| record.link = Some(Box::new(link)));
        self.answer_after(place, BrokerMessage::Ok, op);
    }

    pub(super) fn ldel(&mut self, place: Place, queue: &EntityId) {
        if !self.used(place, queue) {
            return;
        }
        let has_link = |queue: &super::cache::Queue| queue.record.link.is_some();
        if !self.cache.get(queue).is_some_and(has_link) {
            return self.answer(place, BrokerMessage::Ok);
        }
        let op = self.change(queue, |record| record.link = None);
        self.answer_after(place, BrokerMessage::Ok, op);
    }

    // NKEY, NDEL

    pub(super) fn nkey(&mut self, place: Place, queue: &EntityId, keys: &NotifierKeys) {
        if !self.used(place, queue) {
            return;
        }
        let (record, (notifier_id, dh_key)) = self.notifier(keys);
        let removed = self.remove_notifier(queue, Some(place.connection));
        let (removed, changes) = removed.unzip();
        totals::more(&mut self.totals.changed.notifiers, 1_i64);
        self.counters.notifiers_created = self.counters.notifiers_created.saturating_add(1);
        let op = self.change_with(
            queue,
            |queue| queue.notifier = Some(Box::new(record)),
            changes.unwrap_or_default(),
        );
        self.notifier_gone_after(removed, op);
        let nid = BrokerMessage::Nid {
            notifier_id,
            dh_key,
        };
        self.answer_after(place, nid, op);
    }

    pub(super) fn ndel(&mut self, place: Place, queue: &EntityId) {
        if !self.used(place, queue) {
            return;
        }
        let removed = self.remove_notifier(queue, Some(place.connection));
        let Some((removed, changes)) = removed else {
            return self.answer(place, BrokerMessage::Ok);
        };
        self.counters.notifiers_deleted = self.counters.notifiers_deleted.saturating_add(1);
        let op = self.change_with(queue, |queue| queue.notifier = None, changes);
        self.notifier_gone_after(Some(removed), op);
        self.answer_after(place, BrokerMessage::Ok, op);
    }

    // GET, ACK

    pub(super) fn get(&mut self, place: Place, queue: &EntityId, request: Request) {
        if !self.used(place, queue) {
            return;
        }
        let Some(connection) = self.connections.get(place.connection) else {
            return;
        };
        if connection.queues.contains(queue) {
            let counter = &mut self.counters.messages_get_prohibited;
            *counter = counter.saturating_add(1);
            return self.refuse(place, PROHIBITED);
        }
        if self.first_is_stored(queue) {
            return self.with_messages(queue, Job::Command(place, Box::new(request)));
        }
        let first = self.first(queue);
        let counter = match first {
            Some(_) => &mut self.counters.messages_get,
            None => &mut self.counters.messages_get_none,
        };
        *counter = counter.saturating_add(1);
        let delivered = match &first {
            Some(crate::smp::server::Say::Deliver { id, .. }) => Some(id.clone()),
            Some(_) | None => None,
        };
        if let Some(connection) = self.connections.get_mut(place.connection) {
            let again = delivered.is_some();
            let before = connection.gets.insert(queue.clone(), delivered.clone());
            if again && before == Some(delivered) {
                let counter = &mut self.counters.messages_get_duplicate;
                *counter = counter.saturating_add(1);
            }
        }
        match first {
            Some(say) => self.answer(place, Answer::only(say)),
            None => self.answer(place, BrokerMessage::Ok),
        }
    }

    pub(super) fn ack(&mut self, place: Place, queue: &EntityId, id: &MsgId, request: Request) {
        if !self.used(place, queue) {
            return;
        }
        let Some(receipt) = self.receipt(place.connection, queue) else {
            return self.refuse(place, ErrorType::NoMsg);
        };
        // An empty id acknowledges nothing: the message is delivered again.
        let delivered = receipt.delivered();
        if delivered.is_none_or(|delivered| *delivered != *id && !id.is_empty()) {
            return self.refuse(place, ErrorType::NoMsg);
        }
        if self.first_is_stored(queue) {
            return self.with_messages(queue, Job::Command(place, Box::new(request)));
        }
        let subscribed = matches!(receipt, Receipt::Subscription(_));
        let delivered = self.received(place.connection, queue, subscribed);
        if self.acknowledge(queue, id, subscribed)
            && let Some(second) = delivered
        {
            let took = self.second().saturating_sub(second);
            self.ack_times.add(took.into());
        }
        if !subscribed {
            return self.answer(place, BrokerMessage::Ok);
        }
        if self.first_is_stored(queue) {
            // The next message is on the disk. What is acknowledged already is not acknowledged again.
            self.connections.deliver(queue, id.clone(), self.second());
            return self.with_messages(queue, Job::Command(place, Box::new(request)));
        }
        match self.deliver_first(queue) {
            Some(say) => self.answer(place, Answer::only(say)),
            None => self.answer(place, BrokerMessage::Ok),
        }
    }

    /// Whether this was the first message, which is removed then.
    fn acknowledge(&mut self, queue: &EntityId, id: &MsgId, subscribed: bool) -> bool {
        let Some(cached) = self.cache.get_mut(queue) else {
            return false;
        };
        let from = cached.messages.position().head;
        let notification = match cached.messages.first() {
            First::Known(first) => matches!(
                &first.content,
                MessageContent::Sent { flags, .. } if flags.notification
            ),
            First::None | First::Stored => false,
        };
        if !cached.messages.acknowledge(id) {
            return false;
        }
        let position = cached.messages.position();
        let op = self.commit(vec![Change::DeleteMessages {
            queue: queue.clone(),
            from,
            position,
        }]);
        self.pin(queue, op, 0);
        self.used_for_messages(queue, notification);
        totals::fewer(&mut self.totals.changed.messages, 1_i64);
        let counter = match subscribed {
            true => &mut self.counters.messages_received,
            false => &mut self.counters.messages_received_get,
        };
        *counter = counter.saturating_add(1);
        if notification {
            let counter = &mut self.counters.messages_received_notification;
            *counter = counter.saturating_add(1);
        }
        true
    }

    fn receipt(&self, connection: ConnId, queue: &EntityId) -> Option<Receipt<'_>> {
        let subscription = self.connections.subscription(queue);
        let own = subscription.filter(|subscription| subscription.connection == connection);
        if let Some(subscription) = own {
            return Some(Receipt::Subscription(subscription.delivered()));
        }
        let gets: &BTreeMap<_, _> = &self.connections.get(connection)?.gets;
        gets.get(queue)
            .map(|delivered| Receipt::Get(delivered.as_ref()))
    }

    /// What was delivered is not any more: when it was, to a subscriber.
    fn received(&mut self, connection: ConnId, queue: &EntityId, subscribed: bool) -> Option<u32> {
        if subscribed {
            return self.connections.undeliver(queue);
        }
        let connection = self.connections.get_mut(connection)?;
        connection.gets.insert(queue.clone(), None);
        None
    }

    // OFF, DEL, QUE

    /// The block of a blocked queue stays.
    pub(super) fn off(&mut self, place: Place, queue: &EntityId) {
        let op = self.change(queue, |record| {
            record.status = match record.status {
                QueueStatus::Active | QueueStatus::Off => QueueStatus::Off,
                QueueStatus::Blocked { info, .. } => QueueStatus::Blocked {
                    info,
                    suspended: Suspended::Yes,
                },
            };
        });
        self.answer_after(place, BrokerMessage::Ok, op);
    }

    pub(super) fn del(&mut self, place: Place, queue: &EntityId) {
        match self.delete_queue(queue, Some(place.connection)) {
            Some((op, _)) => self.answer_after(place, BrokerMessage::Ok, op),
            None => self.refuse(place, ErrorType::Auth),
        }
    }

    /// Deletes a queue: the number of messages that were in it. It has its subscriber until that is stored.
    pub(super) fn delete_queue(
        &mut self,
        queue: &EntityId,
        by: Option<ConnId>,
    ) -> Option<(OpId, u64)> {
        let (notifier, changes) = self.remove_notifier(queue, by).unzip();
        let mut changes = changes.unwrap_or_default();
        let deleted = self.cache.delete(queue)?;
        let record = deleted.record;
        let messages = deleted.messages.len();
        let changed = &mut self.totals.changed;
        totals::fewer(&mut changed.queues, 1_i64);
        totals::fewer(&mut changed.messages, messages);
        if let Some(service) = &record.service_id {
            changes.push(self.adjust_service(ServiceRole::Messaging, service, queue, -1));
        }
        let counter = match record.sender_key {
            Some(_) => &mut self.counters.queues_deleted_secured,
            None => &mut self.counters.queues_deleted_new,
        };
        *counter = counter.saturating_add(1);
        self.counters.queues_deleted = self.counters.queues_deleted.saturating_add(1);
        let gone = Gone {
            id: queue.clone(),
            service: record.service_id.clone(),
            by,
        };
        changes.push(Change::DeleteQueue {
            queue: Box::new(record),
            position: deleted.messages.position(),
        });
        let op = self.commit(changes);
        self.gone_after(gone, op);
        self.notifier_gone_after(notifier, op);
        Some((op, messages))
    }

    /// A queue is gone for good: its subscriber is told, unless it has deleted the queue itself.
    pub(super) fn queue_deleted(&mut self, queue: Gone) {
        let Gone { id, service, by } = queue;
        if let Some(connection) = by.and_then(|by| self.connections.get_mut(by)) {
            connection.gets.remove(&id);
        }
        let subscriber = self.connections.unsubscribe(&id);
        let subscriber = subscriber.or_else(|| self.services.messaging(&service?));
        if let Some(subscriber) = subscriber.filter(|subscriber| Some(*subscriber) != by) {
            self.announce(subscriber, id, BrokerMessage::Deld);
        }
    }

    pub(super) fn que(&mut self, place: Place, queue: &EntityId, request: Request) {
        if !self.used(place, queue) {
            return;
        }
        if self.first_is_stored(queue) {
            return self.with_messages(queue, Job::Command(place, Box::new(request)));
        }
        let Some(cached) = self.cache.get(queue) else {
            return self.refuse(place, ErrorType::Auth);
        };
        let message = match cached.messages.first() {
            First::Known(first) => Some(MessageInfo {
                id: first.id.clone(),
                time: UtcTime::from_seconds(first.time),
                kind: match first.content {
                    MessageContent::Sent { .. } => MessageType::Message,
                    MessageContent::Quota => MessageType::Quota,
                },
            }),
            First::None | First::Stored => None,
        };
        let subscription = self.receipt(place.connection, queue);
        let info = QueueInfo {
            secured: cached.record.sender_key.is_some(),
            notifier: cached.record.notifier.is_some(),
            subscription: subscription.map(|receipt| SubscriptionInfo {
                thread: match receipt {
                    Receipt::Subscription(_) => SubscriptionThread::NoSub,
                    Receipt::Get(_) => SubscriptionThread::ProhibitSub,
                },
                delivered: receipt.delivered().cloned(),
            }),
            size: cached.messages.len(),
            message,
        };
        self.answer(place, BrokerMessage::Info(Box::new(info)));
    }

    /// The service in whose name a connection receives messages.
    pub(super) fn service_of(&self, connection: ConnId) -> Option<EntityId> {
        let connection = self.connections.get(connection)?;
        match &connection.client.service {
            Some((id, ServiceRole::Messaging)) => Some(id.clone()),
            Some((_, ServiceRole::Notifier | ServiceRole::Proxy)) | None => None,
        }
    }
}

/// The message that a connection has received from a queue, and how.
#[derive(Clone, Copy)]
enum Receipt<'a> {
    Subscription(Option<&'a MsgId>),
    Get(Option<&'a MsgId>),
}

impl<'a> Receipt<'a> {
    const fn delivered(self) -> Option<&'a MsgId> {
        match self {
            Self::Subscription(delivered) | Self::Get(delivered) => delivered,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LinkRule {
    Refused,
    Replaces,
    New,
}

/// The ids that the client has chosen: of the sender, and of the link to a contact queue.
fn claimed_ids(new: &NewQueue) -> Option<(&EntityId, Option<&EntityId>)> {
    match new.request.as_ref()? {
        QueueRequest::Messaging(link) => link.as_ref().map(|link| (&link.sender_id, None)),
        QueueRequest::Contact(link) => {
            let link = link.as_ref()?;
            Some((&link.sender_id, Some(&link.link_id)))
        }
    }
}
