//! The command line of `smp-agent`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use clap::{ArgAction, Parser, ValueEnum};
use simplex_runtime_tokio::{Tokio, rng};
use simplex_sans_io::agent::config::{
    Config, NetworkConfig, ProxyFallback, ProxyMode, Strangers, UserRouter, WebPort,
};
use simplex_sans_io::agent::files;
use simplex_sans_io::agent::lines::role::Role;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::socks;
use simplex_sans_io::wire::{ServerAddress, SmpScheme};
use tokio::sync::Semaphore;
use tracing_subscriber::filter::LevelFilter;
use zeroize::Zeroizing;

use super::hub::Hub;
use super::listen::{CLIENTS, Listening};
use super::rate::Rate;
use super::{Files, Shared, Trust, private};
use crate::builder::Builder;
use crate::running::RunError;
use crate::store::{Sqlite, SqliteOptions, StoreError};

/// How many wrong tokens are listened to in a minute.
const FAILURES: u32 = 30;

/// A SimpleX agent: it makes connections, sends and receives for clients that speak to it in lines of text.
#[derive(Debug, Parser)]
#[command(
    name = "smp-agent",
    version,
    after_help = "Try it:\n\n    \
        smp-agent --server smp://FINGERPRINT@HOST --no-token\n    \
        telnet 127.0.0.1 5224\n\n\
        A transmission has three lines: anything that ties the response to it, the name of a connection, a command. \
        `1`, `bob`, `NEW T INV` makes an invitation; `2`, `bob`, `JOIN T LINK :my name` accepts one; `3`, `bob`, `SEND F :hello` sends a message."
)]
struct Cli {
    /// A router where queues are made: `smp://FINGERPRINT[:PASSWORD]@HOST[:PORT]`. May be given many times.
    #[arg(short, long = "server", required = true)]
    servers: Vec<String>,
    /// A router for files: `xftp://FINGERPRINT[:PASSWORD]@HOST[:PORT]`. May be given many times.
    #[arg(long = "file-server", requires = "files")]
    file_servers: Vec<String>,
    /// Let clients send files from this directory, by their paths in it. What they receive comes into its directory `received`.
    #[arg(long)]
    files: Option<PathBuf>,
    /// The database.
    #[arg(short, long, default_value = "smp-agent.db")]
    database: PathBuf,
    /// A file with the key of the database. Only with a program that was built for it.
    #[arg(long)]
    key_file: Option<PathBuf>,
    /// The port on the loopback addresses of this machine.
    #[arg(short, long, default_value_t = 5224)]
    port: u16,
    /// A socket, which only the owner of this process may use, instead of a port. Its directory has to be for its owner only.
    #[arg(long, conflicts_with = "port")]
    socket: Option<PathBuf>,
    /// Listen at this address of the machine instead. Others can reach and overhear it unless it is a loopback address: better
    /// leave it to ssh, or to a TLS proxy in front.
    #[arg(long, conflicts_with = "socket")]
    listen: Option<IpAddr>,
    /// Let tokens and messages travel in clear to an address that others can reach.
    #[arg(long, requires = "listen", action = ArgAction::SetTrue)]
    in_clear: bool,
    /// Let everybody on this machine, and every page in its browsers, use the port.
    #[arg(long, action = ArgAction::SetTrue)]
    no_token: bool,
    /// The file with the token that clients of the port have to know; made if there is none.
    #[arg(long, default_value = "smp-agent.token")]
    token_file: PathBuf,
    /// The file with a token for clients that may do all but change users, routers and the network; made if there is none.
    #[arg(long, conflicts_with_all = ["no_token", "socket"])]
    user_token_file: Option<PathBuf>,
    /// The file with a token for clients that may receive only; made if there is none.
    #[arg(long, conflicts_with_all = ["no_token", "socket"])]
    read_token_file: Option<PathBuf>,
    /// When routers of others are reached through a proxy.
    #[arg(long, value_enum, default_value = "never")]
    smp_proxy: Proxy,
    /// Never reach a router directly because the proxy cannot.
    #[arg(long)]
    no_fallback: bool,
    /// Reach all routers through this SOCKS proxy: `[USER:PASSWORD@]HOST[:PORT]`.
    #[arg(long)]
    socks_proxy: Option<socks::Proxy>,
    /// Which routers are reached at port 443, in the words of browsers, where their address names no port: those that applications come
    /// with, all, or none.
    #[arg(long, value_enum, default_value = "presets")]
    web_port: WebPortOf,
    /// Never connect to a private address because a link, a peer or a file leads there: to this machine, to a network around it, or to a
    /// name that is resolved to such an address. Routers that were chosen may be anywhere.
    #[arg(long, action = ArgAction::SetTrue)]
    forbid_private_addresses: bool,
    /// Never connect to a router that was not chosen, by `--server`, `--file-server` or SRV SET.
    #[arg(long, action = ArgAction::SetTrue)]
    known_routers_only: bool,
    /// How many requests for connections may wait at an address, up to 255; further ones wait at its router.
    #[arg(long, default_value_t = 200)]
    max_requests: u8,
    /// How many files may be under way.
    #[arg(long, default_value_t = 1000, requires = "files")]
    max_files: usize,
    /// How many connections clients may make in a minute.
    #[arg(long, default_value_t = 3000)]
    max_new: u32,
    /// How much is logged; never what is said.
    #[arg(long, default_value = "info")]
    log_level: LevelFilter,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WebPortOf {
    Presets,
    All,
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Proxy {
    Always,
    Unknown,
    Unprotected,
    Never,
}

#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(
        "`{0}` is no address of a router: smp://FINGERPRINT[:PASSWORD]@HOST[:PORT] is expected"
    )]
    Address(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error(
        "`{0}` is no address of a router for files: xftp://FINGERPRINT[:PASSWORD]@HOST[:PORT] is expected"
    )]
    FileAddress(String),
    #[error("others can reach and overhear {0}: only with --in-clear, and with a token")]
    Exposed(IpAddr),
    #[error("port {port} cannot be used: {error}")]
    Port { port: u16, error: io::Error },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    private::make_everything_private();
    tracing_subscriber::fmt()
        .with_max_level(cli.log_level)
        .with_target(false)
        .with_writer(io::stderr)
        .log_internal_errors(false)
        .init();
    // The agent is one future: a thread for it, and one for its clients.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let ended = runtime
        .map_err(CliError::from)
        .and_then(|runtime| runtime.block_on(run(&cli)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(io::stderr(), "smp-agent: {error}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> Result<(), CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let routers: Vec<_> = cli
        .servers
        .iter()
        .map(|text| router(text).ok_or_else(|| CliError::Address(text.clone())))
        .collect::<Result<_, _>>()?;
    let mut rng = rng().map_err(io::Error::other)?;
    let key = cli.key_file.as_deref().map(read_key).transpose()?;
    let trust = trust(cli, &mut rng)?;
    let store = Sqlite::open(&cli.database, &SqliteOptions { key })?;
    let network = NetworkConfig {
        proxy: match cli.smp_proxy {
            Proxy::Always => ProxyMode::Always,
            Proxy::Unknown => ProxyMode::Unknown,
            Proxy::Unprotected => ProxyMode::Unprotected,
            Proxy::Never => ProxyMode::Never,
        },
        fallback: match cli.no_fallback {
            true => ProxyFallback::Prohibit,
            false => ProxyFallback::Allow,
        },
        strangers: match (cli.known_routers_only, cli.forbid_private_addresses) {
            (true, _) => Strangers::Never,
            (false, true) => Strangers::Public,
            (false, false) => Strangers::Anywhere,
        },
        web_port: match cli.web_port {
            WebPortOf::Presets => WebPort::Presets,
            WebPortOf::All => WebPort::Always,
            WebPortOf::None => WebPort::Never,
        },
        ..NetworkConfig::default()
    };
    let strangers = network.strangers;
    let config = Config {
        max_requests: cli.max_requests.into(),
        network,
        ..Config::default()
    };
    let mut builder = Builder::new(store).config(config);
    if let Some(proxy) = &cli.socks_proxy {
        builder = builder.through(proxy.clone());
    }
    let files = files_of(cli)?;
    if let Some(files) = &files {
        builder = builder.files(files.received(), Tokio::new());
        builder = builder.files_config(files::config::Config {
            max_files: cli.max_files,
            ..files::config::Config::default()
        });
    }
    let (agent, events, running) = builder.start(Tokio::new(), rng.fork());
    let mut running = tokio::spawn(running);
    let hub = Hub::new();
    let telling = tokio::spawn(hub.clone().run(agent.clone(), events));
    let shared = Shared {
        agent,
        hub,
        trust: Arc::new(trust),
        failures: Arc::new(Mutex::new(Rate::new(FAILURES))),
        places: Arc::new(Semaphore::new(CLIENTS)),
        routers: routers.into(),
        strangers,
        files: files.map(Arc::new),
        users: Arc::new(Mutex::new(BTreeMap::new())),
        rng: Arc::new(Mutex::new(rng)),
        rate: Arc::new(Mutex::new(Rate::new(cli.max_new))),
    };
    // An agent that has ended already says why below.
    shared.introduce_all().await.ok();

    let listening = listen(cli, shared)?;
    let ended = tokio::select! {
        ended = &mut running => Some(ended),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    listening.end().await;
    telling.abort();
    // The last handles go with the clients and with what tells them.
    telling.await.ok();
    let ended = match ended {
        Some(ended) => ended,
        None => running.await,
    };
    match ended {
        Ok(ended) => Ok(ended?),
        Err(error) => Err(io::Error::other(error).into()),
    }
}

/// What clients may do with files, if anything.
fn files_of(cli: &Cli) -> Result<Option<Files>, CliError> {
    let Some(path) = &cli.files else {
        return Ok(None);
    };
    let error = |error| of_file(path, error);
    fs::create_dir_all(path).map_err(error)?;
    let router = |text: &String| {
        let parsed = ServerAddress::parse_with_password(text);
        let (address, password) = parsed.map_err(|_| CliError::FileAddress(text.clone()))?;
        Ok(UserRouter {
            password,
            ..UserRouter::new(address)
        })
    };
    Ok(Some(Files {
        directory: fs::canonicalize(path).map_err(error)?,
        routers: cli
            .file_servers
            .iter()
            .map(router)
            .collect::<Result<_, CliError>>()?,
    }))
}

/// Who may do what.
fn trust(cli: &Cli, rng: &mut Rng) -> Result<Trust, CliError> {
    if let Some(address) = cli.listen
        && !address.is_loopback()
    {
        if cli.no_token || !cli.in_clear {
            return Err(CliError::Exposed(address));
        }
        tracing::warn!(
            "tokens and messages travel in clear, and whoever reaches {address} can try tokens"
        );
    }
    if cli.no_token || cli.socket.is_some() {
        return Ok(Trust::Peer);
    }
    let files = [
        (Role::Admin, Some(&cli.token_file)),
        (Role::User, cli.user_token_file.as_ref()),
        (Role::Read, cli.read_token_file.as_ref()),
    ];
    let mut tokens = Vec::new();
    for (role, path) in files {
        if let Some(path) = path {
            let token = private::token(path, rng).map_err(|error| of_file(path, error))?;
            tokens.push((role, token));
        }
    }
    Ok(Trust::Tokens(tokens))
}

fn listen(cli: &Cli, shared: Shared) -> Result<Listening, CliError> {
    if let Some(path) = &cli.socket {
        let listening = Listening::at_socket(path, shared);
        let listening = listening.map_err(|error| of_file(path, error))?;
        say(&format!("SMP agent listening on {}", path.display()))?;
        return Ok(listening);
    }
    let listening = Listening::at_port(cli.port, cli.listen, shared);
    let listening = listening.map_err(|error| CliError::Port {
        port: cli.port,
        error,
    })?;
    let port = listening.port.unwrap_or(cli.port);
    say(&format!("SMP agent listening on port {port}"))?;
    if !cli.no_token {
        // What is said here ends up in logs.
        let path = cli.token_file.display();
        say(&format!(
            "Clients begin with `AUTH :TOKEN`; the token is in {path}"
        ))?;
    }
    Ok(listening)
}

fn of_file(path: &Path, error: io::Error) -> CliError {
    CliError::File {
        path: path.to_owned(),
        error,
    }
}

fn router(text: &str) -> Option<UserRouter> {
    let (address, password) = ServerAddress::<SmpScheme>::parse_with_password(text).ok()?;
    Some(UserRouter {
        password,
        ..UserRouter::new(address)
    })
}

fn read_key(path: &Path) -> Result<Zeroizing<String>, CliError> {
    private::read(path).map_err(|error| of_file(path, error))
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}
