//! Queues that are made, and the links to them.

use super::Step;
use crate::agent::command::{Receiving, Reply, RequestMode};
use crate::agent::error::AgentError;
use crate::agent::id::QueueNumber;
use crate::agent::link::{
    ClientData, ConnectionRequest, InvitationShortLink, LinkScheme, LinkTarget, RequestData,
    ShortLink,
};
use crate::agent::queue::QueueUri;
use crate::agent::store::record::{
    HandedOut, LinkState, NewLink, OwnLink, Purpose, QueueRecord, ReceiveQueue, ReceiveRotation,
    ReceiveStatus, Side, Stage,
};
use crate::agent::store::{Change, Key};
use crate::crypto::{AuthPrivateKey, derivation, ed25519, x25519};
use crate::rng::Rng;
use crate::smp::link::{
    ContactData, ContactLinkKind, ContactShortLink, FixedData, InvitationData, SignedLinkData,
    UserData,
};
use crate::smp::pool::{Call, SubscriberRole, Subscription};
use crate::smp::{ContactLink, LinkData, QueueIds, QueueLink, QueueMode, QueueRequest};
use crate::wire;
use crate::wire::{CorrId, EntityId, Large, List, NonEmpty, ServerAddress, SmpScheme, Version};

/// A queue that is to be made.
pub(in crate::agent) struct NewQueue {
    pub(in crate::agent) router: ServerAddress<SmpScheme>,
    pub(in crate::agent) mode: QueueMode,
    pub(in crate::agent) version: Version,
    pub(in crate::agent) rotation: Option<ReceiveRotation>,
}

/// What of a link is made together with its queue.
struct MadeLink {
    corr_id: CorrId,
    sender_id: EntityId,
    data: LinkData,
    own: OwnLink,
    link: ShortLink,
}

