//! What agents say to each other, inside the ratchet.
//!
//! ```
//! use simplex_sans_io::agent::message::{AMessage, AgentMessage, MsgHash};
//! use simplex_sans_io::wire;
//!
//! let hello = AgentMessage::Message { sender_msg_id: 2, previous: MsgHash::NONE, message: AMessage::Hello };
//! let encoded = wire::encode(&hello, wire::Version(0));
//! assert_eq!(encoded, b"M\0\0\0\0\0\0\0\x02\0H".as_slice());
//!
//! // The next message names the hash of this one.
//! assert_ne!(MsgHash::of(&encoded), MsgHash::NONE);
//! ```

use bytes::Bytes;

use super::queue::{QueueAddress, QueueUri, SmpQueueInfo};
use crate::crypto::{AuthPublicKey, hash};
use crate::wire;
use crate::wire::{Id, Large, NonEmpty, Parsed, Source, Tail, Version, Wire};

wire! {
    prefixes
    /// What an agent says to another.
    pub enum AgentMessage {
        /// What the initiator says of itself.
        "I" => ConnInfo {
            /// The application's.
            info: Bytes as Tail,
        },
        /// What the joiner says of itself, and where to reply.
        "D" => ConnInfoReply {
            /// The queues to reply to, of which the first is used.
            queues: NonEmpty<SmpQueueInfo>,
            /// The application's.
            info: Bytes as Tail,
        },
        /// What goes with the keys of a new ratchet.
        "R" => RatchetInfo {
            /// Nothing, so far.
            info: Bytes as Tail,
        },
        /// A message of the connection.
        "M" => Message {
            /// Its number among all that the sender has sent, from 1.
            sender_msg_id: i64,
            /// The hash of the one before it.
            previous: MsgHash,
            /// What it says.
            message: AMessage,
        },
    }
}

wire! {
    prefixes
    /// What a message of a connection says.
    pub enum AMessage {
        /// The sender is able to send.
        "H" => Hello,
        /// The application's message.
        "M" => Msg {
            /// Its content.
            body: Bytes as Tail,
        },
        /// Messages were received.
        "V" => Rcvd {
            /// Which.
            receipts: NonEmpty<Receipt>,
        },
        /// The queue has room again.
        "QC" => QCont {
            /// Which.
            queue: QueueAddress,
        },
        /// Here is another queue to send to.
        "QA" => QAdd {
            /// Queues, of which the first is used.
            queues: NonEmpty<AddedQueue>,
        },
        /// These are the keys for the other queue.
        "QK" => QKey {
            /// Queues, of which the first is used.
            queues: NonEmpty<KeyedQueue>,
        },
        /// The other queue is ready.
        "QU" => QUse {
            /// Queues, of which the first is used.
            queues: NonEmpty<UsedQueue>,
        },
        /// The other queue is in use.
        "QT" => QTest {
            /// Which.
            queues: NonEmpty<QueueAddress>,
        },
        /// The new ratchet is ready.
        "E" => EReady {
            /// The number of the last message that was received before.
            last_msg_id: i64,
        },
    }
}

wire! {
    /// That a message was received.
    pub struct Receipt {
        /// The number that its sender gave it.
        pub sender_msg_id: i64,
        /// Its hash, as it was received.
        pub hash: MsgHash,
        /// The application's.
        pub info: Large,
    }
}

wire! {
    /// Another queue to send to.
    pub struct AddedQueue {
        /// The queue.
        pub queue: QueueUri,
        /// The queue that it replaces.
        pub replaced: Option<QueueAddress>,
    }
}

wire! {
    /// The sender's keys for another queue.
    pub struct KeyedQueue {
        /// The queue, with the sender's half of the secret that encrypts what is sent.
        pub queue: SmpQueueInfo,
        /// The key that will authorise the sender.
        pub key: AuthPublicKey,
    }
}

wire! {
    /// That another queue is ready.
    pub struct UsedQueue {
        /// The queue.
        pub queue: QueueAddress,
        /// Whether it is to be the first one.
        pub primary: bool,
    }
}

/// The hash of a message: none before the first one. Any other length than 32 is of no message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MsgHash(Id);

