//! A router's connection with a client, as a machine above HTTP/2.
//!
//! ```text
//!   the handshake:
//!              ┌──────┐ hello      ┌─────────────┐ ClientHandshake  ┌──────────┐
//!              │ None │───────────▶│ Sent(key)   │─────────────────▶│ Accepted │──┐ commands
//!              └──────┘            └─────────────┘◀─────────────────└──────────┘◀─┘
//!                                    hello again      hello again (web)
//!   a request:
//!     ┌───────┐ block  ┌─────────┐ Call::Key  ┌───────────┐ Call::Answer   ┌──────────┐
//!     │ Block │───────▶│ Looking │───────────▶│ Executing │───────────────▶│ answered │
//!     └───────┘        └─────────┘            └───────────┘                └──────────┘
//!                                               │ ▲    │ Call::Send           ▲
//!                       Call::Receive, Swallow  ▼ │    ▼                      │
//!                                  ┌───────────┐  │  ┌─────────┐ Opened  ┌─────────┐
//!                                  │ Receiving │──┘  │ Opening │────────▶│ Sending │
//!                                  └───────────┘     └─────────┘         └─────────┘
//! ```
//! The machine does what costs time: it parses, verifies, hashes what is uploaded and encrypts what is downloaded. The owner has the
//! files. It is asked for the key of a party, then given the command if it is authorised, and says what is to be done.
//!
//! Every request gets an answer, and no stream is reset: what is left of a body is read and thrown away. If it is on its way, the answer waits
//! for its end, as some clients do not listen before. Bytes of a chunk are credited when they are [written](Call::Written), and read when there is room for them, so
//! that neither direction holds more than a few pieces of a chunk.
//!
//! ```
//! use simplex_sans_io::crypto::Algorithm;
//! use simplex_sans_io::http2::Input;
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::sim::identity::Credentials;
//! use simplex_sans_io::sim::xftp::{Joined, transports};
//! use simplex_sans_io::time::Now;
//! use simplex_sans_io::xftp::client::{self, Ask, Client, Request, RequestError, RequestId};
//! use simplex_sans_io::xftp::server::{Call, Config, Event, Found, Server};
//! use simplex_sans_io::xftp::ErrorType;
//! # use std::sync::Arc;
//! # use simplex_sans_io::crypto::{AuthPrivateKey, ed25519};
//! # use simplex_sans_io::wire::EntityId;
//! # let mut rng = Rng::from_seed([7; 32]);
//! # let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
//! # let (of_client, transport) = transports(&mut rng);
//! # let config = client::Config::new("router.example", credentials.key_hash());
//! # let client = Client::new(config, of_client, rng.fork(), Now::START);
//! # let key: Arc<AuthPrivateKey> = Arc::new(ed25519::PrivateKey::generate(&mut rng).into());
//! # let fdel = Request::new(RequestId(1), Ask::Delete).about(EntityId::from([1; 24])).authorized_by(key);
//!
//! let config = Config::new(credentials.xftp_router());
//! let router = Server::new(config, transport, rng.fork(), Now::START);
//! let mut joined = Joined::new(client, router);
//! assert!(matches!(joined.server_events.pop(), Some(Event::Established(_))));
//!
//! // A client deletes a file, and the owner is asked who may do that …
//! joined.give_client(Input::Command(client::Call::Send(fdel)));
//! let Some(Event::Lookup { stream, .. }) = joined.server_events.pop() else { panic!() };
//!
//! // … but there is no such file. The machine verifies nevertheless, and answers AUTH.
//! joined.give_server(Input::Command(Call::Key { stream, found: Found::Nothing }));
//! let auth = Err(RequestError::Protocol(ErrorType::Auth));
//! let answer = client::Event::Response { request: RequestId(1), result: auth };
//! assert_eq!(joined.client_events.pop(), Some(answer));
//! ```

mod answer;
mod download;
mod greeting;
mod job;
#[cfg(test)]
mod tests;
mod upload;
mod web;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};

pub use self::words::{Call, Config, Dispatch, Event, Found, Pages, Request, Transport, UploadId};

