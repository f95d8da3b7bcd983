//! A session of SMP in memory, step by step, and the handshake of TLS beside that of rustls alone.

use std::sync::Arc;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConnection, DigitallySignedStruct, ServerConnection, SignatureScheme};
use simplex_sans_io::crypto::{Algorithm, AuthPrivateKey};
use simplex_sans_io::machine::{Action, Connection, Input, Machine};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::sim::Frames;
use simplex_sans_io::sim::identity::Credentials as Issued;
use simplex_sans_io::sim::smp::{Setup, Sides};
use simplex_sans_io::smp::client::{Call, Request, RequestId};
use simplex_sans_io::smp::server::{self, Answer, QueueKeys, Server};
use simplex_sans_io::smp::{BrokerMessage, Command};
use simplex_sans_io::time::Now;
use simplex_sans_io::tls::{
    ClientConfig, ClientOptions, Credentials, Groups, ServerConfig, ServerOptions, Tls,
};
use simplex_sans_io::wire::{self, EntityId, Sample, Version};
use simplex_tests::bench::Bench;

/// As many subscriptions as fit into a block.
const SUBS: u8 = 135;

fn main() {
    blocks();
    handshakes();
}

fn seal_16_kb() -> impl FnMut() -> bool {
    let mut buffer = vec![7; 16384];
    let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map(LessSafeKey::new);
    let key = key.unwrap_or_else(|_| unreachable!("32 bytes are a key"));
    move || {
        let nonce = Nonce::assume_unique_for_key([7; 12]);
        let sealed = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut buffer);
        sealed.is_ok()
    }
}

/// Gives a machine an input and discards what it says; returns what it sends.
fn give<M: Connection>(machine: &mut M, input: Input<'_, M::Command>) -> Vec<u8> {
    let handled = machine.handle(Now::START, input);
    assert!(handled.is_ok(), "both sides are ours");
    let mut sent = Vec::new();
    while let Some(action) = machine.poll() {
        if let Action::Transmit(bytes) = action {
            sent.extend_from_slice(&bytes);
        }
    }
    sent
}

/// Gives a router an input and returns the block that it asks its owner about.
fn ask(server: &mut Server, input: Input<'_, server::Call>) -> Option<server::BlockId> {
    let handled = server.handle(Now::START, input);
    assert!(handled.is_ok(), "both sides are ours");
    let mut asked = None;
    while let Some(action) = server.poll() {
        if let Action::Event(
            server::Event::Lookup { block, .. } | server::Event::Execute { block, .. },
        ) = action
        {
            asked = Some(block);
        }
    }
    asked
}

fn blocks() {
    let mut bench = Bench::new(
        "a block of 135 SUBs, without TLS",
        "ring: ChaCha20-Poly1305, seal 16 KB",
        seal_16_kb(),
    );
    for (algorithm, name) in [
        (Algorithm::Ed25519, "Ed25519"),
        (Algorithm::X25519, "X25519"),
    ] {
        subscribe(&mut bench, algorithm, name);
    }
    let mut rng = Rng::from_seed([1; 32]);
    let samples: Vec<_> = (0..64)
        .map(|_| wire::encode(&Command::sample(Version(20), &mut rng), Version(20)))
        .collect();
    bench.measure("parse and encode 64 commands of all kinds", move || {
        let commands = samples
            .iter()
            .map(|bytes| wire::decode::<Command>(Version(20), bytes));
        let encoded = commands
            .flatten()
            .map(|command| wire::encode(&command, Version(20)).len());
        encoded.sum::<usize>()
    });
    let mut sides = established();
    bench.measure("PING and PONG, both sides", move || {
        let ping = Request::new(RequestId(1), EntityId::EMPTY, Command::Ping);
        assert!(sides.send(vec![ping]).is_ok());
        sides.client.events().len()
    });
    bench.print();
}

fn established() -> Sides {
    let sides = Setup::new([1; 32]).establish();
    sides.unwrap_or_else(|_| unreachable!("both sides are ours"))
}

