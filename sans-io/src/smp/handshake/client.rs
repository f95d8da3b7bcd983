//! The client's side of the handshake.

use std::sync::Arc;

use super::message::{
    ClientHello, ClientHelloFields, RouterHello, ServiceOffer, ServiceResponse, ServiceRole,
};
use super::{
    BAD_AUTH, PARSE, Peer, Service, SessionSecret, Transport, capped, certificates_of, chain_of,
    chains,
};
use crate::crypto::block_chain::BlockChains;
use crate::crypto::certificate::{Chain, ChainKind, SignedKey};
use crate::crypto::{SigningKey, ed25519, x25519};
use crate::rng::Rng;
use crate::smp::error::TransportError;
use crate::smp::transmission::Session;
use crate::smp::version::{
    AUTH_COMMANDS, PROXY_SERVER_HANDSHAKE, SERVICE_CERTIFICATES, SERVICE_SUBSCRIPTIONS, SUPPORTED,
};
use crate::wire::{KeyHash, Large, Version, VersionRange};

/// The highest version that a proxy speaks with a relay to which it cannot say that it is one: the relay would encrypt blocks after it.
const PROXY_WITHOUT_HANDSHAKE: Version = Version(10);

/// What a client wants of its sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The versions that it speaks.
    pub versions: VersionRange,
    /// The identity that it expects.
    pub key_hash: KeyHash,
    /// Whether it agrees a secret with the router.
    pub secret: Secrecy,
    /// Whether it forwards commands of others.
    pub peer: Peer,
    /// The service in whose name it speaks.
    pub service: Option<ServiceCredentials>,
}

/// Whether a client agrees a secret with the router, under which blocks are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Secrecy {
    /// It does.
    #[default]
    Agreed,
    /// It does not: blocks are encrypted by TLS only.
    TlsOnly,
}

/// The certificates of a service, with the key that TLS uses too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceCredentials {
    /// What the service does.
    pub role: ServiceRole,
    /// Its certificates: the TLS layer must show the same.
    pub chain: Arc<Chain>,
    /// The key of the leaf.
    pub leaf_key: Arc<SigningKey>,
}

impl Config {
    /// A usual client of the router with that identity.
    #[must_use]
    pub const fn new(key_hash: KeyHash) -> Self {
        Self {
            versions: SUPPORTED,
            key_hash,
            secret: Secrecy::Agreed,
            peer: Peer::Client,
            service: None,
        }
    }

    fn versions_with(&self, router: VersionRange) -> VersionRange {
        let highest = router.max().min(self.versions.max());
        match self.peer {
            Peer::Proxy if highest < PROXY_SERVER_HANDSHAKE => {
                capped(self.versions, PROXY_WITHOUT_HANDSHAKE)
            }
            Peer::Proxy | Peer::Client => self.versions,
        }
    }
}

/// What a client knows of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Established {
    /// The version and the id.
    pub session: Session,
    /// The versions that both sides speak.
    pub versions: VersionRange,
    /// The router's certificates and key, since version 7.
    pub router: Option<Router>,
    /// The secret that was agreed.
    pub secret: Option<SessionSecret>,
    /// The service in whose name the session is held.
    pub service: Option<Service<ed25519::PrivateKey>>,
    /// The keys of encrypted blocks.
    pub chains: Option<BlockChains>,
}

/// What a router has shown of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Its key for this session.
    pub session_key: x25519::PublicKey,
    /// Its certificates.
    pub chain: Arc<Chain>,
    /// The key as the leaf has signed it.
    pub signed_key: Large,
}

/// What follows the client's hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The session.
    Established(Box<Established>),
    /// The router's word about the service.
    Service(Box<AwaitsService>),
}

/// A client whose service the router has yet to accept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitsService {
    established: Established,
    service: Service<ed25519::PrivateKey>,
}

impl AwaitsService {
    /// The session, if the router has accepted the service.
    pub fn receive(self, response: ServiceResponse) -> Result<Established, TransportError> {
        let Self {
            mut established,
            mut service,
        } = self;
        match response {
            ServiceResponse::Refused(error) => Err(error),
            ServiceResponse::Accepted(id) => {
                service.id = id;
                established.service = Some(service);
                Ok(established)
            }
        }
    }
}

/// The keys that a client draws for one session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKeys {
    /// Agrees the secret with the router.
    pub client: x25519::PrivateKey,
    /// Signs the commands of the service.
    pub service: ed25519::PrivateKey,
}

