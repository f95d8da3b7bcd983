//! What a router keeps, and how it asks for it: the only words between the core and its store.
//!
//! A store carries out [`Change`]s and [`Load`]s in the order in which they are given, and reports in that order: a load sees all
//! changes before it, and `Stored` names the last change that is durable, and with it all before. Changes of one commit are stored
//! together or not at all: so the totals are always those of the records, and the room that is taken is exact after any crash.
//!
//! Whether commits that are reported as not stored are there nevertheless is not known; what is loaded afterwards is the truth.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::crypto::AuthPublicKey;
use crate::smp::BlockingInfo;
use crate::wire;
use crate::wire::{EntityId, Large, Parsed, Short, Source, Version, Wire, WireError};

/// The version in which records are written now. Older ones are read.
pub const FORMAT: Version = Version(1);

wire! {
    /// A file, without its recipients.
    pub struct FileRecord {
        /// The id of the sender, by which the file is stored.
        pub sender_id: EntityId,
        /// The key of the sender.
        pub sender_key: AuthPublicKey,
        /// The size of the chunk.
        pub size: u32,
        /// The SHA-256 of the chunk, as its sender says.
        pub digest: Short,
        /// When it was created, in seconds since the Unix epoch, rounded down to the hour.
        pub created_at: i64,
        /// Whether it can be used.
        pub status: FileStatus,
        /// Where the chunk is.
        pub content: Content,
    }
}

/// Whether a file can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileStatus {
    /// It can.
    Active,
    /// It cannot, and nobody is told why.
    Off,
    /// The operator has blocked it.
    Blocked(BlockingInfo),
}

/// Where a chunk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Not uploaded, or removed.
    Absent,
    /// Under the name that follows from the sender's id.
    Stored,
    /// Under a name that another router has given it.
    Imported(Large),
}

/// A chunk on the disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chunk {
    /// The id of the sender.
    pub sender_id: EntityId,
    /// Its name, if another router has given it one.
    pub name: Option<Large>,
}

wire! {
    /// How much there is.
    #[derive(Default, Copy)]
    pub struct Totals {
        /// Files.
        pub files: u64,
        /// Recipients.
        pub recipients: u64,
        /// Chunks that are uploaded.
        pub chunks: u64,
        /// Their bytes.
        pub used: u64,
    }
}

/// By how much the totals change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Adjustment {
    /// Files.
    pub files: i64,
    /// Recipients.
    pub recipients: i64,
    /// Chunks that are uploaded.
    pub chunks: i64,
    /// Their bytes.
    pub used: i64,
}

impl Totals {
    /// The totals after a change.
    #[must_use]
    pub const fn adjusted(self, by: Adjustment) -> Self {
        Self {
            files: self.files.saturating_add_signed(by.files),
            recipients: self.recipients.saturating_add_signed(by.recipients),
            chunks: self.chunks.saturating_add_signed(by.chunks),
            used: self.used.saturating_add_signed(by.used),
        }
    }
}

/// Who has an id of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// The one who uploads.
    Sender,
    /// One who downloads.
    Recipient,
}

/// What a store is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Store a file, new or changed. Its time of creation never changes.
    PutFile(Box<FileRecord>),
    /// Store a recipient.
    PutRecipient {
        /// The file.
        sender_id: EntityId,
        /// The recipient.
        recipient: Recipient,
    },
    /// Delete a recipient.
    DeleteRecipient {
        /// The file.
        sender_id: EntityId,
        /// The recipient.
        recipient_id: EntityId,
    },
    /// Delete a file with its recipients.
    DeleteFile(Box<FileRecord>),
    /// Adjust the totals.
    Adjust(Adjustment),
    /// Store statistics, in a form that only the core reads.
    PutStatistics(Bytes),
}

wire! {
    /// One who may download.
    pub struct Recipient {
        /// The id.
        pub id: EntityId,
        /// The key that authorises commands.
        pub key: AuthPublicKey,
    }
}

