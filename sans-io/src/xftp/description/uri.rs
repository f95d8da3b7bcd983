//! Descriptions in URIs: `simplex:/file#/?desc=…`, or the same on a web site.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::{DescriptionError, FileDescription, MAX_TEXT};

/// A description with what an application wants to say besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileUri {
    /// What the URI begins with.
    pub scheme: UriScheme,
    /// The description.
    pub description: FileDescription,
    /// JSON of the application.
    pub data: Option<serde_json::Value>,
}

/// What a URI begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UriScheme {
    /// `simplex:`
    Simplex,
    /// The web site with this host, and port if there is one.
    Web(String),
}

/// With one more slash than is written.
const PATHS: [&str; 2] = ["/file#/?", "/file/#/?"];

impl FromStr for FileUri {
    type Err = DescriptionError;

    fn from_str(text: &str) -> Result<Self, DescriptionError> {
        // Escapes are three bytes for one.
        if text.len() > MAX_TEXT.saturating_mul(3) {
            return Err(DescriptionError::TooLong);
        }
        let (scheme, query) = split(text).ok_or(DescriptionError::Link)?;
        let parameter = |name: &str| {
            let mut parameters = query.split('&').filter_map(|pair| pair.split_once('='));
            parameters
                .find(|(key, _)| *key == name)
                .map(|(_, value)| unescape(value))
        };
        let description = parameter("desc").ok_or(DescriptionError::Missing("desc"))?;
        let description = description.ok_or(DescriptionError::Link)?.parse()?;
        let data = match parameter("data") {
            None => None,
            Some(json) => {
                let json = json.and_then(|json| serde_json::from_str(&json).ok());
                Some(json.ok_or(DescriptionError::Invalid("data"))?)
            }
        };
        Ok(Self {
            scheme,
            description,
            data,
        })
    }
}

fn split(text: &str) -> Option<(UriScheme, &str)> {
    let query = |rest: &'_ str| {
        PATHS
            .iter()
            .find_map(|path| rest.find(path).map(|at| (at, path.len())))
    };
    let (scheme, rest) = match text.strip_prefix("simplex:") {
        Some(rest) => (UriScheme::Simplex, rest),
        None => {
            let rest = text.strip_prefix("https://")?;
            let (host, _) = rest.split_at_checked(rest.find('/')?)?;
            let rest = rest.get(host.len()..)?;
            (UriScheme::Web(host.to_owned()), rest)
        }
    };
    match query(rest)? {
        (0, length) => Some((scheme, rest.get(length..)?)),
        _ => None,
    }
}

impl fmt::Display for FileUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.scheme {
            UriScheme::Simplex => f.write_str("simplex:")?,
            UriScheme::Web(host) => write!(f, "https://{host}")?,
        }
        f.write_str("/file#/?desc=")?;
        escape(&self.description.to_string(), f)?;
        match &self.data {
            None => Ok(()),
            Some(data) => {
                f.write_str("&data=")?;
                escape(&data.to_string(), f)
            }
        }
    }
}

fn escape(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    text.bytes().try_for_each(|byte| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
            f.write_char(char::from(byte))
        }
        _ => write!(f, "%{byte:02X}"),
    })
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return String::from_utf8(bytes).ok(),
            [b'%', high, low, rest @ ..] => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                let byte = digit(high)?.checked_mul(16)?.checked_add(digit(low)?)?;
                bytes.push(u8::try_from(byte).ok()?);
                rest
            }
            [b'+', rest @ ..] => {
                bytes.push(b' ');
                rest
            }
            [byte, rest @ ..] => {
                bytes.push(*byte);
                rest
            }
        };
    }
}
