//! What the commands of a client do.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use simplex_sans_io::agent::command as agent;
use simplex_sans_io::agent::command::{
    Force, LinkContent, NewConnection, RequestMode, Sending, TestFailure, Waiting,
};
use simplex_sans_io::agent::config::{Strangers, UserRouter, VERSIONS};
use simplex_sans_io::agent::error::AgentError;
use simplex_sans_io::agent::id::{ConnectionId, FileId, MessageId, RequestName};
use simplex_sans_io::agent::link::{LinkScheme, LinkTarget, ShortLink};
use simplex_sans_io::ratchet::{InitialKeys, Pq};
use simplex_sans_io::smp::MsgFlags;
use simplex_sans_io::smp::link::{ContactData, UserData};
use simplex_sans_io::smp::pool::UserId;
use simplex_sans_io::wire::{self, Large, List, Version};

use super::hub::ClientId;
use super::{Files, Shared, Trust};
use crate::handle::{Agent, Error, Joining, NewLink};
use simplex_sans_io::agent::lines::Transmission;
use simplex_sans_io::agent::lines::command::{Command, JoinLine, JoinLink, NewLine};
use simplex_sans_io::agent::lines::role::Role;
use simplex_sans_io::agent::lines::text::{self, Level, Said};
use simplex_sans_io::agent::lines::words;

/// How long a client waits until a connection that it deletes is gone: as long as its name is taken.
const DELETION: std::time::Duration = std::time::Duration::from_secs(3);

/// What was carried out.
pub(super) struct Executed {
    pub(super) entity: String,
    pub(super) said: Said,
    /// What has failed for some of many connections.
    pub(super) failed: Vec<(String, Said)>,
    pub(super) after: After,
}

/// What follows the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    Level(Level),
    Quit,
}

/// The state of a session that its commands change.
pub(super) struct Session {
    shared: Shared,
    client: ClientId,
    role: Role,
    user: UserId,
    failed: Vec<(String, Said)>,
    pub(super) level: Level,
}

pub(super) type Answer = Result<Said, Wrong>;

/// What is wrong with a command.
pub(super) enum Wrong {
    Text(String),
    Error(Error),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

pub(super) fn prohibited(context: &str) -> Wrong {
    Wrong::Text(format!("CMD PROHIBITED {context}"))
}

pub(super) fn ok() -> Said {
    Said::line("OK")
}

impl Session {
    pub(super) fn new(shared: Shared, client: ClientId, role: Role) -> Self {
        Self {
            shared,
            client,
            role,
            user: UserId(1),
            failed: Vec::new(),
            level: Level::L5,
        }
    }

    pub(super) async fn execute(&mut self, transmission: Transmission) -> Executed {
        let Transmission {
            entity, command, ..
        } = transmission;
        let command_body = command.body;
        let mut after = After::Nothing;
        let mut named = entity.clone();
        let answer = match command.command {
            Err(error) => Err(Wrong::Text(error.to_owned())),
            Ok(Command::FromAgent) => Err(prohibited("fromParty")),
            Ok(command) if command.least_role() > self.role => {
                Err(prohibited("the token is not for this command"))
            }
            Ok(command) if command.needs_entity() && entity.is_empty() => {
                Err(Wrong::Text("CMD NO_CONN tConnId".to_owned()))
            }
            Ok(Command::Version(number)) => match Level::from_number(number) {
                Some(level) => {
                    after = After::Level(level);
                    let number = level.number();
                    let files = self.shared.files.as_ref().map_or("", |_| ",files");
                    let features = "links,receipts,pq,users,names,servers";
                    Ok(Said::line(format!("VER {number} {features}{files}")))
                }
                None => Err(prohibited("VER")),
            },
            Ok(Command::Quit) => {
                after = After::Quit;
                Ok(ok())
            }
            Ok(command) => {
                let body = command_body;
                self.carry_out(command, &mut named, body).await
            }
        };
        let said = answer.unwrap_or_else(|wrong| self.wrong(wrong));
        Executed {
            entity: named,
            said,
            failed: std::mem::take(&mut self.failed),
            after,
        }
    }

    fn wrong(&self, wrong: Wrong) -> Said {
        let text = match wrong {
            Wrong::Text(text) => text,
            Wrong::Error(Error::Agent(error)) => words::error(&error, self.level),
            Wrong::Error(Error::Ended) => "INACTIVE".to_owned(),
        };
        Said::line(format!("ERR {text}"))
    }

