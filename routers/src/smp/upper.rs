//! What is above TLS: a client's session, straight or by WebSockets, or a browser's connection.
//!
//! ```text
//!   a request to upgrade, where that is allowed
//!   ┌──────┐ ──────────▶ ┌───────────┐          ┌─────┐
//!   │ Page │             │ WebSocket │          │ Smp │
//!   └──────┘             └───────────┘          └─────┘
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use simplex_sans_io::crypto::block_chain::BLOCK;
use simplex_sans_io::machine::{Action, Connection, Input, Machine};
use simplex_sans_io::smp::server::{Call, Event, Server, ServerError};
use simplex_sans_io::time::{Instant, Now};
use simplex_sans_io::websocket::{self, WebSocket};

use crate::web::{Site, Web};

/// How long a client may take to ask for WebSockets.
const UPGRADE: Duration = Duration::from_secs(60);

/// Makes the session of a client that asks for WebSockets beside the page.
type MakeServer = Box<dyn FnOnce(Now) -> Server + Send>;

/// What is above TLS. See the [module](self).
#[derive(Debug)]
pub(crate) enum Upper {
    Smp(Box<Server>),
    WebSocket(Box<WebSocket<Server>>),
    Page(Box<Page>),
}

/// A browser's connection, which may become a client's.
pub(crate) struct Page {
    web: Web<Call, Event>,
    make: Option<MakeServer>,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("web", &self.web)
            .finish_non_exhaustive()
    }
}

impl Upper {
    /// The page, and a session where `make` is there and it is asked for.
    pub(crate) fn page(site: Arc<Site>, make: Option<MakeServer>, now: Now) -> Self {
        let web = match make {
            Some(_) => Web::with_upgrade(site, now),
            None => Web::new(site, now),
        };
        Self::Page(Box::new(Page { web, make }))
    }

    /// A session by WebSockets.
    pub(crate) fn websocket(server: Server, now: Now) -> Self {
        Self::WebSocket(Box::new(WebSocket::new(server, BLOCK, now, UPGRADE)))
    }
}

impl Machine for Upper {
    type Input<'a> = Input<'a, Call>;
    type Action = Action<Event>;
    type Error = websocket::Error<ServerError>;

    fn handle(&mut self, now: Now, input: Input<'_, Call>) -> Result<(), Self::Error> {
        match self {
            Self::Smp(server) => server.handle(now, input).map_err(websocket::Error::Inner),
            Self::WebSocket(socket) => socket.handle(now, input),
            Self::Page(page) => {
                let Ok(()) = page.web.handle(now, input);
                let Some(request) = page.web.take_upgrade() else {
                    return Ok(());
                };
                let Some(make) = page.make.take() else {
                    return Ok(());
                };
                let mut socket = WebSocket::new(make(now), BLOCK, now, UPGRADE);
                let upgraded = socket.handle(now, Input::Bytes(&request));
                *self = Self::WebSocket(Box::new(socket));
                upgraded
            }
        }
    }

    fn poll(&mut self) -> Option<Action<Event>> {
        match self {
            Self::Smp(server) => server.poll(),
            Self::WebSocket(socket) => socket.poll(),
            Self::Page(page) => page.web.poll(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Smp(server) => server.deadline(),
            Self::WebSocket(socket) => socket.deadline(),
            Self::Page(page) => page.web.deadline(),
        }
    }
}

impl Connection for Upper {
    type Command = Call;
    type Event = Event;

    fn accepts_commands(&self) -> bool {
        match self {
            Self::Smp(server) => server.accepts_commands(),
            Self::WebSocket(socket) => socket.accepts_commands(),
            Self::Page(page) => page.web.accepts_commands(),
        }
    }

    fn accepts_bytes(&self) -> bool {
        match self {
            Self::Smp(server) => server.accepts_bytes(),
            Self::WebSocket(socket) => socket.accepts_bytes(),
            Self::Page(page) => page.web.accepts_bytes(),
        }
    }
}
