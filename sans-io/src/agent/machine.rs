//! The machine over all connections.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::command::{Command, NetworkState, NewConnection, Reply, RequestMode, Waiting};
use super::commands::{command_of, of_connection};
use super::config::{Config, UserRouter};
use super::connection::{Caller, Connection, Delivery, Found, Join, Need, NewQueue, Step};
use super::error::AgentError;
use super::event::{Event, EventContent};
use super::id::{CommandId, ConnectionId, EventId};
use super::index::QueueIndex;
use super::network::{Asked, Purpose as AskedFor};
use super::store::record::{self, ContactRequest, EventRecord, Purpose, QueueRecord, Stage};
use super::store::{Change, Key, Kind, Load, LoadId, OpId, Record};
use crate::machine::{Actions, Machine};
use crate::ratchet::{OfferedKeys, Pq};
use crate::rng::Rng;
use crate::smp::client::{RequestId, Response};
use crate::smp::pool::{
    self, Call, PoolError, SessionKey, SubscriberRole, Subscription, SubscriptionError, UserId,
};
use crate::smp::{BrokerMessage, QueueMode};
use crate::time::{Instant, Latest, Now, UnixTime};
use crate::wire::{EntityId, Large, List, ServerAddress, SmpScheme};

/// What an agent takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The application wants something. The reply has the same id.
    Command(CommandId, Command),
    /// The pool of sessions with routers tells something.
    Network(pool::Event),
    /// This transaction, and all before it, are stored.
    Stored(OpId),
    /// What was asked for.
    Loaded(LoadId, Vec<Record>),
    /// The deadline has passed.
    Timeout,
}

/// What an agent asks its driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer a command.
    Reply(CommandId, Result<Reply, AgentError>),
    /// Tell the application.
    Event(Event),
    /// Pass this to the pool of sessions with routers.
    Network(Call),
    /// Store all of this, or nothing. [`Input::Stored`] says that it is.
    Store(OpId, Vec<Change>),
    /// Load this. [`Input::Loaded`] brings it.
    Load(LoadId, Load),
}

/// Duplex connections over the queues of routers. See the [module](super) for how it is driven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    shared: Shared,
    connections: BTreeMap<ConnectionId, Entry>,
    loading: BTreeMap<LoadId, Loading>,
    next_load: LoadId,
    /// What waits until transactions are stored.
    barrier: BTreeMap<OpId, Vec<Action>>,
    next_op: OpId,
    stored: OpId,
    /// When connections want to be woken.
    deadlines: BTreeSet<(Instant, ConnectionId)>,
    /// Inputs that have come before the machine knows what was stored.
    held: Option<VecDeque<(CommandId, Command)>>,
    cleaned: UnixTime,
    latest: Latest,
    actions: Actions<Action>,
}

/// What all connections share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) users: BTreeMap<UserId, Vec<UserRouter>>,
    pub(super) proxies: BTreeMap<(UserId, ServerAddress<SmpScheme>), ServerAddress<SmpScheme>>,
    pub(super) requests: BTreeMap<RequestId, Asked>,
    pub(super) index: QueueIndex,
    next_request: u64,
    next_event: EventId,
    network: NetworkState,
}

impl Shared {
    pub(super) fn next_request(&mut self) -> RequestId {
        self.next_request = self.next_request.wrapping_add(1);
        RequestId(self.next_request)
    }

    /// Whether anything may be asked for a user now.
    pub(super) fn may_ask(&self, user: UserId) -> bool {
        self.network == NetworkState::Online && self.users.contains_key(&user)
    }

