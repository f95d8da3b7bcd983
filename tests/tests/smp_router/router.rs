//! The router of an operator, on a runtime of its own.

use std::fs;
use std::time::SystemTime;

use simplex_routers::identity::IdentityFiles;
use simplex_routers::smp::server::Server;
use simplex_routers::smp::settings::Settings;
use simplex_routers::smp::store::{EmbeddedStore, MemoryStore, Options, Store};
use simplex_sans_io::crypto::Algorithm;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::wire::{ServerAddress, SmpScheme};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Where it keeps queues and messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    InMemory,
    OnDisk,
}

/// A router that runs until it is dropped.
pub(crate) struct Router {
    pub(crate) kept: Kept,
    pub(crate) address: ServerAddress<SmpScheme>,
    directory: TempDir,
    runtime: Option<Runtime>,
    server: Option<Server>,
}

impl Router {
    pub(crate) fn start(kept: Kept) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let now = UnixTime::from(SystemTime::now());
        IdentityFiles(directory.path())
            .create(
                Algorithm::Ed25519,
                "localhost",
                now,
                &mut Rng::from_seed([1; 32]),
            )
            .unwrap();
        let enable = match kept {
            Kept::InMemory => "off",
            Kept::OnDisk => "on",
        };
        let text = format!("[STORE_LOG]\nenable = {enable}\n[TRANSPORT]\nport = 0\n");
        fs::write(directory.path().join("smp-server.ini"), text).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (server, address) = listen(&directory, kept, &runtime);
        Self {
            kept,
            address,
            directory,
            runtime: Some(runtime),
            server: Some(server),
        }
    }

    /// Stops and starts again, elsewhere.
    pub(crate) fn restart(&mut self) {
        let server = self.server.take().unwrap();
        self.on_its_runtime(|runtime, _, _| runtime.block_on(server.stop()).unwrap());
        let (server, address) =
            self.on_its_runtime(|runtime, directory, kept| listen(directory, kept, runtime));
        self.server = Some(server);
        self.address = address;
    }

    /// Not on the thread of the test, which may belong to another runtime.
    fn on_its_runtime<T: Send>(&self, run: impl FnOnce(&Runtime, &TempDir, Kept) -> T + Send) -> T {
        let runtime = self.runtime.as_ref().unwrap();
        let (directory, kept) = (&self.directory, self.kept);
        std::thread::scope(|scope| {
            scope
                .spawn(move || run(runtime, directory, kept))
                .join()
                .unwrap()
        })
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.on_its_runtime(|runtime, _, _| runtime.block_on(server.stop()).unwrap());
        }
        // The runtime of the test may not wait for it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn listen(
    directory: &TempDir,
    kept: Kept,
    runtime: &Runtime,
) -> (Server, ServerAddress<SmpScheme>) {
    let path = directory.path();
    let settings = Settings::read(&path.join("smp-server.ini")).unwrap();
    let now = UnixTime::from(SystemTime::now());
    let credentials = IdentityFiles(path).load(now).unwrap();
    let store: Box<dyn Store> = match kept {
        Kept::InMemory => Box::new(MemoryStore::in_memory()),
        Kept::OnDisk => {
            let store = path.join("store");
            Box::new(EmbeddedStore::open(&store, Options::default()).unwrap())
        }
    };
    let started = Server::start(&settings, credentials, store, path, 1000);
    let server = runtime.block_on(started).unwrap();
    let (at, _) = server.ports().next().unwrap();
    let address = format!("smp://{}@127.0.0.1:{}", server.fingerprint(), at.port());
    (server, address.parse().unwrap())
}
