//! The key stream.

use subtle::{Choice, ConstantTimeEq as _};

use crate::erase::erase;
use crate::poly1305::{Accumulator, Poly1305};

/// The length of a block of the key stream.
pub(crate) const BLOCK: usize = 64;

/// One word of several blocks that are made side by side, a block in each lane.
///
/// Whoever has a value has a processor with the instructions: the first ones are made from a proof.
pub(crate) trait Lanes: Copy {
    /// What shows that the processor has the instructions.
    type Proof: Copy;
    /// How many blocks are made side by side.
    const BLOCKS: usize;

    /// The same word in each lane.
    fn splat(proof: Self::Proof, word: u32) -> Self;
    /// The word that each lane asks for.
    fn from_fn(proof: Self::Proof, word: impl Fn(u64) -> u32) -> Self;
    /// The sum, without what it carries.
    fn add(self, other: Self) -> Self;
    fn xor(self, other: Self) -> Self;
    /// To the left by `LEFT` bits; `RIGHT` is what they are short of 32.
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self;
    /// XORs the words of each block into a block of text, of which there are as many as lanes.
    fn xor_into(words: [Self; 16], text: &mut [[u8; BLOCK]]);
}

/// A place in the key stream.
#[derive(Clone)]
pub(crate) struct Stream {
    /// What every block is made of, but for its number.
    words: [u32; 16],
    /// The number of the next block.
    next: u64,
    /// The last block, if only a part of it was used.
    block: [u8; BLOCK],
    used: usize,
}

impl Stream {
    /// The start of the stream.
    pub(crate) fn new(key: &[u8; 32], nonce: [u8; 8]) -> Self {
        let [head, tail] = words(&nonce);
        Self {
            words: input(key, [head, tail, 0, 0]),
            next: 0,
            block: [0; BLOCK],
            used: BLOCK,
        }
    }

    /// A block far into the stream.
    #[cfg(test)]
    pub(crate) fn at(key: &[u8; 32], nonce: [u8; 8], next: u64) -> Self {
        let mut stream = Self::new(key, nonce);
        stream.next = next;
        stream
    }

    /// Whether another one is at the same place of the same stream.
    pub(crate) fn ct_eq(&self, other: &Self) -> Choice {
        self.words.ct_eq(&other.words) & self.next.ct_eq(&other.next) & self.used.ct_eq(&other.used)
    }

    /// Makes the next block, to be used later.
    pub(crate) fn make_block(&mut self) {
        let mut block = [[0; BLOCK]];
        u32::xor_into(
            self.next_blocks::<u32, Nothing>((), &mut Nothing, &[]),
            &mut block,
        );
        [self.block] = block;
        erase(&mut block);
        self.used = 0;
    }

    /// What is left of the last block, as much of it as asked for; it counts as used.
    pub(crate) fn spend(&mut self, length: usize) -> &[u8] {
        let left = &self.block[self.used..];
        let spent = &left[..length.min(left.len())];
        self.used += spent.len();
        spent
    }

    /// The words of as many blocks as there are lanes; meanwhile, as many bytes at most are authenticated.
    #[inline(always)]
    pub(crate) fn next_blocks<L: Lanes, A: Accumulator>(
        &mut self,
        proof: L::Proof,
        sum: &mut A,
        known: &[u8],
    ) -> [L; 16] {
        // Loops, because the closures of `map` and its like would be compiled without the vectors.
        let mut start = [L::splat(proof, 0); 16];
        for (lanes, word) in start.iter_mut().zip(self.words) {
            *lanes = L::splat(proof, word);
        }
        start[8] = L::from_fn(proof, |lane| self.next.wrapping_add(lane) as u32);
        start[9] = L::from_fn(proof, |lane| (self.next.wrapping_add(lane) >> 32) as u32);
        let mut words = start;
        rounds(&mut words, sum, known);
        for (word, start) in words.iter_mut().zip(start) {
            *word = word.add(start);
        }
        self.next = self.next.wrapping_add(L::BLOCKS as u64);
        words
    }

    /// XORs the next bytes into a text that is shorter than the blocks of all lanes; what it leaves of the last one is kept.
    #[inline(always)]
    pub(crate) fn xor_tail<L: Lanes>(&mut self, proof: L::Proof, text: &mut [u8]) {
        let next = self.next;
        let mut made = [[0; BLOCK]; MOST_LANES];
        let words = self.next_blocks::<L, Nothing>(proof, &mut Nothing, &[]);
        L::xor_into(words, &mut made[..L::BLOCKS]);
        xor(text, made.as_flattened());
        let blocks = text.len().div_ceil(BLOCK);
        self.next = next.wrapping_add(blocks as u64);
        self.used = match text.len() % BLOCK {
            0 => BLOCK,
            used => {
                self.block = made[blocks - 1];
                used
            }
        };
        erase(&mut made);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        erase(&mut self.words);
        erase(&mut self.block);
    }
}

