//! What chunks cost `xftp-server`, as a share of what their cryptography and their bytes cost at least, in the same run.
//!
//! `cargo bench -p simplex-routers --bench xftp`. A first argument that is a number says for how many seconds each thing is measured.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on fails"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce as AeadNonce, UnboundKey};
use simplex_routers::xftp::store::Store;
use simplex_runtime_tokio::{Tokio, rng};
use simplex_sans_io::crypto::hash::{Sha256, sha256};
use simplex_sans_io::crypto::{Algorithm, AuthPrivateKey, ed25519, x25519};
use simplex_sans_io::drive::{XftpClient, XftpOptions};
use simplex_sans_io::http2;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::wire::{EntityId, NonEmpty, ServerAddress, Short, XftpScheme};
use simplex_sans_io::xftp::NewFile;
use simplex_sans_io::xftp::chunk::Upstream;
use simplex_sans_io::xftp::router::store::{
    Adjustment, Change, Content, FileRecord, FileStatus, Recipient,
};

const MB: f64 = 1e6;
const CHUNK: usize = 4 << 20;
const RECORD: usize = 16 * 1024;
const CLIENTS: usize = 8;

type Key = Arc<AuthPrivateKey>;

fn main() {
    let seconds = std::env::args().skip(1).find_map(|text| text.parse().ok());
    let seconds = Duration::from_secs(seconds.unwrap_or(5));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load average: {}", load.trim());
    let (down, up) = (floor_of_download(), floor_of_upload());
    println!(
        "floor, MB for each second of one core: download {down:.0} (box, TLS, read, send), upload {up:.0} (TLS, SHA-256, receive, write)"
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(transfers(seconds, down, up));
    runtime.block_on(many_downloads());
    start_with_many();
}

/// The processor time that this thread has used.
fn thread_time() -> Duration {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos = stat.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanos.unwrap())
}

