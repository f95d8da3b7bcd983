//! What agents write into links, queues and messages is what the reference writes: every case of `agent.json`, both ways.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

mod messages;
mod queues;
mod requests;
mod short_links;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use simplex_tests::vectors::{deviating_groups, groups, load};

use messages::{
    agent_message_decode, agent_messages, client_message_decode, client_message_envelope_decode,
    client_message_envelopes, message_hash_chain,
};
use queues::{queue_infos, queue_uri_parsing, queue_uris};
use requests::{
    connection_request_parsing, connection_requests, envelope_decode, envelopes, service_scheme,
};
use short_links::{short_link_parsing, short_links};

mod group {
    simplex_tests::vector_groups! { "agent.json":
        queue_uris,
        queue_uri_parsing,
        queue_infos,
        connection_requests,
        connection_request_parsing,
        short_links,
        short_link_parsing,
        service_scheme,
        envelopes,
        envelope_decode,
        agent_messages,
        agent_message_decode,
        message_hash_chain,
        client_message_envelopes,
        client_message_envelope_decode,
        client_message_decode,
    }
}

const FILE: &str = "agent.json";

/// What several cases share.
const SHARED: [&str; 4] = [
    "e2e_key1",
    "e2e_key2",
    "queue_address_in_messages",
    "preset_servers",
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

/// Texts, and values where there are none.
fn optional(text: Option<impl Into<Value>>) -> Value {
    text.map_or_else(|| json!(null), Into::into)
}
