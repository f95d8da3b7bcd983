//! How messages reach their subscribers: one at a time and queue, at once, as far as there is room on the connection.

use super::loads::Job;
use super::messages::First;
use super::store::{MessageContent, MessageRecord};
use super::{Action, ConnId, Router};
use crate::smp::body::{Delivered, QuotaMark, SentMessage};
use crate::smp::server::{self, Say};
use crate::wire::EntityId;

impl Router {
    /// Whether the first message of a queue has to be loaded.
    pub(super) fn first_is_stored(&self, queue: &EntityId) -> bool {
        let cached = self.cache.get(queue);
        cached.is_some_and(|queue| queue.messages.first() == First::Stored)
    }

    /// The first message of a queue, to be delivered.
    pub(super) fn first(&mut self, queue: &EntityId) -> Option<Say> {
        let cached = self.cache.get_mut(queue)?;
        let key = cached.delivery_key();
        let First::Known(first) = cached.messages.first() else {
            return None;
        };
        Some(Say::Deliver {
            id: first.id.clone(),
            delivered: delivered(first),
            key,
        })
    }

    /// Delivers the first message of a queue to its subscriber, if it has not received one already.
    pub(super) fn deliver(&mut self, queue: &EntityId) {
        let connection = match self.connections.subscription(queue) {
            Some(subscription) if subscription.delivered().is_some() => return,
            Some(subscription) => subscription.connection,
            None => match self.service_connection(queue) {
                Some(connection) => {
                    self.connections.subscribe(queue, connection);
                    connection
                }
                None => return,
            },
        };
        self.deliver_to(connection, queue);
    }

    /// The connection that receives the messages of all queues of the service that this one is of.
    pub(super) fn service_connection(&self, queue: &EntityId) -> Option<ConnId> {
        let record = &self.cache.get(queue)?.record;
        self.services.messaging(record.service_id.as_ref()?)
    }

    pub(super) fn deliver_to(&mut self, connection: ConnId, queue: &EntityId) {
        if self.first_is_stored(queue) {
            let job = Job::DeliverToService(connection, queue.clone());
            return self.with_messages(queue, job);
        }
        let max = self.config.max_deliveries;
        let Some(subscriber) = self.connections.get_mut(connection) else {
            return;
        };
        if subscriber.on_their_way >= max {
            subscriber.delayed.push_back(queue.clone());
            let counter = &mut self.counters.deliveries_delayed;
            *counter = counter.saturating_add(1);
            return;
        }
        let first = self.first(queue);
        if let Some(say) = first {
            self.say_first(connection, queue, say);
        }
        self.served(connection, queue);
    }

    fn say_first(&mut self, connection: ConnId, queue: &EntityId, say: Say) {
        if let Some(subscriber) = self.connections.get_mut(connection) {
            subscriber.on_their_way = subscriber.on_their_way.saturating_add(1);
            subscriber.last_told = self.now.instant;
        }
        if let Say::Deliver { id, .. } = &say {
            self.connections.deliver(queue, id.clone(), self.second());
        }
        let call = server::Call::Announce(vec![(queue.clone(), say)]);
        self.actions.push(Action::Conn(connection, call));
    }

    /// Delivers to a connection that was to receive the messages of a queue when it was not in memory, or when there was no room.
    pub(super) fn deliver_to_service(&mut self, connection: ConnId, queue: &EntityId) {
        match self.connections.subscription(queue) {
            Some(subscription) if subscription.connection != connection => {
                self.served(connection, queue);
            }
            Some(subscription) if subscription.delivered().is_some() => {
                let counter = &mut self.counters.service_messages_duplicate;
                *counter = counter.saturating_add(1);
                self.served(connection, queue);
            }
            Some(_) => self.deliver_to(connection, queue),
            None => {
                let has_messages = |queue: &super::cache::Queue| !queue.messages.is_empty();
                if self.service_connection(queue) == Some(connection)
                    && self.cache.get(queue).is_some_and(has_messages)
                {
                    let counter = &mut self.counters.service_messages;
                    *counter = counter.saturating_add(1);
                    self.connections.subscribe(queue, connection);
                    self.deliver_to(connection, queue);
                } else {
                    self.served(connection, queue);
                }
            }
        }
    }
}

fn delivered(message: &MessageRecord) -> Delivered {
    match &message.content {
        MessageContent::Sent { flags, body } => Delivered::Message(SentMessage {
            time: message.time,
            flags: *flags,
            body: body.clone(),
        }),
        MessageContent::Quota => Delivered::Quota(QuotaMark { time: message.time }),
    }
}
