//! What the command lines of routers have in common.

use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, ValueEnum};
use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::wire::TransportHost;
use tracing_subscriber::filter::LevelFilter;

use crate::backup::{self, AskError, BackupError, Contents};
use crate::directories::Directories;
use crate::doctor::Finding;
use crate::identity::{IdentityError, IdentityFiles};
use crate::store::{StoreError, embedded};

/// Does what the command line asks for. Scripts know 1 as the code of whatever goes wrong.
pub(crate) fn run<C: Parser, E: std::error::Error>(
    name: &str,
    execute: impl FnOnce(C) -> Result<(), E>,
) -> ExitCode {
    let command = match C::try_parse_from(crate::arguments::arguments()) {
        Ok(command) => command,
        Err(error) => {
            error.print().ok();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match execute(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "{name}: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

/// Prints a line.
pub(crate) fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// Something is wrong with a router.
#[derive(Debug, thiserror::Error)]
#[error("{0} things are wrong")]
pub(crate) struct Unhealthy(usize);

/// Prints what is known of a router, which is an error if something is wrong.
pub(crate) fn report<E: From<io::Error> + From<Unhealthy>>(findings: &[Finding]) -> Result<(), E> {
    for finding in findings {
        say(&finding.to_string())?;
    }
    match findings
        .iter()
        .filter(|finding| finding.is_problem())
        .count()
    {
        0 => Ok(()),
        wrong => Err(Unhealthy(wrong).into()),
    }
}

/// Whether the answer to a warning is a capital Y, or was given on the command line.
pub(crate) fn confirm(confirmed: bool, warning: &str) -> io::Result<bool> {
    if confirmed {
        return Ok(true);
    }
    write!(io::stdout(), "{warning}\nContinue (Y/n): ")?;
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim_end_matches(['\r', '\n']) == "Y")
}

/// Why a router was not removed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoveError {
    #[error("not removed: the answer was not Y")]
    NotConfirmed,
    #[error("{path} cannot be removed: {error}")]
    Directory { path: PathBuf, error: io::Error },
    #[error("not removed: {0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Removes everything that a router has on this machine.
pub(crate) fn remove(
    directories: &Directories,
    delete: &Delete,
    lost: &str,
) -> Result<(), RemoveError> {
    let (configuration, data) = (&directories.configuration, &directories.data);
    let warning = format!(
        "WARNING: this removes {} and {}: {lost} are lost for ever.",
        configuration.display(),
        data.display()
    );
    if !confirm(delete.yes, &warning)? {
        return Err(RemoveError::NotConfirmed);
    }
    let store = directories.store();
    let _locked = store.exists().then(|| embedded::lock(&store)).transpose()?;
    for path in [configuration, data] {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = path.clone();
                return Err(RemoveError::Directory { path, error });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(say("Deleted configuration and data.")?)
}

/// Has a backup made by the router that runs, or makes it from its `store`.
pub(crate) fn back_up<C: Contents, E>(
    directories: &Directories,
    store: impl FnOnce() -> Result<PathBuf, E>,
    to: &Path,
) -> Result<(), E>
where
    E: From<io::Error> + From<AskError> + From<BackupError>,
{
    let to = std::path::absolute(to)?;
    let contents = match backup::ask(&directories.socket(), &to) {
        Ok(contents) => contents,
        Err(AskError::NotRunning) => backup::backup_at_rest::<C>(&store()?, &to)?.to_string(),
        Err(error) => return Err(error.into()),
    };
    Ok(say(&format!("{}: {contents}", to.display()))?)
}

/// Reads a backup from its beginning to its end.
pub(crate) fn verify_backup<C: Contents, E>(from: &Path) -> Result<(), E>
where
    E: From<io::Error> + From<BackupError>,
{
    let contents = backup::verify::<C>(from)?;
    Ok(say(&format!("{} is whole: {contents}", from.display()))?)
}

/// Makes the `store` of a router from a backup.
pub(crate) fn restore<C: Contents, E>(
    directories: &Directories,
    store: &Path,
    from: &Path,
) -> Result<(), E>
where
    E: From<io::Error> + From<BackupError>,
{
    fs::create_dir_all(&directories.data)?;
    let contents = backup::restore::<C>(from, store)?;
    Ok(say(&format!("{}: {contents}", store.display()))?)
}

/// Makes a new certificate of a router.
pub(crate) fn renew<E: From<io::Error> + From<IdentityError>>(
    directories: &Directories,
    cert: &Cert,
) -> Result<(), E> {
    let certificate = directories.configuration.join("server.crt");
    if !certificate.exists() {
        let missing = format!(
            "there is no certificate to renew, as {} is not there: `init` makes a router",
            certificate.display()
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, missing).into());
    }
    let files = IdentityFiles(&directories.configuration);
    let algorithm = match cert.sign_algorithm {
        Some(algorithm) => algorithm.into(),
        None => files.algorithm()?,
    };
    let name = match &cert.cn {
        Some(name) => name.clone(),
        None => files.name()?,
    };
    let mut rng = simplex_runtime_tokio::rng().map_err(io::Error::other)?;
    let fingerprint = files.renew(algorithm, &name, now(), &mut rng)?;
    say(&format!(
        "New certificate for {name}, signed by {}.\nFingerprint: {fingerprint}\nRestart the router to use it, or send it SIGHUP.",
        directories.configuration.join("ca.key").display()
    ))?;
    Ok(())
}

/// The time.
pub(crate) fn now() -> UnixTime {
    UnixTime::from(SystemTime::now())
}

/// Tells on standard error what happens. A router goes on if that cannot be told.
pub(crate) fn log(level: LogLevel) {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(level))
        .with_target(false)
        .with_writer(io::stderr)
        .log_internal_errors(false)
        .init();
}

/// A value of the command line that is the name or the address of a machine, or several of them separated by commas.
pub(crate) fn host(text: &str) -> Result<String, String> {
    let is_host = |host: &str| host.parse::<TransportHost>().is_ok();
    match text.split(',').all(is_host) {
        true => Ok(text.to_owned()),
        false => Err("it is neither a domain name nor an IP address".to_owned()),
    }
}

/// A value of the command line that is a country.
pub(crate) fn country(text: &str) -> Result<String, String> {
    match text.len() == 2 && text.bytes().all(|letter| letter.is_ascii_alphabetic()) {
        true => Ok(text.to_ascii_uppercase()),
        false => Err("a country is two letters, as in ISO 3166".to_owned()),
    }
}

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Trace,
    Debug,
    Info,
    Note,
    Warn,
    Error,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::TRACE,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info | LogLevel::Note => Self::INFO,
            LogLevel::Warn => Self::WARN,
            LogLevel::Error => Self::ERROR,
        }
    }
}

