//! What the commands do.

use super::loads::{For, Locked};
use super::operator::Outcome;
use super::pending::{After, Job};
use super::store::{
    Adjustment, Change, Chunk, Content, FileRecord, FileStatus, Load, LoadedFile, Party, Recipient,
};
use super::{Action, Asker, NewFiles, Router};
use crate::crypto::AuthPublicKey;
use crate::smp::CommandError;
use crate::wire::{EntityId, NonEmpty};
use crate::xftp::chunk::ChunkSize;
use crate::xftp::server::{Call, Request};
use crate::xftp::{Command, ErrorType, NewFile, Response};

/// The time of creation is rounded down to this.
const HOUR: i64 = 3600;

impl Router {
    pub(super) fn execute(&mut self, asker: Asker, request: Request) {
        let id = request.entity_id;
        match request.command {
            Command::FNew(file) => self.create(asker, *file),
            Command::FAdd(keys) => self.change(id, Job::Add(asker, keys)),
            Command::FPut => self.load(For::Upload(asker), Load::File(Party::Sender, id)),
            Command::FDel => self.change(id, Job::Delete(asker)),
            Command::FGet(_) => {
                self.load(For::Download(asker), Load::File(Party::Recipient, id));
            }
            Command::FAck => {
                let load = Load::File(Party::Recipient, id.clone());
                self.load(For::Resolve(Job::Acknowledge(asker, id)), load);
            }
            Command::Ping => self.refuse(asker, ErrorType::command(CommandError::Prohibited)),
        }
    }

    fn create(&mut self, asker: Asker, file: NewFile) {
        let allowed = match &self.config.new_files {
            NewFiles::Allowed => true,
            NewFiles::WithPassword(password) => file.password.as_ref() == Some(password),
            NewFiles::Refused => false,
        };
        if !allowed {
            return self.refuse(asker, ErrorType::Auth);
        }
        if ChunkSize::of(file.size).is_none() {
            return self.refuse(asker, ErrorType::Size);
        }
        let sender_id = self.random_id();
        let seconds = self.now.unix.seconds();
        let record = FileRecord {
            sender_id: sender_id.clone(),
            sender_key: file.sender_key,
            size: file.size,
            digest: file.digest,
            created_at: seconds.saturating_sub(seconds.rem_euclid(HOUR)),
            status: FileStatus::Active,
            content: Content::Absent,
        };
        let mut changes = vec![Change::PutFile(Box::new(record))];
        let recipient_ids = self.put_recipients(&sender_id, &file.recipients, &mut changes);
        self.count(|c| &mut c.files_created, 1);
        let adjustment = Adjustment {
            files: 1,
            recipients: signed(recipient_ids.len()),
            ..Adjustment::default()
        };
        let response = Response::Sids {
            sender_id,
            recipient_ids,
        };
        self.commit(changes, adjustment, vec![After::Answer(asker, response)]);
    }

    fn put_recipients(
        &mut self,
        sender_id: &EntityId,
        keys: &NonEmpty<AuthPublicKey>,
        changes: &mut Vec<Change>,
    ) -> NonEmpty<EntityId> {
        let mut ids = Vec::with_capacity(keys.len());
        for key in keys.iter() {
            let id = self.random_id();
            ids.push(id.clone());
            changes.push(Change::PutRecipient {
                sender_id: sender_id.clone(),
                recipient: Recipient { id, key: *key },
            });
        }
        let added = u64::try_from(ids.len()).unwrap_or(u64::MAX);
        self.count(|c| &mut c.file_recipients, added);
        NonEmpty::try_from(ids).unwrap_or_else(|_| NonEmpty::one(EntityId::EMPTY))
    }

    pub(super) fn download(&mut self, asker: Asker, file: Option<Box<LoadedFile>>) {
        let usable = file.ok_or(ErrorType::Auth).and_then(|file| usable(*file));
        match usable.map(|file| (file.record.chunk(), file.record.size)) {
            Err(error) => self.refuse(asker, error),
            Ok((None, _)) => self.refuse(asker, ErrorType::NoFile),
            Ok((Some(chunk), size)) => {
                self.downloaded(&chunk.sender_id);
                self.count(|c| &mut c.file_downloads, 1);
                let stream = asker.stream;
                self.call(
                    asker,
                    Call::Send {
                        stream,
                        chunk,
                        size,
                    },
                );
            }
        }
    }

    /// Does what waited for a file, which is locked and loaded.
    pub(super) fn do_job(&mut self, job: Job, file: Option<Box<LoadedFile>>) -> Locked {
        let found = match (&job, file) {
            (Job::Publish(upload), file) => return self.publish(*upload, file),
            (Job::Reconcile(chunk), file) => {
                self.reconcile(chunk.clone(), file.as_deref());
                return Locked::No;
            }
            // The operator and time do not ask whether a file can be used.
            (Job::Expire(_) | Job::OperatorDelete(_) | Job::OperatorBlock(..), Some(file)) => {
                Ok(*file)
            }
            (Job::Add(..) | Job::Delete(_) | Job::Acknowledge(..), Some(file)) => usable(*file),
            (_, None) => Err(ErrorType::Auth),
        };
        match (found, job) {
            (Err(error), job) => self.changed_nothing(job, error),
            (Ok(file), Job::Add(asker, keys)) => self.add_recipients(asker, &keys, &file),
            (Ok(file), Job::Delete(asker)) => {
                self.count(|c| &mut c.files_deleted, 1);
                self.delete(&file, [After::Answer(asker, Response::Ok)]);
            }
            (Ok(file), Job::Acknowledge(asker, recipient_id)) => {
                self.acknowledge(asker, recipient_id, file.record.sender_id);
            }
            (Ok(file), Job::Expire(before)) => self.expire(before, &file),
            (Ok(file), Job::OperatorDelete(ticket)) => {
                self.count(|c| &mut c.files_deleted, 1);
                self.delete(&file, [After::Operated(ticket, Outcome::Done)]);
            }
            (Ok(file), Job::OperatorBlock(ticket, info)) => self.block(ticket, info, &file),
            (Ok(_), Job::Publish(_) | Job::Reconcile(_)) => {}
        }
        Locked::No
    }

