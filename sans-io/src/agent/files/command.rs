//! What the application wants of files.

use super::record::{LocalKey, Relays};
use super::statistics::FileRouterStatistics;
use crate::agent::command::TestFailure;
use crate::agent::config::UserRouter;
use crate::agent::id::{EventId, FileId};
use crate::smp::pool::UserId;
use crate::wire::{BasicAuth, ServerAddress, XftpScheme};
use crate::xftp::description::FileDescription;

/// What the application wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Use these routers for the files that a user sends. Not stored: the application says it at every start. [`Reply::Done`].
    SetRouters {
        /// The user.
        user: UserId,
        /// The routers: those whose role is storage are used.
        routers: Vec<UserRouter<XftpScheme>>,
    },
    /// Forget the files of a user. [`Reply::Done`].
    DeleteUser {
        /// The user.
        user: UserId,
    },
    /// Receive a file. [`Reply::File`]; [`Received`](crate::agent::file_event::FileEvent::Received) follows, or that it has failed.
    Receive {
        /// What it is to be called; random if nothing is said.
        file: Option<FileId>,
        /// For whom.
        user: UserId,
        /// What is received, or a description that leads to its description.
        description: Box<FileDescription>,
        /// How it is encrypted on this machine, if it is to be.
        local: Option<LocalKey>,
        /// Which routers may be asked.
        relays: Relays,
    },
    /// Send a file. [`Reply::File`]; [`Sent`](crate::agent::file_event::FileEvent::Sent) follows, or that it has failed.
    Send {
        /// What it is to be called; random if nothing is said.
        file: Option<FileId>,
        /// Whose it is.
        user: UserId,
        /// Where it is on this machine.
        path: String,
        /// How it is encrypted there, if it is.
        local: Option<LocalKey>,
        /// How many recipients there are.
        recipients: u16,
        /// On how many routers each chunk is.
        replicas: u8,
    },
    /// Send the description of a file, for one that is too long to be shown: whoever gets what [`Sent`] tells is led to it. The rest as
    /// for [`Send`](Self::Send).
    ///
    /// [`Sent`]: crate::agent::file_event::FileEvent::Sent
    SendDescription {
        /// Whose it is.
        user: UserId,
        /// The description for the recipient.
        description: Box<FileDescription>,
        /// How many recipients there are.
        recipients: u16,
        /// On how many routers each chunk is.
        replicas: u8,
    },
    /// Stop to send or receive files, and delete what there is of them on this machine: also what was received. What is on routers
    /// stays until it expires. A file that is not there is deleted. [`Reply::Done`].
    Delete {
        /// Which.
        files: Vec<FileId>,
    },
    /// The same for a file that was sent, or is being sent, and delete it at its routers. [`Reply::Done`];
    /// [`Deleted`](crate::agent::file_event::FileEvent::Deleted) follows.
    DeleteRemotely {
        /// Whose it is.
        user: UserId,
        /// Which.
        file: FileId,
        /// The sender's description, which is needed once the file is sent; without one what was uploaded so far.
        sender: Option<Box<FileDescription>>,
    },
    /// Whether a router can be used for files: one is created, uploaded, downloaded and deleted there. [`Reply::Tested`].
    TestRouter {
        /// For whom.
        user: UserId,
        /// The router.
        router: ServerAddress<XftpScheme>,
        /// Its password.
        password: Option<BasicAuth>,
    },
    /// Which files are being sent and received. [`Reply::Files`].
    Files,
    /// What was done at which router, since it was asked to forget it. [`Reply::Statistics`].
    Statistics,
    /// Forget what was done at which router. [`Reply::Done`].
    ResetStatistics,
    /// An event was dealt with: it is not told again. No reply.
    Confirm {
        /// The event.
        event: EventId,
    },
}

/// What the application gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// What the file is called from now on.
    File(FileId),
    /// Which files are being sent and received.
    Files(Vec<FileId>),
    /// What is wrong with a router, if anything is.
    Tested(Option<TestFailure>),
    /// What was done at which router.
    Statistics(Vec<FileRouterStatistics>),
}
