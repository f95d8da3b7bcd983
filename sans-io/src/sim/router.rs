//! A router in memory, for connections that are driven.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use super::identity::Credentials;
use super::store::{Contents, FakeStore};
use super::tasks::lock;
use crate::crypto::Algorithm;
use crate::drive::{Owner, Receiver, Sender, queue};
use crate::machine::Machine;
use crate::rng::Rng;
use crate::smp::BrokerMessage;
use crate::smp::router::{self, Action, ConnId, Input, ProxyRequest, Router, Ticket};
use crate::smp::server;
use crate::time::Now;

#[cfg(feature = "tls")]
use crate::{
    drive::SmpClient,
    smp::client::{Established, Request, RequestId, Response},
    smp::proxy::{Forwarded, ForwardedResponse},
    smp::{Command, ErrorType},
    wire::{CorrId, EntityId, Large},
};

/// A router with its store: clones share it. Its time stands still.
///
/// Each of its connections is a [`Server`](server::Server) that [`drive`](crate::drive::drive) runs, whose owner is a [`Seat`]. What
/// its proxy is asked for is told to whoever made it.
#[derive(Clone)]
pub struct SmpRouter {
    core: Arc<Mutex<Core>>,
    credentials: Credentials,
}

struct Core {
    router: Router,
    store: FakeStore,
    now: Now,
    rng: Rng,
    next: u64,
    connections: BTreeMap<ConnId, Sender<server::Call>>,
    asked: Sender<(Ticket, ProxyRequest)>,
}

impl SmpRouter {
    /// A router without queues, and what its proxy is asked for.
    #[must_use]
    pub fn new(rng: &mut Rng, now: Now) -> (Self, Receiver<(Ticket, ProxyRequest)>) {
        let credentials = Credentials::issue(Algorithm::Ed25519, rng);
        let (asked, questions) = queue(usize::MAX);
        let mut core = Core {
            router: Router::new(router::Config::default(), rng.fork(), now),
            store: FakeStore::new(Contents::default()),
            now,
            rng: rng.fork(),
            next: 0,
            connections: BTreeMap::new(),
            asked,
        };
        core.drain();
        let core = Arc::new(Mutex::new(core));
        (Self { core, credentials }, questions)
    }

    /// Who it is.
    #[must_use]
    pub const fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// How it speaks with its clients.
    #[must_use]
    pub fn config(&self) -> server::Config {
        server::Config::new(self.credentials.router())
    }

    /// The owner of a new connection.
    #[must_use]
    pub fn seat(&self) -> Seat {
        let (sender, calls) = queue(usize::MAX);
        let mut core = lock(&self.core);
        let connection = ConnId(core.next);
        core.next = core.next.saturating_add(1);
        core.connections.insert(connection, sender);
        drop(core);
        Seat {
            core: Arc::clone(&self.core),
            connection,
            calls,
        }
    }

    /// Answers for the proxy.
    pub fn answer(&self, ticket: Ticket, message: BrokerMessage) {
        lock(&self.core).give(Input::Answered(ticket, message));
    }

    /// Stops and starts again: all connections end, and what is stored is left.
    pub fn restart(&self) {
        let mut core = lock(&self.core);
        let ended = std::mem::take(&mut core.connections);
        let (rng, now) = (core.rng.fork(), core.now);
        core.router = Router::new(router::Config::default(), rng, now);
        core.drain();
        drop(core);
        drop(ended);
    }
}

impl fmt::Debug for SmpRouter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmpRouter").finish_non_exhaustive()
    }
}

impl Core {
    fn give(&mut self, input: Input) {
        let Ok(()) = self.router.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        let mut follow = Vec::new();
        while let Some(action) = self.router.poll() {
            self.act(action, &mut follow);
        }
        for input in follow {
            self.give(input);
        }
    }

