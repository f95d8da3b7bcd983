//! How an invitation is accepted, and how the owner of an address is asked.

use bytes::Bytes;

use super::{Caller, Connection, NewQueue, Step};
use crate::agent::command::{Receiving, Reply, Sending, Waiting};
use crate::agent::config::{EARLY_RATCHET, PQ};
use crate::agent::envelope::{AgentEnvelope, EnvelopeContent};
use crate::agent::error::AgentError;
use crate::agent::id::ConnectionId;
use crate::agent::link::ConnectionRequest;
use crate::agent::machine::Shared;
use crate::agent::queue::SmpQueueInfo;
use crate::agent::store::Kind;
use crate::agent::store::record::{
    ConnectionRecord, Counters, Outgoing, OutgoingContent, OutgoingPurpose, Purpose, RatchetSync,
    SendQueue, SendRotation, SendStatus, Side, Stage,
};
use crate::crypto::{AuthPrivateKey, ed25519, x25519};
use crate::ratchet::{OfferedKeys, Pq, Ratchet};
use crate::smp::pool::UserId;
use crate::smp::{MsgFlags, QueueMode};
use crate::wire;
use crate::wire::{Large, List, ServerAddress, SmpScheme, Version};

/// What a connection is joined with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct Join {
    pub(in crate::agent) request: ConnectionRequest,
    pub(in crate::agent) info: Large,
    pub(in crate::agent) pq: Pq,
    /// The key with which its queue was secured when the link was read.
    pub(in crate::agent) link_key: Option<AuthPrivateKey>,
    pub(in crate::agent) receiving: Receiving,
}

impl Connection {
    /// A connection without queues.
    pub(in crate::agent) fn empty(
        id: ConnectionId,
        user: UserId,
        stage: Stage,
        pq: Pq,
        version: Version,
    ) -> Self {
        let record = ConnectionRecord {
            user,
            stage,
            version,
            pq,
            counters: Counters::default(),
            sync: RatchetSync::Ok,
            next_queue: Default::default(),
            receive: List::default(),
            send: List::default(),
            link: None,
            deleting: None,
        };
        Self::new(id, record)
    }

    /// A connection that accepts an invitation, or asks the owner of an address. Routers are asked when it is stored.
    pub(in crate::agent) fn joining(
        id: ConnectionId,
        user: UserId,
        shared: &mut Shared,
        join: Join,
    ) -> Result<Joining, AgentError> {
        let versions = shared.config.versions;
        let data = join.request.data();
        let version = data.versions.agreed(versions).ok_or(AgentError::Version)?;
        let queue = data.queues.first();
        let queue = queue
            .agreed(shared.config.client_versions)
            .ok_or(AgentError::Version)?;
        let peer = queue.address.router.clone();
        shared.may_reach(user, &peer)?;
        let receiving = join.receiving;
        match join.request {
            ConnectionRequest::Invitation(_, keys) => {
                let ratchet_versions = shared.config.ratchet_versions;
                let params = keys.agreed(ratchet_versions).ok_or(AgentError::Version)?;
                let capable = version >= PQ && params.version >= crate::ratchet::KEM;
                let pq = if capable { join.pq } else { Pq::Off };
                let (ratchet, params) =
                    Ratchet::joiner(&mut shared.rng, &params, pq, ratchet_versions)
                        .map_err(|_| AgentError::Version)?;
                let stage = Stage::Joining {
                    params,
                    info: join.info,
                };
                Ok(Joining {
                    connection: Self::empty(id, user, stage, pq, version),
                    ratchet: Some(ratchet),
                    queue,
                    link_key: join.link_key,
                    receiving,
                    router: shared.choose_router(user, &[peer])?,
                })
            }
            ConnectionRequest::Contact(_) => {
                let proposes = if version >= PQ { join.pq } else { Pq::Off };
                let keys = Box::new(OfferedKeys::generate(&mut shared.rng, proposes));
                let purpose = Purpose::Request {
                    keys,
                    pq: proposes,
                    info: join.info,
                };
                let stage = Stage::Creating { purpose };
                Ok(Joining {
                    connection: Self::empty(id, user, stage, proposes, version),
                    ratchet: None,
                    queue,
                    link_key: None,
                    receiving,
                    router: shared.choose_router(user, &[peer])?,
                })
            }
        }
    }
}

/// A connection that is being joined, and what its first step needs.
pub(in crate::agent) struct Joining {
    pub(in crate::agent) connection: Connection,
    ratchet: Option<Ratchet>,
    queue: SmpQueueInfo,
    link_key: Option<AuthPrivateKey>,
    receiving: Receiving,
    router: ServerAddress<SmpScheme>,
}

impl Joining {
    /// The connection, and its first step.
    pub(in crate::agent) fn into_parts(self) -> (Connection, FirstStep) {
        let first = FirstStep {
            ratchet: self.ratchet,
            queue: self.queue,
            link_key: self.link_key,
            receiving: self.receiving,
            router: self.router,
        };
        (self.connection, first)
    }
}

/// The first step of a connection that is being joined.
pub(in crate::agent) struct FirstStep {
    ratchet: Option<Ratchet>,
    queue: SmpQueueInfo,
    link_key: Option<AuthPrivateKey>,
    receiving: Receiving,
    router: ServerAddress<SmpScheme>,
}

