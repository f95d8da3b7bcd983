//! What is on the disk: after a kill, after a restart, in backups, in files of other routers.

use std::path::Path;
use std::process::{Command, Stdio};

use bytes::Bytes;
use simplex_runtime_tokio::rng;
use simplex_sans_io::crypto::x25519;
use simplex_sans_io::smp::client::{Request, RequestError, RequestId, Response};
use simplex_sans_io::smp::{
    Command as Smp, ErrorType, LinkData, NewQueue, QueueRequest, SubscriptionMode,
};
use simplex_sans_io::wire::{EntityId, Large};

use crate::process::{Client, Process, Queue, command, configure, key, said};

/// How often a router is killed: `SMP_KILLS` if that is set.
fn kills() -> u32 {
    let kills = std::env::var("SMP_KILLS").ok();
    kills.map_or(5, |kills| kills.parse().expect("SMP_KILLS is a number"))
}

/// The numbers that a queue holds.
async fn numbers(queue: &Queue, client: &mut Client) -> Vec<u32> {
    let received = queue.receive_all(client).await;
    let number = |body: &Bytes| u32::from_be_bytes(body[..4].try_into().unwrap());
    received.iter().map(number).collect()
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_and_restart() {
    const QUEUES: usize = 4;
    let directory = tempfile::tempdir().unwrap();
    let mut rng = rng().unwrap();
    let mut queues = Vec::new();
    let mut acknowledged = [0_u32; QUEUES];
    for _ in 0..kills() {
        let router = Process::start(directory.path());
        let mut client = Client::connect(&router.address).await;
        while queues.len() < QUEUES {
            queues.push(Queue::create(&client, &mut rng).await);
        }
        for (queue, acknowledged) in queues.iter().zip(&mut acknowledged) {
            let expected: Vec<_> = (0..std::mem::take(acknowledged)).collect();
            let received = numbers(queue, &mut client).await;
            assert!(received.starts_with(&expected), "{received:?}");
            // At most the one that was on its way when the router died.
            assert!(received.len() <= expected.len() + 1, "{received:?}");
        }
        // The process dies while messages are on their way: some are acknowledged, some are not.
        let killed_after = 3 + usize::from(rng.bytes::<1>()[0]) % 60;
        let (killer, mut count) = tokio::sync::mpsc::unbounded_channel();
        let sending = queues.iter().zip(&mut acknowledged).map(|(queue, sent)| {
            let killer = killer.clone();
            let address = router.address.clone();
            async move {
                let sender = Client::connect(&address).await;
                while *sent < 100 && queue.send(&sender, &sent.to_be_bytes()).await.is_ok() {
                    *sent += 1;
                    killer.send(()).ok();
                }
            }
        });
        let sending = futures_of(sending);
        let killing = async {
            for _ in 0..killed_after {
                count.recv().await;
            }
            router.signal(rustix::process::Signal::KILL);
        };
        tokio::join!(sending, killing);
        let sent: u32 = acknowledged.iter().sum();
        assert!(usize::try_from(sent).unwrap() >= killed_after);
    }
}

/// All of them, side by side.
async fn futures_of<F: Future<Output = ()>>(futures: impl Iterator<Item = F>) {
    let mut futures: Vec<_> = futures.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        futures.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        match futures.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

#[tokio::test]
async fn a_backup_is_made_while_the_router_runs_and_becomes_another_router() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = to.path().join("backup");
    let path = file.to_str().unwrap();
    let router = Process::start(from.path());
    let client = Client::connect(&router.address).await;
    let queue = Queue::create(&client, &mut rng().unwrap()).await;
    queue.send(&client, &7_u32.to_be_bytes()).await.unwrap();

    let made = command(from.path(), &["backup", "--to", path]);
    assert!(
        said(&made).contains("1 queues and 1 messages"),
        "{}",
        said(&made)
    );
    assert!(made.status.success());
    let again = command(from.path(), &["backup", "--to", path]);
    assert!(said(&again).contains("exists already"), "{}", said(&again));
    assert!(!again.status.success());
    let whole = command(from.path(), &["restore", "--verify", "--from", path]);
    assert!(said(&whole).contains("is whole"), "{}", said(&whole));
    queue.send(&client, &8_u32.to_be_bytes()).await.unwrap();
    drop(router);

    // The same router, as it was when the backup was made.
    let store = from.path().join("data/smp-server-store");
    let refused = command(from.path(), &["restore", "--from", path]);
    assert!(
        said(&refused).contains("move it out of the way"),
        "{}",
        said(&refused)
    );
    std::fs::remove_dir_all(&store).unwrap();
    let restored = command(from.path(), &["restore", "--from", path]);
    assert!(restored.status.success(), "{}", said(&restored));
    let router = Process::start(from.path());
    let mut client = Client::connect(&router.address).await;
    assert_eq!(numbers(&queue, &mut client).await, [7]);
    drop(router);

    // One that does not run is backed up, too; a file that is not whole is not restored.
    let second = to.path().join("second");
    let made = command(from.path(), &["backup", "--to", second.to_str().unwrap()]);
    assert!(made.status.success(), "{}", said(&made));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let damaged = command(from.path(), &["restore", "--verify", "--from", path]);
    assert!(said(&damaged).contains("is damaged"), "{}", said(&damaged));
    assert!(!damaged.status.success());
}

#[tokio::test]
async fn damage_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    let mut rng = rng().unwrap();
    for _ in 0..20 {
        let queue = Queue::create(&client, &mut rng).await;
        queue.send(&client, &[1; 8000]).await.unwrap();
    }
    drop(router);
    let store = directory.path().join("data/smp-server-store");
    let mut damaged = 0;
    for file in files(&store) {
        let mut bytes = std::fs::read(&file).unwrap();
        // Everything that holds records, in its middle.
        if bytes.len() > 10_000 {
            let middle = bytes.len() / 4;
            for byte in &mut bytes[middle..middle + 64] {
                *byte ^= 0x55;
            }
            std::fs::write(&file, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let doctor = command(directory.path(), &["doctor"]);
    let start = command(directory.path(), &["run", "--port", "0"]);
    for output in [&start, &doctor] {
        assert!(!output.status.success(), "{}", said(output));
        let text = said(output);
        assert!(
            text.contains("backup") || text.contains("damaged"),
            "{text}"
        );
        assert!(!text.contains("panicked"), "{text}");
    }
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap();
    let entries = entries.map(|entry| entry.unwrap().path());
    let within = |path: std::path::PathBuf| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    };
    entries.flat_map(within).collect()
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let start = command(&file.join("router"), &["run", "--port", "0"]);
    let text = said(&start);
    assert!(
        text.contains("file/router") && text.contains("cannot be made"),
        "{text}"
    );
    assert!(!start.status.success());
}

#[tokio::test]
async fn messages_that_are_not_to_be_restored_end_with_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    let queue = Queue::create(&client, &mut rng().unwrap()).await;
    for number in 0..5_u8 {
        queue.send(&client, &[number]).await.unwrap();
    }
    drop(router);
    let (on, off) = ("restore_messages = on", "restore_messages = off");
    configure(directory.path(), on, off);
    let router = Process::start(directory.path());
    let mut client = Client::connect(&router.address).await;
    assert_eq!(queue.receive_all(&mut client).await, Vec::<Bytes>::new());
    queue.send(&client, b"new").await.unwrap();
    let (_, message, body) = client.message().await;
    assert_eq!(queue.open(&message, &body), b"new".as_slice());
}

#[tokio::test]
async fn the_files_of_another_router_are_taken_over_at_the_first_start() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let router = Process::start(from.path());
    let client = Client::connect(&router.address).await;
    let queue = Queue::create(&client, &mut rng().unwrap()).await;
    for number in 0..3_u8 {
        queue.send(&client, &[number]).await.unwrap();
    }
    drop(router);
    let data = to.path().join("data");
    let exported = Command::new(env!("CARGO_BIN_EXE_smp-server"))
        .args(["export", "--dir"])
        .arg(from.path())
        .arg("--to")
        .arg(&data)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(exported.success());
    for _ in 0..2 {
        let router = Process::start(to.path());
        let mut client = Client::connect(&router.address).await;
        let id = &queue.ids.recipient_id;
        let info = client.smp.queue_info(id, &queue.key).await.unwrap();
        assert_eq!(info.size, 3);
        client.smp.subscribe(id, &queue.key).await.unwrap();
        let (_, message, body) = client.message().await;
        assert_eq!(queue.open(&message, &body), [0].as_slice());
    }
    assert!(data.join("smp-server-store.log").exists());
}

