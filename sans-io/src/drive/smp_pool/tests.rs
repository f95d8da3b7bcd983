//! Pools over routers that a network in memory leads to, with real TLS.

use super::*;
use crate::crypto::{Algorithm, AuthPrivateKey, SigningKey, x25519};
use crate::drive::woken::Futures;
use crate::drive::{Clock as _, Network, Policy, SmpOptions, drive, queue};
use crate::rng::Rng;
use crate::sim::{Duplex, Link, Settled, SimClock, SmpRouter, Task, Tasks, abandon, duplex};
use crate::smp::pool::{Config, Pool, UserId};
use crate::smp::server::Server;
use crate::smp::{
    BrokerMessage, Command, MsgFlags, NewQueue, QueueIds, QueueRequest, SubscriptionMode,
};
use crate::time::Now;
use crate::tls::{Credentials, ServerConfig, ServerOptions, Tls};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::Poll;

#[test]
fn requests_to_many_routers_get_their_responses() {
    let mut net = Net::new(1, 20);
    let pool = net.pool.clone();
    let sessions: Vec<_> = (0..20).map(|router| net.session(router)).collect();
    let answered = net.tasks.spawn(async move {
        for session in &sessions {
            let pongs = pool.batch(session, vec![ping(); 10]).await;
            assert_eq!(pongs, vec![Ok(Response::Pong); 10]);
        }
        for session in &sessions {
            assert_eq!(pool.request(session, ping()).await, Ok(Response::Pong));
        }
    });
    net.settle();
    assert_eq!(answered.take(), Some(()));
}

#[test]
fn a_router_that_cannot_be_reached_or_is_another_one_fails_its_requests_only() {
    let mut net = Net::new(2, 2);
    let pool = net.pool.clone();
    let (there, mut nowhere) = (net.session(0), net.session(1));
    net.network.lock().remove(&address(1));
    let impostor = ServerAddress::new(
        there.router.hosts().to_vec().try_into().unwrap(),
        there.router.port(),
        nowhere.router.key_hash().clone(),
    );
    let answered = net.tasks.spawn(async move {
        let refused = pool.request(&nowhere, ping()).await;
        nowhere.router = impostor;
        let other = pool.request(&nowhere, ping()).await;
        (refused, other, pool.request(&there, ping()).await)
    });
    net.settle();
    let (refused, other, pong) = answered.take().unwrap();
    assert!(matches!(
        refused,
        Err(PoolError::Unreachable(BrokerError::Network {
            error: NetworkError::Connect { .. }
        }))
    ));
    let other_identity = BrokerError::Network {
        error: NetworkError::UnknownCa,
    };
    assert_eq!(other, Err(PoolError::Unreachable(other_identity)));
    assert_eq!(pong, Ok(Response::Pong));
}

#[test]
fn a_subscription_outlives_the_session() {
    let mut net = Net::new(3, 1);
    let (pool, mut events) = (net.pool.clone(), net.events.take().unwrap());
    let (session, router) = (net.session(0), net.routers[0].clone());
    let mut rng = net.tasks.rng();
    let (created, mut restart) = queue(1);
    let lived = net.tasks.spawn(async move {
        let (ids, key) = new_queue(&pool, &session, &mut rng).await;
        let subscription = Subscription {
            queue: ids.recipient_id.clone(),
            role: SubscriberRole::Recipient,
            key,
        };
        pool.subscribe(&session, vec![subscription]).await.unwrap();
        let mut heard = Vec::new();
        let mut subscribed = 0;
        while let Some(event) = events.next().await {
            match &event {
                Event::Subscribed { .. } if subscribed == 0 => {
                    subscribed += 1;
                    created.send(()).await.unwrap();
                }
                Event::Subscribed { .. } => {
                    send(&pool, &session, &ids).await;
                }
                Event::Message { message, .. } => {
                    assert!(matches!(message, BrokerMessage::Msg { .. }));
                    return heard;
                }
                _ => {}
            }
            heard.push(event);
        }
        heard
    });
    net.tasks.spawn(async move {
        restart.next().await;
        router.restart();
    });
    // Sessions with subscriptions are pinged for ever.
    let heard = net.until(&lived);
    assert!(matches!(
        heard.as_slice(),
        [
            Event::Connected { .. },
            Event::Subscribed { .. },
            Event::Disconnected { .. },
            Event::Connected { .. },
            Event::Subscribed { .. },
        ]
    ));
}

