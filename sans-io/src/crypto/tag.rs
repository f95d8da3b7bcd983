//! What tells an authentic ciphertext from any other.

use std::fmt;

use subtle::ConstantTimeEq;

/// The 16 bytes that authenticate a ciphertext; compared in constant time.
#[derive(Clone, Copy)]
pub struct Tag([u8; 16]);

/// The ciphertext, its tag, the key, the nonce and the associated data do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the ciphertext is not authentic")]
pub struct DecryptError;

impl Tag {
    /// The length of every tag.
    pub const LENGTH: usize = 16;

    /// The tag of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes of the tag.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl PartialEq for Tag {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Tag {}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tag:")?;
        super::algorithm::write_hex(f, &self.0)
    }
}
