//! The store log of the reference's router: its files as lines of text.
//!
//! A line that is not understood is told and left out. What is read is written again as the reference writes it.
//!
//! ```
//! use simplex_sans_io::xftp::storelog::{LogRecord, parse_record};
//!
//! let line = "FDEL _BKyD3cpkLRb35Ps0guMM0bfwHjoYkLm";
//! let record = parse_record(line)?;
//! assert!(matches!(record, LogRecord::DeleteFile { .. }));
//! assert_eq!(record.to_string(), line);
//! # Ok::<(), simplex_sans_io::smp::storelog::LineError>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;

use super::router::store::{Content, FileRecord, FileStatus, Recipient};
use crate::smp::BlockingInfo;
use crate::smp::storelog::LineError;
use crate::smp::storelog::fields::{Words, id, key, key_text, number};
use crate::wire::text::{base64url, parse_base64url_field};
use crate::wire::{EntityId, Large, Short, Version, decode_slice};

/// What a line of a store log says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogRecord {
    /// A file was created, or is what it is now. Where its chunk is, another line says.
    AddFile(Box<FileRecord>),
    /// Recipients were added, at least one.
    AddRecipients {
        /// The file.
        sender_id: EntityId,
        /// The recipients.
        recipients: Vec<Recipient>,
    },
    /// The chunk was uploaded.
    PutFile {
        /// The file.
        sender_id: EntityId,
        /// The name of the chunk's file.
        path: Large,
    },
    /// The file is gone.
    DeleteFile {
        /// The file.
        sender_id: EntityId,
    },
    /// The operator has blocked the file.
    BlockFile {
        /// The file.
        sender_id: EntityId,
        /// Why.
        info: BlockingInfo,
    },
    /// A recipient is gone.
    AckFile {
        /// The recipient.
        recipient_id: EntityId,
    },
}

/// Reads a line.
pub fn parse_record(line: &str) -> Result<LogRecord, LineError> {
    let mut words = Words::new(line);
    let record = match words.any("record")? {
        "FNEW" => LogRecord::AddFile(Box::new(FileRecord {
            sender_id: id("sender id", words.word("sender id")?)?,
            sender_key: key("sender key", words.word("sender key")?)?,
            size: size(words.word("size")?)?,
            digest: digest(words.word("digest")?)?,
            created_at: number("time", words.word("time")?)?,
            status: match words.word("status") {
                Ok(text) => status(text)?,
                Err(_) => FileStatus::Active,
            },
            content: Content::Absent,
        })),
        "FADD" => LogRecord::AddRecipients {
            sender_id: id("sender id", words.word("sender id")?)?,
            recipients: recipients(words.word("recipients")?)?,
        },
        "FPUT" => LogRecord::PutFile {
            sender_id: id("sender id", words.word("sender id")?)?,
            path: path(words.word("path")?)?,
        },
        "FDEL" => LogRecord::DeleteFile {
            sender_id: id("sender id", words.word("sender id")?)?,
        },
        "FBLK" => LogRecord::BlockFile {
            sender_id: id("sender id", words.word("sender id")?)?,
            info: info(words.word("reason")?)?,
        },
        "FACK" => LogRecord::AckFile {
            recipient_id: id("recipient id", words.word("recipient id")?)?,
        },
        _ => return Err(LineError::Record),
    };
    words.end()?;
    Ok(record)
}

fn size(text: &str) -> Result<u32, LineError> {
    match number("size", text).map(u32::try_from)? {
        Ok(size) if size > 0 => Ok(size),
        _ => Err(LineError::Invalid("size")),
    }
}

fn digest(text: &str) -> Result<Short, LineError> {
    let bytes = parse_base64url_field(text).map_err(|_| LineError::Invalid("digest"))?;
    Short::try_from(bytes.as_slice()).map_err(|_| LineError::Invalid("digest"))
}

fn path(text: &str) -> Result<Large, LineError> {
    let bytes = parse_base64url_field(text).map_err(|_| LineError::Invalid("path"))?;
    Large::try_from(bytes.as_slice()).map_err(|_| LineError::Invalid("path"))
}

fn status(text: &str) -> Result<FileStatus, LineError> {
    match text.split_once(',') {
        None if text == "active" => Ok(FileStatus::Active),
        None if text == "off" => Ok(FileStatus::Off),
        Some(("blocked", text)) => info(text).map(FileStatus::Blocked),
        _ => Err(LineError::Invalid("status")),
    }
}

