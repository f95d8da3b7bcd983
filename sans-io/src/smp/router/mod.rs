//! The queues of an SMP router, as a machine.
//!
//! ```text
//!                    ┌─────────────────────────────────────────────┐
//!   Conn: Lookup ───▶│ in memory?  ──yes──▶ Keys                   │
//!                    │     └─no─▶ Load … Loaded ──▶ Keys           │
//!   Conn: Execute ──▶│ change the queues, one command after another│
//!                    │     ├─ Commit(op): what must survive        │──▶ store
//!                    │     ├─ Announce: messages, END, NMSG        │──▶ subscribers, at once
//!                    │     │            DELD: when op is Stored     │
//!                    │     └─ Answer: when op is Stored            │──▶ the connection
//!                    └─────────────────────────────────────────────┘
//! ```
//! The machine has one owner and no locks, sees no bytes and does no cryptography to speak of: connections
//! ([`Server`](super::server::Server)) verify and encrypt, in parallel; it decides. Commands on one queue are executed in order, and each
//! in one step: a subscription and the delivery of its first message cannot be separated by a message that is sent between them.
//!
//! What a response promises is durable before the response leaves: it waits for the commit that it depends on, and so does what others
//! are told of a change that is stored. Delivery and acknowledgement do not wait: a crash may deliver a message again, never lose it.
//!
//! Queues are loaded on demand and kept in a bounded cache; subscriptions are not part of it, so that a queue that is subscribed to
//! and at rest costs a few words.
//!
//! ```
//! use simplex_sans_io::machine::Machine;
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::smp::router::store::{Load, Loaded};
//! use simplex_sans_io::smp::router::{Action, Config, Input, Router};
//! use simplex_sans_io::time::Now;
//!
//! let mut router = Router::new(Config::default(), Rng::from_seed([7; 32]), Now::START);
//!
//! // It begins by asking how much there is.
//! let Some(Action::Load(load, Load::Totals)) = router.poll() else { panic!() };
//! assert!(router.poll().is_none());
//! router.handle(Now::START, Input::Loaded(load, Loaded::Totals(Box::default())))?;
//! assert_eq!(router.gauges().queues, 0);
//! # Ok::<(), std::convert::Infallible>(())
//! ```

mod blocks;
mod cache;
mod commands;
mod connections;
mod delivery;
mod expiry;
mod loads;
mod messages;
mod notifications;
mod operator;
pub mod proxy;
mod receipts;
mod recipient;
mod sender;
mod services;
mod statistics;
pub mod store;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::BTreeMap;
use std::time::Duration;

pub use self::connections::ClientInfo;
pub use self::operator::{Operation, Outcome, QueueStatusInfo};
pub use self::receipts::AckTimes;
pub use self::statistics::{Active, Counters, Day};

use self::blocks::Blocks;
use self::cache::Cache;
use self::connections::Connections;
use self::loads::Loads;
use self::notifications::Notifications;
use self::services::Services;
use self::statistics::Statistics;
use self::store::{Change, Load, Loaded, ServiceTotals};
use self::totals::Totals;
use super::server;
use super::{BrokerMessage, SimplexDomain};
use crate::machine::{Actions, Machine};
use crate::rng::Rng;
use crate::time::{Instant, Now, Timer, Timers, UnixTime};
use crate::wire::{BasicAuth, EntityId, ServerAddress, SmpScheme};

/// How a router treats its queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether queues can be created.
    pub new_queues: NewQueues,
    /// How many messages may wait in a queue.
    pub message_quota: u64,
    /// How messages expire.
    pub message_expiration: Option<Expiration>,
    /// Whether old messages are looked for at the start, too.
    pub expire_on_start: bool,
    /// Whether old messages of a queue are removed when one is sent to it.
    pub expire_on_send: bool,
    /// How notifications expire.
    pub notification_expiration: Option<Expiration>,
    /// How many notifications wait for a notifier.
    pub max_notifications: usize,
    /// How clients without subscriptions are disconnected.
    pub inactive_clients: Option<Expiration>,
    /// How many queues are kept in memory.
    pub cache: usize,
    /// How many loads are asked for at the same time.
    pub max_loads: usize,
    /// How many messages are on their way to a connection before it has taken any.
    pub max_deliveries: usize,
    /// How many commands of one connection are forwarded at the same time.
    pub max_forwarded: usize,
    /// How many names of one connection are resolved at the same time.
    pub max_names: usize,
    /// Whether there is a resolver of names.
    pub resolves_names: bool,
}