#[test]
fn the_last_handle_ends_the_sessions() {
    let mut net = Net::new(4, 2);
    let pool = net.pool.clone();
    let sessions = [net.session(0), net.session(1)];
    let answered = net.tasks.spawn(async move {
        for session in sessions {
            pool.request(&session, ping()).await.unwrap();
        }
    });
    net.settle();
    assert_eq!(answered.take(), Some(()));
    assert_eq!(net.ended.take(), None);
    drop((net.pool, net.events));
    assert_eq!(net.tasks.run(100_000), Settled::Idle);
    assert_eq!(net.ended.take(), Some(()));
}

#[test]
fn a_pool_that_is_dropped_leaves_nobody_waiting() {
    let (pool, _events, mailbox) = SmpPool::new(Capacity::default());
    let mut net = Net::new(5, 1);
    let session = net.session(0);
    let waiting = net.tasks.spawn(async move {
        let waiting = pool.request(&session, ping()).await;
        (waiting, pool.request(&session, ping()).await)
    });
    net.settle();
    drop(mailbox);
    net.settle();
    let disconnected = Err(PoolError::Request(RequestError::Disconnected));
    assert_eq!(waiting.take(), Some((disconnected.clone(), disconnected)));
}

#[test]
fn a_request_that_is_abandoned_anywhere_leaves_the_pool_as_it_is() {
    for polls in 0..4 {
        let mut net = Net::new(6, 1);
        let (pool, session) = (net.pool.clone(), net.session(0));
        let next = net.tasks.spawn(async move {
            abandon(polls, pool.request(&session, ping())).await;
            abandon(polls, pool.subscribe(&session, Vec::new())).await;
            abandon(polls, pool.network_changed()).await;
            pool.request(&session, ping()).await
        });
        net.settle();
        assert_eq!(next.take(), Some(Ok(Response::Pong)));
    }
}

#[test]
fn a_pool_that_is_abandoned_anywhere_leaves_nobody_waiting() {
    for polls in 0..16 {
        let mut net = Net::new(9, 1);
        let (pool, _events, mailbox) = SmpPool::new(Capacity::default());
        let options = |session: &SessionKey| SmpOptions::to(&session.router);
        let (machine, rng) = (Pool::new(Config::default()), net.tasks.rng());
        let driven = drive_pool(machine, net.network.clone(), options, mailbox, rng);
        net.tasks.spawn(abandon(polls, driven));
        let session = net.session(0);
        let answered = net.tasks.spawn(async move {
            for _ in 0..10 {
                pool.request(&session, ping()).await.ok();
            }
        });
        net.settle();
        assert_eq!(answered.take(), Some(()));
    }
}

#[test]
fn events_wait_for_an_owner_that_does_not_read() {
    const QUEUES: u16 = 2000;
    let mut net = Net::new(10, 1);
    let (pool, session) = (net.pool.clone(), net.session(0));
    let mut rng = net.tasks.rng();
    let subscribed = net.tasks.spawn(async move {
        let key = Arc::new(AuthPrivateKey::generate(Algorithm::Ed25519, &mut rng).unwrap());
        let unknown = (0..QUEUES).map(|_| Subscription {
            queue: EntityId::from(rng.bytes::<24>()),
            role: SubscriberRole::Recipient,
            key: Arc::clone(&key),
        });
        pool.subscribe(&session, unknown.collect()).await
    });
    net.settle();
    assert_eq!(subscribed.take(), Some(Ok(())));
    let mut events = net.events.take().unwrap();
    let told = net.tasks.spawn(async move {
        let mut refused = 0;
        while refused < QUEUES {
            if let Some(Event::NotSubscribed { .. }) = events.next().await {
                refused += 1;
            }
        }
    });
    net.settle();
    assert_eq!(told.take(), Some(()));
}

