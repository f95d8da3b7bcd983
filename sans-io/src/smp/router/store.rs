//! What a router keeps, and how it asks for it: the only words between the core and its store.
//!
//! A store carries out [`Change`]s and [`Load`]s in the order in which they are given, and reports in that order: a load sees all
//! changes before it and none after it, and `Stored` names the last change that is durable, and with it all before. Changes of one
//! commit are stored together or not at all. A message that is put and deleted before it was stored never needs to
//! reach the disk.
//!
//! A message is put at the tail of its queue. A commit with another place is refused: it builds on one that was not stored. Whether
//! commits that are reported as not stored are there nevertheless is not known; what is loaded afterwards is the truth.

mod format;

pub use self::format::FORMAT;

use bytes::Bytes;

use crate::crypto::certificate::Fingerprint;
use crate::crypto::{AuthPublicKey, IdsHash, Nonce, x25519};
use crate::smp::handshake::ServiceRole;
use crate::smp::server::Party;
use crate::smp::{BlockingInfo, LinkData, MsgFlags, MsgId, QueueMode};
use crate::time::UnixTime;
use crate::wire::{EntityId, Large, NonEmpty};

/// A queue, without its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueRecord {
    /// The id of the recipient, by which the queue is stored.
    pub recipient_id: EntityId,
    /// The keys of the recipients.
    pub recipient_keys: Vec<AuthPublicKey>,
    /// The secret of recipient and router, under which messages are delivered.
    pub dh_secret: x25519::SharedSecret,
    /// The id of the sender.
    pub sender_id: EntityId,
    /// The key of the sender, once the queue is secured.
    pub sender_key: Option<AuthPublicKey>,
    /// The kind of the queue; old ones have none.
    pub mode: Option<QueueMode>,
    /// The link to the queue.
    pub link: Option<Box<LinkRecord>>,
    /// Who is told of messages.
    pub notifier: Option<Box<NotifierRecord>>,
    /// Whether messages can be sent.
    pub status: QueueStatus,
    /// The day of the last use, in seconds since the Unix epoch.
    pub updated_at: Option<i64>,
    /// The service that receives the messages.
    pub service_id: Option<EntityId>,
}

/// A link to a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkRecord {
    /// The id of the link.
    pub id: EntityId,
    /// Its data.
    pub data: LinkData,
}

/// Who is told of the messages of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotifierRecord {
    /// The id of the notifier.
    pub id: EntityId,
    /// The key that authorises its subscription.
    pub key: AuthPublicKey,
    /// The secret of recipient and router, under which notifications are encrypted.
    pub dh_secret: x25519::SharedSecret,
    /// The service that receives the notifications.
    pub service_id: Option<EntityId>,
}

/// Whether messages can be sent to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueStatus {
    /// They can.
    Active,
    /// The recipient has suspended the queue.
    Off,
    /// The operator has blocked the queue, which was active or suspended before and is so again afterwards.
    Blocked {
        /// Why.
        info: BlockingInfo,
        /// Whether the recipient has suspended it, before or meanwhile.
        suspended: Suspended,
    },
}

/// Whether a blocked queue is suspended as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspended {
    /// It is not.
    No,
    /// It is.
    Yes,
}

/// A message that waits in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageRecord {
    /// Its id.
    pub id: MsgId,
    /// When it was sent, in seconds since the Unix epoch.
    pub time: i64,
    /// What it is.
    pub content: MessageContent,
}

/// What a message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageContent {
    /// Sent by the sender.
    Sent {
        /// The sender's flags.
        flags: MsgFlags,
        /// What was sent.
        body: Bytes,
    },
    /// The mark that the queue was full.
    Quota,
}

/// Which messages wait in a queue: those from `head` up to, and without, `tail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The first message that waits.
    pub head: u64,
    /// The next message that comes.
    pub tail: u64,
    /// Whether the last one is the mark that the queue was full.
    pub full: bool,
}

/// A notification that nobody has received yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationRecord {
    /// The message that is new.
    pub message_id: MsgId,
    /// When it was sent, in seconds since the Unix epoch.
    pub time: i64,
    /// The nonce of the encrypted part.
    pub nonce: Nonce,
    /// What the recipient of notifications can decrypt, as it travels.
    pub meta: Bytes,
}

/// A service that has introduced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRecord {
    /// The id that the router has given it.
    pub id: EntityId,
    /// What it does.
    pub role: ServiceRole,
    /// Its certificates, leaf first.
    pub chain: NonEmpty<Large>,
    /// The fingerprint of its identity.
    pub fingerprint: Fingerprint,
    /// The day on which it came, in seconds since the Unix epoch.
    pub created_at: i64,
}

/// The queues that are associated with a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceTotals {
    /// How many.
    pub count: i64,
    /// Which: the hash of the ids of their recipients, or of their notifiers.
    pub ids_hash: IdsHash,
}

