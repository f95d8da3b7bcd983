//! Sessions with many routers, as a machine.
//!
//! ```text
//!              a request or a subscription          Established
//!   ┌──────┐ ───────────────────────────▶ ┌────────────┐ ─────▶ ┌───────────┐
//!   │ Idle │                              │ Connecting │        │ Connected │
//!   └──────┘ ◀─────────────────────────── └────────────┘ ◀───┐  └───────────┘
//!      ▲       Closed, no subscriptions          │           │        │ Closed
//!      │                                         │ Closed    │        ▼
//!      │                                         ▼           │  subscriptions: Backoff, else Idle
//!      │         last subscription removed  ┌─────────┐ time │
//!      └─────────────────────────────────── │ Backoff │ ─────┘
//!                                           └─────────┘
//! ```
//! There is one session for each [`SessionKey`]. It is connected when something needs it, and again after it was lost as long as it has
//! subscriptions: the service first, then the queues in chunks, the next when the router has answered. What has failed for now is asked
//! for again after a pause. Requests wait for the connection
//! and fail with it; they are never repeated, because what was executed is not known. Commands for relays are forwarded through a
//! session that a proxy has with them; one that the proxy has lost is made anew once.
//!
//! The machine does not see bytes: its driver runs a [`Client`](super::client::Client) for each [`Action::Connect`], passes calls to it,
//! and passes its events back.
//!
//! ```
//! use simplex_sans_io::machine::Machine;
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::smp::Command;
//! use simplex_sans_io::smp::client::{Request, RequestError, RequestId};
//! use simplex_sans_io::smp::error::BrokerError;
//! use simplex_sans_io::smp::pool::{Action, Call, Config, Event, Input, Pool, PoolError, SessionKey, UserId};
//! use simplex_sans_io::time::Now;
//! use simplex_sans_io::wire::EntityId;
//!
//! let router = "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im".parse()?;
//! let session = SessionKey { user: UserId(1), router, scope: None };
//! let mut pool = Pool::new(Config::default());
//!
//! // A request makes the pool connect.
//! let request = Request::new(RequestId(1), EntityId::EMPTY, Command::Ping);
//! pool.handle(Now::START, Input::Command(Call::Send { session: session.clone(), requests: vec![request] }))?;
//! let Some(Action::Connect(connection, _)) = pool.poll() else { panic!() };
//! assert_eq!(pool.poll(), None);
//!
//! // It cannot be reached: the request fails, and so do others for a while.
//! pool.handle(Now::START, Input::Closed(connection, BrokerError::Timeout))?;
//! let failed = Event::Response { request: RequestId(1), result: Err(PoolError::Unreachable(BrokerError::Timeout)) };
//! assert_eq!(pool.poll(), Some(Action::Event(Box::new(failed))));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod backoff;
mod relays;
mod session;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::BytesMut;

pub(crate) use self::backoff::Backoff;
pub use self::backoff::RetryInterval;
pub use self::subscriptions::{Counts, SubscriberRole, Subscription};

use self::relays::{Attempt, Forward};
use self::session::{Out, Session};
use super::client::{self, Request, RequestError, RequestId, Response};
use super::error::{BrokerError, TransportError};
use super::{BrokerMessage, ServiceQueues};
use crate::crypto::certificate::Chain;
use crate::machine::{Actions, Machine};
use crate::time::{Instant, Latest, Now, UnixTime};
use crate::wire::{BasicAuth, EntityId, Parsed, ServerAddress, SmpScheme, Source, Version, Wire};

/// How a pool keeps its sessions.
#[derive(Debug, Clone)]
pub struct Config {
    /// How long a connection may take, until commands are welcome.
    pub connect_timeout: Duration,
    /// The time between attempts to connect.
    pub retry: RetryInterval,
    /// For how long a router that could not be reached, or a relay, is not tried again for a request; zero: not at all.
    pub persist_error: Duration,
    /// How many requests may wait for the connection of a session.
    pub max_waiting: usize,
    /// How many sessions there may be; a request that would need one more is refused.
    pub max_sessions: usize,
    /// Whether the chain of a relay is valid. [`RelaySession`](super::proxy::RelaySession) checks its identity besides.
    pub verify_chain: fn(&Chain, UnixTime) -> bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(45),
            retry: RetryInterval::default(),
            persist_error: Duration::from_secs(30),
            max_waiting: 4096,
            max_sessions: 10_000,
            verify_chain: Chain::is_valid,
        }
    }
}

