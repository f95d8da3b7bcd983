//! The blocks that a session works on: what their transmissions ask for, and how far each is.

use std::sync::Arc;

use bytes::Bytes;

use super::answer::{Answer, Say};
use super::tally::Tally;
use super::verify::{Claim, Lookup, Party, QueueKeys, Verdict, Verifier};
use super::{BlockId, Request};
use crate::crypto::certificate::Fingerprint;
use crate::crypto::x25519::SharedSecret;
use crate::crypto::{AuthPublicKey, Signature, ed25519};
use crate::smp::handshake::ServiceRole;
use crate::smp::handshake::router::Established;
use crate::smp::proxy::{Forwarded, ForwardedResponse, SealedFor};
use crate::smp::transmission::{Authorization, Authorized, Session, Transmission};
use crate::smp::{BrokerMessage, Command, CommandError, ErrorType};
use crate::wire::{CorrId, EntityId};

/// A block that is being worked on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) id: BlockId,
    items: Vec<Item>,
    pub(super) stage: Stage,
}

/// How far a block is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The keys of its queues are being looked up.
    Lookup,
    /// Verified; blocks before it are not yet.
    Verified,
    /// Its requests are being executed.
    Execution,
}

/// One transmission of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    corr_id: CorrId,
    entity_id: EntityId,
    /// Who may read the response, if the transmission was forwarded.
    forwarded: Option<Box<ForwardedBy>>,
    state: ItemState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum ItemState {
    /// It needs no more work.
    Answered(Box<Answer>),
    /// It is not authorised to do anything to a queue.
    Refused(Box<Lookup>),
    /// It waits for the keys of its queue, if it has one.
    Claimed(Box<Claimed>),
    /// It may be executed, or is.
    Authorized(Box<Request>),
    /// It is being executed.
    Executing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claimed {
    request: Request,
    authorization: Option<Authorization>,
    authorized: Authorized,
    lookup: Option<Lookup>,
    /// Keys that do not authorise it.
    refuted: Option<Arc<QueueKeys>>,
}

/// The layers around a forwarded transmission.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ForwardedBy {
    rfwd: CorrId,
    secret: SharedSecret,
    corr_id: CorrId,
    session: Session,
    response: SealedFor,
    inner_entity: EntityId,
}

impl Block {
    /// Takes the transmissions of a block apart, as far as it goes without keys.
    pub(super) fn parse(id: BlockId, established: &Established, transmissions: &[Bytes]) -> Self {
        let items = transmissions
            .iter()
            .map(|bytes| Item::parse(established, bytes))
            .collect();
        Self {
            id,
            items,
            stage: Stage::Lookup,
        }
    }

    /// The queues whose keys are needed, in the order of the transmissions.
    pub(super) fn lookups(&self) -> Vec<Lookup> {
        self.items
            .iter()
            .filter_map(|item| match &item.state {
                ItemState::Claimed(claimed) => claimed.lookup.clone(),
                ItemState::Answered(_)
                | ItemState::Refused(_)
                | ItemState::Authorized(_)
                | ItemState::Executing => None,
            })
            .collect()
    }

    /// The queue of a block that does nothing but receive from one, or send to it.
    pub(super) fn of_one_queue(&self) -> Option<&Lookup> {
        let mut claimed = self.items.iter().filter_map(|item| match &item.state {
            ItemState::Claimed(claimed) => Some(claimed),
            ItemState::Answered(_)
            | ItemState::Refused(_)
            | ItemState::Authorized(_)
            | ItemState::Executing => None,
        });
        let (Some(one), None) = (claimed.next(), claimed.next()) else {
            return None;
        };
        let lookup = one.lookup.as_ref()?;
        let is_send = matches!(one.request.command, Command::Send { .. });
        (is_send || lookup.party == Party::Recipient).then_some(lookup)
    }

    /// Verifies the only transmission with keys that may be out of date. If they do not authorise it, others are looked up.
    pub(super) fn try_keys(
        &mut self,
        keys: &Arc<QueueKeys>,
        service: Option<&Fingerprint>,
        verifier: &mut Verifier<'_>,
    ) {
        for item in &mut self.items {
            let ItemState::Claimed(claimed) = &mut item.state else {
                continue;
            };
            let bound = claimed.bound(service.filter(|_| item.forwarded.is_none()));
            let verdict = claimed.verdict(Some(keys), &bound, verifier);
            if verdict.holds(&bound) {
                item.state = claimed.authorized_by(verdict.key());
                self.stage = Stage::Verified;
            } else {
                claimed.refuted = Some(Arc::clone(keys));
            }
        }
    }

