//! Messages of agents, and the envelopes of queues.

use bytes::Bytes;
use serde_json::{Value, json};
use simplex_sans_io::agent::envelope::{ClientEnvelope, PADDED, PADDED_WITH_KEY};
use simplex_sans_io::agent::message::{
    AMessage, AddedQueue, AgentMessage, ClientMessage, Integrity, KeyedQueue, MsgHash, Receipt,
    UsedQueue,
};
use simplex_sans_io::crypto::{AuthPublicKey, Nonce, hash, x25519};
use simplex_sans_io::wire::{self, Large, NonEmpty, Version};
use simplex_tests::vectors::{
    Comparison, array, assert_encoding, base64, boolean, cases, hex, hexed, load, number, text,
};

use super::queues::{address_in_messages, info, uri};
use super::{FILE, optional};

pub(super) fn agent_messages(group: &Value) {
    for case in cases(group) {
        let message = agent_message(text(&case["case"]), &case["fields"]);
        let encoded = hex(&case["hex"]);
        assert!(boolean(&case["decoded_same"]));
        assert_encoding(&message, &encoded);
        assert_eq!(MsgHash::of(&encoded).as_slice(), hex(&case["sha256"]));
    }
}

fn agent_message(case: &str, fields: &Value) -> AgentMessage {
    let bytes = |value: &Value| Bytes::from(hex(value));
    if fields.get("snd_msg_id").is_none() {
        return match fields.get("queues") {
            Some(queues) => AgentMessage::ConnInfoReply {
                queues: list(queues, info),
                info: bytes(&fields["conn_info"]),
            },
            None if case.starts_with("conn info") => AgentMessage::ConnInfo {
                info: bytes(&fields["conn_info"]),
            },
            None => AgentMessage::RatchetInfo {
                info: bytes(&fields["info"]),
            },
        };
    }
    let address = |value: &Value| {
        assert_eq!(value, "address");
        address_in_messages()
    };
    let message = match case.split([' ', ',']).next().unwrap() {
        "HELLO" => AMessage::Hello,
        "A_MSG" => AMessage::Msg {
            body: bytes(&fields["body"]),
        },
        "A_RCVD" => AMessage::Rcvd {
            receipts: list(&fields["receipts"], |receipt| Receipt {
                sender_msg_id: number(&receipt["agent_msg_id"]).try_into().unwrap(),
                hash: msg_hash(&receipt["msg_hash"]),
                info: Large::try_from(bytes(&receipt["info"])).unwrap(),
            }),
        },
        "A_QCONT" => AMessage::QCont {
            queue: address(&fields["queue"]),
        },
        "QADD" => AMessage::QAdd {
            queues: list(&fields["queues"], |queue| AddedQueue {
                queue: uri(&queue["uri"]),
                replaced: (!queue["replaced"].is_null()).then(|| address(&queue["replaced"])),
            }),
        },
        "QKEY" => AMessage::QKey {
            queues: list(&fields["queues"], |queue| KeyedQueue {
                queue: info(&queue["info"]),
                key: AuthPublicKey::from_spki(&hex(&queue["key"])).unwrap(),
            }),
        },
        "QUSE" => AMessage::QUse {
            queues: NonEmpty::one(UsedQueue {
                queue: address(&fields["queue"]),
                primary: boolean(&fields["primary"]),
            }),
        },
        "QTEST" => AMessage::QTest {
            queues: NonEmpty::one(address(&fields["queue"])),
        },
        "EREADY" => AMessage::EReady {
            last_msg_id: number(&fields["last_msg_id"]).try_into().unwrap(),
        },
        other => unreachable!("{other}"),
    };
    AgentMessage::Message {
        sender_msg_id: number(&fields["snd_msg_id"]).try_into().unwrap(),
        previous: msg_hash(&fields["prev_msg_hash"]),
        message,
    }
}

fn list<T>(values: &Value, of: impl Fn(&Value) -> T) -> NonEmpty<T> {
    let values: Vec<T> = cases(values).map(of).collect();
    NonEmpty::try_from(values).ok().unwrap()
}

fn msg_hash(value: &Value) -> MsgHash {
    MsgHash::try_from(hex(value).as_slice()).unwrap()
}

