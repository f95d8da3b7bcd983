//! Deleting what was sent, and what was received.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use simplex_sans_io::xftp::description::{FileDescription, Party, Replica};

use super::{Runtime, Sessions, TransferError, journal};

/// Deletes a file as its sender, or the recipient as that recipient. All replicas are tried; the first that fails is told.
pub async fn delete<N: Runtime>(
    sessions: &Sessions<N>,
    description: &FileDescription,
) -> Result<(), TransferError> {
    let mut failed = Ok(());
    for Replica { server, id, key } in description.chunks.iter().flat_map(|chunk| &chunk.replicas) {
        let key = Arc::new(key.clone());
        let deleted = match description.party {
            Party::Sender => sessions.delete(server, id, &key).await,
            Party::Recipient => sessions.acknowledge(server, id, &key).await,
        };
        failed = failed.and(deleted);
    }
    failed
}

/// Deletes what an unfinished upload has left on routers, as its journal has it.
pub async fn abandon<N: Runtime>(sessions: &Sessions<N>, path: &Path) -> Result<(), TransferError> {
    let text = fs::read_to_string(path).map_err(TransferError::file(path, "read"))?;
    let replicas = journal::replicas(&text);
    let replicas = replicas.ok_or_else(|| TransferError::Journal(path.to_owned()))?;
    for Replica { server, id, key } in replicas {
        sessions.delete(&server, &id, &Arc::new(key)).await?;
    }
    fs::remove_file(path).map_err(TransferError::file(path, "removed"))
}
