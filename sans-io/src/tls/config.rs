//! How clients and routers want their sessions.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::ring::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::server::{ClientHello, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion, version};

use super::ambient::{self, SessionRandom, SessionTime};
use super::credentials::{Credentials, WebCredentials};
use super::error::ConfigError;
use super::exchange::{X448, X25519};
use super::signature::ALGORITHMS;
use super::suites;
use super::verify::{AnyService, PinnedIdentity};
use crate::crypto::certificate::{Chain, ChainKind, Fingerprint};

/// What a peer may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many bytes the peer may send before the handshake is complete.
    pub handshake_bytes: usize,
    /// How long the handshake may take.
    pub handshake_time: Duration,
    /// How many bytes the machine above TLS may send at once.
    pub unsent_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_bytes: 32 << 10,
            handshake_time: Duration::from_secs(60),
            unsent_bytes: 16 << 20,
        }
    }
}

/// Which versions of TLS are offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Versions {
    /// TLS 1.3, and TLS 1.2 if the peer has no other.
    #[default]
    Both,
    /// TLS 1.2 only.
    Tls12,
    /// TLS 1.3 only.
    Tls13,
}

impl Versions {
    fn supported(self) -> &'static [&'static SupportedProtocolVersion] {
        match self {
            Self::Both => BOTH,
            Self::Tls12 => TLS12,
            Self::Tls13 => TLS13,
        }
    }
}

const BOTH: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
const TLS12: &[&SupportedProtocolVersion] = &[&version::TLS12];
const TLS13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// Which groups are offered for key exchange.
///
/// A client of TLS 1.3 sends a key for the first of its groups at once; a router that supports only the other one asks for it, which
/// costs one more round trip. A router takes the first of the client's groups that it supports itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Groups {
    /// X25519, else X448. All routers know both, and X25519 costs a tenth.
    #[default]
    X25519First,
    /// X448, else X25519, as the reference's clients offer them.
    X448First,
    /// X25519 only.
    X25519,
    /// X448 only.
    X448,
}

impl Groups {
    fn supported(self) -> &'static [&'static dyn SupportedKxGroup] {
        match self {
            Self::X25519First => &[&X25519, &X448],
            Self::X448First => &[&X448, &X25519],
            Self::X25519 => &[&X25519],
            Self::X448 => &[&X448],
        }
    }
}

/// What a client asks for.
///
/// ```
/// use simplex_sans_io::crypto::certificate::Fingerprint;
/// use simplex_sans_io::tls::{ClientConfig, ClientOptions};
///
/// let identity: Fingerprint = "LcJUMfVhwD8yxjAiSaDzzGF3-kLG4Uh0Fl_ZIjrRwjI=".parse()?;
/// let config = ClientConfig::new(ClientOptions {
///     protocols: vec!["smp/1"],
///     ..ClientOptions::new(identity)
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// The fingerprint in the router's address.
    pub identity: Fingerprint,
    /// The application protocols to offer, the preferred one first; none are offered if empty.
    pub protocols: Vec<&'static str>,
    /// What the client shows to a router that asks for it.
    pub credentials: Option<Credentials>,
    /// Which versions of TLS are offered.
    pub versions: Versions,
    /// Which groups are offered for key exchange.
    pub groups: Groups,
    /// What the router may cost.
    pub limits: Limits,
}

impl ClientOptions {
    /// Whatever router has this identity, with no application protocol and no credentials.
    #[must_use]
    pub fn new(identity: Fingerprint) -> Self {
        Self {
            identity,
            protocols: Vec::new(),
            credentials: None,
            versions: Versions::default(),
            groups: Groups::default(),
            limits: Limits::default(),
        }
    }
}

/// The configuration of sessions with one router, for any number of them.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    pub(super) library: Arc<rustls::ClientConfig>,
    pub(super) protocols: Vec<&'static str>,
    pub(super) chain: Option<Arc<Chain>>,
    pub(super) limits: Limits,
}

impl ClientConfig {
    /// Refuses what the library refuses.
    pub fn new(options: ClientOptions) -> Result<Self, ConfigError> {
        Self::with_suites(options, suites::CHACHA20)
    }

