//! The information page of an XFTP router, and the pages of its operator.

use std::fs;
use std::io;
use std::path::Path;

use simplex_sans_io::crypto::certificate::Fingerprint;
use simplex_sans_io::xftp::router::NewFiles;

use super::settings::Settings;
use crate::page::{self, HTML, document};
use crate::web::Site;

/// How much of the operator's pages is kept in memory.
const ROOM: u64 = 64 << 20;

/// Where the page to send files is, if the operator has one.
const SENDING: &str = "/file";

/// All pages of a router.
pub(crate) fn site(settings: &Settings, fingerprint: Fingerprint) -> Site {
    let mut site = Site::default();
    if let Some(directory) = &settings.web.pages {
        let mut room = ROOM;
        match of_directory(site.clone(), directory, "", &mut room) {
            Ok(read) => site = read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(%error, "the pages in {} are not shown", directory.display());
            }
        }
    }
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

/// The files below a directory, by their paths. `index.html` is the page of its directory.
fn of_directory(mut site: Site, directory: &Path, path: &str, room: &mut u64) -> io::Result<Site> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let name = match name.as_str() {
                "well-known" => ".well-known",
                name => name,
            };
            site = of_directory(site, &entry.path(), &format!("{path}/{name}"), room)?;
        } else if kind.is_file() {
            let size = entry.metadata()?.len();
            *room = room.checked_sub(size).ok_or_else(|| {
                io::Error::other(format!("there are more than {ROOM} bytes of them"))
            })?;
            let content = fs::read(entry.path())?;
            let path = match name.as_str() {
                "index.html" => path.to_owned(),
                name => format!("{path}/{name}"),
            };
            site = site.with_theirs(path, kind_of(&name), content);
        }
    }
    Ok(site)
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, suffix)| suffix) {
        "html" => HTML,
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" | "map" | "webmanifest" => "application/json",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        "txt" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
