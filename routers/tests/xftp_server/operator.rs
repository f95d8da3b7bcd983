//! What operators do with the program.

use std::fs;
use std::path::{Path, PathBuf};

use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::crypto::certificate::Certificate;
use simplex_sans_io::wire::text::base64url;
use simplex_sans_io::xftp::ErrorType;
use simplex_sans_io::xftp::client::RequestError;

use crate::process::{
    Process, command, command_of_machine, configure, ini, initialized, said, talk,
};
use crate::{connect, create, download, upload};

const SIZE: u32 = 1 << 16;
const AUTH: RequestError = RequestError::Protocol(ErrorType::Auth);

#[test]
fn the_program_says_what_scripts_read() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("chunks");
    let init = |arguments: &[&str]| {
        let path = files.to_str().unwrap();
        let common = ["init", "-p", path, "-q", "1gb"];
        command_of_machine(directory.path(), &[&common, arguments].concat())
    };
    let output = init(&["-n", "xftp.example.com", "-l", "--web-path", "/nonexistent"]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.starts_with("XFTP server v"), "{text}");
    assert!(text.contains("\nFingerprint: "), "{text}");
    assert!(text.contains("\nServer address: xftp://"), "{text}");
    assert!(text.contains("@xftp.example.com\n"), "{text}");
    let crt = |name: &str| fs::read_to_string(directory.path().join("config").join(name)).unwrap();
    let leaf = || Certificate::from_pem(&crt("server.crt")).unwrap();
    assert_eq!(leaf().key().algorithm(), Algorithm::Ed448);
    let before = fs::read_to_string(directory.path().join("config/file-server.ini")).unwrap();
    let again = init(&[]);
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
    let after = fs::read_to_string(directory.path().join("config/file-server.ini")).unwrap();
    assert_eq!(before, after);

    let run = |arguments: &[&str]| command_of_machine(directory.path(), arguments);
    assert!(said(&run(&["--version"])).starts_with("XFTP server v"));
    assert_eq!(run(&["nothing"]).status.code(), Some(1));
    let database = run(&["database", "import"]);
    assert_eq!(database.status.code(), Some(1));
    assert!(said(&database).contains("takes over the files"));
    let cert = run(&["cert"]);
    assert!(said(&cert).contains("\nFingerprint: "), "{}", said(&cert));
    // The name of the old certificate is kept, whatever the configuration says.
    let other = before.replace("host = xftp.example.com", "host = other.example.com");
    fs::write(ini(directory.path()), other).unwrap();
    assert!(run(&["cert"]).status.success());
    assert_eq!(leaf().common_name().as_deref(), Some("xftp.example.com"));
    // Nobody has answered Y.
    let kept = run(&["delete"]);
    assert!(said(&kept).contains("Continue (Y/n): "));
    assert_eq!(kept.status.code(), Some(1));
    assert!(directory.path().join("config/ca.crt").exists());
    assert!(run(&["delete", "-y"]).status.success());
    assert!(!directory.path().join("config").exists() && files.exists());
    let start = run(&["start"]);
    assert_eq!(start.status.code(), Some(1));
    assert!(said(&start).starts_with("XFTP server v"));
    assert!(said(&start).contains("`xftp-server init`"));
    // Without a name, and without an address that others can connect to.
    let text = said(&init(&[]));
    assert!(text.contains("@<hostnames>\n"), "{text}");
    let text = fs::read_to_string(ini(directory.path())).unwrap();
    let pages = directory.path().join("data/www");
    for line in [
        "host = <hostnames>".to_owned(),
        format!("static_path = {}", pages.display()),
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
    }
    assert_eq!(leaf().common_name().as_deref(), Some("127.0.0.1"));
}

