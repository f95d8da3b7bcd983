//! What clients are told, in the dialect that they have chosen (`agent-tcp.md` 4, 10).

use super::words;
use crate::agent::command::ConnectionStatistics;
use crate::agent::config::{Use, UserRouter};
use crate::agent::event::{Direction, EventContent, MessageMeta, ReceiptStatus, SwitchPhase};
use crate::agent::file_event::{DescriptionText, FileEvent};
use crate::agent::id::ConnectionId;
use crate::agent::message::Integrity;
use crate::ratchet::Pq;
use crate::wire::utc::UtcTime;
use crate::wire::{Scheme, ServerAddress, SmpScheme};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// A dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// That of version 0.5, which had neither flags nor post-quantum keys.
    L0,
    /// That of version 5.8.
    L5,
    /// Ours.
    L7,
}

impl Level {
    /// The dialect of that number.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::L0),
            5 => Some(Self::L5),
            7 => Some(Self::L7),
            _ => None,
        }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::L0 => 0,
            Self::L5 => 5,
            Self::L7 => 7,
        }
    }
}

/// A line with a body, if there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The line.
    pub line: String,
    /// The body.
    pub body: Option<bytes::Bytes>,
}

impl Said {
    /// A line.
    pub fn line(line: impl Into<String>) -> Self {
        Self {
            line: line.into(),
            body: None,
        }
    }

    fn with_body(line: String, body: &[u8]) -> Self {
        Self {
            line,
            body: Some(bytes::Bytes::copy_from_slice(body)),
        }
    }

    /// The transmission.
    #[must_use]
    pub fn transmission(&self, corr_id: &str, entity: &str) -> Vec<u8> {
        let (corr_id, entity) = (one_line(corr_id), one_line(entity));
        let mut text = format!("{corr_id}\r\n{entity}\r\n{}", one_line(&self.line)).into_bytes();
        if let Some(body) = &self.body {
            if !text.ends_with(b" ") {
                text.push(b' ');
            }
            text.extend_from_slice(format!("{}\n", body.len()).as_bytes());
            text.extend_from_slice(body);
        }
        text.extend_from_slice(b"\r\n");
        text
    }
}

/// Text from elsewhere cannot begin another line.
fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => line.push_str(&format!("%{:02X}", u32::from(c))),
            false => line.push(c),
        }
    }
    line
}

/// Whether post-quantum keys are used.
#[must_use]
pub const fn pq(pq: Pq) -> &'static str {
    match pq {
        Pq::On => "pq=enable",
        Pq::Off => "pq=disable",
    }
}

/// An event; nothing if the dialect has no words for it.
#[must_use]
pub fn events(
    content: &EventContent,
    statistics: Option<&ConnectionStatistics>,
    level: Level,
) -> Vec<Said> {
    match content {
        EventContent::SendFailed { messages, error } if level == Level::L0 => messages
            .iter()
            .map(|message| {
                let error = words::error(error, level);
                Said::line(format!("MERR {} {error}", message.0))
            })
            .collect(),
        // Clients of that time take nothing for an event that they do not know.
        EventContent::RouterConnected { .. }
        | EventContent::RouterDisconnected { .. }
        | EventContent::Switch { .. }
        | EventContent::RatchetSync { .. }
        | EventContent::Receipts { .. }
        | EventContent::UserDeleted { .. }
        | EventContent::File { .. }
            if level == Level::L0 =>
        {
            Vec::new()
        }
        EventContent::Confirmation { .. }
        | EventContent::Request { .. }
        | EventContent::Info { .. }
        | EventContent::Connected { .. }
        | EventContent::End
        | EventContent::QueueDeleted
        | EventContent::RouterConnected { .. }
        | EventContent::RouterDisconnected { .. }
        | EventContent::Down { .. }
        | EventContent::Up { .. }
        | EventContent::ServiceUp { .. }
        | EventContent::ServiceDown { .. }
        | EventContent::ServiceAll { .. }
        | EventContent::ServiceEnd { .. }
        | EventContent::Switch { .. }
        | EventContent::RatchetSync { .. }
        | EventContent::Sent { .. }
        | EventContent::SendWarning { .. }
        | EventContent::SendFailed { .. }
        | EventContent::Message { .. }
        | EventContent::Receipts { .. }
        | EventContent::QueueContinue
        | EventContent::ReceiveQueueDeleted { .. }
        | EventContent::Deleted
        | EventContent::UserDeleted { .. }
        | EventContent::Suspended
        | EventContent::File { .. }
        | EventContent::Error { .. } => event(content, statistics, level).into_iter().collect(),
    }
}

