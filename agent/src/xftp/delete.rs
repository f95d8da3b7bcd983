//! Deleting what was sent, and what was received.

use std::sync::Arc;

use simplex_sans_io::xftp::description::{FileDescription, Party, Replica};

use super::{Sessions, TransferError};

/// Deletes a file as its sender, or the recipient as that recipient. All replicas are tried; the first that fails is told.
pub async fn delete(
    sessions: &Sessions,
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
