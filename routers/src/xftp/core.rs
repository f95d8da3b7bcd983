//! The task that owns the files: it passes what arrives to the [`Router`] machine, and what the machine asks for to whom it concerns.

use std::collections::BTreeMap;
use std::future::poll_fn;

use simplex_runtime_tokio::{Clock, Tokio};
use simplex_sans_io::drive::{Clock as _, Sender};
use simplex_sans_io::machine::Machine as _;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::time::Instant;
use simplex_sans_io::xftp::router::store::Chunk;
use simplex_sans_io::xftp::router::{
    Action, Config, ConnId, Counters, Gauges, Input, Operation, Outcome, Router, Ticket,
};
use simplex_sans_io::xftp::server::{Call, Event};
use tokio::sync::{mpsc, oneshot};

use super::daily;
use super::disk::Disk;
use super::store::{Command, StoreHandle};
use crate::running;

/// What reaches the core.
#[derive(Debug)]
pub(crate) enum Message {
    /// A connection was accepted; this is how to speak to it.
    Opened(ConnId, Sender<Call>),
    /// A connection tells or asks something.
    Told(ConnId, Event),
    /// A connection has ended.
    Closed(ConnId),
    /// The store or the disk answers.
    Input(Input),
    /// Chunks were found on the disk; tell when they are looked at.
    Found(Vec<Chunk>, oneshot::Sender<()>),
    /// The operator wants something done.
    Operate(Operation, oneshot::Sender<Outcome>),
    /// Somebody wants to know how it goes.
    Read(oneshot::Sender<(Gauges, Counters)>),
    /// The router stops: every connection is closed, then everything is stored.
    Stop,
    /// The connections that are left are not waited for.
    Abandon,
}

/// A way to the core. Clones lead to the same.
#[derive(Debug, Clone)]
pub(crate) struct CoreHandle(mpsc::UnboundedSender<Message>);

pub(crate) fn mailbox() -> (CoreHandle, mpsc::UnboundedReceiver<Message>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (CoreHandle(sender), receiver)
}

impl CoreHandle {
    /// Tells the core. One that has ended does not want to know.
    pub(crate) fn tell(&self, message: Message) {
        self.0.send(message).ok();
    }

    /// Does something for the operator; nothing if the router stops.
    pub(crate) async fn operate(&self, operation: Operation) -> Option<Outcome> {
        let (sender, outcome) = oneshot::channel();
        self.tell(Message::Operate(operation, sender));
        outcome.await.ok()
    }

    /// Has chunks looked at of which there may be no record. Whether the router goes on.
    pub(crate) fn reconcile(&self, chunks: Vec<Chunk>) -> bool {
        let (sender, done) = oneshot::channel();
        self.tell(Message::Found(chunks, sender));
        done.blocking_recv().is_ok()
    }

    /// How it goes; nothing if the router stops.
    pub(crate) async fn read(&self) -> Option<(Gauges, Counters)> {
        let (sender, numbers) = oneshot::channel();
        self.tell(Message::Read(sender));
        numbers.await.ok()
    }
}

/// Who does what the core does not do itself.
#[derive(Debug)]
pub(crate) struct Others {
    pub(crate) store: StoreHandle,
    pub(crate) disk: Disk,
    /// Who writes down the statistics of a day, if they are wanted.
    pub(crate) days: Option<mpsc::UnboundedSender<String>>,
}

impl running::Core for CoreHandle {
    fn stop(&self) {
        self.tell(Message::Stop);
    }

    fn abandon(&self) {
        self.tell(Message::Abandon);
    }
}