fn sealer() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).unwrap())
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// How much of chunks this thread moves, the median of a few times: its clock may move in steps that are longer than a chunk takes.
fn median(mut once: impl FnMut()) -> f64 {
    const CHUNKS: usize = 64;
    let mut rate = || {
        let began = thread_time();
        for _ in 0..CHUNKS {
            once();
        }
        (CHUNKS * CHUNK) as f64 / MB / (thread_time() - began).as_secs_f64()
    };
    let mut rates: Vec<f64> = (0..7).map(|_| rate()).collect();
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// What no router can do without: read a chunk, encrypt it twice, send it.
fn floor_of_download() -> f64 {
    let (mut near, mut far) = connected();
    std::thread::spawn(move || std::io::copy(&mut far, &mut std::io::sink()));
    let mut chunk = tempfile::tempfile().unwrap();
    chunk.write_all(&vec![7; CHUNK]).unwrap();
    let tls = sealer();
    median(|| {
        let mut rng = Rng::from_seed([1; 32]);
        let client = x25519::PrivateKey::generate(&mut rng).public_key();
        let mut encryptor = Upstream::begin(&client, &mut rng).encryptor;
        chunk.seek(SeekFrom::Start(0)).unwrap();
        let mut piece = vec![0; 1 << 16];
        for _ in 0..CHUNK >> 16 {
            chunk.read_exact(&mut piece).unwrap();
            encryptor.update(&mut piece);
            for record in piece.chunks_mut(RECORD) {
                let nonce = AeadNonce::assume_unique_for_key([0; 12]);
                let sealed = tls.seal_in_place_separate_tag(nonce, Aad::empty(), record);
                assert!(std::hint::black_box(sealed).is_ok());
            }
            near.write_all(&piece).unwrap();
        }
    })
}

/// What no router can do without: receive a chunk, decrypt it, hash it, write it.
fn floor_of_upload() -> f64 {
    let (mut near, mut far) = connected();
    std::thread::spawn(move || {
        let tls = sealer();
        loop {
            let mut record = vec![7; RECORD];
            let nonce = AeadNonce::assume_unique_for_key([0; 12]);
            tls.seal_in_place_append_tag(nonce, Aad::empty(), &mut record)
                .unwrap();
            if far.write_all(&record).is_err() {
                return;
            }
        }
    });
    let tls = sealer();
    median(|| {
        let mut chunk = tempfile::tempfile().unwrap();
        let mut hash = Sha256::new();
        let mut received = vec![0; 4 * (RECORD + 16)];
        for _ in 0..CHUNK >> 16 {
            near.read_exact(&mut received).unwrap();
            for record in received.chunks_mut(RECORD + 16) {
                let nonce = AeadNonce::assume_unique_for_key([0; 12]);
                let plain = tls.open_in_place(nonce, Aad::empty(), record).unwrap();
                hash.update(plain);
                chunk.write_all(plain).unwrap();
            }
        }
        std::hint::black_box(hash.finish());
    })
}

/// A router in a process of its own.
struct Router {
    child: Child,
    address: ServerAddress<XftpScheme>,
    started: Duration,
}

impl Router {
    fn start(directory: &Path) -> Self {
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_xftp-server"))
            .args(["run", "--port", "0", "--dir"])
            .arg(directory)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut fingerprint = String::new();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            if let Some(text) = line.strip_prefix("Fingerprint: ") {
                text.clone_into(&mut fingerprint);
            }
            let port = line.strip_prefix("Listening on port ")?;
            port.strip_suffix("...").map(str::to_owned)
        });
        let port = port.expect("the router starts");
        Self {
            child,
            address: format!("xftp://{fingerprint}@127.0.0.1:{port}")
                .parse()
                .unwrap(),
            started: began.elapsed(),
        }
    }

    /// The processor time that it has used.
    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let times = fields.split(' ').skip(11).take(2);
        let ticks: u64 = times.map(|text| text.parse::<u64>().unwrap()).sum();
        Duration::from_millis(10 * ticks)
    }

    /// The megabytes of its memory that are resident.
    fn resident(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.unwrap().trim().trim_end_matches(" kB");
        kilobytes.parse::<f64>().unwrap() / 1024.0
    }

    async fn connect(&self) -> XftpClient {
        self.connect_with(http2::Options::default()).await
    }

    async fn connect_with(&self, http2: http2::Options) -> XftpClient {
        let mut options = XftpOptions {
            http2,
            ..XftpOptions::to(&self.address).unwrap()
        };
        // As many as the windows have room for.
        options.session.max_downloads = usize::MAX;
        let network = Tokio::new();
        let connected = XftpClient::connect(&network, options, rng().unwrap());
        let (client, _, session) = connected.await.unwrap();
        tokio::spawn(session);
        client
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

struct Uploaded {
    recipient: (EntityId, Key),
    chunk: Bytes,
}

async fn upload(client: &XftpClient, chunk: &Bytes) -> Uploaded {
    let mut rng = rng().unwrap();
    let mut key =
        || -> Key { Arc::new(AuthPrivateKey::generate(Algorithm::Ed25519, &mut rng).unwrap()) };
    let (sender, recipient) = (key(), key());
    let size = u32::try_from(chunk.len()).unwrap();
    let file = NewFile {
        sender_key: sender.public_key(),
        size,
        digest: Short::try_from(&sha256(chunk)).unwrap(),
        recipients: NonEmpty::one(recipient.public_key()),
        password: None,
    };
    let (sender_id, recipients) = client.create(file, &sender).await.unwrap();
    let mut upload = client.upload(&sender_id, &sender, size).await.unwrap();
    upload.write(chunk.clone()).await.unwrap();
    upload.finish().await.unwrap();
    Uploaded {
        recipient: (recipients.first().clone(), recipient),
        chunk: chunk.clone(),
    }
}

async fn download(client: &XftpClient, file: &Uploaded) {
    let (id, key) = &file.recipient;
    let size = u32::try_from(file.chunk.len()).unwrap();
    let digest = sha256(&file.chunk);
    let mut download = client.download(id, key, size, digest).await.unwrap();
    while download.read().await.unwrap().is_some() {}
}

/// Repeats something with many clients: what it has cost the router.
async fn measure<F: Future<Output = ()> + Send + 'static>(
    name: &str,
    router: &Router,
    seconds: Duration,
    floor: Option<f64>,
    size: usize,
    once: impl Fn(XftpClient) -> F + Send + Sync + Clone + 'static,
) {
    let mut clients = tokio::task::JoinSet::new();
    let (cpu, began) = (router.cpu(), Instant::now());
    for _ in 0..CLIENTS {
        let (client, once) = (router.connect().await, once.clone());
        clients.spawn(async move {
            let mut count = 0_u32;
            while began.elapsed() < seconds {
                once(client.clone()).await;
                count += 1;
            }
            count
        });
    }
    let count: u32 = clients.join_all().await.into_iter().sum();
    let (cpu, elapsed) = (router.cpu() - cpu, began.elapsed());
    let megabytes = f64::from(count) * size as f64 / MB;
    let of_core = megabytes / cpu.as_secs_f64();
    let share = floor.map_or(String::new(), |floor| {
        format!(", {:.2} of the floor", of_core / floor)
    });
    println!(
        "{name}: {of_core:.0} MB for each second of one core{share}; {:.0} MB/s and {:.0} a second with {CLIENTS} clients; {:.0} µs of the router each; {:.0} MB resident",
        megabytes / elapsed.as_secs_f64(),
        f64::from(count) / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * MB / f64::from(count),
        router.resident()
    );
}

