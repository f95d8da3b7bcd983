//! The command line of `smp-agent`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{ArgAction, Parser, ValueEnum};
use simplex_runtime_tokio::{Tokio, rng};
use simplex_sans_io::agent::config::{NetworkConfig, ProxyFallback, ProxyMode, UserRouter};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::pool::UserId;
use simplex_sans_io::socks;
use simplex_sans_io::wire::{ServerAddress, SmpScheme};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing_subscriber::filter::LevelFilter;
use zeroize::Zeroizing;

use super::hub::Hub;
use super::rate::Rate;
use super::session::serve;
use super::{Files, Shared, Trust};
use crate::builder::Builder;
use crate::running::RunError;
use crate::store::{Sqlite, SqliteOptions, StoreError};

/// How many clients there are at a time; further ones wait.
const CLIENTS: usize = 16;

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
    /// A socket, which only the owner of this process may use, instead of a port.
    #[arg(long, conflicts_with = "port")]
    socket: Option<PathBuf>,
    /// Let everybody on this machine, and every page in its browsers, use the port.
    #[arg(long, action = ArgAction::SetTrue)]
    no_token: bool,
    /// The file with the token that clients of the port have to know; made if there is none.
    #[arg(long, default_value = "smp-agent.token")]
    token_file: PathBuf,
    /// When routers of others are reached through a proxy.
    #[arg(long, value_enum, default_value = "never")]
    smp_proxy: Proxy,
    /// Never reach a router directly because the proxy cannot.
    #[arg(long)]
    no_fallback: bool,
    /// Reach all routers through this SOCKS proxy: `[USER:PASSWORD@]HOST[:PORT]`.
    #[arg(long)]
    socks_proxy: Option<socks::Proxy>,
    /// How many connections clients may make in a minute.
    #[arg(long, default_value_t = 3000)]
    max_new: u32,
    /// How much is logged; never what is said.
    #[arg(long, default_value = "info")]
    log_level: LevelFilter,
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
    #[error("port {port} cannot be used: {error}")]
    Port { port: u16, error: io::Error },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Does what the command line asks for.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_max_level(cli.log_level)
        .with_target(false)
        .with_writer(io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
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
        ..NetworkConfig::default()
    };
    let mut builder = Builder::new(store).network(network);
    if let Some(proxy) = &cli.socks_proxy {
        builder = builder.through(proxy.clone());
    }
    let files = files(cli)?;
    if let Some(files) = &files {
        builder = builder.files(files.directory.join("received"), Tokio::new());
    }
    let trust = match (cli.no_token, &cli.socket) {
        (true, _) | (_, Some(_)) => Trust::Peer,
        (false, None) => Trust::Token,
    };
    let token = match trust {
        Trust::Token => token(&cli.token_file, &mut rng)?,
        Trust::Peer => String::new(),
    };
    let (agent, events, running) = builder.start(Tokio::new(), rng.fork());
    let mut running = tokio::spawn(running);
    let hub = Hub::new();
    let telling = tokio::spawn(hub.clone().run(agent.clone(), events));
    let shared = Shared {
        agent,
        hub,
        token: token.as_str().into(),
        routers: routers.into(),
        files: files.map(Arc::new),
        users: Arc::new(Mutex::new(BTreeMap::new())),
        rng: Arc::new(Mutex::new(rng)),
        rate: Arc::new(Mutex::new(Rate::new(cli.max_new))),
    };
    // The first user is there without being asked for.
    shared.user(UserId(1).0).await.ok();

    let listening = listen(cli, shared, trust, &token).await?;
    let ended = tokio::select! {
        ended = &mut running => Some(ended),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    };
    drop(listening);
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
fn files(cli: &Cli) -> Result<Option<Files>, CliError> {
    let Some(path) = &cli.files else {
        return Ok(None);
    };
    let error = |error| CliError::File {
        path: path.clone(),
        error,
    };
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

/// Accepts clients until it is dropped.
async fn listen(
    cli: &Cli,
    shared: Shared,
    trust: Trust,
    token: &str,
) -> Result<JoinSet<()>, CliError> {
    let mut listening = JoinSet::new();
    let places = Arc::new(Semaphore::new(CLIENTS));
    if let Some(path) = &cli.socket {
        let listener = private_socket(path)?;
        say(&format!("SMP agent listening on {}", path.display()))?;
        listening.spawn(accept_local(listener, shared, places));
        return Ok(listening);
    }
    let bind = |address: SocketAddr| async move {
        let listener = TcpListener::bind(address).await?;
        let port = listener.local_addr()?.port();
        Ok::<_, io::Error>((listener, port))
    };
    let error = |error| CliError::Port {
        port: cli.port,
        error,
    };
    let (listener, port) = bind((Ipv4Addr::LOCALHOST, cli.port).into())
        .await
        .map_err(error)?;
    listening.spawn(accept(listener, shared.clone(), trust, Arc::clone(&places)));
    // A machine may have no IPv6.
    if let Ok((listener, _)) = bind((Ipv6Addr::LOCALHOST, port).into()).await {
        listening.spawn(accept(listener, shared, trust, places));
    }
    say(&format!("SMP agent listening on port {port}"))?;
    if trust == Trust::Token {
        say(&format!(
            "Token, for the first transmission `AUTH :TOKEN` of each client: {token}"
        ))?;
    }
    Ok(listening)
}

async fn accept(listener: TcpListener, shared: Shared, trust: Trust, places: Arc<Semaphore>) {
    let mut clients = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                stream.set_nodelay(true).ok();
                rustix::net::sockopt::set_socket_keepalive(&stream, true).ok();
                let shared = shared.clone();
                clients.spawn(async move {
                    if let Err(error) = serve(stream, shared, trust).await {
                        tracing::debug!(%error, "a client is gone");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no clients can be accepted now");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

async fn accept_local(listener: UnixListener, shared: Shared, places: Arc<Semaphore>) {
    let mut clients = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let own = rustix::process::geteuid().as_raw();
                let is_owner = stream
                    .peer_cred()
                    .is_ok_and(|peer| [0, own].contains(&peer.uid()));
                if !is_owner {
                    continue;
                }
                let shared = shared.clone();
                clients.spawn(async move {
                    if let Err(error) = serve(stream, shared, Trust::Peer).await {
                        tracing::debug!(%error, "a client is gone");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no clients can be accepted now");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
        while clients.try_join_next().is_some() {}
    }
}

/// A socket for its owner only, from its first moment on.
fn private_socket(path: &Path) -> Result<UnixListener, CliError> {
    use std::os::unix::fs::FileTypeExt as _;
    let error = |error| CliError::File {
        path: path.to_owned(),
        error,
    };
    if let Ok(there) = fs::symlink_metadata(path) {
        let used = std::os::unix::net::UnixStream::connect(path).is_ok();
        if !there.file_type().is_socket() || used {
            return Err(error(io::ErrorKind::AddrInUse.into()));
        }
        fs::remove_file(path).map_err(error)?;
    }
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    bound.map_err(error)
}

fn router(text: &str) -> Option<UserRouter> {
    let (address, password) = ServerAddress::<SmpScheme>::parse_with_password(text).ok()?;
    Some(UserRouter {
        password,
        ..UserRouter::new(address)
    })
}

fn read_key(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let text = fs::read_to_string(path).map(Zeroizing::new);
    let text = text.map_err(|error| CliError::File {
        path: path.to_owned(),
        error,
    })?;
    Ok(Zeroizing::new(
        text.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

/// The token of a file that only its owner may read.
fn token(path: &Path, rng: &mut Rng) -> Result<String, CliError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let error = |error| CliError::File {
        path: path.to_owned(),
        error,
    };
    match fs::read_to_string(path) {
        Ok(token) => return Ok(token.trim().to_owned()),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        Err(other) => return Err(error(other)),
    }
    let token = URL_SAFE_NO_PAD.encode(rng.bytes::<32>());
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{token}"));
    written.map_err(error)?;
    Ok(token)
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}
