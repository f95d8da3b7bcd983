//! Store logs: their lines, and what becomes of queues when they are read one after the other.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use simplex_sans_io::smp::handshake::ServiceRole;
use simplex_sans_io::smp::router::store::{
    LinkRecord, NotifierRecord, QueueRecord, QueueStatus, ServiceRecord,
};
use simplex_sans_io::smp::storelog::{
    LineError, LogRecord, Refusal, Subscriber, compact, parse_record, replay,
};
use simplex_sans_io::smp::{LinkData, QueueMode};
use simplex_sans_io::wire::EntityId;
use simplex_tests::vectors::{Comparison, cases, hexed, text};

use super::FILE;

pub(super) fn store_log(group: &Value) {
    for case in cases(group) {
        let (line, expected) = (text(&case["line"]), &case["value"]);
        assert_eq!(case["ok"], true);
        let (record, remarks) = parse_record(line).unwrap();
        assert_eq!(shown(&record), *expected, "{line}");
        assert_eq!((record.to_string().as_str(), remarks), (line, vec![]));
    }
}

pub(super) fn store_log_parsing(group: &Value) {
    let mut comparison = Comparison::of(FILE, "store_log_parsing");
    for case in cases(group) {
        let line = text(&case["line"]);
        let parsed = parse_record(line).map(|(record, remarks)| {
            let reencoded = record.to_string();
            if case.get("ok").is_some() && remarks.is_empty() {
                return json!({"value": shown(&record), "reencoded": reencoded});
            }
            let remarks = remarks.iter().map(ToString::to_string);
            json!({"reencoded": reencoded, "remarks": remarks.collect::<Vec<_>>()})
        });
        comparison.outcome(&named(line), parsed, case);
    }
    comparison.finish();
}

pub(super) fn store_log_compaction(group: &Value) {
    let mut comparison = Comparison::of(FILE, "store_log_compaction");
    for case in cases(group) {
        let mut log = Log::default();
        for line in case["lines"].as_array().unwrap() {
            log.read(text(line));
        }
        let mut reference = case["compacted_lines"].as_array().unwrap().clone();
        // The reference writes queues in no particular order.
        reference.sort_by_key(Value::to_string);
        let mut ours: Vec<Value> = log.compacted().map(Value::from).collect();
        ours.sort_by_key(Value::to_string);
        comparison.result(text(&case["case"]), &ours.into(), &reference.into());
    }
    comparison.finish();
}

/// What a router knows after the lines of a log.
#[derive(Default)]
struct Log {
    services: BTreeMap<EntityId, ServiceRecord>,
    queues: BTreeMap<EntityId, QueueRecord>,
}

impl Log {
    /// A line that is not understood changes nothing, and so does one that is refused.
    fn read(&mut self, line: &str) {
        if let Ok((record, _)) = parse_record(line) {
            self.apply(record).unwrap_or_default();
        }
    }

    fn apply(&mut self, record: LogRecord) -> Result<(), Refusal> {
        if let LogRecord::NewService(service) = record {
            self.services.insert(service.id.clone(), *service);
            return Ok(());
        }
        if let LogRecord::CreateQueue(new) = &record
            && let mut queues = self.queues.values()
            && queues.any(|queue| new.ids().any(|id| queue.ids().any(|known| known == id)))
        {
            return Err(Refusal::Taken);
        }
        let recipient_id = record.recipient_id().cloned().unwrap_or_default();
        match replay(self.queues.get(&recipient_id), record)? {
            Some(queue) => self.queues.insert(recipient_id, queue),
            None => self.queues.remove(&recipient_id),
        };
        Ok(())
    }

    fn compacted(&self) -> impl Iterator<Item = String> {
        let services = self.services.values().cloned();
        let services = services.map(|service| LogRecord::NewService(Box::new(service)));
        let queues = self.queues.values().cloned().flat_map(compact);
        services.chain(queues).map(|record| record.to_string())
    }
}