async fn transfers(seconds: Duration, down: f64, up: f64) {
    let directory = tempfile::tempdir().unwrap();
    let router = Router::start(directory.path());
    for (name, size) in [("4 MB", CHUNK), ("64 KB", 1 << 16)] {
        let mut chunk = vec![0; size];
        Rng::from_seed([3; 32]).fill(&mut chunk);
        let chunk = Bytes::from(chunk);
        let (down, up) = match size {
            CHUNK => (Some(down), Some(up)),
            _ => (None, None),
        };
        let sent = chunk.clone();
        let once = move |client: XftpClient| {
            let chunk = sent.clone();
            async move {
                upload(&client, &chunk).await;
            }
        };
        measure(
            &format!("upload of {name}"),
            &router,
            seconds,
            up,
            size,
            once,
        )
        .await;
        let client = router.connect().await;
        let file = Arc::new(upload(&client, &chunk).await);
        let once = move |client: XftpClient| {
            let file = Arc::clone(&file);
            async move { download(&client, &file).await }
        };
        measure(
            &format!("download of {name}"),
            &router,
            seconds,
            down,
            size,
            once,
        )
        .await;
    }
}

/// 1,000 downloads at the same time, of which nobody reads more than the first bytes.
async fn many_downloads() {
    const CONNECTIONS: usize = 100;
    // What a client has not read is bounded for each connection: none of its downloads may take all of it.
    let options = http2::Options {
        stream_window: 65_535,
        ..http2::Options::default()
    };
    let directory = tempfile::tempdir().unwrap();
    let router = Router::start(directory.path());
    let client = router.connect().await;
    let file = upload(&client, &vec![7; CHUNK].into()).await;
    let (id, key) = &file.recipient;
    let (digest, size) = (sha256(&file.chunk), u32::try_from(CHUNK).unwrap());
    let before = router.resident();
    let (mut clients, mut open) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let client = router.connect_with(options).await;
        for _ in 0..1000 / CONNECTIONS {
            let mut download = client.download(id, key, size, digest).await.unwrap();
            assert!(download.read().await.unwrap().is_some());
            open.push(download);
        }
        clients.push(client);
    }
    println!(
        "{} downloads at the same time: {:.0} MB resident, {before:.0} before",
        open.len(),
        router.resident()
    );
}

/// How long a router with a million chunks takes until it answers.
fn start_with_many() {
    const FILES: u32 = 1_000_000;
    let directory = tempfile::tempdir().unwrap();
    drop(Router::start(directory.path()));
    // There is room for more than these.
    let ini = directory.path().join("config/file-server.ini");
    let text = fs::read_to_string(&ini).unwrap();
    fs::write(
        &ini,
        text.replace("storage_quota = 10gb", "storage_quota = 100gb"),
    )
    .unwrap();
    let path = directory.path().join("data/file-server-store");
    let mut store = Store::open(&path).unwrap();
    let mut rng = Rng::from_seed([5; 32]);
    let key = ed25519::PrivateKey::generate(&mut rng).public_key();
    let now = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap()
        .as_secs();
    let id = |rng: &mut Rng| EntityId::try_from(&rng.bytes::<16>()[..]).unwrap();
    let mut file = || {
        let sender_id = id(&mut rng);
        let record = FileRecord {
            sender_id: sender_id.clone(),
            sender_key: key.into(),
            size: 1 << 16,
            digest: Short::try_from(&[1; 32]).unwrap(),
            created_at: i64::try_from(now).unwrap(),
            status: FileStatus::Active,
            content: Content::Stored,
        };
        let recipient = Recipient {
            id: id(&mut rng),
            key: key.into(),
        };
        vec![
            Change::PutFile(Box::new(record)),
            Change::PutRecipient {
                sender_id,
                recipient,
            },
            Change::Adjust(Adjustment {
                files: 1,
                recipients: 1,
                chunks: 1,
                used: 1 << 16,
            }),
        ]
    };
    for _ in 0..FILES / 1000 {
        let commits: Vec<_> = (0..1000).map(|_| file()).collect();
        store.apply(&commits).unwrap();
    }
    store.sync().unwrap();
    store.close().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for how in ["after a stop", "after a kill"] {
        let router = Router::start(directory.path());
        let (started, began) = (router.started, Instant::now());
        let client = runtime.block_on(router.connect());
        runtime.block_on(client.ping()).unwrap();
        let (answered, resident) = (began.elapsed(), router.resident());
        // The next one finds what this one has left when it was killed.
        for _ in 0..20 {
            runtime.block_on(upload(&client, &vec![1; 1 << 16].into()));
        }
        println!(
            "start with {FILES} chunks {how}: {:.0} ms until it listens, {:.0} ms until it has answered; {resident:.0} MB resident",
            started.as_secs_f64() * 1e3,
            (started + answered).as_secs_f64() * 1e3
        );
    }
}
