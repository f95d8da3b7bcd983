//! Two parties, message by message. Each step starts from the state that the reference was in.

use std::collections::BTreeMap;

use bytes::BytesMut;
use serde_json::{Value, json};
use simplex_sans_io::ratchet::{
    DecryptError, E2eParams, EncryptError, EncryptKey, OfferedKeys, Pq, Ratchet, SkippedKey,
    SkippedKeys,
};
use simplex_sans_io::wire::padding::PaddingError;
use simplex_sans_io::wire::{self, Version, VersionRange};
use simplex_tests::vectors::{
    Comparison, base64, boolean, cases, hex, hexed, number, text, version,
};

use super::FILE;
use super::recorded::{self, Recorded};

pub(super) fn scenarios(group: &Value) {
    let mut comparison = Comparison::of(FILE, "scenarios");
    for scenario in cases(group) {
        Scenario::agree(scenario).run(&mut comparison);
    }
    comparison.finish();
}

struct Scenario<'a> {
    recorded: &'a Value,
    parties: BTreeMap<&'a str, Party>,
    messages: BTreeMap<&'a str, Vec<u8>>,
}

#[derive(Clone, PartialEq, Debug)]
struct Party {
    ratchet: Ratchet,
    skipped: SkippedKeys,
}

impl Party {
    /// Whether it is the same, whatever the order of the skipped keys: the reference knows none.
    fn is_like(&self, other: &Self) -> bool {
        let keys = |party: &Self| {
            let mut keys: Vec<_> = party
                .skipped
                .iter()
                .map(|key| key.to_bytes().to_vec())
                .collect();
            keys.sort();
            keys
        };
        self.ratchet == other.ratchet && keys(self) == keys(other)
    }
}

/// What a step gives, and where it leads.
struct Step {
    result: Value,
    party: Party,
}

impl<'a> Scenario<'a> {
    /// Both parties come to their initial states from the keys that were drawn.
    fn agree(recorded: &'a Value) -> Self {
        let params = recorded::initiator_params(recorded);
        let mut keys = recorded::offered(recorded);
        let proposed = Pq::from(!recorded["initiator_private_kem"].is_null());
        let offered = OfferedKeys::generate(&mut keys, proposed);
        assert_eq!(offered.params(params.version), params);
        let offered = OfferedKeys::from_bytes(&offered.to_bytes()).unwrap();

        // The reference's parties agree on a version apart from the parameters.
        let (version, versions) = versions(&recorded["joiner_ratchet_versions"]);
        let params = E2eParams { version, ..params };
        let state = &recorded["joiner_state"];
        let mut keys = Recorded::of_joiner(recorded);
        let (joiner, joiner_params) = if text(&recorded["name"]).contains("as in renegotiation") {
            let own = OfferedKeys::generate(&mut keys, Pq::On);
            let joined = Ratchet::join_offered(&mut keys, &own, &params, versions);
            (joined.unwrap(), own.params(version).into())
        } else {
            let pq = Pq::from(boolean(&state["rcSupportKEM"]));
            Ratchet::joiner(&mut keys, &params, pq, versions).unwrap()
        };
        assert_eq!(keys.left(), 0);
        assert_eq!(joiner, recorded::state(state));
        let params = recorded::joiner_params(recorded);
        assert_eq!(
            E2eParams {
                version: params.version,
                ..joiner_params
            },
            params
        );

        let (version, versions) = self::versions(&recorded["initiator_ratchet_versions"]);
        let params = E2eParams { version, ..params };
        let pq = Pq::from(boolean(&recorded["initiator_pq_support"]));
        let initiator = Ratchet::initiator(&offered, &params, pq, versions).unwrap();
        assert_eq!(initiator, recorded::state(&recorded["initiator_state"]));
        agreed_alike(recorded);

        let party = |ratchet| Party {
            ratchet,
            skipped: SkippedKeys::new(),
        };
        let initiator = (text(&recorded["initiator"]), party(initiator));
        let joiner = (text(&recorded["joiner"]), party(joiner));
        Self {
            recorded,
            parties: [initiator, joiner].into(),
            messages: BTreeMap::new(),
        }
    }

