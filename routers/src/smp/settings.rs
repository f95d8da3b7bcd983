//! What the configuration file of an SMP router means.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use simplex_sans_io::smp::router::{Config, Expiration, NewQueues};
use simplex_sans_io::socks;
use simplex_sans_io::wire::BasicAuth;

use super::names::{Resolver, ResolverError};
use super::store::SyncPolicy;
use crate::addresses::{AddressLimits, LIMITS};
use crate::ini::{INFORMATION, Ini, IniError, Switch, information};

const DAY: u64 = 86_400;

/// The settings of an SMP router.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where clients connect to.
    pub transport: Transport,
    /// Where queues are kept.
    pub store: StoreKind,
    /// What queues do.
    pub router: Config,
    /// Whether the statistics of every day are written to a file.
    pub daily_statistics: Switch,
    /// How often the file of metrics is written.
    pub prometheus_interval: Option<Duration>,
    /// The port on the loopback address where metrics can be read.
    pub metrics_port: Option<u16>,
    /// The control port.
    pub control: Control,
    /// How relays are reached.
    pub proxy: Proxy,
    /// The page for browsers.
    pub web: Option<Web>,
    /// The port where browsers are shown the page without TLS.
    pub web_plain: Option<u16>,
    /// A directory with pages, which the router adds its own to.
    pub pages: Option<PathBuf>,
    /// What the operator says of the router, by its name on the page.
    pub information: Vec<(&'static str, String)>,
    /// What one address may have.
    pub addresses: AddressLimits,
    /// Who resolves names.
    pub names: Option<Resolver>,
    /// What is to be said at start.
    pub advice: Vec<String>,
}

/// Where clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// The names of the router, for people.
    pub hosts: Vec<String>,
    /// The ports.
    pub ports: Vec<u16>,
    /// The ports where clients speak WebSockets, above TLS.
    pub websockets: Vec<u16>,
    /// Whether browsers may speak WebSockets on the port of the page.
    pub websockets_beside_page: Switch,
    /// Whether failed handshakes are logged.
    pub log_tls_errors: Switch,
}

/// Where queues are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory: they end with the process.
    Memory,
    /// In the embedded store.
    Embedded {
        /// How durable.
        sync: SyncPolicy,
        /// Whether messages outlive the process.
        messages: Switch,
    },
}

/// The control port.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Control {
    /// The port, on the loopback address.
    pub port: Option<u16>,
    /// What makes an administrator.
    pub admin_password: Option<BasicAuth>,
    /// What makes a user.
    pub user_password: Option<BasicAuth>,
    /// How many queues users of the control port may block in a day.
    pub block_quota: BlockQuota,
}

/// How many queues users of the control port may block in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockQuota {
    /// Any number.
    Unlimited,
    /// So many.
    Daily(u32),
    /// None.
    Prohibited,
}

impl Default for BlockQuota {
    fn default() -> Self {
        Self::Daily(20)
    }
}

/// How relays are reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxy {
    /// The domains of the operator's other routers.
    pub own_domains: Vec<String>,
    /// The SOCKS proxy.
    pub socks: Option<socks::Proxy>,
    /// For which hosts it is used.
    pub socks_mode: SocksMode,
    /// Which hosts of a relay are used.
    pub host_mode: HostMode,
    /// Whether a relay that has no such host is not reached at all.
    pub required_host_mode: Switch,
}

/// Which hosts of a relay are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostMode {
    /// Public ones.
    #[default]
    Public,
    /// Onion hosts.
    Onion,
}

/// For which hosts a SOCKS proxy is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SocksMode {
    /// For onion hosts.
    #[default]
    Onion,
    /// For all.
    Always,
}

/// The page for browsers, on a port that they share with clients or on one of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// The port.
    pub port: u16,
    /// The certificates that browsers trust.
    pub certificate: PathBuf,
    /// Their key.
    pub key: PathBuf,
}

/// Why a router cannot run with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is wrong.
    #[error("the configuration file is wrong: {0}")]
    Ini(#[from] IniError),
    /// Names cannot be resolved.
    #[error("[NAMES] in the configuration file is wrong: {0}")]
    Names(#[from] ResolverError),
    /// The file cannot be read.
    #[error("{path} cannot be read: {error}; `smp-server init` makes one")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A store that this router does not have.
    #[error(
        "[STORE_LOG] asks for a database, which this router cannot use yet: export it to files with \
         `smp-server database export` of the router that wrote it, set `store_queues` and `store_messages` to `memory`, and start again"
    )]
    Database,
}

