//! The values that are kept. Each is written with the number of the format in front, so that later programs can read it.

mod connection;
mod message;
mod queue;

pub use self::connection::{
    Confirmation, ConnectionRecord, Counters, Deleting, HandedOut, LinkState, NewLink, OwnLink,
    Purpose, RatchetSync, Side, Stage,
};
pub use self::message::{
    Outgoing, OutgoingContent, OutgoingPurpose, ReceiptOf, Received, Sealed, Seen, Sent, SentNumber,
};
pub use self::queue::{
    Delivered, ReceivePhase, ReceiveQueue, ReceiveRotation, ReceiveStatus, SendPhase, SendQueue,
    SendRotation, SendStatus,
};

use bytes::{BufMut, Bytes, BytesMut};

use super::secret::Stored;
use crate::agent::event::EventContent;
use crate::agent::id::{ConnectionId, RequestName};
use crate::agent::link::ConnectionRequest;
use crate::crypto::AuthPrivateKey;
use crate::smp::pool::UserId;
use crate::wire;
use crate::wire::{EntityId, Large, ServerAddress, SmpScheme, Version, Wire, WireError};

/// The format in which records are written now.
pub const FORMAT: u16 = 1;

/// A value as it is kept.
#[must_use]
pub fn to_bytes<T: Wire>(value: &T) -> Bytes {
    let mut out = BytesMut::new();
    out.put_u16(FORMAT);
    value.put(Version::default(), &mut out);
    out.freeze()
}

/// A value that was kept.
pub fn from_bytes<T: Wire>(bytes: &Bytes) -> Result<T, WireError> {
    match bytes.split_first_chunk() {
        Some((format, _)) if u16::from_be_bytes(*format) == FORMAT => {
            wire::decode(Version::default(), &bytes.slice(2..))
        }
        Some(_) => Err(WireError::Invalid("format of a record")),
        None => Err(WireError::Incomplete),
    }
}

wire! {
    /// A request for a connection that the application has to answer.
    pub struct ContactRequest {
        /// Who answers.
        pub user: UserId,
        /// How to connect.
        pub request: ConnectionRequest,
        /// What the peer says of itself.
        pub info: Large,
    }
}

wire! {
    /// A request that waits for the application.
    pub struct WaitingRequest {
        /// Which one.
        pub name: RequestName,
        /// Until when, in seconds since the Unix epoch.
        pub until: i64,
    }
}

wire! {
    /// Which connection a queue belongs to, and how to subscribe to it.
    pub struct QueueRecord {
        /// Whose it is.
        pub user: UserId,
        /// The connection.
        pub connection: ConnectionId,
        /// Where it is.
        pub router: ServerAddress<SmpScheme>,
        /// The id of the recipient.
        pub recipient_id: EntityId,
        /// Authorises the recipient.
        pub key: AuthPrivateKey as Stored,
        /// The service that the router knows as the subscriber to it, if the user's sessions are held in the name of one.
        pub service: Option<EntityId>,
    }
}

wire! {
    /// An event that the application has not confirmed.
    pub struct EventRecord {
        /// The connection that it is about.
        pub connection: Option<ConnectionId>,
        /// What has happened.
        pub content: EventContent,
    }
}

wire! {
    /// The key with which the reader of a link has secured its queue.
    pub struct LinkRecord {
        /// Authorises the sender.
        pub key: AuthPrivateKey as Stored,
    }
}

wire! {
    /// A user.
    pub struct UserRecord {
        /// Whether all connections are being deleted.
        pub leaving: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::id::MessageId;
    use crate::rng::Rng;
    use crate::wire::{List, Sample};
    use proptest::prelude::*;

    fn comes_back<T: Wire + Sample + PartialEq + std::fmt::Debug>(rng: &mut Rng) {
        let value = T::sample(Version(3), rng);
        let bytes = to_bytes(&value);
        assert_eq!(from_bytes::<T>(&bytes), Ok(value));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn records_come_back(seed: [u8; 32]) {
            let rng = &mut Rng::from_seed(seed);
            comes_back::<ConnectionRecord>(rng);
            comes_back::<Outgoing>(rng);
            comes_back::<Received>(rng);
            comes_back::<Sent>(rng);
            comes_back::<Seen>(rng);
            comes_back::<QueueRecord>(rng);
            comes_back::<EventRecord>(rng);
            comes_back::<LinkRecord>(rng);
            comes_back::<UserRecord>(rng);
            comes_back::<List<WaitingRequest>>(rng);
        }
    }

    #[test]
    fn a_record_of_a_later_program_is_refused() {
        let seen = Seen {
            message: MessageId(1),
        };
        let mut bytes = to_bytes(&seen).to_vec();
        bytes[1] = 2;
        assert!(from_bytes::<Seen>(&bytes.into()).is_err());
    }
}
