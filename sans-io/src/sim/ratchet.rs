//! Two ends of a ratchet and what is on its way between them, under every law that a ratchet obeys.

use bytes::{Bytes, BytesMut};

use crate::ratchet::{
    DecryptError, EncryptError, OfferedKeys, Pq, Ratchet, Role, SkippedKey, SkippedKeys,
};
use crate::rng::Rng;
use crate::wire::{Version, VersionRange};

/// A conversation of two parties whose messages may be delivered in any order, any number of times, altered or never.
///
/// Every operation asserts what must hold: a message is read once, with what its sender has said; what is not read changes nothing;
/// and nothing grows beyond its bounds.
///
/// ```
/// use simplex_sans_io::ratchet::{DecryptError, Pq, Role};
/// use simplex_sans_io::sim::ratchet::{Conversation, Setup};
///
/// let mut conversation = Conversation::new(7, &Setup::default());
/// let first = conversation.send(Role::Joiner, None)?;
/// let second = conversation.send(Role::Joiner, Some(Pq::On))?;
/// assert_eq!(conversation.deliver(second), Ok(Pq::Off));
/// assert_eq!(conversation.deliver(first), Ok(Pq::Off));
/// assert_eq!(conversation.deliver(first), Err(DecryptError::Earlier(1)));
/// # Ok::<(), simplex_sans_io::ratchet::EncryptError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Conversation {
    initiator: End,
    joiner: End,
    messages: Vec<Message>,
    rng: Rng,
}

/// How a conversation begins.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    /// Whether the invitation proposes a post-quantum key.
    pub offered: Pq,
    /// Whether the initiator supports them.
    pub initiator: Pq,
    /// Whether the joiner supports them.
    pub joiner: Pq,
    /// The versions of the initiator.
    pub initiator_versions: VersionRange,
    /// The versions of the joiner.
    pub joiner_versions: VersionRange,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            offered: Pq::Off,
            initiator: Pq::Off,
            joiner: Pq::Off,
            initiator_versions: crate::ratchet::SUPPORTED,
            joiner_versions: crate::ratchet::SUPPORTED,
        }
    }
}

#[derive(Debug, Clone)]
struct End {
    ratchet: Ratchet,
    skipped: SkippedKeys,
    max_version: Version,
    /// Whether there ever were as many skipped keys as can be: then some may have been dropped.
    overflowed: bool,
}

#[derive(Debug, Clone)]
struct Message {
    from: Role,
    bytes: Bytes,
    content: Bytes,
    pq: Pq,
    read: bool,
}

impl Conversation {
    /// What every message is padded to.
    pub const PADDED: usize = 64;

    /// Two parties that have agreed on a ratchet.
    ///
    /// # Panics
    ///
    /// If they have no version in common.
    #[must_use]
    #[expect(clippy::expect_used, reason = "a broken law is a failure")]
    pub fn new(seed: u64, setup: &Setup) -> Self {
        let mut rng = super::rng(seed);
        let offered = OfferedKeys::generate(&mut rng, setup.offered);
        let uri = offered.uri(setup.initiator_versions);
        let params = uri.agreed(setup.joiner_versions).expect("a version");
        let (joiner, params) =
            Ratchet::joiner(&mut rng, &params, setup.joiner, setup.joiner_versions)
                .expect("a version that was agreed on");
        let versions = setup.initiator_versions;
        let initiator = Ratchet::initiator(&offered, &params, setup.initiator, versions)
            .expect("a version that was agreed on");
        assert_eq!(initiator.associated_data(), joiner.associated_data());
        Self {
            initiator: End::new(initiator, setup.initiator_versions),
            joiner: End::new(joiner, setup.joiner_versions),
            messages: Vec::new(),
            rng,
        }
    }

    /// How many messages were sent.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none was sent.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// One party's state.
    #[must_use]
    pub const fn ratchet(&self, role: Role) -> &Ratchet {
        match role {
            Role::Initiator => &self.initiator.ratchet,
            Role::Joiner => &self.joiner.ratchet,
        }
    }

    /// One party's keys of messages that were overtaken.
    #[must_use]
    pub const fn skipped(&self, role: Role) -> &SkippedKeys {
        match role {
            Role::Initiator => &self.initiator.skipped,
            Role::Joiner => &self.joiner.skipped,
        }
    }

    /// Sends a message; its number among all that were sent.
    ///
    /// # Panics
    ///
    /// If a law is broken.
    #[expect(clippy::expect_used, reason = "a broken law is a failure")]
    pub fn send(&mut self, from: Role, pq: Option<Pq>) -> Result<usize, EncryptError> {
        let content = Bytes::from(format!("message {}", self.messages.len()));
        let end = self.end(from);
        let step = end.ratchet.encrypt(pq, end.max_version)?;
        let bytes = step.key.encrypt(&content, Self::PADDED).expect("it fits");
        let again = step.key.encrypt(&content, Self::PADDED);
        assert_eq!(again.as_ref(), Ok(&bytes), "the same message differs");
        assert_eq!(
            bytes.len(),
            step.key.overhead().saturating_add(Self::PADDED)
        );
        assert!(step.ratchet.support() >= end.ratchet.support());
        end.ratchet = step.ratchet;
        let number = self.messages.len();
        self.messages.push(Message {
            from,
            bytes,
            content,
            pq: step.pq,
            read: false,
        });
        Ok(number)
    }

