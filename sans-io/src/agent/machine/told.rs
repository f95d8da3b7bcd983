//! What the pool of sessions with routers tells.

use std::collections::BTreeSet;

use super::{Action, Activity, Agent, Entry, Incoming, LateQueue, Loading, MAX_LATE, Work};
use crate::agent::command::NetworkState;
use crate::agent::connection::Task;
use crate::agent::event::{Event, EventContent};
use crate::agent::id::ConnectionId;
use crate::agent::network::{Asked, Purpose as AskedFor};
use crate::agent::store::record::ReceiveStatus;
use crate::agent::store::{Key, Load};
use crate::crypto::AuthPrivateKey;
use crate::smp::BrokerMessage;
use crate::smp::client::{RequestError, RequestId, Response};
use crate::smp::pool::{self, Call, PoolError, SessionKey, SubscriptionError, UserId};
use crate::time::Now;
use crate::wire::{EntityId, List};

impl Agent {
    pub(super) fn network_changed(&mut self, now: Now, network: NetworkState) {
        self.shared.network = network;
        if self.shared.activity == Activity::Suspended {
            return;
        }
        let call = match network {
            NetworkState::Online => Call::NetworkChanged,
            NetworkState::Offline => Call::NetworkLost,
        };
        self.actions.push(Action::Network(call));
        if network == NetworkState::Online {
            for entry in self.connections.values_mut() {
                if let Entry::Ready(connection) | Entry::Turning(connection, _) = entry {
                    connection.retries.clear();
                }
            }
            self.resume_all(now);
        }
    }

