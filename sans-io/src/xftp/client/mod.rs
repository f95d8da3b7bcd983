//! A client's session with a router, as a machine above HTTP/2.
//!
//! ```text
//!   ┌───────┐ RouterHello  ┌───────────┐ empty answer  ┌───────┐ Call::Close, Eof, silence ┌────────┐
//!   │ Hello │─────────────▶│ Handshake │──────────────▶│ Ready │──────────────────────────▶│ Closed │
//!   └───────┘              └───────────┘               └───────┘                           └────────┘
//!     │ no protocol in TLS                               ▲  │ Call::Send: any number at the same time
//!     └──────────────────────────────────────────────────┘  ▼
//!                      ┌──────────┐ body, block   ┌──────────┐ block  ┌─────────┐
//!                      │ uploading│──────────────▶│ awaiting │───────▶│ answered│
//!                      └──────────┘               └──────────┘        └─────────┘
//!                                                      │ FILE   ┌─────────────┐   ▲
//!                                                      └───────▶│ downloading │───┘ tag, digest
//!                                                               └─────────────┘
//! ```
//! Requests are independent of each other: each has a stream of its own, and gets exactly one [`Event::Response`]. Nothing of a chunk is
//! kept here: bytes to upload are asked for as they leave ([`Event::Taken`]), and bytes that were downloaded are decrypted and passed on
//! at once, and more of them come as they are [credited](Call::Credit). They must not be believed before the response says so.
//!
//! Only [so many](Config::max_downloads) downloads are under way at the same time, and others wait for their turn: so there is always room for
//! other responses, whatever the owner leaves unread.
//!
//! A request that nobody waits for any more is not reset: its answer is read and thrown away.
//!
//! ```
//! use simplex_sans_io::crypto::Algorithm;
//! use simplex_sans_io::http2::Input;
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::sim::identity::Credentials;
//! use simplex_sans_io::sim::xftp::{Joined, transports};
//! use simplex_sans_io::time::Now;
//! use simplex_sans_io::xftp::client::{Answer, Ask, Call, Client, Config, Event, Request, RequestId};
//! use simplex_sans_io::xftp::server::{self, Server};
//!
//! // The credentials of a router, and what TLS would have told both sides.
//! let mut rng = Rng::from_seed([7; 32]);
//! let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
//! let (of_client, of_router) = transports(&mut rng);
//!
//! let config = server::Config::new(credentials.xftp_router());
//! let router = Server::new(config, of_router, rng.fork(), Now::START);
//! let config = Config::new("router.example", credentials.key_hash());
//! let client = Client::new(config, of_client, rng.fork(), Now::START);
//!
//! // The handshake is two requests.
//! let mut joined = Joined::new(client, router);
//! assert!(matches!(joined.client_events.pop(), Some(Event::Established(_))));
//!
//! // A router answers PING by itself.
//! let ping = Request::new(RequestId(1), Ask::Ping);
//! joined.give_client(Input::Command(Call::Send(ping)));
//! let pong = Event::Response { request: RequestId(1), result: Ok(Answer::Pong) };
//! assert_eq!(joined.client_events.pop(), Some(pong));
//! ```

mod downloads;
mod exchange;
mod request;
mod retry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode};

pub use self::request::{Answer, Ask, Request, RequestError, RequestId};
pub use self::retry::{Attempts, Verdict};

use self::downloads::{Downloads, Wanted};
use self::exchange::{Finished, Pending};
use super::handshake::{self, Established, Expected, HandshakeError, RouterHello};
use super::transmission::{Session, Transmission, Unauthorized};
use super::version::{SUPPORTED, WITHOUT_HANDSHAKE};
use super::{BLOCK, Response};
use crate::crypto::certificate::Chain;
use crate::http2::{self, Action, Exchange, Failure, Incoming, Input, Outgoing, Part, StreamId};
use crate::machine::{Actions, CloseReason, Machine};
use crate::rng::Rng;
use crate::session::SessionFacts;
use crate::time::{Instant, Latest, Now};
use crate::wire::{CorrId, Id, KeyHash};

/// How a client speaks with a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What it expects of the router.
    pub expected: Expected,
    /// The router's host, as its address has it.
    pub authority: String,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
    /// How long a request may make no progress.
    pub response_timeout: Duration,
    /// How many time-outs in a row end the session.
    pub missing_responses: u32,
    /// How many requests may wait at the same time; more are refused.
    pub max_in_flight: usize,
    /// How many downloads are under way at the same time: no more than [HTTP/2 leaves room for](http2::Options::unread_bodies).
    pub max_downloads: usize,
}

