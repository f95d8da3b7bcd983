//! What can go wrong, in the words of the protocol.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::wire;
use crate::wire::{Codec, Parsed, Short, Source, Tail, Version, Wire, WireError};

use super::version::{BLOCKED_ENTITY, CLIENT_NOTICES};

wire! {
    words
    /// Why a command was not executed.
    #[derive(thiserror::Error, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum ErrorType {
        /// The block or the transmission cannot be parsed.
        #[error("BLOCK")]
        #[serde(rename = "BLOCK")]
        "BLOCK" => Block,
        /// The transmission is of another session.
        #[error("SESSION")]
        #[serde(rename = "SESSION")]
        "SESSION" => Session,
        /// The command is not one, or must not be used like this.
        #[error("CMD {error}")]
        #[serde(rename = "CMD")]
        "CMD" => Cmd {
            /// What is wrong with it.
            #[serde(rename = "cmdErr")]
            error: CommandError as WithLegacyNoQueue,
        },
        /// The proxy could not do it.
        #[error("PROXY {error}")]
        #[serde(rename = "PROXY")]
        "PROXY" => Proxy {
            /// What went wrong.
            #[serde(rename = "proxyErr")]
            error: ProxyError,
        },
        /// Not authorised, or no such queue.
        #[error("AUTH")]
        #[serde(rename = "AUTH")]
        "AUTH" => Auth,
        /// The operator has blocked the queue.
        #[error("BLOCKED {info}")]
        #[serde(rename = "BLOCKED")]
        "BLOCKED" => Blocked {
            /// Why.
            #[serde(rename = "blockInfo")]
            info: BlockingInfo,
        },
        /// The service signature is wrong, missing, or not allowed.
        #[error("SERVICE")]
        #[serde(rename = "SERVICE")]
        "SERVICE" => Service,
        /// A forwarded command cannot be decrypted.
        #[error("CRYPTO")]
        #[serde(rename = "CRYPTO")]
        "CRYPTO" => Crypto,
        /// The queue is full.
        #[error("QUOTA")]
        #[serde(rename = "QUOTA")]
        "QUOTA" => Quota,
        /// The router's storage failed.
        #[error("STORE {error}")]
        #[serde(rename = "STORE")]
        "STORE" => Store {
            /// What it says.
            #[serde(rename = "storeErr")]
            error: ErrorText as ToEnd,
        },
        /// The command came too late.
        #[error("EXPIRED")]
        #[serde(rename = "EXPIRED")]
        "EXPIRED" => Expired,
        /// There is no message, or not this one.
        #[error("NO_MSG")]
        #[serde(rename = "NO_MSG")]
        "NO_MSG" => NoMsg,
        /// The message is too large.
        #[error("LARGE_MSG")]
        #[serde(rename = "LARGE_MSG")]
        "LARGE_MSG" => LargeMsg,
        /// The router failed.
        #[error("INTERNAL")]
        #[serde(rename = "INTERNAL")]
        "INTERNAL" => Internal,
        /// A name cannot be resolved.
        #[error("NAME {error}")]
        #[serde(rename = "NAME")]
        "NAME" => Name {
            /// Why.
            #[serde(rename = "nameErr")]
            error: NameError,
        },
        /// Never sent: a client's own mark.
        #[error("DUPLICATE_")]
        #[serde(rename = "DUPLICATE_")]
        "DUPLICATE_" => Duplicate,
    }
}

impl ErrorType {
    /// The error for a command that is not one.
    #[must_use]
    pub const fn command(error: CommandError) -> Self {
        Self::Cmd { error }
    }

    /// The error as a client of that version understands it.
    #[must_use]
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the others are in all versions"
    )]
    pub fn for_version(self, version: Version) -> Self {
        match self {
            Self::Blocked { .. } if version < BLOCKED_ENTITY => Self::Auth,
            Self::Blocked { info } if version < CLIENT_NOTICES => Self::Blocked {
                info: BlockingInfo {
                    notice: None,
                    ..info
                },
            },
            other => other,
        }
    }
}

