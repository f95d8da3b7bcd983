//! Two agents with their databases and a router, over TLS on loopback, beside the same messages without agents.
//!
//! `AGENT_CONNECTIONS` says how many connections are subscribed to again, 1000 without it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "benches are there to print, and end when something is wrong"
)]

#[path = "../tests/router/mod.rs"]
mod router;

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use router::Router;
use simplex_agent::store::{Memory, Sqlite, SqliteOptions, Store};
use simplex_agent::{
    Agent, Builder, ConnectionId, EventContent, Events, InitialKeys, Joining, MsgFlags,
    NetworkState, NewConnection, NewLink, Pq, UserId, UserRouter,
};
use simplex_runtime_tokio::{SmpClient, SmpOptions, Tokio, rng};
use simplex_sans_io::crypto::{Algorithm, AuthPrivateKey};
use simplex_sans_io::drive;
use simplex_sans_io::smp::client::Event;
use simplex_sans_io::smp::{
    BrokerMessage, MsgFlags as Flags, NewQueue, QueueIds, QueueRequest, SubscriptionMode,
};
use simplex_sans_io::wire::{ServerAddress, SmpScheme};
use tokio::sync::Semaphore;

const USER: UserId = UserId(1);
const FLAGS: MsgFlags = MsgFlags {
    notification: false,
};
const TEXT: Bytes = Bytes::from_static(&[b'x'; 100]);
const ROUNDS: usize = 300;
const MESSAGES: usize = 2000;
/// Messages that are on their way at the same time, fewer than a queue takes.
const WINDOW: usize = 64;

fn main() {
    use tokio::runtime::Builder as Runtime;
    // An agent is one future: more threads would only scatter what it keeps.
    let (mut runtime, path) = match std::env::var_os(AT_REST) {
        Some(path) => (Runtime::new_current_thread(), Some(path)),
        None => (Runtime::new_multi_thread(), None),
    };
    let runtime = runtime.enable_all().build().unwrap();
    match path {
        Some(path) => runtime.block_on(rest(path.as_ref())),
        None => runtime.block_on(all()),
    }
}

async fn all() {
    let router = Router::start().await;
    println!("\n| | p50 | p99 | ratio of p50 |\n|---|--:|--:|--:|");
    let baseline = without_agents(&router).await;
    let unit = baseline.at(50);
    baseline.print("there and back without agents: SEND, MSG, ACK", unit);

    let directory = tempfile::tempdir().unwrap();
    synced(directory.path()).print("4 KB to the disk, for databases on it", unit);

    let in_memory = pair(&router, Memory::default(), Memory::default()).await;
    let file = |name: &str| sqlite(&directory.path().join(name));
    let on_disk = pair(&router, file("alice"), file("bob")).await;
    let mut pairs = [("in memory", in_memory), ("on the disk", on_disk)];
    for (place, (alice, bob)) in &mut pairs {
        for (pq, keys) in [(Pq::Off, "no"), (Pq::On, "with")] {
            let name = format!("{keys} post-quantum keys, {place}");
            latencies(alice, bob, pq, &name, unit).await;
        }
    }

    println!("\n| | per second |\n|---|--:|");
    for (place, (alice, bob)) in &mut pairs {
        for count in [1, 100] {
            let mut connections = Vec::new();
            for _ in 0..count {
                connections.push(connect(alice, bob, Pq::Off).await.0);
            }
            let rate = messages(alice, bob, &connections).await;
            println!("| messages, connections: {count}, {place} | {rate:.0} |");
        }
    }
    let (one, more) = (directory.path().join("one"), directory.path().join("many"));
    fill(&router, &one, 1).await;
    fill(&router, &more, many()).await;
    resubscribed(&router, &more).await;
    println!("\n| at rest | |\n|---|--:|");
    at_rest(&router, &directory.path().join("none"), 0);
    at_rest(&router, &one, 1);
    at_rest(&router, &more, many());
}

/// What was measured.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, percent: usize) -> Duration {
        let mut times = self.0.clone();
        times.sort();
        times[times.len().saturating_sub(1) * percent / 100]
    }

    fn print(&self, name: &str, unit: Duration) {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (p50, p99) = (ms(self.at(50)), ms(self.at(99)));
        let ratio = p50 / ms(unit);
        println!("| {name} | {p50:.2} ms | {p99:.2} ms | {ratio:.1} |");
    }
}

/// What every promise of a database costs at least.
fn synced(directory: &Path) -> Times {
    let mut file = std::fs::File::create(directory.join("synced")).unwrap();
    let mut times = Times::default();
    for _ in 0..50 {
        let start = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        times.0.push(start.elapsed());
    }
    times
}

/// Somebody who has a queue and no agent.
struct Bare {
    client: SmpClient,
    events: drive::Receiver<Event>,
    queue: QueueIds,
    key: Arc<AuthPrivateKey>,
}

