//! Which command is executed where.

use super::blocks::Place;
use super::cache::Waited;
use super::loads::Job;
use super::store::QueueRecord;
use super::{Action, ConnId, NewQueues, ProxyRequest, Router, Ticket};
use crate::smp::proxy::Forwarded;
use crate::smp::server::{BlockId, Lookup, Party, Request};
use crate::smp::{BrokerMessage, Command, CommandError, ErrorType, NameError, ProxyError};
use crate::wire::EntityId;

impl Router {
    /// Executes the requests of a block, one after the other; it is not answered before those that are refused have cost what they
    /// would if there was no such queue.
    pub(super) fn execute(
        &mut self,
        connection: ConnId,
        block: BlockId,
        requests: Vec<Request>,
        refused: &[Lookup],
    ) {
        self.begin_execution(connection, block, requests.len(), refused.len());
        self.count_block(&requests);
        for lookup in refused {
            self.look_for_nobody(connection, block, lookup);
        }
        for (index, request) in requests.into_iter().enumerate() {
            let place = Place {
                connection,
                block,
                index,
            };
            match Party::of(&request.command) {
                Some(party) => {
                    let id = request.entity_id.clone();
                    self.with_queue(party, &id, Job::Command(place, Box::new(request)));
                }
                None => self.command_without_queue(place, request),
            }
        }
    }

    /// Who asks for a queue that is in memory without being authorised waits as long as who asks for one that does not exist: until the
    /// store has not found it.
    fn look_for_nobody(&mut self, connection: ConnId, block: BlockId, lookup: &Lookup) {
        let found = self.cache.find(lookup.party, &lookup.id);
        let queue = found.and_then(|id| self.cache.get_mut(&id));
        // One that was just loaded has cost that much already.
        let waited = queue.map(|queue| std::mem::replace(&mut queue.waited, Waited::No));
        if matches!(waited, None | Some(Waited::Yes)) {
            return self.looked_for_nobody(connection, block);
        }
        let nobody: Vec<u8> = lookup.id.iter().map(|byte| !byte).collect();
        let nobody = EntityId::try_from(&nobody[..]).unwrap_or_default();
        self.with_queue(lookup.party, &nobody, Job::Nobody(connection, block));
    }

    /// Executes a command on a queue in memory.
    pub(super) fn command(&mut self, place: Place, queue: &EntityId, request: Request) {
        let in_memory = self.cache.get_mut(queue);
        let may = in_memory.is_some_and(|queue| {
            queue.waited = Waited::No;
            !key_changed(&queue.record, &request)
        });
        if !may {
            return self.refuse(place, ErrorType::Auth);
        }
        match request.command {
            Command::Sub => self.sub(place, queue, request),
            Command::Key(key) => self.key(place, queue, key),
            Command::RKey(keys) => self.rkey(place, queue, &keys),
            Command::LSet { .. } => self.lset(place, queue, request),
            Command::LDel => self.ldel(place, queue),
            Command::NKey(keys) => self.nkey(place, queue, &keys),
            Command::NDel => self.ndel(place, queue),
            Command::Get => self.get(place, queue, request),
            Command::Ack(ref id) => {
                let id = id.clone();
                self.ack(place, queue, &id, request);
            }
            Command::Off => self.off(place, queue),
            Command::Del => self.del(place, queue),
            Command::Que => self.que(place, queue, request),
            Command::Send { .. } => self.send(place, queue, request),
            Command::SKey(key) => self.skey(place, queue, key),
            Command::LKey(key) => self.lkey(place, queue, key),
            Command::LGet => self.lget(place, queue),
            Command::NSub => self.nsub(place, queue),
            Command::New(_)
            | Command::Subs(_)
            | Command::NSubs(_)
            | Command::Ping
            | Command::Prxy { .. }
            | Command::Pfwd { .. }
            | Command::Rfwd { .. }
            | Command::Rslv { .. } => self.refuse(place, ErrorType::Internal),
        }
    }

    fn command_without_queue(&mut self, place: Place, request: Request) {
        match request.command {
            Command::New(_) => self.new_queue(place, request),
            Command::Subs(queues) => self.subs(place, &queues),
            Command::NSubs(queues) => self.nsubs(place, &queues),
            Command::Ping => self.answer(place, BrokerMessage::Pong),
            Command::Prxy { .. } | Command::Pfwd { .. } | Command::Rslv { .. } => {
                self.ask(place, Box::new(request));
            }
            Command::Sub
            | Command::Key(_)
            | Command::RKey(_)
            | Command::LSet { .. }
            | Command::LDel
            | Command::NKey(_)
            | Command::NDel
            | Command::Get
            | Command::Ack(_)
            | Command::Off
            | Command::Del
            | Command::Que
            | Command::Send { .. }
            | Command::SKey(_)
            | Command::LKey(_)
            | Command::LGet
            | Command::NSub
            | Command::Rfwd { .. } => self.refuse(place, ErrorType::Internal),
        }
    }

