//! What has waited too long.
//!
//! The index has one entry for every queue and notifier that has seen something wait: since when, at the earliest. Taking away what
//! waits leaves the entry alone, so that a queue at work does not touch the index; the entry is put right when a search comes across it,
//! once in the lifetime of a message. A search begins at the oldest entry and not at the entries that were removed before it.

use simplex_sans_io::wire::EntityId;

use super::table::{Table, Waiting};
use super::transaction::PositionRecord;
use super::{Records, StoreError};
use crate::store::engine::Engine;

/// What a search has found out about an entry of the index.
enum Finding {
    /// The first of what waits is from the time of the entry.
    Right,
    /// It is newer.
    Newer(PositionRecord, i64),
    /// Nothing waits.
    Empty,
    /// Another entry stands for it.
    Stale,
}

impl<E: Engine<Table>> Records<E> {
    /// The ids of those for whom something waits from before a time, oldest first.
    pub(super) fn expired(
        &mut self,
        waiting: Waiting,
        before: i64,
        limit: usize,
    ) -> Result<Vec<EntityId>, StoreError> {
        let [messages, notifications] = self.oldest;
        let from = match waiting {
            Waiting::Messages => messages,
            Waiting::Notifications => notifications,
        };
        let (from, end) = (waiting.since(from, &[]), waiting.since(before, &[]));
        let mut found = Vec::new();
        let mut corrections = Vec::new();
        let mut oldest = before;
        for entry in self.engine.scan(Table::Index, &from, &end) {
            let (key, _) = entry?;
            let Some((since, id)) = Waiting::parse_since(&key) else {
                continue;
            };
            if found.len() >= limit {
                oldest = oldest.min(since);
                break;
            }
            let finding = match self.examine(waiting, since, id) {
                Err(error @ StoreError::DamagedRecord { .. }) => {
                    tracing::error!(%error, "what waits cannot be read");
                    oldest = oldest.min(since);
                    continue;
                }
                finding => finding?,
            };
            let time = match finding {
                Finding::Right => Some(since),
                Finding::Newer(_, time) => Some(time),
                Finding::Empty | Finding::Stale => None,
            };
            if let Some(time) = time.filter(|time| *time < before)
                && let Ok(id) = EntityId::try_from(id)
            {
                oldest = oldest.min(time);
                found.push((time, id));
            }
            if !matches!(finding, Finding::Right) {
                corrections.push((since, id.to_vec(), finding));
            }
        }
        self.correct(waiting, corrections)?;
        let [messages, notifications] = &mut self.oldest;
        *match waiting {
            Waiting::Messages => messages,
            Waiting::Notifications => notifications,
        } = oldest;
        found.sort();
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }

    fn examine(&self, waiting: Waiting, since: i64, id: &[u8]) -> Result<Finding, StoreError> {
        let record = self.position(waiting, id)?;
        if record.since != Some(since) {
            return Ok(Finding::Stale);
        }
        if record.is_empty() {
            return Ok(Finding::Empty);
        }
        let time = match waiting {
            Waiting::Messages => Some(self.message(id, record.position.head)?.time),
            Waiting::Notifications => {
                let first = self.notifications(id, record.position).next().transpose()?;
                first.map(|(_, notification)| notification.time)
            }
        };
        let Some(time) = time else {
            return Ok(Finding::Empty);
        };
        Ok(if time > since {
            Finding::Newer(record, time)
        } else {
            Finding::Right
        })
    }

    fn correct(
        &mut self,
        waiting: Waiting,
        corrections: Vec<(i64, Vec<u8>, Finding)>,
    ) -> Result<(), StoreError> {
        if corrections.is_empty() {
            return Ok(());
        }
        self.write(|transaction| {
            for (since, id, finding) in corrections {
                match finding {
                    Finding::Right => {}
                    Finding::Newer(record, time) => {
                        transaction.move_in_index(waiting, &id, record, time);
                    }
                    Finding::Empty => transaction.leave_index(waiting, &id)?,
                    Finding::Stale => {
                        transaction.remove(Table::Index, waiting.since(since, &id));
                    }
                }
            }
            Ok(())
        })
    }
}
