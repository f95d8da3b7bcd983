//! Padding: a length, the content, and filler up to a fixed size, so that sizes tell nothing.

use bytes::{BufMut, BytesMut};

const FILLER: u8 = b'#';

/// The bytes of the length in front of padded content.
pub const LENGTH: usize = 2;
/// The most content that can be padded, whatever the size.
pub const MAX_CONTENT: usize = 65533;

/// Padding that is not possible, or not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaddingError {
    /// The content is larger than what it is padded to.
    #[error("{0} bytes do not fit into {1} padded bytes")]
    TooLarge(usize, usize),
    /// The length says more than there is.
    #[error("the padded length is invalid")]
    Invalid,
}

/// Appends `content`, padded to `size` bytes.
pub fn put(content: &[u8], size: usize, out: &mut BytesMut) -> Result<(), PaddingError> {
    put_with(size, out, |out| out.put_slice(content))
}

/// Appends what `put` appends, padded to `size` bytes; if it does not fit, nothing.
pub fn put_with(
    size: usize,
    out: &mut BytesMut,
    put: impl FnOnce(&mut BytesMut),
) -> Result<(), PaddingError> {
    let start = out.len();
    let end = start.saturating_add(size);
    out.put_u16(0);
    let content = out.len();
    put(out);
    let length = out.len().saturating_sub(content);
    let announced = u16::try_from(length)
        .ok()
        .filter(|_| length <= MAX_CONTENT && out.len() <= end);
    match (announced, out.get_mut(start..content)) {
        (Some(announced), Some(place)) => {
            place.copy_from_slice(&announced.to_be_bytes());
            out.resize(end, FILLER);
            Ok(())
        }
        (Some(_) | None, _) => {
            out.truncate(start);
            Err(PaddingError::TooLarge(length, size))
        }
    }
}

/// The content, padded to `size` bytes.
pub fn pad(content: &[u8], size: usize) -> Result<BytesMut, PaddingError> {
    let mut padded = BytesMut::with_capacity(size);
    put(content, size, &mut padded)?;
    Ok(padded)
}

/// The content of padded bytes; the filler is not looked at.
pub fn unpad(padded: &[u8]) -> Result<&[u8], PaddingError> {
    let (length, rest) = padded.split_first_chunk().ok_or(PaddingError::Invalid)?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
        .ok_or(PaddingError::Invalid)
}

/// The first `length` bytes of the content after a length of eight bytes, padded to `size` bytes.
///
/// Files are padded like this; the content may be shorter than announced when its header stands elsewhere.
pub fn pad_long(content: &[u8], length: i64, size: usize) -> Result<BytesMut, PaddingError> {
    let announced =
        usize::try_from(length).map_err(|_| PaddingError::TooLarge(content.len(), size))?;
    let content = content.get(..announced).unwrap_or(content);
    let filler = size
        .checked_sub(8)
        .and_then(|room| room.checked_sub(announced))
        .ok_or(PaddingError::TooLarge(announced, size))?;
    let mut padded = BytesMut::with_capacity(size);
    padded.put_i64(length);
    padded.put_slice(content);
    padded.put_bytes(FILLER, filler);
    Ok(padded)
}

/// The content after a length of eight bytes; as much of it as is there.
pub fn unpad_long(padded: &[u8]) -> Result<&[u8], PaddingError> {
    let (length, rest) = padded.split_first_chunk().ok_or(PaddingError::Invalid)?;
    let length = usize::try_from(i64::from_be_bytes(*length)).map_err(|_| PaddingError::Invalid)?;
    Ok(rest.get(..length).unwrap_or(rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_was_padded_comes_back(content in prop::collection::vec(any::<u8>(), 0..300), room in 0..300_usize) {
            let size = content.len() + LENGTH + room;
            let padded = pad(&content, size).unwrap();
            prop_assert_eq!(padded.len(), size);
            prop_assert_eq!(unpad(&padded).unwrap(), &content);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = unpad(&bytes);
            let _ = unpad_long(&bytes);
        }
    }
}
