//! Both sides of HTTP/2, with somebody in the middle.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{Method, StatusCode};

use super::choices::Choices;
use crate::http2::{
    Action, Exchange, Http2, Incoming, Input, Options, Outgoing, Part, Request, Response, StreamId,
};
use crate::machine::{self, Actions, CloseReason, Connection as _, Machine};
use crate::sim::Trace;
use crate::time::{Instant, Now};

/// Requests, answers and credits in any order, over a stream that is cut anywhere and sometimes altered. Unless it is altered, what
/// arrives is what was sent, and nothing is ever reset.
pub(super) fn run(choices: &mut Choices<'_>, _: &mut Trace) {
    let options = Options {
        stream_window: 4096 << (choices.byte() & 7),
        connection_window: 65535 << (choices.byte() & 7),
        uncredited: 1 << 16,
        max_streams: u32::from(choices.byte() & 7).saturating_add(1),
        ..Options::default()
    };
    let mut client = Side::new(Http2::client(options, Tally::default(), Now::START));
    let mut server = Side::new(Http2::server(options, Tally::default(), Now::START));
    let (mut opened, mut altered) = (0_u64, false);
    let mut steps = 0_u8;
    while let Some((kind, small)) = choices.next()
        && steps < 128
    {
        steps = steps.saturating_add(1);
        let number = u64::from(small).checked_rem(opened.max(1)).unwrap_or(0);
        let (ours, theirs) = (StreamId::ours(number), StreamId::of_peer(number));
        match kind {
            0 => {
                let head = Request::new(Method::POST, "router.example", &format!("/{opened}"));
                let id = StreamId::ours(opened);
                client.command(id, Outgoing::Request(head, part(small)));
                opened = opened.saturating_add(1);
            }
            1 => client.command(ours, Outgoing::Body(body(choices), part(small))),
            2 => {
                let head = Response::of(StatusCode::OK);
                server.command(theirs, Outgoing::Response(head, part(small)));
            }
            3 => server.command(theirs, Outgoing::Body(body(choices), part(small))),
            4 => client.command(ours, Outgoing::Credit(choices.word().into())),
            5 => server.command(theirs, Outgoing::Credit(choices.word().into())),
            6 => client.command(ours, Outgoing::Discard),
            7 => server.command(theirs, Outgoing::Discard),
            8 => carry(&mut client, &mut server, choices.word().into()),
            9 => carry(&mut server, &mut client, choices.word().into()),
            10 => {
                altered = true;
                server.give(machine::Input::Bytes(choices.some_bytes()));
            }
            11 => {
                altered = true;
                client.give(machine::Input::Bytes(choices.some_bytes()));
            }
            12 => server.give(machine::Input::Eof),
            13 => client.give(machine::Input::Eof),
            14 => server.give(machine::Input::Command(Order::Close)),
            15 => {
                for _ in 0..64 {
                    carry(&mut client, &mut server, usize::MAX);
                    carry(&mut server, &mut client, usize::MAX);
                }
            }
            _ => {}
        }
    }
    if altered {
        return;
    }
    arrived_in_order(&client, &server);
    for side in [&client, &server] {
        assert!(!side.died, "an honest peer kills the connection");
    }
}

/// What has arrived is the beginning of what was sent, in both directions.
fn arrived_in_order(client: &Side, server: &Side) {
    let (client, server) = (client.machine.exchange(), server.machine.exchange());
    for (theirs, number) in &server.numbers {
        let ours = StreamId::ours(*number);
        let request = (client.sent.get(&ours), server.received.get(theirs));
        let response = (server.sent.get(theirs), client.received.get(&ours));
        for (sent, received) in [request, response] {
            let sent = sent.map_or(&[][..], Vec::as_slice);
            let received = received.map_or(&[][..], Vec::as_slice);
            assert!(sent.starts_with(received), "other bytes arrive");
        }
    }
    // Nothing comes back on a stream that the server has never seen, as it was refused.
    for ours in client.received.keys() {
        let is_known = server
            .numbers
            .values()
            .any(|number| *number == ours.number());
        assert!(is_known, "an answer to nothing");
    }
}

fn part(small: u8) -> Part {
    match small & 4 {
        0 => Part::More,
        _ => Part::Last,
    }
}

fn body(choices: &mut Choices<'_>) -> Bytes {
    let length = usize::from(choices.word());
    Bytes::from(vec![choices.byte(); length])
}

struct Side {
    machine: Http2<Tally>,
    unread: Vec<u8>,
    died: bool,
    ended: bool,
}

