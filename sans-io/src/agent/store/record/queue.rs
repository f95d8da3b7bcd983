//! The queues of a connection.

use crate::agent::id::{MessageId, QueueNumber};
use crate::agent::queue::QueueAddress;
use crate::agent::store::secret::Stored;
use crate::crypto::{AuthPrivateKey, AuthPublicKey, x25519};
use crate::smp::{MsgId, QueueMode};
use crate::wire;
use crate::wire::{EntityId, ServerAddress, SmpScheme, Version};

wire! {
    /// A queue that messages are received from.
    pub struct ReceiveQueue {
        /// Which of the connection's.
        pub number: QueueNumber,
        /// Where it is, or is to be.
        pub router: ServerAddress<SmpScheme>,
        /// The id of the recipient; empty until it is made.
        pub recipient_id: EntityId,
        /// The id of the sender.
        pub sender_id: EntityId,
        /// Authorises the recipient.
        pub key: AuthPrivateKey as Stored,
        /// The recipient's half of the secret with the router.
        pub router_key: x25519::PrivateKey as Stored,
        /// The secret with the router, under which messages are delivered.
        pub router_secret: Option<x25519::SharedSecret> as Stored,
        /// The recipient's half of the secret with the sender.
        pub sender_dh_key: x25519::PrivateKey as Stored,
        /// The secret with the sender, under which messages are sent.
        pub sender_secret: Option<x25519::SharedSecret> as Stored,
        /// The version of what senders write.
        pub version: Version,
        /// Who may secure it.
        pub mode: QueueMode,
        /// How far it is.
        pub status: ReceiveStatus,
        /// What takes its place, or whose place it takes.
        pub rotation: Option<ReceiveRotation>,
        /// The message that waits for the application's acknowledgement.
        pub delivered: Option<Delivered>,
    }
}

impl ReceiveQueue {
    /// What its senders know it by.
    #[must_use]
    pub fn address(&self) -> QueueAddress {
        QueueAddress {
            router: self.router.clone(),
            sender_id: self.sender_id.clone(),
        }
    }
}

wire! {
    prefixes
    /// How far a queue is that messages are received from.
    pub enum ReceiveStatus {
        /// It is being made.
        "N" => Creating,
        /// It was made; nothing was received.
        "O" => Open,
        /// The sender is known, and is to be told to the router.
        "K" => Securing {
            /// The key that authorises the sender.
            sender_key: AuthPublicKey,
        },
        /// The sender is known, to the router as well.
        "S" => Secured,
        /// Messages were received.
        "A" => Active,
        /// The router is to be told that nothing can be sent to it any more.
        "G" => Suspending,
        /// Nothing can be sent to it.
        "F" => Suspended,
        /// It is being deleted.
        "D" => Deleting {
            /// How often that has failed.
            attempts: u16,
        },
    }
}

wire! {
    /// The message of a queue that waits for the application's acknowledgement.
    pub struct Delivered {
        /// The router's name of it.
        pub broker_id: MsgId,
        /// The agent's.
        pub message: MessageId,
    }
}

wire! {
    prefixes
    /// What becomes of a queue that is replaced, as its recipient sees it.
    pub enum ReceiveRotation {
        /// It takes the place of another one.
        "N" => Replaces {
            /// Which.
            queue: QueueNumber,
        },
        /// Another one takes its place.
        "O" => ReplacedBy {
            /// Which.
            queue: QueueNumber,
            /// How far that is.
            phase: ReceivePhase,
            /// Until when the phase has to be over, in seconds since the Unix epoch.
            deadline: i64,
        },
    }
}

wire! {
    prefixes
    /// How far the rotation of a queue is, as its recipient sees it.
    #[derive(Copy, PartialOrd, Ord)]
    pub enum ReceivePhase {
        /// The new queue is being made.
        "0" => Creating,
        /// The sender was told of it: QADD.
        "1" => Adding,
        /// The sender has sent its keys, and the router is being told: KEY.
        "2" => Securing,
        /// The sender was told to use it: QUSE.
        "3" => Using,
        /// Something was received from it: the old one is being deleted.
        "4" => Received,
    }
}

wire! {
    /// A queue that messages are sent to.
    pub struct SendQueue {
        /// Which of the connection's.
        pub number: QueueNumber,
        /// Where it is.
        pub address: QueueAddress,
        /// The sender's half of the secret with the recipient, for as long as the recipient may not have it.
        pub dh_key: x25519::PublicKey,
        /// The secret with the recipient.
        pub secret: x25519::SharedSecret as Stored,
        /// Authorises the sender.
        pub key: AuthPrivateKey as Stored,
        /// The version of what is written.
        pub version: Version,
        /// Who may secure it, if that is known.
        pub mode: Option<QueueMode>,
        /// How far it is.
        pub status: SendStatus,
        /// What takes its place, or whose place it takes.
        pub rotation: Option<SendRotation>,
    }
}

impl SendQueue {
    /// Whether the sender secures it.
    #[must_use]
    pub fn is_sender_secured(&self) -> bool {
        self.mode == Some(QueueMode::Messaging)
    }
}

wire! {
    prefixes
    /// How far a queue is that messages are sent to.
    #[derive(Copy)]
    pub enum SendStatus {
        /// The router does not know the sender.
        "N" => New,
        /// It does.
        "S" => Secured,
        /// The recipient was told, but is not known to receive yet.
        "C" => Confirmed,
        /// Messages can be sent.
        "A" => Active,
        /// It is an address of somebody else, for one request.
        "R" => Contact,
        /// It is not there any more, or does not take this sender.
        "X" => Gone,
    }
}

wire! {
    prefixes
    /// What becomes of a queue that is replaced, as its sender sees it.
    #[derive(Copy)]
    pub enum SendRotation {
        /// It takes the place of another one.
        "N" => Replaces {
            /// Which.
            queue: QueueNumber,
        },
        /// Another one takes its place.
        "O" => ReplacedBy {
            /// Which.
            queue: QueueNumber,
            /// How far that is.
            phase: SendPhase,
        },
    }
}

wire! {
    prefixes
    /// How far the rotation of a queue is, as its sender sees it.
    #[derive(Copy)]
    pub enum SendPhase {
        /// The recipient is told the keys: QKEY.
        "1" => Keying,
        /// The new queue is being tried: QTEST.
        "2" => Testing,
    }
}
