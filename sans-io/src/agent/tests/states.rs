//! What an application wants to know of routers and queues, and how the agent as a whole stops and goes on.

use std::time::Duration;

use bytes::Bytes;

use super::peers::{ALICE, BOB, Peers, name};
use crate::agent::command::{
    Command, Fetched, NewConnection, Receiving, Reply, RequestMode, TestFailure, TestStep,
};
use crate::agent::config::{Roles, Use, UserRouter};
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::link::ConnectionRequest;
use crate::agent::store::Kind;
use crate::ratchet::{InitialKeys, Pq};
use crate::rng::Rng;
use crate::sim::agents::{Reach, USER};
use crate::smp::pool::UserId;
use crate::smp::{BrokerMessage, ErrorType, NameError, NameRecord};
use crate::wire::{Sample, Version};

fn of(connection: &str) -> crate::agent::id::ConnectionId {
    name(connection)
}

fn stays_unsubscribed(peers: &mut Peers) {
    let create = Command::Create {
        connection: Some(of("bob")),
        user: USER,
        kind: NewConnection::Invitation {
            pq: InitialKeys::Never,
        },
        client_data: None,
        short: None,
        mode: RequestMode::Interactive,
        receiving: Receiving::WhenSubscribed,
    };
    let Ok(Reply::Created { link, .. }) = peers.agents.ask(ALICE, create) else {
        panic!()
    };
    let join = peers.join(*link, Pq::Off);
    assert!(matches!(
        peers.agents.ask(BOB, join),
        Ok(Reply::Joined { .. })
    ));
}

#[test]
fn a_queue_that_is_not_subscribed_to_receives_when_it_is() {
    let mut peers = Peers::new(1, 2);
    stays_unsubscribed(&mut peers);
    assert_eq!(
        peers
            .told(ALICE)
            .iter()
            .filter(|event| is_confirmation(event))
            .count(),
        0
    );
    let subscribe = Command::Subscribe {
        connection: of("bob"),
    };
    assert_eq!(peers.agents.ask(ALICE, subscribe), Ok(Reply::Done));
    assert_eq!(
        peers
            .told(ALICE)
            .iter()
            .filter(|event| is_confirmation(event))
            .count(),
        1
    );
}

fn is_confirmation(event: &EventContent) -> bool {
    matches!(event, EventContent::Confirmation { .. })
}

#[test]
fn a_message_is_fetched_without_a_subscription() {
    let mut peers = Peers::new(1, 2);
    stays_unsubscribed(&mut peers);
    let fetch = || Command::Fetch {
        connection: of("bob"),
    };
    assert_eq!(
        peers.agents.ask(ALICE, fetch()),
        Ok(Reply::Fetched(Fetched::Message))
    );
    assert_eq!(
        peers
            .told(ALICE)
            .iter()
            .filter(|event| is_confirmation(event))
            .count(),
        1
    );
    assert_eq!(
        peers.agents.ask(ALICE, fetch()),
        Ok(Reply::Fetched(Fetched::Nothing))
    );
    let subscribe = || Command::Subscribe {
        connection: of("bob"),
    };
    // A router does not let a session do both.
    peers.agents.ask(ALICE, subscribe()).unwrap();
    let told = peers.told(ALICE);
    assert!(
        told.iter()
            .any(|event| matches!(event, EventContent::Error { .. })),
        "{told:?}"
    );
    assert_eq!(
        peers.agents.ask(ALICE, fetch()),
        Ok(Reply::Fetched(Fetched::Nothing))
    );

    let mut peers = Peers::new(1, 2);
    stays_unsubscribed(&mut peers);
    peers.agents.ask(ALICE, subscribe()).unwrap();
    let refused = peers.agents.ask(ALICE, fetch());
    assert!(
        matches!(refused, Err(AgentError::Prohibited { .. })),
        "{refused:?}"
    );
}

#[test]
fn the_owner_of_a_queue_is_told_how_it_is() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Never);
    peers.send(ALICE, "one");
    peers.send(ALICE, "two");
    let connection = of("alice");
    let info = peers.agents.ask(BOB, Command::QueueInfo { connection });
    let Ok(Reply::QueueInfo(info)) = info else {
        panic!("{info:?}")
    };
    assert!(info.secured && info.size == 2, "{info:?}");
    let connection = of("nobody");
    let unknown = peers.agents.ask(BOB, Command::QueueInfo { connection });
    assert!(matches!(unknown, Err(AgentError::NotFound { .. })));
}