impl Step<'_> {
    /// Stores the keys of a connection that is being joined.
    pub(in crate::agent) fn begin_to_join(&mut self, first: FirstStep, caller: Caller) {
        let version = first.queue.version;
        let contact = first.ratchet.is_none();
        self.connection.receiving = first.receiving;
        if let Some(ratchet) = first.ratchet {
            self.set_ratchet(ratchet);
        }
        self.add_send_queue(&first.queue, first.link_key, None);
        if contact && let Some(queue) = self.connection.record.send.iter_mut().next() {
            queue.status = SendStatus::Contact;
        }
        self.add_receive_queue(NewQueue {
            router: first.router,
            mode: QueueMode::Messaging,
            version,
            rotation: None,
        });
        self.connection.callers.push(caller);
    }

    /// A connection is joined again by the same link: whoever asks waits for what is under way.
    pub(in crate::agent) fn join_again(&mut self, caller: Caller, request: &ConnectionRequest) {
        let asked = &request.data().queues.first().address;
        let mut send = self.connection.record.send.iter();
        if !send.any(|queue| queue.address.is_same(asked)) {
            return self.reply(caller.command, Err(AgentError::DuplicateConnection));
        }
        match self.connection.record.stage {
            Stage::Joining { .. }
            | Stage::Creating {
                purpose: Purpose::Request { .. },
            } => {
                self.connection.callers.push(caller);
                self.connection.retries.clear();
            }
            Stage::Handshake { side: Side::Joiner } | Stage::Connected => {
                let waits = self
                    .connection
                    .outgoing
                    .values()
                    .any(|outgoing| outgoing.purpose == OutgoingPurpose::Confirmation);
                if waits {
                    self.connection.callers.push(caller);
                    self.connection.retries.clear();
                } else {
                    let joined = self.joined();
                    self.reply(caller.command, Ok(joined));
                }
            }
            Stage::Creating { .. }
            | Stage::Prepared { .. }
            | Stage::Offered { .. }
            | Stage::Confirmed { .. }
            | Stage::Allowed { .. }
            | Stage::Handshake { .. }
            | Stage::Address
            | Stage::Failed => {
                self.reply(
                    caller.command,
                    Err(AgentError::prohibited("joinConnection")),
                );
            }
        }
    }

    /// What whoever has joined is told.
    pub(super) fn joined(&self) -> Reply {
        let secured = self
            .connection
            .current_send_queue()
            .is_some_and(SendQueue::is_sender_secured);
        let early = secured && self.connection.record.version >= EARLY_RATCHET;
        let connected = self.connection.record.stage == Stage::Connected;
        Reply::Joined {
            connection: self.connection.id.clone(),
            sending: match early || connected {
                true => Sending::Now,
                false => Sending::WhenConnected,
            },
        }
    }

    /// Adds a queue to send to, with keys of its own.
    pub(super) fn add_send_queue(
        &mut self,
        info: &SmpQueueInfo,
        secured_with: Option<AuthPrivateKey>,
        rotation: Option<SendRotation>,
    ) -> crate::agent::id::QueueNumber {
        let number = self.next_queue();
        let rng = &mut self.shared.rng;
        let dh_key = x25519::PrivateKey::generate(rng);
        let status = match &secured_with {
            Some(_) => SendStatus::Secured,
            None => SendStatus::New,
        };
        let key = secured_with
            .unwrap_or_else(|| AuthPrivateKey::from(ed25519::PrivateKey::generate(rng)));
        let queue = SendQueue {
            number,
            address: info.address.clone(),
            dh_key: dh_key.public_key(),
            secret: dh_key.agree(&info.dh_key),
            key,
            version: info.version,
            mode: info.mode,
            status,
            rotation,
        };
        // A connection never has that many queues.
        self.connection.record.send.push(queue).ok();
        number
    }

    /// Asks the owner of an address for a connection.
    pub(super) fn send_request_to_address(&mut self, request: ConnectionRequest, info: &Large) {
        let Some(queue) = self
            .connection
            .record
            .send
            .iter()
            .find(|queue| queue.status == SendStatus::Contact)
        else {
            return;
        };
        let queues = List::try_from(vec![queue.number]).unwrap_or_default();
        let envelope = AgentEnvelope {
            version: self.connection.record.version,
            content: EnvelopeContent::Invitation {
                request: Box::new(request),
                info: Bytes::copy_from_slice(info),
            },
        };
        let envelope = wire::encode(&envelope, Version::default());
        let Ok(envelope) = Large::try_from(envelope) else {
            let error = AgentError::Large {
                context: "request".into(),
            };
            return self.fail(&error);
        };
        let message = self.next_message();
        let outgoing = Outgoing {
            purpose: OutgoingPurpose::Invitation,
            queues,
            since: self.unix_seconds(),
            flags: MsgFlags { notification: true },
            content: OutgoingContent::Plain { envelope },
        };
        self.keep_outgoing(message, outgoing);
    }

    pub(super) fn keep_outgoing(
        &mut self,
        message: crate::agent::id::MessageId,
        outgoing: Outgoing,
    ) {
        let key = self.message_key(Kind::Outgoing, message);
        self.put(key, &outgoing);
        self.connection.outgoing.insert(message, outgoing);
    }

    /// The connection cannot be established. One that somebody waits for, and that the peer has not heard of, is deleted: its name is free
    /// again. Any other stays until the application deletes it.
    pub(super) fn fail(&mut self, error: &AgentError) {
        let heard = !matches!(self.connection.record.stage, Stage::Joining { .. });
        self.fail_when(heard, error);
    }

    /// The same, when the peer has heard of it or not.
    pub(super) fn fail_when(&mut self, heard: bool, error: &AgentError) {
        let delete = !heard && !self.connection.callers.is_empty();
        self.connection.record.stage = Stage::Failed;
        let messages: Vec<_> = self.connection.outgoing.keys().copied().collect();
        for message in messages {
            self.forget_outgoing(message);
        }
        self.answer_callers(&Err(error.clone()));
        if delete {
            self.delete(Waiting::Drop);
        }
    }
}
