//! The commands of senders, and of those who have a link.

use bytes::Bytes;

use super::Router;
use super::blocks::Place;
use super::loads::Job;
use super::messages::Sent;
use super::store::{Change, MessageContent, MessageRecord, QueueStatus};
use super::totals;
use crate::crypto::AuthPublicKey;
use crate::smp::server::Request;
use crate::smp::version::max_message_length;
use crate::smp::{BrokerMessage, Command, ErrorType, MsgFlags, QueueMode};
use crate::wire::EntityId;

/// A body that is much smaller than the block that it came in is copied, so that it does not keep the block alive.
const SHARED_FROM: usize = 8192;

impl Router {
    pub(super) fn send(&mut self, place: Place, queue: &EntityId, request: Request) {
        let Command::Send { flags, body } = &request.command else {
            return;
        };
        if body.len() > max_message_length(request.version) {
            let counter = &mut self.counters.messages_sent_large;
            *counter = counter.saturating_add(1);
            return self.refuse(place, ErrorType::LargeMsg);
        }
        let Some(cached) = self.cache.get(queue) else {
            return self.refuse(place, ErrorType::Auth);
        };
        match cached.record.status {
            QueueStatus::Active => {}
            QueueStatus::Off => {
                let counter = &mut self.counters.messages_sent_auth;
                *counter = counter.saturating_add(1);
                return self.refuse(place, ErrorType::Auth);
            }
            QueueStatus::Blocked { info, .. } => {
                let counter = &mut self.counters.messages_sent_blocked;
                *counter = counter.saturating_add(1);
                return self.refuse(place, ErrorType::Blocked { info });
            }
        }
        let secured = cached.record.sender_key.is_some();
        let one_time = cached.record.mode == Some(QueueMode::Messaging);
        if secured && one_time && cached.record.link.is_some() {
            self.change(queue, |record| record.link = None);
        }
        if self.config.expire_on_send {
            self.expire_now(queue);
            if self.must_know_first_to_expire(queue) {
                let queue = queue.clone();
                return self.with_messages(&queue, Job::Command(place, Box::new(request)));
            }
        }
        let (flags, body) = (*flags, body.clone());
        self.put_message(place, queue, flags, &body);
    }

    fn put_message(&mut self, place: Place, queue: &EntityId, flags: MsgFlags, body: &Bytes) {
        let message = MessageRecord {
            id: self.random_id(),
            time: self.now.unix.seconds(),
            content: MessageContent::Sent {
                flags,
                body: match body.len() < SHARED_FROM {
                    true => Bytes::copy_from_slice(body),
                    false => body.clone(),
                },
            },
        };
        let quota = self.config.message_quota;
        let Some(cached) = self.cache.get_mut(queue) else {
            return self.refuse(place, ErrorType::Auth);
        };
        let sent = cached.messages.send(message.clone(), quota);
        let position = cached.messages.position();
        let (sequence, message) = match sent {
            Sent::Full => {
                let counter = &mut self.counters.messages_sent_quota;
                *counter = counter.saturating_add(1);
                return self.refuse(place, ErrorType::Quota);
            }
            Sent::Stored(sequence) => (sequence, message),
            Sent::Marked(sequence) => {
                let mark = MessageRecord {
                    content: MessageContent::Quota,
                    ..message
                };
                (sequence, mark)
            }
        };
        let id = message.id.clone();
        let time = message.time;
        totals::more(&mut self.totals.changed.messages, 1_i64);
        let op = self.commit(vec![Change::PutMessage {
            queue: queue.clone(),
            sequence,
            message,
            position,
        }]);
        self.pin(queue, op, sequence.saturating_add(1));
        self.deliver(queue);
        if matches!(sent, Sent::Marked(_)) {
            let counter = &mut self.counters.messages_sent_quota;
            *counter = counter.saturating_add(1);
            return self.answer_after(place, BrokerMessage::Err(ErrorType::Quota), op);
        }
        self.counters.messages_sent = self.counters.messages_sent.saturating_add(1);
        self.used_for_messages(queue, flags.notification);
        if flags.notification {
            self.notify(queue, &id, time);
        }
        self.answer_after(place, BrokerMessage::Ok, op);
    }

    /// The sender of a messaging queue sets its own key. Whether it may was decided when the command was verified.
    pub(super) fn skey(&mut self, place: Place, queue: &EntityId, key: AuthPublicKey) {
        if let Some(op) = self.secure_by_sender(place, queue, key) {
            self.answer_after(place, BrokerMessage::Ok, op);
        }
    }

    /// The same, and reads the data of the link.
    pub(super) fn lkey(&mut self, place: Place, queue: &EntityId, key: AuthPublicKey) {
        let Some(link) = self.link_of(queue) else {
            return self.refuse(place, ErrorType::Auth);
        };
        if let Some(op) = self.secure_by_sender(place, queue, key) {
            self.answer_after(place, link, op);
        }
    }

    fn secure_by_sender(
        &mut self,
        place: Place,
        queue: &EntityId,
        key: AuthPublicKey,
    ) -> Option<super::OpId> {
        let record = &self.cache.get(queue)?.record;
        if let QueueStatus::Blocked { info, .. } = record.status {
            self.refuse(place, ErrorType::Blocked { info });
            return None;
        }
        match record.sender_key {
            Some(known) if known == key => Some(super::OpId::default()),
            None if record.mode == Some(QueueMode::Messaging) => Some(self.secure(queue, key)),
            Some(_) | None => {
                self.refuse(place, ErrorType::Auth);
                None
            }
        }
    }

    /// Anybody may read the link of a contact queue; old queues without a kind are contact queues until they are secured.
    pub(super) fn lget(&mut self, place: Place, queue: &EntityId) {
        let Some(cached) = self.cache.get(queue) else {
            return self.refuse(place, ErrorType::Auth);
        };
        if let QueueStatus::Blocked { info, .. } = cached.record.status {
            return self.refuse(place, ErrorType::Blocked { info });
        }
        let contact = match cached.record.mode {
            Some(mode) => mode == QueueMode::Contact,
            None => cached.record.sender_key.is_none(),
        };
        match self.link_of(queue) {
            Some(link) if contact => self.answer(place, link),
            Some(_) | None => self.refuse(place, ErrorType::Auth),
        }
    }

    fn link_of(&self, queue: &EntityId) -> Option<BrokerMessage> {
        let record = &self.cache.get(queue)?.record;
        Some(BrokerMessage::Lnk {
            sender_id: record.sender_id.clone(),
            data: record.link.as_ref()?.data.clone(),
        })
    }
}
