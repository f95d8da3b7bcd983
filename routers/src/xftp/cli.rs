//! The command line of `xftp-server`.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use clap::{Args, Parser, Subcommand, ValueEnum};
use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::tls::Credentials;
use simplex_sans_io::xftp::description::FileSize;
use simplex_sans_io::xftp::router::NewFiles;
use tracing_subscriber::filter::LevelFilter;

use super::import::{ImportError, import};
use super::page;
use super::server::{Server, ServerError};
use super::settings::{Settings, SettingsError, StoreKind};
use super::store::{Embedded, Engine, Memory, Store, StoreError};
use crate::identity::{IdentityError, IdentityFiles, Privacy, write_file};
use crate::systemd;

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
    Init(Init),
    /// Make a new TLS certificate; the identity, and so the address, stays. Needs ca.key.
    Cert(Cert),
    /// Run the router.
    Start(Start),
    /// Run a router in one directory, which is initialized if need be.
    Run(Run),
    /// Remove configuration, certificates and records. Chunks stay.
    Delete(Delete),
}

#[derive(Debug, Clone, Args)]
struct Init {
    /// Keep no records on disk: files end with the process.
    #[arg(long)]
    disable_store_log: bool,
    /// Keep records on disk. This is the default.
    #[arg(short = 'l', long, conflicts_with = "disable_store_log")]
    store_log: bool,
    /// The algorithm of the keys.
    #[arg(
        short = 'a',
        long,
        value_enum,
        ignore_case = true,
        default_value = "ed25519"
    )]
    sign_algorithm: SignAlgorithm,
    /// The IP address of the router, where it has no name.
    #[arg(long, default_value = "127.0.0.1")]
    ip: String,
    /// The domain name of the router.
    #[arg(short = 'n', long)]
    fqdn: Option<String>,
    /// Where chunks are kept.
    #[arg(short = 'p', long)]
    path: PathBuf,
    /// How much room they may take, such as `100gb`.
    #[arg(short = 'q', long)]
    quota: FileSize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SignAlgorithm {
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

#[derive(Debug, Clone, Args)]
struct Cert {
    /// The algorithm of the new key; that of the old one otherwise.
    #[arg(short = 'a', long, value_enum, ignore_case = true)]
    sign_algorithm: Option<SignAlgorithm>,
    /// The name in the certificate; the host of the configuration file otherwise.
    #[arg(long)]
    cn: Option<String>,
}

#[derive(Debug, Clone, Args)]
struct Start {
    /// Has no effect: this store needs no migrations.
    #[arg(long)]
    confirm_migrations: Option<String>,
}

#[derive(Debug, Clone, Args)]
struct Run {
    /// Where everything is kept.
    #[arg(long)]
    dir: PathBuf,
    /// The port of a router that is initialized now.
    #[arg(long, default_value_t = 443)]
    port: u16,
}

#[derive(Debug, Clone, Args)]
struct Delete {
    /// Do not ask.
    #[arg(short = 'y', long)]
    yes: bool,
}

/// Where the files of a router are.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Directories {
    configuration: PathBuf,
    data: PathBuf,
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

    fn ini(&self) -> PathBuf {
        self.configuration.join("file-server.ini")
    }

    fn store(&self) -> PathBuf {
        self.data.join("file-server-store")
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
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    match execute(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "xftp-server: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> Result<(), CliError> {
    let directories = Directories::of_machine();
    match cli.command {
        _ if cli.version => say(&format!("XFTP server v{}", env!("CARGO_PKG_VERSION"))),
        None => {
            let help = <Cli as clap::CommandFactory>::command().render_help();
            say(&help.to_string())
        }
        Some(Command::Init(init)) => initialize(&directories, &init, 443),
        Some(Command::Cert(cert)) => renew(&directories, &cert),
        Some(Command::Start(_)) => run(&directories),
        Some(Command::Run(command)) => {
            let directories = Directories::within(&command.dir);
            if !directories.ini().exists() {
                let init = Init {
                    disable_store_log: false,
                    store_log: true,
                    sign_algorithm: SignAlgorithm::Ed25519,
                    ip: "127.0.0.1".to_owned(),
                    fqdn: None,
                    path: command.dir.join("files"),
                    quota: FileSize(10 << 30),
                };
                initialize(&directories, &init, command.port)?;
            }
            run(&directories)
        }
        Some(Command::Delete(delete)) => remove(&directories, delete.yes),
    }
}

fn say(text: &str) -> Result<(), CliError> {
    Ok(writeln!(io::stdout(), "{text}")?)
}

fn initialize(directories: &Directories, init: &Init, port: u16) -> Result<(), CliError> {
    let ini = directories.ini();
    if ini.exists() {
        return Err(CliError::Initialized(ini));
    }
    for path in [&directories.configuration, &directories.data, &init.path] {
        fs::create_dir_all(path).map_err(|error| CliError::File {
            path: path.clone(),
            done: "made",
            error,
        })?;
    }
    let mut rng = simplex_runtime_tokio::rng().map_err(io::Error::other)?;
    let host = init.fqdn.as_deref().unwrap_or(&init.ip);
    let files = IdentityFiles(&directories.configuration);
    let fingerprint = files.create(init.sign_algorithm.into(), host, now(), &mut rng)?;
    let text = configuration(init, host, port);
    write_file(&ini, &text, Privacy::Secret).map_err(|error| CliError::File {
        path: ini.clone(),
        done: "written",
        error,
    })?;
    say(&format!(
        "Initialized: {}\nFingerprint: {fingerprint}\nServer address: {}\n\n\
         Keep a copy of {} in a safe place, away from this machine: it is needed only for new certificates.",
        ini.display(),
        address(fingerprint, host, port),
        directories.configuration.join("ca.key").display()
    ))
}

fn address(fingerprint: Fingerprint, host: &str, port: u16) -> String {
    match port {
        443 => format!("xftp://{fingerprint}@{host}"),
        port => format!("xftp://{fingerprint}@{host}:{port}"),
    }
}

fn configuration(init: &Init, host: &str, port: u16) -> String {
    let store = match init.disable_store_log {
        true => "off",
        false => "on",
    };
    let (path, quota) = (init.path.display(), init.quota);
    format!(
        "[INFORMATION]\n\
         # source_code =\n\
         \n\
         [STORE_LOG]\n\
         # `on` keeps records on disk: what is acknowledged survives a crash.\n\
         # `off` keeps them in memory: all files end with the process.\n\
         enable = {store}\n\
         store_files = memory\n\
         expire_files_hours = 48\n\
         log_stats = off\n\
         # Metrics, in xftp-server-metrics.txt, every so many seconds.\n\
         # prometheus_interval = 60\n\
         \n\
         [METRICS]\n\
         # /metrics, /health/live and /health/ready, for this machine only.\n\
         # port = 9465\n\
         \n\
         [AUTH]\n\
         # Whether files can be created, and the password that is needed for it.\n\
         new_files = on\n\
         # create_password =\n\
         # The passwords of the control port.\n\
         # control_port_admin_password =\n\
         # control_port_user_password =\n\
         \n\
         [TRANSPORT]\n\
         host = {host}\n\
         port = {port}\n\
         log_tls_errors = off\n\
         # control_port = 5226\n\
         \n\
         [FILES]\n\
         path = {path}\n\
         storage_quota = {quota}\n\
         \n\
         [INACTIVE_CLIENTS]\n\
         # Clients are disconnected when they ask nothing for `ttl` seconds.\n\
         disconnect = off\n\
         # ttl = 21600\n\
         # check_interval = 3600\n\
         \n\
         [WEB]\n\
         # A certificate that browsers trust lets web pages upload and download files.\n\
         # cert = /etc/opt/simplex-xftp/web.crt\n\
         # key = /etc/opt/simplex-xftp/web.key\n"
    )
}

fn renew(directories: &Directories, cert: &Cert) -> Result<(), CliError> {
    let files = IdentityFiles(&directories.configuration);
    let algorithm = match cert.sign_algorithm {
        Some(algorithm) => algorithm.into(),
        None => files.algorithm()?,
    };
    let name = match &cert.cn {
        Some(name) => name.clone(),
        None => {
            let host = Settings::read(&directories.ini())?.hosts.into_iter().next();
            host.unwrap_or_else(|| "127.0.0.1".to_owned())
        }
    };
    let mut rng = simplex_runtime_tokio::rng().map_err(io::Error::other)?;
    let fingerprint = files.renew(algorithm, &name, now(), &mut rng)?;
    say(&format!(
        "New certificate for {name}.\nFingerprint: {fingerprint}\nRestart the router to use it."
    ))
}

fn remove(directories: &Directories, confirmed: bool) -> Result<(), CliError> {
    let Directories {
        configuration,
        data,
    } = directories;
    if !confirmed {
        write!(
            io::stdout(),
            "WARNING: this removes {} and {}: certificates and records of files are lost for ever. Y to continue: ",
            configuration.display(),
            data.display()
        )?;
        io::stdout().flush()?;
        let mut answer = String::new();
        io::stdin().lock().read_line(&mut answer)?;
        if answer.trim_end_matches(['\r', '\n']) != "Y" {
            return Err(CliError::NotConfirmed);
        }
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
    say("Deleted configuration and data.")
}

fn run(directories: &Directories) -> Result<(), CliError> {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::INFO)
        .with_target(false)
        .with_writer(io::stderr)
        .init();
    let settings = Settings::read(&directories.ini())?;
    for advice in &settings.advice {
        tracing::warn!("{advice}");
    }
    let credentials = IdentityFiles(&directories.configuration).load(now())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    match settings.store {
        StoreKind::Memory => {
            let store = Store::new(Memory::default());
            runtime.block_on(serve(&settings, credentials, store, &directories.data))
        }
        StoreKind::Embedded => {
            let mut store = Store::new(Embedded::open(&directories.store())?);
            if let Some(count) = import(&mut store, &directories.data)? {
                tracing::info!("{count} files of the store log are taken over");
            }
            runtime.block_on(serve(&settings, credentials, store, &directories.data))
        }
    }
}

async fn serve<E: Engine>(
    settings: &Settings,
    credentials: Credentials,
    store: Store<E>,
    data: &Path,
) -> Result<(), CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let site = page::site(settings, credentials.chain().fingerprint());
    let connections = crate::limits::connections();
    let mut server = Server::start(settings, credentials, store, site, data, connections).await?;
    say(&banner(settings, &server))?;
    systemd::notify("READY=1");
    let mut watchdog = systemd::watchdog();
    loop {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
            _ = terminate.recv() => tracing::info!("terminated: stopping"),
            () = server.failed() => tracing::error!("the router cannot go on: stopping"),
            _ = watchdog.tick() => {
                // A core that does not answer is not alive.
                if server.numbers().await.is_some() {
                    systemd::notify("WATCHDOG=1");
                }
                continue;
            }
        }
        break;
    }
    systemd::notify("STOPPING=1");
    server.stop().await?;
    tracing::info!("stopped: everything is stored");
    Ok(())
}

