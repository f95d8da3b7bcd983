//! One connection in memory, and the steps that change it.
//!
//! A step takes something in (a command, a message, a router's response), changes the connection, and says what is to be stored and
//! what is to be done. What is to be done waits until what is to be stored is stored. What the connection still has to do follows from
//! its state alone: after every step, and after it was loaded, [`advance`](Step::advance) asks the routers for whatever is missing. So a crash
//! at any point loses nothing: the same state asks for the same again.

mod advance;
mod answers;
mod create;
mod found;
mod handshake;
mod join;
mod links;
mod messages;
mod outgoing;
mod questions;
mod receive;
mod remove;
mod requests;
mod rotation;
mod send;
mod sync;
mod tasks;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use self::found::Stop;
use self::outgoing::OutgoingMessages;
use self::requests::Requests;

pub(super) use self::create::NewQueue;
pub(super) use self::found::{Delivery, Found, Need};
pub(super) use self::join::Join;
pub(super) use self::questions::Question;
pub(super) use self::rotation::can_abort;
pub(super) use self::tasks::Task;

use super::command::{Receiving, Reply};
use super::error::AgentError;
use super::event::{Event, EventContent};
use super::id::{CommandId, ConnectionId, MessageId, QueueNumber};
use super::machine::{Action, Shared};
use super::store::record::{
    self, ConnectionRecord, ReceiveQueue, Received, SendQueue, SendRotation, SendStatus, Stage,
};
use super::store::{Change, Key, Kind, OpId, Record};
use crate::crypto::hash;
use crate::ratchet::{Ratchet, SkippedChange, SkippedId, SkippedKey, SkippedKeys};
use crate::smp::MsgId;
use crate::smp::client::RequestId;
use crate::smp::pool::Backoff;
use crate::time::{Instant, Now, UnixTime};
use crate::wire::{Wire, WireError};

/// A connection in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) record: ConnectionRecord,
    pub(super) ratchet: Option<Ratchet>,
    pub(super) skipped: Skipped,
    pub(super) outgoing: OutgoingMessages,
    pub(super) received: BTreeMap<MessageId, Received>,
    /// Those who ask for a connection, if it is an address.
    pub(super) requests: Requests,
    /// What routers were asked.
    pub(super) asked: BTreeMap<Task, RequestId>,
    /// What has failed for now.
    pub(super) retries: BTreeMap<Task, Retry>,
    /// What routers are to be told was received.
    pub(super) acks: BTreeMap<QueueNumber, Ack>,
    next_ack: u64,
    /// Messages of a new queue that wait until the old one is empty, so that they stay in order; and a request that is one too many.
    pub(super) held: BTreeMap<QueueNumber, Delivery>,
    /// Whether they wait.
    pub(super) order: Order,
    /// Since when nobody knows whether the old one is empty.
    pub(super) unknown_since: Option<Instant>,
    /// Who waits for the connection.
    pub(super) callers: Vec<Caller>,
    /// What the application wants to know of its queue.
    pub(super) questions: Vec<(CommandId, Question)>,
    /// From when on new queues are received from.
    pub(super) receiving: Receiving,
    /// The last transaction.
    pub(super) op: OpId,
    /// Whether the store says that it has something to do.
    pub(super) marked: bool,
    /// Whether the store does not know it yet.
    pub(super) unsaved: bool,
    /// Whether the store has it no more.
    pub(super) gone: bool,
    /// When it was used last.
    pub(super) used: Instant,
    /// When it wants to be woken.
    pub(super) wake: Option<Instant>,
}

/// Whether messages of a new queue wait for those of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// They do.
    Kept,
    /// The router of the old one could not be asked for long: they do not.
    GivenUp,
}

/// That a message of a queue was received. A later one may come while the router is being told of one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ack {
    number: u64,
    broker_id: MsgId,
}

/// What has failed for now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Retry {
    pub(super) backoff: Backoff,
    pub(super) at: Instant,
    /// The proxy cannot reach the router: it may be asked directly.
    pub(super) direct: bool,
}

/// Who waits for a connection to be made or joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) command: CommandId,
    pub(super) mode: super::command::RequestMode,
}

/// The keys of messages that were overtaken, and under which names they are stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Skipped {
    pub(super) keys: SkippedKeys,
    places: BTreeMap<[u8; 36], u64>,
    next: u64,
}