    /// Asks the proxy or the resolver, or lets the command wait while too many of its connection are asked.
    #[expect(clippy::wildcard_enum_match_arm, reason = "a few of many are meant")]
    fn ask(&mut self, place: Place, request: Box<Request>) {
        let (max_forwarded, max_names) = (self.config.max_forwarded, self.config.max_names);
        let Some(connection) = self.connections.get_mut(place.connection) else {
            return;
        };
        let (in_flight, max) = match request.command {
            Command::Rslv { .. } => (&mut connection.names, max_names),
            _ => (&mut connection.forwarded, max_forwarded),
        };
        if *in_flight >= max {
            connection.waiting.push_back((place, request));
            self.counters.forwards_delayed = self.counters.forwards_delayed.saturating_add(1);
            return;
        }
        *in_flight = in_flight.saturating_add(1);
        match self.question(place, *request) {
            Ok(()) => {}
            Err((kind, error)) => {
                self.asked_no_more(place.connection, kind);
                self.refuse(place, error);
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a few of many are meant")]
    fn question(&mut self, place: Place, request: Request) -> Result<(), (Kind, ErrorType)> {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let action = match request.command {
            Command::Prxy { relay, password } => {
                let error = ErrorType::Proxy {
                    error: ProxyError::BasicAuth,
                };
                if !self.config.new_queues.knows(password.as_ref()) {
                    return Err((Kind::Forwarded, error));
                }
                Action::Proxy(ticket, place.connection, ProxyRequest::Session(relay))
            }
            Command::Pfwd {
                version,
                key,
                encrypted,
            } => {
                let forwarded = Forwarded {
                    corr_id: request.corr_id,
                    version,
                    key,
                    encrypted,
                };
                let forward = ProxyRequest::Forward {
                    session_id: request.entity_id,
                    forwarded: Box::new(forwarded),
                };
                Action::Proxy(ticket, place.connection, forward)
            }
            Command::Rslv { domain } => {
                self.counters.names_requested = self.counters.names_requested.saturating_add(1);
                if !self.config.resolves_names {
                    self.counters.names_disabled = self.counters.names_disabled.saturating_add(1);
                    let error = ErrorType::Name {
                        error: NameError::NoResolver,
                    };
                    return Err((Kind::Name, error));
                }
                Action::Resolve(ticket, domain)
            }
            _ => {
                return Err((
                    Kind::Forwarded,
                    ErrorType::command(CommandError::Prohibited),
                ));
            }
        };
        self.tickets.insert(ticket, place);
        self.actions.push(action);
        Ok(())
    }

    pub(super) fn ticket_answered(&mut self, ticket: Ticket, message: BrokerMessage) {
        let Some(place) = self.tickets.remove(&ticket) else {
            return;
        };
        let kind = Kind::of(&message);
        if kind == Kind::Name {
            self.count_name(&message);
        }
        self.answer(place, message);
        self.asked_no_more(place.connection, kind);
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "a few of many are meant")]
    fn count_name(&mut self, message: &BrokerMessage) {
        let counter = match message {
            BrokerMessage::RName(_) => &mut self.counters.names_resolved,
            BrokerMessage::Err(ErrorType::Name {
                error: NameError::NotFound,
            }) => &mut self.counters.names_not_found,
            _ => &mut self.counters.names_failed,
        };
        *counter = counter.saturating_add(1);
    }

    /// The next command that waits is asked about.
    fn asked_no_more(&mut self, connection: ConnId, kind: Kind) {
        let Some(connection) = self.connections.get_mut(connection) else {
            return;
        };
        let in_flight = match kind {
            Kind::Name => &mut connection.names,
            Kind::Forwarded => &mut connection.forwarded,
        };
        *in_flight = in_flight.saturating_sub(1);
        let same_kind = |(_, request): &(Place, Box<Request>)| {
            matches!(request.command, Command::Rslv { .. }) == (kind == Kind::Name)
        };
        let next = connection.waiting.iter().position(same_kind);
        if let Some((place, request)) = next.and_then(|next| connection.waiting.remove(next)) {
            self.ask(place, request);
        }
    }
}

/// What another part of the router is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Forwarded,
    Name,
}

impl Kind {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a few of many are meant")]
    const fn of(message: &BrokerMessage) -> Self {
        match message {
            BrokerMessage::RName(_) | BrokerMessage::Err(ErrorType::Name { .. }) => Self::Name,
            _ => Self::Forwarded,
        }
    }
}

impl NewQueues {
    /// Whether somebody who says this password may use the router as a proxy.
    fn knows(&self, password: Option<&crate::wire::BasicAuth>) -> bool {
        match self {
            Self::Allowed | Self::Refused(None) => true,
            Self::WithPassword(expected) | Self::Refused(Some(expected)) => {
                password == Some(expected)
            }
        }
    }

    /// Whether somebody who says this password may create queues.
    pub(super) fn allows(&self, password: Option<&crate::wire::BasicAuth>) -> bool {
        match self {
            Self::Refused(_) => false,
            Self::Allowed | Self::WithPassword(_) => self.knows(password),
        }
    }
}

/// Whether the key that has authorised a command is the queue's no more. Who secures a queue has brought the key along.
fn key_changed(queue: &QueueRecord, request: &Request) -> bool {
    match Party::of(&request.command) {
        Some(Party::Recipient) => {
            let key = request.key.as_ref();
            !key.is_some_and(|key| queue.recipient_keys.contains(key))
        }
        Some(Party::Sender) if matches!(request.command, Command::Send { .. }) => {
            queue.sender_key != request.key
        }
        Some(Party::Sender | Party::Link) => false,
        Some(Party::Notifier) => {
            let notifier = queue.notifier.as_ref();
            notifier.map(|notifier| notifier.key) != request.key
        }
        None => true,
    }
}
