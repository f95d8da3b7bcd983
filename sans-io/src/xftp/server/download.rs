//! The body that follows FILE: read in pieces, encrypted, with its tag at the end.

use bytes::{Bytes, BytesMut};

use super::job::Stage;
use super::{Event, Server};
use crate::crypto::secret_box::Encryptor;
use crate::http2::{Outgoing, Part, StreamId};
use crate::time::Now;
use crate::xftp::chunk::Upstream;
use crate::xftp::router::store::Chunk;
use crate::xftp::{BLOCK, ErrorType, Response};

/// How much is read at once.
const PIECE: usize = 64 * 1024;
/// How much of a download is on its way: one piece is read while another one is sent.
const ON_THE_WAY: usize = 2 * PIECE;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Download {
    encryptor: Encryptor,
    /// How many bytes of the chunk have not been asked for.
    unasked: usize,
    /// How many have been asked for and have not come.
    asked: usize,
    /// How many have been passed on and are not taken.
    untaken: usize,
}

impl Server {
    pub(super) fn open(&mut self, stream: StreamId, chunk: Chunk, size: u32) {
        match self.take_stage(stream) {
            Some(Stage::Executing(Some(key))) => {
                self.set(stream, Stage::Opening { key, size });
                self.event(Event::Open { stream, chunk });
            }
            Some(_) => self.answer(stream, Response::Err(ErrorType::Internal)),
            None => {}
        }
    }

    pub(super) fn opened(&mut self, now: Now, stream: StreamId, result: Result<(), ErrorType>) {
        let Some(Stage::Opening { key, size }) = self.jobs.get(&stream).map(|job| &job.stage)
        else {
            return;
        };
        if let Err(error) = result {
            return self.answer(stream, Response::Err(error));
        }
        let unasked = usize::try_from(*size).unwrap_or(usize::MAX);
        let Upstream {
            key,
            nonce,
            encryptor,
        } = Upstream::begin(key, &mut self.rng);
        let Some(block) = self.response_block(stream, Response::File { key, nonce }) else {
            return;
        };
        self.send(stream, Outgoing::Response(self.head(), Part::More));
        self.send(stream, Outgoing::Body(block, Part::More));
        self.send(stream, Outgoing::Discard);
        let download = Download {
            encryptor,
            unasked,
            asked: 0,
            untaken: BLOCK,
        };
        self.set(stream, Stage::Sending(Box::new(download)));
        self.progress(now, stream);
    }

    pub(super) fn data(&mut self, now: Now, stream: StreamId, mut bytes: BytesMut) {
        let Some(download) = self.download(stream) else {
            return;
        };
        let Some(asked) = download.asked.checked_sub(bytes.len()) else {
            return self.no_data(stream);
        };
        download.asked = asked;
        download.untaken = download.untaken.saturating_add(bytes.len());
        download.encryptor.update(&mut bytes);
        let complete = download.asked == 0 && download.unasked == 0;
        let tag = complete.then(|| download.encryptor.clone().finish());
        if !bytes.is_empty() {
            self.send(stream, Outgoing::Body(bytes.freeze(), Part::More));
        }
        match tag {
            None => self.progress(now, stream),
            Some(tag) => {
                let tag = Bytes::copy_from_slice(tag.as_bytes());
                self.end_download(stream, tag);
            }
        }
    }

    /// The client sees that something is missing.
    pub(super) fn no_data(&mut self, stream: StreamId) {
        if self.download(stream).is_some() {
            self.end_download(stream, Bytes::new());
        }
    }

    pub(super) fn taken(&mut self, now: Now, stream: StreamId, bytes: usize) {
        if let Some(download) = self.download(stream) {
            download.untaken = download.untaken.saturating_sub(bytes);
            self.progress(now, stream);
        }
    }

    /// Asks for more of the chunk, if there is room for it.
    fn progress(&mut self, now: Now, stream: StreamId) {
        self.expect(stream, now.instant + self.config.stall_timeout);
        while let Some(download) = self.download(stream) {
            let bytes = download.unasked.min(PIECE);
            let on_the_way = download.asked.saturating_add(download.untaken);
            if bytes == 0 || on_the_way.saturating_add(bytes) > ON_THE_WAY.saturating_add(BLOCK) {
                return;
            }
            download.unasked = download.unasked.saturating_sub(bytes);
            download.asked = download.asked.saturating_add(bytes);
            self.event(Event::Read { stream, bytes });
        }
    }

    fn end_download(&mut self, stream: StreamId, last: Bytes) {
        self.send(stream, Outgoing::Body(last, Part::Last));
        self.forget(stream);
        self.event(Event::Sent { stream });
    }

    fn download(&mut self, stream: StreamId) -> Option<&mut Download> {
        match self.jobs.get_mut(&stream).map(|job| &mut job.stage) {
            Some(Stage::Sending(download)) => Some(download),
            _ => None,
        }
    }
}
