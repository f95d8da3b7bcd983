//! The values that are kept. Each is written with the number of the format in front, so that later programs can read it.

use bytes::{BufMut, Bytes, BytesMut};

use super::secret::{Flags, Stored};
use crate::agent::event::EventContent;
use crate::agent::id::{ConnectionId, MessageId, QueueNumber, RequestName};
use crate::agent::link::{ClientData, ConnectionRequest};
use crate::agent::message::MsgHash;
use crate::agent::queue::{QueueAddress, SmpQueueInfo};
use crate::crypto::{AuthPrivateKey, AuthPublicKey, ed25519, x25519};
use crate::ratchet::{E2eParams, EncryptKey, InitialKeys, KemParams, KemProposal, OfferedKeys, Pq};
use crate::smp::link::LinkKey;
use crate::smp::pool::UserId;
use crate::smp::{MsgFlags, MsgId, QueueMode};
use crate::wire;
use crate::wire::{
    Codec, EntityId, Large, List, Parsed, ServerAddress, SmpScheme, Source, Version, Wire,
    WireError,
};

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
    /// The state of a connection, without its ratchet and its messages.
    pub struct ConnectionRecord {
        /// Whose it is.
        pub user: UserId,
        /// How far it is.
        pub stage: Stage,
        /// The version of agents that both sides have agreed on; the highest of ours until then.
        pub version: Version,
        /// Whether messages leave room for post-quantum keys.
        pub pq: Pq,
        /// The numbers and hashes of the last messages.
        pub counters: Counters,
        /// Whether both ratchets fit to each other.
        pub sync: RatchetSync,
        /// The number of the next queue.
        pub next_queue: QueueNumber,
        /// The queues that messages are received from.
        pub receive: List<ReceiveQueue>,
        /// The queues that messages are sent to.
        pub send: List<SendQueue>,
        /// The short link to it, if it has one.
        pub link: Option<OwnLink>,
        /// Whether it is being deleted.
        pub deleting: Option<Deleting>,
    }
}

wire! {
    /// The numbers and hashes of the last messages.
    pub struct Counters {
        /// Of both directions.
        pub last: MessageId,
        /// The peer's number of the last message that was sent.
        pub sent: i64,
        /// Its hash.
        pub sent_hash: MsgHash,
        /// The number of the last message that was received.
        pub received: i64,
        /// Its hash.
        pub received_hash: MsgHash,
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            last: MessageId(0),
            sent: 0,
            sent_hash: MsgHash::NONE,
            received: 0,
            received_hash: MsgHash::NONE,
        }
    }
}

wire! {
    prefixes
    /// How far a connection is.
    #[expect(clippy::large_enum_variant, reason = "there is one of each connection in memory, in a box")]
    pub enum Stage {
        /// Its first queue is being made.
        "N" => Creating {
            /// What for.
            purpose: Purpose,
        },
        /// An invitation is out.
        "O" => Offered {
            /// The private half of its keys.
            keys: OfferedKeys,
        },
        /// Somebody has accepted the invitation: the application is asked.
        "C" => Confirmed {
            /// Who.
            confirmation: Confirmation,
        },
        /// The application has agreed: queues are secured, then the peer is told.
        "L" => Allowed {
            /// Who has accepted.
            confirmation: Confirmation,
            /// What the peer is told.
            info: Large,
        },
        /// An invitation is accepted: queues are secured and made, then the peer is told.
        "J" => Joining {
            /// What the peer needs for its ratchet.
            params: E2eParams<KemParams>,
            /// What the peer is told.
            info: Large,
        },
        /// The peer was told, or is being told. It has yet to answer.
        "H" => Handshake {
            /// Which side this is.
            side: Side,
        },
        /// Messages can be sent and received.
        "D" => Connected,
        /// It is an address, which many can ask for connections.
        "A" => Address,
        /// It cannot be established any more: the application was told why, and deletes it.
        "X" => Failed,
    }
}

wire! {
    prefixes
    /// Which side of a handshake this is.
    #[derive(Copy)]
    pub enum Side {
        /// Has made the invitation.
        "I" => Initiator,
        /// Has accepted it.
        "J" => Joiner,
    }
}

