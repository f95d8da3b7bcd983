//! The key stream and the authenticator together, on pieces of text that stay in the nearest cache.

use crate::poly1305::{Accumulator, Poly1305};
use crate::salsa20::{BLOCK, Lanes, Stream, xor};

/// What is done to a text: its authenticator covers the ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

/// Both ciphers at the same place of a text.
#[derive(Clone)]
pub(crate) struct Ciphers {
    pub(crate) stream: Stream,
    pub(crate) poly: Poly1305,
}

impl Ciphers {
    /// Uses what is left of the last block; the text after it starts with a block of both ciphers.
    pub(crate) fn finish_block<'a>(
        &mut self,
        direction: Direction,
        text: &'a mut [u8],
    ) -> &'a mut [u8] {
        let left = self.stream.spend(text.len());
        let (now, later) = text.split_at_mut(left.len());
        match direction {
            Direction::Encrypt => {
                xor(now, left);
                self.poly.update(now);
            }
            Direction::Decrypt => {
                self.poly.update(now);
                xor(now, left);
            }
        }
        later
    }

    /// As many blocks at once as there are lanes, then what remains of a text that starts with a block of both ciphers.
    ///
    /// Each of the ciphers waits for its own results most of the time, so that they take turns within the rounds of the key stream:
    /// what is authenticated there is the ciphertext that is already known.
    #[inline(always)]
    pub(crate) fn apply<L: Lanes, A: Accumulator>(
        &mut self,
        lanes: L::Proof,
        sums: A::Proof,
        direction: Direction,
        text: &mut [u8],
    ) {
        let Self { stream, poly } = self;
        let at_once = L::BLOCKS * BLOCK;
        let (whole, tail) = text.split_at_mut(text.len() - text.len() % at_once);
        let mut sum = A::new(sums, poly);
        let mut encrypted: &[u8] = &[];
        for piece in whole.chunks_exact_mut(at_once) {
            let known = match direction {
                Direction::Encrypt => encrypted,
                Direction::Decrypt => &*piece,
            };
            let words = stream.next_blocks::<L, A>(lanes, &mut sum, known);
            L::xor_into(words, piece.as_chunks_mut().0);
            if direction == Direction::Encrypt {
                encrypted = piece;
            }
        }
        sum.absorb(encrypted);
        if tail.len() <= BLOCK {
            sum.finish(poly);
            return self.finish_text(direction, tail);
        }
        if direction == Direction::Encrypt {
            stream.xor_tail::<L>(lanes, tail);
        }
        let rest = sum.absorb(tail);
        sum.finish(poly);
        poly.update(rest);
        if direction == Direction::Decrypt {
            stream.xor_tail::<L>(lanes, tail);
        }
    }

    /// At most one more block.
    pub(crate) fn finish_text(&mut self, direction: Direction, text: &mut [u8]) {
        if !text.is_empty() {
            self.stream.make_block();
            self.finish_block(direction, text);
        }
    }
}