/// Lines are long: their words, of long ones the beginning.
fn named(line: &str) -> String {
    line.split(' ')
        .map(|word| {
            word.get(..40)
                .map_or(word, |_| word.get(..24).unwrap_or(word))
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn shown(record: &LogRecord) -> Value {
    let of = |name: &str, recipient_id: &EntityId| json!({"record": name, "recipient_id": hexed(&**recipient_id)});
    let with = |mut value: Value, fields: Value| {
        for (name, field) in fields.as_object().unwrap() {
            value[name] = field.clone();
        }
        value
    };
    match record {
        LogRecord::CreateQueue(queue) => with(
            of("CreateQueue", &queue.recipient_id),
            json!({"queue": shown_queue(queue)}),
        ),
        LogRecord::CreateLink { recipient_id, link } => {
            with(of("CreateLink", recipient_id), shown_link(link))
        }
        LogRecord::DeleteLink { recipient_id } => of("DeleteLink", recipient_id),
        LogRecord::SecureQueue { recipient_id, key } => with(
            of("SecureQueue", recipient_id),
            json!({"key": hexed(key.to_spki())}),
        ),
        LogRecord::UpdateKeys { recipient_id, keys } => {
            let keys: Vec<_> = keys.iter().map(|key| hexed(key.to_spki())).collect();
            with(of("UpdateKeys", recipient_id), json!({"keys": keys}))
        }
        LogRecord::AddNotifier {
            recipient_id,
            notifier,
        } => with(
            of("AddNotifier", recipient_id),
            json!({"notifier": shown_notifier(notifier)}),
        ),
        LogRecord::SuspendQueue { recipient_id } => of("SuspendQueue", recipient_id),
        LogRecord::BlockQueue { recipient_id, info } => with(
            of("BlockQueue", recipient_id),
            json!({"info": info.to_string()}),
        ),
        LogRecord::UnblockQueue { recipient_id } => of("UnblockQueue", recipient_id),
        LogRecord::DeleteQueue { recipient_id } => of("DeleteQueue", recipient_id),
        LogRecord::DeleteNotifier { recipient_id } => of("DeleteNotifier", recipient_id),
        LogRecord::UpdateTime { recipient_id, day } => {
            with(of("UpdateTime", recipient_id), json!({"date": day}))
        }
        LogRecord::NewService(service) => json!({
            "record": "NewService",
            "service_id": hexed(&*service.id),
            "role": match service.role {
                ServiceRole::Messaging => "M",
                ServiceRole::Notifier => "N",
                ServiceRole::Proxy => "P",
            },
            "cert_chain": service.chain.iter().map(|der| hexed(&***der)).collect::<Vec<_>>(),
            "cert_hash": hexed(service.fingerprint.as_bytes()),
            "created_at": service.created_at,
        }),
        LogRecord::QueueService {
            recipient_id,
            subscriber,
            service_id,
        } => with(
            of("QueueService", recipient_id),
            json!({
                "party": match subscriber {
                    Subscriber::Recipient => "R",
                    Subscriber::Notifier => "N",
                },
                "service_id": service_id.as_ref().map(|id| hexed(&**id)),
            }),
        ),
    }
}

fn shown_queue(queue: &QueueRecord) -> Value {
    let keys = queue.recipient_keys.iter();
    json!({
        "recipient_keys": keys.map(|key| hexed(key.to_spki())).collect::<Vec<_>>(),
        "dh_secret": hexed(queue.dh_secret.as_bytes()),
        "sender_id": hexed(&*queue.sender_id),
        "sender_key": queue.sender_key.map(|key| hexed(key.to_spki())),
        "queue_mode": queue.mode.map(|mode| match mode {
            QueueMode::Messaging => "M",
            QueueMode::Contact => "C",
        }),
        "link": queue.link.as_deref().map(shown_link),
        "notifier": queue.notifier.as_deref().map(shown_notifier),
        "status": match queue.status {
            QueueStatus::Active => json!("active"),
            QueueStatus::Off => json!("off"),
            QueueStatus::Blocked { info, .. } => json!({"blocked": info.to_string()}),
        },
        "updated_at": queue.updated_at,
        "service_id": queue.service_id.as_ref().map(|id| hexed(&**id)),
    })
}

fn shown_link(link: &LinkRecord) -> Value {
    let LinkData { fixed, user } = &link.data;
    json!({
        "link_id": hexed(&*link.id),
        "data": {"fixed": hexed(&**fixed), "user": hexed(&**user)},
    })
}

fn shown_notifier(notifier: &NotifierRecord) -> Value {
    json!({
        "notifier_id": hexed(&*notifier.id),
        "key": hexed(notifier.key.to_spki()),
        "dh_secret": hexed(notifier.dh_secret.as_bytes()),
        "service_id": notifier.service_id.as_ref().map(|id| hexed(&**id)),
    })
}

#[test]
fn what_the_reference_loses_comes_back() {
    let queue = "CREATE rid=cg== rk=MCowBQYDK2VwAyEAPA6pYGrCGktj78yVFwIK6QOEKP_RmlUQPNW9l4HfvvM= \
        rdh=aYBS56Fl4bggz9F4dfaQleMDgliQcSZGMIqhmqb1DVY= sid=cw== sk=";
    for (line, lines) in [
        // Blocked with a notice, and associated with a service.
        (
            format!("{queue} status=blocked,reason=spam,notice={{\"ttl\":5}} rsrv=YQ=="),
            vec![
                format!("{queue} rsrv=YQ=="),
                "BLOCK cg== reason=spam,notice={\"ttl\":5}".to_owned(),
            ],
        ),
        // Links with an empty part, on lines of their own: nothing else is lost with them.
        (
            format!("{queue} link_id=YQ== queue_data= "),
            vec![queue.to_owned(), "LINK cg== YQ==  ".to_owned()],
        ),
        (
            format!("{queue} link_id=YQ== queue_data= YQ=="),
            vec![queue.to_owned(), "LINK cg== YQ==  YQ==".to_owned()],
        ),
    ] {
        let mut log = Log::default();
        log.read(&line);
        let compacted: Vec<String> = log.compacted().collect();
        assert_eq!(compacted, lines);
        let mut again = Log::default();
        compacted.iter().for_each(|line| again.read(line));
        assert_eq!(again.queues, log.queues);
        assert_eq!(again.queues.len(), 1);
    }
    let link = |data: &str| parse_record(&format!("LINK cg== YQ== {data}"));
    assert!(link(" ").is_ok() && link("YQ== ").is_ok() && link(" YQ==").is_ok());
    assert_eq!(link(""), Err(LineError::Missing("user data")));
}
