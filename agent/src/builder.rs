//! How an agent is set up.

use std::collections::BTreeMap;
#[cfg(feature = "xftp")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use simplex_sans_io::agent::config::{Config, NetworkConfig, Protection, SessionMode, Turns};
use simplex_sans_io::crypto::SigningKey;
use simplex_sans_io::crypto::certificate::{CertificateError, Chain, Fingerprint};
use simplex_sans_io::drive::{self, Network, Reach, SmpConnectError, SmpOptions};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::handshake::ServiceRole;
use simplex_sans_io::smp::handshake::client::ServiceCredentials;
use simplex_sans_io::smp::pool::{self, SessionKey, UserId};
use simplex_sans_io::socks::{self, Route, Target};
use simplex_sans_io::tls::{ClientConfig, ClientOptions, Credentials};
use simplex_sans_io::wire::{Scheme, ServerAddress, SmpScheme, TransportHost};
#[cfg(feature = "xftp")]
use simplex_sans_io::{
    agent::files,
    drive::{XftpConnectError, XftpOptions},
    wire::XftpScheme,
};

#[cfg(feature = "xftp")]
use crate::files::{Ways, Worker, Workshop};
use crate::handle::{Agent, Events};
use crate::reach::Reachable;
use crate::running::{Offload, Parts, RunError, run};
use crate::store::Store;
#[cfg(feature = "xftp")]
use crate::xftp::Runtime;

/// What routers and clients of SMP agree on in TLS.
const PROTOCOL: &str = "smp/1";

/// How many events wait for the application before routers are not read any more.
const EVENTS: usize = 128;

/// How many commands wait.
const COMMANDS: usize = 128;

/// For how long a router that could not be reached is not tried again: who asks at the same moment is not kept waiting (`agent.md` 4.13).
const PERSIST_ERROR: Duration = Duration::from_secs(3);

/// How an agent is set up.
///
/// ```no_run
/// # async fn run<N>(network: N, rng: simplex_sans_io::rng::Rng, spawn: impl Fn(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>))
/// # -> Result<(), Box<dyn std::error::Error>>
/// # where N: simplex_sans_io::drive::Network<Stream: Send, Clock: Send> + Clone + Send + Sync + 'static {
/// use simplex_agent::store::{Sqlite, SqliteOptions};
/// use simplex_agent::{Builder, NewLink, UserId, UserRouter};
///
/// let store = Sqlite::open("agent.db".as_ref(), &SqliteOptions::default())?;
/// let (agent, mut events, running) = Builder::new(store).start(network, rng);
/// spawn(Box::pin(async move { if let Err(error) = running.await { eprintln!("{error}") } }));
///
/// let router = "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im".parse()?;
/// agent.set_user(UserId(1), vec![UserRouter::new(router)]).await?;
/// agent.subscribe_all(None).await?;
/// let created = agent.create(NewLink::invitation(UserId(1))).await?;
/// println!("{}", created.link);
/// while let Some(event) = events.next().await {
///     println!("{event:?}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct Builder {
    config: Config,
    pool: pool::Config,
    store: Box<dyn Store>,
    socks: Option<socks::Proxy>,
    offload: Option<Offload>,
    services: BTreeMap<UserId, ServiceIdentity>,
    #[cfg(feature = "xftp")]
    files: Option<Files>,
}

/// What the files of an agent need.
#[cfg(feature = "xftp")]
struct Files {
    config: files::config::Config,
    worker: Box<dyn FnOnce(Ways, Rng) -> Box<dyn Worker> + Send>,
}

/// By what a service is known to routers: certificates that it keeps, with the key of the first of them.
#[derive(Clone)]
pub struct ServiceIdentity {
    chain: Arc<Chain>,
    leaf_key: Arc<SigningKey>,
    tls: Credentials,
}

impl std::fmt::Debug for ServiceIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceIdentity")
            .field("fingerprint", &self.chain.fingerprint())
            .finish_non_exhaustive()
    }
}

impl ServiceIdentity {
    /// Refuses a key that is not that of the first certificate.
    pub fn new(
        chain: impl Into<Arc<Chain>>,
        leaf_key: impl Into<Arc<SigningKey>>,
    ) -> Result<Self, CertificateError> {
        let (chain, leaf_key) = (chain.into(), leaf_key.into());
        let tls = Credentials::new(Arc::clone(&chain), Arc::clone(&leaf_key))?;
        Ok(Self {
            chain,
            leaf_key,
            tls,
        })
    }

