//! Which vectors the processor has.

use core::fmt;

#[cfg(all(
    target_arch = "aarch64",
    target_feature = "neon",
    target_endian = "little"
))]
use crate::neon;
use crate::one_pass::{Ciphers, Direction};
use crate::poly1305::OneByOne;
#[cfg(target_arch = "x86_64")]
use crate::x86::{
    avx2::{Avx2, Eight, FourSums},
    avx512::{Avx512, Ifma, Sixteen, SixteenSums},
    sse2::{self, Sse2},
};

/// Whether the processor, or the one that the program is compiled for, has a feature.
#[cfg(target_arch = "x86_64")]
macro_rules! has {
    ($feature:tt) => {{
        #[cfg(feature = "std")]
        let has = std::arch::is_x86_feature_detected!($feature);
        #[cfg(not(feature = "std"))]
        let has = cfg!(target_feature = $feature);
        has
    }};
}
#[cfg(target_arch = "x86_64")]
pub(crate) use has;

/// A way to compute that this processor has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Backend(Kind);

/// The proofs are in the variants: without them, there is no way to name what the processor does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Sse2(Sse2),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512, Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512Ifma(Avx512, Ifma),
    #[cfg(all(
        target_arch = "aarch64",
        target_feature = "neon",
        target_endian = "little"
    ))]
    Neon(neon::Neon),
}

/// Shorter texts are not worth the powers of the key.
#[cfg(target_arch = "x86_64")]
const LONG: usize = 512;

impl Backend {
    /// The fastest one.
    #[must_use]
    pub fn detect() -> Self {
        Self::available().next().unwrap_or(Self(Kind::Portable))
    }

    /// All of them, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors = {
            let (avx512, avx2) = (Avx512::detect(), Avx2::detect());
            [
                avx512
                    .zip(Ifma::detect())
                    .map(|(a, b)| Kind::Avx512Ifma(a, b)),
                avx512.zip(avx2).map(|(a, b)| Kind::Avx512(a, b)),
                avx2.map(Kind::Avx2),
                Some(Kind::Sse2(Sse2)),
            ]
        };
        #[cfg(all(
            target_arch = "aarch64",
            target_feature = "neon",
            target_endian = "little"
        ))]
        let vectors = [Some(Kind::Neon(neon::Neon))];
        #[cfg(not(any(
            target_arch = "x86_64",
            all(
                target_arch = "aarch64",
                target_feature = "neon",
                target_endian = "little"
            )
        )))]
        let vectors = [None];
        vectors
            .into_iter()
            .flatten()
            .chain([Kind::Portable])
            .map(Self)
    }

    /// Applies both ciphers to a text that starts with a block of both.
    pub(crate) fn apply(self, ciphers: &mut Ciphers, direction: Direction, text: &mut [u8]) {
        match self.0 {
            Kind::Portable => portable(ciphers, direction, text),
            #[cfg(target_arch = "x86_64")]
            Kind::Sse2(sse2) => {
                ciphers.apply::<sse2::Four, OneByOne>(sse2, (), direction, text);
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(avx2) => {
                // SAFETY: the proof shows that there is AVX2.
                unsafe { with_avx2(avx2, ciphers, direction, text) }
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(avx512, avx2) => {
                // SAFETY: the proofs show that there are AVX-512F and AVX2.
                unsafe { with_avx512(avx512, avx2, ciphers, direction, text) }
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Ifma(avx512, ifma) => {
                // SAFETY: the proofs show that there are AVX-512F and AVX-512IFMA.
                unsafe { with_ifma(avx512, ifma, ciphers, direction, text) }
            }
            #[cfg(all(
                target_arch = "aarch64",
                target_feature = "neon",
                target_endian = "little"
            ))]
            Kind::Neon(neon) => {
                ciphers.apply::<neon::Four, OneByOne>(neon, (), direction, text);
            }
        }
    }
}

fn portable(ciphers: &mut Ciphers, direction: Direction, text: &mut [u8]) {
    ciphers.apply::<u32, OneByOne>((), (), direction, text);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2(avx2: Avx2, ciphers: &mut Ciphers, direction: Direction, text: &mut [u8]) {
    if text.len() < LONG {
        ciphers.apply::<Eight, OneByOne>(avx2, (), direction, text);
    } else {
        ciphers.apply::<Eight, FourSums>(avx2, avx2, direction, text);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2")]
fn with_avx512(
    avx512: Avx512,
    avx2: Avx2,
    ciphers: &mut Ciphers,
    direction: Direction,
    text: &mut [u8],
) {
    if text.len() < LONG {
        ciphers.apply::<Sixteen, OneByOne>(avx512, (), direction, text);
    } else {
        ciphers.apply::<Sixteen, FourSums>(avx512, avx2, direction, text);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512ifma")]
fn with_ifma(
    avx512: Avx512,
    ifma: Ifma,
    ciphers: &mut Ciphers,
    direction: Direction,
    text: &mut [u8],
) {
    if text.len() < LONG {
        ciphers.apply::<Sixteen, OneByOne>(avx512, (), direction, text);
    } else {
        ciphers.apply::<Sixteen, SixteenSums>(avx512, ifma, direction, text);
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Kind::Sse2(_) => "SSE2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(..) => "AVX-512F with AVX2",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Ifma(..) => "AVX-512F with IFMA",
            #[cfg(all(
                target_arch = "aarch64",
                target_feature = "neon",
                target_endian = "little"
            ))]
            Kind::Neon(_) => "NEON",
        })
    }
}
