use simplex_sans_io::crypto::ed25519;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::wire::Sample as _;
use simplex_sans_io::xftp::router::store::{Content, FileStatus};

use super::*;

/// Some changes of some files, as a router makes them.
fn commits(rng: &mut Rng) -> Vec<Vec<Change>> {
    let mut files: Vec<(FileRecord, Vec<EntityId>)> = Vec::new();
    (0..60)
        .map(|_| {
            let at = rng.below(u32::try_from(files.len().max(1)).unwrap()) as usize;
            match (rng.below(4), files.is_empty()) {
                (1, false) => {
                    let (record, _) = &mut files[at];
                    record.content = Content::Stored;
                    vec![Change::PutFile(Box::new(record.clone()))]
                }
                (2, false) => {
                    let (record, recipients) = &mut files[at];
                    let sender_id = record.sender_id.clone();
                    match recipients.pop() {
                        None => Vec::new(),
                        Some(recipient_id) => vec![Change::DeleteRecipient {
                            sender_id,
                            recipient_id,
                        }],
                    }
                }
                (3, false) => {
                    let (record, _) = files.remove(at);
                    vec![Change::DeleteFile(Box::new(record))]
                }
                _ => {
                    let record = FileRecord {
                        sender_id: EntityId::try_from(&rng.bytes::<16>()[..]).unwrap(),
                        status: FileStatus::Active,
                        content: Content::Absent,
                        created_at: i64::from(rng.below(100)) - 50,
                        ..FileRecord::sample(FORMAT, rng)
                    };
                    let sender_id = record.sender_id.clone();
                    let mut changes = vec![Change::PutFile(Box::new(record.clone()))];
                    let mut recipients = Vec::new();
                    for _ in 0..rng.below(3) {
                        let id = EntityId::try_from(&rng.bytes::<16>()[..]).unwrap();
                        let key = ed25519::PrivateKey::generate(rng).public_key().into();
                        recipients.push(id.clone());
                        changes.push(Change::PutRecipient {
                            sender_id: sender_id.clone(),
                            recipient: Recipient { id, key },
                        });
                    }
                    changes.push(Change::Adjust(Adjustment {
                        files: 1,
                        ..Adjustment::default()
                    }));
                    files.push((record, recipients));
                    changes
                }
            }
        })
        .collect()
}

/// Every question that the changes are about, answered by the store and by the model.
#[track_caller]
fn assert_alike<E: Engine<Table>>(
    store: &mut Store<E>,
    model: &simplex_sans_io::sim::xftp::Store,
    commits: &[Vec<Change>],
) {
    let mut loads = vec![Load::Totals];
    for before in [-100, 0, 100] {
        loads.push(Load::Expired { before, limit: 7 });
    }
    for change in commits.iter().flatten() {
        match change {
            Change::PutFile(record) => {
                loads.push(Load::File(Party::Sender, record.sender_id.clone()));
            }
            Change::PutRecipient { recipient, .. } => {
                loads.push(Load::File(Party::Recipient, recipient.id.clone()));
            }
            Change::DeleteRecipient { .. }
            | Change::DeleteFile(_)
            | Change::Adjust(_)
            | Change::PutStatistics(_) => {}
        }
    }
    for load in loads {
        assert_eq!(store.load(&load).unwrap(), model.load(&load), "{load:?}");
    }
}

#[test]
fn all_engines_mean_the_same_as_the_model() {
    for seed in 0..8 {
        let directory = tempfile::tempdir().unwrap();
        let commits = commits(&mut Rng::from_seed([seed; 32]));
        let mut model = simplex_sans_io::sim::xftp::Store::default();
        let mut memory = Store::in_memory();
        let mut embedded = Store::open(directory.path()).unwrap();
        for group in commits.chunks(7) {
            for commit in group {
                model.apply(commit.clone());
            }
            memory.commit(group).unwrap();
            embedded.commit(group).unwrap();
        }
        assert_alike(&mut memory, &model, &commits);
        assert_alike(&mut embedded, &model, &commits);
        let mut faults = Vec::new();
        embedded
            .verify(&mut |fault| faults.push(fault.to_string()))
            .unwrap();
        // The changes of this test adjust the totals by what they are not.
        assert!(
            faults.iter().all(|fault| fault.contains("state")),
            "{faults:?}"
        );
        drop(embedded);
        let mut again = Store::open(directory.path()).unwrap();
        assert_alike(&mut again, &model, &commits);
    }
}
