//! Two agents with applications, while everything goes wrong: every message that was accepted is delivered once and in order, or
//! reported; no connection stays undecided, no rotation and no new ratchet under way, once everything works again.
//!
//! ```
//! use simplex_sans_io::sim::chaos::{Scenario, survive};
//!
//! survive(Scenario::Responses, 7);
//! ```

#![expect(
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::arithmetic_side_effects,
    reason = "a finding is a panic, and there are two agents"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::agents::{Agents, Faults, Reach, USER};
use crate::agent::command::{Command, Force, NewConnection, Receiving, Reply, RequestMode};
use crate::agent::config::{Config, Turns};
use crate::agent::error::AgentError;
use crate::agent::event::{EventContent, SyncState};
use crate::agent::id::{CommandId, ConnectionId, MessageId, RequestName};
use crate::agent::link::ConnectionRequest;
use crate::agent::message::Integrity;
use crate::ratchet::InitialKeys;
use crate::smp::MsgFlags;

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
    /// The sender's numbers of those that it was told are missing, as they may be where a router of a replaced queue was away for long.
    missing: BTreeSet<i64>,
    /// Those of them that came in the end.
    late: BTreeSet<u32>,
    unacknowledged: BTreeSet<MessageId>,
    sync: Option<SyncState>,
}

struct Chaos<'a> {
    agents: Agents,
    /// What each calls the connection.
    names: [ConnectionId; 2],
    applications: [Application; 2],
    request: ConnectionRequest,
    pq: InitialKeys,
    /// What happens next: one of that many.
    choose: &'a mut dyn FnMut(u32) -> u32,
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
const ALICE: usize = 0;
const BOB: usize = 1;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Routers cannot be reached, and can again.
    Routers,
    /// Responses are lost, too.
    Responses,
    /// Agents crash when they store something, and their stores are slow.
    Crashes,
    /// All of that.
    Everything,
    /// All of that, while queues are replaced.
    Queues,
    /// All of that, while ratchets are replaced.
    Ratchets,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Routers,
        Self::Responses,
        Self::Crashes,
        Self::Everything,
        Self::Queues,
        Self::Ratchets,
    ];

    const fn faults(self) -> Faults {
        let (lost_response, crash, slow_store) = match self {
            Self::Routers => (0, 0, 0),
            Self::Responses => (8, 0, 0),
            Self::Crashes => (0, 12, 3),
            Self::Everything => (10, 20, 4),
            Self::Queues | Self::Ratchets => (12, 25, 4),
        };
        Faults {
            lost_response,
            crash,
            slow_store,
        }
    }

    const fn restless(self) -> Restless {
        match self {
            Self::Queues => Restless::Queues,
            Self::Ratchets => Restless::Ratchets,
            Self::Routers | Self::Responses | Self::Crashes | Self::Everything => Restless::No,
        }
    }
}

/// After a run of so many turns, what has healed goes wrong again.
const LONG: usize = 50;

/// A run that follows from a seed.
///
/// # Panics
///
/// If something was lost, doubled, or has not ended.
pub fn survive(scenario: Scenario, seed: u64) {
    let mut rng = super::rng(seed);
    survive_with(scenario, seed, 60, &mut |of| rng.below(of));
}

/// A run of which something else decides what happens next, so many times.
///
/// # Panics
///
/// If something was lost, doubled, or has not ended.
pub fn survive_with(
    scenario: Scenario,
    seed: u64,
    turns: usize,
    choose: &mut dyn FnMut(u32) -> u32,
) {
    let mut chaos = Chaos::new(seed, scenario.restless(), choose);
    chaos.agents.set_faults(scenario.faults());
    chaos.run(turns);
    chaos.heal();
    if turns >= LONG {
        chaos.run(turns / 3);
        chaos.heal();
    }
    match scenario.restless() {
        Restless::No => chaos.check(),
        Restless::Queues => {
            chaos.check();
            chaos.check_queues();
        }
        Restless::Ratchets => chaos.check_ratchets(),
    }
}

impl<'a> Chaos<'a> {
    fn new(seed: u64, restless: Restless, choose: &'a mut dyn FnMut(u32) -> u32) -> Self {
        let pq = match seed % 3 {
            0 => InitialKeys::Never,
            1 => InitialKeys::Later,
            _ => InitialKeys::Invitation,
        };
        let turns = match seed % 2 {
            0 => Turns::AtOnce,
            _ => Turns::ByDriver,
        };
        let config = Config {
            turns,
            ..Config::default()
        };
        let mut agents = Agents::with(seed, 2, ROUTERS, &config);
        let name = |text: &[u8]| match ConnectionId::try_from(text) {
            Ok(name) => name,
            Err(error) => panic!("{error}"),
        };
        let names = [name(b"bob"), name(b"alice")];
        let create = Command::Create {
            connection: Some(names[ALICE].clone()),
            user: USER,
            kind: NewConnection::Invitation { pq },
            client_data: None,
            short: None,
            mode: RequestMode::Interactive,
            receiving: Receiving::AtOnce,
        };
        let request = match agents.ask(ALICE, create) {
            Ok(Reply::Created { link, .. }) => *link,
            other => panic!("{other:?}"),
        };
        Self {
            agents,
            names,
            applications: Default::default(),
            request,
            pq,
            choose,
            crashes: [0; 2],
            joined: false,
            restless,
        }
    }

    /// What an application was told about its connection, which it confirms.
    fn hear(&mut self, who: usize) -> Vec<EventContent> {
        let events = self.agents.events(who);
        for event in &events {
            if let Some(event) = event.id {
                self.agents.command(who, Command::Confirm { event });
            }
        }
        self.agents.run();
        events.into_iter().map(|event| event.content).collect()
    }

