//! The control port: lines of text on the loopback address, for the operator.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use simplex_sans_io::wire::BasicAuth;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::ports::{self, PortError, Reach};
use crate::process::Process;

/// The longest line.
const LINE: u64 = 4096;

/// How many operators at a time.
const OPERATORS: usize = 16;

/// How long an operator may say nothing: there is room for a few only.
const SILENCE: Duration = Duration::from_secs(15 * 60);

/// What one session of the control port may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    /// Hardly anything.
    None,
    /// What users may.
    User,
    /// Everything.
    Admin,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "CPRNone",
            Self::User => "CPRUser",
            Self::Admin => "CPRAdmin",
        }
    }

    /// Takes the role of a password, once.
    pub(crate) fn authorize(
        &mut self,
        password: &str,
        admin: Option<&BasicAuth>,
        user: Option<&BasicAuth>,
    ) -> String {
        if *self != Self::None {
            return format!(
                "Current role is {}, start new session to change.\n",
                self.name()
            );
        }
        let password = password.parse::<BasicAuth>().ok();
        let is = |expected: Option<&BasicAuth>| expected.is_some() && expected == password.as_ref();
        if is(admin) {
            *self = Self::Admin;
        } else if is(user) {
            *self = Self::User;
        }
        format!("Current role is {}\n", self.name())
    }
}

/// Who does what a line says.
pub(crate) trait Operator: Clone + Send + Sync + 'static {
    /// What a session begins with.
    const BANNER: &str;

    /// The answer to a line, with the end of its own last line.
    fn execute(&self, role: &mut Role, line: &str) -> impl Future<Output = String> + Send;
}

/// Opens the control port, if there is one: where.
pub(crate) async fn open(
    tasks: &mut JoinSet<()>,
    port: Option<u16>,
    operator: impl Operator,
) -> Result<Option<SocketAddr>, PortError> {
    let serve = move |stream| serve(stream, operator.clone());
    ports::open(tasks, port, Reach::Machine, OPERATORS, serve).await
}

async fn serve(stream: TcpStream, operator: impl Operator) {
    if let Err(error) = converse(stream, &operator).await {
        tracing::debug!(%error, "a session of the control port ended");
    }
}

async fn converse<O: Operator>(mut stream: TcpStream, operator: &O) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    let banner = format!("{}\n'help' for supported commands\n", O::BANNER);
    writer.write_all(banner.as_bytes()).await?;
    let mut role = Role::None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut reader).take(LINE);
        let read = timeout(SILENCE, limited.read_until(b'\n', &mut line)).await;
        if read.is_err() {
            let end = b"error: nothing was asked for too long, start a new session\n";
            return writer.write_all(end).await;
        }
        read??;
        if line.last() != Some(&b'\n') {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if text == "quit" {
            return Ok(());
        }
        let answer = operator.execute(&mut role, text).await;
        writer.write_all(answer.as_bytes()).await?;
    }
}

/// How many tasks there are.
pub(crate) fn tasks() -> usize {
    let runtime = tokio::runtime::Handle::current();
    runtime.metrics().num_alive_tasks()
}

/// The reference implementation tells of the runtime of its language here.
pub(crate) fn runtime() -> String {
    let mut text = format!("tasks: {}\n", tasks());
    let this = Process::this();
    if let Ok(resident) = this.resident() {
        text.push_str(&format!("memory: {resident} bytes\n"));
    }
    if let Ok(cpu) = this.cpu() {
        text.push_str(&format!("cpu: {:.2} seconds\n", cpu.as_secs_f64()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Echo;

    impl Operator for Echo {
        const BANNER: &str = "echo";

        async fn execute(&self, _: &mut Role, line: &str) -> String {
            format!("{line}\n")
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_for_too_long_is_told_to_start_again() {
        let mut tasks = JoinSet::new();
        let opened = open(&mut tasks, Some(0), Echo).await.unwrap();
        let mut operator = TcpStream::connect(opened.unwrap()).await.unwrap();
        operator.write_all(b"hello\n").await.unwrap();
        let mut said = String::new();
        operator.read_to_string(&mut said).await.unwrap();
        let expected = "echo\n'help' for supported commands\nhello\nerror: nothing was asked for too long, start a new session\n";
        assert_eq!(said, expected);
    }
}
