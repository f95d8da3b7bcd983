//! Sending: the file is encrypted, then every chunk is put on as many routers as are wanted.

use std::sync::Arc;

use super::Files;
use super::command::Reply;
use super::file::{File, uploaded};
use super::job::{
    Content, Failure, Job, Means, Outcome, Part, Party as Asking, Question, Received,
};
use super::machine::{OfChunk, Task};
use super::record::{
    ChunkRecord, FileRecord, Origin, Plan, Recipient, RedirectRecord, ReplicaRecord, ReplicaStage,
    Stage,
};
use super::routers::{RouterKey, Usable};
use crate::agent::error::AgentError;
use crate::agent::file_event::{DescriptionText, FileEvent};
use crate::agent::id::FileId;
use crate::crypto::{AuthPrivateKey, Nonce, Secret, ed25519};
use crate::rng::Rng;
use crate::smp::pool::UserId;
use crate::time::Now;
use crate::wire::{EntityId, NonEmpty, ServerAddress, Short, XftpScheme};
use crate::xftp::NewFile;
use crate::xftp::description::{
    ChunkDigest, FileChunk, FileDescription, Parts, Party, Redirect, Replica,
};

/// The name of a file that holds a description.
const DESCRIPTION: &str = "direct.yaml";

/// The keys of a chunk that is being created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Keys {
    sender: Arc<AuthPrivateKey>,
    recipients: Vec<AuthPrivateKey>,
}

/// What is known of a chunk when all of it is.
struct Placed<'a> {
    size: u32,
    digest: ChunkDigest,
    replicas: &'a [ReplicaRecord],
}

impl Files {
    pub(super) fn send(
        &mut self,
        now: Now,
        file: Option<FileId>,
        user: UserId,
        source: Origin,
        recipients: u16,
        replicas: u8,
    ) -> Result<Reply, AgentError> {
        if let Origin::Description { description } = &source
            && (description.party != Party::Recipient || description.redirect.is_some())
        {
            return Err(AgentError::prohibited("not the description of a file"));
        }
        if recipients == 0 || recipients > self.config.max_recipients {
            return Err(AgentError::prohibited("number of recipients"));
        }
        if !self.users.contains_key(&user) {
            return Err(AgentError::NoUser);
        }
        let replicas = replicas.max(1);
        if self.storing(user).count() < usize::from(replicas) {
            return Err(no_routers());
        }
        let id = self.new_id(file)?;
        let plan = Plan {
            key: Secret::generate(&mut self.rng),
            nonce: Nonce::generate(&mut self.rng),
            recipients,
            replicas,
        };
        let file = File::new(FileRecord {
            user,
            since: now.unix.seconds(),
            stage: Stage::Encrypting { source, plan },
        });
        self.keep_file(now, id.clone(), file);
        self.put_file(&id);
        Ok(Reply::File(id))
    }

    pub(super) fn next_encryption(&self, id: &FileId) -> Option<(Task, Job)> {
        let Stage::Encrypting { source, plan } = &self.files.get(id)?.record.stage else {
            return None;
        };
        let content = match source {
            Origin::File { path, local } => Content::File {
                path: path.clone(),
                local: local.clone(),
            },
            Origin::Description { description } => Content::Text {
                name: DESCRIPTION,
                text: description.to_string().into(),
            },
        };
        let encrypt = Job::Encrypt {
            file: id.clone(),
            content,
            key: plan.key.clone(),
            nonce: plan.nonce,
            max_size: self.config.max_size,
        };
        Some((Task::Encrypt(id.clone()), encrypt))
    }

    pub(super) fn encrypted(&mut self, now: Now, id: &FileId, ended: Result<Outcome, Failure>) {
        let (digest, chunks) = match ended {
            Ok(Outcome::Encrypted { digest, chunks }) => (digest, chunks),
            Ok(_) => return self.fail(now, id, AgentError::internal("another file")),
            Err(failure) => return self.fail(now, id, failure.error(None)),
        };
        let Some(file) = self.files.get_mut(id) else {
            return;
        };
        file.crypting = None;
        let Stage::Encrypting { source, plan } = &file.record.stage else {
            return;
        };
        let redirect = match source {
            Origin::File { .. } => None,
            Origin::Description { description } => Some(RedirectRecord {
                size: description.size,
                digest: description.digest,
            }),
        };
        file.record.stage = Stage::Uploading {
            plan: plan.clone(),
            digest,
            chunks: u32::try_from(chunks.len()).unwrap_or(u32::MAX),
            redirect,
        };
        let count = chunks.len();
        file.set_chunks(chunks.into_iter().map(|(size, digest)| {
            let replicas = Vec::new();
            let record = ChunkRecord::Sent {
                size,
                digest,
                replicas,
            };
            (size, record)
        }));
        self.put_file(id);
        for index in 0..count {
            self.put_chunk(id, index);
        }
    }

