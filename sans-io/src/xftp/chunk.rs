//! The sizes of chunks, and the encryption under which each download leaves a router.

use crate::crypto::secret_box::{Decryptor, Encryptor, Key};
use crate::crypto::{Nonce, x25519};
use crate::rng::Rng;

/// A size that a chunk may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChunkSize {
    /// 65536 bytes.
    Kb64,
    /// 262144 bytes.
    Kb256,
    /// 1048576 bytes.
    Mb1,
    /// 4194304 bytes.
    Mb4,
}

impl ChunkSize {
    /// All sizes, the smallest first.
    pub const ALL: [Self; 4] = [Self::Kb64, Self::Kb256, Self::Mb1, Self::Mb4];

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::Kb64 => 1 << 16,
            Self::Kb256 => 1 << 18,
            Self::Mb1 => 1 << 20,
            Self::Mb4 => 1 << 22,
        }
    }

    /// The size of that many bytes, if there is one.
    #[must_use]
    pub fn of(bytes: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.bytes() == bytes)
    }

    /// The smallest size that holds `bytes`.
    #[must_use]
    pub fn single(bytes: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|size| size.long() >= bytes)
    }

    fn long(self) -> u64 {
        u64::from(self.bytes())
    }

    /// More than this is worth a whole chunk.
    fn three_quarters(self) -> u64 {
        self.long().saturating_sub(self.long() >> 2)
    }
}

/// The sizes of the chunks that hold `bytes`: few, and little more than needed. What they hold too much is all in the last one.
#[must_use]
pub fn chunk_sizes(bytes: u64) -> Vec<ChunkSize> {
    let (small, big) = match bytes {
        _ if bytes > ChunkSize::Mb4.three_quarters() => (ChunkSize::Mb1, ChunkSize::Mb4),
        _ if bytes > ChunkSize::Mb1.three_quarters() => (ChunkSize::Kb256, ChunkSize::Mb1),
        _ => (ChunkSize::Kb64, ChunkSize::Kb256),
    };
    let whole = bytes.checked_div(big.long()).unwrap_or_default();
    let rest = bytes.checked_rem(big.long()).unwrap_or_default();
    let (one_more, smalls) = match rest > big.three_quarters() {
        true => (1, 0),
        false => (0, rest.div_ceil(small.long())),
    };
    let times =
        |size, count: u64| std::iter::repeat_n(size, usize::try_from(count).unwrap_or(usize::MAX));
    times(big, whole.saturating_add(one_more))
        .chain(times(small, smalls))
        .collect()
}

/// A client's key for one download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadKey(x25519::PrivateKey);

impl DownloadKey {
    /// A fresh key.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self(x25519::PrivateKey::generate(rng))
    }

    /// What the router is told in FGET.
    #[must_use]
    pub fn public_key(&self) -> x25519::PublicKey {
        self.0.public_key()
    }

    /// Decrypts the chunk that follows the router's answer; its tag follows the chunk.
    #[must_use]
    pub fn decryptor(&self, router_key: &x25519::PublicKey, nonce: &Nonce) -> Decryptor {
        Key::from(&self.0.agree(router_key)).decryptor(nonce)
    }
}

impl From<x25519::PrivateKey> for DownloadKey {
    fn from(key: x25519::PrivateKey) -> Self {
        Self(key)
    }
}

/// A router's side of one download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// The router's key for this download.
    pub key: x25519::PublicKey,
    /// The nonce of the encryption.
    pub nonce: Nonce,
    /// Encrypts the chunk; its tag follows the chunk.
    pub encryptor: Encryptor,
}

impl Upstream {
    /// A download for the client with this key.
    #[must_use]
    pub fn begin(client_key: &x25519::PublicKey, rng: &mut Rng) -> Self {
        let key = x25519::PrivateKey::generate(rng);
        Self::with(&key, Nonce::generate(rng), client_key)
    }

    /// A download for the client with this key, by these secrets.
    #[must_use]
    pub fn with(key: &x25519::PrivateKey, nonce: Nonce, client_key: &x25519::PublicKey) -> Self {
        Self {
            key: key.public_key(),
            encryptor: Key::from(&key.agree(client_key)).encryptor(&nonce),
            nonce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Tag;
    use crate::rng::Rng;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_hold_what_they_are_for_and_waste_less_than_the_last_one(bytes in 1..20_000_000_u64) {
            let sizes = chunk_sizes(bytes);
            let total: u64 = sizes.iter().map(|size| size.long()).sum();
            let last = sizes.last().unwrap().long();
            prop_assert!(total >= bytes && total - bytes < last);
            prop_assert!(sizes.is_sorted_by(|a, b| a >= b));
        }

        #[test]
        fn a_download_can_be_decrypted_by_its_client(chunk in prop::collection::vec(any::<u8>(), 0..500), cut in 1..100_usize) {
            let mut rng = Rng::from_seed([7; 32]);
            let client = DownloadKey::generate(&mut rng);
            let Upstream { key, nonce, mut encryptor } = Upstream::begin(&client.public_key(), &mut rng);
            let mut sent = chunk.clone();
            sent.chunks_mut(cut).for_each(|piece| encryptor.update(piece));
            let tag = encryptor.finish();
            let mut decryptor = client.decryptor(&key, &nonce);
            sent.chunks_mut(cut + 1).for_each(|piece| decryptor.update(piece));
            prop_assert_eq!(&sent, &chunk);
            prop_assert_eq!(decryptor.clone().finish(&tag), Ok(()));
            prop_assert!(decryptor.finish(&Tag::from_bytes([0; 16])).is_err());
        }
    }

    #[test]
    fn nothing_needs_no_chunk() {
        assert_eq!(chunk_sizes(0), []);
        assert_eq!(ChunkSize::single(0), Some(ChunkSize::Kb64));
    }
}
