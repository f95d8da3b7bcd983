//! The information page of an XFTP router, and the pages of its operator.

use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::xftp::router::NewFiles;

use super::settings::Settings;
use crate::page::{self, HTML, document};
use crate::web::{Site, directory};

/// Where the page to send files is, if the operator has one.
const SENDING: &str = "/file";

/// All pages of a router.
pub(crate) fn site(settings: &Settings, fingerprint: Fingerprint) -> Site {
    let pages = settings.web.pages.as_deref();
    let site = pages.map(directory::read).unwrap_or_default();
    let mut body = information(settings, fingerprint);
    if site.page(SENDING).is_some() {
        // Links to files lead here, and what they say is after the `#`, which only browsers see.
        body.push_str(
            "<p><a class=\"open\" href=\"/file/\">Send a file</a></p>\
             <script>if(location.hash.length>1)location.replace('/file/'+location.hash)</script>",
        );
    }
    site.with("/", HTML, document("XFTP router", &body))
}

fn information(settings: &Settings, fingerprint: Fingerprint) -> String {
    let mut entries = vec![("Identity", fingerprint.to_string())];
    let hosts = settings.hosts.join(", ");
    if !hosts.is_empty() {
        entries.push(("Hosts", hosts));
    }
    let new_files = match settings.router.new_files {
        NewFiles::Allowed => "allowed for everybody",
        NewFiles::WithPassword(_) => "allowed with a password",
        NewFiles::Refused => "not allowed",
    };
    entries.push(("New files", new_files.to_owned()));
    if let Some(expiration) = settings.router.expiration {
        let hours = expiration.ttl.as_secs() / 3600;
        entries.push(("Files", format!("expire after {hours} hours")));
    }
    entries.extend(settings.information.iter().cloned());
    let purpose =
        "It keeps encrypted parts of files until they are received, and cannot read them.";
    page::information("XFTP router", purpose, &entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_pages_of_the_operator_are_shown_beside_our_own() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for folder in ["file", "media", "well-known"] {
            fs::create_dir(at(folder)).unwrap();
        }
        fs::write(at("file/index.html"), "send").unwrap();
        fs::write(at("media/a.css"), "css").unwrap();
        fs::write(at("well-known/b"), "b").unwrap();
        fs::write(at("index.html"), "theirs").unwrap();
        let mut settings = Settings::of_port(443, directory.path());
        settings.web.pages = Some(directory.path().to_owned());
        let site = site(&settings, Fingerprint::from_bytes([1; 32]));
        let read = |path: &str| {
            let page = site.page(path)?;
            let (_, kind) = page.headers().next()?;
            Some((kind, String::from_utf8(page.body().to_vec()).unwrap()))
        };
        assert_eq!(read("/file/"), Some((HTML, "send".to_owned())));
        let css = ("text/css; charset=utf-8", "css".to_owned());
        assert_eq!(read("/media/a.css"), Some(css));
        assert!(read("/.well-known/b").is_some() && read("/../page.rs").is_none());
        let (_, ours) = read("/").unwrap();
        assert!(ours.contains("<h1>XFTP router</h1>") && ours.contains("href=\"/file/\""));
        assert!(ours.contains("location.replace('/file/'+location.hash)"));
    }
}