    async fn carry_out(
        &mut self,
        command: Command,
        entity: &mut String,
        body: Option<Bytes>,
    ) -> Answer {
        let agent = self.shared.agent.clone();
        let info = || body.clone().unwrap_or_default();
        match command {
            Command::Auth if matches!(*self.shared.trust, Trust::Tokens(_)) => {
                Err(prohibited("AUTH"))
            }
            Command::Ping | Command::Auth => Ok(ok()),
            Command::User(user) => {
                self.user = self.shared.user(user)?;
                Ok(ok())
            }
            Command::Users => {
                let users = self.shared.users();
                let users: Vec<_> = users.iter().map(|user| user.0.to_string()).collect();
                Ok(Said::line(format!("USERS {}", users.join(","))))
            }
            Command::NewUser => {
                let user = self.shared.new_user().await?;
                Ok(Said::line(format!("USER {}", user.0)))
            }
            Command::DeleteUser(user) => {
                let user = self.shared.user(user)?;
                tracing::info!(client = %self.client, user = user.0, "USER DEL");
                agent.delete_user(user).await?;
                self.shared.forget_user(user);
                Ok(ok())
            }
            Command::New(new) => self.create(new, entity, body).await,
            Command::Join(join) => self.join(*join, entity, info()).await,
            Command::Let(name) => {
                let connection = self.of(entity).await?;
                let name = request(&name)?;
                agent.allow(&connection, &name, info()).await?;
                self.answered(&name).await;
                Ok(ok())
            }
            Command::Accept {
                request: name,
                pq,
                receiving,
            } => {
                let name = request(&name)?;
                let asked = self.shared.hub.asked(&name);
                let address = asked.ok_or_else(|| prohibited("acceptContact"))?;
                self.exists(&address).await?;
                if agent.statistics(&address).await?.user != self.user {
                    return Err(prohibited("acceptContact: a request to another user"));
                }
                let new = self.new_connection(entity)?;
                let accept = agent::Command::Accept {
                    address,
                    name: name.clone(),
                    connection: Some(new.connection.clone()),
                    info: info(),
                    pq: pq.unwrap_or_else(|| self.pq()),
                    mode: RequestMode::Interactive,
                    receiving,
                };
                let accepted = agent.joined(accept).await;
                let (_, sending) = self.kept(&new, accepted)?;
                self.answered(&name).await;
                Ok(self.joined(sending))
            }
            Command::Reject(name) => {
                let name = request(&name)?;
                let address = match entity.is_empty() {
                    true => self.shared.hub.asked(&name).ok_or_else(not_found)?,
                    false => connection(entity)?,
                };
                self.exists(&address).await?;
                agent.reject(&address, &name).await?;
                self.answered(&name).await;
                Ok(ok())
            }
            Command::Subscribe => {
                let connection = connection(entity)?;
                self.subscribe(&connection).await?;
                Ok(ok())
            }
            Command::SubscribeAll(user) => {
                let user = self.user_or_own(user)?;
                for connection in agent.connections(Some(user)).await? {
                    self.shared.hub.take(self.client, &connection);
                }
                agent.subscribe_all(Some(user)).await?;
                Ok(ok())
            }
            Command::SubscribeMany(names) => {
                for name in names {
                    let subscribed = match connection(&name) {
                        Ok(connection) => self.subscribe(&connection).await,
                        Err(wrong) => Err(wrong),
                    };
                    if let Err(wrong) = subscribed {
                        let said = self.wrong(wrong);
                        self.failed.push((name, said));
                    }
                }
                Ok(ok())
            }
            Command::Fetch => {
                agent.fetch(&self.own(entity).await?).await?;
                Ok(ok())
            }
            Command::QueueInfo => {
                let info = agent.queue_info(&connection(entity)?).await?;
                Ok(Said {
                    line: "QINF".to_owned(),
                    body: Some(wire::encode(&info, Version::default())),
                })
            }
            Command::Name(name) => {
                let record = agent.resolve_name(self.user, *name).await?;
                Ok(Said {
                    line: "NAME".to_owned(),
                    body: Some(wire::encode(&record, Version::default())),
                })
            }
            Command::Routers(user) => {
                let user = self.user_or_own(user)?;
                let routers = self.shared.routers_of(user);
                let routers: Vec<_> = routers.iter().map(text::router).collect();
                Ok(Said::line(format!("SRV {}", routers.join(","))))
            }
            Command::FileRouters(user) => {
                self.user_or_own(user)?;
                let routers = self.files()?.routers.iter().map(text::router);
                let routers: Vec<_> = routers.collect();
                Ok(Said::line(format!("SRV {}", routers.join(","))))
            }
            Command::SetRouters(routers) => {
                self.shared.set_routers(self.user, routers).await?;
                Ok(ok())
            }
            Command::TestRouter(router) => {
                let UserRouter {
                    address, password, ..
                } = *router;
                match agent.test_router(self.user, address, password).await? {
                    None => Ok(ok()),
                    Some(TestFailure { error, .. }) => Err(Wrong::Error(Error::Agent(error))),
                }
            }
            Command::Network(network) => {
                agent.set_network(network).await?;
                Ok(ok())
            }
            Command::Send { pq, notify } => {
                let connection = self.of(entity).await?;
                // Where nothing is said, nothing changes: that an old client turns encryption off by silence is no rule to keep.
                let flags = MsgFlags {
                    notification: notify,
                };
                let (message, pq) = agent.send_with(&connection, pq, flags, info()).await?;
                Ok(Said::line(match self.level {
                    Level::L0 => format!("MID {}", message.0),
                    Level::L5 | Level::L7 => format!("MID {} {}", message.0, text::pq(pq)),
                }))
            }
            Command::Acknowledge(message) => {
                let connection = self.own(entity).await?;
                agent
                    .acknowledge(&connection, MessageId(message), body)
                    .await?;
                Ok(ok())
            }
            Command::Switch => {
                agent.switch(&self.of(entity).await?).await?;
                Ok(ok())
            }
            Command::AbortSwitch => {
                agent.abort_switch(&self.of(entity).await?).await?;
                Ok(ok())
            }
            Command::Off => {
                let connection = self.of(entity).await?;
                tracing::info!(client = %self.client, ?entity, "OFF");
                agent.suspend(&connection).await?;
                Ok(ok())
            }
            Command::Delete { wait } => {
                let connection = self.of(entity).await?;
                tracing::info!(client = %self.client, ?entity, "DEL");
                let hub = &self.shared.hub;
                let (gone, waiting) = match wait {
                    true => (hub.leaving(&connection), Waiting::Deliver),
                    false => (hub.forget(&connection), Waiting::Drop),
                };
                let waits = wait && agent.statistics(&connection).await?.outgoing > 0;
                let deleted = agent.delete(&connection, waiting).await;
                deleted.inspect_err(|_| hub.keep(&connection))?;
                // The agent goes on if its router is not there now, or something is to be sent before.
                if !waits {
                    tokio::time::timeout(DELETION, gone).await.ok();
                }
                Ok(ok())
            }
            Command::Check => {
                let connection = connection(entity)?;
                self.exists(&connection).await?;
                let statistics = agent.statistics(&connection).await?;
                let statistics = words::stats(&statistics, self.level);
                Ok(Said::line(format!("STAT {statistics}")))
            }
            Command::Synchronize { pq, force } => {
                let connection = self.of(entity).await?;
                let force = match force {
                    true => Force::Yes,
                    false => Force::No,
                };
                let pq = pq.unwrap_or(Pq::On);
                agent.synchronize(&connection, pq, force).await?;
                Ok(ok())
            }
            Command::Code => {
                let code = agent.security_code(&connection(entity)?).await?;
                Ok(Said::line(format!("CODE {}", URL_SAFE.encode(code))))
            }
            Command::SetLink { direct, relays } => {
                let connection = self.of(entity).await?;
                let data = contact_data(info(), direct, relays)?;
                let link = agent.set_link(&connection, data).await?;
                Ok(Said::line(format!("LINK {link}")))
            }
            Command::DeleteLink => {
                agent.delete_link(&self.of(entity).await?).await?;
                Ok(ok())
            }
            Command::GetLink(link) => {
                let content = agent.open_link(self.user, *link).await?;
                Ok(opened(&content))
            }
            Command::SendFile { recipients, user } => {
                let user = self.user_or_own(user)?;
                self.send_file(user, recipients, entity, &info()).await
            }
            Command::ReceiveFile {
                approved,
                user,
                local,
            } => {
                let user = self.user_or_own(user)?;
                self.receive_file(user, approved, local, entity, &info())
                    .await
            }
            Command::DeleteFile { remote } => {
                self.delete_file(self.user, entity, remote, body.as_ref())
                    .await
            }
            Command::Version(_) | Command::Quit | Command::FromAgent => Err(prohibited("")),
        }
    }

