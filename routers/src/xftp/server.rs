//! A running XFTP router.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use simplex_runtime_tokio::{Listener, Tokio};
use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::tls::{
    ClientCertificates, ConfigError, Credentials, ServerConfig, ServerOptions, Web, WebCredentials,
};
use simplex_sans_io::xftp::handshake::Identity;
use simplex_sans_io::xftp::router::{ConnId, Counters, Gauges, Input};
use simplex_sans_io::xftp::server::{Config, Pages};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::control::Control;
use super::core::{self, CoreHandle, Message};
use super::disk::Disk;
use super::metrics::Metrics;
use super::session::{Terms, serve};
use super::settings::Settings;
use super::store::{Answer, Engine, Store, StoreError, StoreThread};
use crate::ports::{bind, bind_loopback};
use crate::web::Site;

/// How long clients are waited for when the router stops.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why a router does not start, or did not stop well.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port cannot be used.
    #[error("port {port} cannot be used: {error}")]
    Listen {
        /// The port.
        port: u16,
        /// Why.
        error: io::Error,
    },
    /// The directory of the chunks cannot be used.
    #[error("chunks cannot be kept in {path}: {error}")]
    Files {
        /// The directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The certificates cannot be used.
    #[error("the certificates cannot be used: {0}")]
    Tls(#[from] ConfigError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no randomness.
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
}

/// A running XFTP router.
#[derive(Debug)]
pub struct Server {
    core: CoreHandle,
    core_task: JoinHandle<()>,
    store: StoreThread,
    listeners: JoinSet<()>,
    control_address: Option<SocketAddr>,
    metrics_address: Option<SocketAddr>,
    sessions: TaskTracker,
    stopping: CancellationToken,
    address: SocketAddr,
    fingerprint: Fingerprint,
}

impl Server {
    /// Starts a router on a store, whose other files are in the directory `data`. `connections` is how many clients it takes at a time.
    pub async fn start<E: Engine>(
        settings: &Settings,
        credentials: Credentials,
        store: Store<E>,
        site: Site,
        data: &Path,
        connections: usize,
    ) -> Result<Self, ServerError> {
        let network = Tokio::new();
        let mut rng =
            simplex_runtime_tokio::rng().map_err(|error| ServerError::Random(error.to_string()))?;
        let fingerprint = credentials.chain().fingerprint();
        let identity = Identity::new(
            Arc::clone(credentials.chain()),
            Arc::clone(credentials.key()),
        );
        let tls = ServerConfig::new(ServerOptions {
            protocols: vec!["xftp/1", "h2", "http/1.1"],
            client_certificates: ClientCertificates::NotAsked,
            web: settings.web.as_ref().and_then(browsers),
            ..ServerOptions::new(credentials)
        })?;
        let (listener, address) =
            bind(network, settings.port)
                .await
                .map_err(|error| ServerError::Listen {
                    port: settings.port,
                    error,
                })?;
        let disk = Disk::open(&settings.files).map_err(|error| ServerError::Files {
            path: settings.files.clone(),
            error,
        })?;

        let (core, mailbox) = core::mailbox();
        let answers = core.clone();
        let (store, handle) = StoreThread::start(store, move |answer| {
            answers.tell(Message::Input(stored(answer)));
        })?;
        let router = settings.router.clone();
        let running = core::run(
            router,
            rng.fork(),
            network,
            handle,
            disk.clone(),
            core.clone(),
            mailbox,
        );
        let core_task = tokio::spawn(running);
        reconcile(disk.clone(), core.clone());

        let xftp = Config {
            inactive: settings.inactive_clients,
            pages: Pages::Served,
            ..Config::new(identity)
        };
        let terms = Terms {
            tls: Arc::new(tls),
            xftp,
            site: Arc::new(site),
            network,
            core: core.clone(),
            disk,
        };
        let (sessions, stopping) = (TaskTracker::new(), CancellationToken::new());
        let listening = listen(
            listener,
            terms,
            connections,
            sessions.clone(),
            stopping.clone(),
            rng,
        );
        let mut listeners = JoinSet::new();
        listeners.spawn(listening);
        let metrics = Metrics {
            core: core.clone(),
            quota: settings.router.quota,
        };
        if let Some(interval) = settings.prometheus_interval {
            let path = data.join("xftp-server-metrics.txt");
            listeners.spawn(crate::metrics::write(metrics.clone(), path, interval));
        }
        let mut metrics_address = None;
        if let Some(port) = settings.metrics_port {
            let (listener, address) = bind_loopback(port)
                .await
                .map_err(|error| ServerError::Listen { port, error })?;
            metrics_address = Some(address);
            listeners.spawn(crate::metrics::listen(metrics, listener));
        }
        let mut control_address = None;
        if let Some(port) = settings.control.port {
            let (listener, address) = bind_loopback(port)
                .await
                .map_err(|error| ServerError::Listen { port, error })?;
            control_address = Some(address);
            let control = Control {
                settings: settings.control.clone(),
                core: core.clone(),
            };
            listeners.spawn(crate::control::listen(listener, control));
        }
        Ok(Self {
            core,
            core_task,
            store,
            listeners,
            control_address,
            metrics_address,
            sessions,
            stopping,
            address,
            fingerprint,
        })
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
        (&mut self.core_task).await.ok();
    }

    /// Stops accepting, lets clients go, stores everything.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        self.listeners.shutdown().await;
        self.sessions.close();
        self.stopping.cancel();
        self.core.tell(Message::Stop);
        if tokio::time::timeout(FAREWELL, self.sessions.wait())
            .await
            .is_err()
        {
            tracing::warn!("some clients did not take their last bytes in time");
        }
        self.core.tell(Message::Abandon);
        self.core_task.await.ok();
        match tokio::task::spawn_blocking(|| self.store.join()).await {
            Ok(joined) => Ok(joined?),
            Err(_) => Ok(()),
        }
    }
}

