//! The connections of clients: what they are subscribed to, and how much is on its way to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::loads::Job;
use super::receipts::Pending;
use super::{Action, ConnId, Router};
use crate::smp::handshake::ServiceRole;
use crate::smp::server::{self, Client, Lookup, Party};
use crate::smp::{BrokerMessage, MsgId};
use crate::time::{Instant, Now, UnixTime};
use crate::wire::{EntityId, Id};

/// A client.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) queues: BTreeSet<EntityId>,
    /// Queues whose messages are received one by one, and the message that was delivered.
    pub(super) gets: BTreeMap<EntityId, Option<MsgId>>,
    pub(super) notifiers: BTreeSet<EntityId>,
    pub(super) since: UnixTime,
    pub(super) last_active: Instant,
    /// When something was last announced to it.
    pub(super) last_told: Instant,
    /// How many messages are delivered and not acknowledged.
    delivered: u64,
    /// Announcements that the connection has not taken yet.
    pub(super) on_their_way: usize,
    /// Queues with a message for which there was no room.
    pub(super) delayed: VecDeque<EntityId>,
    /// Whether the service has asked for the messages of all its queues.
    pub(super) service: ServiceSubscription,
    pub(super) forwarded: usize,
    pub(super) names: usize,
    /// Commands that wait until others are forwarded or resolved.
    pub(super) waiting: VecDeque<(super::blocks::Place, Box<server::Request>)>,
}

/// Whether a service is subscribed to its queues on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServiceSubscription {
    No,
    Yes,
}

impl Connection {
    fn new(client: Client, now: Now) -> Self {
        Self {
            client,
            queues: BTreeSet::new(),
            gets: BTreeMap::new(),
            notifiers: BTreeSet::new(),
            since: now.unix,
            last_active: now.instant,
            last_told: now.instant,
            delivered: 0,
            on_their_way: 0,
            delayed: VecDeque::new(),
            service: ServiceSubscription::No,
            forwarded: 0,
            names: 0,
            waiting: VecDeque::new(),
        }
    }

    pub(super) fn is_subscribed(&self) -> bool {
        !self.queues.is_empty()
            || !self.notifiers.is_empty()
            || self.service == ServiceSubscription::Yes
    }
}

/// A connection, as the operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    /// The connection.
    pub connection: ConnId,
    /// The id of the session.
    pub session_id: Id,
    /// When it was established.
    pub since: UnixTime,
    /// When the client last asked for something.
    pub asked: Instant,
    /// When it was last told something that it had not asked for.
    pub told: Instant,
    /// How many queues it is subscribed to.
    pub queues: usize,
    /// From how many queues it receives messages one by one.
    pub gets: usize,
    /// How many notifiers it is subscribed to.
    pub notifiers: usize,
    /// Blocks whose keys are looked up, and blocks that are executed.
    pub blocks: (usize, usize),
    /// What was announced to it, and what it has not taken yet.
    pub on_their_way: usize,
}

impl ClientInfo {
    /// How many queues and notifiers it is subscribed to.
    #[must_use]
    pub const fn subscriptions(&self) -> usize {
        self.queues.saturating_add(self.notifiers)
    }
}

/// Who receives the messages of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) connection: ConnId,
    /// The message that is delivered and not acknowledged.
    delivered: Option<Box<Delivered>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Delivered {
    id: MsgId,
    second: u32,
}

impl Subscription {
    /// The message that is delivered and not acknowledged.
    pub(super) fn delivered(&self) -> Option<&MsgId> {
        self.delivered.as_deref().map(|delivered| &delivered.id)
    }
}

/// The connections, and the queues that they are subscribed to.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections {
    connections: BTreeMap<ConnId, Connection>,
    subscriptions: BTreeMap<EntityId, Subscription>,
    pending: Pending,
}

impl Connections {
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn subscriptions(&self) -> usize {
        self.subscriptions.len()
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&Connection> {
        self.connections.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(&id)
    }

    pub(super) fn subscription(&self, queue: &EntityId) -> Option<&Subscription> {
        self.subscriptions.get(queue)
    }

    pub(super) const fn pending(&self) -> &Pending {
        &self.pending
    }

    /// Subscribes a connection; another one that was subscribed before.
    pub(super) fn subscribe(&mut self, queue: &EntityId, connection: ConnId) -> Option<ConnId> {
        self.undeliver(queue);
        let subscription = Subscription {
            connection,
            delivered: None,
        };
        let before = self.subscriptions.insert(queue.clone(), subscription);
        let before = before
            .map(|before| before.connection)
            .filter(|before| *before != connection);
        if let Some(before) = before.and_then(|before| self.connections.get_mut(&before)) {
            before.queues.remove(queue);
        }
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.queues.insert(queue.clone());
        }
        before
    }

    /// Ends the subscription to a queue: the connection that had it.
    pub(super) fn unsubscribe(&mut self, queue: &EntityId) -> Option<ConnId> {
        self.undeliver(queue);
        let subscription = self.subscriptions.remove(queue)?;
        if let Some(connection) = self.connections.get_mut(&subscription.connection) {
            connection.queues.remove(queue);
        }
        Some(subscription.connection)
    }

    /// A message of a queue is delivered to its subscriber.
    pub(super) fn deliver(&mut self, queue: &EntityId, id: MsgId, second: u32) {
        self.undeliver(queue);
        let Some(subscription) = self.subscriptions.get_mut(queue) else {
            return;
        };
        subscription.delivered = Some(Box::new(Delivered { id, second }));
        self.pending.add(second);
        if let Some(connection) = self.connections.get_mut(&subscription.connection) {
            connection.delivered = connection.delivered.saturating_add(1);
        }
    }

