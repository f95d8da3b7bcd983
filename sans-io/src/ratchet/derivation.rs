//! The three derivations of a ratchet, each HKDF-SHA512 to 96 bytes.

use zeroize::Zeroizing;

use super::skipped::MessageKey;
use crate::crypto::{Secret, hash, kem, x448};

/// What the key agreement gives.
pub(super) struct Agreed {
    pub(super) header_key: Secret<32>,
    pub(super) next_header_key: Secret<32>,
    pub(super) root: Secret<32>,
}

/// What a step of the root gives.
pub(super) struct RootStep {
    pub(super) root: Secret<32>,
    pub(super) chain: Secret<32>,
    pub(super) next_header_key: Secret<32>,
}

/// What a step of a chain gives.
pub(super) struct ChainStep {
    pub(super) chain: Secret<32>,
    pub(super) key: MessageKey,
    /// Used by the sender, and told to the receiver.
    pub(super) header_iv: [u8; 16],
}

pub(super) fn agreement(dh: [x448::SharedSecret; 3], kem: Option<&kem::SharedSecret>) -> Agreed {
    let [dh1, dh2, dh3] = &dh;
    let secrets = [dh1.as_bytes(), dh2.as_bytes(), dh3.as_bytes()];
    let material = concatenated(secrets.into_iter().map(|dh| dh.as_slice()), kem);
    let (header_key, next_header_key, root) =
        thirds(&hash::hkdf_sha512(&[0; 64], &material, b"SimpleXX3DH"));
    Agreed {
        header_key,
        next_header_key,
        root,
    }
}

pub(super) fn root_step(
    root: &Secret<32>,
    dh: &x448::SharedSecret,
    kem: Option<&kem::SharedSecret>,
) -> RootStep {
    let material = concatenated([dh.as_bytes().as_slice()].into_iter(), kem);
    let derived = hash::hkdf_sha512(root.as_bytes(), &material, b"SimpleXRootRatchet");
    let (root, chain, next_header_key) = thirds(&derived);
    RootStep {
        root,
        chain,
        next_header_key,
    }
}

pub(super) fn chain_step(chain: &Secret<32>) -> ChainStep {
    let derived = hash::hkdf_sha512(b"", chain.as_bytes(), b"SimpleXChainRatchet");
    let (chain, key, ivs) = thirds(&derived);
    let (iv, header_iv) = ivs.split::<16, 16>();
    ChainStep {
        chain,
        key: MessageKey { key, iv },
        header_iv: *header_iv.as_bytes(),
    }
}

fn concatenated<'a>(
    agreed: impl Iterator<Item = &'a [u8]>,
    kem: Option<&'a kem::SharedSecret>,
) -> Zeroizing<Vec<u8>> {
    // As long as the longest, so that no part is left behind where it grows.
    let mut material = Zeroizing::new(Vec::with_capacity(3 * 56 + 32));
    let kem = kem.map(|secret| secret.as_bytes().as_slice());
    agreed
        .chain(kem)
        .for_each(|part| material.extend_from_slice(part));
    material
}

fn thirds(derived: &Secret<96>) -> (Secret<32>, Secret<32>, Secret<32>) {
    let (first, rest) = derived.split::<32, 64>();
    let (second, third) = rest.split();
    (first, second, third)
}
