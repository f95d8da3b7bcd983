//! The program, as people with telnet see it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod file_router;
mod router;
mod telnet;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use router::Router;
use telnet::{Client, Ending, Process, word};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

/// The number of a message that was told.
fn number_of(message: &str) -> &str {
    let number = word(message, 2).strip_prefix("R=").unwrap();
    number.split(',').next().unwrap()
}

#[tokio::test]
async fn two_people_talk_through_telnet() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let of_alice = Process::start(directory.path(), &router, "alice", &["--no-token"]);
    let of_bob = Process::start(directory.path(), &router, "bob", &[]);
    let (mut alice, mut bob) = (of_alice.client().await, of_bob.client().await);

    let invitation = alice
        .ask("bob", "NEW T INV pq=enable subscribe", "INV ")
        .await;
    let link = word(&invitation, 1);
    let join = format!("JOIN T {link} pq=enable subscribe :I am Bob");
    bob.ask("alice", &join, "OK").await;
    let confirmation = alice.expect("bob", "CONF ").await;
    assert!(confirmation.ends_with(" 8\nI am Bob"), "{confirmation}");
    let name = word(&confirmation, 1);
    // A question is answered where it was asked.
    alice.ask("carol", "NEW T INV", "INV ").await;
    let elsewhere = format!("LET {name} :I am Alice");
    alice.ask("carol", &elsewhere, "ERR CMD PROHIBITED").await;
    alice
        .send("2", "bob", &format!("LET {name} 10\nI am Alice"))
        .await;
    // The line end of `send` is that of the body.
    alice.expect("bob", "OK").await;
    let info = bob.expect("alice", "INFO pq=enable").await;
    assert!(info.ends_with("\nI am Alice"));
    bob.expect("alice", "CON pq=enable").await;
    alice.expect("bob", "CON pq=enable").await;

    let accepted = alice.ask("bob", "SEND F :hello", "MID ").await;
    assert!(accepted.ends_with(" pq=enable"), "{accepted}");
    let message = bob.expect("alice", "MSG OK R=").await;
    assert!(message.contains(" PQ=pq=enable F 5\nhello"), "{message}");
    let number = number_of(&message).to_owned();
    bob.ask("alice", &format!("ACK {number} :"), "OK").await;
    bob.ask("alice", &format!("ACK {number}"), "OK").await;
    let receipt = alice.expect("bob", "RCVD OK R=").await;
    assert!(receipt.ends_with(":ok"), "{receipt}");
    let own = number_of(&receipt);
    alice.ask("bob", &format!("ACK {own}"), "OK").await;

    let codes = (
        alice.ask("bob", "CODE", "CODE ").await,
        bob.ask("alice", "CODE", "CODE ").await,
    );
    assert_eq!(codes.0, codes.1);
    let stat = alice
        .ask("bob", "CHK", "STAT agent_version=7 rcv=srv=smp://")
        .await;
    assert!(stat.ends_with("sync=ok sync_supported=T"), "{stat}");

    // Another client of the same agent takes the connection, and is told what the first one has not dealt with.
    alice.ask("bob", "SEND F :unread ", "MID ").await;
    let unread = bob.expect("alice", "MSG OK R=").await;
    assert!(unread.ends_with(" F 7\nunread "), "{unread}");
    let mut other = of_bob.client().await;
    other.ask("alice", "SUB", "OK").await;
    bob.expect("alice", "END").await;
    let again = other.expect("alice", "MSG OK R=").await;
    assert_eq!(word(&again, 2), word(&unread, 2));
    let number = number_of(&again).to_owned();
    let acknowledge = format!("ACK {number}");
    bob.ask("alice", &acknowledge, "ERR CMD PROHIBITED").await;
    other.ask("alice", &acknowledge, "OK").await;
    // Whoever sends is answered, and what comes of it is told to the owner.
    bob.ask("alice", "SEND F :once", "MID ").await;
    other.expect("alice", "SENT ").await;
    alice.expect("bob", "MSG OK R=").await;
    alice.ask("bob", "SEND F :again", "MID ").await;
    other.expect("alice", "MSG OK R=").await;
    alice.ask("bob", "DEL", "OK").await;
    alice.ask("bob", "SEND F :gone", "ERR CONN NOT_FOUND").await;
    // The name is free, and nothing is told of the one before.
    alice.ask("bob", "NEW T INV subscribe", "INV ").await;
    let mut next = of_alice.client().await;
    next.ask("", "VER 7", "VER 7 ").await;
    next.ask("bob", "SUB", "OK").await;
    // Who waits for what was sent is told when it is gone.
    next.ask("bob", "DEL wait", "OK").await;
    next.ask("bob", "NEW T INV subscribe", "INV ").await;
    next.expect("bob", "DEL_RCVQ ").await;
    next.expect("bob", "DEL_CONN").await;
    next.ask("bob", "DEL", "OK").await;
    next.ask("bob", "CHK", "ERR CONN NOT_FOUND").await;
    // What is not there to be asked is not waited for long, and is not there for clients either.
    next.ask("dave", "NEW T INV subscribe", "INV ").await;
    router.stop().await;
    next.expect("", "DOWN ").await;
    next.ask("dave", "DEL", "OK").await;
    next.ask("dave", "CHK", "ERR CONN NOT_FOUND").await;
    next.ask("dave", "SUB", "ERR CONN NOT_FOUND").await;
}

