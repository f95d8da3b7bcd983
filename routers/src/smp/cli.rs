//! The command line of `smp-server`.

use std::env;
use std::fs;
use std::io::{self, BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use clap::{Args, Parser, Subcommand, ValueEnum};
use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::router::NewQueues;
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::wire::utc::UtcTime;
use tracing_subscriber::filter::LevelFilter;

use super::doctor;
use super::forget::forget_messages;
use super::server::{Server, ServerError};
use super::settings::{Settings, SettingsError, StoreKind};
use super::store::export::{ExportError, export};
use super::store::import::{Event as ImportEvent, ImportError, Sources, import, imported};
use super::store::{EmbeddedStore, MemoryStore, Options, Store, StoreError};
use crate::identity::{IdentityError, IdentityFiles, Privacy, write_file};
use crate::systemd;

const INI: &str = "smp-server.ini";

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
    /// Look for what keeps the router from running well.
    Doctor(Doctor),
    /// Remove configuration, certificates and data.
    Delete(Delete),
}

#[derive(Debug, Clone, Args)]
struct Init {
    /// Keep nothing on disk: queues and messages end with the process.
    #[arg(long)]
    disable_store_log: bool,
    /// Keep queues on disk. This is the default.
    #[arg(short = 'l', long, conflicts_with = "disable_store_log")]
    store_log: bool,
    /// Write statistics every day.
    #[arg(short = 's', long)]
    daily_stats: bool,
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
    /// Let anybody create queues.
    #[arg(long, conflicts_with = "password")]
    no_password: bool,
    /// The password to create queues. Without this and --no-password a random one is made.
    #[arg(long)]
    password: Option<String>,
    /// Open a control port on the loopback address: `--control-port`, or `--control-port=PORT`.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "5224")]
    control_port: Option<u16>,
    /// Reach onion relays through a SOCKS proxy: `--socks-proxy`, or `--socks-proxy=HOST:PORT`.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "localhost:9050")]
    socks_proxy: Option<String>,
    /// The domains of your other routers, separated by commas.
    #[arg(long)]
    own_domains: Option<String>,
    /// Where the source code of the router is; all that follows needs it.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = env!("CARGO_PKG_REPOSITORY"))]
    source_code: Option<String>,
    /// The name of the operator.
    #[arg(long, requires = "source_code")]
    operator: Option<String>,
    /// The country of the operator, two letters.
    #[arg(long, requires = "source_code")]
    operator_country: Option<String>,
    /// The page of the operator.
    #[arg(long, requires = "source_code")]
    operator_website: Option<String>,
    /// Who hosts the router.
    #[arg(long, requires = "source_code")]
    hosting: Option<String>,
    /// The country of the one who hosts the router, two letters.
    #[arg(long, requires = "source_code")]
    hosting_country: Option<String>,
    /// How the router is hosted.
    #[arg(long, requires = "source_code", value_parser = ["virtual", "dedicated", "colocation", "owned"])]
    hosting_type: Option<String>,
    /// The country of the router, two letters.
    #[arg(long, requires = "source_code")]
    server_country: Option<String>,
    /// Ask nothing. Nothing is ever asked by this command.
    #[arg(short = 'y', long)]
    yes: bool,
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
    /// Open and check the store, then end.
    #[arg(short = 'm', long)]
    maintenance: bool,
    /// Has no effect: this store needs no compaction at start.
    #[arg(long)]
    compact_log: bool,
    /// Has no effect: nothing is asked at start.
    #[arg(long)]
    skip_warnings: bool,
    /// How much is logged.
    #[arg(long, value_enum, default_value = "info")]
    log_level: LogLevel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogLevel {
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
            configuration: path("SMP_SERVER_CFG_PATH", "/etc/opt/simplex"),
            data: path("SMP_SERVER_LOG_PATH", "/var/opt/simplex"),
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
        self.data.join("smp-server-store")
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
    #[error("{path} cannot be {done}: {error}")]
    File {
        path: PathBuf,
        done: &'static str,
        error: io::Error,
    },
    #[error("{0} is there already: the router is initialized; `smp-server delete` removes it")]
    Initialized(PathBuf),
    #[error("not removed: the answer was not Y")]
    NotConfirmed,
    #[error("{0} things are wrong")]
    Unhealthy(usize),
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
    let cli = Cli::parse();
    match execute(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "smp-server: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> Result<(), CliError> {
    let directories = Directories::of_machine();
    match cli.command {
        _ if cli.version => say(&format!("SMP server v{}", env!("CARGO_PKG_VERSION"))),
        None => {
            let help = <Cli as clap::CommandFactory>::command().render_help();
            say(&help.to_string())
        }
        Some(Command::Init(init)) => initialize(&directories, &init, "5223,443").map(|_| ()),
        Some(Command::Cert(cert)) => renew(&directories, &cert),
        Some(Command::Start(start)) => {
            log(start.log_level);
            run(&directories, start.maintenance)
        }
        Some(Command::Run(command)) => {
            log(command.log_level);
            let directories = Directories::within(&command.dir);
            if !directories.ini().exists() {
                initialize(&directories, &Init::for_run(), &command.port)?;
            }
            run(&directories, false)
        }
        Some(Command::Export(command)) => {
            log(LogLevel::Info);
            let directories = command
                .dir
                .map_or(directories, |directory| Directories::within(&directory));
            export_files(&directories, &command.to)
        }
        Some(Command::Doctor(doctor)) => {
            let directories = doctor
                .dir
                .map_or(directories, |directory| Directories::within(&directory));
            let mut wrong = 0;
            for finding in doctor::examine(&directories) {
                wrong += usize::from(finding.is_problem());
                say(&finding.to_string())?;
            }
            match wrong {
                0 => Ok(()),
                wrong => Err(CliError::Unhealthy(wrong)),
            }
        }
        Some(Command::Delete(delete)) => remove(&directories, delete.yes),
    }
}

fn say(text: &str) -> Result<(), CliError> {
    Ok(writeln!(io::stdout(), "{text}")?)
}

fn log(level: LogLevel) {
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::from(level))
        .with_target(false)
        .with_writer(io::stderr)
        .init();
}

impl Init {
    /// What `run` does when it finds nothing: a router that anybody may try.
    fn for_run() -> Self {
        Self {
            disable_store_log: false,
            store_log: true,
            daily_stats: false,
            sign_algorithm: SignAlgorithm::Ed25519,
            ip: "127.0.0.1".to_owned(),
            fqdn: None,
            no_password: true,
            password: None,
            control_port: None,
            socks_proxy: None,
            own_domains: None,
            source_code: None,
            operator: None,
            operator_country: None,
            operator_website: None,
            hosting: None,
            hosting_country: None,
            hosting_type: None,
            server_country: None,
            yes: true,
        }
    }
}

fn initialize(
    directories: &Directories,
    init: &Init,
    ports: &str,
) -> Result<Fingerprint, CliError> {
    let ini = directories.ini();
    if ini.exists() {
        return Err(CliError::Initialized(ini));
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    if !ports.split(',').all(is_port) {
        return Err(CliError::Ports(ports.to_owned()));
    }
    if let Some(password) = &init.password
        && password
            .parse::<simplex_sans_io::wire::BasicAuth>()
            .is_err()
    {
        return Err(CliError::Password(password.clone()));
    }
    for path in [&directories.configuration, &directories.data] {
        fs::create_dir_all(path).map_err(|error| CliError::File {
            path: path.clone(),
            done: "made",
            error,
        })?;
    }
    let mut rng = simplex_runtime_tokio::rng().map_err(io::Error::other)?;
    let host = init.fqdn.as_deref().unwrap_or(&init.ip);
    let files = IdentityFiles(&directories.configuration);
    let algorithm = init.sign_algorithm.into();
    let fingerprint = files.create(algorithm, host, now(), &mut rng)?;
    let password = match (&init.password, init.no_password) {
        (Some(password), _) => Some(password.clone()),
        (None, true) => None,
        (None, false) => Some(URL_SAFE.encode(rng.bytes::<32>())),
    };
    let text = configuration(init, host, ports, password.as_deref(), &mut rng);
    write_file(&ini, &text, Privacy::Secret).map_err(|error| CliError::File {
        path: ini.clone(),
        done: "written",
        error,
    })?;
    let address = address(fingerprint, password.as_deref(), host, ports);
    say(&format!(
        "Initialized: {}\nFingerprint: {fingerprint}\nServer address: {address}\n\n\
         Keep a copy of {} in a safe place, away from this machine: it is needed only for new certificates.",
        ini.display(),
        directories.configuration.join("ca.key").display()
    ))?;
    Ok(fingerprint)
}

fn address(fingerprint: Fingerprint, password: Option<&str>, host: &str, ports: &str) -> String {
    let password = password
        .map(|password| format!(":{password}"))
        .unwrap_or_default();
    let port = match ports {
        "5223" => String::new(),
        ports => format!(":{ports}"),
    };
    format!("smp://{fingerprint}{password}@{host}{port}")
}

fn configuration(
    init: &Init,
    host: &str,
    ports: &str,
    password: Option<&str>,
    rng: &mut Rng,
) -> String {
    let on = |on: bool| if on { "on" } else { "off" };
    let commented = |key: &str, value: Option<&str>, default: &str| match value {
        Some(value) => format!("{key} = {value}"),
        None => format!("# {key} = {default}"),
    };
    let store = on(!init.disable_store_log);
    let mut control_password = || {
        init.control_port
            .map(|_| URL_SAFE.encode(rng.bytes::<18>()))
    };
    let admin = commented(
        "control_port_admin_password",
        control_password().as_deref(),
        "",
    );
    let user = commented(
        "control_port_user_password",
        control_password().as_deref(),
        "",
    );
    let create_password = commented("create_password", password, "");
    let control = init.control_port.map(|port| port.to_string());
    let control_port = commented("control_port", control.as_deref(), "5224");
    let socks = commented("socks_proxy", init.socks_proxy.as_deref(), "localhost:9050");
    let domains = init
        .own_domains
        .as_ref()
        .map(|domains| domains.replace(',', " "));
    let own_domains = commented(
        "own_server_domains",
        domains.as_deref(),
        "example.com example.org",
    );
    let log_stats = on(init.daily_stats);
    let information: String = [
        ("source_code", &init.source_code),
        ("operator", &init.operator),
        ("operator_country", &init.operator_country),
        ("website", &init.operator_website),
        ("hosting", &init.hosting),
        ("hosting_country", &init.hosting_country),
        ("hosting_type", &init.hosting_type),
        ("server_country", &init.server_country),
    ]
    .into_iter()
    .map(|(key, value)| commented(key, value.as_deref(), "") + "\n")
    .collect();
    format!(
        "[INFORMATION]\n\
         {information}\n\
         [STORE_LOG]\n\
         # `on` keeps queues and messages on disk: what is acknowledged survives a crash.\n\
         # `off` keeps everything in memory: it ends with the process.\n\
         enable = {store}\n\
         store_queues = memory\n\
         store_messages = memory\n\
         restore_messages = {store}\n\
         \n\
         # Messages that are not received expire.\n\
         expire_messages_days = 21\n\
         expire_messages_on_start = on\n\
         expire_messages_on_send = off\n\
         expire_ntfs_hours = 24\n\
         \n\
         log_stats = {log_stats}\n\
         # Metrics, in smp-server-metrics.txt, every so many seconds.\n\
         # prometheus_interval = 60\n\
         \n\
         [STORE]\n\
         # When a message is on disk before it is acknowledged: `always` one by one, `batch` many together,\n\
         # `os` when the operating system likes (a loss of power may undo the last seconds).\n\
         sync = batch\n\
         \n\
         [METRICS]\n\
         # /metrics, /health/live and /health/ready, for this machine only.\n\
         # port = 9464\n\
         \n\
         [AUTH]\n\
         # Whether queues can be created, and the password that is needed for it.\n\
         new_queues = on\n\
         {create_password}\n\
         # The passwords of the control port.\n\
         {admin}\n\
         {user}\n\
         # How many queues users of the control port may block in a day: 0 for no limit, -1 for none.\n\
         # daily_block_queue_quota = 20\n\
         \n\
         [TRANSPORT]\n\
         host = {host}\n\
         port = {ports}\n\
         log_tls_errors = off\n\
         websockets = off\n\
         {control_port}\n\
         \n\
         [PROXY]\n\
         # Your other routers, which are counted apart in the statistics.\n\
         {own_domains}\n\
         # Relays with onion hosts are reached through this SOCKS proxy; all of them with `socks_mode = always`.\n\
         {socks}\n\
         # socks_mode = onion\n\
         # How many commands of one client are forwarded at the same time.\n\
         # client_concurrency = 32\n\
         \n\
         [NAMES]\n\
         enable = off\n\
         # resolver_endpoint = http://127.0.0.1:8000\n\
         # resolver_auth = bearer token\n\
         \n\
         [WEB]\n\
         # The page for browsers, on one of the ports above, with a certificate that they trust.\n\
         # https = 443\n\
         # cert = /etc/opt/simplex/web.crt\n\
         # key = /etc/opt/simplex/web.key\n\
         \n\
         [INACTIVE_CLIENTS]\n\
         # Clients without subscriptions are disconnected when they are silent for `ttl` seconds.\n\
         disconnect = on\n\
         ttl = 21600\n\
         check_interval = 3600\n"
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
            let settings = Settings::read(&directories.ini())?;
            let host = settings.transport.hosts.into_iter().next();
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
            "WARNING: this removes {} and {}: certificates, queues and messages are lost for ever. Y to continue: ",
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
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let path = path.clone();
                return Err(CliError::File {
                    path,
                    done: "removed",
                    error,
                });
            }
        }
    }
    say("Deleted configuration and data.")
}

