//! The messages of the handshake.

use bytes::BytesMut;

use crate::crypto::x25519;
use crate::smp::error::TransportError;
use crate::wire;
use crate::wire::{
    Codec, EntityId, Id, KeyHash, Large, NonEmpty, Parsed, Source, Version, VersionRange, Wire,
};

/// The first message, from the router. Its own highest version says what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterHello {
    /// The versions that the router offers.
    pub versions: VersionRange,
    /// What belongs to the highest of them.
    fields: RouterHelloFields,
}

wire! {
    struct RouterHelloFields {
        session_id: Id,
        auth: Option<RouterAuth> { 7.. => Always },
    }
}

wire! {
    /// The router's certificates and its key for this session.
    pub struct RouterAuth {
        /// The chain, leaf first.
        pub chain: NonEmpty<Large>,
        /// An X25519 key, signed by the leaf.
        pub signed_key: Large,
    }
}

impl RouterHello {
    /// A hello.
    #[must_use]
    pub const fn new(versions: VersionRange, session_id: Id, auth: Option<RouterAuth>) -> Self {
        Self {
            versions,
            fields: RouterHelloFields { session_id, auth },
        }
    }

    /// The id of the session, as the router sees it.
    #[must_use]
    pub const fn session_id(&self) -> &Id {
        &self.fields.session_id
    }

    /// The router's certificates and session key, if the version has them.
    #[must_use]
    pub const fn auth(&self) -> Option<&RouterAuth> {
        self.fields.auth.as_ref()
    }
}

impl Wire for RouterHello {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, versions) = VersionRange::parse(source, input)?;
        let (input, fields) = Wire::parse(source.with_version(versions.max()), input)?;
        Ok((input, Self { versions, fields }))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.versions.put(version, out);
        self.fields.put(self.versions.max(), out);
    }
}

/// The second message, from the client. Its own version says what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientHello {
    /// The version of the session.
    pub version: Version,
    /// What belongs to that version.
    pub fields: ClientHelloFields,
}

wire! {
    /// What a client says of itself.
    pub struct ClientHelloFields {
        /// The identity that the client expects.
        pub key_hash: KeyHash,
        /// The client's key for this session.
        pub session_key: Option<x25519::PublicKey> { 7.. => KeyOrNothing },
        /// Whether the client is a router that forwards commands.
        pub proxy: bool { 14.. => Plain },
        /// The service in whose name the session is to be.
        pub service: Option<ServiceOffer> { 16.. => Plain },
    }
}

wire! {
    /// A service that wants to hold a session.
    pub struct ServiceOffer {
        /// What it wants to do.
        pub role: ServiceRole,
        /// Its certificates, leaf first: those of TLS.
        pub chain: NonEmpty<Large>,
        /// An Ed25519 key for this session, signed by the leaf.
        pub signed_key: Large,
    }
}

wire! {
    prefixes
    /// What a service may do.
    #[derive(Copy, Hash, PartialOrd, Ord)]
    pub enum ServiceRole {
        /// Create queues and receive messages.
        "M" => Messaging,
        /// Receive notifications.
        "N" => Notifier,
        /// Forward commands.
        "P" => Proxy,
    }
}

wire! {
    prefixes
    /// The third message, from the router, if a service was offered.
    pub enum ServiceResponse {
        /// The service is known by this id.
        "R" => Accepted(service_id: EntityId),
        /// The service is refused, and the session with it.
        "E" => Refused(error: TransportError),
    }
}

impl Wire for ClientHello {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, version) = Version::parse(source, input)?;
        let (input, fields) = Wire::parse(source.with_version(version), input)?;
        Ok((input, Self { version, fields }))
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        self.version.put(version, out);
        self.fields.put(self.version, out);
    }
}

/// A value that is always there, where its type could be absent.
enum Always {}

impl<T: Wire> Codec<Option<T>> for Always {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Option<T>> {
        T::parse(source, input).map(|(input, value)| (input, Some(value)))
    }

    fn put(value: &Option<T>, version: Version, out: &mut BytesMut) {
        if let Some(value) = value {
            value.put(version, out);
        }
    }
}

/// A key, or no byte at all: what is no key belongs to the next field.
enum KeyOrNothing {}

impl Codec<Option<x25519::PublicKey>> for KeyOrNothing {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Option<x25519::PublicKey>> {
        match x25519::PublicKey::parse(source, input) {
            Ok((rest, key)) => Ok((rest, Some(key))),
            Err(_) => Ok((input, None)),
        }
    }

    fn put(value: &Option<x25519::PublicKey>, version: Version, out: &mut BytesMut) {
        Always::put(value, version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{
        Always, ClientHello, KeyOrNothing, RouterHello, Sample, SampleCodec, Version, x25519,
    };
    use crate::rng::Rng;
    use crate::smp::version::SUPPORTED;
    use crate::wire::{VersionRange, Wire};

    impl<T: Wire + Sample> SampleCodec<Option<T>> for Always {
        fn sample(version: Version, rng: &mut Rng) -> Option<T> {
            Some(T::sample(version, rng))
        }
    }

    impl SampleCodec<Option<x25519::PublicKey>> for KeyOrNothing {
        fn sample(version: Version, rng: &mut Rng) -> Option<x25519::PublicKey> {
            Sample::sample(version, rng)
        }
    }

    fn version(rng: &mut Rng) -> Version {
        let (min, max) = (SUPPORTED.min().0, SUPPORTED.max().0);
        let above = u16::try_from(rng.below(u32::from(max.abs_diff(min)))).unwrap_or_default();
        Version(min.saturating_add(above))
    }

    impl Sample for RouterHello {
        fn sample(any: Version, rng: &mut Rng) -> Self {
            let versions = VersionRange::only(version(rng));
            Self {
                versions,
                fields: Sample::sample(versions.max().max(any.min(versions.max())), rng),
            }
        }
    }

    impl Sample for ClientHello {
        fn sample(_: Version, rng: &mut Rng) -> Self {
            let version = version(rng);
            Self {
                version,
                fields: Sample::sample(version, rng),
            }
        }
    }
}

#[cfg(any(test, feature = "sim"))]
use crate::wire::{Sample, SampleCodec};
