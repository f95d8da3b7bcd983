//! A run: clients, faults and time, as a seed says.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::Routers;
use super::model::{Promised, SessionAt, There};
use super::operation::{CLIENTS, Operation, QUEUES, ROUTERS};
use crate::crypto::certificate::Chain;
use crate::crypto::{Algorithm, AuthPrivateKey, x25519};
use crate::rng::Rng;
use crate::sim::script::Queue;
use crate::sim::{Direction, Trace};
use crate::smp::client::{Event, Request, RequestError, RequestId, Response};
use crate::smp::proxy::RelaySession;
use crate::smp::router::{Config, ConnId, Expiration};
use crate::smp::{
    BrokerMessage, Command, ErrorType, MsgFlags, MsgId, NewQueue, QueueRequest, SubscriptionMode,
};
use crate::wire::EntityId;

const QUOTA: u64 = 6;
const TTL: Duration = Duration::from_secs(7200);
const STEPS: usize = 300;

/// What was seen in a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Queues that were created.
    pub queues: u64,
    /// Messages that were acknowledged to their senders.
    pub acknowledged: u64,
    /// Messages that were delivered.
    pub delivered: u64,
    /// Messages that a proxy has forwarded.
    pub forwarded: u64,
    /// How often a router lost power.
    pub crashes: u64,
}

impl Seen {
    /// Adds what was seen in another run.
    pub fn add(&mut self, other: &Self) {
        self.queues = self.queues.saturating_add(other.queues);
        self.acknowledged = self.acknowledged.saturating_add(other.acknowledged);
        self.delivered = self.delivered.saturating_add(other.delivered);
        self.forwarded = self.forwarded.saturating_add(other.forwarded);
        self.crashes = self.crashes.saturating_add(other.crashes);
    }
}

/// Lets clients do as this seed says, and checks what they are told.
pub fn run(seed: u64, trace: &mut Trace) -> Seen {
    let mut run = Run::new(seed, trace);
    for number in 0..STEPS {
        let operation = Operation::draw(&mut run.rng).on(run.queues.len());
        run.record(Direction::Input, format_args!("{number}: {operation:?}"));
        run.step(operation);
    }
    run.finish();
    run.record(Direction::Action, format_args!("{:?}", run.seen.clone()));
    run.seen
}

/// What a client waits for.
#[derive(Debug, Clone)]
enum Asked {
    Create {
        client: usize,
    },
    Relay {
        client: usize,
        proxy: usize,
        relay: usize,
    },
    Send {
        queue: usize,
        number: u32,
        through: Option<usize>,
    },
    Subscribe {
        queue: usize,
    },
    Acknowledge {
        queue: usize,
        number: Option<u32>,
    },
    Delete {
        queue: usize,
    },
}

struct Creating {
    key: Arc<AuthPrivateKey>,
    dh: x25519::PrivateKey,
}

#[derive(Default)]
struct Client {
    /// Its sessions, by router.
    sessions: BTreeMap<usize, ConnId>,
    /// Its sessions with relays, by proxy and relay.
    relays: BTreeMap<(usize, usize), Arc<RelaySession>>,
}

struct Run<'a> {
    trace: &'a mut Trace,
    routers: Routers,
    rng: Rng,
    clients: Vec<Client>,
    queues: Vec<Promised>,
    creating: BTreeMap<RequestId, Creating>,
    asked: BTreeMap<(SessionAt, RequestId), Asked>,
    /// The same, after they have given up.
    late: BTreeMap<(SessionAt, RequestId), Asked>,
    next: u64,
    /// Queues that clients have asked for.
    attempts: u64,
    seen: Seen,
}

impl<'a> Run<'a> {
    fn new(seed: u64, trace: &'a mut Trace) -> Self {
        let config = Config {
            message_quota: QUOTA,
            message_expiration: Some(Expiration {
                ttl: TTL,
                check: Duration::from_secs(600),
            }),
            cache: 3,
            ..Config::default()
        };
        Self {
            trace,
            routers: Routers::new(ROUTERS, seed, &config),
            rng: crate::sim::rng(seed ^ 0x5eed),
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            queues: Vec::new(),
            creating: BTreeMap::new(),
            asked: BTreeMap::new(),
            late: BTreeMap::new(),
            next: 0,
            attempts: 0,
            seen: Seen::default(),
        }
    }

    fn record(&mut self, direction: Direction, what: fmt::Arguments<'_>) {
        let now = self.routers.now().instant;
        self.trace.record(now, "clients", direction, what);
    }

    /// The second before which what was sent may have expired.
    fn expired_before(&self) -> i64 {
        let ttl = i64::try_from(TTL.as_secs()).expect("short");
        self.routers.now().unix.seconds() - ttl
    }

