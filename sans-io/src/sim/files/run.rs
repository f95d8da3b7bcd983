//! A run: everything goes wrong for a while, then nothing. Every file ends, and is told of once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::operation::ROUTERS;
use super::{Behaviour, Operation, USER, World, address, receive};
use crate::agent::command::NetworkState;
use crate::agent::event::EventContent;
use crate::agent::file_event::{DescriptionText, FileEvent};
use crate::agent::files::command::{Command, Reply};
use crate::agent::files::job::{JobId, Outcome};
use crate::agent::files::record::Relays;
use crate::agent::files::{Activity, Input};
use crate::agent::id::{CommandId, EventId, FileId};
use crate::machine::Machine as _;
use crate::sim::{Direction, Trace};

const STEPS: usize = 400;

/// What was seen in a run.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// Files that were sent.
    pub sent: u64,
    /// Files that were received.
    pub received: u64,
    /// Files that have failed.
    pub failed: u64,
    /// Files that were deleted at their routers, as far as could be.
    pub deleted: u64,
    /// Crashes.
    pub crashes: u64,
}

impl Seen {
    /// Adds what was seen in another run.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.failed += other.failed;
        self.deleted += other.deleted;
        self.crashes += other.crashes;
    }

    fn see(&mut self, event: &EventContent) {
        let EventContent::File { event, .. } = event else {
            return;
        };
        let count = match event {
            FileEvent::Sent { .. } => &mut self.sent,
            FileEvent::Received { .. } => &mut self.received,
            FileEvent::Deleted { .. } => &mut self.deleted,
            _ => &mut self.failed,
        };
        *count += 1;
    }
}

/// Lets everything go wrong that this seed says, and checks what becomes of it.
pub fn run(seed: u64, trace: &mut Trace) -> Seen {
    let rng = &mut crate::sim::rng(seed);
    let mut run = Run::new();
    for _ in 0..STEPS {
        run.step(Operation::draw(rng), trace);
    }
    run.finish(trace)
}

