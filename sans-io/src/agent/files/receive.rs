//! Receiving: every chunk is downloaded from the first of its replicas that can be used, then the file is decrypted.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::Files;
use super::command::Reply;
use super::file::File;
use super::job::{Failure, Job, Means, Outcome, Part, Party as Asking, Question, Received, Target};
use super::machine::{OfChunk, Task};
use super::record::{ChunkRecord, FileRecord, LocalKey, Relays, Stage};
use super::routers::{RouterKey, Usable};
use crate::agent::error::{AgentError, FileProblem};
use crate::agent::file_event::{DescriptionText, FileEvent};
use crate::agent::id::FileId;
use crate::smp::pool::UserId;
use crate::time::Now;
use crate::xftp::description::{FileDescription, MAX_TEXT, Party};

/// The replicas of a chunk that are tried.
const MAX_REPLICAS: usize = 1 << 16;

impl Files {
    pub(super) fn receive(
        &mut self,
        now: Now,
        file: Option<FileId>,
        user: UserId,
        description: Box<FileDescription>,
        local: Option<LocalKey>,
        relays: Relays,
    ) -> Result<Reply, AgentError> {
        if description.party != Party::Recipient {
            return Err(AgentError::prohibited("a sender's description"));
        }
        self.check(user, &description, relays)?;
        let description = as_stored(&description)?;
        let id = self.new_id(file)?;
        let chunks = waiting(&description);
        let mut file = File::new(FileRecord {
            user,
            since: now.unix.seconds(),
            stage: Stage::Receiving {
                description,
                local,
                relays,
            },
        });
        file.set_chunks(chunks);
        self.keep_file(now, id.clone(), file);
        self.put_file(&id);
        Ok(Reply::File(id))
    }

    /// Whether what is described may be received.
    fn check(
        &self,
        user: UserId,
        description: &FileDescription,
        relays: Relays,
    ) -> Result<(), AgentError> {
        let problem = |error| Err(AgentError::File { error });
        let inner = description.redirect.as_ref();
        let size = inner.map_or(description.size, |redirect| redirect.size);
        if size.max(description.size) > self.config.max_size {
            return problem(FileProblem::Size);
        }
        let longest = u64::try_from(MAX_TEXT).unwrap_or(u64::MAX);
        if inner.is_some() && description.size > longest.saturating_mul(2) {
            return problem(FileProblem::Size);
        }
        let mut replicas = description.chunks.iter().flat_map(|chunk| &chunk.replicas);
        let approved = match relays {
            Relays::Approved => true,
            Relays::Own => replicas.all(|replica| self.is_approved(user, &replica.server)),
        };
        match approved {
            true => Ok(()),
            false => problem(FileProblem::NotApproved),
        }
    }

    /// What a new file is called. No other one may be, neither may what is still to be deleted of one.
    pub(super) fn new_id(&mut self, file: Option<FileId>) -> Result<FileId, AgentError> {
        if self.files.len() >= self.config.max_files {
            return Err(AgentError::prohibited("too many files are under way"));
        }
        let Some(file) = file else {
            return Ok(FileId::random(&mut self.rng));
        };
        match self.files.contains_key(&file) || self.is_being_removed(&file) {
            true => Err(AgentError::prohibited("another file is called so")),
            false => Ok(file),
        }
    }

