//! What is counted of each router.

use super::script::is_received;
use crate::agent::command::NetworkState;
use crate::agent::files::Activity;
use crate::agent::files::command::{Command, Reply};
use crate::agent::files::job::{Job, Question};
use crate::agent::files::statistics::FileRouterCounts;
use crate::agent::store::Kind;
use crate::sim::files::*;
use crate::xftp::ErrorType;

fn counts(world: &mut World, router: usize) -> FileRouterCounts {
    let Ok(Reply::Statistics(all)) = world.ask(Command::Statistics) else {
        panic!("they are told");
    };
    let of = |counted: &&_| {
        let counted: &crate::agent::files::statistics::FileRouterStatistics = counted;
        counted.user == USER && counted.router == address(router)
    };
    all.iter().find(of).map(|of| of.counts).unwrap_or_default()
}

/// A file was sent, received and deleted, and something went wrong each time.
fn counted() -> World {
    let mut world = World::new(1);
    let file = world.send("photo", 1, 1);
    let is_upload = |job: &Job| match job {
        Job::Ask { question, .. } => matches!(question, Question::Upload(..)),
        _ => false,
    };
    let upload = loop {
        if let Some(upload) = world.jobs.values().position(is_upload) {
            break upload;
        }
        assert!(world.store_next() || world.job(0, Fate::Done));
    };
    world.job(upload, Fate::Undone);
    world.finish();
    let (sender, recipients) = world.sent(&file);
    world.set(0, Behaviour::Refuses(ErrorType::Internal));
    let received = world.receive(&recipients[0]);
    world.run();
    world.set(0, Behaviour::Works);
    world.finish();
    assert!(is_received(&world, &received, &recipients[0]));
    let sender = Some(Box::new(sender.description().unwrap()));
    let user = USER;
    let deletion = Command::DeleteRemotely { user, file, sender };
    world.ask(deletion).unwrap();
    world.finish();
    world.receive(&recipients[0]);
    world.finish();
    world
}

#[test]
fn uploads_downloads_and_deletions_are_counted_with_what_went_wrong() {
    let mut world = counted();
    let counts = counts(&mut world, 0);
    assert_eq!((counts.uploaded, counts.uploaded_bytes), (3, 30));
    assert_eq!((counts.downloaded, counts.downloaded_bytes), (3, 30));
    assert_eq!((counts.deleted, counts.delete_attempts), (3, 3));
    assert!(counts.upload_errors > 0 && counts.download_errors > 0);
    assert!(counts.download_refusals > 0);
    let uploads = counts.uploaded + counts.upload_errors;
    assert_eq!(counts.upload_attempts, uploads);
    let downloads = counts.downloaded + counts.download_refusals + counts.download_errors;
    // Those that were not needed any more are attempts, too.
    assert!(counts.download_attempts >= downloads);
}

#[test]
fn counts_survive_a_restart_and_are_forgotten_when_that_is_wanted() {
    let mut world = counted();
    let before = counts(&mut world, 0);
    // A while later they are stored.
    while world.wait() {
        world.run();
    }
    world.crash();
    assert_eq!(counts(&mut world, 0), before);
    world.ask(Command::ResetStatistics).unwrap();
    assert_eq!(counts(&mut world, 0), FileRouterCounts::default());
    world.crash();
    assert_eq!(counts(&mut world, 0), FileRouterCounts::default());
    let kinds = world.store.records().map(|(key, _)| key.kind);
    assert!(kinds.into_iter().all(|kind| kind != Kind::FileStatistics));
}

#[test]
fn counts_are_stored_when_nothing_will_wake_the_machine_and_go_with_their_user() {
    for stop in [
        |world: &mut World| world.activity(Activity::Stopped),
        |world: &mut World| world.network(NetworkState::Offline),
    ] {
        let mut world = counted();
        let before = counts(&mut world, 0);
        stop(&mut world);
        while world.store_next() {}
        world.crash();
        assert_eq!(counts(&mut world, 0), before);
        world.ask(Command::DeleteUser { user: USER }).unwrap();
        world.crash();
        assert_eq!(counts(&mut world, 0), FileRouterCounts::default());
    }
}
