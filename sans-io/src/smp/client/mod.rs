//! A client's session with a router, as a machine.
//!
//! ```text
//!                 RouterHello, service offered   ┌─────────┐
//!               ┌───────────────────────────────▶│ Service │──┐ ServiceResponse
//!   ┌───────┐   │                                └─────────┘  ▼
//!   │ Hello │───┤                                         ┌───────┐  Call::Close, Eof, silence  ┌────────┐
//!   └───────┘   └────────────────────────────────────────▶│ Ready │────────────────────────────▶│ Closed │
//!       │          RouterHello                            └───────┘                             └────────┘
//!       └───────────────────────────────────────────────────────────────────────────────────────────▲
//!                  Eof, Timeout, a handshake that fails
//! ```
//! Requests are pipelined: any number of them, up to a limit, waits for responses at the same time, and those that are given together
//! share blocks. Every request gets exactly one [`Event::Response`]: the router's, a time-out, or [`RequestError::Disconnected`]. A
//! response that comes after its time-out is told as [`Event::Late`].
//!
//! ```
//! use std::time::Duration;
//! use simplex_sans_io::crypto::Algorithm;
//! use simplex_sans_io::machine::{Action, Input, Machine};
//! use simplex_sans_io::rng::Rng;
//! # use simplex_sans_io::sim::identity::{Credentials, transports};
//! use simplex_sans_io::smp::client::{Call, Client, Config, Event, Request, RequestId, Response};
//! use simplex_sans_io::smp::server::{self, Server};
//! use simplex_sans_io::smp::{BrokerMessage, Command};
//! use simplex_sans_io::time::Now;
//! use simplex_sans_io::wire::EntityId;
//!
//! let mut rng = Rng::from_seed([7; 32]);
//! # let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
//! # let (of_client, of_router) = transports(&credentials, None, &mut rng);
//! // `credentials` are a router's, and the transports are what TLS would have told both sides.
//! let mut router = Server::new(server::Config::new(credentials.router()), of_router, rng.fork(), Now::START);
//! let mut client = Client::new(Config::new(credentials.key_hash()), of_client, rng.fork(), Now::START);
//!
//! // The router speaks first.
//! let Some(Action::Transmit(hello)) = router.poll() else { panic!() };
//! client.handle(Now::START, Input::Bytes(&hello))?;
//! let Some(Action::Transmit(hello)) = client.poll() else { panic!() };
//! let Some(Action::Event(Event::Established(session))) = client.poll() else { panic!() };
//! assert_eq!(session.session.version.0, 20);
//! router.handle(Now::START, Input::Bytes(&hello))?;
//! while router.poll().is_some() {}
//!
//! // A router answers PING by itself.
//! let ping = Request::new(RequestId(1), EntityId::EMPTY, Command::Ping);
//! client.handle(Now::START, Input::Command(Call::Send(vec![ping])))?;
//! let Some(Action::Transmit(block)) = client.poll() else { panic!() };
//! router.handle(Now::START, Input::Bytes(&block))?;
//! assert_eq!(router.poll(), Some(Action::Event(server::Event::Heard)));
//! let Some(Action::Transmit(block)) = router.poll() else { panic!() };
//! client.handle(Now::START, Input::Bytes(&block))?;
//! let response = Event::Response { request: RequestId(1), result: Ok(Response::Pong) };
//! assert_eq!(client.poll(), Some(Action::Event(response)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authorize;
mod pending;
mod request;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;

pub use self::request::{Relay, Request, RequestError, RequestId, Response, Route};

use self::authorize::Credentials;
use self::pending::{Pending, Waiting};
use self::request::Expected;
use super::batch;
use super::block::Blocks;
use super::error::{ErrorType, TransportError};
use super::handshake::client as handshake;
use super::handshake::{RouterHello, ServiceResponse, Transport};
use super::message::{BrokerMessage, MsgId};
use super::transmission::Transmission;
use super::{Command, HandshakeError};
use crate::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
use crate::rng::Rng;
use crate::session::{SessionFacts, Shown};
use crate::time::{Instant, Latest, Now, Timer, Timers};
use crate::wire::{self, CorrId, EntityId, KeyHash, Version, Wire};

pub use super::handshake::client::Established;

