//! The machine over all connections.
//!
//! ```text
//!   ┌────────┐ Loaded: all pages  ┌────────────┐ all pages  ┌───────┐ all pages  ┌────────────┐ all pages          ┌─────────┐
//!   │ Events │ ─────────────────▶ │ Statistics │ ─────────▶ │ Users │ ─────────▶ │ Unfinished │ ─────────────────▶ │ Running │ ◀─┐ every input
//!   └────────┘ told again         └────────────┘            └───────┘            └────────────┘ connections load   └─────────┘ ──┘
//!                                        commands wait
//!
//!   a connection:   not in memory ── something is for it ──▶ loading ── Loaded ──▶ in memory
//!                         ▲                                                            │
//!                         └────────────── at rest, and others are used more ───────────┘
//! ```
//!
//! ```
//! use simplex_sans_io::agent::config::Config;
//! use simplex_sans_io::agent::store::{Kind, Load};
//! use simplex_sans_io::agent::{Action, Agent, Input};
//! use simplex_sans_io::machine::Machine;
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::time::Now;
//!
//! let mut agent = Agent::new(Config::default(), Rng::from_seed([7; 32]), Now::START);
//! for expected in [Kind::Event, Kind::Statistics, Kind::User, Kind::Work] {
//!     let Some(Action::Load(id, Load::Page { kind, .. })) = agent.poll() else { panic!() };
//!     assert_eq!(kind, expected);
//!     agent.handle(Now::START, Input::Loaded(id, Vec::new()))?;
//! }
//! assert_eq!(agent.poll(), None);
//! assert_eq!(agent.deadline(), None);
//! # Ok::<(), std::convert::Infallible>(())
//! ```

mod asking;
mod commands;
mod events;
mod links;
mod loads;
mod requests;
mod services;
mod statistics;
mod subscriptions;
mod suspension;
mod told;
mod turning;
mod users;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(super) use self::asking::{NameQuestion, RouterTest};
use self::events::KeptEvents;
pub(super) use self::links::OpenLink;
use self::requests::WaitingRequests;
use self::services::Services;
use self::statistics::Statistics;
use self::suspension::Activity;

use crate::agent::command::{Command, NetworkState, Reply, Waiting};
use crate::agent::commands::command_of;
use crate::agent::config::{Config, UserRouter};
use crate::agent::connection::{Caller, Connection, Delivery, Found, Join, Need, Step};
use crate::agent::error::AgentError;
use crate::agent::event::{Event, EventContent};
use crate::agent::id::{CommandId, ConnectionId};
use crate::agent::index::QueueIndex;
use crate::agent::network::{Asked, Purpose as AskedFor};
use crate::agent::store::record;
use crate::agent::store::{Change, Key, Kind, Load, LoadId, OpId, Record};
use crate::agent::turn::{Turn, TurnId, Turned};
use crate::crypto::AuthPrivateKey;
use crate::machine::{Actions, Machine};
use crate::rng::Rng;
use crate::smp::SubscriptionMode;
use crate::smp::client::{RequestId, Response};
use crate::smp::pool::{self, Call, PoolError, SessionKey, UserId};
use crate::time::{Instant, Latest, Now, UnixTime};
use crate::wire::{EntityId, ServerAddress, SmpScheme};

/// What an agent takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The application wants something. The reply has the same id.
    Command(CommandId, Command),
    /// The pool of sessions with routers tells something.
    Network(pool::Event),
    /// This transaction, and all before it, are stored.
    Stored(OpId),
    /// What was asked for.
    Loaded(LoadId, Vec<Record>),
    /// A ratchet has turned.
    Turned(TurnId, Box<Turned>),
    /// The deadline has passed.
    Timeout,
}

/// What an agent asks its driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer a command.
    Reply(CommandId, Result<Reply, AgentError>),
    /// Tell the application.
    Event(Event),
    /// Pass this to the pool of sessions with routers.
    Network(Call),
    /// Store all of this, or nothing. [`Input::Stored`] says that it is.
    Store(OpId, Vec<Change>),
    /// Load this. [`Input::Loaded`] brings it.
    Load(LoadId, Load),
    /// Turn a ratchet, where it disturbs nobody. [`Input::Turned`] brings the result. Only with
    /// [`Turns::ByDriver`](crate::agent::config::Turns::ByDriver).
    Turn(TurnId, Box<Turn>),
}

