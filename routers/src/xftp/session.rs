//! A client's connection: the machine of its session, with the core and the disk on the other side.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use simplex_runtime_tokio::{Stream, Tokio};
use simplex_sans_io::drive::{
    Clock as _, Network as _, Owner, Policy, Receiver, Sender, drive, queue,
};
use simplex_sans_io::http2::{self, StreamId};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::tls::{ServerConfig, Tls};
use simplex_sans_io::xftp::router::ConnId;
use simplex_sans_io::xftp::server::{Call, Config, Event};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::core::{CoreHandle, Message};
use super::disk::{Asker, Disk};
use super::upper::Upper;
use crate::listener::{Bites, Limits, Open};
use crate::plaintext;
use crate::prompt::Prompt;
use crate::web::gzip::Accepted;
use crate::web::{Page, Site};

/// What a session needs, the same for all.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) doors: Doors,
    pub(crate) xftp: Config,
    pub(crate) pages: watch::Receiver<Arc<Site>>,
    pub(crate) network: Tokio,
    pub(crate) core: CoreHandle,
    pub(crate) disk: Disk,
}

/// How TLS receives whom.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    /// On the port of the router.
    pub(crate) clients: Arc<ServerConfig>,
    /// On a port that shows only the page.
    pub(crate) page: Arc<ServerConfig>,
}

/// Runs a session to its end.
pub(crate) async fn serve(
    mut stream: TcpStream,
    id: ConnId,
    terms: Terms,
    limits: Limits,
    mut rng: Rng,
    _open: Open,
) {
    let Some(place) = limits.admit(&stream).await else {
        return;
    };
    if plaintext::is_spoken(place.first_byte()) {
        plaintext::refuse(&mut stream).await;
        return;
    }
    let Terms {
        doors,
        xftp,
        pages,
        network,
        core,
        disk,
    } = terms;
    let clock = network.clock();
    let upper_rng = rng.fork();
    let handshake = place.clone();
    let site = Arc::clone(&pages.borrow());
    let shown = Arc::clone(&site);
    let machine = Tls::server(&doors.clients, clock.now(), rng, move |facts, now| {
        handshake.secured();
        Upper::new(xftp, facts, upper_rng, shown, now)
    });
    // The core and the disk push: what they have to say is bounded by what they are asked.
    let (sender, calls) = queue(1);
    core.tell(Message::Opened(id, sender.clone()));
    let owner = Session {
        id,
        core,
        disk,
        site,
        sender,
        calls,
        bites: Arc::clone(&limits.bites),
    };
    let session = drive(
        machine,
        Prompt(Stream(stream)),
        clock,
        owner,
        Policy::ROUTER,
    );
    limits.run(place, Box::pin(session)).await;
}

/// The core and the disk, as the owner of a session.
struct Session {
    id: ConnId,
    core: CoreHandle,
    disk: Disk,
    site: Arc<Site>,
    sender: Sender<Call>,
    calls: Receiver<Call>,
    bites: Arc<Bites>,
}

impl Session {
    fn asker(&self, stream: StreamId) -> Asker {
        Asker {
            connection: self.id,
            stream,
            calls: self.sender.clone(),
        }
    }

    fn page(&self, stream: StreamId, request: &http2::Request) {
        let missing = Page::of_router(
            "text/plain; charset=utf-8",
            Bytes::from_static(b"404 Not Found\n"),
        );
        let (status, page) = match self.site.page(&request.path) {
            Some(page) => (StatusCode::OK, page),
            None => (StatusCode::NOT_FOUND, &missing),
        };
        let accepted = request.headers.get("accept-encoding");
        let accepted = accepted.and_then(|header| header.to_str().ok());
        let accepted = accepted.map_or(Accepted::Plain, Accepted::by);
        let (headers, bytes) = page.accepted(accepted);
        let body = match request.method == http::Method::HEAD {
            true => Bytes::new(),
            false => bytes.clone(),
        };
        let response = http2::Response::of(status);
        let response = headers.fold(response, |response, (name, value)| {
            response.with(name, value)
        });
        let call = Call::Page {
            stream,
            response,
            body,
        };
        self.sender.push(call).ok();
    }
}

impl Owner for Session {
    type Command = Call;
    type Event = Event;

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Option<Call>> {
        self.calls.poll_next(cx)
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
        match event {
            Event::Write {
                stream,
                upload,
                bytes,
            } => self.disk.write(upload, bytes, self.asker(stream)),
            Event::Open { stream, chunk } => self.disk.open_chunk(chunk, self.asker(stream)),
            Event::Read { stream, bytes } => self.disk.read(bytes, self.asker(stream)),
            Event::Sent { stream } => self.disk.close(self.id, stream),
            Event::Page { stream, request } => self.page(stream, &request),
            Event::Gone { stream } => {
                self.disk.close(self.id, stream);
                self.core
                    .tell(Message::Told(self.id, Event::Gone { stream }));
            }
            event @ (Event::Established(_)
            | Event::Lookup { .. }
            | Event::Execute { .. }
            | Event::Uploaded { .. }) => self.core.tell(Message::Told(self.id, event)),
        }
    }

    fn paused(&mut self) {
        self.bites.unread.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.disk.close_all(self.id);
        self.core.tell(Message::Closed(self.id));
    }
}