/// How a client speaks with a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What it wants of the handshake.
    pub handshake: handshake::Config,
    /// How long the handshake may take.
    pub handshake_timeout: Duration,
    /// How long a response may take, if the request does not say.
    pub response_timeout: Duration,
    /// After how long a silence a session with subscriptions is pinged.
    pub ping_interval: Duration,
    /// After how many missing responses in a row a session is given up.
    pub missing_responses: u32,
    /// For how long nothing must have come for a session to be given up.
    pub silence: Duration,
    /// How many requests may wait for responses.
    pub max_in_flight: usize,
}

impl Config {
    /// The usual client of the router with that identity.
    #[must_use]
    pub const fn new(key_hash: KeyHash) -> Self {
        Self {
            handshake: handshake::Config::new(key_hash),
            handshake_timeout: Duration::from_secs(45),
            response_timeout: Duration::from_secs(30),
            ping_interval: Duration::from_secs(600),
            missing_responses: 3,
            silence: Duration::from_secs(900),
            max_in_flight: 4096,
        }
    }
}

/// What the owner of a session wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Send these requests; they share as few blocks as hold them.
    Send(Vec<Request>),
    /// End the session. What waits for a response gets none.
    Close,
}

/// What the owner of a session is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Commands are welcome.
    Established(Box<Established>),
    /// The response to a request.
    Response {
        /// The request.
        request: RequestId,
        /// Its response.
        result: Result<Response, RequestError>,
    },
    /// The response to a request that has timed out before: what it did is done.
    Late {
        /// The request.
        request: RequestId,
        /// Its response.
        result: Result<Response, RequestError>,
    },
    /// What the router says unasked.
    Message {
        /// What it is about.
        entity_id: EntityId,
        /// What it says.
        message: BrokerMessage,
    },
    /// What nobody asked for and nobody understands.
    Unexpected(ErrorType),
}

/// Why a session died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The handshake failed.
    #[error("the handshake with the router failed: {0}")]
    Handshake(TransportError),
}

/// A client's session with a router. See the [module](self) for its states.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    config: Config,
    state: State,
    blocks: Blocks,
    rng: Rng,
    latest: Latest,
    outbox: Outbox<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Hello {
        transport: Box<Transport>,
        timeout: Instant,
    },
    Service {
        awaits: Box<handshake::AwaitsService>,
        timeout: Instant,
    },
    Ready(Box<Ready>),
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ready {
    established: Established,
    pending: Pending,
    timers: Timers<Wake, 1>,
    subscribed: Subscribed,
    last_received: Instant,
    missing: u32,
}

/// Whether the session has subscriptions, for whose sake it is kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subscribed {
    No,
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wake {
    /// The silence is to be broken.
    Ping,
}

impl Timer for Wake {
    fn slot(self) -> usize {
        match self {
            Self::Ping => 0,
        }
    }
}

impl Client {
    /// A session on a transport that is established; the router speaks first.
    #[must_use]
    pub fn new(config: Config, transport: Transport, rng: Rng, now: Now) -> Self {
        let timeout = now.instant + config.handshake_timeout;
        Self {
            config,
            state: State::Hello {
                transport: Box::new(transport),
                timeout,
            },
            blocks: Blocks::new(),
            rng,
            latest: Latest::new(now),
            outbox: Outbox::default(),
        }
    }

    /// A session above TLS. A service that has not shown its certificates there is not offered.
    #[must_use]
    pub fn secured(mut config: Config, facts: SessionFacts, rng: Rng, now: Now) -> Self {
        if !matches!(facts.shown, Shown::Identity(_)) {
            config.handshake.service = None;
        }
        Self::new(config, facts.into(), rng, now)
    }

