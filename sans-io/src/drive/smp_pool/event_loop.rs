//! The event loop of a pool.
//!
//! ```text
//!   owner ── calls ──▶ ┌──────┐ ── calls ──▶ connection, connection, …
//!                      │ Pool │                 dial ─▶ Socks ─▶ Tls ─▶ Client, each polled when it is woken
//!   owner ◀─ events ── └──────┘ ◀─ told ──── what they tell, and that they have ended, in one queue
//! ```

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use super::{broker_error, unreachable};
use crate::drive::smp::open;
use crate::drive::woken::Futures;
use crate::drive::{
    Clock, Network, Owner, Policy, Receiver, Sender, SmpConnectError, SmpOptions, TrySendError,
    queue,
};
use crate::machine::Machine as _;
use crate::rng::Rng;
use crate::smp::client::{self, RequestError};
use crate::smp::error::BrokerError;
use crate::smp::pool::{Action, Call, ConnId, Event, Input, Pool, SessionKey};
use crate::time::{Instant, Now};

/// How often the loop turns before it lets other tasks run.
const TURNS: usize = 16;
/// How many calls are taken before the connections have their turn again.
const CALLS: usize = 32;
/// How much of what connections tell is heard before they have their turn again.
const HEARD: usize = 64;
/// What connections may have told before they wait.
const TOLD: usize = 256;

/// Runs the sessions of a pool until its owner has gone.
///
/// The owner is a [mailbox](super::SmpPool::new) whose other end is an [`SmpPool`](super::SmpPool), or any other
/// [mailbox](crate::drive::mailbox()) of calls and events. `options` says how to connect for a session; [`SmpOptions::to`] its router is
/// the usual way. Everything runs in this future: a
/// connection is polled when it is woken, and none can keep the others from their turns.
///
/// A connection whose router takes nothing holds as many calls as it may have requests in flight; more requests get
/// [`RequestError::NotAccepted`]. While the owner reads no events, nothing is read from any router either.
///
/// When the owner has gone, its last calls are still passed on, and established sessions say farewell; the time for this is bounded.
///
/// Cancel safety: the future can be dropped at any point, which drops all connections at once.
#[must_use = "sessions run only while this is polled"]
pub fn drive_pool<N, O>(
    pool: Pool,
    network: N,
    options: impl FnMut(&SessionKey) -> Result<SmpOptions, SmpConnectError>,
    owner: O,
    mut rng: Rng,
) -> impl Future<Output = ()>
where
    N: Network + Clone,
    O: Owner<Command = Call, Event = Event>,
{
    let clock = network.clock();
    let (teller, told) = queue(TOLD);
    let telling = teller.clone();
    let start = move |id, options, calls| {
        let seat = Seat {
            id,
            calls: Some(calls),
            told: telling.clone(),
        };
        session(network.clone(), options, seat, rng.fork())
    };
    let mut driver = Some(Driver {
        pool,
        clock,
        owner,
        options,
        start,
        sessions: Futures::new(),
        connections: BTreeMap::new(),
        teller,
        told,
        presence: Presence::Here,
    });
    poll_fn(move |cx| {
        let Some(running) = &mut driver else {
            return Poll::Pending;
        };
        ready!(running.poll(cx));
        driver = None;
        Poll::Ready(())
    })
}

/// From dialling to its end.
async fn session<N: Network>(
    network: N,
    options: SmpOptions,
    seat: Seat,
    mut rng: Rng,
) -> BrokerError {
    match open(&network, options, &mut rng).await {
        Ok(opened) => broker_error(&opened.run(seat).await),
        Err(error) => unreachable(&error),
    }
}

enum Told {
    Event(ConnId, client::Event),
    Closed(ConnId, BrokerError),
}

struct Connection {
    calls: Sender<client::Call>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It has told nothing yet, and is dropped when it is not wanted any more.
    Connecting,
    /// It says farewell first.
    Established,
}

struct Driver<C, O, P, S, F> {
    pool: Pool,
    clock: C,
    owner: O,
    options: P,
    start: S,
    sessions: Futures<ConnId, F>,
    connections: BTreeMap<ConnId, Connection>,
    teller: Sender<Told>,
    told: Receiver<Told>,
    presence: Presence,
}

/// Whether the owner is there; until when it is still served if not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Presence {
    Here,
    /// Its last calls are taken.
    Gone(Instant),
    /// There are no more calls: the sessions end.
    Left(Instant),
}

impl Presence {
    const fn until(self) -> Option<Instant> {
        match self {
            Self::Here => None,
            Self::Gone(until) | Self::Left(until) => Some(until),
        }
    }
}

/// What a turn has achieved.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Progress,
    Idle,
}

