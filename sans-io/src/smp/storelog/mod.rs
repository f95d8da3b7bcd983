//! The files of the reference's routers: its queues, messages, notifications and statistics as lines of text.
//!
//! Lines are read leniently, as a queue that is not understood is a queue that is lost: fields in any order, spaces at the end, an empty
//! body. What had to be left out of a line is told as [`Remark`]s. They are written as the reference writes them, and where it could
//! not read what it writes, in another way that both can.
//!
//! No error and no remark shows any part of a line: keys stand in them.
//!
//! ```
//! use simplex_sans_io::smp::storelog::{LogRecord, parse_record};
//!
//! let line = "TIME XcaZU_-PjL0GjV3omTAG9-CV6497KzJ4 1700006400 ";
//! let (record, remarks) = parse_record(line)?;
//! assert!(matches!(record, LogRecord::UpdateTime { day: 1_700_006_400, .. }));
//! assert!(remarks.is_empty());
//! assert_eq!(record.to_string(), line.trim_end());
//! # Ok::<(), simplex_sans_io::smp::storelog::LineError>(())
//! ```

mod create;
pub(crate) mod fields;
mod journal;
mod message;
mod notification;
mod record;
mod replay;
mod statistics;

pub use self::journal::{JournalPosition, JournalState, parse_state};
pub use self::message::{MessageLine, format_message, parse_message, parse_message_line};
pub use self::notification::{NotificationLine, parse_notification};
pub use self::record::{LogRecord, Subscriber, compact, parse_record};
pub use self::replay::{Refusal, replay};
pub use self::statistics::StatisticsBackup;

