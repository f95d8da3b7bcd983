//! Agents and routers, in one thread and in virtual time.
//!
//! ```
//! use simplex_sans_io::agent::command::{Command, NewConnection, Receiving, Reply, RequestMode};
//! use simplex_sans_io::agent::event::EventContent;
//! use simplex_sans_io::ratchet::InitialKeys;
//! use simplex_sans_io::sim::agents::{Agents, USER};
//!
//! let mut agents = Agents::new(7, 2, 1);
//! let kind = NewConnection::Invitation { pq: InitialKeys::Never };
//! let mode = RequestMode::Interactive;
//! let receiving = Receiving::AtOnce;
//! let create = Command::Create { connection: None, user: USER, kind, client_data: None, short: None, mode, receiving };
//! let Ok(Reply::Created { connection, link, .. }) = agents.ask(0, create) else { panic!() };
//! assert!(link.to_string().starts_with("simplex:/invitation#/?v=2-7&smp=smp"));
//! # let _ = connection;
//! ```

mod relaying;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use self::relaying::Relaying;
use super::identity::Credentials;
use super::store::Contents;
use super::world::World;
use crate::agent::command::{Command, Reply};
use crate::agent::config::{Config, UserRouter};
use crate::agent::error::AgentError;
use crate::agent::event::Event;
use crate::agent::id::CommandId;
use crate::agent::store::{Change, Memory, OpId};
use crate::agent::turn::{Turn, TurnId};
use crate::agent::{Action, Agent, Input};
use crate::crypto::Algorithm;
use crate::machine::Machine;
use crate::rng::Rng;
use crate::smp;
use crate::smp::client;
use crate::smp::error::BrokerError;
use crate::smp::handshake::ServiceRole;
use crate::smp::pool::{self, Pool, UserId};
use crate::smp::router;
use crate::time::Now;
use crate::wire::{NonEmpty, ServerAddress, SmpScheme, TransportHost, VersionRange};

/// The user of every agent.
pub const USER: UserId = UserId(1);

/// Agents and routers.
#[derive(Debug, Clone)]
pub struct Agents {
    /// The time of all.
    pub now: Now,
    /// The routers.
    pub routers: Vec<Router>,
    agents: Vec<Node>,
    rng: Rng,
    faults: Faults,
}

/// A router of the simulation.
#[derive(Debug, Clone)]
pub struct Router {
    /// It, with its clients.
    pub world: World,
    /// Where it is.
    pub address: ServerAddress<SmpScheme>,
    /// Whether it can be reached.
    pub reach: Reach,
    /// The versions of SMP in which agents speak with it.
    pub versions: VersionRange,
    /// Its proxy role.
    relaying: Relaying,
    /// What was sent to it directly by agents, and through proxies.
    pub commands: Commands,
}

/// How many commands of agents have reached a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Commands {
    /// From the agent itself, in the name of senders.
    pub direct: u32,
    /// Through a proxy.
    pub forwarded: u32,
}

/// Whether a router can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It can.
    Up,
    /// It cannot.
    Down,
}

/// What goes wrong, each time with one chance in so many; zero is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// A connection breaks instead of telling something.
    pub lost_response: u32,
    /// An agent stops when it is about to store something, and starts with what was stored before.
    pub crash: u32,
    /// What is stored is not known to be stored for a while.
    pub slow_store: u32,
}

#[derive(Debug, Clone)]
struct Node {
    agent: Agent,
    pool: Pool,
    config: Config,
    /// The certificates of the service that it may be.
    service: Credentials,
    routers: Vec<UserRouter>,
    /// What was stored, and what will be.
    live: Memory,
    durable: Memory,
    unsynced: VecDeque<(OpId, Vec<Change>)>,
    /// Ratchets that are to turn.
    turns: VecDeque<(TurnId, Box<Turn>)>,
    /// The connections of the pool, by router.
    connections: BTreeMap<pool::ConnId, (usize, router::ConnId)>,
    /// Connections that could not be opened.
    refused: VecDeque<pool::ConnId>,
    /// What the agent asks for.
    actions: VecDeque<Action>,
    events: Vec<Event>,
    replies: BTreeMap<CommandId, Result<Reply, AgentError>>,
    next_command: u64,
    crashes: u32,
}

