//! Bytes that nobody else may see.

use std::array::TryFromSliceError;
use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::rng::Rng;

/// `N` secret bytes: erased on drop, printed as `[redacted]`, compared in constant time.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret<const N: usize>([u8; N]);

impl<const N: usize> Secret<N> {
    /// A secret of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// A fresh random secret.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        let mut secret = Self([0; N]);
        rng.fill(&mut secret.0);
        secret
    }

    /// The secret bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// The first `A` and the last `B` bytes; `A + B` is `N`.
    #[must_use]
    pub fn split<const A: usize, const B: usize>(&self) -> (Secret<A>, Secret<B>) {
        const { assert!(A + B == N, "the parts make the whole") };
        let (mut first, mut last) = (Secret([0; A]), Secret([0; B]));
        for (to, from) in first.0.iter_mut().chain(&mut last.0).zip(&self.0) {
            *to = *from;
        }
        (first, last)
    }

    pub(super) const fn as_mut_bytes(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> From<[u8; N]> for Secret<N> {
    fn from(bytes: [u8; N]) -> Self {
        Self(bytes)
    }
}

impl<const N: usize> TryFrom<&[u8]> for Secret<N> {
    type Error = TryFromSliceError;

    fn try_from(bytes: &[u8]) -> Result<Self, TryFromSliceError> {
        bytes.try_into().map(Self)
    }
}

impl<const N: usize> PartialEq for Secret<N> {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> Eq for Secret<N> {}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_prints_redacted_and_compares_by_value() {
        let secret = Secret::from_bytes([7; 32]);
        assert_eq!(format!("{secret:?}"), "[redacted]");
        assert_eq!(secret, Secret::from([7; 32]));
        assert_ne!(secret, Secret::generate(&mut Rng::from_seed([7; 32])));
    }

    #[test]
    fn it_splits_in_order() {
        let (first, last) = Secret::from_bytes([1, 2, 3, 4, 5]).split::<2, 3>();
        assert_eq!((first.as_bytes(), last.as_bytes()), (&[1, 2], &[3, 4, 5]));
    }

    #[test]
    fn it_is_erased() {
        let mut secret = Secret::from_bytes([7; 32]);
        secret.zeroize();
        assert_eq!(secret.as_bytes(), &[0; 32]);
    }
}
