//! What the configuration file of an XFTP router means.

use std::path::{Path, PathBuf};
use std::time::Duration;

use simplex_sans_io::wire::BasicAuth;
use simplex_sans_io::xftp::description::FileSize;
use simplex_sans_io::xftp::router::{Config, Expiration, NewFiles};

use crate::ini::{INFORMATION, Ini, IniError, Switch};

/// The settings of an XFTP router.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The names of the router, for people.
    pub hosts: Vec<String>,
    /// Where clients connect to.
    pub port: u16,
    /// Where records are kept.
    pub store: StoreKind,
    /// Where chunks are kept.
    pub files: PathBuf,
    /// What files do.
    pub router: Config,
    /// After how long without requests clients are disconnected.
    pub inactive_clients: Option<Duration>,
    /// The certificate that web browsers trust, and its key.
    pub web: Option<(PathBuf, PathBuf)>,
    /// How often the file of metrics is written.
    pub prometheus_interval: Option<Duration>,
    /// The port on the loopback address where metrics can be read.
    pub metrics_port: Option<u16>,
    /// The control port.
    pub control: Control,
    /// What is to be said at start.
    pub advice: Vec<String>,
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
        ],
    ),
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
    ("WEB", &["cert", "key"]),
];

impl Settings {
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

    fn of(ini: &Ini) -> Result<Self, IniError> {
        let unknown = ini.unknown(KNOWN).into_iter();
        let mut advice: Vec<String> = unknown
            .map(|key| format!("{key} is not known and has no effect"))
            .collect();
        if ini.switch("STORE_LOG", "log_stats", Switch::Off)?.is_on() {
            advice.push("the daily statistics file is not written yet: `log_stats` in [STORE_LOG] has no effect".to_owned());
        }
        let enabled = ini.switch("STORE_LOG", "enable", Switch::Off)?;
        ini.required("TRANSPORT", "port")?;
        let port = ini.parse("TRANSPORT", "port", "one port")?;
        let hosts = ini.get("TRANSPORT", "host").unwrap_or_default();
        let web = ini.get("WEB", "cert").zip(ini.get("WEB", "key"));
        Ok(Self {
            hosts: hosts
                .split(',')
                .map(|host| host.trim().to_owned())
                .filter(|host| !host.is_empty())
                .collect(),
            port: port.unwrap_or_default(),
            store: match enabled {
                Switch::On => StoreKind::Embedded,
                Switch::Off => StoreKind::Memory,
            },
            files: PathBuf::from(ini.required("FILES", "path")?),
            router: router(ini)?,
            inactive_clients: inactive_clients(ini)?,
            web: web.map(|(certificate, key)| (certificate.into(), key.into())),
            prometheus_interval: ini
                .parse("STORE_LOG", "prometheus_interval", "a number of seconds")?
                .map(Duration::from_secs),
            metrics_port: ini.parse("METRICS", "port", "a port")?,
            control: Control {
                port: ini.parse("TRANSPORT", "control_port", "a port")?,
                admin_password: password(ini, "control_port_admin_password")?,
                user_password: password(ini, "control_port_user_password")?,
            },
            advice,
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

fn inactive_clients(ini: &Ini) -> Result<Option<Duration>, IniError> {
    if !ini
        .switch("INACTIVE_CLIENTS", "disconnect", Switch::Off)?
        .is_on()
    {
        return Ok(None);
    }
    ini.required("INACTIVE_CLIENTS", "ttl")?;
    let ttl = ini.parse("INACTIVE_CLIENTS", "ttl", "a number of seconds")?;
    Ok(ttl.map(Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_reference_is_understood() {
        let ini: Ini = "[STORE_LOG]\nenable: on\nexpire_files_hours: 24\n[AUTH]\nnew_files: on\ncreate_password: secret\n\
            [TRANSPORT]\nhost: xftp.example.com\nport: 443\n[FILES]\npath: /srv/xftp\nstorage_quota: 100gb\n\
            [INACTIVE_CLIENTS]\ndisconnect: on\nttl: 21600\ncheck_interval: 3600\n"
            .parse()
            .unwrap();
        let settings = Settings::of(&ini).unwrap();
        assert_eq!(settings.port, 443);
        assert_eq!(settings.store, StoreKind::Embedded);
        assert_eq!(settings.router.quota, Some(100 << 30));
        assert!(matches!(
            settings.router.new_files,
            NewFiles::WithPassword(_)
        ));
        assert_eq!(settings.inactive_clients, Some(Duration::from_secs(21600)));
        assert_eq!(settings.advice, Vec::<String>::new());
    }

    #[test]
    fn what_must_be_there_is_named() {
        let error = |text: &str| {
            let ini: Ini = text.parse().unwrap();
            Settings::of(&ini).unwrap_err().to_string()
        };
        assert_eq!(
            error("[FILES]\npath = /srv"),
            "`port` is missing in [TRANSPORT]"
        );
        assert_eq!(
            error("[TRANSPORT]\nport = 443"),
            "`path` is missing in [FILES]"
        );
        assert!(error("[TRANSPORT]\nport = 443,5443\n[FILES]\npath = /srv").contains("one port"));
    }
}
