//! A router with clients, as tests speak to it.

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
pub(super) struct Queue {
    pub(super) ids: QueueIds,
    pub(super) key: Arc<AuthPrivateKey>,
    pub(super) secret: x25519::SharedSecret,
    pub(super) sender_key: Arc<AuthPrivateKey>,
}

pub(super) struct Script {
    pub(super) world: World,
    pub(super) rng: Rng,
    pub(super) next: u64,
}

impl Script {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        Self {
            world: World::with(1, config, Contents::default()),
            rng: Rng::from_seed([9; 32]),
            next: 0,
        }
    }

    pub(super) fn key(&mut self) -> Arc<AuthPrivateKey> {
        Arc::new(AuthPrivateKey::generate(Algorithm::X25519, &mut self.rng).unwrap())
    }

    pub(super) fn request(
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
    pub(super) fn execute(
        &mut self,
        client: ConnId,
        request: Request,
    ) -> Result<Response, RequestError> {
        let id = request.id;
        self.world.send(client, vec![request]);
        self.response(client, id)
            .expect("every request is answered")
    }

    pub(super) fn response(
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

    pub(super) fn command(
        &mut self,
        client: ConnId,
        entity_id: &EntityId,
        key: &Arc<AuthPrivateKey>,
        command: Command,
    ) -> Result<Response, RequestError> {
        let request = self.request(entity_id, Some(key), command);
        self.execute(client, request)
    }

    pub(super) fn new_queue(&mut self, client: ConnId) -> Queue {
        self.create(
            client,
            Some(QueueRequest::Messaging(None)),
            SubscriptionMode::Subscribe,
        )
        .unwrap()
    }

    pub(super) fn create(
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

    pub(super) fn secure(&mut self, client: ConnId, queue: &Queue) {
        let key = Command::SKey(queue.sender_key.public_key());
        let sender_id = queue.ids.sender_id.clone();
        let sender_key = Arc::clone(&queue.sender_key);
        assert_eq!(
            self.command(client, &sender_id, &sender_key, key),
            Ok(Response::Done)
        );
    }

    pub(super) fn send(
        &mut self,
        client: ConnId,
        queue: &Queue,
        body: &'static [u8],
    ) -> Result<Response, RequestError> {
        let sender_id = queue.ids.sender_id.clone();
        let request = self.request(&sender_id, None, send(body));
        self.execute(client, request)
    }

    pub(super) fn recipient(
        &mut self,
        client: ConnId,
        queue: &Queue,
        command: Command,
    ) -> Result<Response, RequestError> {
        let (id, key) = (queue.ids.recipient_id.clone(), Arc::clone(&queue.key));
        self.command(client, &id, &key, command)
    }

    /// The messages of a queue that a client was told of, decrypted.
    pub(super) fn messages(&mut self, client: ConnId, queue: &Queue) -> Vec<(MsgId, Delivered)> {
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

    pub(super) fn told(&mut self, client: ConnId) -> Vec<(EntityId, BrokerMessage)> {
        let events = self.world.events(client);
        let told = events.into_iter().filter_map(|event| match event {
            Event::Message { entity_id, message } => Some((entity_id, message)),
            _ => None,
        });
        told.collect()
    }
}

/// A command for a new messaging queue, and what its recipient keeps.
pub(super) fn new_queue_request(script: &mut Script) -> (Request, NewQueueSecrets) {
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
pub(super) struct NewQueueSecrets {
    key: Arc<AuthPrivateKey>,
    sender_key: Arc<AuthPrivateKey>,
    dh: x25519::PrivateKey,
}

impl NewQueueSecrets {
    /// The queue with these ids.
    pub(super) fn queue(self, ids: QueueIds) -> Queue {
        Queue {
            secret: self.dh.agree(&ids.dh_key),
            ids,
            key: self.key,
            sender_key: self.sender_key,
        }
    }
}

pub(super) fn send(body: &'static [u8]) -> Command {
    Command::Send {
        flags: MsgFlags { notification: true },
        body: Bytes::from_static(body),
    }
}

pub(super) fn text(delivered: &Delivered) -> &[u8] {
    match delivered {
        Delivered::Message(SentMessage { body, .. }) => body,
        Delivered::Quota(_) => b"QUOTA",
    }
}

pub(super) fn refused(error: ErrorType) -> Result<Response, RequestError> {
    Err(RequestError::Protocol(error))
}

pub(super) const AUTH: ErrorType = ErrorType::Auth;
