//! How requests are answered: at once, or when the body that is on its way has ended.

use bytes::{Bytes, BytesMut};
use http::StatusCode;

use super::job::{Draining, Job, Stage};
use super::{Dispatch, Greeting, Server, web};
use crate::http2::{self, Outgoing, Part, StreamId};
use crate::wire::padding;
use crate::xftp::transmission::{Session, Unauthorized};
use crate::xftp::version::WITHOUT_HANDSHAKE;
use crate::xftp::{BLOCK, Response};

/// How much of a body is thrown away before its end is not waited for any more: more than the largest chunk.
pub(super) const MAX_DRAINED: usize = 8 << 20;

impl Server {
    /// The answer to a command.
    pub(super) fn answer(&mut self, stream: StreamId, response: Response) {
        if let Some(block) = self.response_block(stream, response) {
            self.finish(stream, block);
        }
    }

    pub(super) fn response_block(&self, stream: StreamId, response: Response) -> Option<Bytes> {
        let job = self.jobs.get(&stream)?;
        let session = match &self.greeting {
            Greeting::Accepted(session, _) => session.clone(),
            Greeting::None | Greeting::Sent(_) => Session {
                version: WITHOUT_HANDSHAKE,
                id: self.transport.session_id.clone(),
            },
        };
        let response = response.for_version(session.version);
        let transmission = Unauthorized::new(&session, &job.corr_id, &job.entity_id, &response);
        transmission.block(None).ok()
    }

    /// The answer to a message of the handshake that is not understood.
    pub(super) fn answer_text(&mut self, stream: StreamId, text: &str) {
        let block = padding::pad(text.as_bytes(), BLOCK).map(BytesMut::freeze);
        self.finish(stream, block.unwrap_or_default());
    }

    pub(super) fn answer_empty(&mut self, stream: StreamId) {
        self.finish(stream, Bytes::new());
    }

    pub(super) fn finish(&mut self, stream: StreamId, body: Bytes) {
        let draining = Draining {
            head: self.head(),
            body,
            drained: 0,
        };
        let waits = self.jobs.get(&stream).is_some_and(Job::expects_more);
        self.set(stream, Stage::Draining(Box::new(draining)));
        match waits {
            false => self.give_answer(stream),
            true => {
                self.expect(stream, self.latest.get() + self.config.drain_timeout);
                self.drain(stream);
            }
        }
    }

    /// Throws away what has come of a body, and answers when it has ended.
    pub(super) fn drain(&mut self, stream: StreamId) {
        let Some(job) = self.jobs.get_mut(&stream) else {
            return;
        };
        let Stage::Draining(draining) = &mut job.stage else {
            return;
        };
        let credit = job.body.drain(..).map(|bytes| bytes.len()).sum();
        draining.drained = draining.drained.saturating_add(credit);
        let is_over = job.part == Part::Last || draining.drained > MAX_DRAINED;
        if credit > 0 {
            self.send(stream, Outgoing::Credit(credit));
        }
        if is_over {
            self.give_answer(stream);
        }
    }

    pub(super) fn give_answer(&mut self, stream: StreamId) {
        self.forget_deadline(stream);
        let Some(Stage::Draining(draining)) = self.jobs.remove(&stream).map(|job| job.stage) else {
            return;
        };
        let Draining { head, body, .. } = *draining;
        self.respond(stream, head, body);
        self.send(stream, Outgoing::Discard);
    }

    pub(super) fn head(&self) -> http2::Response {
        match self.transport.dispatch {
            Dispatch::Web => web::response(),
            Dispatch::Legacy | Dispatch::Native | Dispatch::Silent => {
                http2::Response::of(StatusCode::OK)
            }
        }
    }

    pub(super) fn respond(&mut self, stream: StreamId, head: http2::Response, body: Bytes) {
        if body.is_empty() {
            return self.send(stream, Outgoing::Response(head, Part::Last));
        }
        self.send(stream, Outgoing::Response(head, Part::More));
        self.send(stream, Outgoing::Body(body, Part::Last));
    }
}