const KNOWN: &[(&str, &[&str])] = &[
    ("INFORMATION", INFORMATION),
    (
        "STORE_LOG",
        &[
            "enable",
            "store_queues",
            "store_messages",
            "restore_messages",
            "expire_messages_days",
            "expire_messages_on_start",
            "expire_messages_on_send",
            "expire_ntfs_hours",
            "log_stats",
            "prometheus_interval",
        ],
    ),
    ("STORE", &["sync"]),
    ("METRICS", &["port"]),
    (
        "AUTH",
        &[
            "new_queues",
            "create_password",
            "control_port_admin_password",
            "control_port_user_password",
            "daily_block_queue_quota",
        ],
    ),
    (
        "TRANSPORT",
        &[
            "host",
            "port",
            "log_tls_errors",
            "websockets",
            "control_port",
        ],
    ),
    (
        "PROXY",
        &[
            "host_mode",
            "required_host_mode",
            "own_server_domains",
            "socks_proxy",
            "socks_mode",
            "client_concurrency",
        ],
    ),
    (
        "NAMES",
        &[
            "enable",
            "resolver_endpoint",
            "resolver_auth",
            "resolver_timeout_ms",
            "resolver_max_response_bytes",
            "resolver_concurrency",
        ],
    ),
    ("INACTIVE_CLIENTS", &["disconnect", "ttl", "check_interval"]),
    ("WEB", &["static_path", "http", "https", "cert", "key"]),
    ("LIMITS", LIMITS),
];

impl Settings {
    /// Whether it is said where the source code is: otherwise nothing is said of the router.
    #[must_use]
    pub const fn says_source_code(&self) -> bool {
        !self.information.is_empty()
    }

    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Read {
            path: path.to_owned(),
            error,
        })?;
        let ini: Ini = text.parse().map_err(SettingsError::Ini)?;
        if ini.get("STORE_LOG", "store_queues") == Some("database")
            || ini.get("STORE_LOG", "store_messages") == Some("database")
        {
            return Err(SettingsError::Database);
        }
        Self::of(&ini)
    }

    pub(crate) fn of(ini: &Ini) -> Result<Self, SettingsError> {
        let mut advice = Vec::new();
        for key in ini.unknown(KNOWN) {
            advice.push(format!("{key} is not known and has no effect"));
        }
        let store = store(ini, &mut advice)?;
        let names = Resolver::of(ini)?;
        let router = Config {
            resolves_names: names.is_some(),
            ..router(ini)?
        };
        let transport = transport(ini)?;
        let web = web(ini, &mut advice)?;
        Ok(Self {
            transport,
            web,
            web_plain: ini.parse("WEB", "http", "a port")?,
            pages: ini.get("WEB", "static_path").map(PathBuf::from),
            information: information(ini),
            store,
            router,
            daily_statistics: ini.switch("STORE_LOG", "log_stats", Switch::Off)?,
            prometheus_interval: ini
                .parse("STORE_LOG", "prometheus_interval", "a number of seconds")?
                .map(Duration::from_secs),
            metrics_port: ini.parse("METRICS", "port", "a port")?,
            control: control(ini)?,
            proxy: proxy(ini)?,
            addresses: AddressLimits::of(ini)?,
            names,
            advice,
        })
    }
}

