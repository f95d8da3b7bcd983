//! Every stage of a file that is sent, and every way in which it can fail.

use super::script::is_received;
use crate::agent::command::{NetworkState, TestStep};
use crate::agent::config::{Roles, Use, UserRouter};
use crate::agent::error::{AgentError, FileProblem};
use crate::agent::file_event::FileEvent;
use crate::agent::files::Activity;
use crate::agent::files::command::{Command, Reply};
use crate::agent::files::config::Config;
use crate::agent::files::job::{Job, Question};
use crate::agent::files::record::Relays;
use crate::agent::id::FileId;
use crate::agent::store::Kind;
use crate::sim::files::*;
use crate::xftp::ErrorType;
use crate::xftp::description::Party;

#[test]
fn a_file_is_encrypted_then_each_chunk_created_and_uploaded_and_described() {
    let mut world = World::new(2);
    let file = world.send("photo", 2, 1);
    world.finish();
    let (sender, recipients) = world.sent(&file);
    assert_eq!(sender.description().unwrap().party, Party::Sender);
    assert_eq!(recipients.len(), 2);
    assert_ne!(recipients[0], recipients[1]);
    let description = recipients[0].description().unwrap();
    assert_eq!(description.party, Party::Recipient);
    assert_eq!(description.chunks.len(), 3);
    assert_eq!(world.uploaded(), 3);
    let progress = [(10, 30), (20, 30), (30, 30)];
    let progress = progress.map(|(sent, of)| FileEvent::SendProgress { sent, of });
    assert_eq!(world.moments(&file), progress);
    // Nothing but the event is kept, and nothing on the disk.
    assert_eq!(world.kinds(), [Kind::FileEvent]);
    assert!(world.disk[&file].encrypted.is_none());
}

#[test]
fn nothing_is_asked_of_a_router_before_what_it_follows_from_is_stored() {
    let mut world = World::new(1);
    world.command(Command::Send {
        file: None,
        user: USER,
        path: "photo".into(),
        local: None,
        recipients: 1,
        replicas: 1,
    });
    let asks = |world: &World, what: fn(&Question) -> bool| {
        let asked = world.jobs.values().filter(|job| match job {
            Job::Ask { question, .. } => what(question),
            _ => false,
        });
        asked.count()
    };
    let encrypting = |world: &World| {
        let encrypting = |job: &&Job| matches!(job, Job::Encrypt { .. });
        world.jobs.values().filter(encrypting).count()
    };
    while world.job(0, Fate::Done) {}
    assert_eq!((encrypting(&world), world.replies.len()), (0, 1));
    world.store_next();
    assert_eq!((encrypting(&world), world.replies.len()), (1, 2));
    world.job(0, Fate::Done);
    let create = |question: &Question| matches!(question, Question::Create(..));
    assert_eq!(asks(&world, create), 0);
    world.store_next();
    assert_eq!(asks(&world, create), 3);
    world.job(0, Fate::Done);
    let upload = |question: &Question| matches!(question, Question::Upload(..));
    assert_eq!(asks(&world, upload), 0);
    world.store_next();
    assert_eq!(asks(&world, upload), 1);
}

#[test]
fn every_chunk_is_on_as_many_routers_as_are_wanted() {
    let mut world = World::new(3);
    let file = world.send("photo", 1, 2);
    world.finish();
    assert_eq!(world.uploaded(), 6);
    let (sender, recipients) = world.sent(&file);
    for description in [&sender, &recipients[0]] {
        for chunk in &description.description().unwrap().chunks {
            let [one, two] = &chunk.replicas[..] else {
                panic!("{chunk:?}")
            };
            assert_ne!(one.server, two.server);
        }
    }
}

