//! What a secured session agreed on: all that a machine above TLS needs to know of it.

use std::sync::Arc;

use crate::crypto::certificate::Chain;
use crate::wire::Id;

/// What both sides of a TLS session agreed on.
///
/// A machine above TLS is made from these facts, so that it cannot exist without them. Simulations that leave TLS out make them up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// What binds everything that is signed in the session to it.
    pub session_id: SessionId,
    /// The version of TLS.
    pub version: TlsVersion,
    /// The application protocol; `None` if the client offered none.
    pub protocol: Option<&'static str>,
    /// The host name that the client asked for.
    pub server_name: Option<String>,
    /// What this side showed to the peer.
    pub shown: Shown,
    /// What the peer showed, verified; `None` if it showed nothing.
    pub peer: Option<Chain>,
}

/// Which certificates a side showed to its peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// None: a client that was not asked for any, or has none that the router accepts.
    Nothing,
    /// Those of its own identity.
    Identity(Arc<Chain>),
    /// Those of the web server that shares the port.
    Web,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// The client's Finished message, which both sides of a TLS session know and no other session has: tls-unique of RFC 5929.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SessionId {
    /// Of TLS 1.2.
    Tls12([u8; 12]),
    /// Of TLS 1.3 with SHA-256.
    Sha256([u8; 32]),
    /// Of TLS 1.3 with SHA-384, on a port that web browsers share.
    Sha384([u8; 48]),
}

/// No session id has this length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no session id has {0} bytes")]
pub struct SessionIdLength(pub usize);

impl SessionId {
    /// The bytes, 12, 32 or 48 of them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Tls12(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
            Self::Sha384(bytes) => bytes,
        }
    }
}

impl From<SessionId> for Id {
    fn from(id: SessionId) -> Self {
        Self::try_from(id.as_bytes()).unwrap_or_default()
    }
}

impl TryFrom<&[u8]> for SessionId {
    type Error = SessionIdLength;

    fn try_from(bytes: &[u8]) -> Result<Self, SessionIdLength> {
        if let Ok(bytes) = bytes.try_into() {
            Ok(Self::Tls12(bytes))
        } else if let Ok(bytes) = bytes.try_into() {
            Ok(Self::Sha256(bytes))
        } else if let Ok(bytes) = bytes.try_into() {
            Ok(Self::Sha384(bytes))
        } else {
            Err(SessionIdLength(bytes.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_id_has_one_of_three_lengths() {
        for length in [12, 32, 48] {
            let bytes = vec![7; length];
            let id = SessionId::try_from(bytes.as_slice()).unwrap();
            assert_eq!(id.as_bytes(), bytes);
            assert_eq!(Id::from(id)[..], bytes);
        }
        for length in [0, 11, 13, 31, 33, 47, 49, 64] {
            let refused = SessionId::try_from(vec![7; length].as_slice());
            assert_eq!(refused, Err(SessionIdLength(length)));
        }
    }
}