#[test]
fn all_connections_are_named() {
    let mut peers = Peers::new(1, 1);
    for text in ["one", "two", "three"] {
        peers.invite_as(ALICE, &of(text), InitialKeys::Never);
    }
    let all = |peers: &mut Peers, user| peers.agents.ask(ALICE, Command::Connections { user });
    let names = ["one", "three", "two"].map(of).to_vec();
    assert_eq!(all(&mut peers, None), Ok(Reply::Connections(names.clone())));
    assert_eq!(all(&mut peers, Some(USER)), Ok(Reply::Connections(names)));
    let nobody = Some(UserId(7));
    assert_eq!(all(&mut peers, nobody), Ok(Reply::Connections(vec![])));
}

#[test]
fn what_was_done_at_which_router_is_counted() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Never);
    for _ in 0..3 {
        peers.send(ALICE, "hello");
    }
    peers.read(BOB);
    let counts = |peers: &mut Peers, who| {
        let Ok(Reply::Routers(routers)) = peers.agents.ask(who, Command::RouterStatistics) else {
            panic!()
        };
        assert!(routers.iter().all(|router| router.user == USER));
        routers
            .into_iter()
            .map(|router| router.counts)
            .collect::<Vec<_>>()
    };
    let (alice, bob) = (counts(&mut peers, ALICE), counts(&mut peers, BOB));
    let sum = |counts: &[_], what: fn(&crate::agent::command::RouterCounts) -> u64| {
        counts.iter().map(what).sum::<u64>()
    };
    // The confirmation, and three messages.
    assert_eq!(sum(&alice, |counts| counts.sent), 4);
    assert_eq!(sum(&bob, |counts| counts.received), 4);
    assert_eq!(sum(&bob, |counts| counts.acknowledged), 4);
    assert_eq!(sum(&alice, |counts| counts.created), 1);
    assert_eq!(sum(&alice, |counts| counts.subscribed), 1);
    assert!(sum(&alice, |counts| counts.sessions) > 0);
    // It outlives the agent, until it is to be forgotten.
    peers.agents.wait(Duration::from_secs(60));
    let before = counts(&mut peers, ALICE);
    peers.agents.crash(ALICE);
    assert_eq!(counts(&mut peers, ALICE), before);
    let reset = peers.agents.ask(ALICE, Command::ResetStatistics);
    assert_eq!(reset, Ok(Reply::Done));
    assert_eq!(counts(&mut peers, ALICE), []);
    peers.agents.crash(ALICE);
    assert_eq!(counts(&mut peers, ALICE), []);
}

#[test]
fn a_connection_that_nobody_has_joined_goes_to_another_user() {
    let mut peers = Peers::new(1, 2);
    let other = UserId(2);
    let invitation = peers.invite(InitialKeys::Never);
    let change = |connection: &str| Command::ChangeUser {
        connection: of(connection),
        user: other,
    };
    assert_eq!(
        peers.agents.ask(ALICE, change("bob")),
        Err(AgentError::NoUser)
    );
    let routers = peers.agents.routers.iter();
    let routers = routers
        .map(|router| UserRouter::new(router.address.clone()))
        .collect();
    let set = Command::SetUser {
        user: other,
        routers,
    };
    peers.agents.ask(ALICE, set).unwrap();
    assert_eq!(peers.agents.ask(ALICE, change("bob")), Ok(Reply::Done));
    // It is received from in the session of the other user, also after a restart.
    let all = |peers: &mut Peers, user| peers.agents.ask(ALICE, Command::Connections { user });
    assert_eq!(all(&mut peers, Some(USER)), Ok(Reply::Connections(vec![])));
    let join = peers.join(invitation, Pq::Off);
    peers.agents.ask(BOB, join).unwrap();
    peers.allow();
    assert_eq!(
        all(&mut peers, Some(other)),
        Ok(Reply::Connections(vec![of("bob")]))
    );
    let late = peers.agents.ask(ALICE, change("bob"));
    assert!(
        matches!(late, Err(AgentError::Prohibited { .. })),
        "{late:?}"
    );
}

fn prepared(peers: &mut Peers) -> ConnectionRequest {
    let prepare = Command::Prepare {
        connection: Some(of("address")),
        user: USER,
        client_data: None,
        short: Bytes::from_static(b"my card"),
    };
    match peers.agents.ask(ALICE, prepare) {
        Ok(Reply::Created {
            link,
            short: Some(_),
            ..
        }) => *link,
        other => panic!("{other:?}"),
    }
}

