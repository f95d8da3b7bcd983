//! Files through agents, over real routers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails when something else happens"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use simplex_agent::store::{Memory, Sqlite, SqliteOptions, Store};
use simplex_agent::xftp::{Runtime, Server as Address};
use simplex_agent::{
    Agent, AgentError, Builder, DescriptionText, Error, Event, EventContent, EventId, Events,
    FileEvent, FileId, FileRouterCounts, LocalKey, NetworkState, ReceiveFile, SendFile, TestStep,
    UserId, UserRouter,
};
use simplex_routers::xftp::server::Server;
use simplex_runtime_tokio::{Tokio, rng};
use simplex_sans_io::crypto::secret_box::Key;
use simplex_sans_io::crypto::{Nonce, Secret};
use simplex_sans_io::drive::Network;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::xftp::description::{FileDescription, FileUri, UriScheme};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use self::file_router::{many_routers, router, routers};
use self::sample::file;

mod file_router;
mod sample;

const USER: UserId = UserId(1);

/// An agent with its events, over any runtime.
struct Peer {
    agent: Agent,
    events: Events,
}

impl Peer {
    async fn start<N>(
        store: impl Store + 'static,
        directory: &Path,
        network: N,
        rng: Rng,
        spawn: impl FnOnce(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>),
    ) -> Self
    where
        N: Runtime + Network,
    {
        let builder = Builder::new(store).files(directory, network.clone());
        let (agent, events, running) = builder.start(network, rng);
        spawn(Box::pin(async move { running.await.unwrap() }));
        Self { agent, events }
    }

    /// One that runs in a task, which ends it as a crash does when it is aborted.
    async fn on_tokio(store: impl Store + 'static, directory: &Path) -> (Self, JoinHandle<()>) {
        let mut task = None;
        let spawn = |running| task = Some(tokio::spawn(running));
        let peer = Self::start(store, directory, Tokio::new(), rng().unwrap(), spawn).await;
        (peer, task.unwrap())
    }

    async fn use_routers(&self, routers: &[Address]) {
        let routers = routers
            .iter()
            .map(|router| UserRouter::new(router.address.clone()));
        let set = self.agent.set_file_routers(USER, routers.collect());
        set.await.unwrap();
    }

    async fn next(&mut self) -> (Option<EventId>, FileId, FileEvent) {
        loop {
            let Event { id, content, .. } = self.events.next().await.unwrap();
            if let EventContent::File { file, event } = content {
                return (id, file, event);
            }
        }
    }

    /// What a file has come to, which is confirmed.
    async fn end_of(&mut self, file: &FileId) -> FileEvent {
        loop {
            let (id, of, event) = self.next().await;
            if let (Some(id), true) = (id, of == *file) {
                self.agent.confirm(id).await.unwrap();
                return event;
            }
        }
    }

    async fn sent(&mut self, file: &FileId) -> (DescriptionText, Vec<DescriptionText>) {
        match self.end_of(file).await {
            FileEvent::Sent { sender, recipients } => (sender, recipients),
            other => panic!("{other:?}"),
        }
    }

    async fn received(&mut self, file: &FileId) -> PathBuf {
        match self.end_of(file).await {
            FileEvent::Received { path } => path.into(),
            other => panic!("{other:?}"),
        }
    }

    async fn send(&mut self, path: &Path) -> (FileId, DescriptionText, DescriptionText) {
        let file = self.agent.send_file(SendFile::new(USER, path)).await;
        let file = file.unwrap();
        let (sender, mut recipients) = self.sent(&file).await;
        (file, sender, recipients.remove(0))
    }

    async fn receive(&mut self, text: &DescriptionText) -> (FileId, PathBuf) {
        let wanted = ReceiveFile::new(USER, text.description().unwrap());
        let file = self.agent.receive_file(wanted).await.unwrap();
        let path = self.received(&file).await;
        (file, path)
    }
}

/// Routers, and the directory of all that a test needs.
struct Net {
    directory: TempDir,
    /// Where agents have their files.
    place: PathBuf,
    servers: Vec<Server>,
    addresses: Vec<Address>,
}

