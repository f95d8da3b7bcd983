//! The application's side of an agent: what it can ask, and what it is told.

use std::time::Duration;

use bytes::Bytes;
use simplex_sans_io::agent::command::{
    Command, ConnectionStatistics, Fetched, Force, LinkContent, NetworkState, NewConnection,
    Receiving, Reply, RequestMode, RouterStatistics, Sending, TestFailure, Waiting,
};
use simplex_sans_io::agent::config::UserRouter;
use simplex_sans_io::agent::error::AgentError;
use simplex_sans_io::agent::event::Event;
use simplex_sans_io::agent::id::{ConnectionId, EventId, MessageId, RequestName};
use simplex_sans_io::agent::link::{ClientData, ConnectionRequest, ShortLink};
use simplex_sans_io::drive;
use simplex_sans_io::ratchet::{InitialKeys, Pq};
use simplex_sans_io::smp::link::UserData;
use simplex_sans_io::smp::pool::UserId;
use simplex_sans_io::smp::{MsgFlags, NameRecord, QueueInfo, SimplexDomain};
use simplex_sans_io::wire::{BasicAuth, ServerAddress, SmpScheme};

use crate::running::Asked;

/// An agent that runs. Clones speak to the same; when the last one is dropped, the agent stops.
///
/// Cancel safety, of all functions: a future that is dropped before it is done may have asked, or not; what was asked is carried out, and
/// its result is discarded. Everything that a function promises is stored when it returns.
#[derive(Debug, Clone)]
pub struct Agent {
    pub(crate) asked: drive::Sender<Asked>,
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
    /// From when on it receives.
    pub receiving: Receiving,
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
            receiving: Receiving::AtOnce,
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
    /// From when on it receives.
    pub receiving: Receiving,
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
            receiving: Receiving::AtOnce,
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
        let asked = Asked::Connections(command, reply);
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

    /// The users who are there, those of earlier runs too.
    pub async fn users(&self) -> Result<Vec<UserId>, Error> {
        let Reply::Users(users) = self.execute(Command::Users).await? else {
            return Err(unexpected());
        };
        Ok(users)
    }