    /// The first chunk of which something can be done now.
    pub(super) fn next_upload(&mut self, id: &FileId) -> Option<(Task, Job)> {
        let file = self.files.get(id)?;
        let (user, plan) = (file.record.user, file.plan()?.clone());
        let (first, count) = (file.first, file.chunks.len());
        // Routers are drawn for one chunk only: the first for which there are any.
        for index in first..count {
            let file = self.files.get(id)?;
            let chunk = file.chunks.get(index)?;
            let ChunkRecord::Sent {
                size,
                digest,
                replicas,
            } = &chunk.record
            else {
                continue;
            };
            if chunk.job.is_some() || uploaded(replicas) >= usize::from(plan.replicas) {
                continue;
            }
            let created = |replica: &&ReplicaRecord| replica.stage == ReplicaStage::Created;
            let (what, router, question) = if let Some(replica) = replicas.iter().find(created) {
                let router = (user, replica.router.clone());
                if self.usable(&router) != Usable::Now {
                    continue;
                }
                let party = Asking {
                    id: replica.id.clone(),
                    key: Arc::new(replica.key.clone()),
                };
                let known = replica.recipients.len();
                match usize::from(plan.recipients).saturating_sub(known) {
                    0 => {
                        let part = Part {
                            file: id.clone(),
                            offset: chunk.offset,
                            size: *size,
                        };
                        (OfChunk::Upload, router, Question::Upload(party, part))
                    }
                    missing => {
                        let keys = self.keys(missing);
                        let public = public(&keys)?;
                        let question = Question::AddRecipients(party, public);
                        (OfChunk::AddRecipients(keys), router, question)
                    }
                }
            } else {
                let (size, digest) = (*size, *digest);
                let Choice::Now(router) = self.choose(id, index) else {
                    continue;
                };
                let password = self.storing(user).find(|known| known.address == router);
                let password = password.and_then(|known| known.password.clone());
                let keys = Keys {
                    sender: Arc::new(key(&mut self.rng)),
                    recipients: self.keys(plan.recipients.into()),
                };
                let new = NewFile {
                    sender_key: keys.sender.public_key(),
                    size,
                    digest: Short::try_from(&digest).ok()?,
                    recipients: public(&keys.recipients)?,
                    password,
                };
                let question = Question::Create(Box::new(new), Arc::clone(&keys.sender));
                (OfChunk::Create(Box::new(keys)), (user, router), question)
            };
            let (user, router) = router;
            let ask = Job::Ask {
                user,
                router,
                question,
            };
            return Some((Task::Chunk(id.clone(), index, what), ask));
        }
        None
    }

    /// Keys for some of the recipients that are missing.
    fn keys(&mut self, missing: usize) -> Vec<AuthPrivateKey> {
        let count = missing.min(self.config.recipients_at_once);
        (0..count).map(|_| key(&mut self.rng)).collect()
    }

    /// A router for a chunk that is not there yet, and has not refused it.
    fn choose(&mut self, id: &FileId, index: usize) -> Choice {
        let Some(file) = self.files.get(id) else {
            return Choice::None;
        };
        let user = file.record.user;
        let Some(chunk) = file.chunks.get(index) else {
            return Choice::None;
        };
        let ChunkRecord::Sent { replicas, .. } = &chunk.record else {
            return Choice::None;
        };
        let is_new = |router: &ServerAddress<XftpScheme>| {
            !chunk.refused.contains_key(router)
                && !replicas.iter().any(|replica| replica.router == *router)
        };
        let (mut now, mut soon, mut later) = (Vec::new(), false, false);
        for known in self.storing(user).filter(|known| is_new(&known.address)) {
            match self.usable(&(user, known.address.clone())) {
                Usable::Now => now.push(known.address.clone()),
                Usable::Soon => soon = true,
                Usable::Later => later = true,
            }
        }
        let count = u32::try_from(now.len()).unwrap_or(u32::MAX);
        if count > 0 {
            let chosen = usize::try_from(self.rng.below(count)).unwrap_or_default();
            return Choice::Now(now.swap_remove(chosen.min(now.len().saturating_sub(1))));
        }
        match (soon, later, self.users.contains_key(&user)) {
            (true, ..) => Choice::Soon,
            // Nobody has said yet which routers there are.
            (false, true, _) | (false, false, false) => Choice::Later,
            (false, false, true) => Choice::None,
        }
    }