#[tokio::test]
async fn an_address_is_asked_through_telnet() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let of_alice = Process::start(directory.path(), &router, "alice", &["--no-token"]);
    let of_bob = Process::start(directory.path(), &router, "bob", &["--no-token"]);
    let (mut alice, mut bob) = (of_alice.client().await, of_bob.client().await);
    let address = alice.ask("address", "NEW T CON subscribe", "INV ").await;
    let link = word(&address, 1);
    bob.ask("alice", &format!("JOIN T {link} :hi"), "OK").await;
    let request = alice.expect("address", "REQ ").await;
    let name = word(&request, 1);
    alice
        .ask("other", &format!("RJCT {name}"), "ERR CONN NOT_FOUND")
        .await;
    alice
        .ask("bob", &format!("ACPT {name} :welcome"), "OK")
        .await;
    alice
        .ask(
            "bob2",
            &format!("ACPT {name} :welcome"),
            "ERR CMD PROHIBITED",
        )
        .await;
    let confirmation = bob.expect("alice", "CONF ").await;
    let name = word(&confirmation, 1);
    bob.ask("alice", &format!("LET {name} :thanks"), "OK").await;
    alice.expect("bob", "INFO ").await;
    alice.expect("bob", "CON ").await;
    bob.expect("alice", "CON ").await;
}

#[tokio::test]
async fn what_is_wrong_is_said_and_strangers_hear_nothing() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let agent = Process::start(directory.path(), &router, "agent", &["--max-new", "1"]);
    let mut client = agent.client().await;
    let cases = [
        ("", "HELLO", "ERR CMD SYNTAX parseCommand"),
        ("", "NEW T hi subscribe", "ERR CMD SYNTAX parseCommand"),
        ("", "JOIN", "ERR CMD SYNTAX parseCommand"),
        ("", "SUB", "ERR CMD NO_CONN tConnId"),
        ("bob", "OK", "ERR CMD PROHIBITED fromParty"),
        ("bob", "SUB", "ERR CONN NOT_FOUND"),
        ("", "PING", "OK"),
        ("bob", "SEND F hello there", "ERR CMD SYNTAX getBody"),
        ("", "VER 7", "VER 7 links,receipts,pq,users,names,servers"),
        ("bob", "SUB", "ERR CONN NOT_FOUND connection"),
    ];
    for (entity, command, answer) in cases {
        client.send("1", entity, command).await;
        assert_eq!(
            client.hear().await,
            ("1".into(), entity.into(), answer.into())
        );
    }
    client.send("211", "", "NEW T INV").await;
    let (corr_id, entity, link) = loop {
        match client.hear().await {
            (corr_id, ..) if corr_id.is_empty() => {}
            response => break response,
        }
    };
    assert_eq!((corr_id.as_str(), entity.len()), ("211", 16));
    assert!(
        link.starts_with("INV simplex:/invitation#/?v=2-7&smp="),
        "{link}"
    );

    client.send("212", "", "NEW T INV").await;
    let (_, _, refused) = loop {
        match client.hear().await {
            (corr_id, ..) if corr_id.is_empty() => {}
            response => break response,
        }
    };
    assert_eq!(
        refused,
        "ERR CMD PROHIBITED too many connections in a minute"
    );

    for stranger in [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".as_slice(),
        b"1\n\nAUTH :wrong\n",
        b"1\n\nNEW T INV\n",
    ] {
        let mut stream = TcpStream::connect(("127.0.0.1", agent.port)).await.unwrap();
        stream.write_all(stranger).await.unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).await.ok();
        assert_eq!(heard.lines().count(), 1, "{heard}");
    }
}

