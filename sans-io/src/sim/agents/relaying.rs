//! The proxy role of the routers.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Agents, Reach};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::smp;
use crate::smp::client;
use crate::smp::error::BrokerError;
use crate::smp::pool::{self, Pool};
use crate::smp::router;
use crate::smp::router::proxy::{self, Proxy};

/// The proxy role of a router, with its sessions.
#[derive(Debug, Clone)]
pub(super) struct Relaying {
    pub(super) proxy: Proxy,
    pub(super) pool: Pool,
    pub(super) connections: BTreeMap<pool::ConnId, (usize, router::ConnId)>,
}

impl Relaying {
    pub(super) fn new(rng: Rng) -> Self {
        Self {
            proxy: Proxy::new(Vec::new(), rng),
            pool: Pool::new(pool::Config {
                persist_error: Duration::ZERO,
                ..pool::Config::default()
            }),
            connections: BTreeMap::new(),
        }
    }
}

impl Agents {
    /// What a router's proxy is asked, and what its relays answer; whether there was anything.
    pub(super) fn relay(&mut self, index: usize) -> bool {
        let Some(router) = self.routers.get_mut(index) else {
            return false;
        };
        let mut any = false;
        for asked in std::mem::take(&mut router.world.asked) {
            if let router::Action::Proxy(ticket, _, request) = asked {
                any = true;
                let ask = proxy::Input::Ask(ticket, request);
                router.relaying.proxy.handle(self.now, ask).ok();
            } else {
                // Names are left to the test.
                router.world.asked.push(asked);
            }
        }
        self.drain_proxy(index);
        let connections = self
            .routers
            .get(index)
            .map(|r| r.relaying.connections.clone());
        for (connection, (relay, id)) in connections.unwrap_or_default() {
            let Some(relay) = self.routers.get_mut(relay) else {
                continue;
            };
            let events = relay.world.events(id);
            let closed = relay.reach == Reach::Down;
            for event in events {
                any = true;
                self.tell_proxy(index, pool::Input::Conn(connection, event));
            }
            if closed {
                any = true;
                if let Some(router) = self.routers.get_mut(index) {
                    router.relaying.connections.remove(&connection);
                }
                let closed = pool::Input::Closed(connection, BrokerError::Timeout);
                self.tell_proxy(index, closed);
            }
        }
        any
    }

    fn tell_proxy(&mut self, index: usize, input: pool::Input) {
        if let Some(router) = self.routers.get_mut(index) {
            router.relaying.pool.handle(self.now, input).ok();
            self.drain_proxy(index);
        }
    }

    fn drain_proxy(&mut self, index: usize) {
        loop {
            let Some(router) = self.routers.get_mut(index) else {
                return;
            };
            if let Some(action) = router.relaying.pool.poll() {
                self.act_for_proxy(index, action);
                continue;
            }
            match router.relaying.proxy.poll() {
                Some(proxy::Action::Pool(call)) => {
                    let call = pool::Input::Command(call);
                    router.relaying.pool.handle(self.now, call).ok();
                }
                Some(proxy::Action::Answer(ticket, message)) => {
                    router.world.answer(ticket, message);
                }
                None => return,
            }
        }
    }

    fn act_for_proxy(&mut self, index: usize, action: pool::Action) {
        match action {
            pool::Action::Connect(connection, session) => {
                let address = &session.router;
                let place = self.routers.iter().position(|r| r.address == *address);
                let relay = place.and_then(|place| self.routers.get_mut(place).zip(Some(place)));
                match relay.filter(|(relay, _)| relay.reach == Reach::Up) {
                    Some((relay, place)) => {
                        let config = client::Config::new(relay.address.key_hash().clone());
                        let id = relay.world.connect_with(config);
                        if let Some(router) = self.routers.get_mut(index) {
                            router.relaying.connections.insert(connection, (place, id));
                        }
                    }
                    None => {
                        // The pool has nothing else to say then.
                        let closed = pool::Input::Closed(connection, BrokerError::Timeout);
                        if let Some(router) = self.routers.get_mut(index) {
                            while router.relaying.pool.poll().is_some() {}
                            router.relaying.pool.handle(self.now, closed).ok();
                        }
                    }
                }
            }
            pool::Action::Call(connection, client::Call::Send(requests)) => {
                let router = self.routers.get(index);
                let known = router.and_then(|r| r.relaying.connections.get(&connection).copied());
                if let Some((relay, id)) = known
                    && let Some(relay) = self.routers.get_mut(relay)
                {
                    let forwards = requests
                        .iter()
                        .filter(|request| matches!(request.command, smp::Command::Rfwd { .. }));
                    let count = u32::try_from(forwards.count()).unwrap_or(u32::MAX);
                    relay.commands.forwarded = relay.commands.forwarded.saturating_add(count);
                    relay.world.send(id, requests);
                }
            }
            pool::Action::Call(_, client::Call::Close) | pool::Action::Disconnect(_) => {}
            pool::Action::Event(event) => {
                if let Some(router) = self.routers.get_mut(index) {
                    let event = proxy::Input::Pool(*event);
                    router.relaying.proxy.handle(self.now, event).ok();
                }
            }
        }
    }
}
