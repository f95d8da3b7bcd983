use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::crypto::{AuthPrivateKey, ed25519, hash::sha256};
use crate::rng::Rng;
use crate::sim::xftp::{Room, Storing, World};
use crate::smp::{BlockingInfo, BlockingReason};
use crate::wire::{NonEmpty, Short};
use crate::xftp::NewFile;
use crate::xftp::chunk::ChunkSize;
use crate::xftp::client::{self, Answer, Ask, Call, RequestError, RequestId};

const SIZE: u32 = ChunkSize::Kb64.bytes();

/// A file as its sender and recipients know it.
#[derive(Debug, Clone)]
struct File {
    chunk: Bytes,
    sender: (EntityId, Arc<AuthPrivateKey>),
    recipients: Vec<(EntityId, Arc<AuthPrivateKey>)>,
}

struct Net {
    world: World,
    rng: Rng,
    next: u64,
}

type Outcome = Result<Answer, RequestError>;

impl Net {
    fn new(config: Config) -> Self {
        let mut rng = Rng::from_seed([7; 32]);
        Self {
            world: World::new(config, rng.fork()),
            rng,
            next: 0,
        }
    }

    fn key(&mut self) -> Arc<AuthPrivateKey> {
        Arc::new(ed25519::PrivateKey::generate(&mut self.rng).into())
    }

    /// Asks without waiting.
    fn send(
        &mut self,
        conn: ConnId,
        ask: Ask,
        party: Option<&(EntityId, Arc<AuthPrivateKey>)>,
    ) -> RequestId {
        let id = RequestId(self.next);
        self.next += 1;
        let mut request = client::Request::new(id, ask);
        if let Some((entity, key)) = party {
            request = request.about(entity.clone()).authorized_by(Arc::clone(key));
        }
        self.world.call(conn, Call::Send(request));
        id
    }

    fn upload(&mut self, conn: ConnId, file: &File, chunk: &Bytes) -> RequestId {
        let request = self.send(conn, Ask::Upload { size: SIZE }, Some(&file.sender));
        for piece in chunk.chunks(16384) {
            let bytes = Bytes::copy_from_slice(piece);
            self.world.call(conn, Call::Upload { request, bytes });
        }
        request
    }

    /// What became of a request, and what was downloaded with it.
    fn outcome(&mut self, conn: ConnId, wanted: RequestId) -> (Option<Outcome>, Vec<u8>) {
        let mut data = Vec::new();
        let mut outcome = None;
        loop {
            self.world.settle();
            let events = self.world.events(conn);
            if events.is_empty() {
                return (outcome, data);
            }
            for event in events {
                match event {
                    client::Event::Data { request, bytes } => {
                        data.extend_from_slice(&bytes);
                        let bytes = bytes.len();
                        self.world.call(conn, Call::Credit { request, bytes });
                    }
                    client::Event::Response { request, result } if request == wanted => {
                        outcome = Some(result);
                    }
                    client::Event::Response { .. }
                    | client::Event::Established(_)
                    | client::Event::Taken { .. } => {}
                }
            }
        }
    }

    fn ask(
        &mut self,
        conn: ConnId,
        ask: Ask,
        party: Option<&(EntityId, Arc<AuthPrivateKey>)>,
    ) -> Outcome {
        let request = self.send(conn, ask, party);
        self.outcome(conn, request).0.unwrap()
    }

    fn new_file(
        &mut self,
        recipients: usize,
    ) -> (
        NewFile,
        Bytes,
        Arc<AuthPrivateKey>,
        Vec<Arc<AuthPrivateKey>>,
    ) {
        let mut chunk = vec![0; SIZE as usize];
        self.rng.fill(&mut chunk);
        let sender = self.key();
        let keys: Vec<_> = (0..recipients).map(|_| self.key()).collect();
        let public: Vec<_> = keys.iter().map(|key| key.public_key()).collect();
        let file = NewFile {
            sender_key: sender.public_key(),
            size: SIZE,
            digest: Short::try_from(&sha256(&chunk)).unwrap(),
            recipients: NonEmpty::try_from(public).unwrap(),
            password: None,
        };
        (file, chunk.into(), sender, keys)
    }