impl<C, O, P, S, F> Driver<C, O, P, S, F>
where
    C: Clock,
    O: Owner<Command = Call, Event = Event>,
    P: FnMut(&SessionKey) -> Result<SmpOptions, SmpConnectError>,
    S: FnMut(ConnId, SmpOptions, Receiver<client::Call>) -> F,
    F: Future<Output = BrokerError>,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS {
            let now = self.clock.now();
            if self
                .presence
                .until()
                .is_some_and(|until| until <= now.instant)
            {
                return Poll::Ready(());
            }
            let turns = [
                self.run_sessions(cx),
                self.hear(cx, now),
                self.take_calls(cx, now),
                self.expire(now),
            ];
            if turns.contains(&Turn::Progress) {
                continue;
            }
            if self.has_ended(cx) {
                return Poll::Ready(());
            }
            match self.deadline() {
                Some(until) => ready!(self.clock.poll_sleep(cx, until)),
                None => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether there is nothing left to do for an owner that has gone.
    fn has_ended(&mut self, cx: &mut Context<'_>) -> bool {
        matches!(self.presence, Presence::Left(_))
            && self.sessions.is_empty()
            && self.owner.poll_ready(cx).is_ready()
    }

    fn deadline(&self) -> Option<Instant> {
        let pool = match self.presence {
            Presence::Here | Presence::Gone(_) => self.pool.deadline(),
            Presence::Left(_) => None,
        };
        [pool, self.presence.until()].into_iter().flatten().min()
    }

    fn run_sessions(&mut self, cx: &Context<'_>) -> Turn {
        let Some(ended) = self.sessions.poll(cx) else {
            return Turn::Idle;
        };
        for (id, error) in ended {
            self.tell(Told::Closed(id, error));
        }
        Turn::Progress
    }

    fn hear(&mut self, cx: &mut Context<'_>, now: Now) -> Turn {
        let mut turn = Turn::Idle;
        for _ in 0..HEARD {
            if self.owner.poll_ready(cx).is_pending() {
                break;
            }
            match self.told.poll_next(cx) {
                Poll::Ready(Some(Told::Event(id, event))) => {
                    if let Some(connection) = self.connections.get_mut(&id) {
                        connection.stage = Stage::Established;
                    }
                    self.handle(now, Input::Conn(id, event));
                }
                Poll::Ready(Some(Told::Closed(id, error))) => {
                    self.connections.remove(&id);
                    self.handle(now, Input::Closed(id, error));
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
            turn = Turn::Progress;
        }
        turn
    }

    fn take_calls(&mut self, cx: &mut Context<'_>, now: Now) -> Turn {
        let mut turn = Turn::Idle;
        if self.presence == Presence::Here && self.owner.poll_gone(cx).is_ready() {
            self.presence = Presence::Gone(now.instant + Policy::CLIENT.linger);
            turn = Turn::Progress;
        }
        for _ in 0..CALLS {
            let welcome =
                !matches!(self.presence, Presence::Left(_)) && self.owner.poll_ready(cx).is_ready();
            if !welcome {
                break;
            }
            match self.owner.poll_command(cx) {
                Poll::Ready(Some(call)) => self.handle(now, Input::Command(call)),
                Poll::Ready(None) => self.leave(now),
                Poll::Pending => break,
            }
            turn = Turn::Progress;
        }
        turn
    }

    /// Established sessions end when there are no more calls for them.
    fn leave(&mut self, now: Now) {
        let until = self.presence.until();
        let until = until.unwrap_or(now.instant + Policy::CLIENT.linger);
        self.presence = Presence::Left(until);
        for (id, connection) in std::mem::take(&mut self.connections) {
            self.end(id, connection);
        }
    }

    fn end(&mut self, id: ConnId, connection: Connection) {
        match connection.stage {
            Stage::Connecting => self.sessions.remove(id),
            Stage::Established => drop(connection),
        }
    }

    fn expire(&mut self, now: Now) -> Turn {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        if matches!(self.presence, Presence::Left(_)) || !due(self.pool.deadline()) {
            return Turn::Idle;
        }
        self.handle(now, Input::Timeout);
        debug_assert!(
            !due(self.pool.deadline()),
            "a deadline is later than its timeout"
        );
        Turn::Progress
    }

    fn handle(&mut self, now: Now, input: Input) {
        let Ok(()) = self.pool.handle(now, input);
        while let Some(action) = self.pool.poll() {
            match action {
                Action::Connect(id, session) => self.connect(id, &session),
                Action::Call(id, call) => self.call(id, call),
                Action::Disconnect(id) => {
                    if let Some(connection) = self.connections.remove(&id) {
                        self.end(id, connection);
                    }
                }
                Action::Event(event) => self.owner.tell(*event),
            }
        }
    }

    fn connect(&mut self, id: ConnId, session: &SessionKey) {
        if matches!(self.presence, Presence::Left(_)) {
            return;
        }
        match (self.options)(session) {
            Ok(options) => {
                let (sender, calls) = queue(options.session.max_in_flight);
                let connection = Connection {
                    calls: sender,
                    stage: Stage::Connecting,
                };
                self.connections.insert(id, connection);
                let session = (self.start)(id, options, calls);
                self.sessions.insert(id, session);
            }
            Err(error) => self.tell(Told::Closed(id, unreachable(&error))),
        }
    }

    fn call(&mut self, id: ConnId, call: client::Call) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        // One that has ended has told so already, or is about to.
        if let Err(TrySendError::Full(client::Call::Send(requests))) =
            connection.calls.try_send(call)
        {
            for request in requests {
                let refused = client::Event::Response {
                    request: request.id,
                    result: Err(RequestError::NotAccepted),
                };
                self.tell(Told::Event(id, refused));
            }
        }
    }

    fn tell(&self, told: Told) {
        // The receiver is here too.
        self.teller.push(told).ok();
    }
}

/// The owner of one connection: the pool.
struct Seat {
    id: ConnId,
    /// None once the farewell is said.
    calls: Option<Receiver<client::Call>>,
    told: Sender<Told>,
}

impl Owner for Seat {
    type Command = client::Call;
    type Event = client::Event;

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Option<client::Call>> {
        let Some(calls) = &mut self.calls else {
            return Poll::Ready(None);
        };
        let call = ready!(calls.poll_next(cx));
        Poll::Ready(call.or_else(|| {
            self.calls = None;
            Some(client::Call::Close)
        }))
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.calls {
            Some(calls) => calls.poll_closed(cx),
            None => Poll::Ready(()),
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.told.poll_ready(cx)
    }

    fn tell(&mut self, event: client::Event) {
        self.told.push(Told::Event(self.id, event)).ok();
    }
}