use self::job::{Job, Rest, Stage};
use super::handshake;
use super::transmission::{Malformed, Session, Transmission};
use super::version::WITHOUT_HANDSHAKE;
use super::{BLOCK, Command, ErrorType, Response};
use crate::crypto::x25519;
use crate::http2::{self, Action, Exchange, Incoming, Input, Outgoing, Part, StreamId};
use crate::machine::{Actions, CloseReason, Machine};
use crate::rng::Rng;
use crate::session::SessionFacts;
use crate::smp::server::Work;
use crate::smp::server::verify::{Claim, Verifier};
use crate::smp::transmission::Authorized;
use crate::time::{Instant, Latest, Now};
use crate::wire::{CorrId, EntityId};

use crate::xftp::router::store::Party;

/// A router's connection with a client. See the [module](self) for its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    config: Config,
    transport: Transport,
    greeting: Greeting,
    jobs: BTreeMap<StreamId, Job>,
    deadlines: BTreeSet<(Instant, StreamId)>,
    /// When the connection is given up if nothing is asked.
    idle: Option<Instant>,
    state: State,
    work: Work,
    rng: Rng,
    latest: Latest,
    actions: Actions<Action<Event>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Greeting {
    None,
    Sent(x25519::PrivateKey),
    Accepted(Session, x25519::PrivateKey),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
}

impl Server {
    /// A connection on a transport that is established.
    #[must_use]
    pub fn new(config: Config, transport: Transport, mut rng: Rng, now: Now) -> Self {
        let greeting = match transport.dispatch {
            Dispatch::Legacy => {
                let session = Session {
                    version: WITHOUT_HANDSHAKE,
                    id: transport.session_id.clone(),
                };
                // Nobody knows this key: such clients cannot authorise without a signature.
                Greeting::Accepted(session, x25519::PrivateKey::generate(&mut rng))
            }
            Dispatch::Native | Dispatch::Web | Dispatch::Silent => Greeting::None,
        };
        Self {
            idle: Some(now.instant + config.handshake_timeout),
            config,
            transport,
            greeting,
            jobs: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            state: State::Open,
            work: Work::default(),
            rng,
            latest: Latest::new(now),
            actions: Actions::default(),
        }
    }

    /// A connection above TLS.
    #[must_use]
    pub fn secured(config: Config, facts: SessionFacts, rng: Rng, now: Now) -> Self {
        Self::new(config, facts.into(), rng, now)
    }

    /// How much work verification was so far.
    #[must_use]
    pub const fn work(&self) -> Work {
        self.work
    }

    fn incoming(&mut self, now: Now, stream: StreamId, incoming: Incoming) {
        match incoming {
            Incoming::Request(request, part) => self.request(now, stream, request, part),
            Incoming::Body(bytes, part) => {
                let Some(job) = self.jobs.get_mut(&stream) else {
                    return;
                };
                job.receive(bytes, part);
                self.advance(now, stream);
            }
            Incoming::Taken(bytes) => self.taken(now, stream, bytes),
            Incoming::Failed(_) => self.abandon(stream),
            // A client does not answer.
            Incoming::Response(..) => {}
        }
    }

    fn request(&mut self, now: Now, stream: StreamId, request: http2::Request, part: Part) {
        self.touch(now);
        if request.method == Method::OPTIONS && self.transport.dispatch == Dispatch::Web {
            self.respond(stream, web::preflight(), Bytes::new());
            return self.send(stream, Outgoing::Discard);
        }
        if matches!(request.method, Method::GET | Method::HEAD) {
            return self.page(stream, request);
        }
        let rest = match web::declared(&request.headers) {
            Some(length) if length > BLOCK => Rest::Announced,
            Some(_) | None => Rest::Unknown,
        };
        let job = Job::new(web::Asked::of(&request.headers), part, rest);
        self.jobs.insert(stream, job);
        self.expect(stream, now.instant + self.config.block_timeout);
        self.advance(now, stream);
    }

