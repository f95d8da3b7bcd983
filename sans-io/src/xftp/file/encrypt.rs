//! Encryption of a file, piece by piece.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{FileError, FileHeader, LENGTH, TAG};
use crate::crypto::secret_box::{Encryptor, Key};
use crate::crypto::{Nonce, Secret};
use crate::xftp::chunk::{ChunkSize, chunk_sizes};

/// How much filler is made at once.
const FILLER: u64 = 64 * 1024;

/// The parts of an encrypted file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    content: u64,
    /// The length that stands in front of header and content.
    length: i64,
    filler: u64,
    chunks: Vec<ChunkSize>,
}

impl Layout {
    /// The largest content: more than any router or application accepts.
    pub const MAX_CONTENT: u64 = 1 << 42;

    /// The layout of a file with so much content, in chunks of the usual sizes.
    pub fn of(header: &FileHeader, content: u64) -> Result<Self, FileError> {
        let payload = Self::payload(header, content)?;
        let chunks = with_filler_in_the_last(chunk_sizes(payload), payload);
        Self::in_chunks(header, content, chunks)
    }

    /// The layout of a file in one chunk, as descriptions are that others redirect to.
    pub fn in_one_chunk(header: &FileHeader, content: u64) -> Result<Self, FileError> {
        let payload = Self::payload(header, content)?;
        let chunk = ChunkSize::single(payload).ok_or(FileError::TooLarge)?;
        Self::in_chunks(header, content, vec![chunk])
    }

    fn payload(header: &FileHeader, content: u64) -> Result<u64, FileError> {
        if content > Self::MAX_CONTENT {
            return Err(FileError::TooLarge);
        }
        let header = u64::try_from(header.encode().len()).unwrap_or(u64::MAX);
        let parts = [content, header, LENGTH, TAG];
        parts
            .into_iter()
            .try_fold(0, u64::checked_add)
            .ok_or(FileError::TooLarge)
    }

    /// The layout of a file in these chunks. Some recipients want all filler to be in the last one.
    pub fn in_chunks(
        header: &FileHeader,
        content: u64,
        chunks: Vec<ChunkSize>,
    ) -> Result<Self, FileError> {
        let payload = Self::payload(header, content)?;
        let length = payload.saturating_sub(LENGTH).saturating_sub(TAG);
        let total = total(&chunks);
        Ok(Self {
            content,
            length: i64::try_from(length).map_err(|_| FileError::TooLarge)?,
            filler: total.checked_sub(payload).ok_or(FileError::TooLarge)?,
            chunks,
        })
    }

    /// The sizes of the chunks, in order.
    #[must_use]
    pub fn chunks(&self) -> &[ChunkSize] {
        &self.chunks
    }

    /// The size of the encrypted file: of all chunks together.
    #[must_use]
    pub fn encrypted_size(&self) -> u64 {
        total(&self.chunks)
    }
}

/// The same sizes, unless the last chunk had room for a part of the tag only: then filler would stand before it.
fn with_filler_in_the_last(mut chunks: Vec<ChunkSize>, payload: u64) -> Vec<ChunkSize> {
    let content = payload.saturating_sub(TAG);
    if let [.., _, _] = chunks[..]
        && let Some(last) = chunks.pop()
    {
        if total(&chunks) <= content {
            chunks.push(last);
        } else if let Some(before) = chunks.pop() {
            let both = u64::from(before.bytes()).saturating_add(last.bytes().into());
            match ChunkSize::single(both) {
                Some(one) => chunks.push(one),
                None => {
                    chunks.extend([ChunkSize::Mb1; 3]);
                    chunks.push(ChunkSize::Mb4);
                }
            }
        }
    }
    chunks
}

fn total(chunks: &[ChunkSize]) -> u64 {
    chunks
        .iter()
        .map(|size| u64::from(size.bytes()))
        .fold(0, u64::saturating_add)
}

/// Encrypts a file in order: what [`begin`](Self::begin) returns, the [`content`](Self::content), the [`filler`](Self::filler).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEncryptor {
    encryptor: Encryptor,
    content: u64,
    filler: u64,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Tag,
    Nothing,
}

impl FileEncryptor {
    /// Begins with what stands before the content.
    #[must_use]
    pub fn begin(
        key: &Secret<32>,
        nonce: &Nonce,
        header: &FileHeader,
        layout: &Layout,
    ) -> (Self, BytesMut) {
        let mut encryptor = Key::from(key).encryptor(nonce);
        let mut front = BytesMut::new();
        front.put_i64(layout.length);
        front.put_slice(&header.encode());
        encryptor.update(&mut front);
        let file = Self {
            encryptor,
            content: layout.content,
            filler: layout.filler,
            end: End::Tag,
        };
        (file, front)
    }

    /// Encrypts the next piece of the content.
    pub fn content(&mut self, piece: &[u8]) -> Result<BytesMut, FileError> {
        let mut piece = BytesMut::from(piece);
        self.content_in_place(&mut piece)?;
        Ok(piece)
    }

    /// Encrypts the next piece of the content where it lies.
    pub fn content_in_place(&mut self, piece: &mut [u8]) -> Result<(), FileError> {
        let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.content = self.content.checked_sub(length).ok_or(FileError::Length)?;
        self.encryptor.update(piece);
        Ok(())
    }

    /// The next piece of what follows the content: filler, and the tag at last.
    pub fn filler(&mut self) -> Result<Option<Bytes>, FileError> {
        if self.content > 0 {
            return Err(FileError::Length);
        }
        let length = self.filler.min(FILLER);
        self.filler = self.filler.saturating_sub(length);
        let mut piece = BytesMut::new();
        match (usize::try_from(length), self.end) {
            (Ok(0) | Err(_), End::Nothing) => return Ok(None),
            (Ok(0) | Err(_), End::Tag) => {
                self.end = End::Nothing;
                piece.put_slice(self.encryptor.clone().finish().as_bytes());
            }
            (Ok(length), _) => {
                piece.put_bytes(b'#', length);
                self.encryptor.update(&mut piece);
            }
        }
        Ok(Some(piece.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_stands_in_the_last_chunk_only() {
        let header = FileHeader::new("name");
        let overhead = Layout::payload(&header, 0).unwrap();
        for boundary in [1_u64 << 16, 3 << 16, 1 << 18, 1 << 20, 4 << 20, 9 << 20] {
            for payload in boundary - 20..boundary + 40 {
                let layout = Layout::of(&header, payload - overhead).unwrap();
                let last = u64::from(layout.chunks.last().unwrap().bytes());
                assert!(
                    layout.filler + TAG <= last,
                    "{payload}: {:?}",
                    layout.chunks
                );
            }
        }
    }
}
