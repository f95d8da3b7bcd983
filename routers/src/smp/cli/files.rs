//! `export`, `backup`, `restore` and `journal`: queues and messages as files.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use simplex_sans_io::wire::utc::UtcTime;

use super::start::open_store;
use super::{CliError, Directories};
use crate::cli::{RemoveError, confirm, now, say};
use crate::smp::settings::{Settings, StoreKind};
use crate::smp::store::export::export;
use crate::smp::store::import::imported;
use crate::smp::store::{EmbeddedStore, Options, Store as _};

/// What the reference implementation does with its journal.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum JournalCommand {
    /// Take over queues and messages of the reference implementation, as the first start does.
    Import,
    /// Write queues and messages as its files: the same as `export`.
    Export {
        /// A directory that has no such files yet; `export` beside the store, if none is named.
        #[arg(long)]
        to: Option<PathBuf>,
    },
    /// Remove its journal, after it was taken over.
    Delete(DeleteJournal),
}

#[derive(Debug, Clone, Args)]
pub(super) struct DeleteJournal {
    /// Do not ask.
    #[arg(short = 'y', long)]
    yes: bool,
}

pub(super) fn export_files(directories: &Directories, to: &Path) -> Result<(), CliError> {
    let settings = Settings::read(&directories.ini())?;
    let mut store = open_store(&settings, directories)?;
    fs::create_dir_all(to).map_err(|error| CliError::File {
        path: to.to_owned(),
        done: "made",
        error,
    })?;
    let summary = export(store.as_mut(), to, UtcTime::from_seconds(now().seconds()))?;
    store.close()?;
    say(&format!(
        "{} queues, {} messages, {} notifications and {} services written to {}.",
        summary.queues,
        summary.messages,
        summary.notifications,
        summary.services,
        to.display()
    ))?;
    match summary.unreadable_for_reference {
        0 => Ok(()),
        count => Ok(say(&format!(
            "{count} of them the reference implementation cannot read, because they are empty: start it with --skip-warnings."
        ))?),
    }
}

/// The directory of the store, of a router that has one.
pub(super) fn store_of(directories: &Directories) -> Result<PathBuf, CliError> {
    match Settings::read(&directories.ini())?.store {
        StoreKind::Embedded { .. } => Ok(directories.store()),
        StoreKind::Memory => Err(CliError::InMemory(directories.ini())),
    }
}

pub(super) fn journal(directories: &Directories, command: JournalCommand) -> Result<(), CliError> {
    match command {
        JournalCommand::Import => {
            let settings = Settings::read(&directories.ini())?;
            let mut store = open_store(&settings, directories)?;
            let summary = imported(store.as_mut())?;
            store.close()?;
            match summary {
                Some(summary) => say(&format!("In the embedded store: {summary}"))?,
                None => say("There is nothing to take over.")?,
            }
            Ok(())
        }
        JournalCommand::Export { to } => {
            let to = to.unwrap_or_else(|| directories.data.join("export"));
            export_files(directories, &to)
        }
        JournalCommand::Delete(DeleteJournal { yes }) => {
            let journal = directories.data.join("messages");
            let mut store = EmbeddedStore::open(&store_of(directories)?, Options::default())?;
            let taken_over = imported(&mut store)?.is_some();
            Box::new(store).close()?;
            if !journal.is_dir() {
                return Ok(say("There is no journal.")?);
            }
            if !taken_over {
                return Err(CliError::NotTakenOver(journal));
            }
            let warning = format!("WARNING: this removes {}.", journal.display());
            if !confirm(yes, &warning)? {
                return Err(RemoveError::NotConfirmed.into());
            }
            fs::remove_dir_all(&journal).map_err(|error| CliError::File {
                path: journal,
                done: "removed",
                error,
            })?;
            Ok(say("Deleted the journal.")?)
        }
    }
}
