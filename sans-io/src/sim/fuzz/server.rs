//! A router's session, whose client sends anything and whose owner answers in any order.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::choices::Choices;
use super::clockwork::Clockwork;
use super::commands::{Commands, KeysUsed, queue};
use super::session::{Hand, Sessions, entity};
use crate::crypto::Nonce;
use crate::crypto::secret_box::Key;
use crate::crypto::x25519::SharedSecret;
use crate::machine::{Connection, Input, Machine};
use crate::sim::{Checked, Trace};
use crate::smp::body::{Delivered, NMsgMeta, QuotaMark};
use crate::smp::server::{Answer, BlockId, Call, Event, Lookup, Request, Say, Server};
use crate::smp::transmission::Transmission;
use crate::smp::{BrokerMessage, ErrorType, TransportError, batch};
use crate::wire::{CorrId, Sample};

type Action = crate::machine::Action<Event>;

/// The responses of a block come together and in the order of its requests, blocks are handed over in order, and every block is answered
/// once its owner has answered.
///
/// In half of the runs nothing is authorised; then a second router, which has no queues at all, does and says the same.
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let Some(sessions) = Sessions::choose(choices) else {
        return;
    };
    let manner = choices.byte();
    let keys = match manner & 1 {
        0 => KeysUsed::Own,
        _ => KeysUsed::Strange,
    };
    let mut run = match manner & 14 {
        14 => Run::begun(sessions, keys, trace),
        _ => Run::established(sessions, keys, trace),
    };
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < MAX_STEPS
        && run.state == State::Alive
    {
        steps = steps.saturating_add(1);
        run.step(kind, small.into(), choices);
    }
    run.finish();
}

const MAX_STEPS: u8 = 128;
/// How many blocks a session works on in these runs.
const MAX_BLOCKS: usize = 3;

struct Run<'t> {
    server: Checked<Server>,
    /// A router without queues.
    empty: Option<Checked<Server>>,
    clock: Clockwork,
    client: Hand,
    commands: Commands<'static>,
    /// The client's hello, if it was not said yet.
    hello: Vec<u8>,
    hearing: Hearing,
    stream: Stream,
    /// The blocks that wait for responses, by the first of their correlation ids.
    unanswered: BTreeMap<CorrId, Vec<CorrId>>,
    lookups: VecDeque<(BlockId, Vec<Lookup>)>,
    executing: VecDeque<(BlockId, Vec<Request>)>,
    last_looked_up: Option<BlockId>,
    last_executed: Option<BlockId>,
    state: State,
    trace: &'t mut Trace,
}

/// Whether the client understands what the router says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    /// The handshake is not complete.
    NotYet,
    /// Commands are answered.
    Responses,
    /// Its hello was altered: both may think differently of the session.
    Nothing,
}

/// Whether the router gets the blocks that the client has made, and no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Whole,
    Disturbed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Closed,
    Dead,
}

impl<'t> Run<'t> {
    /// Before the client's hello.
    fn begun(sessions: &'static Sessions, keys: KeysUsed, trace: &'t mut Trace) -> Self {
        let mut begun = sessions.begun.clone();
        let hello = std::mem::take(&mut begun.server.sent);
        let heard = begun.client.give(begun.now, Input::Bytes(&hello));
        assert!(heard.is_ok(), "a genuine hello");
        let mut run = Self::new(sessions, begun.server.machine, keys, trace);
        run.hello = begun.client.sent;
        run.hearing = Hearing::NotYet;
        run
    }

    /// After the handshake.
    fn established(sessions: &'static Sessions, keys: KeysUsed, trace: &'t mut Trace) -> Self {
        Self::new(sessions, sessions.server(), keys, trace)
    }

    fn new(
        sessions: &'static Sessions,
        server: Server,
        keys: KeysUsed,
        trace: &'t mut Trace,
    ) -> Self {
        let empty = (keys == KeysUsed::Strange).then(|| Checked::new(server.clone()));
        let mut run = Self {
            server: Checked::new(server),
            empty,
            clock: Clockwork::default(),
            client: Hand::client(&sessions.established, sessions.peer),
            commands: Commands::new(&sessions.established, keys),
            hello: Vec::new(),
            hearing: Hearing::Responses,
            stream: Stream::Whole,
            unanswered: BTreeMap::new(),
            lookups: VecDeque::new(),
            executing: VecDeque::new(),
            last_looked_up: None,
            last_executed: None,
            state: State::Alive,
            trace,
        };
        let said = run.drain();
        if let Some(empty) = &mut run.empty {
            assert_eq!(drained(empty), said);
        }
        run
    }

