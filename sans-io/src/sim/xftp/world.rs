//! A router with its clients, store and disk, in any order of events that a seed gives, with crashes, full disks and cut connections.
//!
//! The disk is slow: what connections ask of it waits for its turn, as it does for the threads of a real one, and longer when it is
//! [stuck](Pace). What concerns one upload, or the downloads of one connection, is done in order. A connection can [break](World::break_after) at
//! any byte: what had arrived has, and the router hears of the end later.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Break, Joined, Store, transports};
use crate::http2::{Exchange as _, Input, StreamId};
use crate::machine::Machine as _;
use crate::rng::Rng;
use crate::sim::identity::Credentials;
use crate::time::Now;
use crate::wire::EntityId;
use crate::xftp::ErrorType;
use crate::xftp::client::{self, Client};
use crate::xftp::router::store::{Change, Chunk, Content, Load};
use crate::xftp::router::{
    Action, Config, ConnId, Input as RouterInput, LoadId, OpId, Operation, Outcome, Router, Ticket,
};
use crate::xftp::server::{self, Call, Event, Server, UploadId};

/// The chunks of a router, and what uploads have written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disk {
    /// By the ids of their senders.
    pub chunks: BTreeMap<EntityId, Vec<u8>>,
    uploads: BTreeMap<UploadId, Vec<u8>>,
    /// How often a chunk was opened.
    pub opened: u64,
}

/// A router in the middle of everything.
#[derive(Debug)]
pub struct World {
    rng: Rng,
    now: Now,
    config: Config,
    credentials: Credentials,
    router: Router,
    /// What is stored.
    pub store: Store,
    /// What is written.
    pub disk: Disk,
    links: BTreeMap<ConnId, Joined<Client, Server>>,
    /// What the clients of connections that have ended were told, and have not heard.
    ended: BTreeMap<ConnId, Vec<client::Event>>,
    /// Where connections have broken.
    pub breaks: Vec<Break>,
    next_link: u64,
    /// What the router has asked of its store and its disk, in order.
    store_work: VecDeque<StoreWork>,
    disk_work: VecDeque<DiskWork>,
    /// What connections have asked of the disk.
    asked: BTreeMap<Lane, VecDeque<Asked>>,
    /// What is left to be read of the chunks that are open, also of those that were removed meanwhile.
    open: BTreeMap<(ConnId, StreamId), Bytes>,
    /// What the operator was told.
    pub operated: Vec<(Ticket, Outcome)>,
    /// Whether the store fails.
    pub storing: Storing,
    /// Whether the disk is full.
    pub room: Room,
    /// Whether the disk does anything.
    pub pace: Pace,
}

/// Whether a disk does anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// One thing after the other.
    Works,
    /// Nothing, for now.
    Stuck,
}

/// Whether there is room on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Enough,
    /// Nothing can be written.
    None,
}

/// Whether a store does what it is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storing {
    /// It does.
    Works,
    /// Nothing is stored.
    Fails,
}

#[derive(Debug)]
enum StoreWork {
    Commit(OpId, Vec<Change>),
    Load(LoadId, Load),
}

#[derive(Debug)]
enum DiskWork {
    Publish(UploadId, EntityId),
    Remove(EntityId),
}

/// What is done in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lane {
    Upload(UploadId),
    Downloads(ConnId),
}

#[derive(Debug)]
enum Asked {
    Write(ConnId, StreamId, UploadId, Bytes),
    Discard(UploadId),
    Open(ConnId, StreamId, EntityId),
    Read(ConnId, StreamId, usize),
    Close(ConnId, StreamId),
}

/// Whether the router hears of what was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Yes,
    No,
}

impl World {
    /// A router that has just started, with nothing.
    #[must_use]
    pub fn new(config: Config, mut rng: Rng) -> Self {
        let now = Now::START + Duration::from_secs(1_000_000);
        let credentials = Credentials::issue(crate::crypto::Algorithm::Ed25519, &mut rng);
        let router = Router::new(config.clone(), rng.fork(), now);
        let mut world = Self {
            rng,
            now,
            config,
            credentials,
            router,
            store: Store::default(),
            disk: Disk::default(),
            links: BTreeMap::new(),
            ended: BTreeMap::new(),
            breaks: Vec::new(),
            next_link: 0,
            store_work: VecDeque::new(),
            disk_work: VecDeque::new(),
            asked: BTreeMap::new(),
            open: BTreeMap::new(),
            operated: Vec::new(),
            storing: Storing::Works,
            room: Room::Enough,
            pace: Pace::Works,
        };
        world.drain();
        world
    }

    /// The router.
    #[must_use]
    pub const fn router(&self) -> &Router {
        &self.router
    }

