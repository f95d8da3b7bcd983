//! The router's side of the handshake.

use std::sync::Arc;

use super::message::{ClientHello, RouterAuth, RouterHello, ServiceOffer, ServiceRole};
use super::{
    Alpn, BAD_AUTH, IDENTITY, Peer, Service, SessionSecret, Transport, capped, certificates_of,
    chain_of, chains,
};
use crate::crypto::block_chain::BlockChains;
use crate::crypto::certificate::{Chain, Fingerprint, SignedKey};
use crate::crypto::{SigningKey, ed25519, x25519};
use crate::rng::Rng;
use crate::smp::error::TransportError;
use crate::smp::transmission::Session;
use crate::smp::version::{AUTH_COMMANDS, SUPPORTED, WITHOUT_ALPN};
use crate::wire::{Large, VersionRange};

/// Who a router is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its certificates, as TLS shows them.
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
}

/// A router that has introduced itself and waits for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitsClient {
    transport: Transport,
    versions: VersionRange,
    fingerprint: Fingerprint,
    session_key: x25519::PrivateKey,
}

/// What a router knows of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The version and the id.
    pub session: Session,
    /// The versions that both sides may speak.
    pub versions: VersionRange,
    /// The private half of the router's session key.
    pub session_key: x25519::PrivateKey,
    /// The secret that was agreed.
    pub secret: Option<SessionSecret>,
    /// Who the client is.
    pub peer: Peer,
    /// The service in whose name the session is held.
    pub service: Option<Service<ed25519::PublicKey>>,
    /// The keys of encrypted blocks.
    pub chains: Option<BlockChains>,
}

/// What follows the client's hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The session.
    Established(Box<Established>),
    /// The owner's word about the service.
    Service(Box<AwaitsService>),
}

/// A session whose service has proved who it is; its id is the owner's to give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitsService {
    established: Established,
    service: Service<ed25519::PublicKey>,
    chain: Arc<Chain>,
}

impl AwaitsService {
    /// What the service wants to do.
    #[must_use]
    pub const fn role(&self) -> ServiceRole {
        self.service.role
    }

    /// Its certificates.
    #[must_use]
    pub const fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// The session of the service with that id.
    #[must_use]
    pub fn accept(self, id: crate::wire::EntityId) -> Established {
        let Self {
            mut established,
            mut service,
            ..
        } = self;
        service.id = id;
        established.service = Some(service);
        established
    }
}

/// What a failed handshake leaves to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Nothing: the connection is closed.
    Silent(TransportError),
    /// The service is told.
    Service(TransportError),
}

/// The router's hello.
#[must_use]
pub fn introduce(
    identity: &Identity,
    transport: Transport,
    rng: &mut Rng,
) -> (RouterHello, AwaitsClient) {
    introduce_with(identity, transport, x25519::PrivateKey::generate(rng))
}

/// The router's hello with this session key.
#[must_use]
pub fn introduce_with(
    identity: &Identity,
    transport: Transport,
    session_key: x25519::PrivateKey,
) -> (RouterHello, AwaitsClient) {
    let versions = match transport.alpn {
        Alpn::Negotiated => identity.versions,
        Alpn::Absent => WITHOUT_ALPN
            .intersection(identity.versions)
            .unwrap_or_else(|| VersionRange::only(identity.versions.min())),
    };
    let auth = (versions.max() >= AUTH_COMMANDS)
        .then(|| auth(identity, &session_key))
        .flatten();
    let hello = RouterHello::new(versions, transport.session_id.clone(), auth);
    let awaits = AwaitsClient {
        transport,
        versions,
        fingerprint: identity.chain.fingerprint(),
        session_key,
    };
    (hello, awaits)
}

fn auth(identity: &Identity, session_key: &x25519::PrivateKey) -> Option<RouterAuth> {
    let signed_key = SignedKey::sign(session_key.public_key(), &identity.leaf_key).to_der();
    Some(RouterAuth {
        chain: certificates_of(&identity.chain)?,
        signed_key: Large::try_from(signed_key.as_slice()).ok()?,
    })
}

impl AwaitsClient {
    /// Checks the client's hello.
    pub fn receive(self, hello: &ClientHello) -> Result<Next, Refusal> {
        let fields = &hello.fields;
        if *fields.key_hash != *self.fingerprint.as_bytes() {
            return Err(Refusal::Silent(IDENTITY));
        }
        if !self.versions.contains(hello.version) {
            return Err(Refusal::Silent(TransportError::Version));
        }
        let session = Session {
            version: hello.version,
            id: self.transport.session_id.clone(),
        };
        let peer = if fields.proxy {
            Peer::Proxy
        } else {
            Peer::Client
        };
        let secret = fields
            .session_key
            .as_ref()
            .map(|key| SessionSecret::agree(&self.session_key, key));
        let offered = fields
            .service
            .as_ref()
            .map(|offer| self.verify_service(offer).map_err(Refusal::Service))
            .transpose()?;
        let established = Established {
            versions: capped(self.versions, hello.version),
            session_key: self.session_key,
            peer,
            service: None,
            chains: chains(&session, peer, secret.as_ref(), BlockChains::router),
            secret,
            session,
        };
        Ok(match offered {
            None => Next::Established(Box::new(established)),
            Some((service, chain)) => Next::Service(Box::new(AwaitsService {
                established,
                service,
                chain,
            })),
        })
    }

    /// The chain must be the one of TLS, byte for byte, and its leaf must have signed the session key.
    fn verify_service(
        &self,
        offer: &ServiceOffer,
    ) -> Result<(Service<ed25519::PublicKey>, Arc<Chain>), TransportError> {
        let chain = self.transport.peer_chain.as_ref().ok_or(BAD_AUTH)?;
        if chain_of(&offer.chain)? != **chain {
            return Err(BAD_AUTH);
        }
        let key = SignedKey::from_der(&offer.signed_key)
            .map_err(|_| BAD_AUTH)?
            .verify(chain.leaf().key())
            .map_err(|_| BAD_AUTH)?;
        let service = Service {
            id: crate::wire::EntityId::EMPTY,
            role: offer.role,
            fingerprint: chain.fingerprint(),
            key,
        };
        Ok((service, Arc::clone(chain)))
    }
}
