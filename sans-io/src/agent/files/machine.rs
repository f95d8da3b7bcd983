//! The machine over all files.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::command::{Command, Reply};
use super::config::Config;
use super::file::File;
use super::job::{Failure, Job, JobId, Outcome, Received};
use super::loads::Page;
use super::record::{FileEventRecord, FileRecord, Stage};
use super::remove::Removal;
use super::routers::{Rest, RouterKey};
use super::statistics::{Counted, Statistics};
use crate::agent::command::{NetworkState, TestFailure};
use crate::agent::config::UserRouter;
use crate::agent::error::{AgentError, FileProblem};
use crate::agent::event::{Event, EventContent};
use crate::agent::event_numbers::EventNumbers;
use crate::agent::file_event::FileEvent;
use crate::agent::id::{CommandId, EventId, FileId};
use crate::agent::store::record::to_bytes;
use crate::agent::store::{Change, Key, Kind, Load, LoadId, OpId, Record};
use crate::machine::{Actions, Machine};
use crate::rng::Rng;
use crate::smp::pool::UserId;
use crate::time::{Instant, Latest, Now};
use crate::wire::XftpScheme;
use crate::xftp::client::RequestError;

/// What the files of an agent take in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The application wants something. The reply has the same id.
    Command(CommandId, Command),
    /// A job has ended.
    Ended(JobId, Result<Outcome, Failure>),
    /// This transaction, and all before it, are stored.
    Stored(OpId),
    /// What was asked for.
    Loaded(LoadId, Vec<Record>),
    /// Whether there is a network.
    Network(NetworkState),
    /// Whether anything may be done.
    Activity(Activity),
    /// The deadline has passed.
    Timeout,
}

/// What the files of an agent ask their driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Answer a command.
    Reply(CommandId, Result<Reply, AgentError>),
    /// Tell the application.
    Event(Event),
    /// Store all of this, or nothing. [`Input::Stored`] says that it is.
    Store(OpId, Vec<Change>),
    /// Load this. [`Input::Loaded`] brings it.
    Load(LoadId, Load),
    /// Begin something that takes time. [`Input::Ended`] says how it has ended, if it is said of the [job](Job) that it has an answer.
    Begin(JobId, Job),
    /// End it: nobody wants its answer.
    Cancel(JobId),
    /// End all sessions with routers: nobody needs them, or the network is another one.
    Disconnect,
}

/// Whether anything may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activity {
    /// Everything.
    #[default]
    Active,
    /// What has begun goes on, and nothing else.
    Finishing,
    /// Nothing.
    Stopped,
}

/// The files of an agent. See the [module](super) for how they are driven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub(super) config: Config,
    pub(super) rng: Rng,
    pub(super) users: BTreeMap<UserId, Vec<UserRouter<XftpScheme>>>,
    pub(super) files: BTreeMap<FileId, File>,
    pub(super) removals: BTreeMap<(FileId, u32), Removal>,
    pub(super) jobs: BTreeMap<JobId, Begun>,
    pub(super) rests: BTreeMap<RouterKey, Rest>,
    pub(super) deadlines: BTreeSet<(Instant, Wake)>,
    pub(super) network: NetworkState,
    pub(super) activity: Activity,
    /// Whether there may be sessions with routers, and when they are ended if nobody is asked for anything.
    pub(super) sessions: Sessions,
    pub(super) statistics: Statistics,
    /// Who was served last.
    pub(super) served: Option<FileId>,
    /// Commands that have come before it is known what was stored.
    pub(super) held: Option<VecDeque<(CommandId, Command)>>,
    pub(super) loading: Option<(LoadId, Page)>,
    pub(super) next_load: LoadId,
    pub(super) next_job: JobId,
    pub(super) numbers: EventNumbers,
    /// What this step changes, and what is said when that is stored.
    changes: Vec<Change>,
    pub(super) after: Vec<Action>,
    /// The files that it is about.
    touched: BTreeSet<FileId>,
    barrier: BTreeMap<OpId, Vec<Action>>,
    last_op: OpId,
    pub(super) stored: OpId,
    latest: Latest,
    pub(super) actions: Actions<Action>,
}

