//! A client's session, whose owner asks for anything and whose router says anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::choices::Choices;
use super::clockwork::Clockwork;
use super::session::{Hand, Keys, Sessions, entity};
use crate::crypto::x25519;
use crate::machine::{Action, Connection, Input, Machine};
use crate::rng::Rng;
use crate::sim::{Checked, Trace};
use crate::smp::client::{Call, Client, Event, Request, RequestError, RequestId};
use crate::smp::handshake::{Peer, ServiceResponse};
use crate::smp::proxy::{Forwarded, RelaySession};
use crate::smp::transmission::{Session, Transmission, Unauthorized};
use crate::smp::{BrokerMessage, Command, ErrorType, MsgFlags, ServiceQueues};
use crate::wire::{self, CorrId, EntityId, Id, Sample, Version};

/// Every request is answered once, however the router behaves and the session ends; a late response comes only after a time-out.
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let Some(sessions) = Sessions::choose(choices) else {
        return;
    };
    let mut run = match choices.below(8) {
        0 => Run::begun(sessions, trace),
        _ => Run::established(sessions, trace),
    };
    let mut steps = 0_u16;
    while let Some((kind, small)) = choices.next()
        && steps < MAX_STEPS
        && run.state == State::Alive
    {
        steps = steps.saturating_add(1);
        run.step(kind, small.into(), choices);
    }
    run.finish(choices);
}

const MAX_STEPS: u16 = 256;

struct Run<'t> {
    client: Checked<Client>,
    clock: Clockwork,
    /// The router, once there is a session.
    router: Option<Hand>,
    peer: Peer,
    /// What the router has to say in the handshake.
    hello: Vec<u8>,
    requests: BTreeMap<RequestId, Asked>,
    next_request: u64,
    /// What the router has heard and not answered.
    heard: Vec<Transmission>,
    state: State,
    trace: &'t mut Trace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Closed,
    Dead,
}

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Waiting,
    Answered,
    TimedOut,
    AnsweredLate,
}

impl<'t> Run<'t> {
    /// Before the handshake.
    fn begun(sessions: &Sessions, trace: &'t mut Trace) -> Self {
        let client = sessions.begun.client.machine.clone();
        let hello = sessions.begun.server.sent.clone();
        Self::new(client, None, sessions.peer, hello, trace)
    }

    /// After the handshake.
    fn established(sessions: &Sessions, trace: &'t mut Trace) -> Self {
        let router = Hand::router(&sessions.established, sessions.peer);
        let client = sessions.client();
        Self::new(client, Some(router), sessions.peer, Vec::new(), trace)
    }

    fn new(
        client: Client,
        router: Option<Hand>,
        peer: Peer,
        hello: Vec<u8>,
        trace: &'t mut Trace,
    ) -> Self {
        let mut run = Self {
            client: Checked::new(client),
            clock: Clockwork::default(),
            router,
            peer,
            hello,
            requests: BTreeMap::new(),
            next_request: 0,
            heard: Vec::new(),
            state: State::Alive,
            trace,
        };
        run.drain();
        run
    }

    fn step(&mut self, kind: u8, small: usize, choices: &mut Choices<'_>) {
        match kind {
            0 => self.send(small, choices),
            1 => self.respond(small, choices),
            2 => self.wait(choices),
            3 => self.announce(choices),
            4 => self.say(
                |router, choices| router.say_content(choices.some_bytes()),
                choices,
            ),
            5 => self.say(
                |router, choices| router.say_forged(choices.some_bytes()),
                choices,
            ),
            6 => self.say(
                |router, choices| router.say(&[Bytes::copy_from_slice(choices.some_bytes())]),
                choices,
            ),
            7 => self.deliver(usize::from(choices.word())),
            8 => self.give(Input::Bytes(choices.some_bytes())),
            9 => self.give(Input::Timeout),
            10 => {
                self.clock.go_back(choices.duration());
                self.give(Input::Timeout);
            }
            11 => self.hear_hello(choices),
            12 => self.answer_service(choices),
            13 => self.give(Input::Eof),
            14 => self.give(Input::Command(Call::Close)),
            15 => {
                self.clock.advance(choices.duration());
                self.give(Input::Timeout);
            }
            _ => {}
        }
    }

    fn send(&mut self, count: usize, choices: &mut Choices<'_>) {
        let requests: Vec<_> = (0..=count).map(|_| self.request(choices)).collect();
        let ids: Vec<_> = requests.iter().map(|request| request.id).collect();
        for id in &ids {
            self.requests.insert(*id, Asked::Waiting);
        }
        let welcome = self.client.accepts_commands();
        self.give(Input::Command(Call::Send(requests)));
        if !welcome {
            let refused = |id| self.requests.get(id) == Some(&Asked::Answered);
            assert!(
                ids.iter().all(refused),
                "commands that are not welcome are refused"
            );
        }
    }

