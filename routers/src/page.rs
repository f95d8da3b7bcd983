//! The pages of routers, for people.

use std::fmt::Write as _;

/// The kind of pages.
pub(crate) const HTML: &str = "text/html; charset=utf-8";

const STYLE: &str = "\
:root{--ink:#10243e;--soft:#5a6b80;--line:#dfe6ee;--paper:#fff;--ground:#f1f5fa;--accent:#0053d0}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf6;--soft:#93a4b8;--line:#27354a;--paper:#142033;--ground:#0b1422;--accent:#70b4ff}}\
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:flex;flex-direction:column;align-items:center;\
background:var(--ground);color:var(--ink);font:1rem/1.55 system-ui,-apple-system,'Segoe UI',sans-serif}\
main{width:100%;max-width:42rem;margin:8vh 0 2rem;padding:2.2rem 2.4rem;background:var(--paper);border:1px solid var(--line);\
border-top:4px solid var(--accent);border-radius:.9rem;box-shadow:0 12px 40px #10243e14}\
h1{margin:0 0 .4rem;font-size:1.7rem;letter-spacing:-.02em}p{margin:.6rem 0;color:var(--soft)}\
dl{display:grid;grid-template-columns:minmax(9rem,1fr) 2fr;gap:0;margin:1.6rem 0 0}\
dt,dd{margin:0;padding:.7rem 0;border-top:1px solid var(--line)}dt{color:var(--soft);padding-right:1rem}dd{overflow-wrap:anywhere}\
a.open{display:inline-block;margin:.8rem 0;padding:.75rem 1.6rem;border-radius:2rem;background:var(--accent);color:var(--paper);\
font-weight:600;text-decoration:none}a.open:focus-visible{outline:3px solid var(--ink);outline-offset:3px}\
code{display:block;padding:.8rem 1rem;border-radius:.5rem;background:var(--ground);font:.85rem/1.4 ui-monospace,monospace;\
overflow-wrap:anywhere;max-height:7rem;overflow:auto}footer{margin:0 0 2rem;font-size:.85rem;color:var(--soft)}\
@media(max-width:46rem){main{margin:0;min-height:100vh;border-radius:0;border-width:4px 0 0;padding:1.6rem 1.2rem}\
dl{grid-template-columns:1fr}dd{border:0;padding-top:0}footer{display:none}}";

/// What tells our pages from those of others.
pub(crate) const GENERATOR: &str = "<meta name=\"generator\" content=\"simplex-routers\">";

/// A page.
pub(crate) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         {GENERATOR}<title>{title}</title><style>{STYLE}</style></head><body><main>{body}</main>\
         <footer>A router of the SimpleX network. It knows neither who its users are nor what they say.</footer></body></html>\n"
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
