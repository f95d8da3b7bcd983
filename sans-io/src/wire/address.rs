//! The addresses of routers: hosts, port, and the fingerprint of the identity to expect there.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use bytes::BytesMut;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::text::{self, TextError};
use super::{Id, NonEmpty, Parsed, Short, Source, TransportHost, Version, Wire, WireError};

/// A protocol whose routers have addresses.
pub trait Scheme: Copy + fmt::Debug + Eq + std::hash::Hash + Ord {
    /// The scheme of its addresses.
    const NAME: &'static str;
    /// The port where none is given.
    const PORT: u16;
}

/// The addresses of SMP routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SmpScheme {}

impl Scheme for SmpScheme {
    const NAME: &'static str = "smp";
    const PORT: u16 = 5223;
}

/// The addresses of XFTP routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum XftpScheme {}

impl Scheme for XftpScheme {
    const NAME: &'static str = "xftp";
    const PORT: u16 = 443;
}

/// The SHA-256 fingerprint of a router's identity certificate. Of any length on the wire; only one of 32 bytes is anybody's.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(Id);

impl KeyHash {
    /// Of no identity: that of a router which the reader of a short link knows.
    pub const EMPTY: Self = Self(Id::EMPTY);
}

impl std::ops::Deref for KeyHash {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 32]> for KeyHash {
    fn from(hash: [u8; 32]) -> Self {
        Self(Id::try_from(hash.as_slice()).unwrap_or_default())
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::base64url(&self.0))
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::base64url(&self.0))
    }
}

impl FromStr for KeyHash {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let hash = text::parse_base64url_field(text)?;
        let id = Id::try_from(hash.as_slice()).map_err(|_| TextError::Invalid("fingerprint"))?;
        Ok(Self(id))
    }
}

impl Wire for KeyHash {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        Id::parse(source, input).map(|(input, id)| (input, Self(id)))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.0.put(version, out);
    }
}

/// A password that a router asks for: printable, without space, `@`, `:` and `/`.
#[derive(Clone)]
pub struct BasicAuth(Zeroizing<Vec<u8>>);

impl BasicAuth {
    /// The password's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn allowed(byte: u8) -> bool {
        matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff) && !b"@:/".contains(&byte)
    }
}

impl TryFrom<&[u8]> for BasicAuth {
    type Error = TextError;

    fn try_from(bytes: &[u8]) -> Result<Self, TextError> {
        if bytes.len() > Short::MAX || !bytes.iter().copied().all(Self::allowed) {
            return Err(TextError::Invalid("password"));
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }
}

impl FromStr for BasicAuth {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if text.is_empty() {
            return Err(TextError::Invalid("password"));
        }
        Self::try_from(text.as_bytes())
    }
}

impl PartialEq for BasicAuth {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for BasicAuth {}

impl fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Wire for BasicAuth {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, bytes) = Short::parse(source, input)?;
        match Self::try_from(&**bytes) {
            Ok(auth) => Ok((input, auth)),
            Err(_) => WireError::Invalid("password").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        Short::try_from(self.0.as_slice())
            .unwrap_or_default()
            .put(version, out);
    }
}

/// Where a router is and who it is.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerAddress<S> {
    /// The ways to reach it, at least one; the first is the preferred one.
    hosts: Vec<TransportHost>,
    port: Option<u16>,
    key_hash: KeyHash,
    scheme: PhantomData<S>,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It does not begin with the scheme of the protocol.
    #[error("an address begins with {0}://")]
    Scheme(&'static str),
    /// There is no `@`.
    #[error("an address has the form scheme://fingerprint@host")]
    Form,
    /// The fingerprint is not base64url.
    #[error("the fingerprint is not base64url")]
    KeyHash,
    /// The password has characters that it must not have, or stands where none is allowed.
    #[error("the password is invalid or not allowed here")]
    Password,
    /// A host is none.
    #[error("{0:?} is not a host")]
    Host(String),
    /// The port is not one.
    #[error("{0:?} is not a port")]
    Port(String),
}

impl<S: Scheme> ServerAddress<S> {
    /// An address.
    #[must_use]
    pub fn new(hosts: NonEmpty<TransportHost>, port: Option<u16>, key_hash: KeyHash) -> Self {
        Self {
            hosts: hosts.into_vec(),
            port,
            key_hash,
            scheme: PhantomData,
        }
    }

    /// The ways to reach the router, at least one.
    #[must_use]
    pub fn hosts(&self) -> &[TransportHost] {
        &self.hosts
    }

    /// The port, if it is not left to the protocol.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// The identity to expect.
    #[must_use]
    pub const fn key_hash(&self) -> &KeyHash {
        &self.key_hash
    }

    /// Parses an address that may hold a password.
    pub fn parse_with_password(text: &str) -> Result<(Self, Option<BasicAuth>), AddressError> {
        let rest = text
            .strip_prefix(S::NAME)
            .and_then(|rest| rest.strip_prefix("://"))
            .ok_or(AddressError::Scheme(S::NAME))?;
        let (identity, location) = rest.split_once('@').ok_or(AddressError::Form)?;
        let (key_hash, password) = match identity.split_once(':') {
            None => (identity, None),
            Some((key_hash, password)) => (key_hash, Some(password)),
        };
        let key_hash = key_hash.parse().map_err(|_| AddressError::KeyHash)?;
        let password = password
            .map(|password| password.parse().map_err(|_| AddressError::Password))
            .transpose()?;
        let (hosts, port) = location_of(location)?;
        let address = Self {
            hosts,
            port,
            key_hash,
            scheme: PhantomData,
        };
        Ok((address, password))
    }