/// What a store is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store a queue, new or changed, with all its ids; the ids in `removed` lead to it no more.
    PutQueue {
        /// The queue.
        queue: Box<QueueRecord>,
        /// Ids that it had before.
        removed: Vec<(Party, EntityId)>,
    },
    /// Delete a queue with its ids, messages and position.
    DeleteQueue {
        /// The queue as it was last.
        queue: Box<QueueRecord>,
        /// Which messages wait in it.
        position: Position,
    },
    /// Store a message.
    PutMessage {
        /// The recipient.
        queue: EntityId,
        /// The message's place.
        sequence: u64,
        /// The message.
        message: MessageRecord,
        /// What waits now.
        position: Position,
    },
    /// Delete the messages before `position.head`, from `from` on.
    DeleteMessages {
        /// The recipient.
        queue: EntityId,
        /// The first message to delete.
        from: u64,
        /// What waits now.
        position: Position,
    },
    /// Store a notification, as the newest of its notifier. Places grow, with gaps.
    PutNotification {
        /// The notifier.
        notifier: EntityId,
        /// The notification's place.
        sequence: u64,
        /// The notification.
        notification: NotificationRecord,
    },
    /// Delete the notifications of a notifier up to, and without, a place.
    DeleteNotifications {
        /// The notifier.
        notifier: EntityId,
        /// The first one that stays.
        before: u64,
    },
    /// Store a service.
    PutService(Box<ServiceRecord>),
    /// Adjust the totals of a service, which the store may know and the core does not.
    AdjustServiceTotals {
        /// The service.
        service: EntityId,
        /// By how many queues.
        count: i64,
        /// The hash of their ids, which both adds and removes them.
        ids_hash: IdsHash,
    },
    /// Store statistics, in a form that only the core reads.
    PutStatistics(Bytes),
}

/// What a store is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Load {
    /// A queue, by one of its ids, with its position and its first message.
    Queue(Party, EntityId),
    /// Messages of a queue, at least one, from a place on.
    Messages {
        /// The recipient.
        queue: EntityId,
        /// The first one.
        from: u64,
        /// No more than these.
        before: u64,
    },
    /// All notifications of a notifier, oldest first.
    Notifications(EntityId),
    /// A service, by the fingerprint of its identity, with its totals.
    Service([u8; 32]),
    /// The ids of recipients of queues that are associated with a service, in order, after a given one.
    ServiceQueues {
        /// The service.
        service: EntityId,
        /// Its kind: queues of messages or of notifications.
        role: ServiceRole,
        /// Only ids after this one.
        after: EntityId,
        /// No more than these.
        limit: usize,
    },
    /// The ids of recipients whose first message may have been sent before a time, in the order of these times.
    Expired {
        /// The time, in seconds since the Unix epoch.
        before: i64,
        /// No more than these.
        limit: usize,
    },
    /// The ids of notifiers with a notification from before a time.
    ExpiredNotifications {
        /// The time, in seconds since the Unix epoch.
        before: i64,
        /// No more than these.
        limit: usize,
    },
    /// How much there is of everything, and the statistics that were stored last.
    Totals,
}

/// What a store has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// A queue, or that there is none.
    Queue(Option<Box<LoadedQueue>>),
    /// Messages with their places.
    Messages(Vec<(u64, MessageRecord)>),
    /// Notifications with their places.
    Notifications(Vec<(u64, NotificationRecord)>),
    /// A service, or that there is none.
    Service(Option<Box<(ServiceRecord, ServiceTotals)>>),
    /// Ids.
    Ids(Vec<EntityId>),
    /// How much there is.
    Totals(Box<Totals>),
    /// The store cannot tell.
    Failed,
}

/// A queue with what is known of its messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedQueue {
    /// The queue.
    pub record: QueueRecord,
    /// Which messages wait.
    pub position: Position,
    /// The first of them.
    pub first: Option<MessageRecord>,
}

/// How much a store holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Totals {
    /// Queues.
    pub queues: u64,
    /// Messages.
    pub messages: u64,
    /// Queues with a notifier.
    pub notifiers: u64,
    /// Notifications.
    pub notifications: u64,
    /// Services that receive messages.
    pub messaging_services: u64,
    /// Services that receive notifications.
    pub notifier_services: u64,
    /// Queues of services that receive messages.
    pub messaging_service_queues: u64,
    /// Queues of services that receive notifications.
    pub notifier_service_queues: u64,
    /// The statistics that were stored last.
    pub statistics: Option<Bytes>,
}

impl QueueRecord {
    /// All ids that lead to the queue, besides the recipient's.
    pub fn ids(&self) -> impl Iterator<Item = (Party, &EntityId)> {
        let link = self.link.as_ref().map(|link| (Party::Link, &link.id));
        let notifier = self.notifier.as_ref();
        let notifier = notifier.map(|notifier| (Party::Notifier, &notifier.id));
        std::iter::once((Party::Sender, &self.sender_id))
            .chain(link)
            .chain(notifier)
    }
}

/// The day of a time: seconds since the Unix epoch, rounded down to a whole day.
#[must_use]
pub const fn day(time: UnixTime) -> i64 {
    let seconds = time.seconds();
    seconds.saturating_sub(seconds.rem_euclid(86_400))
}
