//! Queues and services, from a store log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use simplex_sans_io::crypto::IdsHash;
use simplex_sans_io::smp::router::store::{Change, Load, Loaded, Position, QueueRecord};
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::smp::storelog::{LogRecord, Refusal, parse_record, replay};
use simplex_sans_io::wire::EntityId;

use super::lines::{LastLine, Lines};
use super::{Import, ImportError};

/// Reads a log, line by line.
pub(super) fn import(import: &mut Import<'_>, path: &Path) -> Result<(), ImportError> {
    let (offset, number) = (import.progress.offset, import.progress.lines);
    let mut lines = Lines::open(path, offset, number, LastLine::Counts)?;
    let services = import.store.services()?.into_iter();
    let mut batch = Batch {
        services: services.map(|service| service.id).collect(),
        ..Batch::default()
    };
    loop {
        let line = match lines.next().map_err(ImportError::io(path))? {
            None => break,
            Some(line) => line.map(str::to_owned),
        };
        let number = Some(lines.number());
        import.progress.summary.lines = import.progress.summary.lines.saturating_add(1);
        match line {
            Err(unreadable) => import.problem(path, number, &unreadable),
            Ok(line) if line.trim().is_empty() => {}
            Ok(line) => match parse_record(&line) {
                Err(error) => import.problem(path, number, &error),
                Ok((record, remarks)) => {
                    for remark in remarks {
                        import.problem(path, number, &remark);
                    }
                    if let Err(refusal) = batch.apply(import, record)? {
                        import.problem(path, number, &refusal);
                    }
                }
            },
        }
        if batch.size() >= import.limits.queues {
            batch.store(import, &lines)?;
            import.progressed(path, &lines);
        }
    }
    batch.store(import, &lines)?;
    import.progressed(path, &lines);
    Ok(())
}

/// What lines have done since queues were stored last.
#[derive(Default)]
struct Batch {
    queues: BTreeMap<EntityId, Touched>,
    /// Ids that were given and taken away, and whose they are.
    ids: BTreeMap<(Party, EntityId), Option<EntityId>>,
    services: BTreeSet<EntityId>,
    changes: Vec<Change>,
}

struct Touched {
    before: Option<QueueRecord>,
    now: Option<QueueRecord>,
}

impl Batch {
    fn size(&self) -> usize {
        self.queues.len().saturating_add(self.changes.len())
    }

