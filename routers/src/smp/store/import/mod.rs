//! Takes over what a router of the reference has kept.
//!
//! ```text
//!   smp-server-store.log ──▶ services, queues
//!   smp-server-messages.log, messages/ ──▶ messages
//!   smp-server-ntfs.log ──▶ notifications
//!   smp-server-stats.log ──▶ statistics
//! ```
//! Files of any size are read line by line and never changed. What cannot be understood is reported with the number of its line, and the
//! rest is taken. How far the import has come is kept in the store, together with what was taken: one that was interrupted goes on
//! where it was, and one that is done is not repeated.

mod journal;
mod lines;
mod messages;
mod progress;
mod queues;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use simplex_sans_io::smp::router::store::{Change, Load, Loaded};
use simplex_sans_io::smp::storelog::StatisticsBackup;

use self::lines::Lines;
use self::progress::{Progress, Stage};
use super::{Store, StoreError};

/// The files of a router. Those that it does not have are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sources {
    /// The log of queues.
    pub store_log: Option<PathBuf>,
    /// The log of messages.
    pub message_log: Option<PathBuf>,
    /// The directory with the journals of messages.
    pub journals: Option<PathBuf>,
    /// The log of notifications.
    pub notification_log: Option<PathBuf>,
    /// The statistics.
    pub statistics: Option<PathBuf>,
}

impl Sources {
    /// The files of the router whose log directory this is.
    #[must_use]
    pub fn find(directory: &Path) -> Self {
        let file = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
        Self {
            // It is left when the reference was interrupted while it wrote the log anew: then it is the complete one.
            store_log: file("smp-server-store.log.start").or_else(|| file("smp-server-store.log")),
            message_log: file("smp-server-messages.log"),
            journals: file("messages"),
            notification_log: file("smp-server-ntfs.log"),
            statistics: file("smp-server-stats.log"),
        }
    }

    /// Whether there is nothing to import.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What an import tells while it runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// How far it has come in a file.
    Progress {
        /// The file.
        path: &'a Path,
        /// The bytes that were read.
        read: u64,
        /// All bytes of the file.
        size: u64,
    },
    /// Something was not taken, or not all of it.
    Problem {
        /// The file.
        path: &'a Path,
        /// The line, if it is about one.
        line: Option<u64>,
        /// What is wrong with it, without any of its contents.
        problem: String,
    },
}

/// What was taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Lines that were read.
    pub lines: u64,
    /// Problems that were reported.
    pub problems: u64,
    /// Services.
    pub services: u64,
    /// Queues that exist now.
    pub queues: u64,
    /// Messages.
    pub messages: u64,
    /// Notifications.
    pub notifications: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} queues, {} messages, {} notifications and {} services imported from {} lines, {} problems",
            self.queues,
            self.messages,
            self.notifications,
            self.services,
            self.lines,
            self.problems
        )
    }
}

/// Why an import did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store has failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The store has queues of its own.
    #[error("the store is not empty: import into a new one")]
    NotEmpty,
    /// It was done before.
    #[error("everything was imported before: {0}")]
    Done(Summary),
}

impl ImportError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// What was imported into a store, if an import into it has come to its end.
pub fn imported(store: &mut dyn Store) -> Result<Option<Summary>, StoreError> {
    let progress = Progress::of(store)?;
    Ok(progress
        .filter(|progress| progress.stage == Stage::Done)
        .map(|progress| progress.summary))
}

/// Takes over everything from these files.
pub fn import(
    store: &mut dyn Store,
    sources: &Sources,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, ImportError> {
    import_within(&Limits::default(), store, sources, watch)
}

/// How much is stored together.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Queues and services.
    queues: usize,
    /// Bytes of messages.
    bytes: usize,
    /// Notifications.
    notifications: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queues: 2000,
            bytes: 8 << 20,
            notifications: 10_000,
        }
    }
}

