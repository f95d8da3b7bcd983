//! What comes out of the queues of a connection.
//!
//! ```text
//!   router's box ─▶ mark: the queue was full ─▶ tell the peer, acknowledge
//!        │
//!   queue's box ── secret known? ── key in it? ──▶
//!        │            no              yes          confirmation, or request to an address
//!        │            yes             no           message of the connection, or keys of a new ratchet
//!        │            yes             yes          confirmation that is repeated: acknowledge
//!        │            no              no           prohibited: acknowledge
//!        ▼
//!   ratchet ── opens it ──▶ message, once
//!        └── does not ── seen before? ── yes ──▶ tell again what the application has not acknowledged, or acknowledge
//!                                     └─ no ───▶ tell why; the ratchets may not fit any more
//! ```
//! What is needed besides the connection is loaded first: the step begins again with it.

use bytes::{Bytes, BytesMut};

use super::{Ack, Delivery, Found, Need, Step, Stop};
use crate::agent::config::{PQ, Turns};
use crate::agent::envelope::{AgentEnvelope, ClientEnvelope, EnvelopeContent};
use crate::agent::error::{AgentError, CryptoError};
use crate::agent::event::EventContent;
use crate::agent::id::{MessageId, QueueNumber, RequestName};
use crate::agent::link::ConnectionRequest;
use crate::agent::message::{AMessage, AgentMessage, ClientMessage, MsgHash};
use crate::agent::store::Kind;
use crate::agent::store::record::{
    Confirmation, ContactRequest, Delivered as Waits, OutgoingPurpose, ReceiveQueue, ReceiveStatus,
    Seen, Side, Stage,
};
use crate::agent::turn::Turn;
use crate::crypto::{AuthPublicKey, hash, x25519};
use crate::ratchet::{self, DecryptError, Decrypted, E2eParams, KemParams, Pq, Ratchet};
use crate::smp::body::{Delivered, SentMessage};
use crate::smp::{MsgFlags, MsgId};
use crate::wire;
use crate::wire::{Large, NonEmpty, ServerAddress, SmpScheme, Version};

/// What becomes of a message at its router.
pub(super) enum Disposal {
    /// It is deleted now.
    Acknowledge,
    /// It waits for the application.
    Wait(MessageId),
}

/// A message on its way to where it is dealt with.
pub(super) struct Incoming<'a> {
    pub(super) queue: QueueNumber,
    pub(super) broker_id: &'a MsgId,
    pub(super) sent_at: i64,
    pub(super) flags: MsgFlags,
    pub(super) found: &'a Found,
    /// The hash of what the ratchet decrypts, or of what there is no ratchet for.
    pub(super) hash: [u8; 32],
}

