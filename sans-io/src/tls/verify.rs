//! Who the peer is: the certificates of a router against its pinned identity, those of a service against themselves.

use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{self, CertificateDer, ServerName};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage, VerifiedPath,
    anchor_from_trusted_cert,
};

use super::ambient;
use super::signature::ALGORITHMS;
use crate::crypto::certificate::{
    Certificate, CertificateError, Chain, ChainError, ChainKind, Fingerprint,
};
use crate::time::UnixTime;

/// Why the certificates of a peer were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefused {
    /// They are no chain.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// One of them cannot be trusted.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A router must show an identity certificate besides that of its TLS key.
    #[error("a router must show at least two certificates")]
    NoIdentity,
    /// Another router answers at this address.
    #[error("the router's identity is {found}, but {expected} was expected")]
    OtherIdentity {
        /// The fingerprint in the router's address.
        expected: Fingerprint,
        /// The fingerprint of the identity certificate that was shown.
        found: Fingerprint,
    },
    /// The leaf was not issued under the identity certificate and the trust anchor.
    #[error("the certificates do not lead from the leaf over the identity to the last one: {0}")]
    Path(webpki::Error),
}

impl CertificateRefused {
    /// Leaves the reason with the session and gives rustls what decides on the alert.
    fn into_alert(self) -> Error {
        let alert = match &self {
            Self::Chain(_) | Self::NoIdentity => rustls::CertificateError::BadEncoding,
            Self::OtherIdentity { .. } | Self::Path(_) => rustls::CertificateError::UnknownIssuer,
            Self::Certificate(CertificateError::Expired(_)) => rustls::CertificateError::Expired,
            Self::Certificate(CertificateError::NotYetValid(_)) => {
                rustls::CertificateError::NotValidYet
            }
            Self::Certificate(_) => rustls::CertificateError::BadSignature,
        };
        ambient::handshake(|handshake| handshake.refused = Some(self)).unwrap_or_default();
        Error::InvalidCertificate(alert)
    }
}

/// How a client verifies a router, whose host name does not matter.
#[derive(Debug)]
pub(super) struct PinnedIdentity(pub(super) Fingerprint);

/// Verifies what a router shows against the identity in its address. What a relay shows, through a proxy, is verified in the same way.
pub fn verify_router(
    chain: &Chain,
    identity: &Fingerprint,
    now: UnixTime,
) -> Result<(), CertificateRefused> {
    if chain.kind() == ChainKind::SelfSigned {
        return Err(CertificateRefused::NoIdentity);
    }
    let (expected, found) = (*identity, chain.fingerprint());
    if found != expected {
        return Err(CertificateRefused::OtherIdentity { expected, found });
    }
    verify_path(chain, KeyUsage::server_auth(), now)
}

/// Verifies what a service shows: one certificate that is its own issuer, or a chain.
///
/// Nobody is expected here. What is verified is that the service may call itself by the fingerprint of its identity.
fn verify_service(chain: &Chain, now: UnixTime) -> Result<(), CertificateRefused> {
    match chain.kind() {
        ChainKind::SelfSigned => Ok(chain.leaf().verify_self_signed(now)?),
        ChainKind::Issued => verify_path(chain, AnyUsage, now),
    }
}

/// What a service's certificate may be used for elsewhere does not matter: it proves no more than that its owner is the same as before.
struct AnyUsage;

impl ExtendedKeyUsageValidator for AnyUsage {
    fn validate(&self, _: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        Ok(())
    }
}

impl ServerCertVerifier for PinnedIdentity {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: pki_types::UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        chain(leaf, issuers)
            .and_then(|chain| verify_router(&chain, &self.0, unix_time(now)))
            .map(|()| ServerCertVerified::assertion())
            .map_err(CertificateRefused::into_alert)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &ALGORITHMS)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

/// How a router verifies its clients, most of which show nothing.
#[derive(Debug)]
pub(super) struct AnyService;

impl ClientCertVerifier for AnyService {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        issuers: &[CertificateDer<'_>],
        now: pki_types::UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        chain(leaf, issuers)
            .and_then(|chain| verify_service(&chain, unix_time(now)))
            .map(|()| ClientCertVerified::assertion())
            .map_err(CertificateRefused::into_alert)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &ALGORITHMS)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &ALGORITHMS)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ALGORITHMS.supported_schemes()
    }
}

fn chain(
    leaf: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
) -> Result<Chain, CertificateRefused> {
    let certificates = std::iter::once(leaf).chain(issuers);
    Ok(Chain::from_der(certificates.map(AsRef::as_ref))?)
}

/// Verifies that all certificates are valid now, and that the leaf was issued by the identity, under the last certificate.
///
/// The last certificate is anything that the peer likes to show, so a path to it proves nothing unless the identity is on it: without
/// that, the genuine identity certificate of another could stand in a chain whose leaf was issued by the last one directly.
fn verify_path(
    chain: &Chain,
    usage: impl ExtendedKeyUsageValidator,
    now: UnixTime,
) -> Result<(), CertificateRefused> {
    for certificate in chain.certificates() {
        certificate.validity().check(now)?;
    }
    let seconds = Duration::from_secs(u64::try_from(now.seconds()).unwrap_or_default());
    let now = pki_types::UnixTime::since_unix_epoch(seconds);
    let leaf = der(chain.leaf());
    let anchor = der(chain.anchor());
    let between: Vec<_> = between(chain).map(der).collect();
    let identity_is_issuer = |path: &VerifiedPath<'_>| {
        let first = path.intermediate_certificates().next();
        if first.map(|certificate| certificate.der()) == between.first().cloned() {
            Ok(())
        } else {
            Err(webpki::Error::UnknownIssuer)
        }
    };
    let anchor = anchor_from_trusted_cert(&anchor).map_err(CertificateRefused::Path)?;
    EndEntityCert::try_from(&leaf)
        .and_then(|leaf| {
            leaf.verify_for_usage(
                ALGORITHMS.all,
                &[anchor],
                &between,
                now,
                usage,
                None,
                Some(&identity_is_issuer),
            )
            .map(|_| ())
        })
        .map_err(CertificateRefused::Path)
}

/// The certificates between the leaf and the last; the first of them, if any, is the identity.
fn between(chain: &Chain) -> impl Iterator<Item = &Certificate> {
    let length = chain.certificates().count();
    chain.certificates().take(length.saturating_sub(1)).skip(1)
}

fn der(certificate: &Certificate) -> CertificateDer<'_> {
    CertificateDer::from(certificate.as_der().as_ref())
}

fn unix_time(time: pki_types::UnixTime) -> UnixTime {
    UnixTime::from_seconds(i64::try_from(time.as_secs()).unwrap_or(i64::MAX))
}