    fn page(&mut self, stream: StreamId, request: http2::Request) {
        self.send(stream, Outgoing::Discard);
        match self.config.pages {
            Pages::None => {
                let response = http2::Response::of(StatusCode::NOT_FOUND);
                self.respond(stream, response, Bytes::new());
            }
            Pages::Served => {
                self.jobs.insert(stream, Job::executing());
                self.event(Event::Page { stream, request });
            }
        }
    }

    /// Does what can be done with what has come of a body.
    fn advance(&mut self, now: Now, stream: StreamId) {
        let Some(job) = self.jobs.get_mut(&stream) else {
            return;
        };
        match &job.stage {
            Stage::Block(_) => {
                let Some((block, credit)) = job.take_block() else {
                    return;
                };
                if credit > 0 {
                    self.send(stream, Outgoing::Credit(credit));
                }
                self.forget_deadline(stream);
                self.block(now, stream, &block);
            }
            Stage::Receiving(_) => self.receive_chunk(stream),
            Stage::Draining(_) => self.drain(stream),
            Stage::Looking(_) | Stage::Executing(_) | Stage::Opening { .. } | Stage::Sending(_) => {
            }
        }
    }

    /// The block of a request, shorter or empty if the body has ended.
    fn block(&mut self, now: Now, stream: StreamId, block: &Bytes) {
        let asked = self
            .jobs
            .get(&stream)
            .map(|job| job.asked)
            .unwrap_or_default();
        let asked = match self.transport.dispatch {
            Dispatch::Web => asked,
            Dispatch::Legacy | Dispatch::Native => web::Asked::Nothing,
            Dispatch::Silent => return self.answer_empty(stream),
        };
        match (&self.greeting, asked) {
            (Greeting::None | Greeting::Sent(_) | Greeting::Accepted(..), web::Asked::Hello) => {
                self.hello(stream, block);
            }
            (Greeting::None, _) if self.transport.dispatch == Dispatch::Web => {
                self.answer_text(stream, "SESSION");
            }
            (Greeting::None, _) => self.hello(stream, block),
            (Greeting::Sent(_), _) | (Greeting::Accepted(..), web::Asked::Handshake) => {
                self.handshake(now, stream, block);
            }
            (Greeting::Accepted(session, _), web::Asked::Nothing) => {
                let session = session.clone();
                self.command(stream, &session, block);
            }
        }
    }

    fn command(&mut self, stream: StreamId, session: &Session, block: &Bytes) {
        let malformed = Malformed {
            corr_id: CorrId::EMPTY,
            error: ErrorType::Block,
        };
        let transmission = match block.len() == BLOCK {
            true => Transmission::of_block(session, block),
            false => Err(malformed),
        };
        let transmission = match transmission {
            Ok(transmission) => transmission,
            Err(Malformed { corr_id, error }) => {
                self.name(stream, corr_id, EntityId::EMPTY);
                return self.answer(stream, Response::Err(error));
            }
        };
        let (corr_id, entity_id) = (&transmission.corr_id, &transmission.entity_id);
        self.name(stream, corr_id.clone(), entity_id.clone());
        let command = match transmission.parse_command(session.version) {
            Ok(command) => command,
            Err(error) => return self.answer(stream, Response::Err(error)),
        };
        if let (Command::FPut, Some(job)) = (&command, self.jobs.get_mut(&stream)) {
            job.rest = Rest::Announced;
        }
        let party = match &command {
            Command::Ping => return self.answer(stream, Response::Pong),
            Command::FNew(file) => {
                let key = Some(file.sender_key);
                return self.authorize(stream, command, &transmission, key.as_ref());
            }
            Command::FAdd(_) | Command::FPut | Command::FDel => Party::Sender,
            Command::FGet(_) | Command::FAck => Party::Recipient,
        };
        let id = transmission.entity_id.clone();
        self.set(stream, Stage::Looking(Box::new((command, transmission))));
        self.event(Event::Lookup { stream, party, id });
    }