    fn run(mut self, comparison: &mut Comparison) {
        for step in cases(&self.recorded["steps"]) {
            let name = text(&step["party"]);
            let before = self.parties[name].clone();
            let Step { result, party } = match text(&step["op"]) {
                "encrypt" => self.encrypt(&before, step),
                _ => self.decrypt(&before, step),
            };
            let recorded = &step["state_after"];
            let after = (!recorded.is_null()).then(|| {
                let ratchet = recorded::state(recorded);
                let skipped = recorded::skipped(&step["skipped_after"], ratchet.receives_pq());
                Party { ratchet, skipped }
            });
            let state = match &after {
                None => "not recorded",
                Some(after) if after.is_like(&party) => "as recorded",
                Some(_) if before == party => "as before",
                Some(_) => "other",
            };
            let recorded = match &after {
                None => "not recorded",
                Some(_) => "as recorded",
            };
            let case = format!(
                "{}: {} {}",
                text(&self.recorded["name"]),
                text(&step["op"]),
                text(&step["message"])
            );
            let ours = json!({ "result": result, "state": state });
            let reference = json!({ "result": reference(step), "state": recorded });
            comparison.result(&case, &ours, &reference);
            let goes_on = after.filter(|_| state != "as recorded").unwrap_or(party);
            self.parties.insert(name, goes_on);
        }
    }

    fn encrypt(&mut self, before: &Party, step: &'a Value) -> Step {
        let plaintext = hex(&step["plaintext"]);
        let pq = step["pq_encryption"].as_bool().map(Pq::from);
        let mut ratchet = before.ratchet.clone();
        if step.get("note").is_some() {
            for number in 1..513 {
                let skipped = self.encrypted(&ratchet, format!("s{number}").as_bytes(), None);
                ratchet = skipped.unwrap().0;
            }
        }
        let encrypted = self.encrypted(&ratchet, &plaintext, pq);
        let (result, ratchet) = match encrypted {
            Ok((ratchet, key, ciphertext)) => {
                assert_eq!(ciphertext, base64(&step["ok"]["ciphertext"]));
                assert_eq!(ciphertext.len(), number(&step["ok"]["len"]));
                if let Some(recorded) = step["ok"].get("message_encrypt_key") {
                    assert_eq!(hexed(key.to_bytes()), *recorded);
                    assert_eq!(EncryptKey::from_bytes(&key.to_bytes()), Ok(key));
                }
                self.messages.insert(text(&step["message"]), ciphertext);
                ("encrypted".into(), ratchet)
            }
            Err(error) => (json!({ "error": error }), before.ratchet.clone()),
        };
        let party = Party {
            ratchet,
            skipped: before.skipped.clone(),
        };
        Step { result, party }
    }

    fn encrypted(
        &self,
        ratchet: &Ratchet,
        plaintext: &[u8],
        pq: Option<Pq>,
    ) -> Result<(Ratchet, EncryptKey, Vec<u8>), &'static str> {
        let supported = version(&self.recorded["supported_version_passed_to_encrypt"]);
        let step = ratchet
            .encrypt(pq, supported)
            .map_err(|error| match error {
                EncryptError::NoSendingChain => "CERatchetState",
                EncryptError::Exhausted | EncryptError::Header(_) => "other",
            })?;
        assert_eq!(step.pq, ratchet.sends_pq());
        let padded = number(&self.recorded["padded_message_length"]);
        let ciphertext = step
            .key
            .encrypt(plaintext, padded)
            .map_err(|error| match error {
                PaddingError::TooLarge(..) => "CryptoLargeMsgError",
                PaddingError::Invalid => "other",
            })?;
        assert_eq!(ciphertext.len(), step.key.overhead() + padded);
        Ok((step.ratchet, step.key, ciphertext.to_vec()))
    }

    fn decrypt(&self, before: &Party, step: &Value) -> Step {
        let ciphertext = match step.get("ciphertext") {
            Some(altered) => base64(altered),
            None => self.messages[text(&step["message"])].clone(),
        };
        let before_it = before.clone();
        // What is not recorded here draws nothing.
        let mut keys = match step["state_after"].is_null() {
            true => Recorded::default(),
            false => Recorded::of_turn(&step["state_after"]),
        };
        let message = BytesMut::from(&ciphertext[..]);
        let decrypted = before.ratchet.decrypt(&before.skipped, &mut keys, message);
        assert_eq!(*before, before_it);
        match decrypted {
            Ok(decrypted) => {
                let mut skipped = before.skipped.clone();
                skipped.apply(decrypted.skipped);
                assert_eq!(SkippedKeys::from_iter(stored(&skipped)), skipped);
                if !step["state_after"].is_null() {
                    let pq = boolean(&step["state_after"]["rcRcvKEM"]);
                    assert_eq!(decrypted.pq.is_on(), pq);
                }
                let ratchet = decrypted.ratchet;
                Step {
                    result: json!({ "ok": hexed(&decrypted.content) }),
                    party: Party { ratchet, skipped },
                }
            }
            Err(error) => Step {
                result: json!({ "error": shown(error) }),
                party: before.clone(),
            },
        }
    }
}