fn import_within(
    limits: &Limits,
    store: &mut dyn Store,
    sources: &Sources,
    watch: &mut dyn FnMut(Event<'_>),
) -> Result<Summary, ImportError> {
    let progress = match Progress::of(store)? {
        Some(progress) if progress.stage == Stage::Done => {
            return Err(ImportError::Done(progress.summary));
        }
        Some(progress) => progress,
        None if is_empty(store)? => Progress::default(),
        None => return Err(ImportError::NotEmpty),
    };
    let mut import = Import {
        limits: *limits,
        store,
        watch,
        progress,
    };
    while let Some(stage) = import.run(sources)? {
        import.progress.enter(stage);
        import.commit(Vec::new())?;
        import.store.sync()?;
    }
    Ok(import.progress.summary)
}

fn is_empty(store: &mut dyn Store) -> Result<bool, StoreError> {
    let loaded = store.load(&Load::Totals)?;
    Ok(matches!(loaded, Loaded::Totals(totals) if totals.queues == 0))
}

struct Import<'a> {
    limits: Limits,
    store: &'a mut dyn Store,
    watch: &'a mut dyn FnMut(Event<'_>),
    progress: Progress,
}

impl Import<'_> {
    /// Completes a stage, and returns the next one.
    fn run(&mut self, sources: &Sources) -> Result<Option<Stage>, ImportError> {
        let stage = self.progress.stage;
        match (stage, source(sources, stage)) {
            (Stage::Queues, Some(path)) => queues::import(self, path)?,
            (Stage::Messages, Some(path)) => messages::import_messages(self, path)?,
            (Stage::Journals, Some(path)) => journal::import(self, path)?,
            (Stage::Notifications, Some(path)) => messages::import_notifications(self, path)?,
            (Stage::Statistics, Some(path)) => self.statistics(path)?,
            (_, None) | (Stage::Done, _) => {}
        }
        Ok(stage.next())
    }

    /// Stores changes, together with the place up to which everything was read.
    fn commit(&mut self, changes: Vec<Change>) -> Result<(), ImportError> {
        let note = self.progress.note();
        self.store.apply_noting(&[changes], &[note])?;
        Ok(())
    }

    fn problem(&mut self, path: &Path, line: Option<u64>, problem: &dyn fmt::Display) {
        let problems = &mut self.progress.summary.problems;
        *problems = problems.saturating_add(1);
        (self.watch)(Event::Problem {
            path,
            line,
            problem: problem.to_string(),
        });
    }

    fn progressed(&mut self, path: &Path, lines: &Lines) {
        let (read, size) = (lines.offset(), lines.size());
        (self.watch)(Event::Progress { path, read, size });
    }

    fn statistics(&mut self, path: &Path) -> Result<(), ImportError> {
        const LIMIT: u64 = 1 << 20;
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(ImportError::io(path))?;
        let read = io::Read::read_to_string(&mut io::Read::take(file, LIMIT), &mut text);
        read.map_err(ImportError::io(path))?;
        match StatisticsBackup::parse(&text) {
            Err(error) => self.problem(path, None, &error),
            Ok((backup, unknown)) => {
                for line in unknown {
                    let line = u64::try_from(line).unwrap_or(u64::MAX);
                    self.problem(path, Some(line), &"not known, and left out");
                }
                let mut lines = format!("fromTime={}\n", backup.from_time().seconds());
                for (heading, name, number) in backup.counters() {
                    let dot = if heading.is_empty() { "" } else { "." };
                    lines.push_str(&format!("{heading}{dot}{name}={number}\n"));
                }
                self.commit(vec![Change::PutStatistics(lines.into())])?;
            }
        }
        Ok(())
    }
}

fn source(sources: &Sources, stage: Stage) -> Option<&Path> {
    match stage {
        Stage::Queues => sources.store_log.as_deref(),
        Stage::Messages => sources.message_log.as_deref(),
        Stage::Journals => sources.journals.as_deref(),
        Stage::Notifications => sources.notification_log.as_deref(),
        Stage::Statistics => sources.statistics.as_deref(),
        Stage::Done => None,
    }
}
