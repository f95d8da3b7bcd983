//! The primitives compute what the reference computed: every case of `crypto.json`, in both directions.
#![expect(
    clippy::unwrap_used,
    reason = "a result that is missing fails the test"
)]

use std::convert::Infallible;

use bytes::BytesMut;
use rand_chacha::rand_core::{TryCryptoRng, TryRng};
use serde_json::Value;
use simplex_sans_io::crypto::block_chain::{BLOCK, BlockChains, ChainKey};
use simplex_sans_io::crypto::secret_box::{Key, OpenError};
use simplex_sans_io::crypto::{
    Authenticator, AuthorizedHash, DecryptError, IdsHash, Nonce, Secret, Signature, Tag,
    VerifyingKey, aes_gcm, hash, kem, x25519,
};
use simplex_sans_io::wire::padding::{self, PaddingError};
use simplex_tests::vectors::keys::{signing_pair, x448_pair, x25519_pair};
use simplex_tests::vectors::{
    Comparison, array, base64, boolean, cases, deviating_groups, groups, hex, load, number, text,
};

mod group {
    simplex_tests::vector_groups! { "crypto.json":
        x25519,
        x25519_edge,
        x448,
        crypto_box,
        secret_box,
        secret_box_int64_padding,
        secret_box_int64_padding_large,
        secret_box_tail_tag_decrypt,
        secret_box_tail_tag_no_pad_decrypt,
        secret_box_streaming,
        authenticator,
        authenticator_verify,
        sb_chain,
        sb_chain_blocks,
        sign,
        verify,
        hkdf_sha512,
        hashes,
        aes256_gcm_iv16,
        aes256_gcm_iv16_decrypt,
        aes256_gcm_iv12_no_pad,
        sntrup761,
        sntrup761_decode,
    }
}

#[test]
fn every_group_is_consumed() {
    let file = load("crypto.json");
    assert_eq!(groups(&file), group::CONSUMED.iter().copied().collect());
}

#[test]
fn every_listed_deviation_belongs_to_a_group() {
    for group in deviating_groups("crypto.json") {
        assert!(group::CONSUMED.contains(&group.as_str()), "{group}");
    }
}

fn x25519(group: &Value) {
    for case in cases(group) {
        let (a, b) = (x25519_pair(&case["a"]), x25519_pair(&case["b"]));
        assert_eq!(a.agree(&b.public_key()).as_bytes(), &array(&case["shared"]));
        assert_eq!(b.agree(&a.public_key()), a.agree(&b.public_key()));
    }
}

fn x25519_edge(group: &Value) {
    for case in cases(group) {
        let private_key = x25519::PrivateKey::from_bytes(array(&case["priv_raw"]));
        let public_key = x25519::PublicKey::from_bytes(array(&case["pub_raw"]));
        let secret = private_key.agree(&public_key);
        assert_eq!(secret.as_bytes(), &array(&case["shared"]));
        assert_eq!(secret.is_contributory(), secret.as_bytes() != &[0; 32]);
    }
}

fn x448(group: &Value) {
    for case in cases(group) {
        let (a, b) = (x448_pair(&case["a"]), x448_pair(&case["b"]));
        assert_eq!(a.agree(&b.public_key()).as_bytes(), &array(&case["shared"]));
        assert_eq!(b.agree(&a.public_key()), a.agree(&b.public_key()));
    }
}

fn crypto_box(group: &Value) {
    for case in cases(group) {
        let secret = x25519::SharedSecret::from_bytes(array(&case["dh_secret"]));
        boxes(&Key::from(&secret), case);
    }
}

fn secret_box(group: &Value) {
    for case in cases(group) {
        boxes(&box_key(case), case);
    }
}

