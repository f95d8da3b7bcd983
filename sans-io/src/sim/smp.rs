//! A client and a router that talk to each other without a network.

use std::time::Duration;

use super::identity::{Credentials, transports};
use crate::crypto::Algorithm;
use crate::machine::{Action, CloseReason, Connection, Input};
use crate::rng::Rng;
use crate::smp::client::{self, Client};
use crate::smp::handshake::client::ServiceCredentials;
use crate::smp::server::{self, Server};
use crate::time::Now;
use crate::wire::EntityId;

/// Both sides of a session. Bytes arrive at once.
#[derive(Debug, Clone)]
pub struct Sides {
    /// The time of both.
    pub now: Now,
    /// The client.
    pub client: Side<Client>,
    /// The router.
    pub server: Side<Server>,
    /// The router's credentials.
    pub credentials: Credentials,
}

/// A machine, and what it has said to its owner.
#[derive(Debug, Clone)]
pub struct Side<M: Connection> {
    /// The machine.
    pub machine: M,
    /// What its owner was told.
    pub events: Vec<M::Event>,
    /// Why it has closed the stream.
    pub closed: Option<CloseReason>,
    /// Bytes that are not yet delivered to the other side.
    pub sent: Vec<u8>,
}

impl<M: Connection> Side<M> {
    fn new(machine: M) -> Self {
        let mut side = Self {
            machine,
            events: Vec::new(),
            closed: None,
            sent: Vec::new(),
        };
        side.drain();
        side
    }

    /// Gives the machine an input and keeps what it says.
    pub fn give(&mut self, now: Now, input: Input<'_, M::Command>) -> Result<(), M::Error> {
        let handled = self.machine.handle(now, input);
        self.drain();
        handled
    }

    fn drain(&mut self) {
        while let Some(action) = self.machine.poll() {
            match action {
                Action::Transmit(bytes) => self.sent.extend_from_slice(&bytes),
                Action::Event(event) => self.events.push(event),
                Action::Close(reason) => self.closed = Some(reason),
            }
        }
    }

    /// The events since the last call.
    pub fn events(&mut self) -> Vec<M::Event> {
        std::mem::take(&mut self.events)
    }
}

/// How the sides of a session are configured.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The client.
    pub client: client::Config,
    /// The router.
    pub server: server::Config,
    /// The router's credentials.
    pub credentials: Credentials,
    /// Where randomness comes from.
    pub rng: Rng,
}

impl Setup {
    /// Usual sides.
    #[must_use]
    pub fn new(seed: [u8; 32]) -> Self {
        let mut rng = Rng::from_seed(seed);
        let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
        Self {
            client: client::Config::new(credentials.key_hash()),
            server: server::Config::new(credentials.router()),
            credentials,
            rng,
        }
    }

    /// A client in the name of a service.
    #[must_use]
    pub fn in_the_name_of(mut self, service: ServiceCredentials) -> Self {
        self.client.handshake.service = Some(service);
        self
    }

    /// Both sides, before the handshake.
    #[must_use]
    pub fn start(mut self) -> Sides {
        let service = self.client.handshake.service.as_ref();
        let (of_client, of_server) = transports(&self.credentials, service, &mut self.rng);
        let (client_rng, server_rng) = (self.rng.fork(), self.rng.fork());
        let client = Client::new(self.client, of_client, client_rng, Now::START);
        let server = Server::new(self.server, of_server, server_rng, Now::START);
        Sides {
            now: Now::START,
            client: Side::new(client),
            server: Side::new(server),
            credentials: self.credentials,
        }
    }

    /// Both sides, after the handshake; a service is given this id.
    ///
    /// # Errors
    ///
    /// If the handshake fails.
    pub fn establish(self) -> Result<Sides, SidesError> {
        let service = self.client.handshake.service.is_some();
        let mut sides = self.start();
        sides.exchange()?;
        if service {
            let id = EntityId::from([0x55; 24]);
            let call = server::Call::Service(Ok(id));
            let asked = matches!(
                sides.server.events.as_slice(),
                [server::Event::Service { .. }]
            );
            if asked {
                sides.server.give(sides.now, Input::Command(call))?;
                sides.exchange()?;
            }
        }
        Ok(sides)
    }
}

/// What ends a session of two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SidesError {
    /// The client died.
    #[error(transparent)]
    Client(#[from] client::ClientError),
    /// The router died.
    #[error(transparent)]
    Server(#[from] server::ServerError),
}

impl Sides {
    /// Delivers what was sent until nothing is left.
    ///
    /// # Errors
    ///
    /// If a side dies.
    pub fn exchange(&mut self) -> Result<(), SidesError> {
        while !self.client.sent.is_empty() || !self.server.sent.is_empty() {
            let bytes = std::mem::take(&mut self.server.sent);
            self.client.give(self.now, Input::Bytes(&bytes))?;
            let bytes = std::mem::take(&mut self.client.sent);
            self.server.give(self.now, Input::Bytes(&bytes))?;
        }
        Ok(())
    }

    /// Lets time pass, and tells both sides.
    ///
    /// # Errors
    ///
    /// If a side dies.
    pub fn wait(&mut self, duration: Duration) -> Result<(), SidesError> {
        self.now = self.now + duration;
        self.client.give(self.now, Input::Timeout)?;
        self.server.give(self.now, Input::Timeout)?;
        Ok(())
    }

    /// Sends requests and delivers them.
    ///
    /// # Errors
    ///
    /// If a side dies.
    pub fn send(&mut self, requests: Vec<client::Request>) -> Result<(), SidesError> {
        let call = Input::Command(client::Call::Send(requests));
        self.client.give(self.now, call)?;
        self.exchange()
    }

    /// Tells the router what its owner says, and delivers what follows.
    ///
    /// # Errors
    ///
    /// If a side dies.
    pub fn owner(&mut self, call: server::Call) -> Result<(), SidesError> {
        self.server.give(self.now, Input::Command(call))?;
        self.exchange()
    }
}
