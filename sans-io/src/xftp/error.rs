//! What can go wrong, in the words of the protocol.

use crate::smp::error::WithLegacyNoQueue;
use crate::smp::{BlockingInfo, CommandError};
use crate::wire;
use crate::wire::Version;

use super::version::BLOCKED_FILES;

wire! {
    words
    /// Why a command was not executed.
    #[derive(Copy, thiserror::Error)]
    pub enum ErrorType {
        /// The block or the transmission cannot be parsed.
        #[error("BLOCK")]
        "BLOCK" => Block,
        /// The transmission is of another session.
        #[error("SESSION")]
        "SESSION" => Session,
        /// The handshake failed.
        #[error("HANDSHAKE")]
        "HANDSHAKE" => Handshake,
        /// The command is not one, or must not be used like this.
        #[error("CMD {error}")]
        "CMD" => Cmd {
            /// What is wrong with it.
            error: CommandError as WithLegacyNoQueue,
        },
        /// Not authorised, or no such file.
        #[error("AUTH")]
        "AUTH" => Auth,
        /// The operator has blocked the file.
        #[error("BLOCKED {info}")]
        "BLOCKED" => Blocked {
            /// Why.
            info: BlockingInfo,
        },
        /// The size is not one that the router accepts, or not the one that was announced.
        #[error("SIZE")]
        "SIZE" => Size,
        /// The router has no more room.
        #[error("QUOTA")]
        "QUOTA" => Quota,
        /// The chunk is not the one that was announced.
        #[error("DIGEST")]
        "DIGEST" => Digest,
        /// The chunk cannot be decrypted.
        #[error("CRYPTO")]
        "CRYPTO" => Crypto,
        /// The chunk is not uploaded.
        #[error("NO_FILE")]
        "NO_FILE" => NoFile,
        /// Never sent.
        #[error("HAS_FILE")]
        "HAS_FILE" => HasFile,
        /// The router cannot read or write the chunk.
        #[error("FILE_IO")]
        "FILE_IO" => FileIo,
        /// The chunk came too slowly.
        #[error("TIMEOUT")]
        "TIMEOUT" => Timeout,
        /// The router failed.
        #[error("INTERNAL")]
        "INTERNAL" => Internal,
        /// Never sent: a router's own mark.
        #[error("DUPLICATE_")]
        "DUPLICATE_" => Duplicate,
    }
}

impl ErrorType {
    /// The error for a command that is not one.
    #[must_use]
    pub const fn command(error: CommandError) -> Self {
        Self::Cmd { error }
    }

    /// The error as a client of that version understands it.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are in all versions"
    )]
    pub fn for_version(self, version: Version) -> Self {
        match self {
            Self::Blocked { .. } if version < BLOCKED_FILES => Self::Auth,
            other => other,
        }
    }
}