fn run(directories: &Directories, maintenance: bool) -> Result<(), CliError> {
    let settings = Settings::read(&directories.ini())?;
    for advice in &settings.advice {
        tracing::warn!("{advice}");
    }
    let credentials = IdentityFiles(&directories.configuration).load(now())?;
    let store = open_store(&settings, directories)?;
    if maintenance {
        store.close()?;
        return say("The store is in order. Maintenance mode: the router is not started.");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(serve(&settings, credentials, store, directories))
}

async fn serve(
    settings: &Settings,
    credentials: simplex_sans_io::tls::Credentials,
    store: Box<dyn Store>,
    directories: &Directories,
) -> Result<(), CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let data = &directories.data;
    let mut server = Server::start(
        settings,
        credentials,
        store,
        data,
        crate::limits::connections(),
    )
    .await?;
    say(&banner(settings, &server))?;
    systemd::notify("READY=1");
    let mut watchdog = systemd::watchdog();
    loop {
        tokio::select! {
            _ = interrupt.recv() => tracing::info!("interrupted: stopping"),
            _ = terminate.recv() => tracing::info!("terminated: stopping"),
            () = server.failed() => tracing::error!("the router cannot go on: stopping"),
            _ = hangup.recv() => {
                match reload(directories, &mut server) {
                    Ok(()) => tracing::info!("certificates and settings of queues are read again"),
                    Err(error) => tracing::error!(%error, "nothing is changed"),
                }
                continue;
            }
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

fn reload(directories: &Directories, server: &mut Server) -> Result<(), CliError> {
    let settings = Settings::read(&directories.ini())?;
    let credentials = IdentityFiles(&directories.configuration).load(now())?;
    Ok(server.reload(&settings, credentials)?)
}

/// The same words as the reference implementation, which operators and their scripts know; without the password, as it may end in a log.
fn banner(settings: &Settings, server: &Server) -> String {
    let ports: Vec<_> = settings
        .transport
        .ports
        .iter()
        .map(u16::to_string)
        .collect();
    let host = settings.transport.hosts.join(",");
    let host = if host.is_empty() {
        "<hostnames>"
    } else {
        &host
    };
    let rule = match &settings.router.new_queues {
        NewQueues::Allowed => "allowed",
        NewQueues::WithPassword(_) => "requires password",
        NewQueues::Refused(_) => "NOT allowed",
    };
    let address = address(server.fingerprint(), None, host, &ports.join(","));
    let mut lines = vec![
        format!("SMP server v{}", env!("CARGO_PKG_VERSION")),
        format!("Fingerprint: {}", server.fingerprint()),
        format!("Server address: {address}"),
        match settings.store {
            StoreKind::Memory => "Store log disabled.".to_owned(),
            StoreKind::Embedded { .. } => "Store: embedded".to_owned(),
        },
    ];
    for address in server.addresses() {
        lines.push(format!(
            "Serving SMP protocol on port {} (TLS)...",
            address.port()
        ));
    }
    if let Some(address) = server.control_address() {
        lines.push(format!("Control port: {}", address.port()));
    }
    if let Some(address) = server.metrics_address() {
        lines.push(format!("Metrics: http://{address}/metrics"));
    }
    if let Some(expiration) = settings.router.message_expiration {
        let days = expiration.ttl.as_secs() / 86_400;
        lines.push(format!("expiring messages after {days} days"));
    }
    lines.push(match settings.router.inactive_clients {
        None => "not expiring inactive clients".to_owned(),
        Some(inactive) => format!(
            "expiring clients inactive for {} seconds every {} seconds",
            inactive.ttl.as_secs(),
            inactive.check.as_secs()
        ),
    });
    lines.push(format!("creating new queues {rule}"));
    lines.join("\n")
}

fn open_store(settings: &Settings, directories: &Directories) -> Result<Box<dyn Store>, CliError> {
    match settings.store {
        StoreKind::Memory => Ok(Box::new(MemoryStore::in_memory())),
        StoreKind::Embedded { sync, messages } => {
            let path = directories.store();
            fs::create_dir_all(&path).map_err(|error| CliError::File {
                path: path.clone(),
                done: "made",
                error,
            })?;
            let options = Options {
                policy: sync,
                ..Options::default()
            };
            let mut store = EmbeddedStore::open(&path, options)?;
            take_over(&mut store, &directories.data)?;
            if !messages.is_on() {
                let count = forget_messages(&mut store)?;
                tracing::info!(
                    "`restore_messages` is off: {count} messages of the last run are removed"
                );
            }
            Ok(Box::new(store))
        }
    }
}

/// Takes over what a router of the reference implementation has kept in the same directory, once.
fn take_over(store: &mut dyn Store, data: &Path) -> Result<(), CliError> {
    let sources = Sources::find(data);
    if sources.is_empty() || imported(store)?.is_some() {
        return Ok(());
    }
    tracing::info!(
        "taking over queues and messages from {}; the files stay as they are",
        data.display()
    );
    let mut said = 0;
    let mut watch = |event: ImportEvent<'_>| match event {
        ImportEvent::Progress { path, read, size } => {
            let tenth = read.saturating_mul(10) / size.max(1);
            if tenth != said {
                said = tenth;
                tracing::info!("{}: {}0 %", path.display(), tenth);
            }
        }
        ImportEvent::Problem {
            path,
            line,
            problem,
        } => tracing::warn!(line, "{}: {problem}", path.display()),
    };
    match import(store, &sources, &mut watch) {
        Ok(summary) => tracing::info!("{summary}"),
        Err(ImportError::NotEmpty) => tracing::warn!(
            "the store has queues of its own: the files of another router in {} are not taken over",
            data.display()
        ),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn export_files(directories: &Directories, to: &Path) -> Result<(), CliError> {
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
        count => say(&format!(
            "{count} of them the reference implementation cannot read, because they are empty: start it with --skip-warnings."
        )),
    }
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
            control_port: Some(5224),
            no_password: false,
            fqdn: Some("smp.example.com".to_owned()),
            own_domains: Some("example.com,example.org".to_owned()),
            ..Init::for_run()
        };
        let fingerprint = initialize(&directories, &init, "5223,443").unwrap();
        let settings = Settings::read(&directories.ini()).unwrap();
        assert_eq!(settings.transport.ports, [5223, 443]);
        assert_eq!(settings.transport.hosts, ["smp.example.com"]);
        assert_eq!(settings.control.port, Some(5224));
        assert!(settings.control.admin_password.is_some());
        assert_ne!(
            settings.control.admin_password,
            settings.control.user_password
        );
        assert_eq!(settings.proxy.own_domains, ["example.com", "example.org"]);
        assert_eq!(settings.advice.len(), 1, "{:?}", settings.advice);
        let credentials = IdentityFiles(&directories.configuration)
            .load(now())
            .unwrap();
        assert_eq!(credentials.chain().fingerprint(), fingerprint);
        let again = initialize(&directories, &init, "5223").unwrap_err();
        assert!(matches!(again, CliError::Initialized(_)));
    }

    #[test]
    fn the_address_names_the_port_where_it_is_another() {
        let fingerprint = Fingerprint::from_bytes([0; 32]);
        let text = |password, ports| address(fingerprint, password, "a.b", ports);
        assert!(text(None, "5223").ends_with("=@a.b"));
        assert!(text(None, "5223,443").ends_with("=@a.b:5223,443"));
        assert!(text(Some("pw"), "7001").ends_with("=:pw@a.b:7001"));
    }

    #[test]
    fn bad_options_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let directories = Directories::within(directory.path());
        let bad = initialize(&directories, &Init::for_run(), "x");
        assert!(matches!(bad, Err(CliError::Ports(_))));
        let init = Init {
            password: Some("a b".to_owned()),
            ..Init::for_run()
        };
        let bad = initialize(&directories, &init, "5223");
        assert!(matches!(bad, Err(CliError::Password(_))));
        assert!(!directories.configuration.exists());
    }
}
