//! Certificates with the private key that belongs to them.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring::sign;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::signature::HandshakeKey;
use crate::crypto::SigningKey;
use crate::crypto::certificate::{Certificate, CertificateError, Chain, ChainError};
use crate::crypto::pem::{self, PemError};

/// A chain and the private key of its leaf: what a router or a service shows.
#[derive(Clone)]
pub struct Credentials {
    chain: Arc<Chain>,
    key: Arc<SigningKey>,
    certified: Arc<CertifiedKey>,
}

/// The certificates of a web server and its private key, of any usual algorithm.
#[derive(Clone)]
pub struct WebCredentials {
    certified: Arc<CertifiedKey>,
}

/// Why files hold no credentials.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CredentialsError {
    /// The certificates are no chain.
    #[error("the certificates cannot be used: {0}")]
    Chain(#[from] ChainError),
    /// The private key is not that of the leaf.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// Not a PEM file of what is needed.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The library cannot use the key or the certificates.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

impl Credentials {
    /// Refuses a key that is not that of the leaf.
    pub fn new(
        chain: impl Into<Arc<Chain>>,
        key: impl Into<Arc<SigningKey>>,
    ) -> Result<Self, CertificateError> {
        let (chain, key) = (chain.into(), key.into());
        if key.public_key() != *chain.leaf().key() {
            return Err(CertificateError::OtherKey);
        }
        Ok(Self {
            certified: certified(chain.certificates(), &key),
            chain,
            key,
        })
    }

    /// Reads the files of a router: its certificates, the leaf first, and the private key of the leaf.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, CredentialsError> {
        Ok(Self::new(
            Chain::from_pem(chain)?,
            SigningKey::from_pem(key)?,
        )?)
    }

    /// Shows what an honest side would not.
    #[cfg(test)]
    pub(super) fn forged(self, shown: &[&Certificate], key: SigningKey) -> Self {
        let key = Arc::new(key);
        Self {
            certified: certified(shown.iter().copied(), &key),
            chain: self.chain,
            key,
        }
    }

    /// Signs handshakes with something around the key.
    #[cfg(test)]
    pub(super) fn signing_with(
        mut self,
        wrap: impl FnOnce(Arc<dyn rustls::sign::SigningKey>) -> Arc<dyn rustls::sign::SigningKey>,
    ) -> Self {
        let CertifiedKey { cert, key, .. } = self.certified.as_ref().clone();
        self.certified = Arc::new(CertifiedKey::new(cert, wrap(key)));
        self
    }

    /// The certificates.
    #[must_use]
    pub fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// The private key of the leaf, which also signs the keys of sessions.
    #[must_use]
    pub fn key(&self) -> &Arc<SigningKey> {
        &self.key
    }

    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

fn certified<'a>(
    certificates: impl Iterator<Item = &'a Certificate>,
    key: &Arc<SigningKey>,
) -> Arc<CertifiedKey> {
    let certificates = certificates
        .map(|certificate| CertificateDer::from(certificate.as_der().to_vec()))
        .collect();
    let key = HandshakeKey::new(Arc::clone(key));
    Arc::new(CertifiedKey::new(certificates, Arc::new(key)))
}

impl WebCredentials {
    /// Reads the files of a web server: its certificates, the leaf first, and the private key of the leaf.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, CredentialsError> {
        let certificates: Vec<_> = pem::read_all(pem::CERTIFICATE, chain)?
            .iter()
            .map(|der| CertificateDer::from(der.to_vec()))
            .collect();
        if certificates.is_empty() {
            return Err(ChainError::Empty.into());
        }
        let key = sign::any_supported_type(&*private_key(key)?)?;
        let key = CertifiedKey::new(certificates, key);
        key.keys_match()?;
        Ok(Self {
            certified: Arc::new(key),
        })
    }

    pub(super) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }
}

fn private_key(text: &str) -> Result<Zeroizing<PrivateKeyDer<'static>>, PemError> {
    let mut keys = pem::read(text)?.into_iter().filter_map(|block| {
        let der = block.der.to_vec();
        match block.label.as_str() {
            pem::PRIVATE_KEY => Some(PrivateKeyDer::Pkcs8(der.into())),
            "RSA PRIVATE KEY" => Some(PrivateKeyDer::Pkcs1(der.into())),
            "EC PRIVATE KEY" => Some(PrivateKeyDer::Sec1(der.into())),
            _ => None,
        }
    });
    match (keys.next(), keys.count()) {
        (Some(key), 0) => Ok(Zeroizing::new(key)),
        (first, others) => Err(PemError::Count(
            pem::PRIVATE_KEY,
            others.saturating_add(usize::from(first.is_some())),
        )),
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Credentials").field(&self.chain).finish()
    }
}

impl fmt::Debug for WebCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebCredentials").finish_non_exhaustive()
    }
}