    /// Sessions in the name of the service.
    fn apply(
        &self,
        options: SmpOptions,
        router: &ServerAddress<SmpScheme>,
    ) -> Result<SmpOptions, SmpConnectError> {
        let identity =
            Fingerprint::try_from(&**router.key_hash()).map_err(|_| SmpConnectError::Identity)?;
        let tls = ClientConfig::new(ClientOptions {
            protocols: vec![PROTOCOL],
            credentials: Some(self.tls.clone()),
            ..ClientOptions::new(identity)
        })?;
        let mut session = options.session;
        session.handshake.service = Some(ServiceCredentials {
            role: ServiceRole::Messaging,
            chain: Arc::clone(&self.chain),
            leaf_key: Arc::clone(&self.leaf_key),
        });
        Ok(SmpOptions {
            tls: Arc::new(tls),
            session,
            ..options
        })
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("pool", &self.pool)
            .field("socks", &self.socks)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// The usual agent, with this store.
    #[must_use]
    pub fn new(store: impl Store + 'static) -> Self {
        Self {
            config: Config::default(),
            pool: pool::Config {
                persist_error: PERSIST_ERROR,
                ..pool::Config::default()
            },
            store: Box::new(store),
            socks: None,
            offload: None,
            services: BTreeMap::new(),
            #[cfg(feature = "xftp")]
            files: None,
        }
    }

    /// Sends and receives files, over the same network as all else. This directory is for them and for nothing else: what was received is
    /// in it, until the application deletes it, and what is being sent, encrypted. Its path has to be UTF-8.
    #[cfg(feature = "xftp")]
    #[must_use]
    pub fn files<N: Runtime>(mut self, directory: impl Into<PathBuf>, network: N) -> Self {
        let directory = directory.into();
        let worker = move |ways, rng| -> Box<dyn Worker> {
            Box::new(Workshop::new(network, ways, directory, rng))
        };
        let config = self.files.take().map(|files| files.config);
        self.files = Some(Files {
            config: config.unwrap_or_default(),
            worker: Box::new(worker),
        });
        self
    }

    /// Changes how much is done at once for files, and for how long it is tried.
    #[cfg(feature = "xftp")]
    #[must_use]
    pub fn files_config(mut self, config: files::config::Config) -> Self {
        if let Some(files) = &mut self.files {
            files.config = config;
        }
        self
    }

    /// Holds the sessions of a user in the name of a service: a router then subscribes to all its queues at once, however many there
    /// are. For bots, not for people, whose connections it ties together. Only with [`SessionMode::User`].
    #[must_use]
    pub fn service(mut self, user: UserId, identity: ServiceIdentity) -> Self {
        self.config.services.insert(user);
        self.services.insert(user, identity);
        self
    }

    /// Turns ratchets with post-quantum keys elsewhere, which takes milliseconds for each: whatever is given is run once, in a thread
    /// that may be busy for so long. Everything else of the connection waits for it.
    ///
    /// ```
    /// # let store = simplex_agent::store::Memory::default();
    /// let builder = simplex_agent::Builder::new(store).offload(|turn| {
    ///     std::thread::spawn(turn);
    /// });
    /// # drop(builder);
    /// ```
    #[must_use]
    pub fn offload(mut self, run: impl Fn(Box<dyn FnOnce() + Send>) + Send + 'static) -> Self {
        self.offload = Some(Box::new(run));
        self.config.turns = Turns::ByDriver;
        self
    }

    /// Changes what the agent supports, and how long it tries.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        let services = std::mem::take(&mut self.config.services);
        self.config = Config { services, ..config };
        self
    }

    /// Changes how the agent uses the network.
    #[must_use]
    pub const fn network(mut self, network: NetworkConfig) -> Self {
        self.config.network = network;
        self
    }

    /// Changes how sessions with routers are kept.
    #[must_use]
    pub fn sessions(mut self, sessions: pool::Config) -> Self {
        self.pool = sessions;
        self
    }

