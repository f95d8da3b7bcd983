//! Files that are deleted here and at their routers.

use super::script::is_received;
use super::script::stranger;
use crate::agent::error::{AgentError, FileProblem};
use crate::agent::file_event::{DescriptionText, FileEvent};
use crate::agent::files::command::{Command, Reply};
use crate::agent::files::job::Job;
use crate::agent::id::FileId;
use crate::sim::files::*;
use crate::xftp::ErrorType;
use crate::xftp::description::FileDescription;

fn sent(replicas: u8) -> (World, FileId, DescriptionText, DescriptionText) {
    let mut world = World::new(2);
    let file = world.send("photo", 1, replicas);
    world.finish();
    let (sender, recipients) = world.sent(&file);
    (world, file, sender, recipients[0].clone())
}

fn delete(file: &FileId, sender: Option<&DescriptionText>) -> Command {
    Command::DeleteRemotely {
        user: USER,
        file: file.clone(),
        sender: sender.map(|text| Box::new(text.description().unwrap())),
    }
}

/// What was told of the deletion of a file.
fn deleted(world: &World, file: &FileId) -> Option<Option<AgentError>> {
    let told = world
        .kept(file)
        .into_iter()
        .filter_map(|event| match event {
            FileEvent::Deleted { error } => Some(error),
            _ => None,
        });
    let told: Vec<_> = told.collect();
    assert!(told.len() <= 1, "{told:?}");
    told.into_iter().next()
}

#[test]
fn a_file_is_deleted_at_all_its_routers_and_that_is_told_once() {
    let (mut world, file, sender, text) = sent(2);
    assert_eq!(world.ask(delete(&file, Some(&sender))), Ok(Reply::Done));
    world.finish();
    assert_eq!(world.uploaded(), 0);
    assert_eq!(deleted(&world, &file), Some(None));
    assert!(world.keeps_events_only());
    let received = world.receive(&text);
    world.finish();
    assert!(matches!(
        world.kept(&received)[..],
        [FileEvent::ReceiveFailed { .. }]
    ));
}

#[test]
fn a_router_that_is_away_is_asked_again_until_it_has_deleted_the_chunks() {
    let (mut world, file, sender, _) = sent(2);
    world.set(0, Behaviour::Away);
    world.ask(delete(&file, Some(&sender))).unwrap();
    world.run();
    assert_eq!(world.uploaded(), 3);
    world.crash();
    world.run();
    world.set(0, Behaviour::Works);
    world.finish();
    assert_eq!(world.uploaded(), 0);
    assert_eq!(deleted(&world, &file), Some(None));
}

#[test]
fn what_has_expired_is_deleted() {
    let (mut world, file, sender, _) = sent(1);
    for router in world.routers.values_mut() {
        router.chunks.clear();
    }
    world.ask(delete(&file, Some(&sender))).unwrap();
    world.finish();
    assert_eq!(deleted(&world, &file), Some(None));
}

#[test]
fn what_a_router_refuses_to_delete_is_told_and_the_rest_is_deleted() {
    let (mut world, file, sender, _) = sent(2);
    world.set(
        0,
        Behaviour::Refuses(ErrorType::command(crate::smp::CommandError::Prohibited)),
    );
    world.ask(delete(&file, Some(&sender))).unwrap();
    world.finish();
    assert_eq!(world.uploaded(), 3);
    let error = deleted(&world, &file).unwrap().unwrap();
    assert!(error.to_string().contains("PROHIBITED"), "{error}");
    assert!(world.keeps_events_only());
}

#[test]
fn where_a_file_is_that_was_sent_only_its_sender_knows() {
    let (mut world, file, sender, _) = sent(1);
    let no_file = AgentError::File {
        error: FileProblem::NoFile,
    };
    assert_eq!(world.ask(delete(&file, None)), Err(no_file));
    assert_eq!(world.uploaded(), 3);
    world.ask(delete(&file, Some(&sender))).unwrap();
    world.finish();
    assert_eq!(world.uploaded(), 0);
}

