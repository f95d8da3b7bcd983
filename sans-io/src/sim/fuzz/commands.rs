//! Commands that a client of a fuzzed router sends, authorised by hand: well, badly or not at all.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use super::choices::Choices;
use super::session::{Keys, entity};
use crate::crypto::{AuthPrivateKey, Authenticator, Nonce, Signature, ed25519};
use crate::rng::Rng;
use crate::smp::client::Established;
use crate::smp::proxy::{Forwarded, RelaySession};
use crate::smp::server::QueueKeys;
use crate::smp::transmission::{Authorization, Session, Unauthorized};
use crate::smp::{Command, MsgFlags, QueueMode, ServiceQueues};
use crate::wire::{CorrId, EntityId, Sample};

/// Makes commands for one session.
pub(super) struct Commands<'a> {
    established: &'a Established,
    keys: KeysUsed,
    sent: u64,
}

/// Which keys authorise commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeysUsed {
    /// Those of the queues, mostly.
    Own,
    /// Never those of any queue.
    Strange,
}

impl<'a> Commands<'a> {
    pub(super) const fn new(established: &'a Established, keys: KeysUsed) -> Self {
        Self {
            established,
            keys,
            sent: 0,
        }
    }

    /// A transmission, and its correlation id, which no other one has.
    pub(super) fn next(&mut self, choices: &mut Choices<'_>) -> (CorrId, Bytes) {
        let mut id = BytesMut::new();
        id.put_u64(self.sent);
        id.put_slice(b"of a transmission");
        self.sent = self.sent.saturating_add(1);
        let mut corr_id = [0; 24];
        corr_id.iter_mut().zip(id).for_each(|(to, from)| *to = from);
        let corr_id = CorrId::from(corr_id);
        let manner = choices.byte();
        let transmission = match manner & 7 {
            0 => self.forwarded(&corr_id, choices),
            _ => None,
        };
        let transmission = transmission.unwrap_or_else(|| {
            let (entity_id, command) = (entity(choices), self.command(choices));
            let session = &self.established.session;
            self.direct(session, &corr_id, &entity_id, &command, manner)
        });
        (corr_id, transmission)
    }

    fn command(&self, choices: &mut Choices<'_>) -> Command {
        let version = self.established.session.version;
        let command = match choices.below(12) {
            0 => Command::Ping,
            1 => Command::Sub,
            2 => Command::Get,
            3 => Command::Send {
                flags: MsgFlags {
                    notification: choices.coin(),
                },
                body: vec![7; usize::from(choices.word() >> 2)].into(),
            },
            4 => Command::NSub,
            5 => Command::Subs(ServiceQueues::default()),
            6 => Command::NSubs(ServiceQueues::default()),
            7 => Command::Del,
            8 => Command::LGet,
            _ => Command::sample(version, &mut choices.rng()),
        };
        match (self.keys, &command) {
            // Whoever knows a link may read it: it says whether it exists.
            (KeysUsed::Strange, Command::LGet) => Command::Que,
            (KeysUsed::Strange | KeysUsed::Own, _) => command,
        }
    }

    fn direct(
        &self,
        session: &Session,
        corr_id: &CorrId,
        entity_id: &EntityId,
        command: &Command,
        manner: u8,
    ) -> Bytes {
        let unauthorized = Unauthorized::new(session, corr_id, entity_id, command);
        let authorized = unauthorized.authorized();
        let service = self.established.service.as_ref();
        let in_its_name = matches!(command, Command::New(_) | Command::Sub | Command::NSub);
        let (authorization, service_signature) = match (command, service) {
            (Command::Subs(_) | Command::NSubs(_), Some(service)) => {
                let signature = Signature::Ed25519(service.key.sign(authorized));
                (Some(Authorization::Signature(signature)), None)
            }
            (_, Some(service)) if in_its_name && manner >> 3 & 3 != 0 => {
                let bound = [service.fingerprint.as_bytes(), &**authorized].concat();
                let authorization = self.authorize(corr_id, entity_id, &bound, manner);
                (authorization, Some(service.key.sign(authorized)))
            }
            _ if manner >> 3 & 3 == 3 => {
                let stranger = ed25519::PrivateKey::generate(&mut Rng::from_seed([5; 32]));
                let authorization = self.authorize(corr_id, entity_id, authorized, manner);
                (authorization, Some(stranger.sign(authorized)))
            }
            _ => (self.authorize(corr_id, entity_id, authorized, manner), None),
        };
        unauthorized.authorize(session, authorization.as_ref(), service_signature.as_ref())
    }

    fn authorize(
        &self,
        corr_id: &CorrId,
        entity_id: &EntityId,
        authorized: &[u8],
        manner: u8,
    ) -> Option<Authorization> {
        let key = match (self.keys, manner >> 5) {
            (_, 0) => return None,
            (KeysUsed::Own, 1) => Keys::of_strangers().of(entity_id),
            (KeysUsed::Own, _) => Keys::all().of(entity_id),
            (KeysUsed::Strange, index) => Keys::of_strangers().get(index.into()),
        };
        Some(match &**key? {
            AuthPrivateKey::Ed25519(key) => {
                Authorization::Signature(Signature::Ed25519(key.sign(authorized)))
            }
            AuthPrivateKey::Ed448(key) => {
                Authorization::Signature(Signature::Ed448(key.sign(authorized)))
            }
            AuthPrivateKey::X25519(key) => {
                let router = self.established.router.as_ref()?;
                let (secret, nonce) = (key.agree(&router.session_key), Nonce::from_bytes(corr_id));
                Authorization::Authenticator(Authenticator::new(&secret, &nonce, authorized))
            }
        })
    }

    /// A command of somebody else, as a proxy forwards it.
    fn forwarded(&self, rfwd: &CorrId, choices: &mut Choices<'_>) -> Option<Bytes> {
        let session = self.established.session.clone();
        let key = self.established.router.as_ref()?.session_key;
        let relay = RelaySession {
            session: session.clone(),
            key,
        };
        let (corr_id, entity_id) = (CorrId::from([7; 24]), entity(choices));
        let (command, manner) = (self.command(choices), choices.byte());
        let inner = self.direct(&session, &corr_id, &entity_id, &command, manner & 0xe7);
        let mut rng = Rng::from_seed([6; 32]);
        let (command, _) = relay.seal(&inner, &corr_id, &mut rng).ok()?;
        let Command::Pfwd {
            version,
            key,
            encrypted,
        } = command
        else {
            return None;
        };
        let forwarded = Forwarded {
            corr_id,
            version,
            key,
            encrypted,
        };
        let secret = self.established.secret.as_ref()?;
        let encrypted = forwarded.encrypt(secret.shared(), rfwd);
        let command = Command::Rfwd { encrypted };
        let outer = Unauthorized::new(&session, rfwd, &EntityId::EMPTY, &command);
        Some(outer.authorize(&session, None, None))
    }
}

/// What the router knows of a queue whose commands are authorised by the key of that entity.
pub(super) fn queue(entity_id: &EntityId, manner: u8) -> Option<Arc<QueueKeys>> {
    let key = Keys::all().of(entity_id)?.public_key();
    Some(Arc::new(QueueKeys {
        version: manner.into(),
        recipients: vec![key],
        sender: (manner & 1 == 0).then_some(key),
        notifier: Some(key),
        mode: match manner & 6 {
            0 => None,
            2 => Some(QueueMode::Contact),
            _ => Some(QueueMode::Messaging),
        },
    }))
}
