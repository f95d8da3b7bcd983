//! Decryption of a file, piece by piece.

use bytes::BytesMut;

use super::{FileError, FileHeader, LENGTH, TAG};
use crate::crypto::secret_box::{Decryptor, Key};
use crate::crypto::{Nonce, Secret, Tag};

/// Decrypts a file in order.
///
/// ```text
///   Length ──8 bytes──▶ Header ──complete──▶ Content ──as announced──▶ Filler
/// ```
/// A file that announces more than it holds is refused; the reference gives out what there is, as if that were all.
/// What is returned must not be believed before [`finish`](Self::finish) has said that the file is authentic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDecryptor {
    decryptor: Decryptor,
    /// How much of the ciphertext has yet to come, without the tag.
    ciphertext: u64,
    tag: Vec<u8>,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The front, until there is a header in it.
    Front(BytesMut),
    /// How much of the content has yet to come.
    Content(FileHeader, u64),
}

impl FileDecryptor {
    /// A file of that many encrypted bytes.
    pub fn new(key: &Secret<32>, nonce: &Nonce, encrypted_size: u64) -> Result<Self, FileError> {
        let ciphertext = encrypted_size.checked_sub(TAG).ok_or(FileError::Size)?;
        if ciphertext < LENGTH {
            return Err(FileError::Size);
        }
        Ok(Self {
            decryptor: Key::from(key).decryptor(nonce),
            ciphertext,
            tag: Vec::with_capacity(Tag::LENGTH),
            state: State::Front(BytesMut::new()),
        })
    }

    /// What the file says of itself, once that has come.
    #[must_use]
    pub const fn header(&self) -> Option<&FileHeader> {
        match &self.state {
            State::Front(_) => None,
            State::Content(header, _) => Some(header),
        }
    }

    /// How much of the content has not been decrypted yet, once the header is known; it is not authentic before the end.
    #[must_use]
    pub const fn content_left(&self) -> Option<u64> {
        match &self.state {
            State::Front(_) => None,
            State::Content(_, left) => Some(*left),
        }
    }

    /// Decrypts the next piece: the part of the content that is in it.
    pub fn update(&mut self, piece: &[u8]) -> Result<BytesMut, FileError> {
        let ours = usize::try_from(self.ciphertext).unwrap_or(usize::MAX);
        let (ciphertext, rest) = piece.split_at(piece.len().min(ours));
        self.ciphertext = self.ciphertext.saturating_sub(long(ciphertext.len()));
        self.tag.extend_from_slice(rest);
        if self.tag.len() > Tag::LENGTH {
            return Err(FileError::Size);
        }
        let mut text = BytesMut::from(ciphertext);
        self.decryptor.update(&mut text);
        if let State::Front(front) = &mut self.state {
            front.extend_from_slice(&text);
            match self.begin()? {
                Some(content) => text = content,
                None => return Ok(BytesMut::new()),
            }
        }
        if let State::Content(_, left) = &mut self.state {
            text.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left = left.saturating_sub(long(text.len()));
        }
        Ok(text)
    }

    /// What follows the header, once it is complete.
    fn begin(&mut self) -> Result<Option<BytesMut>, FileError> {
        let State::Front(front) = &mut self.state else {
            return Ok(None);
        };
        let Some((length, after)) = front.split_first_chunk() else {
            return Ok(None);
        };
        let length = u64::try_from(i64::from_be_bytes(*length)).map_err(|_| FileError::Length)?;
        let Some((header, size)) = FileHeader::parse(after)? else {
            return Ok(None);
        };
        let content = length.checked_sub(long(size)).ok_or(FileError::Header)?;
        let text = after.get(size..).unwrap_or_default();
        let text = BytesMut::from(text);
        if content > self.ciphertext.saturating_add(long(text.len())) {
            return Err(FileError::Length);
        }
        self.state = State::Content(header, content);
        Ok(Some(text))
    }

    /// Whether all was authentic; what the file says of itself.
    pub fn finish(self) -> Result<FileHeader, FileError> {
        let tag = <[u8; Tag::LENGTH]>::try_from(self.tag).map_err(|_| FileError::Size)?;
        self.decryptor
            .finish(&Tag::from_bytes(tag))
            .map_err(|_| FileError::Tag)?;
        match self.state {
            State::Front(_) => Err(FileError::Header),
            State::Content(header, 0) => Ok(header),
            State::Content(..) => Err(FileError::Length),
        }
    }
}

fn long(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