#[test]
fn a_deletion_that_takes_too_long_is_given_up_and_told() {
    let (mut world, file, sender, _) = sent(1);
    world.set(0, Behaviour::Away);
    world.set(1, Behaviour::Away);
    world.ask(delete(&file, Some(&sender))).unwrap();
    world.finish();
    assert!(deleted(&world, &file).unwrap().is_some());
    assert!(world.keeps_events_only());
}

#[test]
fn a_file_that_is_being_sent_is_deleted_with_what_was_uploaded_of_it() {
    let mut world = World::new(2);
    let file = world.send("photo", 1, 1);
    while world.uploaded() < 2 {
        assert!(world.store_next() || world.job(0, Fate::Done));
    }
    while world.store_next() {}
    world.ask(delete(&file, None)).unwrap();
    world.finish();
    assert_eq!(world.uploaded(), 0);
    assert_eq!(world.kept(&file), [FileEvent::Deleted { error: None }]);
    assert!(world.disk[&file].encrypted.is_none());
}

#[test]
fn a_file_that_is_deleted_here_only_stays_on_its_routers() {
    let mut world = World::new(1);
    let file = world.send("photo", 1, 1);
    while world.uploaded() < 2 {
        assert!(world.store_next() || world.job(0, Fate::Done));
    }
    let files = vec![file.clone()];
    assert_eq!(world.ask(Command::Delete { files }), Ok(Reply::Done));
    world.finish();
    assert_eq!(world.uploaded(), 2);
    assert!(world.kept(&file).is_empty() && world.kinds().is_empty());
}

#[test]
fn what_was_received_is_deleted_with_its_file_and_many_in_one_call() {
    let (mut world, _, _, text) = sent(1);
    let files = [world.receive(&text)];
    world.finish();
    assert!(is_received(&world, &files[0], &text));
    world.set(0, Behaviour::Away);
    world.set(1, Behaviour::Away);
    let another = world.receive(&text);
    let all = vec![files[0].clone(), another];
    world.ask(Command::Delete { files: all }).unwrap();
    world.finish();
    assert!(!is_received(&world, &files[0], &text));
}

#[test]
fn a_user_goes_with_all_files() {
    let (mut world, file, sender, text) = sent(1);
    world.set(0, Behaviour::Away);
    world.set(1, Behaviour::Away);
    world.ask(delete(&file, Some(&sender))).unwrap();
    world.receive(&text);
    world.send("another", 1, 1);
    world.run();
    assert!(!world.files.is_idle());
    let user = USER;
    world.ask(Command::DeleteUser { user }).unwrap();
    world.run();
    assert!(world.files.is_idle());
    assert!(world.keeps_events_only());
}

#[test]
fn a_description_of_a_stranger_deletes_nothing() {
    let (mut world, file, sender, text) = sent(1);
    let refused = world.ask(delete(&file, Some(&text)));
    assert!(matches!(refused, Err(AgentError::Prohibited { .. })));
    let mut parts = sender.description().unwrap().into_parts();
    for chunk in &mut parts.chunks {
        chunk.replicas[0].key = stranger();
    }
    let forged = FileDescription::new(parts).unwrap().to_string().into();
    world.ask(delete(&file, Some(&forged))).unwrap();
    world.finish();
    assert_eq!(world.uploaded(), 3);
}

#[test]
fn what_is_left_of_unknown_files_is_swept_at_the_start() {
    let mut world = World::new(1);
    let file = world.send("photo", 1, 1);
    while world.uploaded() < 1 {
        assert!(world.store_next() || world.job(0, Fate::Done));
    }
    world.disk.insert(
        FileId::random(&mut world.rng),
        Place {
            encrypted: Some(vec![1]),
            received: Some(vec![2]),
        },
    );
    world.crash();
    while world.job(0, Fate::Done) {}
    let left = |place: &&Place| place.encrypted.is_some();
    assert_eq!(world.disk.values().filter(left).count(), 1);
    assert!(world.disk.values().any(|place| place.received.is_some()));
    assert!(
        world
            .begun
            .iter()
            .any(|job| matches!(job, Job::Sweep { .. }))
    );
    world.finish();
    world.sent(&file);
}
