//! Whether a transmission is authorised, in time that does not tell why it is not.
//!
//! A queue that does not exist, a key of another algorithm and a wrong signature cost the same: one verification of the kind that the
//! transmission asks for, against a key that nobody has if need be (`smp.md` 5.3, 9.4).

use std::sync::{Arc, LazyLock};

use crate::crypto::{
    AuthPublicKey, AuthorizedHash, Nonce, Signature, VerifyingKey, ed448, ed25519, x25519,
};
use crate::rng::Rng;
use crate::smp::transmission::{Authorization, Authorized};
use crate::smp::{Command, QueueMode};
use crate::wire::{CorrId, EntityId};

/// What a router knows of a queue that it needs to authorise commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueKeys {
    /// Changes whenever the keys do.
    pub version: u64,
    /// The keys of the recipients.
    pub recipients: Vec<AuthPublicKey>,
    /// The key of the sender, once the queue is secured.
    pub sender: Option<AuthPublicKey>,
    /// The key of the notifier.
    pub notifier: Option<AuthPublicKey>,
    /// The kind of the queue; old ones have none.
    pub mode: Option<QueueMode>,
}

/// A queue to look up, by one of its ids.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lookup {
    /// Whose id it is.
    pub party: Party,
    /// The id.
    pub id: EntityId,
}

/// Who may have an id of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// The one who receives.
    Recipient,
    /// The one who sends.
    Sender,
    /// The one who is told of messages.
    Notifier,
    /// The one who has the link.
    Link,
}

impl Party {
    /// Who sends a command, if it is about a queue that exists.
    #[must_use]
    pub const fn of(command: &Command) -> Option<Self> {
        match command {
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
            | Command::Que => Some(Self::Recipient),
            Command::Send { .. } | Command::SKey(_) => Some(Self::Sender),
            Command::LKey(_) | Command::LGet => Some(Self::Link),
            Command::NSub => Some(Self::Notifier),
            Command::New(_)
            | Command::Subs(_)
            | Command::NSubs(_)
            | Command::Ping
            | Command::Prxy { .. }
            | Command::Pfwd { .. }
            | Command::Rfwd { .. }
            | Command::Rslv { .. } => None,
        }
    }
}

/// How much work verification was: the same for every answer that must not be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Work {
    /// Signatures and authenticators that were verified.
    pub verifications: u64,
    /// Queues that were looked up.
    pub lookups: u64,
}

/// The verdict on a transmission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// By this key, or by none where none is needed.
    Authorized(Option<AuthPublicKey>),
    Unauthorized,
    /// If this signature of what is authorised is valid. Whoever has signed with the key of nobody is not authorised all the same.
    IfSigned {
        key: ed25519::PublicKey,
        signature: ed25519::Signature,
        by: Signer,
    },
}

/// Whose key a signature is verified with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signer {
    /// One who may.
    Known,
    /// Nobody: so that it takes as long.
    Nobody,
}

impl Verdict {
    /// The key that authorises, if it does.
    pub(super) fn key(&self) -> Option<AuthPublicKey> {
        match self {
            Self::Authorized(key) => *key,
            Self::Unauthorized => None,
            Self::IfSigned { key, .. } => Some(AuthPublicKey::Ed25519(*key)),
        }
    }

    /// Whether it is favourable for what is authorised.
    pub(crate) fn holds(&self, authorized: &Authorized) -> bool {
        let valid = self
            .signed(authorized)
            .is_none_or(|signed| signed.verify().is_ok());
        valid && self.holds_if_signed()
    }

    /// The signature that it depends on.
    pub(super) fn signed<'a>(&'a self, authorized: &'a Authorized) -> Option<ed25519::Signed<'a>> {
        match self {
            Self::Authorized(_) | Self::Unauthorized => None,
            Self::IfSigned { key, signature, .. } => Some(ed25519::Signed {
                key,
                signature,
                message: authorized.parts(),
            }),
        }
    }

    /// Whether it is favourable if all signatures are valid.
    pub(super) const fn holds_if_signed(&self) -> bool {
        match self {
            Self::Authorized(_) => true,
            Self::Unauthorized => false,
            Self::IfSigned { by, .. } => matches!(by, Signer::Known),
        }
    }
}

/// Verifies transmissions of one session.
pub(crate) struct Verifier<'a> {
    pub(crate) session_key: &'a x25519::PrivateKey,
    pub(crate) work: &'a mut Work,
}

/// What is to be verified.
pub(crate) struct Claim<'a> {
    pub(crate) authorization: Option<&'a Authorization>,
    pub(crate) corr_id: &'a CorrId,
    pub(crate) authorized: &'a Authorized,
}

