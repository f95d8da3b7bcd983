//! The nonce of a box.

use std::fmt;

use crate::rng::Rng;

/// 24 bytes that a key meets only once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce([u8; 24]);

impl Nonce {
    /// The length of every nonce.
    pub const LENGTH: usize = 24;

    /// A random nonce.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self(rng.bytes())
    }

    /// The nonce that an id stands for: its first 24 bytes, with zeros after a shorter one.
    #[must_use]
    pub fn from_bytes(id: &[u8]) -> Self {
        let mut nonce = [0; Self::LENGTH];
        for (to, from) in nonce.iter_mut().zip(id) {
            *to = *from;
        }
        Self(nonce)
    }

    /// The bytes of the nonce.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    /// The nonce of the response to what was encrypted with this one: its bytes from last to first.
    #[must_use]
    pub const fn reversed(self) -> Self {
        let Self(mut bytes) = self;
        bytes.reverse();
        Self(bytes)
    }
}

impl From<[u8; 24]> for Nonce {
    fn from(bytes: [u8; 24]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Nonce:")?;
        super::algorithm::write_hex(f, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_any_length_is_a_nonce() {
        assert_eq!(Nonce::from_bytes(&[]), Nonce::from([0; 24]));
        assert_eq!(Nonce::from_bytes(&[7; 255]), Nonce::from([7; 24]));
        assert_eq!(Nonce::from_bytes(&[7; 2]).as_bytes()[..4], [7, 7, 0, 0]);
    }

    #[test]
    fn reversing_twice_changes_nothing() {
        let nonce = Nonce::generate(&mut Rng::from_seed([1; 32]));
        assert_ne!(nonce.reversed(), nonce);
        assert_eq!(nonce.reversed().reversed(), nonce);
    }
}
