//! Handshakes have the messages and the results of the reference: every case of `smp-handshake.json`, replayed with its keys on both
//! sides, up to the first blocks of the session.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use simplex_sans_io::crypto::block_chain::{BlockChains, ChainKey};
use simplex_sans_io::crypto::certificate::Chain;
use simplex_sans_io::crypto::{Algorithm, SigningKey, ed448, ed25519, hash};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::sim::identity::Credentials;
use simplex_sans_io::smp::batch;
use simplex_sans_io::smp::block::{Blocks, UnreadableBlock};
use simplex_sans_io::smp::handshake::client::{self, Secrecy, ServiceCredentials, SessionKeys};
use simplex_sans_io::smp::handshake::router::{self, Refusal};
use simplex_sans_io::smp::handshake::{
    self, Alpn, ClientHello, Peer, RouterHello, ServiceResponse, ServiceRole, Transport,
};
use simplex_sans_io::smp::transmission::{Session, Transmission, Unauthorized};
use simplex_sans_io::smp::version::{AUTH_COMMANDS, SERVICE_CERTIFICATES};
use simplex_sans_io::smp::{BrokerMessage, Command, HandshakeError, TransportError};
use simplex_sans_io::wire::{self, CorrId, EntityId, Id, KeyHash, Version, VersionRange, Wire};
use simplex_tests::vectors::keys::{ed25519_pair, x25519_pair};
use simplex_tests::vectors::{
    CERTIFICATE_GROUPS, Comparison, array, base64, boolean, cases, deviating_groups, groups, hex,
    hexed, load, text, version,
};

mod group {
    simplex_tests::vector_groups! { "smp-handshake.json":
        handshakes,
        failed_handshakes,
        version_negotiation,
        transport_errors,
        transport_error_decode,
    }
}

const FILE: &str = "smp-handshake.json";

#[test]
fn every_group_is_consumed() {
    let file = load(FILE);
    let consumed = group::CONSUMED.iter().chain(&CERTIFICATE_GROUPS).copied();
    assert_eq!(groups(&file), consumed.collect());
}

#[test]
fn every_listed_deviation_belongs_to_a_group() {
    for group in deviating_groups(FILE) {
        assert!(group::CONSUMED.contains(&group.as_str()), "{group}");
    }
}

fn handshakes(group: &Value) {
    let altered = replay(group, "handshakes");
    let expected = [
        "trailing bytes in client hello are ignored",
        "trailing bytes in server hello are ignored",
    ];
    assert_eq!(altered, expected.into());
}

fn failed_handshakes(group: &Value) {
    let altered = replay(group, "failed_handshakes");
    let expected = [
        "client: block with bad padding",
        "client: min > max in server hello",
        "client: server hello with truncated key (treated as absent key)",
        "client: server hello without key (treated as absent key)",
        "client: signature of the session key is broken",
        "client: truncated server hello (no version)",
        "server: block with bad padding",
        "server: client hello bad proxyServer byte",
        "server: client hello bad service maybe byte",
        "server: client hello v20 without key (key is skipped if it does not parse: proxyServer and service then parsed at its place)",
        "server: client hello with version below range",
        "server: client hello with version out of range",
        "server: truncated client hello",
        "service: bad role",
        "service: broken signature of service key",
    ];
    assert_eq!(altered, expected.into());
}

/// Replays every case, and returns those in which a message was changed on its way.
fn replay<'a>(group: &'a Value, name: &'static str) -> BTreeSet<&'a str> {
    let mut comparison = Comparison::of(FILE, name);
    let mut altered = BTreeSet::new();
    for case in cases(group) {
        let replay = Replay::of(case);
        replay.compare(&mut comparison, case);
        if replay.altered {
            altered.insert(text(&case["name"]));
        }
    }
    comparison.finish();
    altered
}

fn version_negotiation(group: &Value) {
    for case in cases(group) {
        let agreed = range(&case["client"]).agreed(range(&case["server"]));
        assert_eq!(json!(agreed.map(|version| version.0)), case["agreed"]);
    }
}

fn transport_errors(group: &Value) {
    for case in cases(group) {
        let encoded = hex(&case["hex"]);
        let error: TransportError = wire::decode_slice(Version(20), &encoded).unwrap();
        assert_eq!(wire::encode(&error, Version(20)), encoded);
        assert_eq!(error.to_string(), text(&case["text"]));
        assert_eq!(shown(error), text(&case["error"]));
    }
}