    fn step(&mut self, kind: u8, small: usize, choices: &mut Choices<'_>) {
        match kind {
            0 => self.say_block(small, choices),
            1 => self.give_keys(small, choices.word()),
            2 => self.answer(small, choices),
            3 => self.deliver(usize::from(choices.word())),
            4 => self.announce(small, choices),
            5 => self.client.say_content(choices.some_bytes()),
            6 => {
                self.stream = Stream::Disturbed;
                self.client.say_forged(choices.some_bytes());
            }
            7 => self.say_mixed(small, choices),
            8 => self.say_hello(choices),
            9 => self.give(Input::Command(Call::Service(match small {
                0 => Err(TransportError::NoServerAuth),
                _ => Ok(entity(choices)),
            }))),
            10 => {
                self.clock.advance(choices.duration());
                self.give(Input::Timeout);
            }
            11 => {
                self.clock.go_back(choices.duration());
                self.give(Input::Timeout);
            }
            12 => self.answer_again(choices),
            13 => self.give(Input::Eof),
            14 => self.give(Input::Command(Call::Close)),
            15 => {
                self.stream = Stream::Disturbed;
                self.give(Input::Bytes(choices.some_bytes()));
            }
            _ => {}
        }
    }

    /// The client says a block of commands.
    fn say_block(&mut self, count: usize, choices: &mut Choices<'_>) {
        let commands = (0..=count).map(|_| self.commands.next(choices));
        let (ids, transmissions): (Vec<_>, Vec<_>) = commands.unzip();
        if batch::content_length(&transmissions) < 16_000 {
            self.expect(ids);
            self.client.say(&transmissions);
        }
    }

    fn expect(&mut self, ids: Vec<CorrId>) {
        if let Some(first) = ids.first() {
            self.unanswered.insert(first.clone(), ids);
        }
    }

    /// The client says a block of which a part is no command.
    fn say_mixed(&mut self, at: usize, choices: &mut Choices<'_>) {
        let mut transmissions: Vec<_> = (0..3).map(|_| self.commands.next(choices).1).collect();
        let position = at.min(transmissions.len());
        let bytes = Bytes::copy_from_slice(choices.some_bytes());
        transmissions.insert(position, bytes);
        self.client.say(&transmissions);
    }

    fn say_hello(&mut self, choices: &mut Choices<'_>) {
        let mut hello = std::mem::take(&mut self.hello);
        let (position, change) = (usize::from(choices.word()), choices.byte());
        if let Some(byte) = hello.get_mut(position)
            && change != 0
        {
            *byte ^= change;
            self.hearing = Hearing::Nothing;
        }
        if !hello.is_empty() {
            self.give(Input::Bytes(&hello));
        }
    }

    /// Delivers what the client has said, in pieces of that size, as long as it is welcome.
    fn deliver(&mut self, piece: usize) {
        let piece = piece.max(256);
        while !self.client.said.is_empty()
            && self.server.accepts_bytes()
            && self.state == State::Alive
        {
            let length = piece.min(self.client.said.len());
            let bytes = self.client.said.split_to(length);
            self.give(Input::Bytes(&bytes));
        }
    }

    /// The owner answers one of the look-ups.
    fn give_keys(&mut self, index: usize, manner: u16) {
        let Some((block, lookups)) = self.lookups.remove(index) else {
            return;
        };
        let [exist, how] = manner.to_be_bytes();
        let queues = lookups
            .iter()
            .enumerate()
            .map(|(index, lookup)| {
                let exists = self.empty.is_some() || exist >> (index & 7) & 1 == 0;
                // Queues of which a sender has no key are open to all.
                let how = match self.empty {
                    Some(_) => 4,
                    None => how,
                };
                exists.then(|| queue(&lookup.id, how)).flatten()
            })
            .collect();
        self.give(Input::Command(Call::Keys { block, queues }));
    }

    /// The owner answers one of the blocks that are being executed.
    fn answer(&mut self, index: usize, choices: &mut Choices<'_>) {
        let Some((block, requests)) = self.executing.remove(index) else {
            return;
        };
        let count = match choices.byte() {
            0xff => requests.len().saturating_sub(1),
            0xfe => requests.len().saturating_add(1),
            _ => requests.len(),
        };
        let answers = (0..count).map(|_| self.any_answer(choices)).collect();
        self.give(Input::Command(Call::Answer { block, answers }));
    }

    fn any_answer(&self, choices: &mut Choices<'_>) -> Answer {
        let response = self.any_word(choices);
        let then = (choices.byte() & 3 == 3).then(|| (entity(choices), self.any_word(choices)));
        Answer { response, then }
    }

    fn any_word(&self, choices: &mut Choices<'_>) -> Say {
        let version = self.client.session.version;
        let key = || Arc::new(Key::from(&SharedSecret::from_bytes([8; 32])));
        match choices.below(8) {
            0 => Say::Message(BrokerMessage::Ok),
            1 => Say::Message(BrokerMessage::Err(ErrorType::Quota)),
            2 => Say::Deliver {
                id: entity(choices),
                delivered: Delivered::Quota(QuotaMark { time: 0 }),
                key: key(),
            },
            3 => Say::Notify {
                meta: NMsgMeta {
                    id: entity(choices),
                    time: 0,
                },
                nonce: Nonce::from_bytes(&[1; 24]),
                key: key(),
            },
            _ => Say::Message(BrokerMessage::sample(version, &mut choices.rng())),
        }
    }

