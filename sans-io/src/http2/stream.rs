//! One stream: what comes and what goes.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};

use super::{Failure, Incoming, Part, Response};

/// How much of a body is asked to be sent at once.
const PIECE: usize = 64 * 1024;

/// A stream. Its handles are kept until both directions have ended: h2 resets a stream whose handle is dropped earlier.
pub(super) struct Stream {
    inbound: Inbound,
    outbound: Outbound,
    queue: Queue,
    /// How many bytes the exchange has got and not credited.
    uncredited: usize,
    wanted: Wanted,
    pub(super) waker: Waker,
}

enum Inbound {
    /// There is no request yet to which a response could come.
    Unasked,
    Awaited(ResponseFuture),
    Body(RecvStream),
    /// All has come; the handle is kept for the credit.
    Ended(Option<RecvStream>),
}

enum Outbound {
    /// The request waits until the peer accepts one more stream.
    Unopened,
    /// The response is not given yet.
    Unanswered(SendResponse<Bytes>),
    Body(SendStream<Bytes>),
    Ended,
}

/// The body that waits to be sent.
#[derive(Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    complete: Option<Complete>,
}

/// The last piece of a body is known.
struct Complete;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Yes,
    /// What comes is thrown away: so much of it has been so far.
    No(u64),
}

/// How a stream is after it was polled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Alive,
    Done,
}

/// More was thrown away than the limit allows.
pub(super) struct TooMuchDiscarded;

impl Stream {
    /// A request of the peer.
    pub(super) fn accepted(
        body: RecvStream,
        respond: SendResponse<Bytes>,
        part: Part,
        waker: Waker,
    ) -> Self {
        let inbound = match part {
            Part::More => Inbound::Body(body),
            Part::Last => Inbound::Ended(Some(body)),
        };
        Self::new(inbound, Outbound::Unanswered(respond), waker)
    }

    /// A request of ours, which is not sent yet.
    pub(super) fn unopened(waker: Waker) -> Self {
        Self::new(Inbound::Unasked, Outbound::Unopened, waker)
    }

    fn new(inbound: Inbound, outbound: Outbound, waker: Waker) -> Self {
        Self {
            inbound,
            outbound,
            queue: Queue::default(),
            uncredited: 0,
            wanted: Wanted::Yes,
            waker,
        }
    }

    /// The request is sent.
    pub(super) fn opened(&mut self, response: ResponseFuture, send: SendStream<Bytes>, part: Part) {
        self.inbound = Inbound::Awaited(response);
        self.outbound = match part {
            Part::More => Outbound::Body(send),
            Part::Last => Outbound::Ended,
        };
    }

    pub(super) const fn uncredited(&self) -> usize {
        self.uncredited
    }

    pub(super) fn respond(&mut self, response: Response, part: Part) -> Result<(), Failure> {
        let Outbound::Unanswered(mut respond) =
            std::mem::replace(&mut self.outbound, Outbound::Ended)
        else {
            return Err(Failure::Invalid);
        };
        let mut head = http::Response::new(());
        *head.status_mut() = response.status;
        *head.headers_mut() = response.headers;
        let send = respond
            .send_response(head, part == Part::Last)
            .map_err(|error| failure(&error))?;
        if part == Part::More {
            self.outbound = Outbound::Body(send);
        }
        Ok(())
    }

    pub(super) fn send(&mut self, bytes: Bytes, part: Part) -> Result<(), Failure> {
        match self.outbound {
            Outbound::Unopened | Outbound::Body(_) if self.queue.complete.is_none() => {}
            // A body follows its head, and nothing follows its end.
            Outbound::Unopened | Outbound::Unanswered(_) | Outbound::Body(_) | Outbound::Ended => {
                return Err(Failure::Invalid);
            }
        }
        if !bytes.is_empty() {
            self.queue.pieces.push_back(bytes);
        }
        if part == Part::Last {
            self.queue.complete = Some(Complete);
        }
        Ok(())
    }

    /// How many bytes were credited.
    pub(super) fn credit(&mut self, bytes: usize) -> usize {
        let bytes = bytes.min(self.uncredited);
        self.uncredited = self.uncredited.saturating_sub(bytes);
        if let Inbound::Body(body) | Inbound::Ended(Some(body)) = &mut self.inbound {
            release(body, bytes);
        }
        bytes
    }

    /// How many bytes were credited.
    pub(super) fn discard(&mut self) -> usize {
        self.wanted = Wanted::No(0);
        self.credit(self.uncredited)
    }

    /// Moves what can be moved; what came and what was sent is told.
    pub(super) fn poll(
        &mut self,
        limit: u64,
        tell: &mut impl FnMut(Incoming),
    ) -> Result<State, TooMuchDiscarded> {
        let waker = self.waker.clone();
        let cx = &mut Context::from_waker(&waker);
        let sent = self.poll_send(cx, tell);
        if let Err(failure) = self.poll_receive(cx, limit, tell)? {
            tell(Incoming::Failed(failure));
            return Ok(State::Done);
        }
        match (&self.inbound, sent) {
            (Inbound::Ended(_), Err(failure)) => {
                tell(Incoming::Failed(failure));
                Ok(State::Done)
            }
            (Inbound::Ended(_), Ok(()))
                if matches!(self.outbound, Outbound::Ended) && self.uncredited == 0 =>
            {
                Ok(State::Done)
            }
            _ => Ok(State::Alive),
        }
    }

