//! TLS between a client and a router, with somebody in the middle.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::choices::Choices;
use super::clockwork::Clockwork;
use crate::crypto::Algorithm;
use crate::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
use crate::rng::Rng;
use crate::session::SessionFacts;
use crate::sim::identity;
use crate::sim::{Checked, Trace};
use crate::time::{Instant, Now};
use crate::tls::{
    ClientCertificates, ClientConfig, ClientOptions, Credentials, Groups, ServerConfig,
    ServerOptions, Tls, Versions,
};

/// Both sides agree on the session or are not secured; each hears a beginning of what the other has said, and all of it if nobody was in
/// the middle.
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let manner = choices.byte();
    let Some(configs) = Configs::get(usize::from(manner >> 1)) else {
        return;
    };
    let Some(mut run) = Run::new(configs, trace) else {
        return;
    };
    if manner & 1 == 1 {
        run.deliver_all();
    }
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < MAX_STEPS
    {
        steps = steps.saturating_add(1);
        let direction = match small & 1 {
            0 => Direction::ToServer,
            _ => Direction::ToClient,
        };
        run.step(kind, direction, choices);
    }
    run.finish();
}

const MAX_STEPS: u8 = 64;

struct Run<'t> {
    client: Side,
    server: Side,
    clock: Clockwork,
    /// Whether the network did nothing but deliver, and nobody wanted to end.
    genuine: bool,
    trace: &'t mut Trace,
}

