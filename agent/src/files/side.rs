//! The machine of files beside that of connections: both share the store, the events and the future.

use std::collections::BTreeMap;
use std::task::{Context, Poll};
use std::time::Duration;

use simplex_sans_io::agent::error::AgentError;
use simplex_sans_io::agent::event::Event;
use simplex_sans_io::agent::files::command::{Command, Reply};
use simplex_sans_io::agent::files::config::Config;
use simplex_sans_io::agent::files::{Action, Activity, Files, Input};
use simplex_sans_io::agent::id::CommandId;
use simplex_sans_io::drive::Sender;
use simplex_sans_io::machine::Machine as _;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::time::{Instant, Now};

use super::Worker;
use crate::store::{Question, StoreThread, Whose};

/// The machine of files, with what carries out its jobs.
pub(crate) struct Side {
    files: Files,
    worker: Box<dyn Worker>,
    replies: BTreeMap<CommandId, Sender<Result<Reply, AgentError>>>,
    next: u64,
    /// Until when jobs may go on before the agent stops.
    until: Option<Instant>,
    /// That the agent has stopped, to be told when jobs have.
    stopping: Option<Event>,
}

impl Side {
    pub(crate) fn new(config: Config, worker: Box<dyn Worker>, rng: Rng, now: Now) -> Self {
        Self {
            files: Files::new(config, rng, now),
            worker,
            replies: BTreeMap::new(),
            next: 0,
            until: None,
            stopping: None,
        }
    }

    pub(crate) fn ask(
        &mut self,
        now: Now,
        command: Command,
        reply: Option<Sender<Result<Reply, AgentError>>>,
    ) {
        let id = CommandId(self.next);
        self.next = self.next.wrapping_add(1);
        if let Some(reply) = reply {
            self.replies.insert(id, reply);
        }
        self.give(now, Input::Command(id, command));
    }

    pub(crate) fn give(&mut self, now: Now, input: Input) {
        let Ok(()) = self.files.handle(now, input);
    }

    /// Takes what a job has come to.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, now: Now) -> Poll<()> {
        self.worker.poll(cx).map(|(id, ended)| {
            self.give(now, Input::Ended(id, ended));
        })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let until = self.until.filter(|_| self.stopping.is_some());
        [self.files.deadline(), until].into_iter().flatten().min()
    }

    /// The time has come for something.
    pub(crate) fn timeout(&mut self, now: Now) {
        let due = self.files.deadline();
        if due.is_some_and(|deadline| deadline <= now.instant) {
            self.give(now, Input::Timeout);
        }
    }

    /// Nothing is begun any more, and what has begun is to end within this time.
    pub(crate) fn suspend(&mut self, now: Now, within: Duration) {
        self.until = Some(now.instant + within);
        self.give(now, Input::Activity(Activity::Finishing));
    }

    pub(crate) fn resume(&mut self, now: Now) {
        (self.until, self.stopping) = (None, None);
        self.give(now, Input::Activity(Activity::Active));
    }

    /// Connections have stopped: tells it when files have, too.
    pub(crate) fn stop(&mut self, event: Event) {
        self.stopping = Some(event);
    }

    /// Passes on what the machine asks for.
    pub(crate) fn act(&mut self, now: Now, store: &StoreThread, events: &Sender<Event>) {
        let over = self.until.is_none_or(|until| until <= now.instant);
        if (over || !self.files.is_busy())
            && let Some(event) = self.stopping.take()
        {
            self.drain(store, events);
            self.give(now, Input::Activity(Activity::Stopped));
            self.drain(store, events);
            events.push(event).ok();
        }
        self.drain(store, events);
    }

    fn drain(&mut self, store: &StoreThread, events: &Sender<Event>) {
        while let Some(action) = self.files.poll() {
            match action {
                // Whoever has asked may not want to know any more.
                Action::Reply(id, result) => {
                    if let Some(reply) = self.replies.remove(&id) {
                        reply.push(result).ok();
                    }
                }
                // Nobody may read events: those that matter are stored.
                Action::Event(event) => {
                    events.push(event).ok();
                }
                Action::Store(op, changes) => {
                    store.ask(Question::Commit(Whose::Files, op, changes));
                }
                Action::Load(id, load) => store.ask(Question::Load(Whose::Files, id, load)),
                Action::Begin(id, job) => self.worker.begin(id, job),
                Action::Cancel(id) => self.worker.cancel(id),
                Action::Disconnect => self.worker.disconnect(),
            }
        }
    }
}
