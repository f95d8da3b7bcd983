//! The application's side of an agent: what it can ask, and what it is told.

use bytes::Bytes;
use simplex_sans_io::agent::command::{
    Command, ConnectionStatistics, Force, LinkContent, NetworkState, NewConnection, Reply,
    RequestMode, Sending, Waiting,
};
use simplex_sans_io::agent::config::UserRouter;
use simplex_sans_io::agent::error::AgentError;
use simplex_sans_io::agent::event::Event;
use simplex_sans_io::agent::id::{ConnectionId, EventId, MessageId, RequestName};
use simplex_sans_io::agent::link::{ClientData, ConnectionRequest, ShortLink};
use simplex_sans_io::drive;
use simplex_sans_io::ratchet::{InitialKeys, Pq};
use simplex_sans_io::smp::MsgFlags;
use simplex_sans_io::smp::link::UserData;
use simplex_sans_io::smp::pool::UserId;

use crate::running::Asked;

/// An agent that runs. Clones speak to the same; when the last one is dropped, the agent stops.
///
/// Cancel safety, of all functions: a future that is dropped before it is done may have asked, or not; what was asked is carried out, and
/// its result is discarded. Everything that a function promises is stored when it returns.
#[derive(Debug, Clone)]
pub struct Agent {
    asked: drive::Sender<Asked>,
}

/// Why something was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The agent says why.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The agent does not run any more.
    #[error("the agent does not run any more")]
    Ended,
}

/// A connection that others can join, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The connection.
    pub connection: ConnectionId,
    /// Its link.
    pub link: ConnectionRequest,
    /// Its short link, if one was wanted.
    pub short: Option<ShortLink>,
}

/// A connection to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLink {
    /// Whose it is.
    pub user: UserId,
    /// What it is.
    pub kind: NewConnection,
    /// Its name, if not a random one.
    pub connection: Option<ConnectionId>,
    /// What the application adds to the link.
    pub client_data: Option<ClientData>,
    /// What the data of a short link says, if one is wanted.
    pub short: Option<Bytes>,
    /// Who waits.
    pub mode: RequestMode,
}

impl NewLink {
    /// An invitation for one, whose connection has post-quantum keys from its first messages on.
    #[must_use]
    pub const fn invitation(user: UserId) -> Self {
        let pq = InitialKeys::Later;
        Self::of(user, NewConnection::Invitation { pq })
    }

    /// An address for many.
    #[must_use]
    pub const fn address(user: UserId) -> Self {
        Self::of(user, NewConnection::Address)
    }

    const fn of(user: UserId, kind: NewConnection) -> Self {
        Self {
            user,
            kind,
            connection: None,
            client_data: None,
            short: None,
            mode: RequestMode::Interactive,
        }
    }
}

/// A link to be joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// Whose the connection is.
    pub user: UserId,
    /// The link.
    pub request: ConnectionRequest,
    /// What the peer is told.
    pub info: Bytes,
    /// Whether post-quantum keys are wanted.
    pub pq: Pq,
    /// The name of the connection, if not a random one.
    pub connection: Option<ConnectionId>,
    /// Who waits.
    pub mode: RequestMode,
}

impl Joining {
    /// Joins a link, with post-quantum keys if the peer has them.
    #[must_use]
    pub const fn new(user: UserId, request: ConnectionRequest, info: Bytes) -> Self {
        Self {
            user,
            request,
            info,
            pq: Pq::On,
            connection: None,
            mode: RequestMode::Interactive,
        }
    }
}

/// What the application is told, in order.
#[derive(Debug)]
pub struct Events {
    events: drive::Receiver<Event>,
}

impl Events {
    pub(crate) const fn new(events: drive::Receiver<Event>) -> Self {
        Self { events }
    }

    /// The next event; none when the agent has ended.
    ///
    /// An event with an id is told again after a restart until it is [confirmed](Agent::confirm); a message until it is
    /// [acknowledged](Agent::acknowledge).
    ///
    /// Cancel safety: a future that is dropped before it is done has taken nothing.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.next().await
    }
}

impl Agent {
    pub(crate) const fn new(asked: drive::Sender<Asked>) -> Self {
        Self { asked }
    }

