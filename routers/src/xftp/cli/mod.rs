//! The command line of `xftp-server`.

mod files;
mod init;
mod start;

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::init::{Init, initialize, renew};
use self::start::run;
use super::doctor;
use super::export::ExportError;
use super::import::ImportError;
use super::server::{self, ServerError};
use super::settings::SettingsError;
use super::store::StoreError;
use super::store::backup::BackupError;
use crate::backups::AskError;
use crate::cli::{self, Cert, LogLevel, confirm, log, say, say_all};
use crate::identity::IdentityError;

const INI: &str = "file-server.ini";

/// What every start, and `init`, begins with.
const VERSION: &str = concat!("XFTP server v", env!("CARGO_PKG_VERSION"));

/// An XFTP router: it keeps encrypted chunks of files until they are received, or expire.
#[derive(Debug, Parser)]
#[command(
    name = "xftp-server",
    disable_version_flag = true,
    after_help = "Configuration is in /etc/opt/simplex-xftp (or $XFTP_SERVER_CFG_PATH), data in /var/opt/simplex-xftp (or $XFTP_SERVER_LOG_PATH).\n\n\
        Try it:      xftp-server run --dir ./xftp --port 7443\n\
        Set it up:   xftp-server init --fqdn xftp.example.com --path /srv/xftp --quota 100gb && xftp-server start"
)]
pub struct Cli {
    /// Print the version.
    #[arg(short = 'v', long)]
    version: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the certificates and the configuration file of a new router.
    Init(Box<Init>),
    /// Make a new TLS certificate; the identity, and so the address, stays. Needs ca.key.
    Cert(Cert),
    /// Run the router.
    Start(Start),
    /// Run a router in one directory, which is initialized if need be.
    Run(Run),
    /// Write records as the store log of the reference implementation. The router must not run. Chunks stay where they are.
    Export(Export),
    /// Write a backup of the records to a file, also while the router runs. Chunks are files of their own.
    Backup(Backup),
    /// Make the store of a router from a backup, or only look whether the backup is whole.
    Restore(Restore),
    /// What the reference implementation does with PostgreSQL: not supported, with the way out.
    #[command(hide = true)]
    Database {
        /// import or export.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Look for what keeps the router from running well.
    Doctor(Doctor),
    /// Remove configuration, certificates and records. Chunks stay.
    Delete(Delete),
}

#[derive(Debug, Clone, Args)]
struct Start {
    /// Has no effect: there is no database whose tables change.
    #[arg(long, value_parser = ["up", "down"])]
    confirm_migrations: Option<String>,
    /// How much is logged.
    #[arg(long, value_enum, default_value = "info")]
    log_level: LogLevel,
}

#[derive(Debug, Clone, Args)]
struct Run {
    /// Where everything is kept.
    #[arg(long)]
    dir: PathBuf,
    /// The port of a router that is initialized now.
    #[arg(long, default_value_t = 443)]
    port: u16,
    /// How much is logged.
    #[arg(long, value_enum, default_value = "info")]
    log_level: LogLevel,
}

#[derive(Debug, Clone, Args)]
struct Export {
    /// A directory that has no such files yet.
    #[arg(long)]
    to: PathBuf,
    /// The directory of `run`, if that is how the router is run.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct Backup {
    /// A file that does not exist yet. A running router writes it, as far as it may.
    #[arg(long)]
    to: PathBuf,
    /// The directory of `run`, if that is how the router is run.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct Restore {
    /// The backup.
    #[arg(long)]
    from: PathBuf,
    /// Only read the backup from its beginning to its end.
    #[arg(long)]
    verify: bool,
    /// The directory of `run`, if that is how the router is run.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct Doctor {
    /// The directory of `run`, if that is how the router is run.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
struct Delete {
    /// Do not ask.
    #[arg(short = 'y', long)]
    yes: bool,
}

/// Where the files of a router are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// Configuration and certificates.
    pub configuration: PathBuf,
    /// Data.
    pub data: PathBuf,
}

impl Directories {
    fn of_machine() -> Self {
        let path = |variable, default: &str| match env::var_os(variable) {
            Some(path) if !path.is_empty() => PathBuf::from(path),
            Some(_) | None => PathBuf::from(default),
        };
        Self {
            configuration: path("XFTP_SERVER_CFG_PATH", "/etc/opt/simplex-xftp"),
            data: path("XFTP_SERVER_LOG_PATH", "/var/opt/simplex-xftp"),
        }
    }