wire! {
    words
    /// What is wrong with a command.
    #[derive(Copy, thiserror::Error, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum CommandError {
        /// There is no such command.
        #[error("UNKNOWN")]
        #[serde(rename = "UNKNOWN")]
        "UNKNOWN" => Unknown,
        /// Its parameters cannot be parsed.
        #[error("SYNTAX")]
        #[serde(rename = "SYNTAX")]
        "SYNTAX" => Syntax,
        /// It is not allowed here.
        #[error("PROHIBITED")]
        #[serde(rename = "PROHIBITED")]
        "PROHIBITED" => Prohibited,
        /// It must be authorised.
        #[error("NO_AUTH")]
        #[serde(rename = "NO_AUTH")]
        "NO_AUTH" => NoAuth,
        /// It must not be authorised, or have an entity.
        #[error("HAS_AUTH")]
        #[serde(rename = "HAS_AUTH")]
        "HAS_AUTH" => HasAuth,
        /// It must have an entity.
        #[error("NO_ENTITY")]
        #[serde(rename = "NO_ENTITY")]
        "NO_ENTITY" => NoEntity,
    }
}

wire! {
    words
    /// Why a proxy could not forward a command.
    #[derive(thiserror::Error, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum ProxyError {
        /// The relay's answer to the proxy.
        #[error("PROTOCOL {error}")]
        #[serde(rename = "PROTOCOL")]
        "PROTOCOL" => Protocol {
            /// The answer.
            #[serde(rename = "protocolErr")]
            error: Box<ErrorType> as Nested,
        },
        /// The proxy could not talk to the relay.
        #[error("BROKER {error}")]
        #[serde(rename = "BROKER")]
        "BROKER" => Broker {
            /// Why.
            #[serde(rename = "brokerErr")]
            error: BrokerError,
        },
        /// The password of the proxy is wrong.
        #[error("BASIC_AUTH")]
        #[serde(rename = "BASIC_AUTH")]
        "BASIC_AUTH" => BasicAuth,
        /// The proxy has no such session with a relay any more.
        #[error("NO_SESSION")]
        #[serde(rename = "NO_SESSION")]
        "NO_SESSION" => NoSession,
    }
}

wire! {
    words
    /// Why a router could not be talked to.
    #[derive(thiserror::Error, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum BrokerError {
        /// Its response cannot be parsed.
        #[error("RESPONSE {error}")]
        #[serde(rename = "RESPONSE")]
        "RESPONSE" => Response {
            /// What was wrong with it.
            #[serde(rename = "respErr")]
            error: ErrorText as Counted,
        },
        /// Its response is not one to the command.
        #[error("UNEXPECTED {error}")]
        #[serde(rename = "UNEXPECTED")]
        "UNEXPECTED" => Unexpected {
            /// What it was.
            #[serde(rename = "respErr")]
            error: ErrorText as Counted,
        },
        /// The transport failed.
        #[error("TRANSPORT {error}")]
        #[serde(rename = "TRANSPORT")]
        "TRANSPORT" => Transport {
            /// How.
            #[serde(rename = "transportErr")]
            error: TransportError,
        },
        /// It cannot be reached.
        #[error("NETWORK")]
        #[serde(rename = "NETWORK")]
        "NETWORK" => Network [
            /// How, if it is known.
            #[serde(rename = "networkError")]
            error: NetworkError
        ],
        /// It did not answer in time.
        #[error("TIMEOUT")]
        #[serde(rename = "TIMEOUT")]
        "TIMEOUT" => Timeout,
        /// None of its hosts can be used.
        #[error("HOST")]
        #[serde(rename = "HOST")]
        "HOST" => Host,
        /// It does not know the service.
        #[error("NO_SERVICE")]
        #[serde(rename = "NO_SERVICE")]
        "NO_SERVICE" => NoService,
    }
}

wire! {
    words
    /// How the network failed.
    #[derive(thiserror::Error, Serialize, Deserialize, Default)]
    #[serde(tag = "type")]
    pub enum NetworkError {
        /// No connection.
        #[error("CONNECT {error}")]
        #[serde(rename = "connectError")]
        "CONNECT" => Connect {
            /// What was tried last.
            #[serde(rename = "connectError")]
            error: ErrorText as Counted,
        },
        /// No TLS session.
        #[error("TLS {error}")]
        #[serde(rename = "tLSError")]
        "TLS" => Tls {
            /// Why.
            #[serde(rename = "tlsError")]
            error: ErrorText as Counted,
        },
        /// The identity is another one.
        #[error("UNKNOWNCA")]
        #[serde(rename = "unknownCAError")]
        "UNKNOWNCA" => UnknownCa,
        /// In no way that is known.
        #[default]
        #[error("FAILED")]
        #[serde(rename = "failedError")]
        "FAILED" => Failed,
        /// Not in time.
        #[error("TIMEOUT")]
        #[serde(rename = "timeoutError")]
        "TIMEOUT" => Timeout,
        /// The session ended while subscribing.
        #[error("SUBSCRIBE {error}")]
        #[serde(rename = "subscribeError")]
        "SUBSCRIBE" => Subscribe {
            /// Why.
            #[serde(rename = "subscribeError")]
            error: ErrorText as Counted,
        },
    }
}

