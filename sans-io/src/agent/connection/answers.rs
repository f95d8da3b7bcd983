//! What routers answer.

use super::{Delivery, Step, Task};
use crate::agent::command::Reply;
use crate::agent::error::AgentError;
use crate::agent::id::QueueNumber;
use crate::agent::network::Asked;
use crate::agent::store::record::{OutgoingPurpose, ReceiveStatus, SendStatus, Stage};
use crate::smp::ErrorType;
use crate::smp::client::Response;

impl Step<'_> {
    /// A router has answered, maybe with another message.
    pub(in crate::agent) fn answered(
        &mut self,
        task: Task,
        asked: &Asked,
        result: Result<Response, AgentError>,
    ) -> Option<Delivery> {
        self.connection.asked.remove(&task);
        match result {
            Ok(response) => {
                self.connection.retries.remove(&task);
                self.succeeded(task, asked, response)
            }
            Err(error) => {
                self.task_failed(task, asked, &error);
                None
            }
        }
    }

    fn succeeded(&mut self, task: Task, asked: &Asked, response: Response) -> Option<Delivery> {
        match task {
            Task::Create(number) => {
                if let Response::Queue(ids) = &response {
                    self.queue_made(number, ids);
                }
            }
            Task::Secure(number) => self.queue_secured(number),
            Task::SecureAsSender(number) => self.secured_as_sender(number),
            Task::Send(number, message) => {
                self.message_sent(number, message, asked.proxy.clone());
            }
            Task::Acknowledge(queue, number) => {
                return self.acknowledged_at_router(queue, number, response);
            }
            Task::Suspend(number) => {
                if let Some(queue) = self.receive_queue_mut(number)
                    && queue.status == ReceiveStatus::Suspending
                {
                    queue.status = ReceiveStatus::Suspended;
                }
            }
            Task::Inspect(number) => {
                if let Response::Info(info) = response {
                    self.inspected(number, info.size);
                }
            }
            Task::Describe(_) => self.described(response),
            Task::Fetch(number) => return self.fetched(number, response),
            Task::Delete(number) => self.queue_deleted(number, None),
            Task::SetLink => self.link_set(),
            Task::DeleteLink => self.link_deleted(),
        }
        None
    }

    fn secured_as_sender(&mut self, number: QueueNumber) {
        if let Some(queue) = self.send_queue_mut(number)
            && queue.status == SendStatus::New
        {
            queue.status = SendStatus::Secured;
        }
    }

    /// The router has deleted a message, and may deliver the next one in its answer.
    fn acknowledged_at_router(
        &mut self,
        queue: QueueNumber,
        number: u64,
        response: Response,
    ) -> Option<Delivery> {
        self.forget_ack(queue, number);
        let Response::Message(Some((broker_id, body))) = response else {
            return None;
        };
        Some(Delivery {
            queue,
            broker_id,
            body,
        })
    }

    /// The router knows; unless another message has come meanwhile.
    fn forget_ack(&mut self, queue: QueueNumber, number: u64) {
        let same = |ack: &super::Ack| ack.number == number;
        if self.connection.acks.get(&queue).is_some_and(same) {
            self.connection.acks.remove(&queue);
        }
    }

    fn task_failed(&mut self, task: Task, asked: &Asked, error: &AgentError) {
        if error.is_of_host() && asked.proxy.is_some() {
            let user = self.connection.record.user;
            self.shared.forget_proxy(user, &asked.router);
        }
        match task {
            // The message goes another way meanwhile.
            Task::Send(queue, message) if !self.is_to_be_sent(queue, message) => {}
            // The recipient has heard from the new queue before we know that it works, and has deleted the old one.
            Task::Send(queue, _) if is_gone(error) && self.replacement_in_test(queue).is_some() => {
                if let Some(new) = self.replacement_in_test(queue) {
                    self.queue_test_sent(new);
                }
            }
            Task::Create(number) => self.creation_failed(number, error),
            Task::Delete(number) if is_gone(error) => self.queue_deleted(number, None),
            Task::Delete(number) => self.deletion_failed(number, error),
            // There is nothing to be acknowledged any more.
            Task::Acknowledge(queue, number) if !error.is_temporary() => {
                self.forget_ack(queue, number);
            }
            Task::Inspect(number) => self.inspection_failed(number, error),
            Task::Describe(_) => self.question_failed(super::Question::Info, error),
            Task::Fetch(_) => self.question_failed(super::Question::Message, error),
            task if error.is_temporary() => {
                self.failed_for_now(task, error);
                self.tell_interactive(error);
            }
            Task::Send(_, _) if super::advance::is_full(error) && !self.is_in_handshake(task) => {
                self.failed_for_now(task, error);
            }
            Task::Send(queue, _) if self.is_in_test(queue) => self.test_failed(error),
            Task::Send(_, message) => self.sending_failed(message, error),
            Task::SecureAsSender(_) | Task::Secure(_) if self.is_establishing() => {
                self.fail(error);
            }
            Task::SecureAsSender(number) => {
                if let Some(queue) = self.send_queue_mut(number) {
                    queue.status = SendStatus::Gone;
                }
                self.error(error.clone());
            }
            Task::Secure(number) => self.securing_failed(number, error),
            Task::Suspend(number) => {
                if let Some(queue) = self.receive_queue_mut(number) {
                    queue.status = ReceiveStatus::Suspended;
                }
            }
            Task::SetLink | Task::DeleteLink => self.link_failed(error),
            Task::Acknowledge(..) => {}
        }
    }

    /// Those who wait are told, and it is tried again.
    fn tell_interactive(&mut self, error: &AgentError) {
        let interactive = crate::agent::command::RequestMode::Interactive;
        let (told, waiting) = std::mem::take(&mut self.connection.callers)
            .into_iter()
            .partition(|caller| caller.mode == interactive);
        self.connection.callers = waiting;
        let told: Vec<super::Caller> = told;
        for caller in told {
            self.reply(caller.command, Err::<Reply, _>(error.clone()));
        }
    }

    fn is_establishing(&self) -> bool {
        match self.connection.record.stage {
            Stage::Joining { .. } | Stage::Allowed { .. } | Stage::Handshake { .. } => true,
            Stage::Creating { .. }
            | Stage::Prepared { .. }
            | Stage::Offered { .. }
            | Stage::Confirmed { .. }
            | Stage::Connected
            | Stage::Address
            | Stage::Failed => false,
        }
    }

    fn is_to_be_sent(&self, queue: QueueNumber, message: crate::agent::id::MessageId) -> bool {
        let outgoing = self.connection.outgoing.get(&message);
        outgoing.is_some_and(|outgoing| outgoing.queues.contains(&queue))
    }

    /// A full queue in the handshake will not be emptied by anybody.
    fn is_in_handshake(&self, task: Task) -> bool {
        let Task::Send(_, message) = task else {
            return false;
        };
        let outgoing = self.connection.outgoing.get(&message);
        outgoing.is_some_and(|outgoing| {
            matches!(
                outgoing.purpose,
                OutgoingPurpose::Confirmation | OutgoingPurpose::Invitation
            )
        })
    }

    /// The router does not take the sender's key.
    fn securing_failed(&mut self, number: QueueNumber, error: &AgentError) {
        if let Some(queue) = self.receive_queue_mut(number) {
            queue.status = ReceiveStatus::Open;
        }
        self.error(error.clone());
        self.abort_switch().ok();
    }
}

pub(super) fn is_gone(error: &AgentError) -> bool {
    matches!(error, AgentError::Smp { error, .. } if **error == ErrorType::Auth)
}