    fn within(directory: &Path) -> Self {
        Self {
            configuration: directory.join("config"),
            data: directory.join("data"),
        }
    }

    /// The configuration file.
    #[must_use]
    pub fn ini(&self) -> PathBuf {
        self.configuration.join(INI)
    }

    /// The directory of the embedded store.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.data.join("file-server-store")
    }

    /// Where a running router is asked for backups.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.data.join(server::SOCKET)
    }

    /// Those of a command that may name a directory.
    fn or_within(self, directory: Option<&Path>) -> Self {
        directory.map_or(self, Self::within)
    }
}

#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Backup(#[from] BackupError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the router keeps nothing on disk: [STORE_LOG] in {0} is off")]
    InMemory(PathBuf),
    #[error(
        "PostgreSQL is not supported. To move such a router here, run the reference's `xftp-server database export` and then start this router on the same directories: it takes over the files"
    )]
    Database,
    #[error("{path} cannot be {done}: {error}")]
    File {
        path: PathBuf,
        done: &'static str,
        error: io::Error,
    },
    #[error("{0} is there already: the router is initialized; `xftp-server delete` removes it")]
    Initialized(PathBuf),
    #[error("not removed: the answer was not Y")]
    NotConfirmed,
    #[error("{0} things are wrong")]
    Unhealthy(usize),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    cli::run("xftp-server", execute)
}

fn execute(cli: Cli) -> Result<(), CliError> {
    let directories = Directories::of_machine();
    match cli.command {
        _ if cli.version => Ok(say(VERSION)?),
        None => {
            let help = <Cli as clap::CommandFactory>::command().render_help();
            Ok(say(&help.to_string())?)
        }
        Some(Command::Init(init)) => initialize(&directories, &init, 443),
        Some(Command::Cert(cert)) => renew(&directories, &cert),
        Some(Command::Start(start)) => {
            log(start.log_level);
            run(&directories)
        }
        Some(Command::Run(command)) => {
            log(command.log_level);
            let directories = Directories::within(&command.dir);
            if !directories.ini().exists() {
                let init = Init::for_run(command.dir.join("files"));
                initialize(&directories, &init, command.port)?;
            }
            run(&directories)
        }
        Some(Command::Export(command)) => {
            log(LogLevel::Info);
            let directories = directories.or_within(command.dir.as_deref());
            files::export_files(&directories, &command.to)
        }
        Some(Command::Backup(command)) => {
            let directories = directories.or_within(command.dir.as_deref());
            files::back_up(&directories, &command.to)
        }
        Some(Command::Restore(command)) if command.verify => files::verify_backup(&command.from),
        Some(Command::Restore(command)) => {
            let directories = directories.or_within(command.dir.as_deref());
            files::restore_from(&directories, &command.from)
        }
        Some(Command::Database { .. }) => Err(CliError::Database),
        Some(Command::Doctor(doctor)) => {
            let directories = directories.or_within(doctor.dir.as_deref());
            match say_all(&doctor::examine(&directories))? {
                0 => Ok(()),
                wrong => Err(CliError::Unhealthy(wrong)),
            }
        }
        Some(Command::Delete(delete)) => remove(&directories, delete.yes),
    }
}

fn remove(directories: &Directories, confirmed: bool) -> Result<(), CliError> {
    let Directories {
        configuration,
        data,
    } = directories;
    let warning = format!(
        "WARNING: this removes {} and {}: certificates and records of files are lost for ever.",
        configuration.display(),
        data.display()
    );
    if !confirm(confirmed, &warning)? {
        return Err(CliError::NotConfirmed);
    }
    for path in [configuration, data] {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = path.clone();
                return Err(CliError::File {
                    path,
                    done: "removed",
                    error,
                });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(say("Deleted configuration and data.")?)
}
