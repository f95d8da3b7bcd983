//! What the configuration file of an XFTP router means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use simplex_sans_io::wire::BasicAuth;
use simplex_sans_io::xftp::description::FileSize;
use simplex_sans_io::xftp::router::{Config, Expiration, NewFiles};

use crate::addresses::{AddressLimits, LIMITS};
use crate::ini::{INFORMATION, Ini, IniError, Switch, information};
use crate::store::SyncPolicy;

/// The settings of an XFTP router.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The names of the router, for people.
    pub hosts: Vec<String>,
    /// Where clients connect to.
    pub port: u16,
    /// Whether failed sessions are logged.
    pub log_tls_errors: Switch,
    /// Where records are kept.
    pub store: StoreKind,
    /// How durable records and chunks are when they are acknowledged.
    pub sync: SyncPolicy,
    /// Where chunks are kept.
    pub files: PathBuf,
    /// What files do.
    pub router: Config,
    /// When clients are disconnected that ask nothing.
    pub inactive_clients: Option<InactiveClients>,
    /// What browsers are served with.
    pub web: Web,
    /// Whether the statistics of every day are written to a file.
    pub daily_statistics: Switch,
    /// How often the file of metrics is written.
    pub prometheus_interval: Option<Duration>,
    /// The port on the loopback address where metrics can be read.
    pub metrics_port: Option<u16>,
    /// The control port.
    pub control: Control,
    /// What the operator says of the router, by its name on the page.
    pub information: Vec<(&'static str, String)>,
    /// What one address may have.
    pub addresses: AddressLimits,
    /// What is to be said at start.
    pub advice: Vec<String>,
}

/// When clients are disconnected that ask nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InactiveClients {
    /// After how long without requests.
    pub ttl: Duration,
    /// How often the reference looks for them. Ours go when it is time.
    pub check: Duration,
}

/// What browsers are served with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Web {
    /// The certificate that they trust, and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A port where they are shown the page with this certificate, besides that of the router.
    pub https: Option<u16>,
    /// A port where they are shown the page without TLS.
    pub http: Option<u16>,
    /// A directory with pages of the operator.
    pub pages: Option<PathBuf>,
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
}

/// Where records are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// In memory: they end with the process, and the chunks with them.
    Memory,
    /// In the embedded store.
    Embedded,
}

/// Why a router cannot run with a configuration file.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is wrong.
    #[error("the configuration file is wrong: {0}")]
    Ini(#[from] IniError),
    /// The file cannot be read.
    #[error("{path} cannot be read: {error}; `xftp-server init` makes one")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A store that this router does not have.
    #[error(
        "[STORE_LOG] asks for a database, which this router cannot use yet: export it to files with \
         `xftp-server database export` of the router that wrote it, set `store_files` to `memory`, and start again"
    )]
    Database,
}

const KNOWN: &[(&str, &[&str])] = &[
    ("INFORMATION", INFORMATION),
    (
        "STORE_LOG",
        &[
            "enable",
            "store_files",
            "expire_files_hours",
            "log_stats",
            "prometheus_interval",
            "db_connection",
            "db_schema",
            "db_pool_size",
            "db_store_log",
        ],
    ),
    ("STORE", &["sync"]),
    (
        "AUTH",
        &[
            "new_files",
            "create_password",
            "control_port_admin_password",
            "control_port_user_password",
        ],
    ),
    ("METRICS", &["port"]),
    (
        "TRANSPORT",
        &["host", "port", "log_tls_errors", "control_port"],
    ),
    ("FILES", &["path", "storage_quota"]),
    ("INACTIVE_CLIENTS", &["disconnect", "ttl", "check_interval"]),
    ("WEB", &["static_path", "http", "https", "cert", "key"]),
    ("LIMITS", LIMITS),
];

impl Settings {
    /// A router on a port, which keeps its chunks in a directory and everything else in memory.
    #[must_use]
    pub fn of_port(port: u16, files: &Path) -> Self {
        Self {
            hosts: Vec::new(),
            port,
            log_tls_errors: Switch::Off,
            store: StoreKind::Memory,
            sync: SyncPolicy::default(),
            files: files.to_owned(),
            router: Config::default(),
            inactive_clients: None,
            web: Web::default(),
            daily_statistics: Switch::Off,
            prometheus_interval: None,
            metrics_port: None,
            control: Control::default(),
            addresses: AddressLimits::default(),
            information: Vec::new(),
            advice: Vec::new(),
        }
    }

    /// Where the operator says that the source code is.
    pub(crate) fn source_code(&self) -> Option<&str> {
        let said = self
            .information
            .iter()
            .find(|(name, _)| *name == "Source code");
        said.map(|(_, text)| text.as_str())
    }

