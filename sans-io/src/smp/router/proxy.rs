//! The proxy role of a router: commands of clients, forwarded to relays, as a machine above the [`Pool`](crate::smp::pool::Pool).
//!
//! ```text
//!              PRXY: PING                 Connected                PONG: PKEY
//!   ┌─────────┐ ─────────▶ ┌─────────┐ ─────────────▶ ┌───────┐ ───────────────▶ the client
//!   │ Unknown │            │ Waiting │                │ Known │ ◀── PFWD ─────── the client
//!   └─────────┘ ◀───────── └─────────┘                └───────┘ ─── RFWD ──────▶ the relay
//!        ▲       no answer: PROXY BROKER …                │
//!        └──────────────── Disconnected ──────────────────┘
//! ```
//! One session with each relay serves all clients. The proxy sees neither queues nor messages: it takes off one layer and puts on
//! another.
//!
//! ```
//! use simplex_sans_io::machine::Machine;
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::smp::pool::Call;
//! use simplex_sans_io::smp::router::proxy::{Action, Input, Proxy};
//! use simplex_sans_io::smp::router::{ProxyRequest, Ticket};
//! use simplex_sans_io::time::Now;
//!
//! let relay = "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im".parse()?;
//! let mut proxy = Proxy::new(Vec::new(), Rng::from_seed([7; 32]));
//!
//! // A client asks for a session: the relay is asked whether it is there.
//! proxy.handle(Now::START, Input::Ask(Ticket(1), ProxyRequest::Session(relay)))?;
//! assert!(matches!(proxy.poll(), Some(Action::Pool(Call::Send { .. }))));
//! # assert!(proxy.poll().is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use super::{Counters, ProxyRequest, Ticket};
use crate::crypto::x25519;
use crate::machine::{Actions, Machine};
use crate::rng::Rng;
use crate::smp::client::{Established, Request, RequestError, RequestId, Response};
use crate::smp::error::{BrokerError, HandshakeError, NetworkError, TransportError};
use crate::smp::message::CertificateChain;
use crate::smp::pool::{self, PoolError, SessionKey, UserId};
use crate::smp::proxy::{Forwarded, ForwardedResponse};
use crate::smp::version::PROXIED;
use crate::smp::{BrokerMessage, Command, ErrorType, ProxyError};
use crate::time::{Instant, Now};
use crate::wire::{CorrId, EntityId, Large, ServerAddress, SmpScheme};

/// How long a relay may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the proxy role takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A client asks.
    Ask(Ticket, ProxyRequest),
    /// The sessions with relays tell something.
    Pool(pool::Event),
}

/// What the proxy role asks its driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Pass this to the sessions with relays.
    Pool(pool::Call),
    /// Answer the client.
    Answer(Ticket, BrokerMessage),
}

type RelayAddress = ServerAddress<SmpScheme>;

/// A session with a relay that is there.
#[derive(Debug, Clone)]
struct Known {
    /// What clients are told, and the secret for what is forwarded; or why the relay cannot be used.
    usable: Result<Box<Usable>, TransportError>,
    session_id: EntityId,
}

#[derive(Debug, Clone)]
struct Usable {
    key: BrokerMessage,
    secret: x25519::SharedSecret,
}

#[derive(Debug, Clone)]
enum Asked {
    Session(Ticket, RelayAddress),
    Forward {
        ticket: Ticket,
        relay: RelayAddress,
        secret: x25519::SharedSecret,
        rfwd: CorrId,
        client: CorrId,
    },
}

/// The proxy role of a router. See the [module](self).
#[derive(Debug, Clone)]
pub struct Proxy {
    own_domains: Vec<String>,
    rng: Rng,
    relays: BTreeMap<RelayAddress, Known>,
    sessions: BTreeMap<EntityId, RelayAddress>,
    asked: BTreeMap<RequestId, Asked>,
    next: u64,
    counters: Counters,
    actions: Actions<Action>,
}

impl Proxy {
    /// The role of a router whose operator has other routers in these domains.
    #[must_use]
    pub fn new(own_domains: Vec<String>, rng: Rng) -> Self {
        Self {
            own_domains,
            rng,
            relays: BTreeMap::new(),
            sessions: BTreeMap::new(),
            asked: BTreeMap::new(),
            next: 0,
            counters: Counters::default(),
            actions: Actions::default(),
        }
    }

