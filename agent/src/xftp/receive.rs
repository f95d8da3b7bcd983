//! Receiving: chunks come at the same time, and are decrypted in order.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use simplex_sans_io::crypto::hash::Sha512;
use simplex_sans_io::xftp::description::{FileChunk, FileDescription, Replica};
use simplex_sans_io::xftp::file::{FileDecryptor, FileHeader};

use super::part::{Damaged, Origin, Part};
use super::{AT_ONCE, Runtime, Sessions, TransferError, local_name};

/// The longest description that a description leads to.
const LONGEST: u64 = 16 << 20;

/// A file that was received.
#[derive(Debug, Clone)]
pub struct Received {
    /// Where it is.
    pub path: PathBuf,
    /// What it says of itself.
    pub header: FileHeader,
}

/// The description of the file that is wanted: the one that was given, or the one in the file that it leads to.
pub async fn resolve<N: Runtime>(
    sessions: &Sessions<N>,
    description: FileDescription,
) -> Result<FileDescription, TransferError> {
    let Some(redirect) = description.redirect.clone() else {
        return Ok(description);
    };
    if description.size > LONGEST {
        return Err(TransferError::Digest);
    }
    let mut text = Vec::new();
    let mut digest = Sha512::new();
    let mut decryptor = FileDecryptor::new(&description.key, &description.nonce, description.size)?;
    let take = |chunk: &[u8]| {
        digest.update(chunk);
        text.extend_from_slice(&decryptor.update(chunk)?);
        Ok(())
    };
    fetch(sessions, &description, 0, take).await?;
    if digest.finish() != description.digest {
        return Err(TransferError::Digest);
    }
    decryptor.finish()?;
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
///
/// Cancel safety: chunks that were received are in the directory, under a name that begins with a dot, and are not downloaded again
/// when the same file is received there.
pub async fn receive<N: Runtime>(
    sessions: &Sessions<N>,
    description: &FileDescription,
    directory: &Path,
    mut progress: impl FnMut(u64, u64),
) -> Result<Received, TransferError> {
    loop {
        let mut part = Part::open(directory, description)?;
        let there = description.chunks.iter().take(part.chunks());
        let mut done = there.map(|chunk| u64::from(chunk.size)).sum();
        progress(done, description.size);
        let (first, origin) = (part.chunks(), part.origin());
        let take = |chunk: &[u8]| {
            part.add(chunk)?;
            done += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
            progress(done, description.size);
            Ok(())
        };
        let fetched = fetch(sessions, description, first, take).await;
        let finished = match fetched {
            Err(error @ TransferError::Content(_)) => {
                part.restart(description)?;
                Err(Damaged(error, origin))
            }
            Err(error) => {
                // What is gone does not come back: nothing is kept to go on with.
                if error.is_gone() {
                    Part::remove(directory, description);
                }
                return Err(error);
            }
            Ok(()) => part.finish(description, |header| local_name(header.name())),
        };
        match finished {
            Ok((path, header)) => return Ok(Received { path, header }),
            // What was there before was damaged: all of it is downloaded now.
            Err(Damaged(_, Origin::Resumed)) => {}
            Err(Damaged(error, Origin::Fresh)) => {
                Part::remove(directory, description);
                return Err(error);
            }
        }
    }
}

/// Downloads the chunks of a file from one on, in order.
async fn fetch<N: Runtime>(
    sessions: &Sessions<N>,
    description: &FileDescription,
    first: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), TransferError>,
) -> Result<(), TransferError> {
    let mut chunks = description.chunks.iter().skip(first);
    let mut downloads = FuturesOrdered::new();
    loop {
        while downloads.len() < AT_ONCE
            && let Some(chunk) = chunks.next()
        {
            downloads.push_back(download(sessions, chunk));
        }
        match downloads.next().await {
            Some(chunk) => take(&chunk?)?,
            None => return Ok(()),
        }
    }
}

/// From the first replica that has it.
async fn download<N: Runtime>(
    sessions: &Sessions<N>,
    chunk: &FileChunk,
) -> Result<Vec<u8>, TransferError> {
    let mut failed = TransferError::NoServer;
    for Replica { server, id, key } in &chunk.replicas {
        let key = Arc::new(key.clone());
        let whole = Mutex::new(Vec::new());
        let lock = || whole.lock().unwrap_or_else(PoisonError::into_inner);
        let described = (chunk.size, chunk.digest);
        let got = sessions.download(server, id, &key, described, || {
            lock().clear();
            Ok(|bytes: &[u8]| {
                lock().extend_from_slice(bytes);
                Ok(())
            })
        });
        match got.await {
            Ok(()) => return Ok(whole.into_inner().unwrap_or_else(PoisonError::into_inner)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}
