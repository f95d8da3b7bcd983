//! The state of a queue, as its recipient may see it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, BytesMut};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::wire::utc::UtcTime;
use crate::wire::{EntityId, Parsed, Source, Version, Wire, WireError};

/// The state of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueInfo {
    /// Whether the sender's key is set.
    #[serde(rename = "qiSnd")]
    pub secured: bool,
    /// Whether there is a notifier.
    #[serde(rename = "qiNtf")]
    pub notifier: bool,
    /// The subscription of the client that asks.
    #[serde(rename = "qiSub", skip_serializing_if = "Option::is_none", default)]
    pub subscription: Option<SubscriptionInfo>,
    /// How many messages wait.
    #[serde(rename = "qiSize")]
    pub size: u64,
    /// The first of them.
    #[serde(rename = "qiMsg", skip_serializing_if = "Option::is_none", default)]
    pub message: Option<MessageInfo>,
}

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionInfo {
    /// What delivers its messages.
    #[serde(rename = "qSubThread")]
    pub thread: SubscriptionThread,
    /// The message that is delivered and not acknowledged.
    #[serde(
        rename = "qDelivered",
        serialize_with = "put_delivered",
        deserialize_with = "parse_delivered",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub delivered: Option<EntityId>,
}

/// What delivers the messages of a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SubscriptionThread {
    /// Nothing needs to.
    NoSub,
    /// It waits for room.
    SubPending,
    /// It delivers.
    SubThread,
    /// Messages are received one by one, without a subscription.
    ProhibitSub,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageInfo {
    /// Its id.
    #[serde(
        rename = "msgId",
        serialize_with = "put_id",
        deserialize_with = "parse_id"
    )]
    pub id: EntityId,
    /// When it was sent.
    #[serde(
        rename = "msgTs",
        serialize_with = "put_time",
        deserialize_with = "parse_time"
    )]
    pub time: UtcTime,
    /// Its kind.
    #[serde(rename = "msgType")]
    pub kind: MessageType,
}

/// The kind of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageType {
    /// Of a sender.
    Message,
    /// The router's mark that the queue was full.
    Quota,
}

fn put_id<S: Serializer>(id: &EntityId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(&**id))
}

fn parse_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EntityId, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
    EntityId::try_from(bytes.as_slice()).map_err(D::Error::custom)
}

#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn put_delivered<S: Serializer>(id: &Option<EntityId>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => put_id(id, serializer),
        None => serializer.serialize_none(),
    }
}

fn parse_delivered<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<EntityId>, D::Error> {
    parse_id(deserializer).map(Some)
}

fn put_time<S: Serializer>(time: &UtcTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

fn parse_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UtcTime, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(D::Error::custom)
}

impl Wire for QueueInfo {
    fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        parse_json(input)
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        put_json(self, out);
    }
}

/// JSON that takes the rest of the transmission.
pub(super) fn parse_json<T: DeserializeOwned>(input: &[u8]) -> Parsed<'_, T> {
    match serde_json::from_slice(input) {
        Ok(value) => Ok((&[], value)),
        Err(_) => WireError::Invalid("JSON").fail(),
    }
}

pub(super) fn put_json<T: Serialize>(value: &T, out: &mut BytesMut) {
    out.put_slice(&serde_json::to_vec(value).unwrap_or_default());
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{
        EntityId, MessageInfo, MessageType, QueueInfo, SubscriptionInfo, SubscriptionThread,
        UtcTime, Version,
    };
    use crate::rng::Rng;
    use crate::wire::Sample;

    impl Sample for QueueInfo {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let delivered = Option::<EntityId>::sample(version, rng);
            let subscription = bool::sample(version, rng).then_some(SubscriptionInfo {
                thread: SubscriptionThread::SubThread,
                delivered,
            });
            let message = bool::sample(version, rng).then(|| MessageInfo {
                id: Sample::sample(version, rng),
                time: UtcTime::from_seconds(u32::sample(version, rng).into()),
                kind: MessageType::Quota,
            });
            Self {
                secured: bool::sample(version, rng),
                notifier: bool::sample(version, rng),
                subscription,
                size: u32::sample(version, rng).into(),
                message,
            }
        }
    }
}
