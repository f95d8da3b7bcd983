//! An XFTP router with clients that do anything, against a model of what they were promised.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::choices::Choices;
use crate::crypto::hash::sha256;
use crate::crypto::{AuthPrivateKey, ed25519};
use crate::rng::Rng;
use crate::sim::Trace;
use crate::sim::xftp::{Room, Storing, World};
use crate::smp::{BlockingInfo, BlockingReason};
use crate::wire::{EntityId, NonEmpty, Short};
use crate::xftp::NewFile;
use crate::xftp::client::{Answer, Ask, Call, Event, Request, RequestId};
use crate::xftp::router::{Config, ConnId, Operation};

const SIZE: u32 = 1 << 16;
/// How many files there may be.
const FILES: usize = 6;

/// What was promised of each file is kept across everything that happens: a chunk that was uploaded can be downloaded whole, until
/// somebody deletes or blocks it, and what was deleted stays deleted. At rest, room and disk are those of the records.
pub(super) fn run(choices: &mut Choices<'_>, _: &mut Trace) {
    let config = Config {
        quota: choices.coin().then_some(u64::from(SIZE).saturating_mul(2)),
        ..Config::default()
    };
    let mut run = Run::new(config, choices.rng());
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < 96
    {
        steps = steps.saturating_add(1);
        run.step(kind, usize::from(small), choices);
    }
    run.settle();
    assert_eq!(run.world.faults(), Vec::<&str>::new());
    run.ask_for_promises();
}

struct Run {
    world: World,
    rng: Rng,
    conns: Vec<ConnId>,
    files: Vec<File>,
    requests: BTreeMap<RequestId, Requested>,
    next: u64,
}

/// A request that is not answered.
struct Requested {
    conn: ConnId,
    file: usize,
    asked: Asked,
    data: Vec<u8>,
    /// Whether the file was deleted when this was asked: what is asked at the same time has no order.
    deleted: Promise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Create,
    Upload,
    Download,
    Delete,
    Acknowledge,
}

#[derive(Debug)]
struct File {
    key: Arc<AuthPrivateKey>,
    chunk: Bytes,
    sender: EntityId,
    recipients: Vec<EntityId>,
    uploaded: Promise,
    deleted: Promise,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    None,
    /// It was asked for, and may be done or not.
    Possible,
    Given,
}

impl Run {
    fn new(config: Config, mut rng: Rng) -> Self {
        let mut world = World::new(config, rng.fork());
        let conns = vec![world.connect(), world.connect()];
        Self {
            world,
            rng,
            conns,
            files: Vec::new(),
            requests: BTreeMap::new(),
            next: 0,
        }
    }

    fn step(&mut self, kind: u8, small: usize, choices: &mut Choices<'_>) {
        let Some(conn) = self.conns.get(small & 1).copied() else {
            return;
        };
        let file = small >> 1;
        match kind {
            0 if self.files.len() < FILES => self.create(conn),
            1 => self.upload(conn, file, usize::MAX),
            2 => self.upload(conn, file, choices.word().into()),
            3 => self.ask(conn, file, Asked::Download),
            4 => self.ask(conn, file, Asked::Delete),
            5 => self.ask(conn, file, Asked::Acknowledge),
            6 => {
                self.hear();
                self.world.cut(conn);
                let new = self.world.connect();
                self.forget(conn);
                for old in self.conns.iter_mut().filter(|old| **old == conn) {
                    *old = new;
                }
            }
            7 => {
                self.hear();
                self.world.crash();
                for conn in self.conns.clone() {
                    self.forget(conn);
                }
                self.conns = vec![self.world.connect(), self.world.connect()];
            }
            8 => {
                self.world.storing = match self.world.storing {
                    Storing::Works => Storing::Fails,
                    Storing::Fails => Storing::Works,
                };
            }
            9 => self.block(file),
            10 => self
                .world
                .wait(Duration::from_secs(u64::from(choices.byte()))),
            11 => self.settle(),
            30 => {
                self.world.room = match self.world.room {
                    Room::Enough => Room::None,
                    Room::None => Room::Enough,
                };
            }
            31 => {
                let stream = u64::from(choices.byte());
                self.world.reset(conn, stream);
                self.hear();
            }
            _ => {
                for _ in 0..=small {
                    self.world.step();
                }
                self.hear();
            }
        }
    }

    fn request(&mut self, conn: ConnId, file: usize, asked: Asked, ask: Ask) -> Option<RequestId> {
        let id = RequestId(self.next);
        self.next = self.next.saturating_add(1);
        let of = self.files.get(file)?;
        let deleted = of.deleted;
        let entity = match asked {
            Asked::Create => EntityId::EMPTY,
            Asked::Upload | Asked::Delete => of.sender.clone(),
            Asked::Download => of.recipients.first()?.clone(),
            Asked::Acknowledge => of.recipients.get(1)?.clone(),
        };
        let request = Request::new(id, ask)
            .about(entity)
            .authorized_by(Arc::clone(&of.key));
        if !self.world.call(conn, Call::Send(request)) {
            return None;
        }
        let requested = Requested {
            conn,
            file,
            asked,
            data: Vec::new(),
            deleted,
        };
        self.requests.insert(id, requested);
        Some(id)
    }

