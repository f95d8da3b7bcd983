//! `export`, `backup` and `restore`: records as files.

use std::fs;
use std::path::{Path, PathBuf};

use super::start::take_over;
use super::{CliError, Directories};
use crate::cli::say;
use crate::xftp::export::export;
use crate::xftp::settings::{Settings, StoreKind};
use crate::xftp::store::Store;

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

/// The directory of the store, of a router that has one.
pub(super) fn store_of(directories: &Directories) -> Result<PathBuf, CliError> {
    match Settings::read(&directories.ini())?.store {
        StoreKind::Embedded => Ok(directories.store()),
        StoreKind::Memory => Err(CliError::InMemory(directories.ini())),
    }
}
