//! Keys, signatures and certificates.

use crate::crypto::certificate::{Certificate, Chain, SignedKey};
use crate::crypto::{
    AuthPrivateKey, AuthPublicKey, PrivateKey, PublicKey, Signature, SigningKey, VerifyingKey,
    ed25519, pem, x25519,
};

/// DER of every kind: there is one form of each, so that what is read is what is written.
pub fn keys_and_certificates(data: &[u8]) {
    let Some((_, der)) = data.split_first() else {
        return;
    };
    public_keys(der);
    private_keys(der);
    if let Ok(signature) = Signature::from_bytes(der) {
        assert_eq!(signature.as_bytes(), der);
    }
    if let Ok(signed) = SignedKey::<x25519::PublicKey>::from_der(der) {
        assert_eq!(signed.to_der(), der);
    }
    if let Ok(signed) = SignedKey::<ed25519::PublicKey>::from_der(der) {
        assert_eq!(signed.to_der(), der);
    }
    certificates(der);
}

fn public_keys(der: &[u8]) {
    let key = PublicKey::from_spki(der);
    if let Ok(key) = &key {
        assert_eq!(key.to_spki(), der);
    }
    let spki = AuthPublicKey::from_spki(der).map(|key| key.to_spki());
    assert!(spki.is_err() || key.is_ok());
    let spki = VerifyingKey::from_spki(der).map(|key| key.to_spki());
    assert!(spki.is_err() || key.is_ok());
}

fn private_keys(der: &[u8]) {
    let key = PrivateKey::from_pkcs8(der);
    if let Ok(key) = &key {
        assert_eq!(key.to_pkcs8()[..], *der);
    }
    assert!(AuthPrivateKey::from_pkcs8(der).is_err() || key.is_ok());
    assert!(SigningKey::from_pkcs8(der).is_err() || key.is_ok());
}

fn certificates(der: &[u8]) {
    if let Ok(certificate) = Certificate::from_der(der.to_vec()) {
        assert_eq!(**certificate.as_der(), *der);
        let again = Certificate::from_pem(&certificate.to_pem());
        assert_eq!(again.as_ref(), Ok(&certificate));
        let chain = Chain::new([certificate.clone(), certificate]);
        assert!(chain.is_ok_and(|chain| chain.identity().as_der() == der));
    }
    let Ok(text) = std::str::from_utf8(der) else {
        return;
    };
    for block in pem::read(text).unwrap_or_default() {
        let printed = pem::write(&block.label, &block.der);
        let again = pem::read(&printed).unwrap_or_default();
        assert!(again.iter().all(|again| again.der == block.der));
    }
}
