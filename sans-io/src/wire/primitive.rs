//! Numbers, booleans, optional values and texts.

use bytes::{BufMut, BytesMut};

use super::tag::take;
use super::{Parsed, Short, Source, Version, Wire, WireError};

macro_rules! number {
    ($($type:ty, $put:ident);*) => { $(
        impl Wire for $type {
            fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
                match input.split_first_chunk() {
                    Some((bytes, rest)) => Ok((rest, Self::from_be_bytes(*bytes))),
                    None => WireError::Incomplete.fail(),
                }
            }

            fn put(&self, _: Version, out: &mut BytesMut) {
                out.$put(*self);
            }
        }

        #[cfg(any(test, feature = "sim"))]
        impl super::Sample for $type {
            fn sample(_: Version, rng: &mut crate::rng::Rng) -> Self {
                Self::from_be_bytes(rng.bytes())
            }
        }
    )* };
}

number!(u8, put_u8; u16, put_u16; u32, put_u32; u64, put_u64; i64, put_i64);

impl Wire for bool {
    fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        match input {
            [b'T', rest @ ..] => Ok((rest, true)),
            [b'F', rest @ ..] => Ok((rest, false)),
            [] => WireError::Incomplete.fail(),
            _ => WireError::Invalid("boolean").fail(),
        }
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        out.put_u8(if *self { b'T' } else { b'F' });
    }
}

impl<T: Wire> Wire for Option<T> {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        match input {
            [b'0', rest @ ..] => Ok((rest, None)),
            [b'1', rest @ ..] => T::parse(source, rest).map(|(rest, value)| (rest, Some(value))),
            [] => WireError::Incomplete.fail(),
            _ => WireError::Invalid("optional value").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        match self {
            None => out.put_u8(b'0'),
            Some(value) => {
                out.put_u8(b'1');
                value.put(version, out);
            }
        }
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, a) = A::parse(source, input)?;
        let (input, b) = B::parse(source, input)?;
        Ok((input, (a, b)))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.0.put(version, out);
        self.1.put(version, out);
    }
}

impl<T: Wire> Wire for Box<T> {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        T::parse(source, input).map(|(input, value)| (input, Self::new(value)))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        T::put(self, version, out);
    }
}

/// Bytes of a length that both sides know.
impl<const N: usize> Wire for [u8; N] {
    fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        match input.split_first_chunk() {
            Some((bytes, rest)) => Ok((rest, *bytes)),
            None => WireError::Incomplete.fail(),
        }
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        out.put_slice(self);
    }
}

/// A text of at most 255 bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Text(String);

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Text {
    type Error = super::TooMany;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() > Short::MAX {
            return Err(super::TooMany(text.len(), Short::MAX));
        }
        Ok(Self(text))
    }
}

impl Wire for Text {
    fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, length) = u8::parse(Source::borrowed(Version(0)), input)?;
        let (input, bytes) = take(usize::from(length), input)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok((input, Self(text.to_owned()))),
            Err(_) => WireError::Invalid("UTF-8").fail(),
        }
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        out.put_u8(u8::try_from(self.0.len()).unwrap_or(u8::MAX));
        out.put_slice(self.0.as_bytes());
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::super::Sample;
    use super::{Text, Version};
    use crate::rng::Rng;

    impl Sample for bool {
        fn sample(_: Version, rng: &mut Rng) -> Self {
            rng.below(2) == 1
        }
    }

    impl<T: Sample> Sample for Option<T> {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            bool::sample(version, rng).then(|| T::sample(version, rng))
        }
    }

    impl<A: Sample, B: Sample> Sample for (A, B) {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            (A::sample(version, rng), B::sample(version, rng))
        }
    }

    impl<T: Sample> Sample for Box<T> {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            Self::new(T::sample(version, rng))
        }
    }

    impl<const N: usize> Sample for [u8; N] {
        fn sample(_: Version, rng: &mut Rng) -> Self {
            rng.bytes()
        }
    }

    impl Sample for Text {
        fn sample(_: Version, rng: &mut Rng) -> Self {
            let pairs = rng.below(20);
            let text = (0..pairs).map(|_| if rng.below(2) == 0 { "aé" } else { "✓ " });
            Self(text.collect())
        }
    }
}