fn transport(ini: &Ini) -> Result<Transport, IniError> {
    ini.required("TRANSPORT", "port")?;
    let list = |value: &str| -> Option<Vec<u16>> {
        value
            .split(',')
            .map(|port| port.trim().parse().ok())
            .collect()
    };
    let expected = "ports, separated by commas, such as `5223,443`";
    let mut ports: Vec<u16> = Vec::new();
    for port in ini
        .read("TRANSPORT", "port", expected, list)?
        .unwrap_or_default()
    {
        // Zero is a new port each time.
        if port == 0 || !ports.contains(&port) {
            ports.push(port);
        }
    }
    let websockets = |value: &str| match value {
        "off" => Some(Vec::new()),
        "on" => Some(vec![80]),
        value => list(value),
    };
    let expected = "`off`, `on` for port 80, or ports, separated by commas";
    let mut websockets = ini
        .read("TRANSPORT", "websockets", expected, websockets)?
        .unwrap_or_default();
    let websockets_beside_page = match websockets.is_empty() {
        true => Switch::Off,
        false => Switch::On,
    };
    // A port that is there twice is one without WebSockets.
    websockets.retain(|port| *port == 0 || !ports.contains(port));
    let hosts = ini.get("TRANSPORT", "host").unwrap_or_default();
    Ok(Transport {
        hosts: hosts
            .split(',')
            .map(|host| host.trim().to_owned())
            .filter(|host| !host.is_empty())
            .collect(),
        ports,
        websockets,
        websockets_beside_page,
        log_tls_errors: ini.switch("TRANSPORT", "log_tls_errors", Switch::Off)?,
    })
}

fn store(ini: &Ini, advice: &mut Vec<String>) -> Result<StoreKind, IniError> {
    let enabled = ini.switch("STORE_LOG", "enable", Switch::Off)?;
    let kind = |value: &str| matches!(value, "memory" | "journal").then_some(());
    ini.read("STORE_LOG", "store_queues", "`memory`", kind)?;
    // A journal stays when its router ends, whatever becomes of messages in memory.
    let journal = |value: &str| match value {
        "memory" => Some(false),
        "journal" => Some(true),
        _ => None,
    };
    let expected = "`memory` or `journal`";
    let journal = ini.read("STORE_LOG", "store_messages", expected, journal)?;
    let messages = ini.switch("STORE_LOG", "restore_messages", enabled)?;
    let messages = match journal {
        Some(true) => Switch::On,
        Some(false) | None => messages,
    };
    let policy = |value: &str| match value {
        "always" => Some(SyncPolicy::Always),
        "batch" => Some(SyncPolicy::Batch),
        "os" => Some(SyncPolicy::Os),
        _ => None,
    };
    let sync = ini.read("STORE", "sync", "`always`, `batch` or `os`", policy)?;
    Ok(match enabled {
        Switch::Off => StoreKind::Memory,
        Switch::On => {
            // Who has chosen how it writes knows of it.
            if sync.is_none() {
                advice.push(
                    "queues and messages are kept in the embedded store: what is acknowledged survives a crash; `sync` in [STORE] says how it is written".to_owned(),
                );
            }
            StoreKind::Embedded {
                sync: sync.unwrap_or_default(),
                messages,
            }
        }
    })
}

fn router(ini: &Ini) -> Result<Config, IniError> {
    let config = Config::default();
    let days = ini.parse("STORE_LOG", "expire_messages_days", "a number of days")?;
    let hours = ini.parse("STORE_LOG", "expire_ntfs_hours", "a number of hours")?;
    let seconds = |value: Option<u64>| value.map(Duration::from_secs);
    let disconnect = ini.switch("INACTIVE_CLIENTS", "disconnect", Switch::Off)?;
    let inactive_clients = match disconnect {
        Switch::Off => None,
        Switch::On => {
            ini.required("INACTIVE_CLIENTS", "ttl")?;
            ini.required("INACTIVE_CLIENTS", "check_interval")?;
            let expected = "a number of seconds";
            let ttl = seconds(ini.parse("INACTIVE_CLIENTS", "ttl", expected)?);
            let check = seconds(ini.parse("INACTIVE_CLIENTS", "check_interval", expected)?);
            ttl.zip(check).map(|(ttl, check)| Expiration { ttl, check })
        }
    };
    let password = password(ini, "create_password")?;
    let new_queues = match (ini.switch("AUTH", "new_queues", Switch::On)?, password) {
        (Switch::On, None) => NewQueues::Allowed,
        (Switch::On, Some(password)) => NewQueues::WithPassword(password),
        (Switch::Off, password) => NewQueues::Refused(password),
    };
    let on_start = ini.switch("STORE_LOG", "expire_messages_on_start", Switch::On)?;
    let on_send = ini.switch("STORE_LOG", "expire_messages_on_send", Switch::On)?;
    let expected = "a number above 0";
    let concurrency = ini.parse::<NonZeroUsize>("PROXY", "client_concurrency", expected)?;
    let names = ini.parse::<NonZeroUsize>("NAMES", "resolver_concurrency", expected)?;
    Ok(Config {
        new_queues,
        message_expiration: Some(Expiration {
            ttl: Duration::from_secs(days.unwrap_or(21_u64).saturating_mul(DAY)),
            check: Duration::from_secs(7200),
        }),
        expire_on_start: on_start.is_on(),
        expire_on_send: on_send.is_on(),
        notification_expiration: Some(Expiration {
            ttl: Duration::from_secs(hours.unwrap_or(24_u64).saturating_mul(3600)),
            check: Duration::from_secs(3600),
        }),
        inactive_clients,
        max_forwarded: concurrency.map_or(config.max_forwarded, NonZeroUsize::get),
        max_names: names.map_or(config.max_names, NonZeroUsize::get),
        ..config
    })
}

