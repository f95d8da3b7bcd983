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

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference derives these.
    #[test]
    fn known_values() {
        let sender = sender_id(&hex("4c5f27d8f779fdbd9ead5d63bc27f16d936978a296a86b5d"));
        assert_eq!(
            sender[..],
            hex("4909f9da798ee0fdd2c989ec060f7e6aa586e6faaa5663eb")
        );

        let link_key = "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b";
        let link_key = Secret::try_from(&hex(link_key)[..]).unwrap();
        let ContactLinkKeys { link_id, data_key } = contact_link_keys(&link_key);
        assert_eq!(
            link_id[..],
            hex("5c7671a11d13bcf7ba539cd43ab77a982613f4bf1411febe")
        );
        assert_eq!(
            data_key.as_bytes()[..],
            hex("43dd3f7a7cd68cc6adacf4748e95f0646b315c1d9fb13621203f2a6717390e8b")
        );
        assert_eq!(
            invitation_link_key(&link_key).as_bytes()[..],
            hex("e2aaf0971524ad6691336b7e3d7a29ba4e2c06032057641377e99f1d8d35b747")
        );
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digits).collect()
    }
}
