//! What a monitoring system reads: a file, and a page on the loopback address.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use simplex_sans_io::time::UnixTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::identity::{Privacy, write_file};
use crate::ports::{self, PortError, Reach};

/// The longest request.
const REQUEST: usize = 8192;

/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many readers at a time.
const READERS: usize = 64;

/// Something that is measured.
pub(crate) trait Measured: Clone + Send + Sync + 'static {
    /// How it goes, in the words of Prometheus; nothing if it stops.
    fn text(&self) -> impl Future<Output = Option<String>> + Send;

    /// What is to be said of it while it does what it is there for; nothing if it does not.
    fn readiness(&self) -> impl Future<Output = Option<String>> + Send;
}

/// Samples in the words of Prometheus. Names begin with that of the router.
pub(crate) struct Exposition {
    text: String,
    prefix: &'static str,
    milliseconds: i64,
}

impl Exposition {
    pub(crate) const fn new(prefix: &'static str, now: UnixTime) -> Self {
        Self {
            text: String::new(),
            prefix,
            milliseconds: now.seconds().saturating_mul(1000),
        }
    }

    pub(crate) fn counter(&mut self, name: &str, labels: &str, value: u64) {
        self.sample("counter", name, labels, value);
    }

    pub(crate) fn gauge(&mut self, name: &str, labels: &str, value: u64) {
        self.sample("gauge", name, labels, value);
    }

    /// The version, and what the runtime of the reference is told in this variable, which has no effect here.
    pub(crate) fn info(&mut self, variable: &str) {
        let options = label(&std::env::var(variable).unwrap_or_default());
        let version = env!("CARGO_PKG_VERSION");
        let info = format!("version=\"{version}\",rts_options=\"{options}\"");
        self.gauge("info", &info, 1);
    }

    /// How many values were at most as great as each bound, how many there were, and all of them together.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        buckets: impl Iterator<Item = (u32, u64)>,
        count: u64,
        sum: u64,
    ) {
        self.declare("histogram", name);
        for (bound, value) in buckets {
            self.write(&format!("{name}_bucket"), &format!("le=\"{bound}\""), value);
        }
        self.write(&format!("{name}_bucket"), "le=\"+Inf\"", count);
        self.write(&format!("{name}_sum"), "", sum);
        self.write(&format!("{name}_count"), "", count);
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn sample(&mut self, kind: &str, name: &str, labels: &str, value: u64) {
        self.declare(kind, name);
        self.write(name, labels, value);
    }

    fn declare(&mut self, kind: &str, name: &str) {
        let prefix = self.prefix;
        let declared = format!("# TYPE {prefix}_{name} {kind}\n");
        if !self.text.contains(&declared) {
            self.text.push_str(&declared);
        }
    }

    fn write(&mut self, name: &str, labels: &str, value: u64) {
        let prefix = self.prefix;
        let labels = match labels {
            "" => String::new(),
            labels => format!("{{{labels}}}"),
        };
        let milliseconds = self.milliseconds;
        writeln!(self.text, "{prefix}_{name}{labels} {value} {milliseconds}").ok();
    }
}

/// Writes a file again and again, until the future is dropped.
pub(crate) async fn write(measured: impl Measured, path: PathBuf, interval: Duration) {
    let mut ticks = tokio::time::interval(interval.max(Duration::from_secs(1)));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(text) = measured.text().await else {
            return;
        };
        let path = path.clone();
        let written =
            tokio::task::spawn_blocking(move || write_file(&path, &text, Privacy::Public));
        if let Ok(Err(error)) = written.await {
            tracing::warn!(%error, "the file of metrics cannot be written");
        }
    }
}

/// Serves `/metrics`, `/health/live` and `/health/ready` on this port, if there is one: where.
pub(crate) async fn open(
    tasks: &mut JoinSet<()>,
    port: Option<u16>,
    measured: impl Measured,
) -> Result<Option<SocketAddr>, PortError> {
    let serve = move |stream| {
        let measured = measured.clone();
        async move {
            let answered = tokio::time::timeout(PATIENCE, answer(&measured, stream));
            answered.await.ok();
        }
    };
    ports::open(tasks, port, Reach::Machine, READERS, serve).await
}

async fn answer(measured: &impl Measured, mut stream: TcpStream) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() >= REQUEST || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = match path(&request) {
        Some("/metrics") => match measured.text().await {
            Some(text) => ("200 OK", text),
            None => ("503 Service Unavailable", "stopping\n".to_owned()),
        },
        Some("/health/live") => ("200 OK", "live\n".to_owned()),
        Some("/health/ready") => match measured.readiness().await {
            Some(notes) => ("200 OK", format!("ready\n{notes}")),
            None => ("503 Service Unavailable", "stopping\n".to_owned()),
        },
        Some(_) => (
            "404 Not Found",
            "there are /metrics, /health/live and /health/ready\n".to_owned(),
        ),
        None => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

fn path(request: &[u8]) -> Option<&str> {
    let line = request.split(|byte| *byte == b'\r').next()?;
    let rest = std::str::from_utf8(line).ok()?.strip_prefix("GET ")?;
    rest.split([' ', '?']).next()
}

/// The value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_with_get_is_answered() {
        assert_eq!(
            path(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"),
            Some("/metrics")
        );
        assert_eq!(
            path(b"GET /health/live?x=1 HTTP/1.0\r\n\r\n"),
            Some("/health/live")
        );
        assert_eq!(path(b"POST /metrics HTTP/1.1\r\n\r\n"), None);
        assert_eq!(path(b"\xff\xff\r\n"), None);
    }

    #[test]
    fn labels_are_quoted() {
        assert_eq!(label("-N \"a\\b\"\n"), "-N \\\"a\\\\b\\\"\\n");
    }
}
