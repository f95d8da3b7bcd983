//! The lines of a store log.

use std::fmt;

use bytes::Bytes;

use crate::crypto::AuthPublicKey;
use crate::crypto::certificate::Fingerprint;
use crate::smp::BlockingInfo;
use crate::smp::handshake::ServiceRole;
use crate::smp::router::store::{
    LinkRecord, NotifierRecord, QueueRecord, QueueStatus, ServiceRecord, Suspended,
};
use crate::wire::text::{base64url, base64url_list, parse_base64url_field, parse_base64url_list};
use crate::wire::{EntityId, Large, NonEmpty, Version, decode_slice};

use super::fields::{Words, id, key, key_text, keys, keys_text, number};
use super::{LineError, Remark, create};

/// What a line of a store log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogRecord {
    /// A queue was created, or is what it is now.
    CreateQueue(Box<QueueRecord>),
    /// A queue has a link, or the link has other data.
    CreateLink {
        /// The queue.
        recipient_id: EntityId,
        /// The link.
        link: LinkRecord,
    },
    /// A queue has no link.
    DeleteLink {
        /// The queue.
        recipient_id: EntityId,
    },
    /// The sender's key is known.
    SecureQueue {
        /// The queue.
        recipient_id: EntityId,
        /// The key.
        key: AuthPublicKey,
    },
    /// The recipients have other keys.
    UpdateKeys {
        /// The queue.
        recipient_id: EntityId,
        /// The keys.
        keys: Vec<AuthPublicKey>,
    },
    /// Somebody is told of messages.
    AddNotifier {
        /// The queue.
        recipient_id: EntityId,
        /// Who.
        notifier: NotifierRecord,
    },
    /// The recipient has suspended the queue.
    SuspendQueue {
        /// The queue.
        recipient_id: EntityId,
    },
    /// The operator has blocked the queue.
    BlockQueue {
        /// The queue.
        recipient_id: EntityId,
        /// Why.
        info: BlockingInfo,
    },
    /// The operator has unblocked the queue.
    UnblockQueue {
        /// The queue.
        recipient_id: EntityId,
    },
    /// The queue is gone.
    DeleteQueue {
        /// The queue.
        recipient_id: EntityId,
    },
    /// Nobody is told of messages.
    DeleteNotifier {
        /// The queue.
        recipient_id: EntityId,
    },
    /// The queue was used.
    UpdateTime {
        /// The queue.
        recipient_id: EntityId,
        /// The day, in seconds since the Unix epoch.
        day: i64,
    },
    /// A service has introduced itself.
    NewService(Box<ServiceRecord>),
    /// A queue is associated with a service, or with none.
    QueueService {
        /// The queue.
        recipient_id: EntityId,
        /// What the service receives.
        subscriber: Subscriber,
        /// The service.
        service_id: Option<EntityId>,
    },
}

/// What a service receives of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscriber {
    /// Messages.
    Recipient,
    /// Notifications.
    Notifier,
}

/// Reads a line of a store log, without its end.
pub fn parse_record(line: &str) -> Result<(LogRecord, Vec<Remark>), LineError> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut words = Words::new(line);
    let tag = words.any("record")?;
    if tag == "CREATE" {
        let (queue, remarks) = create::parse(words)?;
        return Ok((LogRecord::CreateQueue(Box::new(queue)), remarks));
    }
    if tag == "NEW_SERVICE" {
        let service = service(words)?;
        return Ok((LogRecord::NewService(Box::new(service)), Vec::new()));
    }
    let with_queue = [
        "LINK",
        "LDELETE",
        "SECURE",
        "KEYS",
        "NOTIFIER",
        "SUSPEND",
        "BLOCK",
        "UNBLOCK",
        "DELETE",
        "NDELETE",
        "TIME",
        "QUEUE_SERVICE",
    ];
    if !with_queue.contains(&tag) {
        return Err(LineError::Record);
    }
    let recipient_id = id("recipient id", words.word("recipient id")?)?;
    let record = of_queue(tag, recipient_id, &mut words)?;
    words.end()?;
    Ok((record, Vec::new()))
}