fn event(
    content: &EventContent,
    statistics: Option<&ConnectionStatistics>,
    level: Level,
) -> Option<Said> {
    let stats = || {
        statistics
            .map(|statistics| words::stats(statistics, level))
            .unwrap_or_default()
    };
    let line = |text: String| Some(Said::line(text));
    let with_pq = |value: Pq| match level {
        Level::L0 => String::new(),
        Level::L5 | Level::L7 => format!(" {}", pq(value)),
    };
    let with_routers = |routers: &[ServerAddress<SmpScheme>]| match level {
        Level::L0 => String::new(),
        Level::L5 | Level::L7 => {
            let routers: Vec<_> = routers.iter().map(ToString::to_string).collect();
            format!(" {}", routers.join(","))
        }
    };
    match content {
        EventContent::Confirmation {
            name,
            pq,
            routers,
            info,
        } => Some(Said::with_body(
            format!("CONF {name}{}{}", with_pq(*pq), with_routers(routers)),
            info,
        )),
        EventContent::Request {
            name,
            pq,
            routers,
            info,
        } => Some(Said::with_body(
            format!("REQ {name}{}{}", with_pq(*pq), with_routers(routers)),
            info,
        )),
        EventContent::Info { pq, info } => {
            Some(Said::with_body(format!("INFO{}", with_pq(*pq)), info))
        }
        EventContent::Connected { pq } => line(format!("CON{}", with_pq(*pq))),
        EventContent::End => line("END".to_owned()),
        EventContent::QueueDeleted => line(match level {
            Level::L0 | Level::L5 => "END".to_owned(),
            Level::L7 => "DELD".to_owned(),
        }),
        EventContent::RouterConnected { router } => line(format!("CONNECT smp {}", host(router))),
        EventContent::RouterDisconnected { router } => {
            line(format!("DISCONNECT smp {}", host(router)))
        }
        EventContent::Down { router, .. } => line(format!("DOWN {router}")),
        EventContent::Up { router, .. } => line(format!("UP {router}")),
        EventContent::Switch { direction, phase } => {
            let direction = match direction {
                Direction::Receive => "rcv",
                Direction::Send => "snd",
            };
            let phase = match phase {
                SwitchPhase::Started => "started",
                SwitchPhase::Confirmed => "confirmed",
                SwitchPhase::Secured => "secured",
                SwitchPhase::Completed => "completed",
                SwitchPhase::Aborted if level == Level::L7 => "aborted",
                SwitchPhase::Aborted => return None,
            };
            line(format!("SWITCH {direction} {phase} {}", stats()))
        }
        EventContent::RatchetSync { state, error } => {
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            line(format!("RSYNC {} {error} {}", words::sync(*state), stats()))
        }
        EventContent::Sent { message, proxy } => {
            let proxy = proxy.as_ref().map(ToString::to_string).unwrap_or_default();
            match level {
                Level::L0 => line(format!("SENT {}", message.0)),
                Level::L5 | Level::L7 => line(format!("SENT {} {proxy}", message.0)),
            }
        }
        EventContent::SendWarning { message, error } => match level {
            Level::L0 => None,
            Level::L5 | Level::L7 => line(format!(
                "MWARN {} {}",
                message.0,
                words::error(error, level)
            )),
        },
        EventContent::SendFailed { messages, error } => {
            let numbers: Vec<_> = messages
                .iter()
                .map(|message| message.0.to_string())
                .collect();
            let tag = match numbers.len() {
                1 => "MERR",
                _ => "MERRS",
            };
            line(format!(
                "{tag} {} {}",
                numbers.join(","),
                words::error(error, level)
            ))
        }
        EventContent::Message { meta, flags, body } => {
            let flag = match (level, flags.notification) {
                (Level::L0, _) => "",
                (_, true) => " T",
                (_, false) => " F",
            };
            Some(Said::with_body(
                format!("MSG {}{flag}", self::meta(meta, level)),
                body,
            ))
        }
        EventContent::Receipts { meta, receipts } => {
            let receipts: Vec<_> = receipts
                .iter()
                .map(|receipt| {
                    let status = match receipt.status {
                        ReceiptStatus::Ok => "ok",
                        ReceiptStatus::BadHash => "badMsgHash",
                    };
                    format!("{}:{status}", receipt.message.0)
                })
                .collect();
            line(format!(
                "RCVD {} {}",
                self::meta(meta, level),
                receipts.join(",")
            ))
        }
        EventContent::QueueContinue => (level > Level::L0).then(|| Said::line("QCONT")),
        // In the old dialects the response to DEL is all that is said.
        EventContent::ReceiveQueueDeleted { .. } | EventContent::Deleted if level < Level::L7 => {
            None
        }
        EventContent::ReceiveQueueDeleted {
            router,
            recipient_id,
            error,
        } => {
            let id = URL_SAFE.encode(&**recipient_id);
            let error = error.as_ref().map(|error| words::error(error, level));
            let error = error.map(|error| format!(" {error}")).unwrap_or_default();
            line(format!("DEL_RCVQ {router} {id}{error}"))
        }
        EventContent::Suspended => line("SUSPENDED".to_owned()),
        EventContent::ServiceUp { .. }
        | EventContent::ServiceDown { .. }
        | EventContent::ServiceAll { .. }
        | EventContent::ServiceEnd { .. }
            if level < Level::L7 =>
        {
            None
        }
        EventContent::ServiceUp { router, count } => line(format!("SERVICE_UP {router} {count}")),
        EventContent::ServiceDown { router, count } => {
            line(format!("SERVICE_DOWN {router} {count}"))
        }
        EventContent::ServiceAll { router } => line(format!("SERVICE_ALL {router}")),
        EventContent::ServiceEnd { router, count } => line(format!("SERVICE_END {router} {count}")),
        EventContent::Deleted => line("DEL_CONN".to_owned()),
        EventContent::UserDeleted { user } => line(format!("DEL_USER {}", user.0)),
        EventContent::File { event, .. } => of_file(event, level),
        EventContent::Error { error } => line(format!("ERR {}", words::error(error, level))),
    }
}

