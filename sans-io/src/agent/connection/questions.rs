//! What the application wants to know of the queue of a connection, or to take from it, now.

use super::{Delivery, Step, Task};
use crate::agent::command::{Fetched, Reply};
use crate::agent::error::AgentError;
use crate::agent::id::{CommandId, QueueNumber};
use crate::agent::store::record::ReceiveStatus;
use crate::smp::client::Response;

/// What is wanted of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::agent) enum Question {
    /// The message that waits. GET.
    Message,
    /// How it is. QUE.
    Info,
}

impl Step<'_> {
    pub(in crate::agent) fn ask_queue(
        &mut self,
        command: CommandId,
        question: Question,
    ) -> Result<(), AgentError> {
        let simplex = || AgentError::Simplex {
            context: "there is no queue".into(),
        };
        let number = self.main_queue().ok_or_else(simplex)?;
        let queue = self.connection.receive_queue(number).ok_or_else(simplex)?;
        let (router, id) = (&queue.router, &queue.recipient_id);
        let subscribed = self.shared.index.get(router, id).is_some();
        if question == Question::Message && subscribed {
            return Err(AgentError::prohibited(
                "getConnectionMessages: it is subscribed to",
            ));
        }
        self.connection.questions.push((command, question));
        Ok(())
    }

    /// The queue that messages come from.
    fn main_queue(&self) -> Option<QueueNumber> {
        let mut queues = self.connection.record.receive.iter();
        let main = queues.find(|queue| match queue.status {
            ReceiveStatus::Open
            | ReceiveStatus::Securing { .. }
            | ReceiveStatus::Secured
            | ReceiveStatus::Active => true,
            ReceiveStatus::Creating
            | ReceiveStatus::Suspending
            | ReceiveStatus::Suspended
            | ReceiveStatus::Deleting { .. } => false,
        });
        main.map(|queue| queue.number)
    }

    pub(super) fn questions(&self) -> impl Iterator<Item = Task> {
        let questions = self.connection.questions.first();
        let question = questions.and_then(|(_, question)| {
            let queue = self.main_queue()?;
            Some(match question {
                Question::Message => Task::Fetch(queue),
                Question::Info => Task::Describe(queue),
            })
        });
        question.into_iter()
    }

    /// Everybody who has asked for the same is answered.
    fn answer(&mut self, question: Question, result: &Result<Reply, AgentError>) {
        let (asked, others) = std::mem::take(&mut self.connection.questions)
            .into_iter()
            .partition(|(_, asked)| *asked == question);
        self.connection.questions = others;
        let asked: Vec<(CommandId, Question)> = asked;
        for (command, _) in asked {
            self.reply(command, result.clone());
        }
    }

    pub(super) fn fetched(&mut self, queue: QueueNumber, response: Response) -> Option<Delivery> {
        let message = if let Response::Message(message) = response {
            message
        } else {
            None
        };
        let fetched = match message {
            Some(_) => Fetched::Message,
            None => Fetched::Nothing,
        };
        self.answer(Question::Message, &Ok(Reply::Fetched(fetched)));
        let (broker_id, body) = message?;
        Some(Delivery {
            queue,
            broker_id,
            body,
        })
    }

    pub(super) fn described(&mut self, response: Response) {
        let result = if let Response::Info(info) = response {
            Ok(Reply::QueueInfo(info))
        } else {
            Err(AgentError::internal("INFO"))
        };
        self.answer(Question::Info, &result);
    }

    pub(super) fn question_failed(&mut self, question: Question, error: &AgentError) {
        self.answer(question, &Err(error.clone()));
    }
}
