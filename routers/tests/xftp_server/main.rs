//! An XFTP router over sockets: its clients, its disk, its restart.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod hostile;
mod operator;
mod peer;
mod process;
mod transfers;
mod web;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use simplex_routers::identity::IdentityFiles;
use simplex_routers::xftp::server::{Orphans, Server};
use simplex_routers::xftp::settings::{Control, Settings, StoreKind};
use simplex_routers::xftp::store::Store;
use simplex_runtime_tokio::Tokio;
use simplex_sans_io::crypto::hash::sha256;
use simplex_sans_io::crypto::{Algorithm, AuthPrivateKey, ed25519};
use simplex_sans_io::drive::{XftpClient, XftpOptions};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::wire::{EntityId, NonEmpty, ServerAddress, Short, XftpScheme};
use simplex_sans_io::xftp::client::RequestError;
use simplex_sans_io::xftp::router::Config;
use simplex_sans_io::xftp::{ErrorType, NewFile};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

type Key = Arc<AuthPrivateKey>;

async fn start(directory: &Path, quota: Option<u64>) -> (Server, ServerAddress<XftpScheme>) {
    let files = IdentityFiles(directory);
    let now = UnixTime::from_seconds(1_767_225_600);
    if !directory.join("ca.crt").exists() {
        let mut rng = Rng::from_seed([4; 32]);
        files
            .create(Algorithm::Ed25519, "localhost", now, &mut rng)
            .unwrap();
    }
    let chunks = directory.join("files");
    std::fs::create_dir_all(&chunks).unwrap();
    let settings = Settings {
        store: StoreKind::Embedded,
        router: Config {
            quota,
            ..Config::default()
        },
        metrics_port: Some(0),
        control: Control {
            port: Some(0),
            admin_password: Some("secret".parse().unwrap()),
            user_password: None,
        },
        ..Settings::of_port(0, &chunks)
    };
    let store = Store::open(&directory.join("store")).unwrap();
    let credentials = files.load(now).unwrap();
    let server = Server::start(
        &settings,
        credentials,
        store,
        Orphans::Removed,
        directory,
        100,
    )
    .await
    .unwrap();
    let address = format!(
        "xftp://{}@127.0.0.1:{}",
        server.fingerprint(),
        server.address().port()
    );
    (server, address.parse().unwrap())
}

async fn connect(address: &ServerAddress<XftpScheme>) -> XftpClient {
    let network = Tokio::new();
    let rng = simplex_runtime_tokio::rng().unwrap();
    let options = XftpOptions::to(address).unwrap();
    let (client, _, session) = XftpClient::connect(&network, options, rng).await.unwrap();
    tokio::spawn(session);
    client
}

struct File {
    chunk: Bytes,
    sender: (EntityId, Key),
    recipient: (EntityId, Key),
}

async fn create(client: &XftpClient, size: u32, seed: u8) -> File {
    try_create(client, size, seed).await.unwrap()
}

async fn try_create(client: &XftpClient, size: u32, seed: u8) -> Result<File, RequestError> {
    let mut rng = Rng::from_seed([seed; 32]);
    let mut chunk = vec![0; usize::try_from(size).unwrap()];
    rng.fill(&mut chunk);
    let mut key = || -> Key { Arc::new(ed25519::PrivateKey::generate(&mut rng).into()) };
    let (sender, recipient) = (key(), key());
    let file = NewFile {
        sender_key: sender.public_key(),
        size,
        digest: Short::try_from(&sha256(&chunk)).unwrap(),
        recipients: NonEmpty::one(recipient.public_key()),
        password: None,
    };
    let (sender_id, recipient_ids) = client.create(file, &sender).await?;
    Ok(File {
        chunk: chunk.into(),
        sender: (sender_id, sender),
        recipient: (recipient_ids.first().clone(), recipient),
    })
}

async fn upload(client: &XftpClient, file: &File) -> Result<(), RequestError> {
    let (id, key) = &file.sender;
    let size = u32::try_from(file.chunk.len()).unwrap();
    let mut upload = client.upload(id, key, size).await?;
    upload.write(file.chunk.clone()).await?;
    upload.finish().await
}

