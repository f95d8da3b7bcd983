//! Files to send.

use std::fs;
use std::path::{Path, PathBuf};

use simplex_sans_io::rng::Rng;

/// A file of that size, with anything in it.
pub(crate) fn file(directory: &Path, size: usize) -> PathBuf {
    let path = directory.join(format!("{size}.bin"));
    let mut bytes = vec![0; size];
    Rng::from_seed([7; 32]).fill(&mut bytes);
    fs::write(&path, bytes).unwrap();
    path
}
