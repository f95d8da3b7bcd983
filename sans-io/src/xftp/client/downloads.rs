//! Downloads take turns: so many at the same time that what their owner leaves unread never keeps other responses from coming.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use super::exchange::Pending;
use super::{Client, RequestError, RequestId};
use crate::http2::{Outgoing, Part, StreamId};
use crate::time::Instant;

/// The downloads of a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Downloads {
    /// Those that have begun, until all of what came is credited or nobody wants it.
    begun: BTreeSet<StreamId>,
    /// Those that have their response, and of which so much is not credited.
    unread: BTreeMap<RequestId, (StreamId, usize)>,
    /// Those that have not begun, with their blocks.
    waiting: VecDeque<(StreamId, Bytes)>,
    /// When they are given up, unless one that has begun makes progress.
    pub(super) patience: Option<Instant>,
}

/// Whether the owner of a request may yet read what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Yes,
    No,
}

impl Downloads {
    /// Whether this is the name of one that has its response.
    pub(super) fn is_unread(&self, request: RequestId) -> bool {
        self.unread.contains_key(&request)
    }

    fn is_waiting(&self, stream: StreamId) -> bool {
        self.waiting.iter().any(|(waiting, _)| *waiting == stream)
    }
}

impl Client {
    /// A download is to begin when it is its turn.
    pub(super) fn queue_download(&mut self, stream: StreamId, block: Bytes) {
        self.downloads.waiting.push_back((stream, block));
        self.begin_downloads();
        self.wait_for_turn();
    }

    fn begin_downloads(&mut self) {
        while self.downloads.begun.len() < self.config.max_downloads.max(1)
            && let Some((stream, block)) = self.downloads.waiting.pop_front()
        {
            self.downloads.begun.insert(stream);
            self.expect(stream);
            self.ask(stream, Part::More);
            self.send(stream, Outgoing::Body(block, Part::Last));
        }
        if self.downloads.waiting.is_empty() {
            self.downloads.patience = None;
        }
    }

    /// A download has made progress: those that wait for it wait on.
    pub(super) fn wait_for_turn(&mut self) {
        if !self.downloads.waiting.is_empty() {
            self.downloads.patience = Some(self.latest.get() + self.config.response_timeout);
        }
    }

    /// Nobody makes room for those that wait.
    pub(super) fn give_up_downloads(&mut self, now: Instant) {
        if self.downloads.patience.is_some_and(|end| end <= now) {
            self.downloads.patience = None;
            for (stream, _) in std::mem::take(&mut self.downloads.waiting) {
                self.finish(stream, Err(RequestError::TimedOut));
            }
        }
    }

    /// Its owner is done with so many bytes.
    pub(super) fn credit(&mut self, request: RequestId, bytes: usize) {
        let (stream, unread) = match self.requests.get(&request) {
            Some(stream) => match self.streams.get_mut(stream) {
                Some(pending) => (*stream, &mut pending.unread),
                None => return,
            },
            None => match self.downloads.unread.get_mut(&request) {
                Some((stream, unread)) => (*stream, unread),
                None => return,
            },
        };
        *unread = unread.saturating_sub(bytes);
        let is_read = *unread == 0;
        self.send(stream, Outgoing::Credit(bytes));
        if is_read && self.downloads.unread.remove(&request).is_some() {
            self.end_download(stream);
        }
    }

    /// Its owner does not want what is not read.
    pub(super) fn forget_unread(&mut self, request: RequestId) {
        if let Some((stream, _)) = self.downloads.unread.remove(&request) {
            self.end_download(stream);
        }
    }

    /// The response to a request is known. Until its owner has read what came, a download keeps its place.
    pub(super) fn leave(&mut self, stream: StreamId, pending: &Pending, wanted: Wanted) {
        if wanted == Wanted::Yes && pending.unread > 0 {
            let unread = (stream, pending.unread);
            self.downloads.unread.insert(pending.request, unread);
        } else if self.downloads.is_waiting(stream) {
            self.downloads
                .waiting
                .retain(|(waiting, _)| *waiting != stream);
        } else {
            self.end_download(stream);
        }
    }

    fn end_download(&mut self, stream: StreamId) {
        self.send(stream, Outgoing::Discard);
        if self.downloads.begun.remove(&stream) {
            self.begin_downloads();
            self.wait_for_turn();
        }
    }
}
