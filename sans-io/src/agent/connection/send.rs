//! Messages on their way to the peer.

use bytes::Bytes;

use super::Step;
use crate::agent::command::Reply;
use crate::agent::error::AgentError;
use crate::agent::event::EventContent;
use crate::agent::id::{CommandId, MessageId, QueueNumber};
use crate::agent::message::{AMessage, AgentMessage, MsgHash};
use crate::agent::store::record::{Outgoing, OutgoingContent, OutgoingPurpose, RatchetSync, Sent};
use crate::agent::store::{Change, Kind};
use crate::ratchet::Pq;
use crate::smp::MsgFlags;
use crate::wire::{List, ServerAddress, SmpScheme};

/// To how much a message is padded.
const PADDED: u16 = 15840;
/// The same where there is room for post-quantum keys.
const PADDED_PQ: u16 = 13618;

/// How many messages of the agent itself may wait besides those of the application.
const RESERVE: usize = 100;

impl Step<'_> {
    /// Takes a message of the application.
    pub(in crate::agent) fn send(
        &mut self,
        command: CommandId,
        pq: Option<Pq>,
        flags: MsgFlags,
        body: Bytes,
    ) {
        let accepted = self.take_message(pq, flags, body);
        let accepted = accepted.map(|(message, pq)| Reply::Accepted { message, pq });
        self.reply(command, accepted);
    }

    fn take_message(
        &mut self,
        pq: Option<Pq>,
        flags: MsgFlags,
        body: Bytes,
    ) -> Result<(MessageId, Pq), AgentError> {
        if self.connection.record.deleting.is_some() {
            return Err(AgentError::not_found("connection"));
        }
        self.may_send()?;
        let queues = self.route(self.sends_to()?.number);
        let message = AMessage::Msg { body };
        let purpose = OutgoingPurpose::Message { sender_msg_id: 0 };
        self.enqueue_with(message, purpose, flags, queues, pq)
    }

    /// While the ratchet is being replaced nothing can be sent that the old one or the new one would have to read.
    pub(super) fn may_send(&self) -> Result<(), AgentError> {
        match self.connection.record.sync {
            RatchetSync::Ok | RatchetSync::Allowed => Ok(()),
            RatchetSync::Required | RatchetSync::Started { .. } | RatchetSync::Agreed { .. } => {
                Err(AgentError::prohibited(
                    "sendMessage: the ratchet is out of sync",
                ))
            }
        }
    }

    /// Sends a message of the agent, which leaves post-quantum keys as they are.
    pub(super) fn enqueue(
        &mut self,
        message: AMessage,
        purpose: OutgoingPurpose,
        flags: MsgFlags,
        queues: Vec<QueueNumber>,
    ) -> Result<(MessageId, Pq), AgentError> {
        self.enqueue_with(message, purpose, flags, queues, None)
    }

    fn enqueue_with(
        &mut self,
        message: AMessage,
        purpose: OutgoingPurpose,
        flags: MsgFlags,
        queues: Vec<QueueNumber>,
        pq: Option<Pq>,
    ) -> Result<(MessageId, Pq), AgentError> {
        self.has_room(purpose)?;
        let record = &self.connection.record;
        let capable = record.version >= crate::agent::config::PQ;
        let support = match pq {
            Some(Pq::On) if capable => Pq::On,
            Some(_) | None => record.pq,
        };
        let pq = pq.filter(|pq| capable || !pq.is_on());
        let padded = if support.is_on() { PADDED_PQ } else { PADDED };
        let sender_msg_id = record.counters.sent.saturating_add(1);
        let message = AgentMessage::Message {
            sender_msg_id,
            previous: record.counters.sent_hash.clone(),
            message,
        };
        let (sealed, in_effect) = self.seal(&message, padded, pq)?;
        let record = &mut self.connection.record;
        record.pq = support;
        record.counters.sent = sender_msg_id;
        record.counters.sent_hash = MsgHash::of(&sealed.message);
        let purpose = match matches!(purpose, OutgoingPurpose::Message { .. }) {
            true => OutgoingPurpose::Message { sender_msg_id },
            false => purpose,
        };
        let outgoing = Outgoing {
            purpose,
            queues: List::try_from(queues).unwrap_or_default(),
            since: self.unix_seconds(),
            flags,
            content: OutgoingContent::Encrypted { sealed },
        };
        let message = self.next_message();
        self.keep_outgoing(message, outgoing);
        Ok((message, in_effect))
    }

    /// Whether one more message may wait to be sent. What the agent itself has to say, to a peer that asks for it again and again, may be
    /// a few more than what the application has.
    fn has_room(&self, purpose: OutgoingPurpose) -> Result<(), AgentError> {
        let of_application = matches!(purpose, OutgoingPurpose::Message { .. });
        let reserve = if of_application { 0 } else { RESERVE };
        let most = self.shared.config.max_outgoing.saturating_add(reserve);
        if self.connection.outgoing.len() >= most {
            return Err(AgentError::prohibited("too many messages wait"));
        }
        let full = self.shared.outgoing_bytes >= self.shared.config.max_outgoing_bytes;
        match full && of_application {
            true => Err(AgentError::prohibited(
                "too many messages of all connections wait",
            )),
            false => Ok(()),
        }
    }

    /// A message is not to be sent any more.
    pub(super) fn forget_outgoing(&mut self, message: MessageId) -> Option<Outgoing> {
        let outgoing = self.connection.outgoing.remove(&message)?;
        let key = self.message_key(Kind::Outgoing, message);
        self.changes.push(Change::Delete(key));
        Some(outgoing)
    }

    /// A router has taken a message.
    pub(super) fn message_sent(
        &mut self,
        number: QueueNumber,
        message: MessageId,
        proxy: Option<ServerAddress<SmpScheme>>,
    ) {
        let Some(mut outgoing) = self.connection.outgoing.get(&message).cloned() else {
            return;
        };
        if !outgoing.queues.contains(&number) {
            // It goes another way meanwhile: whoever has replaced the queue may not look into it any more. If he does, he knows that he has
            // the message already.
            return;
        }
        match self.is_in_test(number) {
            // Whatever becomes of the one before, the recipient looks into this one.
            true => outgoing.queues = List::default(),
            false => outgoing.queues.retain(|queue| *queue != number),
        }
        if !outgoing.queues.is_empty() {
            return self.keep_outgoing(message, outgoing);
        }
        self.forget_outgoing(message);
        match outgoing.purpose {
            OutgoingPurpose::Confirmation => self.confirmation_sent(number),
            OutgoingPurpose::Invitation => self.request_sent(number),
            OutgoingPurpose::Hello => self.hello_sent(number),
            OutgoingPurpose::Message { sender_msg_id } => {
                self.remember_sent(message, sender_msg_id, &outgoing.content);
                self.event(EventContent::Sent { message, proxy });
            }
            OutgoingPurpose::QueueKey => self.queue_key_sent(number),
            OutgoingPurpose::QueueTest => self.queue_test_sent(number),
            OutgoingPurpose::Receipt
            | OutgoingPurpose::QueueContinue
            | OutgoingPurpose::QueueAdd
            | OutgoingPurpose::QueueUse
            | OutgoingPurpose::RatchetKey
            | OutgoingPurpose::RatchetReady => {}
        }
    }

    /// For the receipt that may come.
    fn remember_sent(&mut self, message: MessageId, sender_msg_id: i64, content: &OutgoingContent) {
        if let OutgoingContent::Encrypted { sealed } = content {
            let sent = Sent {
                message,
                hash: MsgHash::of(&sealed.message),
            };
            let key = self.key(Kind::Sent, sender_msg_id.to_be_bytes());
            self.put_until(key, &sent);
        }
    }

    /// The owner of an address was asked.
    fn request_sent(&mut self, number: QueueNumber) {
        self.connection
            .record
            .send
            .retain(|queue| queue.number != number);
        let connection = self.connection.id.clone();
        for caller in std::mem::take(&mut self.connection.callers) {
            let joined = Reply::Joined {
                connection: connection.clone(),
                sending: crate::agent::command::Sending::WhenConnected,
            };
            self.reply(caller.command, Ok(joined));
        }
    }

    /// A message cannot be sent, now or later.
    pub(super) fn sending_failed(&mut self, message: MessageId, error: &AgentError) {
        self.give_up(&[message], error);
    }
}
