//! What routers are asked for that belongs to no connection: names, and whether they can be used at all.

use std::sync::Arc;

use super::{Action, Agent};
use crate::agent::command::{Reply, TestFailure, TestStep};
use crate::agent::config::Use;
use crate::agent::error::AgentError;
use crate::agent::id::CommandId;
use crate::agent::network::{Asked, Directness, Purpose, pick};
use crate::crypto::{AuthPrivateKey, ed25519, x25519};
use crate::smp::client::{Request, RequestId, Response};
use crate::smp::pool::{Call, PoolError, SessionKey, UserId};
use crate::smp::{Command, NewQueue, QueueRequest, SimplexDomain};
use crate::wire::{BasicAuth, EntityId, ServerAddress, SmpScheme};

/// A router that is being tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct RouterTest {
    command: CommandId,
    session: SessionKey,
    step: TestStep,
    key: AuthPrivateKey,
    /// The queue, once there is one.
    queue: EntityId,
}

/// A name that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct NameQuestion {
    command: CommandId,
    user: UserId,
    domain: SimplexDomain,
}

impl Agent {
    pub(super) fn resolve_name(&mut self, id: CommandId, user: UserId, domain: SimplexDomain) {
        let question = NameQuestion {
            command: id,
            user,
            domain,
        };
        match self.router_for_names(user) {
            Ok(router) => self.ask_for_name(question, router, Directness::Sender),
            Err(error) => self.reply(id, Err(error)),
        }
    }

    fn ask_for_name(
        &mut self,
        question: NameQuestion,
        router: ServerAddress<SmpScheme>,
        directness: Directness,
    ) {
        let (id, user) = (question.command, question.user);
        let command = Command::Rslv {
            domain: question.domain.clone(),
        };
        let request = Request::new(RequestId(0), EntityId::EMPTY, command);
        let asked = Asked {
            purpose: Purpose::Name(Box::new(question)),
            router: router.clone(),
            proxy: None,
        };
        let mut actions = Vec::new();
        let asked = self
            .shared
            .ask(user, &router, request, directness, asked, &mut actions);
        if let Err(error) = asked {
            return self.reply(id, Err(error));
        }
        self.act(actions);
    }

    fn router_for_names(&mut self, user: UserId) -> Result<ServerAddress<SmpScheme>, AgentError> {
        let routers = self.shared.users.get(&user).ok_or(AgentError::NoUser)?;
        let resolving = routers.iter().filter(|known| known.roles.names == Use::Yes);
        let resolving: Vec<_> = resolving.collect();
        let chosen = pick(&resolving, &mut self.shared.rng).map(|known| known.address.clone());
        chosen.ok_or(AgentError::NoNameRouters)
    }

    pub(super) fn name_answered(
        &mut self,
        question: NameQuestion,
        asked: &Asked,
        result: Result<Response, AgentError>,
    ) {
        let (id, user) = (question.command, question.user);
        if self.shared.goes_directly(user, asked, &result) {
            let router = asked.router.clone();
            return self.ask_for_name(question, router, Directness::AfterProxy);
        }
        let reply = match result {
            Ok(Response::Name(record)) => Ok(Reply::Name(record)),
            Ok(_) => Err(AgentError::internal("RNAME")),
            Err(error) => Err(error),
        };
        self.reply(id, reply);
    }

    /// In a session of its own, which ends with the test.
    pub(super) fn test_router(
        &mut self,
        id: CommandId,
        user: UserId,
        router: ServerAddress<SmpScheme>,
        password: Option<BasicAuth>,
    ) {
        let subscription = self.shared.new_subscription(user);
        let rng = &mut self.shared.rng;
        let session = SessionKey {
            user,
            router,
            scope: Some(EntityId::from(rng.bytes::<24>())),
        };
        let key = AuthPrivateKey::from(ed25519::PrivateKey::generate(rng));
        let new = NewQueue {
            auth_key: key.public_key(),
            dh_key: x25519::PrivateKey::generate(rng).public_key(),
            password,
            subscription,
            request: Some(QueueRequest::Messaging(None)),
            notifier: None,
        };
        let test = RouterTest {
            command: id,
            session,
            step: TestStep::CreateQueue,
            key,
            queue: EntityId::EMPTY,
        };
        self.ask_in_test(test, Command::New(Box::new(new)));
    }

    fn ask_in_test(&mut self, test: RouterTest, command: Command) {
        let id = self.shared.next_request();
        let request = Request::new(id, test.queue.clone(), command);
        let request = request.authorized_by(Arc::new(test.key.clone()));
        let session = test.session.clone();
        let asked = Asked {
            router: session.router.clone(),
            purpose: Purpose::Test(Box::new(test)),
            proxy: None,
        };
        self.shared.requests.insert(id, asked);
        let requests = vec![request];
        let call = Call::Send { session, requests };
        self.actions.push(Action::Network(call));
    }

    pub(super) fn test_answered(
        &mut self,
        mut test: RouterTest,
        asked: &Asked,
        result: Result<Response, PoolError>,
    ) {
        let step = match &result {
            Err(PoolError::Unreachable(_)) => TestStep::Connect,
            _ => test.step,
        };
        let next = match (step, result.map_err(|error| asked.error(error))) {
            (TestStep::CreateQueue, Ok(Response::Queue(ids))) => {
                test.queue.clone_from(&ids.recipient_id);
                test.step = TestStep::SecureQueue;
                let sender = ed25519::PrivateKey::generate(&mut self.shared.rng);
                let sender_key = AuthPrivateKey::from(sender).public_key();
                Ok(Some(Command::Key(sender_key)))
            }
            (TestStep::SecureQueue, Ok(_)) => {
                test.step = TestStep::DeleteQueue;
                Ok(Some(Command::Del))
            }
            (TestStep::DeleteQueue, Ok(_)) => Ok(None),
            (_, Ok(_)) => Err(AgentError::internal("IDS")),
            (_, Err(error)) => Err(error),
        };
        let failure = match next {
            Ok(Some(command)) => return self.ask_in_test(test, command),
            Ok(None) => None,
            Err(error) => Some(TestFailure { step, error }),
        };
        let session = test.session;
        let call = Call::Disconnect { session };
        self.actions.push(Action::Network(call));
        self.reply(test.command, Ok(Reply::Tested(failure)));
    }
}
