//! Where an agent keeps what it knows: any store that passes the [conformance] kit will do.

pub mod conformance;
mod memory;
mod sqlite;
mod thread;

pub use simplex_sans_io::agent::store::{Change, Key, Kind, Load, Memory, Record};

pub use self::sqlite::{Sqlite, SqliteOptions};
pub(crate) use self::thread::{Answer, Question, StoreThread, Whose};

use std::path::PathBuf;

/// Where an agent keeps what it knows.
///
/// It is used by one thread, which may wait for a disk.
pub trait Store: Send {
    /// Carries out transactions, in their order. When this returns they are durable, all of them; if it fails, those before the failure
    /// may be.
    fn commit(&mut self, transactions: Vec<Vec<Change>>) -> Result<(), StoreError>;

    /// What was asked for, as all transactions before have left it.
    fn load(&mut self, load: &Load) -> Result<Vec<Record>, StoreError>;

    /// Ends the use of the store.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or opened.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is the database of another program.
    #[error("{} is not the database of an agent", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program has written the file.
    #[error("{} was written by a newer program (version {version}): use that one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: i64,
    },
    /// Another process uses the file.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The key is wrong, or the file is damaged.
    #[error("{} cannot be read: the key is wrong, or the file is damaged", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
    },
    /// The database has failed.
    #[error("the database has failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// A record is not one of an agent.
    #[error("the database holds a record of unknown kind {0}")]
    Kind(i64),
    /// The thread of the store has ended.
    #[error("the store has ended")]
    Ended,
}
