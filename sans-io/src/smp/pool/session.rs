//! One session of a pool: its connection, what waits for it, and what is to be told to the router again when it was lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::backoff::Backoff;
use super::relays::{Attempt, Forward, Next, Relays};
use super::subscriptions::{Answered, Counts, SubscriberRole, Subscription, Subscriptions};
use super::{Action, Config, ConnId, Event, PoolError, SessionKey, SubscriptionError};
use crate::crypto::certificate::Chain;
use crate::machine::Actions;
use crate::smp::client::{self, Relay, Request, RequestError, RequestId, Response};
use crate::smp::error::{BrokerError, ErrorType, ProxyError};
use crate::smp::proxy::RelaySession;
use crate::smp::{BrokerMessage, Command, ServiceQueues};
use crate::time::{Instant, Now};
use crate::wire::{EntityId, ServerAddress, SmpScheme};

/// What a session works with besides itself.
pub(super) struct Out<'a> {
    pub(super) config: &'a Config,
    pub(super) actions: &'a mut Actions<Action>,
    pub(super) connections: &'a mut BTreeMap<ConnId, SessionKey>,
    pub(super) next_connection: &'a mut u64,
    pub(super) next_request: &'a mut u64,
}

impl Out<'_> {
    fn event(&mut self, event: Event) {
        self.actions.push(Action::Event(Box::new(event)));
    }

    fn respond(&mut self, request: RequestId, result: Result<Response, PoolError>) {
        self.event(Event::Response { request, result });
    }

    fn request_id(&mut self) -> RequestId {
        let id = RequestId(*self.next_request);
        *self.next_request = self.next_request.wrapping_add(1);
        id
    }

    fn connect(&mut self, key: &SessionKey) -> ConnId {
        let connection = ConnId(*self.next_connection);
        *self.next_connection = self.next_connection.wrapping_add(1);
        self.connections.insert(connection, key.clone());
        self.actions
            .push(Action::Connect(connection, Box::new(key.clone())));
        connection
    }

    fn disconnect(&mut self, connection: ConnId) {
        self.connections.remove(&connection);
        self.actions.push(Action::Disconnect(connection));
    }
}

/// One session of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    key: SessionKey,
    link: Link,
    waiting: VecDeque<Waiting>,
    asked: BTreeMap<RequestId, Asked>,
    subscriptions: Subscriptions,
    relays: Relays,
    backoff: Backoff,
    /// Until when no subscriptions are asked for, because one has failed and is to be tried again.
    pause: Option<Instant>,
    failed: Option<(Instant, BrokerError)>,
    /// The id of the service, as the router knows it.
    service_id: EntityId,
    /// Requests that have timed out, by the id under which they were asked.
    timed_out: VecDeque<(RequestId, RequestId)>,
}

/// How many requests that have timed out are remembered.
const REMEMBERED: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Idle,
    Connecting(ConnId, Instant),
    Connected(ConnId),
    Backoff(Instant),
}

/// What waits for the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Waiting {
    Request(Request),
    Forward(Forward),
}

impl Waiting {
    const fn id(&self) -> RequestId {
        match self {
            Self::Request(request) => request.id,
            Self::Forward(forward) => forward.request.id,
        }
    }
}

/// What a request to the router is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    /// The owner.
    Owner(RequestId),
    /// A subscription.
    Queue(EntityId),
    /// The subscription of the service.
    Service,
    /// A session with a relay.
    Relay(ServerAddress<SmpScheme>),
    /// A command for a relay.
    Forward(Arc<RelaySession>, Box<Forward>),
}

impl Session {
    pub(super) fn new(key: SessionKey) -> Self {
        Self {
            key,
            link: Link::Idle,
            waiting: VecDeque::new(),
            asked: BTreeMap::new(),
            subscriptions: Subscriptions::default(),
            relays: Relays::default(),
            backoff: Backoff::default(),
            pause: None,
            failed: None,
            service_id: EntityId::EMPTY,
            timed_out: VecDeque::new(),
        }
    }

    pub(super) fn subscriptions(&self) -> Counts {
        self.subscriptions.counts()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.link {
            Link::Connecting(_, deadline) | Link::Backoff(deadline) => Some(deadline),
            Link::Idle => self.failed.as_ref().map(|(until, _)| *until),
            Link::Connected(_) => self.pause,
        }
    }

