//! A running XFTP router.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use simplex_runtime_tokio::{Stream, Tokio};
use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::drive::{Network as _, Policy, drive};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::tls::{
    self, ClientCertificates, ConfigError, Credentials, ServerConfig, ServerOptions, Tls,
};
use simplex_sans_io::xftp::handshake::Identity;
use simplex_sans_io::xftp::router::{ConnId, Counters, Gauges, Input};
use simplex_sans_io::xftp::server::{self, Config};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::control::Control;
use super::core::{self, CoreHandle, Message, Others};
use super::daily;
use super::disk::{self, Disk};
use super::metrics::Metrics;
use super::page;
use super::session::{Doors, Terms, serve};
use super::settings::{Settings, StoreKind};
use super::store::{Answer, Store, StoreError, StoreThread, Table};
use crate::backup;
use crate::identity::browsers;
use crate::listener::{Limits, Open, Sockets, listen};
use crate::ports::{PortError, bind};
use crate::running::{Running, Tasks, joined};
use crate::store::engine::Engine;
use crate::web::Web;
use crate::web::pages::Pages;
use crate::web::plain::{self, Nobody};

/// Where a running router is asked for backups, among its files.
pub const SOCKET: &str = "xftp-server.sock";

/// Why a router does not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A port cannot be used.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The directory of the chunks cannot be used.
    #[error("chunks cannot be kept in {}: {error}; is it there, is its disk mounted, and may the router write to it?", path.display())]
    Files {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The certificates cannot be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(#[from] ConfigError),
    /// The certificates are those of another router.
    #[error("the certificates are those of another router: restart to become it")]
    Identity,
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no randomness.
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
}

/// What becomes of chunks of which there is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    /// They are removed.
    Removed,
    /// Those of the router before this one stay, of which there may be records that were not understood; others are removed.
    Own,
    /// They stay: the records are new, or somewhere else.
    Kept,
}

/// A running XFTP router.
#[derive(Debug)]
pub struct Server {
    core: CoreHandle,
    tasks: Tasks,
    store: StoreThread,
    terms: watch::Sender<Terms>,
    pages: Pages,
    control_address: Option<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    page_address: Option<SocketAddr>,
    secure_page_address: Option<SocketAddr>,
    address: SocketAddr,
    fingerprint: Fingerprint,
}

