//! The blocks of commands that are being worked on: their answers, and the commits that these wait for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::loads::Job;
use super::{Action, ConnId, OpId, Outcome, Router, Ticket};
use crate::smp::server::{self, Answer, BlockId, Party, QueueKeys};
use crate::smp::{BrokerMessage, ErrorType};
use crate::wire::EntityId;

/// The place of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) connection: ConnId,
    pub(super) block: BlockId,
    pub(super) index: usize,
}

/// Answers that are not complete.
#[derive(Debug, Clone)]
struct Work<T> {
    answers: Vec<Option<T>>,
    missing: usize,
    /// The commit that the answers depend on.
    after: OpId,
}

impl<T> Work<T> {
    fn new(count: usize) -> Self {
        Self {
            answers: (0..count).map(|_| None).collect(),
            missing: count,
            after: OpId::default(),
        }
    }

    fn answer(&mut self, index: usize, answer: T, after: OpId) {
        if let Some(place @ None) = self.answers.get_mut(index) {
            *place = Some(answer);
            self.missing = self.missing.saturating_sub(1);
            self.after = self.after.max(after);
        }
    }
}

/// The incomplete answers of all connections.
type InWork<T> = BTreeMap<ConnId, BTreeMap<BlockId, Work<T>>>;

fn take<T>(in_work: &mut InWork<T>, connection: ConnId, block: BlockId) -> Option<Work<T>> {
    in_work.get_mut(&connection)?.remove(&block)
}

fn work_at<T>(in_work: &mut InWork<T>, place: Place) -> Option<&mut Work<T>> {
    in_work.get_mut(&place.connection)?.get_mut(&place.block)
}

/// Who waits until a commit is stored, and is told if it is not.
#[derive(Debug, Clone)]
enum Waiter {
    /// The answers of a block leave.
    Answer(ConnId, BlockId),
    /// A service is accepted.
    AcceptService(ConnId, EntityId),
    /// The operator is told.
    Operated(Ticket, Outcome),
}

/// What is settled in memory when a commit is stored.
#[derive(Debug, Clone)]
enum Then {
    /// A queue may leave the memory.
    Unpin(EntityId, u64),
    /// A queue is gone.
    Deleted(EntityId),
}

/// The blocks that are being worked on.
#[derive(Debug, Clone, Default)]
pub(super) struct Blocks {
    lookups: InWork<Option<Arc<QueueKeys>>>,
    executions: InWork<Answer>,
    then: VecDeque<(OpId, Then)>,
    waiting: BTreeMap<OpId, Vec<Waiter>>,
    last: OpId,
    stored: OpId,
}

impl Blocks {
    pub(super) fn next_op(&mut self) -> OpId {
        self.last = OpId(self.last.0.saturating_add(1));
        self.last
    }

    pub(super) const fn last(&self) -> OpId {
        self.last
    }

    pub(super) const fn unstored(&self) -> u64 {
        self.last.0.saturating_sub(self.stored.0)
    }

    fn after(&mut self, op: OpId, waiter: Waiter) {
        self.waiting.entry(op).or_default().push(waiter);
    }
}

impl Router {
    pub(super) fn begin_lookup(&mut self, connection: ConnId, block: BlockId, count: usize) {
        let lookups = self.blocks.lookups.entry(connection).or_default();
        lookups.insert(block, Work::new(count));
    }

    pub(super) fn begin_execution(&mut self, connection: ConnId, block: BlockId, count: usize) {
        let executions = self.blocks.executions.entry(connection).or_default();
        executions.insert(block, Work::new(count));
    }

    /// The keys of one queue of a block are known.
    pub(super) fn answer_keys(&mut self, place: Place, keys: Option<Arc<QueueKeys>>) {
        let Some(work) = work_at(&mut self.blocks.lookups, place) else {
            return;
        };
        work.answer(place.index, keys, OpId::default());
        if work.missing == 0
            && let Some(work) = take(&mut self.blocks.lookups, place.connection, place.block)
        {
            let call = server::Call::Keys {
                block: place.block,
                queues: work.answers.into_iter().map(Option::flatten).collect(),
            };
            self.actions.push(Action::Conn(place.connection, call));
        }
    }

    /// The answer to a command, which waits for nothing.
    pub(super) fn answer(&mut self, place: Place, answer: impl Into<Answer>) {
        self.answer_after(place, answer, OpId::default());
    }

    pub(super) fn refuse(&mut self, place: Place, error: ErrorType) {
        self.answer(place, error);
    }

    /// The answer to a command, which promises that a commit is stored.
    pub(super) fn answer_after(&mut self, place: Place, answer: impl Into<Answer>, after: OpId) {
        let Some(work) = work_at(&mut self.blocks.executions, place) else {
            return;
        };
        work.answer(place.index, answer.into(), after);
        if work.missing > 0 {
            return;
        }
        let after = work.after;
        if after <= self.blocks.stored {
            self.answers_leave(place.connection, place.block);
        } else {
            self.blocks
                .after(after, Waiter::Answer(place.connection, place.block));
        }
    }

