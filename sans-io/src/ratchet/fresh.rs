//! What a ratchet draws at random.

use crate::crypto::{kem, x448};
use crate::rng::Rng;

/// Where fresh keys come from: an [`Rng`], or in tests the keys that were recorded.
pub trait FreshKeys {
    /// A fresh X448 key.
    fn agreement_key(&mut self) -> x448::PrivateKey;

    /// A fresh sntrup761 key.
    fn kem_key(&mut self) -> kem::PrivateKey;

    /// A fresh secret, and what takes it to the owner of the key.
    fn encapsulate(&mut self, key: &kem::PublicKey) -> (kem::Ciphertext, kem::SharedSecret);
}

impl FreshKeys for Rng {
    fn agreement_key(&mut self) -> x448::PrivateKey {
        x448::PrivateKey::generate(self)
    }

    fn kem_key(&mut self) -> kem::PrivateKey {
        kem::PrivateKey::generate(self)
    }

    fn encapsulate(&mut self, key: &kem::PublicKey) -> (kem::Ciphertext, kem::SharedSecret) {
        key.encapsulate(self)
    }
}
