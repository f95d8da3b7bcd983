//! How often something was done at which router, and how much. It is stored a while after it has changed, or when nothing will wake the machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::job::{Failure, Job, Outcome, Question};
use super::routers::RouterKey;
use super::{Files, Wake};
use crate::agent::store::record::{from_bytes, to_bytes};
use crate::agent::store::{Key, Record};
use crate::smp::pool::UserId;
use crate::time::{Instant, Now};
use crate::wire;
use crate::wire::{ServerAddress, Version, XftpScheme};

/// Descriptions may name any router: so many are remembered.
const MAX: usize = 10_000;

/// How long changes may be in memory only.
const SAVED_AFTER: Duration = Duration::from_secs(10);

/// What was done at a router of files for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRouterStatistics {
    /// The user.
    pub user: UserId,
    /// The router.
    pub router: ServerAddress<XftpScheme>,
    /// How often, and how much.
    pub counts: FileRouterCounts,
}

wire! {
    /// How often something was done at a router of files, and how much.
    #[derive(Copy, Default)]
    pub struct FileRouterCounts {
        /// Chunks that it has taken.
        pub uploaded: u64,
        /// Their bytes.
        pub uploaded_bytes: u64,
        /// How often it was to take a chunk.
        pub upload_attempts: u64,
        /// How often it has not.
        pub upload_errors: u64,
        /// Chunks that it has given.
        pub downloaded: u64,
        /// Their bytes.
        pub downloaded_bytes: u64,
        /// How often it was to give a chunk.
        pub download_attempts: u64,
        /// How often it did not know the chunk, or the recipient.
        pub download_refusals: u64,
        /// How often it has not given one for another reason.
        pub download_errors: u64,
        /// Chunks that it has deleted.
        pub deleted: u64,
        /// How often it was to delete a chunk.
        pub delete_attempts: u64,
        /// How often it has not.
        pub delete_errors: u64,
    }
}

/// What was done at which router.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Statistics {
    routers: BTreeMap<RouterKey, FileRouterCounts>,
    changed: BTreeSet<RouterKey>,
    due: Option<Instant>,
}

/// What is counted of a job, with the size of the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    Upload(u32),
    Download(u32),
    Delete,
}

impl Counted {
    pub(super) const fn of(job: &Job) -> Option<Self> {
        let Job::Ask { question, .. } = job else {
            return None;
        };
        match question {
            Question::Upload(_, part) => Some(Self::Upload(part.size)),
            Question::Download(_, part, _) => Some(Self::Download(part.size)),
            Question::Delete(_) => Some(Self::Delete),
            Question::Create(..) | Question::AddRecipients(..) => None,
        }
    }
}

impl Statistics {
    pub(super) fn all(&self) -> Vec<FileRouterStatistics> {
        let all = self.routers.iter();
        all.map(|((user, router), counts)| FileRouterStatistics {
            user: *user,
            router: router.clone(),
            counts: *counts,
        })
        .collect()
    }

    fn count(&mut self, router: &RouterKey, count: impl FnOnce(&mut FileRouterCounts)) {
        if self.routers.len() < MAX || self.routers.contains_key(router) {
            self.changed.insert(router.clone());
            count(self.routers.entry(router.clone()).or_default());
        }
    }

    /// A router is asked for something.
    pub(super) fn begun(&mut self, router: &RouterKey, counted: Counted) {
        self.count(router, |counts| {
            add(
                match counted {
                    Counted::Upload(_) => &mut counts.upload_attempts,
                    Counted::Download(_) => &mut counts.download_attempts,
                    Counted::Delete => &mut counts.delete_attempts,
                },
                1,
            );
        });
    }

    /// It has done it, or not.
    pub(super) fn ended(
        &mut self,
        router: &RouterKey,
        counted: Counted,
        ended: &Result<Outcome, Failure>,
    ) {
        let refused = match ended {
            Ok(_) => false,
            Err(failure @ (Failure::Unreachable(_) | Failure::Request(_))) => failure.is_unknown(),
            // It is not the router that has failed.
            Err(Failure::FileIo(_) | Failure::Size | Failure::Digest) => return,
        };
        self.count(router, |counts| match (counted, ended) {
            (Counted::Upload(size), Ok(_)) => {
                add(&mut counts.uploaded, 1);
                add(&mut counts.uploaded_bytes, size);
            }
            (Counted::Upload(_), Err(_)) => add(&mut counts.upload_errors, 1),
            (Counted::Download(size), Ok(_)) => {
                add(&mut counts.downloaded, 1);
                add(&mut counts.downloaded_bytes, size);
            }
            (Counted::Download(_), Err(_)) if refused => add(&mut counts.download_refusals, 1),
            (Counted::Download(_), Err(_)) => add(&mut counts.download_errors, 1),
            (Counted::Delete, Ok(_)) => add(&mut counts.deleted, 1),
            (Counted::Delete, Err(_)) => add(&mut counts.delete_errors, 1),
        });
    }
}

fn add(counter: &mut u64, by: u32) {
    *counter = counter.saturating_add(by.into());
}

impl Files {
    /// What was counted before.
    pub(super) fn load_statistics(&mut self, Record { key, value }: &Record) {
        let version = Version::default();
        let user = wire::decode(version, &key.owner);
        let router = wire::decode(version, &key.id);
        if let (Ok(user), Ok(router), Ok(counts)) = (user, router, from_bytes(value)) {
            self.statistics.routers.insert((user, router), counts);
        }
    }

    /// What has changed is to be stored when it is time.
    pub(super) fn keep_statistics(&mut self, now: Now) {
        if self.statistics.due.is_none() && !self.statistics.changed.is_empty() {
            let due = now.instant + SAVED_AFTER;
            self.statistics.due = Some(due);
            self.deadlines.insert((due, Wake::Statistics));
        }
    }

    pub(super) fn save_statistics(&mut self) {
        if let Some(due) = self.statistics.due.take() {
            self.deadlines.remove(&(due, Wake::Statistics));
        }
        for place in std::mem::take(&mut self.statistics.changed) {
            if let Some(counts) = self.statistics.routers.get(&place) {
                let value = to_bytes(counts);
                self.put(Key::file_statistics(place.0, &place.1), value);
            }
        }
    }

    /// Forgets what was done for some users.
    pub(super) fn forget_statistics(&mut self, of: impl Fn(UserId) -> bool) {
        let statistics = &mut self.statistics;
        statistics.changed.retain(|(user, _)| !of(*user));
        let (gone, rest) = std::mem::take(&mut statistics.routers)
            .into_iter()
            .partition(|((user, _), _)| of(*user));
        statistics.routers = rest;
        let gone: BTreeMap<RouterKey, FileRouterCounts> = gone;
        for (user, router) in gone.into_keys() {
            self.delete(Key::file_statistics(user, &router));
        }
    }
}
