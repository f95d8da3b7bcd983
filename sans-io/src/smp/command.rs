//! What a client asks of a router.

use bytes::{BufMut, Bytes, BytesMut};

use crate::crypto::{AuthPublicKey, IdsHash, x25519};
use crate::wire;
use crate::wire::{
    BasicAuth, Codec, EntityId, Large, NonEmpty, Parsed, ServerAddress, SmpScheme, Source, Tail,
    Version, Wire, WireError,
};

use super::message::MsgId;
use super::name::SimplexDomain;

wire! {
    words
    /// A command.
    pub enum Command {
        /// Create a queue.
        "NEW" => New(queue: Box<NewQueue>),
        /// Subscribe to the messages of a queue.
        "SUB" => Sub,
        /// Subscribe to the messages of all queues of a service.
        "SUBS" => Subs(queues: ServiceQueues, bare 0..=18),
        /// Set the key of the sender.
        "KEY" => Key(key: AuthPublicKey),
        /// Replace the keys of the recipients of a contact queue.
        "RKEY" => RKey(keys: NonEmpty<AuthPublicKey>),
        /// Attach data to a link to the queue, or replace its changeable part.
        "LSET" => LSet {
            /// The link.
            link_id: EntityId,
            /// Its data.
            data: LinkData,
        },
        /// Detach the link.
        "LDEL" => LDel,
        /// Create a notifier, or replace it.
        "NKEY" => NKey(keys: NotifierKeys),
        /// Delete the notifier.
        "NDEL" => NDel,
        /// Receive one message without a subscription.
        "GET" => Get,
        /// Acknowledge a message, and receive the next one.
        "ACK" => Ack(id: MsgId),
        /// Suspend the queue: nothing can be sent to it any more.
        "OFF" => Off,
        /// Delete the queue.
        "DEL" => Del,
        /// Show the state of the queue.
        "QUE" => Que,
        /// Set the key of the sender, as the sender.
        "SKEY" => SKey(key: AuthPublicKey),
        /// Send a message.
        "SEND" => Send {
            /// Who else is told of the message.
            flags: MsgFlags,
            /// The message, encrypted by the sender.
            body: Bytes as AfterSpace,
        },
        /// Nothing: to keep the session alive.
        "PING" => Ping,
        /// Set the key of the sender, and read the data of the link.
        "LKEY" => LKey(key: AuthPublicKey),
        /// Read the data of the link to a contact queue.
        "LGET" => LGet,
        /// Subscribe to the notifications of a queue.
        "NSUB" => NSub,
        /// Subscribe to the notifications of all queues of a service.
        "NSUBS" => NSubs(queues: ServiceQueues, bare 0..=18),
        /// Ask a proxy for a session with a relay.
        "PRXY" => Prxy {
            /// The relay.
            relay: ServerAddress<SmpScheme>,
            /// The password of the proxy.
            password: Option<BasicAuth>,
        },
        /// Ask a proxy to forward a command to a relay.
        "PFWD" => Pfwd {
            /// The version of the forwarded command.
            version: Version,
            /// The client's key for this command only.
            key: x25519::PublicKey,
            /// The command, for the relay.
            encrypted: Bytes as Tail,
        },
        /// A forwarded command, from a proxy to a relay.
        "RFWD" => Rfwd {
            /// The command, encrypted again for the relay.
            encrypted: Bytes as Tail,
        },
        /// Resolve a name.
        "RSLV" => Rslv {
            /// The name.
            domain: SimplexDomain as FirstWord,
        },
    }
}

wire! {
    /// The queue to create.
    pub struct NewQueue {
        /// The key that authorises the recipient's commands, this one included.
        pub auth_key: AuthPublicKey,
        /// The recipient's half of the secret that encrypts delivered messages.
        pub dh_key: x25519::PublicKey,
        /// The password of the router.
        pub password: Option<BasicAuth> { 0..=8 => PasswordAfterA, 9.. => Plain },
        /// Whether the new queue is subscribed to at once.
        pub subscription: SubscriptionMode,
        /// The kind of the queue, and the data of its link.
        pub request: Option<QueueRequest> { 9..=14 => SenderCanSecure, 15.. => Plain },
        /// Keys to create a notifier at once.
        pub notifier: Option<NotifierKeys> { 17.. => Plain },
    }
}