#[test]
fn more_than_a_connection_takes_is_refused() {
    let mut net = Net::new(7, 1);
    let session = net.session(0);
    let warm = net.pool.clone();
    let key = session.clone();
    net.tasks
        .spawn(async move { warm.request(&key, ping()).await });
    net.settle();
    let asked: Vec<_> = (0..IN_FLIGHT * 4)
        .map(|_| {
            let (pool, session) = (net.pool.clone(), session.clone());
            net.tasks
                .spawn(async move { pool.request(&session, ping()).await })
        })
        .collect();
    net.settle();
    let answers = asked.iter().map(|task| task.take().unwrap());
    let (pongs, refused): (Vec<_>, Vec<_>) = answers.partition(Result::is_ok);
    assert!(pongs.len() >= IN_FLIGHT && !refused.is_empty());
    let not_accepted = Err(PoolError::Request(RequestError::NotAccepted));
    assert!(refused.iter().all(|answer| *answer == not_accepted));
}

#[test]
fn pool_futures_are_send() {
    fn assert_send<T: Send>(_: &T) {}
    let net = Net::new(8, 1);
    let (_pool, _events, mailbox) = SmpPool::new(Capacity::default());
    let options = |session: &SessionKey| SmpOptions::to(&session.router);
    let pool = Pool::new(Config::default());
    let rng = Rng::from_seed([7; 32]);
    assert_send(&drive_pool(pool, net.network, options, mailbox, rng));
}

/// How many requests a session may have in flight.
const IN_FLIGHT: usize = 16;

fn ping() -> Request {
    Request::new(RequestId(0), EntityId::EMPTY, Command::Ping)
}

async fn new_queue(
    pool: &SmpPool,
    session: &SessionKey,
    rng: &mut Rng,
) -> (QueueIds, Arc<AuthPrivateKey>) {
    let key = Arc::new(AuthPrivateKey::generate(Algorithm::Ed25519, rng).unwrap());
    let queue = NewQueue {
        auth_key: key.public_key(),
        dh_key: x25519::PrivateKey::generate(rng).public_key(),
        password: None,
        subscription: SubscriptionMode::OnlyCreate,
        request: Some(QueueRequest::Messaging(None)),
        notifier: None,
    };
    let command = Command::New(Box::new(queue));
    let request = Request::new(RequestId(0), EntityId::EMPTY, command);
    let request = request.authorized_by(Arc::clone(&key));
    match pool.request(session, request).await {
        Ok(Response::Queue(ids)) => (*ids, key),
        other => panic!("no queue: {other:?}"),
    }
}

async fn send(pool: &SmpPool, session: &SessionKey, ids: &QueueIds) {
    let flags = MsgFlags {
        notification: false,
    };
    let body = "hello".into();
    let command = Command::Send { flags, body };
    let request = Request::new(RequestId(0), ids.sender_id.clone(), command);
    assert_eq!(pool.request(session, request).await, Ok(Response::Done));
}

fn address(router: usize) -> SocketAddr {
    ([127, 0, 0, 1], u16::try_from(router).unwrap()).into()
}

struct Net {
    tasks: Tasks,
    network: Routers,
    routers: Vec<SmpRouter>,
    pool: SmpPool,
    events: Option<Receiver<Event>>,
    ended: Task<()>,
}

