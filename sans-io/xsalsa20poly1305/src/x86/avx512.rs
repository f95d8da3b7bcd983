//! Sixteen blocks of the key stream side by side, and sixteen of the authenticator in two vectors.

use core::arch::x86_64::*;

use crate::poly1305::{self, Accumulator, MASK_42, MASK_44, Number, Poly1305};
use crate::salsa20::{BLOCK, Lanes};

/// The processor has AVX-512F.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        crate::backend::has!("avx512f").then_some(Self(()))
    }
}

/// The processor has AVX-512F, and its products of 52 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ifma(());

impl Ifma {
    pub(crate) fn detect() -> Option<Self> {
        (crate::backend::has!("avx512f") && crate::backend::has!("avx512ifma")).then_some(Self(()))
    }
}

/// A word of sixteen blocks.
#[derive(Clone, Copy)]
pub(crate) struct Sixteen(__m512i);

impl Lanes for Sixteen {
    type Proof = Avx512;
    const BLOCKS: usize = 16;

    #[inline(always)]
    fn splat(Avx512(()): Avx512, word: u32) -> Self {
        // SAFETY: the proof shows that there is AVX-512F.
        Self(unsafe { _mm512_set1_epi32(word.cast_signed()) })
    }

    #[inline(always)]
    fn from_fn(Avx512(()): Avx512, word: impl Fn(u64) -> u32) -> Self {
        let mut words = [0; 16];
        for (lane, to) in (0..).zip(&mut words) {
            *to = word(lane);
        }
        // SAFETY: the proof shows that there is AVX-512F, and the array has 64 bytes.
        Self(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: who has lanes has AVX-512F.
        Self(unsafe { _mm512_add_epi32(self.0, other.0) })
    }

    #[inline(always)]
    fn xor(self, other: Self) -> Self {
        // SAFETY: who has lanes has AVX-512F.
        Self(unsafe { _mm512_xor_si512(self.0, other.0) })
    }

    #[inline(always)]
    fn rotate<const LEFT: i32, const RIGHT: i32>(self) -> Self {
        // SAFETY: who has lanes has AVX-512F.
        Self(unsafe { _mm512_rol_epi32::<LEFT>(self.0) })
    }

    #[inline(always)]
    fn xor_into(words: [Self; 16], text: &mut [[u8; BLOCK]]) {
        // SAFETY: who has lanes has AVX-512F.
        unsafe { xor_into(words, text) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn xor_into(words: [Sixteen; 16], text: &mut [[u8; BLOCK]]) {
    for (text, stream) in text.iter_mut().zip(transposed(words)) {
        let to = text.as_mut_ptr().cast();
        // SAFETY: a block has 64 bytes.
        let block = unsafe { _mm512_loadu_si512(to) };
        let block = _mm512_xor_si512(block, stream);
        // SAFETY: a block has 64 bytes.
        unsafe { _mm512_storeu_si512(to, block) };
    }
}

/// From a word of each block in a vector to the words of one block in a vector.
#[inline]
#[target_feature(enable = "avx512f")]
fn transposed(words: [Sixteen; 16]) -> [__m512i; 16] {
    // Each four words, of the blocks 0, 4, 8 and 12, of the blocks 1, 5, 9 and 13, and so on.
    let mut fours = [[_mm512_setzero_si512(); 4]; 4];
    let (words, _) = words.as_chunks::<4>();
    for (four, &[Sixteen(a), Sixteen(b), Sixteen(c), Sixteen(d)]) in fours.iter_mut().zip(words) {
        let (ab, cd) = (_mm512_unpacklo_epi32(a, b), _mm512_unpacklo_epi32(c, d));
        let (ab_high, cd_high) = (_mm512_unpackhi_epi32(a, b), _mm512_unpackhi_epi32(c, d));
        *four = [
            _mm512_unpacklo_epi64(ab, cd),
            _mm512_unpackhi_epi64(ab, cd),
            _mm512_unpacklo_epi64(ab_high, cd_high),
            _mm512_unpackhi_epi64(ab_high, cd_high),
        ];
    }
    let [e, f, g, h] = fours;
    let mut blocks = [_mm512_setzero_si512(); 16];
    for at in 0..4 {
        // Eight words of two of these blocks, then all sixteen of one.
        let low = _mm512_shuffle_i32x4::<0b10_00_10_00>(e[at], f[at]);
        let low_odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(e[at], f[at]);
        let high = _mm512_shuffle_i32x4::<0b10_00_10_00>(g[at], h[at]);
        let high_odd = _mm512_shuffle_i32x4::<0b11_01_11_01>(g[at], h[at]);
        blocks[at] = _mm512_shuffle_i32x4::<0b10_00_10_00>(low, high);
        blocks[at + 4] = _mm512_shuffle_i32x4::<0b10_00_10_00>(low_odd, high_odd);
        blocks[at + 8] = _mm512_shuffle_i32x4::<0b11_01_11_01>(low, high);
        blocks[at + 12] = _mm512_shuffle_i32x4::<0b11_01_11_01>(low_odd, high_odd);
    }
    blocks
}

/// Sixteen sums side by side, of each sixteenth block.
pub(crate) struct SixteenSums {
    /// Those of the first eight blocks of sixteen, and those of the last eight.
    sums: [[__m512i; 3]; 2],
    /// Whether anything was added; before, the sum is still in the first lane.
    started: bool,
    key: Factor,
}

/// The limbs of a number in each lane, and twenty times its limbs but the first.
#[derive(Clone, Copy)]
struct Factor {
    limbs: [__m512i; 3],
    times_20: [__m512i; 2],
}

const EIGHT_BLOCKS: usize = 8 * poly1305::BLOCK;

impl Accumulator for SixteenSums {
    type Proof = Ifma;
    const STEP: usize = 2 * EIGHT_BLOCKS;

    #[inline(always)]
    fn new(Ifma(()): Ifma, poly: &mut Poly1305) -> Self {
        // SAFETY: the proof shows that there are AVX-512F and AVX-512IFMA.
        unsafe { start(poly) }
    }

    #[inline(always)]
    fn absorb<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (blocks, _) = bytes.as_chunks();
        let (steps, _) = blocks.as_chunks();
        for step in steps {
            // SAFETY: who has sums has AVX-512F and AVX-512IFMA.
            unsafe { absorb(self, step) };
        }
        &bytes[steps.len() * Self::STEP..]
    }

    #[inline(always)]
    fn finish(self, poly: &mut Poly1305) {
        // SAFETY: who has sums has AVX-512F and AVX-512IFMA.
        unsafe { finish(self, poly) };
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn start(poly: &mut Poly1305) -> SixteenSums {
    let zero = _mm512_setzero_si512();
    let sum = poly
        .sum
        .0
        .map(|limb| _mm512_set_epi64(0, 0, 0, 0, 0, 0, 0, limb.cast_signed()));
    let eighth = poly.powers()[7];
    SixteenSums {
        sums: [sum, [zero; 3]],
        started: false,
        key: Factor::splat(eighth.times(eighth)),
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn absorb(sums: &mut SixteenSums, [first, last]: &[[u8; EIGHT_BLOCKS]; 2]) {
    let [a, b] = &mut sums.sums;
    let (first, last) = (limbs_of_blocks(first), limbs_of_blocks(last));
    if sums.started {
        (*a, *b) = (
            times_plus(*a, sums.key, first),
            times_plus(*b, sums.key, last),
        );
    } else {
        for (sum, limb) in a.iter_mut().zip(first) {
            *sum = _mm512_add_epi64(*sum, limb);
        }
        *b = last;
    }
    sums.started = true;
}

#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn finish(sums: SixteenSums, poly: &mut Poly1305) {
    if !sums.started {
        return;
    }
    let powers = poly.powers();
    let [first, last] = sums.sums;
    let sum = times_plus(first, Factor::splat(powers[7]), last);
    // The lanes have the blocks 0, 4, 1, 5, 2, 6, 3 and 7 of eight, of which the last one was added last.
    let lanes = [8, 4, 7, 3, 6, 2, 5, 1].map(|power: usize| powers[power - 1]);
    let limbs = core::array::from_fn(|at| {
        let limbs = lanes.map(|Number(limbs)| limbs[at]);
        // SAFETY: the array has 64 bytes.
        unsafe { _mm512_loadu_si512(limbs.as_ptr().cast()) }
    });
    let zero = [_mm512_setzero_si512(); 3];
    let sum = times_plus(sum, Factor::new(limbs), zero);
    let sum = sum.map(|limbs| _mm512_reduce_add_epi64(limbs).cast_unsigned());
    poly.sum = Number(sum).carried();
}

impl Factor {
    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn new(limbs: [__m512i; 3]) -> Self {
        let [_, b, c] = limbs;
        let times_20 = |limb| {
            let times_4 = _mm512_slli_epi64::<2>(limb);
            _mm512_add_epi64(times_4, _mm512_slli_epi64::<4>(limb))
        };
        Self {
            limbs,
            times_20: [times_20(b), times_20(c)],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512ifma")]
    fn splat(Number(limbs): Number) -> Self {
        Self::new(limbs.map(|limb| _mm512_set1_epi64(limb.cast_signed())))
    }
}

/// What `limbs_of_blocks` and `finish` agree on is the order of the blocks in the lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn limbs_of_blocks(bytes: &[u8; EIGHT_BLOCKS]) -> [__m512i; 3] {
    let (halves, _) = bytes.as_chunks::<64>();
    let half = |at: usize| {
        // SAFETY: half of the bytes are 64.
        unsafe { _mm512_loadu_si512(halves[at].as_ptr().cast()) }
    };
    let (low, high) = (
        _mm512_unpacklo_epi64(half(0), half(1)),
        _mm512_unpackhi_epi64(half(0), half(1)),
    );
    let mask = _mm512_set1_epi64(MASK_44.cast_signed());
    let middle = _mm512_or_si512(_mm512_srli_epi64::<44>(low), _mm512_slli_epi64::<20>(high));
    [
        _mm512_and_si512(low, mask),
        _mm512_and_si512(middle, mask),
        _mm512_or_si512(_mm512_srli_epi64::<24>(high), _mm512_set1_epi64(1 << 40)),
    ]
}

/// Products of limbs of up to 47 bits, plus more: the low 52 bits and the high ones are added up apart.
#[inline]
#[target_feature(enable = "avx512f,avx512ifma")]
fn times_plus(
    [a, b, c]: [__m512i; 3],
    Factor {
        limbs: [k, l, m],
        times_20: [l20, m20],
    }: Factor,
    [p, q, r]: [__m512i; 3],
) -> [__m512i; 3] {
    let zero = _mm512_setzero_si512();
    let low = |sum, a, b| _mm512_madd52lo_epu64(sum, a, b);
    let high = |sum, a, b| _mm512_madd52hi_epu64(sum, a, b);
    let p_low = low(low(low(p, a, k), b, m20), c, l20);
    let p_high = high(high(high(zero, a, k), b, m20), c, l20);
    let q_low = low(low(low(q, a, l), b, k), c, m20);
    let q_high = high(high(high(zero, a, l), b, k), c, m20);
    let r_low = low(low(low(r, a, m), b, l), c, k);
    let r_high = high(high(high(zero, a, m), b, l), c, k);

    let add = |a, b| _mm512_add_epi64(a, b);
    let mask_44 = _mm512_set1_epi64(MASK_44.cast_signed());
    let mask_42 = _mm512_set1_epi64(MASK_42.cast_signed());
    // The high bits are worth 2⁵², which is 2⁸ of the next limb, and 2¹⁰ of what is beyond 2¹³⁰.
    let above = add(
        _mm512_srli_epi64::<44>(p_low),
        _mm512_slli_epi64::<8>(p_high),
    );
    let q = add(q_low, above);
    let above = add(_mm512_srli_epi64::<44>(q), _mm512_slli_epi64::<8>(q_high));
    let r = add(r_low, above);
    let beyond = add(_mm512_srli_epi64::<42>(r), _mm512_slli_epi64::<10>(r_high));
    let p = add(
        _mm512_and_si512(p_low, mask_44),
        add(beyond, _mm512_slli_epi64::<2>(beyond)),
    );
    [
        _mm512_and_si512(p, mask_44),
        add(_mm512_and_si512(q, mask_44), _mm512_srli_epi64::<44>(p)),
        _mm512_and_si512(r, mask_42),
    ]
}
