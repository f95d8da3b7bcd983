//! tokio with its time paused, and a network that exists in memory only.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use simplex_runtime_tokio::{Clock, Stream, Tokio};
use simplex_sans_io::drive::{Listen, Listener, Network};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::Runtime;

/// How many bytes a stream holds in each direction.
const WINDOW: usize = 64 * 1024;

/// tokio in paused time, which jumps to the next timer as soon as nothing else happens.
#[derive(Debug, Clone)]
pub struct InMemory {
    time: Tokio,
    listening: Arc<Mutex<BTreeMap<SocketAddr, UnboundedSender<DuplexStream>>>>,
}

impl Network for InMemory {
    type Stream = Stream<DuplexStream>;
    type Clock = Clock;

    fn clock(&self) -> Clock {
        self.time.clock()
    }

    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match name {
            "localhost" => Ok(vec![
                ([0, 0, 0, 0, 0, 0, 0, 1], port).into(),
                ([127, 0, 0, 1], port).into(),
            ]),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Self::Stream> {
        let (dialled, accepted) = duplex(WINDOW);
        let listening = self.listening.lock().unwrap();
        let socket = listening.get(&address);
        match socket.map(|socket| socket.send(accepted)) {
            Some(Ok(())) => Ok(Stream(dialled)),
            None | Some(Err(_)) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

/// A listening socket in memory.
#[derive(Debug)]
pub struct Socket {
    address: SocketAddr,
    queue: tokio::sync::Mutex<UnboundedReceiver<DuplexStream>>,
}

impl Listen for Socket {
    type Stream = Stream<DuplexStream>;

    async fn accept(&self) -> io::Result<(Self::Stream, SocketAddr)> {
        match self.queue.lock().await.recv().await {
            Some(stream) => Ok((Stream(stream), self.address)),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

impl Runtime for InMemory {
    type Socket = Socket;

    fn run<F: Future>(test: impl FnOnce(Self) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            test(Self {
                time: Tokio::new(),
                listening: Arc::default(),
            })
            .await
        })
    }

    fn spawn<F>(&self, future: F) -> impl Future<Output = F::Output> + Send + 'static
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let task = tokio::spawn(future);
        async { task.await.unwrap() }
    }

    async fn listen(&self) -> io::Result<Listener<Socket, Clock>> {
        let (sender, queue) = unbounded_channel();
        let mut listening = self.listening.lock().unwrap();
        let port = u16::try_from(listening.len()).unwrap_or(u16::MAX);
        let address = ([127, 0, 0, 1], port.saturating_add(1)).into();
        listening.insert(address, sender);
        drop(listening);
        let queue = tokio::sync::Mutex::new(queue);
        Ok(Listener::new(Socket { address, queue }, self.clock()))
    }
}
