//! The lines of a file, one at a time.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::ImportError;

/// No line is longer: a link has two parts of 64 KB at most, and a chain four certificates.
const MAX_LINE: u64 = 1 << 20;

/// A file that is read line by line.
#[derive(Debug)]
pub(super) struct Lines {
    reader: BufReader<File>,
    line: Vec<u8>,
    size: u64,
    offset: u64,
    number: u64,
    unterminated: LastLine,
}

/// What a last line is worth that has no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastLine {
    /// As much as others, if it can be understood.
    Counts,
    /// Nothing: lines of this file are written while it is in use, and it may have been cut off.
    Incomplete,
}

/// Why a line cannot even be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("the line is too long")]
    TooLong,
    #[error("the line is no text")]
    NoText,
    #[error("the last line has no end: it may have been cut off, and was left out")]
    Unterminated,
}

impl Lines {
    /// Goes on after so many bytes and lines.
    pub(super) fn open(
        path: &Path,
        offset: u64,
        number: u64,
        unterminated: LastLine,
    ) -> Result<Self, ImportError> {
        let mut file = File::open(path).map_err(ImportError::io(path))?;
        let size = file.metadata().map_err(ImportError::io(path))?.len();
        let offset = offset.min(size);
        file.seek(SeekFrom::Start(offset))
            .map_err(ImportError::io(path))?;
        Ok(Self {
            reader: BufReader::with_capacity(1 << 16, file),
            line: Vec::new(),
            size,
            offset,
            number,
            unterminated,
        })
    }

    /// The bytes that were read.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// All bytes of the file.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// The lines that were read.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// The next line.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Result<&str, Unreadable>>> {
        self.line.clear();
        let mut limited = self.reader.by_ref().take(MAX_LINE);
        let mut read = limited.read_until(b'\n', &mut self.line)?;
        if read == 0 {
            return Ok(None);
        }
        self.number = self.number.saturating_add(1);
        let is_terminated = self.line.pop_if(|last| *last == b'\n').is_some();
        let too_long = !is_terminated && read as u64 == MAX_LINE;
        if too_long {
            read = read.saturating_add(self.skip_line()?);
        }
        self.offset = self.offset.saturating_add(read as u64);
        Ok(Some(match std::str::from_utf8(&self.line) {
            _ if too_long => Err(Unreadable::TooLong),
            _ if !is_terminated && self.unterminated == LastLine::Incomplete => {
                Err(Unreadable::Unterminated)
            }
            // Editors may begin a text with this.
            Ok(line) if self.number == 1 => Ok(line.trim_start_matches('\u{feff}')),
            Ok(line) => Ok(line),
            Err(_) => Err(Unreadable::NoText),
        }))
    }

    fn skip_line(&mut self) -> std::io::Result<usize> {
        let mut skipped = 0_usize;
        loop {
            let buffer = self.reader.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(buffer.len(), |end| end.saturating_add(1));
            let is_over = end.is_some() || buffer.is_empty();
            self.reader.consume(count);
            skipped = skipped.saturating_add(count);
            if is_over {
                return Ok(skipped);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_one_after_the_other_whatever_they_are() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let long = "x".repeat(MAX_LINE as usize + 10);
        let text = [
            b"\xef\xbb\xbfa\n\n".as_slice(),
            long.as_bytes(),
            b"\n\xff\nb\r\nlast",
        ]
        .concat();
        std::fs::write(file.path(), &text).unwrap();
        for (unterminated, last) in [
            (LastLine::Counts, Ok("last".to_owned())),
            (LastLine::Incomplete, Err(Unreadable::Unterminated)),
        ] {
            let mut lines = Lines::open(file.path(), 0, 0, unterminated).unwrap();
            let mut found = Vec::new();
            while let Some(line) = lines.next().unwrap() {
                found.push(line.map(str::to_owned));
            }
            let expected = [
                Ok("a".to_owned()),
                Ok(String::new()),
                Err(Unreadable::TooLong),
                Err(Unreadable::NoText),
                Ok("b\r".to_owned()),
                last,
            ];
            assert_eq!(found, expected);
            assert_eq!((lines.number(), lines.offset()), (6, text.len() as u64));
        }
        let mut lines = Lines::open(file.path(), 5, 1, LastLine::Counts).unwrap();
        assert_eq!(lines.next().unwrap(), Some(Ok("")));
        assert_eq!((lines.number(), lines.offset()), (2, 6));
    }
}