    /// Reaches all routers through a SOCKS proxy, which keeps sessions apart.
    #[must_use]
    pub fn through(mut self, proxy: socks::Proxy) -> Self {
        self.socks = Some(proxy);
        self.config.network.protection = Protection::Socks;
        self
    }

    /// Starts the agent: the handle, its events, and the future that has to be spawned, or polled together with others.
    ///
    /// The future ends when all handles were dropped, or when the store fails. There is one thread besides, the store's, which has ended
    /// by then. Dropping the future ends everything at once, as a crash does: nothing is lost.
    pub fn start<N>(
        self,
        network: N,
        rng: Rng,
    ) -> (
        Agent,
        Events,
        impl Future<Output = Result<(), RunError>> + use<N>,
    )
    where
        N: Network + Clone,
    {
        let (asking, asked) = drive::queue(COMMANDS);
        let (telling, told) = drive::queue(EVENTS);
        let (socks, mode) = (self.socks, self.config.network.sessions);
        let protection = self.config.network.protection;
        let web_port = self.config.network.web_port;
        let reachable = Reachable::new(self.config.network.strangers);
        #[cfg(feature = "xftp")]
        let mut rng = rng;
        #[cfg(feature = "xftp")]
        let files = self.files.map(|files| {
            let ways = ways(socks.clone(), protection, reachable.clone());
            let mut config = files.config;
            config.protection = protection;
            (config, (files.worker)(ways, rng.fork()))
        });
        let parts = Parts {
            config: self.config,
            pool: self.pool,
            network,
            store: self.store,
            rng,
            asked,
            events: telling,
            offload: self.offload,
            reachable: reachable.clone(),
            #[cfg(feature = "xftp")]
            files,
        };
        let services = self.services;
        let options = move |session: &SessionKey| {
            let reach = reachable.of(session.user, &session.router);
            let reach = reach.ok_or(SmpConnectError::Stranger)?;
            let options = options(socks.as_ref(), protection, mode, session)?;
            let options = SmpOptions {
                reach: first_reach(&options.route, reach),
                ..options
            };
            let options = match services.get(&session.user) {
                Some(service) => service.apply(options, &session.router)?,
                None => options,
            };
            Ok(match web_port.is_used(&options.route.last().host) {
                true => options.at_web_port(&session.router),
                false => options,
            })
        };
        let running = run(parts, options);
        (Agent::new(asking), Events::new(told), running)
    }
}

/// How far the first host of a way is looked for: the application has chosen the proxy.
const fn first_reach(route: &Route, reach: Reach) -> Reach {
    match route {
        Route::Direct(_) => reach,
        Route::Through { .. } => Reach::Anywhere,
    }
}

/// How the router of a session is reached.
fn options(
    socks: Option<&socks::Proxy>,
    protection: Protection,
    mode: SessionMode,
    session: &SessionKey,
) -> Result<SmpOptions, SmpConnectError> {
    let router = &session.router;
    let Some(proxy) = socks else {
        return SmpOptions::to(router);
    };
    let apart = match (mode, &session.scope) {
        (SessionMode::Entity, Some(scope)) => format!("{}:{scope:?}", session.user.0),
        (SessionMode::Entity | SessionMode::User, _) => session.user.0.to_string(),
    };
    let route = through(proxy, protection, router, &apart).ok_or(SmpConnectError::NoHost)?;
    SmpOptions::with(route, router)
}

/// How the routers of files are reached, if they may be.
#[cfg(feature = "xftp")]
fn ways(socks: Option<socks::Proxy>, protection: Protection, reachable: Reachable) -> Ways {
    Arc::new(move |user, router| {
        let reach = reachable.of_files(user, router);
        let reach = reach.ok_or(XftpConnectError::Stranger)?;
        let options = file_options(socks.as_ref(), protection, user, router)?;
        Ok(XftpOptions {
            reach: first_reach(&options.route, reach),
            ..options
        })
    })
}

/// How the router of a file is reached.
#[cfg(feature = "xftp")]
fn file_options(
    socks: Option<&socks::Proxy>,
    protection: Protection,
    user: UserId,
    router: &ServerAddress<XftpScheme>,
) -> Result<XftpOptions, XftpConnectError> {
    let Some(proxy) = socks else {
        return XftpOptions::to(router);
    };
    let route = through(proxy, protection, router, &user.0.to_string());
    XftpOptions::with(route.ok_or(XftpConnectError::NoHost)?, router)
}

