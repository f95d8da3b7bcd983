//! Hashes and HKDF.
//!
//! SHA-3 is `orion`'s; SHA-2 is that of `sha2`, which is several times faster.

use orion::hazardous::hash::sha3::{sha3_256, sha3_384};
use sha2::Digest as _;

pub use super::hkdf::hkdf_sha512;

/// SHA-1 of the concatenated parts: WebSockets answer with it, and nothing else may rely on it.
pub(crate) fn sha1<const PARTS: usize>(parts: [&[u8]; PARTS]) -> [u8; 20] {
    let mut hash = sha1::Sha1::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// SHA-256: of certificates, messages and file chunks.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    sha2::Sha256::digest(bytes).into()
}

/// SHA-512: what an [`Authenticator`](super::Authenticator) covers.
#[must_use]
pub fn sha512(bytes: &[u8]) -> [u8; 64] {
    sha2::Sha512::digest(bytes).into()
}

/// SHA3-256: of link data and hybrid secrets.
#[must_use]
pub fn sha3_256(bytes: &[u8]) -> [u8; 32] {
    sha3_256_of([bytes])
}

/// SHA3-256 of the concatenated parts.
#[expect(clippy::expect_used, reason = "fails only after it was finalised")]
pub(super) fn sha3_256_of<const PARTS: usize>(parts: [&[u8]; PARTS]) -> [u8; 32] {
    let mut hash = sha3_256::Sha3_256::new();
    for part in parts {
        hash.update(part).expect("a hash that is not finalised");
    }
    leading(
        hash.finalize()
            .expect("a hash that is not finalised")
            .as_ref(),
    )
}

/// SHA3-384: of the correlation id that a sender id follows from.
#[must_use]
#[expect(clippy::expect_used, reason = "fails only after it was finalised")]
pub fn sha3_384(bytes: &[u8]) -> [u8; 48] {
    let digest = sha3_384::Sha3_384::digest(bytes).expect("a hash that is not finalised");
    leading(digest.as_ref())
}

/// SHA-256 of what arrives in pieces.
#[derive(Debug, Clone, Default)]
pub struct Sha256(sha2::Sha256);

impl Sha256 {
    /// The hash of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// SHA-512 of what arrives in pieces: whole files.
#[derive(Debug, Clone, Default)]
pub struct Sha512(sha2::Sha512);

impl Sha512 {
    /// The hash of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all pieces.
    #[must_use]
    pub fn finish(self) -> [u8; 64] {
        self.0.finalize().into()
    }
}

/// Equal if they have seen the same bytes.
impl PartialEq for Sha256 {
    fn eq(&self, other: &Self) -> bool {
        self.clone().finish() == other.clone().finish()
    }
}

impl Eq for Sha256 {}

/// Equal if they have seen the same bytes.
impl PartialEq for Sha512 {
    fn eq(&self, other: &Self) -> bool {
        self.clone().finish() == other.clone().finish()
    }
}

impl Eq for Sha512 {}

/// The first `N` bytes of a digest.
pub(super) fn leading<const N: usize>(digest: &[u8]) -> [u8; N] {
    debug_assert!(digest.len() >= N);
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(digest) {
        *to = *from;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_hash_as_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..600), piece in 1..200_usize) {
            let (mut sha256_pieces, mut sha512_pieces) = (Sha256::new(), Sha512::new());
            for piece in bytes.chunks(piece) {
                sha256_pieces.update(piece);
                sha512_pieces.update(piece);
            }
            prop_assert_eq!(sha256_pieces == Sha256::new(), bytes.is_empty());
            prop_assert_eq!(sha512_pieces == Sha512::new(), bytes.is_empty());
            prop_assert_eq!(sha256_pieces.finish(), sha256(&bytes));
            prop_assert_eq!(sha512_pieces.finish(), sha512(&bytes));
            let (head, tail) = bytes.split_at(bytes.len() / 2);
            prop_assert_eq!(sha3_256_of([head, tail]), sha3_256(&bytes));
        }
    }
}
