//! One request and how far it is.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::download::Download;
use super::upload::Upload;
use super::web::Asked;
use crate::crypto::x25519;
use crate::http2::Part;
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
}

impl Job {
    pub(super) fn new(asked: Asked, part: Part) -> Self {
        Self {
            asked,
            stage: Stage::Block(BytesMut::new()),
            corr_id: CorrId::EMPTY,
            entity_id: EntityId::EMPTY,
            deadline: None,
            body: VecDeque::new(),
            part,
        }
    }

    pub(super) fn executing() -> Self {
        Self {
            stage: Stage::Executing(None),
            ..Self::new(Asked::Nothing, Part::Last)
        }
    }

    pub(super) fn receive(&mut self, bytes: Bytes, part: Part) {
        self.part = part;
        if !bytes.is_empty() {
            self.body.push_back(bytes);
        }
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