fn of_queue(
    tag: &str,
    recipient_id: EntityId,
    words: &mut Words<'_>,
) -> Result<LogRecord, LineError> {
    Ok(match tag {
        "LINK" => {
            let link_id = words.word("link id")?;
            let data = (words.any("fixed data")?, words.any("user data")?);
            LogRecord::CreateLink {
                recipient_id,
                link: create::link(link_id, data)?,
            }
        }
        "LDELETE" => LogRecord::DeleteLink { recipient_id },
        "SECURE" => LogRecord::SecureQueue {
            recipient_id,
            key: key("key", words.word("key")?)?,
        },
        "KEYS" => LogRecord::UpdateKeys {
            recipient_id,
            keys: keys("keys", words.word("keys")?)?,
        },
        "NOTIFIER" => {
            let (notifier_id, key) = (words.word("notifier")?, words.word("key")?);
            let notifier = create::notifier(notifier_id, key, words.word("secret")?)?;
            let service_id = words.find(|word| !word.is_empty()).map(|word| {
                let service = word.strip_prefix("nsrv=").ok_or(LineError::Trailing)?;
                id("nsrv", service)
            });
            let service_id = service_id.transpose()?;
            LogRecord::AddNotifier {
                recipient_id,
                notifier: NotifierRecord {
                    service_id,
                    ..notifier
                },
            }
        }
        "SUSPEND" => LogRecord::SuspendQueue { recipient_id },
        "BLOCK" => {
            let info = words.rest().trim();
            words.go_on("");
            if info.is_empty() {
                return Err(LineError::Missing("reason"));
            }
            let info = decode_slice(Version(0), info.as_bytes());
            LogRecord::BlockQueue {
                recipient_id,
                info: info.map_err(|_| LineError::Invalid("reason"))?,
            }
        }
        "UNBLOCK" => LogRecord::UnblockQueue { recipient_id },
        "DELETE" => LogRecord::DeleteQueue { recipient_id },
        "NDELETE" => LogRecord::DeleteNotifier { recipient_id },
        "TIME" => LogRecord::UpdateTime {
            recipient_id,
            day: number("day", words.word("day")?)?,
        },
        "QUEUE_SERVICE" => LogRecord::QueueService {
            recipient_id,
            subscriber: match words.word("subscriber")? {
                "R" => Subscriber::Recipient,
                "N" => Subscriber::Notifier,
                _ => return Err(LineError::Invalid("subscriber")),
            },
            service_id: words
                .find(|word| !word.is_empty())
                .map(|word| id("service id", word))
                .transpose()?,
        },
        _ => return Err(LineError::Record),
    })
}

fn service(mut words: Words<'_>) -> Result<ServiceRecord, LineError> {
    let mut named = |name: &'static str| {
        let word = words.word(name)?;
        let value = word
            .strip_prefix(name)
            .and_then(|word| word.strip_prefix('='));
        value.ok_or(LineError::Missing(name))
    };
    let service_id = id("service_id", named("service_id")?)?;
    let role = match named("role")? {
        "M" => ServiceRole::Messaging,
        "N" => ServiceRole::Notifier,
        "P" => ServiceRole::Proxy,
        _ => return Err(LineError::Invalid("role")),
    };
    let invalid = || LineError::Invalid("cert");
    let chain = parse_base64url_list(named("cert")?).map_err(|_| invalid())?;
    let chain: Vec<Large> = chain
        .into_iter()
        .map(|der| Large::try_from(Bytes::from(der)))
        .collect::<Result<_, _>>()
        .map_err(|_| invalid())?;
    let hash = parse_base64url_field(named("cert_hash")?);
    let hash = hash.ok().and_then(|hash| hash.try_into().ok());
    let record = ServiceRecord {
        id: service_id,
        role,
        chain: NonEmpty::try_from(chain).map_err(|_| invalid())?,
        fingerprint: Fingerprint::from_bytes(hash.ok_or(LineError::Invalid("cert_hash"))?),
        created_at: number("created_at", named("created_at")?)?,
    };
    words.end()?;
    Ok(record)
}

