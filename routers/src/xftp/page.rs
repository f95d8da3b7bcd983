//! The information page of an XFTP router.

use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::xftp::router::NewFiles;

use super::settings::Settings;
use crate::web::Site;

/// All pages of a router.
pub(crate) fn site(settings: &Settings, fingerprint: Fingerprint) -> Site {
    let new_files = match settings.router.new_files {
        NewFiles::Allowed => "allowed for everybody",
        NewFiles::WithPassword(_) => "allowed with a password",
        NewFiles::Refused => "not allowed",
    };
    let hours = settings
        .router
        .expiration
        .map_or(0, |expiration| expiration.ttl.as_secs() / 3600);
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>XFTP router</title></head><body><h1>XFTP router</h1><p>It keeps encrypted parts of files until they are received.</p>\
         <dl><dt>Identity</dt><dd>{fingerprint}</dd><dt>New files</dt><dd>{new_files}</dd>\
         <dt>Files</dt><dd>expire after {hours} hours</dd></dl></body></html>\n"
    );
    Site::default().with("/", "text/html; charset=utf-8", page)
}
