//! Agents with their stores, over TLS, with a router.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking"
)]

mod router;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use router::Router;
use simplex_agent::store::{Memory, Sqlite, SqliteOptions, Store};
use simplex_agent::{
    Agent, Builder, ConnectionId, Error, Event, EventContent, Events, InitialKeys, Joining,
    MessageId, MsgFlags, NewConnection, NewLink, Pq, ServiceIdentity, UserId, UserRouter,
};
use simplex_runtime_tokio::{Tokio, rng};
use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::sim::identity::Credentials;

const USER: UserId = UserId(1);
const FLAGS: MsgFlags = MsgFlags {
    notification: false,
};

/// An agent and the events that it has told.
struct Peer {
    agent: Agent,
    events: Events,
    running: tokio::task::JoinHandle<()>,
}

impl Peer {
    async fn start(router: &Router, store: impl Store + 'static) -> Self {
        Self::build(router, Builder::new(store)).await
    }

    async fn build(router: &Router, builder: Builder) -> Self {
        let (agent, events, running) = builder.start(Tokio::new(), rng().unwrap());
        let running = tokio::spawn(async move { running.await.unwrap() });
        let routers = vec![UserRouter::new(router.address.clone())];
        agent.set_user(USER, routers).await.unwrap();
        Self {
            agent,
            events,
            running,
        }
    }

    /// Ends as a process does that is killed.
    fn kill(self) {
        self.running.abort();
    }

    /// The next event that the test is about, confirmed.
    async fn next(&mut self) -> (ConnectionId, EventContent) {
        loop {
            let next = tokio::time::timeout(Duration::from_secs(30), self.events.next()).await;
            let Event {
                id,
                connection,
                content,
            } = next.expect("an event comes").expect("the agent runs");
            if let Some(id) = id {
                self.agent.confirm(id).await.unwrap();
            }
            match content {
                EventContent::RouterConnected { .. }
                | EventContent::RouterDisconnected { .. }
                | EventContent::Up { .. }
                | EventContent::Sent { .. } => {}
                content => return (connection.unwrap(), content),
            }
        }
    }

    async fn connected(&mut self) -> ConnectionId {
        match self.next().await {
            (connection, EventContent::Connected { .. }) => connection,
            other => panic!("{other:?}"),
        }
    }

    async fn message(&mut self) -> (ConnectionId, MessageId, Bytes) {
        match self.next().await {
            (connection, EventContent::Message { meta, body, .. }) => {
                assert_eq!(format!("{:?}", meta.integrity), "Ok");
                (connection, meta.message, body.to_vec().into())
            }
            other => panic!("{other:?}"),
        }
    }

    async fn hears(&mut self, expected: &[u8]) -> ConnectionId {
        let (connection, message, body) = self.message().await;
        assert_eq!(body, expected);
        let acknowledged = self.agent.acknowledge(&connection, message, None);
        acknowledged.await.unwrap();
        connection
    }

    async fn says(&self, connection: &ConnectionId, text: &'static [u8]) {
        let body = Bytes::from_static(text);
        self.agent.send(connection, FLAGS, body).await.unwrap();
    }
}

fn sqlite(path: &Path) -> Sqlite {
    Sqlite::open(path, &SqliteOptions::default()).unwrap()
}

/// Connects two agents: how each of them calls the connection.
async fn connect(alice: &mut Peer, bob: &mut Peer, pq: Pq) -> (ConnectionId, ConnectionId) {
    let keys = match pq {
        Pq::On => InitialKeys::Invitation,
        Pq::Off => InitialKeys::Never,
    };
    let created = alice
        .agent
        .create(NewLink {
            kind: NewConnection::Invitation { pq: keys },
            ..NewLink::invitation(USER)
        })
        .await
        .unwrap();
    // The link is text that people pass on.
    let link = created.link.to_string().parse().unwrap();
    let (at_bob, _) = bob
        .agent
        .join(Joining {
            pq,
            ..Joining::new(USER, link, Bytes::from_static(b"I am Bob"))
        })
        .await
        .unwrap();
    match alice.next().await {
        (connection, EventContent::Confirmation { name, info, .. }) => {
            assert_eq!(connection, created.connection);
            assert_eq!(&info[..], b"I am Bob");
            let info = Bytes::from_static(b"I am Alice");
            alice.agent.allow(&connection, &name, info).await.unwrap();
        }
        other => panic!("{other:?}"),
    }
    match bob.next().await {
        (_, EventContent::Info { info, .. }) => assert_eq!(&info[..], b"I am Alice"),
        other => panic!("{other:?}"),
    }
    assert_eq!(bob.connected().await, at_bob);
    assert_eq!(alice.connected().await, created.connection);
    let codes = (
        alice.agent.security_code(&created.connection).await,
        bob.agent.security_code(&at_bob).await,
    );
    assert_eq!(codes.0.unwrap(), codes.1.unwrap());
    (created.connection, at_bob)
}

