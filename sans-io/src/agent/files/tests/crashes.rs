//! A crash after every operation of the store, and everything else that can go wrong, at any moment: every file ends, and is told of once.

use proptest::prelude::*;

use super::world::*;
use crate::agent::file_event::FileEvent;
use crate::agent::files::command::{Command, Reply};
use crate::agent::id::FileId;
use crate::agent::store::Kind;
use crate::rng::Rng;
use crate::xftp::ErrorType;

/// Sends a file, receives it, and deletes it, through a crash after so many transactions; whether that many were stored.
fn with_a_crash_after(count: usize) -> bool {
    let mut world = World::new(2);
    let mut crashed = false;
    let file = world.send("photo", 1, 2);
    run_through(&mut world, count, &mut crashed);
    let (sender, recipients) = world.sent(&file);
    let received = world.receive(&recipients[0]);
    run_through(&mut world, count, &mut crashed);
    let [FileEvent::Received { .. }] = &world.kept(&received)[..] else {
        panic!("after {count}: {:?}", world.kept(&received))
    };
    assert!(is_received(&world, &received, &recipients[0]));
    world
        .ask(Command::DeleteRemotely {
            user: USER,
            file: file.clone(),
            sender: Some(Box::new(sender.description().unwrap())),
        })
        .unwrap();
    run_through(&mut world, count, &mut crashed);
    assert_eq!(world.uploaded(), 0, "after {count}");
    let told = world.kept(&file);
    let deleted = [FileEvent::Deleted { error: None }];
    assert!(matches!(told[0], FileEvent::Sent { .. }));
    assert_eq!(told[1..], deleted, "after {count}");
    assert!(
        world
            .store
            .records()
            .all(|(key, _)| key.kind == Kind::FileEvent)
    );
    crashed
}

fn run_through(world: &mut World, count: usize, crashed: &mut bool) {
    loop {
        if !*crashed && world.stored >= count {
            *crashed = true;
            world.crash();
        }
        if !world.store_next() && !world.job(0, Fate::Done) {
            if world.files.is_idle() {
                return;
            }
            assert!(world.wait());
        }
    }
}

#[test]
fn a_crash_after_any_transaction_changes_nothing() {
    let mut count = 0;
    while with_a_crash_after(count) {
        count += 1;
    }
    assert!(count > 20, "{count}");
}

/// What is asked for at random.
fn ask_something(world: &mut World, known: &mut Vec<FileId>, rng: &mut Rng) {
    let descriptions: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match &event.content {
            crate::agent::event::EventContent::File {
                file,
                event: FileEvent::Sent { sender, recipients },
            } => Some((file.clone(), sender.clone(), recipients[0].clone())),
            _ => None,
        })
        .collect();
    let count = u32::try_from(descriptions.len()).unwrap();
    let some = (count > 0).then(|| descriptions[rng.below(count) as usize].clone());
    let command = match (rng.below(6), some) {
        (0, Some((file, sender, _))) => Command::DeleteRemotely {
            user: USER,
            file,
            sender: Some(Box::new(sender.description().unwrap())),
        },
        (1 | 2, Some((_, _, text))) => {
            receive(&text, crate::agent::files::record::Relays::Approved)
        }
        (3, Some((_, _, text))) if text.description().unwrap().redirect.is_none() => {
            Command::SendDescription {
                user: USER,
                description: Box::new(text.description().unwrap()),
                recipients: 1,
                replicas: 1,
            }
        }
        _ => Command::Send {
            user: USER,
            path: format!("file {}", rng.below(100)),
            local: None,
            recipients: 1 + u16::try_from(rng.below(3)).unwrap(),
            replicas: 1 + u8::try_from(rng.below(2)).unwrap(),
        },
    };
    world.command(command);
    for (_, reply) in &world.replies {
        if let Ok(Reply::File(id)) = reply
            && !known.contains(id)
        {
            known.push(id.clone());
        }
    }
}

/// Everything goes wrong for a while, then nothing: what has become of every file that the application was told the name of.
fn chaos(seed: [u8; 32]) -> String {
    let rng = &mut Rng::from_seed(seed);
    let mut world = World::new(3);
    let mut known = Vec::new();
    for _ in 0..300 {
        match rng.below(24) {
            0..6 => {
                world.store_next();
            }
            6..14 => {
                let count = u32::try_from(world.jobs.len()).unwrap();
                let which = if count > 0 { rng.below(count) } else { 0 };
                let fate = match rng.below(6) {
                    0 => Fate::Lost,
                    1 => Fate::Undone,
                    _ => Fate::Done,
                };
                world.job(which as usize, fate);
            }
            14..16 => {
                world.wait();
            }
            16 => world.crash(),
            17 | 18 => {
                let behaviour = match rng.below(5) {
                    0 => Behaviour::Away,
                    1 => Behaviour::Full,
                    2 => Behaviour::Refuses(ErrorType::Quota),
                    _ => Behaviour::Works,
                };
                world.set(rng.below(3) as usize, behaviour);
            }
            19 => {
                // Something is lost at a router.
                let router = address(rng.below(3) as usize);
                let chunks = &mut world.routers.get_mut(&router).unwrap().chunks;
                if rng.below(4) == 0 {
                    chunks.pop_first();
                }
            }
            _ => ask_something(&mut world, &mut known, rng),
        }
    }
    for router in 0..3 {
        world.set(router, Behaviour::Works);
    }
    world.finish();
    for (_, reply) in &world.replies {
        if let Ok(Reply::File(id)) = reply
            && !known.contains(id)
        {
            known.push(id.clone());
        }
    }
    for file in &known {
        let told = world.kept(file);
        let ends = told
            .iter()
            .filter(|event| !matches!(event, FileEvent::Deleted { .. }));
        assert_eq!(ends.count(), 1, "{file}: {told:?}");
        if let [FileEvent::Received { .. }] = told[..] {
            let place = &world.disk[file];
            assert!(place.received.is_some() && place.encrypted.is_none());
        }
    }
    let kinds: Vec<_> = world.store.records().map(|(key, _)| key.kind).collect();
    assert!(
        kinds.iter().all(|kind| *kind == Kind::FileEvent),
        "{kinds:?}"
    );
    // What was told is told again, and nothing else.
    let told: Vec<_> = known.iter().map(|file| world.kept(file)).collect();
    world.events.clear();
    world.crash();
    world.finish();
    let again: Vec<_> = known.iter().map(|file| world.kept(file)).collect();
    assert_eq!(told, again);
    format!("{:?}", (world.replies, world.begun))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_goes_wrong_every_file_ends_and_is_told_of_once(seed: [u8; 32]) {
        // And the same seed does the same.
        let first = chaos(seed);
        prop_assert!(first == chaos(seed));
    }
}
