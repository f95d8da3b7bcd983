//! The hosts of routers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use bytes::BytesMut;

use super::{Parsed, Short, Source, Version, Wire, WireError};

/// A host, as addresses of routers name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TransportHost {
    /// An address of four octets.
    Ipv4(Ipv4Addr),
    /// An address of sixteen octets.
    Ipv6(Ipv6Addr),
    /// A name in the onion network: never to be resolved in the domain name system.
    Onion(HostName),
    /// A name in the domain name system.
    Domain(HostName),
}

/// A host name that was parsed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that names no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a host: neither an IP address nor a name")]
pub struct HostError;

impl TransportHost {
    /// The address, if it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ipv4(ip) => Some(IpAddr::V4(*ip)),
            Self::Ipv6(ip) => Some(IpAddr::V6(*ip)),
            Self::Onion(_) | Self::Domain(_) => None,
        }
    }

    /// Whether the host is reached through the onion network only.
    #[must_use]
    pub const fn is_onion(&self) -> bool {
        matches!(self, Self::Onion(_))
    }
}

impl FromStr for TransportHost {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if let Some(bracketed) = text.strip_prefix('[') {
            let ip = bracketed.strip_suffix(']').ok_or(HostError)?;
            return ip.parse().map(Self::Ipv6).map_err(|_| HostError);
        }
        if text.contains(':') {
            return text.parse().map(Self::Ipv6).map_err(|_| HostError);
        }
        if let Some(octets) = four_numbers(text) {
            return octets.map(|octets| Self::Ipv4(octets.into()));
        }
        let forbidden = |c: char| "#,;/@[]".contains(c) || c.is_whitespace() || c.is_control();
        if text.is_empty() || text.len() > Short::MAX || text.contains(forbidden) {
            return Err(HostError);
        }
        let name = HostName(text.to_owned());
        match text.strip_suffix(".onion") {
            None => Ok(Self::Domain(name)),
            Some(onion)
                if onion
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) =>
            {
                Ok(Self::Onion(name))
            }
            Some(_) => Err(HostError),
        }
    }
}

/// What begins with four numbers is an IPv4 address or nothing.
fn four_numbers(text: &str) -> Option<Result<[u8; 4], HostError>> {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let mut parts = text.splitn(4, '.');
    let (a, b, c) = (parts.next()?, parts.next()?, parts.next()?);
    let d = parts.next()?;
    if ![a, b, c].into_iter().all(is_number) || !d.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let octet = |part: &str| match is_number(part) {
        true => part.parse().map_err(|_| HostError),
        false => Err(HostError),
    };
    let octets = || Ok([octet(a)?, octet(b)?, octet(c)?, octet(d)?]);
    Some(octets())
}

impl fmt::Display for TransportHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(ip) => ip.fmt(f),
            Self::Ipv6(ip) => ip.fmt(f),
            Self::Onion(name) | Self::Domain(name) => name.0.fmt(f),
        }
    }
}

impl Wire for TransportHost {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, text) = Short::parse(source, input)?;
        match std::str::from_utf8(&text).map(str::parse) {
            Ok(Ok(host)) => Ok((input, host)),
            _ => WireError::Invalid("host").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        let text = self.to_string();
        Short::try_from(text.as_bytes())
            .unwrap_or_default()
            .put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
impl super::Sample for TransportHost {
    fn sample(_: Version, rng: &mut crate::rng::Rng) -> Self {
        match rng.below(4) {
            0 => Self::Ipv4(rng.bytes().into()),
            1 => Self::Ipv6(rng.bytes::<16>().into()),
            2 => Self::Onion(HostName(format!("{:x}.onion", rng.below(u32::MAX)))),
            _ => Self::Domain(HostName(format!("smp{:x}.example", rng.below(u32::MAX)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_parses_prints_as_something_that_parses_alike(text in "[a-z0-9.:\\[\\]_-]{0,30}") {
            if let Ok(host) = text.parse::<TransportHost>() {
                prop_assert_eq!(host.to_string().parse::<TransportHost>().unwrap(), host);
            }
        }

        #[test]
        fn arbitrary_texts_never_panic(text in ".{0,60}") {
            let _ = text.parse::<TransportHost>();
        }
    }
}