    fn step(&mut self, operation: Operation) {
        match operation {
            Operation::Create { client, router } => self.create(client, router),
            Operation::Send { client, queue } => self.send(client, queue, None),
            Operation::SendThrough {
                client,
                queue,
                proxy,
            } => self.send(client, queue, Some(proxy)),
            Operation::Subscribe { client, queue } => {
                self.recipient(client, queue, Command::Sub, Asked::Subscribe { queue });
            }
            Operation::Acknowledge { queue } => self.acknowledge(queue),
            Operation::Delete { client, queue } => {
                if let Some(queue) = self.queues.get_mut(queue)
                    && queue.there == There::Promised
                {
                    queue.there = There::Unknown;
                    // Who deletes a queue wants no more of it, also if the disk refuses.
                    queue.subscriber = None;
                }
                self.recipient(client, queue, Command::Del, Asked::Delete { queue });
            }
            Operation::Sync { router, count } => {
                // Now and then the disk is as quick as it can be.
                let count = if count > 9 { usize::MAX } else { count };
                self.routers.world(router).sync(count);
            }
            Operation::Forward { router } => self.routers.forward(router),
            Operation::Reconnect { client, router } => self.disconnect(client, router),
            Operation::Crash { router } => self.crash(router),
            Operation::Fail { router } => {
                self.routers.world(router).fail();
                self.forget_confirmations(router);
                // What is confirmed in this step may not be stored.
                self.settle();
                self.forget_confirmations(router);
            }
            Operation::Part { router, relay } => self.routers.part(router, relay),
            Operation::Join { router, relay } => self.routers.join(router, relay),
            Operation::Pass { milliseconds } => {
                self.routers.pass(Duration::from_millis(milliseconds));
            }
        }
        self.settle();
    }

    // What clients do

    fn session(&mut self, client: usize, router: usize) -> SessionAt {
        if let Some(connection) = self.clients[client].sessions.get(&router) {
            return (router, *connection);
        }
        let connection = self.routers.world(router).connect();
        self.clients[client].sessions.insert(router, connection);
        (router, connection)
    }

    fn ask(&mut self, at: SessionAt, request: Request, asked: Asked) {
        self.asked.insert((at, request.id), asked);
        self.routers.world(at.0).send(at.1, vec![request]);
    }

    fn request(&mut self, entity: &EntityId, command: Command) -> Request {
        self.next += 1;
        Request::new(RequestId(self.next), entity.clone(), command).within(Duration::from_secs(60))
    }

    fn create(&mut self, client: usize, router: usize) {
        if self.queues.len() + self.creating.len() >= QUEUES {
            return;
        }
        let at = self.session(client, router);
        let key = AuthPrivateKey::generate(Algorithm::X25519, &mut self.rng).expect("X25519");
        let key = Arc::new(key);
        let dh = x25519::PrivateKey::generate(&mut self.rng);
        let new = NewQueue {
            auth_key: key.public_key(),
            dh_key: dh.public_key(),
            password: None,
            subscription: SubscriptionMode::OnlyCreate,
            request: Some(QueueRequest::Messaging(None)),
            notifier: None,
        };
        let request = self.request(&EntityId::EMPTY, Command::New(Box::new(new)));
        let request = request.authorized_by(Arc::clone(&key));
        self.creating.insert(request.id, Creating { key, dh });
        self.attempts += 1;
        self.ask(at, request, Asked::Create { client });
    }

    fn send(&mut self, client: usize, queue: usize, proxy: Option<usize>) {
        let waits = self.asked.iter().any(|((at, _), asked)| {
            let of_client = self.clients[client].sessions.get(&at.0) == Some(&at.1);
            of_client && matches!(asked, Asked::Send { queue: of, .. } if *of == queue)
        });
        let Some(router) = self.queues.get(queue).map(|queue| queue.router) else {
            return;
        };
        // One message after the other: otherwise there is no order.
        if waits {
            return;
        }
        let at = self.session(client, proxy.unwrap_or(router));
        let relay = match proxy {
            None => None,
            Some(proxy) => match self.clients[client].relays.get(&(proxy, router)) {
                Some(relay) => Some(Arc::clone(relay)),
                None => return self.ask_for_relay(client, proxy, router),
            },
        };
        let second = self.routers.now().unix.seconds();
        let number = self.queues[queue].attempt(client, second);
        let sender_id = self.queues[queue].queue.ids.sender_id.clone();
        let command = Command::Send {
            flags: MsgFlags {
                notification: false,
            },
            body: Bytes::copy_from_slice(&number.to_be_bytes()),
        };
        let request = self.request(&sender_id, command);
        let (request, through) = match relay {
            None => (request, None),
            Some(relay) => (request.via(relay), proxy),
        };
        let asked = Asked::Send {
            queue,
            number,
            through,
        };
        self.ask(at, request, asked);
    }

