//! What the application wants, and what it gets.
//!
//! A command is answered once, when what it promises is stored; those that need a router, when the router has answered. Commands on one
//! connection are carried out in the order in which they are given.

use std::time::Duration;

use bytes::Bytes;

use super::config::UserRouter;
use super::error::AgentError;
use super::event::SyncState;
use super::id::{ConnectionId, EventId, MessageId, RequestName};
use super::link::{ClientData, ConnectionRequest, ShortLink};
use crate::ratchet::{InitialKeys, Pq};
use crate::smp::link::{FixedData, UserData};
use crate::smp::pool::UserId;
use crate::smp::{MsgFlags, NameRecord, QueueInfo, SimplexDomain};
use crate::wire;
use crate::wire::{BasicAuth, ServerAddress, SmpScheme, Version};

/// What the application wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Use these routers for a user, who is made if there is none. The user is stored; his routers are not: the application says them at
    /// every start. [`Reply::Done`].
    SetUser {
        /// The user.
        user: UserId,
        /// The routers.
        routers: Vec<UserRouter>,
    },
    /// The users who are there. [`Reply::Users`].
    Users,
    /// Delete a user with all connections. [`Reply::Done`] as soon as that is stored;
    /// [`UserDeleted`](super::event::EventContent::UserDeleted) follows when none is left, be it after a restart.
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
        /// From when on it receives.
        receiving: Receiving,
    },
    /// Make an address with a short link, of which no router has heard yet: the link can be handed out, or put into what it is to
    /// say, before. [`Reply::Created`].
    Prepare {
        /// Its name, if not a random one.
        connection: Option<ConnectionId>,
        /// Whose it is.
        user: UserId,
        /// What the application adds to the link.
        client_data: Option<ClientData>,
        /// What the data of the short link says.
        short: Bytes,
    },
    /// Make the queue of an address that was prepared, at the router of its link. [`Reply::Created`].
    Publish {
        /// The address.
        connection: ConnectionId,
        /// Who waits.
        mode: RequestMode,
        /// From when on it receives.
        receiving: Receiving,
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
        /// From when on it receives.
        receiving: Receiving,
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
        /// From when on it receives.
        receiving: Receiving,
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
    /// Take one message that waits, without subscribing to the connection. [`Reply::Fetched`]; the message is told, and has to be
    /// acknowledged before the next one.
    Fetch {
        /// The connection.
        connection: ConnectionId,
    },
    /// What the router says of the queue of a connection. [`Reply::QueueInfo`].
    QueueInfo {
        /// The connection.
        connection: ConnectionId,
    },
    /// The names of all connections. [`Reply::Connections`].
    Connections {
        /// Only of this user.
        user: Option<UserId>,
    },
    /// Give a connection that nobody has joined yet, or an address, to another user. [`Reply::Done`].
    ChangeUser {
        /// The connection.
        connection: ConnectionId,
        /// Whose it is from now on.
        user: UserId,
    },
    /// What a name stands for. [`Reply::Name`].
    ResolveName {
        /// For whom: one of the user's routers for names is asked.
        user: UserId,
        /// The name.
        name: SimplexDomain,
    },
    /// Whether a router can be used: a queue is made, secured and deleted there. [`Reply::Tested`].
    TestRouter {
        /// For whom.
        user: UserId,
        /// The router.
        router: ServerAddress<SmpScheme>,
        /// Its password.
        password: Option<BasicAuth>,
    },
    /// What was done at which router, since it was asked to forget it. [`Reply::Routers`].
    RouterStatistics,
    /// Forget what was done at which router. [`Reply::Done`].
    ResetStatistics,
    /// Stop: what routers have been asked is finished within this time, nothing else is begun, and sessions end. Then nothing wakes
    /// the machine. [`Reply::Done`] at once; [`Suspended`](super::event::EventContent::Suspended) follows.
    SuspendAgent {
        /// How long it may take.
        within: Duration,
    },
    /// Go on. [`Reply::Done`].
    ResumeAgent,
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

/// From when on a new connection receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Receiving {
    /// From the first moment.
    #[default]
    AtOnce,
    /// When it is subscribed to, by this process or another one.
    WhenSubscribed,
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
    /// Whether a message waited.
    Fetched(Fetched),
    /// What the router says of a queue.
    QueueInfo(Box<QueueInfo>),
    /// Users.
    Users(Vec<UserId>),
    /// Names of connections.
    Connections(Vec<ConnectionId>),
    /// What a name stands for.
    Name(Box<NameRecord>),
    /// What is wrong with a router, if anything is.
    Tested(Option<TestFailure>),
    /// What was done at which router.
    Routers(Vec<RouterStatistics>),
}

/// Whether a message waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// One did: it is told.
    Message,
    /// None did.
    Nothing,
}

/// Where the test of a router has failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// At which step.
    pub step: TestStep,
    /// Why.
    pub error: AgentError,
}

/// The steps of the test of a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TestStep {
    /// There is a session with it.
    Connect,
    /// It makes a queue.
    CreateQueue,
    /// It takes a key.
    SecureQueue,
    /// It deletes the queue.
    DeleteQueue,
    /// It makes a file.
    CreateFile,
    /// It takes the file.
    UploadFile,
    /// It gives the file back.
    DownloadFile,
    /// What it gives back is what it has taken.
    CompareFile,
    /// It deletes the file.
    DeleteFile,
}

/// What was done at a router for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterStatistics {
    /// The user.
    pub user: UserId,
    /// The router.
    pub router: ServerAddress<SmpScheme>,
    /// How often.
    pub counts: RouterCounts,
}

wire! {
    /// How often something was done at a router.
    #[derive(Copy, Default)]
    pub struct RouterCounts {
        /// Sessions that were established.
        pub sessions: u64,
        /// Queues that were subscribed to.
        pub subscribed: u64,
        /// Subscriptions that were refused, or have failed for now.
        pub not_subscribed: u64,
        /// Messages that were received.
        pub received: u64,
        /// Messages that were acknowledged there.
        pub acknowledged: u64,
        /// Messages that it has taken.
        pub sent: u64,
        /// Of them, through a proxy.
        pub sent_through_proxy: u64,
        /// Messages that it has forwarded, as a proxy.
        pub forwarded: u64,
        /// Messages that it has not taken.
        pub not_sent: u64,
        /// Queues that were made.
        pub created: u64,
        /// Queues that were not.
        pub not_created: u64,
        /// Queues that were deleted.
        pub deleted: u64,
    }
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
    /// Whose it is.
    pub user: UserId,
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
    /// How far it is.
    pub status: QueueStatus,
    /// Whether messages are received from it, or will be when its router can be reached.
    pub subscribed: Subscribed,
}

/// How far a queue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueStatus {
    /// It was made, or is yet to be.
    New,
    /// The other side has confirmed it, or was told of it.
    Confirmed,
    /// The router knows the sender.
    Secured,
    /// Messages go through it.
    Active,
    /// Nothing can be sent to it any more.
    Disabled,
}

/// Whether messages are received from a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subscribed {
    /// They are.
    Yes,
    /// They are not.
    No,
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
    /// How far it is.
    pub status: QueueStatus,
}