fn info(text: &str) -> Result<BlockingInfo, LineError> {
    decode_slice(Version::default(), text.as_bytes()).map_err(|_| LineError::Invalid("reason"))
}

fn recipients(text: &str) -> Result<Vec<Recipient>, LineError> {
    let recipient = |text: &str| {
        let (of_id, of_key) = text.split_once(':').ok_or(LineError::Missing("key"))?;
        Ok(Recipient {
            id: id("recipient id", of_id)?,
            key: key("recipient key", of_key)?,
        })
    };
    text.split(',').map(recipient).collect()
}

impl fmt::Display for LogRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddFile(file) => write!(
                f,
                "FNEW {} {} {} {} {} {}",
                base64url(&file.sender_id),
                key_text(&file.sender_key),
                file.size,
                base64url(&file.digest),
                file.created_at,
                file.status,
            ),
            Self::AddRecipients {
                sender_id,
                recipients,
            } => {
                let text = |recipient: &Recipient| {
                    format!("{}:{}", base64url(&recipient.id), key_text(&recipient.key))
                };
                let recipients: Vec<String> = recipients.iter().map(text).collect();
                write!(f, "FADD {} {}", base64url(sender_id), recipients.join(","))
            }
            Self::PutFile { sender_id, path } => {
                write!(f, "FPUT {} {}", base64url(sender_id), base64url(path))
            }
            Self::DeleteFile { sender_id } => write!(f, "FDEL {}", base64url(sender_id)),
            Self::BlockFile { sender_id, info } => {
                write!(f, "FBLK {} {info}", base64url(sender_id))
            }
            Self::AckFile { recipient_id } => write!(f, "FACK {}", base64url(recipient_id)),
        }
    }
}

impl fmt::Display for FileStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => f.write_str("active"),
            Self::Off => f.write_str("off"),
            Self::Blocked(info) => write!(f, "blocked,{info}"),
        }
    }
}

/// The files of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Files {
    files: BTreeMap<EntityId, File>,
    senders: BTreeMap<EntityId, EntityId>,
}

/// A file with its recipients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// The file.
    pub record: FileRecord,
    /// The recipients, in the order in which they were added.
    pub recipients: Vec<Recipient>,
}

/// Why a record does not go with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is such a file or recipient already.
    #[error("there is one with this id already")]
    Duplicate,
    /// There is no such file or recipient.
    #[error("there is none with this id")]
    Unknown,
}

impl Files {
    /// Does what a line says.
    ///
    /// The chunk of a blocked file is removed from the disk: it has none, whichever line comes first.
    pub fn replay(&mut self, record: LogRecord) -> Result<(), Refusal> {
        match record {
            LogRecord::AddFile(record) => {
                let sender_id = record.sender_id.clone();
                if self.files.contains_key(&sender_id) {
                    return Err(Refusal::Duplicate);
                }
                let recipients = Vec::new();
                let record = *record;
                self.files.insert(sender_id, File { record, recipients });
            }
            LogRecord::AddRecipients {
                sender_id,
                recipients,
            } => {
                let file = self.files.get_mut(&sender_id).ok_or(Refusal::Unknown)?;
                for recipient in recipients {
                    if self.senders.contains_key(&recipient.id) {
                        return Err(Refusal::Duplicate);
                    }
                    self.senders.insert(recipient.id.clone(), sender_id.clone());
                    file.recipients.push(recipient);
                }
            }
            LogRecord::PutFile { sender_id, path } => {
                let file = self.files.get_mut(&sender_id).ok_or(Refusal::Unknown)?;
                if !matches!(file.record.status, FileStatus::Blocked(_)) {
                    file.record.content = Content::Imported(path);
                }
            }
            LogRecord::DeleteFile { sender_id } => {
                let file = self.files.remove(&sender_id).ok_or(Refusal::Unknown)?;
                for recipient in file.recipients {
                    self.senders.remove(&recipient.id);
                }
            }
            LogRecord::BlockFile { sender_id, info } => {
                let file = self.files.get_mut(&sender_id).ok_or(Refusal::Unknown)?;
                file.record.status = FileStatus::Blocked(info);
                file.record.content = Content::Absent;
            }
            LogRecord::AckFile { recipient_id } => {
                let sender_id = self.senders.remove(&recipient_id);
                let file = sender_id.and_then(|sender_id| self.files.get_mut(&sender_id));
                let file = file.ok_or(Refusal::Unknown)?;
                file.recipients
                    .retain(|recipient| recipient.id != recipient_id);
            }
        }
        Ok(())
    }

