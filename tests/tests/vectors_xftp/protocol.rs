//! Handshake, commands, responses, errors, transmissions.

use bytes::Bytes;
use serde_json::{Value, json};
use simplex_sans_io::crypto::certificate::{Chain, SignedKey};
use simplex_sans_io::crypto::hash::sha256;
use simplex_sans_io::crypto::{AuthPrivateKey, x25519};
use simplex_sans_io::wire::padding::pad;
use simplex_sans_io::wire::{self, CorrId, EntityId, Id, Version, WireError};
use simplex_sans_io::xftp::handshake::{
    ClientHandshake, ClientHello, RouterHello, block, of_block,
};
use simplex_sans_io::xftp::transmission::{Session, Transmission, Unauthorized};
use simplex_sans_io::xftp::{BLOCK, Command, ErrorType, Response};
use simplex_tests::vectors::keys::{auth_pair, x25519_pair};
use simplex_tests::vectors::{
    Comparison, array, assert_encoding, cases, hex, hexed, latin1, load, text, version,
};

use super::FILE;

pub(super) fn server_handshake(group: &Value) {
    for case in cases(group) {
        let certificates: Vec<_> = cases(&case["cert_chain"]).map(hex).collect();
        let chain = Chain::from_der(certificates.iter().map(Vec::as_slice)).unwrap();
        let hello = hex(&case["hello"]);
        let read: RouterHello = wire::decode_slice(Version(0), &hello).unwrap();
        assert_encoding(&read, &hello);
        assert_eq!(read.versions.min(), version(&case["versions"][0]));
        assert_eq!(read.versions.max(), version(&case["versions"][1]));
        assert_eq!(read.session_id[..], hex(&case["session_id"]));
        assert!(read.chain.iter().map(|der| der.to_vec()).eq(certificates));
        assert_eq!(read.signed_key[..], hex(&case["signed_key_der"]));

        let signed = SignedKey::<x25519::PublicKey>::from_der(&read.signed_key).unwrap();
        let key = signed.verify(chain.leaf().key()).unwrap();
        assert_eq!(key.to_spki()[..], hex(&case["session_key_spki"]));
        let proof = read.proof.map(|proof| proof.as_bytes().to_vec());
        assert_eq!(proof.unwrap_or_default(), hex(&case["web_identity_proof"]));
        if !case["web_challenge"].is_null() {
            let challenge = array(&case["web_challenge"]);
            assert!(read.proves(chain.leaf().key(), &challenge));
            assert!(!read.proves(chain.leaf().key(), &[0; 32]));
        }

        let block = block(&read).unwrap();
        assert_eq!(block.len(), BLOCK);
        assert_eq!(hexed(sha256(&block)), case["block_sha256"]);
        assert_eq!(of_block(&block), Ok(read));
    }
}

pub(super) fn server_handshake_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "server_handshake_decode");
    for (case, index) in cases(group).zip(0..) {
        let ours = prefix::<RouterHello>(case).map(|hello| {
            let proof = hello.proof.map(|proof| hexed(proof.as_bytes()));
            json!({ "session_id": hexed(&*hello.session_id), "proof": proof })
        });
        comparison.outcome(&index.to_string(), ours, case);
    }
    comparison.finish();
}

pub(super) fn client_hello_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "client_hello_decode");
    for case in cases(group) {
        let ours = prefix::<ClientHello>(case).map(|hello| {
            let written = wire::encode(&hello, Version(0));
            assert!(hex(&case["hex"]).starts_with(&written));
            json!({ "web_challenge": hello.challenge.map(hexed) })
        });
        comparison.outcome(text(&case["hex"]), ours, case);
    }
    comparison.finish();
}

pub(super) fn client_handshake(group: &Value) {
    for case in cases(group) {
        let handshake = ClientHandshake {
            version: version(&case["version"]),
            key_hash: array::<32>(&case["key_hash"]).into(),
        };
        assert_encoding(&handshake, &hex(&case["hex"]));
    }
}

pub(super) fn client_handshake_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "client_handshake_decode");
    for case in cases(group) {
        let ours = prefix::<ClientHandshake>(case).map(|handshake| {
            json!({ "version": handshake.version.0, "key_hash": hexed(&*handshake.key_hash) })
        });
        comparison.outcome(text(&case["hex"]), ours, case);
    }
    comparison.finish();
}

fn prefix<T: wire::Wire>(case: &Value) -> Result<T, WireError> {
    wire::decode_prefix(Version(0), &hex(&case["hex"]).into())
}

pub(super) fn commands(group: &Value) {
    for case in cases(group) {
        let encoded = hex(&case["hex"]);
        let command: Command = wire::decode_slice(Version(3), &encoded).unwrap();
        assert_encoding(&command, &encoded);
        assert_eq!(command.tag(), text(&case["command"]));
        assert_eq!(fields_of_command(&command), case["fields"]);
    }
}

fn fields_of_command(command: &Command) -> Value {
    match command {
        Command::FNew(file) => json!({
            "snd_key": hexed(file.sender_key.to_spki()),
            "size": file.size,
            "digest": hexed(&**file.digest),
            "rcv_keys": file.recipients.iter().map(|key| hexed(key.to_spki())).collect::<Vec<_>>(),
            "password": file.password.as_ref().map(|password| std::str::from_utf8(password.as_bytes()).unwrap()),
        }),
        Command::FAdd(recipients) => json!({
            "rcv_keys": recipients.iter().map(|key| hexed(key.to_spki())).collect::<Vec<_>>(),
        }),
        Command::FGet(key) => json!({ "dh_key": hexed(key.to_spki()) }),
        Command::FPut | Command::FDel | Command::FAck | Command::Ping => json!({}),
    }
}