wire! {
    words
    /// How a session failed below the commands.
    #[derive(Copy, thiserror::Error, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum TransportError {
        /// A block is not one.
        #[error("BLOCK")]
        #[serde(rename = "badBlock")]
        "BLOCK" => BadBlock,
        /// No version in common.
        #[error("VERSION")]
        #[serde(rename = "version")]
        "VERSION" => Version,
        /// A message does not fit into a block.
        #[error("LARGE_MSG")]
        #[serde(rename = "largeMsg")]
        "LARGE_MSG" => LargeMsg,
        /// The session ids differ.
        #[error("SESSION")]
        #[serde(rename = "badSession")]
        "SESSION" => BadSession,
        /// The router has no session key.
        #[error("NO_AUTH")]
        #[serde(rename = "noServerAuth")]
        "NO_AUTH" => NoServerAuth,
        /// The handshake failed.
        #[error("HANDSHAKE {error}")]
        #[serde(rename = "handshake")]
        "HANDSHAKE" => Handshake {
            /// Why.
            #[serde(rename = "handshakeErr")]
            error: HandshakeError,
        },
    }
}

wire! {
    words
    /// Why a handshake failed.
    #[derive(Copy, thiserror::Error, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum HandshakeError {
        /// A message cannot be parsed.
        #[error("PARSE")]
        #[serde(rename = "PARSE")]
        "PARSE" => Parse,
        /// The client expects another router.
        #[error("IDENTITY")]
        #[serde(rename = "IDENTITY")]
        "IDENTITY" => Identity,
        /// A key is not signed by the right certificate.
        #[error("BAD_AUTH")]
        #[serde(rename = "BAD_AUTH")]
        "BAD_AUTH" => BadAuth,
        /// The service is known in another role.
        #[error("BAD_SERVICE")]
        #[serde(rename = "BAD_SERVICE")]
        "BAD_SERVICE" => BadService,
    }
}

wire! {
    words
    /// Why a name cannot be resolved.
    #[derive(thiserror::Error, Serialize, Deserialize)]
    #[serde(tag = "type")]
    pub enum NameError {
        /// The router resolves no names.
        #[error("NO_RESOLVER")]
        #[serde(rename = "NO_RESOLVER")]
        "NO_RESOLVER" => NoResolver,
        /// There is no such name.
        #[error("NOT_FOUND")]
        #[serde(rename = "NOT_FOUND")]
        "NOT_FOUND" => NotFound,
        /// The resolver failed.
        #[error("RESOLVER {error}")]
        #[serde(rename = "RESOLVER")]
        "RESOLVER" => Resolver {
            /// How.
            #[serde(rename = "resolverErr")]
            error: ErrorText as ToEnd,
        },
    }
}

/// Why the operator has blocked a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockingInfo {
    /// The reason.
    pub reason: BlockingReason,
    /// What its recipient is told.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub notice: Option<ClientNotice>,
}

/// The reason to block a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlockingReason {
    /// It is used for spam.
    Spam,
    /// Its content.
    Content,
}

/// What the recipient of a blocked queue is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientNotice {
    /// For how many seconds the notice holds.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ttl: Option<i64>,
}

impl fmt::Display for BlockingInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            BlockingReason::Spam => "reason=spam",
            BlockingReason::Content => "reason=content",
        })?;
        match self.notice {
            None => Ok(()),
            Some(ClientNotice { ttl: None }) => f.write_str(",notice={}"),
            Some(ClientNotice { ttl: Some(ttl) }) => write!(f, ",notice={{\"ttl\":{ttl}}}"),
        }
    }
}

impl Wire for BlockingInfo {
    fn parse<'a>(_: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (rest, reason) = if let Some(rest) = input.strip_prefix(b"reason=spam") {
            (rest, BlockingReason::Spam)
        } else if let Some(rest) = input.strip_prefix(b"reason=content") {
            (rest, BlockingReason::Content)
        } else {
            return WireError::Invalid("reason").fail();
        };
        let Some(notice) = rest.strip_prefix(b",notice=") else {
            return Ok((
                rest,
                Self {
                    reason,
                    notice: None,
                },
            ));
        };
        match serde_json::from_slice(notice) {
            Ok(notice) => Ok((
                &[],
                Self {
                    reason,
                    notice: Some(notice),
                },
            )),
            Err(_) => WireError::Invalid("notice").fail(),
        }
    }

    fn put(&self, _: Version, out: &mut BytesMut) {
        out.put_slice(self.to_string().as_bytes());
    }
}