fn publish(peers: &mut Peers) -> Result<Reply, AgentError> {
    let publish = Command::Publish {
        connection: of("address"),
        mode: RequestMode::Interactive,
        receiving: Receiving::AtOnce,
    };
    peers.agents.ask(ALICE, publish)
}

#[test]
fn a_link_is_known_before_its_queue_is_made() {
    let mut peers = Peers::new(1, 2);
    let link = prepared(&mut peers);
    let queues = |peers: &Peers| -> usize {
        let routers = peers.agents.routers.iter();
        routers
            .map(|router| router.world.store.crash().queues.len())
            .sum()
    };
    assert_eq!(queues(&peers), 0);
    peers.agents.crash(ALICE);
    peers.agents.run();
    assert_eq!(queues(&peers), 0, "not before the application says so");
    // Somebody may have the link: the queue can be made at its router only.
    let router = &link.data().queues.first().address.router;
    let mut routers = peers.agents.routers.iter();
    let router = routers.position(|known| known.address == *router).unwrap();
    peers.agents.reach(router, Reach::Down);
    assert!(matches!(
        publish(&mut peers),
        Err(AgentError::Broker { .. })
    ));
    peers.agents.reach(router, Reach::Up);
    peers.agents.wait(Duration::from_secs(60));
    let Ok(Reply::Created {
        link: made, short, ..
    }) = publish(&mut peers)
    else {
        panic!()
    };
    assert_eq!(*made, link);
    assert_eq!(queues(&peers), 1);
    let short = short.unwrap();
    let open = Command::OpenLink {
        user: USER,
        link: short,
    };
    let opened = peers.agents.ask(BOB, open);
    let Ok(Reply::Link(content)) = opened else {
        panic!("{opened:?}")
    };
    assert_eq!(content.request, link);
    let join = peers.join(link, Pq::Off);
    assert!(matches!(
        peers.agents.ask(BOB, join),
        Ok(Reply::Joined { .. })
    ));
    let asked = |event: &EventContent| matches!(event, EventContent::Request { .. });
    assert!(peers.told(ALICE).iter().any(asked));
    assert!(matches!(
        publish(&mut peers),
        Err(AgentError::Prohibited { .. })
    ));
}

#[test]
fn a_prepared_address_is_deleted_without_asking_anybody() {
    let mut peers = Peers::new(1, 1);
    prepared(&mut peers);
    peers.agents.reach(0, Reach::Down);
    let delete = Command::Delete {
        connection: of("address"),
        waiting: crate::agent::command::Waiting::Drop,
    };
    assert_eq!(peers.agents.ask(ALICE, delete), Ok(Reply::Done));
    assert!(peers.told(ALICE).contains(&EventContent::Deleted));
    let kept = |kind| {
        let store = peers.agents.store(ALICE).unwrap();
        store.records().filter(|(key, _)| key.kind == kind).count()
    };
    assert_eq!(kept(Kind::Connection), 0);
}

