//! How two ratchets that do not fit to each other any more are replaced.
//!
//! ```text
//!                 undecryptable                      application                keys of the peer
//!   ┌────┐ ─────────────────────▶ ┌────────────────┐ ──────────▶ ┌─────────┐ ──────────────────▶ ┌────────┐
//!   │ Ok │                        │Allowed Required│             │ Started │                     │ Agreed │
//!   └────┘ ◀───────────────────── └────────────────┘             └─────────┘                     └────────┘
//!     ▲          decrypted            │   keys of the peer: ours in return                         ▲   │ ▲ │
//!     │                               └────────────────────────────────────────────────────────────┘   └─┘ │
//!     │                                                                           other keys of the peer  │
//!     └──────────────────────────────────────── decrypted ───────────────────────────────────────────────┘
//! ```
//! A ratchet always follows from the last keys that each side has sent: whoever starts when, and whatever crosses on the way, once all
//! keys have arrived both sides have the same one. Keys are answered with keys by who does not wait for an answer itself: each has one, and
//! it ends. Should the two not agree on that, as after an old backup, it ends after a few. The reference
//! gives up with other keys that come in Agreed, and asks its application to start again (`reference/agent.md` 3.9).
//!
//! The private keys are stored in the transaction in which the public ones are given to the queue, and keys of the peer are remembered in
//! the transaction that makes the ratchet. Nothing is started by itself: a peer that is back from an old backup is reported, not
//! answered with a new ratchet each time.

use super::Step;
use super::Stop;
use super::receive::Incoming;
use crate::agent::command::Force;
use crate::agent::config::{PQ, RATCHET_SYNC};
use crate::agent::envelope::{AgentEnvelope, EnvelopeContent};
use crate::agent::error::{AgentError, CryptoError};
use crate::agent::event::{EventContent, SyncState};
use crate::agent::id::MessageId;
use crate::agent::message::{AMessage, AgentMessage, MsgHash};
use crate::agent::store::Kind;
use crate::agent::store::record::{
    Outgoing, OutgoingContent, OutgoingPurpose, RatchetSync, Seen, Stage,
};
use crate::ratchet::{E2eParams, KemProposal, OfferedKeys, Pq, Ratchet, Resync, Role};
use crate::smp::MsgFlags;
use crate::wire::{self, Large, List, Version};

/// How often keys of the peer are answered before anything was read.
const MAX_ANSWERS: u32 = 4;

impl RatchetSync {
    /// As the application sees it.
    #[must_use]
    pub const fn state(&self) -> SyncState {
        match self {
            Self::Ok => SyncState::Ok,
            Self::Allowed => SyncState::Allowed,
            Self::Required => SyncState::Required,
            Self::Started { .. } => SyncState::Started,
            Self::Agreed { .. } => SyncState::Agreed,
        }
    }
}

