//! The Finished messages of one handshake, as the tapped cipher suites computed them.

use crate::session::{SessionId, TlsVersion};

/// What the tap has seen in one handshake.
///
/// A full handshake computes the MACs of exactly two Finished messages: in TLS 1.3 the server's and then the client's, through HKDF
/// and without a label; in TLS 1.2 each through the PRF under its label. Anything else (a resumption, another use of the same functions
/// in a later rustls) is no session id.
#[derive(Debug, Default)]
pub(super) struct Finished {
    macs: Values,
    client: Values,
    server: Values,
}

/// The tap saw something else than the two Finished messages of a full handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the session id is not certain: {version:?} computed {macs} MACs, {client} client and {server} server Finished, the last of {length:?} bytes"
)]
pub struct UnexpectedFinished {
    version: TlsVersion,
    macs: u8,
    client: u8,
    server: u8,
    length: Option<usize>,
}

impl Finished {
    /// HKDF of TLS 1.3 has computed a MAC.
    pub(super) fn mac(&mut self, tag: &[u8]) {
        self.macs.push(tag);
    }

    /// The PRF of TLS 1.2 has computed the client's Finished.
    pub(super) fn client(&mut self, verify_data: &[u8]) {
        self.client.push(verify_data);
    }

    /// The PRF of TLS 1.2 has computed the server's Finished.
    pub(super) fn server(&mut self, verify_data: &[u8]) {
        self.server.push(verify_data);
    }

    /// The client's Finished, if nothing but a full handshake of this version with a hash of this length can have happened.
    pub(super) fn session_id(
        &self,
        version: TlsVersion,
        hash_length: usize,
    ) -> Result<SessionId, UnexpectedFinished> {
        let (last, length) = match version {
            TlsVersion::Tls13 => (self.macs.last, hash_length),
            TlsVersion::Tls12 => (self.client.last, TLS12_LENGTH),
        };
        let expected = match version {
            TlsVersion::Tls13 => (2, 0, 0),
            TlsVersion::Tls12 => (0, 1, 1),
        };
        let found = (self.macs.count, self.client.count, self.server.count);
        last.filter(|id| found == expected && id.as_bytes().len() == length)
            .ok_or_else(|| UnexpectedFinished {
                version,
                macs: self.macs.count,
                client: self.client.count,
                server: self.server.count,
                length: last.map(|id| id.as_bytes().len()),
            })
    }
}

const TLS12_LENGTH: usize = 12;

#[derive(Debug, Default)]
struct Values {
    count: u8,
    /// `None` also if the last value was of no length that a Finished message has.
    last: Option<SessionId>,
}

impl Values {
    fn push(&mut self, value: &[u8]) {
        self.count = self.count.saturating_add(1);
        self.last = SessionId::try_from(value).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: [u8; 32] = [1; 32];
    const CLIENT: [u8; 32] = [2; 32];

    #[test]
    fn tls_1_3_computes_the_clients_finished_second() {
        let mut finished = Finished::default();
        finished.mac(&SERVER);
        assert!(finished.session_id(TlsVersion::Tls13, 32).is_err());
        finished.mac(&CLIENT);
        assert_eq!(
            finished.session_id(TlsVersion::Tls13, 32),
            Ok(SessionId::Sha256(CLIENT))
        );
        finished.mac(&CLIENT);
        assert!(finished.session_id(TlsVersion::Tls13, 32).is_err());
    }

    #[test]
    fn tls_1_2_names_both() {
        let mut finished = Finished::default();
        finished.client(&[2; 12]);
        assert!(finished.session_id(TlsVersion::Tls12, 32).is_err());
        finished.server(&[1; 12]);
        assert_eq!(
            finished.session_id(TlsVersion::Tls12, 32),
            Ok(SessionId::Tls12([2; 12]))
        );
        finished.client(&[2; 12]);
        assert!(finished.session_id(TlsVersion::Tls12, 32).is_err());
    }

    #[test]
    fn what_belongs_to_the_other_version_makes_it_uncertain() {
        let mut finished = Finished::default();
        finished.mac(&SERVER);
        finished.mac(&CLIENT);
        assert!(finished.session_id(TlsVersion::Tls12, 32).is_err());
        finished.client(&[2; 12]);
        assert!(finished.session_id(TlsVersion::Tls13, 32).is_err());
    }

    #[test]
    fn another_length_than_the_hash_has_makes_it_uncertain() {
        let mut finished = Finished::default();
        finished.mac(&SERVER);
        finished.mac(&CLIENT);
        assert!(finished.session_id(TlsVersion::Tls13, 48).is_err());
        finished.macs.last = None;
        let error = finished.session_id(TlsVersion::Tls13, 32).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the session id is not certain: Tls13 computed 2 MACs, 0 client and 0 server Finished, the last of None bytes"
        );
    }
}