async fn download(client: &XftpClient, file: &File) -> Result<Vec<u8>, RequestError> {
    let (id, key) = &file.recipient;
    let size = u32::try_from(file.chunk.len()).unwrap();
    let mut download = client.download(id, key, size, sha256(&file.chunk)).await?;
    let mut chunk = Vec::new();
    while let Some(bytes) = download.read().await? {
        chunk.extend_from_slice(&bytes);
    }
    Ok(chunk)
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_go_up_and_down_at_the_same_time() {
    let directory = tempfile::tempdir().unwrap();
    let (server, address) = start(directory.path(), None).await;
    let client = connect(&address).await;
    client.ping().await.unwrap();
    let mut transfers = tokio::task::JoinSet::new();
    for (seed, size) in (0..12_u8).zip([1 << 16, 1 << 18, 1 << 20, 1 << 22].into_iter().cycle()) {
        let client = client.clone();
        transfers.spawn(async move {
            let file = create(&client, size, seed).await;
            assert_eq!(
                download(&client, &file).await,
                Err(RequestError::Protocol(ErrorType::NoFile))
            );
            upload(&client, &file).await.unwrap();
            assert_eq!(download(&client, &file).await.unwrap(), file.chunk);
        });
    }
    transfers.join_all().await;
    let (gauges, counters) = server.numbers().await.unwrap();
    assert_eq!(
        gauges.used,
        3 * ((1 << 16) + (1 << 18) + (1 << 20) + (1 << 22))
    );
    assert_eq!(gauges.reserved, 0);
    assert_eq!((counters.files_uploaded, counters.file_downloads), (12, 12));
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_uploaded_is_there_after_a_restart_and_what_nobody_knows_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let size = 1 << 16;
    let (server, address) = start(directory.path(), None).await;
    let client = connect(&address).await;
    let (kept, deleted) = (
        create(&client, size, 1).await,
        create(&client, size, 2).await,
    );
    upload(&client, &kept).await.unwrap();
    upload(&client, &deleted).await.unwrap();
    let (id, key) = &deleted.sender;
    client.delete(id, key).await.unwrap();
    drop(client);
    server.stop().await.unwrap();

    let shard = directory.path().join("files").join("ab");
    std::fs::create_dir_all(&shard).unwrap();
    let orphan = shard.join("q6urq6urq6urq6urq6urqw==");
    std::fs::write(&orphan, "left behind").unwrap();
    let (server, address) = start(directory.path(), None).await;
    let client = connect(&address).await;
    assert_eq!(download(&client, &kept).await.unwrap(), kept.chunk);
    assert_eq!(
        download(&client, &deleted).await,
        Err(RequestError::Protocol(ErrorType::Auth))
    );
    let (gauges, _) = server.numbers().await.unwrap();
    assert_eq!((gauges.files, gauges.used), (1, u64::from(size)));
    let removed = async {
        while orphan.exists() {
            client.ping().await.unwrap();
        }
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, removed).await.unwrap();
    drop(client);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_that_is_full_says_so_and_serves_on() {
    let directory = tempfile::tempdir().unwrap();
    let size = 1 << 18;
    let (server, address) = start(directory.path(), Some(u64::from(size))).await;
    let client = connect(&address).await;
    let (one, two) = (
        create(&client, size, 1).await,
        create(&client, size, 2).await,
    );
    upload(&client, &one).await.unwrap();
    let full = Err(RequestError::Protocol(ErrorType::Quota));
    assert_eq!(upload(&client, &two).await, full);
    assert_eq!(download(&client, &one).await.unwrap(), one.chunk);
    let (id, key) = &one.sender;
    client.delete(id, key).await.unwrap();
    assert_eq!(upload(&client, &two).await, Ok(()));
    server.stop().await.unwrap();
}

/// What a port of this machine answers.
async fn talk(address: Option<SocketAddr>, said: &str) -> String {
    let mut stream = TcpStream::connect(address.unwrap()).await.unwrap();
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_blocks_and_deletes_and_sees_it() {
    use simplex_sans_io::wire::text::base64url;
    let directory = tempfile::tempdir().unwrap();
    let size = 1 << 16;
    let (server, address) = start(directory.path(), Some(1 << 20)).await;
    let client = connect(&address).await;
    let (one, two) = (
        create(&client, size, 1).await,
        create(&client, size, 2).await,
    );
    upload(&client, &one).await.unwrap();
    upload(&client, &two).await.unwrap();
    let (first, second) = (base64url(&one.recipient.0), base64url(&two.recipient.0));
    let control = server.control_address();
    let said = format!("block {first} reason=spam\nquit\n");
    assert!(talk(control, &said).await.ends_with("AUTH\n"));
    let said = format!("auth secret\n{said}");
    assert!(
        talk(control, &said)
            .await
            .ends_with("Current role is CPRAdmin\nok\n")
    );
    let said = format!("auth secret\ndelete {second}\ndelete {second}\nstats\nquit\n");
    let heard = talk(control, &said).await;
    assert!(heard.contains("ok\nerror: AUTH\n"), "{heard}");
    assert!(heard.contains("\nfilesBlocked: 1\n"), "{heard}");
    assert!(matches!(
        download(&client, &one).await,
        Err(RequestError::Protocol(ErrorType::Blocked { .. }))
    ));
    let metrics = talk(server.metrics_address(), "GET /metrics HTTP/1.1\r\n\r\n").await;
    assert!(
        metrics.contains("\nsimplex_xftp_files_size 0 "),
        "{metrics}"
    );
    assert!(
        metrics.contains("\nsimplex_xftp_quota 1048576 "),
        "{metrics}"
    );
    let ready = talk(
        server.metrics_address(),
        "GET /health/ready HTTP/1.1\r\n\r\n",
    )
    .await;
    assert!(ready.starts_with("HTTP/1.1 200 OK\r\n"));
    server.stop().await.unwrap();
}
