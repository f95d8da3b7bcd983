//! Two connections want the messages of one queue.

use std::hash::{Hash, Hasher};

use simplex_sans_io::sim::script::{Queue, Script, send};
use simplex_sans_io::smp::client::{Event, Request, RequestId, Response};
use simplex_sans_io::smp::router::ConnId;
use simplex_sans_io::smp::{BrokerMessage, Command, MsgId, QueueRequest, SubscriptionMode};
use stateright::{Model, Property};

use crate::check;

#[test]
fn a_queue_has_one_subscriber_who_has_its_message() {
    check(|depth| Takeover { depth }, 7);
}

struct Takeover {
    depth: usize,
}

/// What can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    Subscribe(usize),
    Send,
    Acknowledge(usize),
    Reconnect(usize),
}

/// What a client knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Known {
    subscribed: bool,
    holds: Option<MsgId>,
}

#[derive(Debug, Clone)]
struct State {
    script: Script,
    queue: Queue,
    sender: ConnId,
    clients: [ConnId; 2],
    known: [Known; 2],
    steps: usize,
    sent: usize,
    /// Messages that came to somebody who is not subscribed.
    astray: usize,
    /// Subscriptions that were taken over.
    ended: usize,
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
    fn subscribe(&mut self, client: usize) {
        self.ask(client, Command::Sub);
    }

    fn acknowledge(&mut self, client: usize) {
        if let Some(id) = self.known[client].holds.take() {
            self.ask(client, Command::Ack(id));
        }
    }

    fn ask(&mut self, client: usize, command: Command) {
        let (id, key) = (self.queue.ids.recipient_id.clone(), self.queue.key.clone());
        let request = self.script.request(&id, Some(&key), command);
        let number = request.id;
        self.script.world.send(self.clients[client], vec![request]);
        self.hear(Some((client, number)));
    }

    /// Takes what the clients were told.
    fn hear(&mut self, asked: Option<(usize, RequestId)>) {
        for client in 0..2 {
            for event in self.script.world.events(self.clients[client]) {
                match event {
                    Event::Response { request, result } => {
                        assert_eq!(asked, Some((client, request)));
                        match result.expect("nothing is refused here") {
                            Response::Subscribed { .. } => self.known[client].subscribed = true,
                            Response::Message(next) => {
                                if let Some((id, _)) = next {
                                    self.take(client, id);
                                }
                            }
                            other => panic!("{other:?}"),
                        }
                    }
                    Event::Message { message, .. } => match message {
                        BrokerMessage::Msg { id, .. } => self.take(client, id),
                        BrokerMessage::End => {
                            self.known[client] = Known::default();
                            self.ended += 1;
                        }
                        other => panic!("{other:?}"),
                    },
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn take(&mut self, client: usize, id: MsgId) {
        if !self.known[client].subscribed {
            self.astray += 1;
        }
        self.known[client].holds = Some(id);
    }
}

impl Model for Takeover {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let mut script = Script::new();
        let clients = [script.world.connect(), script.world.connect()];
        let sender = script.world.connect();
        let queue = script
            .create(
                clients[0],
                Some(QueueRequest::Messaging(None)),
                SubscriptionMode::OnlyCreate,
            )
            .unwrap();
        vec![State {
            script,
            queue,
            sender,
            clients,
            known: Default::default(),
            steps: 0,
            sent: 0,
            astray: 0,
            ended: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if state.steps >= self.depth {
            return;
        }
        for client in 0..2 {
            actions.push(Step::Subscribe(client));
            if state.known[client].holds.is_some() {
                actions.push(Step::Acknowledge(client));
            }
            if state.known[client].subscribed {
                actions.push(Step::Reconnect(client));
            }
        }
        if state.sent < 3 {
            actions.push(Step::Send);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        state.steps += 1;
        match step {
            Step::Subscribe(client) => state.subscribe(client),
            Step::Acknowledge(client) => state.acknowledge(client),
            Step::Reconnect(client) => {
                state.script.world.disconnect(state.clients[client]);
                state.clients[client] = state.script.world.connect();
                state.known[client] = Known::default();
            }
            Step::Send => {
                state.sent += 1;
                let sender_id = state.queue.ids.sender_id.clone();
                let request: Request = state.script.request(&sender_id, None, send(b"message"));
                let sent = state.script.execute(state.sender, request);
                assert_eq!(sent, Ok(Response::Done));
                state.hear(None);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one subscriber", |_, state: &State| {
                !state.known.iter().all(|known| known.subscribed)
            }),
            Property::always("only the subscriber has messages", |_, state: &State| {
                state.astray == 0
            }),
            Property::always("a message that waits is delivered", |_, state: &State| {
                let waits = state.script.world.router.gauges().messages > 0;
                let mut subscribers = state.known.iter().filter(|known| known.subscribed);
                !waits || subscribers.all(|known| known.holds.is_some())
            }),
            Property::sometimes("a message changes hands", |_, state: &State| {
                state.ended > 0 && state.known.iter().any(|known| known.holds.is_some())
            }),
        ]
    }
}