    fn request(&mut self, choices: &mut Choices<'_>) -> Request {
        let id = RequestId(self.next_request);
        self.next_request = self.next_request.saturating_add(1);
        let version = self.version();
        let command = match choices.below(10) {
            0 => Command::Ping,
            1 => Command::Sub,
            2 => Command::Get,
            3 => Command::Subs(ServiceQueues::default()),
            4 => Command::LGet,
            5 => Command::Send {
                flags: MsgFlags {
                    notification: choices.coin(),
                },
                body: vec![7; usize::from(choices.word() >> 2)].into(),
            },
            6 => Command::Del,
            _ => Command::sample(version, &mut choices.rng()),
        };
        let mut request = Request::new(id, entity(choices), command);
        let (key, manner) = (choices.below(8), choices.byte());
        request.key = Keys::all().get(key).cloned();
        if manner & 1 == 1 {
            request.corr_id = Some(CorrId::from([manner; 24]));
        }
        if manner & 6 == 6 {
            request = request.via(Relay::get().session(version));
        }
        if manner & 24 == 24 {
            request.timeout = Some(choices.duration());
        }
        request
    }

    fn version(&self) -> Version {
        let router = self.router.as_ref();
        router.map_or_else(Version::default, |router| router.session.version)
    }

    /// The router answers what it was asked, or something else, once or more often.
    fn respond(&mut self, index: usize, choices: &mut Choices<'_>) {
        let Some(router) = &mut self.router else {
            return;
        };
        let Some(asked) = self.heard.get(index).cloned() else {
            return;
        };
        let (manner, version) = (choices.byte(), router.session.version);
        let message = match manner & 7 {
            0..=3 => fitting(&asked, version),
            4 => BrokerMessage::Err(ErrorType::Auth),
            5 => BrokerMessage::Ok,
            _ => BrokerMessage::sample(version, &mut choices.rng()),
        };
        let entity_id = match manner >> 3 & 3 {
            0 => entity(choices),
            1 => EntityId::EMPTY,
            _ => asked.entity_id.clone(),
        };
        let answered_again = manner >> 5 & 3 == 3;
        let forwarded = Relay::get().respond(&asked, version, &entity_id, &message);
        let transmission = match forwarded {
            Some(message) if manner >> 7 == 0 => {
                plain(&router.session, &asked.corr_id, &asked.entity_id, &message)
            }
            _ => plain(&router.session, &asked.corr_id, &entity_id, &message),
        };
        router.say(&[transmission]);
        if !answered_again {
            self.heard.remove(index);
        }
        self.deliver(usize::MAX);
    }

    /// The router says something unasked.
    fn announce(&mut self, choices: &mut Choices<'_>) {
        self.say(
            |router, choices| {
                let entity_id = entity(choices);
                let message = BrokerMessage::sample(router.session.version, &mut choices.rng());
                let session = router.session.clone();
                router.say(&[plain(&session, &CorrId::EMPTY, &entity_id, &message)]);
            },
            choices,
        );
    }

    fn say(&mut self, say: impl FnOnce(&mut Hand, &mut Choices<'_>), choices: &mut Choices<'_>) {
        if let Some(router) = &mut self.router {
            say(router, choices);
        }
        self.deliver(usize::MAX);
    }

    /// Delivers what the router has said, in pieces of that size.
    fn deliver(&mut self, piece: usize) {
        let Some(router) = &mut self.router else {
            return;
        };
        let said = router.said.split().freeze();
        for piece in said.chunks(piece.max(256)) {
            if self.state == State::Alive {
                self.give(Input::Bytes(piece));
            }
        }
    }

    /// The router's hello, whole or not, as it was or not.
    fn hear_hello(&mut self, choices: &mut Choices<'_>) {
        let mut hello = std::mem::take(&mut self.hello);
        let (position, change) = (usize::from(choices.word()), choices.byte());
        if let Some(byte) = hello.get_mut(position) {
            *byte ^= change;
        }
        if !hello.is_empty() {
            self.give(Input::Bytes(&hello));
        }
    }

    fn answer_service(&mut self, choices: &mut Choices<'_>) {
        if self.router.is_none() {
            let response = ServiceResponse::sample(Version::default(), &mut choices.rng());
            let content = wire::encode(&response, Version::default());
            let mut blocks = crate::smp::block::Blocks::new();
            let mut block = bytes::BytesMut::new();
            blocks.put(content.len(), &mut block, |out| {
                out.extend_from_slice(&content)
            });
            self.give(Input::Bytes(&block));
        }
    }

    /// Time passes, and the machine is woken exactly when it wants to be.
    fn wait(&mut self, choices: &mut Choices<'_>) {
        let until = self.clock.now().instant + choices.duration();
        let mut wakes = 0_u16;
        while let Some(deadline) = self.client.deadline()
            && deadline <= until
            && self.state == State::Alive
            && wakes < 64
        {
            self.clock.reach(deadline);
            self.give(Input::Timeout);
            wakes = wakes.saturating_add(1);
        }
        self.clock.reach(until);
    }

    fn give(&mut self, input: Input<'_, Call>) {
        if self.state == State::Dead {
            return;
        }
        let now = self.clock.now();
        self.trace.input(now.instant, "client", &input);
        let in_session = self.router.is_some();
        let result = self.client.handle(now, input);
        self.drain();
        assert!(result.is_ok() || !in_session, "killed by its router");
        if result.is_err() {
            self.state = State::Dead;
        }
        self.check();
    }

    fn drain(&mut self) {
        while let Some(action) = self.client.poll() {
            self.trace
                .action(self.clock.now().instant, "client", &action);
            match action {
                Action::Transmit(bytes) => {
                    if let Some(router) = &mut self.router {
                        self.heard.extend(router.hear(&bytes));
                    }
                }
                Action::Event(event) => self.told(event),
                Action::Close(_) => self.state = State::Closed,
            }
        }
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::Established(established) => {
                assert!(self.router.is_none(), "a session is established once");
                self.router = Some(Hand::router(&established, self.peer));
            }
            Event::Response { request, result } => {
                let becomes = match result {
                    Err(RequestError::TimedOut) => Asked::TimedOut,
                    Ok(_) | Err(_) => Asked::Answered,
                };
                let was = self.requests.insert(request, becomes);
                assert_eq!(was, Some(Asked::Waiting), "one response to {request:?}");
            }
            Event::Late { request, .. } => {
                let was = self.requests.insert(request, Asked::AnsweredLate);
                assert_eq!(was, Some(Asked::TimedOut), "late response to {request:?}");
            }
            Event::Message { .. } | Event::Unexpected(_) => {}
        }
    }

