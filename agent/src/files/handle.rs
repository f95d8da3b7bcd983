//! The application's side of files.

use std::path::{Path, PathBuf};

use simplex_sans_io::agent::command::TestFailure;
use simplex_sans_io::agent::config::UserRouter;
use simplex_sans_io::agent::error::{AgentError, FileProblem};
use simplex_sans_io::agent::files::command::{Command, Reply};
use simplex_sans_io::agent::files::record::{LocalKey, Relays};
use simplex_sans_io::agent::files::statistics::FileRouterStatistics;
use simplex_sans_io::agent::id::FileId;
use simplex_sans_io::drive;
use simplex_sans_io::smp::pool::UserId;
use simplex_sans_io::wire::{BasicAuth, ServerAddress, XftpScheme};
use simplex_sans_io::xftp::description::FileDescription;

use crate::handle::{Agent, Error, unexpected};
use crate::running::Asked;

/// A file to be received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveFile {
    /// What it is to be called; random if nothing is said.
    pub file: Option<FileId>,
    /// For whom.
    pub user: UserId,
    /// What is received, or a description that leads to its description.
    pub description: FileDescription,
    /// How it is encrypted on this machine, if it is to be: it is never there in clear then.
    pub local: Option<LocalKey>,
    /// Which routers may be asked.
    pub relays: Relays,
}

impl ReceiveFile {
    /// A file that is written in clear, from routers of the user.
    #[must_use]
    pub const fn new(user: UserId, description: FileDescription) -> Self {
        Self {
            file: None,
            user,
            description,
            local: None,
            relays: Relays::Own,
        }
    }

    /// The same, from all routers that the description names: they learn where this machine is.
    #[must_use]
    pub fn from_any_router(self) -> Self {
        let relays = Relays::Approved;
        Self { relays, ..self }
    }
}

/// A file to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendFile {
    /// What it is to be called; random if nothing is said.
    pub file: Option<FileId>,
    /// Whose it is.
    pub user: UserId,
    /// Where it is. Recipients learn its name.
    pub path: PathBuf,
    /// How it is encrypted there, if it is.
    pub local: Option<LocalKey>,
    /// How many recipients there are.
    pub recipients: u16,
    /// On how many routers each chunk is.
    pub replicas: u8,
}

impl SendFile {
    /// A file in clear, for one recipient.
    #[must_use]
    pub fn new(user: UserId, path: impl Into<PathBuf>) -> Self {
        Self {
            file: None,
            user,
            path: path.into(),
            local: None,
            recipients: 1,
            replicas: 1,
        }
    }

    /// The same for so many recipients.
    #[must_use]
    pub fn recipients(self, recipients: u16) -> Self {
        Self { recipients, ..self }
    }
}

/// Files, where [`Builder::files`](crate::Builder::files) says where they are.
impl Agent {
    async fn execute_file(&self, command: Command) -> Result<Reply, Error> {
        let (reply, mut replied) = drive::queue(1);
        let asked = Asked::Files(command, reply);
        self.asked.send(asked).await.map_err(|_| Error::Ended)?;
        Ok(replied.next().await.ok_or(Error::Ended)??)
    }

    async fn file_done(&self, command: Command) -> Result<(), Error> {
        match self.execute_file(command).await? {
            Reply::Done => Ok(()),
            Reply::File(_) | Reply::Files(_) | Reply::Tested(_) | Reply::Statistics(_) => {
                Err(unexpected())
            }
        }
    }

    async fn file(&self, command: Command) -> Result<FileId, Error> {
        match self.execute_file(command).await? {
            Reply::File(file) => Ok(file),
            Reply::Done | Reply::Files(_) | Reply::Tested(_) | Reply::Statistics(_) => {
                Err(unexpected())
            }
        }
    }

    /// Uses these routers for the files that a user sends from now on: those whose role is storage. They are not stored.
    pub async fn set_file_routers(
        &self,
        user: UserId,
        routers: Vec<UserRouter<XftpScheme>>,
    ) -> Result<(), Error> {
        self.file_done(Command::SetRouters { user, routers }).await
    }