    /// The first chunk that can be downloaded now.
    pub(super) fn next_download(&self, id: &FileId) -> Option<(Task, Job)> {
        let file = self.files.get(id)?;
        let user = file.record.user;
        let Stage::Receiving { description, .. } = &file.record.stage else {
            return None;
        };
        let chunks = file.chunks.iter().zip(&description.chunks).enumerate();
        for (index, (chunk, described)) in chunks.skip(file.first) {
            let ChunkRecord::Waiting { failed, .. } = &chunk.record else {
                continue;
            };
            if chunk.job.is_some() {
                continue;
            }
            let usable = (0..=u16::MAX)
                .zip(&described.replicas)
                .filter(|(number, _)| !failed.contains(number))
                .map(|(number, replica)| (number, replica, (user, replica.server.clone())))
                .find(|(_, _, router)| self.usable(router) != Usable::Later);
            let Some((number, replica, router)) = usable else {
                continue;
            };
            if self.usable(&router) != Usable::Now {
                continue;
            }
            let party = Asking {
                id: replica.id.clone(),
                key: Arc::new(replica.key.clone()),
            };
            let part = Part {
                file: id.clone(),
                offset: chunk.offset,
                size: described.size,
            };
            let question = Question::Download(party, part, described.digest);
            let (user, router) = router;
            let ask = Job::Ask {
                user,
                router,
                question,
            };
            return Some((
                Task::Chunk(id.clone(), index, OfChunk::Download(number)),
                ask,
            ));
        }
        None
    }

    pub(super) fn downloaded(
        &mut self,
        now: Now,
        id: &FileId,
        index: usize,
        replica: u16,
        router: &RouterKey,
        ended: Result<Outcome, Failure>,
    ) {
        let failure = match ended {
            Ok(Outcome::Done) => {
                if let Some(chunk) = self.chunk(id, index) {
                    chunk.record = ChunkRecord::Downloaded;
                }
                self.put_chunk(id, index);
                return self.tell_received(id);
            }
            Ok(_) => Self::unexpected(),
            Err(failure) => failure,
        };
        let error = failure.error(Some(&router.1));
        match failure.means() {
            Means::Later => {
                self.rest(now, router);
                self.warn(id, index, error);
            }
            Means::Never => self.replica_failed(now, id, index, replica, error),
            Means::Hopeless => self.fail(now, id, error),
        }
    }

    /// How much is there, of what the application asked for.
    fn tell_received(&mut self, id: &FileId) {
        let Some(file) = self.files.get(id) else {
            return;
        };
        let leads_on = match &file.record.stage {
            Stage::Receiving { description, .. } => description.redirect.is_some(),
            Stage::Encrypting { .. } | Stage::Uploading { .. } => return,
        };
        if !leads_on {
            let (received, of) = file.progress();
            self.tell(id, FileEvent::ReceiveProgress { received, of });
        }
    }

    /// Another one is tried, if there is one.
    fn replica_failed(
        &mut self,
        now: Now,
        id: &FileId,
        index: usize,
        replica: u16,
        reason: AgentError,
    ) {
        let Some(file) = self.files.get_mut(id) else {
            return;
        };
        let Stage::Receiving { description, .. } = &file.record.stage else {
            return;
        };
        let described = description.chunks.get(index);
        let of = described.map_or(0, |chunk| chunk.replicas.len().min(MAX_REPLICAS));
        let Some(chunk) = file.chunks.get_mut(index) else {
            return;
        };
        let ChunkRecord::Waiting { failed, error } = &mut chunk.record else {
            return;
        };
        failed.push(replica);
        *error = Some(reason.clone());
        if failed.len() >= of {
            return self.fail(now, id, reason);
        }
        self.put_chunk(id, index);
    }

    /// Says what is wrong, if there is no other way for now.
    fn warn(&mut self, id: &FileId, index: usize, error: AgentError) {
        let Some(file) = self.files.get_mut(id) else {
            return;
        };
        file.error = Some(error.clone());
        let user = file.record.user;
        let Some(file) = self.files.get(id) else {
            return;
        };
        let Stage::Receiving { description, .. } = &file.record.stage else {
            return;
        };
        let (Some(chunk), Some(described)) =
            (file.chunks.get(index), description.chunks.get(index))
        else {
            return;
        };
        let ChunkRecord::Waiting { failed, .. } = &chunk.record else {
            return;
        };
        let mut replicas = (0..=u16::MAX).zip(&described.replicas);
        let another = replicas.any(|(number, replica)| {
            !failed.contains(&number)
                && self.usable(&(user, replica.server.clone())) != Usable::Later
        });
        if !another {
            self.tell(id, FileEvent::ReceiveWarning { error });
        }
    }

