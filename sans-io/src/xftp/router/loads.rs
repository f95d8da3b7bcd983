//! Loads that are asked for, a bounded number at the same time: random ids are a cheap attack.

use std::collections::{BTreeMap, VecDeque};

use super::pending::Job;
use super::store::{Load, Loaded, LoadedFile, Party};
use super::{Action, Asker, Known, LoadId, Router};
use crate::wire::EntityId;
use crate::xftp::ErrorType;
use crate::xftp::server::{Call, Found};

use super::store::FileStatus;

/// What is to be done with what is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum For {
    Totals,
    /// A connection wants the key of a party.
    Key(Asker, Party),
    Download(Asker),
    Upload(Asker),
    /// The file of a recipient is to be changed: its sender is its name.
    Resolve(Job),
    /// The file is locked for this.
    Change(EntityId, Job),
    Expired(i64),
    /// Whoever wanted it is gone.
    Nobody,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Loads {
    max: usize,
    next: u64,
    in_flight: BTreeMap<LoadId, For>,
    waiting: VecDeque<(For, Load)>,
    /// How many had to wait for others.
    delayed: u64,
}

impl Loads {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            next: 0,
            in_flight: BTreeMap::new(),
            waiting: VecDeque::new(),
            delayed: 0,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) const fn delayed(&self) -> u64 {
        self.delayed
    }

    /// Those who wanted to upload are gone: what is loaded for them begins nothing.
    pub(super) fn forget_uploads(&mut self, is_gone: impl Fn(&Asker) -> bool) {
        let waiting = self.waiting.iter_mut().map(|(purpose, _)| purpose);
        for purpose in self.in_flight.values_mut().chain(waiting) {
            if matches!(purpose, For::Upload(asker) if is_gone(asker)) {
                *purpose = For::Nobody;
            }
        }
    }

    /// The next load that may be asked for.
    fn next(&mut self) -> Option<(LoadId, Load)> {
        if self.in_flight.len() >= self.max {
            return None;
        }
        let (purpose, load) = self.waiting.pop_front()?;
        let id = LoadId(self.next);
        self.next = self.next.wrapping_add(1);
        self.in_flight.insert(id, purpose);
        Some((id, load))
    }
}

impl Router {
    pub(super) fn load(&mut self, purpose: For, load: Load) {
        if self.loads.in_flight.len() >= self.loads.max {
            self.loads.delayed = self.loads.delayed.saturating_add(1);
        }
        self.loads.waiting.push_back((purpose, load));
        self.ask();
    }

    fn ask(&mut self) {
        while let Some((id, load)) = self.loads.next() {
            self.actions.push(Action::Load(id, load));
        }
    }

    pub(super) fn loaded(&mut self, id: LoadId, loaded: Loaded) {
        let Some(purpose) = self.loads.in_flight.remove(&id) else {
            return;
        };
        self.ask();
        match (purpose, loaded) {
            (For::Totals, Loaded::Totals(totals, statistics)) => {
                let first = !self.totals.was_known();
                self.totals.loaded(totals);
                if let (true, Some(statistics)) = (first, statistics) {
                    self.restore_statistics(&statistics);
                }
                self.go_on_uploading();
            }
            (For::Totals, _) => self.load(For::Totals, Load::Totals),
            (For::Key(asker, party), Loaded::File(file)) => self.tell_key(asker, party, file),
            (For::Download(asker), Loaded::File(file)) => self.download(asker, file),
            (For::Upload(asker), Loaded::File(file)) => self.upload(asker, file),
            (For::Resolve(job), Loaded::File(file)) => match file {
                Some(file) => self.change(file.record.sender_id, job),
                None => self.changed_nothing(job, ErrorType::Auth),
            },
            (For::Change(id, job), Loaded::File(file)) => {
                if self.do_job(job, file) == Locked::No {
                    self.unlock(&id);
                }
            }
            (For::Expired(before), Loaded::Ids(ids)) => self.expired(before, ids),
            (For::Key(asker, _) | For::Download(asker) | For::Upload(asker), _) => {
                self.refuse(asker, ErrorType::Internal);
            }
            (For::Resolve(job), _) => self.changed_nothing(job, ErrorType::Internal),
            (For::Change(id, job), _) => {
                self.changed_nothing(job, ErrorType::Internal);
                self.unlock(&id);
            }
            (For::Expired(_), _) => self.expiring.pause(),
            (For::Nobody, _) => {}
        }
    }

    fn tell_key(&mut self, asker: Asker, party: Party, file: Option<Box<LoadedFile>>) {
        let key = |file: LoadedFile| match party {
            Party::Sender => Some(file.record.sender_key),
            Party::Recipient => file.recipient_key,
        };
        let found = match file {
            None => Found::Nothing,
            Some(file) => match file.record.status {
                FileStatus::Off => Found::Nothing,
                FileStatus::Blocked(info) => Found::Blocked(info),
                FileStatus::Active => key(*file).map_or(Found::Nothing, Found::Key),
            },
        };
        let stream = asker.stream;
        self.call(asker, Call::Key { stream, found });
    }

    /// Changes a file, after those who have asked before.
    pub(super) fn change(&mut self, id: EntityId, job: Job) {
        if let Some(waiting) = self.locks.get_mut(&id) {
            waiting.push_back(job);
            return;
        }
        self.locks.insert(id.clone(), VecDeque::new());
        self.load_for_change(id, job);
    }

    fn load_for_change(&mut self, id: EntityId, job: Job) {
        let load = match &job {
            Job::Acknowledge(_, recipient_id) => Load::File(Party::Recipient, recipient_id.clone()),
            Job::Add(..)
            | Job::Delete(_)
            | Job::Publish(_)
            | Job::Expire(_)
            | Job::Reconcile(_)
            | Job::OperatorDelete(_)
            | Job::OperatorBlock(..) => Load::File(Party::Sender, id.clone()),
        };
        self.load(For::Change(id, job), load);
    }

    /// Lets the next one change a file. What was committed is seen by what is loaded from now on.
    pub(super) fn unlock(&mut self, id: &EntityId) {
        match self.locks.get_mut(id).and_then(VecDeque::pop_front) {
            Some(job) => self.load_for_change(id.clone(), job),
            None => {
                self.locks.remove(id);
            }
        }
    }

    pub(super) fn knows_totals(&self) -> bool {
        self.totals.known == Known::Yes
    }
}

/// Whether a file stays locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locked {
    /// Until the disk has answered.
    Yes,
    No,
}
