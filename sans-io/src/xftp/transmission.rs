//! Transmissions: one command or response in a block, with the session that it belongs to.
//!
//! ```text
//! block         = pad(1, length of two bytes, transmission)
//! transmission  = authorization, session id, correlation id, entity id, command
//!                                └──────────────── authorised ───────────────┘
//! ```

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{BLOCK, Command, ErrorType, Response};
use crate::crypto::{AuthPrivateKey, Authenticator, Nonce, Signature, x25519};
use crate::smp::CommandError;
pub use crate::smp::transmission::Authorization;
use crate::wire;
use crate::wire::padding::{self, PaddingError};
use crate::wire::{CorrId, EntityId, Id, Large, Short, Source, Tail, Version, Wire, WireError};

/// What both sides of a session know about its transmissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The agreed version.
    pub version: Version,
    /// The id of the session.
    pub id: Id,
}

/// A transmission that was taken apart; its command is not parsed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmission {
    /// What authorises it.
    pub authorization: Option<Authorization>,
    /// The bytes that are authorised.
    pub authorized: Bytes,
    /// What ties response and request.
    pub corr_id: CorrId,
    /// What it is about.
    pub entity_id: EntityId,
    /// The command or response.
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

wire! {
    struct Fields {
        session_id: Id,
        corr_id: CorrId,
        entity_id: EntityId,
        command: Bytes as Tail,
    }
}

/// A block holds one transmission.
const ONE: u8 = 1;

impl Transmission {
    /// The only transmission of a block.
    pub fn of_block(session: &Session, block: &Bytes) -> Result<Self, Malformed> {
        let content = padding::unpad(block).map_err(|_| Malformed::block())?;
        Self::of_content(
            session,
            &Source::block(session.version, block).bytes(content),
        )
    }

    /// The only transmission in the content of a block.
    pub fn of_content(session: &Session, content: &Bytes) -> Result<Self, Malformed> {
        let rest = content.strip_prefix(&[ONE]).ok_or_else(Malformed::block)?;
        let source = Source::block(session.version, content);
        match Large::parse(source, rest) {
            Ok(([], transmission)) => Self::parse(session, &transmission),
            _ => Err(Malformed::block()),
        }
    }

    /// Takes a transmission apart.
    pub fn parse(session: &Session, bytes: &Bytes) -> Result<Self, Malformed> {
        let source = Source::block(session.version, bytes);
        let (authorized, authorization) =
            Short::parse(source, bytes).map_err(|_| Malformed::block())?;
        let (_, fields) = Fields::parse(source, authorized).map_err(|_| Malformed::block())?;
        let malformed = |error| Malformed {
            corr_id: fields.corr_id.clone(),
            error,
        };
        if fields.session_id != session.id {
            return Err(malformed(ErrorType::Session));
        }
        let authorization = match &**authorization {
            [] => None,
            bytes => {
                let authorization = Authorization::parse(bytes);
                Some(authorization.ok_or_else(|| malformed(ErrorType::Block))?)
            }
        };
        Ok(Self {
            authorization,
            authorized: source.bytes(authorized),
            corr_id: fields.corr_id,
            entity_id: fields.entity_id,
            command: fields.command,
        })
    }

    /// Parses the command, as a router does.
    pub fn parse_command(&self, version: Version) -> Result<Command, ErrorType> {
        let command = wire::decode(version, &self.command).map_err(syntax_or_unknown)?;
        self.check_credentials(&command)?;
        Ok(command)
    }

    /// Parses the response, as a client does.
    pub fn parse_response(&self, version: Version) -> Result<Response, ErrorType> {
        let response = wire::decode(version, &self.command).map_err(syntax_or_unknown)?;
        let error = match (&response, self.entity_id.is_empty()) {
            (Response::Sids { .. } | Response::Pong, false) => CommandError::HasAuth,
            (Response::Ok | Response::Rids(_) | Response::File { .. }, true) => {
                CommandError::NoEntity
            }
            (
                Response::Sids { .. }
                | Response::Pong
                | Response::Ok
                | Response::Rids(_)
                | Response::File { .. }
                | Response::Err(_),
                _,
            ) => return Ok(response),
        };
        Err(ErrorType::command(error))
    }

    fn check_credentials(&self, command: &Command) -> Result<(), ErrorType> {
        let (auth, entity) = (self.authorization.is_some(), !self.entity_id.is_empty());
        let error = match (command, auth, entity) {
            (Command::Ping, false, false) | (Command::FNew(_), true, false) => return Ok(()),
            (Command::Ping, _, _) | (Command::FNew(_), true, true) => CommandError::HasAuth,
            (Command::FNew(_), false, _) => CommandError::NoAuth,
            (
                Command::FAdd(_) | Command::FPut | Command::FDel | Command::FGet(_) | Command::FAck,
                true,
                true,
            ) => return Ok(()),
            (
                Command::FAdd(_) | Command::FPut | Command::FDel | Command::FGet(_) | Command::FAck,
                _,
                _,
            ) => CommandError::NoAuth,
        };
        Err(ErrorType::command(error))
    }
}