    /// Delivers a message, for the first time or again; whether it was encrypted with a post-quantum secret, too.
    ///
    /// # Panics
    ///
    /// If there is no such message, or a law is broken.
    #[expect(clippy::expect_used, reason = "a broken law is a failure")]
    pub fn deliver(&mut self, number: usize) -> Result<Pq, DecryptError> {
        let message = self.messages.get_mut(number).expect("it was sent");
        let was_read = message.read;
        let Message {
            from,
            bytes,
            content,
            pq,
            ..
        } = message.clone();
        let mut rng = self.rng.fork();
        let end = self.end(from.peer());
        match end.receive(&mut rng, &bytes) {
            Ok((read, read_pq)) => {
                assert!(!was_read, "read twice");
                assert_eq!((read, read_pq), (content, pq));
                if let Some(message) = self.messages.get_mut(number) {
                    message.read = true;
                }
                Ok(pq)
            }
            Err(error) => {
                let lost = matches!(error, DecryptError::Skipped(_)) || end.overflowed;
                assert!(was_read || lost, "cannot be read: {error}");
                Err(error)
            }
        }
    }

    /// Delivers a message of which somebody has changed a byte.
    ///
    /// # Panics
    ///
    /// If there is no such message, or it is read.
    #[expect(clippy::expect_used, reason = "a broken law is a failure")]
    pub fn deliver_altered(&mut self, number: usize, at: usize, change: u8) -> DecryptError {
        let message = self.messages.get(number).expect("it was sent").clone();
        let mut bytes = BytesMut::from(&*message.bytes);
        let at = at.checked_rem(bytes.len()).unwrap_or_default();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= change.max(1);
        }
        self.deliver_foreign(message.from.peer(), &bytes)
    }

    /// Delivers what nobody has sent.
    ///
    /// # Panics
    ///
    /// If it is read.
    #[expect(clippy::expect_used, reason = "a broken law is a failure")]
    pub fn deliver_foreign(&mut self, to: Role, bytes: &[u8]) -> DecryptError {
        let mut rng = self.rng.fork();
        let received = self.end(to).receive(&mut rng, bytes);
        received.expect_err("what nobody has sent is read")
    }

    /// Stores one party's state, and goes on with what is read from there.
    ///
    /// # Panics
    ///
    /// If it is not the same.
    #[expect(clippy::expect_used, reason = "a broken law is a failure")]
    pub fn restore(&mut self, role: Role) {
        let end = self.end(role);
        let ratchet = Ratchet::from_bytes(&end.ratchet.to_bytes()).expect("it was stored");
        assert_eq!(ratchet, end.ratchet);
        end.ratchet = ratchet;
        let keys = end.skipped.iter().map(|key| key.to_bytes());
        let keys = keys.map(|key| SkippedKey::from_bytes(&key).expect("it was stored"));
        let skipped = keys.collect();
        assert_eq!(end.skipped, skipped);
        end.skipped = skipped;
    }

    /// Gives one party a newer program.
    pub fn upgrade(&mut self, role: Role, max_version: Version) {
        let end = self.end(role);
        end.max_version = end.max_version.max(max_version);
    }

    const fn end(&mut self, role: Role) -> &mut End {
        match role {
            Role::Initiator => &mut self.initiator,
            Role::Joiner => &mut self.joiner,
        }
    }
}

impl End {
    fn new(ratchet: Ratchet, versions: VersionRange) -> Self {
        Self {
            ratchet,
            skipped: SkippedKeys::new(),
            max_version: versions.max(),
            overflowed: false,
        }
    }

    /// Commits the step, if it is one.
    fn receive(&mut self, rng: &mut Rng, bytes: &[u8]) -> Result<(Bytes, Pq), DecryptError> {
        let again = &mut rng.clone();
        let step = self.ratchet.decrypt(&self.skipped, rng, bytes.into());
        let same = self.ratchet.decrypt(&self.skipped, again, bytes.into());
        assert_eq!(step, same, "another step from the same state");
        let step = step?;
        assert!(step.ratchet.version() >= self.ratchet.version());
        assert!(step.ratchet.can_send(), "it can be answered");
        self.ratchet = step.ratchet;
        self.skipped.apply(step.skipped);
        assert!(self.skipped.len() <= SkippedKeys::MAX, "too many keys");
        assert_eq!(self.skipped.iter().count(), self.skipped.len());
        self.overflowed |= self.skipped.len() == SkippedKeys::MAX;
        Ok((step.content.freeze(), step.pq))
    }
}