impl Agents {
    /// So many agents and routers. Every agent uses all routers.
    #[must_use]
    pub fn new(seed: u64, agents: usize, routers: usize) -> Self {
        Self::with(seed, agents, routers, &Config::default())
    }

    /// The same with a configuration of the agents.
    #[must_use]
    pub fn with(seed: u64, agents: usize, routers: usize, config: &Config) -> Self {
        let routers = vec![router::Config::default(); routers];
        Self::over(seed, agents, routers, config)
    }

    /// The same over routers with these configurations.
    #[must_use]
    pub fn over(seed: u64, agents: usize, routers: Vec<router::Config>, config: &Config) -> Self {
        let mut rng = super::rng(seed);
        let routers: Vec<Router> = routers
            .into_iter()
            .enumerate()
            .map(|(index, router)| {
                let seed = u64::from_be_bytes(rng.bytes());
                let world = World::with(seed, router, Contents::default());
                let host = format!("smp{index}.example").parse();
                let host = host.unwrap_or_else(|_| TransportHost::Ipv4([127, 0, 0, 1].into()));
                let key_hash = world.credentials().key_hash();
                let address = ServerAddress::new(NonEmpty::one(host), None, key_hash);
                let reach = Reach::Up;
                Router {
                    world,
                    address,
                    reach,
                    versions: smp::version::SUPPORTED,
                    relaying: Relaying::new(rng.fork()),
                    commands: Commands::default(),
                }
            })
            .collect();
        let now = routers
            .first()
            .map_or(Now::START, |router| router.world.now);
        let users: Vec<UserRouter> = routers
            .iter()
            .map(|router| UserRouter::new(router.address.clone()))
            .collect();
        let agents = (0..agents)
            .map(|_| {
                Node::new(
                    config.clone(),
                    Credentials::issue(Algorithm::Ed25519, &mut rng),
                    users.clone(),
                    Memory::default(),
                    rng.fork(),
                    now,
                )
            })
            .collect();
        let mut agents = Self {
            now,
            routers,
            agents,
            rng,
            faults: Faults::default(),
        };
        for index in 0..agents.agents.len() {
            agents.introduce(index);
        }
        agents.run();
        agents
    }

    /// From now on this goes wrong.
    pub fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    /// The routers that an agent uses from now on.
    pub fn use_routers(&mut self, index: usize, routers: Vec<UserRouter>) {
        if let Some(node) = self.agents.get_mut(index) {
            node.routers = routers;
        }
        self.introduce(index);
        self.run();
    }

    fn introduce(&mut self, index: usize) {
        if let Some(node) = self.agents.get(index) {
            let command = Command::SetUser {
                user: USER,
                routers: node.routers.clone(),
            };
            self.command(index, command);
        }
    }

    /// Gives an agent a command, and does nothing else.
    pub fn command(&mut self, index: usize, command: Command) -> CommandId {
        let Some(node) = self.agents.get_mut(index) else {
            return CommandId(0);
        };
        let id = CommandId(node.next_command);
        node.next_command = node.next_command.saturating_add(1);
        node.give(self.now, Input::Command(id, command));
        self.drain(index);
        id
    }

    /// Gives an agent a command, does all that follows, and returns its reply.
    ///
    /// # Errors
    ///
    /// Those of the reply; and if there is none.
    pub fn ask(&mut self, index: usize, command: Command) -> Result<Reply, AgentError> {
        let id = self.command(index, command);
        self.run();
        self.reply(index, id).unwrap_or(Err(AgentError::Inactive))
    }

    /// The reply to a command, if there is one.
    pub fn reply(&mut self, index: usize, id: CommandId) -> Option<Result<Reply, AgentError>> {
        self.agents.get_mut(index)?.replies.remove(&id)
    }

    /// What an agent has told its application since the last call.
    pub fn events(&mut self, index: usize) -> Vec<Event> {
        self.agents
            .get_mut(index)
            .map(|node| std::mem::take(&mut node.events))
            .unwrap_or_default()
    }

    /// What an agent keeps.
    #[must_use]
    pub fn store(&self, index: usize) -> Option<&Memory> {
        self.agents.get(index).map(|node| &node.live)
    }

