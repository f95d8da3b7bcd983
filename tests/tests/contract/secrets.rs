//! Nothing that holds a secret prints it, in any of the ways in which bytes are printed.

use std::fmt::Debug;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use simplex_sans_io::crypto::block_chain::BlockChains;
use simplex_sans_io::crypto::secret_box::Key;
use simplex_sans_io::crypto::{
    Algorithm, AuthPrivateKey, PrivateKey, Secret, SigningKey, aes_gcm, ed448, ed25519, kem, x448,
    x25519,
};
use simplex_sans_io::machine::{Connection, Input, Machine};
use simplex_sans_io::ratchet::{OfferedKeys, Pq, Ratchet, SUPPORTED, SkippedKeys};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::sim::identity::Credentials as Issued;
use simplex_sans_io::sim::smp::{Setup, Sides};
use simplex_sans_io::sim::{Checked, Frames};
use simplex_sans_io::smp::client::{self, Established, Request, RequestId};
use simplex_sans_io::smp::handshake::ServiceRole;
use simplex_sans_io::smp::pool::{self, Pool, SessionKey, SubscriberRole, Subscription, UserId};
use simplex_sans_io::smp::proxy::RelaySession;
use simplex_sans_io::smp::{Command, server};
use simplex_sans_io::socks::{Authentication, Credentials, Proxy, Socks};
use simplex_sans_io::time::Now;
use simplex_sans_io::tls::{self, ClientConfig, ClientOptions, ServerConfig, ServerOptions, Tls};
use simplex_sans_io::wire::{BasicAuth, EntityId};

/// How many bytes of a secret in a row are too many.
const TOO_MANY: usize = 6;

/// Asserts that what prints does not contain any part of the secret.
#[track_caller]
fn assert_hidden(what: &impl Debug, secret: &[u8]) {
    assert!(secret.len() >= TOO_MANY, "too short to be recognised");
    for printed in [format!("{what:?}"), format!("{what:#?}")] {
        let compact: String = printed.chars().filter(|c| !c.is_whitespace()).collect();
        let lower = compact.to_lowercase();
        for part in secret.windows(TOO_MANY) {
            let list = |byte: fn(&u8) -> String| part.iter().map(byte).collect::<Vec<_>>();
            let decimal = list(|byte| byte.to_string()).join(",");
            assert!(
                !compact.contains(&decimal),
                "a list of numbers in {printed}"
            );
            let hex = list(|byte| format!("{byte:02x}")).concat();
            assert!(!lower.contains(&hex), "hex digits in {printed}");
            let escaped: String = part.escape_ascii().to_string();
            assert!(!compact.contains(&escaped), "a byte string in {printed}");
        }
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            for start in 0..3 {
                let encoded = engine.encode(&secret[start..]);
                assert!(!compact.contains(&encoded[..8]), "base64 in {printed}");
            }
        }
    }
}

#[track_caller]
fn assert_all_hidden(what: &impl Debug, secrets: &[Vec<u8>]) {
    for secret in secrets {
        assert_hidden(what, secret);
    }
}

#[test]
#[should_panic(expected = "a byte string")]
fn bytes_that_print_are_found() {
    assert_hidden(
        &bytes::Bytes::from_static(b"\x01 secret \xff"),
        b"\x01 secret \xff",
    );
}

#[test]
#[should_panic(expected = "a list of numbers")]
fn lists_that_print_are_found() {
    assert_hidden(&[0_u8, 7, 200, 3, 4, 5, 6, 1], &[7, 200, 3, 4, 5, 6]);
}

#[test]
#[should_panic(expected = "hex digits")]
fn hex_that_prints_is_found() {
    assert_hidden(&EntityId::from([0xab; 24]), &[0xab; 24]);
}

#[test]
#[should_panic(expected = "base64")]
fn base64_that_prints_is_found() {
    let secret = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
    assert_hidden(&URL_SAFE_NO_PAD.encode(secret), &secret);
}