async fn two_talk(pq: Pq) {
    let router = Router::start().await;
    let mut alice = Peer::start(&router, Memory::default()).await;
    let mut bob = Peer::start(&router, Memory::default()).await;
    let (at_alice, at_bob) = connect(&mut alice, &mut bob, pq).await;
    for _ in 0..4 {
        alice.says(&at_alice, b"hello").await;
        assert_eq!(bob.hears(b"hello").await, at_bob);
        bob.says(&at_bob, b"hello yourself").await;
        assert_eq!(alice.hears(b"hello yourself").await, at_alice);
    }
    let (_, used) = alice
        .agent
        .send(&at_alice, FLAGS, Bytes::from_static(b"now"))
        .await
        .unwrap();
    assert_eq!(used, pq);
    bob.hears(b"now").await;
}

#[tokio::test]
async fn two_agents_connect_and_talk_with_post_quantum_keys() {
    two_talk(Pq::On).await;
}

#[tokio::test]
async fn two_agents_connect_and_talk_without_post_quantum_keys() {
    two_talk(Pq::Off).await;
}

#[tokio::test]
async fn many_ask_at_an_address() {
    let router = Router::start().await;
    let mut alice = Peer::start(&router, Memory::default()).await;
    let address = alice.agent.create(NewLink::address(USER)).await.unwrap();
    for text in [b"first".as_slice(), b"second"] {
        let mut bob = Peer::start(&router, Memory::default()).await;
        let link = address.link.to_string().parse().unwrap();
        let info = Bytes::copy_from_slice(text);
        let joining = Joining::new(USER, link, info);
        let (at_bob, _) = bob.agent.join(joining).await.unwrap();
        let name = match alice.next().await {
            (_, EventContent::Request { name, info, .. }) => {
                assert_eq!(&info[..], text);
                name
            }
            other => panic!("{other:?}"),
        };
        let info = Bytes::from_static(b"welcome");
        let accepted = alice
            .agent
            .accept(&address.connection, &name, None, info, Pq::On);
        let (at_alice, _) = accepted.await.unwrap();
        match bob.next().await {
            (connection, EventContent::Confirmation { name, info, .. }) => {
                assert_eq!(&info[..], b"welcome");
                let info = Bytes::from_static(b"thanks");
                bob.agent.allow(&connection, &name, info).await.unwrap();
            }
            other => panic!("{other:?}"),
        }
        match alice.next().await {
            (_, EventContent::Info { info, .. }) => assert_eq!(&info[..], b"thanks"),
            other => panic!("{other:?}"),
        }
        assert_eq!(alice.connected().await, at_alice);
        assert_eq!(bob.connected().await, at_bob);
        bob.says(&at_bob, b"here I am").await;
        assert_eq!(alice.hears(b"here I am").await, at_alice);
    }
}

