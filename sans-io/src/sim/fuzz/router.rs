//! Random operations and faults, against what was promised to clients.
//!
//! Whatever happens: what was acknowledged to a sender is delivered, in order, unless it was deleted; what the recipient has
//! acknowledged is not delivered again unless the power was cut; a queue that was promised is there, and one whose deletion was
//! promised is not; a queue holds no more than its quota; and nothing grows beyond its bounds.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    clippy::arithmetic_side_effects,
    reason = "a run that does not go on is a finding"
)]

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::choices::Choices;
use crate::sim::script::{NewQueueSecrets, Queue, Script, new_queue_request};
use crate::sim::world::Sync;
use crate::sim::{Direction, Trace};
use crate::smp::body::{Delivered, SentMessage};
use crate::smp::client::{Event, Request, RequestError, RequestId, Response};
use crate::smp::router::{Config, ConnId};
use crate::smp::{BrokerMessage, Command, ErrorType, MsgFlags, MsgId};
use crate::time::Instant;

const QUOTA: u64 = 4;
const MAX_STEPS: usize = 256;

/// Operations until the bytes end, then everything that was promised is looked for.
pub(super) fn run(choices: &mut Choices<'_>, trace: &mut Trace) {
    let mut fleet = Fleet::new();
    for number in 0..MAX_STEPS {
        let Some(operation) = Operation::next(choices) else {
            break;
        };
        let what = format!("{number}: {operation:?}");
        trace.record(Instant::START, "world", Direction::Input, what);
        fleet.step(operation);
    }
    fleet.finish();
    let left = format!("{:?}", fleet.script.world.router.gauges());
    trace.record(Instant::START, "router", Direction::Action, left);
}

/// What a client waits for.
#[derive(Debug, Clone)]
enum Asked {
    New(usize),
    Send(usize, u32),
    SendToDeleted,
    Subscribe,
    Acknowledge(usize, Option<u32>),
    Delete(usize),
    Other,
}

