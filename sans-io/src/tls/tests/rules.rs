//! Who is let in: identities, certificates, application protocols, versions and groups.

use rustls::sign::Signer;
use rustls::{AlertDescription, PeerIncompatible, SignatureAlgorithm, SignatureScheme};

use super::*;
use crate::crypto::certificate::{CertificateError, ChainError, Fingerprint};

/// Runs a handshake in which the client refuses the router, and gives the reason.
#[track_caller]
fn refused_router(client: ClientOptions, server: ServerOptions) -> CertificateRefused {
    let mut pair = Pair::new(client, server);
    pair.run();
    assert_eq!((pair.client.facts(), pair.server.facts()), (None, None));
    let TlsError::Protocol(rustls::Error::AlertReceived(_)) = pair.server.tls_error() else {
        panic!(
            "the router was told by an alert, not {:?}",
            pair.server.error
        );
    };
    let TlsError::Certificate(refused) = pair.client.tls_error() else {
        panic!("not a certificate but {:?}", pair.client.error);
    };
    refused
}

/// Runs a handshake in which the router refuses the client, and gives the reason.
#[track_caller]
fn refused_service(service: Credentials) -> CertificateRefused {
    let router = credentials(&[Ed25519; 2], 1);
    let client = ClientOptions {
        credentials: Some(service),
        ..client_of(&router)
    };
    let server = ServerOptions {
        client_certificates: ClientCertificates::Asked,
        ..server_of(&router)
    };
    let mut pair = Pair::new(client, server);
    pair.run();
    assert_eq!(pair.server.facts(), None);
    let TlsError::Protocol(rustls::Error::AlertReceived(_)) = pair.client.tls_error() else {
        panic!(
            "the client was told by an alert, not {:?}",
            pair.client.error
        );
    };
    let TlsError::Certificate(refused) = pair.server.tls_error() else {
        panic!("not a certificate but {:?}", pair.server.error);
    };
    refused
}

fn parts(length: usize, seed: u8) -> (Vec<Certificate>, SigningKey) {
    let (chain, key) = chain(&[Ed25519; 4][..length], seed, validity());
    (chain.certificates().cloned().collect(), key)
}

#[test]
fn another_identity_is_refused_by_name() {
    let router = credentials(&[Ed25519; 2], 1);
    let expected = Fingerprint::from_bytes([7; 32]);
    let client = ClientOptions::new(expected);
    let found = router.chain().fingerprint();
    let refused = refused_router(client, server_of(&router));
    assert_eq!(
        refused,
        CertificateRefused::OtherIdentity { expected, found }
    );
    assert!(
        refused
            .to_string()
            .ends_with("but BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc= was expected")
    );
}

#[test]
fn the_fingerprint_of_the_leaf_or_the_anchor_is_not_the_identity() {
    let router = credentials(&[Ed25519; 3], 1);
    for certificate in [router.chain().leaf(), router.chain().anchor()] {
        let client = ClientOptions::new(certificate.fingerprint());
        let refused = refused_router(client, server_of(&router));
        assert!(matches!(refused, CertificateRefused::OtherIdentity { .. }));
    }
}

#[test]
fn a_leaf_that_the_identity_did_not_issue_is_refused() {
    let genuine = credentials(&[Ed25519; 2], 1);
    let (mallory, key) = parts(2, 2);
    let forged = genuine
        .clone()
        .forged(&[&mallory[0], genuine.chain().identity()], key);
    let refused = refused_router(client_of(&genuine), server_of(&forged));
    assert_eq!(
        refused,
        CertificateRefused::Path(webpki::Error::UnknownIssuer)
    );
}

/// The last certificate is the trust anchor, whoever made it. A genuine identity beside the path must not help.
#[test]
fn a_leaf_under_an_anchor_of_ones_own_is_refused_beside_a_genuine_identity() {
    let genuine = credentials(&[Ed25519; 2], 1);
    let identity = genuine.chain().identity();
    let (mallory, key) = parts(2, 2);
    let short = [&mallory[0], identity, &mallory[1]];
    let (longer, longer_key) = parts(3, 2);
    let long = [&longer[0], identity, &longer[1], &longer[2]];
    for (shown, key) in [(&short[..], key), (&long[..], longer_key)] {
        let forged = genuine.clone().forged(shown, key.clone());
        let refused = refused_router(client_of(&genuine), server_of(&forged));
        assert!(matches!(refused, CertificateRefused::Path(_)), "{refused}");

        let forged = credentials(&[Ed25519; 2], 3).forged(shown, key);
        let refused = refused_service(forged);
        assert!(matches!(refused, CertificateRefused::Path(_)), "{refused}");
    }
}