    /// The files, in the order of their senders' ids.
    pub fn into_files(self) -> impl Iterator<Item = File> {
        self.files.into_values()
    }
}

impl File {
    /// The lines that say it all. `path` gives the name of the chunk's file, if there is one.
    pub fn records(&self, path: Option<Large>) -> impl Iterator<Item = LogRecord> {
        let sender_id = &self.record.sender_id;
        let file = LogRecord::AddFile(Box::new(FileRecord {
            content: Content::Absent,
            ..self.record.clone()
        }));
        let added = (!self.recipients.is_empty()).then(|| LogRecord::AddRecipients {
            sender_id: sender_id.clone(),
            recipients: self.recipients.clone(),
        });
        let put = path.map(|path| LogRecord::PutFile {
            sender_id: sender_id.clone(),
            path,
        });
        std::iter::once(file).chain(added).chain(put)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample as _;
    use proptest::prelude::*;

    fn file(rng: &mut Rng) -> File {
        let version = Version::default();
        let mut record = FileRecord::sample(version, rng);
        record.sender_id = EntityId::from(rng.bytes::<24>());
        record.size = record.size.max(1);
        record.digest = Short::try_from(&rng.bytes::<32>()).unwrap();
        record.content = match record.status {
            FileStatus::Blocked(_) => Content::Absent,
            FileStatus::Active | FileStatus::Off => {
                Content::Imported(Large::try_from(&rng.bytes::<9>()).unwrap())
            }
        };
        let recipients = (0..rng.below(4))
            .map(|_| Recipient {
                id: EntityId::from(rng.bytes::<24>()),
                ..Recipient::sample(version, rng)
            })
            .collect();
        File { record, recipients }
    }

    proptest! {
        #[test]
        fn a_file_comes_back_from_its_lines(seed: [u8; 32]) {
            let file = file(&mut Rng::from_seed(seed));
            let mut files = Files::default();
            // The reference writes where it was, though it is blocked.
            let path = match &file.record.content {
                Content::Imported(path) => path.clone(),
                Content::Absent | Content::Stored => Large::try_from(&b"gone"[..]).unwrap(),
            };
            for record in file.records(Some(path)) {
                let read = parse_record(&record.to_string()).unwrap();
                prop_assert_eq!(&read, &record);
                files.replay(read).unwrap();
            }
            prop_assert!(files.into_files().eq([file]));
        }

        #[test]
        fn arbitrary_lines_never_panic(
            tag in prop::sample::select(vec!["FNEW ", "FADD YQ== ", "FPUT ", "FBLK YQ== ", ""]),
            rest in "[ -~]{0,80}",
        ) {
            let _ = parse_record(&format!("{tag}{rest}"));
        }
    }

    #[test]
    fn a_blocked_file_has_no_chunk_whichever_line_comes_first() {
        let mut file = file(&mut Rng::from_seed([1; 32]));
        file.record.status = FileStatus::Active;
        let sender_id = file.record.sender_id.clone();
        let add = LogRecord::AddFile(Box::new(FileRecord {
            content: Content::Absent,
            ..file.record
        }));
        let put = LogRecord::PutFile {
            sender_id: sender_id.clone(),
            path: Large::try_from(&b"/srv/xftp/abc"[..]).unwrap(),
        };
        let block = LogRecord::BlockFile {
            sender_id,
            info: info("reason=spam").unwrap(),
        };
        for order in [[&put, &block], [&block, &put]] {
            let mut files = Files::default();
            files.replay(add.clone()).unwrap();
            for record in order {
                files.replay(record.clone()).unwrap();
            }
            let blocked = files.into_files().next().unwrap().record;
            assert!(matches!(blocked.status, FileStatus::Blocked(_)));
            assert_eq!(blocked.content, Content::Absent);
        }
    }

    #[test]
    fn what_does_not_go_with_the_rest_is_refused() {
        let rng = &mut Rng::from_seed([1; 32]);
        let file = file(rng);
        let sender_id = file.record.sender_id.clone();
        let mut files = Files::default();
        let delete = LogRecord::DeleteFile { sender_id };
        assert_eq!(files.replay(delete.clone()), Err(Refusal::Unknown));
        let add = LogRecord::AddFile(Box::new(file.record));
        assert_eq!(files.replay(add.clone()), Ok(()));
        assert_eq!(files.replay(add), Err(Refusal::Duplicate));
        assert_eq!(files.replay(delete), Ok(()));
        assert_eq!(files, Files::default());
    }
}