fn transport_error_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "transport_error_decode");
    for case in cases(group) {
        let error = wire::decode_slice(Version(20), &hex(&case["hex"]));
        comparison.outcome(
            text(&case["hex"]),
            error.map(|error| shown(error).into()),
            case,
        );
    }
    comparison.finish();
}

/// What becomes of both sides when each receives what the vector says that it received.
struct Replay {
    client: Outcome<client::Established>,
    router: Outcome<router::Established>,
    /// Whether a message was changed on its way.
    altered: bool,
}

type Outcome<T> = Result<T, Failure>;

/// Why a side has no session.
#[derive(Debug, Clone, Copy)]
enum Failure {
    Transport(TransportError),
    Block(UnreadableBlock),
    Closed,
}

impl Replay {
    fn of(case: &Value) -> Self {
        let mut channel = Channel::of(case);
        let (identity, transport) = (identity(case), router_transport(case));
        let session_key = x25519_pair(&case["server_session_key"]);
        let (hello, awaits_client) = router::introduce_with(&identity, transport, session_key);

        let client = match channel.carry("server", Some(&hello)) {
            Ok(hello) => receive(case, &hello),
            Err(failure) => Err(failure),
        };
        let (hello, client) = client.map_or_else(
            |failure| (None, Err(failure)),
            |(hello, next)| (Some(hello), Ok(next)),
        );
        let hello: Outcome<ClientHello> = channel.carry("client", hello.as_ref());
        let (response, router) = answer(case, awaits_client, hello);
        let client = match client {
            Ok(client::Next::Established(established)) => Ok(*established),
            Ok(client::Next::Service(awaits)) => channel
                .carry("server", response.as_ref())
                .and_then(|response| awaits.receive(response).map_err(Failure::Transport)),
            Err(failure) => Err(failure),
        };
        channel.finish();
        Self {
            client,
            router,
            altered: channel.altered,
        }
    }

    fn compare(&self, comparison: &mut Comparison, case: &Value) {
        let name = text(&case["name"]);
        let client = self.client.as_ref().map_or_else(Failure::shown, |client| {
            let has_auth = client.router.is_some();
            let encrypted = client.chains.is_some();
            result(&client.session, client.versions, encrypted, has_auth)
        });
        comparison.result(&format!("{name}: client"), &client, &case["client_result"]);
        let router = self.router.as_ref().map_or_else(Failure::shown, |router| {
            result(
                &router.session,
                router.versions,
                router.chains.is_some(),
                true,
            )
        });
        comparison.result(&format!("{name}: server"), &router, &case["server_result"]);

        if let Ok(client) = &self.client {
            let secret = client.secret.as_ref();
            let secret = secret.map(|secret| hexed(secret.shared().as_bytes()));
            let name = format!("{name}: session secret");
            comparison.result(&name, &json!(secret), &case["session_secret"]);
        }
        self.compare_services(case);
        self.compare_chains(case);
        self.compare_ping(case);
    }

    fn compare_services(&self, case: &Value) {
        let router = self.router.as_ref().ok();
        let service = router.and_then(|router| router.service.as_ref());
        let recorded = service.map(|service| {
            json!({
                "service_id": hexed(&*service.id),
                "role": shown_role(service.role),
                "cert_hash": hexed(service.fingerprint.as_bytes()),
                "service_key_spki": hexed(service.key.to_spki()),
            })
        });
        assert_eq!(json!(recorded), case["server_side_service"]);
        let Ok(client) = &self.client else { return };
        assert_eq!(client.service.is_some(), service.is_some());
        if let Some((client, router)) = client.service.as_ref().zip(service) {
            assert_eq!((&client.id, client.role), (&router.id, router.role));
            assert_eq!(client.fingerprint, router.fingerprint);
            assert_eq!(client.key.public_key(), router.key);
        }
    }

    fn compare_chains(&self, case: &Value) {
        let Some(keys) = case.get("chain_keys").filter(|keys| !keys.is_null()) else {
            return;
        };
        let to_client = ChainKey::from_bytes(array(&keys["server_to_client"]));
        let to_router = ChainKey::from_bytes(array(&keys["client_to_server"]));
        if let Some(chains) = self.client.as_ref().ok().and_then(|c| c.chains.as_ref()) {
            assert_eq!((&chains.receive, &chains.send), (&to_client, &to_router));
        }
        if let Some(chains) = self.router.as_ref().ok().and_then(|r| r.chains.as_ref()) {
            assert_eq!((&chains.send, &chains.receive), (&to_client, &to_router));
        }
    }