impl Step<'_> {
    fn set_sync(&mut self, sync: RatchetSync, error: Option<CryptoError>) {
        let state = sync.state();
        let before = std::mem::replace(&mut self.connection.record.sync, sync);
        if state != before.state() {
            self.event(EventContent::RatchetSync { state, error });
        }
    }

    /// A message cannot be decrypted.
    pub(super) fn out_of_sync(&mut self, error: CryptoError, resync: Resync) {
        if self.connection.record.stage != Stage::Connected {
            return self.error(AgentError::Crypto { error });
        }
        let sync = match (&self.connection.record.sync, resync) {
            (RatchetSync::Ok | RatchetSync::Allowed, Resync::Allowed) => RatchetSync::Allowed,
            (RatchetSync::Ok | RatchetSync::Allowed, Resync::Required) => RatchetSync::Required,
            (RatchetSync::Required, _) => RatchetSync::Required,
            // What was encrypted for the old ratchet cannot be read, as was to be expected.
            (RatchetSync::Started { .. } | RatchetSync::Agreed { .. }, _) => return,
        };
        self.set_sync(sync, Some(error));
    }

    /// A message was decrypted: the ratchets fit.
    pub(super) fn ratchet_works(&mut self) {
        match self.connection.record.sync {
            RatchetSync::Ok | RatchetSync::Started { .. } => {}
            RatchetSync::Allowed | RatchetSync::Required | RatchetSync::Agreed { .. } => {
                self.set_sync(RatchetSync::Ok, None);
            }
        }
    }

    /// The application wants a new ratchet.
    pub(in crate::agent) fn synchronize(&mut self, pq: Pq, force: Force) -> Result<(), AgentError> {
        let record = &self.connection.record;
        let needed = matches!(record.sync, RatchetSync::Allowed | RatchetSync::Required);
        let allowed = needed || force == Force::Yes;
        if record.stage != Stage::Connected || record.version < RATCHET_SYNC || !allowed {
            return Err(AgentError::prohibited("synchronizeRatchet"));
        }
        let pq = match record.version >= PQ {
            true => pq,
            false => Pq::Off,
        };
        self.connection.record.pq = pq;
        let keys = OfferedKeys::generate(&mut self.shared.rng, pq);
        let highest = self.shared.config.ratchet_versions.max();
        self.send_ratchet_key(&keys, highest)?;
        let unanswered = match self.connection.record.sync.clone() {
            // The peer has sent its keys already: with the answer the ratchet follows from that.
            RatchetSync::Agreed {
                peer,
                unanswered,
                answers,
                ..
            } => return self.renegotiate(keys, *peer, unanswered.saturating_add(1), answers),
            RatchetSync::Started { unanswered, .. } => unanswered.saturating_add(1),
            RatchetSync::Ok | RatchetSync::Allowed | RatchetSync::Required => 1,
        };
        self.set_sync(RatchetSync::Started { keys, unanswered }, None);
        Ok(())
    }

    /// Tells the peer the keys of a new ratchet: not encrypted by any, and counted as a message nevertheless.
    fn send_ratchet_key(&mut self, keys: &OfferedKeys, version: Version) -> Result<(), AgentError> {
        let queue = self.connection.current_send_queue();
        let queue = queue.ok_or_else(|| AgentError::internal("no queue"))?;
        let queues = self.route(queue.number);
        let info = AgentMessage::RatchetInfo {
            info: bytes::Bytes::new(),
        };
        let info = wire::encode(&info, Version::default());
        let envelope = AgentEnvelope {
            version: self.shared.config.versions.max(),
            content: EnvelopeContent::RatchetKey {
                params: keys.params(version),
                info: info.clone(),
            },
        };
        let envelope = wire::encode(&envelope, Version::default());
        let envelope = Large::try_from(envelope).map_err(|_| AgentError::internal("keys"))?;
        let counters = &mut self.connection.record.counters;
        counters.sent = counters.sent.saturating_add(1);
        counters.sent_hash = MsgHash::of(&info);
        let message = self.next_message();
        let outgoing = Outgoing {
            purpose: OutgoingPurpose::RatchetKey,
            queues: List::try_from(queues).unwrap_or_default(),
            since: self.unix_seconds(),
            flags: MsgFlags { notification: true },
            content: OutgoingContent::Plain { envelope },
        };
        self.keep_outgoing(message, outgoing);
        Ok(())
    }

    /// The peer has sent the keys of a new ratchet.
    pub(super) fn ratchet_key_received(
        &mut self,
        incoming: &Incoming<'_>,
        params: &E2eParams<KemProposal>,
    ) -> Result<(), Stop> {
        let key = self.key(Kind::Seen, params.key_hash());
        if incoming.found.get::<Seen>(&key)?.is_some() {
            return Err(Stop::Known);
        }
        if !matches!(
            self.connection.record.stage,
            Stage::Connected | Stage::Handshake { .. }
        ) {
            return Err(AgentError::MessageProhibited {
                context: "keys of a ratchet".into(),
            }
            .into());
        }
        let (sent, unanswered, answers) = match self.connection.record.sync.clone() {
            RatchetSync::Started { keys, unanswered } => (Some(keys), unanswered, 0),
            RatchetSync::Agreed {
                keys,
                unanswered,
                answers,
                ..
            } if unanswered > 0 || answers >= MAX_ANSWERS => (Some(keys), unanswered, answers),
            RatchetSync::Agreed { answers, .. } => (None, 0, answers),
            RatchetSync::Ok | RatchetSync::Allowed | RatchetSync::Required => (None, 0, 0),
        };
        let (keys, unanswered, answers) = match sent {
            // They are an answer, or have crossed.
            Some(keys) => (keys, unanswered.saturating_sub(1), answers),
            None => {
                let pq = self.connection.record.pq;
                let keys = OfferedKeys::generate(&mut self.shared.rng, pq);
                self.send_ratchet_key(&keys, params.version)?;
                (keys, 0, answers.saturating_add(1))
            }
        };
        let seen = Seen {
            message: MessageId(0),
        };
        self.put_until(key, &seen);
        self.renegotiate(keys, params.clone(), unanswered, answers)?;
        Ok(())
    }

    /// Makes the ratchet that follows from the last keys of both sides.
    fn renegotiate(
        &mut self,
        keys: OfferedKeys,
        peer: E2eParams<KemProposal>,
        unanswered: u32,
        answers: u32,
    ) -> Result<(), AgentError> {
        let versions = self.shared.config.ratchet_versions;
        let pq = self.connection.record.pq;
        let rng = &mut self.shared.rng;
        let (ratchet, role) = Ratchet::renegotiated(rng, &keys, &peer, pq, versions)
            .map_err(|_| AgentError::Version)?;
        let skipped = self.connection.skipped.clear(&self.connection.id);
        self.changes.extend(skipped);
        self.set_ratchet(ratchet);
        let peer = Box::new(peer);
        let agreed = RatchetSync::Agreed {
            keys,
            peer,
            unanswered,
            answers,
        };
        self.set_sync(agreed, None);
        if role == Role::Joiner {
            self.encrypt_again();
            self.say_ready();
        }
        Ok(())
    }

    fn say_ready(&mut self) {
        let last_msg_id = self.connection.record.counters.received;
        let message = AMessage::EReady { last_msg_id };
        let flags = MsgFlags { notification: true };
        if let Some(queue) = self.connection.current_send_queue() {
            let queues = self.route(queue.number);
            self.enqueue(message, OutgoingPurpose::RatchetReady, flags, queues)
                .ok();
        }
    }

    /// The peer has the new ratchet, too. Who could not send before can now.
    pub(super) fn ratchet_ready(&mut self, could_send: bool) {
        if !could_send {
            self.encrypt_again();
            self.say_ready();
        }
    }

    /// What waits to be sent would be encrypted for a ratchet that the peer does not have any more. It has it until our keys arrive: what
    /// stands before them stays as it is.
    fn encrypt_again(&mut self) {
        let outgoing = &self.connection.outgoing;
        let keys = outgoing
            .iter()
            .filter(|(_, outgoing)| outgoing.purpose == OutgoingPurpose::RatchetKey)
            .map(|(message, _)| *message)
            .max();
        let waiting: Vec<_> = outgoing
            .iter()
            .filter(|(message, _)| Some(**message) > keys)
            .map(|(message, outgoing)| (*message, outgoing.clone()))
            .collect();
        for (message, mut outgoing) in waiting {
            let OutgoingContent::Encrypted { sealed } = &mut outgoing.content else {
                continue;
            };
            let highest = self.shared.config.ratchet_versions.max();
            let ratchet = self.connection.ratchet.as_ref();
            let Some(Ok(step)) = ratchet.map(|ratchet| ratchet.encrypt(None, highest)) else {
                return;
            };
            *sealed.key = step.key;
            self.set_ratchet(step.ratchet);
            self.keep_outgoing(message, outgoing);
        }
    }
}
