//! What the application wants, and what it gets.
//!
//! A command is answered once, when what it promises is stored; those that need a router, when the router has answered. Commands on one
//! connection are carried out in the order in which they are given.

use bytes::Bytes;

use super::config::UserRouter;
use super::event::SyncState;
use super::id::{ConnectionId, EventId, MessageId, RequestName};
use super::link::{ClientData, ConnectionRequest, ShortLink};
use crate::ratchet::{InitialKeys, Pq};
use crate::smp::MsgFlags;
use crate::smp::link::{FixedData, UserData};
use crate::smp::pool::UserId;
use crate::wire::{ServerAddress, SmpScheme, Version};

/// What the application wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Use these routers for a user, who is made if there is none. Not stored: the application says it at every start.
    SetUser {
        /// The user.
        user: UserId,
        /// The routers.
        routers: Vec<UserRouter>,
    },
    /// Delete a user with all connections. [`Reply::Done`] at once; [`UserDeleted`](super::event::EventContent::UserDeleted) follows
    /// when none is left, if the command is given again after a restart.
    DeleteUser {
        /// The user.
        user: UserId,
    },
    /// Make a connection that others can join, or an address. [`Reply::Created`].
    Create {
        /// Its name, if not a random one.
        connection: Option<ConnectionId>,
        /// Whose it is.
        user: UserId,
        /// What it is.
        kind: NewConnection,
        /// What the application adds to the link.
        client_data: Option<ClientData>,
        /// What the data of a short link says, if one is wanted.
        short: Option<Bytes>,
        /// Who waits.
        mode: RequestMode,
    },
    /// Accept an invitation, or ask the owner of an address. [`Reply::Joined`].
    ///
    /// It can be given again, also after a restart, until it succeeds.
    Join {
        /// Its name, if not a random one.
        connection: Option<ConnectionId>,
        /// Whose it is.
        user: UserId,
        /// What is accepted.
        request: Box<ConnectionRequest>,
        /// What the peer is told.
        info: Bytes,
        /// Whether post-quantum keys are wanted.
        pq: Pq,
        /// Who waits.
        mode: RequestMode,
    },
    /// Agree to whoever has accepted the invitation. [`Reply::Done`].
    Allow {
        /// The connection.
        connection: ConnectionId,
        /// What the event has named.
        name: RequestName,
        /// What the peer is told.
        info: Bytes,
    },
    /// Accept a request for a connection. [`Reply::Joined`].
    Accept {
        /// The address.
        address: ConnectionId,
        /// What the event has named.
        name: RequestName,
        /// The name of the new connection, if not a random one.
        connection: Option<ConnectionId>,
        /// What the peer is told.
        info: Bytes,
        /// Whether post-quantum keys are wanted.
        pq: Pq,
        /// Who waits.
        mode: RequestMode,
    },
    /// Forget a request for a connection. The peer is not told. [`Reply::Done`].
    Reject {
        /// The address.
        address: ConnectionId,
        /// What the event has named.
        name: RequestName,
    },
    /// Receive from a connection, and do what it has to do. [`Reply::Done`]; [`Up`](super::event::EventContent::Up) follows.
    Subscribe {
        /// The connection.
        connection: ConnectionId,
    },
    /// The same for all connections of a user, or of all users. [`Reply::Done`] once all are being subscribed to.
    SubscribeAll {
        /// Only of this user.
        user: Option<UserId>,
    },
    /// Send a message. [`Reply::Accepted`]; [`Sent`](super::event::EventContent::Sent) follows.
    Send {
        /// The connection.
        connection: ConnectionId,
        /// Whether post-quantum keys are wanted from now on; as it is, otherwise.
        pq: Option<Pq>,
        /// Who else is told.
        flags: MsgFlags,
        /// The message.
        body: Bytes,
    },
    /// A message or a receipt was dealt with. [`Reply::Done`].
    Acknowledge {
        /// The connection.
        connection: ConnectionId,
        /// The message.
        message: MessageId,
        /// What the sender is told, if it is to be told.
        receipt: Option<Bytes>,
    },
    /// An event was dealt with: it is not told again. No reply.
    Confirm {
        /// The event.
        event: EventId,
    },
    /// Receive from another queue. [`Reply::Done`]; [`Switch`](super::event::EventContent::Switch) follows.
    Switch {
        /// The connection.
        connection: ConnectionId,
    },
    /// Stay with the queue, if the other one is not in use yet. [`Reply::Done`].
    AbortSwitch {
        /// The connection.
        connection: ConnectionId,
    },
    /// Make a new ratchet. [`Reply::Done`]; [`RatchetSync`](super::event::EventContent::RatchetSync) follows.
    Synchronize {
        /// The connection.
        connection: ConnectionId,
        /// Whether the new one supports post-quantum keys.
        pq: Pq,
        /// Whether it is made although nothing says that it has to be.
        force: Force,
    },
    /// Take no more messages, for ever. [`Reply::Done`].
    Suspend {
        /// The connection.
        connection: ConnectionId,
    },
    /// Delete a connection. [`Reply::Done`] at once; [`Deleted`](super::event::EventContent::Deleted) follows.
    Delete {
        /// The connection.
        connection: ConnectionId,
        /// What becomes of messages that wait to be sent.
        waiting: Waiting,
    },
    /// Make the short link of an address, or change what its data says. [`Reply::ShortLink`].
    SetLink {
        /// The connection.
        connection: ConnectionId,
        /// What the data says.
        data: UserData,
    },
    /// Delete the data of the short link. [`Reply::Done`].
    DeleteLink {
        /// The connection.
        connection: ConnectionId,
    },
    /// Read the data of a short link. That of an invitation is thereby ours, and nobody else can read it. [`Reply::Link`].
    OpenLink {
        /// For whom.
        user: UserId,
        /// The link.
        link: ShortLink,
    },
    /// How a connection is. [`Reply::Statistics`].
    Statistics {
        /// The connection.
        connection: ConnectionId,
    },
    /// What both sides can compare to be sure that nobody is between them. [`Reply::SecurityCode`].
    SecurityCode {
        /// The connection.
        connection: ConnectionId,
    },
    /// Whether there is a network. Without one nothing is tried, and nothing wakes the machine. No reply.
    Network(NetworkState),
}