    /// Reads a configuration file.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Read {
            path: path.to_owned(),
            error,
        })?;
        let ini: Ini = text.parse().map_err(SettingsError::Ini)?;
        if ini.get("STORE_LOG", "store_files") == Some("database") {
            return Err(SettingsError::Database);
        }
        Ok(Self::of(&ini)?)
    }

    pub(crate) fn of(ini: &Ini) -> Result<Self, IniError> {
        let unknown = ini.unknown(KNOWN).into_iter();
        let mut advice: Vec<String> = unknown
            .map(|key| format!("{key} is not known and has no effect"))
            .collect();
        let kind = |value: &str| (value == "memory").then_some(());
        ini.read("STORE_LOG", "store_files", "`memory`", kind)?;
        let store = match ini.switch("STORE_LOG", "enable", Switch::Off)? {
            Switch::On => StoreKind::Embedded,
            Switch::Off => StoreKind::Memory,
        };
        let policy = |value: &str| match value {
            "always" => Some(SyncPolicy::Always),
            "batch" => Some(SyncPolicy::Batch),
            "os" => Some(SyncPolicy::Os),
            _ => None,
        };
        let sync = ini.read("STORE", "sync", "`always`, `batch` or `os`", policy)?;
        // Who has chosen how it writes knows of it.
        if store == StoreKind::Embedded && sync.is_none() {
            advice.push(
                "records of files are kept in the embedded store: what is acknowledged survives a crash; `sync` in [STORE] says how it is written".to_owned(),
            );
        }
        ini.required("TRANSPORT", "port")?;
        let port = ini.parse("TRANSPORT", "port", "one port")?;
        let port = port.unwrap_or_default();
        let hosts = ini.get("TRANSPORT", "host").unwrap_or_default();
        Ok(Self {
            hosts: hosts
                .split(',')
                .map(|host| host.trim().to_owned())
                .filter(|host| !host.is_empty())
                .collect(),
            log_tls_errors: ini.switch("TRANSPORT", "log_tls_errors", Switch::Off)?,
            store,
            sync: sync.unwrap_or_default(),
            router: router(ini)?,
            inactive_clients: inactive_clients(ini)?,
            web: web(ini, port, &mut advice)?,
            daily_statistics: ini.switch("STORE_LOG", "log_stats", Switch::Off)?,
            prometheus_interval: ini
                .parse("STORE_LOG", "prometheus_interval", "a number of seconds")?
                .map(Duration::from_secs),
            metrics_port: ini.parse("METRICS", "port", "a port")?,
            control: Control {
                port: ini.parse("TRANSPORT", "control_port", "a port")?,
                admin_password: password(ini, "control_port_admin_password")?,
                user_password: password(ini, "control_port_user_password")?,
            },
            addresses: AddressLimits::of(ini)?,
            information: information(ini),
            advice,
            ..Self::of_port(port, ini.required("FILES", "path")?.as_ref())
        })
    }
}

fn password(ini: &Ini, key: &'static str) -> Result<Option<BasicAuth>, IniError> {
    let expected = "printable characters without spaces, `@`, `:` and `/`";
    ini.parse("AUTH", key, expected)
}

fn router(ini: &Ini) -> Result<Config, IniError> {
    let password = password(ini, "create_password")?;
    let new_files = match (ini.switch("AUTH", "new_files", Switch::On)?, password) {
        (Switch::On, None) => NewFiles::Allowed,
        (Switch::On, Some(password)) => NewFiles::WithPassword(password),
        (Switch::Off, _) => NewFiles::Refused,
    };
    let hours = ini.parse("STORE_LOG", "expire_files_hours", "a number of hours")?;
    let quota: Option<FileSize> = ini.parse("FILES", "storage_quota", "a size, such as `100gb`")?;
    Ok(Config {
        new_files,
        quota: quota.map(|FileSize(bytes)| bytes),
        expiration: Some(Expiration {
            ttl: Duration::from_secs(hours.unwrap_or(48_u64).saturating_mul(3600)),
            check: Duration::from_secs(7200),
        }),
        ..Config::default()
    })
}

fn inactive_clients(ini: &Ini) -> Result<Option<InactiveClients>, IniError> {
    let seconds = |key| ini.parse("INACTIVE_CLIENTS", key, "a number of seconds");
    let (ttl, check) = (seconds("ttl")?, seconds("check_interval")?);
    let disconnect = ini.switch("INACTIVE_CLIENTS", "disconnect", Switch::Off)?;
    if !disconnect.is_on() {
        return Ok(None);
    }
    for key in ["ttl", "check_interval"] {
        ini.required("INACTIVE_CLIENTS", key)?;
    }
    Ok(ttl.zip(check).map(|(ttl, check)| InactiveClients {
        ttl: Duration::from_secs(ttl),
        check: Duration::from_secs(check),
    }))
}

