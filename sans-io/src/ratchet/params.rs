//! What two parties tell each other before they have a ratchet: two X448 keys each, and what they want of sntrup761.

use std::fmt;
use std::str::FromStr;

use bytes::BytesMut;

use super::KEM;
use crate::crypto::{hash, kem, x448};
use crate::wire;
use crate::wire::text::{self, TextError};
use crate::wire::{Parsed, Source, Version, VersionRange, Wire, WireError};

wire! {
    prefixes
    /// What a party says about post-quantum keys: in its parameters, and in the headers of its messages.
    pub enum KemParams {
        /// Here is a key: encapsulate for it.
        "P" => Proposed {
            /// The key of the party that says it.
            key: kem::PublicKey,
        },
        /// Here is what was encapsulated for your key, and a key for you to do the same.
        "A" => Accepted {
            /// For the peer's last key.
            ciphertext: kem::Ciphertext,
            /// The key of the party that says it.
            key: kem::PublicKey,
        },
    }
}

wire! {
    prefixes
    /// What a party can say about post-quantum keys before it knows any of the peer's.
    pub enum KemProposal {
        /// Here is a key: encapsulate for it.
        "P" => Proposed {
            /// The key of the party that says it.
            key: kem::PublicKey,
        },
    }
}

/// The parameters of one party, in the version that both have agreed on.
///
/// `K` says what may be in them: [`KemProposal`] in those of an initiator and in renegotiation, [`KemParams`] in those of a joiner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct E2eParams<K> {
    /// The version of the ratchet.
    pub version: Version,
    /// The first key.
    pub key1: x448::PublicKey,
    /// The second key; the initiator's is also its first ratchet key.
    pub key2: x448::PublicKey,
    /// Only in versions that have a KEM.
    pub kem: Option<K>,
}

/// The parameters of an initiator in an invitation, with the versions to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct E2eUri<K> {
    /// The versions that the initiator supports.
    pub versions: VersionRange,
    /// The first key.
    pub key1: x448::PublicKey,
    /// The second key, which is also the initiator's first ratchet key.
    pub key2: x448::PublicKey,
    /// Used only in versions that have a KEM.
    pub kem: Option<K>,
}

impl<K> E2eParams<K> {
    /// What tells these parameters from others, and who is the initiator when both sides renegotiate.
    #[must_use]
    pub fn key_hash(&self) -> [u8; 32] {
        let mut hash = hash::Sha256::new();
        hash.update(self.key1.as_bytes());
        hash.update(self.key2.as_bytes());
        hash.finish()
    }
}

impl<K: Clone> E2eUri<K> {
    /// The parameters in the best version that both support.
    #[must_use]
    pub fn agreed(&self, versions: VersionRange) -> Option<E2eParams<K>> {
        self.versions
            .agreed(versions)
            .map(|version| self.at(version))
    }

    /// The parameters in this version.
    #[must_use]
    pub fn at(&self, version: Version) -> E2eParams<K> {
        E2eParams {
            version,
            key1: self.key1,
            key2: self.key2,
            kem: self.kem.clone().filter(|_| version >= KEM),
        }
    }
}

impl From<KemProposal> for KemParams {
    fn from(KemProposal::Proposed { key }: KemProposal) -> Self {
        Self::Proposed { key }
    }
}

impl From<E2eParams<KemProposal>> for E2eParams<KemParams> {
    fn from(params: E2eParams<KemProposal>) -> Self {
        Self {
            version: params.version,
            key1: params.key1,
            key2: params.key2,
            kem: params.kem.map(Into::into),
        }
    }
}

impl<K: Wire> Wire for E2eParams<K> {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, version) = Version::parse(source, input)?;
        let source = source.with_version(version);
        let (input, (key1, key2)) = Wire::parse(source, input)?;
        let (input, kem) = match version >= KEM {
            true => Option::parse(source, input).map_err(WireError::within)?,
            false => (input, None),
        };
        let params = Self {
            version,
            key1,
            key2,
            kem,
        };
        Ok((input, params))
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        let version = self.version;
        version.put(version, out);
        (self.key1, self.key2).put(version, out);
        if version >= KEM {
            self.kem.put(version, out);
        }
    }
}

impl<K: Wire> Wire for E2eUri<K> {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, versions) = Wire::parse(source, input)?;
        let (input, (key1, key2)) = Wire::parse(source, input)?;
        let (input, kem) = Option::parse(source, input).map_err(WireError::within)?;
        let params = Self {
            versions,
            key1,
            key2,
            kem,
        };
        Ok((input, params))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.versions.put(version, out);
        (self.key1, self.key2).put(version, out);
        self.kem.put(version, out);
    }
}