    fn create(&mut self, conn: ConnId) {
        let key: Arc<AuthPrivateKey> =
            Arc::new(ed25519::PrivateKey::generate(&mut self.rng).into());
        let mut chunk = vec![0; usize::try_from(SIZE).unwrap_or_default()];
        self.rng.fill(&mut chunk);
        let public = key.public_key();
        let (Ok(recipients), Ok(digest)) = (
            NonEmpty::try_from(vec![public, public]),
            Short::try_from(&sha256(&chunk)),
        ) else {
            return;
        };
        let new = NewFile {
            sender_key: public,
            size: SIZE,
            digest,
            recipients,
            password: None,
        };
        self.files.push(File {
            key,
            chunk: chunk.into(),
            sender: EntityId::EMPTY,
            recipients: Vec::new(),
            uploaded: Promise::None,
            deleted: Promise::None,
        });
        let file = self.files.len().saturating_sub(1);
        self.request(conn, file, Asked::Create, Ask::Create(Box::new(new)));
    }

    fn upload(&mut self, conn: ConnId, file: usize, most: usize) {
        let Some(of) = self.files.get_mut(file).filter(|of| !of.sender.is_empty()) else {
            return;
        };
        let bytes = of.chunk.slice(..of.chunk.len().min(most));
        let ask = Ask::Upload { size: SIZE };
        if let Some(request) = self.request(conn, file, Asked::Upload, ask) {
            self.world.call(conn, Call::Upload { request, bytes });
            if let Some(of) = self.files.get_mut(file)
                && of.uploaded == Promise::None
            {
                of.uploaded = Promise::Possible;
            }
        }
    }

    fn ask(&mut self, conn: ConnId, file: usize, asked: Asked) {
        let Some(of) = self.files.get_mut(file).filter(|of| !of.sender.is_empty()) else {
            return;
        };
        let ask = match asked {
            Asked::Delete => {
                if of.deleted == Promise::None {
                    of.deleted = Promise::Possible;
                }
                Ask::Delete
            }
            Asked::Acknowledge => Ask::Acknowledge,
            Asked::Download | Asked::Create | Asked::Upload => Ask::Download {
                size: SIZE,
                digest: sha256(&of.chunk),
            },
        };
        self.request(conn, file, asked, ask);
    }

    fn block(&mut self, file: usize) {
        let Some(of) = self.files.get_mut(file) else {
            return;
        };
        let Some(id) = of.recipients.first().cloned() else {
            return;
        };
        of.deleted = Promise::Possible;
        let info = BlockingInfo {
            reason: BlockingReason::Content,
            notice: None,
        };
        self.world.operate(self.next, Operation::Block(id, info));
    }

    fn forget(&mut self, conn: ConnId) {
        self.requests.retain(|_, requested| requested.conn != conn);
    }

    fn settle(&mut self) {
        loop {
            self.world.settle();
            if !self.hear() {
                return;
            }
        }
    }

    /// Whether a client was told anything.
    fn hear(&mut self) -> bool {
        let mut heard = false;
        for conn in self.conns.clone() {
            for event in self.world.events(conn) {
                heard = true;
                self.heard(conn, event);
            }
        }
        heard
    }

    fn heard(&mut self, conn: ConnId, event: Event) {
        match event {
            Event::Data { request, bytes } => {
                if let Some(requested) = self.requests.get_mut(&request) {
                    requested.data.extend_from_slice(&bytes);
                }
                let bytes = bytes.len();
                self.world.call(conn, Call::Credit { request, bytes });
            }
            Event::Response { request, result } => {
                let Some(requested) = self.requests.remove(&request) else {
                    return;
                };
                if let (Ok(answer), Some(of)) = (result, self.files.get_mut(requested.file)) {
                    of.promised(&requested, answer);
                }
            }
            Event::Established(_) | Event::Taken { .. } => {}
        }
    }

    /// Everything that was promised is there.
    fn ask_for_promises(&mut self) {
        self.world.storing = Storing::Works;
        self.world.room = Room::Enough;
        for file in 0..self.files.len() {
            let conn = self.world.connect();
            self.conns = vec![conn];
            self.requests.clear();
            self.ask(conn, file, Asked::Download);
            let waits = self.requests.len();
            self.settle();
            let Some(of) = self.files.get(file) else {
                continue;
            };
            if waits == 1 && of.uploaded == Promise::Given && of.deleted == Promise::None {
                assert_eq!(self.requests.len(), 0, "a request was not answered");
            }
            // Whoever goes leaves nothing behind.
            self.world.cut(conn);
            self.world.settle();
        }
        assert_eq!(self.world.faults(), Vec::<&str>::new());
    }
}

impl File {
    fn promised(&mut self, requested: &Requested, answer: Answer) {
        let before = requested.deleted;
        match (requested.asked, answer) {
            (
                Asked::Create,
                Answer::Created {
                    sender_id,
                    recipient_ids,
                },
            ) => {
                self.sender = sender_id;
                self.recipients = recipient_ids.into_vec();
            }
            (Asked::Upload, Answer::Done) => {
                assert_ne!(before, Promise::Given, "a deleted file takes a chunk");
                self.uploaded = Promise::Given;
            }
            (Asked::Download, Answer::Downloaded) => {
                assert_ne!(before, Promise::Given, "a deleted file is there");
                assert_ne!(self.uploaded, Promise::None, "nothing was uploaded");
                assert_eq!(requested.data, self.chunk, "another chunk comes");
            }
            (Asked::Delete, Answer::Done) => self.deleted = Promise::Given,
            (Asked::Acknowledge, Answer::Done) => {}
            (asked, answer) => {
                assert_eq!(Some((asked, answer)), None, "an answer to something else")
            }
        }
    }
}
