//! The program, as operators start it and clients see it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod console;
mod files;
mod hostile;
mod load;
mod names;
mod process;
mod proxying;
mod websockets;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use simplex_runtime_tokio::{Tokio, rng};
use simplex_sans_io::drive::{SmpClient, SmpOptions, SmpRelay};
use simplex_sans_io::smp::ErrorType;
use simplex_sans_io::smp::client::{Event, RequestError};
use simplex_sans_io::time::UnixTime;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};

use crate::process::{Address, Client, FLAGS, Process, Queue, get_from, ini};

#[tokio::test]
async fn messages_pass_from_client_to_client_and_through_the_router_as_a_proxy() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let mut rng = rng().unwrap();
    let mut recipient = Client::connect(&router.address).await;
    let sender = Client::connect(&router.address).await;
    let queue = Queue::create(&recipient, &mut rng).await;
    let id = &queue.ids.recipient_id;
    recipient.smp.subscribe(id, &queue.key).await.unwrap();
    queue.send(&sender, b"hello").await.unwrap();
    let (from, message, body) = recipient.message().await;
    assert_eq!(from, *id);
    assert_eq!(queue.open(&message, &body), b"hello".as_slice());
    let next = recipient.smp.ack(id, &queue.key, message).await.unwrap();
    assert_eq!(next, None);

    let now = UnixTime::from(SystemTime::now());
    let relay = sender.smp.relay(&router.address, None, now).await.unwrap();
    let key = Some(&queue.sender_key);
    let body = Bytes::from_static(b"from nobody");
    relay
        .send(&queue.ids.sender_id, key, FLAGS, body)
        .await
        .unwrap();
    let (_, message, body) = recipient.message().await;
    assert_eq!(queue.open(&message, &body), b"from nobody".as_slice());
}

#[tokio::test]
async fn a_router_that_is_terminated_says_farewell_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut rng = rng().unwrap();
    let mut router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    let queue = Queue::create(&client, &mut rng).await;
    for number in 0..10_u8 {
        queue.send(&client, &[number]).await.unwrap();
    }
    let port = router.address.port().unwrap();
    let _silent = tokio::net::TcpStream::connect(("127.0.0.1", port)).await;
    router.signal(rustix::process::Signal::TERM);
    let ended = tokio::task::spawn_blocking(move || router.child.wait());
    let ended = tokio::time::timeout(Duration::from_secs(60), ended).await;
    assert!(ended.unwrap().unwrap().unwrap().success());
    assert!(client.smp.ping().await.is_err());

    let router = Process::start(directory.path());
    let mut client = Client::connect(&router.address).await;
    let received = queue.receive_all(&mut client).await;
    let expected: Vec<_> = (0..10_u8).map(|number| Bytes::from(vec![number])).collect();
    assert_eq!(received, expected);
}

