//! How a queue is replaced by another one, so that messages come another way.
//!
//! ```text
//!   recipient                                           sender
//!
//!   Creating: NEW, at another router while that fails
//!      │──────────────── QADD, old queue ─────────────▶ Keying: a queue to send to
//!   Adding                                                │
//!      │◀─────────────── QKEY, old queue ─────────────────│
//!   Securing: KEY                                         │
//!      │──────────────── QUSE, old queue ─────────────▶ Testing
//!   Using                                                 │ what waits for the old queue goes both ways
//!      │◀─────────────── QTEST, new queue ────────────────│ taken by the router: nothing goes to the
//!   Received: the old queue is deleted once it is empty     old queue any more
//! ```
//! From QUSE on the recipient may look into the old queue for the last time at any moment: what its router takes then may never be seen.
//! So everything goes to the new queue, in order, and to the old one only what was on its way there, or what the new one does not take
//! for now. Who receives a message twice knows it by its ratchet.
//!
//! Until the old queue is empty, or its router cannot be asked, what comes through the new one waits, so that messages stay in order. Up
//! to QUSE the recipient can give up: the old queue is used as before. A phase that takes too long is given up by itself: after QUSE only
//! if the new queue is empty, because then the sender does not use it, and will not be able to.

use super::{NewQueue, Order, Step};
use crate::agent::error::AgentError;
use crate::agent::event::{Direction, EventContent, SwitchPhase};
use crate::agent::id::{MessageId, QueueNumber};
use crate::agent::message::{AMessage, AddedQueue, KeyedQueue, UsedQueue};
use crate::agent::queue::{QueueAddress, QueueUri, SmpQueueInfo};
use crate::agent::store::record::{
    Outgoing, OutgoingPurpose, RatchetSync, ReceivePhase, ReceiveRotation, ReceiveStatus,
    SendPhase, SendRotation, SendStatus, Stage,
};
use crate::smp::{MsgFlags, QueueMode};
use crate::wire::{List, NonEmpty};

const SILENT: MsgFlags = MsgFlags {
    notification: false,
};