/// What a store is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    /// A file, by one of its ids.
    File(Party, EntityId),
    /// The ids of the senders of files that were created before a time, oldest first.
    Expired {
        /// The time, in seconds since the Unix epoch.
        before: i64,
        /// No more than these.
        limit: usize,
    },
    /// How much there is, and the statistics that were stored last.
    Totals,
}

/// What a store has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// A file, or that there is none.
    File(Option<Box<LoadedFile>>),
    /// Ids.
    Ids(Vec<EntityId>),
    /// How much there is, and statistics.
    Totals(Totals, Option<Bytes>),
    /// The store cannot tell.
    Failed,
}

/// A file, with what is known of the one by whose id it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedFile {
    /// The file.
    pub record: FileRecord,
    /// How many recipients it has.
    pub recipients: u64,
    /// The key of the recipient with the id that was asked for.
    pub recipient_key: Option<AuthPublicKey>,
}

impl FileRecord {
    /// The chunk, if it is uploaded.
    #[must_use]
    pub fn chunk(&self) -> Option<Chunk> {
        let name = match &self.content {
            Content::Absent => return None,
            Content::Stored => None,
            Content::Imported(name) => Some(name.clone()),
        };
        Some(Chunk {
            sender_id: self.sender_id.clone(),
            name,
        })
    }
}

impl Wire for FileStatus {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        match input {
            [b'A', rest @ ..] => Ok((rest, Self::Active)),
            [b'O', rest @ ..] => Ok((rest, Self::Off)),
            [b'B', rest @ ..] => {
                let (rest, text) = Short::parse(source, rest)?;
                match wire::decode_slice(source.version(), &text) {
                    Ok(info) => Ok((rest, Self::Blocked(info))),
                    Err(_) => WireError::Invalid("status").fail(),
                }
            }
            [] => WireError::Incomplete.fail(),
            _ => WireError::Invalid("status").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        match self {
            Self::Active => out.put_u8(b'A'),
            Self::Off => out.put_u8(b'O'),
            Self::Blocked(info) => {
                out.put_u8(b'B');
                let text = Short::try_from(wire::encode(info, version));
                text.unwrap_or_default().put(version, out);
            }
        }
    }
}

impl Wire for Content {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        match input {
            [b'0', rest @ ..] => Ok((rest, Self::Absent)),
            [b'1', rest @ ..] => Ok((rest, Self::Stored)),
            [b'2', rest @ ..] => {
                Large::parse(source, rest).map(|(rest, name)| (rest, Self::Imported(name)))
            }
            [] => WireError::Incomplete.fail(),
            _ => WireError::Invalid("content").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        match self {
            Self::Absent => out.put_u8(b'0'),
            Self::Stored => out.put_u8(b'1'),
            Self::Imported(name) => {
                out.put_u8(b'2');
                name.put(version, out);
            }
        }
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{Content, FileStatus, Version};
    use crate::rng::Rng;
    use crate::wire::Sample;

    impl Sample for FileStatus {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            match rng.below(3) {
                0 => Self::Active,
                1 => Self::Off,
                _ => Self::Blocked(Sample::sample(version, rng)),
            }
        }
    }

    impl Sample for Content {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            match rng.below(3) {
                0 => Self::Absent,
                1 => Self::Stored,
                _ => Self::Imported(Sample::sample(version, rng)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_come_back(seed: [u8; 32], cut in 0..100_usize) {
            let rng = &mut Rng::from_seed(seed);
            let file = FileRecord::sample(FORMAT, rng);
            let encoded = wire::encode(&file, FORMAT);
            prop_assert_eq!(wire::decode(FORMAT, &encoded), Ok(file));
            let cut = encoded.slice(..cut.min(encoded.len().saturating_sub(1)));
            prop_assert!(wire::decode::<FileRecord>(FORMAT, &cut).is_err());
            let recipient = Recipient::sample(FORMAT, rng);
            prop_assert_eq!(wire::decode(FORMAT, &wire::encode(&recipient, FORMAT)), Ok(recipient));
        }
    }
}
