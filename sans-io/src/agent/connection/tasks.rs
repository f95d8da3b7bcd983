//! What a connection asks of routers.

use std::sync::Arc;

use super::Step;
use crate::agent::envelope::{AgentEnvelope, ClientEnvelope, EnvelopeContent};
use crate::agent::error::AgentError;
use crate::agent::id::{MessageId, QueueNumber};
use crate::agent::message::ClientMessage;
use crate::agent::network::{Asked, Directness};
use crate::agent::store::record::{
    Outgoing, OutgoingContent, ReceiveQueue, ReceiveStatus, Sealed, SendQueue, SendStatus,
};
use crate::crypto::Nonce;
use crate::smp::client::{Request, RequestId};
use crate::smp::{Command, NewQueue, QueueMode, QueueRequest};
use crate::wire;
use crate::wire::{EntityId, ServerAddress, SmpScheme, Version};

/// One thing that a connection asks of a router. It can be asked again: routers do not mind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::agent) enum Task {
    /// Make the queue. NEW.
    Create(QueueNumber),
    /// Tell the router the sender's key. KEY.
    Secure(QueueNumber),
    /// Tell the router the sender's key, as the sender. SKEY.
    SecureAsSender(QueueNumber),
    /// Send a message. SEND.
    Send(QueueNumber, MessageId),
    /// A message was received. ACK.
    Acknowledge(QueueNumber, u64),
    /// Take no more messages. OFF.
    Suspend(QueueNumber),
    /// Tell whether the queue is empty. QUE.
    Inspect(QueueNumber),
    /// Tell the application how the queue is. QUE.
    Describe(QueueNumber),
    /// Take a message out of the queue. GET.
    Fetch(QueueNumber),
    /// Delete the queue. DEL.
    Delete(QueueNumber),
    /// Keep the data of the link. LSET.
    SetLink,
    /// Forget the data of the link. LDEL.
    DeleteLink,
}

impl Task {
    /// The queue that is received from, if it is about one.
    pub(super) const fn receive_queue(self) -> Option<QueueNumber> {
        match self {
            Self::Create(queue)
            | Self::Secure(queue)
            | Self::Acknowledge(queue, _)
            | Self::Suspend(queue)
            | Self::Inspect(queue)
            | Self::Describe(queue)
            | Self::Fetch(queue)
            | Self::Delete(queue) => Some(queue),
            Self::SecureAsSender(_) | Self::Send(..) | Self::SetLink | Self::DeleteLink => None,
        }
    }
}

