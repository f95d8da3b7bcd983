//! The handshake: who the router is, and in which version both speak.
//!
//! ```text
//!   client                                        router
//!     │  nothing, or ClientHello with a challenge   │
//!     │────────────────────────────────────────────▶│
//!     │  RouterHello: versions, session id,         │
//!     │  certificates, signed key, proof            │
//!     │◀────────────────────────────────────────────│
//!     │  ClientHandshake: version, identity         │
//!     │────────────────────────────────────────────▶│
//!     │  nothing                                    │
//!     │◀────────────────────────────────────────────│
//! ```
//! Each of them is the body of a request or response, padded to a block. A web browser cannot see the session id of TLS; it sends a
//! challenge instead, and the router signs it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::BLOCK;
use super::transmission::Session;
use super::version::SUPPORTED;
use crate::crypto::certificate::{Chain, ChainKind, Fingerprint, SignedKey};
use crate::crypto::{Signature, SigningKey, VerifyingKey, x25519};
use crate::smp::handshake::{certificates_of, chain_of};
use crate::wire;
use crate::wire::padding::{self, PaddingError};
use crate::wire::{
    Codec, Id, KeyHash, Large, NonEmpty, Parsed, Short, Source, Version, VersionRange, Wire,
    WireError,
};

wire! {
    /// What a web client says first.
    pub struct ClientHello {
        /// What the router is to sign.
        pub challenge: Option<Challenge> as Counted,
    }
}

/// What a router signs to prove its identity, before the session id.
pub type Challenge = [u8; 32];

wire! {
    /// What a router says of itself.
    pub struct RouterHello {
        /// The versions that it offers.
        pub versions: VersionRange,
        /// The id of the session, as it sees it.
        pub session_id: Id,
        /// Its certificates, leaf first.
        pub chain: NonEmpty<Large>,
        /// An X25519 key, signed by the leaf.
        pub signed_key: Large,
        /// The leaf's signature of challenge and session id.
        pub proof: Option<Signature> as IfThere,
    }
}

wire! {
    /// What a client wants.
    pub struct ClientHandshake {
        /// The version of the session.
        pub version: Version,
        /// The identity that the client expects.
        pub key_hash: KeyHash,
    }
}

/// Why a handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// A message is not one of the handshake.
    #[error("the message cannot be parsed")]
    Parse,
    /// There is no version that both speak.
    #[error("no common version")]
    Version,
    /// The router is not the expected one.
    #[error("the identity is not the expected one")]
    Identity,
    /// The session that the router speaks of is another one.
    #[error("the session is not this one")]
    Session,
    /// A key is not signed as it should be.
    #[error("the key is not signed by the router")]
    BadAuth,
    /// The router refuses.
    #[error("the router refuses the handshake")]
    Refused,
}

/// Who a router is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its certificates.
    pub chain: Arc<Chain>,
    /// The key of the leaf.
    pub leaf_key: Arc<SigningKey>,
    /// The versions that it speaks.
    pub versions: VersionRange,
}

impl Identity {
    /// A router that speaks all supported versions.
    #[must_use]
    pub const fn new(chain: Arc<Chain>, leaf_key: Arc<SigningKey>) -> Self {
        Self {
            chain,
            leaf_key,
            versions: SUPPORTED,
        }
    }

    /// What the router says of itself, with this key for the session.
    pub fn hello(
        &self,
        session_id: &Id,
        session_key: &x25519::PublicKey,
        challenge: Option<&Challenge>,
    ) -> Result<RouterHello, HandshakeError> {
        let signed_key = SignedKey::sign(*session_key, &self.leaf_key).to_der();
        let proof = |challenge: &Challenge| self.leaf_key.sign(&proven(challenge, session_id));
        Ok(RouterHello {
            versions: self.versions,
            session_id: session_id.clone(),
            chain: certificates_of(&self.chain).ok_or(HandshakeError::BadAuth)?,
            signed_key: signed_key
                .as_slice()
                .try_into()
                .map_err(|_| HandshakeError::BadAuth)?,
            proof: challenge.map(proof),
        })
    }

    /// The session that a client asks for.
    pub fn accept(
        &self,
        session_id: &Id,
        handshake: &ClientHandshake,
    ) -> Result<Session, HandshakeError> {
        if *handshake.key_hash != *self.chain.fingerprint().as_bytes() {
            return Err(HandshakeError::Identity);
        }
        if !self.versions.contains(handshake.version) {
            return Err(HandshakeError::Version);
        }
        Ok(Session {
            version: handshake.version,
            id: session_id.clone(),
        })
    }
}

