//! Files, directories and sockets that are for their owner only.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::fs::Mode;
use simplex_sans_io::rng::Rng;
use tokio::net::UnixListener;
use zeroize::Zeroizing;

/// The shortest token that is one.
const TOKEN: usize = 16;

/// What is made from now on is for the owner of this process only.
pub(super) fn make_everything_private() {
    rustix::process::umask(Mode::from_raw_mode(0o077));
}

/// The text of a file that only its owner may read, without the end of its line.
pub(super) fn read(path: &Path) -> io::Result<Zeroizing<String>> {
    let file = fs::File::open(path)?;
    if file.metadata()?.mode() & 0o077 != 0 {
        return Err(io::Error::other(
            "others may read or change it: `chmod 600` it first",
        ));
    }
    let text = io::read_to_string(file).map(Zeroizing::new)?;
    Ok(Zeroizing::new(
        text.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

/// The token of a file, which is made if there is none.
pub(super) fn token(path: &Path, rng: &mut Rng) -> io::Result<Zeroizing<String>> {
    match read(path) {
        Ok(token) if token.len() < TOKEN => {
            return Err(io::Error::other(format!(
                "a token has at least {TOKEN} characters"
            )));
        }
        Ok(token) => return Ok(token),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {}
        Err(other) => return Err(other),
    }
    let token = Zeroizing::new(URL_SAFE_NO_PAD.encode(rng.bytes::<32>()));
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", *token)?;
    Ok(token)
}

/// A socket for its owner only, from its first moment on, in a directory that is for its owner only.
pub(super) fn socket(path: &Path) -> io::Result<UnixListener> {
    let directory = path.parent().filter(|path| !path.as_os_str().is_empty());
    private_directory(directory.unwrap_or_else(|| Path::new(".")))?;
    if let Ok(there) = fs::symlink_metadata(path) {
        let is_own = there.file_type().is_socket() && is_own_user(there.uid());
        if !is_own || !is_abandoned(path) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        fs::remove_file(path)?;
    }
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    bound
}

/// Whether it may be used by whoever runs as that user.
pub(super) fn is_owner(user: u32) -> bool {
    user == 0 || is_own_user(user)
}

fn is_own_user(user: u32) -> bool {
    user == rustix::process::geteuid().as_raw()
}

/// Whether nobody listens at a socket, for sure.
fn is_abandoned(path: &Path) -> bool {
    let connected = std::os::unix::net::UnixStream::connect(path);
    connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whoever may write to the directory could put another socket in its place.
fn private_directory(path: &Path) -> io::Result<()> {
    if !path.try_exists()? {
        return fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path);
    }
    let there = fs::metadata(path)?;
    if there.is_dir() && is_own_user(there.uid()) && there.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "a socket has to be in a directory for its owner only: `chmod 700 {}`, or choose another one",
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_token_is_made_once_and_is_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let rng = &mut Rng::from_seed([1; 32]);
        let made = token(&path, rng).unwrap();
        assert_eq!((made.len(), mode(&path)), (43, 0o600));
        assert_eq!(token(&path, rng).unwrap(), made);
        for mode in [0o640, 0o604, 0o620] {
            set_mode(&path, mode);
            assert!(token(&path, rng).is_err() && read(&path).is_err());
        }
        set_mode(&path, 0o600);
        for nothing in ["", "\n", "short\n"] {
            fs::write(&path, nothing).unwrap();
            assert!(token(&path, rng).is_err(), "{nothing:?}");
        }
    }

    #[tokio::test]
    async fn a_socket_is_in_a_directory_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/agent.sock");
        let listener = socket(&path).unwrap();
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
        // Somebody listens there.
        assert!(socket(&path).is_err());
        drop(listener);
        assert!(socket(&path).is_ok());
        set_mode(directory.path(), 0o755);
        assert!(socket(&directory.path().join("other.sock")).is_err());
        set_mode(directory.path(), 0o700);
        // What is no socket is left alone.
        let file = directory.path().join("file");
        fs::write(&file, "kept").unwrap();
        assert!(socket(&file).is_err());
        std::os::unix::fs::symlink(&path, directory.path().join("link")).unwrap();
        assert!(socket(&directory.path().join("link")).is_err());
        assert_eq!(fs::read(&file).unwrap(), b"kept");
    }

    #[test]
    fn whoever_runs_as_another_user_is_no_owner() {
        let own = rustix::process::geteuid().as_raw();
        assert!(is_owner(own) && is_owner(0));
        assert!(!is_owner(own + 1) || own + 1 == 0);
    }
}