    /// The text form with a password.
    #[must_use]
    pub fn to_string_with_password(&self, password: &BasicAuth) -> String {
        let password = String::from_utf8_lossy(password.as_bytes());
        format!(
            "{}://{}:{password}@{}",
            S::NAME,
            self.key_hash,
            Location(self)
        )
    }
}

fn location_of(location: &str) -> Result<(Vec<TransportHost>, Option<u16>), AddressError> {
    let (hosts, last) = match location.rsplit_once(',') {
        Some((hosts, last)) => (Some(hosts), last),
        None => (None, location),
    };
    let (last, port) = split_port(last)?;
    hosts
        .into_iter()
        .flat_map(|hosts| hosts.split(','))
        .chain(std::iter::once(last))
        .map(|host| {
            host.parse()
                .map_err(|_| AddressError::Host(host.to_owned()))
        })
        .collect::<Result<_, _>>()
        .map(|hosts| (hosts, port))
}

/// An IPv6 address without brackets has no port.
pub(crate) fn split_port(host: &str) -> Result<(&str, Option<u16>), AddressError> {
    let split = match host.rfind(']') {
        Some(bracket) => host
            .split_at_checked(bracket.saturating_add(1))
            .and_then(|(host, rest)| rest.strip_prefix(':').map(|port| (host, port))),
        None if host.parse::<std::net::Ipv6Addr>().is_ok() => None,
        None => host.split_once(':'),
    };
    match split {
        None => Ok((host, None)),
        Some((host, port)) => parse_port(port).map(|port| (host, Some(port))),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let error = || AddressError::Port(text.to_owned());
    if text.starts_with('0') {
        return Err(error());
    }
    text::parse_u16(text).map_err(|_| error())
}

impl<S: Scheme> FromStr for ServerAddress<S> {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        match Self::parse_with_password(text)? {
            (address, None) => Ok(address),
            (_, Some(_)) => Err(AddressError::Password),
        }
    }
}

struct Location<'a, S>(&'a ServerAddress<S>);

impl<S> fmt::Display for Location<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, host) in self.0.hosts.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match host {
                TransportHost::Ipv6(ip) => write!(f, "[{ip}]")?,
                TransportHost::Ipv4(_) | TransportHost::Onion(_) | TransportHost::Domain(_) => {
                    host.fmt(f)?;
                }
            }
        }
        self.0.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl<S: Scheme> fmt::Display for ServerAddress<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}@{}", S::NAME, self.key_hash, Location(self))
    }
}

impl<S: Scheme> fmt::Debug for ServerAddress<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<S: Scheme> Wire for ServerAddress<S> {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, hosts) = NonEmpty::<TransportHost>::parse(source, input)?;
        let (input, port) = Short::parse(source, input)?;
        let (input, key_hash) = KeyHash::parse(source, input)?;
        let port = match std::str::from_utf8(&port) {
            Ok("") => None,
            Ok(text) => match parse_port(text) {
                Ok(port) => Some(port),
                Err(_) => return WireError::Invalid("port").fail(),
            },
            Err(_) => return WireError::Invalid("port").fail(),
        };
        Ok((input, Self::new(hosts, port, key_hash)))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        let count = u8::try_from(self.hosts.len()).unwrap_or(u8::MAX);
        count.put(version, out);
        for host in self.hosts.iter().take(usize::from(count)) {
            host.put(version, out);
        }
        let port = self.port.map(|port| port.to_string()).unwrap_or_default();
        Short::try_from(port.as_bytes())
            .unwrap_or_default()
            .put(version, out);
        self.key_hash.put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::super::Sample;
    use super::{BasicAuth, Id, KeyHash, Scheme, ServerAddress, Version};
    use crate::rng::Rng;

    impl Sample for KeyHash {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            Self(Id::sample(version, rng))
        }
    }

    impl Sample for BasicAuth {
        fn sample(_: Version, rng: &mut Rng) -> Self {
            Self(
                format!("secret{:x}", rng.below(u32::MAX))
                    .into_bytes()
                    .into(),
            )
        }
    }

    impl<S: Scheme> Sample for ServerAddress<S> {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let hosts = Sample::sample(version, rng);
            let port = Option::<u16>::sample(version, rng).map(|port| port.max(1));
            Self::new(hosts, port, Sample::sample(version, rng))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;
    use proptest::prelude::*;

    type Smp = ServerAddress<SmpScheme>;

    proptest! {
        #[test]
        fn addresses_come_back(seed: [u8; 32]) {
            let address = Smp::sample(Version(20), &mut Rng::from_seed(seed));
            prop_assume!(!address.key_hash().is_empty());
            prop_assert_eq!(&address.to_string().parse::<Smp>().unwrap(), &address);
            let password = BasicAuth::sample(Version(20), &mut Rng::from_seed(seed));
            let text = address.to_string_with_password(&password);
            prop_assert_eq!(Smp::parse_with_password(&text).unwrap(), (address, Some(password)));
        }

        #[test]
        fn arbitrary_texts_never_panic(text in "smp://[ -~]{0,60}") {
            let _ = Smp::parse_with_password(&text);
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let parse = |text: &str| text.parse::<Smp>().unwrap_err().to_string();
        assert_eq!(parse("xftp://YQ==@a"), "an address begins with smp://");
        assert_eq!(parse("smp://YQ==@a b"), "\"a b\" is not a host");
        assert_eq!(parse("smp://YQ==@a:70000"), "\"70000\" is not a port");
        assert_eq!(
            parse("smp://YQ==:secret@a"),
            "the password is invalid or not allowed here"
        );
    }
}
