//! Every stage of a file that is received, and every way in which it can fail.

use super::script::is_received;
use crate::agent::config::{Protection, UserRouter};
use crate::agent::error::{AgentError, FileProblem};
use crate::agent::file_event::{DescriptionText, FileEvent};
use crate::agent::files::command::{Command, Reply};
use crate::agent::files::config::Config;
use crate::agent::files::job::{Job, Question};
use crate::agent::files::record::Relays;
use crate::agent::files::{Action, Files, Input};
use crate::agent::id::CommandId;
use crate::machine::Machine as _;
use crate::rng::Rng;
use crate::sim::files::*;
use crate::xftp::ErrorType;
use crate::xftp::description::{FileDescription, Parts, Redirect};

/// A world in which a file was sent.
fn sent(replicas: u8) -> (World, DescriptionText) {
    let mut world = World::new(usize::from(replicas).max(2));
    let file = world.send("photo", 1, replicas);
    world.finish();
    let (_, recipients) = world.sent(&file);
    (world, recipients[0].clone())
}

#[test]
fn every_chunk_is_downloaded_then_the_file_is_decrypted_and_told() {
    let (mut world, text) = sent(1);
    let file = world.receive(&text);
    world.finish();
    assert!(is_received(&world, &file, &text));
    let path = format!("/files/{file}");
    assert_eq!(world.kept(&file), [FileEvent::Received { path }]);
    let progress = [(10, 30), (20, 30), (30, 30)];
    let progress = progress.map(|(received, of)| FileEvent::ReceiveProgress { received, of });
    assert_eq!(world.moments(&file), progress);
    assert!(world.keeps_events_only());
    assert!(world.disk[&file].encrypted.is_none());
}

#[test]
fn an_event_is_told_after_every_restart_until_it_is_confirmed() {
    let (mut world, text) = sent(1);
    let file = world.receive(&text);
    world.finish();
    for _ in 0..2 {
        world.events.clear();
        world.crash();
        assert!(matches!(
            world.kept(&file)[..],
            [FileEvent::Received { .. }]
        ));
    }
    let confirmed: Vec<_> = world.events.iter().filter_map(|event| event.id).collect();
    for event in confirmed {
        assert!(event.file_number().is_some());
        world.command(Command::Confirm { event });
    }
    while world.store_next() {}
    world.events.clear();
    world.crash();
    assert!(world.events.is_empty());
    assert!(world.kinds().is_empty());
}

#[test]
fn an_event_can_be_confirmed_before_all_is_loaded() {
    let (mut world, text) = sent(1);
    world.receive(&text);
    world.finish();
    let told: Vec<_> = world.events.iter().filter_map(|event| event.id).collect();
    let rng = Rng::from_seed([5; 32]);
    // What it wants to load is never answered.
    let mut files = Files::new(Config::default(), rng, world.now);
    for (number, event) in told.into_iter().enumerate() {
        while files.poll().is_some() {}
        let confirm = Input::Command(
            CommandId(u64::try_from(number).unwrap()),
            Command::Confirm { event },
        );
        let Ok(()) = files.handle(world.now, confirm);
        let Some(Action::Store(_, changes)) = files.poll() else {
            panic!()
        };
        world.store.apply(changes);
    }
    assert!(world.kinds().is_empty());
}

#[test]
fn a_chunk_comes_from_the_first_replica_that_has_it() {
    let (mut world, text) = sent(2);
    let description = text.description().unwrap();
    let first = description.chunks[0].replicas[0].server.clone();
    world.routers.get_mut(&first).unwrap().chunks.clear();
    let file = world.receive(&text);
    world.finish();
    assert!(is_received(&world, &file, &text));
}

#[test]
fn a_router_that_is_away_is_left_for_the_next_replica() {
    let (mut world, text) = sent(2);
    world.set(0, Behaviour::Away);
    let file = world.receive(&text);
    world.run();
    assert!(is_received(&world, &file, &text));
    let warned = |event: &FileEvent| matches!(event, FileEvent::ReceiveWarning { .. });
    assert!(!world.moments(&file).iter().any(warned));
}

