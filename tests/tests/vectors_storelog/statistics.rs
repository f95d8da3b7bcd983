//! Statistics.

use serde_json::Value;
use simplex_sans_io::smp::storelog::StatisticsBackup;
use simplex_tests::vectors::{Comparison, cases, text};

use super::FILE;

pub(super) fn stats_backup(group: &Value) {
    let mut comparison = Comparison::of(FILE, "stats_backup");
    for case in cases(group) {
        let parsed = StatisticsBackup::parse(text(&case["text"]));
        let ours = parsed.map(|(backup, unknown)| match unknown.as_slice() {
            [] => Value::from(backup.to_string()),
            lines => format!("without lines {lines:?}").into(),
        });
        let name = text(&case["case"]);
        match name {
            // Long texts: what they are compared with is in the vectors.
            "old format with missing line" => {
                let expected =
                    "fromTime=2023-01-01T00:00:00Z\nqCreated=3\nqSecured=0\nqDeletedAll=1\n";
                assert!(ours.is_ok_and(|ours| text(&ours).starts_with(expected)));
                comparison.outcome(name, Ok::<_, ()>("without a number".into()), case);
            }
            _ => comparison.outcome(name, ours, case),
        }
    }
    comparison.finish();
}
