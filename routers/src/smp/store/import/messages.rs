//! Messages and notifications, from their logs.

use std::collections::BTreeMap;
use std::path::Path;

use simplex_sans_io::smp::body::MAX_DELIVERED;
use simplex_sans_io::smp::router::store::{
    Change, Load, Loaded, MessageContent, MessageRecord, NotificationRecord, Position,
};
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::smp::storelog::{Refusal, parse_message_line, parse_notification};
use simplex_sans_io::wire::EntityId;

use super::lines::{LastLine, Lines};
use super::{Import, ImportError};

/// Reads a log of messages, line by line.
pub(super) fn import_messages(import: &mut Import<'_>, path: &Path) -> Result<(), ImportError> {
    let mut batch = MessageBatch::default();
    read(import, path, |import, step| match step {
        Step::Line(number, line) => {
            match parse_message_line(line) {
                Err(error) => import.problem(path, Some(number), &error),
                Ok(line) => {
                    if let Err(refusal) = batch.put(import, &line.recipient_id, line.message)? {
                        import.problem(path, Some(number), &refusal);
                    }
                }
            }
            Ok(batch.is_full(import))
        }
        Step::Store => {
            let changes = batch.take();
            import.commit(changes).map(|()| false)
        }
    })
}

/// Reads a log of notifications, line by line.
pub(super) fn import_notifications(
    import: &mut Import<'_>,
    path: &Path,
) -> Result<(), ImportError> {
    let mut batch = NotificationBatch::default();
    read(import, path, |import, step| match step {
        Step::Line(number, line) => {
            match parse_notification(line) {
                Err(error) => import.problem(path, Some(number), &error),
                Ok(line) => {
                    let put = batch.put(import, line.notifier_id, line.notification)?;
                    if let Err(refusal) = put {
                        import.problem(path, Some(number), &refusal);
                    }
                }
            }
            Ok(batch.changes.len() >= import.limits.notifications)
        }
        Step::Store => {
            let batch = std::mem::take(&mut batch);
            import.commit(batch.changes).map(|()| false)
        }
    })
}

/// What is to be done while a log is read.
enum Step<'a> {
    /// Take a line; the answer is whether to store now.
    Line(u64, &'a str),
    /// Store what was taken, and where that was.
    Store,
}

fn read(
    import: &mut Import<'_>,
    path: &Path,
    mut work: impl FnMut(&mut Import<'_>, Step<'_>) -> Result<bool, ImportError>,
) -> Result<(), ImportError> {
    let (offset, number) = (import.progress.offset, import.progress.lines);
    let mut lines = Lines::open(path, offset, number, LastLine::Counts)?;
    loop {
        let line = lines.next().map_err(ImportError::io(path))?;
        let is_over = line.is_none();
        let line = line.map(|line| line.map(str::to_owned));
        let number = lines.number();
        let is_full = match line {
            None => true,
            Some(line) => {
                import.progress.summary.lines = import.progress.summary.lines.saturating_add(1);
                match line {
                    Err(unreadable) => {
                        import.problem(path, Some(number), &unreadable);
                        false
                    }
                    Ok(line) if line.trim().is_empty() => false,
                    Ok(line) => work(import, Step::Line(number, &line))?,
                }
            }
        };
        if is_full {
            import.progress.offset = lines.offset();
            import.progress.lines = number;
            work(import, Step::Store)?;
            import.progressed(path, &lines);
        }
        if is_over {
            return Ok(());
        }
    }
}

/// Messages that are stored together.
#[derive(Default)]
pub(super) struct MessageBatch {
    /// Where the next message of a queue goes; `None` if there is no such queue.
    queues: BTreeMap<EntityId, Option<Position>>,
    changes: Vec<Change>,
    bytes: usize,
}

impl MessageBatch {
    pub(super) const fn is_full(&self, import: &Import<'_>) -> bool {
        self.bytes >= import.limits.bytes
    }

    pub(super) fn take(&mut self) -> Vec<Change> {
        std::mem::take(self).changes
    }

    /// Puts a message at the end of its queue. Of several marks that the queue was full, one after the other, one is enough.
    pub(super) fn put(
        &mut self,
        import: &mut Import<'_>,
        queue: &EntityId,
        message: MessageRecord,
    ) -> Result<Result<(), Refusal>, ImportError> {
        let before = match self.queues.get(queue) {
            Some(position) => *position,
            None => {
                let load = Load::Queue(Party::Recipient, queue.clone());
                let loaded = import.store.load(&load)?;
                let position = if let Loaded::Queue(Some(loaded)) = loaded {
                    Some(loaded.position)
                } else {
                    None
                };
                self.queues.insert(queue.clone(), position);
                position
            }
        };
        let Some(before) = before else {
            return Ok(Err(Refusal::NoQueue));
        };
        if let MessageContent::Sent { body, .. } = &message.content
            && body.len() > MAX_DELIVERED
        {
            return Ok(Err(Refusal::TooLarge));
        }
        let (full, bytes) = match &message.content {
            MessageContent::Quota if before.full => return Ok(Ok(())),
            MessageContent::Quota => (true, 0),
            MessageContent::Sent { body, .. } => (false, body.len()),
        };
        let position = Position {
            head: before.head,
            tail: before.tail.saturating_add(1),
            full,
        };
        self.queues.insert(queue.clone(), Some(position));
        self.bytes = self.bytes.saturating_add(bytes).saturating_add(200);
        self.changes.push(Change::PutMessage {
            queue: queue.clone(),
            sequence: before.tail,
            message,
            position,
        });
        let messages = &mut import.progress.summary.messages;
        *messages = messages.saturating_add(1);
        Ok(Ok(()))
    }
}

#[derive(Default)]
struct NotificationBatch {
    /// The last place of a notifier; `None` if there is no such notifier.
    notifiers: BTreeMap<EntityId, Option<u64>>,
    changes: Vec<Change>,
}

impl NotificationBatch {
    /// Places of notifications are the microseconds of their times.
    fn put(
        &mut self,
        import: &mut Import<'_>,
        notifier: EntityId,
        notification: NotificationRecord,
    ) -> Result<Result<(), Refusal>, ImportError> {
        let last = match self.notifiers.get(&notifier) {
            Some(last) => *last,
            None => last_place(import, &notifier)?,
        };
        let Some(last) = last else {
            self.notifiers.insert(notifier, None);
            return Ok(Err(Refusal::NoNotifier));
        };
        let micros = u64::try_from(notification.time).unwrap_or(0);
        let micros = micros.saturating_mul(1_000_000);
        let sequence = micros.max(last.saturating_add(1));
        self.notifiers.insert(notifier.clone(), Some(sequence));
        self.changes.push(Change::PutNotification {
            notifier,
            sequence,
            notification,
        });
        let notifications = &mut import.progress.summary.notifications;
        *notifications = notifications.saturating_add(1);
        Ok(Ok(()))
    }
}

fn last_place(import: &mut Import<'_>, notifier: &EntityId) -> Result<Option<u64>, ImportError> {
    let load = Load::Queue(Party::Notifier, notifier.clone());
    if import.store.load(&load)? == Loaded::Queue(None) {
        return Ok(None);
    }
    let known = import.store.load(&Load::Notifications(notifier.clone()))?;
    let Loaded::Notifications(known) = known else {
        return Ok(Some(0));
    };
    Ok(Some(known.last().map_or(0, |(place, _)| *place)))
}
