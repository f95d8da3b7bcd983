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
#[cfg(feature = "xftp")]
use simplex_sans_io::agent::event::EventContent;
#[cfg(feature = "xftp")]
use simplex_sans_io::agent::files;
use simplex_sans_io::agent::id::CommandId;
use simplex_sans_io::agent::turn::{Turn, TurnId, Turned};
use simplex_sans_io::agent::{self, Action, Input};
use simplex_sans_io::drive::{
    self, Capacity, Clock, Network, SmpConnectError, SmpOptions, drive_pool, mailbox,
};
use simplex_sans_io::machine::Machine as _;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::pool::{self, Call, Pool, SessionKey};
use simplex_sans_io::time::Instant;

#[cfg(feature = "xftp")]
use crate::files::{Side, Worker};
use crate::reach::Reachable;
use crate::store::{Answer, Question, Store, StoreError, StoreThread, Whose};

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
pub(crate) enum Asked {
    Connections(Command, drive::Sender<Result<Reply, AgentError>>),
    #[cfg(feature = "xftp")]
    Files(
        files::command::Command,
        drive::Sender<Result<files::command::Reply, AgentError>>,
    ),
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
    pub(crate) reachable: Reachable,
    #[cfg(feature = "xftp")]
    pub(crate) files: Option<(files::config::Config, Box<dyn Worker>)>,
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
        reachable,
        #[cfg(feature = "xftp")]
        files,
    } = parts;
    let (answers, answered) = drive::queue(1);
    let (turning, turned) = drive::queue(1);
    let store = StoreThread::start(store, answers).map_err(RunError::Thread)?;
    let (calls, told, routers) = mailbox(Capacity::default());
    let clock = network.clock();
    let now = clock.now();
    let mut running = Running {
        agent: agent::Agent::new(config, rng.fork(), now),
        #[cfg(feature = "xftp")]
        files: files.map(|(config, worker)| Side::new(config, worker, rng.fork(), now)),
        clock,
        store,
        calls: Some(calls),
        asked,
        told,
        answered,
        events,
        offload,
        reachable,
        turning,
        turned,
        replies: BTreeMap::new(),
        next: 0,
    };
    running.act();
    running.act_files();
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
    #[cfg(feature = "xftp")]
    files: Option<Side>,
    clock: C,
    store: StoreThread,
    calls: Option<drive::Sender<Call>>,
    asked: drive::Receiver<Asked>,
    told: drive::Receiver<pool::Event>,
    answered: drive::Receiver<Answer>,
    events: drive::Sender<Event>,
    offload: Option<Offload>,
    reachable: Reachable,
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
                    Answer::Stored(Whose::Connections, op) => self.give(Input::Stored(op)),
                    Answer::Loaded(Whose::Connections, id, records) => {
                        self.give(Input::Loaded(id, records));
                    }
                    #[cfg(feature = "xftp")]
                    Answer::Stored(Whose::Files, op) => {
                        self.give_files(files::Input::Stored(op));
                    }
                    #[cfg(feature = "xftp")]
                    Answer::Loaded(Whose::Files, id, records) => {
                        self.give_files(files::Input::Loaded(id, records));
                    }
                    Answer::Failed(error) => return Poll::Ready(Err(error)),
                }
            } else if let Poll::Ready(Some((id, turned))) = self.turned.poll_next(cx) {
                self.give(Input::Turned(id, turned));
            } else if self.poll_files(cx).is_ready() {
                // What has come of a job was taken.
            } else if self.events.poll_ready(cx).is_ready()
                && let Poll::Ready(Some(event)) = self.told.poll_next(cx)
            {
                self.give(Input::Network(event));
            } else if let Some(deadline) = self.deadline()
                && self.clock.poll_sleep(cx, deadline).is_ready()
            {
                self.timeout();
            } else {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn ask(&mut self, asked: Asked) {
        match asked {
            Asked::Connections(command, reply) => {
                if let Command::SetUser { user, routers } = &command {
                    self.reachable.choose(*user, routers.clone());
                }
                self.ask_files_with(&command);
                self.ask_connections(command, reply);
            }
            #[cfg(feature = "xftp")]
            Asked::Files(command, reply) => {
                if let files::command::Command::SetRouters { user, routers } = &command {
                    self.reachable.choose_for_files(*user, routers.clone());
                }
                self.ask_files(command, reply);
            }
        }
    }

    fn ask_connections(
        &mut self,
        command: Command,
        reply: drive::Sender<Result<Reply, AgentError>>,
    ) {
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
                Action::Event(event) => self.tell(event),
                Action::Network(call) => {
                    if let Some(calls) = &self.calls {
                        calls.push(call).ok();
                    }
                }
                Action::Store(op, changes) => {
                    let question = Question::Commit(Whose::Connections, op, changes);
                    self.store.ask(question);
                }
                Action::Load(id, load) => {
                    self.store.ask(Question::Load(Whose::Connections, id, load));
                }
                Action::Turn(id, turn) => self.turn(id, *turn),
            }
        }
    }
}

