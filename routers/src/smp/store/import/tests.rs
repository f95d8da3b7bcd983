use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::prelude::*;
use simplex_sans_io::smp::body::MAX_DELIVERED;
use simplex_sans_io::smp::router::store::{
    Change, Load, Loaded, LoadedQueue, MessageContent, QueueRecord, QueueStatus, ServiceRecord,
};
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::wire::EntityId;
use simplex_sans_io::wire::utc::UtcTime;

use super::*;
use crate::smp::store::export::export;
use crate::smp::store::tests::Scenario;
use crate::smp::store::{MemoryStore, Snapshot, SyncPolicy};

const SMALL: Limits = Limits {
    queues: 3,
    bytes: 500,
    notifications: 2,
};

/// Imports, and returns the problems.
fn import_all(store: &mut dyn Store, sources: &Sources) -> (Summary, Vec<String>) {
    let mut problems = Vec::new();
    let summary = import_within(&SMALL, store, sources, &mut |event| {
        if let Event::Problem {
            path,
            line,
            problem,
        } = event
        {
            let name = path.file_name().unwrap().to_string_lossy();
            problems.push(format!("{name} {}: {problem}", line.unwrap_or(0)));
        }
    });
    (summary.unwrap(), problems)
}

/// A directory with the files of a router.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(self, name: &str, text: &str) -> Self {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn sources(&self) -> Sources {
        Sources::find(self.0.path())
    }
}

fn queue(store: &mut dyn Store, id: &[u8]) -> Option<LoadedQueue> {
    let load = Load::Queue(Party::Recipient, EntityId::try_from(id).unwrap());
    let Loaded::Queue(queue) = store.load(&load).unwrap() else {
        panic!("a queue was asked for");
    };
    queue.map(|queue| *queue)
}

/// The bodies of messages, and `quota` for marks.
fn bodies(store: &mut dyn Store, id: &[u8]) -> Vec<String> {
    let position = queue(store, id).unwrap().position;
    let load = Load::Messages {
        queue: EntityId::try_from(id).unwrap(),
        from: position.head,
        before: position.tail,
    };
    let Loaded::Messages(messages) = store.load(&load).unwrap() else {
        panic!("messages were asked for");
    };
    let body = |content| match content {
        MessageContent::Sent { body, .. } => String::from_utf8(body.to_vec()).unwrap(),
        MessageContent::Quota => "quota".to_owned(),
    };
    messages
        .into_iter()
        .map(|(_, message)| body(message.content))
        .collect()
}

