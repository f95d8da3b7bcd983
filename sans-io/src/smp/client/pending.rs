//! The requests that wait for responses.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::request::{Expected, RequestId};
use crate::smp::proxy::SealedFor;
use crate::smp::transmission::Session;
use crate::time::Instant;
use crate::wire::{CorrId, EntityId};

/// How many requests that have timed out are remembered, for responses that come late.
const REMEMBERED: usize = 1024;

/// A request that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    /// The owner's request, or none: a ping of the session itself.
    pub(super) request: Option<RequestId>,
    pub(super) entity_id: EntityId,
    pub(super) expected: Expected,
    pub(super) forwarded: Option<(Session, SealedFor)>,
    pub(super) timeout: Instant,
}

/// A request whose response has come.
pub(super) struct Answered {
    pub(super) waiting: Waiting,
    /// Whether it had timed out before.
    pub(super) late: bool,
}

/// The requests that wait for responses, and some that have stopped waiting.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pending {
    requests: BTreeMap<CorrId, (u64, Waiting)>,
    timeouts: BTreeSet<(Instant, u64, CorrId)>,
    late: VecDeque<CorrId>,
    next: u64,
}

impl Pending {
    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.timeouts.len()
    }

    /// Adds a request, unless its correlation id is taken.
    #[must_use]
    pub(super) fn add(&mut self, corr_id: CorrId, waiting: Waiting) -> bool {
        if self.requests.contains_key(&corr_id) {
            return false;
        }
        let sequence = self.next;
        self.next = sequence.wrapping_add(1);
        self.timeouts
            .insert((waiting.timeout, sequence, corr_id.clone()));
        self.requests.insert(corr_id, (sequence, waiting));
        true
    }

    /// The request that a response is to.
    pub(super) fn take(&mut self, corr_id: &CorrId) -> Option<Answered> {
        let (sequence, waiting) = self.requests.remove(corr_id)?;
        let timeout = (waiting.timeout, sequence, corr_id.clone());
        let late = !self.timeouts.remove(&timeout);
        if late {
            self.late.retain(|late| late != corr_id);
        }
        Some(Answered { waiting, late })
    }

    /// A request that has waited long enough, if there is one.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Option<RequestId>> {
        let (timeout, _, _) = self.timeouts.first()?;
        if *timeout > now {
            return None;
        }
        let (_, _, corr_id) = self.timeouts.pop_first()?;
        let request = self
            .requests
            .get(&corr_id)
            .and_then(|(_, waiting)| waiting.request);
        self.late.push_back(corr_id);
        if self.late.len() > REMEMBERED
            && let Some(forgotten) = self.late.pop_front()
        {
            self.requests.remove(&forgotten);
        }
        Some(request)
    }

    /// When the next request has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timeouts.first().map(|(timeout, ..)| *timeout)
    }

    /// The owner's requests that wait, first to time out first; none wait any more.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = RequestId> {
        let requests = std::mem::take(&mut self.requests);
        let timeouts = std::mem::take(&mut self.timeouts);
        timeouts
            .into_iter()
            .filter_map(move |(_, _, corr_id)| requests.get(&corr_id)?.1.request)
    }
}