#[cfg(feature = "xftp")]
impl<C: Clock> Running<C> {
    fn deadline(&self) -> Option<Instant> {
        let files = self.files.as_ref().and_then(Side::deadline);
        [self.agent.deadline(), files].into_iter().flatten().min()
    }

    fn timeout(&mut self) {
        let now = self.clock.now();
        let due = self.agent.deadline();
        if due.is_some_and(|deadline| deadline <= now.instant) {
            self.give(Input::Timeout);
        }
        if let Some(files) = &mut self.files {
            files.timeout(now);
        }
        self.act_files();
    }

    /// Takes what a job of files has come to, if the application can be told of it.
    fn poll_files(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.clock.now();
        let Some(files) = &mut self.files else {
            return Poll::Pending;
        };
        if self.events.poll_ready(cx).is_pending() || files.poll(cx, now).is_pending() {
            return Poll::Pending;
        }
        self.act_files();
        Poll::Ready(())
    }

    fn give_files(&mut self, input: files::Input) {
        let now = self.clock.now();
        if let Some(files) = &mut self.files {
            files.give(now, input);
        }
        self.act_files();
    }

    fn act_files(&mut self) {
        let now = self.clock.now();
        if let Some(files) = &mut self.files {
            files.act(now, &self.store, &self.events);
        }
    }

    fn ask_files(
        &mut self,
        command: files::command::Command,
        reply: drive::Sender<Result<files::command::Reply, AgentError>>,
    ) {
        let now = self.clock.now();
        match &mut self.files {
            Some(files) => files.ask(now, command, Some(reply)),
            None => {
                let error = AgentError::Prohibited {
                    context: "the agent has no directory for files".into(),
                };
                reply.push(Err(error)).ok();
            }
        }
        self.act_files();
    }

    /// What is for connections and for files alike.
    fn ask_files_with(&mut self, command: &Command) {
        let now = self.clock.now();
        let Some(files) = &mut self.files else {
            return;
        };
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all others are for connections only"
        )]
        match command {
            Command::DeleteUser { user } => {
                let command = files::command::Command::DeleteUser { user: *user };
                files.ask(now, command, None);
            }
            Command::Confirm { event } if event.file_number().is_some() => {
                let command = files::command::Command::Confirm { event: *event };
                files.ask(now, command, None);
            }
            Command::Network(network) => files.give(now, files::Input::Network(*network)),
            Command::SuspendAgent { within } => files.suspend(now, *within),
            Command::ResumeAgent => files.resume(now),
            _ => {}
        }
        self.act_files();
    }

    fn tell(&mut self, event: Event) {
        match &mut self.files {
            Some(files) if event.content == EventContent::Suspended => {
                files.stop(event);
                self.act_files();
            }
            // Nobody may read events: those that matter are stored.
            Some(_) | None => {
                self.events.push(event).ok();
            }
        }
    }
}

#[cfg(not(feature = "xftp"))]
impl<C: Clock> Running<C> {
    fn deadline(&self) -> Option<Instant> {
        self.agent.deadline()
    }

    fn timeout(&mut self) {
        self.give(Input::Timeout);
    }

    fn poll_files(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn act_files(&mut self) {}

    fn ask_files_with(&mut self, _: &Command) {}

    fn tell(&mut self, event: Event) {
        self.events.push(event).ok();
    }
}