/// What a deadline is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    Router(RouterKey),
    Expired(FileId),
    RemovalExpired(FileId, u32),
    /// No router was asked for anything for a while.
    Idle,
    /// What was counted is to be stored.
    Statistics,
}

/// Sessions with routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sessions {
    None,
    Used,
    /// Nobody needs them. They are ended then.
    Idle(Instant),
}

/// A job that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) task: Task,
    /// The router that is asked.
    pub(super) router: Option<RouterKey>,
    pub(super) counted: Option<Counted>,
}

/// What a job is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Encrypt(FileId),
    Decrypt(FileId),
    /// Something for a chunk of a file.
    Chunk(FileId, usize, OfChunk),
    Remove(FileId, u32),
    Test(CommandId),
}

/// What a job is for, of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum OfChunk {
    /// From this replica.
    Download(u16),
    Create(Box<super::send::Keys>),
    AddRecipients(Vec<crate::crypto::AuthPrivateKey>),
    Upload,
}

impl Files {
    /// The files of an agent, which ask at once for what is stored of them.
    #[must_use]
    pub fn new(config: Config, rng: Rng, now: Now) -> Self {
        let mut files = Self {
            config,
            rng,
            users: BTreeMap::new(),
            files: BTreeMap::new(),
            removals: BTreeMap::new(),
            jobs: BTreeMap::new(),
            rests: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            network: NetworkState::Online,
            activity: Activity::Active,
            sessions: Sessions::None,
            statistics: Statistics::default(),
            served: None,
            held: Some(VecDeque::new()),
            loading: None,
            next_load: LoadId(0),
            next_job: JobId(0),
            numbers: EventNumbers::default(),
            changes: Vec::new(),
            after: Vec::new(),
            touched: BTreeSet::new(),
            barrier: BTreeMap::new(),
            last_op: OpId(0),
            stored: OpId(0),
            latest: Latest::new(now),
            actions: Actions::default(),
        };
        files.load_page(Page::Events, None);
        files
    }

