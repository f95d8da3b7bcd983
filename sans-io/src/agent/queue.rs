//! Where the queues of connections are: in links, and in the messages of agents.
//!
//! A queue is advertised for a range of versions ([`QueueUri`]), and used in one of them ([`SmpQueueInfo`]). Its mode stands at the end
//! of both without a tag of its own, in another way in each version, or not at all.

use std::fmt;
use std::str::FromStr;

use bytes::BytesMut;

use super::link::{LinkTextError, Parameters};
use crate::crypto::x25519;
use crate::smp::QueueMode;
use crate::wire;
use crate::wire::text;
use crate::wire::{
    Codec, EntityId, KeyHash, NonEmpty, Parsed, ServerAddress, Short, SmpScheme, Source,
    TransportHost, Version, VersionRange, Wire, WireError,
};

/// The versions of what a sender writes into a queue for its recipient.
pub const CLIENT_VERSIONS: VersionRange = match VersionRange::new(1, 4) {
    Some(range) => range,
    None => VersionRange::only(Version(4)),
};
/// Several hosts of a router.
const SEVERAL_HOSTS: Version = Version(2);
/// Senders secure queues.
const SENDER_SECURES: Version = Version(3);
/// The mode of a queue.
const QUEUE_MODE: Version = Version(4);

wire! {
    /// Which queue of a router: the address that its senders know.
    #[derive(PartialOrd, Ord)]
    pub struct QueueAddress {
        /// The router.
        pub router: ServerAddress<SmpScheme>,
        /// The id for senders.
        pub sender_id: EntityId,
    }
}

impl QueueAddress {
    /// Whether both name the same queue. A router that two addresses give different identities is the same one if it is reached in the
    /// same way.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        same_router(&self.router, &other.router) && self.sender_id == other.sender_id
    }
}

/// Whether both addresses lead to one router, whatever the order of its hosts.
#[must_use]
pub fn same_router(a: &ServerAddress<SmpScheme>, b: &ServerAddress<SmpScheme>) -> bool {
    let all = |some: &[TransportHost], others: &[TransportHost]| {
        some.iter().all(|host| others.contains(host))
    };
    a.port() == b.port() && all(a.hosts(), b.hosts()) && all(b.hosts(), a.hosts())
}

/// A queue, as the messages of agents describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmpQueueInfo {
    /// The version in which it is used.
    pub version: Version,
    /// Where it is.
    pub address: QueueAddress,
    /// The recipient's half of the secret that encrypts what is sent.
    pub dh_key: x25519::PublicKey,
    /// Who may secure it, if that is known.
    pub mode: Option<QueueMode>,
}

impl Wire for SmpQueueInfo {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, version) = Version::parse(source, input)?;
        let (input, address) = if version < SEVERAL_HOSTS {
            OneHost::parse(source, input)?
        } else {
            Wire::parse(source, input)?
        };
        let (input, dh_key) = Wire::parse(source, input)?;
        // What was written by an older version ends here, whatever the next byte looks like.
        let (input, mode) = match input {
            [b'M', rest @ ..] if version >= QUEUE_MODE => (rest, Some(QueueMode::Messaging)),
            [b'C', rest @ ..] if version >= QUEUE_MODE => (rest, Some(QueueMode::Contact)),
            [b'T', rest @ ..] if version >= SENDER_SECURES => (rest, Some(QueueMode::Messaging)),
            [b'F', rest @ ..] if version >= SENDER_SECURES => (rest, Some(QueueMode::Contact)),
            _ => (input, None),
        };
        let info = Self {
            version,
            address,
            dh_key,
            mode,
        };
        Ok((input, info))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.version.put(version, out);
        if self.version < SEVERAL_HOSTS {
            OneHost::put(&self.address, version, out);
        } else {
            self.address.put(version, out);
        }
        self.dh_key.put(version, out);
        if self.version >= QUEUE_MODE {
            put_mode(self.mode, version, out);
        } else if self.version == SENDER_SECURES && self.mode == Some(QueueMode::Messaging) {
            true.put(version, out);
        }
    }
}

/// An address whose router has one host: in version 1.
enum OneHost {}

