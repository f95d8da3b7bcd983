//! Two agents and two routers: every order in which the agents go on, lose what they are told, and are stopped.
//!
//! A run begins at any point of one in which nothing goes wrong. After its last step nothing goes wrong any more, and what was begun has
//! to come to its end.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use simplex_sans_io::agent::command::{
    Command, Force, NewConnection, Receiving, Reply, RequestMode,
};
use simplex_sans_io::agent::event::{EventContent, SyncState};
use simplex_sans_io::agent::id::{CommandId, ConnectionId, MessageId, RequestName};
use simplex_sans_io::agent::link::ConnectionRequest;
use simplex_sans_io::ratchet::{InitialKeys, Pq};
use simplex_sans_io::sim::agents::{Agents, USER};
use simplex_sans_io::smp::MsgFlags;
use stateright::{Model, Property};

use crate::check;

const ALICE: usize = 0;
const BOB: usize = 1;

#[test]
fn every_order_of_losses_ends_in_a_connection() {
    check(|depth| Pair::new(Begun::Handshake, depth), 2);
}

#[test]
fn every_order_of_rotations_ends_in_one_queue() {
    check(|depth| Pair::new(Begun::Rotations, depth), 1);
}

#[test]
fn every_order_of_renegotiations_ends_in_one_ratchet() {
    check(|depth| Pair::new(Begun::Renegotiations, depth), 2);
}

/// What the agents are about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    /// Bob joins by the link of Alice.
    Handshake,
    /// Both replace their queues, while a message to Alice is under way.
    Rotations,
    /// Both want a new ratchet.
    Renegotiations,
}

struct Pair {
    begun: Begun,
    depth: usize,
}

/// How often something may go wrong.
const FAULTS: usize = 2;

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    GoOn(usize),
    Lose(usize),
    Crash(usize),
    /// Time passes.
    Wake,
}

/// What an application does and knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Application {
    connected: bool,
    to_allow: Option<RequestName>,
    sync: Option<SyncState>,
    /// Messages are told until it is stored that they were acknowledged.
    heard: BTreeMap<MessageId, Bytes>,
}

/// How far Bob is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Join {
    Asked(CommandId, u32),
    Done,
}

#[derive(Clone)]
struct State {
    agents: Agents,
    names: [ConnectionId; 2],
    request: ConnectionRequest,
    join: Join,
    applications: [Application; 2],
    steps: usize,
    faults: usize,
    /// What is wrong when everything had time to end.
    complaint: Option<String>,
    /// Stands for all of it: to compare it again and again takes long.
    fingerprint: u64,
}

impl fmt::Debug for State {
    /// What says why a run ended badly; its steps lead there again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("join", &self.join)
            .field("applications", &self.applications)
            .field("complaint", &self.complaint)
            .finish_non_exhaustive()
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.fingerprint.hash(hasher);
    }
}

/// Hashes what is printed.
struct Printed(DefaultHasher);

impl fmt::Write for Printed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl State {
    /// Bob is about to join.
    fn new() -> Self {
        let name = |text: &str| ConnectionId::try_from(text.as_bytes()).unwrap();
        let mut agents = Agents::new(1, 2, 2);
        let names = [name("bob"), name("alice")];
        let create = Command::Create {
            connection: Some(names[ALICE].clone()),
            user: USER,
            kind: NewConnection::Invitation {
                pq: InitialKeys::Never,
            },
            client_data: None,
            short: None,
            mode: RequestMode::Interactive,
            receiving: Receiving::AtOnce,
        };
        let Ok(Reply::Created { link, .. }) = agents.ask(ALICE, create) else {
            panic!("no link")
        };
        let mut state = Self {
            agents,
            names,
            request: link.to_string().parse().unwrap(),
            join: Join::Done,
            applications: Default::default(),
            steps: 0,
            faults: 0,
            complaint: None,
            fingerprint: 0,
        };
        state.join();
        state
    }

    fn join(&mut self) {
        let join = Command::Join {
            connection: Some(self.names[BOB].clone()),
            user: USER,
            request: Box::new(self.request.clone()),
            info: Bytes::from_static(b"Bob"),
            pq: Pq::Off,
            mode: RequestMode::Background,
            receiving: Receiving::AtOnce,
        };
        let crashes = self.agents.crashes(BOB);
        self.join = Join::Asked(self.agents.command(BOB, join), crashes);
    }

    fn send(&mut self, who: usize, text: &'static [u8]) {
        let send = Command::Send {
            connection: self.names[who].clone(),
            pq: None,
            flags: MsgFlags {
                notification: false,
            },
            body: Bytes::from_static(text),
        };
        self.agents.command(who, send);
    }

    /// The applications look at their agents.
    fn turn(&mut self) {
        for who in [ALICE, BOB] {
            for event in self.agents.events(who) {
                if let Some(event) = event.id {
                    self.agents.command(who, Command::Confirm { event });
                }
                self.told(who, event.content);
            }
            if let Some(name) = self.applications[who].to_allow.take() {
                let allow = Command::Allow {
                    connection: self.names[who].clone(),
                    name,
                    info: Bytes::from_static(b"Alice"),
                };
                self.agents.command(who, allow);
            }
        }
        if let Join::Asked(id, crashes) = self.join {
            match self.agents.reply(BOB, id) {
                Some(Ok(_)) => self.join = Join::Done,
                Some(Err(_)) => self.join(),
                None if self.agents.crashes(BOB) != crashes => self.join(),
                None => {}
            }
        }
    }

