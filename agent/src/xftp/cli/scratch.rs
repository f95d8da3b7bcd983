//! A directory for what is passed through a pipe.

use std::fs;
use std::path::{Path, PathBuf};

use super::{CliError, failed};

/// A directory that nobody else can read, and that is removed with this.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one among the temporary files, or in the directory that the user wants them in.
    pub(super) fn make(within: Option<&Path>) -> Result<Self, CliError> {
        let mut rng = simplex_runtime_tokio::rng()?;
        let number = u64::from_be_bytes(rng.bytes());
        let within = within.map_or_else(std::env::temp_dir, Path::to_owned);
        let path = within.join(format!("xftp-{number:016x}"));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(&path).map_err(failed(&path, "made"))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
