//! What the application wants, as far as it is not for a connection that exists.

use super::{Action, Agent, Loading, Work};
use crate::agent::command::{Command, NewConnection, Receiving, Reply};
use crate::agent::commands::of_connection;
use crate::agent::connection::{Caller, Connection, Join, NewQueue};
use crate::agent::error::AgentError;
use crate::agent::id::{CommandId, ConnectionId};
use crate::agent::link::ClientData;
use crate::agent::store::record::{self, ContactRequest, HandedOut, NewLink, Purpose, Stage};
use crate::agent::store::{Change, Key, Kind, Load, OpId, Record};
use crate::ratchet::{OfferedKeys, Pq};
use crate::smp::QueueMode;
use crate::smp::pool::UserId;
use crate::time::Now;
use crate::wire::Large;

impl Agent {
    pub(super) fn reply(&mut self, command: CommandId, result: Result<Reply, AgentError>) {
        self.actions.push(Action::Reply(command, result));
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others are for one connection"
    )]
    pub(super) fn command(&mut self, now: Now, id: CommandId, command: Command) {
        if let Some(held) = &mut self.held {
            held.push_back((id, command));
            return;
        }
        match command {
            Command::SetUser { user, routers } => self.set_user(now, id, user, routers),
            Command::Users => {
                let users = self.shared.here.iter().copied().collect();
                self.reply(id, Ok(Reply::Users(users)));
            }
            Command::DeleteUser { user } => self.delete_user(id, user),
            Command::Network(network) => self.network_changed(now, network),
            Command::SuspendAgent { within } => self.suspend(now, id, within),
            Command::ResumeAgent => self.resume(now, id),
            Command::ResolveName { user, name } => self.resolve_name(id, user, name),
            Command::TestRouter {
                user,
                router,
                password,
            } => self.test_router(id, user, router, password),
            Command::RouterStatistics => {
                let statistics = self.shared.statistics.all();
                self.reply(id, Ok(Reply::Routers(statistics)));
            }
            Command::ResetStatistics => {
                self.forget_statistics(|_| true);
                self.reply(id, Ok(Reply::Done));
            }
            Command::Connections { user } => {
                let what = Loading::Connections(id, user, Vec::new());
                self.load_page(Kind::Connection, None, what);
            }
            Command::Confirm { event } => self.confirmed(event),
            Command::SubscribeAll { user } => {
                self.load_page(
                    Kind::Queue,
                    None,
                    Loading::Subscriptions(id, user, Default::default()),
                );
            }
            Command::Accept {
                ref address,
                ref name,
                ..
            }
            | Command::Reject {
                ref address,
                ref name,
            } => {
                let key = Key::with(Kind::Request, address, name.as_slice());
                self.load(Load::Get(vec![key]), Loading::Request(id, command));
            }
            Command::OpenLink { user, link } => self.open_link(id, user, &link),
            Command::Join { ref request, .. } => {
                let data = request.data().clone();
                self.load_join(id, command, &data);
            }
            Command::Create {
                connection: None, ..
            }
            | Command::Prepare {
                connection: None, ..
            } => {
                let connection = ConnectionId::random(&mut self.shared.rng);
                self.without_connection(now, &connection, Work::Command(id, command));
            }
            command => match of_connection(&command).cloned() {
                Some(connection) => self.with(now, &connection, Work::Command(id, command)),
                None => self.reply(id, Err(AgentError::internal("command"))),
            },
        }
    }

    /// A command for a connection that does not exist.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "all others need a connection that exists"
    )]
    pub(super) fn without_connection(&mut self, now: Now, id: &ConnectionId, work: Work) {
        let (command, wanted) = match work {
            Work::Command(command, wanted) => (command, wanted),
            Work::Join(caller, user, join, answers) => {
                if let Err(error) = self.join(now, id, caller, user, *join, answers) {
                    self.reply(caller.command, Err(error));
                }
                return;
            }
            _ => return,
        };
        let made = match wanted {
            Command::Create {
                user,
                kind,
                client_data,
                short,
                mode,
                receiving,
                ..
            } => {
                let caller = Caller { command, mode };
                let new = New {
                    user,
                    kind,
                    client_data,
                    short,
                    asked: NewAsked::Now(caller, receiving),
                };
                self.create(now, id, new)
            }
            Command::Prepare {
                user,
                client_data,
                short,
                ..
            } => {
                let new = New {
                    user,
                    kind: NewConnection::Address,
                    client_data,
                    short: Some(short),
                    asked: NewAsked::Later(command),
                };
                self.create(now, id, new)
            }
            _ => Err(AgentError::not_found("connection")),
        };
        if let Err(error) = made {
            self.reply(command, Err(error));
        }
    }

    fn create(&mut self, now: Now, id: &ConnectionId, new: New) -> Result<(), AgentError> {
        let New {
            user,
            kind,
            client_data,
            short,
            asked,
        } = new;
        let router = self.shared.choose_router(user, &[])?;
        let short = short.map(Large::try_from).transpose();
        let short = short.map_err(|_| AgentError::Large {
            context: "short link".into(),
        })?;
        let version = self.shared.config.versions.max();
        let (pq, queue_mode) = match kind {
            NewConnection::Invitation { pq } => (pq.support(), QueueMode::Messaging),
            NewConnection::Address => (Pq::Off, QueueMode::Contact),
        };
        let mut connection = Box::new(Connection::empty(
            id.clone(),
            user,
            Stage::Failed,
            pq,
            version,
        ));
        self.step_of(now, &mut connection, |step| {
            let short = short.map(|data| step.new_short_link(data));
            let purpose = match kind {
                NewConnection::Invitation { pq } => {
                    let proposed = match &short {
                        Some(_) => pq.in_short_link(),
                        None => pq.in_full_link(),
                    };
                    Purpose::Invitation {
                        keys: Box::new(OfferedKeys::generate(&mut step.shared.rng, proposed)),
                        pq,
                        client_data,
                        short,
                    }
                }
                NewConnection::Address => Purpose::Address { client_data, short },
            };
            let version = step.shared.config.client_versions.max();
            let queue = NewQueue {
                router,
                mode: queue_mode,
                version,
                rotation: None,
            };
            match asked {
                NewAsked::Now(caller, receiving) => {
                    step.connection.record.stage = Stage::Creating { purpose };
                    step.connection.receiving = receiving;
                    step.connection.callers.push(caller);
                    step.add_receive_queue(queue);
                }
                NewAsked::Later(command) => {
                    step.connection.record.stage = Stage::Prepared {
                        purpose: handed_out(purpose),
                    };
                    let number = step.add_receive_queue(queue);
                    let created = step.prepared(number);
                    step.reply(command, created);
                }
            }
        });
        self.keep(id, connection);
        Ok(())
    }

    pub(super) fn join(
        &mut self,
        now: Now,
        id: &ConnectionId,
        caller: Caller,
        user: UserId,
        join: Join,
        answers: Option<Key>,
    ) -> Result<(), AgentError> {
        let joining = Connection::joining(id.clone(), user, &mut self.shared, join)?;
        let (connection, first) = joining.into_parts();
        let mut connection = Box::new(connection);
        self.step_of(now, &mut connection, |step| {
            step.changes.extend(answers.clone().map(Change::Delete));
            step.begin_to_join(first, caller);
        });
        self.keep(id, connection);
        if let Some(request) = answers {
            self.request_answered(now, &request);
        }
        Ok(())
    }

    /// A request for a connection that is to be answered.
    pub(super) fn request_loaded(
        &mut self,
        now: Now,
        id: CommandId,
        command: Command,
        records: Vec<Record>,
    ) {
        let Some(record) = records.into_iter().next() else {
            return self.reply(id, Err(AgentError::not_found("request")));
        };
        let request = record.key;
        let Command::Accept {
            connection,
            info,
            pq,
            mode,
            receiving,
            ..
        } = command
        else {
            let done = vec![Action::Reply(id, Ok(Reply::Done))];
            self.commit(vec![Change::Delete(request.clone())], done, OpId(0));
            return self.request_answered(now, &request);
        };
        let accepted = record::from_bytes::<ContactRequest>(&record.value)
            .map_err(|_| AgentError::internal("a record cannot be read"));
        let info = Large::try_from(info).map_err(|_| AgentError::Large {
            context: "info".into(),
        });
        let (kept, info) = match accepted.and_then(|kept| Ok((kept, info?))) {
            Ok(accepted) => accepted,
            Err(error) => return self.reply(id, Err(error)),
        };
        let join = Box::new(Join {
            request: kept.request,
            info,
            pq,
            link_key: None,
            receiving,
        });
        let caller = Caller { command: id, mode };
        let work = Work::Join(caller, kept.user, join, Some(request));
        match connection {
            Some(name) => self.with(now, &name, work),
            None => {
                let name = ConnectionId::random(&mut self.shared.rng);
                self.without_connection(now, &name, work);
            }
        }
    }
}

/// A connection that is to be made.
struct New {
    user: UserId,
    kind: NewConnection,
    client_data: Option<ClientData>,
    short: Option<bytes::Bytes>,
    asked: NewAsked,
}

/// When the router is asked for the queue of a new connection.
enum NewAsked {
    Now(Caller, Receiving),
    /// When the application says so; this command wants to know the link.
    Later(CommandId),
}

/// Somebody may have the link.
fn handed_out(purpose: Purpose) -> Purpose {
    match purpose {
        Purpose::Address { client_data, short } => {
            let short = short.map(|short| NewLink {
                handed_out: HandedOut::Yes,
                ..short
            });
            Purpose::Address { client_data, short }
        }
        purpose @ (Purpose::Invitation { .. } | Purpose::Request { .. }) => purpose,
    }
}