    /// Verifies the transmissions with the keys that were looked up, in the order of the look-ups: what was not authorised.
    pub(super) fn verify(
        &mut self,
        queues: &[Option<Arc<QueueKeys>>],
        service: Option<&Fingerprint>,
        verifier: &mut Verifier<'_>,
    ) -> Tally {
        let mut queues = queues.iter();
        let mut verdicts = Vec::with_capacity(self.items.len());
        for item in &self.items {
            let ItemState::Claimed(claimed) = &item.state else {
                continue;
            };
            let queue = match claimed.lookup {
                None => None,
                Some(_) => queues.next().and_then(Option::as_ref),
            };
            let bound = claimed.bound(service.filter(|_| item.forwarded.is_none()));
            let verdict = claimed.verdict(queue, &bound, verifier);
            verdicts.push((verdict, bound));
        }
        // Most blocks have valid signatures only, which are cheaper to verify together.
        let signed = verdicts
            .iter()
            .filter_map(|(verdict, bound)| verdict.signed(bound))
            .collect::<Vec<_>>();
        let all_signed = ed25519::verify_all(&signed);
        let is_single = signed.len() == 1;
        let mut verdicts = verdicts.iter();
        let mut tally = Tally::default();
        for item in &mut self.items {
            let ItemState::Claimed(claimed) = &mut item.state else {
                continue;
            };
            let Some((verdict, bound)) = verdicts.next() else {
                break;
            };
            let authorized = match all_signed {
                true => verdict.holds_if_signed(),
                // It was this one, and costs no more than if it had been tried with keys that were known.
                false if is_single && verdict.signed(bound).is_some() => false,
                false => verdict.holds(bound),
            };
            item.state = match authorized {
                false => {
                    tally.refused(&claimed.request.command);
                    match claimed.lookup.take() {
                        Some(lookup) => ItemState::Refused(Box::new(lookup)),
                        None => ItemState::answered(ErrorType::Auth),
                    }
                }
                true => claimed.authorized_by(verdict.key()),
            };
        }
        self.stage = Stage::Verified;
        tally
    }

    /// How many of the transmissions were forwarded.
    pub(super) fn forwarded(&self) -> u64 {
        let forwarded = self.items.iter().filter(|item| item.forwarded.is_some());
        u64::try_from(forwarded.count()).unwrap_or(u64::MAX)
    }

    /// Whether anything is authorised.
    pub(super) fn has_requests(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item.state, ItemState::Authorized(_)))
    }

    /// Whether the owner has anything to do with it.
    pub(super) fn concerns_owner(&self) -> bool {
        self.items
            .iter()
            .any(|item| matches!(item.state, ItemState::Authorized(_) | ItemState::Refused(_)))
    }

    /// The requests that may be executed, in order, and the queues on which others may not.
    pub(super) fn execute(&mut self) -> (Vec<Request>, Box<[Lookup]>) {
        self.stage = Stage::Execution;
        let (mut requests, mut refused) = (Vec::new(), Vec::new());
        for item in &mut self.items {
            item.state = match std::mem::replace(&mut item.state, ItemState::Executing) {
                ItemState::Authorized(request) => {
                    requests.push(*request);
                    ItemState::Executing
                }
                ItemState::Refused(lookup) => {
                    refused.push(*lookup);
                    ItemState::answered(ErrorType::Auth)
                }
                other @ (ItemState::Answered(_) | ItemState::Claimed(_) | ItemState::Executing) => {
                    other
                }
            };
        }
        (requests, refused.into())
    }

    /// The transmissions of the responses, in the order of the requests, then of what follows them.
    pub(super) fn respond(self, session: &Session, answers: Vec<Answer>) -> Vec<Bytes> {
        let mut answers = answers.into_iter();
        let mut then = Vec::new();
        let mut transmissions = Vec::with_capacity(self.items.len());
        for item in self.items {
            let answer = match item.state {
                ItemState::Answered(answer) => *answer,
                ItemState::Executing
                | ItemState::Claimed(_)
                | ItemState::Authorized(_)
                | ItemState::Refused(_) => answers
                    .next()
                    .unwrap_or_else(|| Answer::from(ErrorType::Internal)),
            };
            then.extend(answer.then);
            transmissions.push(match &item.forwarded {
                None => answer
                    .response
                    .respond(session, &item.corr_id, &item.entity_id),
                Some(forwarded) => forwarded.respond(session, answer.response),
            });
        }
        let then = then
            .into_iter()
            .map(|(entity_id, say)| say.announce(session, &entity_id));
        transmissions.extend(then);
        transmissions
    }
}

