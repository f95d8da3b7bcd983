//! Golden vectors: what the reference implementation computed from recorded inputs.
//!
//! A file is a JSON object of groups, a group is a list of cases. Where our result differs on purpose, `deviations.json` lists the
//! case, our result and the reason, and the test that meets the case asserts our result.

pub mod keys;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use simplex_sans_io::wire::{self, Version, Wire};

/// The groups of `encoding.json` that hold keys, signatures, nonces and hashes; the others hold primitive encodings.
pub const KEY_GROUPS: [&str; 11] = [
    "auth_key_decode",
    "cb_nonce_decode",
    "cb_nonce_from_bytes",
    "cb_nonce_reverse",
    "keys",
    "private_key_decode",
    "public_key_decode_any",
    "queue_ids_hash",
    "signature_decode",
    "signatures",
    "x25519_key_decode",
];

/// The groups of `smp-handshake.json` that hold certificates and signed keys; the others hold handshakes.
pub const CERTIFICATE_GROUPS: [&str; 2] = ["certificate_chains", "signed_keys"];

/// The groups of `storelog.json` that hold settings of routers; the others hold what they keep, and their addresses.
pub const INI_GROUPS: [&str; 2] = ["ini_files", "ini_parsing"];

/// A vector file.
#[must_use]
pub fn load(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(file);
    let text = or_fail(std::fs::read_to_string(&path), file);
    or_fail(serde_json::from_str(&text), file)
}

/// The groups of a file, in order of their names.
#[must_use]
pub fn groups(file: &Value) -> BTreeSet<&str> {
    let Some(groups) = file.as_object() else {
        fail("a file is an object", file)
    };
    groups
        .keys()
        .map(String::as_str)
        .filter(|group| *group != "about")
        .collect()
}

/// The cases of a group. A note that introduces them is not a case.
pub fn cases(group: &Value) -> impl Iterator<Item = &Value> {
    let Some(cases) = group.as_array() else {
        fail("a group is a list", group)
    };
    let is_note = |case: &Value| {
        case.as_object()
            .is_some_and(|fields| fields.keys().eq(["note"]))
    };
    cases.iter().filter(move |case| !is_note(case))
}

/// The bytes of a value in hex.
#[must_use]
pub fn hex(value: &Value) -> Vec<u8> {
    let text = text(value);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    match text.as_bytes().chunks(2).map(byte).collect() {
        Some(bytes) if text.len().is_multiple_of(2) => bytes,
        _ => fail("not hex", value),
    }
}

/// The bytes of a value in hex, which has exactly `N`.
#[must_use]
pub fn array<const N: usize>(value: &Value) -> [u8; N] {
    match hex(value).try_into() {
        Ok(bytes) => bytes,
        Err(_) => fail("another length", value),
    }
}

/// The bytes of a value in base64 with padding.
#[must_use]
pub fn base64(value: &Value) -> Vec<u8> {
    or_fail(STANDARD.decode(text(value)), "base64")
}

/// A text.
#[must_use]
pub fn text(value: &Value) -> &str {
    match value.as_str() {
        Some(text) => text,
        None => fail("not a text", value),
    }
}

/// The bytes of protocol text, one character each.
#[must_use]
pub fn latin1(value: &Value) -> Vec<u8> {
    match text(value).chars().map(|c| u8::try_from(c).ok()).collect() {
        Some(bytes) => bytes,
        None => fail("not Latin-1", value),
    }
}

/// A length or a count.
#[must_use]
pub fn number(value: &Value) -> usize {
    match value.as_u64().and_then(|number| number.try_into().ok()) {
        Some(number) => number,
        None => fail("not a number", value),
    }
}

/// A truth value.
#[must_use]
pub fn boolean(value: &Value) -> bool {
    match value.as_bool() {
        Some(boolean) => boolean,
        None => fail("not a boolean", value),
    }
}

/// A version.
#[must_use]
pub fn version(value: &Value) -> Version {
    match u16::try_from(number(value)) {
        Ok(version) => Version(version),
        Err(_) => fail("not a version", value),
    }
}

/// The versions from the first to the second of a pair.
pub fn versions(range: &Value) -> impl Iterator<Item = Version> {
    (version(&range[0]).0..=version(&range[1]).0).map(Version)
}

/// Bytes as the vectors write them.
#[must_use]
pub fn hexed(bytes: impl AsRef<[u8]>) -> Value {
    let digits = bytes.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Value::String(digits.collect())
}