impl Skipped {
    /// The changes of a step, as they are stored.
    fn apply(&mut self, connection: &ConnectionId, changes: Vec<SkippedChange>) -> Vec<Change> {
        let mut stored = Vec::with_capacity(changes.len());
        for change in &changes {
            match change {
                SkippedChange::Added(key) => {
                    let place = self.next;
                    self.next = self.next.saturating_add(1);
                    self.places.insert(name(&key.id), place);
                    stored.push(Change::Put {
                        key: Key::with(Kind::Skipped, connection, place.to_be_bytes()),
                        value: Bytes::copy_from_slice(&key.to_bytes()),
                        expires: None,
                    });
                }
                SkippedChange::Removed(id) => {
                    if let Some(place) = self.places.remove(&name(id)) {
                        let key = Key::with(Kind::Skipped, connection, place.to_be_bytes());
                        stored.push(Change::Delete(key));
                    }
                }
            }
        }
        self.keys.apply(changes);
        stored
    }

    /// All keys are of no use any more.
    fn clear(&mut self, connection: &ConnectionId) -> Vec<Change> {
        self.keys = SkippedKeys::new();
        std::mem::take(&mut self.places)
            .into_values()
            .map(|place| Change::Delete(Key::with(Kind::Skipped, connection, place.to_be_bytes())))
            .collect()
    }

    fn load(&mut self, place: u64, key: SkippedKey) {
        self.places.insert(name(&key.id), place);
        self.next = self.next.max(place.saturating_add(1));
        self.keys.apply([SkippedChange::Added(key)]);
    }
}

/// A name for a skipped message that does not tell its key.
fn name(id: &SkippedId) -> [u8; 36] {
    let mut name = [0; 36];
    let (hash, number) = (
        hash::sha256(id.header_key.as_bytes()),
        id.number.to_be_bytes(),
    );
    for (to, from) in name.iter_mut().zip(hash.iter().chain(&number)) {
        *to = *from;
    }
    name
}

impl Connection {
    /// A connection that the store does not know yet.
    pub(super) fn new(id: ConnectionId, record: ConnectionRecord) -> Self {
        Self {
            id,
            record,
            ratchet: None,
            skipped: Skipped::default(),
            outgoing: OutgoingMessages::default(),
            received: BTreeMap::new(),
            requests: Requests::default(),
            asked: BTreeMap::new(),
            retries: BTreeMap::new(),
            acks: BTreeMap::new(),
            next_ack: 0,
            held: BTreeMap::new(),
            order: Order::Kept,
            unknown_since: None,
            callers: Vec::new(),
            questions: Vec::new(),
            receiving: Receiving::AtOnce,
            op: OpId::default(),
            marked: false,
            unsaved: true,
            gone: false,
            used: Instant::default(),
            wake: None,
        }
    }

    /// A connection as it was stored; none if the store has none.
    pub(super) fn load(id: ConnectionId, records: Vec<Record>) -> Result<Option<Self>, WireError> {
        let mut rest = Vec::with_capacity(records.len());
        let mut connection = None;
        for Record { key, value } in records {
            if key.kind == Kind::Connection {
                connection = Some(record::from_bytes(&value)?);
            } else {
                rest.push((key, value));
            }
        }
        let Some(connection) = connection else {
            return Ok(None);
        };
        let mut connection = Self::new(id, connection);
        for (key, value) in rest {
            match key.kind {
                Kind::Ratchet => connection.ratchet = Some(Ratchet::from_bytes(&value)?),
                Kind::Skipped => {
                    let key_of = SkippedKey::from_bytes(&value)?;
                    connection.skipped.load(number(&key.id), key_of);
                }
                Kind::Outgoing => {
                    let message = message_id(&key.id);
                    connection
                        .outgoing
                        .insert(message, record::from_bytes(&value)?);
                }
                Kind::Received => {
                    let message = message_id(&key.id);
                    connection
                        .received
                        .insert(message, record::from_bytes(&value)?);
                }
                Kind::Work => connection.marked = true,
                Kind::Waiting => connection.requests = Requests::load(&value)?,
                Kind::User
                | Kind::Connection
                | Kind::Sent
                | Kind::Seen
                | Kind::Request
                | Kind::Queue
                | Kind::Event
                | Kind::Link
                | Kind::File
                | Kind::Chunk
                | Kind::Removal
                | Kind::FileEvent
                | Kind::Statistics
                | Kind::FileStatistics => {}
            }
        }
        connection.unsaved = false;
        Ok(Some(connection))
    }

