//! Deleting: every chunk is deleted at its router, which is tried for as long as the router might keep it.

use std::sync::Arc;

use super::Files;
use super::command::Reply;
use super::job::{Failure, Job, JobId, Means, Outcome, Party as Asking, Question, Received};
use super::machine::{Task, Wake, due};
use super::record::{ChunkRecord, Reason, RemovalRecord, ReplicaRecord};
use super::routers::{RouterKey, Usable};
use crate::agent::error::{AgentError, FileProblem};
use crate::agent::file_event::FileEvent;
use crate::agent::id::FileId;
use crate::agent::store::record::to_bytes;
use crate::agent::store::{Key, Kind, OpId};
use crate::crypto::AuthPrivateKey;
use crate::smp::pool::UserId;
use crate::time::{Instant, Now};
use crate::wire::{EntityId, ServerAddress, XftpScheme};
use crate::xftp::description::{FileDescription, Party};

/// A chunk that is to be deleted at a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Removal {
    pub(super) record: RemovalRecord,
    pub(super) job: Option<JobId>,
    /// The transaction that has to be stored before the router is asked.
    pub(super) op: OpId,
    /// When it is given up.
    deadline: Instant,
    error: Option<AgentError>,
}

/// What a chunk is at a router.
struct There {
    router: ServerAddress<XftpScheme>,
    id: EntityId,
    key: AuthPrivateKey,
}

impl Files {
    pub(super) fn delete_remotely(
        &mut self,
        now: Now,
        user: UserId,
        id: &FileId,
        sender: Option<Box<FileDescription>>,
    ) -> Result<Reply, AgentError> {
        if sender
            .as_ref()
            .is_some_and(|sender| sender.party != Party::Sender)
        {
            return Err(AgentError::prohibited("not a sender's description"));
        }
        let mut there: Vec<There> = self.known_replicas(id);
        // Of what was sent only its sender's description knows where it is.
        if sender.is_none() && !self.files.contains_key(id) {
            let error = FileProblem::NoFile;
            return Err(AgentError::File { error });
        }
        let parts = sender.map(|sender| sender.into_parts());
        let described = parts.into_iter().flat_map(|parts| parts.chunks);
        for replica in described.flat_map(|chunk| chunk.replicas) {
            if !there.iter().any(|known| known.id == replica.id) {
                there.push(There {
                    router: replica.server,
                    id: replica.id,
                    key: replica.key,
                });
            }
        }
        self.drop_file(id, Received::Removed);
        let nothing = there.is_empty();
        for there in there {
            self.remove(now, user, id, there, Reason::Deleted);
        }
        if nothing {
            self.tell(id, FileEvent::Deleted { error: None });
        }
        Ok(Reply::Done)
    }

    /// Whether something is to be deleted of a file at routers.
    pub(super) fn is_being_removed(&self, id: &FileId) -> bool {
        let mut removals = self
            .removals
            .range((id.clone(), 0)..=(id.clone(), u32::MAX));
        removals.next().is_some()
    }

    fn known_replicas(&self, id: &FileId) -> Vec<There> {
        let file = self.files.get(id);
        let replicas = file.into_iter().flat_map(|file| file.replicas());
        replicas.map(there).collect()
    }

    /// Nobody will use what there is of a file on routers.
    pub(super) fn abandon_all(&mut self, now: Now, id: &FileId) {
        let Some(user) = self.files.get(id).map(|file| file.record.user) else {
            return;
        };
        for there in self.known_replicas(id) {
            self.remove(now, user, id, there, Reason::Abandoned);
        }
    }

    /// A chunk goes to another router.
    pub(super) fn abandon(
        &mut self,
        now: Now,
        id: &FileId,
        index: usize,
        router: &ServerAddress<XftpScheme>,
    ) {
        let Some(file) = self.files.get_mut(id) else {
            return;
        };
        let user = file.record.user;
        let Some(chunk) = file.chunks.get_mut(index) else {
            return;
        };
        let ChunkRecord::Sent { replicas, .. } = &mut chunk.record else {
            return;
        };
        let position = replicas
            .iter()
            .position(|replica| replica.router == *router);
        if let Some(position) = position {
            let replica = replicas.remove(position);
            self.put_chunk(id, index);
            self.remove(now, user, id, there(&replica), Reason::Abandoned);
        }
    }

    fn remove(&mut self, now: Now, user: UserId, id: &FileId, there: There, reason: Reason) {
        let others = self
            .removals
            .range((id.clone(), 0)..=(id.clone(), u32::MAX));
        let last = others.map(|((_, number), _)| *number).next_back();
        let number = last.map_or(0, |last| last.saturating_add(1));
        let record = RemovalRecord {
            user,
            router: there.router,
            id: there.id,
            key: there.key,
            since: now.unix.seconds(),
            reason,
            given_up: None,
        };
        self.put(Key::of_file(Kind::Removal, id, number), to_bytes(&record));
        self.keep_removal(now, id.clone(), number, record);
        self.touch(id);
    }

