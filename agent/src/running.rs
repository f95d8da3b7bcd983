//! What runs an agent: one future, which passes on what the machine, its store, the routers and the application have to say.
//!
//! ```text
//!   handles ──commands──▶ ┌─────────┐ ──calls──▶ sessions with routers
//!           ◀──replies─── │ Running │ ◀──events─
//!   events  ◀──────────── └─────────┘ ──transactions, loads──▶ the store's thread
//!                                     ◀──stored, loaded───────
//! ```
//! While the application does not read its events, nothing is read from the routers. What the application asks is always heard.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::task::{Context, Poll};

use simplex_sans_io::agent::command::{Command, Reply};
use simplex_sans_io::agent::error::AgentError;
use simplex_sans_io::agent::event::Event;
use simplex_sans_io::agent::id::CommandId;
use simplex_sans_io::agent::turn::{Turn, TurnId, Turned};
use simplex_sans_io::agent::{self, Action, Input};
use simplex_sans_io::drive::{
    self, Capacity, Clock, Network, SmpConnectError, SmpOptions, drive_pool, mailbox,
};
use simplex_sans_io::machine::Machine as _;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::pool::{self, Call, Pool, SessionKey};

use crate::store::{Answer, Question, Store, StoreError, StoreThread};

/// How much is done before others on the same executor may go on.
const BATCH: usize = 64;

/// Why an agent has stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its store has failed: nothing was lost that was confirmed, and nothing more is promised.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread of its store cannot be started.
    #[error("the thread of the store cannot be started: {0}")]
    Thread(std::io::Error),
}

/// Runs something that takes milliseconds where it disturbs nobody.
pub(crate) type Offload = Box<dyn Fn(Box<dyn FnOnce() + Send>) + Send>;

/// What a handle asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) command: Command,
    pub(crate) reply: drive::Sender<Result<Reply, AgentError>>,
}

/// Everything that an agent consists of.
pub(crate) struct Parts<N> {
    pub(crate) config: agent::config::Config,
    pub(crate) pool: pool::Config,
    pub(crate) network: N,
    pub(crate) store: Box<dyn Store>,
    pub(crate) rng: Rng,
    pub(crate) asked: drive::Receiver<Asked>,
    pub(crate) events: drive::Sender<Event>,
    pub(crate) offload: Option<Offload>,
}

/// Runs until all handles are dropped, then lets sessions end and closes the store.
pub(crate) async fn run<N, O>(parts: Parts<N>, options: O) -> Result<(), RunError>
where
    N: Network + Clone,
    O: FnMut(&SessionKey) -> Result<SmpOptions, SmpConnectError>,
{
    let Parts {
        config,
        pool,
        network,
        store,
        mut rng,
        asked,
        events,
        offload,
    } = parts;
    let (answers, answered) = drive::queue(1);
    let (turning, turned) = drive::queue(1);
    let store = StoreThread::start(store, answers).map_err(RunError::Thread)?;
    let (calls, told, routers) = mailbox(Capacity::default());
    let clock = network.clock();
    let mut running = Running {
        agent: agent::Agent::new(config, rng.fork(), clock.now()),
        clock,
        store,
        calls: Some(calls),
        asked,
        told,
        answered,
        events,
        offload,
        turning,
        turned,
        replies: BTreeMap::new(),
        next: 0,
    };
    running.act();
    let mut sessions = Box::pin(drive_pool(Pool::new(pool), network, options, routers, rng));
    let mut sessions_ended = false;
    let ended = poll_fn(|cx| {
        if let Poll::Ready(ended) = running.poll(cx) {
            return Poll::Ready(ended);
        }
        if !sessions_ended {
            sessions_ended = sessions.as_mut().poll(cx).is_ready();
        }
        Poll::Pending
    })
    .await;
    running.calls = None;
    if !sessions_ended {
        sessions.await;
    }
    let closed = running.store.join();
    ended?;
    Ok(closed?)
}

struct Running<C> {
    agent: agent::Agent,
    clock: C,
    store: StoreThread,
    calls: Option<drive::Sender<Call>>,
    asked: drive::Receiver<Asked>,
    told: drive::Receiver<pool::Event>,
    answered: drive::Receiver<Answer>,
    events: drive::Sender<Event>,
    offload: Option<Offload>,
    turning: drive::Sender<(TurnId, Box<Turned>)>,
    turned: drive::Receiver<(TurnId, Box<Turned>)>,
    replies: BTreeMap<CommandId, drive::Sender<Result<Reply, AgentError>>>,
    next: u64,
}

impl<C: Clock> Running<C> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StoreError>> {
        for _ in 0..BATCH {
            if let Poll::Ready(asked) = self.asked.poll_next(cx) {
                match asked {
                    Some(asked) => self.ask(asked),
                    None => return Poll::Ready(Ok(())),
                }
            } else if let Poll::Ready(Some(answer)) = self.answered.poll_next(cx) {
                match answer {
                    Answer::Stored(op) => self.give(Input::Stored(op)),
                    Answer::Loaded(id, records) => self.give(Input::Loaded(id, records)),
                    Answer::Failed(error) => return Poll::Ready(Err(error)),
                }
            } else if let Poll::Ready(Some((id, turned))) = self.turned.poll_next(cx) {
                self.give(Input::Turned(id, turned));
            } else if self.events.poll_ready(cx).is_ready()
                && let Poll::Ready(Some(event)) = self.told.poll_next(cx)
            {
                self.give(Input::Network(event));
            } else if let Some(deadline) = self.agent.deadline()
                && self.clock.poll_sleep(cx, deadline).is_ready()
            {
                self.give(Input::Timeout);
            } else {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn ask(&mut self, Asked { command, reply }: Asked) {
        let id = CommandId(self.next);
        self.next = self.next.wrapping_add(1);
        // These two have no reply: they are done when they are heard.
        if matches!(command, Command::Confirm { .. } | Command::Network(_)) {
            reply.push(Ok(Reply::Done)).ok();
        } else {
            self.replies.insert(id, reply);
        }
        self.give(Input::Command(id, command));
    }

    fn give(&mut self, input: Input) {
        let Ok(()) = self.agent.handle(self.clock.now(), input);
        self.act();
    }

    fn turn(&self, id: TurnId, turn: Turn) {
        let turning = self.turning.clone();
        let job = move || {
            // The agent may have ended meanwhile.
            turning.push((id, Box::new(turn.run()))).ok();
        };
        match &self.offload {
            Some(offload) => offload(Box::new(job)),
            None => job(),
        }
    }

    fn act(&mut self) {
        while let Some(action) = self.agent.poll() {
            match action {
                // Whoever has asked may not want to know any more.
                Action::Reply(id, result) => {
                    if let Some(reply) = self.replies.remove(&id) {
                        reply.push(result).ok();
                    }
                }
                // Nobody may read events: those that matter are stored.
                Action::Event(event) => {
                    self.events.push(event).ok();
                }
                Action::Network(call) => {
                    if let Some(calls) = &self.calls {
                        calls.push(call).ok();
                    }
                }
                Action::Store(op, changes) => self.store.ask(Question::Commit(op, changes)),
                Action::Load(id, load) => self.store.ask(Question::Load(id, load)),
                Action::Turn(id, turn) => self.turn(id, *turn),
            }
        }
    }
}