/// What was promised of a queue.
struct Promised {
    queue: Queue,
    there: There,
    next: u32,
    /// Messages that the router has acknowledged.
    acknowledged: BTreeSet<u32>,
    /// Messages that were delivered at least once.
    delivered: BTreeSet<u32>,
    /// Messages whose acknowledgement by the recipient was confirmed, since the last fault.
    confirmed: BTreeSet<u32>,
    /// The same in this step: what another client is told in it may have been said before.
    confirmed_now: Vec<u32>,
    /// Who has sent each message: there is no order between senders.
    senders: Vec<ConnId>,
    /// Who holds a delivered message.
    held: Option<(ConnId, MsgId, Option<u32>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Promised,
    Unknown,
    Deleted,
}

struct Fleet {
    script: Script,
    clients: Vec<ConnId>,
    queues: Vec<Promised>,
    creating: BTreeMap<usize, NewQueueSecrets>,
    asked: BTreeMap<(ConnId, RequestId), Asked>,
}

impl Fleet {
    fn new() -> Self {
        let config = Config {
            message_quota: QUOTA,
            message_expiration: None,
            cache: 3,
            ..Config::default()
        };
        let mut script = Script::with(config);
        script.world.sync = Sync::WhenTold;
        let clients = (0..3).map(|_| script.world.connect()).collect();
        Self {
            script,
            clients,
            queues: Vec::new(),
            creating: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    fn step(&mut self, operation: Operation) {
        let Operation {
            kind,
            client,
            queue,
        } = operation;
        let client = self.clients[usize::from(client) % self.clients.len()];
        let count = self.queues.len().max(1);
        let index = usize::from(queue) % count;
        match kind {
            Kind::New => self.create(client),
            Kind::Send => self.send(client, index),
            Kind::Subscribe => self.recipient(client, index, Command::Sub, Asked::Subscribe),
            Kind::Get => self.recipient(client, index, Command::Get, Asked::Other),
            Kind::Acknowledge => self.acknowledge(index),
            Kind::Delete => {
                if let Some(queue) = self.queues.get_mut(index)
                    && queue.there == There::Promised
                {
                    queue.there = There::Unknown;
                }
                self.recipient(client, index, Command::Del, Asked::Delete(index));
            }
            Kind::Sync => self.script.world.sync(usize::from(queue) % 8),
            Kind::Reconnect => {
                self.script.world.disconnect(client);
                self.asked.retain(|(asked, _), _| *asked != client);
                for queue in &mut self.queues {
                    if queue
                        .held
                        .as_ref()
                        .is_some_and(|(held, ..)| *held == client)
                    {
                        queue.held = None;
                    }
                }
                let new = self.script.world.connect();
                let place = self.clients.iter().position(|known| *known == client);
                self.clients[place.unwrap()] = new;
            }
            Kind::Fail => {
                self.script.world.fail();
                self.forget_confirmations();
                // What is confirmed in this step may not be stored.
                self.settle();
                self.forget_confirmations();
            }
            Kind::Crash => self.crash(),
        }
        self.settle();
    }

    fn ask(&mut self, client: ConnId, request: Request, asked: Asked) {
        self.asked.insert((client, request.id), asked);
        self.script.world.send(client, vec![request]);
    }

    fn create(&mut self, client: ConnId) {
        let index = self.queues.len() + self.creating.len();
        if index >= 12 {
            return;
        }
        let (request, secrets) = new_queue_request(&mut self.script);
        let index = self
            .creating
            .keys()
            .last()
            .map_or(0, |last| last + 1)
            .max(1000);
        self.creating.insert(index, secrets);
        self.ask(client, request, Asked::New(index));
    }

    fn send(&mut self, client: ConnId, index: usize) {
        let Some(queue) = self.queues.get_mut(index) else {
            return;
        };
        let number = queue.next;
        queue.next += 1;
        queue.senders.push(client);
        let sender_id = queue.queue.ids.sender_id.clone();
        let command = Command::Send {
            flags: MsgFlags {
                notification: false,
            },
            body: Bytes::copy_from_slice(&number.to_be_bytes()),
        };
        let asked = match queue.there {
            There::Deleted => Asked::SendToDeleted,
            There::Promised | There::Unknown => Asked::Send(index, number),
        };
        let request = self.script.request(&sender_id, None, command);
        self.ask(client, request, asked);
    }

    fn recipient(&mut self, client: ConnId, index: usize, command: Command, asked: Asked) {
        let Some(queue) = self.queues.get(index) else {
            return;
        };
        let (id, key) = (
            queue.queue.ids.recipient_id.clone(),
            queue.queue.key.clone(),
        );
        let request = self.script.request(&id, Some(&key), command);
        self.ask(client, request, asked);
    }

    fn acknowledge(&mut self, index: usize) {
        let held = self.queues.get(index).and_then(|queue| queue.held.clone());
        if let Some((client, id, number)) = held {
            self.queues[index].held = None;
            let asked = Asked::Acknowledge(index, number);
            self.recipient(client, index, Command::Ack(id), asked);
        }
    }

    fn forget_confirmations(&mut self) {
        for queue in &mut self.queues {
            queue.confirmed.clear();
        }
    }

    fn crash(&mut self) {
        self.settle();
        self.script.world = self.script.world.clone().crash();
        self.asked.clear();
        self.creating.clear();
        self.forget_confirmations();
        for queue in &mut self.queues {
            queue.held = None;
        }
        for client in &mut self.clients {
            *client = self.script.world.connect();
        }
        // What the router asks its store at start is answered.
        self.script.world.sync(usize::MAX);
    }

    /// Looks at what the clients were told.
    fn settle(&mut self) {
        for client in self.clients.clone() {
            for event in self.script.world.events(client) {
                match event {
                    Event::Response { request, result } => {
                        let asked = self.asked.remove(&(client, request));
                        self.answered(client, asked.expect("it was asked"), result);
                    }
                    Event::Message {
                        entity_id,
                        message: BrokerMessage::Msg { id, body },
                    } => {
                        let index = self
                            .queues
                            .iter()
                            .position(|queue| queue.queue.ids.recipient_id == entity_id)
                            .expect("the queue is known");
                        self.delivered(client, index, id, &body);
                    }
                    _ => {}
                }
            }
        }
        for queue in &mut self.queues {
            queue
                .confirmed
                .append(&mut queue.confirmed_now.drain(..).collect());
        }
        let gauges = self.script.world.router.gauges();
        assert!(gauges.messages <= (QUOTA + 1) * 12, "{gauges:?}");
        let pinned = u64::try_from(self.queues.len() + self.creating.len()).unwrap();
        assert!(gauges.cached <= 3 + pinned);
        assert!(gauges.subscriptions <= pinned);
    }

    fn answered(&mut self, client: ConnId, asked: Asked, result: Result<Response, RequestError>) {
        let refused = |error| Err(RequestError::Protocol(error));
        match (asked, result) {
            (Asked::New(index), Ok(Response::Queue(ids))) => {
                let secrets = self.creating.remove(&index).unwrap();
                self.queues.push(Promised {
                    queue: secrets.queue(*ids),
                    there: There::Promised,
                    next: 0,
                    acknowledged: BTreeSet::new(),
                    delivered: BTreeSet::new(),
                    confirmed: BTreeSet::new(),
                    confirmed_now: Vec::new(),
                    senders: Vec::new(),
                    held: None,
                });
            }
            (Asked::New(index), Err(_)) => {
                self.creating.remove(&index);
            }
            (Asked::Send(index, number), Ok(Response::Done)) => {
                let queue = &mut self.queues[index];
                queue.acknowledged.insert(number);
            }
            (Asked::Acknowledge(index, number), Ok(Response::Message(next))) => {
                let queue = &mut self.queues[index];
                queue.confirmed_now.extend(number);
                if let Some((id, body)) = next {
                    self.delivered(client, index, id, &body);
                }
            }
            (Asked::Delete(index), Ok(Response::Done)) => {
                self.queues[index].there = There::Deleted;
            }
            (Asked::Delete(_), Err(_)) => {}
            (Asked::Subscribe | Asked::Other, result) if result == refused(ErrorType::Auth) => {}
            (asked, result) => {
                let harmless = matches!(
                    (&asked, &result),
                    (
                        Asked::Subscribe,
                        Ok(Response::Subscribed { .. })
                            | Err(RequestError::Protocol(ErrorType::Store { .. }))
                    ) | (
                        Asked::Other,
                        Ok(Response::Message(_)) | Err(RequestError::Protocol(_))
                    ) | (Asked::Subscribe, Err(RequestError::Protocol(_)))
                        | (
                            Asked::Send(..) | Asked::SendToDeleted,
                            Err(RequestError::Protocol(_))
                        )
                        | (Asked::Acknowledge(..), Err(RequestError::Protocol(_)))
                );
                assert!(harmless, "{asked:?}: {result:?}");
            }
        }
    }

    fn delivered(&mut self, client: ConnId, index: usize, id: MsgId, body: &Bytes) {
        let queue = &mut self.queues[index];
        let delivered = Delivered::decrypt(&queue.queue.secret, &id, body).unwrap();
        let number = match delivered {
            Delivered::Quota(_) => {
                queue.held = Some((client, id, None));
                return;
            }
            Delivered::Message(SentMessage { body, .. }) => {
                u32::from_be_bytes((*body).try_into().unwrap())
            }
        };
        assert!(number < queue.next, "nobody has sent it");
        assert!(!queue.confirmed.contains(&number), "{number} comes again");
        // In order: nothing of the same sender that was acknowledged was passed over.
        let sender = |number: u32| queue.senders[usize::try_from(number).unwrap()];
        let passed_over = queue.acknowledged.range(..number).find(|earlier| {
            !queue.delivered.contains(earlier) && sender(**earlier) == sender(number)
        });
        assert_eq!(passed_over, None, "passed over before {number}");
        queue.delivered.insert(number);
        queue.held = Some((client, id, Some(number)));
    }

    /// Everything that was promised is received.
    fn finish(&mut self) {
        self.script.world.sync(usize::MAX);
        self.settle();
        self.crash();
        for index in 0..self.queues.len() {
            let client = self.clients[0];
            let id = RequestId(self.script.next + 1);
            self.recipient(client, index, Command::Sub, Asked::Other);
            self.script.world.sync(usize::MAX);
            let response = self.script.response(client, id);
            self.asked.remove(&(client, id));
            let expected = match self.queues[index].there {
                There::Promised => Some(true),
                There::Deleted => Some(false),
                There::Unknown => None,
            };
            let there = matches!(response, Some(Ok(Response::Subscribed { .. })));
            assert!(
                expected.is_none_or(|expected| expected == there),
                "{response:?}"
            );
            self.settle();
            while self.queues[index].held.is_some() {
                self.acknowledge(index);
                self.script.world.sync(usize::MAX);
                self.settle();
            }
            let queue = &self.queues[index];
            if there {
                let lost: Vec<_> = queue.acknowledged.difference(&queue.delivered).collect();
                assert!(lost.is_empty(), "lost: {lost:?}");
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Operation {
    kind: Kind,
    client: u8,
    queue: u8,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    New,
    Send,
    Subscribe,
    Get,
    Acknowledge,
    Delete,
    Sync,
    Reconnect,
    Fail,
    Crash,
}

impl Operation {
    /// What the next two bytes say: the kind, and which client and queue it is about. Frequent kinds have many numbers.
    fn next(choices: &mut Choices<'_>) -> Option<Self> {
        let (kind, client) = choices.next()?;
        let kind = match kind {
            0..=1 => Kind::New,
            2..=9 => Kind::Send,
            10..=13 => Kind::Subscribe,
            14 => Kind::Get,
            15..=20 => Kind::Acknowledge,
            21 => Kind::Delete,
            22..=28 => Kind::Sync,
            29 => Kind::Reconnect,
            30 => Kind::Fail,
            _ => Kind::Crash,
        };
        let queue = choices.byte();
        Some(Self {
            kind,
            client,
            queue,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

        #[test]
        fn promises_are_kept_whatever_happens(bytes in prop::collection::vec(any::<u8>(), 2..400)) {
            run(&mut Choices::new(&bytes), &mut Trace::nothing());
        }
    }
}