    fn create(&mut self, conn: ConnId) -> File {
        let (file, chunk, sender, keys) = self.new_file(2);
        let key = (EntityId::EMPTY, Arc::clone(&sender));
        let Ok(Answer::Created {
            sender_id,
            recipient_ids,
        }) = self.ask(conn, Ask::Create(Box::new(file)), Some(&key))
        else {
            panic!("a file is created");
        };
        File {
            chunk,
            sender: (sender_id, sender),
            recipients: recipient_ids.into_vec().into_iter().zip(keys).collect(),
        }
    }

    fn put(&mut self, conn: ConnId, file: &File) -> Outcome {
        let request = self.upload(conn, file, &file.chunk.clone());
        self.outcome(conn, request).0.unwrap()
    }

    fn get(&mut self, conn: ConnId, file: &File) -> Result<Vec<u8>, RequestError> {
        let ask = Ask::Download {
            size: SIZE,
            digest: sha256(&file.chunk),
        };
        let request = self.send(conn, ask, Some(&file.recipients[0]));
        let (outcome, data) = self.outcome(conn, request);
        outcome.unwrap().map(|_| data)
    }

    #[track_caller]
    fn assert_empty(&self) {
        let gauges = Gauges {
            downloaded: Downloaded::default(),
            counting_since: UnixTime::default(),
            ..self.world.router().gauges()
        };
        assert_eq!(gauges, Gauges::default());
    }

    #[track_caller]
    fn assert_sound(&mut self) {
        self.world.settle();
        assert_eq!(self.world.faults(), Vec::<&str>::new());
    }
}

fn refused(error: ErrorType) -> Outcome {
    Err(RequestError::Protocol(error))
}

const AUTH: RequestError = RequestError::Protocol(ErrorType::Auth);

#[test]
fn a_chunk_is_created_uploaded_downloaded_acknowledged_and_deleted() {
    let mut net = Net::new(Config::default());
    let (sender, recipient) = (net.world.connect(), net.world.connect());
    let file = net.create(sender);
    assert_eq!(
        net.get(recipient, &file),
        Err(RequestError::Protocol(ErrorType::NoFile))
    );
    assert_eq!(net.put(sender, &file), Ok(Answer::Done));
    for _ in 0..2 {
        assert_eq!(net.get(recipient, &file).unwrap(), file.chunk);
    }
    let first = file.recipients[0].clone();
    assert_eq!(
        net.ask(recipient, Ask::Acknowledge, Some(&first)),
        Ok(Answer::Done)
    );
    assert_eq!(
        net.ask(recipient, Ask::Acknowledge, Some(&first)),
        Err(AUTH)
    );
    assert_eq!(net.get(recipient, &file), Err(AUTH));
    net.assert_sound();
    let gauges = net.world.router().gauges();
    assert_eq!(
        (gauges.files, gauges.recipients, gauges.used),
        (1, 1, SIZE.into())
    );

    assert_eq!(
        net.ask(sender, Ask::Delete, Some(&file.sender)),
        Ok(Answer::Done)
    );
    assert_eq!(net.ask(sender, Ask::Delete, Some(&file.sender)), Err(AUTH));
    assert_eq!(net.put(sender, &file), Err(AUTH));
    net.assert_sound();
    net.assert_empty();
    let counters = net.world.router().counters();
    assert_eq!(
        (
            counters.files_uploaded,
            counters.file_downloads,
            counters.files_deleted
        ),
        (1, 2, 1)
    );
}

