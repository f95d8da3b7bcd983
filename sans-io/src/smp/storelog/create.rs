//! The line of a new queue.

use std::fmt;

use crate::smp::router::store::{LinkRecord, NotifierRecord, QueueRecord, QueueStatus, Suspended};
use crate::smp::{BlockingInfo, LinkData, QueueMode};
use crate::wire::text::{base64url, parse_bool};
use crate::wire::{EntityId, Version, decode_slice};

use super::fields::{Words, id, key, key_text, keys, keys_text, large, number, secret};
use super::{LineError, Remark};

/// The fields of a line, as far as they were read.
#[derive(Debug, Default)]
struct Fields<'a> {
    recipient_id: Option<&'a str>,
    recipient_keys: Option<&'a str>,
    dh_secret: Option<&'a str>,
    sender_id: Option<&'a str>,
    sender_key: Option<&'a str>,
    mode: Option<&'a str>,
    sender_can_secure: Option<&'a str>,
    link_id: Option<&'a str>,
    link_data: Option<(&'a str, &'a str)>,
    notifier: Option<(&'a str, &'a str, &'a str)>,
    notifier_service: Option<&'a str>,
    updated_at: Option<&'a str>,
    status: Option<Status>,
    service: Option<&'a str>,
}

#[derive(Debug, Clone, Copy)]
enum Status {
    Known(QueueStatus),
    Unknown,
}

fn once<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), LineError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(LineError::Twice(name)),
    }
}

impl<'a> Fields<'a> {
    fn read(mut words: Words<'a>, remarks: &mut Vec<Remark>) -> Result<Self, LineError> {
        let mut fields = Self::default();
        let mut number = 0_usize;
        while let Some(word) = words.next() {
            if word.is_empty() {
                continue;
            }
            number = number.saturating_add(1);
            let Some((name, value)) = word.split_once('=') else {
                remarks.push(Remark::Unknown(number));
                continue;
            };
            match name {
                "rid" => once(&mut fields.recipient_id, "rid", value)?,
                "rk" => once(&mut fields.recipient_keys, "rk", value)?,
                "rdh" => once(&mut fields.dh_secret, "rdh", value)?,
                "sid" => once(&mut fields.sender_id, "sid", value)?,
                "sk" => once(&mut fields.sender_key, "sk", value)?,
                "queue_mode" => once(&mut fields.mode, "queue_mode", value)?,
                "sndSecure" => once(&mut fields.sender_can_secure, "sndSecure", value)?,
                "link_id" => once(&mut fields.link_id, "link_id", value)?,
                "queue_data" => {
                    let data = (value, words.any("user data")?);
                    once(&mut fields.link_data, "queue_data", data)?;
                }
                "notifier" => {
                    let notifier = (value, words.any("notifier")?, words.any("notifier")?);
                    once(&mut fields.notifier, "notifier", notifier)?;
                }
                "nsrv" => once(&mut fields.notifier_service, "nsrv", value)?,
                "updated_at" => once(&mut fields.updated_at, "updated_at", value)?,
                "status" => {
                    let status = status(value, &mut words);
                    once(&mut fields.status, "status", status)?;
                }
                "rsrv" => once(&mut fields.service, "rsrv", value)?,
                _ => remarks.push(Remark::Unknown(number)),
            }
        }
        Ok(fields)
    }
}

/// The notice of a blocked queue is JSON, which may have spaces in it, and other fields after it.
fn status<'a>(value: &'a str, words: &mut Words<'a>) -> Status {
    let blocked = |info: BlockingInfo| {
        Status::Known(QueueStatus::Blocked {
            info,
            suspended: Suspended::No,
        })
    };
    match value {
        "active" => return Status::Known(QueueStatus::Active),
        "off" => return Status::Known(QueueStatus::Off),
        _ => {}
    }
    let Some(info) = value.strip_prefix("blocked,") else {
        return Status::Unknown;
    };
    if let Ok(info) = decode_slice(Version(0), info.as_bytes()) {
        return blocked(info);
    }
    // The value may have ended at a space inside the notice.
    let spaced = [info, words.rest()].join(" ");
    let Some((reason, notice)) = spaced.split_once(",notice=") else {
        return Status::Unknown;
    };
    let mut values = serde_json::Deserializer::from_str(notice).into_iter::<serde_json::Value>();
    let Some(Ok(json)) = values.next() else {
        return Status::Unknown;
    };
    let taken = values.byte_offset();
    let after = notice.len().saturating_sub(taken);
    let rest = words.rest();
    let start = rest.len().saturating_sub(after);
    if let Some(rest) = rest.get(start..) {
        words.go_on(rest.strip_prefix(' ').unwrap_or(rest));
    }
    let info = format!("{reason},notice={json}");
    match decode_slice(Version(0), info.as_bytes()) {
        Ok(info) => blocked(info),
        Err(_) => Status::Unknown,
    }
}

/// The queue of a line, without its first word.
pub(super) fn parse(words: Words<'_>) -> Result<(QueueRecord, Vec<Remark>), LineError> {
    let mut remarks = Vec::new();
    let fields = Fields::read(words, &mut remarks)?;
    let required = |value: Option<_>, name| value.ok_or(LineError::Missing(name));
    let sender_key = required(fields.sender_key, "sk")?;
    let mut optional = Optional(&mut remarks);
    let record = QueueRecord {
        recipient_id: id("rid", required(fields.recipient_id, "rid")?)?,
        recipient_keys: keys("rk", required(fields.recipient_keys, "rk")?)?,
        dh_secret: secret("rdh", required(fields.dh_secret, "rdh")?)?,
        sender_id: id("sid", required(fields.sender_id, "sid")?)?,
        sender_key: match sender_key {
            "" => None,
            text => Some(key("sk", text)?),
        },
        mode: optional.mode(&fields),
        link: optional.link(&fields).map(Box::new),
        notifier: optional.notifier(&fields).map(Box::new),
        status: optional.status(&fields),
        updated_at: optional.given(fields.updated_at, "updated_at", number),
        service_id: optional.given(fields.service, "rsrv", id),
    };
    Ok((record, remarks))
}