    pub(super) fn with_suites(
        options: ClientOptions,
        suites: &[SupportedCipherSuite],
    ) -> Result<Self, ConfigError> {
        let chain = options
            .credentials
            .as_ref()
            .map(Credentials::chain)
            .cloned();
        let provider = provider(suites, options.groups.supported());
        let mut library =
            rustls::ClientConfig::builder_with_details(provider, Arc::new(SessionTime))
                .with_protocol_versions(options.versions.supported())?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(PinnedIdentity(options.identity)))
                .with_client_cert_resolver(Arc::new(ShownCredentials(options.credentials)));
        library.resumption = Resumption::disabled();
        library.enable_sni = false;
        library.alpn_protocols = names(&options.protocols);
        Ok(Self {
            library: Arc::new(library),
            protocols: options.protocols,
            chain,
            limits: options.limits,
        })
    }

    /// The same sessions, in which other application protocols are offered.
    #[must_use]
    pub fn offering(&self, protocols: Vec<&'static str>) -> Self {
        let mut library = (*self.library).clone();
        library.alpn_protocols = names(&protocols);
        Self {
            library: Arc::new(library),
            protocols,
            ..self.clone()
        }
    }
}

impl ClientConfig {
    /// Our own name of an application protocol.
    pub(super) fn protocol(&self, name: &[u8]) -> Option<&'static str> {
        let mut protocols = self.protocols.iter().copied();
        protocols.find(|protocol| protocol.as_bytes() == name)
    }
}

/// What a client shows, and remembers to have shown.
#[derive(Debug)]
struct ShownCredentials(Option<Credentials>);

impl ResolvesClientCert for ShownCredentials {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let key = self.0.as_ref()?.certified();
        key.key.choose_scheme(schemes)?;
        ambient::handshake(|handshake| handshake.shown = true)?;
        Some(Arc::clone(key))
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// What a router offers.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The identity of the router.
    pub credentials: Credentials,
    /// The application protocols that it speaks. The first of the client's that is among them is chosen; a client that offers only
    /// others is turned away, and one that offers none is not.
    pub protocols: Vec<&'static str>,
    /// Whether clients are asked for certificates.
    pub client_certificates: ClientCertificates,
    /// The web server that shares the port.
    pub web: Option<Web>,
    /// Which versions of TLS are offered.
    pub versions: Versions,
    /// Which groups are accepted, in the client's order; without a web server on the port, which needs its own.
    pub groups: Groups,
    /// What a client may cost.
    pub limits: Limits,
}

/// Whether clients are asked for certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// They are asked and may answer that they have none, as in SMP.
    Asked,
    /// They are not asked, as in XFTP and NTF.
    NotAsked,
}

/// A web server on the port of a router.
///
/// It answers all clients that name a host, as web browsers do and clients of routers do not. The port then offers more cipher suites
/// and groups than a router alone, to all clients.
#[derive(Debug, Clone)]
pub struct Web {
    /// What browsers trust.
    pub credentials: WebCredentials,
    /// The application protocols of the web server.
    pub protocols: Vec<&'static str>,
}

impl ServerOptions {
    /// A router without application protocols and web server, which does not ask its clients for certificates.
    #[must_use]
    pub fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            protocols: Vec::new(),
            client_certificates: ClientCertificates::NotAsked,
            web: None,
            versions: Versions::default(),
            groups: Groups::default(),
            limits: Limits::default(),
        }
    }
}

/// The configuration of a router's sessions, for any number of them.
#[derive(Debug)]
pub struct ServerConfig {
    router: Answers,
    web: Option<Answers>,
    pub(super) chain: Arc<Chain>,
    pub(super) limits: Limits,
}

/// Who answers a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answerer {
    Router,
    Web,
}

