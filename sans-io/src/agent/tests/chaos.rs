//! Whatever goes wrong on the way: every message that was accepted is delivered once and in order, or reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::peers::{ALICE, BOB, Peers};
use crate::agent::command::{Command, Reply};
use crate::agent::event::EventContent;
use crate::agent::id::{CommandId, MessageId, RequestName};
use crate::agent::link::ConnectionRequest;
use crate::ratchet::InitialKeys;
use crate::rng::Rng;
use crate::sim::agents::{Faults, Reach};

/// What an application does and knows.
#[derive(Debug, Default)]
struct Application {
    connected: bool,
    to_allow: Option<RequestName>,
    /// Commands whose replies are awaited, with the number of the message that they send.
    sending: BTreeMap<CommandId, u32>,
    /// Messages that were accepted, and what they are called.
    accepted: BTreeMap<MessageId, u32>,
    /// Those of which it is not known whether they were.
    unknown: BTreeSet<u32>,
    failed: BTreeSet<u32>,
    next: u32,
    /// What was received, in order, and under which names.
    received: Vec<u32>,
    names: BTreeSet<MessageId>,
    unacknowledged: BTreeSet<MessageId>,
}

struct Chaos {
    peers: Peers,
    applications: [Application; 2],
    request: ConnectionRequest,
    pq: InitialKeys,
    rng: Rng,
    crashes: [u32; 2],
    joined: bool,
}

impl Chaos {
    fn new(seed: u64, pq: InitialKeys) -> Self {
        let mut rng = Rng::from_seed([u8::try_from(seed % 251).unwrap(); 32]);
        let mut peers = Peers::new(seed, 2);
        let request = peers.invite(pq);
        rng.bytes::<8>();
        Self {
            peers,
            applications: Default::default(),
            request,
            pq,
            rng,
            crashes: [0; 2],
            joined: false,
        }
    }

    /// What the applications do when they look at their agents.
    fn turn(&mut self) {
        for who in [ALICE, BOB] {
            let crashes = self.peers.agents.crashes(who);
            if crashes != self.crashes[who] {
                self.crashes[who] = crashes;
                let application = &mut self.applications[who];
                let lost = std::mem::take(&mut application.sending);
                application.unknown.extend(lost.into_values());
            }
            self.replies(who);
            for event in self.peers.told(who) {
                self.told(who, event);
            }
            self.acknowledge(who);
            if let Some(name) = self.applications[who].to_allow.clone() {
                let allow = Command::Allow {
                    connection: self.peers.names[who].clone(),
                    name,
                    info: Bytes::from_static(b"info"),
                };
                if self.peers.agents.ask(who, allow) == Ok(Reply::Done) {
                    self.applications[who].to_allow = None;
                }
            }
        }
        if !self.joined {
            let join = self.peers.join(self.request.clone(), self.pq.support());
            let reply = self.peers.agents.ask(BOB, join);
            self.joined = matches!(reply, Ok(Reply::Joined { .. }));
        }
    }

    fn replies(&mut self, who: usize) {
        let application = &mut self.applications[who];
        let waiting: Vec<_> = application.sending.keys().copied().collect();
        for id in waiting {
            match self.peers.agents.reply(who, id) {
                Some(Ok(Reply::Accepted { message, .. })) => {
                    let number = application.sending.remove(&id).unwrap();
                    application.accepted.insert(message, number);
                }
                Some(Err(_)) => {
                    let number = application.sending.remove(&id).unwrap();
                    application.failed.insert(number);
                }
                Some(Ok(other)) => panic!("{other:?}"),
                None => {}
            }
        }
    }

    fn told(&mut self, who: usize, event: EventContent) {
        let application = &mut self.applications[who];
        match event {
            EventContent::Confirmation { name, .. } => application.to_allow = Some(name),
            EventContent::Connected { .. } => application.connected = true,
            EventContent::SendFailed { messages, .. } => {
                for message in messages.iter() {
                    application.failed.extend(application.accepted.get(message));
                }
            }
            EventContent::Message { meta, body, .. } => {
                let number = std::str::from_utf8(&body).unwrap().parse().unwrap();
                if application.names.insert(meta.message) {
                    application.received.push(number);
                }
                application.unacknowledged.insert(meta.message);
            }
            EventContent::Error { error } => panic!("{who}: {error}"),
            EventContent::RatchetSync { state, error } => panic!("{who}: {state:?} {error:?}"),
            _ => {}
        }
    }

