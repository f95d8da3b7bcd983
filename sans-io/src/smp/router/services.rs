//! Services: clients with certificates, whose queues are subscribed to all at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::blocks::Place;
use super::connections::ServiceSubscription;
use super::loads::{For, Job};
use super::store::{Change, Load, ServiceRecord, ServiceTotals};
use super::{Action, ConnId, OpId, Router, totals};
use crate::crypto::IdsHash;
use crate::crypto::certificate::Chain;
use crate::smp::handshake::ServiceRole;
use crate::smp::server::{self, Party};
use crate::smp::{BrokerMessage, ErrorType, HandshakeError, ServiceQueues, TransportError};
use crate::wire::{EntityId, Large, NonEmpty};

/// How many queues of a service are looked for at a time.
const CHUNK: usize = 128;

/// The services that are connected.
#[derive(Debug, Clone, Default)]
pub(super) struct Services {
    /// Those that have introduced themselves and wait for their id.
    introduced: BTreeMap<ConnId, (ServiceRole, Arc<Chain>)>,
    totals: BTreeMap<EntityId, ServiceTotals>,
    /// All connections of a service.
    connections: BTreeMap<EntityId, BTreeSet<ConnId>>,
    /// The connection that receives what comes for the queues of a service.
    messaging: BTreeMap<EntityId, ConnId>,
    notifier: BTreeMap<EntityId, ConnId>,
    /// Deliveries that go through all queues of a service, by connection.
    deliveries: BTreeMap<ConnId, Pass>,
}

/// Goes through the queues of a service, some at a time: the next when all of these are served.
#[derive(Debug, Clone)]
struct Pass {
    service: EntityId,
    role: ServiceRole,
    /// The last of these.
    last: EntityId,
    /// Those of them whose first message is not on its way yet.
    waiting: BTreeSet<EntityId>,
}

impl Services {
    pub(super) fn messaging(&self, service: &EntityId) -> Option<ConnId> {
        self.messaging.get(service).copied()
    }

    pub(super) fn notifier(&self, service: &EntityId) -> Option<ConnId> {
        self.notifier.get(service).copied()
    }

    /// A service has one more connection.
    pub(super) fn opened(&mut self, connection: ConnId, service: EntityId) {
        let connections = self.connections.entry(service).or_default();
        connections.insert(connection);
    }

    pub(super) fn closed(&mut self, connection: ConnId, service: Option<&EntityId>) {
        let connections = service.and_then(|service| self.connections.get_mut(service));
        if connections.is_some_and(|connections| {
            connections.remove(&connection);
            connections.is_empty()
        }) {
            service.and_then(|service| self.connections.remove(service));
        }
        self.introduced.remove(&connection);
        self.deliveries.remove(&connection);
        self.messaging.retain(|_, of| *of != connection);
        self.notifier.retain(|_, of| *of != connection);
    }

    /// How many services are subscribed to all their queues, and how many queues these are.
    pub(super) fn subscribed(&self, role: ServiceRole) -> (u64, u64) {
        let services = match role {
            ServiceRole::Notifier => &self.notifier,
            ServiceRole::Messaging | ServiceRole::Proxy => &self.messaging,
        };
        let totals = services
            .keys()
            .filter_map(|service| self.totals.get(service));
        let queues = totals.fold(0_u64, |all, totals| {
            all.saturating_add(u64::try_from(totals.count).unwrap_or(0))
        });
        (u64::try_from(services.len()).unwrap_or(u64::MAX), queues)
    }

    fn of(&mut self, role: ServiceRole) -> &mut BTreeMap<EntityId, ConnId> {
        match role {
            ServiceRole::Notifier => &mut self.notifier,
            ServiceRole::Messaging | ServiceRole::Proxy => &mut self.messaging,
        }
    }
}

impl Router {
    // The handshake

    pub(super) fn introduced(&mut self, connection: ConnId, role: ServiceRole, chain: &Arc<Chain>) {
        let fingerprint = *chain.fingerprint().as_bytes();
        self.services
            .introduced
            .insert(connection, (role, Arc::clone(chain)));
        self.load(For::Service(connection), Load::Service(fingerprint));
    }

    pub(super) fn service_loaded(
        &mut self,
        connection: ConnId,
        found: Option<(ServiceRecord, ServiceTotals)>,
    ) {
        let Some((role, chain)) = self.services.introduced.remove(&connection) else {
            return;
        };
        match found {
            Some((record, totals)) if record.role == role => {
                self.services
                    .totals
                    .entry(record.id.clone())
                    .or_insert(totals);
                let call = server::Call::Service(Ok(record.id));
                self.actions.push(Action::Conn(connection, call));
            }
            Some(_) => self.refuse_service(connection),
            None => self.create_service(connection, role, &chain),
        }
    }