    /// Deletes a user with all connections, which goes on after a restart.
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
            receiving: new.receiving,
        };
        self.created(command).await
    }

    async fn created(&self, command: Command) -> Result<Created, Error> {
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

    /// Makes an address with a short link of which no router has heard yet: it can be handed out before it is
    /// [published](Self::publish).
    pub async fn prepare(
        &self,
        user: UserId,
        connection: Option<ConnectionId>,
        client_data: Option<ClientData>,
        short: Bytes,
    ) -> Result<Created, Error> {
        self.created(Command::Prepare {
            connection,
            user,
            client_data,
            short,
        })
        .await
    }

    /// Makes the queue of an address that was prepared.
    pub async fn publish(&self, address: &ConnectionId) -> Result<Created, Error> {
        self.created(Command::Publish {
            connection: address.clone(),
            mode: RequestMode::Interactive,
            receiving: Receiving::AtOnce,
        })
        .await
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
            receiving: joining.receiving,
        };
        self.joined(command).await
    }

    pub(crate) async fn joined(&self, command: Command) -> Result<(ConnectionId, Sending), Error> {
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
            receiving: Receiving::AtOnce,
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
        let (reply, mut replied) = drive::queue(1);
        let asked = Asked::Connections(command, reply);
        self.asked.send(asked).await.map_err(|_| Error::Ended)?;
        accepted(replied.next().await)
    }

    /// Sends messages to many connections: those that share a body share its memory. The results are in the order of the messages; one
    /// that fails keeps no other from being sent.
    pub async fn send_many(
        &self,
        messages: impl IntoIterator<Item = (ConnectionId, MsgFlags, Bytes)>,
    ) -> Vec<Result<(MessageId, Pq), Error>> {
        let mut replies = Vec::new();
        for (connection, flags, body) in messages {
            let (reply, replied) = drive::queue(1);
            let command = Command::Send {
                connection,
                pq: None,
                flags,
                body,
            };
            let asked = self.asked.send(Asked::Connections(command, reply)).await;
            replies.push(asked.map(|()| replied).map_err(|_| Error::Ended));
        }
        let mut results = Vec::with_capacity(replies.len());
        for replied in replies {
            results.push(match replied {
                Ok(mut replied) => accepted(replied.next().await),
                Err(error) => Err(error),
            });
        }
        results
    }

    /// Takes one message that waits, without subscribing to the connection: whether there was one, which is told then.
    pub async fn fetch(&self, connection: &ConnectionId) -> Result<Fetched, Error> {
        let connection = connection.clone();
        let Reply::Fetched(fetched) = self.execute(Command::Fetch { connection }).await? else {
            return Err(unexpected());
        };
        Ok(fetched)
    }

    /// What the router says of the queue of a connection.
    pub async fn queue_info(&self, connection: &ConnectionId) -> Result<QueueInfo, Error> {
        let connection = connection.clone();
        let Reply::QueueInfo(info) = self.execute(Command::QueueInfo { connection }).await? else {
            return Err(unexpected());
        };
        Ok(*info)
    }

    /// The names of all connections, or of those of a user.
    pub async fn connections(&self, user: Option<UserId>) -> Result<Vec<ConnectionId>, Error> {
        let Reply::Connections(names) = self.execute(Command::Connections { user }).await? else {
            return Err(unexpected());
        };
        Ok(names)
    }

    /// Gives a connection that nobody has joined yet, or an address, to another user.
    pub async fn change_user(&self, connection: &ConnectionId, user: UserId) -> Result<(), Error> {
        let connection = connection.clone();
        self.done(Command::ChangeUser { connection, user }).await
    }

    /// What a name stands for: one of the user's routers for names is asked.
    pub async fn resolve_name(
        &self,
        user: UserId,
        name: SimplexDomain,
    ) -> Result<NameRecord, Error> {
        let Reply::Name(record) = self.execute(Command::ResolveName { user, name }).await? else {
            return Err(unexpected());
        };
        Ok(*record)
    }

    /// Whether a router can be used: what is wrong with it, if anything is.
    pub async fn test_router(
        &self,
        user: UserId,
        router: ServerAddress<SmpScheme>,
        password: Option<BasicAuth>,
    ) -> Result<Option<TestFailure>, Error> {
        let test = Command::TestRouter {
            user,
            router,
            password,
        };
        let Reply::Tested(failure) = self.execute(test).await? else {
            return Err(unexpected());
        };
        Ok(failure)
    }

    /// What was done at which router, since that was [forgotten](Self::reset_statistics).
    pub async fn router_statistics(&self) -> Result<Vec<RouterStatistics>, Error> {
        let Reply::Routers(statistics) = self.execute(Command::RouterStatistics).await? else {
            return Err(unexpected());
        };
        Ok(statistics)
    }

    /// Forgets what was done at which router.
    pub async fn reset_statistics(&self) -> Result<(), Error> {
        self.execute(Command::ResetStatistics).await?;
        Ok(())
    }

    /// Stops: what is under way is finished within this time, then nothing is done until the agent is [resumed](Self::resume).
    /// [`Suspended`](simplex_sans_io::agent::event::EventContent::Suspended) says when.
    pub async fn suspend_all(&self, within: Duration) -> Result<(), Error> {
        self.done(Command::SuspendAgent { within }).await
    }

    /// Goes on.
    pub async fn resume(&self) -> Result<(), Error> {
        self.done(Command::ResumeAgent).await
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

/// What became of a message.
fn accepted(reply: Option<Result<Reply, AgentError>>) -> Result<(MessageId, Pq), Error> {
    match reply {
        Some(Ok(Reply::Accepted { message, pq })) => Ok((message, pq)),
        Some(Ok(_)) => Err(unexpected()),
        Some(Err(error)) => Err(error.into()),
        None => Err(Error::Ended),
    }
}

pub(crate) fn unexpected() -> Error {
    Error::Agent(AgentError::Internal {
        context: "another reply was expected".into(),
    })
}