/// The same words as the reference implementation, which operators and their scripts know.
fn banner(settings: &Settings, server: &Server) -> String {
    let host = match settings.hosts.join(",") {
        hosts if hosts.is_empty() => "<hostnames>".to_owned(),
        hosts => hosts,
    };
    let rule = match &settings.router.new_files {
        NewFiles::Allowed => "allowed",
        NewFiles::WithPassword(_) => "requires password",
        NewFiles::Refused => "NOT allowed",
    };
    let store = match settings.store {
        StoreKind::Memory => "Store log disabled.",
        StoreKind::Embedded => "Store: embedded",
    };
    let hours = settings
        .router
        .expiration
        .map_or(0, |expiration| expiration.ttl.as_secs() / 3600);
    let clients = match settings.inactive_clients {
        Some(ttl) => format!("expiring clients inactive for {} seconds", ttl.as_secs()),
        None => "not expiring inactive clients".to_owned(),
    };
    let fingerprint = server.fingerprint();
    format!(
        "XFTP server v{}\nFingerprint: {fingerprint}\nServer address: {}\n{store}\nexpiring files after {hours} hours\n\
         {clients}\nUploading new files {rule}.\nListening on port {}...",
        env!("CARGO_PKG_VERSION"),
        address(fingerprint, &host, settings.port),
        server.address().port(),
    )
}

fn now() -> UnixTime {
    UnixTime::from(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn what_init_writes_is_what_start_reads() {
        let directory = tempfile::tempdir().unwrap();
        let directories = Directories::within(directory.path());
        let init = Init {
            disable_store_log: false,
            store_log: false,
            sign_algorithm: SignAlgorithm::Ed448,
            ip: "127.0.0.1".to_owned(),
            fqdn: Some("xftp.example.com".to_owned()),
            path: directory.path().join("files"),
            quota: FileSize(100 << 30),
        };
        initialize(&directories, &init, 7443).unwrap();
        let settings = Settings::read(&directories.ini()).unwrap();
        assert_eq!(settings.port, 7443);
        assert_eq!(settings.hosts, ["xftp.example.com"]);
        assert_eq!(settings.files, init.path);
        assert_eq!(settings.router.quota, Some(100 << 30));
        assert_eq!(settings.advice, Vec::<String>::new());
        assert!(
            IdentityFiles(&directories.configuration)
                .load(now())
                .is_ok()
        );
        let again = initialize(&directories, &init, 443);
        assert!(matches!(again, Err(CliError::Initialized(_))));
    }
}
