//! What scripts of operators rely on: commands, exit codes, and words on the standard output.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::process::{ini, said};

/// The program on the directories of a machine.
fn program(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smp-server"));
    command
        .env("SMP_SERVER_CFG_PATH", directory.join("config"))
        .env("SMP_SERVER_LOG_PATH", directory.join("data"))
        .stdin(Stdio::null());
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    program(directory).args(arguments).output().unwrap()
}

/// Runs it with somebody who answers.
fn answered(directory: &Path, arguments: &[&str], answers: &str) -> Output {
    let mut child = program(directory)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(answers.as_bytes()).unwrap();
    drop(input);
    child.wait_with_output().unwrap()
}

fn line<'a>(text: &'a str, label: &str) -> &'a str {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    line.unwrap_or_else(|| panic!("no `{label}` in {text}"))
}

/// A router that was started, and all that it says until it is up.
fn started(directory: &Path, arguments: &[&str]) -> (Child, Vec<String>) {
    let mut child = program(directory)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut banner = Vec::new();
    for line in lines.map_while(Result::ok) {
        banner.push(line);
        if banner
            .last()
            .is_some_and(|line| line.starts_with("creating new queues"))
        {
            break;
        }
    }
    (child, banner)
}

fn use_any_port(directory: &Path) {
    let text = fs::read_to_string(ini(directory)).unwrap();
    fs::write(ini(directory), text.replace("port = 5223,443", "port = 0")).unwrap();
}

#[test]
fn init_says_the_address_and_refuses_to_do_it_twice() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = [
        "init",
        "-y",
        "-l",
        "--fqdn",
        "smp.example.com",
        "--password",
        "secret",
    ];
    let made = run(directory.path(), &arguments);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let text = said(&made);
    let fingerprint = line(&text, "Fingerprint: ");
    assert!(fingerprint.ends_with('='));
    let address = format!("smp://{fingerprint}:secret@smp.example.com");
    assert_eq!(line(&text, "Server address: "), address);
    let config = directory.path().join("config");
    assert!(text.contains(&config.join("ca.key").display().to_string()));
    let stored = fs::read_to_string(config.join("fingerprint")).unwrap();
    assert_eq!(stored, format!("{fingerprint}\n"));

    let before = fs::read(config.join("ca.key")).unwrap();
    let again = run(directory.path(), &["init", "-y"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(fs::read(config.join("ca.key")).unwrap(), before);
}

#[test]
fn without_a_name_the_hosts_are_left_to_fill_in() {
    let directory = tempfile::tempdir().unwrap();
    let made = run(directory.path(), &["init", "--yes", "--no-password"]);
    assert!(line(&said(&made), "Server address: ").ends_with("=@<hostnames>"));
    assert!(!said(&made).contains("WARNING"));
}

#[test]
fn init_warns_of_what_another_router_has_left() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("smp-server-store.log"), "").unwrap();
    let made = run(directory.path(), &["init", "--yes", "--no-password"]);
    assert!(said(&made).contains("WARNING: there are queues of another router in "));
}

/// The README's promise: the address that is printed can be used, on this machine.
#[test]
fn run_prints_an_address_that_can_be_used() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("router");
    let place = place.to_str().unwrap();
    let (mut child, banner) = started(directory.path(), &["run", "--port", "0", "--dir", place]);
    child.kill().unwrap();
    child.wait().unwrap();
    let text = banner.join("\n");
    let mut addresses = text
        .lines()
        .filter_map(|line| line.strip_prefix("Server address: "));
    let port = line(&text, "Serving SMP protocol on port ");
    let port = port.strip_suffix(" (TLS)...").unwrap();
    let address = addresses.next_back().unwrap();
    assert!(
        address.ends_with(&format!("=@localhost:{port}")),
        "{address}"
    );
}

