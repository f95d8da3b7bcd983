//! Keys and signatures whose algorithm is known only once they are read.

use zeroize::Zeroizing;

use super::algorithm::{Algorithm, KeyError};
use super::{ed448, ed25519, x448, x25519};
use crate::rng::Rng;

/// The signature was not made with this key over this message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not match the key and the message")]
pub struct InvalidSignature;

/// An enum with one variant per algorithm that is allowed, each wrapping that algorithm's type.
macro_rules! public_keys {
    ($(#[$doc:meta])* $name:ident { $($algorithm:ident($module:ident)),+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name {
            $(
                #[doc = concat!("An ", stringify!($algorithm), " key.")]
                $algorithm($module::PublicKey),
            )+
        }

        impl $name {
            /// Reads the DER SubjectPublicKeyInfo, and nothing after it.
            pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
                let (algorithm, _) = Algorithm::split_spki(der)?;
                $(
                    if algorithm == Algorithm::$algorithm {
                        return $module::PublicKey::from_spki(der).map(Self::$algorithm);
                    }
                )+
                Err(KeyError::Algorithm(algorithm))
            }

            /// The DER SubjectPublicKeyInfo.
            #[must_use]
            pub fn to_spki(&self) -> Vec<u8> {
                match self {
                    $(Self::$algorithm(key) => key.to_spki().to_vec(),)+
                }
            }

            /// The raw bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                match self {
                    $(Self::$algorithm(key) => key.as_bytes(),)+
                }
            }

            /// The algorithm of the key.
            #[must_use]
            pub const fn algorithm(&self) -> Algorithm {
                match self {
                    $(Self::$algorithm(_) => Algorithm::$algorithm,)+
                }
            }
        }

        $(
            impl From<$module::PublicKey> for $name {
                fn from(key: $module::PublicKey) -> Self {
                    Self::$algorithm(key)
                }
            }
        )+
    };
}

/// The private counterpart of a public key enum.
macro_rules! private_keys {
    ($(#[$doc:meta])* $name:ident -> $public:ident { $($algorithm:ident($module:ident)),+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name {
            $(
                #[doc = concat!("An ", stringify!($algorithm), " key.")]
                $algorithm($module::PrivateKey),
            )+
        }

        impl $name {
            /// A fresh key; `None` if the algorithm cannot be used here.
            #[must_use]
            pub fn generate(algorithm: Algorithm, rng: &mut Rng) -> Option<Self> {
                $(
                    if algorithm == Algorithm::$algorithm {
                        return Some(Self::$algorithm($module::PrivateKey::generate(rng)));
                    }
                )+
                None
            }

            /// Reads the PKCS#8 DER form, and nothing after it.
            pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
                let (algorithm, _) = Algorithm::split_pkcs8(der)?;
                $(
                    if algorithm == Algorithm::$algorithm {
                        return $module::PrivateKey::from_pkcs8(der).map(Self::$algorithm);
                    }
                )+
                Err(KeyError::Algorithm(algorithm))
            }

            /// The PKCS#8 DER form.
            #[must_use]
            pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
                match self {
                    $(Self::$algorithm(key) => Zeroizing::new(key.to_pkcs8().as_bytes().to_vec()),)+
                }
            }

            /// The raw bytes; of a key that signs, the seed.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8] {
                match self {
                    $(Self::$algorithm(key) => key.as_bytes(),)+
                }
            }

            /// The public half.
            #[must_use]
            pub fn public_key(&self) -> $public {
                match self {
                    $(Self::$algorithm(key) => $public::$algorithm(key.public_key()),)+
                }
            }

            /// The algorithm of the key.
            #[must_use]
            pub const fn algorithm(&self) -> Algorithm {
                match self {
                    $(Self::$algorithm(_) => Algorithm::$algorithm,)+
                }
            }
        }

        $(
            impl From<$module::PrivateKey> for $name {
                fn from(key: $module::PrivateKey) -> Self {
                    Self::$algorithm(key)
                }
            }
        )+
    };
}

public_keys! {
    /// A public key of any algorithm.
    PublicKey { X25519(x25519), X448(x448), Ed25519(ed25519), Ed448(ed448) }
}

private_keys! {
    /// A private key of any algorithm.
    PrivateKey -> PublicKey { X25519(x25519), X448(x448), Ed25519(ed25519), Ed448(ed448) }
}

public_keys! {
    /// A key that authorises commands on a queue: by signature, or by an authenticator under an agreed secret.
    AuthPublicKey { Ed25519(ed25519), Ed448(ed448), X25519(x25519) }
}

private_keys! {
    /// The private counterpart of [`AuthPublicKey`].
    AuthPrivateKey -> AuthPublicKey { Ed25519(ed25519), Ed448(ed448), X25519(x25519) }
}

