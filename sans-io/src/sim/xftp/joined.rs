//! Two machines above HTTP/2, without HTTP/2.

use std::collections::{BTreeMap, VecDeque};

use crate::http2::{Action, Exchange, Failure, Incoming, Input, Outgoing, Part, StreamId};
use crate::machine::CloseReason;
use crate::time::{Instant, Now};

/// Two machines, of which the one's requests are the other's, as HTTP/2 would carry them.
///
/// Bytes of a body are taken when they are credited, so that each side waits for the other as with the smallest of windows. The connection can
/// [break](Self::break_after) at any byte.
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
    line: Line,
    streams: BTreeMap<u64, Stream>,
    on_the_way: VecDeque<(Side, u64, Incoming)>,
    now: Now,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stream {
    to_server: Direction,
    to_client: Direction,
}

#[derive(Debug, Clone, Copy, Default)]
struct Direction {
    wanted: Wanted,
    /// How many bytes of the body have arrived.
    arrived: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Wanted {
    #[default]
    Yes,
    /// What comes is thrown away.
    No,
}

/// What carries the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Whole,
    /// So many bytes more arrive.
    Breaking {
        at_server: usize,
        at_client: usize,
    },
    Broken(Break),
}

/// Where a connection has broken: what did not arrive any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Break {
    /// Who did not get it.
    pub at: Side,
    /// The number of its stream.
    pub stream: u64,
    /// How many bytes of the body had arrived before.
    pub arrived: usize,
}

/// One of the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that asks.
    Client,
    /// The one that answers.
    Server,
}

impl<C: Exchange, S: Exchange> Joined<C, S> {
    /// Joins two machines, and carries what they have to say.
    #[must_use]
    pub fn new(client: C, server: S) -> Self {
        Self::on(Line::Whole, client, server)
    }

    /// The same, over a connection that [breaks](Self::break_after): what they say first may not arrive.
    #[must_use]
    pub fn breaking(client: C, server: S, at_server: usize, at_client: usize) -> Self {
        let line = Line::Breaking {
            at_server,
            at_client,
        };
        Self::on(line, client, server)
    }

    fn on(line: Line, client: C, server: S) -> Self {
        let mut joined = Self {
            client,
            server,
            client_events: Vec::new(),
            server_events: Vec::new(),
            closed: None,
            line,
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

    /// Lets the connection break when this many bytes more have arrived at one of its sides. A head and the end of a body count as a byte each,
    /// so that it can break before and behind them.
    pub const fn break_after(&mut self, at_server: usize, at_client: usize) {
        if !matches!(self.line, Line::Broken(_)) {
            self.line = Line::Breaking {
                at_server,
                at_client,
            };
        }
    }

    /// Where the connection has broken.
    #[must_use]
    pub const fn broken(&self) -> Option<Break> {
        match self.line {
            Line::Broken(place) => Some(place),
            Line::Whole | Line::Breaking { .. } => None,
        }
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

    /// Lets time pass until then. Each deadline is told when it comes.
    pub fn wait_until(&mut self, now: Now) {
        while self.deadline().is_some_and(|next| next <= now.instant) {
            self.wait();
        }
        self.now = now;
    }

    /// Cuts the connection.
    pub fn cut(&mut self) {
        self.end();
        self.carry();
    }

    /// Nothing that is on its way arrives.
    fn end(&mut self) {
        self.streams.clear();
        self.on_the_way.clear();
        self.tell_client(Input::Eof);
        self.tell_server(Input::Eof);
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
        self.listen();
        while let Some((to, number, incoming)) = self.on_the_way.pop_front() {
            self.arrive(to, number, incoming);
            self.listen();
        }
    }

    /// Hears what both have to say.
    fn listen(&mut self) {
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
    }

    fn arrive(&mut self, to: Side, number: u64, incoming: Incoming) {
        let bytes = match &incoming {
            Incoming::Request(..) | Incoming::Response(..) => 1,
            Incoming::Body(bytes, Part::More) => bytes.len(),
            Incoming::Body(bytes, Part::Last) => bytes.len().saturating_add(1),
            Incoming::Taken(_) | Incoming::Failed(_) => 0,
        };
        let left = match (&mut self.line, to) {
            (Line::Whole, _) => None,
            (Line::Breaking { at_server, .. }, Side::Server) => Some(at_server),
            (Line::Breaking { at_client, .. }, Side::Client) => Some(at_client),
            (Line::Broken(_), _) => return,
        };
        match left {
            Some(left) if *left < bytes => {
                let left = *left;
                self.break_off(to, number, &incoming, left);
            }
            Some(left) => {
                *left = left.saturating_sub(bytes);
                self.hand_over(to, number, incoming);
            }
            None => self.hand_over(to, number, incoming),
        }
    }

    /// The last bytes that arrive.
    fn break_off(&mut self, at: Side, stream: u64, incoming: &Incoming, left: usize) {
        if let Incoming::Body(bytes, _) = incoming
            && left > 0
        {
            let last = bytes.slice(..left.min(bytes.len()));
            self.hand_over(at, stream, Incoming::Body(last, Part::More));
            self.listen();
        }
        let arrived = match (self.streams.get(&stream), at) {
            (None, _) => 0,
            (Some(of), Side::Server) => of.to_server.arrived,
            (Some(of), Side::Client) => of.to_client.arrived,
        };
        self.line = Line::Broken(Break {
            at,
            stream,
            arrived,
        });
        self.end();
    }

    fn hand_over(&mut self, to: Side, number: u64, incoming: Incoming) {
        if let (Incoming::Body(bytes, _), Some(stream)) = (&incoming, self.streams.get_mut(&number))
        {
            let direction = match to {
                Side::Server => &mut stream.to_server,
                Side::Client => &mut stream.to_client,
            };
            direction.arrived = direction.arrived.saturating_add(bytes.len());
        }
        match to {
            Side::Client => self.tell_client(Input::Stream(StreamId::ours(number), incoming)),
            Side::Server => self.tell_server(Input::Stream(StreamId::of_peer(number), incoming)),
        }
    }

    fn send(&mut self, from: Side, id: StreamId, outgoing: Outgoing) {
        let number = id.number();
        if matches!(self.line, Line::Broken(_)) {
            return;
        }
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
        let (to, incoming) = match (outgoing, there.wanted) {
            (Outgoing::Request(head, part), _) => (to, Incoming::Request(head, part)),
            (Outgoing::Response(head, part), _) => (to, Incoming::Response(head, part)),
            (Outgoing::Body(bytes, part), Wanted::Yes) => (to, Incoming::Body(bytes, part)),
            (Outgoing::Body(bytes, _), Wanted::No) => (from, Incoming::Taken(bytes.len())),
            (Outgoing::Credit(bytes), _) => (to, Incoming::Taken(bytes)),
            (Outgoing::Discard, _) => {
                back.wanted = Wanted::No;
                return;
            }
        };
        self.on_the_way.push_back((to, number, incoming));
    }
}