impl Config {
    /// The usual client of the router with that host and identity.
    #[must_use]
    pub fn new(authority: &str, key_hash: KeyHash) -> Self {
        Self {
            expected: Expected {
                versions: SUPPORTED,
                key_hash,
            },
            authority: authority.to_owned(),
            handshake_timeout: Duration::from_secs(45),
            response_timeout: Duration::from_secs(60),
            missing_responses: 3,
            max_in_flight: 1024,
            max_downloads: http2::Options::client().unread_bodies(),
        }
    }
}

/// What the transport below has established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// The id of the session.
    pub session_id: Id,
    /// Whether there is a handshake.
    pub handshake: Handshaking,
    /// What the router has shown in TLS, if there is TLS.
    pub peer: Option<Arc<Chain>>,
}

/// Whether there is a handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshaking {
    /// There is.
    Needed,
    /// There is none, because no protocol was negotiated in TLS.
    Skipped,
}

impl From<SessionFacts> for Transport {
    fn from(facts: SessionFacts) -> Self {
        Self {
            session_id: facts.session_id.into(),
            handshake: match facts.protocol {
                Some(_) => Handshaking::Needed,
                None => Handshaking::Skipped,
            },
            peer: facts.peer.map(Arc::new),
        }
    }
}

/// What the owner of a session wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Send this request.
    Send(Request),
    /// The next bytes of an upload.
    Upload {
        /// The request.
        request: RequestId,
        /// The bytes.
        bytes: Bytes,
    },
    /// That many bytes of a download are done with, also after its response.
    Credit {
        /// The request.
        request: RequestId,
        /// How many.
        bytes: usize,
    },
    /// Nobody waits for this request any more, nor for what came of it and was not credited.
    Cancel(RequestId),
    /// End the session. What waits for a response gets none.
    Close,
}

/// What the owner of a session is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Requests are welcome.
    Established(Session),
    /// That many bytes of an upload have left, and as many more are welcome; the first ones are welcome at once.
    Taken {
        /// The request.
        request: RequestId,
        /// How many.
        bytes: usize,
    },
    /// The next bytes of a download, decrypted; not to be believed yet.
    Data {
        /// The request.
        request: RequestId,
        /// The bytes.
        bytes: BytesMut,
    },
    /// The response to a request.
    Response {
        /// The request.
        request: RequestId,
        /// Its response.
        result: Result<Answer, RequestError>,
    },
}

/// How much of an upload may be on its way before any of it has [left](Event::Taken).
pub const UPLOAD_WINDOW: usize = 128 * 1024;

/// Why a session died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The handshake failed.
    #[error("the handshake with the router failed: {0}")]
    Handshake(#[from] HandshakeError),
}

/// A client's session with a router. See the [module](self) for its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    config: Config,
    state: State,
    streams: BTreeMap<StreamId, Pending>,
    requests: BTreeMap<RequestId, StreamId>,
    downloads: Downloads,
    deadlines: BTreeSet<(Instant, StreamId)>,
    next_stream: u64,
    /// Time-outs since something came.
    missing: u32,
    rng: Rng,
    latest: Latest,
    actions: Actions<Action<Event>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The router is to say who it is.
    Hello {
        transport: Transport,
        block: BytesMut,
        timeout: Instant,
    },
    /// The router is to accept what it was asked for.
    Handshake {
        established: Established,
        timeout: Instant,
    },
    Ready {
        session: Session,
        router_key: Option<crate::crypto::x25519::PublicKey>,
    },
    Closed,
}

/// The streams of the handshake.
const HELLO: StreamId = StreamId::ours(0);
const HANDSHAKE: StreamId = StreamId::ours(1);

impl Client {
    /// A session on a transport that is established. What it says first waits to be drained.
    #[must_use]
    pub fn new(config: Config, transport: Transport, rng: Rng, now: Now) -> Self {
        let timeout = now.instant + config.handshake_timeout;
        let mut client = Self {
            config,
            state: State::Closed,
            streams: BTreeMap::new(),
            requests: BTreeMap::new(),
            downloads: Downloads::default(),
            deadlines: BTreeSet::new(),
            next_stream: 2,
            missing: 0,
            rng,
            latest: Latest::new(now),
            actions: Actions::default(),
        };
        match transport.handshake {
            Handshaking::Needed => {
                client.ask(HELLO, Part::Last);
                client.state = State::Hello {
                    transport,
                    block: BytesMut::new(),
                    timeout,
                };
            }
            Handshaking::Skipped => {
                let session = Session {
                    version: WITHOUT_HANDSHAKE,
                    id: transport.session_id,
                };
                client.establish(session, None);
            }
        }
        client
    }