#[test]
fn recipients_can_be_added_at_any_time() {
    let mut net = Net::new(Config {
        max_recipients: 4,
        ..Config::default()
    });
    let conn = net.world.connect();
    let mut file = net.create(conn);
    let keys = [net.key(), net.key()];
    let public = keys.iter().map(|key| key.public_key()).collect::<Vec<_>>();
    let ask = Ask::AddRecipients(NonEmpty::try_from(public).unwrap());
    let Ok(Answer::Added(ids)) = net.ask(conn, ask.clone(), Some(&file.sender)) else {
        panic!("recipients are added");
    };
    assert_eq!(net.put(conn, &file), Ok(Answer::Done));
    for party in ids.into_vec().into_iter().zip(keys) {
        file.recipients = vec![party];
        assert_eq!(net.get(conn, &file).unwrap(), file.chunk);
    }
    let stranger = (file.sender.0.clone(), net.key());
    assert_eq!(net.ask(conn, ask.clone(), Some(&stranger)), Err(AUTH));
    assert_eq!(
        net.ask(conn, ask, Some(&file.sender)),
        refused(ErrorType::Quota)
    );
    net.assert_sound();
}

#[test]
fn what_may_not_be_created_is_refused() {
    let password: BasicAuth = "secret".parse().unwrap();
    let cases = [
        (NewFiles::Allowed, Some("whatever"), None),
        (NewFiles::Refused, None, Some(ErrorType::Auth)),
        (
            NewFiles::WithPassword(password.clone()),
            None,
            Some(ErrorType::Auth),
        ),
        (
            NewFiles::WithPassword(password.clone()),
            Some("other"),
            Some(ErrorType::Auth),
        ),
        (NewFiles::WithPassword(password), Some("secret"), None),
    ];
    for (new_files, offered, error) in cases {
        let mut net = Net::new(Config {
            new_files,
            ..Config::default()
        });
        let conn = net.world.connect();
        let (mut file, _, sender, _) = net.new_file(1);
        file.password = offered.map(|password| password.parse().unwrap());
        let key = (EntityId::EMPTY, sender);
        let outcome = net.ask(conn, Ask::Create(Box::new(file.clone())), Some(&key));
        assert_eq!(outcome.err(), error.map(RequestError::Protocol));
        file.size = 96 * 1024;
        if error.is_none() {
            let outcome = net.ask(conn, Ask::Create(Box::new(file)), Some(&key));
            assert_eq!(outcome, refused(ErrorType::Size));
        }
        net.assert_sound();
    }
}

#[test]
fn a_chunk_that_is_not_the_announced_one_is_refused_and_leaves_nothing() {
    let mut net = Net::new(Config::default());
    let conn = net.world.connect();
    let file = net.create(conn);
    let other = Bytes::from(vec![1; SIZE as usize]);
    let request = net.upload(conn, &file, &other);
    assert_eq!(
        net.outcome(conn, request).0,
        Some(refused(ErrorType::Digest))
    );
    net.assert_sound();
    let request = net.upload(conn, &file, &file.chunk.slice(..1000));
    net.world.call(conn, Call::Cancel(request));
    net.assert_sound();
    assert_eq!(net.put(conn, &file), Ok(Answer::Done));
    net.assert_sound();
}

#[test]
fn a_second_upload_is_read_and_the_first_one_stays() {
    let mut net = Net::new(Config {
        quota: Some(SIZE.into()),
        ..Config::default()
    });
    let conn = net.world.connect();
    let file = net.create(conn);
    assert_eq!(net.put(conn, &file), Ok(Answer::Done));
    let other = Bytes::from(vec![1; SIZE as usize]);
    let request = net.upload(conn, &file, &other);
    assert_eq!(net.outcome(conn, request).0, Some(Ok(Answer::Done)));
    assert_eq!(net.get(conn, &file).unwrap(), file.chunk);
    net.assert_sound();
}

