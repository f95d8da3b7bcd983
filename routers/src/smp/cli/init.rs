//! `init`, which makes a new router, and `cert`, which renews its certificate.

use std::fs;
use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use clap::Args;
use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::rng::Rng;

use super::{CliError, Directories};
use crate::cli::{SignAlgorithm, country, host, now, say};
use crate::identity::{IdentityFiles, Privacy, write_file};
use crate::smp::store::import::Sources;

const DEFAULT_IP: &str = "127.0.0.1";

const COUNTRY: &str = "ISO-3166 2-letter code";
const ENTITY: &str = "entity (organization or person name)";
const DEFAULT_PROXY: &str = "127.0.0.1:9050";

#[derive(Debug, Clone, Args)]
pub(super) struct Init {
    /// Keep nothing on disk: queues and messages end with the process.
    #[arg(long)]
    pub(super) disable_store_log: bool,
    /// Keep queues on disk. This is the default.
    #[arg(short = 'l', long, conflicts_with = "disable_store_log")]
    pub(super) store_log: bool,
    /// PostgreSQL, which is not supported.
    #[arg(short = 'd', long, hide = true)]
    database: Option<String>,
    /// Of PostgreSQL.
    #[arg(long, hide = true)]
    schema: Option<String>,
    /// Of PostgreSQL.
    #[arg(long, hide = true)]
    pool_size: Option<u32>,
    /// Write statistics every day.
    #[arg(short = 's', long)]
    pub(super) daily_stats: bool,
    /// The algorithm of the keys.
    #[arg(
        short = 'a',
        long,
        value_enum,
        ignore_case = true,
        default_value = "ed25519"
    )]
    sign_algorithm: SignAlgorithm,
    /// The IP address of the router, where it has no name.
    #[arg(long, default_value = DEFAULT_IP, value_parser = host)]
    pub(super) ip: String,
    /// The domain name of the router.
    #[arg(short = 'n', long, value_parser = host)]
    pub(super) fqdn: Option<String>,
    /// Let anybody create queues.
    #[arg(long, conflicts_with = "password")]
    pub(super) no_password: bool,
    /// The password to create queues. Without this and --no-password a random one is made.
    #[arg(long)]
    pub(super) password: Option<String>,
    /// Open a control port on the loopback address: `--control-port`, or `--control-port=PORT`.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "5224")]
    control_port: Option<u16>,
    /// Reach onion relays through a SOCKS proxy: `--socks-proxy`, or `--socks-proxy=HOST:PORT`.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = DEFAULT_PROXY)]
    socks_proxy: Option<String>,
    /// The domains of your other routers, separated by commas.
    #[arg(long)]
    own_domains: Option<String>,
    /// Where the source code of the router is; all that follows needs it.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = env!("CARGO_PKG_REPOSITORY"))]
    source_code: Option<String>,
    /// The name of the operator.
    #[arg(long, requires = "source_code")]
    operator: Option<String>,
    /// The country of the operator, two letters.
    #[arg(long, requires = "source_code", value_parser = country)]
    operator_country: Option<String>,
    /// The page of the operator.
    #[arg(long, requires = "source_code")]
    operator_website: Option<String>,
    /// Who hosts the router.
    #[arg(long, requires = "source_code")]
    hosting: Option<String>,
    /// The country of the one who hosts the router, two letters.
    #[arg(long, requires = "source_code", value_parser = country)]
    hosting_country: Option<String>,
    /// How the router is hosted.
    #[arg(long, requires = "source_code", value_parser = ["virtual", "dedicated", "colocation", "owned"])]
    hosting_type: Option<String>,
    /// The country of the router, two letters.
    #[arg(long, requires = "source_code", value_parser = country)]
    server_country: Option<String>,
    /// A directory with pages that the router shows; it writes its own there. `www` beside the store, if not said otherwise.
    #[arg(long)]
    web_path: Option<String>,
    /// Do not serve the page for browsers; otherwise it is served as soon as web.crt and web.key are beside the configuration.
    #[arg(long)]
    disable_web: bool,
    /// Ask nothing.
    #[arg(short = 'y', long)]
    pub(super) yes: bool,
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

    /// What `run` does when it finds nothing: a router that anybody on this machine may try, at the address that it prints.
    pub(super) fn for_run() -> Self {
        Self {
            disable_store_log: false,
            store_log: true,
            database: None,
            schema: None,
            pool_size: None,
            web_path: None,
            disable_web: true,
            daily_stats: false,
            sign_algorithm: SignAlgorithm::Ed25519,
            ip: "localhost".to_owned(),
            fqdn: None,
            no_password: true,
            password: None,
            control_port: None,
            socks_proxy: None,
            own_domains: None,
            source_code: None,
            operator: None,
            operator_country: None,
            operator_website: None,
            hosting: None,
            hosting_country: None,
            hosting_type: None,
            server_country: None,
            yes: true,
        }
    }
}