    /// How many connections an agent has in memory.
    #[must_use]
    pub fn loaded(&self, index: usize) -> usize {
        self.agents.get(index).map_or(0, |node| node.agent.loaded())
    }

    /// How many ratchets of an agent are to turn.
    #[must_use]
    pub fn turning(&self, index: usize) -> usize {
        self.agents.get(index).map_or(0, |node| node.turns.len())
    }

    /// How an agent is set up when it is started the next time.
    pub fn configure(&mut self, index: usize, config: Config) {
        if let Some(node) = self.agents.get_mut(index) {
            node.config = config;
        }
    }

    /// An agent has lost the certificates of its service, and makes new ones.
    pub fn renew_service(&mut self, index: usize) {
        let service = Credentials::issue(Algorithm::Ed25519, &mut self.rng);
        if let Some(node) = self.agents.get_mut(index) {
            node.service = service;
        }
    }

    /// How often an agent has crashed.
    #[must_use]
    pub fn crashes(&self, index: usize) -> u32 {
        self.agents.get(index).map_or(0, |node| node.crashes)
    }

    /// When the next agent wants to be woken.
    #[must_use]
    pub fn deadline(&self) -> Option<crate::time::Instant> {
        let deadlines = self.agents.iter().flat_map(|node| {
            let pool = node.pool.deadline();
            node.agent.deadline().into_iter().chain(pool)
        });
        deadlines.min()
    }

    /// An agent stops, and starts with what it has stored.
    pub fn crash(&mut self, index: usize) {
        let store = self.agents.get(index).map(|node| node.durable.clone());
        if let Some(store) = store {
            self.restore(index, store);
        }
    }

    /// An agent stops, and starts with this.
    pub fn restore(&mut self, index: usize, store: Memory) {
        let (rng, now) = (self.rng.fork(), self.now);
        let Some(node) = self.agents.get_mut(index) else {
            return;
        };
        let connections = std::mem::take(&mut node.connections);
        let (config, routers) = (node.config.clone(), node.routers.clone());
        let service = node.service.clone();
        let mut next = Node::new(config, service, routers, store, rng, now);
        next.next_command = node.next_command;
        next.crashes = node.crashes.saturating_add(1);
        next.events = std::mem::take(&mut node.events);
        *node = next;
        for (router, connection) in connections.into_values() {
            if let Some(router) = self.routers.get_mut(router) {
                router.world.disconnect(connection);
            }
        }
        self.introduce(index);
        self.command(index, Command::SubscribeAll { user: None });
    }

    /// Makes a router unreachable, or reachable again.
    pub fn reach(&mut self, index: usize, reach: Reach) {
        let Some(router) = self.routers.get_mut(index) else {
            return;
        };
        router.reach = reach;
        if reach == Reach::Down {
            for agent in 0..self.agents.len() {
                self.cut(agent, index);
            }
        }
    }

    /// Ends the connections of an agent with a router.
    fn cut(&mut self, agent: usize, router: usize) {
        let Some(node) = self.agents.get(agent) else {
            return;
        };
        let connections: Vec<_> = node
            .connections
            .iter()
            .filter(|(_, (to, _))| *to == router)
            .map(|(connection, _)| *connection)
            .collect();
        for connection in connections {
            self.close(agent, connection);
        }
    }

    fn close(&mut self, agent: usize, connection: pool::ConnId) {
        let Some(node) = self.agents.get_mut(agent) else {
            return;
        };
        if let Some((router, id)) = node.connections.remove(&connection) {
            if let Some(router) = self.routers.get_mut(router) {
                router.world.disconnect(id);
            }
            let closed = pool::Input::Closed(connection, BrokerError::Timeout);
            node.pool.handle(self.now, closed).ok();
            self.drain(agent);
        }
    }

