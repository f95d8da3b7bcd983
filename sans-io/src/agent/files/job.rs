//! What takes time: a router is asked, or a file is read and written. The driver does it, and says how it has ended.

use std::sync::Arc;

use super::record::LocalKey;
use crate::agent::command::TestStep;
use crate::agent::error::{AgentError, Context, FileProblem};
use crate::agent::file_event::DescriptionText;
use crate::agent::id::FileId;
use crate::crypto::{AuthPrivateKey, AuthPublicKey, Nonce, Secret};
use crate::smp::pool::UserId;
use crate::smp::{BrokerError, NetworkError};
use crate::wire::{BasicAuth, EntityId, NonEmpty, ServerAddress, XftpScheme};
use crate::xftp::client::RequestError;
use crate::xftp::description::{ChunkDigest, FileDigest};
use crate::xftp::{ErrorType, NewFile};

/// The machine's name for a job. They are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct JobId(pub u64);

/// Something that takes time. Each file has a place of its own on this machine: for the encrypted file, and for what was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    /// Encrypt something into the place of a file, with the digests of its chunks. [`Outcome::Encrypted`].
    Encrypt {
        /// The file.
        file: FileId,
        /// What is encrypted.
        content: Content,
        /// With this key.
        key: Secret<32>,
        /// With this nonce.
        nonce: Nonce,
        /// The largest encrypted file.
        max_size: u64,
    },
    /// Verify the encrypted file in the place of a file, and decrypt it. [`Outcome::Decrypted`] or [`Outcome::Opened`].
    Decrypt {
        /// The file.
        file: FileId,
        /// Its size.
        size: u64,
        /// Its digest.
        digest: FileDigest,
        /// With this key.
        key: Secret<32>,
        /// With this nonce.
        nonce: Nonce,
        /// What becomes of it.
        target: Target,
    },
    /// Ask a router.
    Ask {
        /// For whom.
        user: UserId,
        /// Which.
        router: ServerAddress<XftpScheme>,
        /// For what.
        question: Question,
    },
    /// See whether a router can be used, in a session of its own. [`Outcome::Tested`].
    Test {
        /// For whom.
        user: UserId,
        /// Which.
        router: ServerAddress<XftpScheme>,
        /// Its password.
        password: Option<BasicAuth>,
    },
    /// Remove the encrypted file from the place of a file, and the place, if nothing else is left in it. No answer.
    Discard {
        /// The file.
        file: FileId,
        /// What becomes of what was received.
        received: Received,
    },
    /// Remove the encrypted files of all others but these. No answer.
    Sweep {
        /// The files that are under way.
        keep: Vec<FileId>,
    },
}

/// What is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file of this machine, in chunks of the usual sizes.
    File {
        /// Where it is.
        path: String,
        /// How it is encrypted there, if it is.
        local: Option<LocalKey>,
    },
    /// A text, in one chunk.
    Text {
        /// The name of its file.
        name: &'static str,
        /// The text.
        text: DescriptionText,
    },
}

/// What becomes of a file that is decrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// It is written beside the encrypted one.
    File(Option<LocalKey>),
    /// It is a description, of no more than so many bytes.
    Text(u64),
}

/// What becomes of what was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is the application's.
    Kept,
    /// It is removed.
    Removed,
}

/// What a router is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// To create a chunk. [`Outcome::Created`].
    Create(Box<NewFile>, Arc<AuthPrivateKey>),
    /// To add recipients. [`Outcome::Added`].
    AddRecipients(Party, NonEmpty<AuthPublicKey>),
    /// To take a part of the encrypted file. [`Outcome::Done`].
    Upload(Party, Part),
    /// For a part of the encrypted file, which is written there for good. [`Outcome::Done`].
    Download(Party, Part, ChunkDigest),
    /// To delete the chunk. [`Outcome::Done`].
    Delete(Party),
}

/// As whom a router is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Party {
    /// Its id.
    pub id: EntityId,
    /// Its key.
    pub key: Arc<AuthPrivateKey>,
}

/// A part of the encrypted file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file.
    pub file: FileId,
    /// Where it begins.
    pub offset: u64,
    /// How large it is.
    pub size: u32,
}

