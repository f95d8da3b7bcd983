//! Those who ask the owner of an address for a connection.
//!
//! Only so many requests are kept. The next one is not acknowledged, and held until one of those before it is answered, or was kept for
//! too long: so nothing is lost, nothing grows, and whoever asks then is told by the router that the queue is full.

use bytes::Bytes;

use super::{Delivery, Step};
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::id::{QueueNumber, RequestName};
use crate::agent::store::record::{self, Stage, WaitingRequest};
use crate::agent::store::{Change, Key, Kind};
use crate::wire::{List, WireError};

/// Requests that wait for the application.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::agent) struct Requests {
    waiting: List<WaitingRequest>,
    /// How many of them are counted with those of other addresses.
    pub(in crate::agent) counted: usize,
}

impl Requests {
    pub(super) fn load(value: &Bytes) -> Result<Self, WireError> {
        Ok(Self {
            waiting: record::from_bytes(value)?,
            counted: 0,
        })
    }

    pub(in crate::agent) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the first of them is forgotten, in seconds since the Unix epoch.
    pub(super) fn until(&self) -> Option<i64> {
        self.waiting.iter().map(|request| request.until).min()
    }
}

impl Step<'_> {
    /// Whether a message cannot be dealt with yet.
    pub(super) fn must_wait(&self, number: QueueNumber) -> bool {
        self.waits_for_old_queue(number) || self.is_full() || self.are_all_full()
    }

    fn is_address(&self) -> bool {
        self.connection.record.stage == Stage::Address && self.connection.record.deleting.is_none()
    }

    fn is_full(&self) -> bool {
        let most = self.shared.config.max_requests.min(List::<()>::MAX);
        self.is_address() && self.connection.requests.len() >= most
    }

    /// Whether there are too many requests, of this address or of others.
    fn are_all_full(&self) -> bool {
        let requests = &self.connection.requests;
        let others = self.shared.waiting.total().saturating_sub(requests.counted);
        let total = others.saturating_add(requests.len());
        self.is_address() && total >= self.shared.config.max_requests_total
    }

    /// Keeps a message until it can be dealt with. If there are too many requests, the application is told, as it has to answer some.
    pub(super) fn hold(&mut self, delivery: Delivery) {
        if self.is_address() {
            self.tell_again(EventContent::Error {
                error: AgentError::prohibited("too many requests wait to be answered"),
            });
        }
        self.connection.held.insert(delivery.queue, delivery);
    }

    /// What has waited and need not any more.
    pub(in crate::agent) fn released(&mut self) -> Vec<Delivery> {
        let held = self.connection.held.keys().copied();
        let ready: Vec<_> = held.filter(|queue| !self.must_wait(*queue)).collect();
        let ready: Vec<_> = ready
            .iter()
            .filter_map(|queue| self.connection.held.remove(queue))
            .collect();
        let holds = self.is_address() && !self.connection.held.is_empty();
        if holds && !self.is_full() {
            // Others have taken all room: it goes on when one of them gives some back.
            self.shared.waiting.wait(&self.connection.id);
        }
        ready
    }

    /// One more request waits for the application.
    pub(super) fn keep_request(&mut self, name: &RequestName) {
        let request = WaitingRequest {
            name: name.clone(),
            until: self.forgotten().seconds(),
        };
        // There is room: it would have been held otherwise.
        self.connection.requests.waiting.push(request).ok();
        self.store_requests();
    }

    /// A request was answered.
    pub(in crate::agent) fn request_answered(&mut self, name: &[u8]) {
        self.retain_requests(|request| request.name.as_slice() != name);
    }

    /// Requests that were kept for too long are forgotten, as their records are.
    pub(super) fn forget_requests(&mut self) {
        let now = self.unix_seconds();
        self.retain_requests(|request| request.until > now);
    }

    fn retain_requests(&mut self, keep: impl FnMut(&WaitingRequest) -> bool) {
        let before = self.connection.requests.len();
        self.connection.requests.waiting.retain(keep);
        if self.connection.requests.len() != before {
            self.store_requests();
        }
    }

    fn store_requests(&mut self) {
        let key = Key::of(Kind::Waiting, &self.connection.id);
        self.changes
            .push(match self.connection.requests.is_empty() {
                true => Change::Delete(key),
                false => Change::Put {
                    key,
                    value: record::to_bytes(&self.connection.requests.waiting),
                    expires: None,
                },
            });
    }
}
