//! Where the files of an agent are.
//!
//! ```text
//! DIRECTORY/NAME/.encrypted     the encrypted file, while it is sent or received
//! DIRECTORY/NAME/.decrypted     what is being decrypted
//! DIRECTORY/NAME/photo.jpg      what was received
//! ```
//! Each file has a directory of its own, so that no name can be in the way of another one. Only the owner can read it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use simplex_sans_io::agent::files::job::Received;
use simplex_sans_io::agent::id::FileId;

use crate::xftp::TransferError;

const ENCRYPTED: &str = ".encrypted";
const DECRYPTED: &str = ".decrypted";

/// The places of all files.
#[derive(Debug, Clone)]
pub(crate) struct Places(PathBuf);

/// The place of a file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    directory: PathBuf,
    encrypted: PathBuf,
}

impl Places {
    pub(crate) const fn new(directory: PathBuf) -> Self {
        Self(directory)
    }

    pub(super) fn of(&self, file: &FileId) -> Place {
        let directory = self.0.join(name_of(file));
        Place {
            encrypted: directory.join(ENCRYPTED),
            directory,
        }
    }

    /// Whether there is something of a file.
    pub(crate) fn has(&self, file: &FileId) -> bool {
        self.of(file).directory.exists()
    }

    /// Removes the encrypted files of all others.
    pub(super) fn sweep(&self, keep: &[FileId]) -> Result<(), TransferError> {
        let keep: Vec<_> = keep.iter().map(name_of).collect();
        let Ok(entries) = fs::read_dir(&self.0) else {
            // Nothing was ever there.
            return Ok(());
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_ours = |name: &str| URL_SAFE_NO_PAD.decode(name).is_ok();
            let Some(name) = name.to_str().filter(|name| is_ours(name)) else {
                continue;
            };
            if !keep.iter().any(|kept| kept == name) {
                let directory = entry.path();
                let place = Place {
                    encrypted: directory.join(ENCRYPTED),
                    directory,
                };
                place.discard(Received::Kept)?;
            }
        }
        Ok(())
    }
}

/// Names of files are any bytes, and names of directories are not.
fn name_of(file: &FileId) -> String {
    URL_SAFE_NO_PAD.encode(file.as_slice())
}

impl Place {
    /// What cannot be done with the encrypted file.
    pub(super) fn cannot(
        &self,
        done: &'static str,
    ) -> impl FnOnce(io::Error) -> TransferError + Clone + use<> {
        TransferError::file(&self.encrypted, done)
    }

    pub(super) fn open_to_read(&self) -> Result<File, TransferError> {
        File::open(&self.encrypted).map_err(self.cannot("read"))
    }

    /// Opens the encrypted file, with what is in it.
    pub(super) fn open_to_write(&self) -> Result<File, TransferError> {
        let is_new = !self.encrypted.exists();
        self.make()?;
        let file = private().open(&self.encrypted);
        let file = file.map_err(self.cannot("written"))?;
        if is_new {
            // What is written into it is said to be there, so it has to have its name.
            self.sync()?;
        }
        Ok(file)
    }

    /// Begins the encrypted file.
    pub(super) fn begin_encrypted(&self) -> Result<File, TransferError> {
        self.make()?;
        let file = private().truncate(true).open(&self.encrypted);
        file.map_err(self.cannot("written"))
    }

    /// The encrypted file is complete, and stays.
    pub(super) fn finish_encrypted(&self, file: &File) -> Result<(), TransferError> {
        file.sync_all().map_err(self.cannot("written"))?;
        self.sync()
    }

    /// Begins what is decrypted.
    pub(super) fn begin_decrypted(&self) -> Result<File, TransferError> {
        let path = self.directory.join(DECRYPTED);
        let file = private().truncate(true).open(&path);
        file.map_err(TransferError::file(&path, "written"))
    }

    /// What was decrypted is authentic: it gets its name, always the same one.
    pub(super) fn finish_decrypted(
        &self,
        file: &File,
        name: &str,
    ) -> Result<PathBuf, TransferError> {
        let (from, path) = (self.directory.join(DECRYPTED), self.directory.join(name));
        let renamed = file.sync_all().and_then(|()| fs::rename(from, &path));
        renamed.map_err(TransferError::file(&path, "written"))?;
        self.sync()?;
        Ok(path)
    }

    /// Removes what is not needed any more.
    pub(super) fn discard(&self, received: Received) -> Result<(), TransferError> {
        let removed = match received {
            Received::Removed => gone(fs::remove_dir_all(&self.directory)),
            Received::Kept => [ENCRYPTED, DECRYPTED]
                .into_iter()
                .try_for_each(|name| gone(fs::remove_file(self.directory.join(name)))),
        };
        if removed.is_ok() && received == Received::Kept {
            // It stays if there is something in it.
            fs::remove_dir(&self.directory).ok();
        }
        removed.map_err(TransferError::file(&self.directory, "removed"))
    }

    fn make(&self) -> Result<(), TransferError> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let made = builder.create(&self.directory);
        made.map_err(TransferError::file(&self.directory, "made"))
    }

    /// Its names are there after a crash.
    fn sync(&self) -> Result<(), TransferError> {
        #[cfg(unix)]
        for directory in [Some(&*self.directory), self.directory.parent()] {
            let directory = directory.unwrap_or_else(|| Path::new("."));
            let synced = File::open(directory).and_then(|directory| directory.sync_all());
            synced.map_err(TransferError::file(directory, "written"))?;
        }
        Ok(())
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// What is not there is removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simplex_sans_io::rng::Rng;
    use std::io::Write as _;

    #[test]
    fn what_is_swept_is_what_no_file_needs() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places::new(directory.path().to_owned());
        let mut rng = Rng::from_seed([1; 32]);
        let [kept, done, lost] = std::array::from_fn(|_| FileId::random(&mut rng));
        for file in [&kept, &done, &lost] {
            let mut file = places.of(file).begin_encrypted().unwrap();
            file.write_all(b"x").unwrap();
        }
        let received = places.of(&done).directory.join("photo.jpg");
        fs::write(&received, b"y").unwrap();
        fs::create_dir(directory.path().join("not ours")).unwrap();
        places.sweep(std::slice::from_ref(&kept)).unwrap();
        assert!(places.of(&kept).encrypted.exists());
        assert!(received.exists() && !places.of(&done).encrypted.exists());
        assert!(!places.of(&lost).directory.exists());
        assert!(directory.path().join("not ours").exists());
        places.of(&done).discard(Received::Removed).unwrap();
        assert!(!received.exists());
        // Once more is as well.
        places.of(&done).discard(Received::Removed).unwrap();
    }

    #[test]
    fn no_name_of_a_file_leads_out_of_the_directory() {
        let places = Places::new(PathBuf::from("/files"));
        let name = FileId::try_from(b"../../etc".as_slice()).unwrap();
        let place = places.of(&name);
        assert_eq!(place.directory.parent(), Some(Path::new("/files")));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_what_is_there() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let places = Places::new(directory.path().join("files"));
        let place = places.of(&FileId::random(&mut Rng::from_seed([1; 32])));
        place.begin_encrypted().unwrap();
        place.begin_decrypted().unwrap();
        for path in [
            &place.directory,
            &place.encrypted,
            &place.directory.join(DECRYPTED),
        ] {
            let mode = fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", path.display());
        }
    }
}
