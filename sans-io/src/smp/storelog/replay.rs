//! What the lines of a store log do to a queue.

use crate::smp::router::store::{NotifierRecord, QueueRecord, QueueStatus, Suspended};

use super::record::{LogRecord, Subscriber};

/// Why a line changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The queue that it is about is not there.
    #[error("the queue does not exist")]
    NoQueue,
    /// The queue that it creates is there already.
    #[error("the queue exists already")]
    Exists,
    /// The queue has another key.
    #[error("the queue is secured with another key")]
    Secured,
    /// The queue has another link, or one with other data that cannot change.
    #[error("the queue has another link")]
    OtherLink,
    /// The queue has no notifier.
    #[error("the queue has no notifier")]
    NoNotifier,
    /// An id belongs to another queue.
    #[error("an id of the queue belongs to another one")]
    Taken,
    /// A service is not known.
    #[error("the service is not known")]
    NoService,
    /// A message is larger than what can be delivered.
    #[error("the message is too large to be delivered")]
    TooLarge,
}

/// The queue after a line, from the queue before it. A line about a service changes no queue.
///
/// Whether ids are taken, and services known, is for the caller to see.
pub fn replay(
    before: Option<&QueueRecord>,
    record: LogRecord,
) -> Result<Option<QueueRecord>, Refusal> {
    if let LogRecord::CreateQueue(queue) = record {
        return match before {
            None => Ok(Some(*queue)),
            Some(_) => Err(Refusal::Exists),
        };
    }
    let mut queue = before.ok_or(Refusal::NoQueue)?.clone();
    match record {
        LogRecord::CreateQueue(_) | LogRecord::NewService(_) => {}
        LogRecord::CreateLink { link, .. } => {
            let is_other = queue
                .link
                .as_ref()
                .is_some_and(|known| known.id != link.id || known.data.fixed != link.data.fixed);
            if is_other {
                return Err(Refusal::OtherLink);
            }
            queue.link = Some(Box::new(link));
        }
        LogRecord::DeleteLink { .. } => queue.link = None,
        LogRecord::SecureQueue { key, .. } => {
            if queue.sender_key.is_some_and(|known| known != key) {
                return Err(Refusal::Secured);
            }
            queue.sender_key = Some(key);
        }
        LogRecord::UpdateKeys { keys, .. } => queue.recipient_keys = keys,
        LogRecord::AddNotifier { notifier, .. } => queue.notifier = Some(Box::new(notifier)),
        LogRecord::SuspendQueue { .. } => queue.status = suspended(queue.status),
        LogRecord::BlockQueue { info, .. } => {
            let suspended = match queue.status {
                QueueStatus::Active => Suspended::No,
                QueueStatus::Off => Suspended::Yes,
                QueueStatus::Blocked { suspended, .. } => suspended,
            };
            queue.status = QueueStatus::Blocked { info, suspended };
        }
        LogRecord::UnblockQueue { .. } => queue.status = unblocked(queue.status),
        LogRecord::DeleteQueue { .. } => return Ok(None),
        LogRecord::DeleteNotifier { .. } => queue.notifier = None,
        LogRecord::UpdateTime { day, .. } => queue.updated_at = Some(day),
        LogRecord::QueueService {
            subscriber: Subscriber::Recipient,
            service_id,
            ..
        } => queue.service_id = service_id,
        LogRecord::QueueService {
            subscriber: Subscriber::Notifier,
            service_id,
            ..
        } => {
            let notifier = queue.notifier.ok_or(Refusal::NoNotifier)?;
            queue.notifier = Some(Box::new(NotifierRecord {
                service_id,
                ..*notifier
            }));
        }
    }
    Ok(Some(queue))
}

/// What the operator has blocked stays blocked.
const fn suspended(status: QueueStatus) -> QueueStatus {
    match status {
        QueueStatus::Active | QueueStatus::Off => QueueStatus::Off,
        QueueStatus::Blocked { info, .. } => QueueStatus::Blocked {
            info,
            suspended: Suspended::Yes,
        },
    }
}

/// What the recipient has suspended stays suspended.
const fn unblocked(status: QueueStatus) -> QueueStatus {
    match status {
        QueueStatus::Active
        | QueueStatus::Blocked {
            suspended: Suspended::No,
            ..
        } => QueueStatus::Active,
        QueueStatus::Off
        | QueueStatus::Blocked {
            suspended: Suspended::Yes,
            ..
        } => QueueStatus::Off,
    }
}

impl LogRecord {
    /// The queue that the line is about, if it is about one.
    #[must_use]
    pub const fn recipient_id(&self) -> Option<&crate::wire::EntityId> {
        match self {
            Self::CreateQueue(queue) => Some(&queue.recipient_id),
            Self::NewService(_) => None,
            Self::CreateLink { recipient_id, .. }
            | Self::DeleteLink { recipient_id }
            | Self::SecureQueue { recipient_id, .. }
            | Self::UpdateKeys { recipient_id, .. }
            | Self::AddNotifier { recipient_id, .. }
            | Self::SuspendQueue { recipient_id }
            | Self::BlockQueue { recipient_id, .. }
            | Self::UnblockQueue { recipient_id }
            | Self::DeleteQueue { recipient_id }
            | Self::DeleteNotifier { recipient_id }
            | Self::UpdateTime { recipient_id, .. }
            | Self::QueueService { recipient_id, .. } => Some(recipient_id),
        }
    }
}