#[test]
fn a_leaf_without_its_key_is_of_no_use() {
    let genuine = credentials(&[Ed25519; 2], 1);
    let shown = [genuine.chain().leaf(), genuine.chain().identity()];
    let (_, key) = parts(2, 2);
    let forged = genuine.clone().forged(&shown, key);
    for versions in [Versions::Tls13, Versions::Tls12] {
        let client = ClientOptions {
            versions,
            ..client_of(&genuine)
        };
        let mut pair = Pair::new(client, server_of(&forged));
        pair.run();
        assert_eq!((pair.client.facts(), pair.server.facts()), (None, None));
        assert!(matches!(pair.client.tls_error(), TlsError::Protocol(_)));

        let client = ClientOptions {
            versions,
            credentials: Some(forged.clone()),
            ..client_of(&genuine)
        };
        let server = ServerOptions {
            client_certificates: ClientCertificates::Asked,
            ..server_of(&genuine)
        };
        let mut pair = Pair::new(client, server);
        pair.run();
        assert_eq!(pair.server.facts(), None);
        assert!(matches!(pair.server.tls_error(), TlsError::Protocol(_)));
    }
}

#[test]
fn certificates_are_refused_outside_their_validity() {
    let expired = Validity::days(UnixTime::from_seconds(START.unix.seconds() - 172_800), 1);
    let later = Validity::days(UnixTime::from_seconds(START.unix.seconds() + 1), 1);
    for (validity, error) in [
        (expired, CertificateError::Expired(expired)),
        (later, CertificateError::NotYetValid(later)),
    ] {
        for length in 1..=4 {
            let (chain, key) = chain(&[Ed448; 4][..length], 1, validity);
            let credentials = Credentials::new(chain, key).unwrap();
            let refused = CertificateRefused::Certificate(error.clone());
            assert_eq!(refused_service(credentials.clone()), refused);
            if length > 1 {
                let (client, server) = (client_of(&credentials), server_of(&credentials));
                assert_eq!(refused_router(client, server), refused);
            }
        }
    }
}

#[test]
fn one_certificate_is_no_router_and_five_are_nobody() {
    let genuine = credentials(&[Ed25519; 4], 1);
    let (one, key) = parts(1, 2);
    let self_signed = genuine.clone().forged(&[&one[0]], key);
    let client = || ClientOptions::new(one[0].fingerprint());
    let refused = refused_router(client(), server_of(&self_signed));
    assert_eq!(refused, CertificateRefused::NoIdentity);

    let (four, key) = parts(4, 1);
    let five: Vec<_> = four.iter().chain(&one).collect();
    let too_many = genuine.clone().forged(&five, key);
    let too_long = CertificateRefused::Chain(ChainError::TooLong);
    let refused = refused_router(client_of(&genuine), server_of(&too_many));
    assert_eq!(refused, too_long);
    assert_eq!(refused_service(too_many), too_long);

    let credentials = Credentials::new(Chain::new(one).unwrap(), parts(1, 2).1).unwrap();
    assert_eq!(
        ServerConfig::new(ServerOptions::new(credentials)).err(),
        Some(ConfigError::NoIdentity)
    );
}

#[test]
fn a_single_certificate_of_a_service_must_be_its_own_issuer() {
    let mut rng = Rng::from_seed([1; 32]);
    let [key, other] = [(); 2].map(|()| SigningKey::generate(Ed25519, &mut rng).unwrap());
    let authority = Certificate::self_signed(&Name::new("same name"), &other, validity());
    let issuer = Issuer::new(&authority, &other).unwrap();
    let (name, public_key) = (Name::new("same name"), key.public_key());
    let issued = Certificate::bare(&name, &public_key, &issuer, validity());
    let service = Credentials::new(Chain::new([issued]).unwrap(), key).unwrap();
    assert!(matches!(
        refused_service(service),
        CertificateRefused::Certificate(CertificateError::Signature(_))
    ));
}

#[test]
fn credentials_of_a_client_that_is_not_asked_stay_with_it() {
    let router = credentials(&[Ed25519; 2], 1);
    let client = ClientOptions {
        credentials: Some(credentials(&[Ed25519; 1], 2)),
        ..client_of(&router)
    };
    let mut pair = Pair::new(client, server_of(&router));
    pair.run();
    let (client, server) = pair.assert_secured();
    assert_eq!(client.shown, Shown::Nothing);
    assert_eq!(server.peer, None);
}

/// What a client with these protocols and a router with those agree on.
#[track_caller]
fn agreed(client: &[&'static str], server: &[&'static str]) -> Option<&'static str> {
    let router = credentials(&[Ed25519; 2], 1);
    let client = ClientOptions {
        protocols: client.to_vec(),
        ..client_of(&router)
    };
    let server = ServerOptions {
        protocols: server.to_vec(),
        ..server_of(&router)
    };
    let mut pair = Pair::new(client, server);
    pair.run();
    pair.assert_secured().0.protocol
}

