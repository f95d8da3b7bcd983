//! Both sides of the handshake against each other.

use proptest::prelude::*;

use super::client::Secrecy;
use super::*;
use crate::crypto::Algorithm;
use crate::rng::Rng;
use crate::sim::identity::{Credentials, transports};
use crate::smp::HandshakeError;
use crate::smp::version::SUPPORTED;
use crate::wire::{self, KeyHash, Short};

struct Sides {
    rng: Rng,
    credentials: Credentials,
    router: router::Identity,
    client: client::Config,
    alpn: Alpn,
}

impl Sides {
    fn new(algorithm: Algorithm) -> Self {
        let mut rng = Rng::from_seed([7; 32]);
        let credentials = Credentials::issue(algorithm, &mut rng);
        Self {
            router: credentials.router(),
            client: client::Config::new(credentials.key_hash()),
            alpn: Alpn::Negotiated,
            credentials,
            rng,
        }
    }

    fn shake(&mut self) -> Result<(client::Established, router::Established), TransportError> {
        let (mut client_side, mut router_side) = transports(
            &self.credentials,
            self.client.service.as_ref(),
            &mut self.rng,
        );
        (client_side.alpn, router_side.alpn) = (self.alpn, self.alpn);
        let (hello, awaits) = router::introduce(&self.router, router_side, &mut self.rng);
        let (hello, client) = client::receive(
            &self.client,
            &client_side,
            &travelled(&hello),
            &mut self.rng,
        )?;
        let router = awaits
            .receive(&travelled(&hello))
            .map_err(|refusal| match refusal {
                router::Refusal::Silent(error) | router::Refusal::Service(error) => error,
            })?;
        match (client, router) {
            (client::Next::Established(client), router::Next::Established(router)) => {
                Ok((*client, *router))
            }
            (client::Next::Service(client), router::Next::Service(router)) => {
                let id = EntityId::from([5; 24]);
                let response = travelled(&ServiceResponse::Accepted(id.clone()));
                Ok((client.receive(response)?, router.accept(id)))
            }
            _ => panic!("the sides disagree about the service"),
        }
    }
}

fn travelled<T: Wire>(message: &T) -> T {
    wire::decode(Version(0), &wire::encode(message, Version(0))).unwrap()
}

fn range(min: u16, max: u16) -> VersionRange {
    VersionRange::new(min, max).unwrap()
}

#[test]
fn both_sides_agree_in_every_version_and_with_both_algorithms() {
    for algorithm in [Algorithm::Ed25519, Algorithm::Ed448] {
        for version in SUPPORTED.min().0..=SUPPORTED.max().0 {
            let mut sides = Sides::new(algorithm);
            sides.client.versions = range(6, version);
            let (client, router) = sides.shake().unwrap();
            assert_eq!(client.session, router.session);
            assert_eq!(client.session.version, Version(version));
            assert_eq!(client.versions, router.versions);
            assert_eq!(client.secret.is_some(), version >= 7);
            assert_eq!(client.secret, router.secret);
            let chains = client.chains.zip(router.chains);
            assert_eq!(chains.is_some(), version >= 11);
            if let Some((client, router)) = chains {
                assert_eq!(client.send, router.receive);
                assert_eq!(client.receive, router.send);
            }
        }
    }
}

#[test]
fn without_a_protocol_in_tls_the_oldest_version_is_spoken() {
    let mut sides = Sides::new(Algorithm::Ed25519);
    sides.alpn = Alpn::Absent;
    let (client, router) = sides.shake().unwrap();
    assert_eq!(client.session.version, Version(6));
    assert_eq!((client.router, router.secret), (None, None));
}

#[test]
fn a_client_without_a_key_has_no_encrypted_blocks() {
    let mut sides = Sides::new(Algorithm::Ed25519);
    sides.client.secret = Secrecy::TlsOnly;
    let (client, router) = sides.shake().unwrap();
    assert_eq!((client.chains, router.chains), (None, None));
    assert!(client.router.is_some());
}

#[test]
fn a_proxy_has_no_encrypted_blocks_with_any_relay() {
    for (client, router) in (6..=20).flat_map(|max| [(20, max), (max, 20)]) {
        let mut sides = Sides::new(Algorithm::Ed25519);
        sides.router.versions = range(6, router);
        sides.client.versions = range(6, client);
        sides.client.peer = Peer::Proxy;
        let max = client.min(router);
        let (client, router) = sides.shake().unwrap();
        let expected = if max < 14 { max.min(10) } else { max };
        assert_eq!(client.session.version, Version(expected));
        assert_eq!((client.chains, router.chains), (None, None));
        assert_eq!(router.peer == Peer::Proxy, max >= 14);
    }
}

