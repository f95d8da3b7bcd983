//! A running SMP router.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use simplex_runtime_tokio::Tokio;
use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::smp::handshake::router::Identity;
use simplex_sans_io::smp::router::{ConnId, Counters, Gauges, Input};
use simplex_sans_io::smp::server;
use simplex_sans_io::tls::{
    ClientCertificates, ConfigError, Credentials, ServerConfig, ServerOptions,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::control::Control;
use super::core::{self, CoreHandle, Keeper, Message, Others};
use super::daily;
use super::metrics::Metrics;
use super::page;
use super::relays;
pub use super::session::Door;
use super::session::{Accepted, Doors, Terms, serve};
use super::settings::{Settings, StoreKind};
use super::store::{Store, StoreError, StoreThread, Worker};
use crate::backup;
use crate::identity::browsers;
use crate::listener::{Limits, Sockets, listen};
use crate::ports::{PortError, bind};
use crate::running::{Running, Tasks, joined};
use crate::web::pages::Pages;
use crate::web::plain;

/// Where a running router is asked for backups, among its files.
pub const SOCKET: &str = "smp-server.sock";

/// How many commands wait for the store.
const STORE_MAILBOX: usize = 4096;

/// Why a router does not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A port cannot be used.
    #[error(transparent)]
    Port(#[from] PortError),
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

/// A running SMP router.
#[derive(Debug)]
pub struct Server {
    control_address: Option<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    page_address: Option<SocketAddr>,
    pages: Pages,
    core: CoreHandle,
    tasks: Tasks,
    /// The thread of the store, if it has one.
    store: Option<StoreThread>,
    ports: Vec<Port>,
    fingerprint: Fingerprint,
    terms: watch::Sender<Terms>,
}

#[derive(Debug)]
struct Port {
    address: SocketAddr,
    door: Door,
    sockets: Arc<Sockets>,
}

impl Server {
    /// Starts a router on a store, whose other files are in the directory `data`. `connections` is how many clients it takes at a time.
    pub async fn start(
        settings: &Settings,
        credentials: Credentials,
        store: Box<dyn Store>,
        data: &Path,
        connections: usize,
    ) -> Result<Self, ServerError> {
        let network = Tokio::new();
        let mut rng =
            simplex_runtime_tokio::rng().map_err(|error| ServerError::Random(error.to_string()))?;
        let fingerprint = credentials.chain().fingerprint();
        let (doors, smp) = identity(settings, credentials)?;
        let mut bound = Vec::new();
        for (port, door) in doors_of(settings, doors.shared.is_some()) {
            let (listener, address) = bind(network, port).await?;
            bound.push((listener, address, door));
        }

        let (core, mailbox) = core::mailbox();
        let answers = core.clone();
        let mut background = JoinSet::new();
        let (keeper, store) = if matches!(settings.store, StoreKind::Memory) {
            (Keeper::Here(Box::new(Worker::new(store))), None)
        } else {
            let (thread, handle) = StoreThread::start(store, STORE_MAILBOX, move |answer| {
                answers.tell(Message::Input(answer.into()));
            })?;
            backup::serve(&mut background, data.join(SOCKET), handle.clone());
            (Keeper::Thread(handle), Some(thread))
        };
        let (proxy, asked) = tokio::sync::mpsc::unbounded_channel();
        background.spawn(relays::run(
            settings.proxy.clone(),
            network,
            rng.fork(),
            core.clone(),
            asked,
        ));
        let names = settings.names.clone().map(|resolver| {
            let (names, asked) = tokio::sync::mpsc::unbounded_channel();
            background.spawn(resolver.run(core.clone(), asked));
            names
        });
        let days = crate::daily::open(
            &mut background,
            settings.daily_statistics,
            data.join(daily::FILE),
        );
        let others = Others { proxy, names, days };
        let router = settings.router.clone();
        let running = core::run(router, rng.fork(), network, keeper, others, mailbox);
        let core_task = tokio::spawn(running);

        let of_pages = settings.clone();
        let pages = Pages::of(settings.pages.as_deref(), move || {
            page::site(&of_pages, fingerprint)
        });
        let (terms, current) = watch::channel(Terms {
            doors,
            smp,
            pages: pages.shown(),
            websockets: settings.transport.websockets_beside_page,
            network,
            core: core.clone(),
        });
        let limits = Limits::new(
            connections,
            settings.addresses,
            settings.transport.log_tls_errors,
        );
        let mut listeners = JoinSet::new();
        let mut ports = Vec::new();
        for (listener, address, door) in bound {
            let sockets = Arc::<Sockets>::default();
            ports.push(Port {
                address,
                door,
                sockets: Arc::clone(&sockets),
            });
            let (terms, within, mut rng) = (current.clone(), limits.clone(), rng.fork());
            let serve = move |stream, number, open| {
                let accepted = Accepted {
                    stream,
                    door,
                    id: ConnId(number),
                    terms: terms.borrow().clone(),
                    rng: rng.fork(),
                };
                serve(Box::new(accepted), within.clone(), open)
            };
            listeners.spawn(listen(listener, limits.clone(), sockets, serve));
        }
        let numbers = |port: &Port| (port.address.port(), Arc::clone(&port.sockets));
        let metrics = Metrics {
            core: core.clone(),
            sockets: ports.iter().map(numbers).collect(),
            bites: Arc::clone(&limits.bites),
            names: settings.names.clone(),
        };
        if let Some(interval) = settings.prometheus_interval {
            let path = data.join("smp-server-metrics.txt");
            listeners.spawn(crate::metrics::write(metrics.clone(), path, interval));
        }
        let metrics_address =
            crate::metrics::open(&mut listeners, settings.metrics_port, metrics).await?;
        let page_address =
            plain::open(&mut listeners, settings.web_plain, network, pages.shown()).await?;
        let control = Control {
            settings: settings.control.clone(),
            core: core.clone(),
            sockets: ports.iter().map(numbers).collect(),
            blocked: Arc::default(),
        };
        let control_address =
            crate::control::open(&mut listeners, settings.control.port, control).await?;
        Ok(Self {
            control_address,
            metrics_address,
            page_address,
            pages,
            core,
            tasks: Tasks {
                core: core_task,
                listeners,
                background,
                limits,
            },
            store,
            ports,
            fingerprint,
            terms,
        })
    }

    /// Uses other certificates of the same identity, and other settings of queues, from now on. Sessions that are there go on.
    pub fn reload(
        &mut self,
        settings: &Settings,
        credentials: Credentials,
    ) -> Result<(), ServerError> {
        if credentials.chain().fingerprint() != self.fingerprint {
            return Err(ServerError::Identity);
        }
        let ports: Vec<_> = settings
            .transport
            .ports
            .iter()
            .filter(|port| **port != 0)
            .collect();
        let serves = |port: &u16| {
            self.ports
                .iter()
                .any(|served| served.address.port() == *port)
        };
        if !ports.into_iter().all(serves) {
            tracing::warn!("`port` in [TRANSPORT] has changed: that takes a restart");
        }
        let (doors, smp) = identity(settings, credentials)?;
        let (of_pages, fingerprint) = (settings.clone(), self.fingerprint);
        let directory = settings.pages.as_deref();
        self.pages
            .become_those_of(directory, move || page::site(&of_pages, fingerprint));
        self.terms.send_modify(|terms| {
            terms.doors = doors;
            terms.smp = smp;
        });
        let config = Input::Configure(Box::new(settings.router.clone()));
        self.core.tell(Message::Input(config));
        Ok(())
    }

    /// Where it listens, and for whom.
    pub fn ports(&self) -> impl Iterator<Item = (SocketAddr, Door)> + '_ {
        self.ports.iter().map(|port| (port.address, port.door))
    }

    /// Whether it has a certificate for browsers.
    #[must_use]
    pub fn serves_browsers(&self) -> bool {
        self.terms.borrow().doors.shared.is_some()
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

    /// Waits until the core has ended, which it only does by itself when the store is gone.
    pub async fn failed(&mut self) {
        self.tasks.failed().await;
    }

    /// Stops accepting, lets clients go, stores everything.
    pub async fn stop(self) -> Result<(), ServerError> {
        self.tasks.stop(&self.core).await;
        match self.store {
            Some(store) => Ok(joined(|| store.join()).await?),
            None => Ok(()),
        }
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

/// The ports to listen on. Without a certificate for browsers there are none for them alone.
fn doors_of(settings: &Settings, for_browsers: bool) -> Vec<(u16, Door)> {
    let transport = &settings.transport;
    let web = settings.web.as_ref().map(|web| web.port);
    let clients = transport.ports.iter().map(|port| {
        let door = match web == Some(*port) {
            true => Door::Shared,
            false => Door::Clients,
        };
        (*port, door)
    });
    let websockets = transport.websockets.iter();
    let mut doors: Vec<_> = clients
        .chain(websockets.map(|port| (*port, Door::WebSockets)))
        .collect();
    if let Some(port) = web
        && for_browsers
        && doors.iter().all(|(taken, _)| *taken != port)
    {
        doors.push((port, Door::Browsers));
    }
    doors
}

fn identity(
    settings: &Settings,
    credentials: Credentials,
) -> Result<(Doors, server::Config), ServerError> {
    let (chain, key) = (credentials.chain(), credentials.key());
    let identity = Identity::new(Arc::clone(chain), Arc::clone(key));
    let config = |web| {
        ServerConfig::new(ServerOptions {
            protocols: vec!["smp/1", "h2", "http/1.1"],
            client_certificates: ClientCertificates::Asked,
            web,
            ..ServerOptions::new(credentials.clone())
        })
    };
    let shared = match settings
        .web
        .as_ref()
        .and_then(|web| browsers(&web.certificate, &web.key, vec!["http/1.1"]))
    {
        Some(web) => Some(Arc::new(config(Some(web))?)),
        None => None,
    };
    let clients = Arc::new(config(None)?);
    Ok((Doors { clients, shared }, server::Config::new(identity)))
}