#[test]
fn more_recipients_than_a_request_takes_are_added() {
    let config = Config {
        recipients_at_once: 3,
        ..Config::default()
    };
    let mut world = World::with(config, 1);
    let file = world.send("photo", 8, 1);
    world.finish();
    let (_, recipients) = world.sent(&file);
    assert_eq!(recipients.len(), 8);
    for text in &recipients {
        let received = world.receive(text);
        world.finish();
        assert!(is_received(&world, &received, text));
    }
}

#[test]
fn routers_are_used_by_their_role_and_told_their_passwords() {
    let mut world = World::new(2);
    let mut storing = UserRouter::new(address(0));
    storing.password = Some("secret".parse().unwrap());
    let mut other = UserRouter::new(address(1));
    other.roles = Roles {
        storage: Use::No,
        ..Roles::default()
    };
    let routers = vec![storing, other];
    let user = USER;
    world.command(Command::SetRouters { user, routers });
    let file = world.send("photo", 1, 1);
    world.finish();
    world.sent(&file);
    assert!(world.routers[&address(1)].chunks.is_empty());
    let passwords = world.begun.iter().filter_map(|job| match job {
        Job::Ask {
            question: Question::Create(new, _),
            ..
        } => Some(new.password.is_some()),
        _ => None,
    });
    assert!(passwords.eq([true; 3]));
}

#[test]
fn a_router_that_is_away_is_left_for_another_one_at_once() {
    let mut world = World::new(2);
    world.set(0, Behaviour::Away);
    let file = world.send("photo", 1, 1);
    world.run();
    world.sent(&file);
    assert_eq!(world.routers[&address(1)].chunks.len(), 3);
    assert!(!world.moments(&file).iter().any(is_warning));
}

fn is_warning(event: &FileEvent) -> bool {
    matches!(event, FileEvent::SendWarning { .. })
}

#[test]
fn when_no_router_can_be_reached_it_is_told_and_tried_again() {
    let mut world = World::new(2);
    world.set(0, Behaviour::Away);
    world.set(1, Behaviour::Away);
    let file = world.send("photo", 1, 1);
    world.run();
    assert!(world.moments(&file).iter().any(is_warning));
    assert!(world.kept(&file).is_empty());
    world.set(0, Behaviour::Works);
    world.finish();
    world.sent(&file);
}

#[test]
fn a_file_that_no_router_takes_has_failed_with_what_the_last_has_said() {
    let mut world = World::new(2);
    for router in 0..2 {
        world.set(router, Behaviour::Refuses(ErrorType::Quota));
    }
    let file = world.send("photo", 1, 1);
    world.finish();
    let [FileEvent::SendFailed { error }] = &world.kept(&file)[..] else {
        panic!("{:?}", world.kept(&file))
    };
    assert!(error.to_string().ends_with("QUOTA"), "{error}");
    assert!(world.disk[&file].encrypted.is_none());
}

#[test]
fn a_chunk_that_is_created_and_not_taken_goes_elsewhere_and_is_deleted_there() {
    let mut world = World::new(2);
    world.set(0, Behaviour::Full);
    let file = world.send("photo", 1, 1);
    world.finish();
    world.sent(&file);
    assert_eq!(world.routers[&address(1)].chunks.len(), 3);
    assert!(world.routers[&address(0)].chunks.is_empty());
}

#[test]
fn an_upload_that_fails_often_goes_to_another_router() {
    let mut world = World::new(2);
    let file = world.send("photo", 1, 1);
    let upload = |job: &Job| matches!(job, Job::Ask { router, question: Question::Upload(..), .. } if *router == address(0));
    for _ in 0..1000 {
        while world.store_next() {}
        let bad = world.jobs.values().position(upload);
        let ended = match bad {
            Some(which) => world.job(which, Fate::Undone),
            None => world.job(0, Fate::Done),
        };
        if !ended && (world.files.is_idle() || !world.wait()) {
            break;
        }
    }
    let (sender, _) = world.sent(&file);
    for chunk in &sender.description().unwrap().chunks {
        assert_eq!(chunk.replicas[0].server, address(1));
    }
    assert!(world.routers[&address(0)].chunks.is_empty());
}