    fn announce(&mut self, count: usize, choices: &mut Choices<'_>) {
        let words = (0..count)
            .map(|_| (entity(choices), self.any_word(choices)))
            .collect();
        self.give(Input::Command(Call::Announce(words)));
    }

    /// The owner answers a block that it has answered before, or not been asked about.
    fn answer_again(&mut self, choices: &mut Choices<'_>) {
        if let Some(block) = self.last_looked_up {
            let in_work = |id: &BlockId| *id == block;
            if !self.executing.iter().any(|(id, _)| in_work(id)) {
                let answers = vec![self.any_answer(choices)];
                self.give(Input::Command(Call::Answer { block, answers }));
            }
            if !self.lookups.iter().any(|(id, _)| in_work(id)) {
                let queues = vec![queue(&entity(choices), 0)];
                self.give(Input::Command(Call::Keys { block, queues }));
            }
        }
    }

    fn give(&mut self, input: Input<'_, Call>) {
        if self.state == State::Dead {
            return;
        }
        let now = self.clock.now();
        self.trace.input(now.instant, "server", &input);
        let mut without_queues = input.clone();
        if let Input::Command(Call::Keys { queues, .. }) = &mut without_queues {
            queues.fill(None);
        }
        let in_session = self.hearing == Hearing::Responses;
        let result = self.server.handle(now, input);
        let said = self.drain();
        assert!(result.is_ok() || !in_session, "killed by its client");
        if let Some(empty) = &mut self.empty {
            let same = empty.handle(now, without_queues);
            assert_eq!(same, result, "the same fate");
            assert_eq!(
                drained(empty),
                said,
                "what does not exist and what is not authorised"
            );
            assert_eq!(
                empty.inner().work(),
                self.server.inner().work(),
                "the same work"
            );
        }
        if result.is_err() {
            self.state = State::Dead;
        }
        self.check();
    }

    fn drain(&mut self) -> Vec<Action> {
        let mut said = Vec::new();
        while let Some(action) = self.server.poll() {
            self.trace
                .action(self.clock.now().instant, "server", &action);
            match &action {
                Action::Transmit(bytes) if self.hearing == Hearing::Responses => {
                    let heard = self.client.hear(bytes);
                    self.responded(&heard);
                }
                Action::Transmit(_) => {}
                Action::Event(event) => self.told(event.clone()),
                Action::Close(_) => self.state = State::Closed,
            }
            said.push(action);
        }
        said
    }

    /// What is transmitted together holds the responses of one block, if any, in order.
    fn responded(&mut self, heard: &[Transmission]) {
        let ids: Vec<_> = heard
            .iter()
            .map(|transmission| &transmission.corr_id)
            .filter(|id| !id.is_empty())
            .collect();
        if let Some(first) = ids.first()
            && let Some(expected) = self.unanswered.remove(*first)
            && self.stream == Stream::Whole
        {
            assert_eq!(ids, expected.iter().collect::<Vec<_>>());
        }
    }

    fn told(&mut self, event: Event) {
        match event {
            Event::Established(_) if self.hearing == Hearing::NotYet => {
                self.hearing = Hearing::Responses;
            }
            Event::Established(_) | Event::Service { .. } | Event::Heard | Event::Counted(_) => {}
            Event::Lookup { block, lookups } => {
                assert!(!lookups.is_empty(), "look-ups of nothing");
                assert!(self.last_looked_up < Some(block), "look-ups in order");
                self.last_looked_up = Some(block);
                self.lookups.push_back((block, lookups));
            }
            Event::Execute {
                block,
                requests,
                refused,
            } => {
                assert!(
                    !(requests.is_empty() && refused.is_empty()),
                    "nothing to execute"
                );
                assert!(self.last_executed < Some(block), "blocks in order");
                self.last_executed = Some(block);
                self.executing.push_back((block, requests));
            }
        }
    }

    fn check(&self) {
        let in_work = self.lookups.len().saturating_add(self.executing.len());
        assert!(in_work <= MAX_BLOCKS, "{in_work} blocks are worked on");
        if self.state == State::Alive && in_work == 0 {
            assert!(self.server.accepts_bytes(), "nothing to wait for");
        }
    }

    /// Everything that can be delivered and answered is, and no block lacks its responses.
    fn finish(mut self) {
        let mut rounds = 0_u16;
        while self.state == State::Alive {
            self.deliver(usize::MAX);
            if self.lookups.is_empty() && self.executing.is_empty() {
                break;
            }
            self.give_keys(0, 0);
            self.answer(0, &mut Choices::new(&[]));
            rounds = rounds.saturating_add(1);
            assert!(rounds < 2048, "blocks that are never done");
        }
        if self.state == State::Alive {
            if self.stream == Stream::Whole && self.hearing == Hearing::Responses {
                assert!(self.unanswered.is_empty(), "blocks without responses");
            }
            self.give(Input::Eof);
        }
        if self.state == State::Closed {
            self.give(Input::Bytes(b"more"));
            self.give(Input::Timeout);
            self.give(Input::Command(Call::Close));
        }
    }
}

fn drained(server: &mut Checked<Server>) -> Vec<Action> {
    std::iter::from_fn(|| server.poll()).collect()
}