#[test]
fn init_says_what_another_router_has_left() {
    for (left, said_of) in [
        (None, None),
        (
            Some("data/file-server-store.log"),
            Some("files of another router in"),
        ),
        (
            Some("data/file-server-store/store"),
            Some("files of another router in"),
        ),
        (
            Some("chunks/something"),
            Some("chunks of another router are removed"),
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        if let Some(left) = left {
            let path = directory.path().join(left);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
        }
        let chunks = directory.path().join("chunks");
        let init = ["init", "-p", chunks.to_str().unwrap(), "-q", "1gb"];
        let output = command_of_machine(directory.path(), &init);
        let text = said(&output);
        assert!(output.status.success(), "{text}");
        assert_eq!(text.contains("WARNING"), said_of.is_some(), "{text}");
        assert!(
            said_of.is_none_or(|warning| text.contains(warning)),
            "{text}"
        );
    }
}

#[test]
fn a_container_is_initialized_by_what_the_image_of_the_reference_is_told() {
    let program = Path::new(env!("CARGO_BIN_EXE_xftp-server"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/xftp-entrypoint");
    for (address, quota, password) in [
        ("xftp.example.com", "5gb", Some("p&a\\ss/1")),
        ("192.0.2.1", "5", None),
        ("2001:db8::1", "5", None),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let start = |variables: &[(&str, &str)]| {
            std::process::Command::new("sh")
                .args([script, "--version"])
                .env_clear()
                .env(
                    "PATH",
                    format!("{}:/usr/bin:/bin", program.parent().unwrap().display()),
                )
                .env("XFTP_SERVER_CFG_PATH", path("config"))
                .env("XFTP_SERVER_LOG_PATH", path("data"))
                .env("FILES", path("files"))
                .envs(variables.iter().copied())
                .output()
                .unwrap()
        };
        let refused = start(&[("QUOTA", quota)]);
        assert!(!refused.status.success() && said(&refused).contains("ADDR"));
        let refused = start(&[("ADDR", address)]);
        assert!(!refused.status.success() && said(&refused).contains("QUOTA"));
        let mut variables = vec![("ADDR", address), ("QUOTA", quota)];
        variables.extend(password.map(|password| ("PASS", password)));
        let started = start(&variables);
        assert!(started.status.success(), "{}", said(&started));
        let text = fs::read_to_string(ini(directory.path())).unwrap();
        assert!(text.contains(&format!("\nhost = {address}\n")), "{text}");
        assert!(text.contains("\nstorage_quota = 5gb\n"), "{text}");
        match password {
            Some(password) => {
                assert!(
                    text.contains(&format!("\ncreate_password = {password}\n")),
                    "{text}"
                );
                let mode = fs::metadata(ini(directory.path())).unwrap().permissions();
                assert_eq!(
                    std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777,
                    0o600
                );
            }
            None => assert!(text.contains("\n# create_password ="), "{text}"),
        }
        // It is not initialized again.
        assert!(start(&[]).status.success());
        assert_eq!(fs::read_to_string(ini(directory.path())).unwrap(), text);
    }
}

#[tokio::test]
async fn a_router_says_how_it_is_set_up() {
    let directory = tempfile::tempdir().unwrap();
    initialized(directory.path()).await;
    configure(
        directory.path(),
        "# create_password =",
        "create_password = secret\n# ",
    );
    configure(
        directory.path(),
        "disconnect = off\n# ttl = 21600\n# check_interval = 3600",
        "disconnect = on\nttl = 21600\ncheck_interval = 3600",
    );
    let router = Process::start(directory.path());
    assert!(router.banner[0].starts_with("XFTP server v"));
    assert!(router.said("Server address: ").starts_with("xftp://"));
    assert!(router.said("Store log: ").ends_with("file-server-store"));
    let positions = [
        "Fingerprint: ",
        "Server address: ",
        "WARNING: `source_code` ",
        "Store log: ",
        "Total / available storage: 10737418240 / 10737418240",
        "expiring files after 48 hours",
        "expiring clients inactive for 21600 seconds every 3600 seconds",
        "Uploading new files ",
        "Listening on port ",
    ]
    .map(|label| {
        router
            .banner
            .iter()
            .position(|line| line.starts_with(label))
    });
    assert!(
        positions.is_sorted() && positions[0] == Some(1),
        "{:?}",
        router.banner
    );
    assert_eq!(router.said("Uploading new files "), "requires password.");
    assert!(!router.banner.join("\n").contains("secret"));
    router.stop().await;
}

#[tokio::test]
async fn a_directory_that_is_missing_or_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    initialized(directory.path()).await;
    fs::remove_dir_all(directory.path().join("files")).unwrap();
    let start = command(directory.path(), &["run"]);
    assert_eq!(start.status.code(), Some(1));
    let text = said(&start);
    assert!(text.contains("is its disk mounted"), "{text}");
    let doctor = command(directory.path(), &["doctor"]);
    assert_eq!(doctor.status.code(), Some(1));
    assert!(said(&doctor).contains("PROBLEM  files: "));
    // What stands in the way of the directory for uploads.
    fs::create_dir(directory.path().join("files")).unwrap();
    fs::write(directory.path().join("files/tmp"), "a file").unwrap();
    let start = command(directory.path(), &["run"]);
    assert_eq!(start.status.code(), Some(1), "{}", said(&start));
}

#[tokio::test]
async fn certificates_and_rules_are_read_again_after_a_hangup_and_sessions_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let client = connect(&router.address).await;
    let file = create(&client, SIZE, 1).await;
    upload(&client, &file).await.unwrap();
    let leaf = || fs::read_to_string(directory.path().join("config/server.crt")).unwrap();
    let before = leaf();
    let cert = command_of_machine(directory.path(), &["cert", "--cn", "other"]);
    assert!(cert.status.success());
    assert_ne!(leaf(), before);
    configure(directory.path(), "new_files = on", "new_files = off");
    router.signal(rustix::process::Signal::HUP);
    while crate::try_create(&client, SIZE, 2).await.is_ok() {}
    assert_eq!(crate::try_create(&client, SIZE, 2).await.err(), Some(AUTH));
    assert_eq!(download(&client, &file).await.unwrap(), file.chunk);
    // New sessions know the router by the new certificate.
    let fresh = connect(&router.address).await;
    assert_eq!(download(&fresh, &file).await.unwrap(), file.chunk);
    // What cannot be read changes nothing.
    configure(directory.path(), "new_files = off", "new_files = perhaps");
    router.signal(rustix::process::Signal::HUP);
    client.ping().await.unwrap();
    router.stop().await;
}

#[tokio::test]
async fn a_backup_is_made_while_the_router_runs_and_becomes_another_router() {
    let (directory, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let copy = to.path().join("backup");
    let path = copy.to_str().unwrap();
    let router = Process::start(directory.path());
    let client = connect(&router.address).await;
    let before = create(&client, SIZE, 1).await;
    upload(&client, &before).await.unwrap();
    let made = command(directory.path(), &["backup", "--to", path]);
    assert!(made.status.success(), "{}", said(&made));
    let text = said(&made);
    assert!(text.contains("1 files and 1 recipients"), "{text}");
    let again = command(directory.path(), &["backup", "--to", path]);
    assert!(said(&again).contains("exists already") && !again.status.success());
    let whole = command(directory.path(), &["restore", "--verify", "--from", path]);
    assert!(said(&whole).contains("is whole"), "{}", said(&whole));
    let after = create(&client, SIZE, 2).await;
    drop(client);
    router.stop().await;

    // The same router, as it was when the backup was made. Its chunks are where they were.
    let store = directory.path().join("data/file-server-store");
    let refused = command(directory.path(), &["restore", "--from", path]);
    assert!(said(&refused).contains("move it out of the way"));
    fs::remove_dir_all(&store).unwrap();
    let restored = command(directory.path(), &["restore", "--from", path]);
    assert!(restored.status.success(), "{}", said(&restored));
    let router = Process::start(directory.path());
    let client = connect(&router.address).await;
    assert_eq!(download(&client, &before).await.unwrap(), before.chunk);
    assert_eq!(upload(&client, &after).await, Err(AUTH));
    router.stop().await;

    // One that does not run is backed up, too; a file that is not whole is not restored.
    let second = to.path().join("second");
    let made = command(
        directory.path(),
        &["backup", "--to", second.to_str().unwrap()],
    );
    assert!(made.status.success(), "{}", said(&made));
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&copy, bytes).unwrap();
    let damaged = command(directory.path(), &["restore", "--verify", "--from", path]);
    assert!(said(&damaged).contains("is damaged") && !damaged.status.success());
}

/// All chunks of a router, in its own layout.
fn chunks(files: &Path) -> Vec<PathBuf> {
    let found = simplex_routers::xftp::disk::chunks(files).map(Result::unwrap);
    let path = |chunk| simplex_routers::xftp::disk::path(files, &chunk);
    found.flatten().map(path).collect()
}

#[tokio::test]
async fn records_are_exported_and_taken_over_with_the_chunks_where_they_are() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let router = Process::start(from.path());
    let client = connect(&router.address).await;
    let (one, two) = (
        create(&client, SIZE, 1).await,
        create(&client, SIZE, 2).await,
    );
    upload(&client, &one).await.unwrap();
    drop(client);
    router.stop().await;
    initialized(to.path()).await;
    fs::remove_dir_all(to.path().join("data/file-server-store")).unwrap();
    let data = to.path().join("data");
    let exported = command(from.path(), &["export", "--to", data.to_str().unwrap()]);
    assert!(exported.status.success(), "{}", said(&exported));
    assert!(said(&exported).starts_with("2 files, 1 of them with a chunk, and 2 recipients"));
    // As the reference has it: all chunks in one directory, under the ids of their senders.
    let [chunk] = chunks(&from.path().join("files")).try_into().unwrap();
    let flat = to.path().join("files").join(chunk.file_name().unwrap());
    fs::rename(&chunk, &flat).unwrap();
    // And one that no record is about.
    let orphan = to.path().join("files").join(base64url(&[7; 16]));
    fs::write(&orphan, "left behind").unwrap();

    let router = Process::start(to.path());
    let client = connect(&router.address).await;
    assert_eq!(download(&client, &one).await.unwrap(), one.chunk);
    upload(&client, &two).await.unwrap();
    assert_eq!(download(&client, &two).await.unwrap(), two.chunk);
    while orphan.exists() {
        client.ping().await.unwrap();
    }
    let (id, key) = &one.sender;
    client.delete(id, key).await.unwrap();
    assert_eq!(download(&client, &one).await, Err(AUTH));
    while flat.exists() {
        client.ping().await.unwrap();
    }
    drop(client);
    router.stop().await;
    // What was taken over is not taken over again, and its router can be gone back to.
    assert!(data.join("file-server-store.log").exists());
    let router = Process::start(to.path());
    let client = connect(&router.address).await;
    assert_eq!(download(&client, &one).await, Err(AUTH));
    assert_eq!(download(&client, &two).await.unwrap(), two.chunk);
    router.stop().await;
}

