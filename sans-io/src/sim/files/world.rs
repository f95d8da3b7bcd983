//! The driver of a machine: a store, a disk, routers, and what goes wrong with them.

use std::collections::{BTreeMap, VecDeque};

use crate::agent::command::{NetworkState, TestStep};
use crate::agent::config::UserRouter;
use crate::agent::error::AgentError;
use crate::agent::event::{Event, EventContent};
use crate::agent::file_event::{DescriptionText, FileEvent};
use crate::agent::files::command::{Command, Reply};
use crate::agent::files::config::Config;
use crate::agent::files::job::{
    Content, Failure, Job, JobId, Outcome, Party, Question, Received, Target,
};
use crate::agent::files::record::Relays;
use crate::agent::files::{Action, Activity, Files, Input};
use crate::agent::id::{CommandId, EventId, FileId};
use crate::agent::store::{Change, Key, Kind, Memory, OpId};
use crate::crypto::AuthPublicKey;
use crate::crypto::hash::{Sha512, sha256};
use crate::machine::Machine as _;
use crate::rng::Rng;
use crate::smp::pool::UserId;
use crate::smp::{BrokerError, NetworkError};
use crate::time::{Instant, Now};
use crate::wire::{EntityId, ServerAddress, XftpScheme};
use crate::xftp::ErrorType;
use crate::xftp::client::RequestError;
use crate::xftp::description::FileDigest;

pub(crate) const USER: UserId = UserId(1);
/// The chunks of files here are small.
pub(crate) const CHUNK: u32 = 10;
/// And there are so many of a file, of any but a description, which has one.
pub(crate) const CHUNKS: u32 = 3;

pub(crate) type Address = ServerAddress<XftpScheme>;

/// How a router behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Works,
    /// It cannot be reached.
    Away,
    /// It refuses everything with this.
    Refuses(ErrorType),
    /// It takes no chunk, but creates them.
    Full,
}

#[derive(Debug, Clone)]
pub(crate) struct Router {
    pub(crate) behaviour: Behaviour,
    pub(crate) chunks: BTreeMap<EntityId, Chunk>,
}

#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    key: AuthPublicKey,
    size: u32,
    digest: [u8; 32],
    recipients: BTreeMap<EntityId, AuthPublicKey>,
    pub(crate) bytes: Option<Vec<u8>>,
}

/// The place of a file on the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub(crate) encrypted: Option<Vec<u8>>,
    pub(crate) received: Option<Vec<u8>>,
}

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Done,
    /// It is done, and nobody hears of it.
    Lost,
    /// It is not done.
    Undone,
    /// It is done, and fails nevertheless.
    Fails(Failure),
    /// It is done, and the answer is one to something else.
    Strange(Outcome),
}

pub(crate) struct World {
    pub(crate) files: Files,
    pub(crate) config: Config,
    pub(crate) store: Memory,
    /// Transactions that are not stored yet.
    pub(crate) unstored: VecDeque<(OpId, Vec<Change>)>,
    /// How many were stored, over all crashes.
    pub(crate) stored: usize,
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) routers: BTreeMap<Address, Router>,
    pub(crate) disk: BTreeMap<FileId, Place>,
    /// The texts that were encrypted, by what they have become.
    texts: BTreeMap<FileDigest, String>,
    pub(crate) replies: Vec<(CommandId, Result<Reply, AgentError>)>,
    pub(crate) events: Vec<Event>,
    pub(crate) begun: Vec<Job>,
    /// How often all sessions were ended.
    pub(crate) disconnected: usize,
    pub(crate) now: Now,
    pub(crate) rng: Rng,
    next_command: u64,
}

pub(crate) fn address(number: usize) -> Address {
    let host = ["one", "two", "three", "four"][number];
    format!("xftp://YQ==@{host}.example").parse().unwrap()
}

impl World {
    /// An agent whose user has so many routers.
    pub(crate) fn new(routers: usize) -> Self {
        Self::with(Config::default(), routers)
    }

    pub(crate) fn with(config: Config, routers: usize) -> Self {
        let now = Now::START;
        let router = |number| {
            let router = Router {
                behaviour: Behaviour::Works,
                chunks: BTreeMap::new(),
            };
            (address(number), router)
        };
        let mut world = Self {
            files: Files::new(config.clone(), Rng::from_seed([1; 32]), now),
            config,
            store: Memory::default(),
            unstored: VecDeque::new(),
            stored: 0,
            jobs: BTreeMap::new(),
            routers: (0..routers).map(router).collect(),
            disk: BTreeMap::new(),
            texts: BTreeMap::new(),
            replies: Vec::new(),
            events: Vec::new(),
            begun: Vec::new(),
            disconnected: 0,
            now,
            rng: Rng::from_seed([2; 32]),
            next_command: 0,
        };
        world.act();
        world.set_routers();
        world
    }

