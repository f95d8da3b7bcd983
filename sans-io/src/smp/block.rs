//! Blocks: everything after TLS is a sequence of blocks of one size, encrypted once more since version 11.

use bytes::{BufMut, Bytes, BytesMut};

use crate::crypto::Tag;
use crate::crypto::block_chain::BlockChains;
use crate::wire;
use crate::wire::{Version, Wire, padding};

pub use crate::crypto::block_chain::BLOCK;

/// The most content of a block that is not encrypted.
pub const MAX_CONTENT: usize = 16382;
/// The most content of a batch of transmissions: what fits if the block is encrypted.
pub const MAX_BATCH: usize = 16366;

const FILLER: u8 = b'#';

/// A block whose content cannot be read: forged, or padded wrongly. The blocks after it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the block cannot be decrypted or its padding is invalid")]
pub struct UnreadableBlock;

/// Cuts a byte stream into blocks, and makes blocks of content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Blocks {
    received: BytesMut,
    chains: Option<BlockChains>,
}

impl Blocks {
    /// Blocks that are not encrypted, as those of the handshake.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Encrypts and decrypts all blocks from now on.
    pub fn encrypt(&mut self, chains: BlockChains) {
        self.chains = Some(chains);
    }

    /// Whether blocks are encrypted.
    #[must_use]
    pub const fn encrypted(&self) -> bool {
        self.chains.is_some()
    }

    /// Whether the stream stands between two blocks.
    #[must_use]
    pub fn between_blocks(&self) -> bool {
        self.received.is_empty()
    }

    /// Takes bytes from the stream, up to the end of the current block, and gives the rest back.
    #[must_use]
    pub fn receive<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let missing = BLOCK.saturating_sub(self.received.len());
        let (block, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
        self.received.reserve(missing);
        self.received.put_slice(block);
        rest
    }

    /// The content of the current block, once it is complete.
    pub fn take(&mut self) -> Option<Result<Bytes, UnreadableBlock>> {
        if self.received.len() < BLOCK {
            return None;
        }
        let block = std::mem::take(&mut self.received);
        Some(self.open(block).ok_or(UnreadableBlock))
    }

    fn open(&mut self, mut block: BytesMut) -> Option<Bytes> {
        let start = match &mut self.chains {
            None => 0,
            Some(chains) => {
                chains
                    .receive
                    .decrypt_block(block.first_chunk_mut()?)
                    .ok()?;
                Tag::LENGTH
            }
        };
        let padded = block.freeze().slice(start..);
        let length = padding::unpad(&padded).ok()?.len();
        Some(padded.slice(padding::LENGTH..padding::LENGTH.checked_add(length)?))
    }

    /// Appends a block with content of the given length, at most [`MAX_BATCH`], which `put` appends.
    pub fn put(&mut self, length: usize, out: &mut BytesMut, put: impl FnOnce(&mut BytesMut)) {
        debug_assert!(
            length <= self.max_content(),
            "content that fits into no block"
        );
        let start = out.len();
        let end = start.saturating_add(BLOCK);
        out.reserve(BLOCK);
        if self.encrypted() {
            out.put_bytes(0, Tag::LENGTH);
        }
        out.put_u16(u16::try_from(length).unwrap_or(u16::MAX));
        put(out);
        out.resize(end, FILLER);
        let block = out.get_mut(start..).and_then(<[u8]>::first_chunk_mut);
        if let (Some(chains), Some(block)) = (&mut self.chains, block) {
            chains.send.encrypt_block(block);
        }
    }

    /// A block with a message of the handshake; none if it does not fit.
    pub fn handshake<T: Wire>(&mut self, message: &T) -> Option<Bytes> {
        let content = wire::encode(message, Version::default());
        let mut out = BytesMut::new();
        (content.len() <= self.max_content()).then(|| {
            self.put(content.len(), &mut out, |out| out.put_slice(&content));
            out.freeze()
        })
    }

    /// The most content of a block.
    #[must_use]
    pub const fn max_content(&self) -> usize {
        if self.encrypted() {
            MAX_BATCH
        } else {
            MAX_CONTENT
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Secret;
    use proptest::prelude::*;

    fn pair(encrypted: bool) -> (Blocks, Blocks) {
        let (mut client, mut router) = (Blocks::new(), Blocks::new());
        if encrypted {
            let secret = Secret::from_bytes([1; 32]);
            client.encrypt(BlockChains::client(b"session", &secret));
            router.encrypt(BlockChains::router(b"session", &secret));
        }
        (client, router)
    }

    fn receive_all(blocks: &mut Blocks, mut bytes: &[u8]) -> Vec<Result<Bytes, UnreadableBlock>> {
        let mut contents = Vec::new();
        while !bytes.is_empty() {
            bytes = blocks.receive(bytes);
            contents.extend(blocks.take());
        }
        contents
    }

    proptest! {
        #[test]
        fn any_chunking_gives_the_same_blocks(
            contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=MAX_BATCH), 1..4),
            cut in 1..2 * BLOCK,
            encrypted: bool,
        ) {
            let (mut client, mut router) = pair(encrypted);
            let mut stream = BytesMut::new();
            for content in &contents {
                client.put(content.len(), &mut stream, |out| out.put_slice(content));
            }
            prop_assert_eq!(stream.len(), contents.len() * BLOCK);
            let received: Vec<_> = stream.chunks(cut).flat_map(|chunk| receive_all(&mut router, chunk)).collect();
            let expected: Vec<_> = contents.into_iter().map(|content| Ok(Bytes::from(content))).collect();
            prop_assert_eq!(received, expected);
            prop_assert!(router.between_blocks());
        }
    }

    #[test]
    fn a_forged_block_does_not_harm_the_next() {
        let (mut client, mut router) = pair(true);
        let mut stream = BytesMut::new();
        client.put(1, &mut stream, |out| out.put_u8(1));
        client.put(1, &mut stream, |out| out.put_u8(2));
        stream[100] ^= 1;
        assert_eq!(
            receive_all(&mut router, &stream),
            [Err(UnreadableBlock), Ok(Bytes::from_static(&[2]))]
        );
    }

    #[test]
    fn an_idle_stream_owns_no_block() {
        let (mut client, mut router) = pair(true);
        let mut stream = BytesMut::new();
        client.put(0, &mut stream, |_| {});
        assert_eq!(receive_all(&mut router, &stream).len(), 1);
        assert_eq!(router.received.capacity(), 0);
    }
}