    fn create_service(&mut self, connection: ConnId, role: ServiceRole, chain: &Chain) {
        let certificates: Result<Vec<_>, _> = chain
            .certificates()
            .map(|certificate| Large::try_from(certificate.as_der().clone()))
            .collect();
        let Some(certificates) = certificates.ok().and_then(|c| NonEmpty::try_from(c).ok()) else {
            return self.refuse_service(connection);
        };
        let record = ServiceRecord {
            id: self.random_id(),
            role,
            chain: certificates,
            fingerprint: chain.fingerprint(),
            created_at: self.today(),
        };
        let counter = match role {
            ServiceRole::Notifier => &mut self.totals.changed.notifier_services,
            ServiceRole::Messaging | ServiceRole::Proxy => {
                &mut self.totals.changed.messaging_services
            }
        };
        totals::more(counter, 1_i64);
        let id = record.id.clone();
        self.services
            .totals
            .insert(id.clone(), ServiceTotals::default());
        let op = self.commit(vec![Change::PutService(Box::new(record))]);
        self.accept_service_after(connection, id, op);
    }

    pub(super) fn refuse_service(&mut self, connection: ConnId) {
        self.services.introduced.remove(&connection);
        let error = TransportError::Handshake {
            error: HandshakeError::BadService,
        };
        let call = server::Call::Service(Err(error));
        self.actions.push(Action::Conn(connection, call));
    }

    // Association

    /// Associates a queue with a service, or with none: the commit that this waits for.
    pub(super) fn associate(&mut self, queue: &EntityId, service: Option<EntityId>) -> OpId {
        let Some(record) = self.cache.get(queue).map(|queue| &queue.record) else {
            return OpId::default();
        };
        let before = record.service_id.clone();
        let also = self.move_to_service(ServiceRole::Messaging, queue, before, service.as_ref());
        match also.is_empty() {
            true => OpId::default(),
            false => self.change_with(queue, |record| record.service_id = service, also),
        }
    }

    /// The same for the notifier of a queue.
    pub(super) fn associate_notifier(
        &mut self,
        queue: &EntityId,
        service: Option<EntityId>,
    ) -> OpId {
        let record = self.cache.get(queue).map(|queue| &queue.record);
        let Some(notifier) = record.and_then(|record| record.notifier.clone()) else {
            return OpId::default();
        };
        let before = notifier.service_id;
        let also = self.move_to_service(
            ServiceRole::Notifier,
            &notifier.id,
            before,
            service.as_ref(),
        );
        let change = |record: &mut super::store::QueueRecord| {
            if let Some(notifier) = &mut record.notifier {
                notifier.service_id = service;
            }
        };
        match also.is_empty() {
            true => OpId::default(),
            false => self.change_with(queue, change, also),
        }
    }

    /// Counts what becomes of a queue, by the id that its service knows; what is to be stored for it.
    fn move_to_service(
        &mut self,
        role: ServiceRole,
        id: &EntityId,
        before: Option<EntityId>,
        after: Option<&EntityId>,
    ) -> Vec<Change> {
        let counters = self.counters.of_services(role);
        let counter = match (&before, after) {
            (None, None) => return Vec::new(),
            (Some(before), Some(after)) if before == after => {
                *counters.assoc_duplicate = counters.assoc_duplicate.saturating_add(1);
                return Vec::new();
            }
            (Some(_), Some(_)) => counters.assoc_updated,
            (Some(_), None) => counters.assoc_removed,
            (None, Some(_)) => counters.assoc_new,
        };
        *counter = counter.saturating_add(1);
        let left = before.map(|before| self.adjust_service(role, &before, id, -1));
        let joined = after.map(|after| self.adjust_service(role, after, id, 1));
        left.into_iter().chain(joined).collect()
    }

    /// A service has one queue more, or less.
    pub(super) fn adjust_service(
        &mut self,
        role: ServiceRole,
        service: &EntityId,
        id: &EntityId,
        by: i64,
    ) -> Change {
        let ids_hash = IdsHash::of([&**id]);
        if let Some(totals) = self.services.totals.get_mut(service) {
            totals.count = totals.count.saturating_add(by);
            totals.ids_hash = totals.ids_hash.combine(ids_hash);
        }
        let queues = match role {
            ServiceRole::Notifier => &mut self.totals.changed.notifier_service_queues,
            ServiceRole::Messaging | ServiceRole::Proxy => {
                &mut self.totals.changed.messaging_service_queues
            }
        };
        totals::more(queues, by);
        Change::AdjustServiceTotals {
            service: service.clone(),
            count: by,
            ids_hash,
        }
    }

    /// What a service has more, or less, was not stored.
    pub(super) fn not_adjusted(&mut self, service: &EntityId, by: &ServiceTotals) {
        if let Some(totals) = self.services.totals.get_mut(service) {
            totals.count = totals.count.saturating_sub(by.count);
            totals.ids_hash = totals.ids_hash.combine(by.ids_hash);
        }
    }

    // SUBS, NSUBS

    pub(super) fn subs(&mut self, place: Place, known: &ServiceQueues) {
        self.subscribe_service(place, ServiceRole::Messaging, known);
    }

    pub(super) fn nsubs(&mut self, place: Place, known: &ServiceQueues) {
        self.subscribe_service(place, ServiceRole::Notifier, known);
    }