    fn waiting(&self) -> usize {
        let waiting = |asked: &&Asked| **asked == Asked::Waiting;
        self.requests.values().filter(waiting).count()
    }

    fn check(&self) {
        if self.state != State::Alive {
            return;
        }
        let in_flight = self.client.inner().in_flight();
        // A ping of its own may be among them.
        assert!((self.waiting()..=self.waiting().saturating_add(1)).contains(&in_flight));
        assert!(in_flight <= 7, "{in_flight} requests are in flight");
        let deadline = self.client.deadline();
        assert!(
            in_flight == 0 || deadline.is_some(),
            "requests that wait for ever"
        );
    }

    /// The session ends in one of all ways, and nothing waits any more.
    fn finish(mut self, choices: &mut Choices<'_>) {
        self.deliver(usize::MAX);
        let end = choices.below(3);
        if end == 0 {
            let mut wakes = 0_u16;
            while let Some(deadline) = self.client.deadline()
                && self.waiting() > 0
                && self.state == State::Alive
            {
                self.clock.reach(deadline);
                self.give(Input::Timeout);
                wakes = wakes.saturating_add(1);
                assert!(wakes < 1000, "requests that wait for ever");
            }
        }
        if self.state == State::Alive {
            self.give(match end {
                1 => Input::Eof,
                _ => Input::Command(Call::Close),
            });
            assert_ne!(self.state, State::Alive, "a session that does not end");
        }
        assert_eq!(self.waiting(), 0, "requests without response");
        if self.state == State::Closed {
            self.send(0, choices);
            assert_eq!(self.waiting(), 0, "requests without response");
            self.give(Input::Bytes(b"more"));
            self.give(Input::Eof);
            self.give(Input::Timeout);
        }
    }
}

/// A response that a router would give.
fn fitting(asked: &Transmission, version: Version) -> BrokerMessage {
    match asked.parse_command(version) {
        Ok(Command::Ping) => BrokerMessage::Pong,
        Ok(Command::Sub | Command::NSub) => BrokerMessage::Sok { service_id: None },
        Ok(Command::Subs(_) | Command::NSubs(_)) => BrokerMessage::Soks(ServiceQueues::default()),
        Ok(_) => BrokerMessage::Ok,
        Err(error) => BrokerMessage::Err(error),
    }
}

fn plain(
    session: &Session,
    corr_id: &CorrId,
    entity_id: &EntityId,
    message: &BrokerMessage,
) -> Bytes {
    Unauthorized::new(session, corr_id, entity_id, message).authorize(session, None, None)
}

/// A relay that the router forwards commands to.
struct Relay(x25519::PrivateKey);

impl Relay {
    fn get() -> Self {
        Self(x25519::PrivateKey::generate(&mut Rng::from_seed([3; 32])))
    }

    fn session(&self, version: Version) -> Arc<RelaySession> {
        Arc::new(RelaySession {
            session: Session {
                version,
                id: Id::try_from([9; 32].as_slice()).unwrap_or_default(),
            },
            key: self.0.public_key(),
        })
    }

    /// The proxy's message with the relay's response inside, if the command was forwarded.
    fn respond(
        &self,
        asked: &Transmission,
        version: Version,
        entity_id: &EntityId,
        message: &BrokerMessage,
    ) -> Option<BrokerMessage> {
        let Ok(Command::Pfwd {
            version: inner,
            key,
            encrypted,
        }) = asked.parse_command(version)
        else {
            return None;
        };
        let forwarded = Forwarded {
            corr_id: asked.corr_id.clone(),
            version: inner,
            key,
            encrypted,
        };
        let (_, sealed) = forwarded.open(&self.0).ok()?;
        let session = &self.session(inner).session;
        let response = plain(session, &asked.corr_id, entity_id, message);
        let encrypted = sealed.seal(&response).ok()?;
        Some(BrokerMessage::PRes { encrypted })
    }
}
