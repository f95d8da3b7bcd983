//! X3DH: how two parties that know each other's parameters come to a ratchet.
//!
//! ```text
//!   initiator: r1 r2 [KEM key]                      joiner: s1 s2 [KEM key], ratchet key
//!   dh1 = DH(r1, s2)   dh2 = DH(r2, s1)   dh3 = DH(r2, s2)   [secret that the joiner encapsulated]
//! ```

use super::derivation::{Agreed, agreement, root_step};
use super::fresh::FreshKeys;
use super::params::{E2eParams, E2eUri, KemParams, KemProposal};
use super::state::{AssociatedData, RatchetKey, SendingChain};
use super::{AgreementError, KEM, Pq, Ratchet};
use crate::crypto::{kem, x448};
use crate::wire::{Version, VersionRange};

/// The private halves of the parameters that an initiator offers; or in renegotiation either party.
///
/// They are stored before the parameters leave, as nothing else can answer who accepts them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKeys {
    pub(super) key1: x448::PrivateKey,
    pub(super) key2: x448::PrivateKey,
    pub(super) kem: Option<kem::PrivateKey>,
}

/// Who a party is in a key agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Has offered keys first, and cannot send before it receives.
    Initiator,
    /// Has accepted an offer, and sends first.
    Joiner,
}

/// The private halves of a joiner's parameters.
struct JoinerKeys {
    key1: x448::PrivateKey,
    key2: x448::PrivateKey,
    kem: JoinerKem,
}

enum JoinerKem {
    None,
    Proposed(kem::PrivateKey),
    Accepted {
        ciphertext: kem::Ciphertext,
        secret: kem::SharedSecret,
        key: kem::PrivateKey,
    },
}

impl Role {
    /// The other one.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Joiner,
            Self::Joiner => Self::Initiator,
        }
    }
}

impl OfferedKeys {
    /// Fresh keys, with one for the KEM if it is to be proposed.
    pub fn generate(fresh: &mut impl FreshKeys, pq: Pq) -> Self {
        Self {
            key1: fresh.agreement_key(),
            key2: fresh.agreement_key(),
            kem: pq.is_on().then(|| fresh.kem_key()),
        }
    }

    /// What goes into an invitation.
    #[must_use]
    pub fn uri(&self, versions: VersionRange) -> E2eUri<KemProposal> {
        let kem = self.kem.as_ref();
        E2eUri {
            versions,
            key1: self.key1.public_key(),
            key2: self.key2.public_key(),
            kem: kem.map(|key| KemProposal::Proposed {
                key: key.public_key(),
            }),
        }
    }

    /// What goes into a message that renegotiates the ratchet.
    #[must_use]
    pub fn params(&self, version: Version) -> E2eParams<KemProposal> {
        self.uri(VersionRange::only(version)).at(version)
    }
}

impl Ratchet {
    /// The ratchet of a party whose offer was accepted.
    pub fn initiator(
        offered: &OfferedKeys,
        joiner: &E2eParams<KemParams>,
        pq: Pq,
        versions: VersionRange,
    ) -> Result<Self, AgreementError> {
        let version = supported(joiner.version, versions)?;
        let secret = match &joiner.kem {
            Some(KemParams::Accepted { ciphertext, .. }) => {
                let key = offered.kem.as_ref();
                let key = key.ok_or(AgreementError::KemNotProposed)?;
                Some((key, key.decapsulate(ciphertext)))
            }
            Some(KemParams::Proposed { .. }) | None => None,
        };
        let dh = [
            offered.key1.agree(&joiner.key2),
            offered.key2.agree(&joiner.key1),
            offered.key2.agree(&joiner.key2),
        ];
        let agreed = agreement(dh, secret.as_ref().map(|(_, secret)| secret));
        Ok(Self {
            version,
            max_version: versions.max(),
            parties: AssociatedData::new(&joiner.key1, &offered.key1.public_key()),
            own: RatchetKey::from(offered.key2.clone()),
            kem: secret.map(|(key, _)| key.clone()),
            support: pq,
            enabled: pq,
            root: agreed.root,
            sending: None,
            receiving: None,
            sent: 0,
            received: 0,
            previous: 0,
            next_sending: agreed.next_header_key,
            next_receiving: agreed.header_key,
        })
    }

    /// The ratchet of a party that accepts an offer, and the parameters that tell the initiator.
    ///
    /// Both are stored before the parameters leave, so that they are the same whenever they are sent again.
    pub fn joiner(
        fresh: &mut impl FreshKeys,
        initiator: &E2eParams<KemProposal>,
        pq: Pq,
        versions: VersionRange,
    ) -> Result<(Self, E2eParams<KemParams>), AgreementError> {
        let version = supported(initiator.version, versions)?;
        let keys = JoinerKeys {
            key1: fresh.agreement_key(),
            key2: fresh.agreement_key(),
            kem: JoinerKem::choose(fresh, initiator, pq),
        };
        let params = E2eParams {
            version,
            key1: keys.key1.public_key(),
            key2: keys.key2.public_key(),
            kem: keys.kem.params(),
        };
        Ok((
            Self::join(fresh, keys, &params, initiator, versions),
            params,
        ))
    }