    fn subscribe_service(&mut self, place: Place, role: ServiceRole, known: &ServiceQueues) {
        let id = match role {
            ServiceRole::Notifier => self.notifier_service_of(place.connection),
            ServiceRole::Messaging | ServiceRole::Proxy => self.service_of(place.connection),
        };
        let Some(id) = id else {
            return self.refuse(place, ErrorType::Service);
        };
        let totals = self.services.totals.get(&id).copied().unwrap_or_default();
        let queues = ServiceQueues {
            count: totals.count,
            ids_hash: totals.ids_hash,
        };
        self.services.of(role).insert(id.clone(), place.connection);
        let connections = self.services.connections.get(&id).cloned();
        for before in connections.unwrap_or_default() {
            if before != place.connection {
                self.end_service(role, before, &id, &queues);
            }
        }
        let subscribed = self
            .connections
            .get_mut(place.connection)
            .map(|connection| std::mem::replace(&mut connection.service, ServiceSubscription::Yes));
        let counters = self.counters.of_services(role);
        if subscribed == Some(ServiceSubscription::Yes) {
            *counters.sub_duplicate = counters.sub_duplicate.saturating_add(1);
        }
        counters.subscribed(known, &queues);
        self.answer(place, BrokerMessage::Soks(queues));
        if subscribed == Some(ServiceSubscription::No) {
            let pass = Pass {
                service: id,
                role,
                last: EntityId::EMPTY,
                waiting: BTreeSet::new(),
            };
            self.services.deliveries.insert(place.connection, pass);
            self.list_service_queues(place.connection);
        }
    }

    /// Everything that a connection of a service is subscribed to is the service's, and another connection's from now on.
    fn end_service(
        &mut self,
        role: ServiceRole,
        connection: ConnId,
        id: &EntityId,
        queues: &ServiceQueues,
    ) {
        let Some(before) = self.connections.get_mut(connection) else {
            return;
        };
        if !before.is_subscribed() {
            return;
        }
        before.service = ServiceSubscription::No;
        self.services.deliveries.remove(&connection);
        let of_service: Vec<_> = before.queues.iter().cloned().collect();
        let notifiers = std::mem::take(&mut before.notifiers);
        for queue in of_service {
            self.connections.unsubscribe(&queue);
        }
        self.notifications.closed(connection, &notifiers);
        let counters = self.counters.of_services(role);
        *counters.sub_end = counters.sub_end.saturating_add(1);
        self.announce(connection, id.clone(), BrokerMessage::Ends(queues.clone()));
    }

    /// Queues of a service that a connection of its own was subscribed to, which has gone, are received where all others are.
    pub(super) fn receive_all_again(&mut self, service: &EntityId, queues: BTreeSet<EntityId>) {
        if let Some(connection) = self.services.messaging(service) {
            for queue in queues {
                let job = Job::DeliverToService(connection, queue.clone());
                self.with_queue(Party::Recipient, &queue, job);
            }
        }
    }

    fn list_service_queues(&mut self, connection: ConnId) {
        let Some(pass) = self.services.deliveries.get(&connection) else {
            return;
        };
        let load = Load::ServiceQueues {
            service: pass.service.clone(),
            role: pass.role,
            after: pass.last.clone(),
            limit: CHUNK,
        };
        self.load(For::ServiceQueues(connection, pass.role), load);
    }

    pub(super) fn service_queues_loaded(
        &mut self,
        connection: ConnId,
        role: ServiceRole,
        queues: Vec<EntityId>,
    ) {
        let Some(pass) = self.services.deliveries.get_mut(&connection) else {
            return;
        };
        let Some(last) = queues.last() else {
            self.services.deliveries.remove(&connection);
            if role == ServiceRole::Messaging {
                self.announce(connection, EntityId::EMPTY, BrokerMessage::Alls);
            }
            return;
        };
        pass.last = last.clone();
        pass.waiting = queues.iter().cloned().collect();
        for queue in queues {
            let id = queue.clone();
            let job = match role {
                ServiceRole::Notifier => Job::NotifyService(connection, queue),
                ServiceRole::Messaging | ServiceRole::Proxy => {
                    Job::DeliverToService(connection, queue)
                }
            };
            self.with_queue(Party::Recipient, &id, job);
        }
    }

    /// Nothing more is to be done for a queue of a service.
    pub(super) fn served(&mut self, connection: ConnId, queue: &EntityId) {
        let Some(pass) = self.services.deliveries.get_mut(&connection) else {
            return;
        };
        if pass.waiting.remove(queue) && pass.waiting.is_empty() {
            self.list_service_queues(connection);
        }
    }

    /// What is in a queue of a service cannot be found out.
    pub(super) fn not_served(&mut self, connection: ConnId, queue: &EntityId) {
        let pass = self.services.deliveries.get(&connection);
        if pass.is_some_and(|pass| pass.waiting.contains(queue)) {
            let error = ErrorType::Store {
                error: "storage failed".into(),
            };
            self.announce(connection, queue.clone(), BrokerMessage::Err(error));
            self.served(connection, queue);
        }
    }
}