impl Server {
    /// Starts a router on a store, whose other files are in the directory `data`. `connections` is how many clients it takes at a time.
    pub async fn start<E: Engine<Table> + 'static>(
        settings: &Settings,
        credentials: Credentials,
        store: Store<E>,
        orphans: Orphans,
        data: &Path,
        connections: usize,
    ) -> Result<Self, ServerError> {
        let network = Tokio::new();
        let mut rng =
            simplex_runtime_tokio::rng().map_err(|error| ServerError::Random(error.to_string()))?;
        let fingerprint = credentials.chain().fingerprint();
        let (doors, xftp) = identity(settings, credentials)?;
        let disk =
            Disk::open(&settings.files, settings.sync).map_err(|error| ServerError::Files {
                path: settings.files.clone(),
                error,
            })?;
        let (listener, address) = bind(network, settings.port).await?;

        let (core, mailbox) = core::mailbox();
        let answers = core.clone();
        let (store, handle) = StoreThread::start(store, move |answer| {
            answers.tell(Message::Input(stored(answer)));
        })?;
        let mut background = JoinSet::new();
        if settings.store == StoreKind::Embedded {
            backup::serve(&mut background, data.join(SOCKET), handle.clone());
        }
        let days = crate::daily::open(
            &mut background,
            settings.daily_statistics,
            data.join(daily::FILE),
        );
        let others = Others {
            store: handle,
            disk: disk.clone(),
            days,
        };
        let router = settings.router.clone();
        let running = core::run(router, rng.fork(), network, others, core.clone(), mailbox);
        let core_task = tokio::spawn(running);
        reconcile(settings.files.clone(), orphans, core.clone());

        let of_pages = settings.clone();
        let pages = Pages::of(settings.web.pages.as_deref(), move || {
            page::site(&of_pages, fingerprint)
        });
        let (terms, current) = watch::channel(Terms {
            doors,
            xftp,
            pages: pages.shown(),
            network,
            core: core.clone(),
            disk: disk.clone(),
        });
        let limits = Limits::new(connections, settings.addresses, settings.log_tls_errors);
        let mut listeners = JoinSet::new();
        let sockets = Arc::<Sockets>::default();
        let (within, mut of_sessions) = (limits.clone(), rng.fork());
        let clients = current.clone();
        let serve = move |stream, number, open| {
            let terms = clients.borrow().clone();
            serve(
                stream,
                ConnId(number),
                terms,
                within.clone(),
                of_sessions.fork(),
                open,
            )
        };
        let counted = Arc::clone(&sockets);
        listeners.spawn(listen(listener, limits.clone(), counted, serve));
        let metrics = Metrics {
            core: core.clone(),
            disk,
            quota: settings.router.quota,
            port: address.port(),
            sockets,
            bites: Arc::clone(&limits.bites),
        };
        if let Some(interval) = settings.prometheus_interval {
            let path = data.join("xftp-server-metrics.txt");
            listeners.spawn(crate::metrics::write(metrics.clone(), path, interval));
        }
        let metrics_address =
            crate::metrics::open(&mut listeners, settings.metrics_port, metrics).await?;
        let page_address =
            plain::open(&mut listeners, settings.web.http, network, pages.shown()).await?;
        let mut secure_page_address = None;
        if let Some(port) = settings.web.https {
            let (listener, address) = bind(network, port).await?;
            secure_page_address = Some(address);
            let (within, mut rng) = (limits.clone(), rng.fork());
            let serve = move |stream, _, open| {
                let terms = current.borrow().clone();
                show(stream, terms, within.clone(), rng.fork(), open)
            };
            listeners.spawn(listen(listener, limits.clone(), Arc::default(), serve));
        }
        let control = Control {
            settings: settings.control.clone(),
            core: core.clone(),
        };
        let control_address =
            crate::control::open(&mut listeners, settings.control.port, control).await?;
        Ok(Self {
            core,
            tasks: Tasks {
                core: core_task,
                listeners,
                background,
                limits,
            },
            store,
            terms,
            pages,
            control_address,
            metrics_address,
            page_address,
            secure_page_address,
            address,
            fingerprint,
        })
    }

    /// Uses other certificates of the same identity, and other settings of files, from now on. Sessions that are there go on.
    pub fn reload(
        &mut self,
        settings: &Settings,
        credentials: Credentials,
    ) -> Result<(), ServerError> {
        if credentials.chain().fingerprint() != self.fingerprint {
            return Err(ServerError::Identity);
        }
        if ![0, self.address.port()].contains(&settings.port) {
            tracing::warn!("`port` in [TRANSPORT] has changed: that takes a restart");
        }
        let (doors, xftp) = identity(settings, credentials)?;
        let (of_pages, fingerprint) = (settings.clone(), self.fingerprint);
        let directory = settings.web.pages.as_deref();
        self.pages
            .become_those_of(directory, move || page::site(&of_pages, fingerprint));
        self.terms.send_modify(|terms| {
            terms.doors = doors;
            terms.xftp = xftp;
        });
        let config = Input::Configure(Box::new(settings.router.clone()));
        self.core.tell(Message::Input(config));
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the control port is, if there is one.
    #[must_use]
    pub const fn control_address(&self) -> Option<SocketAddr> {
        self.control_address
    }

    /// Where metrics can be read, if they can.
    #[must_use]
    pub const fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Where browsers find the page without TLS, if they do.
    #[must_use]
    pub const fn page_address(&self) -> Option<SocketAddr> {
        self.page_address
    }

    /// Where browsers find the page on a port of its own, if they do.
    #[must_use]
    pub const fn secure_page_address(&self) -> Option<SocketAddr> {
        self.secure_page_address
    }

    /// Its identity.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// How it goes.
    pub async fn numbers(&self) -> Option<(Gauges, Counters)> {
        self.core.read().await
    }

    /// Waits until the core has ended, which it only does when it is told to stop.
    pub async fn failed(&mut self) {
        self.tasks.failed().await;
    }

    /// Stops accepting, lets clients go, stores everything.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.tasks.stop(&self.core).await;
        Ok(joined(|| self.store.join()).await?)
    }
}

