//! A router with its store and clients, in one thread and in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::identity::{Credentials, transports};
use super::store::{Contents, FakeStore};
use crate::crypto::Algorithm;
use crate::machine::{Action as StreamAction, Input as StreamInput, Machine};
use crate::rng::Rng;
use crate::smp::BrokerMessage;
use crate::smp::client::{self, Client, Event, Request};
use crate::smp::handshake::client::ServiceCredentials;
use crate::smp::router::store::{Load, Loaded};
use crate::smp::router::{self, Action, ConnId, Input, LoadId, OpId, Outcome, Router, Ticket};
use crate::smp::server::{self, Server};
use crate::time::{Instant, Now};

/// When commits become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// At once.
    AtOnce,
    /// When the world is told so.
    WhenTold,
}

/// A router with its store and clients.
#[derive(Debug, Clone)]
pub struct World {
    /// The time.
    pub now: Now,
    /// The router's queues.
    pub router: Router,
    /// What the router keeps.
    pub store: FakeStore,
    /// When commits become durable.
    pub sync: Sync,
    /// Whether connections take what is announced at once.
    pub takes: bool,
    /// What loads have found, which is told when the commits before them are durable.
    loading: VecDeque<(Option<OpId>, LoadId, Load, Loaded)>,
    committed: Option<OpId>,
    stored: Option<OpId>,
    /// What the operator was told.
    pub outcomes: Vec<(Ticket, Outcome)>,
    /// What the proxy and the resolver were asked.
    pub asked: Vec<Action>,
    config: router::Config,
    credentials: Credentials,
    rng: Rng,
    clients: BTreeMap<ConnId, Node>,
    next: u64,
}

/// A client with the router's side of its session.
#[derive(Debug, Clone)]
struct Node {
    client: Client,
    server: Server,
    events: Vec<Event>,
    /// What the client has sent and the router has not received.
    sent: Vec<u8>,
    /// Whether the router's side is gone.
    closed: bool,
}

