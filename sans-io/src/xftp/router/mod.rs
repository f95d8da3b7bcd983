//! The files of an XFTP router, as a machine.
//!
//! ```text
//!                    ┌─────────────────────────────────────────────────┐
//!   Conn: Lookup ───▶│ Load … Loaded ──▶ Key                           │
//!   Conn: Execute ──▶│ one change of a file after the other:           │
//!                    │   lock ──▶ Load … Loaded ──▶ Commit ──▶ unlock  │──▶ store
//!                    │     └─ Answer, Remove: when it is Stored        │──▶ the connection, the disk
//!   Conn: Uploaded ─▶│   lock ──▶ Publish … Published ──▶ Commit …     │──▶ the disk
//!                    └─────────────────────────────────────────────────┘
//! ```
//! The machine has one owner and no locks but its own queues, sees no bytes and does no cryptography: connections
//! ([`Server`](super::server::Server)) verify, hash and encrypt, in parallel; it decides. Records are loaded for each command, so that
//! neither start nor memory grows with the number of files. What a response promises is durable before it leaves.
//!
//! * **Uploads** are received under names of their own, as many at the same time as come: none can harm another. The first one that is
//!   complete becomes the chunk; the others find it there, and as they have the same digest, they are what was wanted, too.
//! * **The quota** counts chunks and uploads: an upload that has begun has its room until it becomes the chunk or is void. Totals change
//!   with the records, in one commit, so that they are exact after a crash, too.
//! * **The disk** is changed in an order that a crash leaves nothing lost: a chunk is there before its record says so, and its record is
//!   gone before it is. What a crash leaves too much is [found](Input::Found) and removed.
//!
//! ```
//! use simplex_sans_io::machine::Machine;
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::time::Now;
//! use simplex_sans_io::xftp::router::store::{Load, Loaded, Totals};
//! use simplex_sans_io::xftp::router::{Action, Config, Input, Router};
//!
//! let mut router = Router::new(Config::default(), Rng::from_seed([7; 32]), Now::START);
//!
//! // It begins by asking how much there is.
//! let Some(Action::Load(load, Load::Totals)) = router.poll() else { panic!() };
//! assert!(router.poll().is_none());
//! router.handle(Now::START, Input::Loaded(load, Loaded::Totals(Totals::default(), None)))?;
//! assert_eq!(router.gauges().used, 0);
//! # Ok::<(), std::convert::Infallible>(())
//! ```

mod commands;
mod expiry;
mod loads;
mod operator;
mod pending;
mod statistics;
pub mod store;
#[cfg(test)]
mod tests;
mod uploads;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use self::operator::{Operation, Outcome};
pub use self::statistics::{Counters, Day, Downloaded, Statistics};

use self::expiry::Expiring;
use self::loads::Loads;
use self::pending::{After, Job, Pending};
use self::store::{Adjustment, Change, Chunk, Load, Loaded, Totals};
use self::uploads::Uploads;
use super::server::{self, UploadId};
use super::{ErrorType, Response};
use crate::http2::StreamId;
use crate::machine::{Actions, Machine};
use crate::rng::Rng;
use crate::time::{Instant, Now, UnixTime};
use crate::wire::{BasicAuth, EntityId};

/// How a router treats its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Whether files can be created.
    pub new_files: NewFiles,
    /// How many bytes all chunks may have together.
    pub quota: Option<u64>,
    /// How files expire.
    pub expiration: Option<Expiration>,
    /// How many recipients a file may have.
    pub max_recipients: u64,
    /// How many loads are asked for at the same time.
    pub max_loads: usize,
}

/// Whether files can be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewFiles {
    /// By anybody.
    Allowed,
    /// By those who know the password.
    WithPassword(BasicAuth),
    /// By nobody.
    Refused,
}

/// When files are too old, and how often they are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiration {
    /// How old they may be.
    pub ttl: Duration,
    /// How often they are looked for.
    pub check: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            new_files: NewFiles::Allowed,
            quota: None,
            expiration: Some(Expiration {
                ttl: Duration::from_secs(172_800),
                check: Duration::from_secs(7200),
            }),
            max_recipients: 65_536,
            max_loads: 1024,
        }
    }
}

/// A connection to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// A commit that is to be stored. Later ones have greater numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct OpId(pub u64);

/// A load that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadId(pub u64);

/// A question of the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a router takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A connection tells or asks something.
    Conn(ConnId, server::Event),
    /// A connection has ended.
    Closed(ConnId),
    /// Everything up to this commit is stored.
    Stored(OpId),
    /// Everything from the first to the second commit could not be stored.
    NotStored(OpId, OpId),
    /// What a load has found.
    Loaded(LoadId, Loaded),
    /// Whether an upload is now the chunk that it was to become, durably.
    Published(UploadId, Result<(), ErrorType>),
    /// Chunks that were found on the disk: those that no record is about are removed.
    Found(Vec<Chunk>),
    /// The operator wants something done.
    Operator(Ticket, Operation),
    /// Other settings hold from now on.
    Configure(Box<Config>),
    /// The router stops: what was counted is stored.
    Save,
    /// The deadline has passed.
    Timeout,
}

