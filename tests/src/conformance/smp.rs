//! The cases with SMP routers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use simplex_sans_io::crypto::{Algorithm, AuthPrivateKey, x25519};
use simplex_sans_io::drive::{
    Capacity, Clock as _, Receiver, SmpClient, SmpOptions, SmpPool, drive_pool, queue,
};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::body::Delivered;
use simplex_sans_io::smp::client::{self, Request, RequestError, RequestId, Response};
use simplex_sans_io::smp::pool::{
    self, Pool, RetryInterval, SessionKey, SubscriberRole, Subscription, UserId,
};
use simplex_sans_io::smp::{
    BrokerMessage, Command, ErrorType, MsgFlags, MsgId, NewQueue, QueueIds, QueueRequest,
    SubscriptionMode,
};
use simplex_sans_io::wire::{EntityId, ServerAddress, SmpScheme};

use super::Runtime;
use super::routers::{forward, listen, session, start};

const FLAGS: MsgFlags = MsgFlags {
    notification: false,
};

/// From its creation to its end, through TLS.
pub async fn the_life_of_a_queue<R: Runtime>(network: R) {
    let (router, _) = start(&network, 1).await;
    let (recipient, mut events) = session(&network, &router.address, 2).await;
    let (sender, _) = session(&network, &router.address, 3).await;
    let queue = Queue::create(&recipient, SubscriptionMode::Subscribe, 4).await;
    let key = key(&mut Rng::from_seed([5; 32]));
    let to = &queue.ids.sender_id;
    sender.secure(to, &key).await.unwrap();
    sender
        .send(to, Some(&key), FLAGS, "hello".into())
        .await
        .unwrap();
    let (of, id, body) = message(&mut events).await.unwrap();
    assert_eq!(of, queue.ids.recipient_id);
    assert_eq!(queue.open(&id, &body), "hello");
    let next = recipient.ack(&of, &queue.key, id).await;
    assert_eq!(next, Ok(None));
    recipient.delete(&of, &queue.key).await.unwrap();
    let refused = sender.send(to, Some(&key), FLAGS, "hello".into()).await;
    assert_eq!(refused, Err(RequestError::Protocol(ErrorType::Auth)));
}

/// At once, or each from a task of its own: each gets its own response.
pub async fn a_thousand_commands_in_flight<R: Runtime>(network: R) {
    let (router, _) = start(&network, 1).await;
    let (client, _events) = session(&network, &router.address, 2).await;
    let queues = [
        Queue::create(&client, SubscriptionMode::OnlyCreate, 3).await,
        Queue::create(&client, SubscriptionMode::OnlyCreate, 4).await,
    ];
    let to = &queues[1].ids.sender_id;
    client.send(to, None, FLAGS, "hello".into()).await.unwrap();
    let ask = |number: usize| {
        let queue = &queues[number % 2];
        Request::new(RequestId(0), queue.ids.recipient_id.clone(), Command::Que)
            .authorized_by(queue.key.clone())
    };
    let waits = |response: Result<Response, RequestError>| match response {
        Ok(Response::Info(info)) => Some(info.size),
        Ok(_) | Err(_) => None,
    };
    let batch = client.batch((0..1000).map(ask).collect()).await;
    let batch: Vec<_> = batch.into_iter().map(waits).collect();
    assert_eq!(batch, [Some(0), Some(1)].repeat(500));

    let asked: Vec<_> = (0..1000)
        .map(|number| {
            let (client, request) = (client.clone(), ask(number));
            network.spawn(async move { client.request(request).await })
        })
        .collect();
    for (asked, size) in asked.into_iter().zip(batch) {
        assert_eq!(waits(asked.await), size);
    }
}

