//! What is above TLS on a port that clients and browsers share.

use simplex_sans_io::machine::{Action, Connection, Input, Machine};
use simplex_sans_io::smp::server::{Call, Event, Server, ServerError};
use simplex_sans_io::time::{Instant, Now};

use crate::web::Web;

/// A client's session, or a browser's connection.
#[derive(Debug)]
pub(crate) enum Upper {
    Smp(Box<Server>),
    Web(Box<Web<Call, Event>>),
}

impl Machine for Upper {
    type Input<'a> = Input<'a, Call>;
    type Action = Action<Event>;
    type Error = ServerError;

    fn handle(&mut self, now: Now, input: Input<'_, Call>) -> Result<(), ServerError> {
        match self {
            Self::Smp(server) => server.handle(now, input),
            Self::Web(web) => {
                let Ok(()) = web.handle(now, input);
                Ok(())
            }
        }
    }

    fn poll(&mut self) -> Option<Action<Event>> {
        match self {
            Self::Smp(server) => server.poll(),
            Self::Web(web) => web.poll(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Smp(server) => server.deadline(),
            Self::Web(web) => web.deadline(),
        }
    }
}

impl Connection for Upper {
    type Command = Call;
    type Event = Event;

    fn accepts_commands(&self) -> bool {
        match self {
            Self::Smp(server) => server.accepts_commands(),
            Self::Web(web) => web.accepts_commands(),
        }
    }

    fn accepts_bytes(&self) -> bool {
        match self {
            Self::Smp(server) => server.accepts_bytes(),
            Self::Web(web) => web.accepts_bytes(),
        }
    }
}