impl Step<'_> {
    /// Adds a queue to receive from, which is then made.
    pub(in crate::agent) fn add_receive_queue(&mut self, new: NewQueue) -> QueueNumber {
        let number = self.next_queue();
        let rng = &mut self.shared.rng;
        let queue = ReceiveQueue {
            number,
            router: new.router,
            recipient_id: EntityId::EMPTY,
            sender_id: EntityId::EMPTY,
            key: AuthPrivateKey::from(ed25519::PrivateKey::generate(rng)),
            router_key: x25519::PrivateKey::generate(rng),
            router_secret: None,
            sender_dh_key: x25519::PrivateKey::generate(rng),
            sender_secret: None,
            version: new.version,
            mode: new.mode,
            status: ReceiveStatus::Creating,
            rotation: new.rotation,
            delivered: None,
        };
        // A connection never has that many queues.
        self.connection.record.receive.push(queue).ok();
        number
    }

    /// What goes into NEW besides keys, if the queue is made together with a link.
    pub(super) fn new_link(&self, number: QueueNumber) -> Option<(QueueRequest, CorrId)> {
        let made = self.make_link(number)?;
        let request = match &made.link.target {
            LinkTarget::Invitation(_) => QueueRequest::Messaging(Some(QueueLink {
                sender_id: made.sender_id,
                data: made.data,
            })),
            LinkTarget::Contact(_) => QueueRequest::Contact(Some(ContactLink {
                link_id: made.own.id.clone(),
                sender_id: made.sender_id,
                data: made.data,
            })),
        };
        Some((request, made.corr_id))
    }

    /// The link that is made with a queue: always the same.
    fn make_link(&self, number: QueueNumber) -> Option<MadeLink> {
        let (short, kind) = match &self.connection.record.stage {
            Stage::Creating { purpose } | Stage::Prepared { purpose } => match purpose {
                Purpose::Invitation { short, .. } => (short.as_ref()?, QueueMode::Messaging),
                Purpose::Address { short, .. } => (short.as_ref()?, QueueMode::Contact),
                Purpose::Request { .. } => return None,
            },
            Stage::Offered { .. }
            | Stage::Confirmed { .. }
            | Stage::Allowed { .. }
            | Stage::Joining { .. }
            | Stage::Handshake { .. }
            | Stage::Connected
            | Stage::Address
            | Stage::Failed => return None,
        };
        let mut rng = Rng::from_seed(short.seed);
        let corr_id = CorrId::from(rng.bytes::<24>());
        let sender_id = EntityId::from(derivation::sender_id(&corr_id));
        let queue = self.connection.receive_queue(number)?;
        let mut queue = queue.clone();
        queue.sender_id = sender_id.clone();
        let request = self.connection_request(&queue)?;
        let versions = self.shared.config.versions;
        let fixed = FixedData {
            versions,
            root_key: short.root.public_key(),
            request: wire::encode(&request, Version::default()),
        };
        let link_key = fixed.link_key();
        let (user, data_key) = match kind {
            QueueMode::Messaging => {
                let data = short.data.clone();
                let user = UserData::Invitation(InvitationData { versions, data });
                (user, link_key.invitation())
            }
            QueueMode::Contact => {
                let user = UserData::Contact(ContactData {
                    versions,
                    direct: true,
                    owners: List::default(),
                    relays: List::default(),
                    data: short.data.clone(),
                });
                (user, link_key.contact().data_key)
            }
        };
        let signed = SignedLinkData::sign(&fixed, &user, &short.root);
        let data = signed.seal(&data_key, &mut rng).ok()?;
        let router = queue.router.clone();
        let (id, target) = match kind {
            QueueMode::Messaging => {
                let link = InvitationShortLink {
                    router,
                    link_id: EntityId::EMPTY,
                    key: link_key.clone(),
                };
                (EntityId::EMPTY, LinkTarget::Invitation(link))
            }
            QueueMode::Contact => {
                let link = ContactShortLink {
                    kind: ContactLinkKind::Contact,
                    router,
                    key: link_key.clone(),
                };
                let id = EntityId::from(link_key.contact().link_id);
                (id, LinkTarget::Contact(link))
            }
        };
        let own = OwnLink {
            id,
            key: link_key,
            root: short.root.clone(),
            fixed: data.fixed.clone(),
            state: LinkState::Set,
        };
        let scheme = LinkScheme::Server;
        let link = ShortLink { scheme, target };
        Some(MadeLink {
            corr_id,
            sender_id,
            data,
            own,
            link,
        })
    }

    /// What a link to the queue says.
    pub(super) fn connection_request(&self, queue: &ReceiveQueue) -> Option<ConnectionRequest> {
        let (client_data, keys) = match &self.connection.record.stage {
            Stage::Creating { purpose } | Stage::Prepared { purpose } => match purpose {
                Purpose::Invitation {
                    client_data, keys, ..
                } => (client_data.clone(), Some(&**keys)),
                Purpose::Address { client_data, .. } => (client_data.clone(), None),
                Purpose::Request { keys, .. } => (None, Some(&**keys)),
            },
            Stage::Offered { keys } => (None, Some(keys)),
            Stage::Address => (None, None),
            Stage::Confirmed { .. }
            | Stage::Allowed { .. }
            | Stage::Joining { .. }
            | Stage::Handshake { .. }
            | Stage::Connected
            | Stage::Failed => return None,
        };
        let data = self.request_data(queue, client_data);
        Some(match keys {
            Some(keys) => {
                let keys = keys.uri(self.shared.config.ratchet_versions);
                ConnectionRequest::Invitation(data, Box::new(keys))
            }
            None => ConnectionRequest::Contact(data),
        })
    }

    fn request_data(&self, queue: &ReceiveQueue, client_data: Option<ClientData>) -> RequestData {
        RequestData {
            versions: self.shared.config.versions,
            queues: NonEmpty::one(QueueUri {
                versions: self.shared.config.client_versions,
                address: queue.address(),
                dh_key: queue.sender_dh_key.public_key(),
                mode: Some(queue.mode),
            }),
            client_data,
        }
    }

    /// A queue was made.
    pub(super) fn queue_made(&mut self, number: QueueNumber, ids: &QueueIds) {
        let made = self.make_link(number);
        let Some(queue) = self.receive_queue_mut(number) else {
            return;
        };
        if queue.status != ReceiveStatus::Creating {
            // It was made twice.
            let (router, key) = (queue.router.clone(), queue.key.clone());
            let (user, id) = (self.connection.record.user, &ids.recipient_id);
            return self
                .shared
                .delete_orphan(user, &router, id, &key, &mut self.actions);
        }
        queue.recipient_id = ids.recipient_id.clone();
        queue.sender_id = ids.sender_id.clone();
        queue.router_secret = Some(queue.router_key.agree(&ids.dh_key));
        queue.status = ReceiveStatus::Open;
        if ids.mode.is_none() {
            // A router that does not know modes has made a queue that its recipient secures.
            queue.mode = QueueMode::Contact;
        }
        if made
            .as_ref()
            .is_some_and(|made| made.sender_id != ids.sender_id)
        {
            let error = AgentError::internal("the router has chosen another sender id");
            return self.creation_failed(number, &error);
        }
        self.keep_queue(number, ids.service_id.clone());
        if self.connection.receiving == Receiving::AtOnce {
            self.subscribe_queue(number);
        }
        self.made_for_stage(number, made, ids);
    }

    fn made_for_stage(&mut self, number: QueueNumber, made: Option<MadeLink>, ids: &QueueIds) {
        let Stage::Creating { purpose } = self.connection.record.stage.clone() else {
            return self.rotation_queue_made(number);
        };
        let Some(queue) = self.connection.receive_queue(number).cloned() else {
            return;
        };
        let Some(request) = self.connection_request(&queue) else {
            return;
        };
        let short = made.map(|made| {
            let (mut own, mut link) = (made.own, made.link);
            if let (LinkTarget::Invitation(target), Some(id)) = (&mut link.target, &ids.link_id) {
                target.link_id = id.clone();
                own.id = id.clone();
            }
            self.connection.record.link = Some(own);
            link
        });
        let created = |link: ConnectionRequest, connection| Reply::Created {
            connection,
            link: Box::new(link),
            short: short.clone(),
        };
        let connection = self.connection.id.clone();
        match purpose {
            Purpose::Invitation { keys, pq, .. } => {
                let link = match pq.in_full_link().is_on() {
                    true => request,
                    false => request.without_kem(),
                };
                self.connection.record.stage = Stage::Offered { keys: *keys };
                self.answer_callers(&Ok(created(link, connection)));
            }
            Purpose::Address { .. } => {
                self.connection.record.stage = Stage::Address;
                self.answer_callers(&Ok(created(request, connection)));
            }
            Purpose::Request { keys, info, .. } => {
                self.connection.record.stage = Stage::Offered { keys: *keys };
                self.send_request_to_address(request, &info);
            }
        }
    }

    /// A queue cannot be made there: another router is tried, unless somebody waits for this one.
    pub(super) fn creation_failed(&mut self, number: QueueNumber, error: &AgentError) {
        let interactive = self
            .connection
            .callers
            .iter()
            .any(|caller| caller.mode == RequestMode::Interactive);
        if self.is_handed_out() {
            return self.publication_failed(number, interactive, error);
        }
        let creating = matches!(self.connection.record.stage, Stage::Creating { .. });
        if creating && (interactive || !error.is_temporary()) {
            self.answer_callers(&Err(error.clone()));
            return self.forget_connection();
        }
        if interactive {
            self.answer_callers(&Err(error.clone()));
        }
        let user = self.connection.record.user;
        let mut avoid: Vec<_> = self
            .connection
            .record
            .send
            .iter()
            .map(|queue| queue.address.router.clone())
            .collect();
        let Some(queue) = self.connection.receive_queue(number) else {
            return;
        };
        avoid.push(queue.router.clone());
        if let Ok(router) = self.shared.choose_router(user, &avoid)
            && let Some(queue) = self.receive_queue_mut(number)
        {
            queue.router = router;
        }
        self.failed_for_now(super::Task::Create(number), error);
    }

    fn is_handed_out(&self) -> bool {
        let Stage::Creating {
            purpose: Purpose::Address { short, .. },
        } = &self.connection.record.stage
        else {
            return false;
        };
        let handed_out = |short: &NewLink| short.handed_out == HandedOut::Yes;
        short.as_ref().is_some_and(handed_out)
    }

    /// The queue of a link that somebody may have cannot be made: nowhere else, but later.
    fn publication_failed(&mut self, number: QueueNumber, interactive: bool, error: &AgentError) {
        if !interactive && error.is_temporary() {
            return self.failed_for_now(super::Task::Create(number), error);
        }
        if let Stage::Creating { purpose } = self.connection.record.stage.clone() {
            self.connection.record.stage = Stage::Prepared { purpose };
        }
        self.answer_callers(&Err(error.clone()));
    }

    /// The link to an address whose queue is yet to be made at the first of the user's routers that comes.
    pub(in crate::agent) fn prepared(&mut self, number: QueueNumber) -> Result<Reply, AgentError> {
        let unmade = || AgentError::internal("link");
        let made = self.make_link(number).ok_or_else(unmade)?;
        let queue = self.receive_queue_mut(number).ok_or_else(unmade)?;
        queue.sender_id = made.sender_id;
        let queue = queue.clone();
        let link = self.connection_request(&queue).ok_or_else(unmade)?;
        Ok(Reply::Created {
            connection: self.connection.id.clone(),
            link: Box::new(link),
            short: Some(made.link),
        })
    }

    /// The queue of a link that was handed out is to be made.
    pub(in crate::agent) fn publish(
        &mut self,
        caller: super::Caller,
        receiving: Receiving,
    ) -> Result<(), AgentError> {
        let Stage::Prepared { purpose } = self.connection.record.stage.clone() else {
            return Err(AgentError::prohibited("createConnectionForLink"));
        };
        self.connection.record.stage = Stage::Creating { purpose };
        self.connection.receiving = receiving;
        self.connection.callers.push(caller);
        Ok(())
    }

    /// The connection is another user's from now on.
    pub(in crate::agent) fn change_user(
        &mut self,
        user: crate::smp::pool::UserId,
    ) -> Result<(), AgentError> {
        let alone = match self.connection.record.stage {
            Stage::Prepared { .. } | Stage::Offered { .. } | Stage::Address => {
                self.connection.record.send.is_empty()
            }
            Stage::Creating { .. }
            | Stage::Confirmed { .. }
            | Stage::Allowed { .. }
            | Stage::Joining { .. }
            | Stage::Handshake { .. }
            | Stage::Connected
            | Stage::Failed => false,
        };
        if !alone || self.connection.record.deleting.is_some() {
            return Err(AgentError::prohibited("changeConnectionUser"));
        }
        if !self.shared.users.contains_key(&user) {
            return Err(AgentError::NoUser);
        }
        let queues: Vec<_> = self.connection.record.receive.iter().cloned().collect();
        for queue in queues {
            let id = &queue.recipient_id;
            let subscribed = self.shared.index.get(&queue.router, id).is_some();
            self.forget_queue(&queue);
            self.connection.record.user = user;
            if !id.is_empty() {
                self.keep_queue(queue.number, None);
            }
            if subscribed {
                self.subscribe_queue(queue.number);
            }
        }
        self.connection.record.user = user;
        Ok(())
    }

    /// Others can find the connection by its queue.
    fn keep_queue(&mut self, number: QueueNumber, service: Option<EntityId>) {
        let Some(queue) = self.connection.receive_queue(number) else {
            return;
        };
        let record = QueueRecord {
            user: self.connection.record.user,
            connection: self.connection.id.clone(),
            router: queue.router.clone(),
            recipient_id: queue.recipient_id.clone(),
            key: queue.key.clone(),
            service,
        };
        if record.service.is_some() {
            let (router, id) = (&record.router, &record.recipient_id);
            let session = self.shared.session(record.user, router, id);
            self.shared.services.add(&session, id);
        }
        let key = Key::queue(&queue.router, &queue.recipient_id);
        self.put(key, &record);
    }

    /// The connection is not found by this queue any more.
    pub(super) fn forget_queue(&mut self, queue: &ReceiveQueue) {
        if queue.recipient_id.is_empty() {
            return;
        }
        let key = Key::queue(&queue.router, &queue.recipient_id);
        self.changes.push(Change::Delete(key));
        let user = self.connection.record.user;
        let session = self
            .shared
            .session(user, &queue.router, &queue.recipient_id);
        self.shared.index.remove(&queue.router, &queue.recipient_id);
        self.actions
            .push(crate::agent::machine::Action::Network(Call::Unsubscribe {
                session,
                queues: vec![queue.recipient_id.clone()],
            }));
    }

    /// Receives from a queue.
    pub(super) fn subscribe_queue(&mut self, number: QueueNumber) {
        let Some(queue) = self.connection.receive_queue(number) else {
            return;
        };
        let user = self.connection.record.user;
        let session = self
            .shared
            .session(user, &queue.router, &queue.recipient_id);
        let subscription = Subscription {
            queue: queue.recipient_id.clone(),
            role: SubscriberRole::Recipient,
            key: std::sync::Arc::new(queue.key.clone()),
        };
        let (router, recipient_id) = (queue.router.clone(), queue.recipient_id.clone());
        self.shared
            .index
            .insert(&router, &recipient_id, &self.connection.id);
        self.actions
            .push(crate::agent::machine::Action::Network(Call::Subscribe {
                session,
                subscriptions: vec![subscription],
            }));
    }

    /// Receives from all queues.
    pub(in crate::agent) fn subscribe(&mut self) {
        let queues: Vec<_> = self
            .connection
            .record
            .receive
            .iter()
            .filter(|queue| !queue.recipient_id.is_empty())
            .filter(|queue| {
                !matches!(
                    queue.status,
                    ReceiveStatus::Deleting { .. }
                        | ReceiveStatus::Suspending
                        | ReceiveStatus::Suspended
                )
            })
            .map(|queue| queue.number)
            .collect();
        for number in queues {
            self.subscribe_queue(number);
        }
    }

    /// A new short link for the stage.
    pub(in crate::agent) fn new_short_link(&mut self, data: Large) -> NewLink {
        let rng = &mut self.shared.rng;
        NewLink {
            root: ed25519::PrivateKey::generate(rng),
            data,
            seed: rng.bytes(),
            handed_out: HandedOut::No,
        }
    }

    /// Which side of the handshake this is.
    pub(super) const fn side(&self) -> Option<Side> {
        match self.connection.record.stage {
            Stage::Handshake { side } => Some(side),
            Stage::Creating { .. }
            | Stage::Prepared { .. }
            | Stage::Offered { .. }
            | Stage::Confirmed { .. }
            | Stage::Allowed { .. }
            | Stage::Joining { .. }
            | Stage::Connected
            | Stage::Address
            | Stage::Failed => None,
        }
    }
}
