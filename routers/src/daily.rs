//! The file of daily statistics: a line for each day.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use simplex_sans_io::time::UnixTime;
use simplex_sans_io::wire::utc::UtcTime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::ini::Switch;

/// Has the file written among the `tasks` of a router, if it is wanted: where it is told of days.
pub(crate) fn open(
    tasks: &mut JoinSet<()>,
    wanted: Switch,
    path: PathBuf,
) -> Option<UnboundedSender<String>> {
    wanted.is_on().then(|| {
        let (days, told) = unbounded_channel();
        tasks.spawn(write(path, told));
        days
    })
}

/// Appends lines until nobody tells of any more.
async fn write(path: PathBuf, mut lines: UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        let to = path.clone();
        let written = tokio::task::spawn_blocking(move || append(&to, &line)).await;
        if let Ok(Err(error)) = written {
            tracing::warn!(%error, "the statistics of a day cannot be written to {}", path.display());
        }
    }
}

fn append(path: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    file.sync_all()
}

/// The date of a day.
pub(crate) fn date(day: UnixTime) -> String {
    let time = UtcTime::from_seconds(day.seconds()).to_string();
    time.split('T').next().unwrap_or_default().to_owned()
}

/// A number that is told when its period is over.
pub(crate) fn at_end(over: bool, number: u64) -> String {
    match over {
        true => number.to_string(),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn days_are_appended() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("days");
        for line in ["2026-11-28,1", "2026-11-29,2"] {
            let (lines, told) = unbounded_channel();
            lines.send(line.to_owned()).unwrap();
            drop(lines);
            write(path.clone(), told).await;
        }
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text, "2026-11-28,1\n2026-11-29,2\n");
    }
}