wire! {
    prefixes
    /// What the first queue of a connection is made for.
    pub enum Purpose {
        /// To be joined by whoever gets the invitation.
        "I" => Invitation {
            /// The private half of its keys.
            keys: OfferedKeys,
            /// From when on post-quantum keys are wanted.
            pq: InitialKeys as AsText,
            /// What the application has added to the link.
            client_data: Option<ClientData>,
            /// What goes into the data of a short link, if one is wanted.
            short: Option<NewLink>,
        },
        /// To be asked for connections.
        "A" => Address {
            /// What the application has added to the link.
            client_data: Option<ClientData>,
            /// What goes into the data of a short link, if one is wanted.
            short: Option<NewLink>,
        },
        /// To be offered to the owner of an address.
        "R" => Request {
            /// The private half of the keys of the offer.
            keys: OfferedKeys,
            /// Whether the offer has a post-quantum key.
            pq: Pq,
            /// What the owner is told.
            info: Large,
        },
    }
}

wire! {
    /// The short link that is made together with a queue. What follows from it is the same whenever it is tried again.
    pub struct NewLink {
        /// Signs the data.
        pub root: ed25519::PrivateKey as Stored,
        /// What the application says.
        pub data: Large,
        /// From which the id of the sender follows, and whatever else is random.
        pub seed: [u8; 32],
    }
}

wire! {
    /// That somebody has accepted an invitation.
    pub struct Confirmation {
        /// What the application calls it.
        pub name: RequestName,
        /// The key that the router is to be told, if the sender has not done that.
        pub sender_key: Option<AuthPublicKey>,
        /// Where to reply.
        pub reply: SmpQueueInfo,
    }
}

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

wire! {
    prefixes
    /// Whether the ratchets of both sides fit to each other.
    pub enum RatchetSync {
        /// They do.
        "O" => Ok,
        /// A message could not be read; others may.
        "A" => Allowed,
        /// Nothing can be read any more.
        "R" => Required,
        /// Keys of a new ratchet were sent.
        "S" => Started {
            /// Their private half.
            keys: OfferedKeys,
        },
        /// Both have a new ratchet; nothing was read with it yet.
        "G" => Agreed {
            /// The private half of the keys that it was made with, for other keys that the peer may have sent meanwhile.
            keys: OfferedKeys,
            /// The keys of the peer, for other keys that we may send meanwhile.
            peer: Box<E2eParams<KemProposal>>,
        },
    }
}

wire! {
    /// The short link to a connection.
    pub struct OwnLink {
        /// Its id.
        pub id: EntityId,
        /// Its secret.
        pub key: LinkKey,
        /// Signs the data.
        pub root: ed25519::PrivateKey as Stored,
        /// The fixed part of the data, as the router has it.
        pub fixed: Large,
        /// Whether the router has it.
        pub state: LinkState,
    }
}

wire! {
    prefixes
    /// Whether the router has the data of a link.
    pub enum LinkState {
        /// It has.
        "S" => Set,
        /// It is to be told.
        "P" => Setting {
            /// The user's part of the data.
            user: Large,
        },
        /// It is to forget it.
        "D" => Deleting,
    }
}

wire! {
    /// That a connection is being deleted.
    pub struct Deleting {
        /// Until when what is to be sent may be sent, in seconds since the Unix epoch; not at all, if there is no such time.
        pub until: Option<i64>,
    }
}

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
        pub deleting: bool,
    }
}

/// A word, with its length.
enum AsText {}

impl Codec<InitialKeys> for AsText {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, InitialKeys> {
        let (input, word) = wire::Text::parse(source, input)?;
        match word.as_str().parse() {
            Ok(keys) => Ok((input, keys)),
            Err(_) => WireError::Invalid("initial keys").fail(),
        }
    }

    fn put(value: &InitialKeys, version: Version, out: &mut BytesMut) {
        let word = wire::Text::try_from(value.to_string());
        word.unwrap_or_default().put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
impl wire::SampleCodec<InitialKeys> for AsText {
    fn sample(_: Version, rng: &mut crate::rng::Rng) -> InitialKeys {
        match rng.below(3) {
            0 => InitialKeys::Invitation,
            1 => InitialKeys::Later,
            _ => InitialKeys::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;
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
