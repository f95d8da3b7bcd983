//! What a file says of itself.

use bytes::{Bytes, BytesMut};

use super::FileError;
use crate::wire;
use crate::wire::{Short, Source, Version, Wire, WireError};

/// The name of a file, and what else its sender says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileHeader {
    name: String,
    extra: Option<String>,
}

wire! {
    struct Fields {
        name: Short,
        extra: Option<Short>,
    }
}

impl FileHeader {
    /// The most bytes that a header has.
    pub(super) const MAX: usize = 1024;

    /// The header of a file of that name, which is cut off where it is too long.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: cut(name).to_owned(),
            extra: None,
        }
    }

    /// The same, with something for the recipient's application, which is cut off where it is too long.
    #[must_use]
    pub fn with_extra(self, extra: &str) -> Self {
        Self {
            extra: Some(cut(extra).to_owned()),
            ..self
        }
    }

    /// The name, as the sender calls the file. It may be anything, a path too.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What else the sender says.
    #[must_use]
    pub fn extra(&self) -> Option<&str> {
        self.extra.as_deref()
    }

    /// The bytes in front of the content.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let short = |text: &String| Short::try_from(text.as_bytes()).unwrap_or_default();
        let mut out = BytesMut::new();
        let fields = Fields {
            name: short(&self.name),
            extra: self.extra.as_ref().map(short),
        };
        fields.put(Version::default(), &mut out);
        out.freeze()
    }

    /// The header at the front of `bytes` and its length; none if there is more to come.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, FileError> {
        let front = bytes.get(..Self::MAX).unwrap_or(bytes);
        let text = |bytes: &Short| String::from_utf8_lossy(bytes).into_owned();
        match Fields::parse(Source::borrowed(Version::default()), front) {
            Ok((rest, fields)) => {
                let header = Self {
                    name: text(&fields.name),
                    extra: fields.extra.as_ref().map(text),
                };
                Ok(Some((header, front.len().saturating_sub(rest.len()))))
            }
            Err(nom::Err::Error(WireError::Incomplete)) if bytes.len() < Self::MAX => Ok(None),
            Err(_) => Err(FileError::Header),
        }
    }
}

/// No more bytes than a length of one byte can say, and no part of a character.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(Short::MAX))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let header = FileHeader::new(&"ж".repeat(200)).with_extra(&"x".repeat(300));
        assert_eq!(header.name(), "ж".repeat(127));
        assert_eq!(header.extra().map(str::len), Some(255));
        let encoded = header.encode();
        assert_eq!(
            FileHeader::parse(&encoded),
            Ok(Some((header, encoded.len())))
        );
    }

    #[test]
    fn a_header_waits_for_its_end_but_not_for_ever() {
        let encoded = FileHeader::new("name").encode();
        for length in 0..encoded.len() {
            assert_eq!(FileHeader::parse(&encoded[..length]), Ok(None));
        }
        assert_eq!(FileHeader::parse(b"\x04name2"), Err(FileError::Header));
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        let (header, _) = FileHeader::parse(b"\x02\xff\xfe0").unwrap().unwrap();
        assert_eq!(header.name(), "\u{fffd}\u{fffd}");
    }
}