#[test]
fn uploads_of_one_chunk_at_the_same_time_do_not_harm_each_other() {
    let mut net = Net::new(Config::default());
    let (one, two) = (net.world.connect(), net.world.connect());
    let file = net.create(one);
    let first = net.send(one, Ask::Upload { size: SIZE }, Some(&file.sender));
    net.world.settle();
    net.world.call(
        one,
        Call::Upload {
            request: first,
            bytes: file.chunk.slice(..1000),
        },
    );
    net.world.settle();
    let second = net.upload(two, &file, &file.chunk.clone());
    assert_eq!(net.outcome(two, second).0, Some(Ok(Answer::Done)));
    assert_eq!(net.world.router().gauges().reserved, u64::from(SIZE));
    net.world.call(
        one,
        Call::Upload {
            request: first,
            bytes: file.chunk.slice(1000..),
        },
    );
    assert_eq!(net.outcome(one, first).0, Some(Ok(Answer::Done)));
    assert_eq!(net.get(two, &file).unwrap(), file.chunk);
    net.assert_sound();
    assert_eq!(net.world.router().counters().files_uploaded, 1);
}

#[test]
fn the_quota_counts_chunks_and_uploads_and_is_free_again() {
    let mut net = Net::new(Config {
        quota: Some(u64::from(SIZE) * 2),
        ..Config::default()
    });
    let (conn, lost) = (net.world.connect(), net.world.connect());
    let files = [net.create(conn), net.create(conn), net.create(conn)];
    assert_eq!(net.put(conn, &files[0]), Ok(Answer::Done));
    // One that has begun has its room …
    net.upload(lost, &files[1], &files[1].chunk.slice(..1000));
    net.world.settle();
    assert_eq!(net.put(conn, &files[2]), refused(ErrorType::Quota));
    // … until its connection ends.
    net.world.cut(lost);
    assert_eq!(net.put(conn, &files[2]), Ok(Answer::Done));
    assert_eq!(net.put(conn, &files[1]), refused(ErrorType::Quota));
    assert_eq!(
        net.ask(conn, Ask::Delete, Some(&files[0].sender)),
        Ok(Answer::Done)
    );
    assert_eq!(net.put(conn, &files[1]), Ok(Answer::Done));
    net.assert_sound();
}

#[test]
fn a_blocked_file_takes_no_room_and_is_not_subtracted_twice() {
    let mut net = Net::new(Config::default());
    let conn = net.world.connect();
    let (file, other) = (net.create(conn), net.create(conn));
    assert_eq!(net.put(conn, &file), Ok(Answer::Done));
    assert_eq!(net.put(conn, &other), Ok(Answer::Done));
    let info = BlockingInfo {
        reason: BlockingReason::Spam,
        notice: None,
    };
    let id = file.recipients[1].0.clone();
    net.world.operate(1, Operation::Block(id, info));
    net.world
        .operate(2, Operation::Block(EntityId::from([9; 24]), info));
    net.assert_sound();
    let operated = std::mem::take(&mut net.world.operated);
    assert!(operated.contains(&(Ticket(1), super::Outcome::Done)));
    assert!(operated.contains(&(Ticket(2), super::Outcome::NotFound)));
    let blocked = RequestError::Protocol(ErrorType::Blocked { info });
    assert_eq!(net.get(conn, &file), Err(blocked));
    assert_eq!(net.ask(conn, Ask::Delete, Some(&file.sender)), Err(blocked));
    assert_eq!(net.world.router().gauges().used, u64::from(SIZE));
    net.world.wait(Duration::from_secs(60 * 3600));
    net.assert_sound();
    net.assert_empty();
    assert_eq!(net.world.router().counters().files_expired, 2);
}

