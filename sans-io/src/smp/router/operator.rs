//! What the operator of a router asks and does.

use super::loads::Job;
use super::store::{QueueStatus, Suspended};
use super::{Action, OpId, Router, Ticket};
use crate::smp::server::Party;
use crate::smp::{BlockingInfo, BrokerMessage, ErrorType, QueueMode};
use crate::wire::EntityId;

/// What the operator wants. Queues are named by the id of their sender or of their link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Delete a queue.
    Delete(EntityId),
    /// Show the status of a queue.
    Status(EntityId),
    /// Block a queue.
    Block(EntityId, BlockingInfo),
    /// Unblock a queue: it is what it was before.
    Unblock(EntityId),
    /// Store the statistics now.
    Save,
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The queue is deleted, with so many messages.
    Deleted(u64),
    /// The status of the queue.
    Status(QueueStatusInfo),
    /// The queue is blocked; it was not before.
    Blocked(QueueStatusInfo),
    /// The queue was not active before; it is blocked now, for this reason.
    WasInactive(QueueStatusInfo),
    /// The queue was blocked for this reason.
    Unblocked(BlockingInfo),
    /// The queue was active.
    WasActive,
    /// The queue is suspended by its recipient, and not blocked.
    Suspended,
    /// There is no such queue.
    NotFound,
    /// It is stored.
    Saved,
    /// The store cannot tell.
    Failed,
}

/// The status of a queue, as the operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStatusInfo {
    /// Whether messages can be sent.
    pub status: QueueStatus,
    /// The day of the last use.
    pub updated_at: Option<i64>,
    /// The kind of the queue.
    pub mode: Option<QueueMode>,
}

impl Operation {
    const fn queue(&self) -> Option<&EntityId> {
        match self {
            Self::Delete(id) | Self::Status(id) | Self::Block(id, _) | Self::Unblock(id) => {
                Some(id)
            }
            Self::Save => None,
        }
    }
}

impl Router {
    pub(super) fn operate(&mut self, ticket: Ticket, operation: Operation) {
        match operation.queue().cloned() {
            Some(id) => {
                let job = Job::Operate(ticket, operation, Party::Sender);
                self.with_queue(Party::Sender, &id, job);
            }
            None => {
                self.store_statistics();
                self.operated_after_all(ticket, Outcome::Saved);
            }
        }
    }

    pub(super) fn operated(&mut self, ticket: Ticket, outcome: Outcome) {
        self.actions.push(Action::Operated(ticket, outcome));
    }

    /// What is not the id of a sender may be that of a link.
    pub(super) fn operate_on(
        &mut self,
        ticket: Ticket,
        operation: Operation,
        party: Party,
        queue: Option<&EntityId>,
    ) {
        match (queue, operation.queue().cloned(), party) {
            (Some(queue), _, _) => self.operate_on_queue(ticket, operation, queue),
            (None, Some(id), Party::Sender) => {
                let job = Job::Operate(ticket, operation, Party::Link);
                self.with_queue(Party::Link, &id, job);
            }
            (None, _, _) => self.operated(ticket, Outcome::NotFound),
        }
    }

    fn operate_on_queue(&mut self, ticket: Ticket, operation: Operation, queue: &EntityId) {
        let outcome = match operation {
            Operation::Delete(_) => match self.delete_queue(queue, None) {
                Some((_, messages)) => Outcome::Deleted(messages),
                None => Outcome::NotFound,
            },
            Operation::Status(_) => match self.status_info(queue) {
                Some(info) => Outcome::Status(info),
                None => Outcome::NotFound,
            },
            Operation::Block(_, info) => self.block(queue, info),
            Operation::Unblock(_) => self.unblock(queue),
            Operation::Save => Outcome::Saved,
        };
        self.operated_after_all(ticket, outcome);
    }

    fn status_info(&self, queue: &EntityId) -> Option<QueueStatusInfo> {
        let record = &self.cache.get(queue)?.record;
        Some(QueueStatusInfo {
            status: record.status,
            updated_at: record.updated_at,
            mode: record.mode,
        })
    }

    fn block(&mut self, queue: &EntityId, info: BlockingInfo) -> Outcome {
        let Some(before) = self.status_info(queue) else {
            return Outcome::NotFound;
        };
        let suspended = match before.status {
            QueueStatus::Active => Suspended::No,
            QueueStatus::Off => Suspended::Yes,
            QueueStatus::Blocked { suspended, .. } => suspended,
        };
        let status = QueueStatus::Blocked { info, suspended };
        if before.status != status {
            let op = self.change(queue, |record| record.status = status);
            if let Some(subscription) = self.connections.subscription(queue) {
                let connection = subscription.connection;
                let message = BrokerMessage::Err(ErrorType::Blocked { info });
                self.announce_after(connection, queue.clone(), message, op);
            }
        }
        let now = QueueStatusInfo { status, ..before };
        if before.status == QueueStatus::Active {
            self.counters.queues_blocked = self.counters.queues_blocked.saturating_add(1);
            Outcome::Blocked(now)
        } else {
            Outcome::WasInactive(now)
        }
    }

    fn unblock(&mut self, queue: &EntityId) -> Outcome {
        match self.status_info(queue).map(|info| info.status) {
            None => Outcome::NotFound,
            Some(QueueStatus::Active) => Outcome::WasActive,
            Some(QueueStatus::Off) => Outcome::Suspended,
            Some(QueueStatus::Blocked { info, suspended }) => {
                let status = match suspended {
                    Suspended::No => QueueStatus::Active,
                    Suspended::Yes => QueueStatus::Off,
                };
                self.change(queue, |record| record.status = status);
                Outcome::Unblocked(info)
            }
        }
    }

    /// The last commit that was asked for: when it is stored, everything is.
    #[must_use]
    pub fn last_commit(&self) -> OpId {
        self.blocks.last()
    }
}
