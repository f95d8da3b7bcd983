//! HKDF-SHA512.
//!
//! It stands here although `orion` has one, because every block and every message takes a step of a chain: with the halves of HMAC's key
//! hashed once, and those of the empty salt once for all, a step hashes eight blocks of 128 bytes instead of twelve, and `sha2` hashes
//! them with vectors. A step takes half the time.

use std::sync::LazyLock;

use sha2::{Digest as _, Sha512};
use zeroize::Zeroize as _;

use super::secret::Secret;

/// `N` bytes of key material from HKDF-SHA512.
#[must_use]
pub fn hkdf_sha512<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) -> Secret<N> {
    const { assert!(N > 0 && N <= 255 * HASH, "HKDF gives at most 255 blocks") };
    let key = match salt {
        [] => EMPTY_SALT.of([secret]),
        salt => Hmac::new(salt).of([secret]),
    };
    let hmac = Hmac::new(key.as_bytes());
    let mut material = Secret::from_bytes([0; N]);
    let mut last: Option<Secret<HASH>> = None;
    for (counter, piece) in (1..=u8::MAX).zip(material.as_mut_bytes().chunks_mut(HASH)) {
        let chained = last.as_ref().map_or(&[][..], |last| last.as_bytes());
        let block = hmac.of([chained, info, &[counter]]);
        for (to, from) in piece.iter_mut().zip(block.as_bytes()) {
            *to = *from;
        }
        last = Some(block);
    }
    material
}

const HASH: usize = 64;
/// What SHA-512 takes in at once.
const BLOCK: usize = 128;

/// HMAC-SHA512 under a key of which all is hashed that does not depend on a message.
struct Hmac {
    inner: Sha512,
    outer: Sha512,
}

/// No salt is a salt of zeros.
static EMPTY_SALT: LazyLock<Hmac> = LazyLock::new(|| Hmac::new(&[]));

impl Hmac {
    fn new(key: &[u8]) -> Self {
        let mut block = Secret::from_bytes([0; BLOCK]);
        let mut digest = [0; HASH];
        let key = if key.len() > BLOCK {
            digest = Sha512::digest(key).into();
            &digest
        } else {
            key
        };
        for (to, from) in block.as_mut_bytes().iter_mut().zip(key) {
            *to = *from;
        }
        let hmac = Self {
            inner: padded(&block, 0x36),
            outer: padded(&block, 0x5c),
        };
        digest.zeroize();
        hmac
    }

    /// The HMAC of the concatenated parts.
    fn of<const PARTS: usize>(&self, parts: [&[u8]; PARTS]) -> Secret<HASH> {
        let mut inner = self.inner.clone();
        for part in parts {
            inner.update(part);
        }
        let mut outer = self.outer.clone();
        outer.update(inner.finalize());
        Secret::from_bytes(outer.finalize().into())
    }
}

fn padded(key: &Secret<BLOCK>, pad: u8) -> Sha512 {
    let mut block = key.clone();
    for byte in block.as_mut_bytes() {
        *byte ^= pad;
    }
    Sha512::new_with_prefix(block.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use orion::hazardous::kdf::hkdf;
    use proptest::prelude::*;

    #[test]
    fn an_empty_salt_is_a_salt_of_zeros() {
        assert_eq!(
            hkdf_sha512::<96>(&[], b"secret", b"info"),
            hkdf_sha512::<96>(&[0; 64], b"secret", b"info"),
        );
    }

    fn as_orion<const N: usize>(salt: &[u8], secret: &[u8], info: &[u8]) {
        let mut material = [0; N];
        hkdf::Hkdf::<hkdf::SHA512>::derive_key(salt, secret, Some(info), &mut material).unwrap();
        assert_eq!(hkdf_sha512(salt, secret, info).as_bytes(), &material);
    }

    proptest! {
        #[test]
        fn the_material_is_that_of_orion(
            salt in prop::collection::vec(any::<u8>(), 0..200),
            secret in prop::collection::vec(any::<u8>(), 0..200),
            info in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            as_orion::<1>(&salt, &secret, &info);
            as_orion::<64>(&salt, &secret, &info);
            as_orion::<88>(&salt, &secret, &info);
            as_orion::<200>(&salt, &secret, &info);
            as_orion::<88>(&[], &secret, &info);
        }
    }
}