pub(super) fn agent_message_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "agent_message_decode");
    for case in cases(group) {
        let read = wire::decode_slice::<AgentMessage>(Version(0), &hex(&case["hex"]));
        let ours = read.map(|message| hexed(wire::encode(&message, Version(0))));
        comparison.outcome(text(&case["hex"]), ours, case);
    }
    comparison.finish();
}

pub(super) fn message_hash_chain(group: &Value) {
    let (mut last_id, mut last_hash) = (0, MsgHash::NONE);
    for case in cases(group) {
        let encoded = hex(&case["message"]);
        let message = wire::decode_slice(Version(0), &encoded).unwrap();
        let AgentMessage::Message {
            sender_msg_id,
            previous,
            ..
        } = message
        else {
            unreachable!("a message of a connection")
        };
        assert_eq!(sender_msg_id, number(&case["snd_msg_id"]) as i64);
        assert_eq!(previous, msg_hash(&case["prev_msg_hash"]));
        let integrity = Integrity::of(last_id, &last_hash, sender_msg_id, &previous);
        assert_eq!(integrity, Integrity::Ok);
        (last_id, last_hash) = (sender_msg_id, MsgHash::of(&encoded));
        assert_eq!(last_hash, msg_hash(&case["hash"]));
    }
}

pub(super) fn client_message_envelopes(group: &Value) {
    for case in cases(group) {
        let queue_key = x25519::PrivateKey::from_bytes(array(&case["queue_dh_key"]["priv_raw"]));
        let sender_key = x25519::PrivateKey::from_bytes(array(&case["sender_dh_key"]["priv_raw"]));
        let secret = queue_key.agree(&sender_key.public_key());
        assert_eq!(secret.as_bytes(), &array(&case["secret"]));
        let message = wire::decode_slice(Version(0), &hex(&case["client_message"])).unwrap();
        let key = boolean(&case["public_key_in_header"]).then(|| sender_key.public_key());
        let padded = if key.is_some() {
            PADDED_WITH_KEY
        } else {
            PADDED
        };
        assert_eq!(number(&case["padded_length"]), padded);

        let version = simplex_tests::vectors::version(&case["client_version"]);
        let nonce = Nonce::from(array(&case["nonce"]));
        let envelope = ClientEnvelope::seal(version, key, &secret, nonce, &message).unwrap();
        let encoded = wire::encode(&envelope, Version(0));
        assert_eq!(encoded.len(), number(&case["envelope_len"]));
        assert_eq!(hash::sha256(&encoded), array(&case["envelope_sha256"]));
        assert_eq!(encoded, base64(&case["envelope_base64"]));
        assert_encoding(&envelope, &encoded);
        assert_eq!(envelope.open(&secret), Ok(message));
    }
}

pub(super) fn client_message_envelope_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "client_message_envelope_decode");
    for case in cases(group) {
        let read = wire::decode_slice::<ClientEnvelope>(Version(0), &hex(&case["hex"]));
        let ours = read.map(|envelope| {
            json!({
                "version": envelope.version.0,
                "key": optional(envelope.key.map(|key| hexed(key.to_spki()))),
                "nonce": hexed(envelope.nonce.as_bytes()),
                "body": hexed(envelope.body),
            })
        });
        comparison.outcome(text(&case["hex"]), ours, case);
    }
    comparison.finish();
}

pub(super) fn client_message_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "client_message_decode");
    for case in cases(group) {
        let read = wire::decode_slice::<ClientMessage>(Version(0), &hex(&case["hex"]));
        let ours = read.map(|message| match message {
            ClientMessage::Plain { body } => json!({ "header": null, "body": hexed(body) }),
            ClientMessage::WithKey { key, body } => {
                json!({ "header": hexed(key.to_spki()), "body": hexed(body) })
            }
        });
        comparison.outcome(text(&case["hex"]), ours, case);
    }
    comparison.finish();
}

/// The address that stands in messages is what the file says.
#[test]
fn the_shared_address_is_read() {
    let file = load(FILE);
    let shared = &file["queue_address_in_messages"];
    let address = address_in_messages();
    assert_eq!(address.router.to_string(), text(&shared["server"]));
}