    pub(crate) fn set_routers(&mut self) {
        let routers = self.routers.keys().cloned().map(UserRouter::new).collect();
        let user = USER;
        self.command(Command::SetRouters { user, routers });
    }

    /// The process ends, and another one begins, with what is stored.
    pub(crate) fn crash(&mut self) {
        self.unstored.clear();
        self.jobs.clear();
        let rng = self.rng.fork();
        self.files = Files::new(self.config.clone(), rng, self.now);
        self.act();
        self.set_routers();
    }

    pub(crate) fn give(&mut self, input: Input) {
        let Ok(()) = self.files.handle(self.now, input);
        self.act();
    }

    fn act(&mut self) {
        let mut loads = Vec::new();
        while let Some(action) = self.files.poll() {
            match action {
                Action::Reply(id, reply) => self.replies.push((id, reply)),
                Action::Event(event) => self.events.push(event),
                Action::Store(op, changes) => self.unstored.push_back((op, changes)),
                Action::Load(id, load) => loads.push((id, load)),
                Action::Begin(id, job) => {
                    self.begun.push(job.clone());
                    self.jobs.insert(id, job);
                }
                Action::Cancel(id) => {
                    self.jobs.remove(&id);
                }
                Action::Disconnect => {
                    let asking = |job: &Job| matches!(job, Job::Ask { .. });
                    assert!(!self.jobs.values().any(asking), "somebody needs them");
                    self.disconnected += 1;
                }
            }
        }
        for (id, load) in loads {
            let records = self.store.load(&load);
            self.give(Input::Loaded(id, records));
        }
    }

    pub(crate) fn command(&mut self, command: Command) -> CommandId {
        let id = CommandId(self.next_command);
        self.next_command += 1;
        self.give(Input::Command(id, command));
        id
    }

    /// Stores the next transaction.
    pub(crate) fn store_next(&mut self) -> bool {
        let Some((op, changes)) = self.unstored.pop_front() else {
            return false;
        };
        self.store.apply(changes);
        self.stored += 1;
        self.give(Input::Stored(op));
        true
    }

    /// Lets the first job end.
    pub(crate) fn job(&mut self, which: usize, fate: Fate) -> bool {
        let Some(id) = self.jobs.keys().nth(which).copied() else {
            return false;
        };
        let job = self.jobs.remove(&id).unwrap();
        let ended = match (&job, fate) {
            (Job::Ask { .. }, Fate::Undone) => Err(Failure::Request(RequestError::Disconnected)),
            (_, Fate::Done | Fate::Undone) => self.carry_out(&job),
            (Job::Ask { .. }, Fate::Lost) => {
                drop(self.carry_out(&job));
                Err(Failure::Request(RequestError::TimedOut))
            }
            (_, Fate::Lost) => self.carry_out(&job),
            (_, Fate::Fails(failure)) => {
                drop(self.carry_out(&job));
                Err(failure)
            }
            (_, Fate::Strange(outcome)) => {
                drop(self.carry_out(&job));
                Ok(outcome)
            }
        };
        self.give(Input::Ended(id, ended));
        true
    }

    /// Time passes until the machine wants something.
    pub(crate) fn wait(&mut self) -> bool {
        let Some(deadline) = self.files.deadline() else {
            return false;
        };
        self.advance(deadline);
        true
    }

    pub(crate) fn advance(&mut self, until: Instant) {
        let by = until - self.now.instant;
        self.now = self.now + by;
        self.give(Input::Timeout);
        let next = self.files.deadline();
        assert!(next.is_none_or(|next| next > self.now.instant));
    }

    /// Until nothing can be done without time passing.
    pub(crate) fn run(&mut self) {
        while self.store_next() || self.job(0, Fate::Done) {}
    }

    /// Until nothing is under way.
    pub(crate) fn finish(&mut self) {
        for _ in 0..100_000 {
            self.run();
            if self.files.is_idle() {
                return;
            }
            assert!(self.wait(), "nothing is waited for: {:?}", self.files);
        }
        panic!("it does not end");
    }

    /// What is kept, besides what is counted and the number of the next event.
    pub(crate) fn kinds(&self) -> Vec<Kind> {
        let keys = self.store.records().map(|(key, _)| key);
        let numbers = |key: &Key| key.kind == Kind::FileEvent && key.id.is_empty();
        let counted = |key: &Key| key.kind == Kind::FileStatistics || numbers(key);
        keys.filter(|key| !counted(key))
            .map(|key| key.kind)
            .collect()
    }

