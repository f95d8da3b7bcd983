//! What is above TLS on the port: HTTP/2, or what an ordinary browser or monitor says.
//!
//! ```text
//!             the preface of HTTP/2      ┌──────┐
//!   ┌─────────┐ ────────────────────────▶│ Xftp │
//!   │ Unknown │                          └──────┘
//!   └─────────┘ ────────────────────────▶┌──────┐
//!             anything else              │ Web  │
//!                                        └──────┘
//! ```
//! Clients that negotiate `http/1.1`, or nothing, speak HTTP/2 nevertheless; browsers do not. The first bytes tell.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use simplex_sans_io::http2::{Error, Http2, Options};
use simplex_sans_io::machine::{Action, Actions, CloseReason, Connection, Input, Machine};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::session::SessionFacts;
use simplex_sans_io::time::{Instant, Now};
use simplex_sans_io::xftp::server::{Call, Config, Event, Server};

use crate::web::{Site, Web};

/// What every HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// How long the first bytes may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client's session, or a browser's connection.
#[derive(Debug)]
pub(crate) struct Upper {
    stage: Stage,
    /// What a machine has to say before it is given what came.
    greeting: Actions<Action<Event>>,
}

#[derive(Debug)]
enum Stage {
    Unknown(Box<Unknown>),
    Xftp(Box<Http2<Server>>),
    Web(Box<Web<Call, Event>>),
    /// It has ended before anybody knew what it is.
    Closed,
}

/// What is needed to become something.
#[derive(Debug)]
struct Unknown {
    config: Config,
    facts: SessionFacts,
    rng: Rng,
    site: Arc<Site>,
    until: Instant,
    said: Vec<u8>,
}

impl Upper {
    pub(crate) fn new(
        config: Config,
        facts: SessionFacts,
        rng: Rng,
        site: Arc<Site>,
        now: Now,
    ) -> Self {
        let unknown = Unknown {
            config,
            facts,
            rng,
            site,
            until: now.instant + PATIENCE,
            said: Vec::new(),
        };
        Self {
            stage: match unknown.facts.protocol {
                None | Some("http/1.1") => Stage::Unknown(Box::new(unknown)),
                Some(_) => unknown.xftp(now),
            },
            greeting: Actions::default(),
        }
    }

    fn give(&mut self, now: Now, input: Input<'_, Call>) -> Result<(), Error<Infallible>> {
        match (&mut self.stage, input) {
            (Stage::Unknown(_), Input::Bytes(bytes)) => self.listen(now, bytes),
            (Stage::Unknown(_), Input::Eof) => self.close(CloseReason::PeerClosed),
            (Stage::Unknown(_), Input::Command(_)) => self.close(CloseReason::Finished),
            (Stage::Unknown(unknown), Input::Timeout) if unknown.until <= now.instant => {
                self.close(CloseReason::TimedOut)
            }
            (Stage::Xftp(xftp), input) => xftp.handle(now, input),
            (Stage::Web(web), input) => {
                let Ok(()) = web.handle(now, input);
                Ok(())
            }
            (Stage::Unknown(_) | Stage::Closed, _) => Ok(()),
        }
    }

    /// Becomes what its first bytes say, once they say it.
    fn listen(&mut self, now: Now, bytes: &[u8]) -> Result<(), Error<Infallible>> {
        let Stage::Unknown(unknown) = &mut self.stage else {
            return Ok(());
        };
        unknown.said.extend_from_slice(bytes);
        let begins = unknown.said.iter().zip(PREFACE).all(|(a, b)| a == b);
        if begins && unknown.said.len() < PREFACE.len() {
            return Ok(());
        }
        let Stage::Unknown(mut unknown) = std::mem::replace(&mut self.stage, Stage::Closed) else {
            return Ok(());
        };
        let said = std::mem::take(&mut unknown.said);
        self.stage = match begins {
            true => unknown.xftp(now),
            false => Stage::Web(Box::new(Web::new(unknown.site, now))),
        };
        while let Some(action) = self.stage.poll() {
            self.greeting.push(action);
        }
        self.give(now, Input::Bytes(&said))
    }

    fn close(&mut self, reason: CloseReason) -> Result<(), Error<Infallible>> {
        self.stage = Stage::Closed;
        self.greeting.push(Action::Close(reason));
        Ok(())
    }
}

impl Stage {
    fn poll(&mut self) -> Option<Action<Event>> {
        match self {
            Self::Unknown(_) | Self::Closed => None,
            Self::Xftp(xftp) => xftp.poll(),
            Self::Web(web) => web.poll(),
        }
    }
}

impl Unknown {
    fn xftp(self, now: Now) -> Stage {
        let server = Server::secured(self.config, self.facts, self.rng, now);
        Stage::Xftp(Box::new(Http2::server(Options::default(), server, now)))
    }
}

impl Machine for Upper {
    type Input<'a> = Input<'a, Call>;
    type Action = Action<Event>;
    type Error = Error<Infallible>;

    fn handle(&mut self, now: Now, input: Input<'_, Call>) -> Result<(), Error<Infallible>> {
        self.greeting.begin();
        self.give(now, input)
    }

    fn poll(&mut self) -> Option<Action<Event>> {
        self.greeting.next().or_else(|| self.stage.poll())
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Unknown(unknown) => Some(unknown.until),
            Stage::Xftp(xftp) => xftp.deadline(),
            Stage::Web(web) => web.deadline(),
            Stage::Closed => None,
        }
    }
}

impl Connection for Upper {
    type Command = Call;
    type Event = Event;

    fn accepts_commands(&self) -> bool {
        match &self.stage {
            Stage::Unknown(_) | Stage::Closed => true,
            Stage::Xftp(xftp) => xftp.accepts_commands(),
            Stage::Web(web) => web.accepts_commands(),
        }
    }

    fn accepts_bytes(&self) -> bool {
        match &self.stage {
            Stage::Unknown(_) | Stage::Closed => true,
            Stage::Xftp(xftp) => xftp.accepts_bytes(),
            Stage::Web(web) => web.accepts_bytes(),
        }
    }
}