    /// Whether nothing is left that the next use of the session would need.
    pub(super) fn is_forgettable(&self) -> bool {
        self.link == Link::Idle && self.subscriptions.is_empty() && self.failed.is_none()
    }

    pub(super) fn send(&mut self, now: Now, requests: Vec<Request>, out: &mut Out<'_>) {
        if let Link::Connected(connection) = self.link {
            let requests = requests
                .into_iter()
                .map(|request| self.ask(request.id, request, Asked::Owner, out))
                .collect();
            let call = client::Call::Send(requests);
            out.actions.push(Action::Call(connection, call));
            return;
        }
        for request in requests {
            self.wait(now, Waiting::Request(request), out);
        }
    }

    pub(super) fn forward(&mut self, now: Now, forward: Forward, out: &mut Out<'_>) {
        let Link::Connected(connection) = self.link else {
            return self.wait(now, Waiting::Forward(forward), out);
        };
        let (relay, password) = (forward.relay.clone(), forward.password.clone());
        match self.relays.forward(now.instant, forward) {
            Next::Wait => {}
            Next::Fail(error, forward) => out.respond(forward.request.id, Err(error)),
            Next::Send(session, forward) => {
                self.forward_through(connection, &session, *forward, out)
            }
            Next::Ask => {
                let command = Command::Prxy {
                    relay: relay.clone(),
                    password,
                };
                let request = Request::new(RequestId(0), EntityId::EMPTY, command)
                    .within(out.config.connect_timeout);
                let request = self.ask(relay, request, Asked::Relay, out);
                out.actions
                    .push(Action::Call(connection, client::Call::Send(vec![request])));
            }
        }
    }

    fn forward_through(
        &mut self,
        connection: ConnId,
        session: &Arc<RelaySession>,
        forward: Forward,
        out: &mut Out<'_>,
    ) {
        let request = forward.request.clone().via(Arc::clone(session));
        let asked = |forward| Asked::Forward(Arc::clone(session), Box::new(forward));
        let request = self.ask(forward, request, asked, out);
        out.actions
            .push(Action::Call(connection, client::Call::Send(vec![request])));
    }

    /// A request under an id of our own, which remembers what it is for.
    fn ask<T>(
        &mut self,
        what: T,
        request: Request,
        asked: impl FnOnce(T) -> Asked,
        out: &mut Out<'_>,
    ) -> Request {
        let id = out.request_id();
        self.asked.insert(id, asked(what));
        Request { id, ..request }
    }

    fn wait(&mut self, now: Now, waiting: Waiting, out: &mut Out<'_>) {
        if let Some((until, error)) = &self.failed
            && *until > now.instant
        {
            return out.respond(waiting.id(), Err(PoolError::Unreachable(error.clone())));
        }
        if self.waiting.len() >= out.config.max_waiting {
            return out.respond(waiting.id(), Err(PoolError::Busy));
        }
        self.waiting.push_back(waiting);
        self.connect(now, out);
    }

    fn connect(&mut self, now: Now, out: &mut Out<'_>) {
        match self.link {
            Link::Connecting(..) | Link::Connected(_) => {}
            Link::Idle | Link::Backoff(_) => {
                let connection = out.connect(&self.key);
                self.link = Link::Connecting(connection, now.instant + out.config.connect_timeout);
            }
        }
    }

    pub(super) fn subscribe(
        &mut self,
        now: Now,
        subscriptions: Vec<Subscription>,
        out: &mut Out<'_>,
    ) {
        for subscription in subscriptions {
            self.subscriptions.add(subscription);
        }
        self.resubscribe(now, out);
    }

    pub(super) fn subscribe_service(
        &mut self,
        now: Now,
        role: SubscriberRole,
        queues: ServiceQueues,
        out: &mut Out<'_>,
    ) {
        self.subscriptions.set_service(role, queues);
        self.resubscribe(now, out);
    }