pub(super) fn initialize(
    directories: &Directories,
    init: &Init,
    ports: &str,
) -> Result<Fingerprint, CliError> {
    let ini = directories.ini();
    if ini.exists() {
        return Err(CliError::Initialized(ini));
    }
    if init.database.is_some() || init.schema.is_some() || init.pool_size.is_some() {
        return Err(CliError::Database);
    }
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    if !ports.split(',').all(is_port) {
        return Err(CliError::Ports(ports.to_owned()));
    }
    if let Some(password) = &init.password
        && password
            .parse::<simplex_sans_io::wire::BasicAuth>()
            .is_err()
    {
        return Err(CliError::Password(password.clone()));
    }
    for path in [&directories.configuration, &directories.data] {
        fs::create_dir_all(path).map_err(|error| CliError::File {
            path: path.clone(),
            done: "made",
            error,
        })?;
    }
    let mut rng = simplex_runtime_tokio::rng().map_err(io::Error::other)?;
    let name = init.fqdn.as_deref().unwrap_or(&init.ip);
    let files = IdentityFiles(&directories.configuration);
    let algorithm = init.sign_algorithm.into();
    let fingerprint = files.create(algorithm, name, now(), &mut rng)?;
    let password = match (&init.password, init.no_password) {
        (Some(password), _) => Some(password.clone()),
        (None, true) => None,
        (None, false) => Some(URL_SAFE.encode(rng.bytes::<32>())),
    };
    let text = configuration(directories, init, ports, password.as_deref(), &mut rng);
    write_file(&ini, &text, Privacy::Secret).map_err(|error| CliError::File {
        path: ini.clone(),
        done: "written",
        error,
    })?;
    let address = address(fingerprint, password.as_deref(), init.hosts());
    say(&format!(
        "Initialized: {}\nFingerprint: {fingerprint}\nServer address: {address}\n\n\
         Keep a copy of {} in a safe place, away from this machine: it is needed only for new certificates.",
        ini.display(),
        directories.configuration.join("ca.key").display()
    ))?;
    if directories.store().exists() || !Sources::find(&directories.data).is_empty() {
        say(&format!(
            "WARNING: there are queues of another router in {}: this one will have them, too. If that is not wanted, empty the directory.",
            directories.data.display()
        ))?;
    }
    Ok(fingerprint)
}

/// The address, as clients of routers on the usual ports need it.
pub(super) fn address(fingerprint: Fingerprint, password: Option<&str>, host: &str) -> String {
    let password = password
        .map(|password| format!(":{password}"))
        .unwrap_or_default();
    format!("smp://{fingerprint}{password}@{host}")
}