    /// Lets time pass. Everybody is woken who wants to be.
    pub fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        self.run();
        while self
            .deadline()
            .is_some_and(|deadline| deadline <= until.instant)
        {
            self.wake();
            self.run();
        }
        self.pass(until.instant - self.now.instant);
        self.run();
    }

    /// Lets time pass until somebody wants to be woken, and does nothing else; whether there was anybody.
    pub fn wake(&mut self) -> bool {
        let Some(deadline) = self.deadline() else {
            return false;
        };
        self.pass(deadline - self.now.instant);
        for index in 0..self.agents.len() {
            let Some(node) = self.agents.get_mut(index) else {
                continue;
            };
            node.pool.handle(self.now, pool::Input::Timeout).ok();
            self.drain(index);
            if let Some(node) = self.agents.get_mut(index) {
                node.give(self.now, Input::Timeout);
                let later = |deadline| deadline > self.now.instant;
                assert!(node.agent.deadline().is_none_or(later), "a busy loop");
                self.drain(index);
            }
        }
        true
    }

    /// What an agent wants to store is stored, or it hears what it was told, or a ratchet of it turns; whether there was anything.
    pub fn step(&mut self, index: usize) -> bool {
        self.sync(index) || self.hear(index) || self.turn(index)
    }

    /// A ratchet of an agent turns; whether there was one.
    fn turn(&mut self, index: usize) -> bool {
        let Some(node) = self.agents.get_mut(index) else {
            return false;
        };
        let Some((id, turn)) = node.turns.pop_front() else {
            return false;
        };
        node.give(self.now, Input::Turned(id, Box::new(turn.run())));
        self.drain(index);
        true
    }

    /// The connections of an agent break on which it would hear something; whether there was anything.
    pub fn lose(&mut self, index: usize) -> bool {
        let faults = self.faults;
        self.faults.lost_response = 1;
        let any = self.hear(index);
        self.faults = faults;
        any
    }

    fn pass(&mut self, duration: Duration) {
        self.now = self.now + duration;
        for router in &mut self.routers {
            router.world.wait(duration);
        }
    }

    /// Does all that can be done without time passing.
    pub fn run(&mut self) {
        loop {
            let mut quiet = true;
            for index in 0..self.routers.len() {
                quiet &= !self.relay(index);
            }
            for index in 0..self.agents.len() {
                quiet &= !self.hear(index);
                quiet &= !self.sync(index);
                quiet &= !self.turn(index);
            }
            if quiet {
                return;
            }
        }
    }

    /// What an agent's connections tell; whether there was anything.
    fn hear(&mut self, index: usize) -> bool {
        let Some(node) = self.agents.get(index) else {
            return false;
        };
        let connections: Vec<_> = node.connections.iter().map(|(id, at)| (*id, *at)).collect();
        let mut heard = false;
        for (connection, (router, id)) in connections {
            let Some(router) = self.routers.get_mut(router) else {
                continue;
            };
            for event in router.world.events(id) {
                heard = true;
                let established = matches!(event, client::Event::Established(_));
                if !established && self.chance(self.faults.lost_response) {
                    self.close(index, connection);
                    break;
                }
                if let Some(node) = self.agents.get_mut(index) {
                    let input = pool::Input::Conn(connection, event);
                    node.pool.handle(self.now, input).ok();
                    self.drain(index);
                }
            }
        }
        heard
    }

    fn chance(&mut self, of: u32) -> bool {
        of > 0 && self.rng.below(of) == 0
    }

    /// What an agent has given to its store is stored; whether there was anything.
    fn sync(&mut self, index: usize) -> bool {
        let any = self
            .agents
            .get(index)
            .is_some_and(|node| !node.unsynced.is_empty());
        if !any || self.chance(self.faults.slow_store) {
            return any;
        }
        if self.chance(self.faults.crash) {
            self.crash(index);
            return true;
        }
        let Some(node) = self.agents.get_mut(index) else {
            return false;
        };
        let mut last = None;
        while let Some((op, changes)) = node.unsynced.pop_front() {
            node.durable.apply(changes);
            last = Some(op);
        }
        // It may stop before it knows.
        if self.chance(self.faults.crash) {
            self.crash(index);
        } else if let (Some(op), Some(node)) = (last, self.agents.get_mut(index)) {
            node.give(self.now, Input::Stored(op));
            self.drain(index);
        }
        true
    }

    /// Does what an agent and its pool ask for.
    fn drain(&mut self, index: usize) {
        loop {
            let Some(node) = self.agents.get_mut(index) else {
                return;
            };
            if let Some(action) = node.pool.poll() {
                self.act(index, action);
                continue;
            }
            let Some(action) = node.actions.pop_front() else {
                return;
            };
            match action {
                Action::Reply(id, reply) => {
                    node.replies.insert(id, reply);
                }
                Action::Event(event) => node.events.push(event),
                Action::Network(call) => {
                    let call = pool::Input::Command(call);
                    node.pool.handle(self.now, call).ok();
                }
                Action::Store(op, changes) => {
                    node.live.apply(changes.clone());
                    node.unsynced.push_back((op, changes));
                }
                Action::Load(id, load) => {
                    let records = node.live.load(&load);
                    node.give(self.now, Input::Loaded(id, records));
                }
                Action::Turn(id, turn) => node.turns.push_back((id, turn)),
            }
        }
    }

    fn act(&mut self, index: usize, action: pool::Action) {
        let Some(node) = self.agents.get_mut(index) else {
            return;
        };
        match action {
            pool::Action::Connect(connection, session) => {
                let place = self
                    .routers
                    .iter()
                    .position(|router| router.address == session.router);
                let router = place.and_then(|place| self.routers.get_mut(place).zip(Some(place)));
                match router.filter(|(router, _)| router.reach == Reach::Up) {
                    Some((router, place)) => {
                        let mut config = client::Config::new(router.address.key_hash().clone());
                        config.handshake.versions = router.versions;
                        if node.config.services.contains(&session.user) {
                            let service = node.service.service(ServiceRole::Messaging);
                            config.handshake.service = Some(service);
                        }
                        let id = router.world.connect_with(config);
                        node.connections.insert(connection, (place, id));
                    }
                    None => node.refused.push_back(connection),
                }
            }
            pool::Action::Call(connection, client::Call::Send(requests)) => {
                if let Some((router, id)) = node.connections.get(&connection)
                    && let Some(router) = self.routers.get_mut(*router)
                {
                    let of_senders = requests.iter().filter(|request| is_of_sender(request));
                    let count = u32::try_from(of_senders.count()).unwrap_or(u32::MAX);
                    router.commands.direct = router.commands.direct.saturating_add(count);
                    router.world.send(*id, requests);
                }
            }
            pool::Action::Call(connection, client::Call::Close)
            | pool::Action::Disconnect(connection) => {
                if let Some((router, id)) = node.connections.remove(&connection)
                    && let Some(router) = self.routers.get_mut(router)
                {
                    router.world.disconnect(id);
                }
            }
            pool::Action::Event(event) => node.give(self.now, Input::Network(*event)),
        }
        if let Some(node) = self.agents.get_mut(index)
            && let Some(connection) = node.refused.pop_front()
        {
            // The pool is drained first.
            let mut later = Vec::new();
            while let Some(action) = node.pool.poll() {
                later.push(action);
            }
            let closed = pool::Input::Closed(connection, BrokerError::Timeout);
            node.pool.handle(self.now, closed).ok();
            for action in later {
                self.act(index, action);
            }
        }
    }
}