    /// A session above TLS.
    #[must_use]
    pub fn secured(config: Config, facts: SessionFacts, rng: Rng, now: Now) -> Self {
        Self::new(config, facts.into(), rng, now)
    }

    /// How many requests wait for responses.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.requests.len()
    }

    fn incoming(&mut self, stream: StreamId, incoming: Incoming) -> Result<(), ClientError> {
        if matches!(incoming, Incoming::Response(..) | Incoming::Body(..)) {
            self.missing = 0;
        }
        match (stream, &mut self.state) {
            (HELLO, State::Hello { .. }) => self.hello(incoming),
            (HANDSHAKE, State::Handshake { .. }) => self.accepted(incoming),
            (_, State::Ready { .. }) => {
                self.exchange(stream, incoming);
                Ok(())
            }
            (_, State::Hello { .. } | State::Handshake { .. } | State::Closed) => Ok(()),
        }
    }

    fn hello(&mut self, incoming: Incoming) -> Result<(), ClientError> {
        let State::Hello {
            transport,
            block,
            timeout,
        } = &mut self.state
        else {
            return Ok(());
        };
        let part = match incoming {
            Incoming::Response(head, part) if head.status == StatusCode::OK => part,
            Incoming::Body(bytes, part) => {
                block.extend_from_slice(&bytes);
                part
            }
            Incoming::Taken(_) => return Ok(()),
            Incoming::Response(..) | Incoming::Request(..) | Incoming::Failed(_) => {
                return Err(HandshakeError::Refused.into());
            }
        };
        if block.len() < BLOCK {
            return match part {
                Part::More => Ok(()),
                Part::Last => Err(HandshakeError::Parse.into()),
            };
        }
        let hello: RouterHello = handshake::of_block(block.get(..BLOCK).unwrap_or_default())?;
        let (answer, established) = self.config.expected.receive(
            &transport.session_id,
            transport.peer.as_deref(),
            &hello,
        )?;
        let block = handshake::block(&answer).map_err(|_| HandshakeError::Parse)?;
        let timeout = *timeout;
        self.state = State::Handshake {
            established,
            timeout,
        };
        self.send(HELLO, Outgoing::Discard);
        self.ask(HANDSHAKE, Part::More);
        self.send(HANDSHAKE, Outgoing::Body(block, Part::Last));
        Ok(())
    }

    fn accepted(&mut self, incoming: Incoming) -> Result<(), ClientError> {
        let part = match incoming {
            Incoming::Response(head, part) if head.status == StatusCode::OK => part,
            Incoming::Body(bytes, part) if bytes.is_empty() => part,
            Incoming::Taken(_) => return Ok(()),
            Incoming::Response(..)
            | Incoming::Body(..)
            | Incoming::Request(..)
            | Incoming::Failed(_) => return Err(HandshakeError::Refused.into()),
        };
        if let (Part::Last, State::Handshake { established, .. }) = (part, &self.state) {
            let Established {
                session,
                router_key,
            } = established.clone();
            self.establish(session, Some(router_key));
        }
        Ok(())
    }

    fn establish(
        &mut self,
        session: Session,
        router_key: Option<crate::crypto::x25519::PublicKey>,
    ) {
        self.event(Event::Established(session.clone()));
        self.state = State::Ready {
            session,
            router_key,
        };
    }

    fn call(&mut self, call: Call) {
        match call {
            Call::Send(request) => {
                let id = request.id;
                if let Err(error) = self.request(request) {
                    self.respond(id, Err(error));
                }
            }
            Call::Upload { request, bytes } => self.upload(request, bytes),
            Call::Credit { request, bytes } => self.credit(request, bytes),
            Call::Cancel(request) => match self.requests.get(&request).copied() {
                Some(stream) => self.finish(stream, Err(RequestError::Cancelled)),
                None => self.forget_unread(request),
            },
            Call::Close => self.close(CloseReason::Finished),
        }
    }

    fn request(&mut self, request: Request) -> Result<(), RequestError> {
        let State::Ready {
            session,
            router_key,
        } = &self.state
        else {
            return Err(RequestError::NotAccepted);
        };
        if self.requests.len() >= self.config.max_in_flight
            || self.requests.contains_key(&request.id)
            || self.downloads.is_unread(request.id)
        {
            return Err(RequestError::NotAccepted);
        }
        let corr_id = CorrId::from(self.rng.bytes());
        let (command, pending) = Pending::new(&request, corr_id.clone(), &mut self.rng);
        let transmission = Unauthorized::new(session, &corr_id, &request.entity_id, &command);
        let authorization = match &request.key {
            None => None,
            Some(key) => Some(
                transmission
                    .authorization(key, &corr_id, router_key.as_ref())
                    .ok_or(RequestError::NoSessionKey)?,
            ),
        };
        let block = transmission
            .block(authorization.as_ref())
            .map_err(|_| RequestError::TooLarge)?;

        let stream = StreamId::ours(self.next_stream);
        self.next_stream = self.next_stream.saturating_add(1);
        self.requests.insert(request.id, stream);
        let part = pending.part_after_block();
        self.streams.insert(stream, pending);
        if let Ask::Download { .. } = request.ask {
            self.queue_download(stream, block);
            return Ok(());
        }
        self.expect(stream);
        self.ask(stream, Part::More);
        self.send(stream, Outgoing::Body(block, part));
        Ok(())
    }

    fn upload(&mut self, request: RequestId, bytes: Bytes) {
        let Some(stream) = self.requests.get(&request).copied() else {
            return;
        };
        let Some(pending) = self.streams.get_mut(&stream) else {
            return;
        };
        match pending.upload(bytes.len()) {
            Ok(part) => {
                self.send(stream, Outgoing::Body(bytes, part));
                self.expect(stream);
            }
            Err(error) => self.finish(stream, Err(error)),
        }
    }

    fn exchange(&mut self, stream: StreamId, incoming: Incoming) {
        let Some(pending) = self.streams.get_mut(&stream) else {
            return;
        };
        let request = pending.request;
        let finished = match incoming {
            Incoming::Taken(bytes) => {
                let bytes = pending.taken(bytes);
                if bytes > 0 {
                    self.event(Event::Taken { request, bytes });
                }
                None
            }
            Incoming::Response(head, _) if head.status != StatusCode::OK => {
                Some(Err(RequestError::Status(head.status.as_u16())))
            }
            Incoming::Response(_, Part::Last) => Some(Err(RequestError::Malformed)),
            Incoming::Response(_, Part::More) => None,
            Incoming::Body(bytes, part) => self.body(stream, &bytes, part),
            Incoming::Failed(Failure::Refused) => Some(Err(RequestError::Refused)),
            Incoming::Failed(Failure::Reset | Failure::Invalid) | Incoming::Request(..) => {
                Some(Err(RequestError::Disconnected))
            }
        };
        match finished {
            None => self.expect(stream),
            Some(result) => self.finish(stream, result),
        }
    }

    fn body(&mut self, stream: StreamId, bytes: &Bytes, part: Part) -> Option<Finished> {
        let State::Ready { session, .. } = &self.state else {
            return None;
        };
        let pending = self.streams.get_mut(&stream)?;
        let request = pending.request;
        let (block, rest) = pending.take_block(bytes);
        let mut credit = bytes.len().saturating_sub(rest.len());
        if let Some(block) = block {
            match Transmission::of_block(session, &block) {
                Err(_) => return Some(Err(RequestError::Malformed)),
                Ok(transmission) => match transmission.parse_response(session.version) {
                    Err(_) => return Some(Err(RequestError::Malformed)),
                    Ok(Response::Err(error)) => return Some(Err(RequestError::Protocol(error))),
                    Ok(response) => {
                        if let Some(finished) = pending.response(&transmission, response) {
                            return Some(finished);
                        }
                    }
                },
            }
        }
        let data = pending.decrypt(&rest);
        let finished = pending.finished(part);
        match data {
            Ok(data) if !data.is_empty() => {
                // The tag and what surrounds a chunk is not the owner's to credit.
                credit = credit.saturating_add(rest.len().saturating_sub(data.len()));
                pending.unread = pending.unread.saturating_add(data.len());
                self.event(Event::Data {
                    request,
                    bytes: data,
                });
                self.wait_for_turn();
            }
            Ok(_) => credit = bytes.len(),
            Err(error) => return Some(Err(error)),
        }
        if credit > 0 {
            self.send(stream, Outgoing::Credit(credit));
        }
        finished
    }

    /// The request has its response; what is left of it is sent and read in the shortest way.
    fn finish(&mut self, stream: StreamId, result: Finished) {
        let Some(pending) = self.streams.remove(&stream) else {
            return;
        };
        self.forget_deadline(stream, &pending);
        self.requests.remove(&pending.request);
        if pending.is_uploading() {
            self.send(stream, Outgoing::Body(Bytes::new(), Part::Last));
        }
        let wanted = match result {
            Err(RequestError::Cancelled) => Wanted::No,
            Ok(_) | Err(_) => Wanted::Yes,
        };
        self.leave(stream, &pending, wanted);
        self.respond(pending.request, result);
    }

    fn timeout(&mut self, now: Now) {
        match &self.state {
            State::Hello { timeout, .. } | State::Handshake { timeout, .. } => {
                if *timeout <= now.instant {
                    self.close(CloseReason::TimedOut);
                }
            }
            State::Ready { .. } => {
                while let Some((deadline, stream)) = self.deadlines.first().copied()
                    && deadline <= now.instant
                {
                    self.deadlines.pop_first();
                    self.missing = self.missing.saturating_add(1);
                    self.finish(stream, Err(RequestError::TimedOut));
                }
                self.give_up_downloads(now.instant);
                if self.missing >= self.config.missing_responses {
                    self.close(CloseReason::TimedOut);
                }
            }
            State::Closed => {}
        }
    }

    fn close(&mut self, reason: CloseReason) {
        for request in std::mem::take(&mut self.requests).into_keys() {
            self.respond(request, Err(RequestError::Disconnected));
        }
        self.streams.clear();
        self.downloads = Downloads::default();
        self.deadlines.clear();
        self.state = State::Closed;
        self.actions.push(Action::Close(reason));
    }

    /// The request has made progress.
    fn expect(&mut self, stream: StreamId) {
        if let Some(mut pending) = self.streams.remove(&stream) {
            self.forget_deadline(stream, &pending);
            let timeout = pending.timeout.unwrap_or(self.config.response_timeout);
            let deadline = self.latest.get() + timeout;
            pending.deadline = Some(deadline);
            self.deadlines.insert((deadline, stream));
            self.streams.insert(stream, pending);
        }
    }

    fn forget_deadline(&mut self, stream: StreamId, pending: &Pending) {
        if let Some(deadline) = pending.deadline {
            self.deadlines.remove(&(deadline, stream));
        }
    }

    fn ask(&mut self, stream: StreamId, part: Part) {
        let head = http2::Request::new(Method::POST, &self.config.authority, "/");
        self.send(stream, Outgoing::Request(head, part));
    }

    fn respond(&mut self, request: RequestId, result: Finished) {
        self.event(Event::Response { request, result });
    }

    fn send(&mut self, stream: StreamId, outgoing: Outgoing) {
        self.actions.push(Action::Stream(stream, outgoing));
    }

    fn event(&mut self, event: Event) {
        self.actions.push(Action::Event(event));
    }
}