    /// Connects a client.
    pub fn connect(&mut self) -> ConnId {
        self.connect_by(Joined::new)
    }

    /// Connects a client over a connection that breaks when this many bytes have arrived at the router or at its client, those of the handshake
    /// included.
    pub fn connect_breaking(&mut self, at_router: usize, at_client: usize) -> ConnId {
        self.connect_by(|client, server| Joined::breaking(client, server, at_router, at_client))
    }

    fn connect_by(
        &mut self,
        join: impl FnOnce(Client, Server) -> Joined<Client, Server>,
    ) -> ConnId {
        let id = ConnId(self.next_link);
        self.next_link = self.next_link.saturating_add(1);
        let (of_client, of_router) = transports(&mut self.rng);
        let config = server::Config::new(self.credentials.xftp_router());
        let server = Server::new(config, of_router, self.rng.fork(), self.now);
        let config = client::Config {
            max_downloads: 2,
            ..client::Config::new("router.example", self.credentials.key_hash())
        };
        let client = Client::new(config, of_client, self.rng.fork(), self.now);
        let mut link = join(client, server);
        link.wait_until(self.now);
        self.links.insert(id, link);
        id
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Whether a connection has not ended.
    #[must_use]
    pub fn is_open(&self, id: ConnId) -> bool {
        self.links
            .get(&id)
            .is_some_and(|link| link.closed.is_none())
    }

    /// The connection of a client.
    pub fn link(&mut self, id: ConnId) -> Option<&mut Joined<Client, Server>> {
        self.links.get_mut(&id)
    }

    /// Gives a client a call, and says whether it took it.
    pub fn call(&mut self, id: ConnId, call: client::Call) -> bool {
        match self.links.get_mut(&id) {
            Some(link) if link.client.accepts_commands() => {
                link.give_client(Input::Command(call));
                true
            }
            _ => false,
        }
    }

    /// What a client was told since the last time.
    pub fn events(&mut self, id: ConnId) -> Vec<client::Event> {
        match self.links.get_mut(&id) {
            Some(link) => std::mem::take(&mut link.client_events),
            None => self.ended.remove(&id).unwrap_or_default(),
        }
    }

    /// Cuts a connection.
    pub fn cut(&mut self, id: ConnId) {
        if let Some(mut link) = self.links.remove(&id) {
            for event in std::mem::take(&mut link.server_events) {
                // Some of what it had to say was said before the end.
                if self.rng.below(2) == 0 {
                    break;
                }
                self.told(id, event);
            }
            link.cut();
            self.end(id, link);
            // What it has asked of the disk is done, or begun, nevertheless.
            self.tell(RouterInput::Closed(id));
        }
    }

    /// Its client hears the end later.
    fn end(&mut self, id: ConnId, link: Joined<Client, Server>) {
        self.breaks.extend(link.broken());
        if !link.client_events.is_empty() {
            self.ended.insert(id, link.client_events);
        }
    }

    /// Lets a connection break when this many bytes more have arrived at the router or at its client.
    pub fn break_after(&mut self, id: ConnId, at_router: usize, at_client: usize) {
        if let Some(link) = self.links.get_mut(&id) {
            link.break_after(at_router, at_client);
        }
    }

    /// Resets one of the streams of a connection.
    pub fn reset(&mut self, id: ConnId, stream: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.reset(stream);
        }
    }

    /// Asks something of the router as its operator.
    pub fn operate(&mut self, ticket: u64, operation: Operation) {
        self.tell(RouterInput::Operator(Ticket(ticket), operation));
    }

    /// Lets time pass.
    pub fn wait(&mut self, duration: Duration) {
        self.now = self.now + duration;
        for link in self.links.values_mut() {
            link.wait_until(self.now);
        }
        let due = |deadline| deadline <= self.now.instant;
        if self.router.deadline().is_some_and(due) {
            self.tell(RouterInput::Timeout);
        }
    }

    /// Stops everything, loses what is not stored, and starts again.
    pub fn crash(&mut self) {
        // What was asked for may have been done, without anybody hearing of it.
        for _ in 0..self.rng.below(4) {
            self.work_for_store(Told::No);
        }
        for _ in 0..self.rng.below(4) {
            self.work_for_disk(Told::No);
        }
        self.asked.clear();
        for (id, mut link) in std::mem::take(&mut self.links) {
            link.cut();
            self.end(id, link);
        }
        self.open.clear();
        self.store_work.clear();
        self.disk_work.clear();
        self.disk.uploads.clear();
        self.storing = Storing::Works;
        self.room = Room::Enough;
        self.pace = Pace::Works;
        self.router = Router::new(self.config.clone(), self.rng.fork(), self.now);
        self.drain();
        let chunk = |id: &EntityId| Chunk {
            sender_id: id.clone(),
            name: None,
        };
        let found = self.disk.chunks.keys().map(chunk).collect();
        self.tell(RouterInput::Found(found));
    }

