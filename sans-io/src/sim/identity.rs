//! Routers and services that exist in simulations only.

use std::sync::Arc;
use std::time::Duration;

use crate::crypto::certificate::{Certificate, Chain, Fingerprint, Issuer, Name, Validity};
use crate::crypto::{Algorithm, SigningKey, ed25519};
use crate::rng::Rng;
use crate::smp::handshake::client::ServiceCredentials;
use crate::smp::handshake::{Alpn, ServiceRole, Transport, router};
use crate::time::UnixTime;
use crate::wire::{Id, KeyHash};

/// A chain and the key of its leaf.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The certificates.
    pub chain: Arc<Chain>,
    /// The key of the leaf.
    pub leaf_key: Arc<SigningKey>,
}

impl Credentials {
    /// A leaf under a new identity, whose keys are of the given algorithm, or Ed25519.
    ///
    /// # Panics
    ///
    /// Never: what it issues makes a chain.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a simulation has nobody to tell")]
    pub fn issue(algorithm: Algorithm, rng: &mut Rng) -> Self {
        let key = |rng: &mut Rng| {
            SigningKey::generate(algorithm, rng)
                .unwrap_or_else(|| ed25519::PrivateKey::generate(rng).into())
        };
        let validity = Validity::between(UnixTime::EPOCH, UnixTime::EPOCH + Self::LIFE);
        let (identity_key, leaf_key) = (key(rng), key(rng));
        let name = Name::new("SMP server CA").of("SimpleX");
        let identity = Certificate::authority(&name, &identity_key, validity, rng);
        let issuer = Issuer::new(&identity, &identity_key).expect("its own key");
        let name = Name::new("smp.example");
        let leaf = Certificate::server(&name, &leaf_key.public_key(), &issuer, validity, rng);
        Self {
            chain: Arc::new(Chain::new([leaf, identity]).expect("a leaf and its issuer")),
            leaf_key: Arc::new(leaf_key),
        }
    }

    const LIFE: Duration = Duration::from_secs(4_000_000_000);

    /// The router with these credentials.
    #[must_use]
    pub fn router(&self) -> router::Identity {
        router::Identity::new(Arc::clone(&self.chain), Arc::clone(&self.leaf_key))
    }

    /// The service with these credentials.
    #[must_use]
    pub fn service(&self, role: ServiceRole) -> ServiceCredentials {
        ServiceCredentials {
            role,
            chain: Arc::clone(&self.chain),
            leaf_key: Arc::clone(&self.leaf_key),
        }
    }

    /// The fingerprint of the identity.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.chain.fingerprint()
    }

    /// The fingerprint as addresses hold it.
    #[must_use]
    pub fn key_hash(&self) -> KeyHash {
        KeyHash::from(*self.fingerprint().as_bytes())
    }
}

/// What TLS would have told both sides, without TLS: of the client, then of the router.
#[must_use]
pub fn transports(
    router: &Credentials,
    service: Option<&ServiceCredentials>,
    rng: &mut Rng,
) -> (Transport, Transport) {
    let session_id = Id::try_from(rng.bytes::<32>().as_slice()).unwrap_or_default();
    let side = |peer_chain| Transport {
        session_id: session_id.clone(),
        alpn: Alpn::Negotiated,
        peer_chain,
    };
    let shown = service.map(|service| Arc::clone(&service.chain));
    (side(Some(Arc::clone(&router.chain))), side(shown))
}