impl Step<'_> {
    /// Asks for something. What cannot even be asked for fails at once.
    pub(super) fn start(&mut self, task: Task) {
        let request = match task {
            Task::Create(number) => self.create_request(number),
            Task::Secure(number) => self.of_recipient(number, |queue| match &queue.status {
                ReceiveStatus::Securing { sender_key } => Some(Command::Key(*sender_key)),
                ReceiveStatus::Creating
                | ReceiveStatus::Open
                | ReceiveStatus::Secured
                | ReceiveStatus::Active
                | ReceiveStatus::Suspending
                | ReceiveStatus::Suspended
                | ReceiveStatus::Deleting { .. } => None,
            }),
            Task::Acknowledge(number, _) => {
                let ack = self.connection.acks.get(&number);
                let id = ack.map(|ack| ack.broker_id.clone());
                self.of_recipient(number, |_| id.map(Command::Ack))
            }
            Task::Suspend(number) => self.of_recipient(number, |_| Some(Command::Off)),
            Task::Inspect(number) | Task::Describe(number) => {
                self.of_recipient(number, |_| Some(Command::Que))
            }
            Task::Fetch(number) => self.of_recipient(number, |_| Some(Command::Get)),
            Task::Delete(number) => self.of_recipient(number, |_| Some(Command::Del)),
            Task::SetLink | Task::DeleteLink => self.link_request(task),
            Task::SecureAsSender(number) => self.connection.send_queue(number).map(|queue| {
                let request = of_sender(queue, Command::SKey(queue.key.public_key()));
                let request = request.authorized_by(Arc::new(queue.key.clone()));
                (queue.address.router.clone(), request)
            }),
            Task::Send(number, message) => match self.send_request(number, message) {
                Ok(request) => request,
                Err(error) => return self.sending_failed(message, &error),
            },
        };
        let Some((router, request)) = request else {
            return;
        };
        let directness = match task {
            Task::SecureAsSender(_) | Task::Send(..) => self.directness(task),
            Task::Create(_)
            | Task::Secure(_)
            | Task::Acknowledge(..)
            | Task::Suspend(_)
            | Task::Inspect(_)
            | Task::Describe(_)
            | Task::Fetch(_)
            | Task::Delete(_)
            | Task::SetLink
            | Task::DeleteLink => Directness::Recipient,
        };
        let asked = Asked::task(self.connection.id.clone(), task, router.clone());
        let user = self.connection.record.user;
        let asked = self
            .shared
            .ask(user, &router, request, directness, asked, &mut self.actions);
        match asked {
            Ok(id) => {
                self.connection.asked.insert(task, id);
            }
            Err(error) => self.failed_for_now(task, &error),
        }
    }

    fn directness(&self, task: Task) -> Directness {
        match self.connection.retries.get(&task) {
            Some(retry) if retry.direct => Directness::AfterProxy,
            Some(_) | None => Directness::Sender,
        }
    }

    fn create_request(
        &mut self,
        number: QueueNumber,
    ) -> Option<(ServerAddress<SmpScheme>, Request)> {
        let new_link = self.new_link(number);
        let queue = self.connection.receive_queue(number)?;
        let (request, corr_id) = match new_link {
            Some((request, corr_id)) => (request, Some(corr_id)),
            None => match queue.mode {
                QueueMode::Messaging => (QueueRequest::Messaging(None), None),
                QueueMode::Contact => (QueueRequest::Contact(None), None),
            },
        };
        let user = self.connection.record.user;
        let new = NewQueue {
            auth_key: queue.key.public_key(),
            dh_key: queue.router_key.public_key(),
            password: self.shared.password(user, &queue.router),
            subscription: self.shared.new_subscription(user),
            request: Some(request),
            notifier: None,
        };
        let command = Command::New(Box::new(new));
        let request = Request {
            corr_id,
            ..Request::new(RequestId(0), EntityId::EMPTY, command)
        };
        let request = request.authorized_by(Arc::new(queue.key.clone()));
        Some((queue.router.clone(), request))
    }

    fn of_recipient(
        &self,
        number: QueueNumber,
        command: impl FnOnce(&ReceiveQueue) -> Option<Command>,
    ) -> Option<(ServerAddress<SmpScheme>, Request)> {
        let queue = self.connection.receive_queue(number)?;
        let request = Request::new(RequestId(0), queue.recipient_id.clone(), command(queue)?);
        let request = request.authorized_by(Arc::new(queue.key.clone()));
        Some((queue.router.clone(), request))
    }

    fn send_request(
        &mut self,
        number: QueueNumber,
        message: MessageId,
    ) -> Result<Option<(ServerAddress<SmpScheme>, Request)>, AgentError> {
        let Some((queue, outgoing)) = self
            .connection
            .send_queue(number)
            .zip(self.connection.outgoing.get(&message))
        else {
            return Ok(None);
        };
        let nonce = Nonce::generate(&mut self.shared.rng);
        let versions = (
            self.connection.record.version,
            self.shared.config.versions.max(),
        );
        let body = client_envelope(queue, outgoing, nonce, versions)?;
        let command = Command::Send {
            flags: outgoing.flags,
            body,
        };
        let mut request = of_sender(queue, command);
        if matches!(
            queue.status,
            SendStatus::Secured | SendStatus::Confirmed | SendStatus::Active
        ) {
            request = request.authorized_by(Arc::new(queue.key.clone()));
        }
        Ok(Some((queue.address.router.clone(), request)))
    }
}

fn of_sender(queue: &SendQueue, command: Command) -> Request {
    Request::new(RequestId(0), queue.address.sender_id.clone(), command)
}

/// What is sent: the same message under another nonce whenever it is tried.
fn client_envelope(
    queue: &SendQueue,
    outgoing: &Outgoing,
    nonce: Nonce,
    (agreed, highest): (Version, Version),
) -> Result<bytes::Bytes, AgentError> {
    let envelope = |version, content| {
        let envelope = AgentEnvelope { version, content };
        wire::encode(&envelope, Version::default())
    };
    let (body, with_key) = match &outgoing.content {
        OutgoingContent::Encrypted { sealed } => {
            let encrypted = encrypt(sealed)?;
            (
                envelope(highest, EnvelopeContent::Message { encrypted }),
                false,
            )
        }
        OutgoingContent::Confirmation { params, sealed } => {
            let content = EnvelopeContent::Confirmation {
                params: params.as_deref().cloned(),
                encrypted: encrypt(sealed)?,
            };
            (envelope(agreed, content), true)
        }
        OutgoingContent::Plain { envelope } => (
            envelope.clone().into_bytes(),
            queue.status == SendStatus::Contact,
        ),
    };
    let message = match (&outgoing.content, queue.is_sender_secured()) {
        (OutgoingContent::Confirmation { .. }, false) => ClientMessage::WithKey {
            key: queue.key.public_key(),
            body,
        },
        (_, _) => ClientMessage::Plain { body },
    };
    let key = with_key.then_some(queue.dh_key);
    let sealed = ClientEnvelope::seal(queue.version, key, &queue.secret, nonce, &message);
    let sealed = sealed.map_err(|_| AgentError::Large {
        context: "message".into(),
    })?;
    Ok(wire::encode(&sealed, Version::default()))
}

fn encrypt(sealed: &Sealed) -> Result<bytes::Bytes, AgentError> {
    sealed
        .key
        .encrypt(&sealed.message, usize::from(sealed.padded))
        .map_err(|_| AgentError::Large {
            context: "message".into(),
        })
}
