//! Many connections, and users.

use std::collections::BTreeSet;
use std::time::Duration;

use super::peers::name;
use crate::agent::command::{Command, NewConnection, Receiving, Reply, RequestMode};
use crate::agent::config::{Config, NetworkConfig, SessionMode, UserRouter};
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::store::Kind;
use crate::ratchet::InitialKeys;
use crate::sim::agents::{Agents, Reach, USER};
use crate::smp::pool::UserId;

const MANY: usize = 120;

fn create(agents: &mut Agents, user: UserId, text: &str) {
    let create = Command::Create {
        connection: Some(name(text)),
        user,
        kind: NewConnection::Invitation {
            pq: InitialKeys::Never,
        },
        client_data: None,
        short: None,
        mode: RequestMode::Interactive,
        receiving: Receiving::AtOnce,
    };
    let created = agents.ask(0, create);
    assert!(matches!(created, Ok(Reply::Created { .. })), "{created:?}");
}

fn up(agents: &mut Agents) -> usize {
    let up: BTreeSet<_> = agents
        .events(0)
        .into_iter()
        .filter_map(|event| match event.content {
            EventContent::Up { connections, .. } => Some(connections.into_vec()),
            _ => None,
        })
        .flatten()
        .collect();
    up.len()
}

/// Connections at rest are subscribed to without being in memory, in pages.
#[test]
fn connections_at_rest_are_not_in_memory() {
    for sessions in [SessionMode::User, SessionMode::Entity] {
        let config = Config {
            cache: 8,
            page: 50,
            network: NetworkConfig {
                sessions,
                ..NetworkConfig::default()
            },
            ..Config::default()
        };
        let mut agents = Agents::with(1, 1, 3, &config);
        for number in 0..MANY {
            create(&mut agents, USER, &number.to_string());
        }
        assert!(agents.loaded(0) <= 16, "{}", agents.loaded(0));
        assert_eq!(up(&mut agents), MANY);
        agents.crash(0);
        agents.run();
        assert_eq!(agents.loaded(0), 0);
        assert_eq!(up(&mut agents), MANY);
        for router in 0..3 {
            agents.reach(router, Reach::Down);
        }
        let down = agents
            .events(0)
            .into_iter()
            .filter_map(|event| match event.content {
                EventContent::Down { connections, .. } => Some(connections.len()),
                _ => None,
            });
        assert_eq!(down.sum::<usize>(), MANY);
        for router in 0..3 {
            agents.reach(router, Reach::Up);
        }
        agents.wait(Duration::from_secs(120));
        assert_eq!(up(&mut agents), MANY);
    }
}

#[test]
fn a_user_is_deleted_with_all_connections_and_others_stay() {
    let mut agents = Agents::new(1, 1, 1);
    let other = UserId(2);
    let routers = vec![UserRouter::new(agents.routers[0].address.clone())];
    let user = Command::SetUser {
        user: other,
        routers,
    };
    assert_eq!(agents.ask(0, user), Ok(Reply::Done));
    for number in 0..5 {
        create(&mut agents, USER, &format!("first {number}"));
        create(&mut agents, other, &format!("second {number}"));
    }
    assert_eq!(
        agents.ask(0, Command::DeleteUser { user: USER }),
        Ok(Reply::Done)
    );
    let events = agents.events(0);
    let deleted = events
        .iter()
        .filter(|event| event.content == EventContent::Deleted);
    assert_eq!(deleted.count(), 5);
    let gone = EventContent::UserDeleted { user: USER };
    assert_eq!(events.last().map(|event| &event.content), Some(&gone));
    let store = agents.store(0).unwrap();
    let left = store
        .records()
        .filter(|(key, _)| key.kind == Kind::Connection);
    assert_eq!(left.count(), 5);
    assert_eq!(agents.ask(0, Command::Users), Ok(Reply::Users(vec![other])));
    assert_eq!(
        agents.ask(0, Command::DeleteUser { user: USER }),
        Err(AgentError::NoUser)
    );
    // One without connections is gone at once.
    let third = UserId(3);
    let user = Command::SetUser {
        user: third,
        routers: Vec::new(),
    };
    assert_eq!(agents.ask(0, user), Ok(Reply::Done));
    assert_eq!(
        agents.ask(0, Command::DeleteUser { user: third }),
        Ok(Reply::Done)
    );
    let gone = EventContent::UserDeleted { user: third };
    assert_eq!(
        agents.events(0).last().map(|event| event.content.clone()),
        Some(gone)
    );
}

#[test]
fn who_leaves_leaves_after_a_restart_too_and_is_nobody_meanwhile() {
    let mut agents = Agents::new(1, 1, 1);
    create(&mut agents, USER, "address");
    agents.reach(0, Reach::Down);
    assert_eq!(
        agents.ask(0, Command::DeleteUser { user: USER }),
        Ok(Reply::Done)
    );
    agents.crash(0);
    agents.run();
    assert_eq!(agents.ask(0, Command::Users), Ok(Reply::Users(vec![])));
    let again = Command::SetUser {
        user: USER,
        routers: vec![UserRouter::new(agents.routers[0].address.clone())],
    };
    assert_eq!(agents.ask(0, again.clone()), Err(AgentError::NoUser));
    let gone = EventContent::UserDeleted { user: USER };
    let is_gone = |agents: &mut Agents| {
        let mut events = agents.events(0).into_iter();
        events.any(|event| event.content == gone)
    };
    assert!(!is_gone(&mut agents));
    agents.reach(0, Reach::Up);
    agents.wait(Duration::from_secs(3600));
    assert!(is_gone(&mut agents));
    let records = agents.store(0).unwrap().records();
    let of_user = records.filter(|(key, _)| matches!(key.kind, Kind::User | Kind::Connection));
    assert_eq!(of_user.count(), 0);
    // The name is free.
    assert_eq!(agents.ask(0, again), Ok(Reply::Done));
    agents.crash(0);
    agents.run();
    assert_eq!(agents.ask(0, Command::Users), Ok(Reply::Users(vec![USER])));
}
