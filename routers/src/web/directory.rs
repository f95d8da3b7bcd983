//! The pages in a directory: those of the operator, and our own for whoever serves the directory otherwise.
//!
//! All of them are read at once and kept in memory, within limits: a request chooses among pages, and never reaches the disk. What is
//! no file or folder itself, such as a link to somewhere else, is no page.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Site;
use crate::page::{GENERATOR, HTML};

/// How much of a directory is kept in memory.
const ROOM: u64 = 64 << 20;

/// The largest page that may be an older one of ours.
const LARGEST_OWN: u64 = 1 << 20;

/// The pages below a directory. Those that cannot be read are not shown, and the log says why.
pub(crate) fn read(directory: &Path) -> Site {
    let mut room = ROOM;
    let site = of_directory(Site::default(), directory, "", &mut room);
    site.unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(%error, "the pages in {} are not shown", directory.display());
        }
        Site::default()
    })
}

/// Writes our own pages, by their paths, where there are none but older ones of ours.
pub(crate) fn write<'a>(
    directory: &Path,
    pages: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> io::Result<()> {
    for (path, page) in pages {
        let file = directory.join(path.trim_matches('/')).join("index.html");
        if let Some(written) = ours(&file)
            && written != page
        {
            let folder = file.parent().unwrap_or(directory);
            fs::create_dir_all(folder)?;
            let new = folder.join(".index.html.new");
            fs::write(&new, page)?;
            fs::rename(&new, &file)?;
        }
    }
    Ok(())
}

/// What a file says that we have written, or may write.
fn ours(file: &PathBuf) -> Option<String> {
    match fs::symlink_metadata(file) {
        Ok(found) if found.is_file() && found.len() <= LARGEST_OWN => {
            let written = fs::read_to_string(file).ok()?;
            written.contains(GENERATOR).then_some(written)
        }
        Ok(_) => None,
        Err(error) => (error.kind() == io::ErrorKind::NotFound).then(String::new),
    }
}

/// The files below a directory, by their paths. `index.html` is the page of its directory.
fn of_directory(mut site: Site, directory: &Path, path: &str, room: &mut u64) -> io::Result<Site> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let name = match name.as_str() {
            "well-known" | ".well-known" => ".well-known",
            hidden if hidden.starts_with('.') => continue,
            name => name,
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            site = of_directory(site, &entry.path(), &format!("{path}/{name}"), room)?;
        } else if kind.is_file() {
            let size = entry.metadata()?.len();
            *room = room.checked_sub(size).ok_or_else(|| {
                io::Error::other(format!("there are more than {ROOM} bytes of them"))
            })?;
            let content = fs::read(entry.path())?;
            let path = match name {
                "index.html" => path.to_owned(),
                name => format!("{path}/{name}"),
            };
            site = site.with_file(path, kind_of(name), content);
        }
    }
    Ok(site)
}

fn kind_of(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or(name, |(_, suffix)| suffix) {
        "html" => HTML,
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" | "webmanifest" | "apple-app-site-association" => "application/json",
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
    fn what_is_outside_of_the_directory_is_no_page() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("well-known")).unwrap();
        fs::write(at("well-known/apple-app-site-association"), "{}").unwrap();
        fs::write(at(".hidden"), "hidden").unwrap();
        std::os::unix::fs::symlink(outside.path(), at("folder")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), at("file")).unwrap();
        let site = read(directory.path());
        let association = site.page("/.well-known/apple-app-site-association");
        let headers: Vec<_> = association.unwrap().headers().collect();
        assert!(headers.contains(&("content-type", "application/json")));
        for path in [
            "/file",
            "/folder/secret",
            "/.hidden",
            "/../secret",
            "/%2e%2e/secret",
        ] {
            assert_eq!(site.page(path), None, "{path}");
        }
    }

    #[test]
    fn only_pages_that_are_missing_or_ours_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir(at("a")).unwrap();
        fs::write(at("a/index.html"), "theirs").unwrap();
        let write = |text: &str| {
            let page = crate::page::document("title", text);
            write(
                directory.path(),
                [("/", page.as_str()), ("/a", page.as_str())],
            )
            .unwrap();
            fs::read_to_string(at("index.html")).unwrap() == page
        };
        assert!(write("first") && write("second"));
        assert_eq!(fs::read(at("a/index.html")).unwrap(), b"theirs");
        // What a link leads to is not ours to write.
        fs::remove_file(at("index.html")).unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("index.html")).unwrap();
        let page = crate::page::document("title", "third");
        super::write(directory.path(), [("/", page.as_str())]).unwrap();
        assert!(!at("elsewhere").exists());
    }
}
