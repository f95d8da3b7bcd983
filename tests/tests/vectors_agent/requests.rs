//! Long links, and the envelopes that one of them travels in.

use serde_json::{Map, Value, json};
use simplex_sans_io::agent::envelope::{AgentEnvelope, EnvelopeContent};
use simplex_sans_io::agent::link::{ClientData, ConnectionRequest, RequestData, ServiceScheme};
use simplex_sans_io::agent::queue::QueueUri;
use simplex_sans_io::wire::{self, NonEmpty, Version};
use simplex_tests::vectors::{Comparison, assert_encoding, boolean, cases, hex, hexed, load, text};

use super::queues::{shown_uri, uri};
use super::{FILE, optional};

pub(super) fn connection_requests(group: &Value) {
    for case in cases(group) {
        let request = request(&case["value"]);
        let name = text(&case["case"]);
        let scheme = match name.contains("web scheme") {
            true => "https://simplex.chat".parse().unwrap(),
            false => ServiceScheme::Simplex,
        };
        assert_eq!(request.to_link(&scheme), text(&case["text"]), "{name}");
        let read: ConnectionRequest = text(&case["text"]).parse().unwrap();
        let decoded = &case["text_decoded"]["ok"];
        assert_eq!(shown(&read), decoded["value"], "{name}");
        assert_eq!(read.to_string(), text(&decoded["reencoded"]), "{name}");

        let encoded = hex(&case["smp"]);
        assert_eq!(wire::encode(&request, Version(0)), encoded, "{name}");
        let read: ConnectionRequest = wire::decode_slice(Version(0), &encoded).unwrap();
        let decoded = &case["smp_decoded"]["ok"];
        assert_eq!(shown(&read), decoded["value"], "{name}");
        assert_eq!(wire::encode(&read, Version(0)), hex(&decoded["reencoded"]));
    }
}

pub(super) fn connection_request_parsing(group: &Value) {
    let mut comparison = Comparison::of(FILE, "connection_request_parsing");
    for case in cases(group) {
        let read = text(&case["text"]).parse::<ConnectionRequest>();
        let ours = read
            .map(|request| json!({ "value": shown(&request), "reencoded": request.to_string() }));
        comparison.outcome(text(&case["text"]), ours, case);
    }
    comparison.finish();
}

pub(super) fn service_scheme(group: &Value) {
    let mut comparison = Comparison::of(FILE, "service_scheme");
    for case in cases(group) {
        let read = text(&case["text"]).parse::<ServiceScheme>();
        let ours = read.map(|scheme| Value::from(scheme.to_string()));
        comparison.outcome(text(&case["text"]), ours, case);
    }
    comparison.finish();
}

pub(super) fn envelopes(group: &Value) {
    let file = load(FILE);
    for case in cases(group) {
        let encoded = hex(&case["hex"]);
        assert!(boolean(&case["decoded_same"]));
        let envelope: AgentEnvelope = wire::decode_slice(Version(0), &encoded).unwrap();
        assert_encoding(&envelope, &encoded);
        let payload = hex(&case["conn_info_or_payload"]);
        let assert_keys = |keys: [&[u8]; 2]| {
            assert_eq!(
                keys.map(hexed),
                [&file["e2e_key1"], &file["e2e_key2"]].map(Value::clone)
            );
        };
        let name = text(&case["case"]);
        match envelope.content {
            EnvelopeContent::Confirmation { params, encrypted } => {
                assert_eq!(params.is_some(), name.contains("with e2e params"));
                if let Some(params) = params {
                    assert_keys([&params.key1.to_spki(), &params.key2.to_spki()]);
                }
                assert_eq!(encrypted, payload);
            }
            EnvelopeContent::Message { encrypted } => {
                let expected = if name.ends_with("empty") {
                    &[][..]
                } else {
                    &payload
                };
                assert_eq!(encrypted, expected);
            }
            EnvelopeContent::Invitation { request, info } => {
                assert!(matches!(*request, ConnectionRequest::Invitation(..)));
                assert_eq!(info, payload);
            }
            EnvelopeContent::RatchetKey { params, info } => {
                assert_keys([&params.key1.to_spki(), &params.key2.to_spki()]);
                assert_eq!(info, payload);
            }
        }
    }
}

pub(super) fn envelope_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "envelope_decode");
    for case in cases(group) {
        let read = wire::decode_slice::<AgentEnvelope>(Version(0), &hex(&case["hex"]));
        let ours = read.map(|envelope| hexed(wire::encode(&envelope, Version(0))));
        comparison.outcome(text(&case["hex"]), ours, case);
    }
    comparison.finish();
}

fn request(value: &Value) -> ConnectionRequest {
    let queues: Vec<QueueUri> = cases(&value["queues"]).map(uri).collect();
    let client_data = value["client_data"].as_str().map(str::to_owned);
    let data = RequestData {
        versions: text(&value["agent_versions"]).parse().unwrap(),
        queues: NonEmpty::try_from(queues).unwrap(),
        client_data: client_data.map(|data| ClientData::try_from(data).unwrap()),
    };
    match text(&value["mode"]) {
        "invitation" => {
            let keys = text(&value["e2e"]).parse().unwrap();
            ConnectionRequest::Invitation(data, Box::new(keys))
        }
        "contact" => ConnectionRequest::Contact(data),
        other => unreachable!("{other}"),
    }
}

fn shown(request: &ConnectionRequest) -> Value {
    let data = request.data();
    let client_data = data.client_data.as_ref();
    let mut shown = Map::new();
    let queues = data.queues.iter().map(shown_uri).collect();
    shown.insert("agent_versions".into(), data.versions.to_string().into());
    shown.insert("queues".into(), Value::Array(queues));
    shown.insert(
        "client_data".into(),
        optional(client_data.map(ClientData::as_str)),
    );
    let mode = match request {
        ConnectionRequest::Invitation(_, keys) => {
            shown.insert("e2e".into(), keys.to_string().into());
            "invitation"
        }
        ConnectionRequest::Contact(_) => "contact",
    };
    shown.insert("mode".into(), mode.into());
    Value::Object(shown)
}
