//! A pool of sessions, whose owner asks for anything and whose connections do anything that clients may do.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::choices::Choices;
use super::clockwork::Clockwork;
use super::session::Keys;
use crate::crypto::certificate::SignedKey;
use crate::crypto::{Algorithm, x25519};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::sim::identity::Credentials;
use crate::sim::{Direction, Trace};
use crate::smp::client::{self, Established, Relay, Request, RequestError, RequestId, Response};
use crate::smp::error::{BrokerError, ErrorType, ProxyError};
use crate::smp::handshake::Service;
use crate::smp::pool::{
    Action, Call, Config, ConnId, Counts, Event, Input, Pool, PoolError, SessionKey,
    SubscriberRole, Subscription, SubscriptionError, UserId,
};
use crate::smp::version::PROXIED;
use crate::smp::{BrokerMessage, CertificateChain, Command, ServiceQueues};
use crate::time::Instant;
use crate::wire::{EntityId, Id, KeyHash, Large, NonEmpty, ServerAddress, SmpScheme};

/// Every request is answered once; the subscriptions are those that the owner wants; when nothing fails any more all of them become
/// active; and when the owner wants nothing any more, nothing is left.
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let mut run = Run::new(choices.byte(), trace);
    let mut steps = 0_u16;
    while let Some((kind, small)) = choices.next()
        && steps < MAX_STEPS
    {
        steps = steps.saturating_add(1);
        run.step(kind, small.into(), choices);
    }
    run.heal();
    run.end();
}

const MAX_STEPS: u16 = 512;
/// How many sessions these runs know, one more than a pool may have.
const SESSIONS: u8 = 4;

struct Run<'t> {
    pool: Pool,
    clock: Clockwork,
    /// The connections that the pool has opened, and that have not ended.
    connections: BTreeMap<ConnId, Connection>,
    /// Those that have ended.
    ended: Vec<ConnId>,
    requests: BTreeMap<RequestId, Asked>,
    next_request: u64,
    sessions: BTreeMap<SessionKey, Wanted>,
    trace: &'t mut Trace,
}

/// A connection, as its driver sees it.
struct Connection {
    session: SessionKey,
    stage: Stage,
    /// What the router has yet to answer.
    asked: Vec<Request>,
    /// What was said to have timed out.
    timed_out: Vec<Request>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Established,
}

/// What the owner wants of a session.
#[derive(Debug, Default)]
struct Wanted {
    queues: BTreeSet<EntityId>,
    /// Those that it was told to be active, and nothing else since.
    active: BTreeSet<EntityId>,
    /// When subscriptions have failed last, and are to be tried again.
    failed: BTreeMap<EntityId, Instant>,
    service: Option<SubscriberRole>,
    service_active: bool,
}

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Waiting,
    Answered,
    TimedOut,
    AnsweredLate,
}

impl<'t> Run<'t> {
    fn new(manner: u8, trace: &'t mut Trace) -> Self {
        let config = Config {
            persist_error: match manner & 1 {
                0 => Duration::from_secs(30),
                _ => Duration::ZERO,
            },
            // Small limits are reached.
            max_waiting: 3,
            max_sessions: 3,
            verify_chain: |_, _| true,
            ..Config::default()
        };
        Self {
            pool: Pool::new(config),
            clock: Clockwork::default(),
            connections: BTreeMap::new(),
            ended: Vec::new(),
            requests: BTreeMap::new(),
            next_request: 0,
            sessions: BTreeMap::new(),
            trace,
        }
    }

    fn step(&mut self, kind: u8, small: usize, choices: &mut Choices<'_>) {
        match kind {
            0 => self.send(small, choices),
            1 => self.subscribe(small, choices),
            2 => self.establish(small, choices),
            3 => self.respond(small, choices),
            4 => self.close(small, choices),
            5 => self.wait(choices.duration()),
            6 => self.unsubscribe(choices),
            7 => self.forward(choices),
            8 => self.message(small, choices),
            9 => self.disconnect(choices),
            10 => {
                let wanted = self.sessions.values_mut();
                wanted.for_each(|wanted| wanted.failed.clear());
                self.give(Input::Command(Call::NetworkChanged));
            }
            11 => self.subscribe_service(choices),
            12 => self.unsubscribe_service(choices),
            13 => self.late(small),
            14 => self.stale(small),
            15 => self.give(Input::Timeout),
            16 => {
                self.clock.go_back(choices.duration());
                self.give(Input::Timeout);
            }
            17 => {
                self.clock.advance(choices.duration());
                self.give(Input::Timeout);
            }
            _ => {}
        }
    }

