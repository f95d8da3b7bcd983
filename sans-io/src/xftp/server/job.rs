//! One request and how far it is.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::download::Download;
use super::upload::Upload;
use super::web::Asked;
use crate::crypto::x25519;
use crate::http2::{Part, Response};
use crate::time::Instant;
use crate::wire::{CorrId, EntityId};
use crate::xftp::transmission::Transmission;
use crate::xftp::{BLOCK, Command};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) asked: Asked,
    pub(super) stage: Stage,
    pub(super) corr_id: CorrId,
    pub(super) entity_id: EntityId,
    pub(super) deadline: Option<Instant>,
    /// What has come of the body after the block, and is not credited.
    pub(super) body: VecDeque<Bytes>,
    pub(super) part: Part,
    pub(super) rest: Rest,
}

/// What is known of the body after the block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing: there is none, or one that nobody has spoken of.
    Unknown,
    /// It is on its way, and its sender may not listen before all of it is taken.
    Announced,
    /// It did not come in time.
    GivenUp,
}

/// An answer that is given when the body has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Draining {
    pub(super) head: Response,
    pub(super) body: Bytes,
    /// How many bytes have been thrown away.
    pub(super) drained: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stage {
    Block(BytesMut),
    Looking(Box<(Command, Transmission)>),
    /// With the client's key, if it downloads.
    Executing(Option<x25519::PublicKey>),
    Receiving(Box<Upload>),
    Opening {
        key: x25519::PublicKey,
        size: u32,
    },
    Sending(Box<Download>),
    /// It is answered when the body has ended.
    Draining(Box<Draining>),
}

impl Job {
    pub(super) fn new(asked: Asked, part: Part, rest: Rest) -> Self {
        Self {
            asked,
            stage: Stage::Block(BytesMut::new()),
            corr_id: CorrId::EMPTY,
            entity_id: EntityId::EMPTY,
            deadline: None,
            body: VecDeque::new(),
            part,
            rest,
        }
    }

    pub(super) fn executing() -> Self {
        Self {
            stage: Stage::Executing(None),
            ..Self::new(Asked::Nothing, Part::Last, Rest::Unknown)
        }
    }

    pub(super) fn receive(&mut self, bytes: Bytes, part: Part) {
        self.part = part;
        if !bytes.is_empty() {
            self.body.push_back(bytes);
        }
    }

    /// Whether more of the body comes, as far as is known.
    pub(super) fn expects_more(&self) -> bool {
        let is_announced = match self.rest {
            Rest::Unknown => !self.body.is_empty(),
            Rest::Announced => true,
            Rest::GivenUp => false,
        };
        is_announced && self.part == Part::More
    }

    /// The block, once it is complete or the body has ended; and how many bytes were taken from the body for it.
    pub(super) fn take_block(&mut self) -> Option<(Bytes, usize)> {
        let Stage::Block(block) = &mut self.stage else {
            return None;
        };
        while let Some(mut bytes) = self.body.pop_front() {
            let missing = BLOCK.saturating_sub(block.len());
            let taken = bytes.split_to(missing.min(bytes.len()));
            block.extend_from_slice(&taken);
            if !bytes.is_empty() {
                self.body.push_front(bytes);
                break;
            }
        }
        if block.len() < BLOCK && self.part == Part::More {
            return None;
        }
        let block = std::mem::take(block).freeze();
        let length = block.len();
        Some((block, length))
    }
}
