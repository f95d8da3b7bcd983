//! A router's session with a client, as a machine.
//!
//! ```text
//!                 ClientHello with a service   ┌─────────┐ Call::Service
//!               ┌─────────────────────────────▶│ Service │──────┐
//!   ┌───────┐   │                              └─────────┘      ▼
//!   │ Hello │───┤                                          ┌───────┐  Call::Close, Eof   ┌────────┐
//!   └───────┘   └─────────────────────────────────────────▶│ Ready │────────────────────▶│ Closed │
//!       │          ClientHello                             └───────┘                     └────────┘
//!       └────────────────────────────────────────────────────────────────────────────────────▲
//!                  Eof, Timeout, a hello that is refused
//!
//!   a block:  parse ──▶ Event::Lookup ──▶ Call::Keys ──▶ verify ──▶ Event::Execute ──▶ Call::Answer ──▶ responses
//!                 └───────── keys that were used before ────▲
//!                                                           └──▶ refused: told with Event::Execute, answered with the others
//! ```
//! The machine does what costs time: it parses, verifies and encrypts. The owner has the queues: it is asked for the keys of a block's
//! queues, then given the requests that are authorised, and says what the responses are. Blocks are handed over in the order in which
//! they came, so that commands on one queue are executed in order; the responses of a block keep the order of its requests. What is
//! refused takes the same way, so that the owner can make it cost the same whether the queue exists or not.
//!
//! ```
//! # use simplex_sans_io::crypto::Algorithm;
//! use simplex_sans_io::machine::{Action, Input, Machine};
//! # use simplex_sans_io::rng::Rng;
//! # use simplex_sans_io::sim::identity::{Credentials, transports};
//! # use simplex_sans_io::smp::client::{self, Client, Request, RequestId};
//! use simplex_sans_io::smp::server::{Call, Config, Event, Server};
//! use simplex_sans_io::smp::{Command, ErrorType};
//! use simplex_sans_io::time::Now;
//! # use simplex_sans_io::wire::EntityId;
//! # let mut rng = Rng::from_seed([7; 32]);
//! # let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
//! # let (of_client, transport) = transports(&credentials, None, &mut rng);
//! # let mut client = Client::new(client::Config::new(credentials.key_hash()), of_client, rng.fork(), Now::START);
//!
//! let mut router = Server::new(Config::new(credentials.router()), transport, rng.fork(), Now::START);
//! let Some(Action::Transmit(hello)) = router.poll() else { panic!("the router speaks first") };
//! # client.handle(Now::START, Input::Bytes(&hello))?;
//! # let Some(Action::Transmit(hello)) = client.poll() else { panic!() };
//! # let _ = client.poll();
//! # assert!(client.poll().is_none());
//!
//! // … the client's hello arrives …
//! router.handle(Now::START, Input::Bytes(&hello))?;
//! assert!(matches!(router.poll(), Some(Action::Event(Event::Established(_)))));
//! assert!(router.poll().is_none());
//!
//! // … and then a block with an LGET.
//! # let lget = Request::new(RequestId(1), EntityId::from([1; 24]), Command::LGet);
//! # client.handle(Now::START, Input::Command(client::Call::Send(vec![lget])))?;
//! # let Some(Action::Transmit(block)) = client.poll() else { panic!() };
//! router.handle(Now::START, Input::Bytes(&block))?;
//! let Some(Action::Event(Event::Lookup { block, lookups })) = router.poll() else { panic!() };
//! assert_eq!(lookups.len(), 1);
//! assert!(router.poll().is_none());
//!
//! // There is no such link: nothing is to be executed, and the machine answers AUTH when the owner has heard of it.
//! router.handle(Now::START, Input::Command(Call::Keys { block, queues: vec![None] }))?;
//! let Some(Action::Event(Event::Execute { requests, refused, .. })) = router.poll() else { panic!() };
//! assert!(requests.is_empty());
//! assert_eq!(refused[..], lookups[..]);
//! router.handle(Now::START, Input::Command(Call::Answer { block, answers: vec![] }))?;
//! assert!(matches!(router.poll(), Some(Action::Transmit(_))));
//! assert!(router.poll().is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod known;
mod tally;
#[cfg(test)]
mod tests;
pub(crate) mod verify;
mod work;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub use self::answer::{Answer, Say};
pub use self::tally::Tally;
pub use self::verify::{Lookup, Party, QueueKeys, Work};

