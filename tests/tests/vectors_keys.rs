//! Keys, signatures, nonces and hashes are encoded as the reference encodes them: the key groups of `encoding.json`.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

use serde_json::Value;
use simplex_sans_io::crypto::{
    AuthPublicKey, IdsHash, KeyError, Nonce, PrivateKey, PublicKey, Signature, SigningKey,
    VerifyingKey, ed448, ed25519, x25519,
};
use simplex_sans_io::wire::{self, Version, text as text_encoding};
use simplex_tests::vectors::{KEY_GROUPS, array, assert_encoding, cases, hex, text};

mod group {
    simplex_tests::vector_groups! { "encoding.json":
        auth_key_decode,
        cb_nonce_decode,
        cb_nonce_from_bytes,
        cb_nonce_reverse,
        keys,
        private_key_decode,
        public_key_decode_any,
        queue_ids_hash,
        signature_decode,
        signatures,
        x25519_key_decode,
    }
}

#[test]
fn every_key_group_is_consumed() {
    assert_eq!(group::CONSUMED, KEY_GROUPS);
}

fn keys(group: &Value) {
    for case in cases(group) {
        let public_key = PublicKey::from_spki(&hex(&case["pub_spki"])).unwrap();
        assert_eq!(
            format!("{:?}", public_key.algorithm()),
            text(&case["algorithm"])
        );
        assert_eq!(public_key.as_bytes(), hex(&case["pub_raw"]));
        assert_eq!(public_key.to_spki(), hex(&case["pub_spki"]));
        assert_encoding(&public_key, &hex(&case["pub_smp"]));
        assert_eq!(
            text_encoding::base64url(&public_key.to_spki()),
            text(&case["pub_text"])
        );
        let from_text = text_encoding::parse_base64url_field(text(&case["pub_text"])).unwrap();
        assert_eq!(PublicKey::from_spki(&from_text), Ok(public_key));

        let private_key = PrivateKey::from_pkcs8(&hex(&case["priv_pkcs8"])).unwrap();
        assert_eq!(private_key.as_bytes(), hex(&case["priv_raw"]));
        assert_eq!(private_key.to_pkcs8()[..], hex(&case["priv_pkcs8"]));
        assert_eq!(private_key.public_key(), public_key);
    }
}

fn public_key_decode_any(group: &Value) {
    for case in cases(group) {
        let der = hex(&case["hex"]);
        match (PublicKey::from_spki(&der), case.get("ok")) {
            (Ok(key), Some(ok)) => {
                assert_eq!(format!("{:?}", key.algorithm()), text(&ok["algorithm"]));
                assert_eq!(key.as_bytes(), hex(&ok["pub_raw"]));
                assert_eq!(key.to_spki(), der);
            }
            (decoded, ok) => {
                assert_eq!(
                    (decoded, ok),
                    (Err(KeyError::Encoding), None),
                    "{}",
                    case["hex"]
                );
            }
        }
    }
}

fn auth_key_decode(group: &Value) {
    for case in cases(group) {
        let der = hex(&case["hex"]);
        match (AuthPublicKey::from_spki(&der), case.get("ok")) {
            (Ok(key), Some(ok)) => {
                assert_eq!(format!("{:?}", key.algorithm()), text(&ok["algorithm"]));
                assert_eq!(key.as_bytes(), hex(&ok["pub_raw"]));
                assert_eq!(key.to_spki(), der);
            }
            (decoded, ok) => assert!(
                matches!((&decoded, ok), (Err(KeyError::Algorithm(_)), None)),
                "{decoded:?} from {}",
                case["hex"]
            ),
        }
    }
}

fn x25519_key_decode(group: &Value) {
    for case in cases(group) {
        let der = hex(&case["hex"]);
        match (x25519::PublicKey::from_spki(&der), case.get("ok")) {
            (Ok(key), Some(ok)) => {
                assert_eq!(key, x25519::PublicKey::from_bytes(array(ok)));
                assert_eq!(key.to_spki()[..], der);
            }
            (decoded, ok) => assert!(
                matches!((&decoded, ok), (Err(KeyError::Algorithm(_)), None)),
                "{decoded:?} from {}",
                case["hex"]
            ),
        }
    }
}

