//! Forwarded commands: from the client through the proxy to the relay, and back.

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use simplex_sans_io::crypto::{Nonce, hash};
use simplex_sans_io::smp::proxy::{
    Forwarded, ForwardedResponse, PADDED_TRANSMISSION, RelaySession,
};
use simplex_sans_io::smp::transmission::{Session, Transmission, Unauthorized};
use simplex_sans_io::smp::{BrokerMessage, Command, batch};
use simplex_sans_io::wire::{self, CorrId, EntityId, Id, Wire};
use simplex_tests::vectors::keys::{auth_pair, authorize, authorizes, x25519_pair};
use simplex_tests::vectors::{array, base64, cases, hex, load, number, text, version};

use super::FILE;

pub(super) fn proxy(group: &Value) {
    assert_eq!(
        number(&load(FILE)["proxied_padded_length"]),
        PADDED_TRANSMISSION
    );
    for case in cases(group) {
        forwarded(case);
    }
}

fn forwarded(case: &Value) {
    let relay_key = x25519_pair(&case["relay_session_key"]);
    let command_key = x25519_pair(&case["command_key"]);
    let secret = x25519_pair(&case["proxy_session_key"]).agree(&relay_key.public_key());
    assert_eq!(secret.as_bytes(), &array(&case["proxy_relay_secret"]));
    let (corr_id, rfwd) = (
        corr_id(&case["corr_id_and_nonce"]),
        corr_id(&case["proxy_corr_id_and_nonce"]),
    );
    let relay = RelaySession {
        session: Session {
            version: version(&case["version"]),
            id: Id::try_from(hex(&case["relay_session_id"]).as_slice()).unwrap(),
        },
        key: relay_key.public_key(),
    };

    // The client.
    let request = request(case, &relay, &corr_id);
    assert_eq!(batch_of(&request), hex(&case["inner_block"]));
    let (pfwd, for_client) = relay.seal_with(&request, &corr_id, &command_key).unwrap();
    assert_message(&pfwd, "pfwd_command", case);
    let command_secret = command_key.agree(&relay.key);
    assert_eq!(command_secret.as_bytes(), &array(&case["command_secret"]));

    // The proxy.
    let Command::Pfwd {
        version,
        key,
        encrypted,
    } = pfwd
    else {
        unreachable!("the client forwards")
    };
    let forwarded = Forwarded {
        corr_id: corr_id.clone(),
        version,
        key,
        encrypted,
    };
    let encoded = wire::encode(&forwarded, version);
    assert_eq!(
        hash::sha256(&encoded),
        array(&case["fwd_transmission_sha256"])
    );
    let encrypted = forwarded.encrypt(&secret, &rfwd);
    let sent = Command::Rfwd { encrypted };
    assert_message(&sent, "rfwd_command", case);

    // The relay.
    let Command::Rfwd { encrypted } = sent else {
        unreachable!("the proxy forwards")
    };
    let received = Forwarded::decrypt(&secret, &rfwd, &encrypted).unwrap();
    assert_eq!(received, forwarded);
    let (transmission, for_response) = received.open(&relay_key).unwrap();
    assert_eq!(transmission, request);
    assert_eq!(for_response, for_client);
    let response = response(case, &relay.session, &transmission);
    let response = ForwardedResponse {
        corr_id: received.corr_id,
        encrypted: for_response.seal(&response).unwrap(),
    };
    let encrypted = response.encrypt(&secret, &rfwd);
    assert_message(
        &BrokerMessage::RRes {
            encrypted: encrypted.clone(),
        },
        "rres_response",
        case,
    );

    // The proxy, then the client.
    let opened = ForwardedResponse::decrypt(&secret, &rfwd, &encrypted).unwrap();
    assert_eq!(opened, response);
    let encrypted = opened.encrypted;
    let answer = for_client.open(&encrypted).unwrap();
    assert_eq!(batch_of(&answer), hex(&case["inner_response_block"]));
    assert_message(&BrokerMessage::PRes { encrypted }, "pres_response", case);

    let reversed = |corr_id: &CorrId| *Nonce::from_bytes(corr_id).reversed().as_bytes();
    assert_eq!(reversed(&corr_id), array(&case["reversed_nonce"]));
    assert_eq!(reversed(&rfwd), array(&case["reversed_proxy_nonce"]));
}

/// The transmission that the client wants forwarded.
fn request(case: &Value, relay: &RelaySession, corr_id: &CorrId) -> Bytes {
    let inner = Bytes::from(hex(&case["inner_command"]));
    let command: Command = wire::decode(relay.session.version, &inner).unwrap();
    assert_eq!(command.tag(), text(&case["command"]));
    let unauthorized = Unauthorized::new(&relay.session, corr_id, &entity_id(case), &command);
    let authorized = unauthorized.authorized();
    assert_eq!(*authorized, hex(&case["inner_authorized"]));
    let key = case["sender_key"].get("key").map(auth_pair);
    let authorization = key.map(|key| authorize(&key, &relay.key, corr_id, authorized));
    unauthorized.authorize(&relay.session, authorization.as_ref(), None)
}

/// What the relay answers to the transmission, which must be authorised.
fn response(case: &Value, session: &Session, transmission: &Bytes) -> Bytes {
    let transmission = Transmission::parse(session, transmission).unwrap();
    let authorized = transmission.authorized(session).to_bytes();
    assert_eq!(authorized, hex(&case["relay_parsed"]["authorized"]));
    let command = transmission.parse_command(session.version).unwrap();
    assert_eq!(
        wire::encode(&command, session.version),
        hex(&case["relay_parsed"]["command"])
    );
    let key = case["sender_key"].get("key").map(auth_pair);
    assert_eq!(key.is_some(), transmission.authorization.is_some());
    if let Some((authorization, key)) = transmission.authorization.zip(key) {
        let relay_key = x25519_pair(&case["relay_session_key"]);
        assert!(authorizes(
            &authorization,
            &key.public_key(),
            &relay_key,
            &transmission.corr_id,
            &authorized
        ));
    }
    let (corr_id, entity_id) = (transmission.corr_id, transmission.entity_id);
    Unauthorized::new(session, &corr_id, &entity_id, &BrokerMessage::Ok)
        .authorize(session, None, None)
}

/// The message has the recorded length and digest, and in the first case bytes, and comes back from them.
fn assert_message<T: Wire + PartialEq + std::fmt::Debug>(message: &T, name: &str, case: &Value) {
    let version = version(&case["version"]);
    let encoded = wire::encode(message, version);
    assert_eq!(encoded.len(), number(&case[format!("{name}_len")]));
    let digest = array(&case[format!("{name}_sha256")]);
    assert_eq!(hash::sha256(&encoded), digest, "{name}");
    if let Some(recorded) = case.get(format!("{name}_base64")) {
        assert_eq!(encoded, base64(recorded));
    }
    assert_eq!(wire::decode(version, &encoded).as_ref(), Ok(message));
}

fn batch_of(transmission: &Bytes) -> Bytes {
    let mut content = BytesMut::new();
    batch::put_content(std::slice::from_ref(transmission), &mut content);
    content.freeze()
}

fn corr_id(value: &Value) -> CorrId {
    CorrId::try_from(hex(value).as_slice()).unwrap()
}

fn entity_id(case: &Value) -> EntityId {
    EntityId::try_from(hex(&case["entity_id"]).as_slice()).unwrap()
}
