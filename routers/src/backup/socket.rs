//! Backups of a running router: it is asked for them through a socket among its files.
//!
//! ```text
//!   the command backup ──the path of a file──▶ the router
//!                      ◀──ok: what is in it──
//!                      ◀──error: why not─────
//! ```
//! Only the router's own user, and root, may ask.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use super::{BackupError, Contents, backup};
use crate::store::StoreError;
use crate::store::engine::Snapshot;

/// A store that can be copied while it is in use.
pub(crate) trait Copied: Send + Sync + 'static {
    /// What is in its backups.
    type Contents: Contents + Send;

    /// What there is now.
    fn moment(&self) -> impl Future<Output = Result<Box<Moment<Self>>, StoreError>> + Send;
}

/// What a store is at one moment.
type Moment<S> = dyn Snapshot<<<S as Copied>::Contents as Contents>::Table>;

/// The longest path.
const PATH: u64 = 4096;

/// Why a running router has made no backup.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No router runs on these files.
    #[error("the router does not run")]
    NotRunning,
    /// The router cannot be asked.
    #[error("the running router cannot be asked: {0}")]
    Io(#[from] io::Error),
    /// The router says why.
    #[error("the running router: {0}")]
    Refused(String),
}

/// Asks a running router to write a backup: what is in it.
pub(crate) fn ask(socket: &Path, to: &Path) -> Result<String, AskError> {
    let connected = std::os::unix::net::UnixStream::connect(socket);
    let mut stream = connected.map_err(|error| {
        let gone = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        match gone.contains(&error.kind()) {
            true => AskError::NotRunning,
            false => AskError::Io(error),
        }
    })?;
    stream.write_all(to.as_os_str().as_bytes())?;
    stream.write_all(b"\n")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    match answer.trim_end().split_once(": ") {
        Some(("ok", contents)) => Ok(contents.to_owned()),
        Some((_, error)) => Err(AskError::Refused(error.to_owned())),
        None => Err(AskError::Refused("it has stopped".to_owned())),
    }
}

/// Lets a running router be asked, among its `tasks`. It runs without if there can be no socket.
pub(crate) fn serve(tasks: &mut JoinSet<()>, path: PathBuf, store: impl Copied) {
    match Socket::bind(path) {
        Ok(socket) => {
            tasks.spawn(socket.serve(store));
        }
        Err(error) => {
            tracing::warn!(%error, "no backups while the router runs: there can be no socket among its files");
        }
    }
}

/// The socket of a running router, which is removed with this.
#[derive(Debug)]
struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Makes the socket, in the place of one that a router left behind. The store is open by now: no other router runs.
    fn bind(path: PathBuf) -> io::Result<Self> {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        Ok(Self { listener, path })
    }

    /// Makes backups, one at a time, until the future is dropped.
    async fn serve(self, store: impl Copied) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = answer(stream, &store).await {
                        tracing::debug!(%error, "somebody who wanted a backup is gone");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "backups cannot be asked for now");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        fs::remove_file(&self.path).ok();
    }
}

async fn answer(stream: UnixStream, store: &impl Copied) -> io::Result<()> {
    let asking = stream.peer_cred()?.uid();
    if asking != 0 && asking != rustix::process::geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = tokio::io::BufReader::new(reader).take(PATH);
    let asked = reader.read_until(b'\n', &mut line);
    let patience = std::time::Duration::from_secs(10);
    tokio::time::timeout(patience, asked).await??;
    if line.pop() != Some(b'\n') {
        return Ok(());
    }
    let path = PathBuf::from(std::ffi::OsString::from_vec(line));
    let text = match make(store, path.clone()).await {
        Ok(contents) => {
            tracing::info!("backup {}: {contents}", path.display());
            format!("ok: {contents}\n")
        }
        Err(error) => {
            tracing::warn!("no backup: {error}");
            format!("error: {error}\n")
        }
    };
    writer.write_all(text.as_bytes()).await
}

/// Makes a backup where it may take its time.
async fn make<S: Copied>(store: &S, path: PathBuf) -> Result<String, BackupError> {
    let moment = store.moment().await.map_err(BackupError::store)?;
    let to = path.clone();
    let made = move || backup::<S::Contents>(moment.as_ref(), &to);
    match tokio::task::spawn_blocking(made).await {
        Ok(contents) => Ok(contents?.to_string()),
        Err(error) => Err(BackupError::Io {
            path,
            source: io::Error::other(error),
        }),
    }
}