/// How a job has ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The encrypted file is there for good.
    Encrypted {
        /// Its digest.
        digest: FileDigest,
        /// The sizes and digests of its chunks.
        chunks: Vec<(u32, ChunkDigest)>,
    },
    /// The file is there for good.
    Decrypted {
        /// Where.
        path: String,
    },
    /// The description that was in the file.
    Opened(DescriptionText),
    /// The router has created the chunk.
    Created {
        /// The id of the sender.
        sender_id: EntityId,
        /// The ids of the recipients.
        recipient_ids: Vec<EntityId>,
    },
    /// The router has added the recipients.
    Added(Vec<EntityId>),
    /// Where the test of a router has failed, and how, if it has.
    Tested(Option<(TestStep, Failure)>),
    /// It is done.
    Done,
}

/// How a job has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// There is no session with the router.
    Unreachable(BrokerError),
    /// The router has not answered as it should.
    Request(RequestError),
    /// Something of this machine cannot be read or written.
    FileIo(Context),
    /// The file is larger than files may be.
    Size,
    /// The file is not the one that is described.
    Digest,
}

/// What a failure means for whoever has asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// The router cannot be used for now.
    Later,
    /// Not from this router, or not there.
    Never,
    /// It does not depend on the router.
    Hopeless,
}

impl Failure {
    pub(super) fn means(&self) -> Means {
        match self {
            Self::Unreachable(error) => match error {
                // The router is another one, or has no host that can be used.
                BrokerError::Network {
                    error: NetworkError::UnknownCa,
                }
                | BrokerError::Host => Means::Never,
                BrokerError::Network { .. }
                | BrokerError::Timeout
                | BrokerError::Transport { .. }
                | BrokerError::Response { .. }
                | BrokerError::Unexpected { .. }
                | BrokerError::NoService => Means::Later,
            },
            // Each is the answer to what was asked for, over a session that has not changed it.
            Self::Request(RequestError::Size | RequestError::Crypto | RequestError::Digest) => {
                Means::Never
            }
            Self::Request(error) if error.is_transient() => Means::Later,
            Self::Request(_) => Means::Never,
            Self::FileIo(_) | Self::Size | Self::Digest => Means::Hopeless,
        }
    }

    /// Whether the router does not know what it was asked for.
    pub(super) fn is_unknown(&self) -> bool {
        *self == Self::Request(RequestError::Protocol(ErrorType::Auth))
    }

    /// What the application is told.
    pub(super) fn error(&self, router: Option<&ServerAddress<XftpScheme>>) -> AgentError {
        let problem = |error| AgentError::File { error };
        let request = match (self, router) {
            (Self::FileIo(context), _) => {
                return problem(FileProblem::FileIo {
                    context: context.clone(),
                });
            }
            (Self::Size, _) => return problem(FileProblem::Size),
            (Self::Digest, _) => return problem(FileProblem::Digest),
            (_, None) => return AgentError::internal("a router was not asked"),
            (Self::Unreachable(error), Some(router)) => {
                return broker(router, error.clone());
            }
            (Self::Request(request), Some(router)) => (request, router),
        };
        let (request, router) = request;
        let xftp = |error| AgentError::Xftp {
            router: Box::new(router.clone()),
            error,
        };
        match request {
            RequestError::Protocol(error) => xftp(*error),
            RequestError::Size => xftp(ErrorType::Size),
            RequestError::Crypto => xftp(ErrorType::Crypto),
            RequestError::Digest => xftp(ErrorType::Digest),
            RequestError::TimedOut => broker(router, BrokerError::Timeout),
            RequestError::NotAccepted
            | RequestError::Refused
            | RequestError::Disconnected
            | RequestError::Cancelled => broker(
                router,
                BrokerError::Network {
                    error: NetworkError::Failed,
                },
            ),
            RequestError::Status(_) | RequestError::Malformed => broker(
                router,
                BrokerError::Response {
                    error: request.to_string().as_str().into(),
                },
            ),
            RequestError::Unexpected(_) | RequestError::NoSessionKey | RequestError::TooLarge => {
                broker(
                    router,
                    BrokerError::Unexpected {
                        error: request.to_string().as_str().into(),
                    },
                )
            }
        }
    }
}

fn broker(router: &ServerAddress<XftpScheme>, error: BrokerError) -> AgentError {
    AgentError::FileBroker {
        router: Box::new(router.clone()),
        error: Box::new(error),
    }
}
