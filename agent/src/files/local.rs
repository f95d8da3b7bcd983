//! Files that are encrypted on this machine: as one stream, with the tag behind it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};

use simplex_sans_io::agent::files::record::LocalKey;
use simplex_sans_io::crypto::Tag;
use simplex_sans_io::crypto::secret_box::{Decryptor, Encryptor, Key};

/// The bytes behind the content.
const TAG: u64 = 16;

/// What is read of a file, which is encrypted or not.
pub(super) struct Reader {
    file: File,
    decryptor: Option<Decryptor>,
}

impl Reader {
    pub(super) fn new(file: File, local: Option<&LocalKey>) -> Self {
        let decryptor = local.map(|local| Key::from(&local.key).decryptor(&local.nonce));
        Self { file, decryptor }
    }

    /// How much content there is.
    pub(super) fn content(&self) -> io::Result<u64> {
        let size = self.file.metadata()?.len();
        match self.decryptor {
            None => Ok(size),
            Some(_) => size.checked_sub(TAG).ok_or_else(damaged),
        }
    }

    pub(super) fn read(&mut self, piece: &mut [u8]) -> io::Result<()> {
        self.file.read_exact(piece)?;
        if let Some(decryptor) = &mut self.decryptor {
            decryptor.update(piece);
        }
        Ok(())
    }

    /// Whether all of it was read, and is authentic.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Some(decryptor) = self.decryptor {
            let mut tag = [0; 16];
            self.file.read_exact(&mut tag)?;
            let authentic = decryptor.finish(&Tag::from_bytes(tag));
            authentic.map_err(|_| damaged())?;
        }
        match self.file.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(io::Error::other("it was changed while it was read")),
        }
    }
}

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it is not encrypted with this key",
    )
}

/// What is written of a file, which is to be encrypted or not.
pub(super) struct Writer {
    file: File,
    encryptor: Option<Encryptor>,
}

impl Writer {
    pub(super) fn new(file: File, local: Option<&LocalKey>) -> Self {
        let encryptor = local.map(|local| Key::from(&local.key).encryptor(&local.nonce));
        Self { file, encryptor }
    }

    pub(super) fn write(&mut self, piece: &mut [u8]) -> io::Result<()> {
        if let Some(encryptor) = &mut self.encryptor {
            encryptor.update(piece);
        }
        self.file.write_all(piece)
    }

    pub(super) fn finish(mut self) -> io::Result<File> {
        if let Some(encryptor) = self.encryptor {
            self.file.write_all(encryptor.finish().as_bytes())?;
        }
        Ok(self.file)
    }
}