#[test]
fn a_service_is_introduced_in_the_versions_of_its_role() {
    for (role, since) in [
        (ServiceRole::Messaging, 19),
        (ServiceRole::Notifier, 16),
        (ServiceRole::Proxy, 16),
    ] {
        for max in 15..=20 {
            let mut sides = Sides::new(Algorithm::Ed25519);
            let service = Credentials::issue(Algorithm::Ed25519, &mut sides.rng);
            sides.client.service = Some(service.service(role));
            sides.client.versions = range(6, max);
            let (client, router) = sides.shake().unwrap();
            let Some((client, router)) = client.service.zip(router.service) else {
                assert!(max < since);
                continue;
            };
            assert!(max >= since);
            assert_eq!((client.role, router.role), (role, role));
            assert_eq!(client.id, router.id);
            assert_eq!(client.fingerprint, service.fingerprint());
            assert_eq!(client.key.public_key(), router.key);
        }
    }
}

#[test]
fn each_disagreement_has_its_error() {
    let error = |change: &dyn Fn(&mut Sides)| {
        let mut sides = Sides::new(Algorithm::Ed25519);
        change(&mut sides);
        sides.shake().unwrap_err()
    };
    assert_eq!(
        error(&|sides| sides.client.versions = range(21, 22)),
        TransportError::Version
    );
    assert_eq!(
        error(&|sides| sides.client.key_hash = KeyHash::from([1; 32])),
        BAD_AUTH
    );
    // The router shows another chain in its hello than it has: the key is signed by a leaf that TLS has not seen.
    assert_eq!(
        error(
            &|sides| sides.router = Credentials::issue(Algorithm::Ed25519, &mut sides.rng).router()
        ),
        BAD_AUTH
    );
}

#[test]
fn a_router_refuses_a_client_that_expects_another() {
    let mut sides = Sides::new(Algorithm::Ed25519);
    let (_, transport) = transports(&sides.credentials, None, &mut sides.rng);
    let (_, awaits) = router::introduce(&sides.router, transport, &mut sides.rng);
    let hello = |version, key_hash| ClientHello {
        version: Version(version),
        fields: ClientHelloFields {
            key_hash,
            session_key: None,
            proxy: false,
            service: None,
        },
    };
    let own = sides.credentials.key_hash();
    let refused = |hello| awaits.clone().receive(&hello).unwrap_err();
    assert_eq!(
        refused(hello(20, KeyHash::from([1; 32]))),
        router::Refusal::Silent(IDENTITY)
    );
    for version in [5, 21] {
        assert_eq!(
            refused(hello(version, own.clone())),
            router::Refusal::Silent(TransportError::Version)
        );
    }
}

#[test]
fn a_service_must_have_shown_its_certificates_in_tls() {
    let mut sides = Sides::new(Algorithm::Ed25519);
    let service = Credentials::issue(Algorithm::Ed25519, &mut sides.rng);
    sides.client.service = Some(service.service(ServiceRole::Messaging));
    let (client_side, _) = transports(&sides.credentials, None, &mut sides.rng);
    let (hello, awaits) = router::introduce(&sides.router, client_side.clone(), &mut sides.rng);
    let (hello, _) = client::receive(&sides.client, &client_side, &hello, &mut sides.rng).unwrap();
    assert_eq!(
        awaits.receive(&hello),
        Err(router::Refusal::Service(BAD_AUTH))
    );
}

#[test]
fn a_refused_service_is_told_why() {
    let mut sides = Sides::new(Algorithm::Ed25519);
    let service = Credentials::issue(Algorithm::Ed25519, &mut sides.rng);
    sides.client.service = Some(service.service(ServiceRole::Messaging));
    let (client_side, router_side) = transports(
        &sides.credentials,
        sides.client.service.as_ref(),
        &mut sides.rng,
    );
    let (hello, _) = router::introduce(&sides.router, router_side, &mut sides.rng);
    let (_, next) = client::receive(&sides.client, &client_side, &hello, &mut sides.rng).unwrap();
    let client::Next::Service(awaits) = next else {
        panic!("a service was offered")
    };
    let error = TransportError::Handshake {
        error: HandshakeError::BadService,
    };
    let response = travelled(&ServiceResponse::Refused(error));
    assert_eq!(awaits.receive(response), Err(error));
}

proptest! {
    #[test]
    fn messages_come_back(seed: [u8; 32]) {
        use crate::wire::Sample;
        let mut rng = Rng::from_seed(seed);
        let hello = RouterHello::sample(Version(20), &mut rng);
        prop_assert_eq!(travelled(&hello), hello);
        let hello = ClientHello::sample(Version(20), &mut rng);
        prop_assert_eq!(travelled(&hello), hello);
        let response = ServiceResponse::sample(Version(20), &mut rng);
        prop_assert_eq!(travelled(&response), response);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = Short::try_from(&bytes[..bytes.len().min(255)]).unwrap();
        let _ = wire::decode::<RouterHello>(Version(0), &bytes);
        let _ = wire::decode::<ClientHello>(Version(0), &bytes);
        let _ = wire::decode::<ServiceResponse>(Version(0), &bytes);
    }
}