fn boxes(key: &Key, case: &Value) {
    let nonce = Nonce::from(array(&case["nonce"]));
    match text(&case["op"]) {
        "encrypt" => {
            let (msg, size) = (hex(&case["msg"]), number(&case["padded_len"]));
            let sealed = key.seal_padded(&nonce, &msg, size);
            match case.get("ok") {
                Some(packet) => {
                    let mut sealed = sealed.unwrap();
                    assert_eq!(sealed, hex(packet));
                    assert_eq!(key.open_padded(&nonce, &mut sealed), Ok(&msg[..]));
                }
                None => assert_eq!(sealed, Err(PaddingError::TooLarge(msg.len(), size))),
            }
        }
        "encrypt_no_pad" => {
            let msg = hex(&case["msg"]);
            let mut packet = key.seal(&nonce, &msg);
            assert_eq!(packet, hex(&case["ok"]));
            assert_eq!(key.open(&nonce, &mut packet).unwrap(), msg);
        }
        "decrypt" => {
            let packet = hex(&case["packet"]);
            let mut opened = packet.clone();
            let msg = key.open_padded(&nonce, &mut opened);
            match case.get("ok") {
                Some(expected) => {
                    let msg = msg.unwrap();
                    assert_eq!(msg, hex(expected));
                    let size = packet.len() - Tag::LENGTH;
                    assert_eq!(key.seal_padded(&nonce, msg, size).unwrap(), packet);
                }
                None => {
                    let expected = match text(&case["error"]) {
                        "CBDecryptError" => OpenError::Decrypt(DecryptError),
                        _ => OpenError::Padding(PaddingError::Invalid),
                    };
                    assert_eq!(msg, Err(expected), "{}", case["case"]);
                }
            }
        }
        "decrypt_no_pad" => {
            let packet = hex(&case["packet"]);
            let mut opened = packet.clone();
            let msg = key.open(&nonce, &mut opened).unwrap();
            assert_eq!(msg, hex(&case["ok"]));
            assert_eq!(key.seal(&nonce, msg), packet);
        }
        other => unreachable!("operation {other}"),
    }
}

fn secret_box_int64_padding(group: &Value) {
    for case in cases(group) {
        let (key, nonce) = (box_key(case), Nonce::from(array(&case["nonce"])));
        let (msg, size) = (hex(&case["msg"]), number(&case["padded_len"]));
        let length = case["len"].as_i64().unwrap();
        match padding::pad_long(&msg, length, size) {
            Ok(padded) => {
                let mut packet = key.seal(&nonce, &padded);
                assert_eq!(packet, hex(&case["prefix_tag"]["ok"]));
                let text = key.open(&nonce, &mut packet).unwrap();
                assert_eq!(padding::unpad_long(text), Ok(&msg[..]));

                let mut packet = key.seal_tag_last(&nonce, &padded);
                assert_eq!(packet, hex(&case["tail_tag"]["ok"]));
                let text = key.open_tag_last(&nonce, &mut packet).unwrap();
                assert_eq!(padding::unpad_long(text), Ok(&msg[..]));
            }
            Err(_) => {
                assert!(case["prefix_tag"]["error"].is_string());
                assert!(case["tail_tag"]["error"].is_string());
            }
        }
    }
}

fn secret_box_int64_padding_large(group: &Value) {
    for case in cases(group) {
        let (key, nonce) = (box_key(case), Nonce::from(array(&case["nonce"])));
        let length = number(&case["len"]);
        let msg: Vec<u8> = (0..=250).cycle().take(length).collect();
        let padded = padding::pad_long(
            &msg,
            case["len"].as_i64().unwrap(),
            number(&case["padded_len"]),
        )
        .unwrap();

        let mut packet = key.seal(&nonce, &padded);
        assert_eq!(hash::sha256(&packet), array(&case["prefix_tag_sha256"]));
        assert_eq!(&key.open(&nonce, &mut packet).unwrap()[..], &padded[..]);

        let mut packet = key.seal_tag_last(&nonce, &padded);
        assert_eq!(packet.len(), number(&case["tail_tag_len"]));
        assert_eq!(
            packet.last_chunk(),
            Some(&array::<16>(&case["tail_tag_last_16"]))
        );
        assert_eq!(hash::sha256(&packet), array(&case["tail_tag_sha256"]));
        assert_eq!(
            &key.open_tag_last(&nonce, &mut packet).unwrap()[..],
            &padded[..]
        );
    }
}

