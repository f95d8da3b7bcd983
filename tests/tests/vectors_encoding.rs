//! Primitive values are encoded as the reference encodes them: the groups of `encoding.json` without the keys.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Value, json};
use simplex_sans_io::crypto::AuthPublicKey;
use simplex_sans_io::wire::utc::UtcTime;
use simplex_sans_io::wire::{
    self, BasicAuth, Codec, CorrId, EntityId, KeyHash, Large, List, NonEmpty, ServerAddress, Short,
    SmpScheme, Source, Tail, Text, TooMany, TransportHost, Version, VersionRange, Wire, padding,
    text as text_encoding,
};
use simplex_tests::vectors::{
    self, Comparison, KEY_GROUPS, assert_encoding, boolean, cases, deviating_groups, groups, hex,
    hexed, latin1, load, number,
};

mod group {
    simplex_tests::vector_groups! { "encoding.json":
        word16,
        word16_decode,
        word32,
        word32_decode,
        int64,
        int64_decode,
        bool_decode,
        char_decode,
        bytes,
        bytes_decode,
        bytes_overflow_encode,
        large,
        large_decode,
        tail_decode,
        maybe_bytes,
        maybe_bytes_decode,
        list_bytes,
        nonempty_bytes,
        nonempty_bytes_decode,
        system_time,
        text,
        text_decode,
        tuples,
        version_range,
        version_range_decode,
        version_range_text_decode,
        version_compatibility,
        version_capped_range,
        public_key_text_decode,
        pad,
        pad_limits,
        unpad,
        pad_int64,
        unpad_int64,
        base64url_text,
        base64url_text_decode,
        base64url_parser_decode,
        int_text_decode,
        word16_text_decode,
        bool_text_decode,
        utctime_text_decode,
        nonempty_text,
        nonempty_text_decode,
        transport_host_text_decode,
        transport_host_smp_decode,
        transport_hosts_text_decode,
        entity_id,
        corr_id,
        key_hash,
        basic_auth_smp_decode,
    }
}

const FILE: &str = "encoding.json";

#[test]
fn every_group_is_consumed() {
    let file = load(FILE);
    let consumed: BTreeSet<&str> = group::CONSUMED.iter().chain(&KEY_GROUPS).copied().collect();
    assert_eq!(groups(&file), consumed);
    assert_eq!(consumed.len(), group::CONSUMED.len() + KEY_GROUPS.len());
}

#[test]
fn every_listed_deviation_belongs_to_a_group() {
    for group in deviating_groups(FILE) {
        assert!(group::CONSUMED.contains(&group.as_str()), "{group}");
    }
}

// Numbers and booleans.

fn word16(group: &Value) {
    both_ways(group, |value| u16::try_from(number(value)).unwrap());
}

fn word16_decode(group: &Value) {
    decode::<u16>(group, "word16_decode", |value| json!(value));
}

fn word32(group: &Value) {
    both_ways(group, |value| u32::try_from(number(value)).unwrap());
}

fn word32_decode(group: &Value) {
    decode::<u32>(group, "word32_decode", |value| json!(value));
}

fn int64(group: &Value) {
    both_ways(group, |value| value.as_i64().unwrap());
}

fn int64_decode(group: &Value) {
    decode::<i64>(group, "int64_decode", |value| json!(value));
}

fn bool_decode(group: &Value) {
    decode::<bool>(group, "bool_decode", |value| json!(value));
}

fn char_decode(group: &Value) {
    decode::<u8>(group, "char_decode", |value| json!(value));
}

fn int_text_decode(group: &Value) {
    decode_text(group, "int_text_decode", |text| {
        text_encoding::parse_i64(text).map(|value| json!(value))
    });
}

fn word16_text_decode(group: &Value) {
    decode_text(group, "word16_text_decode", |text| {
        text_encoding::parse_u16(text).map(|value| json!(value))
    });
}

fn bool_text_decode(group: &Value) {
    decode_text(group, "bool_text_decode", |text| {
        text_encoding::parse_bool(text).map(|value| json!(value))
    });
}

// Bytes and texts.

fn bytes(group: &Value) {
    both_ways(group, short);
}

fn bytes_decode(group: &Value) {
    decode::<Short>(group, "bytes_decode", |value| hexed(&**value));
}

