//! `export`, `backup` and `restore`: records as files.

use std::fs;
use std::path::{Path, PathBuf};

use super::start::take_over;
use super::{CliError, Directories};
use crate::backups::{AskError, ask};
use crate::cli::say;
use crate::xftp::export::export;
use crate::xftp::settings::{Settings, StoreKind};
use crate::xftp::store::Store;
use crate::xftp::store::backup::{backup, restore, verify};

pub(super) fn export_files(directories: &Directories, to: &Path) -> Result<(), CliError> {
    let settings = Settings::read(&directories.ini())?;
    let mut store = Store::open(&store_of(directories)?)?;
    take_over(&mut store, &settings, directories)?;
    fs::create_dir_all(to).map_err(|error| CliError::File {
        path: to.to_owned(),
        done: "made",
        error,
    })?;
    let summary = export(&mut store, &settings.files, to)?;
    store.close()?;
    Ok(say(&format!(
        "{} files, {} of them with a chunk, and {} recipients written to {}. The chunks stay in {}.",
        summary.files,
        summary.chunks,
        summary.recipients,
        to.display(),
        settings.files.display()
    ))?)
}

/// A running router makes the backup itself; otherwise it is made from the store.
pub(super) fn back_up(directories: &Directories, to: &Path) -> Result<(), CliError> {
    let to = std::path::absolute(to)?;
    let contents = match ask(&directories.socket(), &to) {
        Ok(contents) => contents,
        Err(AskError::NotRunning) => {
            let mut store = Store::open(&store_of(directories)?)?;
            let contents = backup(store.snapshot()?.as_ref(), &to)?.to_string();
            store.close()?;
            contents
        }
        Err(error) => return Err(error.into()),
    };
    Ok(say(&format!("{}: {contents}", to.display()))?)
}

pub(super) fn verify_backup(from: &Path) -> Result<(), CliError> {
    let contents = verify(from)?;
    Ok(say(&format!("{} is whole: {contents}", from.display()))?)
}

pub(super) fn restore_from(directories: &Directories, from: &Path) -> Result<(), CliError> {
    let store = store_of(directories)?;
    fs::create_dir_all(&directories.data)?;
    let contents = restore(from, &store)?;
    Ok(say(&format!("{}: {contents}", store.display()))?)
}

/// The directory of the store, of a router that has one.
fn store_of(directories: &Directories) -> Result<PathBuf, CliError> {
    match Settings::read(&directories.ini())?.store {
        StoreKind::Embedded => Ok(directories.store()),
        StoreKind::Memory => Err(CliError::InMemory(directories.ini())),
    }
}