#[tokio::test]
async fn it_stops_when_it_is_told_to() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Process::start(directory.path(), &router, "agent", &["--no-token"]);
    let _client = agent.client().await;
    let pid = i32::try_from(agent.child.0.id()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || agent.child.0.wait());
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
    assert!(ended.unwrap().unwrap().unwrap().success());
}

/// The name of the file that a client has just begun to send or to receive.
async fn begun(client: &mut Client, command: &str) -> String {
    client.send("8", "", command).await;
    loop {
        let (corr_id, file, said) = client.hear().await;
        if corr_id == "8" {
            assert_eq!(said, "OK");
            return file;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_on_after_their_agent_was_killed() {
    use base64::Engine as _;
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = file_router::routers(directory.path()).await;
    let files = directory.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let mut content = vec![0; 30_000_000];
    simplex_sans_io::rng::Rng::from_seed([7; 32]).fill(&mut content);
    std::fs::write(files.join("big.bin"), &content).unwrap();
    let server_option = address.address.to_string();
    let options = [
        "--no-token",
        "--files",
        "files",
        "--file-server",
        &server_option,
    ];
    let start = || Process::start(directory.path(), &router, "agent", &options);

    let agent = start();
    let mut client = agent.client().await;
    let features = client.ask("", "VER 7", "VER 7 ").await;
    assert!(features.ends_with(",files"), "{features}");
    let outside = client.ask("", "FSND :../agent.db", "ERR").await;
    assert_eq!(outside, "ERR FILE NO_FILE");
    client.ask("mine", "FSND recipients=2 :big.bin", "OK").await;
    let sent = "mine".to_owned();
    client.expect(&sent, "SFPROG ").await;
    let twice = client.ask("mine", "FSND :big.bin", "ERR").await;
    assert_eq!(twice, "ERR CMD PROHIBITED another file is called so");
    let unknown = client.ask("other", "FDEL", "ERR").await;
    assert_eq!(unknown, "ERR FILE NO_FILE");
    // Its process is gone at once.
    drop((client, agent));
    std::fs::remove_file(files.join("big.bin")).unwrap();

    let agent = start();
    let mut client = agent.client().await;
    let done = client.expect(&sent, "SFDONE ").await;
    let (_, descriptions) = done.split_once('\n').unwrap();
    let descriptions: Vec<_> = descriptions
        .split(&format!("{}\n", "#".repeat(32)))
        .collect();
    let [sender, _, recipient] = descriptions[..] else {
        panic!("{descriptions:?}")
    };
    let with_body = |command: &str, body: &str| format!("{command} {}\r\n{body}", body.len());
    let received = begun(&mut client, &with_body("FRCV", recipient)).await;
    client.expect(&received, "RFPROG ").await;
    drop((client, agent));

    let agent = start();
    let mut client = agent.client().await;
    let done = client.expect(&received, "RFDONE ").await;
    let path = base64::engine::general_purpose::URL_SAFE
        .decode(word(&done, 1))
        .unwrap();
    let path = String::from_utf8(path).unwrap();
    assert!(path.ends_with("/big.bin"), "{path}");
    assert!(std::fs::read(&path).unwrap() == content);

    let routers = client.ask("", "SRV xftp", "SRV xftp://").await;
    assert!(routers.contains(" roles=storage"), "{routers}");
    client.ask("", "VER 7", "VER 7 ").await;
    client
        .ask(&sent, &with_body("FDEL remote", sender), "OK")
        .await;
    client.expect(&sent, "SFDEL").await;
    assert_eq!(server.numbers().await.unwrap().0.used, 0);
    client.ask(&received, "FDEL", "OK").await;
    assert!(!Path::new(&path).exists());
    client.ask(&received, "FDEL", "ERR FILE NO_FILE").await;
    server.stop().await.unwrap();
}

/// The most memory that a process has had, in KB.
fn most_memory(process: &Process) -> u64 {
    let status = format!("/proc/{}/status", process.child.0.id());
    let status = std::fs::read_to_string(status).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1);
    kilobytes.unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute, and half a gigabyte of disk"]
async fn a_large_file_needs_no_more_memory_than_a_small_one() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = file_router::routers(directory.path()).await;
    let files = directory.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let server_option = address.address.to_string();
    let options = [
        "--no-token",
        "--files",
        "files",
        "--file-server",
        &server_option,
    ];
    let mut most = Vec::new();
    for megabytes in [1, 200] {
        let content = vec![megabytes; usize::from(megabytes) * 1_000_000];
        std::fs::write(files.join("file.bin"), content).unwrap();
        let name = format!("agent{megabytes}");
        let agent = Process::start(directory.path(), &router, &name, &options);
        let mut client = agent.client().await;
        let began = std::time::Instant::now();
        let sent = begun(&mut client, "FSND :file.bin").await;
        let done = client.expect(&sent, "SFDONE ").await;
        let (_, recipient) = done.rsplit_once(&format!("{}\n", "#".repeat(32))).unwrap();
        let (sending, began) = (began.elapsed(), std::time::Instant::now());
        let receive = format!("FRCV {}\r\n{recipient}", recipient.len());
        let received = begun(&mut client, &receive).await;
        client.expect(&received, "RFDONE ").await;
        let memory = most_memory(&agent);
        eprintln!(
            "{megabytes} MB: sent in {sending:?}, received in {:?}, {memory} KB",
            began.elapsed()
        );
        most.push(memory);
        client.ask(&received, "FDEL", "OK").await;
    }
    assert!(most[1] < most[0] + 40_000, "{most:?}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn users_are_made_on_purpose_and_stay() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let start = || Process::start(directory.path(), &router, "agent", &["--no-token"]);
    let agent = start();
    let mut client = agent.client().await;
    client.ask("", "VER 7", "VER 7 ").await;
    client.ask("", "USER 2", "ERR NO_USER").await;
    client.ask("", "USER DEL 2", "ERR NO_USER").await;
    client.ask("a", "NEW T INV user=2", "ERR NO_USER").await;
    assert_eq!(client.ask("", "USERS", "USERS").await, "USERS 1");
    client.ask("", "USER NEW", "USER 2").await;
    client.ask("", "USER 2", "OK").await;
    client.ask("a", "NEW T INV", "INV ").await;
    drop((client, agent));

    let agent = start();
    let mut client = agent.client().await;
    client.ask("", "VER 7", "VER 7 ").await;
    assert_eq!(client.ask("", "USERS", "USERS").await, "USERS 1,2");
    client.ask("", "SUBALL user=2", "OK").await;
    client.ask("", "USER DEL 2", "OK").await;
    client.expect("a", "DEL_RCVQ ").await;
    client.expect("a", "DEL_CONN").await;
    client.expect("", "DEL_USER 2").await;
    assert_eq!(client.ask("", "USERS", "USERS").await, "USERS 1");
}

#[tokio::test]
async fn an_agent_without_files_refuses_them() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let agent = Process::start(directory.path(), &router, "agent", &["--no-token"]);
    let mut client = agent.client().await;
    let refused = client.ask("", "FSND :agent.db", "ERR").await;
    assert!(refused.starts_with("ERR CMD PROHIBITED"), "{refused}");
}

#[tokio::test]
async fn a_socket_is_for_its_owner_only_and_needs_no_token() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let private = PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(directory.path(), private).unwrap();
    let path = directory.path().join("agent.sock");
    // Of an agent that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let start = |database| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_smp-agent"))
            .current_dir(directory.path())
            .args(["--server", &router.address.to_string()])
            .args(["--socket", "agent.sock", "--database", database])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (Ending(child), lines)
    };
    let (_agent, mut lines) = start("first.db");
    let line = lines.next().expect("it starts").unwrap();
    assert_eq!(line, "SMP agent listening on agent.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let stream = UnixStream::connect(&path).await.unwrap();
    let mut stream = tokio::io::BufReader::new(stream);
    let mut heard = String::new();
    stream.read_line(&mut heard).await.unwrap();
    assert!(heard.starts_with("Welcome to SMP agent v"), "{heard}");
    stream.write_all(b"1\r\n\r\nPING\r\n").await.unwrap();
    heard.clear();
    for _ in 0..3 {
        stream.read_line(&mut heard).await.unwrap();
    }
    assert_eq!(heard, "1\r\n\r\nOK\r\n");

    // A second one leaves the first one's socket alone.
    let (mut second, mut lines) = start("second.db");
    assert!(lines.next().is_none());
    assert!(!second.0.wait().unwrap().success());
    UnixStream::connect(&path).await.unwrap();
}

/// A client of the time before flags and post-quantum keys, with one of today.
#[tokio::test]
async fn the_dialect_of_version_0_5_is_spoken() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let of_alice = Process::start(directory.path(), &router, "alice", &["--no-token"]);
    let of_bob = Process::start(directory.path(), &router, "bob", &["--no-token"]);
    let (mut alice, mut bob) = (of_alice.client().await, of_bob.client().await);
    alice.ask("", "VER 0", "VER 0").await;
    let invitation = alice.ask("bob", "NEW INV", "INV ").await;
    let link = word(&invitation, 1);
    bob.ask("alice", &format!("JOIN {link} :bob"), "OK").await;
    let confirmation = alice.expect("bob", "CONF ").await;
    let name = word(&confirmation, 1);
    assert_eq!(confirmation, format!("CONF {name} 3\nbob"));
    alice.ask("bob", &format!("LET {name} :alice"), "OK").await;
    bob.expect("alice", "INFO pq=disable 5\nalice").await;
    bob.expect("alice", "CON pq=disable").await;
    alice.expect("bob", "CON").await;
    let accepted = alice.ask("bob", "SEND :hello", "MID ").await;
    assert_eq!(accepted.split(' ').count(), 2, "{accepted}");
    let message = bob.expect("alice", "MSG OK R=").await;
    let number = number_of(&message).to_owned();
    // The receipt is nothing that she knows of, and does not stand in the way.
    bob.ask("alice", &format!("ACK {number} :"), "OK").await;
    bob.ask("alice", "SEND F :and you", "MID ").await;
    let message = alice.expect("bob", "MSG OK R=").await;
    let sent = word(&message, 4).strip_prefix("S=").unwrap();
    assert!(sent.contains(",20"), "{message}");
    assert!(message.ends_with(" 7\nand you"), "{message}");
    alice.ask("bob", "OFF", "OK").await;
    bob.ask("alice", "SEND F :too late", "MID ").await;
    let failed = bob.expect("alice", "MERR ").await;
    assert!(
        failed.ends_with(&format!(" SMP {} AUTH", router.address)),
        "{failed}"
    );
    alice.ask("bob", "DEL", "OK").await;
}

