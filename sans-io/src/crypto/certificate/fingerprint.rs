//! The fingerprint by which a router or service is known.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use subtle::ConstantTimeEq as _;

use crate::crypto::hash::sha256;
use crate::wire::KeyHash;
use crate::wire::text::{TextError, base64url, parse_base64url};

/// SHA-256 of a certificate's DER; of the identity certificate it is the name of a router.
///
/// As text it is base64url, written with the final `=` and read with or without it.
#[derive(Clone, Copy, Eq, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate's DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// The fingerprint of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Hash for Fingerprint {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64url(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Self::try_from(parse_base64url(text)?.as_slice())
    }
}

impl TryFrom<&[u8]> for Fingerprint {
    type Error = TextError;

    fn try_from(bytes: &[u8]) -> Result<Self, TextError> {
        bytes
            .try_into()
            .map(Self)
            .map_err(|_| TextError::Invalid("fingerprint"))
    }
}

impl From<Fingerprint> for KeyHash {
    fn from(fingerprint: Fingerprint) -> Self {
        Self::from(fingerprint.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_ends_with_the_padding_that_may_be_absent_when_read() {
        let fingerprint = Fingerprint::of(b"certificate");
        let text = fingerprint.to_string();
        assert_eq!(text.len(), 44);
        assert!(text.ends_with('='));
        assert_eq!(text.parse(), Ok(fingerprint));
        assert_eq!(text.trim_end_matches('=').parse(), Ok(fingerprint));
    }

    #[test]
    fn other_lengths_alphabets_and_trailing_bits_are_refused() {
        let text = Fingerprint::from_bytes([0xff; 32]).to_string();
        assert_eq!(text, "__________________________________________8=");
        for bad in [
            "",
            "AAAA",
            &text[..42],
            &text.replace('_', "/"),
            &text.replace('8', "9"),
            &format!("{text}="),
        ] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn the_text_is_read_back(bytes in any::<[u8; 32]>()) {
            let fingerprint = Fingerprint::from_bytes(bytes);
            prop_assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
        }
    }
}
