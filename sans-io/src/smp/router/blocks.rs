//! The blocks of commands that are being worked on: their answers, and the commits that these wait for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::loads::Job;
use super::store::ServiceTotals;
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

/// Answers that are not complete, each with the commit that it depends on.
#[derive(Debug, Clone)]
struct Work<T> {
    answers: Vec<Option<(T, OpId)>>,
    /// How many of them are missing, and how much else is waited for.
    missing: usize,
}

impl<T> Work<T> {
    fn new(count: usize) -> Self {
        Self {
            answers: (0..count).map(|_| None).collect(),
            missing: count,
        }
    }

    fn answer(&mut self, index: usize, answer: T, after: OpId) {
        if let Some(place @ None) = self.answers.get_mut(index) {
            *place = Some((answer, after));
            self.missing = self.missing.saturating_sub(1);
        }
    }

    /// Waits for more than answers.
    const fn besides(mut self, count: usize) -> Self {
        self.missing = self.missing.saturating_add(count);
        self
    }

    /// The commit that all answers depend on.
    fn after(&self) -> OpId {
        let answers = self.answers.iter().flatten();
        answers.map(|(_, after)| *after).max().unwrap_or_default()
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

/// A queue or a notifier that is gone.
#[derive(Debug, Clone)]
pub(super) struct Gone {
    /// What it was known by.
    pub(super) id: EntityId,
    /// The service that it was one of.
    pub(super) service: Option<EntityId>,
    /// Who has done it, and knows.
    pub(super) by: Option<ConnId>,
}

/// What happens when a commit is stored, and does not if it is not.
#[derive(Debug, Clone)]
enum Then {
    /// A queue may leave the memory.
    Unpin(EntityId, u64),
    /// A queue is gone.
    Deleted(Gone),
    /// A notifier is gone.
    NotifierRemoved(Gone),
    /// A service has more queues, or fewer.
    Adjusted(EntityId, ServiceTotals),
    /// A connection is told.
    Announce(ConnId, EntityId, BrokerMessage),
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

    /// As many answers of a block are to come, and as many look-ups for nobody to be [done](Self::looked_for_nobody) before they leave.
    pub(super) fn begin_execution(
        &mut self,
        connection: ConnId,
        block: BlockId,
        count: usize,
        for_nobody: usize,
    ) {
        let executions = self.blocks.executions.entry(connection).or_default();
        executions.insert(block, Work::new(count).besides(for_nobody));
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
                queues: work
                    .answers
                    .into_iter()
                    .map(|answer| answer.and_then(|(keys, _)| keys))
                    .collect(),
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
        self.executed(place.connection, place.block);
    }

    /// A look-up for nobody is done.
    pub(super) fn looked_for_nobody(&mut self, connection: ConnId, block: BlockId) {
        let blocks = self.blocks.executions.get_mut(&connection);
        if let Some(work) = blocks.and_then(|blocks| blocks.get_mut(&block)) {
            work.missing = work.missing.saturating_sub(1);
            self.executed(connection, block);
        }
    }

    /// The answers of a block leave if they are complete, and what they promise is stored.
    fn executed(&mut self, connection: ConnId, block: BlockId) {
        let blocks = self.blocks.executions.get(&connection);
        let Some(work) = blocks.and_then(|blocks| blocks.get(&block)) else {
            return;
        };
        if work.missing > 0 {
            return;
        }
        let after = work.after();
        if after <= self.blocks.stored {
            self.answers_leave(connection, block);
        } else {
            self.blocks.after(after, Waiter::Answer(connection, block));
        }
    }

    fn answers_leave(&mut self, connection: ConnId, block: BlockId) {
        if let Some(work) = take(&mut self.blocks.executions, connection, block) {
            let missing = || Answer::from(BrokerMessage::Err(ErrorType::Internal));
            let answers = work.answers.into_iter();
            let call = server::Call::Answer {
                block,
                answers: answers
                    .map(|answer| answer.map_or_else(missing, |(answer, _)| answer))
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

    /// A queue is gone when a commit is stored.
    pub(super) fn gone_after(&mut self, queue: Gone, op: OpId) {
        self.blocks.then.push_back((op, Then::Deleted(queue)));
    }

    /// A notifier, if there was one, is gone when a commit is stored.
    pub(super) fn notifier_gone_after(&mut self, notifier: Option<Gone>, op: OpId) {
        let then = notifier.map(|notifier| (op, Then::NotifierRemoved(notifier)));
        self.blocks.then.extend(then);
    }

    /// A commit adjusts what a service has.
    pub(super) fn adjusted_with(&mut self, service: EntityId, by: ServiceTotals, op: OpId) {
        self.blocks
            .then
            .push_back((op, Then::Adjusted(service, by)));
    }

    /// Tells a connection something when a commit is stored.
    pub(super) fn announce_after(
        &mut self,
        connection: ConnId,
        entity_id: EntityId,
        message: BrokerMessage,
        op: OpId,
    ) {
        let then = Then::Announce(connection, entity_id, message);
        self.blocks.then.push_back((op, then));
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
                Then::Deleted(queue) => {
                    self.cache.deletion_settled(&queue.id);
                    self.queue_deleted(queue);
                }
                Then::NotifierRemoved(notifier) => self.notifier_removed(notifier),
                Then::Adjusted(..) => {}
                Then::Announce(connection, id, message) => {
                    self.announce(connection, id, message);
                }
            }
        }
    }

    /// What was not stored did not happen: the queues are loaded again, and those who wait are told.
    pub(super) fn not_stored(&mut self, first: OpId, last: OpId) {
        let failed = first..=last;
        let affected = self.undo(&failed);
        self.fail_answers(&failed);
        self.fail_waiters(&failed);
        self.stored(last);
        self.recount();
        // A message that was acknowledged may be there again, and its subscriber does not ask for it.
        for id in affected {
            if let Some(subscription) = self.connections.subscription(&id) {
                let job = Job::DeliverToService(subscription.connection, id.clone());
                self.with_queue(Party::Recipient, &id, job);
            }
        }
    }

    /// Forgets what commits have changed in memory: the queues that they concern.
    fn undo(&mut self, failed: &RangeInclusive<OpId>) -> BTreeSet<EntityId> {
        let mut affected = BTreeSet::new();
        for (op, then) in std::mem::take(&mut self.blocks.then) {
            if !failed.contains(&op) {
                self.blocks.then.push_back((op, then));
                continue;
            }
            match then {
                Then::Unpin(id, _) => {
                    affected.insert(id);
                }
                Then::Deleted(Gone { id, .. }) => {
                    self.cache.deletion_settled(&id);
                    affected.insert(id);
                }
                Then::Adjusted(service, by) => self.not_adjusted(&service, &by),
                Then::NotifierRemoved(..) | Then::Announce(..) => {}
            }
        }
        for id in &affected {
            self.cache.remove(id);
            self.connections.undeliver(id);
        }
        affected
    }

    /// Refuses what depends on commits, also in blocks that are not complete. The text of a storage error is for the operator, not for
    /// clients.
    fn fail_answers(&mut self, failed: &RangeInclusive<OpId>) {
        let blocks = self.blocks.executions.values_mut();
        let answers = blocks
            .flat_map(BTreeMap::values_mut)
            .flat_map(|work| work.answers.iter_mut().flatten());
        for (answer, after) in answers {
            if failed.contains(after) {
                let error = ErrorType::Store {
                    error: "storage failed".into(),
                };
                *answer = Answer::from(error);
            }
        }
    }

    /// Tells those who wait for commits, besides clients, whose answers are refused.
    fn fail_waiters(&mut self, failed: &RangeInclusive<OpId>) {
        let waiting = self.blocks.waiting.range_mut(failed.clone());
        let others: Vec<_> = waiting
            .flat_map(|(_, waiters)| {
                waiters.extract_if(.., |waiter| !matches!(waiter, Waiter::Answer(..)))
            })
            .collect();
        for waiter in others {
            match waiter {
                Waiter::Answer(..) => {}
                Waiter::Operated(ticket, _) => self.operated(ticket, Outcome::Failed),
                Waiter::AcceptService(connection, _) => self.refuse_service(connection),
            }
        }
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
