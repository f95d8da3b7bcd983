//! Names, and what they stand for.

use serde_json::{Value, json};
use simplex_sans_io::smp::{NameInfo, SimplexDomain};
use simplex_tests::vectors::{Comparison, cases, latin1};

use super::FILE;

pub(super) fn names(group: &Value) {
    let mut comparison = Comparison::of(FILE, "names");
    for case in cases(group) {
        let text = String::from_utf8(latin1(&case["text"])).unwrap();
        let domain = text.parse::<SimplexDomain>().map(|domain| {
            assert_eq!(domain.to_string().parse().as_ref(), Ok(&domain));
            json!({ "domain": domain.to_string(), "json": domain })
        });
        comparison.outcome(&text, domain, case);
    }
    comparison.finish();
}

pub(super) fn name_info(group: &Value) {
    let mut comparison = Comparison::of(FILE, "name_info");
    for case in cases(group) {
        let text = String::from_utf8(latin1(&case["text"])).unwrap();
        let info = text.parse::<NameInfo>().map(|info| {
            assert_eq!(info.to_string().parse().as_ref(), Ok(&info));
            json!({ "text": info.to_string(), "json": info })
        });
        comparison.outcome(&text, info, case);
    }
    comparison.finish();
}