    /// Keeps in memory what is to be deleted.
    pub(super) fn keep_removal(
        &mut self,
        now: Now,
        id: FileId,
        number: u32,
        record: RemovalRecord,
    ) {
        let deadline = due(now, record.since, self.config.delete_expiry);
        if record.given_up.is_none() {
            self.deadlines
                .insert((deadline, Wake::RemovalExpired(id.clone(), number)));
        }
        let removal = Removal {
            record,
            job: None,
            op: OpId(0),
            deadline,
            error: None,
        };
        self.removals.insert((id, number), removal);
    }

    /// The next deletion that a router can be asked for now.
    pub(super) fn next_removal(&self) -> Option<(Task, Job)> {
        if !self.may_ask() {
            return None;
        }
        let ready = |removal: &Removal| {
            removal.job.is_none()
                && removal.op <= self.stored
                && removal.record.given_up.is_none()
                && self.usable(&removal.router()) == Usable::Now
        };
        let ((id, number), removal) = self.removals.iter().find(|(_, removal)| ready(removal))?;
        let (user, router) = removal.router();
        let question = Question::Delete(Asking {
            id: removal.record.id.clone(),
            key: Arc::new(removal.record.key.clone()),
        });
        let ask = Job::Ask {
            user,
            router,
            question,
        };
        Some((Task::Remove(id.clone(), *number), ask))
    }

    pub(super) fn removed(
        &mut self,
        now: Now,
        id: &FileId,
        number: u32,
        router: &RouterKey,
        ended: Result<Outcome, Failure>,
    ) {
        let Some(removal) = self.removals.get_mut(&(id.clone(), number)) else {
            return;
        };
        removal.job = None;
        let failure = match ended {
            Ok(_) => return self.forget_removal(id, number),
            // It has expired, or was deleted before the answer was lost.
            Err(failure) if failure.is_unknown() => return self.forget_removal(id, number),
            Err(failure) => failure,
        };
        removal.error = Some(failure.error(Some(&router.1)));
        match failure.means() {
            Means::Later => self.rest(now, router),
            Means::Never | Means::Hopeless => self.give_up_removal(id, number),
        }
    }

    /// It will not be deleted, which is told with the rest of the file.
    pub(super) fn give_up_removal(&mut self, id: &FileId, number: u32) {
        let Some(removal) = self.removals.get_mut(&(id.clone(), number)) else {
            return;
        };
        if removal.record.reason == Reason::Abandoned {
            return self.forget_removal(id, number);
        }
        let expired = || AgentError::File {
            error: FileProblem::Expired,
        };
        removal.record.given_up = Some(removal.error.take().unwrap_or_else(expired));
        let value = to_bytes(&removal.record);
        self.put(Key::of_file(Kind::Removal, id, number), value);
        self.end_removal(id, number);
        self.tell_deleted(id);
    }

    fn forget_removal(&mut self, id: &FileId, number: u32) {
        self.end_removal(id, number);
        self.delete(Key::of_file(Kind::Removal, id, number));
        let removal = self.removals.remove(&(id.clone(), number));
        if removal.is_some_and(|removal| removal.record.reason == Reason::Deleted) {
            self.tell_deleted(id);
        }
    }

    /// Nothing is waited for any more.
    fn end_removal(&mut self, id: &FileId, number: u32) {
        let this = |task: &Task| *task == Task::Remove(id.clone(), number);
        self.cancel(this);
        if let Some(removal) = self.removals.get(&(id.clone(), number)) {
            let expired = (removal.deadline, Wake::RemovalExpired(id.clone(), number));
            self.deadlines.remove(&expired);
        }
    }

    /// Says that a file is deleted, if nothing is left to be done.
    fn tell_deleted(&mut self, id: &FileId) {
        let of_file = self
            .removals
            .range((id.clone(), 0)..=(id.clone(), u32::MAX));
        let wanted = of_file.filter(|(_, removal)| removal.record.reason == Reason::Deleted);
        let wanted: Vec<_> = wanted
            .map(|((_, number), removal)| (*number, removal.record.given_up.clone()))
            .collect();
        if wanted.iter().any(|(_, given_up)| given_up.is_none()) {
            return;
        }
        for (number, _) in &wanted {
            self.delete(Key::of_file(Kind::Removal, id, *number));
            self.removals.remove(&(id.clone(), *number));
        }
        let error = wanted.into_iter().find_map(|(_, given_up)| given_up);
        self.tell(id, FileEvent::Deleted { error });
    }

    /// The files of a user are forgotten, and what is to be deleted of them.
    pub(super) fn delete_user(&mut self, user: UserId) {
        self.users.remove(&user);
        let mine = self
            .files
            .iter()
            .filter(|(_, file)| file.record.user == user);
        let files: Vec<_> = mine.map(|(id, _)| id.clone()).collect();
        for id in files {
            self.drop_file(&id, Received::Removed);
        }
        let mine = self
            .removals
            .iter()
            .filter(|(_, removal)| removal.record.user == user);
        let removals: Vec<_> = mine.map(|(key, _)| key.clone()).collect();
        for (id, number) in removals {
            self.end_removal(&id, number);
            self.delete(Key::of_file(Kind::Removal, &id, number));
            self.removals.remove(&(id, number));
        }
    }
}

impl Removal {
    fn router(&self) -> RouterKey {
        (self.record.user, self.record.router.clone())
    }
}

fn there(replica: &ReplicaRecord) -> There {
    There {
        router: replica.router.clone(),
        id: replica.id.clone(),
        key: replica.key.clone(),
    }
}