    fn found(&mut self, stream: StreamId, found: &Found) {
        let Some(Stage::Looking(asked)) = self.take_stage(stream) else {
            return;
        };
        let (command, transmission) = *asked;
        match found {
            Found::Nothing => self.authorize(stream, command, &transmission, None),
            Found::Blocked(info) => {
                let error = ErrorType::Blocked { info: *info };
                self.answer(stream, Response::Err(error));
            }
            Found::Key(key) => self.authorize(stream, command, &transmission, Some(key)),
        }
    }

    /// Has the command executed, if the key has authorised it. Without a key it costs the same.
    fn authorize(
        &mut self,
        stream: StreamId,
        command: Command,
        transmission: &Transmission,
        key: Option<&crate::crypto::AuthPublicKey>,
    ) {
        let Greeting::Accepted(session, session_key) = &self.greeting else {
            return self.answer(stream, Response::Err(ErrorType::Session));
        };
        let authorized = Authorized::from(transmission.authorized.clone());
        let claim = Claim {
            authorization: transmission.authorization.as_ref(),
            corr_id: &transmission.corr_id,
            authorized: &authorized,
        };
        let mut verifier = Verifier {
            session_key,
            work: &mut self.work,
        };
        match verifier.key(key, &claim).holds(claim.authorized) {
            false => self.answer(stream, Response::Err(ErrorType::Auth)),
            true => {
                let request = Request {
                    entity_id: transmission.entity_id.clone(),
                    version: session.version,
                    command,
                };
                let of_download = match &request.command {
                    Command::FGet(key) => Some(*key),
                    Command::FNew(_)
                    | Command::FAdd(_)
                    | Command::FPut
                    | Command::FDel
                    | Command::FAck
                    | Command::Ping => None,
                };
                self.set(stream, Stage::Executing(of_download));
                self.event(Event::Execute { stream, request });
            }
        }
    }

    fn call(&mut self, now: Now, call: Call) {
        match call {
            Call::Key { stream, found } => self.found(stream, &found),
            Call::Answer { stream, response } => self.answer(stream, response),
            Call::Receive {
                stream,
                upload,
                size,
                digest,
            } => self.receive(now, stream, upload, size, &digest),
            Call::Swallow { stream, size } => self.swallow(now, stream, size),
            Call::Written { stream, bytes } => self.written(stream, bytes),
            Call::NotWritten { stream } => self.fail_upload(stream, ErrorType::FileIo),
            Call::Send {
                stream,
                chunk,
                size,
            } => self.open(stream, chunk, size),
            Call::Opened { stream, result } => self.opened(now, stream, result),
            Call::Data { stream, bytes } => self.data(now, stream, bytes),
            Call::NoData { stream } => self.no_data(stream),
            Call::Page {
                stream,
                response,
                body,
            } => {
                if self.take_stage(stream).is_some() {
                    self.respond(stream, response, body);
                }
            }
            Call::Close => self.close(CloseReason::Finished),
        }
    }

    fn timeout(&mut self, now: Now) {
        while let Some((deadline, stream)) = self.deadlines.first().copied()
            && deadline <= now.instant
        {
            self.deadlines.pop_first();
            match self.jobs.get(&stream).map(|job| &job.stage) {
                Some(Stage::Receiving(_)) => {
                    if let Some(job) = self.jobs.get_mut(&stream) {
                        job.rest = Rest::GivenUp;
                    }
                    self.fail_upload(stream, ErrorType::Timeout);
                }
                Some(Stage::Draining(_)) => self.give_answer(stream),
                Some(Stage::Sending(_)) => return self.close(CloseReason::TimedOut),
                Some(Stage::Block(_)) => {
                    self.answer(stream, Response::Err(ErrorType::Timeout));
                }
                Some(Stage::Looking(_) | Stage::Executing(_) | Stage::Opening { .. }) | None => {}
            }
        }
        if self.idle.is_some_and(|idle| idle <= now.instant) {
            if self.jobs.is_empty() {
                self.close(CloseReason::TimedOut);
            } else {
                self.touch(now);
            }
        }
    }

    /// The connection is in use.
    fn touch(&mut self, now: Now) {
        self.idle = match self.greeting {
            Greeting::Accepted(..) => self.config.inactive.map(|ttl| now.instant + ttl),
            // A request of the handshake does not buy more time for it.
            Greeting::None | Greeting::Sent(_) if self.jobs.is_empty() => self.idle,
            Greeting::None | Greeting::Sent(_) => Some(now.instant + self.config.handshake_timeout),
        };
    }