#[test]
fn when_all_replicas_are_away_it_is_told_and_tried_again() {
    let (mut world, text) = sent(1);
    world.set(0, Behaviour::Away);
    world.set(1, Behaviour::Away);
    let file = world.receive(&text);
    world.run();
    let warned = |event: &FileEvent| matches!(event, FileEvent::ReceiveWarning { .. });
    assert!(world.moments(&file).iter().any(warned));
    world.set(0, Behaviour::Works);
    world.set(1, Behaviour::Works);
    world.finish();
    assert!(is_received(&world, &file, &text));
}

#[test]
fn a_file_whose_chunk_is_nowhere_has_failed() {
    let (mut world, text) = sent(2);
    for router in 0..2 {
        world.set(router, Behaviour::Refuses(ErrorType::Auth));
    }
    let file = world.receive(&text);
    world.finish();
    let [FileEvent::ReceiveFailed { error }] = &world.kept(&file)[..] else {
        panic!()
    };
    assert!(error.to_string().ends_with("AUTH"), "{error}");
    assert!(world.keeps_events_only());
}

#[test]
fn a_replica_that_has_failed_is_not_asked_again_after_a_restart() {
    let (mut world, text) = sent(2);
    world.set(0, Behaviour::Refuses(ErrorType::Auth));
    world.set(1, Behaviour::Away);
    let file = world.receive(&text);
    world.run();
    world.set(0, Behaviour::Works);
    world.begun.clear();
    world.crash();
    world.set(1, Behaviour::Works);
    world.finish();
    assert!(is_received(&world, &file, &text));
    let asked = |job: &Job| match job {
        Job::Ask { router, .. } => *router == address(0),
        _ => false,
    };
    assert!(!world.begun.iter().any(asked));
}

#[test]
fn it_is_known_which_replicas_have_failed_in_whatever_order_they_were_described() {
    let (mut world, text) = sent(3);
    let mut parts = text.description().unwrap().into_parts();
    for chunk in &mut parts.chunks {
        chunk.replicas.sort_by_key(|replica| replica.server.clone());
        chunk.replicas.reverse();
    }
    let order = |number: usize| parts.chunks[0].replicas[number].server.clone();
    let [first, second, third] = std::array::from_fn(order);
    let behave = |world: &mut World, router, behaviour| {
        world.routers.get_mut(router).unwrap().behaviour = behaviour;
    };
    behave(&mut world, &first, Behaviour::Refuses(ErrorType::Auth));
    behave(&mut world, &second, Behaviour::Away);
    behave(&mut world, &third, Behaviour::Refuses(ErrorType::Auth));
    let receive = Command::Receive {
        file: None,
        user: USER,
        description: Box::new(FileDescription::new(parts).unwrap()),
        local: None,
        relays: Relays::Own,
    };
    let file = world.file(receive);
    world.run();
    world.begun.clear();
    world.crash();
    for router in [&first, &second, &third] {
        behave(&mut world, router, Behaviour::Works);
    }
    world.finish();
    assert!(is_received(&world, &file, &text));
    let asked = world.begun.iter().filter_map(|job| match job {
        Job::Ask { router, .. } => Some(router.clone()),
        _ => None,
    });
    assert!(asked.into_iter().all(|router| router == second));
}

#[test]
fn what_a_router_has_instead_of_the_chunk_is_not_taken() {
    let (mut world, text) = sent(1);
    for router in world.routers.values_mut() {
        for chunk in router.chunks.values_mut() {
            chunk.bytes = Some(vec![0; 10]);
        }
    }
    let file = world.receive(&text);
    world.finish();
    let [FileEvent::ReceiveFailed { error }] = &world.kept(&file)[..] else {
        panic!()
    };
    assert!(error.to_string().ends_with("DIGEST"), "{error}");
}

