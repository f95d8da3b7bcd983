//! What a client asks of a router, and what it gets.

use crate::crypto::{AuthPublicKey, Nonce, x25519};
use crate::wire;
use crate::wire::{BasicAuth, EntityId, NonEmpty, Short, Version};

use super::ErrorType;

wire! {
    words
    /// A command.
    pub enum Command {
        /// Create a file: one chunk of what its sender calls a file.
        "FNEW" => FNew(file: Box<NewFile>),
        /// Add recipients.
        "FADD" => FAdd(recipients: NonEmpty<AuthPublicKey>),
        /// Upload the chunk, which follows the block.
        "FPUT" => FPut,
        /// Delete the file.
        "FDEL" => FDel,
        /// Download the chunk, which follows the block of the response.
        "FGET" => FGet(key: x25519::PublicKey),
        /// Delete the recipient.
        "FACK" => FAck,
        /// Nothing: to see whether the router is there.
        "PING" => Ping,
    }
}

wire! {
    /// The file to create.
    pub struct NewFile {
        /// The key that authorises the sender's commands, this one included.
        pub sender_key: AuthPublicKey,
        /// The size of the chunk.
        pub size: u32,
        /// Its SHA-256.
        pub digest: Short,
        /// The keys of the recipients.
        pub recipients: NonEmpty<AuthPublicKey>,
        /// The password of the router.
        pub password: Option<BasicAuth>,
    }
}

wire! {
    words
    /// A response.
    pub enum Response {
        /// To FNEW.
        "SIDS" => Sids {
            /// The id of the sender.
            sender_id: EntityId,
            /// The ids of the recipients, in the order of their keys.
            recipient_ids: NonEmpty<EntityId>,
        },
        /// To FADD: the ids of the recipients, in the order of their keys.
        "RIDS" => Rids(recipient_ids: NonEmpty<EntityId>),
        /// To FGET: the encrypted chunk follows the block.
        "FILE" => File {
            /// The router's key for this download.
            key: x25519::PublicKey,
            /// The nonce of the encryption.
            nonce: Nonce,
        },
        /// Done.
        "OK" => Ok,
        /// To PING.
        "PONG" => Pong,
        /// Not done.
        "ERR" => Err(error: ErrorType),
    }
}

impl Response {
    /// The response as a client of that version understands it.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are in all versions"
    )]
    pub fn for_version(self, version: Version) -> Self {
        match self {
            Self::Err(error) => Self::Err(error.for_version(version)),
            other => other,
        }
    }
}
