//! A router for the agents of a test.

use std::time::SystemTime;

use simplex_routers::identity::IdentityFiles;
use simplex_routers::smp::server::Server;
use simplex_routers::smp::settings::Settings;
use simplex_routers::smp::store::MemoryStore;
use simplex_runtime_tokio::rng;
use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::wire::{ServerAddress, SmpScheme};

/// A router that ends with the test.
pub(crate) struct Router {
    server: Server,
    pub(crate) address: ServerAddress<SmpScheme>,
    _directory: tempfile::TempDir,
}

impl Router {
    /// Ends with its sessions.
    #[allow(dead_code, reason = "not every test that has a router stops it")]
    pub(crate) async fn stop(self) {
        self.server.stop().await.unwrap();
    }

    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = UnixTime::from(SystemTime::now());
        let files = IdentityFiles(directory.path());
        let algorithm = Algorithm::Ed25519;
        let identity = files.create(algorithm, "127.0.0.1", now, &mut rng().unwrap());
        let fingerprint = identity.unwrap();
        let ini = "[STORE_LOG]\nenable = off\n[TRANSPORT]\nhost = 127.0.0.1\nport = 0\nwebsockets = off\n";
        let path = directory.path().join("smp-server.ini");
        std::fs::write(&path, ini).unwrap();
        let settings = Settings::read(&path).unwrap();
        let store = Box::new(MemoryStore::in_memory());
        let credentials = files.load(now).unwrap();
        let server = Server::start(&settings, credentials, store, directory.path(), 1000);
        let server = server.await.unwrap();
        let port = server.ports().next().unwrap().0.port();
        let address = format!("smp://{fingerprint}@127.0.0.1:{port}");
        Self {
            server,
            address: address.parse().unwrap(),
            _directory: directory,
        }
    }
}