/// What a client sends comes back to it, on one connection.
pub async fn a_router_and_its_client_flood_each_other<R: Runtime>(network: R) {
    const QUEUES: u8 = 4;
    const MESSAGES: usize = 60;
    let (router, _) = start(&network, 1).await;
    let (client, mut events) = session(&network, &router.address, 2).await;
    let mut queues = Vec::new();
    for number in 0..QUEUES {
        queues.push(Queue::create(&client, SubscriptionMode::Subscribe, number + 3).await);
    }
    let sent: Vec<_> = queues
        .iter()
        .map(|queue| {
            let (client, to) = (client.clone(), queue.ids.sender_id.clone());
            network.spawn(async move {
                let body = Bytes::from(vec![7; 10_000]);
                let command = Command::Send { flags: FLAGS, body };
                let request = Request::new(RequestId(0), to, command);
                let done = client.batch(vec![request; MESSAGES]).await;
                assert_eq!(done, vec![Ok(Response::Done); MESSAGES]);
            })
        })
        .collect();
    // A queue tells its first message, and its next one after it was emptied; the others are responses.
    let missing = Arc::new(AtomicUsize::new(MESSAGES * queues.len()));
    let (emptied, mut last) = queue(1);
    let reading = network.clone();
    drop(network.spawn(async move {
        while let Some((of, mut id, mut body)) = message(&mut events).await {
            let queue = queues.iter().find(|queue| queue.ids.recipient_id == of);
            let queue = queue.unwrap().clone();
            let (client, missing, emptied) = (client.clone(), missing.clone(), emptied.clone());
            drop(reading.spawn(async move {
                loop {
                    assert_eq!(queue.open(&id, &body).len(), 10_000);
                    if missing.fetch_sub(1, Ordering::SeqCst) == 1 {
                        emptied.send(()).await.unwrap();
                    }
                    match client.ack(&of, &queue.key, id).await.unwrap() {
                        Some(next) => (id, body) = next,
                        None => return,
                    }
                }
            }));
        }
    }));
    for sent in sent {
        sent.await;
    }
    last.next().await;
}

/// Also when it comes back elsewhere.
pub async fn subscriptions_outlive_a_restart_of_the_router<R: Runtime>(network: R) {
    let (router, _) = start(&network, 1).await;
    let (pool, mut events, current) = sessions(&network, &router.address);
    let session = key_of(&router.address);
    let queue = {
        let (client, _events) = super::routers::session(&network, &router.address, 2).await;
        Queue::create(&client, SubscriptionMode::OnlyCreate, 3).await
    };
    let subscription = Subscription {
        queue: queue.ids.recipient_id.clone(),
        role: SubscriberRole::Recipient,
        key: queue.key.clone(),
    };
    pool.subscribe(&session, vec![subscription]).await.unwrap();
    told(&mut events, subscribed).await;

    let core = router.router.clone();
    drop(router);
    core.restart();
    told(&mut events, |event| {
        matches!(event, pool::Event::Disconnected { .. })
    })
    .await;
    let router = listen(&network, core, Rng::from_seed([4; 32])).await;
    *current.lock().unwrap() = router.address.clone();
    told(&mut events, subscribed).await;

    let (sender, _events) = super::routers::session(&network, &router.address, 5).await;
    let to = &queue.ids.sender_id;
    sender.send(to, None, FLAGS, "hello".into()).await.unwrap();
    let delivered = loop {
        if let pool::Event::Message { message, .. } = events.next().await.unwrap() {
            break message;
        }
    };
    assert!(
        matches!(delivered, BrokerMessage::Msg { id, body } if queue.open(&id, &body) == "hello")
    );
}

