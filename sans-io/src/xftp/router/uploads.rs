//! Uploads: room is given to each when it begins, and taken back when it becomes the chunk or is void.

use std::collections::{BTreeMap, VecDeque};

use super::commands::usable;
use super::loads::Locked;
use super::pending::{After, Job};
use super::store::{Adjustment, Change, Content, FileRecord, LoadedFile};
use super::{Action, Asker, ConnId, Router};
use crate::wire::EntityId;
use crate::xftp::server::{Call, UploadId};
use crate::xftp::{ErrorType, Response};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Uploads {
    next: u64,
    uploads: BTreeMap<UploadId, Upload>,
    askers: BTreeMap<Asker, UploadId>,
    reserved: u64,
    /// Those who wait until it is known how much room there is.
    waiting: VecDeque<(Asker, Box<LoadedFile>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Upload {
    asker: Asker,
    sender_id: EntityId,
    size: u32,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Receiving,
    /// It is complete, and waits for its file.
    Complete,
    /// The disk is making it the chunk of this file.
    Publishing(Box<FileRecord>),
}

impl Uploads {
    pub(super) const fn reserved(&self) -> u64 {
        self.reserved
    }

    pub(super) fn len(&self) -> usize {
        self.uploads.len()
    }

    fn begin(&mut self, asker: Asker, record: &FileRecord) -> UploadId {
        let id = UploadId(self.next);
        self.next = self.next.wrapping_add(1);
        self.reserved = self.reserved.saturating_add(record.size.into());
        let upload = Upload {
            asker,
            sender_id: record.sender_id.clone(),
            size: record.size,
            stage: Stage::Receiving,
        };
        self.uploads.insert(id, upload);
        self.askers.insert(asker, id);
        id
    }

    /// The upload is over, and its room is free.
    fn end(&mut self, id: UploadId) -> Option<Upload> {
        let upload = self.uploads.remove(&id)?;
        if self.askers.get(&upload.asker) == Some(&id) {
            self.askers.remove(&upload.asker);
        }
        self.reserved = self.reserved.saturating_sub(upload.size.into());
        Some(upload)
    }
}

impl Router {
    /// A chunk is to be uploaded.
    pub(super) fn upload(&mut self, asker: Asker, file: Option<Box<LoadedFile>>) {
        match file.ok_or(ErrorType::Auth).and_then(|file| usable(*file)) {
            Err(error) => self.refuse(asker, error),
            Ok(file) if !self.knows_totals() => {
                self.uploads.waiting.push_back((asker, Box::new(file)));
            }
            Ok(file) => self.receive(asker, &file.record),
        }
    }

    pub(super) fn go_on_uploading(&mut self) {
        for (asker, file) in std::mem::take(&mut self.uploads.waiting) {
            self.receive(asker, &file.record);
        }
    }

    fn receive(&mut self, asker: Asker, record: &FileRecord) {
        let (stream, size) = (asker.stream, record.size);
        if record.content != Content::Absent {
            return self.call(asker, Call::Swallow { stream, size });
        }
        let taken = self.totals.taken().saturating_add(self.uploads.reserved);
        let full = |quota| taken.saturating_add(size.into()) > quota;
        if self.config.quota.is_some_and(full) {
            return self.refuse(asker, ErrorType::Quota);
        }
        let upload = self.uploads.begin(asker, record);
        let digest = record.digest.clone();
        self.call(
            asker,
            Call::Receive {
                stream,
                upload,
                size,
                digest,
            },
        );
    }

    /// All of an upload has come, or it has failed.
    pub(super) fn uploaded(&mut self, id: UploadId, result: Result<(), ErrorType>) {
        let Some(upload) = self.uploads.uploads.get_mut(&id) else {
            return;
        };
        if upload.stage != Stage::Receiving {
            return;
        }
        match result {
            Err(error) => self.fail_upload(id, error),
            Ok(()) => {
                upload.stage = Stage::Complete;
                let sender_id = upload.sender_id.clone();
                self.change(sender_id, Job::Publish(id));
            }
        }
    }

    /// The file is locked and loaded: the upload becomes its chunk, unless it has one.
    pub(super) fn publish(&mut self, id: UploadId, file: Option<Box<LoadedFile>>) -> Locked {
        match file.ok_or(ErrorType::Auth).and_then(|file| usable(*file)) {
            Err(error) => self.fail_upload(id, error),
            Ok(file) if file.record.content != Content::Absent => {
                if let Some(upload) = self.discard(id) {
                    self.answer(upload.asker, Response::Ok);
                }
            }
            Ok(file) => {
                if let Some(upload) = self.uploads.uploads.get_mut(&id) {
                    self.actions
                        .push(Action::Publish(id, upload.sender_id.clone()));
                    upload.stage = Stage::Publishing(Box::new(file.record));
                    return Locked::Yes;
                }
            }
        }
        Locked::No
    }

    pub(super) fn published(&mut self, id: UploadId, result: Result<(), ErrorType>) {
        let Some(Stage::Publishing(record)) = self
            .uploads
            .uploads
            .get(&id)
            .map(|upload| upload.stage.clone())
        else {
            return;
        };
        let sender_id = record.sender_id.clone();
        match result {
            Err(error) => self.fail_upload(id, error),
            Ok(()) => {
                if let Some(upload) = self.uploads.end(id) {
                    self.put(upload.asker, *record);
                }
            }
        }
        self.unlock(&sender_id);
    }

    fn put(&mut self, asker: Asker, mut record: FileRecord) {
        record.content = Content::Stored;
        self.count(|c| &mut c.files_uploaded, 1);
        let adjustment = Adjustment {
            chunks: 1,
            used: record.size.into(),
            ..Adjustment::default()
        };
        let kept = record.chunk().map(After::Keep);
        let answer = After::Answer(asker, Response::Ok);
        let after = kept.into_iter().chain([answer]).collect();
        let change = Change::PutFile(Box::new(record));
        self.commit(vec![change], adjustment, after);
    }

    pub(super) fn fail_upload(&mut self, id: UploadId, error: ErrorType) {
        if let Some(upload) = self.discard(id) {
            self.refuse(upload.asker, error);
        }
    }

    fn discard(&mut self, id: UploadId) -> Option<Upload> {
        let upload = self.uploads.end(id)?;
        self.actions.push(Action::Discard(id));
        Some(upload)
    }

    /// Nobody waits for the answer any more.
    pub(super) fn gone(&mut self, asker: Asker) {
        self.loads.forget_uploads(|gone| *gone == asker);
        self.uploads
            .waiting
            .retain(|(waiting, _)| *waiting != asker);
        if let Some(id) = self.uploads.askers.get(&asker).copied() {
            let upload = self.uploads.uploads.get(&id);
            if upload.is_some_and(|upload| upload.stage == Stage::Receiving) {
                self.discard(id);
            }
        }
    }

    pub(super) fn closed(&mut self, connection: ConnId) {
        let of_it = |asker: &Asker| asker.connection == connection;
        self.loads.forget_uploads(of_it);
        let askers: Vec<Asker> = self.uploads.askers.keys().copied().filter(of_it).collect();
        self.uploads.waiting.retain(|(asker, _)| !of_it(asker));
        for asker in askers {
            self.gone(asker);
        }
    }
}