public_keys! {
    /// A key that verifies signatures: of certificates and session keys.
    VerifyingKey { Ed25519(ed25519), Ed448(ed448) }
}

private_keys! {
    /// The private counterpart of [`VerifyingKey`].
    SigningKey -> VerifyingKey { Ed25519(ed25519), Ed448(ed448) }
}

/// A signature, whose algorithm its length tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signature {
    /// 64 bytes.
    Ed25519(ed25519::Signature),
    /// 114 bytes.
    Ed448(ed448::Signature),
}

impl SigningKey {
    /// Signs a message; the same message always gives the same signature.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        match self {
            Self::Ed25519(key) => Signature::Ed25519(key.sign(message)),
            Self::Ed448(key) => Signature::Ed448(key.sign(message)),
        }
    }
}

impl VerifyingKey {
    /// Checks a signature; one of the other algorithm is invalid.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), InvalidSignature> {
        match (self, signature) {
            (Self::Ed25519(key), Signature::Ed25519(signature)) => key.verify(message, signature),
            (Self::Ed448(key), Signature::Ed448(signature)) => key.verify(message, signature),
            (Self::Ed25519(_), Signature::Ed448(_)) | (Self::Ed448(_), Signature::Ed25519(_)) => {
                Err(InvalidSignature)
            }
        }
    }
}

impl Signature {
    /// Reads a signature: 64 bytes are Ed25519, 114 bytes are Ed448.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if let Ok(bytes) = bytes.try_into() {
            Ok(Self::Ed25519(ed25519::Signature::from_bytes(bytes)))
        } else if let Ok(bytes) = bytes.try_into() {
            Ok(Self::Ed448(ed448::Signature::from_bytes(bytes)))
        } else {
            Err(KeyError::SignatureLength(bytes.len()))
        }
    }

    /// The bytes of the signature.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Ed25519(signature) => signature.as_bytes(),
            Self::Ed448(signature) => signature.as_bytes(),
        }
    }

    /// The algorithm of the signature.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Ed25519(_) => Algorithm::Ed25519,
            Self::Ed448(_) => Algorithm::Ed448,
        }
    }
}

impl From<ed25519::Signature> for Signature {
    fn from(signature: ed25519::Signature) -> Self {
        Self::Ed25519(signature)
    }
}

impl From<ed448::Signature> for Signature {
    fn from(signature: ed448::Signature) -> Self {
        Self::Ed448(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_round_trips() {
        let mut rng = Rng::from_seed([1; 32]);
        for algorithm in [
            Algorithm::X25519,
            Algorithm::X448,
            Algorithm::Ed25519,
            Algorithm::Ed448,
        ] {
            let key = PrivateKey::generate(algorithm, &mut rng).unwrap();
            assert_eq!(key.algorithm(), algorithm);
            assert_eq!(PrivateKey::from_pkcs8(&key.to_pkcs8()), Ok(key.clone()));
            let public_key = key.public_key();
            assert_eq!(public_key.algorithm(), algorithm);
            assert_eq!(PublicKey::from_spki(&public_key.to_spki()), Ok(public_key));
        }
    }

    #[test]
    fn a_queue_is_not_authorised_by_x448() {
        let mut rng = Rng::from_seed([1; 32]);
        assert_eq!(AuthPrivateKey::generate(Algorithm::X448, &mut rng), None);
        let key = x448::PrivateKey::generate(&mut rng);
        let refused = KeyError::Algorithm(Algorithm::X448);
        assert_eq!(
            AuthPublicKey::from_spki(&key.public_key().to_spki()),
            Err(refused)
        );
        assert_eq!(
            AuthPrivateKey::from_pkcs8(key.to_pkcs8().as_bytes()),
            Err(refused)
        );
    }

    #[test]
    fn a_signature_of_the_other_algorithm_is_invalid() {
        let mut rng = Rng::from_seed([1; 32]);
        let ed25519 = SigningKey::generate(Algorithm::Ed25519, &mut rng).unwrap();
        let ed448 = SigningKey::generate(Algorithm::Ed448, &mut rng).unwrap();
        for (signer, other) in [(&ed25519, &ed448), (&ed448, &ed25519)] {
            let signature = signer.sign(b"message");
            assert_eq!(Signature::from_bytes(signature.as_bytes()), Ok(signature));
            assert_eq!(signer.public_key().verify(b"message", &signature), Ok(()));
            assert_eq!(
                other.public_key().verify(b"message", &signature),
                Err(InvalidSignature)
            );
        }
    }

    #[test]
    fn private_keys_print_redacted() {
        let key = PrivateKey::from(ed25519::PrivateKey::from_bytes([7; 32]));
        assert_eq!(format!("{key:?}"), "Ed25519(PrivateKey([redacted]))");
    }
}
