//! What the operator can do.

use super::loads::For;
use super::pending::{After, Job};
use super::store::{Change, Content, FileRecord, FileStatus, Load, LoadedFile, Party};
use super::{Router, Ticket};
use crate::smp::BlockingInfo;
use crate::wire::EntityId;

/// Something that the operator wants to have done, to the file of a recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Delete the file.
    Delete(EntityId),
    /// Remove the chunk, and refuse all commands with this reason.
    Block(EntityId, BlockingInfo),
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// There is no such recipient.
    NotFound,
    /// The store failed.
    Failed,
}

impl Router {
    pub(super) fn operate(&mut self, ticket: Ticket, operation: Operation) {
        let (id, job) = match operation {
            Operation::Delete(id) => (id, Job::OperatorDelete(ticket)),
            Operation::Block(id, info) => (id, Job::OperatorBlock(ticket, info)),
        };
        self.load(For::Resolve(job), Load::File(Party::Recipient, id));
    }

    /// The chunk is gone for good, so that nothing is subtracted again when the file expires.
    pub(super) fn block(&mut self, ticket: Ticket, info: BlockingInfo, file: &LoadedFile) {
        self.count(|c| &mut c.files_blocked, 1);
        let record = FileRecord {
            status: FileStatus::Blocked(info),
            content: Content::Absent,
            ..file.record.clone()
        };
        let adjustment = super::commands::without_chunk(&file.record);
        let removed = file.record.chunk().map(After::Remove);
        let operated = After::Operated(ticket, Outcome::Done);
        let after = removed.into_iter().chain([operated]).collect();
        self.commit(vec![Change::PutFile(Box::new(record))], adjustment, after);
    }
}
