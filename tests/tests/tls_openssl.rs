//! Sessions with OpenSSL, in both roles, over blocking sockets: both sides must know the session by the same id.
//!
//! OpenSSL speaks through Python, whose `get_channel_binding("tls-unique")` shows the client's Finished in both versions of TLS.
//! The loop that drives a machine here needs no runtime.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what goes wrong fails the test"
)]

use std::convert::Infallible;
use std::io::{BufRead as _, BufReader, Lines, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use simplex_sans_io::crypto::certificate::{Certificate, Chain, Issuer, Name, Validity};
use simplex_sans_io::crypto::{Algorithm, SigningKey};
use simplex_sans_io::machine::{Action, CloseReason, Connection, Input, Machine, Outbox};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::session::{SessionFacts, Shown};
use simplex_sans_io::time::{Instant, Now, UnixTime};
use simplex_sans_io::tls::{
    ClientCertificates, ClientConfig, ClientOptions, Credentials, Groups, ServerConfig,
    ServerOptions, Tls, Versions, Web, WebCredentials,
};
use simplex_tests::vectors::{hex, text};

use Algorithm::{Ed448, Ed25519};

const WE_SAY: &str = "greetings of the machine";
const THEY_SAY: &str = "greetings of OpenSSL";
const PATIENCE: Duration = Duration::from_secs(20);

/// 2026, whatever the clock of OpenSSL says: certificates here are valid for long.
const NOW: Now = Now {
    instant: Instant::START,
    unix: UnixTime::from_seconds(1_780_000_000),
};

#[test]
fn openssl_as_client_has_our_session_id() {
    let mut openssl = OpenSsl::start("client");
    let mut sessions = 0;
    for version in [Version::Tls13, Version::Tls12] {
        for group in ["X448", "X25519"] {
            for router in ROUTERS {
                for service in SERVICES {
                    let router = credentials(router, 1);
                    let service = service.map(|algorithms| credentials(algorithms, 2));
                    accept(&mut openssl, version, group, &router, service.as_ref());
                    sessions += 1;
                }
            }
        }
    }
    assert_eq!(sessions, 80);
}

#[test]
fn openssl_as_server_has_our_session_id() {
    let mut openssl = OpenSsl::start("server");
    let mut sessions = 0;
    for version in [Version::Tls13, Version::Tls12] {
        for group in ["X448", "X25519"] {
            // In TLS 1.3 one of the two needs a HelloRetryRequest.
            for groups in [Groups::X25519First, Groups::X448First] {
                for router in ROUTERS {
                    for service in SERVICES {
                        let router = credentials(router, 1);
                        let service = service.map(|algorithms| credentials(algorithms, 2));
                        connect(&mut openssl, version, group, groups, &router, service);
                        sessions += 1;
                    }
                }
            }
        }
    }
    assert_eq!(sessions, 160);
}

#[test]
fn openssl_on_a_shared_port_has_our_session_id() {
    let mut openssl = OpenSsl::start("shared");
    let router = credentials(&[Ed25519, Ed25519], 1);
    let web = include_str!("../../sans-io/src/tls/tests/web_ecdsa.pem");
    let config = server_config(ServerOptions {
        protocols: vec!["smp/1", "h2"],
        web: Some(Web {
            credentials: WebCredentials::from_pem(web, web).unwrap(),
            protocols: vec!["h2"],
        }),
        ..ServerOptions::new(router.clone())
    });
    for (version, name, length) in [
        // OpenSSL prefers AES-256 with SHA-384.
        (Version::Tls13, None, 48),
        (Version::Tls13, Some("web.example.com"), 48),
        (Version::Tls12, None, 12),
        (Version::Tls12, Some("web.example.com"), 12),
    ] {
        let order = json!({
            "version": version.name(),
            "name": name,
            "ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384",
            "protocols": ["h2"],
        });
        let (facts, seen) = accept_order(&mut openssl, &config, order);
        assert_eq!(facts.session_id.as_bytes().len(), length);
        assert_eq!(facts.server_name.as_deref(), name);
        assert_eq!(facts.protocol, Some("h2"));
        assert_eq!(text(&seen["protocol"]), "h2");
        match name {
            Some(_) => assert_eq!(facts.shown, Shown::Web),
            None => assert_eq!(facts.shown, Shown::Identity(Arc::clone(router.chain()))),
        }
    }
}

/// The keys of routers' chains, the leaf's first.
const ROUTERS: [&[Algorithm]; 5] = [
    &[Ed25519, Ed25519],
    &[Ed448, Ed448],
    &[Ed25519, Ed448],
    &[Ed448, Ed25519, Ed448],
    &[Ed25519, Ed448, Ed25519, Ed448],
];

/// The keys of services' chains.
const SERVICES: [Option<&[Algorithm]>; 4] = [
    None,
    Some(&[Ed25519]),
    Some(&[Ed448, Ed25519]),
    Some(&[Ed25519, Ed448, Ed448, Ed25519]),
];

/// OpenSSL connects to us.
fn accept(
    openssl: &mut OpenSsl,
    version: Version,
    group: &str,
    router: &Credentials,
    service: Option<&Credentials>,
) {
    let config = server_config(ServerOptions {
        protocols: vec!["smp/1"],
        client_certificates: ClientCertificates::Asked,
        ..ServerOptions::new(router.clone())
    });
    let mut order = json!({
        "version": version.name(),
        "group": group,
        "protocols": ["h2", "smp/1"],
        "trust": openssl.file("trust", &router.chain().anchor().to_pem()),
    });
    if let Some(service) = service {
        order["chain"] = openssl.file("chain", &service.chain().to_pem()).into();
        order["key"] = openssl.file("key", &service.key().to_pem()).into();
    }
    let (facts, seen) = accept_order(openssl, &config, order);
    assert_eq!(facts.session_id.as_bytes().len(), version.id_length());
    assert_eq!(facts.protocol, Some("smp/1"));
    assert_eq!(
        facts.peer.as_ref(),
        service.map(|service| service.chain().as_ref())
    );
    assert_eq!(hex(&seen["peer"]), leaf_fingerprint(router));
}

fn accept_order(
    openssl: &mut OpenSsl,
    config: &Arc<ServerConfig>,
    mut order: Value,
) -> (SessionFacts, Value) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    order["role"] = "client".into();
    order["port"] = listener.local_addr().unwrap().port().into();
    openssl.order(&order);
    openssl.answer(&order);
    let (stream, _) = listener.accept().unwrap();
    let tls = Tls::server(config, NOW, openssl.rng.fork(), Greet::new);
    let facts = drive(stream, tls, &order);
    (facts.clone(), openssl.seen(&facts, &order))
}

