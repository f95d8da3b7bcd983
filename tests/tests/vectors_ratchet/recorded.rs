//! States and keys as the vectors have them.

use std::collections::VecDeque;

use serde_json::Value;
use simplex_sans_io::crypto::{kem, x448};
use simplex_sans_io::ratchet::{
    E2eParams, FreshKeys, KemParams, KemProposal, Pq, Ratchet, SkippedId, SkippedKey, SkippedKeys,
};
use simplex_sans_io::wire::{self, Large, Short, Source, Version, Wire, text};
use simplex_tests::vectors::{array, base64, cases, hex, number};

/// The keys that the reference has drawn, in the order in which they are asked for.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    agreement: VecDeque<x448::PrivateKey>,
    kem: VecDeque<kem::PrivateKey>,
    encapsulated: VecDeque<(kem::Ciphertext, kem::SharedSecret)>,
}

impl Recorded {
    /// Those of a joiner: its parameters' and its first ratchet key.
    pub(super) fn of_joiner(scenario: &Value) -> Self {
        let [key1, key2] = key_pair(&scenario["joiner_private_keys"]);
        let mut recorded = Self::of_turn(&scenario["joiner_state"]);
        recorded.agreement.push_front(key2);
        recorded.agreement.push_front(key1);
        let stored = (!scenario["joiner_private_kem"].is_null())
            .then(|| PrivateKem::read(&base64(&scenario["joiner_private_kem"])));
        let kem = recorded.kem.front().cloned();
        assert_eq!(stored.as_ref().map(|stored| &stored.key), kem.as_ref());
        let encapsulated = recorded.encapsulated.front().cloned();
        assert_eq!(stored.and_then(|stored| stored.accepted), encapsulated);
        recorded
    }

    /// Those that have led to a state, if it was a turn of the ratchet.
    pub(super) fn of_turn(state: &Value) -> Self {
        let pkcs8 = decoded(&Value::from(utf8(decoded(&state["rcDHRs"]))));
        let agreement = x448::PrivateKey::from_pkcs8(&pkcs8).unwrap();
        let mut recorded = Self {
            agreement: [agreement].into(),
            ..Self::default()
        };
        let kem = &state["rcKEM"];
        if !kem.is_null() {
            let key = kem::PrivateKey::from_bytes(&decoded(&kem["rcPQRs"][1])).unwrap();
            assert_eq!(key.public_key().as_bytes(), decoded(&kem["rcPQRs"][0]));
            recorded.kem.push_back(key);
        }
        let accepted = &kem["rcKEMs"];
        if !accepted.is_null() {
            let ciphertext = kem::Ciphertext::from_bytes(&decoded(&accepted["rcPQRct"])).unwrap();
            let secret = decoded(&accepted["rcPQRss"]).try_into().unwrap();
            let secret = kem::SharedSecret::from_bytes(secret);
            recorded.encapsulated.push_back((ciphertext, secret));
        }
        recorded
    }

    /// What was drawn in vain: nothing may be left.
    pub(super) fn left(&self) -> usize {
        self.agreement.len() + self.kem.len() + self.encapsulated.len()
    }
}

impl FreshKeys for Recorded {
    fn agreement_key(&mut self) -> x448::PrivateKey {
        self.agreement.pop_front().unwrap()
    }

    fn kem_key(&mut self) -> kem::PrivateKey {
        self.kem.pop_front().unwrap()
    }

    fn encapsulate(&mut self, _: &kem::PublicKey) -> (kem::Ciphertext, kem::SharedSecret) {
        self.encapsulated.pop_front().unwrap()
    }
}

/// A private KEM key as the reference stores it beside the keys of X3DH.
struct PrivateKem {
    accepted: Option<(kem::Ciphertext, kem::SharedSecret)>,
    key: kem::PrivateKey,
}

impl PrivateKem {
    fn read(bytes: &[u8]) -> Self {
        let source = Source::borrowed(Version(0));
        let (accepted, rest) = match bytes.split_first().unwrap() {
            (b'P', rest) => (None, rest),
            (b'A', rest) => {
                let (rest, (ciphertext, secret)) =
                    <(kem::Ciphertext, Short)>::parse(source, rest).unwrap();
                let secret = kem::SharedSecret::from_bytes(secret[..].try_into().unwrap());
                (Some((ciphertext, secret)), rest)
            }
            (tag, _) => panic!("a KEM key with tag {tag}"),
        };
        let (_, (public, key)) = <(Large, Large)>::parse(source, rest).unwrap();
        let key = kem::PrivateKey::from_bytes(&key).unwrap();
        assert_eq!(key.public_key().as_bytes(), &public[..]);
        Self { accepted, key }
    }
}

/// The keys that an initiator has offered: fresh ones, in their order.
pub(super) fn offered(scenario: &Value) -> Recorded {
    let stored = &scenario["initiator_private_kem"];
    let kem = (!stored.is_null()).then(|| PrivateKem::read(&base64(stored)).key);
    Recorded {
        agreement: key_pair(&scenario["initiator_private_keys"]).into(),
        kem: kem.into_iter().collect(),
        ..Recorded::default()
    }
}

pub(super) fn initiator_params(scenario: &Value) -> E2eParams<KemProposal> {
    wire::decode_slice(Version(0), &base64(&scenario["initiator_params"])).unwrap()
}

pub(super) fn joiner_params(scenario: &Value) -> E2eParams<KemParams> {
    wire::decode_slice(Version(0), &base64(&scenario["joiner_params"])).unwrap()
}

/// A state, whose stored form comes back. What older programs have not stored is off.
pub(super) fn state(value: &Value) -> Ratchet {
    let ratchet = Ratchet::from_reference_json(&value.to_string()).unwrap();
    let mut older = value.clone();
    let fields = older.as_object_mut().unwrap();
    for flag in ["rcSupportKEM", "rcEnableKEM", "rcSndKEM", "rcRcvKEM"] {
        if fields[flag] == false {
            fields.remove(flag);
        }
    }
    let older = Ratchet::from_reference_json(&older.to_string());
    assert_eq!(older.as_ref(), Ok(&ratchet));
    assert_eq!(
        Ratchet::from_bytes(&ratchet.to_bytes()),
        Ok(ratchet.clone())
    );
    ratchet
}

/// The skipped keys, of which the reference does not know whether they are of a chain with a post-quantum secret.
pub(super) fn skipped(value: &Value, pq: Pq) -> SkippedKeys {
    let keys = cases(value).map(|row| SkippedKey {
        id: SkippedId {
            header_key: array::<32>(&row["header_key"]).into(),
            number: u32::try_from(number(&row["n"])).unwrap(),
        },
        key: wire::decode_slice(Version(0), &hex(&row["message_key_and_iv"])).unwrap(),
        pq,
    });
    keys.collect()
}

fn key_pair(value: &Value) -> [x448::PrivateKey; 2] {
    [&value[0], &value[1]].map(|key| x448::PrivateKey::from_bytes(array(key)))
}

fn decoded(value: &Value) -> Vec<u8> {
    text::parse_base64url(value.as_str().unwrap()).unwrap()
}

fn utf8(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}
