//! The files of the reference's routers are understood, and written as it writes them: every case of `storelog.json`.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

mod addresses;
mod journal;
mod messages;
mod queues;
mod statistics;

use std::collections::BTreeSet;

use simplex_tests::vectors::{INI_GROUPS, deviating_groups, groups, load};

use addresses::{server_addresses, smp_server_encoding};
use journal::{journal_reopen, journal_state_lines, journal_steps};
use messages::{journal_message_lines, message_log, ntf_log};
use queues::{store_log, store_log_compaction, store_log_parsing};
use statistics::stats_backup;

mod group {
    simplex_tests::vector_groups! { "storelog.json":
        store_log,
        store_log_parsing,
        store_log_compaction,
        message_log,
        journal_message_lines,
        ntf_log,
        journal_steps,
        journal_reopen,
        journal_state_lines,
        stats_backup,
        server_addresses,
        smp_server_encoding,
    }
}

const FILE: &str = "storelog.json";

/// The settings with which the journals were made.
const SHARED: [&str; 1] = ["journal_config"];

#[test]
fn every_group_is_consumed() {
    let file = load(FILE);
    let consumed = group::CONSUMED.iter().chain(&SHARED).chain(&INI_GROUPS);
    let consumed: BTreeSet<&str> = consumed.copied().collect();
    assert_eq!(groups(&file), consumed);
}

#[test]
fn every_listed_deviation_belongs_to_a_group() {
    for group in deviating_groups(FILE) {
        let known = group::CONSUMED.iter().chain(&INI_GROUPS);
        assert!(known.into_iter().any(|known| *known == group), "{group}");
    }
}
