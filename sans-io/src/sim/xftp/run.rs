//! A run: clients, faults and time, against a model of what was promised.
#![expect(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "a run that does not go on is a finding"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::operation::{CLIENTS, FILES, Operation};
use super::{Break, Pace, Room, Side, Storing, World};
use crate::crypto::hash::sha256;
use crate::crypto::{AuthPrivateKey, ed25519};
use crate::rng::Rng;
use crate::sim::{Direction, Trace};
use crate::smp::{BlockingInfo, BlockingReason};
use crate::time::Instant;
use crate::wire::{EntityId, NonEmpty, Short};
use crate::xftp::client::{
    Answer, Ask, Attempts, Call, Event, Request, RequestError, RequestId, Verdict,
};
use crate::xftp::router::{Config, ConnId, Expiration, Operation as OfOperator};
use crate::xftp::{BLOCK, ErrorType, NewFile};

const SIZE: u32 = 1 << 16;
const TTL: Duration = Duration::from_secs(48 * 3600);
/// How often a client asks for the same.
const ATTEMPTS: u32 = 4;
const STEPS: usize = 400;
/// How many streams the handshake has.
const HANDSHAKE: u64 = 2;

/// What was seen in a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Files that were created.
    pub created: u64,
    /// Chunks that were uploaded.
    pub uploaded: u64,
    /// Chunks that were downloaded.
    pub downloaded: u64,
    /// Requests that were asked again.
    pub asked_again: u64,
    /// Crashes of the router.
    pub crashes: u64,
    /// Connections that broke in their handshake.
    pub broken_handshakes: u64,
    /// Connections that broke in a request's block, or before it.
    pub broken_requests: u64,
    /// Connections that broke in the body of an upload.
    pub broken_uploads: u64,
    /// Connections that broke in a response's block, or before it.
    pub broken_responses: u64,
    /// Connections that broke in the body of a download.
    pub broken_downloads: u64,
}

impl Seen {
    /// Adds what was seen in another run.
    pub fn add(&mut self, other: &Self) {
        self.created += other.created;
        self.uploaded += other.uploaded;
        self.downloaded += other.downloaded;
        self.asked_again += other.asked_again;
        self.crashes += other.crashes;
        self.broken_handshakes += other.broken_handshakes;
        self.broken_requests += other.broken_requests;
        self.broken_uploads += other.broken_uploads;
        self.broken_responses += other.broken_responses;
        self.broken_downloads += other.broken_downloads;
    }

    fn broken(&mut self, place: Break) {
        let count = match (place.at, place.arrived < BLOCK) {
            _ if place.stream < HANDSHAKE => &mut self.broken_handshakes,
            (Side::Server, true) => &mut self.broken_requests,
            (Side::Server, false) => &mut self.broken_uploads,
            (Side::Client, true) => &mut self.broken_responses,
            (Side::Client, false) => &mut self.broken_downloads,
        };
        *count += 1;
    }
}

/// Lets clients of a router do as this seed says, and checks what they are told.
pub fn run(seed: u64, trace: &mut Trace) -> Seen {
    let mut rng = crate::sim::rng(seed);
    let quota = match seed % 3 {
        0 => None,
        odd => Some(odd * 2),
    };
    let mut run = Run::new(quota, CLIENTS, rng.fork());
    for _ in 0..STEPS {
        run.step(Operation::draw(&mut rng), trace);
    }
    run.finish()
}

/// Clients that want something of a router, and ask again where that does no harm.
///
/// What was promised is kept across everything that happens: a chunk that was uploaded can be downloaded whole, until somebody deletes or
/// blocks it or it is too old, and what was deleted stays deleted. Nothing that was asked for once is there twice. At rest, room and disk are
/// those of the records.
pub(crate) struct Run {
    world: World,
    rng: Rng,
    clients: Vec<ConnId>,
    files: Vec<File>,
    asked: BTreeMap<RequestId, Errand>,
    /// What is to be asked again.
    again: Vec<Errand>,
    next: u64,
    seen: Seen,
}

/// What a client wants, until it is done or given up.
struct Errand {
    client: usize,
    file: usize,
    asked: Asked,
    attempts: Attempts,
    /// How much of an upload is given.
    most: usize,
    data: Vec<u8>,
    /// Whether the file was deleted when this was asked: what is asked at the same time has no order.
    deleted: Promise,
}

