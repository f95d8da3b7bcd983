//! What was secret is overwritten.

use core::sync::atomic::{Ordering, compiler_fence};

/// Overwrites numbers with zeros, even if nobody reads them again. The crate `zeroize` does the same a number at a time, which for a
/// kilobyte of key stream takes longer than to make it.
pub(crate) fn erase<T: Zeros>(secret: &mut T) {
    // SAFETY: a reference is valid for writes and aligned, and what is overwritten needs no drop.
    unsafe { core::ptr::write_volatile(secret, T::ZEROS) };
    compiler_fence(Ordering::SeqCst);
}

/// Numbers, and arrays of them.
pub(crate) trait Zeros: Copy {
    const ZEROS: Self;
}

impl Zeros for u8 {
    const ZEROS: Self = 0;
}

impl Zeros for u32 {
    const ZEROS: Self = 0;
}

impl Zeros for u64 {
    const ZEROS: Self = 0;
}

impl<T: Zeros, const N: usize> Zeros for [T; N] {
    const ZEROS: Self = [T::ZEROS; N];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left() {
        let mut secret = [[7_u8; 64]; 3];
        erase(&mut secret);
        assert_eq!(secret, [[0; 64]; 3]);
    }
}
