//! How fast stores are: durable commits, loads, and the time to open a large store.
//!
//! ```text
//! cargo bench -p simplex-routers --bench smp_store [-- QUEUES MESSAGES]
//! ```
//! Each figure of the embedded store stands beside that of the same bytes appended to one file and synchronised, which no store can beat.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for developers"
)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use simplex_routers::backup::backup;
use simplex_routers::smp::store::backup::Contents;
use simplex_routers::smp::store::import::{self, Sources};
use simplex_routers::smp::store::{EmbeddedStore, MemoryStore, Options, Store, export};
use simplex_sans_io::crypto::{AuthPublicKey, ed25519, x25519};
use simplex_sans_io::rng::Rng;
use simplex_sans_io::smp::router::store::{
    Change, Load, MessageContent, MessageRecord, Position, QueueRecord, QueueStatus,
};
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::smp::{MsgFlags, MsgId, QueueMode};
use simplex_sans_io::wire::EntityId;
use simplex_sans_io::wire::utc::UtcTime;

const BODY: usize = 16_000;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, task, path, queues, messages, ..] = arguments.as_slice() {
        let (path, number) = (Path::new(path), |text: &str| text.parse().unwrap());
        match task.as_str() {
            "fill" => fill(path, number(queues), number(messages)),
            "open" => open(path, number(queues)),
            "files" => files(path),
            _ => println!("tasks are fill and open"),
        }
        return;
    }
    let numbers: Vec<u64> = arguments
        .iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    let queues = numbers.first().copied().unwrap_or(100_000);
    let messages = numbers.get(1).copied().unwrap_or(20_000);
    let directory = tempfile::tempdir_in(".").unwrap();
    for group in [1, 16, 64] {
        commits(directory.path(), group);
    }
    for (name, queues, messages) in [("queues", queues, 0), ("messages", messages / 10, messages)] {
        let path = directory.path().join(name);
        // In processes of their own: the first one ends as if it was killed.
        for task in ["fill", "open", "open", "files"] {
            let (queues, messages) = (queues.to_string(), messages.to_string());
            Command::new(std::env::current_exe().unwrap())
                .args([
                    task.as_ref(),
                    path.as_os_str(),
                    queues.as_ref(),
                    messages.as_ref(),
                ])
                .status()
                .unwrap();
        }
        std::fs::remove_dir_all(path).unwrap();
    }
    churn(&directory.path().join("churn"), messages);
}

fn queue(number: u64, rng: &mut Rng) -> QueueRecord {
    QueueRecord {
        recipient_id: id(b'R', number),
        recipient_keys: vec![AuthPublicKey::from(ed25519::PublicKey::from_bytes(
            rng.bytes(),
        ))],
        dh_secret: x25519::SharedSecret::from_bytes(rng.bytes()),
        sender_id: id(b'S', number),
        sender_key: Some(AuthPublicKey::from(ed25519::PublicKey::from_bytes(
            rng.bytes(),
        ))),
        mode: Some(QueueMode::Messaging),
        link: None,
        notifier: None,
        status: QueueStatus::Active,
        updated_at: Some(1_700_000_000),
        service_id: None,
    }
}

/// Ids look random.
fn id(party: u8, number: u64) -> EntityId {
    let mut seed = [party; 32];
    for (to, from) in seed.iter_mut().zip(number.to_be_bytes()) {
        *to = from;
    }
    EntityId::from(Rng::from_seed(seed).bytes())
}

fn message(time: i64, body: &Bytes) -> MessageRecord {
    MessageRecord {
        id: MsgId::from([7; 24]),
        time,
        content: MessageContent::Sent {
            flags: MsgFlags { notification: true },
            body: body.clone(),
        },
    }
}

fn put_message(queue: u64, sequence: u64, body: &Bytes) -> Change {
    Change::PutMessage {
        queue: id(b'R', queue),
        sequence,
        message: message(1_700_000_000, body),
        position: Position {
            head: 0,
            tail: sequence + 1,
            full: false,
        },
    }
}