impl Step<'_> {
    /// Deals with a message, unless something has to be loaded first.
    pub(in crate::agent) fn receive(
        &mut self,
        delivery: &Delivery,
        found: &Found,
    ) -> Result<(), Need> {
        let number = delivery.queue;
        let Some(queue) = self.connection.receive_queue(number) else {
            return Ok(());
        };
        if let Some(waits) = &queue.delivered
            && waits.broker_id == delivery.broker_id
        {
            let message = waits.message;
            self.deliver_again(number, &delivery.broker_id, message);
            return Ok(());
        }
        if self.must_wait(number) {
            self.hold(delivery.clone());
            return Ok(());
        }
        let disposal = match self.dispose(delivery, found) {
            Ok(disposal) => disposal,
            Err(Stop::Need(need)) => return Err(need),
            Err(Stop::Known) => Disposal::Acknowledge,
            Err(Stop::Error(error)) => {
                self.error(error);
                Disposal::Acknowledge
            }
        };
        match disposal {
            Disposal::Acknowledge => self.acknowledge(number, delivery.broker_id.clone()),
            Disposal::Wait(message) => self.wait_for_application(number, delivery, message),
        }
        Ok(())
    }

    fn wait_for_application(
        &mut self,
        number: QueueNumber,
        delivery: &Delivery,
        message: MessageId,
    ) {
        if let Some(queue) = self.receive_queue_mut(number) {
            queue.delivered = Some(Waits {
                broker_id: delivery.broker_id.clone(),
                message,
            });
        }
    }

    /// The router delivers what the application has not acknowledged.
    fn deliver_again(&mut self, number: QueueNumber, broker_id: &MsgId, message: MessageId) {
        match self.connection.received.get(&message) {
            Some(received) => {
                let first = self.connection.receive_queue(received.queue);
                let waits = |queue: &ReceiveQueue| queue.delivered.is_some();
                // One that has come through two queues is told as the first one says.
                if received.queue == number || !first.is_some_and(waits) {
                    let event = received.event.clone();
                    self.tell_again(event);
                }
            }
            None => self.acknowledge(number, broker_id.clone()),
        }
    }

    /// The router may delete a message.
    pub(super) fn acknowledge(&mut self, number: QueueNumber, broker_id: MsgId) {
        let ack = Ack {
            number: self.connection.next_ack,
            broker_id,
        };
        self.connection.next_ack = ack.number.wrapping_add(1);
        self.connection.acks.insert(number, ack);
    }

    fn dispose(&mut self, delivery: &Delivery, found: &Found) -> Result<Disposal, Stop> {
        let number = delivery.queue;
        let queue = self.connection.receive_queue(number);
        let secret = queue.and_then(|queue| queue.router_secret.clone());
        let secret = secret.ok_or_else(|| AgentError::internal("a queue without a secret"))?;
        let undecryptable = |_| AgentError::Crypto {
            error: CryptoError::Queue,
        };
        let delivered = Delivered::decrypt(&secret, &delivery.broker_id, &delivery.body)
            .map_err(undecryptable)?;
        match delivered {
            Delivered::Quota(_) => {
                self.queue_has_room(number);
                Ok(Disposal::Acknowledge)
            }
            Delivered::Message(sent) => self.open_envelope(delivery, &sent, found),
        }
    }

    /// What was left of a full queue was received: the sender may go on.
    fn queue_has_room(&mut self, number: QueueNumber) {
        let Some(queue) = self.connection.receive_queue(number) else {
            return;
        };
        let message = AMessage::QCont {
            queue: queue.address(),
        };
        if let (Ok(()), Ok(to)) = (self.may_send(), self.sends_to()) {
            let queues = self.route(to.number);
            let flags = MsgFlags {
                notification: false,
            };
            self.enqueue(message, OutgoingPurpose::QueueContinue, flags, queues)
                .ok();
        }
    }

    fn open_envelope(
        &mut self,
        delivery: &Delivery,
        sent: &SentMessage,
        found: &Found,
    ) -> Result<Disposal, Stop> {
        let number = delivery.queue;
        let envelope: ClientEnvelope =
            wire::decode(Version::default(), &sent.body).map_err(|_| AgentError::Message)?;
        let Some(queue) = self.connection.receive_queue(number) else {
            return Err(Stop::Known);
        };
        let versions = self.shared.config.client_versions;
        if !versions.contains(envelope.version) && envelope.version > queue.version {
            return Err(AgentError::Version.into());
        }
        let undecryptable = |_| AgentError::Crypto {
            error: CryptoError::Queue,
        };
        let prohibited = |context: &str| AgentError::MessageProhibited {
            context: context.into(),
        };
        let (secret, new_secret) = match (&queue.sender_secret, &envelope.key) {
            (Some(secret), None) => (secret.clone(), None),
            (None, Some(key)) => {
                let secret = queue.sender_dh_key.agree(key);
                (secret.clone(), Some(secret))
            }
            (Some(_), Some(key)) => {
                let secret = queue.sender_dh_key.agree(key);
                let message = envelope.open(&secret).map_err(undecryptable)?;
                return match agent_envelope(&message)?.1.content {
                    EnvelopeContent::Confirmation { .. } => Err(Stop::Known),
                    EnvelopeContent::Message { .. }
                    | EnvelopeContent::Invitation { .. }
                    | EnvelopeContent::RatchetKey { .. } => {
                        Err(prohibited("a key of the queue again").into())
                    }
                };
            }
            (None, None) => return Err(prohibited("no key of the queue").into()),
        };
        let message = envelope.open(&secret).map_err(undecryptable)?;
        let (sender_key, agent) = agent_envelope(&message)?;
        let incoming = Incoming {
            queue: number,
            broker_id: &delivery.broker_id,
            sent_at: sent.time,
            flags: sent.flags,
            found,
            hash: hash::sha256(match &agent.content {
                EnvelopeContent::Confirmation { encrypted, .. }
                | EnvelopeContent::Message { encrypted } => encrypted,
                EnvelopeContent::Invitation { .. } | EnvelopeContent::RatchetKey { .. } => {
                    body_of(&message)
                }
            }),
        };
        let version = agent.version;
        match (agent.content, new_secret) {
            (EnvelopeContent::Confirmation { params, encrypted }, Some(secret)) => {
                let confirmed = Confirmed {
                    version,
                    client_version: envelope.version,
                    secret,
                    sender_key,
                };
                match params {
                    Some(params) => self.confirmation(&incoming, confirmed, &params, &encrypted),
                    None => self.answer_to_joiner(&incoming, confirmed, &encrypted),
                }
            }
            (EnvelopeContent::Invitation { request, info }, Some(_)) => {
                self.request_received(&incoming, version, *request, info)
            }
            (EnvelopeContent::Message { encrypted }, None) => {
                self.message(&incoming, version, &encrypted)
            }
            (EnvelopeContent::RatchetKey { params, .. }, None) => {
                self.upgrade(version);
                self.ratchet_key_received(&incoming, &params)?;
                Ok(Disposal::Acknowledge)
            }
            (EnvelopeContent::Message { .. } | EnvelopeContent::RatchetKey { .. }, Some(_)) => {
                Err(prohibited("a message before the handshake").into())
            }
            (EnvelopeContent::Confirmation { .. } | EnvelopeContent::Invitation { .. }, None) => {
                Err(prohibited("a handshake without a key").into())
            }
        }
    }

    /// Somebody accepts our invitation.
    fn confirmation(
        &mut self,
        incoming: &Incoming<'_>,
        confirmed: Confirmed,
        params: &E2eParams<KemParams>,
        encrypted: &Bytes,
    ) -> Result<Disposal, Stop> {
        let keys = match &self.connection.record.stage {
            Stage::Offered { keys } => keys.clone(),
            Stage::Creating { .. }
            | Stage::Prepared { .. }
            | Stage::Confirmed { .. }
            | Stage::Allowed { .. }
            | Stage::Joining { .. }
            | Stage::Handshake { .. }
            | Stage::Connected
            | Stage::Address
            | Stage::Failed => return Err(prohibited_confirmation()),
        };
        let versions = self.shared.config.versions;
        if !versions.contains(confirmed.version) {
            return Err(AgentError::Version.into());
        }
        let ratchet_versions = self.shared.config.ratchet_versions;
        let capable = confirmed.version >= PQ && params.version >= ratchet::KEM;
        let pq = match capable {
            true => self.connection.record.pq,
            false => Pq::Off,
        };
        let ratchet = Ratchet::initiator(&keys, params, pq, ratchet_versions)
            .map_err(|_| AgentError::Version)?;
        let (message, content) = self.first_message(&ratchet, encrypted)?;
        let AgentMessage::ConnInfoReply { queues, info } = message else {
            return Err(prohibited_confirmation());
        };
        // Others may be named besides; nobody uses them.
        let reply = queues.first().clone();
        let routers: Vec<_> = queues
            .iter()
            .map(|queue| queue.address.router.clone())
            .collect();
        let routers = NonEmpty::try_from(routers).map_err(|_| AgentError::Message)?;
        if !self.shared.config.client_versions.contains(reply.version) {
            return Err(AgentError::Version.into());
        }
        self.may_be_led_to(&reply.address.router)?;
        self.keep_first(incoming, confirmed.version, content.clone());
        self.connection.record.pq = pq;
        self.queue_confirmed(incoming.queue, &confirmed);
        let name = RequestName::random(&mut self.shared.rng);
        self.connection.record.stage = Stage::Confirmed {
            confirmation: Confirmation {
                name: name.clone(),
                sender_key: confirmed.sender_key,
                reply,
            },
        };
        self.event(EventContent::Confirmation {
            name,
            pq,
            routers,
            info: Large::try_from(info).unwrap_or_default(),
        });
        Ok(Disposal::Acknowledge)
    }

    /// The initiator answers our confirmation.
    fn answer_to_joiner(
        &mut self,
        incoming: &Incoming<'_>,
        confirmed: Confirmed,
        encrypted: &Bytes,
    ) -> Result<Disposal, Stop> {
        if self.side() != Some(Side::Joiner) {
            return Err(prohibited_confirmation());
        }
        let ratchet = self.connection.ratchet.clone();
        let ratchet = ratchet.ok_or_else(prohibited_confirmation)?;
        let (message, content) = self.first_message(&ratchet, encrypted)?;
        let AgentMessage::ConnInfo { info } = message else {
            return Err(prohibited_confirmation());
        };
        let version = confirmed.version.min(self.shared.config.versions.max());
        let version = version.max(self.connection.record.version);
        self.keep_first(incoming, version, content);
        self.queue_confirmed(incoming.queue, &confirmed);
        let pq = self.connection.record.pq;
        self.event(EventContent::Info {
            pq,
            info: Large::try_from(info).unwrap_or_default(),
        });
        match confirmed.sender_key {
            Some(sender_key) => {
                if let Some(queue) = self.receive_queue_mut(incoming.queue) {
                    queue.status = ReceiveStatus::Securing { sender_key };
                }
            }
            None => {
                if let Some(queue) = self.receive_queue_mut(incoming.queue) {
                    queue.status = ReceiveStatus::Active;
                }
                if let Some(queue) = self.connection.current_send_queue() {
                    let number = queue.number;
                    self.activate(number);
                }
                self.connected();
            }
        }
        Ok(Disposal::Acknowledge)
    }

    /// The first message of a ratchet, and the step that reads it.
    fn first_message(
        &mut self,
        ratchet: &Ratchet,
        encrypted: &Bytes,
    ) -> Result<(AgentMessage, Decrypted), Stop> {
        let skipped = &self.connection.skipped.keys;
        let rng = &mut self.shared.rng;
        let decrypted = ratchet
            .decrypt(skipped, rng, BytesMut::from(&**encrypted))
            .map_err(|error| match CryptoError::of(error) {
                Some((error, _)) => AgentError::Crypto { error },
                None => AgentError::Message,
            })?;
        let message = Bytes::copy_from_slice(&decrypted.content);
        let message =
            wire::decode(Version::default(), &message).map_err(|_| AgentError::Message)?;
        Ok((message, decrypted))
    }

    fn keep_first(&mut self, incoming: &Incoming<'_>, version: Version, decrypted: Decrypted) {
        let counters = &mut self.connection.record.counters;
        counters.received = 1;
        counters.received_hash = MsgHash::of(&decrypted.content);
        self.connection.record.version = version;
        self.keep_decrypted(decrypted);
        self.remember(incoming, MessageId(0));
    }

    pub(super) fn keep_decrypted(&mut self, decrypted: Decrypted) {
        let skipped = self
            .connection
            .skipped
            .apply(&self.connection.id, decrypted.skipped);
        self.changes.extend(skipped);
        self.set_ratchet(decrypted.ratchet);
    }

    /// That a message was received is remembered with what it has done.
    pub(super) fn remember(&mut self, incoming: &Incoming<'_>, message: MessageId) {
        let key = self.key(Kind::Seen, incoming.hash);
        self.put_until(key, &Seen { message });
    }

    fn queue_confirmed(&mut self, number: QueueNumber, confirmed: &Confirmed) {
        let highest = self.shared.config.client_versions.max();
        if let Some(queue) = self.receive_queue_mut(number) {
            queue.sender_secret = Some(confirmed.secret.clone());
            queue.version = confirmed.client_version.min(highest);
            queue.status = ReceiveStatus::Secured;
        }
    }

    /// Somebody asks for a connection.
    fn request_received(
        &mut self,
        incoming: &Incoming<'_>,
        version: Version,
        request: ConnectionRequest,
        info: Bytes,
    ) -> Result<Disposal, Stop> {
        if self.connection.record.stage != Stage::Address {
            return Err(AgentError::MessageProhibited {
                context: "a request for a connection".into(),
            }
            .into());
        }
        let seen: Option<Seen> = incoming.found.get(&self.key(Kind::Seen, incoming.hash))?;
        if seen.is_some() {
            return Err(Stop::Known);
        }
        let ConnectionRequest::Invitation(data, keys) = &request else {
            return Err(AgentError::Message.into());
        };
        self.may_be_led_to(&data.queues.first().address.router)?;
        let agreed = data.versions.agreed(self.shared.config.versions);
        let capable = agreed.is_some_and(|agreed| agreed.min(version) >= PQ)
            && keys.versions.max() >= ratchet::KEM;
        let routers: Vec<_> = data
            .queues
            .iter()
            .map(|queue| queue.address.router.clone())
            .collect();
        let routers = NonEmpty::try_from(routers).map_err(|_| AgentError::Message)?;
        self.remember(incoming, MessageId(0));
        let name = RequestName::random(&mut self.shared.rng);
        let info = Large::try_from(info).unwrap_or_default();
        let kept = ContactRequest {
            user: self.connection.record.user,
            request,
            info: info.clone(),
        };
        let key = self.key(Kind::Request, name.as_slice());
        self.put_until(key, &kept);
        self.keep_request(&name);
        let event = EventContent::Request {
            name,
            pq: Pq::from(capable),
            routers,
            info,
        };
        self.event_until(event, self.forgotten());
        Ok(Disposal::Acknowledge)
    }

    /// Whether the peer may name a router that is to be reached.
    pub(super) fn may_be_led_to(
        &self,
        router: &ServerAddress<SmpScheme>,
    ) -> Result<(), AgentError> {
        let reached = self.shared.may_reach(self.connection.record.user, router);
        reached.map_err(|_| AgentError::MessageProhibited {
            context: "a router that may not be reached".into(),
        })
    }

    /// A message of the connection.
    fn message(
        &mut self,
        incoming: &Incoming<'_>,
        version: Version,
        encrypted: &Bytes,
    ) -> Result<Disposal, Stop> {
        let ratchet = self.connection.ratchet.as_ref();
        let ratchet = ratchet.ok_or_else(|| AgentError::MessageProhibited {
            context: "a message before the handshake".into(),
        })?;
        let before = ratchet.can_send();
        let skipped = &self.connection.skipped.keys;
        let rng = &mut self.shared.rng;
        let elsewhere = self.shared.config.turns == Turns::ByDriver;
        let decrypted = match incoming.found.decrypted() {
            Some(decrypted) => decrypted,
            None if elsewhere && ratchet.turns_with_kem(skipped, encrypted) => {
                let turn = Turn {
                    ratchet: ratchet.clone(),
                    skipped: skipped.clone(),
                    rng: rng.fork(),
                    message: encrypted.clone(),
                };
                return Err(Need::Turn(Box::new(turn)).into());
            }
            None => ratchet.decrypt(skipped, rng, BytesMut::from(&**encrypted)),
        };
        let decrypted = match decrypted {
            Ok(decrypted) => decrypted,
            Err(error) => return self.undecryptable(incoming, error),
        };
        let content = Bytes::copy_from_slice(&decrypted.content);
        let disposal = match wire::decode(Version::default(), &content) {
            Ok(message) => self.agent_message(incoming, &message, &content, decrypted.pq),
            Err(_) => Err(AgentError::Message.into()),
        };
        if let Err(Stop::Need(need)) = disposal {
            return Err(need.into());
        }
        // The ratchet has turned whatever the message says.
        let message = match &disposal {
            Ok(Disposal::Wait(message)) => *message,
            Ok(Disposal::Acknowledge) | Err(_) => MessageId(0),
        };
        self.upgrade(version);
        self.keep_decrypted(decrypted);
        self.remember(incoming, message);
        self.ratchet_works();
        self.queue_is_used(incoming.queue);
        if let Ok(Disposal::Acknowledge) = disposal {
            self.after_message(&content, before);
        }
        disposal
    }

    /// The agreed version only grows.
    fn upgrade(&mut self, version: Version) {
        let highest = self.shared.config.versions.max();
        let record = &mut self.connection.record;
        record.version = record.version.max(version.min(highest));
    }

    fn undecryptable(
        &mut self,
        incoming: &Incoming<'_>,
        error: DecryptError,
    ) -> Result<Disposal, Stop> {
        let seen: Option<Seen> = incoming.found.get(&self.key(Kind::Seen, incoming.hash))?;
        if let Some(Seen { message }) = seen {
            // It has come another way: the application was told, and what it acknowledges is acknowledged here too.
            return match self.connection.received.contains_key(&message) {
                true => Ok(Disposal::Wait(message)),
                false => Err(Stop::Known),
            };
        }
        match CryptoError::of(error) {
            Some((error, resync)) => {
                self.remember(incoming, MessageId(0));
                self.out_of_sync(error, resync);
                Ok(Disposal::Acknowledge)
            }
            None if error == DecryptError::Duplicate => Err(AgentError::DuplicateMessage.into()),
            None => Err(AgentError::Message.into()),
        }
    }
}

/// What a confirmation tells besides its message.
struct Confirmed {
    version: Version,
    client_version: Version,
    secret: x25519::SharedSecret,
    sender_key: Option<AuthPublicKey>,
}

fn prohibited_confirmation() -> Stop {
    Stop::Error(AgentError::MessageProhibited {
        context: "a confirmation".into(),
    })
}

fn body_of(message: &ClientMessage) -> &Bytes {
    match message {
        ClientMessage::Plain { body } | ClientMessage::WithKey { body, .. } => body,
    }
}

fn agent_envelope(
    message: &ClientMessage,
) -> Result<(Option<AuthPublicKey>, AgentEnvelope), AgentError> {
    let sender_key = match message {
        ClientMessage::Plain { .. } => None,
        ClientMessage::WithKey { key, .. } => Some(*key),
    };
    let envelope = wire::decode(Version::default(), body_of(message));
    envelope
        .map(|envelope| (sender_key, envelope))
        .map_err(|_| AgentError::Message)
}
