//! Delivered messages and notifications.

use bytes::Bytes;
use serde_json::{Value, json};
use simplex_sans_io::crypto::secret_box::Key;
use simplex_sans_io::crypto::{Nonce, hash, x25519};
use simplex_sans_io::smp::body::{Delivered, NMsgMeta, QuotaMark, SentMessage};
use simplex_sans_io::smp::{MsgFlags, MsgId};
use simplex_sans_io::wire::{self, Version};
use simplex_tests::vectors::keys::x25519_pair;
use simplex_tests::vectors::{
    Comparison, array, base64, boolean, cases, hex, hexed, load, number, text,
};

use super::FILE;

pub(super) fn deliveries(group: &Value) {
    let secret = secret("delivery_keys");
    for case in cases(group) {
        let body = match case.get("body") {
            Some(body) => hex(body),
            None => text(&case["body_fill"])
                .repeat(number(&case["body_len"]))
                .into_bytes(),
        };
        let decrypted = &case["decrypted"];
        assert_eq!(number(&decrypted["body_len"]), body.len());
        assert!(boolean(&decrypted["same"]));
        let delivered = Delivered::Message(SentMessage {
            time: case["timestamp"].as_i64().unwrap(),
            flags: MsgFlags {
                notification: boolean(&case["notification"]),
            },
            body: body.into(),
        });
        let encoded = wire::encode(&delivered, Version(0));
        assert_eq!(hash::sha256(&encoded), array(&case["encoded_body_sha256"]));
        assert_delivery(&secret, &delivered, case);
    }
}

pub(super) fn quota_message(group: &Value) {
    let secret = secret("delivery_keys");
    for case in cases(group) {
        let time = case["timestamp"].as_i64().unwrap();
        assert_delivery(&secret, &Delivered::Quota(QuotaMark { time }), case);
    }
}

fn assert_delivery(secret: &x25519::SharedSecret, delivered: &Delivered, case: &Value) {
    if let Some(encoded) = case.get("encoded_body") {
        assert_eq!(wire::encode(delivered, Version(0)), hex(encoded));
    }
    let id = msg_id(&case["msg_id"]);
    let encrypted = delivered.encrypt(&Key::from(secret), &id).unwrap();
    assert_eq!(encrypted.len(), number(&case["encrypted_len"]));
    assert_eq!(hash::sha256(&encrypted), array(&case["encrypted_sha256"]));
    if !case["encrypted_base64"].is_null() {
        assert_eq!(encrypted, base64(&case["encrypted_base64"]));
    }
    let decrypted = Delivered::decrypt(secret, &id, &encrypted);
    assert_eq!(decrypted.as_ref(), Ok(delivered));
}

pub(super) fn received_body_parsing(group: &Value) {
    let mut comparison = Comparison::of(FILE, "received_body_parsing");
    for case in cases(group) {
        let delivered = wire::decode_slice(Version(0), &hex(&case["decrypted_body"]));
        let shown = delivered.map(|delivered| match delivered {
            Delivered::Message(sent) => json!({
                "timestamp": sent.time,
                "notification": sent.flags.notification,
                "body": hexed(sent.body),
            }),
            Delivered::Quota(mark) => json!({ "quota": mark.time }),
        });
        comparison.outcome(text(&case["decrypted_body"]), shown, case);
    }
    comparison.finish();
}

pub(super) fn notification_meta(group: &Value) {
    let secret = secret("notification_keys");
    for case in cases(group) {
        let meta = NMsgMeta {
            id: msg_id(&case["msg_id"]),
            time: case["timestamp"].as_i64().unwrap(),
        };
        assert_eq!(wire::encode(&meta, Version(0)), hex(&case["meta"]));
        let nonce = Nonce::from(array(&case["nonce"]));
        let encrypted = meta.encrypt(&Key::from(&secret), &nonce).unwrap();
        assert_eq!(encrypted, hex(&case["ok"]));
        assert_eq!(NMsgMeta::decrypt(&secret, &nonce, &encrypted), Ok(meta));
    }
}

pub(super) fn notification_meta_decode(group: &Value) {
    let mut comparison = Comparison::of(FILE, "notification_meta_decode");
    for case in cases(group) {
        let meta = wire::decode_prefix(Version(0), &Bytes::from(hex(&case["hex"])));
        let shown = meta
            .map(|meta: NMsgMeta| json!({ "msg_id": hexed(&*meta.id), "timestamp": meta.time }));
        comparison.outcome(text(&case["hex"]), shown, case);
    }
    comparison.finish();
}

/// The secret of a router and a recipient.
fn secret(keys: &str) -> x25519::SharedSecret {
    let keys = &load(FILE)[keys];
    let router = x25519_pair(&keys["server_key"]);
    let recipient = x25519_pair(&keys["recipient_key"]);
    let secret = router.agree(&recipient.public_key());
    assert_eq!(recipient.agree(&router.public_key()), secret);
    assert_eq!(secret.as_bytes(), &array(&keys["secret"]));
    secret
}

fn msg_id(value: &Value) -> MsgId {
    MsgId::try_from(hex(value).as_slice()).unwrap()
}