/// What a client expects of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected {
    /// The versions that the client speaks.
    pub versions: VersionRange,
    /// The router's identity.
    pub key_hash: KeyHash,
}

/// A session, as its client knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The version and the id.
    pub session: Session,
    /// The router's key for this session.
    pub router_key: x25519::PublicKey,
}

impl Expected {
    /// Checks what a router says of itself, and answers it. Its certificates are those that it has shown in TLS, if there is TLS.
    pub fn receive(
        &self,
        session_id: &Id,
        peer: Option<&Chain>,
        hello: &RouterHello,
    ) -> Result<(ClientHandshake, Established), HandshakeError> {
        if hello.session_id != *session_id {
            return Err(HandshakeError::Session);
        }
        let chain = chain_of(&hello.chain).map_err(|_| HandshakeError::BadAuth)?;
        if peer.is_some_and(|peer| *peer != chain) {
            return Err(HandshakeError::BadAuth);
        }
        if chain.kind() != ChainKind::Issued
            || Fingerprint::try_from(&*self.key_hash) != Ok(chain.fingerprint())
        {
            return Err(HandshakeError::Identity);
        }
        let router_key = SignedKey::from_der(&hello.signed_key)
            .map_err(|_| HandshakeError::BadAuth)?
            .verify(chain.leaf().key())
            .map_err(|_| HandshakeError::BadAuth)?;
        let version = self.versions.agreed(hello.versions);
        let version = version.ok_or(HandshakeError::Version)?;
        let handshake = ClientHandshake {
            version,
            key_hash: self.key_hash.clone(),
        };
        let session = Session {
            version,
            id: session_id.clone(),
        };
        Ok((
            handshake,
            Established {
                session,
                router_key,
            },
        ))
    }
}

impl RouterHello {
    /// Whether the leaf has signed the challenge and the session id.
    #[must_use]
    pub fn proves(&self, leaf: &VerifyingKey, challenge: &Challenge) -> bool {
        let proven = proven(challenge, &self.session_id);
        self.proof
            .is_some_and(|proof| leaf.verify(&proven, &proof).is_ok())
    }
}

fn proven(challenge: &Challenge, session_id: &Id) -> Vec<u8> {
    [challenge, session_id.as_slice()].concat()
}

/// A message, padded to a block.
pub fn block<T: Wire>(message: &T) -> Result<Bytes, PaddingError> {
    padding::pad(&wire::encode(message, Version::default()), BLOCK).map(BytesMut::freeze)
}

/// The message at the front of a block; what follows it is ignored.
pub fn of_block<T: Wire>(block: &[u8]) -> Result<T, HandshakeError> {
    let content = padding::unpad(block).map_err(|_| HandshakeError::Parse)?;
    wire::decode_prefix(Version::default(), &Bytes::copy_from_slice(content))
        .map_err(|_| HandshakeError::Parse)
}

/// A challenge with its length, which is the only one allowed.
enum Counted {}

impl Codec<Option<Challenge>> for Counted {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Option<Challenge>> {
        let (input, bytes) = Option::<Short>::parse(source, input)?;
        match bytes.map(|bytes| Challenge::try_from(&**bytes)).transpose() {
            Ok(challenge) => Ok((input, challenge)),
            Err(_) => WireError::Invalid("challenge").fail(),
        }
    }

    fn put(value: &Option<Challenge>, version: Version, out: &mut BytesMut) {
        let short = |challenge| Short::try_from(challenge).unwrap_or_default();
        value.as_ref().map(short).put(version, out);
    }
}

/// A signature, an empty one, or nothing at all: from routers that know no challenge.
enum IfThere {}

impl Codec<Option<Signature>> for IfThere {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Option<Signature>> {
        match input {
            [] => Ok((input, None)),
            [0, rest @ ..] => Ok((rest, None)),
            _ => Signature::parse(source, input).map(|(rest, proof)| (rest, Some(proof))),
        }
    }

