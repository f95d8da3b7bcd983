//! DER, the encoding of certificates and keys: as much of it as they need, and strictly.
//!
//! Lengths are definite and minimal, tags have one byte, and nothing may follow what was read. An encoding that passes here is
//! therefore the only one of its value, and writing the value again gives the same bytes.
//!
//! ```
//! use simplex_sans_io::crypto::der::{Reader, Tag, Writer};
//!
//! let mut writer = Writer::default();
//! writer.nested(Tag::SEQUENCE, |inner| {
//!     inner.element(Tag::INTEGER, &[1]);
//! });
//! let encoded = writer.into_bytes();
//! assert_eq!(encoded, [0x30, 3, 0x02, 1, 1]);
//!
//! let mut reader = Reader::new(&encoded);
//! let mut sequence = reader.nested(Tag::SEQUENCE)?;
//! reader.finish()?;
//! assert_eq!(sequence.element(Tag::INTEGER)?, [1]);
//! sequence.finish()?;
//! # Ok::<(), simplex_sans_io::crypto::der::DerError>(())
//! ```

use std::fmt;

/// The first byte of an element: its type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tag(u8);

impl Tag {
    /// BOOLEAN.
    pub const BOOLEAN: Self = Self(0x01);
    /// INTEGER.
    pub const INTEGER: Self = Self(0x02);
    /// BIT STRING.
    pub const BIT_STRING: Self = Self(0x03);
    /// OCTET STRING.
    pub const OCTET_STRING: Self = Self(0x04);
    /// OBJECT IDENTIFIER.
    pub const OBJECT_IDENTIFIER: Self = Self(0x06);
    /// UTF8String.
    pub const UTF8_STRING: Self = Self(0x0c);
    /// PrintableString.
    pub const PRINTABLE_STRING: Self = Self(0x13);
    /// UTCTime.
    pub const UTC_TIME: Self = Self(0x17);
    /// GeneralizedTime.
    pub const GENERALIZED_TIME: Self = Self(0x18);
    /// SEQUENCE.
    pub const SEQUENCE: Self = Self(0x30);
    /// SET.
    pub const SET: Self = Self(0x31);

    /// The tag `[number]` of an element that wraps others.
    #[must_use]
    pub const fn constructed(number: u8) -> Self {
        Self(0xa0 | (number & NUMBER))
    }

    /// The tag `[number]` of an element that holds a value.
    #[must_use]
    pub const fn primitive(number: u8) -> Self {
        Self(0x80 | (number & NUMBER))
    }
}

const NUMBER: u8 = 0x1f;

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#04x}", self.0)
    }
}

/// Why bytes are not the DER that was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DerError {
    /// The bytes end before the element does.
    #[error("an element is cut short")]
    Truncated,
    /// A length is indefinite, not minimal, or larger than any certificate.
    #[error("a length is not in its one valid form")]
    Length,
    /// Another type of element was expected.
    #[error("expected an element with tag {expected:?}")]
    Unexpected {
        /// What should have stood there.
        expected: Tag,
    },
    /// Something follows the last element.
    #[error("something follows the last element")]
    Trailing,
    /// The content of an element has no valid meaning.
    #[error("the content of an element is not valid")]
    Value,
}

