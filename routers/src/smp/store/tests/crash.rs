//! What was reported as stored survives: the process that is killed, a write that was cut off, a bit that has flipped.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use simplex_sans_io::sim::store::{Contents, FakeStore};
use simplex_sans_io::smp::router::store::{Change, Load, Loaded};

use super::scenario::Scenario;
use super::{EmbeddedStore, Options, Store, StoreError, SyncPolicy, check};

const DIRECTORY: &str = "SMP_STORE_CRASH_DIRECTORY";
const SEED: &str = "SMP_STORE_CRASH_SEED";

const BATCH: Options = Options {
    policy: SyncPolicy::Batch,
    cache_bytes: 1 << 20,
};

/// The same commits in every process. Each says in the statistics how many there are by then.
fn commits(seed: u8) -> impl Iterator<Item = (u64, Vec<Change>, Scenario)> {
    let mut scenario = Scenario::new([seed; 32]).with_bodies(2000);
    (1..).map(move |number: u64| {
        let mut changes = scenario.commit();
        let mark = Change::PutStatistics(number.to_be_bytes().to_vec().into());
        scenario.foresee(mark.clone());
        changes.push(mark);
        (number, changes, scenario.clone())
    })
}

/// How many commits the store has, all of them complete.
fn verify(store: &mut EmbeddedStore, seed: u8) -> u64 {
    let faults = store.verify(&mut |fault| println!("{fault}")).unwrap();
    assert_eq!(faults, 0);
    let Loaded::Totals(totals) = store.load(&Load::Totals).unwrap() else {
        panic!("totals were asked for");
    };
    let Some(statistics) = totals.statistics else {
        check(store, &FakeStore::default(), &Load::Totals);
        return 0;
    };
    let count = u64::from_be_bytes((*statistics).try_into().unwrap());
    let mut before = Contents::default();
    for (number, _, scenario) in commits(seed) {
        if number == count {
            for question in scenario.questions(&before) {
                check(store, &scenario.model, &question);
            }
            return count;
        }
        before = scenario.known().clone();
    }
    unreachable!("there are commits without end")
}

/// Not a test of its own: the process that [`what_was_stored_survives_the_end_of_the_process`] kills.
#[test]
fn the_process_that_is_killed() {
    let (Ok(directory), Ok(seed)) = (std::env::var(DIRECTORY), std::env::var(SEED)) else {
        return;
    };
    let seed = seed.parse().unwrap();
    let mut store = EmbeddedStore::open(Path::new(&directory), BATCH).unwrap();
    let done = verify(&mut store, seed);
    for (number, changes, _) in commits(seed) {
        if number > done {
            store.commit(&[changes]).unwrap();
            println!("stored {number}");
        }
    }
}

#[test]
fn what_was_stored_survives_the_end_of_the_process() {
    let directory = tempfile::tempdir().unwrap();
    let name = "smp::store::tests::crash::the_process_that_is_killed";
    let seed = 1;
    let mut stored = 0;
    for kill_after in [0, 1, 3, 40, 11] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(DIRECTORY, directory.path())
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut heard = 0;
        for line in lines {
            if let Some(number) = line.unwrap().strip_prefix("stored ") {
                stored = number.parse().unwrap();
                heard += 1;
            }
            if heard >= kill_after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let mut store = EmbeddedStore::open(directory.path(), BATCH).unwrap();
        let found = verify(&mut store, seed);
        assert!(found >= stored, "{found} of {stored} commits are there");
    }
    assert!(stored > 50);
}

/// A copy of a store as it is at this moment, while it is in use.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::write(&to, written(&entry.path())).unwrap();
            let file = fs::OpenOptions::new().write(true).open(&to).unwrap();
            file.set_len(entry.metadata().unwrap().len()).unwrap();
        }
    }
}

/// What a file holds, without the space that a journal keeps for more.
fn written(path: &Path) -> Vec<u8> {
    const MORE_THAN_ENOUGH: u64 = 4 << 20;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).unwrap();
    file.take(MORE_THAN_ENOUGH).read_to_end(&mut bytes).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0);
    bytes.truncate(used.map_or(0, |last| last + 1));
    bytes
}

fn journal(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory.join("data")).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    paths
        .find(|path| path.extension().is_some_and(|extension| extension == "jnl"))
        .unwrap()
}

#[test]
fn a_group_that_was_cut_off_is_not_there_and_all_before_it_are() {
    let (directory, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut store = EmbeddedStore::open(directory.path(), BATCH).unwrap();
    let mut all = commits(2);
    for (_, changes, _) in all.by_ref().take(10) {
        store.commit(&[changes]).unwrap();
    }
    let synced = written(&journal(directory.path())).len();
    let group: Vec<_> = all
        .by_ref()
        .take(5)
        .map(|(_, changes, _)| changes)
        .collect();
    store.apply(&group).unwrap();
    // What a loss of power leaves of a group: the journal was written, but not synchronised.
    store.engine.flush_journal();
    let all_written = written(&journal(directory.path())).len();
    assert!(all_written > synced);
    for (number, cut) in (synced..=all_written)
        .step_by((all_written - synced) / 7)
        .enumerate()
    {
        let path = copies.path().join(number.to_string());
        copy(directory.path(), &path);
        let file = fs::OpenOptions::new()
            .write(true)
            .open(journal(&path))
            .unwrap();
        file.set_len(cut as u64).unwrap();
        let mut store = EmbeddedStore::open(&path, BATCH).unwrap();
        let found = verify(&mut store, 2);
        assert!(found == 10 || found == 15, "{found}");
    }
}

#[test]
fn what_is_missing_or_damaged_is_noticed() {
    let (directory, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut store = EmbeddedStore::open(directory.path(), BATCH).unwrap();
    for (_, changes, _) in commits(3).take(12) {
        store.commit(&[changes]).unwrap();
    }
    let end = written(&journal(directory.path())).len();
    for (number, at) in (100..end - 1).step_by(end / 25).enumerate() {
        let path = copies.path().join(number.to_string());
        copy(directory.path(), &path);
        let flipped = written(&journal(&path))[at] ^ (1 << (number % 8));
        let file = fs::OpenOptions::new()
            .write(true)
            .open(journal(&path))
            .unwrap();
        file.write_all_at(&[flipped], at as u64).unwrap();
        match EmbeddedStore::open(&path, BATCH) {
            // The bit does not matter.
            Ok(mut store) => assert_eq!(verify(&mut store, 3), 12),
            Err(StoreError::Lost { promised: 12, .. } | StoreError::DamagedFile { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let path = copies.path().join("removed");
    copy(directory.path(), &path);
    fs::remove_file(journal(&path)).unwrap();
    let error = EmbeddedStore::open(&path, BATCH).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Lost { promised: 12, .. } | StoreError::DamagedFile { .. }
        ),
        "{error}"
    );
    EmbeddedStore::accept_loss(&path).unwrap();
    let mut store = EmbeddedStore::open(&path, BATCH).unwrap();
    assert_eq!(verify(&mut store, 3), 0);
}