/// The line, without its end.
impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |f: &mut fmt::Formatter<'_>, tag: &str, id: &EntityId| {
            write!(f, "{tag} {}", base64url(id))
        };
        match self {
            Self::CreateQueue(queue) => create::format(queue, f),
            Self::CreateLink { recipient_id, link } => {
                of(f, "LINK", recipient_id)?;
                write!(f, " {} ", base64url(&link.id))?;
                create::format_data(&link.data, f)
            }
            Self::DeleteLink { recipient_id } => of(f, "LDELETE", recipient_id),
            Self::SecureQueue { recipient_id, key } => {
                of(f, "SECURE", recipient_id)?;
                write!(f, " {}", key_text(key))
            }
            Self::UpdateKeys { recipient_id, keys } => {
                of(f, "KEYS", recipient_id)?;
                write!(f, " {}", keys_text(keys))
            }
            Self::AddNotifier {
                recipient_id,
                notifier,
            } => {
                of(f, "NOTIFIER", recipient_id)?;
                f.write_str(" ")?;
                create::format_notifier(notifier, f)
            }
            Self::SuspendQueue { recipient_id } => of(f, "SUSPEND", recipient_id),
            Self::BlockQueue { recipient_id, info } => {
                of(f, "BLOCK", recipient_id)?;
                write!(f, " {info}")
            }
            Self::UnblockQueue { recipient_id } => of(f, "UNBLOCK", recipient_id),
            Self::DeleteQueue { recipient_id } => of(f, "DELETE", recipient_id),
            Self::DeleteNotifier { recipient_id } => of(f, "NDELETE", recipient_id),
            Self::UpdateTime { recipient_id, day } => {
                of(f, "TIME", recipient_id)?;
                write!(f, " {day}")
            }
            Self::NewService(service) => write!(
                f,
                "NEW_SERVICE service_id={} role={} cert={} cert_hash={} created_at={}",
                base64url(&service.id),
                service.role.tag(),
                base64url_list(&service.chain.iter().map(|der| &***der).collect::<Vec<_>>()),
                base64url(service.fingerprint.as_bytes()),
                service.created_at,
            ),
            Self::QueueService {
                recipient_id,
                subscriber,
                service_id,
            } => {
                of(f, "QUEUE_SERVICE", recipient_id)?;
                f.write_str(match subscriber {
                    Subscriber::Recipient => " R ",
                    Subscriber::Notifier => " N ",
                })?;
                f.write_str(
                    &service_id
                        .as_ref()
                        .map_or_else(String::new, |id| base64url(id)),
                )
            }
        }
    }
}

/// The fewest lines that say what a queue is: one, unless the reference could not read it.
///
/// Its parser takes what follows a notice for a part of it, and it knows nothing of a queue that is blocked and suspended. A link with
/// an empty part it cannot read at all: then only that is lost.
pub fn compact(queue: QueueRecord) -> impl Iterator<Item = LogRecord> {
    let recipient_id = queue.recipient_id.clone();
    let (status, info) = match queue.status {
        QueueStatus::Blocked {
            info,
            suspended: Suspended::Yes,
        } => (QueueStatus::Off, Some(info)),
        QueueStatus::Blocked { info, .. }
            if info.notice.is_some() && queue.service_id.is_some() =>
        {
            (QueueStatus::Active, Some(info))
        }
        status @ (QueueStatus::Active | QueueStatus::Off | QueueStatus::Blocked { .. }) => {
            (status, None)
        }
    };
    let is_readable = |link: &LinkRecord| !link.data.fixed.is_empty() && !link.data.user.is_empty();
    let (link, apart) = match queue.link {
        Some(link) if !is_readable(&link) => (None, Some(link)),
        link => (link, None),
    };
    let record = QueueRecord {
        status,
        link,
        ..queue
    };
    let queue = LogRecord::CreateQueue(Box::new(record));
    let link = apart.map(|link| LogRecord::CreateLink {
        recipient_id: recipient_id.clone(),
        link: *link,
    });
    let block = info.map(|info| LogRecord::BlockQueue { recipient_id, info });
    std::iter::once(queue).chain(link).chain(block)
}
