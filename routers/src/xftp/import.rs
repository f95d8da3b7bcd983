//! Taking over the files of the reference's router: its store log is read, its chunks stay where they are.

use std::fs;
use std::io::{self, BufRead as _};
use std::path::{Path, PathBuf};

use simplex_sans_io::xftp::router::store::{Adjustment, Change, Content, Load, Loaded};
use simplex_sans_io::xftp::storelog::{Files, parse_record};

use super::store::{Engine, Store, StoreError};

/// The name of the log.
pub const STORE_LOG: &str = "file-server-store.log";

/// How many files are stored at once.
const GROUP: usize = 1000;

/// Why a log was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read or renamed.
    #[error("{path} cannot be {done}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done.
        done: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes over the log in a directory, if there is one and the store is empty. Says how many files there were.
///
/// A log that was taken over gets another name. If that is interrupted, it is taken over again: the same files have the same ids.
pub fn import<E: Engine>(store: &mut Store<E>, data: &Path) -> Result<Option<usize>, ImportError> {
    let path = data.join(STORE_LOG);
    let failed = |done| {
        let path = path.clone();
        move |error| ImportError::File { path, done, error }
    };
    let log = match fs::File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed("read"))?,
    };
    let mut files = Files::default();
    for (line, number) in io::BufReader::new(log).lines().zip(1_u64..) {
        let line = line.map_err(failed("read"))?;
        let replayed = parse_record(&line)
            .map_err(|error| error.to_string())
            .and_then(|record| files.replay(record).map_err(|error| error.to_string()));
        if let Err(error) = replayed {
            tracing::warn!(number, error, "a line of {} is left out", path.display());
        }
    }
    let mut count = 0;
    let mut commits = Vec::new();
    for file in files.into_files() {
        let sender_id = file.record.sender_id.clone();
        let known = Load::File(
            simplex_sans_io::xftp::router::store::Party::Sender,
            sender_id.clone(),
        );
        if store.load(&known)? != Loaded::File(None) {
            continue;
        }
        let is_there = file.record.content != Content::Absent;
        let mut changes = vec![Change::PutFile(Box::new(file.record.clone()))];
        changes.push(Change::Adjust(Adjustment {
            files: 1,
            recipients: i64::try_from(file.recipients.len()).unwrap_or(i64::MAX),
            chunks: i64::from(is_there),
            used: if is_there { file.record.size.into() } else { 0 },
        }));
        changes.extend(file.recipients.into_iter().map(|recipient| {
            let sender_id = sender_id.clone();
            Change::PutRecipient {
                sender_id,
                recipient,
            }
        }));
        count += 1;
        commits.push(changes);
        if commits.len() >= GROUP {
            store.commit(&std::mem::take(&mut commits))?;
        }
    }
    store.commit(&commits)?;
    fs::rename(&path, path.with_added_extension("imported")).map_err(failed("renamed"))?;
    Ok(Some(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xftp::store::Memory;
    use simplex_sans_io::xftp::router::store::Totals;

    #[test]
    fn a_log_is_taken_over_once_and_its_chunks_stay_where_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let log = "FNEW _BKyD3cpkLRb35Ps0guMM0bfwHjoYkLm MCowBQYDK2VwAyEAMH8e0pblGHC0FeyvV8fNIGW39bxBkwc2vkHE4N8pC1M= 65536 \
            bIf2g3GyiVRwfruSr-58z_t0xvceyP6oqYz2EEKJWFs= 1700006400 active\n\
            FADD _BKyD3cpkLRb35Ps0guMM0bfwHjoYkLm 0Fr9nNMZmypoqwha1A51C3Ombr_jK15U:MCowBQYDK2VwAyEAGwjCzgUuMZzKjFWYdZ8XhaS6jtyE9hJ0mNqOZWKT_8k=\n\
            what nobody understands\n\
            FPUT _BKyD3cpkLRb35Ps0guMM0bfwHjoYkLm L3Nydi94ZnRwL2FiYw==\n";
        fs::write(directory.path().join(STORE_LOG), log).unwrap();
        let mut store = Store::new(Memory::default());
        assert_eq!(import(&mut store, directory.path()).unwrap(), Some(1));
        assert_eq!(import(&mut store, directory.path()).unwrap(), None);
        let totals = Totals {
            files: 1,
            recipients: 1,
            chunks: 1,
            used: 65536,
        };
        let loaded = store.load(&Load::Totals).unwrap();
        assert_eq!(loaded, Loaded::Totals(totals, None));
    }
}
