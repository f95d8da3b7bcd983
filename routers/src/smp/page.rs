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

/// What follows the `#` never reaches the router: the browser alone makes the link that the app opens. A short link names its router by the
/// host of the page, which the app has to be told: the page's host goes before the others in `h`.
const LINK: &str = "<h1>Somebody wants to talk with you</h1>\
<p>Open the link in the SimpleX app on this device. Neither side has to tell the other a phone number, an address or a name.</p>\
<p><a class=\"open\" id=\"open\" href=\"simplex:\">Open in the app</a></p>\
<p>Is the app on another device? Copy the link there:</p><code id=\"link\"></code>\
<p>Without the app, install SimpleX Chat first, then come back. The router that shows this page does not learn the link.</p>\
<script>(function(){var path=location.pathname,hash=location.hash,at=hash.indexOf('?');\
if(/^\\/[a-z]\\/?$/.test(path)){var key=at<0?hash:hash.slice(0,at),hosts=[location.hostname],rest=[];\
(at<0?'':hash.slice(at+1)).split('&').forEach(function(part){if(part.indexOf('h=')===0)hosts.push(part.slice(2));else if(part)rest.push(part)});\
hash=key+'?'+['h='+hosts.join(',')].concat(rest).join('&')}\
document.getElementById('open').href='simplex:'+path+location.search+hash;\
document.getElementById('link').textContent=location.href})()</script>";

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