    fn request(&mut self, choices: &mut Choices<'_>) -> Request {
        let id = RequestId(self.next_request);
        self.next_request = self.next_request.saturating_add(1);
        self.requests.insert(id, Asked::Waiting);
        Request::new(id, queue(choices), Command::Get)
    }

    fn send(&mut self, count: usize, choices: &mut Choices<'_>) {
        let session = session(choices);
        let requests = (0..=count).map(|_| self.request(choices)).collect();
        self.give(Input::Command(Call::Send { session, requests }));
    }

    fn forward(&mut self, choices: &mut Choices<'_>) {
        let proxy = session(choices);
        let relay = KnownRelay::get().address(choices.coin());
        let request = Box::new(self.request(choices));
        self.give(Input::Command(Call::Forward {
            proxy,
            relay,
            password: None,
            request,
        }));
    }

    fn subscribe(&mut self, count: usize, choices: &mut Choices<'_>) {
        let session = session(choices);
        let Some(key) = Keys::all().get(0) else {
            return;
        };
        let subscriptions: Vec<_> = (0..=count)
            .map(|_| Subscription {
                queue: queue(choices),
                role: match choices.coin() {
                    false => SubscriberRole::Recipient,
                    true => SubscriberRole::Notifier,
                },
                key: Arc::clone(key),
            })
            .collect();
        let wanted = self.sessions.entry(session.clone()).or_default();
        for subscription in &subscriptions {
            wanted.queues.insert(subscription.queue.clone());
            wanted.active.remove(&subscription.queue);
            wanted.failed.remove(&subscription.queue);
        }
        self.give(Input::Command(Call::Subscribe {
            session,
            subscriptions,
        }));
    }

    fn unsubscribe(&mut self, choices: &mut Choices<'_>) {
        let (session, queue) = (session(choices), queue(choices));
        self.wanted(&session).forget(&queue);
        let queues = vec![queue];
        self.give(Input::Command(Call::Unsubscribe { session, queues }));
    }

    fn subscribe_service(&mut self, choices: &mut Choices<'_>) {
        let session = session(choices);
        let role = SubscriberRole::Recipient;
        let wanted = self.wanted(&session);
        (wanted.service, wanted.service_active) = (Some(role), false);
        let queues = ServiceQueues::default();
        self.give(Input::Command(Call::SubscribeService {
            session,
            role,
            queues,
        }));
    }

    fn unsubscribe_service(&mut self, choices: &mut Choices<'_>) {
        let session = session(choices);
        let wanted = self.wanted(&session);
        (wanted.service, wanted.service_active) = (None, false);
        self.give(Input::Command(Call::UnsubscribeService { session }));
    }

    fn disconnect(&mut self, choices: &mut Choices<'_>) {
        let session = session(choices);
        *self.wanted(&session) = Wanted::default();
        self.give(Input::Command(Call::Disconnect { session }));
    }

    /// A connection, by its place among those that are there.
    fn connection(&self, index: usize) -> Option<ConnId> {
        self.connections.keys().nth(index).copied()
    }

    fn establish(&mut self, index: usize, choices: &mut Choices<'_>) {
        if let Some(id) = self.connection(index)
            && let Some(connection) = self.connections.get_mut(&id)
            && connection.stage == Stage::Connecting
        {
            connection.stage = Stage::Established;
            let established = established(choices.coin());
            let event = client::Event::Established(Box::new(established));
            self.give(Input::Conn(id, event));
        }
    }

    /// The router answers something that it was asked.
    fn respond(&mut self, index: usize, choices: &mut Choices<'_>) {
        let Some(id) = self.connection(index) else {
            return;
        };
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let asked = choices.below(connection.asked.len().max(1));
        if asked >= connection.asked.len() {
            return;
        }
        let asked = connection.asked.remove(asked);
        let result = match choices.below(8) {
            0 => Err(RequestError::TimedOut),
            1 => Err(RequestError::NotAccepted),
            2 => Err(RequestError::Protocol(ErrorType::Auth)),
            3 => Err(RequestError::Protocol(ErrorType::Proxy {
                error: ProxyError::NoSession,
            })),
            4 => Ok(Response::Pong),
            5 => KnownRelay::get().response(),
            _ => fitting(&asked),
        };
        if result == Err(RequestError::TimedOut) {
            connection.timed_out.push(asked.clone());
        }
        self.answer(id, asked, result);
    }

