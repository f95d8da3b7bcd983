//! What is being loaded, and what waits for it.

use std::collections::{BTreeMap, VecDeque};

use super::blocks::Place;
use super::cache::{Loading, Waited};
use super::operator::Operation;
use super::store::{Load, Loaded};
use super::totals::Amounts;
use super::{Action, ConnId, LoadId, Router, Ticket};
use crate::smp::ErrorType;
use crate::smp::handshake::ServiceRole;
use crate::smp::server::{self, BlockId, Party};
use crate::wire::EntityId;

/// How many messages are loaded at a time.
const MESSAGES: u64 = 8;

/// What is to be done with a queue once it is in memory, or known not to exist.
#[derive(Debug, Clone)]
pub(super) enum Job {
    /// Its keys answer a look-up.
    Keys(Place),
    /// It does not exist, and is looked up all the same.
    Nobody(ConnId, BlockId),
    /// A command is to be executed on it.
    Command(Place, Box<server::Request>),
    /// It would have an id that a new queue or link is to have.
    Claim(Place, Box<server::Request>, Claim),
    /// Its first message is to be delivered to the service that receives its messages.
    DeliverToService(ConnId, EntityId),
    /// Its notifications are to be delivered to the service that receives them.
    NotifyService(ConnId, EntityId),
    /// Its old messages are to be removed.
    Expire,
    /// The operator wants something, and has named the queue by an id of this party.
    Operate(Ticket, Operation, Party),
}

/// An id that must not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// Of the sender of a new queue.
    NewSender,
    /// Of the link of a new queue.
    NewLink,
    /// Of a link to an existing queue.
    SetLink,
}

/// What a load is for.
#[derive(Debug, Clone)]
pub(super) enum For {
    /// The jobs on a queue.
    Queue(Party, EntityId),
    /// The messages of a queue.
    Messages(EntityId),
    /// The notifications of a notifier, for its subscriber.
    Notifications(ConnId, EntityId),
    /// A service that introduces itself.
    Service(ConnId),
    /// The queues of a service, one chunk after the other.
    ServiceQueues(ConnId, ServiceRole),
    /// Queues with old messages.
    Expired,
    /// Notifiers with old notifications.
    ExpiredNotifications,
    /// How much there is, when this had changed.
    Totals(Amounts),
}

/// What is being loaded.
#[derive(Debug, Clone, Default)]
pub(super) struct Loads {
    in_flight: BTreeMap<LoadId, For>,
    next: u64,
    /// Loads that wait until others are answered.
    waiting: VecDeque<(For, Load)>,
    /// Jobs that wait for a queue, by the id that they know it by, each with its place in the order of all.
    jobs: BTreeMap<(Party, EntityId), Vec<(u64, Job)>>,
    next_job: u64,
    /// Jobs that wait for the messages of their queue.
    message_jobs: BTreeMap<EntityId, Vec<Job>>,
}

impl Loads {
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

impl Router {
    pub(super) fn load(&mut self, mut what: For, load: Load) {
        if self.loads.in_flight.len() >= self.config.max_loads {
            self.loads.waiting.push_back((what, load));
            self.counters.loads_delayed = self.counters.loads_delayed.saturating_add(1);
            return;
        }
        if let For::Totals(changed) = &mut what {
            *changed = self.totals.changed;
        }
        let id = LoadId(self.loads.next);
        self.loads.next = self.loads.next.wrapping_add(1);
        self.loads.in_flight.insert(id, what);
        self.actions.push(Action::Load(id, load));
    }

    /// Does a job on a queue: now, or when it is loaded, and after the jobs that wait for its messages.
    pub(super) fn with_queue(&mut self, party: Party, id: &EntityId, job: Job) {
        if let Some(recipient_id) = self.cache.find(party, id) {
            match self.loads.message_jobs.get_mut(&recipient_id) {
                Some(jobs) if !matches!(job, Job::Keys(_)) => jobs.push(job),
                Some(_) | None => self.run(Some(&recipient_id), job),
            }
            return;
        }
        let key = (party, id.clone());
        let job = (self.loads.next_job, job);
        self.loads.next_job = self.loads.next_job.wrapping_add(1);
        match self.loads.jobs.get_mut(&key) {
            Some(jobs) => jobs.push(job),
            None => {
                self.loads.jobs.insert(key, vec![job]);
                self.load(
                    For::Queue(party, id.clone()),
                    Load::Queue(party, id.clone()),
                );
            }
        }
    }

    /// Does a job again when the first message of its queue is loaded.
    pub(super) fn with_messages(&mut self, recipient_id: &EntityId, job: Job) {
        let jobs = self.loads.message_jobs.entry(recipient_id.clone());
        jobs.or_default().push(job);
        self.load_messages(recipient_id);
    }

    fn load_messages(&mut self, recipient_id: &EntityId) {
        let Some(queue) = self.cache.get_mut(recipient_id) else {
            return;
        };
        if queue.loading == Loading::Yes {
            return;
        }
        queue.loading = Loading::Yes;
        let position = queue.messages.position();
        let load = Load::Messages {
            queue: recipient_id.clone(),
            from: position.head,
            before: position.tail.min(position.head.saturating_add(MESSAGES)),
        };
        self.load(For::Messages(recipient_id.clone()), load);
    }

