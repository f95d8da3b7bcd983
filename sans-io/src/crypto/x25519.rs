//! X25519: key agreement of sessions, queues and links.

use super::algorithm::{Algorithm, KeyError, public_key};
use super::secret::Secret;
use crate::rng::Rng;

public_key!(X25519, raw: 32, spki: 44);

/// The private half of an X25519 key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateKey(Secret<32>);

/// What two parties computed from each other's keys: raw, not hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedSecret(Secret<32>);

impl PrivateKey {
    /// A fresh key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self(Secret::generate(rng))
    }

    /// The key of these raw bytes; bits that X25519 ignores are kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Reads the PKCS#8 DER form, and nothing after it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Algorithm::X25519.raw_of_pkcs8(der).map(Self)
    }

    /// The PKCS#8 DER form.
    #[must_use]
    pub fn to_pkcs8(&self) -> Secret<48> {
        Algorithm::X25519.pkcs8(self.as_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&self.scalar()).to_bytes())
    }

    /// The secret shared with the owner of `public_key`.
    ///
    /// As in the rest of the network, a public key of low order is not refused: the secret is then all zeros, which harms only the
    /// one who chose such a key. [`SharedSecret::is_contributory`] tells.
    #[must_use]
    pub fn agree(&self, public_key: &PublicKey) -> SharedSecret {
        let theirs = x25519_dalek::PublicKey::from(public_key.0);
        SharedSecret(Secret::from_bytes(
            self.scalar().diffie_hellman(&theirs).to_bytes(),
        ))
    }

    fn scalar(&self) -> x25519_dalek::StaticSecret {
        x25519_dalek::StaticSecret::from(*self.as_bytes())
    }
}

impl SharedSecret {
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

    /// The secret as key material.
    #[must_use]
    pub const fn as_secret(&self) -> &Secret<32> {
        &self.0
    }

    /// Whether our private key had a part in the secret; `false` only for a peer's key of low order.
    #[must_use]
    pub fn is_contributory(&self) -> bool {
        self.0 != Secret::from_bytes([0; 32])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree() {
        let mut rng = Rng::from_seed([1; 32]);
        let (a, b) = (
            PrivateKey::generate(&mut rng),
            PrivateKey::generate(&mut rng),
        );
        let secret = a.agree(&b.public_key());
        assert_eq!(secret, b.agree(&a.public_key()));
        assert!(secret.is_contributory());
    }

    #[test]
    fn a_key_of_low_order_gives_zeros() {
        let private_key = PrivateKey::generate(&mut Rng::from_seed([1; 32]));
        let secret = private_key.agree(&PublicKey::from_bytes([0; 32]));
        assert_eq!(secret.as_bytes(), &[0; 32]);
        assert!(!secret.is_contributory());
    }

    #[test]
    fn der_round_trips() {
        let private_key = PrivateKey::generate(&mut Rng::from_seed([1; 32]));
        let public_key = private_key.public_key();
        assert_eq!(
            PrivateKey::from_pkcs8(private_key.to_pkcs8().as_bytes()),
            Ok(private_key)
        );
        assert_eq!(PublicKey::from_spki(&public_key.to_spki()), Ok(public_key));
    }

    #[test]
    fn private_parts_print_redacted() {
        let private_key = PrivateKey::from_bytes([7; 32]);
        assert_eq!(format!("{private_key:?}"), "PrivateKey([redacted])");
        let secret = private_key.agree(&private_key.public_key());
        assert_eq!(format!("{secret:?}"), "SharedSecret([redacted])");
    }
}
