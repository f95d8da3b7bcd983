//! A router with clients, as tests speak to it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    clippy::new_without_default,
    clippy::missing_panics_doc,
    reason = "a script that does not go on is a finding"
)]

use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::{Algorithm, AuthPrivateKey, x25519};
use crate::rng::Rng;
use crate::sim::store::Contents;
use crate::sim::world::World;
use crate::smp::body::{Delivered, SentMessage};
use crate::smp::client::{Event, Request, RequestError, RequestId, Response};
use crate::smp::router::{Config, ConnId};
use crate::smp::{
    BrokerMessage, Command, ErrorType, MsgFlags, MsgId, NewQueue, QueueIds, QueueRequest,
    SubscriptionMode,
};
use crate::wire::{CorrId, EntityId};

/// A queue as its two sides know it.
#[derive(Debug, Clone)]
pub struct Queue {
    /// The ids that the router has given it.
    pub ids: QueueIds,
    /// The recipient's key.
    pub key: Arc<AuthPrivateKey>,
    /// What encrypts delivered messages.
    pub secret: x25519::SharedSecret,
    /// The sender's key.
    pub sender_key: Arc<AuthPrivateKey>,
}

/// A router with clients.
#[derive(Debug, Clone)]
pub struct Script {
    /// The world that the script acts in.
    pub world: World,
    /// Its randomness.
    pub rng: Rng,
    /// The last number of a request.
    pub next: u64,
}

impl Script {
    /// A router with the usual settings.
    pub fn new() -> Self {
        Self::with(Config::default())
    }

    /// A router with these settings.
    pub fn with(config: Config) -> Self {
        Self {
            world: World::with(1, config, Contents::default()),
            rng: Rng::from_seed([9; 32]),
            next: 0,
        }
    }

    /// A new key.
    pub fn key(&mut self) -> Arc<AuthPrivateKey> {
        Arc::new(AuthPrivateKey::generate(Algorithm::X25519, &mut self.rng).unwrap())
    }

    /// A command, authorised by a key.
    pub fn request(
        &mut self,
        entity_id: &EntityId,
        key: Option<&Arc<AuthPrivateKey>>,
        command: Command,
    ) -> Request {
        self.next += 1;
        let request = Request::new(RequestId(self.next), entity_id.clone(), command);
        match key {
            Some(key) => request.authorized_by(Arc::clone(key)),
            None => request,
        }
    }

    /// Executes a command; other events stay with the client.
    pub fn execute(&mut self, client: ConnId, request: Request) -> Result<Response, RequestError> {
        let id = request.id;
        self.world.send(client, vec![request]);
        self.response(client, id)
            .expect("every request is answered")
    }

    /// The response to a request; other events stay with the client.
    pub fn response(
        &mut self,
        client: ConnId,
        id: RequestId,
    ) -> Option<Result<Response, RequestError>> {
        let mut response = None;
        let mut others = Vec::new();
        for event in self.world.events(client) {
            match event {
                Event::Response { request, result } if request == id => response = Some(result),
                other => others.push(other),
            }
        }
        self.world.put_back(client, others);
        response
    }

    /// Executes a command.
    pub fn command(
        &mut self,
        client: ConnId,
        entity_id: &EntityId,
        key: &Arc<AuthPrivateKey>,
        command: Command,
    ) -> Result<Response, RequestError> {
        let request = self.request(entity_id, Some(key), command);
        self.execute(client, request)
    }

    /// A new messaging queue that its recipient is subscribed to.
    pub fn new_queue(&mut self, client: ConnId) -> Queue {
        self.create(
            client,
            Some(QueueRequest::Messaging(None)),
            SubscriptionMode::Subscribe,
        )
        .unwrap()
    }

    /// A new queue.
    pub fn create(
        &mut self,
        client: ConnId,
        request: Option<QueueRequest>,
        subscription: SubscriptionMode,
    ) -> Result<Queue, RequestError> {
        let (key, sender_key) = (self.key(), self.key());
        let dh = x25519::PrivateKey::generate(&mut self.rng);
        let corr_id = CorrId::from([0x77; 24]);
        let new = NewQueue {
            auth_key: key.public_key(),
            dh_key: dh.public_key(),
            password: None,
            subscription,
            request,
            notifier: None,
        };
        let request = Request {
            corr_id: Some(corr_id),
            ..self.request(&EntityId::EMPTY, Some(&key), Command::New(Box::new(new)))
        };
        match self.execute(client, request)? {
            Response::Queue(ids) => Ok(Queue {
                secret: dh.agree(&ids.dh_key),
                ids: *ids,
                key,
                sender_key,
            }),
            other => panic!("not a queue: {other:?}"),
        }
    }

