//! How the commands of a session are authorised, directly and through a proxy.

use bytes::Bytes;

use super::request::{Request, RequestError, Route};
use crate::crypto::{AuthPrivateKey, Authenticator, Nonce, Signature, ed25519, x25519};
use crate::rng::Rng;
use crate::smp::Command;
use crate::smp::handshake::Service;
use crate::smp::proxy::{RelaySession, SealedFor};
use crate::smp::transmission::{Authorization, Session, Unauthorized};
use crate::smp::version::{NAMES, PROXY};
use crate::wire::{CorrId, EntityId};

/// What a session authorises its commands with.
pub(super) struct Credentials<'a> {
    pub(super) session: &'a Session,
    pub(super) router_key: Option<&'a x25519::PublicKey>,
    pub(super) service: Option<&'a Service<ed25519::PrivateKey>>,
}

/// A transmission that is ready to be sent.
pub(super) struct Sealed {
    pub(super) transmission: Bytes,
    /// Who may read the response, if a relay gives it.
    pub(super) forwarded: Option<(Session, SealedFor)>,
}

impl Credentials<'_> {
    pub(super) fn seal(
        &self,
        request: &Request,
        corr_id: &CorrId,
        rng: &mut Rng,
    ) -> Result<Sealed, RequestError> {
        match &request.route {
            Route::Direct => self.seal_direct(request, corr_id),
            Route::Via(relay) => self.seal_forwarded(request, corr_id, relay, rng),
        }
    }

    fn seal_direct(&self, request: &Request, corr_id: &CorrId) -> Result<Sealed, RequestError> {
        let needed = since(&request.command);
        if self.session.version < needed {
            return Err(RequestError::Version(needed));
        }
        let (command, entity_id) = (&request.command, &request.entity_id);
        let transmission = Unauthorized::new(self.session, corr_id, entity_id, command);
        let authorized = transmission.authorized();
        let (authorization, service_signature) = match (command, self.service) {
            (Command::Subs(_) | Command::NSubs(_), Some(service)) => {
                let signature = Signature::Ed25519(service.key.sign(authorized));
                (Some(Authorization::Signature(signature)), None)
            }
            (Command::Subs(_) | Command::NSubs(_), None) => return Err(RequestError::NoService),
            (Command::New(_) | Command::Sub | Command::NSub, Some(service)) => {
                let bound = [service.fingerprint.as_bytes(), &**authorized].concat();
                let authorization = self.authorize(request, corr_id, &bound)?;
                (authorization, Some(service.key.sign(authorized)))
            }
            _ => (self.authorize(request, corr_id, authorized)?, None),
        };
        Ok(Sealed {
            transmission: transmission.authorize(
                self.session,
                authorization.as_ref(),
                service_signature.as_ref(),
            ),
            forwarded: None,
        })
    }

    fn authorize(
        &self,
        request: &Request,
        corr_id: &CorrId,
        authorized: &[u8],
    ) -> Result<Option<Authorization>, RequestError> {
        authorization(request.key.as_deref(), self.router_key, corr_id, authorized)
    }

    /// The relay sees a transmission of the proxy's session with it, and no service.
    fn seal_forwarded(
        &self,
        request: &Request,
        corr_id: &CorrId,
        relay: &RelaySession,
        rng: &mut Rng,
    ) -> Result<Sealed, RequestError> {
        let needed = since(&request.command);
        if relay.session.version < needed {
            return Err(RequestError::Version(needed));
        }
        let inner = Unauthorized::new(
            &relay.session,
            corr_id,
            &request.entity_id,
            &request.command,
        );
        let key = request.key.as_deref();
        let authorization = authorization(key, Some(&relay.key), corr_id, inner.authorized())?;
        let inner = inner.authorize(&relay.session, authorization.as_ref(), None);
        let (command, response) = relay
            .seal(&inner, corr_id, rng)
            .map_err(|_| RequestError::TooLarge)?;
        let entity_id = EntityId::try_from(&*relay.session.id).unwrap_or_default();
        let outer = Unauthorized::new(self.session, corr_id, &entity_id, &command);
        Ok(Sealed {
            transmission: outer.authorize(self.session, None, None),
            forwarded: Some((relay.session.clone(), response)),
        })
    }
}

fn authorization(
    key: Option<&AuthPrivateKey>,
    router_key: Option<&x25519::PublicKey>,
    corr_id: &CorrId,
    authorized: &[u8],
) -> Result<Option<Authorization>, RequestError> {
    let Some(key) = key else {
        return Ok(None);
    };
    Ok(Some(match key {
        AuthPrivateKey::Ed25519(key) => {
            Authorization::Signature(Signature::Ed25519(key.sign(authorized)))
        }
        AuthPrivateKey::Ed448(key) => {
            Authorization::Signature(Signature::Ed448(key.sign(authorized)))
        }
        AuthPrivateKey::X25519(key) => {
            let router_key = router_key.ok_or(RequestError::NoSessionKey)?;
            let (secret, nonce) = (key.agree(router_key), Nonce::from_bytes(corr_id));
            Authorization::Authenticator(Authenticator::new(&secret, &nonce, authorized))
        }
    }))
}

/// The version before which a command is not understood at all.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others are as old as the protocol"
)]
const fn since(command: &Command) -> crate::wire::Version {
    match command {
        Command::Rslv { .. } => NAMES,
        Command::Prxy { .. } | Command::Pfwd { .. } | Command::Rfwd { .. } => PROXY,
        _ => crate::wire::Version(0),
    }
}