/// What has happened to a file; nothing if the dialect has no words for it.
fn of_file(event: &FileEvent, level: Level) -> Option<Said> {
    let failed = |tag: &str, error| Said::line(format!("{tag} {}", words::error(error, level)));
    let warned = |tag: &str, error| (level == Level::L7).then(|| failed(tag, error));
    match event {
        FileEvent::ReceiveProgress { received, of } => {
            Some(Said::line(format!("RFPROG {received} {of}")))
        }
        FileEvent::Received { path } => Some(match level {
            Level::L7 => Said::with_body("RFDONE".to_owned(), path.as_bytes()),
            Level::L0 | Level::L5 => Said::line(format!("RFDONE {}", URL_SAFE.encode(path))),
        }),
        FileEvent::ReceiveFailed { error } => Some(failed("RFERR", error)),
        FileEvent::ReceiveWarning { error } => warned("RFWARN", error),
        FileEvent::SendProgress { sent, of } => Some(Said::line(format!("SFPROG {sent} {of}"))),
        FileEvent::Sent { sender, recipients } => {
            let texts = std::iter::once(sender).chain(recipients);
            let texts: Vec<_> = texts.map(DescriptionText::as_str).collect();
            let body = texts.join(SEPARATOR);
            Some(Said::with_body("SFDONE".to_owned(), body.as_bytes()))
        }
        FileEvent::SendFailed { error } => Some(failed("SFERR", error)),
        FileEvent::SendWarning { error } => warned("SFWARN", error),
        FileEvent::Deleted { error: None } => {
            (level == Level::L7).then(|| Said::line("SFDEL".to_owned()))
        }
        FileEvent::Deleted { error: Some(error) } => warned("SFDEL", error),
    }
}

/// What stands between descriptions.
const SEPARATOR: &str = "################################\n";

/// DOWN or UP of some connections.
#[must_use]
pub fn with_connections(line: &str, connections: &[ConnectionId]) -> String {
    let ids = connections.iter().map(|id| URL_SAFE.encode(id.as_slice()));
    format!("{line} {}", ids.collect::<Vec<_>>().join(","))
}

/// A router, with what it is used for.
#[must_use]
pub fn router<S: Scheme>(router: &UserRouter<S>) -> String {
    let used = |used: Use, role| (used == Use::Yes).then_some(role);
    let roles = [
        used(router.roles.storage, "storage"),
        used(router.roles.proxy, "proxy"),
        used(router.roles.names, "names"),
    ];
    let roles: Vec<_> = roles.into_iter().flatten().collect();
    format!("{} roles={}", router.address, roles.join("+"))
}

fn host(router: &ServerAddress<SmpScheme>) -> String {
    let host = router.hosts().first().map(ToString::to_string);
    host.unwrap_or_default()
}

