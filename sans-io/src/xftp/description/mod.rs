//! What a recipient must know to fetch a file, or its sender to delete it.
//!
//! A description is a YAML document, which is passed on as a file, [in a URI](FileUri), or compressed in a [web link](WebLink). One
//! that is too long for a link is uploaded as a file itself, and a short one [redirects](Redirect) to it.
//!
//! ```
//! use simplex_sans_io::xftp::description::{FileDescription, WebLink};
//!
//! let text = "\
//! chunkSize: 64kb
//! digest: vwxMsyPVYx5eB5kLUlEtm1fUhJfSidJT3sZZA8tIACTwu2ufeosN9TtV-YqJYHiSQl8cowQpDcOixw9KgY6EJA==
//! key: SjbuMxR_vqzu_s7KPgtQJnVP5ijwKT2zuo4vpcpIblw=
//! nonce: UiAp4iEypyYll81xjqAJmRs5Wmr6ipo_
//! party: recipient
//! replicas:
//! - chunks:
//!   - 1:nEyce1JBcdgOBr4_v9QkeJso6-Tf7vCJ:MC4CAQAwBQYDK2VwBCIEIB_fx9--yifhSUkdyjBFXclrr4s35iijhWjaB4nVulpa:ypeBEsobvcr6wjGzmiPcTaeG7_gUfE5yuYB3ha_uSLs=
//!   server: xftp://7DFoL95WGReVL_eKeore_9D-vDct0mhxkWxGxjA4G0U=@xftp1.example
//! size: 64kb
//! ";
//! let description: FileDescription = text.parse()?;
//! assert_eq!(description.size, 65536);
//! assert_eq!(description.to_string(), text);
//!
//! let link = WebLink::to(&description).to_string();
//! assert_eq!(link.parse::<WebLink>()?.description()?, description);
//! # Ok::<(), simplex_sans_io::xftp::description::DescriptionError>(())
//! ```

mod link;
mod size;
mod text;
mod uri;
mod yaml;

pub use self::link::WebLink;
pub use self::size::FileSize;
pub use self::uri::{FileUri, UriScheme};

use std::fmt;
use std::ops::Deref;

use crate::crypto::{AuthPrivateKey, Nonce, Secret};
use crate::wire::{EntityId, ServerAddress, XftpScheme};

/// The most bytes of a text that is read as a description.
pub const MAX_TEXT: usize = 8 << 20;
/// The most bytes of a description that a web link may hold.
pub const MAX_IN_LINK: usize = 1 << 20;

/// A description whose chunks make up the file: there is at least one, and each has a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDescription(Parts);

/// The parts of a description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// For whom it is.
    pub party: Party,
    /// The size of the encrypted file.
    pub size: u64,
    /// The SHA-512 of the encrypted file.
    pub digest: FileDigest,
    /// The key of the file.
    pub key: Secret<32>,
    /// The nonce of the file.
    pub nonce: Nonce,
    /// The size of most chunks.
    pub chunk_size: u32,
    /// The chunks, in order.
    pub chunks: Vec<FileChunk>,
    /// The description that is in the file, if the file is one.
    pub redirect: Option<Redirect>,
}

/// For whom a description is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// For a recipient.
    Recipient,
    /// For the sender.
    Sender,
}

/// The SHA-512 of a whole file.
pub type FileDigest = [u8; 64];
/// The SHA-256 of a chunk.
pub type ChunkDigest = [u8; 32];

/// A chunk of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChunk {
    /// Its size.
    pub size: u32,
    /// Its digest.
    pub digest: ChunkDigest,
    /// Where it is; the first one is tried first.
    pub replicas: Vec<Replica>,
}

/// A copy of a chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// The router that has it.
    pub server: ServerAddress<XftpScheme>,
    /// The id of the party there.
    pub id: EntityId,
    /// The key of the party.
    pub key: AuthPrivateKey,
}

/// What the file is whose description is in this one's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redirect {
    /// The size of that file, encrypted.
    pub size: u64,
    /// Its SHA-512.
    pub digest: FileDigest,
}

/// Why a text is no description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// It is too long.
    #[error("the text is longer than any description")]
    TooLong,
    /// It is no YAML, or none that descriptions are written in.
    #[error("not YAML, at line {0}")]
    Yaml(usize),
    /// A part of it is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A part of it is not what it should be.
    #[error("{0} is invalid")]
    Invalid(&'static str),
    /// A chunk is missing, or numbered twice.
    #[error("the chunks are not numbered from 1 without gaps")]
    Numbers,
    /// The sizes of the chunks are not those of the file.
    #[error("the chunks are not as large as the file")]
    Size,
    /// The replicas of a chunk are said to differ.
    #[error("chunk {0} is described in two ways")]
    Contradiction(usize),
    /// A chunk has no digest.
    #[error("chunk {0} has no digest")]
    NoDigest(usize),
    /// A link or URI is not one.
    #[error("not a link to a file")]
    Link,
}

