//! Transmissions, their batches and blocks, as senders make them and as the router sees them.

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use simplex_sans_io::crypto::Secret;
use simplex_sans_io::crypto::block_chain::BlockChains;
use simplex_sans_io::smp::batch::{self, Batch};
use simplex_sans_io::smp::block::Blocks;
use simplex_sans_io::smp::transmission::{Authorization, Session, Transmission, Unauthorized};
use simplex_sans_io::smp::{Command, ErrorType};
use simplex_sans_io::wire::{self, CorrId, EntityId, Id, Version};
use simplex_tests::vectors::keys::{auth_pair, authorize, authorizes, ed25519_pair, x25519_pair};
use simplex_tests::vectors::{
    array, base64, cases, hex, hexed, load, number, text, version, versions,
};

use super::FILE;
use super::fields::{bytes, id};

const LATEST: Version = Version(20);

pub(super) fn transmissions(group: &Value) {
    let file = load(FILE);
    let router = x25519_pair(&file["server_session_key"]);
    let (service, fingerprint) = (
        ed25519_pair(&file["service"]["session_key"]),
        hex(&file["service"]["cert_hash"]),
    );
    for case in cases(group) {
        let command: Command = wire::decode(LATEST, &bytes(&case["command_v20"])).unwrap();
        let (corr_id, entity_id) = (corr_id(&case["corr_id"]), id(&case["entity_id"]));
        let key = case["key"].get("key").map(auth_pair);
        // The queue's key authorises the service too, but for the commands that are not the service's.
        let for_service = text(&case["case"]).starts_with("SUB in service session");
        for recorded in cases(&case["transmissions"]) {
            for version in versions(&recorded["versions"]) {
                let session = session(version);
                let unauthorized = Unauthorized::new(&session, &corr_id, &entity_id, &command);
                let authorized = unauthorized.authorized();
                assert_eq!(*authorized, hex(&recorded["authorized"]));

                let service_signature = for_service.then(|| service.sign(authorized));
                let authorized = match for_service {
                    true => [&fingerprint, &authorized[..]].concat(),
                    false => authorized.to_vec(),
                };
                let authorization = key.as_ref().map(|key| {
                    let made = authorize(key, &router.public_key(), &corr_id, &authorized);
                    let public_key = key.public_key();
                    assert!(authorizes(
                        &made,
                        &public_key,
                        &router,
                        &corr_id,
                        &authorized
                    ));
                    made
                });
                let transmission = unauthorized.authorize(
                    &session,
                    authorization.as_ref(),
                    service_signature.as_ref(),
                );
                assert_eq!(transmission, hex(&recorded["transmission"]), "{case}");
                let content = content(&[transmission]);
                assert_eq!(content, hex(&recorded["block_content"]));
                assert_eq!(router_view(&session, &content), recorded["parsed"]);
            }
        }
    }
}

pub(super) fn block_parsing(group: &Value) {
    for case in cases(group) {
        let session = session(version(&case["version"]));
        let view = router_view(&session, &bytes(&case["content"]));
        assert_eq!(view, case["parsed"], "{case}");
    }
}

pub(super) fn server_decoding(group: &Value) {
    for case in cases(group) {
        let session = session(version(&case["version"]));
        let mut view = router_view(&session, &bytes(&case["content"]));
        for response in view.as_array_mut().unwrap() {
            let response = response.as_object_mut().unwrap();
            response.retain(|name, _| {
                ["corr_id", "entity_id", "error", "command_v20"].contains(&name.as_str())
            });
            if let Some(command) = response.remove("command_v20") {
                response.insert("command".to_owned(), command);
            }
        }
        assert_eq!(view, case["responses"], "{case}");
    }
}

/// What the router takes from a block, and what it answers at once.
fn router_view(session: &Session, content: &Bytes) -> Value {
    let error = |corr_id: &[u8], entity_id: &[u8], error: ErrorType| {
        json!({
            "corr_id": hexed(corr_id),
            "entity_id": hexed(entity_id),
            "error": error.to_string(),
        })
    };
    let Some(transmissions) = batch::unpack(content) else {
        return json!([error(&[], &[], ErrorType::Block)]);
    };
    let view = |bytes: &Bytes| {
        let transmission = match Transmission::parse(session, bytes) {
            Ok(transmission) => transmission,
            Err(malformed) => return error(&malformed.corr_id, &[], malformed.error),
        };
        match transmission.parse_command(session.version) {
            Ok(command) => accepted(session, &transmission, &command),
            Err(refused) => error(&transmission.corr_id, &transmission.entity_id, refused),
        }
    };
    transmissions.iter().map(view).collect()
}

