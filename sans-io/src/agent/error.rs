//! What can go wrong, in the words of the protocol.

use std::fmt;

use crate::ratchet::{DecryptError, Resync};
use crate::smp::{BrokerError, ErrorType};
use crate::wire;
use crate::wire::{ServerAddress, SmpScheme, Text, XftpScheme};
use crate::xftp;

wire! {
    prefixes
    /// Why a command was not carried out, or why a message was not sent or not read.
    #[derive(thiserror::Error)]
    pub enum AgentError {
        /// The command is not allowed in this state of the connection.
        #[error("CMD PROHIBITED {context}")]
        "CP" => Prohibited {
            /// Where.
            context: Context,
        },
        /// What is to be sent is too large.
        #[error("CMD LARGE {context}")]
        "CL" => Large {
            /// Where.
            context: Context,
        },
        /// There is no such connection, request or message.
        #[error("CONN NOT_FOUND {context}")]
        "NF" => NotFound {
            /// What.
            context: Context,
        },
        /// The name of the connection is taken.
        #[error("CONN DUPLICATE")]
        "ND" => DuplicateConnection,
        /// The connection cannot send, or cannot receive.
        #[error("CONN SIMPLEX {context}")]
        "NS" => Simplex {
            /// Where.
            context: Context,
        },
        /// The peer has not accepted the connection, or has accepted another.
        #[error("CONN NOT_ACCEPTED {context}")]
        "NA" => NotAccepted {
            /// Where.
            context: Context,
        },
        /// The peer cannot be reached for the handshake.
        #[error("CONN NOT_AVAILABLE {context}")]
        "NV" => NotAvailable {
            /// Where.
            context: Context,
        },
        /// There is no such user.
        #[error("NO_USER")]
        "U" => NoUser,
        /// The user has no router for this.
        #[error("NO_ROUTERS {context}")]
        "R" => NoRouters {
            /// For what.
            context: Context,
        },
        /// The user has no router that is asked for names.
        #[error("NO_NAME_SERVERS")]
        "Z" => NoNameRouters,
        /// The peer's message is none.
        #[error("AGENT A_MESSAGE")]
        "AM" => Message,
        /// The peer's message is not allowed in this state of the connection.
        #[error("AGENT A_PROHIBITED {context}")]
        "AP" => MessageProhibited {
            /// Where.
            context: Context,
        },
        /// There is no version that both sides support.
        #[error("AGENT A_VERSION")]
        "AV" => Version,
        /// The data of a link is not to be believed.
        #[error("AGENT A_LINK {context}")]
        "AL" => Link {
            /// Why.
            context: Context,
        },
        /// A message cannot be decrypted.
        #[error("AGENT A_CRYPTO {error}")]
        "AC" => Crypto {
            /// Why.
            error: CryptoError,
        },
        /// A message was received before.
        #[error("AGENT A_DUPLICATE")]
        "AD" => DuplicateMessage,
        /// A message about the rotation of a queue does not fit to its state, or could not be sent.
        #[error("AGENT A_QUEUE {context}")]
        "AQ" => Queue {
            /// Where.
            context: Context,
        },
        /// The agent is suspended, or the network is not there.
        #[error("INACTIVE")]
        "I" => Inactive,
        /// What should not be.
        #[error("INTERNAL {context}")]
        "X" => Internal {
            /// Where.
            context: Context,
        },
        /// The router has refused.
        #[error("SMP {router} {error}")]
        "S" => Smp {
            /// The router.
            router: Box<ServerAddress<SmpScheme>>,
            /// Its answer.
            error: Box<ErrorType>,
        },
        /// The router cannot be talked to.
        #[error("BROKER {router} {error}")]
        "B" => Broker {
            /// The router.
            router: Box<ServerAddress<SmpScheme>>,
            /// Why.
            error: Box<BrokerError> as Detailed,
        },
        /// The proxy has refused, or could not forward.
        #[error("PROXY {proxy} {relay} {error}")]
        "P" => Proxy {
            /// The proxy.
            proxy: Box<ServerAddress<SmpScheme>>,
            /// The router behind it.
            relay: Box<ServerAddress<SmpScheme>>,
            /// The proxy's answer.
            error: Box<ErrorType>,
        },
        /// The router of a file has refused, or has something else.
        #[error("XFTP {router} {error}")]
        "FX" => Xftp {
            /// The router.
            router: Box<ServerAddress<XftpScheme>>,
            /// Its answer.
            error: xftp::ErrorType,
        },
        /// The router of a file cannot be talked to.
        #[error("BROKER {router} {error}")]
        "FB" => FileBroker {
            /// The router.
            router: Box<ServerAddress<XftpScheme>>,
            /// Why.
            error: Box<BrokerError> as Detailed,
        },
        /// A file cannot be sent or received.
        #[error("FILE {error}")]
        "FF" => File {
            /// Why.
            error: FileProblem,
        },
    }
}