    fn user_or_own(&self, user: Option<i64>) -> Result<UserId, Error> {
        match user {
            Some(user) => self.shared.user(user),
            None => Ok(self.user),
        }
    }

    /// What may be done with files, if anything may.
    pub(super) fn files(&self) -> Result<&Files, Wrong> {
        let files = self.shared.files.as_deref();
        files.ok_or_else(|| prohibited("the agent was started without files"))
    }

    pub(super) const fn strangers(&self) -> Strangers {
        self.shared.strangers
    }

    pub(super) const fn agent(&self) -> &Agent {
        &self.shared.agent
    }

    /// What is told of a file is told to this client from now on.
    pub(super) fn own_file(&self, file: &FileId) {
        self.shared.hub.take_file(self.client, file);
    }

    /// A question was answered: it is not asked again.
    async fn answered(&self, name: &RequestName) {
        if let Some(event) = self.shared.hub.answered(name) {
            // An agent that has ended asks again when it is started.
            self.shared.agent.confirm(event).await.ok();
        }
    }

    /// What is meant where nothing is said of post-quantum keys.
    const fn pq(&self) -> Pq {
        match self.level {
            Level::L0 | Level::L5 => Pq::Off,
            Level::L7 => Pq::On,
        }
    }

    async fn subscribe(&self, connection: &ConnectionId) -> Result<(), Wrong> {
        let agent = &self.shared.agent;
        self.exists(connection).await?;
        self.shared.hub.take(self.client, connection);
        Ok(agent.subscribe(connection).await?)
    }