#[tokio::test]
async fn what_is_empty_and_what_has_a_notice_survives_restarts() {
    use base64::Engine as _;
    let directory = tempfile::tempdir().unwrap();
    drop(Process::start(directory.path()));
    configure(
        directory.path(),
        "# control_port = 5224",
        "control_port = 0",
    );
    let (none, admin) = (
        "# control_port_admin_password = ",
        "control_port_admin_password = secret",
    );
    configure(directory.path(), none, admin);
    let mut rng = rng().unwrap();
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;

    let queue = Queue::create(&client, &mut rng).await;
    for body in [b"".as_slice(), b"after"] {
        queue.send(&client, body).await.unwrap();
    }
    let key = key(&mut rng);
    let new = NewQueue {
        auth_key: key.public_key(),
        dh_key: x25519::PrivateKey::generate(&mut rng).public_key(),
        password: None,
        subscription: SubscriptionMode::OnlyCreate,
        request: Some(QueueRequest::Contact(None)),
        notifier: None,
    };
    let ids = client.smp.create_queue(new, &key).await.unwrap();
    let link_id = EntityId::from(rng.bytes::<24>());
    let empty = || Large::try_from(Bytes::new()).unwrap();
    let set = Smp::LSet {
        link_id: link_id.clone(),
        data: LinkData {
            fixed: empty(),
            user: empty(),
        },
    };
    let set = Request::new(RequestId(0), ids.recipient_id, set).authorized_by(key);
    assert_eq!(client.smp.request(set).await, Ok(Response::Done));
    let blocked = Queue::create(&client, &mut rng).await;
    let id = base64::engine::general_purpose::URL_SAFE.encode(&*blocked.ids.sender_id);
    let block = format!("block {id} reason=spam,notice={{\"ttl\":86400}}");
    let answer = crate::console(router.control.unwrap(), "secret", &block).await;
    assert!(answer[0].starts_with("ok, queue blocked"), "{answer:?}");
    drop(client);

    let mut router = router;
    for _ in 0..2 {
        router.signal(rustix::process::Signal::TERM);
        assert!(router.child.wait().unwrap().success());
        router = Process::start(directory.path());
    }
    let mut client = Client::connect(&router.address).await;
    let received = queue.receive_all(&mut client).await;
    assert_eq!(received, [Bytes::new(), Bytes::from_static(b"after")]);
    let get = Request::new(RequestId(0), link_id, Smp::LGet);
    let link = client.smp.request(get).await;
    let Ok(Response::Link { data, .. }) = link else {
        panic!("{link:?}")
    };
    assert!(data.fixed.is_empty() && data.user.is_empty());
    let refused = blocked.send(&client, b"spam").await;
    let Err(RequestError::Protocol(ErrorType::Blocked { info })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(info.notice.unwrap().ttl, Some(86_400));
}