/// Duplex connections over the queues of routers. See the [module](super) for how it is driven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    shared: Shared,
    connections: BTreeMap<ConnectionId, Entry>,
    loading: BTreeMap<LoadId, Loading>,
    next_load: LoadId,
    turning: BTreeMap<TurnId, (ConnectionId, Delivery)>,
    next_turn: TurnId,
    /// What waits until transactions are stored.
    barrier: BTreeMap<OpId, Vec<Action>>,
    next_op: OpId,
    stored: OpId,
    /// When connections want to be woken.
    deadlines: BTreeSet<(Instant, ConnectionId)>,
    /// Inputs that have come before the machine knows what was stored.
    held: Option<VecDeque<(CommandId, Command)>>,
    cleaned: UnixTime,
    latest: Latest,
    /// The time of the input that is being dealt with.
    clock: Now,
    actions: Actions<Action>,
}

/// What all connections share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) rng: Rng,
    /// The routers of those whom the application has introduced since the start, and of those who leave: they have none.
    pub(super) users: BTreeMap<UserId, Vec<UserRouter>>,
    /// All users who do not leave.
    here: BTreeSet<UserId>,
    pub(super) proxies: BTreeMap<(UserId, ServerAddress<SmpScheme>), ServerAddress<SmpScheme>>,
    pub(super) requests: BTreeMap<RequestId, Asked>,
    pub(super) index: QueueIndex,
    /// Users that are being deleted, with the connections that are left of them.
    pub(super) leaving: BTreeMap<UserId, BTreeSet<ConnectionId>>,
    /// How large the messages of all connections are that wait to be sent.
    pub(super) outgoing_bytes: usize,
    pub(super) waiting: WaitingRequests,
    /// Queues that may have been made although nobody has heard of it.
    pub(super) late: BTreeMap<RequestId, LateQueue>,
    next_request: u64,
    kept: KeptEvents,
    network: NetworkState,
    activity: Activity,
    statistics: Statistics,
    pub(super) services: Services,
    /// The sessions in which a service receives.
    pub(super) services_up: BTreeSet<SessionKey>,
}

/// A queue that was asked for, and not answered in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LateQueue {
    user: UserId,
    asked: Asked,
    key: AuthPrivateKey,
}

/// Sessions take four times as many requests before they refuse any.
const BUSY: usize = 1024;

/// How many queues that may have been made are remembered.
const MAX_LATE: usize = 1024;

impl Shared {
    pub(super) fn next_request(&mut self) -> RequestId {
        self.next_request = self.next_request.wrapping_add(1);
        RequestId(self.next_request)
    }

    /// Whether a user's sessions are held in the name of a service.
    pub(super) fn is_service(&self, user: UserId) -> bool {
        self.config.services.contains(&user)
    }

    /// Services receive from the queues that they make at once: routers refuse anything else.
    pub(super) fn new_subscription(&self, user: UserId) -> SubscriptionMode {
        match self.is_service(user) {
            true => SubscriptionMode::Subscribe,
            false => SubscriptionMode::OnlyCreate,
        }
    }

    /// Whether so much is under way that nobody should ask for more than one thing at a time.
    pub(super) fn is_busy(&self) -> bool {
        self.requests.len() >= BUSY
    }

    /// Whether anything may be asked for a user now.
    pub(super) fn may_ask(&self, user: UserId) -> bool {
        self.network == NetworkState::Online
            && self.activity == Activity::Active
            && self.users.contains_key(&user)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Ready(Box<Connection>),
    Loading(VecDeque<Work>),
    /// It must not change before its ratchet has turned.
    Turning(Box<Connection>, VecDeque<Work>),
}

impl Entry {
    const fn connection(&self) -> Option<&Connection> {
        match self {
            Self::Ready(connection) | Self::Turning(connection, _) => Some(connection),
            Self::Loading(_) => None,
        }
    }
}

/// What is to be done with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    Command(CommandId, Command),
    /// Join it, which answers this request.
    Join(Caller, UserId, Box<Join>, Option<Key>),
    /// A request of it, by its name, waits no more.
    RequestAnswered(bytes::Bytes),
    Deliver(Incoming),
    Receive(Delivery, Found),
    Answer(
        super::connection::Task,
        Box<Asked>,
        Result<Response, PoolError>,
    ),
    /// It may have something to do.
    Resume,
    /// Its user is being deleted.
    Delete,
    Tell(EventContent),
}