    /// A failure here is also one of what comes, unless all has come already.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        tell: &mut impl FnMut(Incoming),
    ) -> Result<(), Failure> {
        let mut taken = 0_usize;
        let result = match &mut self.outbound {
            Outbound::Unopened | Outbound::Ended => return Ok(()),
            Outbound::Unanswered(respond) => match respond.poll_reset(cx) {
                Poll::Ready(_) => Err(Failure::Reset),
                Poll::Pending => return Ok(()),
            },
            Outbound::Body(send) => self.queue.poll(send, cx, &mut taken),
        };
        if taken > 0 {
            tell(Incoming::Taken(taken));
        }
        match result {
            Ok(Sent::Waits) => Ok(()),
            Ok(Sent::All) => {
                self.outbound = Outbound::Ended;
                Ok(())
            }
            Err(failure) => {
                self.outbound = Outbound::Ended;
                self.queue = Queue::default();
                Err(failure)
            }
        }
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        limit: u64,
        tell: &mut impl FnMut(Incoming),
    ) -> Result<Result<(), Failure>, TooMuchDiscarded> {
        loop {
            match &mut self.inbound {
                Inbound::Unasked | Inbound::Ended(_) => return Ok(Ok(())),
                Inbound::Awaited(response) => match Pin::new(response).poll(cx) {
                    Poll::Pending => return Ok(Ok(())),
                    Poll::Ready(Err(error)) => return Ok(Err(failure(&error))),
                    Poll::Ready(Ok(response)) => {
                        let (head, body) = response.into_parts();
                        let part = part_of(&body);
                        if self.wanted == Wanted::Yes {
                            let (status, headers) = (head.status, head.headers);
                            tell(Incoming::Response(Response { status, headers }, part));
                        }
                        self.inbound = match part {
                            Part::More => Inbound::Body(body),
                            Part::Last => Inbound::Ended(Some(body)),
                        };
                    }
                },
                Inbound::Body(body) => {
                    let (bytes, part) = match body.poll_data(cx) {
                        Poll::Pending => return Ok(Ok(())),
                        Poll::Ready(Some(Err(error))) => return Ok(Err(failure(&error))),
                        Poll::Ready(None) => (Bytes::new(), Part::Last),
                        Poll::Ready(Some(Ok(bytes))) => (bytes, part_of(body)),
                    };
                    self.received(bytes, part, limit, tell)?;
                }
            }
        }
    }

    fn received(
        &mut self,
        bytes: Bytes,
        part: Part,
        limit: u64,
        tell: &mut impl FnMut(Incoming),
    ) -> Result<(), TooMuchDiscarded> {
        let length = bytes.len();
        match (&mut self.wanted, &mut self.inbound) {
            (Wanted::No(discarded), Inbound::Body(body)) => {
                release(body, length);
                *discarded = discarded.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
                if *discarded > limit {
                    return Err(TooMuchDiscarded);
                }
            }
            _ if length == 0 && part == Part::More => {}
            _ => {
                self.uncredited = self.uncredited.saturating_add(length);
                tell(Incoming::Body(bytes, part));
            }
        }
        if part == Part::Last
            && let Inbound::Body(body) = std::mem::replace(&mut self.inbound, Inbound::Ended(None))
        {
            self.inbound = Inbound::Ended(Some(body));
        }
        Ok(())
    }
}

enum Sent {
    Waits,
    All,
}

impl Queue {
    fn poll(
        &mut self,
        send: &mut SendStream<Bytes>,
        cx: &mut Context<'_>,
        taken: &mut usize,
    ) -> Result<Sent, Failure> {
        while let Some(piece) = self.pieces.front_mut() {
            send.reserve_capacity(piece.len().min(PIECE));
            let room = send.capacity().min(piece.len());
            if room == 0 {
                match send.poll_capacity(cx) {
                    Poll::Pending => return Ok(Sent::Waits),
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(Some(Err(error))) => return Err(failure(&error)),
                    Poll::Ready(None) => return Err(Failure::Reset),
                }
            }
            let bytes = piece.split_to(room);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
            let last = self.pieces.is_empty() && self.complete.is_some();
            send.send_data(bytes, last)
                .map_err(|error| failure(&error))?;
            *taken = taken.saturating_add(room);
            if last {
                return Ok(Sent::All);
            }
        }
        if self.complete.is_some() {
            send.send_data(Bytes::new(), true)
                .map_err(|error| failure(&error))?;
            return Ok(Sent::All);
        }
        match send.poll_reset(cx) {
            Poll::Ready(_) => Err(Failure::Reset),
            Poll::Pending => Ok(Sent::Waits),
        }
    }
}

fn part_of(body: &RecvStream) -> Part {
    if body.is_end_stream() {
        Part::Last
    } else {
        Part::More
    }
}

fn release(body: &mut RecvStream, bytes: usize) {
    // It fails only for more than was received, which the count excludes.
    let released = body.flow_control().release_capacity(bytes);
    debug_assert!(released.is_ok());
}

fn failure(error: &h2::Error) -> Failure {
    if error.reason() == Some(h2::Reason::REFUSED_STREAM) || error.is_go_away() {
        Failure::Refused
    } else if error.is_reset() || error.is_io() {
        Failure::Reset
    } else {
        Failure::Invalid
    }
}
