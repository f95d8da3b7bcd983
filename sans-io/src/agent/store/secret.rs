//! How private keys, secrets and flags are written into records.

use bytes::{BufMut, BytesMut};

use crate::crypto::{AuthPrivateKey, Secret, ed25519, x25519};
use crate::smp::MsgFlags;
use crate::wire::{Codec, Parsed, Short, Source, Version, Wire, WireError};

/// Flags without room for those to come: on the wire they end at a space.
pub(in crate::agent) enum Flags {}

impl Codec<MsgFlags> for Flags {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, MsgFlags> {
        let (input, notification) = bool::parse(source, input)?;
        Ok((input, MsgFlags { notification }))
    }

    fn put(value: &MsgFlags, version: Version, out: &mut BytesMut) {
        value.notification.put(version, out);
    }
}

/// A secret as it is.
pub(in crate::agent) enum Stored {}

macro_rules! raw {
    ($($type:ty),*) => { $(
        impl Codec<$type> for Stored {
            fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, $type> {
                let (input, bytes) = <[u8; 32]>::parse(source, input)?;
                Ok((input, <$type>::from_bytes(bytes)))
            }

            fn put(value: &$type, _: Version, out: &mut BytesMut) {
                out.put_slice(value.as_bytes());
            }
        }

        #[cfg(any(test, feature = "sim"))]
        impl crate::wire::SampleCodec<$type> for Stored {
            fn sample(_: Version, rng: &mut crate::rng::Rng) -> $type {
                <$type>::from_bytes(rng.bytes())
            }
        }
    )* };
}

raw!(
    x25519::PrivateKey,
    x25519::SharedSecret,
    ed25519::PrivateKey,
    Secret<32>
);

impl<T> Codec<Option<T>> for Stored
where
    Self: Codec<T>,
{
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Option<T>> {
        match input {
            [b'0', rest @ ..] => Ok((rest, None)),
            [b'1', rest @ ..] => {
                <Self as Codec<T>>::parse(source, rest).map(|(input, value)| (input, Some(value)))
            }
            [] => WireError::Incomplete.fail(),
            _ => WireError::Invalid("optional value").fail(),
        }
    }

    fn put(value: &Option<T>, version: Version, out: &mut BytesMut) {
        match value {
            None => out.put_u8(b'0'),
            Some(value) => {
                out.put_u8(b'1');
                <Self as Codec<T>>::put(value, version, out);
            }
        }
    }
}

impl Codec<AuthPrivateKey> for Stored {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, AuthPrivateKey> {
        let (input, der) = Short::parse(source, input)?;
        match AuthPrivateKey::from_pkcs8(&der) {
            Ok(key) => Ok((input, key)),
            Err(_) => WireError::Invalid("key").fail(),
        }
    }

    fn put(value: &AuthPrivateKey, version: Version, out: &mut BytesMut) {
        let der = Short::try_from(value.to_pkcs8().as_slice());
        der.unwrap_or_default().put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{AuthPrivateKey, Flags, MsgFlags, Stored, Version};
    use crate::crypto::ed25519;
    use crate::rng::Rng;
    use crate::wire::{Sample, SampleCodec};

    impl<T> SampleCodec<Option<T>> for Stored
    where
        Self: SampleCodec<T>,
    {
        fn sample(version: Version, rng: &mut Rng) -> Option<T> {
            bool::sample(version, rng).then(|| <Self as SampleCodec<T>>::sample(version, rng))
        }
    }

    impl SampleCodec<MsgFlags> for Flags {
        fn sample(version: Version, rng: &mut Rng) -> MsgFlags {
            MsgFlags::sample(version, rng)
        }
    }

    impl SampleCodec<AuthPrivateKey> for Stored {
        fn sample(_: Version, rng: &mut Rng) -> AuthPrivateKey {
            ed25519::PrivateKey::generate(rng).into()
        }
    }
}
