//! A proxy and what it is told about who asks.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::target::{Target, parse_host};
use crate::wire::{AddressError, TransportHost, split_port};

/// A SOCKS5 proxy, written `[user:password@|@][host][:port]`.
///
/// Without a name the proxy keeps sessions apart, an `@` alone asks for no authentication, and what is absent is `127.0.0.1` and 9050,
/// where Tor listens.
///
/// ```
/// use simplex_sans_io::socks::{Access, Proxy};
///
/// let tor: Proxy = "".parse()?;
/// assert_eq!((tor.target.to_string().as_str(), &tor.access), ("127.0.0.1:9050", &Access::Isolate));
/// assert_eq!("@proxy.example:1080".parse::<Proxy>()?.access, Access::Open);
/// assert!(matches!("user:password@".parse::<Proxy>()?.access, Access::Credentials(_)));
/// # Ok::<(), simplex_sans_io::socks::ProxyParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Where the proxy listens.
    pub target: Target,
    /// What it is told.
    pub access: Access,
}

/// What a proxy is told about who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Nothing.
    Open,
    /// A name and a password from the configuration.
    Credentials(Credentials),
    /// A name for each session, so that the proxy keeps them apart. A proxy that takes no names is not used.
    Isolate,
}

/// How a handshake authenticates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    None,
    /// With these, if the proxy wants them.
    Credentials(Credentials),
    /// With these, or not at all: going on without them would join sessions that are to be kept apart.
    Isolated(Credentials),
}

/// A name and a password, which may be empty, of at most 255 bytes each.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Credentials {
    user: String,
    password: String,
}

/// A text that is no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProxyParseError {
    /// What precedes the `@` is no name with a password.
    #[error("not `user:password` of at most 255 bytes each")]
    Credentials,
    /// What follows it is no host with a port.
    #[error(transparent)]
    Target(#[from] AddressError),
}

impl Proxy {
    /// The port of Tor.
    pub const PORT: u16 = 9050;

    /// How to authenticate for a session. Whoever gives the same text shares a session.
    #[must_use]
    pub fn authentication(&self, session: &str) -> Authentication {
        match &self.access {
            Access::Open => Authentication::None,
            Access::Credentials(credentials) => Authentication::Credentials(credentials.clone()),
            Access::Isolate => Authentication::Isolated(Credentials::isolating(session)),
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            target: Target {
                host: TransportHost::Ipv4(Ipv4Addr::LOCALHOST),
                port: Self::PORT,
            },
            access: Access::Isolate,
        }
    }
}

impl FromStr for Proxy {
    type Err = ProxyParseError;

    fn from_str(proxy: &str) -> Result<Self, ProxyParseError> {
        let (access, target) = match proxy.rsplit_once('@') {
            None => (Access::Isolate, proxy),
            Some(("", target)) => (Access::Open, target),
            Some((credentials, target)) => {
                let (user, password) = credentials
                    .split_once(':')
                    .ok_or(ProxyParseError::Credentials)?;
                let credentials =
                    Credentials::new(user, password).ok_or(ProxyParseError::Credentials)?;
                (Access::Credentials(credentials), target)
            }
        };
        let (host, port) = split_port(target)?;
        let default = Self::default().target;
        let target = Target {
            host: match host {
                "" => default.host,
                host => parse_host(host)?,
            },
            port: port.unwrap_or(default.port),
        };
        Ok(Self { target, access })
    }
}

impl Credentials {
    const MAX: usize = 255;

    /// Credentials, unless the name is empty or something is too long.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Option<Self> {
        let fits = !user.is_empty() && user.len() <= Self::MAX && password.len() <= Self::MAX;
        fits.then(|| Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Credentials that say nothing of a session, but differ from those of any other.
    #[must_use]
    pub fn isolating(session: &str) -> Self {
        Self {
            user: STANDARD.encode(Sha256::digest(session)),
            password: String::new(),
        }
    }

    pub(super) const fn user(&self) -> &str {
        self.user.as_str()
    }

    pub(super) const fn password(&self) -> &str {
        self.password.as_str()
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        let user = self.user.as_bytes().ct_eq(other.user.as_bytes());
        let password = self.password.as_bytes().ct_eq(other.password.as_bytes());
        (user & password).into()
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_part_but_the_rest_may_be_absent() {
        let credentials = Access::Credentials(Credentials::new("user", "p:ss@word").unwrap());
        for (prefix, access) in [
            ("", Access::Isolate),
            ("@", Access::Open),
            ("user:p:ss@word@", credentials),
        ] {
            for (text, target) in [
                ("", "127.0.0.1:9050"),
                ("192.0.2.1", "192.0.2.1:9050"),
                ("proxy.example", "proxy.example:9050"),
                ("[2001:db8::1]", "[2001:db8::1]:9050"),
                (":1080", "127.0.0.1:1080"),
                ("192.0.2.1:1080", "192.0.2.1:1080"),
                ("proxy.example:1080", "proxy.example:1080"),
                ("[2001:db8::1]:1080", "[2001:db8::1]:1080"),
            ] {
                let proxy: Proxy = format!("{prefix}{text}").parse().unwrap();
                assert_eq!(proxy.target.to_string(), target, "{prefix}{text}");
                assert_eq!(proxy.access, access, "{prefix}{text}");
            }
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused() {
        for (text, error) in [
            ("user@", ProxyParseError::Credentials),
            (":password@", ProxyParseError::Credentials),
            (":x", AddressError::Port("x".to_owned()).into()),
            (":70000", AddressError::Port("70000".to_owned()).into()),
            ("a b", AddressError::Host("a b".to_owned()).into()),
        ] {
            assert_eq!(text.parse::<Proxy>(), Err(error), "{text}");
        }
        assert_eq!(Credentials::new(&"x".repeat(256), ""), None);
    }

    #[test]
    fn sessions_are_kept_apart_and_say_nothing_of_themselves() {
        let proxy = Proxy::default();
        assert_eq!(proxy.authentication("1"), proxy.authentication("1"));
        assert_ne!(proxy.authentication("1"), proxy.authentication("2"));
        let Authentication::Isolated(credentials) = proxy.authentication("1") else {
            panic!("sessions are isolated by default");
        };
        assert_eq!(
            credentials.user(),
            "a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s="
        );
        assert_eq!(credentials.password(), "");
        assert_eq!(format!("{credentials:?}"), "[redacted]");
    }

    proptest! {
        #[test]
        fn arbitrary_texts_never_panic(text in ".{0,60}") {
            let _ = text.parse::<Proxy>();
        }
    }
}
