//! Four blocks side by side, where the program is compiled for processors with NEON, as it is for all of AArch64 with an operating
//! system.

use core::arch::aarch64::*;

use crate::salsa20::{BLOCK, Lanes};

/// A word of four blocks.
#[derive(Clone, Copy)]
pub(crate) struct Four(uint32x4_t);

/// The processor has NEON, as the program was compiled for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Neon;

impl Lanes for Four {
    type Proof = Neon;
    const BLOCKS: usize = 4;

    #[inline(always)]
    fn splat(Neon: Neon, word: u32) -> Self {
        // SAFETY: this is compiled for processors with NEON only.
        Self(unsafe { vdupq_n_u32(word) })
    }

    #[inline(always)]
    fn from_fn(Neon: Neon, word: impl Fn(u64) -> u32) -> Self {
        let words = [word(0), word(1), word(2), word(3)];
        // SAFETY: this is compiled for processors with NEON only, and the array has 16 bytes.
        Self(unsafe { vld1q_u32(words.as_ptr()) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: this is compiled for processors with NEON only.
        Self(unsafe { vaddq_u32(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: this is compiled for processors with NEON only.
        Self(unsafe { veorq_u32(self.0, other.0) })
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: this is compiled for processors with NEON only.
        unsafe { rotate::<LEFT, RIGHT>(self) }
    }

    #[inline(always)]
    fn xor_into(words: [Self; 16], text: &mut [[u8; BLOCK]]) {
        // SAFETY: this is compiled for processors with NEON only.
        unsafe { xor_into(words, text) }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn rotate<const LEFT: i32, const RIGHT: i32>(Four(word): Four) -> Four {
    Four(vorrq_u32(
        vshlq_n_u32::<LEFT>(word),
        vshrq_n_u32::<RIGHT>(word),
    ))
}

#[inline]
#[target_feature(enable = "neon")]
fn xor_into(words: [Four; 16], text: &mut [[u8; BLOCK]]) {
    let (words, _) = words.as_chunks::<4>();
    for (at, &[Four(a), Four(b), Four(c), Four(d)]) in words.iter().enumerate() {
        let (ac, bd) = (vzip1q_u32(a, c), vzip1q_u32(b, d));
        let (ac_high, bd_high) = (vzip2q_u32(a, c), vzip2q_u32(b, d));
        let blocks = [
            vzip1q_u32(ac, bd),
            vzip2q_u32(ac, bd),
            vzip1q_u32(ac_high, bd_high),
            vzip2q_u32(ac_high, bd_high),
        ];
        for (text, stream) in text.iter_mut().zip(blocks) {
            let part: &mut [u8; 16] = &mut text.as_chunks_mut().0[at];
            let to = part.as_mut_ptr();
            // SAFETY: the part has 16 bytes.
            let part = unsafe { vld1q_u8(to) };
            let part = veorq_u8(part, vreinterpretq_u8_u32(stream));
            // SAFETY: the part has 16 bytes.
            unsafe { vst1q_u8(to, part) };
        }
    }
}
