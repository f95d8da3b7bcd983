//! Ed448: signatures of older certificates, and of queues that ask for it.

use super::algorithm::{Algorithm, KeyError, public_key, signature};
use super::curve448;
use super::keys::InvalidSignature;
use super::secret::Secret;
use crate::rng::Rng;

public_key!(Ed448, raw: 57, spki: 69);
signature!(Ed448, raw: 114);

/// The private half of an Ed448 key pair: a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrivateKey(Secret<57>);

impl PublicKey {
    /// Checks a signature as RFC 8032 asks.
    ///
    /// Bytes that are no point of the curve make a key whose signatures are all invalid.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), InvalidSignature> {
        if curve448::ed448_verify(&self.0, message, &signature.0) {
            Ok(())
        } else {
            Err(InvalidSignature)
        }
    }
}

impl PrivateKey {
    /// A fresh key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self(Secret::generate(rng))
    }

    /// The key of this seed.
    #[must_use]
    pub const fn from_bytes(seed: [u8; 57]) -> Self {
        Self(Secret::from_bytes(seed))
    }

    /// The seed.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 57] {
        self.0.as_bytes()
    }

    /// Reads the PKCS#8 DER form, and nothing after it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        Algorithm::Ed448.raw_of_pkcs8(der).map(Self)
    }

    /// The PKCS#8 DER form.
    #[must_use]
    pub fn to_pkcs8(&self) -> Secret<73> {
        Algorithm::Ed448.pkcs8(self.as_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(curve448::ed448_public_key(self.as_bytes()))
    }

    /// Signs a message; the same message always gives the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(curve448::ed448_sign(self.as_bytes(), message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_verifies_and_a_forged_one_does_not() {
        let key = PrivateKey::generate(&mut Rng::from_seed([1; 32]));
        let signature = key.sign(b"message");
        assert_eq!(key.public_key().verify(b"message", &signature), Ok(()));
        assert_eq!(
            key.public_key().verify(b"other", &signature),
            Err(InvalidSignature)
        );
    }

    #[test]
    fn bytes_that_are_no_point_verify_nothing() {
        let signature = PrivateKey::from_bytes([1; 57]).sign(b"message");
        let no_point = PublicKey::from_bytes([0xff; 57]);
        assert_eq!(
            no_point.verify(b"message", &signature),
            Err(InvalidSignature)
        );
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
