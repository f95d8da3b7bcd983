//! The connection: h2's frames below, an exchange above.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::{RecvStream, server};

use super::StreamId;
use super::message::{Action, Exchange, Failure, Incoming, Input, Outgoing, Part, Request};
use super::pipe::Pipe;
use super::ready::{Ready, Task};
use super::stream::{State, Stream};
use crate::machine::{self, CloseReason, Connection, Machine, Outbox};
use crate::time::{Instant, Latest, Now};

/// How much one connection may have on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many bytes of one body may come before they are credited.
    pub stream_window: u32,
    /// How many bytes of all bodies may come before they are credited.
    pub connection_window: u32,
    /// While more bytes than this are not credited, nothing is read.
    pub uncredited: usize,
    /// How many bytes of one stream h2 takes before the peer has room for them.
    pub send_buffer: usize,
    /// How large the frames of the peer may be: few large ones cost less than many small ones.
    pub max_frame: u32,
    /// How many streams the peer may have open.
    pub max_streams: u32,
    /// How large the headers of one request or response may be.
    pub max_headers: u32,
    /// How often the peer may reset a stream.
    pub max_resets: u32,
    /// How many bytes of one body are thrown away before the connection is given up.
    pub max_discarded: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stream_window: 1 << 20,
            connection_window: 8 << 20,
            uncredited: 2 << 20,
            send_buffer: 64 * 1024,
            max_frame: 64 * 1024,
            max_streams: 128,
            max_headers: 16 * 1024,
            max_resets: 256,
            max_discarded: 16 << 20,
        }
    }
}

impl Options {
    /// Those of a client: what comes is bounded by the windows of what it has asked for, and is always read.
    #[must_use]
    pub fn client() -> Self {
        let usual = Self::default();
        Self {
            uncredited: usize::try_from(usual.connection_window).unwrap_or(usize::MAX),
            ..usual
        }
    }

    /// How many bodies may be left unread, without a credit, while others still come: a window is left for those.
    #[must_use]
    pub fn unread_bodies(&self) -> usize {
        let window = usize::try_from(self.connection_window).unwrap_or(usize::MAX);
        let all = window.min(self.uncredited);
        let one = usize::try_from(self.stream_window).unwrap_or(usize::MAX);
        all.checked_div(one).unwrap_or(0).saturating_sub(1).max(1)
    }
}

/// Why a connection died.
#[derive(Debug, thiserror::Error)]
pub enum Error<E> {
    /// The peer does not speak HTTP/2, or not well.
    #[error("HTTP/2: {0}")]
    Protocol(String),
    /// The peer resets one stream after the other.
    #[error("the peer resets too many streams")]
    Resets,
    /// The peer sends more and more that nobody wants.
    #[error("the peer sends too much that is not wanted")]
    Discarded,
    /// The machine above died.
    #[error(transparent)]
    Exchange(E),
}

/// HTTP/2 around the machine `X`. See the [module](super) for its states.
pub struct Http2<X: Exchange> {
    options: Options,
    side: Side,
    pipe: Pipe,
    ready: Ready,
    streams: BTreeMap<StreamId, Stream>,
    /// Requests that wait until the peer accepts one more stream.
    unopened: VecDeque<(StreamId, Request, Part)>,
    /// Wakes the stream that was opened last: h2 keeps one waker for it and for those that wait behind it.
    opener: Waker,
    accepted: u64,
    resets: u32,
    /// How many bytes the exchange has got and not credited.
    uncredited: usize,
    exchange: X,
    state: Open,
    latest: Latest,
    outbox: Outbox<X::Event>,
}

type Starting<T> = Pin<Box<dyn Future<Output = Result<T, h2::Error>> + Send>>;
type ClientConnection = Box<client::Connection<Pipe, Bytes>>;

enum Side {
    ClientStarting(Starting<(SendRequest<Bytes>, ClientConnection)>),
    Client(SendRequest<Bytes>, ClientConnection),
    ServerStarting(Starting<server::Connection<Pipe, Bytes>>),
    Server(Box<server::Connection<Pipe, Bytes>>),
    Closed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Yes,
    /// The exchange was told that the connection has ended.
    Ended,
    /// The owner was told.
    Closed,
}

