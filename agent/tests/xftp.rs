//! Files of every size, there and back, between processes.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use simplex_agent::xftp::{
    Plan, Server as Address, Sessions, TransferError, delete, receive, send,
};
use simplex_routers::identity::IdentityFiles;
use simplex_routers::xftp::server::{Orphans, Server};
use simplex_routers::xftp::settings::Settings;
use simplex_routers::xftp::store::Store;
use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::time::UnixTime;

async fn router(directory: &Path) -> (Server, Address) {
    let files = IdentityFiles(directory);
    let now = UnixTime::from_seconds(1_767_225_600);
    let mut rng = simplex_runtime_tokio::rng().unwrap();
    files
        .create(Algorithm::Ed25519, "localhost", now, &mut rng)
        .unwrap();
    let chunks = directory.join("files");
    fs::create_dir(&chunks).unwrap();
    let settings = Settings::of_port(0, &chunks);
    let store = Store::in_memory();
    let credentials = files.load(now).unwrap();
    let server = Server::start(
        &settings,
        credentials,
        store,
        Orphans::Removed,
        directory,
        100,
    );
    let server = server.await.unwrap();
    let address = format!(
        "xftp://{}@127.0.0.1:{}",
        server.fingerprint(),
        server.address().port()
    );
    let address = Address {
        address: address.parse().unwrap(),
        password: None,
    };
    (server, address)
}

fn file(directory: &Path, size: usize) -> PathBuf {
    let path = directory.join(format!("{size}.bin"));
    let mut bytes = vec![0; size];
    Rng::from_seed([7; 32]).fill(&mut bytes);
    fs::write(&path, bytes).unwrap();
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_size_come_back_over_two_routers() {
    let directory = tempfile::tempdir().unwrap();
    let places = [directory.path().join("a"), directory.path().join("b")];
    places
        .iter()
        .for_each(|place| fs::create_dir(place).unwrap());
    let (one, first) = router(&places[0]).await;
    let (two, second) = router(&places[1]).await;
    let servers = [first, second];
    let sessions = Sessions::new(1, simplex_runtime_tokio::rng().unwrap());
    for size in [
        0,
        1,
        65_535,
        65_536,
        65_537,
        1 << 20,
        (1 << 20) + 1,
        9_000_000,
    ] {
        let path = file(directory.path(), size);
        let plan = Plan {
            servers: &servers,
            recipients: 2,
        };
        let sent = send(&sessions, &path, &plan, |_, _| {}).await.unwrap();
        for description in &sent.recipients {
            let to = directory.path().join("received");
            let received = receive(&sessions, description, &to, |_, _| {})
                .await
                .unwrap();
            assert_eq!(fs::read(&received.path).unwrap(), fs::read(&path).unwrap());
            assert_eq!(received.header.name(), format!("{size}.bin"));
        }
        delete(&sessions, &sent.sender).await.unwrap();
        let to = directory.path().join("nothing");
        let gone = receive(&sessions, &sent.recipients[0], &to, |_, _| {}).await;
        assert!(matches!(gone, Err(TransferError::Request { .. })));
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
    }
    for server in [one, two] {
        assert_eq!(server.numbers().await.unwrap().0.used, 0);
        server.stop().await.unwrap();
    }
}

fn xftp(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_xftp"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}{errors}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_sends_shows_receives_and_deletes() {
    let directory = tempfile::tempdir().unwrap();
    let (server, address) = router(directory.path()).await;
    let root = directory.path().to_owned();
    let at = move |name: &str| root.join(name).to_str().unwrap().to_owned();
    let address = address.address.to_string();
    let done = tokio::task::spawn_blocking(move || {
        xftp(&["rand", &at("photo.jpg"), "3mb"]);
        let said = xftp(&[
            "send",
            &at("photo.jpg"),
            &at("out"),
            "-n",
            "3",
            "-s",
            &address,
        ]);
        let link = said.lines().find(|line| line.starts_with("https://"));
        let link = link.unwrap_or_else(|| panic!("{said}")).to_owned();
        let description = |name: &str| at(&format!("out/photo.jpg.xftp/{name}"));
        let info = xftp(&["info", &description("rcv1.xftp")]);
        assert!(info.contains(&address), "{info}");
        xftp(&["recv", &description("rcv2.xftp"), &at("got/"), "-y"]);
        assert!(!Path::new(&description("rcv2.xftp")).exists());
        xftp(&["recv", &link, &at("by-link.jpg"), "-y"]);
        let original = fs::read(at("photo.jpg")).unwrap();
        assert_eq!(fs::read(at("got/photo.jpg")).unwrap(), original);
        assert_eq!(fs::read(at("by-link.jpg")).unwrap(), original);
        xftp(&["del", &description("snd.xftp.private"), "-y"]);
        let again = Command::new(env!("CARGO_BIN_EXE_xftp"))
            .args([
                "recv",
                &description("rcv3.xftp"),
                &at("got/"),
                "-y",
                "-r",
                "1",
            ])
            .output()
            .unwrap();
        assert!(!again.status.success());
    });
    done.await.unwrap();
    server.stop().await.unwrap();
}