/// Why a line is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It does not begin as any line does.
    #[error("not a known record")]
    Record,
    /// A part of it is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part of it is not what it should be.
    #[error("{0} is invalid")]
    Invalid(&'static str),
    /// A part of it is there twice.
    #[error("{0} is given twice")]
    Twice(&'static str),
    /// Something follows.
    #[error("something follows what was expected")]
    Trailing,
}

/// What was left out of a line that was understood otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// A field that is not known, counted from the first.
    #[error("field {0} is not known and was left out")]
    Unknown(usize),
    /// A field that is not what it should be.
    #[error("{0} is invalid and was left out")]
    Invalid(&'static str),
    /// The status of a queue is not known.
    #[error("the status is not known, so the queue is suspended")]
    Status,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::smp::router::store::{
        FORMAT, LinkRecord, MessageRecord, NotificationRecord, QueueRecord, QueueStatus,
        ServiceRecord,
    };
    use crate::wire::{EntityId, Sample};
    use proptest::prelude::*;

    fn sample<T: Sample>(rng: &mut Rng) -> T {
        T::sample(FORMAT, rng)
    }

    /// Ids in lines are never empty, and a record has keys.
    fn queue(rng: &mut Rng) -> QueueRecord {
        let mut queue: QueueRecord = sample(rng);
        let mut id = || EntityId::from(rng.bytes());
        (queue.recipient_id, queue.sender_id) = (id(), id());
        queue.service_id = queue.service_id.map(|_| id());
        if let Some(link) = &mut queue.link {
            link.id = id();
        }
        if let Some(notifier) = &mut queue.notifier {
            notifier.id = id();
            notifier.service_id = notifier.service_id.as_ref().map(|_| id());
        }
        queue.recipient_keys.push(sample(rng));
        queue
    }

    /// The reference loses the line that it cannot read, and nothing else.
    #[test]
    fn a_link_with_an_empty_part_has_a_line_of_its_own() {
        let link = LinkRecord {
            id: EntityId::from([1; 24]),
            data: crate::smp::LinkData {
                fixed: b"fixed"[..].try_into().unwrap(),
                user: Default::default(),
            },
        };
        let queue = QueueRecord {
            link: Some(Box::new(link)),
            ..queue(&mut Rng::from_seed([1; 32]))
        };
        let lines: Vec<_> = compact(queue).map(|record| record.to_string()).collect();
        assert!(lines[0].starts_with("CREATE ") && !lines[0].contains("link_id"));
        assert!(lines[1].starts_with("LINK "));
    }

    proptest! {
        #[test]
        fn a_queue_comes_back_from_its_lines(seed: [u8; 32]) {
            let queue = queue(&mut Rng::from_seed(seed));
            let mut replayed = None;
            for record in compact(queue.clone()) {
                let (read, remarks) = parse_record(&record.to_string()).unwrap();
                prop_assert_eq!(remarks, []);
                prop_assert_eq!(&read, &record);
                replayed = replay(replayed.as_ref(), read).unwrap();
            }
            prop_assert_eq!(replayed, Some(queue));
        }

        #[test]
        fn messages_notifications_and_services_come_back(seed: [u8; 32]) {
            let rng = &mut Rng::from_seed(seed);
            let mut message: MessageRecord = sample(rng);
            message.id = EntityId::from(rng.bytes());
            prop_assert_eq!(parse_message(&format_message(&message)), Ok(message.clone()));
            let line = MessageLine { recipient_id: EntityId::from(rng.bytes()), message };
            prop_assert_eq!(parse_message_line(&line.to_string()), Ok(line));
            let notification = NotificationRecord {
                message_id: EntityId::from(rng.bytes()),
                meta: rng.bytes::<20>().to_vec().into(),
                ..sample(rng)
            };
            let line = NotificationLine { notifier_id: EntityId::from(rng.bytes()), notification };
            prop_assert_eq!(parse_notification(&line.to_string()), Ok(line));
            let mut service: ServiceRecord = sample(rng);
            service.id = EntityId::from(rng.bytes());
            service.chain = crate::wire::NonEmpty::one(b"certificate".try_into().unwrap());
            let record = LogRecord::NewService(Box::new(service));
            prop_assert_eq!(parse_record(&record.to_string()), Ok((record, vec![])));
        }

        #[test]
        fn arbitrary_lines_never_panic(
            tag in prop::sample::select(vec!["CREATE ", "LINK ", "BLOCK YQ ", "NEW_SERVICE ", "v3 ", "v1 ", "write=", ""]),
            rest in "[ -~]{0,80}",
        ) {
            let line = format!("{tag}{rest}");
            let _ = parse_record(&line);
            let _ = parse_message_line(&line);
            let _ = parse_message(&line);
            let _ = parse_notification(&line);
            let _ = parse_state(&line);
            let _ = StatisticsBackup::parse(&line);
        }
    }

    const QUEUE: &str = "CREATE rid=cg== rk=MCowBQYDK2VwAyEAPA6pYGrCGktj78yVFwIK6QOEKP_RmlUQPNW9l4HfvvM= \
        rdh=aYBS56Fl4bggz9F4dfaQleMDgliQcSZGMIqhmqb1DVY= sid=cw== sk=";

    #[test]
    fn a_notice_ends_where_its_json_ends() {
        for notice in ["{}", "{\"ttl\":5}", "{ \"ttl\" : 5 }"] {
            let line = format!("{QUEUE} status=blocked,reason=spam,notice={notice} rsrv=YQ==");
            let (record, remarks) = parse_record(&line).unwrap();
            assert_eq!(remarks, []);
            let LogRecord::CreateQueue(queue) = record else {
                panic!("a queue is created");
            };
            assert!(
                matches!(queue.status, QueueStatus::Blocked { .. }),
                "{notice}"
            );
            assert_eq!(queue.service_id.as_deref(), Some(b"a".as_slice()));
        }
    }

    #[test]
    fn what_is_not_understood_is_named_and_never_shown() {
        let secret = "c2VjcmV0";
        let line = format!(
            "{QUEUE} queue_mode={secret} {secret} x={secret} nsrv={secret} status={secret} link_id={secret}"
        );
        let (_, remarks) = parse_record(&line).unwrap();
        let expected = [
            Remark::Unknown(7),
            Remark::Unknown(8),
            Remark::Invalid("queue_mode"),
            Remark::Invalid("link"),
            Remark::Status,
        ];
        assert_eq!(remarks, expected);
        for line in [
            secret,
            &format!("CREATE rid={secret}"),
            &format!("SECURE {secret} {secret}"),
        ] {
            let error = parse_record(line).unwrap_err();
            assert!(!format!("{error} {error:?}").contains(secret));
        }
    }

    #[test]
    fn a_state_that_was_cut_off_is_not_consistent() {
        let line = "write=a,2,2,20,20 read=b,1,11,10,110 canWrite=T size=12";
        assert!(parse_state(line).unwrap().is_consistent());
        assert!(
            !parse_state(line.strip_suffix('2').unwrap())
                .unwrap()
                .is_consistent()
        );
        assert!(parse_state("write=../a,0,0,0,0 read=a,0,0,0,0 canWrite=T size=0").is_err());
    }
}