/// The algorithm of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SignAlgorithm {
    Ed25519,
    Ed448,
}

impl From<SignAlgorithm> for Algorithm {
    fn from(algorithm: SignAlgorithm) -> Self {
        match algorithm {
            SignAlgorithm::Ed25519 => Self::Ed25519,
            SignAlgorithm::Ed448 => Self::Ed448,
        }
    }
}

/// A new certificate.
#[derive(Debug, Clone, Args)]
pub(crate) struct Cert {
    /// The algorithm of the new key; that of the old one otherwise.
    #[arg(short = 'a', long, value_enum, ignore_case = true)]
    pub(crate) sign_algorithm: Option<SignAlgorithm>,
    /// The name in the certificate; that of the old one otherwise.
    #[arg(long)]
    pub(crate) cn: Option<String>,
}

/// Files of the reference implementation.
#[derive(Debug, Clone, Args)]
pub(crate) struct Export {
    /// A directory that has no such files yet.
    #[arg(long)]
    pub(crate) to: PathBuf,
    /// The directory of `run`, if that is how the router is run.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// A backup to be made.
#[derive(Debug, Clone, Args)]
pub(crate) struct Backup {
    /// A file that does not exist yet. A running router writes it, as far as it may.
    #[arg(long)]
    pub(crate) to: PathBuf,
    /// The directory of `run`, if that is how the router is run.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// A backup to be read.
#[derive(Debug, Clone, Args)]
pub(crate) struct Restore {
    /// The backup.
    #[arg(long)]
    pub(crate) from: PathBuf,
    /// Only read the backup from its beginning to its end.
    #[arg(long)]
    pub(crate) verify: bool,
    /// The directory of `run`, if that is how the router is run.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// A router to be looked at.
#[derive(Debug, Clone, Args)]
pub(crate) struct Doctor {
    /// The directory of `run`, if that is how the router is run.
    #[arg(long)]
    pub(crate) dir: Option<PathBuf>,
}

/// A router to be removed.
#[derive(Debug, Clone, Args)]
pub(crate) struct Delete {
    /// Do not ask.
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_may_have_several_names() {
        for hosts in [
            "smp.example.com",
            "192.0.2.1",
            "2001:db8::1",
            "a.example,b.onion",
        ] {
            assert_eq!(host(hosts).as_deref(), Ok(hosts));
        }
        for wrong in ["", "a b", "1.2.3.400", "a.example,"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
