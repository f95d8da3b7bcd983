//! How the data of short links is read.
//!
//! Whoever reads the data of an invitation secures its queue with a key of his own, which is stored before: so that reading it again,
//! and joining, uses the same key.

use std::sync::Arc;

use super::{Action, Agent, Loading, Work};
use crate::agent::command::{Command, LinkContent, Reply};
use crate::agent::connection::Join;
use crate::agent::error::AgentError;
use crate::agent::id::CommandId;
use crate::agent::link::{ConnectionRequest, LinkTarget, RequestData, ShortLink};
use crate::agent::network::{Asked, Directness, Purpose};
use crate::agent::queue::QueueAddress;
use crate::agent::store::record::{self, LinkRecord};
use crate::agent::store::{Change, Key, Load, OpId, Record};
use crate::crypto::{AuthPrivateKey, ed25519};
use crate::smp::LinkData;
use crate::smp::client::{Request, RequestId, Response};
use crate::smp::link::{ContactData, FixedData, InvitationData, SignedLinkData, UserData};
use crate::smp::pool::UserId;
use crate::time::Now;
use crate::wire::{
    EntityId, NonEmpty, Parsed, ServerAddress, Short, SmpScheme, Source, Version, Wire,
};

/// A link whose data is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::agent) struct OpenLink {
    pub(super) command: CommandId,
    pub(super) user: UserId,
    pub(super) link: ShortLink,
    /// The key that secures the queue of an invitation.
    key: Option<AuthPrivateKey>,
}

impl Agent {
    /// Reads the data of a link: the key for it may be stored already.
    pub(super) fn open_link(&mut self, command: CommandId, user: UserId, link: &ShortLink) {
        let Some(routers) = self.shared.users.get(&user) else {
            return self.reply(command, Err(AgentError::NoUser));
        };
        let presets: Vec<_> = routers
            .iter()
            .map(|router| router.address.clone())
            .collect();
        let link = link.restored(&presets);
        if link.target.router().key_hash().is_empty() {
            let error = AgentError::Link {
                context: "the router of the link is not known".into(),
            };
            return self.reply(command, Err(error));
        }
        let key = Key::link(link.target.router(), &link.target.link_id());
        let opening = OpenLink {
            command,
            user,
            link,
            key: None,
        };
        self.load(Load::Get(vec![key]), Loading::Link(Box::new(opening)));
    }

    /// Asks for the data, when the key is stored.
    pub(super) fn link_key_loaded(&mut self, mut opening: OpenLink, records: Vec<Record>) {
        let router = opening.link.target.router().clone();
        let link_id = opening.link.target.link_id();
        let mut changes = Vec::new();
        if let LinkTarget::Invitation(_) = &opening.link.target {
            let stored = records.first();
            let stored = stored.and_then(|kept| record::from_bytes(&kept.value).ok());
            let key = stored.map(|LinkRecord { key }| key).unwrap_or_else(|| {
                let key = ed25519::PrivateKey::generate(&mut self.shared.rng);
                let key = AuthPrivateKey::from(key);
                changes.push(self.keep_link_key(&router, &link_id, &key));
                key
            });
            opening.key = Some(key);
        }
        self.ask_for_link(opening, Directness::Sender, changes);
    }

    fn ask_for_link(&mut self, opening: OpenLink, directness: Directness, changes: Vec<Change>) {
        let router = opening.link.target.router().clone();
        let link_id = opening.link.target.link_id();
        let request = match &opening.key {
            Some(key) => {
                let command = crate::smp::Command::LKey(key.public_key());
                let request = Request::new(RequestId(0), link_id, command);
                request.authorized_by(Arc::new(key.clone()))
            }
            None => Request::new(RequestId(0), link_id, crate::smp::Command::LGet),
        };
        let (user, command) = (opening.user, opening.command);
        let asked = Asked {
            purpose: Purpose::Link(Box::new(opening)),
            router: router.clone(),
            proxy: None,
        };
        let mut actions = Vec::new();
        let asked = self
            .shared
            .ask(user, &router, request, directness, asked, &mut actions);
        if let Err(error) = asked {
            actions.push(Action::Reply(command, Err(error)));
        }
        self.commit(changes, actions, OpId(0));
    }

    fn keep_link_key(
        &self,
        router: &ServerAddress<SmpScheme>,
        id: &EntityId,
        key: &AuthPrivateKey,
    ) -> Change {
        let memory = self.shared.config.memory;
        Change::Put {
            key: Key::link(router, id),
            value: record::to_bytes(&LinkRecord { key: key.clone() }),
            expires: Some(self.clock.unix + memory),
        }
    }