#[test]
fn a_router_is_tested_before_it_is_used() {
    let password: crate::wire::BasicAuth = "letmein".parse().unwrap();
    let config = crate::smp::router::Config {
        new_queues: crate::smp::router::NewQueues::WithPassword(password.clone()),
        ..crate::smp::router::Config::default()
    };
    let mut peers = Peers::over(1, vec![config]);
    let test = |peers: &mut Peers, password| {
        let router = peers.agents.routers[0].address.clone();
        let user = USER;
        let test = Command::TestRouter {
            user,
            router,
            password,
        };
        match peers.agents.ask(ALICE, test) {
            Ok(Reply::Tested(failure)) => failure,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(test(&mut peers, Some(password.clone())), None);
    assert!(
        peers.agents.routers[0]
            .world
            .store
            .crash()
            .queues
            .is_empty()
    );
    let failure = test(&mut peers, None).unwrap();
    assert_eq!(failure.step, TestStep::CreateQueue);
    assert!(matches!(failure.error, AgentError::Smp { error, .. } if *error == ErrorType::Auth));
    peers.agents.reach(0, Reach::Down);
    let failure = test(&mut peers, Some(password));
    assert!(matches!(
        failure,
        Some(TestFailure {
            step: TestStep::Connect,
            error: AgentError::Broker { .. }
        })
    ));
}

fn resolve(peers: &mut Peers) -> crate::agent::id::CommandId {
    let name = "alice.simplex".parse().unwrap();
    peers
        .agents
        .command(BOB, Command::ResolveName { user: USER, name })
}

#[test]
fn a_name_is_resolved_by_a_router_that_the_user_asks_for_names() {
    let config = crate::smp::router::Config {
        resolves_names: true,
        ..crate::smp::router::Config::default()
    };
    let mut peers = Peers::over(1, vec![config]);
    let asked = resolve(&mut peers);
    assert_eq!(
        peers.agents.reply(BOB, asked),
        Some(Err(AgentError::NoNameRouters))
    );
    let routers = peers.agents.routers.iter().map(|router| UserRouter {
        roles: Roles {
            names: Use::Yes,
            ..Roles::default()
        },
        ..UserRouter::new(router.address.clone())
    });
    let routers = routers.collect();
    peers.agents.use_routers(BOB, routers);
    let record = NameRecord::sample(Version(20), &mut Rng::from_seed([3; 32]));
    let not_found = ErrorType::Name {
        error: NameError::NotFound,
    };
    for answer in [
        BrokerMessage::RName(Box::new(record.clone())),
        BrokerMessage::Err(not_found.clone()),
    ] {
        let asked = resolve(&mut peers);
        peers.agents.run();
        let world = &mut peers.agents.routers[0].world;
        let [crate::smp::router::Action::Resolve(ticket, name)] = &world.asked[..] else {
            panic!("{:?}", world.asked)
        };
        assert_eq!(name.as_str(), "alice.simplex");
        let ticket = *ticket;
        world.asked.clear();
        world.answer(ticket, answer.clone());
        peers.agents.run();
        match (peers.agents.reply(BOB, asked), answer) {
            (Some(Ok(Reply::Name(found))), BrokerMessage::RName(record)) => {
                assert_eq!(found, record);
            }
            (Some(Err(AgentError::Smp { error, .. })), BrokerMessage::Err(not_found)) => {
                assert_eq!(*error, not_found);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn suspended(peers: &mut Peers) -> usize {
    let told = peers.told(ALICE);
    told.iter()
        .filter(|event| **event == EventContent::Suspended)
        .count()
}

#[test]
fn a_suspended_agent_does_nothing_until_it_is_resumed() {
    let mut peers = Peers::connected(1, 2, InitialKeys::Later);
    let suspend = Command::SuspendAgent {
        within: Duration::from_secs(10),
    };
    assert_eq!(peers.agents.ask(ALICE, suspend), Ok(Reply::Done));
    assert_eq!(suspended(&mut peers), 1);
    // What is wanted meanwhile is stored, and done later.
    peers.send(ALICE, "later");
    peers.send(BOB, "later, too");
    peers.agents.wait(Duration::from_secs(600));
    assert_eq!((peers.read(ALICE), peers.read(BOB)), (vec![], vec![]));
    assert_eq!(
        peers.agents.ask(ALICE, Command::ResumeAgent),
        Ok(Reply::Done)
    );
    assert_eq!(peers.read(ALICE), ["later, too"]);
    assert_eq!(peers.read(BOB), ["later"]);
}

#[test]
fn what_is_under_way_is_finished_before_the_agent_stops_if_there_is_time() {
    for seconds in [0, 20] {
        let mut peers = Peers::connected(1, 2, InitialKeys::Later);
        let send = peers.sending(ALICE, "under way");
        peers.agents.command(ALICE, send);
        // It is stored, and sent; the router has not been heard yet.
        assert!(peers.agents.step(ALICE));
        let suspend = Command::SuspendAgent {
            within: Duration::from_secs(seconds),
        };
        peers.agents.command(ALICE, suspend);
        peers.agents.run();
        let told = peers.told(ALICE);
        assert!(told.contains(&EventContent::Suspended));
        let sent = |event: &EventContent| matches!(event, EventContent::Sent { .. });
        assert_eq!(told.iter().any(sent), seconds > 0);
        assert_eq!(peers.read(BOB), ["under way"], "it had left already");
        peers.agents.ask(ALICE, Command::ResumeAgent).unwrap();
        peers.agents.wait(Duration::from_secs(60));
        // It is sent again where its fate was not known, and told once.
        peers.send(ALICE, "and more");
        assert_eq!(peers.read(BOB), ["and more"]);
    }
}
