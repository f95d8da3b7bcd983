//! What waits: for a file to be free, and for commits to be stored.

use std::collections::BTreeMap;

use super::operator::Outcome;
use super::store::Chunk;
use super::{Asker, OpId, Ticket};
use crate::crypto::AuthPublicKey;
use crate::smp::BlockingInfo;
use crate::wire::{EntityId, NonEmpty};
use crate::xftp::Response;
use crate::xftp::server::UploadId;

/// A change of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Job {
    Add(Asker, NonEmpty<AuthPublicKey>),
    Delete(Asker),
    Acknowledge(Asker, EntityId),
    Publish(UploadId),
    /// It was created before this time.
    Expire(i64),
    Reconcile(Chunk),
    OperatorDelete(Ticket),
    OperatorBlock(Ticket, BlockingInfo),
}

/// What follows a commit that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum After {
    Answer(Asker, Response),
    /// The chunk is there, as the record says: there is nothing to do.
    Keep(Chunk),
    Remove(Chunk),
    /// So much room is free for others.
    Free(u64),
    Operated(Ticket, Outcome),
}

/// The commits that are not stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Pending {
    next: u64,
    commits: BTreeMap<OpId, Vec<After>>,
}

impl Pending {
    pub(super) fn unstored(&self) -> usize {
        self.commits.len()
    }

    pub(super) fn add(&mut self, after: Vec<After>) -> OpId {
        let op = OpId(self.next);
        self.next = self.next.wrapping_add(1);
        self.commits.insert(op, after);
        op
    }

    /// What follows all commits up to this one.
    pub(super) fn stored(&mut self, op: OpId) -> Vec<After> {
        let later = self.commits.split_off(&OpId(op.0.saturating_add(1)));
        let stored = std::mem::replace(&mut self.commits, later);
        stored.into_values().flatten().collect()
    }

    /// What does not follow.
    pub(super) fn not_stored(&mut self, first: OpId, last: OpId) -> Vec<After> {
        let mut from_first = self.commits.split_off(&first);
        let mut later = from_first.split_off(&OpId(last.0.saturating_add(1)));
        self.commits.append(&mut later);
        from_first.into_values().flatten().collect()
    }
}