    /// What was counted since this was asked last; nothing if nothing was.
    pub fn take_counters(&mut self) -> Option<Box<Counters>> {
        let counters = std::mem::take(&mut self.counters);
        (counters != Counters::default()).then(|| Box::new(counters))
    }

    fn ask(&mut self, ticket: Ticket, request: ProxyRequest) {
        match request {
            ProxyRequest::Session(relay) => self.session(ticket, relay),
            ProxyRequest::Forward {
                session_id,
                forwarded,
            } => self.forward(ticket, &session_id, *forwarded),
        }
    }

    fn session(&mut self, ticket: Ticket, relay: RelayAddress) {
        self.count(Kind::Session, &relay, Count::Request);
        match self.relays.get(&relay) {
            Some(known) => {
                let usable = known.usable.clone();
                self.answer_session(ticket, &relay, usable);
            }
            None => {
                let asked = Asked::Session(ticket, relay.clone());
                self.send(asked, relay, Command::Ping, None);
            }
        }
    }

    fn answer_session(
        &mut self,
        ticket: Ticket,
        relay: &RelayAddress,
        usable: Result<Box<Usable>, TransportError>,
    ) {
        match usable {
            Ok(usable) => {
                self.count(Kind::Session, relay, Count::Success);
                self.actions.push(Action::Answer(ticket, usable.key));
            }
            Err(error) => {
                let error = BrokerError::Transport { error };
                self.fail(ticket, Kind::Session, relay, ProxyError::Broker { error });
            }
        }
    }

    fn forward(&mut self, ticket: Ticket, session_id: &EntityId, forwarded: Forwarded) {
        let relay = self.sessions.get(session_id).cloned();
        let known = relay.and_then(|relay| Some((self.relays.get(&relay)?, relay)));
        let Some((Ok(usable), relay)) = known.map(|(known, relay)| (known.usable.as_ref(), relay))
        else {
            let error = ProxyError::NoSession;
            return self
                .actions
                .push(Action::Answer(ticket, proxy_error(error)));
        };
        let secret = usable.secret.clone();
        self.count(Kind::Message, &relay, Count::Request);
        let rfwd = CorrId::from(self.rng.bytes::<24>());
        let encrypted = forwarded.encrypt(&secret, &rfwd);
        let asked = Asked::Forward {
            ticket,
            relay: relay.clone(),
            secret,
            rfwd: rfwd.clone(),
            client: forwarded.corr_id,
        };
        self.send(asked, relay, Command::Rfwd { encrypted }, Some(rfwd));
    }

    fn send(
        &mut self,
        asked: Asked,
        relay: RelayAddress,
        command: Command,
        corr_id: Option<CorrId>,
    ) {
        self.next = self.next.wrapping_add(1);
        let id = RequestId(self.next);
        self.asked.insert(id, asked);
        let request = Request {
            corr_id,
            ..Request::new(id, EntityId::EMPTY, command).within(TIMEOUT)
        };
        self.actions.push(Action::Pool(pool::Call::Send {
            session: session_key(relay),
            requests: vec![request],
        }));
    }

    fn told(&mut self, event: pool::Event) {
        match event {
            pool::Event::Connected {
                session,
                established,
            } => self.connected(session.router, &established),
            pool::Event::Disconnected { session, .. } => {
                if let Some(known) = self.relays.remove(&session.router) {
                    self.sessions.remove(&known.session_id);
                }
            }
            pool::Event::Response { request, result } => {
                if let Some(asked) = self.asked.remove(&request) {
                    self.answered(asked, result);
                }
            }
            // Nothing is subscribed to, and nobody waits for what comes late.
            pool::Event::Late { .. }
            | pool::Event::Subscribed { .. }
            | pool::Event::NotSubscribed { .. }
            | pool::Event::ServiceSubscribed { .. }
            | pool::Event::ServiceNotSubscribed { .. }
            | pool::Event::Message { .. } => {}
        }
    }

    fn connected(&mut self, relay: RelayAddress, established: &Established) {
        let usable = usable(established).map(Box::new);
        let session_id = EntityId::from(established.session.id.clone());
        self.sessions.insert(session_id.clone(), relay.clone());
        self.relays.insert(relay, Known { usable, session_id });
    }

