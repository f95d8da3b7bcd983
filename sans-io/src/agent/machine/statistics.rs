//! How often something was done at which router.

use std::collections::BTreeMap;

use crate::agent::command::{RouterCounts, RouterStatistics};
use crate::agent::connection::Task;
use crate::agent::network::{Asked, Purpose};
use crate::smp::client::Response;
use crate::smp::pool::{PoolError, UserId};
use crate::wire::{ServerAddress, SmpScheme};

/// Routers of peers are counted too, and anybody may name any: so many are remembered.
const MAX: usize = 10_000;

/// How often something was done at which router.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Statistics {
    routers: BTreeMap<(UserId, ServerAddress<SmpScheme>), RouterCounts>,
}

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