/// Reads elements one after the other.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The content of the next element, which must have this tag.
    pub fn element(&mut self, tag: Tag) -> Result<&'a [u8], DerError> {
        match self.next()? {
            (found, content) if found == tag => Ok(content),
            _ => Err(DerError::Unexpected { expected: tag }),
        }
    }

    /// The content of the next element if it has this tag.
    pub fn optional(&mut self, tag: Tag) -> Result<Option<&'a [u8]>, DerError> {
        if self.rest.first() == Some(&tag.0) {
            self.element(tag).map(Some)
        } else {
            Ok(None)
        }
    }

    /// A reader of the elements in the next one, which must have this tag.
    pub fn nested(&mut self, tag: Tag) -> Result<Self, DerError> {
        self.element(tag).map(Self::new)
    }

    /// The next element as it is encoded, tag and length included; it must have this tag.
    pub fn encoded(&mut self, tag: Tag) -> Result<&'a [u8], DerError> {
        let start = self.rest;
        self.element(tag)?;
        let length = start.len().saturating_sub(self.rest.len());
        start.get(..length).ok_or(DerError::Truncated)
    }

    /// The bytes of a BIT STRING that consists of whole bytes.
    pub fn bit_string(&mut self) -> Result<&'a [u8], DerError> {
        match self.element(Tag::BIT_STRING)?.split_first() {
            Some((0, bytes)) => Ok(bytes),
            _ => Err(DerError::Value),
        }
    }

    /// Whether all elements are read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses what follows the last element.
    pub fn finish(self) -> Result<(), DerError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(DerError::Trailing)
        }
    }

    fn next(&mut self) -> Result<(Tag, &'a [u8]), DerError> {
        let (&tag, rest) = self.rest.split_first().ok_or(DerError::Truncated)?;
        if tag & NUMBER == NUMBER {
            return Err(DerError::Value);
        }
        let (length, rest) = length(rest)?;
        let (content, rest) = rest.split_at_checked(length).ok_or(DerError::Truncated)?;
        self.rest = rest;
        Ok((Tag(tag), content))
    }
}

fn length(bytes: &[u8]) -> Result<(usize, &[u8]), DerError> {
    let (&first, rest) = bytes.split_first().ok_or(DerError::Truncated)?;
    let (length, rest, least) = match first {
        0..=LONGEST_SHORT => return Ok((usize::from(first), rest)),
        ONE_BYTE => {
            let (&length, rest) = rest.split_first().ok_or(DerError::Truncated)?;
            (usize::from(length), rest, 128)
        }
        TWO_BYTES => {
            let (&length, rest) = rest.split_first_chunk().ok_or(DerError::Truncated)?;
            (usize::from(u16::from_be_bytes(length)), rest, 0x100)
        }
        _ => return Err(DerError::Length),
    };
    if length < least {
        return Err(DerError::Length);
    }
    Ok((length, rest))
}

/// The largest length that is its own only byte.
const LONGEST_SHORT: u8 = 0x7f;
const INDEFINITE: u8 = 0x80;
const ONE_BYTE: u8 = 0x81;
const TWO_BYTES: u8 = 0x82;