fn body(rng: &mut Rng) -> Bytes {
    let mut bytes = vec![0; BODY];
    rng.fill(&mut bytes);
    bytes.into()
}

fn put_queue(number: u64, rng: &mut Rng) -> Vec<Change> {
    vec![Change::PutQueue {
        queue: Box::new(queue(number, rng)),
        removed: Vec::new(),
    }]
}

fn run(limit: Duration, mut work: impl FnMut(u64)) -> f64 {
    let started = Instant::now();
    let mut times = 0;
    while started.elapsed() < limit {
        work(times);
        times += 1;
    }
    times as f64 / started.elapsed().as_secs_f64()
}

fn commits(directory: &Path, group: u64) {
    const LIMIT: Duration = Duration::from_secs(2);
    let rng = &mut Rng::from_seed([1; 32]);
    let body = body(rng);
    let group_of = |round: u64| -> Vec<Vec<Change>> {
        let numbers = round * group..(round + 1) * group;
        numbers
            .map(|number| vec![put_message(number, 0, &body)])
            .collect()
    };
    let path = directory.join(format!("commits-{group}"));
    let mut store = EmbeddedStore::open(&path, Options::default()).unwrap();
    let embedded = run(LIMIT, |round| store.commit(&group_of(round)).unwrap());
    let mut memory = MemoryStore::in_memory();
    let in_memory = run(LIMIT / 4, |round| memory.commit(&group_of(round)).unwrap());
    let mut file = File::create(directory.join("baseline")).unwrap();
    let baseline = run(LIMIT, |_| {
        for _ in 0..group {
            file.write_all(&body).unwrap();
        }
        file.sync_data().unwrap();
    });
    let small = Bytes::new();
    let small_path = directory.join(format!("small-{group}"));
    let mut store = EmbeddedStore::open(&small_path, Options::default()).unwrap();
    let small = run(LIMIT, |round| {
        let numbers = round * group..(round + 1) * group;
        let group: Vec<_> = numbers
            .map(|number| vec![put_message(number, 0, &small)])
            .collect();
        store.commit(&group).unwrap();
    });
    let each = |rate: f64| rate * group as f64;
    println!(
        "group of {group:2}: {:8.0} messages/s of 16 kB, file and fdatasync {:8.0} (ratio {:.2}), memory {:8.0}; {:8.0} small ones/s",
        each(embedded),
        each(baseline),
        embedded / baseline,
        each(in_memory),
        each(small),
    );
}

/// Makes a store with so many queues and messages, and ends without closing it.
fn fill(path: &Path, queues: u64, messages: u64) {
    let rng = &mut Rng::from_seed([2; 32]);
    let body = body(rng);
    let mut store = EmbeddedStore::open(path, Options::default()).unwrap();
    let started = Instant::now();
    let mut commits = Vec::new();
    let mut commit = |commits: &mut Vec<Vec<Change>>, changes| {
        commits.push(changes);
        if commits.len() == 1000 {
            store.commit(&std::mem::take(commits)).unwrap();
        }
    };
    for number in 0..queues {
        commit(&mut commits, put_queue(number, rng));
    }
    for number in 0..messages {
        let change = put_message(number % queues, number / queues, &body);
        commit(&mut commits, vec![change]);
    }
    store.commit(&commits).unwrap();
    println!(
        "{queues} queues and {messages} messages written in {:.1?}, {} MB on disk, {} MB of memory",
        started.elapsed(),
        store.disk_bytes().unwrap() / 1_000_000,
        memory(),
    );
    std::process::abort();
}

