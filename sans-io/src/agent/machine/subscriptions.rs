//! What is done for many connections at once.

use std::collections::BTreeMap;

use super::{Action, Agent, Loading, Services};
use crate::agent::command::Reply;
use crate::agent::id::{CommandId, ConnectionId};
use crate::agent::store::record::{self, QueueRecord};
use crate::agent::store::{Kind, Record};
use crate::smp::pool::{Call, SessionKey, SubscriberRole, Subscription, UserId};

impl Agent {
    pub(super) fn subscribe_page(
        &mut self,
        command: CommandId,
        user: Option<UserId>,
        mut services: Services,
        records: &[Record],
    ) {
        let mut sessions: BTreeMap<SessionKey, Vec<Subscription>> = BTreeMap::new();
        for record in records {
            let Ok(queue) = record::from_bytes::<QueueRecord>(&record.value) else {
                continue;
            };
            if user.is_some_and(|user| user != queue.user) {
                continue;
            }
            let (router, id) = (&queue.router, &queue.recipient_id);
            let session = self.shared.session(queue.user, router, id);
            if queue.service.is_some() && self.shared.is_service(queue.user) {
                services.add(&session, id);
                continue;
            }
            self.shared.index.insert(router, id, &queue.connection);
            sessions
                .entry(session)
                .or_default()
                .push(subscription(queue));
        }
        for (session, subscriptions) in sessions {
            self.actions.push(Action::Network(Call::Subscribe {
                session,
                subscriptions,
            }));
        }
        let next = Loading::Subscriptions(command, user, services.clone());
        if !self.load_next(Kind::Queue, records, next) {
            self.subscribe_services(services);
            self.reply(command, Ok(Reply::Done));
        }
    }

    pub(super) fn connections_loaded(
        &mut self,
        command: CommandId,
        user: Option<UserId>,
        mut known: Vec<ConnectionId>,
        records: &[Record],
    ) {
        let of_user = |record: &&Record| {
            let connection = record::from_bytes::<record::ConnectionRecord>(&record.value);
            connection.is_ok_and(|connection| user.is_none_or(|user| user == connection.user))
        };
        let found = records.iter().filter(of_user);
        let found = found.map(|record| ConnectionId::try_from(&*record.key.owner));
        known.extend(found.filter_map(Result::ok));
        let next = Loading::Connections(command, user, known.clone());
        if !self.load_next(Kind::Connection, records, next) {
            self.reply(command, Ok(Reply::Connections(known)));
        }
    }
}

/// What subscribes to a queue.
pub(super) fn subscription(queue: QueueRecord) -> Subscription {
    Subscription {
        queue: queue.recipient_id,
        role: SubscriberRole::Recipient,
        key: std::sync::Arc::new(queue.key),
    }
}
