//! The handshake of two agents.
//!
//! ```text
//!  Initiator                                                Joiner
//!
//!  Creating ── NEW ──▶ Offered ─ ─ invitation ─ ─ ─ ─ ─ ─▶ Joining: SKEY, or not; NEW
//!                         │                                   │
//!                     CONF│◀─ ─ ─ ─ confirmation with D ─ ─ ─ ─│ JOINED
//!                         ▼                                   ▼
//!                     Confirmed                           Handshake
//!                         │ LET                               │
//!                         ▼                                   │
//!                      Allowed: KEY, or not; SKEY, or not     │
//!                         │                                   │
//!                         │─ ─ ─ ─ ─ confirmation with I ─ ─ ─▶│ INFO, CON if the initiator has secured its queue
//!                         ▼                                   ▼
//!  CON if it has      Handshake ◀─ ─ ─ ─ ─ HELLO ─ ─ ─ KEY ─ Handshake
//!                         │                                   │
//!                     CON ▼─ ─ ─ ─ ─ ─ ─ ─ HELLO ─ ─ ─ ─ ─ ─ ─▶▼ CON
//!                     Connected                           Connected
//! ```

use super::Step;
use crate::agent::config::EARLY_RATCHET;
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::id::QueueNumber;
use crate::agent::message::{AMessage, AgentMessage, MsgHash};
use crate::agent::store::record::{
    Confirmation, Outgoing, OutgoingContent, OutgoingPurpose, ReceiveStatus, Sealed, SendQueue,
    SendRotation, SendStatus, Side, Stage,
};
use crate::ratchet::{E2eParams, KemParams, Pq};
use crate::smp::MsgFlags;
use crate::wire;
use crate::wire::{Large, List, NonEmpty, Version};

/// To how much the message in a confirmation is padded.
const PADDED_INFO: u16 = 14832;
/// The same where there is room for post-quantum keys.
const PADDED_INFO_PQ: u16 = 11106;

