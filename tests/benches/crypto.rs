//! Every construction of the protocols on 16 KB, or on what it is used for, beside ring's ChaCha20-Poly1305 on 16 KB; and the cipher of
//! the boxes with every kind of vectors that the processor has, beside that of the crates.

use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit as _, UniversalHash as _};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce as RingNonce, UnboundKey};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit as _, StreamCipher as _, array::Array};
use simplex_sans_io::crypto::block_chain::{BLOCK, BlockChains};
use simplex_sans_io::crypto::secret_box::Key;
use simplex_sans_io::crypto::{
    Authenticator, Nonce, Secret, aes_gcm, ed448, ed25519, hash, kem, x448, x25519,
};
use simplex_sans_io::rng::Rng;
use simplex_tests::bench::{Bench, shared};
use simplex_xsalsa20poly1305::{Backend, XSalsa20Poly1305};

fn main() {
    of_backends();
    of_blocks();
    of_commands_and_sessions();
}

/// What the baseline is everywhere.
fn seal_16_kb() -> impl FnMut() -> bool {
    let mut buffer = vec![7; BLOCK];
    let key = UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]).map(LessSafeKey::new);
    let key = key.unwrap_or_else(|_| unreachable!("32 bytes are a key"));
    move || {
        let nonce = RingNonce::assume_unique_for_key([7; 12]);
        let sealed = key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut buffer);
        sealed.is_ok()
    }
}

fn of_backends() {
    for (title, length) in [
        ("XSalsa20-Poly1305 of a block", BLOCK),
        ("XSalsa20-Poly1305 of 1 KB", 1024),
        ("XSalsa20-Poly1305 of 64 B", 64),
    ] {
        let mut text = vec![7; length];
        let mut bench = Bench::new(title, "salsa20 and poly1305", move || {
            let mut stream = XSalsa20::new(&Array::from([1; 32]), &Array::from([2; 24]));
            let mut key = [0; 32];
            stream.apply_keystream(&mut key);
            stream.apply_keystream(&mut text);
            let mut mac = Poly1305::new(&Array::from(key));
            let (blocks, rest) = poly1305::Block::slice_as_chunks(&text);
            mac.update(blocks);
            mac.compute_unpadded(rest)
        });
        for backend in Backend::available() {
            let cipher = move || XSalsa20Poly1305::with_backend(backend, &[1; 32], &[2; 24]);
            let mut text = vec![7; length];
            bench.measure(&format!("{backend:?}: encrypt"), move || {
                cipher().encrypt(&mut text)
            });
            let mut sealed = vec![7; length];
            let tag = cipher().encrypt(&mut sealed);
            let mut text = sealed.clone();
            bench.measure(&format!("{backend:?}: copy and decrypt"), move || {
                text.copy_from_slice(&sealed);
                cipher().decrypt(&mut text, &tag)
            });
        }
        bench.print();
    }
}

fn of_blocks() {
    let mut bench = Bench::new("on 16 KB", "ring: ChaCha20-Poly1305, seal", seal_16_kb());
    let mut rng = Rng::from_seed([7; 32]);
    let text: &[u8] = shared([7; BLOCK]);

    let agreed = x25519::SharedSecret::from_bytes([7; 32]);
    let (key, nonce) = shared((Key::from(&agreed), Nonce::from_bytes(&[7; 24])));
    let mut buffer = text.to_vec();
    bench.measure("box: encrypt", move || key.encrypt(nonce, &mut buffer));
    let mut sealed = text.to_vec();
    let tag = key.encrypt(nonce, &mut sealed);
    let mut buffer = sealed.clone();
    bench.measure("box: decrypt", move || {
        buffer.copy_from_slice(&sealed);
        key.decrypt(nonce, &mut buffer, &tag).is_ok()
    });
    let mut chains = BlockChains::client(b"session", &Secret::from_bytes([7; 32]));
    let mut block = Box::new([7; BLOCK]);
    bench.measure("chain: encrypt a block", move || {
        chains.send.encrypt_block(&mut block);
    });
    let (mut buffer, secret) = (text.to_vec(), Secret::from_bytes([7; 32]));
    bench.measure("AES-256-GCM, 16-byte IV: encrypt", move || {
        aes_gcm::encrypt(&secret, &[7; 16], b"", &mut buffer)
    });
    bench.measure("SHA-256", || hash::sha256(text));
    bench.measure("SHA-512", || hash::sha512(text));
    bench.measure("SHA3-256", || hash::sha3_256(text));
    let key = shared(ed25519::PrivateKey::generate(&mut rng));
    bench.measure("Ed25519: sign", || key.sign(text));
    let (public_key, signature) = (key.public_key(), key.sign(text));
    bench.measure("Ed25519: verify", move || {
        public_key.verify(text, &signature).is_ok()
    });
    let key = shared(ed448::PrivateKey::generate(&mut rng));
    bench.measure("Ed448: sign", || key.sign(text));
    let (public_key, signature) = (key.public_key(), key.sign(text));
    bench.measure("Ed448: verify", move || {
        public_key.verify(text, &signature).is_ok()
    });
    bench.print();
}

fn of_commands_and_sessions() {
    let baseline = "ring: ChaCha20-Poly1305, seal 16 KB";
    let mut bench = Bench::new("of one command or session", baseline, seal_16_kb());
    let mut rng = Rng::from_seed([7; 32]);
    let command: &[u8] = shared([7; 100]);

    let mut chains = BlockChains::client(b"session", &Secret::from_bytes([7; 32]));
    bench.measure("chain: next key, HKDF-SHA512", move || {
        chains.send.advance()
    });
    let key = shared(ed25519::PrivateKey::generate(&mut rng));
    bench.measure("Ed25519: sign 100 B", || key.sign(command));
    let (public_key, signature) = (key.public_key(), key.sign(command));
    bench.measure("Ed25519: verify 100 B", move || {
        public_key.verify(command, &signature).is_ok()
    });
    let key = shared(ed448::PrivateKey::generate(&mut rng));
    bench.measure("Ed448: sign 100 B", || key.sign(command));
    let (public_key, signature) = (key.public_key(), key.sign(command));
    bench.measure("Ed448: verify 100 B", move || {
        public_key.verify(command, &signature).is_ok()
    });
    let key = shared(x25519::PrivateKey::generate(&mut rng));
    let public_key = x25519::PrivateKey::generate(&mut rng).public_key();
    bench.measure("X25519: agree", move || key.agree(&public_key));
    let (agreed, nonce) = (key.agree(&public_key), Nonce::from_bytes(&[7; 24]));
    bench.measure("authenticator of 100 B, with an agreed secret", move || {
        Authenticator::new(&agreed, &nonce, command)
    });
    let key = shared(x448::PrivateKey::generate(&mut rng));
    let public_key = x448::PrivateKey::generate(&mut rng).public_key();
    bench.measure("X448: agree", move || key.agree(&public_key));
    let mut drawn = rng.fork();
    bench.measure("sntrup761: generate", move || {
        kem::PrivateKey::generate(&mut drawn)
    });
    let key = shared(kem::PrivateKey::generate(&mut rng));
    let (public_key, mut drawn) = (key.public_key(), rng.fork());
    let (ciphertext, _) = public_key.encapsulate(&mut rng);
    bench.measure("sntrup761: encapsulate", move || {
        public_key.encapsulate(&mut drawn)
    });
    bench.measure("sntrup761: decapsulate", move || {
        key.decapsulate(&ciphertext)
    });
    bench.print();
}