/// What a queue can do without is left out if it is not understood.
struct Optional<'a>(&'a mut Vec<Remark>);

impl Optional<'_> {
    fn given<T>(
        &mut self,
        text: Option<&str>,
        name: &'static str,
        parse: fn(&'static str, &str) -> Result<T, LineError>,
    ) -> Option<T> {
        let parsed = parse(name, text?).ok();
        if parsed.is_none() {
            self.0.push(Remark::Invalid(name));
        }
        parsed
    }

    fn mode(&mut self, fields: &Fields<'_>) -> Option<QueueMode> {
        let mode = |name, text: &str| match text {
            "M" => Ok(QueueMode::Messaging),
            "C" => Ok(QueueMode::Contact),
            _ => Err(LineError::Invalid(name)),
        };
        let can_secure = |name, text: &str| match parse_bool(text) {
            Ok(true) => Ok(QueueMode::Messaging),
            Ok(false) => Ok(QueueMode::Contact),
            Err(_) => Err(LineError::Invalid(name)),
        };
        self.given(fields.mode, "queue_mode", mode)
            .or_else(|| self.given(fields.sender_can_secure, "sndSecure", can_secure))
    }

    fn link(&mut self, fields: &Fields<'_>) -> Option<LinkRecord> {
        let link = match (fields.link_id, fields.link_data) {
            (None, None) => return None,
            (Some(link_id), Some(data)) => link(link_id, data).ok(),
            (Some(_), None) | (None, Some(_)) => None,
        };
        if link.is_none() {
            self.0.push(Remark::Invalid("link"));
        }
        link
    }

    fn notifier(&mut self, fields: &Fields<'_>) -> Option<NotifierRecord> {
        let (notifier_id, key, secret) = fields.notifier?;
        match notifier(notifier_id, key, secret) {
            Ok(notifier) => Some(NotifierRecord {
                service_id: self.given(fields.notifier_service, "nsrv", id),
                ..notifier
            }),
            Err(_) => {
                self.0.push(Remark::Invalid("notifier"));
                None
            }
        }
    }

    /// A queue that may be blocked must not be open.
    fn status(&mut self, fields: &Fields<'_>) -> QueueStatus {
        match fields.status {
            None => QueueStatus::Active,
            Some(Status::Known(status)) => status,
            Some(Status::Unknown) => {
                self.0.push(Remark::Status);
                QueueStatus::Off
            }
        }
    }
}

pub(super) fn link(link_id: &str, (fixed, user): (&str, &str)) -> Result<LinkRecord, LineError> {
    Ok(LinkRecord {
        id: id("link id", link_id)?,
        data: LinkData {
            fixed: large("fixed data", fixed)?,
            user: large("user data", user)?,
        },
    })
}

pub(super) fn notifier(
    notifier_id: &str,
    public_key: &str,
    dh_secret: &str,
) -> Result<NotifierRecord, LineError> {
    Ok(NotifierRecord {
        id: id("notifier", notifier_id)?,
        key: key("notifier", public_key)?,
        dh_secret: secret("notifier", dh_secret)?,
        service_id: None,
    })
}

/// The line of a queue.
pub(super) fn format(queue: &QueueRecord, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(
        f,
        "CREATE rid={} rk={} rdh={} sid={} sk=",
        base64url(&queue.recipient_id),
        keys_text(&queue.recipient_keys),
        base64url(queue.dh_secret.as_bytes()),
        base64url(&queue.sender_id),
    )?;
    if let Some(key) = &queue.sender_key {
        f.write_str(&key_text(key))?;
    }
    if let Some(mode) = &queue.mode {
        write!(f, " queue_mode={}", mode.tag())?;
    }
    if let Some(link) = &queue.link {
        write!(f, " link_id={} queue_data=", base64url(&link.id))?;
        format_data(&link.data, f)?;
    }
    if let Some(notifier) = &queue.notifier {
        f.write_str(" notifier=")?;
        format_notifier(notifier, f)?;
    }
    if let Some(day) = queue.updated_at {
        write!(f, " updated_at={day}")?;
    }
    match queue.status {
        QueueStatus::Active => {}
        QueueStatus::Off => f.write_str(" status=off")?,
        QueueStatus::Blocked { info, .. } => write!(f, " status=blocked,{info}")?,
    }
    format_service(" rsrv=", queue.service_id.as_ref(), f)
}

pub(super) fn format_data(data: &LinkData, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{} {}", base64url(&data.fixed), base64url(&data.user))
}

pub(super) fn format_notifier(
    notifier: &NotifierRecord,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    write!(
        f,
        "{} {} {}",
        base64url(&notifier.id),
        key_text(&notifier.key),
        base64url(notifier.dh_secret.as_bytes()),
    )?;
    format_service(" nsrv=", notifier.service_id.as_ref(), f)
}

fn format_service(
    name: &str,
    service_id: Option<&EntityId>,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    match service_id {
        None => Ok(()),
        Some(id) => write!(f, "{name}{}", base64url(id)),
    }
}
