//! Queues that were made although nobody has heard of it in time: §5.4.

use std::time::Duration;

use super::peers::name;
use crate::agent::command::{Command, NewConnection, Receiving, Reply, RequestMode};
use crate::agent::config::{Config, UserRouter};
use crate::agent::id::CommandId;
use crate::agent::store::Memory;
use crate::agent::{Action, Agent, Input};
use crate::crypto::x25519;
use crate::machine::Machine;
use crate::ratchet::InitialKeys;
use crate::rng::Rng;
use crate::smp::client::{Request, RequestError, Response};
use crate::smp::pool::{Call, Event, PoolError, UserId};
use crate::smp::{self, QueueIds, QueueMode};
use crate::time::Now;

/// An agent and its store, whose routers are played by the test.
struct Script {
    agent: Agent,
    store: Memory,
    now: Now,
    requests: Vec<Request>,
    replies: Vec<Result<Reply, crate::agent::error::AgentError>>,
}

impl Script {
    fn new() -> Self {
        let router = "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im";
        let agent = Agent::new(Config::default(), Rng::from_seed([1; 32]), Now::START);
        let mut script = Self {
            agent,
            store: Memory::default(),
            now: Now::START,
            requests: Vec::new(),
            replies: Vec::new(),
        };
        script.drain();
        let routers = vec![UserRouter::new(router.parse().unwrap())];
        let user = UserId(1);
        script.give(Input::Command(
            CommandId(0),
            Command::SetUser { user, routers },
        ));
        script
    }

    fn create(&mut self, mode: RequestMode) {
        let create = Command::Create {
            connection: Some(name("bob")),
            user: UserId(1),
            kind: NewConnection::Invitation {
                pq: InitialKeys::Never,
            },
            client_data: None,
            short: None,
            mode,
            receiving: Receiving::AtOnce,
        };
        self.give(Input::Command(CommandId(1), create));
    }

    fn give(&mut self, input: Input) {
        let Ok(()) = self.agent.handle(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.agent.poll() {
            let input = match action {
                Action::Turn(id, turn) => Some(Input::Turned(id, Box::new(turn.run()))),
                Action::Store(op, changes) => {
                    self.store.apply(changes);
                    Some(Input::Stored(op))
                }
                Action::Load(id, load) => Some(Input::Loaded(id, self.store.load(&load))),
                Action::Network(Call::Send { requests, .. }) => {
                    self.requests.extend(requests);
                    None
                }
                Action::Reply(_, reply) => {
                    self.replies.push(reply);
                    None
                }
                Action::Network(_) | Action::Event(_) => None,
            };
            if let Some(input) = input {
                let rest: Vec<_> = std::iter::from_fn(|| self.agent.poll()).collect();
                assert_eq!(rest, [], "the tests are simple");
                self.give(input);
            }
        }
    }

    fn made() -> Response {
        Response::Queue(Box::new(QueueIds {
            recipient_id: [1; 24].into(),
            sender_id: [2; 24].into(),
            dh_key: x25519::PublicKey::from_bytes([9; 32]),
            mode: Some(QueueMode::Messaging),
            link_id: None,
            service_id: None,
            notifier: None,
        }))
    }
}

#[test]
fn a_queue_that_was_made_late_is_used_if_it_is_still_wanted() {
    let mut script = Script::new();
    script.create(RequestMode::Background);
    let request = script.requests.pop().unwrap().id;
    let timed_out = Err(PoolError::Request(RequestError::TimedOut));
    script.give(Input::Network(Event::Response {
        request,
        result: timed_out,
    }));
    assert!(script.requests.is_empty(), "it is asked again later");
    script.give(Input::Network(Event::Late {
        request,
        result: Ok(Script::made()),
    }));
    assert!(matches!(script.replies[..], [_, Ok(Reply::Created { .. })]));
}

#[test]
fn a_queue_that_was_made_too_late_is_deleted() {
    let mut script = Script::new();
    script.create(RequestMode::Interactive);
    let request = script.requests.pop().unwrap().id;
    let timed_out = Err(PoolError::Request(RequestError::TimedOut));
    script.give(Input::Network(Event::Response {
        request,
        result: timed_out,
    }));
    assert!(matches!(script.replies[..], [_, Err(_)]));
    script.give(Input::Network(Event::Late {
        request,
        result: Ok(Script::made()),
    }));
    let delete = script.requests.pop().expect("DEL");
    assert_eq!(delete.command, smp::Command::Del);
    assert_eq!(delete.entity_id, [1; 24].into());
}

#[test]
fn a_queue_that_was_made_twice_is_deleted_once() {
    let mut script = Script::new();
    script.create(RequestMode::Background);
    let first = script.requests.pop().unwrap().id;
    let timed_out = Err(PoolError::Request(RequestError::TimedOut));
    script.give(Input::Network(Event::Response {
        request: first,
        result: timed_out,
    }));
    script.now = script.now + Duration::from_secs(60);
    script.give(Input::Timeout);
    let second = script.requests.pop().expect("NEW again").id;
    script.give(Input::Network(Event::Response {
        request: second,
        result: Ok(Script::made()),
    }));
    script.give(Input::Network(Event::Late {
        request: first,
        result: Ok(Script::made()),
    }));
    let delete = script.requests.pop().expect("DEL");
    assert_eq!(delete.command, smp::Command::Del);
}
