//! `init`, which makes a new router, and `cert`, which renews its certificate.

use std::fs;
use std::io;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use clap::Args;
use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::xftp::description::FileSize;

use super::super::import;
use super::{CliError, Directories, VERSION};
use crate::cli::{SignAlgorithm, host, now, say};
use crate::identity::{IdentityFiles, Privacy, write_file};

const DEFAULT_IP: &str = "127.0.0.1";

#[derive(Debug, Clone, Args)]
pub(super) struct Init {
    /// Keep no records on disk: files end with the process.
    #[arg(long)]
    disable_store_log: bool,
    /// Keep records on disk. This is the default.
    #[arg(short = 'l', long, conflicts_with = "disable_store_log")]
    store_log: bool,
    /// The algorithm of the keys.
    #[arg(
        short = 'a',
        long,
        value_enum,
        ignore_case = true,
        default_value = "ed448"
    )]
    sign_algorithm: SignAlgorithm,
    /// The IP address of the router, where it has no name.
    #[arg(long, default_value = DEFAULT_IP, value_parser = host)]
    ip: String,
    /// The domain name of the router.
    #[arg(short = 'n', long, value_parser = host)]
    fqdn: Option<String>,
    /// Where chunks are kept.
    #[arg(short = 'p', long)]
    path: PathBuf,
    /// How much room they may take: bytes, or `500mb`, `100gb`.
    #[arg(short = 'q', long, value_parser = quota)]
    quota: FileSize,
    /// A directory with pages that the router shows beside its own, instead of `www` among its data.
    #[arg(long)]
    web_path: Option<PathBuf>,
    /// Open a control port on the loopback address: `--control-port`, or `--control-port=PORT`.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "5226")]
    control_port: Option<u16>,
}

impl Init {
    /// How the router is called: nobody can connect to the default of `--ip` from elsewhere.
    fn hosts(&self) -> &str {
        match &self.fqdn {
            Some(fqdn) => fqdn,
            None if self.ip == DEFAULT_IP => "<hostnames>",
            None => &self.ip,
        }
    }

    /// What `run` does when it finds nothing: a router that anybody may try.
    pub(super) fn for_run(path: PathBuf) -> Self {
        Self {
            disable_store_log: false,
            store_log: true,
            sign_algorithm: SignAlgorithm::Ed25519,
            ip: "localhost".to_owned(),
            fqdn: None,
            path,
            quota: FileSize(10 << 30),
            web_path: None,
            control_port: None,
        }
    }
}

fn quota(text: &str) -> Result<FileSize, String> {
    let error =
        |_| "a size is a number of bytes, or one with `kb`, `mb` or `gb` behind it".to_owned();
    text.parse().map_err(error)
}

pub(super) fn initialize(
    directories: &Directories,
    init: &Init,
    port: u16,
) -> Result<(), CliError> {
    let ini = directories.ini();
    if ini.exists() {
        return Err(CliError::Initialized(ini));
    }
    for path in [&directories.configuration, &directories.data, &init.path] {
        fs::create_dir_all(path).map_err(|error| CliError::File {
            path: path.clone(),
            done: "made",
            error,
        })?;
    }
    let mut rng = simplex_runtime_tokio::rng().map_err(io::Error::other)?;
    let name = init.fqdn.as_deref().unwrap_or(&init.ip);
    let files = IdentityFiles(&directories.configuration);
    let fingerprint = files.create(init.sign_algorithm.into(), name, now(), &mut rng)?;
    let passwords = init.control_port.map(|_| {
        let mut password = || URL_SAFE.encode(rng.bytes::<18>());
        [password(), password()]
    });
    let text = configuration(directories, init, port, passwords);
    write_file(&ini, &text, Privacy::Secret).map_err(|error| CliError::File {
        path: ini.clone(),
        done: "written",
        error,
    })?;
    say(&format!(
        "{VERSION}\nInitialized: {}\nFingerprint: {fingerprint}\nServer address: {}\n\n\
         Keep a copy of {} in a safe place, away from this machine: it is needed only for new certificates.",
        ini.display(),
        address(fingerprint, init.hosts(), port),
        directories.configuration.join("ca.key").display()
    ))?;
    warn_of_others(directories, init)?;
    Ok(())
}

/// Says what another router has left.
fn warn_of_others(directories: &Directories, init: &Init) -> io::Result<()> {
    let records = directories.store().exists() || import::is_there(&directories.data);
    if records {
        return say(&format!(
            "WARNING: there are files of another router in {}: this one will have them, too. If that is not wanted, empty the directory.",
            directories.data.display()
        ));
    }
    let is_empty = |entries: fs::ReadDir| entries.take(1).count() == 0;
    match fs::read_dir(&init.path).is_ok_and(|entries| !is_empty(entries)) {
        true => say(&format!(
            "WARNING: there is something in {}: chunks of another router are removed when this one starts.",
            init.path.display()
        )),
        false => Ok(()),
    }
}

pub(super) fn address(fingerprint: Fingerprint, host: &str, port: u16) -> String {
    match port {
        443 => format!("xftp://{fingerprint}@{host}"),
        port => format!("xftp://{fingerprint}@{host}:{port}"),
    }
}