#[tokio::test]
async fn chunks_whose_records_were_not_understood_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    initialized(directory.path()).await;
    let data = directory.path().join("data");
    fs::remove_dir_all(data.join("file-server-store")).unwrap();
    fs::write(data.join("file-server-store.log"), "FNEW what is this\n").unwrap();
    let files = directory.path().join("files");
    let of_other = files.join(base64url(&[7; 16]));
    fs::write(&of_other, "a chunk").unwrap();
    for _ in 0..2 {
        let own = files.join("ab").join(base64url(&[0xab; 16]));
        fs::create_dir_all(own.parent().unwrap()).unwrap();
        fs::write(&own, "left behind").unwrap();
        let router = Process::start(directory.path());
        let client = connect(&router.address).await;
        while own.exists() {
            client.ping().await.unwrap();
        }
        drop(client);
        router.stop().await;
        assert!(of_other.exists());
    }
}

#[tokio::test]
async fn chunks_whose_records_are_somewhere_else_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let client = connect(&router.address).await;
    let file = create(&client, SIZE, 1).await;
    upload(&client, &file).await.unwrap();
    drop(client);
    router.stop().await;
    let [chunk] = chunks(&directory.path().join("files")).try_into().unwrap();
    let (store, aside) = (
        directory.path().join("data/file-server-store"),
        directory.path().join("aside"),
    );
    // A disk that is not mounted, and records in memory for a while.
    fs::rename(&store, &aside).unwrap();
    initialized(directory.path()).await;
    fs::remove_dir_all(&store).unwrap();
    fs::rename(&aside, &store).unwrap();
    configure(directory.path(), "enable = on", "enable = off");
    initialized(directory.path()).await;
    configure(directory.path(), "enable = off", "enable = on");
    assert!(chunk.exists());
    let router = Process::start(directory.path());
    let client = connect(&router.address).await;
    assert_eq!(download(&client, &file).await.unwrap(), file.chunk);
    router.stop().await;

    let healthy = command(directory.path(), &["doctor"]);
    let text = said(&healthy);
    assert!(text.contains("ok       chunks: 1 in "), "{text}");
    fs::remove_file(&chunk).unwrap();
    let doctor = command(directory.path(), &["doctor"]);
    let text = said(&doctor);
    assert!(text.contains("PROBLEM  chunks: 1 are missing"), "{text}");
    assert!(!doctor.status.success());
}

