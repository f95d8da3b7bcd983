//! The words between HTTP/2 and the machine above it.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::machine::{CloseReason, Machine};

/// A request with its response.
///
/// A client names its streams itself, with numbers that it uses once; a server is told of those that its peer has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(Opener, u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Opener {
    Us,
    Peer,
}

impl StreamId {
    /// The stream of a request of ours.
    #[must_use]
    pub const fn ours(number: u64) -> Self {
        Self(Opener::Us, number)
    }

    /// The stream of a request of the peer.
    #[must_use]
    pub const fn of_peer(number: u64) -> Self {
        Self(Opener::Peer, number)
    }

    /// Whether the peer has opened it.
    #[must_use]
    pub const fn is_of_peer(self) -> bool {
        matches!(self.0, Opener::Peer)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.1
    }
}

/// Whether something follows on this side of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// More follows.
    More,
    /// Nothing follows.
    Last,
}

/// The head of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// The host that is asked.
    pub authority: String,
    /// With what: path and query.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
}

impl Request {
    /// A request without headers.
    #[must_use]
    pub fn new(method: Method, authority: &str, path: &str) -> Self {
        Self {
            method,
            authority: authority.to_owned(),
            path: path.to_owned(),
            headers: HeaderMap::new(),
        }
    }
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Whether it went well.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
}

impl Response {
    /// A response without headers.
    #[must_use]
    pub fn of(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
        }
    }

    /// The same, with one header more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
        self
    }
}

/// What comes on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// The peer opens it with a request.
    Request(Request, Part),
    /// The response to our request.
    Response(Response, Part),
    /// A piece of the body, to be credited; empty only if it is the last.
    Body(Bytes, Part),
    /// That many bytes of the body that we send have left, and as many more are welcome.
    Taken(usize),
    /// The stream is over, and nothing more comes or can be sent on it.
    Failed(Failure),
}

/// Why a stream is over too early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The peer does not want it any more.
    #[error("the peer has reset the stream")]
    Reset,
    /// The peer has not looked at it: it accepts nothing new.
    #[error("the peer accepts no more streams")]
    Refused,
    /// What was to be sent is no head of a request or response, or comes in the wrong order.
    #[error("nothing like that can be sent")]
    Invalid,
}

/// What is sent on a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A client opens it with a request.
    Request(Request, Part),
    /// A server answers the request.
    Response(Response, Part),
    /// A piece of the body; empty only if it is the last.
    Body(Bytes, Part),
    /// That many bytes of the body that came are done with.
    Credit(usize),
    /// The rest of the body that comes is not wanted. What was not credited is.
    Discard,
}

/// What a machine above HTTP/2 takes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input<C> {
    /// Something came on a stream.
    Stream(StreamId, Incoming),
    /// The connection has ended, and all streams with it.
    Eof,
    /// The deadline has passed.
    Timeout,
    /// The owner wants something done.
    Command(C),
}

/// What a machine above HTTP/2 asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action<E> {
    /// Send this on a stream.
    Stream(StreamId, Outgoing),
    /// Tell the owner.
    Event(E),
    /// Flush what was sent, then close the connection.
    Close(CloseReason),
}

/// A machine on the requests of one connection, above [`Http2`](super::Http2).
pub trait Exchange:
    for<'a> Machine<
        Input<'a> = Input<<Self as Exchange>::Command>,
        Action = Action<<Self as Exchange>::Event>,
    >
{
    /// What the owner can ask for.
    type Command;
    /// What the owner is told.
    type Event;

    /// Whether a command is welcome now, as in [`Connection`](crate::machine::Connection::accepts_commands).
    #[must_use]
    fn accepts_commands(&self) -> bool;
}