    pub(super) fn loaded(&mut self, id: LoadId, loaded: Loaded) {
        let Some(what) = self.loads.in_flight.remove(&id) else {
            return;
        };
        if let Some((next, load)) = self.loads.waiting.pop_front() {
            self.load(next, load);
        }
        match (what, loaded) {
            (For::Queue(party, id), Loaded::Queue(queue)) => {
                let inserted = queue.and_then(|queue| self.cache.insert(*queue));
                let recipient_id = self.cache.find(party, &id).or(inserted);
                self.queue_loaded((party, id), recipient_id);
            }
            (For::Queue(party, id), _) => {
                for (_, job) in self.loads.jobs.remove(&(party, id)).unwrap_or_default() {
                    self.job_fails(job);
                }
            }
            (For::Messages(id), Loaded::Messages(messages)) => {
                let jobs = self.loads.message_jobs.remove(&id).unwrap_or_default();
                let missing = messages.is_empty();
                // What was done with it may not have been stored: then it is loaded again.
                let found = self.cache.get_mut(&id).map(|queue| {
                    queue.loading = Loading::No;
                    queue.messages.loaded(messages);
                });
                for job in jobs {
                    match found {
                        Some(()) if missing => self.job_fails(job),
                        Some(()) | None => self.with_queue(Party::Recipient, &id, job),
                    }
                }
            }
            (For::Messages(id), _) => {
                if let Some(queue) = self.cache.get_mut(&id) {
                    queue.loading = Loading::No;
                }
                for job in self.loads.message_jobs.remove(&id).unwrap_or_default() {
                    self.job_fails(job);
                }
            }
            (For::Notifications(connection, notifier), Loaded::Notifications(notifications)) => {
                self.notifications_loaded(connection, &notifier, notifications);
            }
            (For::Service(connection), Loaded::Service(service)) => {
                self.service_loaded(connection, service.map(|service| *service));
            }
            (For::Service(connection), _) => self.refuse_service(connection),
            (For::ServiceQueues(connection, role), Loaded::Ids(ids)) => {
                self.service_queues_loaded(connection, role, ids);
            }
            (For::Expired, Loaded::Ids(ids)) => self.expired_loaded(ids),
            (For::ExpiredNotifications, Loaded::Ids(ids)) => self.notifications_expired(ids),
            (For::Totals(changed), Loaded::Totals(totals)) => self.totals_loaded(&totals, changed),
            (For::Totals(_), _) => self.totals.not_counted(),
            (
                For::Notifications(..)
                | For::ServiceQueues(..)
                | For::Expired
                | For::ExpiredNotifications,
                _,
            ) => {}
        }
    }

    /// Does all that waited for a queue, by whatever id, in order: nobody overtakes who has waited longer.
    fn queue_loaded(&mut self, by: (Party, EntityId), recipient_id: Option<EntityId>) {
        let queue = recipient_id.as_ref().and_then(|id| self.cache.get(id));
        let ids = queue.into_iter().flat_map(|queue| queue.record.ids());
        let recipient = recipient_id.as_ref().map(|id| (Party::Recipient, id));
        let mut jobs = self.loads.jobs.remove(&by).unwrap_or_default();
        for (party, id) in ids.chain(recipient) {
            jobs.extend(
                self.loads
                    .jobs
                    .remove(&(party, id.clone()))
                    .into_iter()
                    .flatten(),
            );
        }
        jobs.sort_by_key(|(place, _)| *place);
        let queue = recipient_id.as_ref().and_then(|id| self.cache.get_mut(id));
        if let Some(queue) = queue {
            let for_keys = |(_, job): &(u64, Job)| matches!(job, Job::Keys(_));
            if jobs.iter().any(for_keys) {
                queue.waited = Waited::Yes;
            }
        }
        for (_, job) in jobs {
            match &recipient_id {
                Some(id) => self.with_queue(Party::Recipient, id, job),
                None => self.run(None, job),
            }
        }
    }

    fn run(&mut self, recipient_id: Option<&EntityId>, job: Job) {
        match (job, recipient_id) {
            (Job::Keys(place), id) => {
                let queue = id.and_then(|id| self.cache.get(id));
                let keys = queue.map(|queue| std::sync::Arc::new(queue.keys()));
                self.answer_keys(place, keys);
            }
            (Job::Nobody(connection, block), _) => self.looked_for_nobody(connection, block),
            (Job::Command(place, request), Some(id)) => self.command(place, id, *request),
            (Job::Command(place, _), None) => self.refuse(place, ErrorType::Auth),
            (Job::Claim(place, request, claim), taken) => {
                self.claimed(place, *request, claim, taken.is_some());
            }
            (Job::DeliverToService(connection, _), Some(id)) => {
                self.deliver_to_service(connection, id);
            }
            (Job::NotifyService(connection, _), Some(id)) => self.notify_service(connection, id),
            (Job::Expire, Some(id)) => self.expire_queue(id),
            (Job::DeliverToService(connection, id) | Job::NotifyService(connection, id), None) => {
                self.served(connection, &id);
            }
            (Job::Expire, None) => {}
            (Job::Operate(ticket, operation, party), id) => {
                self.operate_on(ticket, operation, party, id);
            }
        }
    }

    /// The store cannot tell: what is not known is not done, and nobody learns why.
    fn job_fails(&mut self, job: Job) {
        match job {
            Job::Keys(place) => self.answer_keys(place, None),
            Job::Nobody(connection, block) => self.looked_for_nobody(connection, block),
            Job::Command(place, _) | Job::Claim(place, ..) => {
                let error = ErrorType::Store {
                    error: "storage failed".into(),
                };
                self.refuse(place, error);
            }
            Job::Operate(ticket, ..) => self.operated(ticket, super::Outcome::Failed),
            Job::DeliverToService(connection, id) => self.not_served(connection, &id),
            Job::NotifyService(connection, id) => self.served(connection, &id),
            Job::Expire => {}
        }
    }
}