use self::known::Known;
use self::verify::Verifier;
use self::work::{Block, Stage};
use super::Command;
use super::batch;
use super::block::Blocks;
use super::error::{ErrorType, HandshakeError, TransportError};
use super::handshake::router::{self, Refusal};
use super::handshake::{ClientHello, Peer, ServiceResponse, ServiceRole, Transport};
use super::transmission::Session;
use crate::crypto::AuthPublicKey;
use crate::crypto::certificate::{Chain, Fingerprint};
use crate::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
use crate::rng::Rng;
use crate::session::SessionFacts;
use crate::time::{Instant, Latest, Now};
use crate::wire::{self, CorrId, EntityId, Version, Wire};

/// How a router speaks with its clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who it is.
    pub identity: router::Identity,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
    /// How many blocks of a client are worked on at the same time; more are not read.
    pub max_blocks: usize,
}

impl Config {
    /// The usual router with this identity.
    #[must_use]
    pub const fn new(identity: router::Identity) -> Self {
        Self {
            identity,
            handshake_timeout: Duration::from_secs(120),
            max_blocks: 16,
        }
    }
}

/// A block that is being worked on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId(u64);

/// What the owner of a session says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// The id of the service that wants to hold the session, or why it must not.
    Service(Result<EntityId, TransportError>),
    /// The keys of the queues that were asked for, in the same order; nothing for a queue that does not exist.
    Keys {
        /// The block that needs them.
        block: BlockId,
        /// The keys.
        queues: Vec<Option<Arc<QueueKeys>>>,
    },
    /// The answers to the requests of a block, in the same order.
    Answer {
        /// The block.
        block: BlockId,
        /// The answers.
        answers: Vec<Answer>,
    },
    /// What nobody has asked for.
    Announce(Vec<(EntityId, Say)>),
    /// End the session.
    Close,
}

/// What the owner of a session is told, and asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The session is there.
    Established(Box<Client>),
    /// A service wants to hold the session: its answer is [`Call::Service`].
    Service {
        /// What it wants to do.
        role: ServiceRole,
        /// Its certificates: the session has proved that they are its own.
        chain: Arc<Chain>,
    },
    /// The client has said something that does not concern the owner otherwise.
    Heard,
    /// What there is to count of a block besides its requests.
    Counted(Tally),
    /// The keys of these queues are needed: the answer is [`Call::Keys`].
    Lookup {
        /// The block that needs them.
        block: BlockId,
        /// The queues.
        lookups: Vec<Lookup>,
    },
    /// These requests are authorised: the answer is [`Call::Answer`].
    Execute {
        /// The block they came in.
        block: BlockId,
        /// The requests, in order.
        requests: Vec<Request>,
        /// Queues that were looked up for others, which are not authorised. Nothing is to be answered to them; but if one exists and did not have
        /// to be looked for as far as one that does not, that is to be done now, so that the time does not tell.
        refused: Box<[Lookup]>,
    },
}

/// Who the client of a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The version and the id of the session.
    pub session: Session,
    /// Whether it speaks for itself or forwards commands of others.
    pub peer: Peer,
    /// The service that holds the session, and its role.
    pub service: Option<(EntityId, ServiceRole)>,
}

/// A command that is authorised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What ties the response to it; the id of a new queue's sender may follow from it.
    pub corr_id: CorrId,
    /// What it is about.
    pub entity_id: EntityId,
    /// The command.
    pub command: Command,
    /// The version it was sent in: the session's, or the one it was forwarded in.
    pub version: Version,
    /// The key of the queue that has authorised it, where one is needed. The owner checks that it still is one.
    pub key: Option<AuthPublicKey>,
}

/// Why a session died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// The handshake failed.
    #[error("the handshake with the client failed: {0}")]
    Handshake(TransportError),
}

