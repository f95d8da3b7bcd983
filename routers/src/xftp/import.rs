//! Taking over the files of the reference's router: its store log and its statistics are read, and stay as they are, as its chunks do.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use simplex_sans_io::time::UnixTime;
use simplex_sans_io::wire::Large;
use simplex_sans_io::xftp::router::Statistics;
use simplex_sans_io::xftp::router::store::{Adjustment, Change, Content, Load, Loaded, Party};
use simplex_sans_io::xftp::storelog::{File, Files, parse_record};

use super::store::{Source, Store, StoreError, Table};
use crate::store::engine::Engine;

/// The name of the log.
pub const STORE_LOG: &str = "file-server-store.log";

/// The name that the reference gives it while it writes a new one. If it is there, that was not finished.
const UNFINISHED: &str = "file-server-store.log.start";

/// The name of the statistics.
pub const STATISTICS: &str = "file-server-stats.log";

/// How many files are stored at once.
const GROUP: usize = 1000;

/// Whether there is a log in a directory.
#[must_use]
pub fn is_there(data: &Path) -> bool {
    [STORE_LOG, UNFINISHED]
        .into_iter()
        .any(|name| data.join(name).exists())
}

/// What was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Files.
    pub files: u64,
    /// Recipients.
    pub recipients: u64,
    /// Files with a chunk.
    pub chunks: u64,
    /// Lines that were not understood.
    pub left_out: u64,
}

/// What became of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Import {
    /// There is none.
    Nothing,
    /// It is taken over.
    Done(Summary),
    /// It was taken over before.
    Before,
    /// It was taken over before, and the other router has written to it since then.
    Changed,
}

/// Why a log was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes over the log in a directory, if there is one, once. `chunks` is where the router keeps its chunks.
///
/// The log stays as it is, so that its router can be gone back to. If the import is interrupted, it begins again: the same files have the
/// same ids.
pub fn import<E: Engine<Table>>(
    store: &mut Store<E>,
    data: &Path,
    chunks: &Path,
) -> Result<Import, ImportError> {
    let unfinished = data.join(UNFINISHED);
    let path = match unfinished.exists() {
        true => unfinished,
        false => data.join(STORE_LOG),
    };
    let failed = |error| ImportError::File {
        path: path.clone(),
        error,
    };
    let log = match fs::File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Import::Nothing),
        opened => opened.map_err(failed)?,
    };
    let source = log
        .metadata()
        .and_then(|log| source(&log))
        .map_err(failed)?;
    match store.imported()? {
        Some(imported) if imported == source => return Ok(Import::Before),
        Some(_) => return Ok(Import::Changed),
        None => {}
    }
    let (mut files, mut summary) = (Files::default(), Summary::default());
    for (line, number) in io::BufReader::new(log).split(b'\n').zip(1_u64..) {
        let line = line.map_err(failed)?;
        if let Err(error) = replay(&mut files, &line) {
            summary.left_out = summary.left_out.saturating_add(1);
            tracing::warn!(number, error, "a line of {} is left out", path.display());
        }
    }
    let mut commits = Vec::new();
    for mut file in files.into_files() {
        let known = Load::File(Party::Sender, file.record.sender_id.clone());
        if store.load(&known)? != Loaded::File(None) {
            continue;
        }
        if let Content::Imported(name) = &file.record.content {
            file.record.content = Content::Imported(found(chunks, name));
        }
        commits.push(changes(file, &mut summary));
        if commits.len() >= GROUP {
            store.commit(&std::mem::take(&mut commits))?;
        }
    }
    commits.extend(statistics(data));
    store.commit(&commits)?;
    store.note_import(source)?;
    Ok(Import::Done(summary))
}

/// Does what a line says. A disk that was full or torn off leaves lines that are no text.
fn replay(files: &mut Files, line: &[u8]) -> Result<(), String> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let record = parse_record(line).map_err(|error| error.to_string())?;
    files.replay(record).map_err(|error| error.to_string())
}

fn source(log: &fs::Metadata) -> io::Result<Source> {
    let changed = log.modified()?.duration_since(SystemTime::UNIX_EPOCH);
    let changed = changed.unwrap_or_default().as_nanos();
    Ok((log.len(), i64::try_from(changed).unwrap_or(i64::MAX)))
}