/// The time to open a store, and to load from it.
fn open(path: &Path, queues: u64) {
    let started = Instant::now();
    let mut store = Box::new(EmbeddedStore::open(path, Options::default()).unwrap());
    println!(
        "  opened in {:.0?}, {} MB of memory",
        started.elapsed(),
        memory()
    );
    let rng = &mut Rng::from_seed([4; 32]);
    let mut latencies: Vec<Duration> = (0..20_000)
        .map(|_| {
            let number = u64::from(rng.below(u32::try_from(queues).unwrap()));
            let load = Load::Queue(Party::Sender, id(b'S', number));
            let started = Instant::now();
            store.load(&load).unwrap();
            started.elapsed()
        })
        .collect();
    latencies.sort();
    let (half, most) = (
        latencies[latencies.len() / 2],
        latencies[latencies.len() * 99 / 100],
    );
    println!("  queues loaded by their senders' ids: median {half:.1?}, 99 % within {most:.1?}");
    let started = Instant::now();
    for number in 0..20_000 {
        store
            .load(&Load::Queue(Party::Sender, id(b'X', number)))
            .unwrap();
    }
    println!(
        "  ids that do not exist: {:.1?} each",
        started.elapsed() / 20_000
    );
    let started = Instant::now();
    let load = Load::Expired {
        before: 1_700_000_001,
        limit: 256,
    };
    store.load(&load).unwrap();
    println!(
        "  256 queues with expired messages found in {:.1?}; {} MB of memory",
        started.elapsed(),
        memory()
    );
    store.close().unwrap();
}

/// The time to write the files of the reference, to read them again, and to make a backup.
fn files(path: &Path) {
    let mut store = EmbeddedStore::open(path, Options::default()).unwrap();
    let started = Instant::now();
    let faults = store.verify(&mut |fault| println!("{fault}")).unwrap();
    println!("  verified in {:.1?}, {faults} faults", started.elapsed());
    let directory = path.with_extension("files");
    std::fs::create_dir(&directory).unwrap();
    let started = Instant::now();
    let snapshot = store.snapshot().unwrap();
    let contents = backup::<Contents>(&*snapshot, &directory.join("backup")).unwrap();
    println!("  backed up in {:.1?}: {contents}", started.elapsed());
    let started = Instant::now();
    let now = UtcTime::from_seconds(1_700_000_000);
    export::export(&mut store, &directory, now).unwrap();
    println!("  exported in {:.1?}", started.elapsed());
    drop(snapshot);
    drop(store);
    let started = Instant::now();
    let new = directory.join("imported");
    let mut store = EmbeddedStore::open(&new, Options::default()).unwrap();
    let sources = Sources::find(&directory);
    let summary = import::import(&mut store, &sources, &mut |_| {}).unwrap();
    println!(
        "  imported in {:.1?}: {summary}; {} MB of memory",
        started.elapsed(),
        memory()
    );
    drop(store);
    std::fs::remove_dir_all(directory).unwrap();
}

/// Messages that come and go: what is left on disk.
fn churn(path: &Path, messages: u64) {
    let rng = &mut Rng::from_seed([3; 32]);
    let body = body(rng);
    let mut store = Box::new(EmbeddedStore::open(path, Options::default()).unwrap());
    let mut sizes = Vec::new();
    for round in 0..10 {
        for number in 0..messages / 10 {
            let sequence = round * (messages / 10) + number;
            let put = Change::PutMessage {
                queue: id(b'R', sequence % 100),
                sequence: sequence / 100,
                message: message(1_700_000_000, &body),
                position: Position {
                    head: (sequence / 100).saturating_sub(5),
                    tail: sequence / 100 + 1,
                    full: false,
                },
            };
            let delete = Change::DeleteMessages {
                queue: id(b'R', sequence % 100),
                from: (sequence / 100).saturating_sub(6),
                position: Position {
                    head: (sequence / 100).saturating_sub(5),
                    tail: sequence / 100 + 1,
                    full: false,
                },
            };
            store.apply(&[vec![put], vec![delete]]).unwrap();
        }
        store.sync().unwrap();
        sizes.push(store.disk_bytes().unwrap() / 1_000_000);
    }
    println!("{messages} messages came and went, 500 wait: MB on disk over time {sizes:?}");
    store.close().unwrap();
}

/// The memory of this process, in megabytes.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) / 1000
}