    /// Whether nothing is kept, besides what is counted, but what has happened.
    pub(crate) fn keeps_events_only(&self) -> bool {
        self.kinds().iter().all(|kind| *kind == Kind::FileEvent)
    }

    /// Everything that has happened to a file and is kept, once.
    pub(crate) fn kept(&self, file: &FileId) -> Vec<FileEvent> {
        let mut known: Vec<(EventId, FileEvent)> = Vec::new();
        for event in &self.events {
            if let (Some(id), EventContent::File { file: of, event }) = (event.id, &event.content)
                && of == file
                && !known.iter().any(|(known, _)| *known == id)
            {
                known.push((id, event.clone()));
            }
        }
        known.into_iter().map(|(_, event)| event).collect()
    }

    pub(crate) fn set(&mut self, router: usize, behaviour: Behaviour) {
        self.routers.get_mut(&address(router)).unwrap().behaviour = behaviour;
    }

    pub(crate) fn network(&mut self, network: NetworkState) {
        self.give(Input::Network(network));
    }

    pub(crate) fn activity(&mut self, activity: Activity) {
        self.give(Input::Activity(activity));
    }

    fn carry_out(&mut self, job: &Job) -> Result<Outcome, Failure> {
        match job {
            Job::Encrypt {
                file,
                content,
                key,
                nonce,
                ..
            } => {
                let (seed, chunks, text) = match content {
                    Content::File { path, .. } if path.starts_with("missing") => {
                        return Err(Failure::FileIo("not found".into()));
                    }
                    Content::File { path, .. } => (path.clone(), CHUNKS, None),
                    Content::Text { text, .. } => {
                        let text = text.as_str().to_owned();
                        (text.clone(), 1, Some(text))
                    }
                };
                let seed = [seed.as_bytes(), key.as_bytes(), nonce.as_bytes()].concat();
                let bytes = content_of(&seed, chunks);
                let digest = sha512(&bytes);
                if let Some(text) = text {
                    self.texts.insert(digest, text);
                }
                let place = self.disk.entry(file.clone()).or_default();
                let of = |part: &[u8]| (u32::try_from(part.len()).unwrap(), sha256(part));
                let chunks = bytes.chunks(10).map(of).collect();
                place.encrypted = Some(bytes);
                Ok(Outcome::Encrypted { digest, chunks })
            }
            Job::Decrypt {
                file,
                size,
                digest,
                target,
                ..
            } => {
                let place = self.disk.entry(file.clone()).or_default();
                let encrypted = place.encrypted.as_deref().unwrap_or_default();
                let Some(encrypted) = encrypted.get(..usize::try_from(*size).unwrap()) else {
                    return Err(Failure::Digest);
                };
                if sha512(encrypted) != *digest {
                    return Err(Failure::Digest);
                }
                match target {
                    Target::File(_) => {
                        place.received = Some(encrypted.to_vec());
                        let path = format!("/files/{file}");
                        Ok(Outcome::Decrypted { path })
                    }
                    Target::Text(_) => {
                        let text = self.texts.get(digest).cloned();
                        Ok(Outcome::Opened(text.unwrap_or_default().into()))
                    }
                }
            }
            Job::Ask {
                router, question, ..
            } => self.answer(router, question),
            Job::Test { router, .. } => {
                let behaviour = self.routers.get(router).map(|router| router.behaviour);
                Ok(Outcome::Tested(match behaviour {
                    Some(Behaviour::Works) => None,
                    Some(Behaviour::Full) => Some((
                        TestStep::UploadFile,
                        Failure::Request(RequestError::Protocol(ErrorType::Quota)),
                    )),
                    _ => Some((
                        TestStep::Connect,
                        Failure::Unreachable(BrokerError::Timeout),
                    )),
                }))
            }
            Job::Discard { file, received } => {
                if let Some(place) = self.disk.get_mut(file) {
                    place.encrypted = None;
                    if *received == Received::Removed {
                        place.received = None;
                    }
                }
                Ok(Outcome::Done)
            }
            Job::Sweep { keep } => {
                for (file, place) in &mut self.disk {
                    if !keep.contains(file) {
                        place.encrypted = None;
                    }
                }
                Ok(Outcome::Done)
            }
        }
    }