/// Whether queues can be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewQueues {
    /// By anybody.
    Allowed,
    /// By those who know the password. Proxying needs it too.
    WithPassword(BasicAuth),
    /// By nobody; proxying may still need a password.
    Refused(Option<BasicAuth>),
}

/// When things are too old, and how often they are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiration {
    /// How old they may be.
    pub ttl: Duration,
    /// How often they are looked for.
    pub check: Duration,
}

impl Default for Config {
    fn default() -> Self {
        const DAY: u64 = 86_400;
        Self {
            new_queues: NewQueues::Allowed,
            message_quota: 128,
            message_expiration: Some(Expiration {
                ttl: Duration::from_secs(DAY.saturating_mul(21)),
                check: Duration::from_secs(7200),
            }),
            expire_on_start: false,
            expire_on_send: true,
            notification_expiration: Some(Expiration {
                ttl: Duration::from_secs(DAY),
                check: Duration::from_secs(3600),
            }),
            max_notifications: 128,
            inactive_clients: None,
            cache: 2048,
            max_loads: 1024,
            max_deliveries: 256,
            max_forwarded: 32,
            max_names: 1000,
            resolves_names: false,
        }
    }
}

/// A connection to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A commit that is to be stored. Later ones have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OpId(pub u64);

/// A load that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);

/// A question to another part of the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a router takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A connection tells or asks something.
    Conn(ConnId, server::Event),
    /// A connection has taken that many announcements: there is room for more.
    Taken(ConnId, usize),
    /// A connection has ended.
    Closed(ConnId),
    /// Everything up to this commit is stored.
    Stored(OpId),
    /// Everything from the first to the second commit could not be stored.
    NotStored(OpId, OpId),
    /// What a load has found.
    Loaded(LoadId, Loaded),
    /// The answer of the proxy or of the resolver.
    Answered(Ticket, BrokerMessage),
    /// The operator wants something done.
    Operator(Ticket, Operation),
    /// What the proxy role has counted.
    Counted(Box<Counters>),
    /// Other settings hold from now on.
    Configure(Box<Config>),
    /// The deadline has passed.
    Timeout,
}

/// What a router asks its driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Pass this to a connection.
    Conn(ConnId, server::Call),
    /// Store these changes, together or not at all.
    Commit(OpId, Vec<Change>),
    /// Answer this.
    Load(LoadId, Load),
    /// Ask the proxy.
    Proxy(Ticket, ConnId, ProxyRequest),
    /// Resolve a name.
    Resolve(Ticket, SimplexDomain),
    /// Tell the operator.
    Operated(Ticket, Outcome),
    /// A day is over: these are its statistics.
    Day(Box<Day>),
}

/// What the proxy role is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyRequest {
    /// A session with a relay.
    Session(ServerAddress<SmpScheme>),
    /// To forward a command.
    Forward {
        /// The id of the session with the relay.
        session_id: EntityId,
        /// What the client has sent.
        forwarded: Box<super::proxy::Forwarded>,
    },
}

