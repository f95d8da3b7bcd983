//! A router as a process.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use simplex_sans_io::wire::{ServerAddress, XftpScheme};

/// A router in a process of its own, which ends with the test.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: ServerAddress<XftpScheme>,
    pub(crate) port: u16,
    /// What it has said at its start.
    pub(crate) banner: Vec<String>,
}

impl Process {
    pub(crate) fn start(directory: &Path) -> Self {
        Self::started(&["run", "--port", "0", "--dir", directory.to_str().unwrap()])
    }

    fn started(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_xftp-server"))
            .args(arguments)
            .env("XFTP_RTS_OPTIONS", "-N2")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut banner = Vec::new();
        let port = loop {
            let line = lines.next().expect("the router starts").unwrap();
            let port = line
                .strip_prefix("Listening on port ")
                .and_then(|rest| rest.strip_suffix("..."))
                .and_then(|port| port.parse().ok());
            banner.push(line);
            if let Some(port) = port {
                break port;
            }
        };
        let fingerprint = value(&banner, "Fingerprint: ");
        let address = format!("xftp://{fingerprint}@127.0.0.1:{port}");
        Self {
            child,
            address: address.parse().unwrap(),
            port,
            banner,
        }
    }

    /// What follows a label in what it has said.
    pub(crate) fn said(&self, label: &str) -> String {
        value(&self.banner, label)
    }

    pub(crate) fn metrics(&self) -> SocketAddr {
        let url = self.said("Metrics: http://");
        url.strip_suffix("/metrics").unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Has it end in an orderly way, and waits for it.
    pub(crate) async fn stop(mut self) {
        self.signal(rustix::process::Signal::TERM);
        let ended = tokio::task::spawn_blocking(move || self.child.wait());
        assert!(ended.await.unwrap().unwrap().success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn value(lines: &[String], label: &str) -> String {
    let found = lines.iter().find_map(|line| line.strip_prefix(label));
    found
        .unwrap_or_else(|| panic!("no {label} in {lines:?}"))
        .to_owned()
}

pub(crate) fn ini(directory: &Path) -> PathBuf {
    directory.join("config/file-server.ini")
}

/// A router that was started once, and stopped.
pub(crate) async fn initialized(directory: &Path) {
    Process::start(directory).stop().await;
}

/// Changes the configuration of a router.
pub(crate) fn configure(directory: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(ini(directory)).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(ini(directory), text.replace(from, to)).unwrap();
}

/// Runs another command of the program to its end, on a directory of `run`.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xftp-server"))
        .args(arguments)
        .arg("--dir")
        .arg(directory)
        .output()
        .unwrap()
}

/// The same, for commands that know no such directory.
pub(crate) fn command_of_machine(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xftp-server"))
        .args(arguments)
        .env("XFTP_SERVER_CFG_PATH", directory.join("config"))
        .env("XFTP_SERVER_LOG_PATH", directory.join("data"))
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What such a command has said.
pub(crate) fn said(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// What a port of this machine answers.
pub(crate) async fn talk(address: SocketAddr, said: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(said.as_bytes()).await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    heard
}
