//! Text encodings: base64url, decimal numbers, booleans.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Why a text is not what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not base64url.
    #[error("invalid base64url")]
    Base64,
    /// Not a decimal number, or one that does not fit.
    #[error("invalid number")]
    Number,
    /// Another value that does not exist.
    #[error("invalid {0}")]
    Invalid(&'static str),
}

/// Written with padding; read with or without it, but in canonical form only.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The base64url form, with padding.
#[must_use]
pub fn base64url(bytes: &[u8]) -> String {
    BASE64URL.encode(bytes)
}

/// The bytes of a base64url form, with complete padding or none.
pub fn parse_base64url(text: &str) -> Result<Vec<u8>, TextError> {
    let padding = text.len().saturating_sub(text.trim_end_matches('=').len());
    let complete = padding == 0 || text.len().is_multiple_of(4);
    if !complete {
        return Err(TextError::Base64);
    }
    BASE64URL.decode(text).map_err(|_| TextError::Base64)
}

/// The bytes of a base64url form that is not empty, as the fields of larger texts are.
pub fn parse_base64url_field(text: &str) -> Result<Vec<u8>, TextError> {
    if text.is_empty() {
        return Err(TextError::Base64);
    }
    parse_base64url(text)
}

/// Comma separated base64url fields, at least one.
pub fn parse_base64url_list(text: &str) -> Result<Vec<Vec<u8>>, TextError> {
    text.split(',').map(parse_base64url_field).collect()
}

/// Base64url fields, comma separated.
#[must_use]
pub fn base64url_list<B: AsRef<[u8]>>(values: &[B]) -> String {
    values
        .iter()
        .map(|value| base64url(value.as_ref()))
        .collect::<Vec<_>>()
        .join(",")
}

/// A decimal number without a sign. One that does not fit is refused.
pub fn parse_u16(text: &str) -> Result<u16, TextError> {
    digits(text)?.parse().map_err(|_| TextError::Number)
}

/// A decimal number that may have a sign. One that does not fit is refused.
pub fn parse_i64(text: &str) -> Result<i64, TextError> {
    digits(text.strip_prefix(['-', '+']).unwrap_or(text))?;
    text.parse().map_err(|_| TextError::Number)
}

/// `T` or `F`.
pub fn parse_bool(text: &str) -> Result<bool, TextError> {
    match text {
        "T" => Ok(true),
        "F" => Ok(false),
        _ => Err(TextError::Invalid("boolean")),
    }
}

fn digits(text: &str) -> Result<&str, TextError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(TextError::Number);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn base64url_comes_back_with_and_without_padding(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let text = base64url(&bytes);
            prop_assert_eq!(&parse_base64url(&text).unwrap(), &bytes);
            prop_assert_eq!(&parse_base64url(text.trim_end_matches('=')).unwrap(), &bytes);
        }

        #[test]
        fn arbitrary_texts_never_panic(text in ".{0,40}") {
            let _ = parse_base64url(&text);
            let _ = parse_u16(&text);
            let _ = parse_i64(&text);
        }
    }
}