    /// Tells the router of what it does not know, or connects for it.
    fn resubscribe(&mut self, now: Now, out: &mut Out<'_>) {
        match self.link {
            Link::Connecting(..) | Link::Backoff(_) => {}
            Link::Idle if self.subscriptions.any_pending() => self.connect(now, out),
            Link::Idle => {}
            Link::Connected(_) if self.pause.is_some_and(|until| until > now.instant) => {}
            Link::Connected(connection) => {
                self.pause = None;
                let mut requests = Vec::new();
                if let Some((role, queues)) = self.subscriptions.ask_service() {
                    let service = self.service_id.clone();
                    let command = role.service_command(queues);
                    let request = Request::new(RequestId(0), service, command);
                    requests.push(self.ask((), request, |()| Asked::Service, out));
                }
                for subscription in self.subscriptions.ask() {
                    let queue = subscription.queue.clone();
                    let command = subscription.role.command();
                    let request = Request::new(RequestId(0), queue.clone(), command)
                        .authorized_by(subscription.key);
                    requests.push(self.ask(queue, request, Asked::Queue, out));
                }
                if !requests.is_empty() {
                    let call = client::Call::Send(requests);
                    out.actions.push(Action::Call(connection, call));
                }
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, queues: &[EntityId]) {
        for queue in queues {
            self.subscriptions.remove(queue);
        }
        self.rest();
    }

    pub(super) fn unsubscribe_service(&mut self) {
        self.subscriptions.remove_service();
        self.rest();
    }

    /// Without subscriptions there is nothing to connect for.
    fn rest(&mut self) {
        if matches!(self.link, Link::Backoff(_)) && self.subscriptions.is_empty() {
            self.link = Link::Idle;
        }
    }

    /// The owner wants it no more.
    pub(super) fn end(&mut self, out: &mut Out<'_>) {
        let connection = match self.link {
            Link::Connecting(connection, _) | Link::Connected(connection) => Some(connection),
            Link::Idle | Link::Backoff(_) => None,
        };
        if let Some(connection) = connection {
            out.disconnect(connection);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            out.respond(waiting.id(), Err(PoolError::Ended));
        }
        self.fail_asked(&PoolError::Ended, out);
        *self = Self::new(self.key.clone());
    }

    /// Nothing that was asked on a connection is answered after it.
    fn fail_asked(&mut self, error: &PoolError, out: &mut Out<'_>) {
        for asked in std::mem::take(&mut self.asked).into_values() {
            match asked {
                Asked::Owner(request) => out.respond(request, Err(error.clone())),
                Asked::Forward(_, forward) => out.respond(forward.request.id, Err(error.clone())),
                Asked::Queue(_) | Asked::Service | Asked::Relay(_) => {}
            }
        }
        for forward in self.relays.suspend() {
            out.respond(forward.request.id, Err(error.clone()));
        }
    }

    pub(super) fn network_changed(&mut self, now: Now, out: &mut Out<'_>) {
        self.backoff.reset();
        self.failed = None;
        self.pause = None;
        match self.link {
            Link::Backoff(_) => self.connect(now, out),
            Link::Idle | Link::Connecting(..) | Link::Connected(_) => self.resubscribe(now, out),
        }
    }

    /// Nothing can be reached: what is connected is not, and nothing is tried.
    pub(super) fn network_lost(&mut self, now: Now, out: &mut Out<'_>) {
        if let Link::Connecting(connection, _) | Link::Connected(connection) = self.link {
            out.disconnect(connection);
            self.closed(now, connection, &BrokerError::Timeout, out);
        }
        self.link = Link::Idle;
        self.failed = None;
    }

    pub(super) fn timeout(&mut self, now: Now, out: &mut Out<'_>) {
        self.failed.take_if(|(until, _)| *until <= now.instant);
        match self.link {
            Link::Connecting(connection, deadline) if deadline <= now.instant => {
                out.disconnect(connection);
                self.closed(now, connection, &BrokerError::Timeout, out);
            }
            Link::Backoff(until) if until <= now.instant => {
                self.link = Link::Idle;
                self.resubscribe(now, out);
            }
            Link::Connected(_) => self.resubscribe(now, out),
            Link::Idle | Link::Connecting(..) | Link::Backoff(_) => {}
        }
    }

    pub(super) fn closed(
        &mut self,
        now: Now,
        connection: ConnId,
        error: &BrokerError,
        out: &mut Out<'_>,
    ) {
        match self.link {
            Link::Connected(connected) if connected == connection => {
                self.fail_asked(&PoolError::Request(RequestError::Disconnected), out);
                let queues = self.subscriptions.suspend();
                out.event(Event::Disconnected {
                    session: self.key.clone(),
                    queues,
                });
            }
            Link::Connecting(connecting, _) if connecting == connection => {
                self.subscriptions.suspend();
                if !out.config.persist_error.is_zero() {
                    let until = now.instant + out.config.persist_error;
                    self.failed = Some((until, error.clone()));
                }
                for waiting in std::mem::take(&mut self.waiting) {
                    out.respond(waiting.id(), Err(PoolError::Unreachable(error.clone())));
                }
            }
            Link::Idle | Link::Connecting(..) | Link::Connected(_) | Link::Backoff(_) => return,
        }
        self.pause = None;
        self.link = match self.subscriptions.any_pending() {
            true => Link::Backoff(self.backoff.next(now.instant, &out.config.retry)),
            false => Link::Idle,
        };
    }

    pub(super) fn told(
        &mut self,
        now: Now,
        connection: ConnId,
        event: client::Event,
        out: &mut Out<'_>,
    ) {
        match event {
            client::Event::Established(established) => {
                self.established(now, connection, &established, out);
            }
            client::Event::Response { request, result } => {
                if let Some(asked) = self.asked.remove(&request) {
                    if let (Asked::Owner(owner), Err(RequestError::TimedOut)) = (&asked, &result) {
                        self.remember(request, *owner);
                    }
                    self.answered(now, asked, result, out);
                }
            }
            client::Event::Late { request, result } => self.late(request, result, out),
            client::Event::Message { entity_id, message } => {
                if matches!(message, BrokerMessage::End | BrokerMessage::Deld) {
                    self.subscriptions.remove(&entity_id);
                }
                if matches!(message, BrokerMessage::Ends(_)) {
                    self.subscriptions.remove_service();
                }
                // The operator has blocked the queue.
                if let BrokerMessage::Err(error @ ErrorType::Blocked { .. }) = message {
                    if self.subscriptions.remove(&entity_id).is_some() {
                        out.event(Event::NotSubscribed {
                            session: self.key.clone(),
                            queue: entity_id,
                            error: SubscriptionError::Permanent(RequestError::Protocol(error)),
                        });
                    }
                    return;
                }
                out.event(Event::Message {
                    session: self.key.clone(),
                    entity_id,
                    message,
                });
            }
            client::Event::Unexpected(_) => {}
        }
    }

    fn established(
        &mut self,
        now: Now,
        connection: ConnId,
        established: &client::Established,
        out: &mut Out<'_>,
    ) {
        if !matches!(self.link, Link::Connecting(connecting, _) if connecting == connection) {
            return;
        }
        self.link = Link::Connected(connection);
        self.backoff.reset();
        self.failed = None;
        let service = established.service.as_ref();
        self.service_id = service
            .map(|service| service.id.clone())
            .unwrap_or_default();
        out.event(Event::Connected {
            session: self.key.clone(),
            established: Box::new(established.clone()),
        });
        self.resubscribe(now, out);
        let mut requests = Vec::new();
        for waiting in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Request(request) => requests.push(request),
                Waiting::Forward(forward) => self.forward(now, forward, out),
            }
        }
        if !requests.is_empty() {
            self.send(now, requests, out);
        }
    }

