//! Users whose sessions are held in the name of a service: a router remembers which queues are the service's, and one command
//! subscribes to all of them.
//!
//! ```text
//!   SUB of a queue ─▶ SOK with the service's id: the queue is the service's, which is stored
//!   at the next start ─▶ SUBS, with the number and the hash of all its queues
//!        ├── the router knows the same ─▶ all are subscribed to
//!        └── it knows others, or no such service ─▶ each is subscribed to by itself
//! ```

use std::collections::BTreeMap;

use super::{Action, Agent, Loading};
use crate::agent::event::EventContent;
use crate::agent::store::record::{self, QueueRecord};
use crate::agent::store::{Change, Key, Kind, Load, OpId, Record};
use crate::crypto::IdsHash;
use crate::smp::ServiceQueues;
use crate::smp::pool::{Call, SessionKey, SubscriberRole};
use crate::wire::EntityId;

/// The queues that services have, as far as is known here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::agent) struct Services(BTreeMap<SessionKey, ServiceQueues>);

impl Services {
    /// One more queue of a service.
    pub(in crate::agent) fn add(&mut self, session: &SessionKey, queue: &EntityId) {
        let empty = ServiceQueues {
            count: 0,
            ids_hash: IdsHash::EMPTY,
        };
        let queues = self.0.entry(session.clone()).or_insert(empty);
        queues.count = queues.count.saturating_add(1);
        queues.ids_hash.add(queue);
    }
}

fn count(queues: &ServiceQueues) -> u32 {
    u32::try_from(queues.count).unwrap_or(u32::MAX)
}

impl Agent {
    /// Subscribes to all queues of services at once.
    pub(super) fn subscribe_services(&mut self, services: Services) {
        for (session, queues) in services.0 {
            self.shared
                .services
                .0
                .insert(session.clone(), queues.clone());
            let role = SubscriberRole::Recipient;
            self.actions.push(Action::Network(Call::SubscribeService {
                session,
                role,
                queues,
            }));
        }
    }

    /// A router says that a queue is a service's: the next start needs to know.
    pub(super) fn queue_of_service(
        &mut self,
        session: SessionKey,
        queue: &EntityId,
        service: Option<EntityId>,
    ) {
        if let (Some(service), true) = (service, self.shared.is_service(session.user)) {
            let key = Key::queue(&session.router, queue);
            let what = Loading::OfService(session, service);
            self.load(Load::Get(vec![key]), what);
        }
    }

    pub(super) fn queue_of_service_loaded(
        &mut self,
        session: &SessionKey,
        service: EntityId,
        records: &[Record],
    ) {
        let Some(Record { key, value }) = records.first() else {
            return;
        };
        let Ok(mut queue) = record::from_bytes::<QueueRecord>(value) else {
            return;
        };
        if queue.service.as_ref() == Some(&service) {
            return;
        }
        if queue.service.replace(service).is_none() {
            self.shared.services.add(session, &queue.recipient_id);
        }
        let changes = vec![Change::Put {
            key: key.clone(),
            value: record::to_bytes(&queue),
            expires: None,
        }];
        self.commit(changes, Vec::new(), OpId(0));
    }

    /// All queues of a service are subscribed to, if the router knows the same ones.
    pub(super) fn service_subscribed(&mut self, session: SessionKey, actual: &ServiceQueues) {
        if self.shared.services.0.get(&session) == Some(actual) {
            self.shared.services_up.insert(session.clone());
            let (router, count) = (session.router, count(actual));
            self.tell(None, EventContent::ServiceUp { router, count });
        } else {
            self.subscribe_one_by_one(session);
        }
    }

    /// A session has ended: if a service has received in it, it does not now.
    pub(super) fn service_down(&mut self, session: &SessionKey) {
        if self.shared.services_up.remove(session) {
            let queues = self.shared.services.0.get(session);
            let count = queues.map_or(0, count);
            let router = session.router.clone();
            self.tell(None, EventContent::ServiceDown { router, count });
        }
    }

    /// Another client receives in the name of the service.
    pub(super) fn service_ended(&mut self, session: &SessionKey, queues: &ServiceQueues) {
        self.shared.services_up.remove(session);
        let (router, count) = (session.router.clone(), count(queues));
        self.tell(None, EventContent::ServiceEnd { router, count });
    }

    pub(super) fn subscribe_one_by_one(&mut self, session: SessionKey) {
        self.shared.services.0.remove(&session);
        self.shared.services_up.remove(&session);
        let call = Call::UnsubscribeService {
            session: session.clone(),
        };
        self.actions.push(Action::Network(call));
        self.load_page(Kind::Queue, None, Loading::OneByOne(session));
    }

    pub(super) fn one_by_one_loaded(&mut self, session: SessionKey, records: &[Record]) {
        let queues = records
            .iter()
            .filter_map(|record| record::from_bytes::<QueueRecord>(&record.value).ok())
            .filter(|queue| queue.user == session.user && queue.router == session.router)
            .filter(|queue| queue.service.is_some());
        let subscriptions: Vec<_> = queues
            .map(|queue| {
                let (router, id) = (&queue.router, &queue.recipient_id);
                self.shared.index.insert(router, id, &queue.connection);
                super::subscriptions::subscription(queue)
            })
            .collect();
        if !subscriptions.is_empty() {
            self.actions.push(Action::Network(Call::Subscribe {
                session: session.clone(),
                subscriptions,
            }));
        }
        self.load_next(Kind::Queue, records, Loading::OneByOne(session));
    }
}