/// We connect to OpenSSL.
fn connect(
    openssl: &mut OpenSsl,
    version: Version,
    group: &str,
    groups: Groups,
    router: &Credentials,
    service: Option<Credentials>,
) {
    let order = json!({
        "role": "server",
        "version": version.name(),
        "group": group,
        "protocols": ["smp/1"],
        "chain": openssl.file("chain", &router.chain().to_pem()),
        "key": openssl.file("key", &router.key().to_pem()),
        // Also one that has nothing to show is asked.
        "trust": openssl.file("trust", &service.as_ref().unwrap_or(router).chain().anchor().to_pem()),
    });
    openssl.order(&order);
    let port = openssl.answer(&order)["port"].as_u64().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port.try_into().unwrap())).unwrap();
    let config = ClientConfig::new(ClientOptions {
        protocols: vec!["smp/1"],
        credentials: service.clone(),
        versions: version.ours(),
        groups,
        ..ClientOptions::new(router.chain().fingerprint())
    });
    let config = Arc::new(config.unwrap());
    let tls = Tls::client(&config, NOW, openssl.rng.fork(), Greet::new).unwrap();
    let facts = drive(stream, tls, &order);
    let seen = openssl.seen(&facts, &order);

    assert_eq!(facts.session_id.as_bytes().len(), version.id_length());
    assert_eq!(facts.protocol, Some("smp/1"));
    assert_eq!(facts.peer.as_ref(), Some(router.chain().as_ref()));
    match service {
        None => {
            assert_eq!(facts.shown, Shown::Nothing);
            assert_eq!(seen["peer"], Value::Null);
        }
        Some(service) => {
            assert_eq!(hex(&seen["peer"]), leaf_fingerprint(&service));
            assert_eq!(facts.shown, Shown::Identity(Arc::clone(service.chain())));
        }
    }
}

fn leaf_fingerprint(credentials: &Credentials) -> [u8; 32] {
    *credentials.chain().leaf().fingerprint().as_bytes()
}

fn server_config(options: ServerOptions) -> Arc<ServerConfig> {
    Arc::new(ServerConfig::new(options).unwrap())
}

#[derive(Debug, Clone, Copy)]
enum Version {
    Tls12,
    Tls13,
}

impl Version {
    fn name(self) -> &'static str {
        match self {
            Self::Tls12 => "1.2",
            Self::Tls13 => "1.3",
        }
    }

    fn ours(self) -> Versions {
        match self {
            Self::Tls12 => Versions::Tls12,
            Self::Tls13 => Versions::Tls13,
        }
    }

    fn id_length(self) -> usize {
        match self {
            Self::Tls12 => 12,
            Self::Tls13 => 32,
        }
    }
}

/// Drives a machine on a blocking socket until it closes, and gives the facts that it was made from.
fn drive(mut stream: TcpStream, mut tls: Tls<Greet>, order: &Value) -> SessionFacts {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut facts = None;
    let mut buffer = vec![0; 65536];
    loop {
        while let Some(action) = tls.poll() {
            match action {
                Action::Transmit(bytes) => stream.write_all(&bytes).unwrap(),
                Action::Event(event) => facts = Some(event),
                Action::Close(CloseReason::Finished) => {
                    return facts.unwrap_or_else(|| panic!("closed too early: {order}"));
                }
                Action::Close(reason) => panic!("{reason:?}: {order}"),
            }
        }
        let result = match stream.read(&mut buffer).unwrap() {
            0 => tls.handle(NOW, Input::Eof),
            length => tls.handle(NOW, Input::Bytes(&buffer[..length])),
        };
        result.unwrap_or_else(|error| panic!("{error}: {order}"));
    }
}