    fn answer(&mut self, id: ConnId, asked: Request, result: Result<Response, RequestError>) {
        let request = asked.id;
        self.give(Input::Conn(id, client::Event::Response { request, result }));
    }

    /// A response comes after its time-out.
    fn late(&mut self, index: usize) {
        let id = self.connection(index);
        let connection = id.and_then(|id| Some((id, self.connections.get_mut(&id)?)));
        if let Some((id, connection)) = connection
            && let Some(asked) = connection.timed_out.pop()
        {
            let (request, result) = (asked.id, fitting(&asked));
            self.give(Input::Conn(id, client::Event::Late { request, result }));
        }
    }

    fn close(&mut self, index: usize, choices: &mut Choices<'_>) {
        let Some(id) = self.connection(index) else {
            return;
        };
        // A client answers what waits before it closes; a connection that just breaks does not.
        if choices.coin()
            && let Some(connection) = self.connections.get_mut(&id)
        {
            for asked in std::mem::take(&mut connection.asked) {
                self.answer(id, asked, Err(RequestError::Disconnected));
            }
        }
        self.connections.remove(&id);
        self.ended.push(id);
        self.give(Input::Closed(id, BrokerError::Timeout));
    }

    /// The router says something unasked.
    fn message(&mut self, index: usize, choices: &mut Choices<'_>) {
        let Some(id) = self.connection(index) else {
            return;
        };
        let connection = self.connections.get(&id);
        let Some(connection) = connection.filter(|c| c.stage == Stage::Established) else {
            return;
        };
        let (session, entity_id) = (connection.session.clone(), queue(choices));
        let wanted = self.wanted(&session);
        let message = match choices.below(5) {
            0 => {
                wanted.forget(&entity_id);
                BrokerMessage::End
            }
            1 => {
                wanted.forget(&entity_id);
                BrokerMessage::Deld
            }
            2 => {
                (wanted.service, wanted.service_active) = (None, false);
                BrokerMessage::Ends(ServiceQueues::default())
            }
            3 => {
                let event = client::Event::Unexpected(ErrorType::Block);
                return self.give(Input::Conn(id, event));
            }
            _ => BrokerMessage::Msg {
                id: entity_id.clone(),
                body: "hello".into(),
            },
        };
        let event = client::Event::Message { entity_id, message };
        self.give(Input::Conn(id, event));
    }

    /// Something that was on its way when the connection ended.
    fn stale(&mut self, index: usize) {
        if let Some(id) = self.ended.iter().rev().nth(index).copied() {
            let established = Box::new(established(false));
            self.give(Input::Conn(id, client::Event::Established(established)));
            self.give(Input::Closed(id, BrokerError::Timeout));
        }
    }

    /// Time passes, and the pool is woken exactly when it wants to be.
    fn wait(&mut self, duration: Duration) {
        let until = self.clock.now().instant + duration;
        let mut wakes = 0_u8;
        while let Some(deadline) = self.pool.deadline()
            && deadline <= until
            && wakes < 64
        {
            self.clock.reach(deadline);
            self.give(Input::Timeout);
            wakes = wakes.saturating_add(1);
        }
        self.clock.reach(until);
    }

    fn wanted(&mut self, session: &SessionKey) -> &mut Wanted {
        self.sessions.entry(session.clone()).or_default()
    }

