//! Descriptions as text, written as the reference writes them: replicas grouped by router, routers in order.

use std::collections::BTreeMap;
use std::fmt;

use super::yaml::{Node, scalar};
use super::{
    ChunkDigest, DescriptionError, FileChunk, FileDescription, FileSize, Parts, Party, Redirect,
    Replica,
};
use crate::crypto::{AuthPrivateKey, Nonce, Secret};
use crate::wire::text::{base64url, parse_base64url_field};
use crate::wire::{EntityId, ServerAddress, XftpScheme};

pub(super) fn parse(text: &str) -> Result<FileDescription, DescriptionError> {
    let document = Node::parse(text)?;
    let chunk_size = size(&document, "chunkSize")?;
    let chunk_size = u32::try_from(chunk_size).map_err(|_| INVALID_CHUNK_SIZE)?;
    let parts = Parts {
        party: match field(&document, "party")? {
            "recipient" => Party::Recipient,
            "sender" => Party::Sender,
            _ => return Err(DescriptionError::Invalid("party")),
        },
        size: size(&document, "size")?,
        digest: bytes(&document, "digest")?,
        key: Secret::from_bytes(bytes(&document, "key")?),
        nonce: Nonce::from(bytes::<24>(&document, "nonce")?),
        chunk_size,
        chunks: chunks(&document, chunk_size)?,
        redirect: document.optional("redirect").map(redirect).transpose()?,
    };
    FileDescription::new(parts)
}

const INVALID_CHUNK_SIZE: DescriptionError = DescriptionError::Invalid("chunkSize");

fn field<'a>(node: &'a Node, name: &'static str) -> Result<&'a str, DescriptionError> {
    let text = node.field(name)?.text();
    text.ok_or(DescriptionError::Invalid(name))
}

fn size(node: &Node, name: &'static str) -> Result<u64, DescriptionError> {
    match field(node, name)?.parse() {
        Ok(FileSize(bytes)) => Ok(bytes),
        Err(_) => Err(DescriptionError::Invalid(name)),
    }
}

fn bytes<const N: usize>(node: &Node, name: &'static str) -> Result<[u8; N], DescriptionError> {
    array(field(node, name)?).ok_or(DescriptionError::Invalid(name))
}

fn array<const N: usize>(text: &str) -> Option<[u8; N]> {
    parse_base64url_field(text).ok()?.try_into().ok()
}

fn redirect(node: &Node) -> Result<Redirect, DescriptionError> {
    let size = node.field("size")?.number();
    Ok(Redirect {
        size: size.ok_or(DescriptionError::Invalid("size"))?,
        digest: bytes(node, "digest")?,
    })
}

/// What is said of a chunk in all its replicas together.
#[derive(Default)]
struct Gathered {
    size: Option<u32>,
    digest: Option<ChunkDigest>,
    replicas: Vec<Replica>,
}

fn chunks(document: &Node, chunk_size: u32) -> Result<Vec<FileChunk>, DescriptionError> {
    const REPLICAS: DescriptionError = DescriptionError::Invalid("replicas");
    let mut gathered = BTreeMap::<usize, Gathered>::new();
    for group in document.field("replicas")?.list().ok_or(REPLICAS)? {
        let server: ServerAddress<XftpScheme> = field(group, "server")?
            .parse()
            .map_err(|_| DescriptionError::Invalid("server"))?;
        for entry in group.field("chunks")?.list().ok_or(REPLICAS)? {
            let entry = entry.text().and_then(Entry::parse);
            let entry = entry.ok_or(DescriptionError::Invalid("chunks"))?;
            let chunk = gathered.entry(entry.number).or_default();
            chunk.add(entry, server.clone())?;
        }
    }
    gathered
        .into_iter()
        .enumerate()
        .map(|(index, (number, chunk))| {
            if number.checked_sub(1) != Some(index) {
                return Err(DescriptionError::Numbers);
            }
            Ok(FileChunk {
                size: chunk.size.unwrap_or(chunk_size),
                digest: chunk.digest.ok_or(DescriptionError::NoDigest(number))?,
                replicas: chunk.replicas,
            })
        })
        .collect()
}

impl Gathered {
    fn add(
        &mut self,
        entry: Entry,
        server: ServerAddress<XftpScheme>,
    ) -> Result<(), DescriptionError> {
        let contradicts = |one: Option<bool>| one == Some(false);
        let sizes = self.size.zip(entry.size).map(|(a, b)| a == b);
        let digests = self.digest.zip(entry.digest).map(|(a, b)| a == b);
        if contradicts(sizes) || contradicts(digests) {
            return Err(DescriptionError::Contradiction(entry.number));
        }
        let replica = Replica {
            server,
            id: entry.id,
            key: entry.key,
        };
        // The digest stands at the replica that is to be tried first.
        match (self.digest, entry.digest) {
            (None, Some(_)) => self.replicas.insert(0, replica),
            _ => self.replicas.push(replica),
        }
        self.size = self.size.or(entry.size);
        self.digest = self.digest.or(entry.digest);
        Ok(())
    }
}

