//! What the application is told.
//!
//! Events with a number stay until the application confirms them, and are told again after a restart; no number is used again. Of those
//! that a peer can provoke without end (errors, RSYNC, SWITCH) only the last ones of each connection stay, as many as
//! [`max_events`](super::config::Config::max_events) says. Messages and receipts have no number: they stay until they are acknowledged,
//! and are told again when their connection is subscribed to. Everything else describes the moment.

use super::error::{AgentError, CryptoError};
use super::file_event::FileEvent;
use super::id::{ConnectionId, EventId, FileId, MessageId, RequestName};
use super::message::Integrity;
use super::store::secret::Flags;
use crate::ratchet::Pq;
use crate::smp::MsgFlags;
use crate::smp::MsgId;
use crate::wire;
use crate::wire::{
    Large, List, NonEmpty, Parsed, ServerAddress, SmpScheme, Source, Version, Wire, WireError,
};

/// What the application is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// By which the application confirms it, if it is kept.
    pub id: Option<EventId>,
    /// The connection that it is about.
    pub connection: Option<ConnectionId>,
    /// What has happened.
    pub content: EventContent,
}

wire! {
    prefixes
    /// What has happened.
    pub enum EventContent {
        /// Somebody has accepted the invitation: to be answered with [`Allow`](super::command::Command::Allow). CONF.
        "CF" => Confirmation {
            /// What the answer has to name.
            name: RequestName,
            /// Whether the connection supports post-quantum keys.
            pq: Pq,
            /// Where replies go.
            routers: NonEmpty<ServerAddress<SmpScheme>>,
            /// What the peer says of itself.
            info: Large,
        },
        /// Somebody asks for a connection: to be answered with [`Accept`](super::command::Command::Accept) or
        /// [`Reject`](super::command::Command::Reject). REQ.
        "RQ" => Request {
            /// What the answer has to name.
            name: RequestName,
            /// Whether the connection would support post-quantum keys.
            pq: Pq,
            /// Where replies go.
            routers: NonEmpty<ServerAddress<SmpScheme>>,
            /// What the peer says of itself.
            info: Large,
        },
        /// What the peer says of itself, whose invitation was accepted. INFO.
        "IN" => Info {
            /// Whether the connection supports post-quantum keys.
            pq: Pq,
            /// What it says.
            info: Large,
        },
        /// Messages can be sent and received. CON.
        "CO" => Connected {
            /// Whether what was received last is encrypted with post-quantum keys.
            pq: Pq,
        },
        /// Another client has subscribed to the connection. END.
        "EN" => End,
        /// The router has deleted the queue of the connection. DELD.
        "DQ" => QueueDeleted,
        /// There is a session with a router. CONNECT.
        "SC" => RouterConnected {
            /// The router.
            router: ServerAddress<SmpScheme>,
        },
        /// The session with a router has ended. DISCONNECT.
        "SD" => RouterDisconnected {
            /// The router.
            router: ServerAddress<SmpScheme>,
        },
        /// Connections receive nothing for now. DOWN.
        "DN" => Down {
            /// The router of their queues.
            router: ServerAddress<SmpScheme>,
            /// Up to 255 of them.
            connections: List<ConnectionId>,
        },
        /// Connections receive. UP.
        "UP" => Up {
            /// The router of their queues.
            router: ServerAddress<SmpScheme>,
            /// Up to 255 of them.
            connections: List<ConnectionId>,
        },
        /// All connections of a service at a router receive. SERVICE_UP.
        "SU" => ServiceUp {
            /// The router.
            router: ServerAddress<SmpScheme>,
            /// How many.
            count: u32,
        },
        /// They do not, for now. SERVICE_DOWN.
        "SX" => ServiceDown {
            /// The router.
            router: ServerAddress<SmpScheme>,
            /// How many.
            count: u32,
        },
        /// All messages that waited for a service were received. SERVICE_ALL.
        "SA" => ServiceAll {
            /// The router.
            router: ServerAddress<SmpScheme>,
        },
        /// Another client receives as the service. SERVICE_END.
        "SE" => ServiceEnd {
            /// The router.
            router: ServerAddress<SmpScheme>,
            /// From how many connections.
            count: u32,
        },
        /// A queue is being replaced. SWITCH.
        "SW" => Switch {
            /// Which.
            direction: Direction,
            /// How far that is.
            phase: SwitchPhase,
        },
        /// Whether the ratchets of both sides fit to each other has changed. RSYNC.
        "RS" => RatchetSync {
            /// What it is now.
            state: SyncState,
            /// Why.
            error: Option<CryptoError>,
        },
        /// A message was taken by the router. SENT.
        "ST" => Sent {
            /// The message.
            message: MessageId,
            /// Through which proxy.
            proxy: Option<ServerAddress<SmpScheme>>,
        },
        /// A message was not sent yet; it is tried again. MWARN.
        "MW" => SendWarning {
            /// The message.
            message: MessageId,
            /// Why.
            error: AgentError,
        },
        /// Messages will not be sent. MERR, MERRS.
        "ME" => SendFailed {
            /// Up to 255 messages.
            messages: NonEmpty<MessageId>,
            /// Why.
            error: AgentError,
        },
        /// A message, to be acknowledged. MSG.
        "MS" => Message {
            /// Where it stands.
            meta: MessageMeta,
            /// The sender's flags.
            flags: MsgFlags as Flags,
            /// Its content.
            body: Large,
        },
        /// Messages were received by the peer; to be acknowledged as well. RCVD.
        "RC" => Receipts {
            /// Where the receipt stands.
            meta: MessageMeta,
            /// Which messages.
            receipts: NonEmpty<MessageReceipt>,
        },
        /// The peer's queue has room again. QCONT.
        "QC" => QueueContinue,
        /// A queue was deleted, or was given up. DEL_RCVQS.
        "DR" => ReceiveQueueDeleted {
            /// Its router.
            router: ServerAddress<SmpScheme>,
            /// The id of its recipient.
            recipient_id: wire::EntityId,
            /// Why it was given up.
            error: Option<AgentError>,
        },
        /// The connection was deleted. DEL_CONNS.
        "DC" => Deleted,
        /// The user was deleted. DEL_USER.
        "DU" => UserDeleted {
            /// Which.
            user: crate::smp::pool::UserId,
        },
        /// The agent has stopped, as it was told to. SUSPENDED.
        "AS" => Suspended,
        /// Something has happened to a file. RF…, SF….
        "FE" => File {
            /// Which.
            file: FileId,
            /// What.
            event: FileEvent,
        },
        /// Something went wrong that no command has asked for. ERR.
        "ER" => Error {
            /// What.
            error: AgentError,
        },
    }
}

