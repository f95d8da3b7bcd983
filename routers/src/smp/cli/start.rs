//! `start` and `run`: the router as a process.

use std::fs;
use std::path::Path;

use simplex_sans_io::smp::router::NewQueues;

use super::{CliError, Directories, init};
use crate::cli::{now, say};
use crate::identity::IdentityFiles;
use crate::running::Signals;
use crate::smp::forget::forget_messages;
use crate::smp::server::{Door, Server};
use crate::smp::settings::{Settings, StoreKind};
use crate::smp::store::import::{Event as ImportEvent, ImportError, Sources, import, imported};
use crate::smp::store::{EmbeddedStore, MemoryStore, Options, Store};

pub(super) fn run(directories: &Directories, maintenance: bool) -> Result<(), CliError> {
    let settings = Settings::read(&directories.ini())?;
    for advice in &settings.advice {
        tracing::warn!("{advice}");
    }
    let credentials = IdentityFiles(&directories.configuration).load(now())?;
    let store = open_store(&settings, directories)?;
    if maintenance {
        store.close()?;
        return Ok(say(
            "The store is in order. Maintenance mode: the router is not started.",
        )?);
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
    let signals = Signals::new()?;
    let data = &directories.data;
    let connections = crate::limits::connections();
    let server = Server::start(settings, credentials, store, data, connections).await?;
    // A router goes on if nobody reads what it says.
    say(&banner(settings, &server, directories)).ok();
    let run = signals.run(server, |server| reload(directories, server));
    Ok(run.await?)
}

fn reload(directories: &Directories, server: &mut Server) -> Result<(), CliError> {
    let settings = Settings::read(&directories.ini())?;
    let credentials = IdentityFiles(&directories.configuration).load(now())?;
    Ok(server.reload(&settings, credentials)?)
}

/// The same words as the reference implementation, which operators and their scripts know: the address with its password, too.
fn banner(settings: &Settings, server: &Server, directories: &Directories) -> String {
    // Those that the system has chosen, too.
    let of_clients = |door| matches!(door, Door::Clients | Door::Shared);
    let ports = server.ports().filter(|(_, door)| of_clients(*door));
    let mut ports: Vec<_> = ports.map(|(address, _)| address.port()).collect();
    ports.dedup();
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let host = settings.transport.hosts.join(",");
    let host = if host.is_empty() {
        "<hostnames>"
    } else {
        &host
    };
    let (rule, password) = match &settings.router.new_queues {
        NewQueues::Allowed => ("allowed", None),
        NewQueues::WithPassword(password) => ("requires password", Some(password)),
        NewQueues::Refused(password) => ("NOT allowed", password.as_ref()),
    };
    let password = password.map(|password| String::from_utf8_lossy(password.as_bytes()));
    let password = password.as_deref();
    let port = match ports.join(",").as_str() {
        "5223" => String::new(),
        ports => format!(":{ports}"),
    };
    let address = init::address(server.fingerprint(), password, host);
    let mut lines = vec![
        format!("Fingerprint: {}", server.fingerprint()),
        format!("Server address: {address}{port}"),
    ];
    if !settings.says_source_code() {
        lines.push(
            "WARNING: `source_code` in [INFORMATION] is not set: nothing is said of the operator on the page."
                .to_owned(),
        );
    }
    lines.push(match settings.store {
        StoreKind::Memory => "Store log disabled.".to_owned(),
        StoreKind::Embedded { .. } => format!("Store log: {}", directories.store().display()),
    });
    for (address, door) in server.ports() {
        let port = address.port();
        let protocol = match door {
            Door::Clients | Door::Shared => "TLS",
            Door::WebSockets => "WebSockets",
            Door::Browsers => "",
        };
        if door != Door::Browsers {
            lines.push(format!(
                "Serving SMP protocol on port {port} ({protocol})..."
            ));
        }
        if matches!(door, Door::Shared | Door::Browsers) && server.serves_browsers() {
            lines.push(format!("Serving static site on port {port} (TLS)..."));
        }
    }
    if !settings.transport.ports.contains(&443) {
        lines.push(
            "WARNING: port 443 is not among the ports: clients in some networks cannot reach others.".to_owned(),
        );
    }
    if let Some(address) = server.control_address() {
        lines.push(format!("Control port: {}", address.port()));
    }
    if let Some(address) = server.metrics_address() {
        lines.push(format!("Metrics: http://{address}/metrics"));
    }
    if let Some(address) = server.page_address() {
        lines.push(format!("Serving static site on port {}", address.port()));
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

pub(super) fn open_store(
    settings: &Settings,
    directories: &Directories,
) -> Result<Box<dyn Store>, CliError> {
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
