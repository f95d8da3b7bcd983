//! Commands, messages, errors, transmissions and batches are those of the reference: every case of `smp-commands.json`, both ways.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

mod commands;
mod errors;
mod fields;
mod messages;
mod names;
mod transmissions;

use std::collections::BTreeSet;

use simplex_tests::vectors::{deviating_groups, groups, load};

use commands::{command_parsing, commands, max_message_length};
use errors::{error_decode, errors};
use messages::{broker_message_parsing, broker_messages};
use names::{name_info, names};
use transmissions::{
    batches, block_parsing, blocks, server_decoding, sub_batch_capacity, transmissions,
};

mod group {
    simplex_tests::vector_groups! { "smp-commands.json":
        commands,
        command_parsing,
        broker_messages,
        broker_message_parsing,
        errors,
        error_decode,
        transmissions,
        block_parsing,
        server_decoding,
        batches,
        sub_batch_capacity,
        blocks,
        max_message_length,
        names,
        name_info,
    }
}

const FILE: &str = "smp-commands.json";

/// What several groups share.
const SHARED: [&str; 3] = ["session_id", "server_session_key", "service"];

#[test]
fn every_group_is_consumed() {
    let file = load(FILE);
    let consumed: BTreeSet<&str> = group::CONSUMED.iter().chain(&SHARED).copied().collect();
    assert_eq!(groups(&file), consumed);
}

#[test]
fn every_listed_deviation_belongs_to_a_group() {
    for group in deviating_groups(FILE) {
        assert!(group::CONSUMED.contains(&group.as_str()), "{group}");
    }
}