/// A text from a peer: any bytes, shown as well as they can be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorText(Bytes);

impl ErrorText {
    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for ErrorText {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl fmt::Display for ErrorText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl Serialize for ErrorText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ErrorText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self(text.into()))
    }
}

/// A text that takes the rest of the transmission.
enum ToEnd {}

impl Codec<ErrorText> for ToEnd {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, ErrorText> {
        Tail::parse(source, input).map(|(input, text)| (input, ErrorText(text)))
    }

    fn put(value: &ErrorText, version: Version, out: &mut BytesMut) {
        Tail::put(&value.0, version, out);
    }
}

/// A text with a length; what does not fit is cut off.
enum Counted {}

impl Codec<ErrorText> for Counted {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, ErrorText> {
        Short::parse(source, input).map(|(input, text)| (input, ErrorText(text.into_bytes())))
    }

    fn put(value: &ErrorText, version: Version, out: &mut BytesMut) {
        let text = value.0.slice(..value.0.len().min(Short::MAX));
        Short::try_from(text).unwrap_or_default().put(version, out);
    }
}

/// The word `NO_QUEUE` of older routers is read as `NO_ENTITY`.
pub(crate) enum WithLegacyNoQueue {}

impl Codec<CommandError> for WithLegacyNoQueue {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, CommandError> {
        match wire::tag::word("NO_QUEUE", input) {
            Some(rest) => Ok((rest, CommandError::NoEntity)),
            None => CommandError::parse(source, input),
        }
    }

    fn put(value: &CommandError, version: Version, out: &mut BytesMut) {
        value.put(version, out);
    }
}

/// An error inside an error, to a depth that no honest proxy reaches.
enum Nested {}

impl Nested {
    const DEPTH: usize = 8;
}

impl Codec<Box<ErrorType>> for Nested {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Box<ErrorType>> {
        let inner = |input: &&'a [u8]| input.strip_prefix(b"PROXY PROTOCOL ");
        if std::iter::successors(Some(input), inner).count() > Self::DEPTH {
            return WireError::Invalid("nesting").fail();
        }
        ErrorType::parse(source, input).map(|(input, error)| (input, Box::new(error)))
    }

    fn put(value: &Box<ErrorType>, version: Version, out: &mut BytesMut) {
        value.put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
mod sample {
    use super::{
        BlockingInfo, BlockingReason, ClientNotice, CommandError, Counted, ErrorText, ErrorType,
        Nested, ToEnd, Version, WithLegacyNoQueue,
    };
    use crate::rng::Rng;
    use crate::wire::{Sample, SampleCodec, Tail};

    impl Sample for BlockingInfo {
        fn sample(version: Version, rng: &mut Rng) -> Self {
            let reason = match bool::sample(version, rng) {
                true => BlockingReason::Spam,
                false => BlockingReason::Content,
            };
            let notice =
                Option::<Option<i64>>::sample(version, rng).map(|ttl| ClientNotice { ttl });
            Self { reason, notice }
        }
    }

    impl SampleCodec<ErrorText> for ToEnd {
        fn sample(version: Version, rng: &mut Rng) -> ErrorText {
            ErrorText(Tail::sample(version, rng))
        }
    }

    impl SampleCodec<ErrorText> for Counted {
        fn sample(version: Version, rng: &mut Rng) -> ErrorText {
            ErrorText(Tail::sample(version, rng))
        }
    }

    impl SampleCodec<CommandError> for WithLegacyNoQueue {
        fn sample(version: Version, rng: &mut Rng) -> CommandError {
            Sample::sample(version, rng)
        }
    }

    impl SampleCodec<Box<ErrorType>> for Nested {
        fn sample(_: Version, _: &mut Rng) -> Box<ErrorType> {
            Box::new(ErrorType::Quota)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::decode_slice;

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| ["PROXY PROTOCOL ".repeat(depth).as_bytes(), b"AUTH"].concat();
        assert!(decode_slice::<ErrorType>(Version(20), &nested(8)).is_ok());
        assert!(decode_slice::<ErrorType>(Version(20), &nested(9)).is_err());
        assert!(decode_slice::<ErrorType>(Version(20), &nested(1000)).is_err());
    }
}
