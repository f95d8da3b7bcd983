//! The short link of a connection.

use std::sync::Arc;

use super::{Step, Task};
use crate::agent::command::Reply;
use crate::agent::error::AgentError;
use crate::agent::id::CommandId;
use crate::agent::link::{InvitationShortLink, LinkScheme, LinkTarget, ShortLink};
use crate::agent::store::record::{LinkState, OwnLink, Stage};
use crate::crypto::{Nonce, ed25519};
use crate::smp::client::{Request, RequestId};
use crate::smp::link::{ContactLinkKind, ContactShortLink, FixedData, Signed, UserData};
use crate::smp::{Command, LinkData, QueueMode};
use crate::wire;
use crate::wire::{EntityId, ServerAddress, SmpScheme, Version};

impl Step<'_> {
    /// Sets what the data of the link says; the link is made if there is none.
    pub(in crate::agent) fn set_link(&mut self, command: CommandId, data: &UserData) {
        match self.prepare_link(data) {
            Ok(()) => self.connection.callers.push(super::Caller {
                command,
                mode: crate::agent::command::RequestMode::Interactive,
            }),
            Err(error) => self.reply(command, Err(error)),
        }
    }

    fn prepare_link(&mut self, data: &UserData) -> Result<(), AgentError> {
        let prohibited = || AgentError::prohibited("setConnShortLink");
        let contact = matches!(data, UserData::Contact(_));
        let is_address = self.connection.record.stage == Stage::Address;
        let own = match self.connection.record.link.clone() {
            Some(own) => own,
            None if is_address && contact => self.new_own_link()?,
            None => return Err(prohibited()),
        };
        let data_key = match data {
            UserData::Contact(data) if is_address => {
                let root = own.root.public_key();
                data.verify_owners(&root).map_err(|_| prohibited())?;
                own.key.contact().data_key
            }
            UserData::Invitation(_) if !is_address => own.key.invitation(),
            UserData::Contact(_) | UserData::Invitation(_) => return Err(prohibited()),
        };
        let nonce = Nonce::generate(&mut self.shared.rng);
        let user = Signed::new(data, &own.root).seal_as_user(&data_key, &nonce);
        let user = user.map_err(|_| AgentError::Large {
            context: "short link".into(),
        })?;
        let state = LinkState::Setting { user };
        self.connection.record.link = Some(OwnLink { state, ..own });
        Ok(())
    }

    /// A link to an address that has none.
    fn new_own_link(&mut self) -> Result<OwnLink, AgentError> {
        let queue = self.connection.record.receive.iter().next().cloned();
        let request = queue.and_then(|queue| self.connection_request(&queue));
        let request = request.ok_or_else(|| AgentError::prohibited("setConnShortLink"))?;
        let rng = &mut self.shared.rng;
        let root = ed25519::PrivateKey::generate(rng);
        let fixed = FixedData {
            versions: self.shared.config.versions,
            root_key: root.public_key(),
            request: wire::encode(&request, Version::default()),
        };
        let key = fixed.link_key();
        let nonce = Nonce::generate(&mut self.shared.rng);
        let sealed = Signed::new(&fixed, &root)
            .seal_as_fixed(&key.contact().data_key, &nonce)
            .map_err(|_| AgentError::internal("fixed data of a link"))?;
        Ok(OwnLink {
            id: EntityId::from(key.contact().link_id),
            key,
            root,
            fixed: sealed,
            state: LinkState::Set,
        })
    }

    /// Deletes the data of the link.
    pub(in crate::agent) fn delete_link(&mut self, command: CommandId) {
        match &mut self.connection.record.link {
            Some(link) => {
                link.state = LinkState::Deleting;
                self.connection.callers.push(super::Caller {
                    command,
                    mode: crate::agent::command::RequestMode::Interactive,
                });
            }
            None => self.reply(command, Err(AgentError::not_found("short link"))),
        }
    }

    pub(super) fn link_request(&self, task: Task) -> Option<(ServerAddress<SmpScheme>, Request)> {
        let link = self.connection.record.link.as_ref()?;
        let queue = self.connection.record.receive.iter().next()?;
        let command = match (&link.state, task) {
            (LinkState::Setting { user }, Task::SetLink) => Command::LSet {
                link_id: link.id.clone(),
                data: LinkData {
                    fixed: link.fixed.clone(),
                    user: user.clone(),
                },
            },
            (LinkState::Deleting, Task::DeleteLink) => Command::LDel,
            (_, _) => return None,
        };
        let request = Request::new(RequestId(0), queue.recipient_id.clone(), command);
        let request = request.authorized_by(Arc::new(queue.key.clone()));
        Some((queue.router.clone(), request))
    }

    pub(super) fn link_set(&mut self) {
        if let Some(link) = &mut self.connection.record.link {
            link.state = LinkState::Set;
        }
        let link = self.short_link();
        let link = link.ok_or_else(|| AgentError::internal("short link"));
        self.answer_callers(&link.map(Reply::ShortLink));
    }

    pub(super) fn link_deleted(&mut self) {
        self.connection.record.link = None;
        self.answer_callers(&Ok(Reply::Done));
    }

    pub(super) fn link_failed(&mut self, error: &AgentError) {
        if let Some(link) = &mut self.connection.record.link {
            link.state = LinkState::Set;
        }
        self.answer_callers(&Err(error.clone()));
    }

    fn short_link(&self) -> Option<ShortLink> {
        let own = self.connection.record.link.as_ref()?;
        let queue = self.connection.record.receive.iter().next()?;
        let router = queue.router.clone();
        let key = own.key.clone();
        let target = match queue.mode {
            QueueMode::Contact => LinkTarget::Contact(ContactShortLink {
                kind: ContactLinkKind::Contact,
                router,
                key,
            }),
            QueueMode::Messaging => LinkTarget::Invitation(InvitationShortLink {
                router,
                link_id: own.id.clone(),
                key,
            }),
        };
        let scheme = LinkScheme::Server;
        Some(ShortLink { scheme, target })
    }
}