#[test]
fn the_first_protocol_of_the_client_that_the_router_speaks_is_chosen() {
    let router = ["smp/1", "h2", "http/1.1"];
    assert_eq!(agreed(&["smp/1"], &router), Some("smp/1"));
    assert_eq!(agreed(&["h2", "smp/1"], &router), Some("h2"));
    assert_eq!(agreed(&["smp/1", "h2"], &router), Some("smp/1"));
    assert_eq!(agreed(&["spdy", "http/1.1"], &router), Some("http/1.1"));
    assert_eq!(agreed(&[], &router), None);
    assert_eq!(agreed(&["smp/1"], &[]), None);
}

#[test]
fn a_client_without_a_common_protocol_is_turned_away() {
    let router = credentials(&[Ed25519; 2], 1);
    for versions in [Versions::Tls13, Versions::Tls12] {
        let client = ClientOptions {
            protocols: vec!["xftp/1"],
            versions,
            ..client_of(&router)
        };
        let mut pair = Pair::new(client, server_of(&router));
        pair.run();
        let refused = rustls::Error::NoApplicationProtocol;
        assert_eq!(pair.server.tls_error(), refused.into());
        let alert = rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol);
        assert_eq!(pair.client.tls_error(), alert.into());
    }
}

#[test]
fn sides_without_a_common_version_part() {
    let router = credentials(&[Ed25519; 2], 1);
    let client = ClientOptions {
        versions: Versions::Tls12,
        ..client_of(&router)
    };
    let server = ServerOptions {
        versions: Versions::Tls13,
        ..server_of(&router)
    };
    let mut pair = Pair::new(client, server);
    pair.run();
    assert!(matches!(
        pair.server.tls_error(),
        TlsError::Protocol(rustls::Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
        ))
    ));
    let alert = rustls::Error::AlertReceived(AlertDescription::ProtocolVersion);
    assert_eq!(pair.client.tls_error(), alert.into());
}

/// The random value by which a hello of the server asks for another key share (RFC 8446, 4.1.3).
const RETRY: [u8; 8] = [0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11];

#[track_caller]
fn secured_with_retry(client: Groups, server: Groups) -> bool {
    let router = credentials(&[Ed25519; 2], 1);
    let client = ClientOptions {
        groups: client,
        ..client_of(&router)
    };
    let server = ServerOptions {
        groups: server,
        ..server_of(&router)
    };
    let mut pair = Pair::new(client, server);
    let mut retried = false;
    pair.run_through(|from, bytes| {
        let asks = bytes.windows(RETRY.len()).any(|window| window == RETRY);
        retried |= from == Sender::Server && asks;
        vec![bytes]
    });
    pair.assert_secured();
    retried
}

#[test]
fn only_a_router_without_the_clients_first_group_asks_again() {
    let both = Groups::default();
    for client in [Groups::X448, Groups::X448First, Groups::X25519, both] {
        assert!(!secured_with_retry(client, both), "{client:?}");
    }
    assert!(secured_with_retry(Groups::X25519First, Groups::X448));
    assert!(secured_with_retry(Groups::X448First, Groups::X25519));
}

#[test]
fn routers_with_certificates_of_openssl_are_served() {
    for file in [
        include_str!("../../crypto/certificate/openssl_ed25519.pem"),
        include_str!("../../crypto/certificate/openssl_ed448.pem"),
    ] {
        let router = Credentials::from_pem(file, file).unwrap();
        let fingerprint = router.chain().fingerprint();
        assert_eq!(
            verify_router(router.chain(), &fingerprint, START.unix),
            Ok(())
        );
        let mut pair = Pair::new(client_of(&router), server_of(&router));
        pair.run().assert_secured();
    }
}

/// Computes one more MAC than a handshake needs, as a later rustls might.
#[derive(Debug)]
struct Meddling(Arc<dyn rustls::sign::SigningKey>);

impl rustls::sign::SigningKey for Meddling {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        ambient::record(|finished| finished.mac(&[7; 32]));
        self.0.choose_scheme(offered)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.0.algorithm()
    }
}

#[test]
fn a_session_whose_id_is_not_certain_is_not_secured() {
    let router = credentials(&[Ed25519; 2], 1);
    let meddling = router.clone().signing_with(|key| Arc::new(Meddling(key)));
    for versions in [Versions::Tls13, Versions::Tls12] {
        let client = ClientOptions {
            versions,
            ..client_of(&router)
        };
        let mut pair = Pair::new(client, server_of(&meddling));
        pair.run();
        assert_eq!(pair.server.facts(), None);
        assert!(matches!(pair.server.tls_error(), TlsError::SessionId(_)));
        assert_eq!(pair.client.received(), b"");
    }
}

#[test]
fn sessions_move_between_threads() {
    fn assert_send<T: Send>() {}
    assert_send::<Tls<Pipe>>();
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let router = credentials(&[Ed448, Ed25519], 1);
    let record = |seed| {
        let mut pair = Pair::seeded(client_of(&router), server_of(&router), seed);
        let mut record = Vec::new();
        pair.run_through(|from, bytes| {
            record.push((from, bytes.clone()));
            vec![bytes]
        });
        pair.assert_secured();
        record
    };
    assert_eq!(record(1), record(1));
    assert_ne!(record(1), record(2));
}
