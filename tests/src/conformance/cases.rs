//! The cases.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use simplex_sans_io::crypto::certificate::Chain;
use simplex_sans_io::crypto::{Algorithm, SigningKey};
use simplex_sans_io::drive::{
    Capacity, Clock as _, ConnectError, DriveError, Policy, SmpClient, SmpOptions, WhileBlocked,
    connect, drive, mailbox,
};
use simplex_sans_io::machine::CloseReason;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::sim::{FrameError, Frames, FramesCommand, FramesEvent, abandon, identity};
use simplex_sans_io::smp::Command;
use simplex_sans_io::smp::client::{self, Request, RequestId, Response};
use simplex_sans_io::smp::server::{self, Server};
use simplex_sans_io::socks::{self, Authentication, Proxy, Route, Socks, SocksError, Target};
use simplex_sans_io::time::Instant;
use simplex_sans_io::tls::{
    ClientConfig, ClientOptions, Credentials, ServerConfig, ServerOptions, Tls,
};
use simplex_sans_io::wire::EntityId;

pub use super::smp::*;

use super::Runtime;
use super::peers::{
    End, PATIENCE, close, frame, pair, pause, read, read_to_end, start, start_with, streams, write,
};
use super::proxy::{self, NAMED, OPEN};

/// More than the buffers of any network hold.
const FLOOD: usize = 500;
const LARGEST: usize = Frames::MAX;

/// What is sent comes back; when the owner goes, both sides end.
pub async fn echo<R: Runtime>(network: R) {
    let left = (Frames::new(), Policy::CLIENT);
    let (mut left, right) = pair(&network, left, (Frames::echo(), Policy::ROUTER)).await;
    for number in 0..10 {
        left.send(frame(number, number * 1000)).await;
        assert_eq!(left.frame().await, Some(frame(number, number * 1000)));
    }
    drop((left.commands, left.events));
    assert!(matches!(left.ended.await, Ok(CloseReason::Finished)));
    assert!(matches!(right.ended.await, Ok(CloseReason::PeerClosed)));
}

/// The same through TLS.
pub async fn echo_through_tls<R: Runtime>(network: R) {
    let (_, server, client) = tls();
    let (now, mut rng) = (network.clock().now(), Rng::from_seed([7; 32]));
    let server = Tls::server(&server, now, rng.fork(), |_, _| Frames::echo());
    let client = Tls::client(&client, now, rng, |_, _| Frames::new()).unwrap();
    let left = (client, Policy::CLIENT);
    let (mut left, right) = pair(&network, left, (server, Policy::ROUTER)).await;
    for number in 0..10 {
        left.send(frame(number, number * 1000)).await;
        assert_eq!(left.frame().await, Some(frame(number, number * 1000)));
    }
    left.command(FramesCommand::Finish).await;
    assert!(matches!(left.ended.await, Ok(CloseReason::Finished)));
    assert!(matches!(right.ended.await, Ok(CloseReason::PeerClosed)));
}

/// Over everything that a client has below it.
pub async fn a_session_with_an_smp_router<R: Runtime>(network: R) {
    let (issued, server, client) = tls();
    let session = client::Config::new(issued.key_hash());
    let mut listener = network.listen().await.unwrap();
    let target = listener.local_addr().unwrap().into();
    let serving = network.clone();
    let router = network.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (_calls, _events, mailbox) = mailbox(Capacity::default());
        let (now, mut rng) = (serving.clock().now(), Rng::from_seed([8; 32]));
        let config = server::Config::new(issued.router());
        let machine = Tls::server(&server, now, rng.fork(), move |facts, now| {
            Server::secured(config, facts, rng, now)
        });
        drive(machine, stream, serving.clock(), mailbox, Policy::ROUTER).await
    });

    let options = SmpOptions::new(Route::Direct(target), client, session);
    let connecting = SmpClient::connect(&network, options, Rng::from_seed([9; 32]));
    let (client, mut events, connection) = connecting.await.unwrap();
    let ended = network.spawn(connection);
    let ping = Request::new(RequestId(0), EntityId::EMPTY, Command::Ping);
    assert_eq!(
        client.batch(vec![ping; 100]).await,
        vec![Ok(Response::Pong); 100]
    );
    assert!(matches!(
        events.next().await,
        Some(client::Event::Established(_))
    ));
    drop((client, events));
    assert!(matches!(ended.await, Ok(CloseReason::Finished)));
    assert!(matches!(router.await, Ok(CloseReason::PeerClosed)));
}

