//! Copies of a store, without the chunks: the [format](crate::backup) is that of all routers.

use std::fmt;
use std::path::Path;

use super::{Snapshot, Store, StoreError, StoreHandle, Table};
use crate::backup::{self, Copied, Header};

/// What is in a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Contents {
    /// Files.
    pub files: u64,
    /// Recipients.
    pub recipients: u64,
    /// The size of the backup.
    pub bytes: u64,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            files, recipients, ..
        } = self;
        let bytes = self.bytes;
        write!(
            f,
            "records of {files} files and {recipients} recipients in {bytes} bytes"
        )
    }
}

impl backup::Contents for Contents {
    type Table = Table;
    const HEADER: Header = b"simplex xftp-server file";

    fn count(&mut self, table: Table) {
        let number = match table {
            Table::Files => &mut self.files,
            Table::Recipients => &mut self.recipients,
            Table::Owned | Table::Ages | Table::State => return,
        };
        *number = number.saturating_add(1);
    }

    fn with_size(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    fn try_store(directory: &Path) -> Result<(), StoreError> {
        Store::open(directory)?.close()
    }
}

impl Copied for StoreHandle {
    type Contents = Contents;

    async fn moment(&self) -> Result<Box<Snapshot>, StoreError> {
        self.snapshot().await
    }
}
