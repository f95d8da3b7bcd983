//! A file whose chunks are all there is verified and decrypted. What is not authentic gets no name.

use std::io::{self, Read as _};

use simplex_sans_io::agent::file_event::DescriptionText;
use simplex_sans_io::agent::files::job::{Failure, Outcome, Target};
use simplex_sans_io::crypto::hash::Sha512;
use simplex_sans_io::crypto::{Nonce, Secret};
use simplex_sans_io::xftp::description::FileDigest;
use simplex_sans_io::xftp::file::{FileDecryptor, FileHeader};
use zeroize::Zeroizing;

use super::ask::failure;
use super::local::Writer;
use super::place::Place;
use super::{PIECE, give_way};
use crate::xftp::{TransferError, local_name};

pub(super) async fn decrypt(
    place: &Place,
    described: (u64, &FileDigest),
    secrets: (&Secret<32>, &Nonce),
    target: &Target,
) -> Result<Outcome, Failure> {
    let decrypted = match target {
        Target::File(local) => match place.begin_decrypted() {
            Err(error) => Err(error),
            Ok(file) => {
                let mut writer = Writer::new(file, local.as_ref());
                let mut take =
                    |piece: &mut [u8]| writer.write(piece).map_err(place.cannot("decrypted"));
                let read = read(place, described, secrets, &mut take).await;
                read.and_then(|header| {
                    let file = writer.finish().map_err(place.cannot("decrypted"))?;
                    let name = local_name(header.name());
                    let path = place.finish_decrypted(&file, &name)?;
                    let path = path.into_os_string().into_string();
                    let unnamed = |_| {
                        let error = io::Error::other("its path is not UTF-8");
                        place.cannot("named")(error)
                    };
                    let path = path.map_err(unnamed)?;
                    Ok(Outcome::Decrypted { path })
                })
            }
        },
        Target::Text(longest) => {
            let mut text = Zeroizing::new(Vec::new());
            let longest = usize::try_from(*longest).unwrap_or(usize::MAX);
            let mut take = |piece: &mut [u8]| {
                text.extend_from_slice(piece);
                match text.len() > longest {
                    true => Err(TransferError::TooLarge),
                    false => Ok(()),
                }
            };
            let read = read(place, described, secrets, &mut take).await;
            read.and_then(|_| {
                let text = String::from_utf8(text.to_vec()).map_err(|_| TransferError::Digest)?;
                Ok(Outcome::Opened(DescriptionText::from(text)))
            })
        }
    };
    decrypted.map_err(failure)
}

/// Decrypts the encrypted file, of which nothing must be believed before this has returned.
async fn read(
    place: &Place,
    (size, digest): (u64, &FileDigest),
    (key, nonce): (&Secret<32>, &Nonce),
    take: &mut impl FnMut(&mut [u8]) -> Result<(), TransferError>,
) -> Result<FileHeader, TransferError> {
    let mut file = place.open_to_read()?.take(size);
    let mut decryptor = FileDecryptor::new(key, nonce, size)?;
    let mut actual = Sha512::new();
    let mut piece = vec![0; PIECE];
    loop {
        let length = file.read(&mut piece).map_err(place.cannot("read"))?;
        if length == 0 {
            break;
        }
        actual.update(&piece[..length]);
        take(&mut decryptor.update(&piece[..length])?)?;
        give_way().await;
    }
    if actual.finish() != *digest {
        return Err(TransferError::Digest);
    }
    Ok(decryptor.finish()?)
}