wire! {
    prefixes
    /// Why a file cannot be sent or received.
    #[derive(thiserror::Error)]
    pub enum FileProblem {
        /// A router that the user does not know would learn where this machine is.
        #[error("NOT_APPROVED")]
        "N" => NotApproved,
        /// It is too large.
        #[error("SIZE")]
        "S" => Size,
        /// The description does not lead to what it says.
        #[error("REDIRECT {context}")]
        "R" => Redirect {
            /// Where.
            context: Context,
        },
        /// It cannot be read or written.
        #[error("FILE_IO {context}")]
        "I" => FileIo {
            /// Why.
            context: Context,
        },
        /// It is not the one that is described.
        #[error("DIGEST")]
        "D" => Digest,
        /// It took too long.
        #[error("EXPIRED")]
        "E" => Expired,
        /// There is none.
        #[error("NO_FILE")]
        "F" => NoFile,
    }
}

wire! {
    prefixes
    /// Why a message cannot be decrypted.
    #[derive(Copy, thiserror::Error)]
    pub enum CryptoError {
        /// Its body is not authentic.
        #[error("DECRYPT_AES")]
        "A" => Body,
        /// It is not encrypted for the queue.
        #[error("DECRYPT_CB")]
        "B" => Queue,
        /// No key of the ratchet opens its header.
        #[error("RATCHET_HEADER")]
        "H" => Header,
        /// It was received before others.
        #[error("RATCHET_EARLIER {count}")]
        "E" => Earlier {
            /// So many.
            count: u32,
        },
        /// Too many before it are missing.
        #[error("RATCHET_SKIPPED {count}")]
        "S" => Skipped {
            /// So many.
            count: u32,
        },
        /// Both sides made a new ratchet, and do not agree on it.
        #[error("RATCHET_SYNC")]
        "Y" => Sync,
    }
}

impl CryptoError {
    /// What a failure of the ratchet is called, and what it means for it; none if it means nothing.
    #[must_use]
    pub const fn of(error: DecryptError) -> Option<(Self, Resync)> {
        let Some(resync) = error.resync() else {
            return None;
        };
        let error = match error {
            DecryptError::Body => Self::Body,
            DecryptError::Earlier(count) => Self::Earlier { count },
            DecryptError::Skipped(count) => Self::Skipped { count },
            DecryptError::Header
            | DecryptError::Kem
            | DecryptError::Duplicate
            | DecryptError::Malformed(_) => Self::Header,
        };
        Some((error, resync))
    }
}

/// Where something went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context(Text);

