//! Writes what a store keeps as the files of the reference's router. The chunks stay where they are: the log says where that is.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use simplex_sans_io::time::UnixTime;
use simplex_sans_io::wire::Large;
use simplex_sans_io::xftp::router::Statistics;
use simplex_sans_io::xftp::router::store::{Load, Loaded};

use super::disk;
use super::import::{STATISTICS, STORE_LOG};
use super::store::{Store, StoreError, Table};
use crate::store::engine::Engine;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Files.
    pub files: u64,
    /// Recipients.
    pub recipients: u64,
    /// Files with a chunk.
    pub chunks: u64,
}

/// Why an export did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Writes the store log and the statistics into a directory. Neither must exist. `files` is where the chunks are.
pub fn export<E: Engine<Table>>(
    store: &mut Store<E>,
    files: &Path,
    to: &Path,
) -> Result<Summary, ExportError> {
    let mut summary = Summary::default();
    let path = to.join(STORE_LOG);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::Io { path, source }
    };
    let files = std::path::absolute(files).map_err(failed(files))?;
    let mut log = create(&path).map_err(failed(&path))?;
    for file in store.files() {
        let file = file?;
        let chunk = file.record.chunk();
        let chunk = chunk.map(|chunk| disk::path(&files, &chunk));
        let chunk = chunk.and_then(|path| Large::try_from(path.as_os_str().as_bytes()).ok());
        let recipients = u64::try_from(file.recipients.len()).unwrap_or(u64::MAX);
        summary.files = summary.files.saturating_add(1);
        summary.recipients = summary.recipients.saturating_add(recipients);
        summary.chunks = summary.chunks.saturating_add(chunk.is_some().into());
        for record in file.records(chunk) {
            writeln!(log, "{record}").map_err(failed(&path))?;
        }
    }
    finish(log).map_err(failed(&path))?;
    if let Loaded::Totals(totals, Some(stored)) = store.load(&Load::Totals)? {
        let path = to.join(STATISTICS);
        let now = UnixTime::from(SystemTime::now());
        let statistics = Statistics::parse(&String::from_utf8_lossy(&stored), now);
        let text = statistics.file(totals.chunks, totals.used);
        let mut file = create(&path).map_err(failed(&path))?;
        let written = file.write_all(text.as_bytes());
        written.and_then(|()| finish(file)).map_err(failed(&path))?;
    }
    Ok(summary)
}

fn create(path: &Path) -> io::Result<BufWriter<File>> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.map(BufWriter::new)
}

fn finish(mut file: BufWriter<File>) -> io::Result<()> {
    file.flush()?;
    file.get_ref().sync_all()
}
