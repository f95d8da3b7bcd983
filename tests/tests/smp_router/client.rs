//! A client of the router, on any runtime.

use std::sync::Arc;

use bytes::Bytes;
use simplex_sans_io::crypto::{Algorithm, AuthPrivateKey, x25519};
use simplex_sans_io::drive::{Receiver, SmpClient, SmpOptions};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::body::Delivered;
use simplex_sans_io::smp::client::{Event, Request, RequestError, RequestId, Response};
use simplex_sans_io::smp::{
    BrokerMessage, Command, MsgFlags, MsgId, NewQueue, QueueIds, QueueRequest, SubscriptionMode,
};
use simplex_sans_io::wire::{CorrId, EntityId, ServerAddress, SmpScheme};
use simplex_tests::conformance::Runtime;

pub(crate) type Key = Arc<AuthPrivateKey>;
pub(crate) type Answer = Result<Response, RequestError>;

pub(crate) struct Client {
    pub(crate) smp: SmpClient,
    events: Receiver<Event>,
    rng: Rng,
}

impl Client {
    pub(crate) async fn connect<R: Runtime>(
        network: &R,
        address: &ServerAddress<SmpScheme>,
    ) -> Self {
        let mut rng = simplex_runtime_tokio::rng().unwrap();
        let options = SmpOptions::to(address).unwrap();
        let (smp, events, connection) = SmpClient::connect(network, options, rng.fork())
            .await
            .unwrap();
        drop(network.spawn(connection));
        Self { smp, events, rng }
    }

    pub(crate) fn key(&mut self) -> Key {
        Arc::new(AuthPrivateKey::generate(Algorithm::X25519, &mut self.rng).unwrap())
    }

    pub(crate) async fn execute(
        &self,
        entity: &EntityId,
        key: Option<&Key>,
        command: Command,
    ) -> Answer {
        let request = Request::new(RequestId(0), entity.clone(), command);
        let request = match key {
            Some(key) => request.authorized_by(Arc::clone(key)),
            None => request,
        };
        self.smp.request(request).await
    }

    /// A new queue, as it is asked for; the sender's id follows from this correlation id where it must.
    pub(crate) async fn create(
        &mut self,
        request: QueueRequest,
        subscription: SubscriptionMode,
        corr_id: [u8; 24],
    ) -> Queue {
        let (key, sender_key) = (self.key(), self.key());
        let dh = x25519::PrivateKey::generate(&mut self.rng);
        let new = NewQueue {
            auth_key: key.public_key(),
            dh_key: dh.public_key(),
            password: None,
            subscription,
            request: Some(request),
            notifier: None,
        };
        let command = Command::New(Box::new(new));
        let request = Request {
            corr_id: Some(CorrId::from(corr_id)),
            ..Request::new(RequestId(0), EntityId::EMPTY, command)
        };
        match self
            .smp
            .request(request.authorized_by(Arc::clone(&key)))
            .await
        {
            Ok(Response::Queue(ids)) => Queue {
                secret: dh.agree(&ids.dh_key),
                ids: *ids,
                key,
                sender_key,
            },
            other => panic!("no queue: {other:?}"),
        }
    }

    /// A messaging queue that this client is subscribed to.
    pub(crate) async fn new_queue(&mut self) -> Queue {
        let corr_id = self.rng.bytes();
        let request = QueueRequest::Messaging(None);
        self.create(request, SubscriptionMode::Subscribe, corr_id)
            .await
    }

    pub(crate) async fn recipient(&self, queue: &Queue, command: Command) -> Answer {
        let (id, key) = (&queue.ids.recipient_id, &queue.key);
        self.execute(id, Some(key), command).await
    }

    pub(crate) async fn secure(&self, queue: &Queue) -> Answer {
        let key = Command::SKey(queue.sender_key.public_key());
        let id = &queue.ids.sender_id;
        self.execute(id, Some(&queue.sender_key), key).await
    }

    /// Sends to a queue that is secured.
    pub(crate) async fn send(&self, queue: &Queue, body: impl Into<Bytes>) -> Answer {
        let id = &queue.ids.sender_id;
        self.execute(id, Some(&queue.sender_key), send(body)).await
    }

    /// The next of what nobody has asked for.
    pub(crate) async fn told(&mut self) -> (EntityId, BrokerMessage) {
        loop {
            if let Event::Message { entity_id, message } = self.events.next().await.unwrap() {
                return (entity_id, message);
            }
        }
    }

    /// The next message of a queue.
    pub(crate) async fn message(&mut self, queue: &Queue) -> (MsgId, Bytes) {
        match self.told().await {
            (id, BrokerMessage::Msg { id: message, body }) if id == queue.ids.recipient_id => {
                let body = queue.open(&message, &body);
                (message, body)
            }
            other => panic!("no message: {other:?}"),
        }
    }

    /// Acknowledges a message: the next one, if there is one.
    pub(crate) async fn ack(&self, queue: &Queue, id: MsgId) -> Option<(MsgId, Bytes)> {
        match self.recipient(queue, Command::Ack(id)).await {
            Ok(Response::Message(next)) => next.map(|(id, body)| {
                let body = queue.open(&id, &body);
                (id, body)
            }),
            other => panic!("not acknowledged: {other:?}"),
        }
    }
}

pub(crate) fn send(body: impl Into<Bytes>) -> Command {
    Command::Send {
        flags: MsgFlags { notification: true },
        body: body.into(),
    }
}

/// A queue as both of its sides know it.
pub(crate) struct Queue {
    pub(crate) ids: QueueIds,
    pub(crate) key: Key,
    pub(crate) sender_key: Key,
    secret: x25519::SharedSecret,
}

impl Queue {
    /// What was sent; `QUOTA` for the mark of a full queue.
    pub(crate) fn open(&self, id: &MsgId, body: &Bytes) -> Bytes {
        match Delivered::decrypt(&self.secret, id, body).unwrap() {
            Delivered::Message(sent) => sent.body,
            Delivered::Quota(_) => Bytes::from_static(b"QUOTA"),
        }
    }
}