    fn answered(
        &mut self,
        now: Now,
        asked: Asked,
        result: Result<Response, RequestError>,
        out: &mut Out<'_>,
    ) {
        let refused = matches!(result, Err(RequestError::NotAccepted));
        match asked {
            Asked::Owner(request) => {
                out.respond(request, result.map_err(PoolError::Request));
            }
            Asked::Queue(queue) => self.queue_answered(now, queue, result, out),
            Asked::Service => self.service_answered(now, result, out),
            Asked::Relay(relay) => self.relay_answered(now, &relay, result, out),
            Asked::Forward(session, forward) => {
                self.forward_answered(now, &session, *forward, result, out);
            }
        }
        // A client that takes nothing now is asked again when it has answered something.
        if !refused {
            self.resubscribe(now, out);
        }
    }

    /// A request that has timed out keeps its name, for a response that comes late.
    fn remember(&mut self, asked: RequestId, request: RequestId) {
        if self.timed_out.len() >= REMEMBERED {
            self.timed_out.pop_front();
        }
        self.timed_out.push_back((asked, request));
    }

    fn late(
        &mut self,
        asked: RequestId,
        result: Result<Response, RequestError>,
        out: &mut Out<'_>,
    ) {
        let known = self.timed_out.iter().position(|(late, _)| *late == asked);
        if let Some((_, request)) = known.and_then(|index| self.timed_out.remove(index)) {
            let result = result.map_err(PoolError::Request);
            out.event(Event::Late { request, result });
        }
    }

