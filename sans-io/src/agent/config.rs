//! How an agent is set up: what it supports, how it uses the network, and which routers its users have.

use std::collections::BTreeSet;
use std::time::Duration;

use super::queue::CLIENT_VERSIONS;
use crate::ratchet;
use crate::smp::pool::{RetryInterval, UserId};
use crate::wire::{
    BasicAuth, Scheme, ServerAddress, SmpScheme, TransportHost, Version, VersionRange,
};

/// The versions of agents that are supported.
pub const VERSIONS: VersionRange = match VersionRange::new(2, 7) {
    Some(range) => range,
    None => VersionRange::only(Version(7)),
};
/// Receipts of messages.
pub const RECEIPTS: Version = Version(4);
/// Ratchets can be replaced.
pub const RATCHET_SYNC: Version = Version(3);
/// Post-quantum keys.
pub const PQ: Version = Version(5);
/// The joiner may send before the initiator has agreed.
pub const EARLY_RATCHET: Version = Version(7);

/// How an agent is set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The versions of agents that it speaks with: a higher floor refuses older peers.
    pub versions: VersionRange,
    /// The versions of ratchets.
    pub ratchet_versions: VersionRange,
    /// The versions of what is written into queues.
    pub client_versions: VersionRange,
    /// How it uses the network.
    pub network: NetworkConfig,
    /// The time between attempts to do something that has failed for now.
    pub retry: RetryInterval,
    /// The time between attempts to send to a queue that is full.
    pub retry_full: RetryInterval,
    /// After how long a message that cannot be sent is given up.
    pub message_expiry: Duration,
    /// After how long a message for a queue that is full is given up.
    pub quota_expiry: Duration,
    /// For how long a connection that is being deleted may send what waits.
    pub delete_wait: Duration,
    /// How long each phase of the rotation of a queue may take, before it is given up.
    pub rotation_phase: Duration,
    /// For how long messages of a new queue wait for those of the old one, if its router cannot be asked whether there are any.
    pub order_patience: Duration,
    /// How often deleting a queue may fail before it is given up.
    pub delete_attempts: u16,
    /// For how long it is remembered what was received and sent.
    pub memory: Duration,
    /// How often what has expired is deleted.
    pub cleanup: Duration,
    /// How many connections are kept in memory without need.
    pub cache: usize,
    /// How many messages of one connection may wait to be sent. The agent's own may be a few more.
    pub max_outgoing: usize,
    /// How many bytes the messages of all connections may be that wait to be sent: they are in memory.
    pub max_outgoing_bytes: usize,
    /// How many requests of one address may wait for the application, no more than 255. What comes then stays in the queue, whose router
    /// tells those who ask that it is full.
    pub max_requests: usize,
    /// The same of all addresses.
    pub max_requests_total: usize,
    /// How many events of one connection are kept that its peer can provoke without end: errors, and how queues and ratchets are replaced.
    /// If the application confirms none of them, the oldest make room.
    pub max_events: usize,
    /// How many messages may be under way to one queue before its router has answered.
    pub max_in_flight: usize,
    /// How many records are loaded at a time.
    pub page: usize,
    /// Who turns ratchets with post-quantum keys.
    pub turns: Turns,
    /// Users whose sessions are held in the name of a service, by [`SessionMode::User`]: the driver shows its certificates.
    pub services: BTreeSet<UserId>,
}

/// Who turns ratchets with post-quantum keys, which takes milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Turns {
    /// The machine, at once.
    #[default]
    AtOnce,
    /// The driver, which is [asked](super::Action::Turn) for it.
    ByDriver,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            versions: VERSIONS,
            ratchet_versions: ratchet::SUPPORTED,
            client_versions: CLIENT_VERSIONS,
            network: NetworkConfig::default(),
            retry: RetryInterval {
                initial: Duration::from_secs(2),
                increase_after: Duration::from_secs(10),
                max: Duration::from_secs(120),
            },
            retry_full: RetryInterval {
                initial: Duration::from_secs(300),
                increase_after: Duration::from_secs(60),
                max: Duration::from_secs(6 * 3600),
            },
            message_expiry: Duration::from_secs(2 * 86400),
            quota_expiry: Duration::from_secs(7 * 86400),
            delete_wait: Duration::from_secs(2 * 86400),
            rotation_phase: Duration::from_secs(2 * 86400),
            order_patience: Duration::from_secs(600),
            delete_attempts: 10,
            memory: Duration::from_secs(21 * 86400),
            cleanup: Duration::from_secs(300),
            cache: 256,
            max_outgoing: 10_000,
            max_outgoing_bytes: 128 << 20,
            max_requests: 200,
            max_requests_total: 2_000,
            max_events: 100,
            max_in_flight: 16,
            page: 256,
            turns: Turns::AtOnce,
            services: BTreeSet::new(),
        }
    }
}

/// How an agent uses the network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NetworkConfig {
    /// What has a session of its own.
    pub sessions: SessionMode,
    /// When routers of others are reached through a proxy.
    pub proxy: ProxyMode,
    /// When a router is reached directly because the proxy cannot.
    pub fallback: ProxyFallback,
    /// What hides the address of this machine from routers.
    pub protection: Protection,
    /// Which routers are reached that the user has not chosen, because a peer names them.
    pub strangers: Strangers,
    /// Which routers are reached at the port that they share with browsers.
    pub web_port: WebPort,
}