impl Running for Server {
    type Error = ServerError;

    async fn failed(&mut self) {
        Self::failed(self).await;
    }

    async fn is_alive(&self) -> bool {
        self.numbers().await.is_some()
    }

    async fn stop(self) -> Result<(), ServerError> {
        Self::stop(self).await
    }
}

/// Who the router is, for TLS and above it.
fn identity(settings: &Settings, credentials: Credentials) -> Result<(Doors, Config), ServerError> {
    const PROTOCOLS: [&str; 3] = ["xftp/1", "h2", "http/1.1"];
    const PAGE: [&str; 1] = ["http/1.1"];
    let (chain, key) = (credentials.chain(), credentials.key());
    let identity = Identity::new(Arc::clone(chain), Arc::clone(key));
    let web = settings.web.certificate.as_ref();
    let web = web.and_then(|(certificate, key)| browsers(certificate, key, Vec::new()));
    let config = |protocols: &[&'static str]| {
        let protocols = protocols.to_vec();
        let web = web.clone();
        ServerConfig::new(ServerOptions {
            client_certificates: ClientCertificates::NotAsked,
            web: web.map(|web| tls::Web {
                protocols: protocols.clone(),
                ..web
            }),
            protocols,
            ..ServerOptions::new(credentials.clone())
        })
    };
    let doors = Doors {
        clients: Arc::new(config(&PROTOCOLS)?),
        page: Arc::new(config(&PAGE)?),
    };
    let config = Config {
        inactive: settings.inactive_clients.map(|clients| clients.ttl),
        pages: server::Pages::Served,
        ..Config::new(identity)
    };
    Ok((doors, config))
}

/// Shows the page to a browser, on a port of its own.
async fn show(stream: TcpStream, terms: Terms, limits: Limits, rng: Rng, _open: Open) {
    let Some(place) = limits.admit(&stream).await else {
        return;
    };
    let clock = terms.network.clock();
    let handshake = place.clone();
    let now = simplex_sans_io::drive::Clock::now(&clock);
    let site = Arc::clone(&terms.pages.borrow());
    let machine = Tls::server(&terms.doors.page, now, rng, move |_, now| {
        handshake.secured();
        Web::<(), ()>::new(site, now)
    });
    let session = drive(machine, Stream(stream), clock, Nobody, Policy::ROUTER);
    limits.run(place, Box::pin(session)).await;
}

/// Has chunks looked at of which there may be no record, because the router stopped in the middle of something.
fn reconcile(files: PathBuf, orphans: Orphans, core: CoreHandle) {
    let look = move || {
        let mut kept = 0_usize;
        for chunks in disk::chunks(&files) {
            match (chunks, orphans) {
                (Ok(chunks), Orphans::Kept) => kept = kept.saturating_add(chunks.len()),
                (Ok(mut chunks), Orphans::Removed | Orphans::Own) => {
                    if orphans == Orphans::Own {
                        chunks.retain(|chunk| chunk.name.is_none());
                    }
                    for group in chunks.chunks(1024) {
                        if !core.reconcile(group.to_vec()) {
                            return;
                        }
                    }
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "the chunks on the disk cannot be looked at");
                    return;
                }
            }
        }
        if kept > 0 {
            tracing::warn!(
                "{kept} chunks in {} are left alone, as there are no records that could know of them: if they are not those of another store, remove them",
                files.display()
            );
        }
    };
    let started = std::thread::Builder::new()
        .name("xftp-reconcile".to_owned())
        .spawn(look);
    if let Err(error) = started {
        tracing::warn!(%error, "the chunks on the disk are not looked at");
    }
}

fn stored(answer: Answer) -> Input {
    match answer {
        Answer::Stored(op) => Input::Stored(op),
        Answer::NotStored(first, last, _) => Input::NotStored(first, last),
        Answer::Loaded(load, loaded) => Input::Loaded(load, loaded),
    }
}
