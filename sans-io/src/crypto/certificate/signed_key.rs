//! A key of one session, signed by the key of a certificate.

use super::algorithm_identifier;
use crate::crypto::der::{DerError, Reader, Tag, Writer};
use crate::crypto::{
    InvalidSignature, KeyError, Signature, SigningKey, VerifyingKey, ed25519, x25519,
};

/// A key of one session, signed by the TLS key of the side that made it.
///
/// X.509 calls this form `SIGNED`: the key, the algorithm and the signature. The network wraps the SubjectPublicKeyInfo of the key in
/// one SEQUENCE more than needed, and signs it with this wrapping. The key can be had only by verifying the signature.
///
/// ```
/// use simplex_sans_io::crypto::certificate::SignedKey;
/// use simplex_sans_io::crypto::{Algorithm, SigningKey, x25519};
/// use simplex_sans_io::rng::Rng;
///
/// let mut rng = Rng::from_seed([7; 32]);
/// let tls_key = SigningKey::generate(Algorithm::Ed448, &mut rng).unwrap();
/// let session_key = x25519::PrivateKey::generate(&mut rng).public_key();
///
/// let der = SignedKey::sign(session_key, &tls_key).to_der();
/// let signed = SignedKey::<x25519::PublicKey>::from_der(&der)?;
/// assert_eq!(signed.verify(&tls_key.public_key())?, session_key);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedKey<K> {
    key: K,
    signature: Signature,
}

/// A key that is signed for one session: X25519 to agree on a secret, Ed25519 to sign the commands of a service.
pub trait SessionKey: Copy + sealed::Sealed {
    #[doc(hidden)]
    fn from_spki(der: &[u8]) -> Result<Self, KeyError>;
    #[doc(hidden)]
    fn to_spki(&self) -> [u8; SPKI];
}

/// Both algorithms have encodings of this length.
const SPKI: usize = 44;

mod sealed {
    pub trait Sealed {}
}

macro_rules! session_keys {
    ($($algorithm:ident),+) => {
        $(
            impl sealed::Sealed for $algorithm::PublicKey {}

            impl SessionKey for $algorithm::PublicKey {
                fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
                    Self::from_spki(der)
                }

                fn to_spki(&self) -> [u8; SPKI] {
                    self.to_spki()
                }
            }
        )+
    };
}

session_keys!(x25519, ed25519);

/// Why bytes are not a signed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignedKeyError {
    /// Not the DER of a signed key.
    #[error("not the DER of a signed key: {0}")]
    Der(#[from] DerError),
    /// The signed key is not of the algorithm that was asked for.
    #[error("the signed key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The signature is not of the algorithm that is named beside it.
    #[error("the algorithm of the signature cannot be used")]
    Algorithm,
}

impl<K: SessionKey> SignedKey<K> {
    /// Signs a key.
    #[must_use]
    pub fn sign(key: K, signer: &SigningKey) -> Self {
        Self {
            key,
            signature: signer.sign(&wrapped(&key)),
        }
    }

    /// The key, if this signer has signed it.
    pub fn verify(&self, signer: &VerifyingKey) -> Result<K, InvalidSignature> {
        signer.verify(&wrapped(&self.key), &self.signature)?;
        Ok(self.key)
    }

    /// Reads the DER of one signed key, and nothing after it.
    pub fn from_der(der: &[u8]) -> Result<Self, SignedKeyError> {
        let mut outer = Reader::new(der);
        let mut parts = outer.nested(Tag::SEQUENCE)?;
        outer.finish()?;
        let key = K::from_spki(parts.element(Tag::SEQUENCE)?)?;
        let algorithm = parts.encoded(Tag::SEQUENCE)?;
        let signature = super::signature(algorithm, parts.bit_string()?)
            .map_err(|_| SignedKeyError::Algorithm)?;
        parts.finish()?;
        Ok(Self { key, signature })
    }

    /// The DER form.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.nested(Tag::SEQUENCE, |parts| {
            parts
                .encoded(&wrapped(&self.key))
                .encoded(algorithm_identifier(self.signature.algorithm()))
                .bit_string(self.signature.as_bytes());
        });
        writer.into_bytes()
    }
}

/// The bytes that are signed.
fn wrapped(key: &impl SessionKey) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.element(Tag::SEQUENCE, &key.to_spki());
    writer.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Algorithm;
    use crate::rng::Rng;
    use proptest::prelude::*;

    fn signed(algorithm: Algorithm) -> (SignedKey<ed25519::PublicKey>, SigningKey) {
        let mut rng = Rng::from_seed([1; 32]);
        let signer = SigningKey::generate(algorithm, &mut rng).unwrap();
        let key = ed25519::PrivateKey::generate(&mut rng).public_key();
        (SignedKey::sign(key, &signer), signer)
    }

    #[test]
    fn the_der_has_the_length_of_the_network() {
        for (algorithm, length) in [(Algorithm::Ed25519, 122), (Algorithm::Ed448, 173)] {
            let (signed, _) = signed(algorithm);
            assert_eq!(signed.to_der().len(), length);
            assert_eq!(SignedKey::from_der(&signed.to_der()), Ok(signed));
        }
    }

    #[test]
    fn a_key_of_another_algorithm_is_refused() {
        let (signed, _) = signed(Algorithm::Ed25519);
        assert_eq!(
            SignedKey::<x25519::PublicKey>::from_der(&signed.to_der()),
            Err(KeyError::Algorithm(Algorithm::Ed25519).into())
        );
    }

    #[test]
    fn another_signer_did_not_sign() {
        let (signed, signer) = signed(Algorithm::Ed448);
        assert_eq!(signed.verify(&signer.public_key()), Ok(signed.key));
        let other = SigningKey::generate(Algorithm::Ed448, &mut Rng::from_seed([2; 32])).unwrap();
        assert_eq!(signed.verify(&other.public_key()), Err(InvalidSignature));
    }

    proptest! {
        #[test]
        fn no_altered_bit_goes_unnoticed(at in 0..122_usize, bit in 0..8_u8) {
            let (signed, signer) = signed(Algorithm::Ed25519);
            let mut der = signed.to_der();
            der[at] ^= 1 << bit;
            let verified = SignedKey::<ed25519::PublicKey>::from_der(&der)
                .map(|altered| altered.verify(&signer.public_key()));
            prop_assert!(!matches!(verified, Ok(Ok(_))));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(SignedKey::<x25519::PublicKey>::from_der(&bytes).is_err());
        }
    }
}