    fn apply(
        &mut self,
        import: &mut Import<'_>,
        record: LogRecord,
    ) -> Result<Result<(), Refusal>, ImportError> {
        if let LogRecord::NewService(service) = record {
            if !self.services.insert(service.id.clone()) {
                return Ok(Err(Refusal::Exists));
            }
            let services = &mut import.progress.summary.services;
            *services = services.saturating_add(1);
            self.changes.push(Change::PutService(service));
            return Ok(Ok(()));
        }
        if let LogRecord::QueueService {
            service_id: Some(service_id),
            ..
        } = &record
            && !self.services.contains(service_id)
        {
            return Ok(Err(Refusal::NoService));
        }
        let Some(recipient_id) = record.recipient_id().cloned() else {
            return Ok(Ok(()));
        };
        let before = self.queue(import, &recipient_id)?;
        let mut now = match replay(before.as_ref(), record) {
            Ok(now) => now,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let unknown = now
            .as_mut()
            .and_then(|now| self.without_unknown_services(now));
        let ids_of = |queue: &Option<QueueRecord>| -> BTreeSet<(Party, EntityId)> {
            let ids = queue.iter().flat_map(QueueRecord::ids);
            ids.map(|(party, id)| (party, id.clone())).collect()
        };
        let (old, new) = (ids_of(&before), ids_of(&now));
        for (party, id) in new.difference(&old) {
            if self
                .owner(import, *party, id)?
                .is_some_and(|owner| owner != recipient_id)
            {
                return Ok(Err(Refusal::Taken));
            }
        }
        let gone = old.difference(&new).map(|id| (id.clone(), None));
        let given = new
            .difference(&old)
            .map(|id| (id.clone(), Some(recipient_id.clone())));
        self.ids.extend(gone.chain(given));
        let queues = &mut import.progress.summary.queues;
        *queues = match (&before, &now) {
            (None, Some(_)) => queues.saturating_add(1),
            (Some(_), None) => queues.saturating_sub(1),
            (None, None) | (Some(_), Some(_)) => *queues,
        };
        match self.queues.get_mut(&recipient_id) {
            Some(touched) => touched.now = now,
            None => {
                self.queues.insert(recipient_id, Touched { before, now });
            }
        }
        Ok(unknown.map_or(Ok(()), Err))
    }

    /// A queue cannot be associated with a service that nobody knows.
    fn without_unknown_services(&self, queue: &mut QueueRecord) -> Option<Refusal> {
        let mut unknown = None;
        let messaging = &mut queue.service_id;
        let notifier = queue.notifier.as_mut();
        let notifier = notifier.map(|notifier| &mut notifier.service_id);
        for service_id in std::iter::once(messaging).chain(notifier) {
            if service_id
                .as_ref()
                .is_some_and(|id| !self.services.contains(id))
            {
                *service_id = None;
                unknown = Some(Refusal::NoService);
            }
        }
        unknown
    }

    fn queue(
        &self,
        import: &mut Import<'_>,
        recipient_id: &EntityId,
    ) -> Result<Option<QueueRecord>, ImportError> {
        if let Some(touched) = self.queues.get(recipient_id) {
            return Ok(touched.now.clone());
        }
        load(import, Party::Recipient, recipient_id)
    }

    /// The queue that has an id.
    fn owner(
        &self,
        import: &mut Import<'_>,
        party: Party,
        id: &EntityId,
    ) -> Result<Option<EntityId>, ImportError> {
        match self.ids.get(&(party, id.clone())) {
            Some(owner) => Ok(owner.clone()),
            None => Ok(load(import, party, id)?.map(|queue| queue.recipient_id)),
        }
    }

    fn store(&mut self, import: &mut Import<'_>, lines: &Lines) -> Result<(), ImportError> {
        let mut changes = std::mem::take(&mut self.changes);
        let mut totals = BTreeMap::<EntityId, (i64, IdsHash)>::new();
        // What is deleted first gives its ids to what is created.
        let queues = std::mem::take(&mut self.queues);
        let (kept, deleted): (Vec<_>, Vec<_>) = queues
            .into_values()
            .partition(|touched| touched.now.is_some());
        for Touched { before, now } in deleted.into_iter().chain(kept) {
            for (queue, difference) in [(&before, -1), (&now, 1)] {
                for (service, id) in queue.iter().flat_map(associations) {
                    let (count, hash) = totals.entry(service.clone()).or_default();
                    *count = count.saturating_add(difference);
                    hash.add(id);
                }
            }
            match (before, now) {
                (before, Some(now)) => {
                    let ids = before.iter().flat_map(QueueRecord::ids);
                    let gone = ids.filter(|id| !now.ids().any(|new| new == *id));
                    let removed = gone.map(|(party, id)| (party, id.clone())).collect();
                    let queue = Box::new(now);
                    changes.push(Change::PutQueue { queue, removed });
                }
                (Some(before), None) => changes.push(Change::DeleteQueue {
                    queue: Box::new(before),
                    position: Position::default(),
                }),
                (None, None) => {}
            }
        }
        let adjusted = totals
            .into_iter()
            .filter(|(_, totals)| *totals != (0, IdsHash::EMPTY));
        changes.extend(
            adjusted.map(|(service, (count, ids_hash))| Change::AdjustServiceTotals {
                service,
                count,
                ids_hash,
            }),
        );
        self.ids.clear();
        import.progress.offset = lines.offset();
        import.progress.lines = lines.number();
        import.commit(changes)
    }
}

/// The services of a queue, and the ids by which they know it.
fn associations(queue: &QueueRecord) -> impl Iterator<Item = (&EntityId, &EntityId)> {
    let messaging = queue.service_id.as_ref();
    let messaging = messaging.map(|service| (service, &queue.recipient_id));
    let notifier = queue.notifier.as_ref();
    let notifier =
        notifier.and_then(|notifier| Some((notifier.service_id.as_ref()?, &notifier.id)));
    messaging.into_iter().chain(notifier)
}

fn load(
    import: &mut Import<'_>,
    party: Party,
    id: &EntityId,
) -> Result<Option<QueueRecord>, ImportError> {
    let loaded = import.store.load(&Load::Queue(party, id.clone()))?;
    let Loaded::Queue(queue) = loaded else {
        return Ok(None);
    };
    Ok(queue.map(|queue| queue.record))
}