    /// How many requests wait for responses.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        match &self.state {
            State::Ready(ready) => ready.pending.waiting(),
            State::Hello { .. } | State::Service { .. } | State::Closed => 0,
        }
    }

    fn receive(&mut self, now: Now, mut bytes: &[u8]) -> Result<(), ClientError> {
        while !bytes.is_empty() && !matches!(self.state, State::Closed) {
            bytes = self.blocks.receive(bytes);
            match self.blocks.take() {
                None => {}
                Some(Ok(content)) => self.receive_block(now, &content)?,
                Some(Err(_)) => self.receive_unreadable(now)?,
            }
        }
        Ok(())
    }

    fn receive_block(&mut self, now: Now, content: &Bytes) -> Result<(), ClientError> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Hello { transport, timeout } => {
                let hello = parse_handshake::<RouterHello>(content)?;
                let config = &self.config.handshake;
                let (hello, next) = handshake::receive(config, &transport, &hello, &mut self.rng)
                    .map_err(ClientError::Handshake)?;
                let too_large = ClientError::Handshake(TransportError::LargeMsg);
                let block = self.blocks.handshake(&hello).ok_or(too_large)?;
                self.outbox.transmit(block);
                match next {
                    handshake::Next::Established(established) => {
                        self.establish(now, *established);
                    }
                    handshake::Next::Service(awaits) => {
                        self.state = State::Service { awaits, timeout };
                    }
                }
            }
            State::Service { awaits, .. } => {
                let response = parse_handshake::<ServiceResponse>(content)?;
                let established = awaits.receive(response).map_err(ClientError::Handshake)?;
                self.establish(now, established);
            }
            State::Ready(mut ready) => {
                ready.received(now, &self.config);
                ready.receive_content(content, &mut self.outbox, &self.config);
                self.state = State::Ready(ready);
            }
            State::Closed => {}
        }
        Ok(())
    }

    fn receive_unreadable(&mut self, now: Now) -> Result<(), ClientError> {
        match &mut self.state {
            State::Hello { .. } | State::Service { .. } => {
                self.state = State::Closed;
                Err(ClientError::Handshake(TransportError::BadBlock))
            }
            State::Ready(ready) => {
                ready.received(now, &self.config);
                self.outbox.event(Event::Unexpected(ErrorType::Block));
                Ok(())
            }
            State::Closed => Ok(()),
        }
    }

    fn establish(&mut self, now: Now, established: Established) {
        if let Some(chains) = &established.chains {
            self.blocks.encrypt(chains.clone());
        }
        let told = Established {
            chains: None,
            ..established
        };
        self.outbox
            .event(Event::Established(Box::new(told.clone())));
        self.state = State::Ready(Box::new(Ready {
            established: told,
            pending: Pending::default(),
            timers: Timers::default(),
            subscribed: Subscribed::No,
            last_received: now.instant,
            missing: 0,
        }));
    }

    fn call(&mut self, now: Now, call: Call) {
        match call {
            Call::Close => self.close(CloseReason::Finished),
            Call::Send(requests) => match &mut self.state {
                State::Ready(ready) => {
                    let transmissions = requests
                        .into_iter()
                        .filter_map(|request| {
                            ready.send(now, request, &mut self.rng, &mut self.outbox, &self.config)
                        })
                        .collect::<Vec<_>>();
                    self.transmit(&transmissions);
                }
                State::Hello { .. } | State::Service { .. } | State::Closed => {
                    for request in requests {
                        self.outbox.event(Event::Response {
                            request: request.id,
                            result: Err(RequestError::NotAccepted),
                        });
                    }
                }
            },
        }
    }

    /// All blocks of a flush leave together.
    fn transmit(&mut self, transmissions: &[Bytes]) {
        let blocks = batch::blocks(transmissions, &mut self.blocks);
        self.outbox.transmit(blocks);
    }

    fn timeout(&mut self, now: Now) {
        match &mut self.state {
            State::Hello { timeout, .. } | State::Service { timeout, .. } => {
                if *timeout <= now.instant {
                    self.close(CloseReason::TimedOut);
                }
            }
            State::Ready(ready) => {
                let missed = ready.expire(now, &mut self.outbox);
                let silent = ready.timers.expired(Wake::Ping, now.instant);
                if (missed || silent) && ready.is_lost(now, &self.config) {
                    self.close(CloseReason::TimedOut);
                } else if silent {
                    let ping = ready.ping(now, &mut self.rng, &self.config);
                    self.transmit(&[ping]);
                }
            }
            State::Closed => {}
        }
    }

    fn eof(&mut self) {
        let reason = match (&self.state, self.blocks.between_blocks()) {
            (State::Ready(_), true) => CloseReason::PeerClosed,
            _ => CloseReason::Truncated,
        };
        self.close(reason);
    }

    fn close(&mut self, reason: CloseReason) {
        if let State::Ready(ready) = &mut self.state {
            for request in ready.pending.drain() {
                self.outbox.event(Event::Response {
                    request,
                    result: Err(RequestError::Disconnected),
                });
            }
        }
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.outbox.close(reason);
        }
    }
}