impl Net {
    async fn new(count: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let routers = many_routers(directory.path(), count).await;
        let (servers, addresses) = routers.into_iter().unzip();
        Self {
            place: directory.path().join("of the agent"),
            directory,
            servers,
            addresses,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// An agent that uses these routers, and remembers nothing.
    async fn peer(&self) -> Peer {
        let (peer, _task) = Peer::on_tokio(Memory::default(), &self.place).await;
        peer.use_routers(&self.addresses).await;
        peer
    }

    async fn used(&self, router: usize) -> u64 {
        used(&self.servers[router]).await
    }

    async fn stop(self) {
        for server in self.servers {
            server.stop().await.unwrap();
        }
    }
}

fn sqlite(directory: &Path) -> Sqlite {
    Sqlite::open(&directory.join("agent.db"), &SqliteOptions::default()).unwrap()
}

async fn used(server: &Server) -> u64 {
    server.numbers().await.unwrap().0.used
}

/// Everything that is in a directory, with what is in it.
fn tree(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    let all = paths.flat_map(|path| {
        let mut all = tree(&path);
        all.push(path);
        all
    });
    all.collect()
}

/// Files of these sizes, for two recipients each.
async fn there_and_back(peer: &mut Peer, directory: &Path, sizes: &[usize]) {
    for size in sizes {
        let path = file(directory, *size);
        let send = SendFile::new(USER, &path).recipients(2);
        let sent = peer.agent.send_file(send).await.unwrap();
        let (_, recipients) = peer.sent(&sent).await;
        assert_eq!(recipients.len(), 2);
        for text in &recipients {
            let (_, received) = peer.receive(text).await;
            assert_eq!(received.file_name(), path.file_name());
            assert_eq!(fs::read(&received).unwrap(), fs::read(&path).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_size_are_sent_and_received_through_the_agent() {
    let net = Net::new(2).await;
    let mut peer = net.peer().await;
    let sizes = [0, 1, 65_535, 65_536, 65_537, (1 << 20) + 1, 9_000_000];
    there_and_back(&mut peer, net.path(), &sizes).await;
    // What was received is there, and nothing else.
    let left = tree(&net.place).into_iter().filter(|path| path.is_file());
    assert_eq!(left.count(), 2 * sizes.len());
    assert!(net.used(0).await > 0 && net.used(1).await > 0);
    let counted = peer.agent.file_statistics().await.unwrap();
    let all = |count: fn(&FileRouterCounts) -> u64| -> u64 {
        counted.iter().map(|of| count(&of.counts)).sum()
    };
    let used = net.used(0).await + net.used(1).await;
    assert_eq!(all(|counts| counts.uploaded_bytes), used);
    assert_eq!(all(|counts| counts.downloaded_bytes), 2 * used);
    peer.agent.reset_file_statistics().await.unwrap();
    assert_eq!(peer.agent.file_statistics().await.unwrap(), []);
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_travel_through_an_agent_on_smol() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    let path = directory.path().to_owned();
    let done = tokio::task::spawn_blocking(move || {
        smol::block_on(async {
            let rng = simplex_runtime_smol::rng().unwrap();
            let network = simplex_runtime_smol::Smol::new();
            let place = path.join("of the agent");
            let spawn = |running| smol::spawn(running).detach();
            let store = Memory::default();
            let mut peer = Peer::start(store, &place, network, rng, spawn).await;
            peer.use_routers(&[address]).await;
            there_and_back(&mut peer, &path, &[1_000_000]).await;
        });
    });
    done.await.unwrap();
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_travel_through_an_agent_on_async_std() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    let path = directory.path().to_owned();
    let done = tokio::task::spawn_blocking(move || {
        async_std::task::block_on(async {
            let rng = simplex_runtime_async_std::rng().unwrap();
            let network = simplex_runtime_async_std::AsyncStd::new();
            let place = path.join("of the agent");
            let spawn = |running| drop(async_std::task::spawn(running));
            let store = Memory::default();
            let mut peer = Peer::start(store, &place, network, rng, spawn).await;
            peer.use_routers(&[address]).await;
            there_and_back(&mut peer, &path, &[1_000_000]).await;
        });
    });
    done.await.unwrap();
    server.stop().await.unwrap();
}

/// Waits until a file has made some progress, then ends the agent as a crash does.
async fn killed_after_some_progress(mut peer: Peer, task: JoinHandle<()>, file: &FileId) -> u64 {
    loop {
        let (_, of, event) = peer.next().await;
        if let FileEvent::SendProgress { sent: done, .. }
        | FileEvent::ReceiveProgress { received: done, .. } = event
            && of == *file
        {
            task.abort();
            // Its thread has closed the database by the time that its future is gone.
            assert!(task.await.unwrap_err().is_cancelled());
            return done;
        }
    }
}

/// Opens the database of an agent that has just died.
async fn reopened(directory: &Path) -> Sqlite {
    loop {
        match Sqlite::open(&directory.join("agent.db"), &SqliteOptions::default()) {
            Ok(store) => return store,
            // The thread of the store has yet to hear of it.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_dies_while_it_sends_and_receives_goes_on_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    let address = [address];
    let place = directory.path().join("of the agent");
    let path = file(directory.path(), 30_000_000);
    let original = fs::read(&path).unwrap();

    let (peer, task) = Peer::on_tokio(sqlite(directory.path()), &place).await;
    peer.use_routers(&address).await;
    let sending = peer.agent.send_file(SendFile::new(USER, &path)).await;
    let sending = sending.unwrap();
    killed_after_some_progress(peer, task, &sending).await;
    // It is encrypted by now: the original is not needed any more.
    fs::remove_file(&path).unwrap();

    let store = reopened(directory.path()).await;
    let (mut peer, task) = Peer::on_tokio(store, &place).await;
    peer.use_routers(&address).await;
    let (_, recipients) = peer.sent(&sending).await;
    // What was uploaded before was not uploaded again.
    let description = recipients[0].description().unwrap();
    assert_eq!(used(&server).await, description.size);

    let wanted = ReceiveFile::new(USER, description);
    let receiving = peer.agent.receive_file(wanted).await.unwrap();
    let before = killed_after_some_progress(peer, task, &receiving).await;
    let store = reopened(directory.path()).await;
    let (mut peer, _task) = Peer::on_tokio(store, &place).await;
    peer.use_routers(&address).await;
    let path = loop {
        let (_, of, event) = peer.next().await;
        match event {
            FileEvent::Received { path } if of == receiving => break path,
            FileEvent::ReceiveProgress { received, .. } if of == receiving => {
                assert!(received > before, "{received} is not more than {before}");
            }
            _ => {}
        }
    };
    assert!(fs::read(path).unwrap() == original);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_happened_is_told_after_a_restart_until_it_is_confirmed() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    let address = [address];
    let place = directory.path().join("of the agent");
    let path = file(directory.path(), 100_000);
    let (mut peer, task) = Peer::on_tokio(sqlite(directory.path()), &place).await;
    peer.use_routers(&address).await;
    let sending = peer.agent.send_file(SendFile::new(USER, &path)).await;
    let sending = sending.unwrap();
    let told = loop {
        let (id, _, event) = peer.next().await;
        if let Some(id) = id {
            break (id, event);
        }
    };
    assert!(matches!(told.1, FileEvent::Sent { .. }));
    drop(peer);
    task.await.unwrap();

    let (mut peer, task) = Peer::on_tokio(reopened(directory.path()).await, &place).await;
    let (id, of, event) = peer.next().await;
    assert_eq!((id, of, event), (Some(told.0), sending, told.1));
    peer.agent.confirm(told.0).await.unwrap();
    drop(peer);
    task.await.unwrap();

    let (mut peer, _task) = Peer::on_tokio(reopened(directory.path()).await, &place).await;
    peer.use_routers(&address).await;
    let another = peer.agent.send_file(SendFile::new(USER, &path)).await;
    let another = another.unwrap();
    let (_, of, _) = peer.next().await;
    assert_eq!(of, another);
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_of_any_length_is_sent_as_a_short_one_that_leads_to_it() {
    let net = Net::new(1).await;
    let mut peer = net.peer().await;
    let path = file(net.path(), 30_000_000);
    let (_, _, text) = peer.send(&path).await;
    let description = text.description().unwrap();
    let sent = peer.agent.send_description(USER, description, 1).await;
    let (_, recipients) = peer.sent(&sent.unwrap()).await;
    let uri = FileUri {
        scheme: UriScheme::Simplex,
        description: recipients[0].description().unwrap(),
        data: None,
    };
    // It fits into a QR code, as the other one does not.
    assert!(uri.to_string().len() < 1002 && text.as_str().len() > 1002);
    let read: FileUri = uri.to_string().parse().unwrap();
    let wanted = ReceiveFile::new(USER, read.description);
    let receiving = peer.agent.receive_file(wanted).await.unwrap();
    let received = peer.received(&receiving).await;
    assert!(fs::read(received).unwrap() == fs::read(path).unwrap());
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_deleted_here_and_at_its_routers() {
    let net = Net::new(2).await;
    let mut peer = net.peer().await;
    let path = file(net.path(), 9_000_000);
    let (sent, sender, text) = peer.send(&path).await;
    let (received, there) = peer.receive(&text).await;
    assert!(there.exists());
    peer.agent.delete_file(&received).await.unwrap();
    assert!(!there.exists());

    let sender = sender.description().unwrap();
    let deleted = peer.agent.delete_file_remotely(USER, &sent, Some(sender));
    deleted.await.unwrap();
    let told = peer.end_of(&sent).await;
    assert_eq!(told, FileEvent::Deleted { error: None });
    assert_eq!((net.used(0).await, net.used(1).await), (0, 0));

    let wanted = ReceiveFile::new(USER, text.description().unwrap());
    let gone = peer.agent.receive_file(wanted).await.unwrap();
    let FileEvent::ReceiveFailed { error } = peer.end_of(&gone).await else {
        panic!("it was deleted")
    };
    assert!(error.to_string().ends_with("AUTH"), "{error}");
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_two_replicas_is_received_when_a_router_is_gone() {
    let mut net = Net::new(2).await;
    let mut peer = net.peer().await;
    let path = file(net.path(), 9_000_000);
    let send = SendFile {
        replicas: 2,
        ..SendFile::new(USER, &path)
    };
    let sent = peer.agent.send_file(send).await.unwrap();
    let (_, recipients) = peer.sent(&sent).await;
    net.servers.remove(0).stop().await.unwrap();
    let (_, received) = peer.receive(&recipients[0]).await;
    assert!(fs::read(received).unwrap() == fs::read(path).unwrap());
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_waits_for_its_router() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().join("gone");
    fs::create_dir(&elsewhere).unwrap();
    let (gone, address) = router(&elsewhere).await;
    gone.stop().await.unwrap();
    let [(server, second)] = routers(directory.path()).await;
    let place = directory.path().join("of the agent");
    let (mut peer, _task) = Peer::on_tokio(Memory::default(), &place).await;
    peer.use_routers(&[address]).await;
    let path = file(directory.path(), 100_000);
    let sending = peer.agent.send_file(SendFile::new(USER, &path)).await;
    let sending = sending.unwrap();
    let (_, of, event) = peer.next().await;
    assert_eq!(of, sending);
    let FileEvent::SendWarning { error } = event else {
        panic!("{event:?}")
    };
    assert!(error.is_temporary(), "{error}");
    peer.use_routers(&[second]).await;
    peer.sent(&sending).await;
    server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_encrypted_on_this_machine_are_never_there_in_clear() {
    let net = Net::new(1).await;
    let mut peer = net.peer().await;
    let text = b"nobody else is to read this ".repeat(5000);
    let mut rng = Rng::from_seed([3; 32]);
    let mut local = || LocalKey {
        key: Secret::generate(&mut rng),
        nonce: Nonce::generate(&mut rng),
    };
    let (here, there) = (local(), local());
    let path = net.path().join("secret.txt");
    let sealed = Key::from(&here.key).seal_tag_last(&here.nonce, &text);
    fs::write(&path, &sealed).unwrap();
    let send = SendFile {
        local: Some(here.clone()),
        ..SendFile::new(USER, &path)
    };
    let sent = peer.agent.send_file(send).await.unwrap();
    let (_, recipients) = peer.sent(&sent).await;
    let wanted = ReceiveFile {
        local: Some(there.clone()),
        ..ReceiveFile::new(USER, recipients[0].description().unwrap())
    };
    let receiving = peer.agent.receive_file(wanted).await.unwrap();
    let received = peer.received(&receiving).await;
    let mut bytes = fs::read(&received).unwrap();
    assert_eq!(bytes.len(), text.len() + 16);
    let key = Key::from(&there.key);
    let opened = key.open_tag_last(&there.nonce, &mut bytes).unwrap();
    assert_eq!(opened, text);

    // With another key it is not sent at all.
    let wrong = SendFile {
        local: Some(there),
        ..SendFile::new(USER, &path)
    };
    let sending = peer.agent.send_file(wrong).await.unwrap();
    let ended = peer.end_of(&sending).await;
    assert!(matches!(ended, FileEvent::SendFailed { .. }), "{ended:?}");
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspended_agent_finishes_what_travels_and_goes_on_when_it_is_resumed() {
    let net = Net::new(1).await;
    let mut peer = net.peer().await;
    let path = file(net.path(), 30_000_000);
    let sending = peer.agent.send_file(SendFile::new(USER, &path)).await;
    let sending = sending.unwrap();
    peer.next().await;
    let within = Duration::from_secs(3600);
    peer.agent.suspend_all(within).await.unwrap();
    loop {
        let event = peer.events.next().await.unwrap();
        assert!(event.id.is_none(), "it has not stopped: {event:?}");
        if event.content == EventContent::Suspended {
            break;
        }
    }
    peer.agent.resume().await.unwrap();
    peer.agent.set_network(NetworkState::Offline).await.unwrap();
    peer.agent.set_network(NetworkState::Online).await.unwrap();
    peer.sent(&sending).await;
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_router_is_tested_with_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let [(server, address)] = routers(directory.path()).await;
    let place = directory.path().join("of the agent");
    let (peer, _task) = Peer::on_tokio(Memory::default(), &place).await;
    let Address { address, password } = address;
    let test = || {
        let tested = peer
            .agent
            .test_file_router(USER, address.clone(), password.clone());
        async { tested.await.unwrap() }
    };
    assert_eq!(test().await, None);
    assert_eq!(used(&server).await, 0);
    server.stop().await.unwrap();
    let failure = test().await.unwrap();
    assert_eq!(failure.step, TestStep::Connect);
    assert!(failure.error.is_temporary(), "{}", failure.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_without_a_directory_refuses_files() {
    let (agent, _events, running) =
        Builder::new(Memory::default()).start(Tokio::new(), rng().unwrap());
    tokio::spawn(running);
    let refused = agent.send_file(SendFile::new(USER, "photo.jpg")).await;
    assert!(matches!(
        refused,
        Err(Error::Agent(AgentError::Prohibited { .. }))
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_there_has_failed() {
    let net = Net::new(1).await;
    let mut peer = net.peer().await;
    let path = net.path().join("missing");
    let sending = peer.agent.send_file(SendFile::new(USER, path)).await;
    let FileEvent::SendFailed { error } = peer.end_of(&sending.unwrap()).await else {
        panic!("there is no such file")
    };
    assert!(error.to_string().starts_with("FILE FILE_IO cannot be read"));
    net.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_changed_on_its_way_has_failed_and_leaves_nothing() {
    let net = Net::new(1).await;
    let mut peer = net.peer().await;
    let path = file(net.path(), 100_000);
    let (_, _, text) = peer.send(&path).await;
    let mut parts = text.description().unwrap().into_parts();
    parts.key = Secret::from_bytes([1; 32]);
    let forged = FileDescription::new(parts).unwrap();
    let receiving = peer
        .agent
        .receive_file(ReceiveFile::new(USER, forged))
        .await;
    let receiving = receiving.unwrap();
    let ended = peer.end_of(&receiving).await;
    assert!(
        matches!(ended, FileEvent::ReceiveFailed { .. }),
        "{ended:?}"
    );
    assert_eq!(tree(&net.place), Vec::<PathBuf>::new());
    net.stop().await;
}