    /// Says that a change was not made.
    pub(super) fn changed_nothing(&mut self, job: Job, error: ErrorType) {
        match job {
            Job::Add(asker, _) | Job::Delete(asker) | Job::Acknowledge(asker, _) => {
                self.refuse(asker, error);
            }
            Job::Publish(upload) => self.fail_upload(upload, error),
            Job::Expire(_) => self.expired_one(),
            Job::Reconcile(_) => self.reconciled_one(),
            Job::OperatorDelete(ticket) | Job::OperatorBlock(ticket, _) => {
                let outcome = match error == ErrorType::Auth {
                    true => Outcome::NotFound,
                    false => Outcome::Failed,
                };
                self.actions.push(Action::Operated(ticket, outcome));
            }
        }
    }

    fn add_recipients(&mut self, asker: Asker, keys: &NonEmpty<AuthPublicKey>, file: &LoadedFile) {
        let added = u64::try_from(keys.len()).unwrap_or(u64::MAX);
        if file.recipients.saturating_add(added) > self.config.max_recipients {
            return self.refuse(asker, ErrorType::Quota);
        }
        let mut changes = Vec::new();
        let ids = self.put_recipients(&file.record.sender_id, keys, &mut changes);
        let adjustment = Adjustment {
            recipients: signed(ids.len()),
            ..Adjustment::default()
        };
        let after = After::Answer(asker, Response::Rids(ids));
        self.commit(changes, adjustment, vec![after]);
    }

    fn acknowledge(&mut self, asker: Asker, recipient_id: EntityId, sender_id: EntityId) {
        self.count(|c| &mut c.file_download_acks, 1);
        let change = Change::DeleteRecipient {
            sender_id,
            recipient_id,
        };
        let adjustment = Adjustment {
            recipients: -1,
            ..Adjustment::default()
        };
        let after = After::Answer(asker, Response::Ok);
        self.commit(vec![change], adjustment, vec![after]);
    }

    /// Deletes a file; its chunk goes when its record is gone.
    pub(super) fn delete(&mut self, file: &LoadedFile, after: impl IntoIterator<Item = After>) {
        let adjustment = Adjustment {
            files: -1,
            recipients: i64::try_from(file.recipients).map_or(i64::MIN, i64::saturating_neg),
            ..without_chunk(&file.record)
        };
        let change = Change::DeleteFile(Box::new(file.record.clone()));
        let removed = file.record.chunk().map(After::Remove);
        let after = removed.into_iter().chain(after).collect();
        self.commit(vec![change], adjustment, after);
    }

    fn reconcile(&mut self, chunk: Chunk, file: Option<&LoadedFile>) {
        let known = match (file.map(|file| &file.record.content), &chunk.name) {
            (None | Some(Content::Absent), _)
            | (Some(Content::Stored), Some(_))
            | (Some(Content::Imported(_)), None) => false,
            (Some(Content::Stored), None) | (Some(Content::Imported(_)), Some(_)) => true,
        };
        if !known {
            self.actions.push(Action::Remove(chunk));
        }
        self.reconciled_one();
    }

    pub(super) fn found(&mut self, chunks: Vec<Chunk>) {
        if chunks.is_empty() && self.unreconciled == 0 {
            self.actions.push(Action::Reconciled);
        }
        self.unreconciled = self.unreconciled.saturating_add(chunks.len());
        for chunk in chunks {
            self.change(chunk.sender_id.clone(), Job::Reconcile(chunk));
        }
    }

    fn reconciled_one(&mut self) {
        self.unreconciled = self.unreconciled.saturating_sub(1);
        if self.unreconciled == 0 {
            self.actions.push(Action::Reconciled);
        }
    }

    /// 128 random bits: no two are the same.
    fn random_id(&mut self) -> EntityId {
        EntityId::try_from(self.rng.bytes::<16>().as_slice()).unwrap_or_default()
    }
}

/// The file, if its parties may use it.
pub(super) fn usable(file: LoadedFile) -> Result<LoadedFile, ErrorType> {
    match file.record.status {
        FileStatus::Active => Ok(file),
        FileStatus::Off => Err(ErrorType::Auth),
        FileStatus::Blocked(info) => Err(ErrorType::Blocked { info }),
    }
}

/// What the totals lose with the chunk of a file.
pub(super) fn without_chunk(record: &FileRecord) -> Adjustment {
    match record.content {
        Content::Absent => Adjustment::default(),
        Content::Stored | Content::Imported(_) => Adjustment {
            chunks: -1,
            used: i64::from(record.size).saturating_neg(),
            ..Adjustment::default()
        },
    }
}

pub(super) fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
