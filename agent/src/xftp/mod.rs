//! Files over XFTP routers: sent, received and deleted.
//!
//! A file is encrypted in one pass and cut into chunks; each chunk is on a router of its own, and a few of them travel at the same time.
//! What travels is in memory, and nothing else of the file is: a few chunks, whatever its size.

pub mod cli;
mod delete;
mod name;
mod output;
mod receive;
mod send;
mod sessions;

pub use self::delete::delete;
pub use self::name::local_name;
pub use self::output::unique;
pub use self::receive::{Received, receive, resolve};
pub use self::send::{Plan, Sent, send};
pub use self::sessions::{Server, Sessions};

use std::path::PathBuf;

use simplex_sans_io::drive::XftpConnectError;
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
    /// A task has died.
    #[error("a task has died")]
    Died,
}