impl Machine for Client {
    type Input<'a> = Input<Call>;
    type Action = Action<Event>;
    type Error = ClientError;

    fn handle(&mut self, now: Now, input: Input<Call>) -> Result<(), ClientError> {
        self.actions.begin();
        let now = self.latest.at(now);
        match (&self.state, input) {
            (State::Closed, Input::Command(Call::Send(request))) => {
                self.respond(request.id, Err(RequestError::NotAccepted));
            }
            (State::Closed, _) => {}
            (_, Input::Stream(stream, incoming)) => {
                let result = self.incoming(stream, incoming);
                if result.is_err() {
                    self.state = State::Closed;
                }
                return result;
            }
            (_, Input::Command(call)) => self.call(call),
            (_, Input::Timeout) => self.timeout(now),
            (_, Input::Eof) => self.close(CloseReason::PeerClosed),
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<Event>> {
        self.actions.next()
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Hello { timeout, .. } | State::Handshake { timeout, .. } => Some(*timeout),
            State::Ready { .. } => {
                let first = self.deadlines.first().map(|(deadline, _)| *deadline);
                first.into_iter().chain(self.downloads.patience).min()
            }
            State::Closed => None,
        }
    }
}

impl Exchange for Client {
    type Command = Call;
    type Event = Event;

    fn accepts_commands(&self) -> bool {
        // What belongs to a request must not wait behind one that is too many.
        matches!(self.state, State::Ready { .. })
    }
}
