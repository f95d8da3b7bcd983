//! What SMP encrypts for others is what the reference encrypts: every case of `smp-crypto.json`, both ways.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

mod delivery;
mod links;
mod proxy;

use std::collections::BTreeSet;

use simplex_tests::vectors::{deviating_groups, groups, load};

use delivery::{
    deliveries, notification_meta, notification_meta_decode, quota_message, received_body_parsing,
};
use links::{
    sender_id, short_link_data, short_link_data_verification, short_link_kdf, short_link_owners,
};
use proxy::proxy;

mod group {
    simplex_tests::vector_groups! { "smp-crypto.json":
        deliveries,
        quota_message,
        received_body_parsing,
        notification_meta,
        notification_meta_decode,
        proxy,
        sender_id,
        short_link_kdf,
        short_link_owners,
        short_link_data,
        short_link_data_verification,
    }
}

const FILE: &str = "smp-crypto.json";

/// What several cases share.
const SHARED: [&str; 4] = [
    "delivery_keys",
    "notification_keys",
    "other_key",
    "proxied_padded_length",
];

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
