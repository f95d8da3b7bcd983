//! Parameters, headers, and the words for post-quantum keys.

use bytes::Bytes;
use serde_json::{Value, json};
use simplex_sans_io::crypto::{kem, x448};
use simplex_sans_io::ratchet::{
    E2eParams, E2eUri, InitialKeys, KemParams, KemProposal, MessageHeader, Pq,
};
use simplex_sans_io::wire::{self, Version, VersionRange};
use simplex_tests::vectors::{
    Comparison, array, base64, boolean, cases, hex, hexed, number, text, version,
};

use super::FILE;

pub(super) fn e2e_params(group: &Value) {
    for case in cases(group) {
        let encoded = hex(&case["hex"]);
        let version = Version(u16::from_be_bytes([encoded[0], encoded[1]]));
        let params = E2eParams {
            version,
            key1: x448_key(&case["key1"]),
            key2: x448_key(&case["key2"]),
            kem: kem_params(&case["kem"]),
        };
        assert_eq!(wire::encode(&params, Version(0)), encoded);
        let kem = params.kem.clone().filter(|_| version >= Version(3));
        let decoded: E2eParams<KemParams> = wire::decode_slice(Version(0), &encoded).unwrap();
        assert_eq!(decoded, E2eParams { kem, ..params });
    }
}

pub(super) fn e2e_params_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "e2e_params_decode");
    for case in cases(group) {
        let encoded = hex(&case["hex"]);
        let decoded = wire::decode_slice::<E2eParams<KemProposal>>(Version(0), &encoded);
        let ours = decoded.map(|params| hexed(wire::encode(&params, Version(0))));
        comparison.outcome(text(&case["hex"]), ours, case);
        let accepted = wire::decode_slice::<E2eParams<KemParams>>(Version(0), &encoded);
        let refused = case.get("error").map(text);
        let only_accepted = refused.is_some_and(|error| error.contains("KEM state"));
        assert_eq!(accepted.is_ok(), only_accepted || case.get("ok").is_some());
    }
    comparison.finish();
}

pub(super) fn e2e_params_uri(group: &Value) {
    for case in cases(group) {
        let range = &case["versions"];
        let versions = VersionRange::new(version(&range[0]).0, version(&range[1]).0).unwrap();
        let params = E2eUri {
            versions,
            key1: x448_key(&case["key1"]),
            key2: x448_key(&case["key2"]),
            kem: kem_params(&case["kem"]),
        };
        let encoded = base64(&case["smp"]);
        assert_eq!(wire::encode(&params, Version(0)), encoded);
        let decoded = wire::decode_slice(Version(0), &encoded);
        assert_eq!(decoded.as_ref(), Ok(&params));

        assert_eq!(params.to_string(), text(&case["text"]));
        let kem = params.kem.clone().filter(|_| versions.max() >= Version(3));
        let read: E2eUri<KemParams> = text(&case["text"]).parse().unwrap();
        assert_eq!(read, E2eUri { kem, ..params });

        let accepted = matches!(read.kem, Some(KemParams::Accepted { .. }));
        let proposal = text(&case["text"]).parse::<E2eUri<KemProposal>>();
        assert_eq!(proposal.is_err(), accepted);
        let proposal = wire::decode_slice::<E2eUri<KemProposal>>(Version(0), &encoded);
        assert_eq!(proposal.is_err(), accepted);
    }
}

pub(super) fn e2e_params_uri_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "e2e_params_uri_decode");
    for case in cases(group) {
        let read = text(&case["text"]).parse::<E2eUri<KemProposal>>();
        let ours = read.map(|params| Value::from(params.to_string()));
        comparison.outcome(text(&case["text"]), ours, case);
    }
    comparison.finish();
}

pub(super) fn message_headers(group: &Value) {
    for case in cases(group) {
        let current = version(&case["current_version"]);
        let header = MessageHeader {
            max_version: version(&case["max_version"]),
            ratchet_key: x448_key(&case["dh_key"]),
            kem: kem_params(&case["kem"]),
            previous: u32::try_from(number(&case["pn"])).unwrap(),
            number: u32::try_from(number(&case["ns"])).unwrap(),
        };
        let encoded = Bytes::from(base64(&case["header"]));
        assert_eq!(wire::encode(&header, current), encoded);
        let kem = header.kem.clone().filter(|_| current >= Version(3));
        let read = MessageHeader { kem, ..header };
        assert_eq!(wire::decode(current, &encoded).as_ref(), Ok(&read));

        let longer = Bytes::from([&encoded[..], b"of a later version"].concat());
        assert_eq!(wire::decode_prefix(current, &longer), Ok(read));

        // Version, initialisation vector, tag, and a length that the reference takes for one byte in all versions.
        let around = 2 + 16 + 16 + 1;
        let full = |pq| around + MessageHeader::padded_length(current, pq);
        assert_eq!(full(Pq::Off), number(&case["full_header_len_no_pq"]));
        assert_eq!(full(Pq::On), number(&case["full_header_len_pq"]));
    }
}

pub(super) fn initial_keys(group: &Value) {
    for case in cases(group) {
        let keys: InitialKeys = text(&case["keys"]).parse().unwrap();
        assert_eq!(keys.to_string(), text(&case["keys"]));
        assert_eq!(keys.in_full_link().is_on(), boolean(&case["in_full_link"]));
        let short = keys.in_short_link();
        assert_eq!(short.is_on(), boolean(&case["in_short_link"]));
        let support = keys.support();
        assert_eq!(support.is_on(), boolean(&case["connection_support"]));
    }
}

pub(super) fn pq_text(group: &Value) {
    let mut comparison = Comparison::of(FILE, "pq_text");
    for case in cases(group) {
        let read = text(&case["text"]).parse::<Pq>();
        if let Ok(pq) = read {
            assert_eq!(pq.to_string(), text(&case["text"]));
        }
        comparison.outcome(text(&case["text"]), read.map(|pq| json!(pq.is_on())), case);
    }
    comparison.finish();
}

fn x448_key(value: &Value) -> x448::PublicKey {
    x448::PublicKey::from_bytes(array(value))
}

fn kem_params(value: &Value) -> Option<KemParams> {
    let key = |name| kem::PublicKey::from_bytes(&base64(&value[name])).unwrap();
    match (value.get("proposed"), value.get("ciphertext")) {
        (Some(_), _) => Some(KemParams::Proposed {
            key: key("proposed"),
        }),
        (None, Some(ciphertext)) => Some(KemParams::Accepted {
            ciphertext: kem::Ciphertext::from_bytes(&base64(ciphertext)).unwrap(),
            key: key("key"),
        }),
        (None, None) => None,
    }
}