impl EventContent {
    /// Whether it stays until it is confirmed.
    #[must_use]
    pub const fn is_kept(&self) -> bool {
        match self {
            Self::Confirmation { .. }
            | Self::Request { .. }
            | Self::Info { .. }
            | Self::Connected { .. }
            | Self::Switch { .. }
            | Self::RatchetSync { .. }
            | Self::Sent { .. }
            | Self::SendFailed { .. }
            | Self::ReceiveQueueDeleted { .. }
            | Self::Deleted
            | Self::UserDeleted { .. }
            | Self::Error { .. } => true,
            Self::File { event, .. } => event.is_kept(),
            Self::End
            | Self::QueueDeleted
            | Self::RouterConnected { .. }
            | Self::RouterDisconnected { .. }
            | Self::Down { .. }
            | Self::Up { .. }
            | Self::ServiceUp { .. }
            | Self::ServiceDown { .. }
            | Self::ServiceAll { .. }
            | Self::ServiceEnd { .. }
            | Self::SendWarning { .. }
            | Self::Message { .. }
            | Self::Receipts { .. }
            | Self::QueueContinue
            | Self::Suspended => false,
        }
    }

    /// Whether a peer can be the reason for any number of them.
    pub(super) const fn is_provoked(&self) -> bool {
        matches!(
            self,
            Self::Error { .. } | Self::RatchetSync { .. } | Self::Switch { .. }
        )
    }
}

