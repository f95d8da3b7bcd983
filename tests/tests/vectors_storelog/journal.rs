//! Journals: the states that the reference writes, and the messages that they stand for.

use std::collections::BTreeMap;

use serde_json::Value;
use simplex_sans_io::smp::router::store::MessageRecord;
use simplex_sans_io::smp::storelog::{JournalState, format_message, parse_message, parse_state};
use simplex_tests::vectors::{Comparison, cases, text};

use super::FILE;

pub(super) fn journal_state_lines(group: &Value) {
    let mut comparison = Comparison::of(FILE, "journal_state_lines");
    for case in cases(group) {
        let line = text(&case["line"]);
        let parsed = parse_state(line).map(|state| state.to_string().into());
        comparison.outcome(line, parsed, case);
    }
    comparison.finish();
}

/// After every operation the last state says how many messages wait, and they are found where it says.
pub(super) fn journal_steps(group: &Value) {
    let waiting = [1, 2, 3, 4, 3, 1, 0, 1, 2, 3, 3];
    assert_eq!(cases(group).count(), waiting.len());
    for (case, waiting) in cases(group).zip(waiting) {
        let messages = messages(case);
        assert_eq!(messages.len(), waiting, "{}", case["after"]);
    }
}

pub(super) fn journal_reopen(group: &Value) {
    for case in cases(group) {
        let times: Vec<i64> = messages(case).iter().map(|message| message.time).collect();
        assert_eq!(times, [1_700_000_005, 1_700_000_006, 1_700_000_007]);
    }
}

fn messages(case: &Value) -> Vec<MessageRecord> {
    let files = case["files"].as_array().unwrap().iter();
    let files: BTreeMap<&str, &str> = files
        .map(|file| {
            let path = text(&file["path"]);
            let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
            (name, text(&file["content"]))
        })
        .collect();
    let (_, states) = files
        .iter()
        .find(|(name, _)| name.starts_with("queue_state.") && name.ends_with(".log"))
        .unwrap();
    let states: Vec<JournalState> = states
        .lines()
        .map(|line| parse_state(line).unwrap())
        .collect();
    assert!(states.iter().all(JournalState::is_consistent));
    let state = states.last().unwrap();
    let journal = |name: &str, from: u64| {
        let file = files.get(format!("messages.{name}.log").as_str());
        let from = usize::try_from(from).unwrap();
        file.map_or("", |content| content.get(from..).unwrap())
    };
    let read = journal(&state.read.journal, state.read.bytes);
    let written = match state.read.journal == state.write.journal {
        true => "",
        false => journal(&state.write.journal, 0),
    };
    let lines = read.lines().chain(written.lines());
    let messages = lines.map(|line| {
        let message = parse_message(line).unwrap();
        assert_eq!(format_message(&message), line);
        message
    });
    let messages: Vec<_> = messages.collect();
    assert_eq!(messages.len() as u64, state.size);
    messages
}