/// A router's session with a client. See the [module](self) for its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    state: State,
    blocks: Blocks,
    max_blocks: usize,
    latest: Latest,
    outbox: Outbox<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Hello {
        awaits: Box<router::AwaitsClient>,
        timeout: Instant,
    },
    Service {
        awaits: Box<router::AwaitsService>,
        timeout: Instant,
    },
    Ready(Box<Ready>),
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ready {
    established: router::Established,
    next_block: u64,
    in_work: VecDeque<Block>,
    known: Known,
    /// What came while too many blocks were worked on.
    unread: BytesMut,
    work: Work,
}

impl Ready {
    fn verifier(&mut self) -> Verifier<'_> {
        Verifier {
            session_key: &self.established.session_key,
            work: &mut self.work,
        }
    }

    /// The service that holds the session.
    fn fingerprint(&self) -> Option<Fingerprint> {
        let service = self.established.service.as_ref();
        service.map(|service| service.fingerprint)
    }
}

impl Server {
    /// A session on a transport that is established. The router speaks first: drain its hello.
    #[must_use]
    pub fn new(config: Config, transport: Transport, mut rng: Rng, now: Now) -> Self {
        let timeout = now.instant + config.handshake_timeout;
        let (hello, awaits) = router::introduce(&config.identity, transport, &mut rng);
        let mut server = Self {
            state: State::Hello {
                awaits: Box::new(awaits),
                timeout,
            },
            blocks: Blocks::new(),
            max_blocks: config.max_blocks.max(1),
            latest: Latest::new(now),
            outbox: Outbox::default(),
        };
        server.transmit_handshake(&hello);
        server
    }

    /// A session above TLS.
    #[must_use]
    pub fn secured(config: Config, facts: SessionFacts, rng: Rng, now: Now) -> Self {
        Self::new(config, facts.into(), rng, now)
    }

    /// How much work verification was so far.
    #[must_use]
    pub fn work(&self) -> Work {
        match &self.state {
            State::Ready(ready) => ready.work,
            State::Hello { .. } | State::Service { .. } | State::Closed => Work::default(),
        }
    }

