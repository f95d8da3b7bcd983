//! How records are stored: the encoding of each, by the version of the format.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{
    LinkRecord, MessageContent, MessageRecord, NotificationRecord, NotifierRecord, Position,
    QueueRecord, QueueStatus, ServiceRecord, ServiceTotals, Suspended,
};
use crate::crypto::certificate::Fingerprint;
use crate::crypto::{AuthPublicKey, IdsHash, Nonce, x25519};
use crate::smp::handshake::ServiceRole;
use crate::smp::{BlockingInfo, LinkData, MsgFlags, MsgId, QueueMode};
use crate::wire;
use crate::wire::{
    Codec, EntityId, Large, List, NonEmpty, Parsed, Short, Source, Tail, Version, Wire, WireError,
};

/// The version in which records are written now. Older ones are read.
pub const FORMAT: Version = Version(1);

wire! {
    impl QueueRecord {
        recipient_id: EntityId,
        recipient_keys: Vec<AuthPublicKey> as Counted,
        dh_secret: x25519::SharedSecret as Raw,
        sender_id: EntityId,
        sender_key: Option<AuthPublicKey>,
        mode: Option<QueueMode>,
        link: Option<Box<LinkRecord>>,
        notifier: Option<Box<NotifierRecord>>,
        status: QueueStatus,
        updated_at: Option<i64>,
        service_id: Option<EntityId>,
    }
}

wire! {
    impl LinkRecord {
        id: EntityId,
        data: LinkData,
    }
}

wire! {
    impl NotifierRecord {
        id: EntityId,
        key: AuthPublicKey,
        dh_secret: x25519::SharedSecret as Raw,
        service_id: Option<EntityId>,
    }
}

wire! {
    impl MessageRecord {
        id: MsgId,
        time: i64,
        content: MessageContent,
    }
}

wire! {
    impl Position {
        head: u64,
        tail: u64,
        full: bool,
    }
}

wire! {
    impl NotificationRecord {
        message_id: MsgId,
        time: i64,
        nonce: Nonce,
        meta: Bytes as Tail,
    }
}

wire! {
    impl ServiceRecord {
        id: EntityId,
        role: ServiceRole,
        chain: NonEmpty<Large>,
        fingerprint: Fingerprint as Raw,
        created_at: i64,
    }
}

wire! {
    impl ServiceTotals {
        count: i64,
        ids_hash: IdsHash,
    }
}

impl Wire for MessageContent {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        match input {
            [b'M', rest @ ..] => {
                let (rest, notification) = bool::parse(source, rest)?;
                let (rest, body) = <Tail as Codec<Bytes>>::parse(source, rest)?;
                let flags = MsgFlags { notification };
                Ok((rest, Self::Sent { flags, body }))
            }
            [b'Q', rest @ ..] => Ok((rest, Self::Quota)),
            [] => WireError::Incomplete.fail(),
            _ => WireError::Invalid("message").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        match self {
            Self::Sent { flags, body } => {
                out.put_u8(b'M');
                flags.notification.put(version, out);
                out.put_slice(body);
            }
            Self::Quota => out.put_u8(b'Q'),
        }
    }
}

impl Wire for QueueStatus {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        match input {
            [b'A', rest @ ..] => Ok((rest, Self::Active)),
            [b'O', rest @ ..] => Ok((rest, Self::Off)),
            [b'B', rest @ ..] => {
                let (rest, suspended) = bool::parse(source, rest)?;
                let suspended = if suspended {
                    Suspended::Yes
                } else {
                    Suspended::No
                };
                let (rest, info) = Short::parse(source, rest)?;
                let info = wire::decode::<BlockingInfo>(source.version(), &info)
                    .map_err(nom::Err::Error)?;
                Ok((rest, Self::Blocked { info, suspended }))
            }
            [] => WireError::Incomplete.fail(),
            _ => WireError::Invalid("status").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        match self {
            Self::Active => out.put_u8(b'A'),
            Self::Off => out.put_u8(b'O'),
            Self::Blocked { info, suspended } => {
                out.put_u8(b'B');
                matches!(suspended, Suspended::Yes).put(version, out);
                let info = wire::encode(info, version);
                Short::try_from(info).unwrap_or_default().put(version, out);
            }
        }
    }
}

/// Values with a count of one byte.
enum Counted {}

