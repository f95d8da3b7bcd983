//! What the peer says, once it is decrypted; and what the application says to it.

use bytes::Bytes;

use super::Step;
use super::Stop;
use super::receive::{Disposal, Incoming};
use crate::agent::command::Reply;
use crate::agent::config::RECEIPTS;
use crate::agent::error::AgentError;
use crate::agent::event::{EventContent, MessageMeta, MessageReceipt, ReceiptStatus};
use crate::agent::id::{CommandId, MessageId, QueueNumber};
use crate::agent::message::{AMessage, AgentMessage, Integrity, MsgHash, Receipt};
use crate::agent::queue::QueueAddress;
use crate::agent::store::record::{
    OutgoingContent, OutgoingPurpose, ReceiptOf, ReceiveRotation, ReceiveStatus, Received, Sent,
    SentNumber,
};
use crate::agent::store::{Change, Kind};
use crate::ratchet::Pq;
use crate::smp::MsgFlags;
use crate::wire::{self, Large, List, NonEmpty, Version};

impl Step<'_> {
    /// Whether the message is in order, and what of it is for the application. The ratchet is not used.
    pub(super) fn agent_message(
        &mut self,
        incoming: &Incoming<'_>,
        message: &AgentMessage,
        content: &Bytes,
        pq: Pq,
    ) -> Result<Disposal, Stop> {
        let AgentMessage::Message {
            sender_msg_id,
            previous,
            message,
        } = message
        else {
            return Err(AgentError::MessageProhibited {
                context: "a message of the handshake".into(),
            }
            .into());
        };
        let receipts = match message {
            AMessage::Rcvd { receipts } => self.receipts(incoming, receipts)?,
            AMessage::Hello
            | AMessage::Msg { .. }
            | AMessage::QCont { .. }
            | AMessage::QAdd { .. }
            | AMessage::QKey { .. }
            | AMessage::QUse { .. }
            | AMessage::QTest { .. }
            | AMessage::EReady { .. } => Vec::new(),
        };
        let counters = &mut self.connection.record.counters;
        let integrity = Integrity::of(
            counters.received,
            &counters.received_hash,
            *sender_msg_id,
            previous,
        );
        counters.received = *sender_msg_id;
        counters.received_hash = MsgHash::of(content);
        let hash = counters.received_hash.clone();
        let meta = |step: &mut Self| MessageMeta {
            integrity,
            message: step.next_message(),
            received_at: step.unix_seconds(),
            broker_id: incoming.broker_id.clone(),
            sent_at: incoming.sent_at,
            sender_msg_id: *sender_msg_id,
            pq,
        };
        if let AMessage::Msg { body } = message {
            let meta = meta(self);
            let event = EventContent::Message {
                meta: meta.clone(),
                flags: incoming.flags,
                body: Large::try_from(body.clone()).unwrap_or_default(),
            };
            let receipt = Some(ReceiptOf {
                sender_msg_id: *sender_msg_id,
                hash,
            });
            let received = List::default();
            return Ok(self.keep_received(incoming, meta.message, event, receipt, received));
        }
        let known: Vec<_> = receipts
            .iter()
            .filter(|(_, receipt)| receipt.status == ReceiptStatus::Ok)
            .map(|(number, _)| *number)
            .collect();
        let receipts: Vec<_> = receipts.into_iter().map(|(_, receipt)| receipt).collect();
        let Ok(receipts) = NonEmpty::try_from(receipts) else {
            return Ok(Disposal::Acknowledge);
        };
        let meta = meta(self);
        let event = EventContent::Receipts {
            meta: meta.clone(),
            receipts,
        };
        let received = List::try_from(known).unwrap_or_default();
        Ok(self.keep_received(incoming, meta.message, event, None, received))
    }

    /// A message that no router has answered for yet.
    fn on_its_way(&self, number: i64) -> Option<Sent> {
        let outgoing = self.connection.outgoing.iter();
        outgoing.into_iter().find_map(|(message, outgoing)| {
            let OutgoingPurpose::Message { sender_msg_id } = outgoing.purpose else {
                return None;
            };
            let OutgoingContent::Encrypted { sealed } = &outgoing.content else {
                return None;
            };
            (sender_msg_id == number).then(|| Sent {
                message: *message,
                hash: MsgHash::of(&sealed.message),
            })
        })
    }

    /// The messages that receipts are of, as far as they are known. One of a message that was forgotten, or was none of the application's, is
    /// an error.
    fn receipts(
        &mut self,
        incoming: &Incoming<'_>,
        receipts: &NonEmpty<Receipt>,
    ) -> Result<Vec<(SentNumber, MessageReceipt)>, Stop> {
        let mut known = Vec::new();
        let mut needed = Vec::new();
        for receipt in receipts.iter() {
            let key = self.key(Kind::Sent, receipt.sender_msg_id.to_be_bytes());
            // The recipient may be faster than the router's answer.
            let found = match self.on_its_way(receipt.sender_msg_id) {
                Some(sent) => Ok(Some(sent)),
                None => incoming.found.get::<Sent>(&key),
            };
            match found {
                Ok(Some(sent)) => {
                    let status = match sent.hash == receipt.hash {
                        true => ReceiptStatus::Ok,
                        false => ReceiptStatus::BadHash,
                    };
                    let number = SentNumber {
                        number: receipt.sender_msg_id,
                    };
                    let message = sent.message;
                    known.push((number, MessageReceipt { message, status }));
                }
                Ok(None) => {}
                Err(super::Need::Records(keys)) => needed.extend(keys),
                Err(need) => return Err(need.into()),
            }
        }
        if !needed.is_empty() {
            return Err(super::Need::Records(needed).into());
        }
        if known.len() < receipts.len() {
            self.error(AgentError::MessageProhibited {
                context: "a receipt of a message that is not known".into(),
            });
        }
        Ok(known)
    }

    fn keep_received(
        &mut self,
        incoming: &Incoming<'_>,
        message: MessageId,
        event: EventContent,
        receipt: Option<ReceiptOf>,
        received: List<SentNumber>,
    ) -> Disposal {
        let kept = Received {
            queue: incoming.queue,
            receipt,
            received,
            event: event.clone(),
        };
        let key = self.message_key(Kind::Received, message);
        self.put(key, &kept);
        self.connection.received.insert(message, kept);
        self.tell_again(event);
        Disposal::Wait(message)
    }

    /// What a message of the agent itself brings about, when the ratchet has made its step.
    pub(super) fn after_message(&mut self, content: &Bytes, could_send: bool) {
        let Ok(AgentMessage::Message { message, .. }) = wire::decode(Version::default(), content)
        else {
            return;
        };
        match message {
            AMessage::Hello => self.hello_received(),
            AMessage::QCont { queue } => self.peer_has_room(&queue),
            AMessage::QAdd { queues } => self.queue_added(queues.first()),
            AMessage::QKey { queues } => self.queue_keyed(queues.first()),
            AMessage::QUse { queues } => self.queue_to_be_used(queues.first()),
            AMessage::EReady { .. } => self.ratchet_ready(could_send),
            // It has come through the new queue, which is all that it says.
            AMessage::QTest { .. } | AMessage::Msg { .. } | AMessage::Rcvd { .. } => {}
        }
    }

    /// The peer's queue has room again: what waits for it is tried at once.
    fn peer_has_room(&mut self, address: &QueueAddress) {
        let queue = self
            .connection
            .record
            .send
            .iter()
            .find(|queue| queue.address.is_same(address));
        if let Some(number) = queue.map(|queue| queue.number) {
            self.connection
                .retries
                .retain(|task, _| !matches!(task, super::Task::Send(queue, _) if *queue == number));
            self.event(EventContent::QueueContinue);
        }
    }

    /// Messages come through a queue.
    pub(super) fn queue_is_used(&mut self, number: QueueNumber) {
        let Some(queue) = self.receive_queue_mut(number) else {
            return;
        };
        if matches!(queue.status, ReceiveStatus::Open | ReceiveStatus::Secured) {
            queue.status = ReceiveStatus::Active;
        }
        if let Some(ReceiveRotation::Replaces { .. }) = queue.rotation {
            self.rotation_completed(number);
        }
    }

    /// The application has dealt with a message, or with receipts.
    pub(in crate::agent) fn acknowledged(
        &mut self,
        command: CommandId,
        message: MessageId,
        receipt: Option<Bytes>,
    ) {
        let done = self.acknowledge_message(message, receipt);
        self.reply(command, done.map(|()| Reply::Done));
    }

    fn acknowledge_message(
        &mut self,
        message: MessageId,
        receipt: Option<Bytes>,
    ) -> Result<(), AgentError> {
        let Some(received) = self.connection.received.get(&message).cloned() else {
            // It may be said again.
            return match message <= self.connection.record.counters.last {
                true => Ok(()),
                false => Err(AgentError::not_found("message")),
            };
        };
        let receipt = receipt.map(|info| self.receipt(received.receipt, info));
        let receipt = receipt.transpose()?.flatten();
        self.connection.received.remove(&message);
        let key = self.message_key(Kind::Received, message);
        self.changes.push(Change::Delete(key));
        for number in received.received.iter() {
            let key = self.key(Kind::Sent, number.number.to_be_bytes());
            self.changes.push(Change::Delete(key));
        }
        let mut dealt_with = Vec::new();
        for queue in self.connection.record.receive.iter_mut() {
            if let Some(waits) = queue.delivered.take_if(|waits| waits.message == message) {
                dealt_with.push((queue.number, waits.broker_id));
            }
        }
        for (queue, broker_id) in dealt_with {
            self.acknowledge(queue, broker_id);
        }
        // What comes next, the keys of another ratchet maybe, does not wait for a receipt that cannot be sent.
        receipt.map_or(Ok(()), |receipt| self.send_receipt(receipt))
    }

    /// What tells the sender that a message was received; nothing if it would not understand.
    fn receipt(&self, of: Option<ReceiptOf>, info: Bytes) -> Result<Option<AMessage>, AgentError> {
        let of = of.ok_or_else(|| AgentError::prohibited("a receipt of receipts"))?;
        if self.connection.record.version < RECEIPTS {
            return Ok(None);
        }
        let too_large = |_| AgentError::Large {
            context: "receipt".into(),
        };
        let receipt = Receipt {
            sender_msg_id: of.sender_msg_id,
            hash: of.hash,
            info: Large::try_from(info).map_err(too_large)?,
        };
        Ok(Some(AMessage::Rcvd {
            receipts: NonEmpty::one(receipt),
        }))
    }

    fn send_receipt(&mut self, message: AMessage) -> Result<(), AgentError> {
        self.may_send()?;
        let queues = self.route(self.sends_to()?.number);
        let flags = MsgFlags {
            notification: false,
        };
        self.enqueue(message, OutgoingPurpose::Receipt, flags, queues)?;
        Ok(())
    }
}
