//! What the owner of a router's session wants to be said.

use std::sync::Arc;

use bytes::Bytes;

use crate::crypto::Nonce;
use crate::crypto::secret_box::Key;
use crate::smp::body::{Delivered, NMsgMeta};
use crate::smp::message::{BrokerMessage, MsgId};
use crate::smp::transmission::{self, Session};
use crate::smp::{ErrorType, batch};
use crate::wire::{CorrId, EntityId, Short};

/// The response to a request, and what is said unasked because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The response.
    pub response: Say,
    /// What follows the responses of the block: the first message of a subscription.
    pub then: Option<(EntityId, Say)>,
}

impl Answer {
    /// A response, and nothing else.
    #[must_use]
    pub const fn only(response: Say) -> Self {
        Self {
            response,
            then: None,
        }
    }
}

impl From<BrokerMessage> for Answer {
    fn from(message: BrokerMessage) -> Self {
        Self::only(Say::Message(message))
    }
}

impl From<ErrorType> for Answer {
    fn from(error: ErrorType) -> Self {
        BrokerMessage::Err(error).into()
    }
}

/// A message, some of which are encrypted here, where it can be done in parallel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    /// A message as it is.
    Message(BrokerMessage),
    /// A MSG, encrypted for the recipient.
    Deliver {
        /// The id of the message.
        id: MsgId,
        /// The message.
        delivered: Delivered,
        /// The secret of recipient and router.
        key: Arc<Key>,
    },
    /// An NMSG, encrypted for the recipient.
    Notify {
        /// Which message is new.
        meta: NMsgMeta,
        /// The nonce of its encryption.
        nonce: Nonce,
        /// The secret of the recipient's notifications and the router.
        key: Arc<Key>,
    },
}

impl Say {
    fn into_message(self) -> BrokerMessage {
        match self {
            Self::Message(message) => message,
            Self::Deliver { id, delivered, key } => match delivered.encrypt(&key, &id) {
                Ok(body) => BrokerMessage::Msg { id, body },
                Err(_) => BrokerMessage::Err(ErrorType::LargeMsg),
            },
            Self::Notify { meta, nonce, key } => {
                let sealed = meta.encrypt(&key, &nonce).ok().map(Short::try_from);
                match sealed {
                    Some(Ok(meta)) => BrokerMessage::NMsg {
                        nonce: *nonce.as_bytes(),
                        meta,
                    },
                    Some(Err(_)) | None => BrokerMessage::Err(ErrorType::Internal),
                }
            }
        }
    }

    /// The transmission of a response.
    pub(super) fn respond(
        self,
        session: &Session,
        corr_id: &CorrId,
        entity_id: &EntityId,
    ) -> Bytes {
        let message = self.into_message().for_version(session.version);
        let entity_id = match has_no_entity(&message) {
            true => &EntityId::EMPTY,
            false => entity_id,
        };
        let transmit =
            |message: &BrokerMessage| transmission::response(session, corr_id, entity_id, message);
        let transmission = transmit(&message);
        if batch::fits(&transmission) {
            transmission
        } else {
            transmit(&BrokerMessage::Err(ErrorType::LargeMsg))
        }
    }

    /// The transmission of what nobody has asked for.
    pub(super) fn announce(self, session: &Session, entity_id: &EntityId) -> Bytes {
        self.respond(session, &CorrId::EMPTY, entity_id)
    }
}

/// These responses are about nothing (`smp.md` 3.6).
const fn has_no_entity(message: &BrokerMessage) -> bool {
    matches!(
        message,
        BrokerMessage::Ids(_)
            | BrokerMessage::Pong
            | BrokerMessage::RRes { .. }
            | BrokerMessage::RName(_)
            | BrokerMessage::PKey { .. }
            | BrokerMessage::Alls
    )
}