impl Codec<QueueAddress> for OneHost {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, QueueAddress> {
        let (input, host) = TransportHost::parse(source, input)?;
        let (input, port) = Short::parse(source, input)?;
        let (input, key_hash) = KeyHash::parse(source, input)?;
        let (input, sender_id) = EntityId::parse(source, input)?;
        let port = match std::str::from_utf8(&port) {
            Ok("") => None,
            Ok(port) => match text::parse_u16(port) {
                Ok(port) => Some(port),
                Err(_) => return WireError::Invalid("port").fail(),
            },
            Err(_) => return WireError::Invalid("port").fail(),
        };
        let router = ServerAddress::new(NonEmpty::one(host), port, key_hash);
        Ok((input, QueueAddress { router, sender_id }))
    }

    fn put(value: &QueueAddress, version: Version, out: &mut BytesMut) {
        let router = &value.router;
        if let Some(host) = router.hosts().first() {
            host.put(version, out);
        }
        let port = router.port().map(|port| port.to_string());
        Short::try_from(port.unwrap_or_default().as_bytes())
            .unwrap_or_default()
            .put(version, out);
        router.key_hash().put(version, out);
        value.sender_id.put(version, out);
    }
}

fn put_mode(mode: Option<QueueMode>, version: Version, out: &mut BytesMut) {
    if let Some(mode) = mode {
        mode.put(version, out);
    }
}

/// A queue, as links advertise it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueUri {
    /// The versions in which it can be used.
    pub versions: VersionRange,
    /// Where it is.
    pub address: QueueAddress,
    /// The recipient's half of the secret that encrypts what is sent.
    pub dh_key: x25519::PublicKey,
    /// Who may secure it, if that is known.
    pub mode: Option<QueueMode>,
}

impl QueueUri {
    /// The queue, used in the best version that both sides support; none if there is none.
    #[must_use]
    pub fn agreed(&self, versions: VersionRange) -> Option<SmpQueueInfo> {
        let version = self.versions.agreed(versions)?;
        Some(SmpQueueInfo {
            version,
            address: self.address.clone(),
            dh_key: self.dh_key,
            mode: self.mode,
        })
    }
}

impl Wire for QueueUri {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, versions) = VersionRange::parse(source, input)?;
        let (input, address) = QueueAddress::parse(source, input)?;
        let (input, dh_key) = Wire::parse(source, input)?;
        let (input, mode) = match input {
            [b'M' | b'T', rest @ ..] => (rest, Some(QueueMode::Messaging)),
            [b'C' | b'F', rest @ ..] => (rest, Some(QueueMode::Contact)),
            _ => (input, None),
        };
        let uri = Self {
            versions,
            address,
            dh_key,
            mode,
        };
        Ok((input, uri))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.versions.put(version, out);
        self.address.put(version, out);
        self.dh_key.put(version, out);
        let messaging = self.mode == Some(QueueMode::Messaging);
        let (min, max) = (self.versions.min(), self.versions.max());
        if min >= QUEUE_MODE {
            put_mode(self.mode, version, out);
        } else if min == SENDER_SECURES || (max >= SENDER_SECURES && messaging) {
            messaging.put(version, out);
        }
    }
}

impl fmt::Display for QueueUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QueueAddress { router, sender_id } = &self.address;
        let mut parameters = Parameters::default();
        parameters.push("v", self.versions.to_string());
        parameters.push("dh", text::base64url(&self.dh_key.to_spki()));
        match self.mode {
            Some(QueueMode::Messaging) => {
                parameters.push("q", "m");
                if self.versions.min() < QUEUE_MODE {
                    parameters.push("k", "s");
                }
            }
            Some(QueueMode::Contact) => parameters.push("q", "c"),
            None => {}
        }
        let sender_id = text::base64url(sender_id);
        match router.hosts().split_first() {
            Some((first, others)) if self.versions.min() < SEVERAL_HOSTS => {
                if !others.is_empty() {
                    parameters.push("srv", hosts_text(others));
                }
                let one = ServerAddress::<SmpScheme>::new(
                    NonEmpty::one(first.clone()),
                    router.port(),
                    router.key_hash().clone(),
                );
                write!(f, "{one}/{sender_id}#/?{parameters}")
            }
            Some(_) | None => write!(f, "{router}/{sender_id}#/?{parameters}"),
        }
    }
}

