//! The pages of routers, for people.

use std::fmt::Write as _;

/// The kind of pages.
pub(crate) const HTML: &str = "text/html; charset=utf-8";

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;\
color:#123;background:#fafbfc}dt{font-weight:600}dd{margin:0 0 .8rem}code{overflow-wrap:anywhere}\
a.open{display:inline-block;padding:.6rem 1.2rem;border-radius:.5rem;background:#0053d0;color:#fff;text-decoration:none}\
@media(prefers-color-scheme:dark){body{color:#dde;background:#111820}}";

/// A page.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

/// What a router says of itself: names with their values.
pub(crate) fn information(title: &str, purpose: &str, entries: &[(&str, String)]) -> String {
    let mut page = format!("<h1>{title}</h1><p>{purpose}</p><dl>");
    for (name, value) in entries {
        write!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(value)).ok();
    }
    page + "</dl>"
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_says_is_text() {
        assert_eq!(
            escaped("<a href='x'>&\""),
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;"
        );
    }
}