/// Runs until it is told to stop, all connections have gone, and all is stored.
pub(crate) async fn run(
    config: Config,
    rng: Rng,
    network: Tokio,
    others: Others,
    handle: CoreHandle,
    mut mailbox: mpsc::UnboundedReceiver<Message>,
) {
    let clock = simplex_sans_io::drive::Network::clock(&network);
    let mut core = Core {
        router: Router::new(config, rng, clock.now()),
        clock,
        others,
        handle,
        connections: BTreeMap::new(),
        operations: BTreeMap::new(),
        readers: Vec::new(),
        next_ticket: 0,
        reconciling: None,
        stage: Stage::Running,
    };
    core.act();
    loop {
        let never = Instant::from_micros(u64::MAX);
        let until = core.router.deadline().unwrap_or(never);
        let clock = &mut core.clock;
        let message = tokio::select! {
            message = mailbox.recv() => message,
            () = poll_fn(|cx| clock.poll_sleep(cx, until)) => Some(Message::Input(Input::Timeout)),
        };
        let Some(message) = message else {
            return;
        };
        core.take(message);
        core.tell_readers();
        if core.stage == Stage::Stopping && core.connections.is_empty() {
            core.stage = Stage::Saving;
            core.give(Input::Save);
        }
        if core.stage == Stage::Saving && core.router.gauges().unstored == 0 {
            return;
        }
    }
}

struct Core {
    router: Router,
    clock: Clock,
    others: Others,
    handle: CoreHandle,
    connections: BTreeMap<ConnId, Sender<Call>>,
    operations: BTreeMap<Ticket, oneshot::Sender<Outcome>>,
    /// Who wants to know how it goes.
    readers: Vec<oneshot::Sender<(Gauges, Counters)>>,
    next_ticket: u64,
    /// Who waits until chunks are looked at.
    reconciling: Option<oneshot::Sender<()>>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Connections are waited for.
    Stopping,
    /// The store is waited for.
    Saving,
}

impl Core {
    fn take(&mut self, message: Message) {
        match message {
            Message::Opened(id, connection) => {
                if self.stage != Stage::Running {
                    connection.push(Call::Close).ok();
                }
                self.connections.insert(id, connection);
            }
            Message::Told(id, event) => self.give(Input::Conn(id, event)),
            Message::Closed(id) => {
                self.connections.remove(&id);
                self.give(Input::Closed(id));
            }
            Message::Input(input) => self.give(input),
            Message::Found(chunks, done) => {
                self.reconciling = Some(done);
                self.give(Input::Found(chunks));
            }
            Message::Operate(operation, sender) => {
                self.next_ticket = self.next_ticket.wrapping_add(1);
                let ticket = Ticket(self.next_ticket);
                self.operations.insert(ticket, sender);
                self.give(Input::Operator(ticket, operation));
            }
            Message::Read(sender) => self.readers.push(sender),
            Message::Stop => {
                if self.stage == Stage::Running {
                    self.stage = Stage::Stopping;
                }
                for connection in self.connections.values() {
                    connection.push(Call::Close).ok();
                }
            }
            Message::Abandon => self.connections.clear(),
        }
    }

    /// Tells how it goes, once it is known how it went before.
    fn tell_readers(&mut self) {
        if self.router.has_heard_totals() {
            for reader in self.readers.drain(..) {
                let numbers = (self.router.gauges(), *self.router.counters());
                reader.send(numbers).ok();
            }
        }
    }

    fn give(&mut self, input: Input) {
        let Ok(()) = self.router.handle(self.clock.now(), input);
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.router.poll() {
            match action {
                Action::Conn(id, call) => {
                    if let Some(connection) = self.connections.get(&id) {
                        // One that has ended says so by itself.
                        connection.push(call).ok();
                    }
                }
                Action::Commit(op, changes) => self.send(Command::Commit(op, changes)),
                Action::Load(id, load) => self.send(Command::Load(id, load)),
                Action::Publish(upload, sender) => {
                    let core = self.handle.clone();
                    let told = move |input| core.tell(Message::Input(input));
                    self.others.disk.publish(upload, sender, Box::new(told));
                }
                Action::Discard(upload) => self.others.disk.discard(upload),
                Action::Remove(chunk) => self.others.disk.remove(chunk),
                Action::Reconciled => {
                    // One that has stopped looking does not want to know.
                    self.reconciling.take().map(|done| done.send(()));
                }
                Action::Day(day) => {
                    if let Some(days) = &self.others.days {
                        days.send(daily::line(&day)).ok();
                    }
                }
                Action::Operated(ticket, outcome) => {
                    if let Some(operator) = self.operations.remove(&ticket) {
                        operator.send(outcome).ok();
                    }
                }
            }
        }
    }

    fn send(&self, command: Command) {
        if !self.others.store.send(command) {
            tracing::error!("the store has ended");
        }
    }
}
