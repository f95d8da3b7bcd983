//! Whole files, there and back, through the program; and what is left of them when it is killed, or the client is.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use simplex_agent::xftp::{Plan, Server, Sessions, delete, receive, send};
use simplex_runtime_tokio::{Tokio, rng};
use simplex_sans_io::drive::{XftpClient, XftpOptions};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::xftp::ErrorType;
use simplex_sans_io::xftp::client::RequestError;

use crate::process::{Process, configure, initialized, talk};
use crate::{connect, create, download, upload};

/// A file of random bytes.
fn file(directory: &Path, size: u64) -> PathBuf {
    let path = directory.join(format!("{size}.bin"));
    let mut rng = Rng::from_seed([7; 32]);
    let mut file = BufWriter::new(File::create(&path).unwrap());
    let mut piece = vec![0; 1 << 16];
    let mut left = size;
    while left > 0 {
        let length = left.min(1 << 16);
        let piece = &mut piece[..usize::try_from(length).unwrap()];
        rng.fill(piece);
        file.write_all(piece).unwrap();
        left -= length;
    }
    file.into_inner().unwrap();
    path
}

fn assert_same(one: &Path, other: &Path) {
    let open = |path: &Path| BufReader::with_capacity(1 << 20, File::open(path).unwrap());
    let (mut one, mut other) = (open(one), open(other));
    let (mut piece, mut again) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let count = one.read(&mut piece).unwrap();
        other.read_exact(&mut again[..count]).unwrap();
        assert!(piece[..count] == again[..count]);
        if count == 0 {
            break;
        }
    }
    assert_eq!(other.read(&mut again).unwrap(), 0);
}

