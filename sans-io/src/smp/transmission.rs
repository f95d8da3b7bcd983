//! Transmissions: what is authorised, by whom, and what it is about.
//!
//! ```text
//! authorization, [since 16, if there is one: service signature], [6: session id,] correlation id, entity id, command
//! ```
//! The authorised bytes always begin with the session id, although it is transmitted in version 6 only.

use bytes::{BufMut, Bytes, BytesMut};

use super::version::{AUTH_COMMANDS, SERVICE_CERTIFICATES};
use super::{BrokerMessage, Command, CommandError, ErrorType};
use crate::crypto::{Authenticator, Signature, ed25519};
use crate::wire::{self, CorrId, EntityId, Id, Parsed, Short, Source, Version, Wire, WireError};

/// What both sides of a session know about its transmissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The agreed version.
    pub version: Version,
    /// The id of the session.
    pub id: Id,
}

/// What authorises a transmission. Its length tells what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    /// A signature by a key of the queue.
    Signature(Signature),
    /// A hash under a secret that a key of the queue agrees with the router's session key.
    Authenticator(Authenticator),
}

impl Authorization {
    /// Reads what is not empty.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.first_chunk() {
            Some(authenticator) if bytes.len() == authenticator.len() => Some(Self::Authenticator(
                Authenticator::from_bytes(*authenticator),
            )),
            _ => Signature::from_bytes(bytes).ok().map(Self::Signature),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Signature(signature) => signature.as_bytes(),
            Self::Authenticator(authenticator) => authenticator.as_bytes(),
        }
    }
}

/// A transmission that was taken apart; its command is not parsed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmission {
    /// What authorises it.
    pub authorization: Option<Authorization>,
    /// The signature of the service in whose session it was sent.
    pub service_signature: Option<ed25519::Signature>,
    /// The bytes that are authorised, after the session id.
    pub authorized: Bytes,
    /// What ties response and request.
    pub corr_id: CorrId,
    /// What it is about.
    pub entity_id: EntityId,
    /// The command or message.
    pub command: Bytes,
}

/// A transmission that cannot be taken apart, or is not of this session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// The correlation id, if it could be read.
    pub corr_id: CorrId,
    /// What is wrong.
    pub error: ErrorType,
}

impl Transmission {
    /// Takes a transmission apart.
    pub fn parse(session: &Session, bytes: &Bytes) -> Result<Self, Malformed> {
        let source = Source::block(session.version, bytes);
        let (_, parts) = Parts::parse(source, bytes).map_err(|_| Malformed {
            corr_id: CorrId::EMPTY,
            error: ErrorType::Block,
        })?;
        let malformed = |error| Malformed {
            corr_id: parts.corr_id.clone(),
            error,
        };
        if parts
            .session_id
            .as_ref()
            .is_some_and(|id| *id != session.id)
        {
            return Err(malformed(ErrorType::Session));
        }
        let authorization = match &**parts.authorization {
            [] => None,
            bytes => Some(Authorization::parse(bytes).ok_or_else(|| malformed(ErrorType::Block))?),
        };
        Ok(Self {
            authorization,
            service_signature: parts.service_signature,
            authorized: source.bytes(parts.authorized),
            corr_id: parts.corr_id,
            entity_id: parts.entity_id,
            command: source.bytes(parts.command),
        })
    }

    /// The bytes that the authorization is over.
    #[must_use]
    pub fn authorized(&self, session: &Session) -> Authorized {
        let prefix = match session.version < AUTH_COMMANDS {
            true => Bytes::new(),
            false => wire::encode(&session.id, session.version),
        };
        Authorized {
            prefix,
            rest: self.authorized.clone(),
        }
    }

    /// Parses the command, as a router does.
    pub fn parse_command(&self, version: Version) -> Result<Command, ErrorType> {
        let command = wire::decode(version, &self.command).map_err(syntax_or_unknown)?;
        self.check_credentials(&command)?;
        Ok(command)
    }

