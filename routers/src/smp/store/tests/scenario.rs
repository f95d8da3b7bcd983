//! Random commits, as a router makes them.

use bytes::Bytes;
use simplex_sans_io::crypto::IdsHash;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::sim::store::{Contents, FakeStore};
use simplex_sans_io::smp::handshake::ServiceRole;
use simplex_sans_io::smp::router::OpId;
use simplex_sans_io::smp::router::store::{
    Change, FORMAT, LinkRecord, Load, MessageContent, MessageRecord, NotificationRecord,
    NotifierRecord, Position, QueueRecord, QueueStatus, ServiceRecord,
};
use simplex_sans_io::smp::server::Party;
use simplex_sans_io::wire::{EntityId, Large, NonEmpty, Sample};

/// Makes commits and knows what they should lead to.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    rng: Rng,
    /// The store of simulations: what it answers is right.
    pub(crate) model: FakeStore,
    time: i64,
    body: usize,
}

impl Scenario {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self {
            rng: Rng::from_seed(seed),
            model: FakeStore::default(),
            time: 0,
            body: 0,
        }
    }

    /// Messages have bodies of this size.
    pub(crate) fn with_bodies(self, body: usize) -> Self {
        Self { body, ..self }
    }

    pub(crate) fn commit(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for _ in 0..=self.rng.below(3) {
            for change in self.changes() {
                self.foresee(change.clone());
                changes.push(change);
            }
        }
        changes
    }

    /// The model has this change from now on.
    pub(crate) fn foresee(&mut self, change: Change) {
        self.model.commit(OpId::default(), vec![change]);
        self.model.sync(1);
    }

    pub(crate) const fn known(&self) -> &Contents {
        self.model.contents()
    }

    fn changes(&mut self) -> Vec<Change> {
        self.time += i64::from(self.rng.below(10));
        let queue = self.any_queue();
        match (self.rng.below(16), queue) {
            (0..=2, _) | (_, None) => self.new_queue(),
            (3, Some(queue)) => self.delete_queue(queue),
            (4..=5, Some(queue)) => self.change_queue(queue),
            (6..=9, Some(queue)) => vec![self.put_message(&queue)],
            (10..=11, Some(queue)) => self.delete_messages(&queue),
            (12, Some(queue)) => self.put_notification(&queue),
            (13, Some(queue)) => self.delete_notifications(&queue),
            (14, _) => vec![Change::PutStatistics(Bytes::copy_from_slice(
                &self.rng.bytes::<4>(),
            ))],
            (_, _) => self.service(),
        }
    }

    fn sample<T: Sample>(&mut self) -> T {
        T::sample(FORMAT, &mut self.rng)
    }

    fn id(&mut self) -> EntityId {
        EntityId::from(self.rng.bytes())
    }

    fn any_queue(&mut self) -> Option<QueueRecord> {
        let count = self.known().queues.len() as u32;
        let index = self.rng.below(count) as usize;
        self.known().queues.values().nth(index).cloned()
    }

    fn any_service(&mut self) -> Option<EntityId> {
        let count = self.known().services.len() as u32;
        let index = self.rng.below(count + 1) as usize;
        self.known().services.keys().nth(index).cloned()
    }

    fn notifier(&mut self) -> NotifierRecord {
        NotifierRecord {
            id: self.id(),
            service_id: self.any_service(),
            ..self.sample()
        }
    }

    fn new_queue(&mut self) -> Vec<Change> {
        let queue = QueueRecord {
            recipient_keys: vec![self.sample(), self.sample()],
            recipient_id: self.id(),
            sender_id: self.id(),
            link: None,
            notifier: None,
            service_id: self.any_service(),
            ..self.sample()
        };
        vec![Change::PutQueue {
            queue: Box::new(queue),
            removed: Vec::new(),
        }]
    }

    fn change_queue(&mut self, before: QueueRecord) -> Vec<Change> {
        let mut queue = before.clone();
        match self.rng.below(6) {
            0 => queue.notifier = Some(Box::new(self.notifier())),
            1 => queue.notifier = None,
            2 => {
                queue.link = Some(Box::new(LinkRecord {
                    id: self.id(),
                    ..self.sample()
                }));
            }
            3 => queue.link = None,
            4 => queue.service_id = self.any_service(),
            _ => queue.status = self.sample::<QueueStatus>(),
        }
        let mut changes = Vec::new();
        if before.notifier.as_ref().map(|n| &n.id) != queue.notifier.as_ref().map(|n| &n.id) {
            changes = forget_notifier(&before);
        }
        let removed = before.ids().filter(|id| !queue.ids().any(|new| new == *id));
        let removed: Vec<(Party, EntityId)> =
            removed.map(|(party, id)| (party, id.clone())).collect();
        changes.push(Change::PutQueue {
            queue: Box::new(queue),
            removed,
        });
        changes
    }

    fn delete_queue(&mut self, queue: QueueRecord) -> Vec<Change> {
        let position = self.position(&queue);
        let mut changes = forget_notifier(&queue);
        changes.push(Change::DeleteQueue {
            queue: Box::new(queue),
            position,
        });
        changes
    }

    fn position(&self, queue: &QueueRecord) -> Position {
        let position = self.known().positions.get(&queue.recipient_id);
        position.copied().unwrap_or_default()
    }

    fn put_message(&mut self, queue: &QueueRecord) -> Change {
        let before = self.position(queue);
        let sequence = before.tail;
        let id = self.id();
        let mut message = MessageRecord {
            id,
            time: self.time,
            ..self.sample()
        };
        // A full queue takes messages again when it was emptied.
        if before.full && before.head < before.tail && message.content == MessageContent::Quota {
            message.content = self.sent();
        }
        let full = message.content == MessageContent::Quota;
        if let MessageContent::Sent { body, .. } = &mut message.content
            && self.body > 0
        {
            let mut bytes = vec![0; self.body];
            self.rng.fill(&mut bytes);
            *body = bytes.into();
        }
        Change::PutMessage {
            queue: queue.recipient_id.clone(),
            sequence,
            message,
            position: Position {
                head: before.head,
                tail: sequence + 1,
                full,
            },
        }
    }

    fn sent(&mut self) -> MessageContent {
        loop {
            match self.sample() {
                MessageContent::Quota => {}
                sent @ MessageContent::Sent { .. } => return sent,
            }
        }
    }

    fn delete_messages(&mut self, queue: &QueueRecord) -> Vec<Change> {
        let before = self.position(queue);
        let waiting = before.tail - before.head;
        let count = u64::from(self.rng.below(waiting as u32 + 1));
        vec![Change::DeleteMessages {
            queue: queue.recipient_id.clone(),
            from: before.head,
            position: Position {
                head: before.head + count,
                ..before
            },
        }]
    }

    fn put_notification(&mut self, queue: &QueueRecord) -> Vec<Change> {
        let Some(notifier) = &queue.notifier else {
            return Vec::new();
        };
        let last = self.places(&notifier.id).last().copied().unwrap_or(0);
        let sequence = last.max(1_000_000 * self.time as u64) + 1;
        let notification = NotificationRecord {
            message_id: self.id(),
            meta: self.rng.bytes::<8>().to_vec().into(),
            time: self.time,
            ..self.sample()
        };
        vec![Change::PutNotification {
            notifier: notifier.id.clone(),
            sequence,
            notification,
        }]
    }

    fn places(&self, notifier: &EntityId) -> Vec<u64> {
        let all = (notifier.clone(), 0)..=(notifier.clone(), u64::MAX);
        let found = self.known().notifications.range(all);
        found.map(|((_, place), _)| *place).collect()
    }

    fn delete_notifications(&mut self, queue: &QueueRecord) -> Vec<Change> {
        let Some(notifier) = &queue.notifier else {
            return Vec::new();
        };
        let places = self.places(&notifier.id);
        let index = self.rng.below(places.len() as u32 + 1) as usize;
        vec![Change::DeleteNotifications {
            notifier: notifier.id.clone(),
            before: places.get(index).copied().unwrap_or(u64::MAX),
        }]
    }

    fn service(&mut self) -> Vec<Change> {
        match self.any_service() {
            Some(service) => vec![Change::AdjustServiceTotals {
                service,
                count: i64::from(self.rng.below(5)) - 2,
                ids_hash: self.sample::<IdsHash>(),
            }],
            None => {
                let certificate = self.rng.bytes::<8>();
                let service = ServiceRecord {
                    chain: NonEmpty::one(Large::try_from(&certificate).unwrap()),
                    id: self.id(),
                    role: match self.rng.below(2) {
                        0 => ServiceRole::Messaging,
                        _ => ServiceRole::Notifier,
                    },
                    ..self.sample()
                };
                vec![Change::PutService(Box::new(service))]
            }
        }
    }

    /// Everything that could be asked for, and what was asked for but is gone.
    pub(crate) fn questions(&self, before: &Contents) -> Vec<Load> {
        let mut questions = vec![Load::Totals];
        for known in [self.known(), before] {
            for (id, queue) in &known.queues {
                questions.push(Load::Queue(Party::Recipient, id.clone()));
                for (party, id) in queue.ids() {
                    questions.push(Load::Queue(party, id.clone()));
                }
                let Position { head, tail, .. } = self.position(queue);
                for (from, before) in [(head, tail), ((head + 1).min(tail), tail), (head, head + 2)]
                {
                    let queue = id.clone();
                    questions.push(Load::Messages {
                        queue,
                        from,
                        before,
                    });
                }
                if let Some(notifier) = &queue.notifier {
                    questions.push(Load::Notifications(notifier.id.clone()));
                }
            }
            for (id, (service, _)) in &known.services {
                questions.push(Load::Service(*service.fingerprint.as_bytes()));
                for role in [ServiceRole::Messaging, ServiceRole::Notifier] {
                    let some = self.known().queues.keys().nth(2).cloned();
                    for (after, limit) in [(EntityId::EMPTY, 3), (some.unwrap_or_default(), 99)] {
                        let service = id.clone();
                        questions.push(Load::ServiceQueues {
                            service,
                            role,
                            after,
                            limit,
                        });
                    }
                }
            }
        }
        let limits = [1, 3, 1000];
        for (part, limit) in [4, 2, 1].into_iter().zip(limits) {
            let before = self.time / part + 1;
            questions.push(Load::Expired { before, limit });
            questions.push(Load::ExpiredNotifications { before, limit });
        }
        questions
    }
}

/// A router deletes the notifications of a notifier that it removes.
fn forget_notifier(queue: &QueueRecord) -> Vec<Change> {
    let notifier = queue.notifier.iter();
    let delete = |notifier: &NotifierRecord| Change::DeleteNotifications {
        notifier: notifier.id.clone(),
        before: u64::MAX,
    };
    notifier.map(|notifier| delete(notifier)).collect()
}
