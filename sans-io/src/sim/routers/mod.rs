//! Several routers, each the proxy of its clients and the relay of others, in one thread and in virtual time.
//!
//! Routers are [`World`]s whose proxies have sessions with each other. Disks are as slow as they are told to be, nothing passes
//! between two routers that are apart, and a router that loses power keeps what its store has made durable. [`run()`] lets clients do as
//! they like with them, and holds what they are told against what was promised.
#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a run that does not go on is a finding"
)]

mod model;
mod operation;
mod run;

pub use self::run::{Seen, run};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::world::{Sync, World};
use crate::machine::Machine as _;
use crate::smp::client;
use crate::smp::error::BrokerError;
use crate::smp::handshake::Peer;
use crate::smp::pool::{self, Pool};
use crate::smp::router::proxy::{self, Proxy};
use crate::smp::router::{Action, Config, ConnId};
use crate::time::Now;
use crate::wire::{ServerAddress, SmpScheme};

/// Several routers with their clients.
pub(crate) struct Routers {
    worlds: Vec<World>,
    relays: Vec<Relays>,
    /// Between which nothing passes.
    apart: BTreeSet<(usize, usize)>,
    seed: u64,
}

/// A router's proxy role, and its sessions with relays.
struct Relays {
    proxy: Proxy,
    pool: Pool,
    sessions: BTreeMap<pool::ConnId, (usize, ConnId)>,
}

impl Relays {
    fn new(seed: u64) -> Self {
        Self {
            proxy: Proxy::new(Vec::new(), super::rng(seed)),
            pool: Pool::new(pool::Config::default()),
            sessions: BTreeMap::new(),
        }
    }
}

impl Routers {
    pub(crate) fn new(count: usize, seed: u64, config: &Config) -> Self {
        let mut routers = Self {
            worlds: Vec::new(),
            relays: Vec::new(),
            apart: BTreeSet::new(),
            seed,
        };
        for _ in 0..count {
            let seed = routers.next_seed();
            let mut world = World::with(seed, config.clone(), super::store::Contents::default());
            world.sync = Sync::WhenTold;
            routers.worlds.push(world);
            let seed = routers.next_seed();
            routers.relays.push(Relays::new(seed));
        }
        routers
    }

    fn next_seed(&mut self) -> u64 {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.seed
    }

    pub(crate) fn count(&self) -> usize {
        self.worlds.len()
    }

    pub(crate) fn world(&mut self, router: usize) -> &mut World {
        &mut self.worlds[router]
    }

    pub(crate) fn now(&self) -> Now {
        self.worlds[0].now
    }

    /// Where a router is, and who.
    pub(crate) fn address(&self, router: usize) -> ServerAddress<SmpScheme> {
        let identity = self.worlds[router].credentials().fingerprint();
        let address = format!("smp://{identity}@router{router}.example");
        address.parse().expect("an address")
    }

    fn at(&self, address: &ServerAddress<SmpScheme>) -> usize {
        let routers = 0..self.count();
        let mut here = routers.filter(|router| self.address(*router) == *address);
        here.next().expect("a router of this world")
    }

    /// Lets time pass; whoever wants to be woken is.
    pub(crate) fn pass(&mut self, duration: Duration) {
        let until = self.now() + duration;
        loop {
            let of_worlds = self.worlds.iter().filter_map(World::deadline);
            let of_pools = self
                .relays
                .iter()
                .filter_map(|relays| relays.pool.deadline());
            let due = of_worlds.chain(of_pools).min();
            let due = due.filter(|due| *due <= until.instant);
            let now = match due {
                Some(due) => self.now() + (due - self.now().instant),
                None => until,
            };
            for router in 0..self.count() {
                self.worlds[router].now = now;
                if due.is_some() {
                    self.worlds[router].wake();
                    let pool = self.relays[router].pool.deadline();
                    if pool.is_some_and(|pool| pool <= now.instant) {
                        let told = self.pool(router, pool::Input::Timeout);
                        self.tell(router, told);
                    }
                }
            }
            if due.is_none() {
                return;
            }
        }
    }