impl Bare {
    async fn start(router: &Router) -> Self {
        let mut rng = rng().unwrap();
        let options = SmpOptions::to(&router.address).unwrap();
        let connected = SmpClient::connect(&Tokio::new(), options, rng.fork()).await;
        let (client, events, session) = connected.unwrap();
        tokio::spawn(session);
        let key = Arc::new(AuthPrivateKey::generate(Algorithm::Ed25519, &mut rng).unwrap());
        let new = NewQueue {
            auth_key: key.public_key(),
            dh_key: simplex_sans_io::crypto::x25519::PrivateKey::generate(&mut rng).public_key(),
            password: None,
            subscription: SubscriptionMode::Subscribe,
            request: Some(QueueRequest::Messaging(None)),
            notifier: None,
        };
        let queue = client.create_queue(new, &key).await.unwrap();
        Self {
            client,
            events,
            queue,
            key,
        }
    }

    async fn says(&self, other: &Self) {
        let flags = Flags {
            notification: false,
        };
        let body = Bytes::from_static(&[b'x'; 16000]);
        let sent = self.client.send(&other.queue.sender_id, None, flags, body);
        sent.await.unwrap();
    }

    async fn hears(&mut self) {
        while let Some(event) = self.events.next().await {
            if let Event::Message {
                message: BrokerMessage::Msg { id, .. },
                ..
            } = event
            {
                let ack = self.client.ack(&self.queue.recipient_id, &self.key, id);
                ack.await.unwrap();
                return;
            }
        }
    }
}

async fn without_agents(router: &Router) -> Times {
    let mut alice = Bare::start(router).await;
    let mut bob = Bare::start(router).await;
    let mut times = Times::default();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        alice.says(&bob).await;
        bob.hears().await;
        bob.says(&alice).await;
        alice.hears().await;
        times.0.push(start.elapsed());
    }
    times
}

struct Peer {
    agent: Agent,
    events: Events,
    running: tokio::task::JoinHandle<()>,
}

fn sqlite(path: &Path) -> Sqlite {
    Sqlite::open(path, &SqliteOptions::default()).unwrap()
}

async fn pair<S: Store + 'static>(router: &Router, of_alice: S, of_bob: S) -> (Peer, Peer) {
    let alice = Peer::start(&router.address, of_alice).await;
    (alice, Peer::start(&router.address, of_bob).await)
}

impl Peer {
    async fn start(router: &ServerAddress<SmpScheme>, store: impl Store + 'static) -> Self {
        Self::counted(router, store, Arc::default()).await
    }

    /// One whose wake-ups are counted.
    async fn counted(
        router: &ServerAddress<SmpScheme>,
        store: impl Store + 'static,
        wakes: Arc<AtomicU64>,
    ) -> Self {
        let (agent, events, running) = Builder::new(store).start(Tokio::new(), rng().unwrap());
        let running = tokio::spawn(async move {
            let mut running = std::pin::pin!(running);
            let counted = std::future::poll_fn(|cx| {
                wakes.fetch_add(1, Ordering::Relaxed);
                running.as_mut().poll(cx)
            });
            counted.await.unwrap();
        });
        let routers = vec![UserRouter::new(router.clone())];
        agent.set_user(USER, routers).await.unwrap();
        Self {
            agent,
            events,
            running,
        }
    }

    async fn next(&mut self) -> (Option<ConnectionId>, EventContent) {
        let event = self.events.next().await.unwrap();
        if let Some(id) = event.id {
            self.agent.confirm(id).await.unwrap();
        }
        (event.connection, event.content)
    }

    async fn connected(&mut self) -> ConnectionId {
        loop {
            match self.next().await {
                (Some(connection), EventContent::Connected { .. }) => return connection,
                (Some(connection), EventContent::Confirmation { name, .. }) => {
                    let info = Bytes::from_static(b"Alice");
                    self.agent.allow(&connection, &name, info).await.unwrap();
                }
                (_, EventContent::Error { error }) => panic!("{error}"),
                _ => {}
            }
        }
    }

    async fn hears(&mut self) {
        loop {
            match self.next().await {
                (Some(connection), EventContent::Message { meta, .. }) => {
                    let done = self.agent.acknowledge(&connection, meta.message, None);
                    done.await.unwrap();
                    return;
                }
                (_, EventContent::Error { error }) => panic!("{error}"),
                _ => {}
            }
        }
    }