impl SessionKeys {
    /// Fresh keys.
    #[must_use]
    pub fn generate(rng: &mut Rng) -> Self {
        Self {
            client: x25519::PrivateKey::generate(rng),
            service: ed25519::PrivateKey::generate(rng),
        }
    }
}

/// Checks the router's hello and answers it.
pub fn receive(
    config: &Config,
    transport: &Transport,
    hello: &RouterHello,
    rng: &mut Rng,
) -> Result<(ClientHello, Next), TransportError> {
    receive_with(config, transport, hello, SessionKeys::generate(rng))
}

/// Checks the router's hello and answers it with those of these keys that the session has.
pub fn receive_with(
    config: &Config,
    transport: &Transport,
    hello: &RouterHello,
    keys: SessionKeys,
) -> Result<(ClientHello, Next), TransportError> {
    if *hello.session_id() != transport.session_id {
        return Err(TransportError::BadSession);
    }
    let versions = config
        .versions_with(hello.versions)
        .intersection(hello.versions)
        .ok_or(TransportError::Version)?;
    let version = versions.max();
    let router = verify(config, transport, hello)?;
    let session_key =
        (config.secret == Secrecy::Agreed && version >= AUTH_COMMANDS).then_some(keys.client);
    let secret = Option::zip(session_key.as_ref(), router.as_ref())
        .map(|(own, router)| SessionSecret::agree(own, &router.session_key));
    let session = Session {
        version,
        id: transport.session_id.clone(),
    };
    let offer = config
        .service
        .as_ref()
        .filter(|service| version >= since(service.role))
        .map(|service| offer(service, keys.service))
        .transpose()?;
    let (offer, service) = offer.unzip();
    let hello = ClientHello {
        version,
        fields: ClientHelloFields {
            key_hash: config.key_hash.clone(),
            session_key: session_key.as_ref().map(x25519::PrivateKey::public_key),
            proxy: config.peer == Peer::Proxy,
            service: offer,
        },
    };
    let established = Established {
        versions,
        router,
        service: None,
        chains: chains(&session, config.peer, secret.as_ref(), BlockChains::client),
        secret,
        session,
    };
    let next = match service {
        None => Next::Established(Box::new(established)),
        Some(service) => Next::Service(Box::new(AwaitsService {
            established,
            service,
        })),
    };
    Ok((hello, next))
}

/// The session key must be signed by the leaf that TLS has seen, and the chain be the one of the expected identity.
fn verify(
    config: &Config,
    transport: &Transport,
    hello: &RouterHello,
) -> Result<Option<Router>, TransportError> {
    let Some(auth) = hello.auth() else {
        return Ok(None);
    };
    let chain = chain_of(&auth.chain)?;
    let signed = SignedKey::from_der(&auth.signed_key).map_err(|_| PARSE)?;
    let tls_chain = transport.peer_chain.as_deref().ok_or(BAD_AUTH)?;
    if chain.kind() == ChainKind::SelfSigned || *chain.fingerprint().as_bytes() != *config.key_hash
    {
        return Err(BAD_AUTH);
    }
    let session_key = signed
        .verify(tls_chain.leaf().key())
        .map_err(|_| BAD_AUTH)?;
    Ok(Some(Router {
        session_key,
        chain: Arc::new(chain),
        signed_key: auth.signed_key.clone(),
    }))
}

/// The first version in which a service of this role introduces itself.
const fn since(role: ServiceRole) -> Version {
    match role {
        ServiceRole::Messaging => SERVICE_SUBSCRIPTIONS,
        ServiceRole::Notifier | ServiceRole::Proxy => SERVICE_CERTIFICATES,
    }
}

fn offer(
    credentials: &ServiceCredentials,
    key: ed25519::PrivateKey,
) -> Result<(ServiceOffer, Service<ed25519::PrivateKey>), TransportError> {
    let signed_key = SignedKey::sign(key.public_key(), &credentials.leaf_key).to_der();
    let offer = ServiceOffer {
        role: credentials.role,
        chain: certificates_of(&credentials.chain).ok_or(BAD_AUTH)?,
        signed_key: Large::try_from(signed_key.as_slice()).map_err(|_| BAD_AUTH)?,
    };
    let service = Service {
        id: crate::wire::EntityId::EMPTY,
        role: credentials.role,
        fingerprint: credentials.chain.fingerprint(),
        key,
    };
    Ok((offer, service))
}