/// Files of an agent that crashes, over routers that come and go.
pub(crate) struct Run {
    world: World,
    /// What the application wants to be gone: nobody need tell how it ends.
    deleted: BTreeSet<FileId>,
    /// The last time that all files were to be gone.
    user_deleted: Option<CommandId>,
    confirmed: BTreeSet<EventId>,
    /// How many events processes have told that are gone.
    heard_before: usize,
    network: NetworkState,
    activity: Activity,
    /// What was begun by processes that are gone is not heard of.
    jobs: u64,
    seen: Seen,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self {
            world: World::new(ROUTERS),
            deleted: BTreeSet::new(),
            user_deleted: None,
            confirmed: BTreeSet::new(),
            heard_before: 0,
            network: NetworkState::Online,
            activity: Activity::Active,
            jobs: 0,
            seen: Seen::default(),
        }
    }

    /// Lets something happen.
    pub(crate) fn step(&mut self, operation: Operation, trace: &mut Trace) {
        let at = self.world.now.instant;
        trace.record(at, "run", Direction::Input, format_args!("{operation:?}"));
        let begun = self.world.begun.len();
        match operation {
            Operation::Send {
                name,
                recipients,
                replicas,
            } => {
                // Some files are not there.
                let path = match name % 10 {
                    0 => format!("missing {name}"),
                    _ => format!("file {name}"),
                };
                self.world.command(Command::Send {
                    file: None,
                    user: USER,
                    path,
                    local: None,
                    recipients,
                    replicas,
                });
            }
            Operation::Receive { sent } => {
                if let Some((_, _, text)) = self.sent(sent) {
                    self.world.command(receive(&text, Relays::Approved));
                }
            }
            Operation::SendDescription { sent } => {
                if let Some((_, _, text)) = self.sent(sent)
                    && let Ok(description) = text.description()
                    && description.redirect.is_none()
                {
                    self.world.command(Command::SendDescription {
                        user: USER,
                        description: Box::new(description),
                        recipients: 1,
                        replicas: 1,
                    });
                }
            }
            Operation::DeleteRemotely { sent } => {
                if let Some((file, sender, _)) = self.sent(sent) {
                    self.world.command(Command::DeleteRemotely {
                        user: USER,
                        file,
                        sender: sender.description().ok().map(Box::new),
                    });
                }
            }
            Operation::Delete { file } => {
                let known = self.known();
                if let Some(file) = file.checked_rem(known.len()).map(|at| known[at].clone()) {
                    self.deleted.insert(file.clone());
                    let files = vec![file];
                    self.world.command(Command::Delete { files });
                }
            }
            Operation::DeleteUser => {
                self.user_deleted = Some(self.world.command(Command::DeleteUser { user: USER }));
                self.world.set_routers();
            }
            Operation::Confirm { event } => {
                let told = self.world.events.iter().skip(self.heard_before);
                let told: Vec<_> = told.filter_map(|of| of.id).collect();
                if let Some(event) = event.checked_rem(told.len()).map(|at| told[at]) {
                    self.confirmed.insert(event);
                    self.world.command(Command::Confirm { event });
                }
            }
            Operation::TestRouter { router } => {
                self.world.command(Command::TestRouter {
                    user: USER,
                    router: address(router % ROUTERS),
                    password: None,
                });
            }
            Operation::Store => {
                self.world.store_next();
            }
            Operation::End { job, fate } => {
                let jobs = self.world.jobs.len();
                self.world.job(job.checked_rem(jobs).unwrap_or(0), fate);
            }
            Operation::EndAgain { job } => {
                let id = JobId(u64::try_from(job).unwrap_or_default() % self.jobs.max(1));
                if !self.world.jobs.contains_key(&id) {
                    self.world.give(Input::Ended(id, Ok(Outcome::Done)));
                }
            }
            Operation::Wait => {
                // Not until a file is given up.
                let soon = self.world.now.instant + Duration::from_secs(600);
                if self.world.files.deadline().is_some_and(|due| due <= soon) {
                    self.world.wait();
                }
            }
            Operation::Pass(time) => {
                let until = self.world.now.instant + time;
                self.world.advance(until);
            }
            Operation::Crash => {
                self.heard_before = self.world.events.len();
                self.world.crash();
                self.set_moods();
                self.seen.crashes += 1;
            }
            Operation::Router { router, behaviour } => {
                self.world.set(router % ROUTERS, behaviour);
            }
            Operation::Lose { router } => {
                let router = self.world.routers.get_mut(&address(router % ROUTERS));
                router.unwrap().chunks.pop_first();
            }
            Operation::Network => {
                self.network = match self.network {
                    NetworkState::Online => NetworkState::Offline,
                    NetworkState::Offline => NetworkState::Online,
                };
                self.set_moods();
            }
            Operation::Activity => {
                self.activity = match self.activity {
                    Activity::Active => Activity::Finishing,
                    Activity::Finishing => Activity::Stopped,
                    Activity::Stopped => Activity::Active,
                };
                self.set_moods();
            }
            Operation::Mend => self.mend(),
        }
        self.jobs += u64::try_from(self.world.begun.len() - begun).unwrap_or_default();
    }

    fn mend(&mut self) {
        for router in 0..ROUTERS {
            self.world.set(router, Behaviour::Works);
        }
        (self.network, self.activity) = (NetworkState::Online, Activity::Active);
        self.set_moods();
    }

    /// What no process remembers.
    fn set_moods(&mut self) {
        self.world.network(self.network);
        self.world.activity(self.activity);
    }

    /// A file that was sent: its name, and the descriptions for its sender and its first recipient.
    fn sent(&self, number: usize) -> Option<(FileId, DescriptionText, DescriptionText)> {
        let sent: Vec<_> = self
            .world
            .events
            .iter()
            .filter_map(|event| match &event.content {
                EventContent::File {
                    file,
                    event: FileEvent::Sent { sender, recipients },
                } => Some((file.clone(), sender.clone(), recipients[0].clone())),
                _ => None,
            })
            .collect();
        let at = number.checked_rem(sent.len())?;
        Some(sent[at].clone())
    }

    /// The files that the application was told the name of.
    fn known(&self) -> Vec<FileId> {
        let named = self
            .world
            .replies
            .iter()
            .filter_map(|(_, reply)| match reply {
                Ok(Reply::File(id)) => Some(id.clone()),
                _ => None,
            });
        named.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Everything works again, and all comes to an end.
    pub(crate) fn finish(mut self, trace: &mut Trace) -> Seen {
        self.mend();
        self.world.finish();
        self.check_replies();
        self.deleted.extend(self.deleted_with_user());
        let known = self.known();
        for file in &known {
            self.check(file);
        }
        assert!(self.world.keeps_events_only(), "{:?}", self.world.kinds());
        self.check_events();
        let (at, done) = (
            self.world.now.instant,
            (&self.world.replies, &self.world.begun),
        );
        trace.record(at, "run", Direction::Action, format_args!("{done:?}"));
        self.seen
    }

    /// What was asked for before the user was deleted.
    fn deleted_with_user(&self) -> Vec<FileId> {
        let before = |id: &CommandId| self.user_deleted.is_some_and(|deletion| *id < deletion);
        let replies = self.world.replies.iter();
        let files = replies.filter_map(|(id, reply)| match reply {
            Ok(Reply::File(file)) if before(id) => Some(file.clone()),
            _ => None,
        });
        files.collect()
    }

    /// Nobody is answered twice.
    fn check_replies(&self) {
        let mut answered: BTreeSet<CommandId> = BTreeSet::new();
        for (id, reply) in &self.world.replies {
            assert!(answered.insert(*id), "another reply: {reply:?}");
        }
    }

    /// A file has one end, unless nobody wants to know of it.
    fn check(&self, file: &FileId) {
        let told = self.world.kept(file);
        let ends = told
            .iter()
            .filter(|event| !matches!(event, FileEvent::Deleted { .. }))
            .count();
        match self.deleted.contains(file) {
            true => assert!(ends <= 1, "{file}: {told:?}"),
            false => assert_eq!(ends, 1, "{file}: {told:?}"),
        }
        let place = self.world.disk.get(file);
        if let (Some(FileEvent::Received { .. }), false) =
            (told.first(), self.deleted.contains(file))
        {
            assert!(place.is_some_and(|place| place.received.is_some()));
        }
        assert!(place.is_none_or(|place| place.encrypted.is_none()));
    }

    /// What was told and not confirmed is told again by the next process, and nothing else.
    fn check_events(&mut self) {
        let mut told: BTreeMap<EventId, EventContent> = BTreeMap::new();
        for event in std::mem::take(&mut self.world.events) {
            let Some(id) = event.id else { continue };
            match told.insert(id, event.content.clone()) {
                Some(before) if before == event.content => {}
                before => {
                    // Numbers are used again when nobody needs them.
                    let is_new = before.is_none() || self.confirmed.contains(&id);
                    assert!(is_new, "{id:?} was {before:?} and is {:?}", event.content);
                    self.seen.see(&event.content);
                }
            }
        }
        self.world.crash();
        self.world.finish();
        let again: BTreeSet<_> = self.world.events.iter().filter_map(|of| of.id).collect();
        for id in told.keys() {
            let is_known = again.contains(id) || self.confirmed.contains(id);
            assert!(is_known, "{id:?} is forgotten");
        }
        for event in std::mem::take(&mut self.world.events) {
            let id = event.id.expect("it is kept");
            assert_eq!(told.get(&id), Some(&event.content), "it is a new one");
            self.world.command(Command::Confirm { event: id });
        }
        while self.world.store_next() {}
        self.world.crash();
        self.world.finish();
        assert!(self.world.events.is_empty() && self.world.kinds().is_empty());
    }
}