    pub(super) fn receive_queue(&self, number: QueueNumber) -> Option<&ReceiveQueue> {
        let mut queues = self.record.receive.iter();
        queues.find(|queue| queue.number == number)
    }

    pub(super) fn send_queue(&self, number: QueueNumber) -> Option<&SendQueue> {
        let mut queues = self.record.send.iter();
        queues.find(|queue| queue.number == number)
    }

    /// The queue that messages are sent to: not one that is yet to take its place.
    pub(super) fn current_send_queue(&self) -> Option<&SendQueue> {
        self.record.send.iter().find(|queue| {
            !matches!(queue.status, SendStatus::Contact | SendStatus::Gone)
                && !matches!(queue.rotation, Some(SendRotation::Replaces { .. }))
        })
    }

    /// Whether a queue has not taken a message for now.
    pub(super) fn is_refused(&self, number: QueueNumber) -> bool {
        let mut refused = self.retries.keys();
        refused.any(|task| matches!(task, Task::Send(queue, _) if *queue == number))
    }

    /// Whether it has something to do that it must not forget.
    pub(super) fn has_work(&self) -> bool {
        let waits = match &self.record.stage {
            Stage::Creating { .. }
            | Stage::Allowed { .. }
            | Stage::Joining { .. }
            | Stage::Handshake { .. } => true,
            Stage::Prepared { .. } => return self.record.deleting.is_some(),
            Stage::Offered { .. }
            | Stage::Confirmed { .. }
            | Stage::Connected
            | Stage::Address
            | Stage::Failed => false,
        };
        waits
            || self.record.deleting.is_some()
            || !self.outgoing.is_empty()
            || self.record.receive.iter().any(ReceiveQueue::has_work)
            || self
                .record
                .link
                .as_ref()
                .is_some_and(|link| link.state != record::LinkState::Set)
    }

    /// Whether it is to be loaded at the start.
    pub(super) fn is_marked(&self) -> bool {
        self.has_work() || !self.requests.is_empty()
    }

    /// Whether it may be dropped from memory.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty()
            && !self.has_work()
            && self.asked.is_empty()
            && self.acks.is_empty()
            && self.callers.is_empty()
            && self.questions.is_empty()
    }

    /// When it wants to be woken next: what is due already waits for something else.
    pub(super) fn next_wake(&self, now: Now) -> Option<Instant> {
        let deadline = |seconds: i64| {
            let left = seconds.saturating_sub(now.unix.seconds());
            now.instant + Duration::from_secs(u64::try_from(left).unwrap_or_default())
        };
        let rotations = self
            .record
            .receive
            .iter()
            .filter_map(|queue| match queue.rotation {
                Some(record::ReceiveRotation::ReplacedBy { deadline, .. }) => Some(deadline),
                Some(record::ReceiveRotation::Replaces { .. }) | None => None,
            });
        let deleting = self
            .record
            .deleting
            .as_ref()
            .and_then(|deleting| deleting.until);
        let deadlines = rotations.chain(deleting).map(deadline);
        let retries = self.retries.values().map(|retry| retry.at);
        retries
            .chain(deadlines)
            .chain(self.requests.until().map(deadline))
            .filter(|at| *at > now.instant)
            .min()
    }
}

impl ReceiveQueue {
    fn has_work(&self) -> bool {
        match self.status {
            record::ReceiveStatus::Creating
            | record::ReceiveStatus::Securing { .. }
            | record::ReceiveStatus::Suspending
            | record::ReceiveStatus::Deleting { .. } => true,
            record::ReceiveStatus::Open
            | record::ReceiveStatus::Secured
            | record::ReceiveStatus::Active
            | record::ReceiveStatus::Suspended => self.rotation.is_some(),
        }
    }
}

fn number(id: &Bytes) -> u64 {
    id.split_first_chunk()
        .map_or(0, |(bytes, _)| u64::from_be_bytes(*bytes))
}

fn message_id(id: &Bytes) -> MessageId {
    MessageId(i64::try_from(number(id)).unwrap_or(i64::MAX))
}