#[test]
fn keys_and_secrets() {
    let mut rng = Rng::from_seed([1; 32]);
    let bytes: [u8; 64] = rng.bytes();
    assert_hidden(&Secret::from_bytes(bytes), &bytes);
    assert_hidden(&rng.clone(), &rng.bytes::<32>());
    assert_hidden(&Rng::from_seed([0x5a; 32]), &[0x5a; 32]);

    let key = x25519::PrivateKey::generate(&mut rng);
    assert_hidden(&key, key.as_bytes());
    assert_hidden(&key.to_pkcs8(), key.as_bytes());
    let other = x25519::PrivateKey::generate(&mut rng).public_key();
    let shared = key.agree(&other);
    assert_hidden(&shared, shared.as_bytes());
    assert_hidden(&Key::from(&shared), shared.as_bytes());
    let key = x448::PrivateKey::generate(&mut rng);
    assert_hidden(&key, key.as_bytes());
    let shared = key.agree(&x448::PrivateKey::generate(&mut rng).public_key());
    assert_hidden(&shared, shared.as_bytes());
    let key = ed25519::PrivateKey::generate(&mut rng);
    assert_hidden(&key, key.as_bytes());
    let key = ed448::PrivateKey::generate(&mut rng);
    assert_hidden(&key, key.as_bytes());

    for algorithm in [
        Algorithm::Ed25519,
        Algorithm::Ed448,
        Algorithm::X25519,
        Algorithm::X448,
    ] {
        if let Some(key) = PrivateKey::generate(algorithm, &mut rng) {
            assert_hidden(&key, key.as_bytes());
        }
        if let Some(key) = AuthPrivateKey::generate(algorithm, &mut rng) {
            assert_hidden(&key, key.as_bytes());
        }
        if let Some(key) = SigningKey::generate(algorithm, &mut rng) {
            assert_hidden(&key, key.as_bytes());
        }
    }

    let key = kem::PrivateKey::generate(&mut rng);
    assert_hidden(&key, key.as_bytes());
    let (_, shared) = key.public_key().encapsulate(&mut rng);
    assert_hidden(&shared, shared.as_bytes());

    let chains = BlockChains::client(b"session", &Secret::from_bytes([0x5a; 32]));
    assert_hidden(&chains, chains.send.as_bytes());
    assert_hidden(&chains, chains.receive.as_bytes());
    let (key, _) = chains.clone().send.advance();
    assert_hidden(&key, key.as_bytes());
    let mut frame = [0; 4];
    let tag = aes_gcm::encrypt_frame(&key, &[0; 12], &mut frame);
    assert_hidden(&tag, key.as_bytes());
}

/// Both sides of a session in the name of a service, and the secrets that they have.
fn sides() -> (Sides, Established, Vec<Vec<u8>>) {
    let mut setup = Setup::new([1; 32]);
    let service = Issued::issue(Algorithm::Ed25519, &mut setup.rng);
    let service = service.service(ServiceRole::Messaging);
    let service_key = service.leaf_key.as_bytes().to_vec();
    let setup = setup.in_the_name_of(service);
    let router_key = setup.credentials.leaf_key.as_bytes().to_vec();
    assert_all_hidden(&setup, &[service_key.clone(), router_key.clone()]);
    assert_hidden(&setup.client, &service_key);
    assert_hidden(&setup.server, &router_key);

    let mut sides = setup.establish().unwrap();
    let events = sides.client.events();
    let established = events.into_iter().find_map(|event| match event {
        client::Event::Established(established) => Some(*established),
        _ => None,
    });
    let established = established.unwrap();
    let agreed = *established.secret.as_ref().unwrap().shared().as_bytes();
    let of_session = established.service.as_ref().unwrap();
    let chains = BlockChains::client(&established.session.id, &Secret::from_bytes(agreed));
    let secrets = vec![
        service_key,
        router_key,
        agreed.to_vec(),
        of_session.key.as_bytes().to_vec(),
        chains.send.as_bytes().to_vec(),
        chains.receive.as_bytes().to_vec(),
    ];
    (sides, established, secrets)
}