impl World {
    /// A world with an empty store.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::with(seed, router::Config::default(), Contents::default())
    }

    /// A world with these settings and contents.
    #[must_use]
    pub fn with(seed: u64, config: router::Config, contents: Contents) -> Self {
        let now = Now {
            unix: crate::time::UnixTime::from_seconds(1_767_225_600),
            ..Now::START
        };
        Self::at(now, seed, config, contents)
    }

    fn at(now: Now, seed: u64, config: router::Config, contents: Contents) -> Self {
        let mut rng = super::rng(seed);
        let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
        let mut world = Self {
            now,
            router: Router::new(config.clone(), rng.fork(), now),
            store: FakeStore::new(contents),
            sync: Sync::AtOnce,
            takes: true,
            loading: VecDeque::new(),
            committed: None,
            stored: None,
            outcomes: Vec::new(),
            asked: Vec::new(),
            config,
            credentials,
            rng,
            clients: BTreeMap::new(),
            next: 0,
        };
        world.run();
        world
    }

    /// A client that is connected.
    pub fn connect(&mut self) -> ConnId {
        self.connect_as(None)
    }

    /// A client that is connected in the name of a service.
    pub fn connect_as(&mut self, service: Option<ServiceCredentials>) -> ConnId {
        let mut config = client::Config::new(self.credentials.key_hash());
        config.handshake.service.clone_from(&service);
        let id = self.connect_with(config);
        self.events(id);
        id
    }

    /// A client that is connected with these settings; it has yet to be told that it is established.
    pub fn connect_with(&mut self, config: client::Config) -> ConnId {
        let service = config.handshake.service.clone();
        let (of_client, of_server) = transports(&self.credentials, service.as_ref(), &mut self.rng);
        let server = server::Config::new(self.credentials.router());
        let node = Node {
            client: Client::new(config, of_client, self.rng.fork(), self.now),
            server: Server::new(server, of_server, self.rng.fork(), self.now),
            events: Vec::new(),
            sent: Vec::new(),
            closed: false,
        };
        let id = ConnId(self.next);
        self.next = self.next.saturating_add(1);
        self.clients.insert(id, node);
        self.run();
        id
    }

    /// The router's credentials.
    #[must_use]
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// A client goes away without a word.
    pub fn disconnect(&mut self, id: ConnId) {
        if self.clients.remove(&id).is_some() {
            self.give(Input::Closed(id));
            self.run();
        }
    }

    /// Sends requests and does all that follows.
    pub fn send(&mut self, id: ConnId, requests: Vec<Request>) {
        if let Some(node) = self.clients.get_mut(&id) {
            let call = StreamInput::Command(client::Call::Send(requests));
            node.client.handle(self.now, call).ok();
        }
        self.run();
    }

    /// The proxy or the resolver answers what it was asked.
    pub fn answer(&mut self, ticket: Ticket, message: BrokerMessage) {
        self.give(Input::Answered(ticket, message));
        self.run();
    }

    /// What a client was told since the last call.
    pub fn events(&mut self, id: ConnId) -> Vec<Event> {
        self.clients
            .get_mut(&id)
            .map(|node| std::mem::take(&mut node.events))
            .unwrap_or_default()
    }

    /// Gives events back that were taken, for the next call.
    pub fn put_back(&mut self, id: ConnId, mut events: Vec<Event>) {
        if let Some(node) = self.clients.get_mut(&id) {
            events.append(&mut node.events);
            node.events = events;
        }
    }

    /// How many clients the router knows of.
    #[must_use]
    pub fn connection_count(&self) -> u64 {
        self.router.gauges().clients
    }

    /// Whether the router has closed the session of a client.
    #[must_use]
    pub fn is_closed(&self, id: ConnId) -> bool {
        self.clients.get(&id).is_none_or(|node| node.closed)
    }

    /// The operator does something.
    pub fn operate(&mut self, operation: router::Operation) -> Option<Outcome> {
        self.outcomes.clear();
        self.give(Input::Operator(Ticket(u64::MAX), operation));
        self.run();
        self.outcomes.pop().map(|(_, outcome)| outcome)
    }

    /// Lets time pass; the router is woken whenever it wants to be.
    pub fn wait(&mut self, duration: Duration) {
        let until = self.now + duration;
        while let Some(deadline) = self.router.deadline()
            && deadline <= until.instant
        {
            self.now = self.now + (deadline - self.now.instant);
            self.give(Input::Timeout);
            self.run();
        }
        self.now = until;
    }

    /// When somebody wants to be woken: the router, a client, or the router's side of a session.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let nodes = self.clients.values();
        let nodes = nodes.flat_map(|node| [node.client.deadline(), node.server.deadline()]);
        nodes.chain([self.router.deadline()]).flatten().min()
    }

    /// Wakes those who want to be woken by now.
    pub fn wake(&mut self) {
        let now = self.now;
        let due = |deadline: Option<Instant>| deadline.is_some_and(|due| due <= now.instant);
        if due(self.router.deadline()) {
            self.give(Input::Timeout);
        }
        for node in self.clients.values_mut() {
            if due(node.client.deadline()) {
                node.client.handle(now, StreamInput::Timeout).ok();
                drain_client(node);
            }
            if due(node.server.deadline()) {
                node.server.handle(now, StreamInput::Timeout).ok();
            }
        }
        self.run();
    }

    /// Makes the first so many commits durable, and does all that follows.
    pub fn sync(&mut self, count: usize) {
        let synced = self.store.sync(count).max(self.stored);
        self.answer_loads(synced);
        self.tell_stored(synced);
        self.run();
    }

    /// The disk refuses all commits that are not durable.
    pub fn fail(&mut self) {
        self.answer_loads(self.stored);
        if let Some((first, last)) = self.store.fail() {
            for (_, _, load, found) in &mut self.loading {
                *found = self.store.load(load);
            }
            self.stored = Some(last);
            self.give(Input::NotStored(first, last));
        }
        self.answer_loads(self.stored);
        self.run();
    }

    /// Answers the loads before which everything is durable, in their places between the commits.
    fn answer_loads(&mut self, synced: Option<OpId>) {
        while let Some((after, id, _, loaded)) =
            self.loading.pop_front_if(|(after, ..)| *after <= synced)
        {
            self.tell_stored(after);
            self.give(Input::Loaded(id, loaded));
        }
    }

    fn tell_stored(&mut self, op: Option<OpId>) {
        if let Some(op) = op
            && self.stored < Some(op)
        {
            self.stored = Some(op);
            self.give(Input::Stored(op));
        }
    }

    /// The power is cut and comes back: all clients are gone, and what was not durable.
    #[must_use]
    pub fn crash(mut self) -> Self {
        let contents = self.store.crash();
        let seed = self.rng.fork().bytes();
        let mut world = Self::at(self.now, u64::from_be_bytes(seed), self.config, contents);
        world.credentials = self.credentials;
        world.next = self.next;
        world.sync = self.sync;
        world
    }

    /// Gives the router an input, and does what it asks of its store and its connections.
    pub fn give(&mut self, input: Input) {
        self.give_all(vec![input]);
    }

    /// Nothing overtakes what the same connection has said before.
    fn give_all(&mut self, inputs: Vec<Input>) {
        let mut inputs = VecDeque::from(inputs);
        while let Some(input) = inputs.pop_front() {
            let Ok(()) = self.router.handle(self.now, input);
            let actions: Vec<_> = std::iter::from_fn(|| self.router.poll()).collect();
            let mut follow = Vec::new();
            for action in actions {
                self.act(action, &mut follow);
            }
            inputs.extend(follow);
        }
    }

    fn act(&mut self, action: Action, follow: &mut Vec<Input>) {
        match action {
            Action::Conn(id, call) => {
                if let server::Call::Announce(announced) = &call
                    && self.takes
                {
                    follow.push(Input::Taken(id, announced.len()));
                }
                if let Some(node) = self.clients.get_mut(&id) {
                    node.server
                        .handle(self.now, StreamInput::Command(call))
                        .ok();
                    let bytes = drain_server(node, id, follow);
                    deliver(node, self.now, &bytes);
                }
            }
            Action::Commit(op, changes) => {
                self.store.commit(op, changes);
                self.committed = Some(op);
                if self.sync == Sync::AtOnce
                    && let Some(op) = self.store.sync(usize::MAX)
                {
                    self.stored = Some(op);
                    follow.push(Input::Stored(op));
                }
            }
            Action::Load(id, load) if self.sync == Sync::WhenTold => {
                let found = self.store.load(&load);
                self.loading.push_back((self.committed, id, load, found));
            }
            Action::Load(id, load) => follow.push(Input::Loaded(id, self.store.load(&load))),
            Action::Operated(ticket, outcome) => self.outcomes.push((ticket, outcome)),
            Action::Day(_) => {}
            Action::Proxy(..) | Action::Resolve(..) => self.asked.push(action),
        }
    }

    /// Moves bytes and inputs until nothing is left to do.
    fn run(&mut self) {
        self.settle_router();
        loop {
            let mut quiet = true;
            let ids: Vec<_> = self.clients.keys().copied().collect();
            for id in ids {
                let mut follow = Vec::new();
                if let Some(node) = self.clients.get_mut(&id) {
                    let bytes = drain_server(node, id, &mut follow);
                    deliver(node, self.now, &bytes);
                    let bytes = std::mem::take(&mut node.sent);
                    quiet &= bytes.is_empty() && follow.is_empty();
                    if !bytes.is_empty() {
                        node.server
                            .handle(self.now, StreamInput::Bytes(&bytes))
                            .ok();
                        let bytes = drain_server(node, id, &mut follow);
                        deliver(node, self.now, &bytes);
                    }
                }
                quiet &= follow.is_empty();
                self.give_all(follow);
            }
            if quiet {
                return;
            }
        }
    }

    /// What the router has said before its first input.
    fn settle_router(&mut self) {
        let actions: Vec<_> = std::iter::from_fn(|| self.router.poll()).collect();
        let mut follow = Vec::new();
        for action in actions {
            self.act(action, &mut follow);
        }
        self.give_all(follow);
    }
}

fn drain_server(node: &mut Node, id: ConnId, follow: &mut Vec<Input>) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(action) = node.server.poll() {
        match action {
            StreamAction::Transmit(part) => bytes.extend_from_slice(&part),
            StreamAction::Event(event) => follow.push(Input::Conn(id, event)),
            StreamAction::Close(_) if node.closed => {}
            StreamAction::Close(_) => {
                node.closed = true;
                follow.push(Input::Closed(id));
            }
        }
    }
    bytes
}

fn drain_client(node: &mut Node) {
    while let Some(action) = node.client.poll() {
        match action {
            StreamAction::Transmit(part) => node.sent.extend_from_slice(&part),
            StreamAction::Event(event) => node.events.push(event),
            StreamAction::Close(_) => {}
        }
    }
}

fn deliver(node: &mut Node, now: Now, bytes: &[u8]) {
    if !bytes.is_empty() {
        drain_client(node);
        node.client.handle(now, StreamInput::Bytes(bytes)).ok();
    }
    drain_client(node);
}
