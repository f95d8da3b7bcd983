//! The lines of text in which programs in any language, and people with telnet, speak to an agent: the three lines of a transmission, and
//! the body that may follow. The [commands](command) and the [texts](text) are those of three dialects.
//!
//! ```text
//!        line           line            line, with a body of so many bytes       that many bytes and a line end
//!   Corr ────▶ Entity ────▶ Command ──────────────────────────────────▶ Body ──────────────────┐
//!    ▲                         │ complete                                                       │
//!    └─────────────────────────┴────────────────────────────────────────────────────────────────┘
//!   what cannot be understood so far that the next transmission can be found ends the session
//! ```
//! A body is always consumed before anything is done: what stands in it is never taken for a command.
//!
//! ```
//! use simplex_sans_io::agent::lines::Lines;
//!
//! let mut lines = Lines::default();
//! lines.push(b"1\nbob\nSEND F 5\r\nhel");
//! assert_eq!(lines.transmission()?, None);
//! lines.push(b"lo\n");
//! let transmission = lines.transmission()?.unwrap();
//! assert_eq!((transmission.corr_id.as_str(), transmission.entity.as_str()), ("1", "bob"));
//! assert_eq!(transmission.command.body.as_deref(), Some(b"hello".as_slice()));
//! # Ok::<(), simplex_sans_io::agent::lines::Broken>(())
//! ```

pub mod command;
mod options;
pub mod role;
pub mod text;
pub mod words;

use bytes::{Buf as _, Bytes, BytesMut};

use self::command::{BodyForm, Command, Line};

/// The longest lines.
const CORR_ID: usize = 64;
const ENTITY: usize = 128;
const COMMAND: usize = 64 * 1024;

/// The largest body: a message, or what is said of oneself.
const BODY: usize = 16 * 1024;
/// The largest one of a command about a file: a description.
const DESCRIPTION: usize = 1024 * 1024;

/// What a client has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmission {
    /// What ties the response to it.
    pub corr_id: String,
    /// What it is about.
    pub entity: String,
    /// What is wanted.
    pub command: Line,
}

/// Why nothing that follows can be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The first line is none of this protocol: nothing is said, as somebody else may have made a browser say it.
    #[error("not a transmission")]
    Stranger,
    /// Somebody is to be told what was wrong.
    #[error("{error}")]
    Answered {
        /// What ties the response to it.
        corr_id: String,
        /// What it is about.
        entity: String,
        /// What is wrong.
        error: &'static str,
    },
}

/// Takes transmissions out of bytes.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: BytesMut,
    /// How far no line end was found.
    searched: usize,
    stage: Stage,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Corr,
    Entity(String),
    Command(String, String),
    Body(Box<Transmission>, usize),
}