/// Asserts that a value has this encoding and the encoding this value.
#[track_caller]
pub fn assert_encoding<T: Wire + PartialEq + fmt::Debug>(value: &T, encoded: &[u8]) {
    assert_eq!(wire::encode(value, Version(0)), encoded);
    assert_eq!(wire::decode_slice(Version(0), encoded).as_ref(), Ok(value));
    let shared = Bytes::copy_from_slice(encoded);
    assert_eq!(wire::decode(Version(0), &shared).as_ref(), Ok(value));
}

/// Asserts that our results are the reference's, or where they differ on purpose, the listed ones.
#[derive(Debug)]
pub struct Comparison {
    group: &'static str,
    listed: Vec<Deviation>,
    met: BTreeSet<String>,
}

impl Comparison {
    /// The comparison of a group's cases.
    #[must_use]
    pub fn of(file: &str, group: &'static str) -> Self {
        let mut listed = deviations(file);
        listed.retain(|deviation| deviation.group() == group);
        Self {
            group,
            listed,
            met: BTreeSet::new(),
        }
    }

    /// Compares what became of a case: a value, or a refusal, whose reasons are not compared.
    #[track_caller]
    pub fn outcome<E>(&mut self, name: &str, ours: Result<Value, E>, case: &Value) {
        let reference = case.get("ok");
        assert_ne!(reference.is_some(), case.get("error").is_some(), "{case}");
        self.result(name, &result(ours.ok()), &result(reference.cloned()));
    }

    /// Compares the results of a case.
    #[track_caller]
    pub fn result(&mut self, name: &str, ours: &Value, reference: &Value) {
        let case = format!("{}/{name}", self.group);
        match self.listed.iter().find(|deviation| deviation.case == case) {
            Some(deviation) => {
                assert_eq!(*ours, deviation.ours, "{case}");
                assert_ne!(ours, reference, "{case} deviates no more");
                self.met.insert(case);
            }
            None => assert_eq!(ours, reference, "{case}"),
        }
    }

    /// Asserts that every listed deviation was met.
    #[track_caller]
    pub fn finish(self) {
        let listed: BTreeSet<_> = self.listed.into_iter().map(|listed| listed.case).collect();
        assert_eq!(listed, self.met, "listed, but not met");
    }
}

fn result(ok: Option<Value>) -> Value {
    match ok {
        Some(ok) => json!({ "ok": ok }),
        None => "refused".into(),
    }
}

/// Where our result differs from the reference's on purpose.
#[derive(Debug, Clone)]
pub struct Deviation {
    /// `group/name of the case`.
    pub case: String,
    /// Our result.
    pub ours: Value,
    /// Why it differs.
    pub reason: String,
}

impl Deviation {
    /// The group of the case.
    #[must_use]
    pub fn group(&self) -> &str {
        match self.case.split_once('/') {
            Some((group, _)) => group,
            None => fail("group/name", &Value::from(self.case.as_str())),
        }
    }
}

/// The groups of a file in which deviations are listed.
#[must_use]
pub fn deviating_groups(file: &str) -> BTreeSet<String> {
    let listed = deviations(file).into_iter();
    listed
        .map(|deviation| deviation.group().to_owned())
        .collect()
}

/// The deviations that are listed for a file.
#[must_use]
pub fn deviations(file: &str) -> Vec<Deviation> {
    let listed = load("deviations.json");
    let of_file = cases(&listed).filter(|entry| text(&entry["file"]) == file);
    of_file
        .map(|entry| Deviation {
            case: text(&entry["case"]).to_owned(),
            ours: entry["ours"].clone(),
            reason: text(&entry["reason"]).to_owned(),
        })
        .collect()
}

#[track_caller]
#[expect(
    clippy::panic,
    reason = "a vector that cannot be read fails the test that reads it"
)]
fn fail(what: &str, value: &Value) -> ! {
    let shown: String = value.to_string().chars().take(200).collect();
    panic!("{what}: {shown}")
}

#[track_caller]
fn or_fail<T, E: fmt::Display>(result: Result<T, E>, what: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => fail(what, &Value::String(error.to_string())),
    }
}

/// One test for each of these groups of a vector file, which calls the function of the same name one module further out with the
/// contents of the group; and the list `CONSUMED` of the groups that have a test.
#[macro_export]
macro_rules! vector_groups {
    ($file:literal: $($group:ident),+ $(,)?) => {
        /// The groups that have a test here.
        pub(super) const CONSUMED: &[&str] = &[$(stringify!($group)),+];

        $(
            #[test]
            fn $group() {
                super::$group(&$crate::vectors::load($file)[stringify!($group)]);
            }
        )+
    };
}
