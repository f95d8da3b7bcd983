use ::poly1305::universal_hash::KeyInit as _;
use ::salsa20::cipher::consts::U10;
use ::salsa20::cipher::{KeyIvInit as _, StreamCipher as _, array::Array};
use proptest::prelude::*;

use super::*;

/// The cipher of the crates.
struct Reference {
    stream: ::salsa20::XSalsa20,
    mac: ::poly1305::Poly1305,
}

impl Reference {
    fn new(key: &[u8; 32], nonce: &[u8; 24]) -> Self {
        let mut stream = ::salsa20::XSalsa20::new(&Array::from(*key), &Array::from(*nonce));
        let mut tag_key = [0; 32];
        stream.apply_keystream(&mut tag_key);
        Self {
            stream,
            mac: ::poly1305::Poly1305::new(&Array::from(tag_key)),
        }
    }

    fn encrypt(mut self, text: &mut [u8]) -> [u8; 16] {
        self.stream.apply_keystream(text);
        self.mac.compute_unpadded(text).into()
    }
}

/// Miri is some hundred times slower.
const LONGEST: usize = if cfg!(miri) { 600 } else { 5000 };

fn text(length: usize) -> Vec<u8> {
    let bytes = (0..length as u32).map(|at| (at.wrapping_mul(0x9e37_79b9) >> 24) as u8);
    bytes.collect()
}

#[test]
fn every_length_is_as_in_the_crates_with_every_backend() {
    let (key, nonce) = ([0x5a; 32], [0xc3; 24]);
    let step = if cfg!(miri) { 211 } else { 1 };
    for length in (0..1100).chain(4000..4100).step_by(step) {
        let text = text(length);
        let mut expected = text.clone();
        let tag = Reference::new(&key, &nonce).encrypt(&mut expected);
        for backend in Backend::available() {
            let cipher = || XSalsa20Poly1305::with_backend(backend, &key, &nonce);
            let mut sealed = text.clone();
            assert_eq!(cipher().encrypt(&mut sealed), tag, "{backend:?}, {length}");
            assert!(sealed == expected, "{backend:?}, {length}");
            assert!(cipher().decrypt(&mut sealed, &tag), "{backend:?}, {length}");
            assert!(sealed == text, "{backend:?}, {length}");
        }
    }
}

#[test]
fn the_fastest_backend_is_the_first_and_the_last_is_portable() {
    let backends: Vec<_> = Backend::available().collect();
    assert_eq!(backends[0], Backend::detect());
    assert_eq!(format!("{:?}", backends[backends.len() - 1]), "portable");
}

