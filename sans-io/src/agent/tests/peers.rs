//! Two agents, as most tests have them.

use bytes::Bytes;

use crate::agent::command::{Command, NewConnection, Receiving, Reply, RequestMode};
use crate::agent::config::Config;
use crate::agent::event::{Event, EventContent};
use crate::agent::id::{ConnectionId, MessageId};
use crate::agent::link::ConnectionRequest;
use crate::agent::store::{Key, Kind};
use crate::ratchet::{InitialKeys, Pq};
use crate::sim::agents::{Agents, USER};
use crate::smp::MsgFlags;

/// Alice, who invites.
pub(super) const ALICE: usize = 0;
/// Bob, who joins.
pub(super) const BOB: usize = 1;

/// Two agents that are connected, or about to be.
#[derive(Debug)]
pub(super) struct Peers {
    pub(super) agents: Agents,
    /// What each calls the connection.
    pub(super) names: [ConnectionId; 2],
}

pub(super) fn name(text: &str) -> ConnectionId {
    ConnectionId::try_from(text.as_bytes()).unwrap()
}

impl Peers {
    pub(super) fn new(seed: u64, routers: usize) -> Self {
        Self::with(seed, routers, &Config::default())
    }

    pub(super) fn with(seed: u64, routers: usize, config: &Config) -> Self {
        Self {
            agents: Agents::with(seed, 2, routers, config),
            names: [name("bob"), name("alice")],
        }
    }

    /// Two agents over routers with these configurations.
    pub(super) fn over(seed: u64, routers: Vec<crate::smp::router::Config>) -> Self {
        Self {
            agents: Agents::over(seed, 2, routers, &Config::default()),
            names: [name("bob"), name("alice")],
        }
    }

    /// How many events an agent keeps that were not confirmed.
    pub(super) fn kept_events(&self, who: usize) -> usize {
        let records = self.agents.store(who).unwrap().records();
        let is_event = |key: &Key| key.kind == Kind::Event && *key != Key::event_numbers();
        records.filter(|(key, _)| is_event(key)).count()
    }

    /// Two agents that are connected.
    pub(super) fn connected(seed: u64, routers: usize, pq: InitialKeys) -> Self {
        let mut peers = Self::new(seed, routers);
        peers.connect(pq);
        peers
    }

    pub(super) fn invite(&mut self, pq: InitialKeys) -> ConnectionRequest {
        self.invite_as(ALICE, &self.names[ALICE].clone(), pq)
    }

    pub(super) fn invite_as(
        &mut self,
        who: usize,
        connection: &ConnectionId,
        pq: InitialKeys,
    ) -> ConnectionRequest {
        let create = Command::Create {
            connection: Some(connection.clone()),
            user: USER,
            kind: NewConnection::Invitation { pq },
            client_data: None,
            short: None,
            mode: RequestMode::Interactive,
            receiving: Receiving::AtOnce,
        };
        match self.agents.ask(who, create) {
            Ok(Reply::Created { link, .. }) => link.to_string().parse().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn join(&self, request: ConnectionRequest, pq: Pq) -> Command {
        Command::Join {
            connection: Some(self.names[BOB].clone()),
            user: USER,
            request: Box::new(request),
            info: Bytes::from_static(b"bob's info"),
            pq,
            mode: RequestMode::Background,
            receiving: Receiving::AtOnce,
        }
    }

    pub(super) fn connect(&mut self, pq: InitialKeys) {
        let request = self.invite(pq);
        let joined = self.agents.ask(BOB, self.join(request, pq.support()));
        assert!(matches!(joined, Ok(Reply::Joined { .. })), "{joined:?}");
        self.allow();
        let connected = |events: Vec<EventContent>| {
            events
                .iter()
                .any(|event| matches!(event, EventContent::Connected { .. }))
        };
        assert!(connected(self.told(ALICE)), "Alice is connected");
        let told = self.told(BOB);
        assert!(connected(told.clone()), "Bob is connected {told:?}");
    }

    pub(super) fn allow(&mut self) {
        let name = self
            .told(ALICE)
            .into_iter()
            .find_map(|event| match event {
                EventContent::Confirmation { name, info, .. } => {
                    assert_eq!(**info, b"bob's info"[..]);
                    Some(name)
                }
                _ => None,
            })
            .expect("a confirmation");
        let allow = Command::Allow {
            connection: self.names[ALICE].clone(),
            name,
            info: Bytes::from_static(b"alice's info"),
        };
        assert_eq!(self.agents.ask(ALICE, allow), Ok(Reply::Done));
    }

    /// What an application was told about its connection, which it confirms.
    pub(super) fn told(&mut self, who: usize) -> Vec<EventContent> {
        let events = self.agents.events(who);
        for event in &events {
            if let Some(event) = event.id {
                self.agents.command(who, Command::Confirm { event });
            }
        }
        self.agents.run();
        let content = events.into_iter().map(|event: Event| event.content);
        content.collect()
    }

    pub(super) fn send(&mut self, who: usize, body: &str) -> MessageId {
        let send = self.sending(who, body);
        match self.agents.ask(who, send) {
            Ok(Reply::Accepted { message, .. }) => message,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn sending(&self, who: usize, body: &str) -> Command {
        Command::Send {
            connection: self.names[who].clone(),
            pq: None,
            flags: MsgFlags { notification: true },
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    pub(super) fn acknowledge(&mut self, who: usize, message: MessageId, receipt: Option<&str>) {
        let acknowledge = Command::Acknowledge {
            connection: self.names[who].clone(),
            message,
            receipt: receipt.map(|text| Bytes::copy_from_slice(text.as_bytes())),
        };
        assert_eq!(self.agents.ask(who, acknowledge), Ok(Reply::Done));
    }

    /// The messages that an application was told of, which it acknowledges, until there are no more.
    pub(super) fn read(&mut self, who: usize) -> Vec<String> {
        let mut read = Vec::new();
        loop {
            let messages: Vec<_> = self
                .told(who)
                .into_iter()
                .filter_map(|event| match event {
                    EventContent::Message { meta, body, .. } => Some((meta.message, body)),
                    _ => None,
                })
                .collect();
            if messages.is_empty() {
                return read;
            }
            for (message, body) in messages {
                read.push(String::from_utf8(body.to_vec()).unwrap());
                self.acknowledge(who, message, None);
            }
        }
    }
}
