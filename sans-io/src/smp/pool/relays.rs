//! The sessions that a proxy has with relays for us.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::PoolError;
use crate::smp::client::Request;
use crate::smp::proxy::RelaySession;
use crate::time::Instant;
use crate::wire::{BasicAuth, ServerAddress, SmpScheme};

/// A command for a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Forward {
    pub(super) relay: ServerAddress<SmpScheme>,
    pub(super) password: Option<BasicAuth>,
    pub(super) request: Request,
    pub(super) attempt: Attempt,
}

/// A session that a proxy has lost is made anew once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    First,
    Again,
}

/// How far a session with a relay is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Relay {
    /// The proxy was asked for it.
    Asked(VecDeque<Forward>),
    /// Commands can be forwarded.
    Ready(Arc<RelaySession>),
    /// The proxy could not have it; it is not asked again for a while.
    Failed(Instant, PoolError),
}

/// What is to be done with a command for a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// The proxy is to be asked for a session.
    Ask,
    /// The command waits for the session.
    Wait,
    /// The command can be forwarded.
    Send(Arc<RelaySession>, Box<Forward>),
    /// It cannot be.
    Fail(PoolError, Box<Forward>),
}

/// The sessions of one proxy with relays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Relays(BTreeMap<ServerAddress<SmpScheme>, Relay>);

/// How many commands may wait for one relay.
const MAX_WAITING: usize = 1024;
/// How many relays a proxy may have sessions with for us, those that it could not reach lately included.
const MAX_RELAYS: usize = 1024;

impl Relays {
    pub(super) fn forward(&mut self, now: Instant, forward: Forward) -> Next {
        if self.0.len() >= MAX_RELAYS {
            self.0
                .retain(|_, relay| !matches!(relay, Relay::Failed(until, _) if *until <= now));
        }
        let full = self.0.len() >= MAX_RELAYS;
        match self.0.get_mut(&forward.relay) {
            Some(Relay::Ready(session)) => Next::Send(Arc::clone(session), Box::new(forward)),
            Some(Relay::Failed(until, error)) if *until > now => {
                Next::Fail(error.clone(), Box::new(forward))
            }
            Some(Relay::Asked(waiting)) if waiting.len() < MAX_WAITING => {
                waiting.push_back(forward);
                Next::Wait
            }
            Some(Relay::Asked(_)) => Next::Fail(PoolError::Busy, Box::new(forward)),
            None if full => Next::Fail(PoolError::Busy, Box::new(forward)),
            Some(Relay::Failed(..)) | None => {
                let relay = forward.relay.clone();
                self.0
                    .insert(relay, Relay::Asked(VecDeque::from([forward])));
                Next::Ask
            }
        }
    }

    /// The proxy has answered: the commands that wait for it.
    pub(super) fn answered(
        &mut self,
        relay: &ServerAddress<SmpScheme>,
        result: Result<Arc<RelaySession>, (PoolError, Instant)>,
    ) -> VecDeque<Forward> {
        let state = match result {
            Ok(session) => Relay::Ready(session),
            Err((error, until)) => Relay::Failed(until, error),
        };
        match self.0.insert(relay.clone(), state) {
            Some(Relay::Asked(waiting)) => waiting,
            Some(Relay::Ready(_) | Relay::Failed(..)) | None => VecDeque::new(),
        }
    }

    /// The proxy has lost its session with the relay; a newer one stays.
    pub(super) fn lost(&mut self, relay: &ServerAddress<SmpScheme>, session: &RelaySession) {
        if let Some(Relay::Ready(known)) = self.0.get(relay)
            && **known == *session
        {
            self.0.remove(relay);
        }
    }

    /// The session with the proxy has ended, and those with relays with it.
    pub(super) fn suspend(&mut self) -> impl Iterator<Item = Forward> {
        let relays = std::mem::take(&mut self.0).into_values();
        relays.flat_map(|relay| match relay {
            Relay::Asked(waiting) => waiting,
            Relay::Ready(_) | Relay::Failed(..) => VecDeque::new(),
        })
    }
}
