use std::collections::BTreeMap;

use bytes::{Buf as _, Bytes};
use http::{Method, StatusCode};
use proptest::prelude::*;

use super::{
    Action, Error, Exchange, Failure, Http2, Incoming, Input, Options, Outgoing, Part, Request,
    Response, StreamId,
};
use crate::machine::{self, Actions, CloseReason, Connection as _, Machine};
use crate::time::{Instant, Now};

const HEADERS: u8 = 1;
const DATA: u8 = 0;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

#[test]
fn bodies_of_any_size_arrive_whole_both_ways() {
    for size in [0, 1, 16384, 65535, 65536, 3 << 20] {
        let mut pair = Pair::new(Options::default());
        let body = Bytes::from(vec![7; size]);
        pair.ask(0, body.clone());
        pair.run();
        assert_eq!(pair.server.bodies(), vec![body.clone()]);
        pair.answer(0, body.clone());
        pair.run();
        assert_eq!(pair.client.bodies(), vec![body]);
        assert_eq!(pair.client.machine.streams(), 0);
        assert_eq!(pair.server.machine.streams(), 0);
    }
}

#[test]
fn a_transfer_takes_few_control_frames_and_no_empty_ones() {
    let mut pair = Pair::new(Options::default());
    pair.ask(0, Bytes::from(vec![7; 8 << 20]));
    pair.run();
    pair.answer(0, Bytes::from(vec![7; 8 << 20]));
    pair.run();
    for side in [&pair.client, &pair.server] {
        assert_eq!(side.frames(PING) + side.frames(RST_STREAM), 0);
        assert!(side.frames(SETTINGS) <= 2);
        assert!(
            side.frames(WINDOW_UPDATE) <= 64,
            "{}",
            side.frames(WINDOW_UPDATE)
        );
        assert_eq!(side.empty_data_before_the_last, 0);
    }
}

#[test]
fn what_is_not_credited_stops_reading_until_it_is() {
    let options = Options {
        uncredited: 64 * 1024,
        ..Options::default()
    };
    let mut pair = Pair::new(options);
    pair.server = Side::new(Http2::server(options, keeper(), Now::START));
    pair.ask(0, Bytes::from(vec![7; 2 << 20]));
    pair.run();
    assert!(!pair.server.machine.accepts_bytes());
    let arrived = pair.server.machine.body_len(0);
    assert!(arrived > 64 * 1024 && arrived <= 1 << 20, "{arrived}");
    while pair.server.machine.body_len(0) < 2 << 20 {
        let before = pair.server.machine.body_len(0);
        pair.server
            .command(StreamId::of_peer(0), Outgoing::Credit(usize::MAX));
        pair.run();
        assert!(pair.server.machine.body_len(0) > before);
    }
}

#[test]
fn a_sender_has_no_more_on_the_way_than_it_was_told_is_taken() {
    let options = Options::default();
    let mut pair = Pair::new(options);
    pair.server = Side::new(Http2::server(options, keeper(), Now::START));
    pair.ask(0, Bytes::from(vec![7; 4 << 20]));
    pair.run();
    let taken = pair.client.machine.exchange().taken;
    assert_eq!(taken, 1 << 20, "the window of the stream");
}

#[test]
fn an_answer_before_the_end_of_the_body_resets_nothing() {
    let mut pair = Pair::new(Options::default());
    let id = pair.ask_part(0, Bytes::from(vec![7; 100_000]), Part::More);
    pair.run();
    let at_server = StreamId::of_peer(0);
    pair.server.command(at_server, Outgoing::Discard);
    pair.answer(0, Bytes::from_static(b"no"));
    pair.run();
    assert_eq!(pair.client.bodies(), vec![Bytes::from_static(b"no")]);
    pair.client.command(
        id,
        Outgoing::Body(Bytes::from(vec![7; 3 << 20]), Part::Last),
    );
    pair.run();
    assert_eq!(
        pair.server.frames(RST_STREAM) + pair.client.frames(RST_STREAM),
        0
    );
    assert_eq!(
        pair.server.machine.streams() + pair.client.machine.streams(),
        0
    );
    pair.ask(1, Bytes::from_static(b"next"));
    pair.run();
    assert_eq!(pair.server.machine.body_len(1), 4);
}

#[test]
fn a_response_that_nobody_wants_is_read_to_its_end() {
    let mut pair = Pair::new(Options::default());
    let id = pair.ask(0, Bytes::new());
    pair.run();
    pair.client.command(id, Outgoing::Discard);
    pair.answer(0, Bytes::from(vec![7; 3 << 20]));
    pair.run();
    assert_eq!(pair.client.machine.streams(), 0);
    assert_eq!(pair.client.frames(RST_STREAM), 0);
    assert_eq!(pair.client.bodies(), Vec::<Bytes>::new());
}

