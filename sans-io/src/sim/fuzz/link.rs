//! The data of short links.

use super::decoded;
use crate::crypto::ed25519;
use crate::smp::link::{ContactData, FixedData, InvitationData, Signed, SignedLinkData, UserData};
use crate::smp::version::SUPPORTED;
use crate::wire::{Version, decode_prefix, encode};

/// A signed part from arbitrary bytes; and its data under the right signatures, as the data of a link.
pub fn link_data(data: &[u8]) {
    let Some((_, bytes)) = data.split_first() else {
        return;
    };
    let Some(signed) = decoded::<Signed>(Version(0), bytes) else {
        return;
    };
    decoded::<FixedData>(Version(0), &signed.data);
    let root = ed25519::PrivateKey::from_bytes([1; 32]);
    let fixed = FixedData {
        versions: SUPPORTED,
        root_key: root.public_key(),
        request: signed.data.clone(),
    };
    let key = fixed.link_key();
    if let Ok(user) = decode_prefix(Version(0), &signed.data) {
        obeys(&SignedLinkData::sign(&fixed, &user, &root), &fixed, user);
    }
    let forged = SignedLinkData {
        fixed: signed.clone(),
        user: signed,
    };
    assert_eq!(forged.verify::<InvitationData>(&key).ok(), None);
    assert_eq!(forged.verify::<ContactData>(&key).ok(), None);
}

/// Data that the root key has signed is believed, unless the owners in it are not to be.
fn obeys(signed: &SignedLinkData, fixed: &FixedData, user: UserData) {
    let key = &fixed.link_key();
    decoded::<UserData>(Version(0), &encode(&user, Version(0)));
    match user {
        UserData::Invitation(user) => {
            let link = signed.verify::<InvitationData>(key);
            assert_eq!(link.map(|link| link.user), Ok(user));
        }
        UserData::Contact(user) => {
            let link = signed.verify::<ContactData>(key);
            let owners = user.verify_owners(&fixed.root_key);
            assert_eq!(link.map(|link| link.user), owners.map(|()| user));
        }
    }
}
