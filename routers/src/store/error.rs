//! What can go wrong with a store, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Why a store did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory.
    #[error("{} is in use{}: stop that router first", path.display(), by(*.pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, if it has left its number.
        pid: Option<u32>,
    },
    /// The disk is full.
    #[error("the disk of {} is full: make room, nothing else is needed", path.display())]
    Full {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("{} cannot be {action}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not as it was written.
    #[error("a file in {} is damaged ({detail}): check the disk, then restore a backup", path.display())]
    DamagedFile {
        /// The directory.
        path: PathBuf,
        /// What the engine says.
        detail: String,
    },
    /// A record cannot be read, or is missing.
    #[error("record {key} of {table} {}: verify the store, then restore a backup or delete what it belongs to", .fault.as_str())]
    DamagedRecord {
        /// Where.
        table: &'static str,
        /// Its key, in hexadecimal.
        key: String,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Commits that were reported as stored are not there.
    #[error(
        "{} commits that were stored in {} are missing: a file was damaged, removed or replaced by an older one. Restore a backup, \
         or accept the loss",
        promised.saturating_sub(*.found), path.display()
    )]
    Lost {
        /// The directory.
        path: PathBuf,
        /// The last commit that was reported as stored.
        promised: u64,
        /// The last commit that is there.
        found: u64,
    },
    /// A newer program has written the store.
    #[error(
        "the store has format {found}, this program knows formats up to {known}: use the program that has written it"
    )]
    Newer {
        /// The format of the store.
        found: u16,
        /// The newest format that is known.
        known: u16,
    },
    /// A message does not follow the last one of its queue: one before it was not stored.
    #[error(
        "a message has place {sequence}, but the next one is {expected}: one before it was not stored"
    )]
    OutOfOrder {
        /// The message's place.
        sequence: u64,
        /// The place after the last message that was stored.
        expected: u64,
    },
    /// A message has no queue: its queue was not stored.
    #[error("a message belongs to a queue that is not there: it was not stored")]
    NoQueue,
    /// An earlier failure has not been overcome yet.
    #[error("the store has failed and could not be opened again: {0}")]
    Broken(String),
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is not there, but others lead to it.
    Missing,
    /// It is not what should be there.
    Invalid,
    /// It is there, but nothing leads to it.
    Superfluous,
}

impl Fault {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "is missing",
            Self::Invalid => "is not what it should be",
            Self::Superfluous => "belongs to nothing",
        }
    }
}

impl StoreError {
    /// Whether other commits of the same group can be stored nevertheless.
    pub(crate) const fn concerns_one_commit(&self) -> bool {
        match self {
            Self::OutOfOrder { .. }
            | Self::NoQueue
            | Self::DamagedRecord { .. }
            | Self::Newer { .. } => true,
            Self::InUse { .. }
            | Self::Full { .. }
            | Self::Io { .. }
            | Self::DamagedFile { .. }
            | Self::Lost { .. }
            | Self::Broken(_) => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| {
            use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
            if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
                return Self::Full { path };
            }
            Self::Io {
                action,
                path,
                source,
            }
        }
    }

    pub(crate) fn record(table: &'static str, key: &[u8], fault: Fault) -> Self {
        Self::DamagedRecord {
            table,
            key: key.iter().map(|byte| format!("{byte:02x}")).collect(),
            fault,
        }
    }
}

fn by(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" by process {pid}"))
}
