//! Many clients at a time, and disks that are full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use simplex_runtime_tokio::rng;
use simplex_sans_io::smp::ErrorType;
use simplex_sans_io::smp::client::RequestError;
use tokio::task::JoinSet;

use crate::process::{Client, Process, Queue};

fn number(name: &str, usual: usize) -> usize {
    let wanted = std::env::var(name).ok();
    wanted.map_or(usual, |wanted| wanted.parse().expect("a number"))
}

/// `SMP_STORM` says how many.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_come_back_all_at_once_are_delayed_and_not_refused() {
    let storm = number("SMP_STORM", 400);
    let directory = tempfile::tempdir().unwrap();
    let mut rng = rng().unwrap();
    let router = Process::start(directory.path());
    let client = Client::connect(&router.address).await;
    let queue = Queue::create(&client, &mut rng).await;
    queue.send(&client, b"waits").await.unwrap();
    drop((client, router));

    let router = Process::start(directory.path());
    let mut clients = JoinSet::new();
    for _ in 0..storm {
        let address = router.address.clone();
        clients.spawn(async move {
            let client = Client::connect(&address).await;
            client.smp.ping().await.unwrap();
            client
        });
    }
    let mut there = Vec::new();
    while let Some(client) = clients.join_next().await {
        there.push(client.unwrap());
    }
    // All of them are there at the same time, and the router has not forgotten what it does it for.
    for client in &there {
        client.smp.ping().await.unwrap();
    }
    let mut client = Client::connect(&router.address).await;
    let received = queue.receive_all(&mut client).await;
    assert_eq!(received, [Bytes::from_static(b"waits")]);
}

/// What the operating system says of a process: resident bytes, and processor time in hundredths of a second.
fn cost(pid: u32) -> (usize, usize) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.unwrap().trim().strip_suffix(" kB").unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let times = fields.split(' ').skip(11).take(2);
    let ticks = times.map(|ticks| ticks.parse::<usize>().unwrap()).sum();
    (resident.parse::<usize>().unwrap() * 1024, ticks)
}

/// `SMP_IDLE` says how many, as far as the limit of open files allows it, and `SMP_IDLE_SECONDS` for how long they are watched.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: it measures"]
async fn idle_connections_cost_little_memory_and_no_time() {
    let count = number("SMP_IDLE", 10_000);
    let seconds = number("SMP_IDLE_SECONDS", 60);
    let directory = tempfile::tempdir().unwrap();
    let router = Process::start(directory.path());
    let first = Client::connect(&router.address).await;
    first.smp.ping().await.unwrap();
    let (before, _) = cost(router.child.id());
    let begun = Instant::now();
    let mut clients = Vec::new();
    while clients.len() < count {
        let mut connecting = JoinSet::new();
        for _ in 0..100.min(count - clients.len()) {
            let address = router.address.clone();
            connecting.spawn(async move { Client::connect(&address).await });
        }
        while let Some(client) = connecting.join_next().await {
            clients.push(client.unwrap());
        }
    }
    let took = begun.elapsed();
    let (after, ticks) = cost(router.child.id());
    tokio::time::sleep(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
    let (_, later) = cost(router.child.id());
    let each = after.saturating_sub(before) / count;
    println!(
        "{count} idle connections, made in {took:?}: {each} bytes each, {} ms of processor time in {seconds} s",
        (later - ticks) * 10
    );
    for client in &clients {
        client.smp.ping().await.unwrap();
    }
    assert!(each < 40_000, "{each} bytes each");
    // A hundredth of one processor.
    assert!(later - ticks <= seconds.max(1), "{} ticks", later - ticks);
}

/// A router whose data is on a disk of that many megabytes, in a namespace of its own; none where that is not allowed.
fn with_disk(directory: &Path, megabytes: u32) -> Option<Process> {
    let data = directory.join("data");
    fs::create_dir_all(&data).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size={megabytes}m tmpfs '{}'",
        data.display()
    );
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
        command
    };
    let allowed = unshare(&mount).output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let program = env!("CARGO_BIN_EXE_smp-server");
    let run = format!(
        "exec {program} run --port 0 --dir '{}'",
        directory.display()
    );
    let command = unshare(&format!("{mount} && {run}"));
    Some(Process::spawn(command, directory))
}

/// Fills the disk of a router and makes room again.
trait Disk {
    fn fill(&mut self, router: &Process);
    fn make_room(&mut self, router: &Process);
}

/// A disk that has no room because a file takes all of it.
struct Filled(PathBuf);

impl Disk for Filled {
    fn fill(&mut self, router: &Process) {
        // The disk, as the router sees it.
        let data = self.0.join("data");
        let filler = format!("/proc/{}/root{}/filler", router.child.id(), data.display());
        let full = Command::new("sh")
            .args(["-c", &format!("cat /dev/zero > {filler}")])
            .output()
            .unwrap();
        assert!(!full.status.success(), "the disk is full");
        self.0 = filler.into();
    }

    fn make_room(&mut self, _: &Process) {
        fs::remove_file(&self.0).unwrap();
    }
}

/// A disk on which a file cannot grow, as the operating system does not let it: writes fail as they do on a full disk, and nobody's
/// permission is needed.
struct Limited;

impl Limited {
    fn limit(router: &Process, bytes: Option<u64>) {
        let pid = rustix::process::Pid::from_raw(router.child.id().try_into().unwrap());
        let limit = rustix::process::Rlimit {
            current: bytes,
            maximum: None,
        };
        rustix::process::prlimit(pid, rustix::process::Resource::Fsize, limit).unwrap();
    }
}

impl Disk for Limited {
    fn fill(&mut self, router: &Process) {
        Self::limit(router, Some(4096));
    }

    fn make_room(&mut self, router: &Process) {
        Self::limit(router, None);
    }
}

#[tokio::test]
async fn a_full_disk_is_told_to_senders_and_costs_nothing_that_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    match with_disk(directory.path(), 256) {
        Some(router) => {
            let disk = Filled(directory.path().to_owned());
            nothing_acknowledged_is_lost_on(disk, router).await;
        }
        None => eprintln!("SKIPPED: no disk of its own, as users may have no namespaces here"),
    }
}

#[tokio::test]
async fn files_that_cannot_grow_are_like_a_full_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_smp-server");
    let script = format!(
        "trap '' XFSZ; exec {program} run --port 0 --dir '{}'",
        directory.path().display()
    );
    command.args(["-c", &script]);
    let router = Process::spawn(command, directory.path());
    nothing_acknowledged_is_lost_on(Limited, router).await;
}

async fn nothing_acknowledged_is_lost_on(mut disk: impl Disk, router: Process) {
    let mut rng = rng().unwrap();
    let client = Client::connect(&router.address).await;
    let queue = Queue::create(&client, &mut rng).await;
    queue.send(&client, &[0; 10_000]).await.unwrap();
    disk.fill(&router);
    let mut acknowledged = 1_u32;
    let refused = loop {
        match queue.send(&client, &[1; 10_000]).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 128, "a full disk takes everything");
    };
    assert!(
        matches!(refused, RequestError::Protocol(ErrorType::Store { .. })),
        "{refused:?}"
    );
    // Those who are connected still get what there is.
    client.smp.ping().await.unwrap();
    disk.make_room(&router);
    let mut tries = 0;
    while let Err(error) = queue.send(&client, &[2; 10_000]).await {
        tries += 1;
        assert!(tries < 1000, "it never recovers: {error:?}");
    }
    let mut recipient = Client::connect(&router.address).await;
    let received = queue.receive_all(&mut recipient).await;
    assert_eq!(received.len(), usize::try_from(acknowledged + 1).unwrap());
}