    /// What has failed for now is not tried again at once.
    fn pause(&mut self, now: Now, out: &Out<'_>) {
        if self.pause.is_none() {
            self.pause = Some(self.backoff.next(now.instant, &out.config.retry));
        }
    }

    fn queue_answered(
        &mut self,
        now: Now,
        queue: EntityId,
        result: Result<Response, RequestError>,
        out: &mut Out<'_>,
    ) {
        let (result, service_id) = match result {
            Ok(Response::Subscribed { service_id }) => (Ok(()), service_id),
            Ok(_) => (Err(RequestError::Unexpected("SOK").into()), None),
            Err(error) => (Err(SubscriptionError::from(error)), None),
        };
        let answered = self.subscriptions.answered(&queue, &result);
        match answered {
            Answered::Active => self.backoff.reset(),
            Answered::Retry => self.pause(now, out),
            Answered::Failed | Answered::Nobody => {}
        }
        match (answered, result) {
            (Answered::Active, _) => out.event(Event::Subscribed {
                session: self.key.clone(),
                queue,
                service_id,
            }),
            (Answered::Retry | Answered::Failed, Err(error)) => out.event(Event::NotSubscribed {
                session: self.key.clone(),
                queue,
                error,
            }),
            (Answered::Retry | Answered::Failed | Answered::Nobody, _) => {}
        }
    }

    fn service_answered(
        &mut self,
        now: Now,
        result: Result<Response, RequestError>,
        out: &mut Out<'_>,
    ) {
        let session = self.key.clone();
        let error = match result {
            Ok(Response::ServiceSubscribed(actual)) => {
                if let Some(expected) = self.subscriptions.service_active() {
                    out.event(Event::ServiceSubscribed {
                        session,
                        expected,
                        actual,
                    });
                }
                return;
            }
            Ok(_) => SubscriptionError::from(RequestError::Unexpected("SOKS")),
            Err(error) => SubscriptionError::from(error),
        };
        match error {
            SubscriptionError::Temporary(_) => {
                self.subscriptions.service_failed();
                self.pause(now, out);
            }
            SubscriptionError::Permanent(_) => self.subscriptions.remove_service(),
        }
        out.event(Event::ServiceNotSubscribed { session, error });
    }

    fn relay_answered(
        &mut self,
        now: Now,
        address: &ServerAddress<SmpScheme>,
        result: Result<Response, RequestError>,
        out: &mut Out<'_>,
    ) {
        let valid = |chain: &Chain| (out.config.verify_chain)(chain, now.unix);
        let session = match result {
            Ok(Response::Relay(relay)) => {
                let Relay {
                    session_id,
                    versions,
                    chain,
                    signed_key,
                } = *relay;
                let key_hash = address.key_hash();
                RelaySession::new(key_hash, session_id, versions, &chain, &signed_key, &valid)
                    .map(Arc::new)
                    .map_err(PoolError::Relay)
            }
            Ok(_) => Err(PoolError::Request(RequestError::Unexpected("PKEY"))),
            Err(error) => Err(PoolError::Request(error)),
        };
        let until = now.instant + out.config.persist_error;
        let failure = session.as_ref().err().cloned();
        let waiting = self
            .relays
            .answered(address, session.map_err(|error| (error, until)));
        for forward in waiting {
            match &failure {
                Some(error) => out.respond(forward.request.id, Err(error.clone())),
                None => self.forward(now, forward, out),
            }
        }
    }

    fn forward_answered(
        &mut self,
        now: Now,
        session: &Arc<RelaySession>,
        forward: Forward,
        result: Result<Response, RequestError>,
        out: &mut Out<'_>,
    ) {
        let no_session = RequestError::Protocol(ErrorType::Proxy {
            error: ProxyError::NoSession,
        });
        if result.as_ref().err() == Some(&no_session) {
            self.relays.lost(&forward.relay, session);
            if forward.attempt == Attempt::First {
                let attempt = Attempt::Again;
                return self.forward(now, Forward { attempt, ..forward }, out);
            }
        }
        out.respond(forward.request.id, result.map_err(PoolError::Request));
    }
}