fn secret_box_tail_tag_decrypt(group: &Value) {
    for case in cases(group) {
        let (decrypted, authentic) = decrypt_tail_tag(case, number(&case["padded_len"]));
        match case.get("ok") {
            Some(ok) => {
                assert_eq!(padding::unpad_long(&decrypted), Ok(&hex(&ok["msg"])[..]));
                assert_eq!(authentic, boolean(&ok["tag_valid"]), "{}", case["case"]);
            }
            None => assert_eq!(padding::unpad_long(&decrypted), Err(PaddingError::Invalid)),
        }
    }
}

fn secret_box_tail_tag_no_pad_decrypt(group: &Value) {
    for case in cases(group) {
        let (decrypted, authentic) = decrypt_tail_tag(case, number(&case["len"]));
        assert_eq!(decrypted, hex(&case["ok"]["msg"]));
        assert_eq!(
            authentic,
            boolean(&case["ok"]["tag_valid"]),
            "{}",
            case["case"]
        );
    }
}

/// Decrypts as a file is decrypted, text first and tag last; and checks that the form which believes nothing unproven agrees.
fn decrypt_tail_tag(case: &Value, length: usize) -> (Vec<u8>, bool) {
    let (key, nonce, packet) = (
        box_key(case),
        Nonce::from(array(&case["nonce"])),
        hex(&case["packet"]),
    );
    let (text, tag) = packet.split_at(length.min(packet.len()));
    let mut decrypted = text.to_vec();
    let mut decryptor = key.decryptor(&nonce);
    decryptor.update(&mut decrypted);
    let authentic = tag
        .try_into()
        .is_ok_and(|tag| decryptor.finish(&Tag::from_bytes(tag)).is_ok());

    if tag.len() == Tag::LENGTH {
        let mut opened = packet.clone();
        let opened = key.open_tag_last(&nonce, &mut opened).ok();
        assert_eq!(opened.as_deref(), authentic.then_some(&decrypted[..]));
    }
    if authentic {
        assert_eq!(key.seal_tag_last(&nonce, &decrypted), packet);
    }
    (decrypted, authentic)
}

fn secret_box_streaming(group: &Value) {
    for case in cases(group) {
        let (key, nonce) = (box_key(case), Nonce::from(array(&case["nonce"])));
        let tag = Tag::from_bytes(array(&case["tag"]));
        let (mut encryptor, mut decryptor) = (key.encryptor(&nonce), key.decryptor(&nonce));
        for (chunk, encrypted) in cases(&case["chunks"]).zip(cases(&case["encrypted_chunks"])) {
            let mut bytes = hex(chunk);
            encryptor.update(&mut bytes);
            assert_eq!(bytes, hex(encrypted));
            decryptor.update(&mut bytes);
            assert_eq!(bytes, hex(chunk));
        }
        assert_eq!(encryptor.finish(), tag);
        assert_eq!(decryptor.finish(&tag), Ok(()));
    }
}

fn authenticator(group: &Value) {
    for case in cases(group) {
        let (server, client) = (x25519_pair(&case["server"]), x25519_pair(&case["client"]));
        let (nonce, authorized) = (Nonce::from(array(&case["nonce"])), hex(&case["authorized"]));
        assert_eq!(hash::sha512(&authorized), array(&case["sha512"]));

        let secret = client.agree(&server.public_key());
        let authenticator = Authenticator::new(&secret, &nonce, &authorized);
        assert_eq!(authenticator.as_bytes(), &array(&case["authenticator"]));
        let hash = AuthorizedHash::of(&authorized);
        assert_eq!(
            Authenticator::of_hash(&secret, &nonce, &hash),
            authenticator
        );

        let secret = server.agree(&client.public_key());
        assert_eq!(authenticator.verify(&secret, &nonce, &authorized), Ok(()));
        assert_eq!(authenticator.verify_hash(&secret, &nonce, &hash), Ok(()));
    }
}

fn authenticator_verify(group: &Value) {
    for case in cases(group) {
        let client = x25519::PublicKey::from_spki(&hex(&case["client_pub_spki"])).unwrap();
        let server = x25519::PrivateKey::from_bytes(array(&case["server_priv_raw"]));
        let nonce = Nonce::from(array(&case["nonce"]));
        let valid = hex(&case["authenticator"]).try_into().is_ok_and(|bytes| {
            Authenticator::from_bytes(bytes)
                .verify(&server.agree(&client), &nonce, &hex(&case["authorized"]))
                .is_ok()
        });
        assert_eq!(valid, boolean(&case["valid"]), "{}", case["case"]);
    }
}