impl<T: Wire + Clone> Codec<Vec<T>> for Counted {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Vec<T>> {
        List::parse(source, input).map(|(input, list)| (input, list.into_vec()))
    }

    fn put(values: &Vec<T>, version: Version, out: &mut BytesMut) {
        let count = u8::try_from(values.len()).unwrap_or(u8::MAX);
        count.put(version, out);
        for value in values.iter().take(usize::from(count)) {
            value.put(version, out);
        }
    }
}

/// The 32 bytes of a value.
enum Raw {}

impl Codec<x25519::SharedSecret> for Raw {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, x25519::SharedSecret> {
        let (input, bytes) = Wire::parse(source, input)?;
        Ok((input, x25519::SharedSecret::from_bytes(bytes)))
    }

    fn put(secret: &x25519::SharedSecret, _: Version, out: &mut BytesMut) {
        out.put_slice(secret.as_bytes());
    }
}

impl Codec<Fingerprint> for Raw {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Fingerprint> {
        let (input, bytes) = Wire::parse(source, input)?;
        Ok((input, Fingerprint::from_bytes(bytes)))
    }

    fn put(fingerprint: &Fingerprint, _: Version, out: &mut BytesMut) {
        out.put_slice(fingerprint.as_bytes());
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::{Sample, SampleCodec};

    impl<T: Wire + Clone + Sample> SampleCodec<Vec<T>> for Counted {
        fn sample(version: Version, rng: &mut Rng) -> Vec<T> {
            List::sample(version, rng).into_vec()
        }
    }

    impl SampleCodec<x25519::SharedSecret> for Raw {
        fn sample(_: Version, rng: &mut Rng) -> x25519::SharedSecret {
            x25519::SharedSecret::from_bytes(rng.bytes())
        }
    }

    impl SampleCodec<Fingerprint> for Raw {
        fn sample(_: Version, rng: &mut Rng) -> Fingerprint {
            Fingerprint::from_bytes(rng.bytes())
        }
    }

    impl Sample for MessageContent {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            match rng.below(8) {
                0 => Self::Quota,
                _ => Self::Sent {
                    flags: MsgFlags::sample(version, rng),
                    body: <Tail as SampleCodec<Bytes>>::sample(version, rng),
                },
            }
        }
    }

    impl Sample for QueueStatus {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            match rng.below(4) {
                0 | 1 => Self::Active,
                2 => Self::Off,
                _ => Self::Blocked {
                    info: BlockingInfo::sample(version, rng),
                    suspended: match rng.below(2) {
                        0 => Suspended::No,
                        _ => Suspended::Yes,
                    },
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::rng::Rng;
    use crate::wire::{Sample, decode, encode};
    use proptest::prelude::*;

    fn comes_back<T: Wire + Sample + PartialEq + Debug>(rng: &mut Rng) {
        let record = T::sample(FORMAT, rng);
        assert_eq!(decode(FORMAT, &encode(&record, FORMAT)), Ok(record));
    }

    proptest! {
        #[test]
        fn records_come_back(seed: [u8; 32]) {
            let rng = &mut Rng::from_seed(seed);
            comes_back::<QueueRecord>(rng);
            comes_back::<MessageRecord>(rng);
            comes_back::<Position>(rng);
            comes_back::<NotificationRecord>(rng);
            comes_back::<ServiceRecord>(rng);
            comes_back::<ServiceTotals>(rng);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = Bytes::from(bytes);
            let _ = decode::<QueueRecord>(FORMAT, &bytes);
            let _ = decode::<MessageRecord>(FORMAT, &bytes);
            let _ = decode::<ServiceRecord>(FORMAT, &bytes);
        }
    }

    #[test]
    fn the_body_of_a_message_is_shared_with_what_was_read() {
        let message = MessageRecord {
            id: MsgId::from([1; 24]),
            time: 1,
            content: MessageContent::Sent {
                flags: MsgFlags { notification: true },
                body: Bytes::from_static(b"body"),
            },
        };
        let stored = encode(&message, FORMAT);
        let read = decode::<MessageRecord>(FORMAT, &stored).unwrap();
        let MessageContent::Sent { body, .. } = read.content else {
            panic!("a message was stored");
        };
        assert_eq!(body.as_ptr(), stored[stored.len() - 4..].as_ptr());
    }
}
