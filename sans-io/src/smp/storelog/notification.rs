//! The lines of a log of notifications.

use bytes::Bytes;

use crate::crypto::Nonce;
use crate::smp::router::store::NotificationRecord;
use crate::wire::EntityId;
use crate::wire::text::{base64url, parse_base64url_field};

use super::LineError;
use super::fields::{Words, id, number};

/// A line of a log of notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationLine {
    /// Who is to be told.
    pub notifier_id: EntityId,
    /// Of what.
    pub notification: NotificationRecord,
}

/// Reads a line, without its end.
pub fn parse_notification(line: &str) -> Result<NotificationLine, LineError> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut words = Words::new(line.strip_prefix("v1 ").ok_or(LineError::Record)?);
    let notifier_id = id("notifier", words.any("notifier")?)?;
    let message_id = id("message id", words.any("message id")?)?;
    let time = number("time", words.any("time")?)?;
    let nonce = parse_base64url_field(words.any("nonce")?).ok();
    let nonce = nonce.and_then(|nonce| <[u8; 24]>::try_from(nonce).ok());
    let meta = parse_base64url_field(words.any("metadata")?);
    let notification = NotificationRecord {
        message_id,
        time,
        nonce: Nonce::from(nonce.ok_or(LineError::Invalid("nonce"))?),
        meta: Bytes::from(meta.map_err(|_| LineError::Invalid("metadata"))?),
    };
    words.end()?;
    Ok(NotificationLine {
        notifier_id,
        notification,
    })
}

/// The line, without its end.
impl std::fmt::Display for NotificationLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let notification = &self.notification;
        write!(
            f,
            "v1 {} {} {} {} {}",
            base64url(&self.notifier_id),
            base64url(&notification.message_id),
            notification.time,
            base64url(notification.nonce.as_bytes()),
            base64url(&notification.meta),
        )
    }
}