    /// Until so many messages have left.
    async fn has_sent(&mut self, count: usize) {
        let mut sent = 0;
        while sent < count {
            match self.next().await.1 {
                EventContent::Sent { .. } => sent += 1,
                EventContent::SendFailed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }

    async fn stop(self) {
        drop((self.agent, self.events));
        self.running.await.unwrap();
    }
}

async fn connect(alice: &mut Peer, bob: &mut Peer, pq: Pq) -> (ConnectionId, ConnectionId) {
    let keys = match pq {
        Pq::On => InitialKeys::Later,
        Pq::Off => InitialKeys::Never,
    };
    let new = NewLink {
        kind: NewConnection::Invitation { pq: keys },
        ..NewLink::invitation(USER)
    };
    let created = alice.agent.create(new).await.unwrap();
    let link = created.link.to_string().parse().unwrap();
    let joining = Joining {
        pq,
        ..Joining::new(USER, link, Bytes::from_static(b"Bob"))
    };
    bob.agent.join(joining).await.unwrap();
    tokio::join!(alice.connected(), bob.connected())
}

async fn latencies(alice: &mut Peer, bob: &mut Peer, pq: Pq, name: &str, unit: Duration) {
    let mut times = Times::default();
    let mut last = None;
    for _ in 0..30 {
        let start = Instant::now();
        last = Some(connect(alice, bob, pq).await);
        times.0.push(start.elapsed());
    }
    times.print(&format!("connected, {name}"), unit);
    let connection = last.unwrap();
    let mut times = Times::default();
    // The first messages exchange keys.
    for round in 0..ROUNDS + 10 {
        let start = Instant::now();
        let (_, used) = alice.agent.send(&connection.0, FLAGS, TEXT).await.unwrap();
        bob.hears().await;
        bob.agent.send(&connection.1, FLAGS, TEXT).await.unwrap();
        alice.hears().await;
        if round >= 10 {
            assert_eq!(used, pq);
            times.0.push(start.elapsed());
        }
    }
    times.print(&format!("there and back, {name}"), unit);
}

/// How many messages a second Bob has taken.
async fn messages(alice: &mut Peer, bob: &mut Peer, connections: &[ConnectionId]) -> f64 {
    let window = Semaphore::new(WINDOW);
    let agent = alice.agent.clone();
    let start = Instant::now();
    let send = async {
        for connection in connections.iter().cycle().take(MESSAGES) {
            window.acquire().await.unwrap().forget();
            agent.send(connection, FLAGS, TEXT).await.unwrap();
        }
    };
    let take = async {
        for _ in 0..MESSAGES {
            bob.hears().await;
            window.add_permits(1);
        }
    };
    tokio::join!(send, alice.has_sent(MESSAGES), take);
    MESSAGES as f64 / start.elapsed().as_secs_f64()
}

/// How many connections an agent has that is at rest.
fn many() -> usize {
    let count = std::env::var("AGENT_CONNECTIONS").ok();
    count.map_or(1000, |count| count.parse().unwrap())
}

/// What an agent costs that nothing happens to, in a process of its own: memory, and how often it is woken.
fn at_rest(router: &Router, path: &Path, connections: usize) {
    let child = std::process::Command::new(std::env::current_exe().unwrap())
        .env(AT_REST, path)
        .env("AGENT_ROUTER", router.address.to_string())
        .env("AGENT_CONNECTIONS", connections.to_string())
        .status();
    assert!(child.unwrap().success());
}

/// The database of an agent at rest.
const AT_REST: &str = "AGENT_AT_REST";

async fn rest(path: &Path) {
    let connections = many();
    let router = std::env::var("AGENT_ROUTER").unwrap().parse().unwrap();
    let before = resident();
    let wakes = Arc::new(AtomicU64::new(0));
    let mut peer = Peer::counted(&router, sqlite(path), Arc::clone(&wakes)).await;
    peer.agent.subscribe_all(None).await.unwrap();
    are_up(&mut peer, connections).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let after = resident();
    for (what, place) in [("memory", ANONYMOUS), ("pages of the program", OF_FILES)] {
        let kilobytes = after[place].saturating_sub(before[place]);
        println!("| {what}, connections: {connections} | {kilobytes} KB |");
    }
    for (network, name) in [
        (NetworkState::Online, "idle"),
        (NetworkState::Offline, "without a network"),
    ] {
        peer.agent.set_network(network).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let before = wakes.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let woken = wakes.load(Ordering::Relaxed) - before;
        println!("| woken in a minute, {name}, connections: {connections} | {woken} |");
    }
    peer.stop().await;
}

const ANONYMOUS: usize = 0;
const OF_FILES: usize = 1;

/// How much memory of this process is resident, in KB: its own, and the parts of the program that it has used.
fn resident() -> [u64; 2] {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    ["RssAnon:", "RssFile:"].map(|name| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.unwrap().trim().trim_end_matches(" kB");
        number.parse().unwrap()
    })
}

/// A database with so many connections.
async fn fill(router: &Router, path: &Path, count: usize) {
    let mut peer = Peer::start(&router.address, sqlite(path)).await;
    let agent = peer.agent.clone();
    let create = async {
        for _ in 0..count {
            agent.create(NewLink::invitation(USER)).await.unwrap();
        }
    };
    tokio::join!(create, are_up(&mut peer, count));
    drop(agent);
    peer.stop().await;
}

/// An agent with many connections starts again.
async fn resubscribed(router: &Router, path: &Path) {
    let count = many();
    let start = Instant::now();
    let mut peer = Peer::start(&router.address, sqlite(path)).await;
    peer.agent.subscribe_all(None).await.unwrap();
    are_up(&mut peer, count).await;
    let elapsed = start.elapsed();
    let rate = f64::from(u32::try_from(count).unwrap()) / elapsed.as_secs_f64();
    println!(
        "| subscribed again after a start, {count} connections in {elapsed:.2?} | {rate:.0} |"
    );
    peer.stop().await;
}

async fn are_up(peer: &mut Peer, count: usize) {
    let mut up = 0;
    while up < count {
        if let EventContent::Up { connections, .. } = peer.next().await.1 {
            up += connections.len();
        }
    }
}
