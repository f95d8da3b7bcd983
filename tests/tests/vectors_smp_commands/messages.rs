//! What routers answer, in every version.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use simplex_sans_io::smp::transmission::{Session, Transmission};
use simplex_sans_io::smp::{BrokerMessage, ErrorType, NameRecord, QueueIds, QueueInfo};
use simplex_sans_io::wire::{self, EntityId, Id, NonEmpty, Short, Version, VersionRange, Wire};
use simplex_tests::vectors::{
    self, Comparison, array, boolean, cases, hex, hexed, text, version, versions,
};

use super::FILE;
use super::fields::{bytes, dh_key, id, large, link_data, optional, queue_mode, service_queues};

const LATEST: Version = Version(20);

pub(super) fn broker_messages(group: &Value) {
    for case in cases(group) {
        let message = message(case);
        for encoding in cases(&case["encodings"]) {
            for version in versions(&encoding["versions"]) {
                let message = message.clone().for_version(version);
                let encoded = wire::encode(&message, version);
                assert_eq!(encoded, hex(&encoding["hex"]), "{case}");
                if let Some(text) = encoding.get("text") {
                    assert_eq!(encoded, vectors::latin1(text));
                }
                let entity = match boolean(&case["entity_in_response"]) {
                    true => EntityId::from([7; 24]),
                    false => EntityId::EMPTY,
                };
                let decoded = parse(version, &entity, &encoded).unwrap();
                let latest = wire::encode(&decoded, LATEST);
                assert_eq!(latest, hex(&encoding["decoded_and_encoded_as_v20"]));
                assert!(version != LATEST || decoded == message);
            }
        }
    }
}

fn message(case: &Value) -> BrokerMessage {
    let fields = &case["fields"];
    match text(&case["message"]) {
        "IDS" => BrokerMessage::Ids(Box::new(QueueIds {
            recipient_id: id(&fields["rcv_id"]),
            sender_id: id(&fields["snd_id"]),
            dh_key: dh_key(&fields["server_dh_key"]),
            mode: optional(&fields["queue_mode"], queue_mode),
            link_id: optional(&fields["link_id"], id),
            service_id: optional(&fields["service_id"], id),
            notifier: optional(&fields["ntf_creds"], |notifier| {
                (id(&notifier["ntf_id"]), dh_key(&notifier["server_dh_key"]))
            }),
        })),
        "LNK" => BrokerMessage::Lnk {
            sender_id: id(&fields["sender_id"]),
            data: link_data(&fields["link_data"]),
        },
        "SOK" => BrokerMessage::Sok {
            service_id: optional(&fields["service_id"], id),
        },
        "SOKS" => BrokerMessage::Soks(service_queues(fields)),
        "MSG" => BrokerMessage::Msg {
            id: id(&fields["msg_id"]),
            body: bytes(&fields["encrypted_body"]),
        },
        "ALLS" => BrokerMessage::Alls,
        "NID" => BrokerMessage::Nid {
            notifier_id: id(&fields["ntf_id"]),
            dh_key: dh_key(&fields["server_dh_key"]),
        },
        "NMSG" => BrokerMessage::NMsg {
            nonce: array(&fields["nonce"]),
            meta: Short::try_from(bytes(&fields["encrypted_meta"])).unwrap(),
        },
        "PKEY" => BrokerMessage::PKey {
            session_id: Id::try_from(hex(&fields["session_id"]).as_slice()).unwrap(),
            versions: VersionRange::new(
                version(&fields["versions"][0]).0,
                version(&fields["versions"][1]).0,
            )
            .unwrap(),
            chain: NonEmpty::try_from(cases(&fields["cert_chain"]).map(large).collect::<Vec<_>>())
                .unwrap(),
            signed_key: large(&fields["signed_key"]),
        },
        "RRES" => BrokerMessage::RRes {
            encrypted: bytes(&fields["encrypted"]),
        },
        "PRES" => BrokerMessage::PRes {
            encrypted: bytes(&fields["encrypted"]),
        },
        "END" => BrokerMessage::End,
        "ENDS" => BrokerMessage::Ends(service_queues(fields)),
        "DELD" => BrokerMessage::Deld,
        "INFO" => BrokerMessage::Info(Box::new(queue_info(case))),
        "OK" => BrokerMessage::Ok,
        "PONG" => BrokerMessage::Pong,
        "RNAME" => BrokerMessage::RName(Box::new(name_record(case))),
        other => unreachable!("message {other}"),
    }
}

/// The fields of INFO are recorded in its text only, except for the first case.
fn queue_info(case: &Value) -> QueueInfo {
    let json: Value = serde_json::from_str(json_text(case, "INFO ")).unwrap();
    for (name, value) in case["fields"]["json"].as_object().into_iter().flatten() {
        assert_eq!(json[name], *value);
    }
    let info: QueueInfo = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&info).unwrap(), json);
    info
}

fn name_record(case: &Value) -> NameRecord {
    let json: Value = serde_json::from_str(json_text(case, "RNAME ")).unwrap();
    assert_eq!(json["name"], case["fields"]["name"]);
    let record: NameRecord = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&record).unwrap(), json);
    record
}

fn json_text<'a>(case: &'a Value, tag: &str) -> &'a str {
    let text = text(&case["encodings"][0]["text"]);
    text.strip_prefix(tag).unwrap()
}

pub(super) fn broker_message_parsing(group: &Value) {
    let mut comparison = Comparison::of(FILE, "broker_message_parsing");
    for case in cases(group) {
        for result in cases(&case["results"]) {
            for version in versions(&result["versions"]) {
                let parsed = parse(version, &id(&case["entity_id"]), &hex(&case["message"]));
                let ours = match parsed {
                    Ok(message) => json!({ "ok": hexed(wire::encode(&message, LATEST)) }),
                    Err(error) => json!({ "error": error.to_string() }),
                };
                let mut reference = result.clone();
                reference.as_object_mut().unwrap().remove("versions");
                let name = format!("{}, version {version}", text(&case["case"]));
                comparison.result(&name, &ours, &reference);
            }
        }
    }
    comparison.finish();
}

/// What a client of that version understands.
fn parse(version: Version, entity: &EntityId, message: &[u8]) -> Result<BrokerMessage, ErrorType> {
    let session = Session {
        version,
        id: Id::try_from(b"session".as_slice()).unwrap(),
    };
    let mut out = BytesMut::new();
    out.put_u8(0);
    if version < simplex_sans_io::smp::version::AUTH_COMMANDS {
        session.id.put(version, &mut out);
    }
    out.put_slice(b"\x03abc");
    entity.put(version, &mut out);
    out.put_slice(message);
    let transmission: Bytes = out.freeze();
    let transmission = Transmission::parse(&session, &transmission).unwrap();
    transmission.parse_message(version)
}