async fn listen(
    mut listener: Listener,
    terms: Terms,
    connections: usize,
    sessions: TaskTracker,
    stopping: CancellationToken,
    mut rng: Rng,
) {
    let places = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
    let mut next = 0_u64;
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream.0,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections now");
                continue;
            }
        };
        let id = ConnId(next);
        next += 1;
        let session = serve(stream, id, terms.clone(), stopping.clone(), rng.fork());
        sessions.spawn(async move {
            session.await;
            drop(place);
        });
    }
}

/// Has chunks looked at of which there may be no record, because the router stopped in the middle of something.
fn reconcile(disk: Disk, core: CoreHandle) {
    tokio::task::spawn_blocking(move || match disk.chunks() {
        Ok(found) => core.tell(Message::Input(Input::Found(found))),
        Err(error) => tracing::warn!(%error, "the chunks on the disk cannot be looked at"),
    });
}

/// What browsers are shown. A router without it serves its clients all the same.
fn browsers((certificate, key): &(PathBuf, PathBuf)) -> Option<Web> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let credentials = read(certificate).and_then(|chain| {
        let key = read(key)?;
        WebCredentials::from_pem(&chain, &key).map_err(|error| error.to_string())
    });
    match credentials {
        Ok(credentials) => Some(Web {
            credentials,
            protocols: vec!["xftp/1", "h2", "http/1.1"],
        }),
        Err(error) => {
            tracing::warn!(%error, "browsers are not served, as the certificate for them cannot be used");
            None
        }
    }
}

fn stored(answer: Answer) -> Input {
    match answer {
        Answer::Stored(op) => Input::Stored(op),
        Answer::NotStored(first, last, error) => {
            tracing::error!(%error, "what was to be stored is not");
            Input::NotStored(first, last)
        }
        Answer::Loaded(load, loaded) => Input::Loaded(load, loaded),
    }
}