#[derive(Debug, Clone)]
enum Asked {
    Create(Box<NewFile>),
    AddRecipient(Key),
    Upload,
    /// By this recipient.
    Download(usize),
    Delete,
    Acknowledge,
}

type Key = Arc<AuthPrivateKey>;

#[derive(Debug)]
struct File {
    since: Instant,
    chunk: Bytes,
    key: Key,
    sender: EntityId,
    /// Those that the router has named.
    recipients: Vec<(EntityId, Key)>,
    /// All that it was asked for.
    keys: Vec<Key>,
    uploaded: Promise,
    deleted: Promise,
    blocked: Promise,
    /// Whether the second recipient is gone.
    acknowledged: Promise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Promise {
    None,
    /// It was asked for, and may be done or not.
    Possible,
    Given,
}

impl Promise {
    fn may_be(&mut self) {
        *self = (*self).max(Self::Possible);
    }
}

impl Run {
    /// So many clients of a router that has room for so many chunks.
    pub(crate) fn new(quota: Option<u64>, clients: usize, mut rng: Rng) -> Self {
        let config = Config {
            quota: quota.map(|chunks| chunks * u64::from(SIZE)),
            expiration: Some(Expiration {
                ttl: TTL,
                check: Duration::from_secs(7200),
            }),
            ..Config::default()
        };
        let mut world = World::new(config, rng.fork());
        Self {
            clients: (0..clients).map(|_| world.connect()).collect(),
            world,
            rng,
            files: Vec::new(),
            asked: BTreeMap::new(),
            again: Vec::new(),
            next: 0,
            seen: Seen::default(),
        }
    }

    /// Lets something happen.
    pub(crate) fn step(&mut self, operation: Operation, trace: &mut Trace) {
        let at = self.world.now().instant;
        trace.record(at, "run", Direction::Input, format_args!("{operation:?}"));
        match operation {
            Operation::Create { client } => self.create(client),
            Operation::AddRecipient { client, file } => {
                if let Some(file) = self.known(file) {
                    let key = self.key();
                    self.files[file].keys.push(Arc::clone(&key));
                    self.want(client, file, Asked::AddRecipient(key), 0);
                }
            }
            Operation::Upload { client, file, most } => {
                if let Some(file) = self.known(file) {
                    self.files[file].uploaded.may_be();
                    self.want(client, file, Asked::Upload, most);
                }
            }
            Operation::Download { client, file } => {
                if let Some(file) = self.known(file) {
                    self.want(client, file, Asked::Download(0), 0);
                }
            }
            Operation::Acknowledge { client, file } => {
                if let Some(file) = self.known(file) {
                    self.files[file].acknowledged.may_be();
                    self.want(client, file, Asked::Acknowledge, 0);
                }
            }
            Operation::Delete { client, file } => {
                if let Some(file) = self.known(file) {
                    self.files[file].deleted.may_be();
                    self.want(client, file, Asked::Delete, 0);
                }
            }
            Operation::Break {
                client,
                at_router,
                at_client,
            } => {
                let conn = self.clients[client % self.clients.len()];
                self.world.break_after(conn, at_router, at_client);
            }
            Operation::Cut { client } => {
                let conn = self.clients[client % self.clients.len()];
                self.world.cut(conn);
            }
            Operation::Connect {
                client,
                at_router,
                at_client,
            } => {
                let client = client % self.clients.len();
                self.leave(client);
                self.clients[client] = self.world.connect_breaking(at_router, at_client);
            }
            Operation::Reset { client, stream } => {
                let conn = self.clients[client % self.clients.len()];
                self.world.reset(conn, stream);
            }
            Operation::Crash => {
                self.world.crash();
                self.seen.crashes += 1;
            }
            Operation::Block { file } => self.block(file),
            Operation::Storing => {
                self.world.storing = match self.world.storing {
                    Storing::Works => Storing::Fails,
                    Storing::Fails => Storing::Works,
                };
            }
            Operation::Room => {
                self.world.room = match self.world.room {
                    Room::Enough => Room::None,
                    Room::None => Room::Enough,
                };
            }
            Operation::Pace => {
                self.world.pace = match self.world.pace {
                    Pace::Works => Pace::Stuck,
                    Pace::Stuck => Pace::Works,
                };
            }
            Operation::Mend => self.mend(),
            Operation::Wait(duration) => self.world.wait(duration),
            Operation::Step(count) => {
                for _ in 0..=count {
                    self.world.step();
                }
            }
            Operation::Settle => self.settle(),
        }
        self.hear();
    }