    fn answer(&mut self, router: &Address, question: &Question) -> Result<Outcome, Failure> {
        let refusal = |error| Failure::Request(RequestError::Protocol(error));
        let rng = &mut self.rng;
        let mut id = || EntityId::from(rng.bytes::<24>());
        let Some(router) = self.routers.get_mut(router) else {
            return Err(Failure::Unreachable(BrokerError::Host));
        };
        match (router.behaviour, question) {
            (Behaviour::Away, _) => {
                let error = NetworkError::Failed;
                return Err(Failure::Unreachable(BrokerError::Network { error }));
            }
            (Behaviour::Refuses(error), _) => return Err(refusal(error)),
            (Behaviour::Full, Question::Upload(..)) => return Err(refusal(ErrorType::Quota)),
            (Behaviour::Full | Behaviour::Works, _) => {}
        }
        let unknown = || refusal(ErrorType::Auth);
        let chunks = &mut router.chunks;
        match question {
            Question::Create(new, key) => {
                assert_eq!(new.sender_key, key.public_key());
                let recipients: BTreeMap<_, _> =
                    new.recipients.iter().map(|key| (id(), *key)).collect();
                // In the order of the keys.
                let mut ids = Vec::new();
                for key in &*new.recipients {
                    let (id, _) = recipients.iter().find(|(_, of)| *of == key).unwrap();
                    ids.push(id.clone());
                }
                let sender_id = id();
                let chunk = Chunk {
                    key: new.sender_key,
                    size: new.size,
                    digest: (&new.digest[..]).try_into().unwrap(),
                    recipients,
                    bytes: None,
                };
                chunks.insert(sender_id.clone(), chunk);
                Ok(Outcome::Created {
                    sender_id,
                    recipient_ids: ids,
                })
            }
            Question::AddRecipients(party, keys) => {
                let chunk = sender(chunks, party).ok_or_else(unknown)?;
                let ids: Vec<_> = keys.iter().map(|_| id()).collect();
                let added = ids.iter().cloned().zip(keys.iter().cloned());
                chunk.recipients.extend(added);
                Ok(Outcome::Added(ids))
            }
            Question::Upload(party, part) => {
                let chunk = sender(chunks, party).ok_or_else(unknown)?;
                let place = self.disk.get(&part.file);
                let encrypted = place.and_then(|place| place.encrypted.as_ref());
                let offset = usize::try_from(part.offset).unwrap();
                let bytes = encrypted
                    .and_then(|all| all.get(offset..offset + usize::try_from(part.size).unwrap()));
                let bytes = bytes.ok_or_else(|| Failure::FileIo("gone".into()))?;
                assert_eq!((part.size, sha256(bytes)), (chunk.size, chunk.digest));
                chunk.bytes = Some(bytes.to_vec());
                Ok(Outcome::Done)
            }
            Question::Download(party, part, digest) => {
                let mut all = chunks.values();
                let public = party.key.public_key();
                let chunk = all.find(|chunk| chunk.recipients.get(&party.id) == Some(&public));
                let chunk = chunk.ok_or_else(unknown)?;
                let bytes = chunk.bytes.as_ref();
                let bytes = bytes.ok_or_else(|| refusal(ErrorType::NoFile))?;
                if sha256(bytes) != *digest {
                    return Err(Failure::Request(RequestError::Digest));
                }
                let place = self.disk.entry(part.file.clone()).or_default();
                let encrypted = place.encrypted.get_or_insert_default();
                let offset = usize::try_from(part.offset).unwrap();
                let end = offset + bytes.len();
                encrypted.resize(encrypted.len().max(end), 0);
                encrypted[offset..end].copy_from_slice(bytes);
                Ok(Outcome::Done)
            }
            Question::Delete(party) => {
                sender(chunks, party).ok_or_else(unknown)?;
                chunks.remove(&party.id);
                Ok(Outcome::Done)
            }
        }
    }
}

pub(crate) fn receive(text: &DescriptionText, relays: Relays) -> Command {
    Command::Receive {
        file: None,
        user: USER,
        description: Box::new(text.description().unwrap()),
        local: None,
        relays,
    }
}

fn sender<'a>(chunks: &'a mut BTreeMap<EntityId, Chunk>, party: &Party) -> Option<&'a mut Chunk> {
    let chunk = chunks.get_mut(&party.id)?;
    (chunk.key == party.key.public_key()).then_some(chunk)
}

fn content_of(seed: &[u8], chunks: u32) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(chunks * CHUNK).unwrap()];
    Rng::from_seed(sha256(seed)).fill(&mut bytes);
    bytes
}

pub(crate) fn sha512(bytes: &[u8]) -> FileDigest {
    let mut digest = Sha512::new();
    digest.update(bytes);
    digest.finish()
}