#[test]
fn files_expire_by_their_time_and_not_before() {
    let mut net = Net::new(Config::default());
    let conn = net.world.connect();
    let old = net.create(conn);
    assert_eq!(net.put(conn, &old), Ok(Answer::Done));
    net.world.wait(Duration::from_secs(30 * 3600));
    let young = net.create(conn);
    assert_eq!(net.put(conn, &young), Ok(Answer::Done));
    net.world.wait(Duration::from_secs(18 * 3600));
    net.assert_sound();
    assert_eq!(net.get(conn, &old).unwrap(), old.chunk);
    net.world.wait(Duration::from_secs(3 * 3600));
    net.assert_sound();
    assert_eq!(net.get(conn, &old), Err(AUTH));
    assert_eq!(net.get(conn, &young).unwrap(), young.chunk);
}

#[test]
fn many_expire_in_batches() {
    let mut net = Net::new(Config::default());
    let conn = net.world.connect();
    for _ in 0..600 {
        net.create(conn);
    }
    net.world.wait(Duration::from_secs(60 * 3600));
    net.assert_sound();
    assert_eq!(net.world.router().gauges().files, 0);
    assert_eq!(net.world.router().counters().files_expired, 600);
}

#[test]
fn what_was_not_stored_is_not_promised_and_totals_stay_exact() {
    let mut net = Net::new(Config::default());
    let conn = net.world.connect();
    let file = net.create(conn);
    net.world.storing = Storing::Fails;
    let internal = refused(ErrorType::Internal);
    let (new, _, sender, _) = net.new_file(1);
    let key = (EntityId::EMPTY, sender);
    assert_eq!(
        net.ask(conn, Ask::Create(Box::new(new)), Some(&key)),
        internal
    );
    assert_eq!(net.ask(conn, Ask::Delete, Some(&file.sender)), internal);
    assert_eq!(net.put(conn, &file), internal);
    net.world.storing = Storing::Works;
    assert_eq!(net.put(conn, &file), Ok(Answer::Done));
    net.assert_sound();
    assert_eq!(net.get(conn, &file).unwrap(), file.chunk);
}

#[test]
fn room_is_given_away_only_when_it_is_certain_to_be_free() {
    for seed in 0..40 {
        let config = Config {
            quota: Some(SIZE.into()),
            ..Config::default()
        };
        let mut net = Net::new(config.clone());
        net.world = World::new(config, Rng::from_seed([seed; 32]));
        let (one, two) = (net.world.connect(), net.world.connect());
        let files = [net.create(one), net.create(two)];
        net.put(one, &files[0]).unwrap();
        // While one is uploaded, another one is to be deleted, which is not stored.
        let deletion = net.send(one, Ask::Delete, Some(&files[0].sender));
        let upload = net.upload(two, &files[1], &files[1].chunk.clone());
        while net.world.router().gauges().unstored == 0 {
            assert!(net.world.step());
        }
        net.world.storing = Storing::Fails;
        while net.world.router().gauges().unstored > 0 {
            assert!(net.world.step());
        }
        net.world.storing = Storing::Works;
        let full = refused(ErrorType::Quota);
        assert_eq!(net.outcome(two, upload).0, Some(full), "{seed}");
        let internal = refused(ErrorType::Internal);
        assert_eq!(net.outcome(one, deletion).0, Some(internal), "{seed}");
        net.assert_sound();
        assert_eq!(net.get(one, &files[0]).unwrap(), files[0].chunk);
    }
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let mut net = Net::new(Config::default());
    let conn = net.world.connect();
    let file = net.create(conn);
    net.world.room = Room::None;
    assert_eq!(net.put(conn, &file), refused(ErrorType::FileIo));
    net.assert_sound();
    net.world.room = Room::Enough;
    assert_eq!(net.put(conn, &file), Ok(Answer::Done));
    net.assert_sound();
    assert_eq!(net.get(conn, &file).unwrap(), file.chunk);
}

