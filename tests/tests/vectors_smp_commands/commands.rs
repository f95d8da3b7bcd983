//! Commands in every version.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use simplex_sans_io::smp::transmission::{Session, Transmission};
use simplex_sans_io::smp::version::{AUTH_COMMANDS, SERVICE_CERTIFICATES};
use simplex_sans_io::smp::{
    Command, ContactLink, MsgFlags, NewQueue, QueueLink, QueueMode, QueueRequest, SubscriptionMode,
    version,
};
use simplex_sans_io::wire::{
    self, Id, KeyHash, NonEmpty, ServerAddress, TransportHost, Version, Wire,
};
use simplex_tests::vectors::{
    self, Comparison, array, boolean, cases, hex, hexed, load, number, text, versions,
};

use super::FILE;
use super::fields::{
    auth_key, bytes, dh_key, id, link_data, notifier_keys, optional, password, queue_mode,
    service_queues,
};

const LATEST: Version = Version(20);

pub(super) fn commands(group: &Value) {
    for case in cases(group) {
        let command = command(text(&case["command"]), &case["fields"]);
        for encoding in cases(&case["encodings"]) {
            for version in versions(&encoding["versions"]) {
                let encoded = wire::encode(&command, version);
                assert_eq!(encoded, hex(&encoding["hex"]), "{case}");
                let decoded: Command = wire::decode(version, &encoded).unwrap();
                let latest = wire::encode(&decoded, LATEST);
                assert_eq!(latest, hex(&encoding["decoded_and_encoded_as_v20"]));
                assert_eq!(wire::encode(&decoded, version), encoded);
                assert!(version != LATEST || decoded == command);
            }
        }
    }
}

fn command(tag: &str, fields: &Value) -> Command {
    match tag {
        "NEW" => Command::New(Box::new(new_queue(fields))),
        "SUB" => Command::Sub,
        "SUBS" => Command::Subs(service_queues(fields)),
        "KEY" => Command::Key(auth_key(&fields["key"])),
        "RKEY" => {
            let keys: Vec<_> = cases(&fields["keys"]).map(auth_key).collect();
            Command::RKey(NonEmpty::try_from(keys).unwrap())
        }
        "LSET" => Command::LSet {
            link_id: id(&fields["link_id"]),
            data: link_data(&fields["link_data"]),
        },
        "LDEL" => Command::LDel,
        "NKEY" => Command::NKey(notifier_keys(fields)),
        "NDEL" => Command::NDel,
        "GET" => Command::Get,
        "ACK" => Command::Ack(id(&fields["msg_id"])),
        "OFF" => Command::Off,
        "DEL" => Command::Del,
        "QUE" => Command::Que,
        "SKEY" => Command::SKey(auth_key(&fields["key"])),
        "SEND" => Command::Send {
            flags: MsgFlags {
                notification: boolean(&fields["notification"]),
            },
            body: bytes(&fields["body"]),
        },
        "PING" => Command::Ping,
        "LKEY" => Command::LKey(auth_key(&fields["key"])),
        "LGET" => Command::LGet,
        "NSUB" => Command::NSub,
        "NSUBS" => Command::NSubs(service_queues(fields)),
        "PRXY" => {
            let host = |host: &Value| text(host).parse::<TransportHost>().unwrap();
            let hosts = NonEmpty::try_from(cases(&fields["hosts"]).map(host).collect::<Vec<_>>());
            let key_hash = KeyHash::from(array::<32>(&fields["key_hash"]));
            Command::Prxy {
                relay: ServerAddress::new(
                    hosts.unwrap(),
                    text(&fields["port"]).parse().ok(),
                    key_hash,
                ),
                password: optional(&fields["password"], password),
            }
        }
        "PFWD" => Command::Pfwd {
            version: vectors::version(&fields["version"]),
            key: dh_key(&fields["key"]),
            encrypted: bytes(&fields["encrypted"]),
        },
        "RFWD" => Command::Rfwd {
            encrypted: bytes(&fields["encrypted"]),
        },
        "RSLV" => Command::Rslv {
            domain: text(&fields["domain"]).parse().unwrap(),
        },
        other => unreachable!("command {other}"),
    }
}

fn new_queue(fields: &Value) -> NewQueue {
    NewQueue {
        auth_key: auth_key(&fields["auth_key"]),
        dh_key: dh_key(&fields["dh_key"]),
        password: optional(&fields["password"], password),
        subscription: match text(&fields["sub_mode"]) {
            "S" => SubscriptionMode::Subscribe,
            "C" => SubscriptionMode::OnlyCreate,
            other => unreachable!("mode {other}"),
        },
        request: optional(&fields["queue_req_data"], queue_request),
        notifier: optional(&fields["ntf_creds"], notifier_keys),
    }
}

fn queue_request(fields: &Value) -> QueueRequest {
    let data = &fields["data"];
    match queue_mode(&fields["mode"]) {
        QueueMode::Messaging => QueueRequest::Messaging(optional(data, |link| QueueLink {
            sender_id: id(&link["sender_id"]),
            data: link_data(&link["link_data"]),
        })),
        QueueMode::Contact => QueueRequest::Contact(optional(data, |link| ContactLink {
            link_id: id(&link["link_id"]),
            sender_id: id(&link["sender_id"]),
            data: link_data(&link["link_data"]),
        })),
    }
}

pub(super) fn command_parsing(group: &Value) {
    let mut comparison = Comparison::of(FILE, "command_parsing");
    let session_id = Id::try_from(hex(&load(FILE)["session_id"]).as_slice()).unwrap();
    for case in cases(group) {
        for result in cases(&case["results"]) {
            for version in versions(&result["versions"]) {
                let session = Session {
                    version,
                    id: session_id.clone(),
                };
                let command = Transmission::parse(&session, &transmission(&session, case))
                    .map_err(|malformed| malformed.error)
                    .and_then(|transmission| transmission.parse_command(version));
                let ours = match command {
                    Ok(command) => json!({ "ok": hexed(wire::encode(&command, LATEST)) }),
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

/// The bytes of a command behind an authenticator of the given length.
fn transmission(session: &Session, case: &Value) -> Bytes {
    let length = number(&case["authenticator_len"]);
    let mut out = BytesMut::new();
    out.put_u8(u8::try_from(length).unwrap());
    out.put_bytes(b's', length);
    if session.version >= SERVICE_CERTIFICATES && length > 0 {
        out.put_u8(b'0');
    }
    if session.version < AUTH_COMMANDS {
        session.id.put(session.version, &mut out);
    }
    out.put_slice(b"\x03abc");
    id(&case["entity_id"]).put(session.version, &mut out);
    out.put_slice(&hex(&case["command"]));
    out.freeze()
}

pub(super) fn max_message_length(group: &Value) {
    for case in cases(group) {
        let length = version::max_message_length(vectors::version(&case["version"]));
        assert_eq!(length, number(&case["max"]));
    }
}
