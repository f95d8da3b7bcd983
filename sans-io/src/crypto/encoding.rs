//! Keys on the wire: their DER, with a length of one byte.

use bytes::BytesMut;

use super::{AuthPublicKey, IdsHash, PublicKey, ed25519, x448, x25519};
use crate::wire::{Parsed, Short, Source, Version, Wire, WireError};

macro_rules! public_keys {
    ($($Key:ty),*) => { $(
        impl Wire for $Key {
            fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
                let (input, der) = Short::parse(Source::borrowed(Version::default()), input)?;
                match Self::from_spki(&der) {
                    Ok(key) => Ok((input, key)),
                    Err(_) => WireError::Invalid("key").fail(),
                }
            }

            fn put(&self, version: Version, out: &mut BytesMut) {
                let der = self.to_spki();
                Short::try_from(der.as_slice()).unwrap_or_default().put(version, out);
            }
        }
    )* };
}

public_keys!(
    PublicKey,
    AuthPublicKey,
    x25519::PublicKey,
    x448::PublicKey,
    ed25519::PublicKey
);

/// The hash of the ids of a service's queues: a short byte string of a length that never changes.
impl Wire for IdsHash {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, hash) = Short::parse(source, input)?;
        match hash.first_chunk() {
            Some(bytes) if bytes.len() == hash.len() => Ok((input, Self::from_bytes(*bytes))),
            _ => WireError::Invalid("hash of ids").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        Short::try_from(self.as_bytes())
            .unwrap_or_default()
            .put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use crate::crypto::{Algorithm, AuthPrivateKey, AuthPublicKey, IdsHash, x25519};
    use crate::rng::Rng;
    use crate::wire::{Sample, Version};

    impl Sample for x25519::PublicKey {
        fn sample(_: Version, rng: &mut Rng) -> Self {
            Self::from_bytes(rng.bytes())
        }
    }

    impl Sample for IdsHash {
        fn sample(_: Version, rng: &mut Rng) -> Self {
            Self::from_bytes(rng.bytes())
        }
    }

    impl Sample for AuthPublicKey {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let algorithm = match rng.below(3) {
                0 => Algorithm::Ed25519,
                1 => Algorithm::Ed448,
                _ => Algorithm::X25519,
            };
            match AuthPrivateKey::generate(algorithm, rng) {
                Some(key) => key.public_key(),
                None => Self::X25519(Sample::sample(version, rng)),
            }
        }
    }
}