impl<X: Exchange> Http2<X> {
    /// The side that asks. What it says first waits in [`poll`](Machine::poll).
    #[must_use]
    pub fn client(options: Options, exchange: X, now: Now) -> Self {
        let pipe = Pipe::default();
        let mut builder = client::Builder::new();
        builder
            .initial_window_size(options.stream_window)
            .initial_connection_window_size(options.connection_window)
            .max_frame_size(options.max_frame)
            .max_header_list_size(options.max_headers)
            .max_send_buffer_size(options.send_buffer)
            .enable_push(false);
        let starting = builder.handshake(pipe.clone());
        let starting = async { starting.await.map(|(send, it)| (send, Box::new(it))) };
        let starting = Side::ClientStarting(Box::pin(starting));
        Self::new(options, starting, pipe, exchange, now)
    }

    /// The side that answers.
    #[must_use]
    pub fn server(options: Options, exchange: X, now: Now) -> Self {
        let pipe = Pipe::default();
        let mut builder = server::Builder::new();
        builder
            .initial_window_size(options.stream_window)
            .initial_connection_window_size(options.connection_window)
            .max_frame_size(options.max_frame)
            .max_header_list_size(options.max_headers)
            .max_concurrent_streams(options.max_streams)
            .max_send_buffer_size(options.send_buffer);
        let starting = builder.handshake(pipe.clone());
        let starting = Side::ServerStarting(Box::pin(starting));
        Self::new(options, starting, pipe, exchange, now)
    }

    fn new(options: Options, side: Side, pipe: Pipe, exchange: X, now: Now) -> Self {
        let ready = Ready::default();
        let opener = ready.waker(Task::Opener);
        let mut http2 = Self {
            options,
            side,
            pipe,
            ready,
            streams: BTreeMap::new(),
            unopened: VecDeque::new(),
            opener,
            accepted: 0,
            resets: 0,
            uncredited: 0,
            exchange,
            state: Open::Yes,
            latest: Latest::new(now),
            outbox: Outbox::default(),
        };
        http2.ready.add(Task::Connection);
        // A start that fails fails again at the first input, which can say so.
        let started = http2.run(now);
        debug_assert!(started.is_ok());
        http2.flush();
        http2
    }

    /// The machine above.
    #[must_use]
    pub const fn exchange(&self) -> &X {
        &self.exchange
    }