    /// Whether nothing is under way: neither a file nor a deletion.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.files.is_empty() && self.removals.is_empty() && self.jobs.is_empty()
    }

    /// Keeps a file in memory until it is done or given up.
    pub(super) fn keep_file(&mut self, now: Now, id: FileId, mut file: File) {
        file.deadline = self.expiry(now, &file.record);
        self.deadlines
            .insert((file.deadline, Wake::Expired(id.clone())));
        self.files.insert(id, file);
    }

    fn expiry(&self, now: Now, record: &FileRecord) -> Instant {
        let patience = match record.stage {
            Stage::Receiving { .. } => self.config.receive_expiry,
            Stage::Encrypting { .. } | Stage::Uploading { .. } => self.config.send_expiry,
        };
        due(now, record.since, patience)
    }

    /// Whether jobs are under way.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
    }

    pub(super) fn command(&mut self, now: Now, id: CommandId, command: Command) {
        // What was told before all is loaded can be confirmed before.
        if let Command::Confirm { event } = command {
            if let Some(number) = event.file_number() {
                self.delete(Key::file_event(number));
            }
            return;
        }
        if let Some(held) = &mut self.held {
            held.push_back((id, command));
            return;
        }
        let reply = match command {
            Command::SetRouters { user, routers } => {
                self.users.insert(user, routers);
                Ok(Reply::Done)
            }
            Command::DeleteUser { user } => {
                self.delete_user(user);
                self.forget_statistics(|of| of == user);
                Ok(Reply::Done)
            }
            Command::Receive {
                file,
                user,
                description,
                local,
                relays,
            } => self.receive(now, file, user, description, local, relays),
            Command::Send {
                file,
                user,
                path,
                local,
                recipients,
                replicas,
            } => {
                let source = super::record::Origin::File { path, local };
                self.send(now, file, user, source, recipients, replicas)
            }
            Command::SendDescription {
                user,
                description,
                recipients,
                replicas,
            } => {
                let source = super::record::Origin::Description { description };
                self.send(now, None, user, source, recipients, replicas)
            }
            Command::Files => Ok(Reply::Files(self.files.keys().cloned().collect())),
            Command::Statistics => Ok(Reply::Statistics(self.statistics.all())),
            Command::ResetStatistics => {
                self.forget_statistics(|_| true);
                Ok(Reply::Done)
            }
            Command::Delete { files } => {
                for file in files {
                    self.drop_file(&file, Received::Removed);
                }
                Ok(Reply::Done)
            }
            Command::DeleteRemotely { user, file, sender } => {
                self.delete_remotely(now, user, &file, sender)
            }
            Command::TestRouter {
                user,
                router,
                password,
            } => {
                if self.may_begin() {
                    let test = Job::Test {
                        user,
                        router,
                        password,
                    };
                    return self.expect(Task::Test(id), test);
                }
                Err(AgentError::Inactive)
            }
            Command::Confirm { .. } => return,
        };
        self.after.push(Action::Reply(id, reply));
    }

    fn ended(&mut self, now: Now, job: JobId, ended: Result<Outcome, Failure>) {
        let Some(Begun {
            task,
            router,
            counted,
        }) = self.jobs.remove(&job)
        else {
            return;
        };
        if let (Some(router), Some(counted)) = (&router, counted) {
            self.statistics.ended(router, counted, &ended);
        }
        match (&router, &ended) {
            (Some(router), Ok(_)) => self.rested(router),
            // All others wait for the same session.
            (Some(router), Err(Failure::Unreachable(_))) => self.cancel_at(router),
            (Some(_), Err(_)) | (None, _) => {}
        }
        match task {
            Task::Encrypt(id) => self.encrypted(now, &id, ended),
            Task::Decrypt(id) => self.decrypted(now, &id, ended),
            Task::Chunk(id, index, what) => {
                let Some(chunk) = self.chunk(&id, index) else {
                    return;
                };
                chunk.job = None;
                let Some(router) = router else { return };
                match what {
                    OfChunk::Download(replica) => {
                        self.downloaded(now, &id, index, replica, &router, ended);
                    }
                    OfChunk::Create(keys) => {
                        self.created(now, &id, index, *keys, &router, ended);
                    }
                    OfChunk::AddRecipients(keys) => {
                        self.added(now, &id, index, keys, &router, ended);
                    }
                    OfChunk::Upload => self.uploaded(now, &id, index, &router, ended),
                }
            }
            Task::Remove(id, number) => {
                if let Some(router) = router {
                    self.removed(now, &id, number, &router, ended);
                }
            }
            Task::Test(id) => {
                let reply = tested(router.as_ref(), ended);
                self.after.push(Action::Reply(id, reply));
            }
        }
    }

    pub(super) fn chunk(&mut self, id: &FileId, index: usize) -> Option<&mut super::file::Chunk> {
        self.files.get_mut(id)?.chunks.get_mut(index)
    }

    /// A record of a file has changed.
    pub(super) fn put_file(&mut self, id: &FileId) {
        if let Some(file) = self.files.get(id) {
            let value = to_bytes(&file.record);
            self.put(Key::of_file(Kind::File, id, 0), value);
            self.touched.insert(id.clone());
        }
    }

    /// The record of a chunk has changed.
    pub(super) fn put_chunk(&mut self, id: &FileId, index: usize) {
        let chunk = self.files.get(id).and_then(|file| file.chunks.get(index));
        if let (Some(chunk), Ok(number)) = (chunk, u32::try_from(index)) {
            let value = to_bytes(&chunk.record);
            self.put(Key::of_file(Kind::Chunk, id, number), value);
            self.touched.insert(id.clone());
        }
    }

    pub(super) fn put(&mut self, key: Key, value: bytes::Bytes) {
        self.changes.push(Change::Put {
            key,
            value,
            expires: None,
        });
    }

    pub(super) fn delete(&mut self, key: Key) {
        self.changes.push(Change::Delete(key));
    }

    /// All chunks of a file are forgotten.
    pub(super) fn delete_chunks(&mut self, id: &FileId) {
        let count = self.files.get(id).map_or(0, |file| file.chunks.len());
        for number in (0_u32..).take(count) {
            self.delete(Key::of_file(Kind::Chunk, id, number));
        }
    }

    /// Tells something of a file, which is kept if it has to be confirmed.
    pub(super) fn tell(&mut self, file: &FileId, event: FileEvent) {
        let mut id = None;
        if event.is_kept() {
            let (number, ahead) = self.numbers.take(Key::file_event_numbers);
            self.changes.extend(ahead);
            id = Some(EventId::of_file(number));
            let record = FileEventRecord {
                file: file.clone(),
                event: event.clone(),
            };
            self.put(Key::file_event(number), to_bytes(&record));
        }
        let event = of_file(id, file.clone(), event);
        self.after.push(Action::Event(event));
    }

    /// Forgets a file: its jobs, its records, and what there is of it on this machine.
    pub(super) fn drop_file(&mut self, id: &FileId, received: Received) {
        let mine = |task: &Task| match task {
            Task::Encrypt(file) | Task::Decrypt(file) | Task::Chunk(file, ..) => file == id,
            Task::Remove(..) | Task::Test(_) => false,
        };
        self.cancel(mine);
        if let Some(file) = self.files.get(id) {
            let expired = (file.deadline, Wake::Expired(id.clone()));
            self.deadlines.remove(&expired);
            self.delete(Key::of_file(Kind::File, id, 0));
            self.delete_chunks(id);
            self.files.remove(id);
        }
        let discard = Job::Discard {
            file: id.clone(),
            received,
        };
        let job = self.next_job;
        self.next_job = JobId(job.0.saturating_add(1));
        self.after.push(Action::Begin(job, discard));
    }

    /// A file will not be sent or received.
    pub(super) fn fail(&mut self, now: Now, id: &FileId, error: AgentError) {
        let Some(file) = self.files.get(id) else {
            return;
        };
        let event = match file.record.stage {
            Stage::Receiving { .. } => FileEvent::ReceiveFailed { error },
            Stage::Encrypting { .. } | Stage::Uploading { .. } => FileEvent::SendFailed { error },
        };
        self.abandon_all(now, id);
        self.drop_file(id, Received::Removed);
        self.tell(id, event);
    }

    /// There is another network, or none: what travels does not arrive.
    fn network(&mut self, network: NetworkState) {
        self.network = network;
        self.cancel(|task| match task {
            Task::Encrypt(_) | Task::Decrypt(_) => false,
            Task::Chunk(..) | Task::Remove(..) | Task::Test(_) => true,
        });
        self.disconnect();
        match network {
            NetworkState::Online => self.forget_rests(),
            NetworkState::Offline => self.save_statistics(),
        }
    }

    fn activity(&mut self, activity: Activity) {
        if (self.activity, activity) == (Activity::Stopped, Activity::Finishing) {
            return;
        }
        self.activity = activity;
        if activity == Activity::Stopped {
            self.cancel(|_| true);
            self.disconnect();
            self.save_statistics();
        }
    }

    fn stored(&mut self, op: OpId) {
        self.stored = self.stored.max(op);
        while let Some(entry) = self.barrier.first_entry()
            && *entry.key() <= op
        {
            for action in entry.remove() {
                self.actions.push(action);
            }
        }
    }

    fn timeout(&mut self, now: Now) {
        while let Some((deadline, _)) = self.deadlines.first()
            && *deadline <= now.instant
            && let Some((_, wake)) = self.deadlines.pop_first()
        {
            match wake {
                Wake::Router(router) => self.wake_router(&router),
                Wake::Expired(id) => {
                    let file = self.files.get_mut(&id);
                    let error = file.and_then(|file| file.error.take());
                    let expired = || AgentError::File {
                        error: FileProblem::Expired,
                    };
                    self.fail(now, &id, error.unwrap_or_else(expired));
                }
                Wake::RemovalExpired(id, number) => self.give_up_removal(&id, number),
                Wake::Idle => self.disconnect(),
                Wake::Statistics => self.save_statistics(),
            }
        }
    }

    /// One input is one transaction; what is said of it waits for that one, and for all before.
    fn commit(&mut self) {
        let changes = std::mem::take(&mut self.changes);
        if !changes.is_empty() {
            self.last_op = OpId(self.last_op.0.saturating_add(1));
            self.actions.push(Action::Store(self.last_op, changes));
        }
        let op = self.last_op;
        for id in std::mem::take(&mut self.touched) {
            if let Some(file) = self.files.get_mut(&id) {
                file.op = op;
            }
            let first = (id.clone(), 0);
            let removals = self.removals.range_mut(first..);
            for (_, removal) in removals.take_while(|((file, _), _)| *file == id) {
                removal.op = op;
            }
        }
        let after = std::mem::take(&mut self.after);
        if op > self.stored {
            self.barrier.entry(op).or_default().extend(after);
        } else {
            for action in after {
                self.actions.push(action);
            }
        }
    }

    /// What is stored of a file is to be stored before anything else is begun for it.
    pub(super) fn touch(&mut self, id: &FileId) {
        self.touched.insert(id.clone());
    }

    /// A router does not answer that which it was asked for.
    pub(super) const fn unexpected() -> Failure {
        Failure::Request(RequestError::Unexpected("another answer"))
    }
}