impl Net {
    fn new(seed: u64, count: usize) -> Self {
        let mut tasks = Tasks::new(seed);
        let network = Routers {
            clock: tasks.clock(),
            listening: Arc::default(),
        };
        let routers: Vec<_> = (0..count)
            .map(|number| {
                let (router, _) = SmpRouter::new(&mut tasks.rng(), Now::START);
                let (sender, streams) = queue(100);
                network.lock().insert(address(number), sender);
                let rng = tasks.rng();
                tasks.spawn(serve(router.clone(), streams, tasks.clock(), rng));
                router
            })
            .collect();
        let (pool, events, mailbox) = SmpPool::new(Capacity::default());
        let options = |session: &SessionKey| {
            let mut options = SmpOptions::to(&session.router)?;
            options.session.max_in_flight = IN_FLIGHT;
            Ok(options)
        };
        let rng = tasks.rng();
        let machine = Pool::new(Config::default());
        let driven = drive_pool(machine, network.clone(), options, mailbox, rng);
        Self {
            ended: tasks.spawn(driven),
            tasks,
            network,
            routers,
            pool,
            events: Some(events),
        }
    }

    fn session(&self, router: usize) -> SessionKey {
        let address = address(router);
        let hosts = vec![address.ip().to_string().parse().unwrap()];
        let identity = self.routers[router].credentials().key_hash();
        SessionKey {
            user: UserId(1),
            router: ServerAddress::new(hosts.try_into().unwrap(), Some(address.port()), identity),
            scope: None,
        }
    }

    fn settle(&mut self) {
        assert_eq!(self.tasks.run(1_000_000), Settled::Idle);
    }

    fn until<T>(&mut self, task: &Task<T>) -> T {
        loop {
            if let Some(outcome) = task.take() {
                return outcome;
            }
            self.tasks.run(100);
        }
    }
}

/// Runs all connections of a router.
async fn serve(router: SmpRouter, mut streams: Receiver<Duplex>, clock: SimClock, mut rng: Rng) {
    let issued = router.credentials();
    let (chain, key) = (
        crate::crypto::certificate::Chain::clone(&issued.chain),
        SigningKey::clone(&issued.leaf_key),
    );
    let credentials = Credentials::new(chain, key).unwrap();
    let mut options = ServerOptions::new(credentials);
    options.protocols = vec!["smp/1"];
    let tls = Arc::new(ServerConfig::new(options).unwrap());
    let mut connections = Futures::new();
    let mut number = 0_u32;
    poll_fn(|cx| {
        while let Poll::Ready(stream) = streams.poll_next(cx) {
            let Some(stream) = stream else {
                return Poll::Ready(());
            };
            let (config, of_server) = (router.config(), rng.fork());
            let server = Tls::server(&tls, clock.now(), rng.fork(), move |facts, now| {
                Server::secured(config, facts, of_server, now)
            });
            let seat = router.seat();
            let connection = drive(server, stream, clock.clone(), seat, Policy::ROUTER);
            number += 1;
            connections.insert(number, connection);
        }
        while connections.poll(cx).is_some() {}
        Poll::Pending
    })
    .await;
}

#[derive(Clone)]
struct Routers {
    clock: SimClock,
    listening: Arc<Mutex<BTreeMap<SocketAddr, Sender<Duplex>>>>,
}

impl Routers {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<SocketAddr, Sender<Duplex>>> {
        self.listening.lock().unwrap()
    }
}

impl Network for Routers {
    type Stream = Duplex;
    type Clock = SimClock;

    fn clock(&self) -> SimClock {
        self.clock.clone()
    }

    async fn resolve(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        Err(io::ErrorKind::NotFound.into())
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Duplex> {
        let rng = Rng::from_seed([7; 32]);
        let (near, far) = duplex(&self.clock, rng, &Link::WAN, 100_000);
        let listening = self.lock();
        let router = listening
            .get(&address)
            .ok_or(io::ErrorKind::ConnectionRefused)?;
        router.push(far).unwrap();
        Ok(near)
    }
}