    pub(super) fn created(
        &mut self,
        now: Now,
        id: &FileId,
        index: usize,
        keys: Keys,
        router: &RouterKey,
        ended: Result<Outcome, Failure>,
    ) {
        let failure = match ended {
            Ok(Outcome::Created {
                sender_id,
                recipient_ids,
            }) if recipient_ids.len() == keys.recipients.len() => {
                let replica = ReplicaRecord {
                    router: router.1.clone(),
                    id: sender_id,
                    key: (*keys.sender).clone(),
                    recipients: recipients(recipient_ids, keys.recipients),
                    stage: ReplicaStage::Created,
                };
                if let Some(chunk) = self.chunk(id, index)
                    && let ChunkRecord::Sent { replicas, .. } = &mut chunk.record
                {
                    replicas.push(replica);
                }
                return self.put_chunk(id, index);
            }
            Ok(_) => Self::unexpected(),
            Err(failure) => failure,
        };
        let error = failure.error(Some(&router.1));
        match failure.means() {
            Means::Later => self.rest(now, router),
            Means::Never => self.refused(id, index, router, &error),
            Means::Hopeless => return self.fail(now, id, error),
        }
        self.look_elsewhere(now, id, index, error);
    }

    pub(super) fn added(
        &mut self,
        now: Now,
        id: &FileId,
        index: usize,
        keys: Vec<AuthPrivateKey>,
        router: &RouterKey,
        ended: Result<Outcome, Failure>,
    ) {
        let failure = match ended {
            Ok(Outcome::Added(ids)) if ids.len() == keys.len() => {
                if let Some(replica) = self.replica(id, index, &router.1) {
                    replica.recipients.extend(recipients(ids, keys));
                }
                return self.put_chunk(id, index);
            }
            Ok(_) => Self::unexpected(),
            Err(failure) => failure,
        };
        self.not_uploaded(now, id, index, router, &failure);
    }

    pub(super) fn uploaded(
        &mut self,
        now: Now,
        id: &FileId,
        index: usize,
        router: &RouterKey,
        ended: Result<Outcome, Failure>,
    ) {
        let failure = match ended {
            Ok(Outcome::Done) => {
                if let Some(replica) = self.replica(id, index, &router.1) {
                    replica.stage = ReplicaStage::Uploaded;
                }
                self.put_chunk(id, index);
                if let Some(file) = self.files.get_mut(id) {
                    let (sent, of) = file.progress();
                    let complete = file.is_complete();
                    self.tell(id, FileEvent::SendProgress { sent, of });
                    if complete {
                        self.complete(now, id);
                    }
                }
                return;
            }
            Ok(_) => Self::unexpected(),
            Err(failure) => failure,
        };
        self.not_uploaded(now, id, index, router, &failure);
    }

    /// The router knows of a chunk that it has not taken.
    fn not_uploaded(
        &mut self,
        now: Now,
        id: &FileId,
        index: usize,
        router: &RouterKey,
        failure: &Failure,
    ) {
        let error = failure.error(Some(&router.1));
        let means = failure.means();
        if means == Means::Hopeless {
            return self.fail(now, id, error);
        }
        if means == Means::Later {
            self.rest(now, router);
        }
        let Some(chunk) = self.chunk(id, index) else {
            return;
        };
        chunk.failures = chunk.failures.saturating_add(1);
        let often = chunk.failures >= self.config.upload_attempts;
        // What a router has forgotten can be made there again.
        if means == Means::Never && (often || !failure.is_unknown()) {
            self.refused(id, index, router, &error);
        }
        let elsewhere = often && matches!(self.choose(id, index), Choice::Now(_) | Choice::Soon);
        if elsewhere && let Some(chunk) = self.chunk(id, index) {
            chunk.failures = 0;
        }
        if means == Means::Never || elsewhere {
            self.abandon(now, id, index, &router.1);
        }
        self.look_elsewhere(now, id, index, error);
    }

    fn refused(&mut self, id: &FileId, index: usize, router: &RouterKey, error: &AgentError) {
        if let Some(chunk) = self.chunk(id, index) {
            chunk.refused.insert(router.1.clone(), error.clone());
        }
    }

    /// Says what is wrong if there is no other router for now, and gives the file up if there will be none.
    fn look_elsewhere(&mut self, now: Now, id: &FileId, index: usize, error: AgentError) {
        if let Some(file) = self.files.get_mut(id) {
            file.error = Some(error.clone());
        }
        let chunk = self.chunk(id, index);
        let Some(ChunkRecord::Sent { replicas, .. }) = chunk.map(|chunk| &chunk.record) else {
            return;
        };
        let created = |replica: &&ReplicaRecord| replica.stage == ReplicaStage::Created;
        let waits = replicas.iter().any(|replica| created(&replica));
        match self.choose(id, index) {
            Choice::Now(_) | Choice::Soon => {}
            Choice::None if !waits => self.fail(now, id, error),
            Choice::Later | Choice::None => self.tell(id, FileEvent::SendWarning { error }),
        }
    }

