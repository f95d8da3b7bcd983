//! What a client is told by a proxy that cannot do what it asks.

use bytes::Bytes;
use simplex_runtime_tokio::rng;
use simplex_sans_io::crypto::x25519;
use simplex_sans_io::smp::client::{Request, RequestError, RequestId};
use simplex_sans_io::smp::error::{BrokerError, NetworkError};
use simplex_sans_io::smp::version::SUPPORTED;
use simplex_sans_io::smp::{Command, ErrorType, ProxyError};
use simplex_sans_io::wire::{EntityId, KeyHash};

use crate::process::{Address, Client, Process, configure};

fn of_proxy(error: ProxyError) -> RequestError {
    RequestError::Protocol(ErrorType::Proxy { error })
}

async fn asked(client: &Client, relay: &Address, password: Option<&str>) -> RequestError {
    let command = Command::Prxy {
        relay: relay.clone(),
        password: password.map(|password| password.parse().unwrap()),
    };
    let request = Request::new(RequestId(0), EntityId::EMPTY, command);
    client.smp.request(request).await.unwrap_err()
}

#[tokio::test]
async fn a_proxy_says_why_a_relay_cannot_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    let unreachable = of_proxy(ProxyError::Broker {
        error: BrokerError::Network {
            error: NetworkError::default(),
        },
    });
    // Nobody listens on the port of a socket that is closed again.
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let hosts = || router.address.hosts().to_vec().try_into().unwrap();
    let identity = router.address.key_hash().clone();
    let nobody = Address::new(hosts(), Some(port), identity);
    assert_eq!(asked(&client, &nobody, None).await, unreachable);
    let stranger = Address::new(hosts(), router.address.port(), KeyHash::from([7; 32]));
    assert_eq!(asked(&client, &stranger, None).await, unreachable);
    // An onion host without a SOCKS proxy is not looked for elsewhere.
    let onion = "o5vmywmrnaxalvz6wi3zicyftgio6psuvyniis6gco6bp6ekl4cqj4id.onion";
    let onion = Address::new(
        vec![onion.parse().unwrap()].try_into().unwrap(),
        None,
        router.address.key_hash().clone(),
    );
    let no_host = of_proxy(ProxyError::Broker {
        error: BrokerError::Host,
    });
    assert_eq!(asked(&client, &onion, None).await, no_host);

    let key = x25519::PrivateKey::generate(&mut rng().unwrap()).public_key();
    let pfwd = Command::Pfwd {
        version: SUPPORTED.max(),
        key,
        encrypted: Bytes::from(vec![0; 16_242]),
    };
    let unknown = EntityId::from([5; 24]);
    let forwarded = Request::new(RequestId(0), unknown, pfwd.clone());
    let refused = client.smp.request(forwarded).await.unwrap_err();
    assert_eq!(refused, of_proxy(ProxyError::NoSession));
    // What the relay cannot open.
    let now = simplex_sans_io::time::UnixTime::from(std::time::SystemTime::now());
    let relay = client.smp.relay(&router.address, None, now).await.unwrap();
    let session = EntityId::from(relay.session().session.id.clone());
    let garbage = Request::new(RequestId(0), session, pfwd);
    let refused = client.smp.request(garbage).await.unwrap_err();
    let crypto = of_proxy(ProxyError::Protocol {
        error: Box::new(ErrorType::Crypto),
    });
    assert_eq!(refused, crypto);
}

#[tokio::test]
async fn a_proxy_wants_the_password_of_new_queues() {
    let directory = tempfile::tempdir().unwrap();
    drop(Process::start(directory.path()));
    let (none, password) = ("# create_password = ", "create_password = secret\n# ");
    configure(directory.path(), none, password);
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    for password in [None, Some("wrong")] {
        let refused = asked(&client, &router.address, password).await;
        assert_eq!(refused, of_proxy(ProxyError::BasicAuth));
    }
    let now = simplex_sans_io::time::UnixTime::from(std::time::SystemTime::now());
    let password = Some("secret".parse().unwrap());
    client
        .smp
        .relay(&router.address, password, now)
        .await
        .unwrap();
}
