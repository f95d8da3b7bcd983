//! The task that owns the queues: it passes what arrives to the [`Router`] machine, and what the machine asks for to whom it concerns.
//!
//! ```text
//!   connections ──events──▶ ┌──────┐ ──commits, loads──▶ the store's thread
//!   operator ───questions─▶ │ core │ ──requests────────▶ proxy, resolver
//!   the store ───results──▶ └──────┘ ──calls───────────▶ connections
//! ```
//! It waits for the store only, when that is behind: the store never waits for it. A store that waits for no disk has no thread: its
//! commands are carried out here. What it sends to connections is bounded by what they
//! asked, and by what they say they have taken.

use std::collections::BTreeMap;
use std::time::Duration;

use simplex_sans_io::drive::{Clock as _, Sender};
use simplex_sans_io::machine::Machine;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::BrokerMessage;
use simplex_sans_io::smp::SimplexDomain;
use simplex_sans_io::smp::router::store::Change;
use simplex_sans_io::smp::router::{
    Action, ClientInfo, Config, ConnId, Counters, Gauges, Input, Operation, Outcome, ProxyRequest,
    Router, Ticket,
};
use simplex_sans_io::smp::server::{Call, Event};
use simplex_sans_io::time::{Instant, Now};
use std::future::poll_fn;
use tokio::sync::{mpsc, oneshot};

use super::daily;
use super::store::{Answer, Closed, Command, StoreHandle, Worker};
use crate::running;
use simplex_runtime_tokio::{Clock, Tokio};

/// How many messages the core takes before it looks at its timers again.
const BATCH: usize = 256;

/// How long the store is not told what nobody waits for.
const DEFERRAL: Duration = Duration::from_millis(10);

/// How many such commands wait at most.
const DEFERRED: usize = 64;

/// What reaches the core.
#[derive(Debug)]
pub(crate) enum Message {
    /// A connection was accepted; this is how to speak to it.
    Opened(ConnId, Sender<Call>),
    /// A connection tells or asks something.
    Told(ConnId, Event),
    /// A connection has taken announcements.
    Taken(ConnId, usize),
    /// A connection has ended.
    Closed(ConnId),
    /// The store, the proxy or the resolver answers.
    Input(Input),
    /// The operator wants something done.
    Operate(Operation, oneshot::Sender<Outcome>),
    /// Somebody wants to know how it goes.
    Read(oneshot::Sender<(Gauges, Counters)>),
    /// Somebody wants to know who is connected, and what the time is by the core's clock.
    Clients(oneshot::Sender<(Now, Vec<ClientInfo>)>),
    /// The router stops: every connection is closed, then everything is stored.
    Stop,
    /// The connections that are left are not waited for.
    Abandon,
}

/// A way to the core. Clones lead to the same.
#[derive(Debug, Clone)]
pub(crate) struct CoreHandle(mpsc::UnboundedSender<Message>);

/// The core's end of its [`CoreHandle`].
#[derive(Debug)]
pub(crate) struct Mailbox(mpsc::UnboundedReceiver<Message>);

/// Who answers what the core does not know itself.
#[derive(Debug, Clone)]
pub(crate) struct Others {
    /// The proxy role.
    pub(crate) proxy: mpsc::UnboundedSender<(Ticket, ProxyRequest)>,
    /// The resolver of names, if there is one.
    pub(crate) names: Option<mpsc::UnboundedSender<(Ticket, SimplexDomain)>>,
    /// Who writes down the statistics of a day, if they are wanted.
    pub(crate) days: Option<mpsc::UnboundedSender<String>>,
}

/// Who keeps what the core wants to be kept.
pub(crate) enum Keeper {
    /// A thread, as it waits for a disk.
    Thread(StoreHandle),
    /// The core itself.
    Here(Box<Worker>),
}

impl From<Answer> for Input {
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Stored(op) => Self::Stored(op),
            Answer::NotStored(first, last, error) => {
                tracing::error!(%error, "what was to be stored is not");
                Self::NotStored(first, last)
            }
            Answer::Loaded(load, loaded) => Self::Loaded(load, loaded),
        }
    }
}

/// Whether nobody waits for it: a message that was received may be deleted a little later.
fn can_wait(command: &Command) -> bool {
    let received = |change: &Change| matches!(change, Change::DeleteMessages { .. });
    matches!(command, Command::Commit(_, changes) if changes.iter().all(received))
}

pub(crate) fn mailbox() -> (CoreHandle, Mailbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (CoreHandle(sender), Mailbox(receiver))
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

    /// Who is connected, and the time; nothing if the router stops.
    pub(crate) async fn clients(&self) -> Option<(Now, Vec<ClientInfo>)> {
        let (sender, clients) = oneshot::channel();
        self.tell(Message::Clients(sender));
        clients.await.ok()
    }

    /// How it goes; nothing if the router stops.
    pub(crate) async fn read(&self) -> Option<(Gauges, Counters)> {
        let (sender, numbers) = oneshot::channel();
        self.tell(Message::Read(sender));
        numbers.await.ok()
    }
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
    store: Keeper,
    others: Others,
    mailbox: Mailbox,
) {
    let clock = simplex_sans_io::drive::Network::clock(&network);
    let mut core = Core {
        router: Router::new(config, rng, clock.now()),
        clock,
        store,
        others,
        connections: BTreeMap::new(),
        operations: BTreeMap::new(),
        readers: Vec::new(),
        commands: Vec::new(),
        deferred: None,
        next_ticket: 0,
        stage: Stage::Running,
    };
    core.run(mailbox.0).await;
}