fn changes(file: File, summary: &mut Summary) -> Vec<Change> {
    let sender_id = file.record.sender_id.clone();
    let is_there = file.record.content != Content::Absent;
    let recipients = i64::try_from(file.recipients.len()).unwrap_or(i64::MAX);
    summary.files = summary.files.saturating_add(1);
    summary.recipients = summary.recipients.saturating_add_signed(recipients);
    summary.chunks = summary.chunks.saturating_add(is_there.into());
    let adjusted = Change::Adjust(Adjustment {
        files: 1,
        recipients,
        chunks: i64::from(is_there),
        used: if is_there { file.record.size.into() } else { 0 },
    });
    let recipients = file.recipients.into_iter().map(|recipient| {
        let sender_id = sender_id.clone();
        Change::PutRecipient {
            sender_id,
            recipient,
        }
    });
    [Change::PutFile(Box::new(file.record)), adjusted]
        .into_iter()
        .chain(recipients)
        .collect()
}

/// Where a chunk is: where the log says, or under the same name in the directory of the chunks, if they were moved.
fn found(chunks: &Path, name: &Large) -> Large {
    let logged = Path::new(OsStr::from_bytes(name));
    let moved = chunks.join(logged.file_name().unwrap_or_default());
    let found = [logged, &moved].into_iter().find(|path| path.is_file());
    let absolute = found.and_then(|path| std::path::absolute(path).ok());
    let absolute = absolute.and_then(|path| Large::try_from(path.as_os_str().as_bytes()).ok());
    absolute.unwrap_or_else(|| name.clone())
}