fn sb_chain(group: &Value) {
    for case in cases(group) {
        let (session_id, secret) = (
            hex(&case["session_id"]),
            Secret::from_bytes(array(&case["secret"])),
        );
        let router = BlockChains::router(&session_id, &secret);
        let client = BlockChains::client(&session_id, &secret);
        assert_eq!(
            (&router.send, &router.receive),
            (&client.receive, &client.send)
        );
        let mut chains = [router.send, router.receive];
        let starts = [
            "chain_key_1_server_to_client",
            "chain_key_2_client_to_server",
        ];
        for ((chain, start), steps) in chains.iter_mut().zip(starts).zip(["steps_1", "steps_2"]) {
            assert_eq!(*chain, ChainKey::from_bytes(array(&case[start])));
            for step in cases(&case[steps]) {
                let (key, nonce) = chain.advance();
                assert_eq!(key, Secret::from_bytes(array(&step["key"])));
                assert_eq!(nonce, Nonce::from(array(&step["nonce"])));
                assert_eq!(chain.as_bytes(), &array(&step["next_chain_key"]));
            }
        }
    }
}

fn sb_chain_blocks(group: &Value) {
    for case in cases(group) {
        assert_eq!(text(&case["chain"]), "chain_key_1");
        let (session_id, secret) = (
            hex(&case["session_id"]),
            Secret::from_bytes(array(&case["secret"])),
        );
        let mut sender = BlockChains::router(&session_id, &secret).send;
        let mut receiver = BlockChains::client(&session_id, &secret).receive;
        for block in cases(&case["blocks"]) {
            let mut observer = sender.clone();
            let (key, nonce) = observer.advance();
            assert_eq!(key, Secret::from_bytes(array(&block["key"])));
            assert_eq!(nonce, Nonce::from(array(&block["nonce"])));

            let msg = match block.get("msg") {
                Some(msg) => hex(msg),
                None => text(&block["msg_fill"])
                    .repeat(number(&block["msg_len"]))
                    .into_bytes(),
            };
            let mut content = BytesMut::zeroed(Tag::LENGTH);
            if padding::put(&msg, BLOCK - Tag::LENGTH, &mut content).is_err() {
                // The reference takes the step before it finds that the content does not fit.
                assert_eq!(text(&block["error"]), "CryptoLargeMsgError");
                sender = observer;
                continue;
            }
            let mut encrypted: [u8; BLOCK] = content[..].try_into().unwrap();
            sender.encrypt_block(&mut encrypted);
            assert_eq!(sender, observer);
            assert_eq!(encrypted.len(), number(&block["block_len"]));
            assert_eq!(hash::sha256(&encrypted), array(&block["block_sha256"]));
            if !block["block_base64"].is_null() {
                assert_eq!(encrypted[..], base64(&block["block_base64"]));
            }
            let decrypted = receiver.decrypt_block(&mut encrypted).unwrap();
            assert_eq!(padding::unpad(decrypted), Ok(&msg[..]));
        }
    }
}

fn sign(group: &Value) {
    for case in cases(group) {
        let msg = hex(&case["msg"]);
        let private_key = signing_pair(&case["key"]);
        assert_eq!(
            format!("{:?}", private_key.algorithm()),
            text(&case["algorithm"])
        );
        let signature = private_key.sign(&msg);
        assert_eq!(signature.as_bytes(), hex(&case["signature"]));
        assert_eq!(
            Signature::from_bytes(&hex(&case["signature"])),
            Ok(signature)
        );
        assert_eq!(private_key.public_key().verify(&msg, &signature), Ok(()));
    }
}

fn verify(group: &Value) {
    let mut comparison = Comparison::of("crypto.json", "verify");
    for case in cases(group) {
        let public_key = VerifyingKey::from_spki(&hex(&case["pub_spki"])).unwrap();
        assert_eq!(
            format!("{:?}", public_key.algorithm()),
            text(&case["algorithm"])
        );
        let valid = Signature::from_bytes(&hex(&case["signature"]))
            .is_ok_and(|signature| public_key.verify(&hex(&case["msg"]), &signature).is_ok());

        comparison.result(text(&case["case"]), &valid.into(), &case["valid"]);
    }
    comparison.finish();
}