#[test]
fn init_asks_unless_it_is_told_not_to() {
    let directory = tempfile::tempdir().unwrap();
    let nobody = run(directory.path(), &["init"]);
    assert_eq!(nobody.status.code(), Some(1), "{}", said(&nobody));
    assert!(!ini(directory.path()).exists());
    let answers = "\ny\ny\nn\nsmp.example.com\n";
    let made = answered(directory.path(), &["init"], answers);
    assert_eq!(made.status.code(), Some(0), "{}", said(&made));
    let text = fs::read_to_string(ini(directory.path())).unwrap();
    assert!(text.contains("log_stats = on"));
    assert!(text.contains("host = smp.example.com"));
    assert!(text.contains("# create_password = "));
}

#[test]
fn start_says_what_it_serves_in_the_words_that_scripts_know() {
    let directory = tempfile::tempdir().unwrap();
    let nothing = run(directory.path(), &["start"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(said(&nothing).starts_with("SMP server v"));
    assert!(said(&nothing).contains("smp-server init"));

    let arguments = ["init", "-y", "--fqdn", "a.example", "--password", "secret"];
    let made = said(&run(directory.path(), &arguments));
    let fingerprint = line(&made, "Fingerprint: ");
    use_any_port(directory.path());
    // Units of the reference pass options to its runtime.
    let (mut child, banner) = started(directory.path(), &["start", "+RTS", "-N", "-RTS"]);
    child.kill().unwrap();
    child.wait().unwrap();
    let text = banner.join("\n");
    assert!(banner[0].starts_with("SMP server v"), "{text}");
    assert_eq!(line(&text, "Fingerprint: "), fingerprint);
    let port = line(&text, "Serving SMP protocol on port ");
    let port = port.strip_suffix(" (TLS)...").unwrap();
    let address = format!("smp://{fingerprint}:secret@a.example:{port}");
    assert_eq!(line(&text, "Server address: "), address);
    assert!(line(&text, "Store log: ").contains("data"));
    assert!(text.contains("\nexpiring messages after 21 days\n"));
    assert!(text.contains("\nexpiring clients inactive for 21600 seconds every 3600 seconds\n"));
    assert!(text.ends_with("creating new queues requires password"));
    let order = [
        "SMP server v",
        "Fingerprint",
        "Server address",
        "Store log",
        "Serving SMP",
        "expiring messages",
    ];
    let places: Vec<_> = order
        .iter()
        .map(|label| {
            banner
                .iter()
                .position(|line| line.starts_with(label))
                .unwrap()
        })
        .collect();
    assert!(places.is_sorted(), "{text}");

    let maintained = run(
        directory.path(),
        &["start", "-m", "--compact-log", "--log-level", "note"],
    );
    assert_eq!(maintained.status.code(), Some(0), "{}", said(&maintained));
}

#[test]
fn a_bad_configuration_is_named_in_a_line_or_two() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), &["init", "-y"]);
    let good = fs::read_to_string(ini(directory.path())).unwrap();
    for (from, to, named) in [
        (
            "new_queues = on",
            "new_queues = yes",
            "`new_queues` in [AUTH] is `yes`",
        ),
        ("port = 5223,443", "", "`port` is missing in [TRANSPORT]"),
        (
            "store_messages = memory",
            "store_messages = database",
            "smp-server database export",
        ),
        (
            "ttl = 21600",
            "ttl = soon",
            "`ttl` in [INACTIVE_CLIENTS] is `soon`",
        ),
    ] {
        fs::write(ini(directory.path()), good.replace(from, to)).unwrap();
        let output = run(directory.path(), &["start"]);
        assert_eq!(output.status.code(), Some(1));
        let text = said(&output);
        assert!(text.contains(named), "{text}");
        assert!(text.lines().count() <= 3, "{text}");
    }
}

