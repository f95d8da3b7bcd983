//! What an owner asks a session for, and what it gets.

use std::sync::Arc;
use std::time::Duration;

use crate::crypto::{AuthPrivateKey, AuthPublicKey};
use crate::wire::{EntityId, NonEmpty};
use crate::xftp::description::ChunkDigest;
use crate::xftp::{ErrorType, NewFile};

/// The owner's name for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What is asked of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What its response will be called.
    pub id: RequestId,
    /// What it is about.
    pub entity_id: EntityId,
    /// What is asked.
    pub ask: Ask,
    /// The key that authorises it.
    pub key: Option<Arc<AuthPrivateKey>>,
    /// How long it may make no progress; as configured otherwise.
    pub timeout: Option<Duration>,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Create a file.
    Create(Box<NewFile>),
    /// Add recipients.
    AddRecipients(NonEmpty<AuthPublicKey>),
    /// Upload a chunk, whose bytes the owner gives.
    Upload {
        /// How large it is.
        size: u32,
    },
    /// Delete the file.
    Delete,
    /// Download a chunk.
    Download {
        /// How large it is.
        size: u32,
        /// Its SHA-256.
        digest: ChunkDigest,
    },
    /// Delete the recipient.
    Acknowledge,
    /// See whether the router is there.
    Ping,
}

impl Request {
    /// A request about nothing.
    #[must_use]
    pub const fn new(id: RequestId, ask: Ask) -> Self {
        Self {
            id,
            entity_id: EntityId::EMPTY,
            ask,
            key: None,
            timeout: None,
        }
    }

    /// The same, about a party's file.
    #[must_use]
    pub fn about(self, entity_id: EntityId) -> Self {
        Self { entity_id, ..self }
    }

    /// The same, authorised by this key.
    #[must_use]
    pub fn authorized_by(self, key: Arc<AuthPrivateKey>) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }
}

/// The response to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The file is created.
    Created {
        /// The id of the sender.
        sender_id: EntityId,
        /// The ids of the recipients, in the order of their keys.
        recipient_ids: NonEmpty<EntityId>,
    },
    /// The recipients are added: their ids, in the order of their keys.
    Added(NonEmpty<EntityId>),
    /// The chunk is uploaded, the file or the recipient deleted.
    Done,
    /// The chunk is downloaded, and it is the one that was asked for.
    Downloaded,
    /// The router is there.
    Pong,
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The session is not ready, or has too many requests. Nothing was sent.
    #[error("the session does not take requests")]
    NotAccepted,
    /// The session has no key that this one could be used with. Nothing was sent.
    #[error("the session has no key for this authorization")]
    NoSessionKey,
    /// It does not fit into a block. Nothing was sent.
    #[error("the request is too large")]
    TooLarge,
    /// The router has not looked at it.
    #[error("the router takes no more requests")]
    Refused,
    /// The session has ended. Whether it was done is not known.
    #[error("the session has ended")]
    Disconnected,
    /// It made no progress. Whether it was done is not known.
    #[error("no answer in time")]
    TimedOut,
    /// The owner has cancelled it. Whether it was done is not known.
    #[error("cancelled")]
    Cancelled,
    /// The router refuses.
    #[error("the router answers {0}")]
    Protocol(ErrorType),
    /// The answer has an HTTP status that no router uses.
    #[error("the router answers with HTTP status {0}")]
    Status(u16),
    /// The answer is none.
    #[error("the answer cannot be parsed")]
    Malformed,
    /// The answer is one to something else.
    #[error("the answer is {0}")]
    Unexpected(&'static str),
    /// The chunk is larger or smaller than it should be.
    #[error("the chunk has another size")]
    Size,
    /// The chunk was not encrypted by the router, or it was changed.
    #[error("the chunk is not authentic")]
    Crypto,
    /// The chunk is not the one that was asked for.
    #[error("the chunk is another one")]
    Digest,
}

impl RequestError {
    /// Whether it is certain that the router has done nothing.
    #[must_use]
    pub const fn is_without_effect(&self) -> bool {
        match self {
            Self::NotAccepted
            | Self::NoSessionKey
            | Self::TooLarge
            | Self::Refused
            | Self::Protocol(_) => true,
            Self::Disconnected
            | Self::TimedOut
            | Self::Cancelled
            | Self::Status(_)
            | Self::Malformed
            | Self::Unexpected(_)
            | Self::Size
            | Self::Crypto
            | Self::Digest => false,
        }
    }
    /// Whether the same request may be answered otherwise another time.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::NotAccepted
            | Self::Refused
            | Self::Disconnected
            | Self::TimedOut
            | Self::Status(_)
            | Self::Malformed
            | Self::Size
            | Self::Crypto
            | Self::Digest => true,
            Self::Protocol(error) => matches!(
                error,
                ErrorType::Session | ErrorType::Timeout | ErrorType::Internal | ErrorType::FileIo
            ),
            Self::NoSessionKey | Self::TooLarge | Self::Cancelled | Self::Unexpected(_) => false,
        }
    }
}