async fn there_and_back(sizes: &[u64]) {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let routers = [Process::start(&at("a")), Process::start(&at("b"))];
    let servers = routers.each_ref().map(|router| Server {
        address: router.address.clone(),
        password: None,
    });
    let plan = Plan {
        servers: &servers,
        recipients: 1,
        replicas: 1,
        journal: &at("journal"),
    };
    let (sessions, running) = Sessions::new(Tokio::new(), 1, rng().unwrap());
    tokio::spawn(running);
    for size in sizes {
        let path = file(directory.path(), *size);
        let sent = send(&sessions, &path, &plan, |_, _| {}).await.unwrap();
        let (description, to) = (&sent.recipients[0], at("received"));
        let received = receive(&sessions, description, &to, |_, _| {});
        let received = received.await.unwrap();
        assert_same(&received.path, &path);
        delete(&sessions, &sent.sender).await.unwrap();
        std::fs::remove_file(received.path).unwrap();
        std::fs::remove_file(path).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_size_come_back_as_they_were() {
    let (kb, mb) = (1 << 10, 1 << 20);
    there_and_back(&[
        0,
        1,
        64 * kb - 1,
        64 * kb,
        64 * kb + 1,
        mb - 1,
        mb,
        mb + 1,
        100_000_000,
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes a minute and three gigabytes of disk"]
async fn a_file_of_a_gigabyte_comes_back_as_it_was() {
    there_and_back(&[1 << 30]).await;
}

/// How often a router is killed: `XFTP_KILLS` if that is set.
fn kills() -> u8 {
    let kills = std::env::var("XFTP_KILLS").ok();
    kills.map_or(4, |kills| kills.parse().expect("XFTP_KILLS is a number"))
}

/// How many bytes the chunks of a router take, as it says itself.
async fn used(router: &Process) -> u64 {
    let metrics = talk(router.metrics(), "GET /metrics HTTP/1.1\r\n\r\n").await;
    let line = metrics.lines().find_map(|line| {
        let rest = line.strip_prefix("simplex_xftp_files_size ")?;
        rest.split(' ').next()?.parse().ok()
    });
    line.unwrap_or_else(|| panic!("{metrics}"))
}

async fn assert_used(router: &Process, expected: u64) {
    assert_eq!(used(router).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_and_what_was_not_leaves_nothing() {
    const SIZE: u32 = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    initialized(directory.path()).await;
    configure(directory.path(), "[METRICS]\n", "[METRICS]\nport = 0\n");
    let mut rng = rng().unwrap();
    let mut kept: Vec<crate::File> = Vec::new();
    let mut seed = 0;
    for _ in 0..kills() {
        let router = Process::start(directory.path());
        let client = connect(&router.address).await;
        for file in &kept {
            assert_eq!(download(&client, file).await.unwrap(), file.chunk);
        }
        assert_used(&router, u64::from(SIZE) * kept.len() as u64).await;
        let mut files = Vec::new();
        for _ in 0..6 {
            files.push(create(&client, SIZE, seed).await);
            seed += 1;
        }
        // The process dies while chunks are on their way: some are acknowledged, some are not.
        let after = rng.below(30_000);
        let mut uploads = tokio::task::JoinSet::new();
        for file in files {
            let client = connect(&router.address).await;
            uploads.spawn(async move { (upload(&client, &file).await, file) });
        }
        let kill = tokio::task::spawn_blocking(move || {
            // Any moment is as good as another: the outcome must not depend on it.
            for _ in 0..after {
                std::hint::black_box(simplex_sans_io::crypto::hash::sha256(b"a moment"));
            }
            router.signal(Signal::KILL);
            router
        });
        let mut lost = Vec::new();
        for (outcome, file) in uploads.join_all().await {
            match outcome {
                Ok(()) => kept.push(file),
                Err(_) => lost.push(file),
            }
        }
        drop(kill.await.unwrap());
        let router = Process::start(directory.path());
        let client = connect(&router.address).await;
        for file in lost {
            // It may have been stored, and the answer lost with the process. It is whole, or not there.
            match download(&client, &file).await {
                Ok(chunk) => assert_eq!(chunk, file.chunk),
                Err(error) => {
                    assert_eq!(error, RequestError::Protocol(ErrorType::NoFile));
                    upload(&client, &file).await.unwrap();
                }
            }
            kept.push(file);
        }
        assert_used(&router, u64::from(SIZE) * kept.len() as u64).await;
        let uploads = directory.path().join("files/tmp");
        assert_eq!(std::fs::read_dir(uploads).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_dies_in_the_middle_leaves_room_for_its_next_attempt() {
    const SIZE: u32 = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    initialized(directory.path()).await;
    // Room for one chunk, and no more.
    configure(
        directory.path(),
        "storage_quota = 10gb",
        "storage_quota = 1mb",
    );
    let router = Process::start(directory.path());
    let client = connect(&router.address).await;
    let file = create(&client, SIZE, 1).await;
    for part in [1, 65_536, 1_000_000] {
        let options = XftpOptions::to(&router.address).unwrap();
        let network = Tokio::new();
        let dying = XftpClient::connect(&network, options, rng().unwrap()).await;
        let (dying, _, session) = dying.unwrap();
        let session = tokio::spawn(session);
        let (id, key) = &file.sender;
        let mut upload = dying.upload(id, key, SIZE).await.unwrap();
        upload.write(file.chunk.slice(..part)).await.unwrap();
        session.abort();
    }
    let full = RequestError::Protocol(ErrorType::Quota);
    let stored = async {
        // Until the router has noticed, the room of the dead is taken.
        while upload(&client, &file).await == Err(full) {}
    };
    let patience = std::time::Duration::from_secs(60);
    tokio::time::timeout(patience, stored).await.unwrap();
    assert_eq!(download(&client, &file).await.unwrap(), file.chunk);
    // One that dies while it downloads harms nobody either.
    let dying = connect(&router.address).await;
    let (id, key) = &file.recipient;
    let digest = crate::peer::sha256(&file.chunk);
    let mut begun = dying.download(id, key, SIZE, digest).await.unwrap();
    assert!(begun.read().await.unwrap().is_some());
    drop((begun, dying));
    assert_eq!(download(&client, &file).await.unwrap(), file.chunk);
}