#[test]
fn cert_keeps_identity_algorithm_and_name() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["init", "-y", "-a", "ed448", "-n", "a.example"];
    let made = said(&run(directory.path(), &arguments));
    let config = directory.path().join("config");
    let before = fs::read_to_string(config.join("server.crt")).unwrap();
    // The name is that of the certificate, not of the configuration.
    let text = fs::read_to_string(ini(directory.path())).unwrap();
    fs::write(
        ini(directory.path()),
        text.replace("host = a.example", "host = b.example"),
    )
    .unwrap();
    let output = run(directory.path(), &["cert"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = said(&output);
    assert_eq!(line(&text, "Fingerprint: "), line(&made, "Fingerprint: "));
    assert!(
        text.contains("a.example") && text.contains("ca.key"),
        "{text}"
    );
    let after = fs::read_to_string(config.join("server.crt")).unwrap();
    assert_ne!(before, after);

    fs::remove_file(config.join("ca.key")).unwrap();
    let without = run(directory.path(), &["cert"]);
    assert_eq!(without.status.code(), Some(1));
    assert!(said(&without).contains("ca.key"));
    assert_eq!(
        fs::read_to_string(config.join("server.crt")).unwrap(),
        after
    );
}

#[test]
fn delete_asks_and_takes_only_a_capital_yes() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), &["init", "-y"]);
    for answer in ["n\n", "y\n", ""] {
        let output = answered(directory.path(), &["delete"], answer);
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("Continue (Y/n): "));
        assert!(ini(directory.path()).exists());
    }
    let output = answered(directory.path(), &["delete"], "Y\n");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(!directory.path().join("config").exists());
    assert!(!directory.path().join("data").exists());
}

#[test]
fn a_router_that_runs_is_not_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let router = crate::process::Process::start(directory.path());
    let output = run(directory.path(), &["delete", "-y"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("not removed: "), "{}", said(&output));
    assert!(ini(directory.path()).exists());
    drop(router);
    let output = run(directory.path(), &["delete", "-y"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}

#[test]
fn the_commands_of_the_journal_say_how_much_there_is() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), &["init", "-y"]);
    let imported = answered(directory.path(), &["journal", "import"], "Y\n");
    assert_eq!(imported.status.code(), Some(0), "{}", said(&imported));
    let exported = answered(directory.path(), &["journal", "export"], "Y\n");
    assert_eq!(exported.status.code(), Some(0), "{}", said(&exported));
    assert!(said(&exported).contains("0 queues, 0 messages"));
    let store_log = directory.path().join("data/export/smp-server-store.log");
    assert!(store_log.exists());
    let refused = run(
        directory.path(),
        &["database", "import", "--table", "queues"],
    );
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("database export"));
}