/// How much there is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Queues.
    pub queues: u64,
    /// Messages that wait.
    pub messages: u64,
    /// Queues with a notifier.
    pub notifiers: u64,
    /// Notifications that wait.
    pub notifications: u64,
    /// Services that receive messages.
    pub messaging_services: u64,
    /// Services that receive notifications.
    pub notifier_services: u64,
    /// Queues of services that receive messages.
    pub messaging_service_queues: u64,
    /// Queues of services that receive notifications.
    pub notifier_service_queues: u64,
    /// Connections.
    pub clients: u64,
    /// Subscriptions to messages.
    pub subscriptions: u64,
    /// Subscriptions to notifications.
    pub notifier_subscriptions: u64,
    /// Connections with subscriptions to messages.
    pub subscribed_clients: u64,
    /// Connections with subscriptions to notifications.
    pub notifier_clients: u64,
    /// Services that are subscribed to the messages of all their queues.
    pub subscribed_services: u64,
    /// Their queues.
    pub subscribed_service_queues: u64,
    /// Services that are subscribed to the notifications of all their queues.
    pub subscribed_notifier_services: u64,
    /// Their queues.
    pub subscribed_notifier_service_queues: u64,
    /// Messages that are delivered to subscribers and not acknowledged.
    pub delivered: u64,
    /// The same, delivered for up to a minute, up to 5, 20 and 60, and longer.
    pub delivered_for: [u64; 5],
    /// Connections with such messages.
    pub delivered_clients: u64,
    /// How long it took until messages were acknowledged, since the start.
    pub ack_times: AckTimes,
    /// Queues in memory.
    pub cached: u64,
    /// Those of them with a notifier.
    pub cached_notifiers: u64,
    /// Loads that are not answered.
    pub loads: u64,
    /// Commits that are not stored.
    pub unstored: u64,
    /// Since when numbers are counted.
    pub counting_since: UnixTime,
    /// Active queues.
    pub active: Active,
    /// Queues with messages that their recipients are notified of.
    pub active_notified: Active,
}

#[derive(Debug, Clone, Copy)]
enum Wake {
    /// Old messages are looked for.
    Messages,
    /// Old notifications are looked for.
    Notifications,
    /// Inactive clients are looked for.
    Clients,
    /// An hour of the clock is over.
    Hour,
}

impl Timer for Wake {
    fn slot(self) -> usize {
        match self {
            Self::Messages => 0,
            Self::Notifications => 1,
            Self::Clients => 2,
            Self::Hour => 3,
        }
    }
}

/// The queues of a router. See the [module](self).
#[derive(Debug, Clone)]
pub struct Router {
    config: Config,
    rng: Rng,
    now: Now,
    timers: Timers<Wake, 4>,
    cache: Cache,
    connections: Connections,
    services: Services,
    notifications: Notifications,
    loads: Loads,
    blocks: Blocks,
    tickets: BTreeMap<Ticket, blocks::Place>,
    next_ticket: u64,
    counters: Counters,
    statistics: Statistics,
    ack_times: AckTimes,
    totals: Totals,
    actions: Actions<Action>,
}

impl Router {
    /// A router on a store that it asks for everything.
    #[must_use]
    pub fn new(config: Config, rng: Rng, now: Now) -> Self {
        let mut router = Self {
            rng,
            now,
            timers: Timers::default(),
            cache: Cache::new(config.cache),
            connections: Connections::default(),
            services: Services::default(),
            notifications: Notifications::default(),
            loads: Loads::default(),
            blocks: Blocks::default(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            counters: Counters::default(),
            statistics: Statistics::new(now),
            ack_times: AckTimes::default(),
            totals: Totals::default(),
            actions: Actions::default(),
            config,
        };
        router.start_timers();
        router.start_hour();
        router.recount();
        if router.config.expire_on_start {
            router.expire_messages();
        }
        router
    }

    /// How much there is now.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let (active, active_notified) = self.statistics.active();
        Gauges {
            clients: number(self.connections.len()),
            subscriptions: number(self.connections.subscriptions()),
            notifier_subscriptions: number(self.notifications.subscriptions()),
            delivered: self.connections.pending().count(),
            delivered_for: self.connections.pending().periods(self.second()),
            ack_times: self.ack_times,
            cached: number(self.cache.len()),
            cached_notifiers: number(self.cache.notifiers()),
            loads: number(self.loads.in_flight()),
            unstored: self.blocks.unstored(),
            counting_since: self.statistics.since(),
            active,
            active_notified,
            ..self.with_subscribers(self.totals.gauges())
        }
    }

