//! The files of the reference's routers.

use crate::smp::storelog::{
    LogRecord, StatisticsBackup, compact, format_message, parse_message, parse_message_line,
    parse_notification, parse_record, parse_state, replay,
};

/// A line of one of the files, which the first byte chooses, or all of the statistics.
pub fn storelog(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    match first % 6 {
        0 => record(text),
        1 => again(
            text,
            |line| parse_message_line(line).ok(),
            ToString::to_string,
        ),
        2 => again(text, |line| parse_message(line).ok(), format_message),
        3 => again(
            text,
            |line| parse_notification(line).ok(),
            ToString::to_string,
        ),
        4 => again(text, |line| parse_state(line).ok(), ToString::to_string),
        _ => {
            let parse = |text: &str| Some(StatisticsBackup::parse(text).ok()?.0);
            again(text, parse, ToString::to_string);
        }
    }
}

/// What was left out once is not missed again; and the lines of a queue make that queue.
fn record(line: &str) {
    let Ok((record, _)) = parse_record(line) else {
        return;
    };
    let written = parse_record(&record.to_string());
    assert_eq!(
        written.as_ref(),
        Ok(&(record.clone(), Vec::new())),
        "another record is read"
    );
    if let LogRecord::CreateQueue(queue) = record {
        let replayed = compact((*queue).clone()).try_fold(None, |queue, record| {
            let (record, remarks) = parse_record(&record.to_string()).ok()?;
            assert_eq!(remarks, [], "something is left out");
            replay(queue.as_ref(), record).ok()
        });
        assert_eq!(replayed, Some(Some(*queue)), "another queue is read");
    }
}

/// What is written is read as what was meant.
fn again<T: PartialEq + std::fmt::Debug>(
    text: &str,
    parse: impl Fn(&str) -> Option<T>,
    write: impl Fn(&T) -> String,
) {
    if let Some(value) = parse(text) {
        assert_eq!(parse(&write(&value)), Some(value), "another value is read");
    }
}
