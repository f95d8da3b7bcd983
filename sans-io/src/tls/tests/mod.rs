//! A client and a router in memory, with anything between them.

mod limits;
mod matrix;
mod middle;
mod rules;
mod shared_port;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::crypto::certificate::{Certificate, Chain, Issuer, Name, Validity};
use crate::crypto::{Algorithm, SigningKey};
use crate::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
use crate::rng::Rng;
use crate::session::{SessionFacts, Shown, TlsVersion};
use crate::time::{Instant, Now, UnixTime};

use Algorithm::{Ed448, Ed25519};

/// Shows all that it sees, and says what it is told to say.
#[derive(Debug)]
struct Pipe {
    outbox: Outbox<Seen>,
    wake: Option<Instant>,
    is_closed: bool,
    is_full: bool,
}

#[derive(Debug, Clone, PartialEq)]
enum Seen {
    Secured(Box<SessionFacts>),
    Received(Bytes),
    Eof,
    Timeout,
}

#[derive(Debug, Clone, PartialEq)]
enum Say {
    Send(Vec<&'static [u8]>),
    WakeAt(Instant),
    StopReading,
    Close,
    /// Die with these last words.
    Die(&'static [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was told to die")]
struct Died;

impl Pipe {
    fn new(facts: SessionFacts, greeting: &'static [u8]) -> Self {
        let mut outbox = Outbox::default();
        outbox.event(Seen::Secured(Box::new(facts)));
        outbox.transmit(Bytes::from_static(greeting));
        Self {
            outbox,
            wake: None,
            is_closed: false,
            is_full: false,
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.is_closed = true;
        self.outbox.close(reason);
    }
}

impl Machine for Pipe {
    type Input<'a> = Input<'a, Say>;
    type Action = Action<Seen>;
    type Error = Died;

    fn handle(&mut self, _: Now, input: Input<'_, Say>) -> Result<(), Died> {
        self.outbox.begin();
        match input {
            Input::Bytes(bytes) => {
                let bytes = Bytes::copy_from_slice(bytes);
                self.outbox.event(Seen::Received(bytes));
            }
            Input::Eof => {
                self.outbox.event(Seen::Eof);
                self.close(CloseReason::PeerClosed);
            }
            Input::Timeout => {
                self.wake = None;
                self.outbox.event(Seen::Timeout);
            }
            Input::Command(Say::Send(parts)) => {
                for part in parts {
                    self.outbox.transmit(Bytes::from_static(part));
                }
            }
            Input::Command(Say::WakeAt(instant)) => self.wake = Some(instant),
            Input::Command(Say::StopReading) => self.is_full = true,
            Input::Command(Say::Close) => self.close(CloseReason::Finished),
            Input::Command(Say::Die(words)) => {
                self.outbox.transmit(Bytes::from_static(words));
                return Err(Died);
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<Seen>> {
        self.outbox.next()
    }

    fn deadline(&self) -> Option<Instant> {
        self.wake
    }
}

impl Connection for Pipe {
    type Command = Say;
    type Event = Seen;

    fn accepts_commands(&self) -> bool {
        !self.is_closed
    }

    fn accepts_bytes(&self) -> bool {
        !self.is_full
    }
}

/// One side, and all that it has said to its driver.
struct Side {
    tls: Tls<Pipe>,
    /// One entry for each action that sends.
    unsent: Vec<Bytes>,
    seen: Vec<Seen>,
    closed: Option<CloseReason>,
    error: Option<Error<Died>>,
}

impl Side {
    fn new(tls: Tls<Pipe>) -> Self {
        let mut side = Self {
            tls,
            unsent: Vec::new(),
            seen: Vec::new(),
            closed: None,
            error: None,
        };
        side.drain();
        side
    }

    fn give(&mut self, now: Now, input: Input<'_, Say>) {
        if self.is_gone() {
            return;
        }
        let timeout = input == Input::Timeout;
        let result = self.tls.handle(now, input);
        self.drain();
        self.error = result.err();
        let deadline = self.tls.deadline().filter(|_| timeout);
        assert!(deadline.is_none_or(|deadline| deadline > now.instant));
    }

    fn drain(&mut self) {
        while let Some(action) = self.tls.poll() {
            assert_eq!(self.closed, None, "nothing follows a close");
            match action {
                Action::Transmit(bytes) => self.unsent.push(bytes),
                Action::Event(event) => self.seen.push(event),
                Action::Close(reason) => self.closed = Some(reason),
            }
        }
    }

    fn is_gone(&self) -> bool {
        self.closed.is_some() || self.error.is_some()
    }

    fn facts(&self) -> Option<&SessionFacts> {
        self.seen.iter().find_map(|seen| match seen {
            Seen::Secured(facts) => Some(facts.as_ref()),
            Seen::Received(_) | Seen::Eof | Seen::Timeout => None,
        })
    }

    fn received(&self) -> Vec<u8> {
        let parts = self.seen.iter().filter_map(|seen| match seen {
            Seen::Received(bytes) => Some(bytes.as_ref()),
            Seen::Secured(_) | Seen::Eof | Seen::Timeout => None,
        });
        parts.collect::<Vec<_>>().concat()
    }

    #[track_caller]
    fn tls_error(&self) -> TlsError {
        match self.error.clone() {
            Some(Error::Tls(error)) => error,
            other => panic!("no error of TLS but {other:?}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    Client,
    Server,
}

struct Pair {
    client: Side,
    server: Side,
}

const START: Now = Now {
    instant: Instant::START,
    unix: UnixTime::from_seconds(1_800_000_000),
};

const PING: &[u8] = b"greetings of the client";
const PONG: &[u8] = b"greetings of the router";

impl Pair {
    fn new(client: ClientOptions, server: ServerOptions) -> Self {
        Self::seeded(client, server, 1)
    }

    fn seeded(client: ClientOptions, server: ServerOptions, seed: u8) -> Self {
        let client = Arc::new(ClientConfig::new(client).unwrap());
        let server = Arc::new(ServerConfig::new(server).unwrap());
        Self::of(&client, &server, seed)
    }

    fn of(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>, seed: u8) -> Self {
        let upper = |greeting: &'static [u8]| move |facts, _| Pipe::new(facts, greeting);
        let mut rng = Rng::from_seed([seed; 32]);
        Self {
            client: Side::new(Tls::client(client, START, rng.fork(), upper(PING)).unwrap()),
            server: Side::new(Tls::server(server, START, rng.fork(), upper(PONG))),
        }
    }

    /// Moves bytes until both sides are quiet.
    fn run(&mut self) -> &mut Self {
        self.run_through(|_, bytes| vec![bytes])
    }

    /// Moves bytes through something that replaces each write by others, until both sides are quiet.
    fn run_through(&mut self, mut between: impl FnMut(Sender, Bytes) -> Vec<Bytes>) -> &mut Self {
        loop {
            let from_client: Vec<_> = self.client.unsent.drain(..).collect();
            let from_server: Vec<_> = self.server.unsent.drain(..).collect();
            if from_client.is_empty() && from_server.is_empty() {
                return self;
            }
            for bytes in from_client
                .into_iter()
                .flat_map(|b| between(Sender::Client, b))
            {
                self.server.give(START, Input::Bytes(&bytes));
            }
            for bytes in from_server
                .into_iter()
                .flat_map(|b| between(Sender::Server, b))
            {
                self.client.give(START, Input::Bytes(&bytes));
            }
            if self.client.is_gone() && self.client.unsent.is_empty() {
                self.server.give(START, Input::Eof);
            }
            if self.server.is_gone() && self.server.unsent.is_empty() {
                self.client.give(START, Input::Eof);
            }
        }
    }

    #[track_caller]
    fn assert_secured(&self) -> (&SessionFacts, &SessionFacts) {
        let context = (&self.client.error, &self.server.error);
        let (client, server) = (self.client.facts(), self.server.facts());
        let (Some(client), Some(server)) = (client, server) else {
            panic!("not secured: {context:?}");
        };
        assert_eq!(client.session_id, server.session_id);
        assert_eq!(client.version, server.version);
        assert_eq!(client.protocol, server.protocol);
        assert_eq!(self.client.received(), PONG);
        assert_eq!(self.server.received(), PING);
        (client, server)
    }
}

/// Chains as a router or service makes them: the algorithms of the leaf's key and of those above it.
fn credentials(algorithms: &[Algorithm], seed: u8) -> Credentials {
    let (chain, key) = chain(algorithms, seed, validity());
    Credentials::new(chain, key).unwrap()
}

fn chain(algorithms: &[Algorithm], seed: u8, validity: Validity) -> (Chain, SigningKey) {
    let mut rng = Rng::from_seed([seed; 32]);
    let mut algorithms = algorithms.iter().rev();
    let mut generate = || {
        let algorithm = algorithms.next()?;
        SigningKey::generate(*algorithm, &mut rng)
    };
    let mut key = generate().unwrap();
    let keys: Vec<_> = std::iter::from_fn(generate).collect();
    let mut rng = Rng::from_seed([seed; 32]);
    let name = |level: usize| Name::new(format!("{seed}, level {level}"));
    let mut certificates = vec![match keys.len() {
        0 => Certificate::self_signed(&name(0), &key, validity),
        _ => Certificate::authority(&name(0), &key, validity, &mut rng),
    }];
    let lowest = keys.len();
    for (level, next) in (1..).zip(keys) {
        let issue = if level == lowest {
            Certificate::server
        } else {
            Certificate::subordinate
        };
        let issuer = Issuer::new(&certificates[0], &key).unwrap();
        let issued = issue(
            &name(level),
            &next.public_key(),
            &issuer,
            validity,
            &mut rng,
        );
        certificates.insert(0, issued);
        key = next;
    }
    (Chain::new(certificates).unwrap(), key)
}

fn validity() -> Validity {
    Validity::days(START.unix, 10)
}

/// A client that expects the router of these credentials.
fn client_of(credentials: &Credentials) -> ClientOptions {
    ClientOptions {
        protocols: vec!["smp/1"],
        ..ClientOptions::new(credentials.chain().fingerprint())
    }
}

fn server_of(credentials: &Credentials) -> ServerOptions {
    ServerOptions {
        protocols: vec!["smp/1"],
        ..ServerOptions::new(credentials.clone())
    }
}