    /// What was counted.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    fn start_timers(&mut self) {
        let now = self.now.instant;
        for (wake, expiration) in [
            (Wake::Messages, self.config.message_expiration),
            (Wake::Notifications, self.config.notification_expiration),
            (Wake::Clients, self.config.inactive_clients),
        ] {
            match expiration {
                Some(expiration) => {
                    let check = expiration.check.max(Duration::from_secs(1));
                    self.timers.set(wake, now + check);
                }
                None => self.timers.stop(wake),
            }
        }
    }

    fn timeout(&mut self) {
        let now = self.now.instant;
        let due = |timers: &mut Timers<Wake, 4>, wake, expiration: Option<Expiration>| {
            let due = timers.expired(wake, now);
            if let (true, Some(expiration)) = (due, expiration) {
                timers.set(wake, now + expiration.check.max(Duration::from_secs(1)));
            }
            due
        };
        if due(
            &mut self.timers,
            Wake::Messages,
            self.config.message_expiration,
        ) {
            self.expire_messages();
        }
        let notifications = self.config.notification_expiration;
        if due(&mut self.timers, Wake::Notifications, notifications) {
            self.expire_notifications();
        }
        if due(
            &mut self.timers,
            Wake::Clients,
            self.config.inactive_clients,
        ) {
            self.disconnect_inactive();
        }
        if self.timers.expired(Wake::Hour, now) {
            self.end_hour();
        }
    }

    fn configure(&mut self, config: Config) {
        self.config = config;
        self.start_timers();
    }

    /// Stores changes; what depends on them waits for the number that is returned.
    fn commit(&mut self, changes: Vec<Change>) -> OpId {
        let op = self.blocks.next_op();
        for change in &changes {
            if let Change::AdjustServiceTotals {
                service,
                count,
                ids_hash,
            } = change
            {
                let adjusted = ServiceTotals {
                    count: *count,
                    ids_hash: *ids_hash,
                };
                self.adjusted_with(service.clone(), adjusted, op);
            }
        }
        self.actions.push(Action::Commit(op, changes));
        op
    }

    /// Tells a connection something that it has not asked for. What it is told at once shares blocks.
    fn announce(&mut self, connection: ConnId, entity_id: EntityId, message: BrokerMessage) {
        let announcement = (entity_id, server::Say::Message(message));
        if let Some(Action::Conn(same, server::Call::Announce(announced))) = self.actions.last_mut()
            && *same == connection
            && let Some((_, server::Say::Message(_))) = announced.last()
        {
            return announced.push(announcement);
        }
        let call = server::Call::Announce(vec![announcement]);
        self.actions.push(Action::Conn(connection, call));
    }

    fn random_id(&mut self) -> EntityId {
        EntityId::from(self.rng.bytes::<24>())
    }

    fn today(&self) -> i64 {
        store::day(self.now.unix)
    }

    /// The second that it is.
    fn second(&self) -> u32 {
        u32::try_from(self.now.unix.seconds()).unwrap_or(0)
    }
}

impl Machine for Router {
    type Input<'a> = Input;
    type Action = Action;
    type Error = std::convert::Infallible;

    fn handle(&mut self, now: Now, input: Input) -> Result<(), Self::Error> {
        self.actions.begin();
        self.now = Now {
            instant: now.instant.max(self.now.instant),
            ..now
        };
        match input {
            Input::Conn(connection, event) => self.told(connection, event),
            Input::Taken(connection, count) => self.taken(connection, count),
            Input::Closed(connection) => self.closed(connection),
            Input::Stored(op) => self.stored(op),
            Input::NotStored(first, last) => self.not_stored(first, last),
            Input::Loaded(load, loaded) => self.loaded(load, loaded),
            Input::Answered(ticket, message) => self.ticket_answered(ticket, message),
            Input::Operator(ticket, operation) => self.operate(ticket, operation),
            Input::Counted(counters) => self.counted(&counters),
            Input::Configure(config) => self.configure(*config),
            Input::Timeout => self.timeout(),
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.next()
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.deadline()
    }
}
