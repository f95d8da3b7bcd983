//! A file that is being received: what there is of it, so that it can go on after a crash.
//!
//! ```text
//! .DIGEST.xftp.part     the content, as far as whole chunks were received
//! .DIGEST.xftp.begun    the length of the content, and the header; written once the first chunk has told them
//! ```
//! What was received is encrypted again to go on where it ends: so nothing but the content is on the disk. It is not authentic before the
//! last chunk, and if it turns out that it is not, all of it is dropped.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use simplex_sans_io::crypto::hash::Sha512;
use simplex_sans_io::xftp::description::FileDescription;
use simplex_sans_io::xftp::file::{FileDecryptor, FileEncryptor, FileHeader, Layout};

use super::TransferError;
use super::output::unique;

/// How much is read again at a time.
const PIECE: usize = 1 << 20;

/// What there is of a file.
pub(super) struct Part {
    path: PathBuf,
    begun: PathBuf,
    file: File,
    decryptor: FileDecryptor,
    digest: Sha512,
    /// How much of the content is in the file.
    written: u64,
    /// How many chunks are in it.
    chunks: usize,
    origin: Origin,
}

/// Where the first bytes come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// They were received now.
    Fresh,
    /// They were received before, and may have been damaged since.
    Resumed,
}

impl Part {
    /// Goes on with a file in a directory, or begins it. Two programs do not receive the same file at the same time.
    pub(super) fn open(
        directory: &Path,
        description: &FileDescription,
    ) -> Result<Self, TransferError> {
        let failed = |path: &Path, done| TransferError::file(path, done);
        fs::create_dir_all(directory).map_err(failed(directory, "made"))?;
        let [path, begun] = paths(directory, description);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(failed(&path, "written"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(TransferError::InUse(path)),
            Err(TryLockError::Error(error)) => return Err(failed(&path, "locked")(error)),
        }
        let mut part = Self {
            path,
            begun,
            file,
            decryptor: decryptor(description)?,
            digest: Sha512::new(),
            written: 0,
            chunks: 0,
            origin: Origin::Fresh,
        };
        if part.resume(description).is_none() {
            part.restart(description)?;
        }
        Ok(part)
    }

    /// Removes what is left of a file that turned out to be another one.
    pub(super) fn remove(directory: &Path, description: &FileDescription) {
        for path in paths(directory, description) {
            fs::remove_file(path).ok();
        }
    }

    /// How many chunks are there.
    pub(super) const fn chunks(&self) -> usize {
        self.chunks
    }

    /// Where the first bytes come from.
    pub(super) const fn origin(&self) -> Origin {
        self.origin
    }

    /// Begins again, with nothing.
    pub(super) fn restart(&mut self, description: &FileDescription) -> Result<(), TransferError> {
        self.decryptor = decryptor(description)?;
        self.digest = Sha512::new();
        (self.written, self.chunks, self.origin) = (0, 0, Origin::Fresh);
        let emptied = self.file.set_len(0);
        let emptied = emptied.and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(TransferError::file(&self.path, "written"))?;
        match fs::remove_file(&self.begun) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(TransferError::file(&self.begun, "removed")(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Adds the next chunk.
    pub(super) fn add(&mut self, chunk: &[u8]) -> Result<(), TransferError> {
        self.digest.update(chunk);
        let content = self.decryptor.update(chunk)?;
        let written = self.file.write_all(&content);
        written.map_err(TransferError::file(&self.path, "written"))?;
        self.written = self.written.saturating_add(long(content.len()));
        if self.chunks == 0
            && let (Some(header), Some(left)) =
                (self.decryptor.header(), self.decryptor.content_left())
        {
            let length = self.written.saturating_add(left);
            let begun = fs::write(&self.begun, begun(length, header));
            begun.map_err(TransferError::file(&self.begun, "written"))?;
        }
        self.chunks = self.chunks.saturating_add(1);
        Ok(())
    }

    /// Whether all was authentic. The file gets its name in the directory, which is never that of another file.
    pub(super) fn finish(
        self,
        description: &FileDescription,
        name: impl FnOnce(&FileHeader) -> String,
    ) -> Result<(PathBuf, FileHeader), Damaged> {
        let authentic = self.digest.finish() == description.digest;
        let header = match authentic {
            true => self.decryptor.finish().map_err(TransferError::from),
            false => Err(TransferError::Digest),
        };
        let header = match header {
            Ok(header) => header,
            Err(error) => {
                Self::remove(
                    self.path.parent().unwrap_or_else(|| Path::new(".")),
                    description,
                );
                return Err(Damaged(error, self.origin));
            }
        };
        let failed = |path: &Path| {
            let error = TransferError::file(path, "written");
            move |io| Damaged(error(io), Origin::Fresh)
        };
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));
        self.file.sync_all().map_err(failed(&self.path))?;
        let (_, path) = unique(directory, &name(&header)).map_err(failed(directory))?;
        fs::rename(&self.path, &path).map_err(failed(&path))?;
        fs::remove_file(&self.begun).ok();
        Ok((path, header))
    }

    /// Reads what is there; nothing if it is of no use.
    fn resume(&mut self, description: &FileDescription) -> Option<()> {
        let (length, header) = parse_begun(&fs::read_to_string(&self.begun).ok()?)?;
        let layout = Layout::of(&header, length).ok()?;
        let (mut encryptor, front) =
            FileEncryptor::begin(&description.key, &description.nonce, &header, &layout);
        let there = self.file.metadata().ok()?.len();
        let (chunks, end) = whole_chunks(description, long(front.len()).saturating_add(there))?;
        let mut left = end.checked_sub(long(front.len()))?;
        self.file.set_len(left).ok()?;
        self.file.seek(SeekFrom::Start(0)).ok()?;
        self.digest.update(&front);
        self.decryptor.update(&front).ok()?;
        let mut piece = vec![0; PIECE];
        while left > 0 {
            let length = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            let piece = piece.get_mut(..length)?;
            self.file.read_exact(piece).ok()?;
            encryptor.content_in_place(piece).ok()?;
            self.digest.update(piece);
            self.written = self.written.saturating_add(long(length));
            self.decryptor.update(piece).ok()?;
            left = left.saturating_sub(long(length));
        }
        (self.chunks, self.origin) = (chunks, Origin::Resumed);
        Some(())
    }
}

/// The file is not what was described, or cannot be written.
pub(super) struct Damaged(pub(super) TransferError, pub(super) Origin);

/// The length of the content, then the header: the name and what else it says.
fn begun(length: u64, header: &FileHeader) -> String {
    let text = |text: &str| URL_SAFE_NO_PAD.encode(text);
    match header.extra() {
        None => format!("{length} {}\n", text(header.name())),
        Some(extra) => format!("{length} {} {}\n", text(header.name()), text(extra)),
    }
}

fn parse_begun(text: &str) -> Option<(u64, FileHeader)> {
    let text_of = |field: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(field).ok()?).ok();
    let mut fields = text.strip_suffix('\n')?.split(' ');
    let length = fields.next()?.parse().ok()?;
    let header = FileHeader::new(&text_of(fields.next()?)?);
    Some(match fields.next() {
        None => (length, header),
        Some(extra) => (length, header.with_extra(&text_of(extra)?)),
    })
}

fn paths(directory: &Path, description: &FileDescription) -> [PathBuf; 2] {
    let (id, _) = description.digest.split_at(12);
    let name = URL_SAFE_NO_PAD.encode(id);
    ["part", "begun"].map(|kind| directory.join(format!(".{name}.xftp.{kind}")))
}

fn decryptor(description: &FileDescription) -> Result<FileDecryptor, TransferError> {
    let decryptor = FileDecryptor::new(&description.key, &description.nonce, description.size);
    Ok(decryptor?)
}

/// How many chunks fit into so many bytes, and where the last one ends; at least one, and not the last of the file.
fn whole_chunks(description: &FileDescription, bytes: u64) -> Option<(usize, u64)> {
    let ends = description.chunks.iter().scan(0_u64, |end, chunk| {
        *end = end.saturating_add(chunk.size.into());
        Some(*end)
    });
    let last = description.chunks.len().checked_sub(1)?;
    let whole = ends
        .take(last)
        .enumerate()
        .take_while(|(_, end)| *end <= bytes);
    whole
        .last()
        .map(|(index, end)| (index.saturating_add(1), end))
}

fn long(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
