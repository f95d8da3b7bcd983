//! Ed25519: signatures of queues, links and certificates.

use std::fmt;

use ed25519_dalek::{Signer as _, Verifier as _};

use super::algorithm::{Algorithm, KeyError, public_key, signature};
use super::keys::InvalidSignature;
use super::secret::Secret;
use crate::rng::Rng;

public_key!(Ed25519, raw: 32, spki: 44);
signature!(Ed25519, raw: 64);

/// The private half of an Ed25519 key pair: a seed, with its public key kept at hand.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKey(ed25519_dalek::SigningKey);

impl PublicKey {
    /// Checks a signature as RFC 8032 asks, without multiplying by the cofactor.
    ///
    /// Bytes that are no point of the curve make a key whose signatures are all invalid. A signature whose scalar is not reduced is
    /// refused, which the reference accepts: no signer makes such signatures, and whoever sees one could change it.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), InvalidSignature> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify(message, &signature))
            .map_err(|_| InvalidSignature)
    }
}

impl PrivateKey {
    /// A fresh key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_bytes(rng.bytes())
    }

    /// The key of this seed.
    #[must_use]
    pub fn from_bytes(seed: [u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(&seed))
    }

    /// The seed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Reads the PKCS#8 DER form, and nothing after it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let seed = Algorithm::Ed25519.raw_of_pkcs8(der)?;
        Ok(Self::from_bytes(*seed.as_bytes()))
    }

    /// The PKCS#8 DER form.
    #[must_use]
    pub fn to_pkcs8(&self) -> Secret<48> {
        Algorithm::Ed25519.pkcs8(self.as_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message; the same message always gives the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order of the base point, little-endian.
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];

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
    fn a_scalar_that_is_not_reduced_is_refused() {
        let key = PrivateKey::generate(&mut Rng::from_seed([1; 32]));
        let mut signature = key.sign(b"message");
        let mut carry = 0;
        for (byte, order) in signature.0[32..].iter_mut().zip(ORDER) {
            let sum = u16::from(*byte) + u16::from(order) + carry;
            *byte = sum.to_le_bytes()[0];
            carry = sum >> 8;
        }
        assert_eq!(
            key.public_key().verify(b"message", &signature),
            Err(InvalidSignature)
        );
    }

    #[test]
    fn bytes_that_are_no_point_verify_nothing() {
        let signature = PrivateKey::from_bytes([1; 32]).sign(b"message");
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert!(ed25519_dalek::VerifyingKey::from_bytes(&no_point).is_err());
        let no_point = PublicKey::from_bytes(no_point);
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

    #[test]
    fn it_prints_redacted() {
        let key = PrivateKey::from_bytes([7; 32]);
        assert_eq!(format!("{key:?}"), "PrivateKey([redacted])");
    }
}