    /// How many streams are not over.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    fn take(
        &mut self,
        now: Now,
        input: machine::Input<'_, X::Command>,
    ) -> Result<(), Error<X::Error>> {
        match input {
            machine::Input::Bytes(bytes) => {
                self.pipe.receive(bytes);
                self.ready.add(Task::Connection);
            }
            machine::Input::Eof => {
                self.pipe.end();
                self.ready.add(Task::Connection);
            }
            machine::Input::Timeout => self.tell(now, Input::Timeout)?,
            machine::Input::Command(command) => self.tell(now, Input::Command(command))?,
        }
        self.run(now)
    }

    /// Polls what is ready until nothing is.
    fn run(&mut self, now: Now) -> Result<(), Error<X::Error>> {
        self.obey(now)?;
        while self.state == Open::Yes
            && let Some(task) = self.ready.next()
        {
            match task {
                Task::Connection => self.poll_connection(now)?,
                Task::Opener => self.poll_opener(now)?,
                Task::Stream(id) => self.poll_stream(now, id)?,
            }
        }
        Ok(())
    }

    fn poll_connection(&mut self, now: Now) -> Result<(), Error<X::Error>> {
        let waker = self.ready.waker(Task::Connection);
        let cx = &mut Context::from_waker(&waker);
        let ended = match &mut self.side {
            Side::ClientStarting(starting) => match starting.as_mut().poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok((send, connection))) => {
                    self.side = Side::Client(send, connection);
                    self.ready.add(Task::Connection);
                    self.ready.add(Task::Opener);
                    return Ok(());
                }
                Poll::Ready(Err(error)) => Err(error),
            },
            Side::ServerStarting(starting) => match starting.as_mut().poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(connection)) => {
                    self.side = Side::Server(Box::new(connection));
                    self.ready.add(Task::Connection);
                    return Ok(());
                }
                Poll::Ready(Err(error)) => Err(error),
            },
            Side::Client(_, connection) => match Pin::new(connection.as_mut()).poll(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(ended) => ended,
            },
            Side::Server(connection) => match connection.poll_accept(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok((request, respond)))) => {
                    self.ready.add(Task::Connection);
                    return self.accept(now, request, respond);
                }
                Poll::Ready(Some(Err(error))) => Err(error),
                Poll::Ready(None) => Ok(()),
            },
            Side::Closed => return Ok(()),
        };
        self.ended(now, ended)
    }

    fn ended(&mut self, now: Now, ended: Result<(), h2::Error>) -> Result<(), Error<X::Error>> {
        self.side = Side::Closed;
        self.streams.clear();
        self.unopened.clear();
        self.uncredited = 0;
        match ended {
            Err(error) if !error.is_io() && !is_goodbye(&error) => {
                Err(Error::Protocol(error.to_string()))
            }
            Err(_) | Ok(()) => {
                self.state = Open::Ended;
                self.tell(now, Input::Eof)?;
                self.obey(now)
            }
        }
    }

    fn accept(
        &mut self,
        now: Now,
        request: http::Request<RecvStream>,
        respond: server::SendResponse<Bytes>,
    ) -> Result<(), Error<X::Error>> {
        let id = StreamId::of_peer(self.accepted);
        self.accepted = self.accepted.saturating_add(1);
        let (head, body) = request.into_parts();
        let part = match body.is_end_stream() {
            true => Part::Last,
            false => Part::More,
        };
        let waker = self.ready.waker(Task::Stream(id));
        let stream = Stream::accepted(body, respond, part, waker);
        self.streams.insert(id, stream);
        self.ready.add(Task::Stream(id));
        let path = head.uri.path_and_query();
        let request = Request {
            method: head.method,
            authority: head
                .uri
                .authority()
                .map(ToString::to_string)
                .unwrap_or_default(),
            path: path.map_or_else(|| "/".to_owned(), ToString::to_string),
            headers: head.headers,
        };
        self.tell(now, Input::Stream(id, Incoming::Request(request, part)))?;
        self.obey(now)
    }

    /// Sends the requests for which the peer has room.
    fn poll_opener(&mut self, now: Now) -> Result<(), Error<X::Error>> {
        while !self.unopened.is_empty() {
            let Side::Client(send, _) = &mut self.side else {
                return Ok(());
            };
            let cx = &mut Context::from_waker(&self.opener);
            let accepts = match send.poll_ready(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(accepts) => accepts.is_ok(),
            };
            let Some((id, request, part)) = self.unopened.pop_front() else {
                return Ok(());
            };
            let opened = match accepts {
                false => Err(Failure::Refused),
                true => open(send, request, part),
            };
            match (opened, self.streams.get_mut(&id)) {
                (Ok((response, body)), Some(stream)) => {
                    stream.opened(response, body, part);
                    self.opener = stream.waker.clone();
                    self.ready.add(Task::Stream(id));
                    self.ready.add(Task::Connection);
                }
                (Ok(_), None) => {}
                (Err(failure), _) => self.fail(now, id, failure)?,
            }
        }
        Ok(())
    }

    fn poll_stream(&mut self, now: Now, id: StreamId) -> Result<(), Error<X::Error>> {
        if !self.unopened.is_empty() {
            self.ready.add(Task::Opener);
        }
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        let before = stream.uncredited();
        let mut told = Vec::new();
        let state = stream
            .poll(self.options.max_discarded, &mut |incoming| {
                told.push(incoming)
            })
            .map_err(|_| Error::Discarded)?;
        self.uncredited = self
            .uncredited
            .saturating_sub(before)
            .saturating_add(stream.uncredited());
        if state == State::Done {
            self.forget(id);
        }
        // Frames for what was sent and credited are to be made.
        self.ready.add(Task::Connection);
        for incoming in told {
            if matches!(incoming, Incoming::Failed(Failure::Reset)) {
                self.resets = self.resets.saturating_add(1);
                if self.resets > self.options.max_resets {
                    return Err(Error::Resets);
                }
            }
            self.tell(now, Input::Stream(id, incoming))?;
            self.obey(now)?;
        }
        Ok(())
    }

    fn forget(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.remove(&id) {
            self.uncredited = self.uncredited.saturating_sub(stream.uncredited());
        }
        self.ready.remove(Task::Stream(id));
    }

    fn fail(&mut self, now: Now, id: StreamId, failure: Failure) -> Result<(), Error<X::Error>> {
        self.forget(id);
        self.tell(now, Input::Stream(id, Incoming::Failed(failure)))?;
        self.obey(now)
    }

    fn tell(&mut self, now: Now, input: Input<X::Command>) -> Result<(), Error<X::Error>> {
        self.exchange.handle(now, input).map_err(Error::Exchange)
    }

    /// Does what the exchange wants to have done.
    fn obey(&mut self, now: Now) -> Result<(), Error<X::Error>> {
        while let Some(action) = self.exchange.poll() {
            match action {
                Action::Event(event) => self.outbox.event(event),
                Action::Close(reason) => self.close(reason),
                Action::Stream(..) if self.state != Open::Yes => {}
                Action::Stream(id, outgoing) => {
                    if let Err(failure) = self.send(id, outgoing) {
                        self.fail(now, id, failure)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn send(&mut self, id: StreamId, outgoing: Outgoing) -> Result<(), Failure> {
        if let Outgoing::Request(request, part) = outgoing {
            return self.request(id, request, part);
        }
        // One that has failed meanwhile is gone.
        let Some(stream) = self.streams.get_mut(&id) else {
            return Ok(());
        };
        match outgoing {
            Outgoing::Request(..) => {}
            Outgoing::Response(response, part) => stream.respond(response, part)?,
            Outgoing::Body(bytes, part) => stream.send(bytes, part)?,
            Outgoing::Credit(bytes) => {
                let credited = stream.credit(bytes);
                self.uncredited = self.uncredited.saturating_sub(credited);
            }
            Outgoing::Discard => {
                let credited = stream.discard();
                self.uncredited = self.uncredited.saturating_sub(credited);
            }
        }
        self.ready.add(Task::Stream(id));
        Ok(())
    }

    fn request(&mut self, id: StreamId, request: Request, part: Part) -> Result<(), Failure> {
        let is_client = matches!(self.side, Side::Client(..) | Side::ClientStarting(_));
        if !is_client || self.streams.contains_key(&id) {
            return Err(Failure::Invalid);
        }
        let waker = self.ready.waker(Task::Stream(id));
        self.streams.insert(id, Stream::unopened(waker));
        self.unopened.push_back((id, request, part));
        self.ready.add(Task::Opener);
        Ok(())
    }

    /// Says goodbye and what is left to be said, and closes.
    fn close(&mut self, reason: CloseReason) {
        if self.state == Open::Closed {
            return;
        }
        let waker = self.ready.waker(Task::Connection);
        let cx = &mut Context::from_waker(&waker);
        if let Side::Server(connection) = &mut self.side {
            connection.abrupt_shutdown(h2::Reason::NO_ERROR);
            // What is said last waits in the pipe, whatever this returns.
            while let Poll::Ready(Some(Ok(_))) = connection.poll_accept(cx) {}
        }
        self.state = Open::Closed;
        self.side = Side::Closed;
        self.streams.clear();
        self.outbox.transmit(self.pipe.sent());
        self.outbox.close(reason);
    }

    fn flush(&mut self) {
        self.outbox.transmit(self.pipe.sent());
    }
}

type Opened = (client::ResponseFuture, h2::SendStream<Bytes>);

fn open(send: &mut SendRequest<Bytes>, request: Request, part: Part) -> Result<Opened, Failure> {
    let uri = http::Uri::builder()
        .scheme("https")
        .authority(request.authority)
        .path_and_query(request.path)
        .build()
        .map_err(|_| Failure::Invalid)?;
    let mut head = http::Request::new(());
    *head.method_mut() = request.method;
    *head.uri_mut() = uri;
    *head.headers_mut() = request.headers;
    send.send_request(head, part == Part::Last)
        .map_err(|_| Failure::Invalid)
}

/// The peer leaves in an orderly way.
fn is_goodbye(error: &h2::Error) -> bool {
    error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR)
}

impl<X: Exchange> Machine for Http2<X> {
    type Input<'a> = machine::Input<'a, X::Command>;
    type Action = machine::Action<X::Event>;
    type Error = Error<X::Error>;

    fn handle(
        &mut self,
        now: Now,
        input: machine::Input<'_, X::Command>,
    ) -> Result<(), Error<X::Error>> {
        self.outbox.begin();
        let now = self.latest.at(now);
        if self.state == Open::Closed {
            return Ok(());
        }
        let result = self.take(now, input);
        if result.is_err() {
            self.state = Open::Closed;
        }
        self.flush();
        result
    }

    fn poll(&mut self) -> Option<machine::Action<X::Event>> {
        self.outbox.next()
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            Open::Closed => None,
            Open::Yes | Open::Ended => self.exchange.deadline(),
        }
    }
}

impl<X: Exchange> Connection for Http2<X> {
    type Command = X::Command;
    type Event = X::Event;

    fn accepts_commands(&self) -> bool {
        self.state == Open::Yes && self.exchange.accepts_commands()
    }

    fn accepts_bytes(&self) -> bool {
        self.uncredited <= self.options.uncredited
    }
}

impl<X: Exchange + fmt::Debug> fmt::Debug for Http2<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2")
            .field("streams", &self.streams.len())
            .field("uncredited", &self.uncredited)
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
