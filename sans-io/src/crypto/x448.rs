//! X448: key agreement of ratchets, and of TLS with the reference's clients.

use super::algorithm::{Algorithm, KeyError, public_key};
use super::curve448;
use super::secret::Secret;
use crate::rng::Rng;

public_key!(X448, raw: 56, spki: 68);

/// The private half of an X448 key pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateKey(Secret<56>);

/// What two parties computed from each other's keys: raw, not hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedSecret(Secret<56>);

impl PrivateKey {
    /// A fresh key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self(Secret::generate(rng))
    }

    /// The key of these raw bytes; bits that X448 ignores are kept.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 56]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 56] {
        self.0.as_bytes()
    }

    /// Reads the PKCS#8 DER form, and nothing after it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Algorithm::X448.raw_of_pkcs8(der).map(Self)
    }

    /// The PKCS#8 DER form.
    #[must_use]
    pub fn to_pkcs8(&self) -> Secret<72> {
        Algorithm::X448.pkcs8(self.as_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(curve448::x448_base(self.as_bytes()))
    }

    /// The secret shared with the owner of `public_key`; all zeros if that key is of low order.
    #[must_use]
    pub fn agree(&self, public_key: &PublicKey) -> SharedSecret {
        SharedSecret(Secret::from_bytes(curve448::x448(
            self.as_bytes(),
            &public_key.0,
        )))
    }
}

impl SharedSecret {
    /// The raw bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 56] {
        self.0.as_bytes()
    }

    /// The secret as key material.
    #[must_use]
    pub const fn as_secret(&self) -> &Secret<56> {
        &self.0
    }

    /// Whether our private key had a part in the secret; `false` only for a peer's key of low order, which TLS must refuse.
    #[must_use]
    pub fn is_contributory(&self) -> bool {
        self.0 != Secret::from_bytes([0; 56])
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
        assert!(!a.agree(&PublicKey::from_bytes([0; 56])).is_contributory());
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
}