/// Writes elements one after the other.
///
/// Content longer than 65535 bytes does not occur in certificates and keys; it is written with a length that no [`Reader`] accepts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Writes an element.
    pub fn element(&mut self, tag: Tag, content: &[u8]) -> &mut Self {
        self.bytes.push(tag.0);
        match (u8::try_from(content.len()), u16::try_from(content.len())) {
            (Ok(length @ 0..=LONGEST_SHORT), _) => self.bytes.push(length),
            (Ok(length), _) => self.bytes.extend([ONE_BYTE, length]),
            (Err(_), Ok(length)) => {
                self.bytes.push(TWO_BYTES);
                self.bytes.extend(length.to_be_bytes());
            }
            (Err(_), Err(_)) => self.bytes.push(INDEFINITE),
        }
        self.bytes.extend_from_slice(content);
        self
    }

    /// Writes an element that wraps those which `write` writes.
    pub fn nested(&mut self, tag: Tag, write: impl FnOnce(&mut Self)) -> &mut Self {
        let mut inner = Self::default();
        write(&mut inner);
        self.element(tag, &inner.bytes)
    }

    /// Writes elements that are encoded already.
    pub fn encoded(&mut self, elements: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(elements);
        self
    }

    /// Writes whole bytes as a BIT STRING.
    pub fn bit_string(&mut self, bytes: &[u8]) -> &mut Self {
        let mut content = Vec::with_capacity(bytes.len().saturating_add(1));
        content.push(0);
        content.extend_from_slice(bytes);
        self.element(Tag::BIT_STRING, &content)
    }

    /// What was written.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<&[u8], DerError> {
        let mut reader = Reader::new(bytes);
        let content = reader.element(Tag::OCTET_STRING)?;
        reader.finish()?;
        Ok(content)
    }

    #[test]
    fn only_the_shortest_form_of_a_length_is_read() {
        assert_eq!(read(&[4, 0x81, 1, 7]), Err(DerError::Length));
        assert_eq!(read(&[4, 0x82, 0, 1, 7]), Err(DerError::Length));
        assert_eq!(read(&[4, 0x80, 7, 0, 0]), Err(DerError::Length));
        assert_eq!(read(&[4, 0x83, 1, 0, 0, 7]), Err(DerError::Length));
        assert_eq!(read(&[4, 1, 7]), Ok([7].as_slice()));
    }

    #[test]
    fn what_is_cut_short_or_followed_by_something_is_refused() {
        assert_eq!(read(&[]), Err(DerError::Truncated));
        assert_eq!(read(&[4]), Err(DerError::Truncated));
        assert_eq!(read(&[4, 2, 7]), Err(DerError::Truncated));
        assert_eq!(read(&[4, 0x82, 1]), Err(DerError::Truncated));
        assert_eq!(read(&[4, 1, 7, 0]), Err(DerError::Trailing));
    }

    #[test]
    fn another_tag_is_refused_and_an_absent_optional_element_is_not() {
        let expected = Tag::OCTET_STRING;
        assert_eq!(read(&[2, 1, 7]), Err(DerError::Unexpected { expected }));
        assert_eq!(read(&[0x1f, 1, 7]), Err(DerError::Value));
        let mut reader = Reader::new(&[2, 1, 7]);
        assert_eq!(reader.optional(Tag::OCTET_STRING), Ok(None));
        assert_eq!(
            reader.optional(Tag::INTEGER),
            Ok(Some([7].as_slice())),
            "the element is still there"
        );
        assert!(reader.is_empty());
        assert_eq!(reader.optional(Tag::INTEGER), Ok(None));
    }

    #[test]
    fn a_bit_string_consists_of_whole_bytes() {
        assert_eq!(Reader::new(&[3, 2, 0, 7]).bit_string(), Ok([7].as_slice()));
        assert_eq!(
            Reader::new(&[3, 2, 1, 7]).bit_string(),
            Err(DerError::Value)
        );
        assert_eq!(Reader::new(&[3, 0]).bit_string(), Err(DerError::Value));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(content in prop::collection::vec(any::<u8>(), 0..300), large in 0..=0xffff_usize) {
            let large = vec![7; large];
            let mut writer = Writer::default();
            writer
                .nested(Tag::SEQUENCE, |inner| {
                    inner.element(Tag::OCTET_STRING, &content).bit_string(&content);
                })
                .element(Tag::constructed(3), &large);
            let bytes = writer.into_bytes();

            let mut reader = Reader::new(&bytes);
            let encoded = reader.clone().encoded(Tag::SEQUENCE).unwrap();
            let mut inner = reader.nested(Tag::SEQUENCE).unwrap();
            prop_assert_eq!(inner.element(Tag::OCTET_STRING), Ok(content.as_slice()));
            prop_assert_eq!(inner.bit_string(), Ok(content.as_slice()));
            prop_assert_eq!(inner.finish(), Ok(()));
            prop_assert_eq!(reader.element(Tag::constructed(3)), Ok(large.as_slice()));
            prop_assert_eq!(reader.finish(), Ok(()));
            prop_assert!(bytes.starts_with(encoded));
        }

        #[test]
        fn arbitrary_bytes_are_read_in_one_form_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = Reader::new(&bytes);
            if let Ok((tag, content)) = reader.next() {
                let mut writer = Writer::default();
                writer.element(tag, content).encoded(reader.rest);
                prop_assert_eq!(writer.into_bytes(), bytes);
            }
        }
    }
}
