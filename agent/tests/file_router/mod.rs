//! Routers for the files of a test.

use std::fs;
use std::path::Path;

use simplex_agent::xftp::Server as Address;
use simplex_routers::identity::IdentityFiles;
use simplex_routers::xftp::server::{Orphans, Server};
use simplex_routers::xftp::settings::Settings;
use simplex_routers::xftp::store::Store;
use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::xftp::router::NewFiles;

pub(crate) async fn router(directory: &Path) -> (Server, Address) {
    router_with(directory, NewFiles::Allowed).await
}

pub(crate) async fn router_with(directory: &Path, new_files: NewFiles) -> (Server, Address) {
    let files = IdentityFiles(directory);
    let now = UnixTime::from_seconds(1_767_225_600);
    let mut rng = simplex_runtime_tokio::rng().unwrap();
    files
        .create(Algorithm::Ed25519, "localhost", now, &mut rng)
        .unwrap();
    let chunks = directory.join("files");
    fs::create_dir(&chunks).unwrap();
    let mut settings = Settings::of_port(0, &chunks);
    settings.router.new_files = new_files;
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

pub(crate) async fn routers<const N: usize>(directory: &Path) -> [(Server, Address); N] {
    let routers = many_routers(directory, N).await;
    routers.try_into().unwrap_or_else(|_| unreachable!())
}

pub(crate) async fn many_routers(directory: &Path, count: usize) -> Vec<(Server, Address)> {
    let mut routers = Vec::new();
    for number in 0..count {
        let place = directory.join(format!("router{number}"));
        fs::create_dir(&place).unwrap();
        routers.push(router(&place).await);
    }
    routers
}
