//! Certificates of routers and services: read, written, chained, and known by their fingerprint.
//!
//! A router has two certificates: the identity certificate, whose key its operator keeps offline and whose [`Fingerprint`] stands in
//! the router's address, and the certificate of the key that TLS uses, issued by it. All keys are Ed25519 or Ed448.
//!
//! ```
//! use simplex_sans_io::crypto::certificate::{Certificate, Chain, Fingerprint, Issuer, Name, Validity};
//! use simplex_sans_io::crypto::{SigningKey, ed25519};
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::time::UnixTime;
//!
//! let mut rng = Rng::from_seed([7; 32]);
//! let validity = Validity::days(UnixTime::from_seconds(1_767_225_600), Validity::LONG);
//! let identity_key = SigningKey::from(ed25519::PrivateKey::generate(&mut rng));
//! let name = Name::new("SMP server CA").of("SimpleX");
//! let identity = Certificate::authority(&name, &identity_key, validity, &mut rng);
//!
//! let key = SigningKey::from(ed25519::PrivateKey::generate(&mut rng));
//! let issuer = Issuer::new(&identity, &identity_key)?;
//! let name = Name::new("smp.example.com");
//! let leaf = Certificate::server(&name, &key.public_key(), &issuer, validity, &mut rng);
//!
//! let chain = Chain::new([leaf, identity.clone()])?;
//! assert_eq!(chain.fingerprint(), identity.fingerprint());
//! assert_eq!(chain.fingerprint().to_string().parse(), Ok(chain.fingerprint()));
//! assert_eq!(Chain::from_pem(&chain.to_pem())?, chain);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chain;
mod fingerprint;
mod issue;
mod signed_key;
mod validity;

use std::fmt;

use bytes::Bytes;

use super::der::{DerError, Reader, Tag};
use super::pem::{self, PemError};
use super::{Algorithm, InvalidSignature, KeyError, Signature, VerifyingKey};
use crate::time::UnixTime;

pub use chain::{Chain, ChainError, ChainKind};
pub use fingerprint::Fingerprint;
pub use issue::{Issuer, Name};
pub use signed_key::{SessionKey, SignedKey, SignedKeyError};
pub use validity::Validity;

/// An X.509 certificate of an Ed25519 or Ed448 key.
///
/// What it certifies is not yet verified: that is the work of [`verify_self_signed`](Self::verify_self_signed), or of TLS.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    der: Bytes,
    key: VerifyingKey,
    validity: Validity,
}

/// Why a certificate cannot be read or trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not the DER of a certificate.
    #[error("not the DER of a certificate: {0}")]
    Der(#[from] DerError),
    /// The certified key is not an Ed25519 or Ed448 key.
    #[error("the certified key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// Not of X.509 version 3.
    #[error("not an X.509 version 3 certificate")]
    Version,
    /// The signature is not Ed25519 or Ed448, or the two places that name its algorithm differ.
    #[error("the algorithm of the signature cannot be used")]
    Algorithm,
    /// The issuer's key did not make the signature.
    #[error("not signed by its issuer: {0}")]
    Signature(#[from] InvalidSignature),
    /// Issued by another than the certificate that follows it.
    #[error("not issued by the next certificate of the chain")]
    OtherIssuer,
    /// Issued by another than its subject.
    #[error("a single certificate must be self-signed")]
    NotSelfSigned,
    /// The private key is not that of the certificate.
    #[error("the private key does not belong to the certificate")]
    OtherKey,
    /// Not valid yet.
    #[error("not valid yet: {0}")]
    NotYetValid(Validity),
    /// Not valid any more.
    #[error("expired: {0}")]
    Expired(Validity),
    /// Not a PEM file.
    #[error(transparent)]
    Pem(#[from] PemError),
}

impl Certificate {
    /// Reads the DER of one certificate, and nothing after it.
    pub fn from_der(der: impl Into<Bytes>) -> Result<Self, CertificateError> {
        let der = der.into();
        let Fields { key, validity, .. } = Fields::read(&der)?;
        Ok(Self { der, key, validity })
    }

    /// Reads a PEM file with exactly one certificate.
    pub fn from_pem(text: &str) -> Result<Self, CertificateError> {
        let [der] = pem::read_all(pem::CERTIFICATE, text)?
            .try_into()
            .map_err(|all: Vec<_>| PemError::Count(pem::CERTIFICATE, all.len()))?;
        Self::from_der(der.to_vec())
    }

    /// The certificate as a PEM file.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::write(pem::CERTIFICATE, &self.der).to_string()
    }

    /// The DER as it was read or written.
    #[must_use]
    pub fn as_der(&self) -> &Bytes {
        &self.der
    }

    /// The certified key.
    #[must_use]
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The time in which the certificate is valid.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// The common name of whom the certificate is for, if it is text.
    #[must_use]
    pub fn common_name(&self) -> Option<String> {
        let subject = Fields::read(&self.der).ok()?.subject;
        let mut names = Reader::new(subject).nested(Tag::SEQUENCE).ok()?;
        while !names.is_empty() {
            let mut name = names.nested(Tag::SET).ok()?.nested(Tag::SEQUENCE).ok()?;
            if name.element(Tag::OBJECT_IDENTIFIER).ok()? == issue::COMMON_NAME {
                let text = match name.optional(Tag::UTF8_STRING).ok()? {
                    Some(text) => text,
                    None => name.element(Tag::PRINTABLE_STRING).ok()?,
                };
                return String::from_utf8(text.to_vec()).ok();
            }
        }
        None
    }

    /// SHA-256 of the DER.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.der)
    }

    /// Verifies that the certificate was issued by another one, and is valid now.
    pub fn verify_issued_by(&self, issuer: &Self, now: UnixTime) -> Result<(), CertificateError> {
        let fields = Fields::read(&self.der)?;
        if fields.issuer != Fields::read(&issuer.der)?.subject {
            return Err(CertificateError::OtherIssuer);
        }
        self.validity.check(now)?;
        Ok(issuer.key.verify(fields.signed, &fields.signature)?)
    }

    /// Verifies that the certificate was issued by its own key to its own subject, and is valid now.
    pub fn verify_self_signed(&self, now: UnixTime) -> Result<(), CertificateError> {
        let fields = Fields::read(&self.der)?;
        if fields.issuer != fields.subject {
            return Err(CertificateError::NotSelfSigned);
        }
        self.validity.check(now)?;
        Ok(self.key.verify(fields.signed, &fields.signature)?)
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("fingerprint", &self.fingerprint())
            .field("key", &self.key)
            .field("validity", &self.validity)
            .finish()
    }
}

