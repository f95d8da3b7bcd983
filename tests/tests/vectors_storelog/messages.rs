//! Logs of messages and of notifications.

use serde_json::{Value, json};
use simplex_sans_io::smp::router::store::{MessageContent, MessageRecord};
use simplex_sans_io::smp::storelog::{
    format_message, parse_message, parse_message_line, parse_notification,
};
use simplex_tests::vectors::{Comparison, cases, hexed, text};

use super::FILE;

pub(super) fn message_log(group: &Value) {
    let mut comparison = Comparison::of(FILE, "message_log");
    for case in cases(group) {
        let line = text(&case["line"]);
        let parsed = parse_message_line(line);
        if let Ok(parsed) = &parsed {
            assert_eq!(parse_message_line(&parsed.to_string()).as_ref(), Ok(parsed));
        }
        let ours = parsed.map(|line| {
            json!({"recipient_id": hexed(&*line.recipient_id), "message": shown(&line.message)})
        });
        comparison.outcome(&named(line), ours, case);
    }
    comparison.finish();
}

pub(super) fn journal_message_lines(group: &Value) {
    let mut comparison = Comparison::of(FILE, "journal_message_lines");
    for case in cases(group) {
        let line = text(&case["line"]);
        let parsed = parse_message(line);
        if let Ok(message) = &parsed {
            let written = format_message(message);
            assert!(written == line || !line.contains("flags="), "{line}");
            assert_eq!(parse_message(&written).as_ref(), Ok(message));
        }
        comparison.outcome(&named(line), parsed.map(|message| shown(&message)), case);
    }
    comparison.finish();
}

pub(super) fn ntf_log(group: &Value) {
    let mut comparison = Comparison::of(FILE, "ntf_log");
    for case in cases(group) {
        let line = text(&case["line"]);
        let parsed = parse_notification(line);
        if let Ok(parsed) = &parsed {
            assert_eq!(parsed.to_string(), line);
        }
        let ours = parsed.map(|line| {
            let notification = line.notification;
            json!({
                "notifier_id": hexed(&*line.notifier_id),
                "msg_id": hexed(&*notification.message_id),
                "timestamp": notification.time,
                "nonce": hexed(notification.nonce.as_bytes()),
                "encrypted_meta": hexed(notification.meta),
            })
        });
        comparison.outcome(&named(line), ours, case);
    }
    comparison.finish();
}

/// Lines are long: the beginnings of their words.
fn named(line: &str) -> String {
    line.split(' ')
        .map(|word| word.get(..12).unwrap_or(word))
        .collect::<Vec<_>>()
        .join(" ")
}

fn shown(message: &MessageRecord) -> Value {
    let (id, time) = (hexed(&*message.id), message.time);
    match &message.content {
        MessageContent::Quota => json!({"msg_id": id, "timestamp": time, "quota": true}),
        MessageContent::Sent { flags, body } => json!({
            "msg_id": id,
            "timestamp": time,
            "notification": flags.notification,
            "body": hexed(body),
        }),
    }
}