    /// Parses the message, as a client does.
    pub fn parse_message(&self, version: Version) -> Result<BrokerMessage, ErrorType> {
        let message = wire::decode(version, &self.command).map_err(syntax_or_unknown)?;
        let entity = match (EntityRule::of(&message), self.entity_id.is_empty()) {
            (EntityRule::Absent, false) => Err(CommandError::HasAuth),
            (EntityRule::Present, true) => Err(CommandError::NoEntity),
            (EntityRule::Any | EntityRule::Absent | EntityRule::Present, _) => Ok(message),
        };
        entity.map_err(ErrorType::command)
    }

    /// Which commands must have an authorization and an entity (`smp.md` 3.4).
    fn check_credentials(&self, command: &Command) -> Result<(), ErrorType> {
        let (auth, entity) = (self.authorization.is_some(), !self.entity_id.is_empty());
        let error = match command {
            Command::New(_) => match (auth, entity) {
                (false, _) => CommandError::NoAuth,
                (true, true) => CommandError::HasAuth,
                (true, false) => return Ok(()),
            },
            Command::Send { .. } if entity => return Ok(()),
            Command::LGet | Command::Pfwd { .. } if entity && auth => CommandError::HasAuth,
            Command::LGet | Command::Pfwd { .. } if entity => return Ok(()),
            Command::Send { .. } | Command::LGet | Command::Pfwd { .. } => CommandError::NoEntity,
            Command::Ping | Command::Prxy { .. } | Command::Rfwd { .. } | Command::Rslv { .. } => {
                if !auth && !entity {
                    return Ok(());
                }
                CommandError::HasAuth
            }
            Command::Sub
            | Command::Subs(_)
            | Command::Key(_)
            | Command::RKey(_)
            | Command::LSet { .. }
            | Command::LDel
            | Command::NKey(_)
            | Command::NDel
            | Command::Get
            | Command::Ack(_)
            | Command::Off
            | Command::Del
            | Command::Que
            | Command::SKey(_)
            | Command::LKey(_)
            | Command::NSub
            | Command::NSubs(_) => {
                if auth && entity {
                    return Ok(());
                }
                CommandError::NoAuth
            }
        };
        Err(ErrorType::command(error))
    }
}

/// Whether a message is about something (`smp.md` 3.4).
enum EntityRule {
    Any,
    Absent,
    Present,
}

impl EntityRule {
    const fn of(message: &BrokerMessage) -> Self {
        match message {
            BrokerMessage::Ids(_) | BrokerMessage::Err(_) => Self::Any,
            BrokerMessage::Pong
            | BrokerMessage::PKey { .. }
            | BrokerMessage::RRes { .. }
            | BrokerMessage::Alls
            | BrokerMessage::RName(_) => Self::Absent,
            BrokerMessage::Lnk { .. }
            | BrokerMessage::Sok { .. }
            | BrokerMessage::Soks(_)
            | BrokerMessage::Msg { .. }
            | BrokerMessage::Nid { .. }
            | BrokerMessage::NMsg { .. }
            | BrokerMessage::PRes { .. }
            | BrokerMessage::End
            | BrokerMessage::Ends(_)
            | BrokerMessage::Deld
            | BrokerMessage::Info(_)
            | BrokerMessage::Ok => Self::Present,
        }
    }
}

const fn syntax_or_unknown(error: WireError) -> ErrorType {
    ErrorType::command(match error {
        WireError::UnknownTag => CommandError::Unknown,
        WireError::Incomplete | WireError::Invalid(_) | WireError::Trailing => CommandError::Syntax,
    })
}

/// The fields of a transmission, in order.
struct Parts<'a> {
    authorization: Short,
    service_signature: Option<ed25519::Signature>,
    authorized: &'a [u8],
    session_id: Option<Id>,
    corr_id: CorrId,
    entity_id: EntityId,
    command: &'a [u8],
}

impl<'a> Parts<'a> {
    fn parse(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, authorization) = Short::parse(source, input)?;
        let (input, service_signature) =
            if source.version() >= SERVICE_CERTIFICATES && !authorization.is_empty() {
                Option::<ed25519::Signature>::parse(source, input)?
            } else {
                (input, None)
            };
        let authorized = input;
        let (input, session_id) = if source.version() < AUTH_COMMANDS {
            Id::parse(source, input).map(|(input, id)| (input, Some(id)))?
        } else {
            (input, None)
        };
        let (input, corr_id) = CorrId::parse(source, input)?;
        let (command, entity_id) = EntityId::parse(source, input)?;
        let parts = Self {
            authorization,
            service_signature,
            authorized,
            session_id,
            corr_id,
            entity_id,
            command,
        };
        Ok((&[], parts))
    }
}

