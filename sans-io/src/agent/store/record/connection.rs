//! The state of a connection.

use bytes::BytesMut;

use super::{ReceiveQueue, SendQueue};
use crate::agent::id::{MessageId, QueueNumber, RequestName};
use crate::agent::link::ClientData;
use crate::agent::message::MsgHash;
use crate::agent::queue::SmpQueueInfo;
use crate::agent::store::secret::Stored;
use crate::crypto::{AuthPublicKey, ed25519};
use crate::ratchet::{E2eParams, InitialKeys, KemParams, KemProposal, OfferedKeys, Pq};
use crate::smp::link::LinkKey;
use crate::smp::pool::UserId;
use crate::wire;
use crate::wire::{Codec, EntityId, Large, List, Parsed, Source, Version, Wire, WireError};

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
    pub enum Stage {
        /// Its first queue is being made.
        "N" => Creating {
            /// What for.
            purpose: Purpose,
        },
        /// Its link is known to the application, its queue is yet to be made.
        "P" => Prepared {
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
            keys: Box<OfferedKeys>,
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
            keys: Box<OfferedKeys>,
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
        /// Whether somebody may have the link already.
        pub handed_out: HandedOut,
    }
}

wire! {
    prefixes
    /// Whether somebody may have a link before its queue is made.
    #[derive(Copy)]
    pub enum HandedOut {
        /// Nobody has: the queue may be made anywhere.
        "N" => No,
        /// The queue must be where the link says.
        "Y" => Yes,
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
            /// How many keys were sent that the peer has to answer.
            unanswered: u32,
        },
        /// Both have a new ratchet; nothing was read with it yet.
        "G" => Agreed {
            /// The private half of the keys that it was made with, for other keys that the peer may have sent meanwhile.
            keys: OfferedKeys,
            /// The keys of the peer, for other keys that we may send meanwhile.
            peer: Box<E2eParams<KemProposal>>,
            /// How many keys were sent that the peer has yet to answer.
            unanswered: u32,
            /// How many keys of the peer were answered.
            answers: u32,
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