/// Streams may be as fine as they want.
pub async fn byte_by_byte<R: Runtime>(network: R) {
    let (mut raw, stream) = streams(&network).await;
    let echo = start(&network, Frames::echo(), stream, Policy::ROUTER);
    let wire = b"\0\x05hello\0\0\0\x01!";
    for byte in wire {
        write(&mut raw, &[*byte]).await.unwrap();
    }
    close(&mut raw).await.unwrap();
    assert_eq!(read_to_end(&mut raw).await, wire);
    assert!(matches!(echo.ended.await, Ok(CloseReason::PeerClosed)));
}

/// Two that both have much to say do not wait for each other.
pub async fn two_floods_pass_each_other<R: Runtime>(network: R) {
    let left = (Frames::new(), Policy::CLIENT);
    let (left, right) = pair(&network, left, (Frames::new(), Policy::CLIENT)).await;
    let ends = [left, right].map(|mut end| {
        let commands = end.commands.clone();
        let sent = network.spawn(async move {
            for number in 0..FLOOD {
                let send = FramesCommand::Send(frame(number, LARGEST));
                commands.send(send).await.unwrap();
            }
        });
        network.spawn(async move {
            for number in 0..FLOOD {
                assert_eq!(end.frame().await, Some(frame(number, LARGEST)));
            }
            sent.await;
        })
    });
    for end in ends {
        end.await;
    }
}

/// A peer that has ended its direction still hears the answer.
pub async fn half_a_stream_still_carries_the_answer<R: Runtime>(network: R) {
    let (mut raw, stream) = streams(&network).await;
    let mut end = start(&network, Frames::new(), stream, Policy::ROUTER);
    write(&mut raw, b"\0\x01?").await.unwrap();
    close(&mut raw).await.unwrap();
    assert_eq!(end.frame().await, Some("?".into()));
    assert_eq!(end.events.next().await, Some(FramesEvent::PeerClosed));
    end.send("!".into()).await;
    end.command(FramesCommand::Finish).await;
    assert_eq!(read_to_end(&mut raw).await, b"\0\x01!");
    assert!(matches!(end.ended.await, Ok(CloseReason::Finished)));
}

/// What is missing is reported.
pub async fn a_stream_that_ends_inside_a_frame_is_truncated<R: Runtime>(network: R) {
    let (mut raw, stream) = streams(&network).await;
    let end = start(&network, Frames::new(), stream, Policy::CLIENT);
    write(&mut raw, b"\0\x05hel").await.unwrap();
    close(&mut raw).await.unwrap();
    assert!(matches!(end.ended.await, Ok(CloseReason::Truncated)));
}

/// A router does not keep what nobody takes.
pub async fn a_peer_that_reads_nothing_is_cut_off<R: Runtime>(network: R) {
    let (raw, stream) = streams(&network).await;
    let while_blocked = WhileBlocked::Pause {
        above: LARGEST,
        stall: Duration::from_millis(50),
    };
    let policy = Policy {
        while_blocked,
        ..Policy::ROUTER
    };
    let end = start(&network, Frames::new(), stream, policy);
    for number in 0.. {
        let send = FramesCommand::Send(frame(number, LARGEST));
        if end.commands.send(send).await.is_err() {
            break;
        }
    }
    assert!(matches!(end.ended.await, Err(DriveError::Stalled)));
    drop(raw);
}

/// One timer is enough for a connection, whatever its deadline is.
pub async fn a_timer_can_be_reset<R: Runtime>(network: R) {
    let mut clock = network.clock();
    let start = clock.now().instant;
    let never = Instant::from_micros(u64::MAX);
    assert!(
        abandon(1, poll_fn(|cx| clock.poll_sleep(cx, never)))
            .await
            .is_none()
    );
    for millis in [20, 10] {
        let until = start + Duration::from_millis(millis);
        poll_fn(|cx| clock.poll_sleep(cx, until)).await;
        assert!(clock.now().instant >= start + Duration::from_millis(20));
    }
}

/// Also those of one instant.
pub async fn timers_expire_in_order<R: Runtime>(network: R) {
    let (_raw, stream) = streams(&network).await;
    let timers = [(30, 4), (10, 1), (20, 2), (20, 3)];
    let wake = |(millis, number)| FramesCommand::Wake(Duration::from_millis(millis), number);
    let timers = timers.map(wake);
    let mut end = start_with(&network, Frames::new(), stream, Policy::CLIENT, timers);
    for number in 1..=4 {
        assert_eq!(end.events.next().await, Some(FramesEvent::Woke(number)));
    }
}

/// Time goes on while the peer takes nothing.
pub async fn a_timer_expires_while_a_write_is_blocked<R: Runtime>(network: R) {
    let (raw, stream) = streams(&network).await;
    let mut end = start(&network, Frames::new(), stream, Policy::CLIENT);
    let wake = FramesCommand::Wake(Duration::from_millis(50), 1);
    end.command(wake).await;
    while end
        .commands
        .try_send(FramesCommand::Send(frame(0, LARGEST)))
        .is_ok()
    {
        pause(&mut network.clock(), Duration::from_millis(1)).await;
    }
    assert_eq!(end.events.next().await, Some(FramesEvent::Woke(1)));
    drop(raw);
}

