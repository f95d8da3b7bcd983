//! Ids and keys that follow from other values.

use super::hash::{hkdf_sha512, leading, sha3_384};
use super::secret::Secret;

/// What follows from the key in a contact link: where its data is, and what decrypts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactLinkKeys {
    /// The id of the link on its router.
    pub link_id: [u8; 24],
    /// The key that the link's data is boxed with.
    pub data_key: Secret<32>,
}

/// The sender id of a queue that is created together with its link: the client knows it before the router answers.
#[must_use]
pub fn sender_id(correlation_id: &[u8]) -> [u8; 24] {
    leading(&sha3_384(correlation_id))
}

/// The id and the key of a contact link.
#[must_use]
pub fn contact_link_keys(link_key: &Secret<32>) -> ContactLinkKeys {
    let material = hkdf_sha512::<56>(&[], link_key.as_bytes(), b"SimpleXContactLink");
    let (link_id, data_key) = material.split::<24, 32>();
    ContactLinkKeys {
        link_id: *link_id.as_bytes(),
        data_key,
    }
}

/// The key of a one-time invitation link, whose id the router chooses.
#[must_use]
pub fn invitation_link_key(link_key: &Secret<32>) -> Secret<32> {
    hkdf_sha512(&[], link_key.as_bytes(), b"SimpleXInvLink")
}