/// What is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewConnection {
    /// A connection that one can join.
    Invitation {
        /// From when on post-quantum keys are wanted.
        pq: InitialKeys,
    },
    /// An address, where many can ask for connections.
    Address,
}

/// Who waits for a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RequestMode {
    /// Nobody: it is tried until it succeeds, or can never succeed.
    #[default]
    Background,
    /// Somebody: the first failure is the answer. A connection that was to be made is not made then; one that was to be joined is, later.
    Interactive,
}

/// Whether something is done although nothing says that it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Only if it has to be.
    No,
    /// In any case.
    Yes,
}

/// What becomes of messages that wait to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// They are lost.
    Drop,
    /// They are sent first, as long as that does not take too long.
    Deliver,
}

/// Whether there is a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NetworkState {
    /// There is; or another one than before.
    #[default]
    Online,
    /// There is none.
    Offline,
}

/// What the application gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// It is done.
    Done,
    /// The connection can be joined with this link.
    Created {
        /// The connection.
        connection: ConnectionId,
        /// The link.
        link: Box<ConnectionRequest>,
        /// The short one, if it was wanted.
        short: Option<ShortLink>,
    },
    /// The peer was told.
    Joined {
        /// The connection.
        connection: ConnectionId,
        /// From when on messages can be sent.
        sending: Sending,
    },
    /// The message will be sent.
    Accepted {
        /// What it is called.
        message: MessageId,
        /// Whether it is encrypted with post-quantum keys.
        pq: Pq,
    },
    /// The short link of the connection.
    ShortLink(ShortLink),
    /// The data of a short link.
    Link(Box<LinkContent>),
    /// How a connection is.
    Statistics(Box<ConnectionStatistics>),
    /// What both sides can compare.
    SecurityCode([u8; 32]),
}

/// From when on messages can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// At once.
    Now,
    /// When the connection is established.
    WhenConnected,
}

/// The verified data of a short link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkContent {
    /// What it leads to.
    pub fixed: FixedData,
    /// How to connect, at the router of the link.
    pub request: ConnectionRequest,
    /// What the application of its owner calls it.
    pub entity_id: Option<Bytes>,
    /// What its owner says of it.
    pub user: UserData,
}

/// How a connection is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionStatistics {
    /// The version of agents.
    pub version: Version,
    /// The queues that it receives from.
    pub receive: Vec<ReceiveQueueStatistics>,
    /// The queues that it sends to.
    pub send: Vec<SendQueueStatistics>,
    /// Whether the ratchets fit to each other.
    pub sync: SyncState,
    /// How many messages wait to be sent.
    pub outgoing: usize,
}

/// How a queue is that is received from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveQueueStatistics {
    /// Its router.
    pub router: ServerAddress<SmpScheme>,
    /// How far it is being replaced.
    pub switch: Option<super::store::record::ReceivePhase>,
    /// Whether that can be given up.
    pub can_abort: CanAbort,
}

/// Whether the rotation of a queue can be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CanAbort {
    /// It can.
    Yes,
    /// There is none, or it is too late.
    No,
}

/// How a queue is that is sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendQueueStatistics {
    /// Its router.
    pub router: ServerAddress<SmpScheme>,
    /// How far it is being replaced.
    pub switch: Option<super::store::record::SendPhase>,
}
