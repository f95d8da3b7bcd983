//! SMP, the protocol of simplex queues: a recipient makes a queue on a router, a sender writes to it, nobody learns of the other.

pub mod batch;
pub mod block;
mod command;
mod error;
mod message;
mod name;
mod queue_info;
pub mod transmission;
pub mod version;

pub use self::command::{
    Command, ContactLink, LinkData, MsgFlags, NewQueue, NotifierKeys, QueueLink, QueueMode,
    QueueRequest, ServiceQueues, SubscriptionMode,
};
pub use self::error::{
    BlockingInfo, BlockingReason, BrokerError, ClientNotice, CommandError, ErrorText, ErrorType,
    HandshakeError, NameError, NetworkError, ProxyError, TransportError,
};
pub use self::message::{BrokerMessage, CertificateChain, MsgId, QueueIds};
pub use self::name::{
    NameError as DomainError, NameInfo, NameKind, NameRecord, SimplexDomain, Tld,
};
pub use self::queue_info::{
    MessageInfo, MessageType, QueueInfo, SubscriptionInfo, SubscriptionThread,
};