impl Context {
    /// The text: one line.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<&str> for Context {
    /// Control characters and what is too long are left out.
    fn from(text: &str) -> Self {
        let text: String = text.chars().filter(|c| !c.is_control()).take(60).collect();
        Self(Text::try_from(text).unwrap_or_default())
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl wire::Wire for Context {
    fn parse<'a>(source: wire::Source<'_>, input: &'a [u8]) -> wire::Parsed<'a, Self> {
        Text::parse(source, input).map(|(input, text)| (input, Self(text)))
    }

    fn put(&self, version: wire::Version, out: &mut bytes::BytesMut) {
        self.0.put(version, out);
    }
}

#[cfg(any(test, feature = "sim"))]
impl wire::Sample for Context {
    fn sample(version: wire::Version, rng: &mut crate::rng::Rng) -> Self {
        Self(Text::sample(version, rng))
    }
}

/// Errors of the agent are kept with what is known of the network, which is not said to peers.
enum Detailed {}

impl wire::Codec<Box<BrokerError>> for Detailed {
    fn parse<'a>(source: wire::Source<'_>, input: &'a [u8]) -> wire::Parsed<'a, Box<BrokerError>> {
        wire::Wire::parse(source, input)
    }

    fn put(value: &Box<BrokerError>, version: wire::Version, out: &mut bytes::BytesMut) {
        wire::Wire::put(value, version, out);
        if let BrokerError::Network { error } = &**value {
            bytes::BufMut::put_u8(out, b' ');
            wire::Wire::put(error, version, out);
        }
    }
}

#[cfg(any(test, feature = "sim"))]
impl wire::SampleCodec<Box<BrokerError>> for Detailed {
    fn sample(version: wire::Version, rng: &mut crate::rng::Rng) -> Box<BrokerError> {
        let mut sample = wire::Sample::sample(version, rng);
        if let BrokerError::Network { error } = &mut sample {
            *error = wire::Sample::sample(version, rng);
        }
        Box::new(sample)
    }
}

impl AgentError {
    /// A command that is not allowed.
    pub(super) fn prohibited(context: &str) -> Self {
        Self::Prohibited {
            context: context.into(),
        }
    }

    /// What is not there.
    pub(super) fn not_found(context: &str) -> Self {
        Self::NotFound {
            context: context.into(),
        }
    }

    /// What should not be.
    pub(super) fn internal(context: &str) -> Self {
        Self::Internal {
            context: context.into(),
        }
    }

    /// Whether trying again later can help.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Broker { error, .. } => is_temporary(error) || is_of_host(error),
            Self::Smp { error, .. } => {
                matches!(**error, ErrorType::Store { .. } | ErrorType::Internal)
            }
            Self::Proxy { error, .. } => is_temporary_in_proxy(error),
            Self::FileBroker { error, .. } => is_temporary(error) || is_of_host(error),
            Self::Xftp { error, .. } => matches!(
                error,
                xftp::ErrorType::Timeout | xftp::ErrorType::FileIo | xftp::ErrorType::Internal
            ),
            Self::Inactive => true,
            Self::File { .. }
            | Self::Prohibited { .. }
            | Self::Large { .. }
            | Self::NotFound { .. }
            | Self::DuplicateConnection
            | Self::Simplex { .. }
            | Self::NotAccepted { .. }
            | Self::NotAvailable { .. }
            | Self::NoUser
            | Self::NoRouters { .. }
            | Self::NoNameRouters
            | Self::Message
            | Self::MessageProhibited { .. }
            | Self::Version
            | Self::Link { .. }
            | Self::Crypto { .. }
            | Self::DuplicateMessage
            | Self::Queue { .. }
            | Self::Internal { .. } => false,
        }
    }

    /// Whether the router, or the one behind the proxy, cannot be used at all for now.
    #[must_use]
    pub fn is_of_host(&self) -> bool {
        match self {
            Self::Broker { error, .. } | Self::FileBroker { error, .. } => is_of_host(error),
            Self::Proxy { error, .. } => {
                matches!(proxied(error), Some(error) if is_of_host(error))
            }
            Self::Smp { .. }
            | Self::Xftp { .. }
            | Self::File { .. }
            | Self::Inactive
            | Self::Prohibited { .. }
            | Self::Large { .. }
            | Self::NotFound { .. }
            | Self::DuplicateConnection
            | Self::Simplex { .. }
            | Self::NotAccepted { .. }
            | Self::NotAvailable { .. }
            | Self::NoUser
            | Self::NoRouters { .. }
            | Self::NoNameRouters
            | Self::Message
            | Self::MessageProhibited { .. }
            | Self::Version
            | Self::Link { .. }
            | Self::Crypto { .. }
            | Self::DuplicateMessage
            | Self::Queue { .. }
            | Self::Internal { .. } => false,
        }
    }
}

const fn is_temporary(error: &BrokerError) -> bool {
    match error {
        BrokerError::Network { .. } | BrokerError::Timeout | BrokerError::Transport { .. } => true,
        BrokerError::Response { .. }
        | BrokerError::Unexpected { .. }
        | BrokerError::Host
        | BrokerError::NoService => false,
    }
}

const fn is_of_host(error: &BrokerError) -> bool {
    match error {
        BrokerError::Host => true,
        BrokerError::Transport { error } => matches!(error, crate::smp::TransportError::Version),
        BrokerError::Network { .. }
        | BrokerError::Timeout
        | BrokerError::Response { .. }
        | BrokerError::Unexpected { .. }
        | BrokerError::NoService => false,
    }
}

/// What the proxy says of the router behind it.
fn proxied(error: &ErrorType) -> Option<&BrokerError> {
    let ErrorType::Proxy {
        error: crate::smp::ProxyError::Broker { error },
    } = error
    else {
        return None;
    };
    Some(error)
}

fn is_temporary_in_proxy(error: &ErrorType) -> bool {
    let fails = |error: &ErrorType| matches!(error, ErrorType::Store { .. } | ErrorType::Internal);
    let ErrorType::Proxy { error } = error else {
        return fails(error);
    };
    match error {
        crate::smp::ProxyError::Broker { error } => is_temporary(error) || is_of_host(error),
        crate::smp::ProxyError::NoSession => true,
        crate::smp::ProxyError::Protocol { error } => fails(error),
        crate::smp::ProxyError::BasicAuth => false,
    }
}