struct Fields<'a> {
    signed: &'a [u8],
    signature: Signature,
    issuer: &'a [u8],
    subject: &'a [u8],
    key: VerifyingKey,
    validity: Validity,
    extensions: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn read(der: &'a [u8]) -> Result<Self, CertificateError> {
        let mut outer = Reader::new(der);
        let mut certificate = outer.nested(Tag::SEQUENCE)?;
        outer.finish()?;
        let signed = certificate.encoded(Tag::SEQUENCE)?;
        let algorithm = certificate.encoded(Tag::SEQUENCE)?;
        let signature = signature(algorithm, certificate.bit_string()?)?;
        certificate.finish()?;

        let mut fields = Reader::new(signed).nested(Tag::SEQUENCE)?;
        let mut version = fields.nested(Tag::constructed(0))?;
        if version.element(Tag::INTEGER)? != VERSION_3 {
            return Err(CertificateError::Version);
        }
        version.finish()?;
        fields.element(Tag::INTEGER)?;
        if fields.encoded(Tag::SEQUENCE)? != algorithm {
            return Err(CertificateError::Algorithm);
        }
        let issuer = fields.encoded(Tag::SEQUENCE)?;
        let validity = Validity::read(&mut fields)?;
        let subject = fields.encoded(Tag::SEQUENCE)?;
        let key = VerifyingKey::from_spki(fields.encoded(Tag::SEQUENCE)?)?;
        fields.optional(Tag::primitive(1))?;
        fields.optional(Tag::primitive(2))?;
        let extensions = fields.optional(Tag::constructed(3))?;
        fields.finish()?;
        Ok(Self {
            signed,
            signature,
            issuer,
            subject,
            key,
            validity,
            extensions,
        })
    }

    fn subject_key_identifier(&self) -> Result<Option<&'a [u8]>, DerError> {
        let Some(extensions) = self.extensions else {
            return Ok(None);
        };
        let mut extensions = Reader::new(extensions).nested(Tag::SEQUENCE)?;
        while !extensions.is_empty() {
            let mut extension = extensions.nested(Tag::SEQUENCE)?;
            let kind = extension.element(Tag::OBJECT_IDENTIFIER)?;
            extension.optional(Tag::BOOLEAN)?;
            let mut value = extension.nested(Tag::OCTET_STRING)?;
            if kind == issue::SUBJECT_KEY_IDENTIFIER {
                return value.element(Tag::OCTET_STRING).map(Some);
            }
        }
        Ok(None)
    }
}

const VERSION_3: [u8; 1] = [2];

