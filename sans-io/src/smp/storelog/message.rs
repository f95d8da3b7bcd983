//! The lines of a message log, and those of a journal, which are the same without the queue.

use bytes::Bytes;

use crate::smp::MsgFlags;
use crate::smp::router::store::{MessageContent, MessageRecord};
use crate::wire::EntityId;
use crate::wire::text::{base64url, parse_base64url, parse_bool};

use super::LineError;
use super::fields::{Words, id, number};

/// A line of a message log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageLine {
    /// The queue in which the message waits.
    pub recipient_id: EntityId,
    /// The message.
    pub message: MessageRecord,
}

/// Reads a line of a message log, without its end.
pub fn parse_message_line(line: &str) -> Result<MessageLine, LineError> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut words = Words::new(line.strip_prefix("v3 ").ok_or(LineError::Record)?);
    Ok(MessageLine {
        recipient_id: id("recipient id", words.any("recipient id")?)?,
        message: message(words)?,
    })
}

/// Reads a line of a journal, without its end.
pub fn parse_message(line: &str) -> Result<MessageRecord, LineError> {
    message(Words::new(line.strip_suffix('\r').unwrap_or(line)))
}

/// A body may be empty: any sender can send it.
fn message(mut words: Words<'_>) -> Result<MessageRecord, LineError> {
    let id = id("message id", words.any("message id")?)?;
    let time = number("time", words.any("time")?)?;
    let content = match words.any("body")? {
        "quota" => MessageContent::Quota,
        word => {
            let (notification, body) = match word.strip_prefix("flags=") {
                Some(flags) => (notification(flags)?, words.any("body")?),
                None => (false, word),
            };
            let body = parse_base64url(body).map_err(|_| LineError::Invalid("body"))?;
            MessageContent::Sent {
                flags: MsgFlags { notification },
                body: Bytes::from(body),
            }
        }
    };
    words.end()?;
    Ok(MessageRecord { id, time, content })
}

/// Flags that are not known follow the known one.
fn notification(flags: &str) -> Result<bool, LineError> {
    let invalid = LineError::Invalid("flags");
    parse_bool(flags.get(..1).ok_or(invalid)?).map_err(|_| invalid)
}

/// The line of a message in a journal, without its end.
#[must_use]
pub fn format_message(message: &MessageRecord) -> String {
    let (id, time) = (base64url(&message.id), message.time);
    match &message.content {
        MessageContent::Quota => format!("{id} {time} quota"),
        MessageContent::Sent { flags, body } => {
            let notification = if flags.notification { "T" } else { "F" };
            format!("{id} {time} flags={notification} {}", base64url(body))
        }
    }
}

/// The line of a message log, without its end.
impl std::fmt::Display for MessageLine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let recipient_id = base64url(&self.recipient_id);
        write!(f, "v3 {recipient_id} {}", format_message(&self.message))
    }
}
