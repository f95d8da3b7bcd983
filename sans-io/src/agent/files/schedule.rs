//! What is begun, and in which order.

use super::Files;
use super::job::{Job, JobId};
use super::machine::{Action, Activity, Begun, Task};
use super::record::Stage;
use super::routers::RouterKey;
use super::statistics::Counted;
use crate::agent::command::NetworkState;
use crate::agent::error::AgentError;
use crate::agent::id::FileId;

impl Files {
    /// Begins a job; nobody waits for it unless it is [kept](Self::expect).
    pub(super) fn begin_job(&mut self, job: Job) -> JobId {
        let id = self.next_job;
        self.next_job = JobId(id.0.saturating_add(1));
        self.actions.push(Action::Begin(id, job));
        id
    }

    /// Begins a job whose answer is wanted.
    pub(super) fn expect(&mut self, task: Task, job: Job) {
        let router = match &job {
            Job::Ask { user, router, .. } | Job::Test { user, router, .. } => {
                Some((*user, router.clone()))
            }
            Job::Encrypt { .. } | Job::Decrypt { .. } | Job::Discard { .. } | Job::Sweep { .. } => {
                None
            }
        };
        let counted = Counted::of(&job);
        if let (Some(router), Some(counted)) = (&router, counted) {
            self.statistics.begun(router, counted);
        }
        let id = self.begin_job(job);
        match &task {
            Task::Encrypt(file) | Task::Decrypt(file) => {
                if let Some(file) = self.files.get_mut(file) {
                    file.crypting = Some(id);
                }
            }
            Task::Chunk(file, index, _) => {
                if let Some(chunk) = self.chunk(file, *index) {
                    chunk.job = Some(id);
                }
            }
            Task::Remove(file, number) => {
                if let Some(removal) = self.removals.get_mut(&(file.clone(), *number)) {
                    removal.job = Some(id);
                }
            }
            Task::Test(_) => {}
        }
        self.jobs.insert(
            id,
            Begun {
                task,
                router,
                counted,
            },
        );
    }

    /// Begins what can be begun: of each file one thing after the other, so that none waits for another one.
    pub(super) fn schedule(&mut self) {
        if self.held.is_some() || !self.may_begin() {
            return;
        }
        loop {
            let mut begun = false;
            let mut ids: Vec<FileId> = self.files.keys().cloned().collect();
            let next = ids.partition_point(|id| Some(id) <= self.served.as_ref());
            ids.rotate_left(next);
            for id in ids {
                if let Some((task, job)) = self.next_of(&id) {
                    self.served = Some(id);
                    self.expect(task, job);
                    begun = true;
                }
            }
            if let Some((task, job)) = self.next_removal() {
                self.expect(task, job);
                begun = true;
            }
            if !begun {
                return;
            }
        }
    }

    /// Whether anything may be begun.
    pub(super) fn may_begin(&self) -> bool {
        self.activity == Activity::Active && self.network == NetworkState::Online
    }

    /// What is to be begun next of a file, if that can be begun now.
    fn next_of(&mut self, id: &FileId) -> Option<(Task, Job)> {
        let crypting = self.jobs.values().filter(|begun| begun.router.is_none());
        let may_crypt = crypting.count() < self.config.crypting;
        let may_ask = self.may_ask();
        let stored = self.stored;
        let file = self.files.get_mut(id)?;
        if file.op > stored || file.crypting.is_some() {
            return None;
        }
        let complete = file.is_complete();
        match &file.record.stage {
            Stage::Encrypting { .. } if may_crypt => self.next_encryption(id),
            Stage::Receiving { .. } if complete && may_crypt => self.next_decryption(id),
            Stage::Receiving { .. } if !complete && may_ask => self.next_download(id),
            Stage::Uploading { .. } if may_ask => self.next_upload(id),
            Stage::Encrypting { .. } | Stage::Receiving { .. } | Stage::Uploading { .. } => None,
        }
    }

    /// Whether another router may be asked for something.
    pub(super) fn may_ask(&self) -> bool {
        let asked = self.jobs.values().filter(|begun| begun.router.is_some());
        asked.count() < self.config.at_once
    }

    /// Ends jobs as if they had never begun.
    pub(super) fn cancel(&mut self, which: impl Fn(&Task) -> bool) {
        self.cancel_jobs(|begun| which(&begun.task));
    }

    /// The same for all that a router is asked for.
    pub(super) fn cancel_at(&mut self, router: &RouterKey) {
        let waits = |begun: &Begun| !matches!(begun.task, Task::Test(_));
        self.cancel_jobs(|begun| begun.router.as_ref() == Some(router) && waits(begun));
    }

    fn cancel_jobs(&mut self, which: impl Fn(&Begun) -> bool) {
        let jobs: Vec<_> = self
            .jobs
            .iter()
            .filter(|(_, begun)| which(begun))
            .map(|(id, _)| *id)
            .collect();
        for job in jobs {
            let Some(begun) = self.jobs.remove(&job) else {
                continue;
            };
            match begun.task {
                Task::Encrypt(file) | Task::Decrypt(file) => {
                    if let Some(file) = self.files.get_mut(&file) {
                        file.crypting = None;
                    }
                }
                Task::Chunk(file, index, _) => {
                    if let Some(chunk) = self.chunk(&file, index) {
                        chunk.job = None;
                    }
                }
                Task::Remove(file, number) => {
                    if let Some(removal) = self.removals.get_mut(&(file, number)) {
                        removal.job = None;
                    }
                }
                Task::Test(command) => {
                    let reply = Action::Reply(command, Err(AgentError::Inactive));
                    self.after.push(reply);
                }
            }
            self.actions.push(Action::Cancel(job));
        }
    }
}