/// The AlgorithmIdentifier of a key's algorithm, which is also that of its signatures.
const fn algorithm_identifier(algorithm: Algorithm) -> &'static [u8] {
    match algorithm {
        Algorithm::X25519 => b"\x30\x05\x06\x03\x2b\x65\x6e",
        Algorithm::X448 => b"\x30\x05\x06\x03\x2b\x65\x6f",
        Algorithm::Ed25519 => b"\x30\x05\x06\x03\x2b\x65\x70",
        Algorithm::Ed448 => b"\x30\x05\x06\x03\x2b\x65\x71",
    }
}

/// A signature of the algorithm that was announced.
fn signature(algorithm: &[u8], bytes: &[u8]) -> Result<Signature, CertificateError> {
    Signature::from_bytes(bytes)
        .ok()
        .filter(|signature| algorithm_identifier(signature.algorithm()) == algorithm)
        .ok_or(CertificateError::Algorithm)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::SigningKey;
    use crate::rng::Rng;
    use proptest::prelude::*;

    const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

    fn self_signed() -> Certificate {
        let key = SigningKey::generate(Algorithm::Ed25519, &mut Rng::from_seed([3; 32])).unwrap();
        Certificate::self_signed(&Name::new("simplex"), &key, Validity::days(NOW, 10))
    }

    #[test]
    fn a_self_signed_certificate_verifies_while_it_is_valid() {
        let certificate = self_signed();
        assert_eq!(certificate.common_name().as_deref(), Some("simplex"));
        assert_eq!(certificate.verify_self_signed(NOW), Ok(()));
        let validity = certificate.validity();
        assert_eq!(
            certificate.verify_self_signed(UnixTime::from_seconds(1_799_999_999)),
            Err(CertificateError::NotYetValid(validity))
        );
        assert_eq!(
            certificate.verify_self_signed(UnixTime::from_seconds(1_800_864_001)),
            Err(CertificateError::Expired(validity))
        );
    }

    #[test]
    fn a_certificate_issued_by_another_is_not_self_signed() {
        let mut rng = Rng::from_seed([3; 32]);
        let key = SigningKey::generate(Algorithm::Ed448, &mut rng).unwrap();
        let other = SigningKey::generate(Algorithm::Ed448, &mut rng).unwrap();
        let validity = Validity::days(NOW, 10);
        let authority = Certificate::self_signed(&Name::new("a"), &key, validity);
        let issuer = Issuer::new(&authority, &key).unwrap();
        let issued = Certificate::bare(&Name::new("b"), &other.public_key(), &issuer, validity);
        assert_eq!(
            issued.verify_self_signed(NOW),
            Err(CertificateError::NotSelfSigned)
        );
        let same_name = Certificate::bare(&Name::new("a"), &other.public_key(), &issuer, validity);
        assert_eq!(
            same_name.verify_self_signed(NOW),
            Err(CertificateError::Signature(InvalidSignature))
        );
    }

    #[test]
    fn a_certificate_is_verified_with_its_issuer() {
        let mut rng = Rng::from_seed([3; 32]);
        let key = SigningKey::generate(Algorithm::Ed448, &mut rng).unwrap();
        let other = SigningKey::generate(Algorithm::Ed25519, &mut rng).unwrap();
        let validity = Validity::days(NOW, 10);
        let authority = Certificate::self_signed(&Name::new("a"), &key, validity);
        let issuer = Issuer::new(&authority, &key).unwrap();
        let issued = Certificate::bare(&Name::new("b"), &other.public_key(), &issuer, validity);
        assert_eq!(issued.verify_issued_by(&authority, NOW), Ok(()));
        assert_eq!(
            issued.verify_issued_by(&issued, NOW),
            Err(CertificateError::OtherIssuer)
        );
        let namesake = Certificate::self_signed(&Name::new("a"), &other, validity);
        assert_eq!(
            issued.verify_issued_by(&namesake, NOW),
            Err(CertificateError::Signature(InvalidSignature))
        );
        let chain = Chain::new([issued, authority]).unwrap();
        assert!(chain.is_valid(NOW));
        assert!(!chain.is_valid(UnixTime::from_seconds(1_900_000_000)));
    }

    #[test]
    fn pem_round_trips() {
        let certificate = self_signed();
        let text = certificate.to_pem();
        assert_eq!(Certificate::from_pem(&text), Ok(certificate));
        assert_eq!(
            Certificate::from_pem(&text.repeat(2)),
            Err(PemError::Count(pem::CERTIFICATE, 2).into())
        );
    }

    proptest! {
        #[test]
        fn no_altered_bit_goes_unnoticed(at in 0_usize..250, bit in 0..8_u8) {
            let certificate = self_signed();
            let mut der = certificate.as_der().to_vec();
            let at = at % der.len();
            der[at] ^= 1 << bit;
            let verified = Certificate::from_der(der).and_then(|altered| altered.verify_self_signed(NOW));
            prop_assert!(verified.is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(Certificate::from_der(bytes).is_err());
        }
    }
}
