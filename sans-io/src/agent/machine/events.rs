//! Events that the application has not confirmed: only so many of those that a peer can provoke without end are kept.

use std::collections::{BTreeMap, BTreeSet};

use super::{Agent, Loading};
use crate::agent::event::{Event, EventContent};
use crate::agent::event_numbers::EventNumbers;
use crate::agent::id::{ConnectionId, EventId};
use crate::agent::store::record::{self, EventRecord};
use crate::agent::store::{Change, Key, Kind, OpId, Record};

use super::{Action, Shared};

/// Which events are kept, as far as that has to be known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct KeptEvents {
    numbers: EventNumbers,
    /// Those of each connection that its peer can provoke.
    provoked: BTreeMap<ConnectionId, BTreeSet<EventId>>,
    /// Whose they are.
    owners: BTreeMap<EventId, ConnectionId>,
}

impl KeptEvents {
    /// One more. The oldest of the connection, if there are too many.
    fn insert(&mut self, owner: &ConnectionId, event: EventId, most: usize) -> Option<EventId> {
        let of_owner = self.provoked.entry(owner.clone()).or_default();
        of_owner.insert(event);
        self.owners.insert(event, owner.clone());
        let oldest = of_owner.first().copied().filter(|_| of_owner.len() > most);
        oldest.inspect(|oldest| self.remove(*oldest))
    }

    fn remove(&mut self, event: EventId) {
        if let Some(owner) = self.owners.remove(&event)
            && let Some(of_owner) = self.provoked.get_mut(&owner)
        {
            of_owner.remove(&event);
            if of_owner.is_empty() {
                self.provoked.remove(&owner);
            }
        }
    }
}

impl Shared {
    /// An event, which is kept if it has to be confirmed.
    pub(in crate::agent) fn event(
        &mut self,
        connection: Option<ConnectionId>,
        content: EventContent,
        changes: &mut Vec<Change>,
    ) -> Event {
        if !content.is_kept() {
            return Event {
                id: None,
                connection,
                content,
            };
        }
        let (number, ahead) = self.kept.numbers.take(Key::event_numbers);
        let id = EventId(number);
        changes.extend(ahead);
        if let (Some(connection), true) = (&connection, content.is_provoked()) {
            let most = self.config.max_events;
            let oldest = self.kept.insert(connection, id, most);
            changes.extend(oldest.map(|oldest| Change::Delete(Key::event(oldest))));
        }
        let record = EventRecord {
            connection,
            content,
        };
        changes.push(Change::Put {
            key: Key::event(id),
            value: record::to_bytes(&record),
            expires: None,
        });
        Event {
            id: Some(id),
            connection: record.connection,
            content: record.content,
        }
    }
}

impl Agent {
    /// The application has dealt with an event.
    pub(super) fn confirmed(&mut self, event: EventId) {
        self.shared.kept.remove(event);
        let changes = vec![Change::Delete(Key::event(event))];
        self.commit(changes, Vec::new(), OpId(0));
    }

    /// What the application has not confirmed before is told again, in order.
    pub(super) fn events_loaded(&mut self, records: &[Record]) {
        for Record { key, value } in records {
            let kept = &mut self.shared.kept;
            if *key == Key::event_numbers() {
                kept.numbers.load(value);
                continue;
            }
            let id = key.id.split_first_chunk();
            let Some(id) = id.map(|(id, _)| EventId(u64::from_be_bytes(*id))) else {
                continue;
            };
            kept.numbers.used(id.0);
            if let Ok(EventRecord {
                connection,
                content,
            }) = record::from_bytes(value)
            {
                if let (Some(connection), true) = (&connection, content.is_provoked()) {
                    kept.insert(connection, id, usize::MAX);
                }
                self.actions.push(Action::Event(Event {
                    id: Some(id),
                    connection,
                    content,
                }));
            }
        }
        if !self.load_next(Kind::Event, records, Loading::Events) {
            self.load_page(Kind::Statistics, None, Loading::Statistics);
        }
    }
}
