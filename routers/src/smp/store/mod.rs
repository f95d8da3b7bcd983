//! What an SMP router keeps, and where.
//!
//! ```text
//!   core ──Commit, Load──▶ StoreHandle ──▶ the store's thread ──▶ Store
//!        ◀─Stored, Loaded──────────────────────┘                   │
//!                                             Records: what a change means
//!                                                │            │
//!                                              Memory     Embedded (fjall)
//! ```
//! [`Records`] knows what a change means: which entries of which [`Table`] are written, and what is counted. It stands on an
//! [`Engine`](crate::store::engine::Engine), which knows only bytes. So both stores have one meaning, and a third one needs only an engine.
//!
//! A group of commits is one write of the engine: it is stored as a whole or not at all, and costs one `fsync`.

pub mod backup;
mod expiry;
pub mod export;
pub mod import;
mod records;
mod table;
#[cfg(test)]
mod tests;
mod thread;
mod transaction;
mod verify;
mod worker;

pub use self::records::Records;
pub use self::table::Table;
pub use self::thread::{Closed, StoreHandle, StoreThread};
pub use self::worker::{Answer, Command, MetricsSnapshot, Worker};
pub use crate::store::{Fault, Options, StoreError, SyncPolicy};

use std::path::Path;

use bytes::Bytes;
use simplex_sans_io::smp::router::store::{Change, Load, Loaded, QueueRecord, ServiceRecord};
use simplex_sans_io::wire::EntityId;

/// Entries in memory.
pub type Memory = crate::store::engine::Memory<Table>;

/// Entries in a directory.
pub type Embedded = crate::store::Embedded<Table>;

/// What a store was at one moment.
pub type Snapshot = dyn crate::store::engine::Snapshot<Table>;

/// A store in memory: what it keeps ends with the process.
pub type MemoryStore = Records<Memory>;

/// A store in a directory of this machine.
pub type EmbeddedStore = Records<Embedded>;

impl EmbeddedStore {
    /// Opens the store in a directory, or makes one.
    pub fn open(path: &Path, options: Options) -> Result<Self, StoreError> {
        Self::new(Embedded::open(path, options)?)
    }

    /// Accepts that commits which were reported as stored are missing, after [`StoreError::Lost`].
    pub fn accept_loss(path: &Path) -> Result<(), StoreError> {
        Embedded::accept_loss(path)
    }

    /// The directory of the store.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.engine.path()
    }

    /// How many bytes its files have.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        self.engine.disk_bytes()
    }
}

/// Keeps queues and messages. It blocks: one thread owns it.
pub trait Store: Send {
    /// Carries out commits, in order: all of them or none. Loads see them from now on.
    ///
    /// After an error it is not known whether they are stored; what is loaded then is the truth.
    fn apply(&mut self, commits: &[Vec<Change>]) -> Result<(), StoreError> {
        self.apply_noting(commits, &[])
    }

    /// The same, and keeps notes together with them.
    fn apply_noting(&mut self, commits: &[Vec<Change>], notes: &[Note]) -> Result<(), StoreError>;

    /// Makes durable what was applied, as far as the policy asks for it.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// Carries out commits and makes them durable.
    fn commit(&mut self, commits: &[Vec<Change>]) -> Result<(), StoreError> {
        self.apply(commits)?;
        self.sync()
    }

    /// Answers a question.
    fn load(&mut self, load: &Load) -> Result<Loaded, StoreError>;

    /// The text of a note, if it was kept.
    fn note(&mut self, name: &str) -> Result<Option<Bytes>, StoreError>;

    /// Queues in the order of their recipients' ids, after a given one.
    fn queues_after(
        &mut self,
        after: &EntityId,
        limit: usize,
    ) -> Result<Vec<QueueRecord>, StoreError>;

    /// All services.
    fn services(&mut self) -> Result<Vec<ServiceRecord>, StoreError>;

    /// What there is now, for a backup.
    fn snapshot(&mut self) -> Result<Box<Snapshot>, StoreError>;

    /// How durable commits are.
    fn policy(&self) -> SyncPolicy;

    /// Makes everything durable and lets go of it.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// A text that a store keeps for its owner: how far an import has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Its name.
    pub name: &'static str,
    /// What it says.
    pub text: Bytes,
}
