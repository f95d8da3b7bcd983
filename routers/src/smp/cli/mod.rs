//! The command line of `smp-server`.

mod files;
mod init;
mod questions;
mod start;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::files::JournalCommand;
use self::init::{Init, initialize};
use self::start::run;
use super::doctor;
use super::server::{self, ServerError};
use super::settings::SettingsError;
use super::store::StoreError;
use super::store::backup::Contents;
use super::store::export::ExportError;
use super::store::import::ImportError;
use crate::backup::{AskError, BackupError};
use crate::cli::{
    self, Backup, Cert, Delete, Doctor, Export, LogLevel, RemoveError, Restore, Unhealthy, log, say,
};
pub use crate::directories::Directories;
use crate::directories::Names;
use crate::identity::IdentityError;

/// What its files are called.
pub(crate) const FILES: Names = Names {
    configuration: ("SMP_SERVER_CFG_PATH", "/etc/opt/simplex"),
    data: ("SMP_SERVER_LOG_PATH", "/var/opt/simplex"),
    ini: "smp-server.ini",
    store: "smp-server-store",
    socket: server::SOCKET,
};

/// What `--version` says, and the first line of every start.
const VERSION: &str = concat!("SMP server v", env!("CARGO_PKG_VERSION"));

/// An SMP router: it passes messages between SimpleX clients, and keeps them until they are received.
#[derive(Debug, Parser)]
#[command(
    name = "smp-server",
    disable_version_flag = true,
    after_help = "Configuration is in /etc/opt/simplex (or $SMP_SERVER_CFG_PATH), data in /var/opt/simplex (or $SMP_SERVER_LOG_PATH).\n\n\
        Try it:      smp-server run --dir ./smp\n\
        Set it up:   smp-server init --fqdn smp.example.com --yes && smp-server start"
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
    /// Write queues and messages as files of the reference implementation. The router must not run.
    Export(Export),
    /// Write a backup of queues and messages to a file, also while the router runs.
    Backup(Backup),
    /// Make the store of a router from a backup, or only look whether the backup is whole.
    Restore(Restore),
    /// What the reference implementation does with its journal of messages.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// What the reference implementation does with PostgreSQL: not supported, with the way out.
    #[command(hide = true)]
    Database {
        /// import, export or delete.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Look for what keeps the router from running well.
    Doctor(Doctor),
    /// Remove configuration, certificates and data.
    Delete(Delete),
}

#[derive(Debug, Clone, Args)]
struct Start {
    /// Open and check the store, then end.
    #[arg(short = 'm', long)]
    maintenance: bool,
    /// Has no effect: this store needs no compaction at start.
    #[arg(long)]
    compact_log: bool,
    /// Has no effect: nothing is asked at start.
    #[arg(long)]
    skip_warnings: bool,
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
    /// The ports of a router that is initialized now.
    #[arg(long, default_value = "5223")]
    port: String,
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
        "PostgreSQL is not supported. To move such a router here, run the reference's `smp-server database export` and then start this router on the same directories: it takes over the files"
    )]
    Database,
    #[error(
        "{0} was not taken over: start the router, or run `smp-server journal import`, before it is removed"
    )]
    NotTakenOver(PathBuf),
    #[error("{path} cannot be {done}: {error}")]
    File {
        path: PathBuf,
        done: &'static str,
        error: io::Error,
    },
    #[error("{0} is there already: the router is initialized; `smp-server delete` removes it")]
    Initialized(PathBuf),
    #[error(
        "`init` asks a few questions, and there was no answer: `smp-server init --yes` asks none"
    )]
    NoAnswer,
    #[error(transparent)]
    Remove(#[from] RemoveError),
    #[error(transparent)]
    Unhealthy(#[from] Unhealthy),
    #[error("`{0}` is not a port, or ports separated by commas")]
    Ports(String),
    #[error("`{0}` cannot be a password: it must be printable, without spaces, `@`, `:` and `/`")]
    Password(String),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    cli::run("smp-server", execute)
}

fn execute(cli: Cli) -> Result<(), CliError> {
    let directories = FILES.of_machine();
    match cli.command {
        _ if cli.version => Ok(say(VERSION)?),
        None => {
            let help = <Cli as clap::CommandFactory>::command().render_help();
            Ok(say(&help.to_string())?)
        }
        Some(Command::Init(init)) => {
            if directories.ini().exists() {
                return Err(CliError::Initialized(directories.ini()));
            }
            let init = match init.yes {
                true => *init,
                false => questions::ask(*init, &mut io::stdin().lock(), &mut io::stdout())?,
            };
            initialize(&directories, &init, "5223,443").map(|_| ())
        }
        Some(Command::Cert(cert)) => cli::renew(&directories, &cert),
        Some(Command::Start(start)) => {
            // A router goes on if nobody reads what it says.
            say(VERSION).ok();
            log(start.log_level);
            run(&directories, start.maintenance)
        }
        Some(Command::Run(command)) => {
            say(VERSION).ok();
            log(command.log_level);
            let directories = FILES.within(&command.dir);
            if !directories.ini().exists() {
                initialize(&directories, &Init::for_run(), &command.port)?;
            }
            run(&directories, false)
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
        Some(Command::Journal(command)) => {
            log(LogLevel::Info);
            files::journal(&directories, command)
        }
        Some(Command::Database { .. }) => Err(CliError::Database),
        Some(Command::Doctor(doctor)) => {
            let directories = directories.or_within(doctor.dir.as_deref());
            cli::report(&doctor::examine(&directories))
        }
        Some(Command::Delete(delete)) => Ok(cli::remove(
            &directories,
            &delete,
            "certificates, queues and messages",
        )?),
    }
}
