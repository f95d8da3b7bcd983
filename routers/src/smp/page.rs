//! The information page of an SMP router, and the pages behind links.

use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::smp::router::NewQueues;

use super::settings::Settings;
use crate::page::{self, HTML, document};
use crate::web::Site;

/// The kinds of links that clients make.
const LINKS: [&str; 7] = ["/contact", "/invitation", "/a", "/c", "/g", "/r", "/i"];

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

/// What follows the `#` never reaches the router: the browser alone makes the link that the app opens.
const LINK: &str = "<h1>SimpleX link</h1><p>Somebody wants to talk with you. Open the link in the SimpleX app on this device:</p>\
<p><a class=\"open\" id=\"open\" href=\"simplex:\">Open in the app</a></p>\
<p>Without the app, install SimpleX Chat first, then come back to this page. The router that shows this page does not learn the link.</p>\
<script>document.getElementById('open').href='simplex:'+location.pathname+location.search+location.hash</script>";

fn information(settings: &Settings, fingerprint: Fingerprint) -> String {
    let mut entries = Vec::new();
    let mut entry = |name: &'static str, value: &str| entries.push((name, value.to_owned()));
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
    entries.extend(settings.information.iter().cloned());
    let purpose = "It passes messages between SimpleX clients, and keeps them, encrypted, until they are received.";
    page::information("SMP router", purpose, &entries)
}
