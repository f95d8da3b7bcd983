//! Whatever goes wrong on the way: every message that was accepted is delivered once and in order, or reported.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::peers::{ALICE, BOB, Peers};
use crate::agent::command::{Command, Force, Reply};
use crate::agent::config::{Config, Turns};
use crate::agent::error::AgentError;
use crate::agent::event::{EventContent, SyncState};
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
    sync: Option<SyncState>,
}

struct Chaos {
    peers: Peers,
    applications: [Application; 2],
    request: ConnectionRequest,
    pq: InitialKeys,
    rng: Rng,
    crashes: [u32; 2],
    joined: bool,
    /// Whether the applications replace queues and ratchets now and then.
    restless: Restless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restless {
    No,
    Queues,
    Ratchets,
}

const ROUTERS: usize = 3;

impl Chaos {
    fn new(seed: u64, pq: InitialKeys, restless: Restless) -> Self {
        let mut rng = Rng::from_seed([u8::try_from(seed % 251).unwrap(); 32]);
        let turns = match seed % 2 {
            0 => Turns::AtOnce,
            _ => Turns::ByDriver,
        };
        let config = Config {
            turns,
            ..Config::default()
        };
        let mut peers = Peers::with(seed, ROUTERS, &config);
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
            restless,
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
            // Messages about a rotation may come after it was given up.
            EventContent::Error {
                error: AgentError::Queue { .. },
            } if self.restless == Restless::Queues => {}
            // What was encrypted for a ratchet that is gone.
            EventContent::Error { .. } if self.restless == Restless::Ratchets => {}
            EventContent::Error { error } => panic!("{who}: {error}"),
            EventContent::RatchetSync { state, error } => {
                assert_eq!(self.restless, Restless::Ratchets, "{who}: {error:?}");
                application.sync = Some(state);
            }
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
            match self.rng.below(7) {
                6 => self.be_restless(),
                0 => self.send(ALICE),
                1 => self.send(BOB),
                2 => {
                    let router = self.rng.below(ROUTERS as u32) as usize;
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

    fn be_restless(&mut self) {
        let who = self.rng.below(2) as usize;
        let connection = self.peers.names[who].clone();
        let command = match (self.restless, self.rng.below(4)) {
            (Restless::No, _) => return,
            (Restless::Queues, 0) => Command::AbortSwitch { connection },
            (Restless::Queues, _) => Command::Switch { connection },
            (Restless::Ratchets, _) => Command::Synchronize {
                connection,
                pq: self.pq.support(),
                force: Force::Yes,
            },
        };
        self.peers.agents.command(who, command);
    }

    fn heal(&mut self) {
        self.peers.agents.set_faults(Faults::default());
        for router in 0..ROUTERS {
            self.peers.agents.reach(router, Reach::Up);
        }
        for _ in 0..30 {
            self.turn();
            self.agree_again();
            self.peers.agents.wait(Duration::from_secs(200));
        }
        self.turn();
    }

    /// Applications make new ratchets when they have to.
    fn agree_again(&mut self) {
        for who in [ALICE, BOB] {
            if self.applications[who].sync == Some(SyncState::Required) {
                let synchronize = Command::Synchronize {
                    connection: self.peers.names[who].clone(),
                    pq: self.pq.support(),
                    force: Force::No,
                };
                self.peers.agents.ask(who, synchronize).ok();
            }
        }
    }

    /// No rotation is left under way, and no queue that nobody needs.
    fn check_queues(&mut self) {
        for who in [ALICE, BOB] {
            let connection = self.peers.names[who].clone();
            let statistics = self
                .peers
                .agents
                .ask(who, Command::Statistics { connection });
            let Ok(Reply::Statistics(statistics)) = statistics else {
                panic!("{statistics:?}")
            };
            assert_eq!(statistics.receive.len(), 1, "{statistics:?}");
            // One that the peer has given up is forgotten with its next attempt.
            let given_up = statistics.send[0].switch.iter().count();
            assert_eq!(statistics.send.len(), 1 + given_up, "{statistics:?}");
        }
    }

    /// Whatever was lost with the old ratchets, the last ones fit.
    fn check_ratchets(&mut self) {
        self.restless = Restless::No;
        for who in [ALICE, BOB] {
            let sync = self.applications[who].sync;
            assert!(
                matches!(sync, None | Some(SyncState::Ok)),
                "{who}: {sync:?}"
            );
            assert!(self.applications[who].connected);
            let before = self.applications[1 - who].received.len();
            self.send(who);
            self.peers.agents.wait(Duration::from_secs(300));
            self.turn();
            self.turn();
            assert_eq!(self.applications[1 - who].received.len(), before + 1);
        }
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
    let count = count.and_then(|count| count.parse().ok()).unwrap_or(5);
    let first = first * 1000;
    first..first + count
}

fn survives(seed: u64, faults: Faults) {
    survives_with(seed, faults, Restless::No);
}

fn survives_with(seed: u64, faults: Faults, restless: Restless) {
    let pq = match seed % 3 {
        0 => InitialKeys::Never,
        1 => InitialKeys::Later,
        _ => InitialKeys::Invitation,
    };
    eprintln!("seed {seed}");
    let mut chaos = Chaos::new(seed, pq, restless);
    chaos.peers.agents.set_faults(faults);
    chaos.run(60);
    chaos.heal();
    chaos.run(20);
    chaos.heal();
    match restless {
        Restless::No => chaos.check(),
        Restless::Queues => {
            chaos.check();
            chaos.check_queues();
        }
        Restless::Ratchets => chaos.check_ratchets(),
    }
}

#[test]
fn routers_that_come_and_go() {
    for seed in seeds(0) {
        survives(seed, Faults::default());
    }
}

#[test]
fn responses_that_are_lost() {
    for seed in seeds(1) {
        let faults = Faults {
            lost_response: 8,
            ..Faults::default()
        };
        survives(seed, faults);
    }
}

#[test]
fn agents_that_crash_when_they_store() {
    for seed in seeds(2) {
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
    for seed in seeds(3) {
        let faults = Faults {
            lost_response: 10,
            crash: 20,
            slow_store: 4,
        };
        survives(seed, faults);
    }
}

#[test]
fn queues_that_are_replaced_while_everything_goes_wrong() {
    for seed in seeds(4) {
        let faults = Faults {
            lost_response: 12,
            crash: 25,
            slow_store: 4,
        };
        survives_with(seed, faults, Restless::Queues);
    }
}

#[test]
fn ratchets_that_are_replaced_while_everything_goes_wrong() {
    for seed in seeds(5) {
        let faults = Faults {
            lost_response: 12,
            crash: 25,
            slow_store: 4,
        };
        survives_with(seed, faults, Restless::Ratchets);
    }
}