/// What an authorization covers. Most of it stays where it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorized {
    /// What is not in the transmission: the session's id.
    prefix: Bytes,
    rest: Bytes,
}

impl Authorized {
    /// What is covered, one part after the other.
    #[must_use]
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.prefix, &self.rest]
    }

    /// What is covered, in one piece.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        self.parts().concat().into()
    }

    /// The same after something else.
    #[must_use]
    pub fn after(&self, start: &[u8]) -> Self {
        Self {
            prefix: [start, &self.prefix].concat().into(),
            rest: self.rest.clone(),
        }
    }
}

/// All of it is in the transmission.
impl From<Bytes> for Authorized {
    fn from(rest: Bytes) -> Self {
        Self {
            prefix: Bytes::new(),
            rest,
        }
    }
}

/// The complete transmission of a message, which nobody authorises.
#[must_use]
pub fn response<T: Wire>(
    session: &Session,
    corr_id: &CorrId,
    entity_id: &EntityId,
    message: &T,
) -> Bytes {
    let version = session.version;
    let mut out = BytesMut::with_capacity(SHORT);
    out.put_u8(0);
    if version < AUTH_COMMANDS {
        session.id.put(version, &mut out);
    }
    corr_id.put(version, &mut out);
    entity_id.put(version, &mut out);
    message.put(version, &mut out);
    out.freeze()
}

/// Most transmissions are no longer.
const SHORT: usize = 256;

/// A transmission that is not authorised yet: the bytes from the session id on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unauthorized {
    bytes: Bytes,
    session_id_length: usize,
}

impl Unauthorized {
    /// The transmission of a command or message.
    #[must_use]
    pub fn new<T: Wire>(
        session: &Session,
        corr_id: &CorrId,
        entity_id: &EntityId,
        command: &T,
    ) -> Self {
        let version = session.version;
        let mut out = BytesMut::with_capacity(SHORT);
        session.id.put(version, &mut out);
        let session_id_length = out.len();
        corr_id.put(version, &mut out);
        entity_id.put(version, &mut out);
        command.put(version, &mut out);
        Self {
            bytes: out.freeze(),
            session_id_length,
        }
    }

    /// The bytes to authorise.
    #[must_use]
    pub fn authorized(&self) -> &Bytes {
        &self.bytes
    }

    /// The complete transmission.
    #[must_use]
    pub fn authorize(
        &self,
        session: &Session,
        authorization: Option<&Authorization>,
        service_signature: Option<&ed25519::Signature>,
    ) -> Bytes {
        let mut out = BytesMut::with_capacity(self.bytes.len().saturating_add(192));
        self.put(session, authorization, service_signature, &mut out);
        out.freeze()
    }

    fn put(
        &self,
        session: &Session,
        authorization: Option<&Authorization>,
        service_signature: Option<&ed25519::Signature>,
        out: &mut BytesMut,
    ) {
        let version = session.version;
        let bytes = authorization.map_or([].as_slice(), Authorization::as_bytes);
        out.put_u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX));
        out.put_slice(bytes);
        if version >= SERVICE_CERTIFICATES && authorization.is_some() {
            service_signature.copied().put(version, out);
        }
        let from = match version < AUTH_COMMANDS {
            true => 0,
            false => self.session_id_length,
        };
        out.put_slice(self.bytes.get(from..).unwrap_or(&[]));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_response_is_a_transmission_that_nobody_authorises(seed: [u8; 32], version in 6..=20_u16) {
            let mut rng = Rng::from_seed(seed);
            let version = Version(version);
            let session = Session { version, id: Id::sample(version, &mut rng) };
            let corr_id = CorrId::sample(version, &mut rng);
            let entity_id = EntityId::sample(version, &mut rng);
            let message = BrokerMessage::sample(version, &mut rng);
            let unauthorized = Unauthorized::new(&session, &corr_id, &entity_id, &message);
            prop_assert_eq!(
                response(&session, &corr_id, &entity_id, &message),
                unauthorized.authorize(&session, None, None)
            );
        }
    }
}
