//! A router that the bench starts and stops itself.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use simplex_sans_io::wire::{ServerAddress, SmpScheme};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::BenchError;
use crate::process::Process;

/// How long a router may take to say where it listens.
const START: Duration = Duration::from_secs(120);
/// How long it may take to stop.
const STOP: Duration = Duration::from_secs(30);

/// A router in a process of its own, which ends with this.
#[derive(Debug)]
pub(crate) struct Started {
    child: Child,
    /// Where it listens.
    pub(crate) address: ServerAddress<SmpScheme>,
}

impl Started {
    /// Runs a command of the shell, and waits for the two lines in which a router says who it is and where it listens.
    pub(crate) async fn start(command: &str) -> Result<Self, BenchError> {
        let failed = |reason: String| BenchError::Start {
            command: command.to_owned(),
            reason,
        };
        let mut child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let (sender, mut lines) = mpsc::unbounded_channel();
        let stdout = child.stdout.take();
        // It reads on, so that the router never waits for somebody to read what it says.
        thread::spawn(move || {
            for line in stdout
                .into_iter()
                .flat_map(|out| BufReader::new(out).lines())
            {
                let Ok(line) = line else { return };
                sender.send(line).ok();
            }
        });
        let address = timeout(START, async {
            let fingerprint = line_with(&mut lines, "Fingerprint: ").await?;
            let port = line_with(&mut lines, "Serving SMP protocol on port ").await?;
            let port = port.split(' ').next().unwrap_or_default();
            format!("smp://{fingerprint}@127.0.0.1:{port}").parse().ok()
        });
        let address = match address.await {
            Ok(Some(address)) => Ok(address),
            Ok(None) => Err(failed(
                "has ended without saying where it listens".to_owned(),
            )),
            Err(_) => Err(failed(format!("has said nothing for {START:?}"))),
        };
        match address {
            Ok(address) => Ok(Self { child, address }),
            Err(error) => {
                child.kill().ok();
                child.wait()?;
                Err(error)
            }
        }
    }

    pub(crate) fn process(&self) -> Process {
        Process(self.child.id())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<(), BenchError> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).map_err(std::io::Error::from)?;
        }
        timeout(STOP, async {
            while self.child.try_wait()?.is_none() {
                sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        })
        .await
        // One that does not want to is killed.
        .unwrap_or(Ok(()))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

async fn line_with(lines: &mut mpsc::UnboundedReceiver<String>, label: &str) -> Option<String> {
    loop {
        let line = lines.recv().await?;
        if let Some(rest) = line.strip_prefix(label) {
            return Some(rest.to_owned());
        }
    }
}