pub(super) fn responses(group: &Value) {
    for case in cases(group) {
        let encoded = hex(&case["hex"]);
        let response: Response = wire::decode_slice(Version(3), &encoded).unwrap();
        assert_encoding(&response, &encoded);
        assert_eq!(response.tag(), text(&case["response"]));
        let ids = |ids: &[EntityId]| ids.iter().map(|id| hexed(&**id)).collect::<Vec<_>>();
        let fields = match &response {
            Response::Sids {
                sender_id,
                recipient_ids,
            } => json!({ "snd_id": hexed(&**sender_id), "rcv_ids": ids(recipient_ids) }),
            Response::Rids(recipient_ids) => json!({ "rcv_ids": ids(recipient_ids) }),
            Response::File { key, nonce } => {
                json!({ "dh_key": hexed(key.to_spki()), "nonce": hexed(nonce.as_bytes()) })
            }
            Response::Ok | Response::Pong | Response::Err(_) => json!({}),
        };
        assert_eq!(fields, case["fields"]);
    }
}

pub(super) fn errors(group: &Value) {
    for case in cases(group) {
        let encoded = latin1(&case["error"]);
        let error: ErrorType = wire::decode_slice(Version(3), &encoded).unwrap();
        assert_encoding(&error, &encoded);
        assert_eq!(error.to_string(), text(&case["text"]));
        for encoding in cases(&case["encodings"]) {
            let version = version(&encoding["version"]);
            let response = Response::Err(error).for_version(version);
            assert_eq!(wire::encode(&response, version), hex(&encoding["hex"]));
        }
    }
}

pub(super) fn error_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "error_decode");
    for case in cases(group) {
        let decoded = wire::decode_slice::<ErrorType>(Version(3), &hex(&case["hex"]));
        let shown = decoded.map(|error| error.to_string().into());
        comparison.outcome(text(&case["hex"]), shown, case);
    }
    comparison.finish();
}

/// The session that all transmissions are of, and the router's key in it.
fn session(version: Version) -> (Session, x25519::PublicKey) {
    let file = load(FILE);
    let session = Session {
        version,
        id: Id::try_from(hex(&file["session_id"]).as_slice()).unwrap(),
    };
    (session, x25519_pair(&file["session_key"]).public_key())
}

pub(super) fn transmissions(group: &Value) {
    for case in cases(group) {
        let (session, router_key) = session(Version(3));
        assert_eq!(session.id[..], hex(&case["session_id"]));
        let corr_id = CorrId::try_from(hex(&case["corr_id"]).as_slice()).unwrap();
        let entity_id = EntityId::try_from(hex(&case["entity_id"]).as_slice()).unwrap();
        let command = hex(&case["parsed"]["command"]);
        let command: Command = wire::decode_slice(Version(3), &command).unwrap();
        assert_eq!(command.tag(), text(&case["command"]));

        let transmission = Unauthorized::new(&session, &corr_id, &entity_id, &command);
        let key: Option<AuthPrivateKey> = (!case["key"].is_null()).then(|| auth_pair(&case["key"]));
        let authorization = key
            .as_ref()
            .and_then(|key| transmission.authorization(key, &corr_id, Some(&router_key)));
        let content = transmission.content(authorization.as_ref());
        assert_eq!(content, hex(&case["ok"]["content"]));
        let block = transmission.block(authorization.as_ref()).unwrap();
        assert_eq!(hexed(sha256(&block)), case["ok"]["block_sha256"]);

        let read = Transmission::of_block(&session, &block).unwrap();
        assert_eq!(read.authorized, hex(&case["parsed"]["authorized"]));
        assert_eq!(read.authorization, authorization);
        assert_eq!((&read.corr_id, &read.entity_id), (&corr_id, &entity_id));
        assert_eq!(read.parse_command(session.version), Ok(command));
    }
}

pub(super) fn transmission_decode(group: &Value) {
    for case in cases(group) {
        let (session, _) = session(version(&case["version"]));
        let content = Bytes::from(hex(&case["content"]));
        let read = Transmission::of_content(&session, &content);
        let block = pad(&content, BLOCK).unwrap().freeze();
        assert_eq!(Transmission::of_block(&session, &block), read);
        let ours = match read {
            Err(malformed) => json!({
                "corr_id": hexed(&*malformed.corr_id),
                "entity_id": "",
                "err": malformed.error.to_string(),
            }),
            Ok(read) => {
                let (corr_id, entity_id) = (hexed(&*read.corr_id), hexed(&*read.entity_id));
                match read.parse_command(session.version) {
                    Ok(_) => json!({
                        "corr_id": corr_id,
                        "entity_id": entity_id,
                        "command": hexed(&read.command),
                    }),
                    Err(error) => json!({
                        "corr_id": corr_id,
                        "entity_id": entity_id,
                        "err": error.to_string(),
                    }),
                }
            }
        };
        // A block that is no batch of one fails as a whole, and is answered like one that is malformed.
        let malformed = json!({ "corr_id": "", "entity_id": "", "err": case["error"] });
        assert_eq!(ours, *case.get("ok").unwrap_or(&malformed), "{case}");
    }
}