    /// The first block in each direction; a side without a session neither sends nor receives.
    fn compare_ping(&self, case: &Value) {
        let ping = &case["ping"];
        if ping.is_null() {
            return;
        }
        let chains = self.client.as_ref().map(|client| client.chains.clone());
        let mut client = chains.ok().map(blocks);
        let chains = self.router.as_ref().map(|router| router.chains.clone());
        let mut router = chains.ok().map(blocks);
        let [request, response] = &ping["blocks"].as_array().unwrap()[..] else {
            unreachable!("a request and a response")
        };

        let received = client.as_mut().map(|client| {
            let session = &self.client.as_ref().unwrap().session;
            let content = content(session, &Command::Ping, &ping["request_plaintext"]);
            let block = put(client, &content, request);
            router.as_mut().map(|router| take(router, &block))
        });
        let received = received.flatten();
        assert_eq!(text(&ping["server_parsed"]), "1");

        let Some(router) = &mut router else { return };
        let session = &self.router.as_ref().unwrap().session;
        if let Some(Ok(request)) = received {
            let [request] = &batch::unpack(&request).unwrap()[..] else {
                unreachable!("one transmission")
            };
            let request = Transmission::parse(session, request).unwrap();
            assert_eq!(request.parse_command(session.version), Ok(Command::Ping));
        }
        let content = content(session, &BrokerMessage::Pong, &ping["response_plaintext"]);
        let block = put(router, &content, response);
        if let Some(client) = &mut client {
            let response = take(client, &block);
            assert_eq!(
                shown_response(session, response),
                text(&ping["client_parsed"])
            );
        }
    }
}

impl Failure {
    fn shown(&self) -> Value {
        json!({
            "error": match self {
                Self::Transport(error) => shown(*error),
                Self::Block(error) => error.to_string(),
                Self::Closed => "end of file".to_owned(),
            }
        })
    }
}

/// Carries what a side says to the other side as the vector says that it arrived.
struct Channel<'a> {
    messages: std::slice::Iter<'a, Value>,
    altered: bool,
}

impl<'a> Channel<'a> {
    fn of(case: &'a Value) -> Self {
        Self {
            messages: case["messages"].as_array().unwrap().iter(),
            altered: false,
        }
    }

    /// The message that arrived, if any did; `said` is what we would have said, if anything.
    fn carry<T: Wire>(&mut self, from: &str, said: Option<&T>) -> Outcome<T> {
        let Some(recorded) = self.messages.next() else {
            assert!(said.is_none());
            return Err(Failure::Closed);
        };
        assert_eq!(text(&recorded["from"]), from);
        let said = said.map(|said| wire::encode(said, Version(20)));
        let arrived = if recorded["content"].is_null() {
            self.altered = true;
            badly_padded(&said.unwrap(), recorded)
        } else {
            let content = hex(&recorded["content"]);
            self.altered |= said.is_some_and(|said| said != content);
            put(&mut Blocks::new(), &content, recorded)
        };
        let content = take(&mut Blocks::new(), &arrived).map_err(Failure::Block)?;
        handshake::parse(&content).map_err(Failure::Transport)
    }

    fn finish(&mut self) {
        assert_eq!(self.messages.len(), 0, "messages that nobody awaited");
    }
}

/// A block whose length says more than there is.
fn badly_padded(content: &[u8], recorded: &Value) -> Bytes {
    let mut block = BytesMut::new();
    Blocks::new().put(content.len(), &mut block, |out| {
        out.extend_from_slice(content)
    });
    block[..2].copy_from_slice(&u16::MAX.to_be_bytes());
    assert_eq!(hash::sha256(&block), array(&recorded["block_sha256"]));
    block.freeze()
}

/// The block of a content, which must be the recorded one.
fn put(blocks: &mut Blocks, content: &[u8], recorded: &Value) -> Bytes {
    let mut block = BytesMut::new();
    blocks.put(content.len(), &mut block, |out| {
        out.extend_from_slice(content)
    });
    assert_eq!(json!(block.len()), recorded["block_len"]);
    assert_eq!(hash::sha256(&block), array(&recorded["block_sha256"]));
    if let Some(recorded) = recorded.get("block_base64").filter(|b| !b.is_null()) {
        assert_eq!(block, base64(recorded));
    }
    block.freeze()
}

