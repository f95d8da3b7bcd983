//! A PING and its PONG over loopback, through TLS, on every runtime, beside an echo of as many bytes without any of it.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing ends the bench"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use simplex_runtime_async_std::AsyncStd;
use simplex_runtime_smol::Smol;
use simplex_runtime_tokio::Tokio;
use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::crypto::certificate::Chain;
use simplex_sans_io::drive::{
    Capacity, Clock as _, Policy, Sender, SmpClient, SmpOptions, drive, mailbox, queue,
};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::sim::identity::Credentials as Issued;
use simplex_sans_io::smp::Command;
use simplex_sans_io::smp::client::{Request, RequestId, Response};
use simplex_sans_io::smp::server::{self, Server};
use simplex_sans_io::tls::{Credentials, ServerConfig, ServerOptions, Tls};
use simplex_sans_io::wire::{EntityId, ServerAddress};
use simplex_tests::bench::{Bench, shared};
use simplex_tests::conformance::Runtime;

const BLOCK: usize = 16384;

fn main() {
    let sessions = [
        ("tokio", session::<Tokio>()),
        ("smol", session::<Smol>()),
        ("async-std", session::<AsyncStd>()),
    ];
    let mut bench = Bench::new(
        "over loopback, client and router on two processors",
        "std: an echo of 16 KB, blocking, without TLS",
        echo(),
    );
    for (name, (client, _)) in shared(sessions) {
        bench.measure(&format!("{name}: PING, PONG"), || {
            assert_eq!(wait(client.batch(vec![ping()])), [Ok(Response::Pong)]);
        });
        bench.measure(&format!("{name}: 100 at once"), || {
            assert_eq!(wait(client.batch(vec![ping(); 100])).len(), 100);
        });
    }
    bench.print();
}

const fn ping() -> Request {
    Request::new(RequestId(0), EntityId::EMPTY, Command::Ping)
}

/// A block there and back, as the baseline.
fn echo() -> impl FnMut() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    stream.set_nodelay(true).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut block = [0; BLOCK];
        while stream.read_exact(&mut block).is_ok() {
            stream.write_all(&block).unwrap();
        }
    });
    let mut block = [7; BLOCK];
    move || {
        stream.write_all(&block).unwrap();
        stream.read_exact(&mut block).unwrap();
    }
}

/// A session with a router, both on a runtime of their own, which lives as long as what is returned beside it.
fn session<R: Runtime>() -> (SmpClient, Sender<()>) {
    let (keep, mut dropped) = queue(1);
    let (made, client) = mpsc::channel();
    thread::spawn(move || {
        R::run(|network| async move {
            made.send(connected(&network).await).unwrap();
            dropped.next().await;
        });
    });
    (client.recv().unwrap(), keep)
}

async fn connected<R: Runtime>(network: &R) -> SmpClient {
    let issued = Issued::issue(Algorithm::Ed25519, &mut Rng::from_seed([1; 32]));
    let mut listener = network.listen().await.unwrap();
    let at = listener.local_addr().unwrap();
    let host = at.ip().to_string().parse().unwrap();
    let hosts = vec![host].try_into().unwrap();
    let address = ServerAddress::new(hosts, Some(at.port()), issued.key_hash());

    let serving = network.clone();
    drop(network.spawn(async move {
        let (chain, key) = (Chain::clone(&issued.chain), (*issued.leaf_key).clone());
        let options = ServerOptions {
            protocols: vec!["smp/1"],
            ..ServerOptions::new(Credentials::new(chain, key).unwrap())
        };
        let tls = Arc::new(ServerConfig::new(options).unwrap());
        let (stream, _) = listener.accept().await.unwrap();
        let (_calls, _events, mailbox) = mailbox(Capacity::default());
        let (now, mut rng) = (serving.clock().now(), Rng::from_seed([2; 32]));
        let config = server::Config::new(issued.router());
        let machine = Tls::server(&tls, now, rng.fork(), move |facts, now| {
            Server::secured(config, facts, rng, now)
        });
        let clock = serving.clock();
        drive(machine, stream, clock, mailbox, Policy::ROUTER)
            .await
            .ok();
    }));

    let options = SmpOptions::to(&address).unwrap();
    let connecting = SmpClient::connect(network, options, Rng::from_seed([3; 32]));
    let (client, mut events, connection) = connecting.await.unwrap();
    drop(network.spawn(connection));
    drop(network.spawn(async move { while events.next().await.is_some() {} }));
    client
}

/// Waits in this thread, which belongs to no runtime.
fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