    /// Passes on what clients want forwarded, and what relays have answered, until nothing is left.
    pub(crate) fn forward(&mut self, router: usize) {
        loop {
            let asked = std::mem::take(&mut self.worlds[router].asked);
            let mut inputs: Vec<_> = asked
                .into_iter()
                .filter_map(|asked| match asked {
                    Action::Proxy(ticket, _, request) => Some(proxy::Input::Ask(ticket, request)),
                    _ => None,
                })
                .collect();
            for (connection, (relay, client)) in self.relays[router].sessions.clone() {
                for event in self.worlds[relay].events(client) {
                    inputs.extend(self.pool(router, pool::Input::Conn(connection, event)));
                }
            }
            if inputs.is_empty() {
                return;
            }
            self.tell(router, inputs);
        }
    }

    fn tell(&mut self, router: usize, inputs: Vec<proxy::Input>) {
        let mut inputs: std::collections::VecDeque<_> = inputs.into();
        while let Some(input) = inputs.pop_front() {
            let now = self.now();
            let proxy = &mut self.relays[router].proxy;
            let Ok(()) = proxy.handle(now, input);
            let actions: Vec<_> = std::iter::from_fn(|| proxy.poll()).collect();
            for action in actions {
                match action {
                    proxy::Action::Answer(ticket, message) => {
                        self.worlds[router].answer(ticket, message);
                    }
                    proxy::Action::Pool(call) => {
                        inputs.extend(self.pool(router, pool::Input::Command(call)));
                    }
                }
            }
        }
    }

    /// Gives the sessions of a router's proxy an input: what the proxy is told.
    fn pool(&mut self, router: usize, input: pool::Input) -> Vec<proxy::Input> {
        let now = self.now();
        let pool = &mut self.relays[router].pool;
        let Ok(()) = pool.handle(now, input);
        let actions: Vec<_> = std::iter::from_fn(|| pool.poll()).collect();
        let mut told = Vec::new();
        for action in actions {
            match action {
                pool::Action::Connect(connection, session) => {
                    let relay = self.at(&session.router);
                    if self.apart.contains(&(router, relay)) {
                        let closed = pool::Input::Closed(connection, BrokerError::Timeout);
                        told.extend(self.pool(router, closed));
                        continue;
                    }
                    let key_hash = self.worlds[relay].credentials().key_hash();
                    let mut config = client::Config::new(key_hash);
                    config.handshake.peer = Peer::Proxy;
                    let client = self.worlds[relay].connect_with(config);
                    let sessions = &mut self.relays[router].sessions;
                    sessions.insert(connection, (relay, client));
                }
                pool::Action::Call(connection, client::Call::Send(requests)) => {
                    if let Some((relay, client)) = self.relays[router].sessions.get(&connection) {
                        self.worlds[*relay].send(*client, requests);
                    }
                }
                pool::Action::Call(_, client::Call::Close) => {}
                pool::Action::Disconnect(connection) => {
                    if let Some((relay, client)) = self.relays[router].sessions.remove(&connection)
                    {
                        self.worlds[relay].disconnect(client);
                    }
                }
                pool::Action::Event(event) => told.push(proxy::Input::Pool(*event)),
            }
        }
        told
    }

    /// Nothing passes from a router to another one any more.
    pub(crate) fn part(&mut self, router: usize, relay: usize) {
        self.apart.insert((router, relay));
        self.lose_sessions(router, relay);
    }

    /// Everything passes again.
    pub(crate) fn join(&mut self, router: usize, relay: usize) {
        self.apart.remove(&(router, relay));
    }

    fn lose_sessions(&mut self, router: usize, relay: usize) {
        let sessions = self.relays[router].sessions.clone();
        for (connection, (of, client)) in sessions {
            if of == relay {
                self.relays[router].sessions.remove(&connection);
                self.worlds[relay].disconnect(client);
                let closed = pool::Input::Closed(connection, BrokerError::Timeout);
                let told = self.pool(router, closed);
                self.tell(router, told);
            }
        }
    }

    /// A router loses power, and comes back with what was durable. All its sessions are gone.
    pub(crate) fn crash(&mut self, router: usize) {
        for other in 0..self.count() {
            self.lose_sessions(other, router);
        }
        for (_, (relay, client)) in std::mem::take(&mut self.relays[router].sessions) {
            self.worlds[relay].disconnect(client);
        }
        self.worlds[router] = self.worlds[router].clone().crash();
        let seed = self.next_seed();
        self.relays[router] = Relays::new(seed);
    }
}