    /// The ratchet of a party that has offered keys itself, and takes the peer's for those of the initiator.
    ///
    /// It begins without a KEM secret: if both have proposed a key, one follows with the first messages.
    pub fn join_offered(
        fresh: &mut impl FreshKeys,
        offered: &OfferedKeys,
        initiator: &E2eParams<KemProposal>,
        versions: VersionRange,
    ) -> Result<Self, AgreementError> {
        let version = supported(initiator.version, versions)?;
        let kem = offered.kem.clone().filter(|_| version >= KEM);
        let keys = JoinerKeys {
            key1: offered.key1.clone(),
            key2: offered.key2.clone(),
            kem: kem.map_or(JoinerKem::None, JoinerKem::Proposed),
        };
        let params = offered.params(version).into();
        Ok(Self::join(fresh, keys, &params, initiator, versions))
    }

    /// The ratchet of two parties that both have offered keys, to replace one that is broken.
    ///
    /// Who is the initiator follows from the keys; the version is that of the peer's parameters.
    pub fn renegotiated(
        fresh: &mut impl FreshKeys,
        offered: &OfferedKeys,
        peer: &E2eParams<KemProposal>,
        pq: Pq,
        versions: VersionRange,
    ) -> Result<(Self, Role), AgreementError> {
        let own = offered.params(peer.version);
        if own.key_hash() <= peer.key_hash() {
            let ratchet = Self::initiator(offered, &peer.clone().into(), pq, versions)?;
            Ok((ratchet, Role::Initiator))
        } else {
            let ratchet = Self::join_offered(fresh, offered, peer, versions)?;
            Ok((ratchet, Role::Joiner))
        }
    }

    fn join(
        fresh: &mut impl FreshKeys,
        keys: JoinerKeys,
        params: &E2eParams<KemParams>,
        initiator: &E2eParams<KemProposal>,
        versions: VersionRange,
    ) -> Self {
        let dh = [
            keys.key2.agree(&initiator.key1),
            keys.key1.agree(&initiator.key2),
            keys.key2.agree(&initiator.key2),
        ];
        let secret = keys.kem.secret();
        let Agreed {
            header_key,
            next_header_key,
            root,
        } = agreement(dh, secret);
        let own = RatchetKey::from(fresh.agreement_key());
        let step = root_step(&root, &own.private.agree(&initiator.key2), secret);
        let (kem, ciphertext) = keys.kem.into_parts();
        let pq = Pq::from(kem.is_some());
        Self {
            version: params.version,
            max_version: versions.max(),
            parties: AssociatedData::new(&params.key1, &initiator.key1),
            own,
            kem,
            support: pq,
            enabled: pq,
            root: step.root,
            sending: Some(SendingChain {
                chain: step.chain,
                header_key,
                ciphertext,
            }),
            receiving: None,
            sent: 0,
            received: 0,
            previous: 0,
            next_sending: step.next_header_key,
            next_receiving: next_header_key,
        }
    }
}

impl JoinerKem {
    fn choose(fresh: &mut impl FreshKeys, initiator: &E2eParams<KemProposal>, pq: Pq) -> Self {
        if !pq.is_on() || initiator.version < KEM {
            return Self::None;
        }
        match &initiator.kem {
            Some(KemProposal::Proposed { key }) => {
                let (ciphertext, secret) = fresh.encapsulate(key);
                let key = fresh.kem_key();
                Self::Accepted {
                    ciphertext,
                    secret,
                    key,
                }
            }
            None => Self::Proposed(fresh.kem_key()),
        }
    }

    fn params(&self) -> Option<KemParams> {
        match self {
            Self::None => None,
            Self::Proposed(key) => Some(KemParams::Proposed {
                key: key.public_key(),
            }),
            Self::Accepted {
                ciphertext, key, ..
            } => Some(KemParams::Accepted {
                ciphertext: ciphertext.clone(),
                key: key.public_key(),
            }),
        }
    }

    const fn secret(&self) -> Option<&kem::SharedSecret> {
        match self {
            Self::Accepted { secret, .. } => Some(secret),
            Self::Proposed(_) | Self::None => None,
        }
    }

    fn into_parts(self) -> (Option<kem::PrivateKey>, Option<kem::Ciphertext>) {
        match self {
            Self::None => (None, None),
            Self::Proposed(key) => (Some(key), None),
            Self::Accepted {
                ciphertext, key, ..
            } => (Some(key), Some(ciphertext)),
        }
    }
}

fn supported(version: Version, versions: VersionRange) -> Result<Version, AgreementError> {
    match versions.contains(version) {
        true => Ok(version),
        false => Err(AgreementError::Version(version)),
    }
}
