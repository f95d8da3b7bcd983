//! Why TLS fails.

use super::finished::UnexpectedFinished;
use super::verify::CertificateRefused;

/// Why a session of TLS died.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The peer's certificates were refused.
    #[error("the peer's certificates were refused: {0}")]
    Certificate(#[from] CertificateRefused),
    /// One of the sides does not follow TLS, or refuses what the other offers.
    #[error("TLS: {0}")]
    Protocol(#[from] rustls::Error),
    /// The value that binds signatures to the session is not certain.
    #[error(transparent)]
    SessionId(#[from] UnexpectedFinished),
    /// The peer sends more than a handshake needs.
    #[error("the handshake is not complete after {0} bytes")]
    HandshakeTooLong(usize),
    /// More is to be sent at once than may wait.
    #[error("more than {0} bytes are to be sent at once")]
    TooMuchUnsent(usize),
}

/// Why a machine above TLS and its session died.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error<E> {
    /// TLS failed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The machine above TLS failed.
    #[error("{0}")]
    Upper(E),
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A router has an identity certificate besides that of its TLS key.
    #[error("a router needs at least two certificates")]
    NoIdentity,
    /// The library refuses the configuration.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}