impl MsgHash {
    /// There is no message before.
    pub const NONE: Self = Self(Id::EMPTY);

    /// The hash of an encoded [`AgentMessage`].
    #[must_use]
    pub fn of(message: &[u8]) -> Self {
        Self(Id::try_from(hash::sha256(message).as_slice()).unwrap_or_default())
    }

    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl TryFrom<&[u8]> for MsgHash {
    type Error = wire::TooMany;

    fn try_from(bytes: &[u8]) -> Result<Self, wire::TooMany> {
        Id::try_from(bytes).map(Self)
    }
}

impl Wire for MsgHash {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        Id::parse(source, input).map(|(input, id)| (input, Self(id)))
    }

    fn put(&self, version: Version, out: &mut bytes::BytesMut) {
        self.0.put(version, out);
    }
}

/// What the number of a received message and the hash in it say of the messages before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrity {
    /// It follows the last one.
    Ok,
    /// Its number was passed long ago.
    BadId {
        /// The number of the last one.
        previous: i64,
    },
    /// It has the number of the last one.
    Duplicate,
    /// Others are missing between the last one and it.
    Skipped {
        /// The first that is missing.
        from: i64,
        /// The last that is missing.
        to: i64,
    },
    /// It follows another message than the last one that was received.
    BadHash,
}

impl Integrity {
    /// What is to be said of a message after the last one.
    #[must_use]
    pub fn of(last_id: i64, last_hash: &MsgHash, id: i64, previous: &MsgHash) -> Self {
        let expected = last_id.saturating_add(1);
        match id.cmp(&expected) {
            std::cmp::Ordering::Equal if last_hash == previous => Self::Ok,
            std::cmp::Ordering::Equal => Self::BadHash,
            std::cmp::Ordering::Less if id == last_id => Self::Duplicate,
            std::cmp::Ordering::Less => Self::BadId { previous: last_id },
            std::cmp::Ordering::Greater => Self::Skipped {
                from: expected,
                to: id.saturating_sub(1),
            },
        }
    }
}

wire! {
    prefixes
    /// What a sender says to the recipient of a queue, inside the encryption of the queue.
    pub enum ClientMessage {
        /// The router knows the sender already, or it is one of many.
        "_" => Plain {
            /// The agent's.
            body: Bytes as Tail,
        },
        /// The recipient is to tell the router this key.
        "K" => WithKey {
            /// The key that will authorise the sender.
            key: AuthPublicKey,
            /// The agent's.
            body: Bytes as Tail,
        },
    }
}

#[cfg(any(test, feature = "sim"))]
impl wire::Sample for MsgHash {
    fn sample(_: Version, rng: &mut crate::rng::Rng) -> Self {
        match rng.below(2) {
            0 => Self::NONE,
            _ => Self::of(&rng.bytes::<8>()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn messages_come_back(seed: [u8; 32]) {
            let mut rng = Rng::from_seed(seed);
            let message = AgentMessage::sample(Version(0), &mut rng);
            prop_assert_eq!(&wire::decode(Version(0), &wire::encode(&message, Version(0))), &Ok(message));
            let message = ClientMessage::sample(Version(0), &mut rng);
            prop_assert_eq!(&wire::decode(Version(0), &wire::encode(&message, Version(0))), &Ok(message));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), tag in "[IDRM]") {
            let _ = wire::decode_slice::<AgentMessage>(Version(0), &[tag.as_bytes(), &bytes].concat());
        }
    }

    #[test]
    fn numbers_and_hashes_tell_what_is_missing() {
        let (hash, other) = (MsgHash::of(b"last"), MsgHash::of(b"other"));
        let of = |id, previous| Integrity::of(5, &hash, id, previous);
        assert_eq!(of(6, &hash), Integrity::Ok);
        assert_eq!(of(6, &other), Integrity::BadHash);
        assert_eq!(of(5, &hash), Integrity::Duplicate);
        assert_eq!(of(3, &other), Integrity::BadId { previous: 5 });
        assert_eq!(of(9, &other), Integrity::Skipped { from: 6, to: 8 });
        assert_eq!(
            Integrity::of(i64::MAX, &hash, i64::MIN, &hash),
            Integrity::BadId { previous: i64::MAX }
        );
    }
}