#[test]
fn what_a_router_has_forgotten_is_made_there_again() {
    let mut world = World::new(1);
    let file = world.send("photo", 1, 1);
    let upload = |job: &Job| {
        matches!(
            job,
            Job::Ask {
                question: Question::Upload(..),
                ..
            }
        )
    };
    while !world.jobs.values().any(upload) {
        assert!(world.store_next() || world.job(0, Fate::Done));
    }
    world.routers.get_mut(&address(0)).unwrap().chunks.clear();
    world.finish();
    world.sent(&file);
    assert_eq!(world.uploaded(), 3);
}

#[test]
fn a_file_that_cannot_be_read_has_failed() {
    let mut world = World::new(1);
    let file = world.send("missing", 1, 1);
    world.finish();
    let [FileEvent::SendFailed { error }] = &world.kept(&file)[..] else {
        panic!()
    };
    assert_eq!(error.to_string(), "FILE FILE_IO not found");
}

#[test]
fn the_encrypted_file_that_is_gone_ends_the_file_and_what_was_uploaded_is_deleted() {
    let mut world = World::new(1);
    let file = world.send("photo", 1, 1);
    while world.uploaded() < 1 {
        assert!(world.store_next() || world.job(0, Fate::Done));
    }
    world.disk.get_mut(&file).unwrap().encrypted = None;
    world.finish();
    assert!(matches!(
        world.kept(&file)[..],
        [FileEvent::SendFailed { .. }]
    ));
    assert!(world.routers[&address(0)].chunks.is_empty());
}

#[test]
fn a_file_that_takes_too_long_is_given_up() {
    let mut world = World::new(1);
    world.set(0, Behaviour::Away);
    let file = world.send("photo", 1, 1);
    world.run();
    for _ in 0..2000 {
        world.run();
        if !world.wait() {
            break;
        }
    }
    world.finish();
    let [FileEvent::SendFailed { error }] = &world.kept(&file)[..] else {
        panic!()
    };
    assert!(error.is_temporary(), "{error}");
    assert!(world.now.unix.seconds() - 86400 < 200);
}

#[test]
fn few_things_are_under_way_at_once_and_few_at_one_router() {
    let config = Config {
        at_once: 3,
        per_router: 2,
        crypting: 1,
        ..Config::default()
    };
    let mut world = World::with(config, 2);
    let files: Vec<_> = ["a", "b", "c", "d"]
        .map(|path| world.send(path, 1, 2))
        .into();
    let mut most = (0, 0, 0);
    while world.store_next() || world.job(0, Fate::Done) {
        let of = |wanted: usize| {
            let asked = world.jobs.values().filter(|job| match job {
                Job::Ask { router, .. } => *router == address(wanted),
                _ => false,
            });
            asked.count()
        };
        let crypting = |job: &&Job| matches!(job, Job::Encrypt { .. });
        let crypting = world.jobs.values().filter(crypting).count();
        most = (
            most.0.max(of(0) + of(1)),
            most.1.max(of(0)).max(of(1)),
            most.2.max(crypting),
        );
    }
    assert_eq!(most, (3, 2, 1));
    for file in files {
        world.sent(&file);
    }
}

#[test]
fn a_description_is_sent_in_one_chunk_and_leads_to_its_file() {
    let mut world = World::new(2);
    let file = world.send("photo", 1, 1);
    world.finish();
    let (_, recipients) = world.sent(&file);
    let inner = recipients[0].description().unwrap();
    let link = world.file(Command::SendDescription {
        user: USER,
        description: Box::new(inner.clone()),
        recipients: 2,
        replicas: 1,
    });
    world.finish();
    let (sender, redirects) = world.sent(&link);
    assert_eq!(sender.description().unwrap().redirect, None);
    for text in &redirects {
        let outer = text.description().unwrap();
        let redirect = outer.redirect.as_ref().unwrap();
        assert_eq!((redirect.size, redirect.digest), (inner.size, inner.digest));
        assert_eq!(outer.chunks.len(), 1);
        let received = world.file(receive(text, Relays::Own));
        world.finish();
        assert!(is_received(&world, &received, text));
    }
    // One that leads on leads nowhere.
    let again = world.ask(Command::SendDescription {
        user: USER,
        description: Box::new(redirects[0].description().unwrap()),
        recipients: 1,
        replicas: 1,
    });
    assert!(matches!(again, Err(AgentError::Prohibited { .. })));
}

