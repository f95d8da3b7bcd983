//! What a router answers, and what it says unasked.

use bytes::Bytes;

use crate::crypto::x25519;
use crate::wire;
use crate::wire::{EntityId, Id, Large, NonEmpty, Short, Tail, Version, VersionRange};

use super::command::{LinkData, QueueMode, SenderCanSecure, ServiceQueues};
use super::error::ErrorType;
use super::name::NameRecord;
use super::queue_info::QueueInfo;
use super::version::{DELETED_EVENT, SERVICE_CERTIFICATES};

/// The id of a message: unique in its queue, and the nonce of its encryption.
pub type MsgId = EntityId;

/// Certificates, leaf first, each in its DER.
pub type CertificateChain = NonEmpty<Large>;

wire! {
    words
    /// A response or an event.
    pub enum BrokerMessage {
        /// The queue was created.
        "IDS" => Ids(queue: Box<QueueIds>),
        /// The data of a link.
        "LNK" => Lnk {
            /// The id to send to.
            sender_id: EntityId,
            /// The data.
            data: LinkData,
        },
        /// Subscribed.
        "SOK" => Sok {
            /// The service that the queue is now associated with.
            service_id: Option<EntityId>,
        },
        /// The service is subscribed to all its queues.
        "SOKS" => Soks(queues: ServiceQueues),
        /// A message.
        "MSG" => Msg {
            /// Its id.
            id: MsgId,
            /// Encrypted for the recipient.
            body: Bytes as Tail,
        },
        /// All messages that waited for the service are delivered.
        "ALLS" => Alls,
        /// The notifier was created.
        "NID" => Nid {
            /// Its id.
            notifier_id: EntityId,
            /// The router's half of the secret that encrypts notifications.
            dh_key: x25519::PublicKey,
        },
        /// A notification.
        "NMSG" => NMsg {
            /// The nonce of its encryption.
            nonce: [u8; 24],
            /// Encrypted for the recipient.
            meta: Short,
        },
        /// The session of a proxy with a relay.
        "PKEY" => PKey {
            /// The session's id, and the entity of commands to forward in it.
            session_id: Id,
            /// The versions of commands that can be forwarded.
            versions: VersionRange,
            /// The chain of the relay.
            chain: CertificateChain,
            /// The relay's key for this session, signed by the leaf of the chain.
            signed_key: Large,
        },
        /// The response to a forwarded command, from a relay to a proxy.
        "RRES" => RRes {
            /// Encrypted for the proxy, and inside for the client.
            encrypted: Bytes as Tail,
        },
        /// The response to a forwarded command, from a proxy to a client.
        "PRES" => PRes {
            /// Encrypted for the client.
            encrypted: Bytes as Tail,
        },
        /// Another client has subscribed to the queue.
        "END" => End,
        /// Another client has subscribed as the service.
        "ENDS" => Ends(queues: ServiceQueues),
        /// The queue was deleted.
        "DELD" => Deld,
        /// The state of a queue.
        "INFO" => Info(info: Box<QueueInfo>),
        /// Done.
        "OK" => Ok,
        /// It did not work.
        "ERR" => Err(error: ErrorType),
        /// To a PING.
        "PONG" => Pong,
        /// What a name stands for.
        "RNAME" => RName(record: Box<NameRecord>),
    }
}

impl BrokerMessage {
    /// The message as a client of that version understands it.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are in all versions"
    )]
    pub fn for_version(self, version: Version) -> Self {
        match self {
            Self::Deld if version < DELETED_EVENT => Self::End,
            Self::Sok { .. } if version < SERVICE_CERTIFICATES => Self::Ok,
            Self::Err(error) => Self::Err(error.for_version(version)),
            other => other,
        }
    }
}

wire! {
    /// The ids of a new queue.
    pub struct QueueIds {
        /// Of the recipient.
        pub recipient_id: EntityId,
        /// Of the sender.
        pub sender_id: EntityId,
        /// The router's half of the secret that encrypts delivered messages.
        pub dh_key: x25519::PublicKey,
        /// The kind of the queue.
        pub mode: Option<QueueMode> { 9..=14 => SenderCanSecure, 15.. => Plain },
        /// Of the link.
        pub link_id: Option<EntityId> { 15.. => Plain },
        /// Of the service that the queue is associated with.
        pub service_id: Option<EntityId> { 16.. => Plain },
        /// Of the notifier, and the router's half of the secret that encrypts notifications.
        pub notifier: Option<(EntityId, x25519::PublicKey)> { 17.. => Plain },
    }
}