/// By a client, and by a pool.
pub async fn a_relay_gets_what_a_proxy_forwards<R: Runtime>(network: R) {
    let (relay, _) = start(&network, 1).await;
    let (proxy, asked) = start(&network, 2).await;
    forward(&network, &proxy, asked, &relay.address).await;
    let (recipient, mut events) = session(&network, &relay.address, 3).await;
    let queue = Queue::create(&recipient, SubscriptionMode::Subscribe, 4).await;

    let (sender, _events) = session(&network, &proxy.address, 5).await;
    let now = network.clock().now().unix;
    let via = sender.relay(&relay.address, None, now).await.unwrap();
    let to = &queue.ids.sender_id;
    via.send(to, None, FLAGS, "hello".into()).await.unwrap();
    let (of, id, body) = message(&mut events).await.unwrap();
    assert_eq!(queue.open(&id, &body), "hello");
    assert_eq!(recipient.ack(&of, &queue.key, id).await, Ok(None));

    let (pool, _events, _) = sessions(&network, &proxy.address);
    let session = key_of(&proxy.address);
    let command = Command::Send {
        flags: FLAGS,
        body: "again".into(),
    };
    let request = Request::new(RequestId(0), to.clone(), command);
    let sent = pool.forward(&session, &relay.address, None, request).await;
    assert_eq!(sent, Ok(Response::Done));
    let (_, id, body) = message(&mut events).await.unwrap();
    assert_eq!(queue.open(&id, &body), "again");
}

/// A queue, as its recipient knows it.
#[derive(Clone)]
struct Queue {
    ids: QueueIds,
    key: Arc<AuthPrivateKey>,
    dh_key: x25519::PrivateKey,
}

impl Queue {
    async fn create(client: &SmpClient, subscription: SubscriptionMode, seed: u8) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        let (key, dh_key) = (key(&mut rng), x25519::PrivateKey::generate(&mut rng));
        let queue = NewQueue {
            auth_key: key.public_key(),
            dh_key: dh_key.public_key(),
            password: None,
            subscription,
            request: Some(QueueRequest::Messaging(None)),
            notifier: None,
        };
        let ids = client.create_queue(queue, &key).await.unwrap();
        Self { ids, key, dh_key }
    }

    /// What was sent.
    fn open(&self, id: &MsgId, body: &[u8]) -> Bytes {
        let secret = self.dh_key.agree(&self.ids.dh_key);
        match Delivered::decrypt(&secret, id, body).unwrap() {
            Delivered::Message(sent) => sent.body,
            Delivered::Quota(_) => "the queue was full".into(),
        }
    }
}

fn key(rng: &mut Rng) -> Arc<AuthPrivateKey> {
    Arc::new(AuthPrivateKey::generate(Algorithm::X25519, rng).unwrap())
}

/// The next message: of which queue, its id and its body.
async fn message(events: &mut Receiver<client::Event>) -> Option<(EntityId, MsgId, Bytes)> {
    while let Some(event) = events.next().await {
        if let client::Event::Message {
            entity_id,
            message: BrokerMessage::Msg { id, body },
        } = event
        {
            return Some((entity_id, id, body));
        }
    }
    None
}

const fn subscribed(event: &pool::Event) -> bool {
    matches!(event, pool::Event::Subscribed { .. })
}

async fn told(events: &mut Receiver<pool::Event>, awaited: impl Fn(&pool::Event) -> bool) {
    while !awaited(&events.next().await.unwrap()) {}
}

fn key_of(router: &ServerAddress<SmpScheme>) -> SessionKey {
    SessionKey {
        user: UserId(1),
        router: router.clone(),
        scope: None,
    }
}

/// A pool for one router, which may move.
fn sessions<R: Runtime>(
    network: &R,
    router: &ServerAddress<SmpScheme>,
) -> (
    SmpPool,
    Receiver<pool::Event>,
    Arc<Mutex<ServerAddress<SmpScheme>>>,
) {
    let current = Arc::new(Mutex::new(router.clone()));
    let at = Arc::clone(&current);
    let options = move |_: &SessionKey| SmpOptions::to(&at.lock().unwrap());
    let config = pool::Config {
        retry: RetryInterval {
            initial: Duration::from_millis(10),
            ..RetryInterval::default()
        },
        persist_error: Duration::ZERO,
        ..pool::Config::default()
    };
    let (pool, events, mailbox) = SmpPool::new(Capacity::default());
    let rng = Rng::from_seed([103; 32]);
    let driven = drive_pool(Pool::new(config), network.clone(), options, mailbox, rng);
    drop(network.spawn(driven));
    (pool, events, current)
}
