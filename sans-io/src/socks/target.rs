//! Where a stream is to lead.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::Authentication;
use crate::wire::{AddressError, TransportHost, split_port};

/// A host and a port: `host:port`, with brackets around an IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// The host.
    pub host: TransportHost,
    /// The TCP port.
    pub port: u16,
}

/// The way to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// Straight there.
    Direct(Target),
    /// Through a proxy.
    Through {
        /// Where the proxy listens.
        proxy: Target,
        /// How to authenticate to it.
        authentication: Authentication,
        /// Where it is to connect to.
        target: Target,
    },
}

impl Route {
    /// Where to connect to.
    #[must_use]
    pub const fn first(&self) -> &Target {
        match self {
            Self::Direct(target) | Self::Through { proxy: target, .. } => target,
        }
    }

    /// Where it ends.
    #[must_use]
    pub const fn last(&self) -> &Target {
        match self {
            Self::Direct(target) | Self::Through { target, .. } => target,
        }
    }

    /// The way to another port of the same host.
    #[must_use]
    pub const fn to_port(mut self, port: u16) -> Self {
        match &mut self {
            Self::Direct(target) | Self::Through { target, .. } => target.port = port,
        }
        self
    }
}

impl FromStr for Target {
    type Err = AddressError;

    fn from_str(target: &str) -> Result<Self, AddressError> {
        match split_port(target)? {
            (host, Some(port)) => Ok(Self {
                host: parse_host(host)?,
                port,
            }),
            (_, None) => Err(AddressError::Port(String::new())),
        }
    }
}

pub(super) fn parse_host(host: &str) -> Result<TransportHost, AddressError> {
    host.parse()
        .map_err(|_| AddressError::Host(host.to_owned()))
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: match address.ip() {
                IpAddr::V4(ip) => TransportHost::Ipv4(ip),
                IpAddr::V6(ip) => TransportHost::Ipv6(ip),
            },
            port: address.port(),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host {
            TransportHost::Ipv6(ip) => write!(f, "[{ip}]:{port}"),
            TransportHost::Ipv4(_) | TransportHost::Onion(_) | TransportHost::Domain(_) => {
                write!(f, "{host}:{port}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn targets_print_as_they_are_written() {
        for text in [
            "smp.example:5223",
            "192.0.2.1:443",
            "[2001:db8::1]:5223",
            "abc.onion:80",
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_target_is_refused() {
        let port = |text: &str| AddressError::Port(text.to_owned());
        let host = |text: &str| AddressError::Host(text.to_owned());
        for (text, error) in [
            ("smp.example", port("")),
            ("smp.example:", port("")),
            ("smp.example:0", port("0")),
            ("smp.example:65536", port("65536")),
            ("smp.example:+80", port("+80")),
            ("2001:db8::1", port("")),
            (":80", host("")),
            ("[1.2.3.4]:80", host("[1.2.3.4]")),
            ("two words:80", host("two words")),
        ] {
            assert_eq!(text.parse::<Target>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_as_something_that_parses_alike(text in "[a-z0-9.:\\[\\]_-]{0,30}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }
}