fn parse_handshake<T: Wire>(content: &Bytes) -> Result<T, ClientError> {
    wire::decode_prefix(Version::default(), content).map_err(|_| {
        ClientError::Handshake(TransportError::Handshake {
            error: HandshakeError::Parse,
        })
    })
}

impl Ready {
    /// Something has come: the router lives.
    fn received(&mut self, now: Now, config: &Config) {
        self.last_received = now.instant;
        self.missing = 0;
        if self.subscribed == Subscribed::Yes {
            self.timers
                .set(Wake::Ping, now.instant + config.ping_interval);
        }
    }

    fn send(
        &mut self,
        now: Now,
        request: Request,
        rng: &mut Rng,
        outbox: &mut Outbox<Event>,
        config: &Config,
    ) -> Option<Bytes> {
        let sent = match self.pending.waiting() < config.max_in_flight {
            true => self.seal(now, &request, rng, config),
            false => Err(RequestError::NotAccepted),
        };
        sent.map_err(|error| {
            outbox.event(Event::Response {
                request: request.id,
                result: Err(error),
            });
        })
        .ok()
    }

    fn seal(
        &mut self,
        now: Now,
        request: &Request,
        rng: &mut Rng,
        config: &Config,
    ) -> Result<Bytes, RequestError> {
        let corr_id = match &request.corr_id {
            Some(corr_id) => corr_id.clone(),
            None => CorrId::from(rng.bytes::<24>()),
        };
        let sealed = self.credentials().seal(request, &corr_id, rng)?;
        if !batch::fits(&sealed.transmission) {
            return Err(RequestError::TooLarge);
        }
        let waiting = Waiting {
            request: Some(request.id),
            entity_id: request.entity_id.clone(),
            expected: Expected::of(&request.command),
            forwarded: sealed.forwarded,
            timeout: now.instant + request.timeout.unwrap_or(config.response_timeout),
        };
        match self.pending.add(corr_id, waiting) {
            true => Ok(sealed.transmission),
            false => Err(RequestError::NotAccepted),
        }
    }