#[test]
fn sessions_of_smp() {
    let (mut sides, established, mut secrets) = sides();
    assert_all_hidden(&established, &secrets);
    assert_all_hidden(&sides.server.events(), &secrets);

    // A request that waits for a response under secrets of its own.
    let mut rng = Rng::from_seed([2; 32]);
    let relay = x25519::PrivateKey::generate(&mut rng);
    let relay = RelaySession {
        session: established.session.clone(),
        key: relay.public_key(),
    };
    let key = AuthPrivateKey::generate(Algorithm::X25519, &mut rng).unwrap();
    secrets.push(key.as_bytes().to_vec());
    let key = Arc::new(key);
    let request = |id| Request::new(RequestId(id), EntityId::from([1; 24]), Command::Get);
    let requests = vec![
        request(1).authorized_by(Arc::clone(&key)),
        request(2).authorized_by(key).via(Arc::new(relay)),
    ];
    assert_all_hidden(&requests, &secrets);
    sides.send(requests).unwrap();
    assert_eq!(sides.client.machine.in_flight(), 2);
    assert_all_hidden(&sides.server.events(), &secrets);
    assert_all_hidden(&sides.client.machine, &secrets);
    assert_all_hidden(&sides.server.machine, &secrets);
    assert_all_hidden(&Checked::new(sides.server.machine.clone()), &secrets);
    assert_all_hidden(&sides, &secrets);
}

/// The router's key of a session, which it draws first of all.
#[test]
fn a_router_that_has_said_hello() {
    let mut setup = Setup::new([3; 32]);
    let mut rng = setup.rng.clone();
    let transport =
        simplex_sans_io::sim::identity::transports(&setup.credentials, None, &mut rng).1;
    let key = x25519::PrivateKey::generate(&mut rng.clone());
    let router = server::Server::new(setup.server.clone(), transport, rng, Now::START);
    assert_hidden(&router, key.as_bytes());
    let drawn = setup.rng.bytes::<32>();
    assert_hidden(&setup, &drawn);
}

#[test]
fn sessions_with_many_routers() {
    let mut rng = Rng::from_seed([4; 32]);
    let key = Arc::new(AuthPrivateKey::generate(Algorithm::Ed25519, &mut rng).unwrap());
    let password = b"hunter2-of-the-relay";
    let session = SessionKey {
        user: UserId(1),
        router: "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im"
            .parse()
            .unwrap(),
        scope: None,
    };
    let subscribe = pool::Call::Subscribe {
        session: session.clone(),
        subscriptions: vec![Subscription {
            queue: EntityId::from([1; 24]),
            role: SubscriberRole::Recipient,
            key: Arc::clone(&key),
        }],
    };
    let request = Request::new(RequestId(1), EntityId::from([1; 24]), Command::Get);
    let forward = pool::Call::Forward {
        proxy: session.clone(),
        relay: session.router.clone(),
        password: Some(BasicAuth::try_from(password.as_slice()).unwrap()),
        request: Box::new(request.authorized_by(Arc::clone(&key))),
    };
    let secrets = [key.as_bytes().to_vec(), password.to_vec()];
    let mut pool = Pool::new(pool::Config::default());
    for call in [subscribe, forward] {
        assert_all_hidden(&call, &secrets);
        let input = pool::Input::Command(call);
        pool.handle(Now::START, input).unwrap();
        while let Some(action) = pool.poll() {
            assert_all_hidden(&action, &secrets);
        }
    }
    assert_all_hidden(&pool, &secrets);
}

