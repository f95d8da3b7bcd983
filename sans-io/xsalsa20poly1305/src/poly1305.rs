//! The authenticator.
//!
//! A number modulo 2¹³⁰ − 5 is in three limbs of 44, 44 and 42 bits, so that the products of limbs add up in 128 bits, and those of
//! AVX-512, whose factors have 52 bits, in 64.

use crate::erase::erase;

/// The length of a block of what is authenticated.
pub(crate) const BLOCK: usize = 16;
/// How many powers of the key are kept.
pub(crate) const POWERS: usize = 8;

pub(crate) const MASK_44: u64 = (1 << 44) - 1;
pub(crate) const MASK_42: u64 = (1 << 42) - 1;

/// A number modulo 2¹³⁰ − 5: limbs of 44, 44 and 42 bits, the second of which may be a little longer.
#[derive(Clone, Copy, Default)]
pub(crate) struct Number(pub(crate) [u64; 3]);

/// What several blocks at once are authenticated with: it takes over the sum of all that came before, and gives it back.
pub(crate) trait Accumulator: Sized {
    /// What shows that the processor has the instructions.
    type Proof: Copy;
    /// How many bytes are added at once.
    const STEP: usize;

    fn new(proof: Self::Proof, poly: &mut Poly1305) -> Self;
    /// Adds whole steps; the bytes that remain.
    fn absorb<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8];
    fn finish(self, poly: &mut Poly1305);
}

/// Poly1305 of what comes in pieces.
#[derive(Clone)]
pub(crate) struct Poly1305 {
    key: Number,
    /// The key, its square and so on, once they were needed.
    powers: Option<[Number; POWERS]>,
    /// What is added at the end.
    pad: [u64; 2],
    pub(crate) sum: Number,
    /// The start of a block.
    carry: [u8; BLOCK],
    carried: usize,
}

impl Poly1305 {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        let [low, high, pad_low, pad_high] = words(key);
        Self {
            key: Number([
                low & 0xffc_0fff_ffff,
                (low >> 44 | high << 20) & 0xfff_ffc0_ffff,
                (high >> 24) & 0xf_ffff_fc0f,
            ]),
            powers: None,
            pad: [pad_low, pad_high],
            sum: Number::default(),
            carry: [0; BLOCK],
            carried: 0,
        }
    }

    /// The first eight powers of the key.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn powers(&mut self) -> &[Number; POWERS] {
        let key = self.key;
        self.powers.get_or_insert_with(|| {
            let mut powers = [key; POWERS];
            for at in 1..POWERS {
                powers[at] = powers[at - 1].times(key);
            }
            powers
        })
    }

    /// Adds bytes.
    #[inline]
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        if self.carried > 0 {
            bytes = self.carry(bytes);
            if self.carried < BLOCK {
                return;
            }
            let block = self.carry;
            self.carried = 0;
            self.blocks(&[block]);
        }
        let (blocks, rest) = bytes.as_chunks();
        self.blocks(blocks);
        self.carry(rest);
    }

    #[inline]
    fn blocks(&mut self, blocks: &[[u8; BLOCK]]) {
        for block in blocks {
            self.sum = self
                .sum
                .plus(Number::of_block(block, 1 << 40))
                .times(self.key);
        }
    }

    /// Moves bytes to the carried ones until they make a block; those that remain.
    fn carry<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let room = &mut self.carry[self.carried..];
        let (taken, rest) = bytes.split_at(bytes.len().min(room.len()));
        room[..taken.len()].copy_from_slice(taken);
        self.carried += taken.len();
        rest
    }

    pub(crate) fn finish(mut self) -> [u8; 16] {
        if self.carried > 0 {
            self.carry[self.carried] = 1;
            self.carry[self.carried + 1..].fill(0);
            let last = Number::of_block(&self.carry, 0);
            self.sum = self.sum.plus(last).times(self.key);
        }
        let sum = self.sum.reduced();
        let (low, carry) = sum.low().overflowing_add(self.pad[0]);
        let high = sum
            .high()
            .wrapping_add(self.pad[1])
            .wrapping_add(u64::from(carry));
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&low.to_le_bytes());
        tag[8..].copy_from_slice(&high.to_le_bytes());
        tag
    }
}