/// Hosts, comma separated.
pub(super) fn hosts_text(hosts: &[TransportHost]) -> String {
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    hosts.join(",")
}

/// Comma separated hosts.
pub(super) fn parse_hosts(
    text: &str,
    parameter: &'static str,
) -> Result<Vec<TransportHost>, LinkTextError> {
    text.split(',')
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| LinkTextError::Parameter(parameter))
}

impl FromStr for QueueUri {
    type Err = LinkTextError;

    fn from_str(uri: &str) -> Result<Self, LinkTextError> {
        let (location, fragment) = uri.split_once('#').ok_or(LinkTextError::Form)?;
        let location = location.strip_suffix('/').unwrap_or(location);
        let (router, sender_id) = location.rsplit_once('/').ok_or(LinkTextError::Form)?;
        let router: ServerAddress<SmpScheme> = router.parse()?;
        let sender_id = text::parse_base64url_field(sender_id)?;
        let sender_id =
            EntityId::try_from(sender_id.as_slice()).map_err(|_| LinkTextError::Form)?;

        let (bare_key, parameters) = split_fragment(fragment)?;
        let parameters = parameters.map(Parameters::parse).transpose()?;
        let (versions, parameters) = match (parameters, &bare_key) {
            (None, Some(_)) => (VersionRange::only(Version(1)), Parameters::default()),
            (None, None) => return Err(LinkTextError::Form),
            (Some(parameters), _) => (parameters.require("v")?.parse()?, parameters),
        };
        let dh_key = match bare_key {
            Some(key) => key,
            None => parameters.require("dh")?,
        };
        let dh_key = x25519::PublicKey::from_spki(&text::parse_base64url_field(dh_key)?)
            .map_err(|_| LinkTextError::Parameter("dh"))?;
        let mut hosts = router.hosts().to_vec();
        if let Some(others) = parameters.get("srv") {
            hosts.extend(parse_hosts(others, "srv")?);
        }
        if versions.max() < SEVERAL_HOSTS {
            add_onion_twin(&mut hosts);
        }
        let hosts = NonEmpty::try_from(hosts).map_err(|_| LinkTextError::Parameter("srv"))?;
        let mode = match (parameters.get("q"), parameters.get("k")) {
            (Some("m"), _) => Some(QueueMode::Messaging),
            (Some("c"), _) => Some(QueueMode::Contact),
            (_, Some("s")) => Some(QueueMode::Messaging),
            (_, _) => None,
        };
        let router = ServerAddress::new(hosts, router.port(), router.key_hash().clone());
        Ok(Self {
            versions,
            address: QueueAddress { router, sender_id },
            dh_key,
            mode,
        })
    }
}

/// The key that old links have there, and the parameters.
fn split_fragment(fragment: &str) -> Result<(Option<&str>, Option<&str>), LinkTextError> {
    let (before, parameters) = match fragment.split_once('?') {
        Some((before, parameters)) => {
            (before.strip_suffix('/').unwrap_or(before), Some(parameters))
        }
        None => (fragment, None),
    };
    if before.contains('/') {
        return Err(LinkTextError::Form);
    }
    Ok((Some(before).filter(|key| !key.is_empty()), parameters))
}

/// Links of the first version name one host; these routers are known to have another.
fn add_onion_twin(hosts: &mut Vec<TransportHost>) {
    let [TransportHost::Domain(host)] = hosts.as_slice() else {
        return;
    };
    let twin = ONION_TWINS
        .iter()
        .find(|(name, _)| *name == host.as_str())
        .and_then(|(_, onion)| onion.parse().ok());
    hosts.extend(twin);
}