/// Every step is measured from a copy of the state before it; copying costs little.
fn subscribe(bench: &mut Bench, algorithm: Algorithm, name: &str) {
    let Sides { client, server, .. } = established();
    let (client, server) = (client.machine, server.machine);
    let mut rng = Rng::from_seed([2; 32]);
    let key = AuthPrivateKey::generate(algorithm, &mut rng).map(Arc::new);
    let key = key.unwrap_or_else(|| unreachable!("a key that authorises commands"));
    let requests: Vec<_> = (0..SUBS)
        .map(|number| {
            let queue = EntityId::from([number; 24]);
            Request::new(RequestId(number.into()), queue, Command::Sub)
                .authorized_by(Arc::clone(&key))
        })
        .collect();
    let queue = Arc::new(QueueKeys {
        version: 1,
        recipients: vec![key.public_key()],
        sender: None,
        notifier: None,
        mode: None,
    });
    let queues = vec![Some(queue); SUBS.into()];
    let answers = vec![Answer::from(BrokerMessage::Sok { service_id: None }); SUBS.into()];

    let mut asking = client.clone();
    let block = give(&mut asking, Input::Command(Call::Send(requests.clone())));
    bench.measure(
        &format!("client: authorise and encrypt, {name}"),
        move || {
            give(
                &mut client.clone(),
                Input::Command(Call::Send(requests.clone())),
            )
        },
    );
    let mut looking_up = server.clone();
    let id = ask(&mut looking_up, Input::Bytes(&block));
    let id = id.unwrap_or_else(|| unreachable!("it asks for the keys"));
    bench.measure(&format!("router: decrypt and parse, {name}"), move || {
        ask(&mut server.clone(), Input::Bytes(&block))
    });
    let keys = move || {
        Input::Command(server::Call::Keys {
            block: id,
            queues: queues.clone(),
        })
    };
    let mut executing = looking_up.clone();
    assert_eq!(ask(&mut executing, keys()), Some(id));
    bench.measure(&format!("router: verify, {name}"), move || {
        ask(&mut looking_up.clone(), keys())
    });
    let answer = move || {
        Input::Command(server::Call::Answer {
            block: id,
            answers: answers.clone(),
        })
    };
    let block = give(&mut executing.clone(), answer());
    bench.measure(&format!("router: answer and encrypt, {name}"), move || {
        give(&mut executing.clone(), answer())
    });
    bench.measure(
        &format!("client: decrypt and understand, {name}"),
        move || give(&mut asking.clone(), Input::Bytes(&block)),
    );
}

fn handshakes() {
    let issued = Issued::issue(Algorithm::Ed25519, &mut Rng::from_seed([3; 32]));
    let mut bench = Bench::new(
        "a TLS 1.3 handshake, both sides",
        "rustls with ring alone: X25519, Ed25519, chain not verified",
        rustls_alone(&issued),
    );
    for (groups, name) in [(Groups::X25519First, "X25519"), (Groups::X448First, "X448")] {
        bench.measure(
            &format!("Tls: {name}, chain verified"),
            tls(&issued, groups),
        );
    }
    bench.print();
}

fn tls(issued: &Issued, groups: Groups) -> impl FnMut() + use<> {
    let credentials = Credentials::new((*issued.chain).clone(), (*issued.leaf_key).clone());
    let credentials = credentials.unwrap_or_else(|_| unreachable!("they belong together"));
    let client = ClientOptions {
        groups,
        ..ClientOptions::new(issued.fingerprint())
    };
    let (client, server) = (
        ClientConfig::new(client),
        ServerConfig::new(ServerOptions::new(credentials)),
    );
    let (Ok(client), Ok(server)) = (client, server) else {
        unreachable!("the options are good")
    };
    let (client, server) = (Arc::new(client), Arc::new(server));
    let mut rng = Rng::from_seed([4; 32]);
    move || {
        let upper = |_, _| Frames::new();
        let mut server = Tls::server(&server, Now::START, rng.fork(), upper);
        let client = Tls::client(&client, Now::START, rng.fork(), upper);
        let mut client = client.unwrap_or_else(|_| unreachable!("the options are good"));
        let mut sent = Vec::new();
        while let Some(action) = client.poll() {
            if let Action::Transmit(bytes) = action {
                sent.extend_from_slice(&bytes);
            }
        }
        while !sent.is_empty() {
            let answer = give(&mut server, Input::Bytes(&sent));
            sent = match answer.is_empty() {
                true => answer,
                false => give(&mut client, Input::Bytes(&answer)),
            };
        }
        assert!(client.upper().is_some() && server.upper().is_some());
    }
}

fn rustls_alone(issued: &Issued) -> impl FnMut() + use<> {
    let chain: Vec<_> = issued
        .chain
        .certificates()
        .map(|certificate| CertificateDer::from(certificate.as_der().to_vec()))
        .collect();
    let key = PrivatePkcs8KeyDer::from(issued.leaf_key.to_pkcs8().to_vec());
    let mut provider = rustls::crypto::ring::default_provider();
    provider.kx_groups.truncate(1);
    let provider = Arc::new(provider);
    let server = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, key.into())
        });
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map(|builder| {
            let builder = builder.dangerous();
            let builder = builder.with_custom_certificate_verifier(Arc::new(Anybody));
            builder.with_no_client_auth()
        });
    let (Ok(client), Ok(mut server)) = (client, server) else {
        unreachable!("the options are good")
    };
    server.send_tls13_tickets = 0;
    let (client, server) = (Arc::new(client), Arc::new(server));
    move || {
        let name = ServerName::from(std::net::Ipv4Addr::LOCALHOST);
        let client = ClientConnection::new(Arc::clone(&client), name);
        let server = ServerConnection::new(Arc::clone(&server));
        let (Ok(mut client), Ok(mut server)) = (client, server) else {
            unreachable!("the options are good")
        };
        while client.is_handshaking() || server.is_handshaking() {
            let mut sent = Vec::new();
            while client.wants_write() && client.write_tls(&mut sent).is_ok() {}
            let read = server.read_tls(&mut sent.as_slice());
            assert!(read.is_ok() && server.process_new_packets().is_ok());
            let mut sent = Vec::new();
            while server.wants_write() && server.write_tls(&mut sent).is_ok() {}
            let read = client.read_tls(&mut sent.as_slice());
            assert!(read.is_ok() && client.process_new_packets().is_ok());
        }
    }
}

/// Believes every chain, but not every signature of the handshake.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