impl Number {
    /// A block with the bit beyond its end, at its place in the last limb; the last block of all has it among its bytes.
    #[inline(always)]
    fn of_block(block: &[u8; BLOCK], beyond: u64) -> Self {
        let [low, high] = words(block);
        Self([
            low & MASK_44,
            (low >> 44 | high << 20) & MASK_44,
            high >> 24 | beyond,
        ])
    }

    #[inline(always)]
    fn plus(self, other: Self) -> Self {
        let (Self([a, b, c]), Self([d, e, f])) = (self, other);
        Self([a + d, b + e, c + f])
    }

    #[inline(always)]
    pub(crate) fn times(self, other: Self) -> Self {
        let (Self([a, b, c]), Self([d, e, f])) = (self, other);
        // What is beyond 2¹³² is four times what is beyond 2¹³⁰, which counts five times.
        let (e20, f20) = (e * 20, f * 20);
        let product = |a, b| u128::from(a) * u128::from(b);
        let low = product(a, d) + product(b, f20) + product(c, e20);
        let middle = product(a, e) + product(b, d) + product(c, f20) + (low >> 44);
        let high = product(a, f) + product(b, e) + product(c, d) + (middle >> 44);
        let low = (low as u64 & MASK_44) + (high >> 42) as u64 * 5;
        Self([
            low & MASK_44,
            (middle as u64 & MASK_44) + (low >> 44),
            high as u64 & MASK_42,
        ])
    }

    /// The number whose limbs have grown to 60 bits.
    pub(crate) fn carried(self) -> Self {
        let Self([a, b, c]) = self;
        let b = b + (a >> 44);
        let c = c + (b >> 44);
        let a = (a & MASK_44) + (c >> 42) * 5;
        Self([a & MASK_44, (b & MASK_44) + (a >> 44), c & MASK_42])
    }

    /// The one number below 2¹³⁰ − 5.
    fn reduced(self) -> Self {
        let Self([a, b, c]) = self.carried().carried();
        // Five more, and they are 2¹³⁰ or more exactly if the number is too large.
        let d = a + 5;
        let e = b + (d >> 44);
        let f = c + (e >> 44);
        let too_large = 0_u64.wrapping_sub(f >> 42);
        let select = |fits: u64, reduced: u64| (fits & !too_large) | (reduced & too_large);
        Self([
            select(a, d & MASK_44),
            select(b, e & MASK_44),
            select(c, f & MASK_42),
        ])
    }

    /// The first 64 bits of a number whose limbs are not longer than they are.
    fn low(self) -> u64 {
        let Self([a, b, _]) = self;
        a | b << 44
    }

    /// The next 64 bits.
    fn high(self) -> u64 {
        let Self([_, b, c]) = self;
        b >> 20 | c << 24
    }
}

fn words<const BYTES: usize, const WORDS: usize>(bytes: &[u8; BYTES]) -> [u64; WORDS] {
    const { assert!(BYTES == WORDS * 8) };
    let (chunks, _) = bytes.as_chunks();
    core::array::from_fn(|at| u64::from_le_bytes(chunks[at]))
}

impl Drop for Poly1305 {
    fn drop(&mut self) {
        erase(&mut self.key.0);
        erase(&mut self.sum.0);
        erase(&mut self.pad);
        erase(&mut self.carry);
        if let Some(powers) = &mut self.powers {
            for Number(limbs) in powers {
                erase(limbs);
            }
        }
    }
}

/// Block by block, on any processor.
pub(crate) struct OneByOne {
    sum: Number,
    key: Number,
}

impl Accumulator for OneByOne {
    type Proof = ();
    const STEP: usize = BLOCK;

    #[inline(always)]
    fn new((): (), poly: &mut Poly1305) -> Self {
        Self {
            sum: poly.sum,
            key: poly.key,
        }
    }

    #[inline(always)]
    fn absorb<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (blocks, rest) = bytes.as_chunks();
        for block in blocks {
            self.sum = self
                .sum
                .plus(Number::of_block(block, 1 << 40))
                .times(self.key);
        }
        rest
    }

    #[inline(always)]
    fn finish(self, poly: &mut Poly1305) {
        poly.sum = self.sum;
    }
}