/// Functions cannot be compared: they are taken for the same.
impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            connect_timeout,
            retry,
            persist_error,
            max_waiting,
            max_sessions,
            verify_chain: _,
        } = self;
        *connect_timeout == other.connect_timeout
            && *retry == other.retry
            && *persist_error == other.persist_error
            && *max_waiting == other.max_waiting
            && *max_sessions == other.max_sessions
    }
}

impl Eq for Config {}

/// For whom a session is held: sessions of different users are never shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(pub i64);

impl Wire for UserId {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        i64::parse(source, input).map(|(input, id)| (input, Self(id)))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.0.put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
impl crate::wire::Sample for UserId {
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> Self {
        Self(i64::sample(version, rng))
    }
}

/// What a session is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// The user.
    pub user: UserId,
    /// The router.
    pub router: ServerAddress<SmpScheme>,
    /// What has a session of its own, where each queue or connection is to have one.
    pub scope: Option<EntityId>,
}

/// A connection that the driver opens. It is never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What a pool takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The owner wants something done.
    Command(Call),
    /// A connection tells something.
    Conn(ConnId, client::Event),
    /// A connection has ended, or never began.
    Closed(ConnId, BrokerError),
    /// The deadline has passed.
    Timeout,
}

/// What the owner of a pool wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Send these requests to the router of a session.
    Send {
        /// The session.
        session: SessionKey,
        /// The requests: their routes are direct.
        requests: Vec<Request>,
    },
    /// Send a request to a relay, through the router of a session as its proxy.
    Forward {
        /// The session with the proxy.
        proxy: SessionKey,
        /// The relay.
        relay: ServerAddress<SmpScheme>,
        /// The password of the proxy.
        password: Option<BasicAuth>,
        /// The request.
        request: Box<Request>,
    },
    /// Keep these subscriptions.
    Subscribe {
        /// The session.
        session: SessionKey,
        /// The queues.
        subscriptions: Vec<Subscription>,
    },
    /// Keep the subscription of the session's service to all its queues.
    SubscribeService {
        /// The session.
        session: SessionKey,
        /// What the service receives.
        role: SubscriberRole,
        /// The queues that the service knows of.
        queues: ServiceQueues,
    },
    /// Keep these subscriptions no longer. The router is not told.
    Unsubscribe {
        /// The session.
        session: SessionKey,
        /// The queues.
        queues: Vec<EntityId>,
    },
    /// Keep the service's subscription no longer.
    UnsubscribeService {
        /// The session.
        session: SessionKey,
    },
    /// End a session and forget its subscriptions.
    Disconnect {
        /// The session.
        session: SessionKey,
    },
    /// The network has changed: what waits to be tried again is tried now.
    NetworkChanged,
    /// There is no network: sessions end, and nothing is tried for the sake of subscriptions before
    /// [`NetworkChanged`](Self::NetworkChanged).
    NetworkLost,
}

/// What a pool asks its driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Open a connection for this session. Its end, or its failure, is an [`Input::Closed`].
    Connect(ConnId, Box<SessionKey>),
    /// Pass this to the client of the connection.
    Call(ConnId, client::Call),
    /// End the connection: nothing more is expected from it.
    Disconnect(ConnId),
    /// Tell the owner.
    Event(Box<Event>),
}