    fn ask_for_relay(&mut self, client: usize, proxy: usize, relay: usize) {
        let at = self.session(client, proxy);
        let command = Command::Prxy {
            relay: self.routers.address(relay),
            password: None,
        };
        let request = self.request(&EntityId::EMPTY, command);
        let asked = Asked::Relay {
            client,
            proxy,
            relay,
        };
        self.ask(at, request, asked);
    }

    fn recipient(&mut self, client: usize, queue: usize, command: Command, asked: Asked) {
        let Some(promised) = self.queues.get(queue) else {
            return;
        };
        let router = promised.router;
        let id = promised.queue.ids.recipient_id.clone();
        let key = Arc::clone(&promised.queue.key);
        let at = self.session(client, router);
        let request = self.request(&id, command).authorized_by(key);
        self.ask(at, request, asked);
    }

    /// The subscriber acknowledges, or somebody who was it before.
    fn acknowledge(&mut self, queue: usize) {
        let Some(promised) = self.queues.get_mut(queue) else {
            return;
        };
        let subscriber = promised
            .subscriber
            .filter(|at| promised.held.contains_key(at));
        let Some(at) = subscriber.or_else(|| promised.held.keys().next().copied()) else {
            return;
        };
        let Some((id, number)) = promised.held.remove(&at) else {
            return;
        };
        let (entity, key) = (
            promised.queue.ids.recipient_id.clone(),
            Arc::clone(&promised.queue.key),
        );
        let request = self.request(&entity, Command::Ack(id)).authorized_by(key);
        self.ask(at, request, Asked::Acknowledge { queue, number });
    }

    // What happens to them

    fn disconnect(&mut self, client: usize, router: usize) {
        if let Some(connection) = self.clients[client].sessions.remove(&router) {
            self.routers.world(router).disconnect(connection);
            self.lost((router, connection));
        }
        self.clients[client]
            .relays
            .retain(|(proxy, _), _| *proxy != router);
    }

    /// Whatever waited on a session is not known.
    fn lost(&mut self, session: SessionAt) {
        for asked in [&mut self.asked, &mut self.late] {
            asked.retain(|(at, request), _| {
                if *at == session {
                    self.creating.remove(request);
                }
                *at != session
            });
        }
        for queue in &mut self.queues {
            queue.subscriber = queue.subscriber.filter(|at| *at != session);
            queue.held.remove(&session);
        }
    }

    fn crash(&mut self, router: usize) {
        self.settle();
        self.routers.crash(router);
        self.seen.crashes += 1;
        for client in 0..CLIENTS {
            if let Some(connection) = self.clients[client].sessions.remove(&router) {
                self.lost((router, connection));
            }
            self.clients[client]
                .relays
                .retain(|(proxy, _), _| *proxy != router);
        }
        self.forget_confirmations(router);
    }

    fn forget_confirmations(&mut self, router: usize) {
        for queue in self
            .queues
            .iter_mut()
            .filter(|queue| queue.router == router)
        {
            queue.forget_confirmations();
        }
    }

    // What they are told

    fn settle(&mut self) {
        for client in 0..CLIENTS {
            for (router, connection) in self.clients[client].sessions.clone() {
                let at = (router, connection);
                for event in self.routers.world(router).events(connection) {
                    match event {
                        Event::Response { request, result } => {
                            let asked = self.asked.remove(&(at, request));
                            let asked = asked.expect("it was asked once");
                            let tag = result.as_ref().map(Response::tag);
                            self.record(Direction::Action, format_args!("{asked:?}: {tag:?}"));
                            if result == Err(RequestError::TimedOut) {
                                self.late.insert((at, request), asked.clone());
                            }
                            self.answered(at, request, asked, result, false);
                        }
                        Event::Late { request, result } => {
                            let asked = self.late.remove(&(at, request));
                            let asked = asked.expect("it was asked once");
                            let tag = result.as_ref().map(Response::tag);
                            self.record(
                                Direction::Action,
                                format_args!("late, {asked:?}: {tag:?}"),
                            );
                            self.answered(at, request, asked, result, true);
                        }
                        Event::Message { entity_id, message } => self.told(at, &entity_id, message),
                        _ => {}
                    }
                }
            }
        }
        for queue in &mut self.queues {
            queue.end_step();
        }
        self.check_bounds();
    }