#[test]
fn what_is_thrown_away_has_a_limit() {
    let options = Options {
        max_discarded: 1 << 20,
        ..Options::default()
    };
    let mut pair = Pair::new(options);
    pair.ask_part(0, Bytes::from(vec![7; 100_000]), Part::More);
    pair.run();
    pair.server.command(StreamId::of_peer(0), Outgoing::Discard);
    let more = Outgoing::Body(Bytes::from(vec![7; 2 << 20]), Part::More);
    pair.client.command(StreamId::ours(0), more);
    pair.run();
    assert!(matches!(pair.server.died, Some(Error::Discarded)));
}

#[test]
fn requests_beyond_the_limit_wait_for_a_stream() {
    let options = Options {
        max_streams: 4,
        ..Options::default()
    };
    let mut pair = Pair::new(options);
    pair.run();
    for number in 0..20 {
        pair.ask(number, Bytes::from_static(b"x"));
    }
    pair.run();
    assert_eq!(pair.server.machine.streams(), 4);
    for number in 0..20 {
        pair.answer(number, Bytes::from_static(b"y"));
        pair.run();
    }
    assert_eq!(pair.client.bodies().len(), 20);
    assert_eq!(pair.server.frames(RST_STREAM), 0);
}

#[test]
fn a_connection_that_ends_tells_the_exchange_and_closes() {
    let mut pair = Pair::new(Options::default());
    pair.ask_part(0, Bytes::from_static(b"half"), Part::More);
    pair.run();
    pair.server.give(machine::Input::Eof);
    assert_eq!(pair.server.closed, Some(CloseReason::PeerClosed));
    assert!(!pair.server.machine.accepts_commands());
    pair.server.give(machine::Input::Bytes(b"whatever"));
    assert!(pair.server.died.is_none());
}

#[test]
fn a_server_that_closes_says_goodbye() {
    let mut pair = Pair::new(Options::default());
    pair.run();
    pair.server.give(machine::Input::Command(Order::Close));
    assert_eq!(pair.server.frames(GOAWAY), 1);
    pair.run();
    pair.client.give(machine::Input::Eof);
    assert_eq!(pair.client.closed, Some(CloseReason::PeerClosed));
}

