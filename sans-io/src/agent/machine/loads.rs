//! What is loaded, and what for.

use super::{Action, Agent, Entry, Incoming, Loading, Work};
use crate::agent::connection::Connection;
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::id::ConnectionId;
use crate::agent::store::record::{self, QueueRecord};
use crate::agent::store::{Key, Kind, Load, LoadId, Record};
use crate::time::Now;

impl Agent {
    pub(super) fn load(&mut self, load: Load, what: Loading) {
        let id = self.next_load;
        self.next_load = LoadId(id.0.saturating_add(1));
        self.loading.insert(id, what);
        self.actions.push(Action::Load(id, load));
    }

    pub(super) fn load_page(&mut self, kind: Kind, after: Option<Key>, what: Loading) {
        let limit = self.shared.config.page;
        self.load(Load::Page { kind, after, limit }, what);
    }

    /// The next page, if this one was full.
    pub(super) fn load_next(&mut self, kind: Kind, records: &[Record], what: Loading) -> bool {
        let full = records.len() >= self.shared.config.page;
        match records.last().filter(|_| full) {
            Some(last) => {
                self.load_page(kind, Some(last.key.clone()), what);
                true
            }
            None => false,
        }
    }

    pub(super) fn loaded_records(&mut self, now: Now, id: LoadId, records: Vec<Record>) {
        let Some(what) = self.loading.remove(&id) else {
            return;
        };
        match what {
            Loading::Connection(id) => self.connection_loaded(now, id, records),
            Loading::Message(id, delivery, found) => {
                self.receive(now, &id, delivery, found.with(records));
            }
            Loading::Owner(incoming) => self.owner_loaded(now, incoming, records),
            Loading::Events => self.events_loaded(&records),
            Loading::Statistics => self.statistics_loaded(&records),
            Loading::Users => self.users_loaded(&records),
            Loading::Work => self.work_loaded(now, &records),
            Loading::Subscriptions(command, user, services) => {
                self.subscribe_page(command, user, services, &records);
            }
            Loading::OfService(session, service) => {
                self.queue_of_service_loaded(&session, service, &records);
            }
            Loading::OneByOne(session) => self.one_by_one_loaded(session, &records),
            Loading::Request(command, wanted) => {
                self.request_loaded(now, command, wanted, records);
            }
            Loading::DeletedUser(user) => self.delete_page(now, user, &records),
            Loading::Connections(command, user, known) => {
                self.connections_loaded(command, user, known, &records);
            }
            Loading::Link(opening) => self.link_key_loaded(*opening, records),
            Loading::Join(command, wanted) => self.join_loaded(now, command, *wanted, records),
        }
    }

    /// Connections that have something to do are loaded.
    pub(super) fn work_loaded(&mut self, now: Now, records: &[Record]) {
        for record in records {
            if let Ok(id) = ConnectionId::try_from(&*record.key.owner) {
                self.with(now, &id, Work::Resume);
            }
        }
        if !self.load_next(Kind::Work, records, Loading::Work)
            && let Some(held) = self.held.take()
        {
            for (id, command) in held {
                self.command(now, id, command);
            }
        }
    }

    pub(super) fn owner_loaded(&mut self, now: Now, incoming: Incoming, records: Vec<Record>) {
        let queue = records.into_iter().next();
        let queue = queue.and_then(|record| record::from_bytes::<QueueRecord>(&record.value).ok());
        if let Some(queue) = queue {
            let (router, id) = (&incoming.router, &incoming.recipient_id);
            self.shared.index.insert(router, id, &queue.connection);
            self.with(now, &queue.connection, Work::Deliver(incoming));
        }
    }

    pub(super) fn connection_loaded(&mut self, now: Now, id: ConnectionId, records: Vec<Record>) {
        let Some(Entry::Loading(waiting)) = self.connections.remove(&id) else {
            return;
        };
        match Connection::load(id.clone(), records) {
            Ok(Some(connection)) => {
                let bytes = connection.outgoing.bytes();
                self.shared.outgoing_bytes = self.shared.outgoing_bytes.saturating_add(bytes);
                let entry = Entry::Ready(Box::new(connection));
                self.connections.insert(id.clone(), entry);
                for work in waiting {
                    self.with(now, &id, work);
                }
            }
            Ok(None) => {
                for work in waiting {
                    // The first of several may have made it.
                    match self.connections.contains_key(&id) {
                        true => self.with(now, &id, work),
                        false => self.without_connection(now, &id, work),
                    }
                }
            }
            Err(_) => {
                let error = AgentError::internal("a record cannot be read");
                for work in waiting {
                    if let Work::Command(command, _) = work {
                        let reply = Action::Reply(command, Err(error.clone()));
                        self.actions.push(reply);
                    }
                }
                self.tell(Some(id), EventContent::Error { error });
            }
        }
    }
}
