//! TLS around another machine, which comes into being when the session is secured.

use std::fmt;
use std::sync::Arc;

use super::config::{ClientConfig, ServerConfig};
use super::error::{Error, TlsError};
use super::session::{Inbound, Session};
use crate::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
use crate::rng::Rng;
use crate::session::SessionFacts;
use crate::time::{Instant, Latest, Now};

/// TLS around the machine `M`. See the [module](super) for its states.
pub struct Tls<M: Connection> {
    state: State<M>,
    latest: Latest,
    outbox: Outbox<M::Event>,
}

enum State<M: Connection> {
    Handshake(Box<Handshake<M>>),
    Secured(Box<Secured<M>>),
    Closed,
}

struct Handshake<M: Connection> {
    session: Session,
    deadline: Instant,
    upper: Upper<M>,
    /// Commands that the owner gave too early, for the upper machine to answer.
    early: Vec<M::Command>,
}

/// How the upper machine is made.
type Upper<M> = Box<dyn FnOnce(SessionFacts, Now) -> M + Send>;

struct Secured<M: Connection> {
    session: Session,
    upper: M,
    end: End,
    /// Why the upper machine wants to close.
    closing: Option<CloseReason>,
}

/// What is known of the end of the peer's stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// It ended within the session: nothing is missing.
    Closed,
    /// It ended below the session: anything may be missing.
    Truncated,
}

impl<M: Connection> Tls<M> {
    /// The side of a client, whose hello waits in [`poll`](Machine::poll).
    ///
    /// When the session is secured, `upper` makes the machine above it.
    pub fn client(
        config: &Arc<ClientConfig>,
        now: Now,
        rng: Rng,
        upper: impl FnOnce(SessionFacts, Now) -> M + Send + 'static,
    ) -> Result<Self, TlsError> {
        let mut session = Session::client(config, now.unix, rng)?;
        let hello = session.ciphertext();
        let deadline = now.instant + config.limits.handshake_time;
        let mut tls = Self::new(session, now, deadline, Box::new(upper));
        tls.outbox.transmit(hello);
        Ok(tls)
    }

    /// The side of a router.
    ///
    /// When the session is secured, `upper` makes the machine above it.
    pub fn server(
        config: &Arc<ServerConfig>,
        now: Now,
        rng: Rng,
        upper: impl FnOnce(SessionFacts, Now) -> M + Send + 'static,
    ) -> Self {
        let session = Session::server(config, rng);
        let deadline = now.instant + config.limits.handshake_time;
        Self::new(session, now, deadline, Box::new(upper))
    }

    fn new(session: Session, now: Now, deadline: Instant, upper: Upper<M>) -> Self {
        Self {
            state: State::Handshake(Box::new(Handshake {
                session,
                deadline,
                upper,
                early: Vec::new(),
            })),
            latest: Latest::new(now),
            outbox: Outbox::default(),
        }
    }

    /// The machine above TLS, while the session is secured.
    #[must_use]
    pub fn upper(&self) -> Option<&M> {
        match &self.state {
            State::Secured(secured) => Some(&secured.upper),
            State::Handshake(_) | State::Closed => None,
        }
    }

    fn handshake(
        &mut self,
        mut handshake: Box<Handshake<M>>,
        now: Now,
        input: Input<'_, M::Command>,
    ) -> Result<(), Error<M::Error>> {
        match input {
            Input::Bytes(ciphertext) => return self.shake_hands(handshake, now, ciphertext),
            Input::Command(command) => handshake.early.push(command),
            Input::Timeout if now.instant < handshake.deadline => {}
            Input::Timeout => {
                self.outbox.close(CloseReason::TimedOut);
                return Ok(());
            }
            Input::Eof => {
                self.outbox.close(CloseReason::Truncated);
                return Ok(());
            }
        }
        self.state = State::Handshake(handshake);
        Ok(())
    }

    fn shake_hands(
        &mut self,
        mut handshake: Box<Handshake<M>>,
        now: Now,
        mut ciphertext: &[u8],
    ) -> Result<(), Error<M::Error>> {
        let session = &mut handshake.session;
        while !ciphertext.is_empty() {
            let received = session.receive(now.unix, &mut ciphertext);
            match received.and_then(|()| session.secured()) {
                Ok(None) => {}
                Ok(Some(facts)) => return self.secure(*handshake, facts, now, ciphertext),
                Err(error) => {
                    self.outbox.transmit(session.ciphertext());
                    return Err(error.into());
                }
            }
        }
        self.outbox.transmit(session.ciphertext());
        self.state = State::Handshake(handshake);
        Ok(())
    }

    fn secure(
        &mut self,
        handshake: Handshake<M>,
        facts: SessionFacts,
        now: Now,
        ciphertext: &[u8],
    ) -> Result<(), Error<M::Error>> {
        let mut secured = Box::new(Secured {
            session: handshake.session,
            upper: (handshake.upper)(facts, now),
            end: End::Open,
            closing: None,
        });
        let outbox = &mut self.outbox;
        let mut early = handshake.early.into_iter();
        let result = secured
            .drain(outbox)
            .map_err(Error::from)
            .and_then(|()| early.try_for_each(|command| secured.command(now, command, outbox)))
            .and_then(|()| secured.receive(now, ciphertext, outbox));
        self.settle(secured, result)
    }