    pub(super) fn next_decryption(&self, id: &FileId) -> Option<(Task, Job)> {
        let file = self.files.get(id)?;
        let Stage::Receiving {
            description, local, ..
        } = &file.record.stage
        else {
            return None;
        };
        let target = match description.redirect {
            None => Target::File(local.clone()),
            Some(_) => Target::Text(u64::try_from(MAX_TEXT).unwrap_or(u64::MAX)),
        };
        let decrypt = Job::Decrypt {
            file: id.clone(),
            size: description.size,
            digest: description.digest,
            key: description.key.clone(),
            nonce: description.nonce,
            target,
        };
        Some((Task::Decrypt(id.clone()), decrypt))
    }

    pub(super) fn decrypted(&mut self, now: Now, id: &FileId, ended: Result<Outcome, Failure>) {
        if let Some(file) = self.files.get_mut(id) {
            file.crypting = None;
        }
        match ended {
            Ok(Outcome::Decrypted { path }) => {
                self.drop_file(id, Received::Kept);
                self.tell(id, FileEvent::Received { path });
            }
            Ok(Outcome::Opened(text)) => {
                if let Err(error) = self.opened(id, &text) {
                    self.fail(now, id, error);
                }
            }
            Ok(_) => self.fail(now, id, AgentError::internal("another file")),
            Err(failure) => {
                if !self.begin_again(id) {
                    self.fail(now, id, failure.error(None));
                }
            }
        }
    }

    /// What was there before a restart may have been damaged: all of it is downloaded now.
    fn begin_again(&mut self, id: &FileId) -> bool {
        let Some(file) = self.files.get_mut(id).filter(|file| file.resumed) else {
            return false;
        };
        let Stage::Receiving { description, .. } = &file.record.stage else {
            return false;
        };
        let chunks = waiting(description);
        file.set_chunks(chunks);
        file.resumed = false;
        self.delete_chunks(id);
        self.touch(id);
        true
    }

    /// A description has led to another one, of which there is nothing yet.
    fn opened(&mut self, id: &FileId, text: &DescriptionText) -> Result<(), AgentError> {
        let redirected = |context: &str| AgentError::File {
            error: FileProblem::Redirect {
                context: context.into(),
            },
        };
        let Some(file) = self.files.get(id) else {
            return Ok(());
        };
        let Stage::Receiving {
            description: outer,
            local,
            relays,
        } = &file.record.stage
        else {
            return Ok(());
        };
        let inner = text.description();
        let inner = inner.map_err(|error| redirected(&error.to_string()))?;
        if inner.redirect.is_some() {
            return Err(redirected("leads on"));
        }
        if inner.party != Party::Recipient {
            return Err(redirected("a sender's description"));
        }
        let expected = outer.redirect.as_ref();
        let expected = expected.map(|redirect| (redirect.size, redirect.digest));
        if expected != Some((inner.size, inner.digest)) {
            return Err(redirected("another file"));
        }
        let (local, relays) = (local.clone(), *relays);
        self.check(file.record.user, &inner, relays)?;
        let inner = as_stored(&inner)?;
        self.delete_chunks(id);
        if let Some(file) = self.files.get_mut(id) {
            file.set_chunks(waiting(&inner));
            file.record.stage = Stage::Receiving {
                description: inner,
                local,
                relays,
            };
        }
        self.put_file(id);
        Ok(())
    }
}

/// A description as it will be read from the store: the numbers of replicas are those that they have then.
fn as_stored(description: &FileDescription) -> Result<Box<FileDescription>, AgentError> {
    let text = Zeroizing::new(description.to_string());
    let read = text.parse().map(Box::new);
    read.map_err(|_| AgentError::prohibited("not the text of a description"))
}

/// The chunks of a description, of which there is nothing yet.
pub(super) fn waiting(description: &FileDescription) -> Vec<(u32, ChunkRecord)> {
    let chunk = |size| {
        let record = ChunkRecord::Waiting {
            failed: Vec::new(),
            error: None,
        };
        (size, record)
    };
    description
        .chunks
        .iter()
        .map(|described| chunk(described.size))
        .collect()
}
