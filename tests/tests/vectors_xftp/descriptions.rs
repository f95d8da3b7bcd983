//! Descriptions, links, and the store log.

use serde_json::Value;
use simplex_sans_io::xftp::description::{FileDescription, FileSize, FileUri, WebLink};
use simplex_sans_io::xftp::storelog::{LogRecord, parse_record};
use simplex_tests::vectors::keys::ed25519_pair;
use simplex_tests::vectors::{Comparison, cases, text};

use super::FILE;

pub(super) fn file_size_text(group: &Value) {
    for case in cases(group) {
        let size = FileSize(case["bytes"].as_u64().unwrap());
        assert_eq!(size.to_string(), text(&case["text"]));
        assert_eq!(text(&case["text"]).parse(), Ok(size));
    }
}

pub(super) fn file_size_text_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "file_size_text_decode");
    for case in cases(group) {
        let parsed = text(&case["text"]).parse::<FileSize>();
        comparison.outcome(
            text(&case["text"]),
            parsed.map(|FileSize(bytes)| bytes.into()),
            case,
        );
    }
    comparison.finish();
}

pub(super) fn replica_keys(group: &Value) {
    for case in cases(group) {
        let key = ed25519_pair(case);
        let description: FileDescription = {
            let file = simplex_tests::vectors::load(FILE);
            text(&file["file_descriptions"][0]["yaml"]).parse().unwrap()
        };
        let replica = &description.chunks[0].replicas[0];
        assert_eq!(replica.key, key.into());
    }
}

pub(super) fn file_descriptions(group: &Value) {
    for case in cases(group) {
        assert_eq!((text(&case["ok"]), text(&case["valid"])), ("ok", "ok"));
        let description: FileDescription = text(&case["yaml"]).parse().unwrap();
        assert_eq!(description.to_string(), text(&case["yaml"]));
    }
}

pub(super) fn file_description_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "file_description_decode");
    for (case, index) in cases(group).zip(0..) {
        let parsed = text(&case["yaml"]).parse::<FileDescription>();
        let ours = parsed.map(|description| description.to_string().into());
        comparison.outcome(&index.to_string(), ours, case);
    }
    comparison.finish();
}

pub(super) fn file_description_uris(group: &Value) {
    for case in cases(group) {
        let uri: FileUri = text(&case["text"]).parse().unwrap();
        assert_eq!(uri.to_string(), text(&case["ok"]));
    }
}

pub(super) fn web_links(group: &Value) {
    let mut comparison = Comparison::of(FILE, "web_links");
    for (case, index) in cases(group).zip(0..) {
        let description: FileDescription = text(&case["yaml"]).parse().unwrap();
        let written = Ok::<_, ()>(description.to_string().into());
        comparison.outcome(&index.to_string(), written, case);
        let page = format!("https://{}/", text(&case["host"]));
        let theirs = format!("{page}#{}", text(&case["fragment"]));
        let theirs: WebLink = theirs.parse().unwrap();
        assert_eq!(theirs.description().as_ref(), Ok(&description));
        let ours = WebLink::to(&description);
        assert_eq!(ours.page(), page);
        assert_eq!(ours.description().as_ref(), Ok(&description));
    }
    comparison.finish();
}

pub(super) fn store_log(group: &Value) {
    let mut comparison = Comparison::of(FILE, "store_log");
    for (case, index) in cases(group).zip(0..) {
        let record = parse_record(text(&case["line"]));
        if let Ok(LogRecord::PutFile { path, .. }) = &record {
            assert!(text(&case["show"]).contains(std::str::from_utf8(path).unwrap()));
        }
        let ours = record.map(|record| record.to_string().into());
        comparison.outcome(&index.to_string(), ours, case);
    }
    comparison.finish();
}
