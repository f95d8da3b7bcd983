//! Those who are no clients, or bad ones.

use bytes::Bytes;
use simplex_runtime_tokio::rng;
use simplex_sans_io::crypto::x25519;
use simplex_sans_io::smp::client::RequestError;
use simplex_sans_io::smp::{ErrorType, NewQueue, QueueRequest, SubscriptionMode};
use tokio::io::AsyncWriteExt as _;

use crate::process::{Client, Process, Queue, configure, get_from, key};

#[tokio::test]
async fn nothing_that_is_no_client_disturbs_the_others() {
    use tokio::io::AsyncReadExt as _;
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let port = router.address.port().unwrap();
    let connect = || tokio::net::TcpStream::connect(("127.0.0.1", port));
    let mut silent = Vec::new();
    for number in 0..600 {
        let mut stream = connect().await.unwrap();
        if number % 2 == 0 {
            stream.write_all(&[22, 3, 1]).await.unwrap();
        }
        silent.push(stream);
    }
    let mut garbage = connect().await.unwrap();
    garbage.write_all(&[0x55; 5000]).await.unwrap();
    let mut truncated = connect().await.unwrap();
    truncated.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    truncated.shutdown().await.unwrap();
    for stream in [&mut garbage, &mut truncated] {
        // An alert, or nothing: but an end.
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
    }
    let client = Client::connect(&router.address).await;
    client.smp.ping().await.unwrap();
}

#[tokio::test]
async fn a_flood_of_queues_that_are_not_allowed_creates_none() {
    let directory = tempfile::tempdir().unwrap();
    drop(Process::start(directory.path()));
    let (none, password) = ("# create_password = ", "create_password = secret\n# ");
    configure(directory.path(), none, password);
    let router = Process::start(directory.path());
    let flood = Client::connect(&router.address).await;
    let mut rng = rng().unwrap();
    let key = key(&mut rng);
    let dh = x25519::PrivateKey::generate(&mut rng);
    let new = NewQueue {
        auth_key: key.public_key(),
        dh_key: dh.public_key(),
        password: None,
        subscription: SubscriptionMode::Subscribe,
        request: Some(QueueRequest::Messaging(None)),
        notifier: None,
    };
    for _ in 0..20 {
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let (smp, new, key) = (flood.smp.clone(), new.clone(), key.clone());
            asked.spawn(async move { smp.create_queue(new, &key).await });
        }
        while let Some(answer) = asked.join_next().await {
            let refused = RequestError::Protocol(ErrorType::Auth);
            assert_eq!(answer.unwrap().unwrap_err(), refused);
        }
    }
    let allowed = NewQueue {
        password: Some("secret".parse().unwrap()),
        ..new
    };
    let client = Client::connect(&router.address).await;
    client.smp.create_queue(allowed, &key).await.unwrap();
}

#[tokio::test]
async fn who_reads_nothing_is_let_go_and_disturbs_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let slow = Client::connect(&router.address).await;
    let mut rng = rng().unwrap();
    let mut queues = Vec::new();
    for _ in 0..8 {
        let queue = Queue::create(&slow, &mut rng).await;
        let id = &queue.ids.recipient_id;
        slow.smp.subscribe(id, &queue.key).await.unwrap();
        queues.push(queue);
    }
    // Its events are never taken: what comes for it waits, within limits.
    let sender = Client::connect(&router.address).await;
    for queue in &queues {
        for _ in 0..16 {
            queue.send(&sender, &[7; 8000]).await.unwrap();
        }
    }
    let mut other = Client::connect(&router.address).await;
    let queue = Queue::create(&other, &mut rng).await;
    queue.send(&sender, b"quick").await.unwrap();
    let received = queue.receive_all(&mut other).await;
    assert_eq!(received, [Bytes::from_static(b"quick")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_takes_no_answers_is_not_read_any_more_and_that_is_counted() {
    use crate::websockets::Stream;
    let directory = tempfile::tempdir().unwrap();
    drop(Process::start(directory.path()));
    configure(directory.path(), "[METRICS]\n", "[METRICS]\nport = 0\n");
    let router = Process::start(directory.path());
    let (address, port) = (router.address.clone(), router.address.port().unwrap());
    let (give, socket) = tokio::sync::oneshot::channel();
    let flood = tokio::task::spawn_blocking(move || {
        let stream = Stream::connect(&address, port);
        give.send(stream.socket()).ok();
        stream.ask_without_reading(&address)
    });
    let socket = socket.await.unwrap();
    let metrics = router.metrics.unwrap().port();
    while !get_from(metrics, "/metrics")
        .await
        .contains("_limits_reached{limit=\"unsent_blocks\"} 1 ")
    {
        tokio::task::yield_now().await;
    }
    let other = Client::connect(&router.address).await;
    other.smp.ping().await.unwrap();
    socket.shutdown(std::net::Shutdown::Both).unwrap();
    flood.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn hellos_that_come_byte_by_byte_disturb_nobody() {
    use crate::websockets::Stream;
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    let (address, port) = (router.address.clone(), router.address.port().unwrap());
    let connecting = tokio::task::spawn_blocking(move || {
        let connect = |_| Stream::connect(&address, port);
        (0..20).map(connect).collect::<Vec<_>>()
    });
    let mut slow = connecting.await.unwrap();
    for byte in 0..50_u8 {
        let sending = tokio::task::spawn_blocking(move || {
            for stream in &mut slow {
                stream.send(&[byte]);
            }
            slow
        });
        client.smp.ping().await.unwrap();
        slow = sending.await.unwrap();
    }
    let newcomer = Client::connect(&router.address).await;
    newcomer.smp.ping().await.unwrap();
}

#[tokio::test]
async fn running_out_of_files_pauses_accepting_and_nothing_else() {
    const FILES: u16 = 64;
    let directory = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_smp-server");
    let script = format!(
        "ulimit -n {FILES}; exec {program} run --port 0 --dir '{}'",
        directory.path().display()
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]);
    let router = Process::spawn(command, directory.path());
    let port = router.address.port().unwrap();
    let client = Client::connect(&router.address).await;
    let queue = Queue::create(&client, &mut rng().unwrap()).await;
    // More than there are files; those that are not accepted wait.
    let mut silent = Vec::new();
    for _ in 0..FILES * 2 {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port));
        silent.push(stream.await.unwrap());
    }
    for _ in 0..50 {
        queue.send(&client, &[0; 10_000]).await.unwrap();
    }
    drop(silent);
    let mut another = Client::connect(&router.address).await;
    assert_eq!(queue.receive_all(&mut another).await.len(), 50);
    client.smp.ping().await.unwrap();
}