/// What the other router has counted.
fn statistics(data: &Path) -> Option<Vec<Change>> {
    let text = fs::read_to_string(data.join(STATISTICS)).ok()?;
    let now = UnixTime::from(SystemTime::now());
    let text = Statistics::parse(&text, now).file(0, 0);
    Some(vec![Change::PutStatistics(text.into())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xftp::export::export;
    use simplex_sans_io::xftp::router::store::Totals;

    const LOG: &str = "FNEW _BKyD3cpkLRb35Ps0guMM0bfwHjoYkLm MCowBQYDK2VwAyEAMH8e0pblGHC0FeyvV8fNIGW39bxBkwc2vkHE4N8pC1M= 65536 \
        bIf2g3GyiVRwfruSr-58z_t0xvceyP6oqYz2EEKJWFs= 1700006400 active\n\
        FADD _BKyD3cpkLRb35Ps0guMM0bfwHjoYkLm 0Fr9nNMZmypoqwha1A51C3Ombr_jK15U:MCowBQYDK2VwAyEAGwjCzgUuMZzKjFWYdZ8XhaS6jtyE9hJ0mNqOZWKT_8k=\n";

    #[test]
    fn a_log_is_taken_over_once_and_its_chunks_stay_where_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let put =
            "what nobody understands\nFPUT _BKyD3cpkLRb35Ps0guMM0bfwHjoYkLm L3Nydi94ZnRwL2FiYw==\n";
        fs::write(at(STORE_LOG), [LOG, put].concat()).unwrap();
        fs::write(
            at(STATISTICS),
            "fromTime=2026-11-28T00:00:00Z\nfilesCreated=7\n",
        )
        .unwrap();
        // It was at /srv/xftp/abc.
        fs::create_dir(at("files")).unwrap();
        fs::write(at("files/abc"), "chunk").unwrap();
        let mut store = Store::in_memory();
        let mut import = || import(&mut store, directory.path(), &at("files")).unwrap();
        let summary = Summary {
            files: 1,
            recipients: 1,
            chunks: 1,
            left_out: 1,
        };
        assert_eq!(import(), Import::Done(summary));
        assert_eq!(import(), Import::Before);
        assert_eq!(
            fs::read_to_string(at(STORE_LOG)).unwrap(),
            [LOG, put].concat()
        );
        let totals = Totals {
            files: 1,
            recipients: 1,
            chunks: 1,
            used: 65536,
        };
        let Loaded::Totals(loaded, Some(statistics)) = store.load(&Load::Totals).unwrap() else {
            panic!("totals with statistics")
        };
        assert_eq!(loaded, totals);
        assert!(String::from_utf8_lossy(&statistics).contains("\nfilesCreated=7\n"));

        // What is written again is what was read, and where the chunk is now.
        fs::create_dir(at("out")).unwrap();
        let exported = export(&mut store, &at("files"), &at("out")).unwrap();
        assert_eq!(
            (exported.files, exported.recipients, exported.chunks),
            (1, 1, 1)
        );
        let text = fs::read_to_string(at("out").join(STORE_LOG)).unwrap();
        assert!(text.starts_with(LOG), "{text}");
        let path = at("files/abc").to_str().unwrap().as_bytes().to_vec();
        let path = simplex_sans_io::wire::text::base64url(&path);
        assert!(text.ends_with(&format!("FPUT _BKyD3cpkLRb35Ps0guMM0bfwHjoYkLm {path}\n")));
        let text = fs::read_to_string(at("out").join(STATISTICS)).unwrap();
        assert!(text.contains("\nfilesCount=1\nfilesSize=65536\n"), "{text}");
        assert!(export(&mut store, &at("files"), &at("out")).is_err());
    }

    #[test]
    fn a_log_that_the_reference_had_not_finished_to_write_again_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(STORE_LOG), "").unwrap();
        fs::write(directory.path().join(UNFINISHED), LOG).unwrap();
        let mut store = Store::in_memory();
        let summary = import(&mut store, directory.path(), directory.path()).unwrap();
        assert!(matches!(summary, Import::Done(Summary { files: 1, .. })));
        let again = import(&mut store, directory.path(), directory.path()).unwrap();
        assert_eq!(again, Import::Before);
    }

    #[test]
    fn what_is_no_text_is_left_out_and_the_rest_is_taken_over() {
        let directory = tempfile::tempdir().unwrap();
        let log = [b"FPUT \xff\xfe\0\n", LOG.replace('\n', "\r\n").as_bytes()].concat();
        fs::write(directory.path().join(STORE_LOG), log).unwrap();
        let mut store = Store::in_memory();
        let summary = Summary {
            files: 1,
            recipients: 1,
            chunks: 0,
            left_out: 1,
        };
        let done = import(&mut store, directory.path(), directory.path());
        assert_eq!(done.unwrap(), Import::Done(summary));
    }

    #[test]
    fn a_log_that_was_written_again_since_it_was_taken_over_is_told_of() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(STORE_LOG), LOG).unwrap();
        let store = directory.path().join("store");
        let import = |store: &mut Store<_>| import(store, directory.path(), directory.path());
        let mut opened = Store::open(&store).unwrap();
        assert!(matches!(import(&mut opened), Ok(Import::Done(_))));
        opened.close().unwrap();
        let mut opened = Store::open(&store).unwrap();
        assert!(matches!(import(&mut opened), Ok(Import::Before)));
        let more = "FDEL _BKyD3cpkLRb35Ps0guMM0bfwHjoYkLm\n";
        fs::write(directory.path().join(STORE_LOG), [LOG, more].concat()).unwrap();
        assert!(matches!(import(&mut opened), Ok(Import::Changed)));
    }

    #[test]
    fn a_blocked_file_takes_no_room() {
        let directory = tempfile::tempdir().unwrap();
        let id = "_BKyD3cpkLRb35Ps0guMM0bfwHjoYkLm";
        let lines = format!("FPUT {id} L3Nydi94ZnRwL2FiYw==\nFBLK {id} reason=content\n");
        // After a start of the reference it is written as blocked at once, with the place of the chunk.
        let again = LOG.replace(" active", " blocked,reason=content");
        let again = again + &format!("FPUT {id} L3Nydi94ZnRwL2FiYw==\n");
        for log in [[LOG, &lines].concat(), again] {
            fs::write(directory.path().join(STORE_LOG), log).unwrap();
            let mut store = Store::in_memory();
            import(&mut store, directory.path(), directory.path()).unwrap();
            let Loaded::Totals(totals, _) = store.load(&Load::Totals).unwrap() else {
                panic!("totals")
            };
            assert_eq!((totals.files, totals.chunks, totals.used), (1, 0, 0));
        }
    }
}