    fn expect(&mut self, stream: StreamId, deadline: Instant) {
        self.forget_deadline(stream);
        if let Some(job) = self.jobs.get_mut(&stream) {
            job.deadline = Some(deadline);
            self.deadlines.insert((deadline, stream));
        }
    }

    fn forget_deadline(&mut self, stream: StreamId) {
        if let Some(deadline) = self
            .jobs
            .get_mut(&stream)
            .and_then(|job| job.deadline.take())
        {
            self.deadlines.remove(&(deadline, stream));
        }
    }

    fn name(&mut self, stream: StreamId, corr_id: CorrId, entity_id: EntityId) {
        if let Some(job) = self.jobs.get_mut(&stream) {
            (job.corr_id, job.entity_id) = (corr_id, entity_id);
        }
    }

    fn set(&mut self, stream: StreamId, stage: Stage) {
        if let Some(job) = self.jobs.get_mut(&stream) {
            job.stage = stage;
        }
    }

    /// The stage of a request; it is executed now, whatever it is.
    fn take_stage(&mut self, stream: StreamId) -> Option<Stage> {
        let job = self.jobs.get_mut(&stream)?;
        Some(std::mem::replace(&mut job.stage, Stage::Executing(None)))
    }

    /// The peer does not want the answer any more.
    fn abandon(&mut self, stream: StreamId) {
        self.forget_deadline(stream);
        let told = match self.jobs.remove(&stream).map(|job| job.stage) {
            None | Some(Stage::Block(_) | Stage::Draining(_)) => false,
            Some(
                Stage::Looking(_)
                | Stage::Executing(_)
                | Stage::Receiving(_)
                | Stage::Opening { .. }
                | Stage::Sending(_),
            ) => true,
        };
        if told {
            self.event(Event::Gone { stream });
        }
    }

    fn forget(&mut self, stream: StreamId) {
        self.forget_deadline(stream);
        self.jobs.remove(&stream);
    }

    fn send(&mut self, stream: StreamId, outgoing: Outgoing) {
        self.actions.push(Action::Stream(stream, outgoing));
    }

    fn event(&mut self, event: Event) {
        self.actions.push(Action::Event(event));
    }

    fn close(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.jobs.clear();
        self.deadlines.clear();
        self.idle = None;
        self.actions.push(Action::Close(reason));
    }
}

impl Machine for Server {
    type Input<'a> = Input<Call>;
    type Action = Action<Event>;
    type Error = std::convert::Infallible;

    fn handle(&mut self, now: Now, input: Input<Call>) -> Result<(), Self::Error> {
        self.actions.begin();
        let now = self.latest.at(now);
        match (self.state, input) {
            (State::Closed, _) => {}
            (State::Open, Input::Stream(stream, incoming)) => self.incoming(now, stream, incoming),
            (State::Open, Input::Command(call)) => self.call(now, call),
            (State::Open, Input::Timeout) => self.timeout(now),
            (State::Open, Input::Eof) => self.close(CloseReason::PeerClosed),
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<Event>> {
        self.actions.next()
    }

    fn deadline(&self) -> Option<Instant> {
        let first = self.deadlines.first().map(|(deadline, _)| *deadline);
        first.into_iter().chain(self.idle).min()
    }
}

impl Exchange for Server {
    type Command = Call;
    type Event = Event;

    fn accepts_commands(&self) -> bool {
        self.state == State::Open
    }
}

/// How long a client may take for what it wants to say, and how long it may say nothing.
impl Config {
    /// The usual router with this identity.
    #[must_use]
    pub const fn new(identity: handshake::Identity) -> Self {
        Self {
            identity,
            handshake_timeout: Duration::from_secs(60),
            block_timeout: Duration::from_secs(60),
            upload_timeout: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(60),
            stall_timeout: Duration::from_secs(300),
            inactive: None,
            pages: Pages::None,
        }
    }
}
