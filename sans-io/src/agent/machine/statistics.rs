//! How often something was done at which router. It is stored a while after it has changed, or when the agent is suspended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Agent, Loading};
use crate::agent::command::{RouterCounts, RouterStatistics};
use crate::agent::connection::Task;
use crate::agent::network::{Asked, Purpose};
use crate::agent::store::record;
use crate::agent::store::{Change, Key, Kind, OpId, Record};
use crate::smp::client::Response;
use crate::smp::pool::{PoolError, UserId};
use crate::time::{Instant, Now};
use crate::wire::{self, ServerAddress, SmpScheme, Version};

/// Routers of peers are counted too, and anybody may name any: so many are remembered.
const MAX: usize = 10_000;

/// How often something was done at which router.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Statistics {
    routers: BTreeMap<Place, RouterCounts>,
    changed: BTreeSet<Place>,
    due: Option<Instant>,
}

/// A router, for a user.
type Place = (UserId, ServerAddress<SmpScheme>);

/// How long changes may be in memory only.
const SAVED_AFTER: Duration = Duration::from_secs(10);

impl Statistics {
    pub(super) fn all(&self) -> Vec<RouterStatistics> {
        let all = self
            .routers
            .iter()
            .map(|((user, router), counts)| RouterStatistics {
                user: *user,
                router: router.clone(),
                counts: *counts,
            });
        all.collect()
    }

    /// When changes are to be stored.
    pub(super) const fn deadline(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn count(
        &mut self,
        user: UserId,
        router: &ServerAddress<SmpScheme>,
        counter: impl FnOnce(&mut RouterCounts) -> &mut u64,
    ) {
        let key = (user, router.clone());
        if self.routers.len() >= MAX && !self.routers.contains_key(&key) {
            return;
        }
        self.changed.insert(key.clone());
        let counter = counter(self.routers.entry(key).or_default());
        *counter = counter.saturating_add(1);
    }

    /// A router has done what it was asked for, or not.
    pub(super) fn answered(
        &mut self,
        user: UserId,
        asked: &Asked,
        result: &Result<Response, PoolError>,
    ) {
        let Purpose::Task(_, task) = &asked.purpose else {
            return;
        };
        let router = &asked.router;
        // The answer to an acknowledgement is the next message.
        if let Ok(Response::Message(Some(_))) = result {
            self.count(user, router, |counts| &mut counts.received);
        }
        match (task, result.is_ok()) {
            (Task::Send(..), true) => {
                self.count(user, router, |counts| &mut counts.sent);
                if let Some(proxy) = &asked.proxy {
                    self.count(user, router, |counts| &mut counts.sent_through_proxy);
                    self.count(user, proxy, |counts| &mut counts.forwarded);
                }
            }
            (Task::Send(..), false) => self.count(user, router, |counts| &mut counts.not_sent),
            (Task::Create(_), true) => self.count(user, router, |counts| &mut counts.created),
            (Task::Create(_), false) => {
                self.count(user, router, |counts| &mut counts.not_created);
            }
            (Task::Acknowledge(..), true) => {
                self.count(user, router, |counts| &mut counts.acknowledged);
            }
            (Task::Delete(_), true) => self.count(user, router, |counts| &mut counts.deleted),
            (
                Task::Acknowledge(..)
                | Task::Delete(_)
                | Task::Secure(_)
                | Task::SecureAsSender(_)
                | Task::Suspend(_)
                | Task::Inspect(_)
                | Task::Describe(_)
                | Task::Fetch(_)
                | Task::SetLink
                | Task::DeleteLink,
                _,
            ) => {}
        }
    }
}

impl Agent {
    /// What was counted before.
    pub(super) fn statistics_loaded(&mut self, records: &[Record]) {
        for Record { key, value } in records {
            let version = Version::default();
            let place = wire::decode(version, &key.owner)
                .ok()
                .zip(wire::decode(version, &key.id).ok());
            if let (Some(place), Ok(counts)) = (place, record::from_bytes(value)) {
                self.shared.statistics.routers.insert(place, counts);
            }
        }
        if !self.load_next(Kind::Statistics, records, Loading::Statistics) {
            self.load_page(Kind::User, None, Loading::Users);
        }
    }

    /// Stores what has changed, when it is time.
    pub(super) fn keep_statistics(&mut self, now: Now) {
        let statistics = &mut self.shared.statistics;
        match statistics.due {
            None if !statistics.changed.is_empty() => {
                statistics.due = Some(now.instant + SAVED_AFTER);
            }
            Some(due) if due <= now.instant => self.save_statistics(),
            Some(_) | None => {}
        }
    }

    pub(super) fn save_statistics(&mut self) {
        let statistics = &mut self.shared.statistics;
        statistics.due = None;
        let changed = std::mem::take(&mut statistics.changed);
        let counted = changed.into_iter().filter_map(|place| {
            let counts = statistics.routers.get(&place)?;
            Some(Change::Put {
                key: Key::statistics(place.0, &place.1),
                value: record::to_bytes(counts),
                expires: None,
            })
        });
        let changes = counted.collect();
        self.commit(changes, Vec::new(), OpId(0));
    }

    /// Forgets what was done for some users.
    pub(super) fn forget_statistics(&mut self, of: impl Fn(UserId) -> bool) {
        let statistics = &mut self.shared.statistics;
        statistics.changed.retain(|(user, _)| !of(*user));
        let mut changes = Vec::new();
        statistics.routers.retain(|(user, router), _| {
            if of(*user) {
                changes.push(Change::Delete(Key::statistics(*user, router)));
            }
            !of(*user)
        });
        self.commit(changes, Vec::new(), OpId(0));
    }
}
