//! A router whose disk is slow and whose power may be cut at any time.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};

use bytes::Bytes;
use simplex_sans_io::sim::script::{Queue, Script};
use simplex_sans_io::sim::world::Sync;
use simplex_sans_io::smp::body::Delivered;
use simplex_sans_io::smp::client::{Event, RequestId, Response};
use simplex_sans_io::smp::router::ConnId;
use simplex_sans_io::smp::router::store::MessageContent;
use simplex_sans_io::smp::{BrokerMessage, Command, MsgFlags, MsgId};
use stateright::{Model, Property};

use crate::check;

#[test]
fn what_is_acknowledged_is_on_the_disk_or_received() {
    check(|depth| Barrier { depth }, 10);
}

struct Barrier {
    depth: usize,
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Send,
    Acknowledge,
    /// The oldest commit becomes durable.
    Store,
    PowerCut,
}

#[derive(Debug, Clone)]
struct State {
    script: Script,
    queue: Queue,
    recipient: ConnId,
    sender: ConnId,
    steps: usize,
    next: u8,
    /// Messages that are on their way, by the request.
    sending: Vec<(RequestId, u8)>,
    /// Messages that the sender knows to be accepted.
    acknowledged: BTreeSet<u8>,
    /// Messages that the recipient has had, in their order.
    received: Vec<u8>,
    holds: Option<MsgId>,
    cuts: usize,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        format!("{self:?}").hash(hasher);
    }
}

impl State {
    fn recipient(&mut self, command: Command) {
        let (id, key) = (self.queue.ids.recipient_id.clone(), self.queue.key.clone());
        let request = self.script.request(&id, Some(&key), command);
        self.script.world.send(self.recipient, vec![request]);
    }

    fn hear(&mut self) {
        for event in self.script.world.events(self.sender) {
            if let Event::Response { request, result } = event {
                assert_eq!(result, Ok(Response::Done));
                let at = self.sending.iter().position(|(id, _)| *id == request);
                let (_, number) = self.sending.remove(at.expect("it was sent"));
                self.acknowledged.insert(number);
            }
        }
        for event in self.script.world.events(self.recipient) {
            match event {
                Event::Response { result, .. } => match result.expect("nothing is refused here") {
                    Response::Message(Some((id, body))) => self.take(id, &body),
                    Response::Message(None) | Response::Subscribed { .. } => {}
                    other => panic!("{other:?}"),
                },
                Event::Message {
                    message: BrokerMessage::Msg { id, body },
                    ..
                } => self.take(id, &body),
                other => panic!("{other:?}"),
            }
        }
    }

    fn take(&mut self, id: MsgId, body: &Bytes) {
        match Delivered::decrypt(&self.queue.secret, &id, body).unwrap() {
            Delivered::Message(message) => self.received.push(message.body[0]),
            Delivered::Quota(_) => panic!("the queue is not full"),
        }
        self.holds = Some(id);
    }

    /// The messages that a cut of the power would leave.
    fn durable(&self) -> BTreeSet<u8> {
        let contents = self.script.world.store.clone().crash();
        let messages = contents.messages.into_values();
        let number = |content: MessageContent| match content {
            MessageContent::Sent { body, .. } => body[0],
            MessageContent::Quota => panic!("the queue is not full"),
        };
        messages.map(|message| number(message.content)).collect()
    }
}

impl Model for Barrier {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut script = Script::new();
        let (recipient, sender) = (script.world.connect(), script.world.connect());
        let queue = script.new_queue(recipient);
        script.world.sync = Sync::WhenTold;
        vec![State {
            script,
            queue,
            recipient,
            sender,
            steps: 0,
            next: 0,
            sending: Vec::new(),
            acknowledged: BTreeSet::new(),
            received: Vec::new(),
            holds: None,
            cuts: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if state.steps >= self.depth {
            return;
        }
        if state.next < 4 {
            actions.push(Step::Send);
        }
        if state.holds.is_some() {
            actions.push(Step::Acknowledge);
        }
        if state.script.world.router.gauges().unstored > 0 {
            actions.push(Step::Store);
        }
        if state.cuts < 1 {
            actions.push(Step::PowerCut);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        state.steps += 1;
        match step {
            Step::Send => {
                let sender_id = state.queue.ids.sender_id.clone();
                let command = Command::Send {
                    flags: MsgFlags {
                        notification: false,
                    },
                    body: Bytes::copy_from_slice(&[state.next]),
                };
                let request = state.script.request(&sender_id, None, command);
                state.sending.push((request.id, state.next));
                state.next += 1;
                state.script.world.send(state.sender, vec![request]);
            }
            Step::Acknowledge => {
                if let Some(id) = state.holds.take() {
                    state.recipient(Command::Ack(id));
                }
            }
            Step::Store => state.script.world.sync(1),
            Step::PowerCut => {
                state.cuts += 1;
                state.script.world = state.script.world.clone().crash();
                state.sending.clear();
                state.holds = None;
                state.recipient = state.script.world.connect();
                state.sender = state.script.world.connect();
                state.script.world.sync(usize::MAX);
                state.recipient(Command::Sub);
                state.script.world.sync(usize::MAX);
            }
        }
        state.hear();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("nothing acknowledged is lost", |_, state: &State| {
                let durable = state.durable();
                let kept = |number| durable.contains(number) || state.received.contains(number);
                state.acknowledged.iter().all(kept)
            }),
            Property::always("messages come in order", |_, state: &State| {
                // The power may bring one back that was received, and those after it.
                let falls = state.received.windows(2).filter(|pair| pair[0] >= pair[1]);
                falls.count() <= state.cuts
            }),
            Property::sometimes("a message survives the power", |_, state: &State| {
                state.cuts > 0 && !state.received.is_empty()
            }),
            Property::sometimes(
                "a message is received before it is stored",
                |_, state: &State| !state.received.is_empty() && state.acknowledged.is_empty(),
            ),
        ]
    }
}