impl Item {
    fn parse(established: &Established, bytes: &Bytes) -> Self {
        let session = &established.session;
        let transmission = match Transmission::parse(session, bytes) {
            Ok(transmission) => transmission,
            Err(malformed) => {
                return Self {
                    corr_id: malformed.corr_id,
                    entity_id: EntityId::EMPTY,
                    forwarded: None,
                    state: ItemState::answered(malformed.error),
                };
            }
        };
        let (forwarded, state) = match Self::claim(established, &transmission) {
            Ok(Asked::Direct(claimed)) => (None, claimed.state()),
            Ok(Asked::Forwarded(forwarded, Ok(claimed))) => (Some(forwarded), claimed.state()),
            Ok(Asked::Forwarded(forwarded, Err(error))) => {
                (Some(forwarded), ItemState::answered(error))
            }
            Err(error) => (None, ItemState::answered(error)),
        };
        Self {
            corr_id: transmission.corr_id,
            entity_id: transmission.entity_id,
            forwarded,
            state,
        }
    }

    fn claim(established: &Established, transmission: &Transmission) -> Result<Asked, ErrorType> {
        let session = &established.session;
        let command = transmission.parse_command(session.version)?;
        check_role(established, &command)?;
        check_service(established, transmission, &command)?;
        if let Command::Rfwd { encrypted } = &command {
            return unwrap_forwarded(established, &transmission.corr_id, encrypted);
        }
        Ok(Asked::Direct(Claimed::new(session, transmission, command)))
    }
}

/// What a transmission claims, for itself or for a client behind a proxy.
enum Asked {
    Direct(Claimed),
    Forwarded(Box<ForwardedBy>, Result<Claimed, ErrorType>),
}

impl ItemState {
    fn answered(error: ErrorType) -> Self {
        Self::Answered(Box::new(error.into()))
    }
}

impl Claimed {
    fn new(session: &Session, transmission: &Transmission, command: Command) -> Self {
        let party = Party::of(&command);
        Self {
            lookup: party.map(|party| Lookup {
                party,
                id: transmission.entity_id.clone(),
            }),
            authorization: transmission.authorization.clone(),
            authorized: transmission.authorized(session),
            request: Request {
                corr_id: transmission.corr_id.clone(),
                entity_id: transmission.entity_id.clone(),
                command,
                version: session.version,
                key: None,
            },
            refuted: None,
        }
    }

    /// What must be signed: a service signs in its own name, but not what it forwards.
    fn bound(&self, service: Option<&Fingerprint>) -> Authorized {
        match service {
            Some(fingerprint) if uses_service(&self.request.command) => {
                self.authorized.after(fingerprint.as_bytes())
            }
            Some(_) | None => self.authorized.clone(),
        }
    }

    /// Keys that were tried before are not tried again, nor is it tried again whether there are any.
    fn verdict(
        &self,
        queue: Option<&Arc<QueueKeys>>,
        bound: &Authorized,
        verifier: &mut Verifier<'_>,
    ) -> Verdict {
        if let Some(refuted) = &self.refuted
            && queue.is_none_or(|queue| self.is_as_good(refuted, queue))
        {
            return Verdict::Unauthorized;
        }
        let claim = Claim {
            authorization: self.authorization.as_ref(),
            corr_id: &self.request.corr_id,
            authorized: bound,
        };
        verifier.verify(&self.request.command, queue, &claim)
    }

    /// Whether keys authorise it if and only if others do.
    fn is_as_good(&self, keys: &QueueKeys, others: &QueueKeys) -> bool {
        match self.lookup.as_ref().map(|lookup| lookup.party) {
            Some(Party::Recipient) => keys.recipients == others.recipients,
            Some(Party::Sender | Party::Link) => {
                (keys.sender, keys.mode) == (others.sender, others.mode)
            }
            Some(Party::Notifier) => keys.notifier == others.notifier,
            None => true,
        }
    }

    fn authorized_by(&self, key: Option<AuthPublicKey>) -> ItemState {
        ItemState::Authorized(Box::new(Request {
            key,
            ..self.request.clone()
        }))
    }

    /// The router answers PING by itself.
    fn state(self) -> ItemState {
        if self.request.command == Command::Ping {
            return ItemState::Answered(Box::new(BrokerMessage::Pong.into()));
        }
        ItemState::Claimed(Box::new(self))
    }
}

