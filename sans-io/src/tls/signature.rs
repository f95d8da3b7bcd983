//! Signatures in handshakes and certificates: Ed448, which rustls leaves to its provider, beside Ed25519.

use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm};
use rustls::sign::{Signer, SigningKey};
use rustls::{Error, SignatureAlgorithm, SignatureScheme};
use webpki::ring::ED25519;

use crate::crypto::{self, ed448};

/// The signatures that are accepted, in handshakes and in certificates.
pub(super) static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[&Ed448, ED25519],
    mapping: &[
        (SignatureScheme::ED448, &[&Ed448]),
        (SignatureScheme::ED25519, &[ED25519]),
    ],
};

#[derive(Debug)]
struct Ed448;

/// 1.3.101.113.
const ED448: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(b"\x06\x03\x2b\x65\x71");

impl SignatureVerificationAlgorithm for Ed448 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let public_key = public_key.try_into().map_err(|_| InvalidSignature)?;
        let signature = signature.try_into().map_err(|_| InvalidSignature)?;
        ed448::PublicKey::from_bytes(public_key)
            .verify(message, &ed448::Signature::from_bytes(signature))
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        ED448
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        ED448
    }
}

/// The private key of a leaf, which signs handshakes.
#[derive(Debug, Clone)]
pub(super) struct HandshakeKey(Arc<crypto::SigningKey>);

impl HandshakeKey {
    pub(super) fn new(key: Arc<crypto::SigningKey>) -> Self {
        Self(key)
    }
}

impl SigningKey for HandshakeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        if !offered.contains(&self.scheme()) {
            return None;
        }
        Some(Box::new(self.clone()))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match *self.0 {
            crypto::SigningKey::Ed25519(_) => SignatureAlgorithm::ED25519,
            crypto::SigningKey::Ed448(_) => SignatureAlgorithm::ED448,
        }
    }
}

impl Signer for HandshakeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(message).as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        match *self.0 {
            crypto::SigningKey::Ed25519(_) => SignatureScheme::ED25519,
            crypto::SigningKey::Ed448(_) => SignatureScheme::ED448,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Algorithm;
    use crate::rng::Rng;

    #[test]
    fn an_ed448_signature_verifies_and_anything_else_does_not() {
        let mut rng = Rng::from_seed([1; 32]);
        let key = ed448::PrivateKey::generate(&mut rng);
        let public_key = key.public_key();
        let signature = HandshakeKey::new(Arc::new(key.into()))
            .sign(b"message")
            .unwrap();
        let verify = |key: &[u8], message: &[u8], signature: &[u8]| {
            Ed448.verify_signature(key, message, signature).is_ok()
        };
        assert!(verify(public_key.as_bytes(), b"message", &signature));
        assert!(!verify(public_key.as_bytes(), b"massage", &signature));
        assert!(!verify(&public_key.as_bytes()[1..], b"message", &signature));
        assert!(!verify(public_key.as_bytes(), b"message", &signature[1..]));
    }

    #[test]
    fn a_key_signs_only_with_its_own_scheme() {
        let mut rng = Rng::from_seed([1; 32]);
        for (algorithm, scheme, other) in [
            (
                Algorithm::Ed25519,
                SignatureScheme::ED25519,
                SignatureScheme::ED448,
            ),
            (
                Algorithm::Ed448,
                SignatureScheme::ED448,
                SignatureScheme::ED25519,
            ),
        ] {
            let key = crypto::SigningKey::generate(algorithm, &mut rng).unwrap();
            let key = HandshakeKey::new(Arc::new(key));
            let chosen = key.choose_scheme(&[other, scheme]).unwrap();
            assert_eq!(chosen.scheme(), scheme);
            assert!(key.choose_scheme(&[other]).is_none());
        }
    }
}