    /// An event, which is kept if it has to be confirmed.
    pub(super) fn event(
        &mut self,
        connection: Option<ConnectionId>,
        content: EventContent,
        changes: &mut Vec<Change>,
    ) -> Event {
        if !content.is_kept() {
            return Event {
                id: None,
                connection,
                content,
            };
        }
        let id = self.next_event;
        self.next_event = id.next();
        let record = EventRecord {
            connection,
            content,
        };
        changes.push(Change::Put {
            key: Key::event(id),
            value: record::to_bytes(&record),
            expires: None,
        });
        Event {
            id: Some(id),
            connection: record.connection,
            content: record.content,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Ready(Box<Connection>),
    Loading(VecDeque<Work>),
}

/// What is to be done with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Work {
    Command(CommandId, Command),
    Deliver(Incoming),
    Receive(Delivery, Found),
    Answer(
        super::connection::Task,
        Box<Asked>,
        Result<Response, PoolError>,
    ),
    /// It may have something to do.
    Resume,
    /// Its user is being deleted.
    Delete,
    Tell(EventContent),
}

/// A message whose queue has yet to be found.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Incoming {
    router: ServerAddress<SmpScheme>,
    recipient_id: EntityId,
    broker_id: EntityId,
    body: bytes::Bytes,
}

/// What a load is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Loading {
    Connection(ConnectionId),
    Message(ConnectionId, Delivery, Vec<Key>),
    Owner(Incoming),
    Events,
    Work,
    Subscriptions(CommandId, Option<UserId>),
    Request(CommandId, Command),
    DeletedUser(UserId),
}

impl Agent {
    /// An agent, which asks at once for what is stored.
    #[must_use]
    pub fn new(config: Config, rng: Rng, now: Now) -> Self {
        let mut agent = Self {
            shared: Shared {
                config,
                rng,
                users: BTreeMap::new(),
                proxies: BTreeMap::new(),
                requests: BTreeMap::new(),
                index: QueueIndex::default(),
                next_request: 0,
                next_event: EventId(1),
                network: NetworkState::Online,
            },
            connections: BTreeMap::new(),
            loading: BTreeMap::new(),
            next_load: LoadId(0),
            barrier: BTreeMap::new(),
            next_op: OpId(1),
            stored: OpId(0),
            deadlines: BTreeSet::new(),
            held: Some(VecDeque::new()),
            cleaned: now.unix,
            latest: Latest::new(now),
            actions: Actions::default(),
        };
        agent.load_page(Kind::Event, None, Loading::Events);
        agent
    }

