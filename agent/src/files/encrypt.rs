//! A file is encrypted once, for all its recipients: what is uploaded is in its place, and nobody waits for the original any more.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use simplex_sans_io::agent::files::job::{Content, Failure, Outcome};
use simplex_sans_io::crypto::hash::{Sha256, Sha512};
use simplex_sans_io::crypto::{Nonce, Secret};
use simplex_sans_io::xftp::file::{FileEncryptor, FileHeader, Layout};

use super::ask::failure;
use super::local::Reader;
use super::place::Place;
use super::{PIECE, give_way};
use crate::xftp::{Source, TransferError};

pub(super) async fn encrypt(
    place: &Place,
    content: &Content,
    secrets: (&Secret<32>, &Nonce),
    max_size: u64,
) -> Result<Outcome, Failure> {
    let encrypted = match content {
        Content::File { path, local } => {
            let path = Path::new(path);
            let read = TransferError::file(path, "read");
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let header = FileHeader::new(&name);
            let opened = File::open(path).and_then(|file| {
                let reader = Reader::new(file, local.as_ref());
                reader.content().map(|length| (reader, length))
            });
            match opened.map_err(read.clone()) {
                Err(error) => Err(error),
                Ok((mut reader, length)) => match Layout::of(&header, length) {
                    Err(_) => Err(TransferError::TooLarge),
                    Ok(layout) => {
                        let mut content =
                            |piece: &mut [u8]| reader.read(piece).map_err(read.clone());
                        let file = Clear {
                            header: &header,
                            layout: &layout,
                            length,
                        };
                        let encrypted = write(place, &file, &mut content, secrets, max_size).await;
                        encrypted.and_then(|outcome| {
                            reader.finish().map_err(read)?;
                            Ok(outcome)
                        })
                    }
                },
            }
        }
        Content::Text { name, text } => {
            let header = FileHeader::new(name);
            let mut left = text.as_str().as_bytes();
            let length = u64::try_from(left.len()).unwrap_or(u64::MAX);
            match Layout::in_one_chunk(&header, length) {
                Err(_) => Err(TransferError::TooLarge),
                Ok(layout) => {
                    let mut content = |piece: &mut [u8]| {
                        let (next, rest) = left.split_at(piece.len().min(left.len()));
                        piece[..next.len()].copy_from_slice(next);
                        left = rest;
                        Ok(())
                    };
                    let file = Clear {
                        header: &header,
                        layout: &layout,
                        length,
                    };
                    write(place, &file, &mut content, secrets, max_size).await
                }
            }
        }
    };
    encrypted.map_err(failure)
}

/// What is encrypted.
struct Clear<'a> {
    header: &'a FileHeader,
    layout: &'a Layout,
    /// How long its content is.
    length: u64,
}

async fn write(
    place: &Place,
    clear: &Clear<'_>,
    content: &mut impl FnMut(&mut [u8]) -> Result<(), TransferError>,
    (key, nonce): (&Secret<32>, &Nonce),
    max_size: u64,
) -> Result<Outcome, TransferError> {
    if clear.layout.encrypted_size() > max_size {
        return Err(TransferError::TooLarge);
    }
    let (encryptor, front) = FileEncryptor::begin(key, nonce, clear.header, clear.layout);
    let mut source = Source::new(encryptor, front, clear.length);
    let mut file = place.begin_encrypted()?;
    let mut digest = Sha512::new();
    let mut chunks = Vec::new();
    for size in clear.layout.chunks() {
        let mut of_chunk = Sha256::new();
        let mut left = usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        while left > 0 {
            let piece = source.piece(left.min(PIECE), content)?;
            left -= piece.len();
            digest.update(&piece);
            of_chunk.update(&piece);
            file.write_all(&piece).map_err(place.cannot("written"))?;
            give_way().await;
        }
        chunks.push((size.bytes(), of_chunk.finish()));
    }
    place.finish_encrypted(&file)?;
    Ok(Outcome::Encrypted {
        digest: digest.finish(),
        chunks,
    })
}