    fn answers_leave(&mut self, connection: ConnId, block: BlockId) {
        if let Some(work) = take(&mut self.blocks.executions, connection, block) {
            let missing = || Answer::from(BrokerMessage::Err(ErrorType::Internal));
            let answers = work.answers.into_iter();
            let call = server::Call::Answer {
                block,
                answers: answers
                    .map(|answer| answer.unwrap_or_else(missing))
                    .collect(),
            };
            self.actions.push(Action::Conn(connection, call));
        }
    }

    pub(super) fn accept_service_after(&mut self, connection: ConnId, id: EntityId, op: OpId) {
        self.blocks.after(op, Waiter::AcceptService(connection, id));
    }

    /// Tells the operator when all that was done is stored.
    pub(super) fn operated_after_all(&mut self, ticket: Ticket, outcome: Outcome) {
        let last = self.blocks.last;
        if last <= self.blocks.stored {
            self.operated(ticket, outcome);
        } else {
            self.blocks.after(last, Waiter::Operated(ticket, outcome));
        }
    }

    /// A queue stays in memory until a commit is stored; then its messages before a place may leave it.
    pub(super) fn pin(&mut self, queue: &EntityId, op: OpId, messages_before: u64) {
        if let Some(queue) = self.cache.get_mut(queue) {
            queue.unstored = queue.unstored.saturating_add(1);
        }
        self.blocks
            .then
            .push_back((op, Then::Unpin(queue.clone(), messages_before)));
    }

    pub(super) fn gone_after(&mut self, queue: EntityId, op: OpId) {
        self.blocks.then.push_back((op, Then::Deleted(queue)));
    }

    pub(super) fn stored(&mut self, op: OpId) {
        self.blocks.stored = self.blocks.stored.max(op);
        self.settle(op);
        while let Some(entry) = self.blocks.waiting.first_entry()
            && *entry.key() <= op
        {
            for waiter in entry.remove() {
                match waiter {
                    Waiter::Answer(connection, block) => self.answers_leave(connection, block),
                    Waiter::AcceptService(connection, id) => {
                        let call = server::Call::Service(Ok(id));
                        self.actions.push(Action::Conn(connection, call));
                    }
                    Waiter::Operated(ticket, outcome) => self.operated(ticket, outcome),
                }
            }
        }
    }

    fn settle(&mut self, op: OpId) {
        while let Some((after, _)) = self.blocks.then.front()
            && *after <= op
            && let Some((_, then)) = self.blocks.then.pop_front()
        {
            match then {
                Then::Unpin(id, before) => {
                    if let Some(queue) = self.cache.get_mut(&id) {
                        queue.unstored = queue.unstored.saturating_sub(1);
                        queue.messages.stored(before);
                    }
                }
                Then::Deleted(id) => self.cache.deletion_stored(&id),
            }
        }
    }

    /// What was not stored did not happen: the queues are loaded again, and those who wait are told.
    pub(super) fn not_stored(&mut self, first: OpId, last: OpId) {
        let affected: BTreeSet<EntityId> = self
            .blocks
            .then
            .iter()
            .filter(|(op, _)| (first..=last).contains(op))
            .map(|(_, then)| match then {
                Then::Unpin(id, _) | Then::Deleted(id) => id.clone(),
            })
            .collect();
        for id in &affected {
            self.cache.remove(id);
            self.connections.undeliver(id);
        }
        let failed: Vec<OpId> = self
            .blocks
            .waiting
            .range(first..=last)
            .map(|(op, _)| *op)
            .collect();
        for op in failed {
            for waiter in self.blocks.waiting.remove(&op).unwrap_or_default() {
                match waiter {
                    Waiter::Answer(connection, block) => self.answers_fail(connection, block),
                    Waiter::Operated(ticket, _) => self.operated(ticket, Outcome::Failed),
                    Waiter::AcceptService(connection, _) => {
                        let error = crate::smp::TransportError::Handshake {
                            error: crate::smp::HandshakeError::BadService,
                        };
                        let call = server::Call::Service(Err(error));
                        self.actions.push(Action::Conn(connection, call));
                    }
                }
            }
        }
        self.stored(last);
        // A message that was acknowledged may be there again, and its subscriber does not ask for it.
        for id in affected {
            if let Some(subscription) = self.connections.subscription(&id) {
                let job = Job::DeliverToService(subscription.connection);
                self.with_queue(Party::Recipient, &id, job);
            }
        }
    }

    /// The text of a storage error is for the operator, not for clients.
    fn answers_fail(&mut self, connection: ConnId, block: BlockId) {
        let executions = self.blocks.executions.get_mut(&connection);
        if let Some(work) = executions.and_then(|blocks| blocks.get_mut(&block)) {
            for answer in &mut work.answers {
                let error = ErrorType::Store {
                    error: "storage failed".into(),
                };
                *answer = Some(Answer::from(error));
            }
        }
        self.answers_leave(connection, block);
    }

    /// How many blocks of a connection are looked up, and how many are executed.
    pub(super) fn blocks_of(&self, connection: ConnId) -> (usize, usize) {
        let count = |blocks: Option<usize>| blocks.unwrap_or(0);
        (
            count(self.blocks.lookups.get(&connection).map(BTreeMap::len)),
            count(self.blocks.executions.get(&connection).map(BTreeMap::len)),
        )
    }

    pub(super) fn forget_blocks(&mut self, connection: ConnId) {
        self.blocks.lookups.remove(&connection);
        self.blocks.executions.remove(&connection);
    }
}