#[tokio::test]
async fn an_agent_that_is_killed_goes_on_with_its_database() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let (of_alice, of_bob) = (directory.path().join("a"), directory.path().join("b"));
    let mut alice = Peer::start(&router, sqlite(&of_alice)).await;
    let mut bob = Peer::start(&router, sqlite(&of_bob)).await;
    let (at_alice, at_bob) = connect(&mut alice, &mut bob, Pq::On).await;
    alice.says(&at_alice, b"before").await;
    let (_, before, _) = bob.message().await;
    bob.kill();
    alice.says(&at_alice, b"meanwhile").await;

    // What was not acknowledged is told again, then what has come meanwhile.
    let mut bob = loop {
        // The thread of the store ends a moment after its agent.
        match Sqlite::open(&of_bob, &SqliteOptions::default()) {
            Ok(store) => break Peer::start(&router, store).await,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    bob.agent.subscribe_all(None).await.unwrap();
    let (_, again, body) = bob.message().await;
    assert_eq!((again, &body[..]), (before, b"before".as_slice()));
    bob.agent.acknowledge(&at_bob, again, None).await.unwrap();
    assert_eq!(bob.hears(b"meanwhile").await, at_bob);
    bob.says(&at_bob, b"I am back").await;
    assert_eq!(alice.hears(b"I am back").await, at_alice);
}

#[tokio::test]
async fn receipts_say_what_was_received() {
    let router = Router::start().await;
    let mut alice = Peer::start(&router, Memory::default()).await;
    let mut bob = Peer::start(&router, Memory::default()).await;
    let (at_alice, at_bob) = connect(&mut alice, &mut bob, Pq::On).await;
    // The receipt may be quicker than the router's answer to the sender.
    for _ in 0..20 {
        let body = Bytes::from_static(b"did you get this?");
        let (sent, _) = alice.agent.send(&at_alice, FLAGS, body).await.unwrap();
        let (_, message, _) = bob.message().await;
        let receipt = Some(Bytes::from_static(b"yes"));
        let acknowledged = bob.agent.acknowledge(&at_bob, message, receipt);
        acknowledged.await.unwrap();
        match alice.next().await {
            (_, EventContent::Receipts { receipts, meta }) => {
                let of: Vec<_> = receipts.iter().map(|receipt| receipt.message).collect();
                assert_eq!(of, [sent]);
                let done = alice.agent.acknowledge(&at_alice, meta.message, None);
                done.await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Post-quantum turns of ratchets run where the application wants them to.
#[tokio::test]
async fn ratchets_turn_in_a_thread_of_the_application() {
    let router = Router::start().await;
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    let builder = Builder::new(Memory::default()).offload(move |turn| {
        let counted = Arc::clone(&counted);
        let thread = std::thread::Builder::new().name("turns".to_owned());
        let run = move || {
            turn();
            counted.fetch_add(1, Ordering::SeqCst);
        };
        thread.spawn(run).unwrap();
    });
    let mut alice = Peer::build(&router, builder).await;
    let mut bob = Peer::start(&router, Memory::default()).await;
    let (of_alice, of_bob) = connect(&mut alice, &mut bob, Pq::On).await;
    for _ in 0..3 {
        bob.says(&of_bob, b"your turn").await;
        alice.hears(b"your turn").await;
        alice.says(&of_alice, b"and yours").await;
        bob.hears(b"and yours").await;
    }
    assert!(turns.load(Ordering::SeqCst) >= 3);
}

#[tokio::test]
async fn a_service_subscribes_to_all_its_queues_at_once() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bot.db");
    let credentials = Credentials::issue(Algorithm::Ed25519, &mut rng().unwrap());
    let identity = ServiceIdentity::new(credentials.chain, credentials.leaf_key).unwrap();
    let builder = || Builder::new(sqlite(&path)).service(USER, identity.clone());
    let bot = Peer::build(&router, builder()).await;
    for _ in 0..3 {
        bot.agent.create(NewLink::invitation(USER)).await.unwrap();
    }
    bot.kill();

    let mut bot = loop {
        // The thread of the store may not have ended yet.
        match Sqlite::open(&path, &SqliteOptions::default()) {
            Ok(store) => {
                drop(store);
                break Peer::build(&router, builder()).await;
            }
            Err(_) => tokio::task::yield_now().await,
        }
    };
    bot.agent.subscribe_all(None).await.unwrap();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(30), bot.events.next()).await;
        match next
            .expect("an event comes")
            .expect("the agent runs")
            .content
        {
            EventContent::ServiceUp { count, .. } => break assert_eq!(count, 3),
            EventContent::Up { .. } => panic!("one by one"),
            _ => {}
        }
    }
    let counts = bot.agent.router_statistics().await.unwrap();
    assert_eq!(counts[0].counts.sessions, 1);
}

#[tokio::test]
async fn messages_go_to_many_connections_in_one_call() {
    let router = Router::start().await;
    let mut alice = Peer::start(&router, Memory::default()).await;
    let mut bob = Peer::start(&router, Memory::default()).await;
    let (first, _) = connect(&mut alice, &mut bob, Pq::Off).await;
    let (second, _) = connect(&mut alice, &mut bob, Pq::Off).await;
    let nobody = ConnectionId::try_from(b"nobody".as_slice()).unwrap();
    let body = Bytes::from_static(b"to all");
    let messages = [first, nobody, second].map(|name| (name, FLAGS, body.clone()));
    let results = alice.agent.send_many(messages).await;
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert!(matches!(results[1], Err(Error::Agent(_))), "{results:?}");
    bob.hears(b"to all").await;
    bob.hears(b"to all").await;
}
