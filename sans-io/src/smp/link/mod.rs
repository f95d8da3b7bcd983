//! The data of short links: what a link leads to, signed and encrypted by its owners for a router that can read none of it.
//!
//! ```text
//!   fixed data ──SHA3-256──▶ link key, in the link ──HKDF──▶ key of both boxes, and the id of a contact link
//!     └ root key ──signs──▶ fixed data, user data, owners
//!                  owner ──signs──▶ user data, later owners
//!
//!   box = nonce ‖ secret box (padded (signature ‖ data))
//! ```
//! The fixed data never changes, as the link would. The user data of an invitation is signed by the root key; that of a contact by the
//! root key or by one of the owners that it lists.
//!
//! ```
//! use simplex_sans_io::crypto::{Nonce, ed25519};
//! use simplex_sans_io::rng::Rng;
//! use simplex_sans_io::smp::link::{FixedData, InvitationData, SignedLinkData, UserData};
//! use simplex_sans_io::wire::VersionRange;
//!
//! let mut rng = Rng::from_seed([7; 32]);
//! let root = ed25519::PrivateKey::generate(&mut rng);
//! let versions = VersionRange::new(2, 7).ok_or("versions")?;
//! let fixed = FixedData { versions, root_key: root.public_key(), request: b"connection request".as_slice().into() };
//! let user = UserData::Invitation(InvitationData { versions, data: b"profile".try_into()? });
//!
//! let link_key = fixed.link_key();
//! let signed = SignedLinkData::sign(&fixed, &user, &root);
//! let boxed = signed.seal(&link_key.invitation(), &mut rng)?;
//!
//! let opened = SignedLinkData::open(&link_key.invitation(), &boxed)?;
//! let link = opened.verify::<InvitationData>(&link_key)?;
//! assert_eq!((link.fixed, UserData::Invitation(link.user)), (fixed, user));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod data;
mod signed;

pub use self::data::{
    ContactData, ContactLinkKind, ContactShortLink, FixedData, InvitationData, Owner, UserData,
};
pub use self::signed::{Link, OfLink, PADDED_FIXED, PADDED_USER, Signed, SignedLinkData};

use bytes::{Bytes, BytesMut};

use crate::crypto::derivation::{self, ContactLinkKeys};
use crate::crypto::{Secret, hash};
use crate::wire::{self, Id, Parsed, Short, Source, Version, Wire, WireError, text};

/// The secret of a link, which is the hash of its fixed data: whoever has the link can find, decrypt and verify its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkKey(Secret<32>);

impl LinkKey {
    /// The key in a link.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::from_bytes(bytes))
    }

    /// The bytes in the link.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The id of a contact link, and the key of its boxes.
    #[must_use]
    pub fn contact(&self) -> ContactLinkKeys {
        derivation::contact_link_keys(&self.0)
    }

    /// The key of the boxes of an invitation link.
    #[must_use]
    pub fn invitation(&self) -> Secret<32> {
        derivation::invitation_link_key(&self.0)
    }

    fn of(fixed_data: &[u8]) -> Self {
        Self::from_bytes(hash::sha3_256(fixed_data))
    }
}

impl Wire for LinkKey {
    fn parse<'a>(source: Source<'_>, input: &'a [u8]) -> Parsed<'a, Self> {
        let (input, bytes) = Short::parse(source, input)?;
        match Secret::try_from(&**bytes) {
            Ok(key) => Ok((input, Self(key))),
            Err(_) => WireError::Invalid("link key").fail(),
        }
    }

    fn put(&self, version: Version, out: &mut BytesMut) {
        let bytes = Short::try_from(self.as_bytes()).unwrap_or_default();
        bytes.put(version, out);
    }
}

/// Why the data of a link is not to be believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It is not encrypted with the key of the link.
    #[error("the data of the link cannot be decrypted")]
    Decrypt,
    /// It is not the data of such a link.
    #[error("the data of the link cannot be parsed: {0}")]
    Parse(#[from] WireError),
    /// It is the data of another link.
    #[error("the data is of another link")]
    Hash,
    /// The fixed data is not signed by its root key.
    #[error("the fixed data is not signed by its root key")]
    FixedSignature,
    /// An owner has the key of the root, or the id or the key of an owner before him.
    #[error("the key or the id of the owner {} is taken", text::base64url(.0))]
    DuplicateOwner(Id),
    /// An owner is not authorised by the root key or an owner before him.
    #[error("the owner {} is not authorised", text::base64url(.0))]
    UnauthorizedOwner(Id),
    /// The user data is not signed by the root key or an owner.
    #[error("the user data is not signed by an owner")]
    UserSignature,
}

/// Link data is the same in all versions of SMP.
fn encode<T: Wire>(value: &T) -> Bytes {
    wire::encode(value, Version::default())
}

#[cfg(any(test, feature = "sim"))]
impl wire::Sample for LinkKey {
    fn sample(_: Version, rng: &mut crate::rng::Rng) -> Self {
        Self::from_bytes(rng.bytes())
    }
}