#[test]
fn a_file_that_is_not_the_one_described_has_failed() {
    let (mut world, text) = sent(1);
    let parts = Parts {
        digest: [7; 64],
        ..text.description().unwrap().into_parts()
    };
    let forged = FileDescription::new(parts).unwrap().to_string().into();
    let file = world.receive(&forged);
    world.finish();
    let [FileEvent::ReceiveFailed { error }] = &world.kept(&file)[..] else {
        panic!()
    };
    assert_eq!(error.to_string(), "FILE DIGEST");
    assert!(world.disk[&file].received.is_none());
}

#[test]
fn what_was_damaged_while_the_agent_did_not_run_is_downloaded_again() {
    let (mut world, text) = sent(1);
    let file = world.receive(&text);
    for _ in 0..2 {
        world.job(0, Fate::Done);
        while world.store_next() {}
    }
    world.crash();
    let place = world.disk.get_mut(&file).unwrap();
    place.encrypted.as_mut().unwrap()[3] ^= 1;
    world.finish();
    assert!(is_received(&world, &file, &text));
    // All that is left then is what has happened.
    assert!(world.keeps_events_only());
}

#[test]
fn secrets_of_files_are_not_shown() {
    let (mut world, text) = sent(1);
    world.send("another", 1, 1);
    world.receive(&text);
    let shown = format!("{:?} {:?} {:?}", world.files, world.jobs, world.events);
    let description = text.description().unwrap();
    let keys = description.chunks.iter().flat_map(|chunk| &chunk.replicas);
    let keys = keys.map(|replica| replica.key.to_pkcs8().to_vec());
    for secret in keys.chain([description.key.as_bytes().to_vec()]) {
        assert!(
            text.as_str()
                .contains(&crate::wire::text::base64url(&secret))
        );
        for form in [
            crate::wire::text::base64url(&secret),
            format!("{:?}", &secret[..]),
            secret.iter().map(|byte| format!("{byte:02x}")).collect(),
        ] {
            assert!(!shown.contains(&form));
        }
    }
}

#[test]
fn a_file_that_takes_too_long_is_given_up_with_what_was_wrong() {
    let (mut world, text) = sent(1);
    world.set(0, Behaviour::Away);
    world.set(1, Behaviour::Away);
    let file = world.receive(&text);
    let began = world.now.unix.seconds();
    world.finish();
    assert!(matches!(
        world.kept(&file)[..],
        [FileEvent::ReceiveFailed { .. }]
    ));
    assert_eq!(world.now.unix.seconds() - began, 2 * 86400);
}

#[test]
fn time_passes_while_the_agent_does_not_run() {
    let (mut world, text) = sent(1);
    let file = world.receive(&text);
    world.now = world.now + std::time::Duration::from_secs(3 * 86400);
    world.crash();
    // At once, before anything can have come.
    assert!(world.wait());
    world.finish();
    let [FileEvent::ReceiveFailed { error }] = &world.kept(&file)[..] else {
        panic!("{:?}", world.kept(&file))
    };
    assert_eq!(error.to_string(), "FILE EXPIRED");
}

#[test]
fn routers_of_others_are_asked_if_the_user_approves_or_something_hides_him() {
    let (world, text) = sent(1);
    let not_approved = AgentError::File {
        error: FileProblem::NotApproved,
    };
    let with = |protection| {
        let config = Config {
            protection,
            ..Config::default()
        };
        World::with(config, 0)
    };
    let mut stranger = with(Protection::None);
    let refused = stranger.ask(receive(&text, Relays::Own));
    assert_eq!(refused, Err(not_approved.clone()));
    let taken = stranger.ask(receive(&text, Relays::Approved));
    assert!(matches!(taken, Ok(Reply::File(_))));
    // None of them has an onion name.
    let refused = with(Protection::Onion).ask(receive(&text, Relays::Own));
    assert_eq!(refused, Err(not_approved));
    let taken = with(Protection::Socks).ask(receive(&text, Relays::Own));
    assert!(matches!(taken, Ok(Reply::File(_))));
    drop(world);
}