#[test]
fn what_is_no_http2_kills_the_connection() {
    let mut server = Side::new(Http2::server(
        Options::default(),
        Recorder::default(),
        Now::START,
    ));
    server.give(machine::Input::Bytes(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"));
    assert!(matches!(server.died, Some(Error::Protocol(_))));
}

#[test]
fn a_peer_that_resets_one_stream_after_the_other_is_cut_off() {
    let options = Options {
        max_resets: 10,
        ..Options::default()
    };
    let mut server = Side::new(Http2::server(options, Recorder::default(), Now::START));
    server.give(machine::Input::Bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    server.give(machine::Input::Bytes(&frame(SETTINGS, 0, 0, &[])));
    for stream in (1..100).step_by(2) {
        // POST / https, without the end of headers being the end of the stream.
        server.give(machine::Input::Bytes(&frame(
            HEADERS,
            4,
            stream,
            &[0x83, 0x84, 0x87],
        )));
        server.give(machine::Input::Bytes(&frame(
            RST_STREAM,
            0,
            stream,
            &[0, 0, 0, 8],
        )));
    }
    assert!(server.died.is_some());
    assert!(server.machine.exchange().failed.len() <= 10);
}

#[test]
fn a_reset_stream_is_told_once_and_others_go_on() {
    let mut server = Side::new(Http2::server(
        Options::default(),
        Recorder::default(),
        Now::START,
    ));
    server.give(machine::Input::Bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    server.give(machine::Input::Bytes(&frame(SETTINGS, 0, 0, &[])));
    for stream in [1, 3] {
        server.give(machine::Input::Bytes(&frame(
            HEADERS,
            4,
            stream,
            &[0x83, 0x84, 0x87],
        )));
    }
    server.give(machine::Input::Bytes(&frame(
        RST_STREAM,
        0,
        1,
        &[0, 0, 0, 8],
    )));
    server.give(machine::Input::Bytes(&frame(DATA, 1, 3, b"hello")));
    assert_eq!(
        server.machine.exchange().failed,
        vec![(StreamId::of_peer(0), Failure::Reset)]
    );
    assert_eq!(server.machine.body_len(1), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_cut_of_the_stream_gives_the_same_bodies(size in 0..200_000_usize, cut in 1..40_000_usize) {
        let mut pair = Pair::new(Options::default());
        pair.cut = cut;
        let body = Bytes::from((0..size).map(|i| (i % 251) as u8).collect::<Vec<_>>());
        pair.ask(0, body.clone());
        pair.run();
        prop_assert_eq!(pair.server.bodies(), vec![body.clone()]);
        pair.answer(0, body.clone());
        pair.run();
        prop_assert_eq!(pair.client.bodies(), vec![body]);
    }

    #[test]
    fn a_connection_that_is_cut_at_any_byte_ends_once_and_gives_no_body_for_a_whole_one(
        size in 0..100_000_usize,
        after in 0..110_000_usize,
    ) {
        let mut pair = Pair::new(Options::default());
        let body = Bytes::from((0..size).map(|i| (i % 251) as u8).collect::<Vec<_>>());
        pair.ask(0, body.clone());
        let mut left = after;
        while left > 0 {
            let length = left.min(1 + after % 16_384);
            // The server's own words always arrive.
            let moved = carry(&mut pair.client, &mut pair.server, length)
                || carry(&mut pair.server, &mut pair.client, usize::MAX);
            if !moved {
                break;
            }
            left = left.saturating_sub(length);
        }
        pair.server.give(machine::Input::Eof);
        prop_assert!(pair.server.died.is_none(), "{:?}", pair.server.died);
        prop_assert!(pair.server.closed.is_some());
        prop_assert_eq!(pair.server.machine.streams(), 0);
        let exchange = pair.server.machine.exchange();
        let came = exchange.bodies.values().next().cloned().unwrap_or_default();
        prop_assert!(body.starts_with(&came));
        prop_assert!(exchange.ended.is_empty() || came.len() == size);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), preface: bool) {
        let mut server = Side::new(Http2::server(Options::default(), Recorder::default(), Now::START));
        if preface {
            server.give(machine::Input::Bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
        }
        server.give(machine::Input::Bytes(&bytes));
        let mut client = Side::new(Http2::client(Options::default(), Recorder::default(), Now::START));
        client.give(machine::Input::Bytes(&bytes));
        client.give(machine::Input::Eof);
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let stream = stream.to_be_bytes();
    [&length[1..], &[kind, flags], &stream, payload].concat()
}

/// Records what comes, and sends what it is told to send.
#[derive(Default, Debug)]
struct Recorder {
    credits: Credits,
    heads: usize,
    bodies: BTreeMap<StreamId, Vec<u8>>,
    ended: Vec<StreamId>,
    failed: Vec<(StreamId, Failure)>,
    taken: usize,
    actions: Actions<Action<()>>,
}

#[derive(Default, Debug, PartialEq)]
enum Credits {
    #[default]
    Given,
    Kept,
}

/// One that never gives credit by itself.
fn keeper() -> Recorder {
    Recorder {
        credits: Credits::Kept,
        ..Recorder::default()
    }
}

enum Order {
    Send(StreamId, Outgoing),
    Close,
}

impl Machine for Recorder {
    type Input<'a> = Input<Order>;
    type Action = Action<()>;
    type Error = std::convert::Infallible;

    fn handle(&mut self, _: Now, input: Self::Input<'_>) -> Result<(), Self::Error> {
        self.actions.begin();
        match input {
            Input::Stream(id, incoming) => match incoming {
                Incoming::Request(_, part) | Incoming::Response(_, part) => {
                    self.heads += 1;
                    if part == Part::Last {
                        self.ended.push(id);
                    }
                }
                Incoming::Body(bytes, part) => {
                    assert!(part == Part::Last || !bytes.is_empty());
                    self.bodies.entry(id).or_default().extend_from_slice(&bytes);
                    if self.credits == Credits::Given {
                        let credit = Outgoing::Credit(bytes.len());
                        self.actions.push(Action::Stream(id, credit));
                    }
                    if part == Part::Last {
                        self.ended.push(id);
                    }
                }
                Incoming::Taken(bytes) => self.taken += bytes,
                Incoming::Failed(failure) => self.failed.push((id, failure)),
            },
            Input::Command(Order::Send(id, outgoing)) => {
                self.actions.push(Action::Stream(id, outgoing));
            }
            Input::Command(Order::Close) => {
                self.actions.push(Action::Close(CloseReason::Finished));
            }
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

impl Exchange for Recorder {
    type Command = Order;
    type Event = ();

    fn accepts_commands(&self) -> bool {
        true
    }
}

impl Http2<Recorder> {
    fn body_len(&self, number: u64) -> usize {
        let id = StreamId::of_peer(number);
        self.exchange().bodies.get(&id).map_or(0, Vec::len)
    }
}

/// One side, what it has sent, and how it ended.
struct Side {
    machine: Http2<Recorder>,
    sent: Vec<u8>,
    unread: Vec<u8>,
    frames: BTreeMap<u8, usize>,
    empty_data_before_the_last: usize,
    closed: Option<CloseReason>,
    died: Option<Error<std::convert::Infallible>>,
}

impl Side {
    fn new(machine: Http2<Recorder>) -> Self {
        let mut side = Self {
            machine,
            sent: Vec::new(),
            unread: Vec::new(),
            frames: BTreeMap::new(),
            empty_data_before_the_last: 0,
            closed: None,
            died: None,
        };
        side.drain();
        side
    }

    fn give(&mut self, input: machine::Input<'_, Order>) {
        if self.died.is_none() {
            self.died = self.machine.handle(Now::START, input).err();
            self.drain();
        }
    }

    fn command(&mut self, id: StreamId, outgoing: Outgoing) {
        self.give(machine::Input::Command(Order::Send(id, outgoing)));
    }

    fn drain(&mut self) {
        while let Some(action) = self.machine.poll() {
            match action {
                machine::Action::Transmit(bytes) => {
                    self.sent.extend_from_slice(&bytes);
                    self.unread.extend_from_slice(&bytes);
                    self.count();
                }
                machine::Action::Event(()) => {}
                machine::Action::Close(reason) => self.closed = Some(reason),
            }
        }
    }

    fn count(&mut self) {
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        if self.unread.starts_with(preface) {
            self.unread.drain(..preface.len());
        }
        let mut frames = self.unread.as_slice();
        while let [a, b, c, kind, flags, rest @ ..] = frames {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            if rest.len() < 4 + length {
                break;
            }
            *self.frames.entry(*kind).or_default() += 1;
            if (*kind, length, flags & 1) == (DATA, 0, 0) {
                self.empty_data_before_the_last += 1;
            }
            frames.advance(9 + length);
        }
        self.unread = frames.to_vec();
    }

    fn frames(&self, kind: u8) -> usize {
        self.frames.get(&kind).copied().unwrap_or_default()
    }

    /// The complete bodies, in the order of their streams.
    fn bodies(&self) -> Vec<Bytes> {
        let exchange = self.machine.exchange();
        let complete = |id: &StreamId| exchange.ended.contains(id);
        let body = |id| exchange.bodies.get(id).cloned().unwrap_or_default().into();
        let mut ended = exchange.ended.clone();
        ended.sort();
        ended.iter().filter(|id| complete(id)).map(body).collect()
    }
}

struct Pair {
    client: Side,
    server: Side,
    cut: usize,
}

impl Pair {
    fn new(options: Options) -> Self {
        Self {
            client: Side::new(Http2::client(options, Recorder::default(), Now::START)),
            server: Side::new(Http2::server(options, Recorder::default(), Now::START)),
            cut: usize::MAX,
        }
    }

    fn ask(&mut self, number: u64, body: Bytes) -> StreamId {
        self.ask_part(number, body, Part::Last)
    }

    fn ask_part(&mut self, number: u64, body: Bytes, part: Part) -> StreamId {
        let id = StreamId::ours(number);
        let head = Request::new(Method::POST, "router.example", "/");
        self.client.command(id, Outgoing::Request(head, Part::More));
        self.client.command(id, Outgoing::Body(body, part));
        id
    }

    fn answer(&mut self, number: u64, body: Bytes) {
        let id = StreamId::of_peer(number);
        let head = Response::of(StatusCode::OK).with("x-is", "an answer");
        self.server
            .command(id, Outgoing::Response(head, Part::More));
        self.server.command(id, Outgoing::Body(body, Part::Last));
    }

    fn run(&mut self) {
        while carry(&mut self.client, &mut self.server, self.cut)
            || carry(&mut self.server, &mut self.client, self.cut)
        {}
    }
}

/// Whether anything moved.
fn carry(from: &mut Side, to: &mut Side, cut: usize) -> bool {
    if from.sent.is_empty() || !to.machine.accepts_bytes() || to.died.is_some() {
        return false;
    }
    let length = from.sent.len().min(cut).min(16384);
    let bytes: Vec<u8> = from.sent.drain(..length).collect();
    to.give(machine::Input::Bytes(&bytes));
    true
}
