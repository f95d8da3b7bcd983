//! sntrup761: the post-quantum part of ratchets and of remote control.
//!
//! A ciphertext that was not made for the key decapsulates to a secret that only the key's owner can compute: the failure shows when
//! what it encrypts does not open.

use std::fmt;

use rand_chacha::rand_core::CryptoRng;
use sntrup::sntrup761;

use super::hash::sha3_256_of;
use super::secret::Secret;
use super::x25519;

/// Bytes of another length than the value has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{found} bytes where sntrup761 has {expected}")]
pub struct KemLengthError {
    /// The length that was given.
    pub found: usize,
    /// The only length there is.
    pub expected: usize,
}

/// The key that a peer encapsulates for.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(sntrup761::EncapsulationKey);

/// The key that decapsulates.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(sntrup761::DecapsulationKey);

/// A secret on its way to the owner of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct Ciphertext(sntrup761::Ciphertext);

/// The secret that both sides then have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedSecret(Secret<32>);

impl PublicKey {
    /// The length of every key.
    pub const LENGTH: usize = sntrup761::PUBLIC_KEY_SIZE;

    /// Reads a key; any bytes of the right length are one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KemLengthError> {
        let key = bytes
            .try_into()
            .map_err(|_| wrong_length(bytes, Self::LENGTH))?;
        Ok(Self(key))
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// A fresh secret, and the ciphertext that takes it to the owner of the key.
    #[must_use]
    pub fn encapsulate(&self, rng: &mut impl CryptoRng) -> (Ciphertext, SharedSecret) {
        let (ciphertext, secret) = self.0.encapsulate(rng);
        (Ciphertext(ciphertext), SharedSecret::new(&secret))
    }
}

impl PrivateKey {
    /// The length of every key.
    pub const LENGTH: usize = sntrup761::SECRET_KEY_SIZE;

    /// A fresh key.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let (_, key) = sntrup761::generate_key(rng);
        Self(key)
    }

    /// Reads a key; any bytes of the right length are one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KemLengthError> {
        let key = bytes
            .try_into()
            .map_err(|_| wrong_length(bytes, Self::LENGTH))?;
        Ok(Self(key))
    }

    /// The bytes of the key.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.encapsulation_key())
    }

    /// The secret that a ciphertext carries.
    #[must_use]
    pub fn decapsulate(&self, ciphertext: &Ciphertext) -> SharedSecret {
        SharedSecret::new(&self.0.decapsulate(&ciphertext.0))
    }
}

impl Ciphertext {
    /// The length of every ciphertext.
    pub const LENGTH: usize = sntrup761::CIPHERTEXT_SIZE;

    /// Reads a ciphertext; any bytes of the right length are one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KemLengthError> {
        let ciphertext = bytes
            .try_into()
            .map_err(|_| wrong_length(bytes, Self::LENGTH))?;
        Ok(Self(ciphertext))
    }

    /// The bytes of the ciphertext.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl SharedSecret {
    fn new(secret: &sntrup761::SharedSecret) -> Self {
        let mut bytes = Secret::from_bytes([0; 32]);
        for (to, from) in bytes.as_mut_bytes().iter_mut().zip(secret.as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// The secret of these bytes, as it was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

/// The secret that is safe as long as either of its parts is: the SHA3-256 of both.
#[must_use]
pub fn hybrid_secret(agreed: &x25519::SharedSecret, encapsulated: &SharedSecret) -> Secret<32> {
    Secret::from_bytes(sha3_256_of([agreed.as_bytes(), encapsulated.as_bytes()]))
}

const fn wrong_length(bytes: &[u8], expected: usize) -> KemLengthError {
    KemLengthError {
        found: bytes.len(),
        expected,
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_start(f, "sntrup761:", self.as_bytes())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey([redacted])")
    }
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_start(f, "Ciphertext:", self.as_bytes())
    }
}

/// A kilobyte of hex helps nobody: the start tells two keys apart.
fn write_start(f: &mut fmt::Formatter<'_>, name: &str, bytes: &[u8]) -> fmt::Result {
    f.write_str(name)?;
    super::algorithm::write_hex(f, bytes.first_chunk::<16>().map_or(bytes, |start| start))?;
    f.write_str("…")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

    #[test]
    fn both_sides_have_the_secret() {
        let mut rng = Rng::from_seed([1; 32]);
        let private_key = PrivateKey::generate(&mut rng);
        let (ciphertext, secret) = private_key.public_key().encapsulate(&mut rng);
        assert_eq!(private_key.decapsulate(&ciphertext), secret);

        let stored = PrivateKey::from_bytes(private_key.as_bytes()).unwrap();
        assert_eq!(stored, private_key);
        assert_eq!(stored.decapsulate(&ciphertext), secret);
        assert_ne!(
            PrivateKey::generate(&mut rng).decapsulate(&ciphertext),
            secret
        );
    }

    #[test]
    fn both_parts_matter_to_the_hybrid_secret() {
        let hybrid = |agreed, encapsulated| {
            hybrid_secret(
                &x25519::SharedSecret::from_bytes([agreed; 32]),
                &SharedSecret::from_bytes([encapsulated; 32]),
            )
        };
        assert_ne!(hybrid(1, 2), hybrid(1, 3));
        assert_ne!(hybrid(1, 2), hybrid(3, 2));
    }

    #[test]
    fn private_parts_print_redacted() {
        let private_key = PrivateKey::generate(&mut Rng::from_seed([1; 32]));
        assert_eq!(format!("{private_key:?}"), "PrivateKey([redacted])");
        assert_eq!(
            format!("{:?}", SharedSecret::from_bytes([1; 32])),
            "SharedSecret([redacted])"
        );
    }

    fn bytes(length: usize) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), length)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_key_and_any_ciphertext_are_usable(
            public_key in bytes(PublicKey::LENGTH),
            private_key in bytes(PrivateKey::LENGTH),
            ciphertext in bytes(Ciphertext::LENGTH),
        ) {
            let mut rng = Rng::from_seed([1; 32]);
            let (_, secret) = PublicKey::from_bytes(&public_key).unwrap().encapsulate(&mut rng);
            let ciphertext = Ciphertext::from_bytes(&ciphertext).unwrap();
            let other = PrivateKey::from_bytes(&private_key).unwrap().decapsulate(&ciphertext);
            prop_assert_ne!(secret, other);
        }

        #[test]
        fn any_other_length_is_refused(bytes in (0..2000_usize).prop_flat_map(bytes)) {
            prop_assert_eq!(PublicKey::from_bytes(&bytes).is_ok(), bytes.len() == PublicKey::LENGTH);
            prop_assert_eq!(PrivateKey::from_bytes(&bytes).is_ok(), bytes.len() == PrivateKey::LENGTH);
            prop_assert_eq!(Ciphertext::from_bytes(&bytes).is_ok(), bytes.len() == Ciphertext::LENGTH);
        }
    }
}