    /// Carries out a command: what all other functions do.
    pub async fn execute(&self, command: Command) -> Result<Reply, Error> {
        let (reply, mut replied) = drive::queue(1);
        let asked = Asked { command, reply };
        self.asked.send(asked).await.map_err(|_| Error::Ended)?;
        Ok(replied.next().await.ok_or(Error::Ended)??)
    }

    async fn done(&self, command: Command) -> Result<(), Error> {
        let Reply::Done = self.execute(command).await? else {
            return Err(unexpected());
        };
        Ok(())
    }

    /// Uses these routers for a user from now on, who is made if there is none.
    pub async fn set_user(&self, user: UserId, routers: Vec<UserRouter>) -> Result<(), Error> {
        self.done(Command::SetUser { user, routers }).await
    }

    /// Deletes a user with all connections.
    pub async fn delete_user(&self, user: UserId) -> Result<(), Error> {
        self.done(Command::DeleteUser { user }).await
    }

    /// Makes a connection that others can join, or an address.
    pub async fn create(&self, new: NewLink) -> Result<Created, Error> {
        let command = Command::Create {
            connection: new.connection,
            user: new.user,
            kind: new.kind,
            client_data: new.client_data,
            short: new.short,
            mode: new.mode,
        };
        let Reply::Created {
            connection,
            link,
            short,
        } = self.execute(command).await?
        else {
            return Err(unexpected());
        };
        Ok(Created {
            connection,
            link: *link,
            short,
        })
    }

    /// Accepts an invitation, or asks the owner of an address.
    pub async fn join(&self, joining: Joining) -> Result<(ConnectionId, Sending), Error> {
        let command = Command::Join {
            connection: joining.connection,
            user: joining.user,
            request: Box::new(joining.request),
            info: joining.info,
            pq: joining.pq,
            mode: joining.mode,
        };
        self.joined(command).await
    }

    async fn joined(&self, command: Command) -> Result<(ConnectionId, Sending), Error> {
        let Reply::Joined {
            connection,
            sending,
        } = self.execute(command).await?
        else {
            return Err(unexpected());
        };
        Ok((connection, sending))
    }

    /// Agrees to whoever has accepted an invitation.
    pub async fn allow(
        &self,
        connection: &ConnectionId,
        name: &RequestName,
        info: Bytes,
    ) -> Result<(), Error> {
        let (connection, name) = (connection.clone(), name.clone());
        self.done(Command::Allow {
            connection,
            name,
            info,
        })
        .await
    }

    /// Accepts a request that has come to an address, as a new connection.
    pub async fn accept(
        &self,
        address: &ConnectionId,
        name: &RequestName,
        connection: Option<ConnectionId>,
        info: Bytes,
        pq: Pq,
    ) -> Result<(ConnectionId, Sending), Error> {
        let command = Command::Accept {
            address: address.clone(),
            name: name.clone(),
            connection,
            info,
            pq,
            mode: RequestMode::Interactive,
        };
        self.joined(command).await
    }

    /// Forgets a request; who has made it is not told.
    pub async fn reject(&self, address: &ConnectionId, name: &RequestName) -> Result<(), Error> {
        let (address, name) = (address.clone(), name.clone());
        self.done(Command::Reject { address, name }).await
    }

    /// Receives from a connection.
    pub async fn subscribe(&self, connection: &ConnectionId) -> Result<(), Error> {
        let connection = connection.clone();
        self.done(Command::Subscribe { connection }).await
    }

    /// Receives from all connections, or from those of a user.
    pub async fn subscribe_all(&self, user: Option<UserId>) -> Result<(), Error> {
        self.done(Command::SubscribeAll { user }).await
    }

    /// Sends a message: its number, and whether it is encrypted with post-quantum keys. It is on its way when
    /// [`Sent`](simplex_sans_io::agent::event::EventContent::Sent) is told.
    pub async fn send(
        &self,
        connection: &ConnectionId,
        flags: MsgFlags,
        body: Bytes,
    ) -> Result<(MessageId, Pq), Error> {
        self.send_with(connection, None, flags, body).await
    }

