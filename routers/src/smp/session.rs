//! A client's connection: the machine of its session, and the core on the other side.

use std::sync::Arc;
use std::task::{Context, Poll};

use simplex_runtime_tokio::{Stream, Tokio};
use simplex_sans_io::drive::{Clock, Network, Owner, Policy, Receiver, drive, queue};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::session::Shown;
use simplex_sans_io::smp::router::ConnId;
use simplex_sans_io::smp::server::{Call, Config, Event, Server};
use simplex_sans_io::tls::{ServerConfig, Tls};
use tokio::net::TcpStream;

use super::core::{CoreHandle, Message};
use super::upper::Upper;
use crate::listener::Limits;
use crate::web::{Site, Web};

/// What a session needs, the same for all.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) doors: Doors,
    pub(crate) smp: Config,
    pub(crate) site: Arc<Site>,
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
pub(crate) enum Door {
    /// Clients only.
    Clients,
    /// Clients and browsers.
    Shared,
}

impl Doors {
    fn config(&self, door: Door) -> &Arc<ServerConfig> {
        match (door, &self.shared) {
            (Door::Shared, Some(shared)) => shared,
            (Door::Shared, None) | (Door::Clients, _) => &self.clients,
        }
    }
}

/// Runs a session to its end.
pub(crate) async fn serve(
    stream: TcpStream,
    door: Door,
    id: ConnId,
    terms: Terms,
    limits: Limits,
    mut rng: Rng,
) {
    let Some(place) = limits.admit(&stream).await else {
        return;
    };
    let Terms {
        doors,
        smp,
        site,
        network,
        core,
    } = terms;
    let clock = network.clock();
    let upper_rng = rng.fork();
    let handshake = place.clone();
    let machine = Tls::server(doors.config(door), clock.now(), rng, move |facts, now| {
        handshake.secured();
        match facts.shown {
            Shown::Web => Upper::Web(Box::new(Web::new(site, now))),
            Shown::Identity(_) | Shown::Nothing => {
                Upper::Smp(Box::new(Server::secured(smp, facts, upper_rng, now)))
            }
        }
    });
    // The core pushes: what it has to say is bounded by what it is asked.
    let (sender, calls) = queue(1);
    core.tell(Message::Opened(id, sender));
    let owner = Session { id, core, calls };
    let session = drive(machine, Stream(stream), clock, owner, Policy::ROUTER);
    limits.run(place, session).await;
}

/// The core, as the owner of a session.
struct Session {
    id: ConnId,
    core: CoreHandle,
    calls: Receiver<Call>,
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
}

impl Drop for Session {
    fn drop(&mut self) {
        self.core.tell(Message::Closed(self.id));
    }
}