    fn receive(&mut self, now: Now, mut bytes: &[u8]) -> Result<(), ServerError> {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Closed => return Ok(()),
                State::Ready(ready) if ready.in_work.len() >= self.max_blocks => {
                    ready.unread.extend_from_slice(bytes);
                    return Ok(());
                }
                State::Ready(_) | State::Hello { .. } | State::Service { .. } => {}
            }
            bytes = self.blocks.receive(bytes);
            if let Some(content) = self.blocks.take() {
                self.receive_block(now, content.ok())?;
            }
        }
        Ok(())
    }

    /// A block, or none if it could not be read.
    fn receive_block(&mut self, now: Now, content: Option<Bytes>) -> Result<(), ServerError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Hello { awaits, timeout } => {
                let content = content.ok_or(ServerError::Handshake(TransportError::BadBlock))?;
                let hello = parse_hello(&content)?;
                match awaits.receive(&hello) {
                    Ok(router::Next::Established(established)) => self.establish(*established),
                    Ok(router::Next::Service(awaits)) => {
                        self.outbox.event(Event::Service {
                            role: awaits.role(),
                            chain: Arc::clone(awaits.chain()),
                        });
                        self.state = State::Service { awaits, timeout };
                    }
                    Err(Refusal::Silent(error)) => return Err(ServerError::Handshake(error)),
                    Err(Refusal::Service(error)) => {
                        self.transmit_handshake(&ServiceResponse::Refused(error));
                        return Err(ServerError::Handshake(error));
                    }
                }
            }
            // A client waits for the response before it says anything.
            State::Service { .. } => {
                return Err(ServerError::Handshake(TransportError::Handshake {
                    error: HandshakeError::Parse,
                }));
            }
            State::Ready(ready) => {
                self.state = State::Ready(ready);
                self.receive_commands(now, content);
            }
            State::Closed => {}
        }
        Ok(())
    }

    fn receive_commands(&mut self, _: Now, content: Option<Bytes>) {
        let State::Ready(ready) = &mut self.state else {
            return;
        };
        let Some(transmissions) = content.and_then(|content| batch::unpack(&content)) else {
            let error = Say::Message(super::BrokerMessage::Err(ErrorType::Block));
            let error = error.announce(&ready.established.session, &EntityId::EMPTY);
            self.outbox.event(Event::Heard);
            self.transmit(&[error]);
            return;
        };
        let id = BlockId(ready.next_block);
        ready.next_block = ready.next_block.wrapping_add(1);
        let mut block = Block::parse(id, &ready.established, &transmissions);
        let lookups = block.lookups();
        let keys = block.of_one_queue().and_then(|one| ready.known.get(one));
        if let Some(keys) = keys {
            let service = ready.fingerprint();
            block.try_keys(&keys, service.as_ref(), &mut ready.verifier());
        }
        let stage = block.stage;
        ready.in_work.push_back(block);
        if stage == Stage::Verified {
            self.execute();
        } else if lookups.is_empty() {
            self.verify(id, &[]);
        } else {
            let count = u64::try_from(lookups.len()).unwrap_or(u64::MAX);
            ready.work.lookups = ready.work.lookups.saturating_add(count);
            self.outbox.event(Event::Lookup { block: id, lookups });
        }
    }

    fn verify(&mut self, id: BlockId, queues: &[Option<Arc<QueueKeys>>]) {
        let State::Ready(ready) = &mut self.state else {
            return;
        };
        let in_lookup = |block: &Block| block.id == id && block.stage == Stage::Lookup;
        let Some(index) = ready.in_work.iter().position(in_lookup) else {
            return;
        };
        let Some(mut block) = ready.in_work.remove(index) else {
            return;
        };
        let one = block.of_one_queue().cloned();
        let service = ready.fingerprint();
        let tally = block.verify(queues, service.as_ref(), &mut ready.verifier());
        if tally != Tally::default() {
            self.outbox.event(Event::Counted(tally));
        }
        if let (Some(one), [found]) = (one, queues) {
            ready.known.found(one, found.as_ref(), block.has_requests());
        }
        ready.in_work.insert(index, block);
        self.execute();
    }

    /// Hands over the blocks that are verified, up to the first that is not; those with nothing to execute are answered at once.
    fn execute(&mut self) {
        let State::Ready(ready) = &mut self.state else {
            return;
        };
        let mut done = Vec::new();
        let mut in_order = true;
        for block in &mut ready.in_work {
            match block.stage {
                Stage::Execution => {}
                Stage::Lookup => in_order = false,
                Stage::Verified if !in_order && block.concerns_owner() => {}
                Stage::Verified => {
                    let forwarded = block.forwarded();
                    if forwarded > 0 {
                        let tally = Tally {
                            forwarded,
                            ..Tally::default()
                        };
                        self.outbox.event(Event::Counted(tally));
                    }
                    let concerns_owner = block.concerns_owner();
                    let (requests, refused) = block.execute();
                    if concerns_owner {
                        self.outbox.event(Event::Execute {
                            block: block.id,
                            requests,
                            refused,
                        });
                    } else {
                        done.push(block.id);
                    }
                }
            }
        }
        for id in done {
            self.outbox.event(Event::Heard);
            self.answer(id, Vec::new());
        }
    }

    fn answer(&mut self, id: BlockId, answers: Vec<Answer>) {
        let State::Ready(ready) = &mut self.state else {
            return;
        };
        let in_execution = |block: &Block| block.id == id && block.stage == Stage::Execution;
        let Some(index) = ready.in_work.iter().position(in_execution) else {
            return;
        };
        if let Some(block) = ready.in_work.remove(index) {
            let transmissions = block.respond(&ready.established.session, answers);
            self.transmit(&transmissions);
        }
    }

    fn announce(&mut self, announcements: Vec<(EntityId, Say)>) {
        if let State::Ready(ready) = &self.state {
            let session = &ready.established.session;
            let transmissions: Vec<_> = announcements
                .into_iter()
                .map(|(entity_id, say)| say.announce(session, &entity_id))
                .collect();
            self.transmit(&transmissions);
        }
    }

    fn service(&mut self, decision: Result<EntityId, TransportError>) -> Result<(), ServerError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Service { awaits, .. } => match decision {
                Ok(id) => {
                    self.transmit_handshake(&ServiceResponse::Accepted(id.clone()));
                    self.establish(awaits.accept(id));
                    Ok(())
                }
                Err(error) => {
                    self.transmit_handshake(&ServiceResponse::Refused(error));
                    Err(ServerError::Handshake(error))
                }
            },
            other @ (State::Hello { .. } | State::Ready(_) | State::Closed) => {
                self.state = other;
                Ok(())
            }
        }
    }

    fn establish(&mut self, mut established: router::Established) {
        if let Some(chains) = established.chains.take() {
            self.blocks.encrypt(chains);
        }
        self.outbox.event(Event::Established(Box::new(Client {
            session: established.session.clone(),
            peer: established.peer,
            service: established
                .service
                .as_ref()
                .map(|service| (service.id.clone(), service.role)),
        })));
        self.state = State::Ready(Box::new(Ready {
            established,
            next_block: 0,
            in_work: VecDeque::new(),
            known: Known::default(),
            unread: BytesMut::new(),
            work: Work::default(),
        }));
    }

    /// Reads on where too many blocks were worked on before.
    fn resume(&mut self, now: Now) -> Result<(), ServerError> {
        match &mut self.state {
            State::Ready(ready) if !ready.unread.is_empty() => {
                let unread = std::mem::take(&mut ready.unread);
                self.receive(now, &unread)
            }
            State::Ready(_) | State::Hello { .. } | State::Service { .. } | State::Closed => Ok(()),
        }
    }

    fn transmit_handshake<T: Wire>(&mut self, message: &T) {
        if let Some(block) = self.blocks.handshake(message) {
            self.outbox.transmit(block);
        }
    }

    /// All blocks of a flush leave together.
    fn transmit(&mut self, transmissions: &[Bytes]) {
        let blocks = batch::blocks(transmissions, &mut self.blocks);
        self.outbox.transmit(blocks);
    }

    fn close(&mut self, reason: CloseReason) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.outbox.close(reason);
        }
    }
}