    async fn create(&self, new: NewLine, entity: &mut String, body: Option<Bytes>) -> Answer {
        let user = self.user_or_own(new.user)?;
        let default = match self.pq() {
            Pq::On => InitialKeys::Later,
            Pq::Off => InitialKeys::Never,
        };
        let pq = new.pq.unwrap_or(default);
        if new.contact && pq == InitialKeys::Invitation {
            return Err(prohibited("newRcvConnSrv"));
        }
        let name = self.new_connection(entity)?;
        let kind = match new.contact {
            true => NewConnection::Address,
            false => NewConnection::Invitation { pq },
        };
        let created = self.shared.agent.create(NewLink {
            user,
            kind,
            connection: Some(name.connection.clone()),
            client_data: new.client_data,
            short: new.link.then(|| body.unwrap_or_default()),
            mode: RequestMode::Interactive,
            receiving: new.receiving,
        });
        let created = self.kept(&name, created.await)?;
        let short = created.short.map(|short| format!(" {short}"));
        Ok(Said::line(format!(
            "INV {}{}",
            created.link,
            short.unwrap_or_default()
        )))
    }

    async fn join(&self, join: JoinLine, entity: &mut String, info: Bytes) -> Answer {
        let agent = &self.shared.agent;
        let user = self.user_or_own(join.user)?;
        let request = match join.link {
            JoinLink::Full(request) => request,
            JoinLink::Short(link) => agent.open_link(user, link).await?.request,
        };
        let name = self.new_connection(entity)?;
        let joined = agent.join(Joining {
            user,
            request,
            info,
            pq: join.pq.unwrap_or_else(|| self.pq()),
            connection: Some(name.connection.clone()),
            mode: RequestMode::Interactive,
            receiving: join.receiving,
        });
        let (_, sending) = self.kept(&name, joined.await)?;
        Ok(self.joined(sending))
    }

    /// The name of a connection that was not made is free again; one that is tried again, or was there before, stays.
    fn kept<T>(&self, name: &NewName, made: Result<T, Error>) -> Result<T, Error> {
        if let (Err(Error::Agent(error)), true) = (&made, name.was_free)
            && !error.is_temporary()
        {
            self.shared.hub.give_back(self.client, &name.connection);
        }
        made
    }

