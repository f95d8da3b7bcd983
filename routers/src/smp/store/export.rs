//! Writes what a store keeps as the files of the reference's routers.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use simplex_sans_io::smp::router::store::{
    Load, Loaded, LoadedQueue, MessageContent, MessageRecord, QueueRecord,
};
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::smp::storelog::{
    LogRecord, MessageLine, NotificationLine, StatisticsBackup, compact,
};
use simplex_sans_io::wire::EntityId;
use simplex_sans_io::wire::utc::UtcTime;

use super::{Store, StoreError};

/// Queues that are read at a time.
const PAGE: usize = 1000;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Services.
    pub services: u64,
    /// Queues.
    pub queues: u64,
    /// Messages.
    pub messages: u64,
    /// Notifications.
    pub notifications: u64,
    /// Messages and links that the reference cannot read, because they are empty or a part of them is. It does not start with such messages unless
    /// it is told to skip them.
    pub unreadable_for_reference: u64,
}

/// Why an export did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ExportError {
    fn io(path: &Path) -> impl Fn(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path: path.clone(),
            source,
        }
    }
}

/// Writes all files into a directory. None of them must exist.
pub fn export(
    store: &mut dyn Store,
    directory: &Path,
    now: UtcTime,
) -> Result<Summary, ExportError> {
    let mut summary = Summary::default();
    let mut queues = Output::create(directory.join("smp-server-store.log"))?;
    let mut messages = Output::create(directory.join("smp-server-messages.log"))?;
    let mut notifications = Output::create(directory.join("smp-server-ntfs.log"))?;
    for service in store.services()? {
        queues.line(LogRecord::NewService(Box::new(service)))?;
        count(&mut summary.services);
    }
    let mut after = EntityId::EMPTY;
    loop {
        let page = store.queues_after(&after, PAGE)?;
        let Some(last) = page.last() else { break };
        after = last.recipient_id.clone();
        for queue in page {
            write_messages(store, &queue, &mut messages, &mut summary)?;
            write_notifications(store, &queue, &mut notifications, &mut summary)?;
            count(&mut summary.queues);
            let link = queue.link.as_ref().map(|link| &link.data);
            if link.is_some_and(|data| data.fixed.is_empty() || data.user.is_empty()) {
                count(&mut summary.unreadable_for_reference);
            }
            for record in compact(queue) {
                queues.line(record)?;
            }
        }
    }
    let mut statistics = Output::create(directory.join("smp-server-stats.log"))?;
    statistics.text(&statistics_of(store, now)?.to_string())?;
    for output in [queues, messages, notifications, statistics] {
        output.finish()?;
    }
    Ok(summary)
}

fn write_messages(
    store: &mut dyn Store,
    queue: &QueueRecord,
    output: &mut Output,
    summary: &mut Summary,
) -> Result<(), ExportError> {
    let recipient_id = &queue.recipient_id;
    let load = Load::Queue(Party::Recipient, recipient_id.clone());
    let Loaded::Queue(Some(loaded)) = store.load(&load)? else {
        return Ok(());
    };
    let LoadedQueue { position, .. } = *loaded;
    let mut from = position.head;
    while from < position.tail {
        let load = Load::Messages {
            queue: recipient_id.clone(),
            from,
            before: position.tail,
        };
        let Loaded::Messages(messages) = store.load(&load)? else {
            return Ok(());
        };
        let Some((last, _)) = messages.last() else {
            return Ok(());
        };
        from = last.saturating_add(1);
        for (_, message) in messages {
            if is_empty(&message) {
                count(&mut summary.unreadable_for_reference);
            }
            let recipient_id = recipient_id.clone();
            output.line(MessageLine {
                recipient_id,
                message,
            })?;
            count(&mut summary.messages);
        }
    }
    Ok(())
}

fn write_notifications(
    store: &mut dyn Store,
    queue: &QueueRecord,
    output: &mut Output,
    summary: &mut Summary,
) -> Result<(), ExportError> {
    let Some(notifier) = &queue.notifier else {
        return Ok(());
    };
    let load = Load::Notifications(notifier.id.clone());
    let Loaded::Notifications(notifications) = store.load(&load)? else {
        return Ok(());
    };
    for (_, notification) in notifications {
        output.line(NotificationLine {
            notifier_id: notifier.id.clone(),
            notification,
        })?;
        count(&mut summary.notifications);
    }
    Ok(())
}

fn statistics_of(store: &mut dyn Store, now: UtcTime) -> Result<StatisticsBackup, ExportError> {
    let Loaded::Totals(totals) = store.load(&Load::Totals)? else {
        return Ok(StatisticsBackup::new(now));
    };
    let text = totals.statistics.unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let values = || text.lines().filter_map(|line| line.split_once('='));
    let since = values().find(|(name, _)| *name == "fromTime");
    let since = since.and_then(|(_, seconds)| seconds.parse().ok());
    let mut backup = StatisticsBackup::new(since.map_or(now, UtcTime::from_seconds));
    for (name, value) in values() {
        let (heading, name) = name.split_once('.').unwrap_or(("", name));
        if let Ok(number) = value.parse() {
            backup.set(heading, name, number);
        }
    }
    let queues = i64::try_from(totals.queues).unwrap_or(i64::MAX);
    backup.set("", "qCount", queues);
    Ok(backup)
}

fn is_empty(message: &MessageRecord) -> bool {
    match &message.content {
        MessageContent::Sent { body, .. } => body.is_empty(),
        MessageContent::Quota => false,
    }
}

const fn count(number: &mut u64) {
    *number = number.saturating_add(1);
}

/// A new file that only its owner may read.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Output {
    fn create(path: PathBuf) -> Result<Self, ExportError> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(ExportError::io(&path))?;
        Ok(Self {
            path,
            file: BufWriter::new(file),
        })
    }

    fn line(&mut self, line: impl std::fmt::Display) -> Result<(), ExportError> {
        writeln!(self.file, "{line}").map_err(ExportError::io(&self.path))
    }

    fn text(&mut self, text: &str) -> Result<(), ExportError> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(ExportError::io(&self.path))
    }

    fn finish(mut self) -> Result<(), ExportError> {
        let written = self
            .file
            .flush()
            .and_then(|()| self.file.get_ref().sync_all());
        written.map_err(ExportError::io(&self.path))
    }
}
