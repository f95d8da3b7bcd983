//! What a connection has to do next, as it follows from its state.

use super::{Step, Task};
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::id::{MessageId, QueueNumber};
use crate::agent::store::record::{
    LinkState, OutgoingPurpose, ReceiveStatus, SendQueue, SendRotation, SendStatus, Stage,
};
use crate::smp::ErrorType;
use crate::wire::NonEmpty;

impl Step<'_> {
    /// Does what can be done, and asks routers for whatever is missing.
    pub(in crate::agent) fn advance(&mut self) {
        if self.connection.gone {
            return;
        }
        self.forget_requests();
        self.advance_handshake();
        self.advance_removal();
        if self.connection.gone {
            return;
        }
        let tasks = self.tasks();
        let outgoing = &self.connection.outgoing;
        self.connection.retries.retain(|task, _| {
            let Task::Send(queue, message) = task else {
                return tasks.contains(task);
            };
            let outgoing = outgoing.get(message);
            outgoing.is_some_and(|outgoing| outgoing.queues.contains(queue))
        });
        if !self.shared.may_ask(self.connection.record.user) {
            return;
        }
        for task in tasks {
            let due = self
                .connection
                .retries
                .get(&task)
                .is_none_or(|retry| retry.at <= self.now.instant);
            if due && !self.is_busy(task) {
                self.start(task);
            }
        }
    }

    /// Whether the same was asked already. Of a queue that is received from, one thing is asked after the other.
    fn is_busy(&self, task: Task) -> bool {
        let mut asked = self.connection.asked.keys();
        match task.receive_queue() {
            Some(queue) => asked.any(|asked| asked.receive_queue() == Some(queue)),
            None => self.connection.asked.contains_key(&task),
        }
    }

    fn tasks(&self) -> Vec<Task> {
        let prepared = matches!(self.connection.record.stage, Stage::Prepared { .. });
        if prepared && self.connection.record.deleting.is_none() {
            return Vec::new();
        }
        let acks = self.connection.acks.iter();
        let acks = acks.map(|(queue, ack)| Task::Acknowledge(*queue, ack.number));
        let mut tasks: Vec<_> = acks.collect();
        for queue in self.connection.record.receive.iter() {
            let number = queue.number;
            match queue.status {
                ReceiveStatus::Creating => tasks.push(Task::Create(number)),
                ReceiveStatus::Securing { .. } => tasks.push(Task::Secure(number)),
                ReceiveStatus::Deleting { .. } => tasks.push(Task::Delete(number)),
                ReceiveStatus::Suspending => tasks.push(Task::Suspend(number)),
                ReceiveStatus::Open
                | ReceiveStatus::Secured
                | ReceiveStatus::Active
                | ReceiveStatus::Suspended => {}
            }
        }
        tasks.extend(self.questions());
        tasks.extend(self.inspected_queues().map(Task::Inspect));
        for queue in self.connection.record.send.iter() {
            match must_be_secured(queue) {
                true => tasks.push(Task::SecureAsSender(queue.number)),
                false => tasks.extend(self.next_messages_to(queue)),
            }
        }
        match self.connection.record.link.as_ref().map(|link| &link.state) {
            Some(LinkState::Setting { .. }) => tasks.push(Task::SetLink),
            Some(LinkState::Deleting) => tasks.push(Task::DeleteLink),
            Some(LinkState::Set) | None => {}
        }
        tasks
    }

    /// The first messages for a queue, if the queue can take them: a router carries out what one session asks for in order, so that
    /// several may be under way to it. What was refused once is tried alone, and so is what others depend on; a proxy keeps no order.
    fn next_messages_to(&self, queue: &SendQueue) -> impl Iterator<Item = Task> {
        let number = queue.number;
        let (user, router) = (self.connection.record.user, &queue.address.router);
        let refused = self.connection.is_refused(number);
        let most = match queue.status {
            SendStatus::Gone => 0,
            _ if refused || self.shared.is_busy() => 1,
            _ if self.shared.wants_proxy(user, router) => 1,
            SendStatus::New
            | SendStatus::Secured
            | SendStatus::Confirmed
            | SendStatus::Active
            | SendStatus::Contact => self.shared.config.max_in_flight,
        };
        let outgoing = self.connection.outgoing.iter();
        let mut alone = false;
        outgoing
            .filter(move |(_, outgoing)| outgoing.queues.contains(&number))
            .take_while(move |(_, outgoing)| {
                let first = !alone;
                alone |= is_sent_alone(outgoing.purpose);
                first
            })
            .take(most)
            .map(move |(message, _)| Task::Send(number, *message))
    }

    /// Something cannot be done now: it is tried again later.
    pub(super) fn failed_for_now(&mut self, task: Task, error: &AgentError) {
        let (now, config) = (self.now, &self.shared.config);
        let full = is_full(error);
        let interval = if full {
            config.retry_full
        } else {
            config.retry
        };
        let refused = matches!(task, Task::Send(queue, _) if self.connection.is_refused(queue));
        let fallback = error.is_of_host() && matches!(error, AgentError::Proxy { .. });
        let retry = self.connection.retries.entry(task).or_default();
        let at_once = fallback && !retry.direct && self.shared.falls_back();
        retry.direct |= at_once;
        retry.at = match at_once {
            true => now.instant,
            false => retry.backoff.next(now.instant, &interval),
        };
        if let Task::Send(queue, message) = task {
            if !refused {
                self.go_both_ways(queue);
            }
            self.sending_delayed(queue, message, error, full);
        }
    }

    /// A message could not be sent for now: it may be too late for it.
    fn sending_delayed(
        &mut self,
        queue: QueueNumber,
        message: MessageId,
        error: &AgentError,
        full: bool,
    ) {
        let Some(outgoing) = self.connection.outgoing.get(&message) else {
            return;
        };
        let config = &self.shared.config;
        let expiry = if full {
            config.quota_expiry
        } else {
            config.message_expiry
        };
        let expires = i64::try_from(expiry.as_secs()).unwrap_or(i64::MAX);
        let deadline = outgoing.since.saturating_add(expires);
        let of_application = matches!(outgoing.purpose, OutgoingPurpose::Message { .. });
        if self.unix_seconds() < deadline {
            if of_application && (full || error.is_of_host()) {
                self.tell_again(EventContent::SendWarning {
                    message,
                    error: error.clone(),
                });
            }
            return;
        }
        let older = self.unix_seconds().saturating_sub(expires);
        let expired: Vec<MessageId> = self
            .connection
            .outgoing
            .iter()
            .filter(|(_, outgoing)| outgoing.queues.contains(&queue) && outgoing.since <= older)
            .map(|(message, _)| *message)
            .collect();
        self.give_up(&expired, error);
    }

    /// Messages will not be sent: the application is told of its own.
    pub(super) fn give_up(&mut self, messages: &[MessageId], error: &AgentError) {
        let mut own = Vec::new();
        for message in messages {
            let Some(outgoing) = self.forget_outgoing(*message) else {
                continue;
            };
            if matches!(outgoing.purpose, OutgoingPurpose::Message { .. }) {
                own.push(*message);
            } else {
                self.lost(outgoing.purpose, error);
            }
        }
        for chunk in own.chunks(255) {
            if let Ok(messages) = NonEmpty::try_from(chunk.to_vec()) {
                self.event(EventContent::SendFailed {
                    messages,
                    error: error.clone(),
                });
            }
        }
    }
}

/// Whether what comes after a message is of no use before the router has taken it.
const fn is_sent_alone(purpose: OutgoingPurpose) -> bool {
    match purpose {
        OutgoingPurpose::Confirmation
        | OutgoingPurpose::Invitation
        | OutgoingPurpose::Hello
        | OutgoingPurpose::QueueTest
        | OutgoingPurpose::RatchetKey => true,
        OutgoingPurpose::Message { .. }
        | OutgoingPurpose::Receipt
        | OutgoingPurpose::QueueContinue
        | OutgoingPurpose::QueueAdd
        | OutgoingPurpose::QueueKey
        | OutgoingPurpose::QueueUse
        | OutgoingPurpose::RatchetReady => false,
    }
}

pub(super) fn is_full(error: &AgentError) -> bool {
    matches!(error, AgentError::Smp { error, .. } if **error == ErrorType::Quota)
}

fn must_be_secured(queue: &SendQueue) -> bool {
    queue.status == SendStatus::New
        && queue.is_sender_secured()
        && !matches!(queue.rotation, Some(SendRotation::Replaces { .. }))
}
