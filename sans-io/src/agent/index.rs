//! Which connections the queues that are subscribed to belong to.

use std::collections::BTreeMap;

use super::id::ConnectionId;
use crate::wire::{EntityId, ServerAddress, SmpScheme};

/// Which connections the queues that are subscribed to belong to: a few words for each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct QueueIndex {
    routers: BTreeMap<ServerAddress<SmpScheme>, u32>,
    queues: BTreeMap<(u32, EntityId), ConnectionId>,
}

impl QueueIndex {
    pub(super) fn insert(
        &mut self,
        router: &ServerAddress<SmpScheme>,
        queue: &EntityId,
        connection: &ConnectionId,
    ) {
        let next = u32::try_from(self.routers.len()).unwrap_or(u32::MAX);
        let router = *self.routers.entry(router.clone()).or_insert(next);
        self.queues
            .insert((router, queue.clone()), connection.clone());
    }

    pub(super) fn remove(&mut self, router: &ServerAddress<SmpScheme>, queue: &EntityId) {
        if let Some(router) = self.routers.get(router) {
            self.queues.remove(&(*router, queue.clone()));
        }
    }

    pub(super) fn get(
        &self,
        router: &ServerAddress<SmpScheme>,
        queue: &EntityId,
    ) -> Option<ConnectionId> {
        let router = self.routers.get(router)?;
        self.queues.get(&(*router, queue.clone())).cloned()
    }
}