/// What a party says about post-quantum keys, as fields of a text.
pub trait KemFields: Sized {
    /// Reads it from its fields.
    fn from_fields(
        ciphertext: Option<kem::Ciphertext>,
        key: kem::PublicKey,
    ) -> Result<Self, TextError>;

    /// Its fields.
    fn fields(&self) -> (Option<&kem::Ciphertext>, &kem::PublicKey);
}

impl KemFields for KemParams {
    fn from_fields(
        ciphertext: Option<kem::Ciphertext>,
        key: kem::PublicKey,
    ) -> Result<Self, TextError> {
        Ok(match ciphertext {
            Some(ciphertext) => Self::Accepted { ciphertext, key },
            None => Self::Proposed { key },
        })
    }

    fn fields(&self) -> (Option<&kem::Ciphertext>, &kem::PublicKey) {
        match self {
            Self::Proposed { key } => (None, key),
            Self::Accepted { ciphertext, key } => (Some(ciphertext), key),
        }
    }
}

impl KemFields for KemProposal {
    fn from_fields(
        ciphertext: Option<kem::Ciphertext>,
        key: kem::PublicKey,
    ) -> Result<Self, TextError> {
        match ciphertext {
            Some(_) => Err(TextError::Invalid("KEM parameters")),
            None => Ok(Self::Proposed { key }),
        }
    }

    fn fields(&self) -> (Option<&kem::Ciphertext>, &kem::PublicKey) {
        let Self::Proposed { key } = self;
        (None, key)
    }
}

/// The text in an invitation, not yet percent-encoded as the value that it is there.
impl<K: KemFields> fmt::Display for E2eUri<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = text::base64url_list(&[self.key1.to_spki(), self.key2.to_spki()]);
        write!(f, "v={}&x3dh={keys}", self.versions)?;
        let Some(kem) = self.kem.as_ref().filter(|_| self.versions.max() >= KEM) else {
            return Ok(());
        };
        let (ciphertext, key) = kem.fields();
        if let Some(ciphertext) = ciphertext {
            write!(f, "&kem_ct={}", text::base64url(ciphertext.as_bytes()))?;
        }
        write!(f, "&kem_key={}", text::base64url(key.as_bytes()))
    }
}

impl<K: KemFields> FromStr for E2eUri<K> {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let field = |name: &str| {
            let mut fields = text.split('&').filter_map(|field| field.split_once('='));
            fields.find_map(|(key, value)| (key == name).then_some(value))
        };
        let required = |name: &'static str| field(name).ok_or(TextError::Invalid(name));
        let versions: VersionRange = required("v")?.parse()?;
        let keys = text::parse_base64url_list(required("x3dh")?)?;
        let [key1, key2] = keys.as_slice() else {
            return Err(TextError::Invalid("x3dh"));
        };
        let kem = match field("kem_key").filter(|_| versions.max() >= KEM) {
            Some(key) => {
                let ciphertext = field("kem_ct").map(kem_ciphertext).transpose()?;
                Some(K::from_fields(ciphertext, kem_key(key)?)?)
            }
            None => None,
        };
        Ok(Self {
            versions,
            key1: x448_key(key1)?,
            key2: x448_key(key2)?,
            kem,
        })
    }
}

fn x448_key(der: &[u8]) -> Result<x448::PublicKey, TextError> {
    x448::PublicKey::from_spki(der).map_err(|_| TextError::Invalid("x3dh"))
}

fn kem_key(text: &str) -> Result<kem::PublicKey, TextError> {
    let bytes = text::parse_base64url_field(text)?;
    kem::PublicKey::from_bytes(&bytes).map_err(|_| TextError::Invalid("kem_key"))
}

fn kem_ciphertext(text: &str) -> Result<kem::Ciphertext, TextError> {
    let bytes = text::parse_base64url_field(text)?;
    kem::Ciphertext::from_bytes(&bytes).map_err(|_| TextError::Invalid("kem_ct"))
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;

    impl<K: Sample> Sample for E2eParams<K> {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let version = match rng.below(2) {
                0 => Version(2),
                _ => version.max(KEM),
            };
            Self {
                version,
                key1: Sample::sample(version, rng),
                key2: Sample::sample(version, rng),
                kem: Option::sample(version, rng).filter(|_| version >= KEM),
            }
        }
    }

    impl<K: Sample> Sample for E2eUri<K> {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            Self {
                versions: VersionRange::sample(version, rng),
                key1: Sample::sample(version, rng),
                key2: Sample::sample(version, rng),
                kem: Option::sample(version, rng),
            }
        }
    }
}