    fn told(&mut self, at: SessionAt, entity: &EntityId, message: BrokerMessage) {
        let known = self
            .queues
            .iter()
            .position(|queue| queue.router == at.0 && queue.queue.ids.recipient_id == *entity);
        let queue = known.expect("the queue is known");
        match message {
            BrokerMessage::Msg { id, body } => self.delivered(at, queue, id, &body),
            BrokerMessage::End | BrokerMessage::Deld => {
                let queue = &mut self.queues[queue];
                queue.subscriber = queue.subscriber.filter(|subscriber| *subscriber != at);
            }
            _ => {}
        }
    }

    fn delivered(&mut self, at: SessionAt, queue: usize, id: MsgId, body: &Bytes) {
        let expired_before = self.expired_before();
        self.queues[queue].delivered(at, id, body, expired_before);
        let (_, number) = self.queues[queue].held[&at];
        self.record(
            Direction::Action,
            format_args!("queue {queue} delivers {number:?}"),
        );
    }

    fn answered(
        &mut self,
        at: SessionAt,
        request: RequestId,
        asked: Asked,
        result: Result<Response, RequestError>,
        late: bool,
    ) {
        match (asked, result) {
            (Asked::Create { client }, Ok(Response::Queue(ids))) => {
                let creating = self.creating.remove(&request).expect("it is being created");
                let queue = Queue {
                    secret: creating.dh.agree(&ids.dh_key),
                    ids: *ids,
                    sender_key: Arc::clone(&creating.key),
                    key: creating.key,
                };
                self.seen.queues += 1;
                self.queues.push(Promised::new(queue, at.0));
                assert!(client < CLIENTS);
            }
            // Its id comes late, if at all.
            (Asked::Create { .. }, Err(RequestError::TimedOut)) => {}
            (Asked::Create { .. }, Err(_)) => {
                self.creating.remove(&request);
            }
            (
                Asked::Relay {
                    client,
                    proxy,
                    relay,
                },
                Ok(Response::Relay(session)),
            ) => {
                let key_hash = self.routers.world(relay).credentials().key_hash();
                let session = RelaySession::new(
                    &key_hash,
                    session.session_id,
                    session.versions,
                    &session.chain,
                    &session.signed_key,
                    &|_: &Chain| true,
                );
                let session = Arc::new(session.expect("a session of that relay"));
                self.clients[client].relays.insert((proxy, relay), session);
            }
            (
                Asked::Send {
                    queue,
                    number,
                    through,
                },
                Ok(Response::Done),
            ) => {
                self.queues[queue].acknowledged(number, late);
                self.seen.forwarded += u64::from(through.is_some());
            }
            (
                Asked::Send {
                    queue,
                    number,
                    through,
                },
                Err(error),
            ) => {
                let promised = &mut self.queues[queue];
                match error {
                    // What the router of the queue has refused was not stored; what it could not store may be there.
                    RequestError::Protocol(ErrorType::Quota | ErrorType::LargeMsg) => {
                        promised.refused(number);
                    }
                    RequestError::Protocol(ErrorType::Auth) => {
                        assert_ne!(promised.there, There::Promised, "a queue was lost");
                        promised.refused(number);
                    }
                    _ => {
                        // The session with the relay may be gone.
                        for client in &mut self.clients {
                            if through
                                .is_some_and(|proxy| client.sessions.get(&proxy) == Some(&at.1))
                            {
                                client.relays.retain(|(proxy, _), _| *proxy != at.0);
                            }
                        }
                    }
                }
            }
            (Asked::Subscribe { queue }, Ok(Response::Subscribed { .. })) => {
                let promised = &mut self.queues[queue];
                assert_ne!(promised.there, There::Deleted, "it comes back");
                // Who deletes a queue wants no more of it, whatever becomes of that.
                let wanted = promised.there == There::Promised;
                promised.subscriber = wanted.then_some(at);
            }
            (Asked::Subscribe { queue }, Err(RequestError::Protocol(ErrorType::Auth))) => {
                assert_ne!(
                    self.queues[queue].there,
                    There::Promised,
                    "a queue was lost"
                );
            }
            (Asked::Acknowledge { queue, number }, Ok(Response::Message(next))) => {
                if let Some(number) = number {
                    self.queues[queue].confirm(number);
                }
                if let Some((id, body)) = next {
                    self.delivered(at, queue, id, &body);
                }
            }
            (Asked::Delete { queue }, Ok(Response::Done)) => {
                self.queues[queue].there = There::Deleted;
                self.queues[queue].subscriber = None;
            }
            (
                Asked::Relay { .. }
                | Asked::Subscribe { .. }
                | Asked::Acknowledge { .. }
                | Asked::Delete { .. },
                Err(_),
            ) => {}
            (asked, result) => panic!("{asked:?}: {result:?}"),
        }
    }