#[test]
fn what_cannot_be_sent_is_refused_at_once() {
    let mut world = World::new(1);
    let send = |user, recipients, replicas| Command::Send {
        file: None,
        user,
        path: "photo".into(),
        local: None,
        recipients,
        replicas,
    };
    let stranger = crate::smp::pool::UserId(7);
    assert_eq!(world.ask(send(stranger, 1, 1)), Err(AgentError::NoUser));
    let few = world.ask(send(USER, 1, 2));
    assert!(matches!(few, Err(AgentError::NoRouters { .. })));
    for recipients in [0, 1001] {
        let refused = world.ask(send(USER, recipients, 1));
        assert!(matches!(refused, Err(AgentError::Prohibited { .. })));
    }
    assert!(world.files.is_idle());
}

#[test]
fn a_file_is_called_as_its_owner_says_unless_another_one_is() {
    let mut world = World::new(1);
    let photo = FileId::try_from(b"photo".as_slice()).unwrap();
    let send = Command::Send {
        file: Some(photo.clone()),
        user: USER,
        path: "photo".into(),
        local: None,
        recipients: 1,
        replicas: 1,
    };
    assert_eq!(world.file(send.clone()), photo);
    assert_eq!(
        world.ask(Command::Files),
        Ok(Reply::Files(vec![photo.clone()]))
    );
    let refused = Err(AgentError::prohibited("another file is called so"));
    assert_eq!(world.ask(send.clone()), refused);
    world.finish();
    assert_eq!(world.ask(Command::Files), Ok(Reply::Files(vec![])));
    // What is still to be deleted of it is of that name too.
    let (sender, _) = world.sent(&photo);
    world.set(0, Behaviour::Away);
    let remove = Command::DeleteRemotely {
        user: USER,
        file: photo.clone(),
        sender: Some(Box::new(sender.description().unwrap())),
    };
    assert_eq!(world.ask(remove), Ok(Reply::Done));
    assert_eq!(world.ask(send.clone()), refused);
    world.set(0, Behaviour::Works);
    world.finish();
    assert_eq!(world.file(send), photo);
}

#[test]
fn too_many_files_at_once_are_refused() {
    let config = Config {
        max_files: 1,
        ..Config::default()
    };
    let mut world = World::with(config, 1);
    let first = world.send("a", 1, 1);
    let second = Command::Send {
        file: None,
        user: USER,
        path: "b".into(),
        local: None,
        recipients: 1,
        replicas: 1,
    };
    let refused = world.ask(second);
    assert!(matches!(refused, Err(AgentError::Prohibited { .. })));
    world.finish();
    world.sent(&first);
    world.send("b", 1, 1);
}

#[test]
fn without_a_network_no_router_is_asked_and_with_one_all_goes_on() {
    let mut world = World::new(1);
    let file = world.send("photo", 1, 1);
    while !world
        .jobs
        .values()
        .any(|job| matches!(job, Job::Ask { .. }))
    {
        assert!(world.store_next() || world.job(0, Fate::Done));
    }
    world.network(NetworkState::Offline);
    while world.store_next() {}
    assert!(world.jobs.is_empty());
    assert_eq!(crate::machine::Machine::deadline(&world.files), None);
    world.network(NetworkState::Online);
    world.finish();
    world.sent(&file);
}