fn password(ini: &Ini, key: &'static str) -> Result<Option<BasicAuth>, IniError> {
    ini.parse(
        "AUTH",
        key,
        "printable characters without spaces, `@`, `:` and `/`",
    )
}

fn control(ini: &Ini) -> Result<Control, IniError> {
    let quota = |value: &str| match value.parse::<i64>().ok()? {
        0 => Some(BlockQuota::Unlimited),
        -1 => Some(BlockQuota::Prohibited),
        quota => u32::try_from(quota).ok().map(BlockQuota::Daily),
    };
    let expected = "a number, 0 for no limit, or -1 for none";
    Ok(Control {
        port: ini.parse("TRANSPORT", "control_port", "a port")?,
        admin_password: password(ini, "control_port_admin_password")?,
        user_password: password(ini, "control_port_user_password")?,
        block_quota: ini
            .read("AUTH", "daily_block_queue_quota", expected, quota)?
            .unwrap_or_default(),
    })
}

fn proxy(ini: &Ini) -> Result<Proxy, IniError> {
    let domains = ini.get("PROXY", "own_server_domains").unwrap_or_default();
    let hosts = |value: &str| match value {
        "public" => Some(HostMode::Public),
        "onion" => Some(HostMode::Onion),
        _ => None,
    };
    let mode = |value: &str| match value {
        "onion" => Some(SocksMode::Onion),
        "always" => Some(SocksMode::Always),
        _ => None,
    };
    Ok(Proxy {
        own_domains: domains
            .split([' ', ','])
            .filter(|domain| !domain.is_empty())
            .map(str::to_owned)
            .collect(),
        socks: ini.parse(
            "PROXY",
            "socks_proxy",
            "`host:port` or `user:password@host:port`",
        )?,
        socks_mode: ini
            .read("PROXY", "socks_mode", "`onion` or `always`", mode)?
            .unwrap_or_default(),
        host_mode: ini
            .read("PROXY", "host_mode", "`public` or `onion`", hosts)?
            .unwrap_or_default(),
        required_host_mode: ini.switch("PROXY", "required_host_mode", Switch::Off)?,
    })
}