    /// The same, and turns post-quantum keys on or off.
    pub async fn send_with(
        &self,
        connection: &ConnectionId,
        pq: Option<Pq>,
        flags: MsgFlags,
        body: Bytes,
    ) -> Result<(MessageId, Pq), Error> {
        let command = Command::Send {
            connection: connection.clone(),
            pq,
            flags,
            body,
        };
        let Reply::Accepted { message, pq } = self.execute(command).await? else {
            return Err(unexpected());
        };
        Ok((message, pq))
    }

    /// A message or a receipt was dealt with; the sender gets a receipt if one is given.
    pub async fn acknowledge(
        &self,
        connection: &ConnectionId,
        message: MessageId,
        receipt: Option<Bytes>,
    ) -> Result<(), Error> {
        let connection = connection.clone();
        self.done(Command::Acknowledge {
            connection,
            message,
            receipt,
        })
        .await
    }

    /// An event was dealt with: it is not told again.
    pub async fn confirm(&self, event: EventId) -> Result<(), Error> {
        self.done(Command::Confirm { event }).await
    }

    /// Receives from another queue from now on.
    pub async fn switch(&self, connection: &ConnectionId) -> Result<(), Error> {
        let connection = connection.clone();
        self.done(Command::Switch { connection }).await
    }

    /// Stays with the queue, if the other one is not in use yet.
    pub async fn abort_switch(&self, connection: &ConnectionId) -> Result<(), Error> {
        let connection = connection.clone();
        self.done(Command::AbortSwitch { connection }).await
    }

    /// Makes a new ratchet.
    pub async fn synchronize(
        &self,
        connection: &ConnectionId,
        pq: Pq,
        force: Force,
    ) -> Result<(), Error> {
        let connection = connection.clone();
        self.done(Command::Synchronize {
            connection,
            pq,
            force,
        })
        .await
    }

    /// Takes no more messages from a connection, for ever.
    pub async fn suspend(&self, connection: &ConnectionId) -> Result<(), Error> {
        let connection = connection.clone();
        self.done(Command::Suspend { connection }).await
    }

    /// Deletes a connection.
    pub async fn delete(&self, connection: &ConnectionId, waiting: Waiting) -> Result<(), Error> {
        let connection = connection.clone();
        self.done(Command::Delete {
            connection,
            waiting,
        })
        .await
    }

    /// Makes the short link of an address, or changes what its data says.
    pub async fn set_link(
        &self,
        connection: &ConnectionId,
        data: UserData,
    ) -> Result<ShortLink, Error> {
        let connection = connection.clone();
        let Reply::ShortLink(link) = self.execute(Command::SetLink { connection, data }).await?
        else {
            return Err(unexpected());
        };
        Ok(link)
    }

    /// Deletes the data of a short link.
    pub async fn delete_link(&self, connection: &ConnectionId) -> Result<(), Error> {
        let connection = connection.clone();
        self.done(Command::DeleteLink { connection }).await
    }

    /// Reads the data of a short link. That of an invitation can be read by nobody else then.
    pub async fn open_link(&self, user: UserId, link: ShortLink) -> Result<LinkContent, Error> {
        let Reply::Link(content) = self.execute(Command::OpenLink { user, link }).await? else {
            return Err(unexpected());
        };
        Ok(*content)
    }

    /// How a connection is.
    pub async fn statistics(
        &self,
        connection: &ConnectionId,
    ) -> Result<ConnectionStatistics, Error> {
        let connection = connection.clone();
        let Reply::Statistics(statistics) =
            self.execute(Command::Statistics { connection }).await?
        else {
            return Err(unexpected());
        };
        Ok(*statistics)
    }

    /// What both sides can compare to be sure that nobody is between them.
    pub async fn security_code(&self, connection: &ConnectionId) -> Result<[u8; 32], Error> {
        let connection = connection.clone();
        let Reply::SecurityCode(code) = self.execute(Command::SecurityCode { connection }).await?
        else {
            return Err(unexpected());
        };
        Ok(code)
    }

    /// Says whether there is a network.
    pub async fn set_network(&self, network: NetworkState) -> Result<(), Error> {
        self.done(Command::Network(network)).await
    }
}

fn unexpected() -> Error {
    Error::Agent(AgentError::Internal {
        context: "another reply was expected".into(),
    })
}
