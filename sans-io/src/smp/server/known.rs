//! The keys of the queues that a session used last: a message that is sent or acknowledged need not ask for them first.
//!
//! They may be out of date. Who is authorised by them is asked for the key that did it when the command is executed, and who is not is
//! looked up after all.

use std::collections::VecDeque;
use std::sync::Arc;

use super::verify::{Lookup, QueueKeys};

/// Most sessions use a few queues at a time.
const CAPACITY: usize = 8;

/// The keys that were used last, in the order of their use.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Known(VecDeque<(Lookup, Arc<QueueKeys>)>);

impl Known {
    /// The keys of a queue, which is used now.
    pub(super) fn get(&mut self, lookup: &Lookup) -> Option<Arc<QueueKeys>> {
        let index = self.0.iter().position(|(known, _)| known == lookup)?;
        let entry = self.0.remove(index)?;
        let keys = Arc::clone(&entry.1);
        self.0.push_back(entry);
        Some(keys)
    }

    /// A queue was looked up, and has authorised something or not.
    pub(super) fn found(
        &mut self,
        lookup: Lookup,
        found: Option<&Arc<QueueKeys>>,
        has_authorized: bool,
    ) {
        let is_known = self.0.iter().any(|(known, _)| *known == lookup);
        match found {
            Some(keys) if is_known || has_authorized => self.learn(lookup, Arc::clone(keys)),
            Some(_) => {}
            None => self.0.retain(|(known, _)| *known != lookup),
        }
    }

    /// Remembers the keys of a queue in the place of those that were known before.
    fn learn(&mut self, lookup: Lookup, keys: Arc<QueueKeys>) {
        self.0.retain(|(known, _)| *known != lookup);
        if self.0.len() >= CAPACITY {
            self.0.pop_front();
        }
        self.0.push_back((lookup, keys));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smp::server::Party;
    use crate::wire::EntityId;

    #[test]
    fn the_queue_that_was_not_used_for_longest_makes_room() {
        let lookup = |id| Lookup {
            party: Party::Sender,
            id: EntityId::from([id; 24]),
        };
        let keys = |version| {
            Arc::new(QueueKeys {
                version,
                recipients: Vec::new(),
                sender: None,
                notifier: None,
                mode: None,
            })
        };
        let mut known = Known::default();
        for id in 0..8 {
            known.learn(lookup(id), keys(u64::from(id)));
        }
        known.learn(lookup(0), keys(100));
        known.get(&lookup(1)).unwrap();
        known.learn(lookup(8), keys(8));
        let mut version = |id| known.get(&lookup(id)).map(|keys| keys.version);
        assert_eq!(version(2), None);
        assert_eq!(version(0), Some(100));
        assert_eq!(version(1), Some(1));
        assert_eq!(version(8), Some(8));
    }
}