/// Keys of the authenticator, and texts, whose sums come close to the modulus and to the ends of limbs.
#[test]
fn extreme_sums_are_as_in_the_crates() {
    for (key, fill) in [
        (0xff, 0xff),
        (0xff, 0),
        (0, 0xff),
        (2, 0xff),
        (1, 0xfb),
        (0xfe, 0xfd),
    ] {
        let key = [key; 32];
        for length in [0, 1, 15, 16, 17, 255, 256, 257, 1024, 2048, 2063] {
            let text = vec![fill; length];
            let expected: [u8; 16] = ::poly1305::Poly1305::new(&Array::from(key))
                .compute_unpadded(&text)
                .into();
            let mut poly = Poly1305::new(&key);
            poly.update(&text);
            assert_eq!(poly.finish(), expected, "one by one, {length}");
            #[cfg(target_arch = "x86_64")]
            {
                use x86::{avx2, avx512};
                if let Some(proof) = avx2::Avx2::detect() {
                    let tag = tag_with::<avx2::FourSums>(proof, &key, &text);
                    assert_eq!(tag, expected, "AVX2, {length}");
                }
                if let Some(proof) = avx512::Ifma::detect() {
                    let tag = tag_with::<avx512::SixteenSums>(proof, &key, &text);
                    assert_eq!(tag, expected, "IFMA, {length}");
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn tag_with<A: poly1305::Accumulator>(proof: A::Proof, key: &[u8; 32], text: &[u8]) -> [u8; 16] {
    let mut poly = Poly1305::new(key);
    let mut sums = A::new(proof, &mut poly);
    let rest = sums.absorb(text);
    sums.finish(&mut poly);
    poly.update(rest);
    poly.finish()
}

/// The number of a block has 64 bits.
#[test]
fn the_number_of_a_block_carries() {
    use ::salsa20::cipher::StreamCipherSeek as _;

    const LENGTH: usize = if cfg!(miri) { 640 } else { 4096 };
    for first in [u64::from(u32::MAX) - 3, u64::from(u32::MAX)] {
        let mut expected = text(LENGTH);
        let mut stream = ::salsa20::Salsa20::new(&Array::from([7; 32]), &Array::from([9; 8]));
        stream.seek(first * 64);
        stream.apply_keystream(&mut expected);
        for backend in Backend::available() {
            let mut ciphers = Ciphers {
                stream: Stream::at(&[7; 32], [9; 8], first),
                poly: Poly1305::new(&[0; 32]),
            };
            let mut text = text(LENGTH);
            backend.apply(&mut ciphers, Direction::Encrypt, &mut text);
            assert!(text == expected, "{backend:?}");
        }
    }
}

#[test]
fn the_key_of_a_purpose_is_as_in_the_crates() {
    for (key, purpose) in [
        ([0; 32], [0; 16]),
        ([0xff; 32], [0xff; 16]),
        ([7; 32], [9; 16]),
    ] {
        let expected = ::salsa20::hsalsa::<U10>(&Array::from(key), &Array::from(purpose));
        assert_eq!(hsalsa20(&key, &purpose)[..], expected[..]);
    }
}

#[test]
fn it_prints_redacted() {
    let cipher = XSalsa20Poly1305::new(&[1; 32], &[2; 24]);
    assert_eq!(format!("{cipher:?}"), "XSalsa20Poly1305([redacted])");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn pieces_of_any_size_are_as_the_whole_in_the_crates(
        key: [u8; 32],
        nonce: [u8; 24],
        length in 0..LONGEST,
        pieces in prop::collection::vec(0..LONGEST / 2, 1..8),
    ) {
        let text = text(length);
        let mut expected = text.clone();
        let tag = Reference::new(&key, &nonce).encrypt(&mut expected);
        for backend in Backend::available() {
            let mut cipher = XSalsa20Poly1305::with_backend(backend, &key, &nonce);
            let mut sealed = text.clone();
            each_piece(&mut sealed, &pieces, |piece| cipher.encrypt_piece(piece));
            prop_assert!(sealed == expected, "{:?}", backend);
            prop_assert_eq!(cipher.tag(), tag, "{:?}", backend);

            let mut cipher = XSalsa20Poly1305::with_backend(backend, &key, &nonce);
            each_piece(&mut sealed, &pieces, |piece| cipher.decrypt_piece(piece));
            prop_assert!(sealed == text, "{:?}", backend);
            prop_assert_eq!(cipher.tag(), tag, "{:?}", backend);
        }
    }

    #[test]
    fn a_forged_text_is_refused_and_stays_as_it_was(
        length in 1..LONGEST,
        byte: prop::sample::Index,
        bit in 0..8,
    ) {
        for backend in Backend::available() {
            let cipher = || XSalsa20Poly1305::with_backend(backend, &[1; 32], &[2; 24]);
            let mut text = text(length);
            let mut tag = cipher().encrypt(&mut text);
            let at = byte.index(length + tag.len());
            match text.get_mut(at) {
                Some(byte) => *byte ^= 1_u8 << bit,
                None => tag[at - length] ^= 1_u8 << bit,
            }
            let forged = text.clone();
            prop_assert!(!cipher().decrypt(&mut text, &tag), "{:?}", backend);
            prop_assert!(text == forged, "{:?}", backend);
        }
    }

    #[test]
    fn equal_are_those_at_the_same_place_by_the_same_text(length in 0..300_usize, other in 0..300_usize) {
        let after = |text: &mut [u8]| {
            let mut cipher = XSalsa20Poly1305::new(&[1; 32], &[2; 24]);
            cipher.encrypt_piece(text);
            cipher
        };
        prop_assert!(after(&mut text(length)) == after(&mut text(length)));
        prop_assert_eq!(after(&mut text(length)) == after(&mut text(other)), length == other);
        prop_assert_eq!(after(&mut text(length)) == after(&mut vec![1; length]), length == 0);
        prop_assert!(after(&mut []) != XSalsa20Poly1305::new(&[1; 32], &[3; 24]));
    }
}

/// Pieces of these sizes, over and over, until there is nothing left.
fn each_piece(mut text: &mut [u8], pieces: &[usize], mut apply: impl FnMut(&mut [u8])) {
    // One of them could be without end otherwise.
    for size in pieces.iter().copied().chain([text.len()]) {
        let (piece, rest) = text.split_at_mut(size.min(text.len()));
        apply(piece);
        text = rest;
    }
}
