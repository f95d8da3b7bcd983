//! Where files are written: never over others.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

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

fn numbered(name: &str, number: u32) -> String {
    match (number, name.rsplit_once('.')) {
        (0, _) => name.to_owned(),
        (number, Some((stem, extension))) if !stem.is_empty() => {
            format!("{stem}_{number}.{extension}")
        }
        (number, _) => format!("{name}_{number}"),
    }
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
    }
}
