//! The four key algorithms and the only DER that a key of each has.
//!
//! Every key is a fixed prefix and the raw key, so that encodings are compared, not parsed: one object, nothing after it, no second
//! way to write the same key.

use std::fmt;

use super::secret::Secret;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// Key agreement of routers, queues and links.
    X25519,
    /// Key agreement of ratchets.
    X448,
    /// Signatures of queues, links and certificates.
    Ed25519,
    /// Signatures of older certificates, and of queues that ask for it.
    Ed448,
}

/// Why bytes are not the key that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not exactly one DER object with a key of one of the four algorithms.
    #[error("not the DER of exactly one key")]
    Encoding,
    /// A well-formed key, but of an algorithm that cannot be used here.
    #[error("{0} key where another algorithm is required")]
    Algorithm(Algorithm),
    /// Neither an Ed25519 nor an Ed448 signature has this length.
    #[error("no signature has {0} bytes")]
    SignatureLength(usize),
}

impl Algorithm {
    const ALL: [Self; 4] = [Self::X25519, Self::X448, Self::Ed25519, Self::Ed448];

    /// The algorithm of a SubjectPublicKeyInfo, and its raw key.
    pub(super) fn split_spki(der: &[u8]) -> Result<(Self, &[u8]), KeyError> {
        Self::split(der, Self::spki_prefix)
    }

    /// The algorithm of a PKCS#8 private key, and its raw key.
    pub(super) fn split_pkcs8(der: &[u8]) -> Result<(Self, &[u8]), KeyError> {
        Self::split(der, Self::pkcs8_prefix)
    }

    /// The raw key in a SubjectPublicKeyInfo of this algorithm.
    pub(super) fn raw_of_spki<const N: usize>(self, der: &[u8]) -> Result<[u8; N], KeyError> {
        self.expect(Self::split_spki(der)?)
    }

    /// The raw key in a PKCS#8 private key of this algorithm.
    pub(super) fn raw_of_pkcs8<const N: usize>(self, der: &[u8]) -> Result<Secret<N>, KeyError> {
        self.expect(Self::split_pkcs8(der)?).map(Secret::from_bytes)
    }

    /// The SubjectPublicKeyInfo of a raw key.
    pub(super) fn spki<const N: usize, const DER: usize>(self, raw: &[u8; N]) -> [u8; DER] {
        let mut der = [0; DER];
        fill(&mut der, self.spki_prefix(), raw);
        der
    }

    /// The PKCS#8 form of a raw private key.
    pub(super) fn pkcs8<const N: usize, const DER: usize>(self, raw: &[u8; N]) -> Secret<DER> {
        let mut der = Secret::from_bytes([0; DER]);
        fill(der.as_mut_bytes(), self.pkcs8_prefix(), raw);
        der
    }

    fn split(der: &[u8], prefix: fn(Self) -> &'static [u8]) -> Result<(Self, &[u8]), KeyError> {
        Self::ALL
            .into_iter()
            .find_map(|algorithm| Some((algorithm, der.strip_prefix(prefix(algorithm))?)))
            .filter(|(algorithm, raw)| raw.len() == algorithm.raw_length())
            .ok_or(KeyError::Encoding)
    }

    fn expect<const N: usize>(self, (found, raw): (Self, &[u8])) -> Result<[u8; N], KeyError> {
        if found == self {
            raw.try_into().map_err(|_| KeyError::Encoding)
        } else {
            Err(KeyError::Algorithm(found))
        }
    }

    const fn raw_length(self) -> usize {
        match self {
            Self::X25519 | Self::Ed25519 => 32,
            Self::X448 => 56,
            Self::Ed448 => 57,
        }
    }