    /// Does one thing that is to be done, if there is any.
    pub fn step(&mut self) -> bool {
        let turn = self.rng.below(4);
        (0..4_u32).any(|offset| match turn.wrapping_add(offset).rem_euclid(4) {
            0 => self.work_for_store(Told::Yes),
            1 => self.work_for_disk(Told::Yes),
            2 => self.work_for_lanes(),
            _ => self.work_for_links(),
        })
    }

    /// Does everything that is to be done.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    fn work_for_store(&mut self, told: Told) -> bool {
        let input = match (self.store_work.pop_front(), self.storing) {
            (None, _) => return false,
            (Some(StoreWork::Commit(op, _)), Storing::Fails) => RouterInput::NotStored(op, op),
            (Some(StoreWork::Commit(op, changes)), Storing::Works) => {
                self.store.apply(changes);
                RouterInput::Stored(op)
            }
            (Some(StoreWork::Load(id, load)), _) => RouterInput::Loaded(id, self.store.load(&load)),
        };
        if told == Told::Yes {
            self.tell(input);
        }
        true
    }

    fn work_for_disk(&mut self, told: Told) -> bool {
        if self.pace == Pace::Stuck {
            return false;
        }
        match self.disk_work.pop_front() {
            None => return false,
            Some(DiskWork::Remove(id)) => {
                self.disk.chunks.remove(&id);
            }
            Some(DiskWork::Publish(upload, id)) => {
                let result = match self.room {
                    Room::None => Err(ErrorType::FileIo),
                    Room::Enough => {
                        let written = self.disk.uploads.remove(&upload);
                        written.ok_or(ErrorType::FileIo).map(|bytes| {
                            self.disk.chunks.insert(id, bytes);
                        })
                    }
                };
                if told == Told::Yes {
                    self.tell(RouterInput::Published(upload, result));
                }
            }
        }
        true
    }

    /// Does the next thing of one of those that are done in order.
    fn work_for_lanes(&mut self) -> bool {
        if self.pace == Pace::Stuck {
            return false;
        }
        let count = u32::try_from(self.asked.len()).unwrap_or(u32::MAX);
        let at = usize::try_from(self.rng.below(count)).unwrap_or_default();
        let Some(lane) = self.asked.keys().nth(at).copied() else {
            return false;
        };
        let asked = self.asked.get_mut(&lane).and_then(VecDeque::pop_front);
        if self.asked.get(&lane).is_none_or(VecDeque::is_empty) {
            self.asked.remove(&lane);
        }
        if let Some(asked) = asked {
            self.work_for(asked);
        }
        true
    }

    fn work_for(&mut self, asked: Asked) {
        let (connection, call) = match asked {
            Asked::Write(connection, stream, upload, bytes) => {
                let written = self.disk.uploads.entry(upload).or_default();
                let call = match self.room {
                    Room::None => Call::NotWritten { stream },
                    Room::Enough => {
                        written.extend_from_slice(&bytes);
                        let bytes = bytes.len();
                        Call::Written { stream, bytes }
                    }
                };
                (connection, call)
            }
            Asked::Discard(upload) => {
                self.disk.uploads.remove(&upload);
                return;
            }
            Asked::Open(connection, stream, id) => {
                let chunk = self.disk.chunks.get(&id);
                let result = chunk.map(|_| ()).ok_or(ErrorType::Auth);
                if let Some(chunk) = chunk {
                    let chunk = Bytes::copy_from_slice(chunk);
                    self.open.insert((connection, stream), chunk);
                    self.disk.opened = self.disk.opened.saturating_add(1);
                }
                (connection, Call::Opened { stream, result })
            }
            Asked::Read(connection, stream, bytes) => {
                let chunk = self.open.get_mut(&(connection, stream));
                let piece = chunk
                    .filter(|chunk| chunk.len() >= bytes)
                    .map(|chunk| chunk.split_to(bytes));
                let call = match piece {
                    Some(piece) => Call::Data {
                        stream,
                        bytes: BytesMut::from(piece),
                    },
                    None => Call::NoData { stream },
                };
                (connection, call)
            }
            Asked::Close(connection, stream) => {
                self.open.remove(&(connection, stream));
                return;
            }
        };
        self.give(connection, call);
    }

    fn ask(&mut self, lane: Lane, asked: Asked) {
        self.asked.entry(lane).or_default().push_back(asked);
    }

    fn work_for_links(&mut self) -> bool {
        let mut ids: Vec<ConnId> = self.links.keys().copied().collect();
        let count = u32::try_from(ids.len()).unwrap_or(u32::MAX);
        ids.rotate_left(usize::try_from(self.rng.below(count)).unwrap_or_default());
        for id in ids {
            if !self.is_open(id) {
                self.cut(id);
                return true;
            }
            let link = self.links.get_mut(&id);
            let events = link.map(|link| std::mem::take(&mut link.server_events));
            let events = events.unwrap_or_default();
            if !events.is_empty() {
                for event in events {
                    self.told(id, event);
                }
                return true;
            }
        }
        false
    }

    /// Passes on what a connection asks, of the disk and of the router.
    fn told(&mut self, connection: ConnId, event: Event) {
        let downloads = Lane::Downloads(connection);
        match event {
            Event::Write {
                stream,
                upload,
                bytes,
            } => {
                let asked = Asked::Write(connection, stream, upload, bytes);
                self.ask(Lane::Upload(upload), asked);
            }
            Event::Open { stream, chunk } => {
                self.ask(downloads, Asked::Open(connection, stream, chunk.sender_id));
            }
            Event::Read { stream, bytes } => {
                self.ask(downloads, Asked::Read(connection, stream, bytes));
            }
            Event::Sent { stream } => self.ask(downloads, Asked::Close(connection, stream)),
            Event::Gone { stream } => {
                self.ask(downloads, Asked::Close(connection, stream));
                self.tell(RouterInput::Conn(connection, Event::Gone { stream }));
            }
            event @ (Event::Established(_)
            | Event::Lookup { .. }
            | Event::Execute { .. }
            | Event::Uploaded { .. }
            | Event::Page { .. }) => self.tell(RouterInput::Conn(connection, event)),
        }
    }

    fn give(&mut self, connection: ConnId, call: Call) {
        if let Some(link) = self.links.get_mut(&connection) {
            link.give_server(Input::Command(call));
        }
    }

    fn tell(&mut self, input: RouterInput) {
        match self.router.handle(self.now, input) {
            Ok(()) => self.drain(),
            Err(never) => match never {},
        }
    }

    fn drain(&mut self) {
        while let Some(action) = self.router.poll() {
            match action {
                Action::Conn(connection, call) => self.give(connection, call),
                Action::Commit(op, changes) => {
                    self.store_work.push_back(StoreWork::Commit(op, changes));
                }
                Action::Load(id, load) => self.store_work.push_back(StoreWork::Load(id, load)),
                Action::Publish(upload, id) => {
                    self.disk_work.push_back(DiskWork::Publish(upload, id));
                }
                Action::Discard(upload) => {
                    self.ask(Lane::Upload(upload), Asked::Discard(upload));
                }
                Action::Remove(chunk) => {
                    self.disk_work.push_back(DiskWork::Remove(chunk.sender_id));
                }
                Action::Reconciled | Action::Day(_) => {}
                Action::Operated(ticket, outcome) => self.operated.push((ticket, outcome)),
            }
        }
    }

    /// What is wrong at rest: totals that are not those of the records, chunks that are missing, chunks and bytes that are too many.
    #[must_use]
    pub fn faults(&self) -> Vec<&'static str> {
        let stored: Vec<&EntityId> = self
            .store
            .records()
            .filter(|record| record.content == Content::Stored)
            .map(|record| &record.sender_id)
            .collect();
        let gauges = self.router.gauges();
        let counted = self.store.counted();
        let checks = [
            (
                self.store.totals() == counted,
                "the totals are not those of the records",
            ),
            (
                gauges.used == counted.used,
                "the room that is taken is not what the chunks take",
            ),
            (
                stored.iter().all(|id| self.disk.chunks.contains_key(*id)),
                "a chunk is missing",
            ),
            (
                self.disk.chunks.keys().eq(stored.iter().copied()),
                "the disk has a chunk without a record",
            ),
            (
                gauges.uploads > 0 || gauges.reserved == 0,
                "room is kept for nothing",
            ),
            (
                gauges.uploads > 0 || self.disk.uploads.is_empty(),
                "an upload was left behind",
            ),
            (
                gauges.uploads == 0 || !self.links.is_empty(),
                "room is kept for nobody",
            ),
            (gauges.unstored == 0, "a commit was forgotten"),
            (gauges.loads == 0, "a load was forgotten"),
            (
                self.config.quota.is_none_or(|quota| gauges.used <= quota),
                "the quota is exceeded",
            ),
        ];
        let wrong = checks.into_iter().filter(|(holds, _)| !holds);
        wrong.map(|(_, fault)| fault).collect()
    }
}