/// What a router asks its driver to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Pass this to a connection, if it is still there.
    Conn(ConnId, server::Call),
    /// Store these changes, together or not at all.
    Commit(OpId, Vec<Change>),
    /// Answer this.
    Load(LoadId, Load),
    /// Make an upload, all of which is written, the chunk of this sender, durably: the answer is [`Input::Published`].
    Publish(UploadId, EntityId),
    /// Remove what an upload has written.
    Discard(UploadId),
    /// Remove a chunk.
    Remove(Chunk),
    /// A day is over.
    Day(Box<Day>),
    /// All that was [found](Input::Found) is looked at.
    Reconciled,
    /// Tell the operator.
    Operated(Ticket, Outcome),
}

/// How much there is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Files.
    pub files: u64,
    /// Recipients.
    pub recipients: u64,
    /// Chunks that are uploaded.
    pub chunks: u64,
    /// Their bytes.
    pub used: u64,
    /// Bytes of uploads that have begun.
    pub reserved: u64,
    /// Uploads that have begun.
    pub uploads: u64,
    /// Loads that are not answered.
    pub loads: u64,
    /// Commits that are not stored.
    pub unstored: u64,
    /// Loads that had to wait for others.
    pub loads_delayed: u64,
    /// Files that were downloaded.
    pub downloaded: Downloaded,
    /// Since when events are counted.
    pub counting_since: UnixTime,
}

/// Whose answer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Asker {
    connection: ConnId,
    stream: StreamId,
}

/// The files of a router. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    config: Config,
    rng: Rng,
    now: Now,
    totals: Reckoning,
    loads: Loads,
    pending: Pending,
    uploads: Uploads,
    /// Files that are being changed, with those who wait to change them.
    locks: BTreeMap<EntityId, VecDeque<Job>>,
    expiring: Expiring,
    /// How many of the chunks that were found are not looked at.
    unreconciled: usize,
    statistics: Statistics,
    /// When the clock is looked at.
    hour: Instant,
    actions: Actions<Action>,
}

/// The totals, as they will be when all commits are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Reckoning {
    totals: Totals,
    /// What was committed after they were asked for.
    since: Adjustment,
    /// Room of chunks that are removed, while that is not stored: it may not be so.
    freed: u64,
    known: Known,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Known {
    /// They are being loaded for the first time, and no room is given away before.
    #[default]
    Never,
    /// They are being loaded again.
    NoMore,
    Yes,
}

impl Router {
    /// A router on a store that it asks for everything.
    #[must_use]
    pub fn new(config: Config, rng: Rng, now: Now) -> Self {
        let mut router = Self {
            expiring: Expiring::new(config.expiration.map(|_| now.instant)),
            loads: Loads::new(config.max_loads),
            config,
            rng,
            now,
            totals: Reckoning::default(),
            pending: Pending::default(),
            uploads: Uploads::default(),
            locks: BTreeMap::new(),
            unreconciled: 0,
            statistics: Statistics::new(now.unix),
            hour: statistics::next_hour(now),
            actions: Actions::default(),
        };
        router.load(loads::For::Totals, Load::Totals);
        router
    }

