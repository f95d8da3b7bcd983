//! The information page of an SMP router, and the pages behind links.

use std::fmt::Write as _;

use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::smp::router::NewQueues;

use super::settings::Settings;
use crate::web::Site;

const HTML: &str = "text/html; charset=utf-8";

/// The kinds of links that clients make.
const LINKS: [&str; 7] = ["/contact", "/invitation", "/a", "/c", "/g", "/r", "/i"];

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem;\
color:#123;background:#fafbfc}dt{font-weight:600}dd{margin:0 0 .8rem}code{overflow-wrap:anywhere}\
a.open{display:inline-block;padding:.6rem 1.2rem;border-radius:.5rem;background:#0053d0;color:#fff;text-decoration:none}\
@media(prefers-color-scheme:dark){body{color:#dde;background:#111820}}";

/// All pages of a router.
pub(crate) fn site(settings: &Settings, fingerprint: Fingerprint) -> Site {
    let index = document("SMP router", &information(settings, fingerprint));
    let link = document("SimpleX link", LINK);
    LINKS
        .iter()
        .fold(Site::default().with("/", HTML, index), |site, path| {
            site.with(*path, HTML, link.clone())
        })
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body>{body}</body></html>\n"
    )
}

/// What follows the `#` never reaches the router: the browser alone makes the link that the app opens.
const LINK: &str = "<h1>SimpleX link</h1><p>Somebody wants to talk with you. Open the link in the SimpleX app on this device:</p>\
<p><a class=\"open\" id=\"open\" href=\"simplex:\">Open in the app</a></p>\
<p>Without the app, install SimpleX Chat first, then come back to this page. The router that shows this page does not learn the link.</p>\
<script>document.getElementById('open').href='simplex:'+location.pathname+location.search+location.hash</script>";

fn information(settings: &Settings, fingerprint: Fingerprint) -> String {
    let mut page = String::from(
        "<h1>SMP router</h1><p>It passes messages between SimpleX clients, and keeps them, encrypted, until they are received.</p><dl>",
    );
    let mut entry = |name: &str, value: &str| {
        write!(page, "<dt>{name}</dt><dd>{}</dd>", escaped(value)).ok();
    };
    entry("Identity", &fingerprint.to_string());
    let hosts = settings.transport.hosts.join(", ");
    if !hosts.is_empty() {
        entry("Hosts", &hosts);
    }
    entry(
        "New queues",
        match settings.router.new_queues {
            NewQueues::Allowed => "allowed for everybody",
            NewQueues::WithPassword(_) => "allowed with a password",
            NewQueues::Refused(_) => "not allowed",
        },
    );
    if let Some(expiration) = settings.router.message_expiration {
        let days = expiration.ttl.as_secs() / 86_400;
        entry(
            "Messages that are not received",
            &format!("expire after {days} days"),
        );
    }
    for (name, value) in &settings.information {
        entry(name, value);
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