/// The way to a router through a proxy, which keeps sessions apart.
fn through<S: Scheme>(
    proxy: &socks::Proxy,
    protection: Protection,
    router: &ServerAddress<S>,
    apart: &str,
) -> Option<Route> {
    let hosts = router.hosts();
    let onion = hosts.iter().find(|host| host.is_onion());
    let public = hosts.iter().find(|host| !host.is_onion());
    let host: Option<&TransportHost> = match protection {
        Protection::Onion | Protection::Socks => onion.or(public),
        Protection::None => public.or(onion),
    };
    let target = Target {
        host: host?.clone(),
        port: router.port().unwrap_or(S::PORT),
    };
    Some(Route::Through {
        proxy: proxy.target.clone(),
        authentication: proxy.authentication(apart),
        target,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(feature = "xftp")]
    use simplex_sans_io::agent::config::{Strangers, UserRouter};

    const ONION: &str = "o5vmywmrnaxalvz6wi3zicyftgio6psuvyniis6gco6bp6ekl4cqj4id.onion";

    fn session(user: i64) -> SessionKey {
        let address =
            format!("smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp.example,{ONION}:7001");
        SessionKey {
            user: UserId(user),
            router: address.parse().unwrap(),
            scope: None,
        }
    }

    #[test]
    fn with_a_proxy_nothing_goes_straight_and_users_are_kept_apart() {
        let proxy = socks::Proxy::default();
        let route = |user| {
            let mode = SessionMode::User;
            options(Some(&proxy), Protection::Socks, mode, &session(user))
                .unwrap()
                .route
        };
        let Route::Through { target, .. } = route(1) else {
            panic!("straight")
        };
        assert!(target.host.is_onion());
        assert_eq!(target.port, 7001);
        assert_eq!(route(1), route(1));
        assert_ne!(route(1), route(2));
    }

    #[cfg(feature = "xftp")]
    #[test]
    fn files_take_no_other_way_than_messages() {
        let address = "xftp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@xftp.example";
        let router: ServerAddress<XftpScheme> = address.parse().unwrap();
        let proxy = socks::Proxy::default();
        let route = |proxy, user| {
            file_options(proxy, Protection::Socks, UserId(user), &router)
                .unwrap()
                .route
        };
        let Route::Through { target, .. } = route(Some(&proxy), 1) else {
            panic!("straight")
        };
        assert_eq!(target.port, 443);
        assert_ne!(route(Some(&proxy), 1), route(Some(&proxy), 2));
        assert!(matches!(route(None, 1), Route::Direct(_)));
    }

    #[cfg(feature = "xftp")]
    #[test]
    fn files_lead_to_no_neighbours_that_the_user_has_not_chosen() {
        let address = |host: &str| -> ServerAddress<XftpScheme> {
            let text = format!("xftp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@{host}");
            text.parse().unwrap()
        };
        let reachable = Reachable::new(Strangers::Public);
        let own = UserRouter::new(address("10.0.0.1"));
        reachable.choose_for_files(UserId(1), vec![own]);
        let way = |socks: Option<socks::Proxy>, host: &str| {
            let ways = ways(socks, Protection::None, reachable.clone());
            ways(UserId(1), &address(host)).map(|options| options.reach)
        };
        let refused = way(None, "10.0.0.2");
        assert!(matches!(refused, Err(XftpConnectError::Stranger)));
        assert_eq!(way(None, "10.0.0.1").unwrap(), Reach::Anywhere);
        assert_eq!(way(None, "a.example").unwrap(), Reach::Public);
        // The proxy may be where it is, and is not led to neighbours.
        let proxy = socks::Proxy::default();
        assert_eq!(
            way(Some(proxy.clone()), "a.example").unwrap(),
            Reach::Anywhere
        );
        let refused = way(Some(proxy), "localhost");
        assert!(matches!(refused, Err(XftpConnectError::Stranger)));
    }

    #[test]
    fn without_a_proxy_public_hosts_are_reached_straight() {
        let options = options(None, Protection::None, SessionMode::User, &session(1)).unwrap();
        assert!(matches!(options.route, Route::Direct(target) if !target.host.is_onion()));
    }
}