fn stored(keys: &SkippedKeys) -> Vec<SkippedKey> {
    let keys = keys.iter().map(|key| key.to_bytes());
    keys.map(|key| SkippedKey::from_bytes(&key).unwrap())
        .collect()
}

/// What the reference has computed is what both initial states were made of.
fn agreed_alike(scenario: &Value) {
    let (initiator, joiner) = (&scenario["initiator_x3dh"], &scenario["joiner_x3dh"]);
    let decoded = |value: &Value| hexed(wire::text::parse_base64url(text(value)).unwrap());
    for (name, initiators, joiners) in [
        ("associated_data", "/rcAD", "/rcAD"),
        ("snd_header_key", "/rcNHKr", "/rcSnd/rcHKs"),
        ("rcv_next_header_key", "/rcNHKs", "/rcNHKr"),
    ] {
        assert_eq!(initiator[name], joiner[name]);
        let state = scenario["initiator_state"].pointer(initiators).unwrap();
        assert_eq!(initiator[name], decoded(state), "{name}");
        let state = scenario["joiner_state"].pointer(joiners).unwrap();
        assert_eq!(joiner[name], decoded(state), "{name}");
    }
    assert_eq!(initiator["ratchet_key"], joiner["ratchet_key"]);
    let root = &scenario["initiator_state"]["rcRK"];
    assert_eq!(initiator["ratchet_key"], decoded(root));
}

/// What became of a step there: the reasons of what cannot be parsed are not compared.
fn reference(step: &Value) -> Value {
    let error = ["error", "failed", "error_state_changed"];
    match error.into_iter().find_map(|name| step.get(name)) {
        Some(error) if text(error).starts_with("CryptoHeaderError") => {
            json!({ "error": "CryptoHeaderError" })
        }
        Some(error) => json!({ "error": error }),
        None if text(&step["op"]) == "encrypt" => "encrypted".into(),
        None => json!({ "ok": step["ok"] }),
    }
}

fn shown(error: DecryptError) -> String {
    match error {
        DecryptError::Malformed(_) => "CryptoHeaderError".to_owned(),
        DecryptError::Header => "CERatchetHeader".to_owned(),
        DecryptError::Earlier(number) => format!("CERatchetEarlierMessage {number}"),
        DecryptError::Duplicate => "CERatchetDuplicateMessage".to_owned(),
        DecryptError::Skipped(number) => format!("CERatchetTooManySkipped {number}"),
        DecryptError::Kem => "CERatchetKEMState".to_owned(),
        DecryptError::Body => "AESDecryptError".to_owned(),
    }
}

/// The version in which a ratchet begins, and those that its party supports.
fn versions(recorded: &Value) -> (Version, VersionRange) {
    let (current, max) = (version(&recorded[0]), version(&recorded[1]));
    (current, VersionRange::new(current.0, max.0).unwrap())
}
