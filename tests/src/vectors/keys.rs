//! Recorded key pairs.

use serde_json::Value;
use simplex_sans_io::crypto::{
    AuthPrivateKey, AuthPublicKey, Authenticator, Nonce, PrivateKey, PublicKey, Signature,
    SigningKey, VerifyingKey, ed448, ed25519, x448, x25519,
};
use simplex_sans_io::smp::transmission::Authorization;

use super::{array, hex};

/// An X25519 pair, both halves of which have the recorded forms.
#[must_use]
pub fn x25519_pair(pair: &Value) -> x25519::PrivateKey {
    let key = x25519::PrivateKey::from_bytes(array(&pair["priv_raw"]));
    let public_key = x25519::PublicKey::from_bytes(array(&pair["pub_raw"]));
    assert_eq!(key.public_key(), public_key);
    assert_pair(pair, key.clone().into(), public_key.into());
    key
}

/// An X448 pair, both halves of which have the recorded forms.
#[must_use]
pub fn x448_pair(pair: &Value) -> x448::PrivateKey {
    let key = x448::PrivateKey::from_bytes(array(&pair["priv_raw"]));
    let public_key = x448::PublicKey::from_bytes(array(&pair["pub_raw"]));
    assert_eq!(key.public_key(), public_key);
    assert_pair(pair, key.clone().into(), public_key.into());
    key
}

/// An Ed25519 pair, both halves of which have the recorded forms.
#[must_use]
pub fn ed25519_pair(pair: &Value) -> ed25519::PrivateKey {
    let key = ed25519::PrivateKey::from_bytes(array(&pair["priv_raw"]));
    let public_key = ed25519::PublicKey::from_bytes(array(&pair["pub_raw"]));
    assert_eq!(key.public_key(), public_key);
    assert_pair(pair, key.clone().into(), public_key.into());
    key
}

/// An Ed448 pair, both halves of which have the recorded forms.
#[must_use]
pub fn ed448_pair(pair: &Value) -> ed448::PrivateKey {
    let key = ed448::PrivateKey::from_bytes(array(&pair["priv_raw"]));
    let public_key = ed448::PublicKey::from_bytes(array(&pair["pub_raw"]));
    assert_eq!(key.public_key(), public_key);
    assert_pair(pair, key.clone().into(), public_key.into());
    key
}

/// A pair that signs; its length tells its algorithm.
#[must_use]
pub fn signing_pair(pair: &Value) -> SigningKey {
    let key = match hex(&pair["priv_raw"]).len() {
        32 => ed25519_pair(pair).into(),
        _ => ed448_pair(pair).into(),
    };
    let from_der = SigningKey::from_pkcs8(&hex(&pair["priv_pkcs8"]));
    assert_eq!(from_der.as_ref(), Ok(&key));
    key
}

/// A pair that authorises commands on a queue.
///
/// # Panics
///
/// If its algorithm cannot.
#[must_use]
#[expect(clippy::unwrap_used, reason = "a key that is none fails the test")]
pub fn auth_pair(pair: &Value) -> AuthPrivateKey {
    let key = AuthPrivateKey::from_pkcs8(&hex(&pair["priv_pkcs8"])).unwrap();
    assert_eq!(key.as_bytes(), hex(&pair["priv_raw"]));
    assert_eq!(key.public_key().to_spki(), hex(&pair["pub_spki"]));
    key
}

/// What authorises these bytes by a key of a queue, in a session where the router has this key.
#[must_use]
pub fn authorize(
    key: &AuthPrivateKey,
    router: &x25519::PublicKey,
    corr_id: &[u8],
    authorized: &[u8],
) -> Authorization {
    let signature: Signature = match key {
        AuthPrivateKey::Ed25519(key) => key.sign(authorized).into(),
        AuthPrivateKey::Ed448(key) => key.sign(authorized).into(),
        AuthPrivateKey::X25519(key) => {
            let (secret, nonce) = (key.agree(router), Nonce::from_bytes(corr_id));
            return Authorization::Authenticator(Authenticator::new(&secret, &nonce, authorized));
        }
    };
    Authorization::Signature(signature)
}

/// Whether that is what authorises these bytes by a key of a queue, as the router sees it.
#[must_use]
pub fn authorizes(
    authorization: &Authorization,
    key: &AuthPublicKey,
    router: &x25519::PrivateKey,
    corr_id: &[u8],
    authorized: &[u8],
) -> bool {
    match (authorization, key) {
        (Authorization::Signature(signature), AuthPublicKey::Ed25519(key)) => {
            VerifyingKey::from(*key)
                .verify(authorized, signature)
                .is_ok()
        }
        (Authorization::Signature(signature), AuthPublicKey::Ed448(key)) => {
            VerifyingKey::from(*key)
                .verify(authorized, signature)
                .is_ok()
        }
        (Authorization::Authenticator(authenticator), AuthPublicKey::X25519(key)) => {
            let (secret, nonce) = (router.agree(key), Nonce::from_bytes(corr_id));
            authenticator.verify(&secret, &nonce, authorized).is_ok()
        }
        (Authorization::Signature(_), AuthPublicKey::X25519(_))
        | (Authorization::Authenticator(_), AuthPublicKey::Ed25519(_) | AuthPublicKey::Ed448(_)) => {
            false
        }
    }
}

/// Both halves have the recorded DER forms, and these have no other value.
fn assert_pair(pair: &Value, private_key: PrivateKey, public_key: PublicKey) {
    assert_eq!(private_key.public_key(), public_key);
    assert_eq!(private_key.to_pkcs8()[..], hex(&pair["priv_pkcs8"]));
    assert_eq!(public_key.to_spki(), hex(&pair["pub_spki"]));
    assert_eq!(
        PrivateKey::from_pkcs8(&hex(&pair["priv_pkcs8"])),
        Ok(private_key)
    );
    assert_eq!(
        PublicKey::from_spki(&hex(&pair["pub_spki"])),
        Ok(public_key)
    );
}