/// Which routers are reached at port 443, in the words of browsers, where their address names no port: networks that let nothing else
/// pass let this pass. A router of the reference implementation shares this port unless its operator says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebPort {
    /// Those that applications come with, which are known to have it.
    #[default]
    Presets,
    /// All.
    Always,
    /// None.
    Never,
}

/// The domains of the routers that applications come with.
const PRESETS: [&str; 1] = ["simplex.im"];

impl WebPort {
    /// Whether this host is reached there.
    #[must_use]
    pub fn is_used(self, host: &TransportHost) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Presets => {
                let host = host.to_string();
                let names = PRESETS.iter().map(|domain| host.strip_suffix(domain));
                names
                    .flatten()
                    .any(|name| name.is_empty() || name.ends_with('.'))
            }
        }
    }
}

/// Which routers are reached that the user has not chosen: those of links, and of queues that peers name.
///
/// Whoever makes a link decides where an agent connects to, and can so look around in a network that he is not in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strangers {
    /// All.
    #[default]
    Anywhere,
    /// Those at [public](crate::wire::is_public) addresses, whatever their names are resolved to. What a SOCKS proxy resolves it decides
    /// itself.
    Public,
    /// None: a router whose queues are in use has to stay among those of the user. If others are to be reached through a proxy only,
    /// [`ProxyMode::Unknown`] with [`ProxyFallback::Prohibit`] says so.
    Never,
}

impl Strangers {
    /// Whether a router is reached by a user who has these.
    #[must_use]
    pub fn allow<S: Scheme>(self, chosen: &[UserRouter<S>], router: &ServerAddress<S>) -> bool {
        let is_chosen = || chosen.iter().any(|chosen| chosen.has_all_hosts_of(router));
        match self {
            Self::Anywhere => true,
            Self::Public => router.hosts().iter().all(TransportHost::is_public) || is_chosen(),
            Self::Never => is_chosen(),
        }
    }
}

/// What has a session of its own with a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionMode {
    /// Each user.
    #[default]
    User,
    /// Each queue.
    Entity,
}

/// When routers of others are reached through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyMode {
    /// Always.
    Always,
    /// If the user does not know the router.
    Unknown,
    /// If the user does not know the router, and nothing else hides the address of this machine.
    Unprotected,
    /// Never.
    #[default]
    Never,
}

/// When a router is reached directly because the proxy cannot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyFallback {
    /// Always.
    #[default]
    Allow,
    /// If something else hides the address of this machine.
    AllowProtected,
    /// Never: the message waits.
    Prohibit,
}

/// What hides the address of this machine from routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protection {
    /// Nothing.
    #[default]
    None,
    /// Onion addresses are preferred: routers that have one do not see it.
    Onion,
    /// All connections go through a SOCKS proxy.
    Socks,
}

/// A router that a user has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRouter<S: Scheme = SmpScheme> {
    /// Where it is.
    pub address: ServerAddress<S>,
    /// What it asks for before queues or files are made.
    pub password: Option<BasicAuth>,
    /// What it is used for.
    pub roles: Roles,
    /// Who operates it, if that is known: a proxy is to be operated by somebody else than the router behind it.
    pub operator: Option<u32>,
}

/// What a router is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Whether queues, or files, are made there.
    pub storage: Use,
    /// Whether it is a proxy.
    pub proxy: Use,
    /// Whether it is asked for names, which tells it what the user looks for.
    pub names: Use,
}

impl Default for Roles {
    fn default() -> Self {
        Self {
            storage: Use::Yes,
            proxy: Use::Yes,
            names: Use::No,
        }
    }
}

/// Whether a router is used for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It is.
    Yes,
    /// It is not.
    No,
}

impl<S: Scheme> UserRouter<S> {
    /// A router that is used for everything.
    #[must_use]
    pub fn new(address: ServerAddress<S>) -> Self {
        Self {
            address,
            password: None,
            roles: Roles::default(),
            operator: None,
        }
    }

    /// Whether another address leads to no other router: one that has a host besides would.
    #[must_use]
    pub fn has_all_hosts_of(&self, router: &ServerAddress<S>) -> bool {
        let port = |address: &ServerAddress<S>| address.port().unwrap_or(S::PORT);
        let mut hosts = router.hosts().iter();
        port(&self.address) == port(router) && hosts.all(|host| self.address.hosts().contains(host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_presets_are_reached_at_the_port_of_browsers_unless_said_otherwise() {
        for (host, is_preset) in [
            ("smp4.simplex.im", true),
            ("simplex.im", true),
            ("notsimplex.im", false),
            ("simplex.im.example.com", false),
            ("192.0.2.1", false),
        ] {
            let host = host.parse().unwrap();
            assert_eq!(WebPort::default().is_used(&host), is_preset, "{host}");
            assert!(WebPort::Always.is_used(&host) && !WebPort::Never.is_used(&host));
        }
    }
}