impl Lines {
    /// Takes bytes in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// How many bytes wait for what completes them.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.bytes.len()
    }

    /// Whether a transmission has begun and not ended.
    #[must_use]
    pub fn is_in_transmission(&self) -> bool {
        !self.bytes.is_empty() || !matches!(self.stage, Stage::Corr)
    }

    /// The next transmission, if it is complete.
    pub fn transmission(&mut self) -> Result<Option<Transmission>, Broken> {
        loop {
            match std::mem::take(&mut self.stage) {
                Stage::Corr => match self.line(CORR_ID) {
                    Found::Line(line) => {
                        self.stage = Stage::Entity(corr_id(&line).ok_or(Broken::Stranger)?);
                    }
                    Found::Nothing => return Ok(None),
                    Found::TooLong => return Err(Broken::Stranger),
                },
                Stage::Entity(corr_id) => match self.line(ENTITY) {
                    Found::Line(line) => match printable(&line) {
                        Some(entity) => self.stage = Stage::Command(corr_id, entity),
                        None => return Err(broken(corr_id, String::new(), command::SYNTAX)),
                    },
                    Found::Nothing => {
                        self.stage = Stage::Entity(corr_id);
                        return Ok(None);
                    }
                    Found::TooLong => {
                        return Err(broken(corr_id, String::new(), command::SYNTAX));
                    }
                },
                Stage::Command(corr_id, entity) => match self.line(COMMAND) {
                    Found::Line(line) => {
                        if let Some(transmission) = self.command(corr_id, entity, &line)? {
                            return Ok(Some(transmission));
                        }
                    }
                    Found::Nothing => {
                        self.stage = Stage::Command(corr_id, entity);
                        return Ok(None);
                    }
                    Found::TooLong => return Err(broken(corr_id, entity, command::SYNTAX)),
                },
                Stage::Body(transmission, size) => match self.body(size) {
                    Some(Ok(body)) => {
                        let mut transmission = *transmission;
                        transmission.command.body = Some(body);
                        return Ok(Some(transmission));
                    }
                    Some(Err(())) => {
                        let Transmission {
                            corr_id, entity, ..
                        } = *transmission;
                        return Err(broken(corr_id, entity, "CMD SIZE getBody"));
                    }
                    None => {
                        self.stage = Stage::Body(transmission, size);
                        return Ok(None);
                    }
                },
            }
        }
    }

    fn command(
        &mut self,
        corr_id: String,
        entity: String,
        line: &[u8],
    ) -> Result<Option<Transmission>, Broken> {
        let Ok((command, form)) = Line::parse(line) else {
            return Err(broken(corr_id, entity, command::SYNTAX));
        };
        let of_file = matches!(
            command.command,
            Ok(Command::ReceiveFile { .. } | Command::DeleteFile { .. })
        );
        let most = if of_file { DESCRIPTION } else { BODY };
        let mut transmission = Transmission {
            corr_id,
            entity,
            command,
        };
        match form {
            BodyForm::None | BodyForm::Bad => Ok(Some(transmission)),
            BodyForm::Text(text) if text.len() <= most => {
                transmission.command.body = Some(Bytes::from(text));
                Ok(Some(transmission))
            }
            BodyForm::Size(size) if size <= most => {
                self.stage = Stage::Body(Box::new(transmission), size);
                Ok(None)
            }
            BodyForm::Text(_) | BodyForm::Size(_) => {
                let Transmission {
                    corr_id, entity, ..
                } = transmission;
                Err(broken(corr_id, entity, "CMD LARGE getBody"))
            }
        }
    }

    fn line(&mut self, most: usize) -> Found {
        let unseen = self.bytes.get(self.searched..).unwrap_or_default();
        match unseen.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                let end = self.searched.saturating_add(at);
                self.searched = 0;
                let mut line = self.bytes.split_to(end);
                self.bytes.advance(1);
                if line.last() == Some(&b'\r') {
                    line.truncate(line.len().saturating_sub(1));
                }
                match line.len() > most {
                    true => Found::TooLong,
                    false => Found::Line(line),
                }
            }
            None if self.bytes.len() > most.saturating_add(1) => Found::TooLong,
            None => {
                self.searched = self.bytes.len();
                Found::Nothing
            }
        }
    }

    /// So many bytes, and the end of a line.
    fn body(&mut self, size: usize) -> Option<Result<Bytes, ()>> {
        let end = match self.bytes.get(size..)? {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            [] | [b'\r'] => return None,
            _ => return Some(Err(())),
        };
        let body = self.bytes.split_to(size).freeze();
        self.bytes.advance(end);
        self.searched = 0;
        Some(Ok(body))
    }
}

enum Found {
    Line(BytesMut),
    Nothing,
    TooLong,
}

fn broken(corr_id: String, entity: String, error: &'static str) -> Broken {
    Broken::Answered {
        corr_id,
        entity,
        error,
    }
}

/// Visible characters only: a line of HTTP is not one.
fn corr_id(line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    let visible = |c: char| !c.is_control() && !c.is_whitespace();
    text.chars().all(visible).then(|| text.to_owned())
}

