//! A client's connection: the machine of its session, and the core on the other side.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use simplex_runtime_tokio::{Stream, Tokio};
use simplex_sans_io::drive::{Clock, DriveError, Network, Owner, Policy, Receiver, drive, queue};
use simplex_sans_io::machine::CloseReason;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::session::Shown;
use simplex_sans_io::smp::router::ConnId;
use simplex_sans_io::smp::server::{Call, Config, Event, Server, ServerError};
use simplex_sans_io::tls::{self, ServerConfig, Tls};
use simplex_sans_io::websocket;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::core::{CoreHandle, Message};
use super::upper::Upper;
use crate::ini::Switch;
use crate::listener::{Bites, Limits, Open, Place};
use crate::web::Site;

/// What a session needs, the same for all.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) doors: Doors,
    pub(crate) smp: Config,
    pub(crate) pages: watch::Receiver<Arc<Site>>,
    /// Whether browsers may speak WebSockets beside the page.
    pub(crate) websockets: Switch,
    pub(crate) network: Tokio,
    pub(crate) core: CoreHandle,
}

/// How TLS receives clients.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    /// On ports of their own.
    pub(crate) clients: Arc<ServerConfig>,
    /// On the port that they share with browsers, if browsers can be served.
    pub(crate) shared: Option<Arc<ServerConfig>>,
}

/// What a port is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Clients only.
    Clients,
    /// Clients that speak WebSockets.
    WebSockets,
    /// Clients and browsers.
    Shared,
    /// Browsers only.
    Browsers,
}

impl Doors {
    fn config(&self, door: Door) -> &Arc<ServerConfig> {
        match (door, &self.shared) {
            (Door::Shared | Door::Browsers, Some(shared)) => shared,
            (Door::Shared | Door::Browsers, None) | (Door::Clients | Door::WebSockets, _) => {
                &self.clients
            }
        }
    }
}

/// A connection that was accepted.
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) door: Door,
    pub(crate) id: ConnId,
    pub(crate) terms: Terms,
    pub(crate) rng: Rng,
}

/// Runs a session to its end. What is needed to begin is boxed, so that a session that is idle owns only what it needs.
pub(crate) async fn serve(accepted: Box<Accepted>, limits: Limits, _open: Open) {
    if let Some(place) = limits.admit(&accepted.stream).await {
        let bites = Arc::clone(&limits.bites);
        let session = session(*accepted, place.clone(), bites);
        limits.run(place, session).await;
    }
}

type Running = Pin<Box<dyn Future<Output = Result<CloseReason, DriveError<Error>>> + Send>>;

type Error = tls::Error<websocket::Error<ServerError>>;

fn session(accepted: Accepted, place: Place, bites: Arc<Bites>) -> Running {
    let Accepted {
        stream,
        door,
        id,
        terms,
        mut rng,
    } = accepted;
    let Terms {
        doors,
        smp,
        pages,
        websockets,
        network,
        core,
    } = terms;
    let clock = network.clock();
    let upper_rng = rng.fork();
    let machine = Tls::server(doors.config(door), clock.now(), rng, move |facts, now| {
        place.secured();
        let site = || Arc::clone(&pages.borrow());
        let for_browsers = door == Door::Browsers || facts.shown == Shown::Web;
        let server = |now| Server::secured(smp, facts, upper_rng, now);
        match door {
            _ if for_browsers && websockets.is_on() => {
                Upper::page(site(), Some(Box::new(server)), now)
            }
            _ if for_browsers => Upper::page(site(), None, now),
            Door::WebSockets => Upper::websocket(server(now), now),
            Door::Clients | Door::Shared | Door::Browsers => Upper::Smp(Box::new(server(now))),
        }
    });
    // The core pushes: what it has to say is bounded by what it is asked.
    let (sender, calls) = queue(1);
    core.tell(Message::Opened(id, sender));
    let owner = Session {
        id,
        core,
        calls,
        bites,
    };
    Box::pin(drive(machine, Stream(stream), clock, owner, Policy::ROUTER))
}

/// The core, as the owner of a session.
struct Session {
    id: ConnId,
    core: CoreHandle,
    calls: Receiver<Call>,
    bites: Arc<Bites>,
}

impl Owner for Session {
    type Command = Call;
    type Event = Event;

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Option<Call>> {
        let call = std::task::ready!(self.calls.poll_next(cx));
        if let Some(Call::Announce(announced)) = &call {
            self.core.tell(Message::Taken(self.id, announced.len()));
        }
        Poll::Ready(call)
    }

    /// The core never goes before its sessions.
    fn poll_gone(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// A session asks a bounded number of things before it waits for answers.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn tell(&mut self, event: Event) {
        self.core.tell(Message::Told(self.id, event));
    }

    fn paused(&mut self) {
        self.bites.unread.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.core.tell(Message::Closed(self.id));
    }
}