    pub(super) fn replica(
        &mut self,
        id: &FileId,
        index: usize,
        router: &ServerAddress<XftpScheme>,
    ) -> Option<&mut ReplicaRecord> {
        let ChunkRecord::Sent { replicas, .. } = &mut self.chunk(id, index)?.record else {
            return None;
        };
        replicas
            .iter_mut()
            .find(|replica| replica.router == *router)
    }

    /// Everything is where it should be: the descriptions say where.
    fn complete(&mut self, now: Now, id: &FileId) {
        match self.files.get(id).map(described) {
            Some(Some((sender, recipients))) => {
                self.drop_file(id, Received::Removed);
                self.tell(id, FileEvent::Sent { sender, recipients });
            }
            Some(None) => self.fail(now, id, AgentError::internal("description")),
            None => {}
        }
    }
}

/// Where a chunk can go.
enum Choice {
    /// There.
    Now(ServerAddress<XftpScheme>),
    /// Somewhere, when something else has ended.
    Soon,
    /// Somewhere, when a router has been left alone for long enough.
    Later,
    /// Nowhere.
    None,
}

/// The descriptions of a file that is on its routers: for its sender, and for each recipient.
fn described(file: &File) -> Option<(DescriptionText, Vec<DescriptionText>)> {
    let Stage::Uploading {
        plan,
        digest,
        redirect,
        ..
    } = &file.record.stage
    else {
        return None;
    };
    let placed = file.chunks.iter().map(|chunk| match &chunk.record {
        ChunkRecord::Sent {
            size,
            digest,
            replicas,
        } => Some(Placed {
            size: *size,
            digest: *digest,
            replicas,
        }),
        ChunkRecord::Waiting { .. } | ChunkRecord::Downloaded => None,
    });
    let placed: Vec<Placed<'_>> = placed.collect::<Option<_>>()?;
    let parts = Parts {
        party: Party::Sender,
        size: placed.iter().map(|chunk| u64::from(chunk.size)).sum(),
        digest: *digest,
        key: plan.key.clone(),
        nonce: plan.nonce,
        chunk_size: placed.first().map_or(0, |chunk| chunk.size),
        chunks: Vec::new(),
        redirect: None,
    };
    let redirect = redirect.as_ref().map(|redirect| Redirect {
        size: redirect.size,
        digest: redirect.digest,
    });
    let sender = describe(&parts, Party::Sender, None, &placed, |replica| {
        Some((replica.id.clone(), replica.key.clone()))
    })?;
    let recipients = (0..usize::from(plan.recipients)).map(|number| {
        describe(
            &parts,
            Party::Recipient,
            redirect.clone(),
            &placed,
            |replica| {
                let recipient = replica.recipients.get(number)?;
                Some((recipient.id.clone(), recipient.key.clone()))
            },
        )
    });
    Some((sender, recipients.collect::<Option<_>>()?))
}

fn describe(
    parts: &Parts,
    party: Party,
    redirect: Option<Redirect>,
    placed: &[Placed<'_>],
    of: impl Fn(&ReplicaRecord) -> Option<(EntityId, AuthPrivateKey)>,
) -> Option<DescriptionText> {
    let there = |replica: &&ReplicaRecord| replica.stage == ReplicaStage::Uploaded;
    let chunk = |chunk: &Placed<'_>| -> Option<FileChunk> {
        let replicas = chunk.replicas.iter().filter(there).map(|replica| {
            let (id, key) = of(replica)?;
            Some(Replica {
                server: replica.router.clone(),
                id,
                key,
            })
        });
        Some(FileChunk {
            size: chunk.size,
            digest: chunk.digest,
            replicas: replicas.collect::<Option<_>>()?,
        })
    };
    let chunks = placed.iter().map(chunk).collect::<Option<_>>()?;
    let description = FileDescription::new(Parts {
        party,
        chunks,
        redirect,
        ..parts.clone()
    });
    Some(description.ok()?.to_string().into())
}

fn recipients(ids: Vec<EntityId>, keys: Vec<AuthPrivateKey>) -> Vec<Recipient> {
    let recipients = ids.into_iter().zip(keys);
    recipients.map(|(id, key)| Recipient { id, key }).collect()
}

fn key(rng: &mut Rng) -> AuthPrivateKey {
    ed25519::PrivateKey::generate(rng).into()
}

fn public(keys: &[AuthPrivateKey]) -> Option<NonEmpty<crate::crypto::AuthPublicKey>> {
    let keys: Vec<_> = keys.iter().map(AuthPrivateKey::public_key).collect();
    NonEmpty::try_from(keys).ok()
}

pub(super) fn no_routers() -> AgentError {
    AgentError::NoRouters {
        context: "files".into(),
    }
}
