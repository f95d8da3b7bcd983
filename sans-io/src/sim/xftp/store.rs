//! A store in memory, as a model of every other.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::wire::EntityId;
use crate::xftp::router::store::{
    Adjustment, Change, Content, FileRecord, Load, Loaded, LoadedFile, Party, Recipient, Totals,
};

/// The files of a router.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Store {
    files: BTreeMap<EntityId, (FileRecord, BTreeMap<EntityId, Recipient>)>,
    senders: BTreeMap<EntityId, EntityId>,
    totals: Totals,
    statistics: Option<Bytes>,
}

impl Store {
    /// Stores the changes of a commit.
    pub fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::PutFile(record) => {
                    let entry = self.files.entry(record.sender_id.clone());
                    let (stored, _) = entry.or_insert_with(|| ((*record).clone(), BTreeMap::new()));
                    *stored = *record;
                }
                Change::PutRecipient {
                    sender_id,
                    recipient,
                } => {
                    self.senders.insert(recipient.id.clone(), sender_id.clone());
                    if let Some((_, recipients)) = self.files.get_mut(&sender_id) {
                        recipients.insert(recipient.id.clone(), recipient);
                    }
                }
                Change::DeleteRecipient {
                    sender_id,
                    recipient_id,
                } => {
                    self.senders.remove(&recipient_id);
                    if let Some((_, recipients)) = self.files.get_mut(&sender_id) {
                        recipients.remove(&recipient_id);
                    }
                }
                Change::DeleteFile(record) => {
                    if let Some((_, recipients)) = self.files.remove(&record.sender_id) {
                        for id in recipients.into_keys() {
                            self.senders.remove(&id);
                        }
                    }
                }
                Change::Adjust(by) => self.totals = self.totals.adjusted(by),
                Change::PutStatistics(statistics) => self.statistics = Some(statistics),
            }
        }
    }

    /// Answers a load.
    #[must_use]
    pub fn load(&self, load: &Load) -> Loaded {
        match load {
            Load::File(Party::Sender, id) => Loaded::File(self.file(id, None)),
            Load::File(Party::Recipient, id) => {
                let sender = self.senders.get(id);
                Loaded::File(sender.and_then(|sender| self.file(sender, Some(id))))
            }
            Load::Expired { before, limit } => {
                let records = self.files.values().map(|(record, _)| record);
                let mut expired: Vec<_> = records
                    .filter(|record| record.created_at < *before)
                    .map(|record| (record.created_at, record.sender_id.clone()))
                    .collect();
                expired.sort();
                expired.truncate(*limit);
                Loaded::Ids(expired.into_iter().map(|(_, id)| id).collect())
            }
            Load::Totals => Loaded::Totals(self.totals, self.statistics.clone()),
        }
    }

    fn file(&self, id: &EntityId, recipient: Option<&EntityId>) -> Option<Box<LoadedFile>> {
        let (record, recipients) = self.files.get(id)?;
        let recipient = recipient.and_then(|id| recipients.get(id));
        Some(Box::new(LoadedFile {
            record: record.clone(),
            recipients: u64::try_from(recipients.len()).unwrap_or(u64::MAX),
            recipient_key: recipient.map(|recipient| recipient.key),
        }))
    }

    /// The files.
    pub fn records(&self) -> impl Iterator<Item = &FileRecord> {
        self.files.values().map(|(record, _)| record)
    }

    /// The recipients of all files.
    pub fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.files.values().flat_map(|(_, of)| of.values())
    }

    /// The totals that are stored.
    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// The totals that follow from the records.
    #[must_use]
    pub fn counted(&self) -> Totals {
        let mut totals = Totals::default();
        for (record, recipients) in self.files.values() {
            let chunk = record.content != Content::Absent;
            totals = totals.adjusted(Adjustment {
                files: 1,
                recipients: i64::try_from(recipients.len()).unwrap_or(i64::MAX),
                chunks: i64::from(chunk),
                used: if chunk { record.size.into() } else { 0 },
            });
        }
        totals
    }
}