    const fn spki_prefix(self) -> &'static [u8] {
        match self {
            Self::X25519 => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x6e\x03\x21\x00",
            Self::X448 => b"\x30\x42\x30\x05\x06\x03\x2b\x65\x6f\x03\x39\x00",
            Self::Ed25519 => b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00",
            Self::Ed448 => b"\x30\x43\x30\x05\x06\x03\x2b\x65\x71\x03\x3a\x00",
        }
    }

    const fn pkcs8_prefix(self) -> &'static [u8] {
        match self {
            Self::X25519 => b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x6e\x04\x22\x04\x20",
            Self::X448 => b"\x30\x46\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x6f\x04\x3a\x04\x38",
            Self::Ed25519 => b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20",
            Self::Ed448 => b"\x30\x47\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x71\x04\x3b\x04\x39",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn fill(der: &mut [u8], prefix: &[u8], raw: &[u8]) {
    debug_assert_eq!(Some(der.len()), prefix.len().checked_add(raw.len()));
    for (to, from) in der.iter_mut().zip(prefix.iter().chain(raw)) {
        *to = *from;
    }
}

/// A public value of fixed length with the DER of its algorithm.
macro_rules! public_key {
    ($algorithm:ident, raw: $raw:literal, spki: $spki:literal) => {
        #[doc = concat!("The public half of an ", stringify!($algorithm), " key pair.")]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct PublicKey([u8; $raw]);

        impl PublicKey {
            /// The length of the raw key.
            pub const LENGTH: usize = $raw;
            /// The length of the DER form.
            pub const SPKI_LENGTH: usize = $spki;

            /// The key of these raw bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $raw]) -> Self {
                Self(bytes)
            }

            /// The raw bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $raw] {
                &self.0
            }

            /// Reads the DER SubjectPublicKeyInfo, and nothing after it.
            pub fn from_spki(der: &[u8]) -> Result<Self, $crate::crypto::KeyError> {
                $crate::crypto::Algorithm::$algorithm
                    .raw_of_spki(der)
                    .map(Self)
            }

            /// The DER SubjectPublicKeyInfo.
            #[must_use]
            pub fn to_spki(&self) -> [u8; $spki] {
                $crate::crypto::Algorithm::$algorithm.spki(&self.0)
            }
        }

        impl std::fmt::Debug for PublicKey {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($algorithm), ":"))?;
                $crate::crypto::algorithm::write_hex(f, &self.0)
            }
        }
    };
}
pub(super) use public_key;

/// A signature of fixed length.
macro_rules! signature {
    ($algorithm:ident, raw: $raw:literal) => {
        #[doc = concat!("An ", stringify!($algorithm), " signature.")]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct Signature([u8; $raw]);

        impl Signature {
            /// The length of every signature.
            pub const LENGTH: usize = $raw;

            /// The signature of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; $raw]) -> Self {
                Self(bytes)
            }

            /// The bytes of the signature.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; $raw] {
                &self.0
            }
        }

        impl std::fmt::Debug for Signature {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($algorithm), ":"))?;
                $crate::crypto::algorithm::write_hex(f, &self.0)
            }
        }
    };
}
pub(super) use signature;

pub(super) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_cut_or_continued_is_refused() {
        let der: [u8; 44] = Algorithm::Ed25519.spki(&[1; 32]);
        assert_eq!(
            Algorithm::split_spki(&der),
            Ok((Algorithm::Ed25519, &[1; 32][..]))
        );
        let mut longer = der.to_vec();
        longer.push(0);
        for bad in [&longer[..], &der[..43], &der[1..], &[]] {
            assert_eq!(Algorithm::split_spki(bad), Err(KeyError::Encoding));
        }
    }

    #[test]
    fn another_algorithm_is_told_apart_from_bad_bytes() {
        let der: [u8; 68] = Algorithm::X448.spki(&[1; 56]);
        assert_eq!(
            Algorithm::X25519.raw_of_spki::<32>(&der),
            Err(KeyError::Algorithm(Algorithm::X448))
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_key(der in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Algorithm::split_spki(&der).is_err());
            prop_assert!(Algorithm::split_pkcs8(&der).is_err());
        }
    }
}