    /// Whether a router can be used for files: what is wrong with it, if anything is.
    pub async fn test_file_router(
        &self,
        user: UserId,
        router: ServerAddress<XftpScheme>,
        password: Option<BasicAuth>,
    ) -> Result<Option<TestFailure>, Error> {
        let test = Command::TestRouter {
            user,
            router,
            password,
        };
        match self.execute_file(test).await? {
            Reply::Tested(failure) => Ok(failure),
            Reply::Done | Reply::File(_) | Reply::Files(_) | Reply::Statistics(_) => {
                Err(unexpected())
            }
        }
    }

    /// Which files are being sent and received.
    pub async fn files(&self) -> Result<Vec<FileId>, Error> {
        match self.execute_file(Command::Files).await? {
            Reply::Files(files) => Ok(files),
            Reply::Done | Reply::File(_) | Reply::Tested(_) | Reply::Statistics(_) => {
                Err(unexpected())
            }
        }
    }

    /// What was done at which router of files, since that was [forgotten](Self::reset_file_statistics).
    pub async fn file_statistics(&self) -> Result<Vec<FileRouterStatistics>, Error> {
        match self.execute_file(Command::Statistics).await? {
            Reply::Statistics(statistics) => Ok(statistics),
            Reply::Done | Reply::File(_) | Reply::Files(_) | Reply::Tested(_) => Err(unexpected()),
        }
    }

    /// Forgets what was done at which router of files.
    pub async fn reset_file_statistics(&self) -> Result<(), Error> {
        self.file_done(Command::ResetStatistics).await
    }

    /// Receives a file, through restarts. [`Received`] says where it is, until it is deleted; what cannot be received for two days is
    /// given up.
    ///
    /// [`Received`]: simplex_sans_io::agent::file_event::FileEvent::Received
    pub async fn receive_file(&self, file: ReceiveFile) -> Result<FileId, Error> {
        self.file(Command::Receive {
            file: file.file,
            user: file.user,
            description: Box::new(file.description),
            local: file.local,
            relays: file.relays,
        })
        .await
    }

    /// Sends a file, through restarts. [`Sent`] has the descriptions for its recipients, and that for its sender. The file is not needed any
    /// more when the first progress is told.
    ///
    /// [`Sent`]: simplex_sans_io::agent::file_event::FileEvent::Sent
    pub async fn send_file(&self, file: SendFile) -> Result<FileId, Error> {
        self.file(Command::Send {
            file: file.file,
            user: file.user,
            path: text(&file.path)?,
            local: file.local,
            recipients: file.recipients,
            replicas: file.replicas,
        })
        .await
    }

    /// Sends the description of a file as a file, so that what leads to it is short whatever its size. [`Sent`] has what leads to it.
    ///
    /// [`Sent`]: simplex_sans_io::agent::file_event::FileEvent::Sent
    pub async fn send_description(
        &self,
        user: UserId,
        description: FileDescription,
        recipients: u16,
    ) -> Result<FileId, Error> {
        self.file(Command::SendDescription {
            user,
            description: Box::new(description),
            recipients,
            replicas: 1,
        })
        .await
    }

    /// Stops to send or receive a file, and deletes what there is of it on this machine: also what was received. What is on routers stays
    /// until it expires there. A file that is not there is deleted.
    pub async fn delete_file(&self, file: &FileId) -> Result<(), Error> {
        self.delete_files([file.clone()]).await
    }

    /// The same for many.
    pub async fn delete_files(&self, files: impl IntoIterator<Item = FileId>) -> Result<(), Error> {
        let files = files.into_iter().collect();
        self.file_done(Command::Delete { files }).await
    }

    /// Deletes a file that was sent at its routers, by the description of its sender; without one what was uploaded so far of a file that
    /// is being sent. [`Deleted`] says when that is done, or was given up.
    ///
    /// [`Deleted`]: simplex_sans_io::agent::file_event::FileEvent::Deleted
    pub async fn delete_file_remotely(
        &self,
        user: UserId,
        file: &FileId,
        sender: Option<FileDescription>,
    ) -> Result<(), Error> {
        self.file_done(Command::DeleteRemotely {
            user,
            file: file.clone(),
            sender: sender.map(Box::new),
        })
        .await
    }
}

fn text(path: &Path) -> Result<String, Error> {
    let path = path.to_str().map(str::to_owned);
    path.ok_or_else(|| {
        Error::Agent(AgentError::File {
            error: FileProblem::FileIo {
                context: "the path is not UTF-8".into(),
            },
        })
    })
}