#[tokio::test]
async fn a_link_to_nothing_is_refused_and_its_name_is_free_again() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let agent = Process::start(directory.path(), &router, "agent", &["--no-token"]);
    let (mut alice, mut bob) = (agent.client().await, agent.client().await);
    let invitation = alice.ask("gone", "NEW T INV subscribe", "INV ").await;
    let link = word(&invitation, 1).to_owned();
    alice.ask("gone", "DEL", "OK").await;
    let join = format!("JOIN T {link} subscribe :bob");
    let refused = bob.ask("alice", &join, "ERR ").await;
    assert_eq!(refused, format!("ERR SMP {} AUTH", router.address));
    let invitation = alice.ask("bob", "NEW T INV subscribe", "INV ").await;
    let link = word(&invitation, 1).to_owned();
    let join = format!("JOIN T {link} subscribe :bob");
    bob.ask("alice", &join, "OK").await;
    alice.expect("bob", "CONF ").await;
    // One name, one connection.
    let taken = alice.ask("bob", "NEW T INV", "ERR ").await;
    assert_eq!(taken, "ERR CONN DUPLICATE");
    let taken = bob.ask("bob", "NEW T INV", "ERR ").await;
    assert_eq!(taken, "ERR CONN DUPLICATE");
    alice.ask("bob", "CHK", "STAT ").await;
    alice.ask("bob", "SEND F :x", "ERR CONN SIMPLEX").await;
    // Asking for what is not there takes no name.
    bob.ask("free", "SEND F :x", "ERR CONN NOT_FOUND").await;
    alice.ask("free", "NEW T INV", "INV ").await;
}