    fn give(&mut self, input: Input) {
        let now = self.clock.tell();
        let what = format_args!("{input:?}");
        self.trace
            .record(now.instant, "pool", Direction::Input, what);
        let timeout = input == Input::Timeout;
        let Ok(()) = self.pool.handle(now, input);
        while let Some(action) = self.pool.poll() {
            let what = format_args!("{action:?}");
            self.trace
                .record(now.instant, "pool", Direction::Action, what);
            self.act(action);
        }
        if timeout {
            let deadline = self.pool.deadline();
            assert!(deadline.is_none_or(|deadline| deadline > self.clock.latest()));
        }
        self.check();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect(id, session) => {
                let mut others = self.connections.values();
                assert!(
                    others.all(|other| other.session != *session),
                    "two connections for one session"
                );
                assert!(!self.ended.contains(&id), "a connection that is used twice");
                let connection = Connection {
                    session: *session,
                    stage: Stage::Connecting,
                    asked: Vec::new(),
                    timed_out: Vec::new(),
                };
                assert!(self.connections.insert(id, connection).is_none());
            }
            Action::Call(id, call) => self.called(id, call),
            Action::Disconnect(id) => {
                let known = self.connections.remove(&id);
                assert!(known.is_some(), "the end of a connection that is not there");
                self.ended.push(id);
            }
            Action::Event(event) => self.told(*event),
        }
    }

    fn called(&mut self, id: ConnId, call: client::Call) {
        let connection = self.connections.get_mut(&id);
        assert!(
            connection.is_some(),
            "a call for a connection that has gone"
        );
        let (Some(connection), client::Call::Send(requests)) = (connection, call) else {
            return;
        };
        assert_eq!(connection.stage, Stage::Established);
        let wanted = self.sessions.entry(connection.session.clone());
        let failed = &wanted.or_default().failed;
        for request in &requests {
            if matches!(request.command, Command::Sub | Command::NSub) {
                let at = failed.get(&request.entity_id);
                let now = self.clock.latest();
                assert!(at.is_none_or(|at| *at < now), "tried again without a pause");
            }
        }
        connection.asked.extend(requests);
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::Connected { session, .. } => {
                self.wanted(&session).failed.clear();
            }
            Event::Disconnected { session, queues } => {
                let wanted = self.wanted(&session);
                let were_active = std::mem::take(&mut wanted.active);
                assert_eq!(queues, were_active.into_iter().collect::<Vec<_>>());
                wanted.failed.clear();
                wanted.service_active = false;
            }
            Event::Response { request, result } => {
                let becomes = match result {
                    Err(PoolError::Request(RequestError::TimedOut)) => Asked::TimedOut,
                    Ok(_) | Err(_) => Asked::Answered,
                };
                let was = self.requests.insert(request, becomes);
                assert_eq!(was, Some(Asked::Waiting), "one response to {request:?}");
            }
            Event::Late { request, .. } => {
                let was = self.requests.insert(request, Asked::AnsweredLate);
                assert_eq!(was, Some(Asked::TimedOut), "late response to {request:?}");
            }
            Event::Subscribed { session, queue, .. } => {
                let wanted = self.wanted(&session);
                assert!(wanted.queues.contains(&queue), "nobody wants it");
                wanted.active.insert(queue);
            }
            Event::NotSubscribed {
                session,
                queue,
                error,
            } => {
                let now = self.clock.latest();
                let wanted = self.wanted(&session);
                assert!(wanted.queues.contains(&queue), "nobody wants it");
                match error {
                    SubscriptionError::Temporary(_) => {
                        wanted.active.remove(&queue);
                        wanted.failed.insert(queue, now);
                    }
                    SubscriptionError::Permanent(_) => wanted.forget(&queue),
                }
            }
            Event::ServiceSubscribed { session, .. } => {
                let wanted = self.wanted(&session);
                assert!(wanted.service.is_some(), "nobody wants it");
                wanted.service_active = true;
            }
            Event::ServiceNotSubscribed { session, error } => {
                let wanted = self.wanted(&session);
                wanted.service_active = false;
                if matches!(error, SubscriptionError::Permanent(_)) {
                    wanted.service = None;
                }
            }
            Event::Message { .. } => {}
        }
    }

    fn check(&self) {
        for (session, wanted) in &self.sessions {
            let active = wanted.active.len();
            let expected = Counts {
                active,
                pending: wanted.queues.len().saturating_sub(active),
            };
            assert_eq!(self.pool.subscriptions(session), expected);
        }
    }

    /// Nothing fails any more.
    fn heal(&mut self) {
        let mut rounds = 0_u16;
        while self.heal_something() {
            rounds = rounds.saturating_add(1);
            assert!(rounds < 5000, "a pool that does not come to rest");
        }
        let waiting = |asked: &&Asked| **asked == Asked::Waiting;
        assert_eq!(self.requests.values().filter(waiting).count(), 0);
        for wanted in self.sessions.values() {
            assert_eq!(wanted.active, wanted.queues, "all are active in the end");
            assert_eq!(wanted.service_active, wanted.service.is_some());
        }
    }

    fn heal_something(&mut self) -> bool {
        let connecting = |connection: &Connection| connection.stage == Stage::Connecting;
        let mut connections = self.connections.iter();
        if let Some(index) = connections.position(|(_, c)| connecting(c)) {
            self.establish(index, &mut Choices::new(&[1]));
            return true;
        }
        let mut connections = self.connections.iter_mut();
        let asked = connections.find_map(|(id, c)| Some((*id, c.asked.pop()?)));
        if let Some((id, asked)) = asked {
            let result = fitting(&asked);
            self.answer(id, asked, result);
            return true;
        }
        if let Some(deadline) = self.pool.deadline() {
            self.clock.reach(deadline);
            self.give(Input::Timeout);
            return true;
        }
        false
    }

    /// The owner wants nothing any more.
    fn end(mut self) {
        for session in (0..SESSIONS).map(session_of) {
            self.sessions.remove(&session);
            self.give(Input::Command(Call::Disconnect { session }));
        }
        assert!(self.connections.is_empty(), "connections that nobody needs");
        assert_eq!(self.pool.deadline(), None);
    }
}