fn configuration(
    directories: &Directories,
    init: &Init,
    ports: &str,
    password: Option<&str>,
    rng: &mut Rng,
) -> String {
    let on = |on: bool| if on { "on" } else { "off" };
    let commented = |key: &str, value: Option<&str>, default: &str| match value {
        Some(value) => format!("{key} = {value}"),
        None => format!("# {key} = {default}"),
    };
    let store = on(!init.disable_store_log);
    let mut control_password = || {
        init.control_port
            .map(|_| URL_SAFE.encode(rng.bytes::<18>()))
    };
    let admin = commented(
        "control_port_admin_password",
        control_password().as_deref(),
        "",
    );
    let user = commented(
        "control_port_user_password",
        control_password().as_deref(),
        "",
    );
    let create_password = commented(
        "create_password",
        password,
        "password to create queues (printable, without spaces, `@`, `:` and `/`)",
    );
    let control = init.control_port.map(|port| port.to_string());
    let control_port = commented("control_port", control.as_deref(), "5224");
    let socks = commented("socks_proxy", init.socks_proxy.as_deref(), DEFAULT_PROXY);
    let own_domains = commented("own_server_domains", init.own_domains.as_deref(), "");
    let log_stats = on(init.daily_stats);
    let host = init.hosts();
    let unless_served = if init.disable_web { "# " } else { "" };
    let certificate = directories.configuration.join("web.crt");
    let key = directories.configuration.join("web.key");
    let (certificate, key) = (certificate.display(), key.display());
    let pages = match &init.web_path {
        Some(path) => path.clone(),
        None => directories.data.join("www").display().to_string(),
    };
    let information: String = [
        ("source_code", &init.source_code, "URI"),
        (
            "usage_conditions",
            &None,
            "https://github.com/simplex-chat/simplex-chat/blob/stable/PRIVACY.md",
        ),
        ("condition_amendments", &None, "link"),
        ("server_country", &init.server_country, COUNTRY),
        ("operator", &init.operator, ENTITY),
        ("operator_country", &init.operator_country, COUNTRY),
        ("website", &init.operator_website, ""),
        ("admin_simplex", &None, "SimpleX address"),
        ("admin_email", &None, ""),
        ("admin_pgp", &None, ""),
        ("admin_pgp_fingerprint", &None, ""),
        ("complaints_simplex", &None, "SimpleX address"),
        ("complaints_email", &None, ""),
        ("complaints_pgp", &None, ""),
        ("complaints_pgp_fingerprint", &None, ""),
        ("hosting", &init.hosting, ENTITY),
        ("hosting_country", &init.hosting_country, COUNTRY),
    ]
    .into_iter()
    .map(|(key, value, default)| commented(key, value.as_deref(), default) + "\n")
    .collect();
    let hosting_type = init.hosting_type.as_deref().unwrap_or("virtual");
    format!(
        "[INFORMATION]\n\
         # What the page says of the router, if it is said where its source code is.\n\
         {information}\
         hosting_type = {hosting_type}\n\
         \n\
         [STORE_LOG]\n\
         # `on` keeps queues and messages on disk: what is acknowledged survives a crash.\n\
         # `off` keeps everything in memory: it ends with the process.\n\
         enable = {store}\n\
         store_queues = memory\n\
         store_messages = memory\n\
         restore_messages = {store}\n\
         \n\
         # Messages that are not received expire.\n\
         expire_messages_days = 21\n\
         expire_messages_on_start = on\n\
         expire_messages_on_send = off\n\
         expire_ntfs_hours = 24\n\
         \n\
         log_stats = {log_stats}\n\
         # Metrics, in smp-server-metrics.txt, every so many seconds.\n\
         # prometheus_interval = 60\n\
         \n\
         [STORE]\n\
         # When a message is on disk before its sender is told that it was taken: `always` one by one, `batch` many together,\n\
         # `os` when the operating system likes (a loss of power may undo the last seconds).\n\
         sync = batch\n\
         \n\
         [METRICS]\n\
         # /metrics, /health/live and /health/ready, for this machine only.\n\
         # port = 9464\n\
         \n\
         [AUTH]\n\
         # Whether queues can be created, and the password that is needed for it.\n\
         new_queues = on\n\
         {create_password}\n\
         # The passwords of the control port.\n\
         {admin}\n\
         {user}\n\
         # How many queues users of the control port may block in a day: 0 for no limit, -1 for none.\n\
         # daily_block_queue_quota = 20\n\
         \n\
         [TRANSPORT]\n\
         host = {host}\n\
         port = {ports}\n\
         log_tls_errors = off\n\
         websockets = off\n\
         {control_port}\n\
         \n\
         [PROXY]\n\
         # Which hosts of relays are used, `public` or `onion` ones, and whether a relay without such a host is not used at all.\n\
         # host_mode = public\n\
         # required_host_mode = off\n\
         # Your other routers, which are counted apart in the statistics: their domains, such as `example.com example.org`.\n\
         {own_domains}\n\
         # Relays with onion hosts are reached through this SOCKS proxy; all of them with `socks_mode = always`.\n\
         {socks}\n\
         # socks_mode = onion\n\
         # How many commands of one client are forwarded at the same time.\n\
         # client_concurrency = 32\n\
         \n\
         [NAMES]\n\
         enable = off\n\
         # resolver_endpoint = http://127.0.0.1:8000\n\
         # resolver_auth = bearer token\n\
         # resolver_concurrency = 1000\n\
         \n\
         [WEB]\n\
         # The page for browsers, on one of the ports above, with a certificate that they trust.\n\
         {unless_served}https = 443\n\
         {unless_served}cert = {certificate}\n\
         {unless_served}key = {key}\n\
         # Without TLS, for a proxy of one's own:\n\
         # http = 8000\n\
         # Pages to show, among them the router's own, which it writes there.\n\
         static_path = {pages}\n\
         \n\
         [LIMITS]\n\
         # What one address (or one /64 of IPv6) may have, connections at a time and new ones in a minute; this machine is not limited.\n\
         # Mobile operators put thousands of users behind one address: begin with high numbers, and watch limits_reached in the metrics.\n\
         # connections_per_address = 1000\n\
         # connections_per_minute = 3000\n\
         \n\
         [INACTIVE_CLIENTS]\n\
         # Clients without subscriptions are disconnected when they are silent for `ttl` seconds.\n\
         disconnect = on\n\
         ttl = 21600\n\
         check_interval = 3600\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::settings::Settings;

    #[test]
    fn the_command_line_is_consistent() {
        <super::super::Cli as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn what_init_writes_is_what_start_reads() {
        let directory = tempfile::tempdir().unwrap();
        let directories = super::super::FILES.within(directory.path());
        let init = Init {
            control_port: Some(5224),
            no_password: false,
            fqdn: Some("smp.example.com".to_owned()),
            own_domains: Some("example.com,example.org".to_owned()),
            ..Init::for_run()
        };
        let fingerprint = initialize(&directories, &init, "5223,443").unwrap();
        let settings = Settings::read(&directories.ini()).unwrap();
        assert_eq!(settings.transport.ports, [5223, 443]);
        assert_eq!(settings.transport.hosts, ["smp.example.com"]);
        assert_eq!(settings.control.port, Some(5224));
        assert!(settings.control.admin_password.is_some());
        assert_ne!(
            settings.control.admin_password,
            settings.control.user_password
        );
        assert_eq!(settings.proxy.own_domains, ["example.com", "example.org"]);
        assert_eq!(settings.advice, Vec::<String>::new());
        let credentials = IdentityFiles(&directories.configuration)
            .load(now())
            .unwrap();
        assert_eq!(credentials.chain().fingerprint(), fingerprint);
        let again = initialize(&directories, &init, "5223").unwrap_err();
        assert!(matches!(again, CliError::Initialized(_)));
    }

    #[test]
    fn bad_options_change_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let directories = super::super::FILES.within(directory.path());
        let bad = initialize(&directories, &Init::for_run(), "x");
        assert!(matches!(bad, Err(CliError::Ports(_))));
        let init = Init {
            password: Some("a b".to_owned()),
            ..Init::for_run()
        };
        let bad = initialize(&directories, &init, "5223");
        assert!(matches!(bad, Err(CliError::Password(_))));
        assert!(!directories.configuration.exists());
    }
}