#[tokio::test]
async fn damaged_records_are_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let client = connect(&router.address).await;
    for seed in 0..60 {
        create(&client, SIZE, seed).await;
    }
    drop(client);
    drop(router);
    let store = directory.path().join("data/file-server-store/data");
    let mut damaged = 0;
    for entry in fs::read_dir(&store).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() && fs::metadata(&path).unwrap().len() > 10_000 {
            let mut bytes = fs::read(&path).unwrap();
            bytes[2000..2064].iter_mut().for_each(|byte| *byte ^= 0x55);
            fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0);
    let doctor = command(directory.path(), &["doctor"]);
    let start = command(directory.path(), &["run"]);
    for output in [&start, &doctor] {
        let text = said(output);
        assert!(!output.status.success(), "{text}");
        assert!(
            text.contains("backup") && !text.contains("panicked"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn what_was_counted_is_shown_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    initialized(directory.path()).await;
    let text = fs::read_to_string(ini(directory.path())).unwrap();
    let text = text
        .replace("[METRICS]\n", "[METRICS]\nport = 0\n")
        .replace("# prometheus_interval = 60", "prometheus_interval = 1")
        .replace("# control_port = 5226", "control_port = 0")
        .replace(
            "# control_port_admin_password =",
            "control_port_admin_password = secret",
        );
    fs::write(ini(directory.path()), text).unwrap();
    for created in 1..3_u8 {
        let router = Process::start(directory.path());
        let client = connect(&router.address).await;
        let file = create(&client, SIZE, created).await;
        upload(&client, &file).await.unwrap();
        download(&client, &file).await.unwrap();
        download(&client, &file).await.unwrap();
        let metrics = talk(router.metrics(), "GET /metrics HTTP/1.1\r\n\r\n").await;
        for line in [
            format!("files_created {created} "),
            format!("files_recipients {created} "),
            format!("files_uploaded {created} "),
            format!("file_downloads {} ", 2 * created),
            format!("files_count_daily {created} "),
            format!("files_count_monthly {created} "),
            format!("files_count_total {created} "),
            format!("files_size {} ", u32::from(created) * SIZE),
            "quota 10737418240 ".to_owned(),
            "limits_reached{limit=\"handshakes\"} 0 ".to_owned(),
        ] {
            let line = format!("\nsimplex_xftp_{line}");
            assert!(metrics.contains(&line), "{line} in {metrics}");
        }
        assert!(metrics.contains(",rts_options=\"-N2\"} 1 "), "{metrics}");
        for (path, status) in [
            ("health/live", "200"),
            ("health/ready", "200"),
            ("x", "404"),
        ] {
            let answer = talk(router.metrics(), &format!("GET /{path} HTTP/1.1\r\n\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")));
        }
        let control = (
            [127, 0, 0, 1],
            router.said("Control port: ").parse().unwrap(),
        );
        let heard = talk(
            control.into(),
            "delete ?\nstats\nauth secret\nstats\nhelp\nwhat\nquit\n",
        )
        .await;
        assert!(
            heard.starts_with(
                "XFTP server control port\n'help' for supported commands\n\
                 error: Failed reading: the id of a recipient is expected\nAUTH\n"
            ),
            "{heard}"
        );
        assert!(
            heard.contains(&format!("\nfilesCreated: {created}\n")),
            "{heard}"
        );
        assert!(heard.contains("\nerror: Failed reading: bad ControlProtocol command\n"));
        drop(client);
        router.stop().await;
    }
    let file = directory.path().join("data/xftp-server-metrics.txt");
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains("simplex_xftp_files_created "), "{text}");
}
