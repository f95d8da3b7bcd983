//! How a connection ends.

use super::Step;
use crate::agent::command::Waiting;
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::id::QueueNumber;
use crate::agent::network::Purpose;
use crate::agent::store::Change;
use crate::agent::store::record::{Deleting, OutgoingPurpose, ReceiveStatus, Stage};

impl Step<'_> {
    /// Takes no more messages.
    pub(in crate::agent) fn suspend(&mut self) -> Result<(), AgentError> {
        let mut queues = self.connection.record.receive.iter_mut().peekable();
        if queues.peek().is_none() {
            return Err(AgentError::Simplex {
                context: "suspend".into(),
            });
        }
        for queue in queues {
            match queue.status {
                ReceiveStatus::Open
                | ReceiveStatus::Securing { .. }
                | ReceiveStatus::Secured
                | ReceiveStatus::Active => queue.status = ReceiveStatus::Suspending,
                ReceiveStatus::Creating
                | ReceiveStatus::Suspending
                | ReceiveStatus::Suspended
                | ReceiveStatus::Deleting { .. } => {}
            }
        }
        Ok(())
    }

    /// Begins to delete the connection.
    pub(in crate::agent) fn delete(&mut self, waiting: Waiting) {
        let until = match waiting {
            Waiting::Drop => None,
            Waiting::Deliver => {
                let until = self.now.unix + self.shared.config.delete_wait;
                Some(until.seconds())
            }
        };
        self.connection.record.deleting = Some(Deleting { until });
        let gone = Err(AgentError::not_found("connection"));
        if !self.connection.callers.is_empty() {
            self.answer_callers(&gone);
        }
    }

    /// Deletes the queues of a connection that is being deleted, and then the connection.
    pub(super) fn advance_removal(&mut self) {
        self.advance_rotation();
        let Some(deleting) = self.connection.record.deleting.clone() else {
            return;
        };
        let waits = deleting
            .until
            .is_some_and(|until| self.unix_seconds() < until)
            && self
                .connection
                .outgoing
                .values()
                .any(|outgoing| matches!(outgoing.purpose, OutgoingPurpose::Message { .. }));
        if waits {
            return;
        }
        let messages: Vec<_> = self.connection.outgoing.keys().copied().collect();
        for message in messages {
            self.forget_outgoing(message);
        }
        let queues: Vec<_> = self
            .connection
            .record
            .receive
            .iter()
            .filter(|queue| !matches!(queue.status, ReceiveStatus::Deleting { .. }))
            .map(|queue| queue.number)
            .collect();
        for number in queues {
            self.remove_receive_queue(number);
        }
        if self.connection.record.receive.is_empty() {
            self.forget_connection();
            self.event(EventContent::Deleted);
        }
    }

    /// Deletes a queue, if there is one.
    pub(super) fn remove_receive_queue(&mut self, number: QueueNumber) {
        let Some(queue) = self.receive_queue_mut(number) else {
            return;
        };
        if queue.status == ReceiveStatus::Creating {
            self.unwanted(number);
            return self.queue_deleted(number, None);
        }
        queue.status = ReceiveStatus::Deleting { attempts: 0 };
        queue.rotation = None;
        self.connection.acks.remove(&number);
        if let Some(queue) = self.connection.receive_queue(number).cloned() {
            self.forget_queue(&queue);
        }
    }

    /// A queue is not wanted any more that its router may be making right now.
    fn unwanted(&mut self, number: QueueNumber) {
        let asked = self.connection.asked.remove(&super::Task::Create(number));
        let asked = asked.and_then(|request| self.shared.requests.get_mut(&request));
        if let (Some(asked), Some(queue)) = (asked, self.connection.receive_queue(number)) {
            let (user, key) = (self.connection.record.user, queue.key.clone());
            asked.purpose = Purpose::Unwanted(user, Box::new(key));
        }
    }

    /// A queue is gone, or given up.
    pub(super) fn queue_deleted(&mut self, number: QueueNumber, error: Option<AgentError>) {
        let Some(queue) = self.connection.receive_queue(number).cloned() else {
            return;
        };
        self.connection
            .record
            .receive
            .retain(|queue| queue.number != number);
        if !queue.recipient_id.is_empty() {
            self.event(EventContent::ReceiveQueueDeleted {
                router: queue.router.clone(),
                recipient_id: queue.recipient_id.clone(),
                error,
            });
        }
    }

    /// A queue could not be deleted for now.
    pub(super) fn deletion_failed(&mut self, number: QueueNumber, error: &AgentError) {
        let most = self.shared.config.delete_attempts;
        let Some(queue) = self.receive_queue_mut(number) else {
            return;
        };
        let ReceiveStatus::Deleting { attempts } = &mut queue.status else {
            return;
        };
        *attempts = attempts.saturating_add(1);
        if *attempts >= most || !error.is_temporary() {
            return self.queue_deleted(number, Some(error.clone()));
        }
        self.failed_for_now(super::Task::Delete(number), error);
    }

    /// Everything about the connection is deleted.
    pub(super) fn forget_connection(&mut self) {
        let queues: Vec<_> = self.connection.record.receive.iter().cloned().collect();
        for queue in queues {
            self.forget_queue(&queue);
        }
        self.connection.gone = true;
        self.connection.record.stage = Stage::Failed;
        self.changes.push(Change::DeleteOwned {
            owner: self.connection.id.to_bytes(),
        });
    }
}
