//! Receiving: chunks come at the same time, and are decrypted in order.

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use simplex_sans_io::crypto::hash::Sha512;
use simplex_sans_io::xftp::description::{FileChunk, FileDescription, Replica};
use simplex_sans_io::xftp::file::{FileDecryptor, FileHeader};
use tokio::task::JoinHandle;

use super::output::unique;
use super::{AT_ONCE, Sessions, TransferError, local_name};

/// A file that was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of itself.
    pub header: FileHeader,
}

/// The description of the file that is wanted: the one that was given, or the one in the file that it leads to.
pub async fn resolve(
    sessions: &Sessions,
    description: FileDescription,
) -> Result<FileDescription, TransferError> {
    let Some(redirect) = description.redirect.clone() else {
        return Ok(description);
    };
    let mut text = Vec::new();
    let take = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        Ok(())
    };
    fetch(sessions, &description, take, |_, _| {}).await?;
    let text = String::from_utf8(text).map_err(|_| TransferError::Digest)?;
    let inner: FileDescription = text.parse()?;
    if inner.redirect.is_some() {
        return Err(TransferError::Redirects);
    }
    if (inner.size, inner.digest) != (redirect.size, redirect.digest) {
        return Err(TransferError::Digest);
    }
    Ok(inner)
}

/// Receives a file into a directory. Its name there is the sender's, as far as it is harmless, and never that of another file.
///
/// `progress` is told how many of how many bytes are downloaded. What is not authentic leaves nothing behind.
pub async fn receive(
    sessions: &Sessions,
    description: &FileDescription,
    directory: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Received, TransferError> {
    let failed = |path: &Path, done| {
        let path = path.to_owned();
        move |error| TransferError::File { path, done, error }
    };
    fs::create_dir_all(directory).map_err(failed(directory, "made"))?;
    let (mut file, part) = unique(directory, ".xftp.part").map_err(failed(directory, "written"))?;
    let write = |bytes: &[u8]| file.write_all(bytes).map_err(failed(&part, "written"));
    let fetched = fetch(sessions, description, write, progress).await;
    let named = fetched.and_then(|header| {
        let name = local_name(header.name());
        let (_, path) = unique(directory, &name).map_err(failed(directory, "written"))?;
        file.sync_all().map_err(failed(&part, "written"))?;
        fs::rename(&part, &path).map_err(failed(&path, "written"))?;
        Ok(Received { path, header })
    });
    if named.is_err() {
        // What is left of it is nothing that anybody wants.
        fs::remove_file(&part).ok();
    }
    named
}

/// Downloads and decrypts; what it gives out must not be believed before it has returned.
async fn fetch(
    sessions: &Sessions,
    description: &FileDescription,
    mut take: impl FnMut(&[u8]) -> Result<(), TransferError>,
    mut progress: impl FnMut(u64, u64),
) -> Result<FileHeader, TransferError> {
    let size = description.size;
    let mut decryptor = FileDecryptor::new(&description.key, &description.nonce, size)?;
    let mut digest = Sha512::new();
    let mut downloads = Downloads(VecDeque::new());
    let mut chunks = description.chunks.iter().cloned();
    let mut done = 0;
    loop {
        while downloads.0.len() < AT_ONCE
            && let Some(chunk) = chunks.next()
        {
            let download = download(sessions.clone(), chunk);
            downloads.0.push_back(tokio::spawn(download));
        }
        let Some(download) = downloads.0.front_mut() else {
            break;
        };
        let chunk = download.await.map_err(|_| TransferError::Died)??;
        downloads.0.pop_front();
        digest.update(&chunk);
        take(&decryptor.update(&chunk)?)?;
        done += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        progress(done, size);
    }
    if digest.finish() != description.digest {
        return Err(TransferError::Digest);
    }
    Ok(decryptor.finish()?)
}

/// Those that are not waited for any more are given up.
struct Downloads(VecDeque<JoinHandle<Result<Vec<u8>, TransferError>>>);

impl Drop for Downloads {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

/// From the first replica that has it.
async fn download(sessions: Sessions, chunk: FileChunk) -> Result<Vec<u8>, TransferError> {
    let mut failed = TransferError::NoServer;
    for Replica { server, id, key } in &chunk.replicas {
        let key = Arc::new(key.clone());
        let got = sessions.get(server, id, &key, chunk.size, chunk.digest);
        match got.await {
            Ok(bytes) => return Ok(bytes),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
