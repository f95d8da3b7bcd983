//! Errors: their bytes, their text, their JSON.

use serde_json::Value;
use simplex_sans_io::smp::{BrokerMessage, ErrorType};
use simplex_sans_io::wire::{self, Version};
use simplex_tests::vectors::{Comparison, boolean, cases, hex, latin1, text, versions};

use super::FILE;

pub(super) fn errors(group: &Value) {
    for case in cases(group) {
        let error: ErrorType = serde_json::from_value(case["json"].clone()).unwrap();
        assert_eq!(serde_json::to_value(&error).unwrap(), case["json"]);
        assert_eq!(shown(&case["json"]), text(&case["show"]));
        assert_eq!(error.to_string(), text(&case["text_encoding"]));

        let encoded = wire::encode(&error, Version(20));
        assert_eq!(encoded, hex(&case["hex"]));
        assert_eq!(encoded, latin1(&case["error"]));
        let decoded: ErrorType = wire::decode(Version(20), &encoded).unwrap();
        assert_eq!(decoded == error, boolean(&case["decoded_same"]), "{case}");

        for encoding in cases(&case["encodings"]) {
            for version in versions(&encoding["versions"]) {
                let message = BrokerMessage::Err(error.clone()).for_version(version);
                assert_eq!(wire::encode(&message, version), hex(&encoding["hex"]));
            }
        }
    }
}

pub(super) fn error_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "error_decode");
    for case in cases(group) {
        let decoded = wire::decode_slice::<ErrorType>(Version(20), &hex(&case["hex"]));
        if let Ok(error) = &decoded {
            let encoded = wire::encode(error, Version(20));
            let again: ErrorType = wire::decode(Version(20), &encoded).unwrap();
            assert_eq!(wire::encode(&again, Version(20)), encoded);
        }
        let shown = decoded.map(|error| shown(&serde_json::to_value(error).unwrap()).into());
        comparison.outcome(text(&case["hex"]), shown, case);
    }
    comparison.finish();
}

/// An error as the reference shows it: constructors and records instead of JSON.
fn shown(error: &Value) -> String {
    let constructor = match text(&error["type"]) {
        "badBlock" => "TEBadBlock",
        "version" => "TEVersion",
        "largeMsg" => "TELargeMsg",
        "badSession" => "TEBadSession",
        "noServerAuth" => "TENoServerAuth",
        "handshake" => "TEHandshake",
        "connectError" => "NEConnectError",
        "tLSError" => "NETLSError",
        "unknownCAError" => "NEUnknownCAError",
        "failedError" => "NEFailedError",
        "timeoutError" => "NETimeoutError",
        "subscribeError" => "NESubscribeError",
        constructor => constructor,
    };
    let field = error
        .as_object()
        .unwrap()
        .iter()
        .find(|(name, _)| *name != "type");
    match field {
        None => constructor.to_owned(),
        Some((name, value)) => format!("{constructor} {{{name} = {}}}", shown_field(name, value)),
    }
}

fn shown_field(name: &str, value: &Value) -> String {
    match (name, value.as_str()) {
        ("blockInfo", _) => shown_blocking_info(value),
        (_, Some(text)) => format!("{:?}", text.replace('\u{fffd}', "?")),
        (_, None) => shown(value),
    }
}

fn shown_blocking_info(info: &Value) -> String {
    let reason = match text(&info["reason"]) {
        "spam" => "BRSpam",
        "content" => "BRContent",
        other => unreachable!("reason {other}"),
    };
    let notice = match info.get("notice") {
        None => "Nothing".to_owned(),
        Some(notice) => {
            let ttl = notice.get("ttl");
            let ttl = ttl.map_or_else(|| "Nothing".to_owned(), |ttl| format!("Just {ttl}"));
            format!("Just (ClientNotice {{ttl = {ttl}}})")
        }
    };
    format!("BlockingInfo {{reason = {reason}, notice = {notice}}}")
}
