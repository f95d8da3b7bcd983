//! Sessions with a router, and queues on it.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use simplex_runtime_tokio::{Tokio, rng};
use simplex_sans_io::crypto::{Algorithm, AuthPrivateKey, x25519};
use simplex_sans_io::drive::{Receiver, SmpClient, SmpOptions};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::client::{Event, Request, RequestError, RequestId, Response};
use simplex_sans_io::smp::{
    BrokerMessage, Command, MsgFlags, MsgId, NewQueue, QueueRequest, SubscriptionMode,
};
use simplex_sans_io::wire::{BasicAuth, EntityId};
use tokio::task::{JoinHandle, JoinSet};

use super::BenchError;

/// How many commands are given to a session at once: what fits into a block or two.
pub(crate) const BATCH: usize = 100;

/// What it takes to use a router.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) options: SmpOptions,
    /// To create queues.
    pub(crate) password: Option<BasicAuth>,
}

/// A session with a router, established.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) smp: SmpClient,
    events: Receiver<Event>,
    connection: JoinHandle<Result<(), String>>,
    password: Option<BasicAuth>,
    rng: Rng,
    dh_key: x25519::PublicKey,
}

/// A queue, as its recipient knows it.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    pub(crate) recipient_id: EntityId,
    pub(crate) sender_id: EntityId,
    pub(crate) key: Key,
}

/// A key that authorises commands.
pub(crate) type Key = Arc<AuthPrivateKey>;

impl Session {
    pub(crate) async fn open(access: &Access) -> Result<Self, BenchError> {
        let mut rng = rng()?;
        let options = access.options.clone();
        let (smp, mut events, connection) =
            SmpClient::connect(&Tokio::new(), options, rng.fork()).await?;
        let connection = tokio::spawn(async move {
            let ended = connection.await;
            ended.map(|_| ()).map_err(|error| error.to_string())
        });
        let Some(Event::Established(_)) = events.next().await else {
            let why = connection.await.map_err(|error| error.to_string());
            let why = why.and_then(|ended| ended);
            return Err(BenchError::Ended(why.err().unwrap_or_default()));
        };
        Ok(Self {
            smp,
            events,
            connection,
            password: access.password.clone(),
            dh_key: x25519::PrivateKey::generate(&mut rng).public_key(),
            rng,
        })
    }

    /// Ends it in an orderly way.
    pub(crate) async fn close(self) {
        drop(self.smp);
        drop(self.events);
        self.connection.await.ok();
    }

    /// Ends it as a lost network does.
    pub(crate) async fn cut(self) {
        self.connection.abort();
        self.connection.await.ok();
    }

    /// A key of the usual kind.
    pub(crate) fn key(&mut self) -> Result<Key, BenchError> {
        AuthPrivateKey::generate(Algorithm::Ed25519, &mut self.rng)
            .map(Arc::new)
            .ok_or_else(|| BenchError::Ended("no key".to_owned()))
    }

    /// NEW, with a key of its own.
    pub(crate) fn new_queue(
        &mut self,
        subscription: SubscriptionMode,
    ) -> Result<(Request, Key), BenchError> {
        let key = self.key()?;
        let queue = NewQueue {
            auth_key: key.public_key(),
            dh_key: self.dh_key,
            password: self.password.clone(),
            subscription,
            request: Some(QueueRequest::Messaging(None)),
            notifier: None,
        };
        let request = command(EntityId::EMPTY, Command::New(Box::new(queue)), &key);
        Ok((request, key))
    }

    /// Creates queues, [`BATCH`] at a time.
    pub(crate) async fn create(
        &mut self,
        count: usize,
        subscription: SubscriptionMode,
    ) -> Result<Vec<Queue>, BenchError> {
        let mut queues = Vec::with_capacity(count);
        while queues.len() < count {
            let batch = BATCH.min(count - queues.len());
            let new = (0..batch).map(|_| self.new_queue(subscription));
            let (requests, keys): (Vec<_>, Vec<_>) =
                new.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
            let responses = self.smp.batch(requests).await;
            for (response, key) in responses.into_iter().zip(keys) {
                queues.push(Queue::created(response?, key)?);
            }
        }
        Ok(queues)
    }