impl FileDescription {
    /// The description of these parts.
    pub fn new(parts: Parts) -> Result<Self, DescriptionError> {
        let sizes = parts.chunks.iter().map(|chunk| u64::from(chunk.size));
        let total = sizes.fold(0, u64::saturating_add);
        if parts.chunks.iter().any(|chunk| chunk.replicas.is_empty()) {
            return Err(DescriptionError::Missing("replica"));
        }
        if parts.chunks.is_empty() {
            return Err(DescriptionError::Missing("chunk"));
        }
        if total != parts.size || parts.chunks.iter().any(|chunk| chunk.size == 0) {
            return Err(DescriptionError::Size);
        }
        Ok(Self(parts))
    }

    /// The parts.
    #[must_use]
    pub fn into_parts(self) -> Parts {
        self.0
    }
}

impl Deref for FileDescription {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl std::str::FromStr for FileDescription {
    type Err = DescriptionError;

    fn from_str(text: &str) -> Result<Self, DescriptionError> {
        text::parse(text)
    }
}

impl fmt::Display for FileDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::write(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ed25519;
    use crate::rng::Rng;
    use crate::wire::{Sample as _, Version};
    use proptest::prelude::*;

    /// A description with some chunks, each with some replicas.
    pub(super) fn sample(seed: [u8; 32]) -> FileDescription {
        let rng = &mut Rng::from_seed(seed);
        let servers: Vec<ServerAddress<XftpScheme>> = std::iter::repeat_with(|| {
            let mut address = ServerAddress::sample(Version(0), rng);
            address = ServerAddress::new(
                crate::wire::NonEmpty::try_from(address.hosts().to_vec()).unwrap(),
                address.port(),
                rng.bytes::<32>().into(),
            );
            address
        })
        .take(3)
        .collect();
        let chunk_size = 1 << 16;
        let chunks: Vec<FileChunk> = (0..1 + rng.below(5))
            .map(|_| FileChunk {
                size: if rng.below(3) == 0 {
                    1 << 18
                } else {
                    chunk_size
                },
                digest: rng.bytes(),
                replicas: (0..=rng.below(3))
                    .map(|index| Replica {
                        server: servers[index as usize % 3].clone(),
                        id: EntityId::from(rng.bytes::<24>()),
                        key: ed25519::PrivateKey::generate(rng).into(),
                    })
                    .collect(),
            })
            .collect();
        FileDescription::new(Parts {
            party: if rng.below(2) == 0 {
                Party::Sender
            } else {
                Party::Recipient
            },
            size: chunks.iter().map(|chunk| u64::from(chunk.size)).sum(),
            digest: rng.bytes(),
            key: Secret::generate(rng),
            nonce: Nonce::generate(rng),
            chunk_size,
            chunks,
            redirect: (rng.below(2) == 0).then(|| Redirect {
                size: u64::from(rng.below(u32::MAX)),
                digest: rng.bytes(),
            }),
        })
        .unwrap()
    }

    proptest! {
        #[test]
        fn descriptions_come_back(seed: [u8; 32]) {
            let description = sample(seed);
            let text = description.to_string();
            let read: FileDescription = text.parse().unwrap();
            prop_assert_eq!(read.to_string(), text);
            // Only the first replica is sure to stay the first.
            prop_assert_eq!(&read.chunks[0].replicas[0], &description.chunks[0].replicas[0]);
            prop_assert_eq!((read.size, read.party, &read.redirect), (description.size, description.party, &description.redirect));
        }

        #[test]
        fn links_and_uris_come_back(seed: [u8; 32]) {
            let text = sample(seed).to_string();
            let description: FileDescription = text.parse().unwrap();
            let link = WebLink::to(&description);
            let read: WebLink = link.to_string().parse().unwrap();
            prop_assert_eq!(read.description().unwrap(), description.clone());
            let uri = FileUri { scheme: UriScheme::Simplex, description, data: None };
            prop_assert_eq!(uri.to_string().parse::<FileUri>().unwrap(), uri);
        }

        #[test]
        fn arbitrary_texts_never_panic(text in "\\PC{0,200}", yaml in "([a-z]{1,9}|chunks|replicas|size|party)(: |:\n|:\n- |\n  - )[ -~\n]{0,60}") {
            let _ = text.parse::<FileDescription>();
            let _ = yaml.parse::<FileDescription>();
            let _ = text.parse::<FileUri>();
            let _ = format!("simplex:/file#/?desc={text}").parse::<FileUri>();
            let _ = format!("https://a/#{text}").parse::<WebLink>();
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let description = sample([1; 32]);
        let shown = format!("{description:?}");
        assert!(shown.contains("[redacted]"));
        assert!(!shown.contains(&crate::wire::text::base64url(description.key.as_bytes())));
    }
}
