//! Eight blocks of the key stream side by side, and four of the authenticator.

use core::arch::x86_64::*;

use crate::poly1305::{self, Accumulator, Number, Poly1305};
use crate::salsa20::{BLOCK, Lanes};

/// The processor has AVX2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        crate::backend::has!("avx2").then_some(Self(()))
    }
}

/// A word of eight blocks.
#[derive(Clone, Copy)]
pub(crate) struct Eight(__m256i);

impl Lanes for Eight {
    type Proof = Avx2;
    const BLOCKS: usize = 8;

    #[inline(always)]
    fn splat(Avx2(()): Avx2, word: u32) -> Self {
        // SAFETY: the proof shows that there is AVX2.
        Self(unsafe { _mm256_set1_epi32(word.cast_signed()) })
    }

    #[inline(always)]
    fn from_fn(Avx2(()): Avx2, word: impl Fn(u64) -> u32) -> Self {
        let mut words = [0; 8];
        for (lane, to) in (0..).zip(&mut words) {
            *to = word(lane);
        }
        // SAFETY: the proof shows that there is AVX2, and the array has 32 bytes.
        Self(unsafe { _mm256_loadu_si256(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: who has lanes has AVX2.
        Self(unsafe { _mm256_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: who has lanes has AVX2.
        Self(unsafe { _mm256_xor_si256(self.0, other.0) })
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: who has lanes has AVX2.
        unsafe { rotate::<LEFT, RIGHT>(self) }
    }

    #[inline(always)]
    fn xor_into(words: [Self; 16], text: &mut [[u8; BLOCK]]) {
        // SAFETY: who has lanes has AVX2.
        unsafe { xor_into(words, text) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn rotate<const LEFT: i32, const RIGHT: i32>(Eight(word): Eight) -> Eight {
    Eight(_mm256_or_si256(
        _mm256_slli_epi32::<LEFT>(word),
        _mm256_srli_epi32::<RIGHT>(word),
    ))
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor_into(words: [Eight; 16], text: &mut [[u8; BLOCK]]) {
    let (halves, _) = words.as_chunks();
    for (half, words) in halves.iter().enumerate() {
        for (text, stream) in text.iter_mut().zip(transposed(words)) {
            let part: &mut [u8; 32] = &mut text.as_chunks_mut().0[half];
            let to = part.as_mut_ptr().cast();
            // SAFETY: the part has 32 bytes.
            let part = unsafe { _mm256_loadu_si256(to) };
            let part = _mm256_xor_si256(part, stream);
            // SAFETY: the part has 32 bytes.
            unsafe { _mm256_storeu_si256(to, part) };
        }
    }
}

/// From a word of each block in a vector to the words of one block in a vector.
#[inline]
#[target_feature(enable = "avx2")]
fn transposed(words: &[Eight; 8]) -> [__m256i; 8] {
    // Each four words, of the blocks 0 and 4, 1 and 5, and so on.
    let mut fours = [[_mm256_setzero_si256(); 4]; 2];
    let (words, _) = words.as_chunks::<4>();
    for (four, &[Eight(a), Eight(b), Eight(c), Eight(d)]) in fours.iter_mut().zip(words) {
        let (ab, cd) = (_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm256_unpackhi_epi32(a, b), _mm256_unpackhi_epi32(c, d));
        *four = [
            _mm256_unpacklo_epi64(ab, cd),
            _mm256_unpackhi_epi64(ab, cd),
            _mm256_unpacklo_epi64(ab_high, cd_high),
            _mm256_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    let [first, last] = fours;
    let mut blocks = [_mm256_setzero_si256(); 8];
    for at in 0..4 {
        blocks[at] = _mm256_permute2x128_si256::<0x20>(first[at], last[at]);
        blocks[at + 4] = _mm256_permute2x128_si256::<0x31>(first[at], last[at]);
    }
    blocks
}

/// Four sums side by side, of each fourth block: limbs of 26 bits, as there are products of 32 bits only.
pub(crate) struct FourSums {
    sums: [__m256i; 5],
    /// Whether anything was added; before, the sum is still in the first lane.
    started: bool,
    /// The fourth power of the key, and five times its limbs but the first.
    key: [__m256i; 5],
    key_5: [__m256i; 4],
}

/// What is added at once.
const STEP: usize = 4 * poly1305::BLOCK;

impl Accumulator for FourSums {
    type Proof = Avx2;
    const STEP: usize = STEP;

    #[inline(always)]
    fn new(Avx2(()): Avx2, poly: &mut Poly1305) -> Self {
        // SAFETY: the proof shows that there is AVX2.
        unsafe { start(poly) }
    }

    #[inline(always)]
    fn absorb<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (steps, rest) = bytes.as_chunks();
        for step in steps {
            // SAFETY: who has sums has AVX2.
            unsafe { absorb(self, step) };
        }
        rest
    }

    #[inline(always)]
    fn finish(self, poly: &mut Poly1305) {
        // SAFETY: who has sums has AVX2.
        unsafe { finish(self, poly) };
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn start(poly: &mut Poly1305) -> FourSums {
    let sums = limbs_26(poly.sum).map(|limb| _mm256_set_epi64x(0, 0, 0, limb));
    let key = limbs_26(poly.powers()[3]).map(|limb| _mm256_set1_epi64x(limb));
    FourSums {
        sums,
        started: false,
        key,
        key_5: times_5(key),
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn absorb(sums: &mut FourSums, bytes: &[u8; STEP]) {
    let text = limbs_of_blocks(bytes);
    if sums.started {
        sums.sums = times_plus(sums.sums, sums.key, sums.key_5, text);
    } else {
        for (sum, limb) in sums.sums.iter_mut().zip(text) {
            *sum = _mm256_add_epi64(*sum, limb);
        }
    }
    sums.started = true;
}

#[inline]
#[target_feature(enable = "avx2")]
fn finish(sums: FourSums, poly: &mut Poly1305) {
    if !sums.started {
        return;
    }
    // The lanes have the blocks 0, 2, 1 and 3 of four, of which the last one was added last.
    let [first, second, third, fourth, ..] = poly.powers().map(limbs_26);
    let key =
        core::array::from_fn(|at| _mm256_set_epi64x(first[at], third[at], second[at], fourth[at]));
    let sums = times_plus(sums.sums, key, times_5(key), [_mm256_setzero_si256(); 5]);
    poly.sum = of_limbs_26(sums.map(|sum| added_up(sum)));
}

/// What `limbs_of_blocks` and `finish` agree on is the order of the blocks in the lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn limbs_of_blocks(bytes: &[u8; STEP]) -> [__m256i; 5] {
    let (halves, _) = bytes.as_chunks::<32>();
    let half = |at: usize| {
        // SAFETY: half of the bytes are 32.
        unsafe { _mm256_loadu_si256(halves[at].as_ptr().cast()) }
    };
    let (low, high) = (
        _mm256_unpacklo_epi64(half(0), half(1)),
        _mm256_unpackhi_epi64(half(0), half(1)),
    );
    let mask = _mm256_set1_epi64x(MASK_26);
    let middle = _mm256_or_si256(_mm256_srli_epi64::<52>(low), _mm256_slli_epi64::<12>(high));
    [
        _mm256_and_si256(low, mask),
        _mm256_and_si256(_mm256_srli_epi64::<26>(low), mask),
        _mm256_and_si256(middle, mask),
        _mm256_and_si256(_mm256_srli_epi64::<14>(high), mask),
        _mm256_or_si256(_mm256_srli_epi64::<40>(high), _mm256_set1_epi64x(1 << 24)),
    ]
}

/// Products of limbs of up to 28 bits, plus more.
#[inline]
#[target_feature(enable = "avx2")]
fn times_plus(
    [a, b, c, d, e]: [__m256i; 5],
    [k, l, m, n, o]: [__m256i; 5],
    [l5, m5, n5, o5]: [__m256i; 4],
    [p, q, r, s, t]: [__m256i; 5],
) -> [__m256i; 5] {
    let add = |a, b| _mm256_add_epi64(a, b);
    let by = |a, b| _mm256_mul_epu32(a, b);
    let sum = |p, a, b, c, d, e| add(add(add(p, a), add(b, c)), add(d, e));
    let p = sum(p, by(a, k), by(b, o5), by(c, n5), by(d, m5), by(e, l5));
    let q = sum(q, by(a, l), by(b, k), by(c, o5), by(d, n5), by(e, m5));
    let r = sum(r, by(a, m), by(b, l), by(c, k), by(d, o5), by(e, n5));
    let s = sum(s, by(a, n), by(b, m), by(c, l), by(d, k), by(e, o5));
    let t = sum(t, by(a, o), by(b, n), by(c, m), by(d, l), by(e, k));

    let mask = _mm256_set1_epi64x(MASK_26);
    let (low, high) = (
        |a| _mm256_and_si256(a, mask),
        |a| _mm256_srli_epi64::<26>(a),
    );
    let (q, t) = (add(q, high(p)), add(t, high(s)));
    let (r, beyond) = (add(r, high(q)), high(t));
    let p = add(low(p), add(beyond, _mm256_slli_epi64::<2>(beyond)));
    let s = add(low(s), high(r));
    [
        low(p),
        add(low(q), high(p)),
        low(r),
        low(s),
        add(low(t), high(s)),
    ]
}

#[inline]
#[target_feature(enable = "avx2")]
fn times_5([_, l, m, n, o]: [__m256i; 5]) -> [__m256i; 4] {
    [l, m, n, o].map(|limb| _mm256_add_epi64(limb, _mm256_slli_epi64::<2>(limb)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn added_up(lanes: __m256i) -> u64 {
    let two = _mm_add_epi64(
        _mm256_castsi256_si128(lanes),
        _mm256_extracti128_si256::<1>(lanes),
    );
    let one = _mm_add_epi64(two, _mm_unpackhi_epi64(two, two));
    _mm_cvtsi128_si64(one).cast_unsigned()
}

const MASK_26: i64 = (1 << 26) - 1;

/// A number in limbs of 26 bits; the fourth may be a little longer.
fn limbs_26(number: Number) -> [i64; 5] {
    let Number([a, b, c]) = number.carried();
    let mask = MASK_26.cast_unsigned();
    [
        a & mask,
        (a >> 26) + ((b & 0xff) << 18),
        (b >> 8) & mask,
        (b >> 34) + ((c & 0xffff) << 10),
        c >> 16,
    ]
    .map(u64::cast_signed)
}

/// The number of limbs that have grown to 32 bits.
fn of_limbs_26([a, b, c, d, e]: [u64; 5]) -> Number {
    Number([a + (b << 26), (c << 8) + (d << 34), e << 16])
        .carried()
        .carried()
}