#[tokio::test]
async fn the_operator_blocks_and_deletes_queues_on_the_control_port() {
    use base64::Engine as _;
    let directory = tempfile::tempdir().unwrap();
    drop(Process::start(directory.path()));
    let text = std::fs::read_to_string(ini(directory.path())).unwrap();
    let text = text
        .replace("# control_port = 5224", "control_port = 0")
        .replace(
            "# control_port_admin_password = ",
            "control_port_admin_password = secret",
        );
    std::fs::write(ini(directory.path()), text).unwrap();
    let router = Process::start(directory.path());
    let port = router.control.unwrap();
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port))
        .await
        .unwrap();
    let (reader, mut writer) = stream.into_split();
    let mut lines = tokio::io::BufReader::new(reader).lines();
    assert_eq!(
        lines.next_line().await.unwrap().unwrap(),
        "SMP server control port"
    );
    lines.next_line().await.unwrap();
    let mut ask = async |line: String| {
        writer
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
        lines.next_line().await.unwrap().unwrap()
    };
    let client = Client::connect(&router.address).await;
    let queue = Queue::create(&client, &mut rng().unwrap()).await;
    let id = base64::engine::general_purpose::URL_SAFE.encode(&*queue.ids.sender_id);
    assert_eq!(ask(format!("status {id}")).await, "AUTH");
    assert_eq!(ask("auth wrong".into()).await, "Current role is CPRNone");
    assert_eq!(ask("auth secret".into()).await, "Current role is CPRAdmin");
    let columns =
        "clientId,sessionId,connected,createdAt,rcvActiveAt,sndActiveAt,age,subscriptions";
    assert_eq!(ask("clients".into()).await, columns);
    // The line of the only client is read by the next question.
    let connected = ask(String::new()).await;
    assert!(connected.contains(",True,20"), "{connected}");
    let status = ask(format!("status {id}")).await;
    assert!(status.starts_with("status: EntityActive, updatedAt: "));
    assert!(status.ends_with(", queueMode: Just QMMessaging"));
    assert_eq!(
        ask(format!("block {id} reason=spam")).await,
        "ok, queue blocked: EntityBlocked (BlockingInfo {reason = BRSpam, notice = Nothing})"
    );
    let blocked = queue.send(&client, b"spam").await;
    assert!(matches!(
        blocked,
        Err(RequestError::Protocol(ErrorType::Blocked { .. }))
    ));
    assert!(
        ask(format!("unblock {id}"))
            .await
            .starts_with("ok, queue unblocked")
    );
    queue.send(&client, b"no spam").await.unwrap();
    assert_eq!(ask(format!("delete {id}")).await, "ok, 1 messages deleted");
    assert_eq!(ask(format!("delete {id}")).await, "error: AUTH");
    assert_eq!(
        ask("what".into()).await,
        "error: Failed reading: bad ControlProtocol command"
    );
    let answer = console(port, "secret", "server-info").await;
    let labels: Vec<_> = answer
        .iter()
        .map(|line| line.split(": ").next().unwrap())
        .collect();
    let of_clients = "Client queues (rcvQ, sndQ, msgQ)|SMP subscriptions (via clients)|\
        SMP subscriptions (by group: NoSub, SubPending, SubThread, ProhibitSub)|SMP subscribed clients (via clients)|\
        SMP subscribed clients queues (via clients, rcvQ, sndQ, msgQ)|Ntf subscriptions (via clients)|\
        Ntf subscribed clients (via clients)|Ntf subscribed clients queues (via clients, rcvQ, sndQ, msgQ)";
    let expected = format!(
        "Threads|Clients|{of_clients}|SMP subscriptions|SMP subscribed clients|SMP subscribed clients count 2|\
         Ntf subscriptions|Ntf subscribed clients|Ntf subscribed clients count 2"
    );
    // The group has a colon of its own.
    let expected = expected.replace(
        "(by group: NoSub, SubPending, SubThread, ProhibitSub)",
        "(by group",
    );
    let shown = labels.join("|");
    for label in expected.split('|') {
        assert!(shown.contains(label), "{label} in {shown}");
    }
    assert!(answer.contains(&"Ntf subscribed clients: 0 []".to_owned()));
    assert!(answer.contains(&"Ntf subscribed clients count 2: 0 fromList []".to_owned()));
    for command in [
        "stats",
        "sockets",
        "server-info",
        "stats-rts",
        "threads",
        "save",
    ] {
        let answer = console(port, "secret", command).await;
        assert!(
            !answer.is_empty() && answer.iter().all(|line| !line.is_empty()),
            "{command}"
        );
    }
    let runtime = console(port, "wrong", "stats-rts").await;
    assert!(runtime.iter().any(|line| line.starts_with("memory: ")));
    assert_eq!(console(port, "wrong", "stats").await, ["AUTH"]);
}