fn bytes_overflow_encode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "bytes_overflow_encode");
    for case in cases(group) {
        let length = number(&case["value_len"]);
        let value = Short::try_from(Bytes::from(vec![b'z'; length]));
        assert_eq!(value, Err(TooMany(length, 255)));
        let reference = json!([case["hex_prefix"], case["encoded_len"]]);
        comparison.result(&length.to_string(), &json!("refused"), &reference);
    }
    comparison.finish();
}

fn large(group: &Value) {
    both_ways(group, |value| {
        Large::try_from(hex(value).as_slice()).unwrap()
    });
}

fn large_decode(group: &Value) {
    decode::<Large>(group, "large_decode", |value| hexed(&**value));
}

fn tail_decode(group: &Value) {
    for case in cases(group) {
        let encoded = hex(&case["hex"]);
        let source = Source::borrowed(Version(0));
        let (rest, value) = Tail::parse(source, &encoded).unwrap();
        assert_eq!((rest, &value[..]), (&[][..], &hex(&case["ok"])[..]));
        let mut out = bytes::BytesMut::new();
        Tail::put(&value, Version(0), &mut out);
        assert_eq!(out, encoded);
    }
}

fn text(group: &Value) {
    both_ways(group, |value| {
        Text::try_from(vectors::text(value).to_owned()).unwrap()
    });
}

fn text_decode(group: &Value) {
    decode::<Text>(group, "text_decode", |value| json!(value.as_str()));
}

fn base64url_text(group: &Value) {
    for case in cases(group) {
        let (value, encoded) = (hex(&case["value"]), text_of(case));
        assert_eq!(text_encoding::base64url(&value), encoded);
        assert_eq!(text_encoding::parse_base64url(encoded), Ok(value));
    }
}

fn base64url_text_decode(group: &Value) {
    decode_text(group, "base64url_text_decode", |text| {
        text_encoding::parse_base64url(text).map(hexed)
    });
}

fn base64url_parser_decode(group: &Value) {
    decode_text(group, "base64url_parser_decode", |text| {
        text_encoding::parse_base64url_field(text).map(hexed)
    });
}

// Compositions.

fn maybe_bytes(group: &Value) {
    both_ways(group, |value| (!value.is_null()).then(|| short(value)));
}

fn maybe_bytes_decode(group: &Value) {
    decode::<Option<Short>>(group, "maybe_bytes_decode", |value| {
        value.as_ref().map_or(Value::Null, |value| hexed(&**value))
    });
}

fn list_bytes(group: &Value) {
    both_ways(group, |value| List::try_from(shorts(value)).unwrap());
}

fn nonempty_bytes(group: &Value) {
    both_ways(group, |value| NonEmpty::try_from(shorts(value)).unwrap());
}

fn nonempty_bytes_decode(group: &Value) {
    decode::<NonEmpty<Short>>(group, "nonempty_bytes_decode", |values| {
        values.iter().map(|value| hexed(&**value)).collect()
    });
}

fn tuples(group: &Value) {
    for case in cases(group) {
        let fields = &case["value"];
        let value = (
            (
                short(&fields[0]),
                u16::try_from(number(&fields[1])).unwrap(),
            ),
            (
                Some(u32::try_from(number(&fields[2])).unwrap()),
                boolean(&fields[3]),
            ),
        );
        assert_encoding(&value, &hex(&case["hex"]));
    }
}

fn nonempty_text(group: &Value) {
    for case in cases(group) {
        let values: Vec<Vec<u8>> = cases(&case["value"]).map(hex).collect();
        assert_eq!(text_encoding::base64url_list(&values), text_of(case));
        let parsed = text_encoding::parse_base64url_list(text_of(case));
        assert_eq!(parsed, Ok(values));
    }
}

fn nonempty_text_decode(group: &Value) {
    decode_text(group, "nonempty_text_decode", |text| {
        text_encoding::parse_base64url_list(text).map(|values| values.iter().map(hexed).collect())
    });
}

fn public_key_text_decode(group: &Value) {
    decode_text(group, "public_key_text_decode", |text| {
        let keys = text_encoding::parse_base64url_list(text).map_err(|_| "base64url")?;
        let keys = keys
            .iter()
            .map(|der| AuthPublicKey::from_spki(der).map(|key| hexed(key.to_spki())));
        keys.collect::<Result<Value, _>>().map_err(|_| "key")
    });
}

// Times.