fn meta(meta: &MessageMeta, level: Level) -> String {
    let integrity = match &meta.integrity {
        Integrity::Ok => "OK".to_owned(),
        Integrity::BadId { previous } => format!("ERR ID {previous}"),
        Integrity::Duplicate => "ERR DUPLICATE".to_owned(),
        Integrity::Skipped { from, to } => format!("ERR NO_ID {from} {to}"),
        Integrity::BadHash => "ERR HASH".to_owned(),
    };
    let (received, sent) = (time(meta.received_at), time(meta.sent_at));
    let broker = STANDARD.encode(&*meta.broker_id);
    let text = format!(
        "{integrity} R={},{received} B={broker},{sent} S={}",
        meta.message.0, meta.sender_msg_id
    );
    match level {
        Level::L0 => format!("{text},{sent}"),
        Level::L5 | Level::L7 => format!("{text} PQ={}", pq(meta.pq)),
    }
}

/// With milliseconds.
fn time(seconds: i64) -> String {
    let text = UtcTime::from_seconds(seconds).to_string();
    text.replace('Z', ".000Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::error::AgentError;
    use crate::agent::id::MessageId;
    use crate::smp::{MsgFlags, MsgId};
    use crate::wire::Large;
    use bytes::Bytes;

    #[test]
    fn a_message_in_every_dialect() {
        let content = EventContent::Message {
            meta: MessageMeta {
                integrity: Integrity::Ok,
                message: MessageId(4),
                received_at: 1_717_410_030,
                broker_id: MsgId::from([0xff; 24]),
                sent_at: 1_717_410_030,
                sender_msg_id: 2,
                pq: Pq::On,
            },
            flags: MsgFlags {
                notification: false,
            },
            body: Large::try_from(Bytes::from_static(b"a\nb")).unwrap(),
        };
        let said = |level| {
            let said = events(&content, None, level).remove(0);
            String::from_utf8(said.transmission("", "bob")).unwrap()
        };
        let broker = "/".repeat(32);
        assert_eq!(
            said(Level::L5),
            format!(
                "\r\nbob\r\nMSG OK R=4,2024-06-03T10:20:30.000Z B={broker},2024-06-03T10:20:30.000Z S=2 PQ=pq=enable F 3\na\nb\r\n"
            )
        );
        assert_eq!(said(Level::L7), said(Level::L5));
        assert!(said(Level::L0).contains(" S=2,2024-06-03T10:20:30.000Z 3\na\nb\r\n"));
    }

    const ROUTER: &str = "smp://u2dS9sG8nMNURyZwqASV4yROM28Er0luVTx5X1CsMrU=@smp4.simplex.im";

    #[test]
    fn the_oldest_dialect_has_no_words_for_what_came_later() {
        let failed = EventContent::SendFailed {
            messages: vec![MessageId(4), MessageId(5)].try_into().unwrap(),
            error: AgentError::NoUser,
        };
        let lines = |level| -> Vec<_> {
            let said = events(&failed, None, level).into_iter();
            said.map(|said| said.line).collect()
        };
        assert_eq!(
            lines(Level::L0),
            ["MERR 4 INTERNAL NO_USER", "MERR 5 INTERNAL NO_USER"]
        );
        assert_eq!(lines(Level::L5), ["MERRS 4,5 INTERNAL NO_USER"]);
        let router: ServerAddress<SmpScheme> = ROUTER.parse().unwrap();
        let connected = EventContent::RouterConnected { router };
        assert_eq!(events(&connected, None, Level::L0), []);
        assert_eq!(
            events(&connected, None, Level::L5),
            [Said::line("CONNECT smp smp4.simplex.im")]
        );
        assert_eq!(
            events(&EventContent::QueueDeleted, None, Level::L5),
            [Said::line("END")]
        );
    }

    #[test]
    fn nothing_that_others_say_begins_a_line() {
        let said = Said::line("ERR INTERNAL a\r\n\r\nbob\r\nMSG");
        let text = String::from_utf8(said.transmission("1", "x\ny")).unwrap();
        assert_eq!(
            text,
            "1\r\nx%0Ay\r\nERR INTERNAL a%0D%0A%0D%0Abob%0D%0AMSG\r\n"
        );
    }

    #[test]
    fn sent_ends_with_a_space_where_there_is_no_proxy() {
        let sent = EventContent::Sent {
            message: MessageId(4),
            proxy: None,
        };
        let line = |level| events(&sent, None, level).remove(0).line;
        assert_eq!(line(Level::L5), "SENT 4 ");
        assert_eq!(line(Level::L0), "SENT 4");
    }
}