impl ServerConfig {
    /// Refuses a router without identity certificate, and what the library refuses.
    pub fn new(options: ServerOptions) -> Result<Self, ConfigError> {
        let ServerOptions {
            credentials,
            protocols,
            client_certificates,
            web,
            versions,
            groups,
            limits,
        } = options;
        if credentials.chain().kind() == ChainKind::SelfSigned {
            return Err(ConfigError::NoIdentity);
        }
        let provider = match web {
            None => provider(suites::CHACHA20, groups.supported()),
            Some(_) => provider(suites::WIDE, WIDE_GROUPS),
        };
        let answers = |key: &Arc<CertifiedKey>, asked, protocols| {
            Answers::new(&provider, versions, key, asked, protocols)
        };
        let web = web
            .map(
                |Web {
                     credentials,
                     protocols,
                 }| {
                    answers(
                        credentials.certified(),
                        ClientCertificates::NotAsked,
                        protocols,
                    )
                },
            )
            .transpose()?;
        Ok(Self {
            router: answers(credentials.certified(), client_certificates, protocols)?,
            web,
            chain: Arc::clone(credentials.chain()),
            limits,
        })
    }

    pub(super) fn answer(&self, hello: &ClientHello<'_>) -> (Answerer, Arc<rustls::ServerConfig>) {
        match &self.web {
            Some(web) if hello.server_name().is_some() => (Answerer::Web, web.to(hello)),
            _ => (Answerer::Router, self.router.to(hello)),
        }
    }

    /// Our own name of an application protocol.
    pub(super) fn protocol(&self, answerer: Answerer, name: &[u8]) -> Option<&'static str> {
        let answers = match answerer {
            Answerer::Router => Some(&self.router),
            Answerer::Web => self.web.as_ref(),
        };
        let (protocol, _) = answers?.find(name)?;
        Some(*protocol)
    }
}

/// Configurations that differ in the application protocol: rustls chooses in the order of the server, the network in that of the client.
#[derive(Debug)]
struct Answers {
    by_protocol: Vec<(&'static str, Arc<rustls::ServerConfig>)>,
    /// For a client that offers no protocol, or none of ours.
    otherwise: Arc<rustls::ServerConfig>,
}

impl Answers {
    fn new(
        provider: &Arc<CryptoProvider>,
        versions: Versions,
        key: &Arc<CertifiedKey>,
        asked: ClientCertificates,
        protocols: Vec<&'static str>,
    ) -> Result<Self, ConfigError> {
        let builder =
            rustls::ServerConfig::builder_with_details(Arc::clone(provider), Arc::new(SessionTime))
                .with_protocol_versions(versions.supported())?;
        let builder = match asked {
            ClientCertificates::Asked => builder.with_client_cert_verifier(Arc::new(AnyService)),
            ClientCertificates::NotAsked => builder.with_no_client_auth(),
        };
        let key = SingleCertAndKey::from(Arc::clone(key));
        let mut config = builder.with_cert_resolver(Arc::new(key));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        let with = |protocols: &[&str]| {
            let mut config = config.clone();
            config.alpn_protocols = names(protocols);
            Arc::new(config)
        };
        Ok(Self {
            otherwise: with(&protocols),
            by_protocol: protocols
                .into_iter()
                .map(|protocol| (protocol, with(&[protocol])))
                .collect(),
        })
    }

    fn to(&self, hello: &ClientHello<'_>) -> Arc<rustls::ServerConfig> {
        let chosen = hello
            .alpn()
            .and_then(|mut offered| offered.find_map(|name| self.find(name)));
        Arc::clone(chosen.map_or(&self.otherwise, |(_, config)| config))
    }

    fn find(&self, name: &[u8]) -> Option<&(&'static str, Arc<rustls::ServerConfig>)> {
        self.by_protocol
            .iter()
            .find(|(protocol, _)| protocol.as_bytes() == name)
    }
}

/// NIST's curves are for browsers; ring draws their keys, so that a session with one of them is not repeatable.
const WIDE_GROUPS: &[&dyn SupportedKxGroup] =
    &[&X25519, &X448, kx_group::SECP256R1, kx_group::SECP384R1];

fn provider(
    suites: &[SupportedCipherSuite],
    groups: &[&'static dyn SupportedKxGroup],
) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: suites.to_vec(),
        kx_groups: groups.to_vec(),
        signature_verification_algorithms: ALGORITHMS,
        secure_random: &SessionRandom,
        key_provider: default_provider().key_provider,
    })
}

fn names(protocols: &[&str]) -> Vec<Vec<u8>> {
    protocols
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect()
}
