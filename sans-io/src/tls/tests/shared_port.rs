//! A port that a web server shares: whoever names a host is a browser.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{self, CertificateDer, ServerName};
use rustls::{CipherSuite, ClientConnection, DigitallySignedStruct, SignatureScheme};

use super::*;
use crate::tls::suites;

const ECDSA: &str = include_str!("web_ecdsa.pem");
const RSA: &str = include_str!("web_rsa.pem");

fn shared(router: &Credentials, web: &str) -> Arc<ServerConfig> {
    let options = ServerOptions {
        protocols: vec!["smp/1", "h2", "http/1.1"],
        client_certificates: ClientCertificates::Asked,
        web: Some(Web {
            credentials: WebCredentials::from_pem(web, web).unwrap(),
            protocols: vec!["h2", "http/1.1"],
        }),
        ..ServerOptions::new(router.clone())
    };
    Arc::new(ServerConfig::new(options).unwrap())
}

/// A web browser, which trusts anybody here.
#[derive(Debug)]
struct Browser(Arc<CryptoProvider>);

impl Browser {
    fn connect(suite: CipherSuite, name: Option<&str>, protocols: &[&str]) -> ClientConnection {
        let mut provider = ring::default_provider();
        provider
            .cipher_suites
            .retain(|known| known.suite() == suite);
        let provider = Arc::new(provider);
        let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Self(provider)))
            .with_no_client_auth();
        config.enable_sni = name.is_some();
        config.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let name = ServerName::try_from(name.unwrap_or("nobody.example.com").to_owned());
        ClientConnection::new(Arc::new(config), name.unwrap()).unwrap()
    }
}

impl ServerCertVerifier for Browser {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: pki_types::UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Lets a browser speak to the router until both are quiet.
fn browse(config: &Arc<ServerConfig>, mut browser: ClientConnection) -> (Side, ClientConnection) {
    let rng = Rng::from_seed([1; 32]);
    let tls = Tls::server(config, START, rng, |facts, _| Pipe::new(facts, PONG));
    let mut server = Side::new(tls);
    loop {
        let mut bytes = Vec::new();
        while browser.wants_write() {
            browser.write_tls(&mut bytes).unwrap();
        }
        if bytes.is_empty() {
            return (server, browser);
        }
        server.give(START, Input::Bytes(&bytes));
        for bytes in server.unsent.drain(..) {
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                browser.read_tls(&mut rest).unwrap();
                browser.process_new_packets().unwrap();
            }
        }
    }
}

#[test]
fn a_browser_gets_the_web_server_with_any_suite() {
    let router = credentials(&[Ed25519; 2], 1);
    for (web, suites) in [
        (
            ECDSA,
            [
                (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, 32),
                (CipherSuite::TLS13_AES_128_GCM_SHA256, 32),
                (CipherSuite::TLS13_AES_256_GCM_SHA384, 48),
                (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 12),
                (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, 12),
            ],
        ),
        (
            RSA,
            [
                (CipherSuite::TLS13_AES_256_GCM_SHA384, 48),
                (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, 32),
                (CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, 12),
                (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, 12),
                (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, 12),
            ],
        ),
    ] {
        let config = shared(&router, web);
        for (suite, length) in suites {
            let browser = Browser::connect(suite, Some("web.example.com"), &["h2", "http/1.1"]);
            let (server, browser) = browse(&config, browser);
            let facts = server.facts().unwrap();
            assert_eq!(facts.shown, Shown::Web);
            assert_eq!(facts.server_name.as_deref(), Some("web.example.com"));
            assert_eq!(facts.protocol, Some("h2"));
            assert_eq!(facts.session_id.as_bytes().len(), length, "{suite:?}");
            assert_eq!(browser.alpn_protocol(), Some(&b"h2"[..]));
            let shown = browser.peer_certificates().unwrap();
            assert_eq!(shown[0].as_ref(), pem_certificate(web));
        }
    }
}

fn pem_certificate(text: &str) -> Vec<u8> {
    use crate::crypto::pem;
    pem::read_all(pem::CERTIFICATE, text).unwrap()[0].to_vec()
}

