//! Two machines above HTTP/2, without HTTP/2.

use std::collections::{BTreeMap, VecDeque};

use crate::http2::{Action, Exchange, Failure, Incoming, Input, Outgoing, StreamId};
use crate::machine::CloseReason;
use crate::time::{Instant, Now};

/// Two machines, of which the one's requests are the other's, as HTTP/2 would carry them.
///
/// Bytes of a body are taken when they are credited, so that each side waits for the other as with the smallest of windows.
#[derive(Debug, Clone)]
pub struct Joined<C: Exchange, S: Exchange> {
    /// The side that asks.
    pub client: C,
    /// The side that answers.
    pub server: S,
    /// What the owner of the client was told.
    pub client_events: Vec<C::Event>,
    /// What the owner of the server was told.
    pub server_events: Vec<S::Event>,
    /// Why a side has closed, or died.
    pub closed: Option<CloseReason>,
    streams: BTreeMap<u64, Stream>,
    on_the_way: VecDeque<(Side, u64, Incoming)>,
    now: Now,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    to_server: Direction,
    to_client: Direction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Direction {
    #[default]
    Wanted,
    /// What comes is thrown away.
    Discarded,
}

impl<C: Exchange, S: Exchange> Joined<C, S> {
    /// Joins two machines, and carries what they have to say.
    #[must_use]
    pub fn new(client: C, server: S) -> Self {
        let mut joined = Self {
            client,
            server,
            client_events: Vec::new(),
            server_events: Vec::new(),
            closed: None,
            streams: BTreeMap::new(),
            on_the_way: VecDeque::new(),
            now: Now::START,
        };
        joined.carry();
        joined
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Gives the client an input.
    pub fn give_client(&mut self, input: Input<C::Command>) {
        self.tell_client(input);
        self.carry();
    }

    /// Gives the server an input.
    pub fn give_server(&mut self, input: Input<S::Command>) {
        self.tell_server(input);
        self.carry();
    }

    /// When one of them wants a timeout.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let both = [self.client.deadline(), self.server.deadline()];
        both.into_iter().flatten().min()
    }

    /// Lets time pass until the next deadline, and tells it.
    pub fn wait(&mut self) {
        if let Some(deadline) = self.deadline() {
            self.now.instant = self.now.instant.max(deadline);
            self.give_client(Input::Timeout);
            self.give_server(Input::Timeout);
        }
    }

    /// Cuts the connection.
    pub fn cut(&mut self) {
        self.streams.clear();
        self.on_the_way.clear();
        self.give_client(Input::Eof);
        self.give_server(Input::Eof);
    }

    /// Resets a stream, as a peer that is not ours might.
    pub fn reset(&mut self, number: u64) {
        self.streams.remove(&number);
        let failed = Incoming::Failed(Failure::Reset);
        self.give_client(Input::Stream(StreamId::ours(number), failed.clone()));
        self.give_server(Input::Stream(StreamId::of_peer(number), failed));
    }

    fn tell_client(&mut self, input: Input<C::Command>) {
        if self.client.handle(self.now, input).is_err() {
            self.closed.get_or_insert(CloseReason::Truncated);
        }
    }

    fn tell_server(&mut self, input: Input<S::Command>) {
        if self.server.handle(self.now, input).is_err() {
            self.closed.get_or_insert(CloseReason::Truncated);
        }
    }

    /// Carries what both have to say, until they have nothing more to say.
    fn carry(&mut self) {
        loop {
            while let Some(action) = self.client.poll() {
                match action {
                    Action::Event(event) => self.client_events.push(event),
                    Action::Close(reason) => self.closed = Some(reason),
                    Action::Stream(id, outgoing) => self.send(Side::Client, id, outgoing),
                }
            }
            while let Some(action) = self.server.poll() {
                match action {
                    Action::Event(event) => self.server_events.push(event),
                    Action::Close(reason) => self.closed = Some(reason),
                    Action::Stream(id, outgoing) => self.send(Side::Server, id, outgoing),
                }
            }
            match self.on_the_way.pop_front() {
                None => return,
                Some((Side::Client, number, incoming)) => {
                    self.tell_client(Input::Stream(StreamId::ours(number), incoming));
                }
                Some((Side::Server, number, incoming)) => {
                    self.tell_server(Input::Stream(StreamId::of_peer(number), incoming));
                }
            }
        }
    }

    fn send(&mut self, from: Side, id: StreamId, outgoing: Outgoing) {
        let number = id.number();
        if let Outgoing::Request(..) = outgoing {
            self.streams.insert(number, Stream::default());
        }
        let Some(stream) = self.streams.get_mut(&number) else {
            return;
        };
        let (to, there, back) = match from {
            Side::Client => (Side::Server, stream.to_server, &mut stream.to_client),
            Side::Server => (Side::Client, stream.to_client, &mut stream.to_server),
        };
        let (to, incoming) = match (outgoing, there) {
            (Outgoing::Request(head, part), _) => (to, Incoming::Request(head, part)),
            (Outgoing::Response(head, part), _) => (to, Incoming::Response(head, part)),
            (Outgoing::Body(bytes, part), Direction::Wanted) => (to, Incoming::Body(bytes, part)),
            (Outgoing::Body(bytes, _), Direction::Discarded) => {
                (from, Incoming::Taken(bytes.len()))
            }
            (Outgoing::Credit(bytes), _) => (to, Incoming::Taken(bytes)),
            (Outgoing::Discard, _) => {
                *back = Direction::Discarded;
                return;
            }
        };
        self.on_the_way.push_back((to, number, incoming));
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}