wire! {
    prefixes
    /// Whether a new queue is subscribed to.
    #[derive(Copy)]
    pub enum SubscriptionMode {
        /// At once.
        "S" => Subscribe,
        /// Not yet.
        "C" => OnlyCreate,
    }
}

wire! {
    prefixes
    /// Who may secure a queue, and read the data of its link.
    #[derive(Copy, Hash)]
    pub enum QueueMode {
        /// One sender, who secures the queue.
        "M" => Messaging,
        /// Many senders.
        "C" => Contact,
    }
}

wire! {
    prefixes
    /// The kind of a new queue, and the data of its link.
    pub enum QueueRequest {
        /// For one sender. The router chooses the id of the link.
        "M" => Messaging(link: Option<QueueLink>),
        /// For many senders. The id of the link follows from its key.
        "C" => Contact(link: Option<ContactLink>),
    }
}

impl QueueRequest {
    /// The mode of the queue that is asked for.
    #[must_use]
    pub const fn mode(&self) -> QueueMode {
        match self {
            Self::Messaging(_) => QueueMode::Messaging,
            Self::Contact(_) => QueueMode::Contact,
        }
    }
}

wire! {
    /// A link to a new messaging queue.
    pub struct QueueLink {
        /// The id of the sender, which follows from the correlation id of the command.
        pub sender_id: EntityId,
        /// The data of the link.
        pub data: LinkData,
    }
}

wire! {
    /// A link to a new contact queue.
    pub struct ContactLink {
        /// The id of the link.
        pub link_id: EntityId,
        /// The id of the sender, which follows from the correlation id of the command.
        pub sender_id: EntityId,
        /// The data of the link.
        pub data: LinkData,
    }
}

wire! {
    /// The data of a link, encrypted by its owner.
    pub struct LinkData {
        /// What never changes.
        pub fixed: Large,
        /// What its owner may replace.
        pub user: Large,
    }
}

wire! {
    /// The keys of a notifier.
    pub struct NotifierKeys {
        /// The key that authorises its subscription.
        pub auth_key: AuthPublicKey,
        /// The recipient's half of the secret that encrypts notifications.
        pub dh_key: x25519::PublicKey,
    }
}

wire! {
    /// How many queues a service has, and which.
    pub struct ServiceQueues {
        /// Their number; negative if it is not known.
        pub count: i64,
        /// The hash of their ids.
        pub ids_hash: IdsHash { 19.. => Plain },
    }
}

impl Default for ServiceQueues {
    /// Not known.
    fn default() -> Self {
        Self {
            count: -1,
            ids_hash: IdsHash::default(),
        }
    }
}

/// What a sender wants to happen besides delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MsgFlags {
    /// The recipient's notifier is told.
    pub notification: bool,
}

/// Flags that are not known yet may follow, up to a space.
impl Wire for MsgFlags {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, notification) = bool::parse(source, input)?;
        let known = input.iter().position(|byte| *byte == b' ');
        let rest = input.get(known.unwrap_or(input.len())..).unwrap_or(&[]);
        Ok((rest, Self { notification }))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.notification.put(version, out);
    }
}

/// A space, then all that follows.
pub(super) enum AfterSpace {}

impl Codec<Bytes> for AfterSpace {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Bytes> {
        match input {
            [b' ', body @ ..] => Tail::parse(source, body),
            _ => WireError::Incomplete.fail(),
        }
    }

    fn put(value: &Bytes, version: Version, out: &mut BytesMut) {
        out.put_u8(b' ');
        Tail::put(value, version, out);
    }
}