fn web(ini: &Ini, advice: &mut Vec<String>) -> Result<Option<Web>, IniError> {
    let port = ini.parse("WEB", "https", "a port")?;
    let file = |key| ini.get("WEB", key).map(PathBuf::from);
    Ok(match (port, file("cert"), file("key")) {
        (Some(port), Some(certificate), Some(key)) => Some(Web {
            port,
            certificate,
            key,
        }),
        (Some(_), _, _) => {
            advice.push(
                "[WEB] needs `cert` and `key` beside `https`: the page is not served".to_owned(),
            );
            None
        }
        (None, _, _) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, SettingsError> {
        Settings::of(&text.parse()?)
    }

    #[test]
    fn messages_of_a_journal_stay_whatever_becomes_of_those_in_memory() {
        let store = |kind: &str| {
            let text = format!(
                "[STORE_LOG]\nenable: on\nstore_messages: {kind}\nrestore_messages: off\n\
                 [TRANSPORT]\nhost: smp.example.com\nport: 5223\n"
            );
            settings(&text).unwrap().store
        };
        let of = |messages| StoreKind::Embedded {
            sync: SyncPolicy::Batch,
            messages,
        };
        assert_eq!(store("memory"), of(Switch::Off));
        assert_eq!(store("journal"), of(Switch::On));
    }

    #[test]
    fn an_ini_of_the_reference_means_what_it_meant() {
        let settings = settings(
            "[STORE_LOG]\nenable: on\nstore_queues: memory\nstore_messages: memory\nrestore_messages: on\n\
             expire_messages_days: 21\nexpire_messages_on_start: on\nexpire_messages_on_send: off\nexpire_ntfs_hours: 24\nlog_stats: off\n\
             [AUTH]\nnew_queues: on\ncreate_password: secret\n\
             [TRANSPORT]\nhost: smp.example.com\nport: 5223,443\nlog_tls_errors: off\nwebsockets: off\ncontrol_port: 5224\n\
             [PROXY]\nown_server_domains: example.com example.org\n\
             [INACTIVE_CLIENTS]\ndisconnect: on\nttl: 21600\ncheck_interval: 3600\n\
             [WEB]\nstatic_path: /var/opt/simplex/www\n",
        )
        .unwrap();
        assert_eq!(settings.transport.ports, [5223, 443]);
        assert_eq!(settings.transport.hosts, ["smp.example.com"]);
        assert_eq!(
            settings.store,
            StoreKind::Embedded {
                sync: SyncPolicy::Batch,
                messages: Switch::On
            }
        );
        assert!(!settings.router.expire_on_send);
        assert!(matches!(
            settings.router.new_queues,
            NewQueues::WithPassword(_)
        ));
        let inactive = settings.router.inactive_clients.unwrap();
        assert_eq!(inactive.ttl, Duration::from_secs(21_600));
        assert_eq!(settings.control.port, Some(5224));
        assert_eq!(settings.control.block_quota, BlockQuota::Daily(20));
        assert_eq!(settings.proxy.own_domains, ["example.com", "example.org"]);
        assert_eq!(settings.advice.len(), 1);
    }

    #[test]
    fn a_port_is_opened_once_and_nobody_waits_for_ever() {
        let twice = settings("[TRANSPORT]\nport = 5223,443,5223\n").unwrap();
        assert_eq!(twice.transport.ports, [5223, 443]);
        for limit in [
            "[PROXY]\nclient_concurrency",
            "[NAMES]\nresolver_concurrency",
        ] {
            let refused = settings(&format!("[TRANSPORT]\nport = 5223\n{limit} = 0\n"));
            assert!(refused.unwrap_err().to_string().contains("above 0"));
        }
    }

    #[test]
    fn without_a_store_log_nothing_outlives_the_process() {
        let settings = settings("[TRANSPORT]\nport = 5223\n").unwrap();
        assert_eq!(settings.store, StoreKind::Memory);
        assert!(settings.router.expire_on_send);
        assert!(settings.advice.is_empty());
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let settings =
            settings("[TRANSPORT]\nport = 5223\nprot = 1\n[WEB]\nhttps = 443\ncert = a\n[STORE_LOG]\ndb_pool_size = 9\n").unwrap();
        let advice = settings.advice.join("\n");
        assert!(advice.contains("`db_pool_size` in [STORE_LOG]"));
        assert!(advice.contains("`prot` in [TRANSPORT] (line 3)"));
        assert!(advice.contains("[WEB]"));
    }

    #[test]
    fn websockets_are_off_on_port_80_or_on_ports_that_have_nothing_else() {
        let websockets = |value: &str| {
            let settings = settings(&format!("[TRANSPORT]\nport = 5223,443\n{value}\n"));
            settings.map(|settings| settings.transport.websockets)
        };
        assert!(websockets("").unwrap().is_empty());
        assert!(websockets("websockets = off").unwrap().is_empty());
        assert_eq!(websockets("websockets: on").unwrap(), [80]);
        assert_eq!(websockets("websockets = 443,8443").unwrap(), [8443]);
        assert!(websockets("websockets = yes").is_err());
    }

    #[test]
    fn relays_are_reached_as_the_file_says() {
        let settings = settings(
            "[TRANSPORT]\nport = 5223\n[PROXY]\nhost_mode = onion\nrequired_host_mode = on\n\
             socks_proxy = localhost:9050\nsocks_mode = always\n",
        )
        .unwrap();
        assert_eq!(settings.proxy.host_mode, HostMode::Onion);
        assert!(settings.proxy.required_host_mode.is_on());
        assert_eq!(settings.proxy.socks_mode, SocksMode::Always);
    }
}
