//! Where the files of a router are.

use std::env;
use std::path::{Path, PathBuf};

/// What the files of a kind of router are called.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The variable that says where the configuration is, and where it is otherwise.
    pub(crate) configuration: (&'static str, &'static str),
    /// The same of the data.
    pub(crate) data: (&'static str, &'static str),
    /// The configuration file.
    pub(crate) ini: &'static str,
    /// The directory of the embedded store.
    pub(crate) store: &'static str,
    /// Where a running router is asked for backups.
    pub(crate) socket: &'static str,
}

/// Where the files of a router are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// Configuration and certificates.
    pub configuration: PathBuf,
    /// Data.
    pub data: PathBuf,
    names: &'static Names,
}

impl Names {
    /// The directories of the router of a machine.
    pub(crate) fn of_machine(&'static self) -> Directories {
        let path = |(variable, default): (&str, &str)| match env::var_os(variable) {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            Some(_) | None => PathBuf::from(default),
        };
        Directories {
            configuration: path(self.configuration),
            data: path(self.data),
            names: self,
        }
    }

    /// The directories of a router that keeps everything in one.
    pub(crate) fn within(&'static self, directory: &Path) -> Directories {
        Directories {
            configuration: directory.join("config"),
            data: directory.join("data"),
            names: self,
        }
    }
}

impl Directories {
    /// The configuration file.
    #[must_use]
    pub fn ini(&self) -> PathBuf {
        self.configuration.join(self.names.ini)
    }

    /// The directory of the embedded store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.data.join(self.names.store)
    }

    /// Where a running router is asked for backups.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.join(self.names.socket)
    }

    /// Those of a command that may name a directory.
    pub(crate) fn or_within(self, directory: Option<&Path>) -> Self {
        match directory {
            Some(directory) => self.names.within(directory),
            None => self,
        }
    }
}