impl Step<'_> {
    /// Goes on with the handshake, as far as routers have answered.
    pub(super) fn advance_handshake(&mut self) {
        match self.connection.record.stage.clone() {
            Stage::Joining { params, info } => self.confirm_as_joiner(params, &info),
            Stage::Allowed { confirmation, info } => self.confirm_as_initiator(confirmation, &info),
            Stage::Creating { .. }
            | Stage::Prepared { .. }
            | Stage::Offered { .. }
            | Stage::Confirmed { .. }
            | Stage::Handshake { .. }
            | Stage::Connected
            | Stage::Address
            | Stage::Failed => {}
        }
    }

    /// Once there are queues in both directions, the initiator is told.
    fn confirm_as_joiner(&mut self, params: E2eParams<KemParams>, info: &Large) {
        let replies: Vec<_> = self
            .connection
            .record
            .receive
            .iter()
            .filter(|queue| queue.status == ReceiveStatus::Open)
            .map(|queue| crate::agent::queue::SmpQueueInfo {
                version: queue.version,
                address: queue.address(),
                dh_key: queue.sender_dh_key.public_key(),
                mode: Some(queue.mode),
            })
            .collect();
        let Ok(queues) = NonEmpty::try_from(replies) else {
            return;
        };
        let Some(number) = self.ready_send_queue() else {
            return;
        };
        let message = AgentMessage::ConnInfoReply {
            queues,
            info: info.clone().into_bytes(),
        };
        self.connection.record.stage = Stage::Handshake { side: Side::Joiner };
        self.confirm(number, &message, Some(params));
    }

    /// Once the joiner's queue can be written to, and the joiner can write, the joiner is told.
    fn confirm_as_initiator(&mut self, _: Confirmation, info: &Large) {
        let secured = |status: &ReceiveStatus| !matches!(status, ReceiveStatus::Securing { .. });
        let mut receive = self.connection.record.receive.iter();
        if !receive.all(|queue| secured(&queue.status)) {
            return;
        }
        let Some(number) = self.ready_send_queue() else {
            return;
        };
        let message = AgentMessage::ConnInfo {
            info: info.clone().into_bytes(),
        };
        let side = Side::Initiator;
        self.connection.record.stage = Stage::Handshake { side };
        self.confirm(number, &message, None);
    }

    /// The queue that the peer is told in, if it does not have to be secured before.
    fn ready_send_queue(&self) -> Option<QueueNumber> {
        let queue = self.connection.current_send_queue()?;
        let ready = queue.status != SendStatus::New || !queue.is_sender_secured();
        ready.then_some(queue.number)
    }

    fn confirm(
        &mut self,
        number: QueueNumber,
        message: &AgentMessage,
        params: Option<E2eParams<KemParams>>,
    ) {
        let pq = self.connection.record.pq;
        let padded = if pq.is_on() {
            PADDED_INFO_PQ
        } else {
            PADDED_INFO
        };
        let sealed = match self.seal(message, padded, Some(pq)) {
            Ok((sealed, _)) => sealed,
            Err(error) => return self.fail(&error),
        };
        let counters = &mut self.connection.record.counters;
        counters.sent = 1;
        counters.sent_hash = MsgHash::of(&sealed.message);
        let outgoing = Outgoing {
            purpose: OutgoingPurpose::Confirmation,
            queues: List::try_from(vec![number]).unwrap_or_default(),
            since: self.unix_seconds(),
            flags: MsgFlags { notification: true },
            content: OutgoingContent::Confirmation {
                params: params.map(Box::new),
                sealed,
            },
        };
        let message = self.next_message();
        self.keep_outgoing(message, outgoing);
    }

    /// A message with what encrypts it when it leaves: the step of the ratchet is stored with it.
    pub(super) fn seal(
        &mut self,
        message: &AgentMessage,
        padded: u16,
        pq: Option<Pq>,
    ) -> Result<(Sealed, Pq), AgentError> {
        let encoded = wire::encode(message, Version::default());
        let too_large = || AgentError::Large {
            context: "message".into(),
        };
        let room = usize::from(padded).saturating_sub(wire::padding::LENGTH);
        if encoded.len() > room {
            return Err(too_large());
        }
        let message = Large::try_from(encoded).map_err(|_| too_large())?;
        let highest = self.shared.config.ratchet_versions.max();
        let ratchet = self.connection.ratchet.as_ref();
        let ratchet = ratchet.ok_or_else(|| AgentError::internal("no ratchet"))?;
        let step = ratchet
            .encrypt(pq, highest)
            .map_err(|_| AgentError::prohibited("the peer has to send first"))?;
        self.set_ratchet(step.ratchet);
        let sealed = Sealed {
            key: Box::new(step.key),
            padded,
            message,
        };
        Ok((sealed, step.pq))
    }

    /// The application agrees to whoever has accepted the invitation.
    pub(in crate::agent) fn allow(
        &mut self,
        name: &crate::agent::id::RequestName,
        info: Large,
    ) -> Result<(), AgentError> {
        let confirmation = match &self.connection.record.stage {
            Stage::Confirmed { confirmation } if confirmation.name == *name => confirmation.clone(),
            // It is said again: the answer is the same.
            Stage::Allowed { confirmation, .. } if confirmation.name == *name => return Ok(()),
            Stage::Confirmed { .. } => return Err(AgentError::not_found("confirmation")),
            Stage::Creating { .. }
            | Stage::Prepared { .. }
            | Stage::Offered { .. }
            | Stage::Allowed { .. }
            | Stage::Joining { .. }
            | Stage::Handshake { .. }
            | Stage::Connected
            | Stage::Address
            | Stage::Failed => return Err(AgentError::prohibited("allowConnection")),
        };
        self.connection
            .record
            .send
            .retain(|queue| queue.status != SendStatus::Contact);
        self.add_send_queue(&confirmation.reply, None, None);
        if let Some(sender_key) = confirmation.sender_key
            && let Some(queue) = self.connection.record.receive.iter_mut().next()
        {
            queue.status = ReceiveStatus::Securing { sender_key };
        }
        self.connection.record.stage = Stage::Allowed { confirmation, info };
        Ok(())
    }

    /// The confirmation has reached the peer's queue. The peer may have answered before.
    pub(super) fn confirmation_sent(&mut self, number: QueueNumber) {
        let side = self.side();
        let Some(queue) = self.send_queue_mut(number) else {
            return;
        };
        let sender_secured = queue.is_sender_secured();
        if matches!(queue.status, SendStatus::New | SendStatus::Secured) {
            queue.status = SendStatus::Confirmed;
        }
        if side == Some(Side::Initiator) && sender_secured {
            self.activate(number);
            self.connected();
        }
        let joined = self.joined();
        for caller in std::mem::take(&mut self.connection.callers) {
            self.reply(caller.command, Ok(joined.clone()));
        }
    }

    /// The sender of a queue that we receive from is known to its router.
    pub(super) fn queue_secured(&mut self, number: QueueNumber) {
        let Some(queue) = self.receive_queue_mut(number) else {
            return;
        };
        if !matches!(queue.status, ReceiveStatus::Securing { .. }) {
            return;
        }
        queue.status = ReceiveStatus::Secured;
        if queue.rotation.is_some() {
            self.rotation_queue_secured(number);
        } else if self.side() == Some(Side::Joiner) {
            self.say_hello();
        }
    }

    pub(super) fn say_hello(&mut self) {
        if let Some(queue) = self.connection.current_send_queue() {
            let queues = self.route(queue.number);
            let flags = MsgFlags { notification: true };
            self.enqueue(AMessage::Hello, OutgoingPurpose::Hello, flags, queues)
                .ok();
        }
    }

    /// HELLO has reached the peer's queue.
    pub(super) fn hello_sent(&mut self, number: QueueNumber) {
        self.activate(number);
        if self.side() == Some(Side::Initiator) {
            self.connected();
        }
    }

    /// The peer says that it can send.
    pub(super) fn hello_received(&mut self) {
        match self.side() {
            Some(Side::Initiator) => {
                let said = |purpose| purpose == OutgoingPurpose::Hello;
                let mut outgoing = self.connection.outgoing.values();
                if !outgoing.any(|outgoing| said(outgoing.purpose)) {
                    self.say_hello();
                }
            }
            Some(Side::Joiner) => self.connected(),
            None => {}
        }
    }

    pub(super) fn activate(&mut self, number: QueueNumber) {
        if let Some(queue) = self.send_queue_mut(number)
            && !matches!(queue.rotation, Some(SendRotation::Replaces { .. }))
        {
            queue.status = SendStatus::Active;
        }
    }

    /// The initiator has sent what connects them, the joiner has received it: whether that was encrypted with a post-quantum secret is
    /// told.
    pub(super) fn connected(&mut self) {
        let pq = match (&self.connection.ratchet, self.side()) {
            (Some(ratchet), Some(Side::Initiator)) => ratchet.sends_pq(),
            (Some(ratchet), Some(Side::Joiner) | None) => ratchet.receives_pq(),
            (None, _) => Pq::Off,
        };
        self.connection.record.stage = Stage::Connected;
        self.event(EventContent::Connected { pq });
    }

    /// What a lost message means for the connection.
    pub(super) fn lost(&mut self, purpose: OutgoingPurpose, error: &AgentError) {
        let not_available = || AgentError::NotAvailable {
            context: "the peer cannot be reached".into(),
        };
        match purpose {
            OutgoingPurpose::Confirmation => {
                let refused =
                    super::answers::is_gone(error) && self.side() == Some(Side::Initiator);
                let unavailable = refused || error.is_temporary() || super::advance::is_full(error);
                let error = match unavailable {
                    true => not_available(),
                    false => error.clone(),
                };
                // A joiner whose confirmation was not taken is one of whom nobody has heard.
                self.fail_when(self.side() != Some(Side::Joiner), &error);
            }
            OutgoingPurpose::Invitation => self.fail_when(false, error),
            OutgoingPurpose::Hello => match self.side() {
                Some(Side::Joiner) => self.fail(&AgentError::NotAccepted {
                    context: "HELLO".into(),
                }),
                Some(Side::Initiator) | None => self.fail(&not_available()),
            },
            OutgoingPurpose::QueueAdd
            | OutgoingPurpose::QueueKey
            | OutgoingPurpose::QueueUse
            | OutgoingPurpose::QueueTest => self.rotation_message_lost(purpose, error),
            OutgoingPurpose::RatchetKey if super::answers::is_gone(error) => {
                self.error(not_available());
            }
            OutgoingPurpose::RatchetKey
            | OutgoingPurpose::RatchetReady
            | OutgoingPurpose::Receipt
            | OutgoingPurpose::QueueContinue
            | OutgoingPurpose::Message { .. } => self.error(error.clone()),
        }
    }

    /// Whether messages can be sent now: to which queue.
    pub(super) fn sends_to(&self) -> Result<&SendQueue, AgentError> {
        let simplex = || AgentError::Simplex {
            context: "send".into(),
        };
        let queue = self.connection.current_send_queue().ok_or_else(simplex)?;
        match self.connection.record.stage {
            Stage::Connected => Ok(queue),
            Stage::Handshake { side } if queue.is_sender_secured() => match side {
                // An earlier agent could not read it before it has answered.
                Side::Joiner if self.connection.record.version < EARLY_RATCHET => {
                    Err(AgentError::NotAccepted {
                        context: "send".into(),
                    })
                }
                Side::Joiner | Side::Initiator => Ok(queue),
            },
            Stage::Handshake { .. } | Stage::Joining { .. } => Err(AgentError::NotAccepted {
                context: "send".into(),
            }),
            Stage::Creating { .. }
            | Stage::Prepared { .. }
            | Stage::Offered { .. }
            | Stage::Confirmed { .. }
            | Stage::Allowed { .. }
            | Stage::Address
            | Stage::Failed => Err(simplex()),
        }
    }
}
