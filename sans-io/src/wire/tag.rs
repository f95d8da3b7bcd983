//! The tags of declared enums: what [`wire!`](crate::wire!) expands to.

use super::{Parsed, WireError};

/// What follows the word `tag`, if the input begins with that word: up to a space or the end.
#[must_use]
pub fn word<'a>(tag: &str, input: &'a [u8]) -> Option<&'a [u8]> {
    let rest = input.strip_prefix(tag.as_bytes())?;
    matches!(rest.first(), None | Some(b' ')).then_some(rest)
}

/// What follows `tag`, if the input begins with it.
#[must_use]
pub fn prefix<'a>(tag: &str, input: &'a [u8]) -> Option<&'a [u8]> {
    input.strip_prefix(tag.as_bytes())
}

/// Steps over the space between a word and its parameters.
pub fn parameters_of_word(input: &[u8]) -> Result<&[u8], nom::Err<WireError>> {
    input
        .strip_prefix(b" ")
        .ok_or(nom::Err::Error(WireError::Incomplete))
}

/// Parameters follow a prefix at once.
pub fn parameters_of_prefix(input: &[u8]) -> Result<&[u8], nom::Err<WireError>> {
    Ok(input)
}

/// What stands between a tag and its parameters.
pub mod separate {
    use bytes::{BufMut, BytesMut};

    /// A space.
    pub fn word(out: &mut BytesMut) {
        out.put_u8(b' ');
    }

    /// Nothing.
    pub fn prefix(_: &mut BytesMut) {}
}

/// One of `choices` at random.
#[cfg(any(test, feature = "sim"))]
#[expect(
    clippy::indexing_slicing,
    reason = "a declared enum has variants, and the index is below their number"
)]
pub fn choose<T: Copy>(choices: &[T], rng: &mut crate::rng::Rng) -> T {
    let count = u32::try_from(choices.len()).unwrap_or(u32::MAX);
    choices[usize::try_from(rng.below(count)).unwrap_or_default()]
}

/// Exactly `count` bytes.
pub fn take(count: usize, input: &[u8]) -> Parsed<'_, &[u8]> {
    match input.split_at_checked(count) {
        Some((taken, rest)) => Ok((rest, taken)),
        None => WireError::Incomplete.fail(),
    }
}