enum Order {
    Send(StreamId, Outgoing),
    Close,
}

impl Side {
    fn new(machine: Http2<Tally>) -> Self {
        let mut side = Self {
            machine,
            unread: Vec::new(),
            died: false,
            ended: false,
        };
        side.drain();
        side
    }

    fn command(&mut self, id: StreamId, outgoing: Outgoing) {
        self.give(machine::Input::Command(Order::Send(id, outgoing)));
    }

    fn give(&mut self, input: machine::Input<'_, Order>) {
        if self.ended {
            return;
        }
        if self.machine.handle(Now::START, input).is_err() {
            (self.died, self.ended) = (true, true);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.machine.poll() {
            match action {
                machine::Action::Transmit(bytes) => self.unread.extend_from_slice(&bytes),
                machine::Action::Event(()) => {}
                machine::Action::Close(_) => self.ended = true,
            }
        }
        assert_eq!(self.machine.deadline(), None);
    }
}

fn carry(from: &mut Side, to: &mut Side, most: usize) {
    if to.machine.accepts_bytes() {
        let length = from.unread.len().min(most).min(65536);
        let bytes: Vec<u8> = from.unread.drain(..length).collect();
        to.give(machine::Input::Bytes(&bytes));
    }
}

/// Remembers what was sent and what came, and checks the order of what comes.
#[derive(Default)]
struct Tally {
    /// What the client calls the streams that it has opened: it says so in their paths, as those that are refused have a number only there.
    numbers: BTreeMap<StreamId, u64>,
    sent: BTreeMap<StreamId, Vec<u8>>,
    complete: BTreeMap<StreamId, Part>,
    received: BTreeMap<StreamId, Vec<u8>>,
    over: BTreeMap<StreamId, Part>,
    actions: Actions<Action<()>>,
}

impl Tally {
    fn heard(&mut self, id: StreamId, incoming: Incoming) {
        if let Incoming::Request(head, _) = &incoming {
            let number = head.path.trim_start_matches('/').parse();
            self.numbers.extend(number.ok().map(|number| (id, number)));
        }
        let over = self.over.entry(id).or_insert(Part::More);
        match incoming {
            Incoming::Request(_, part) | Incoming::Response(_, part) => *over = part,
            Incoming::Body(bytes, part) => {
                assert_eq!(*over, Part::More, "something follows the end");
                assert!(part == Part::Last || !bytes.is_empty());
                self.received
                    .entry(id)
                    .or_default()
                    .extend_from_slice(&bytes);
                *over = part;
            }
            Incoming::Taken(bytes) => assert!(bytes > 0),
            Incoming::Failed(_) => *over = Part::Last,
        }
    }

    /// Remembers only what may be sent.
    fn send(&mut self, id: StreamId, outgoing: Outgoing) {
        match &outgoing {
            // A body follows a head, and not the end.
            Outgoing::Body(bytes, part) => {
                if let Some(complete @ Part::More) = self.complete.get_mut(&id) {
                    *complete = *part;
                    self.sent.entry(id).or_default().extend_from_slice(bytes);
                }
            }
            Outgoing::Request(_, part) => {
                self.complete.entry(id).or_insert(*part);
            }
            // A response follows its request.
            Outgoing::Response(_, part) => {
                if self.over.contains_key(&id) {
                    self.complete.entry(id).or_insert(*part);
                }
            }
            Outgoing::Credit(_) | Outgoing::Discard => {}
        }
        self.actions.push(Action::Stream(id, outgoing));
    }
}

impl Machine for Tally {
    type Input<'a> = Input<Order>;
    type Action = Action<()>;
    type Error = std::convert::Infallible;

    fn handle(&mut self, _: Now, input: Input<Order>) -> Result<(), Self::Error> {
        self.actions.begin();
        match input {
            Input::Stream(id, incoming) => self.heard(id, incoming),
            Input::Command(Order::Send(id, outgoing)) => self.send(id, outgoing),
            Input::Command(Order::Close) => self.actions.push(Action::Close(CloseReason::Finished)),
            Input::Eof => self.actions.push(Action::Close(CloseReason::PeerClosed)),
            Input::Timeout => {}
        }
        Ok(())
    }

    fn poll(&mut self) -> Option<Action<()>> {
        self.actions.next()
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl Exchange for Tally {
    type Command = Order;
    type Event = ();

    fn accepts_commands(&self) -> bool {
        true
    }
}