    /// The router has answered: what it says is verified.
    pub(super) fn link_answered(
        &mut self,
        opening: OpenLink,
        asked: &Asked,
        result: Result<Response, AgentError>,
    ) {
        if self.shared.goes_directly(opening.user, asked, &result) {
            return self.ask_for_link(opening, Directness::AfterProxy, Vec::new());
        }
        let command = opening.command;
        let content = match result {
            Ok(Response::Link { sender_id, data }) => {
                link_content(&opening.link, &sender_id, &data).map(|content| (sender_id, content))
            }
            Ok(_) => Err(AgentError::internal("LNK")),
            Err(error) => Err(error),
        };
        match content {
            Ok((sender_id, content)) => {
                // Whoever joins knows the queue only.
                let router = opening.link.target.router();
                let change = opening.key.as_ref();
                let change = change.map(|key| self.keep_link_key(router, &sender_id, key));
                let reply = Action::Reply(command, Ok(Reply::Link(Box::new(content))));
                self.commit(change.into_iter().collect(), vec![reply], OpId(0));
            }
            Err(error) => self.reply(command, Err(error)),
        }
    }

    /// Before an invitation is joined it is seen whether its queue was secured when its link was read.
    pub(super) fn load_join(&mut self, id: CommandId, command: Command, request: &RequestData) {
        let QueueAddress { router, sender_id } = &request.queues.first().address;
        let key = Key::link(router, sender_id);
        self.load(Load::Get(vec![key]), Loading::Join(id, Box::new(command)));
    }

    pub(super) fn join_loaded(
        &mut self,
        now: Now,
        id: CommandId,
        command: Command,
        records: Vec<Record>,
    ) {
        let Command::Join {
            connection,
            user,
            request,
            info,
            pq,
            mode,
            receiving,
        } = command
        else {
            return;
        };
        let Ok(info) = info.try_into() else {
            let error = AgentError::Large {
                context: "info".into(),
            };
            return self.reply(id, Err(error));
        };
        let record = records.into_iter().next();
        let link_key = record.and_then(|kept| record::from_bytes(&kept.value).ok());
        let join = Join {
            request: *request,
            info,
            pq,
            link_key: link_key.map(|LinkRecord { key }| key),
            receiving,
        };
        let caller = crate::agent::connection::Caller { command: id, mode };
        match connection {
            Some(name) => {
                let work = Work::Join(caller, user, Box::new(join), None);
                self.with(now, &name, work);
            }
            None => {
                let name = crate::agent::id::ConnectionId::random(&mut self.shared.rng);
                let joined = self.join(now, &name, caller, user, join, None);
                if let Err(error) = joined {
                    self.reply(id, Err(error));
                }
            }
        }
    }
}

fn link_content(
    link: &ShortLink,
    sender_id: &EntityId,
    data: &LinkData,
) -> Result<LinkContent, AgentError> {
    let error = |context: &dyn std::fmt::Display| AgentError::Link {
        context: context.to_string().as_str().into(),
    };
    let key = link.target.key();
    let data_key = match &link.target {
        LinkTarget::Invitation(_) => key.invitation(),
        LinkTarget::Contact(_) => key.contact().data_key,
    };
    let signed = SignedLinkData::open(&data_key, data).map_err(|e| error(&e))?;
    let (fixed, user): (FixedData, UserData) = match &link.target {
        LinkTarget::Invitation(_) => {
            let verified = signed
                .verify::<InvitationData>(key)
                .map_err(|e| error(&e))?;
            (verified.fixed, UserData::Invitation(verified.user))
        }
        LinkTarget::Contact(_) => {
            let verified = signed.verify::<ContactData>(key).map_err(|e| error(&e))?;
            (verified.fixed, UserData::Contact(verified.user))
        }
    };
    let (rest, mut request) = request_of(&fixed).map_err(|_| error(&"connection request"))?;
    let entity_id = Short::parse(Source::borrowed(Version::default()), rest);
    let entity_id = entity_id.ok().map(|(_, id)| id.into_bytes());
    let router = link.target.router();
    at_router(&mut request, router, sender_id).ok_or_else(|| error(&"another queue"))?;
    Ok(LinkContent {
        request,
        entity_id: entity_id.filter(|id| !id.is_empty()),
        fixed: fixed.clone(),
        user,
    })
}

fn request_of(fixed: &FixedData) -> Parsed<'_, ConnectionRequest> {
    ConnectionRequest::parse(Source::borrowed(Version::default()), &fixed.request)
}

/// The queue must be the one that the router has named, at the router that has named it.
fn at_router(
    request: &mut ConnectionRequest,
    router: &ServerAddress<SmpScheme>,
    sender_id: &EntityId,
) -> Option<()> {
    let (ConnectionRequest::Invitation(data, _) | ConnectionRequest::Contact(data)) = request;
    let mut queues = data.queues.clone().into_vec();
    let first = queues.first_mut()?;
    let host = router.hosts().first()?;
    let same = first.address.router.hosts().contains(host) && first.address.sender_id == *sender_id;
    if !same {
        return None;
    }
    first.address.router = router.clone();
    data.queues = NonEmpty::try_from(queues).ok()?;
    Some(())
}