impl Step<'_> {
    /// Begins to replace the queue that messages come from.
    pub(in crate::agent) fn switch(&mut self) -> Result<(), AgentError> {
        let record = &self.connection.record;
        let in_sync = matches!(record.sync, RatchetSync::Ok | RatchetSync::Allowed);
        let rotating = record.receive.iter().any(|queue| queue.rotation.is_some());
        if record.stage != Stage::Connected || !in_sync || rotating || record.deleting.is_some() {
            return Err(AgentError::prohibited("switchConnection"));
        }
        let current = record.receive.iter().find(|queue| {
            !matches!(
                queue.status,
                ReceiveStatus::Deleting { .. }
                    | ReceiveStatus::Suspending
                    | ReceiveStatus::Suspended
            )
        });
        let old = current
            .map(|queue| queue.number)
            .ok_or_else(|| AgentError::prohibited("switchConnection"))?;
        let avoid: Vec<_> = record
            .receive
            .iter()
            .map(|queue| queue.router.clone())
            .collect();
        let router = self.shared.choose_router(record.user, &avoid)?;
        let version = self.shared.config.client_versions.max();
        let new = self.add_receive_queue(NewQueue {
            router,
            mode: QueueMode::Messaging,
            version,
            rotation: Some(ReceiveRotation::Replaces { queue: old }),
        });
        self.set_phase(old, new, ReceivePhase::Creating);
        Ok(())
    }

    /// Stays with the queue.
    pub(in crate::agent) fn abort_switch(&mut self) -> Result<(), AgentError> {
        let rotating = self.rotating().filter(|(_, _, phase)| can_abort(*phase));
        let (old, new, _) =
            rotating.ok_or_else(|| AgentError::prohibited("abortConnectionSwitch"))?;
        self.abort(old, new);
        Ok(())
    }

    fn abort(&mut self, old: QueueNumber, new: QueueNumber) {
        if let Some(queue) = self.receive_queue_mut(old) {
            queue.rotation = None;
        }
        self.remove_receive_queue(new);
        self.switched(Direction::Receive, SwitchPhase::Aborted);
    }

    /// The queue that is being replaced, the one that takes its place, and how far that is.
    fn rotating(&self) -> Option<(QueueNumber, QueueNumber, ReceivePhase)> {
        let mut queues = self.connection.record.receive.iter();
        queues.find_map(|old| match old.rotation {
            Some(ReceiveRotation::ReplacedBy { queue, phase, .. }) => {
                Some((old.number, queue, phase))
            }
            Some(ReceiveRotation::Replaces { .. }) | None => None,
        })
    }

    fn set_phase(&mut self, old: QueueNumber, new: QueueNumber, phase: ReceivePhase) {
        let deadline = (self.now.unix + self.shared.config.rotation_phase).seconds();
        if let Some(queue) = self.receive_queue_mut(old) {
            queue.rotation = Some(ReceiveRotation::ReplacedBy {
                queue: new,
                phase,
                deadline,
            });
        }
    }

    fn switched(&mut self, direction: Direction, phase: SwitchPhase) {
        self.event(EventContent::Switch { direction, phase });
    }

    /// A phase that takes too long is given up. Once something has come through the new queue, the old one is.
    pub(super) fn advance_rotation(&mut self) {
        let Some((old, new, phase)) = self.rotating() else {
            return;
        };
        let deadline = self
            .connection
            .receive_queue(old)
            .and_then(|queue| match queue.rotation {
                Some(ReceiveRotation::ReplacedBy { deadline, .. }) => Some(deadline),
                Some(ReceiveRotation::Replaces { .. }) | None => None,
            });
        if deadline.is_none_or(|deadline| self.unix_seconds() < deadline) {
            return;
        }
        if can_abort(phase) {
            self.abort(old, new);
        } else if phase == ReceivePhase::Received {
            self.remove_receive_queue(old);
        }
    }

    /// The queue that was to be used long ago: whether anything has come through it is to be seen.
    fn overdue(&self) -> Option<QueueNumber> {
        let (old, new, phase) = self.rotating()?;
        let deadline = match self.connection.receive_queue(old)?.rotation.as_ref()? {
            ReceiveRotation::ReplacedBy { deadline, .. } => deadline,
            ReceiveRotation::Replaces { .. } => return None,
        };
        let overdue = phase == ReceivePhase::Using && self.unix_seconds() >= *deadline;
        overdue.then_some(new)
    }

    /// The queues of which it is to be seen how much is left in them.
    pub(super) fn inspected_queues(&self) -> impl Iterator<Item = QueueNumber> {
        self.draining().into_iter().chain(self.overdue())
    }

    /// So much is in a queue.
    pub(super) fn inspected(&mut self, number: QueueNumber, size: u64) {
        self.connection.unknown_since = None;
        if self.overdue() == Some(number) {
            return match (size, self.rotating()) {
                (0, Some((old, new, _))) => self.abort(old, new),
                (_, Some((old, new, phase))) => self.set_phase(old, new, phase),
                (_, None) => {}
            };
        }
        if size == 0 && self.draining() == Some(number) {
            return self.remove_receive_queue(number);
        }
        let busy = AgentError::Inactive;
        self.failed_for_now(super::Task::Inspect(number), &busy);
    }

    /// A queue cannot be inspected, for now or at all.
    pub(super) fn inspection_failed(&mut self, number: QueueNumber, error: &AgentError) {
        match (self.overdue(), self.rotating()) {
            (Some(_), Some((old, new, _))) if error.is_temporary() => {
                self.use_queue(old, new);
            }
            (Some(_), Some((old, new, _))) => self.abort(old, new),
            (_, _) if error.is_temporary() => {
                let now = self.now.instant;
                let since = *self.connection.unknown_since.get_or_insert(now);
                if now >= since + self.shared.config.order_patience {
                    self.connection.order = Order::GivenUp;
                }
                self.failed_for_now(super::Task::Inspect(number), error);
            }
            (_, _) => self.remove_receive_queue(number),
        }
    }

    /// The new queue was made: the sender is told.
    pub(super) fn rotation_queue_made(&mut self, number: QueueNumber) {
        let Some((old, new, ReceivePhase::Creating)) = self.rotating() else {
            return;
        };
        let queues = self
            .connection
            .receive_queue(number)
            .zip(self.connection.receive_queue(old));
        let Some((queue, replaced)) = queues.filter(|(queue, _)| queue.number == new) else {
            return;
        };
        let added = AddedQueue {
            queue: QueueUri {
                versions: self.shared.config.client_versions,
                address: queue.address(),
                dh_key: queue.sender_dh_key.public_key(),
                mode: Some(queue.mode),
            },
            replaced: Some(replaced.address()),
        };
        let message = AMessage::QAdd {
            queues: NonEmpty::one(added),
        };
        self.set_phase(old, new, ReceivePhase::Adding);
        if self.say(message, OutgoingPurpose::QueueAdd).is_err() {
            return self.abort(old, new);
        }
        self.switched(Direction::Receive, SwitchPhase::Started);
    }

    /// Says something in the queue that is used for messages.
    fn say(&mut self, message: AMessage, purpose: OutgoingPurpose) -> Result<(), AgentError> {
        let queues = self.route(self.sends_to()?.number);
        self.enqueue(message, purpose, SILENT, queues)?;
        Ok(())
    }

    /// The sender has sent its keys: the router is told.
    pub(super) fn queue_keyed(&mut self, keyed: &KeyedQueue) {
        let rotating = self
            .rotating()
            .filter(|(_, _, phase)| *phase == ReceivePhase::Adding);
        let Some((old, new, _)) = rotating else {
            return self.rotation_error("QKEY");
        };
        let Some(queue) = self.receive_queue_mut(new) else {
            return;
        };
        if !queue.address().is_same(&keyed.queue.address) {
            return self.rotation_error("QKEY: another queue");
        }
        queue.sender_secret = Some(queue.sender_dh_key.agree(&keyed.queue.dh_key));
        queue.version = keyed.queue.version.min(queue.version);
        queue.status = ReceiveStatus::Securing {
            sender_key: keyed.key,
        };
        self.set_phase(old, new, ReceivePhase::Securing);
        self.switched(Direction::Receive, SwitchPhase::Confirmed);
    }

    /// The router knows the sender: the sender is told.
    pub(super) fn rotation_queue_secured(&mut self, number: QueueNumber) {
        let Some((old, new, ReceivePhase::Securing)) = self.rotating() else {
            return;
        };
        if number == new && self.use_queue(old, new) {
            self.switched(Direction::Receive, SwitchPhase::Secured);
        }
    }

    /// Tells the sender that the new queue is ready: again, if nothing comes through it.
    fn use_queue(&mut self, old: QueueNumber, new: QueueNumber) -> bool {
        let Some(queue) = self.connection.receive_queue(new) else {
            return false;
        };
        let message = AMessage::QUse {
            queues: NonEmpty::one(UsedQueue {
                queue: queue.address(),
                primary: true,
            }),
        };
        // While the ratchet is being replaced nothing can be said: it is tried again.
        self.say(message, OutgoingPurpose::QueueUse).ok();
        self.set_phase(old, new, ReceivePhase::Using);
        true
    }

    /// Something has come through the new queue.
    pub(super) fn rotation_completed(&mut self, number: QueueNumber) {
        let Some((old, new, phase)) = self.rotating() else {
            return;
        };
        if number != new || phase == ReceivePhase::Received {
            return;
        }
        if let Some(queue) = self.receive_queue_mut(new) {
            queue.rotation = None;
        }
        self.connection.order = Order::Kept;
        self.connection.unknown_since = None;
        self.set_phase(old, new, ReceivePhase::Received);
        self.switched(Direction::Receive, SwitchPhase::Completed);
    }

    /// Whether what comes through a queue has to wait until the one before is empty.
    pub(super) fn waits_for_old_queue(&self, number: QueueNumber) -> bool {
        let rotating = self.rotating();
        let received = rotating
            .is_some_and(|(_, new, phase)| new == number && phase == ReceivePhase::Received);
        received && self.connection.order == Order::Kept
    }

    /// The queue that is to be deleted once it is empty.
    fn draining(&self) -> Option<QueueNumber> {
        let (old, _, phase) = self.rotating()?;
        let queue = self.connection.receive_queue(old)?;
        let deleting = matches!(queue.status, ReceiveStatus::Deleting { .. });
        let quiet = queue.delivered.is_none() && !self.connection.acks.contains_key(&old);
        (phase == ReceivePhase::Received && quiet && !deleting).then_some(old)
    }

    /// The recipient has another queue: it gets keys for it.
    pub(super) fn queue_added(&mut self, added: &AddedQueue) {
        let Some(replaced) = &added.replaced else {
            return self.rotation_error("QADD: nothing is replaced");
        };
        let Some(info) = added.queue.agreed(self.shared.config.client_versions) else {
            return self.rotation_error("QADD: version");
        };
        if let Err(error) = self.may_be_led_to(&info.address.router) {
            return self.error(error);
        }
        self.tested(replaced);
        let send = &self.connection.record.send;
        let known = send
            .iter()
            .any(|queue| queue.address.is_same(&info.address));
        let old = send.iter().find(|queue| queue.address.is_same(replaced));
        let old =
            old.filter(|queue| !matches!(queue.rotation, Some(SendRotation::Replaces { .. })));
        let Some(old) = old.map(|queue| queue.number).filter(|_| !known) else {
            return self.rotation_error("QADD: queue");
        };
        self.drop_replacement(old);
        let new = self.add_send_queue(&info, None, Some(SendRotation::Replaces { queue: old }));
        self.set_send_phase(old, new, SendPhase::Keying);
        let Some(queue) = self.connection.send_queue(new) else {
            return;
        };
        let message = AMessage::QKey {
            queues: NonEmpty::one(KeyedQueue {
                queue: SmpQueueInfo {
                    version: queue.version,
                    address: queue.address.clone(),
                    dh_key: queue.dh_key,
                    mode: queue.mode,
                },
                key: queue.key.public_key(),
            }),
        };
        match self.enqueue(message, OutgoingPurpose::QueueKey, SILENT, vec![old]) {
            Ok(_) => self.switched(Direction::Send, SwitchPhase::Started),
            Err(error) => {
                self.drop_replacement(old);
                self.error(error);
            }
        }
    }

    /// A recipient who replaces the queue that is being tried has heard from it, even if we do not know that yet.
    fn tested(&mut self, replaced: &QueueAddress) {
        let mut send = self.connection.record.send.iter();
        let queue = send.find(|queue| queue.address.is_same(replaced));
        let tried = queue.filter(|queue| {
            let replaces = matches!(queue.rotation, Some(SendRotation::Replaces { .. }));
            replaces && queue.status == SendStatus::Secured
        });
        if let Some(new) = tried.map(|queue| queue.number) {
            self.queue_test_sent(new);
        }
    }

    fn set_send_phase(&mut self, old: QueueNumber, new: QueueNumber, phase: SendPhase) {
        if let Some(queue) = self.send_queue_mut(old) {
            queue.rotation = Some(SendRotation::ReplacedBy { queue: new, phase });
        }
    }

    /// A queue that was to take the place of another one is forgotten.
    fn drop_replacement(&mut self, old: QueueNumber) {
        let Some(queue) = self.send_queue_mut(old) else {
            return;
        };
        let Some(SendRotation::ReplacedBy { queue: new, .. }) = queue.rotation.take() else {
            return;
        };
        self.connection
            .record
            .send
            .retain(|queue| queue.number != new);
        for (message, outgoing) in self.outgoing_to(new) {
            if outgoing.purpose == OutgoingPurpose::QueueTest {
                self.forget_outgoing(message);
            } else {
                // The old queue may have taken it already: who receives it twice knows.
                self.redirect(message, outgoing, old);
            }
        }
    }

    fn redirect(&mut self, message: MessageId, mut outgoing: Outgoing, queue: QueueNumber) {
        outgoing.queues = List::try_from(vec![queue]).unwrap_or_default();
        self.keep_outgoing(message, outgoing);
    }

    pub(super) fn queue_key_sent(&mut self, _: QueueNumber) {
        self.switched(Direction::Send, SwitchPhase::Confirmed);
    }

    /// The new queue is ready: it is tried.
    pub(super) fn queue_to_be_used(&mut self, used: &UsedQueue) {
        let send = &self.connection.record.send;
        let new = send.iter().find(|queue| queue.address.is_same(&used.queue));
        let rotation = new.map(|queue| (queue.number, queue.rotation));
        let Some((new, Some(SendRotation::Replaces { queue: old }))) = rotation else {
            return self.rotation_error("QUSE");
        };
        let address = used.queue.clone();
        if let Some(queue) = self.send_queue_mut(new) {
            queue.status = SendStatus::Secured;
        }
        self.set_send_phase(old, new, SendPhase::Testing);
        let message = AMessage::QTest {
            queues: NonEmpty::one(address),
        };
        self.send_also(old, new);
        match self.enqueue(message, OutgoingPurpose::QueueTest, SILENT, vec![new]) {
            Ok(_) => self.switched(Direction::Send, SwitchPhase::Secured),
            Err(error) => self.error(error),
        }
    }

    /// What goes to one queue goes to another one, too.
    fn send_also(&mut self, from: QueueNumber, to: QueueNumber) {
        for (message, mut outgoing) in self.outgoing_to(from) {
            let both = outgoing.purpose != OutgoingPurpose::QueueTest;
            if both && !outgoing.queues.contains(&to) {
                outgoing.queues = List::try_from(vec![from, to]).unwrap_or_default();
                self.keep_outgoing(message, outgoing);
            }
        }
    }

    fn outgoing_to(&self, queue: QueueNumber) -> Vec<(MessageId, Outgoing)> {
        let outgoing = self.connection.outgoing.iter();
        outgoing
            .filter(|(_, outgoing)| outgoing.queues.contains(&queue))
            .map(|(message, outgoing)| (*message, outgoing.clone()))
            .collect()
    }

    /// The queues that a message goes to, if it would go to this one.
    pub(super) fn route(&self, queue: QueueNumber) -> Vec<QueueNumber> {
        match self.replacement_in_test(queue) {
            Some(new) if self.connection.is_refused(new) => vec![queue, new],
            Some(new) => vec![new],
            None => vec![queue],
        }
    }

    /// A queue does not take something for now: if it is being tried, the one before is still there.
    pub(super) fn go_both_ways(&mut self, queue: QueueNumber) {
        if let Some(old) = self.replaced_by(queue) {
            self.send_also(queue, old);
        }
    }

    /// The queue that is to be replaced by this one.
    fn replaced_by(&self, new: QueueNumber) -> Option<QueueNumber> {
        match self.connection.send_queue(new)?.rotation {
            Some(SendRotation::Replaces { queue }) => Some(queue),
            Some(SendRotation::ReplacedBy { .. }) | None => None,
        }
    }

    /// Whether a queue is being tried.
    pub(super) fn is_in_test(&self, new: QueueNumber) -> bool {
        let old = self.replaced_by(new);
        old.is_some_and(|old| self.replacement_in_test(old) == Some(new))
    }

    /// The queue that is being tried, and will take the place of this one.
    pub(super) fn replacement_in_test(&self, old: QueueNumber) -> Option<QueueNumber> {
        match self.connection.send_queue(old)?.rotation {
            Some(SendRotation::ReplacedBy {
                queue,
                phase: SendPhase::Testing,
            }) => Some(queue),
            Some(_) | None => None,
        }
    }

    /// The new queue works: what waits for the old one goes there, and nothing is lost.
    pub(super) fn queue_test_sent(&mut self, new: QueueNumber) {
        let Some(queue) = self.send_queue_mut(new) else {
            return;
        };
        let Some(SendRotation::Replaces { queue: old }) = queue.rotation.take() else {
            return;
        };
        queue.status = SendStatus::Active;
        self.connection
            .record
            .send
            .retain(|queue| queue.number != old);
        for (message, outgoing) in self.outgoing_to(old) {
            self.redirect(message, outgoing, new);
        }
        self.switched(Direction::Send, SwitchPhase::Completed);
    }

    /// The queue that was being tried takes nothing.
    pub(super) fn test_failed(&mut self, error: &AgentError) {
        self.rotation_message_lost(OutgoingPurpose::QueueTest, error);
    }

    /// A message about the rotation was not sent.
    pub(super) fn rotation_message_lost(&mut self, purpose: OutgoingPurpose, error: &AgentError) {
        let word = word(purpose);
        let context = if let AgentError::Smp { error, .. } = error {
            format!("{word}: {error}")
        } else {
            format!("{word}: {error}")
        };
        match purpose {
            // The recipient may ask for it again.
            OutgoingPurpose::QueueTest if error.is_temporary() => {}
            OutgoingPurpose::QueueKey | OutgoingPurpose::QueueTest => {
                let replaced =
                    self.connection.record.send.iter().find(|queue| {
                        matches!(queue.rotation, Some(SendRotation::ReplacedBy { .. }))
                    });
                if let Some(old) = replaced.map(|queue| queue.number) {
                    self.drop_replacement(old);
                    self.switched(Direction::Send, SwitchPhase::Aborted);
                }
            }
            OutgoingPurpose::QueueAdd | OutgoingPurpose::QueueUse => {
                // If QUSE may have been taken, the sender may have begun to use the queue.
                let rotating = self.rotating().filter(|(_, _, phase)| can_abort(*phase));
                if let Some((old, new, _)) = rotating {
                    self.abort(old, new);
                }
            }
            OutgoingPurpose::Confirmation
            | OutgoingPurpose::Invitation
            | OutgoingPurpose::Hello
            | OutgoingPurpose::Message { .. }
            | OutgoingPurpose::Receipt
            | OutgoingPurpose::QueueContinue
            | OutgoingPurpose::RatchetKey
            | OutgoingPurpose::RatchetReady => {}
        }
        self.rotation_error(&context);
    }

    fn rotation_error(&mut self, context: &str) {
        self.error(AgentError::Queue {
            context: context.into(),
        });
    }
}

/// Whether the sender cannot have been told to use the new queue.
pub(in crate::agent) const fn can_abort(phase: ReceivePhase) -> bool {
    match phase {
        ReceivePhase::Creating | ReceivePhase::Adding | ReceivePhase::Securing => true,
        ReceivePhase::Using | ReceivePhase::Received => false,
    }
}

const fn word(purpose: OutgoingPurpose) -> &'static str {
    match purpose {
        OutgoingPurpose::QueueAdd => "QADD",
        OutgoingPurpose::QueueKey => "QKEY",
        OutgoingPurpose::QueueUse => "QUSE",
        OutgoingPurpose::QueueTest => "QTEST",
        OutgoingPurpose::Confirmation
        | OutgoingPurpose::Invitation
        | OutgoingPurpose::Hello
        | OutgoingPurpose::Message { .. }
        | OutgoingPurpose::Receipt
        | OutgoingPurpose::QueueContinue
        | OutgoingPurpose::RatchetKey
        | OutgoingPurpose::RatchetReady => "message",
    }
}
