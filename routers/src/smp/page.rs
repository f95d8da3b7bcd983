//! The information page of an SMP router, and the pages behind links.

use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::smp::router::NewQueues;

use super::settings::Settings;
use crate::page::{self, HTML, document};
use crate::web::{Site, directory};

/// The kinds of links that clients make.
const LINKS: [&str; 7] = ["/contact", "/invitation", "/a", "/c", "/g", "/r", "/i"];

/// All pages of a router: those in the directory of the operator, where ours are written too, and ours where it has none.
pub(crate) fn site(settings: &Settings, fingerprint: Fingerprint) -> Site {
    let index = document("SMP router", &information(settings, fingerprint));
    let link = document("SimpleX link", LINK);
    let links = LINKS.map(|path| (path, link.as_str()));
    let ours = || std::iter::once(("/", index.as_str())).chain(links);
    let mut site = Site::default();
    if let Some(pages) = &settings.pages {
        if let Err(error) = directory::write(pages, ours()) {
            tracing::warn!(%error, "the pages cannot be written to {}", pages.display());
        }
        site = directory::read(pages);
    }
    for (path, page) in ours() {
        let theirs = site.page(path).is_some_and(|theirs| *theirs.body() != page);
        if !theirs {
            site = site.with(path, HTML, page.to_owned());
        }
    }
    site
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_directory_of_the_operator_has_our_pages_beside_theirs() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("c")).unwrap();
        fs::write(at("c/index.html"), "theirs").unwrap();
        let text = format!(
            "[TRANSPORT]\nport = 5223\nhost = smp.example.com\n[WEB]\nstatic_path = {}\n",
            directory.path().display()
        );
        let settings = Settings::of(&text.parse().unwrap()).unwrap();
        let site = site(&settings, Fingerprint::from_bytes([1; 32]));
        let read = |path: &str| {
            let page = site.page(path).unwrap();
            String::from_utf8(page.body().to_vec()).unwrap()
        };
        assert!(read("/").contains("smp.example.com"));
        assert_eq!(read("/c"), "theirs");
        assert!(read("/invitation").contains("Open in the app"));
        // For whoever serves the directory.
        assert_eq!(fs::read_to_string(at("index.html")).unwrap(), read("/"));
        let link = fs::read_to_string(at("contact/index.html")).unwrap();
        assert_eq!(link, read("/contact"));
    }
}