    /// What the applications do when they look at their agents.
    fn turn(&mut self) {
        for who in [ALICE, BOB] {
            let crashes = self.agents.crashes(who);
            if crashes != self.crashes[who] {
                self.crashes[who] = crashes;
                let application = &mut self.applications[who];
                let lost = std::mem::take(&mut application.sending);
                application.unknown.extend(lost.into_values());
            }
            self.replies(who);
            for event in self.hear(who) {
                self.told(who, event);
            }
            self.acknowledge(who);
            if let Some(name) = self.applications[who].to_allow.clone() {
                let allow = Command::Allow {
                    connection: self.names[who].clone(),
                    name,
                    info: Bytes::from_static(b"info"),
                };
                if self.agents.ask(who, allow) == Ok(Reply::Done) {
                    self.applications[who].to_allow = None;
                }
            }
        }
        if !self.joined {
            let join = Command::Join {
                connection: Some(self.names[BOB].clone()),
                user: USER,
                request: Box::new(self.request.clone()),
                info: Bytes::from_static(b"bob's info"),
                pq: self.pq.support(),
                mode: RequestMode::Background,
                receiving: Receiving::AtOnce,
            };
            let reply = self.agents.ask(BOB, join);
            self.joined = matches!(reply, Ok(Reply::Joined { .. }));
        }
    }

    fn replies(&mut self, who: usize) {
        let application = &mut self.applications[who];
        let agents = &mut self.agents;
        let (accepted, failed) = (&mut application.accepted, &mut application.failed);
        application
            .sending
            .retain(|id, number| match agents.reply(who, *id) {
                Some(Ok(Reply::Accepted { message, .. })) => {
                    accepted.insert(message, *number);
                    false
                }
                Some(Err(_)) => {
                    failed.insert(*number);
                    false
                }
                Some(Ok(other)) => panic!("{other:?}"),
                None => true,
            });
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
                let number = std::str::from_utf8(&body).ok();
                let number = number.and_then(|text| text.parse().ok());
                let Some(number) = number else {
                    panic!("another message: {body:?}")
                };
                if let Integrity::Skipped { from, to } = meta.integrity {
                    application.missing.extend(from..=to);
                }
                if application.missing.contains(&meta.sender_msg_id) {
                    application.late.insert(number);
                }
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
                connection: self.names[who].clone(),
                message,
                receipt: None,
            };
            if self.agents.ask(who, acknowledge) == Ok(Reply::Done) {
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
        let command = Command::Send {
            connection: self.names[who].clone(),
            pq: None,
            flags: MsgFlags { notification: true },
            body: Bytes::from(number.to_string()),
        };
        let id = self.agents.command(who, command);
        self.applications[who].sending.insert(id, number);
    }

    fn run(&mut self, turns: usize) {
        for _ in 0..turns {
            match (self.choose)(7) {
                6 => self.be_restless(),
                0 => self.send(ALICE),
                1 => self.send(BOB),
                2 => {
                    let router = (self.choose)(ROUTERS as u32) as usize;
                    let reach = if (self.choose)(2) == 0 {
                        Reach::Down
                    } else {
                        Reach::Up
                    };
                    self.agents.reach(router, reach);
                }
                3 => {
                    let seconds = u64::from((self.choose)(100));
                    self.agents.wait(Duration::from_secs(seconds));
                }
                _ => self.turn(),
            }
        }
    }

    fn be_restless(&mut self) {
        let who = ((self.choose)(2) as usize).min(BOB);
        let connection = self.names[who].clone();
        let command = match (self.restless, (self.choose)(4)) {
            (Restless::No, _) => return,
            (Restless::Queues, 0) => Command::AbortSwitch { connection },
            (Restless::Queues, _) => Command::Switch { connection },
            (Restless::Ratchets, _) => Command::Synchronize {
                connection,
                pq: self.pq.support(),
                force: Force::Yes,
            },
        };
        self.agents.command(who, command);
    }

    fn heal(&mut self) {
        self.agents.set_faults(Faults::default());
        for router in 0..ROUTERS {
            self.agents.reach(router, Reach::Up);
        }
        for _ in 0..30 {
            self.turn();
            self.agree_again();
            self.agents.wait(Duration::from_secs(200));
        }
        self.turn();
    }

    /// Applications make new ratchets when they have to.
    fn agree_again(&mut self) {
        for who in [ALICE, BOB] {
            if self.applications[who].sync == Some(SyncState::Required) {
                let synchronize = Command::Synchronize {
                    connection: self.names[who].clone(),
                    pq: self.pq.support(),
                    force: Force::No,
                };
                self.agents.ask(who, synchronize).ok();
            }
        }
    }

    /// No rotation is left under way, and no queue that nobody needs.
    fn check_queues(&mut self) {
        for who in [ALICE, BOB] {
            let connection = self.names[who].clone();
            let statistics = self.agents.ask(who, Command::Statistics { connection });
            let Ok(Reply::Statistics(statistics)) = statistics else {
                panic!("{statistics:?}")
            };
            assert_eq!(statistics.receive.len(), 1, "{statistics:?}");
            // One that the peer has given up is forgotten with its next attempt.
            let given_up = statistics
                .send
                .iter()
                .filter(|queue| queue.switch.is_some());
            assert_eq!(
                statistics.send.len(),
                1 + given_up.count(),
                "{statistics:?}"
            );
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
            self.agents.wait(Duration::from_secs(300));
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
            let follows =
                |before: &u32, number: &u32| before < number || receiver.late.contains(number);
            assert!(
                receiver.received.is_sorted_by(follows),
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