impl Verifier<'_> {
    /// Whether a command may be executed on a queue, or on none.
    pub(super) fn verify(
        &mut self,
        command: &Command,
        queue: Option<&Arc<QueueKeys>>,
        claim: &Claim<'_>,
    ) -> Verdict {
        match command {
            Command::New(new) => self.key(Some(&new.auth_key), claim),
            Command::Send { .. } => self.sender(queue, claim),
            Command::SKey(key) | Command::LKey(key) => self.secures(key, queue, claim),
            Command::LGet => match queue {
                Some(_) => Verdict::Authorized(None),
                None => Verdict::Unauthorized,
            },
            Command::NSub => self.key(queue.and_then(|queue| queue.notifier.as_ref()), claim),
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
            | Command::Que => self.recipient(queue, claim),
            Command::Subs(_)
            | Command::NSubs(_)
            | Command::Ping
            | Command::Prxy { .. }
            | Command::Pfwd { .. }
            | Command::Rfwd { .. }
            | Command::Rslv { .. } => Verdict::Authorized(None),
        }
    }

    /// Any key of the recipients will do.
    fn recipient(&mut self, queue: Option<&Arc<QueueKeys>>, claim: &Claim<'_>) -> Verdict {
        let fits = |key: &&AuthPublicKey| {
            claim
                .authorization
                .is_some_and(|authorization| can_verify(key, authorization))
        };
        let mut keys = queue
            .iter()
            .flat_map(|queue| &queue.recipients)
            .filter(fits);
        let mut verdict = self.key(keys.next(), claim);
        for key in keys {
            if verdict.holds(claim.authorized) {
                return Verdict::Authorized(verdict.key());
            }
            verdict = self.key(Some(key), claim);
        }
        verdict
    }

    /// Until a queue is secured anybody may send, without an authorization.
    fn sender(&mut self, queue: Option<&Arc<QueueKeys>>, claim: &Claim<'_>) -> Verdict {
        match (queue.map(|queue| &queue.sender), claim.authorization) {
            (Some(None), None) => Verdict::Authorized(None),
            (Some(Some(key)), _) => self.key(Some(key), claim),
            (Some(None) | None, _) => self.key(None, claim),
        }
    }

    /// The sender of a messaging queue may set its key once, and again the same.
    fn secures(
        &mut self,
        key: &AuthPublicKey,
        queue: Option<&Arc<QueueKeys>>,
        claim: &Claim<'_>,
    ) -> Verdict {
        let may = queue.is_some_and(|queue| {
            queue.mode == Some(QueueMode::Messaging)
                && queue.sender.as_ref().is_none_or(|sender| sender == key)
        });
        self.key(may.then_some(key), claim)
    }

    /// Whether a key has authorised; no key, or one of another algorithm, has not, at the same cost.
    pub(crate) fn key(&mut self, key: Option<&AuthPublicKey>, claim: &Claim<'_>) -> Verdict {
        let Some(authorization) = claim.authorization else {
            return Verdict::Unauthorized;
        };
        let key = key.filter(|key| can_verify(key, authorization));
        self.work.verifications = self.work.verifications.saturating_add(1);
        let verified = match authorization {
            Authorization::Signature(Signature::Ed25519(signature)) => {
                let (key, by) = match key {
                    Some(AuthPublicKey::Ed25519(key)) => (*key, Signer::Known),
                    Some(AuthPublicKey::Ed448(_) | AuthPublicKey::X25519(_)) | None => {
                        (NOBODY.ed25519, Signer::Nobody)
                    }
                };
                return Verdict::IfSigned {
                    key,
                    signature: *signature,
                    by,
                };
            }
            Authorization::Signature(Signature::Ed448(ed448)) => {
                let key = match key {
                    Some(AuthPublicKey::Ed448(key)) => key,
                    Some(AuthPublicKey::Ed25519(_) | AuthPublicKey::X25519(_)) | None => {
                        &NOBODY.ed448
                    }
                };
                key.verify(&claim.authorized.to_bytes(), ed448).is_ok()
            }
            Authorization::Authenticator(authenticator) => {
                let public_key = match key {
                    Some(AuthPublicKey::X25519(key)) => key,
                    Some(AuthPublicKey::Ed25519(_) | AuthPublicKey::Ed448(_)) | None => {
                        &NOBODY.x25519
                    }
                };
                let secret = self.session_key.agree(public_key);
                let nonce = Nonce::from_bytes(claim.corr_id);
                let hash = AuthorizedHash::of_parts(claim.authorized.parts());
                authenticator.verify_hash(&secret, &nonce, &hash).is_ok()
            }
        };
        match key {
            Some(key) if verified => Verdict::Authorized(Some(*key)),
            Some(_) | None => Verdict::Unauthorized,
        }
    }
}

/// Whether a service has signed a transmission with the key of its session.
pub(super) fn service_signed(
    key: &ed25519::PublicKey,
    signature: &Signature,
    authorized: &[u8],
) -> bool {
    VerifyingKey::Ed25519(*key)
        .verify(authorized, signature)
        .is_ok()
}

const fn can_verify(key: &AuthPublicKey, authorization: &Authorization) -> bool {
    matches!(
        (key, authorization),
        (
            AuthPublicKey::Ed25519(_),
            Authorization::Signature(Signature::Ed25519(_))
        ) | (
            AuthPublicKey::Ed448(_),
            Authorization::Signature(Signature::Ed448(_))
        ) | (AuthPublicKey::X25519(_), Authorization::Authenticator(_))
    )
}

/// Keys whose private halves nobody has kept.
struct Nobody {
    ed25519: ed25519::PublicKey,
    ed448: ed448::PublicKey,
    x25519: x25519::PublicKey,
}

static NOBODY: LazyLock<Nobody> = LazyLock::new(|| {
    let mut rng = Rng::from_seed(*b"keys whose private half is lost.");
    Nobody {
        ed25519: ed25519::PrivateKey::generate(&mut rng).public_key(),
        ed448: ed448::PrivateKey::generate(&mut rng).public_key(),
        x25519: x25519::PrivateKey::generate(&mut rng).public_key(),
    }
});