fn web(ini: &Ini, port: u16, advice: &mut Vec<String>) -> Result<Web, IniError> {
    let file = |key| ini.get("WEB", key).map(PathBuf::from);
    let certificate = file("cert").zip(file("key"));
    let https = ini.parse("WEB", "https", "a port")?;
    if https.is_some() && certificate.is_none() {
        advice.push("`https` in [WEB] has no effect without `cert` and `key`".to_owned());
    }
    Ok(Web {
        // On the router's own port browsers are served in any case.
        https: https.filter(|https| certificate.is_some() && (*https != port || port == 0)),
        certificate,
        http: ini.parse("WEB", "http", "a port")?,
        pages: file("static_path"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<Settings, IniError> {
        Settings::of(&text.parse()?)
    }

    #[test]
    fn a_file_of_the_reference_is_understood() {
        let settings = settings(
            "[STORE_LOG]\nenable: on\nstore_files: memory\nexpire_files_hours: 24\nlog_stats: on\ndb_pool_size: 10\n\
            [AUTH]\nnew_files: on\ncreate_password: secret\n\
            [TRANSPORT]\nhost: xftp.example.com,abc.onion\nport: 443\nlog_tls_errors: on\ncontrol_port: 5226\n\
            [FILES]\npath: /srv/xftp\nstorage_quota: 100gb\n\
            [INACTIVE_CLIENTS]\ndisconnect: on\nttl: 21600\ncheck_interval: 3600\n\
            [WEB]\nstatic_path: /var/opt/simplex-xftp/www\ncert: web.crt\nkey: web.key\nhttps: 443\nhttp: 8000\n",
        )
        .unwrap();
        assert_eq!(settings.port, 443);
        assert_eq!(settings.hosts, ["xftp.example.com", "abc.onion"]);
        assert_eq!(settings.store, StoreKind::Embedded);
        assert_eq!(settings.router.quota, Some(100 << 30));
        assert!(matches!(
            settings.router.new_files,
            NewFiles::WithPassword(_)
        ));
        let inactive = InactiveClients {
            ttl: Duration::from_secs(21600),
            check: Duration::from_secs(3600),
        };
        assert_eq!(settings.inactive_clients, Some(inactive));
        assert_eq!((settings.web.https, settings.web.http), (None, Some(8000)));
        assert!(settings.web.certificate.is_some());
        assert!(settings.daily_statistics.is_on() && settings.log_tls_errors.is_on());
        assert!(settings.web.pages.is_some());
        assert_eq!(settings.advice.len(), 1, "{:?}", settings.advice);
    }

    #[test]
    fn what_has_no_effect_is_said() {
        let base = "[FILES]\npath = /srv\n[TRANSPORT]\nport = 443\nprot = 1\n[WEB]\nhttps = 8443\n[STORE]\nsync = os\n";
        let settings = settings(base).unwrap();
        let advice = settings.advice.join("\n");
        assert!(
            advice.contains("`prot` in [TRANSPORT] (line 5)"),
            "{advice}"
        );
        assert!(advice.contains("`https` in [WEB]"), "{advice}");
        assert_eq!(settings.store, StoreKind::Memory);
        assert_eq!(settings.sync, SyncPolicy::Os);
    }

    #[test]
    fn what_must_be_there_is_named() {
        let error = |text: &str| settings(text).unwrap_err().to_string();
        assert_eq!(
            error("[FILES]\npath = /srv"),
            "`port` is missing in [TRANSPORT]"
        );
        assert_eq!(
            error("[TRANSPORT]\nport = 443"),
            "`path` is missing in [FILES]"
        );
        let more = |line: &str| {
            error(&format!(
                "[TRANSPORT]\nport = 443\n[FILES]\npath = /srv\n{line}"
            ))
        };
        assert!(more("[AUTH]\nnew_files = yes").contains("`on` or `off`"));
        let inactive = "[INACTIVE_CLIENTS]\ndisconnect = on";
        assert!(more(inactive).contains("`ttl` is missing"));
        let inactive = format!("{inactive}\nttl = 60");
        assert!(more(&inactive).contains("`check_interval` is missing"));
        assert!(error("[TRANSPORT]\nport = 443,5443\n[FILES]\npath = /srv").contains("one port"));
    }
}