    const fn mend(&mut self) {
        self.world.storing = Storing::Works;
        self.world.room = Room::Enough;
        self.world.pace = Pace::Works;
    }

    /// A client hears the end of its connection.
    fn leave(&mut self, client: usize) {
        let conn = self.clients[client];
        self.world.cut(conn);
        for event in self.world.events(conn) {
            self.heard(conn, event);
        }
    }

    /// A file that its sender knows.
    fn known(&self, file: usize) -> Option<usize> {
        let file = file.checked_rem(self.files.len())?;
        (!self.files[file].sender.is_empty()).then_some(file)
    }

    fn key(&mut self) -> Key {
        Arc::new(ed25519::PrivateKey::generate(&mut self.rng).into())
    }

    fn create(&mut self, client: usize) {
        if self.files.len() >= FILES {
            return;
        }
        let mut chunk = vec![0; usize::try_from(SIZE).expect("small")];
        self.rng.fill(&mut chunk);
        let (key, keys) = (self.key(), vec![self.key(), self.key()]);
        let public: Vec<_> = keys.iter().map(|key| key.public_key()).collect();
        let new = NewFile {
            sender_key: key.public_key(),
            size: SIZE,
            digest: Short::try_from(&sha256(&chunk)).expect("short"),
            recipients: NonEmpty::try_from(public).expect("two"),
            password: None,
        };
        self.files.push(File {
            since: self.world.now().instant,
            chunk: chunk.into(),
            key,
            sender: EntityId::EMPTY,
            recipients: Vec::new(),
            keys,
            uploaded: Promise::None,
            deleted: Promise::None,
            blocked: Promise::None,
            acknowledged: Promise::None,
        });
        let file = self.files.len() - 1;
        self.want(client, file, Asked::Create(Box::new(new)), 0);
    }

    fn block(&mut self, file: usize) {
        let Some(file) = self.known(file) else {
            return;
        };
        let file = &mut self.files[file];
        file.blocked.may_be();
        let info = BlockingInfo {
            reason: BlockingReason::Content,
            notice: None,
        };
        let id = file.recipients[0].0.clone();
        self.world.operate(self.next, OfOperator::Block(id, info));
    }

    fn want(&mut self, client: usize, file: usize, asked: Asked, most: usize) {
        let errand = Errand {
            client: client % self.clients.len(),
            file,
            attempts: Attempts::of(&ask(&asked, &self.files[file]), ATTEMPTS),
            asked,
            most,
            data: Vec::new(),
            deleted: self.files[file].deleted,
        };
        self.send(errand);
    }

    fn send(&mut self, mut errand: Errand) {
        let file = &self.files[errand.file];
        let (entity, key) = match &errand.asked {
            Asked::Create(_) => (EntityId::EMPTY, &file.key),
            Asked::AddRecipient(_) | Asked::Upload | Asked::Delete => {
                (file.sender.clone(), &file.key)
            }
            Asked::Download(by) => (file.recipients[*by].0.clone(), &file.recipients[*by].1),
            Asked::Acknowledge => (file.recipients[1].0.clone(), &file.recipients[1].1),
        };
        let id = RequestId(self.next);
        let request = Request::new(id, ask(&errand.asked, file))
            .about(entity)
            .authorized_by(Arc::clone(key));
        let conn = self.clients[errand.client];
        if !self.world.call(conn, Call::Send(request)) {
            return self.again.push(errand);
        }
        self.next += 1;
        if let Asked::Upload = errand.asked {
            let given = file.chunk.slice(..file.chunk.len().min(errand.most));
            for piece in given.chunks(16384) {
                let bytes = given.slice_ref(piece);
                self.world.call(conn, Call::Upload { request: id, bytes });
            }
            errand.most = usize::MAX;
        }
        errand.data.clear();
        self.asked.insert(id, errand);
    }

    fn settle(&mut self) {
        loop {
            self.world.settle();
            if !self.hear() {
                return;
            }
        }
    }

    /// Whether a client was told anything. Whoever has lost his connection makes another one.
    fn hear(&mut self) -> bool {
        let mut heard = false;
        for client in 0..self.clients.len() {
            let conn = self.clients[client];
            let is_open = self.world.is_open(conn);
            for event in self.world.events(conn) {
                heard = true;
                self.heard(conn, event);
            }
            if !is_open {
                self.clients[client] = self.world.connect();
            }
        }
        for errand in std::mem::take(&mut self.again) {
            heard = true;
            self.send(errand);
        }
        heard
    }