/// What the owner of a pool is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A session is established.
    Connected {
        /// The session.
        session: SessionKey,
        /// What is known of it, among it the id that the router has given to the service.
        established: Box<client::Established>,
    },
    /// A session has ended.
    Disconnected {
        /// The session.
        session: SessionKey,
        /// The subscriptions that were active; they are made again.
        queues: Vec<EntityId>,
    },
    /// The response to a request.
    Response {
        /// The request.
        request: RequestId,
        /// Its response.
        result: Result<Response, PoolError>,
    },
    /// The response to a request that has timed out before.
    Late {
        /// The request.
        request: RequestId,
        /// Its response.
        result: Result<Response, PoolError>,
    },
    /// A queue is subscribed to.
    Subscribed {
        /// The session.
        session: SessionKey,
        /// The queue.
        queue: EntityId,
        /// The service that it is associated with.
        service_id: Option<EntityId>,
    },
    /// A queue is not subscribed to.
    NotSubscribed {
        /// The session.
        session: SessionKey,
        /// The queue.
        queue: EntityId,
        /// Why, and whether it is tried again.
        error: SubscriptionError,
    },
    /// A service is subscribed to all its queues.
    ServiceSubscribed {
        /// The session.
        session: SessionKey,
        /// The queues that the service knows of.
        expected: ServiceQueues,
        /// The queues that the router knows of.
        actual: ServiceQueues,
    },
    /// A service is not subscribed to its queues.
    ServiceNotSubscribed {
        /// The session.
        session: SessionKey,
        /// Why. After [`SubscriptionError::Permanent`] the queues are to be subscribed to one by one.
        error: SubscriptionError,
    },
    /// What a router says unasked. END and DELD have removed the subscription.
    Message {
        /// The session.
        session: SessionKey,
        /// What it is about.
        entity_id: EntityId,
        /// What it says.
        message: BrokerMessage,
    },
}

/// Why a request has no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// The session has none.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The router cannot be reached.
    #[error("the router cannot be reached: {0}")]
    Unreachable(BrokerError),
    /// The proxy has no session with the relay, or one that cannot be trusted.
    #[error("the relay cannot be used: {0}")]
    Relay(TransportError),
    /// Too many requests wait already.
    #[error("too many requests wait for the router")]
    Busy,
    /// The owner has ended the session.
    #[error("the session was ended")]
    Ended,
}

/// Why a queue is not subscribed to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    /// It is tried again.
    #[error("{0}; it is tried again")]
    Temporary(RequestError),
    /// It is not: the subscription is forgotten.
    #[error("{0}")]
    Permanent(RequestError),
}

impl From<RequestError> for SubscriptionError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::TimedOut | RequestError::Disconnected | RequestError::NotAccepted => {
                Self::Temporary(error)
            }
            RequestError::Protocol(_)
            | RequestError::Unparsable(_)
            | RequestError::Unexpected(_)
            | RequestError::TooLarge
            | RequestError::NoSessionKey
            | RequestError::NoService
            | RequestError::Version(_) => Self::Permanent(error),
        }
    }
}

/// Sessions with many routers. See the [module](self) for their states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    config: Config,
    sessions: BTreeMap<SessionKey, Session>,
    connections: BTreeMap<ConnId, SessionKey>,
    next_connection: u64,
    next_request: u64,
    deadlines: BTreeSet<(Instant, SessionKey)>,
    latest: Latest,
    actions: Actions<Action>,
}