    fn told(&mut self, who: usize, event: EventContent) {
        let connection = self.names[who].clone();
        let application = &mut self.applications[who];
        match event {
            EventContent::Confirmation { name, .. } => application.to_allow = Some(name),
            EventContent::Connected { .. } => application.connected = true,
            EventContent::RatchetSync { state, .. } => application.sync = Some(state),
            EventContent::Message { meta, body, .. } => {
                application.heard.insert(meta.message, body.to_vec().into());
                let acknowledge = Command::Acknowledge {
                    connection,
                    message: meta.message,
                    receipt: None,
                };
                self.agents.command(who, acknowledge);
            }
            _ => {}
        }
    }

    fn pass(&mut self, duration: Duration) {
        self.agents.run();
        for _ in 0..8 {
            self.turn();
            self.agents.wait(duration / 8);
        }
        self.turn();
        self.agents.run();
    }

    /// What is wrong when nothing goes wrong any more.
    fn end(&mut self, begun: Begun) -> Result<(), String> {
        self.pass(Duration::from_secs(1800));
        for who in [ALICE, BOB] {
            // What applications do when they have to.
            if self.applications[who].sync == Some(SyncState::Required) {
                let synchronize = self.synchronize(who, Force::No);
                self.agents.command(who, synchronize);
                self.pass(Duration::from_secs(1800));
            }
        }
        self.send(ALICE, b"to Bob");
        self.send(BOB, b"to Alice");
        self.pass(Duration::from_secs(600));
        for (who, last) in [(ALICE, "to Alice"), (BOB, "to Bob")] {
            let application = &self.applications[who];
            let expected: &[&str] = match (begun, who) {
                (Begun::Rotations, ALICE) => &["before", last],
                _ => &[last],
            };
            if !application.connected || !application.heard.values().eq(expected) {
                return Err(format!("{who}: {application:?}"));
            }
            if !matches!(application.sync, None | Some(SyncState::Ok)) {
                return Err(format!("{who}: {:?}", application.sync));
            }
            let connection = self.names[who].clone();
            match self.agents.ask(who, Command::Statistics { connection }) {
                Ok(Reply::Statistics(of)) if of.receive.len() == 1 => {}
                other => return Err(format!("{who}: {other:?}")),
            }
        }
        Ok(())
    }

    fn synchronize(&self, who: usize, force: Force) -> Command {
        Command::Synchronize {
            connection: self.names[who].clone(),
            pq: Pq::Off,
            force,
        }
    }

    fn printed(&self) -> u64 {
        let mut printed = Printed(DefaultHasher::new());
        let state = (&self.agents, self.join, &self.applications);
        write!(printed, "{state:?} {} {}", self.steps, self.faults).unwrap();
        printed.0.finish()
    }
}

impl Pair {
    const fn new(begun: Begun, depth: usize) -> Self {
        Self { begun, depth }
    }
}

impl Model for Pair {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut state = State::new();
        if self.begun != Begun::Handshake {
            state.pass(Duration::from_secs(60));
        }
        match self.begun {
            Begun::Handshake => {}
            Begun::Rotations => {
                state.send(BOB, b"before");
                state.agents.run();
                for who in [ALICE, BOB] {
                    let connection = state.names[who].clone();
                    state.agents.command(who, Command::Switch { connection });
                }
            }
            Begun::Renegotiations => {
                for who in [ALICE, BOB] {
                    let synchronize = state.synchronize(who, Force::Yes);
                    state.agents.command(who, synchronize);
                }
            }
        }
        // Every point on the way.
        let mut states = vec![state.clone()];
        let mut number = 0;
        loop {
            let who = [ALICE, BOB][number % 2];
            number += 1;
            if state.agents.step(who) || state.agents.step(1 - who) {
                state.turn();
                state.fingerprint = state.printed();
                states.push(state.clone());
            } else {
                return states;
            }
        }
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if state.steps >= self.depth {
            return;
        }
        for who in [ALICE, BOB] {
            actions.push(Step::GoOn(who));
            if state.faults < FAULTS {
                actions.extend([Step::Lose(who), Step::Crash(who)]);
            }
        }
        actions.push(Step::Wake);
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        state.steps += 1;
        let happened = match step {
            Step::GoOn(who) => state.agents.step(who),
            Step::Lose(who) => {
                state.faults += 1;
                state.agents.lose(who)
            }
            Step::Crash(who) => {
                state.faults += 1;
                state.agents.crash(who);
                true
            }
            // Timers are slower than routers.
            Step::Wake => {
                let mut quiet = last.agents.clone();
                let at_rest = ![ALICE, BOB].into_iter().any(|who| quiet.step(who));
                at_rest && state.agents.wake()
            }
        };
        if !happened {
            return None;
        }
        state.turn();
        if state.steps == self.depth {
            let mut end = state.clone();
            state.complaint = end.end(self.begun).err();
        }
        state.fingerprint = state.printed();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("it comes to its end", |_, state: &State| {
                state.complaint.is_none()
            }),
            Property::sometimes("something goes wrong", |_, state: &State| state.faults > 0),
        ]
    }
}
