//! The command line of `xftp-server`.

mod files;
mod init;
mod start;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::init::{Init, initialize};
use self::start::run;
use super::doctor;
use super::export::ExportError;
use super::import::ImportError;
use super::server::{self, ServerError};
use super::settings::SettingsError;
use super::store::StoreError;
use super::store::backup::Contents;
use crate::backup::{AskError, BackupError};
use crate::cli::{
    self, Backup, Cert, Delete, Doctor, Export, LogLevel, RemoveError, Restore, Unhealthy, log, say,
};
pub use crate::directories::Directories;
use crate::directories::Names;
use crate::identity::IdentityError;

/// What its files are called.
pub(crate) const FILES: Names = Names {
    configuration: ("XFTP_SERVER_CFG_PATH", "/etc/opt/simplex-xftp"),
    data: ("XFTP_SERVER_LOG_PATH", "/var/opt/simplex-xftp"),
    ini: "file-server.ini",
    store: "file-server-store",
    socket: server::SOCKET,
};

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
    #[error(transparent)]
    Remove(#[from] RemoveError),
    #[error(transparent)]
    Unhealthy(#[from] Unhealthy),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    cli::run("xftp-server", execute)
}

fn execute(cli: Cli) -> Result<(), CliError> {
    let directories = FILES.of_machine();
    match cli.command {
        _ if cli.version => Ok(say(VERSION)?),
        None => {
            let help = <Cli as clap::CommandFactory>::command().render_help();
            Ok(say(&help.to_string())?)
        }
        Some(Command::Init(init)) => initialize(&directories, &init, 443),
        Some(Command::Cert(cert)) => cli::renew(&directories, &cert),
        Some(Command::Start(start)) => {
            log(start.log_level);
            run(&directories)
        }
        Some(Command::Run(command)) => {
            log(command.log_level);
            let directories = FILES.within(&command.dir);
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
            let store = || files::store_of(&directories);
            cli::back_up::<Contents, _>(&directories, store, &command.to)
        }
        Some(Command::Restore(command)) if command.verify => {
            cli::verify_backup::<Contents, _>(&command.from)
        }
        Some(Command::Restore(command)) => {
            let directories = directories.or_within(command.dir.as_deref());
            let store = files::store_of(&directories)?;
            cli::restore::<Contents, _>(&directories, &store, &command.from)
        }
        Some(Command::Database { .. }) => Err(CliError::Database),
        Some(Command::Doctor(doctor)) => {
            let directories = directories.or_within(doctor.dir.as_deref());
            cli::report(&doctor::examine(&directories))
        }
        Some(Command::Delete(delete)) => Ok(cli::remove(
            &directories,
            &delete,
            "certificates and records of files",
        )?),
    }
}
