//! Chains of certificates, which say what they are by their length.

use super::super::pem;
use super::{Certificate, CertificateError, Fingerprint};
use crate::time::UnixTime;

/// One to four certificates, the leaf first.
///
/// | length | certificates |
/// |---|---|
/// | 1 | a self-signed certificate of a service |
/// | 2 | leaf, identity |
/// | 3 | leaf, identity, authority |
/// | 4 | leaf, identity, one between, authority |
///
/// The identity certificate is always the second, the trust anchor always the last. That the signatures
/// hold is not known yet: `tls::verify_router` verifies them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    leaf: Certificate,
    issuers: Vec<Certificate>,
}

/// What a chain stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainKind {
    /// One certificate, which is its own issuer.
    SelfSigned,
    /// A leaf that was issued under an identity certificate.
    Issued,
}

/// Why certificates are not a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is no certificate.
    #[error("there is no certificate")]
    Empty,
    /// There are more than four certificates.
    #[error("there are more than four certificates")]
    TooLong,
    /// One of the certificates cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
}

const MAX_ISSUERS: usize = 3;

impl Chain {
    /// A chain of these certificates.
    pub fn new(certificates: impl IntoIterator<Item = Certificate>) -> Result<Self, ChainError> {
        Self::try_new(certificates.into_iter().map(Ok))
    }

    /// A chain of the certificates with this DER.
    pub fn from_der<'a>(
        certificates: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Self, ChainError> {
        let read = |der: &[u8]| Certificate::from_der(der.to_vec());
        Self::try_new(certificates.into_iter().map(read))
    }

    /// Reads the certificates of a PEM file.
    pub fn from_pem(text: &str) -> Result<Self, ChainError> {
        let certificates = pem::read_all(pem::CERTIFICATE, text).map_err(CertificateError::from)?;
        Self::from_der(certificates.iter().map(|der| der.as_slice()))
    }

    /// The certificates as a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.certificates().map(Certificate::to_pem).collect()
    }

    /// What the chain stands for.
    #[must_use]
    pub fn kind(&self) -> ChainKind {
        if self.issuers.is_empty() {
            ChainKind::SelfSigned
        } else {
            ChainKind::Issued
        }
    }

    /// The certificate of the key that TLS uses.
    #[must_use]
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The identity certificate.
    #[must_use]
    pub fn identity(&self) -> &Certificate {
        self.issuers.first().unwrap_or(&self.leaf)
    }

    /// The trust anchor.
    #[must_use]
    pub fn anchor(&self) -> &Certificate {
        self.issuers.last().unwrap_or(&self.leaf)
    }

    /// The fingerprint of the identity certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.identity().fingerprint()
    }

    /// Whether every certificate was issued by the next one, and all are valid now. Who they are is another question: that of the
    /// [fingerprint](Self::fingerprint).
    #[must_use]
    pub fn is_valid(&self, now: UnixTime) -> bool {
        if self.kind() == ChainKind::SelfSigned {
            return self.leaf.verify_self_signed(now).is_ok();
        }
        self.certificates()
            .zip(self.certificates().skip(1))
            .all(|(issued, issuer)| issued.verify_issued_by(issuer, now).is_ok())
            && self.anchor().validity().check(now).is_ok()
    }

    /// All certificates, the leaf first.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> + Clone {
        std::iter::once(&self.leaf).chain(&self.issuers)
    }

    fn try_new(
        certificates: impl Iterator<Item = Result<Certificate, CertificateError>>,
    ) -> Result<Self, ChainError> {
        let mut certificates = certificates;
        let leaf = certificates.next().ok_or(ChainError::Empty)??;
        let issuers = certificates
            .by_ref()
            .take(MAX_ISSUERS)
            .collect::<Result<_, _>>()?;
        match certificates.next() {
            None => Ok(Self { leaf, issuers }),
            Some(_) => Err(ChainError::TooLong),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::certificate::{Issuer, Name, Validity};
    use crate::crypto::{Algorithm, SigningKey};
    use crate::rng::Rng;
    use crate::time::UnixTime;

    fn certificates(count: usize) -> Vec<Certificate> {
        let mut rng = Rng::from_seed([3; 32]);
        let validity = Validity::days(UnixTime::EPOCH, 10);
        let key = SigningKey::generate(Algorithm::Ed25519, &mut rng).unwrap();
        let anchor = Certificate::self_signed(&Name::new("anchor"), &key, validity);
        let issuer = Issuer::new(&anchor, &key).unwrap();
        let issued = |number| {
            let name = Name::new(format!("{number}"));
            Certificate::bare(&name, &key.public_key(), &issuer, validity)
        };
        (1..count).map(issued).chain([anchor.clone()]).collect()
    }

    #[test]
    fn the_length_says_what_a_chain_is() {
        for (length, kind, identity) in [
            (1, ChainKind::SelfSigned, 0),
            (2, ChainKind::Issued, 1),
            (3, ChainKind::Issued, 1),
            (4, ChainKind::Issued, 1),
        ] {
            let certificates = certificates(length);
            let chain = Chain::new(certificates.clone()).unwrap();
            assert_eq!(chain.kind(), kind);
            assert_eq!(chain.leaf(), &certificates[0]);
            assert_eq!(chain.identity(), &certificates[identity]);
            assert_eq!(chain.anchor(), &certificates[length - 1]);
            assert!(chain.certificates().eq(&certificates));
            assert_eq!(Chain::from_pem(&chain.to_pem()), Ok(chain));
        }
    }

    #[test]
    fn no_certificate_and_more_than_four_are_no_chain() {
        assert_eq!(Chain::new([]), Err(ChainError::Empty));
        assert_eq!(Chain::from_pem(""), Err(ChainError::Empty));
        assert_eq!(Chain::new(certificates(5)), Err(ChainError::TooLong));
    }
}