#[test]
fn a_stopped_agent_does_nothing_and_finishes_what_has_begun_before() {
    let mut world = World::new(1);
    let file = world.send("photo", 1, 1);
    while world.jobs.is_empty() {
        assert!(world.store_next());
    }
    world.activity(Activity::Finishing);
    world.run();
    assert!(world.jobs.is_empty() && !world.files.is_idle());
    world.activity(Activity::Active);
    assert!(!world.jobs.is_empty());
    world.activity(Activity::Stopped);
    assert!(world.jobs.is_empty());
    assert_eq!(crate::machine::Machine::deadline(&world.files), None);
    world.activity(Activity::Active);
    world.finish();
    world.sent(&file);
}

#[test]
fn a_router_is_tested_for_files_before_it_is_used() {
    let mut world = World::new(2);
    world.set(1, Behaviour::Full);
    let test = |number| Command::TestRouter {
        user: USER,
        router: address(number),
        password: None,
    };
    let tested = |world: &mut World, number| {
        let id = world.command(test(number));
        world.run();
        let mut replies = world.replies.iter();
        replies.find(|(of, _)| *of == id).unwrap().1.clone()
    };
    assert_eq!(tested(&mut world, 0), Ok(Reply::Tested(None)));
    let Ok(Reply::Tested(Some(failure))) = tested(&mut world, 1) else {
        panic!()
    };
    assert_eq!(failure.step, TestStep::UploadFile);
    assert!(failure.error.to_string().ends_with("QUOTA"));
    // One that is cut off has an answer, too, and one that cannot begin.
    world.command(test(0));
    world.network(NetworkState::Offline);
    let last = |world: &World| world.replies.last().unwrap().1.clone();
    assert_eq!(last(&world), Err(AgentError::Inactive));
    world.replies.clear();
    world.command(test(0));
    assert_eq!(last(&world), Err(AgentError::Inactive));
}

#[test]
fn sessions_that_nobody_needs_are_ended_after_a_while() {
    let mut world = World::new(1);
    let file = world.send("photo", 1, 1);
    world.finish();
    world.sent(&file);
    assert_eq!(world.disconnected, 0);
    let since = world.now.instant;
    // Until nothing is waited for any more.
    while world.wait() {}
    assert_eq!(world.now.instant - since, world.config.idle);
    assert_eq!(world.disconnected, 1);
    world.send("another", 1, 1);
    world.run();
    world.network(NetworkState::Online);
    assert_eq!(world.disconnected, 2);
}

#[test]
fn another_network_is_used_at_once() {
    let mut world = World::new(1);
    world.set(0, Behaviour::Away);
    let file = world.send("photo", 1, 1);
    world.run();
    world.set(0, Behaviour::Works);
    world.network(NetworkState::Online);
    world.run();
    world.sent(&file);
}

#[test]
fn who_waits_for_the_session_with_a_router_that_is_away_goes_elsewhere() {
    let mut world = World::new(2);
    world.set(0, Behaviour::Away);
    world.send("photo", 1, 1);
    let at_first = |job: &Job| matches!(job, Job::Ask { router, .. } if *router == address(0));
    for _ in 0..1000 {
        while world.store_next() {}
        if let Some(which) = world.jobs.values().position(at_first) {
            world.job(which, Fate::Done);
            break;
        }
        assert!(world.job(0, Fate::Done), "it was never asked");
    }
    assert!(!world.jobs.values().any(at_first));
}

#[test]
fn the_size_of_a_file_is_bounded() {
    let error = AgentError::File {
        error: FileProblem::Size,
    };
    let config = Config {
        max_size: 29,
        ..Config::default()
    };
    let mut world = World::new(1);
    let file = world.send("photo", 1, 1);
    world.finish();
    let (_, recipients) = world.sent(&file);
    let mut other = World::with(config, 1);
    let refused = other.ask(receive(&recipients[0], Relays::Approved));
    assert_eq!(refused, Err(error));
}
