//! The encryption of a file: what chunks are made of.
//!
//! ```text
//! encrypted file = box( length of header and content (8 bytes), header, content, filler ), tag
//! header         = file name, extra
//! ```
//! The file is one stream under one key, cut into chunks. All filler lies in the last one.
//!
//! ```
//! use simplex_sans_io::crypto::{Nonce, Secret};
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::xftp::file::{FileDecryptor, FileEncryptor, FileHeader, Layout};
//!
//! let mut rng = Rng::from_seed([7; 32]);
//! let (key, nonce) = (Secret::generate(&mut rng), Nonce::generate(&mut rng));
//! let content = b"what is in the file";
//!
//! let header = FileHeader::new("a.txt");
//! let layout = Layout::of(&header, content.len() as u64)?;
//! let (mut encryptor, mut encrypted) = FileEncryptor::begin(&key, &nonce, &header, &layout);
//! encrypted.extend_from_slice(&encryptor.content(content)?);
//! while let Some(filler) = encryptor.filler()? {
//!     encrypted.extend_from_slice(&filler);
//! }
//! assert_eq!(encrypted.len() as u64, layout.encrypted_size());
//!
//! let mut decryptor = FileDecryptor::new(&key, &nonce, layout.encrypted_size())?;
//! let mut decrypted = Vec::new();
//! for piece in encrypted.chunks(1000) {
//!     decrypted.extend_from_slice(&decryptor.update(piece)?);
//! }
//! assert_eq!(decryptor.finish()?.name(), "a.txt");
//! assert_eq!(decrypted, content);
//! # Ok::<(), simplex_sans_io::xftp::file::FileError>(())
//! ```

mod decrypt;
mod encrypt;
mod header;

pub use self::decrypt::FileDecryptor;
pub use self::encrypt::{FileEncryptor, Layout};
pub use self::header::FileHeader;

use crate::crypto::Tag;

/// The bytes of the length in front of header and content.
const LENGTH: u64 = 8;
/// The bytes of the tag at the end.
#[expect(clippy::as_conversions, reason = "a small constant")]
const TAG: u64 = Tag::LENGTH as u64;

/// Why a file cannot be encrypted or decrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is larger than files can be.
    #[error("the file is too large")]
    TooLarge,
    /// The content is longer or shorter than announced.
    #[error("the content is longer or shorter than announced")]
    Length,
    /// There is no header, or it is not one.
    #[error("the header of the file is invalid")]
    Header,
    /// The encrypted file is longer or shorter than it should be.
    #[error("the encrypted file is longer or shorter than it should be")]
    Size,
    /// The file was not encrypted with this key, or it was changed.
    #[error("the file is not authentic")]
    Tag,
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::crypto::{Nonce, Secret};

    fn encrypted(name: &str, content: &[u8], cut: usize) -> BytesMut {
        let header = FileHeader::new(name);
        let layout = Layout::of(&header, content.len() as u64).unwrap();
        let (key, nonce) = (Secret::from_bytes([1; 32]), Nonce::from([2; 24]));
        let (mut encryptor, mut out) = FileEncryptor::begin(&key, &nonce, &header, &layout);
        for piece in content.chunks(cut) {
            out.extend_from_slice(&encryptor.content(piece).unwrap());
        }
        while let Some(filler) = encryptor.filler().unwrap() {
            out.extend_from_slice(&filler);
        }
        assert_eq!(out.len() as u64, layout.encrypted_size());
        out
    }

    fn decrypt(encrypted: &[u8], cut: usize) -> Result<(FileHeader, Vec<u8>), FileError> {
        let (key, nonce) = (Secret::from_bytes([1; 32]), Nonce::from([2; 24]));
        let mut decryptor = FileDecryptor::new(&key, &nonce, encrypted.len() as u64)?;
        let mut content = Vec::new();
        for piece in encrypted.chunks(cut) {
            content.extend_from_slice(&decryptor.update(piece)?);
        }
        Ok((decryptor.finish()?, content))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_file_comes_back_however_it_is_cut(
            content in prop::collection::vec(any::<u8>(), 0..3000),
            name in "\\PC{0,40}",
            cuts in (1..2000_usize, 1..2000_usize),
        ) {
            let encrypted = encrypted(&name, &content, cuts.0);
            let (header, read) = decrypt(&encrypted, cuts.1).unwrap();
            prop_assert_eq!(header.name(), name);
            prop_assert_eq!(read, content);
        }

        #[test]
        fn what_was_changed_is_refused(at in 0..65536_usize, bit in 0..8_u32) {
            let mut encrypted = encrypted("name", &[7; 5000], 5000);
            encrypted[at] ^= 1_u8 << bit;
            prop_assert!(decrypt(&encrypted, 10_000).is_err());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000), cut in 1..300_usize) {
            let _ = decrypt(&bytes, cut);
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_refused() {
        let encrypted = encrypted("name", &[7; 5000], 5000);
        let (key, nonce) = (Secret::from_bytes([1; 32]), Nonce::from([2; 24]));
        let mut short = FileDecryptor::new(&key, &nonce, 65536).unwrap();
        short.update(&encrypted[..65535]).unwrap();
        assert_eq!(short.finish().unwrap_err(), FileError::Size);
        let mut long = FileDecryptor::new(&key, &nonce, 65536).unwrap();
        long.update(&encrypted).unwrap();
        assert_eq!(long.update(b"!").unwrap_err(), FileError::Size);
        assert_eq!(
            FileDecryptor::new(&key, &nonce, 23).unwrap_err(),
            FileError::Size
        );
    }

    #[test]
    fn a_file_that_announces_more_than_it_holds_is_refused() {
        let (key, nonce) = (Secret::from_bytes([1; 32]), Nonce::from([2; 24]));
        let file = |announced: i64| {
            let mut text = BytesMut::from(&announced.to_be_bytes()[..]);
            text.extend_from_slice(b"\x01a0content");
            let mut encryptor = crate::crypto::secret_box::Key::from(&key).encryptor(&nonce);
            encryptor.update(&mut text);
            text.extend_from_slice(encryptor.finish().as_bytes());
            text
        };
        let (header, content) = decrypt(&file(10), 100).unwrap();
        assert_eq!((header.name(), &content[..]), ("a", &b"content"[..]));
        for announced in [11, i64::MAX, -1] {
            assert_eq!(decrypt(&file(announced), 100), Err(FileError::Length));
        }
    }

    #[test]
    fn content_is_as_long_as_announced() {
        let header = FileHeader::new("name");
        let layout = Layout::of(&header, 10).unwrap();
        let (key, nonce) = (Secret::from_bytes([1; 32]), Nonce::from([2; 24]));
        let (mut encryptor, _) = FileEncryptor::begin(&key, &nonce, &header, &layout);
        encryptor.content(&[0; 9]).unwrap();
        assert_eq!(encryptor.filler().unwrap_err(), FileError::Length);
        assert_eq!(encryptor.content(&[0; 2]).unwrap_err(), FileError::Length);
        encryptor.content(&[0; 1]).unwrap();
        assert!(encryptor.filler().unwrap().is_some());
        assert_eq!(
            Layout::of(&header, u64::MAX).unwrap_err(),
            FileError::TooLarge
        );
    }
}