    fn answered(&mut self, asked: Asked, result: Result<Response, PoolError>) {
        match asked {
            Asked::Session(ticket, relay) => {
                let known = self.relays.get(&relay).map(|known| known.usable.clone());
                match (result, known) {
                    (Ok(_), Some(usable)) => self.answer_session(ticket, &relay, usable),
                    (Err(error), _) => {
                        self.fail(ticket, Kind::Session, &relay, failure(error));
                    }
                    (Ok(_), None) => {
                        let error = failure(PoolError::Request(RequestError::Disconnected));
                        self.fail(ticket, Kind::Session, &relay, error);
                    }
                }
            }
            Asked::Forward {
                ticket,
                relay,
                secret,
                rfwd,
                client,
            } => match forwarded(result, &secret, &rfwd, &client) {
                Ok(response) => {
                    self.count(Kind::Message, &relay, Count::Success);
                    let encrypted = response.encrypted;
                    let message = BrokerMessage::PRes { encrypted };
                    self.actions.push(Action::Answer(ticket, message));
                }
                Err(Failure::Proxy(error)) => self.fail(ticket, Kind::Message, &relay, error),
                Err(Failure::Crypto(error)) => {
                    self.count(Kind::Message, &relay, Count::Other);
                    self.actions
                        .push(Action::Answer(ticket, BrokerMessage::Err(error)));
                }
            },
        }
    }

    fn fail(&mut self, ticket: Ticket, kind: Kind, relay: &RelayAddress, error: ProxyError) {
        let count = match &error {
            ProxyError::Broker {
                error: BrokerError::Transport { .. },
            } => Count::Compat,
            ProxyError::Broker {
                error: BrokerError::Network { .. } | BrokerError::Timeout | BrokerError::Host,
            } => Count::Connect,
            ProxyError::Broker { .. }
            | ProxyError::Protocol { .. }
            | ProxyError::BasicAuth
            | ProxyError::NoSession => Count::Other,
        };
        self.count(kind, relay, count);
        self.actions
            .push(Action::Answer(ticket, proxy_error(error)));
    }

