//! SMP routers over any runtime, with real TLS.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use simplex_sans_io::crypto::SigningKey;
use simplex_sans_io::crypto::certificate::Chain;
use simplex_sans_io::drive::{
    Clock as _, Listener, Policy, Receiver, Sender, SmpClient, SmpOptions, drive, queue,
};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::sim::{SmpProxy, SmpRouter};
use simplex_sans_io::smp::client::Event;
use simplex_sans_io::smp::handshake::Peer;
use simplex_sans_io::smp::router::{ProxyRequest, Ticket};
use simplex_sans_io::smp::server::Server;
use simplex_sans_io::tls::{Credentials, ServerConfig, ServerOptions, Tls};
use simplex_sans_io::wire::{ServerAddress, SmpScheme};

use super::Runtime;

/// A router that listens until it is dropped.
pub(super) struct Listening {
    pub(super) router: SmpRouter,
    /// Where it listens, and who it is.
    pub(super) address: ServerAddress<SmpScheme>,
    _until_dropped: Sender<()>,
}

/// A router without queues, and what its proxy is asked for.
pub(super) async fn start<R: Runtime>(
    network: &R,
    seed: u8,
) -> (Listening, Receiver<(Ticket, ProxyRequest)>) {
    let mut rng = Rng::from_seed([seed; 32]);
    let (router, asked) = SmpRouter::new(&mut rng, network.clock().now());
    (listen(network, router, rng).await, asked)
}

/// Lets a router listen somewhere.
pub(super) async fn listen<R: Runtime>(network: &R, router: SmpRouter, rng: Rng) -> Listening {
    let listener = network.listen().await.unwrap();
    let at = listener.local_addr().unwrap();
    let hosts = vec![at.ip().to_string().parse().unwrap()];
    let identity = router.credentials().key_hash();
    let (listens, dropped) = queue(1);
    let serving = serve(network.clone(), router.clone(), listener, dropped, rng);
    drop(network.spawn(serving));
    Listening {
        router,
        address: ServerAddress::new(hosts.try_into().unwrap(), Some(at.port()), identity),
        _until_dropped: listens,
    }
}

async fn serve<R: Runtime>(
    network: R,
    router: SmpRouter,
    mut listener: Listener<R::Socket, R::Clock>,
    mut dropped: Receiver<()>,
    mut rng: Rng,
) {
    let issued = router.credentials();
    let (chain, key) = (
        Chain::clone(&issued.chain),
        SigningKey::clone(&issued.leaf_key),
    );
    let mut options = ServerOptions::new(Credentials::new(chain, key).unwrap());
    options.protocols = vec!["smp/1"];
    let tls = Arc::new(ServerConfig::new(options).unwrap());
    while let Some(accepted) = unless_dropped(&mut dropped, listener.accept()).await {
        let (stream, _) = accepted.unwrap();
        let (config, of_server) = (router.config(), rng.fork());
        let now = network.clock().now();
        let machine = Tls::server(&tls, now, rng.fork(), move |facts, now| {
            Server::secured(config, facts, of_server, now)
        });
        let seat = router.seat();
        let connection = drive(machine, stream, network.clock(), seat, Policy::ROUTER);
        drop(network.spawn(connection));
    }
}

async fn unless_dropped<F: Future>(dropped: &mut Receiver<()>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match dropped.poll_closed(cx) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => future.as_mut().poll(cx).map(Some),
    })
    .await
}

/// A session with a router.
pub(super) async fn session<R: Runtime>(
    network: &R,
    address: &ServerAddress<SmpScheme>,
    seed: u8,
) -> (SmpClient, Receiver<Event>) {
    session_as(network, address, Peer::Client, seed).await
}

async fn session_as<R: Runtime>(
    network: &R,
    address: &ServerAddress<SmpScheme>,
    peer: Peer,
    seed: u8,
) -> (SmpClient, Receiver<Event>) {
    let mut options = SmpOptions::to(address).unwrap();
    options.session.handshake.peer = peer;
    let connecting = SmpClient::connect(network, options, Rng::from_seed([seed; 32]));
    let (client, events, connection) = connecting.await.unwrap();
    drop(network.spawn(connection));
    (client, events)
}

/// Lets a router forward to a relay.
pub(super) async fn forward<R: Runtime>(
    network: &R,
    proxy: &Listening,
    asked: Receiver<(Ticket, ProxyRequest)>,
    relay: &ServerAddress<SmpScheme>,
) {
    let (client, mut events) = session_as(network, relay, Peer::Proxy, 101).await;
    let Some(Event::Established(established)) = events.next().await else {
        return;
    };
    let proxy = SmpProxy {
        router: proxy.router.clone(),
        asked,
        relay: client,
        established,
        rng: Rng::from_seed([102; 32]),
    };
    drop(network.spawn(async move {
        proxy.run().await;
        drop(events);
    }));
}
