//! One request and how far it is.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::{Answer, Ask, Request, RequestError, RequestId};
use crate::crypto::Tag;
use crate::crypto::hash::Sha256;
use crate::crypto::secret_box::Decryptor;
use crate::http2::Part;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::{CorrId, EntityId};
use crate::xftp::chunk::DownloadKey;
use crate::xftp::description::ChunkDigest;
use crate::xftp::transmission::Transmission;
use crate::xftp::{BLOCK, Command, Response};

pub(super) type Finished = Result<Answer, RequestError>;

/// A request that waits for its response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) request: RequestId,
    pub(super) timeout: Option<Duration>,
    pub(super) deadline: Option<Instant>,
    /// How many bytes of a download were passed on and are not credited.
    pub(super) unread: usize,
    corr_id: CorrId,
    entity_id: EntityId,
    expected: Expected,
    outgoing: Outbound,
    incoming: Inbound,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    Created(usize),
    Added(usize),
    Done,
    Pong,
    Chunk {
        key: DownloadKey,
        size: u32,
        digest: ChunkDigest,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outbound {
    /// How much of the chunk is missing, and how many bytes of the block have not left.
    Uploading { missing: u64, of_block: usize },
    /// The chunk is given.
    Complete { of_block: usize },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Inbound {
    Block(BytesMut),
    Chunk(Box<Chunk>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Chunk {
    decryptor: Decryptor,
    hash: Sha256,
    missing: u64,
    tag: Vec<u8>,
    digest: ChunkDigest,
}

impl Pending {
    pub(super) fn new(request: &Request, corr_id: CorrId, rng: &mut Rng) -> (Command, Self) {
        let mut missing = 0;
        let (command, expected) = match &request.ask {
            Ask::Create(file) => {
                let recipients = file.recipients.len();
                (Command::FNew(file.clone()), Expected::Created(recipients))
            }
            Ask::AddRecipients(keys) => (Command::FAdd(keys.clone()), Expected::Added(keys.len())),
            Ask::Upload { size } => {
                missing = u64::from(*size);
                (Command::FPut, Expected::Done)
            }
            Ask::Delete => (Command::FDel, Expected::Done),
            Ask::Acknowledge => (Command::FAck, Expected::Done),
            Ask::Ping => (Command::Ping, Expected::Pong),
            Ask::Download { size, digest } => {
                let key = DownloadKey::generate(rng);
                let command = Command::FGet(key.public_key());
                let (size, digest) = (*size, *digest);
                (command, Expected::Chunk { key, size, digest })
            }
        };
        let of_block = BLOCK;
        let pending = Self {
            request: request.id,
            timeout: request.timeout,
            deadline: None,
            unread: 0,
            corr_id,
            entity_id: request.entity_id.clone(),
            expected,
            outgoing: match missing {
                0 => Outbound::Complete { of_block },
                _ => Outbound::Uploading { missing, of_block },
            },
            incoming: Inbound::Block(BytesMut::new()),
        };
        (command, pending)
    }

    pub(super) const fn part_after_block(&self) -> Part {
        match self.outgoing {
            Outbound::Uploading { .. } => Part::More,
            Outbound::Complete { .. } => Part::Last,
        }
    }

    pub(super) const fn is_uploading(&self) -> bool {
        matches!(self.outgoing, Outbound::Uploading { .. })
    }

    /// Whether more of the chunk follows these bytes.
    pub(super) fn upload(&mut self, bytes: usize) -> Result<Part, RequestError> {
        let Outbound::Uploading { missing, of_block } = &mut self.outgoing else {
            return Err(RequestError::Size);
        };
        let bytes = u64::try_from(bytes).map_err(|_| RequestError::Size)?;
        *missing = missing.checked_sub(bytes).ok_or(RequestError::Size)?;
        if *missing > 0 {
            return Ok(Part::More);
        }
        self.outgoing = Outbound::Complete {
            of_block: *of_block,
        };
        Ok(Part::Last)
    }

    /// How many of the bytes that have left are the owner's.
    pub(super) fn taken(&mut self, bytes: usize) -> usize {
        let (Outbound::Uploading { of_block, .. } | Outbound::Complete { of_block }) =
            &mut self.outgoing;
        let ours = bytes.min(*of_block);
        *of_block = of_block.saturating_sub(ours);
        bytes.saturating_sub(ours)
    }

    /// The block, if it is complete now; what follows it.
    pub(super) fn take_block(&mut self, bytes: &Bytes) -> (Option<Bytes>, Bytes) {
        let Inbound::Block(block) = &mut self.incoming else {
            return (None, bytes.clone());
        };
        let missing = BLOCK.saturating_sub(block.len());
        let mut rest = bytes.clone();
        block.extend_from_slice(&rest.split_to(missing.min(bytes.len())));
        let complete = block.len() == BLOCK;
        (complete.then(|| std::mem::take(block).freeze()), rest)
    }

    /// The answer, unless a chunk follows.
    pub(super) fn response(
        &mut self,
        transmission: &Transmission,
        response: Response,
    ) -> Option<Finished> {
        let unexpected = Some(Err(RequestError::Unexpected(response.tag())));
        if transmission.corr_id != self.corr_id || transmission.entity_id != self.entity_id {
            return unexpected;
        }
        match (&self.expected, response) {
            (
                Expected::Created(recipients),
                Response::Sids {
                    sender_id,
                    recipient_ids,
                },
            ) if recipient_ids.len() == *recipients => Some(Ok(Answer::Created {
                sender_id,
                recipient_ids,
            })),
            (Expected::Added(recipients), Response::Rids(ids)) if ids.len() == *recipients => {
                Some(Ok(Answer::Added(ids)))
            }
            (Expected::Done, Response::Ok) => Some(Ok(Answer::Done)),
            (Expected::Pong, Response::Pong) => Some(Ok(Answer::Pong)),
            (
                Expected::Chunk { key, size, digest },
                Response::File {
                    key: router_key,
                    nonce,
                },
            ) => {
                self.incoming = Inbound::Chunk(Box::new(Chunk {
                    decryptor: key.decryptor(&router_key, &nonce),
                    hash: Sha256::new(),
                    missing: u64::from(*size),
                    tag: Vec::new(),
                    digest: *digest,
                }));
                None
            }
            _ => unexpected,
        }
    }

    /// The part of the chunk that is in these bytes.
    pub(super) fn decrypt(&mut self, bytes: &[u8]) -> Result<BytesMut, RequestError> {
        let Inbound::Chunk(chunk) = &mut self.incoming else {
            return Ok(BytesMut::new());
        };
        let missing = usize::try_from(chunk.missing).unwrap_or(usize::MAX);
        let (ciphertext, tag) = bytes.split_at(bytes.len().min(missing));
        let length = u64::try_from(ciphertext.len()).unwrap_or(u64::MAX);
        chunk.missing = chunk.missing.saturating_sub(length);
        chunk.tag.extend_from_slice(tag);
        if chunk.tag.len() > Tag::LENGTH {
            return Err(RequestError::Size);
        }
        let mut text = BytesMut::from(ciphertext);
        chunk.decryptor.update(&mut text);
        chunk.hash.update(&text);
        Ok(text)
    }

    /// The answer, if nothing more is to come.
    pub(super) fn finished(&self, part: Part) -> Option<Finished> {
        match (&self.incoming, part) {
            (Inbound::Block(_), Part::More) => None,
            (Inbound::Block(_), Part::Last) => Some(Err(RequestError::Malformed)),
            (Inbound::Chunk(chunk), part) => match <[u8; Tag::LENGTH]>::try_from(&*chunk.tag) {
                Ok(tag) => Some(chunk.verify(&Tag::from_bytes(tag))),
                Err(_) if part == Part::Last => Some(Err(RequestError::Size)),
                Err(_) => None,
            },
        }
    }
}

impl Chunk {
    fn verify(&self, tag: &Tag) -> Finished {
        if self.decryptor.clone().finish(tag).is_err() {
            return Err(RequestError::Crypto);
        }
        if self.hash.clone().finish() != self.digest {
            return Err(RequestError::Digest);
        }
        Ok(Answer::Downloaded)
    }
}
