//! What can go wrong, and what it says about the ratchet.

use crate::wire::padding::PaddingError;
use crate::wire::{Version, WireError};

/// Why no ratchet follows from two parties' parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AgreementError {
    /// The parameters are in a version that is not supported here.
    #[error("version {0} of the ratchet is not supported")]
    Version(Version),
    /// The peer has accepted a post-quantum key that was not proposed to it.
    #[error("the peer has accepted a KEM key that was not proposed")]
    KemNotProposed,
}

/// Why no message can be encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// The initiator has to receive a message first.
    #[error("nothing was received yet that could be answered")]
    NoSendingChain,
    /// As many messages were sent without an answer as their numbers can count.
    #[error("the sending chain has come to its end")]
    Exhausted,
    /// The header does not fit into its padding; no state that comes from here makes such a header.
    #[error("the header does not fit: {0}")]
    Header(#[from] PaddingError),
}

/// Why a message was not decrypted. None of these changes anything: the state stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecryptError {
    /// It is no message, or not one that can be understood.
    #[error("malformed message: {0}")]
    Malformed(#[from] WireError),
    /// No key of the ratchet opens the header; or one that did has no key any more for the message.
    #[error("no key opens the header")]
    Header,
    /// The message was received before, and this many after it.
    #[error("the message was received before, and {0} after it")]
    Earlier(u32),
    /// The message is the last one that was received.
    #[error("the message was received before")]
    Duplicate,
    /// There are too many messages before it that were not received; this many, with itself.
    #[error("{0} messages at once are too many to skip")]
    Skipped(u32),
    /// The header answers a post-quantum key that there is not.
    #[error("the header answers a KEM key that there is not")]
    Kem,
    /// The header is the peer's, but the body is not what the peer has sent.
    #[error("the body is not authentic")]
    Body,
}

/// What an error means for the ratchet: whether both parties should agree on a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resync {
    /// They may: something is lost or was altered, but later messages can be read.
    Allowed,
    /// They have to: nothing says that any later message can be read.
    Required,
}

impl DecryptError {
    /// What the error means for the ratchet; `None` if it says nothing about it.
    #[must_use]
    pub const fn resync(self) -> Option<Resync> {
        match self {
            Self::Header | Self::Skipped(_) | Self::Kem => Some(Resync::Required),
            Self::Earlier(_) | Self::Body => Some(Resync::Allowed),
            Self::Duplicate | Self::Malformed(_) => None,
        }
    }
}
