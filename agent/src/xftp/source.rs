//! The encrypted file, in order.

use bytes::{Bytes, BytesMut};
use simplex_sans_io::xftp::chunk::ChunkSize;
use simplex_sans_io::xftp::file::FileEncryptor;

use super::TransferError;

/// The encrypted file, whose content is read when it is needed.
pub(crate) struct Source {
    encryptor: FileEncryptor,
    /// What is encrypted and not given out.
    ready: BytesMut,
    /// How much of the content has yet to be read.
    left: u64,
}

impl Source {
    /// A file with so much content, of which nothing was given out.
    pub(crate) const fn new(encryptor: FileEncryptor, front: BytesMut, content: u64) -> Self {
        Self {
            encryptor,
            ready: front,
            left: content,
        }
    }

    /// The next chunk.
    pub(super) fn chunk(
        &mut self,
        size: ChunkSize,
        mut read: impl FnMut(&mut [u8]) -> Result<(), TransferError>,
    ) -> Result<Bytes, TransferError> {
        self.piece(
            usize::try_from(size.bytes()).unwrap_or(usize::MAX),
            &mut read,
        )
    }

    /// The next piece, which has this size.
    pub(crate) fn piece(
        &mut self,
        size: usize,
        read: &mut impl FnMut(&mut [u8]) -> Result<(), TransferError>,
    ) -> Result<Bytes, TransferError> {
        self.ready.reserve(size.saturating_sub(self.ready.len()));
        while self.ready.len() < size && self.left > 0 {
            let missing = size - self.ready.len();
            let wanted = usize::try_from(self.left).map_or(missing, |left| left.min(missing));
            let start = self.ready.len();
            self.ready.resize(start + wanted, 0);
            read(&mut self.ready[start..])?;
            self.encryptor.content_in_place(&mut self.ready[start..])?;
            self.left -= u64::try_from(wanted).unwrap_or(u64::MAX);
        }
        while self.ready.len() < size {
            match self.encryptor.filler()? {
                Some(filler) => self.ready.extend_from_slice(&filler),
                None => return Err(TransferError::Died),
            }
        }
        Ok(self.ready.split_to(size).freeze())
    }
}