/// `number:id:key[:digest][:size]`
struct Entry {
    number: usize,
    id: EntityId,
    key: AuthPrivateKey,
    digest: Option<ChunkDigest>,
    size: Option<u32>,
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let number = parts.next()?;
        let number = number
            .bytes()
            .all(|b| b.is_ascii_digit())
            .then_some(number)?;
        let id = parse_base64url_field(parts.next()?).ok()?;
        let key = zeroize::Zeroizing::new(parse_base64url_field(parts.next()?).ok()?);
        let size = |text: &str| {
            let FileSize(bytes) = text.parse().ok()?;
            u32::try_from(bytes).ok()
        };
        let digest = |text: &str| (text.len() >= 43).then(|| array(text)).flatten();
        let (digest, size) = match (parts.next(), parts.next(), parts.next()) {
            (None, ..) => (None, None),
            (Some(one), None, _) => match digest(one) {
                Some(digest) => (Some(digest), None),
                None => (None, Some(size(one)?)),
            },
            (Some(one), Some(two), None) => (Some(digest(one)?), Some(size(two)?)),
            (Some(_), Some(_), Some(_)) => return None,
        };
        Some(Self {
            number: number.parse().ok()?,
            id: EntityId::try_from(id.as_slice()).ok()?,
            key: AuthPrivateKey::from_pkcs8(&key).ok()?,
            digest,
            size,
        })
    }
}

pub(super) fn write(description: &FileDescription, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let chunk_size = FileSize(description.chunk_size.into());
    writeln!(f, "chunkSize: {}", of_size(chunk_size))?;
    writeln!(f, "digest: {}", of_bytes(&description.digest))?;
    writeln!(f, "key: {}", of_bytes(description.key.as_bytes()))?;
    writeln!(f, "nonce: {}", of_bytes(description.nonce.as_bytes()))?;
    let party = match description.party {
        Party::Recipient => "recipient",
        Party::Sender => "sender",
    };
    writeln!(f, "party: {party}")?;
    if let Some(redirect) = &description.redirect {
        writeln!(f, "redirect:")?;
        writeln!(f, "  digest: {}", of_bytes(&redirect.digest))?;
        writeln!(f, "  size: {}", redirect.size)?;
    }
    writeln!(f, "replicas:")?;
    for (server, entries) in entries(description) {
        writeln!(f, "- chunks:")?;
        for entry in entries {
            writeln!(f, "  - {}", scalar(&entry))?;
        }
        writeln!(f, "  server: {}", scalar(&server.to_string()))?;
    }
    writeln!(f, "size: {}", of_size(FileSize(description.size)))
}

fn of_bytes(bytes: &[u8]) -> String {
    scalar(&base64url(bytes))
}

fn of_size(size: FileSize) -> String {
    scalar(&size.to_string())
}

/// What stands under each router, first replicas of all chunks first.
fn entries(description: &FileDescription) -> BTreeMap<&ServerAddress<XftpScheme>, Vec<String>> {
    let mut entries = BTreeMap::<_, Vec<(usize, usize, String)>>::new();
    for (chunk, number) in description.chunks.iter().zip(1_usize..) {
        for (rank, replica) in chunk.replicas.iter().enumerate() {
            let key = replica.key.to_pkcs8();
            let mut entry = format!("{number}:{}:{}", base64url(&replica.id), base64url(&key));
            if rank == 0 {
                entry.push(':');
                entry.push_str(&base64url(&chunk.digest));
            }
            if rank == 0 && chunk.size != description.chunk_size {
                entry.push(':');
                entry.push_str(&FileSize(chunk.size.into()).to_string());
            }
            let group = entries.entry(&replica.server).or_default();
            group.push((number, rank, entry));
        }
    }
    entries
        .into_iter()
        .map(|(server, mut group)| {
            group.sort();
            (server, group.into_iter().map(|(.., entry)| entry).collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn a_redirect_that_is_nothing_is_none_and_the_last_of_the_same_keys_counts() {
        let mut parts = sample([1; 32]).into_parts();
        parts.redirect = None;
        let description = FileDescription::new(parts).unwrap();
        let read = |text: String| text.parse::<FileDescription>();
        for nothing in ["", " null", " ~"] {
            let text = format!("{description}redirect:{nothing}\n");
            assert_eq!(read(text).as_ref(), Ok(&description), "{nothing}");
        }
        let no_redirect = read(format!("{description}redirect: no\n"));
        assert_eq!(no_redirect, Err(DescriptionError::Missing("size")));
        assert_eq!(read(format!("size: 3gb\n{description}")), Ok(description));
    }

    #[test]
    fn what_is_described_in_two_ways_is_refused() {
        let mut parts = sample([1; 32]).into_parts();
        parts.chunks.truncate(1);
        parts.chunks[0].replicas.truncate(1);
        parts.chunks[0].size = parts.chunk_size;
        parts.size = u64::from(parts.chunk_size);
        let text = FileDescription::new(parts).unwrap().to_string();
        let line = text
            .lines()
            .find(|line| line.starts_with("  - 1:"))
            .unwrap();
        let with = |other: String| {
            text.replace(line, &format!("{line}\n{other}"))
                .parse::<FileDescription>()
                .map(|_| ())
                .unwrap_err()
        };
        let digest = line.rsplit(':').next().unwrap();
        let other = line.replace(digest, &base64url(&[9; 32]));
        assert_eq!(with(other), DescriptionError::Contradiction(1));
        assert_eq!(
            with(line.replace("- 1:", "- 3:")),
            DescriptionError::Numbers
        );
        let (without, _) = line.rsplit_once(':').unwrap();
        assert_eq!(
            with(without.replace("- 1:", "- 2:")),
            DescriptionError::NoDigest(2)
        );
        assert_eq!(with(line.replace("- 1:", "- 2:")), DescriptionError::Size);
    }
}