#[test]
fn a_download_that_has_begun_ends_though_its_file_expires() {
    let mut net = Net::new(Config::default());
    let (one, two) = (net.world.connect(), net.world.connect());
    let file = net.create(one);
    net.put(one, &file).unwrap();
    // It is looked for every two hours.
    net.world.wait(Duration::from_secs(50 * 3600 - 10));
    let ask = Ask::Download {
        size: SIZE,
        digest: sha256(&file.chunk),
    };
    let request = net.send(one, ask, Some(&file.recipients[0]));
    // Until the first bytes of the chunk have come.
    while net.world.disk.opened == 0 {
        assert!(net.world.step());
    }
    net.world.wait(Duration::from_secs(20));
    while net.world.router().gauges().chunks > 0 {
        assert!(net.world.step());
    }
    let (outcome, data) = net.outcome(one, request);
    assert_eq!(outcome, Some(Ok(Answer::Downloaded)));
    assert_eq!(data, file.chunk);
    assert_eq!(net.get(two, &file), Err(AUTH));
    net.assert_sound();
    net.assert_empty();
}

#[test]
fn who_goes_before_an_upload_begins_takes_no_room() {
    let mut net = Net::new(Config::default());
    let (one, two) = (net.world.connect(), net.world.connect());
    let file = net.create(one);
    let chunk = file.chunk.clone();
    for steps in 0..12 {
        let conn = net.world.connect();
        net.upload(conn, &file, &chunk);
        for _ in 0..steps {
            net.world.step();
        }
        net.world.cut(conn);
        net.world.settle();
        let gauges = net.world.router().gauges();
        assert_eq!((gauges.uploads, gauges.reserved), (0, 0), "{steps}");
    }
    net.assert_sound();
    assert_eq!(net.put(two, &file), Ok(Answer::Done));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nothing_is_lost_or_left_behind_in_any_order_with_crashes(seed: u64) {
        let mut net = Net::new(Config { quota: Some(u64::from(SIZE) * 3), ..Config::default() });
        net.rng = Rng::from_seed(sha256(&seed.to_be_bytes()));
        net.world = World::new(Config { quota: Some(u64::from(SIZE) * 3), ..Config::default() }, net.rng.fork());
        let mut conns = vec![net.world.connect(), net.world.connect()];
        let mut files: Vec<File> = Vec::new();
        for _ in 0..40 {
            let conn = conns[net.rng.below(2) as usize];
            let file = match files.is_empty() {
                true => None,
                false => Some(files[net.rng.below(files.len() as u32) as usize].clone()),
            };
            match (net.rng.below(12), file) {
                (0, _) if files.len() < 6 => {
                    net.world.settle();
                    let file = net.create(conn);
                    files.push(file);
                }
                (1..=3, Some(file)) => { net.upload(conn, &file, &file.chunk.clone()); }
                (4, Some(file)) => { net.send(conn, Ask::Delete, Some(&file.sender)); }
                (5, Some(file)) => { net.send(conn, Ask::Acknowledge, Some(&file.recipients[1])); }
                (6, Some(file)) => {
                    let ask = Ask::Download { size: SIZE, digest: sha256(&file.chunk) };
                    net.send(conn, ask, Some(&file.recipients[0]));
                }
                (7, _) => {
                    net.world.cut(conn);
                    let new = net.world.connect();
                    for old in &mut conns {
                        if *old == conn {
                            *old = new;
                        }
                    }
                }
                (8, _) if net.rng.below(3) == 0 => {
                    net.world.crash();
                    conns = vec![net.world.connect(), net.world.connect()];
                    net.assert_sound();
                }
                (9, _) => {
                    net.world.room = match net.world.room {
                        Room::Enough => Room::None,
                        Room::None => Room::Enough,
                    };
                }
                (10, _) => {
                    let stream = u64::from(net.rng.below(40));
                    net.world.reset(conn, stream);
                }
                (11, _) if net.rng.below(4) == 0 => {
                    net.world.wait(Duration::from_secs(26 * 3600));
                }
                _ => {}
            }
            for _ in 0..net.rng.below(30) {
                net.world.step();
            }
        }
        net.assert_sound();
        for conn in conns {
            net.world.cut(conn);
        }
        net.assert_sound();
    }
}
