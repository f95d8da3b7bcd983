//! An agent in a process of its own, and those who speak to it as people with telnet do.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::router::Router;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// An agent in a process of its own, which ends with the test.
pub(crate) struct Process {
    #[allow(dead_code, reason = "not every test waits for its end")]
    pub(crate) child: Ending,
    pub(crate) port: u16,
    token: Option<String>,
}

impl Process {
    pub(crate) fn start(directory: &Path, router: &Router, name: &str, options: &[&str]) -> Self {
        Self::logging(directory, router, name, options, Stdio::inherit())
    }

    /// One that writes its log there.
    pub(crate) fn logging(
        directory: &Path,
        router: &Router,
        name: &str,
        options: &[&str],
        log: Stdio,
    ) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_smp-agent"))
            .current_dir(directory)
            .args(["--port", "0", "--server", &router.address.to_string()])
            .args(["--database", &format!("{name}.db")])
            .args(["--token-file", &format!("{name}.token")])
            .args(options)
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || lines.next().expect("it starts").unwrap();
        let port = line();
        let port = port.strip_prefix("SMP agent listening on port ").unwrap();
        let token = (!options.contains(&"--no-token")).then(|| {
            let said = line();
            assert!(said.ends_with(&format!("the token is in {name}.token")));
            let token = std::fs::read_to_string(directory.join(format!("{name}.token")));
            token.unwrap().trim_end().to_owned()
        });
        Self {
            child: Ending(child),
            port: port.parse().unwrap(),
            token,
        }
    }

    pub(crate) async fn client(&self) -> Client {
        let mut client = self.stranger().await;
        if let Some(token) = &self.token {
            client.introduce(token).await;
        }
        client
    }

    pub(crate) async fn stranger(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let (reader, writer) = stream.into_split();
        let mut client = Client {
            reader: tokio::io::BufReader::new(reader),
            writer,
            early: VecDeque::new(),
        };
        assert!(client.line().await.starts_with("Welcome to SMP agent v"));
        client
    }
}

/// A process that ends with the test.
pub(crate) struct Ending(pub(crate) Child);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(crate) struct Client {
    reader: tokio::io::BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// Events that came before the answer that was waited for, as they may.
    early: VecDeque<Heard>,
}

/// A correlation id, an entity, and a command whose body stands after a line feed.
type Heard = (String, String, String);

impl Client {
    pub(crate) async fn introduce(&mut self, token: &str) {
        self.send("a", "", &format!("AUTH :{token}")).await;
        assert_eq!(self.line().await, "a");
        self.line().await;
        assert_eq!(self.line().await, "OK");
    }

    pub(crate) async fn send(&mut self, corr_id: &str, entity: &str, command: &str) {
        let text = format!("{corr_id}\r\n{entity}\r\n{command}\r\n");
        self.writer.write_all(text.as_bytes()).await.unwrap();
    }

    pub(crate) async fn line(&mut self) -> String {
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

    /// Waits until the agent has ended the session, which says nothing more.
    #[allow(dead_code, reason = "not every test is turned away")]
    pub(crate) async fn gone(&mut self) {
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).await.ok();
        assert_eq!(rest, "");
    }

    /// The next transmission.
    pub(crate) async fn hear(&mut self) -> Heard {
        match self.early.pop_front() {
            Some(heard) => heard,
            None => self.read().await,
        }
    }

    async fn read(&mut self) -> Heard {
        let (corr_id, entity, mut command) =
            (self.line().await, self.line().await, self.line().await);
        const BODIES: [&str; 8] = [
            "MSG ", "CONF ", "REQ ", "INFO ", "QINF ", "NAME ", "LDATA ", "SFDONE ",
        ];
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
    pub(crate) async fn expect(&mut self, entity: &str, tag: &str) -> String {
        loop {
            let (_, of, command) = self.hear().await;
            let harmless = ["CONNECT ", "SENT ", "DISCONNECT ", "SFPROG ", "RFPROG "];
            if of == entity && command.starts_with(tag) {
                return command;
            }
            let passes = harmless.iter().any(|tag| command.starts_with(tag));
            assert!(passes, "{of}: {command} instead of {tag}");
        }
    }

    pub(crate) async fn ask(&mut self, entity: &str, command: &str, tag: &str) -> String {
        self.send("7", entity, command).await;
        loop {
            let heard = self.read().await;
            if heard.0 == "7" {
                assert_eq!(heard.1, entity);
                assert!(heard.2.starts_with(tag), "{} instead of {tag}", heard.2);
                return heard.2;
            }
            self.early.push_back(heard);
        }
    }
}

pub(crate) fn word(line: &str, number: usize) -> &str {
    line.split([' ', '\n']).nth(number).unwrap()
}
