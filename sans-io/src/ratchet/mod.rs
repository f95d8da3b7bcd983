//! The double ratchet with encrypted headers and post-quantum keys: what encrypts the messages of one connection, end to end.
//!
//! Two parties agree on a first secret (X3DH on X448, with sntrup761 if both want it). From then on every message has a key of its own,
//! and every time the direction changes new keys are agreed on and the ratchet turns. Versions 2 and 3; the KEM came with 3.
//!
//! ```text
//!        Ratchet::initiator                           Ratchet::joiner
//!               │                                            │
//!               ▼                                            ▼
//!      ┌─────────────────┐                          ┌─────────────────┐ encrypt: chain
//!      │ cannot send yet │                          │ nothing received│──────┐
//!      └─────────────────┘                          └─────────────────┘◀─────┘
//!               │ decrypt: turn                              │ decrypt: turn
//!               ▼                                            ▼
//!      ┌──────────────────────────────────────────────────────────────┐ encrypt: sending chain
//!      │ both chains                                                  │────────┐ decrypt: receiving chain, or skipped key
//!      └──────────────────────────────────────────────────────────────┘◀───────┘ decrypt with the next header key: turn
//!
//! ```
//!
//! What a party says of post-quantum keys follows, turn by turn, from what it has said before and from what the peer says:
//!
//! | it has said | peer says nothing | peer proposes a key | peer accepts a key |
//! |---|---|---|---|
//! | nothing, and wants none | nothing | nothing | (error: there was none) |
//! | nothing, and wants one | proposes | accepts | (error: there was none) |
//! | proposes, or accepts | nothing, as the peer wants none | accepts | accepts |
//! | the same, but wants none any more | nothing | nothing | nothing |
//!
//! Who accepts has encapsulated a secret for the peer's key, which its sending chain is derived with, and proposes its next key as well.
//!
//! # Steps are values
//!
//! A [`Ratchet`] never changes. [`encrypt`](Ratchet::encrypt) and [`decrypt`](Ratchet::decrypt) return the state that follows, to be
//! committed before anything is done that depends on it: before the ciphertext leaves, before the message is acknowledged. What fails
//! has changed nothing; in particular only a message whose header *and* body are authentic moves the ratchet, so that a message that was
//! altered on its way does not stand in the way of the genuine one. (The reference moves on when the header is.)
//!
//! Encrypting has two halves. The step itself is cheap, and gives an [`EncryptKey`] that is stored with the outgoing message; the
//! message is encrypted with it when it leaves, and again the same if it has to leave again.
//!
//! Decrypting is a function of its arguments. One that turns a post-quantum ratchet may take milliseconds, and can be run elsewhere.
//!
//! Keys of messages that were overtaken are in [`SkippedKeys`], beside the state, because they are many and change one at a time: at most
//! [`Ratchet::MAX_GAP`] for each gap, and [`SkippedKeys::MAX`] in all, the oldest of which are dropped.
//!
//! ```
//! use bytes::BytesMut;
//! use simplex_sans_io::ratchet::{E2eUri, KemProposal, OfferedKeys, Pq, Ratchet, SUPPORTED, SkippedKeys};
//! use simplex_sans_io::rng::Rng;
//!
//! // Alice offers keys in an invitation, Bob accepts them and sends a message with his own.
//! let mut rng = Rng::from_seed([7; 32]);
//! let offered = OfferedKeys::generate(&mut rng, Pq::On);
//! let invitation = offered.uri(SUPPORTED).to_string();
//!
//! let invitation: E2eUri<KemProposal> = invitation.parse()?;
//! let params = invitation.agreed(SUPPORTED).ok_or("no version that both support")?;
//! let (bob, confirmation) = Ratchet::joiner(&mut rng, &params, Pq::On, SUPPORTED)?;
//! let step = bob.encrypt(None, SUPPORTED.max())?;
//! let bob = step.ratchet; // … and commit it
//! let message = step.key.encrypt(b"hello", 100)?;
//!
//! let alice = Ratchet::initiator(&offered, &confirmation, Pq::On, SUPPORTED)?;
//! let mut skipped = SkippedKeys::new();
//! let step = alice.decrypt(&skipped, &mut rng, BytesMut::from(&*message))?;
//! let alice = step.ratchet; // … and commit it
//! skipped.apply(step.skipped);
//! assert_eq!((&*step.content, step.pq), (b"hello".as_slice(), Pq::On));
//!
//! // The state is stored as bytes. Nothing is read twice.
//! let alice = Ratchet::from_bytes(&alice.to_bytes())?;
//! assert!(alice.decrypt(&skipped, &mut rng, BytesMut::from(&*message)).is_err());
//! assert!(alice.can_send() && bob.can_send());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agreement;
mod derivation;
mod error;
mod fresh;
mod header;
mod import;
mod params;
mod pq;
mod receiving;
mod sending;
mod skipped;
mod state;

pub use self::agreement::{OfferedKeys, Role};
pub use self::error::{AgreementError, DecryptError, EncryptError, Resync};
pub use self::fresh::FreshKeys;
pub use self::header::{EncryptedHeader, EncryptedMessage, MessageHeader};
pub use self::import::ImportError;
pub use self::params::{E2eParams, E2eUri, KemFields, KemParams, KemProposal};
pub use self::pq::{InitialKeys, Pq};
pub use self::receiving::Decrypted;
pub use self::sending::{EncryptKey, Encrypted};
pub use self::skipped::{MessageKey, SkippedChange, SkippedId, SkippedKey, SkippedKeys};
pub use self::state::{AssociatedData, FORMAT, Ratchet};

use crate::wire::{Version, VersionRange};

/// The first version with post-quantum keys.
pub const KEM: Version = Version(3);

/// The versions that are supported.
pub const SUPPORTED: VersionRange = match VersionRange::new(2, KEM.0) {
    Some(versions) => versions,
    None => VersionRange::only(KEM),
};

#[cfg(test)]
mod tests;