    fn acknowledge(&mut self, who: usize) {
        for message in self.applications[who].unacknowledged.clone() {
            let acknowledge = Command::Acknowledge {
                connection: self.peers.names[who].clone(),
                message,
                receipt: None,
            };
            if self.peers.agents.ask(who, acknowledge) == Ok(Reply::Done) {
                self.applications[who].unacknowledged.remove(&message);
            }
        }
    }

    fn send(&mut self, who: usize) {
        if !self.applications[who].connected {
            return;
        }
        let number = self.applications[who].next;
        self.applications[who].next += 1;
        let command = self.peers.sending(who, &number.to_string());
        let id = self.peers.agents.command(who, command);
        self.applications[who].sending.insert(id, number);
    }

    fn run(&mut self, turns: usize) {
        for _ in 0..turns {
            match self.rng.below(6) {
                0 => self.send(ALICE),
                1 => self.send(BOB),
                2 => {
                    let router = self.rng.below(2) as usize;
                    let reach = if self.rng.below(2) == 0 {
                        Reach::Down
                    } else {
                        Reach::Up
                    };
                    self.peers.agents.reach(router, reach);
                }
                3 => {
                    let seconds = u64::from(self.rng.below(100));
                    self.peers.agents.wait(Duration::from_secs(seconds));
                }
                _ => self.turn(),
            }
        }
    }

    fn heal(&mut self) {
        self.peers.agents.set_faults(Faults::default());
        for router in 0..2 {
            self.peers.agents.reach(router, Reach::Up);
        }
        for _ in 0..30 {
            self.turn();
            self.peers.agents.wait(Duration::from_secs(200));
        }
        self.turn();
    }

    fn check(&self) {
        for (who, other) in [(ALICE, BOB), (BOB, ALICE)] {
            let (sender, receiver) = (&self.applications[who], &self.applications[other]);
            assert!(sender.connected, "undecided");
            assert!(sender.sending.is_empty(), "no reply");
            assert!(receiver.unacknowledged.is_empty());
            assert!(
                receiver.received.is_sorted_by(|a, b| a < b),
                "once and in order: {:?}",
                receiver.received
            );
            let received: BTreeSet<_> = receiver.received.iter().copied().collect();
            for number in sender.accepted.values() {
                let reported = sender.failed.contains(number);
                assert!(
                    received.contains(number) || reported,
                    "{who}: {number} is lost"
                );
            }
            for number in &received {
                let known = sender.accepted.values().any(|accepted| accepted == number);
                assert!(
                    known || sender.unknown.contains(number),
                    "{number} was never sent"
                );
            }
        }
    }
}

/// As many seeds as the variable `AGENT_SEEDS` says.
fn seeds(first: u64) -> std::ops::Range<u64> {
    let count = std::env::var("AGENT_SEEDS").ok();
    let count = count.and_then(|count| count.parse().ok()).unwrap_or(8);
    let first = first * 1000;
    first..first + count
}

fn survives(seed: u64, faults: Faults) {
    let pq = match seed % 3 {
        0 => InitialKeys::Never,
        1 => InitialKeys::Later,
        _ => InitialKeys::Invitation,
    };
    let mut chaos = Chaos::new(seed, pq);
    chaos.peers.agents.set_faults(faults);
    chaos.run(60);
    chaos.heal();
    chaos.run(20);
    chaos.heal();
    chaos.check();
}

#[test]
fn routers_that_come_and_go() {
    for seed in seeds(0) {
        survives(seed, Faults::default());
    }
}

#[test]
fn responses_that_are_lost() {
    for seed in seeds(100) {
        let faults = Faults {
            lost_response: 8,
            ..Faults::default()
        };
        survives(seed, faults);
    }
}

#[test]
fn agents_that_crash_when_they_store() {
    for seed in seeds(200) {
        let faults = Faults {
            crash: 12,
            slow_store: 3,
            ..Faults::default()
        };
        survives(seed, faults);
    }
}

#[test]
fn everything_at_once() {
    for seed in seeds(300) {
        let faults = Faults {
            lost_response: 10,
            crash: 20,
            slow_store: 4,
        };
        survives(seed, faults);
    }
}
