//! Old messages are removed: those that are looked for from time to time, and those of a queue that is sent to.

use super::Router;
use super::loads::{For, Job};
use super::messages::First;
use super::store::{Change, Load};
use super::totals;
use crate::smp::server::Party;
use crate::wire::EntityId;

/// How many queues with old messages are looked for at a time.
pub(super) const CHUNK: usize = 256;

impl Router {
    /// The time before which messages are too old.
    fn message_limit(&self) -> Option<i64> {
        let ttl = self.config.message_expiration?.ttl.as_secs();
        let ttl = i64::try_from(ttl).unwrap_or(i64::MAX);
        Some(self.now.unix.seconds().saturating_sub(ttl))
    }

    pub(super) fn expire_messages(&mut self) {
        if let Some(before) = self.message_limit() {
            let limit = CHUNK;
            self.load(For::Expired, Load::Expired { before, limit });
        }
    }

    /// The store goes on to look for more when these are done: a queue whose messages are removed is found no more.
    pub(super) fn expired_loaded(&mut self, queues: Vec<EntityId>) {
        let more = queues.len() >= CHUNK;
        for queue in queues {
            self.with_queue(Party::Recipient, &queue, Job::Expire);
        }
        if more {
            self.expire_messages();
        }
    }

    /// Removes the old messages of a queue, loading what has to be looked at.
    pub(super) fn expire_queue(&mut self, queue: &EntityId) {
        self.expire_now(queue);
        match self.first_is_stored(queue) {
            true => self.with_messages(queue, Job::Expire),
            // A subscriber whose message has expired has nothing to acknowledge, and waits for the next one.
            false => self.deliver(queue),
        }
    }

    /// Whether a message that is sent has to wait until the first one of its queue was looked at.
    pub(super) fn must_know_first_to_expire(&self, queue: &EntityId) -> bool {
        self.config.message_expiration.is_some() && self.first_is_stored(queue)
    }

    /// Removes the old messages of a queue, as far as they are in memory.
    pub(super) fn expire_now(&mut self, queue: &EntityId) {
        let Some(before) = self.message_limit() else {
            return;
        };
        let delivered = self
            .connections
            .subscription(queue)
            .and_then(|subscription| subscription.delivered().cloned());
        let Some(cached) = self.cache.get_mut(queue) else {
            return;
        };
        let from = cached.messages.position().head;
        let mut expired = 0_u64;
        let mut took_delivered = false;
        loop {
            if let (First::Known(first), Some(delivered)) = (cached.messages.first(), &delivered) {
                took_delivered |= first.id == *delivered && first.time < before;
            }
            if !cached.messages.expire_first(before) {
                break;
            }
            expired = expired.saturating_add(1);
        }
        if expired == 0 {
            return;
        }
        let position = cached.messages.position();
        if took_delivered {
            self.connections.undeliver(queue);
        }
        totals::fewer(&mut self.totals.changed.messages, expired);
        self.counters.messages_expired = self.counters.messages_expired.saturating_add(expired);
        let op = self.commit(vec![Change::DeleteMessages {
            queue: queue.clone(),
            from,
            position,
        }]);
        self.pin(queue, op, 0);
    }
}