fn system_time(group: &Value) {
    for case in cases(group) {
        let seconds = case["seconds"].as_i64().unwrap();
        assert_encoding(&seconds, &hex(&case["hex"]));
        assert_eq!(text_encoding::parse_i64(text_of(case)), Ok(seconds));
        assert_eq!(seconds.to_string(), text_of(case));
    }
}

fn utctime_text_decode(group: &Value) {
    decode_text(group, "utctime_text_decode", |text| {
        text.parse::<UtcTime>().map(|time| {
            assert_eq!(time.to_string().parse(), Ok(time));
            json!({
                "seconds": time.seconds(),
                "nanoseconds": time.nanoseconds(),
                "reencoded": time.to_string(),
            })
        })
    });
}

// Versions.

fn version_range(group: &Value) {
    for case in cases(group) {
        let range = range(&json!([case["min"], case["max"]])).unwrap();
        assert_encoding(&range, &hex(&case["hex"]));
        assert_eq!(range.to_string(), text_of(case));
        assert_eq!(text_of(case).parse(), Ok(range));
    }
}

fn version_range_decode(group: &Value) {
    decode::<VersionRange>(group, "version_range_decode", |range| {
        json!([range.min().0, range.max().0])
    });
}

fn version_range_text_decode(group: &Value) {
    decode_text(group, "version_range_text_decode", |text| {
        text.parse::<VersionRange>()
            .map(|range| json!([range.min().0, range.max().0]))
    });
}

fn version_compatibility(group: &Value) {
    for case in cases(group) {
        let ours = range(&case["range1"]).unwrap();
        let theirs = range(&case["range2"]).unwrap();
        let common = range(&case["compatible_range"]);
        assert_eq!(ours.intersection(theirs), common);
        assert_eq!(theirs.intersection(ours), common);
        let agreed = ours.agreed(theirs).map(|version| version.0);
        assert_eq!(json!(agreed), case["compatible_version"]);
    }
}

fn version_capped_range(group: &Value) {
    for case in cases(group) {
        let range_of = range(&case["range"]).unwrap();
        let version = Version(u16::try_from(number(&case["version"])).unwrap());
        assert_eq!(range_of.capped(version), range(&case["capped_range"]));
        assert_eq!(range_of.contains(version), boolean(&case["is_compatible"]));
    }
}

// Padding.

fn pad(group: &Value) {
    let mut comparison = Comparison::of(FILE, "pad");
    for case in cases(group) {
        let (msg, size) = (hex(&case["msg"]), number(&case["padded_len"]));
        let padded = padding::pad(&msg, size);
        if let Ok(padded) = &padded {
            assert_eq!(padding::unpad(padded), Ok(&msg[..]));
        }
        let name = format!("{} to {size}", msg.len());
        comparison.outcome(&name, padded.map(hexed), case);
    }
    comparison.finish();
}

fn pad_limits(group: &Value) {
    let mut comparison = Comparison::of(FILE, "pad_limits");
    for case in cases(group) {
        let (length, size) = (number(&case["msg_len"]), number(&case["padded_len"]));
        let padded = padding::pad(&vec![b'm'; length], size).map(|padded| {
            let (prefix, last) = (padded.first_chunk::<4>(), padded.last_chunk::<1>());
            json!({
                "len": padded.len(),
                "prefix": hexed(prefix.unwrap()),
                "last": hexed(last.unwrap()),
            })
        });
        comparison.outcome(&format!("{length} to {size}"), padded, case);
    }
    comparison.finish();
}

fn unpad(group: &Value) {
    let mut comparison = Comparison::of(FILE, "unpad");
    for case in cases(group) {
        let padded = hex(&case["padded"]);
        let content = padding::unpad(&padded).map(hexed);
        comparison.outcome(vectors::text(&case["padded"]), content, case);
    }
    comparison.finish();
}

fn pad_int64(group: &Value) {
    let mut comparison = Comparison::of(FILE, "pad_int64");
    for case in cases(group) {
        let (msg, size) = (hex(&case["msg"]), number(&case["padded_len"]));
        let length = case["len"].as_i64().unwrap();
        let padded = padding::pad_long(&msg, length, size).map(hexed);
        let name = format!("{} as {length} to {size}", msg.len());
        comparison.outcome(&name, padded, case);
    }
    comparison.finish();
}

fn unpad_int64(group: &Value) {
    let mut comparison = Comparison::of(FILE, "unpad_int64");
    for case in cases(group) {
        let padded = hex(&case["padded"]);
        let content = padding::unpad_long(&padded).map(hexed);
        comparison.outcome(vectors::text(&case["padded"]), content, case);
    }
    comparison.finish();
}