/// The answer to a command of somebody who says this password, up to the next prompt.
async fn console(port: u16, password: &str, command: &str) -> Vec<String> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port));
    let (reader, mut writer) = stream.await.unwrap().into_split();
    let asked = format!("auth {password}\n{command}\nquit\n");
    writer.write_all(asked.as_bytes()).await.unwrap();
    let mut lines = tokio::io::BufReader::new(reader).lines();
    // The banner has two lines, the role one.
    for _ in 0..3 {
        lines.next_line().await.unwrap().unwrap();
    }
    let mut answer = Vec::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        answer.push(line);
    }
    answer
}

#[tokio::test]
async fn metrics_and_health_are_read_over_http() {
    let directory = tempfile::tempdir().unwrap();
    drop(Process::start(directory.path()));
    let text = std::fs::read_to_string(ini(directory.path())).unwrap();
    let text = text
        .replace("[METRICS]\n", "[METRICS]\nport = 0\n")
        .replace("[WEB]\n", "[WEB]\nhttp = 0\n");
    std::fs::write(ini(directory.path()), text).unwrap();
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    Queue::create(&client, &mut rng().unwrap()).await;
    let get = async |path| get_from(router.metrics.unwrap().port(), path).await;
    let page = get_from(router.page.unwrap(), "/").await;
    assert!(page.contains("<h1>SMP router</h1>"), "{page}");
    assert!(
        get("/health/ready")
            .await
            .starts_with("HTTP/1.1 200 OK\r\n")
    );
    let metrics = get("/metrics").await;
    assert!(
        metrics.contains("\nsimplex_smp_queues_created 1 "),
        "{metrics}"
    );
    assert!(metrics.contains("\nsimplex_smp_clients_total 1 "));
    assert!(metrics.contains("\nsimplex_smp_limits_reached{limit=\"handshakes\"} 0 "));
    assert!(metrics.contains("\nsimplex_smp_relay_sessions_requests{source=\"own\"} 0 "));
    assert!(get("/").await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn a_new_certificate_is_used_after_a_hangup_and_sessions_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let leaf = async || {
        let mut client = Client::connect(&router.address).await;
        match client.events.next().await {
            Some(Event::Established(session)) => {
                let leaf = session.router.unwrap().chain.leaf().clone();
                (client, leaf)
            }
            other => panic!("{other:?}"),
        }
    };
    let (old, first) = leaf().await;
    let renewed = Command::new(env!("CARGO_BIN_EXE_smp-server"))
        .arg("cert")
        .env("SMP_SERVER_CFG_PATH", directory.path().join("config"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(renewed.success());
    router.signal(rustix::process::Signal::HUP);
    while leaf().await.1 == first {}
    old.smp.ping().await.unwrap();
}

#[tokio::test]
async fn a_router_goes_on_when_its_log_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "exec \"$0\" \"$@\" 2>/dev/full"])
        .arg(env!("CARGO_BIN_EXE_smp-server"))
        .args(["run", "--log-level", "trace", "--port", "0", "--dir"])
        .arg(directory.path());
    let router = Process::spawn(command, directory.path());
    let client = Client::connect(&router.address).await;
    let queue = Queue::create(&client, &mut rng().unwrap()).await;
    router.signal(rustix::process::Signal::HUP);
    for number in 0..100_u8 {
        queue.send(&client, &[number]).await.unwrap();
        Client::connect(&router.address).await;
    }
    client.smp.ping().await.unwrap();
}