wire! {
    /// Where a message stands among others.
    pub struct MessageMeta {
        /// What it says of those before it.
        pub integrity: Integrity,
        /// The agent's number of it, to be acknowledged.
        pub message: MessageId,
        /// When it was received, in seconds since the Unix epoch.
        pub received_at: i64,
        /// The router's name of it.
        pub broker_id: MsgId,
        /// When the router took it, in seconds since the Unix epoch.
        pub sent_at: i64,
        /// The sender's number of it.
        pub sender_msg_id: i64,
        /// Whether it was encrypted with post-quantum keys.
        pub pq: Pq,
    }
}

wire! {
    /// That the peer has received a message.
    pub struct MessageReceipt {
        /// The message.
        pub message: MessageId,
        /// Whether the peer has received what was sent.
        pub status: ReceiptStatus,
    }
}

wire! {
    prefixes
    /// Whether the peer has received what was sent.
    #[derive(Copy)]
    pub enum ReceiptStatus {
        /// It has.
        "O" => Ok,
        /// It has received something else.
        "H" => BadHash,
    }
}

wire! {
    prefixes
    /// Which queues of a connection.
    #[derive(Copy)]
    pub enum Direction {
        /// Those that messages are received from.
        "R" => Receive,
        /// Those that messages are sent to.
        "S" => Send,
    }
}

wire! {
    prefixes
    /// How far the rotation of a queue is.
    #[derive(Copy)]
    pub enum SwitchPhase {
        /// There is another queue.
        "1" => Started,
        /// The sender's keys are known to the recipient.
        "2" => Confirmed,
        /// They are known to the router.
        "3" => Secured,
        /// The other queue is used.
        "4" => Completed,
        /// It was given up: the queue stays.
        "X" => Aborted,
    }
}

wire! {
    prefixes
    /// Whether the ratchets of both sides fit to each other.
    #[derive(Copy)]
    pub enum SyncState {
        /// They do.
        "O" => Ok,
        /// Some message could not be read.
        "A" => Allowed,
        /// Nothing can be read.
        "R" => Required,
        /// A new ratchet was proposed.
        "S" => Started,
        /// Both have a new ratchet.
        "G" => Agreed,
    }
}

impl Wire for Integrity {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, tag) = u8::parse(source, input)?;
        match tag {
            b'O' => Ok((input, Self::Ok)),
            b'I' => {
                let (input, previous) = Wire::parse(source, input)?;
                Ok((input, Self::BadId { previous }))
            }
            b'D' => Ok((input, Self::Duplicate)),
            b'S' => {
                let (input, (from, to)) = Wire::parse(source, input)?;
                Ok((input, Self::Skipped { from, to }))
            }
            b'H' => Ok((input, Self::BadHash)),
            _ => WireError::UnknownTag.fail(),
        }
    }

    fn put(&self, version: Version, out: &mut bytes::BytesMut) {
        match self {
            Self::Ok => b'O'.put(version, out),
            Self::BadId { previous } => (b'I', *previous).put(version, out),
            Self::Duplicate => b'D'.put(version, out),
            Self::Skipped { from, to } => (b'S', (*from, *to)).put(version, out),
            Self::BadHash => b'H'.put(version, out),
        }
    }
}

#[cfg(any(test, feature = "sim"))]
impl wire::Sample for Integrity {
    fn sample(version: Version, rng: &mut crate::rng::Rng) -> Self {
        match rng.below(5) {
            0 => Self::Ok,
            1 => Self::BadId {
                previous: i64::sample(version, rng),
            },
            2 => Self::Duplicate,
            3 => Self::Skipped {
                from: i64::sample(version, rng),
                to: i64::sample(version, rng),
            },
            _ => Self::BadHash,
        }
    }
}