struct Core {
    router: Router,
    clock: Clock,
    store: Keeper,
    others: Others,
    connections: BTreeMap<ConnId, Sender<Call>>,
    operations: BTreeMap<Ticket, oneshot::Sender<Outcome>>,
    /// Who wants to know how it goes.
    readers: Vec<oneshot::Sender<(Gauges, Counters)>>,
    /// What the store is to be told.
    commands: Vec<Command>,
    /// Since when it has something to be told that nobody waits for.
    deferred: Option<Instant>,
    next_ticket: u64,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    /// Connections are asked to go.
    Closing,
    /// The last commit is on its way.
    Storing,
}

impl Core {
    async fn run(&mut self, mut mailbox: mpsc::UnboundedReceiver<Message>) {
        let mut messages = Vec::with_capacity(BATCH);
        self.act();
        loop {
            if self.tell_store().await.is_err() {
                tracing::error!("the store has ended: the router stops");
                return;
            }
            self.tell_readers();
            if self.stage == Stage::Storing && self.router.gauges().unstored == 0 {
                return;
            }
            let deferred = self.deferred.map(|since| since + DEFERRAL);
            let until = [self.router.deadline(), deferred]
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(Instant::from_micros(u64::MAX));
            let clock = &mut self.clock;
            tokio::select! {
                count = mailbox.recv_many(&mut messages, BATCH) => {
                    if count == 0 {
                        return;
                    }
                }
                () = poll_fn(|cx| clock.poll_sleep(cx, until)) => {
                    let now = self.clock.now().instant;
                    if self.router.deadline().is_some_and(|deadline| deadline <= now) {
                        self.give(Input::Timeout);
                    }
                }
            }
            for message in messages.drain(..) {
                self.take(message);
            }
            self.advance();
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

    /// Passes commands to the store. Those that nobody waits for wait for others, so that the thread is woken once.
    async fn tell_store(&mut self) -> Result<(), Closed> {
        match &mut self.store {
            Keeper::Here(_) => {
                while !self.commands.is_empty() {
                    let commands = std::mem::take(&mut self.commands);
                    let mut answers = Vec::new();
                    if let Keeper::Here(worker) = &mut self.store {
                        worker.work(commands, &mut |answer| answers.push(answer));
                    }
                    for answer in answers {
                        self.give(answer.into());
                    }
                }
            }
            Keeper::Thread(thread) => {
                if self.commands.is_empty() {
                    return Ok(());
                }
                let now = self.clock.now().instant;
                let since = *self.deferred.get_or_insert(now);
                if now < since + DEFERRAL
                    && self.commands.len() < DEFERRED
                    && self.commands.iter().all(can_wait)
                {
                    return Ok(());
                }
                self.deferred = None;
                for command in self.commands.drain(..) {
                    thread.send(command).await?;
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Opened(id, connection) => {
                if self.stage == Stage::Running {
                    self.connections.insert(id, connection);
                }
            }
            Message::Told(id, event) => self.give(Input::Conn(id, event)),
            Message::Taken(id, count) => self.give(Input::Taken(id, count)),
            Message::Closed(id) => {
                self.connections.remove(&id);
                self.give(Input::Closed(id));
            }
            Message::Input(input) => self.give(input),
            Message::Operate(operation, sender) => {
                self.next_ticket = self.next_ticket.wrapping_add(1);
                let ticket = Ticket(self.next_ticket);
                self.operations.insert(ticket, sender);
                self.give(Input::Operator(ticket, operation));
            }
            Message::Read(sender) => self.readers.push(sender),
            Message::Clients(sender) => {
                let clients = self.router.clients().collect();
                sender.send((self.clock.now(), clients)).ok();
            }
            Message::Stop => {
                if self.stage == Stage::Running {
                    self.stage = Stage::Closing;
                    for connection in self.connections.values() {
                        connection.push(Call::Close).ok();
                    }
                }
            }
            Message::Abandon => self.connections.clear(),
        }
    }

    /// Goes on with stopping.
    fn advance(&mut self) {
        if self.stage == Stage::Closing && self.connections.is_empty() {
            self.stage = Stage::Storing;
            let ticket = Ticket(u64::MAX);
            self.give(Input::Operator(ticket, Operation::Save));
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
                Action::Commit(op, changes) => self.commands.push(Command::Commit(op, changes)),
                Action::Load(id, load) => self.commands.push(Command::Load(id, load)),
                Action::Proxy(ticket, _, request) => {
                    self.others.proxy.send((ticket, request)).ok();
                }
                Action::Resolve(ticket, domain) => {
                    if let Some(names) = &self.others.names {
                        names.send((ticket, domain)).ok();
                    }
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
}

/// An answer of the proxy or the resolver.
pub(crate) fn answered(core: &CoreHandle, ticket: Ticket, message: BrokerMessage) {
    core.tell(Message::Input(Input::Answered(ticket, message)));
}

#[cfg(test)]
mod tests {
    use simplex_sans_io::smp::router::store::{Load, Position};
    use simplex_sans_io::smp::router::{LoadId, OpId};
    use simplex_sans_io::wire::EntityId;

    use super::*;

    #[test]
    fn only_the_deletion_of_what_was_received_can_wait() {
        let received = || Change::DeleteMessages {
            queue: EntityId::from([1; 24]),
            from: 0,
            position: Position::default(),
        };
        let promised = Change::PutStatistics(Default::default());
        let commit = |changes| Command::Commit(OpId(1), changes);
        assert!(can_wait(&commit(vec![received(), received()])));
        assert!(!can_wait(&commit(vec![received(), promised])));
        assert!(!can_wait(&Command::Load(LoadId(1), Load::Totals)));
    }
}
