//! What an owner asks a client's session for, and what it gets.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::crypto::{AuthPrivateKey, x25519};
use crate::smp::message::{CertificateChain, MsgId, QueueIds};
use crate::smp::name::NameRecord;
use crate::smp::proxy::RelaySession;
use crate::smp::queue_info::QueueInfo;
use crate::smp::{BrokerMessage, Command, ErrorType, LinkData, ServiceQueues};
use crate::wire::{CorrId, EntityId, Id, Large, Version, VersionRange};

/// The owner's name for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A command to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What its response will be called.
    pub id: RequestId,
    /// What it is about.
    pub entity_id: EntityId,
    /// The command.
    pub command: Command,
    /// The key that authorises it. SUBS and NSUBS are authorised by the session's service.
    pub key: Option<Arc<AuthPrivateKey>>,
    /// A correlation id that the ids in the command depend on; random otherwise.
    pub corr_id: Option<CorrId>,
    /// Who executes it.
    pub route: Route,
    /// How long to wait for the response; as configured otherwise.
    pub timeout: Option<Duration>,
}

impl Request {
    /// A command for the router of the session.
    #[must_use]
    pub const fn new(id: RequestId, entity_id: EntityId, command: Command) -> Self {
        Self {
            id,
            entity_id,
            command,
            key: None,
            corr_id: None,
            route: Route::Direct,
            timeout: None,
        }
    }

    /// The same, authorised by this key.
    #[must_use]
    pub fn authorized_by(self, key: Arc<AuthPrivateKey>) -> Self {
        Self {
            key: Some(key),
            ..self
        }
    }

    /// The same, with the response expected after this time at the latest.
    #[must_use]
    pub fn within(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// The same, for a relay that the router forwards it to.
    #[must_use]
    pub fn via(self, relay: Arc<RelaySession>) -> Self {
        Self {
            route: Route::Via(relay),
            ..self
        }
    }
}

/// Who executes a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The router of the session.
    Direct,
    /// A relay that the router forwards it to.
    Via(Arc<RelaySession>),
}

/// The response to a command, as far as it is one to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// To NEW.
    Queue(Box<QueueIds>),
    /// To SUB and NSUB.
    Subscribed {
        /// The service that the queue is now associated with.
        service_id: Option<EntityId>,
    },
    /// To SUBS and NSUBS.
    ServiceSubscribed(ServiceQueues),
    /// To LKEY and LGET.
    Link {
        /// The id to send to.
        sender_id: EntityId,
        /// The data.
        data: LinkData,
    },
    /// To NKEY.
    Notifier {
        /// Its id.
        notifier_id: EntityId,
        /// The router's half of the secret that encrypts notifications.
        dh_key: x25519::PublicKey,
    },
    /// To GET and ACK: the next message, if there is one.
    Message(Option<(MsgId, Bytes)>),
    /// To QUE.
    Info(Box<QueueInfo>),
    /// To commands that have nothing more to say.
    Done,
    /// To PING.
    Pong,
    /// To PRXY.
    Relay(Box<Relay>),
    /// To RFWD.
    Forwarded(Bytes),
    /// To RSLV.
    Name(Box<NameRecord>),
}

impl Response {
    /// The word of the message that it was.
    #[must_use]
    pub const fn tag(&self) -> &'static str {
        match self {
            Self::Queue(_) => "IDS",
            Self::Subscribed { .. } => "SOK",
            Self::ServiceSubscribed(_) => "SOKS",
            Self::Link { .. } => "LNK",
            Self::Notifier { .. } => "NID",
            Self::Message(Some(_)) => "MSG",
            Self::Message(None) | Self::Done => "OK",
            Self::Info(_) => "INFO",
            Self::Pong => "PONG",
            Self::Relay(_) => "PKEY",
            Self::Forwarded(_) => "RRES",
            Self::Name(_) => "RNAME",
        }
    }
}

/// A relay that a proxy has a session with. Only [`RelaySession::new`] makes it one that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relay {
    /// The id of the session.
    pub session_id: Id,
    /// The versions of commands that can be forwarded.
    pub versions: VersionRange,
    /// The chain that the relay has shown.
    pub chain: CertificateChain,
    /// The relay's key for the session, signed by the leaf.
    pub signed_key: Large,
}