    fn act(&mut self, action: Action, follow: &mut Vec<Input>) {
        match action {
            Action::Conn(id, call) => {
                if let server::Call::Announce(announced) = &call {
                    follow.push(Input::Taken(id, announced.len()));
                }
                if let Some(connection) = self.connections.get(&id) {
                    // One that has ended is about to say so.
                    connection.push(call).ok();
                }
            }
            Action::Commit(op, changes) => {
                self.store.commit(op, changes);
                follow.extend(self.store.sync(usize::MAX).map(Input::Stored));
            }
            Action::Load(id, load) => follow.push(Input::Loaded(id, self.store.load(&load))),
            Action::Proxy(ticket, _, request) => {
                // Nobody may be there to answer.
                self.asked.push((ticket, request)).ok();
            }
            Action::Operated(..) | Action::Resolve(..) | Action::Day(_) => {}
        }
    }
}

/// The proxy of a router: answers what it is asked for, through a session with the only relay that it knows.
#[cfg(feature = "tls")]
#[derive(Debug)]
pub struct SmpProxy {
    /// Whose proxy it is.
    pub router: SmpRouter,
    /// What it is asked for.
    pub asked: Receiver<(Ticket, ProxyRequest)>,
    /// Its client of the relay, whose session says that it is a proxy.
    pub relay: SmpClient,
    /// What that session has told first.
    pub established: Box<Established>,
    /// Its randomness.
    pub rng: Rng,
}

#[cfg(feature = "tls")]
impl SmpProxy {
    /// Answers for as long as anybody may ask.
    ///
    /// Cancel safety: what was asked when the future is dropped is not answered.
    pub async fn run(mut self) {
        while let Some((ticket, request)) = self.asked.next().await {
            let answer = match request {
                ProxyRequest::Session(_) => self.session(),
                ProxyRequest::Forward { forwarded, .. } => self.forward(&forwarded).await,
            };
            let message = answer.unwrap_or(BrokerMessage::Err(ErrorType::Internal));
            self.router.answer(ticket, message);
        }
    }

    fn session(&self) -> Option<BrokerMessage> {
        let relay = self.established.router.as_ref()?;
        let certificates = relay.chain.certificates();
        let chain: Option<Vec<_>> = certificates
            .map(|certificate| Large::try_from(certificate.as_der().clone()).ok())
            .collect();
        Some(BrokerMessage::PKey {
            session_id: self.established.session.id.clone(),
            versions: self.established.versions,
            chain: chain?.try_into().ok()?,
            signed_key: relay.signed_key.clone(),
        })
    }

    async fn forward(&mut self, forwarded: &Forwarded) -> Option<BrokerMessage> {
        let secret = self.established.secret.as_ref()?.shared();
        let corr_id = CorrId::from(self.rng.bytes::<24>());
        let encrypted = forwarded.encrypt(secret, &corr_id);
        let command = Command::Rfwd { encrypted };
        let request = Request {
            corr_id: Some(corr_id.clone()),
            ..Request::new(RequestId(0), EntityId::EMPTY, command)
        };
        let Ok(Response::Forwarded(encrypted)) = self.relay.request(request).await else {
            return None;
        };
        let response = ForwardedResponse::decrypt(secret, &corr_id, &encrypted).ok()?;
        let encrypted = response.encrypted;
        Some(BrokerMessage::PRes { encrypted })
    }
}

/// The owner of one connection of an [`SmpRouter`].
pub struct Seat {
    core: Arc<Mutex<Core>>,
    connection: ConnId,
    calls: Receiver<server::Call>,
}

impl Owner for Seat {
    type Command = server::Call;
    type Event = server::Event;

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Option<server::Call>> {
        self.calls.poll_next(cx)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.calls.poll_closed(cx)
    }

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn tell(&mut self, event: server::Event) {
        let mut core = lock(&self.core);
        if core.connections.contains_key(&self.connection) {
            core.give(Input::Conn(self.connection, event));
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut core = lock(&self.core);
        let known = core.connections.remove(&self.connection);
        if known.is_some() {
            core.give(Input::Closed(self.connection));
        }
        drop(core);
        drop(known);
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Seat").field(&self.connection).finish()
    }
}