    /// Sends what the upper machine wants to have sent, all at once, and goes on, closes or dies.
    fn settle(
        &mut self,
        mut secured: Box<Secured<M>>,
        result: Result<(), Error<M::Error>>,
    ) -> Result<(), Error<M::Error>> {
        let session = &mut secured.session;
        let upper_is_done = secured.closing.is_some() || matches!(result, Err(Error::Upper(_)));
        if upper_is_done {
            session.close();
        }
        self.outbox.transmit(session.ciphertext());
        result?;
        match secured.closing {
            None => {
                session.rest();
                self.state = State::Secured(secured);
            }
            Some(reason) => self.outbox.close(secured.end.reason(reason)),
        }
        Ok(())
    }
}

impl<M: Connection> Secured<M> {
    fn handle(
        &mut self,
        now: Now,
        input: Input<'_, M::Command>,
        outbox: &mut Outbox<M::Event>,
    ) -> Result<(), Error<M::Error>> {
        match input {
            Input::Bytes(ciphertext) => self.receive(now, ciphertext, outbox),
            Input::Eof => self.end(End::Truncated, now, outbox),
            Input::Timeout => {
                let result = self.upper.handle(now, Input::Timeout);
                self.say(result, outbox)
            }
            Input::Command(command) => self.command(now, command, outbox),
        }
    }

    fn receive(
        &mut self,
        now: Now,
        mut ciphertext: &[u8],
        outbox: &mut Outbox<M::Event>,
    ) -> Result<(), Error<M::Error>> {
        // What arrived together with the end of the handshake is inside already.
        self.deliver(now, outbox)?;
        while !ciphertext.is_empty() && self.closing.is_none() {
            let received = self.session.receive(now.unix, &mut ciphertext);
            // A bad record does not take back the good ones before it, however the stream was cut.
            self.deliver(now, outbox)?;
            received?;
        }
        match self.session.inbound() {
            Inbound::Closed if self.closing.is_none() => self.end(End::Closed, now, outbox),
            Inbound::Open | Inbound::Closed => Ok(()),
        }
    }

    fn deliver(&mut self, now: Now, outbox: &mut Outbox<M::Event>) -> Result<(), Error<M::Error>> {
        while self.closing.is_none()
            && let Some(plaintext) = self.session.plaintext()
        {
            let result = self.upper.handle(now, Input::Bytes(plaintext));
            let length = plaintext.len();
            self.session.consume(length);
            self.say(result, outbox)?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        end: End,
        now: Now,
        outbox: &mut Outbox<M::Event>,
    ) -> Result<(), Error<M::Error>> {
        if self.end != End::Open {
            return Ok(());
        }
        self.end = end;
        let result = self.upper.handle(now, Input::Eof);
        self.say(result, outbox)
    }

    fn command(
        &mut self,
        now: Now,
        command: M::Command,
        outbox: &mut Outbox<M::Event>,
    ) -> Result<(), Error<M::Error>> {
        let result = self.upper.handle(now, Input::Command(command));
        self.say(result, outbox)
    }

    /// Passes on what the upper machine has to say, also if it is the last.
    fn say(
        &mut self,
        result: Result<(), M::Error>,
        outbox: &mut Outbox<M::Event>,
    ) -> Result<(), Error<M::Error>> {
        self.drain(outbox)?;
        result.map_err(Error::Upper)
    }

    fn drain(&mut self, outbox: &mut Outbox<M::Event>) -> Result<(), TlsError> {
        let mut result = Ok(());
        while let Some(action) = self.upper.poll() {
            match action {
                Action::Transmit(plaintext) => {
                    result = result.and_then(|()| self.session.send(&plaintext));
                }
                Action::Event(event) => outbox.event(event),
                Action::Close(reason) => {
                    self.closing.get_or_insert(reason);
                }
            }
        }
        result
    }
}

impl End {
    /// What the upper machine calls an orderly end is none if the stream ended below the session.
    fn reason(self, upper: CloseReason) -> CloseReason {
        match (self, upper) {
            (Self::Truncated, CloseReason::Finished | CloseReason::PeerClosed) => {
                CloseReason::Truncated
            }
            _ => upper,
        }
    }
}

impl<M: Connection> Machine for Tls<M> {
    type Input<'a> = Input<'a, M::Command>;
    type Action = Action<M::Event>;
    type Error = Error<M::Error>;

    fn handle(&mut self, now: Now, input: Input<'_, M::Command>) -> Result<(), Error<M::Error>> {
        self.outbox.begin();
        let now = self.latest.at(now);
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Handshake(handshake) => self.handshake(handshake, now, input),
            State::Secured(mut secured) => {
                let result = secured.handle(now, input, &mut self.outbox);
                self.settle(secured, result)
            }
            State::Closed => Ok(()),
        }
    }

    fn poll(&mut self) -> Option<Action<M::Event>> {
        self.outbox.next()
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Handshake(handshake) => Some(handshake.deadline),
            State::Secured(secured) => secured.upper.deadline(),
            State::Closed => None,
        }
    }
}

impl<M: Connection> Connection for Tls<M> {
    type Command = M::Command;
    type Event = M::Event;

    fn accepts_commands(&self) -> bool {
        match &self.state {
            State::Secured(secured) => secured.upper.accepts_commands(),
            State::Handshake(_) | State::Closed => false,
        }
    }

    /// What was read already is passed on to an upper machine that wants no more.
    fn accepts_bytes(&self) -> bool {
        match &self.state {
            State::Secured(secured) => secured.upper.accepts_bytes(),
            State::Handshake(_) | State::Closed => true,
        }
    }
}

impl<M: Connection + fmt::Debug> fmt::Debug for Tls<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Handshake(_) => "Handshake",
            State::Secured(_) => "Secured",
            State::Closed => "Closed",
        };
        f.debug_struct("Tls")
            .field("state", &state)
            .field("upper", &self.upper())
            .finish_non_exhaustive()
    }
}