/// One step of a connection: one transaction, and what is done when it is stored.
pub(super) struct Step<'a> {
    pub(super) now: Now,
    pub(super) shared: &'a mut Shared,
    pub(super) connection: &'a mut Connection,
    pub(super) changes: Vec<Change>,
    pub(super) actions: Vec<Action>,
}

impl<'a> Step<'a> {
    pub(super) fn new(now: Now, shared: &'a mut Shared, connection: &'a mut Connection) -> Self {
        connection.used = now.instant;
        Self {
            now,
            shared,
            connection,
            changes: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Tells the application, now or, if it does not confirm it, again.
    pub(super) fn event(&mut self, content: EventContent) {
        let connection = self.connection.id.clone();
        let event = self
            .shared
            .event(Some(connection), content, &mut self.changes);
        self.actions.push(Action::Event(event));
    }

    /// Tells the application, until it confirms it or that is of no use any more.
    pub(super) fn event_until(&mut self, content: EventContent, until: UnixTime) {
        self.event(content);
        if let Some(Change::Put { expires, .. }) = self.changes.last_mut() {
            *expires = Some(until);
        }
    }

    /// Tells the application what its records hold already.
    pub(super) fn tell_again(&mut self, content: EventContent) {
        self.actions.push(Action::Event(Event {
            id: None,
            connection: Some(self.connection.id.clone()),
            content,
        }));
    }

    pub(super) fn error(&mut self, error: AgentError) {
        self.event(EventContent::Error { error });
    }

    pub(super) fn reply(&mut self, command: CommandId, result: Result<Reply, AgentError>) {
        self.actions.push(Action::Reply(command, result));
    }

    /// Answers all who wait for the connection. A failure that nobody waits for is an event.
    pub(super) fn answer_callers(&mut self, result: &Result<Reply, AgentError>) {
        let callers = std::mem::take(&mut self.connection.callers);
        if let (true, Err(error)) = (callers.is_empty(), result) {
            self.error(error.clone());
        }
        for caller in callers {
            self.reply(caller.command, result.clone());
        }
    }

    fn put<T: Wire>(&mut self, key: Key, value: &T) {
        self.changes.push(Change::Put {
            key,
            value: record::to_bytes(value),
            expires: None,
        });
    }

    fn put_until<T: Wire>(&mut self, key: Key, value: &T) {
        self.changes.push(Change::Put {
            key,
            value: record::to_bytes(value),
            expires: Some(self.forgotten()),
        });
    }

    /// When it is forgotten what happens now.
    fn forgotten(&self) -> UnixTime {
        self.now.unix + self.shared.config.memory
    }

    fn key(&self, kind: Kind, id: impl AsRef<[u8]>) -> Key {
        Key::with(kind, &self.connection.id, id)
    }

    fn message_key(&self, kind: Kind, message: MessageId) -> Key {
        Key::message(kind, &self.connection.id, message)
    }

    /// The ratchet has made a step.
    fn set_ratchet(&mut self, ratchet: Ratchet) {
        self.changes.push(Change::Put {
            key: Key::of(Kind::Ratchet, &self.connection.id),
            value: Bytes::copy_from_slice(&ratchet.to_bytes()),
            expires: None,
        });
        self.connection.ratchet = Some(ratchet);
    }

    fn receive_queue_mut(&mut self, number: QueueNumber) -> Option<&mut ReceiveQueue> {
        self.connection.record.receive_mut(number)
    }

    fn send_queue_mut(&mut self, number: QueueNumber) -> Option<&mut SendQueue> {
        self.connection.record.send_mut(number)
    }

    fn next_queue(&mut self) -> QueueNumber {
        let number = self.connection.record.next_queue;
        self.connection.record.next_queue = number.next();
        number
    }

    fn next_message(&mut self) -> MessageId {
        let last = self.connection.record.counters.last.next();
        self.connection.record.counters.last = last;
        last
    }

    fn unix_seconds(&self) -> i64 {
        self.now.unix.seconds()
    }
}

impl ConnectionRecord {
    fn receive_mut(&mut self, number: QueueNumber) -> Option<&mut ReceiveQueue> {
        self.receive.iter_mut().find(|queue| queue.number == number)
    }

    fn send_mut(&mut self, number: QueueNumber) -> Option<&mut SendQueue> {
        self.send.iter_mut().find(|queue| queue.number == number)
    }
}
