//! The texts of links: schemes, percent encoding, parameters.

use std::fmt;
use std::str::FromStr;

use crate::wire::text::TextError;
use crate::wire::{TransportHost, WireError};

/// Why a text is no link.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkTextError {
    /// It does not have the form of a link.
    #[error("a link has another form")]
    Form,
    /// A parameter is missing, or is not what it should be.
    #[error("the parameter {0} of the link is missing or invalid")]
    Parameter(&'static str),
    /// The address of the router is none.
    #[error("the link names no router: {0}")]
    Router(#[from] crate::wire::AddressError),
    /// Something in it is encoded wrongly.
    #[error(transparent)]
    Encoding(#[from] TextError),
}

impl From<WireError> for LinkTextError {
    fn from(_: WireError) -> Self {
        Self::Form
    }
}

/// What long links begin with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ServiceScheme {
    /// `simplex:`, which applications register for.
    #[default]
    Simplex,
    /// `https://host`, which shows a page to those who have no application.
    Web {
        /// The host of the page.
        host: TransportHost,
        /// Its port, if it is not the usual one.
        port: Option<u16>,
    },
}

impl ServiceScheme {
    /// The scheme in front of a text, and what follows it.
    fn split(text: &str) -> Result<(Self, &str), LinkTextError> {
        if let Some(rest) = text.strip_prefix("simplex:") {
            return Ok((Self::Simplex, rest));
        }
        let rest = text.strip_prefix("https://").ok_or(LinkTextError::Form)?;
        let end = rest.find(['/', '#', '?']).unwrap_or(rest.len());
        let (location, rest) = rest.split_at_checked(end).ok_or(LinkTextError::Form)?;
        let (host, port) = match location.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                (host, Some(crate::wire::text::parse_u16(port)?))
            }
            Some(_) | None => (location, None),
        };
        let host = host.parse().map_err(|_| LinkTextError::Form)?;
        Ok((Self::Web { host, port }, rest))
    }

    /// What follows the scheme and `/kind`, which is the part that is never sent to a web server.
    pub(in crate::agent) fn fragment<'a>(
        text: &'a str,
        kind: &str,
    ) -> Result<&'a str, LinkTextError> {
        let (_, rest) = Self::split(text)?;
        let rest = rest
            .strip_prefix('/')
            .and_then(|rest| rest.strip_prefix(kind))
            .ok_or(LinkTextError::Form)?;
        rest.strip_prefix('/')
            .unwrap_or(rest)
            .strip_prefix('#')
            .ok_or(LinkTextError::Form)
    }
}

impl fmt::Display for ServiceScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Simplex => f.write_str("simplex:"),
            Self::Web { host, port } => {
                match host {
                    TransportHost::Ipv6(ip) => write!(f, "https://[{ip}]")?,
                    TransportHost::Ipv4(_) | TransportHost::Onion(_) | TransportHost::Domain(_) => {
                        write!(f, "https://{host}")?;
                    }
                }
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

impl FromStr for ServiceScheme {
    type Err = LinkTextError;

    fn from_str(text: &str) -> Result<Self, LinkTextError> {
        match Self::split(text)? {
            (scheme, "") => Ok(scheme),
            _ => Err(LinkTextError::Form),
        }
    }
}

/// The parameters of a link, in the order in which they stand there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::agent) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `name=value&name=value`, where names and values are percent encoded.
    pub(in crate::agent) fn parse(text: &str) -> Result<Self, LinkTextError> {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((unescape(name)?, unescape(value)?))
        };
        text.split('&')
            .filter(|part| !part.is_empty())
            .map(pair)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The first value of that name.
    pub(in crate::agent) fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(known, _)| known == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// The first value of that name, which must be there.
    pub(in crate::agent) fn require(&self, name: &'static str) -> Result<&str, LinkTextError> {
        self.get(name).ok_or(LinkTextError::Parameter(name))
    }

    /// Adds a parameter after the others.
    pub(in crate::agent) fn push(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// Whether there are none.
    pub(in crate::agent) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Parameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "&" };
            write!(f, "{separator}{}={}", Escaped(name), Escaped(value))?;
        }
        Ok(())
    }
}

/// A text of which only letters, digits and `-_.~` are written as they are.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    write!(f, "{}", char::from(byte))?;
                }
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

fn unescape(text: &str) -> Result<String, LinkTextError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        (rest, _) = match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                let digit = |digit: u8| char::from(digit).to_digit(16);
                let byte = digit(*high)
                    .zip(digit(*low))
                    .and_then(|(high, low)| u8::try_from(high << 4 | low).ok())
                    .ok_or(LinkTextError::Form)?;
                (after, bytes.push(byte))
            }
            (b'%', _) => return Err(LinkTextError::Form),
            (b'+', _) => (after, bytes.push(b' ')),
            (byte, _) if byte.is_ascii_whitespace() || byte.is_ascii_control() => {
                return Err(LinkTextError::Form);
            }
            (byte, _) => (after, bytes.push(*byte)),
        };
    }
    String::from_utf8(bytes).map_err(|_| LinkTextError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn parameters_come_back(pairs in prop::collection::vec(("[a-z]{1,4}", ".{0,20}"), 0..4)) {
            let parameters = Parameters(pairs);
            prop_assert_eq!(Parameters::parse(&parameters.to_string()).unwrap(), parameters);
        }

        #[test]
        fn arbitrary_texts_never_panic(text in ".{0,40}") {
            let _ = Parameters::parse(&text);
            let _ = text.parse::<ServiceScheme>();
        }
    }

    #[test]
    fn a_broken_escape_is_refused() {
        for text in ["a=%", "a=%2", "a=%2x", "a=%ff", "a= "] {
            assert_eq!(Parameters::parse(text), Err(LinkTextError::Form), "{text}");
        }
    }
}