fn take(blocks: &mut Blocks, block: &[u8]) -> Result<Bytes, UnreadableBlock> {
    assert!(blocks.receive(block).is_empty());
    blocks.take().unwrap()
}

fn receive(case: &Value, hello: &RouterHello) -> Outcome<(ClientHello, client::Next)> {
    let key = &case["client_session_key"];
    let mut rng = Rng::from_seed([0; 32]);
    let mut keys = SessionKeys::generate(&mut rng);
    let secret = match key.is_null() {
        true => Secrecy::TlsOnly,
        false => {
            keys.client = x25519_pair(key);
            Secrecy::Agreed
        }
    };
    if !case["service"].is_null() {
        keys.service = ed25519_pair(&case["service"]["session_key"]);
    }
    let config = client::Config {
        versions: range(&case["client_versions"]),
        key_hash: KeyHash::from(array::<32>(&case["key_hash"])),
        secret,
        peer: match boolean(&case["proxy_server"]) {
            true => Peer::Proxy,
            false => Peer::Client,
        },
        service: (!case["service"].is_null()).then(|| service(&case["service"])),
    };
    let transport = Transport {
        session_id: id(&case["client_session_id"]),
        alpn: alpn(case),
        peer_chain: chain(&case["tls_server_chain"]),
    };
    client::receive_with(&config, &transport, hello, keys).map_err(Failure::Transport)
}

/// What the router says to the client's hello, if it says anything, and the session that it then has.
fn answer(
    case: &Value,
    awaits: router::AwaitsClient,
    hello: Outcome<ClientHello>,
) -> (Option<ServiceResponse>, Outcome<router::Established>) {
    let received = hello.map(|hello| expected_by(case, awaits).receive(&hello));
    let failed = |error| Err(Failure::Transport(error));
    match received {
        Err(failure) => (None, Err(failure)),
        Ok(Err(Refusal::Silent(error))) => (None, failed(error)),
        Ok(Err(Refusal::Service(error))) => (Some(ServiceResponse::Refused(error)), failed(error)),
        Ok(Ok(router::Next::Established(established))) => (None, Ok(*established)),
        Ok(Ok(router::Next::Service(_))) if text(&case["name"]) == NOT_ACCEPTED => {
            let error = TransportError::Handshake {
                error: HandshakeError::BadService,
            };
            (Some(ServiceResponse::Refused(error)), failed(error))
        }
        Ok(Ok(router::Next::Service(awaits))) => {
            let service = &case["service"];
            assert_eq!(shown_role(awaits.role()), text(&service["role"]));
            assert_eq!(Some(awaits.chain()), chain(&service["cert_chain"]).as_ref());
            let id = entity_id(&service["service_id"]);
            let response = ServiceResponse::Accepted(id.clone());
            (Some(response), Ok(awaits.accept(id)))
        }
    }
}

/// The case in which the owner of the router refuses the service.
const NOT_ACCEPTED: &str = "service: not accepted by server";

/// Ours takes its own hash from its own chain, so a router with another hash is another router.
fn expected_by(case: &Value, awaits: router::AwaitsClient) -> router::AwaitsClient {
    let own = identity(case).chain.fingerprint();
    if *own.as_bytes() == array::<32>(&case["server_key_hash"]) {
        return awaits;
    }
    let mut rng = Rng::from_seed([1; 32]);
    let other = Credentials::issue(Algorithm::Ed25519, &mut rng).router();
    router::introduce(&other, router_transport(case), &mut rng).1
}

fn identity(case: &Value) -> router::Identity {
    router::Identity {
        chain: chain(&case["server_cert_chain"]).unwrap(),
        leaf_key: leaf_key(&case["server_leaf_key"]),
        versions: range(&case["server_versions"]),
    }
}

fn router_transport(case: &Value) -> Transport {
    Transport {
        session_id: id(&case["session_id"]),
        alpn: alpn(case),
        peer_chain: chain(&case["tls_client_chain"]),
    }
}

fn service(service: &Value) -> ServiceCredentials {
    ServiceCredentials {
        role: match text(&service["role"]) {
            "SRMessaging" => ServiceRole::Messaging,
            "SRNotifier" => ServiceRole::Notifier,
            "SRProxy" => ServiceRole::Proxy,
            other => unreachable!("role {other}"),
        },
        chain: chain(&service["cert_chain"]).unwrap(),
        leaf_key: leaf_key(&service["leaf_key"]),
    }
}