/// Whether a command tells its router who sends, unless it is forwarded.
fn is_of_sender(request: &client::Request) -> bool {
    let sender = matches!(
        request.command,
        smp::Command::Send { .. }
            | smp::Command::SKey(_)
            | smp::Command::LKey(_)
            | smp::Command::LGet
            | smp::Command::Rslv { .. }
    );
    sender && request.route == client::Route::Direct
}

impl Node {
    fn new(
        config: Config,
        service: Credentials,
        routers: Vec<UserRouter>,
        store: Memory,
        rng: Rng,
        now: Now,
    ) -> Self {
        let mut node = Self {
            service,
            agent: Agent::new(config.clone(), rng, now),
            pool: Pool::new(pool::Config {
                persist_error: Duration::ZERO,
                ..pool::Config::default()
            }),
            config,
            routers,
            live: store.clone(),
            durable: store,
            unsynced: VecDeque::new(),
            turns: VecDeque::new(),
            connections: BTreeMap::new(),
            refused: VecDeque::new(),
            actions: VecDeque::new(),
            events: Vec::new(),
            replies: BTreeMap::new(),
            next_command: 1,
            crashes: 0,
        };
        node.collect();
        node
    }

    fn give(&mut self, now: Now, input: Input) {
        let Ok(()) = self.agent.handle(now, input);
        self.collect();
    }

    fn collect(&mut self) {
        self.actions
            .extend(std::iter::from_fn(|| self.agent.poll()));
    }
}