#[test]
fn what_is_not_understood_is_an_error_with_a_usage() {
    let directory = tempfile::tempdir().unwrap();
    let unknown = run(directory.path(), &["what"]);
    assert_eq!(unknown.status.code(), Some(1));
    assert!(said(&unknown).contains("Usage"));
    // Optional values take `=` only.
    let apart = run(directory.path(), &["init", "-y", "--control-port", "5224"]);
    assert_eq!(apart.status.code(), Some(1));
    let version = run(directory.path(), &["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert!(said(&version).starts_with("SMP server v"));
    let help = run(directory.path(), &[]);
    assert_eq!(help.status.code(), Some(0));
    assert!(said(&help).contains("init"));
}

#[test]
fn a_stop_by_either_signal_is_clean() {
    use rustix::process::{Pid, Signal, kill_process};
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), &["init", "-y"]);
    use_any_port(directory.path());
    for signal in [Signal::INT, Signal::TERM] {
        let (mut child, _) = started(directory.path(), &["start"]);
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let mut rest = String::new();
        if let Some(output) = &mut child.stdout {
            output.read_to_string(&mut rest).unwrap();
        }
        assert_eq!(child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn what_fails_in_tls_is_logged_where_that_is_on() {
    let directory = tempfile::tempdir().unwrap();
    run(directory.path(), &["init", "-y"]);
    use_any_port(directory.path());
    let text = fs::read_to_string(ini(directory.path())).unwrap();
    let text = text.replace("log_tls_errors = off", "log_tls_errors = on");
    fs::write(ini(directory.path()), text).unwrap();
    let mut child = program(directory.path())
        .arg("start")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Nobody reads the rest of it: the router goes on all the same.
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = lines
        .map_while(Result::ok)
        .find_map(|line| {
            let rest = line.strip_prefix("Serving SMP protocol on port ")?;
            rest.strip_suffix(" (TLS)...")?.parse::<u16>().ok()
        })
        .unwrap();
    let mut stranger = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut logged = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(logged.any(|line| line.unwrap().contains("TLS failed")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_starts_the_program_elsewhere_knows_its_commands() {
    let file = |name: &str| {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        fs::read_to_string(deploy.join(name)).unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    let knows = |arguments: &[&str]| {
        let help = [arguments, &["--help"]].concat();
        assert!(
            run(directory.path(), &help).status.success(),
            "{arguments:?}"
        );
    };
    let unit = file("smp-server.service");
    let start = line(&unit, "ExecStart=/usr/local/bin/smp-server ");
    knows(&start.split(' ').collect::<Vec<_>>());
    assert!(unit.contains("\nType=notify\n") && unit.contains("\nWatchdogSec="));
    let image = file("Dockerfile");
    assert_eq!(line(&image, "ENTRYPOINT "), "[\"smp-entrypoint\"]");
    let entrypoint = file("smp-entrypoint");
    let init = line(&entrypoint, "    smp-server ");
    let init = init
        .replace("\"$name\"", "--fqdn")
        .replace("\"$ADDR\"", "a.b");
    knows(&init.split(' ').collect::<Vec<_>>());
    // Nobody in particular, and time to store everything.
    assert_eq!(line(&image, "USER "), "smp");
    assert_eq!(line(&image, "STOPSIGNAL "), "SIGTERM");
}

#[test]
fn values_that_cannot_be_are_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, reason) in [
        (&["--fqdn", "a b"][..], "neither a domain name"),
        (&["--ip", "1.2.3.400"], "neither a domain name"),
        (
            &["--source-code", "--operator-country", "XX1"],
            "two letters",
        ),
    ] {
        let output = run(directory.path(), &[&["init", "-y"], arguments].concat());
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(reason), "{said}");
    }
    let output = run(directory.path(), &["cert"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("`init` makes a router"), "{said}");
    assert!(!directory.path().join("config").exists());
}

#[test]
fn a_container_is_initialized_by_what_the_image_of_the_reference_is_told() {
    let program = Path::new(env!("CARGO_BIN_EXE_smp-server"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/smp-entrypoint");
    for (address, password) in [
        ("smp.example.com", Some("p&a\\ss/1")),
        ("192.0.2.1", None),
        ("2001:db8::1", None),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let start = |arguments: &[&str], variables: &[(&str, &str)]| {
            let path = program.parent().unwrap().display();
            Command::new("sh")
                .arg(script)
                .args(arguments)
                .env_clear()
                .env("PATH", format!("{path}:/usr/bin:/bin"))
                .env("SMP_SERVER_CFG_PATH", directory.path().join("config"))
                .env("SMP_SERVER_LOG_PATH", directory.path().join("data"))
                .envs(variables.iter().copied())
                .output()
                .unwrap()
        };
        let refused = start(&["--version"], &[]);
        assert!(!refused.status.success() && said(&refused).contains("ADDR"));
        // To try it out nothing has to be said.
        assert!(start(&["run", "--help"], &[]).status.success());
        assert!(!ini(directory.path()).exists());

        let mut variables = vec![("ADDR", address)];
        variables.extend(password.map(|password| ("PASS", password)));
        let started = start(&["--version"], &variables);
        assert!(started.status.success(), "{}", said(&started));
        let text = fs::read_to_string(ini(directory.path())).unwrap();
        assert!(text.contains(&format!("\nhost = {address}\n")), "{text}");
        let line = match password {
            Some(password) => format!("\ncreate_password = {password}\n"),
            None => "\n# create_password =".to_owned(),
        };
        assert!(text.contains(&line), "{text}");
        let mode = fs::metadata(ini(directory.path())).unwrap().permissions();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
            0o600
        );
        // It is not initialized again.
        assert!(start(&["--version"], &[]).status.success());
        assert_eq!(fs::read_to_string(ini(directory.path())).unwrap(), text);
    }
}
