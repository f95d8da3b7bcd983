//! Four blocks side by side: every processor of x86-64 can.

use core::arch::x86_64::*;

use crate::salsa20::{BLOCK, Lanes};

/// A word of four blocks.
#[derive(Clone, Copy)]
pub(crate) struct Four(__m128i);

/// The processor has SSE2, like all of x86-64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sse2;

impl Lanes for Four {
    type Proof = Sse2;
    const BLOCKS: usize = 4;

    #[inline(always)]
    fn splat(Sse2: Sse2, word: u32) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_set1_epi32(word.cast_signed()) })
    }

    #[inline(always)]
    fn from_fn(Sse2: Sse2, word: impl Fn(u64) -> u32) -> Self {
        let words = [word(0), word(1), word(2), word(3)];
        // SAFETY: x86-64 has SSE2, and the array has 16 bytes.
        Self(unsafe { _mm_loadu_si128(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: x86-64 has SSE2.
        Self(unsafe { _mm_xor_si128(self.0, other.0) })
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: x86-64 has SSE2.
        unsafe { rotate::<LEFT, RIGHT>(self) }
    }

    #[inline(always)]
    fn xor_into(words: [Self; 16], text: &mut [[u8; BLOCK]]) {
        // SAFETY: x86-64 has SSE2.
        unsafe { xor_into(words, text) }
    }
}

#[inline]
#[target_feature(enable = "sse2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(Four(word): Four) -> Four {
    Four(_mm_or_si128(
        _mm_slli_epi32::<LEFT>(word),
        _mm_srli_epi32::<RIGHT>(word),
    ))
}

#[inline]
#[target_feature(enable = "sse2")]
fn xor_into(words: [Four; 16], text: &mut [[u8; BLOCK]]) {
    let (words, _) = words.as_chunks::<4>();
    for (at, &[Four(a), Four(b), Four(c), Four(d)]) in words.iter().enumerate() {
        let (ab, cd) = (_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm_unpackhi_epi32(a, b), _mm_unpackhi_epi32(c, d));
        let blocks = [
            _mm_unpacklo_epi64(ab, cd),
            _mm_unpackhi_epi64(ab, cd),
            _mm_unpacklo_epi64(ab_high, cd_high),
            _mm_unpackhi_epi64(ab_high, cd_high),
        ];
        for (text, stream) in text.iter_mut().zip(blocks) {
            let part: &mut [u8; 16] = &mut text.as_chunks_mut().0[at];
            let to = part.as_mut_ptr().cast();
            // SAFETY: the part has 16 bytes.
            let part = unsafe { _mm_loadu_si128(to) };
            let part = _mm_xor_si128(part, stream);
            // SAFETY: the part has 16 bytes.
            unsafe { _mm_storeu_si128(to, part) };
        }
    }
}
