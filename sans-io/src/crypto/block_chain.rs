//! The chains of keys under which the blocks of a session travel.
//!
//! Both sides derive two chains from the session id and their agreed secret. Every block takes one step of its direction's chain:
//! nothing about it is on the wire, and a key that was used cannot be computed back.
//!
//! ```
//! use simplex_sans_io::crypto::Secret;
//! use simplex_sans_io::crypto::block_chain::{BLOCK, BlockChains};
//!
//! let secret = Secret::from_bytes([7; 32]);
//! let mut client = BlockChains::client(b"session", &secret);
//! let mut router = BlockChains::router(b"session", &secret);
//!
//! let mut block = [b'#'; BLOCK];
//! client.send.encrypt_block(&mut block);
//! assert_eq!(router.receive.decrypt_block(&mut block).unwrap(), [b'#'; BLOCK - 16]);
//! ```

use super::hash::hkdf_sha512;
use super::nonce::Nonce;
use super::secret::Secret;
use super::secret_box;
use super::tag::{DecryptError, Tag};

/// The length of a block.
pub const BLOCK: usize = 16384;

/// The two chains of one side of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockChains {
    /// For what this side sends.
    pub send: ChainKey,
    /// For what this side receives.
    pub receive: ChainKey,
}

/// The state of one chain: everything that follows, and nothing that came before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainKey(Secret<32>);

impl BlockChains {
    /// The router's chains.
    ///
    /// In remote control the controller has the router's part, and the session id is empty.
    #[must_use]
    pub fn router(session_id: &[u8], secret: &Secret<32>) -> Self {
        let material = hkdf_sha512::<64>(session_id, secret.as_bytes(), b"SimpleXSbChainInit");
        let (send, receive) = material.split();
        Self {
            send: ChainKey(send),
            receive: ChainKey(receive),
        }
    }

    /// The client's chains: the router's, swapped.
    #[must_use]
    pub fn client(session_id: &[u8], secret: &Secret<32>) -> Self {
        let Self { send, receive } = Self::router(session_id, secret);
        Self {
            send: receive,
            receive: send,
        }
    }
}

impl ChainKey {
    /// The chain whose state was stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The state of the chain.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Takes one step: the key and the nonce of one box.
    pub fn advance(&mut self) -> (Secret<32>, Nonce) {
        let material = hkdf_sha512::<88>(&[], self.as_bytes(), b"SimpleXSbChain");
        let (next, material) = material.split::<32, 56>();
        let (key, nonce) = material.split::<32, 24>();
        self.0 = next;
        (key, Nonce::from(*nonce.as_bytes()))
    }

    /// Encrypts a block whose padded content lies after the first 16 bytes; these receive the tag.
    pub fn encrypt_block(&mut self, block: &mut [u8; BLOCK]) {
        let (key, nonce) = self.advance();
        let (tag, content) = block.split_at_mut(Tag::LENGTH);
        tag.copy_from_slice(
            secret_box::Key::from(&key)
                .encrypt(&nonce, content)
                .as_bytes(),
        );
    }

    /// Decrypts a block in place: its padded content.
    ///
    /// The chain advances even if the block was forged, so that the blocks after it can be read.
    pub fn decrypt_block<'a>(
        &mut self,
        block: &'a mut [u8; BLOCK],
    ) -> Result<&'a mut [u8], DecryptError> {
        let (key, nonce) = self.advance();
        secret_box::Key::from(&key).open(&nonce, block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn chains() -> (BlockChains, BlockChains) {
        let secret = Secret::from_bytes([1; 32]);
        (
            BlockChains::router(b"session", &secret),
            BlockChains::client(b"session", &secret),
        )
    }

    #[test]
    fn the_sides_meet_in_both_directions() {
        let (router, client) = chains();
        assert_eq!(router.send, client.receive);
        assert_eq!(router.receive, client.send);
        assert_ne!(router.send, router.receive);
    }

    #[test]
    fn a_forged_block_does_not_spoil_the_next() {
        let (mut router, mut client) = chains();
        let mut blocks = [[1; BLOCK], [2; BLOCK]];
        for block in &mut blocks {
            router.send.encrypt_block(block);
        }
        blocks[0][BLOCK - 1] ^= 1;
        let [first, second] = &mut blocks;
        assert_eq!(client.receive.decrypt_block(first), Err(DecryptError));
        assert_eq!(
            client.receive.decrypt_block(second).unwrap(),
            [2; BLOCK - Tag::LENGTH]
        );
    }

    #[test]
    fn the_same_content_never_looks_the_same() {
        let (mut router, _) = chains();
        let mut blocks = [[b'#'; BLOCK]; 2];
        for block in &mut blocks {
            router.send.encrypt_block(block);
        }
        assert_ne!(blocks[0], blocks[1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_changed_bit_of_a_block_is_refused(bit in 0..BLOCK * 8) {
            let (mut router, mut client) = chains();
            let mut block = [0; BLOCK];
            client.send.encrypt_block(&mut block);
            block[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(router.receive.decrypt_block(&mut block), Err(DecryptError));
        }
    }
}
