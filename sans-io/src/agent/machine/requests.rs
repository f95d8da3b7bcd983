//! How many requests of all addresses wait for the application.

use std::collections::{BTreeMap, BTreeSet};

use super::{Agent, Work};
use crate::agent::id::ConnectionId;
use crate::agent::store::Key;
use crate::time::Now;

/// Requests of all addresses that wait for the application.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::agent) struct WaitingRequests {
    counts: BTreeMap<ConnectionId, usize>,
    total: usize,
    /// Addresses that hold another one, for which there is no room because of others.
    full: BTreeSet<ConnectionId>,
}

impl WaitingRequests {
    pub(in crate::agent) const fn total(&self) -> usize {
        self.total
    }

    /// An address holds a request until there is room for it.
    pub(in crate::agent) fn wait(&mut self, address: &ConnectionId) {
        self.full.insert(address.clone());
    }

    /// So many of an address wait.
    pub(super) fn count(&mut self, address: &ConnectionId, count: usize) {
        let before = match count {
            0 => self.counts.remove(address),
            _ => self.counts.insert(address.clone(), count),
        };
        let others = self.total.saturating_sub(before.unwrap_or_default());
        self.total = others.saturating_add(count);
    }
}

impl Agent {
    /// A request was answered: there is room for another one.
    pub(super) fn request_answered(&mut self, now: Now, request: &Key) {
        if let Ok(address) = ConnectionId::try_from(&*request.owner) {
            let answered = Work::RequestAnswered(request.id.clone());
            self.with(now, &address, answered);
        }
    }

    /// Addresses that have waited for room go on.
    pub(super) fn let_in(&mut self, now: Now) {
        let most = self.shared.config.max_requests_total;
        let room = most.saturating_sub(self.shared.waiting.total);
        for _ in 0..room {
            let Some(address) = self.shared.waiting.full.pop_first() else {
                return;
            };
            self.with(now, &address, Work::Resume);
        }
    }
}