const ONION_TWINS: [(&str, &str); 6] = [
    (
        "smp4.simplex.im",
        "o5vmywmrnaxalvz6wi3zicyftgio6psuvyniis6gco6bp6ekl4cqj4id.onion",
    ),
    (
        "smp5.simplex.im",
        "jjbyvoemxysm7qxap7m5d5m35jzv5qq6gnlv7s4rsn7tdwwmuqciwpid.onion",
    ),
    (
        "smp6.simplex.im",
        "bylepyau3ty4czmn77q4fglvperknl4bi2eb2fdy2bh4jxtf32kf73yd.onion",
    ),
    (
        "smp8.simplex.im",
        "beccx4yfxxbvyhqypaavemqurytl6hozr47wfc7uuecacjqdvwpw2xid.onion",
    ),
    (
        "smp9.simplex.im",
        "jssqzccmrcws6bhmn77vgmhfjmhwlyr3u7puw4erkyoosywgl67slqqd.onion",
    ),
    (
        "smp10.simplex.im",
        "rb2pbttocvnbrngnwziclp2f4ckjq65kebafws6g4hy22cdaiv5dwjqd.onion",
    ),
];

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{QueueAddress, QueueMode, QueueUri, SmpQueueInfo, Version, VersionRange};
    use crate::rng::Rng;
    use crate::wire::Sample;

    impl Sample for SmpQueueInfo {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let (in_version, mode) = match rng.below(2) {
                0 => (Version(2), None),
                _ => (Version(4), Some(QueueMode::sample(version, rng))),
            };
            Self {
                version: in_version,
                address: QueueAddress::sample(version, rng),
                dh_key: Sample::sample(version, rng),
                mode,
            }
        }
    }

    impl Sample for QueueUri {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let (min, mode) = match rng.below(3) {
                0 => (1, Some(QueueMode::Messaging)),
                1 => (3, Some(QueueMode::sample(version, rng))),
                _ => (4, Option::sample(version, rng)),
            };
            let versions = VersionRange::new(min, 4);
            Self {
                versions: versions.unwrap_or(VersionRange::only(Version(4))),
                address: QueueAddress::sample(version, rng),
                dh_key: Sample::sample(version, rng),
                mode,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn queues_come_back(seed: [u8; 32]) {
            let mut rng = Rng::from_seed(seed);
            let info = SmpQueueInfo::sample(Version(0), &mut rng);
            prop_assert_eq!(&wire::decode(Version(0), &wire::encode(&info, Version(0))), &Ok(info));
            let uri = QueueUri::sample(Version(0), &mut rng);
            prop_assert_eq!(&wire::decode::<QueueUri>(Version(0), &wire::encode(&uri, Version(0))).unwrap(), &uri);
            let QueueAddress { router, sender_id } = &uri.address;
            prop_assume!(!router.key_hash().is_empty() && !sender_id.is_empty());
            prop_assert_eq!(uri.to_string().parse::<QueueUri>().unwrap(), uri);
        }

        #[test]
        fn arbitrary_texts_never_panic(text in "smp://YQ==@a/YQ==#[ -~]{0,60}") {
            let _ = text.parse::<QueueUri>();
        }
    }

    #[test]
    fn two_addresses_of_one_router_are_the_same_in_any_order_of_its_hosts() {
        let address = |text: &str| text.parse::<ServerAddress<SmpScheme>>().unwrap();
        let one = address("smp://YQ==@a.example,b.example:7");
        assert!(same_router(
            &one,
            &address("smp://YQ==@b.example,a.example:7")
        ));
        // Whoever shows another identity there is not told apart.
        assert!(same_router(
            &one,
            &address("smp://Yg==@a.example,b.example:7")
        ));
        for other in [
            "a.example:7",
            "a.example,b.example",
            "a.example,c.example:7",
        ] {
            assert!(!same_router(&one, &address(&format!("smp://YQ==@{other}"))));
        }
    }

    /// An address of an older version has no mode, and what follows it is not taken for one.
    #[test]
    fn a_mode_is_not_read_into_what_follows_an_old_address() {
        let mut info = SmpQueueInfo::sample(Version(0), &mut Rng::from_seed([1; 32]));
        info.version = Version(2);
        info.mode = None;
        let encoded = [&wire::encode(&info, Version(0)), b"Mine".as_slice()].concat();
        let parsed = SmpQueueInfo::parse(Source::borrowed(Version(0)), &encoded);
        assert_eq!(parsed, Ok((b"Mine".as_slice(), info)));
    }
}
