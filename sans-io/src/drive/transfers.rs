//! Requests that tasks wait for, with the bytes that travel with them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use super::{Mailbox, Owner, Sender};
use crate::xftp::client::{Answer, Call, Event, RequestError, RequestId, UPLOAD_WINDOW};

type Outcome = Result<Answer, RequestError>;

/// All requests of a session, and those who wait for them.
#[derive(Clone)]
pub(super) struct Transfers(Arc<Mutex<State>>);

struct State {
    next: u64,
    waiting: BTreeMap<RequestId, Waiting>,
    session: Session,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Session {
    Open,
    /// No more will come.
    Ended,
}

struct Waiting {
    /// How many bytes may be uploaded.
    room: usize,
    /// What was downloaded and is not taken: no more than the windows of HTTP/2 allow.
    data: VecDeque<BytesMut>,
    /// How many bytes were downloaded and are not credited.
    unread: usize,
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Transfers {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            next: 0,
            waiting: BTreeMap::new(),
            session: Session::Open,
        })))
    }

    /// A request that somebody waits for.
    pub(super) fn begin(&self, calls: Sender<Call>) -> Transfer {
        let mut state = self.lock();
        let id = RequestId(state.next);
        state.next = state.next.wrapping_add(1);
        let waiting = Waiting {
            room: UPLOAD_WINDOW,
            data: VecDeque::new(),
            unread: 0,
            outcome: None,
            waker: None,
        };
        state.waiting.insert(id, waiting);
        drop(state);
        Transfer {
            transfers: self.clone(),
            calls,
            id,
        }
    }

    fn change(&self, id: RequestId, change: impl FnOnce(&mut Waiting)) {
        let mut state = self.lock();
        let Some(waiting) = state.waiting.get_mut(&id) else {
            return;
        };
        change(waiting);
        let waker = waiting.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    fn end(&self) {
        let mut state = self.lock();
        state.session = Session::Ended;
        let waiting = state.waiting.values_mut();
        let wakers: Vec<_> = waiting.filter_map(|waiting| waiting.waker.take()).collect();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Transfers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfers").finish_non_exhaustive()
    }
}

/// A request that somebody waits for. Dropping it cancels it.
#[derive(Debug)]
pub(super) struct Transfer {
    transfers: Transfers,
    calls: Sender<Call>,
    pub(super) id: RequestId,
}

impl Transfer {
    /// The outcome, once it is there.
    pub(super) async fn outcome(&self) -> Outcome {
        poll_fn(|cx| self.poll(cx, |_| None))
            .await
            .unwrap_or_else(|outcome| outcome)
    }

    /// Room for up to `wanted` bytes, once there is any; an outcome that comes before is the error.
    pub(super) async fn room(&self, wanted: usize) -> Result<usize, Outcome> {
        poll_fn(|cx| {
            self.poll(cx, |waiting| {
                let room = waiting.room.min(wanted);
                waiting.room = waiting.room.saturating_sub(room);
                (room > 0).then_some(room)
            })
        })
        .await
    }

    /// The next bytes, once they are there; the outcome after the last ones is the error.
    pub(super) async fn data(&self) -> Result<BytesMut, Outcome> {
        poll_fn(|cx| self.poll(cx, |waiting| waiting.data.pop_front())).await
    }

    /// What was downloaded before is done with.
    pub(super) fn credit(&self, bytes: usize) {
        let request = self.id;
        self.transfers.change(request, |waiting| {
            waiting.unread = waiting.unread.saturating_sub(bytes);
        });
        // A session that has ended needs none.
        self.calls.push(Call::Credit { request, bytes }).ok();
    }

    fn poll<T>(
        &self,
        cx: &Context<'_>,
        take: impl FnOnce(&mut Waiting) -> Option<T>,
    ) -> Poll<Result<T, Outcome>> {
        let mut state = self.transfers.lock();
        let session = state.session;
        let Some(waiting) = state.waiting.get_mut(&self.id) else {
            return Poll::Ready(Err(Err(RequestError::Disconnected)));
        };
        if (waiting.outcome.is_none() || !waiting.data.is_empty())
            && let Some(taken) = take(waiting)
        {
            return Poll::Ready(Ok(taken));
        }
        match (&waiting.outcome, session) {
            (Some(outcome), _) => Poll::Ready(Err(outcome.clone())),
            (None, Session::Ended) => Poll::Ready(Err(Err(RequestError::Disconnected))),
            (None, Session::Open) => {
                waiting.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        let forgotten = self.transfers.lock().waiting.remove(&self.id);
        if forgotten.is_some_and(|waiting| waiting.outcome.is_none() || waiting.unread > 0) {
            self.calls.push(Call::Cancel(self.id)).ok();
        }
    }
}

/// Ties a session to its [`XftpClient`](super::XftpClient): what belongs to a request goes to those who wait for it, everything else
/// to the owner.
pub struct XftpMailbox {
    // Dropped in this order: what is sent afterwards is refused, so that everything that waits then is told.
    mailbox: Mailbox<Call, Event>,
    transfers: Ends,
}

/// Tells those who wait when it is dropped.
struct Ends(Transfers);

impl XftpMailbox {
    pub(super) const fn new(mailbox: Mailbox<Call, Event>, transfers: Transfers) -> Self {
        Self {
            mailbox,
            transfers: Ends(transfers),
        }
    }
}

impl Owner for XftpMailbox {
    type Command = Call;
    type Event = Event;

    fn poll_command(&mut self, cx: &mut Context<'_>) -> Poll<Option<Call>> {
        self.mailbox.poll_command(cx)
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.mailbox.poll_gone(cx)
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.mailbox.poll_ready(cx)
    }

    fn tell(&mut self, event: Event) {
        let transfers = &self.transfers.0;
        match event {
            Event::Taken { request, bytes } => transfers.change(request, |waiting| {
                waiting.room = waiting.room.saturating_add(bytes);
            }),
            Event::Data { request, bytes } => {
                transfers.change(request, |waiting| {
                    waiting.unread = waiting.unread.saturating_add(bytes.len());
                    waiting.data.push_back(bytes);
                });
            }
            Event::Response { request, result } => {
                transfers.change(request, |waiting| waiting.outcome = Some(result));
            }
            event @ Event::Established(_) => self.mailbox.tell(event),
        }
    }
}

impl fmt::Debug for XftpMailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("XftpMailbox").finish_non_exhaustive()
    }
}

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.end();
    }
}
