//! Certificates and signed session keys are read and written as the reference reads and writes them: two groups of
//! `smp-handshake.json`.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

use serde_json::Value;
use simplex_sans_io::crypto::certificate::{
    Certificate, Chain, ChainKind, Fingerprint, Issuer, Name, SignedKey, Validity,
};
use simplex_sans_io::crypto::der::{Reader, Tag};
use simplex_sans_io::crypto::{InvalidSignature, SigningKey, VerifyingKey, ed448, ed25519, x25519};
use simplex_sans_io::time::UnixTime;
use simplex_sans_io::tls::{CertificateRefused, verify_router};
use simplex_tests::vectors::{CERTIFICATE_GROUPS, array, cases, hex, load, text};

mod group {
    simplex_tests::vector_groups! { "smp-handshake.json":
        certificate_chains,
        signed_keys,
    }
}

#[test]
fn the_groups_are_those_of_certificates() {
    assert_eq!(group::CONSUMED, CERTIFICATE_GROUPS);
}

const NOW: UnixTime = UnixTime::from_seconds(1_800_000_000);

fn certificate_chains(group: &Value) {
    for case in cases(group) {
        let ders: Vec<_> = cases(&case["certs"]).map(hex).collect();
        let chain = Chain::from_der(ders.iter().map(Vec::as_slice)).unwrap();
        assert!(
            chain
                .certificates()
                .map(Certificate::as_der)
                .eq(ders.iter())
        );
        let fingerprint = Fingerprint::from_bytes(array(&case["key_hash"]));
        assert_eq!(chain.fingerprint(), fingerprint);
        assert_eq!(Chain::from_pem(&chain.to_pem()), Ok(chain.clone()));

        let (leaf, authority) = names(text(&case["name"]));
        match chain.kind() {
            ChainKind::SelfSigned => {
                assert_eq!(chain.leaf().verify_self_signed(NOW), Ok(()));
                let refused = verify_router(&chain, &fingerprint, NOW);
                assert_eq!(refused, Err(CertificateRefused::NoIdentity));
            }
            ChainKind::Issued => {
                assert_eq!(verify_router(&chain, &fingerprint, NOW), Ok(()));
                assert_eq!(chain.identity().verify_self_signed(NOW), Ok(()));
                assert_written(chain.identity(), authority, authority);
            }
        }
        assert_written(chain.leaf(), leaf, authority);
    }
}

/// Whom the certificates of a case name: the leaf and its issuer.
fn names(case: &str) -> (&str, &str) {
    match case {
        "server" => ("smp.example", "smp.example CA"),
        "server Ed448" => ("smp448.example", "smp448.example CA"),
        "service" => ("service", "service CA"),
        _ => ("service self", "service self"),
    }
}

/// The keys of the authorities are not recorded, so that all is compared but their signatures.
#[track_caller]
fn assert_written(certificate: &Certificate, name: &str, issuer: &str) {
    let key = match certificate.key() {
        VerifyingKey::Ed25519(_) => SigningKey::from(ed25519::PrivateKey::from_bytes([7; 32])),
        VerifyingKey::Ed448(_) => SigningKey::from(ed448::PrivateKey::from_bytes([7; 57])),
    };
    let validity = certificate.validity();
    let authority = Certificate::self_signed(&Name::new(issuer), &key, validity);
    let issuer = Issuer::new(&authority, &key).unwrap();
    let written = Certificate::bare(&Name::new(name), certificate.key(), &issuer, validity);
    assert_eq!(signed_part(&written), signed_part(certificate));
}

fn signed_part(certificate: &Certificate) -> Vec<u8> {
    let mut parts = Reader::new(certificate.as_der())
        .nested(Tag::SEQUENCE)
        .unwrap();
    parts.encoded(Tag::SEQUENCE).unwrap().to_vec()
}

#[test]
fn a_self_signed_certificate_is_written_byte_for_byte() {
    let file = load("smp-handshake.json");
    let mut sessions = cases(&file["handshakes"]);
    let service = sessions
        .find(|case| text(&case["name"]) == "messaging service with self-signed certificate")
        .map(|case| &case["service"])
        .unwrap();
    let key = ed25519::PrivateKey::from_bytes(array(&service["leaf_key"]["priv_raw"]));
    // 2024-01-01 and a hundred years later.
    let [from, until] = [1_704_067_200, 4_859_740_800].map(UnixTime::from_seconds);
    let validity = Validity::between(from, until);
    let written = Certificate::self_signed(&Name::new("service self"), &key.into(), validity);
    assert_eq!(written.as_der()[..], hex(&service["cert_chain"][0]));
}

fn signed_keys(group: &Value) {
    let file = load("smp-handshake.json");
    let leaf_keys: Vec<_> = cases(&file["handshakes"])
        .map(|case| signing_key(&case["server_leaf_key"]))
        .collect();
    for case in cases(group) {
        let der = hex(&case["signed_key_der"]);
        let signed = SignedKey::from_der(&der).unwrap();
        let signer = VerifyingKey::from_spki(&hex(&case["signer_spki"])).unwrap();
        let key = x25519::PublicKey::from_spki(&hex(&case["key_spki"])).unwrap();
        assert_eq!(signed.verify(&signer), Ok(key));
        assert_eq!(signed.to_der(), der);

        let leaf_key = leaf_keys.iter().find(|key| key.public_key() == signer);
        assert_eq!(SignedKey::sign(key, leaf_key.unwrap()).to_der(), der);
        for other in leaf_keys.iter().filter(|key| key.public_key() != signer) {
            assert_eq!(signed.verify(&other.public_key()), Err(InvalidSignature));
        }
    }
}

fn signing_key(value: &Value) -> SigningKey {
    match text(&value["algorithm"]) {
        "Ed25519" => ed25519::PrivateKey::from_bytes(array(&value["priv_raw"])).into(),
        _ => ed448::PrivateKey::from_bytes(array(&value["priv_raw"])).into(),
    }
}