    fn heard(&mut self, conn: ConnId, event: Event) {
        match event {
            Event::Data { request, bytes } => {
                if let Some(errand) = self.asked.get_mut(&request) {
                    errand.data.extend_from_slice(&bytes);
                }
                let bytes = bytes.len();
                self.world.call(conn, Call::Credit { request, bytes });
            }
            Event::Response { request, result } => {
                let mut errand = self.asked.remove(&request).expect("one response to each");
                match errand.attempts.judge(result) {
                    Verdict::Done(answer) => self.done(&errand, answer),
                    Verdict::Again => {
                        self.seen.asked_again += 1;
                        self.again.push(errand);
                    }
                    Verdict::Failed(error) => assert!(is_by_rule(error), "{error:?}"),
                }
            }
            Event::Established(_) | Event::Taken { .. } => {}
        }
    }

    fn done(&mut self, errand: &Errand, answer: Answer) {
        let file = &mut self.files[errand.file];
        let before = errand.deleted;
        match (&errand.asked, answer) {
            (
                Asked::Create(_),
                Answer::Created {
                    sender_id,
                    recipient_ids,
                },
            ) => {
                file.sender = sender_id;
                let ids = recipient_ids.into_vec().into_iter();
                file.recipients = ids.zip(file.keys.clone()).collect();
                self.seen.created += 1;
            }
            (Asked::AddRecipient(key), Answer::Added(ids)) => {
                let ids = ids.into_vec().into_iter();
                file.recipients.extend(ids.map(|id| (id, Arc::clone(key))));
            }
            (Asked::Upload, Answer::Done) => {
                assert_ne!(before, Promise::Given, "a deleted file takes a chunk");
                file.uploaded = Promise::Given;
                self.seen.uploaded += 1;
            }
            (Asked::Download(_), Answer::Downloaded) => {
                assert_ne!(before, Promise::Given, "a deleted file is there");
                assert_ne!(file.uploaded, Promise::None, "nothing was uploaded");
                assert_eq!(errand.data, file.chunk, "another chunk comes");
                self.seen.downloaded += 1;
            }
            (Asked::Delete, Answer::Done) => file.deleted = Promise::Given,
            (Asked::Acknowledge, Answer::Done) => file.acknowledged = Promise::Given,
            (asked, answer) => panic!("{answer:?} to {asked:?}"),
        }
    }

    /// Everything works again: everybody is answered, nothing is left behind, and what was promised is there.
    pub(crate) fn finish(mut self) -> Seen {
        self.mend();
        self.settle();
        let mut rounds = 0;
        while !self.asked.is_empty() {
            // What nobody goes on with is given up.
            self.world.wait(Duration::from_secs(61));
            self.settle();
            rounds += 1;
            assert!(rounds < 100, "somebody waits for ever");
        }
        for conn in std::mem::take(&mut self.clients) {
            self.world.cut(conn);
        }
        self.rest();
        self.find_doubles();
        for file in 0..self.files.len() {
            for recipient in 0..self.files[file].recipients.len() {
                self.ask_for_promise(file, recipient);
            }
        }
        for place in std::mem::take(&mut self.world.breaks) {
            self.seen.broken(place);
        }
        self.seen
    }

    fn rest(&mut self) {
        self.world.settle();
        assert_eq!(self.world.faults(), Vec::<&str>::new());
    }

    /// Nothing was done twice that a client has asked for once.
    fn find_doubles(&self) {
        for file in &self.files {
            let key = file.key.public_key();
            let records = self.world.store.records();
            let files = records.filter(|record| record.sender_key == key).count();
            assert!(files <= 1, "a file was created {files} times");
            for key in file.keys.iter().map(|key| key.public_key()) {
                let recipients = self.world.store.recipients();
                let recipients = recipients.filter(|recipient| recipient.key == key).count();
                assert!(recipients <= 1, "a recipient was added {recipients} times");
            }
        }
    }

