//! A router as a process, and its clients.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use simplex_runtime_tokio::{Tokio, rng};
use simplex_sans_io::crypto::{Algorithm, AuthPrivateKey, x25519};
use simplex_sans_io::drive::{Receiver, SmpClient, SmpOptions};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::body::Delivered;
use simplex_sans_io::smp::client::{Event, RequestError};
use simplex_sans_io::smp::{
    BrokerMessage, MsgFlags, MsgId, NewQueue, QueueIds, QueueRequest, SubscriptionMode,
};
use simplex_sans_io::wire::{EntityId, ServerAddress, SmpScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

pub(crate) type Key = Arc<AuthPrivateKey>;
pub(crate) type Address = ServerAddress<SmpScheme>;

pub(crate) const FLAGS: MsgFlags = MsgFlags {
    notification: false,
};

/// A router in a process of its own, which ends with the test.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: Address,
    pub(crate) control: Option<u16>,
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) page: Option<u16>,
    pub(crate) websockets: Option<u16>,
}

impl Process {
    pub(crate) fn start(directory: &Path) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_smp-server"));
        command.args(["run", "--port", "0", "--dir"]).arg(directory);
        Self::spawn(command, directory)
    }

    /// The same, by a command that becomes the program.
    pub(crate) fn spawn(mut command: Command, directory: &Path) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line_with = |label: &str| loop {
            let line = lines.next().expect("the router starts").unwrap();
            if let Some(rest) = line.strip_prefix(label) {
                return rest.to_owned();
            }
        };
        line_with("SMP server v");
        let fingerprint = line_with("Fingerprint: ");
        let port = line_with("Serving SMP protocol on port ");
        let port = port.strip_suffix(" (TLS)...").unwrap();
        let address = format!("smp://{fingerprint}@127.0.0.1:{port}");
        let ini = std::fs::read_to_string(ini(directory)).unwrap();
        let websockets = ini.contains("\nwebsockets = 0").then(|| {
            let port = line_with("Serving SMP protocol on port ");
            port.strip_suffix(" (WebSockets)...")
                .unwrap()
                .parse()
                .unwrap()
        });
        let control = ini.contains("\ncontrol_port = ").then(|| {
            let port = line_with("Control port: ");
            port.parse().unwrap()
        });
        let metrics = ini.contains("[METRICS]\nport").then(|| {
            let url = line_with("Metrics: http://");
            url.strip_suffix("/metrics").unwrap().parse().unwrap()
        });
        let page = ini.contains("\nhttp = ").then(|| {
            let port = line_with("Serving static site on port ");
            port.parse().unwrap()
        });
        line_with("creating new queues");
        Self {
            metrics,
            page,
            websockets,
            child,
            address: address.parse().unwrap(),
            control,
        }
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What a port without TLS answers to a request.
pub(crate) async fn get_from(port: u16, path: &str) -> String {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port));
    let mut stream = stream.await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

pub(crate) fn ini(directory: &Path) -> PathBuf {
    directory.join("config/smp-server.ini")
}

pub(crate) struct Client {
    pub(crate) smp: SmpClient,
    pub(crate) events: Receiver<Event>,
}

impl Client {
    pub(crate) async fn connect(address: &Address) -> Self {
        let options = SmpOptions::to(address).unwrap();
        let (smp, events, connection) = SmpClient::connect(&Tokio::new(), options, rng().unwrap())
            .await
            .unwrap();
        tokio::spawn(connection);
        Self { smp, events }
    }

    pub(crate) async fn message(&mut self) -> (EntityId, MsgId, Bytes) {
        loop {
            if let Event::Message {
                entity_id,
                message: BrokerMessage::Msg { id, body },
            } = self.events.next().await.expect("a message")
            {
                return (entity_id, id, body);
            }
        }
    }
}

pub(crate) struct Queue {
    pub(crate) ids: QueueIds,
    pub(crate) key: Key,
    pub(crate) secret: x25519::SharedSecret,
    pub(crate) sender_key: Key,
}

impl Queue {
    pub(crate) async fn create(client: &Client, rng: &mut Rng) -> Self {
        let key = key(rng);
        let dh = x25519::PrivateKey::generate(rng);
        let new = NewQueue {
            auth_key: key.public_key(),
            dh_key: dh.public_key(),
            password: None,
            subscription: SubscriptionMode::OnlyCreate,
            request: Some(QueueRequest::Messaging(None)),
            notifier: None,
        };
        let ids = client.smp.create_queue(new, &key).await.unwrap();
        let queue = Self {
            secret: dh.agree(&ids.dh_key),
            ids,
            key,
            sender_key: self::key(rng),
        };
        let (id, key) = (&queue.ids.sender_id, &queue.sender_key);
        client.smp.secure(id, key).await.unwrap();
        queue
    }

    pub(crate) async fn send(&self, client: &Client, body: &[u8]) -> Result<(), RequestError> {
        let body = Bytes::copy_from_slice(body);
        let key = Some(&self.sender_key);
        client.smp.send(&self.ids.sender_id, key, FLAGS, body).await
    }

    pub(crate) fn open(&self, id: &MsgId, body: &Bytes) -> Bytes {
        match Delivered::decrypt(&self.secret, id, body).unwrap() {
            Delivered::Message(sent) => sent.body,
            Delivered::Quota(_) => panic!("a mark"),
        }
    }

    /// Receives everything that waits.
    pub(crate) async fn receive_all(&self, client: &mut Client) -> Vec<Bytes> {
        let (id, key) = (&self.ids.recipient_id, &self.key);
        client.smp.subscribe(id, key).await.unwrap();
        let info = client.smp.queue_info(id, key).await.unwrap();
        if info.size == 0 {
            return Vec::new();
        }
        let (_, mut message, body) = client.message().await;
        let mut received = vec![self.open(&message, &body)];
        while let Some((next, body)) = client.smp.ack(id, key, message).await.unwrap() {
            received.push(self.open(&next, &body));
            message = next;
        }
        received
    }
}

pub(crate) fn key(rng: &mut Rng) -> Key {
    Arc::new(AuthPrivateKey::generate(Algorithm::Ed25519, rng).unwrap())
}

/// Runs another command of the program to its end, on a directory of `run`.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smp-server"))
        .args(arguments)
        .arg("--dir")
        .arg(directory)
        .output()
        .unwrap()
}

/// What such a command has said.
pub(crate) fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// Changes the configuration of a router that does not run.
pub(crate) fn configure(directory: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(ini(directory)).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(ini(directory), text.replace(from, to)).unwrap();
}
