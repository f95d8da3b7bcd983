//! Turns of ratchets that somebody else makes.
//!
//! A message that turns a ratchet with post-quantum keys takes milliseconds to decrypt. Where that is too long, the machine
//! [asks](super::Action::Turn) for it, and does nothing with the connection until it has the [result](super::Input::Turned).
//!
//! ```
//! use simplex_sans_io::agent::config::{Config, Turns};
//!
//! let config = Config { turns: Turns::ByDriver, ..Config::default() };
//! # assert_ne!(config, Config::default());
//! ```

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::ratchet::{DecryptError, Decrypted, Ratchet, SkippedKeys};
use crate::rng::Rng;

/// A turn that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TurnId(pub u64);

/// A message to be decrypted, with all that is needed for it.
#[derive(Clone, PartialEq, Eq)]
pub struct Turn {
    pub(super) ratchet: Ratchet,
    pub(super) skipped: SkippedKeys,
    pub(super) rng: Rng,
    pub(super) message: Bytes,
}

impl Turn {
    /// Decrypts the message: what takes long.
    #[must_use]
    pub fn run(mut self) -> Turned {
        let message = BytesMut::from(&*self.message);
        Turned(self.ratchet.decrypt(&self.skipped, &mut self.rng, message))
    }
}

impl fmt::Debug for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn")
            .field("ratchet", &self.ratchet)
            .field("message", &format_args!("[{} bytes]", self.message.len()))
            .finish_non_exhaustive()
    }
}

/// A message that was decrypted, or could not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turned(pub(super) Result<Decrypted, DecryptError>);