fn leaf_key(key: &Value) -> Arc<SigningKey> {
    let seed = hex(&key["priv_raw"]);
    let key_of_seed: SigningKey = match text(&key["algorithm"]) {
        "Ed25519" => ed25519::PrivateKey::from_bytes(seed.try_into().unwrap()).into(),
        "Ed448" => ed448::PrivateKey::from_bytes(seed.try_into().unwrap()).into(),
        other => unreachable!("algorithm {other}"),
    };
    assert_eq!(key_of_seed.public_key().to_spki(), hex(&key["pub_spki"]));
    Arc::new(key_of_seed)
}

fn chain(certificates: &Value) -> Option<Arc<Chain>> {
    let certificates: Vec<Vec<u8>> = cases(certificates).map(hex).collect();
    let chain = || Chain::from_der(certificates.iter().map(Vec::as_slice)).unwrap();
    (!certificates.is_empty()).then(|| Arc::new(chain()))
}

fn alpn(case: &Value) -> Alpn {
    match case["alpn"].as_str() {
        Some(_) => Alpn::Negotiated,
        None => Alpn::Absent,
    }
}

fn blocks(chains: Option<BlockChains>) -> Blocks {
    let mut blocks = Blocks::new();
    if let Some(chains) = chains {
        blocks.encrypt(chains);
    }
    blocks
}

/// The content of a block with one message, which must be the recorded one.
fn content<T: Wire>(session: &Session, message: &T, recorded: &Value) -> Bytes {
    let corr_id = CorrId::from([b'c'; 24]);
    let transmission = Unauthorized::new(session, &corr_id, &EntityId::EMPTY, message)
        .authorize(session, None, None);
    let mut content = BytesMut::new();
    batch::put_content(&[transmission], &mut content);
    assert_eq!(content, hex(recorded));
    content.freeze()
}

fn result(session: &Session, versions: VersionRange, encrypted: bool, has_auth: bool) -> Value {
    json!({
        "version": session.version.0,
        "server_version_range": [versions.min().0, versions.max().0],
        "imply_session_id": session.version >= AUTH_COMMANDS,
        "service_auth": session.version >= SERVICE_CERTIFICATES,
        "encrypt_blocks": encrypted,
        "has_auth": has_auth,
    })
}

fn shown(error: TransportError) -> String {
    match error {
        TransportError::BadBlock => "TEBadBlock".to_owned(),
        TransportError::Version => "TEVersion".to_owned(),
        TransportError::LargeMsg => "TELargeMsg".to_owned(),
        TransportError::BadSession => "TEBadSession".to_owned(),
        TransportError::NoServerAuth => "TENoServerAuth".to_owned(),
        TransportError::Handshake { error } => format!("TEHandshake {{handshakeErr = {error}}}"),
    }
}

const fn shown_role(role: ServiceRole) -> &'static str {
    match role {
        ServiceRole::Messaging => "SRMessaging",
        ServiceRole::Notifier => "SRNotifier",
        ServiceRole::Proxy => "SRProxy",
    }
}

fn shown_response(session: &Session, block: Result<Bytes, UnreadableBlock>) -> String {
    let Ok(content) = block else {
        return "(CorrId {bs = \"\"},EntityId {unEntityId = \"\"},Left BLOCK)".to_owned();
    };
    let [response] = &batch::unpack(&content).unwrap()[..] else {
        unreachable!("one transmission")
    };
    let response = Transmission::parse(session, response).unwrap();
    let corr_id = String::from_utf8(response.corr_id.to_vec()).unwrap();
    let entity_id = String::from_utf8(response.entity_id.to_vec()).unwrap();
    let message = response.parse_message(session.version).unwrap();
    format!(
        "(CorrId {{bs = {corr_id:?}}},EntityId {{unEntityId = {entity_id:?}}},Right {})",
        message.tag()
    )
}

fn range(value: &Value) -> VersionRange {
    VersionRange::new(version(&value[0]).0, version(&value[1]).0).unwrap()
}

fn id(value: &Value) -> Id {
    Id::try_from(hex(value).as_slice()).unwrap()
}

fn entity_id(value: &Value) -> EntityId {
    EntityId::try_from(hex(value).as_slice()).unwrap()
}
