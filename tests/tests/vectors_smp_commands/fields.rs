//! The recorded fields of commands and messages.

use bytes::Bytes;
use serde_json::Value;
use simplex_sans_io::crypto::{AuthPublicKey, IdsHash, x25519};
use simplex_sans_io::smp::{LinkData, NotifierKeys, QueueMode, ServiceQueues};
use simplex_sans_io::wire::{BasicAuth, EntityId, Large};
use simplex_tests::vectors::{array, hex, text};

pub(super) fn id(value: &Value) -> EntityId {
    EntityId::try_from(hex(value).as_slice()).unwrap()
}

pub(super) fn bytes(value: &Value) -> Bytes {
    hex(value).into()
}

pub(super) fn large(value: &Value) -> Large {
    Large::try_from(bytes(value)).unwrap()
}

pub(super) fn auth_key(value: &Value) -> AuthPublicKey {
    AuthPublicKey::from_spki(&hex(value)).unwrap()
}

pub(super) fn dh_key(value: &Value) -> x25519::PublicKey {
    x25519::PublicKey::from_spki(&hex(value)).unwrap()
}

pub(super) fn optional<T>(value: &Value, field: impl Fn(&Value) -> T) -> Option<T> {
    (!value.is_null()).then(|| field(value))
}

pub(super) fn password(value: &Value) -> BasicAuth {
    text(value).parse().unwrap()
}

pub(super) fn queue_mode(value: &Value) -> QueueMode {
    match text(value) {
        "M" => QueueMode::Messaging,
        "C" => QueueMode::Contact,
        other => unreachable!("mode {other}"),
    }
}

pub(super) fn link_data(value: &Value) -> LinkData {
    LinkData {
        fixed: large(&value["fixed"]),
        user: large(&value["user"]),
    }
}

pub(super) fn notifier_keys(value: &Value) -> NotifierKeys {
    NotifierKeys {
        auth_key: auth_key(&value["auth_key"]),
        dh_key: dh_key(&value["dh_key"]),
    }
}

pub(super) fn service_queues(value: &Value) -> ServiceQueues {
    ServiceQueues {
        count: value["count"].as_i64().unwrap(),
        ids_hash: IdsHash::from_bytes(array(&value["ids_hash"])),
    }
}