/// The password after an `A`, or nothing: before version 9.
enum PasswordAfterA {}

impl Codec<Option<BasicAuth>> for PasswordAfterA {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Option<BasicAuth>> {
        match input {
            [b'A', rest @ ..] => {
                BasicAuth::parse(source, rest).map(|(rest, auth)| (rest, Some(auth)))
            }
            _ => Ok((input, None)),
        }
    }

    fn put(value: &Option<BasicAuth>, version: Version, out: &mut BytesMut) {
        if let Some(password) = value {
            out.put_u8(b'A');
            password.put(version, out);
        }
    }
}

/// Whether the sender may secure the queue, instead of its mode: in versions 9 to 14.
pub(super) enum SenderCanSecure {}

impl Codec<Option<QueueRequest>> for SenderCanSecure {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Option<QueueRequest>> {
        let (input, can_secure) = bool::parse(source, input)?;
        let request = if can_secure {
            QueueRequest::Messaging(None)
        } else {
            QueueRequest::Contact(None)
        };
        Ok((input, Some(request)))
    }

    fn put(value: &Option<QueueRequest>, version: Version, out: &mut BytesMut) {
        matches!(value, Some(QueueRequest::Messaging(_))).put(version, out);
    }
}

impl Codec<Option<QueueMode>> for SenderCanSecure {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Option<QueueMode>> {
        let (input, can_secure) = bool::parse(source, input)?;
        let mode = if can_secure {
            QueueMode::Messaging
        } else {
            QueueMode::Contact
        };
        Ok((input, Some(mode)))
    }

    fn put(value: &Option<QueueMode>, version: Version, out: &mut BytesMut) {
        matches!(value, Some(QueueMode::Messaging)).put(version, out);
    }
}

/// A name up to the first white space; what follows is ignored.
enum FirstWord {}

impl Codec<SimplexDomain> for FirstWord {
    fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, SimplexDomain> {
        let end = input.iter().position(u8::is_ascii_whitespace);
        let word = input.get(..end.unwrap_or(input.len())).unwrap_or(input);
        match std::str::from_utf8(word).map(str::parse) {
            Ok(Ok(domain)) => Ok((&[], domain)),
            _ => WireError::Invalid("name").fail(),
        }
    }

    fn put(value: &SimplexDomain, _: Version, out: &mut BytesMut) {
        out.put_slice(value.as_str().as_bytes());
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use bytes::Bytes;

    use super::{
        AfterSpace, BasicAuth, FirstWord, MsgFlags, PasswordAfterA, QueueMode, QueueRequest,
        SenderCanSecure, SimplexDomain, Tail, Version,
    };
    use crate::rng::Rng;
    use crate::wire::{Sample, SampleCodec};

    impl Sample for MsgFlags {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            Self {
                notification: bool::sample(version, rng),
            }
        }
    }

    impl SampleCodec<Bytes> for AfterSpace {
        fn sample(version: Version, rng: &mut Rng) -> Bytes {
            Tail::sample(version, rng)
        }
    }

    impl SampleCodec<Option<BasicAuth>> for PasswordAfterA {
        fn sample(version: Version, rng: &mut Rng) -> Option<BasicAuth> {
            Sample::sample(version, rng)
        }
    }

    impl SampleCodec<Option<QueueRequest>> for SenderCanSecure {
        fn sample(version: Version, rng: &mut Rng) -> Option<QueueRequest> {
            Some(if bool::sample(version, rng) {
                QueueRequest::Messaging(None)
            } else {
                QueueRequest::Contact(None)
            })
        }
    }

    impl SampleCodec<Option<QueueMode>> for SenderCanSecure {
        fn sample(version: Version, rng: &mut Rng) -> Option<QueueMode> {
            Some(QueueMode::sample(version, rng))
        }
    }

    impl SampleCodec<SimplexDomain> for FirstWord {
        fn sample(version: Version, rng: &mut Rng) -> SimplexDomain {
            Sample::sample(version, rng)
        }
    }
}
