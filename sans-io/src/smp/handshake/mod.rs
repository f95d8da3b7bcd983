//! The handshake of a session: versions, identity, session keys, services.
//!
//! ```text
//!   router                                  client
//!     │ RouterHello: versions, session id,    │
//!     │   chain and signed session key        │
//!     │──────────────────────────────────────▶│ checks the session id, the identity and the signature
//!     │              ClientHello: version,    │
//!     │   identity, session key, service      │
//!     │◀──────────────────────────────────────│
//!     │ [ServiceResponse, if there was one]   │
//!     │──────────────────────────────────────▶│
//! ```
//! Each message is the content of a block that is never encrypted; what follows what was parsed is ignored. [`client`] and [`router`]
//! hold the checks of the two sides as functions from message to message; the connection machines move the blocks and [`parse`] them.

pub mod client;
mod message;
pub mod router;

pub use self::message::{
    ClientHello, ClientHelloFields, RouterAuth, RouterHello, ServiceOffer, ServiceResponse,
    ServiceRole,
};

use std::sync::Arc;

use bytes::Bytes;

use super::error::TransportError;
use super::transmission::Session;
use super::version::ENCRYPTED_BLOCKS;
use crate::crypto::block_chain::BlockChains;
use crate::crypto::certificate::{Chain, Fingerprint};
use crate::crypto::{Secret, ed25519, x25519};
use crate::session::SessionFacts;
use crate::wire::{self, EntityId, Id, Large, NonEmpty, Version, VersionRange, Wire};

/// What the transport below has established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// The id of the session: the client's TLS Finished message.
    pub session_id: Id,
    /// Whether a protocol was negotiated in TLS.
    pub alpn: Alpn,
    /// The certificates that the peer has shown: the router's to a client, a service's to a router.
    pub peer_chain: Option<Arc<Chain>>,
}

impl From<SessionFacts> for Transport {
    fn from(facts: SessionFacts) -> Self {
        Self {
            session_id: Id::try_from(facts.session_id.as_bytes()).unwrap_or_default(),
            alpn: match facts.protocol {
                Some(_) => Alpn::Negotiated,
                None => Alpn::Absent,
            },
            peer_chain: facts.peer.map(Arc::new),
        }
    }
}

/// Whether a protocol was negotiated in TLS; which one does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// One was.
    Negotiated,
    /// The client has offered none: an old one.
    Absent,
}

/// The service in whose name a session is held, as both sides know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service<K> {
    /// The id that the router has given it.
    pub id: EntityId,
    /// What it may do.
    pub role: ServiceRole,
    /// The fingerprint of its identity, which the keys of its queues authorise too.
    pub fingerprint: Fingerprint,
    /// The key of this session: the service's private half, or the router's public one.
    pub key: K,
}

/// The secret of a session and the router's public key, which authenticators are made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSecret(x25519::SharedSecret);

impl SessionSecret {
    fn agree(private_key: &x25519::PrivateKey, public_key: &x25519::PublicKey) -> Self {
        Self(private_key.agree(public_key))
    }

    /// The secret of proxy and relay, for commands that are forwarded.
    #[must_use]
    pub const fn shared(&self) -> &x25519::SharedSecret {
        &self.0
    }

    fn chain_secret(&self) -> Secret<32> {
        Secret::from_bytes(*self.0.as_bytes())
    }
}

/// Whether the router is spoken to by a proxy, whose blocks are not encrypted: what they hold is encrypted twice already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Peer {
    /// By a client for itself.
    #[default]
    Client,
    /// By a router for others.
    Proxy,
}

/// The rule for encrypted blocks, the same on both sides.
fn chains(
    session: &Session,
    peer: Peer,
    secret: Option<&SessionSecret>,
    side: fn(&[u8], &Secret<32>) -> BlockChains,
) -> Option<BlockChains> {
    let secret = secret.filter(|_| session.version >= ENCRYPTED_BLOCKS && peer == Peer::Client)?;
    Some(side(&session.id, &secret.chain_secret()))
}

/// The message at the front of a block's content; what follows it is ignored.
pub fn parse<T: Wire>(content: &Bytes) -> Result<T, TransportError> {
    wire::decode_prefix(Version::default(), content).map_err(|_| PARSE)
}

pub(crate) fn chain_of(certificates: &NonEmpty<Large>) -> Result<Chain, TransportError> {
    Chain::from_der(certificates.iter().map(|certificate| &***certificate)).map_err(|_| BAD_AUTH)
}

pub(crate) fn certificates_of(chain: &Chain) -> Option<NonEmpty<Large>> {
    let certificates: Result<Vec<_>, _> = chain
        .certificates()
        .map(|certificate| Large::try_from(certificate.as_der().clone()))
        .collect();
    NonEmpty::try_from(certificates.ok()?).ok()
}

fn capped(range: VersionRange, version: Version) -> VersionRange {
    range.capped(version).unwrap_or(range)
}

const BAD_AUTH: TransportError = TransportError::Handshake {
    error: super::HandshakeError::BadAuth,
};
const IDENTITY: TransportError = TransportError::Handshake {
    error: super::HandshakeError::Identity,
};
const PARSE: TransportError = TransportError::Handshake {
    error: super::HandshakeError::Parse,
};

/// The private key with which a service signs the commands of a session.
pub type ServiceKey = ed25519::PrivateKey;

#[cfg(test)]
mod tests;