/// What authenticates nothing.
struct Nothing;

impl Accumulator for Nothing {
    type Proof = ();
    const STEP: usize = 1;

    fn new((): (), _: &mut Poly1305) -> Self {
        Self
    }

    #[inline(always)]
    fn absorb<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        bytes
    }

    fn finish(self, _: &mut Poly1305) {}
}

/// So many blocks are made side by side at most.
pub(crate) const MOST_LANES: usize = 16;

/// HSalsa20: a key from a key and what it is for.
pub(crate) fn hsalsa20(key: &[u8; 32], purpose: &[u8; 16]) -> [u8; 32] {
    let mut x = input(key, words(purpose));
    rounds(&mut x, &mut Nothing, &[]);
    let mut bytes = [0; 32];
    let words = [0, 5, 10, 15, 6, 7, 8, 9].map(|at: usize| x[at]);
    for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
        *to = word.to_le_bytes();
    }
    erase(&mut x);
    bytes
}

/// The key and four words between the constants.
fn input(key: &[u8; 32], [p, q, r, s]: [u32; 4]) -> [u32; 16] {
    let [a, b, c, d] = words(b"expand 32-byte k");
    let [k, l, m, n, t, u, v, w] = words(key);
    [a, k, l, m, n, b, p, q, r, s, c, t, u, v, w, d]
}

fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u32; WORDS] {
    const { assert!(BYTES == WORDS * 4) };
    let (chunks, _) = bytes.as_chunks();
    core::array::from_fn(|at| u32::from_le_bytes(chunks[at]))
}

/// The twenty rounds, in pairs of one of columns and one of rows. Between the pairs, bytes are authenticated.
#[inline(always)]
fn rounds<L: Lanes, A: Accumulator>(x: &mut [L; 16], sum: &mut A, mut known: &[u8]) {
    let meanwhile = (L::BLOCKS * BLOCK).div_ceil(PAIRS * A::STEP) * A::STEP;
    for _ in 0..PAIRS {
        quarters(
            x,
            [[0, 4, 8, 12], [5, 9, 13, 1], [10, 14, 2, 6], [15, 3, 7, 11]],
        );
        let (now, later) = known.split_at(known.len().min(meanwhile));
        sum.absorb(now);
        known = later;
        quarters(
            x,
            [[0, 1, 2, 3], [5, 6, 7, 4], [10, 11, 8, 9], [15, 12, 13, 14]],
        );
    }
}

const PAIRS: usize = 10;

/// Four quarter rounds, step by step, because they do not wait for each other.
#[inline(always)]
fn quarters<L: Lanes>(x: &mut [L; 16], quarters: [[usize; 4]; 4]) {
    for [a, b, _, d] in quarters {
        x[b] = x[b].xor(x[a].add(x[d]).rotate::<7, 25>());
    }
    for [a, b, c, _] in quarters {
        x[c] = x[c].xor(x[b].add(x[a]).rotate::<9, 23>());
    }
    for [_, b, c, d] in quarters {
        x[d] = x[d].xor(x[c].add(x[b]).rotate::<13, 19>());
    }
    for [a, _, c, d] in quarters {
        x[a] = x[a].xor(x[d].add(x[c]).rotate::<18, 14>());
    }
}

#[inline(always)]
pub(crate) fn xor(text: &mut [u8], stream: &[u8]) {
    for (text, stream) in text.iter_mut().zip(stream) {
        *text ^= stream;
    }
}

/// One block, on any processor.
impl Lanes for u32 {
    type Proof = ();
    const BLOCKS: usize = 1;

    #[inline(always)]
    fn splat((): (), word: u32) -> Self {
        word
    }

    #[inline(always)]
    fn from_fn((): (), word: impl Fn(u64) -> Self) -> Self {
        word(0)
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.wrapping_add(other)
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        self ^ other
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        self.rotate_left(LEFT as Self)
    }

    #[inline(always)]
    fn xor_into(words: [Self; 16], text: &mut [[u8; BLOCK]]) {
        for (bytes, word) in text
            .as_flattened_mut()
            .as_chunks_mut()
            .0
            .iter_mut()
            .zip(words)
        {
            *bytes = (Self::from_le_bytes(*bytes) ^ word).to_le_bytes();
        }
    }
}