fn parse_hello(content: &Bytes) -> Result<ClientHello, ServerError> {
    wire::decode_prefix(Version::default(), content).map_err(|_| {
        ServerError::Handshake(TransportError::Handshake {
            error: HandshakeError::Parse,
        })
    })
}

impl Machine for Server {
    type Input<'a> = Input<'a, Call>;
    type Action = Action<Event>;
    type Error = ServerError;

    fn handle(&mut self, now: Now, input: Input<'_, Call>) -> Result<(), ServerError> {
        self.outbox.begin();
        let now = self.latest.at(now);
        match input {
            Input::Bytes(bytes) => self.receive(now, bytes)?,
            Input::Eof => {
                let whole = self.blocks.between_blocks() && matches!(self.state, State::Ready(_));
                self.close(match whole {
                    true => CloseReason::PeerClosed,
                    false => CloseReason::Truncated,
                });
            }
            Input::Timeout => {
                if self
                    .deadline()
                    .is_some_and(|timeout| timeout <= now.instant)
                {
                    self.close(CloseReason::TimedOut);
                }
            }
            Input::Command(call) => {
                match call {
                    Call::Service(decision) => self.service(decision)?,
                    Call::Keys { block, queues } => self.verify(block, &queues),
                    Call::Answer { block, answers } => self.answer(block, answers),
                    Call::Announce(announcements) => self.announce(announcements),
                    Call::Close => self.close(CloseReason::Finished),
                }
                self.resume(now)?;
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<Event>> {
        self.outbox.next()
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Hello { timeout, .. } | State::Service { timeout, .. } => Some(*timeout),
            State::Ready(_) | State::Closed => None,
        }
    }
}

impl Connection for Server {
    type Command = Call;
    type Event = Event;

    /// The owner's answers are always welcome: there are no more than the machine has asked for.
    fn accepts_commands(&self) -> bool {
        true
    }

    fn accepts_bytes(&self) -> bool {
        match &self.state {
            State::Ready(ready) => ready.unread.is_empty() && ready.in_work.len() < self.max_blocks,
            State::Hello { .. } | State::Service { .. } | State::Closed => true,
        }
    }
}