/// A message whose queue has yet to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Incoming {
    router: ServerAddress<SmpScheme>,
    recipient_id: EntityId,
    broker_id: EntityId,
    body: bytes::Bytes,
}

/// What a load is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Loading {
    Connection(ConnectionId),
    Message(ConnectionId, Delivery, Box<Found>),
    Owner(Incoming),
    Events,
    Work,
    Subscriptions(CommandId, Option<UserId>, Services),
    /// That a queue is the service's is to be stored.
    OfService(SessionKey, EntityId),
    /// The queues of a service, each to be subscribed to by itself.
    OneByOne(SessionKey),
    Request(CommandId, Command),
    Statistics,
    Users,
    DeletedUser(UserId),
    Link(Box<OpenLink>),
    Join(CommandId, Box<Command>),
    Connections(CommandId, Option<UserId>, Vec<ConnectionId>),
}

impl Agent {
    /// An agent, which asks at once for what is stored.
    #[must_use]
    pub fn new(config: Config, rng: Rng, now: Now) -> Self {
        let mut agent = Self {
            shared: Shared {
                config,
                rng,
                users: BTreeMap::new(),
                here: BTreeSet::new(),
                proxies: BTreeMap::new(),
                requests: BTreeMap::new(),
                index: QueueIndex::default(),
                leaving: BTreeMap::new(),
                outgoing_bytes: 0,
                waiting: WaitingRequests::default(),
                late: BTreeMap::new(),
                next_request: 0,
                kept: KeptEvents::default(),
                network: NetworkState::Online,
                activity: Activity::Active,
                statistics: Statistics::default(),
                services: Services::default(),
                services_up: BTreeSet::new(),
            },
            connections: BTreeMap::new(),
            loading: BTreeMap::new(),
            next_load: LoadId(0),
            turning: BTreeMap::new(),
            next_turn: TurnId(0),
            barrier: BTreeMap::new(),
            next_op: OpId(1),
            stored: OpId(0),
            deadlines: BTreeSet::new(),
            held: Some(VecDeque::new()),
            cleaned: now.unix,
            latest: Latest::new(now),
            clock: now,
            actions: Actions::default(),
        };
        agent.load_page(Kind::Event, None, Loading::Events);
        agent
    }