    // What must hold

    fn check_bounds(&mut self) {
        // Some that a router has created are of clients that have gone before they were told.
        let queues = self.attempts;
        for router in 0..ROUTERS {
            let gauges = self.routers.world(router).router.gauges();
            assert!(gauges.queues <= queues, "{gauges:?}");
            assert!(gauges.messages <= (QUOTA + 1) * queues, "{gauges:?}");
            assert!(gauges.subscriptions <= queues && gauges.delivered <= queues);
            assert!(gauges.cached <= 3 + queues);
            let sessions = u64::try_from(CLIENTS + ROUTERS).expect("few");
            assert!(gauges.clients <= sessions * 2, "{gauges:?}");
            for (id, position) in &self.routers.world(router).store.contents().positions {
                assert!(
                    position.tail - position.head <= QUOTA + 1,
                    "{id:?}: {position:?}"
                );
            }
        }
    }

    /// Nobody waits for a message that is there: not if nothing is on its way.
    fn check_subscriptions(&mut self) {
        for number in 0..self.queues.len() {
            let promised = &self.queues[number];
            let (router, id) = (promised.router, promised.queue.ids.recipient_id.clone());
            let acknowledges =
                self.asked.values().chain(self.late.values()).any(
                    |asked| matches!(asked, Asked::Acknowledge { queue, .. } if *queue == number),
                );
            let Some(subscriber) = promised.subscriber else {
                continue;
            };
            if promised.held.contains_key(&subscriber) || acknowledges {
                continue;
            }
            let contents = self.routers.world(router).store.contents();
            let waits = contents.positions.get(&id).is_some_and(|p| p.head < p.tail);
            assert!(
                !waits,
                "queue {number} has messages, and its subscriber none"
            );
        }
    }

    /// The metrics say what is there, whatever the disk has refused.
    fn check_totals(&mut self) {
        for router in 0..ROUTERS {
            let world = self.routers.world(router);
            let gauges = world.router.gauges();
            let contents = world.store.contents();
            let there = (contents.queues.len(), contents.messages.len());
            let there = (u64::try_from(there.0), u64::try_from(there.1));
            assert_eq!((Ok(gauges.queues), Ok(gauges.messages)), there);
        }
    }

    fn quiet(&mut self) {
        for _ in 0..4 {
            for router in 0..ROUTERS {
                self.routers.world(router).sync(usize::MAX);
                self.routers.forward(router);
                self.settle();
            }
        }
    }

    /// Everything that was promised is there and received.
    fn finish(&mut self) {
        for router in 0..ROUTERS {
            for relay in 0..ROUTERS {
                self.routers.join(router, relay);
            }
        }
        self.quiet();
        self.check_subscriptions();
        self.check_totals();
        for router in 0..ROUTERS {
            self.crash(router);
        }
        self.quiet();
        for queue in 0..self.queues.len() {
            self.recipient(0, queue, Command::Sub, Asked::Subscribe { queue });
            self.quiet();
            let promised = &self.queues[queue];
            match promised.there {
                There::Promised => assert!(promised.subscriber.is_some(), "a queue was lost"),
                There::Deleted => assert!(promised.subscriber.is_none(), "it comes back"),
                There::Unknown => {}
            }
            while !self.queues[queue].held.is_empty() {
                self.acknowledge(queue);
                self.quiet();
            }
            let promised = &self.queues[queue];
            if promised.subscriber.is_some() {
                let lost = promised.lost(self.expired_before());
                assert!(lost.is_empty(), "{promised:?} has lost {lost:?}");
            }
            let (acknowledged, delivered) = promised.counts();
            self.seen.acknowledged += acknowledged;
            self.seen.delivered += delivered;
        }
        assert!(
            self.asked.is_empty(),
            "somebody waits for ever: {:?}",
            self.asked
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_run() {
        for seed in 0..3 {
            let once = || {
                let mut trace = Trace::text();
                let seen = run(seed, &mut trace);
                (seen, trace.lines().to_vec())
            };
            assert_eq!(once(), once());
        }
    }

    #[test]
    fn much_of_what_may_happen_happens() {
        let mut all = Seen::default();
        for seed in 0..20 {
            all.add(&run(seed, &mut Trace::nothing()));
        }
        assert!(all.queues > 80 && all.crashes > 60, "{all:?}");
        assert!(all.acknowledged > 150 && all.delivered > 150, "{all:?}");
        assert!(all.forwarded > 20, "{all:?}");
    }
}