impl Pool {
    /// A pool without sessions.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            sessions: BTreeMap::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            next_request: 0,
            deadlines: BTreeSet::new(),
            latest: Latest::default(),
            actions: Actions::default(),
        }
    }

    /// The subscriptions of a session.
    #[must_use]
    pub fn subscriptions(&self, session: &SessionKey) -> Counts {
        self.sessions
            .get(session)
            .map(Session::subscriptions)
            .unwrap_or_default()
    }

    fn call(&mut self, now: Now, call: Call) {
        match call {
            Call::Send { session, requests } if self.is_full_for(&session) => {
                for request in requests {
                    self.refuse(request.id);
                }
            }
            Call::Forward { proxy, request, .. } if self.is_full_for(&proxy) => {
                self.refuse(request.id);
            }
            Call::Send { session, requests } => {
                self.with(&session, |session, out| {
                    session.send(now, requests, out);
                });
            }
            Call::Forward {
                proxy,
                relay,
                password,
                request,
            } => {
                let forward = Forward {
                    relay,
                    password,
                    request: *request,
                    attempt: Attempt::First,
                };
                self.with(&proxy, |session, out| {
                    session.forward(now, forward, out);
                });
            }
            Call::Subscribe {
                session,
                subscriptions,
            } => {
                self.with(&session, |session, out| {
                    session.subscribe(now, subscriptions, out);
                });
            }
            Call::SubscribeService {
                session,
                role,
                queues,
            } => {
                self.with(&session, |session, out| {
                    session.subscribe_service(now, role, queues, out);
                });
            }
            Call::Unsubscribe { session, queues } => {
                self.with_known(&session, |session, _| session.unsubscribe(&queues));
            }
            Call::UnsubscribeService { session } => {
                self.with_known(&session, |session, _| session.unsubscribe_service());
            }
            Call::Disconnect { session } => {
                self.with_known(&session, |session, out| session.end(out));
            }
            Call::NetworkChanged => {
                let sessions: Vec<_> = self.sessions.keys().cloned().collect();
                for key in sessions {
                    self.with_known(&key, |session, out| session.network_changed(now, out));
                }
            }
            Call::NetworkLost => {
                let sessions: Vec<_> = self.sessions.keys().cloned().collect();
                for key in sessions {
                    self.with_known(&key, |session, out| session.network_lost(now, out));
                }
            }
        }
    }

    fn is_full_for(&self, session: &SessionKey) -> bool {
        self.sessions.len() >= self.config.max_sessions && !self.sessions.contains_key(session)
    }

    fn refuse(&mut self, request: RequestId) {
        let result = Err(PoolError::Busy);
        self.actions
            .push(Action::Event(Box::new(Event::Response { request, result })));
    }

    fn timeout(&mut self, now: Now) {
        while let Some((deadline, key)) = self.deadlines.first().cloned()
            && deadline <= now.instant
        {
            self.with_known(&key, |session, out| session.timeout(now, out));
        }
    }

    /// Works on a session, which is made if there is none.
    fn with(&mut self, key: &SessionKey, work: impl FnOnce(&mut Session, &mut Out<'_>)) {
        self.sessions
            .entry(key.clone())
            .or_insert_with(|| Session::new(key.clone()));
        self.with_known(key, work);
    }

    /// Works on a session, if there is one. A session that nothing is left of is forgotten.
    fn with_known(&mut self, key: &SessionKey, work: impl FnOnce(&mut Session, &mut Out<'_>)) {
        let Some(session) = self.sessions.get_mut(key) else {
            return;
        };
        if let Some(deadline) = session.deadline() {
            self.deadlines.remove(&(deadline, key.clone()));
        }
        let mut out = Out {
            config: &self.config,
            actions: &mut self.actions,
            connections: &mut self.connections,
            next_connection: &mut self.next_connection,
            next_request: &mut self.next_request,
        };
        work(session, &mut out);
        if let Some(deadline) = session.deadline() {
            self.deadlines.insert((deadline, key.clone()));
        }
        if session.is_forgettable() {
            self.sessions.remove(key);
        }
    }
}

impl Machine for Pool {
    type Input<'a> = Input;
    type Action = Action;
    type Error = std::convert::Infallible;

    fn handle(&mut self, now: Now, input: Input) -> Result<(), Self::Error> {
        self.actions.begin();
        let now = self.latest.at(now);
        match input {
            Input::Command(call) => self.call(now, call),
            Input::Conn(connection, event) => {
                if let Some(key) = self.connections.get(&connection).cloned() {
                    self.with_known(&key, |session, out| {
                        session.told(now, connection, event, out);
                    });
                }
            }
            Input::Closed(connection, error) => {
                if let Some(key) = self.connections.remove(&connection) {
                    self.with_known(&key, |session, out| {
                        session.closed(now, connection, &error, out);
                    });
                }
            }
            Input::Timeout => self.timeout(now),
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.next()
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}