    /// How many connections are in memory.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.connections.len()
    }

    /// Does something with a connection, once it is in memory.
    fn with(&mut self, now: Now, id: &ConnectionId, work: Work) {
        match self.connections.get_mut(id) {
            Some(Entry::Loading(waiting) | Entry::Turning(_, waiting)) => waiting.push_back(work),
            Some(Entry::Ready(_)) => self.step(now, id, work),
            None => {
                let waiting = Entry::Loading(VecDeque::from([work]));
                self.connections.insert(id.clone(), waiting);
                let owner = id.to_bytes();
                self.load(Load::Owned { owner }, Loading::Connection(id.clone()));
            }
        }
    }

    fn step(&mut self, now: Now, id: &ConnectionId, work: Work) {
        let Some(Entry::Ready(mut connection)) = self.connections.remove(id) else {
            return;
        };
        let mut needed = Needed::default();
        let released = self.step_of(now, &mut connection, |step| {
            Self::work(&mut needed, step, work);
        });
        self.keep(id, connection);
        for (delivery, found, need) in needed.0 {
            self.need(id, delivery, found, need);
        }
        for delivery in released {
            self.with(now, id, Work::Receive(delivery, Found::default()));
        }
    }

    /// Keeps a connection in memory, unless it is gone.
    fn keep(&mut self, id: &ConnectionId, connection: Box<Connection>) {
        if connection.gone {
            self.left(connection.record.user, id);
            let owned = |asked: &AskedFor| matches!(asked, AskedFor::Task(owner, _) if owner == id);
            self.shared
                .requests
                .retain(|_, asked| !owned(&asked.purpose));
        } else {
            self.connections
                .insert(id.clone(), Entry::Ready(connection));
        }
    }

    /// Makes a step, then whatever follows from the state, and stores what has changed. Messages that have waited for it are returned.
    fn step_of(
        &mut self,
        now: Now,
        connection: &mut Connection,
        work: impl FnOnce(&mut Step<'_>),
    ) -> Vec<Delivery> {
        if let Some(deadline) = connection.wake.take() {
            self.deadlines.remove(&(deadline, connection.id.clone()));
        }
        let before = connection.record.clone();
        let bytes_before = connection.outgoing.bytes();
        let new = std::mem::take(&mut connection.unsaved);
        let mut step = Step::new(now, &mut self.shared, connection);
        work(&mut step);
        step.advance();
        let released = step.released();
        let (mut changes, actions) = (step.changes, step.actions);
        if !connection.gone {
            let id = &connection.id;
            if connection.record != before || new {
                changes.push(Change::Put {
                    key: Key::of(Kind::Connection, id),
                    value: record::to_bytes(&connection.record),
                    expires: None,
                });
            }
            let marked = connection.is_marked();
            if marked != connection.marked {
                connection.marked = marked;
                let key = Key::of(Kind::Work, id);
                changes.push(match marked {
                    true => Change::Put {
                        key,
                        value: bytes::Bytes::new(),
                        expires: None,
                    },
                    false => Change::Delete(key),
                });
            }
            connection.wake = connection.next_wake(now);
            if let Some(deadline) = connection.wake {
                self.deadlines.insert((deadline, connection.id.clone()));
            }
        }
        self.count(connection, bytes_before);
        connection.op = self.commit(changes, actions, connection.op);
        released
    }

    /// Counts what a connection keeps with what all others do.
    fn count(&mut self, connection: &mut Connection, bytes_before: usize) {
        let (bytes, requests) = match connection.gone {
            true => (0, 0),
            false => (connection.outgoing.bytes(), connection.requests.len()),
        };
        let others = self.shared.outgoing_bytes.saturating_sub(bytes_before);
        self.shared.outgoing_bytes = others.saturating_add(bytes);
        if requests != connection.requests.counted {
            connection.requests.counted = requests;
            self.shared.waiting.count(&connection.id, requests);
        }
    }

    /// Stores changes; what depends on them, or on what was stored before them, waits.
    fn commit(&mut self, changes: Vec<Change>, actions: Vec<Action>, after: OpId) -> OpId {
        let op = if changes.is_empty() {
            after
        } else {
            let op = self.next_op;
            self.next_op = OpId(op.0.saturating_add(1));
            self.actions.push(Action::Store(op, changes));
            op
        };
        if op <= self.stored {
            self.act(actions);
        } else {
            self.barrier.entry(op).or_default().extend(actions);
        }
        op
    }

    fn act(&mut self, actions: Vec<Action>) {
        let mut last: Option<(SessionKey, Vec<crate::smp::client::Request>)> = None;
        for action in actions {
            // Requests that leave together share blocks.
            if let Action::Network(Call::Send { session, requests }) = action {
                match &mut last {
                    Some((same, all)) if *same == session => all.extend(requests),
                    Some(_) | None => self.flush(last.replace((session, requests))),
                }
            } else {
                self.flush(last.take());
                self.actions.push(action);
            }
        }
        self.flush(last);
    }

    fn flush(&mut self, requests: Option<(SessionKey, Vec<crate::smp::client::Request>)>) {
        if let Some((session, requests)) = requests {
            let call = Call::Send { session, requests };
            self.actions.push(Action::Network(call));
        }
    }

    fn stored(&mut self, op: OpId) {
        self.stored = self.stored.max(op);
        let mut ready = Vec::new();
        while let Some(entry) = self.barrier.first_entry()
            && *entry.key() <= op
        {
            ready.extend(entry.remove());
        }
        self.act(ready);
    }

    fn timeout(&mut self, now: Now) {
        while let Some((deadline, id)) = self.deadlines.first().cloned()
            && deadline <= now.instant
        {
            self.deadlines.remove(&(deadline, id.clone()));
            self.with(now, &id, Work::Resume);
        }
    }

    /// What has expired is deleted now and then, when the machine is awake anyway.
    fn clean(&mut self, now: Now) {
        let due = self.cleaned + self.shared.config.cleanup <= now.unix;
        if due && self.held.is_none() {
            self.cleaned = now.unix;
            self.commit(vec![Change::Expire(now.unix)], Vec::new(), OpId(0));
        }
    }

    /// Connections that were not used for long, and have nothing to do, leave the memory.
    fn evict(&mut self) {
        if self.connections.len() <= self.shared.config.cache.saturating_mul(2) {
            return;
        }
        let mut idle: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(id, entry)| match entry {
                Entry::Ready(connection)
                    if connection.is_idle() && connection.op <= self.stored =>
                {
                    Some((connection.used, id.clone()))
                }
                Entry::Ready(_) | Entry::Loading(_) | Entry::Turning(..) => None,
            })
            .collect();
        idle.sort_unstable();
        let excess = self
            .connections
            .len()
            .saturating_sub(self.shared.config.cache);
        for (_, id) in idle.into_iter().take(excess) {
            self.connections.remove(&id);
        }
    }

    fn work(needed: &mut Needed, step: &mut Step<'_>, work: Work) {
        match work {
            Work::Command(id, command) => command_of(step, id, command),
            Work::Join(caller, _, join, None) => {
                step.join_again(caller, &join.request);
            }
            Work::Join(caller, ..) => {
                step.reply(caller.command, Err(AgentError::DuplicateConnection));
            }
            Work::Deliver(incoming) => {
                let mut queues = step.connection.record.receive.iter();
                let queue = queues.find(|queue| queue.recipient_id == incoming.recipient_id);
                if let Some(queue) = queue {
                    let delivery = Delivery {
                        queue: queue.number,
                        broker_id: incoming.broker_id,
                        body: incoming.body,
                    };
                    needed.receive(step, delivery, Found::default());
                }
            }
            Work::Receive(delivery, found) => needed.receive(step, delivery, found),
            Work::Answer(task, asked, result) => {
                let result = result.map_err(|error| asked.error(error));
                if let Some(delivery) = step.answered(task, &asked, result) {
                    needed.receive(step, delivery, Found::default());
                }
            }
            Work::RequestAnswered(name) => step.request_answered(&name),
            Work::Resume => {}
            Work::Delete => step.delete(Waiting::Drop),
            Work::Tell(content) => step.event(content),
        }
    }
}

