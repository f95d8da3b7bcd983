//! The addresses of queues.

use serde_json::{Value, json};
use simplex_sans_io::agent::queue::{QueueAddress, QueueUri, SmpQueueInfo};
use simplex_sans_io::crypto::x25519;
use simplex_sans_io::smp::QueueMode;
use simplex_sans_io::wire::{self, EntityId, Version};
use simplex_tests::vectors::{Comparison, cases, hex, hexed, load, text, version};

use super::{FILE, optional};

pub(super) fn queue_uris(group: &Value) {
    for case in cases(group) {
        let uri = uri(&case["value"]);
        assert_eq!(uri.to_string(), text(&case["text"]));
        let read: QueueUri = text(&case["text"]).parse().unwrap();
        assert_eq!(shown_uri(&read), case["text_decoded"]["ok"]);

        let encoded = hex(&case["smp"]);
        assert_eq!(wire::encode(&uri, Version(0)), encoded);
        let read: QueueUri = wire::decode_slice(Version(0), &encoded).unwrap();
        assert_eq!(shown_uri(&read), case["smp_decoded"]["ok"]);
    }
}

pub(super) fn queue_uri_parsing(group: &Value) {
    let mut comparison = Comparison::of(FILE, "queue_uri_parsing");
    for case in cases(group) {
        let read = text(&case["text"]).parse::<QueueUri>();
        let ours =
            read.map(|uri| json!({ "value": shown_uri(&uri), "reencoded": uri.to_string() }));
        comparison.outcome(text(&case["text"]), ours, case);
    }
    comparison.finish();
}

pub(super) fn queue_infos(group: &Value) {
    for case in cases(group) {
        let value = &case["value"];
        let (address, dh_key, mode) = address(&value["address"]);
        let info = SmpQueueInfo {
            version: version(&value["client_version"]),
            address,
            dh_key,
            mode,
        };
        let encoded = hex(&case["smp"]);
        assert_eq!(wire::encode(&info, Version(0)), encoded);
        let read: SmpQueueInfo = wire::decode_slice(Version(0), &encoded).unwrap();
        assert_eq!(shown_info(&read), case["decoded"]["ok"]);
    }
}

/// The address that stands in messages.
pub(super) fn address_in_messages() -> QueueAddress {
    let value = &load(FILE)["queue_address_in_messages"];
    QueueAddress {
        router: text(&value["server"]).parse().unwrap(),
        sender_id: EntityId::try_from(hex(&value["sender_id"]).as_slice()).unwrap(),
    }
}

fn address(value: &Value) -> (QueueAddress, x25519::PublicKey, Option<QueueMode>) {
    let address = QueueAddress {
        router: text(&value["server"]).parse().unwrap(),
        sender_id: EntityId::try_from(hex(&value["sender_id"]).as_slice()).unwrap(),
    };
    let mode = value["queue_mode"].as_str().map(|mode| match mode {
        "M" => QueueMode::Messaging,
        "C" => QueueMode::Contact,
        other => unreachable!("{other}"),
    });
    let dh_key = x25519::PublicKey::from_spki(&hex(&value["dh_key"])).unwrap();
    (address, dh_key, mode)
}

pub(super) fn uri(value: &Value) -> QueueUri {
    let (address, dh_key, mode) = address(&value["address"]);
    QueueUri {
        versions: text(&value["client_versions"]).parse().unwrap(),
        address,
        dh_key,
        mode,
    }
}

pub(super) fn info(value: &Value) -> SmpQueueInfo {
    let (address, dh_key, mode) = address(&value["address"]);
    SmpQueueInfo {
        version: version(&value["client_version"]),
        address,
        dh_key,
        mode,
    }
}

fn shown_address(
    address: &QueueAddress,
    dh_key: &x25519::PublicKey,
    mode: Option<QueueMode>,
) -> Value {
    json!({
        "server": address.router.to_string(),
        "sender_id": hexed(&*address.sender_id),
        "dh_key": hexed(dh_key.to_spki()),
        "queue_mode": optional(mode.map(|mode| mode.tag())),
    })
}

pub(super) fn shown_uri(uri: &QueueUri) -> Value {
    let address = shown_address(&uri.address, &uri.dh_key, uri.mode);
    json!({ "client_versions": uri.versions.to_string(), "address": address })
}

fn shown_info(info: &SmpQueueInfo) -> Value {
    let address = shown_address(&info.address, &info.dh_key, info.mode);
    json!({ "client_version": info.version.0, "address": address })
}