#[test]
fn credentials_and_sessions_of_tls() {
    let mut rng = Rng::from_seed([5; 32]);
    for algorithm in [Algorithm::Ed25519, Algorithm::Ed448] {
        let issued = Issued::issue(algorithm, &mut rng);
        let secret = issued.leaf_key.as_bytes();
        assert_hidden(&issued, secret);
        let chain = (*issued.chain).clone();
        let credentials = tls::Credentials::new(chain, (*issued.leaf_key).clone()).unwrap();
        assert_hidden(&credentials, secret);
        let client = ClientOptions {
            credentials: Some(credentials.clone()),
            ..ClientOptions::new(issued.fingerprint())
        };
        assert_hidden(&client, secret);
        let client = Arc::new(ClientConfig::new(client).unwrap());
        assert_hidden(&client, secret);
        let server = ServerOptions::new(credentials);
        assert_hidden(&server, secret);
        let server = Arc::new(ServerConfig::new(server).unwrap());
        assert_hidden(&server, secret);
        let tls = Tls::server(&server, Now::START, rng.fork(), |_, _| Frames::new());
        assert_hidden(&tls, secret);
        let tls = Tls::client(&client, Now::START, rng.fork(), |_, _| Frames::new()).unwrap();
        assert!(!tls.accepts_commands());
        assert_hidden(&tls, secret);
    }
}

#[test]
fn names_and_passwords_for_proxies() {
    let (user, password) = (b"a user name", b"and a password");
    let secrets = [user.to_vec(), password.to_vec()];
    let proxy: Proxy = "a user name:and a password@proxy.example:1080"
        .parse()
        .unwrap();
    assert_all_hidden(&proxy, &secrets);
    let credentials = Credentials::new("a user name", "and a password").unwrap();
    assert_all_hidden(&credentials, &secrets);
    let within = std::time::Duration::from_secs(30);
    let authentication = Authentication::Credentials(credentials);
    let target = "router.example:5223".parse().unwrap();
    let mut socks = Socks::new(Frames::new(), target, authentication, Now::START, within);
    while socks.poll().is_some() {}
    assert_all_hidden(&socks, &secrets);
    socks.handle(Now::START, Input::Bytes(b"\x05\x02")).unwrap();
    assert_all_hidden(&socks.clone().inner(), &secrets);
}

#[test]
fn ratchets() {
    let mut rng = Rng::from_seed([1; 32]);
    let offered = OfferedKeys::generate(&mut rng, Pq::On);
    assert_hidden(&offered, &offered.to_bytes()[2..]);

    let params = offered.params(SUPPORTED.max());
    let (joiner, params) = Ratchet::joiner(&mut rng, &params, Pq::On, SUPPORTED).unwrap();
    let first = joiner.encrypt(None, SUPPORTED.max()).unwrap();
    let second = first.ratchet.encrypt(None, SUPPORTED.max()).unwrap();
    let initiator = Ratchet::initiator(&offered, &params, Pq::On, SUPPORTED).unwrap();
    let message = second.key.encrypt(b"only between us two", 100).unwrap();
    let none = SkippedKeys::new();
    let step = initiator.decrypt(&none, &mut rng, (&*message).into());
    let step = step.unwrap();

    // After the format: the versions and the parties, then the ratchet key; at the end two header keys.
    let parties = 2 + 2 + 2 + 1 + 112;
    for ratchet in [&joiner, &initiator, &first.ratchet, &step.ratchet] {
        let stored = ratchet.to_bytes();
        let secrets = [
            stored[parties..parties + 56].to_vec(),
            stored[stored.len() - 64..].to_vec(),
        ];
        assert_all_hidden(ratchet, &secrets);
    }
    assert_all_hidden(&first, &[first.key.to_bytes()[116..148].to_vec()]);
    assert_all_hidden(&second.key, &[second.key.to_bytes()[149..165].to_vec()]);

    let mut skipped = SkippedKeys::new();
    skipped.apply(step.skipped.clone());
    let secrets: Vec<_> = skipped
        .iter()
        .flat_map(|key| {
            let stored = key.to_bytes();
            [&stored[2..34], &stored[39..71], &stored[72..88]].map(<[u8]>::to_vec)
        })
        .collect();
    assert_eq!(secrets.len(), 3);
    assert_all_hidden(&skipped, &secrets);
    assert_all_hidden(&step, &secrets);
    assert_hidden(&step, &step.content);
}