#[test]
fn who_names_no_host_gets_the_router_also_with_a_browsers_suite() {
    let router = credentials(&[Ed25519; 2], 1);
    let config = shared(&router, ECDSA);
    let suite = CipherSuite::TLS13_AES_256_GCM_SHA384;
    let (server, browser) = browse(&config, Browser::connect(suite, None, &["h2"]));
    let facts = server.facts().unwrap();
    assert_eq!(facts.shown, Shown::Identity(Arc::clone(router.chain())));
    assert_eq!(
        (facts.server_name.as_deref(), facts.protocol),
        (None, Some("h2"))
    );
    assert_eq!(facts.session_id.as_bytes().len(), 48);
    let shown = browser.peer_certificates().unwrap();
    assert_eq!(shown[0].as_ref(), router.chain().leaf().as_der());
}

#[test]
fn without_a_web_server_a_name_changes_nothing() {
    let router = credentials(&[Ed25519; 2], 1);
    let config = Arc::new(ServerConfig::new(server_of(&router)).unwrap());
    let suite = CipherSuite::TLS13_CHACHA20_POLY1305_SHA256;
    let (server, _) = browse(
        &config,
        Browser::connect(suite, Some("web.example.com"), &["smp/1"]),
    );
    let facts = server.facts().unwrap();
    assert_eq!(facts.shown, Shown::Identity(Arc::clone(router.chain())));
    assert_eq!(facts.server_name.as_deref(), Some("web.example.com"));
}

#[test]
fn a_client_of_the_router_is_at_home_on_a_shared_port() {
    let router = credentials(&[Ed448, Ed25519], 1);
    for versions in [Versions::Tls13, Versions::Tls12] {
        let client = ClientOptions {
            versions,
            credentials: Some(credentials(&[Ed448], 2)),
            ..client_of(&router)
        };
        let client = Arc::new(ClientConfig::new(client).unwrap());
        let mut pair = Pair::of(&client, &shared(&router, RSA), 1);
        pair.run();
        let (client, server) = pair.assert_secured();
        assert_eq!(
            client.shown,
            Shown::Identity(Arc::clone(credentials(&[Ed448], 2).chain()))
        );
        assert!(server.peer.is_some());
    }
}

/// Our own client with the suites of browsers: both taps must see the same.
#[test]
fn both_sides_have_one_session_id_with_every_suite() {
    let router = credentials(&[Ed25519; 2], 1);
    let server = shared(&router, ECDSA);
    for (suite, length) in [
        (CipherSuite::TLS13_CHACHA20_POLY1305_SHA256, 32),
        (CipherSuite::TLS13_AES_128_GCM_SHA256, 32),
        (CipherSuite::TLS13_AES_256_GCM_SHA384, 48),
        (
            CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
            12,
        ),
        (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, 12),
        (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, 12),
    ] {
        let suites: Vec<_> = suites::WIDE
            .iter()
            .filter(|known| known.suite() == suite)
            .copied()
            .collect();
        let client = Arc::new(ClientConfig::with_suites(client_of(&router), &suites).unwrap());
        let mut pair = Pair::of(&client, &server, 1);
        pair.run();
        let (client, _) = pair.assert_secured();
        assert_eq!(client.session_id.as_bytes().len(), length, "{suite:?}");
    }
}

#[test]
fn credentials_that_do_not_belong_together_are_refused() {
    assert_eq!(
        WebCredentials::from_pem(ECDSA, RSA).err(),
        Some(CredentialsError::Library(rustls::Error::InconsistentKeys(
            rustls::InconsistentKeys::KeyMismatch
        )))
    );
    let none = WebCredentials::from_pem("", RSA).err();
    assert!(matches!(none, Some(CredentialsError::Chain(_))));
    let two = WebCredentials::from_pem(RSA, &RSA.repeat(2)).err();
    assert!(matches!(two, Some(CredentialsError::Pem(_))));

    let router = credentials(&[Ed25519; 2], 1).chain().to_pem();
    let (_, other) = chain(&[Ed25519], 2, validity());
    let mixed = Credentials::from_pem(&router, &other.to_pem()).err();
    assert!(matches!(mixed, Some(CredentialsError::Certificate(_))));
    let (_, key) = chain(&[Ed25519; 2], 1, validity());
    assert!(Credentials::from_pem(&router, &key.to_pem()).is_ok());
}
