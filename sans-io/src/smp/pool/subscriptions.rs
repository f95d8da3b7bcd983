//! The subscriptions of a session: those that the router knows of, and those that it has yet to be told.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SubscriptionError;
use crate::crypto::AuthPrivateKey;
use crate::smp::server::Party;
use crate::smp::{Command, ServiceQueues};
use crate::wire::EntityId;

/// How many subscriptions are asked for before the router has answered: five blocks, which a router answers at once. More only cost memory.
const CHUNK: usize = 680;

/// A queue to subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The id of the recipient or of the notifier.
    pub queue: EntityId,
    /// Whose id it is.
    pub role: SubscriberRole,
    /// The key that authorises it.
    pub key: Arc<AuthPrivateKey>,
}

/// Who subscribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubscriberRole {
    /// The recipient of messages.
    Recipient,
    /// The recipient of notifications.
    Notifier,
}

impl SubscriberRole {
    pub(super) const fn command(self) -> Command {
        match self {
            Self::Recipient => Command::Sub,
            Self::Notifier => Command::NSub,
        }
    }

    pub(super) const fn service_command(self, queues: ServiceQueues) -> Command {
        match self {
            Self::Recipient => Command::Subs(queues),
            Self::Notifier => Command::NSubs(queues),
        }
    }
}

impl From<SubscriberRole> for Party {
    fn from(role: SubscriberRole) -> Self {
        match role {
            SubscriberRole::Recipient => Self::Recipient,
            SubscriberRole::Notifier => Self::Notifier,
        }
    }
}

/// How far a subscription is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The router has yet to be asked.
    Pending,
    /// The router was asked.
    Asked,
    /// The router delivers.
    Active,
}

/// What is kept of a subscription under the id of its queue. Agents have many of them.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Subscribed {
    role: SubscriberRole,
    stage: Stage,
    key: Arc<AuthPrivateKey>,
}

impl Subscribed {
    fn subscription(&self, queue: &EntityId) -> Subscription {
        Subscription {
            queue: queue.clone(),
            role: self.role,
            key: self.key.clone(),
        }
    }
}

/// The subscriptions of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Subscriptions {
    queues: BTreeMap<EntityId, Subscribed>,
    asked: usize,
    pending: usize,
    service: Option<(SubscriberRole, ServiceQueues, Stage)>,
}

impl Subscriptions {
    /// Whether the router has yet to be told of any.
    pub(super) fn any_pending(&self) -> bool {
        self.pending > 0 || matches!(self.service, Some((_, _, Stage::Pending)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.service.is_none()
    }

    /// Adds a subscription, or asks for it again.
    pub(super) fn add(&mut self, subscription: Subscription) {
        let Subscription { queue, role, key } = subscription;
        let stage = Stage::Pending;
        let before = self.queues.insert(queue, Subscribed { role, stage, key });
        match before.map(|before| before.stage) {
            Some(Stage::Pending) => {}
            Some(Stage::Asked) => {
                self.asked = self.asked.saturating_sub(1);
                self.pending = self.pending.saturating_add(1);
            }
            Some(Stage::Active) | None => self.pending = self.pending.saturating_add(1),
        }
    }

    /// Removes a subscription; the router delivers until the session ends.
    pub(super) fn remove(&mut self, queue: &EntityId) -> Option<Subscription> {
        let subscribed = self.queues.remove(queue)?;
        match subscribed.stage {
            Stage::Pending => self.pending = self.pending.saturating_sub(1),
            Stage::Asked => self.asked = self.asked.saturating_sub(1),
            Stage::Active => {}
        }
        Some(subscribed.subscription(queue))
    }

    pub(super) fn set_service(&mut self, role: SubscriberRole, queues: ServiceQueues) {
        self.service = Some((role, queues, Stage::Pending));
    }

    pub(super) fn remove_service(&mut self) {
        self.service = None;
    }

    /// The service's subscription, if the router is to be asked for it now.
    pub(super) fn ask_service(&mut self) -> Option<(SubscriberRole, ServiceQueues)> {
        match &mut self.service {
            Some((role, queues, stage @ Stage::Pending)) => {
                *stage = Stage::Asked;
                Some((*role, queues.clone()))
            }
            Some((_, _, Stage::Asked | Stage::Active)) | None => None,
        }
    }

    pub(super) fn service_active(&mut self) -> Option<ServiceQueues> {
        match &mut self.service {
            Some((_, queues, stage @ Stage::Asked)) => {
                *stage = Stage::Active;
                Some(queues.clone())
            }
            Some((_, _, Stage::Pending | Stage::Active)) | None => None,
        }
    }

    /// The service's subscription is to be tried again.
    pub(super) fn service_failed(&mut self) {
        if let Some((_, _, stage)) = &mut self.service {
            *stage = Stage::Pending;
        }
    }

    /// The next subscriptions to ask for: none while the router has yet to answer others, or the service comes first.
    pub(super) fn ask(&mut self) -> Vec<Subscription> {
        let service_first = matches!(self.service, Some((_, _, Stage::Pending | Stage::Asked)));
        if self.asked > 0 || self.pending == 0 || service_first {
            return Vec::new();
        }
        let chunk: Vec<_> = self
            .queues
            .iter_mut()
            .filter(|(_, subscribed)| subscribed.stage == Stage::Pending)
            .take(CHUNK)
            .map(|(queue, subscribed)| {
                subscribed.stage = Stage::Asked;
                subscribed.subscription(queue)
            })
            .collect();
        self.asked = chunk.len();
        self.pending = self.pending.saturating_sub(chunk.len());
        chunk
    }

    /// The router has answered; whether anybody still wants to know.
    pub(super) fn answered(
        &mut self,
        queue: &EntityId,
        result: &Result<(), SubscriptionError>,
    ) -> Answered {
        let asked = self.queues.get_mut(queue);
        let Some(subscribed) = asked.filter(|subscribed| subscribed.stage == Stage::Asked) else {
            return Answered::Nobody;
        };
        self.asked = self.asked.saturating_sub(1);
        match result {
            Ok(()) => {
                subscribed.stage = Stage::Active;
                Answered::Active
            }
            Err(SubscriptionError::Temporary(_)) => {
                subscribed.stage = Stage::Pending;
                self.pending = self.pending.saturating_add(1);
                Answered::Retry
            }
            Err(SubscriptionError::Permanent(_)) => {
                self.queues.remove(queue);
                Answered::Failed
            }
        }
    }

    /// The session has ended: all are pending again. Those that were active are told.
    pub(super) fn suspend(&mut self) -> Vec<EntityId> {
        let mut active = Vec::new();
        for (queue, subscribed) in &mut self.queues {
            if subscribed.stage == Stage::Active {
                active.push(queue.clone());
            }
            subscribed.stage = Stage::Pending;
        }
        if let Some((_, _, stage)) = &mut self.service {
            *stage = Stage::Pending;
        }
        self.asked = 0;
        self.pending = self.queues.len();
        active
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            active: self
                .queues
                .len()
                .saturating_sub(self.pending)
                .saturating_sub(self.asked),
            pending: self.pending.saturating_add(self.asked),
        }
    }
}

/// What a router's answer means for a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Active,
    Retry,
    Failed,
    Nobody,
}

/// How many subscriptions a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// The router delivers.
    pub active: usize,
    /// The router has yet to be told, or to answer.
    pub pending: usize,
}