/// Why a request has no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The router, or the relay, has refused the command.
    #[error("the router answers {0}")]
    Protocol(#[from] ErrorType),
    /// The response cannot be parsed.
    #[error("the router's response cannot be parsed: {0}")]
    Unparsable(ErrorType),
    /// The response is not one to the command.
    #[error("the router answers {0}, which is no response to the command")]
    Unexpected(&'static str),
    /// There was no response in time. It may still come, as [`Event::Late`](super::Event::Late).
    #[error("the router does not answer in time")]
    TimedOut,
    /// The session ended before there was a response. Whether the command was executed is not known.
    #[error("the session ended before the router has answered")]
    Disconnected,
    /// The session is not established, or too much waits for responses already.
    #[error("the session takes no commands now")]
    NotAccepted,
    /// The command does not fit into a block.
    #[error("the command does not fit into a block")]
    TooLarge,
    /// The router has no session key, which the command's key needs.
    #[error("the router has no session key to authorise the command with")]
    NoSessionKey,
    /// The session is not held in the name of a service.
    #[error("the session is not held in the name of a service")]
    NoService,
    /// The router is too old for the command.
    #[error("the command needs version {0} of the router")]
    Version(Version),
}

/// Which responses a command can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Queue,
    Subscribed,
    ServiceSubscribed,
    Link,
    Notifier,
    Message,
    Info,
    Done,
    Pong,
    Relay,
    Forwarded,
    Name,
}

impl Expected {
    pub(super) const fn of(command: &Command) -> Self {
        match command {
            Command::New(_) => Self::Queue,
            Command::Sub | Command::NSub => Self::Subscribed,
            Command::Subs(_) | Command::NSubs(_) => Self::ServiceSubscribed,
            Command::LKey(_) | Command::LGet => Self::Link,
            Command::NKey(_) => Self::Notifier,
            Command::Get | Command::Ack(_) => Self::Message,
            Command::Que => Self::Info,
            Command::Ping => Self::Pong,
            Command::Prxy { .. } => Self::Relay,
            Command::Rfwd { .. } => Self::Forwarded,
            Command::Rslv { .. } => Self::Name,
            Command::Key(_)
            | Command::RKey(_)
            | Command::LSet { .. }
            | Command::LDel
            | Command::NDel
            | Command::Off
            | Command::Del
            | Command::SKey(_)
            | Command::Send { .. }
            | Command::Pfwd { .. } => Self::Done,
        }
    }

    /// The response that a message is; older routers answer SUB with a message, which `delivered` receives.
    pub(super) fn response(
        self,
        message: BrokerMessage,
        delivered: impl FnOnce(MsgId, Bytes),
    ) -> Result<Response, RequestError> {
        Ok(match (self, message) {
            (_, BrokerMessage::Err(error)) => return Err(RequestError::Protocol(error)),
            (Self::Queue, BrokerMessage::Ids(queue)) => Response::Queue(queue),
            (Self::Subscribed, BrokerMessage::Sok { service_id }) => {
                Response::Subscribed { service_id }
            }
            (Self::Subscribed, BrokerMessage::Ok) => Response::Subscribed { service_id: None },
            (Self::Subscribed, BrokerMessage::Msg { id, body }) => {
                delivered(id, body);
                Response::Subscribed { service_id: None }
            }
            (Self::ServiceSubscribed, BrokerMessage::Soks(queues)) => {
                Response::ServiceSubscribed(queues)
            }
            (Self::Link, BrokerMessage::Lnk { sender_id, data }) => {
                Response::Link { sender_id, data }
            }
            (
                Self::Notifier,
                BrokerMessage::Nid {
                    notifier_id,
                    dh_key,
                },
            ) => Response::Notifier {
                notifier_id,
                dh_key,
            },
            (Self::Message, BrokerMessage::Ok) => Response::Message(None),
            (Self::Message, BrokerMessage::Msg { id, body }) => Response::Message(Some((id, body))),
            (Self::Info, BrokerMessage::Info(info)) => Response::Info(info),
            (Self::Done, BrokerMessage::Ok) => Response::Done,
            (Self::Pong, BrokerMessage::Pong) => Response::Pong,
            (
                Self::Relay,
                BrokerMessage::PKey {
                    session_id,
                    versions,
                    chain,
                    signed_key,
                },
            ) => Response::Relay(Box::new(Relay {
                session_id,
                versions,
                chain,
                signed_key,
            })),
            (Self::Forwarded, BrokerMessage::RRes { encrypted }) => Response::Forwarded(encrypted),
            (Self::Name, BrokerMessage::RName(record)) => Response::Name(record),
            (_, other) => return Err(RequestError::Unexpected(other.tag())),
        })
    }
}
