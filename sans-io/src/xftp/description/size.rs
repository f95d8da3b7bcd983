//! Sizes of files as text.

use std::fmt;
use std::str::FromStr;

use crate::wire::text::TextError;

/// A number of bytes, written with the largest unit that leaves no rest: `64kb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileSize(pub u64);

const UNITS: [(&str, u32); 3] = [("gb", 30), ("mb", 20), ("kb", 10)];

impl fmt::Display for FileSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes) = *self;
        let whole = |&(_, bits): &(&str, u32)| bytes.trailing_zeros() >= bits;
        match UNITS.into_iter().find(whole) {
            Some((unit, bits)) => write!(f, "{}{unit}", bytes >> bits),
            None => bytes.fmt(f),
        }
    }
}

impl FromStr for FileSize {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let with_unit = |(unit, bits)| text.strip_suffix(unit).map(|number| (number, bits));
        let (number, bits) = UNITS.into_iter().find_map(with_unit).unwrap_or((text, 0));
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(TextError::Number);
        }
        let number: u64 = number.parse().map_err(|_| TextError::Number)?;
        let unit = 1_u64.checked_shl(bits).ok_or(TextError::Number)?;
        number.checked_mul(unit).map(Self).ok_or(TextError::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn sizes_come_back(bytes: u64) {
            prop_assert_eq!(FileSize(bytes).to_string().parse(), Ok(FileSize(bytes)));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(
            "18446744073709551615gb".parse::<FileSize>(),
            Err(TextError::Number)
        );
    }
}
