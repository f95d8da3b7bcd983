//! The body of FPUT: hashed as it comes, passed on in pieces, and never longer than announced.

use bytes::{Bytes, BytesMut};

use super::job::Stage;
use super::{Event, Server, UploadId};
use crate::crypto::hash::Sha256;
use crate::http2::{Outgoing, Part, StreamId};
use crate::time::Now;
use crate::wire::Short;
use crate::xftp::{ErrorType, Response};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upload {
    /// How many bytes must yet come.
    left: u64,
    sink: Sink,
    /// What has come and is not passed on.
    gathered: BytesMut,
    /// How many bytes have come and are not written.
    unwritten: usize,
}

/// How much is passed on at once: frames may be small, and each that is passed on costs a turn of the disk.
const PIECE: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Sink {
    /// The chunk is there already.
    Nowhere,
    Upload {
        id: UploadId,
        hash: Sha256,
        digest: Short,
    },
}

impl Server {
    pub(super) fn receive(
        &mut self,
        now: Now,
        stream: StreamId,
        id: UploadId,
        size: u32,
        digest: &Short,
    ) {
        let sink = Sink::Upload {
            id,
            hash: Sha256::new(),
            digest: digest.clone(),
        };
        self.begin_upload(now, stream, size, sink);
    }

    pub(super) fn swallow(&mut self, now: Now, stream: StreamId, size: u32) {
        self.begin_upload(now, stream, size, Sink::Nowhere);
    }

    fn begin_upload(&mut self, now: Now, stream: StreamId, size: u32, sink: Sink) {
        if self.take_stage(stream).is_none() {
            return;
        }
        let upload = Upload {
            left: size.into(),
            sink,
            gathered: BytesMut::new(),
            unwritten: 0,
        };
        self.set(stream, Stage::Receiving(Box::new(upload)));
        self.expect(stream, now.instant + self.config.upload_timeout);
        self.receive_chunk(stream);
    }

    /// Passes on what has come.
    pub(super) fn receive_chunk(&mut self, stream: StreamId) {
        while let Some(job) = self.jobs.get_mut(&stream)
            && let Stage::Receiving(upload) = &mut job.stage
        {
            let Some(bytes) = job.body.pop_front() else {
                if job.part == Part::Last {
                    self.settle_upload(stream);
                }
                return;
            };
            let length = bytes.len();
            let left = u64::try_from(length).ok();
            let left = left.and_then(|length| upload.left.checked_sub(length));
            let Some(left) = left else {
                self.send(stream, Outgoing::Credit(length));
                return self.fail_upload(stream, ErrorType::Size);
            };
            upload.left = left;
            match &mut upload.sink {
                Sink::Nowhere => self.send(stream, Outgoing::Credit(length)),
                Sink::Upload { id, hash, .. } => {
                    hash.update(&bytes);
                    upload.unwritten = upload.unwritten.saturating_add(length);
                    let Some(bytes) = gather(&mut upload.gathered, bytes, left) else {
                        continue;
                    };
                    let upload = *id;
                    self.event(Event::Write {
                        stream,
                        upload,
                        bytes,
                    });
                }
            }
        }
    }

    pub(super) fn written(&mut self, stream: StreamId, bytes: usize) {
        let Some(job) = self.jobs.get_mut(&stream) else {
            return;
        };
        let Stage::Receiving(upload) = &mut job.stage else {
            return;
        };
        upload.unwritten = upload.unwritten.saturating_sub(bytes);
        let ended = job.part == Part::Last && job.body.is_empty();
        self.send(stream, Outgoing::Credit(bytes));
        if ended {
            self.settle_upload(stream);
        }
    }

    /// All has come; once all is written, too, it is judged.
    fn settle_upload(&mut self, stream: StreamId) {
        let Some(Stage::Receiving(upload)) = self.jobs.get(&stream).map(|job| &job.stage) else {
            return;
        };
        if upload.left > 0 {
            return self.fail_upload(stream, ErrorType::Size);
        }
        match &upload.sink {
            Sink::Nowhere => self.answer(stream, Response::Ok),
            Sink::Upload { .. } if upload.unwritten > 0 => {}
            Sink::Upload { id, hash, digest } => {
                let result = match hash.clone().finish()[..] == digest[..] {
                    true => Ok(()),
                    false => Err(ErrorType::Digest),
                };
                let upload = *id;
                self.uploaded(stream, upload, result);
            }
        }
    }

    /// What has yet to come is thrown away, and so is what is not written yet.
    pub(super) fn fail_upload(&mut self, stream: StreamId, error: ErrorType) {
        let Some(Stage::Receiving(upload)) = self.jobs.get(&stream).map(|job| &job.stage) else {
            return;
        };
        match upload.sink {
            Sink::Nowhere => self.answer(stream, Response::Err(error)),
            Sink::Upload { id, .. } => {
                let unwritten = upload.unwritten;
                if unwritten > 0 {
                    self.send(stream, Outgoing::Credit(unwritten));
                }
                self.uploaded(stream, id, Err(error));
            }
        }
    }

    fn uploaded(&mut self, stream: StreamId, upload: UploadId, result: Result<(), ErrorType>) {
        self.forget_deadline(stream);
        self.set(stream, Stage::Executing(None));
        self.event(Event::Uploaded {
            stream,
            upload,
            result,
        });
    }
}

/// What is to be passed on, once it is enough. What is enough by itself is not copied.
fn gather(gathered: &mut BytesMut, bytes: Bytes, left: u64) -> Option<Bytes> {
    let is_enough = |length| length >= PIECE || left == 0;
    if gathered.is_empty() {
        if is_enough(bytes.len()) {
            return Some(bytes);
        }
        gathered.reserve(PIECE);
    }
    gathered.extend_from_slice(&bytes);
    is_enough(gathered.len()).then(|| std::mem::take(gathered).freeze())
}