fn printable(line: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(line).ok()?;
    (!text.contains(|c: char| c.is_control())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(pieces: &[&[u8]]) -> (Vec<Transmission>, Option<Broken>) {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for piece in pieces {
            lines.push(piece);
            loop {
                match lines.transmission() {
                    Ok(Some(transmission)) => found.push(transmission),
                    Ok(None) => break,
                    Err(broken) => return (found, Some(broken)),
                }
            }
        }
        (found, None)
    }

    #[test]
    fn a_body_is_never_taken_for_a_command() {
        let (found, broken) = all(&[b"1\nbob\nSEND F 11\n2\nx\nDEL\n\n\n\n\n3\nbob\nSUB\n"]);
        assert_eq!(broken, None);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0].command.body.as_deref(),
            Some(b"2\nx\nDEL\n\n\n\n".as_slice())
        );
        assert_eq!(found[1].corr_id, "3");
        // Nobody knows whether bytes follow.
        for line in ["HELLO 5", "SEND F 123456789", "SEND F -5", "LET x 0x10"] {
            let (found, broken) = all(&[format!("1\nbob\n{line}\n").as_bytes()]);
            assert!(found.is_empty() && broken.is_some(), "{line}: {found:?}");
        }
    }

    #[test]
    fn each_command_has_a_largest_body_and_nothing_is_kept_for_a_larger_one() {
        let large = |line: String| {
            let (found, broken) = all(&[line.as_bytes()]);
            let large =
                matches!(&broken, Some(Broken::Answered { error, .. }) if error.contains("LARGE"));
            assert!(found.is_empty() && large == broken.is_some(), "{broken:?}");
            large
        };
        for (command, most) in [
            ("SEND", BODY),
            ("LET x", BODY),
            ("FSND", BODY),
            ("FRCV", DESCRIPTION),
            ("FDEL remote", DESCRIPTION),
        ] {
            assert!(!large(format!("1\nbob\n{command} {most}\n")), "{command}");
            assert!(
                large(format!("1\nbob\n{command} {}\n", most + 1)),
                "{command}"
            );
        }
        let text = "x".repeat(BODY + 1);
        assert!(large(format!("1\nbob\nSEND :{text}\n")));
        // The first line that is too long ends it, whatever it is.
        for (lines, stranger) in [
            ("x".repeat(65), true),
            (format!("1\n{}", "x".repeat(130)), false),
            (format!("1\nbob\n{}", "x".repeat(65_538)), false),
        ] {
            let (found, broken) = all(&[lines.as_bytes(), b"\n"]);
            assert!(found.is_empty());
            assert_eq!(broken == Some(Broken::Stranger), stranger);
            assert!(broken.is_some());
        }
    }

    #[test]
    fn control_characters_end_a_session_and_what_is_not_complete_is_nothing() {
        for lines in [
            b"1\nb\0b\nSUB\n".as_slice(),
            b"1\nbob\nSU\0B\n",
            b"1\nbob\n\xff\xf4\xff\xfd\x06\n",
            b"1\nbob\nSEND :a\x07b\n",
        ] {
            let (found, broken) = all(&[lines]);
            let syntax =
                matches!(broken, Some(Broken::Answered { error, .. }) if error == command::SYNTAX);
            assert!(found.is_empty() && syntax, "{lines:?}");
        }
        for half in [
            b"1\nbob\nDEL".as_slice(),
            b"1\nbob\nSEND 5\nhel",
            b"1\nbob\nSEND 5\nhello",
        ] {
            assert_eq!(all(&[half]), (vec![], None));
        }
    }

    #[test]
    fn strangers_are_told_nothing() {
        for greeting in [
            b"GET / HTTP/1.1\r\n".as_slice(),
            b"\x16\x03\x01\x02\x00\n",
            b"SSH-2.0-OpenSSH_9.6 Debian\r\n",
            &[b'x'; 200],
        ] {
            assert_eq!(all(&[greeting]), (vec![], Some(Broken::Stranger)));
        }
    }

    #[test]
    fn sizes_end_with_the_end_of_a_line() {
        let (_, broken) = all(&[b"1\nbob\nSEND F 2\nabc\n"]);
        assert!(matches!(broken, Some(Broken::Answered { error, .. }) if error.contains("SIZE")));
        let (_, broken) = all(&[b"1\nbob\nSEND F 99999\n"]);
        assert!(matches!(broken, Some(Broken::Answered { error, .. }) if error.contains("LARGE")));
        let (found, broken) = all(&[b"1\nbob\nSEND F 0\r\n\r\n"]);
        assert_eq!((found.len(), broken), (1, None));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_bytes_are_cut(at in prop::collection::vec(0_usize..70, 0..6)) {
            const TEXT: &[u8] = b"1\r\nbob\r\nSEND T :hello\r\n2\n\nNEW T INV\n3\nbob\nSEND F 5\n\n\n\n\n\n\n4\nbob\nSUB\n";
            let whole = all(&[TEXT]);
            prop_assert_eq!(whole.0.len(), 4);
            let mut at: Vec<_> = at.into_iter().map(|at| at.min(TEXT.len())).collect();
            at.extend([0, TEXT.len()]);
            at.sort_unstable();
            let pieces: Vec<_> = at.windows(2).map(|pair| &TEXT[pair[0]..pair[1]]).collect();
            prop_assert_eq!(all(&pieces), whole);
        }

        #[test]
        fn nothing_panics_and_nothing_grows(bytes: Vec<u8>) {
            all(&[&bytes]);
            all(&[b"1\nbob\n", &bytes]);
        }
    }
}
