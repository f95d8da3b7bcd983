//! The only source of randomness: a seeded ChaCha20 that each machine owns.

use std::convert::Infallible;
use std::fmt;

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng, TryCryptoRng, TryRng};

/// Deterministic, cryptographically strong randomness.
///
/// A driver seeds it once from the operating system; a test seeds it with a constant.
#[derive(Clone, PartialEq, Eq)]
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// The randomness that follows from a seed.
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(ChaCha20Rng::from_seed(seed))
    }

    /// Randomness for a child machine, independent of what this one draws later.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::from_seed(self.bytes())
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// Fills a buffer with random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    /// A random number below `bound`, zero if `bound` is zero.
    ///
    /// The bias of the reduction is below 2⁻³² for every `bound` that fits 32 bits: enough for back-off and simulations.
    pub fn below(&mut self, bound: u32) -> u32 {
        let scaled = u128::from(self.0.next_u64()).wrapping_mul(u128::from(bound)) >> 64;
        u32::try_from(scaled).unwrap_or(u32::MAX)
    }
}

impl TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Rng {}

impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_forks_are_independent() {
        let (mut a, mut b) = (Rng::from_seed([7; 32]), Rng::from_seed([7; 32]));
        assert_eq!(a.bytes::<40>(), b.bytes::<40>());
        let (mut fork, mut twin) = (a.fork(), b.fork());
        assert_ne!(fork, a);
        a.bytes::<8>();
        assert_eq!(fork.bytes::<40>(), twin.bytes::<40>());
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut rng = Rng::from_seed([1; 32]);
        assert!((0..1000).all(|_| rng.below(3) < 3));
        assert_eq!(rng.below(0), 0);
    }

    #[test]
    fn it_prints_redacted() {
        assert_eq!(format!("{:?}", Rng::from_seed([9; 32])), "Rng([redacted])");
    }
}
