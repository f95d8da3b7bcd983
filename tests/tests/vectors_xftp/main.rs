//! XFTP is that of the reference: every case of `xftp.json`, both ways.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

mod descriptions;
mod files;
mod protocol;

use std::collections::BTreeSet;

use simplex_tests::vectors::{deviating_groups, groups, load};

use descriptions::{
    file_description_decode, file_description_uris, file_descriptions, file_size_text,
    file_size_text_decode, replica_keys, store_log, web_links,
};
use files::{chunk_download, chunk_sizes, file_decryption, file_encryption};
use protocol::{
    client_handshake, client_handshake_decode, client_hello_decode, commands, error_decode, errors,
    responses, server_handshake, server_handshake_decode, transmission_decode, transmissions,
};

mod group {
    simplex_tests::vector_groups! { "xftp.json":
        server_handshake,
        server_handshake_decode,
        client_hello_decode,
        client_handshake,
        client_handshake_decode,
        commands,
        transmissions,
        transmission_decode,
        responses,
        errors,
        error_decode,
        chunk_sizes,
        file_size_text,
        file_size_text_decode,
        file_encryption,
        file_decryption,
        chunk_download,
        replica_keys,
        file_descriptions,
        file_description_decode,
        file_description_uris,
        web_links,
        store_log,
    }
}

const FILE: &str = "xftp.json";

/// What several groups share.
const SHARED: [&str; 2] = ["session_id", "session_key"];

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