    /// One command for each of the queues, in as few blocks as hold them.
    pub(crate) async fn all(&self, queues: &[Queue], what: Command) -> Result<(), BenchError> {
        let of = |queue: &Queue| command(queue.recipient_id.clone(), what.clone(), &queue.key);
        let responses = self.smp.batch(queues.iter().map(of).collect()).await;
        for response in responses {
            response?;
        }
        Ok(())
    }

    /// Deletes queues.
    pub(crate) async fn delete(&self, queues: &[Queue]) -> Result<(), BenchError> {
        for queues in queues.chunks(BATCH) {
            self.all(queues, Command::Del).await?;
        }
        Ok(())
    }

    async fn message(&mut self) -> Result<MsgId, BenchError> {
        loop {
            match self.events.next().await {
                Some(Event::Message {
                    message: BrokerMessage::Msg { id, .. },
                    ..
                }) => return Ok(id),
                Some(_) => {}
                None => return Err(BenchError::Ended("no message has come".to_owned())),
            }
        }
    }
}

impl Queue {
    /// The queue that a NEW has created.
    pub(crate) fn created(response: Response, key: Key) -> Result<Self, BenchError> {
        let tag = response.tag();
        let Response::Queue(ids) = response else {
            return Err(RequestError::Unexpected(tag).into());
        };
        Ok(Self {
            recipient_id: ids.recipient_id,
            sender_id: ids.sender_id,
            key,
        })
    }
}

fn command(entity: EntityId, command: Command, key: &Key) -> Request {
    Request::new(RequestId(0), entity, command).authorized_by(Arc::clone(key))
}

/// A sender and a recipient, each with a session, and a queue between them.
#[derive(Debug)]
pub(crate) struct Pair {
    sender: Session,
    recipient: Session,
    queue: Queue,
    sender_key: Key,
    body: Bytes,
}

/// How long the parts of a message cycle took, since it was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cycle {
    /// Until the recipient had it.
    pub(crate) delivered: Duration,
    /// Until both commands were answered.
    pub(crate) complete: Duration,
}

impl Pair {
    /// A pair whose messages are as long as messages may be.
    pub(crate) async fn open(access: &Access) -> Result<Self, BenchError> {
        let mut recipient = Session::open(access).await?;
        let mut sender = Session::open(access).await?;
        let (request, key) = recipient.new_queue(SubscriptionMode::Subscribe)?;
        let queue = Queue::created(recipient.smp.request(request).await?, key)?;
        let sender_key = sender.key()?;
        sender.smp.secure(&queue.sender_id, &sender_key).await?;
        let body = Bytes::from(vec![b'.'; BODY]);
        let mut pair = Self {
            sender,
            recipient,
            queue,
            sender_key,
            body,
        };
        pair.cycle().await?;
        Ok(pair)
    }

    /// SEND → OK, MSG, ACK → OK.
    pub(crate) async fn cycle(&mut self) -> Result<Cycle, BenchError> {
        let flags = MsgFlags {
            notification: false,
        };
        let start = Instant::now();
        let sender_key = Some(&self.sender_key);
        let sent =
            self.sender
                .smp
                .send(&self.queue.sender_id, sender_key, flags, self.body.clone());
        let sent = async { Ok(sent.await?) };
        let received = async {
            let message = self.recipient.message().await?;
            let delivered = start.elapsed();
            let Queue {
                recipient_id, key, ..
            } = &self.queue;
            self.recipient.smp.ack(recipient_id, key, message).await?;
            Ok::<_, BenchError>(delivered)
        };
        let ((), delivered) = tokio::try_join!(sent, received)?;
        let complete = start.elapsed();
        Ok(Cycle {
            delivered,
            complete,
        })
    }

    pub(crate) async fn close(self) -> Result<(), BenchError> {
        self.recipient.delete(&[self.queue]).await?;
        self.sender.close().await;
        self.recipient.close().await;
        Ok(())
    }
}

/// The longest body since blocks are encrypted.
const BODY: usize = 16_048;

/// What all clients do at the same time, in the order of the clients.
pub(crate) async fn together<T, F>(
    clients: impl IntoIterator<Item = F>,
) -> Result<Vec<T>, BenchError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, BenchError>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for (index, client) in clients.into_iter().enumerate() {
        tasks.spawn(async move { (index, client.await) });
    }
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(joined) = tasks.join_next().await {
        let (index, outcome) = joined.map_err(|error| BenchError::Ended(error.to_string()))?;
        done.push((index, outcome?));
    }
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}