    fn put(value: &Option<Signature>, version: Version, out: &mut BytesMut) {
        match value {
            None => 0_u8.put(version, out),
            Some(proof) => proof.put(version, out),
        }
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{Challenge, Counted, IfThere, Signature, Version};
    use crate::rng::Rng;
    use crate::wire::{Sample, SampleCodec};

    impl SampleCodec<Option<Challenge>> for Counted {
        fn sample(version: Version, rng: &mut Rng) -> Option<Challenge> {
            Sample::sample(version, rng)
        }
    }

    impl SampleCodec<Option<Signature>> for IfThere {
        fn sample(version: Version, rng: &mut Rng) -> Option<Signature> {
            Sample::sample(version, rng)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Algorithm;
    use crate::rng::Rng;
    use crate::sim::identity::Credentials;
    use proptest::prelude::*;

    fn id(byte: u8) -> Id {
        Id::try_from([byte; 32].as_slice()).unwrap()
    }

    fn parties() -> (Identity, Expected, x25519::PrivateKey) {
        let mut rng = Rng::from_seed([7; 32]);
        let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng);
        let router = credentials.router();
        let identity = Identity::new(router.chain, router.leaf_key);
        let expected = Expected {
            versions: SUPPORTED,
            key_hash: credentials.key_hash(),
        };
        (identity, expected, x25519::PrivateKey::generate(&mut rng))
    }

    #[test]
    fn both_sides_agree() {
        let (identity, expected, key) = parties();
        let hello = identity.hello(&id(1), &key.public_key(), None).unwrap();
        let hello: RouterHello = of_block(&block(&hello).unwrap()).unwrap();
        let (handshake, established) = expected.receive(&id(1), None, &hello).unwrap();
        assert_eq!(established.router_key, key.public_key());
        let handshake = of_block(&block(&handshake).unwrap()).unwrap();
        assert_eq!(identity.accept(&id(1), &handshake), Ok(established.session));
    }

    #[test]
    fn a_client_believes_nothing() {
        let (identity, expected, key) = parties();
        let hello = identity.hello(&id(1), &key.public_key(), None).unwrap();
        let refused = |expected: &Expected, session, hello: &RouterHello| {
            expected
                .receive(&session, None, hello)
                .map(|_| ())
                .unwrap_err()
        };
        assert_eq!(refused(&expected, id(2), &hello), HandshakeError::Session);
        let other = Expected {
            key_hash: [9; 32].into(),
            ..expected.clone()
        };
        assert_eq!(refused(&other, id(1), &hello), HandshakeError::Identity);
        let stranger = SigningKey::generate(Algorithm::Ed25519, &mut Rng::from_seed([8; 32]));
        let signed = SignedKey::sign(key.public_key(), &stranger.unwrap()).to_der();
        let forged = RouterHello {
            signed_key: signed.as_slice().try_into().unwrap(),
            ..hello.clone()
        };
        assert_eq!(refused(&expected, id(1), &forged), HandshakeError::BadAuth);
        let future = RouterHello {
            versions: VersionRange::new(4, 5).unwrap(),
            ..hello
        };
        assert_eq!(refused(&expected, id(1), &future), HandshakeError::Version);
    }

    #[test]
    fn a_router_serves_only_itself_and_what_it_speaks() {
        let (identity, expected, _) = parties();
        let accept = |version, key_hash| {
            let handshake = ClientHandshake { version, key_hash };
            identity.accept(&id(1), &handshake).unwrap_err()
        };
        let (ours, other) = (expected.key_hash, [9; 32].into());
        assert_eq!(accept(Version(4), ours.clone()), HandshakeError::Version);
        assert_eq!(accept(Version(0), ours), HandshakeError::Version);
        assert_eq!(accept(Version(3), other), HandshakeError::Identity);
    }

    #[test]
    fn a_challenge_is_proven_for_its_session() {
        let (identity, _, key) = parties();
        let leaf = *identity.chain.leaf().key();
        let hello = identity.hello(&id(1), &key.public_key(), Some(&[5; 32]));
        let mut hello = hello.unwrap();
        assert!(hello.proves(&leaf, &[5; 32]));
        assert!(!hello.proves(&leaf, &[6; 32]));
        hello.session_id = id(2);
        assert!(!hello.proves(&leaf, &[5; 32]));
    }

    proptest! {
        #[test]
        fn arbitrary_blocks_never_panic(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let block = padding::pad(&content, BLOCK).unwrap();
            let _ = of_block::<RouterHello>(&block);
            let _ = of_block::<ClientHello>(&block);
            let _ = of_block::<ClientHandshake>(&block);
        }
    }
}