/// From many tasks at once.
pub async fn a_burst_of_commands<R: Runtime>(network: R) {
    let left = (Frames::windowed(100), Policy::CLIENT);
    let (mut left, mut right) = pair(&network, left, (Frames::echo(), Policy::ROUTER)).await;
    let senders: Vec<_> = (0..20)
        .map(|task| {
            let commands = left.commands.clone();
            network.spawn(async move {
                for _ in 0..50 {
                    let send = FramesCommand::Send(frame(task, 100));
                    commands.send(send).await.unwrap();
                }
            })
        })
        .collect();
    let router = network.spawn(async move { while right.frame().await.is_some() {} });
    let mut received = [0; 20];
    for _ in 0..1000 {
        let frame = left.frame().await.unwrap();
        received[usize::from(frame[0])] += 1;
    }
    assert_eq!(received, [50; 20]);
    for sender in senders {
        sender.await;
    }
    drop((left.commands, left.events));
    router.await;
}

/// After all that was commanded is done.
pub async fn a_handle_that_is_dropped_closes_the_connection<R: Runtime>(network: R) {
    let (mut raw, stream) = streams(&network).await;
    let end = start(&network, Frames::new(), stream, Policy::CLIENT);
    for number in 0..10 {
        end.send(frame(number, 10)).await;
    }
    drop((end.commands, end.events));
    assert_eq!(read_to_end(&mut raw).await.len(), 120);
    drop(raw);
    assert!(matches!(end.ended.await, Ok(CloseReason::Finished)));
}

/// And not a panic.
pub async fn a_connection_that_is_refused_is_an_error<R: Runtime>(network: R) {
    let target = nobody_listens(&network).await;
    let refused = connect(&network, &target, PATIENCE).await;
    assert!(matches!(refused, Err(ConnectError::Unreachable { .. })));
}

/// In the order of the resolver.
pub async fn names_are_resolved_and_all_addresses_tried<R: Runtime>(network: R) {
    let mut listener = network.listen().await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = format!("localhost:{port}").parse().unwrap();
    let accepted = network.spawn(async move { listener.accept().await.is_ok() });
    assert!(connect(&network, &target, PATIENCE).await.is_ok());
    assert!(accepted.await);
    let unknown = "router.invalid:5223".parse().unwrap();
    let refused = connect(&network, &unknown, PATIENCE).await;
    assert!(matches!(
        refused,
        Err(ConnectError::Resolve { .. } | ConnectError::NoAddress(_))
    ));
}

/// The domain name system does not hear of them.
pub async fn onion_names_need_a_proxy<R: Runtime>(network: R) {
    let target = "abc.onion:5223".parse().unwrap();
    let refused = connect(&network, &target, PATIENCE).await;
    assert!(matches!(refused, Err(ConnectError::Onion(_))));
}

/// The proxy resolves names.
pub async fn a_proxy_connects_to_addresses_and_names<R: Runtime>(network: R) {
    let mut proxy = proxy::Proxy::new(OPEN);
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    proxy.names.insert("abc.onion".to_owned(), localhost);
    let behind = Behind::new(&network, proxy, 2).await;
    for host in ["127.0.0.1", "abc.onion"] {
        let mut end = behind.reach(&network, host, Authentication::None).await;
        end.send("hello".into()).await;
        assert_eq!(end.frame().await, Some("hello".into()));
        drop((end.commands, end.events));
        assert!(matches!(end.ended.await, Ok(CloseReason::Finished)));
    }
}

/// A session has a name, and a proxy that takes none is not used.
pub async fn a_session_that_is_to_be_isolated_is_isolated<R: Runtime>(network: R) {
    let proxy = proxy::Proxy::new(NAMED);
    let heard = proxy.heard.clone();
    let behind = Behind::new(&network, proxy, 1).await;
    let isolated = Proxy::default().authentication("1");
    let mut end = behind.reach(&network, "127.0.0.1", isolated.clone()).await;
    end.send("hello".into()).await;
    assert_eq!(end.frame().await, Some("hello".into()));
    let (user, target) = heard.lock().unwrap().remove(0);
    assert_eq!(user, "a4ayc/80/OGda4BO/1o/V0etpOqiLx1JwB5S3beHW0s=");
    assert_eq!(target, behind.target("127.0.0.1").to_string());

    let behind = Behind::new(&network, proxy::Proxy::new(OPEN), 1).await;
    let end = behind.reach(&network, "127.0.0.1", isolated).await;
    let not_isolated = socks::Error::Proxy(SocksError::NotIsolated);
    let ended = end.ended.await;
    assert!(matches!(ended, Err(DriveError::Machine(error)) if error == not_isolated));
}