#[tokio::test]
async fn a_router_that_goes_is_told_with_its_connections() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let agent = Process::start(directory.path(), &router, "agent", &["--no-token"]);
    let mut client = agent.client().await;
    client.ask("bob", "NEW T INV subscribe", "INV ").await;
    let mut other = agent.client().await;
    let down = format!("DOWN {} Ym9i", router.address);
    // It is subscribed to when the router has answered what was asked later.
    client.ask("bob", "QINF", "QINF ").await;
    router.stop().await;
    while client.hear().await.2 != down {}
    // Whoever owns nothing hears of the session only.
    assert_eq!(other.hear().await.2, "DISCONNECT smp 127.0.0.1");
}

#[tokio::test]
async fn what_dialect_7_adds_is_understood() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
    let agent = Process::start(directory.path(), &router, "agent", &["--no-token"]);
    let mut client = agent.client().await;
    let command = format!("SRV TEST {}", router.address);
    client.ask("", &command, "OK").await;
    client
        .ask("", "SRV TEST smp://YQ==@127.0.0.1:1", "ERR BROKER ")
        .await;
    client.ask("", "VER 7", "VER 7 ").await;
    let routers = client.ask("", "SRV smp", "SRV ").await;
    assert_eq!(
        routers,
        format!("SRV {} roles=storage+proxy", router.address)
    );
    let made = client
        .ask("address", "NEW T CON only-create link=T :my card", "INV ")
        .await;
    let (full, short) = (word(&made, 1), word(&made, 2));
    let stat = client.ask("address", "CHK", "STAT ").await;
    assert!(stat.contains(";status=new;sub=F snd= sync=ok"), "{stat}");
    client.ask("address", "GET", "OK").await;
    let info = client.ask("address", "QINF", "QINF ").await;
    assert!(info.contains("{\"qiSnd\":false,"), "{info}");
    let data = client.ask("", &format!("LGET {short}"), "LDATA ").await;
    assert!(
        data.starts_with(&format!("LDATA {full} direct=T owners=0 7\nmy card")),
        "{data}"
    );
    let refused = client.ask("", "NAME alice.simplex", "ERR ").await;
    assert_eq!(refused, "ERR NO_NAME_SERVERS");
    client.ask("", "NET online=F", "OK").await;
    client.ask("", "NET online=T", "OK").await;
    client.ask("", "SUBALL", "OK").await;
    client.ask("address", "GET", "ERR CMD PROHIBITED ").await;
    client.send("1", "", "SUBS address,nothing").await;
    client.expect("", "OK").await;
    client.expect("nothing", "ERR CONN NOT_FOUND").await;
    // A client that is asked by another's questions does not answer them.
    let mut other = agent.client().await;
    other.ask("address", "ACK 1", "ERR CMD PROHIBITED").await;
}
