//! What is kept of files. Each record is as far as a file, a chunk or a copy has come for good.

use bytes::BytesMut;
use zeroize::Zeroizing;

use crate::agent::error::AgentError;
use crate::agent::file_event::FileEvent;
use crate::agent::id::FileId;
use crate::agent::store::long::{LongText, Many};
use crate::agent::store::secret::Stored;
use crate::crypto::{AuthPrivateKey, Nonce, Secret};
use crate::smp::pool::UserId;
use crate::wire;
use crate::wire::{Codec, EntityId, Parsed, ServerAddress, Source, Version, WireError, XftpScheme};
use crate::xftp::description::{ChunkDigest, FileDescription, FileDigest};

wire! {
    /// A file that is being sent or received.
    pub struct FileRecord {
        /// Whose it is.
        pub user: UserId,
        /// Since when, in seconds since the Unix epoch.
        pub since: i64,
        /// How far it is.
        pub stage: Stage,
    }
}

wire! {
    prefixes
    /// How far a file is.
    pub enum Stage {
        /// Its chunks are being downloaded, or it is being decrypted when all are there.
        "R" => Receiving {
            /// What is received.
            description: Box<FileDescription> as Described,
            /// How it is encrypted on this machine, if it is.
            local: Option<LocalKey>,
            /// Which routers may be asked.
            relays: Relays,
        },
        /// It is being encrypted, for all recipients alike.
        "E" => Encrypting {
            /// What is sent.
            source: Origin,
            /// To how many, and how often.
            plan: Plan,
        },
        /// Its chunks are being uploaded.
        "U" => Uploading {
            /// To how many, and how often.
            plan: Plan,
            /// Its digest, encrypted.
            digest: FileDigest,
            /// How many chunks it has.
            chunks: u32,
            /// The file that is described in it, if it is a description.
            redirect: Option<RedirectRecord>,
        },
    }
}

wire! {
    /// How a file is sent.
    pub struct Plan {
        /// What it is encrypted with.
        pub key: Secret<32> as Stored,
        /// With this nonce.
        pub nonce: Nonce,
        /// How many recipients there are.
        pub recipients: u16,
        /// On how many routers each chunk is.
        pub replicas: u8,
    }
}

wire! {
    prefixes
    /// What is sent.
    pub enum Origin {
        /// A file of this machine.
        "F" => File {
            /// Where it is.
            path: String as LongText,
            /// How it is encrypted on this machine, if it is.
            local: Option<LocalKey>,
        },
        /// The description of a file that was sent.
        "D" => Description {
            /// The description.
            description: Box<FileDescription> as Described,
        },
    }
}

wire! {
    /// How a file is encrypted on this machine: with a tag behind it.
    pub struct LocalKey {
        /// The key.
        pub key: Secret<32> as Stored,
        /// The nonce.
        pub nonce: Nonce,
    }
}

wire! {
    prefixes
    /// Which routers may learn where this machine is.
    #[derive(Copy)]
    pub enum Relays {
        /// All that a description names.
        "A" => Approved,
        /// Those of the user; others only where something hides the address of this machine.
        "O" => Own,
    }
}

wire! {
    /// The file that is described in another one.
    pub struct RedirectRecord {
        /// Its size, encrypted.
        pub size: u64,
        /// Its digest, encrypted.
        pub digest: FileDigest,
    }
}

wire! {
    prefixes
    /// How far a chunk is. Of one that is to be downloaded there is no record until something is known of it.
    pub enum ChunkRecord {
        /// It is to be downloaded.
        "W" => Waiting {
            /// The replicas that cannot be used, by their numbers.
            failed: Vec<u16> as Many,
            /// Why the last of them cannot.
            error: Option<AgentError>,
        },
        /// It was downloaded.
        "D" => Downloaded,
        /// It is to be uploaded, or was.
        "U" => Sent {
            /// Its size.
            size: u32,
            /// Its digest.
            digest: ChunkDigest,
            /// Where it is.
            replicas: Vec<ReplicaRecord> as Many,
        },
    }
}

wire! {
    /// A chunk on a router, as its sender knows it.
    pub struct ReplicaRecord {
        /// The router.
        pub router: ServerAddress<XftpScheme>,
        /// The id of the sender.
        pub id: EntityId,
        /// The key of the sender.
        pub key: AuthPrivateKey as Stored,
        /// The recipients, as far as the router knows them.
        pub recipients: Vec<Recipient> as Many,
        /// How far it is.
        pub stage: ReplicaStage,
    }
}

