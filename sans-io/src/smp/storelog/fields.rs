//! The words of a line, and the values that they stand for.

use crate::crypto::{AuthPublicKey, x25519};
use crate::wire::text::{base64url, parse_base64url, parse_base64url_field, parse_i64};
use crate::wire::{EntityId, Large};

use super::LineError;

/// The words of a line, with one space between them. A word can be empty.
#[derive(Debug, Clone)]
pub(crate) struct Words<'a>(Option<&'a str>);

impl<'a> Words<'a> {
    pub(crate) const fn new(line: &'a str) -> Self {
        Self(Some(line))
    }

    /// What was not taken yet.
    pub(crate) fn rest(&self) -> &'a str {
        self.0.unwrap_or("")
    }

    /// Goes on at another place of the line.
    pub(crate) fn go_on(&mut self, rest: &'a str) {
        self.0 = (!rest.is_empty()).then_some(rest);
    }

    /// The next word that is not empty.
    pub(crate) fn word(&mut self, name: &'static str) -> Result<&'a str, LineError> {
        self.find(|word| !word.is_empty())
            .ok_or(LineError::Missing(name))
    }

    /// The next word, empty or not.
    pub(crate) fn any(&mut self, name: &'static str) -> Result<&'a str, LineError> {
        self.next().ok_or(LineError::Missing(name))
    }

    /// Nothing but spaces may follow.
    pub(crate) fn end(&self) -> Result<(), LineError> {
        match self.rest().trim_end().is_empty() {
            true => Ok(()),
            false => Err(LineError::Trailing),
        }
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0?;
        match rest.split_once(' ') {
            Some((word, rest)) => {
                self.0 = Some(rest);
                Some(word)
            }
            None => {
                self.0 = None;
                Some(rest)
            }
        }
    }
}

pub(crate) fn id(name: &'static str, text: &str) -> Result<EntityId, LineError> {
    let bytes = parse_base64url_field(text).map_err(|_| LineError::Invalid(name))?;
    EntityId::try_from(bytes.as_slice()).map_err(|_| LineError::Invalid(name))
}

pub(crate) fn key(name: &'static str, text: &str) -> Result<AuthPublicKey, LineError> {
    let der = parse_base64url_field(text).map_err(|_| LineError::Invalid(name))?;
    AuthPublicKey::from_spki(&der).map_err(|_| LineError::Invalid(name))
}

/// A list that a record can hold.
pub(crate) fn keys(name: &'static str, text: &str) -> Result<Vec<AuthPublicKey>, LineError> {
    let keys: Vec<_> = text
        .split(',')
        .map(|text| key(name, text))
        .collect::<Result<_, _>>()?;
    match keys.len() <= 255 {
        true => Ok(keys),
        false => Err(LineError::Invalid(name)),
    }
}

pub(crate) fn secret(name: &'static str, text: &str) -> Result<x25519::SharedSecret, LineError> {
    let bytes = parse_base64url_field(text).map_err(|_| LineError::Invalid(name))?;
    let bytes = zeroize::Zeroizing::new(bytes);
    let bytes = bytes.as_slice().try_into();
    bytes
        .map(x25519::SharedSecret::from_bytes)
        .map_err(|_| LineError::Invalid(name))
}

/// Data that may be empty.
pub(crate) fn large(name: &'static str, text: &str) -> Result<Large, LineError> {
    let bytes = parse_base64url(text).map_err(|_| LineError::Invalid(name))?;
    Large::try_from(bytes::Bytes::from(bytes)).map_err(|_| LineError::Invalid(name))
}

pub(crate) fn number(name: &'static str, text: &str) -> Result<i64, LineError> {
    parse_i64(text).map_err(|_| LineError::Invalid(name))
}

pub(crate) fn key_text(key: &AuthPublicKey) -> String {
    base64url(&key.to_spki())
}

pub(crate) fn keys_text(keys: &[AuthPublicKey]) -> String {
    let keys: Vec<String> = keys.iter().map(key_text).collect();
    keys.join(",")
}