/// When something that has begun then is given up.
pub(super) fn due(now: Now, since: i64, patience: std::time::Duration) -> Instant {
    let age = now.unix.seconds().saturating_sub(since);
    let age = std::time::Duration::from_secs(u64::try_from(age).unwrap_or(0));
    now.instant + patience.saturating_sub(age)
}

pub(super) fn of_file(id: Option<EventId>, file: FileId, event: FileEvent) -> Event {
    Event {
        id,
        connection: None,
        content: EventContent::File { file, event },
    }
}

/// What is wrong with a router, if anything is.
fn tested(
    router: Option<&RouterKey>,
    ended: Result<Outcome, Failure>,
) -> Result<Reply, AgentError> {
    let router = router.map(|(_, router)| router);
    match ended {
        Ok(Outcome::Tested(failed)) => {
            let failure = failed.map(|(step, failure)| TestFailure {
                step,
                error: failure.error(router),
            });
            Ok(Reply::Tested(failure))
        }
        Ok(_) => Err(AgentError::internal("another job")),
        Err(failure) => Err(failure.error(router)),
    }
}

impl Machine for Files {
    type Input<'a> = Input;
    type Action = Action;
    type Error = std::convert::Infallible;

    fn handle(&mut self, now: Now, input: Input) -> Result<(), Self::Error> {
        self.actions.begin();
        let now = self.latest.at(now);
        match input {
            Input::Command(id, command) => self.command(now, id, command),
            Input::Ended(job, ended) => self.ended(now, job, ended),
            Input::Stored(op) => self.stored(op),
            Input::Loaded(id, records) => self.loaded(now, id, records),
            Input::Network(network) => self.network(network),
            Input::Activity(activity) => self.activity(activity),
            Input::Timeout => self.timeout(now),
        }
        self.commit();
        self.schedule();
        self.watch_sessions(now);
        self.keep_statistics(now);
        Ok(())
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.next()
    }

    fn deadline(&self) -> Option<Instant> {
        if self.held.is_some() {
            return None;
        }
        match (self.activity, self.network) {
            (Activity::Stopped, _) | (_, NetworkState::Offline) => None,
            (Activity::Active | Activity::Finishing, NetworkState::Online) => {
                self.deadlines.first().map(|(deadline, _)| *deadline)
            }
        }
    }
}
