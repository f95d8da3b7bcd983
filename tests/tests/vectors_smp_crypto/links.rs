//! The data of short links.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};
use simplex_sans_io::crypto::{Nonce, Secret, derivation, ed25519, hash};
use simplex_sans_io::smp::LinkData;
use simplex_sans_io::smp::link::{
    ContactData, FixedData, InvitationData, LinkError, LinkKey, Owner, PADDED_USER, Signed,
    SignedLinkData, UserData,
};
use simplex_sans_io::wire::padding::{self, PaddingError};
use simplex_sans_io::wire::{self, Large, List, Short, Version, VersionRange, Wire, text};
use simplex_tests::vectors::keys::ed25519_pair;
use simplex_tests::vectors::{
    self, Comparison, array, assert_encoding, base64, cases, hex, load, version,
};

use super::FILE;

pub(super) fn sender_id(group: &Value) {
    for case in cases(group) {
        let sender_id = derivation::sender_id(&hex(&case["corr_id"]));
        assert_eq!(sender_id, array(&case["sender_id"]));
    }
}

pub(super) fn short_link_kdf(group: &Value) {
    for case in cases(group) {
        let key = LinkKey::from_bytes(array(&case["link_key"]));
        let contact = key.contact();
        assert_eq!(contact.link_id, array(&case["contact_link_id"]));
        assert_eq!(contact.data_key.as_bytes(), &array(&case["contact_key"]));
        assert_eq!(key.invitation().as_bytes(), &array(&case["invitation_key"]));
    }
}

/// The first owner is authorised by the root key, the second by the first.
pub(super) fn short_link_owners(group: &Value) {
    let root = root(&load(FILE)["short_link_data"][0]);
    let mut owners = Vec::new();
    for case in cases(group) {
        let owner: Owner = wire::decode_slice(Version(0), &hex(&case["smp"])).unwrap();
        assert_encoding(&owner, &hex(&case["smp"]));
        assert_eq!(**owner.id(), hex(&case["owner_id"]));
        assert_eq!(owner.key().to_spki()[..], hex(&case["owner_key"]));
        assert!(hex(&case["smp"]).ends_with(&hex(&case["signature"])));
        owners.push(owner);
    }
    let [first, second] = &owners[..] else {
        unreachable!("two owners")
    };
    let made = Owner::new(first.id().clone(), *first.key(), &root);
    assert_eq!(made.as_ref(), Ok(first));
    let verify = |owners: Vec<Owner>| contact(owners).verify_owners(&root.public_key());
    assert_eq!(verify(owners.clone()), Ok(()));
    let id = second.id().clone();
    assert_eq!(
        verify(vec![second.clone(), first.clone()]),
        Err(LinkError::UnauthorizedOwner(id))
    );
}

pub(super) fn short_link_data(group: &Value) {
    for case in cases(group) {
        if case.get("error").is_some() {
            assert_eq!(case["case"], "invitation, too large user data");
            continue;
        }
        let (root, fixed, user) = (root(case), fixed_data(case), user_data(case));
        let signed = SignedLinkData::sign(&fixed, &user, &root);
        assert_encoding(&signed.fixed, &hex(&case["signed_fixed_data"]));
        assert_encoding(&signed.user, &hex(&case["signed_user_data"]));

        let link_key = fixed.link_key();
        assert_eq!(link_key.as_bytes(), &array(&case["link_key"]));
        let key = match &user {
            UserData::Invitation(_) => {
                assert!(case["link_id"].is_null());
                link_key.invitation()
            }
            UserData::Contact(_) => {
                assert_eq!(link_key.contact().link_id, array(&case["link_id"]));
                link_key.contact().data_key
            }
        };
        assert_eq!(key.as_bytes(), &array(&case["encryption_key"]));
        let data = seal(&signed, &key, case);
        assert_eq!(SignedLinkData::open(&key, &data), Ok(signed.clone()));
        assert_verified(&signed, &link_key, &fixed, user, case);
        if case["case"] == "invitation, max user data" {
            assert_no_room(&fixed, &root, &key, case);
        }
    }
}

/// The boxes of the data, which must be the recorded ones.
fn seal(signed: &SignedLinkData, key: &Secret<32>, case: &Value) -> LinkData {
    let boxed = base64(&case["encrypted_fixed_data"]);
    let nonce = Nonce::from_bytes(&boxed);
    let fixed = signed.seal_fixed(key, &nonce).unwrap();
    assert_eq!(**fixed, boxed);
    let nonce = Nonce::from(array(&case["encrypted_user_data_nonce"]));
    let user = signed.seal_user(key, &nonce).unwrap();
    let digest = array(&case["encrypted_user_data_sha256"]);
    assert_eq!(hash::sha256(&user), digest);
    if !case["encrypted_user_data"].is_null() {
        assert_eq!(**user, base64(&case["encrypted_user_data"]));
    }
    LinkData { fixed, user }
}

fn assert_verified(
    signed: &SignedLinkData,
    link_key: &LinkKey,
    fixed: &FixedData,
    user: UserData,
    case: &Value,
) {
    let (verified, data) = match user {
        UserData::Invitation(user) => {
            let link = signed.verify::<InvitationData>(link_key).unwrap();
            assert_eq!(link.user, user);
            (link.fixed, user.data)
        }
        UserData::Contact(user) => {
            let link = signed.verify::<ContactData>(link_key).unwrap();
            assert_eq!(link.user, user);
            (link.fixed, user.data)
        }
    };
    let decrypted = &case["decrypted"];
    assert_eq!(verified, *fixed);
    assert_eq!(wire::encode(fixed, Version(0)), hex(&decrypted["fixed"]));
    assert_eq!(**data, hex(&decrypted["user_data"]));
}