/// Greets, waits for the greeting of the other side, and closes.
struct Greet {
    outbox: Outbox<SessionFacts>,
    heard: Vec<u8>,
}

impl Greet {
    fn new(facts: SessionFacts, _: Now) -> Self {
        let mut outbox = Outbox::default();
        outbox.event(facts);
        outbox.transmit(Bytes::from_static(WE_SAY.as_bytes()));
        Self {
            outbox,
            heard: Vec::new(),
        }
    }
}

impl Machine for Greet {
    type Input<'a> = Input<'a, Infallible>;
    type Action = Action<SessionFacts>;
    type Error = Infallible;

    fn handle(&mut self, _: Now, input: Input<'_, Infallible>) -> Result<(), Infallible> {
        self.outbox.begin();
        match input {
            Input::Bytes(bytes) => {
                self.heard.extend_from_slice(bytes);
                if self.heard.len() >= THEY_SAY.len() {
                    assert_eq!(self.heard, THEY_SAY.as_bytes());
                    self.outbox.close(CloseReason::Finished);
                }
            }
            Input::Eof => self.outbox.close(CloseReason::PeerClosed),
            Input::Timeout => {}
            Input::Command(never) => match never {},
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<SessionFacts>> {
        self.outbox.next()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl Connection for Greet {
    type Command = Infallible;
    type Event = SessionFacts;

    fn accepts_commands(&self) -> bool {
        true
    }
}

/// A Python that obeys orders.
struct OpenSsl {
    child: Child,
    orders: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    folder: PathBuf,
    rng: Rng,
}

impl OpenSsl {
    fn start(name: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("openssl_peer.py");
        let mut child = Command::new("python3")
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs python3 with ssl: {error}"));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("openssl-{name}"));
        std::fs::create_dir_all(&folder).unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self {
            orders: child.stdin.take(),
            child,
            answers,
            folder,
            rng: Rng::from_seed([7; 32]),
        }
    }

    fn file(&self, name: &str, content: &str) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn order(&mut self, order: &Value) {
        let mut complete = json!({
            "group": null,
            "ciphers": "ECDHE-ECDSA-CHACHA20-POLY1305",
            "name": null,
            "chain": null,
            "key": null,
            "trust": null,
            "says": THEY_SAY,
            "hears": WE_SAY.len(),
        });
        for (name, value) in order.as_object().unwrap() {
            complete[name] = value.clone();
        }
        let mut orders = self.orders.as_ref().unwrap();
        // If nobody reads it any more, the answer will say so.
        writeln!(orders, "{complete}").unwrap_or_default();
    }

    fn answer(&mut self, order: &Value) -> Value {
        let Some(Ok(line)) = self.answers.next() else {
            panic!("python3 has ended: is its ssl module there?");
        };
        let answer: Value = serde_json::from_str(&line).unwrap();
        if let Some(error) = answer.get("error") {
            panic!("OpenSSL: {error}: {order}");
        }
        answer
    }

    /// What OpenSSL has seen of a session that is over.
    fn seen(&mut self, facts: &SessionFacts, order: &Value) -> Value {
        let seen = self.answer(order);
        assert_eq!(hex(&seen["unique"]), facts.session_id.as_bytes(), "{order}");
        assert_eq!(text(&seen["heard"]), WE_SAY, "{order}");
        seen
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        drop(self.orders.take());
        let ended = self.child.wait();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// A chain that OpenSSL trusts under its last certificate: leaves without extensions may be used on both sides.
fn credentials(algorithms: &[Algorithm], seed: u8) -> Credentials {
    let mut rng = Rng::from_seed([seed; 32]);
    let validity = Validity::days(UnixTime::from_seconds(1_700_000_000), Validity::LONG);
    let mut keys: Vec<_> = algorithms
        .iter()
        .map(|algorithm| SigningKey::generate(*algorithm, &mut rng).unwrap())
        .collect();
    let name = |level: usize| Name::new(format!("{seed}, level {level}"));

    let mut key = keys.pop().unwrap();
    let mut certificates = vec![match keys.len() {
        0 => Certificate::self_signed(&name(0), &key, validity),
        _ => Certificate::authority(&name(0), &key, validity, &mut rng),
    }];
    while let Some(next) = keys.pop() {
        let issuer = Issuer::new(&certificates[0], &key).unwrap();
        let (name, public_key) = (name(certificates.len()), next.public_key());
        let issued = match (keys.is_empty(), seed) {
            (false, _) => Certificate::subordinate(&name, &public_key, &issuer, validity, &mut rng),
            (true, 1) => Certificate::server(&name, &public_key, &issuer, validity, &mut rng),
            (true, _) => Certificate::bare(&name, &public_key, &issuer, validity),
        };
        certificates.insert(0, issued);
        key = next;
    }
    Credentials::new(Chain::new(certificates).unwrap(), key).unwrap()
}