    fn credentials(&self) -> Credentials<'_> {
        let router = self.established.router.as_ref();
        Credentials {
            session: &self.established.session,
            router_key: router.map(|router| &router.session_key),
            service: self.established.service.as_ref(),
        }
    }

    fn ping(&mut self, now: Now, rng: &mut Rng, config: &Config) -> Bytes {
        self.timers
            .set(Wake::Ping, now.instant + config.ping_interval);
        let corr_id = CorrId::from(rng.bytes::<24>());
        let session = &self.established.session;
        let ping = super::transmission::Unauthorized::new(
            session,
            &corr_id,
            &EntityId::EMPTY,
            &Command::Ping,
        );
        let waiting = Waiting {
            request: None,
            entity_id: EntityId::EMPTY,
            expected: Expected::Pong,
            forwarded: None,
            timeout: now.instant + config.response_timeout,
        };
        let added = self.pending.add(corr_id, waiting);
        debug_assert!(added, "24 random bytes are not drawn twice");
        ping.authorize(session, None, None)
    }

    fn receive_content(&mut self, content: &Bytes, outbox: &mut Outbox<Event>, config: &Config) {
        let Some(transmissions) = batch::unpack(content) else {
            outbox.event(Event::Unexpected(ErrorType::Block));
            return;
        };
        for bytes in transmissions {
            match Transmission::parse(&self.established.session, &bytes) {
                Ok(transmission) => self.receive_transmission(&transmission, outbox, config),
                Err(malformed) => outbox.event(Event::Unexpected(malformed.error)),
            }
        }
    }

    fn receive_transmission(
        &mut self,
        transmission: &Transmission,
        outbox: &mut Outbox<Event>,
        config: &Config,
    ) {
        if transmission.corr_id.is_empty() {
            let message = transmission.parse_message(self.established.session.version);
            outbox.event(match message {
                Ok(message) => Event::Message {
                    entity_id: transmission.entity_id.clone(),
                    message,
                },
                Err(error) => Event::Unexpected(error),
            });
            return;
        }
        let Some(answered) = self.pending.take(&transmission.corr_id) else {
            outbox.event(Event::Unexpected(ErrorType::Session));
            return;
        };
        let mut delivered = None;
        let result = self.response(&answered.waiting, transmission, &mut delivered);
        if matches!(
            result,
            Ok(Response::Subscribed { .. } | Response::ServiceSubscribed(_))
        ) {
            self.subscribe(config);
        }
        if let Some(request) = answered.waiting.request {
            outbox.event(match answered.late {
                false => Event::Response { request, result },
                true => Event::Late { request, result },
            });
        }
        if let Some((id, body)) = delivered {
            outbox.event(Event::Message {
                entity_id: transmission.entity_id.clone(),
                message: BrokerMessage::Msg { id, body },
            });
        }
    }

    fn response(
        &self,
        waiting: &Waiting,
        transmission: &Transmission,
        delivered: &mut Option<(MsgId, Bytes)>,
    ) -> Result<Response, RequestError> {
        let session = &self.established.session;
        let message = transmission
            .parse_message(session.version)
            .map_err(RequestError::Unparsable)?;
        let (message, entity_id) = match (&waiting.forwarded, message) {
            (Some((session, sealed)), BrokerMessage::PRes { encrypted }) => {
                let inner = sealed.open(&encrypted).map_err(RequestError::Unparsable)?;
                let inner = Transmission::parse(session, &inner)
                    .map_err(|malformed| RequestError::Unparsable(malformed.error))?;
                if inner.corr_id != transmission.corr_id {
                    return Err(RequestError::Unparsable(ErrorType::Session));
                }
                let message = inner
                    .parse_message(session.version)
                    .map_err(RequestError::Unparsable)?;
                (message, inner.entity_id)
            }
            (Some(_), BrokerMessage::Err(error)) => return Err(RequestError::Protocol(error)),
            (Some(_), other) => return Err(RequestError::Unexpected(other.tag())),
            (None, message) => (message, transmission.entity_id.clone()),
        };
        if !entity_id.is_empty() && entity_id != waiting.entity_id {
            return Err(RequestError::Unexpected(message.tag()));
        }
        waiting
            .expected
            .response(message, |id, body| *delivered = Some((id, body)))
    }

    fn subscribe(&mut self, config: &Config) {
        if self.subscribed == Subscribed::No {
            self.subscribed = Subscribed::Yes;
            self.timers
                .set(Wake::Ping, self.last_received + config.ping_interval);
        }
    }

    /// Gives up requests that have waited long enough; says whether there were any.
    fn expire(&mut self, now: Now, outbox: &mut Outbox<Event>) -> bool {
        let mut missed = false;
        while let Some(request) = self.pending.expire(now.instant) {
            missed = true;
            self.missing = self.missing.saturating_add(1);
            if let Some(request) = request {
                outbox.event(Event::Response {
                    request,
                    result: Err(RequestError::TimedOut),
                });
            }
        }
        missed
    }

    /// Responses are missing, and nothing else came either.
    fn is_lost(&self, now: Now, config: &Config) -> bool {
        self.missing >= config.missing_responses
            && now.instant - self.last_received >= config.silence
    }
}

impl Machine for Client {
    type Input<'a> = Input<'a, Call>;
    type Action = Action<Event>;
    type Error = ClientError;

    fn handle(&mut self, now: Now, input: Input<'_, Call>) -> Result<(), ClientError> {
        self.outbox.begin();
        let now = self.latest.at(now);
        match input {
            Input::Bytes(bytes) => self.receive(now, bytes)?,
            Input::Eof => self.eof(),
            Input::Timeout => self.timeout(now),
            Input::Command(call) => self.call(now, call),
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<Event>> {
        self.outbox.next()
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Hello { timeout, .. } | State::Service { timeout, .. } => Some(*timeout),
            State::Ready(ready) => {
                let ping = ready.timers.deadline();
                ping.into_iter().chain(ready.pending.deadline()).min()
            }
            State::Closed => None,
        }
    }
}

impl Connection for Client {
    type Command = Call;
    type Event = Event;

    fn accepts_commands(&self) -> bool {
        match &self.state {
            State::Ready(ready) => ready.pending.waiting() < self.config.max_in_flight,
            State::Hello { .. } | State::Service { .. } | State::Closed => false,
        }
    }
}
