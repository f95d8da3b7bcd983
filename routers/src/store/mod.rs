//! What the stores of all routers stand on: ordered bytes in tables, in memory or in a directory.

pub(crate) mod embedded;
pub mod engine;
mod error;
mod recent;

pub use self::embedded::{Embedded, Options};
pub use self::error::{Fault, StoreError};

/// How durable a commit is when it is reported as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// It survives a loss of power; every commit is synchronised on its own.
    Always,
    /// It survives a loss of power; commits that wait at the same time are synchronised together.
    #[default]
    Batch,
    /// It survives the end of the process; a loss of power may undo the last seconds.
    Os,
}