    /// Connections that have something to do go on.
    pub(super) fn resume_all(&mut self, now: Now) {
        let ready = |entry: &Entry| match entry {
            Entry::Ready(connection) => !connection.is_idle(),
            Entry::Loading(_) | Entry::Turning(..) => false,
        };
        let ids: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, entry)| ready(entry))
            .map(|(id, _)| id.clone())
            .collect();
        for id in ids {
            self.step(now, &id, Work::Resume);
        }
    }

    pub(super) fn told(&mut self, now: Now, event: pool::Event) {
        match event {
            pool::Event::Connected { session, .. } => {
                let router = session.router;
                self.shared
                    .statistics
                    .count(session.user, &router, |counts| &mut counts.sessions);
                self.tell(None, EventContent::RouterConnected { router });
            }
            pool::Event::Disconnected { session, queues } => self.disconnected(session, &queues),
            pool::Event::Response { request, result } => self.answered(now, request, result),
            pool::Event::Late { request, result } => self.answered_late(now, request, result),
            pool::Event::Subscribed {
                session,
                queue,
                service_id,
            } => {
                self.queue_of_service(session.clone(), &queue, service_id);
                let (user, router) = (session.user, &session.router);
                self.shared
                    .statistics
                    .count(user, router, |counts| &mut counts.subscribed);
                if let Some(id) = self.shared.index.get(&session.router, &queue) {
                    let router = session.router;
                    let connections = List::try_from(vec![id]).unwrap_or_default();
                    let content = EventContent::Up {
                        router,
                        connections,
                    };
                    self.tell(None, content);
                }
            }
            pool::Event::NotSubscribed {
                session,
                queue,
                error: SubscriptionError::Permanent(error),
            } => {
                let (user, router) = (session.user, &session.router);
                self.shared
                    .statistics
                    .count(user, router, |counts| &mut counts.not_subscribed);
                if let Some(id) = self.shared.index.get(&session.router, &queue) {
                    let asked = Asked {
                        purpose: AskedFor::Nobody,
                        router: session.router,
                        proxy: None,
                    };
                    self.shared.index.remove(&asked.router, &queue);
                    let error = asked.error(PoolError::Request(error));
                    self.with(now, &id, Work::Tell(EventContent::Error { error }));
                }
            }
            pool::Event::Message {
                session,
                entity_id,
                message,
            } => self.router_says(now, session, entity_id, message),
            pool::Event::ServiceSubscribed {
                session, actual, ..
            } => self.service_subscribed(session, &actual),
            pool::Event::ServiceNotSubscribed {
                session,
                error: SubscriptionError::Permanent(_),
            } => self.subscribe_one_by_one(session),
            pool::Event::NotSubscribed { .. } | pool::Event::ServiceNotSubscribed { .. } => {}
        }
    }

    pub(super) fn tell(&mut self, connection: Option<ConnectionId>, content: EventContent) {
        self.actions.push(Action::Event(Event {
            id: None,
            connection,
            content,
        }));
    }

    pub(super) fn disconnected(&mut self, session: SessionKey, queues: &[EntityId]) {
        self.service_down(&session);
        let router = session.router;
        let connections: BTreeSet<_> = queues
            .iter()
            .filter_map(|queue| self.shared.index.get(&router, queue))
            .collect();
        let connections: Vec<_> = connections.into_iter().collect();
        for chunk in connections.chunks(List::<ConnectionId>::MAX) {
            let content = EventContent::Down {
                router: router.clone(),
                connections: List::try_from(chunk.to_vec()).unwrap_or_default(),
            };
            self.tell(None, content);
        }
        self.tell(None, EventContent::RouterDisconnected { router });
    }

    pub(super) fn answered(
        &mut self,
        now: Now,
        request: RequestId,
        result: Result<Response, PoolError>,
    ) {
        let Some(asked) = self.shared.requests.remove(&request) else {
            return;
        };
        self.expect_late(request, &asked, &result);
        if let AskedFor::Task(id, _) = &asked.purpose {
            let connection = self.connections.get(id).and_then(Entry::connection);
            if let Some(user) = connection.map(|connection| connection.record.user) {
                self.shared.statistics.answered(user, &asked, &result);
            }
        }
        match asked.purpose.clone() {
            AskedFor::Task(id, task) => {
                if self.connections.contains_key(&id) {
                    self.with(now, &id, Work::Answer(task, Box::new(asked), result));
                }
            }
            AskedFor::Link(opening) => {
                let result = result.map_err(|error| asked.error(error));
                self.link_answered(*opening, &asked, result);
            }
            AskedFor::Name(question) => {
                let result = result.map_err(|error| asked.error(error));
                self.name_answered(*question, &asked, result);
            }
            AskedFor::Test(test) => self.test_answered(*test, &asked, result),
            AskedFor::Unwanted(user, key) => {
                if let Ok(Response::Queue(ids)) = result {
                    self.delete_orphan(user, &asked, &ids.recipient_id, &key);
                }
            }
            AskedFor::Nobody => {}
        }
    }

    fn delete_orphan(
        &mut self,
        user: UserId,
        asked: &Asked,
        recipient_id: &EntityId,
        key: &AuthPrivateKey,
    ) {
        let mut actions = Vec::new();
        self.shared
            .delete_orphan(user, &asked.router, recipient_id, key, &mut actions);
        self.act(actions);
    }

    /// A router that does not answer in time may have made the queue nevertheless.
    fn expect_late(
        &mut self,
        request: RequestId,
        asked: &Asked,
        result: &Result<Response, PoolError>,
    ) {
        let timed_out = matches!(result, Err(PoolError::Request(RequestError::TimedOut)));
        let (user, key) = match &asked.purpose {
            AskedFor::Task(id, Task::Create(number)) => {
                let connection = self.connections.get(id).and_then(Entry::connection);
                let Some(connection) = connection else { return };
                let Some(queue) = connection.receive_queue(*number) else {
                    return;
                };
                (connection.record.user, queue.key.clone())
            }
            AskedFor::Unwanted(user, key) => (*user, (**key).clone()),
            AskedFor::Task(..)
            | AskedFor::Link(_)
            | AskedFor::Name(_)
            | AskedFor::Test(_)
            | AskedFor::Nobody => return,
        };
        if !timed_out {
            return;
        }
        if self.shared.late.len() >= MAX_LATE {
            self.shared.late.pop_first();
        }
        let asked = asked.clone();
        let late = LateQueue { user, asked, key };
        self.shared.late.insert(request, late);
    }

    /// A queue was made after all: it is used if it is still wanted, and deleted otherwise.
    fn answered_late(&mut self, now: Now, request: RequestId, result: Result<Response, PoolError>) {
        let Some(late) = self.shared.late.remove(&request) else {
            return;
        };
        let Ok(Response::Queue(ids)) = result else {
            return;
        };
        let AskedFor::Task(id, Task::Create(number)) = late.asked.purpose.clone() else {
            return self.delete_orphan(late.user, &late.asked, &ids.recipient_id, &late.key);
        };
        let connection = self.connections.get(&id).and_then(Entry::connection);
        let queue = connection.and_then(|connection| connection.receive_queue(number));
        let wanted = queue.is_some_and(|queue| {
            queue.status == ReceiveStatus::Creating && queue.router == late.asked.router
        });
        if wanted {
            let answer = Work::Answer(
                Task::Create(number),
                Box::new(late.asked),
                Ok(Response::Queue(ids)),
            );
            return self.with(now, &id, answer);
        }
        self.delete_orphan(late.user, &late.asked, &ids.recipient_id, &late.key);
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "routers say nothing else unasked to those who receive messages"
    )]
    pub(super) fn router_says(
        &mut self,
        now: Now,
        session: SessionKey,
        recipient_id: EntityId,
        message: BrokerMessage,
    ) {
        match &message {
            BrokerMessage::Ends(queues) => return self.service_ended(&session, queues),
            BrokerMessage::Alls => {
                let router = session.router;
                return self.tell(None, EventContent::ServiceAll { router });
            }
            _ => {}
        }
        let router = session.router;
        let known = self.shared.index.get(&router, &recipient_id);
        match message {
            BrokerMessage::Msg { id, body } => {
                self.shared
                    .statistics
                    .count(session.user, &router, |counts| &mut counts.received);
                let incoming = Incoming {
                    router,
                    recipient_id,
                    broker_id: id,
                    body,
                };
                match known {
                    Some(owner) => self.with(now, &owner, Work::Deliver(incoming)),
                    None => {
                        let key = Key::queue(&incoming.router, &incoming.recipient_id);
                        self.load(Load::Get(vec![key]), Loading::Owner(incoming));
                    }
                }
            }
            BrokerMessage::End => {
                self.shared.index.remove(&router, &recipient_id);
                self.tell_owner(known, EventContent::End);
            }
            BrokerMessage::Deld => {
                self.shared.index.remove(&router, &recipient_id);
                self.tell_owner(known, EventContent::QueueDeleted);
            }
            _ => {}
        }
    }

    pub(super) fn tell_owner(&mut self, owner: Option<ConnectionId>, content: EventContent) {
        if owner.is_some() {
            self.tell(owner, content);
        }
    }
}