    /// How many connections are in memory.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.connections.len()
    }

    // Loads.

    fn load(&mut self, load: Load, what: Loading) {
        let id = self.next_load;
        self.next_load = LoadId(id.0.saturating_add(1));
        self.loading.insert(id, what);
        self.actions.push(Action::Load(id, load));
    }

    fn load_page(&mut self, kind: Kind, after: Option<Key>, what: Loading) {
        let limit = self.shared.config.page;
        self.load(Load::Page { kind, after, limit }, what);
    }

    /// The next page, if this one was full.
    fn load_next(&mut self, kind: Kind, records: &[Record], what: Loading) -> bool {
        let full = records.len() >= self.shared.config.page;
        match records.last().filter(|_| full) {
            Some(last) => {
                self.load_page(kind, Some(last.key.clone()), what);
                true
            }
            None => false,
        }
    }

    fn loaded_records(&mut self, now: Now, id: LoadId, records: Vec<Record>) {
        let Some(what) = self.loading.remove(&id) else {
            return;
        };
        match what {
            Loading::Connection(id) => self.connection_loaded(now, id, records),
            Loading::Message(id, delivery, keys) => {
                let found = Found::new(keys, records);
                self.with(now, &id, Work::Receive(delivery, found));
            }
            Loading::Owner(incoming) => self.owner_loaded(now, incoming, records),
            Loading::Events => self.events_loaded(&records),
            Loading::Work => self.work_loaded(now, &records),
            Loading::Subscriptions(command, user) => {
                self.subscribe_page(command, user, &records);
            }
            Loading::Request(command, wanted) => {
                self.request_loaded(now, command, wanted, records);
            }
            Loading::DeletedUser(user) => self.delete_page(now, user, &records),
        }
    }

    /// What the application has not confirmed before is told again, in order.
    fn events_loaded(&mut self, records: &[Record]) {
        for Record { key, value } in records {
            let id = key.id.split_first_chunk();
            let Some(id) = id.map(|(id, _)| EventId(u64::from_be_bytes(*id))) else {
                continue;
            };
            self.shared.next_event = self.shared.next_event.max(id.next());
            if let Ok(EventRecord {
                connection,
                content,
            }) = record::from_bytes(value)
            {
                self.actions.push(Action::Event(Event {
                    id: Some(id),
                    connection,
                    content,
                }));
            }
        }
        if !self.load_next(Kind::Event, records, Loading::Events) {
            self.load_page(Kind::Work, None, Loading::Work);
        }
    }

    /// Connections that have something to do are loaded.
    fn work_loaded(&mut self, now: Now, records: &[Record]) {
        for record in records {
            if let Ok(id) = ConnectionId::try_from(&*record.key.owner) {
                self.with(now, &id, Work::Resume);
            }
        }
        if !self.load_next(Kind::Work, records, Loading::Work)
            && let Some(held) = self.held.take()
        {
            for (id, command) in held {
                self.command(now, id, command);
            }
        }
    }

    fn owner_loaded(&mut self, now: Now, incoming: Incoming, records: Vec<Record>) {
        let queue = records.into_iter().next();
        let queue = queue.and_then(|record| record::from_bytes::<QueueRecord>(&record.value).ok());
        if let Some(queue) = queue {
            let (router, id) = (&incoming.router, &incoming.recipient_id);
            self.shared.index.insert(router, id, &queue.connection);
            self.with(now, &queue.connection, Work::Deliver(incoming));
        }
    }

    fn connection_loaded(&mut self, now: Now, id: ConnectionId, records: Vec<Record>) {
        let Some(Entry::Loading(waiting)) = self.connections.remove(&id) else {
            return;
        };
        match Connection::load(id.clone(), records) {
            Ok(Some(connection)) => {
                let entry = Entry::Ready(Box::new(connection));
                self.connections.insert(id.clone(), entry);
                for work in waiting {
                    self.with(now, &id, work);
                }
            }
            Ok(None) => {
                for work in waiting {
                    self.without_connection(now, &id, work);
                }
            }
            Err(_) => {
                let error = AgentError::internal("a record cannot be read");
                for work in waiting {
                    if let Work::Command(command, _) = work {
                        let reply = Action::Reply(command, Err(error.clone()));
                        self.actions.push(reply);
                    }
                }
            }
        }
    }

    // Steps.

    /// Does something with a connection, once it is in memory.
    fn with(&mut self, now: Now, id: &ConnectionId, work: Work) {
        match self.connections.get_mut(id) {
            Some(Entry::Loading(waiting)) => waiting.push_back(work),
            Some(Entry::Ready(_)) => self.step(now, id, work),
            None => {
                let waiting = Entry::Loading(VecDeque::from([work]));
                self.connections.insert(id.clone(), waiting);
                let owner = id.to_bytes();
                self.load(Load::Owned { owner }, Loading::Connection(id.clone()));
            }
        }
    }

    fn step(&mut self, now: Now, id: &ConnectionId, work: Work) {
        let Some(Entry::Ready(mut connection)) = self.connections.remove(id) else {
            return;
        };
        self.step_of(now, &mut connection, |needed, step| {
            Self::work(needed, step, work)
        });
        self.keep(id, connection);
    }

    /// Keeps a connection in memory, unless it is gone.
    fn keep(&mut self, id: &ConnectionId, connection: Box<Connection>) {
        if connection.gone {
            let owned = |asked: &AskedFor| matches!(asked, AskedFor::Task(owner, _) if owner == id);
            self.shared
                .requests
                .retain(|_, asked| !owned(&asked.purpose));
        } else {
            self.connections
                .insert(id.clone(), Entry::Ready(connection));
        }
    }

    /// Makes a step, then whatever follows from the state, and stores what has changed.
    fn step_of(
        &mut self,
        now: Now,
        connection: &mut Connection,
        work: impl FnOnce(&mut Needed, &mut Step<'_>),
    ) {
        if let Some(deadline) = connection.wake.take() {
            self.deadlines.remove(&(deadline, connection.id.clone()));
        }
        let before = connection.record.clone();
        let new = std::mem::take(&mut connection.unsaved);
        let mut needed = Needed::default();
        let mut step = Step::new(now, &mut self.shared, connection);
        work(&mut needed, &mut step);
        step.advance();
        let (mut changes, actions) = (step.changes, step.actions);
        if !connection.gone {
            let id = &connection.id;
            if connection.record != before || new {
                changes.push(Change::Put {
                    key: Key::of(Kind::Connection, id),
                    value: record::to_bytes(&connection.record),
                    expires: None,
                });
            }
            let has_work = connection.has_work();
            if has_work != connection.marked {
                connection.marked = has_work;
                let key = Key::of(Kind::Work, id);
                changes.push(match has_work {
                    true => Change::Put {
                        key,
                        value: bytes::Bytes::new(),
                        expires: None,
                    },
                    false => Change::Delete(key),
                });
            }
            connection.wake = connection.next_wake(now.instant);
            if let Some(deadline) = connection.wake {
                self.deadlines.insert((deadline, connection.id.clone()));
            }
        }
        connection.op = self.commit(changes, actions, connection.op);
        for (delivery, need) in needed.0 {
            let keys = need.0;
            let what = Loading::Message(connection.id.clone(), delivery, keys.clone());
            self.load(Load::Get(keys), what);
        }
    }

    /// Stores changes; what depends on them, or on what was stored before them, waits.
    fn commit(&mut self, changes: Vec<Change>, actions: Vec<Action>, after: OpId) -> OpId {
        let op = if changes.is_empty() {
            after
        } else {
            let op = self.next_op;
            self.next_op = OpId(op.0.saturating_add(1));
            self.actions.push(Action::Store(op, changes));
            op
        };
        if op <= self.stored {
            self.act(actions);
        } else {
            self.barrier.entry(op).or_default().extend(actions);
        }
        op
    }

    fn act(&mut self, actions: Vec<Action>) {
        let mut last: Option<(SessionKey, Vec<crate::smp::client::Request>)> = None;
        for action in actions {
            // Requests that leave together share blocks.
            if let Action::Network(Call::Send { session, requests }) = action {
                match &mut last {
                    Some((same, all)) if *same == session => all.extend(requests),
                    Some(_) | None => self.flush(last.replace((session, requests))),
                }
            } else {
                self.flush(last.take());
                self.actions.push(action);
            }
        }
        self.flush(last);
    }

    fn flush(&mut self, requests: Option<(SessionKey, Vec<crate::smp::client::Request>)>) {
        if let Some((session, requests)) = requests {
            let call = Call::Send { session, requests };
            self.actions.push(Action::Network(call));
        }
    }

    fn stored(&mut self, op: OpId) {
        self.stored = self.stored.max(op);
        let mut ready = Vec::new();
        while let Some(entry) = self.barrier.first_entry()
            && *entry.key() <= op
        {
            ready.extend(entry.remove());
        }
        self.act(ready);
    }

    // Commands.

    fn reply(&mut self, command: CommandId, result: Result<Reply, AgentError>) {
        self.actions.push(Action::Reply(command, result));
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others are for one connection"
    )]
    fn command(&mut self, now: Now, id: CommandId, command: Command) {
        if let Some(held) = &mut self.held {
            held.push_back((id, command));
            return;
        }
        match command {
            Command::SetUser { user, routers } => {
                self.shared.users.insert(user, routers);
                self.reply(id, Ok(Reply::Done));
                self.resume_all(now);
            }
            Command::DeleteUser { user } => {
                self.reply(id, Ok(Reply::Done));
                self.load_page(Kind::Connection, None, Loading::DeletedUser(user));
            }
            Command::Network(network) => self.network_changed(now, network),
            Command::Confirm { event } => {
                let changes = vec![Change::Delete(Key::event(event))];
                self.commit(changes, Vec::new(), OpId(0));
            }
            Command::SubscribeAll { user } => {
                self.load_page(Kind::Queue, None, Loading::Subscriptions(id, user));
            }
            Command::Accept {
                ref address,
                ref name,
                ..
            }
            | Command::Reject {
                ref address,
                ref name,
            } => {
                let key = Key::with(Kind::Request, address, name.as_slice());
                self.load(Load::Get(vec![key]), Loading::Request(id, command));
            }
            Command::OpenLink { .. } => {
                let error = AgentError::prohibited("links are not opened yet");
                self.reply(id, Err(error));
            }
            Command::Create {
                connection: None, ..
            }
            | Command::Join {
                connection: None, ..
            } => {
                let connection = ConnectionId::random(&mut self.shared.rng);
                self.without_connection(now, &connection, Work::Command(id, command));
            }
            command => match of_connection(&command).cloned() {
                Some(connection) => self.with(now, &connection, Work::Command(id, command)),
                None => self.reply(id, Err(AgentError::internal("command"))),
            },
        }
    }

    /// A command for a connection that does not exist.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others need a connection that exists"
    )]
    fn without_connection(&mut self, now: Now, id: &ConnectionId, work: Work) {
        let Work::Command(command, wanted) = work else {
            return;
        };
        let made = match wanted {
            Command::Create {
                user,
                kind,
                client_data,
                short,
                mode,
                ..
            } => self.create(now, id, command, user, kind, client_data, short, mode),
            Command::Join {
                user,
                request,
                info,
                pq,
                mode,
                ..
            } => Large::try_from(info)
                .map_err(|_| AgentError::Large {
                    context: "info".into(),
                })
                .and_then(|info| {
                    let join = Join {
                        request: *request,
                        info,
                        pq,
                        link_key: None,
                    };
                    self.join(now, id, Caller { command, mode }, user, join, Vec::new())
                }),
            _ => Err(AgentError::not_found("connection")),
        };
        if let Err(error) = made {
            self.reply(command, Err(error));
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of the command, one by one"
    )]
    fn create(
        &mut self,
        now: Now,
        id: &ConnectionId,
        command: CommandId,
        user: UserId,
        kind: NewConnection,
        client_data: Option<super::link::ClientData>,
        short: Option<bytes::Bytes>,
        mode: RequestMode,
    ) -> Result<(), AgentError> {
        let router = self.shared.choose_router(user, &[])?;
        let short = short.map(Large::try_from).transpose();
        let short = short.map_err(|_| AgentError::Large {
            context: "short link".into(),
        })?;
        let version = self.shared.config.versions.max();
        let (pq, queue_mode) = match kind {
            NewConnection::Invitation { pq } => (pq.support(), QueueMode::Messaging),
            NewConnection::Address => (Pq::Off, QueueMode::Contact),
        };
        let mut connection = Box::new(Connection::empty(
            id.clone(),
            user,
            Stage::Failed,
            pq,
            version,
        ));
        self.step_of(now, &mut connection, |_, step| {
            let short = short.map(|data| step.new_short_link(data));
            let purpose = match kind {
                NewConnection::Invitation { pq } => {
                    let proposed = match &short {
                        Some(_) => pq.in_short_link(),
                        None => pq.in_full_link(),
                    };
                    Purpose::Invitation {
                        keys: OfferedKeys::generate(&mut step.shared.rng, proposed),
                        pq,
                        client_data,
                        short,
                    }
                }
                NewConnection::Address => Purpose::Address { client_data, short },
            };
            step.connection.record.stage = Stage::Creating { purpose };
            step.connection.callers.push(Caller { command, mode });
            let version = step.shared.config.client_versions.max();
            step.add_receive_queue(NewQueue {
                router,
                mode: queue_mode,
                version,
                rotation: None,
            });
        });
        self.keep(id, connection);
        Ok(())
    }

    fn join(
        &mut self,
        now: Now,
        id: &ConnectionId,
        caller: Caller,
        user: UserId,
        join: Join,
        with: Vec<Change>,
    ) -> Result<(), AgentError> {
        let joining = Connection::joining(id.clone(), user, &mut self.shared, join)?;
        let (connection, first) = joining.into_parts();
        let mut connection = Box::new(connection);
        self.step_of(now, &mut connection, |_, step| {
            step.changes.extend(with);
            step.begin_to_join(first, caller);
        });
        self.keep(id, connection);
        Ok(())
    }

    /// A request for a connection that is to be answered.
    fn request_loaded(&mut self, now: Now, id: CommandId, command: Command, records: Vec<Record>) {
        let Some(record) = records.into_iter().next() else {
            return self.reply(id, Err(AgentError::not_found("request")));
        };
        let delete = Change::Delete(record.key);
        let Command::Accept {
            connection,
            info,
            pq,
            mode,
            ..
        } = command
        else {
            let done = vec![Action::Reply(id, Ok(Reply::Done))];
            self.commit(vec![delete], done, OpId(0));
            return;
        };
        let name = connection.unwrap_or_else(|| ConnectionId::random(&mut self.shared.rng));
        let accepted = record::from_bytes::<ContactRequest>(&record.value)
            .map_err(|_| AgentError::internal("a record cannot be read"))
            .and_then(|kept| match self.connections.contains_key(&name) {
                true => Err(AgentError::DuplicateConnection),
                false => Ok(kept),
            })
            .and_then(|kept| {
                let info = Large::try_from(info).map_err(|_| AgentError::Large {
                    context: "info".into(),
                })?;
                let join = Join {
                    request: kept.request,
                    info,
                    pq,
                    link_key: None,
                };
                let caller = Caller { command: id, mode };
                self.join(now, &name, caller, kept.user, join, vec![delete])
            });
        if let Err(error) = accepted {
            self.reply(id, Err(error));
        }
    }

    // Subscriptions.

    fn subscribe_page(&mut self, command: CommandId, user: Option<UserId>, records: &[Record]) {
        let mut sessions: BTreeMap<SessionKey, Vec<Subscription>> = BTreeMap::new();
        for record in records {
            let Ok(queue) = record::from_bytes::<QueueRecord>(&record.value) else {
                continue;
            };
            if user.is_some_and(|user| user != queue.user) {
                continue;
            }
            let (router, id) = (&queue.router, &queue.recipient_id);
            self.shared.index.insert(router, id, &queue.connection);
            let session = self.shared.session(queue.user, router, id);
            sessions.entry(session).or_default().push(Subscription {
                queue: queue.recipient_id,
                role: SubscriberRole::Recipient,
                key: std::sync::Arc::new(queue.key),
            });
        }
        for (session, subscriptions) in sessions {
            self.actions.push(Action::Network(Call::Subscribe {
                session,
                subscriptions,
            }));
        }
        let next = Loading::Subscriptions(command, user);
        if !self.load_next(Kind::Queue, records, next) {
            self.reply(command, Ok(Reply::Done));
        }
    }

    fn delete_page(&mut self, now: Now, user: UserId, records: &[Record]) {
        for record in records {
            let of_user = record::from_bytes::<record::ConnectionRecord>(&record.value)
                .is_ok_and(|connection| connection.user == user);
            if let (true, Ok(id)) = (of_user, ConnectionId::try_from(&*record.key.owner)) {
                self.with(now, &id, Work::Delete);
            }
        }
        if !self.load_next(Kind::Connection, records, Loading::DeletedUser(user)) {
            let mut changes = Vec::new();
            let content = EventContent::UserDeleted { user };
            let event = self.shared.event(None, content, &mut changes);
            self.commit(changes, vec![Action::Event(event)], OpId(0));
        }
    }

    // The network.

    fn network_changed(&mut self, now: Now, network: NetworkState) {
        self.shared.network = network;
        let call = match network {
            NetworkState::Online => Call::NetworkChanged,
            NetworkState::Offline => Call::NetworkLost,
        };
        self.actions.push(Action::Network(call));
        if network == NetworkState::Online {
            for entry in self.connections.values_mut() {
                if let Entry::Ready(connection) = entry {
                    connection.retries.clear();
                }
            }
            self.resume_all(now);
        }
    }

    /// Connections that have something to do go on.
    fn resume_all(&mut self, now: Now) {
        let ready = |entry: &Entry| match entry {
            Entry::Ready(connection) => !connection.is_idle(),
            Entry::Loading(_) => false,
        };
        let ids: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, entry)| ready(entry))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            self.step(now, &id, Work::Resume);
        }
    }

    fn told(&mut self, now: Now, event: pool::Event) {
        match event {
            pool::Event::Connected { session, .. } => {
                let router = session.router;
                self.tell(None, EventContent::RouterConnected { router });
            }
            pool::Event::Disconnected { session, queues } => self.disconnected(session, &queues),
            pool::Event::Response { request, result } => self.answered(now, request, result),
            pool::Event::Late { request, result } => self.answered(now, request, result),
            pool::Event::Subscribed { session, queue, .. } => {
                if let Some(id) = self.shared.index.get(&session.router, &queue) {
                    let router = session.router;
                    let connections = List::try_from(vec![id]).unwrap_or_default();
                    let content = EventContent::Up {
                        router,
                        connections,
                    };
                    self.tell(None, content);
                }
            }
            pool::Event::NotSubscribed {
                session,
                queue,
                error: SubscriptionError::Permanent(error),
            } => {
                if let Some(id) = self.shared.index.get(&session.router, &queue) {
                    let asked = Asked {
                        purpose: AskedFor::Link(CommandId(0)),
                        router: session.router,
                        proxy: None,
                    };
                    let error = asked.error(PoolError::Request(error));
                    self.with(now, &id, Work::Tell(EventContent::Error { error }));
                }
            }
            pool::Event::Message {
                session,
                entity_id,
                message,
            } => self.router_says(now, session, entity_id, message),
            pool::Event::NotSubscribed { .. }
            | pool::Event::ServiceSubscribed { .. }
            | pool::Event::ServiceNotSubscribed { .. } => {}
        }
    }

    fn tell(&mut self, connection: Option<ConnectionId>, content: EventContent) {
        self.actions.push(Action::Event(Event {
            id: None,
            connection,
            content,
        }));
    }

    fn disconnected(&mut self, session: SessionKey, queues: &[EntityId]) {
        let router = session.router;
        let connections: BTreeSet<_> = queues
            .iter()
            .filter_map(|queue| self.shared.index.get(&router, queue))
            .collect();
        let connections: Vec<_> = connections.into_iter().collect();
        for chunk in connections.chunks(List::<ConnectionId>::MAX) {
            let content = EventContent::Down {
                router: router.clone(),
                connections: List::try_from(chunk.to_vec()).unwrap_or_default(),
            };
            self.tell(None, content);
        }
        self.tell(None, EventContent::RouterDisconnected { router });
    }

    fn answered(&mut self, now: Now, request: RequestId, result: Result<Response, PoolError>) {
        let Some(asked) = self.shared.requests.remove(&request) else {
            return;
        };
        match asked.purpose.clone() {
            AskedFor::Task(id, task) => {
                if matches!(self.connections.get(&id), Some(Entry::Ready(_))) {
                    self.step(now, &id, Work::Answer(task, Box::new(asked), result));
                }
            }
            AskedFor::Link(_) => {}
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "routers say nothing else unasked to those who receive messages"
    )]
    fn router_says(
        &mut self,
        now: Now,
        session: SessionKey,
        recipient_id: EntityId,
        message: BrokerMessage,
    ) {
        let router = session.router;
        let known = self.shared.index.get(&router, &recipient_id);
        match message {
            BrokerMessage::Msg { id, body } => {
                let incoming = Incoming {
                    router,
                    recipient_id,
                    broker_id: id,
                    body,
                };
                match known {
                    Some(owner) => self.with(now, &owner, Work::Deliver(incoming)),
                    None => {
                        let key = Key::queue(&incoming.router, &incoming.recipient_id);
                        self.load(Load::Get(vec![key]), Loading::Owner(incoming));
                    }
                }
            }
            BrokerMessage::End => self.tell_owner(known, EventContent::End),
            BrokerMessage::Deld => self.tell_owner(known, EventContent::QueueDeleted),
            _ => {}
        }
    }

    fn tell_owner(&mut self, owner: Option<ConnectionId>, content: EventContent) {
        if owner.is_some() {
            self.tell(owner, content);
        }
    }

    // Time.

    fn timeout(&mut self, now: Now) {
        while let Some((deadline, id)) = self.deadlines.first().cloned()
            && deadline <= now.instant
        {
            self.deadlines.remove(&(deadline, id.clone()));
            self.step(now, &id, Work::Resume);
        }
    }

    /// What has expired is deleted now and then, when the machine is awake anyway.
    fn clean(&mut self, now: Now) {
        let due = self.cleaned + self.shared.config.cleanup <= now.unix;
        if due && self.held.is_none() {
            self.cleaned = now.unix;
            self.commit(vec![Change::Expire(now.unix)], Vec::new(), OpId(0));
        }
    }

    /// Connections that were not used for long, and have nothing to do, leave the memory.
    fn evict(&mut self) {
        if self.connections.len() <= self.shared.config.cache.saturating_mul(2) {
            return;
        }
        let mut idle: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(id, entry)| match entry {
                Entry::Ready(connection)
                    if connection.is_idle() && connection.op <= self.stored =>
                {
                    Some((connection.used, id.clone()))
                }
                Entry::Ready(_) | Entry::Loading(_) => None,
            })
            .collect();
        idle.sort_unstable();
        let excess = self
            .connections
            .len()
            .saturating_sub(self.shared.config.cache);
        for (_, id) in idle.into_iter().take(excess) {
            self.connections.remove(&id);
        }
    }

    fn work(needed: &mut Needed, step: &mut Step<'_>, work: Work) {
        match work {
            Work::Command(id, command) => command_of(step, id, command),
            Work::Deliver(incoming) => {
                let mut queues = step.connection.record.receive.iter();
                let queue = queues.find(|queue| queue.recipient_id == incoming.recipient_id);
                if let Some(queue) = queue {
                    let delivery = Delivery {
                        queue: queue.number,
                        broker_id: incoming.broker_id,
                        body: incoming.body,
                    };
                    needed.receive(step, delivery, &Found::default());
                }
            }
            Work::Receive(delivery, found) => needed.receive(step, delivery, &found),
            Work::Answer(task, asked, result) => {
                let result = result.map_err(|error| asked.error(error));
                if let Some(delivery) = step.answered(task, &asked, result) {
                    needed.receive(step, delivery, &Found::default());
                }
            }
            Work::Resume => {}
            Work::Delete => step.delete(Waiting::Drop),
            Work::Tell(content) => step.event(content),
        }
    }
}

/// What steps need before they can be made.
#[derive(Default)]
struct Needed(Vec<(Delivery, Need)>);

impl Needed {
    fn receive(&mut self, step: &mut Step<'_>, delivery: Delivery, found: &Found) {
        if let Err(need) = step.receive(&delivery, found) {
            self.0.push((delivery, need));
        }
    }
}

impl Machine for Agent {
    type Input<'a> = Input;
    type Action = Action;
    type Error = std::convert::Infallible;

    fn handle(&mut self, now: Now, input: Input) -> Result<(), Self::Error> {
        let now = self.latest.at(now);
        match input {
            Input::Command(id, command) => self.command(now, id, command),
            Input::Network(event) => self.told(now, event),
            Input::Stored(op) => self.stored(op),
            Input::Loaded(id, records) => self.loaded_records(now, id, records),
            Input::Timeout => self.timeout(now),
        }
        self.clean(now);
        self.evict();
        Ok(())
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.next()
    }

    fn deadline(&self) -> Option<Instant> {
        match self.shared.network {
            NetworkState::Online => self.deadlines.first().map(|(deadline, _)| *deadline),
            NetworkState::Offline => None,
        }
    }
}