    /// A recipient downloads the chunk, or is told why not.
    fn ask_for_promise(&mut self, number: usize, recipient: usize) {
        let file = &self.files[number];
        let (id, key) = file.recipients[recipient].clone();
        let conn = self.world.connect();
        let wanted = RequestId(0);
        let request = Request::new(wanted, ask(&Asked::Download(recipient), file));
        let request = request.about(id).authorized_by(key);
        self.world.call(conn, Call::Send(request));
        let mut data = Vec::new();
        let outcome = loop {
            self.world.settle();
            let events = self.world.events(conn);
            assert!(!events.is_empty(), "a request was not answered");
            let mut outcome = None;
            for event in events {
                match event {
                    Event::Data { request, bytes } => {
                        data.extend_from_slice(&bytes);
                        let bytes = bytes.len();
                        self.world.call(conn, Call::Credit { request, bytes });
                    }
                    Event::Response { result, .. } => outcome = Some(result),
                    Event::Established(_) | Event::Taken { .. } => {}
                }
            }
            if let Some(outcome) = outcome {
                break outcome;
            }
        };
        let age = self.world.now().instant - self.files[number].since;
        self.files[number].judge(recipient, age, outcome, &data);
        // Whoever goes leaves nothing behind.
        self.world.cut(conn);
        self.rest();
    }
}

impl File {
    /// Whether this may become of a download when nothing goes wrong any more.
    fn judge(
        &self,
        recipient: usize,
        age: Duration,
        outcome: Result<Answer, RequestError>,
        data: &[u8],
    ) {
        let acknowledged = match recipient {
            1 => self.acknowledged,
            _ => Promise::None,
        };
        let gone = self.deleted.max(acknowledged);
        match outcome {
            Ok(Answer::Downloaded) => {
                assert_ne!(gone, Promise::Given, "what was deleted is there");
                assert_ne!(self.uploaded, Promise::None, "nothing was uploaded");
                assert_eq!(data, self.chunk, "another chunk comes");
            }
            Err(RequestError::Protocol(ErrorType::NoFile)) => {
                assert_ne!(self.uploaded, Promise::Given, "a chunk is lost");
            }
            Err(RequestError::Protocol(ErrorType::Auth)) => {
                let may_be = gone != Promise::None || age >= TTL;
                assert!(may_be, "a file is lost");
            }
            Err(RequestError::Protocol(ErrorType::Blocked { .. })) => {
                assert_ne!(self.blocked, Promise::None, "nobody has blocked it");
            }
            other => panic!("{other:?}"),
        }
    }
}

fn ask(asked: &Asked, file: &File) -> Ask {
    match asked {
        Asked::Create(new) => Ask::Create(new.clone()),
        Asked::AddRecipient(key) => Ask::AddRecipients(NonEmpty::one(key.public_key())),
        Asked::Upload => Ask::Upload { size: SIZE },
        Asked::Download(_) => Ask::Download {
            size: SIZE,
            digest: sha256(&file.chunk),
        },
        Asked::Delete => Ask::Delete,
        Asked::Acknowledge => Ask::Acknowledge,
    }
}

/// Whether a client that does no wrong may be told this, though everything goes wrong around it.
const fn is_by_rule(error: RequestError) -> bool {
    match error {
        RequestError::Refused
        | RequestError::Disconnected
        | RequestError::TimedOut
        | RequestError::Protocol(
            ErrorType::Auth
            | ErrorType::NoFile
            | ErrorType::Quota
            | ErrorType::Blocked { .. }
            | ErrorType::FileIo
            | ErrorType::Timeout
            | ErrorType::Internal,
        ) => true,
        RequestError::NotAccepted
        | RequestError::NoSessionKey
        | RequestError::TooLarge
        | RequestError::Cancelled
        | RequestError::Protocol(_)
        | RequestError::Status(_)
        | RequestError::Malformed
        | RequestError::Unexpected(_)
        | RequestError::Size
        | RequestError::Crypto
        | RequestError::Digest => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_run() {
        for seed in 0..3 {
            let once = || {
                let mut trace = Trace::text();
                let seen = run(seed, &mut trace);
                (seen, trace.lines().to_vec())
            };
            assert_eq!(once(), once());
        }
    }

    #[test]
    fn connections_break_everywhere() {
        let mut all = Seen::default();
        for seed in 0..30 {
            all.add(&run(seed, &mut Trace::nothing()));
        }
        assert!(all.created > 90 && all.crashes > 60, "{all:?}");
        assert!(all.uploaded > 60 && all.downloaded > 60, "{all:?}");
        assert!(
            all.broken_requests > 20 && all.broken_uploads > 20,
            "{all:?}"
        );
        assert!(
            all.broken_responses > 20 && all.broken_downloads > 20,
            "{all:?}"
        );
        assert!(all.broken_handshakes > 40, "{all:?}");
        assert!(all.asked_again > 100, "{all:?}");
    }
}