/// In its own words.
pub async fn a_proxy_that_refuses_says_why<R: Runtime>(network: R) {
    let mut behind = Behind::new(&network, proxy::Proxy::new(OPEN), 1).await;
    behind.port = nobody_listens(&network).await.port;
    let end = behind
        .reach(&network, "127.0.0.1", Authentication::None)
        .await;
    let refused = SocksError::Refused(socks::Refusal::ConnectionRefused);
    assert!(matches!(
        end.ended.await,
        Err(DriveError::Machine(socks::Error::Proxy(error))) if error == refused
    ));
}

/// Nobody is lost.
pub async fn accepting_can_be_abandoned_anywhere<R: Runtime>(network: R) {
    for polls in 1..4 {
        let mut listener = network.listen().await.unwrap();
        let target: Target = listener.local_addr().unwrap().into();
        assert!(abandon(1, listener.accept()).await.is_none());
        let dialling = network.clone();
        let dialled = network.spawn(async move { connect(&dialling, &target, PATIENCE).await });
        let (mut accepted, _) = match abandon(polls, listener.accept()).await {
            Some(accepted) => accepted.unwrap(),
            None => listener.accept().await.unwrap(),
        };
        write(&mut accepted, b"hello").await.unwrap();
        close(&mut accepted).await.unwrap();
        assert_eq!(read_to_end(&mut dialled.await.unwrap()).await, b"hello");
    }
}

/// Nothing stays open.
pub async fn connecting_can_be_abandoned_anywhere<R: Runtime>(network: R) {
    let mut listener = network.listen().await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let target = format!("localhost:{port}").parse().unwrap();
    let mut polls = 0;
    let mut dialled = loop {
        polls += 1;
        if let Some(dialled) = abandon(polls, connect(&network, &target, PATIENCE)).await {
            break dialled.unwrap();
        }
    };
    write(&mut dialled, b"hello").await.unwrap();
    let mut buffer = [0; 5];
    loop {
        let (mut accepted, _) = listener.accept().await.unwrap();
        if let Ok(1..) = read(&mut accepted, &mut buffer).await {
            return;
        }
    }
}

/// An echo, and a proxy in front of it.
struct Behind {
    proxy: Target,
    port: u16,
}

impl Behind {
    async fn new<R: Runtime>(network: &R, proxy: proxy::Proxy, clients: usize) -> Self {
        let mut echo = network.listen().await.unwrap();
        let port = echo.local_addr().unwrap().port();
        let serving = network.clone();
        drop(network.spawn(async move {
            for _ in 0..clients {
                let (stream, _) = echo.accept().await.unwrap();
                let end = start(&serving, Frames::echo(), stream, Policy::ROUTER);
                end.ended.await.ok();
            }
        }));
        let listener = network.listen().await.unwrap();
        let target = listener.local_addr().unwrap().into();
        drop(network.spawn(proxy.serve(network.clone(), listener, clients)));
        Self {
            proxy: target,
            port,
        }
    }

    fn target(&self, host: &str) -> Target {
        format!("{host}:{}", self.port).parse().unwrap()
    }

    /// A connection to the echo, through the proxy.
    async fn reach<R: Runtime>(
        &self,
        network: &R,
        host: &str,
        authentication: Authentication,
    ) -> End<socks::Error<FrameError>> {
        let stream = connect(network, &self.proxy, PATIENCE).await.unwrap();
        let (target, now) = (self.target(host), network.clock().now());
        let socks = Socks::new(Frames::new(), target, authentication, now, PATIENCE);
        start(network, socks, stream, Policy::CLIENT)
    }
}

/// A target on the loopback that refuses connections.
async fn nobody_listens<R: Runtime>(network: &R) -> Target {
    let listener = network.listen().await.unwrap();
    listener.local_addr().unwrap().into()
}

/// What the TLS of a router shows, and what its clients expect of it.
fn tls() -> (identity::Credentials, Arc<ServerConfig>, Arc<ClientConfig>) {
    let issued = identity::Credentials::issue(Algorithm::Ed25519, &mut Rng::from_seed([7; 32]));
    let (chain, key) = (
        Chain::clone(&issued.chain),
        SigningKey::clone(&issued.leaf_key),
    );
    let credentials = Credentials::new(chain, key).unwrap();
    let server = ServerConfig::new(ServerOptions::new(credentials)).unwrap();
    let client = ClientConfig::new(ClientOptions::new(issued.fingerprint())).unwrap();
    (issued, Arc::new(server), Arc::new(client))
}