    /// What was delivered of a queue was acknowledged, or is to be delivered again: when it was delivered.
    pub(super) fn undeliver(&mut self, queue: &EntityId) -> Option<u32> {
        let subscription = self.subscriptions.get_mut(queue)?;
        let Delivered { second, .. } = *subscription.delivered.take()?;
        self.pending.remove(second);
        if let Some(connection) = self.connections.get_mut(&subscription.connection) {
            connection.delivered = connection.delivered.saturating_sub(1);
        }
        Some(second)
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        for queue in &connection.queues {
            self.undeliver(queue);
            self.subscriptions.remove(queue);
        }
        Some(connection)
    }

    fn inactive(&self, since: Instant) -> Vec<ConnId> {
        self.connections
            .iter()
            .filter(|(_, connection)| connection.last_active < since && !connection.is_subscribed())
            .map(|(id, _)| *id)
            .collect()
    }
}

impl Router {
    pub(super) fn told(&mut self, id: ConnId, event: server::Event) {
        let now = self.now.instant;
        if let Some(connection) = self.connections.get_mut(id) {
            connection.last_active = now;
        }
        match event {
            server::Event::Established(client) => {
                if let Some((service, _)) = &client.service {
                    self.services.opened(id, service.clone());
                }
                self.connections
                    .connections
                    .insert(id, Connection::new(*client, self.now));
            }
            server::Event::Service { role, chain } => self.introduced(id, role, &chain),
            server::Event::Heard => {}
            server::Event::Counted(tally) => self.tallied(&tally),
            server::Event::Lookup { block, lookups } => {
                self.begin_lookup(id, block, lookups.len());
                for (index, Lookup { party, id: queue }) in lookups.into_iter().enumerate() {
                    let place = super::blocks::Place {
                        connection: id,
                        block,
                        index,
                    };
                    self.with_queue(party, &queue, Job::Keys(place));
                }
            }
            server::Event::Execute {
                block,
                requests,
                refused,
            } => self.execute(id, block, requests, &refused),
        }
    }

    /// All connections.
    pub fn clients(&self) -> impl Iterator<Item = ClientInfo> + '_ {
        let connections = self.connections.connections.iter();
        connections.map(|(id, connection)| ClientInfo {
            connection: *id,
            session_id: connection.client.session.id.clone(),
            since: connection.since,
            asked: connection.last_active,
            told: connection.last_told,
            queues: connection.queues.len(),
            gets: connection.gets.len(),
            notifiers: connection.notifiers.len(),
            blocks: self.blocks_of(*id),
            on_their_way: connection.on_their_way,
        })
    }

    /// Adds who is subscribed to what.
    pub(super) fn with_subscribers(&self, mut gauges: super::Gauges) -> super::Gauges {
        let count = |number: &mut u64, one: bool| *number = number.saturating_add(u64::from(one));
        for connection in self.connections.connections.values() {
            count(
                &mut gauges.subscribed_clients,
                !connection.queues.is_empty(),
            );
            count(
                &mut gauges.notifier_clients,
                !connection.notifiers.is_empty(),
            );
            count(&mut gauges.delivered_clients, connection.delivered > 0);
        }
        let messaging = self.services.subscribed(ServiceRole::Messaging);
        (gauges.subscribed_services, gauges.subscribed_service_queues) = messaging;
        let notifier = self.services.subscribed(ServiceRole::Notifier);
        (
            gauges.subscribed_notifier_services,
            gauges.subscribed_notifier_service_queues,
        ) = notifier;
        gauges
    }

    pub(super) fn closed(&mut self, id: ConnId) {
        self.forget_blocks(id);
        let Some(connection) = self.connections.remove(id) else {
            return self.services.closed(id, None);
        };
        self.notifications.closed(id, &connection.notifiers);
        let service = connection.client.service.map(|(service, _)| service);
        self.services.closed(id, service.as_ref());
        if let Some(service) = service {
            self.receive_all_again(&service, connection.queues);
        }
    }

    /// There is room for messages again.
    pub(super) fn taken(&mut self, id: ConnId, count: usize) {
        let limit = self.config.max_deliveries;
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.on_their_way = connection.on_their_way.saturating_sub(count);
        let room = limit.saturating_sub(connection.on_their_way);
        let delayed = connection.delayed.len().min(room);
        let queues: Vec<_> = connection.delayed.drain(..delayed).collect();
        for queue in queues {
            self.with_queue(
                Party::Recipient,
                &queue,
                Job::DeliverToService(id, queue.clone()),
            );
        }
    }

    pub(super) fn disconnect_inactive(&mut self) {
        let Some(expiration) = self.config.inactive_clients else {
            return;
        };
        let now = self.now.instant.as_micros();
        let ttl = u64::try_from(expiration.ttl.as_micros()).unwrap_or(u64::MAX);
        let since = Instant::from_micros(now.saturating_sub(ttl));
        for id in self.connections.inactive(since) {
            self.actions.push(Action::Conn(id, server::Call::Close));
        }
    }

    /// A subscriber is told that it is none any more.
    pub(super) fn tell_ended(&mut self, connection: ConnId, queue: &EntityId) {
        let counters = &mut self.counters;
        counters.subscriptions_ended = counters.subscriptions_ended.saturating_add(1);
        let before = self.actions.len();
        self.announce(connection, queue.clone(), BrokerMessage::End);
        let blocks = u64::from(self.actions.len() > before);
        let counter = &mut self.counters.subscription_end_blocks;
        *counter = counter.saturating_add(blocks);
    }
}
