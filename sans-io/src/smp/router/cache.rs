//! The queues that are in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::messages::Messages;
use super::store::{LoadedQueue, QueueRecord};
use crate::crypto::secret_box::Key;
use crate::smp::server::{Party, QueueKeys};
use crate::wire::EntityId;

/// A queue in memory.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) record: QueueRecord,
    pub(super) keys: Arc<QueueKeys>,
    pub(super) messages: Messages,
    /// The secret under which messages are delivered, prepared.
    delivery_key: Option<Arc<Key>>,
    /// Changes that are not stored yet: the queue stays in memory until they are.
    pub(super) unstored: u32,
    /// Whether messages are being loaded.
    pub(super) loading: Loading,
    used: u64,
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
            keys: Arc::new(keys(&record, keys_version)),
            record,
            messages: Messages::new(position, first),
            delivery_key: None,
            unstored: 0,
            loading: Loading::No,
            used: 0,
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

fn keys(record: &QueueRecord, version: u64) -> QueueKeys {
    QueueKeys {
        version,
        recipients: record.recipient_keys.clone(),
        sender: record.sender_key,
        notifier: record.notifier.as_ref().map(|notifier| notifier.key),
        mode: record.mode,
    }
}

/// The queues in memory: those that were used last, and those with changes that are not stored yet.
#[derive(Debug, Clone)]
pub(super) struct Cache {
    queues: BTreeMap<EntityId, Queue>,
    ids: BTreeMap<(Party, EntityId), EntityId>,
    by_use: BTreeSet<(u64, EntityId)>,
    clock: u64,
    keys_version: u64,
    capacity: usize,
    /// Queues that were deleted, until the deletion is stored, by the number of deletions of that id.
    deleted: BTreeSet<EntityId>,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            queues: BTreeMap::new(),
            ids: BTreeMap::new(),
            by_use: BTreeSet::new(),
            clock: 0,
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

    /// The recipient's id of a queue in memory.
    pub(super) fn find(&self, party: Party, id: &EntityId) -> Option<EntityId> {
        match party {
            Party::Recipient => self.queues.contains_key(id).then(|| id.clone()),
            Party::Sender | Party::Notifier | Party::Link => {
                self.ids.get(&(party, id.clone())).cloned()
            }
        }
    }

    pub(super) fn get(&self, recipient_id: &EntityId) -> Option<&Queue> {
        self.queues.get(recipient_id)
    }

    pub(super) fn get_mut(&mut self, recipient_id: &EntityId) -> Option<&mut Queue> {
        self.queues.get_mut(recipient_id)
    }

    /// The same, and it was used now.
    pub(super) fn touch(&mut self, recipient_id: &EntityId) -> Option<&mut Queue> {
        let queue = self.queues.get_mut(recipient_id)?;
        self.by_use.remove(&(queue.used, recipient_id.clone()));
        self.clock = self.clock.wrapping_add(1);
        queue.used = self.clock;
        self.by_use.insert((queue.used, recipient_id.clone()));
        Some(queue)
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
            let queue = Queue::new(loaded, self.keys_version);
            self.queues.insert(recipient_id.clone(), queue);
        }
        self.touch(&recipient_id);
        self.evict();
        Some(recipient_id)
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
        queue.keys = Arc::new(keys(&queue.record, self.keys_version));
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
    pub(super) fn delete(&mut self, recipient_id: &EntityId) -> Option<Queue> {
        let queue = self.remove(recipient_id)?;
        self.deleted.insert(recipient_id.clone());
        Some(queue)
    }

    pub(super) fn deletion_stored(&mut self, recipient_id: &EntityId) {
        self.deleted.remove(recipient_id);
    }

    /// Forgets a queue: it will be loaded again.
    pub(super) fn remove(&mut self, recipient_id: &EntityId) -> Option<Queue> {
        let queue = self.queues.remove(recipient_id)?;
        self.by_use.remove(&(queue.used, recipient_id.clone()));
        for (party, id) in queue.record.ids() {
            self.ids.remove(&(party, id.clone()));
        }
        Some(queue)
    }

    /// Lets go of the queues that were not used for longest, if there are too many. One that was used just now stays.
    fn evict(&mut self) {
        let excess = self.queues.len().saturating_sub(self.capacity);
        if excess == 0 {
            return;
        }
        let idle = |(_, id): &&(u64, EntityId)| {
            self.queues
                .get(id)
                .is_some_and(|queue| queue.unstored == 0 && queue.loading == Loading::No)
        };
        let newest = self.by_use.last().cloned();
        let evicted: Vec<_> = self
            .by_use
            .iter()
            .take(excess.saturating_add(64))
            .filter(idle)
            .filter(|entry| Some(*entry) != newest.as_ref())
            .take(excess)
            .map(|(_, id)| id.clone())
            .collect();
        for id in evicted {
            self.remove(&id);
        }
    }
}