fn hkdf_sha512(group: &Value) {
    fn okm<const N: usize>(case: &Value) -> Vec<u8> {
        let (salt, ikm) = (hex(&case["salt"]), hex(&case["ikm"]));
        hash::hkdf_sha512::<N>(&salt, &ikm, text(&case["info"]).as_bytes())
            .as_bytes()
            .to_vec()
    }
    for case in cases(group) {
        let okm = match number(&case["len"]) {
            32 => okm::<32>(case),
            56 => okm::<56>(case),
            64 => okm::<64>(case),
            88 => okm::<88>(case),
            96 => okm::<96>(case),
            200 => okm::<200>(case),
            other => unreachable!("length {other}"),
        };
        assert_eq!(okm, hex(&case["okm"]));
    }
}

fn hashes(group: &Value) {
    for case in cases(group) {
        let input = hex(&case["input"]);
        assert_eq!(hash::sha256(&input), array(&case["sha256"]));
        assert_eq!(hash::sha512(&input), array(&case["sha512"]));
        assert_eq!(hash::sha3_256(&input), array(&case["sha3_256"]));
        assert_eq!(hash::sha3_384(&input), array(&case["sha3_384"]));
        assert_eq!(
            IdsHash::of([&input]),
            IdsHash::from_bytes(array(&case["md5"]))
        );

        let (mut sha256, mut sha512) = (hash::Sha256::new(), hash::Sha512::new());
        for piece in input.chunks(7) {
            sha256.update(piece);
            sha512.update(piece);
        }
        assert_eq!(sha256.finish(), array(&case["sha256"]));
        assert_eq!(sha512.finish(), array(&case["sha512"]));
    }
}

fn aes256_gcm_iv16(group: &Value) {
    for case in cases(group) {
        let (key, iv) = (Secret::from_bytes(array(&case["key"])), array(&case["iv"]));
        let (ad, msg, size) = (
            hex(&case["ad"]),
            hex(&case["msg"]),
            number(&case["padded_len"]),
        );
        match padding::pad(&msg, size) {
            Ok(mut buffer) => {
                let tag = aes_gcm::encrypt(&key, &iv, &ad, &mut buffer);
                assert_eq!(tag.as_bytes(), &array(&case["ok"]["tag"]));
                assert_eq!(buffer, hex(&case["ok"]["ciphertext"]));
                assert_eq!(aes_gcm::decrypt(&key, &iv, &ad, &mut buffer, &tag), Ok(()));
                assert_eq!(padding::unpad(&buffer), Ok(&msg[..]));
            }
            Err(_) => assert_eq!(text(&case["error"]), "CryptoLargeMsgError"),
        }
    }
}

fn aes256_gcm_iv16_decrypt(group: &Value) {
    for case in cases(group) {
        let (Ok(key), Ok(iv)) = (
            Secret::try_from(&hex(&case["key"])[..]),
            hex(&case["iv"]).try_into(),
        ) else {
            assert!(["short key", "short iv"].contains(&text(&case["case"])));
            continue;
        };
        let (ad, ciphertext) = (hex(&case["ad"]), hex(&case["ciphertext"]));
        let tag = Tag::from_bytes(array(&case["tag"]));
        let mut buffer = ciphertext.clone();
        let decrypted = aes_gcm::decrypt(&key, &iv, &ad, &mut buffer, &tag);
        match case.get("ok") {
            Some(msg) => {
                assert_eq!(decrypted, Ok(()));
                assert_eq!(padding::unpad(&buffer), Ok(&hex(msg)[..]));
                assert_eq!(aes_gcm::encrypt(&key, &iv, &ad, &mut buffer), tag);
                assert_eq!(buffer, ciphertext);
            }
            None => assert_eq!(decrypted, Err(DecryptError), "{}", case["case"]),
        }
    }
}