/// The line of a queue with these ids; `cg==` is `r`, `cw==` is `s`.
fn create(recipient: &str, sender: &str, rest: &str) -> String {
    format!(
        "CREATE rid={recipient} rk=MCowBQYDK2VwAyEAPA6pYGrCGktj78yVFwIK6QOEKP_RmlUQPNW9l4HfvvM= \
         rdh=aYBS56Fl4bggz9F4dfaQleMDgliQcSZGMIqhmqb1DVY= sid={sender} sk={rest}\n"
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_exported_is_imported_again(seed: [u8; 32], commits in 1..60_usize) {
        let mut scenario = Scenario::new(seed);
        let mut first = MemoryStore::in_memory();
        for _ in 0..commits {
            first.commit(&[scenario.commit()]).unwrap();
        }
        let files = Files::new();
        let exported = export(&mut first, files.0.path(), UtcTime::from_seconds(0)).unwrap();
        let mut second = MemoryStore::in_memory();
        let (summary, problems) = import_all(&mut second, &files.sources());
        prop_assert_eq!(problems, Vec::<String>::new());
        prop_assert_eq!((summary.queues, summary.messages), (exported.queues, exported.messages));
        prop_assert_eq!((summary.services, summary.notifications), (exported.services, exported.notifications));
        for (id, record) in &scenario.known().queues {
            let imported = queue(&mut second, id).unwrap();
            prop_assert_eq!(&imported.record, record);
            let before = queue(&mut first, id).unwrap();
            prop_assert_eq!(imported.first, before.first);
        }
        let again = Files::new();
        export(&mut second, again.0.path(), UtcTime::from_seconds(0)).unwrap();
        for name in ["smp-server-store.log", "smp-server-messages.log", "smp-server-ntfs.log"] {
            let read = |files: &Files| fs::read_to_string(files.0.path().join(name)).unwrap();
            prop_assert_eq!(read(&files), read(&again));
        }
    }

    #[test]
    fn an_import_that_was_interrupted_goes_on_where_it_was(seed: [u8; 32], fail_after in 0..12_usize) {
        let mut scenario = Scenario::new(seed);
        let mut original = MemoryStore::in_memory();
        for _ in 0..30 {
            original.commit(&[scenario.commit()]).unwrap();
        }
        let files = Files::new();
        export(&mut original, files.0.path(), UtcTime::from_seconds(0)).unwrap();
        let mut whole = MemoryStore::in_memory();
        let expected = import_all(&mut whole, &files.sources());
        let mut interrupted = Interrupted { store: MemoryStore::in_memory(), left: fail_after };
        let first = import_within(&SMALL, &mut interrupted, &files.sources(), &mut |_| {});
        let mut store = interrupted.store;
        if first.is_err() {
            let (summary, _) = import_all(&mut store, &files.sources());
            prop_assert_eq!(summary, expected.0);
        }
        prop_assert_eq!(exported(&mut store), exported(&mut whole));
        let again = import(&mut store, &files.sources(), &mut |_| {}).unwrap_err();
        prop_assert!(matches!(again, ImportError::Done(summary) if summary == expected.0));
    }
}

fn exported(store: &mut dyn Store) -> Vec<String> {
    let files = Files::new();
    export(store, files.0.path(), UtcTime::from_seconds(0)).unwrap();
    let mut paths: Vec<PathBuf> = fs::read_dir(files.0.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect()
}

/// A store that fails after some groups.
struct Interrupted {
    store: MemoryStore,
    left: usize,
}

impl Store for Interrupted {
    fn apply_noting(
        &mut self,
        commits: &[Vec<Change>],
        notes: &[super::super::Note],
    ) -> Result<(), StoreError> {
        match self.left.checked_sub(1) {
            None => Err(StoreError::Full {
                path: "disk".into(),
            }),
            Some(left) => {
                self.left = left;
                self.store.apply_noting(commits, notes)
            }
        }
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn load(&mut self, load: &Load) -> Result<Loaded, StoreError> {
        self.store.load(load)
    }

    fn note(&mut self, name: &str) -> Result<Option<Bytes>, StoreError> {
        self.store.note(name)
    }

    fn queues_after(
        &mut self,
        after: &EntityId,
        limit: usize,
    ) -> Result<Vec<QueueRecord>, StoreError> {
        self.store.queues_after(after, limit)
    }

    fn services(&mut self) -> Result<Vec<ServiceRecord>, StoreError> {
        self.store.services()
    }

    fn snapshot(&mut self) -> Result<Box<Snapshot>, StoreError> {
        self.store.snapshot()
    }

    fn policy(&self) -> SyncPolicy {
        self.store.policy()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn what_stops_the_reference_is_taken_over_and_given_back() {
    let blocked = " status=blocked,reason=spam,notice={\"ttl\":5} rsrv=YQ==";
    let service = "NEW_SERVICE service_id=YQ== role=M cert=YQ== \
        cert_hash=s-rNM0M7MbUlI1EDLJs-ei56p3ONXezfDdbGJoCFPAY= created_at=0\n";
    let link = "LINK cw== bA==  \n";
    let log = [
        service,
        &create("cg==", "YQ==", blocked),
        &create("cw==", "Yg==", " queue_mode=M"),
        link,
    ]
    .concat();
    let messages = "v3 cg== bQ== 1700000000 flags=T \nv3 cg== bg== 1700000001 quota\n";
    let files = Files::new()
        .with("smp-server-store.log", &log)
        .with("smp-server-messages.log", messages);
    let mut store = MemoryStore::in_memory();
    let (summary, problems) = import_all(&mut store, &files.sources());
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(
        (summary.queues, summary.messages, summary.services),
        (2, 2, 1)
    );
    let check = |store: &mut dyn Store| {
        let blocked = queue(store, b"r").unwrap();
        assert!(matches!(blocked.record.status, QueueStatus::Blocked { .. }));
        assert_eq!(blocked.record.service_id.as_deref(), Some(b"a".as_slice()));
        assert!(blocked.position.full);
        assert_eq!(bodies(store, b"r"), ["", "quota"]);
        assert!(
            queue(store, b"s")
                .unwrap()
                .record
                .link
                .unwrap()
                .data
                .fixed
                .is_empty()
        );
        let fingerprint = [
            0xb3, 0xea, 0xcd, 0x33, 0x43, 0x3b, 0x31, 0xb5, 0x25, 0x23, 0x51, 0x03, 0x2c, 0x9b,
            0x3e, 0x7a, 0x2e, 0x7a, 0xa7, 0x73, 0x8d, 0x5d, 0xec, 0xdf, 0x0d, 0xd6, 0xc6, 0x26,
            0x80, 0x85, 0x3c, 0x06,
        ];
        let Loaded::Service(Some(service)) = store.load(&Load::Service(fingerprint)).unwrap()
        else {
            panic!("the service is known");
        };
        assert_eq!(service.1.count, 1);
    };
    check(&mut store);
    let back = Files::new();
    let summary = export(&mut store, back.0.path(), UtcTime::from_seconds(0)).unwrap();
    assert_eq!(summary.unreadable_for_reference, 2);
    let mut again = MemoryStore::in_memory();
    let (_, problems) = import_all(&mut again, &back.sources());
    assert_eq!(problems, Vec::<String>::new());
    check(&mut again);
}

#[test]
fn what_is_not_understood_is_reported_by_its_line() {
    let log = [
        &create("cg==", "YQ==", ""),
        "garbage c2VjcmV0\n",
        "\n",
        &create("cw==", "YQ==", ""),
        "SUSPEND eA==\n",
        "QUEUE_SERVICE cg== R eA==\n",
        &create("dA==", "Yg==", " queue_mode=X rsrv=eA=="),
        "DELETE cg==",
    ]
    .concat();
    let files = Files::new()
        .with("smp-server-store.log", &log)
        .with(
            "smp-server-messages.log",
            &format!(
                "v3 eA== bQ== 0 quota\nv3 cg== bQ== 0 flags=T !\nv3 dA== bQ== 0 flags=T {}\n",
                "AAAA".repeat(MAX_DELIVERED / 3 + 1)
            ),
        )
        .with(
            "smp-server-ntfs.log",
            "v1 bg== bQ== 0 0c0XxtkeiaW3TZ8wUu797IeS-BRjXXAx YQ==\n",
        )
        .with(
            "smp-server-stats.log",
            "fromTime=2024-01-02T03:04:05Z\nqCreated=7\nx=1\n",
        );
    let mut store = MemoryStore::in_memory();
    let (summary, problems) = import_all(&mut store, &files.sources());
    let expected = [
        "smp-server-store.log 2: not a known record",
        "smp-server-store.log 4: an id of the queue belongs to another one",
        "smp-server-store.log 5: the queue does not exist",
        "smp-server-store.log 6: the service is not known",
        "smp-server-store.log 7: queue_mode is invalid and was left out",
        "smp-server-store.log 7: the service is not known",
        "smp-server-messages.log 1: the queue does not exist",
        "smp-server-messages.log 2: body is invalid",
        "smp-server-messages.log 3: the message is too large to be delivered",
        "smp-server-ntfs.log 1: the queue has no notifier",
        "smp-server-stats.log 3: not known, and left out",
    ];
    assert_eq!(problems, expected);
    assert_eq!(summary.problems, 11);
    // The last line has no end, and counts.
    assert_eq!(summary.queues, 1);
    let Loaded::Totals(totals) = store.load(&Load::Totals).unwrap() else {
        panic!("totals were asked for");
    };
    let statistics = totals.statistics.unwrap();
    assert!(String::from_utf8_lossy(&statistics).contains("qCreated=7\n"));
}

#[test]
fn a_queue_that_was_deleted_gives_its_ids_to_others() {
    let log = [
        &create("cg==", "YQ==", ""),
        "DELETE cg==\n",
        &create("cw==", "YQ==", ""),
        &create("cg==", "Yg==", ""),
    ]
    .concat();
    let files = Files::new().with("smp-server-store.log", &log);
    let mut store = MemoryStore::in_memory();
    let (summary, problems) = import_all(&mut store, &files.sources());
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(summary.queues, 2);
    for (sender, recipient) in [(b"a", b"s"), (b"b", b"r")] {
        let load = Load::Queue(
            Party::Sender,
            EntityId::try_from(sender.as_slice()).unwrap(),
        );
        let Loaded::Queue(Some(found)) = store.load(&load).unwrap() else {
            panic!("the queue is found");
        };
        assert_eq!(&*found.record.recipient_id, recipient);
    }
}

#[test]
fn a_store_with_queues_of_its_own_is_left_alone() {
    let files = Files::new().with("smp-server-store.log", &create("cg==", "YQ==", ""));
    let mut store = MemoryStore::in_memory();
    let mut scenario = Scenario::new([3; 32]);
    while scenario.known().queues.is_empty() {
        store.commit(&[scenario.commit()]).unwrap();
    }
    let error = import(&mut store, &files.sources(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, ImportError::NotEmpty));
}

const QUEUE: &str = "XcaZU_-PjL0GjV3omTAG9-CV6497KzJ4";

/// The files of one queue in the journals of a router.
fn journals(states: &str, journals: &[(&str, &str)]) -> Files {
    let directory = "messages/Xc/aZ/U_/-P/jL0GjV3omTAG9-CV6497KzJ4";
    let mut files = Files::new()
        .with("smp-server-store.log", &create(QUEUE, "YQ==", ""))
        .with(&format!("{directory}/queue_state.{QUEUE}.log"), states);
    for (name, lines) in journals {
        files = files.with(&format!("{directory}/messages.{name}.log"), lines);
    }
    files
}

fn imported_bodies(files: &Files) -> (Vec<String>, usize) {
    let mut store = MemoryStore::in_memory();
    let (_, problems) = import_all(&mut store, &files.sources());
    let id = simplex_sans_io::wire::text::parse_base64url(QUEUE).unwrap();
    (bodies(&mut store, &id), problems.len())
}

#[test]
fn journals_are_read_from_where_they_were_left() {
    // Bodies are `1`, `2`, `3`; each line has 28 bytes.
    let [one, two, three] =
        ["MQ==", "Mg==", "Mw=="].map(|body| format!("bQ== 1700000001 flags=F {body}\n"));
    let both = [one.as_str(), &two].concat();
    /// States, journals, what is imported, and how many problems there are.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], usize);
    let cases: &[Case<'_>] = &[
        // Only the last state counts.
        (
            "write=a,1,1,29,29 read=a,0,1,0,29 canWrite=T size=1\nwrite=a,2,2,58,58 read=a,1,2,29,58 canWrite=T size=1\n",
            &[("a", &both)],
            &["2"],
            0,
        ),
        // What was written after the last state.
        (
            "write=a,1,1,29,29 read=a,0,1,0,29 canWrite=T size=1\n",
            &[("a", &both)],
            &["1", "2"],
            0,
        ),
        // One journal is read, another one written.
        (
            "write=b,1,1,29,29 read=a,1,2,29,58 canWrite=T size=2\n",
            &[("a", &both), ("b", &three)],
            &["2", "3"],
            0,
        ),
        // A journal that was read to its end is removed.
        (
            "write=b,1,1,29,29 read=a,2,2,58,58 canWrite=T size=1\n",
            &[("b", &three)],
            &["3"],
            0,
        ),
        // The last state was cut off: a size of 12 is one of 1.
        (
            "write=a,2,2,58,58 read=a,1,2,29,58 canWrite=T size=1\nwrite=a,2,2,58,58 read=a,2,2,58,58 canWrite=T size=",
            &[("a", &both)],
            &["2"],
            1,
        ),
        // No state at all.
        ("nonsense\n", &[("a", &both)], &["1", "2"], 2),
        // A journal that should be there.
        (
            "write=a,1,1,29,29 read=a,0,1,0,29 canWrite=T size=1\n",
            &[],
            &[],
            1,
        ),
        // A message that was cut off.
        (
            "write=a,1,1,29,29 read=a,0,1,0,29 canWrite=T size=1\n",
            &[("a", both.trim_end())],
            &["1"],
            1,
        ),
    ];
    for (states, files, expected, problems) in cases {
        let found = imported_bodies(&journals(states, files));
        assert_eq!(
            found,
            (
                expected.iter().map(|body| (*body).to_owned()).collect(),
                *problems
            ),
            "{states}"
        );
    }
}
