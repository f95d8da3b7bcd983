//! Files over XFTP routers: sent, received and deleted.
//!
//! A file is encrypted in one pass and cut into chunks; each chunk is on a router of its own, and a few of them travel at the same time.
//! What travels is in memory, and nothing else of the file is: a few chunks, whatever its size. What was done is not done again after a
//! crash: an upload has a journal, and a download leaves its whole chunks.
//!
//! It runs on any runtime. Sessions are a future that the application puts where it wants:
//!
//! ```no_run
//! use simplex_agent::xftp::{Plan, Sessions, receive, send};
//! use simplex_runtime_tokio::{Tokio, rng};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let (sessions, running) = Sessions::new(Tokio::new(), 3, rng()?);
//! tokio::spawn(running);
//! let servers = [simplex_agent::xftp::Server {
//!     address: "xftp://da1aH3nOT-9G8lV7bWamhxpDYdJ1xmW7j3JpGaDR5Ug=@xftp1.simplex.im".parse()?,
//!     password: None,
//! }];
//! let plan = Plan { servers: &servers, recipients: 1, replicas: 1, journal: "photo.journal".as_ref() };
//! let sent = send(&sessions, "photo.jpg".as_ref(), &plan, |done, of| println!("{done} of {of}")).await?;
//! let received = receive(&sessions, &sent.recipients[0], "received".as_ref(), |_, _| {}).await?;
//! println!("{}", received.path.display());
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "programs")]
pub mod cli;
mod delete;
mod journal;
mod name;
mod output;
mod part;
mod receive;
mod send;
mod sessions;
mod source;

pub use self::delete::{abandon, delete};
pub use self::name::local_name;
pub use self::output::unique;
pub use self::receive::{Received, receive, resolve};
pub use self::send::{Plan, Sent, send};
pub use self::sessions::{Runtime, Server, Sessions};
pub(crate) use self::source::Source;

use std::path::{Path, PathBuf};

use simplex_sans_io::drive::XftpConnectError;
use simplex_sans_io::xftp::ErrorType;
use simplex_sans_io::xftp::client::RequestError;
use simplex_sans_io::xftp::description::DescriptionError;
use simplex_sans_io::xftp::file::FileError;

/// How many chunks travel at the same time.
const AT_ONCE: usize = 4;

/// Why a file was not sent, received or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A file cannot be read or written.
    #[error("{path} cannot be {done}: {error}")]
    File {
        /// The file.
        path: PathBuf,
        /// What was to be done.
        done: &'static str,
        /// Why not.
        error: std::io::Error,
    },
    /// A router cannot be reached.
    #[error("{server}: {error}")]
    Connect {
        /// The router.
        server: String,
        /// Why not.
        error: XftpConnectError,
    },
    /// A router did not do what it was asked for.
    #[error("{server}: {error}")]
    Request {
        /// The router.
        server: String,
        /// Why not.
        error: RequestError,
    },
    /// A router takes no files, or none without a password.
    #[error(
        "{server} does not take files from here: it wants a password, which stands in its address as xftp://IDENTITY:PASSWORD@HOST, or another one, or none are welcome"
    )]
    Refused {
        /// The router.
        server: String,
    },
    /// The file is not what it should be.
    #[error(transparent)]
    Content(#[from] FileError),
    /// The description is not what it should be.
    #[error(transparent)]
    Description(#[from] DescriptionError),
    /// The file is not the one that is described.
    #[error("the file is not the one that is described")]
    Digest,
    /// There is no router to use.
    #[error("no router is given")]
    NoServer,
    /// A description leads to another one that leads on.
    #[error("a description leads to a description that leads on")]
    Redirects,
    /// The file was changed while it was read.
    #[error("the file was changed while it was sent")]
    Changed,
    /// The journal of an upload is none.
    #[error("{0} is not the journal of an upload")]
    Journal(PathBuf),
    /// The journal is that of another upload.
    #[error(
        "{0} is the journal of another upload that has not ended: delete what it has uploaded, with `xftp del`, or send that file again"
    )]
    OtherUpload(PathBuf),
    /// Another program receives the same file.
    #[error("another program is receiving this file: {0} is in use")]
    InUse(PathBuf),
    /// The file is larger than files may be.
    #[error("the file is too large")]
    TooLarge,
    /// The sessions do not run any more.
    #[error("the sessions do not run any more")]
    Died,
}

impl TransferError {
    /// Whether a chunk is not on its router, or not any more, or is not given out any more.
    pub(crate) const fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Request {
                error: RequestError::Protocol(ErrorType::Auth | ErrorType::Blocked { .. }),
                ..
            }
        )
    }

    pub(crate) fn file(
        path: &Path,
        done: &'static str,
    ) -> impl FnOnce(std::io::Error) -> Self + Clone + use<> {
        let path = path.to_owned();
        move |error| Self::File { path, done, error }
    }
}