/// What steps need before they can be made.
#[derive(Default)]
struct Needed(Vec<(Delivery, Found, Need)>);

impl Needed {
    fn receive(&mut self, step: &mut Step<'_>, delivery: Delivery, found: Found) {
        if let Err(need) = step.receive(&delivery, &found) {
            self.0.push((delivery, found, need));
        }
    }
}

impl Machine for Agent {
    type Input<'a> = Input;
    type Action = Action;
    type Error = std::convert::Infallible;

    fn handle(&mut self, now: Now, input: Input) -> Result<(), Self::Error> {
        let now = self.latest.at(now);
        self.clock = now;
        match input {
            Input::Command(id, command) => self.command(now, id, command),
            Input::Network(event) => self.told(now, event),
            Input::Stored(op) => self.stored(op),
            Input::Loaded(id, records) => self.loaded_records(now, id, records),
            Input::Turned(id, turned) => self.turned(now, id, turned),
            Input::Timeout => self.timeout(now),
        }
        self.let_in(now);
        self.keep_statistics(now);
        self.settle(now);
        self.clean(now);
        self.evict();
        Ok(())
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.next()
    }

    fn deadline(&self) -> Option<Instant> {
        match (self.shared.activity, self.shared.network) {
            (Activity::Suspended, _) => None,
            (Activity::Suspending(until), _) => Some(until),
            (Activity::Active, NetworkState::Online) => {
                let connections = self.deadlines.first().map(|(deadline, _)| *deadline);
                let statistics = self.shared.statistics.deadline();
                connections.into_iter().chain(statistics).min()
            }
            (Activity::Active, NetworkState::Offline) => None,
        }
    }
}