    /// How much there is now.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let totals = self.totals.totals;
        Gauges {
            files: totals.files,
            recipients: totals.recipients,
            chunks: totals.chunks,
            used: totals.used,
            reserved: self.uploads.reserved(),
            uploads: number(self.uploads.len()),
            loads: number(self.loads.in_flight()),
            unstored: number(self.pending.unstored()),
            loads_delayed: self.loads.delayed(),
            downloaded: self.downloads(),
            counting_since: self.counting_since(),
        }
    }

    /// Stores changes; what is to follow waits until they are stored.
    fn commit(&mut self, mut changes: Vec<Change>, adjustment: Adjustment, mut after: Vec<After>) {
        if adjustment != Adjustment::default() {
            changes.push(Change::Adjust(adjustment));
            self.totals.adjust(adjustment);
        }
        if adjustment.used < 0 {
            let freed = adjustment.used.unsigned_abs();
            self.totals.freed = self.totals.freed.saturating_add(freed);
            after.push(After::Free(freed));
        }
        let op = self.pending.add(after);
        self.actions.push(Action::Commit(op, changes));
    }

    fn stored(&mut self, op: OpId) {
        for after in self.pending.stored(op) {
            match after {
                After::Answer(asker, response) => self.answer(asker, response),
                After::Keep(_) => {}
                After::Remove(chunk) => self.actions.push(Action::Remove(chunk)),
                After::Free(room) => self.totals.free(room),
                After::Operated(ticket, outcome) => {
                    self.actions.push(Action::Operated(ticket, outcome));
                }
            }
        }
    }

    /// What was not stored may be there or not: the totals are what the store says, and so is whether a chunk is wanted.
    fn not_stored(&mut self, first: OpId, last: OpId) {
        for after in self.pending.not_stored(first, last) {
            match after {
                After::Answer(asker, _) => self.refuse(asker, ErrorType::Internal),
                After::Keep(chunk) | After::Remove(chunk) => self.found(vec![chunk]),
                // No room is given away before the totals are known again.
                After::Free(room) => self.totals.free(room),
                After::Operated(ticket, _) => {
                    self.actions.push(Action::Operated(ticket, Outcome::Failed));
                }
            }
        }
        self.expiring.pause();
        self.totals.forget();
        self.load(loads::For::Totals, Load::Totals);
    }

    fn answer(&mut self, asker: Asker, response: Response) {
        let stream = asker.stream;
        self.call(asker, server::Call::Answer { stream, response });
    }

    fn refuse(&mut self, asker: Asker, error: ErrorType) {
        self.answer(asker, Response::Err(error));
    }

    fn call(&mut self, asker: Asker, call: server::Call) {
        self.actions.push(Action::Conn(asker.connection, call));
    }

    /// Does what a connection tells or asks.
    fn told(&mut self, connection: ConnId, event: server::Event) {
        let asker = |stream| Asker { connection, stream };
        match event {
            server::Event::Lookup { stream, party, id } => {
                self.load(loads::For::Key(asker(stream), party), Load::File(party, id));
            }
            server::Event::Execute { stream, request } => self.execute(asker(stream), request),
            server::Event::Uploaded { upload, result, .. } => self.uploaded(upload, result),
            server::Event::Gone { stream } => self.gone(asker(stream)),
            // The driver's own.
            server::Event::Established(_)
            | server::Event::Write { .. }
            | server::Event::Open { .. }
            | server::Event::Read { .. }
            | server::Event::Sent { .. }
            | server::Event::Page { .. } => {}
        }
    }

    fn timeout(&mut self) {
        if self.hour <= self.now.instant {
            self.end_hour();
        }
        self.expire_in_time();
    }

    fn configure(&mut self, config: Config) {
        self.expiring.configure(config.expiration, self.now.instant);
        self.config = config;
    }
}

impl Reckoning {
    const fn adjust(&mut self, by: Adjustment) {
        self.totals = self.totals.adjusted(by);
        self.since = Adjustment {
            files: self.since.files.saturating_add(by.files),
            recipients: self.since.recipients.saturating_add(by.recipients),
            chunks: self.since.chunks.saturating_add(by.chunks),
            used: self.since.used.saturating_add(by.used),
        };
    }

    const fn free(&mut self, room: u64) {
        self.freed = self.freed.saturating_sub(room);
    }

    /// What chunks take, also those that may still be there.
    const fn taken(&self) -> u64 {
        self.totals.used.saturating_add(self.freed)
    }

    const fn was_known(&self) -> bool {
        !matches!(self.known, Known::Never)
    }

    /// They are to be loaded again.
    fn forget(&mut self) {
        self.since = Adjustment::default();
        if self.known == Known::Yes {
            self.known = Known::NoMore;
        }
    }

    const fn loaded(&mut self, totals: Totals) {
        self.totals = totals.adjusted(self.since);
        self.known = Known::Yes;
    }
}

impl Machine for Router {
    type Input<'a> = Input;
    type Action = Action;
    type Error = std::convert::Infallible;

    fn handle(&mut self, now: Now, input: Input) -> Result<(), Self::Error> {
        self.actions.begin();
        self.now = Now {
            instant: now.instant.max(self.now.instant),
            ..now
        };
        match input {
            Input::Conn(connection, event) => self.told(connection, event),
            Input::Closed(connection) => self.closed(connection),
            Input::Stored(op) => self.stored(op),
            Input::NotStored(first, last) => self.not_stored(first, last),
            Input::Loaded(load, loaded) => self.loaded(load, loaded),
            Input::Published(upload, result) => self.published(upload, result),
            Input::Found(chunks) => self.found(chunks),
            Input::Operator(ticket, operation) => self.operate(ticket, operation),
            Input::Configure(config) => self.configure(*config),
            Input::Save => self.store_statistics(),
            Input::Timeout => self.timeout(),
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action> {
        self.actions.next()
    }

    fn deadline(&self) -> Option<Instant> {
        let expiring = self.expiring.deadline();
        Some(expiring.map_or(self.hour, |expiring| expiring.min(self.hour)))
    }
}