impl Wanted {
    fn forget(&mut self, queue: &EntityId) {
        self.queues.remove(queue);
        self.active.remove(queue);
        self.failed.remove(queue);
    }
}

fn session(choices: &mut Choices<'_>) -> SessionKey {
    let name = choices.byte().checked_rem(SESSIONS);
    session_of(name.unwrap_or(0))
}

/// Sessions of two users with two routers.
fn session_of(name: u8) -> SessionKey {
    SessionKey {
        user: UserId((name & 1).into()),
        router: address("router.example", KeyHash::from([name >> 1; 32])),
        scope: None,
    }
}

fn address(host: &str, key_hash: KeyHash) -> ServerAddress<SmpScheme> {
    let host = host.parse().unwrap_or(crate::wire::TransportHost::Ipv4(
        std::net::Ipv4Addr::LOCALHOST,
    ));
    ServerAddress::new(NonEmpty::one(host), None, key_hash)
}

fn queue(choices: &mut Choices<'_>) -> EntityId {
    EntityId::from([choices.byte() & 7; 24])
}

fn established(service: bool) -> Established {
    let session = crate::smp::transmission::Session {
        version: PROXIED.max(),
        id: Id::EMPTY,
    };
    let service = service.then(|| {
        let mut rng = Rng::from_seed([4; 32]);
        Service {
            id: EntityId::from([9; 24]),
            role: crate::smp::handshake::ServiceRole::Messaging,
            fingerprint: crate::crypto::certificate::Fingerprint::from_bytes([9; 32]),
            key: crate::crypto::ed25519::PrivateKey::generate(&mut rng),
        }
    });
    Established {
        session,
        versions: PROXIED,
        router: None,
        secret: None,
        service,
        chains: None,
    }
}

/// The response of a router that works.
#[expect(clippy::wildcard_enum_match_arm, reason = "no others are sent here")]
fn fitting(asked: &Request) -> Result<Response, RequestError> {
    match &asked.command {
        Command::Sub | Command::NSub => Ok(Response::Subscribed { service_id: None }),
        Command::Subs(queues) => Ok(Response::ServiceSubscribed(queues.clone())),
        Command::Prxy { .. } => KnownRelay::get().response(),
        _ => Ok(Response::Done),
    }
}

/// A relay that proxies have sessions with.
struct KnownRelay {
    key_hash: KeyHash,
    relay: Option<Relay>,
}

impl KnownRelay {
    fn get() -> &'static Self {
        static RELAY: OnceLock<KnownRelay> = OnceLock::new();
        RELAY.get_or_init(|| {
            let mut rng = Rng::from_seed([5; 32]);
            let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
            Self {
                key_hash: credentials.key_hash(),
                relay: Self::relay(&credentials, &mut rng),
            }
        })
    }

    fn relay(credentials: &Credentials, rng: &mut Rng) -> Option<Relay> {
        let key = x25519::PrivateKey::generate(rng).public_key();
        let signed = SignedKey::sign(key, &credentials.leaf_key).to_der();
        let certificates = credentials.chain.certificates();
        let certificates = certificates.map(|c| Large::try_from(c.as_der().clone()));
        let chain: Result<Vec<_>, _> = certificates.collect();
        Some(Relay {
            session_id: Id::EMPTY,
            versions: PROXIED,
            chain: CertificateChain::try_from(chain.ok()?).ok()?,
            signed_key: Large::try_from(signed.as_slice()).ok()?,
        })
    }

    /// Its address, or that of another one that claims to be it.
    fn address(&self, genuine: bool) -> ServerAddress<SmpScheme> {
        let key_hash = match genuine {
            true => self.key_hash.clone(),
            false => KeyHash::from([0; 32]),
        };
        address("relay.example", key_hash)
    }

    fn response(&self) -> Result<Response, RequestError> {
        let relay = self.relay.clone().ok_or(RequestError::TimedOut)?;
        Ok(Response::Relay(Box::new(relay)))
    }
}