fn aes256_gcm_iv12_no_pad(group: &Value) {
    for case in cases(group) {
        let (key, iv) = (Secret::from_bytes(array(&case["key"])), array(&case["iv"]));
        let mut frame = hex(&case["msg"]);
        let tag = aes_gcm::encrypt_frame(&key, &iv, &mut frame);
        assert_eq!(tag.as_bytes(), &array(&case["ok"]["tag"]));
        assert_eq!(frame, hex(&case["ok"]["ciphertext"]));
        assert_eq!(aes_gcm::decrypt_frame(&key, &iv, &mut frame, &tag), Ok(()));
        assert_eq!(frame, hex(&case["msg"]));
    }
}

fn sntrup761(group: &Value) {
    for case in cases(group) {
        let mut recorded = Replay::of(&case["keypair_random"]);
        let private_key = kem::PrivateKey::generate(&mut recorded);
        recorded.finished();
        assert_eq!(private_key.as_bytes(), base64(&case["secret_key"]));
        let public_key = private_key.public_key();
        assert_eq!(public_key.as_bytes(), base64(&case["public_key"]));
        assert_eq!(
            kem::PrivateKey::from_bytes(&base64(&case["secret_key"])),
            Ok(private_key.clone())
        );
        assert_eq!(
            kem::PublicKey::from_bytes(&base64(&case["public_key"])),
            Ok(public_key.clone())
        );

        let mut recorded = Replay::of(&case["encaps_random"]);
        let (ciphertext, secret) = public_key.encapsulate(&mut recorded);
        recorded.finished();
        assert_eq!(ciphertext.as_bytes(), base64(&case["ciphertext"]));
        assert_eq!(secret.as_bytes(), &array(&case["shared_key"]));
        assert_eq!(private_key.decapsulate(&ciphertext), secret);

        for changed in cases(&case["changed_ciphertexts"]) {
            let ciphertext = kem::Ciphertext::from_bytes(&base64(&changed["ciphertext"])).unwrap();
            let rejected = private_key.decapsulate(&ciphertext);
            assert_eq!(rejected.as_bytes(), &array(&changed["shared_key"]));
        }
        hybrid(&case["hybrid"], &secret);
    }
}

fn hybrid(case: &Value, encapsulated: &kem::SharedSecret) {
    let (a, b) = (x25519_pair(&case["a"]), x25519_pair(&case["b"]));
    let agreed = a.agree(&b.public_key());
    assert_eq!(agreed.as_bytes(), &array(&case["dh_secret"]));
    let hybrid = kem::hybrid_secret(&agreed, encapsulated);
    assert_eq!(hybrid, Secret::from_bytes(array(&case["hybrid_secret"])));

    let (key, nonce) = (Key::from(&hybrid), Nonce::from(array(&case["nonce"])));
    let msg = hex(&case["msg"]);
    let mut packet = key
        .seal_padded(&nonce, &msg, number(&case["padded_len"]))
        .unwrap();
    assert_eq!(packet, hex(&case["encrypted"]));
    assert_eq!(key.open_padded(&nonce, &mut packet), Ok(&msg[..]));
}

fn sntrup761_decode(group: &Value) {
    for case in cases(group) {
        let bytes = vec![0; number(&case["len"])];
        let accepted = match text(&case["what"]) {
            "public key" => kem::PublicKey::from_bytes(&bytes).is_ok(),
            "secret key" => kem::PrivateKey::from_bytes(&bytes).is_ok(),
            "ciphertext" => kem::Ciphertext::from_bytes(&bytes).is_ok(),
            other => unreachable!("{other}"),
        };
        assert_eq!(accepted, case.get("ok").is_some(), "{case}");
    }
}

fn box_key(case: &Value) -> Key {
    Key::from(&Secret::from_bytes(array(&case["key"])))
}

/// The random bytes that the reference drew, in its order.
struct Replay {
    bytes: std::vec::IntoIter<u8>,
}

impl Replay {
    fn of(recorded: &Value) -> Self {
        Self {
            bytes: base64(recorded).into_iter(),
        }
    }

    fn finished(self) {
        assert_eq!(self.bytes.len(), 0, "random bytes that were not used");
    }

    fn draw<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.try_fill_bytes(&mut bytes).unwrap();
        bytes
    }
}

impl TryRng for Replay {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_le_bytes(self.draw()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_le_bytes(self.draw()))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for byte in bytes {
            *byte = self.bytes.next().unwrap();
        }
        Ok(())
    }
}

impl TryCryptoRng for Replay {}
