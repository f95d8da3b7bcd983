//! The program, as people with telnet see it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod router;

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use router::Router;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UnixStream};

/// An agent in a process of its own, which ends with the test.
struct Process {
    child: Ending,
    port: u16,
    token: Option<String>,
}

impl Process {
    fn start(directory: &Path, router: &Router, name: &str, options: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_smp-agent"))
            .current_dir(directory)
            .args(["--port", "0", "--server", &router.address.to_string()])
            .args(["--database", &format!("{name}.db")])
            .args(["--token-file", &format!("{name}.token")])
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().expect("it starts").unwrap();
        let port = line();
        let port = port.strip_prefix("SMP agent listening on port ").unwrap();
        let token = (!options.contains(&"--no-token")).then(|| {
            let line = line();
            line.rsplit(' ').next().unwrap().to_owned()
        });
        Self {
            child: Ending(child),
            port: port.parse().unwrap(),
            token,
        }
    }

    async fn client(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (reader, writer) = stream.into_split();
        let mut client = Client {
            reader: tokio::io::BufReader::new(reader),
            writer,
        };
        assert!(client.line().await.starts_with("Welcome to SMP agent v"));
        if let Some(token) = &self.token {
            client.send("a", "", &format!("AUTH :{token}")).await;
            assert_eq!(client.line().await, "a");
            client.line().await;
            assert_eq!(client.line().await, "OK");
        }
        client
    }
}

/// A process that ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

struct Client {
    reader: tokio::io::BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Client {
    async fn send(&mut self, corr_id: &str, entity: &str, command: &str) {
        let text = format!("{corr_id}\r\n{entity}\r\n{command}\r\n");
        self.writer.write_all(text.as_bytes()).await.unwrap();
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.reader.read_line(&mut line);
        let count = tokio::time::timeout(Duration::from_secs(30), read).await;
        assert_ne!(
            count.expect("a line comes").unwrap(),
            0,
            "the agent has gone"
        );
        line.trim_end_matches(['\r', '\n']).to_owned()
    }

    /// The next transmission; its body stands after a line feed.
    async fn hear(&mut self) -> (String, String, String) {
        let (corr_id, entity, mut command) =
            (self.line().await, self.line().await, self.line().await);
        const BODIES: [&str; 4] = ["MSG ", "CONF ", "REQ ", "INFO "];
        if BODIES.iter().any(|tag| command.starts_with(tag)) {
            let size = command.rsplit(' ').next().unwrap().parse().unwrap();
            let mut body = vec![0; size];
            self.reader.read_exact(&mut body).await.unwrap();
            assert_eq!(self.line().await, "");
            command = format!("{command}\n{}", String::from_utf8(body).unwrap());
        }
        (corr_id, entity, command)
    }

    /// The next transmission that begins like that.
    async fn expect(&mut self, entity: &str, tag: &str) -> String {
        loop {
            let (_, of, command) = self.hear().await;
            let harmless = ["CONNECT ", "UP ", "SENT ", "DISCONNECT "];
            if of == entity && command.starts_with(tag) {
                return command;
            }
            let passes = harmless.iter().any(|tag| command.starts_with(tag));
            assert!(passes, "{of}: {command} instead of {tag}");
        }
    }

    async fn ask(&mut self, entity: &str, command: &str, tag: &str) -> String {
        self.send("7", entity, command).await;
        self.expect(entity, tag).await
    }
}

fn word(line: &str, number: usize) -> &str {
    line.split([' ', '\n']).nth(number).unwrap()
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
    alice
        .send("2", "bob", &format!("LET {name} 10\nI am Alice"))
        .await;
    // The line end of `send` is that of the body.
    alice.expect("bob", "OK").await;
    let info = bob.expect("alice", "INFO pq=enable").await;
    assert!(info.ends_with("\nI am Alice"));
    bob.expect("alice", "CON pq=enable").await;
    alice.expect("bob", "CON pq=").await;

    let accepted = alice.ask("bob", "SEND F :hello", "MID ").await;
    assert!(accepted.ends_with(" pq=enable"), "{accepted}");
    let message = bob.expect("alice", "MSG OK R=").await;
    assert!(message.contains(" PQ=pq=enable F 5\nhello"), "{message}");
    let number = word(&message, 2).strip_prefix("R=").unwrap();
    let number = number.split(',').next().unwrap();
    bob.ask("alice", &format!("ACK {number} :"), "OK").await;
    let receipt = alice.expect("bob", "RCVD OK R=").await;
    assert!(receipt.ends_with(":ok"), "{receipt}");
    let own = word(&receipt, 2).strip_prefix("R=").unwrap();
    let own = own.split(',').next().unwrap();
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

    // Another client of the same agent takes the connection.
    let mut other = of_bob.client().await;
    other.ask("alice", "SUB", "OK").await;
    bob.expect("alice", "END").await;
    bob.ask("alice", "SEND F :no", "ERR CMD PROHIBITED").await;
    alice.ask("bob", "SEND F :again", "MID ").await;
    other.expect("alice", "MSG OK R=").await;
    alice.ask("bob", "DEL", "OK").await;
    alice.ask("bob", "SEND F :gone", "ERR CONN NOT_FOUND").await;
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
    let agent = Process::start(directory.path(), &router, "agent", &[]);
    let mut client = agent.client().await;
    let cases = [
        ("", "HELLO", "ERR CMD SYNTAX parseCommand"),
        ("", "NEW T hi subscribe", "ERR CMD SYNTAX parseCommand"),
        ("", "JOIN", "ERR CMD SYNTAX parseCommand"),
        ("", "SUB", "ERR CMD NO_CONN tConnId"),
        ("bob", "OK", "ERR CMD PROHIBITED fromParty"),
        ("bob", "SUB", "ERR CONN NOT_FOUND"),
        ("", "PING", "OK"),
        ("", "VER 7", "VER 7 links,receipts,pq,users"),
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

#[tokio::test]
async fn a_socket_is_for_its_owner_only_and_needs_no_token() {
    let router = Router::start().await;
    let directory = tempfile::tempdir().unwrap();
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