    fn count(&mut self, kind: Kind, relay: &RelayAddress, count: Count) {
        let own = relay.hosts().first().is_some_and(|host| {
            let host = host.to_string();
            self.own_domains
                .iter()
                .any(|domain| is_within(&host, domain))
        });
        let counters = &mut self.counters;
        let (all, of_own) = match (kind, count) {
            (Kind::Session, Count::Request) => (
                &mut counters.relay_sessions_requests,
                &mut counters.relay_sessions_own_requests,
            ),
            (Kind::Session, Count::Success) => (
                &mut counters.relay_sessions_successes,
                &mut counters.relay_sessions_own_successes,
            ),
            (Kind::Session, Count::Connect) => (
                &mut counters.relay_sessions_connect,
                &mut counters.relay_sessions_own_connect,
            ),
            (Kind::Session, Count::Compat) => (
                &mut counters.relay_sessions_compat,
                &mut counters.relay_sessions_own_compat,
            ),
            (Kind::Session, Count::Other) => (
                &mut counters.relay_sessions_other,
                &mut counters.relay_sessions_own_other,
            ),
            (Kind::Message, Count::Request) => (
                &mut counters.relay_messages_requests,
                &mut counters.relay_messages_own_requests,
            ),
            (Kind::Message, Count::Success) => (
                &mut counters.relay_messages_successes,
                &mut counters.relay_messages_own_successes,
            ),
            (Kind::Message, Count::Connect) => (
                &mut counters.relay_messages_connect,
                &mut counters.relay_messages_own_connect,
            ),
            (Kind::Message, Count::Compat) => (
                &mut counters.relay_messages_compat,
                &mut counters.relay_messages_own_compat,
            ),
            (Kind::Message, Count::Other) => (
                &mut counters.relay_messages_other,
                &mut counters.relay_messages_own_other,
            ),
        };
        *all = all.saturating_add(1);
        if own {
            *of_own = of_own.saturating_add(1);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Session,
    Message,
}

#[derive(Debug, Clone, Copy)]
enum Count {
    Request,
    Success,
    Connect,
    Compat,
    Other,
}

/// Why a forwarded command has no response.
enum Failure {
    Proxy(ProxyError),
    Crypto(ErrorType),
}

fn is_within(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn session_key(router: RelayAddress) -> SessionKey {
    SessionKey {
        user: UserId(0),
        router,
        scope: None,
    }
}

fn usable(established: &Established) -> Result<Usable, TransportError> {
    const NO_AUTH: TransportError = TransportError::NoServerAuth;
    let versions = PROXIED
        .intersection(established.versions)
        .ok_or(TransportError::Version)?;
    let router = established.router.as_ref().ok_or(NO_AUTH)?;
    let secret = established.secret.as_ref().ok_or(NO_AUTH)?;
    let certificates = router.chain.certificates();
    let certificates: Result<Vec<_>, _> = certificates
        .map(|certificate| Large::try_from(certificate.as_der().clone()))
        .collect();
    let chain = certificates
        .ok()
        .and_then(|certificates| CertificateChain::try_from(certificates).ok())
        .ok_or(TransportError::Handshake {
            error: HandshakeError::Parse,
        })?;
    let key = BrokerMessage::PKey {
        session_id: established.session.id.clone(),
        versions,
        chain,
        signed_key: router.signed_key.clone(),
    };
    let secret = secret.shared().clone();
    Ok(Usable { key, secret })
}

fn forwarded(
    result: Result<Response, PoolError>,
    secret: &x25519::SharedSecret,
    rfwd: &CorrId,
    client: &CorrId,
) -> Result<ForwardedResponse, Failure> {
    let unexpected = || {
        let error = BrokerError::Unexpected {
            error: "forwarded response".into(),
        };
        Failure::Proxy(ProxyError::Broker { error })
    };
    match result {
        Ok(Response::Forwarded(encrypted)) => {
            match ForwardedResponse::decrypt(secret, rfwd, &encrypted) {
                Ok(response) if response.corr_id == *client => Ok(response),
                Ok(_) => Err(unexpected()),
                Err(error) => Err(Failure::Crypto(error)),
            }
        }
        Ok(_) => Err(unexpected()),
        Err(error) => Err(Failure::Proxy(failure(error))),
    }
}

/// `reference/smp.md` 5.10.
fn failure(error: PoolError) -> ProxyError {
    let error = match error {
        PoolError::Request(RequestError::Protocol(error)) => {
            let error = Box::new(error);
            return ProxyError::Protocol { error };
        }
        PoolError::Request(RequestError::Unparsable(error)) => BrokerError::Response {
            error: error.to_string().as_str().into(),
        },
        PoolError::Request(RequestError::Unexpected(name)) => {
            BrokerError::Unexpected { error: name.into() }
        }
        PoolError::Request(RequestError::TimedOut) => BrokerError::Timeout,
        PoolError::Unreachable(error) => error,
        PoolError::Relay(error) => BrokerError::Transport { error },
        PoolError::Request(RequestError::TooLarge) => BrokerError::Transport {
            error: TransportError::LargeMsg,
        },
        PoolError::Request(RequestError::NoSessionKey) => BrokerError::Transport {
            error: TransportError::NoServerAuth,
        },
        PoolError::Request(RequestError::Version(_)) => BrokerError::Transport {
            error: TransportError::Version,
        },
        PoolError::Request(
            RequestError::Disconnected | RequestError::NotAccepted | RequestError::NoService,
        )
        | PoolError::Busy
        | PoolError::Ended => BrokerError::Network {
            error: NetworkError::default(),
        },
    };
    ProxyError::Broker { error }
}

const fn proxy_error(error: ProxyError) -> BrokerMessage {
    BrokerMessage::Err(ErrorType::Proxy { error })
}

impl Machine for Proxy {
    type Input<'a> = Input;
    type Action = Action;
    type Error = Infallible;

    fn handle(&mut self, _: Now, input: Input) -> Result<(), Infallible> {
        self.actions.begin();
        match input {
            Input::Ask(ticket, request) => self.ask(ticket, request),
            Input::Pool(event) => self.told(event),
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.next()
    }

    /// The pool has the timers.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{AuthPrivateKey, ed25519};
    use crate::sim::world::World;
    use crate::smp::client::{self, Event};
    use crate::smp::handshake::Peer;
    use crate::smp::pool::Pool;
    use crate::smp::proxy::RelaySession;
    use crate::smp::router::{Action as RouterAction, ConnId};
    use crate::smp::{MsgFlags, NewQueue, QueueRequest, SubscriptionMode};
    use bytes::Bytes;
    use std::sync::Arc;

    #[test]
    fn what_is_wrong_with_a_relay_is_told_as_an_error_of_its_transport() {
        for (error, told) in [
            (RequestError::TooLarge, TransportError::LargeMsg),
            (RequestError::NoSessionKey, TransportError::NoServerAuth),
        ] {
            let error = failure(PoolError::Request(error));
            assert!(
                matches!(error, ProxyError::Broker { error: BrokerError::Transport { error } } if error == told)
            );
        }
    }

    /// A router that is its own relay.
    struct Script {
        world: World,
        proxy: Proxy,
        pool: Pool,
        sessions: BTreeMap<pool::ConnId, ConnId>,
        relay: RelayAddress,
        client: ConnId,
        reachable: bool,
        next: u64,
    }

    impl Script {
        fn new() -> Self {
            let mut world = World::new(5);
            let address = format!(
                "smp://{}@relay.own.example",
                world.credentials().fingerprint()
            );
            Self {
                proxy: Proxy::new(vec!["own.example".into()], Rng::from_seed([5; 32])),
                pool: Pool::new(pool::Config::default()),
                sessions: BTreeMap::new(),
                relay: address.parse().unwrap(),
                client: world.connect(),
                reachable: true,
                next: 0,
                world,
            }
        }

        fn execute(&mut self, request: Request) -> Result<Response, RequestError> {
            self.next += 1;
            let id = RequestId(self.next);
            self.world
                .send(self.client, vec![Request { id, ..request }]);
            self.run();
            let events = self.world.events(self.client);
            let response = events.into_iter().find_map(|event| match event {
                Event::Response { request, result } if request == id => Some(result),
                _ => None,
            });
            response.expect("a response")
        }

        /// Passes everything on until nobody has anything to say.
        fn run(&mut self) {
            loop {
                let mut inputs: Vec<_> = std::mem::take(&mut self.world.asked)
                    .into_iter()
                    .map(|asked| match asked {
                        RouterAction::Proxy(ticket, _, request) => Input::Ask(ticket, request),
                        other => panic!("{other:?}"),
                    })
                    .collect();
                for (connection, client) in self.sessions.clone() {
                    for event in self.world.events(client) {
                        let input = pool::Input::Conn(connection, event);
                        inputs.extend(self.pool(input));
                    }
                }
                if inputs.is_empty() {
                    return;
                }
                for input in inputs {
                    self.give(input);
                }
            }
        }

        fn give(&mut self, input: Input) {
            let Ok(()) = self.proxy.handle(self.world.now, input);
            let actions: Vec<_> = std::iter::from_fn(|| self.proxy.poll()).collect();
            for action in actions {
                match action {
                    Action::Answer(ticket, message) => self.world.answer(ticket, message),
                    Action::Pool(call) => {
                        for input in self.pool(pool::Input::Command(call)) {
                            self.give(input);
                        }
                    }
                }
            }
        }

        fn pool(&mut self, input: pool::Input) -> Vec<Input> {
            let Ok(()) = self.pool.handle(self.world.now, input);
            let mut told = Vec::new();
            let actions: Vec<_> = std::iter::from_fn(|| self.pool.poll()).collect();
            for action in actions {
                match action {
                    pool::Action::Connect(connection, _) if self.reachable => {
                        let mut config = client::Config::new(self.world.credentials().key_hash());
                        config.handshake.peer = Peer::Proxy;
                        let client = self.world.connect_with(config);
                        self.sessions.insert(connection, client);
                    }
                    pool::Action::Connect(connection, _) => {
                        told.extend(
                            self.pool(pool::Input::Closed(connection, BrokerError::Timeout)),
                        );
                    }
                    pool::Action::Call(connection, client::Call::Send(requests)) => {
                        self.world.send(self.sessions[&connection], requests);
                    }
                    pool::Action::Call(_, client::Call::Close) => {}
                    pool::Action::Disconnect(connection) => {
                        self.world.disconnect(self.sessions[&connection]);
                    }
                    pool::Action::Event(event) => told.push(Input::Pool(*event)),
                }
            }
            told
        }

        fn session(&mut self) -> Result<Arc<RelaySession>, RequestError> {
            let relay = self.relay.clone();
            let prxy = Command::Prxy {
                relay,
                password: None,
            };
            match self.execute(request(EntityId::EMPTY, prxy))? {
                Response::Relay(relay) => {
                    let verifier = |_: &crate::crypto::certificate::Chain| true;
                    let key_hash = self.world.credentials().key_hash();
                    let session = RelaySession::new(
                        &key_hash,
                        relay.session_id,
                        relay.versions,
                        &relay.chain,
                        &relay.signed_key,
                        &verifier,
                    );
                    Ok(Arc::new(session.unwrap()))
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn request(entity_id: EntityId, command: Command) -> Request {
        Request::new(RequestId(0), entity_id, command)
    }

    fn send(body: &'static [u8]) -> Command {
        Command::Send {
            flags: MsgFlags {
                notification: false,
            },
            body: Bytes::from_static(body),
        }
    }

    #[test]
    fn a_message_reaches_its_queue_through_a_proxy() {
        let mut script = Script::new();
        let mut rng = Rng::from_seed([8; 32]);
        let key = Arc::new(AuthPrivateKey::from(ed25519::PrivateKey::generate(
            &mut rng,
        )));
        let new = NewQueue {
            auth_key: key.public_key(),
            dh_key: x25519::PrivateKey::generate(&mut rng).public_key(),
            password: None,
            subscription: SubscriptionMode::OnlyCreate,
            request: Some(QueueRequest::Messaging(None)),
            notifier: None,
        };
        let new = request(EntityId::EMPTY, Command::New(Box::new(new)));
        let Ok(Response::Queue(ids)) = script.execute(new.authorized_by(key)) else {
            panic!()
        };
        let session = script.session().unwrap();
        let sender_key = Arc::new(AuthPrivateKey::from(x25519::PrivateKey::generate(&mut rng)));
        let to_relay = |command| {
            request(ids.sender_id.clone(), command)
                .authorized_by(Arc::clone(&sender_key))
                .via(Arc::clone(&session))
        };
        let skey = to_relay(Command::SKey(sender_key.public_key()));
        assert_eq!(script.execute(skey), Ok(Response::Done));
        assert_eq!(script.execute(to_relay(send(b"hi"))), Ok(Response::Done));
        assert_eq!(script.world.router.gauges().messages, 1);
        let prohibited = to_relay(Command::Sub);
        assert!(script.execute(prohibited).is_err());

        assert_eq!(script.world.router.counters().forwarded_received, 3);
        let counters = script.proxy.take_counters().unwrap();
        assert_eq!(counters.relay_sessions_successes, 1);
        assert_eq!(counters.relay_sessions_own_successes, 1);
        assert_eq!(counters.relay_messages_own_requests, 3);
        assert_eq!(counters.relay_messages_own_successes, 3);
        assert_eq!(script.proxy.take_counters(), None);
    }

    #[test]
    fn a_relay_that_cannot_be_reached_is_named_and_a_session_that_was_lost_is_gone() {
        let mut script = Script::new();
        script.reachable = false;
        let broker = |error| ErrorType::Proxy {
            error: ProxyError::Broker { error },
        };
        let unreachable = RequestError::Protocol(broker(BrokerError::Timeout));
        assert_eq!(script.session().unwrap_err(), unreachable);
        let counters = script.proxy.take_counters().unwrap();
        assert_eq!(counters.relay_sessions_own_connect, 1);

        script.reachable = true;
        script.world.now = script.world.now + Duration::from_secs(31);
        let session = script.session().unwrap();
        let (connection, _) = script.sessions.pop_first().unwrap();
        let closed = pool::Input::Closed(connection, BrokerError::Timeout);
        for input in script.pool(closed) {
            script.give(input);
        }
        let lost = request(EntityId::from([1; 24]), send(b"lost")).via(session);
        let no_session = ErrorType::Proxy {
            error: ProxyError::NoSession,
        };
        assert_eq!(
            script.execute(lost),
            Err(RequestError::Protocol(no_session))
        );
        let counters = script.proxy.take_counters().unwrap();
        assert_eq!(counters.relay_messages_own_requests, 0);
    }
}
