//! The messages of a connection.

use crate::agent::event::EventContent;
use crate::agent::id::{MessageId, QueueNumber};
use crate::agent::message::MsgHash;
use crate::agent::store::secret::Flags;
use crate::ratchet::{E2eParams, EncryptKey, KemParams};
use crate::smp::MsgFlags;
use crate::wire;
use crate::wire::{Large, List};

wire! {
    /// A message that is to be sent.
    pub struct Outgoing {
        /// What it is for.
        pub purpose: OutgoingPurpose,
        /// The queues that it is still to be sent to.
        pub queues: List<QueueNumber>,
        /// Since when, in seconds since the Unix epoch.
        pub since: i64,
        /// Who else is told.
        pub flags: MsgFlags as Flags,
        /// What is sent.
        pub content: OutgoingContent,
    }
}

wire! {
    prefixes
    /// What a message that is to be sent is for, besides being read.
    #[derive(Copy)]
    pub enum OutgoingPurpose {
        /// Tells who accepts an invitation.
        "C" => Confirmation,
        /// Asks the owner of an address for a connection.
        "I" => Invitation,
        /// Tells that messages can be sent.
        "H" => Hello,
        /// The application's.
        "M" => Message {
            /// The number that the recipient knows it by.
            sender_msg_id: i64,
        },
        /// Tells that messages were received, to the peer.
        "V" => Receipt,
        /// Tells that the queue has room again.
        "Q" => QueueContinue,
        /// Tells of another queue to send to.
        "A" => QueueAdd,
        /// Tells the keys for another queue.
        "K" => QueueKey,
        /// Tells that another queue is ready.
        "U" => QueueUse,
        /// Tries another queue.
        "T" => QueueTest,
        /// Tells the keys of a new ratchet.
        "R" => RatchetKey,
        /// Tells that a new ratchet is ready.
        "E" => RatchetReady,
    }
}

wire! {
    prefixes
    /// What is sent.
    pub enum OutgoingContent {
        /// An agent's message, which the ratchet encrypts when it leaves.
        "E" => Encrypted {
            /// How.
            sealed: Sealed,
        },
        /// The same, as a confirmation.
        "C" => Confirmation {
            /// What the peer needs for its ratchet, if this side has joined.
            params: Option<Box<E2eParams<KemParams>>>,
            /// How.
            sealed: Sealed,
        },
        /// An agent's envelope.
        "P" => Plain {
            /// The envelope.
            envelope: Large,
        },
    }
}

wire! {
    /// A message, and what encrypts it when it leaves: always into the same bytes.
    pub struct Sealed {
        /// Its key.
        pub key: Box<EncryptKey>,
        /// To how much it is padded.
        pub padded: u16,
        /// The message.
        pub message: Large,
    }
}

wire! {
    /// A message that waits for the application's acknowledgement.
    pub struct Received {
        /// The queue that it has come from.
        pub queue: QueueNumber,
        /// What a receipt would say of it.
        pub receipt: Option<ReceiptOf>,
        /// The messages that it is a receipt of, which are forgotten when it is acknowledged.
        pub received: List<SentNumber>,
        /// What the application was told.
        pub event: EventContent,
    }
}

wire! {
    /// What a receipt says of a message.
    pub struct ReceiptOf {
        /// The number that its sender knows it by.
        pub sender_msg_id: i64,
        /// Its hash.
        pub hash: MsgHash,
    }
}

wire! {
    /// The number that the recipient knows a message by.
    #[derive(Copy)]
    pub struct SentNumber {
        /// The number.
        pub number: i64,
    }
}

wire! {
    /// A message that was sent, until its receipt comes.
    pub struct Sent {
        /// What the application knows it by.
        pub message: MessageId,
        /// Its hash.
        pub hash: MsgHash,
    }
}

wire! {
    /// That a message was received, and under which number.
    pub struct Seen {
        /// Its number; zero if it has none.
        pub message: MessageId,
    }
}