fn configuration(
    directories: &Directories,
    init: &Init,
    port: u16,
    passwords: Option<[String; 2]>,
) -> String {
    let host = init.hosts();
    let store = match init.disable_store_log {
        true => "off",
        false => "on",
    };
    let set = |key: &str, value: Option<String>, default: &str| match value {
        Some(value) => format!("{key} = {value}"),
        None => format!("# {key} = {default}"),
    };
    let [admin, user] = passwords.map_or([None, None], |passwords| passwords.map(Some));
    let admin = set("control_port_admin_password", admin, "");
    let user = set("control_port_user_password", user, "");
    let control_port = init.control_port.map(|port| port.to_string());
    let control_port = set("control_port", control_port, "5226");
    // They mean the same wherever the router is started.
    let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
    let pages = init.web_path.clone();
    let pages = absolute(pages.unwrap_or_else(|| directories.data.join("www")));
    let path = absolute(init.path.clone());
    let (pages, path, quota) = (pages.display(), path.display(), init.quota);
    format!(
        "[INFORMATION]\n\
         # Shown on the page, if source_code is set.\n\
         # source_code = {}\n\
         # server_country = ISO-3166 2-letter code\n\
         # operator = entity (organization or person name)\n\
         # operator_country = ISO-3166 2-letter code\n\
         # website =\n\
         # admin_simplex = SimpleX address\n\
         # admin_email =\n\
         # complaints_simplex = SimpleX address\n\
         # complaints_email =\n\
         # hosting = entity (organization or person name)\n\
         # hosting_country = ISO-3166 2-letter code\n\
         # hosting_type = virtual\n\
         \n\
         [STORE_LOG]\n\
         # `on` keeps records on disk: what is acknowledged survives a crash.\n\
         # `off` keeps them in memory: all files end with the process.\n\
         enable = {store}\n\
         store_files = memory\n\
         expire_files_hours = 48\n\
         # A line of statistics for each day, in file-server-stats.daily.log.\n\
         log_stats = off\n\
         # Metrics, in xftp-server-metrics.txt, every so many seconds.\n\
         # prometheus_interval = 60\n\
         \n\
         [STORE]\n\
         # When records and chunks are on disk before they are acknowledged: `batch`, many together, or\n\
         # `os`, when the operating system likes (a loss of power may undo the last seconds).\n\
         sync = batch\n\
         \n\
         [METRICS]\n\
         # /metrics, /health/live and /health/ready, for this machine only.\n\
         # port = 9465\n\
         \n\
         [AUTH]\n\
         # Whether files can be created, and the password that is needed for it.\n\
         new_files = on\n\
         # create_password = password to upload files (printable, without spaces, `@`, `:` and `/`)\n\
         # The passwords of the control port.\n\
         {admin}\n\
         {user}\n\
         \n\
         [TRANSPORT]\n\
         host = {host}\n\
         port = {port}\n\
         log_tls_errors = off\n\
         {control_port}\n\
         \n\
         [FILES]\n\
         path = {path}\n\
         storage_quota = {quota}\n\
         \n\
         [LIMITS]\n\
         # What one address (or one /64 of IPv6) may have, connections at a time and new ones in a minute; this machine is not limited.\n\
         # connections_per_address = 1000\n\
         # connections_per_minute = 3000\n\
         \n\
         [INACTIVE_CLIENTS]\n\
         # Clients are disconnected when they ask nothing for `ttl` seconds.\n\
         disconnect = off\n\
         # ttl = 21600\n\
         # check_interval = 3600\n\
         \n\
         [WEB]\n\
         # A certificate that browsers trust lets web pages upload and download files.\n\
         # cert = {}\n\
         # key = {}\n\
         # Ports that show the page only: without TLS, and with that certificate.\n\
         # http = 8000\n\
         # https = 8443\n\
         # Pages that are shown beside our own.\n\
         static_path = {pages}\n",
        env!("CARGO_PKG_REPOSITORY"),
        directories.configuration.join("web.crt").display(),
        directories.configuration.join("web.key").display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xftp::settings::Settings;

    #[test]
    fn the_command_line_is_consistent() {
        <super::super::Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn what_init_writes_is_what_start_reads() {
        let directory = tempfile::tempdir().unwrap();
        let directories = super::super::FILES.within(directory.path());
        let init = Init {
            sign_algorithm: SignAlgorithm::Ed448,
            fqdn: Some("xftp.example.com".to_owned()),
            quota: FileSize(100 << 30),
            web_path: Some(directory.path().join("www")),
            control_port: Some(5226),
            ..Init::for_run(directory.path().join("files"))
        };
        initialize(&directories, &init, 7443).unwrap();
        let settings = Settings::read(&directories.ini()).unwrap();
        assert_eq!(settings.port, 7443);
        assert_eq!(settings.hosts, ["xftp.example.com"]);
        assert_eq!(settings.files, init.path);
        assert_eq!(settings.router.quota, Some(100 << 30));
        assert_eq!(settings.web.pages, init.web_path);
        assert_eq!(settings.control.port, Some(5226));
        assert!(settings.control.admin_password.is_some());
        assert_ne!(
            settings.control.admin_password,
            settings.control.user_password
        );
        assert_eq!(settings.advice, Vec::<String>::new());
        assert!(
            IdentityFiles(&directories.configuration)
                .load(now())
                .is_ok()
        );
        let again = initialize(&directories, &init, 443);
        assert!(matches!(again, Err(CliError::Initialized(_))));
    }
}
