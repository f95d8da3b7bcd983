//! How what may be long is written into records.

use bytes::{BufMut, BytesMut};

use crate::wire::{Codec, Parsed, Source, Version, Wire, WireError};

/// Any number of values.
pub(in crate::agent) enum Many {}

impl<T: Wire> Codec<Vec<T>> for Many {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Vec<T>> {
        let (mut input, count) = u32::parse(source, input)?;
        let mut values = Vec::new();
        for _ in 0..count {
            let (rest, value) = T::parse(source, input)?;
            values.push(value);
            input = rest;
        }
        Ok((input, values))
    }

    fn put(values: &Vec<T>, version: Version, out: &mut BytesMut) {
        out.put_u32(u32::try_from(values.len()).unwrap_or(u32::MAX));
        for value in values {
            value.put(version, out);
        }
    }
}

/// A text of any length.
pub(in crate::agent) enum LongText {}

impl LongText {
    pub(in crate::agent) fn parse_str<'a>(
        source: Source<'_>,
        input: &'a [u8],
    ) -> Parsed<'a, &'a str> {
        let (input, length) = u32::parse(source, input)?;
        let parts = usize::try_from(length)
            .ok()
            .and_then(|length| input.split_at_checked(length));
        let Some((text, rest)) = parts else {
            return WireError::Incomplete.fail();
        };
        match std::str::from_utf8(text) {
            Ok(text) => Ok((rest, text)),
            Err(_) => WireError::Invalid("text").fail(),
        }
    }

    pub(in crate::agent) fn put_str(text: &str, out: &mut BytesMut) {
        out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
        out.put_slice(text.as_bytes());
    }
}

impl Codec<String> for LongText {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, String> {
        Self::parse_str(source, input).map(|(input, text)| (input, text.to_owned()))
    }

    fn put(text: &String, _: Version, out: &mut BytesMut) {
        Self::put_str(text, out);
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{LongText, Many, Version, Wire};
    use crate::rng::Rng;
    use crate::wire::{Sample, SampleCodec, text};

    impl<T: Wire + Sample> SampleCodec<Vec<T>> for Many {
        fn sample(version: Version, rng: &mut Rng) -> Vec<T> {
            (0..rng.below(4)).map(|_| T::sample(version, rng)).collect()
        }
    }

    impl SampleCodec<String> for LongText {
        fn sample(_: Version, rng: &mut Rng) -> String {
            text::base64url(&rng.bytes::<300>())
        }
    }
}