fn accepted(session: &Session, transmission: &Transmission, command: &Command) -> Value {
    let authorization = transmission.authorization.as_ref();
    let service_signature = transmission.service_signature.as_ref();
    json!({
        "authorization": authorization.map(|authorization| match authorization {
            Authorization::Signature(bytes) => json!({ "signature": hexed(bytes.as_bytes()) }),
            Authorization::Authenticator(bytes) => json!({ "authenticator": hexed(bytes.as_bytes()) }),
        }),
        "service_signature": service_signature.map(|signature| hexed(signature.as_bytes())),
        "authorized": hexed(transmission.authorized(session).to_bytes()),
        "corr_id": hexed(&*transmission.corr_id),
        "entity_id": hexed(&*transmission.entity_id),
        "command_v20": hexed(wire::encode(command, LATEST)),
    })
}

pub(super) fn batches(group: &Value) {
    for case in cases(group) {
        let sizes: Vec<usize> = cases(&case["body_sizes"]).map(number).collect();
        let transmissions: Vec<Bytes> = sizes.iter().map(|size| vec![0; size + 1].into()).collect();
        let packed = batch::pack(&transmissions)
            .into_iter()
            .map(|batch| match batch {
                Batch::Block(range) => json!({
                    "count": range.len(),
                    "transmissions": range.clone().collect::<Vec<_>>(),
                    "content_len": batch::content_length(&transmissions[range]),
                }),
                Batch::TooLarge(index) => {
                    assert!(!batch::fits(&transmissions[index]));
                    json!({ "error": "TELargeMsg", "transmission": index })
                }
            });
        assert_eq!(packed.collect::<Value>(), case["batches"]);
    }
}

pub(super) fn sub_batch_capacity(group: &Value) {
    let key = ed25519_pair(&load(FILE)["service"]["session_key"]);
    for case in cases(group) {
        let session = session(version(&case["version"]));
        let (corr_id, recipient_id) = (CorrId::from([1; 24]), EntityId::from([2; 24]));
        let subscribe = Unauthorized::new(&session, &corr_id, &recipient_id, &Command::Sub);
        let signature = Authorization::Signature(key.sign(subscribe.authorized()).into());
        let subscribe = subscribe.authorize(&session, Some(&signature), None);
        let transmissions = vec![subscribe; number(&case["subs"])];
        let packed = batch::pack(&transmissions)
            .into_iter()
            .map(|batch| match batch {
                Batch::Block(range) => json!({
                    "count": range.len(),
                    "len": batch::content_length(&transmissions[range]),
                }),
                Batch::TooLarge(index) => unreachable!("transmission {index} is small"),
            });
        assert_eq!(packed.collect::<Value>(), case["batches"]);
    }
}

pub(super) fn blocks(group: &Value) {
    let [plain, from_client, from_router] = &group.as_array().unwrap()[..] else {
        unreachable!("three blocks")
    };
    assert_blocks(Blocks::new(), Blocks::new(), plain);

    let client = x25519_pair(&from_client["client_session_key"]);
    let router = x25519_pair(&from_client["server_session_key"]);
    let secret = client.agree(&router.public_key());
    assert_eq!(secret.as_bytes(), &array(&from_client["session_secret"]));
    let session_id = hex(&from_client["session_id"]);
    let chains = || {
        let secret = Secret::from_bytes(*secret.as_bytes());
        let client = BlockChains::client(&session_id, &secret);
        (client, BlockChains::router(&session_id, &secret))
    };
    for (case, from_client) in [(from_client, true), (from_router, false)] {
        assert_eq!(version(&case["version"]), LATEST);
        let (client, router) = chains();
        let (sender, receiver) = match from_client {
            true => (client, router),
            false => (router, client),
        };
        let (key, nonce) = sender.send.clone().advance();
        assert_eq!(key.as_bytes(), &array(&case["key"]));
        assert_eq!(nonce.as_bytes(), &array(&case["nonce"]));
        let (mut sending, mut receiving) = (Blocks::new(), Blocks::new());
        sending.encrypt(sender);
        receiving.encrypt(receiver);
        assert_blocks(sending, receiving, case);
    }
}

/// The content makes the block, and the block holds the content.
fn assert_blocks(mut sender: Blocks, mut receiver: Blocks, case: &Value) {
    let content = bytes(&case["content"]);
    let mut block = BytesMut::new();
    sender.put(content.len(), &mut block, |out| {
        out.extend_from_slice(&content)
    });
    assert_eq!(block, base64(&case["block_base64"]));
    assert!(receiver.receive(&block).is_empty());
    assert_eq!(receiver.take(), Some(Ok(content)));
}

fn content(transmissions: &[Bytes]) -> Bytes {
    let mut content = BytesMut::new();
    batch::put_content(transmissions, &mut content);
    content.freeze()
}

fn session(version: Version) -> Session {
    let id = Id::try_from(hex(&load(FILE)["session_id"]).as_slice()).unwrap();
    Session { version, id }
}

fn corr_id(value: &Value) -> CorrId {
    CorrId::try_from(hex(value).as_slice()).unwrap()
}
