//! Authorisation of a command without a signature.
//!
//! Sender and router agree on a secret from the queue's key and the session's key; the sender boxes the hash of what it authorises.
//! The router can check that, and could have made it too: nobody can prove to a third party who sent the command.

use std::fmt;

use subtle::ConstantTimeEq;

use super::hash;
use super::nonce::Nonce;
use super::secret_box::Key;
use super::x25519::SharedSecret;

/// The box, without padding, of the SHA-512 of what is authorised.
#[derive(Clone, Copy)]
pub struct Authenticator([u8; 80]);

/// The SHA-512 of what is authorised, computed once to be checked with several keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuthorizedHash([u8; 64]);

/// The authenticator was not made with this secret, nonce and command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the authenticator does not match the secret and the command")]
pub struct InvalidAuthenticator;

impl Authenticator {
    /// The length of every authenticator.
    pub const LENGTH: usize = 80;

    /// Authorises these bytes.
    #[must_use]
    pub fn new(secret: &SharedSecret, nonce: &Nonce, authorized: &[u8]) -> Self {
        Self::of_hash(secret, nonce, &AuthorizedHash::of(authorized))
    }

    /// Authorises the bytes with this hash.
    #[must_use]
    pub fn of_hash(secret: &SharedSecret, nonce: &Nonce, hash: &AuthorizedHash) -> Self {
        let AuthorizedHash(mut boxed) = *hash;
        let tag = Key::from(secret).encrypt(nonce, &mut boxed);
        let mut authenticator = [0; Self::LENGTH];
        for (to, from) in authenticator
            .iter_mut()
            .zip(tag.as_bytes().iter().chain(&boxed))
        {
            *to = *from;
        }
        Self(authenticator)
    }

    /// The authenticator of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 80]) -> Self {
        Self(bytes)
    }

    /// The bytes that travel.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 80] {
        &self.0
    }

    /// Checks that these bytes were authorised, in time that depends on their length only.
    pub fn verify(
        &self,
        secret: &SharedSecret,
        nonce: &Nonce,
        authorized: &[u8],
    ) -> Result<(), InvalidAuthenticator> {
        self.verify_hash(secret, nonce, &AuthorizedHash::of(authorized))
    }

    /// Checks that the bytes with this hash were authorised, in constant time.
    pub fn verify_hash(
        &self,
        secret: &SharedSecret,
        nonce: &Nonce,
        hash: &AuthorizedHash,
    ) -> Result<(), InvalidAuthenticator> {
        // The box is deterministic, so that making it again and comparing equals opening it.
        if *self == Self::of_hash(secret, nonce, hash) {
            Ok(())
        } else {
            Err(InvalidAuthenticator)
        }
    }
}

impl AuthorizedHash {
    /// The hash of what is authorised.
    #[must_use]
    pub fn of(authorized: &[u8]) -> Self {
        Self::of_parts([authorized, &[]])
    }

    /// The hash of what is authorised, in two parts that need not lie side by side.
    #[must_use]
    pub fn of_parts(authorized: [&[u8]; 2]) -> Self {
        let mut hash = hash::Sha512::new();
        for part in authorized {
            hash.update(part);
        }
        Self(hash.finish())
    }
}

impl PartialEq for Authenticator {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Authenticator {}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator:")?;
        super::algorithm::write_hex(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_the_same_command_secret_and_nonce_verify(
            authorized in prop::collection::vec(any::<u8>(), 0..300),
            bit in 0..Authenticator::LENGTH * 8,
        ) {
            let (secret, nonce) = (SharedSecret::from_bytes([1; 32]), Nonce::from([2; 24]));
            let authenticator = Authenticator::new(&secret, &nonce, &authorized);
            prop_assert_eq!(authenticator.verify(&secret, &nonce, &authorized), Ok(()));

            let other = SharedSecret::from_bytes([3; 32]);
            prop_assert_eq!(authenticator.verify(&other, &nonce, &authorized), Err(InvalidAuthenticator));
            prop_assert!(authenticator.verify(&secret, &Nonce::from([4; 24]), &authorized).is_err());
            prop_assert!(authenticator.verify(&secret, &nonce, b"something else").is_err());

            let mut forged = *authenticator.as_bytes();
            forged[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Authenticator::from_bytes(forged).verify(&secret, &nonce, &authorized).is_err());
        }
    }
}