impl Malformed {
    const fn block() -> Self {
        Self {
            corr_id: CorrId::EMPTY,
            error: ErrorType::Block,
        }
    }
}

const fn syntax_or_unknown(error: WireError) -> ErrorType {
    ErrorType::command(match error {
        WireError::UnknownTag => CommandError::Unknown,
        WireError::Incomplete | WireError::Invalid(_) | WireError::Trailing => CommandError::Syntax,
    })
}

/// A transmission that is not authorised yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unauthorized(Bytes);

impl Unauthorized {
    /// The transmission of a command or response.
    #[must_use]
    pub fn new<T: Wire>(
        session: &Session,
        corr_id: &CorrId,
        entity_id: &EntityId,
        command: &T,
    ) -> Self {
        let fields = Fields {
            session_id: session.id.clone(),
            corr_id: corr_id.clone(),
            entity_id: entity_id.clone(),
            command: wire::encode(command, session.version),
        };
        Self(wire::encode(&fields, session.version))
    }

    /// The bytes to authorise.
    #[must_use]
    pub const fn authorized(&self) -> &Bytes {
        &self.0
    }

    /// What a key makes of them. An X25519 key needs the router's session key.
    #[must_use]
    pub fn authorization(
        &self,
        key: &AuthPrivateKey,
        corr_id: &CorrId,
        router_key: Option<&x25519::PublicKey>,
    ) -> Option<Authorization> {
        let signature = match key {
            AuthPrivateKey::Ed25519(key) => Signature::Ed25519(key.sign(&self.0)),
            AuthPrivateKey::Ed448(key) => Signature::Ed448(key.sign(&self.0)),
            AuthPrivateKey::X25519(key) => {
                let (secret, nonce) = (key.agree(router_key?), Nonce::from_bytes(corr_id));
                let authenticator = Authenticator::new(&secret, &nonce, &self.0);
                return Some(Authorization::Authenticator(authenticator));
            }
        };
        Some(Authorization::Signature(signature))
    }

    /// The content of the block.
    #[must_use]
    pub fn content(&self, authorization: Option<&Authorization>) -> Bytes {
        let authorization = authorization.map_or(&[][..], Authorization::as_bytes);
        let length = self.0.len().saturating_add(authorization.len());
        let mut out = BytesMut::with_capacity(length.saturating_add(4));
        out.put_u8(ONE);
        out.put_u16(u16::try_from(length.saturating_add(1)).unwrap_or(u16::MAX));
        out.put_u8(u8::try_from(authorization.len()).unwrap_or(u8::MAX));
        out.put_slice(authorization);
        out.put_slice(&self.0);
        out.freeze()
    }

    /// The block.
    pub fn block(&self, authorization: Option<&Authorization>) -> Result<Bytes, PaddingError> {
        padding::pad(&self.content(authorization), BLOCK).map(BytesMut::freeze)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use crate::wire::Sample as _;
    use proptest::prelude::*;

    fn session() -> Session {
        Session {
            version: Version(3),
            id: Id::try_from([7; 32].as_slice()).unwrap(),
        }
    }

    proptest! {
        #[test]
        fn what_was_put_into_a_block_comes_back(seed: [u8; 32]) {
            let rng = &mut Rng::from_seed(seed);
            let response = Response::sample(Version(3), rng);
            let entity = EntityId::from(rng.bytes::<24>());
            let transmission = Unauthorized::new(&session(), &CorrId::EMPTY, &entity, &response);
            let block = transmission.block(None).unwrap();
            prop_assert_eq!(block.len(), BLOCK);
            let read = Transmission::of_block(&session(), &block).unwrap();
            prop_assert_eq!(&read.authorized, transmission.authorized());
            prop_assert_eq!(read.entity_id, entity);
            prop_assert_eq!(wire::decode::<Response>(Version(3), &read.command), Ok(response));
        }

        #[test]
        fn arbitrary_blocks_never_panic(content in prop::collection::vec(any::<u8>(), 0..200), one: bool) {
            let content = if one { [&[1], &content[..]].concat() } else { content };
            let block = padding::pad(&content, BLOCK).unwrap().freeze();
            if let Ok(transmission) = Transmission::of_block(&session(), &block) {
                let _ = transmission.parse_command(Version(3));
                let _ = transmission.parse_response(Version(3));
            }
        }
    }
}
