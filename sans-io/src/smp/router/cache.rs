//! The queues that are in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::messages::Messages;
use super::store::{LoadedQueue, QueueRecord};
use crate::crypto::secret_box::Key;
use crate::smp::server::{Party, QueueKeys};
use crate::wire::EntityId;

/// How many queues are considered for leaving the memory, besides as many as there are too many.
const CONSIDERED: usize = 64;

/// A queue in memory.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) record: QueueRecord,
    keys_version: u64,
    pub(super) messages: Messages,
    /// The secret under which messages are delivered, prepared.
    delivery_key: Option<Arc<Key>>,
    /// Changes that are not stored yet: the queue stays in memory until they are.
    pub(super) unstored: u32,
    /// Whether messages are being loaded.
    pub(super) loading: Loading,
    pub(super) waited: Waited,
    used: Used,
}

/// Whether a queue was used since it was last considered for leaving the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Used {
    Yes,
    No,
}

/// Whether who is refused next has waited for the store already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waited {
    No,
    Yes,
}

/// Whether messages of a queue are being loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loading {
    No,
    Yes,
}

impl Queue {
    fn new(loaded: LoadedQueue, keys_version: u64) -> Self {
        let LoadedQueue {
            record,
            position,
            first,
        } = loaded;
        Self {
            record,
            keys_version,
            messages: Messages::new(position, first),
            delivery_key: None,
            unstored: 0,
            loading: Loading::No,
            waited: Waited::No,
            used: Used::Yes,
        }
    }

    /// What is needed to authorise commands.
    pub(super) fn keys(&self) -> QueueKeys {
        let record = &self.record;
        QueueKeys {
            version: self.keys_version,
            recipients: record.recipient_keys.clone(),
            sender: record.sender_key,
            notifier: record.notifier.as_ref().map(|notifier| notifier.key),
            mode: record.mode,
        }
    }

    /// The secret under which messages are delivered.
    pub(super) fn delivery_key(&mut self) -> Arc<Key> {
        let secret = &self.record.dh_secret;
        let key = self
            .delivery_key
            .get_or_insert_with(|| Arc::new(Key::from(secret)));
        Arc::clone(key)
    }
}

/// The queues in memory: those that were used lately, and those with changes that are not stored yet.
///
/// A hand goes round them while there are too many: it lets go of those that were not used since it last came by.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    // Boxed, as a third of the places in a tree is empty.
    queues: BTreeMap<EntityId, Box<Queue>>,
    ids: BTreeMap<(Party, EntityId), EntityId>,
    hand: EntityId,
    keys_version: u64,
    capacity: usize,
    /// Queues that were deleted, until the deletion is stored.
    deleted: BTreeSet<EntityId>,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            queues: BTreeMap::new(),
            ids: BTreeMap::new(),
            hand: EntityId::EMPTY,
            keys_version: 0,
            capacity: capacity.max(1),
            deleted: BTreeSet::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queues.len()
    }

    /// How many of them have a notifier.
    pub(super) fn notifiers(&self) -> usize {
        let queues = self.queues.values();
        queues
            .filter(|queue| queue.record.notifier.is_some())
            .count()
    }

    /// The recipient's id of a queue in memory, which is used now.
    pub(super) fn find(&mut self, party: Party, id: &EntityId) -> Option<EntityId> {
        let recipient_id = match party {
            Party::Recipient => id.clone(),
            Party::Sender | Party::Notifier | Party::Link => {
                self.ids.get(&(party, id.clone()))?.clone()
            }
        };
        self.queues.get_mut(&recipient_id)?.used = Used::Yes;
        Some(recipient_id)
    }

    pub(super) fn get(&self, recipient_id: &EntityId) -> Option<&Queue> {
        self.queues.get(recipient_id).map(Box::as_ref)
    }

    pub(super) fn get_mut(&mut self, recipient_id: &EntityId) -> Option<&mut Queue> {
        self.queues.get_mut(recipient_id).map(Box::as_mut)
    }

    /// Adds a queue that was loaded or created; what is known already is newer.
    pub(super) fn insert(&mut self, loaded: LoadedQueue) -> Option<EntityId> {
        let recipient_id = loaded.record.recipient_id.clone();
        if self.deleted.contains(&recipient_id) {
            return None;
        }
        if !self.queues.contains_key(&recipient_id) {
            for (party, id) in loaded.record.ids() {
                self.ids.insert((party, id.clone()), recipient_id.clone());
            }
            self.keys_version = self.keys_version.wrapping_add(1);
            let queue = Box::new(Queue::new(loaded, self.keys_version));
            self.queues.insert(recipient_id.clone(), queue);
        }
        self.evict(&recipient_id);
        self.find(Party::Recipient, &recipient_id)
    }

    /// Changes a queue, and returns the ids that lead to it no more.
    pub(super) fn change(
        &mut self,
        recipient_id: &EntityId,
        change: impl FnOnce(&mut QueueRecord),
    ) -> Vec<(Party, EntityId)> {
        let Some(queue) = self.queues.get_mut(recipient_id) else {
            return Vec::new();
        };
        let ids = |record: &QueueRecord| -> BTreeSet<(Party, EntityId)> {
            record
                .ids()
                .map(|(party, id)| (party, id.clone()))
                .collect()
        };
        let before = ids(&queue.record);
        change(&mut queue.record);
        let after = ids(&queue.record);
        self.keys_version = self.keys_version.wrapping_add(1);
        queue.keys_version = self.keys_version;
        let removed: Vec<_> = before.difference(&after).cloned().collect();
        for id in &removed {
            self.ids.remove(id);
        }
        for id in after.difference(&before) {
            self.ids.insert(id.clone(), recipient_id.clone());
        }
        removed
    }

    /// Removes a queue that is deleted. Until that is stored, what is loaded of it is out of date.
    pub(super) fn delete(&mut self, recipient_id: &EntityId) -> Option<Box<Queue>> {
        let queue = self.remove(recipient_id)?;
        self.deleted.insert(recipient_id.clone());
        Some(queue)
    }

    /// The deletion of a queue is stored, or did not happen.
    pub(super) fn deletion_settled(&mut self, recipient_id: &EntityId) {
        self.deleted.remove(recipient_id);
    }

    /// Forgets a queue: it will be loaded again.
    pub(super) fn remove(&mut self, recipient_id: &EntityId) -> Option<Box<Queue>> {
        let queue = self.queues.remove(recipient_id)?;
        for (party, id) in queue.record.ids() {
            self.ids.remove(&(party, id.clone()));
        }
        Some(queue)
    }

    /// Lets go of queues that were not used lately, if there are too many, but not of the newest. Those that cannot leave now are
    /// passed over, so that there may be some too many for a while.
    fn evict(&mut self, newest: &EntityId) {
        let excess = self.queues.len().saturating_sub(self.capacity);
        if excess == 0 {
            return;
        }
        let mut evicted = Vec::new();
        for _ in 0..excess.saturating_add(CONSIDERED) {
            let after = (Bound::Excluded(&self.hand), Bound::Unbounded);
            let Some((id, queue)) = self.queues.range_mut::<EntityId, _>(after).next() else {
                self.hand = EntityId::EMPTY;
                continue;
            };
            self.hand = id.clone();
            let settled = queue.unstored == 0 && queue.loading == Loading::No;
            match std::mem::replace(&mut queue.used, Used::No) {
                Used::No if settled && id != newest => evicted.push(id.clone()),
                Used::No | Used::Yes => {}
            }
            if evicted.len() >= excess {
                break;
            }
        }
        for id in evicted {
            self.remove(&id);
        }
    }
}