/// A description that leads to another one.
fn redirected(world: &mut World, inner: &FileDescription) -> DescriptionText {
    let file = world.file(Command::SendDescription {
        user: USER,
        description: Box::new(inner.clone()),
        recipients: 1,
        replicas: 1,
    });
    world.finish();
    world.sent(&file).1[0].clone()
}

#[test]
fn a_description_that_leads_to_another_file_than_it_says_has_failed() {
    let (mut world, text) = sent(1);
    let outer = redirected(&mut world, &text.description().unwrap());
    let mut parts = outer.description().unwrap().into_parts();
    parts.redirect = Some(Redirect {
        size: 30,
        digest: [9; 64],
    });
    let forged = FileDescription::new(parts).unwrap().to_string().into();
    let file = world.receive(&forged);
    world.finish();
    let [FileEvent::ReceiveFailed { error }] = &world.kept(&file)[..] else {
        panic!()
    };
    assert_eq!(error.to_string(), "FILE REDIRECT another file");
}

#[test]
fn routers_that_a_redirect_leads_to_have_to_be_approved_as_well() {
    let (mut world, text) = sent(1);
    let description = text.description().unwrap();
    let leads = redirected(&mut world, &description);
    let outer = leads.description().unwrap();
    // The user knows the router of the description only.
    let known = outer.chunks[0].replicas[0].server.clone();
    let user = USER;
    let routers = vec![UserRouter::new(known.clone())];
    world.command(Command::SetRouters { user, routers });
    let strange = |chunk: &crate::xftp::description::FileChunk| chunk.replicas[0].server != known;
    assert!(description.chunks.iter().any(strange));
    let file = world.receive(&leads);
    world.finish();
    let [FileEvent::ReceiveFailed { error }] = &world.kept(&file)[..] else {
        panic!()
    };
    assert_eq!(error.to_string(), "FILE NOT_APPROVED");
}

#[test]
fn a_senders_description_is_refused() {
    let mut world = World::new(1);
    let file = world.send("photo", 1, 1);
    world.finish();
    let (sender, _) = world.sent(&file);
    let refused = world.ask(receive(&sender, Relays::Own));
    assert!(matches!(refused, Err(AgentError::Prohibited { .. })));
}

#[test]
fn files_do_not_wait_for_each_other() {
    let (mut world, text) = sent(1);
    let description = text.description().unwrap();
    let first = description.chunks[0].replicas[0].server.clone();
    let other = if first == address(0) { 1 } else { 0 };
    // One file whose routers are all away, and one that is on the other.
    let user = USER;
    let routers = vec![UserRouter::new(address(other))];
    world.command(Command::SetRouters { user, routers });
    let file = world.send("another", 1, 1);
    world.finish();
    let (_, recipients) = world.sent(&file);
    world.set(1 - other, Behaviour::Away);
    let stuck = world.file(receive(&text, Relays::Approved));
    let quick = world.file(receive(&recipients[0], Relays::Approved));
    world.run();
    assert!(is_received(&world, &quick, &recipients[0]));
    assert!(world.kept(&stuck).is_empty());
}

#[test]
fn a_download_that_nobody_wants_is_ended() {
    let (mut world, text) = sent(1);
    let file = world.receive(&text);
    let download = |job: &Job| {
        matches!(
            job,
            Job::Ask {
                question: Question::Download(..),
                ..
            }
        )
    };
    assert!(world.jobs.values().any(download));
    let files = vec![file.clone()];
    assert_eq!(world.ask(Command::Delete { files }), Ok(Reply::Done));
    assert!(!world.jobs.values().any(download));
    world.finish();
    assert!(world.kept(&file).is_empty());
    assert!(world.keeps_events_only());
}
