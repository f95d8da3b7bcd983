//! How keys, signatures, nonces and hashes travel: most with a length of one byte in front, nonces as they are.

use bytes::{BufMut as _, BytesMut};

use super::kem::{self, Ciphertext};
use super::{
    AuthPublicKey, IdsHash, Nonce, PublicKey, Signature, VerifyingKey, ed448, ed25519, x448, x25519,
};
use crate::wire::{Parsed, Source, Version, Wire, WireError};

/// Values of up to 255 bytes, with their length in one byte.
macro_rules! short {
    ($name:literal: $($type:ty = $read:expr, $write:expr);+ $(;)?) => {
        $(
            impl Wire for $type {
                fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
                    let (length, input) = input.split_first().ok_or(INCOMPLETE)?;
                    let (bytes, rest) =
                        input.split_at_checked(usize::from(*length)).ok_or(INCOMPLETE)?;
                    match $read(bytes) {
                        Ok(value) => Ok((rest, value)),
                        Err(_) => WireError::Invalid($name).fail(),
                    }
                }

                fn put(&self, _: Version, out: &mut BytesMut) {
                    let written = $write(self);
                    let bytes: &[u8] = written.as_ref();
                    out.put_u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
                    out.put_slice(bytes);
                }
            }
        )+
    };
}

/// Values whose length travels in two bytes.
macro_rules! large {
    ($name:literal: $($type:ty),+) => {
        $(
            impl Wire for $type {
                fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
                    let (length, input) = input.split_first_chunk().ok_or(INCOMPLETE)?;
                    let (bytes, rest) = input
                        .split_at_checked(usize::from(u16::from_be_bytes(*length)))
                        .ok_or(INCOMPLETE)?;
                    match Self::from_bytes(bytes) {
                        Ok(value) => Ok((rest, value)),
                        Err(_) => WireError::Invalid($name).fail(),
                    }
                }

                fn put(&self, _: Version, out: &mut BytesMut) {
                    out.put_u16(u16::try_from(Self::LENGTH).unwrap_or(u16::MAX));
                    out.put_slice(self.as_bytes());
                }
            }
        )+
    };
}

const INCOMPLETE: nom::Err<WireError> = nom::Err::Error(WireError::Incomplete);

short! { "key":
    PublicKey = Self::from_spki, Self::to_spki;
    AuthPublicKey = Self::from_spki, Self::to_spki;
    VerifyingKey = Self::from_spki, Self::to_spki;
    x25519::PublicKey = Self::from_spki, Self::to_spki;
    x448::PublicKey = Self::from_spki, Self::to_spki;
    ed25519::PublicKey = Self::from_spki, Self::to_spki;
    ed448::PublicKey = Self::from_spki, Self::to_spki;
}

short! { "signature":
    Signature = Self::from_bytes, Self::as_bytes;
    ed25519::Signature = |bytes: &[u8]| bytes.try_into().map(Self::from_bytes), Self::as_bytes;
}

short! { "hash of ids":
    IdsHash = |bytes: &[u8]| bytes.try_into().map(Self::from_bytes), Self::as_bytes;
}

large! { "KEM value": kem::PublicKey, Ciphertext }

impl Wire for Nonce {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (rest, bytes) = <[u8; Self::LENGTH]>::parse(source, input)?;
        Ok((rest, Self::from(bytes)))
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        out.put_slice(self.as_bytes());
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;

    /// Random bytes: what looks like a key on the wire, whether or not anybody has its private half.
    macro_rules! samples {
        ($($type:ty = $rng:ident => $sample:expr),+ $(,)?) => {
            $(
                impl Sample for $type {
                    fn sample(_: Version, $rng: &mut Rng) -> Self {
                        $sample
                    }
                }
            )+
        };
    }

    samples! {
        x25519::PublicKey = rng => Self::from_bytes(rng.bytes()),
        x448::PublicKey = rng => Self::from_bytes(rng.bytes()),
        ed25519::PublicKey = rng => Self::from_bytes(rng.bytes()),
        ed448::PublicKey = rng => Self::from_bytes(rng.bytes()),
        ed25519::Signature = rng => Self::from_bytes(rng.bytes()),
        PublicKey = rng => match rng.below(4) {
            0 => Self::X25519(x25519::PublicKey::from_bytes(rng.bytes())),
            1 => Self::X448(x448::PublicKey::from_bytes(rng.bytes())),
            2 => Self::Ed25519(ed25519::PublicKey::from_bytes(rng.bytes())),
            _ => Self::Ed448(ed448::PublicKey::from_bytes(rng.bytes())),
        },
        AuthPublicKey = rng => match rng.below(3) {
            0 => Self::X25519(x25519::PublicKey::from_bytes(rng.bytes())),
            1 => Self::Ed25519(ed25519::PublicKey::from_bytes(rng.bytes())),
            _ => Self::Ed448(ed448::PublicKey::from_bytes(rng.bytes())),
        },
        VerifyingKey = rng => match rng.below(2) {
            0 => Self::Ed25519(ed25519::PublicKey::from_bytes(rng.bytes())),
            _ => Self::Ed448(ed448::PublicKey::from_bytes(rng.bytes())),
        },
        Signature = rng => match rng.below(2) {
            0 => Self::Ed25519(ed25519::Signature::from_bytes(rng.bytes())),
            _ => Self::Ed448(ed448::Signature::from_bytes(rng.bytes())),
        },
        IdsHash = rng => Self::from_bytes(rng.bytes()),
        Nonce = rng => Self::generate(rng),
        kem::PublicKey = rng => kem::PrivateKey::generate(rng).public_key(),
        Ciphertext = rng => kem::PrivateKey::generate(rng).public_key().encapsulate(rng).0,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use super::*;
    use crate::rng::Rng;
    use crate::wire::{self, Sample};
    use proptest::prelude::*;

    fn round_trips<T: Wire + Sample + PartialEq + Debug>(rng: &mut Rng) {
        let value = T::sample(Version(0), rng);
        let encoded = wire::encode(&value, Version(0));
        assert_eq!(wire::decode::<T>(Version(0), &encoded), Ok(value));
        for length in 0..encoded.len() {
            assert!(wire::decode_slice::<T>(Version(0), &encoded[..length]).is_err());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn everything_that_travels_arrives(seed in any::<[u8; 32]>()) {
            let rng = &mut Rng::from_seed(seed);
            round_trips::<PublicKey>(rng);
            round_trips::<AuthPublicKey>(rng);
            round_trips::<VerifyingKey>(rng);
            round_trips::<x25519::PublicKey>(rng);
            round_trips::<x448::PublicKey>(rng);
            round_trips::<ed25519::PublicKey>(rng);
            round_trips::<ed448::PublicKey>(rng);
            round_trips::<Signature>(rng);
            round_trips::<ed25519::Signature>(rng);
            round_trips::<IdsHash>(rng);
            round_trips::<Nonce>(rng);
            round_trips::<kem::PublicKey>(rng);
            round_trips::<Ciphertext>(rng);
        }
    }

    #[test]
    fn x448_is_no_queue_key() {
        let key = PublicKey::from(x448::PublicKey::from_bytes([1; 56]));
        let encoded = wire::encode(&key, Version(0));
        assert_eq!(
            wire::decode::<AuthPublicKey>(Version(0), &encoded),
            Err(WireError::Invalid("key"))
        );
    }
}
