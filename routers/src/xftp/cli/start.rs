//! `start` and `run`: the router as a process.

use simplex_sans_io::tls::Credentials;
use simplex_sans_io::xftp::router::NewFiles;

use super::{CliError, Directories, init};
use crate::cli::{now, say};
use crate::identity::IdentityFiles;
use crate::running::Signals;
use crate::store::engine::Engine;
use crate::xftp::import::import;
use crate::xftp::server::{Orphans, Server};
use crate::xftp::settings::{Settings, StoreKind};
use crate::xftp::store::{Store, Table};

pub(super) fn run(directories: &Directories) -> Result<(), CliError> {
    let settings = Settings::read(&directories.ini())?;
    for advice in &settings.advice {
        tracing::warn!("{advice}");
    }
    let credentials = IdentityFiles(&directories.configuration).load(now())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    // Chunks whose records are somewhere else must not be taken for those of nobody.
    let is_new = !directories.store().exists();
    match settings.store {
        StoreKind::Memory => {
            let orphans = match is_new {
                true => Orphans::Removed,
                false => Orphans::Kept,
            };
            let store = Store::in_memory();
            let serving = serve(&settings, credentials, store, orphans, directories);
            runtime.block_on(serving)
        }
        StoreKind::Embedded => {
            let mut store = Store::open_with(&directories.store(), settings.sync)?;
            let taken_over = take_over(&mut store, &settings, directories)?;
            let orphans = match is_new && !taken_over {
                true => Orphans::Kept,
                false => Orphans::Removed,
            };
            let serving = serve(&settings, credentials, store, orphans, directories);
            runtime.block_on(serving)
        }
    }
}

/// Takes over what a router of the reference implementation has kept in the same directory, once. Whether there was something.
pub(super) fn take_over<E: Engine<Table>>(
    store: &mut Store<E>,
    settings: &Settings,
    directories: &Directories,
) -> Result<bool, CliError> {
    let taken_over = import(store, &directories.data, &settings.files)?;
    if let Some(summary) = &taken_over {
        tracing::info!(
            "taken over from the store log: {} files, {} of them with a chunk, and {} recipients; {} lines were not understood",
            summary.files,
            summary.chunks,
            summary.recipients,
            summary.left_out
        );
    }
    Ok(taken_over.is_some())
}

async fn serve<E: Engine<Table> + 'static>(
    settings: &Settings,
    credentials: Credentials,
    store: Store<E>,
    orphans: Orphans,
    directories: &Directories,
) -> Result<(), CliError> {
    let signals = Signals::new()?;
    let data = &directories.data;
    let connections = crate::limits::connections();
    let server = Server::start(settings, credentials, store, orphans, data, connections);
    let server = server.await?;
    say(&banner(settings, &server, directories))?;
    let run = signals.run(server, |server| reload(directories, server));
    Ok(run.await?)
}

fn reload(directories: &Directories, server: &mut Server) -> Result<(), CliError> {
    let settings = Settings::read(&directories.ini())?;
    let credentials = IdentityFiles(&directories.configuration).load(now())?;
    Ok(server.reload(&settings, credentials)?)
}

/// The same words as the reference implementation, which operators and their scripts know; without the password, as it may end in a log.
fn banner(settings: &Settings, server: &Server, directories: &Directories) -> String {
    let host = match settings.hosts.join(",") {
        hosts if hosts.is_empty() => "<hostnames>".to_owned(),
        hosts => hosts,
    };
    let address = init::address(server.fingerprint(), &host, settings.port);
    let rule = match &settings.router.new_files {
        NewFiles::Allowed => "allowed",
        NewFiles::WithPassword(_) => "requires password",
        NewFiles::Refused => "NOT allowed",
    };
    let mut lines = vec![
        format!("XFTP server v{}", env!("CARGO_PKG_VERSION")),
        format!("Fingerprint: {}", server.fingerprint()),
        format!("Server address: {address}"),
        match settings.store {
            StoreKind::Memory => "Store log disabled.".to_owned(),
            StoreKind::Embedded => format!("Store log: {}", directories.store().display()),
        },
    ];
    if let Some(address) = server.control_address() {
        lines.push(format!("Control port: {}", address.port()));
    }
    if let Some(address) = server.metrics_address() {
        lines.push(format!("Metrics: http://{address}/metrics"));
    }
    let pages = [
        (server.page_address(), ""),
        (server.secure_page_address(), " (TLS)..."),
    ];
    for (address, kind) in pages {
        if let Some(address) = address {
            lines.push(format!(
                "Serving static site on port {}{kind}",
                address.port()
            ));
        }
    }
    if let Some(expiration) = settings.router.expiration {
        let hours = expiration.ttl.as_secs() / 3600;
        lines.push(format!("expiring files after {hours} hours"));
    }
    lines.push(match settings.inactive_clients {
        Some(ttl) => format!("expiring clients inactive for {} seconds", ttl.as_secs()),
        None => "not expiring inactive clients".to_owned(),
    });
    lines.push(format!("Uploading new files {rule}."));
    let port = server.address().port();
    lines.push(format!("Listening on port {port}..."));
    lines.join("\n")
}