fn private_key_decode(group: &Value) {
    for case in cases(group) {
        let der = hex(&case["hex"]);
        match (PrivateKey::from_pkcs8(&der), case.get("ok")) {
            (Ok(key), Some(ok)) => {
                assert_eq!(format!("{:?}", key.algorithm()), text(&ok["algorithm"]));
                assert_eq!(key.as_bytes(), hex(&ok["priv_raw"]));
                assert_eq!(key.to_pkcs8()[..], der);
            }
            (decoded, ok) => {
                assert_eq!(
                    (decoded, ok),
                    (Err(KeyError::Encoding), None),
                    "{}",
                    case["hex"]
                );
            }
        }
    }
}

fn signatures(group: &Value) {
    for case in cases(group) {
        let public_key = VerifyingKey::from_spki(&hex(&case["key_pub_spki"])).unwrap();
        let key: SigningKey = match public_key {
            VerifyingKey::Ed25519(_) => {
                ed25519::PrivateKey::from_bytes(array(&case["key_priv_raw"])).into()
            }
            VerifyingKey::Ed448(_) => {
                ed448::PrivateKey::from_bytes(array(&case["key_priv_raw"])).into()
            }
        };
        assert_eq!(key.public_key(), public_key);
        let message = hex(&case["message"]);
        let signature = key.sign(&message);
        assert_eq!(
            format!("{:?}", signature.algorithm()),
            text(&case["algorithm"])
        );
        assert_eq!(signature.as_bytes(), hex(&case["signature"]));
        assert_eq!(key.public_key().verify(&message, &signature), Ok(()));
        assert_encoding(&signature, &hex(&case["smp"]));
        assert_eq!(
            text_encoding::base64url(signature.as_bytes()),
            text(&case["text"])
        );
        let from_text = text_encoding::parse_base64url_field(text(&case["text"])).unwrap();
        assert_eq!(Signature::from_bytes(&from_text), Ok(signature));
    }
}

fn signature_decode(group: &Value) {
    for case in cases(group) {
        let bytes = hex(&case["hex"]);
        match (Signature::from_bytes(&bytes), case.get("ok")) {
            (Ok(signature), Some(ok)) => {
                assert_eq!(format!("{:?}", signature.algorithm()), text(ok));
                assert_eq!(signature.as_bytes(), bytes);
            }
            (decoded, ok) => {
                assert_eq!(
                    (decoded, ok),
                    (Err(KeyError::SignatureLength(bytes.len())), None)
                );
            }
        }
    }
}

fn cb_nonce_decode(group: &Value) {
    for case in cases(group) {
        let bytes = hex(&case["hex"]);
        match case.get("ok") {
            Some(ok) => {
                assert_eq!(hex(ok), bytes);
                assert_encoding(&Nonce::from(array(ok)), &bytes);
            }
            None => assert!(wire::decode_slice::<Nonce>(Version(0), &bytes).is_err()),
        }
    }
}

fn cb_nonce_from_bytes(group: &Value) {
    for case in cases(group) {
        let nonce = Nonce::from_bytes(&hex(&case["bytes"]));
        assert_eq!(nonce, Nonce::from(array(&case["nonce"])));
    }
}

fn cb_nonce_reverse(group: &Value) {
    for case in cases(group) {
        let (nonce, reversed) = (
            Nonce::from(array(&case["nonce"])),
            Nonce::from(array(&case["reversed"])),
        );
        assert_eq!(nonce.reversed(), reversed);
        assert_eq!(reversed.reversed(), nonce);
    }
}

fn queue_ids_hash(group: &Value) {
    for case in cases(group) {
        let ids: Vec<Vec<u8>> = cases(&case["queue_ids"]).map(hex).collect();
        let expected = IdsHash::from_bytes(array(&case["hash"]));
        assert_eq!(IdsHash::of(&ids), expected);

        let mut hash = IdsHash::EMPTY;
        ids.iter().for_each(|id| hash.add(id));
        assert_eq!(hash, expected);
        ids.iter().rev().for_each(|id| hash.remove(id));
        assert_eq!(hash, IdsHash::EMPTY);
    }
}
