//! Where files are written: never over others.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::name::LONGEST;

/// Makes a new file in a directory: with this name, or with a number before the extension if there is such a file already.
pub fn unique(directory: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let mut number = 0_u32;
    loop {
        let path = directory.join(numbered(name, number));
        let made = OpenOptions::new().write(true).create_new(true).open(&path);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|file| (file, path)),
        }
    }
}

/// Makes a new directory, likewise.
#[cfg(feature = "programs")]
pub(super) fn unique_directory(directory: &Path, name: &str) -> io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let mut number = 0_u32;
    loop {
        let path = directory.join(numbered(name, number));
        match std::fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            made => return made.map(|()| path),
        }
    }
}

/// The name, with a number before its extension unless that is 0. What is too long for a file system is cut off before that.
pub(super) fn numbered(name: &str, number: u32) -> String {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        _ => (name, String::new()),
    };
    let end = match number {
        0 => extension,
        number => format!("_{number}{extension}"),
    };
    let room = LONGEST.saturating_sub(end.len());
    format!("{}{end}", &stem[..stem.floor_char_boundary(room)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays() {
        let directory = tempfile::tempdir().unwrap();
        let name = |wanted| {
            let (_, path) = unique(directory.path(), wanted).unwrap();
            path.file_name().unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(name("a.tar.gz"), "a.tar.gz");
        assert_eq!(name("a.tar.gz"), "a.tar_1.gz");
        assert_eq!(name("a.tar.gz"), "a.tar_2.gz");
        assert_eq!((name("b"), name("b")), ("b".to_owned(), "b_1".to_owned()));
        let long = format!("{}.txt", "\u{436}".repeat(125));
        assert_eq!(name(&long), long);
        assert_eq!(name(&long), format!("{}_1.txt", "\u{436}".repeat(124)));
    }
}