    fn joined(&self, sending: Sending) -> Said {
        match (self.level, sending) {
            (Level::L0 | Level::L5, _) => ok(),
            (Level::L7, Sending::Now) => Said::line("JOINED T"),
            (Level::L7, Sending::WhenConnected) => Said::line("JOINED F"),
        }
    }

    /// The name of a new connection, which is the client's from now on.
    fn new_connection(&self, entity: &mut String) -> Result<NewName, Wrong> {
        if !self.shared.may_make() {
            return Err(prohibited("too many connections in a minute"));
        }
        if entity.is_empty() {
            *entity = self.shared.random_name();
        }
        let connection = connection(entity)?;
        let was_free = self.shared.hub.is_free(&connection);
        match self.shared.hub.owns(self.client, &connection) {
            true => Ok(NewName {
                connection,
                was_free,
            }),
            false => Err(Wrong::Text("CONN DUPLICATE".to_owned())),
        }
    }

    /// A connection that exists. Every client may use it; one that nobody owns is its own then.
    async fn of(&self, entity: &str) -> Result<ConnectionId, Wrong> {
        let connection = connection(entity)?;
        self.exists(&connection).await?;
        self.shared.hub.owns(self.client, &connection);
        Ok(connection)
    }

    /// A connection whose messages are told to this client and no other.
    async fn own(&self, entity: &str) -> Result<ConnectionId, Wrong> {
        let connection = connection(entity)?;
        self.exists(&connection).await?;
        match self.shared.hub.owns(self.client, &connection) {
            true => Ok(connection),
            false => Err(prohibited("another client has subscribed")),
        }
    }

    async fn exists(&self, connection: &ConnectionId) -> Result<(), Wrong> {
        if self.shared.hub.is_going(connection) {
            return Err(not_found());
        }
        // One that is owned does.
        if self.shared.hub.is_free(connection) {
            self.shared.agent.statistics(connection).await?;
        }
        Ok(())
    }
}

/// The name of a connection that is being made.
struct NewName {
    connection: ConnectionId,
    /// Whether it was nobody's before.
    was_free: bool,
}

fn connection(entity: &str) -> Result<ConnectionId, Wrong> {
    ConnectionId::try_from(entity.as_bytes()).map_err(|_| not_found())
}

fn request(name: &str) -> Result<RequestName, Wrong> {
    RequestName::try_from(name.as_bytes()).map_err(|_| not_found())
}

pub(super) fn not_found() -> Wrong {
    Wrong::Error(Error::Agent(AgentError::NotFound { context: "".into() }))
}

fn contact_data(data: Bytes, direct: bool, relays: Vec<ShortLink>) -> Result<UserData, Wrong> {
    let data = Large::try_from(data).map_err(|_| Wrong::Text("CMD LARGE LSET".to_owned()))?;
    let relays = relays.into_iter().map(|relay| match relay.target {
        LinkTarget::Contact(link) => Ok(link),
        LinkTarget::Invitation(_) => Err(prohibited("setConnShortLink")),
    });
    let relays = List::try_from(relays.collect::<Result<Vec<_>, _>>()?);
    Ok(UserData::Contact(ContactData {
        versions: VERSIONS,
        direct,
        owners: List::default(),
        relays: relays.map_err(|_| Wrong::Text("CMD LARGE LSET".to_owned()))?,
        data,
    }))
}

/// What a short link leads to, and what its owner says.
fn opened(content: &LinkContent) -> Said {
    let (owner, data) = match &content.user {
        UserData::Invitation(data) => (String::new(), &data.data),
        UserData::Contact(data) => {
            let direct = if data.direct { 'T' } else { 'F' };
            let mut owner = format!(" direct={direct} owners={}", data.owners.len());
            let relays = data.relays.iter().map(|link| {
                let (scheme, target) = (LinkScheme::Server, LinkTarget::Contact(link.clone()));
                ShortLink { scheme, target }.to_string()
            });
            let relays: Vec<_> = relays.collect();
            if !relays.is_empty() {
                owner.push_str(&format!(" relays={}", relays.join(",")));
            }
            (owner, &data.data)
        }
    };
    Said {
        line: format!("LDATA {}{owner}", content.request),
        body: Some(Bytes::copy_from_slice(data)),
    }
}