// Hosts, ids, passwords.

fn transport_host_text_decode(group: &Value) {
    decode_text(group, "transport_host_text_decode", |text| {
        text.parse::<TransportHost>().map(|host| {
            assert_eq!(host.to_string().parse().as_ref(), Ok(&host));
            shown(&host)
        })
    });
}

fn transport_host_smp_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "transport_host_smp_decode");
    for case in cases(group) {
        let decoded = wire::decode_slice::<TransportHost>(Version(0), &hex(&case["hex"]));
        if let Ok(host) = &decoded {
            // Brackets and leading zeros are not kept.
            assert_encoding(host, &wire::encode(host, Version(0)));
        }
        let name = vectors::text(&case["hex"]);
        comparison.outcome(name, decoded.as_ref().map(shown), case);
    }
    comparison.finish();
}

/// Lists of hosts occur in addresses.
fn transport_hosts_text_decode(group: &Value) {
    decode_text(group, "transport_hosts_text_decode", |hosts| {
        format!("smp://YQ==@{hosts}")
            .parse::<ServerAddress<SmpScheme>>()
            .map(|address| address.hosts().iter().map(shown).collect())
    });
}

fn entity_id(group: &Value) {
    both_ways(group, |value| {
        EntityId::try_from(hex(value).as_slice()).unwrap()
    });
}

fn corr_id(group: &Value) {
    both_ways(group, |value| {
        CorrId::try_from(hex(value).as_slice()).unwrap()
    });
}

fn key_hash(group: &Value) {
    for case in cases(group) {
        let key_hash: KeyHash = text_of(case).parse().unwrap();
        assert_eq!(*key_hash, hex(&case["value"]));
        assert_encoding(&key_hash, &hex(&case["hex"]));
        assert_eq!(key_hash.to_string(), text_of(case));
    }
}

fn basic_auth_smp_decode(group: &Value) {
    decode::<BasicAuth>(group, "basic_auth_smp_decode", |password| {
        hexed(password.as_bytes())
    });
}

/// Every value has the recorded encoding, which has no other value.
fn both_ways<T: Wire + PartialEq + std::fmt::Debug>(group: &Value, value: impl Fn(&Value) -> T) {
    for case in cases(group) {
        assert_encoding(&value(&case["value"]), &hex(&case["hex"]));
    }
}

/// What decodes is what the reference shows, and has no other encoding.
fn decode<T: Wire + PartialEq + std::fmt::Debug>(
    group: &Value,
    name: &'static str,
    show: impl Fn(&T) -> Value,
) {
    let mut comparison = Comparison::of(FILE, name);
    for case in cases(group) {
        let encoded = hex(&case["hex"]);
        let decoded = wire::decode_slice::<T>(Version(0), &encoded);
        if let Ok(value) = &decoded {
            assert_encoding(value, &encoded);
        }
        let case_name = vectors::text(&case["hex"]);
        comparison.outcome(case_name, decoded.as_ref().map(&show), case);
    }
    comparison.finish();
}

/// What a text is parsed as is what the reference shows.
fn decode_text<E: std::fmt::Debug>(
    group: &Value,
    name: &'static str,
    parse: impl Fn(&str) -> Result<Value, E>,
) {
    let mut comparison = Comparison::of(FILE, name);
    for case in cases(group) {
        let text = String::from_utf8(latin1(&case["text"])).unwrap();
        comparison.outcome(&text, parse(&text), case);
    }
    comparison.finish();
}

fn shown(host: &TransportHost) -> Value {
    let kind = match host {
        TransportHost::Ipv4(_) => "THIPv4",
        TransportHost::Ipv6(_) => "THIPv6",
        TransportHost::Onion(_) => "THOnionHost",
        TransportHost::Domain(_) => "THDomainName",
    };
    json!({ "kind": kind, "text": host.to_string() })
}

fn range(value: &Value) -> Option<VersionRange> {
    let bound = |value: &Value| u16::try_from(number(value)).unwrap();
    VersionRange::new(bound(value.get(0)?), bound(value.get(1)?))
}

fn short(value: &Value) -> Short {
    Short::try_from(hex(value).as_slice()).unwrap()
}

fn shorts(values: &Value) -> Vec<Short> {
    cases(values).map(short).collect()
}

fn text_of(case: &Value) -> &str {
    vectors::text(&case["text"])
}