/// Gives the page for browsers a certificate, on the port of clients.
fn certificate_for_browsers(directory: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=localhost",
        ])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-keyout", "web.key", "-out", "web.crt"])
        .current_dir(directory)
        .stderr(Stdio::null())
        .status();
    assert!(
        made.is_ok_and(|status| status.success()),
        "openssl is needed"
    );
    let text = std::fs::read_to_string(ini(directory)).unwrap();
    let lines = text.lines().map(|line| match line {
        "# https = 443" => "https = 0".to_owned(),
        _ if line.starts_with("# cert = ") => format!("cert = {}/web.crt", directory.display()),
        _ if line.starts_with("# key = ") => format!("key = {}/web.key", directory.display()),
        _ => line.to_owned(),
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    std::fs::write(ini(directory), text).unwrap();
}

#[tokio::test]
async fn browsers_and_clients_share_a_port() {
    let directory = tempfile::tempdir().unwrap();
    drop(Process::start(directory.path()));
    certificate_for_browsers(directory.path());
    let router = Process::start(directory.path());
    Client::connect(&router.address)
        .await
        .smp
        .ping()
        .await
        .unwrap();
    let port = router.address.port().unwrap();
    let script = format!(
        "import ssl,urllib.request\nc=ssl.create_default_context(cafile='{}')\n\
         print(urllib.request.urlopen('https://localhost:{port}/', context=c).read().decode())",
        directory.path().join("web.crt").display()
    );
    let page = tokio::task::spawn_blocking(move || {
        Command::new("python3")
            .args(["-c", &script])
            .output()
            .unwrap()
    });
    let page = String::from_utf8(page.await.unwrap().stdout).unwrap();
    assert!(page.contains("<title>SMP router</title>"), "{page}");

    // Without the certificate the router goes on for its clients.
    drop(router);
    std::fs::remove_file(directory.path().join("web.crt")).unwrap();
    let router = Process::start(directory.path());
    Client::connect(&router.address)
        .await
        .smp
        .ping()
        .await
        .unwrap();
}

#[tokio::test]
async fn many_messages_pass_a_proxy_and_a_relay_that_comes_back_is_used_again() {
    let (at_proxy, at_relay) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (proxy, relay) = (
        Process::start(at_proxy.path()),
        Process::start(at_relay.path()),
    );
    let now = UnixTime::from(SystemTime::now());
    let mut rng = rng().unwrap();
    let mut recipient = Client::connect(&relay.address).await;
    let sender = Client::connect(&proxy.address).await;
    let queue = Queue::create(&recipient, &mut rng).await;
    let through = sender.smp.relay(&relay.address, None, now).await.unwrap();
    let send = async |through: &SmpRelay, number: u8| {
        let key = Some(&queue.sender_key);
        let body = Bytes::from(vec![number]);
        through.send(&queue.ids.sender_id, key, FLAGS, body).await
    };
    for number in 0..100 {
        send(&through, number).await.unwrap();
    }
    let received = queue.receive_all(&mut recipient).await;
    assert_eq!(received.len(), 100);

    drop(relay);
    assert!(send(&through, 0).await.is_err());
    // The address of the relay has its port: it is the same identity at another one.
    let relay = Process::start(at_relay.path());
    let through = sender.smp.relay(&relay.address, None, now).await.unwrap();
    send(&through, 1).await.unwrap();
    let stranger = Address::new(
        relay.address.hosts().to_vec().try_into().unwrap(),
        relay.address.port(),
        simplex_sans_io::wire::KeyHash::from([7; 32]),
    );
    assert!(sender.smp.relay(&stranger, None, now).await.is_err());
}

#[tokio::test]
async fn a_client_may_begin_in_the_words_of_browsers() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let port = router.address.port().unwrap();
    let without = format!("smp://{}@127.0.0.1", router.address.key_hash());
    let without: Address = without.parse().unwrap();
    let options = SmpOptions::to(&without).unwrap().at_web_port(&without);
    assert_eq!(options.route.last().port, 443);
    // An address that names a port means it.
    let named = SmpOptions::to(&router.address).unwrap();
    assert_eq!(named.at_web_port(&router.address).route.last().port, port);
    let options = SmpOptions {
        route: options.route.to_port(port),
        ..options
    };
    let network = Tokio::new();
    let connected = SmpClient::connect(&network, options, rng().unwrap());
    let (smp, mut events, connection) = connected.await.unwrap();
    tokio::spawn(connection);
    smp.ping().await.unwrap();
    let Some(Event::Established(session)) = events.next().await else {
        panic!("no session")
    };
    assert_eq!(
        session.session.version,
        simplex_sans_io::smp::version::SUPPORTED.max()
    );
}
