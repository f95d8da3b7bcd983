//! `start` and `run`: the router as a process.

use simplex_sans_io::tls::Credentials;
use simplex_sans_io::xftp::router::NewFiles;

use super::{CliError, Directories, VERSION, init};
use crate::cli::{now, say};
use crate::identity::IdentityFiles;
use crate::running::Signals;
use crate::store::engine::Engine;
use crate::xftp::import::{Import, STORE_LOG, import};
use crate::xftp::server::{Orphans, Server};
use crate::xftp::settings::{InactiveClients, Settings, StoreKind};
use crate::xftp::store::{Store, Table};

pub(super) fn run(directories: &Directories) -> Result<(), CliError> {
    // A router goes on if nobody reads what it says.
    say(VERSION).ok();
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
            let orphans = match take_over(&mut store, &settings, directories)? {
                Import::Nothing if is_new => Orphans::Kept,
                // They may be those of the other router.
                Import::Changed => Orphans::Kept,
                Import::Done(summary) if summary.left_out > 0 => Orphans::Own,
                Import::Before => Orphans::Own,
                Import::Nothing | Import::Done(_) => Orphans::Removed,
            };
            let serving = serve(&settings, credentials, store, orphans, directories);
            runtime.block_on(serving)
        }
    }
}

/// Takes over what a router of the reference implementation has kept in the same directory, once.
pub(super) fn take_over<E: Engine<Table>>(
    store: &mut Store<E>,
    settings: &Settings,
    directories: &Directories,
) -> Result<Import, CliError> {
    let log = directories.data.join(STORE_LOG);
    let log = log.display();
    let import = import(store, &directories.data, &settings.files)?;
    match &import {
        Import::Done(summary) => tracing::info!(
            "taken over from {log}, which stays as it is: {} files, {} of them with a chunk, and {} recipients; {} lines were not understood",
            summary.files,
            summary.chunks,
            summary.recipients,
            summary.left_out
        ),
        Import::Changed => tracing::warn!(
            "{log} has changed since it was taken over, and is not taken over again: to do that, remove {}",
            directories.store().display()
        ),
        Import::Nothing | Import::Before => {}
    }
    Ok(import)
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
    let used = server.numbers().await.map(|(gauges, _)| gauges.used);
    let banner = banner(settings, &server, used.unwrap_or_default(), directories);
    say(&banner).ok();
    let run = signals.run(server, |server| reload(directories, server));
    Ok(run.await?)
}

fn reload(directories: &Directories, server: &mut Server) -> Result<(), CliError> {
    let settings = Settings::read(&directories.ini())?;
    let credentials = IdentityFiles(&directories.configuration).load(now())?;
    Ok(server.reload(&settings, credentials)?)
}

/// The same words as the reference implementation, which operators and their scripts know; without the password, as it may end in a log.
fn banner(settings: &Settings, server: &Server, used: u64, directories: &Directories) -> String {
    let host = match settings.hosts.join(",") {
        hosts if hosts.is_empty() => "<hostnames>".to_owned(),
        hosts => hosts,
    };
    // The system has chosen the port if there is none in the configuration.
    let address = init::address(server.fingerprint(), &host, server.address().port());
    let rule = match &settings.router.new_files {
        NewFiles::Allowed => "allowed",
        NewFiles::WithPassword(_) => "requires password",
        NewFiles::Refused => "NOT allowed",
    };
    let mut lines = vec![
        format!("Fingerprint: {}", server.fingerprint()),
        format!("Server address: {address}"),
    ];
    lines.push(match settings.source_code() {
        Some(source) => format!("Source code: {source}"),
        None => "WARNING: `source_code` in [INFORMATION] is not set: nothing is said of the operator on the page."
            .to_owned(),
    });
    lines.push(match settings.store {
        StoreKind::Memory => "Store log disabled.".to_owned(),
        StoreKind::Embedded => format!("Store log: {}", directories.store().display()),
    });
    if let Some(quota) = settings.router.quota {
        lines.push(format!(
            "Total / available storage: {quota} / {}",
            quota.saturating_sub(used)
        ));
        if used > quota {
            lines.push(format!(
                "WARNING: files take {used} bytes, more than `storage_quota`."
            ));
        }
    }
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
        Some(InactiveClients { ttl, check }) => format!(
            "expiring clients inactive for {} seconds every {} seconds",
            ttl.as_secs(),
            check.as_secs()
        ),
        None => "not expiring inactive clients".to_owned(),
    });
    lines.push(format!("Uploading new files {rule}."));
    let port = server.address().port();
    lines.push(format!("Listening on port {port}..."));
    lines.join("\n")
}