/// The case whose data is too large is recorded without it: one byte more than what fits is refused.
fn assert_no_room(fixed: &FixedData, root: &ed25519::PrivateKey, key: &Secret<32>, case: &Value) {
    let nonce = Nonce::from([0; 24]);
    let seal = |length| {
        let data = Large::try_from(vec![b'u'; length].as_slice()).unwrap();
        let versions = versions(case);
        let user = UserData::Invitation(InvitationData { versions, data });
        SignedLinkData::sign(fixed, &user, root).seal_user(key, &nonce)
    };
    let recorded = hex(&case["decrypted"]["user_data"]).len();
    let room = PADDED_USER - padding::LENGTH - hex(&case["signed_user_data"]).len();
    assert!(seal(recorded + room).is_ok());
    let too_large = PaddingError::TooLarge(PADDED_USER - 1, PADDED_USER);
    assert_eq!(seal(recorded + room + 1), Err(too_large));
}

pub(super) fn short_link_data_verification(group: &Value) {
    let other_key = ed25519_pair(&load(FILE)["other_key"]).public_key();
    let mut comparison = Comparison::of(FILE, "short_link_data_verification");
    for case in cases(group) {
        let name = vectors::text(&case["case"]);
        let key = Secret::from_bytes(array(&case["encryption_key"]));
        let user: Signed = wire::decode_slice(
            Version(0),
            &hex(&case["encrypted_user_data_signed_plaintext"]),
        )
        .unwrap();
        let parts = SignedLinkData {
            fixed: user.clone(),
            user,
        };
        let nonce = Nonce::from(array(&case["encrypted_user_data_nonce"]));
        let data = LinkData {
            fixed: Large::try_from(base64(&case["encrypted_fixed_data"]).as_slice()).unwrap(),
            user: parts.seal_user(&key, &nonce).unwrap(),
        };
        let link_key = LinkKey::from_bytes(array(&case["link_key"]));
        let opened = SignedLinkData::open(&key, &data);
        if let Ok(signed) = &opened {
            let by_other = |part: &Signed| other_key.verify(&part.data, &part.signature).is_ok();
            assert_eq!(
                by_other(&signed.fixed),
                name == "fixed data signed by other key"
            );
            assert_eq!(
                by_other(&signed.user),
                name == "user data signed by other key"
            );
        }
        let verified = opened.and_then(|signed| signed.verify::<ContactData>(&link_key));
        let ours = match verified {
            Ok(_) => json!({ "ok": "ok" }),
            Err(error) => json!({ "error": shown(&error) }),
        };
        let reference = match case.get("ok") {
            Some(ok) => json!({ "ok": ok }),
            None => json!({ "error": case["error"] }),
        };
        comparison.result(name, &ours, &reference);
    }
    comparison.finish();
}

/// The error as the reference names it.
fn shown(error: &LinkError) -> String {
    let link = |text: &str| format!("AGENT {{agentErr = A_LINK {{linkErr = {text:?}}}}}");
    match error {
        LinkError::Decrypt => "AGENT {agentErr = A_CRYPTO {cryptoErr = DECRYPT_CB}}".to_owned(),
        LinkError::Parse(_) => "AGENT {agentErr = A_MESSAGE}".to_owned(),
        LinkError::Hash => link("link data hash"),
        LinkError::FixedSignature => link("link data signature"),
        LinkError::DuplicateOwner(id) => link(&format!(
            "duplicate owner key or ID {}",
            text::base64url(id)
        )),
        LinkError::UnauthorizedOwner(id) => link(&format!(
            "invalid authorization of owner ID {}",
            text::base64url(id)
        )),
        LinkError::UserSignature => link("user data signature"),
    }
}

fn root(case: &Value) -> ed25519::PrivateKey {
    ed25519_pair(&case["root_key"])
}

fn versions(case: &Value) -> VersionRange {
    let range = &case["agent_versions"];
    VersionRange::new(version(&range[0]).0, version(&range[1]).0).unwrap()
}

fn fixed_data(case: &Value) -> FixedData {
    let mut request = BytesMut::from(&hex(&case["connection_request_smp"])[..]);
    if !case["link_entity_id"].is_null() {
        let id = Short::try_from(hex(&case["link_entity_id"]).as_slice()).unwrap();
        id.put(Version(0), &mut request);
    }
    FixedData {
        versions: versions(case),
        root_key: root(case).public_key(),
        request: request.freeze(),
    }
}

/// The recorded data lacks the versions, which follow the kind.
fn user_data(case: &Value) -> UserData {
    let recorded = Bytes::from(hex(&case["user_link_data"]));
    let mut bytes = BytesMut::new();
    bytes.put_slice(&recorded[..1]);
    versions(case).put(Version(0), &mut bytes);
    bytes.put_slice(&recorded[1..]);
    let user: UserData = wire::decode_slice(Version(0), &bytes).unwrap();
    assert_encoding(&user, &bytes);
    user
}

fn contact(owners: Vec<Owner>) -> ContactData {
    ContactData {
        versions: VersionRange::only(Version(7)),
        direct: true,
        owners: List::try_from(owners).unwrap(),
        relays: List::default(),
        data: Large::default(),
    }
}
