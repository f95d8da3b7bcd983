//! What our ratchet agrees on, sends and receives is what the reference's does: every case of `ratchet.json`, both ways.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a result that is missing fails the test"
)]

mod params;
mod recorded;
mod scenarios;

use std::collections::BTreeSet;

use simplex_tests::vectors::{deviating_groups, groups, load};

use params::{
    e2e_params, e2e_params_decode, e2e_params_uri, e2e_params_uri_decode, initial_keys,
    message_headers, pq_text,
};
use scenarios::scenarios;

mod group {
    simplex_tests::vector_groups! { "ratchet.json":
        scenarios,
        e2e_params,
        e2e_params_decode,
        e2e_params_uri,
        e2e_params_uri_decode,
        message_headers,
        initial_keys,
        pq_text,
    }
}

const FILE: &str = "ratchet.json";

#[test]
fn every_group_is_consumed() {
    let file = load(FILE);
    let consumed: BTreeSet<&str> = group::CONSUMED.iter().copied().collect();
    assert_eq!(groups(&file), consumed);
}

#[test]
fn every_listed_deviation_belongs_to_a_group() {
    for group in deviating_groups(FILE) {
        assert!(group::CONSUMED.contains(&group.as_str()), "{group}");
    }
}