wire! {
    prefixes
    /// How far a chunk is on a router.
    #[derive(Copy)]
    pub enum ReplicaStage {
        /// The router waits for it, and for what recipients there are besides.
        "C" => Created,
        /// The router has it.
        "U" => Uploaded,
    }
}

wire! {
    /// A recipient of a chunk.
    pub struct Recipient {
        /// The id.
        pub id: EntityId,
        /// The key.
        pub key: AuthPrivateKey as Stored,
    }
}

wire! {
    /// A chunk that is to be deleted at a router.
    pub struct RemovalRecord {
        /// Whose it was.
        pub user: UserId,
        /// The router.
        pub router: ServerAddress<XftpScheme>,
        /// The id of its sender.
        pub id: EntityId,
        /// The key of its sender.
        pub key: AuthPrivateKey as Stored,
        /// Since when, in seconds since the Unix epoch.
        pub since: i64,
        /// Why.
        pub reason: Reason,
        /// Why it was given up, if it was.
        pub given_up: Option<AgentError>,
    }
}

wire! {
    prefixes
    /// Why a chunk is deleted at a router.
    #[derive(Copy)]
    pub enum Reason {
        /// The application wants it, and is told.
        "D" => Deleted,
        /// Nobody will use it.
        "A" => Abandoned,
    }
}

wire! {
    /// An event that the application has not confirmed.
    pub struct FileEventRecord {
        /// The file that it is about.
        pub file: FileId,
        /// What has happened.
        pub event: FileEvent,
    }
}

/// A description, as its text.
pub(super) enum Described {}

impl Codec<Box<FileDescription>> for Described {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Box<FileDescription>> {
        let (input, text) = LongText::parse_str(source, input)?;
        match text.parse() {
            Ok(description) => Ok((input, Box::new(description))),
            Err(_) => WireError::Invalid("description").fail(),
        }
    }

    fn put(value: &Box<FileDescription>, _: Version, out: &mut BytesMut) {
        LongText::put_str(&Zeroizing::new(value.to_string()), out);
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{Described, FileDescription, Version};
    use crate::crypto::{Nonce, Secret, ed25519};
    use crate::rng::Rng;
    use crate::wire::{EntityId, NonEmpty, Sample as _, SampleCodec, ServerAddress, XftpScheme};
    use crate::xftp::description::{FileChunk, Parts, Party, Replica};

    impl SampleCodec<Box<FileDescription>> for Described {
        #[expect(
            clippy::expect_used,
            reason = "an address has a host, and one chunk with one replica is a description"
        )]
        fn sample(version: Version, rng: &mut Rng) -> Box<FileDescription> {
            let server: ServerAddress<XftpScheme> = ServerAddress::sample(version, rng);
            let hosts = NonEmpty::try_from(server.hosts().to_vec()).expect("a host");
            // Texts have the whole of a fingerprint.
            let server = ServerAddress::new(hosts, server.port(), rng.bytes::<32>().into());
            let chunk = FileChunk {
                size: 65536,
                digest: rng.bytes(),
                replicas: vec![Replica {
                    server,
                    id: EntityId::from(rng.bytes::<24>()),
                    key: ed25519::PrivateKey::generate(rng).into(),
                }],
            };
            let parts = Parts {
                party: Party::Recipient,
                size: 65536,
                digest: rng.bytes(),
                key: Secret::generate(rng),
                nonce: Nonce::generate(rng),
                chunk_size: 65536,
                chunks: vec![chunk],
                redirect: None,
            };
            Box::new(FileDescription::new(parts).expect("a description"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::store::record::{from_bytes, to_bytes};
    use crate::rng::Rng;
    use crate::wire::{Sample, Wire};
    use proptest::prelude::*;

    fn comes_back<T: Wire + Sample + PartialEq + std::fmt::Debug>(rng: &mut Rng) {
        let value = T::sample(Version(3), rng);
        assert_eq!(from_bytes::<T>(&to_bytes(&value)), Ok(value));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn records_of_files_come_back(seed: [u8; 32]) {
            let rng = &mut Rng::from_seed(seed);
            comes_back::<FileRecord>(rng);
            comes_back::<ChunkRecord>(rng);
            comes_back::<RemovalRecord>(rng);
            comes_back::<FileEventRecord>(rng);
        }
    }
}