/// The role of a service must be that of the command's party (`smp.md` 3.3).
fn check_role(established: &Established, command: &Command) -> Result<(), ErrorType> {
    let needed = match command {
        Command::Ping => return Ok(()),
        Command::NSub | Command::NSubs(_) => ServiceRole::Notifier,
        Command::Rfwd { .. } => ServiceRole::Proxy,
        Command::New(_)
        | Command::Sub
        | Command::Subs(_)
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
        | Command::SKey(_)
        | Command::Send { .. }
        | Command::LKey(_)
        | Command::LGet
        | Command::Prxy { .. }
        | Command::Pfwd { .. }
        | Command::Rslv { .. } => ServiceRole::Messaging,
    };
    match &established.service {
        Some(service) if service.role != needed => {
            Err(ErrorType::command(CommandError::Prohibited))
        }
        Some(_) | None => Ok(()),
    }
}

/// The service signs what it does in its name, and nothing else (`smp.md` 3.3).
fn check_service(
    established: &Established,
    transmission: &Transmission,
    command: &Command,
) -> Result<(), ErrorType> {
    let authorized = || transmission.authorized(&established.session).to_bytes();
    let service = established.service.as_ref();
    let valid = match (command, service, &transmission.service_signature) {
        (Command::Subs(_) | Command::NSubs(_), Some(service), None) => {
            let of_service = *transmission.entity_id == *service.id;
            let signed = match &transmission.authorization {
                Some(Authorization::Signature(signature)) => {
                    super::verify::service_signed(&service.key, signature, &authorized())
                }
                Some(Authorization::Authenticator(_)) | None => false,
            };
            signed && of_service
        }
        (Command::Subs(_) | Command::NSubs(_), _, _) => false,
        (command, Some(service), Some(signature)) if uses_service(command) => {
            let signature = Signature::Ed25519(*signature);
            super::verify::service_signed(&service.key, &signature, &authorized())
        }
        (command, service, signature) => {
            signature.is_none() && (service.is_none() || !uses_service(command))
        }
    };
    valid.then_some(()).ok_or(ErrorType::Service)
}

/// Commands that a service does in its own name.
const fn uses_service(command: &Command) -> bool {
    matches!(command, Command::New(_) | Command::Sub | Command::NSub)
}

/// Opens both layers. What is wrong inside is answered inside.
fn unwrap_forwarded(
    established: &Established,
    rfwd: &CorrId,
    encrypted: &Bytes,
) -> Result<Asked, ErrorType> {
    let secret = established.secret.as_ref().ok_or(ErrorType::Crypto)?;
    let forwarded = Forwarded::decrypt(secret.shared(), rfwd, encrypted)?;
    let (bytes, response) = forwarded.open(&established.session_key)?;
    let session = Session {
        version: forwarded.version,
        id: established.session.id.clone(),
    };
    let by = |inner_entity| {
        Box::new(ForwardedBy {
            rfwd: rfwd.clone(),
            secret: secret.shared().clone(),
            corr_id: forwarded.corr_id.clone(),
            session: session.clone(),
            response: response.clone(),
            inner_entity,
        })
    };
    Ok(match Transmission::parse(&session, &bytes) {
        Err(malformed) => Asked::Forwarded(by(EntityId::EMPTY), Err(malformed.error)),
        Ok(inner) => {
            let claimed = inner
                .parse_command(session.version)
                .and_then(forwardable)
                .map(|command| Claimed::new(&session, &inner, command));
            Asked::Forwarded(by(inner.entity_id), claimed)
        }
    })
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the list is of what is allowed"
)]
fn forwardable(command: Command) -> Result<Command, ErrorType> {
    match command {
        Command::Send { .. }
        | Command::SKey(_)
        | Command::LKey(_)
        | Command::LGet
        | Command::Rslv { .. } => Ok(command),
        _ => Err(ErrorType::command(CommandError::Prohibited)),
    }
}

impl ForwardedBy {
    fn respond(&self, session: &Session, response: Say) -> Bytes {
        let inner = response.respond(&self.session, &self.corr_id, &self.inner_entity);
        let outer = match self.response.seal(&inner) {
            Err(_) => BrokerMessage::Err(ErrorType::LargeMsg),
            Ok(encrypted) => {
                let response = ForwardedResponse {
                    corr_id: self.corr_id.clone(),
                    encrypted,
                };
                BrokerMessage::RRes {
                    encrypted: response.encrypt(&self.secret, &self.rfwd),
                }
            }
        };
        Say::Message(outer).respond(session, &self.rfwd, &EntityId::EMPTY)
    }
}