    /// The sender secures a queue.
    pub fn secure(&mut self, client: ConnId, queue: &Queue) {
        let key = Command::SKey(queue.sender_key.public_key());
        let sender_id = queue.ids.sender_id.clone();
        let sender_key = Arc::clone(&queue.sender_key);
        assert_eq!(
            self.command(client, &sender_id, &sender_key, key),
            Ok(Response::Done)
        );
    }

    /// Sends a message to a queue that is not secured.
    pub fn send(
        &mut self,
        client: ConnId,
        queue: &Queue,
        body: &'static [u8],
    ) -> Result<Response, RequestError> {
        let sender_id = queue.ids.sender_id.clone();
        let request = self.request(&sender_id, None, send(body));
        self.execute(client, request)
    }

    /// Executes a command of the recipient.
    pub fn recipient(
        &mut self,
        client: ConnId,
        queue: &Queue,
        command: Command,
    ) -> Result<Response, RequestError> {
        let (id, key) = (queue.ids.recipient_id.clone(), Arc::clone(&queue.key));
        self.command(client, &id, &key, command)
    }

    /// The messages of a queue that a client was told of, decrypted.
    pub fn messages(&mut self, client: ConnId, queue: &Queue) -> Vec<(MsgId, Delivered)> {
        let events = self.world.events(client);
        let messages = events.into_iter().filter_map(|event| match event {
            Event::Message {
                entity_id,
                message: BrokerMessage::Msg { id, body },
            } if entity_id == queue.ids.recipient_id => {
                let delivered = Delivered::decrypt(&queue.secret, &id, &body).unwrap();
                Some((id, delivered))
            }
            _ => None,
        });
        messages.collect()
    }

    /// What a client was told that nobody has asked for.
    pub fn told(&mut self, client: ConnId) -> Vec<(EntityId, BrokerMessage)> {
        let events = self.world.events(client);
        let told = events.into_iter().filter_map(|event| match event {
            Event::Message { entity_id, message } => Some((entity_id, message)),
            _ => None,
        });
        told.collect()
    }
}

/// A command for a new messaging queue, and what its recipient keeps.
pub fn new_queue_request(script: &mut Script) -> (Request, NewQueueSecrets) {
    let (key, sender_key) = (script.key(), script.key());
    let dh = x25519::PrivateKey::generate(&mut script.rng);
    let new = NewQueue {
        auth_key: key.public_key(),
        dh_key: dh.public_key(),
        password: None,
        subscription: SubscriptionMode::OnlyCreate,
        request: Some(QueueRequest::Messaging(None)),
        notifier: None,
    };
    let command = Command::New(Box::new(new));
    let request = script.request(&EntityId::EMPTY, Some(&key), command);
    let secrets = NewQueueSecrets {
        key,
        sender_key,
        dh,
    };
    (request, secrets)
}

/// What the recipient of a new queue keeps.
pub struct NewQueueSecrets {
    key: Arc<AuthPrivateKey>,
    sender_key: Arc<AuthPrivateKey>,
    dh: x25519::PrivateKey,
}

impl NewQueueSecrets {
    /// The queue with these ids.
    pub fn queue(self, ids: QueueIds) -> Queue {
        Queue {
            secret: self.dh.agree(&ids.dh_key),
            ids,
            key: self.key,
            sender_key: self.sender_key,
        }
    }
}

/// A command that sends a message with a notification.
pub fn send(body: &'static [u8]) -> Command {
    Command::Send {
        flags: MsgFlags { notification: true },
        body: Bytes::from_static(body),
    }
}

/// The text of a message; `QUOTA` of a mark.
pub fn text(delivered: &Delivered) -> &[u8] {
    match delivered {
        Delivered::Message(SentMessage { body, .. }) => body,
        Delivered::Quota(_) => b"QUOTA",
    }
}

/// What a client gets for a command that is refused.
pub fn refused(error: ErrorType) -> Result<Response, RequestError> {
    Err(RequestError::Protocol(error))
}

/// It is not authorised, or not there.
pub const AUTH: ErrorType = ErrorType::Auth;