struct Side {
    name: &'static str,
    tls: Checked<Tls<Pipe>>,
    state: State,
    /// What it was told of the session.
    facts: Option<SessionFacts>,
    /// What it was to send, once secured.
    said: Vec<u8>,
    heard: Vec<u8>,
    /// What it has sent and the other side has not received.
    wire: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Closed,
    Dead,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl<'t> Run<'t> {
    fn new(configs: &Configs, trace: &'t mut Trace) -> Option<Self> {
        let mut rng = Rng::from_seed([1; 32]);
        let now = Now::START;
        let client = Tls::client(&configs.client, now, rng.fork(), Pipe::new).ok()?;
        let server = Tls::server(&configs.server, now, rng.fork(), Pipe::new);
        let mut run = Self {
            client: Side::new("client", client),
            server: Side::new("server", server),
            clock: Clockwork::default(),
            genuine: true,
            trace,
        };
        run.client.drain(now, run.trace);
        run.server.drain(now, run.trace);
        Some(run)
    }

    fn step(&mut self, kind: u8, direction: Direction, choices: &mut Choices<'_>) {
        match kind {
            0 => self.deliver(direction, choices.word().into()),
            1 => self.deliver_all(),
            2 => {
                let length = usize::from(choices.word());
                let text = vec![choices.byte(); length];
                self.say(direction, text);
            }
            3 => self.alter(
                direction,
                |wire, choices| {
                    let position = usize::from(choices.word());
                    let change = choices.byte();
                    if let Some(byte) = wire.get_mut(position) {
                        *byte ^= change;
                    }
                },
                choices,
            ),
            4 => self.alter(
                direction,
                |wire, choices| {
                    let (start, length) = (usize::from(choices.word()), choices.byte());
                    let end = start.saturating_add(length.into()).min(wire.len());
                    wire.drain(start.min(end)..end);
                },
                choices,
            ),
            5 => self.alter(
                direction,
                |wire, choices| {
                    let position = usize::from(choices.word()).min(wire.len());
                    let bytes = choices.some_bytes().iter().copied();
                    wire.splice(position..position, bytes);
                },
                choices,
            ),
            6 => self.alter(
                direction,
                |wire, choices| {
                    swap_records(wire, choices.below(8));
                },
                choices,
            ),
            7 => self.alter(
                direction,
                |wire, choices| {
                    let record = record(wire, choices.below(8));
                    let copy: Vec<_> = wire.get(record).unwrap_or_default().to_vec();
                    wire.extend(copy);
                },
                choices,
            ),
            8 => {
                self.genuine = false;
                self.give(direction, Input::Eof);
            }
            9 => {
                self.genuine = false;
                self.clock.advance(choices.duration());
                self.give(direction, Input::Timeout);
            }
            10 => {
                self.genuine = false;
                self.give(direction, Input::Command(Say::Close));
            }
            11 => {
                self.genuine = false;
                self.give(direction, Input::Bytes(choices.some_bytes()));
            }
            _ => {}
        }
    }

    /// The side that receives in this direction, and the one that sends.
    fn sides(&mut self, direction: Direction) -> (&mut Side, &mut Side) {
        match direction {
            Direction::ToServer => (&mut self.server, &mut self.client),
            Direction::ToClient => (&mut self.client, &mut self.server),
        }
    }

    fn say(&mut self, direction: Direction, text: Vec<u8>) {
        let (_, sender) = self.sides(direction);
        if sender.state == State::Alive {
            sender.said.extend_from_slice(&text);
        }
        let now = self.clock.now();
        let (sender, trace) = match direction {
            Direction::ToServer => (&mut self.client, &mut *self.trace),
            Direction::ToClient => (&mut self.server, &mut *self.trace),
        };
        sender.give(now, Input::Command(Say::Send(text.into())), trace);
        self.check();
    }

    fn alter(
        &mut self,
        direction: Direction,
        alter: impl FnOnce(&mut Vec<u8>, &mut Choices<'_>),
        choices: &mut Choices<'_>,
    ) {
        let (_, sender) = self.sides(direction);
        let before = sender.wire.clone();
        alter(&mut sender.wire, choices);
        let same = sender.wire == before;
        self.genuine &= same;
    }

    fn deliver(&mut self, direction: Direction, length: usize) {
        let (_, sender) = self.sides(direction);
        let length = length.min(sender.wire.len());
        let piece: Vec<_> = sender.wire.drain(..length).collect();
        if !piece.is_empty() {
            self.give(direction, Input::Bytes(&piece));
        }
    }

    fn deliver_all(&mut self) {
        while !self.client.wire.is_empty() || !self.server.wire.is_empty() {
            self.deliver(Direction::ToServer, usize::MAX);
            self.deliver(Direction::ToClient, usize::MAX);
        }
    }

    /// Gives the receiver of this direction an input.
    fn give(&mut self, direction: Direction, input: Input<'_, Say>) {
        let now = self.clock.now();
        let receiver = match direction {
            Direction::ToServer => &mut self.server,
            Direction::ToClient => &mut self.client,
        };
        receiver.give(now, input, self.trace);
        self.check();
    }

    fn check(&self) {
        if let (Some(client), Some(server)) = (&self.client.facts, &self.server.facts) {
            assert_eq!(client.session_id, server.session_id);
            assert_eq!(client.version, server.version);
            assert_eq!(client.protocol, server.protocol);
        }
        assert!(self.client.said.starts_with(&self.server.heard));
        assert!(self.server.said.starts_with(&self.client.heard));
        for side in [&self.client, &self.server] {
            let secured = side.facts.is_some();
            assert!(
                secured || side.heard.is_empty(),
                "heard before it is secured"
            );
        }
    }

    fn finish(mut self) {
        self.deliver_all();
        if self.genuine {
            assert!(self.client.facts.is_some() && self.server.facts.is_some());
            assert_eq!(self.client.said, self.server.heard);
            assert_eq!(self.server.said, self.client.heard);
        }
        self.give(Direction::ToServer, Input::Eof);
        self.give(Direction::ToClient, Input::Eof);
        assert_ne!(self.client.state, State::Alive);
        assert_ne!(self.server.state, State::Alive);
    }
}

impl Side {
    const fn new(name: &'static str, tls: Tls<Pipe>) -> Self {
        Self {
            name,
            tls: Checked::new(tls),
            state: State::Alive,
            facts: None,
            said: Vec::new(),
            heard: Vec::new(),
            wire: Vec::new(),
        }
    }

    fn give(&mut self, now: Now, input: Input<'_, Say>, trace: &mut Trace) {
        if self.state == State::Dead {
            return;
        }
        trace.input(now.instant, self.name, &input);
        let result = self.tls.handle(now, input);
        self.drain(now, trace);
        if result.is_err() {
            self.state = State::Dead;
        }
    }

    fn drain(&mut self, now: Now, trace: &mut Trace) {
        while let Some(action) = self.tls.poll() {
            trace.action(now.instant, self.name, &action);
            match action {
                Action::Transmit(bytes) => self.wire.extend_from_slice(&bytes),
                Action::Event(Seen::Secured(facts)) => {
                    assert!(self.facts.is_none(), "secured twice");
                    self.facts = Some(*facts);
                }
                Action::Event(Seen::Bytes(bytes)) => self.heard.extend_from_slice(&bytes),
                Action::Close(_) => self.state = State::Closed,
            }
        }
    }
}

/// Where the record of that number is.
fn record(wire: &[u8], number: usize) -> Range<usize> {
    let mut start = 0_usize;
    for _ in 0..number {
        start = start.saturating_add(record_length(wire, start));
    }
    let start = start.min(wire.len());
    let end = start.saturating_add(record_length(wire, start));
    start..end.min(wire.len())
}

fn record_length(wire: &[u8], start: usize) -> usize {
    match wire.get(start..) {
        Some([_, _, _, high, low, ..]) => {
            usize::from(u16::from_be_bytes([*high, *low])).saturating_add(5)
        }
        _ => 0,
    }
}

fn swap_records(wire: &mut Vec<u8>, number: usize) {
    let one = record(wire, number);
    let other = record(wire, number.saturating_add(1));
    let swapped = [wire.get(other.clone()), wire.get(one.clone())];
    let swapped = swapped.map(Option::unwrap_or_default).concat();
    wire.splice(one.start..other.end.max(one.start), swapped);
}

/// The configurations of both sides.
struct Configs {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Configs {
    /// One of a few.
    fn get(index: usize) -> Option<&'static Self> {
        static CONFIGS: OnceLock<Vec<Configs>> = OnceLock::new();
        let all = CONFIGS.get_or_init(|| {
            let versions = [Versions::Both, Versions::Tls12];
            let groups = [Groups::X25519First, Groups::X448];
            let asked = [ClientCertificates::Asked, ClientCertificates::NotAsked];
            let all = versions.into_iter().flat_map(|v| {
                groups
                    .into_iter()
                    .flat_map(move |g| asked.map(|a| (v, g, a)))
            });
            all.filter_map(|(v, g, a)| Self::new(v, g, a)).collect()
        });
        all.get(index.checked_rem(all.len())?)
    }

    fn new(versions: Versions, groups: Groups, asked: ClientCertificates) -> Option<Self> {
        let mut rng = Rng::from_seed([2; 32]);
        let mut issue = || {
            let issued = identity::Credentials::issue(Algorithm::Ed25519, &mut rng);
            let chain = (*issued.chain).clone();
            Credentials::new(chain, (*issued.leaf_key).clone()).ok()
        };
        let (router, service) = (issue()?, issue()?);
        let identity = router.chain().fingerprint();
        let server = ServerOptions {
            protocols: vec!["smp/1"],
            client_certificates: asked,
            versions: Versions::Both,
            groups: Groups::X25519First,
            ..ServerOptions::new(router)
        };
        let client = ClientOptions {
            protocols: vec!["smp/1"],
            credentials: Some(service),
            versions,
            groups,
            ..ClientOptions::new(identity)
        };
        Some(Self {
            client: Arc::new(ClientConfig::new(client).ok()?),
            server: Arc::new(ServerConfig::new(server).ok()?),
        })
    }
}

/// The machine above TLS: it shows what it hears, and says what it is told to.
#[derive(Debug)]
struct Pipe(Outbox<Seen>, Ended);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    No,
    Yes,
}

#[derive(Debug)]
enum Seen {
    Secured(Box<SessionFacts>),
    Bytes(Bytes),
}

#[derive(Debug)]
enum Say {
    Send(Bytes),
    Close,
}

impl Pipe {
    fn new(facts: SessionFacts, _: Now) -> Self {
        let mut outbox = Outbox::default();
        outbox.event(Seen::Secured(Box::new(facts)));
        Self(outbox, Ended::No)
    }

    fn close(&mut self, reason: CloseReason) {
        self.1 = Ended::Yes;
        self.0.close(reason);
    }
}

impl Machine for Pipe {
    type Input<'a> = Input<'a, Say>;
    type Action = Action<Seen>;
    type Error = std::convert::Infallible;

    fn handle(&mut self, _: Now, input: Input<'_, Say>) -> Result<(), Self::Error> {
        self.0.begin();
        // Only commands are given to a machine that has closed, for it to refuse them.
        if self.1 == Ended::Yes {
            assert!(
                matches!(input, Input::Command(_)),
                "{input:?} after the end"
            );
            return Ok(());
        }
        match input {
            Input::Bytes(bytes) => self.0.event(Seen::Bytes(Bytes::copy_from_slice(bytes))),
            Input::Command(Say::Send(bytes)) => self.0.transmit(bytes),
            Input::Command(Say::Close) => self.close(CloseReason::Finished),
            Input::Eof => self.close(CloseReason::PeerClosed),
            Input::Timeout => {}
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<Seen>> {
        self.0.next()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl Connection for Pipe {
    type Command = Say;
    type Event = Seen;

    fn accepts_commands(&self) -> bool {
        true
    }
}
