//! Files that are too old, found by their time.

use std::time::Duration;

use super::loads::For;
use super::pending::Job;
use super::store::{Load, LoadedFile};
use super::{Expiration, Router};
use crate::time::Instant;
use crate::wire::EntityId;

/// How many are looked for at once.
const BATCH: usize = 256;
/// Times of creation are rounded down: what looks as old as this may be younger by as much.
const HOUR: i64 = 3600;

/// How far the search is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expiring {
    next: Option<Instant>,
    /// How many of the files that were found are not deleted yet.
    left: usize,
    then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Look for more.
    More,
    /// Wait for the next time.
    Wait,
}

impl Expiring {
    pub(super) const fn new(next: Option<Instant>) -> Self {
        Self {
            next,
            left: 0,
            then: Then::Wait,
        }
    }

    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Something fails: it is not tried again before the next time.
    pub(super) const fn pause(&mut self) {
        self.then = Then::Wait;
    }

    pub(super) fn configure(&mut self, expiration: Option<Expiration>, now: Instant) {
        self.next = expiration.map(|expiration| now + expiration.check.max(SECOND));
    }
}

const SECOND: Duration = Duration::from_secs(1);

impl Router {
    pub(super) fn expire_in_time(&mut self) {
        let now = self.now.instant;
        let Some(expiration) = self.config.expiration else {
            return;
        };
        if self.expiring.next.is_none_or(|next| next > now) {
            return;
        }
        self.expiring.next = Some(now + expiration.check.max(SECOND));
        // What is left of the last time goes on by itself.
        if self.expiring.left == 0 && self.expiring.then == Then::Wait {
            self.look_for_expired();
        }
    }

    fn look_for_expired(&mut self) {
        let Some(expiration) = self.config.expiration else {
            return;
        };
        let ttl = i64::try_from(expiration.ttl.as_secs()).unwrap_or(i64::MAX);
        let before = self
            .now
            .unix
            .seconds()
            .saturating_sub(ttl)
            .saturating_sub(HOUR);
        self.expiring.then = Then::More;
        let limit = BATCH;
        self.load(For::Expired(before), Load::Expired { before, limit });
    }

    pub(super) fn expired(&mut self, before: i64, ids: Vec<EntityId>) {
        if ids.len() < BATCH {
            self.expiring.then = Then::Wait;
        }
        self.expiring.left = ids.len();
        for id in ids {
            self.change(id, Job::Expire(before));
        }
    }

    pub(super) fn expire(&mut self, before: i64, file: &LoadedFile) {
        if file.record.created_at < before {
            self.count(|c| &mut c.files_expired, 1);
            self.delete(file, []);
        }
        self.expired_one();
    }

    pub(super) fn expired_one(&mut self) {
        self.expiring.left = self.expiring.left.saturating_sub(1);
        if self.expiring.left == 0 && self.expiring.then == Then::More {
            self.look_for_expired();
        }
    }
}
